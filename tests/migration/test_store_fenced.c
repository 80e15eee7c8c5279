/* test_store_fenced.c - pst_store_fenced() over the simulated store: who has lost the fence commits nothing, and outcomes that are not
 * told are found out. */
#include "migration/store.h"
#include "tests/sim/store_sim.h"
#include "tests/sim/world_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS_MAX = 100000 };

struct scene {
    struct sim sim; /* clock and alarms */
    struct store_sim records;
};
static struct scene scene; /* large */

static void changed(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count)
{
    (void)self;
    (void)path;
    (void)version;
    (void)bytes;
    (void)byte_count;
}

static void scene_begin(uint64_t seed)
{
    sim_init(&scene.sim, seed);
    store_sim_init(&scene.records, seed);
    scene.records.changed = changed;
}

static void scene_end(void)
{
    store_sim_fini(&scene.records);
    sim_fini(&scene.sim);
}

static void time_goes_on(void)
{
    scene.sim.now_ns += 1000000;
    store_sim_run(&scene.records, scene.sim.now_ns / 1000);
}

static int ask(struct pst_store *store, struct pst_store_request *request, uint32_t steps_max)
{
    store->begin(store->self, request);
    for (uint32_t i = 0; i < steps_max && request->rc == PST_EAGAIN; i++) {
        time_goes_on();
        store->step(store->self);
    }
    return request->rc;
}

static int put(struct pst_store *store, const char *path, uint64_t expected, uint32_t steps_max)
{
    struct pst_store_change change = {.path = path, .expected = expected, .bytes = "x", .byte_count = 1};
    struct pst_store_request request = {.kind = PST_STORE_COMMIT, .changes = &change, .change_count = 1};
    return ask(store, &request, steps_max);
}

static uint64_t version_of(const char *path)
{
    const struct store_sim_record *record = store_sim_get(&scene.records, path);
    return record != NULL ? record->version : 0;
}

struct holder {
    struct pst_store *below, *store;
};

/* A session that takes the fence. */
static void take(struct holder *holder, uint64_t term)
{
    uint8_t bytes[PST_STORE_FENCE_BYTES];
    assert_int_equal(store_sim_open(&scene.records, &holder->below), PST_OK);
    struct pst_store_fence fence = {term, holder->below->session(holder->below->self), 0};
    pst_store_fence_encode(&fence, bytes);
    struct pst_store_change change = {
        .path = "fence", .expected = version_of("fence"), .bytes = bytes, .byte_count = sizeof bytes};
    struct pst_store_request request = {.kind = PST_STORE_COMMIT, .changes = &change, .change_count = 1};
    uint32_t unknown = scene.records.unknown_per_1000;
    scene.records.unknown_per_1000 = 0;
    assert_int_equal(ask(holder->below, &request, STEPS_MAX), PST_OK);
    scene.records.unknown_per_1000 = unknown;
    assert_int_equal(
        pst_store_fenced(holder->below, &scene.sim.world, 0, "fence", &fence, version_of("fence"), &holder->store),
        PST_OK);
}

static void let_go(struct holder *holder)
{
    holder->below->close(holder->below->self);
    holder->store->close(holder->store->self);
}

static void every_commit_counts_the_fence_up(void **state)
{
    (void)state;
    struct holder a;
    scene_begin(1);
    take(&a, 1);
    uint64_t before = version_of("fence");
    assert_int_equal(put(a.store, "r", 0, STEPS_MAX), PST_OK);
    assert_int_equal(put(a.store, "r", 1, STEPS_MAX), PST_OK);
    assert_int_equal(version_of("r"), 2);
    assert_int_equal(version_of("fence"), before + 2);
    struct pst_store_request read = {.kind = PST_STORE_READ, .path = "r"};
    assert_int_equal(ask(a.store, &read, STEPS_MAX), PST_OK);
    assert_int_equal(read.version, 2);
    assert_string_equal(read.text.bytes, "x");
    pst_text_fini(&read.text);
    let_go(&a);
    scene_end();
}

static void another_version_of_the_callers_own_is_told(void **state)
{
    (void)state;
    struct holder a;
    scene_begin(2);
    take(&a, 1);
    assert_int_equal(put(a.store, "r", 7, STEPS_MAX), PST_EINVAL);
    assert_int_equal(put(a.store, "r", 0, STEPS_MAX), PST_OK);
    assert_int_not_equal(a.store->session(a.store->self), 0);
    let_go(&a);
    scene_end();
}

