/* slow.c - stands in the place of a worker's program: it says nothing for twice as long as a node may be silent, and ends. A worker that starts
 * may wait by a futex, and by nothing else. */
#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 4 };

int main(void)
{
    uint32_t word = 0;
    const struct timespec timeout = {SECONDS, 0};
    while (syscall(SYS_futex, &word, FUTEX_WAIT, 0, &timeout, NULL, 0) != 0 && errno == EINTR)
        continue;
    return 0;
}
