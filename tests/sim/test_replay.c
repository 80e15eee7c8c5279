/* test_replay.c - a stream that comes by a connection, into a graph on several nodes: whatever is killed or cut off, and whenever - the node
 * that reads, the coordinator, the client itself - the graph leaves the bytes of one process over the whole file (P1, P2). */
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

struct sums { /* over all seeds */
    uint64_t restarts, completed, begun, killed, resumed;
    uint64_t bytes_sent, bytes_input;
};

static const char *graph_path;

static void query_input(struct scene *scene)
{
    scene_query(scene, graph_path);
    scene_put_meters(scene, &scene_small);
}

static void text_of(const char *path, struct pst_text *ret_text)
{
    FILE *file = fopen(path, "rb");
    char buffer[4096];
    assert_non_null(file);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) != 0;)
        assert_int_equal(pst_text_add(ret_text, buffer, n), PST_OK);
    (void)fclose(file);
}

static uint64_t seed_first(void)
{
    const char *text = getenv("PST_TEST_SEED");
    uint64_t seed = 1;
    if (text != NULL)
        (void)pst_parse_u64(text, &seed);
    return seed;
}

static void one(const struct scene *wanted, const struct pst_text *text, const char *name, uint64_t seed,
                uint32_t kills, bool points, struct sums *sums)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "%s, seed %llu", name, (unsigned long long)seed);
    cluster_init(cluster, seed, text, query_input);
    cluster->fed = true;
    cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    cluster->every_ns = points ? 1000000 + sim_random(&cluster->random, 30000000) : 0;
    if (kills != 0) /* so slow that it is amid the stream when something happens */
        cluster->player.speed = 100 * (double)(1 + sim_random(&cluster->random, 100));
    cluster->player.sim.read_bytes_max = cluster->like.sim.read_bytes_max;
    cluster_begin(cluster);
    cluster_run(cluster, kills, true, what);
    cluster_same(wanted, cluster, name, what);
    sums->restarts += cluster->client.incarnation - 1;
    sums->completed += cluster->completed;
    sums->begun += cluster->player.begun;
    sums->killed += cluster->player.killed;
    sums->resumed += cluster->player.resumed;
    sums->bytes_sent += cluster->player.bytes_sent;
    sums->bytes_input += scene_file(&cluster->like, "in.csv")->count;
    cluster_fini(cluster);
    free(cluster);
}

static void seeds_run(const char *path, const char *name, uint64_t seeds, uint32_t kills, bool points,
                      struct sums *ret_sums)
{
    struct scene wanted;
    struct pst_text text = {0};
    *ret_sums = (struct sums){0};
    graph_path = path;
    text_of(path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, path), PST_OK);
    for (uint64_t seed = seed_first(), end = seed + seeds; seed < end; seed++)
        one(&wanted, &text, name, seed, kills, points, ret_sums);
    if (getenv("PST_TEST_LOG") != NULL)
        print_message(
            "%s: %llu restarts, %llu checkpoints, the player begun %llu times, killed %llu times, %llu connections "
            "went on amid the stream, %llu of %llu bytes sent\n",
            name, (unsigned long long)ret_sums->restarts, (unsigned long long)ret_sums->completed,
            (unsigned long long)ret_sums->begun, (unsigned long long)ret_sums->killed,
            (unsigned long long)ret_sums->resumed, (unsigned long long)ret_sums->bytes_sent,
            (unsigned long long)ret_sums->bytes_input);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_stream_is_sent_once_where_nothing_happens(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(20);
    seeds_run(LOAD, "load", seeds, 0, false, &sums);
    assert_true(sums.restarts == 0 && sums.begun == seeds && sums.bytes_sent == sums.bytes_input);
    seeds_run(OUTLIERS, "outliers", seeds, 0, true, &sums);
    assert_true(sums.completed > 0 && sums.begun == seeds && sums.bytes_sent == sums.bytes_input);
}

static void killed(const char *path, const char *name, bool points)
{
    struct sums sums;
    uint64_t seeds = scene_seeds(60);
    seeds_run(path, name, seeds, 4, points, &sums);
    assert_true(sums.restarts > seeds / 2 && sums.killed > seeds / 4 && sums.resumed > seeds / 4);
    assert_true(sums.bytes_sent > sums.bytes_input);
}

static void query_1_without_checkpoints_begins_again(void **state)
{
    (void)state;
    killed(LOAD, "load", false);
}

static void query_1_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(LOAD, "load", true);
}

static void query_2_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(OUTLIERS, "outliers", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_sent_once_where_nothing_happens),
        cmocka_unit_test(query_1_without_checkpoints_begins_again),
        cmocka_unit_test(query_1_goes_on_from_its_checkpoints),
        cmocka_unit_test(query_2_goes_on_from_its_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
