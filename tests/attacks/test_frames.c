/* test_frames.c - M1, M2, B1 to B4, B6: a host, or whoever sits in the shared memory, that drops, repeats, exchanges, changes and crosses
 * the frames of real workers. Each is tried first on a worker that does not protect itself from it, where it has to work: one whose
 * border has no seals (unsealed.c), one that checks nothing either (unchecked.c), one that reads a length twice (twice.c). A host has the
 * keys of its borders, so what it says itself under their seals is tried on the first of these, too, whose checks are those of all. Takes
 * the programs of the four workers. */
#include "tests/attacks/scene.h"
#include "tests/attacks/unsealed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *slot_in(const struct scene *scene, uint64_t i)
{
    return scene->border + PST_CONTROL_BYTES + (size_t)(i % PST_SLOTS) * PST_SLOT_BYTES;
}

static struct pst_control *control(const struct scene *scene) { return (struct pst_control *)(void *)scene->border; }

enum worker { SEALED, UNSEALED, UNCHECKED, TWICE, WORKERS };
static const char *programs[WORKERS];

static void use(enum worker worker)
{
    scene_program = programs[worker];
    unsealed = worker != SEALED;
}

/* Four messages lie in the ring, three frames and a time, and the worker has been stopped before it could take one. first: keys of the
 * frames are SCENE_ROWS from there on. call: its operator's, which is another one's where it is another. */
