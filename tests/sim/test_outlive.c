/* test_outlive.c - moves that outlive a node: amid each step of one the coordinator changes, because its session ends, behind its back or
 * not, or because it dies. Whoever takes over goes on with what was decided and drops what was not: the graph is not started again while all
 * that it needs lives, every move ends, nothing of one is left anywhere, and outputs are those of one process (P1, P2). */
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

enum { QUERIES = 2, TEXTS = 3, STEPS = 24, CHANGES = 8, DEATHS = 3, STREAM_SECONDS = 150 };
/* Under a sanitizer few have to do. */
#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 4, SOME = 4, MANY = 20, LATE_STEPS = 0, EACH_STEP = 3 };
#else
enum {
    SEEDS = 20,
    SOME = 8,
    MANY = 20,
    LATE_STEPS = 4,
    EACH_STEP = 1
}; /* MANY: so many show something by their sums, too */
#endif
#define MS UINT64_C(1000000)
#define STREAM_NS (1500 * MS)
#define END_NS (200 * 1000 * MS)
#define PATIENT_NS (3000 * MS)
#define LATE_NS (40 * MS) /* some steps of a move */

static const struct query {
    const char *path, *name;
    const char *const movable[4];
} queries[QUERIES] = {
    {LOAD, "load", {"plug_load", "house_load", NULL}},
    {OUTLIERS, "outliers", {"plug_above", "house_share", "median_all", NULL}},
};
static const struct query *query; /* that is run */

struct trial {
    struct cluster *cluster;
    char what[80];
    uint32_t late; /* DIES: a node that came when the graph ran: it coordinates, and dies */
    uint32_t left; /* coordinators that still go */
    enum kind { DEPOSES, DIES, LOSES, EARLIER } kind;
    bool may_start;     /* EARLIER: that node had a part in what was decided: the graph may be started again */
    uint32_t lost;      /* LOSES: the node that is down */
    uint64_t lost_amid; /* and the move amid which it died; 0: all are up */
    bool ended_before;  /* replicas had gone for it by then, which it was not of */
    bool went;          /* replicas went for that move before it was missed: then it was not spare */
    uint64_t incarnation;
    const void *moving;
    uint32_t at; /* how far it was when looked at last: a stage, or STEPS while a record is on its way to the store */
    uint64_t up_ns, depose_ns;
    char wish[2][40];
};

static struct sums {
    uint64_t changes, deaths, replaced, gone_on, rolled_back, completed, looked, started, amid[STEPS + 1];
    struct moves_sums moves;
} sums;

static void input(struct scene *scene)
{
    struct scene_meters meters = {
        .houses = 3, .plugs = 8, .seed = 5, .seconds = STREAM_SECONDS, .rows_max = 1500, .hour = 19, .dirt = true};
    if (query == &queries[0]) {
        scene_set(scene, "slices", "10,30");
        scene_set(scene, "every", "2");
    } else {
        scene_set(scene, "windows", "3,20");
    }
    scene_put_meters(scene, &meters);
}

static uint64_t draw(struct trial *trial, uint64_t below) { return sim_random(&trial->cluster->random, below); }

/* All that it has there is also elsewhere, and what moves was not decided; where it goes from there replicas stay. */
static bool is_spare(const struct cluster *cluster, const struct graph_record *record, uint32_t i)
{
    const Pst__Start *start = record->start->start;
    const struct moving *moving = record->moving;
    const Pst__MoveRecord *move = moving->now->message->move_record;
    const char *name = cluster->nodes[i].node->options.name;
    bool spare = move->step < PST_MOVE_COMMITTED && (strcmp(move->from_node, name) != 0 || !moving->copies_ended);
    for (size_t p = 0; p < start->n_places && spare; p++) {
        const Pst__Place *place = start->places[p];
        bool other = place->copy_of != 0;
        for (size_t k = 0; k < start->n_places && !other; k++)
            other = start->places[k]->copy_of == place->partition + 1 &&
                    strcmp(start->places[k]->operator_id, place->operator_id) == 0;
        spare = strcmp(start->nodes[place->node], name) != 0 || other;
    }
    return spare;
}

/* A node that does not coordinate; it comes back. */
static void lose(struct trial *trial, const struct graph_record *record)
{
    struct cluster *cluster = trial->cluster;
    uint32_t i = (uint32_t)draw(trial, cluster->node_count);
    if (i == cluster_coordinator(cluster) || !is_spare(cluster, record, i))
        return;
    trial->left--;
    sums.deaths++;
    sums.amid[trial->at]++;
    trial->lost = i;
    trial->lost_amid = record->moving->now->message->move;
    trial->ended_before = record->moving->copies_ended;
    trial->went = false;
    cluster_kill(cluster, i);
}

/* It comes back when the graph goes on without it; or, where the move was decided before it was missed, from the beginning. */
static void lost_look(struct trial *trial, const struct graph_record *record)
{
    struct cluster *cluster = trial->cluster;
    const Pst__Start *start = record->start->start;
    char name[8];
    (void)snprintf(name, sizeof name, "n%u", trial->lost);
    uint32_t index = pst_start_index(start, name), step = PST_MOVE_STEP_COUNT;
    bool again = record->start->incarnation != trial->incarnation;
    const struct moving *moving = record->moving;
    trial->went |= moving != NULL && moving->now != NULL && moving->now->message->move == trial->lost_amid &&
                   moving->copies_ended && !trial->ended_before;
    for (uint32_t k = 0; k < record->past_count; k++)
        if (record->past[k]->message->move == trial->lost_amid)
            step = record->past[k]->message->move_record->step;
    if (again && step == PST_MOVE_ABORTED && !trial->went)
        fail_msg("%s: move %llu was given up, and the graph was started again", trial->what,
                 (unsigned long long)trial->lost_amid);
    if (!again && (index == start->n_nodes || !record->left[index]))
        return;
    sums.replaced += !again;
    trial->incarnation = record->start->incarnation;
    trial->lost_amid = 0;
    cluster_up(cluster, trial->lost);
}

/* In a move that is decided, or may be by now. */
static bool earlier_has_part(const struct cluster *cluster, const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    uint32_t step = moving->now->message->move_record->step;
    char name[8];
    (void)snprintf(name, sizeof name, "n%u", cluster->earlier - 1);
    uint32_t index = pst_start_index(record->start->start, name);
    bool decided = (step >= PST_MOVE_COMMITTED && step != PST_MOVE_ABORTED) || moving->writes || moving->written;
    return decided && index < record->start->start->n_nodes && moving->part[index];
}

/* One step of a move in a few is the coordinator's last. */
static void change(struct trial *trial, const struct graph_record *record)
{
    struct cluster *cluster = trial->cluster;
    const struct moving *moving = record->moving;
    uint32_t i = cluster_coordinator(cluster), at = moving->writes || moving->written ? STEPS : moving->stage;
    bool same = at == trial->at;
    trial->at = at;
    if (same || at > STEPS || trial->left == 0 || (trial->kind == DIES && i != trial->late) ||
        draw(trial, trial->kind == DEPOSES || trial->kind == EARLIER ? 6 : 3) != 0)
        return;
    if (trial->kind == LOSES) {
        if (trial->lost_amid == 0)
            lose(trial, record);
        return;
    }
    sums.amid[at]++;
    trial->left--;
    if (trial->kind == DEPOSES || trial->kind == EARLIER) {
        trial->may_start |= trial->kind == EARLIER && earlier_has_part(cluster, record);
        cluster_depose(cluster, i, draw(trial, 2) == 0);
        return;
    }
    sums.deaths++;
    cluster_kill(cluster, i);
    trial->up_ns = cluster->net.now_ns + draw(trial, 300 * MS);
}

/* The late one comes to coordinate, and something of the graph moves between the others. */
static void late_look(struct trial *trial, const struct graph_record *record)
{
    struct cluster *cluster = trial->cluster;
    struct cluster_client *client = &cluster->client;
    uint64_t now_ns = cluster->net.now_ns;
    if (trial->up_ns != 0 && now_ns >= trial->up_ns) {
        cluster_up(cluster, trial->late);
        trial->up_ns = 0;
    }
    if (record == NULL || record->state != GRAPH_RUNNING || !client->taken)
        return;
    if (cluster->nodes[trial->late].node == NULL && trial->up_ns == 0)
        trial->up_ns = now_ns + 1;
    uint32_t i = cluster_coordinator(cluster), to = (uint32_t)draw(trial, cluster->node_count), ops = 0;
    while (query->movable[ops] != NULL)
        ops++;
    if (i != trial->late && trial->up_ns == 0 && trial->left != 0 && now_ns >= trial->depose_ns) {
        trial->depose_ns = now_ns + 20 * MS;
        cluster_depose(cluster, i, false);
    }
    if (i != trial->late || to == trial->late || client->wish[0] != NULL || trial->left == 0)
        return;
    (void)snprintf(trial->wish[0], sizeof trial->wish[0], "%s/%u", query->movable[draw(trial, ops)],
                   (unsigned)draw(trial, 8));
    (void)snprintf(trial->wish[1], sizeof trial->wish[1], "n%u", to);
    client->wish[0] = "move";
    client->wish[1] = trial->wish[0];
    client->wish[2] = trial->wish[1];
}

