/* net_address.c - "HOST:PORT" and "unix:PATH": what they say, and sockets that listen there. */
#include "base/net_uv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"

static int not_valid(const char *sentence)
{
    pst_system_error_say(sentence);
    return PST_EINVAL;
}

static int path_parse(const char *path, struct address *ret_address)
{
    if (path[0] == '\0')
        return not_valid("an address of this machine is unix:PATH, and the path is missing");
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return not_valid("the path of a socket may have 107 bytes at most");
    ret_address->local = true;
    (void)snprintf(ret_address->host, sizeof ret_address->host, "%s", path);
    return PST_OK;
}

int pst_address_parse(const char *text, struct address *ret_address)
{
    uint64_t port;
    *ret_address = (struct address){.written = text};
    if (strncmp(text, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0)
        return path_parse(text + sizeof UNIX_PREFIX - 1, ret_address);
    const char *colon = strrchr(text, ':'), *host = text;
    if (colon == NULL || pst_parse_u64(colon + 1, &port) != PST_OK || port > UINT16_MAX)
        return not_valid("an address is HOST:PORT, with a port of 0 to 65535, or unix:PATH");
    size_t host_bytes = (size_t)(colon - text);
    bool bracketed = host_bytes >= 2 && host[0] == '[' && host[host_bytes - 1] == ']';
    if (bracketed) {
        host++;
        host_bytes -= 2;
    }
    if (host_bytes == 0 || host_bytes >= sizeof ret_address->host)
        return not_valid("the host of an address is missing, or too long; 0.0.0.0 is every address of this machine");
    if (!bracketed && memchr(host, ':', host_bytes) != NULL)
        return not_valid("an IPv6 address stands in brackets: [::1]:7000");
    memcpy(ret_address->host, host, host_bytes);
    (void)snprintf(ret_address->port, sizeof ret_address->port, "%u", (unsigned)port);
    return PST_OK;
}

void pst_targets_take(const struct addrinfo *found, struct targets *ret_targets)
{
    ret_targets->count = ret_targets->next = 0;
    for (; found != NULL && ret_targets->count < TARGETS_MAX; found = found->ai_next) {
        struct target *target = &ret_targets->at[ret_targets->count++];
        memcpy(&target->address, found->ai_addr, found->ai_addrlen);
        target->address_bytes = found->ai_addrlen;
    }
}

static void targets_local(const char *path, struct targets *ret_targets)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&ret_targets->at[0].address;
    *ret_targets = (struct targets){.count = 1};
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, strlen(path) + 1); /* fits: path_parse() */
    ret_targets->at[0].address_bytes = sizeof *address;
}

static int targets_ask(const struct address *address, int flags, struct targets *ret_targets)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *found;
    int rc = getaddrinfo(address->host, address->port, &hints, &found);
    if (rc == EAI_SYSTEM)
        return pst_uv_failed(errno);
    if (rc != 0) {
        pst_system_error_say(gai_strerror(rc));
        return rc == EAI_MEMORY ? PST_ENOMEM : rc == EAI_NONAME ? PST_ENOENT : PST_EIO;
    }
    pst_targets_take(found, ret_targets);
    freeaddrinfo(found);
    return PST_OK;
}

int pst_targets_numeric(const struct address *address, struct targets *ret_targets)
{
    if (!address->local)
        return targets_ask(address, AI_NUMERICHOST, ret_targets);
    targets_local(address->host, ret_targets);
    return PST_OK;
}

int pst_socket_name(int fd, char *ret_text, size_t capacity)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
        return pst_uv_failed(errno);
    int rc = getnameinfo((struct sockaddr *)&address, bytes, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV);
    PST_ASSERT(rc == 0); /* nobody is asked */
    (void)snprintf(ret_text, capacity, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return PST_OK;
}

/* ---- sockets that listen ---- */
static int bind_tcp(int fd, const struct target *target)
{
    const int yes = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    return bind(fd, (const struct sockaddr *)&target->address, target->address_bytes) == 0 ? 0 : errno;
}

/* Whether the socket file was left by a process that is dead: nobody takes a connection. A full queue is somebody, too. */
static bool socket_is_stale(const struct target *target)
{
    struct stat status;
    const char *path = ((const struct sockaddr_un *)&target->address)->sun_path;
    if (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale =
        connect(fd, (const struct sockaddr *)&target->address, target->address_bytes) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return stale;
}

/* The file is the owner's alone from its first moment: it gets the mode of the socket, less the umask, which is put right after. */
static int bind_local(int fd, const struct target *target)
{
    const char *path = ((const struct sockaddr_un *)&target->address)->sun_path;
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0)
        return errno;
    int rc = bind(fd, (const struct sockaddr *)&target->address, target->address_bytes);
    if (rc != 0 && errno == EADDRINUSE && socket_is_stale(target) && unlink(path) == 0)
        rc = bind(fd, (const struct sockaddr *)&target->address, target->address_bytes);
    return rc == 0 && chmod(path, S_IRUSR | S_IWUSR) == 0 ? 0 : errno;
}

static int listen_at(const struct target *target, int *ret_fd)
{
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return pst_uv_failed(errno);
    int reason = target->address.ss_family == AF_UNIX ? bind_local(fd, target) : bind_tcp(fd, target);
    if (reason == 0 && listen(fd, SOMAXCONN) != 0)
        reason = errno;
    if (reason == 0) {
        *ret_fd = fd;
        return PST_OK;
    }
    (void)close(fd);
    int rc = pst_uv_failed(reason);
    return reason == EADDRINUSE ? PST_EREFUSED : rc;
}

int pst_socket_listen(const struct address *address, int *ret_fd)
{
    struct targets targets = {0};
    int rc = pst_targets_numeric(address, &targets);
    if (rc ==
        PST_ENOENT) /* waits for whoever knows the name, once, when a node starts: it cannot say where it listens before */
        rc = targets_ask(address, AI_PASSIVE, &targets);
    if (rc != PST_OK)
        return rc;
    do
        rc = listen_at(&targets.at[targets.next++], ret_fd);
    while (rc != PST_OK && targets.next < targets.count);
    return rc;
}
