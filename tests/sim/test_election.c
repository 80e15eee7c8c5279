/* test_election.c - a cluster whose nodes all reach one store: any of them coordinates, and another takes over. Sessions end, the store is
 * not reached, outcomes are not learned, news is lost, nodes are killed: outputs are those of one process (P1, P2), and a graph
 * whose nodes live is not started again because another of them coordinates. */
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

enum { SLOW_NS = 100 * 1000 * 1000 };
#define PATIENT_NS (UINT64_C(3000) * 1000 * 1000)

struct sums { /* over all seeds */
    uint64_t restarts, terms, resigned, silences, completed, resumed, moved;
};

static const char *graph_path;
static void query_input(struct scene *scene)
{
    scene_query(scene, graph_path);
    scene_put_meters(scene, &scene_small);
}

struct trial {
    const char *path, *name;
    uint32_t faults, kills;
    bool checkpoints;
    const char *movable[4]; /* as of cluster_client */
};

static void one(const struct scene *wanted, const struct pst_text *text, const struct trial *trial, uint64_t seed,
                struct sums *sums)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "%s, seed %llu", trial->name, (unsigned long long)seed);
    cluster_init(cluster, seed, text, query_input);
    cluster->elects = true;
    cluster->client.movable = trial->movable[0] != NULL ? trial->movable : NULL;
    cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    cluster->every_ns = trial->checkpoints ? 1000000 + sim_random(&cluster->random, 30000000) : 0;
    cluster->coordination.delay_us_max = 1 + (uint32_t)sim_random(&cluster->random, 20000);
    cluster->net.delay_ns_max = 1 + sim_random(&cluster->random, SLOW_NS); /* so that a graph takes its time */
    if (trial->kills == 0) { /* whoever does not reach the store for a moment is not dead */
        cluster->dead_ns = PATIENT_NS;
        cluster->cut_ns_max = PATIENT_NS / 2;
    }
    cluster_begin(cluster);
    cluster->store_faults = trial->faults;
    cluster->coordination.unknown_per_1000 = trial->faults != 0 ? 150 : 0;
    cluster_run(cluster, trial->kills, true, what);
    cluster_same(wanted, cluster, trial->name, what);
    if (trial->kills == 0 && cluster->client.incarnation != 1)
        fail_msg("%s: the graph was started %u times, and no node has died", what, cluster->client.incarnation);
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%s: %.3f s, %llu turns\n", what, (double)cluster->net.now_ns / 1e9,
                      (unsigned long long)cluster->turns);
    sums->restarts += cluster->client.incarnation - 1;
    sums->terms += cluster->terms;
    sums->resigned += cluster->resigned;
    sums->silences += cluster->silences;
    sums->completed += cluster->completed;
    sums->resumed += cluster->resumed;
    sums->moved += cluster->client.moved + cluster->client.scaled;
    cluster_fini(cluster);
    free(cluster);
}

