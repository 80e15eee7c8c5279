/* test_frames.c - M1, M2, B1 to B4: a host, or whoever sits in the shared memory, that drops, repeats, exchanges, changes and crosses the
 * frames of real workers. Each control is the same with the key of the border, as somebody without seals between them would do it: that
 * is believed. Takes the program of the worker. */
#include "tests/attacks/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *slot_in(const struct scene *scene, uint64_t i)
{
    return scene->border + PST_CONTROL_BYTES + (size_t)(i % PST_SLOTS) * PST_SLOT_BYTES;
}

static struct pst_control *control(const struct scene *scene) { return (struct pst_control *)(void *)scene->border; }

/* Four messages lie in the ring, three frames and a time, and the worker has been stopped before it could take one. */
static void scene_full(struct scene *scene)
{
    char why[PST_ENCLAVE_WHY_BYTES];
    int rc = scene_start(scene, "", SCENE_EPC_BYTES, why);
    if (rc != PST_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, PST_OK);
    while (atomic_load(&control(scene)->inside_sleeps) == 0)
        continue;
    assert_int_equal(kill(scene->worker, SIGSTOP), 0);
    assert_int_equal(scene_frames(scene, 3), PST_OK);
    assert_int_equal(pst_enclave_ask_time(scene->enclave, 10, 10), PST_OK);
    assert_int_equal(atomic_load(&control(scene)->in_head), 4);
    assert_int_equal(atomic_load(&control(scene)->in_tail), 0);
}

static int goes_on(struct scene *scene)
{
    int rc;
    assert_int_equal(kill(scene->worker, SIGCONT), 0);
    while ((rc = pst_enclave_answered(scene->enclave)) == PST_EAGAIN)
        if ((rc = pst_enclave_wait(scene->enclave, 1000)) != PST_OK)
            break;
    return rc;
}

static void stops(struct scene *scene)
{
    int rc = goes_on(scene);
    if (rc != PST_EIO)
        print_message("%d: %s\n", rc, pst_enclave_why(scene->enclave));
    assert_int_equal(rc, PST_EIO);
    assert_int_equal(scene->rows, 0);
    assert_int_equal(atomic_load(&control(scene)->reason), PST_INSIDE_BORDER);
    assert_non_null(
        strstr(pst_enclave_why(scene->enclave), "what the host wrote into the shared memory was not valid"));
    pst_enclave_free(scene->enclave);
}

static void frames_that_are_left_alone_are_taken(void **state)
{
    (void)state;
    struct scene scene;
    scene_full(&scene);
    uint8_t *swap = malloc(PST_SLOT_BYTES); /* away and back again */
    assert_non_null(swap);
    memcpy(swap, slot_in(&scene, 1), PST_SLOT_BYTES);
    memset(slot_in(&scene, 1), 0, PST_SLOT_BYTES);
    memcpy(slot_in(&scene, 1), swap, PST_SLOT_BYTES);
    free(swap);
    assert_int_equal(goes_on(&scene), PST_OK);
    assert_int_equal(scene.rows, 3 * SCENE_ROWS);
    pst_enclave_free(scene.enclave);
}

static void m1_a_frame_that_is_repeated_stops_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    scene_full(&scene);
    memcpy(slot_in(&scene, 1), slot_in(&scene, 0), PST_SLOT_BYTES);
    stops(&scene);
}

static void m1_a_frame_that_is_dropped_stops_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    scene_full(&scene);
    for (uint64_t i = 1; i < 3; i++)
        memcpy(slot_in(&scene, i), slot_in(&scene, i + 1), PST_SLOT_BYTES);
    atomic_store(&control(&scene)->in_head, 3);
    stops(&scene);
}

static void m1_frames_that_are_exchanged_stop_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    uint8_t *swap = malloc(PST_SLOT_BYTES);
    assert_non_null(swap);
    scene_full(&scene);
    memcpy(swap, slot_in(&scene, 0), PST_SLOT_BYTES);
    memcpy(slot_in(&scene, 0), slot_in(&scene, 1), PST_SLOT_BYTES);
    memcpy(slot_in(&scene, 1), swap, PST_SLOT_BYTES);
    free(swap);
    stops(&scene);
}

/* Its number is in its header, which is in the clear, and under the seal. */
static void m1_frames_that_are_exchanged_with_their_numbers_put_right_stop_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    uint8_t *swap = malloc(PST_SLOT_BYTES);
    assert_non_null(swap);
    scene_full(&scene);
    memcpy(swap, slot_in(&scene, 0), PST_SLOT_BYTES);
    memcpy(slot_in(&scene, 0), slot_in(&scene, 1), PST_SLOT_BYTES);
    memcpy(slot_in(&scene, 1), swap, PST_SLOT_BYTES);
    free(swap);
    for (uint64_t i = 0; i < 2; i++)
        memcpy(slot_in(&scene, i) + offsetof(struct pst_message, sequence), &i, sizeof i);
    stops(&scene);
}

