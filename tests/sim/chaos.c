/* chaos.c - see chaos.h. */
#include "tests/sim/chaos.h"

#include "engine/checkpoint.h"
#include "engine/mover.h"
#include "engine/planted.h"
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

/* From a node whose replicas have taken over: what had come is worked off. */
static bool is_dead(const struct channel *channel) { return channel->producer == NULL && channel->far == NULL; }

static void instance_is_clear(const struct chaos *chaos, const struct pst_ctx *ctx)
{
    const char *left = pst_is_muted(ctx)                                     ? "a lane"
                       : ctx->giving != NULL                                 ? "a giver"
                       : ctx->filter != NULL && ctx->filter->open_moves != 0 ? "a record of what came"
                                                                             : NULL;
    for (uint32_t o = 0; o < ctx->node->output_count && ctx->outputs != NULL; o++)
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++)
            left = ctx->outputs[o].routes[r].branch != NULL ? "a branch" : left;
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        left = ctx->channels[c]->standby && !is_dead(ctx->channels[c]) ? "a channel on standby" : left;
    if (left != NULL)
        fail_msg("%s: a move has ended, and %s of %s/%u is left on node %s", chaos->what, left, ctx->node->id,
                 ctx->partition, ctx->run->site->name[ctx->run->site->this_node]);
}

static uint32_t place_in(const Pst__Start *start, const struct hosted *hosted)
{
    uint32_t i = 0;
    while (i < start->n_nodes && strcmp(start->nodes[i], hosted->site.name[hosted->site.this_node]) != 0)
        i++;
    return i;
}

/* A move has just ended, and its graph runs on. */
static void nodes_are_clear(const struct chaos *chaos, const struct graph_record *record)
{
    for (uint32_t i = 0; i < chaos->cluster->node_count; i++) {
        const struct pst_node *node = chaos->cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
            const struct hosted *hosted = node->hosted[h];
            if (hosted->incarnation != record->start->incarnation || !hosted->begun || hosted->superseded ||
                record->ended[place_in(record->start->start, hosted)])
                continue;
            if (pst_mover_busy(hosted->mover))
                fail_msg("%s: a move has ended, and a node takes part in it", chaos->what);
            for (uint32_t k = 0; k < hosted->run.instance_count; k++)
                if (!hosted->run.instances[k]->retired)
                    instance_is_clear(chaos, hosted->run.instances[k]);
        }
    }
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

static void look(struct chaos *chaos)
{
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
    nodes_are_clear(chaos, record);
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
        if (!cluster->fed || cluster->player.replay == NULL)
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

/* As the store has it. */
static void move_has_ended(struct chaos *chaos, const char *path, const void *bytes, size_t byte_count,
                           struct chaos_sums *own)
{
    struct pst_arena arena;
    Pst__Control *message;
    if (strncmp(path, "moves/", 6) != 0)
        return;
    pst_arena_init(&arena);
    assert_int_equal(pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message), PST_OK);
    const Pst__MoveRecord *move = message->move_record;
    own->done += move->step == PST_MOVE_DONE;
    own->aborted += move->step == PST_MOVE_ABORTED;
    own->copies += move->step == PST_MOVE_DONE && move->copies;
    if (move->step != PST_MOVE_DONE && move->step != PST_MOVE_ABORTED)
        fail_msg("%s: %s is %s at the end", chaos->what, path, pst_move_step_name((pst_move_step)move->step));
    if (move->step == PST_MOVE_ABORTED && strstr(move->sentence, "not the same on both sides") != NULL)
        fail_msg("%s: %s: %s", chaos->what, path, move->sentence);
    pst_arena_fini(&arena);
}

static void moves_have_ended(struct chaos *chaos, struct chaos_sums *own)
{
    const struct cluster *cluster = chaos->cluster;
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX && cluster->elects; i++) {
        const struct store_sim_record *record = &cluster->coordination.records[i];
        if (record->version != 0 && record->byte_count >= PST_STORE_MAC_BYTES)
            move_has_ended(chaos, record->path, record->bytes, record->byte_count - PST_STORE_MAC_BYTES, own);
    }
    for (uint32_t i = 0; !cluster->elects && cluster->store.records[i].version != 0; i++)
        move_has_ended(chaos, cluster->store.records[i].path, cluster->store.records[i].bytes.bytes,
                       cluster->store.records[i].bytes.count, own);
}

static void buckets_have_owners(const struct chaos *chaos, const struct graph_record *record)
{
    for (uint32_t n = 0; n < record->graph->node_count; n++) {
        const struct pst_graph_node *op = &record->graph->nodes[n];
        struct layout *layout = calloc(1, sizeof *layout);
        if (op->op->role == PST_ROLE_PLAIN)
            assert_int_equal(pst_layout_read(record->start->start, op, layout), PST_OK);
        for (uint32_t b = 0; op->op->role == PST_ROLE_PLAIN && b < op->bucket_count; b++)
            if (layout->of[b] >= layout->partition_count || layout->node_of[layout->of[b]] == UINT16_MAX)
                fail_msg("%s: bucket %u of %s has no owner", chaos->what, b, op->id);
        free(layout);
    }
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
    buckets_have_owners(chaos, record);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        for (uint32_t s = 0; s < NODE_SAVES_MAX; s++)
            assert_null(cluster->nodes[i].node->saves[s]);
    if (cluster->every_ns != 0)
        no_staging(chaos);
}

/* ---- a cluster ---- */

static void sums_add(struct chaos_sums *sums, const struct chaos *chaos, const struct chaos_sums *own)
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
    sums->completed += cluster->completed;
    sums->several += several;
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
    cluster->fed = draw(chaos, PLAYS_ONE_IN) == 0 && !several;
    cluster->reader_count =
        several ? 2 + (cluster->node_count > 2 && seed / 24 % 2 == 0) : 0; /* there are three houses */
    cluster->player.speed = STREAM_SECONDS * 1e9 / (double)STREAM_NS;
    cluster->grow_ns = STREAM_NS / scene_file(&cluster->like, "in.csv")->count;
    cluster->net.break_every = draw(chaos, 3) == 0 ? 3000 : 0;
    cluster->coordination.delay_us_max = 1 + (uint32_t)draw(chaos, 5000);
    cluster->coordination.unknown_per_1000 = cluster->elects && draw(chaos, 2) == 0 ? 100 : 0;
    for (uint32_t i = 0; i < cluster->node_count; i++)
        cluster->nodes[i].sim.create_percent = draw(chaos, 4) == 0 ? 10 : 0;
    cluster->client.movable = query->movable;
    cluster->client.graph_name = query->name;
    cluster->client.pause_ns = 1 + draw(chaos, 40 * MS);
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
    struct chaos_sums own = {0};
    query = of;
    (void)snprintf(chaos.what, sizeof chaos.what, "%s, seed %llu", query->name, (unsigned long long)seed);
    begin(&chaos);
    while (!cluster->client.done || (cluster->fed && !cluster->player.ended)) {
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
    moves_have_ended(&chaos, &own);
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
