/* test_recovery.c - checkpoints of a graph that runs on several nodes: whatever node is killed, and whenever, with whatever it had not
 * synced lost, the graph goes on from the last complete checkpoint and leaves the bytes of one process (P1, P2). */
#include "engine/checkpoint.h"
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

struct sums { /* over all seeds */
    uint64_t restarts, completed, given_up, resumed;
    uint64_t bytes_read, bytes_input;
    uint64_t bytes_before; /* read before the one kill */
    uint64_t moved;
    uint64_t stopped, submitted_from;
    uint64_t disk_bytes; /* the most of a node */
};

enum { WANTED_COUNT = (1 + CLUSTER_FEW_NODES) * LACKS_COUNT };
static const char *graph_path;
static bool several; /* nodes read, each the rows of its own houses */
static bool lacking; /* not all of them read from the beginning to the end */
static bool is_query(const char *graph) { return strchr(graph, '\n') == NULL; }

/* Rows far enough apart that there are cuts between them: one of the tests' graphs has epochs of 7 and of 3600. */
static void query_input(struct scene *scene)
{
    if (is_query(graph_path)) {
        struct scene_meters meters = scene_small;
        meters.dirt = !several;
        meters.late = several;
        scene_query(scene, graph_path);
        scene_put_meters(scene, &meters);
    } else {
        scene_put_rows(scene, 3, 1500, 40, 400);
    }
}

static void text_of(const char *path, struct pst_text *ret_text)
{
    if (is_query(path))
        scene_text_of(path, ret_text);
    else
        assert_int_equal(pst_text_add(ret_text, path, strlen(path)), PST_OK);
}

struct row {
    uint64_t time;
    const char *line;
    size_t bytes;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->time != y->time ? (x->time < y->time ? -1 : 1) : x->line < y->line ? -1 : x->line > y->line;
}

/* What so many readers take of the rows, in order of time: each drops those that are late by the rows before them in its own file. */
static void rows_taken(struct scene *scene, uint32_t reader_count, enum cluster_lack lack)
{
    const struct pst_text *text = scene_file(scene, "in.csv");
    uint64_t newest[CLUSTER_FEW_NODES] = {0};
    struct row *rows = calloc(text->count, sizeof *rows);
    struct pst_text taken = {0};
    const char *end = strchr(text->bytes, '\n') + 1;
    size_t count = 0, late = 0;
    assert_int_equal(pst_text_add(&taken, text->bytes, (size_t)(end - text->bytes)), PST_OK);
    for (const char *line = end; line < text->bytes + text->count; line = end) {
        const char *newline = strchr(line, '\n'), *house = newline;
        end = newline + 1;
        while (house[-1] != ',')
            house--;
        uint64_t time = strtoull(strchr(line, ',') + 1, NULL, 10), reader = strtoull(house, NULL, 10) % reader_count;
        if (reader == 0 && !cluster_has_row(lack, (size_t)(line - text->bytes), text->count))
            continue;
        late += time < newest[reader];
        if (time < newest[reader])
            continue;
        newest[reader] = time;
        rows[count++] = (struct row){time, line, (size_t)(end - line)};
    }
    assert_true(late > 0);
    qsort(rows, count, sizeof *rows, compare_rows);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pst_text_add(&taken, rows[i].line, rows[i].bytes), PST_OK);
    sim_put(&scene->sim, "in.csv", taken.bytes, taken.count);
    pst_text_fini(&taken);
    free(rows);
}

/* By how many nodes read, if several do, and what the first of them lacks. */
static uint32_t wanted_index(uint32_t reader_count, enum cluster_lack lack)
{
    return several ? reader_count * LACKS_COUNT + lack : 0;
}

static void wanted_make(struct scene *wanted, const char *path)
{
    const bool apart = several; /* it does not change meanwhile */
    graph_path = path;
    for (uint32_t i = wanted_index(2, LACKS_NOTHING); i < (apart ? WANTED_COUNT : 1u); i++) {
        scene_init(&wanted[i], 1);
        query_input(&wanted[i]);
        if (apart)
            rows_taken(&wanted[i], i / LACKS_COUNT, i % LACKS_COUNT);
        scene_set(&wanted[i], "partitions", "1");
        assert_int_equal(scene_run(&wanted[i], path), PST_OK);
    }
}

static void wanted_free(struct scene *wanted)
{
    for (uint32_t i = wanted_index(2, LACKS_NOTHING); i < (several ? WANTED_COUNT : 1u); i++)
        scene_fini(&wanted[i]);
}

static uint32_t stops;             /* of each graph that is run */
static const char *const *movable; /* of the graph that is run; NULL: nothing moves */
static uint64_t disk_bytes_max;    /* each seed has between a tenth of it and all of it; 0: no bound */

/* Not the one that reads: it goes on, so that what it reads again is what the graph is set back by. */
static void kill_one(struct cluster *cluster, const char *what)
{
    uint32_t i =
        (cluster->source + 1 + (uint32_t)sim_random(&cluster->random, cluster->node_count - 1)) % cluster->node_count;
    cluster_kill(cluster, i);
    for (uint32_t turns = 0; turns < 100; turns++)
        cluster_turn(cluster, what);
    cluster_up(cluster, i);
}

/* Whatever a checkpoint still waits for is there to be brought: else it would wait for ever, and nothing moves any more either. */
static void nobody_is_waited_for_in_vain(struct cluster *cluster, const char *what)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
            const struct run *run = &node->hosted[h]->run;
            const struct checkpoint *checkpoint = node->hosted[h]->begun ? run->checkpoint : NULL;
            if (checkpoint == NULL || checkpoint->phase != CHECKPOINT_CHOSEN)
                continue;
            uint32_t to_come = !checkpoint->positioned;
            for (uint32_t k = 0; k < run->instance_count; k++) {
                const struct pst_ctx *ctx = run->instances[k];
                bool brings =
                    !ctx->retired && (ctx->node->op->role == PST_ROLE_PLAIN || ctx->node->op->role == PST_ROLE_SINK);
                to_come += brings && ctx->cut_done < checkpoint->cut;
            }
            if (checkpoint->missing != to_come)
                fail_msg("%s: checkpoint %016llx waits on n%u for %u images and positions, and %u are to come", what,
                         (unsigned long long)checkpoint->id, i, checkpoint->missing, to_come);
        }
    }
}

