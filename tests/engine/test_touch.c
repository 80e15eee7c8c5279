/* test_touch.c - how much of the memory of workers is touched before the first row: of whose, and within which bounds. */
#include "engine/enclave.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SOURCE, FILTER, FIRST, SECOND, NODES, PARTITIONS = 2 };
#define MIB (UINT64_C(1) << 20)
#define LONG (UINT64_C(1) << 40)

static const struct pst_operator source = {.role = PST_ROLE_SOURCE}, filter = {.role = PST_ROLE_STATELESS},
                                 plain = {.role = PST_ROLE_PLAIN};
static struct pst_graph_node nodes[NODES];
static struct pst_graph graph = {.nodes = nodes, .node_count = NODES};
static struct run run = {.graph = &graph};

/* A source, a filter, an operator behind it, and one that takes what that puts out. */
static int make(void **state)
{
    static struct pst_graph_input inputs[NODES];
    (void)state;
    run.options.preheat = false;
    for (uint32_t n = 0; n < NODES; n++) {
        inputs[n] = (struct pst_graph_input){.producer = n - 1};
        nodes[n] = (struct pst_graph_node){.op = n == SOURCE   ? &source
                                                 : n == FILTER ? &filter
                                                               : &plain,
                                           .enclave = n >= FIRST,
                                           .partition_count = n >= FIRST ? PARTITIONS : 1,
                                           .input_count = n != SOURCE,
                                           .inputs = &inputs[n]};
    }
    return 0;
}

static uint64_t touched(uint32_t n, uint64_t input_bytes)
{
    return pst_enclave_touch_bytes(&run, &nodes[n], input_bytes);
}

static void who_takes_rows_of_the_input_has_more_touched(void **state)
{
    (void)state;
    assert_int_equal(touched(FIRST, LONG), 24 * MIB);
    assert_int_equal(touched(SECOND, LONG), 2 * MIB);
}

static void a_short_input_waits_for_little_and_an_unknown_one_for_nothing(void **state)
{
    (void)state;
    assert_int_equal(touched(FIRST, 240 * MIB), 10 * MIB);
    assert_int_equal(touched(SECOND, 24 * MIB), MIB);
    assert_int_equal(touched(FIRST, 0), 0);
}

static void many_workers_share_a_bound(void **state)
{
    (void)state;
    nodes[FIRST].partition_count = 4096;
    nodes[SECOND].partition_count = 4096;
    assert_int_equal(touched(FIRST, LONG) * 4096, 96 * MIB);
    assert_int_equal(touched(SECOND, LONG) * 4096, 24 * MIB);
    nodes[SECOND].enclave = false;
    assert_int_equal(touched(FIRST, LONG) * 4096, 96 * MIB);
}

static void with_preheat_it_is_all(void **state)
{
    (void)state;
    run.options.preheat = true;
    assert_true(touched(FIRST, 0) == UINT64_MAX && touched(SECOND, 0) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_takes_rows_of_the_input_has_more_touched, make),
        cmocka_unit_test_setup(a_short_input_waits_for_little_and_an_unknown_one_for_nothing, make),
        cmocka_unit_test_setup(many_workers_share_a_bound, make),
        cmocka_unit_test_setup(with_preheat_it_is_all, make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
