/* test_nodes.c - whole nodes of a simulated cluster: a graph is submitted, scaled and moved while it runs, and nodes are killed whenever.
 * The outputs are those of one process (P1, P2, P6), and the graph ends. Checkpoints: test_recovery.c. */
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

struct query {
    const char *path, *name;
    const char *const movable[4];
};
static const struct query load = {LOAD, "load", {"plug_load", "house_load", NULL}};
static const struct query outliers = {OUTLIERS, "outliers", {"plug_above", "house_share", "median_all", NULL}};

static const char *graph_path;
static bool several; /* nodes read: then no row is late, as it would be so by other rows */
static void query_input(struct scene *scene)
{
    struct scene_meters meters = scene_small;
    meters.dirt = !several;
    scene_query(scene, graph_path);
    scene_put_meters(scene, &meters);
}

static void query_for_all_seeds(const struct query *query, bool moves, uint32_t kills, uint64_t seeds)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t portions = 0, restarts = 0, scaled = 0, moved = 0, spread = 0, cancelled = 0, refused = 0;
    graph_path = query->path;
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        char what[80];
        (void)snprintf(what, sizeof what, "%s, seed %llu", query->name, (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster->client.movable = moves ? query->movable : NULL;
        cluster->client.graph_name = query->name;
        cluster->reader_count = several ? 2 + (uint32_t)seed % (cluster->node_count - 1) : 0;
        cluster_begin(cluster);
        cluster_run(cluster, kills, kills != 0, what);
        cluster_same(&wanted, cluster, query->name, what);
        portions += cluster->portions;
        restarts += cluster->client.incarnation - 1;
        scaled += cluster->client.scaled;
        moved += cluster->client.moved;
        spread += cluster->client.spread;
        cancelled += cluster->client.cancelled;
        refused += cluster->client.refused;
        cluster_fini(cluster);
        free(cluster);
    }
    print_message(
        "%llu incarnations more than graphs; scaled %llu times, moved %llu, spread %llu, cancelled %llu, refused or "
        "given up %llu\n",
        (unsigned long long)restarts, (unsigned long long)scaled, (unsigned long long)moved, (unsigned long long)spread,
        (unsigned long long)cancelled, (unsigned long long)refused);
    assert_true((restarts > 0) == (kills > 0));
    assert_true(moves || scaled + moved == 0);
    assert_true(!moves || seeds < 30 || scaled + moved > 0);
    assert_true(moves || portions == 0);
    assert_true(!moves || several || seeds < 50 || portions > 0);
    assert_true(!moves || kills != 0 || seeds < 50 || spread > 0);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_submitted_graph_gives_the_same_bytes(void **state)
{
    (void)state;
    query_for_all_seeds(&load, false, 0, scene_seeds(30));
    query_for_all_seeds(&outliers, false, 0, scene_seeds(30));
}

static void nodes_that_are_killed_lose_and_repeat_nothing(void **state)
{
    (void)state;
    query_for_all_seeds(&load, false, 3, scene_seeds(60));
    query_for_all_seeds(&outliers, false, 3, scene_seeds(60));
}

static void graphs_are_scaled_and_moved_while_they_run(void **state)
{
    (void)state;
    query_for_all_seeds(&load, true, 0, scene_seeds(60));
    query_for_all_seeds(&outliers, true, 0, scene_seeds(60));
}

static void nodes_are_killed_while_partitions_move(void **state)
{
    (void)state;
    query_for_all_seeds(&load, true, 3, scene_seeds(60));
    query_for_all_seeds(&outliers, true, 3, scene_seeds(60));
}

/* The houses of a stream in one file for each of several nodes. */
static void nodes_that_all_read_give_the_bytes_of_one_input(void **state)
{
    (void)state;
    several = true;
    query_for_all_seeds(&load, false, 0, scene_seeds(30));
    query_for_all_seeds(&outliers, false, 0, scene_seeds(30));
    query_for_all_seeds(&load, true, 3, scene_seeds(30));
    query_for_all_seeds(&outliers, true, 3, scene_seeds(30));
    several = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submitted_graph_gives_the_same_bytes),
        cmocka_unit_test(nodes_that_are_killed_lose_and_repeat_nothing),
        cmocka_unit_test(graphs_are_scaled_and_moved_while_they_run),
        cmocka_unit_test(nodes_are_killed_while_partitions_move),
        cmocka_unit_test(nodes_that_all_read_give_the_bytes_of_one_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
