/* chaos.c - see chaos.h. */
#include "tests/sim/chaos.h"

#include "engine/checkpoint.h"
#include "engine/mover.h"
#include "engine/planted.h"
#include "tests/sim/cluster.h"
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

enum { QUERIES = 2, TEXTS = 3, FAULTS_MIN = 3, FAULTS_MORE = 4, STREAM_SECONDS = 150 };
enum { PLAYS_ONE_IN = 4, SEVERAL_ONE_IN = 3 };
#define MS UINT64_C(1000000)
#define STREAM_NS (1800 * MS)    /* of the input, as long as nothing is read again */
#define END_NS (200 * 1000 * MS) /* more than a move's deadline: a graph that has not ended then never will */
#define SETTLE_NS (20 * 1000 * MS)

static struct query {
    const char *path, *name, *periods, *value;
    const char *const movable[4];
    struct pst_text texts[TEXTS]; /* as it is; the last of them has replicas; all have */
    struct scene wanted[2];       /* of an input with dirt, and without: where several nodes read */
} queries[QUERIES] = {
    {.path = LOAD, .name = "load", .movable = {"plug_load", "house_load", NULL}},
    {.path = OUTLIERS, .name = "outliers", .movable = {"plug_above", "house_share", "median_all", NULL}},
};
static const struct query *query; /* that is run */
static bool several; /* its input is read by several nodes: no row is late, as it would be so by other rows */

struct chaos {
    struct cluster *cluster;
    uint64_t seed;
    char what[80];
    uint32_t faults_left, faults;
    bool singly;   /* buckets are handed over one by one, each at an end of an epoch of its own */
    uint32_t kept; /* blocks of which nodes that read still know where they began; 0: as many as always */
    bool
        impatient; /* nodes that read do not wait for a cut, or not for long: some have passed it when they hear of it */
    uint64_t next_ns, up_ns[CLUSTER_NODES_MAX],
        on_ns;          /* up: when a dead node comes back; on: when what is cut off is not any more */
    uint32_t from, to;  /* that is cut off: from == to: of all */
    const void *moving; /* the move that runs */
    uint64_t incarnation;
    size_t replaced; /* nodes, in it */
    struct chaos_sums *sums;
};

/* Epochs so short that a move has the end of one at any time. */
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

void chaos_init(void)
{
    for (uint32_t i = 0; i < QUERIES; i++) {
        query = &queries[i];
        const char *const *movable = query->movable;
        scene_text_of(query->path, &queries[i].texts[0]);
        scene_text_replicated(query->path, movable + 1, &queries[i].texts[1]);
        scene_text_replicated(query->path, movable, &queries[i].texts[2]);
        for (uint32_t k = 0; k < 2; k++) {
            struct scene *wanted = &queries[i].wanted[k];
            several = k != 0;
            scene_init(wanted, 1);
            input(wanted);
            scene_set(wanted, "partitions", "1");
            assert_int_equal(scene_run(wanted, query->path), PST_OK);
        }
    }
}

void chaos_fini(void)
{
    for (uint32_t i = 0; i < QUERIES; i++) {
        scene_fini(&queries[i].wanted[0]);
        scene_fini(&queries[i].wanted[1]);
        for (uint32_t t = 0; t < TEXTS; t++)
            pst_text_fini(&queries[i].texts[t]);
    }
}

static uint64_t draw(struct chaos *chaos, uint64_t below) { return sim_random(&chaos->cluster->random, below); }

/* ---- what is in the coordinator, and on nodes ---- */

/* NULL: there is no one node that coordinates at this moment. */
static struct graph_record *record_of(const struct cluster *cluster)
{
    struct graph_record *found = NULL;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        if (node == NULL || node->duty == NULL || node->duty->restore != RESTORE_DONE)
            continue;
        if (found != NULL)
            return NULL;
        found = pst_coordinator_graph(node->duty, query->name);
    }
    return found;
}

static void turns_shorten(const struct chaos *chaos)
{
    for (uint32_t i = 0; i < chaos->cluster->node_count; i++) {
        const struct pst_node *node = chaos->cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
            node->hosted[h]->run.turn_bytes_max = 1;
            node->hosted[h]->run.stand_rows_max = 0;
        }
    }
}

static void past_shortens(const struct chaos *chaos)
{
    for (uint32_t i = 0; i < chaos->cluster->node_count; i++) {
        const struct pst_node *node = chaos->cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++)
            if (node->hosted[h]->begun && node->hosted[h]->run.checkpoint != NULL)
                node->hosted[h]->run.checkpoint->past_kept = chaos->kept;
    }
}

