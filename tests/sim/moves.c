/* moves.c - see moves.h. */
#include "tests/sim/moves.h"

#include "engine/mover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* From a node whose replicas have taken over: what had come is worked off. */
static bool is_dead(const struct channel *channel) { return channel->producer == NULL && channel->far == NULL; }

/* Of two replicas either counts, of which both are there. */
static bool is_paired(const struct pst_ctx *ctx, const struct channel *channel)
{
    uint32_t n = channel->producer_index, twin = channel->reader == 0 ? pst_twin(ctx->run, n, channel->from) : NO_TWIN;
    return twin == NO_TWIN || is_dead(channel) || (channel->twin != NULL && channel->twin->from == twin);
}

static void instance_is_clear(const struct pst_ctx *ctx, const char *what)
{
    const char *left = pst_is_muted(ctx)                                     ? "a lane"
                       : ctx->giving != NULL                                 ? "a giver"
                       : ctx->filter != NULL && ctx->filter->open_moves != 0 ? "a record of what came"
                                                                             : NULL;
    for (uint32_t o = 0; o < ctx->node->output_count && ctx->outputs != NULL; o++)
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++)
            left = ctx->outputs[o].routes[r].branch != NULL ? "a branch" : left;
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        left = ctx->channels[c]->standby && !is_dead(ctx->channels[c]) ? "a channel on standby"
               : !is_paired(ctx, ctx->channels[c])                     ? "a channel that has not its twin"
                                                                       : left;
    if (left != NULL)
        fail_msg("%s: a move has ended, and %s of %s/%u is left on node %s", what, left, ctx->node->id, ctx->partition,
                 ctx->run->site->name[ctx->run->site->this_node]);
}

static uint32_t place_in(const Pst__Start *start, const struct hosted *hosted)
{
    uint32_t i = 0;
    while (i < start->n_nodes && strcmp(start->nodes[i], hosted->site.name[hosted->site.this_node]) != 0)
        i++;
    return i;
}

/* Its run has ended, or the graph goes on without it, and it may not have heard that. */
static bool is_out(const struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    bool out = record->ended[index] || record->gone[index];
    for (size_t i = 0; i < start->n_left_nodes; i++)
        out |= start->left_nodes[i] == index;
    return out;
}

/* Whoever is taken to know all moves has each partition where the record has it. */
static void node_knows(const struct graph_record *record, const struct hosted *hosted, const char *what)
{
    const struct moving *moving = record->moving;
    uint32_t index = place_in(record->start->start, hosted);
    if (atomic_load(&hosted->run.finish)) /* at its end it passes over what it is told */
        return;
    if (moving == NULL || moving->now != NULL || record->past_count == 0 ||
        record->start->start->n_replaced_nodes != 0 || /* it may not have heard of a takeover */
        moving->known[index] != record->past[record->past_count - 1]->message->move)
        return;
    for (uint32_t n = 0; n < moving->layout_count; n++) {
        const struct layout *layout = moving->layouts[n];
        for (uint32_t p = 0; layout != NULL && p < layout->partition_count; p++) {
            bool is =
                pst_layout_owned(layout, record->graph->nodes[n].bucket_count, p) != 0 || layout->twin[p] != UINT16_MAX;
            uint16_t wanted = is ? layout->node_of[p] : UINT16_MAX, known = hosted->site.node_of_partition[n][p];
            const uint16_t *twin = hosted->run.twin[n];
            if (twin != NULL && is && twin[p] != layout->twin[p])
                fail_msg("%s: node %s takes %s/%u to have its replica in %u, and not in %u", what,
                         hosted->site.name[hosted->site.this_node], record->graph->nodes[n].id, p, twin[p],
                         layout->twin[p]);
            if (known != wanted)
                fail_msg("%s: node %s takes %s/%u to be on node %u, and not on %u", what,
                         hosted->site.name[hosted->site.this_node], record->graph->nodes[n].id, p, known, wanted);
        }
    }
}