static void look(struct trial *trial)
{
    struct cluster *cluster = trial->cluster;
    const struct graph_record *record = cluster_record(cluster);
    const void *now = record != NULL && record->moving != NULL ? record->moving->now : NULL;
    bool over = trial->moving != NULL && now == NULL && record != NULL && record->state == GRAPH_RUNNING;
    trial->moving = now;
    if (over) {
        sums.looked++;
        moves_clear(cluster, record, trial->what);
    }
    if (trial->kind == DIES)
        late_look(trial, record);
    if (trial->lost_amid != 0 && record != NULL)
        lost_look(trial, record);
    if (now != NULL)
        change(trial, record);
}

/* All that runs has ended, and the store has it. */
static bool is_settled(const struct trial *trial)
{
    const struct cluster *cluster = trial->cluster;
    const struct graph_record *record = cluster_record(cluster);
    bool settled = record != NULL && !record->committing;
    for (uint32_t i = 0; i < cluster->node_count && settled; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        settled = node == NULL || node->hosted_count + node->beginning_count + node->start_count == 0;
    }
    return settled;
}

static void one(const struct scene *wanted, const struct pst_text *text, enum kind kind, uint64_t seed)
{
    bool dies = kind == DIES;
    uint32_t times = dies ? DEATHS : CHANGES;
    struct trial trial = {.cluster = calloc(1, sizeof *trial.cluster), .kind = kind, .left = times, .incarnation = 1};
    struct cluster *cluster = trial.cluster;
    (void)snprintf(trial.what, sizeof trial.what, "%s, seed %llu%s", query->name, (unsigned long long)seed,
                   kind == DIES      ? ", the coordinator dies"
                   : kind == LOSES   ? ", a node is lost"
                   : kind == EARLIER ? ", one of an earlier version"
                                     : "");
    if (kind == DIES || kind == LOSES)
        cluster_init_many(cluster, seed, CLUSTER_FEW_NODES, text, input);
    else
        cluster_init(cluster, seed, text, input);
    cluster->ends_ns = END_NS;
    cluster->elects = kind != LOSES || seed % 2 == 0;
    if (kind != LOSES)
        cluster->dead_ns = PATIENT_NS; /* whoever does not reach the store for a moment is not dead */
    cluster->cut_ns_max = PATIENT_NS / 4;
    cluster->source = (uint32_t)draw(&trial, cluster->node_count - dies);
    trial.late = cluster->node_count - dies;
    cluster->every_ns = draw(&trial, 2) == 0 ? 20 * MS + draw(&trial, 200 * MS) : 0;
    cluster->grow_ns = STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->coordination.delay_us_max = 1 + (uint32_t)draw(&trial, 5000);
    cluster->coordination.unknown_per_1000 = draw(&trial, 2) == 0 ? 100 : 0;
    cluster->client.movable = dies ? NULL : query->movable;
    cluster->client.graph_name = query->name;
    cluster->client.pause_ns = 1 + draw(&trial, 30 * MS);
    cluster->held_back = dies;
    cluster->earlier = kind == EARLIER ? 1 + (uint32_t)draw(&trial, cluster->node_count) : 0;
    cluster_begin(cluster);
    while (!cluster->client.done || !is_settled(&trial)) {
        cluster_turn(cluster, trial.what);
        look(&trial);
    }
    if (cluster->client.error != PST_OK || strstr(cluster->client.says, ": failed") != NULL)
        fail_msg("%s: %s", trial.what, cluster->client.says);
    cluster_same(wanted, cluster, query->name, trial.what);
    moves_ended(cluster, trial.what, &sums.moves);
    moves_owners(cluster_record(cluster), trial.what);
    bool again = cluster_record(cluster)->start->incarnation != trial.incarnation;
    sums.started += again;
    if (again && !trial.may_start)
        fail_msg("%s: the graph is of incarnation %llu, and nothing that it needs has died", trial.what,
                 (unsigned long long)cluster_record(cluster)->start->incarnation);
    if (cluster->client.lost != 0)
        fail_msg("%s: rows were lost", trial.what);
    sums.changes += times - trial.left;
    sums.gone_on += cluster->gone_on;
    sums.rolled_back += cluster->rolled_back;
    sums.completed += cluster->completed;
    cluster_fini(cluster);
    free(cluster);
}

/* DIES: without replicas, for they would be made on the late node. */
static void seeds_run(enum kind kind, uint64_t seeds)
{
    sums = (struct sums){0};
    for (uint32_t q = 0; q < QUERIES; q++) {
        struct scene wanted;
        struct pst_text texts[TEXTS] = {{0}};
        query = &queries[q];
        scene_text_of(query->path, &texts[0]);
        scene_text_replicated(query->path, query->movable + 1, &texts[1]);
        scene_text_replicated(query->path, query->movable, &texts[2]);
        scene_init(&wanted, 1);
        input(&wanted);
        scene_set(&wanted, "partitions", "1");
        assert_int_equal(scene_run(&wanted, query->path), PST_OK);
        for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
            one(&wanted, &texts[kind == DIES ? 0 : kind == LOSES ? 2 : seed % TEXTS], kind, seed);
        scene_fini(&wanted);
        for (uint32_t t = 0; t < TEXTS; t++)
            pst_text_fini(&texts[t]);
    }
    print_message("%llu changes amid a move, %llu of them deaths, %llu nodes replaced; of moves that were found %llu "
                  "went on and %llu were "
                  "dropped; %llu DONE, %llu ABORTED; %llu checkpoints; looked at %llu times\n",
                  (unsigned long long)sums.changes, (unsigned long long)sums.deaths, (unsigned long long)sums.replaced,
                  (unsigned long long)sums.gone_on, (unsigned long long)sums.rolled_back,
                  (unsigned long long)sums.moves.done, (unsigned long long)sums.moves.aborted,
                  (unsigned long long)sums.completed, (unsigned long long)sums.looked);
    for (uint32_t i = 0; i <= STEPS; i++)
        if (sums.amid[i] != 0)
            print_message("stage %u: %llu times\n", i, (unsigned long long)sums.amid[i]);
}

static void a_move_outlives_its_coordinator(void **state)
{
    (void)state;
    uint64_t seeds = scene_seeds(SEEDS);
    seeds_run(DEPOSES, seeds);
    assert_true(seeds < MANY || (sums.changes > 4 * seeds && sums.gone_on > seeds / 2 && sums.rolled_back > seeds &&
                                 sums.moves.done > seeds && sums.looked > 2 * seeds));
}

/* It may not know what it has said of a step: where it had a part in what was decided the graph is started again, and nowhere else. */
static void a_node_of_an_earlier_version_is_not_asked_again(void **state)
{
    (void)state;
    uint64_t seeds = scene_seeds(SEEDS);
    seeds_run(EARLIER, seeds);
    print_message("%llu graphs were started again\n", (unsigned long long)sums.started);
    assert_true(seeds < MANY || (sums.started > 0 && sums.gone_on > 0 && sums.rolled_back > seeds));
}

static void a_coordinator_that_the_graph_does_not_need_may_die(void **state)
{
    (void)state;
    uint64_t seeds = scene_seeds(SEEDS);
    seeds_run(DIES, seeds);
    assert_true(seeds < MANY || (sums.deaths > seeds / 4 && sums.gone_on > 0 && sums.rolled_back > 0));
}

static void replicas_take_over_amid_a_move(void **state)
{
    (void)state;
    uint64_t seeds = scene_seeds(SEEDS);
    seeds_run(LOSES, seeds);
    assert_true(seeds < MANY || sums.replaced > seeds / 4);
}

/* A node that has neither the input nor a sink, and does not coordinate; node_count: there is none. */
static uint32_t movable_node(const struct cluster *cluster)
{
    uint32_t i = 0;
    while (i < cluster->node_count && (i == cluster_coordinator(cluster) || cluster_places(cluster, i, true) != 0 ||
                                       cluster_places(cluster, i, false) == 0))
        i++;
    return i;
}

/* The node that is drained has no connection when the next coordinator looks for what is left there, and is back soon. True: so it was. */
static bool falls_silent(struct cluster *cluster, const char *name, uint32_t node)
{
    const struct graph_record *record = cluster_record(cluster);
    uint32_t i = cluster_coordinator(cluster);
    if (record == NULL || !record->drains || pst_order_under_way(record) || i == node)
        return false;
    pst_coordinator_down(cluster->nodes[i].node, name, "a test has broken it");
    sim_net_break(&cluster->net, i, node);
    sim_net_break(&cluster->net, node, i);
    return true;
}

/* One node is drained, once; whoever coordinates amid that goes, again and again. It is empty before the graph ends. */
static bool drained(const struct scene *wanted, const struct pst_text *text, bool silent, uint64_t seed)
{
    struct trial trial = {.cluster = calloc(1, sizeof *trial.cluster), .left = silent ? 1 : 3};
    bool was_silent = false;
    struct cluster *cluster = trial.cluster;
    char name[8];
    uint32_t i = CLUSTER_FEW_NODES;
    bool empty = false;
    (void)snprintf(trial.what, sizeof trial.what, "%s, seed %llu, a drain", query->name, (unsigned long long)seed);
    cluster_init_many(cluster, seed, CLUSTER_FEW_NODES, text, input);
    cluster->elects = true;
    cluster->ends_ns = END_NS;
    cluster->dead_ns = PATIENT_NS;
    cluster->cut_ns_max = PATIENT_NS / 4;
    cluster->source = (uint32_t)draw(&trial, cluster->node_count);
    cluster->grow_ns = 2 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, trial.what);
        if (silent && !was_silent && i < cluster->node_count)
            was_silent = falls_silent(cluster, name, i);
        const struct graph_record *record = cluster_record(cluster);
        if (record == NULL || record->state != GRAPH_RUNNING)
            continue;
        if (i == cluster->node_count && cluster->client.taken && (i = movable_node(cluster)) != cluster->node_count) {
            (void)snprintf(name, sizeof name, "n%u", i);
            memcpy(cluster->client.wish, (const char *[3]){"drain", name, NULL}, sizeof cluster->client.wish);
        }
        empty |= i != cluster->node_count && cluster_places(cluster, i, false) == 0;
        if (record->moving != NULL && record->moving->now != NULL)
            change(&trial, record);
    }
    cluster_same(wanted, cluster, query->name, trial.what);
    bool amid = i != cluster->node_count && (silent ? was_silent : trial.left == 0);
    if (amid && !empty)
        fail_msg("%s: %s is not empty", trial.what, name);
    cluster_fini(cluster);
    free(cluster);
    return amid;
}

