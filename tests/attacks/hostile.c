/* hostile.c - an operator that tries what it may not, in a worker of the tests' own: what is tried is a system call, made as directly as
 * can be. With "" nothing is tried: the control. "tell X" makes X and tells what came of it, for workers whose filters are lifted. */
#include "enclave_shim/inside/inside.h"
#include "tests/enclave/tally.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const struct pst_operator *pst_inside_operator(const char *type) { return strcmp(type, "tally") == 0 ? &tally : NULL; }

static _Alignas(4096) uint32_t word;
static char name[] = "/etc/hostname";
static struct timespec now;

static const struct {
    const char *call;
    long arguments[7]; /* its number first */
} tries[] = {
    {"open", {SYS_openat, AT_FDCWD, (long)name, O_RDONLY}},
    {"socket", {SYS_socket, AF_INET, SOCK_STREAM, 0}},
    {"execve", {SYS_execve, (long)name, 0, 0}},
    {"fork", {SYS_clone, 17, 0, 0, 0, 0}},
    {"ptrace", {SYS_ptrace, PTRACE_TRACEME, 0, 0, 0}},
    {"process_vm_writev", {SYS_process_vm_writev, 1, 0, 0, 0, 0, 0}},
    {"io_uring_setup", {SYS_io_uring_setup, 1, 0}},
    {"mprotect", {SYS_mprotect, (long)&word, 4096, PROT_READ | PROT_WRITE | PROT_EXEC}},
    {"mmap", {SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
    {"munmap", {SYS_munmap, (long)&word, 4096}},
    {"prctl", {SYS_prctl, PR_SET_DUMPABLE, 1}},
    {"kill", {SYS_kill, 1, 0}},
    {"write", {SYS_write, 1, (long)name, 1}},
    {"getrandom", {SYS_getrandom, (long)&now, 8, 0}},
    {"clock_gettime", {SYS_clock_gettime, CLOCK_REALTIME, (long)&now}},
    {"futex of another word", {SYS_futex, (long)&word, FUTEX_WAKE, 1, 0, 0, 0}},
    {"futex of another kind", {SYS_futex, (long)&word, FUTEX_CMP_REQUEUE, 1, 1, (long)&word, 0}},
    {"exit of the thread alone", {SYS_exit, 0}},
};

/* Far more than there is of it; its end is a page that nobody may touch. */
enum { STACK_PAGES = 1000 };
static int overflow(volatile char *before, int pages)
{
    volatile char room[4096];
    room[0] = before != NULL ? (char)(before[0] + 1) : 0;
    return pages > 0 ? overflow(room, pages - 1) + room[0] : 0;
}

/* Once: it is not given back. */
static void take_all_memory(void)
{
    for (size_t bytes = 1 << 20; bytes >= 4096; bytes /= 2)
        for (void *memory; (memory = pst_malloc(bytes)) != NULL;)
            memset(memory, 1, bytes);
}

/* ---- what is told: the same where no filter ends the worker ---- */

static int file_open(void) { return open(name, O_RDONLY); }

static int port_bind(void)
{
    const struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? fd : bind(fd, (const struct sockaddr *)&any, sizeof any);
}

static int host_signal(void) { return kill(getppid(), 0); }

static int code_write(void)
{
    uintptr_t code = (uintptr_t)&tally_try & ~(uintptr_t)4095;
    return mprotect((void *)code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC); // NOLINT(performance-no-int-to-ptr)
}

static int dumpable(void) { return prctl(PR_GET_DUMPABLE); }

static int host_connect(const char *port)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    there.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? fd : connect(fd, (const struct sockaddr *)&there, sizeof there);
}

static const struct {
    const char *call;
    int (*make)(void);
} tells[] = {{"tell open", file_open},
             {"tell bind", port_bind},
             {"tell signal", host_signal},
             {"tell code", code_write},
             {"tell dumpable", dumpable}};

static const char *tell(const char *call)
{
    static const char connects[] = "tell connect ";
    static char sentence[80];
    int rc = -1;
    errno = 0;
    if (strncmp(call, connects, sizeof connects - 1) == 0)
        rc = host_connect(call + sizeof connects - 1);
    for (size_t i = 0; i < sizeof tells / sizeof tells[0]; i++)
        if (strcmp(call, tells[i].call) == 0)
            rc = tells[i].make();
    (void)snprintf(sentence, sizeof sentence, "%d, error %d", rc < 0 ? -1 : rc > 1 ? 0 : rc, rc < 0 ? errno : 0);
    return sentence;
}

const char *tally_try(const char *call)
{
    if (strncmp(call, "tell ", 5) == 0)
        return tell(call);
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        const long *a = tries[i].arguments;
        if (strcmp(call, tries[i].call) == 0)
            (void)syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    }
    if (strcmp(call, "take all memory") == 0)
        take_all_memory();
    while (strcmp(call, "spin") == 0)
        __asm__ volatile("");
    if (strcmp(call, "overflow of the stack") == 0)
        (void)overflow(NULL, STACK_PAGES);
    return NULL;
}
