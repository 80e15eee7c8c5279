/* test_operator.c - O1 and others: an operator that tries what it may not, in a real worker; a host that changes what lies in shared
 * memory; a worker that is killed. Takes the program of the hostile worker. */
#include "tests/attacks/scene.h"

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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void without_anything_tried_it_works_and_says_what_holds(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES] = "";
    int rc = scene_start(&scene, "", SCENE_EPC_BYTES, why);
    if (rc != PST_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, PST_OK);
    assert_int_equal(scene_frame(&scene, 0), PST_OK);
    assert_int_equal(scene_frame(&scene, 500), PST_OK);
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

/* The control: without a filter the call is made, whatever it comes to, and who has made it goes on. */
static bool goes_on_outside(const char *call)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)tally_try(call);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void o1_r7_each_system_call_but_two_ends_the_worker(void **state)
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
        assert_int_equal(scene_start(&scene, calls[i], SCENE_EPC_BYTES, why), PST_OK);
        assert_int_equal(scene_frame(&scene, 0), PST_OK);
        int rc = pst_enclave_time(scene.enclave, 10, 10);
        if (rc != PST_EIO || strstr(pst_enclave_why(scene.enclave), "SIGSYS") == NULL)
            print_message("%s: %d, %s\n", calls[i], rc, pst_enclave_why(scene.enclave));
        assert_int_equal(rc, PST_EIO);
        assert_non_null(strstr(pst_enclave_why(scene.enclave), "SIGSYS"));
        assert_int_equal(scene.rows, 0);
        assert_int_equal(pst_enclave_time(scene.enclave, 20, 20), PST_EIO); /* gone for good */
        pst_enclave_free(scene.enclave);
        assert_true(goes_on_outside(calls[i]));
    }
}

/* Memory: the EPC is all that it gets, from itself. */
static void o4_an_operator_that_takes_all_memory_gets_its_epc_and_no_more(void **state)
{
    (void)state;
    struct scene scene, control;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "take all memory", SCENE_EPC_BYTES, why), PST_OK);
    assert_int_equal(scene_start(&control, "take all memory", 4 * SCENE_EPC_BYTES, why), PST_OK);
    struct scene *both[] = {&scene, &control};
    int resident[2];
    for (int i = 0; i < 2; i++) {
        int before = scene_status(both[i]->worker, "VmRSS");
        assert_int_equal(scene_frame(both[i], 0), PST_OK);
        assert_int_equal(scene_time(both[i], 10), PST_OK); /* it cannot get more, and goes on */
        assert_int_equal(both[i]->rows, SCENE_ROWS);
        resident[i] = scene_status(both[i]->worker, "VmRSS") - before;
    }
    print_message("took %d KiB of %d, and %d of %d\n", resident[0], SCENE_EPC_BYTES / 1024, resident[1],
                  4 * SCENE_EPC_BYTES / 1024);
    assert_true(resident[0] > SCENE_EPC_BYTES / 1024 / 4 && resident[0] <= SCENE_EPC_BYTES / 1024 + 1024);
    assert_true(resident[1] > resident[0] + SCENE_EPC_BYTES / 1024); /* the control: it does take what there is */
    pst_enclave_free(scene.enclave);
    pst_enclave_free(control.enclave);
}

static void o4_an_operator_that_spins_is_noticed_and_ended(void **state)
{
    (void)state;
    struct scene scene, control;
    char why[PST_ENCLAVE_WHY_BYTES];
    scene_patience_seconds = 1;
    assert_int_equal(scene_start(&scene, "spin", SCENE_EPC_BYTES, why), PST_OK);
    scene_patience_seconds = SCENE_PATIENCE_SECONDS;
    assert_int_equal(scene_start(&control, "", SCENE_EPC_BYTES, why), PST_OK);
    assert_int_equal(scene_time(&scene, 10), PST_ETIMEOUT);
    assert_string_equal(pst_enclave_why(scene.enclave), "its worker has not moved for 1 s");
    assert_int_equal(scene_time(&control, 10), PST_OK); /* another one is not held up */
    pst_enclave_free(scene.enclave);
    assert_true(scene_status(scene.worker, "VmRSS") < 0); /* nothing of it is left */
    pst_enclave_free(control.enclave);
}