static void drains_for_all_seeds(bool silent)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t seeds = scene_seeds(SEEDS), amid = 0;
    query = &queries[0];
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        amid += drained(&wanted, &text, silent, seed);
    print_message("%llu drains amid which the coordinator changed\n", (unsigned long long)amid);
    scene_fini(&wanted);
    pst_text_fini(&text);
    assert_true(seeds < MANY || amid > (silent ? 0 : seeds / 4));
}

static void a_drain_goes_on_under_the_next_coordinator(void **state)
{
    (void)state;
    drains_for_all_seeds(false);
}

static void a_drain_waits_for_a_node_that_is_silent_at_that_moment(void **state)
{
    (void)state;
    drains_for_all_seeds(true);
}

/* ---- orders of several moves ---- */

/* Of an operator, by what the graph's record says: partitions that own buckets; nodes: and the nodes that they are on. */
static uint32_t serving(const struct graph_record *record, const char *operator_id, bool nodes[CLUSTER_FEW_NODES])
{
    const Pst__Start *start = record->start->start;
    bool partitions[PST_BUCKETS_MAX + 1] = {false};
    uint32_t count = 0;
    memset(nodes, 0, CLUSTER_FEW_NODES * sizeof *nodes);
    for (size_t i = 0; i < start->n_layouts; i++)
        for (size_t b = 0;
             strcmp(start->layouts[i]->operator_id, operator_id) == 0 && b < start->layouts[i]->n_partitions; b++)
            partitions[start->layouts[i]->partitions[b]] = true;
    for (uint32_t p = 0; p <= PST_BUCKETS_MAX; p++)
        count += partitions[p];
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, operator_id) == 0 && partitions[start->places[i]->partition])
            nodes[strtoul(start->nodes[start->places[i]->node] + 1, NULL, 10)] = true;
    return count;
}

/* An operator is given ORDERED partitions, or all that it has is brought to one node after it has but one partition, in portions. Amid that
 * whoever coordinates goes, or the first node, which coordinates alone, dies and comes back, or another node. What was wanted is there before
 * the graph ends. */
enum { ORDERED = 7 };
enum amid { AMID_DEPOSED, AMID_FIRST_DIES, AMID_ANOTHER_DIES };
static bool ordered(const struct scene *wanted, const struct pst_text *text, enum amid amid, uint64_t seed)
{
    bool elects = amid != AMID_FIRST_DIES;
    struct trial trial = {
        .cluster = calloc(1, sizeof *trial.cluster), .left = amid == AMID_DEPOSED ? 2 : 1, .kind = DEPOSES};
    struct cluster *cluster = trial.cluster;
    bool scales = seed % 3 != 0, asked = false, done = false, nodes[CLUSTER_FEW_NODES];
    uint32_t dead = 0;
    uint64_t up_ns = 0;
    char to[8] = "";
    (void)snprintf(trial.what, sizeof trial.what, "%s, seed %llu, %s%s", query->name, (unsigned long long)seed,
                   scales ? "scale" : "move",
                   amid == AMID_DEPOSED      ? ""
                   : amid == AMID_FIRST_DIES ? ", the first node dies"
                                             : ", another node dies");
    cluster_init_many(cluster, seed, CLUSTER_FEW_NODES, text, input);
    for (uint32_t i = 0; i < cluster->like.setting_count && !scales; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "1";
    if (!scales)
        cluster->portion_bytes = 100000; /* some portions */
    cluster->elects = elects;
    cluster->ends_ns = END_NS;
    cluster->dead_ns = PATIENT_NS;
    cluster->cut_ns_max = PATIENT_NS / 4;
    cluster->source = 1 + (uint32_t)draw(&trial, cluster->node_count - 1);
    cluster->every_ns = amid == AMID_DEPOSED ? 0 : 100 * MS;
    cluster->grow_ns = (amid == AMID_DEPOSED ? 2 : 6) * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, trial.what);
        if (up_ns != 0 && cluster->net.now_ns >= up_ns) {
            cluster_up(cluster, dead);
            up_ns = 0;
        }
        const struct graph_record *record = cluster_record(cluster);
        if (record == NULL || record->state != GRAPH_RUNNING || record->committing)
            continue;
        uint32_t count = serving(record, "plug_load", nodes);
        if (!asked && cluster->client.taken) {
            uint32_t i = 0;
            while (!scales && nodes[i])
                i++; /* it has one partition */
            (void)snprintf(to, sizeof to, "n%u", i);
            memcpy(cluster->client.wish,
                   scales ? (const char *[3]){"scale", "plug_load", "7"} : (const char *[3]){"move", "plug_load/0", to},
                   sizeof cluster->client.wish);
            asked = true;
        }
        bool there = true;
        for (uint32_t i = 0; i < CLUSTER_FEW_NODES && !scales; i++)
            there &= nodes[i] == (i == (uint32_t)(to[1] - '0'));
        done |= asked && !pst_order_under_way(record) && (scales ? count == ORDERED : count == 1 && there);
        const struct moving *moving = record->moving;
        bool moves = moving != NULL && moving->now != NULL;
        if (moves && amid == AMID_DEPOSED) {
            change(&trial, record);
        } else if (moves && trial.left != 0 && moving->order != NULL && moving->order_index >= 2 &&
                   draw(&trial, 200) == 0) {
            dead = amid == AMID_FIRST_DIES ? 0 : (uint32_t)draw(&trial, cluster->node_count);
            if (amid == AMID_ANOTHER_DIES && (dead == cluster_coordinator(cluster) || dead == (uint32_t)(to[1] - '0')))
                continue;
            trial.left--;
            cluster_kill(cluster, dead);
            up_ns = cluster->net.now_ns + draw(&trial, 300 * MS) + 1;
        }
    }
    cluster_same(wanted, cluster, query->name, trial.what);
    moves_ended(cluster, trial.what, &sums.moves);
    if (asked && trial.left == 0 && !done)
        fail_msg("%s: that has not come about", trial.what);
    while (!is_settled(&trial))
        cluster_turn(cluster, trial.what);
    moves_no_order(cluster, trial.what);
    cluster_fini(cluster);
    free(cluster);
    return asked && trial.left == 0;
}

static void orders_for_all_seeds(enum amid amid, uint64_t seeds)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t count = 0;
    query = &queries[0];
    sums = (struct sums){0};
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        count += ordered(&wanted, &text, amid, seed);
    print_message("%llu orders amid which that happened; %llu moves DONE, %llu ABORTED\n", (unsigned long long)count,
                  (unsigned long long)sums.moves.done, (unsigned long long)sums.moves.aborted);
    scene_fini(&wanted);
    pst_text_fini(&text);
    assert_true(seeds < 8 || count > seeds / 3);
}

static void an_order_goes_on_under_the_next_coordinator(void **state)
{
    (void)state;
    orders_for_all_seeds(AMID_DEPOSED, scene_seeds(SEEDS));
}

static void an_order_goes_on_when_a_node_has_died(void **state)
{
    (void)state;
    orders_for_all_seeds(AMID_ANOTHER_DIES, scene_seeds(SOME));
}

/* As a coordinator has left it that is no more. */
static void order_put(struct cluster *cluster, uint32_t kind, uint64_t move)
{
    struct cluster_store *store = &cluster->store;
    Pst__OrderRecord body = PST__ORDER_RECORD__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    uint32_t i = 0;
    while (store->records[i].version != 0)
        i++;
    body.kind = kind;
    body.operator_id = (char *)(uintptr_t) "plug_load";
    body.count = ORDERED;
    body.deadline_ns = END_NS;
    message.graph = (char *)(uintptr_t)query->name;
    message.incarnation = 1;
    message.move = move;
    message.body_case = PST__CONTROL__BODY_ORDER_RECORD;
    message.order_record = &body;
    store->records[i].version = 1;
    (void)snprintf(store->records[i].path, sizeof store->records[i].path, "orders/%s", query->name);
    assert_int_equal(pst_control_pack(&message, &store->records[i].bytes), PST_OK);
}

/* Found by a coordinator that comes back, beside a move that was done: how many partitions there are at the end. */
static uint32_t order_found(const struct scene *wanted, const struct pst_text *text, uint32_t kind, uint64_t move)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    bool nodes[CLUSTER_FEW_NODES], asked = false, killed = false;
    uint32_t count = 0;
    cluster_init_many(cluster, 3, 3, text, input);
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "3";
    cluster->portion_bytes = 0;
    cluster->ends_ns = END_NS;
    cluster->source = 1;
    cluster->grow_ns = 3 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, "an order that is found");
        const struct graph_record *record = cluster_record(cluster);
        if (record == NULL || record->state != GRAPH_RUNNING || !cluster->client.taken)
            continue;
        if (!asked)
            memcpy(cluster->client.wish, (const char *[3]){"scale", "plug_load", "4"}, sizeof cluster->client.wish);
        if (asked && !killed && cluster->client.wish[0] == NULL && !record->committing) {
            assert_int_equal(cluster->client.wish_error, PST_OK);
            killed = true;
            cluster_kill(cluster, 0);
            order_put(cluster, kind, move);
            cluster_up(cluster, 0);
        }
        asked = true;
    }
    assert_true(killed);
    cluster_same(wanted, cluster, query->name, "an order that is found");
    moves_no_order(cluster, "an order that is found");
    count = serving(cluster_record(cluster), "plug_load", nodes);
    cluster_fini(cluster);
    free(cluster);
    return count;
}