static void scene_full_of(struct scene *scene, const char *call, const uint32_t first[3])
{
    char why[PST_ENCLAVE_WHY_BYTES];
    int rc = scene_start(scene, call, SCENE_EPC_BYTES, why);
    if (rc != PST_OK)
        print_message("%s\n", why);
    assert_int_equal(rc, PST_OK);
    while (atomic_load(&control(scene)->inside_sleeps) == 0)
        continue;
    assert_int_equal(kill(scene->worker, SIGSTOP), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(scene_frame(scene, first[i]), PST_OK);
    assert_int_equal(pst_enclave_ask_time(scene->enclave, 10, 10), PST_OK);
    assert_int_equal(atomic_load(&control(scene)->in_head), 4);
    assert_int_equal(atomic_load(&control(scene)->in_tail), 0);
}

static void scene_full(struct scene *scene)
{
    scene_full_of(scene, "", (const uint32_t[]){0, SCENE_ROWS, 2 * SCENE_ROWS});
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

/* The attack is believed by a worker without seals, which puts out so many rows then, where three frames had more; and stops the other
 * one. */
static void believed_without_seals(void (*attack)(struct scene *scene), uint32_t row_count, int64_t sum)
{
    struct scene scene;
    use(UNSEALED);
    scene_full(&scene);
    attack(&scene);
    assert_int_equal(goes_on(&scene), PST_OK);
    assert_int_equal(scene.rows, row_count);
    assert_int_equal(scene.sum, sum);
    assert_int_not_equal(row_count, 3 * SCENE_ROWS);
    pst_enclave_free(scene.enclave);
    use(SEALED);
    scene_full(&scene);
    attack(&scene);
    stops(&scene);
}

static void frames_that_are_left_alone_are_taken(void **state)
{
    (void)state;
    for (enum worker worker = 0; worker < WORKERS; worker++) {
        struct scene scene;
        use(worker);
        scene_full(&scene);
        uint8_t *swap = malloc(PST_SLOT_BYTES); /* away and back again */
        assert_non_null(swap);
        memcpy(swap, slot_in(&scene, 1), PST_SLOT_BYTES);
        memset(slot_in(&scene, 1), 0, PST_SLOT_BYTES);
        memcpy(slot_in(&scene, 1), swap, PST_SLOT_BYTES);
        free(swap);
        assert_int_equal(goes_on(&scene), PST_OK);
        assert_int_equal(scene.rows, 3 * SCENE_ROWS);
        assert_int_equal(scene.sum, 3 * SCENE_ROWS);
        pst_enclave_free(scene.enclave);
    }
}

static void repeat(struct scene *scene) { memcpy(slot_in(scene, 1), slot_in(scene, 0), PST_SLOT_BYTES); }

static void m1_a_frame_that_is_repeated_stops_the_worker(void **state)
{
    (void)state;
    believed_without_seals(repeat, 2 * SCENE_ROWS, 3 * SCENE_ROWS);
}

static void drop(struct scene *scene)
{
    for (uint64_t i = 1; i < 3; i++)
        memcpy(slot_in(scene, i), slot_in(scene, i + 1), PST_SLOT_BYTES);
    atomic_store(&control(scene)->in_head, 3);
}

static void m1_a_frame_that_is_dropped_stops_the_worker(void **state)
{
    (void)state;
    believed_without_seals(drop, 2 * SCENE_ROWS, 2 * SCENE_ROWS);
}

/* The last frame comes behind the time that is to show it. */
static void exchange(struct scene *scene)
{
    uint8_t *swap = malloc(PST_SLOT_BYTES);
    assert_non_null(swap);
    memcpy(swap, slot_in(scene, 2), PST_SLOT_BYTES);
    memcpy(slot_in(scene, 2), slot_in(scene, 3), PST_SLOT_BYTES);
    memcpy(slot_in(scene, 3), swap, PST_SLOT_BYTES);
    free(swap);
}

static void m1_frames_that_are_exchanged_stop_the_worker(void **state)
{
    (void)state;
    believed_without_seals(exchange, 2 * SCENE_ROWS, 2 * SCENE_ROWS);
}

/* Its number is in its header, which is in the clear, and under the seal. */
static void exchange_and_put_right(struct scene *scene)
{
    exchange(scene);
    for (uint64_t i = 2; i < 4; i++)
        memcpy(slot_in(scene, i) + offsetof(struct pst_message, sequence), &i, sizeof i);
}

static void m1_frames_that_are_exchanged_with_their_numbers_put_right_stop_the_worker(void **state)
{
    (void)state;
    believed_without_seals(exchange_and_put_right, 2 * SCENE_ROWS, 2 * SCENE_ROWS);
}

/* The tail is dropped: the time that would show it comes to nobody, so nothing is answered, and that is noticed. Without seals the answer
 * could be made up: then the host believes that there are no rows. */
static void m1_a_tail_that_is_dropped_is_noticed(void **state)
{
    (void)state;
    for (int answers = 1; answers >= 0; answers--) {
        struct scene scene;
        struct pst_border_counts counts = {0};
        struct pst_message done = {.kind = PST_MESSAGE_DONE, .time = INT64_MAX, .body_bytes = sizeof counts};
        use(answers != 0 ? UNSEALED : SEALED);
        scene_patience_seconds = answers != 0 ? SCENE_PATIENCE_SECONDS : 1;
        scene_full(&scene);
        scene_patience_seconds = SCENE_PATIENCE_SECONDS;
        atomic_store(&control(&scene)->in_head, 2);
        uint64_t head = atomic_load(&control(&scene)->out_head);
        uint8_t *slot = slot_in(&scene, 0) + (PST_SLOTS + head % PST_SLOTS) * (size_t)PST_SLOT_BYTES;
        done.sequence = head;
        memcpy(slot, &done, sizeof done);
        memcpy(slot + sizeof done, &counts, sizeof counts);
        if (answers != 0)
            atomic_store(&control(&scene)->out_head, head + 1);
        assert_int_equal(goes_on(&scene), answers != 0 ? PST_OK : PST_ETIMEOUT);
        assert_int_equal(scene.rows, 0);
        pst_enclave_free(scene.enclave);
    }
}

/* Of another worker, of another operator, of an earlier life of this one: with the number that is due, and rows that are not. */
static void of_another(const char *call, bool of_before)
{
    static const uint32_t turned[] = {SCENE_ROWS, 0, 2 * SCENE_ROWS};
    uint8_t *taken = malloc(PST_SLOT_BYTES);
    assert_non_null(taken);
    for (enum worker worker = UNSEALED; worker != WORKERS; worker = worker == UNSEALED ? SEALED : WORKERS) {
        struct scene scene, other;
        use(worker);
        scene_full_of(&other, call, turned);
        if (!of_before)
            scene_full(&scene);
        memcpy(taken, slot_in(&other, 1), PST_SLOT_BYTES);
        assert_int_equal(goes_on(&other), PST_OK); /* where it belongs it is taken */
        assert_int_equal(other.rows, 3 * SCENE_ROWS);
        pst_enclave_free(other.enclave);
        if (of_before)
            scene_full(&scene);
        assert_memory_equal(taken, slot_in(&scene, 1), sizeof(struct pst_message));
        memcpy(slot_in(&scene, 1), taken, PST_SLOT_BYTES);
        if (worker == SEALED) {
            stops(&scene);
            continue;
        }
        assert_int_equal(goes_on(&scene), PST_OK); /* the control: rows of the first frame twice, none of the second */
        assert_int_equal(scene.rows, 2 * SCENE_ROWS);
        assert_int_equal(scene.sum, 3 * SCENE_ROWS);
        pst_enclave_free(scene.enclave);
    }
    free(taken);
}

static void m2_a_frame_of_another_worker_stops_the_worker(void **state)
{
    (void)state;
    of_another("", false);
}

static void m2_a_frame_of_another_operator_stops_the_worker(void **state)
{
    (void)state;
    of_another("another", false);
}

static void m2_a_frame_of_an_earlier_life_stops_the_worker(void **state)
{
    (void)state;
    of_another("", true);
}

/* Each field of a header in turn: what is said of rows and lengths, before it is used for anything; what has no meaning, and is zero. Who
 * sits in the shared memory cannot change it for the seal. A host that lies under its own seal is stopped by what is checked behind that;
 * the number alone nothing else stands for. The control has neither: it does what it is told, or dies of it. */
static void b1_b2_a_header_that_lies_stops_the_worker(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
        bool by_seal_alone;
    } lies[] = {{offsetof(struct pst_message, kind), PST_MESSAGE_TIME, false},
                {offsetof(struct pst_message, body_bytes), 0, false},
                {offsetof(struct pst_message, body_bytes), UINT32_MAX, false},
                {offsetof(struct pst_message, body_bytes), PST_BODY_BYTES_MAX, false},
                {offsetof(struct pst_message, body_bytes), PST_BODY_BYTES_MAX + 1, false},
                {offsetof(struct pst_message, sequence), 7, true},
                {offsetof(struct pst_message, sequence) + 4, 1, true},
                {offsetof(struct pst_message, port), 1, false},
                {offsetof(struct pst_message, row_count), UINT32_MAX, false},
                {offsetof(struct pst_message, row_count), 0, false},
                {offsetof(struct pst_message, time), 1, false},
                {offsetof(struct pst_message, limit) + 4, 1, false},
                {offsetof(struct pst_message, error), 1, false},
                {offsetof(struct pst_message, facts), 1, false},
                {offsetof(struct pst_message, state_bytes), 1, false},
                {offsetof(struct pst_message, zero), 0x7fff0000, false},
                {offsetof(struct pst_message, zero) + 4, 0x7fff, false}}; /* an address, as it were */
    static const enum worker workers[] = {UNCHECKED, UNSEALED, SEALED};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        for (size_t w = 0; w < sizeof workers / sizeof workers[0]; w++) {
            struct scene scene;
            use(workers[w]);
            scene_full(&scene);
            memcpy(slot_in(&scene, 1) + lies[i].at, &lies[i].value, sizeof lies[i].value);
            if (workers[w] == SEALED || (workers[w] == UNSEALED && !lies[i].by_seal_alone)) {
                stops(&scene);
                continue;
            }
            int rc = goes_on(&scene);
            if (rc != PST_OK)
                print_message("byte %zu is %u: %s\n", lies[i].at, lies[i].value, pst_enclave_why(scene.enclave));
            assert_int_not_equal(atomic_load(&control(&scene)->reason), PST_INSIDE_BORDER);
            assert_true(rc == PST_OK || strstr(pst_enclave_why(scene.enclave), "signal") != NULL);
            pst_enclave_free(scene.enclave);
        }
    }
}