/* One cluster of a seed, to its end. at_completed: a node is killed when so many checkpoints are complete. */
static void one(const struct scene *wanted, const struct pst_text *text, const char *name, uint64_t seed,
                uint32_t kills, uint32_t at_completed, struct sums *sums)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "%s, seed %llu", name, (unsigned long long)seed);
    cluster_init(cluster, seed, text, query_input);
    cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    cluster->reader_count = several ? 2 + (uint32_t)(seed % (cluster->node_count - 1)) : 0;
    cluster->lack = several && lacking ? (enum cluster_lack)(seed / 3 % LACKS_COUNT) : LACKS_NOTHING;
    cluster->every_ns = 1000000 + sim_random(&cluster->random, several                ? 5000000
                                                               : is_query(graph_path) ? 30000000
                                                                                      : 2000000);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].sim.create_percent = kills != 0 && seed % 2 == 0 ? 10 : 0;
    cluster->client.movable = movable;
    cluster->client.graph_name = name;
    cluster->client.stops = stops;
    if (disk_bytes_max != 0)
        cluster->disk_bytes_max =
            disk_bytes_max / 10 + sim_random(&cluster->random, disk_bytes_max - disk_bytes_max / 10);
    cluster->look = movable != NULL ? nobody_is_waited_for_in_vain : NULL;
    cluster_begin(cluster);
    while (at_completed != 0 && !cluster->client.done && cluster->completed < at_completed)
        cluster_turn(cluster, what);
    if (at_completed != 0 && !cluster->client.done) {
        sums->bytes_before += cluster_bytes_read(cluster);
        kill_one(cluster, what);
    }
    cluster_run(cluster, kills, true, what);
    cluster_same(&wanted[wanted_index(cluster->reader_count, cluster->lack)], cluster, name, what);
    sums->restarts += cluster->client.incarnation - 1;
    sums->stopped += cluster->client.stopped;
    sums->submitted_from += cluster->client.submitted_from;
    sums->completed += cluster->completed;
    sums->given_up += cluster->given_up;
    sums->resumed += cluster->resumed;
    sums->disk_bytes = cluster->disk_bytes_seen > sums->disk_bytes ? cluster->disk_bytes_seen : sums->disk_bytes;
    sums->moved += cluster->client.scaled + cluster->client.moved + cluster->client.spread;
    sums->bytes_read += cluster_bytes_read(cluster);
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    sums->bytes_input += rows->count;
    if (several) /* each of their files has a header */
        sums->bytes_input += (cluster->reader_count - 1) * (strcspn(rows->bytes, "\n") + 1);
    cluster_fini(cluster);
    free(cluster);
}

static void seeds_run(const char *path, const char *name, uint64_t seeds, uint32_t kills, uint32_t at_completed,
                      struct sums *ret_sums)
{
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    *ret_sums = (struct sums){0};
    text_of(path, &text);
    wanted_make(wanted, path);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        one(wanted, &text, name, seed, kills, at_completed, ret_sums);
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%s: %llu savepoints, %llu submitted from one, %llu moved, %llu restarts, %llu complete, %llu "
                      "given up, %llu runs resumed, %llu of %llu bytes read, "
                      "%llu before\n",
                      name, (unsigned long long)ret_sums->stopped, (unsigned long long)ret_sums->submitted_from,
                      (unsigned long long)ret_sums->moved, (unsigned long long)ret_sums->restarts,
                      (unsigned long long)ret_sums->completed, (unsigned long long)ret_sums->given_up,
                      (unsigned long long)ret_sums->resumed, (unsigned long long)ret_sums->bytes_read,
                      (unsigned long long)ret_sums->bytes_input, (unsigned long long)ret_sums->bytes_before);
    wanted_free(wanted);
    pst_text_fini(&text);
}

static void moved(const char *const *operators, const char *path, const char *name, uint64_t seeds, uint32_t kills,
                  struct sums *ret_sums)
{
    movable = operators;
    seeds_run(path, name, seeds, kills, 0, ret_sums);
    movable = NULL;
}

/* Between two checkpoints partitions move, and nodes die amid both: what is gone on from was cut under other owners. No move leaves a
 * checkpoint behind that waits for what is no more. */
static void partitions_move_between_checkpoints(void **state)
{
    static const char *const of_load[] = {"plug_load", "house_load", NULL};
    static const char *const of_outliers[] = {"plug_above", "house_share", "median_all", NULL};
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(80);
    moved(of_load, LOAD, "load", seeds, 0, &sums);
    assert_true(seeds < 40 || (sums.moved > seeds / 8 && sums.completed > seeds / 2));
    moved(of_load, LOAD, "load", seeds, 3, &sums);
    assert_true(seeds < 40 || (sums.moved > 0 && sums.resumed > seeds / 3));
    moved(of_outliers, OUTLIERS, "outliers", seeds, 3, &sums);
    assert_true(seeds < 40 || (sums.moved > 0 && sums.resumed > seeds / 3));
}

static void checkpoints_change_nothing(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(30);
    seeds_run(LOAD, "load", seeds, 0, 0, &sums);
    assert_true(sums.bytes_read == sums.bytes_input && sums.resumed == 0);
    scene_shows(sums.completed > seeds);
    seeds_run(OUTLIERS, "outliers", seeds, 0, 0, &sums);
    assert_true(sums.bytes_read == sums.bytes_input && sums.resumed == 0);
    scene_shows(sums.completed > seeds);
}

static void killed(const char *path, const char *name)
{
    struct sums sums;
    uint64_t seeds = scene_seeds(100);
    movable = NULL;
    seeds_run(path, name, seeds, 4, 0, &sums);
    scene_shows(sums.restarts > seeds / 2 && sums.resumed > seeds && sums.completed > 2 * seeds && sums.given_up > 0);
}

/* Total order, several outputs, diamonds, operators that speak seldom: their numbers and timers go on where they were. */
static void other_graphs_go_on_from_their_checkpoints(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(60);
    seeds_run(diamonds, "test", seeds, 2, 1, &sums);
    scene_shows(sums.resumed > seeds / 2);
    seeds_run(totals, "test", seeds, 2, 1, &sums);
    scene_shows(sums.resumed > seeds / 2);
}

/* A node dies when a checkpoint has just become complete: what was read before it is not read again. */
static void a_fresh_checkpoint_saves_most_of_the_reading(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(40);
    seeds_run(LOAD, "load", seeds, 0, 2, &sums);
    scene_shows(sums.restarts > seeds / 4 && sums.resumed > seeds / 2);
    scene_shows(sums.bytes_read - sums.bytes_input < sums.bytes_before / 2);
}

static void query_1_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(LOAD, "load");
}

static void query_2_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(OUTLIERS, "outliers");
}

