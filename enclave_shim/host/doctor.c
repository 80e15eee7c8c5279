/* doctor.c - what this machine has for enclaves: each thing is asked for as a worker would, and given back. */
#include "enclave_shim/enclave_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NR_LANDLOCK_CREATE = 444, NR_MEMFD_SECRET = 447, NR_MSEAL = 462 };

struct report {
    struct pst_doctor_finding *findings;
    uint32_t count;
};

static struct pst_doctor_finding *find(struct report *r, const char *name, pst_doctor_grade grade, const char *text)
{
    PST_ASSERT(r->count < PST_DOCTOR_FINDINGS_MAX);
    struct pst_doctor_finding *finding = &r->findings[r->count++];
    *finding = (struct pst_doctor_finding){.name = name, .grade = grade};
    (void)snprintf(finding->text, sizeof finding->text, "%s", text);
    return finding;
}

static void remedy(struct pst_doctor_finding *finding, const char *text)
{
    (void)snprintf(finding->remedy, sizeof finding->remedy, "%s", text);
}

static void kernel(struct report *r)
{
    struct utsname name;
    char text[240];
    (void)snprintf(text, sizeof text, "Linux %.60s, %.60s", uname(&name) == 0 ? name.release : "?",
                   uname(&name) == 0 ? name.machine : "?");
    (void)find(r, "kernel", PST_DOCTOR_NOTE, text);
}

static void secret_memory(struct report *r)
{
    int fd = (int)syscall(NR_MEMFD_SECRET, O_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
        (void)find(r, "memfd-secret", PST_DOCTOR_GOOD,
                   "a worker's pool can be memory that the kernel has no mapping of");
        return;
    }
    remedy(find(r, "memfd-secret", PST_DOCTOR_PARTLY, "missing: a worker's pool is locked memory, which root can read"),
           errno == ENOSYS ? "Linux 5.14 or newer, started with secretmem.enable=1 before 6.5" : strerror(errno));
}

static bool may_lock_all(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    return syscall(SYS_capget, &head, data) == 0 && (data[0].effective >> CAP_IPC_LOCK & 1) != 0;
}

static void memlock(struct report *r, uint64_t epc_bytes)
{
    struct rlimit limit = {0};
    char text[240], fix[200];
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    if (may_lock_all() || limit.rlim_cur == RLIM_INFINITY) {
        (void)find(r, "memlock", PST_DOCTOR_GOOD, "any amount of memory may be locked");
        return;
    }
    bool enough = limit.rlim_cur >= epc_bytes;
    (void)snprintf(text, sizeof text, "%llu KiB may be locked by a process; an EPC of %llu KiB %s",
                   (unsigned long long)limit.rlim_cur / 1024, (unsigned long long)epc_bytes / 1024,
                   enough ? "fits" : "does not fit");
    (void)snprintf(fix, sizeof fix, "`ulimit -l %llu`, LimitMEMLOCK= of a service, or a smaller --epc",
                   (unsigned long long)(epc_bytes + 1023) / 1024);
    struct pst_doctor_finding *finding = find(r, "memlock", enough ? PST_DOCTOR_GOOD : PST_DOCTOR_MISSING, text);
    if (!enough)
        remedy(finding, fix);
}

static void seccomp(struct report *r)
{
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
        (void)find(r, "seccomp", PST_DOCTOR_GOOD, "a worker can be left two system calls, and die of any other");
    else
        remedy(find(r, "seccomp", PST_DOCTOR_MISSING, "missing: no worker starts without it"),
               "a kernel with CONFIG_SECCOMP_FILTER");
}

static void landlock(struct report *r)
{
    char text[240];
    long abi = syscall(NR_LANDLOCK_CREATE, NULL, 0, 1);
    if (abi >= 1) {
        (void)snprintf(text, sizeof text, "ABI %ld", abi);
        (void)find(r, "landlock", PST_DOCTOR_GOOD, text);
    } else {
        remedy(
            find(r, "landlock", PST_DOCTOR_PARTLY, "missing: files and ports are kept from a worker by seccomp alone"),
            "`landlock` in the kernel's list of security modules (lsm=)");
    }
}

static void mseal(struct report *r)
{
    if (syscall(NR_MSEAL, 0, 0, 0) == 0)
        (void)find(r, "mseal", PST_DOCTOR_GOOD, "a worker's code can be made unchangeable for itself");
    else
        remedy(find(r, "mseal", PST_DOCTOR_PARTLY, "missing"), "Linux 6.10 or newer");
}

static void namespaces(struct report *r)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID) == 0
                  ? 0
                  : 1);
    if (child > 0)
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        (void)find(r, "namespaces", PST_DOCTOR_GOOD, "a worker can have a user and a network of its own");
    else
        remedy(find(r, "namespaces", PST_DOCTOR_PARTLY, "not allowed"),
               "sysctl user.max_user_namespaces above 0; in a container, its profile");
}

struct device {
    const char *path, *text;
};

static void devices(struct report *r, const char *name, const struct device *list, uint32_t count,
                    const char *otherwise)
{
    for (uint32_t i = 0; i < count; i++) {
        if (access(list[i].path, F_OK) != 0)
            continue;
        (void)find(r, name, PST_DOCTOR_GOOD, list[i].text);
        return;
    }
    (void)find(r, name, PST_DOCTOR_NOTE, otherwise);
}

static void hardware(struct report *r)
{
    static const struct device sev[] = {{"/dev/sev-guest", "/dev/sev-guest: a guest of SEV-SNP"},
                                        {"/dev/sev", "/dev/sev: a host of SEV"}};
    static const struct device tdx[] = {{"/dev/tdx_guest", "/dev/tdx_guest: a guest of TDX"},
                                        {"/dev/tdx-guest", "/dev/tdx-guest: a guest of TDX"}};
    static const struct device sgx[] = {{"/dev/sgx_enclave", "/dev/sgx_enclave"}};
    static const struct device tsm[] = {{"/sys/kernel/config/tsm/report", "/sys/kernel/config/tsm/report"}};
    devices(r, "sev", sev, 2, "no device");
    devices(r, "tdx", tdx, 2, "no device");
    devices(r, "sgx", sgx, 1, "no device");
    devices(r, "tsm-report", tsm, 1, "not there: no report of a confidential VM can be asked for");
}

uint32_t pst_doctor_look(uint64_t epc_bytes, struct pst_doctor_finding ret_findings[PST_DOCTOR_FINDINGS_MAX])
{
    struct report report = {.findings = ret_findings};
    kernel(&report);
    secret_memory(&report);
    memlock(&report, epc_bytes);
    seccomp(&report);
    landlock(&report);
    mseal(&report);
    namespaces(&report);
    hardware(&report);
    return report.count;
}