static void an_order_that_is_out_of_date_is_forgotten(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    query = &queries[0];
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    assert_int_equal(order_found(&wanted, &text, ORDER_SCALE, 1), ORDERED); /* the newest move */
    assert_int_equal(order_found(&wanted, &text, ORDER_SCALE, 0), 4);
    assert_int_equal(order_found(&wanted, &text, ORDER_REBALANCE + 1, 1), 4); /* of a later version */
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void an_order_goes_on_when_its_coordinator_is_back(void **state)
{
    (void)state;
    orders_for_all_seeds(AMID_FIRST_DIES, scene_seeds(SOME));
}

/* ---- replicas that stay ---- */

/* A partition of an operator goes as a whole to a node that has not its replica, or the one of two is joined to the other one, or gives a part
 * to a third one (`scale`). Amid that, at one step, one of these nodes dies. It has neither the input nor a sink, and does not coordinate. */
enum change { GOES, IS_JOINED, IS_DIVIDED };
static const char *const change_names[] = {"goes", "is joined", "is divided"};
/* SOME: the first of a decided move is the last of them; MOST: beyond its end. */
enum { STAY_NODES = 12, STAY_SOME = 4, STAY_MOST = 12 };
enum victim { NOBODY, GIVER, REPLICA, TAKER, SENDER, VICTIMS }; /* SENDER: has a part of plug_load, or a replica */
static const char *const victim_names[VICTIMS] = {"nobody", "the giver", "the replica", "the taker", "a sender"};

struct stay {
    struct cluster *cluster;
    const char *operator_id;
    enum change change;
    bool coordinates; /* the victim does; else it does not */
    uint64_t depose_ns;
    bool late; /* it does not die, but what it sends to others than the coordinator is late */
    enum victim victim;
    uint64_t late_ns;     /* until then; 0: it is not, yet */
    uint32_t at;          /* the how-manieth step it dies at, from 1; 0: when the move is done */
    uint32_t seen, stage; /* steps so far, and the last of them */
    uint32_t nodes[VICTIMS];
    uint64_t move; /* that was wanted; 0: not yet */
    bool asked, killed;
    bool refuses, refused; /* the taker refuses while the store is told that replicas go */
    bool forgot;           /* then, when the move is over: no node has any of them */
    bool alone;            /* before anybody died some partition was without a replica, by the record */
    bool gone;             /* replicas have gone for the move, by the record */
    const void *moving;    /* as when looked at last */
    char what[120], wish[2][40];
};

/* The nodes that have the partition and its replica; STAY_NODES: there is none. */
static void both_of(const struct graph_record *record, const char *operator_id, uint32_t partition,
                    uint32_t ret_nodes[2])
{
    const Pst__Start *start = record->start->start;
    ret_nodes[0] = ret_nodes[1] = STAY_NODES;
    for (size_t i = 0; i < start->n_places; i++) {
        const Pst__Place *place = start->places[i];
        bool owner = place->copy_of == 0 && place->partition == partition;
        if (strcmp(place->operator_id, operator_id) == 0 && (owner || place->copy_of == partition + 1))
            ret_nodes[!owner] = (uint32_t)strtoul(start->nodes[place->node] + 1, NULL, 10);
    }
}

static bool may_die(const struct stay *stay, uint32_t node)
{
    return node < STAY_NODES && (node == cluster_coordinator(stay->cluster)) == stay->coordinates &&
           cluster_places(stay->cluster, node, true) == 0;
}

static bool may_get(const struct stay *stay, uint32_t node)
{
    bool coordinates = node == cluster_coordinator(stay->cluster);
    return (stay->coordinates || !coordinates) && cluster_places(stay->cluster, node, true) == 0;
}

/* Who it is, where this partition goes to that node; STAY_NODES: nobody who may die. */
static uint32_t victim_of(const struct stay *stay, const struct graph_record *record, uint32_t partition,
                          uint32_t taker)
{
    uint32_t own[2], senders[2][2], found = STAY_NODES;
    both_of(record, stay->operator_id, partition, own);
    both_of(record, "plug_load", 0, senders[0]);
    both_of(record, "plug_load", 1, senders[1]);
    const uint32_t nodes[VICTIMS] = {STAY_NODES, own[0], own[1], taker, STAY_NODES};
    for (uint32_t i = 0; i < 4 && stay->victim == SENDER; i++) {
        uint32_t node = senders[i / 2][i % 2];
        if (node != own[0] && node != own[1] && node != taker && may_die(stay, node))
            found = node;
    }
    return stay->victim == SENDER ? found : may_die(stay, nodes[stay->victim]) ? nodes[stay->victim] : STAY_NODES;
}

/* By the record, whose changes are in the store before they are told: each partition that owns something has a replica. */
static bool none_is_alone(const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    uint32_t places = 0, copies = 0;
    for (size_t i = 0; i < start->n_places; i++) {
        const char *id = start->places[i]->operator_id;
        places += strcmp(id, "plug_load") == 0 || strcmp(id, "house_load") == 0;
        copies += start->places[i]->copy_of != 0;
    }
    return places == 2 * copies;
}

/* A partition and a node to which it goes with that victim; of a scale whoever is chosen. */
static void stay_ask(struct stay *stay, const struct graph_record *record)
{
    struct cluster_client *client = &stay->cluster->client;
    uint32_t partition = 0, taker = STAY_NODES, own[2];
    if (!none_is_alone(record))
        return;
    for (uint32_t p = 0; p < 4 && taker == STAY_NODES && stay->change == GOES; p++) {
        if (p == 2 && stay->victim != SENDER) /* of the other operator, then */
            stay->operator_id = query->movable[strcmp(stay->operator_id, query->movable[0]) == 0];
        both_of(record, stay->operator_id, partition = p % 2, own);
        for (uint32_t t = 0; t < STAY_NODES && taker == STAY_NODES; t++)
            if (t != own[0] && t != own[1] && may_get(stay, t) &&
                (stay->victim == NOBODY || victim_of(stay, record, partition, t) != STAY_NODES))
                taker = t;
    }
    if (stay->change == GOES && taker == STAY_NODES)
        return;
    (void)snprintf(stay->wish[0], sizeof stay->wish[0], "%s/%u", stay->operator_id, partition);
    (void)snprintf(stay->wish[1], sizeof stay->wish[1], "n%u", taker);
    memcpy(client->wish,
           stay->change == GOES ? (const char *[3]){"move", stay->wish[0], stay->wish[1]}
                                : (const char *[3]){"scale", stay->operator_id, stay->change == IS_JOINED ? "1" : "3"},
           sizeof client->wish);
    stay->asked = true;
}

static const Pst__MoveRecord *move_of(const struct graph_record *record, uint64_t id)
{
    const Pst__MoveRecord *move = NULL;
    for (uint32_t k = 0; k < record->past_count; k++)
        move = record->past[k]->message->move == id ? record->past[k]->message->move_record : move;
    return move;
}

static void late_begins(struct stay *stay, bool late)
{
    struct sim_net *net = &stay->cluster->net;
    for (uint32_t i = 0; i < STAY_NODES; i++)
        if (i != cluster_coordinator(stay->cluster) && i != stay->nodes[stay->victim])
            sim_net_cut(net, stay->nodes[stay->victim], i, late);
    stay->late_ns =
        !late ? 0 : net->now_ns + (stay->victim == REPLICA ? 10 : 1) * LATE_NS; /* nothing waits for that one */
}

static void refuse(struct stay *stay, const struct graph_record *record)
{
    uint32_t i = cluster_coordinator(stay->cluster);
    struct pst_node *node = stay->cluster->nodes[i].node;
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    char why[] = "it has no room";
    body.step = PST__STEP__REFUSED;
    body.why = why;
    message.incarnation = record->start->incarnation;
    message.move = record->moving->now->message->move;
    message.body_case = PST__CONTROL__BODY_MOVE_STEP;
    message.move_step = &body;
    pst_moves_on(node, pst_coordinator_graph(node->duty, query->name),
                 record->moving->now->message->move_record->to_node, &message);
    stay->refused = true;
}

static void forgotten(struct stay *stay, const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++) {
        uint32_t index = (uint32_t)strtoul(record->start->start->nodes[i] + 1, NULL, 10);
        const struct hosted *hosted = pst_node_hosted(stay->cluster->nodes[index].node, query->name, 1);
        for (uint32_t n = 0; n < moving->layout_count && moving->part[i]; n++)
            for (uint32_t p = 0; moving->layouts[n] != NULL && p < moving->layouts[n]->partition_count; p++)
                if (pst_twin(&hosted->run, n, p) != moving->layouts[n]->twin[p])
                    fail_msg("%s: node %s has a replica still, of operator %u, partition %u", stay->what,
                             record->start->start->nodes[i], n, p);
    }
    stay->forgot = true;
}