static void stopped(const char *path, const char *name, uint64_t seeds, uint32_t kills)
{
    struct sums sums;
    stops = 2;
    seeds_run(path, name, seeds, kills, 0, &sums);
    stops = 0;
    scene_shows(sums.stopped > seeds / 4 && sums.submitted_from > seeds / 4);
}

/* A graph is stopped at any moment, and goes on from its savepoint, twice; nodes die amid that, in the middle of writing one, too. Either
 * there is a savepoint or the graph goes on: nothing is lost, and nothing comes twice. */
static void a_graph_is_stopped_with_a_savepoint_and_goes_on(void **state)
{
    (void)state;
    uint64_t seeds = scene_seeds(60);
    stopped(LOAD, "load", seeds, 0);
    stopped(LOAD, "load", seeds, 4);
    stopped(OUTLIERS, "outliers", seeds, 4);
    stopped(totals, "test", seeds, 2);
}

/* What does not fit is given up, and the graph goes on: with its last checkpoint where a node dies, else from the beginning. */
static void a_bound_of_disk_holds_and_changes_nothing(void **state)
{
    static const char *const of_load[] = {"plug_load", "house_load", NULL};
    (void)state;
    struct sums free, sums;
    uint64_t seeds = scene_seeds(40);
    seeds_run(LOAD, "load", seeds, 0, 0, &free);
    disk_bytes_max = free.disk_bytes;
    seeds_run(LOAD, "load", seeds, 0, 0, &sums);
    assert_true(sums.disk_bytes <= free.disk_bytes);
    scene_shows(sums.completed > seeds / 2);
    scene_shows(sums.given_up > seeds / 4);
    print_message("%llu KiB without a bound; %llu complete, %llu given up within one\n",
                  (unsigned long long)free.disk_bytes / 1024, (unsigned long long)sums.completed,
                  (unsigned long long)sums.given_up);
    seeds_run(LOAD, "load", seeds, 3, 0, &sums);
    assert_true(seeds < 20 || (sums.resumed > 0 && sums.given_up > seeds / 4));
    moved(of_load, LOAD, "load", seeds, 0, &sums);
    assert_true(seeds < 20 || (sums.moved > 0 && sums.given_up > seeds / 4));
    disk_bytes_max = 0;
}

/* The houses of a stream in one file for each of several nodes: whoever of them dies, or any other, all go back to where they were. */
static void nodes_that_all_read_go_on_from_their_checkpoints(void **state)
{
    static const char *const of_load[] = {"plug_load", "house_load", NULL};
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(40);
    several = true;
    seeds_run(LOAD, "load", seeds, 0, 0, &sums);
    assert_true(sums.bytes_read == sums.bytes_input && sums.resumed == 0 && (seeds < 40 || sums.completed > seeds));
    seeds_run(LOAD, "load", seeds, 0, 2, &sums);
    assert_true(seeds < 40 || (sums.restarts > seeds / 4 && sums.resumed > seeds / 2));
    seeds_run(OUTLIERS, "outliers", seeds, 4, 0, &sums);
    assert_true(seeds < 40 || (sums.resumed > seeds && sums.completed > seeds));
    moved(of_load, LOAD, "load", seeds, 3, &sums);
    assert_true(seeds < 40 || (sums.moved > 0 && sums.resumed > seeds / 4));
    stopped(LOAD, "load", seeds, 0);
    stopped(OUTLIERS, "outliers", seeds, 3);
    several = false;
}

/* One of the inputs ends long before the others, or begins long after them, or is empty. */
static void inputs_that_lie_apart_go_on_from_their_checkpoints(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(40);
    several = lacking = true;
    seeds_run(LOAD, "load", seeds, 0, 2, &sums);
    assert_true(seeds < 40 || (sums.restarts > seeds / 8 && sums.resumed > seeds / 4));
    seeds_run(OUTLIERS, "outliers", seeds, 4, 0, &sums);
    assert_true(seeds < 40 || sums.resumed > seeds / 2);
    several = lacking = false;
}

/* One that does not know how to wait is no reader, and where it has a partition no checkpoint is tried: the graph goes on. */
static void a_node_of_an_earlier_version_has_no_part_in_that(void **state)
{
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    (void)state;
    several = true;
    text_of(LOAD, &text);
    wanted_make(wanted, LOAD);
    cluster_init_many(cluster, 1, 3, &text, query_input);
    cluster->reader_count = 2;
    cluster->every_ns = 1000000;
    cluster->client.graph_name = "load";
    cluster_begin(cluster);
    pst_coordinator_member(cluster->nodes[0].node->duty, "n2")->waits = false;
    cluster_run(cluster, 0, false, "an earlier version");
    cluster_same(&wanted[wanted_index(2, LACKS_NOTHING)], cluster, "load", "an earlier version");
    assert_int_equal(cluster->completed, 0);
    assert_non_null(strstr(cluster_record(cluster)->given_up, "node n2 is of an earlier version"));
    cluster_fini(cluster);
    cluster_init_many(cluster, 1, 3, &text, query_input);
    cluster->reader_count = 3;
    cluster->every_ns = 1000000;
    cluster_begin(cluster);
    pst_coordinator_member(cluster->nodes[0].node->duty, "n2")->waits = false;
    while (strstr(cluster->client.says, "node `n2` is of an earlier version") == NULL)
        cluster_turn(cluster, "an earlier version reads");
    cluster_fini(cluster);
    free(cluster);
    wanted_free(wanted);
    pst_text_fini(&text);
    several = false;
}

static void partitions_set(struct cluster *cluster, const char *count)
{
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = count;
}

static struct cluster *cluster_that_runs(const struct pst_text *text, uint32_t node_count, const char *partitions)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    cluster_init_many(cluster, 1, node_count, text, query_input);
    partitions_set(cluster, partitions);
    cluster->reader_count = 2;
    cluster->every_ns = 1000000;
    cluster->grow_ns = 900000;
    cluster_begin(cluster);
    while (cluster_record(cluster) == NULL || cluster_record(cluster)->state != GRAPH_RUNNING)
        cluster_turn(cluster, "it begins");
    return cluster;
}

/* With that node the checkpoint that a stop waits for does not come: it is refused, and answered where the node has come since. One that has
 * nothing of the graph is in nobody's way. */
