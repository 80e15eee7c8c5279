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
static bool longer;  /* so that there is time for moves, one after the other */
static bool several; /* nodes read: then no row is late, as it would be so by other rows */
static void query_input(struct scene *scene)
{
    struct scene_meters meters = scene_small;
    meters.dirt = !several;
    meters.rows_max *= longer ? 4 : 1;
    meters.seconds *= longer ? 4 : 1;
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
    assert_true(scaled + moved == 0 || counted > 0);
    assert_true(scaled + moved == 0 || told > 0);
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
    query_for_all_seeds(&load, false, 3, scene_seeds(40));
    query_for_all_seeds(&outliers, false, 3, scene_seeds(40));
}

static void graphs_are_scaled_and_moved_while_they_run(void **state)
{
    (void)state;
    longer = true; /* so that there is time for moves of several portions */
    query_for_all_seeds(&load, true, 0, scene_seeds(40));
    query_for_all_seeds(&outliers, true, 0, scene_seeds(40));
    longer = false;
}

static void nodes_are_killed_while_partitions_move(void **state)
{
    (void)state;
    query_for_all_seeds(&load, true, 3, scene_seeds(40));
    query_for_all_seeds(&outliers, true, 3, scene_seeds(40));
}

/* ---- nodes with a budget ---- */

/* So few buckets that the pages that each partition keeps are fewer than its state has. */
enum { BUDGET_BYTES = 60 * 16 * 1024 };

static void large_input(struct scene *scene)
{
    const struct scene_meters meters = {
        .houses = 2, .plugs = 40, .seed = 11, .seconds = 4000, .rows_max = 100000, .hour = 19};
    scene_set(scene, "windows", "40,3900");
    scene_put_meters(scene, &meters);
}

static void few_buckets(struct pst_text *text)
{
    static const char *const words[][2] = {{"buckets: 64", "buckets: 2 "}, {"${partitions}", "2            "}};
    scene_text_of(outliers.path, text);
    for (int i = 0; i < 2; i++) {
        uint32_t replaced = 0;
        for (char *at = text->bytes; (at = strstr(at, words[i][0])) != NULL; replaced++)
            memcpy(at, words[i][1], strlen(words[i][1]));
        assert_int_equal(replaced, i == 0 ? 1 : 2); /* the parameter, which all operators have */
    }
}

static void state_beyond_a_budget_is_moved_and_recovered(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t spilled = 0, scaled = 0, moved = 0, restarts = 0, seeds = scene_seeds(12);
    few_buckets(&text);
    scene_init(&wanted, 1);
    large_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, outliers.path), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        char what[80];
        (void)snprintf(what, sizeof what, "within a budget, seed %llu", (unsigned long long)seed);
        cluster_init(cluster, seed, &text, large_input);
        cluster->client.movable = outliers.movable;
        cluster->client.graph_name = outliers.name;
        cluster->state_budget = BUDGET_BYTES;
        cluster->every_ns = seed % 2 != 0 ? UINT64_C(50) * 1000 * 1000 : 0;
        cluster_begin(cluster);
        cluster_run(cluster, seed % 3 == 0 ? 1 : 0, seed % 3 == 0, what);
        cluster_same(&wanted, cluster, outliers.name, what);
        for (uint32_t i = 0; i < cluster->node_count; i++)
            spilled += cluster->nodes[i].sim.scratch_writes;
        scaled += cluster->client.scaled;
        moved += cluster->client.moved;
        restarts += cluster->client.incarnation - 1;
        cluster_fini(cluster);
        free(cluster);
    }
    print_message("%llu pages were spilled; scaled %llu times, moved %llu; %llu more incarnations\n",
                  (unsigned long long)spilled, (unsigned long long)scaled, (unsigned long long)moved,
                  (unsigned long long)restarts);
    assert_true(spilled > seeds * 10);
    assert_true(seeds < 10 || (scaled > 0 && moved > 0 && restarts > 0));
    scene_fini(&wanted);
    pst_text_fini(&text);
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
            bool moves = hosted->mover->open && hosted->mover->prepared;
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

/* ---- nodes that are drained, or told to end ---- */