/* It does not wait for a host that does not take: up to its ring's bound, and then it sleeps. */
static void b5_a_host_that_takes_nothing_gets_no_more_than_a_ring_full(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "", 4 * SCENE_EPC_BYTES, why), PST_OK);
    const struct pst_control *control = (const struct pst_control *)(void *)scene.border;
    for (int n = 0; n < 5; n++)
        assert_int_equal(scene_frames(&scene, 10), PST_OK);
    for (int64_t t = 1; t <= PST_ENCLAVE_ASKED_MAX; t++) /* 10000 rows each, of 1024 or less a message */
        assert_int_equal(pst_enclave_ask_time(scene.enclave, t * 100 * TALLY_EPOCH, INT64_MAX), PST_OK);
    pst_enclave_kick(scene.enclave);
    while (atomic_load(&control->out_head) < PST_SLOTS || atomic_load(&control->inside_sleeps) == 0)
        assert_true(scene_status(scene.worker, "VmRSS") <=
                    4 * SCENE_EPC_BYTES / 1024 + PST_BORDER_BYTES / 1024 + 65536);
    assert_int_equal(atomic_load(&control->out_head), PST_SLOTS + atomic_load(&control->out_tail));
    int rc;
    for (int64_t n = 0; n < PST_ENCLAVE_ASKED_MAX; n++) /* and then it goes on as if nothing had been */
        while ((rc = pst_enclave_answered(scene.enclave)) == PST_EAGAIN)
            assert_int_equal(pst_enclave_wait(scene.enclave, 1000), PST_OK);
    assert_int_equal(rc, PST_OK);
    assert_int_equal(scene.rows, PST_ENCLAVE_ASKED_MAX * 10 * SCENE_ROWS);
    pst_enclave_free(scene.enclave);
}

static void the_stack_ends_where_it_ends(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "overflow of the stack", SCENE_EPC_BYTES, why), PST_OK);
    assert_int_equal(scene_frame(&scene, 0), PST_OK);
    assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_EIO);
    assert_non_null(strstr(pst_enclave_why(scene.enclave), "signal 11"));
    pst_enclave_free(scene.enclave);
}

static void an_operators_error_comes_with_its_sentence(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "fail", SCENE_EPC_BYTES, why), PST_OK);
    int rc = scene_frame(&scene, 0);
    if (rc == PST_OK)
        rc = pst_enclave_time(scene.enclave, 10, 10);
    assert_int_equal(rc, PST_EDATA);
    assert_string_equal(pst_enclave_why(scene.enclave), "on_frame: the test wants it so");
    pst_enclave_free(scene.enclave);
}

static void a_worker_that_is_killed_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    assert_int_equal(scene_frame(&scene, 0), PST_OK);
    assert_int_equal(kill(scene.worker, SIGKILL), 0);
    int rc = PST_OK;
    for (int64_t t = 10; t < 10000 && rc == PST_OK; t += 10)
        rc = pst_enclave_time(scene.enclave, t, t);
    assert_int_equal(rc, PST_EIO);
    assert_non_null(strstr(pst_enclave_why(scene.enclave), "signal 9"));
    pst_enclave_free(scene.enclave);
}

static void b5_a_worker_that_hangs_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    scene_patience_seconds = 1;
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    scene_patience_seconds = SCENE_PATIENCE_SECONDS;
    assert_int_equal(scene_frame(&scene, 0), PST_OK);
    assert_int_equal(kill(scene.worker, SIGSTOP), 0);
    int rc = PST_OK;
    for (int64_t t = 10; t < 10000 && rc == PST_OK; t += 10)
        rc = pst_enclave_time(scene.enclave, t, t);
    assert_int_equal(rc, PST_ETIMEOUT);
    assert_string_equal(pst_enclave_why(scene.enclave), "its worker has not moved for 1 s");
    pst_enclave_free(scene.enclave);
}

/* What a partition is busy with is known from outside: by it an operator gets more of them. */
static void the_processor_time_of_a_worker_is_known(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    const struct pst_control *control = (const struct pst_control *)(void *)scene.border;
    while (atomic_load(&control->inside_sleeps) == 0)
        continue;
    uint64_t before = pst_enclave_worked_ns(scene.enclave);
    assert_true(before != 0); /* it has started */
    for (int64_t t = 1; t <= 50; t++) {
        assert_int_equal(scene_frames(&scene, 3), PST_OK);
        assert_int_equal(pst_enclave_time(scene.enclave, t * TALLY_EPOCH, INT64_MAX), PST_OK);
    }
    assert_true(pst_enclave_worked_ns(scene.enclave) >
                before + 50 * 1000); /* a frame takes some microseconds at least */
    assert_int_equal(kill(scene.worker, SIGKILL), 0);
    int rc = PST_OK;
    for (int64_t t = 51; t < 10000 && rc == PST_OK; t++)
        rc = pst_enclave_time(scene.enclave, t * TALLY_EPOCH, INT64_MAX);
    assert_int_equal(rc, PST_EIO);
    assert_int_equal(pst_enclave_worked_ns(scene.enclave), 0); /* its number may be another process's by now */
    pst_enclave_free(scene.enclave);
}