static void a_stop_is_refused_while_a_node_of_an_earlier_version_has_a_part(void **state)
{
    const struct submission asked = {0};
    struct pst_text text = {0}, why = {0};
    (void)state;
    several = true;
    graph_path = LOAD;
    text_of(LOAD, &text);
    struct cluster *cluster = cluster_that_runs(&text, 3, "9");
    struct pst_node *node = cluster->nodes[0].node;
    struct member *old = pst_coordinator_member(node->duty, "n2");
    const struct graph_record *record = cluster_record(cluster);
    old->waits = false;
    assert_int_equal(pst_savepoint_stop(node, &asked, "load", "point", &why), PST_EREFUSED);
    assert_non_null(strstr(why.bytes, "as long as node `n2` has a part of it: that is of an earlier version"));
    assert_null(record->stop_to);
    pst_text_fini(&why);
    old->waits = true;
    assert_int_equal(pst_savepoint_stop(node, &asked, "load", "point", &why), PST_OK);
    old->waits = false;
    while (!cluster->client.done && record->stop_to != NULL)
        cluster_turn(cluster, "a stop");
    assert_int_equal(record->state, GRAPH_RUNNING);
    assert_non_null(strstr(record->given_up, "node n2 is of an earlier version"));
    cluster_fini(cluster);
    free(cluster);
    cluster = cluster_that_runs(&text, 9, "1");
    record = cluster_record(cluster);
    uint32_t idle = 0;
    while (pst_start_has_place(record->start->start, idle))
        idle++;
    assert_true(idle < record->start->start->n_nodes);
    pst_coordinator_member(cluster->nodes[0].node->duty, record->start->start->nodes[idle])->waits = false;
    while (!cluster->client.done && cluster->completed == 0)
        cluster_turn(cluster, "an old one has nothing");
    assert_int_equal(pst_savepoint_stop(cluster->nodes[0].node, &asked, "load", "point", &why), PST_OK);
    while (!cluster->client.done && record->state != GRAPH_STOPPED)
        cluster_turn(cluster, "a stop");
    assert_int_equal(record->state, GRAPH_STOPPED);
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&why);
    pst_text_fini(&text);
    several = false;
}

/* ---- checkpoints go on ---- */

static void stop_comes(struct cluster *cluster, const struct graph_record *record)
{
    while (!cluster->client.done && record->state != GRAPH_STOPPED)
        cluster_turn(cluster, "a stop");
    assert_int_equal(record->state, GRAPH_STOPPED);
    assert_true(cluster->client.error == PST_OK || !cluster->client.done);
}

static const char *const plain = SOURCE OPERATOR("keyed", "sequence", "rows", "k", "key_field: k, value: v")
    SINK("out", "keyed", "at, number, key, digest, value");

/* Three nodes, of which the second reads. */
static struct cluster *cluster_of(uint64_t seed, const struct pst_text *text, const char *graph_name)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    cluster_init_many(cluster, seed, 3, text, query_input);
    cluster->source = 1;
    cluster->look = nobody_is_waited_for_in_vain;
    cluster->client.graph_name = graph_name;
    return cluster;
}

/* The coordinator's word that a partition is no more, and that checkpoints go on, takes longer to one node than to another, and than a cut
 * from there: the cut finds nothing that is about to go. */
static void checkpoints_go_on_when_partitions_have_moved(void **state)
{
    static const char *const wishes[2][4] = {{"drain", "n2", NULL}, {"drain", "n2", "--undo", NULL}};
    const uint64_t second = 1000 * 1000 * 1000;
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    const char *what = "moves";
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    for (uint64_t seed = scene_seed_first(), end = seed + scene_seeds(10); seed < end; seed++) {
        struct cluster *cluster = cluster_of(seed, &text, "test");
        uint32_t wished = 0;
        uint64_t changed_ns = 0, complete = 0;
        cluster->every_ns = 20 * 1000 * 1000;
        cluster->grow_ns = 3 * 1000 * 1000;
        cluster->net.delay_ns_max = 20 * 1000 * 1000;
        cluster->dead_ns = 4 * second;
        cluster_begin(cluster);
        while (!cluster->client.done) {
            const struct graph_record *record = cluster_record(cluster);
            if (record != NULL && record->complete != complete) {
                complete = record->complete;
                changed_ns = cluster->net.now_ns;
            }
            if (cluster->completed >= 2 && cluster->client.wish[0] == NULL && wished < 6)
                memcpy(cluster->client.wish, wishes[wished++ % 2], sizeof cluster->client.wish);
            cluster_turn(cluster, what);
        }
        assert_int_equal(cluster->client.error, PST_OK);
        if (cluster->net.now_ns - changed_ns > 10 * second)
            fail_msg("seed %llu: the last complete checkpoint was %llu ms before the end", (unsigned long long)seed,
                     (unsigned long long)((cluster->net.now_ns - changed_ns) / 1000000));
        cluster_same(&wanted[0], cluster, "test", what);
        cluster_fini(cluster);
        free(cluster);
    }
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* Pages of partitions that were others are not built on: on no node, whether its part of the one before was settled when the move began or
 * is so only now. */
static void after_a_move_the_next_checkpoint_is_whole(void **state)
{
    static const char *const move[] = {"move", "keyed/0", "n2"};
    struct pst_text text = {0};
    const char *what = "whole after a move";
    (void)state;
    graph_path = plain;
    text_of(plain, &text);
    for (uint64_t seed = scene_seed_first(), end = seed + scene_seeds(4); seed < end; seed++) {
        struct cluster *cluster = cluster_of(seed, &text, "test");
        uint64_t before[3] = {0};
        uint32_t in_part = 0, whole = 0;
        partitions_set(cluster, "3");
        cluster->portion_bytes = 0; /* it is one move */
        cluster->every_ns = 300 * 1000 * 1000;
        cluster->grow_ns = 600000;
        cluster_begin(cluster);
        while (!cluster->client.done && cluster->completed < 3)
            cluster_turn(cluster, what);
        memcpy(cluster->client.wish, move, sizeof move);
        while (!cluster->client.done && whole < 3) {
            cluster_turn(cluster, what);
            for (uint32_t i = 0; i < 3 && !cluster->client.done; i++) {
                const struct checkpoint *checkpoint = cluster->nodes[i].node->hosted[0]->run.checkpoint;
                if (before[i] == UINT64_MAX)
                    continue;
                if (checkpoint->rests) {
                    assert_false(checkpoint->full);
                    in_part += before[i] == 0;
                    before[i] = checkpoint->id;
                } else if (before[i] != 0 && checkpoint->id != before[i]) {
                    assert_true(checkpoint->full);
                    before[i] = UINT64_MAX;
                    whole++;
                }
            }
        }
        assert_int_equal(in_part, 3);
        assert_int_equal(whole, 3);
        cluster_fini(cluster);
        free(cluster);
    }
    pst_text_fini(&text);
}

/* A partition here whose rows nobody gets: where buckets are moving to. NULL: there is none. */
static const struct pst_ctx *lane_on(const struct cluster *cluster, uint32_t i)
{
    const struct pst_node *node = cluster->nodes[i].node;
    for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
        const struct run *run = &node->hosted[h]->run;
        for (uint32_t k = 0; node->hosted[h]->begun && k < run->instance_count; k++)
            if (!run->instances[k]->retired && run->instances[k]->lane != NULL && pst_is_muted(run->instances[k]))
                return run->instances[k];
    }
    return NULL;
}

