/* test_operator.c - O1 and others: an operator that tries what it may not, in a real worker; a host that changes what lies in shared
 * memory; a worker that is killed. Takes the program of the hostile worker. */
#include "tests/enclave/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ROWS = 1000, EPC_BYTES = 8 << 20 };
static const char *program;

struct scene {
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_enclave *enclave;
    uint32_t rows;
    int64_t sum;
};

static int draw(void *argument, void *bytes, size_t byte_count)
{
    (void)argument;
    return getrandom(bytes, byte_count, 0) == (ssize_t)byte_count ? PST_OK : PST_EIO;
}

static int take(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns)
{
    struct scene *scene = taker;
    (void)output, (void)bucket;
    for (uint32_t i = 0; i < row_count; i++)
        scene->sum += ((const int64_t *)columns[1])[i];
    scene->rows += row_count;
    return PST_OK;
}

static int start(struct scene *scene, const char *call, uint64_t epc_bytes, char *ret_why)
{
    static const uint32_t buckets[TALLY_BUCKETS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, call);
    struct pst_enclave_settings settings = {.operator= & scene->config,
                                            .buckets = buckets,
                                            .bucket_count = TALLY_BUCKETS,
                                            .epc_bytes = epc_bytes,
                                            .outside_bytes = 64 << 20,
                                            .program = program,
                                            .quiet_seconds_max = 1,
                                            .random = draw,
                                            .take = take,
                                            .taker = scene};
    return pst_enclave_start(&pst_enclave_process, &settings, &scene->enclave, ret_why);
}

static int frame(struct scene *scene, uint32_t first)
{
    static int64_t time[ROWS], values[ROWS];
    static uint64_t hash[ROWS];
    static uint32_t keys[ROWS];
    const void *columns[] = {keys, values};
    for (uint32_t i = 0; i < ROWS; i++) {
        time[i] = 1;
        values[i] = 1;
        keys[i] = first + i;
        hash[i] = keys[i] * UINT64_C(0x9e3779b97f4a7c15);
    }
    return pst_enclave_frame(scene->enclave,
                             &(struct pst_rows){.row_count = ROWS, .columns = columns, .time = time, .hash = hash});
}

static void without_anything_tried_it_works_and_says_what_holds(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES] = "";
    int rc = start(&scene, "", EPC_BYTES, why);
    if (rc != PST_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, PST_OK);
    assert_int_equal(frame(&scene, 0), PST_OK);
    assert_int_equal(frame(&scene, 500), PST_OK);
    assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_OK);
    assert_int_equal(scene.rows, 1500);
    assert_int_equal(scene.sum, 2000);
    assert_int_equal(pst_enclave_timer_min(scene.enclave), 10 + 100 * TALLY_EPOCH);
    assert_int_equal(pst_enclave_end(scene.enclave, 20), PST_OK);
    struct pst_enclave_report report;
    pst_enclave_report(scene.enclave, &report);
    assert_string_equal(report.backend, "process");
    assert_true((report.facts & PST_FACT_SECCOMP) != 0);
    assert_int_equal(report.guards & ~(uint32_t)PST_GUARD_USERS, 0); /* never more */
    pst_enclave_free(scene.enclave);
}

static void each_system_call_but_two_ends_the_worker(void **state)
{
    (void)state;
    static const char *const calls[] = {"open",
                                        "socket",
                                        "execve",
                                        "fork",
                                        "ptrace",
                                        "process_vm_writev",
                                        "io_uring_setup",
                                        "mprotect",
                                        "mmap",
                                        "munmap",
                                        "prctl",
                                        "kill",
                                        "write",
                                        "getrandom",
                                        "clock_gettime",
                                        "futex of another word",
                                        "futex of another kind",
                                        "exit of the thread alone"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct scene scene;
        char why[PST_ENCLAVE_WHY_BYTES];
        assert_int_equal(start(&scene, calls[i], EPC_BYTES, why), PST_OK);
        assert_int_equal(frame(&scene, 0), PST_OK);
        int rc = pst_enclave_time(scene.enclave, 10, 10);
        if (rc != PST_EIO || strstr(pst_enclave_why(scene.enclave), "SIGSYS") == NULL)
            print_message("%s: %d, %s\n", calls[i], rc, pst_enclave_why(scene.enclave));
        assert_int_equal(rc, PST_EIO);
        assert_non_null(strstr(pst_enclave_why(scene.enclave), "SIGSYS"));
        assert_int_equal(scene.rows, 0);
        assert_int_equal(pst_enclave_time(scene.enclave, 20, 20), PST_EIO); /* gone for good */
        pst_enclave_free(scene.enclave);
    }
}