static void b1_a_host_that_writes_into_the_rings_ends_the_worker_and_no_more(void **state)
{
    (void)state;
    static const uint64_t heads[] = {UINT64_MAX, 0, PST_SLOTS + 2, (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct scene scene;
        char why[PST_ENCLAVE_WHY_BYTES];
        assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
        assert_int_equal(scene_frame(&scene, 0), PST_OK);
        assert_int_equal(pst_enclave_time(scene.enclave, 10, 10), PST_OK);
        struct pst_control *control = (struct pst_control *)(void *)scene.border;
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

static void a1_a_measurement_is_of_the_program_and_the_configuration(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_enclave_report one, two, three;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    pst_enclave_report(scene.enclave, &one);
    pst_enclave_free(scene.enclave);
    assert_int_equal(scene_start(&scene, "", 2 * SCENE_EPC_BYTES, why), PST_OK); /* changes no result */
    pst_enclave_report(scene.enclave, &two);
    pst_enclave_free(scene.enclave);
    assert_int_equal(scene_start(&scene, "x", SCENE_EPC_BYTES, why), PST_OK);
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
    assert_int_equal(scene_start(&scene, "", 1 << 20, why), PST_EGRAPH);
    const char *says = strstr(why, "so far it takes ");
    assert_non_null(says);
    assert_int_equal(sscanf(says, "so far it takes %llu KiB", &kib), 1);
    assert_int_equal(scene_start(&scene, "", kib << 10, why), PST_OK);
    pst_enclave_free(scene.enclave);
}

/* Its host would have the key of images, and could read in them what it carries. */
static void a_worker_of_sealed_rows_takes_no_key_of_images(void **state)
{
    (void)state;
    struct scene first, second, refused;
    const uint8_t image_key[PST_IMAGE_KEY_BYTES] = {1}, nothing[32] = {0};
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(scene_start_sealed(&refused, image_key, why), PST_EGRAPH);
    assert_non_null(strstr(why, "where rows are sealed from end to end its host has no key of images"));
    assert_int_equal(scene_start_sealed(&first, NULL, why), PST_OK);
    assert_int_equal(scene_start_sealed(&second, NULL, why), PST_OK); /* the same once more is another one */
    assert_memory_not_equal(pst_enclave_channel_key(first.enclave), nothing, sizeof nothing);
    assert_memory_not_equal(pst_enclave_channel_key(first.enclave), pst_enclave_channel_key(second.enclave), 32);
    assert_int_equal(pst_enclave_ask_image(first.enclave, 1, 10, 0), PST_OK); /* and nothing that opens comes out */
    int rc;
    while ((rc = pst_enclave_answered(first.enclave)) == PST_EAGAIN)
        (void)pst_enclave_wait(first.enclave, 1000);
    assert_int_equal(rc, PST_EIO);
    pst_enclave_free(first.enclave);
    pst_enclave_free(second.enclave);
}

static void no_program_and_another_program_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    const char *was = scene_program;
    scene_program = "/nowhere/penstock-enclave";
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_ENOENT);
    scene_program = "/bin/true";
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_EIO);
    scene_program = was;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_anything_tried_it_works_and_says_what_holds),
        cmocka_unit_test(o1_r7_each_system_call_but_two_ends_the_worker),
        cmocka_unit_test(o4_an_operator_that_takes_all_memory_gets_its_epc_and_no_more),
        cmocka_unit_test(o4_an_operator_that_spins_is_noticed_and_ended),
        cmocka_unit_test(b5_a_host_that_takes_nothing_gets_no_more_than_a_ring_full),
        cmocka_unit_test(the_stack_ends_where_it_ends),
        cmocka_unit_test(an_operators_error_comes_with_its_sentence),
        cmocka_unit_test(a_worker_that_is_killed_is_noticed),
        cmocka_unit_test(b5_a_worker_that_hangs_is_noticed),
        cmocka_unit_test(the_processor_time_of_a_worker_is_known),
        cmocka_unit_test(b1_a_host_that_writes_into_the_rings_ends_the_worker_and_no_more),
        cmocka_unit_test(a1_a_measurement_is_of_the_program_and_the_configuration),
        cmocka_unit_test(an_epc_that_is_too_small_names_one_that_is_not),
        cmocka_unit_test(a_worker_of_sealed_rows_takes_no_key_of_images),
        cmocka_unit_test(no_program_and_another_program_are_refused),
    };
    if (argc != 2)
        return 2;
    scene_program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