/* The last moment at which a move can be given up: the lane has all, and the coordinator has not heard that. False: there is none. */
static bool lane_is_full(struct cluster *cluster, const struct graph_record *record, const char *what)
{
    const struct pst_ctx *lane = NULL;
    while (!cluster->client.done && (lane = lane_on(cluster, 2)) == NULL)
        cluster_turn(cluster, what);
    while (!cluster->client.done && lane_on(cluster, 2) == lane && record->moving->now != NULL &&
           record->moving->now->message->move_record->step < PST_MOVE_COPYING)
        cluster_turn(cluster, what);
    sim_net_cut(&cluster->net, 2, 0, true);
    while (!cluster->client.done && lane != NULL && lane_on(cluster, 2) == lane && lane->lane->state != LANE_INSTALLED)
        cluster_turn(cluster, what);
    return !cluster->client.done && lane != NULL && lane_on(cluster, 2) == lane && record->moving->now != NULL;
}

/* A move is cancelled, and its taker does not hear that for a while: what it has made for it is in no checkpoint, and holds none up. It is
 * killed then: what all go back to has every bucket once. */
static void checkpoints_go_on_when_a_move_was_cancelled(void **state)
{
    static const char *const move[] = {"move", "keyed/0", "n2"};
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    const char *what = "a move is cancelled";
    uint32_t cancelled = 0;
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    for (uint64_t seed = scene_seed_first(), end = seed + scene_seeds(6); seed < end; seed++) {
        struct cluster *cluster = cluster_of(seed, &text, "test");
        struct pst_text why = {0};
        partitions_set(cluster, "3");
        cluster->portion_bytes = 0;
        cluster->every_ns = 300 * 1000 * 1000;
        cluster->grow_ns = 600000;
        cluster->dead_ns = UINT64_C(6000) * 1000 * 1000;
        cluster_begin(cluster);
        while (!cluster->client.done && cluster->completed < 3)
            cluster_turn(cluster, what);
        memcpy(cluster->client.wish, move, sizeof move);
        struct graph_record *record = (struct graph_record *)(uintptr_t)cluster_record(cluster);
        bool full = lane_is_full(cluster, record, what);
        if (full) {
            sim_net_cut(&cluster->net, 0, 2, true);
            assert_int_equal(pst_moves_cancel(cluster->nodes[0].node, record, record->moving->now->message->move, &why),
                             PST_OK);
            cluster->nodes[0].sim.world.wake(&cluster->nodes[0].sim, 0);
        }
        uint64_t until = cluster->net.now_ns + UINT64_C(1500) * 1000 * 1000;
        while (full && !cluster->client.done && cluster->net.now_ns < until)
            cluster_turn(cluster, what);
        sim_net_cut(&cluster->net, 2, 0, false);
        sim_net_cut(&cluster->net, 0, 2, false);
        uint64_t complete = record->complete;
        while (!cluster->client.done && (record->complete == complete || record->committing))
            cluster_turn(cluster, what);
        assert_true(!cluster->client.done); /* there was another one */
        cluster_kill(cluster, 2);
        cluster_up(cluster, 2);
        cluster_run(cluster, 0, false, what);
        assert_int_equal(cluster->client.error, PST_OK);
        assert_true(cluster->resumed > 0);
        cluster_same(&wanted[0], cluster, "test", what);
        cancelled += full;
        pst_text_fini(&why);
        cluster_fini(cluster);
        free(cluster);
    }
    assert_true(cancelled > 0);
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* As under a coordinator of an earlier version: a cut comes from where a move is over to where it is not. */
static void a_node_where_buckets_still_move_has_no_part_of_a_cut(void **state)
{
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    const char *what = "a move is not over";
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    struct cluster *cluster = cluster_of(1, &text, "test");
    cluster->every_ns = 100 * 1000 * 1000;
    cluster->grow_ns = 600000;
    cluster_begin(cluster);
    while (!cluster->client.done && cluster->completed < 2)
        cluster_turn(cluster, what);
    struct run *run = &cluster->nodes[2].node->hosted[0]->run;
    pst_checkpoint_over(run);
    while (!cluster->client.done && cluster->given_up < 2)
        cluster_turn(cluster, what);
    assert_non_null(strstr(cluster_record(cluster)->given_up, "node n2: it is not cut here: buckets move"));
    pst_checkpoint_go_on(run, true);
    uint32_t completed = cluster->completed;
    while (!cluster->client.done && cluster->completed < completed + 2)
        cluster_turn(cluster, what);
    assert_true(!cluster->client.done);
    cluster_kill(cluster, 0);
    cluster_up(cluster, 0);
    cluster_run(cluster, 0, false, what);
    assert_true(cluster->resumed > 0);
    cluster_same(&wanted[0], cluster, "test", what);
    cluster_fini(cluster);
    free(cluster);
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* No checkpoint but the one that a stop asks for: who reads does not hear that, for its connection is broken; or the first one is given up. */
static void a_stop_is_asked_for_until_there_is_a_savepoint(void **state)
{
    const struct submission asked = {0};
    struct pst_text text = {0}, why = {0};
    (void)state;
    graph_path = plain;
    text_of(plain, &text);
    for (uint32_t given_up = 0; given_up < 2; given_up++) {
        struct cluster *cluster = cluster_of(1, &text, "test");
        cluster->every_ns = UINT64_C(3600) * 1000 * 1000 * 1000;
        cluster->grow_ns = 600000;
        cluster_begin(cluster);
        while (cluster_record(cluster) == NULL || cluster_record(cluster)->state != GRAPH_RUNNING)
            cluster_turn(cluster, "it begins");
        const struct graph_record *record = cluster_record(cluster);
        const struct member *reader = pst_coordinator_member(cluster->nodes[0].node->duty, "n1");
        cluster->nodes[2].sim.create_percent = given_up ? 100 : 0;
        for (uint32_t k = 0; k < 2 && !given_up; k++)
            sim_net_break(&cluster->net, k, 1 - k);
        while (!given_up && reader->lost_ns == 0)
            cluster_turn(cluster, "a connection breaks");
        assert_int_equal(pst_savepoint_stop(cluster->nodes[0].node, &asked, "test", "point", &why), PST_OK);
        while (!cluster->client.done && cluster->given_up < 2 * given_up)
            cluster_turn(cluster, "it is given up");
        cluster->nodes[2].sim.create_percent = 0;
        stop_comes(cluster, record);
        assert_int_equal(record->start->incarnation, 1);
        cluster_fini(cluster);
        free(cluster);
    }
    pst_text_fini(&why);
    pst_text_fini(&text);
}

/* ---- what becomes of a checkpoint that is not complete ---- */

/* A cluster of a seed that runs `plain` on three nodes, of which the second reads. */
static struct cluster *plain_cluster(uint64_t seed, const struct pst_text *text, uint64_t every_ns, uint64_t grow_ns)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    assert_non_null(cluster);
    cluster_init_many(cluster, seed, 3, text, query_input);
    cluster->source = 1;
    cluster->every_ns = every_ns;
    cluster->grow_ns = grow_ns;
    cluster->dead_ns = UINT64_C(4000) * 1000 * 1000;
    cluster->client.graph_name = "test";
    return cluster;
}

/* To its end, as one process leaves it. */
static void plain_ends(const struct scene *wanted, struct cluster *cluster, const char *what)
{
    while (!cluster->client.done)
        cluster_turn(cluster, what);
    assert_int_equal(cluster->client.error, PST_OK);
    cluster_same(wanted, cluster, "test", what);
    cluster_fini(cluster);
    free(cluster);
}

/* The graph's record, when the graph runs and there is a coordinator; where the graph has ended, as it is. */
static const struct graph_record *running(struct cluster *cluster, const char *what)
{
    const struct graph_record *record = cluster_record(cluster);
    while (record == NULL || (!cluster->client.done && record->state != GRAPH_RUNNING)) {
        cluster_turn(cluster, what);
        record = cluster_record(cluster);
    }
    return record;
}

/* Whoever coordinates loses its session. To when another one does, or the same one again. */
static void another_coordinates(struct cluster *cluster, const char *what)
{
    const struct cluster_node *node = &cluster->nodes[cluster_coordinator(cluster)];
    uint32_t terms = cluster->terms;
    for (struct cluster_session *session = cluster->sessions; session != NULL; session = session->next)
        if (!session->closed && session->node == node)
            store_sim_expire(&cluster->coordination, session->below);
    for (uint32_t n = 0; n < cluster->node_count; n++)
        if (cluster->nodes[n].node != NULL)
            cluster->nodes[n].sim.world.wake(&cluster->nodes[n].sim, 0);
    while (!cluster->client.done && cluster->terms == terms)
        cluster_turn(cluster, what);
}

/* A node whose disk takes no part of a checkpoint leaves the graph, and another node coordinates: all that are left have a part of that
 * checkpoint, and what the one had is in none. */
static void a_checkpoint_that_was_given_up_stays_so(void **state)
{
    const char *what = "given up";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    uint64_t seeds = scene_seeds(3), told_again = 0;
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++) {
        struct cluster *cluster = plain_cluster(seed, &text, 1500000000, 900000);
        cluster->elects = true;
        cluster->drain_ns = UINT64_C(20) * 1000 * 1000 * 1000;
        cluster_begin(cluster);
        while (!cluster->client.done && cluster->completed < 1)
            cluster_turn(cluster, what);
        cluster->nodes[2].sim.create_percent = 100;
        while (!cluster->client.done && cluster->given_up < 1)
            cluster_turn(cluster, what);
        uint64_t id = running(cluster, what)->settled;
        bool given_up = id != running(cluster, what)->complete;
        cluster_stop(cluster, 2);
        while (!cluster->client.done && cluster->nodes[2].node != NULL)
            cluster_turn(cluster, what);
        bool last = running(cluster, what)->settled == id;
        another_coordinates(cluster, what);
        told_again += given_up && last && running(cluster, what)->start->incarnation == 1; /* it was taken as it is */
        for (uint64_t until = cluster->net.now_ns + 400000000; !cluster->client.done && cluster->net.now_ns < until;)
            cluster_turn(cluster, what);
        assert_true(!given_up || running(cluster, what)->complete != id);
        cluster_kill(cluster, 0);
        cluster_up(cluster, 0);
        plain_ends(&wanted[0], cluster, what);
    }
    assert_true(seeds < 3 || told_again > 1);
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* Files in a node's folder of checkpoints whose names end so; id: 0, or of this checkpoint alone. */
static uint32_t parts_count(const struct cluster *cluster, const char *node, uint64_t id, const char *suffix)
{
    char below[80];
    uint32_t count = 0;
    size_t n = (size_t)snprintf(below, sizeof below, "shared/test/nodes/%s/", node);
    if (id != 0)
        n += (size_t)snprintf(below + n, sizeof below - n, "%016llx", (unsigned long long)id);
    for (uint32_t f = 0; f < cluster->shared.file_count; f++) {
        const struct sim_file *file = &cluster->shared.files[f];
        size_t bytes = strlen(file->name);
        count += file->there && strncmp(file->name, below, n) == 0 && bytes > strlen(suffix) &&
                 strcmp(file->name + bytes - strlen(suffix), suffix) == 0;
    }
    return count;
}

/* To when it has nothing any more; again where a move of it was given up. */
static void drained(struct cluster *cluster, const char *node, const char *what)
{
    do {
        cluster->client.wish[1] = node;
        cluster->client.wish[0] = "drain";
        while (!cluster->client.done && cluster->client.wish[0] != NULL)
            cluster_turn(cluster, what);
    } while (!cluster->client.done && cluster->client.wish_error != PST_OK);
    assert_int_equal(cluster->client.wish_error, PST_OK);
}

/* What a node had goes elsewhere, and the next checkpoint has no part of it. Until that one is complete all go back to the one before, of
 * which it has a part, and that names pages of earlier ones. */
static void parts_of_a_node_that_was_drained_stay_until_they_are_not_wanted(void **state)
{
    const char *what = "drained";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    uint64_t seeds = scene_seeds(6), count = 0;
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++) {
        struct cluster *cluster = plain_cluster(seed, &text, 60000000, 600000);
        cluster_begin(cluster);
        while (!cluster->client.done && cluster->completed < 2)
            cluster_turn(cluster, what);
        cluster_kill(cluster, 2); /* and it is back at once: all go on from a checkpoint, it too */
        cluster_up(cluster, 2);
        while (!cluster->client.done && cluster->resumed < 3)
            cluster_turn(cluster, what);
        for (uint32_t until = cluster->completed + 4; !cluster->client.done && cluster->completed < until;)
            cluster_turn(cluster, what);
        if (cluster_places(cluster, 2, true) == 0) /* else it has the sink, which stays */
            drained(cluster, "n2", what);
        uint64_t complete = running(cluster, what)->complete;
        uint32_t pages = parts_count(cluster, "n2", 0, ".pages");
        if (cluster_places(cluster, 2, false) != 0 || pages < 2 ||
            parts_count(cluster, "n2", complete, ".manifest") == 0) { /* it has no part of that one already */
            plain_ends(&wanted[0], cluster, what);
            continue;
        }
        count++;
        while (!cluster->client.done && parts_count(cluster, "n1", complete + 1, ".manifest") == 0)
            cluster_turn(cluster, what);
        assert_int_equal(running(cluster, what)->complete, complete);
        assert_int_equal(parts_count(cluster, "n2", 0, ".pages"), pages);
        cluster_kill(cluster, 0);
        cluster_up(cluster, 0);
        uint32_t resumed = cluster->resumed;
        while (!cluster->client.done && cluster->resumed == resumed)
            cluster_turn(cluster, what);
        while (!cluster->client.done && parts_count(cluster, "n2", 0, ".pages") != 0) /* now they go */
            cluster_turn(cluster, what);
        assert_false(cluster->client.done);
        plain_ends(&wanted[0], cluster, what);
    }
    assert_true(seeds < 6 || count > 1);
    wanted_free(wanted);
    pst_text_fini(&text);
}

