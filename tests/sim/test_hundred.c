/* test_hundred.c - a cluster of a hundred nodes and an operator of 4096 buckets: it is spread over all of them while the stream runs, and
 * evened out; what the coordinator says for that grows with the moves, and so at most with the buckets that move, not with the nodes. */
#include "tests/sim/cluster.h"
#include "tests/sim/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The source and the sink are on one node each: a move is the business of four nodes at most. */
static const char graph[] =
    SOURCE "  - {id: counts, type: aggregate, inputs: [rows], key: [k], partitions: \"${partitions}\", buckets: 4096,\n"
           "     params: {window: 2, group: [k], aggregates: [\"sum(v) as v\"]}}\n" SINK("out", "counts",
                                                                                         "window_start, k, v");

enum { ROWS = 4000, KEYS = 3000 };

static void rows_put(struct scene *scene)
{
    struct pst_text text = {0};
    for (uint32_t i = 0; i < ROWS; i++) /* a prime: neighbours go far apart */
        (void)pst_text_printf(&text, "%u,%u,%u\n", 1000 + i, (i * 7919) % KEYS, i);
    sim_put(&scene->sim, "in.csv", text.bytes, text.count);
    pst_text_fini(&text);
}

struct counted {
    uint64_t told, answered, known; /* messages of moves; known: of those told, to nodes that were behind */
    uint64_t moves, buckets;        /* that have moved */
};

static void count(void *argument, uint32_t from, uint32_t to, const void *bytes, size_t byte_count)
{
    struct counted *counted = argument;
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    if (pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message) == PST_OK &&
        message->move != 0) {
        counted->told += from == 0;
        counted->answered += to == 0;
        counted->known += from == 0 && message->body_case == PST__CONTROL__BODY_START;
    }
    pst_arena_fini(&arena);
}

static struct counted spread(uint32_t nodes, const struct scene *wanted)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct pst_text text = {0};
    struct counted counted = {0};
    char scale[40], what[40];
    const char *const script[] = {scale, "rebalance", NULL};
    (void)snprintf(what, sizeof what, "%u nodes", nodes);
    (void)snprintf(scale, sizeof scale, "scale counts %u", nodes);
    assert_int_equal(pst_text_add(&text, graph, sizeof graph - 1), PST_OK);
    cluster_init_many(cluster, nodes, nodes, &text, rows_put);
    cluster->like.options = wanted->options;
    cluster->client.script = script;
    cluster->client.graph_name = "test";
    cluster->dead_ns = UINT64_C(10) * 1000000000;
    cluster->source = 1;
    cluster->fed = true; /* at a pace, as long as there are moves */
    cluster->player.speed = 60;
    cluster->net.spy = count;
    cluster->net.spy_argument = &counted;
    cluster_begin(cluster);
    cluster_run(cluster, 0, false, what);
    assert_int_equal(cluster->client.said_count, 2);
    assert_int_equal(cluster->client.incarnation, 1);
    cluster_same(wanted, cluster, "test", what);
    counted.moves = cluster->client.done_moves;
    counted.buckets = cluster->client.done_buckets;
    print_message("%s: %llu moves of %llu buckets; told %llu, of them %llu to catch up, answered %llu: %.1f a move, "
                  "%.2f a bucket\n",
                  what, (unsigned long long)counted.moves, (unsigned long long)counted.buckets,
                  (unsigned long long)counted.told, (unsigned long long)counted.known,
                  (unsigned long long)counted.answered,
                  (double)(counted.told + counted.answered) / (double)counted.moves,
                  (double)(counted.told + counted.answered) / (double)counted.buckets);
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&text);
    return counted;
}

static void messages_grow_with_moves_and_not_with_nodes(void **state)
{
    (void)state;
    struct scene wanted;
    scene_init(&wanted, 1);
    rows_put(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    struct counted few = spread(25, &wanted), many = spread(100, &wanted);
    uint64_t few_messages = few.told + few.answered, many_messages = many.told + many.answered;
    assert_true(few.moves >= 24 && many.moves >= 99 && many.buckets <= 2 * 4096);
    assert_true(10 * many_messages * few.moves <=
                11 * few_messages * many.moves); /* a move takes as many, of whatever cluster */
    assert_true(many_messages <= 2 * many.buckets);
    assert_true(few.known > 0 && many.known <= 4 * many.moves);
    scene_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_grow_with_moves_and_not_with_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
