/* test_relocate.c - graphs whose partitions go stop and go, from a checkpoint (docs/cluster.md, relocations), as those of sealed rows do; here
 * their rows are in the clear, for the simulation has no enclaves. Whatever dies meanwhile, whoever coordinates, and whatever cannot run
 * where it is to go: outputs are those of one process, every relocation ends, and the graph does not fail (P1, P2). */
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

#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 4, MANY = 12 };
#else
enum { SEEDS = 12, MANY = 12 }; /* MANY: so many show something by their sums, too */
#endif
#define MS UINT64_C(1000000)
#define STREAM_NS (1500 * MS)
#define END_NS (300 * 1000 * MS)

static const char *const movable[] = {"plug_load", "house_load", NULL};

static struct sums {
    uint64_t relocated, scaled, went_back, restarts, amid, changes, emptied, refused;
    struct moves_sums moves;
} sums;

static void input(struct scene *scene)
{
    struct scene_meters meters = {
        .houses = 3, .plugs = 8, .seed = 5, .seconds = 150, .rows_max = 1500, .hour = 19, .dirt = true};
    scene_set(scene, "slices", "10,30");
    scene_set(scene, "every", "2");
    scene_put_meters(scene, &meters);
}

static struct cluster *cluster_of(uint64_t seed, const struct pst_text *text, char what[80], const char *kind)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    (void)snprintf(what, 80, "%s, seed %llu", kind, (unsigned long long)seed);
    cluster_init_many(cluster, seed, CLUSTER_FEW_NODES, text, input);
    cluster->relocates = true;
    cluster->ends_ns = END_NS;
    cluster->every_ns = 50 * MS + sim_random(&cluster->random, 200 * MS);
    cluster->grow_ns = STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    cluster->client.graph_name = "load";
    return cluster;
}

static void over(const struct scene *wanted, struct cluster *cluster, const char *what)
{
    if (cluster->client.error != PST_OK || strstr(cluster->client.says, ": failed") != NULL)
        fail_msg("%s: %s", what, cluster->client.says);
    cluster_same(wanted, cluster, "load", what);
    moves_ended(cluster, what, &sums.moves);
    sums.relocated += cluster->relocated;
    sums.scaled += cluster->client.scaled;
    sums.went_back += cluster->went_back;
    sums.restarts += cluster->client.incarnation - 1;
    assert_int_equal(cluster->client.lost, 0);
    cluster_fini(cluster);
    free(cluster);
}

/* How far the relocation is that is under way; PST_MOVE_STEP_COUNT: none is. */
static uint32_t step_of(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    const struct moving *moving = record != NULL ? record->moving : NULL;
    return moving != NULL && moving->now != NULL ? moving->now->message->move_record->step : PST_MOVE_STEP_COUNT;
}

static bool runs(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    return record != NULL && record->state == GRAPH_RUNNING;
}

static void for_all_seeds(void (*one)(const struct scene *wanted, const struct pst_text *text, uint64_t seed))
{
    struct scene wanted;
    struct pst_text text = {0};
    sums = (struct sums){0};
    scene_text_of(LOAD, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, LOAD), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + scene_seeds(SEEDS); seed < end; seed++)
        one(&wanted, &text, seed);
    print_message("%llu relocated, %llu scaled, %llu went back, %llu restarts, %llu DONE, %llu ABORTED; %llu deaths "
                  "amid, %llu changes of the coordinator, %llu nodes emptied, %llu refused\n",
                  (unsigned long long)sums.relocated, (unsigned long long)sums.scaled,
                  (unsigned long long)sums.went_back, (unsigned long long)sums.restarts,
                  (unsigned long long)sums.moves.done, (unsigned long long)sums.moves.aborted,
                  (unsigned long long)sums.amid, (unsigned long long)sums.changes, (unsigned long long)sums.emptied,
                  (unsigned long long)sums.refused);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

/* A client that asks for anything at any time, and nodes that are killed and cut off. */
static void orders_one(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    char what[80];
    struct cluster *cluster = cluster_of(seed, text, what, "orders");
    cluster->client.movable = movable;
    cluster->client.pause_ns = 60 * MS;
    cluster->fed = seed % 3 == 0;
    cluster->player->speed = 100;
    cluster->elects = seed % 4 == 1;
    cluster_begin(cluster);
    cluster_run(cluster, seed % 2 == 0 ? 2 : 0, true, what);
    over(wanted, cluster, what);
}

static void orders_are_worked_off_whatever_dies(void **state)
{
    (void)state;
    for_all_seeds(orders_one);
    assert_true(scene_seeds(SEEDS) < MANY ||
                (sums.relocated > scene_seeds(SEEDS) && sums.scaled > 0 && sums.moves.aborted > 0));
}

/* Of plug_load, that own buckets. */
static uint32_t partitions(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    const Pst__Start *start = record != NULL ? record->start->start : NULL;
    uint32_t count = 0;
    for (size_t i = 0; start != NULL && i < start->n_places; i++)
        count += strcmp(start->places[i]->operator_id, "plug_load") == 0;
    return count;
}