static void stay_look(struct stay *stay, const struct graph_record *record)
{
    if (stay->late_ns != 0 && stay->cluster->net.now_ns > stay->late_ns)
        late_begins(stay, false);
    const struct moving *moving = record->moving;
    bool moves = moving != NULL && moving->now != NULL;
    if (stay->refused && !stay->forgot && moving != NULL && !moves)
        forgotten(stay, record);
    if (!stay->asked) {
        stay_ask(stay, record);
        if (!stay->asked && stay->coordinates && stay->cluster->net.now_ns > stay->depose_ns) { /* another one may do */
            stay->depose_ns = stay->cluster->net.now_ns + 20 * MS;
            cluster_depose(stay->cluster, cluster_coordinator(stay->cluster), false);
        }
        return;
    }
    if (stay->move == 0 && moves) {
        const Pst__MoveRecord *move = moving->now->message->move_record;
        stay->move = moving->now->message->move;
        stay->stage = NO_STAGE;
        stay->nodes[stay->victim] =
            victim_of(stay, record, move->from_partition, (uint32_t)strtoul(move->to_node + 1, NULL, 10));
    }
    if (stay->move == 0)
        return;
    uint32_t dead = stay->nodes[stay->victim];
    if (stay->coordinates && stay->killed && stay->cluster->nodes[dead].node == NULL && !moves)
        cluster_up(stay->cluster, dead); /* the client asks there */
    stay->alone |= !stay->killed && !none_is_alone(record);
    stay->gone |= moves && moving->now->message->move == stay->move && moving->copies_ended;
    if (stay->refuses && !stay->refused && moves && moving->copies_ended && moving->written)
        refuse(stay, record);
    bool now = false;
    if (moves && !moving->writes && !moving->written && moving->stage != stay->stage) {
        stay->stage = moving->stage;
        now = ++stay->seen == stay->at;
    }
    now |= stay->at == 0 && move_of(record, stay->move)->step == PST_MOVE_DONE && !moves;
    if (!now || stay->killed || stay->nodes[stay->victim] == STAY_NODES)
        return;
    stay->killed = !stay->late;
    if (stay->killed)
        cluster_kill(stay->cluster, stay->nodes[stay->victim]);
    else
        late_begins(stay, true);
}

static void stay_begin(struct stay *stay, const struct pst_text *text)
{
    struct cluster *cluster = stay->cluster;
    uint64_t seed = scene_seed_first() + stay->at * VICTIMS + stay->victim;
    (void)snprintf(stay->what, sizeof stay->what, "%s %s, %s%s %s at step %u, seed %llu", stay->operator_id,
                   change_names[stay->change], victim_names[stay->victim],
                   stay->coordinates ? ", which coordinates," : "", stay->late ? "is late" : "dies", stay->at,
                   (unsigned long long)seed);
    cluster_init_many(cluster, seed, STAY_NODES, text, input);
    for (uint32_t i = 0; i < cluster->like.setting_count; i++)
        if (strcmp(cluster->like.settings[i].name, "partitions") == 0)
            cluster->like.settings[i].value = "2";
    cluster->portion_bytes = UINT64_MAX;
    cluster->ends_ns = END_NS;
    cluster->elects = stay->coordinates;
    cluster->every_ns = 50 * MS; /* so that a graph that goes back does so to somewhere else than its beginning */
    cluster->source = 1;
    cluster->grow_ns = (stay->coordinates ? 3 : 1) * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
}

/* True: somebody died, and the graph was not to be started again: where the partition goes, or has its replica alone; else before the decision,
 * or when it was done. */
static bool stays(const struct scene *wanted, const struct pst_text *text, struct stay stay, uint32_t *again_count)
{
    struct cluster *cluster = stay.cluster = calloc(1, sizeof *cluster);
    stay_begin(&stay, text);
    while (!cluster->client.done) {
        cluster_turn(cluster, stay.what);
        const struct graph_record *record = cluster_record(cluster);
        if (record != NULL && record->state == GRAPH_RUNNING && cluster->client.taken)
            stay_look(&stay, record);
        record = cluster_record(cluster); /* whoever had it may be dead */
        const void *now = record != NULL && record->moving != NULL ? record->moving->now : NULL;
        if (stay.moving != NULL && now == NULL && record != NULL && record->state == GRAPH_RUNNING)
            moves_clear(cluster, record, stay.what);
        stay.moving = now;
    }
    const struct graph_record *record = cluster_record(cluster);
    const Pst__MoveRecord *move = stay.move != 0 ? move_of(record, stay.move) : NULL;
    const char *step = move != NULL ? pst_move_step_name((pst_move_step)move->step) : "not there";
    bool again = record->start->incarnation != 1, done = move != NULL && move->step == PST_MOVE_DONE;
    bool always = stay.change == GOES || (stay.change == IS_DIVIDED && stay.victim == REPLICA);
    bool amid = stay.killed && (always || ((!done || stay.at == 0) && !stay.gone));
    if (again && (amid || !stay.killed))
        fail_msg("%s: the graph was started again, and the move is %s", stay.what, step);
    if (stay.alone && stay.change == GOES)
        fail_msg("%s: a partition was without a replica, and nobody had died", stay.what);
    if (stay.refuses && (!stay.forgot || done || again))
        fail_msg("%s: the move is %s, and nobody refused%s", stay.what, step, again ? "; started again" : "");
    bool changed = stay.coordinates && (move == NULL || !stay.killed); /* who coordinates, before */
    if (!changed && (move == NULL || (!stay.killed && !done && !stay.refuses)))
        fail_msg("%s: the move is %s", stay.what, step);
    if (cluster->client.lost != 0)
        fail_msg("%s: rows were lost", stay.what);
    cluster_same(wanted, cluster, query->name, stay.what);
    moves_ended(cluster, stay.what, &sums.moves);
    moves_owners(record, stay.what);
    cluster_fini(cluster);
    free(cluster);
    *again_count += again;
    return amid;
}

static void stays_init(struct scene *wanted, struct pst_text *text)
{
    query = &queries[0];
    scene_text_replicated(query->path, query->movable, text);
    scene_init(wanted, 1);
    input(wanted);
    scene_set(wanted, "partitions", "1");
    assert_int_equal(scene_run(wanted, query->path), PST_OK);
}

static void stays_refused(void)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint32_t again = 0;
    stays_init(&wanted, &text);
    for (uint32_t at = 1; at <= SOME; at++)
        (void)stays(&wanted, &text,
                    (struct stay){
                        .operator_id = query->movable[at % 2], .change = IS_JOINED, .at = STEPS + at, .refuses = true},
                    &again);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

/* Of what is joined, or divided, as many steps as there are, where many seeds are wanted. */
static void stays_at_each_step(enum change change)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint32_t amid[VICTIMS] = {0}, again = 0, coordinated = 0;
    uint32_t steps = change == GOES || scene_seeds(SEEDS) > SEEDS ? STAY_MOST : STAY_SOME;
    stays_init(&wanted, &text);
    for (int victim = NOBODY; victim < VICTIMS; victim++) {
        if (change == IS_DIVIDED && victim != REPLICA && steps == STAY_SOME)
            continue; /* as where it goes */
        for (uint32_t at = 0; at <= (victim == NOBODY ? 1 : steps); at += change == GOES ? EACH_STEP : 1)
            amid[victim] +=
                stays(&wanted, &text,
                      (struct stay){.operator_id = victim == SENDER || at % 2 == 0 ? "house_load" : "plug_load",
                                    .change = change,
                                    .victim = (enum victim)victim,
                                    .at = at},
                      &again);
        for (uint32_t at = STAY_SOME;
             at <= STAY_SOME + LATE_STEPS && change != IS_JOINED && victim != NOBODY && victim != SENDER; at++)
            (void)stays(&wanted, &text,
                        (struct stay){.operator_id = query->movable[at % 2],
                                      .change = change,
                                      .late = true,
                                      .victim = (enum victim)victim,
                                      .at = at},
                        &again);
        for (uint32_t at = STAY_SOME + 1; at < STAY_MOST - 2 && change == GOES && victim != NOBODY && victim != SENDER;
             at += 1 + EACH_STEP)
            coordinated += stays(&wanted, &text,
                                 (struct stay){.operator_id = query->movable[at % 2],
                                               .coordinates = true,
                                               .victim = (enum victim)victim,
                                               .at = at},
                                 &again);
        print_message("%s has died: %u times the graph went on\n", victim_names[victim], amid[victim]);
    }
    print_message("%u of them coordinated besides; %u graphs were started again, as it was decided\n", coordinated,
                  again);
    assert_true(change != GOES || EACH_STEP != 1 || coordinated >= STAY_SOME);
    for (int victim = change == IS_DIVIDED ? REPLICA : GIVER; victim < (change == IS_DIVIDED ? TAKER : VICTIMS);
         victim++)
        assert_in_range(amid[victim], change == GOES ? 2 : 1, steps);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void replicas_stay_while_a_partition_moves(void **state)
{
    (void)state;
    stays_at_each_step(GOES);
}

static void replicas_go_at_last_where_a_partition_is_joined(void **state)
{
    (void)state;
    stays_at_each_step(IS_JOINED);
}

/* Nodes have not heard yet that replicas go, and the record has none any more. So they have to go, and others are made. */
static void replicas_go_though_their_move_is_refused_meanwhile(void **state)
{
    (void)state;
    stays_refused();
}

/* The copy of the one that gives has no place in the record from the decision on, and gets rows still. */
static void replicas_go_with_the_decision_where_a_partition_is_divided(void **state)
{
    (void)state;
    stays_at_each_step(IS_DIVIDED);
}