/* Rows that nobody has sent: by an index that says that there is more than a ring full, all that lies in it comes once more. */
static void b1_an_index_that_lies_stops_the_worker(void **state)
{
    (void)state;
    static const enum worker workers[] = {UNCHECKED, UNSEALED, SEALED};
    for (size_t w = 0; w < sizeof workers / sizeof workers[0]; w++) {
        struct scene scene;
        char why[PST_ENCLAVE_WHY_BYTES];
        use(workers[w]);
        assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
        for (uint32_t i = 0; i < PST_SLOTS; i++)
            assert_int_equal(scene_frame(&scene, 0), PST_OK);
        pst_enclave_kick(scene.enclave);
        while (atomic_load(&control(&scene)->in_tail) != PST_SLOTS || atomic_load(&control(&scene)->inside_sleeps) == 0)
            continue;
        assert_int_equal(kill(scene.worker, SIGSTOP), 0);
        assert_int_equal(pst_enclave_ask_time(scene.enclave, 10, 10), PST_OK); /* over the first frame; 31 are left */
        uint64_t head = atomic_load(&control(&scene)->in_head);
        memcpy(slot_in(&scene, PST_SLOTS - 1), slot_in(&scene, 0), PST_SLOT_BYTES); /* it is to be the last */
        memcpy(slot_in(&scene, 0), slot_in(&scene, 1), PST_SLOT_BYTES);
        atomic_store(&control(&scene)->in_head, head + PST_SLOTS);
        if (workers[w] != UNCHECKED) {
            stops(&scene);
            continue;
        }
        assert_int_equal(goes_on(&scene), PST_OK);
        assert_int_equal(scene.rows, SCENE_ROWS);
        assert_int_equal(scene.sum, (2 * PST_SLOTS - 1) * SCENE_ROWS); /* and PST_SLOTS frames were sent */
        pst_enclave_free(scene.enclave);
    }
}

