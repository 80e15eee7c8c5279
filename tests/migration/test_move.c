/* test_move.c - the protocol of moves in an abstract cluster, under faults. What is asserted after every event stands in
 * cluster_check.c and where rows are counted in (cluster_part.c). PST_TEST_SEEDS: how many seeds; a failure names its seed and
 * shows the end of its trace. PST_TEST_SEED: this one alone. */
#include "tests/migration/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SEEDS = 24, SEEDS_OF_A_CRASH = 1 };
#else
enum { SEEDS = 1200, SEEDS_OF_A_CRASH = 6 };
#endif

static struct cluster *cluster;

static uint64_t from_environment(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : standard;
}

static void must(uint64_t seed, bool faults, bool moves, const struct crash_script *crash)
{
    cluster_init(cluster, seed, faults, moves, crash);
    if (!cluster_run(cluster)) {
        cluster_explain(cluster);
        fail_msg("seed %llu", (unsigned long long)seed);
    }
}

static void without_moves_and_faults_the_sink_has_what_the_rows_make(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        must(seed, false, false, NULL);
        assert_int_equal(cluster->sink_bytes, cluster->model.sink_bytes);
        cluster_fini(cluster);
    }
}

static void moves_change_nothing_in_what_comes_out(void **state)
{
    (void)state;
    uint64_t done = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        must(seed, false, true, NULL);
        assert_int_equal(cluster->recoveries, 0);
        done += cluster->done;
        cluster_fini(cluster);
    }
    assert_true(done > 400);
}

static void neither_do_faults(void **state)
{
    (void)state;
    uint64_t first = from_environment("PST_TEST_SEED", 1), done = 0, whys[PST_MOVE_WHY_COUNT] = {0}, takeovers = 0;
    uint64_t count = getenv("PST_TEST_SEED") != NULL ? 1 : from_environment("PST_TEST_SEEDS", SEEDS);
    for (uint64_t seed = first; seed < first + count; seed++) {
        must(seed, true, true, NULL);
        done += cluster->done;
        takeovers += cluster->takeovers;
        for (uint32_t i = 0; i < PST_MOVE_WHY_COUNT; i++)
            whys[i] += cluster->whys[i];
        cluster_fini(cluster);
    }
    print_message("%llu seeds: %llu moves done, %llu takeovers;", (unsigned long long)count, (unsigned long long)done,
                  (unsigned long long)takeovers);
    for (uint32_t i = 1; i < PST_MOVE_WHY_COUNT; i++)
        print_message(" %s %llu", pst_move_why_name((pst_move_why)i), (unsigned long long)whys[i]);
    print_message("\n");
    for (uint32_t i = 1; i < PST_MOVE_WHY_COUNT && count >= 1000; i++)
        assert_true(whys[i] != 0 || i == PST_MOVE_WHY_DIFFERENT);
    assert_true(count < 1000 || takeovers > 20);
}

static void a_seed_gives_the_same_trace_twice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        must(seed, true, true, NULL);
        uint64_t trace = cluster->trace, events = cluster->events;
        cluster_fini(cluster);
        must(seed, true, true, NULL);
        assert_int_equal(cluster->trace, trace);
        assert_int_equal(cluster->events, events);
        cluster_fini(cluster);
    }
}

/* ---- one crash, wherever the protocol can be ---- */
static uint32_t states_of(uint32_t role)
{
    return role < PST_MOVE_ROLE_COUNT ? pst_move_table((pst_move_role)role)->state_count : PST_MOVE_STEP_COUNT;
}

/* `count` seeds from `first` on: did any come to that state? */
static bool crash_somewhere(const struct crash_script *crash, uint64_t first, uint64_t count)
{
    bool happened = false;
    for (uint64_t seed = first; seed < first + count; seed++) {
        must(seed, false, true, crash);
        happened = happened || cluster->crash.done;
        cluster_fini(cluster);
    }
    return happened;
}

static void crash_everywhere(uint32_t role, uint32_t s)
{
    static const uint32_t downs_ms[] = {0, 30, 900};
    struct crash_script crash = {.set = true, .role = role, .state = s};
    bool happened = false;
    for (uint32_t i = 0; i < 12; i++) {
        crash.cut = i % 2 == 0;
        crash.after_us = i / 2 % 2 == 0 ? 0 : 15000;
        crash.down_ms = downs_ms[i / 4];
        happened |= crash_somewhere(&crash, 1, SEEDS_OF_A_CRASH);
    }
    for (uint64_t first = 7; !happened && first < 1000; first += 50)
        happened = crash_somewhere(&crash, first, 50);
    if (!happened)
        fail_msg("no seed came to state %u of role %u", s, role);
}