static void waits_end(struct chaos *chaos)
{
    for (uint32_t i = 0; i < chaos->cluster->node_count; i++) {
        const struct pst_node *node = chaos->cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
            struct checkpoint *checkpoint = node->hosted[h]->run.checkpoint;
            if (node->hosted[h]->begun && checkpoint != NULL && atomic_load(&checkpoint->waits) != 0 &&
                draw(chaos, 4) == 0)
                checkpoint->waits_until_ns = 0;
        }
    }
}

/* A move that nodes take part in who have to be told of those before is given up, now and then, before all of them have been. */
static void cancel_early(struct chaos *chaos)
{
    const struct cluster *cluster = chaos->cluster;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct pst_node *node = cluster->nodes[i].node;
        struct graph_record *record =
            node != NULL && node->duty != NULL ? pst_coordinator_graph(node->duty, query->name) : NULL;
        struct moving *moving = record != NULL ? record->moving : NULL;
        struct pst_text why = {0};
        bool behind = false;
        if (moving == NULL || moving->now == NULL || moving->writes || moving->written ||
            record->state != GRAPH_RUNNING)
            continue;
        for (size_t k = 0; k < record->start->start->n_nodes; k++)
            behind |= moving->part[k] && record->started[k] && moving->known[k] + 1 < moving->now->message->move;
        if (behind && draw(chaos, 60) == 0)
            chaos->sums->early += pst_moves_cancel(node, record, moving->now->message->move, &why) == PST_OK;
        pst_text_fini(&why);
    }
}

static void look(struct chaos *chaos)
{
    cancel_early(chaos);
    if (chaos->singly)
        turns_shorten(chaos);
    if (chaos->impatient)
        waits_end(chaos);
    if (chaos->kept != 0)
        past_shortens(chaos);
    const struct graph_record *record = record_of(chaos->cluster);
    if (record != NULL) {
        const Pst__Start *start = record->start->start;
        size_t before = record->start->incarnation == chaos->incarnation ? chaos->replaced : 0;
        chaos->sums->replaced += start->n_replaced_nodes > before ? start->n_replaced_nodes - before : 0;
        chaos->incarnation = record->start->incarnation;
        chaos->replaced = start->n_replaced_nodes;
    }
    const void *now = record != NULL && record->moving != NULL ? record->moving->now : NULL;
    bool over = chaos->moving != NULL && now == NULL && record != NULL && record->state == GRAPH_RUNNING;
    chaos->moving = now;
    if (!over)
        return;
    chaos->sums->looked++;
    moves_clear(chaos->cluster, record, chaos->what);
}

/* ---- faults ---- */

static bool is_up(const struct chaos *chaos, uint32_t i)
{
    const struct cluster_node *node = &chaos->cluster->nodes[i];
    return node->node != NULL && node->sim.cut_step == 0;
}

static void cut(struct chaos *chaos, bool off)
{
    if (chaos->from == chaos->to)
        cluster_cut_off(chaos->cluster, chaos->from, off);
    else
        sim_net_cut(&chaos->cluster->net, chaos->from, chaos->to, off);
    chaos->on_ns = off ? chaos->cluster->net.now_ns + draw(chaos, chaos->cluster->cut_ns_max) : 0;
}

/* False: that one cannot be now. */
static bool fault(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    struct chaos_sums *sums = chaos->sums;
    uint32_t i = (uint32_t)draw(chaos, cluster->node_count), k = (uint32_t)draw(chaos, cluster->node_count);
    switch (draw(chaos, 8)) {
    case 0:
    case 1:
        if (!is_up(chaos, i))
            return false;
        cluster_kill(cluster, i);
        sums->kills++;
        return true;
    case 2: /* amid something that it does with its disk */
        if (!is_up(chaos, i))
            return false;
        cluster->nodes[i].sim.cut_step = cluster->nodes[i].sim.disk_steps + 1 + draw(chaos, 30);
        sums->kills++;
        return true;
    case 3:
        if (chaos->on_ns != 0)
            return false;
        chaos->from = i;
        chaos->to = draw(chaos, 2) == 0 ? i : k;
        cut(chaos, true);
        sums->cuts++;
        return true;
    case 4:
    case 5:
        if (i == k)
            return false;
        sim_net_break(&cluster->net, i, k);
        sim_net_break(&cluster->net, k, i);
        sums->breaks++;
        return true;
    case 6:
        if (!cluster->elects)
            return false;
        cluster_store_fault(cluster);
        sums->stores++;
        return true;
    default:
        if (!cluster->fed || (!several && cluster->player->replay == NULL))
            return false;
        cluster_player_kill(cluster);
        sums->players++;
        return true;
    }
}