/* ---- changed between check and use ---- */

enum { BETWEEN_TURNS = 20 };

struct flipper {
    pthread_t thread;
    const struct scene *scene;
    atomic_bool ends;
};

static void turns(uint32_t count)
{
    for (volatile uint32_t i = 0; i < count; i++)
        continue;
}

/* The length of the message that is taken next goes to and fro. */
static void *flip(void *argument)
{
    struct flipper *flipper = argument;
    while (!atomic_load_explicit(&flipper->ends, memory_order_relaxed)) {
        uint64_t tail = atomic_load(&control(flipper->scene)->in_tail);
        if (atomic_load(&control(flipper->scene)->in_head) == tail)
            continue;
        uint8_t *at = slot_in(flipper->scene, tail) + offsetof(struct pst_message, body_bytes);
        uint32_t bytes = __atomic_load_n((uint32_t *)(void *)at, __ATOMIC_RELAXED);
        __atomic_store_n((uint32_t *)(void *)at, UINT32_MAX, __ATOMIC_RELAXED);
        turns(BETWEEN_TURNS);
        if (bytes != UINT32_MAX)
            __atomic_store_n((uint32_t *)(void *)at, bytes, __ATOMIC_RELAXED);
        turns(BETWEEN_TURNS);
    }
    return NULL;
}

/* Until the worker stops, or for so many times; every answer is as it has to be. What it ended with, and how often it answered. */
static int flipped(enum worker worker, uint32_t *ret_answers, bool *ret_by_signal)
{
    struct scene scene;
    char why[PST_ENCLAVE_WHY_BYTES];
    struct flipper flipper = {.scene = &scene};
    use(worker);
    assert_int_equal(scene_start(&scene, "", SCENE_EPC_BYTES, why), PST_OK);
    atomic_init(&flipper.ends, false);
    assert_int_equal(pthread_create(&flipper.thread, NULL, flip, &flipper), 0);
    int rc = PST_OK;
    for (uint32_t n = 1; n <= 400 && rc == PST_OK; n++) {
        scene.rows = 0;
        scene.sum = 0;
        rc = scene_frame(&scene, 0);
        if (rc == PST_OK)
            rc = pst_enclave_time(scene.enclave, 10 * n, 10 * n);
        if (rc == PST_OK) {
            assert_int_equal(scene.rows, SCENE_ROWS);
            assert_int_equal(scene.sum, (int64_t)n * SCENE_ROWS);
            (*ret_answers)++;
        }
    }
    atomic_store(&flipper.ends, true);
    (void)pthread_join(flipper.thread, NULL);
    *ret_by_signal = strstr(pst_enclave_why(scene.enclave), "signal") != NULL;
    if (rc != PST_OK && !*ret_by_signal)
        assert_int_equal(atomic_load(&control(&scene)->reason), PST_INSIDE_BORDER);
    pst_enclave_free(scene.enclave);
    return rc;
}