static struct graph_record *writable(const struct graph_record *record)
{
    return (struct graph_record *)(uintptr_t)record;
}

/* No allocation from it does without memory any more. */
static void arena_fill(struct pst_arena *arena)
{
    size_t before = arena->bytes_total, rest;
    while (arena->bytes_total == before)
        assert_non_null(pst_arena_alloc(arena, 16));
    for (rest = arena->bytes_total - before - 16; rest != 0; rest -= 16)
        assert_non_null(pst_arena_alloc(arena, 16));
}

/* As the node would say it. */
static void part_told(struct cluster *cluster, uint32_t node, uint64_t id)
{
    const struct graph_record *record = cluster_record(cluster);
    Pst__Checkpointed body = PST__CHECKPOINTED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.checkpoint = id;
    body.sentence = (char *)(uintptr_t) "";
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_CHECKPOINTED;
    message.checkpointed = &body;
    pst_coordinator_on(cluster->nodes[cluster_coordinator(cluster)].node, record->start->start->nodes[node], &message);
}

/* The node whose part alone is missing to the checkpoint that is under way; UINT32_MAX: there is none such. */
static uint32_t part_missing(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    uint32_t missing = UINT32_MAX, count = 0;
    for (uint32_t i = 0; record != NULL && record->part > record->settled && i < cluster->node_count; i++) {
        uint32_t index = pst_start_index(record->start->start, record->start->start->nodes[i]);
        missing = record->parts[index] ? missing : index;
        count += !record->parts[index];
    }
    return count == 1 ? missing : UINT32_MAX;
}

