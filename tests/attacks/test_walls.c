/* test_walls.c - what stands behind a worker's filters of system calls: Landlock, namespaces, sealed code, no dumps. An operator tries
 * each in a real worker of which the filters were lifted: its host, a process of its own here, is told that they were put there, and they
 * are not. The control is the same in a worker that gives none of this up (bare.c), on a system without Landlock: there each goes
 * through. And what a worker says of itself is looked at from outside. Takes the programs of the two workers. What this system has not is
 * told, and not run. */
#include "tests/attacks/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NR_LANDLOCK_CREATE = 444, NR_MSEAL = 462 };
static const char *worker_program, *bare_program;

struct outcome { /* of an operator's try, from the process that was its host */
    int rc;
    uint32_t facts;
    char why[PST_ENCLAVE_WHY_BYTES];
};

/* From now on seccomp() is said to have been done, and is not; without_landlock: and there is no Landlock. */
static bool lift(bool without_landlock)
{
    struct sock_filter rules[] = {
        /* 0 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        /* 1 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 2, 0),
        /* 2 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, without_landlock ? NR_LANDLOCK_CREATE : SYS_seccomp, 2, 0),
        /* 3 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        /* 4 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        /* 5 */ BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* A host of its own, for a filter is for good. It says nothing itself: what it has seen comes back. */
static void host(const char *program, bool without_landlock, const char *call, struct outcome *ret)
{
    struct scene scene;
    struct pst_enclave_report report;
    *ret = (struct outcome){.rc = PST_EINTERNAL};
    scene_program = program;
    if (!lift(without_landlock))
        return;
    ret->rc = scene_start(&scene, call, SCENE_EPC_BYTES, ret->why);
    if (ret->rc != PST_OK)
        return;
    pst_enclave_report(scene.enclave, &report);
    ret->facts = report.facts;
    ret->rc = scene_frame(&scene, 0);
    if (ret->rc == PST_OK)
        ret->rc = scene_time(&scene, 10);
    (void)snprintf(ret->why, sizeof ret->why, "%s", pst_enclave_why(scene.enclave));
    pst_enclave_free(scene.enclave);
}

static struct outcome tried(const char *program, bool without_landlock, const char *call)
{
    struct outcome outcome = {0};
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        host(program, without_landlock, call, &outcome);
        _exit(write(ends[1], &outcome, sizeof outcome) == (ssize_t)sizeof outcome ? 0 : 1);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &outcome, sizeof outcome), sizeof outcome);
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return outcome;
}

/* What came of the call: "RC, error N". */
static void expect(const struct outcome *outcome, const char *call, int rc, int error)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "on_time: %d, error %d", rc, error);
    if (outcome->rc != PST_EDATA || strcmp(outcome->why, wanted) != 0)
        print_message("%s: %d, %s\n", call, outcome->rc, outcome->why);
    assert_int_equal(outcome->rc, PST_EDATA);
    assert_string_equal(outcome->why, wanted);
}

/* In a worker that gives nothing up it goes through. */
static void works_without(const char *call)
{
    struct outcome outcome = tried(bare_program, true, call);
    assert_int_equal(outcome.facts & (PST_FACT_LANDLOCK | PST_FACT_NAMESPACES | PST_FACT_MSEAL | PST_FACT_NO_DUMP), 0);
    expect(&outcome, call, 0, 0);
}

static bool has_landlock(void) { return syscall(NR_LANDLOCK_CREATE, NULL, 0, 1) >= 1; }
static bool has_mseal(void) { return syscall(NR_MSEAL, 0, 0, 0) == 0; } /* of no page at all */

static bool has_namespaces(void)
{
    int status = -1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID) == 0
                  ? 0
                  : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A worker claims what the system has, and nothing else. */
static void needs(uint32_t facts, uint32_t fact, bool has, const char *what)
{
    assert_int_equal((facts & fact) != 0, has);
    if (has)
        return;
    print_message("not run: this system has no %s, and the worker does not claim it\n", what);
    skip();
}

static void o2_without_filters_landlock_refuses_files_ports_and_signals(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int error, abi;
    } tries[] = {{"tell open", EACCES, 1}, {"tell bind", EACCES, 4}, {"tell signal", EPERM, 6}};
    long abi = syscall(NR_LANDLOCK_CREATE, NULL, 0, 1);
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        struct outcome outcome = tried(worker_program, false, tries[i].call);
        needs(outcome.facts, PST_FACT_LANDLOCK, has_landlock(), "Landlock");
        works_without(tries[i].call);
        if (abi < tries[i].abi)
            print_message("not run: %s, for Landlock here is of version %ld\n", tries[i].call, abi);
        else
            expect(&outcome, tries[i].call, -1, tries[i].error);
    }
}

