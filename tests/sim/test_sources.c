/* test_sources.c - `rebalance --by-source`: several nodes read, each houses of its own, and each bucket goes to the node that reads its house,
 * with all that is counted of it, in few moves; so it does under the next coordinator, too. The bytes are those of one process (P1). */
#include "engine/loads.h"
#include "engine/mover.h"
#include "tests/sim/graphs.h"
#include "tests/sim/moves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { READERS = 2, HOUSES = 12 };
#define SECOND_NS (UINT64_C(1000) * 1000 * 1000)

static void input(struct scene *scene)
{
    const struct scene_meters meters = {
        .houses = HOUSES, .plugs = 36, .seed = 3, .seconds = 900, .rows_max = 18000, .hour = 19};
    scene_set(scene, "slices", "10,30");
    scene_set(scene, "every", "10");
    scene_set(scene, "bucket_by", "house_id");
    scene_set(scene, "buckets", "256");
    scene_put_meters(scene, &meters);
}

/* The bucket of a house, whatever the plug. */
static uint32_t bucket_of(uint32_t house)
{
    uint64_t hash = pst_hash(&(struct pst_hash_key){0, 0}, &house, sizeof house);
    return (uint32_t)hash & 255;
}

/* Houses whose bucket is not on the node that reads them. Two may have one bucket: then it is with either. */
static uint32_t strangers(const struct graph_record *record, const char *operator_id)
{
    const Pst__Start *start = record->start->start;
    uint32_t n = pst_graph_find(record->graph, operator_id), count = 0;
    const struct layout *layout = record->moving->layouts[n];
    for (uint32_t house = 0; house < HOUSES; house++) {
        bool there = false;
        for (uint32_t other = 0; other < HOUSES; other++) {
            char name[8];
            (void)snprintf(name, sizeof name, "n%u", other % READERS);
            there |= bucket_of(other) == bucket_of(house) &&
                     strcmp(start->nodes[layout->node_of[layout->of[bucket_of(house)]]], name) == 0;
        }
        count += !there;
    }
    return count;
}

static int asked(struct cluster *cluster, const char *verb, const char *first)
{
    struct cluster_client *client = &cluster->client;
    client->wish[0] = verb;
    client->wish[1] = first;
    client->wish[2] = NULL;
    while (client->wish[0] != NULL)
        cluster_turn(cluster, verb);
    return client->wish_error;
}

static struct cluster *cluster_of(const struct pst_text *text, uint64_t seed, bool elects, bool by_source)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    cluster_init_many(cluster, seed, READERS, text, input);
    cluster->client.graph_name = "load";
    cluster->reader_count = READERS;
    cluster->elects = elects;
    cluster->by_source = by_source;
    cluster->dead_ns = 10 * SECOND_NS;
    cluster->abreast = true;
    cluster->portion_bytes = elects ? 1 << 20 : 0; /* then it is told more often how busy partitions are */
    cluster->grow_ns = 80 * SECOND_NS / scene_file(&cluster->like, "in.csv")->count;
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "2";
    cluster_begin(cluster);
    while (cluster_record(cluster) == NULL || cluster_record(cluster)->state != GRAPH_RUNNING || !cluster->client.taken)
        cluster_turn(cluster, "until it runs");
    return cluster;
}

/* Each house has had some rows by then. */
static void rows_come(struct cluster *cluster)
{
    while (cluster->net.now_ns < 20 * SECOND_NS)
        cluster_turn(cluster, "until rows have come");
}

static void wanted_make(struct scene *wanted, struct pst_text *text)
{
    scene_text_of(LOAD, text);
    scene_init(wanted, 1);
    input(wanted);
    scene_set(wanted, "partitions", "1");
    assert_int_equal(scene_run(wanted, LOAD), PST_OK);
}