/* Amid one relocation, at one of its steps, one node dies, any of them; it comes back later. */
static void death_one(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    char what[80], name[16], to[16];
    struct cluster *cluster = cluster_of(seed, text, what, "a death");
    uint32_t at = seed % 2 == 0 ? PST_MOVE_INTENT : PST_MOVE_READY;
    uint32_t from = 1 + (uint32_t)sim_random(&cluster->random, cluster->node_count - 1), dead;
    uint64_t kind = sim_random(&cluster->random, 3);
    bool moves = kind == 0, scales = kind == 1, asked = false;
    cluster->elects = seed % 3 == 0;
    (void)snprintf(name, sizeof name, "n%u", from);
    (void)snprintf(to, sizeof to, "n%u", (from + 1) % cluster->node_count);
    cluster_begin(cluster);
    while (!cluster->client.done && (!asked || step_of(cluster) != at)) {
        cluster_turn(cluster, what);
        if (asked || !runs(cluster) || cluster->completed < 2 || !cluster->client.taken)
            continue;
        asked = true;
        cluster->client.wish[0] = moves ? "move" : scales ? "scale" : "drain";
        cluster->client.wish[1] = moves ? "plug_load/0" : scales ? "plug_load" : name;
        cluster->client.wish[2] = moves ? to : scales ? partitions(cluster) != 3 ? "3" : "7" : NULL;
    }
    for (uint64_t k = sim_random(&cluster->random, 60); k-- != 0 && step_of(cluster) == at && !cluster->client.done;)
        cluster_turn(cluster, what);
    dead = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    if (step_of(cluster) == at && !cluster->client.done && cluster->nodes[dead].node != NULL) {
        sums.amid++;
        cluster_kill(cluster, dead);
        for (uint64_t k = sim_random(&cluster->random, 3000); k-- != 0 && !cluster->client.done;)
            cluster_turn(cluster, what);
        cluster_up(cluster, dead);
    }
    cluster_run(cluster, 0, false, what);
    over(wanted, cluster, what);
}

static void any_node_may_die_at_any_step(void **state)
{
    (void)state;
    for_all_seeds(death_one);
    assert_true(scene_seeds(SEEDS) < MANY || (sums.amid > scene_seeds(SEEDS) / 2 && sums.relocated > 0));
}

/* Whoever coordinates is deposed amid each step: a relocation that had begun goes on, a drain begins anew where it had not. */
static void change_one(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    char what[80], name[16];
    struct cluster *cluster = cluster_of(seed, text, what, "the coordinator changes");
    uint32_t left = 3, last = PST_MOVE_STEP_COUNT, i = 1 + (uint32_t)sim_random(&cluster->random, 3);
    bool asked = false, empty = false;
    cluster->elects = true;
    cluster->dead_ns = 3000 * MS;
    cluster->cut_ns_max = cluster->dead_ns / 4;
    cluster->fed = true; /* so that nothing has to stay */
    cluster->player->speed = 100;
    (void)snprintf(name, sizeof name, "n%u", i);
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
        uint32_t step = step_of(cluster);
        if (!asked && runs(cluster) && cluster->completed >= 1 && cluster->client.taken) {
            asked = true;
            cluster->client.wish[0] = "drain";
            cluster->client.wish[1] = name;
        }
        empty |= asked && runs(cluster) && cluster_places(cluster, i, false) == 0;
        if (step != last && step < PST_MOVE_COMMITTED && left != 0 && sim_random(&cluster->random, 2) == 0) {
            left--;
            sums.changes++;
            cluster_depose(cluster, cluster_coordinator(cluster), sim_random(&cluster->random, 2) == 0);
        }
        last = step;
    }
    sums.emptied += empty;
    over(wanted, cluster, what);
}

static void a_drain_goes_on_under_the_next_coordinator(void **state)
{
    (void)state;
    for_all_seeds(change_one);
    uint64_t seeds = scene_seeds(SEEDS);
    assert_true(seeds < MANY || (sums.changes > seeds / 2 && sums.emptied > seeds / 2));
}

/* The node that it is to go to joins late, and cannot run the graph: it is back where it was, goes on, and is moved elsewhere then. */
static void poor_one(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    char what[80];
    struct cluster *cluster = cluster_of(seed, text, what, "a poor node");
    uint32_t poor = cluster->node_count - 1, before = 0;
    bool asked = false, up = false, scales = seed % 2 == 0; /* a new partition goes where the fewest are */
    cluster->source = 0;
    cluster->held_back = 1;
    cluster->poor = poor + 1;
    cluster_begin(cluster);
    while (!cluster->client.done && (!asked || cluster->client.wish[0] != NULL)) {
        cluster_turn(cluster, what);
        if (!up && cluster->completed >= 1)
            cluster_up(cluster, poor);
        up |= cluster->completed >= 1;
        if (asked || !runs(cluster) || cluster->joined < cluster->node_count - 1 || !cluster->client.taken)
            continue;
        asked = true;
        before = partitions(cluster);
        cluster->client.wish[0] = scales ? "scale" : "move";
        cluster->client.wish[1] = scales ? "plug_load" : "plug_load/0";
        cluster->client.wish[2] = scales ? "9" : "n3";
    }
    if (asked && !cluster->client.done && cluster->went_back != 0) {
        assert_int_equal(partitions(cluster), before);
        assert_int_equal(cluster->client.wish_error, PST_EREFUSED);
        assert_non_null(strstr(cluster->client.says, "no folder and no key for them"));
        sums.refused++;
        cluster->client.wish[0] = "drain";
        cluster->client.wish[1] = "n1";
        while (cluster->client.wish[0] != NULL && !cluster->client.done)
            cluster_turn(cluster, what);
        sums.emptied += cluster->client.wish[0] == NULL && cluster_places(cluster, 1, false) == 0;
    }
    cluster_run(cluster, 0, false, what);
    over(wanted, cluster, what);
}

static void what_cannot_run_there_is_back_where_it_was(void **state)
{
    (void)state;
    for_all_seeds(poor_one);
    uint64_t seeds = scene_seeds(SEEDS);
    assert_true(seeds < MANY || (sums.refused > seeds / 2 && sums.emptied > seeds / 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_are_worked_off_whatever_dies),
        cmocka_unit_test(any_node_may_die_at_any_step),
        cmocka_unit_test(a_drain_goes_on_under_the_next_coordinator),
        cmocka_unit_test(what_cannot_run_there_is_back_where_it_was),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
