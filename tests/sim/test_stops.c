/* test_stops.c - a graph that is to be stopped with a savepoint while its coordinator changes, because its session ends, behind its back or
 * not, or because it dies, at each step of the stop. What the store has of it whoever coordinates next goes on with: the graph is stopped
 * and nobody has to ask again. The savepoint is whole, or not there: what goes on from it leaves the bytes of one process (P1, P2). */
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

enum { QUERIES = 2, CHANGES = 6, STREAM_SECONDS = 150 };
/* Under a sanitizer few have to do. */
#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 4, MANY = 20 };
#else
enum { SEEDS = 20, MANY = 20 }; /* MANY: so many show something by their sums, too */
#endif
#define MS UINT64_C(1000000)
#define STREAM_NS (1000 * MS)
#define END_NS (200 * 1000 * MS)
#define PATIENT_NS (3000 * MS)

static const struct query {
    const char *path, *name;
    const char *const movable[4];
} queries[QUERIES] = {
    {LOAD, "load", {"plug_load", "house_load", NULL}},
    {OUTLIERS, "outliers", {"plug_above", "house_share", "median_all", NULL}},
};
static const struct query *query; /* that is run */
static bool several;              /* its input is read by several nodes */

enum step { STEP_NONE, STEP_ASKED, STEP_WAITS, STEP_SETTLES, STEP_WRITES, STEP_ENDS, STEP_COUNT };
static const char *const step_names[STEP_COUNT] = {
    "",
    "the order is on its way to the store",
    "a checkpoint is waited for",
    "that it is the last one is on its way",
    "its savepoint is written",
    "that it is stopped is on its way",
};

struct trial {
    struct cluster *cluster;
    char what[80];
    enum kind { DEPOSES, DIES, EMBEDDED } kind;
    uint32_t left; /* coordinators that still go */
    enum step at;  /* as it was when looked at last */
    uint64_t up_ns[CLUSTER_NODES_MAX];
    char promised[40]; /* the store has it: it is to be a savepoint. "": nothing is */
};

static struct sums {
    uint64_t stopped, promised, done, again, amid[STEP_COUNT];
} sums;

static void input(struct scene *scene)
{
    struct scene_meters meters = {
        .houses = 3, .plugs = 8, .seed = 5, .seconds = STREAM_SECONDS, .rows_max = 1500, .hour = 19, .dirt = !several};
    if (query == &queries[0]) {
        scene_set(scene, "slices", "10,30");
        scene_set(scene, "every", "2");
    } else {
        scene_set(scene, "windows", "3,20");
    }
    scene_put_meters(scene, &meters);
}

static uint64_t draw(struct trial *trial, uint64_t below) { return sim_random(&trial->cluster->random, below); }

static enum step step_of(const struct graph_record *record)
{
    if (record->state == GRAPH_STOPPED)
        return record->committing ? STEP_ENDS : STEP_NONE;
    if (record->stop_to == NULL)
        return STEP_NONE;
    if (record->saving)
        return STEP_WRITES;
    return record->stop_at != 0 ? STEP_SETTLES : record->stop_stored ? STEP_WAITS : STEP_ASKED;
}

static void change(struct trial *trial, enum step step)
{
    struct cluster *cluster = trial->cluster;
    uint32_t i = cluster_coordinator(cluster);
    sums.amid[step]++;
    trial->left--;
    if (trial->kind == DEPOSES) {
        cluster_depose(cluster, i, draw(trial, 2) == 0);
        return;
    }
    cluster_kill(cluster, i);
    trial->up_ns[i] = cluster->net.now_ns + 1 + draw(trial, 300 * MS);
}

/* What was promised is kept: the graph is stopped, or its input has ended before that. */
static void promise_look(struct trial *trial, const struct graph_record *record)
{
    if (trial->promised[0] == '\0' && record->stop_stored) {
        (void)snprintf(trial->promised, sizeof trial->promised, "%s", record->stop_to);
        sums.promised++;
    }
    if (trial->promised[0] == '\0')
        return;
    bool ended = record->state == GRAPH_STOPPED || record->state == GRAPH_DONE;
    if (ended && !record->committing && record->commit.rc == PST_OK) {
        sums.done += record->state == GRAPH_DONE;
        sums.stopped += record->state == GRAPH_STOPPED;
        trial->promised[0] = '\0';
    } else if (!ended && (record->stop_to == NULL || strcmp(record->stop_to, trial->promised) != 0)) {
        fail_msg("%s: the stop is forgotten, and the graph is %s: %s", trial->what,
                 pst_graph_state_names[record->state], record->why);
    }
}

