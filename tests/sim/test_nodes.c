/* test_nodes.c - whole nodes of a simulated cluster: a graph is submitted, scaled and moved while it runs, and nodes are killed whenever.
 * The outputs are those of one process (P1, P2, P6), and the graph ends. Checkpoints: test_recovery.c. */
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
    uint64_t portions = 0, restarts = 0, scaled = 0, moved = 0, spread = 0, cancelled = 0, refused = 0, counted = 0,
             uncounted = 0, told = 0;
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
        counted += cluster->client.counted;
        uncounted += cluster->client.uncounted;
        told += cluster->client.told;
        assert_int_equal(cluster->client.lost, 0);
        cluster_fini(cluster);
        free(cluster);
    }
    print_message(
        "%llu incarnations more than graphs; scaled %llu times, moved %llu, spread %llu, cancelled %llu, refused or "
        "given up %llu; %llu times no row was lost, %llu times it is not known\n",
        (unsigned long long)restarts, (unsigned long long)scaled, (unsigned long long)moved, (unsigned long long)spread,
        (unsigned long long)cancelled, (unsigned long long)refused, (unsigned long long)counted,
        (unsigned long long)uncounted);
    assert_true((counted > 0) == (scaled + moved > 0));
    assert_true((told > 0) == (scaled + moved > 0));
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

/* ---- a loss is told ---- */

/* The first lane that has all its buckets says that it has put out less than it has. */
static bool loss_plant(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        for (uint32_t k = 0; k < node->hosted_count; k++) {
            struct hosted *hosted = node->hosted[k];
            bool moves = hosted->mover != NULL && hosted->mover->open && hosted->mover->prepared;
            struct lane *lane = moves ? pst_lane_of(&hosted->run, &hosted->mover->move) : NULL;
            if (lane == NULL || lane->state != LANE_INSTALLED)
                continue;
            lane->first[hosted->mover->move.buckets[0]] += UINT64_C(1) << 40;
            return true;
        }
    }
    return false;
}

/* The record of the only graph's move that lost something; 1 + the rows. */
static uint64_t loss_recorded(const struct cluster *cluster)
{
    const struct graph_record *record = cluster->nodes[0].node->duty->graphs[0];
    uint64_t rows_lost = 0;
    for (uint32_t i = 0; i < record->past_count; i++) {
        uint64_t rows = record->past[i]->message->move_record->rows_lost;
        rows_lost = rows > rows_lost ? rows : rows_lost;
    }
    return rows_lost;
}

static void rows_that_are_lost_are_told_by_the_command_and_the_record(void **state)
{
    (void)state;
    struct pst_text text = {0};
    uint32_t planted = 0, told = 0;
    uint64_t seeds = scene_seeds(20);
    graph_path = LOAD;
    scene_text_of(LOAD, &text);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        bool once = false;
        char what[80];
        (void)snprintf(what, sizeof what, "a loss, seed %llu", (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster->client.movable = load.movable;
        cluster->client.graph_name = load.name;
        cluster_begin(cluster);
        while (!cluster->client.done) {
            cluster_turn(cluster, what);
            once = once || loss_plant(cluster);
        }
        uint64_t recorded = loss_recorded(cluster);
        planted += recorded > UINT64_C(1) << 39;
        told += cluster->client.lost != 0;
        assert_true(once || recorded <= 1);
        if ((cluster->client.lost != 0) != (recorded > 1))
            fail_msg("%s: %llu in the record, told %u", what, (unsigned long long)recorded, cluster->client.lost);
        cluster_fini(cluster);
        free(cluster);
    }
    print_message("%u losses, %u told\n", planted, told);
    assert_true(told == planted && (seeds < 20 || told > 0));
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submitted_graph_gives_the_same_bytes),
        cmocka_unit_test(nodes_that_are_killed_lose_and_repeat_nothing),
        cmocka_unit_test(graphs_are_scaled_and_moved_while_they_run),
        cmocka_unit_test(rows_that_are_lost_are_told_by_the_command_and_the_record),
        cmocka_unit_test(nodes_are_killed_while_partitions_move),
        cmocka_unit_test(nodes_that_all_read_give_the_bytes_of_one_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
