/* tools/notify.c - what a service manager is told: datagrams to the socket that NOTIFY_SOCKET names, as sd_notify(3) has them. */
#include "tools/inside.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void pst_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = path != NULL ? strlen(path) : 0;
    if (bytes < 2 || bytes >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, bytes);
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* an abstract name has no file */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    /* Nobody there, or too busy: it is his loss, the node goes on. */
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes));
    (void)close(fd);
}

uint64_t pst_notify_watchdog_ns(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t number, wanted_pid;
    if (usec == NULL || pst_parse_u64(usec, &number) != PST_OK || number == 0 || number > UINT64_MAX / 1000)
        return 0;
    if (pid != NULL && (pst_parse_u64(pid, &wanted_pid) != PST_OK || wanted_pid != (uint64_t)getpid()))
        return 0;
    return number * 1000;
}