static void the_stack_ends_where_it_ends(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "overflow of the stack", EPC_BYTES, why), PST_OK);
    assert_int_equal(frame(&scene, 0), PST_OK);
    assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_EIO);
    assert_non_null(strstr(pst_enclave_why(scene.enclave), "signal 11"));
    pst_enclave_free(scene.enclave);
}

static void an_operators_error_comes_with_its_sentence(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "fail", EPC_BYTES, why), PST_OK);
    int rc = frame(&scene, 0);
    if (rc == PST_OK)
        rc = pst_enclave_time(scene.enclave, 10, 10);
    assert_int_equal(rc, PST_EDATA);
    assert_string_equal(pst_enclave_why(scene.enclave), "on_frame: the test wants it so");
    pst_enclave_free(scene.enclave);
}

static pid_t child_of_ours(void)
{
    char path[64];
    int pid = 0;
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    (void)fclose(file);
    return pid;
}

static void a_worker_that_is_killed_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_OK);
    assert_int_equal(frame(&scene, 0), PST_OK);
    assert_int_equal(kill(child_of_ours(), SIGKILL), 0);
    int rc = PST_OK;
    for (int64_t t = 10; t < 10000 && rc == PST_OK; t += 10)
        rc = pst_enclave_time(scene.enclave, t, t);
    assert_int_equal(rc, PST_EIO);
    assert_non_null(strstr(pst_enclave_why(scene.enclave), "signal 9"));
    pst_enclave_free(scene.enclave);
}

static void a_worker_that_hangs_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_OK);
    assert_int_equal(frame(&scene, 0), PST_OK);
    assert_int_equal(kill(child_of_ours(), SIGSTOP), 0);
    int rc = PST_OK;
    for (int64_t t = 10; t < 10000 && rc == PST_OK; t += 10)
        rc = pst_enclave_time(scene.enclave, t, t);
    assert_int_equal(rc, PST_ETIMEOUT);
    assert_string_equal(pst_enclave_why(scene.enclave), "its worker has not moved for 1 s");
    pst_enclave_free(scene.enclave);
}

/* The first mapping of this process that has the name. */
static uint8_t *mapping(const char *name)
{
    char line[512];
    void *begin = NULL;
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    while (begin == NULL && fgets(line, sizeof line, file) != NULL)
        if (strstr(line, name) != NULL)
            begin = (void *)(uintptr_t)strtoull(line, NULL, 16);
    (void)fclose(file);
    assert_non_null(begin);
    return begin;
}

static void a_host_that_writes_into_the_rings_ends_the_worker_and_no_more(void **state)
{
    (void)state;
    static const uint64_t heads[] = {UINT64_MAX, 0, PST_SLOTS + 2, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct scene scene;
        char why[PST_ENCLAVE_WHY_BYTES];
        assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_OK);
        assert_int_equal(frame(&scene, 0), PST_OK);
        assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_OK);
        struct pst_control *control = (struct pst_control *)(void *)mapping("memfd:penstock-border");
        int rc = PST_OK;
        for (int64_t t = 20; t < 100000 && rc == PST_OK; t += 10) {
            atomic_store(&control->in_head, heads[i]);
            (void)syscall(SYS_futex, &control->inside_sleeps, FUTEX_WAKE, 1, NULL, NULL, 0); /* it is to look now */
            rc = pst_enclave_time(scene.enclave, t, t);
        }
        assert_int_not_equal(rc, PST_OK);
        assert_int_equal(atomic_load(&control->reason), PST_INSIDE_BORDER);
        pst_enclave_free(scene.enclave);
    }
}

