/* cluster_check.c - what has to hold after every event, and at the end. See cluster.h. */
#include "tests/migration/cluster.h"

#include <stdlib.h>
#include <string.h>

static void owners_check(struct cluster *cluster, const struct pst_owners *owners)
{
    if (owners->incarnation < cluster->incarnation_most)
        broken(cluster, "the incarnation goes back");
    cluster->recoveries += owners->incarnation > cluster->incarnation_most && cluster->incarnation_most != 0;
    cluster->incarnation_most = owners->incarnation;
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < pst_owners_bucket_count(owners, op); b++) {
            const struct pst_owner *owner = &owners->buckets[owners->first[op] + b];
            uint64_t who = 1 + owner->partition + 100 * (uint64_t)owners->partitions[owner->partition].node;
            if (owner->epoch < cluster->epoch_most[op][b])
                broken(cluster, "the owner epoch of %u.%u goes back", op, b);
            cluster->epoch_most[op][b] = owner->epoch;
            uint64_t *of = &cluster->owner_of[op][b][owner->epoch % 64];
            if (*of != 0 && *of >> 32 == owner->epoch && (*of & 0xffffffff) != who)
                broken(cluster, "%u.%u has two owners in epoch %llu", op, b, (unsigned long long)owner->epoch);
            *of = owner->epoch << 32 | who;
        }
}

static void move_check(struct cluster *cluster, const struct pst_move_record *record, uint64_t version)
{
    uint32_t i = 0;
    while (i < cluster->move_count && cluster->moves[i].id != record->id)
        i++;
    if (i == cluster->move_count) {
        PST_ASSERT(i < 64);
        cluster->moves[cluster->move_count++].id = record->id;
        if (record->step != PST_MOVE_INTENT)
            broken(cluster, "move %llu does not begin with INTENT", (unsigned long long)record->id);
    } else {
        pst_move_step from = cluster->moves[i].step;
        bool forward = (record->step > from && record->step <= PST_MOVE_DONE && from < PST_MOVE_DONE) ||
                       (record->step == PST_MOVE_COMMITTED && from == PST_MOVE_COMMITTED) ||
                       (record->step == PST_MOVE_ABORTED && from < PST_MOVE_COMMITTED);
        if (!forward || version <= cluster->moves[i].version)
            broken(cluster, "move %llu goes from %s to %s", (unsigned long long)record->id, pst_move_step_name(from),
                   pst_move_step_name(record->step));
    }
    cluster->moves[i].step = record->step;
    cluster->moves[i].version = version;
    cluster->done += record->step == PST_MOVE_DONE;
    cluster->aborted += record->step == PST_MOVE_ABORTED;
    cluster->whys[record->why]++;
}

void check_store(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count)
{
    struct cluster *cluster = self;
    struct pst_move_record record;
    traced(cluster, "store: %s is at %llu", path, (unsigned long long)version);
    if (version == 0)
        return;
    if (strncmp(path, "owners/", 7) == 0) {
        if (version <= cluster->owners_version)
            broken(cluster, "the owners' version goes back");
        cluster->owners_version = version;
        if (pst_owners_read(bytes, byte_count, cluster->owners) != PST_OK)
            broken(cluster, "the owners record cannot be read:\n%.250s", bytes);
        traced(cluster, "store: incarnation %llu%s", (unsigned long long)cluster->owners->incarnation,
               cluster->owners->running ? " runs" : "");
        owners_check(cluster, cluster->owners);
    } else if (strncmp(path, "moves/", 6) == 0) {
        if (pst_move_record_read(bytes, byte_count, &record) != PST_OK)
            broken(cluster, "a move record cannot be read:\n%.250s", bytes);
        move_check(cluster, &record, version);
    }
}

static uint64_t locked(const struct cluster *cluster, uint32_t op, uint32_t bucket)
{
    return cluster->owners->buckets[cluster->owners->first[op] + bucket].locked;
}

static void part_check(struct cluster *cluster, const struct node *node, const struct part *part)
{
    if (!part->lane)
        return;
    if (part->pending_rows > LANE_ROWS_MAX + 8 * ROWS_MAX && !part->speaks)
        broken(cluster, "node %u: %u rows wait in the lane of move %llu", node->index, part->pending_rows,
               (unsigned long long)part->move);
    for (uint32_t b = 0; b < BUCKETS; b++)
        if ((part->mine >> b & 1) != 0 && locked(cluster, part->op, b) != part->move)
            broken(cluster, "node %u has a lane of move %llu, and %u.%u is locked by %llu", node->index,
                   (unsigned long long)part->move, part->op, b, (unsigned long long)locked(cluster, part->op, b));
}

/* A node that cannot be reached may have a lane until it hears that the move is over. */
void check_all(struct cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        const struct node *node = &cluster->nodes[n];
        if (!node->up || node->incarnation != cluster->incarnation_most ||
            (node->cut_off_us != 0 && cluster->now_us < node->cut_off_us + 3000000))
            continue;
        for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
            if (node->parts[i] != NULL)
                part_check(cluster, node, node->parts[i]);
    }
}

static const char *node_rest(struct cluster *cluster, const struct node *node)
{
    if (!node->up)
        return NULL;
    if (node->incarnation != cluster->incarnation_most || !node->runs)
        return "a node does not run";
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++)
        if (node->players.players[i].all != NULL)
            return "a player is left";
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL && (node->parts[i]->lane || node->parts[i]->kept_count != 0))
            return "a lane, or kept output, is left";
    for (uint32_t n = 0; n < cluster->node_count; n++)
        if (cluster->nodes[n].up && cluster->links[node->index][n].kept_count != 0)
            return "a link keeps frames";
    return NULL;
}

const char *check_rest(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->command_count; i++)
        if (!cluster->commands[i].ended)
            return "a command has no end";
    for (uint32_t i = 0; i < cluster->move_count; i++)
        if (cluster->moves[i].step < PST_MOVE_DONE)
            return "a move has no end";
    if (!cluster->owners->running)
        return "the graph does not run";
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < pst_owners_bucket_count(cluster->owners, op); b++)
            if (locked(cluster, op, b) != 0)
                return "a lock is left";
    if (cluster->sink_bytes != cluster->model.sink_bytes)
        return "the sink is not complete";
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        const char *rest = node_rest(cluster, &cluster->nodes[n]);
        if (rest != NULL)
            return rest;
    }
    return NULL;
}