/* The tail is dropped: the time that would show it comes to nobody, so nothing is answered, and that is noticed. */
static void m1_a_tail_that_is_dropped_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    scene_patience_seconds = 1;
    scene_full(&scene);
    scene_patience_seconds = SCENE_PATIENCE_SECONDS;
    atomic_store(&control(&scene)->in_head, 2);
    assert_int_equal(goes_on(&scene), PST_ETIMEOUT);
    assert_int_equal(scene.rows, 0);
    pst_enclave_free(scene.enclave);
}

static void m2_a_frame_of_another_worker_stops_the_worker(void **state)
{
    (void)state;
    struct scene scene, other;
    scene_full(&scene);
    scene_full(&other); /* the same rows with the same numbers, another key */
    assert_memory_equal(slot_in(&scene, 1), slot_in(&other, 1), sizeof(struct pst_message));
    memcpy(slot_in(&scene, 1), slot_in(&other, 1), PST_SLOT_BYTES);
    stops(&scene);
    assert_int_equal(goes_on(&other), PST_OK); /* the control: where it belongs it is taken */
    assert_int_equal(other.rows, 3 * SCENE_ROWS);
    pst_enclave_free(other.enclave);
}

static void m2_a_frame_of_an_earlier_life_stops_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    uint8_t *earlier = malloc(PST_SLOT_BYTES);
    assert_non_null(earlier);
    scene_full(&scene);
    memcpy(earlier, slot_in(&scene, 1), PST_SLOT_BYTES);
    pst_enclave_free(scene.enclave);
    scene_full(&scene);
    memcpy(slot_in(&scene, 1), earlier, PST_SLOT_BYTES);
    free(earlier);
    stops(&scene);
}

/* Each field of a header in turn: what is said of rows and lengths, before it is used for anything. */
static void b1_a_header_that_lies_stops_the_worker(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{offsetof(struct pst_message, kind), PST_MESSAGE_TIME},
                {offsetof(struct pst_message, body_bytes), 0},
                {offsetof(struct pst_message, body_bytes), UINT32_MAX},
                {offsetof(struct pst_message, body_bytes), PST_BODY_BYTES_MAX},
                {offsetof(struct pst_message, body_bytes), PST_BODY_BYTES_MAX + 1},
                {offsetof(struct pst_message, sequence), 7},
                {offsetof(struct pst_message, sequence) + 4, 1},
                {offsetof(struct pst_message, port), 1},
                {offsetof(struct pst_message, row_count), UINT32_MAX},
                {offsetof(struct pst_message, row_count), 0}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct scene scene;
        scene_full(&scene);
        memcpy(slot_in(&scene, 1) + lies[i].at, &lies[i].value, sizeof lies[i].value);
        stops(&scene);
    }
}

/* What a host could do if there were no seals: the same forgeries, by somebody who has the keys. They go through, so what has stopped
 * them above is the seal. Of lengths and counts it is not: those are looked at as well. */
static void what_the_seals_are_for_works_without_them(void **state)
{
    (void)state;
    static const uint8_t key_in[PST_BORDER_KEY_BYTES] = {1}, key_out[PST_BORDER_KEY_BYTES] = {2};
    uint8_t *memory = aligned_alloc(4096, PST_BORDER_BYTES);
    assert_non_null(memory);
    memset(memory, 0, PST_BORDER_BYTES);
    struct pst_border host, forger, inside;
    assert_int_equal(pst_border_init(&host, memory, false, key_in, key_out), PST_OK);
    assert_int_equal(pst_border_init(&forger, memory, false, key_in, key_out), PST_OK);
    assert_int_equal(pst_border_init(&inside, memory, true, key_in, key_out), PST_OK);
    struct pst_message first = {.kind = PST_MESSAGE_TIME, .time = 1}, again = {.kind = PST_MESSAGE_TIME, .time = 1},
                       seen;
    uint8_t *body;
    assert_int_equal(pst_border_send(&host, &first, NULL, 0), PST_OK);
    forger.sent = forger.out.mine = 1; /* the same message a second time, with the next number */
    assert_int_equal(pst_border_send(&forger, &again, NULL, 0), PST_OK);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(pst_border_receive(&inside, &seen, &body), PST_OK);
        assert_int_equal(seen.sequence, i);
        assert_int_equal(seen.time, 1);
    }
    pst_border_fini(&host);
    pst_border_fini(&forger);
    pst_border_fini(&inside);
    free(memory);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_that_are_left_alone_are_taken),
        cmocka_unit_test(m1_a_frame_that_is_repeated_stops_the_worker),
        cmocka_unit_test(m1_a_frame_that_is_dropped_stops_the_worker),
        cmocka_unit_test(m1_frames_that_are_exchanged_stop_the_worker),
        cmocka_unit_test(m1_frames_that_are_exchanged_with_their_numbers_put_right_stop_the_worker),
        cmocka_unit_test(m1_a_tail_that_is_dropped_is_noticed),
        cmocka_unit_test(m2_a_frame_of_another_worker_stops_the_worker),
        cmocka_unit_test(m2_a_frame_of_an_earlier_life_stops_the_worker),
        cmocka_unit_test(b1_a_header_that_lies_stops_the_worker),
        cmocka_unit_test(what_the_seals_are_for_works_without_them),
    };
    if (argc != 2)
        return 2;
    scene_program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