static void look(struct trial *trial)
{
    struct cluster *cluster = trial->cluster;
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].node == NULL && trial->up_ns[i] != 0 && cluster->net.now_ns >= trial->up_ns[i]) {
            trial->up_ns[i] = 0;
            cluster_up(cluster, i);
        }
    const struct graph_record *record = cluster_record(cluster);
    if (record == NULL)
        return;
    promise_look(trial, record);
    enum step step = step_of(record);
    bool same = step == trial->at;
    trial->at = step;
    if (!same && step != STEP_NONE && trial->left != 0 && draw(trial, 3) == 0)
        change(trial, step);
}

static void one(const struct scene *wanted, const struct pst_text *text, enum kind kind, uint64_t seed)
{
    struct trial trial = {.cluster = calloc(1, sizeof *trial.cluster), .kind = kind, .left = CHANGES};
    struct cluster *cluster = trial.cluster;
    (void)snprintf(trial.what, sizeof trial.what, "%s, seed %llu%s%s", query->name, (unsigned long long)seed,
                   several ? ", several read" : "", kind == DEPOSES ? "" : ", the coordinator dies");
    cluster_init(cluster, seed, text, input);
    cluster->ends_ns = END_NS;
    cluster->elects = kind != EMBEDDED;
    cluster->dead_ns = PATIENT_NS;
    cluster->cut_ns_max = PATIENT_NS / 4;
    cluster->source = (uint32_t)draw(&trial, cluster->node_count);
    cluster->reader_count = several ? 2 : 0;
    cluster->abreast = true;
    cluster->every_ns = 20 * MS + draw(&trial, 200 * MS);
    cluster->grow_ns = STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->coordination.delay_us_max = 1 + (uint32_t)draw(&trial, 5000);
    cluster->coordination.unknown_per_1000 = draw(&trial, 2) == 0 ? 100 : 0;
    cluster->client.movable = seed % 3 == 0 ? query->movable : NULL;
    cluster->client.graph_name = query->name;
    cluster->client.stops = 3;
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, trial.what);
        look(&trial);
        if (strstr(cluster->client.says, ": failed") != NULL)
            fail_msg("%s: %s", trial.what, cluster->client.says);
    }
    if (cluster->client.error != PST_OK)
        fail_msg("%s: %s", trial.what, cluster->client.says);
    cluster_same(wanted, cluster, query->name, trial.what);
    sums.again += cluster->client.submitted_from;
    cluster_fini(cluster);
    free(cluster);
}

static void seeds_run(enum kind kind, uint64_t seeds)
{
    sums = (struct sums){0};
    for (uint32_t q = 0; q < QUERIES; q++) {
        struct scene wanted;
        struct pst_text text = {0};
        query = &queries[q];
        scene_text_of(query->path, &text);
        scene_init(&wanted, 1);
        input(&wanted);
        scene_set(&wanted, "partitions", "1");
        assert_int_equal(scene_run(&wanted, query->path), PST_OK);
        for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
            one(&wanted, &text, kind, seed);
        scene_fini(&wanted);
        pst_text_fini(&text);
    }
    print_message(
        "%llu stops in the store, %llu of them stopped the graph, for %llu its input had ended; %llu times it "
        "went on from a savepoint\n",
        (unsigned long long)sums.promised, (unsigned long long)sums.stopped, (unsigned long long)sums.done,
        (unsigned long long)sums.again);
    for (uint32_t i = 0; i < STEP_COUNT; i++)
        if (sums.amid[i] != 0)
            print_message("%llu coordinators went while %s\n", (unsigned long long)sums.amid[i], step_names[i]);
    bool all = true;
    for (uint32_t i = STEP_ASKED; i < STEP_COUNT; i++)
        all &= sums.amid[i] != 0;
    assert_true(seeds < MANY || (all && sums.stopped > seeds && sums.again > seeds));
}

static void a_stop_outlives_its_coordinator(void **state)
{
    (void)state;
    seeds_run(DEPOSES, scene_seeds(SEEDS));
}

static void a_stop_outlives_a_coordinator_that_dies(void **state)
{
    (void)state;
    seeds_run(DIES, scene_seeds(SEEDS));
}

static void a_stop_goes_on_when_the_first_node_is_back(void **state)
{
    (void)state;
    seeds_run(EMBEDDED, scene_seeds(SEEDS));
}

static void a_stop_of_what_several_nodes_read_outlives_its_coordinator(void **state)
{
    (void)state;
    several = true;
    seeds_run(DEPOSES, scene_seeds(SEEDS));
    several = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_outlives_its_coordinator),
        cmocka_unit_test(a_stop_outlives_a_coordinator_that_dies),
        cmocka_unit_test(a_stop_goes_on_when_the_first_node_is_back),
        cmocka_unit_test(a_stop_of_what_several_nodes_read_outlives_its_coordinator),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