static void buckets_go_to_the_nodes_that_read_their_houses(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    wanted_make(&wanted, &text);
    struct cluster *cluster = cluster_of(&text, 1, false, false);
    assert_int_equal(asked(cluster, "rebalance", "--by-source"), PST_ETIMEOUT); /* nobody has told anything yet */
    rows_come(cluster);
    int error = PST_ETIMEOUT;
    while (error == PST_ETIMEOUT)
        error = asked(cluster, "rebalance", "--by-source");
    print_message("%s\n", cluster->client.says);
    assert_int_equal(error, PST_OK);
    assert_non_null(strstr(cluster->client.says, "rows lost 0"));
    const struct graph_record *record = cluster_record(cluster);
    assert_int_equal(strangers(record, "plug_load"), 0);
    assert_int_equal(strangers(record, "house_load"), 0);
    uint32_t moves = (uint32_t)strtoul(cluster->client.says, NULL, 10);
    assert_in_range(moves, 1,
                    2 * READERS * (READERS - 1)); /* for each operator, from each partition to each other node */
    assert_int_equal(asked(cluster, "rebalance", "--by-source"), PST_OK);
    assert_ptr_equal(strstr(cluster->client.says, "0 moves"), cluster->client.says);
    cluster_run(cluster, 0, false, "to the end");
    cluster_same(&wanted, cluster, "load", "by source");
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&text);
    scene_fini(&wanted);
}

/* Amid its moves the coordinator is another one, once: who takes over goes on when it knows whose rows are whose. */
static void the_next_coordinator_goes_on_with_it(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    wanted_make(&wanted, &text);
    for (uint64_t seed = 1; seed <= 4; seed++) {
        char what[40];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        struct cluster *cluster = cluster_of(&text, seed, true, false);
        rows_come(cluster);
        int error = PST_ETIMEOUT;
        bool deposed = false;
        struct cluster_client *client = &cluster->client;
        while (error == PST_ETIMEOUT) {
            client->wish[0] = "rebalance";
            client->wish[1] = "--by-source";
            client->wish[2] = NULL;
            while (client->wish[0] != NULL) {
                cluster_turn(cluster, what);
                const struct graph_record *record = cluster_record(cluster);
                const struct moving *moving = record != NULL ? record->moving : NULL;
                if (!deposed && moving != NULL && moving->now != NULL && moving->order != NULL &&
                    moving->order_index >= seed % 2 + 1 && record->kept.version != 0) {
                    deposed = true;
                    cluster_depose(cluster, cluster_coordinator(cluster), false);
                }
            }
            error = client->wish_error;
        }
        assert_true(deposed);
        while (!client->done) {
            const struct graph_record *record = cluster_record(cluster);
            if (record != NULL && record->moving != NULL && record->state == GRAPH_RUNNING &&
                !pst_order_under_way(record) && strangers(record, "plug_load") + strangers(record, "house_load") == 0)
                break;
            cluster_turn(cluster, what);
        }
        assert_false(client->done); /* all is where it was to be before the input has ended */
        cluster_run(cluster, 0, false, what);
        cluster_same(&wanted, cluster, "load", what);
        moves_no_order(cluster, what);
        cluster_fini(cluster);
        free(cluster);
    }
    pst_text_fini(&text);
    scene_fini(&wanted);
}

#ifdef __SANITIZE_ADDRESS__
enum { DEPOSED = 1 };
#else
enum { DEPOSED = 3 };
#endif

static bool all_at_home(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    return record != NULL && record->moving != NULL && record->state == GRAPH_RUNNING && !pst_order_under_way(record) &&
           strangers(record, "plug_load") + strangers(record, "house_load") == 0;
}

/* Nobody orders anything; deposes: the coordinator is another one before it is known whose rows are whose. */
static void submitted_so(const struct scene *wanted, const struct pst_text *text, uint64_t seed, bool deposes)
{
    char what[60];
    (void)snprintf(what, sizeof what, "submitted so%s, seed %llu", deposes ? ", deposed" : "",
                   (unsigned long long)seed);
    struct cluster *cluster = cluster_of(text, seed, deposes, true);
    assert_true(cluster_record(cluster)->start->start->by_source);
    if (deposes)
        cluster_depose(cluster, cluster_coordinator(cluster), false);
    while (!all_at_home(cluster) && !cluster->client.done)
        cluster_turn(cluster, what);
    if (cluster->client.done)
        fail_msg("%s: the input has ended, and houses are elsewhere", what);
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, "load", what);
    moves_no_order(cluster, what);
    cluster_fini(cluster);
    free(cluster);
}

static void a_graph_that_is_submitted_so_needs_no_order(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    wanted_make(&wanted, &text);
    submitted_so(&wanted, &text, 1, false);
    for (uint64_t seed = 1; seed <= DEPOSED; seed++)
        submitted_so(&wanted, &text, seed, true);
    pst_text_fini(&text);
    scene_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_go_to_the_nodes_that_read_their_houses),
        cmocka_unit_test(the_next_coordinator_goes_on_with_it),
        cmocka_unit_test(a_graph_that_is_submitted_so_needs_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
