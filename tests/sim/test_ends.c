/* test_ends.c - the end of the input is the same for every operator, wherever it runs: for one whose node reads nothing and gets nothing from a
 * source, and for one whose node hears of the source's end later than of the end of the operator in between. */
#include "engine/node.h"
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

/* Windows that are open at the end, of an operator whose last rows come at a time beyond it. The others fill the nodes up. */
#define MINUTES(id) OPERATOR(id, "aggregate", "rows", "k", "window: 60, group: [k], aggregates: [\"sum(v) as v\"]")
#define SLIDES                           \
    OPERATOR("b", "aggregate", "a", "k", \
             "window: 600, slide: 60, group: [k], aggregates: [\"sum(v) as v\", \"count as n\"]")
static const char few[] = SOURCE MINUTES("a") MINUTES("d") SLIDES SINK("out", "b", "k, v, n") SINK("dout", "d", "k, v");
static const char many[] =
    SOURCE MINUTES("a") MINUTES("x") MINUTES("d") MINUTES("y") MINUTES("z") SLIDES SINK("out", "b", "k, v, n")
        SINK("dout", "d", "k, v") SINK("xout", "x", "k, v") SINK("yout", "y", "k, v") SINK("zout", "z", "k, v");

enum { NOWHERE = UINT32_MAX };
#define STAYS_AWAY_NS UINT64_C(150000000)

static void rows_put(struct scene *scene) { scene_put_rows(scene, 3, 1500, 40, 400); }

static struct cluster *cluster_of(uint64_t seed, const struct pst_text *text)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    cluster_init_many(cluster, seed, 3, text, rows_put);
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "1";
    cluster->source = 1;
    cluster->client.graph_name = "test";
    cluster->dead_ns = UINT64_C(4000) * 1000 * 1000;
    return cluster;
}

/* Which of the cluster's nodes has it. */
static uint32_t node_with(const struct cluster *cluster, const char *operator_id)
{
    const struct graph_record *record = cluster_record(cluster);
    const Pst__Start *start = record != NULL && record->state == GRAPH_RUNNING ? record->start->start : NULL;
    for (size_t p = 0; start != NULL && p < start->n_places; p++)
        if (strcmp(start->places[p]->operator_id, operator_id) == 0)
            for (uint32_t i = 0; i < cluster->node_count; i++)
                if (strcmp(cluster->nodes[i].node->options.name, start->nodes[start->places[p]->node]) == 0)
                    return i;
    return NOWHERE;
}

static bool input_has_ended(const struct cluster *cluster, uint32_t reads)
{
    const struct pst_node *node = cluster->nodes[reads].node;
    return node->hosted_count != 0 && atomic_load(&node->hosted[0]->run.input.end) != END_NOT;
}

/* From the end of the input on, what the node that reads says to that of `b` is on its way for a while. True: they are two. */
static bool end_comes_late(struct cluster *cluster, const char *what)
{
    cluster->net.delay_ns_max = 30000000;
    cluster->grow_ns = 100000;
    while (!cluster->client.done && node_with(cluster, "b") == NOWHERE)
        cluster_turn(cluster, what);
    uint32_t reads = node_with(cluster, "rows"), last = node_with(cluster, "b");
    while (!cluster->client.done && !input_has_ended(cluster, reads))
        cluster_turn(cluster, what);
    if (cluster->client.done || reads == last)
        return false;
    uint64_t until = cluster->net.now_ns + STAYS_AWAY_NS;
    sim_net_cut(&cluster->net, reads, last, true);
    while (!cluster->client.done && cluster->net.now_ns < until)
        cluster_turn(cluster, what);
    sim_net_cut(&cluster->net, reads, last, false);
    return true;
}

static void same_for_all_seeds(const char *graph, bool late)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint32_t seen = 0;
    assert_int_equal(pst_text_add(&text, graph, strlen(graph)), PST_OK);
    scene_init(&wanted, 1);
    rows_put(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    uint64_t seeds = scene_seeds(20);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++) {
        struct cluster *cluster = cluster_of(seed, &text);
        char what[40];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        cluster_begin(cluster);
        seen += late && end_comes_late(cluster, what);
        while (!cluster->client.done)
            cluster_turn(cluster, what);
        cluster_same(&wanted, cluster, "test", what);
        cluster_fini(cluster);
        free(cluster);
    }
    assert_true(!late || seen > 0 || seeds < 20);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void no_source_leads_to_the_node(void **state)
{
    (void)state;
    same_for_all_seeds(few, false);
}

static void the_end_of_the_source_comes_last(void **state)
{
    (void)state;
    same_for_all_seeds(few, true);
    same_for_all_seeds(many, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_source_leads_to_the_node),
        cmocka_unit_test(the_end_of_the_source_comes_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