static void dead_come_back(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    uint64_t now_ns = cluster->net.now_ns;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        if (cluster->nodes[i].node != NULL) {
            chaos->up_ns[i] = 0;
        } else if (chaos->up_ns[i] == 0) {
            chaos->up_ns[i] = now_ns + draw(chaos, 2 * cluster->dead_ns);
        } else if (now_ns >= chaos->up_ns[i]) {
            cluster_up(cluster, i);
        }
    }
    if (chaos->on_ns != 0 && now_ns >= chaos->on_ns)
        cut(chaos, false);
}

static void turn(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    cluster_turn(cluster, chaos->what);
    cluster_kill_amid(cluster);
    dead_come_back(chaos);
    cluster_player_look(cluster, chaos->what);
    look(chaos);
    if (chaos->faults_left == 0 || !cluster->client.taken || cluster->net.now_ns < chaos->next_ns)
        return;
    bool made = fault(chaos);
    chaos->faults_left -= made;
    chaos->faults += made;
    if (made)
        chaos->next_ns = cluster->net.now_ns + draw(chaos, STREAM_NS / FAULTS_MIN);
}

/* ---- the end ---- */

static bool is_settled(const struct chaos *chaos)
{
    const struct graph_record *record = record_of(chaos->cluster);
    bool settled = record != NULL && !record->committing && chaos->on_ns == 0;
    for (uint32_t i = 0; i < chaos->cluster->node_count; i++) {
        const struct pst_node *node = chaos->cluster->nodes[i].node;
        settled = settled && node != NULL && node->hosted_count + node->beginning_count + node->start_count == 0;
    }
    return settled;
}