static const char *const node_names[CLUSTER_FEW_NODES] = {"n0", "n1", "n2", "n3"};

struct drains { /* over all seeds */
    uint64_t told, left, late, moved, back, drained, kept, undone;
};

static bool runs(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    return record != NULL && record->state == GRAPH_RUNNING;
}

static void turns(struct cluster *cluster, uint64_t count, const char *what)
{
    while (count-- != 0 && !cluster->client.done)
        cluster_turn(cluster, what);
}

/* Answered, or the graph is done: true: with this error. */
static bool wish(struct cluster *cluster, const char *verb, const char *node, const char *flag, int error,
                 const char *what)
{
    struct cluster_client *client = &cluster->client;
    client->wish[0] = verb;
    client->wish[1] = node;
    client->wish[2] = flag;
    while (client->wish[0] != NULL && !client->done)
        cluster_turn(cluster, what);
    return client->wish[0] == NULL && client->wish_error == error;
}

static struct {
    int (*write_at)(void *self, struct pst_file *file, uint64_t offset, const void *bytes, size_t byte_count);
    uint32_t left; /* writes that are done */
} writes;

static int write_few(void *self, struct pst_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    if (writes.left == 0)
        return PST_EIO;
    writes.left--;
    return writes.write_at(self, file, offset, bytes, byte_count);
}

/* A node that has nothing else takes a bucket in, and can put so many of its pages aside and no more. */
static void a_lane_spills(const struct scene *wanted, const struct pst_text *text, uint32_t pages)
{
    char what[80];
    struct cluster *cluster = calloc(1, sizeof *cluster);
    (void)snprintf(what, sizeof what, "a disk that is full after %u pages", pages);
    cluster_init_many(cluster, 1, 3, text, large_input);
    cluster->held_back = 1;
    cluster->portion_bytes = 0;
    cluster->state_budget = BUDGET_BYTES;
    cluster->grow_ns = UINT64_C(20) * 1000 * 1000 * 1000 / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!runs(cluster) || !cluster->client.taken || cluster->net.now_ns < UINT64_C(16) * 1000 * 1000 * 1000)
        cluster_turn(cluster, what);
    cluster->state_budget = 10 * 16 * 1024; /* of that one: so much that a partition of one bucket can begin */
    cluster_up(cluster, 2);
    while (pst_coordinator_member(cluster->nodes[0].node->duty, "n2") == NULL)
        cluster_turn(cluster, what);
    struct pst_world *world = &cluster->nodes[2].sim.world;
    writes.write_at = world->file_write_at;
    writes.left = pages;
    world->file_write_at = write_few;
    assert_true(wish(cluster, "move", "plug_above/0", "n2", PST_EREFUSED, what));
    const struct graph_record *record = cluster_record(cluster);
    if (strstr(record->past[record->past_count - 1]->message->move_record->sentence, "the spill file in n2") == NULL)
        fail_msg("%s: %s", what, record->past[record->past_count - 1]->message->move_record->sentence);
    world->file_write_at = writes.write_at;
    assert_true(wish(cluster, "move", "plug_above/0", "n2", PST_OK, what));
    while (!cluster->client.done)
        cluster_turn(cluster, what);
    assert_int_equal(cluster_record(cluster)->start->incarnation, 1);
    cluster_same(wanted, cluster, outliers.name, what);
    cluster_fini(cluster);
    free(cluster);
}

/* The move is given up, and the graph goes on. When the disk is not full any more the same goes there. */
static void a_node_that_cannot_spill_ends_its_move_alone(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    few_buckets(&text);
    scene_init(&wanted, 1);
    large_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, outliers.path), PST_OK);
    a_lane_spills(&wanted, &text, 0);
    a_lane_spills(&wanted, &text, 4);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

/* Two nodes with a partition each, of which neither could begin with half of one more; one of them dies and is back at once. */
enum { FEW_PAGES = 100 };

