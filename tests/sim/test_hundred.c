/* test_hundred.c - a cluster of a hundred nodes and an operator of 4096 buckets: it is spread over all of them while the stream runs, and
 * evened out; what the coordinator says for that grows with the moves, and so at most with the buckets that move, not with the nodes. */
#include "engine/mover.h"
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
    cluster->player->speed = 60;
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

/* ---- nodes that are to be as busy as each other ---- */

enum { FEW = 3, BUCKETS = 4096 };
static const double source_busy = 0.3, sink_busy = 0.5, counts_busy = 1.2;

static struct graph_record *record_of(struct cluster *cluster)
{
    return (struct graph_record *)(uintptr_t)cluster_record(cluster);
}

static double busy_of(const struct graph_record *record, uint32_t n, uint32_t partition)
{
    const char *id = record->graph->nodes[n].id;
    uint32_t owned = record->moving != NULL && record->moving->layouts[n] != NULL
                         ? pst_layout_owned(record->moving->layouts[n], BUCKETS, partition)
                         : 0;
    return strcmp(id, "rows") == 0 ? source_busy : strcmp(id, "out") == 0 ? sink_busy : counts_busy * owned / BUCKETS;
}

/* No time goes by in a simulation while rows are worked on: what nodes have told of it is made up here. */
static void loads_pretend(struct cluster *cluster)
{
    struct graph_record *record = record_of(cluster);
    for (uint32_t i = 0; record != NULL && i < record->loads.capacity; i++) {
        struct load *load = &record->loads.items[i];
        if (!load->taken || load->edge || load->over_s <= 0)
            continue;
        load->busy = busy_of(record, load->operator_index, load->number);
    }
}

static void turn(struct cluster *cluster, const char *what)
{
    cluster_turn(cluster, what);
    cluster_player_look(cluster, what);
    loads_pretend(cluster);
}

static int asked(struct cluster *cluster, const char *verb, const char *first, const char *second)
{
    struct cluster_client *client = &cluster->client;
    client->wish[0] = verb;
    client->wish[1] = first;
    client->wish[2] = second;
    while (client->wish[0] != NULL)
        turn(cluster, verb);
    return client->wish_error;
}

/* By the graph's node: how busy each is, of all that is there and of what moves. */
static void nodes_look(struct cluster *cluster, double busy[FEW])
{
    struct graph_record *record = record_of(cluster);
    const Pst__Start *start = record->start->start;
    memset(busy, 0, FEW * sizeof *busy);
    for (size_t i = 0; i < start->n_places; i++)
        for (uint32_t n = 0; n < record->graph->node_count; n++)
            if (record->moving->layouts[n] == NULL &&
                strcmp(record->graph->nodes[n].id, start->places[i]->operator_id) == 0)
                busy[start->places[i]->node] += busy_of(record, n, start->places[i]->partition);
    for (uint32_t n = 0; n < record->graph->node_count; n++)
        for (uint32_t p = 0; record->moving->layouts[n] != NULL && p < record->moving->layouts[n]->partition_count; p++)
            busy[record->moving->layouts[n]->node_of[p]] += busy_of(record, n, p);
}

static void nodes_become_as_busy_as_each_other(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    double busy[FEW], each = source_busy + sink_busy + counts_busy;
    scene_init(&wanted, 1);
    rows_put(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    assert_int_equal(pst_text_add(&text, graph, sizeof graph - 1), PST_OK);
    cluster_init_many(cluster, FEW, FEW, &text, rows_put);
    cluster->like.options = wanted.options;
    cluster->client.graph_name = "test";
    cluster->source = 1;
    cluster->fed = true;
    cluster->player->speed = 60;
    cluster_begin(cluster);
    while (cluster_record(cluster) == NULL || cluster_record(cluster)->state != GRAPH_RUNNING)
        turn(cluster, "until it runs");
    assert_int_equal(asked(cluster, "rebalance", "--by-load", NULL), PST_ETIMEOUT); /* nobody has told anything yet */
    assert_int_equal(asked(cluster, "scale", "counts", "5"), PST_OK);
    int error = PST_ETIMEOUT;
    while (error == PST_ETIMEOUT)
        error = asked(cluster, "rebalance", "--by-load", NULL);
    assert_int_equal(error, PST_OK);
    assert_non_null(strstr(cluster->client.says, "rows lost 0"));
    nodes_look(cluster, busy);
    print_message("busy: %.3f, %.3f and %.3f\n", busy[0], busy[1], busy[2]);
    const Pst__Start *start = cluster_record(cluster)->start->start;
    assert_int_equal(start->n_node_workers, FEW);
    each /= start->node_workers[0] + start->node_workers[1] + start->node_workers[2];
    for (uint32_t i = 0; i < FEW; i++) {
        assert_true(busy[i] <= each * start->node_workers[i] * 1.1);
        assert_true(busy[i] >= each * start->node_workers[i] * 0.9);
    }
    assert_int_equal(asked(cluster, "rebalance", "--by-load", NULL), PST_OK);
    assert_ptr_equal(strstr(cluster->client.says, "0 moves"), cluster->client.says);
    assert_int_equal(asked(cluster, "rebalance", NULL, NULL), PST_OK); /* by buckets they are not even */
    assert_ptr_not_equal(strstr(cluster->client.says, "0 moves"), cluster->client.says);
    cluster->player->options.speed = 0;
    cluster_run(cluster, 0, false, "to the end");
    cluster_same(&wanted, cluster, "test", "by load");
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&text);
    scene_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_grow_with_moves_and_not_with_nodes),
        cmocka_unit_test(nodes_become_as_busy_as_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