static void b3_a_length_that_changes_while_it_is_looked_at_stops_the_worker(void **state)
{
    (void)state;
    enum { TRIES_MAX = 200, STOPS = 3 };
    uint32_t answers = 0, stopped = 0, tries = 0;
    bool by_signal = false;
    while (!by_signal && tries++ < TRIES_MAX) /* the control: what it has checked it does not use */
        (void)flipped(TWICE, &answers, &by_signal);
    print_message("a worker that reads a length twice dies of it, at the %u. try\n", tries);
    assert_true(by_signal);
    for (answers = tries = 0; stopped < STOPS && tries < TRIES_MAX; tries++) {
        int rc = flipped(SEALED, &answers, &by_signal);
        assert_false(by_signal);
        assert_true(rc == PST_OK || rc == PST_EIO);
        stopped += rc == PST_EIO;
    }
    print_message("one that does not has answered %u times, and stopped %u times\n", answers, stopped);
    assert_int_equal(stopped, STOPS);
}

/* ---- a host that says under its own seal what is not so ---- */

static void b4_a_time_that_goes_back_stops_the_worker(void **state)
{
    (void)state;
    static const int64_t times[] = {15, 5}; /* the host asks for 20, after 10 was answered */
    for (int i = 0; i < 2; i++) {
        struct scene scene;
        use(UNSEALED);
        scene_full(&scene);
        assert_int_equal(goes_on(&scene), PST_OK);
        while (atomic_load(&control(&scene)->inside_sleeps) == 0)
            continue;
        assert_int_equal(kill(scene.worker, SIGSTOP), 0);
        assert_int_equal(scene_frame(&scene, 0), PST_OK);
        scene.rows = 0;
        assert_int_equal(pst_enclave_ask_time(scene.enclave, 20, 20), PST_OK);
        memcpy(slot_in(&scene, 5) + offsetof(struct pst_message, time), &times[i], sizeof times[i]);
        if (i == 1) {
            stops(&scene);
            continue;
        }
        assert_int_equal(goes_on(&scene), PST_OK); /* the control: one that goes on is believed, whosever it is */
        assert_true(scene.rows > 0);
        pst_enclave_free(scene.enclave);
    }
}

/* What a host says of buckets: that they are to be forgotten, which is asked of a worker whose buckets move. Of rows it says none: a
 * row's bucket is what the worker makes of its hash, whatever that is. */
static void b6_a_bucket_that_is_none_of_its_own_stops_the_worker(void **state)
{
    (void)state;
    static const uint32_t lists[][2] = {{3, 4}, {3, 3}, {TALLY_BUCKETS, 4}, {4096, 4}, {INT32_MAX, 4}, {3, UINT32_MAX}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        static const uint64_t hash[] = {0, UINT64_MAX, UINT64_MAX - 1};
        static const uint32_t keys[] = {1, 2, 3};
        static const int64_t time[] = {1, 1, 1}, values[] = {5, 6, 7};
        const void *columns[] = {keys, values};
        const struct pst_rows rows = {.row_count = 3, .columns = columns, .time = time, .hash = hash};
        struct scene scene;
        char why[PST_ENCLAVE_WHY_BYTES];
        use(SEALED);
        assert_int_equal(scene_start_moving(&scene, why), PST_OK);
        assert_int_equal(pst_enclave_frame(scene.enclave, &rows), PST_OK);
        assert_int_equal(scene_time(&scene, 10), PST_OK);
        assert_int_equal(scene.rows, 3);
        assert_int_equal(scene.sum, 5 + 6 + 7);
        scene.rows = 0;
        assert_int_equal(pst_enclave_ask_forget(scene.enclave, lists[i], 2, true), PST_OK);
        pst_enclave_kick(scene.enclave);
        if (i != 0) {
            stops(&scene);
            continue;
        }
        assert_int_equal(goes_on(&scene), PST_OK); /* the control: two that are its own */
        assert_int_equal(pst_enclave_move_error(scene.enclave), PST_OK);
        pst_enclave_free(scene.enclave);
    }
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
        cmocka_unit_test(m2_a_frame_of_another_operator_stops_the_worker),
        cmocka_unit_test(m2_a_frame_of_an_earlier_life_stops_the_worker),
        cmocka_unit_test(b1_b2_a_header_that_lies_stops_the_worker),
        cmocka_unit_test(b1_an_index_that_lies_stops_the_worker),
        cmocka_unit_test(b3_a_length_that_changes_while_it_is_looked_at_stops_the_worker),
        cmocka_unit_test(b4_a_time_that_goes_back_stops_the_worker),
        cmocka_unit_test(b6_a_bucket_that_is_none_of_its_own_stops_the_worker),
    };
    if (argc != 5)
        return 2;
    for (int i = 0; i < WORKERS; i++)
        programs[i] = argv[1 + i];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