/* ---- partitions whose workers are lost ---- */

/* The simulation has no enclaves: what a partition does whose worker is gone is done to one that has a replica, or is one. */
static bool worker_is_lost(struct trial *trial, const struct graph_record *record)
{
    struct cluster *cluster = trial->cluster;
    struct pst_node *node = cluster->nodes[draw(trial, cluster->node_count)].node;
    struct hosted *hosted = node != NULL ? pst_node_hosted(node, query->name, record->start->incarnation) : NULL;
    if (hosted == NULL || !hosted->begun || hosted->run.instance_count == 0)
        return false;
    struct pst_ctx *ctx = hosted->run.instances[draw(trial, hosted->run.instance_count)];
    const struct moving *moving = record->moving;
    bool gives =
        pst_moves_under_way(record) && ctx->node_index == moving->operator_index && ctx->partition == moving->from;
    return !gives /* it might be decided when that is heard */ && !ctx->retired && !ctx->ended &&
           ctx->node->replicas > 1 && !pst_is_dead(ctx) && pst_partition_dies(ctx, PST_EIO, "a test has ended it");
}

/* Again and again, amid moves, too; the node that has the input or a sink is none the worse. */
static void workers_are_lost(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct trial trial = {.cluster = calloc(1, sizeof *trial.cluster)};
    struct cluster *cluster = trial.cluster;
    uint64_t next_ns = 0, lost = 0;
    bool ends = false; /* the replica's run had ended when it was heard */
    (void)snprintf(trial.what, sizeof trial.what, "%s, seed %llu, workers are lost", query->name,
                   (unsigned long long)seed);
    cluster_init_many(cluster, seed, CLUSTER_FEW_NODES, text, input);
    cluster->ends_ns = END_NS;
    cluster->elects = seed % 2 == 0;
    cluster->source = (uint32_t)draw(&trial, cluster->node_count);
    cluster->every_ns = 20 * MS + draw(&trial, 100 * MS);
    cluster->grow_ns = 2 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->client.movable = seed % 3 == 0 ? query->movable : NULL;
    cluster->client.graph_name = query->name;
    cluster->client.pause_ns = 1 + draw(&trial, 30 * MS);
    cluster_begin(cluster);
    while (!cluster->client.done || !is_settled(&trial)) {
        cluster_turn(cluster, trial.what);
        const struct graph_record *record = cluster_record(cluster);
        bool moves = record != NULL && pst_moves_under_way(record);
        /* where something is joined replicas may be about to go when it is heard */
        bool open = moves && !pst_moves_decided(record) && !record->moving->writes && !record->moving->written &&
                    !record->moving->copies_end;
        if (record != NULL && record->replaced_stored < lost) /* then all hear it, and its replica may be next */
            next_ns = cluster->net.now_ns + 50 * MS + draw(&trial, 100 * MS);
        ends |= record != NULL && record->replaced_stored < lost && pst_moves_any_ended(record);
        if (record == NULL || record->state != GRAPH_RUNNING || record->committing || cluster->net.now_ns < next_ns ||
            (moves && !open) || (!moves && cluster->client.movable != NULL && draw(&trial, 50) != 0) ||
            !worker_is_lost(&trial, record))
            continue;
        lost++;
        next_ns = UINT64_MAX;
        sums.deaths++;
        sums.gone_on += moves;
    }
    cluster_same(wanted, cluster, query->name, trial.what);
    moves_ended(cluster, trial.what, &sums.moves);
    moves_owners(cluster_record(cluster), trial.what);
    if (cluster_record(cluster)->start->incarnation != 1 && !ends)
        fail_msg("%s: the graph was started again", trial.what);
    sums.replaced += cluster_record(cluster)->start->start->n_replaced_partitions;
    sums.completed += cluster->completed;
    cluster_fini(cluster);
    free(cluster);
}

static void a_worker_that_is_lost_is_one_of_two(void **state)
{
    (void)state;
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t seeds = scene_seeds(SEEDS);
    query = &queries[0];
    sums = (struct sums){0};
    scene_text_replicated(query->path, query->movable, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        workers_are_lost(&wanted, &text, seed);
    print_message("%llu workers were lost, %llu of them amid a move, %llu were replaced; %llu replicas were made; %llu "
                  "checkpoints\n",
                  (unsigned long long)sums.deaths, (unsigned long long)sums.gone_on, (unsigned long long)sums.replaced,
                  (unsigned long long)sums.moves.copies, (unsigned long long)sums.completed);
    scene_fini(&wanted);
    pst_text_fini(&text);
    assert_true(seeds < MANY || (sums.replaced > 2 * seeds && sums.gone_on > 0 && sums.completed > seeds));
}

/* ---- a node that comes late, and moves there that are given up ---- */

enum { LATE = 3 };

/* A node comes when the graph runs, and something is to move there. */
struct late {
    struct cluster *cluster;
    const struct graph_record *record; /* NULL: nobody coordinates, or the graph does not run */
    struct graph_record *change;       /* the same */
    uint32_t at;                       /* how far the script is */
    bool up;
    char what[40], to[8];
    struct sim_job jobs[SIM_JOBS_MAX];
    uint32_t job_count;
};

static const Pst__MoveRecord *late_move(const struct late *late)
{
    const struct moving *moving = late->record != NULL ? late->record->moving : NULL;
    return moving != NULL && moving->now != NULL ? moving->now->message->move_record : NULL;
}

/* That it is given up is in the store, and who has a part in it was told. */
static bool late_drops(const struct late *late)
{
    const struct moving *moving = late_move(late) != NULL ? late->record->moving : NULL;
    return moving != NULL && moving->now->message->move_record->step == PST_MOVE_ABORTED && !moving->writes &&
           !moving->written && moving->stage != NO_STAGE;
}

static void ways(struct late *late, uint32_t node, bool cut)
{
    sim_net_cut(&late->cluster->net, 0, node, cut);
    sim_net_cut(&late->cluster->net, node, 0, cut);
}

static void late_wish(struct late *late, const char *what, const char *to)
{
    (void)snprintf(late->what, sizeof late->what, "%s", what);
    (void)snprintf(late->to, sizeof late->to, "%s", to);
    memcpy(late->cluster->client.wish, (const char *[3]){"move", late->what, late->to},
           sizeof late->cluster->client.wish);
}

static struct pst_node *coordinator_of(const struct late *late)
{
    return late->cluster->nodes[cluster_coordinator(late->cluster)].node;
}

/* True: it has come. */
static bool late_comes(struct late *late)
{
    if (!late->up)
        cluster_up(late->cluster, LATE);
    late->up = true;
    return pst_coordinator_member(coordinator_of(late)->duty, "n3") != NULL;
}

/* The coordinator misses it and gives the move up. It is back before the others have answered that they have dropped it. */
static void away_step(struct late *late)
{
    struct sim_net *net = &late->cluster->net;
    const struct member *member = pst_coordinator_member(coordinator_of(late)->duty, "n3");
    const Pst__MoveRecord *move = late_move(late);
    bool others = false, done = true;
    if (late->at == 0 && late_comes(late)) {
        late_wish(late, "plug_load/0", "n3");
    } else if (late->at == 1 && move != NULL && move->step == PST_MOVE_COPYING && !late->record->moving->written) {
        ways(late, LATE, true);
    } else if (late->at == 2 && late->record->gone[pst_start_index(late->record->start->start, "n3")]) {
        others = true;
    } else if (late->at == 3 && late_drops(late)) {
        ways(late, LATE, false);
    } else if (late->at == 4 && member->alive && member->lost_ns == 0) {
        assert_true(late_drops(late));
        others = true;
    } else {
        done = false;
    }
    for (uint32_t i = 1; i < LATE && others; i++)
        sim_net_cut(net, 0, i, late->at == 2);
    late->at += done;
}

/* It has heard its Start, and its run has not begun when another coordinator gives the move up. */
static void begins_step(struct late *late)
{
    struct cluster_node *node = &late->cluster->nodes[LATE];
    if (late->at == 0 && late_comes(late)) {
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 1 && late_move(late) != NULL && node->node->beginning_count != 0 &&
               node->sim.job_count != 0) {
        memcpy(late->jobs, node->sim.jobs, node->sim.job_count * sizeof *late->jobs);
        late->job_count = node->sim.job_count;
        node->sim.job_count = 0;
        cluster_depose(late->cluster, cluster_coordinator(late->cluster), false);
        late->at++;
    } else if (late->at == 2 && late_drops(late)) {
        assert_int_equal(node->node->beginning_count, 1);
        assert_int_equal(node->sim.job_count, 0);
        memcpy(node->sim.jobs, late->jobs, late->job_count * sizeof *late->jobs);
        node->sim.job_count = late->job_count;
        late->at++;
    } else if (late->at == 3 && late_move(late) == NULL && !pst_moves_any_ended(late->record)) {
        late->at++;
    }
}

/* A move there is given up while others are told of moves before it, and not yet of the node. The next one finds them told of both. */
static void unknown_step(struct late *late)
{
    struct moving *moving = late->record->moving;
    bool moves = moving != NULL && moving->now != NULL;
    if (late->at == 0) {
        const struct moving *there = pst_moves_of(late->change);
        uint32_t n = 0;
        while (strcmp(late->change->graph->nodes[n].id, "house_load") != 0)
            n++;
        late_wish(late, "house_load/0", there->layouts[n]->node_of[0] == 0 ? "n2" : "n0");
        late->at++;
    } else if (late->at == 1 && moving != NULL && late->cluster->client.wish[0] == NULL && !moves && late_comes(late)) {
        assert_int_equal(late->cluster->client.wish_error, PST_OK);
        moving->known[2] = 0; /* as if that one had had no part in it */
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 2 && moves && !moving->writes && !moving->written && moving->stage == 0) {
        struct pst_text why = {0};
        assert_int_equal(pst_moves_cancel(coordinator_of(late), late->change, moving->now->message->move, &why),
                         PST_OK);
        pst_text_fini(&why);
        late->at++;
    } else if (late->at == 3 && late->cluster->client.wish[0] == NULL && !moves) {
        assert_int_not_equal(late->cluster->client.wish_error, PST_OK);
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 4 && late->cluster->client.wish[0] == NULL) {
        assert_int_equal(late->cluster->client.wish_error, PST_OK);
        late->at++;
    }
}

/* A node refuses with a sentence that is cut, where it is written down, within a character. */
static void refused_step(struct late *late)
{
    const Pst__MoveRecord *move = late_move(late);
    if (late->at == 0 && late_comes(late)) {
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 1 && move != NULL && move->step == PST_MOVE_COPYING && !late->record->moving->written) {
        char why[300] = "x";
        Pst__MoveStep body = PST__MOVE_STEP__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        for (size_t i = 1; i < 290; i += 3)
            memcpy(why + i, "\xe2\x82\xac", 3);
        body.step = PST__STEP__REFUSED;
        body.why = why;
        message.incarnation = late->record->start->incarnation;
        message.move = late->record->moving->now->message->move;
        message.body_case = PST__CONTROL__BODY_MOVE_STEP;
        message.move_step = &body;
        pst_moves_on(coordinator_of(late), late->change, "n3", &message);
        late->at++;
    } else if (late->at == 2 && move == NULL && !pst_moves_any_ended(late->record)) {
        late->at++;
    }
}

/* A node has dropped a move, and hears a step of it that was told before, once more. It has no part in it again. */
static void twice_step(struct late *late)
{
    struct pst_node *node = late->cluster->nodes[1].node;
    if (late->at == 3) {
        const struct hosted *hosted = pst_node_hosted(node, query->name, 1);
        Pst__MoveStep body = PST__MOVE_STEP__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        body.step = PST__STEP__ALONE;
        body.operator_id = (char *)(uintptr_t) "plug_load";
        message.graph = late->record->start->graph;
        message.incarnation = 1;
        message.move = pst_mover_last(hosted->mover);
        message.body_case = PST__CONTROL__BODY_MOVE_STEP;
        message.move_step = &body;
        pst_mover_on(node, &message);
        assert_false(pst_mover_busy(hosted->mover));
        late->at++;
    } else {
        refused_step(late);
    }
}

/* What a test of one that comes late wants otherwise. */
struct late_how {
    bool elects, poor; /* poor: it has no folder for checkpoints, and there are some */
    uint64_t state_budget;
};

static void late_run(const char *what, struct late_how how, void (*step)(struct late *late), uint32_t steps)
{
    struct scene wanted;
    struct pst_text text = {0};
    struct late late = {.cluster = calloc(1, sizeof *late.cluster)};
    struct cluster *cluster = late.cluster;
    struct moves_sums ended = {0};
    query = &queries[0];
    scene_text_of(query->path, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, query->path), PST_OK);
    cluster_init_many(cluster, scene_seed_first(), LATE + 1, &text, input);
    cluster->portion_bytes = 0;
    cluster->held_back = 1;
    cluster->elects = how.elects;
    cluster->poor = how.poor ? LATE + 1 : 0;
    cluster->every_ns = how.poor ? 100 * MS : 0;
    cluster->state_budget = how.state_budget;
    cluster->ends_ns = END_NS;
    cluster->dead_ns = 1000 * MS;
    cluster->source = 1;
    cluster->grow_ns = 8 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster_begin(cluster);
    while (!cluster->client.done) {
        cluster_turn(cluster, what);
        const struct graph_record *record = cluster_record(cluster);
        late.record = record != NULL && record->state == GRAPH_RUNNING ? record : NULL;
        if (late.record == NULL || !cluster->client.taken)
            continue;
        late.change = pst_coordinator_graph(coordinator_of(&late)->duty, query->name);
        step(&late);
    }
    assert_int_equal(late.at, steps);
    cluster_same(&wanted, cluster, query->name, what);
    moves_ended(cluster, what, &ended);
    assert_int_equal(ended.aborted, 1);
    assert_int_equal(cluster_record(cluster)->start->incarnation, 1);
    cluster_fini(cluster);
    scene_fini(&wanted);
    pst_text_fini(&text);
    free(cluster);
}

