/* hostile.c - an operator that tries what it may not, in a worker of the tests' own: what is tried is a system call, made as directly as
 * can be. With "" nothing is tried: the control. */
#include "enclave_shim/inside/inside.h"
#include "tests/enclave/tally.h"

#include <fcntl.h>
#include <linux/futex.h>
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

void tally_try(const char *call)
{
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
}