static void partitions_beyond_a_budget_are_refused(void **state)
{
    (void)state;
    static const char what[] = "partitions beyond a budget";
    struct scene wanted;
    struct pst_text text = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    graph_path = load.path;
    longer = true;
    scene_text_of(load.path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, load.path), PST_OK);
    cluster_init_many(cluster, 1, 2, &text, query_input);
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "1";
    cluster->portion_bytes = 0;
    cluster->state_budget = FEW_PAGES * 16 * 1024;
    cluster->grow_ns = UINT64_C(6) * 1000 * 1000 * 1000 / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!runs(cluster) || !cluster->client.taken)
        cluster_turn(cluster, what);
    (void)wish(cluster, "scale", "plug_load", "2", PST_EREFUSED, what);
    int error = cluster->client.wish_error;
    assert_true(runs(cluster));
    cluster_kill(cluster, 1);
    cluster_up(cluster, 1);
    while (!cluster->client.done && cluster_record(cluster)->state != GRAPH_FAILED)
        cluster_turn(cluster, what);
    assert_string_equal(pst_graph_state_names[cluster_record(cluster)->state], "done");
    assert_int_equal(cluster_record(cluster)->start->incarnation, 2);
    assert_int_equal(error, PST_EREFUSED);
    cluster_same(&wanted, cluster, load.name, what);
    cluster_fini(cluster);
    scene_fini(&wanted);
    pst_text_fini(&text);
    free(cluster);
    longer = false;
}

static void end_same(const struct scene *wanted, const struct query *query, struct cluster *cluster, const char *what)
{
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, query->name, what);
    cluster_fini(cluster);
    free(cluster);
}

/* Of those that have what can move and nothing else; node_count: there is none. */
static uint32_t movable_node(struct cluster *cluster)
{
    uint32_t first = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    for (uint32_t k = 0; k < cluster->node_count; k++) {
        uint32_t i = (first + k) % cluster->node_count;
        if (cluster_places(cluster, i, true) == 0 && cluster_places(cluster, i, false) != 0)
            return i;
    }
    return cluster->node_count;
}

static void one_leaves(const struct scene *wanted, const struct query *query, struct cluster *cluster,
                       struct drains *sums, const char *what)
{
    cluster_begin(cluster);
    while (!runs(cluster) && !cluster->client.done)
        cluster_turn(cluster, what);
    turns(cluster, sim_random(&cluster->random, 200), what);
    uint32_t i = runs(cluster) ? movable_node(cluster) : cluster->node_count;
    if (i < cluster->node_count && !cluster->client.done) {
        uint32_t moves = cluster_record(cluster)->past_count;
        cluster_stop(cluster, i);
        sums->told++;
        while (cluster->left == 0 && !cluster->client.done)
            cluster_turn(cluster, what);
        if (cluster->left != 0 && cluster->late == 0 && runs(cluster)) {
            sums->left++;
            sums->moved += cluster_record(cluster)->past_count - moves;
            assert_true(pst_moves_any_ended(cluster_record(cluster)) || cluster_places(cluster, i, false) == 0);
        }
    }
    while (cluster->left != 0 && cluster_coordinator(cluster) == cluster->node_count && !cluster->client.done)
        cluster_turn(cluster, what); /* it was the one that left */
    if (cluster->left != 0 && !cluster->client.done) {
        turns(cluster, sim_random(&cluster->random, 300), what);
        cluster_up(cluster, i);
        turns(cluster, 100, what);
        sums->back += wish(cluster, "rebalance", NULL, NULL, PST_OK, what) && cluster_places(cluster, i, false) != 0;
    }
    cluster_run(cluster, 0, false, what);
    sums->late += cluster->late;
    if (cluster->client.incarnation != 1 + cluster->late) /* a move that has met the end of the input may stand still */
        fail_msg("%s: the graph was started again when node %s left", what, node_names[i]);
    end_same(wanted, query, cluster, what);
}

static bool is_draining(const struct cluster *cluster, uint32_t i)
{
    uint32_t at = cluster_coordinator(cluster);
    const struct member *member =
        at < cluster->node_count ? pst_coordinator_member(cluster->nodes[at].node->duty, node_names[i]) : NULL;
    return member != NULL && member->draining;
}

/* ---- replicas ---- */

struct replaced {
    uint64_t nodes, copies, whole; /* whole: so often all that was alone had a replica again */
};