static void o2_without_filters_no_port_of_its_host_is_reached(void **state)
{
    (void)state;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof own;
    char call[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&own, sizeof own), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &bytes), 0);
    (void)snprintf(call, sizeof call, "tell connect %u", ntohs(own.sin_port));
    struct outcome outcome = tried(worker_program, true, call);
    needs(outcome.facts, PST_FACT_NAMESPACES, has_namespaces(), "namespaces for this user");
    expect(&outcome, call, -1, ENETUNREACH);
    works_without(call);
    (void)close(fd);
}

static void o2_without_filters_code_is_not_made_writable(void **state)
{
    (void)state;
    struct outcome outcome = tried(worker_program, false, "tell code");
    needs(outcome.facts, PST_FACT_MSEAL, has_mseal(), "mseal");
    expect(&outcome, "tell code", -1, EPERM);
    works_without("tell code");
}

static void r4_a_worker_is_not_dumpable(void **state)
{
    (void)state;
    struct outcome outcome = tried(worker_program, false, "tell dumpable");
    assert_true((outcome.facts & PST_FACT_NO_DUMP) != 0);
    expect(&outcome, "tell dumpable", 0, 0);
    outcome = tried(bare_program, true, "tell dumpable");
    expect(&outcome, "tell dumpable", 1, 0);
}

/* ---- from outside ---- */

/* Of a process that is not dumpable this is told to root alone, and not to each. */
static bool namespaces_are_told(int pid)
{
    char path[64], name[128];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    return readlink(path, name, sizeof name) > 0 || errno != EACCES;
}

static bool same_namespace(int pid, const char *name)
{
    char path[64], own[128], others[128];
    (void)snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    ssize_t own_bytes = readlink(path, own, sizeof own);
    (void)snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
    ssize_t others_bytes = readlink(path, others, sizeof others);
    assert_true(own_bytes > 0 && others_bytes > 0);
    return own_bytes == others_bytes && memcmp(own, others, (size_t)own_bytes) == 0;
}

static void o2_what_a_worker_has_given_up_is_seen_from_outside(void **state)
{
    (void)state;
    static const char *const names[] = {"user", "net", "ipc", "uts", "mnt"};
    struct scene scene, bare;
    struct pst_enclave_report report;
    char why[PST_ENCLAVE_WHY_BYTES];
    int filters = scene_status(getpid(), "Seccomp_filters");
    scene_program = bare_program;
    assert_int_equal(scene_start(&bare, "", SCENE_EPC_BYTES, why), PST_OK);
    scene_program = worker_program;
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    pst_enclave_report(scene.enclave, &report);
    assert_int_equal(scene_status(scene.worker, "NoNewPrivs"), 1);
    assert_int_equal(scene_status(scene.worker, "Seccomp"), SECCOMP_MODE_FILTER);
    if (filters >= 0)
        assert_int_equal(scene_status(scene.worker, "Seccomp_filters"), filters + 2);
    if (scene_status(getpid(), "NoNewPrivs") != 0) /* the control: it is not so with its host */
        print_message("not run: that its host may still gain privileges, for whoever has started it may not\n");
    if ((report.facts & PST_FACT_NAMESPACES) == 0)
        print_message("not run: namespaces, for this user has none here, and the worker does not claim them\n");
    else if (!namespaces_are_told(scene.worker))
        print_message("not run: which namespaces it has, for that is not told to this user\n");
    else
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            assert_false(same_namespace(scene.worker, names[i]));
            assert_true(same_namespace(bare.worker, names[i])); /* the control */
        }
    pst_enclave_free(scene.enclave);
    pst_enclave_free(bare.enclave);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(o2_without_filters_landlock_refuses_files_ports_and_signals),
        cmocka_unit_test(o2_without_filters_no_port_of_its_host_is_reached),
        cmocka_unit_test(o2_without_filters_code_is_not_made_writable),
        cmocka_unit_test(r4_a_worker_is_not_dumpable),
        cmocka_unit_test(o2_what_a_worker_has_given_up_is_seen_from_outside),
    };
    if (argc != 3)
        return 2;
    worker_program = argv[1];
    bare_program = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