/* A part is told once: where the coordinator finds no memory when all are there, the checkpoint is given up, and the next ones are not. */
static void a_coordinator_without_memory_gives_a_checkpoint_up(void **state)
{
    const char *what = "no memory";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    struct cluster *cluster = plain_cluster(1, &text, 60000000, 600000);
    cluster_begin(cluster);
    while (part_missing(cluster) == UINT32_MAX)
        cluster_turn(cluster, what);
    struct graph_record *record = writable(cluster_record(cluster));
    uint32_t before = cluster->completed;
    arena_fill(&record->arena);
    pst_malloc_fail_at(1);
    part_told(cluster, part_missing(cluster), record->part);
    pst_malloc_fail_at(0);
    assert_int_equal(record->settling, record->part);
    assert_int_equal(record->settling_error, PST_ENOMEM);
    while (cluster->given_up == 0)
        cluster_turn(cluster, what);
    assert_int_equal(cluster->completed, before);
    while (!cluster->client.done && cluster->completed == before)
        cluster_turn(cluster, what);
    assert_false(cluster->client.done);
    plain_ends(&wanted[0], cluster, what);
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* As the node would say it: a worker of an enclave is gone there, and the graph goes back to its checkpoint. */
static void loss_told(struct cluster *cluster, const struct graph_record *record)
{
    Pst__Ended body = PST__ENDED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.error = PST_EIO;
    body.lost = true;
    body.sentence = (char *)(uintptr_t) "";
    body.node = (char *)(uintptr_t) "n0";
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_ENDED;
    message.ended = &body;
    pst_coordinator_on(cluster->nodes[cluster_coordinator(cluster)].node, "n0", &message);
}

/* Recoveries, moves, checkpoints and stops that come to nothing leave nothing behind in what the coordinator remembers of a graph. */
static void a_graph_that_goes_back_often_takes_no_more_memory(void **state)
{
    static const char *const wishes[2][4] = {{"drain", "n2", NULL}, {"drain", "n2", "--undo", NULL}};
    const struct submission asked = {0};
    const char *what = "many times";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0}, why = {0};
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    struct cluster *cluster = plain_cluster(1, &text, 20000000, 60000000);
    cluster_begin(cluster);
    while (!cluster->client.done && cluster->completed < 2)
        cluster_turn(cluster, what);
    struct graph_record *record = writable(running(cluster, what));
    arena_fill(&record->arena);
    size_t bytes = record->arena.bytes_total;
    for (uint32_t i = 0, rounds = 2 + (uint32_t)scene_seeds(4); i < rounds; i++) {
        uint32_t completed = cluster->completed;
        memcpy(cluster->client.wish, wishes[i % 2], sizeof cluster->client.wish);
        while (!cluster->client.done && (cluster->client.wish[0] != NULL || cluster->completed < completed + 2))
            cluster_turn(cluster, what);
        assert_false(cluster->client.done);
        assert_ptr_equal(running(cluster, what), record);
        assert_int_equal(pst_savepoint_stop(cluster->nodes[0].node, &asked, "test", "point", &why), PST_OK);
        pst_coordinator_stop_forget(cluster->nodes[0].node, record, PST_ESTOPPED, "");
        loss_told(cluster, record);
        assert_int_equal(record->start->incarnation, i + 2);
    }
    assert_int_equal(record->arena.bytes_total, bytes);
    assert_in_range(record->nodes_arena.bytes_total, 1, 64 * 1024);
    assert_in_range(record->complete_arena.bytes_total, 1, 64 * 1024);
    plain_ends(&wanted[0], cluster, what);
    wanted_free(wanted);
    pst_text_fini(&why);
    pst_text_fini(&text);
}