/* Each partition that can have a replica has one, and nothing is on its way. */
static bool all_have_replicas(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    const Pst__Start *start = record->start->start;
    uint32_t places = 0, copies = 0;
    for (size_t i = 0; i < start->n_places; i++) {
        for (uint32_t n = 0; n < record->graph->node_count; n++)
            places += record->graph->nodes[n].replicas > 1 &&
                      strcmp(record->graph->nodes[n].id, start->places[i]->operator_id) == 0;
        copies += start->places[i]->copy_of != 0;
    }
    return places == 2 * copies && !pst_order_under_way(record);
}

static uint64_t copies_made(const struct cluster *cluster)
{
    const struct graph_record *record = cluster_record(cluster);
    uint64_t made = 0;
    for (uint32_t i = 0; i < record->past_count; i++)
        made += record->past[i]->message->move_record->copies &&
                record->past[i]->message->move_record->step == PST_MOVE_DONE;
    return made;
}

/* A node that has no input and no sink dies: its replicas go on, and nothing is started again. False: there was none. */
static bool one_dies(struct cluster *cluster, struct replaced *sums, const char *what)
{
    uint32_t i = runs(cluster) ? movable_node(cluster) : cluster->node_count;
    if (i == cluster->node_count || i == cluster_coordinator(cluster) || cluster->client.done ||
        pst_moves_any_ended(cluster_record(cluster)))
        return false;
    size_t before = cluster_record(cluster)->start->start->n_replaced_nodes;
    bool ends = false; /* where a run has ended nothing can be changed any more */
    cluster_kill(cluster, i);
    while (!cluster->client.done && cluster_record(cluster)->start->start->n_replaced_nodes == before &&
           cluster_record(cluster)->start->incarnation == 1) {
        ends |= pst_moves_any_ended(cluster_record(cluster));
        cluster_turn(cluster, what);
    }
    if (cluster_record(cluster)->start->incarnation != 1 && ends)
        return false;
    sums->nodes += cluster_record(cluster)->start->start->n_replaced_nodes - before;
    if (cluster_record(cluster)->start->incarnation != 1 && !cluster->client.done)
        fail_msg("%s: the graph was started again when node %s died", what, node_names[i]);
    if (sim_random(&cluster->random, 2) != 0)
        cluster_up(cluster, i);
    return true;
}

/* What was the dead one's is alone; it gets replicas on the nodes that are there, and the next one may die. */
static void some_are_replaced(const struct scene *wanted, const struct query *query, struct cluster *cluster,
                              uint32_t kills, struct replaced *sums, const char *what)
{
    cluster_begin(cluster);
    while (!runs(cluster) && !cluster->client.done)
        cluster_turn(cluster, what);
    turns(cluster, sim_random(&cluster->random, 400), what);
    for (uint32_t round = 0; round < 3 && one_dies(cluster, sums, what); round++) {
        uint64_t most = cluster->turns + 20000; /* none where only one node is left */
        while (!cluster->client.done && runs(cluster) && !all_have_replicas(cluster) && cluster->turns < most)
            cluster_turn(cluster, what);
        if (cluster->client.done || !runs(cluster) || !all_have_replicas(cluster))
            break;
        sums->whole++;
        turns(cluster, sim_random(&cluster->random, 300), what);
    }
    if (runs(cluster))
        sums->copies += copies_made(cluster);
    cluster_run(cluster, kills, kills != 0, what); /* then others, whatever they have */
    end_same(wanted, query, cluster, what);
}

/* Its run ends by itself, as where a disk is full. */
static void run_fails(struct cluster *cluster, uint32_t i, const char *what)
{
    struct pst_node *node = cluster->nodes[i].node;
    assert_int_equal(node->hosted_count, 1);
    pst_run_fail(&node->hosted[0]->run, PST_EIO, "a test wants it so");
    while (node->hosted_count != 0 && !cluster->client.done)
        cluster_turn(cluster, what);
}

/* A node is emptied, its replicas going on, and is cut off in the moment in which it would be told so; then it is added again by a move, of which
 * it hears nothing either; at last it is back, with the run that the graph has gone on without, or with how that has ended. True: so it came. */