static void who_is_back_while_a_move_is_dropped_drops_it(void **state)
{
    (void)state;
    late_run("back while a move is dropped", (struct late_how){0}, away_step, 5);
}

static void who_has_not_begun_when_a_move_is_dropped_drops_it(void **state)
{
    (void)state;
    late_run("not begun when a move is dropped", (struct late_how){.elects = true}, begins_step, 4);
}

static void a_node_is_known_though_the_move_that_brought_it_was_given_up(void **state)
{
    (void)state;
    late_run("a node that is not known", (struct late_how){0}, unknown_step, 5);
}

static void a_sentence_that_is_cut_keeps_no_move_from_its_end(void **state)
{
    (void)state;
    late_run("a sentence that is cut", (struct late_how){0}, refused_step, 3);
}

static void a_move_that_was_dropped_does_not_begin_again(void **state)
{
    (void)state;
    late_run("a step that is told again", (struct late_how){0}, twice_step, 4);
}

/* The newest move was given up, for a reason that says so. */
static void late_says(const struct late *late, const char *what)
{
    const Pst__MoveRecord *last = late->record->past[late->record->past_count - 1]->message->move_record;
    assert_int_not_equal(late->cluster->client.wish_error, PST_OK);
    assert_int_equal(last->step, PST_MOVE_ABORTED);
    if (strstr(last->sentence, what) == NULL)
        fail_msg("given up: %s", last->sentence);
}

static int no_scratch(void *self, const char *directory, struct pst_file **ret_file)
{
    (void)self;
    (void)directory;
    (void)ret_file;
    return PST_EIO;
}

/* The lane's pages cannot be put aside there; when they can, the same goes there. */
static void spill_step(struct late *late)
{
    static int (*scratch)(void *self, const char *directory, struct pst_file **ret_file);
    struct pst_world *world = &late->cluster->nodes[LATE].sim.world;
    bool answered = late->cluster->client.wish[0] == NULL;
    if (late->at == 0 && late_comes(late)) {
        scratch = world->file_scratch;
        world->file_scratch = no_scratch;
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 1 && answered) {
        late_says(late, "node n3: cannot make a spill file in n3");
        world->file_scratch = scratch;
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 2 && answered) {
        assert_int_equal(late->cluster->client.wish_error, PST_OK);
        late->at++;
    }
}

static void a_lane_that_cannot_be_made_ends_its_move_alone(void **state)
{
    (void)state;
    late_run("a spill file that cannot be made", (struct late_how){.state_budget = 64 << 20}, spill_step, 3);
}

/* It was added to the graph, and its run cannot begin. What goes elsewhere goes on, and what has a choice does not choose it. */
static void poor_step(struct late *late)
{
    bool answered = late->cluster->client.wish[0] == NULL;
    if (late->at == 0 && late_comes(late)) {
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 1 && answered) {
        late_says(late, "node n3: graphs of this cluster have checkpoints, and this node has no folder");
        memcpy(late->cluster->client.wish, (const char *[3]){"scale", "plug_load", "12"},
               sizeof late->cluster->client.wish);
        late->at++;
    } else if (late->at == 2 && answered) {
        if (late->cluster->client.wish_error != PST_OK)
            fail_msg("%s", late->cluster->client.says);
        late->at++;
    }
}

static void a_node_that_cannot_begin_ends_its_move_alone(void **state)
{
    (void)state;
    late_run("a node that cannot begin", (struct late_how){.poor = true}, poor_step, 3);
}

/* A connection breaks amid one of the steps before checkpoints rest: while nodes are told of moves before, or of the one that is new, or that one
 * is told to begin. */
static struct {
    uint32_t stage, node;
} breaks;

static void break_step(struct late *late)
{
    const struct moving *moving = late->record->moving;
    bool moves = moving != NULL && moving->now != NULL;
    if (late->at < 2) {
        unknown_step(late);
    } else if (late->at == 2 && moves && !moving->writes && !moving->written && moving->stage == breaks.stage &&
               !moving->acked[breaks.node]) {
        sim_net_break(&late->cluster->net, 0, breaks.node);
        sim_net_break(&late->cluster->net, breaks.node, 0);
        late->at++;
    } else if (late->at == 3 && late->cluster->client.wish[0] == NULL && !moves) {
        late_says(late, "was away");
        late_wish(late, "plug_load/0", "n3");
        late->at++;
    } else if (late->at == 4 && late->cluster->client.wish[0] == NULL) {
        assert_int_equal(late->cluster->client.wish_error, PST_OK);
        late->at++;
    }
}

static void a_connection_that_breaks_before_checkpoints_rest_starts_nothing_again(void **state)
{
    (void)state;
    for (breaks.stage = 0; breaks.stage < 3; breaks.stage++) { /* know, admit, start */
        breaks.node = breaks.stage < 2 ? 2 : LATE;
        late_run("a connection breaks early", (struct late_how){0}, break_step, 5);
    }
}