void moves_clear(const struct cluster *cluster, const struct graph_record *record, const char *what)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        for (uint32_t h = 0; node != NULL && h < node->hosted_count; h++) {
            const struct hosted *hosted = node->hosted[h];
            if (hosted->incarnation != record->start->incarnation || !hosted->begun || hosted->superseded ||
                is_out(record, place_in(record->start->start, hosted)))
                continue;
            if (pst_mover_busy(hosted->mover))
                fail_msg("%s: a move has ended, and a node takes part in it", what);
            node_knows(record, hosted, what);
            for (uint32_t k = 0; k < hosted->run.instance_count; k++)
                if (!hosted->run.instances[k]->retired)
                    instance_is_clear(hosted->run.instances[k], what);
        }
    }
}

/* As the store has it. */
static void move_has_ended(const char *path, const void *bytes, size_t byte_count, const char *what,
                           struct moves_sums *sums)
{
    struct pst_arena arena;
    Pst__Control *message;
    if (strncmp(path, "moves/", 6) != 0)
        return;
    pst_arena_init(&arena);
    assert_int_equal(pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message), PST_OK);
    const Pst__MoveRecord *move = message->move_record;
    sums->done += move->step == PST_MOVE_DONE;
    sums->aborted += move->step == PST_MOVE_ABORTED;
    sums->copies += move->step == PST_MOVE_DONE && move->copies;
    if (move->step != PST_MOVE_DONE && move->step != PST_MOVE_ABORTED)
        fail_msg("%s: %s is %s at the end", what, path, pst_move_step_name((pst_move_step)move->step));
    if (move->step == PST_MOVE_ABORTED && strstr(move->sentence, "not the same on both sides") != NULL)
        fail_msg("%s: %s: %s", what, path, move->sentence);
    pst_arena_fini(&arena);
}

void moves_ended(const struct cluster *cluster, const char *what, struct moves_sums *sums)
{
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX && cluster->elects; i++) {
        const struct store_sim_record *record = &cluster->coordination.records[i];
        if (record->version != 0 && record->byte_count >= PST_STORE_MAC_BYTES)
            move_has_ended(record->path, record->bytes, record->byte_count - PST_STORE_MAC_BYTES, what, sums);
    }
    for (uint32_t i = 0; !cluster->elects && cluster->store.records[i].version != 0; i++)
        move_has_ended(cluster->store.records[i].path, cluster->store.records[i].bytes.bytes,
                       cluster->store.records[i].bytes.count, what, sums);
}

void moves_owners(const struct graph_record *record, const char *what)
{
    for (uint32_t n = 0; n < record->graph->node_count; n++) {
        const struct pst_graph_node *op = &record->graph->nodes[n];
        struct layout *layout = calloc(1, sizeof *layout);
        if (op->op->role == PST_ROLE_PLAIN)
            assert_int_equal(pst_layout_read(record->start->start, op, layout), PST_OK);
        for (uint32_t b = 0; op->op->role == PST_ROLE_PLAIN && b < op->bucket_count; b++)
            if (layout->of[b] >= layout->partition_count || layout->node_of[layout->of[b]] == UINT16_MAX)
                fail_msg("%s: bucket %u of %s has no owner", what, b, op->id);
        free(layout);
    }
}

void moves_no_order(const struct cluster *cluster, const char *what)
{
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX && cluster->elects; i++)
        if (cluster->coordination.records[i].version != 0 &&
            strncmp(cluster->coordination.records[i].path, "orders/", 7) == 0)
            fail_msg("%s: %s is left", what, cluster->coordination.records[i].path);
    for (uint32_t i = 0; !cluster->elects && cluster->store.records[i].version != 0; i++)
        if (strncmp(cluster->store.records[i].path, "orders/", 7) == 0)
            fail_msg("%s: %s is left", what, cluster->store.records[i].path);
}