static bool one_is_added_again(struct cluster *cluster, bool fails, const char *what)
{
    uint32_t i = runs(cluster) ? movable_node(cluster) : cluster->node_count;
    if (i == cluster->node_count || i == cluster_coordinator(cluster))
        return false;
    const char *name = node_names[i];
    uint32_t index = pst_start_index(cluster_record(cluster)->start->start, name);
    const struct graph_record *record = cluster_record(cluster);
    memcpy(cluster->client.wish, (const char *[3]){"drain", name, NULL}, sizeof cluster->client.wish);
    while (runs(cluster) && (record = cluster_record(cluster))->start->incarnation == 1 && !record->left[index])
        cluster_turn(cluster, what);
    if (!runs(cluster) || record->start->incarnation != 1)
        return false;
    cluster_cut_off(cluster, i, true);
    if (fails)
        run_fails(cluster, i, what);
    while (cluster->client.wish[0] != NULL && runs(cluster))
        cluster_turn(cluster, what);
    bool added = runs(cluster) && wish(cluster, "drain", name, "--undo", PST_OK, what);
    memcpy(cluster->client.wish, (const char *[3]){"move", "plug_load/0", name}, sizeof cluster->client.wish);
    const struct member *member = pst_coordinator_member(cluster->nodes[cluster_coordinator(cluster)].node->duty, name);
    while (runs(cluster) && member->lost_ns == 0 && cluster->client.wish[0] != NULL)
        cluster_turn(cluster, what);
    added = added && runs(cluster) && cluster_record(cluster)->start->incarnation == 1 &&
            pst_start_index(cluster_record(cluster)->start->start, name) != index;
    cluster_cut_off(cluster, i, false);
    for (uint32_t left = 3000; fails && added && left != 0 && runs(cluster); left--) {
        record = cluster_record(cluster);
        if (record->unfit[member - cluster->nodes[cluster_coordinator(cluster)].node->duty->members])
            fail_msg("%s: the new run of %s is said to have failed, which has not begun", what, name);
        cluster_turn(cluster, what);
    }
    return added;
}