/* Steps of a move that a node has no memory for: so many of them, and in each the n-th allocation from when it came. */
static struct {
    int (*receive)(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_byte_count);
    uint32_t left;
    uint64_t fail_at;
} shortage;

static bool is_step(const void *bytes, size_t byte_count)
{
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    bool step = pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message) == PST_OK &&
                message->body_case == PST__CONTROL__BODY_MOVE_STEP;
    pst_arena_fini(&arena);
    return step;
}

static int short_receive(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_byte_count)
{
    int rc = shortage.receive(self, conn, ret_bytes, ret_byte_count);
    if (rc == PST_OK && shortage.left != 0 && is_step(*ret_bytes, *ret_byte_count)) {
        shortage.left--;
        pst_malloc_fail_at(shortage.fail_at);
    }
    return rc;
}

/* The move comes to its end all the same, if need be when it is cancelled. */
static void node_is_short_of_memory(const struct pst_text *text, uint64_t fail_at)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    uint64_t since_ns = 0;
    bool over = false, cancelled = false;
    char what[40];
    (void)snprintf(what, sizeof what, "no memory, allocation %llu", (unsigned long long)fail_at);
    cluster_init_many(cluster, 1, 2, text, input);
    cluster->ends_ns = 2 * PATIENT_NS;
    cluster->grow_ns = 8 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    memcpy(cluster->client.wish, (const char *[3]){"scale", "plug_load", "16"}, sizeof cluster->client.wish);
    cluster_begin(cluster);
    shortage.receive = cluster->nodes[1].sim.world.net_receive;
    shortage.fail_at = fail_at;
    shortage.left = 2;
    cluster->nodes[1].sim.world.net_receive = short_receive;
    while (!over) {
        struct pst_text why = {0};
        cluster_turn(cluster, what);
        pst_malloc_fail_at(0);
        struct pst_node *node = cluster->nodes[0].node;
        struct graph_record *record = pst_coordinator_graph(node->duty, query->name);
        const struct moving *moving = record != NULL ? record->moving : NULL;
        bool moves = moving != NULL && moving->now != NULL;
        since_ns = moves && since_ns == 0 ? cluster->net.now_ns : since_ns;
        if (moves && !cancelled && cluster->net.now_ns > since_ns + 1000 * MS)
            cancelled = pst_moves_cancel(node, record, moving->now->message->move, &why) == PST_OK;
        over = since_ns != 0 && !moves && shortage.left == 0;
        pst_text_fini(&why);
    }
    cluster_fini(cluster);
    free(cluster);
}

static void a_node_without_memory_holds_up_no_move_for_good(void **state)
{
    (void)state;
    struct pst_text text = {0};
    query = &queries[0];
    scene_text_of(query->path, &text);
    for (uint64_t n = 1; n <= 8; n++)
        node_is_short_of_memory(&text, n);
    pst_text_fini(&text);
}

/* The next step of a node makes a lane: true: it was done, with the n-th allocation failing. */
static bool lane_is_made(struct cluster *cluster, uint64_t fail_at, bool *ret_failed)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct hosted *hosted = pst_node_hosted(cluster->nodes[i].node, query->name, 1);
        struct mover *mover = hosted != NULL ? hosted->mover : NULL;
        if (mover == NULL || mover->told != PST__STEP__PREPARE || mover->move.to_node != hosted->site.this_node ||
            hosted->run.hold == 0 || !pst_run_held(&hosted->run))
            continue;
        uint64_t before = pst_malloc_count();
        pst_malloc_fail_at(fail_at);
        pst_mover_step(cluster->nodes[i].node, hosted);
        *ret_failed = pst_malloc_count() >= before + fail_at;
        pst_malloc_fail_at(0);
        return true;
    }
    return false;
}

/* While a lane is made the n-th allocation fails, the operator's own too. False: there are not so many. */
static bool lane_is_short_of_memory(const struct pst_text *text, uint64_t budget, uint64_t fail_at)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    bool made = false, failed = false, over = false;
    char what[60];
    (void)snprintf(what, sizeof what, "a lane without memory, allocation %llu", (unsigned long long)fail_at);
    cluster_init_many(cluster, 1, 2, text, input);
    cluster->ends_ns = 2 * PATIENT_NS;
    cluster->state_budget = budget;
    cluster->grow_ns = 8 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    memcpy(cluster->client.wish, (const char *[3]){"scale", "plug_load", "16"}, sizeof cluster->client.wish);
    cluster_begin(cluster);
    while (!over) {
        cluster_turn(cluster, what);
        const struct graph_record *record = cluster_record(cluster);
        made = made || lane_is_made(cluster, fail_at, &failed);
        over = made && (record->moving == NULL || record->moving->now == NULL);
        if (made && (record->state != GRAPH_RUNNING || record->start->incarnation != 1))
            fail_msg("%s: the graph is %s: %s", what, pst_graph_state_names[record->state], record->why);
    }
    cluster_fini(cluster);
    free(cluster);
    return failed;
}

static void a_lane_without_memory_ends_its_move_alone(void **state)
{
    (void)state;
    struct pst_text text = {0};
    query = &queries[0];
    scene_text_of(query->path, &text);
    for (uint64_t budget = 0; budget <= 64 << 20; budget += 64 << 20) {
        uint64_t n = 1;
        while (lane_is_short_of_memory(&text, budget, n))
            n++;
        print_message("%llu allocations\n", (unsigned long long)n - 1);
        assert_true(n > 20);
    }
    pst_text_fini(&text);
}

/* No memory for what is to be written down when a move is given up: it is, or the graph has failed; it does not stand for good. */
static bool short_of_memory(const struct pst_text *text, uint64_t fail_at)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct pst_text why = {0};
    bool given_up = false, failed = false;
    cluster_init_many(cluster, 1, 2, text, input);
    cluster->ends_ns = PATIENT_NS;
    cluster->grow_ns = 8 * STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    memcpy(cluster->client.wish, (const char *[3]){"scale", "plug_load", "16"}, sizeof cluster->client.wish);
    cluster_begin(cluster);
    while (!failed) {
        cluster_turn(cluster, "no memory");
        struct pst_node *node = cluster->nodes[0].node;
        struct graph_record *record = pst_coordinator_graph(node->duty, query->name);
        struct moving *moving = record != NULL ? record->moving : NULL;
        bool moves = moving != NULL && moving->now != NULL;
        failed = record != NULL && record->state == GRAPH_FAILED && !record->committing;
        if (!given_up && moves && moving->now->message->move_record->step == PST_MOVE_COPYING && !moving->written) {
            pst_malloc_fail_at(fail_at);
            given_up = pst_moves_cancel(node, record, moving->now->message->move, &why) == PST_OK;
            pst_malloc_fail_at(0);
        } else if (given_up && !moves) {
            break;
        }
    }
    pst_text_fini(&why);
    cluster_fini(cluster);
    free(cluster);
    return failed;
}

static void without_memory_no_move_stands_for_good(void **state)
{
    (void)state;
    struct pst_text text = {0};
    uint32_t failed = 0;
    query = &queries[0];
    scene_text_of(query->path, &text);
    for (uint64_t n = 1; n <= 16; n++)
        failed += short_of_memory(&text, n);
    print_message("%u graphs of 16 have failed\n", failed);
    assert_in_range(failed, 1, 15);
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_move_outlives_its_coordinator),
        cmocka_unit_test(a_node_of_an_earlier_version_is_not_asked_again),
        cmocka_unit_test(a_coordinator_that_the_graph_does_not_need_may_die),
        cmocka_unit_test(replicas_take_over_amid_a_move),
        cmocka_unit_test(replicas_stay_while_a_partition_moves),
        cmocka_unit_test(replicas_go_at_last_where_a_partition_is_joined),
        cmocka_unit_test(replicas_go_though_their_move_is_refused_meanwhile),
        cmocka_unit_test(replicas_go_with_the_decision_where_a_partition_is_divided),
        cmocka_unit_test(a_worker_that_is_lost_is_one_of_two),
        cmocka_unit_test(a_drain_goes_on_under_the_next_coordinator),
        cmocka_unit_test(a_drain_waits_for_a_node_that_is_silent_at_that_moment),
        cmocka_unit_test(an_order_goes_on_under_the_next_coordinator),
        cmocka_unit_test(an_order_goes_on_when_its_coordinator_is_back),
        cmocka_unit_test(an_order_goes_on_when_a_node_has_died),
        cmocka_unit_test(an_order_that_is_out_of_date_is_forgotten),
        cmocka_unit_test(who_is_back_while_a_move_is_dropped_drops_it),
        cmocka_unit_test(who_has_not_begun_when_a_move_is_dropped_drops_it),
        cmocka_unit_test(a_node_is_known_though_the_move_that_brought_it_was_given_up),
        cmocka_unit_test(a_sentence_that_is_cut_keeps_no_move_from_its_end),
        cmocka_unit_test(a_move_that_was_dropped_does_not_begin_again),
        cmocka_unit_test(a_lane_that_cannot_be_made_ends_its_move_alone),
        cmocka_unit_test(a_lane_without_memory_ends_its_move_alone),
        cmocka_unit_test(a_node_that_cannot_begin_ends_its_move_alone),
        cmocka_unit_test(a_connection_that_breaks_before_checkpoints_rest_starts_nothing_again),
        cmocka_unit_test(a_node_without_memory_holds_up_no_move_for_good),
        cmocka_unit_test(without_memory_no_move_stands_for_good),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