static void a_crash_at_any_step_of_any_role_changes_nothing(void **state)
{
    (void)state;
    for (uint32_t role = 0; role < CRASH_COUNT; role++)
        for (uint32_t s = 0; s < states_of(role); s++)
            crash_everywhere(role, s);
}

/* ---- digests ---- */
static void a_copy_that_differs_never_becomes_the_owner(void **state)
{
    (void)state;
    uint64_t different = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        cluster_init(cluster, seed, false, true, NULL);
        cluster->lies = true;
        if (!cluster_run(cluster)) {
            cluster_explain(cluster);
            fail_msg("seed %llu", (unsigned long long)seed);
        }
        assert_int_equal(cluster->done, 0);
        different += cluster->whys[PST_MOVE_WHY_DIFFERENT];
        cluster_fini(cluster);
    }
    assert_true(different > 20);
}

/* ---- planted mistakes ---- */
static void planted(pst_move_mistake mistake, const char *name)
{
    pst_move_mistake_planted = mistake;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        cluster_init(cluster, seed, true, true, NULL);
        bool passed = cluster_run(cluster);
        if (!passed)
            print_message("%s is caught by seed %llu: %s\n", name, (unsigned long long)seed, cluster->why);
        cluster_fini(cluster);
        if (!passed) {
            pst_move_mistake_planted = PST_MISTAKE_NONE;
            return;
        }
    }
    pst_move_mistake_planted = PST_MISTAKE_NONE;
    fail_msg("%s is not caught by 1000 seeds", name);
}

#define PLANTED(mistake, sentence)                \
    static void sentence(void **state)            \
    {                                             \
        (void)state;                              \
        planted(PST_MISTAKE_##mistake, #mistake); \
    }
PLANTED(NO_VECTOR, rows_below_an_image_that_count_again_are_caught)
PLANTED(NO_EPOCH, incarnations_and_owner_epochs_that_nobody_looks_at_are_caught)
PLANTED(LINK_TRIMS, a_link_that_forgets_what_it_has_sent_is_caught)
PLANTED(NO_REPLAY, a_takeover_without_the_kept_output_is_caught)
PLANTED(NO_COMPARE, commits_that_do_not_compare_are_caught)
PLANTED(ONE_MARK, one_mark_for_both_sides_of_the_cut_is_caught)
PLANTED(BRANCH_DROPS, a_branch_that_is_dropped_before_the_abort_is_heard_is_caught)
PLANTED(NO_SERIAL, a_move_that_begins_again_after_its_end_is_caught)
PLANTED(EARLY_UNLOCK, locks_that_go_before_the_lane_are_caught)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_moves_and_faults_the_sink_has_what_the_rows_make),
        cmocka_unit_test(moves_change_nothing_in_what_comes_out),
        cmocka_unit_test(neither_do_faults),
        cmocka_unit_test(a_seed_gives_the_same_trace_twice),
        cmocka_unit_test(a_crash_at_any_step_of_any_role_changes_nothing),
        cmocka_unit_test(a_copy_that_differs_never_becomes_the_owner),
        cmocka_unit_test(rows_below_an_image_that_count_again_are_caught),
        cmocka_unit_test(incarnations_and_owner_epochs_that_nobody_looks_at_are_caught),
        cmocka_unit_test(a_link_that_forgets_what_it_has_sent_is_caught),
        cmocka_unit_test(a_takeover_without_the_kept_output_is_caught),
        cmocka_unit_test(commits_that_do_not_compare_are_caught),
        cmocka_unit_test(one_mark_for_both_sides_of_the_cut_is_caught),
        cmocka_unit_test(a_branch_that_is_dropped_before_the_abort_is_heard_is_caught),
        cmocka_unit_test(a_move_that_begins_again_after_its_end_is_caught),
        cmocka_unit_test(locks_that_go_before_the_lane_are_caught),
    };
    cluster = malloc(sizeof *cluster);
    int failed = cluster == NULL ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
    free(cluster);
    return failed;
}