/* Whose number is above all that are given in this incarnation: it is none, and those that are given count. */
static void a_checkpoint_of_another_incarnation_is_none(void **state)
{
    static const uint64_t numbers[] = {UINT64_MAX, UINT64_C(2) << 32};
    const char *what = "another number";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    (void)state;
    text_of(plain, &text);
    wanted_make(wanted, plain);
    struct cluster *cluster = plain_cluster(1, &text, 60000000, 600000);
    cluster_begin(cluster);
    for (uint32_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        while (!cluster->client.done && cluster->completed == 2 * i)
            cluster_turn(cluster, what);
        part_told(cluster, 2, numbers[i]);
        while (!cluster->client.done && cluster->completed < 2 * i + 2)
            cluster_turn(cluster, what);
        assert_false(cluster->client.done);
    }
    plain_ends(&wanted[0], cluster, what);
    wanted_free(wanted);
    pst_text_fini(&text);
}

/* As a node that reads would say it that waits for the cut. */
static void cut_answered(struct cluster *cluster, const char *node, uint64_t last)
{
    const struct graph_record *record = cluster_record(cluster);
    Pst__CutAnswer body = PST__CUT_ANSWER__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.checkpoint = record->cutting.id;
    body.time = body.low = INT64_MIN;
    body.last = last;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_CUT_ANSWER;
    message.cut_answer = &body;
    pst_coordinator_on(cluster->nodes[cluster_coordinator(cluster)].node, node, &message);
}

/* The same, of the numbers that the coordinator gives where several nodes read. */
static void no_cut_has_a_number_of_another_incarnation(void **state)
{
    static const uint64_t numbers[] = {UINT64_MAX, UINT64_C(2) << 32};
    const char *what = "another number of a cut";
    struct scene wanted[WANTED_COUNT];
    struct pst_text text = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    (void)state;
    several = true;
    text_of(LOAD, &text);
    wanted_make(wanted, LOAD);
    cluster_init_many(cluster, 1, 3, &text, query_input);
    cluster->reader_count = 2;
    cluster->every_ns = 20000000;
    cluster->grow_ns = 300000;
    cluster->dead_ns = UINT64_C(4000) * 1000 * 1000;
    cluster->client.graph_name = "load";
    cluster_begin(cluster);
    for (uint32_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        while (!cluster->client.done && (cluster_record(cluster) == NULL || cluster_record(cluster)->cutting.id == 0))
            cluster_turn(cluster, what);
        cut_answered(cluster, "n1", numbers[i]);
        for (uint32_t until = cluster->completed + 1; !cluster->client.done && cluster->completed < until;)
            cluster_turn(cluster, what);
        assert_false(cluster->client.done);
    }
    cluster_run(cluster, 0, false, what);
    cluster_same(&wanted[wanted_index(2, LACKS_NOTHING)], cluster, "load", what);
    cluster_fini(cluster);
    free(cluster);
    wanted_free(wanted);
    pst_text_fini(&text);
    several = false;
}

/* What `status` says of a graph that failed because the store did not take a checkpoint: the one that the store has, if it has one. */
static void a_checkpoint_that_the_store_lacks_is_not_shown(void **state)
{
    struct pst_text text = {0};
    (void)state;
    graph_path = plain;
    text_of(plain, &text);
    for (uint32_t before = 0; before < 2; before++) {
        const char *what = before == 0 ? "the first one is not taken" : "the second one is not taken";
        char shown[40] = "", status[160];
        struct cluster *cluster = plain_cluster(1, &text, 20000000, 60000000);
        cluster_begin(cluster);
        while (!cluster->client.done && cluster->completed < before)
            cluster_turn(cluster, what);
        cluster->store.refuses = true;
        while (!cluster->client.done && strstr(cluster->client.says, ": failed") == NULL)
            cluster_turn(cluster, what);
        uint64_t stored = cluster_checkpoint(cluster, "test");
        assert_true((stored != 0) == (before != 0));
        if (stored != 0)
            (void)snprintf(shown, sizeof shown, ", checkpoint %016llx", (unsigned long long)stored);
        (void)snprintf(status, sizeof status, "test: failed, incarnation 1%s: the coordination store did not", shown);
        if (strstr(cluster->client.says, status) == NULL)
            fail_msg("%s: `%s` is not `%s`", what, cluster->client.says, status);
        cluster_fini(cluster);
        free(cluster);
    }
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_is_asked_for_until_there_is_a_savepoint),
        cmocka_unit_test(after_a_move_the_next_checkpoint_is_whole),
        cmocka_unit_test(checkpoints_go_on_when_a_move_was_cancelled),
        cmocka_unit_test(a_node_where_buckets_still_move_has_no_part_of_a_cut),
        cmocka_unit_test(checkpoints_go_on_when_partitions_have_moved),
        cmocka_unit_test(checkpoints_change_nothing),
        cmocka_unit_test(a_bound_of_disk_holds_and_changes_nothing),
        cmocka_unit_test(a_fresh_checkpoint_saves_most_of_the_reading),
        cmocka_unit_test(partitions_move_between_checkpoints),
        cmocka_unit_test(a_graph_is_stopped_with_a_savepoint_and_goes_on),
        cmocka_unit_test(query_1_goes_on_from_its_checkpoints),
        cmocka_unit_test(other_graphs_go_on_from_their_checkpoints),
        cmocka_unit_test(nodes_that_all_read_go_on_from_their_checkpoints),
        cmocka_unit_test(inputs_that_lie_apart_go_on_from_their_checkpoints),
        cmocka_unit_test(a_node_of_an_earlier_version_has_no_part_in_that),
        cmocka_unit_test(a_stop_is_refused_while_a_node_of_an_earlier_version_has_a_part),
        cmocka_unit_test(a_checkpoint_that_was_given_up_stays_so),
        cmocka_unit_test(parts_of_a_node_that_was_drained_stay_until_they_are_not_wanted),
        cmocka_unit_test(a_coordinator_without_memory_gives_a_checkpoint_up),
        cmocka_unit_test(a_graph_that_goes_back_often_takes_no_more_memory),
        cmocka_unit_test(a_checkpoint_of_another_incarnation_is_none),
        cmocka_unit_test(no_cut_has_a_number_of_another_incarnation),
        cmocka_unit_test(a_checkpoint_that_the_store_lacks_is_not_shown),
        cmocka_unit_test(query_2_goes_on_from_its_checkpoints),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
