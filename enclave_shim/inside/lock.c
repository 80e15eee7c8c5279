/* lock.c - see lock.h. Numbers and layouts that Debian 12's headers do not have are written out here. */
#include "enclave_shim/inside/lock.h"

#include "enclave_shim/enclave_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the worker's filter of system calls does not know this machine"
#endif

/* The same on every machine. */
enum { NR_LANDLOCK_CREATE = 444, NR_LANDLOCK_RESTRICT = 446, NR_MEMFD_SECRET = 447, NR_MSEAL = 462 };

/* ---- the pool ---- */

static void *refused(char *ret_why, size_t why_bytes, size_t bytes, int error)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes)
        (void)snprintf(
            ret_why, why_bytes,
            "%zu KiB of memory cannot be locked: this process may lock %llu KiB. Raise the limit (`ulimit -l %zu`, "
            "LimitMEMLOCK= of a service), or give a smaller --epc",
            bytes / 1024, (unsigned long long)limit.rlim_cur / 1024, (bytes + 1023) / 1024);
    else
        (void)snprintf(ret_why, why_bytes, "%zu KiB of memory cannot be locked: %s", bytes / 1024, strerror(error));
    return NULL;
}

void *pst_pool_map(size_t bytes, uint32_t *ret_facts, char *ret_why, size_t why_bytes)
{
    void *pool = MAP_FAILED;
    int error = 0, fd = (int)syscall(NR_MEMFD_SECRET, O_CLOEXEC);
    if (fd >= 0) {
        if (ftruncate(fd, (off_t)bytes) == 0)
            pool = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = errno;
        (void)close(fd); /* whoever has it could map the pool */
        if (pool == MAP_FAILED)
            return refused(ret_why, why_bytes, bytes, error);
        *ret_facts |= PST_FACT_SECRET_MEMORY | PST_FACT_LOCKED_MEMORY;
    } else {
        pool = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pool == MAP_FAILED || mlock(pool, bytes) != 0)
            return refused(ret_why, why_bytes, bytes, errno);
        (void)madvise(pool, bytes, MADV_DONTDUMP);
        *ret_facts |= PST_FACT_LOCKED_MEMORY;
    }
    if (madvise(pool, bytes, MADV_DONTFORK) != 0 || mprotect(pool, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE) != 0)
        return refused(ret_why, why_bytes, bytes, errno);
    return pool;
}

/* ---- files, ports, other processes ---- */

static bool landlock(void)
{
    struct { /* struct landlock_ruleset_attr of ABI 6; older kernels take its beginning */
        uint64_t files, ports, scopes;
    } rules = {0};
    long abi = syscall(NR_LANDLOCK_CREATE, NULL, 0, 1);
    if (abi < 1)
        return false;
    rules.files = abi == 1 ? 0x1FFF : abi == 2 ? 0x3FFF : abi < 5 ? 0x7FFF : 0xFFFF;
    rules.ports = abi < 4 ? 0 : 3;
    rules.scopes = abi < 6 ? 0 : 3;
    size_t bytes = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    int fd = (int)syscall(NR_LANDLOCK_CREATE, &rules, bytes, 0);
    if (fd < 0)
        return false;
    long rc = syscall(NR_LANDLOCK_RESTRICT, fd, 0);
    (void)close(fd);
    return rc == 0;
}

/* Mappings of the program that are not to be written to, its code above all. */
static int segments_seal(struct dl_phdr_info *info, size_t bytes, void *ret_bad)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)bytes;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0)
            continue;
        uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & -page;
        uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_memsz + page - 1) & -page;
        *(bool *)ret_bad |= syscall(NR_MSEAL, begin, end - begin, 0) != 0;
    }
    return 0;
}

uint32_t pst_lock_in(void)
{
    uint32_t facts = 0;
    struct rlimit none = {0, 0};
    sigset_t all;
    bool bad = false;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID) == 0)
        facts |= PST_FACT_NAMESPACES;
    /* behind unshare(), which makes a process dumpable again and forgets the signal */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return 0;
    if (setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0)
        facts |= PST_FACT_NO_DUMP;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && landlock())
        facts |= PST_FACT_LANDLOCK;
    (void)dl_iterate_phdr(segments_seal, &bad);
    if (!bad)
        facts |= PST_FACT_MSEAL;
    return facts;
}

/* ---- system calls ---- */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define LOAD_HIGH(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field) + 4)
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)

int pst_lock_calls(const void *wait_word, const void *wake_word)
{
    uint64_t wait = (uintptr_t)wait_word, wake = (uintptr_t)wake_word;
    struct sock_filter rules[] = {
        /*  0 */ LOAD(arch),
        /*  1 */ IS(ARCH, 0, 15),
        /*  2 */ LOAD(nr),
        /*  3 */ IS(SYS_exit_group, 14, 0),
        /*  4 */ IS(SYS_futex, 0, 12),
        /*  5 */ LOAD(args[1]),
        /*  6 */ IS(FUTEX_WAIT, 0, 4),
        /*  7 */ LOAD(args[0]),
        /*  8 */ IS(wait, 0, 8),
        /*  9 */ LOAD_HIGH(args[0]),
        /* 10 */ IS(wait >> 32, 7, 6),
        /* 11 */ IS(FUTEX_WAKE, 0, 5),
        /* 12 */ LOAD(args[0]),
        /* 13 */ IS(wake, 0, 3),
        /* 14 */ LOAD_HIGH(args[0]),
        /* 15 */ IS(wake >> 32, 2, 1),
        /* 16 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        /* 17 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        /* 18 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}
