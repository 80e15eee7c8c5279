/* process.c - the backend `process`: a worker is a child that gives up all but its rings before it takes a row.
 *
 * Its program is read once, into memory that is sealed against writing, hashed there, and run from there: what is measured is what
 * runs. It is linked statically, so that no other file is. */
#include "enclave_shim/common/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PROGRAM_BYTES_MAX = 256 * 1024 * 1024,
    COPY_BYTES = 64 * 1024,
    ANSWER_SECONDS = 20,
    END_MS = 1000,
    BOOT_FD = 3,
    FIRST_SPARE_FD = 6
};
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#if defined(__x86_64__)
#define START_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define START_ARCH AUDIT_ARCH_AARCH64
#else
#error "the filter of a worker's start does not know this machine"
#endif
/* The same on every machine; Debian 12's headers do not have all of them. */
enum { NR_LANDLOCK_CREATE = 444, NR_LANDLOCK_RESTRICT = 446, NR_MEMFD_SECRET = 447, NR_MSEAL = 462 };
#define MEASURE_LABEL "penstock enclave 1"

/* A worker's program, in memory that is sealed. Boxes of one file share it, as long as one of them is there. */
struct program {
    int fd;
    EVP_MD_CTX *digest; /* of label and program so far */
    struct stat file;   /* as it was when it was read */
    uint32_t box_count;
};

struct pst_enclave_box {
    struct program *program;
    int border_fd, outside_fd;
    void *border;
    uint64_t epc_bytes;
    pid_t child;     /* 0: none, or it has been waited for */
    clockid_t clock; /* its processor time, where that is known */
    bool has_clock;
    bool named; /* its program was, and is not the one that comes with penstock */
    int status;
};

/* The system's reason behind a sentence of our own. */
static int no(char *ret_why, const char *what)
{
    int error = errno;
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s: %s", what, strerror(error));
    return error == ENOENT                                         ? PST_ENOENT
           : error == EACCES || error == EPERM                     ? PST_EREFUSED
           : error == ENOMEM || error == EMFILE || error == ENFILE ? PST_ENOMEM
                                                                   : PST_EIO;
}

/* ---- the program ---- */

static int program_open(const char *given, char *ret_why)
{
    static const char *const places[] = {"penstock-enclave", "../libexec/penstock/penstock-enclave"};
    char own[PATH_MAX], path[PATH_MAX];
    if (given != NULL)
        return open(given, O_RDONLY | O_CLOEXEC);
    ssize_t count = readlink("/proc/self/exe", own, sizeof own - 1);
    if (count <= 0)
        return -1;
    own[count] = '\0';
    char *slash = strrchr(own, '/');
    if (slash != NULL)
        *slash = '\0';
    for (uint32_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", own, places[i]) >= sizeof path)
            continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT)
            return fd;
    }
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "there is no penstock-enclave beside penstock, in %.400s", own);
    return -1;
}

static bool copy(int from, int to)
{
    uint8_t *buffer = pst_malloc(COPY_BYTES);
    uint64_t total = 0;
    ssize_t n = buffer != NULL ? 1 : -1;
    while (n > 0 && (n = read(from, buffer, COPY_BYTES)) > 0) {
        total += (uint64_t)n;
        if (total > PROGRAM_BYTES_MAX || write(to, buffer, (size_t)n) != n)
            n = -1;
    }
    pst_free(buffer);
    return n == 0;
}

/* From its beginning to its end, and how long it is. */
static bool hash(int fd, EVP_MD_CTX *digest)
{
    uint8_t *buffer = pst_malloc(COPY_BYTES);
    uint64_t total = 0;
    ssize_t n = buffer != NULL ? 1 : -1;
    while (n > 0 && (n = pread(fd, buffer, COPY_BYTES, (off_t)total)) > 0) {
        total += (uint64_t)n;
        if (EVP_DigestUpdate(digest, buffer, (size_t)n) != 1)
            n = -1;
    }
    pst_free(buffer);
    return n == 0 && EVP_DigestUpdate(digest, &total, sizeof total) == 1;
}

static void program_free(struct program *program)
{
    if (program->fd >= 0)
        (void)close(program->fd);
    EVP_MD_CTX_free(program->digest);
    pst_free(program);
}