static void one_is_added_again_for_all_seeds(bool fails)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t seeds = scene_seeds(30), added = 0;
    graph_path = load.path;
    scene_text_replicated(load.path, load.movable, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, load.path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        char what[80];
        (void)snprintf(what, sizeof what, "added again, seed %llu", (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster->client.graph_name = load.name;
        cluster_begin(cluster);
        while (!runs(cluster) && !cluster->client.done)
            cluster_turn(cluster, what);
        added += one_is_added_again(cluster, fails, what);
        end_same(&wanted, &load, cluster, what);
    }
    print_message("%llu nodes added again of %llu\n", (unsigned long long)added, (unsigned long long)seeds);
    assert_true(seeds < 30 || added > 0);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_run_that_was_left_is_not_taken_for_a_new_one(void **state)
{
    (void)state;
    one_is_added_again_for_all_seeds(false);
}

static void how_a_run_has_ended_that_was_left_is_not_the_end_of_a_new_one(void **state)
{
    (void)state;
    one_is_added_again_for_all_seeds(true);
}

static void replicas_for_all_seeds(const struct query *query, uint64_t seeds)
{
    struct scene wanted;
    struct pst_text text = {0};
    struct replaced sums = {0};
    graph_path = query->path;
    scene_text_replicated(query->path, query->movable, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t i = 0; i < seeds; i++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        uint64_t seed = scene_seed_first() + i;
        char what[80];
        (void)snprintf(what, sizeof what, "%s with replicas, seed %llu", query->name, (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster->client.graph_name = query->name;
        cluster->every_ns = seed % 2 != 0 ? 0 : 1000000 + sim_random(&cluster->random, 30000000);
        some_are_replaced(&wanted, query, cluster, seed % 3 == 0 ? 2 : 0, &sums, what);
    }
    print_message(
        "%llu nodes replaced in %llu clusters, %llu replicas made while the graph ran, %llu times all had one again\n",
        (unsigned long long)sums.nodes, (unsigned long long)seeds, (unsigned long long)sums.copies,
        (unsigned long long)sums.whole);
    assert_true(seeds < 30 || (sums.nodes > 0 && sums.copies > 0 && sums.whole > 0));
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void replicas_take_over_and_nothing_is_started_again(void **state)
{
    (void)state;
    longer = true;
    replicas_for_all_seeds(&load, scene_seeds(60));
    replicas_for_all_seeds(&outliers, scene_seeds(60));
    longer = false;
}

/* Whoever coordinates dies, and comes back. */
static void coordinator_changes(struct cluster *cluster, const char *what)
{
    uint32_t at = cluster_coordinator(cluster);
    if (at < cluster->node_count) {
        cluster_kill(cluster, at);
        turns(cluster, sim_random(&cluster->random, 300), what);
        cluster_up(cluster, at);
    }
    while (cluster_coordinator(cluster) == cluster->node_count && !cluster->client.done)
        cluster_turn(cluster, what);
}

static void one_is_drained(const struct scene *wanted, const struct query *query, struct cluster *cluster,
                           struct drains *sums, const char *what)
{
    cluster_begin(cluster);
    while (!runs(cluster) && !cluster->client.done)
        cluster_turn(cluster, what);
    uint32_t i = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    bool amid = sim_random(&cluster->random, 2) == 0;
    cluster->client.wish[0] = "drain";
    cluster->client.wish[1] = node_names[i];
    if (amid)
        turns(cluster, sim_random(&cluster->random, 400), what);
    while (!amid && cluster->client.wish[0] != NULL && !cluster->client.done)
        cluster_turn(cluster, what);
    bool drained = is_draining(cluster, i);
    coordinator_changes(cluster, what);
    if (drained && !cluster->client.done) {
        sums->drained++;
        assert_true(is_draining(cluster, i));
    }
    while (drained && !runs(cluster) && !cluster->client.done)
        cluster_turn(cluster, what);
    bool empty = drained && runs(cluster) && wish(cluster, "drain", node_names[i], NULL, PST_OK, what);
    if (empty && runs(cluster)) {
        sums->kept++;
        assert_int_equal(cluster_places(cluster, i, false), 0);
    }
    if (drained && wish(cluster, "drain", node_names[i], "--undo", PST_OK, what)) {
        sums->undone++;
        assert_false(is_draining(cluster, i));
        coordinator_changes(cluster, what);
        assert_false(is_draining(cluster, i));
    }
    end_same(wanted, query, cluster, what);
}

static void drains_for_all_seeds(const struct query *query, bool elects, bool leaves, struct drains *sums)
{
    struct scene wanted;
    struct pst_text text = {0};
    graph_path = query->path;
    longer = true;
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + scene_seeds(60); seed < end; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        char what[80];
        (void)snprintf(what, sizeof what, "%s, seed %llu", query->name, (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster->elects = elects;
        cluster->drain_ns = UINT64_C(5) * 1000 * 1000 * 1000;
        cluster->client.graph_name = query->name;
        if (elects)
            cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
        (leaves ? one_leaves : one_is_drained)(&wanted, query, cluster, sums, what);
    }
    longer = false;
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_node_that_is_told_to_end_is_not_missed(void **state)
{
    (void)state;
    struct drains sums = {0};
    for (uint32_t elects = 0; elects < 2; elects++) {
        drains_for_all_seeds(&load, elects != 0, true, &sums);
        drains_for_all_seeds(&outliers, elects != 0, true, &sums);
    }
    print_message(
        "%llu nodes told to end, %llu have left before the graph did, after %llu moves, %llu more too late; %llu "
        "got something again\n",
        (unsigned long long)sums.told, (unsigned long long)sums.left, (unsigned long long)sums.moved,
        (unsigned long long)sums.late, (unsigned long long)sums.back);
    assert_true(scene_seeds(60) < 30 || (sums.moved > 0 && sums.left > 2 * sums.late && sums.back > 0));
}

static void what_is_drained_stays_so_whoever_coordinates(void **state)
{
    (void)state;
    struct drains sums = {0};
    for (uint32_t elects = 0; elects < 2; elects++) {
        drains_for_all_seeds(&load, elects != 0, false, &sums);
        drains_for_all_seeds(&outliers, elects != 0, false, &sums);
    }
    print_message("%llu drained when the coordinator died, %llu empty then, %llu taken back\n",
                  (unsigned long long)sums.drained, (unsigned long long)sums.kept, (unsigned long long)sums.undone);
    assert_true(scene_seeds(60) < 30 || (sums.kept > 0 && sums.undone > 0));
}

/* ---- a crowd at the door ---- */

enum { CROWD_COMMANDS = 520, CROWD_SILENT = 200, CROWD_MAX = CROWD_COMMANDS + CROWD_SILENT + 1 };

static struct
    crowd { /* one more world: commands that ask for nothing, others that say nothing, and a last command that comes later */
    struct sim sim;
    struct pst_conn *conns[CROWD_MAX];
    bool known[CROWD_MAX], came[CROWD_MAX];
    bool last_comes;
    uint32_t greeted, gone;
    int last_error; /* that it was refused with */
    bool last_welcome;
    uint32_t displaced; /* others that were told that their place is another's */
} crowd;

static void crowd_hears(uint32_t i, const void *bytes, size_t byte_count)
{
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    assert_int_equal(pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message), PST_OK);
    if (i == CROWD_MAX - 1 && message->body_case == PST__CONTROL__BODY_REFUSED)
        crowd.last_error = message->refused->error;
    crowd.last_welcome |= i == CROWD_MAX - 1 && message->body_case == PST__CONTROL__BODY_WELCOME;
    crowd.displaced += i != CROWD_MAX - 1 && message->body_case == PST__CONTROL__BODY_REFUSED &&
                       message->refused->error == PST_ETIMEOUT &&
                       strstr(message->refused->sentence, "has done so longest") != NULL;
    pst_arena_fini(&arena);
}

static void crowd_greets(uint32_t i)
{
    const struct pst_world *world = &crowd.sim.world;
    struct pst_text bytes = {0};
    Pst__Hello hello;
    Pst__Control message;
    pst_control_greet(&message, &hello);
    assert_int_equal(pst_control_pack(&message, &bytes), PST_OK);
    assert_int_equal(world->net_send(world->self, crowd.conns[i], bytes.bytes, bytes.count), PST_OK);
    pst_text_fini(&bytes);
    crowd.greeted++;
}

static void one_of_the_crowd(uint32_t i)
{
    const struct pst_world *world = &crowd.sim.world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    int rc = PST_OK;
    if (!crowd.came[i])
        assert_int_equal(world->net_connect(world->self, 0, "n0:1", &crowd.conns[i]), PST_OK);
    crowd.came[i] = true;
    if (crowd.conns[i] == NULL)
        return;
    if (!crowd.known[i]) {
        rc = world->net_peer(world->self, crowd.conns[i], peer);
        crowd.known[i] = rc == PST_OK;
        if (rc == PST_OK && (i < CROWD_COMMANDS || i == CROWD_MAX - 1))
            crowd_greets(i);
    }
    while (rc == PST_OK && (rc = world->net_receive(world->self, crowd.conns[i], &bytes, &byte_count)) == PST_OK)
        crowd_hears(i, bytes, byte_count);
    if (rc == PST_EAGAIN)
        return;
    world->net_close(world->self, crowd.conns[i]);
    crowd.conns[i] = NULL;
    crowd.gone++;
}

static pst_step crowd_step(void *argument, uint32_t worker)
{
    (void)argument;
    (void)worker;
    for (uint32_t i = 0; i < CROWD_MAX - 1; i++)
        one_of_the_crowd(i);
    if (crowd.last_comes)
        one_of_the_crowd(CROWD_MAX - 1);
    return PST_STEP_IDLE;
}

static struct peer *member_of(const struct cluster *cluster, const char *name)
{
    return pst_peer_find(cluster->nodes[0].node, name);
}

/* True before `seconds` have gone by. */
static bool comes_in(struct cluster *cluster, uint32_t *count, uint32_t wanted, uint64_t seconds)
{
    uint64_t until_ns = cluster->net.now_ns + seconds * 1000 * 1000 * 1000;
    while (*count < wanted && cluster->net.now_ns < until_ns)
        cluster_turn(cluster, "a crowd");
    return *count >= wanted;
}

static void commands_and_strangers_keep_no_node_out(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    struct cluster *cluster = calloc(1, sizeof *cluster);
    graph_path = load.path;
    longer = true;
    scene_text_of(load.path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, load.path), PST_OK);
    cluster_init_many(cluster, 3, 3, &text, query_input);
    cluster->client.graph_name = load.name;
    cluster->held_back = 1;
    cluster->grow_ns = 100000;
    cluster_begin(cluster);
    sim_init(&crowd.sim, 3);
    sim_net_add(&cluster->net, &crowd.sim);
    sim_begin(&crowd.sim, 1, crowd_step, NULL);
    assert_true(comes_in(cluster, &crowd.greeted, CROWD_COMMANDS, 10));
    assert_non_null(member_of(cluster, "n1")); /* nobody went for them who is a node */
    cluster_up(cluster, 2);
    assert_true(comes_in(cluster, &cluster->joined, 2, 10));
    assert_non_null(member_of(cluster, "n1"));
    assert_non_null(member_of(cluster, "n2"));
    assert_true(crowd.gone >= CROWD_COMMANDS - NODE_COMMANDS_MAX);

    struct pst_node *node = cluster->nodes[0].node;
    uint32_t commands = 0, gone = crowd.gone;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        bool command = node->peers[i]->state == PEER_UP && node->peers[i]->role == PST__ROLE__ADMIN;
        commands += command;
        node->peers[i]->asked += command; /* as if all waited for answers */
        node->peers[i]->asked_ns = cluster->net.now_ns;
    }
    assert_int_equal(commands, NODE_COMMANDS_MAX);
    crowd.last_comes = true;
    crowd.sim.world.wake(&crowd.sim, 0);
    assert_true(comes_in(cluster, &crowd.gone, gone + 1, 10));
    while (crowd.conns[CROWD_MAX - 1] != NULL)
        cluster_turn(cluster, "the last command");
    assert_int_equal(crowd.last_error, PST_ETIMEOUT);

    /* Their answers do not come. Whoever is to submit the graph has been kept out, and tries again and again. */
    assert_false(comes_in(cluster, &crowd.displaced, 1, 55));
    assert_true(comes_in(cluster, &crowd.displaced, 1, 10));
    crowd.came[CROWD_MAX - 1] = crowd.known[CROWD_MAX - 1] = false;
    crowd.sim.world.wake(&crowd.sim, 0);
    while (!crowd.last_welcome)
        cluster_turn(cluster, "the last command again");
    sim_end(&crowd.sim);
    end_same(&wanted, &load, cluster, "a crowd");
    sim_fini(&crowd.sim);
    scene_fini(&wanted);
    pst_text_fini(&text);
    longer = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submitted_graph_gives_the_same_bytes),
        cmocka_unit_test(nodes_that_are_killed_lose_and_repeat_nothing),
        cmocka_unit_test(graphs_are_scaled_and_moved_while_they_run),
        cmocka_unit_test(rows_that_are_lost_are_told_by_the_command_and_the_record),
        cmocka_unit_test(replicas_take_over_and_nothing_is_started_again),
        cmocka_unit_test(a_run_that_was_left_is_not_taken_for_a_new_one),
        cmocka_unit_test(how_a_run_has_ended_that_was_left_is_not_the_end_of_a_new_one),
        cmocka_unit_test(nodes_are_killed_while_partitions_move),
        cmocka_unit_test(state_beyond_a_budget_is_moved_and_recovered),
        cmocka_unit_test(a_node_that_cannot_spill_ends_its_move_alone),
        cmocka_unit_test(partitions_beyond_a_budget_are_refused),
        cmocka_unit_test(nodes_that_all_read_give_the_bytes_of_one_input),
        cmocka_unit_test(a_node_that_is_told_to_end_is_not_missed),
        cmocka_unit_test(what_is_drained_stays_so_whoever_coordinates),
        cmocka_unit_test(commands_and_strangers_keep_no_node_out),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