static void seeds_run(const struct trial *trial, uint64_t seeds, struct sums *ret_sums)
{
    struct scene wanted;
    struct pst_text text = {0};
    *ret_sums = (struct sums){0};
    graph_path = trial->path;
    scene_text_of(trial->path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, trial->path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        one(&wanted, &text, trial, seed, ret_sums);
    print_message(
        "%s: %llu terms, %llu of them given up, %llu times a store that does not answer, %llu starts more than "
        "graphs, %llu checkpoints, %llu runs from one, %llu moves\n",
        trial->name, (unsigned long long)ret_sums->terms, (unsigned long long)ret_sums->resigned,
        (unsigned long long)ret_sums->silences, (unsigned long long)ret_sums->restarts,
        (unsigned long long)ret_sums->completed, (unsigned long long)ret_sums->resumed,
        (unsigned long long)ret_sums->moved);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void one_node_of_many_coordinates(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(20);
    seeds_run(&(struct trial){LOAD, "load", 0, 0, false, {NULL}}, seeds, &sums);
    assert_true(sums.terms == seeds && sums.resigned == 0 && sums.silences == 0);
}

static void another_coordinator_starts_nothing_again(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(100);
    seeds_run(&(struct trial){LOAD, "load", 12, 0, false, {NULL}}, seeds, &sums);
    assert_true(sums.restarts == 0 && sums.terms > seeds + seeds / 2 && sums.resigned > seeds / 2 &&
                sums.silences > seeds);
    seeds_run(&(struct trial){OUTLIERS, "outliers", 12, 0, true, {NULL}}, seeds, &sums);
    assert_true(sums.restarts == 0 && sums.terms > seeds + seeds / 2 && sums.completed > seeds / 2 &&
                sums.resumed == 0);
}

static void nodes_that_are_killed_are_taken_over(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(100);
    seeds_run(&(struct trial){OUTLIERS, "outliers", 8, 3, false, {NULL}}, seeds, &sums);
    scene_shows(sums.restarts > 0 && sums.terms > seeds + seeds / 2);
    seeds_run(&(struct trial){LOAD, "load", 8, 3, true, {NULL}}, seeds, &sums);
    scene_shows(sums.restarts > 0 && sums.terms > seeds + seeds / 2 && sums.resumed > 0);
}

/* Nor is a graph started again of which something moves (test_outlive.c). */
static void moves_and_another_coordinator_change_nothing(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(60);
    seeds_run(&(struct trial){LOAD, "load", 8, 0, false, {"plug_load", "house_load", NULL}}, seeds, &sums);
    scene_shows(sums.terms > seeds && (seeds < 60 || sums.moved > 0));
    seeds_run(&(struct trial){OUTLIERS, "outliers", 8, 2, false, {"plug_above", "house_share", NULL}}, seeds, &sums);
    scene_shows(sums.terms > seeds && sums.restarts > 0);
}

/* ---- a store that somebody else writes to ---- */

static struct store_sim_record *stored(struct cluster *cluster, const char *path)
{
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        if (cluster->coordination.records[i].version != 0 && strcmp(cluster->coordination.records[i].path, path) == 0)
            return &cluster->coordination.records[i];
    return NULL;
}

static void running_await(struct cluster *cluster, uint64_t incarnation, const char *what)
{
    const struct graph_record *record = NULL;
    while (record == NULL || record->state != GRAPH_RUNNING || record->start->incarnation != incarnation) {
        assert_false(cluster->client.done);
        cluster_turn(cluster, what);
        record = cluster_record(cluster);
    }
}

/* Whoever may write there deletes a record, makes it anew, and sets it until it has the version of an older one, with that one's bytes: they open.
 * The nodes know better. The graph fails, and says why; neither does it begin where it was, nor is it waited for without end. */
static void an_older_record_of_a_graph_that_runs_is_found_out(void **state)
{
    const char *what = "a record is put back";
    struct pst_text text = {0}, older = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    (void)state;
    graph_path = LOAD;
    scene_text_of(LOAD, &text);
    cluster_init_many(cluster, 1, 3, &text, query_input);
    cluster->elects = true;
    cluster->every_ns = 100000000;
    cluster->grow_ns = 1000000;
    cluster->source = 1;
    cluster->client.graph_name = "load";
    cluster_begin(cluster);
    running_await(cluster, 1, what);
    const struct store_sim_record *record = stored(cluster, "graphs/load");
    uint64_t version = record->version;
    assert_int_equal(pst_text_add(&older, record->bytes, record->byte_count), PST_OK);
    uint32_t other = cluster_coordinator(cluster) == 1 ? 2 : 1;
    cluster_kill(cluster, other);
    cluster_up(cluster, other);
    running_await(cluster, 2, what);
    struct store_sim_record *newer = stored(cluster, "graphs/load");
    assert_true(newer->version > version && newer->byte_count >= older.count);
    memcpy(newer->bytes, older.bytes, older.count);
    newer->byte_count = (uint32_t)older.count;
    newer->version = version;
    cluster->ends_ns = cluster->net.now_ns + UINT64_C(30) * 1000000000;
    cluster_depose(cluster, cluster_coordinator(cluster), false);
    while (strstr(cluster->client.says, "load: failed, incarnation 2") == NULL)
        cluster_turn(cluster, what);
    assert_non_null(strstr(cluster->client.says, "was put back"));
    for (uint32_t i = 0; i < cluster->node_count; i++)
        while (cluster->nodes[i].node->hosted_count != 0)
            cluster_turn(cluster, what);
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&older);
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node_of_many_coordinates),
        cmocka_unit_test(another_coordinator_starts_nothing_again),
        cmocka_unit_test(nodes_that_are_killed_are_taken_over),
        cmocka_unit_test(moves_and_another_coordinator_change_nothing),
        cmocka_unit_test(an_older_record_of_a_graph_that_runs_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