static void a_page_that_is_changed_outside_ends_the_run_with_that(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_enclave_counts counts;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_OK);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(frame(&scene, i * ROWS), PST_OK);
    assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_OK);
    pst_enclave_counts(scene.enclave, &counts);
    assert_true(counts.page_outs > 0);
    assert_true(counts.epc_used_max <= EPC_BYTES);
    assert_int_equal(scene.rows, 40 * ROWS);
    char path[64], name[256];
    int fd = -1;
    for (int i = 3; i < 64 && fd < 0; i++) { /* the memory outside, by its descriptor in this process */
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        ssize_t n = readlink(path, name, sizeof name - 1);
        name[n > 0 ? n : 0] = '\0';
        fd = strstr(name, "penstock-outside") != NULL ? i : -1;
    }
    assert_true(fd >= 0);
    uint8_t byte;
    for (uint64_t at = 100; at < (32 << 20); at += 4096)
        if (pread(fd, &byte, 1, (off_t)at) == 1 && byte != 0) {
            byte ^= 1;
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        }
    int rc = PST_OK;
    for (uint32_t i = 0; i < 40 && rc == PST_OK; i++)
        rc = frame(&scene, i * ROWS);
    if (rc == PST_OK)
        rc = pst_enclave_time(scene.enclave, 20, 20);
    assert_int_equal(rc, PST_EREFUSED);
    assert_non_null(strstr(pst_enclave_why(scene.enclave), "is not what was put there"));
    pst_enclave_free(scene.enclave);
}

static void a_measurement_is_of_the_program_and_the_configuration(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_enclave_report one, two, three;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_OK);
    pst_enclave_report(scene.enclave, &one);
    pst_enclave_free(scene.enclave);
    assert_int_equal(start(&scene, "", 2 * EPC_BYTES, why), PST_OK); /* changes no result */
    pst_enclave_report(scene.enclave, &two);
    pst_enclave_free(scene.enclave);
    assert_int_equal(start(&scene, "x", EPC_BYTES, why), PST_OK);
    pst_enclave_report(scene.enclave, &three);
    pst_enclave_free(scene.enclave);
    assert_memory_equal(one.measurement, two.measurement, PST_MEASUREMENT_BYTES);
    assert_memory_not_equal(one.measurement, three.measurement, PST_MEASUREMENT_BYTES);
}

static void an_epc_that_is_too_small_names_one_that_is_not(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    unsigned long long kib = 0;
    assert_int_equal(start(&scene, "", 1 << 20, why), PST_EGRAPH);
    const char *says = strstr(why, "so far it takes ");
    assert_non_null(says);
    assert_int_equal(sscanf(says, "so far it takes %llu KiB", &kib), 1);
    assert_int_equal(start(&scene, "", kib << 10, why), PST_OK);
    pst_enclave_free(scene.enclave);
}

static void no_program_and_another_program_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    const char *was = program;
    program = "/nowhere/penstock-enclave";
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_ENOENT);
    program = "/bin/true";
    assert_int_equal(start(&scene, "", EPC_BYTES, why), PST_EIO);
    program = was;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_anything_tried_it_works_and_says_what_holds),
        cmocka_unit_test(each_system_call_but_two_ends_the_worker),
        cmocka_unit_test(the_stack_ends_where_it_ends),
        cmocka_unit_test(an_operators_error_comes_with_its_sentence),
        cmocka_unit_test(a_worker_that_is_killed_is_noticed),
        cmocka_unit_test(a_worker_that_hangs_is_noticed),
        cmocka_unit_test(a_host_that_writes_into_the_rings_ends_the_worker_and_no_more),
        cmocka_unit_test(a_page_that_is_changed_outside_ends_the_run_with_that),
        cmocka_unit_test(a_measurement_is_of_the_program_and_the_configuration),
        cmocka_unit_test(an_epc_that_is_too_small_names_one_that_is_not),
        cmocka_unit_test(no_program_and_another_program_are_refused),
    };
    if (argc != 2)
        return 2;
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