static int program_read(struct program *program, int from, char *ret_why)
{
    program->fd = memfd_create("penstock-enclave", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (program->fd < 0 && errno == EINVAL) /* a kernel that does not know MFD_EXEC */
        program->fd = memfd_create("penstock-enclave", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    program->digest = EVP_MD_CTX_new();
    int rc = program->fd >= 0 ? PST_OK : no(ret_why, "cannot make memory for the worker's program");
    if (rc == PST_OK && (program->digest == NULL || EVP_DigestInit_ex(program->digest, EVP_sha256(), NULL) != 1 ||
                         EVP_DigestUpdate(program->digest, MEASURE_LABEL, sizeof MEASURE_LABEL - 1) != 1))
        rc = PST_ENOMEM;
    if (rc == PST_OK && !copy(from, program->fd))
        rc = no(ret_why, "cannot read the worker's program");
    /* Nobody may read it: so a process that executes it cannot be looked into by others of its user from its first moment on, and not only
     * from when it says so itself. Who had a descriptor of its memory by then would keep it. */
    if (rc == PST_OK && fchmod(program->fd, 0111) != 0)
        rc = no(ret_why, "cannot protect the worker's program");
    if (rc == PST_OK && fcntl(program->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        rc = no(ret_why, "cannot seal the worker's program");
    /* What nobody can change any more is what is measured. */
    if (rc == PST_OK && !hash(program->fd, program->digest))
        rc = no(ret_why, "cannot measure the worker's program");
    return rc;
}

/* The one that was read last, while a box has it. Workers are started by several threads. */
static pthread_mutex_t newest_lock = PTHREAD_MUTEX_INITIALIZER;
static struct program *newest;

static bool is_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* With the lock. What runs is what was read and hashed, be the file another one by now. */
static int program_find(int from, struct program **ret_program, char *ret_why)
{
    struct stat file;
    if (fstat(from, &file) != 0)
        return no(ret_why, "cannot read the worker's program");
    if (newest == NULL || !is_file(&newest->file, &file)) {
        struct program *program = pst_calloc(1, sizeof *program);
        if (program == NULL)
            return PST_ENOMEM;
        program->fd = -1;
        program->file = file;
        int rc = program_read(program, from, ret_why);
        if (rc != PST_OK) {
            program_free(program);
            return rc;
        }
        newest = program;
    }
    newest->box_count++;
    *ret_program = newest;
    return PST_OK;
}

static int program_take(const char *given, struct program **ret_program, char *ret_why)
{
    int from = program_open(given, ret_why);
    if (from < 0)
        return ret_why[0] != '\0' ? PST_ENOENT : no(ret_why, "cannot open the worker's program");
    (void)pthread_mutex_lock(&newest_lock);
    int rc = program_find(from, ret_program, ret_why);
    (void)pthread_mutex_unlock(&newest_lock);
    (void)close(from);
    return rc;
}

static void program_give(struct program *program)
{
    if (program == NULL)
        return;
    (void)pthread_mutex_lock(&newest_lock);
    bool last = --program->box_count == 0;
    if (last && newest == program)
        newest = NULL;
    (void)pthread_mutex_unlock(&newest_lock);
    if (last)
        program_free(program);
}

/* ---- memory that both see ---- */

static int shared_make(const char *name, uint64_t bytes, int *ret_fd, char *ret_why)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0) {
        *ret_fd = fd;
        return PST_OK;
    }
    int rc = no(ret_why, "cannot make shared memory");
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static void process_destroy(struct pst_enclave_box *box)
{
    if (box->border != NULL)
        (void)munmap(box->border, PST_BORDER_BYTES);
    int fds[] = {box->border_fd, box->outside_fd};
    for (uint32_t i = 0; i < 2; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    program_give(box->program);
    pst_free(box);
}

static int process_create(const struct pst_enclave_settings *settings, struct pst_enclave_box **ret_box, char *ret_why)
{
    struct pst_enclave_box *box = pst_calloc(1, sizeof *box);
    if (box == NULL)
        return PST_ENOMEM;
    box->border_fd = box->outside_fd = -1;
    box->epc_bytes = settings->epc_bytes;
    box->named = settings->program != NULL;
    int rc = program_take(settings->program, &box->program, ret_why);
    if (rc == PST_OK)
        rc = shared_make("penstock-border", PST_BORDER_BYTES, &box->border_fd, ret_why);
    if (rc == PST_OK)
        rc = shared_make("penstock-outside", settings->outside_bytes, &box->outside_fd, ret_why);
    if (rc == PST_OK) {
        box->border = mmap(NULL, PST_BORDER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, box->border_fd, 0);
        if (box->border == MAP_FAILED) {
            box->border = NULL;
            rc = no(ret_why, "cannot map shared memory");
        }
    }
    if (rc != PST_OK) {
        process_destroy(box);
        return rc;
    }
    *ret_box = box;
    return PST_OK;
}

static int process_measure(const struct pst_enclave_box *box, const void *config, size_t config_bytes,
                           uint8_t ret_measurement[PST_MEASUREMENT_BYTES])
{
    uint64_t length = config_bytes;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = digest != NULL && EVP_MD_CTX_copy_ex(digest, box->program->digest) == 1 &&
                EVP_DigestUpdate(digest, config, config_bytes) == 1 &&
                EVP_DigestUpdate(digest, &length, sizeof length) == 1 &&
                EVP_DigestFinal_ex(digest, ret_measurement, NULL) == 1;
    EVP_MD_CTX_free(digest);
    return good ? PST_OK : PST_ENOMEM;
}

static void *process_rings(const struct pst_enclave_box *box) { return box->border; }

/* ---- the child ---- */

/* What a worker's start takes, until it gives up all but two of them itself: memory, what it was given, and giving up. Whatever else is
 * refused, so that a constructor of an operator, which runs before main(), gets no file, no connection and no other process either.
 * Numbers alone are looked at, but for these: mmap() and mprotect() give no memory that is executed, so what runs is what was mapped of
 * the program; and what is executed is that of one descriptor, which is gone when it runs. A path may be absolute, and stand beside
 * any descriptor, so files are kept back by start_files(). */
static const int start_calls[] = {
    SYS_futex,          SYS_brk,
    SYS_munmap,         SYS_mremap,
    SYS_madvise,        SYS_mlock,
    SYS_mlock2,         SYS_ftruncate,
    SYS_fstat,          SYS_newfstatat,
    SYS_recvfrom,       SYS_sendto,
    SYS_read,           SYS_write,
    SYS_close,          SYS_close_range,
    SYS_getrandom,      SYS_rt_sigaction,
    SYS_sigaltstack,    SYS_rt_sigprocmask,
    SYS_prctl,          SYS_prlimit64,
    SYS_getrlimit,      SYS_setrlimit,
    SYS_unshare,        SYS_seccomp,
    SYS_sysinfo,        SYS_uname,
    SYS_readlinkat,     SYS_getpid,
    SYS_gettid,         SYS_set_tid_address,
    SYS_sched_yield,    SYS_set_robust_list,
    SYS_exit,           SYS_exit_group,
    SYS_rt_sigreturn,   SYS_clock_gettime,
    SYS_rseq,           SYS_sched_getaffinity,
#ifdef SYS_arch_prctl
    SYS_arch_prctl,     SYS_readlink,
#endif
    NR_LANDLOCK_CREATE, NR_LANDLOCK_RESTRICT,
    NR_MEMFD_SECRET,    NR_MSEAL,
};

/* Between fork() and exec: no file may be opened or executed any more; a memfd is none of those. Where the system has no Landlock that is
 * not so, and the worker does not claim it later. */
static void start_files(void)
{
    const uint64_t every_access = 0x1fff; /* of struct landlock_ruleset_attr the first field, all that ABI 1 has */
    int rules = (int)syscall(NR_LANDLOCK_CREATE, &every_access, sizeof every_access, 0);
    if (rules < 0)
        return;
    (void)syscall(NR_LANDLOCK_RESTRICT, rules, 0);
    (void)close(rules);
}

/* Between fork() and exec. False: the system has no such filters, and no worker starts without. */
static bool start_limit(void)
{
    enum { CALLS = sizeof start_calls / sizeof start_calls[0], HEAD = 12 };
    const struct sock_filter head[HEAD] = {
        /* 0 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        /* 1 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, START_ARCH, 1, 0),
        /* 2 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        /* 3 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        /* 4 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 3, 0),
        /* 5 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 4, 0),
        /* 6 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 3, 0),
        /* 7 */ BPF_JUMP(BPF_JMP | BPF_JA, HEAD - 8, 0, 0),
        /* 8 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        /* 9 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIRST_SPARE_FD, CALLS + 3, CALLS + 2),
        /* 10 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        /* 11 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, CALLS, CALLS + 1),
    };
    struct sock_filter rules[HEAD + CALLS + 2];
    memcpy(rules, head, sizeof head);
    for (uint32_t i = 0; i < CALLS; i++)
        rules[HEAD + i] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)start_calls[i], (uint8_t)(CALLS - i), 0);
    rules[HEAD + CALLS] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    rules[HEAD + CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return false;
    start_files();
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* Between fork() and exec: root reads what nobody may read, unless it leaves that out for the moment; the program has it again. */
static bool unread(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &head, sets) != 0)
        return false;
    sets[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
    return syscall(SYS_capset, &head, sets) == 0;
}

/* Between fork() and exec: nothing but system calls. */
static _Noreturn void child(const struct pst_enclave_box *box, int socket_fd, char *epc)
{
    char name[] = "penstock-enclave";
    char *arguments[] = {name, epc, NULL}, *environment[] = {NULL};
    int wanted[] = {socket_fd, box->border_fd, box->outside_fd}, code = box->program->fd;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < 3; i++) { /* out of the way of 3, 4 and 5 */
        wanted[i] = fcntl(wanted[i], F_DUPFD, FIRST_SPARE_FD + 3);
        if (wanted[i] < 0)
            _exit(errno == EMFILE || errno == EINVAL ? PST_INSIDE_FILES : PST_INSIDE_START);
    }
    code = fcntl(code, F_DUPFD_CLOEXEC, FIRST_SPARE_FD + 3);
    if (code < 0)
        _exit(errno == EMFILE || errno == EINVAL ? PST_INSIDE_FILES : PST_INSIDE_START);
    for (int i = 0; i < 3; i++)
        if (dup2(wanted[i], BOOT_FD + i) < 0)
            _exit(PST_INSIDE_START);
    if (dup3(code, FIRST_SPARE_FD, O_CLOEXEC) < 0 || syscall(SYS_close_range, FIRST_SPARE_FD + 1, ~0u, 0) != 0)
        _exit(PST_INSIDE_START);
    if (unread() && start_limit())
        (void)syscall(SYS_execveat, FIRST_SPARE_FD, "", arguments, environment, AT_EMPTY_PATH);
    _exit(PST_INSIDE_START);
}

static bool send_all(int fd, const void *bytes, size_t byte_count)
{
    for (size_t sent = 0; sent < byte_count;) {
        ssize_t n = send(fd, (const uint8_t *)bytes + sent, byte_count - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

static bool receive_all(int fd, void *bytes, size_t byte_count)
{
    for (size_t got = 0; got < byte_count;) {
        ssize_t n = recv(fd, (uint8_t *)bytes + got, byte_count - got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static int process_look(struct pst_enclave_box *box, char *ret_why);

/* Its end of the socket is closed: then it is about to end, and how is known in a moment. */
static void end_await(const struct pst_enclave_box *box)
{
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, box->child, 0), .events = POLLIN};
    if (end.fd < 0)
        return;
    (void)poll(&end, 1, END_MS);
    (void)close(end.fd);
}

/* It has ended, or stands still, without a word of a worker's. A program that was named for it may be any. */
static int silent(struct pst_enclave_box *box, char *ret_why)
{
    end_await(box);
    int ended = process_look(box, ret_why);
    if (ended == PST_OK)
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "its worker does not answer");
    bool files = box->child == 0 && WIFEXITED(box->status) && WEXITSTATUS(box->status) == PST_INSIDE_FILES;
    size_t bytes = strlen(ret_why);
    if (box->named && !files)
        (void)snprintf(
            ret_why + bytes, PST_ENCLAVE_WHY_BYTES - bytes,
            ". The program that --enclave-program names has not spoken as a worker: it is none, or not linked "
            "as one, statically, with libpenstock-enclave.a");
    return ended == PST_ESTOPPED ? ended : PST_EIO;
}

/* A refusal may come before all of the boot was sent, so whatever it said is read first. */
static int boot(struct pst_enclave_box *box, int fd, const void *bytes, size_t byte_count, uint32_t *ret_facts,
                char *ret_why)
{
    struct pst_boot_answer answer;
    struct timeval patience = {(time_t)(ANSWER_SECONDS + (box->epc_bytes >> 25)), 0}; /* it may touch all of it first */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool sent = send_all(fd, bytes, byte_count);
    if (!receive_all(fd, &answer, sizeof answer) || answer.magic != PST_BOOT_MAGIC)
        return silent(box, ret_why);
    answer.sentence[sizeof answer.sentence - 1] = '\0';
    if (answer.error != PST_OK || !sent) {
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", answer.sentence);
        return answer.error < 0 && answer.error >= PST_EINTERNAL ? answer.error : PST_EINTERNAL;
    }
    *ret_facts = answer.facts | PST_FACT_MEASURED;
    return PST_OK;
}

static int process_run(struct pst_enclave_box *box, const void *bytes, size_t byte_count, uint32_t *ret_facts,
                       char *ret_why)
{
    int pair[2];
    char epc[24];
    (void)snprintf(epc, sizeof epc, "%llu", (unsigned long long)box->epc_bytes);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return no(ret_why, "cannot make a socket for its worker");
    pid_t pid = fork();
    if (pid == 0)
        child(box, pair[1], epc);
    int rc = pid > 0 ? PST_OK : no(ret_why, "cannot start its worker");
    (void)close(pair[1]);
    if (rc == PST_OK) {
        box->child = pid;
        box->has_clock = clock_getcpuclockid(pid, &box->clock) == 0;
        rc = boot(box, pair[0], bytes, byte_count, ret_facts, ret_why);
    }
    (void)close(pair[0]);
    return rc;
}

static const char *reason_of(int code)
{
    switch (code) {
#define X(name, number, sentence) \
    case number:                  \
        return sentence;
        PST_INSIDE_REASON_MAP(X)
#undef X
    default:
        return "it ended with a code that none of ours is";
    }
}

static int process_look(struct pst_enclave_box *box, char *ret_why)
{
    if (box->child != 0 && waitpid(box->child, &box->status, WNOHANG) == box->child)
        box->child = 0;
    if (box->child != 0)
        return PST_OK;
    bool call = WIFSIGNALED(box->status) && WTERMSIG(box->status) == SIGSYS;
    if (call)
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES,
                       "its worker has been ended: it made a system call, which it may not (SIGSYS)");
    else if (WIFSIGNALED(box->status))
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "its worker has been ended by signal %d (%s)",
                       WTERMSIG(box->status), strsignal(WTERMSIG(box->status)));
    else
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "its worker has ended: %s", reason_of(WEXITSTATUS(box->status)));
    return WIFSIGNALED(box->status) && !call ? PST_ESTOPPED : PST_EIO;
}

/* By number, of a process that was not waited for yet: so it is nobody else's. */
static uint64_t process_worked_ns(const struct pst_enclave_box *box)
{
    struct timespec worked;
    if (box->child == 0 || !box->has_clock || clock_gettime(box->clock, &worked) != 0)
        return 0;
    return (uint64_t)worked.tv_sec * 1000000000 + (uint64_t)worked.tv_nsec;
}

static void process_attest(const struct pst_enclave_box *box, uint32_t facts, struct pst_enclave_report *ret_report)
{
    const uint32_t needed = PST_FACT_SECRET_MEMORY | PST_FACT_LOCKED_MEMORY | PST_FACT_SECCOMP | PST_FACT_NO_DUMP |
                            PST_FACT_MEASURED | PST_FACT_SEALED_BORDER;
    (void)box;
    ret_report->backend = pst_enclave_process.name;
    ret_report->facts = facts;
    ret_report->guards = (facts & needed) == needed ? pst_enclave_process.guards : 0;
}

static void process_stop(struct pst_enclave_box *box)
{
    if (box->child == 0)
        return;
    (void)kill(box->child, SIGKILL); /* nothing of it is wanted any more; its memory is zeroed by the kernel */
    while (waitpid(box->child, &box->status, 0) < 0 && errno == EINTR)
        continue;
    box->child = 0;
}

const struct pst_enclave_backend pst_enclave_process = {
    .name = "process",
    .guards = PST_GUARD_USERS,
    .create = process_create,
    .measure = process_measure,
    .rings = process_rings,
    .run = process_run,
    .look = process_look,
    .worked_ns = process_worked_ns,
    .attest = process_attest,
    .stop = process_stop,
    .destroy = process_destroy,
};
