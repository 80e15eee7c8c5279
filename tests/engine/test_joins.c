/* test_joins.c - what joining buckets is taken to cost, and how long a giver rests for it: whatever was measured, and whatever a node says. */
#include "engine/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define MS (UINT64_C(1000) * 1000)

static void it_is_what_a_call_takes_for_what_has_joined(void **state)
{
    (void)state;
    uint32_t cost = pst_join_cost(0, 20 * MS, 8 * MIB);
    assert_int_equal(pst_join_ns(cost, 8 * MIB), 20 * MS);
    assert_int_equal(pst_join_ns(cost, 2 * MIB), 5 * MS);
    assert_int_equal(pst_join_rest_ns(cost, 8 * MIB), 80 * MS);
    assert_int_equal(pst_join_ns(0, 8 * MIB), 0); /* not known */
    assert_int_equal(pst_join_cost(1000, 0, MIB), 750);
}

/* Empty buckets, at the end of a move: the call does the work of all that had joined before. */
static void of_hardly_anything_nothing_is_learnt(void **state)
{
    (void)state;
    assert_int_equal(pst_join_cost(0, 5 * MS, 2048), 0);
    assert_int_equal(pst_join_cost(500, 5 * MS, JOIN_BYTES_MIN - 1), 500);
    assert_true(pst_join_cost(500, 5 * MS, JOIN_BYTES_MIN) > 500);
}

/* So that a move does not stand still until its deadline because another node says nonsense. */
static void whatever_is_said_the_rest_ends(void **state)
{
    (void)state;
    const uint32_t costs[] = {1, 2, 1000, JOIN_COST_MAX - 1, JOIN_COST_MAX, JOIN_COST_MAX + 1, UINT32_MAX};
    const uint64_t bytes[] = {0, 1, JOIN_BYTES_MIN, MIB, 8 * MIB, MIB << 20, UINT64_MAX};
    uint64_t last = 0;
    for (size_t c = 0; c < sizeof costs / sizeof *costs; c++, last = 0)
        for (size_t b = 0; b < sizeof bytes / sizeof *bytes; b++) {
            uint64_t ns = pst_join_ns(costs[c], bytes[b]);
            assert_true(ns >= last);
            assert_true(pst_join_rest_ns(costs[c], bytes[b]) <= REST_NS_MAX);
            last = ns;
        }
    assert_int_equal(pst_join_ns(UINT32_MAX, MIB), pst_join_ns(JOIN_COST_MAX, MIB));
    assert_int_equal(pst_join_cost(0, UINT64_MAX, JOIN_BYTES_MIN), JOIN_COST_MAX);
    assert_int_equal(pst_join_cost(0, UINT64_MAX, UINT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_a_call_takes_for_what_has_joined),
        cmocka_unit_test(of_hardly_anything_nothing_is_learnt),
        cmocka_unit_test(whatever_is_said_the_rest_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