static void who_has_lost_the_fence_commits_nothing(void **state)
{
    (void)state;
    struct holder a, b;
    scene_begin(3);
    take(&a, 1);
    assert_int_equal(put(a.store, "r", 0, STEPS_MAX), PST_OK);
    take(&b, 2);
    assert_int_equal(put(a.store, "r", 1, 1000), PST_EAGAIN); /* it is never answered */
    assert_int_equal(version_of("r"), 1);
    assert_int_equal(a.store->session(a.store->self), 0);
    assert_int_not_equal(a.below->session(a.below->self), 0);
    assert_int_equal(put(b.store, "r", 1, STEPS_MAX), PST_OK);
    let_go(&a);
    let_go(&b);
    scene_end();
}

static void an_ended_session_answers_nothing(void **state)
{
    (void)state;
    struct holder a;
    scene_begin(4);
    take(&a, 1);
    store_sim_expire(&scene.records, a.below);
    assert_int_equal(put(a.store, "r", 0, 1000), PST_EAGAIN);
    assert_int_equal(a.store->session(a.store->self), 0);
    let_go(&a);
    scene_end();
}

static void what_cannot_be_reached_is_waited_for(void **state)
{
    (void)state;
    struct holder a;
    struct pst_store_change change = {.path = "r", .bytes = "x", .byte_count = 1};
    struct pst_store_request request = {.kind = PST_STORE_COMMIT, .changes = &change, .change_count = 1};
    scene_begin(5);
    take(&a, 1);
    store_sim_cut(&scene.records, a.below, true);
    assert_int_equal(ask(a.store, &request, 5000), PST_EAGAIN);
    store_sim_cut(&scene.records, a.below, false);
    for (uint32_t i = 0; i < STEPS_MAX && request.rc == PST_EAGAIN; i++) {
        time_goes_on();
        a.store->step(a.store->self);
    }
    assert_int_equal(request.rc, PST_OK);
    assert_int_equal(version_of("r"), 1);
    let_go(&a);
    scene_end();
}

static void outcomes_that_are_not_told_are_found_out(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct holder a;
        scene_begin(seed);
        scene.records.unknown_per_1000 = 500;
        take(&a, 1);
        for (uint64_t n = 0; n < 40; n++) {
            if (put(a.store, "r", n, STEPS_MAX) != PST_OK)
                fail_msg("seed %llu, commit %llu", (unsigned long long)seed, (unsigned long long)n);
            assert_int_equal(version_of("r"), n + 1); /* once, and not again */
        }
        let_go(&a);
        scene_end();
    }
}

static void a_fence_is_of_one_length(void **state)
{
    (void)state;
    struct pst_store_fence fence = {1, 2, 3}, found;
    uint8_t bytes[PST_STORE_FENCE_BYTES + 1];
    pst_store_fence_encode(&fence, bytes);
    assert_int_equal(pst_store_fence_decode(bytes, PST_STORE_FENCE_BYTES, &found), PST_OK);
    assert_memory_equal(&fence, &found, sizeof fence);
    assert_int_equal(pst_store_fence_decode(bytes, PST_STORE_FENCE_BYTES - 1, &found), PST_EDATA);
    assert_int_equal(pst_store_fence_decode(bytes, PST_STORE_FENCE_BYTES + 1, &found), PST_EDATA);
    assert_int_equal(pst_store_fence_decode(bytes, 0, &found), PST_EDATA);
}

static void a_commit_without_room_for_the_fence_is_refused(void **state)
{
    (void)state;
    struct holder a;
    char paths[PST_STORE_CHANGES_MAX][8];
    struct pst_store_change changes[PST_STORE_CHANGES_MAX];
    scene_begin(6);
    take(&a, 1);
    for (uint32_t i = 0; i < PST_STORE_CHANGES_MAX; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "r%u", i);
        changes[i] = (struct pst_store_change){.path = paths[i], .bytes = "x", .byte_count = 1};
    }
    struct pst_store_request request = {
        .kind = PST_STORE_COMMIT, .changes = changes, .change_count = PST_STORE_CHANGES_MAX};
    assert_int_equal(ask(a.store, &request, 1000), PST_EINVAL);
    request.change_count--;
    assert_int_equal(ask(a.store, &request, STEPS_MAX), PST_OK);
    let_go(&a);
    scene_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_commit_counts_the_fence_up),
        cmocka_unit_test(another_version_of_the_callers_own_is_told),
        cmocka_unit_test(who_has_lost_the_fence_commits_nothing),
        cmocka_unit_test(an_ended_session_answers_nothing),
        cmocka_unit_test(what_cannot_be_reached_is_waited_for),
        cmocka_unit_test(outcomes_that_are_not_told_are_found_out),
        cmocka_unit_test(a_fence_is_of_one_length),
        cmocka_unit_test(a_commit_without_room_for_the_fence_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