static bool ends_in(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

/* The node of this folder has written two other parts since, so it has not died again between the first of them and clearing what it
 * was writing when it died. */
static bool was_cleared(const struct sim *shared, const char *part)
{
    size_t folder_bytes = (size_t)(strrchr(part, '/') - part) + 1;
    uint32_t since = 0;
    for (uint32_t i = 0; i < shared->file_count; i++) {
        const char *name = shared->files[i].there ? shared->files[i].name : "";
        since += strncmp(name, part, folder_bytes) == 0 && ends_in(name, ".manifest") && strcmp(name, part) > 0;
    }
    return since >= 2;
}

static void no_staging(const struct chaos *chaos)
{
    const struct sim *shared = &chaos->cluster->shared;
    for (uint32_t i = 0; i < shared->file_count; i++) {
        const char *name = shared->files[i].there ? shared->files[i].name : "";
        if (ends_in(name, ".part") && (!ends_in(name, ".manifest.part") || was_cleared(shared, name)))
            fail_msg("%s: %s is left", chaos->what, name);
    }
}

static void nothing_is_left(struct chaos *chaos)
{
    const struct cluster *cluster = chaos->cluster;
    const struct graph_record *record = record_of(cluster);
    const struct moving *moving = record->moving;
    if (record->state != GRAPH_DONE)
        fail_msg("%s: the graph is %s", chaos->what, pst_graph_state_names[record->state]);
    if (pst_moves_open(record) ||
        (moving != NULL && (moving->now != NULL || moving->order != NULL || moving->writes || moving->written)))
        fail_msg("%s: an order or a move is under way at the end", chaos->what);
    moves_owners(record, chaos->what);
    moves_no_order(cluster, chaos->what);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        for (uint32_t s = 0; s < NODE_SAVES_MAX; s++)
            assert_null(cluster->nodes[i].node->saves[s]);
    if (cluster->every_ns != 0)
        no_staging(chaos);
}

/* ---- a cluster ---- */

/* Streams that another node reads than the one whose they were at first. */
static uint64_t streams_elsewhere(const struct cluster *cluster)
{
    const Pst__Start *start = record_of(cluster)->start->start;
    uint64_t count = 0;
    for (size_t i = 0; i < start->n_streams; i++)
        count += strcmp(start->streams[i]->name, start->source_nodes[i]) != 0;
    return count;
}

static void sums_add(struct chaos_sums *sums, const struct chaos *chaos, const struct moves_sums *own)
{
    const struct cluster *cluster = chaos->cluster;
    sums->clusters++;
    sums->busy += own->done + own->aborted >= 2 && chaos->faults >= 2;
    sums->done += own->done;
    sums->aborted += own->aborted;
    sums->copies += own->copies;
    sums->asked += cluster->client.scaled + cluster->client.moved + cluster->client.spread + cluster->client.cancelled +
                   cluster->client.refused;
    sums->faults += chaos->faults;
    sums->lost += cluster->coordination.unknown;
    sums->restarts += cluster->client.incarnation - 1;
    sums->stopped += cluster->client.stopped;
    sums->submitted_from += cluster->client.submitted_from;
    sums->completed += cluster->completed;
    sums->several += several;
    sums->several_fed += several && cluster->fed;
    sums->read_elsewhere += streams_elsewhere(cluster);
    sums->several_completed += several ? cluster->completed : 0;
    sums->several_resumed += several ? cluster->resumed : 0;
    sums->passed += cluster->passed;
    sums->terms += cluster->terms;
    sums->turns += cluster->turns;
    sums->milliseconds += cluster->net.now_ns / MS;
}

static void begin(struct chaos *chaos)
{
    struct cluster *cluster = chaos->cluster;
    uint64_t seed = chaos->seed;
    several = seed / 4 % SEVERAL_ONE_IN == 0;
    cluster_init(cluster, seed, &query->texts[seed % 5 == 0 ? 1 : seed % 5 == 1 ? 2 : 0], input);
    cluster->ends_ns = END_NS;
    cluster->coordination.compares = !PST_PLANTED(NO_COMPARE);
    cluster->elects = seed % 2 == 0;
    cluster->source = (uint32_t)draw(chaos, cluster->node_count);
    cluster->every_ns = seed / 2 % 2 == 0 ? 20 * MS + draw(chaos, 200 * MS) : 0;
    cluster->fed = draw(chaos, PLAYS_ONE_IN) == 0;
    cluster->reader_count =
        several ? 2 + (cluster->node_count > 2 && seed / 24 % 2 == 0) : 0; /* there are three houses */
    if (several && seed / 48 % 2 == 0)                                     /* a house stays together */
        scene_set(&cluster->like, "bucket_by", "house_id");
    cluster->player->speed = STREAM_SECONDS * 1e9 / (double)STREAM_NS;
    cluster->grow_ns = STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->net.break_every = draw(chaos, 3) == 0 ? 3000 : 0;
    cluster->coordination.delay_us_max = 1 + (uint32_t)draw(chaos, 5000);
    cluster->coordination.unknown_per_1000 = cluster->elects && draw(chaos, 2) == 0 ? 100 : 0;
    for (uint32_t i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].sim.create_percent = draw(chaos, 4) == 0 ? 10 : 0;
    cluster->client.movable = query->movable;
    cluster->client.graph_name = query->name;
    cluster->client.pause_ns = 1 + draw(chaos, 40 * MS);
    cluster->client.stops = cluster->every_ns != 0 && seed / 4 % 2 == 0 ? 1 + (uint32_t)draw(chaos, 2) : 0;
    chaos->singly = draw(chaos, 4) == 0;
    chaos->impatient = several && seed / 12 % 3 == 0;
    if (chaos->impatient) /* and it takes its time until they hear */
        cluster->net.delay_ns_max = 1 + draw(chaos, 30 * MS);
    chaos->kept = several && seed / 12 % 3 == 1 ? 1 + (uint32_t)(seed / 36 % 3) : 0;
    chaos->faults_left = FAULTS_MIN + (uint32_t)draw(chaos, FAULTS_MORE);
    cluster_begin(cluster);
    chaos->next_ns = cluster->net.now_ns + draw(chaos, STREAM_NS / FAULTS_MIN);
}

static void one(const struct query *of, uint64_t seed, struct chaos_sums *sums)
{
    struct chaos chaos = {.cluster = calloc(1, sizeof *chaos.cluster), .seed = seed, .sums = sums};
    struct cluster *cluster = chaos.cluster;
    struct moves_sums own = {0};
    query = of;
    (void)snprintf(chaos.what, sizeof chaos.what, "%s, seed %llu", query->name, (unsigned long long)seed);
    begin(&chaos);
    while (!cluster->client.done || !cluster_players_ended(cluster)) {
        turn(&chaos);
        if (strstr(cluster->client.says, ": failed") != NULL)
            fail_msg("%s%s", chaos.what, strstr(cluster->client.says, ": failed"));
    }
    if (cluster->client.error != PST_OK)
        fail_msg("%s: %s", chaos.what, cluster->client.says);
    chaos.faults_left = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].sim.cut_step = 0;
    cluster->ends_ns = cluster->net.now_ns + SETTLE_NS;
    while (!is_settled(&chaos))
        turn(&chaos);
    cluster_same(&of->wanted[several], cluster, query->name, chaos.what);
    moves_ended(cluster, chaos.what, &own);
    nothing_is_left(&chaos);
    sums_add(sums, &chaos, &own);
    cluster_fini(cluster);
    free(cluster);
}

void chaos_seed(uint64_t seed, struct chaos_sums *sums)
{
    for (uint32_t i = 0; i < QUERIES; i++)
        one(&queries[i], seed, sums);
}
