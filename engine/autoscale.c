/* autoscale.c - see mover.h: of operators that scale by themselves, what the nodes have told goes to scaler.c, and what that decides becomes
 * an order (orders.c), or with `mode: dry-run` a line of the log alone. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

#define LOOK_NS (UINT64_C(1000) * 1000 * 1000) /* as often as nodes tell */

struct autoscale { /* of one incarnation */
    uint64_t incarnation, look_ns, last_move;
    uint32_t count;
    struct scaler scalers[]; /* by operator */
};

void pst_autoscale_free(struct autoscale *autoscale) { pst_free(autoscale); }

static bool any_scales(const struct pst_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++)
        if (graph->nodes[n].autoscale.mode != PST_AUTOSCALE_OFF)
            return true;
    return false;
}

static void moved(struct autoscale *autoscale, uint64_t now_ns)
{
    for (uint32_t n = 0; n < autoscale->count; n++)
        pst_scaler_moved(&autoscale->scalers[n], now_ns);
}

/* An incarnation begins like a move ends: what it has to catch up on is no load. NULL: no memory. */
static struct autoscale *autoscale_of(struct graph_record *record, uint64_t now_ns)
{
    struct autoscale *autoscale = record->autoscale;
    uint32_t count = record->graph->node_count;
    if (autoscale == NULL) {
        autoscale = record->autoscale = pst_calloc(1, sizeof *autoscale + count * sizeof autoscale->scalers[0]);
        if (autoscale == NULL)
            return NULL;
        autoscale->count = count;
    }
    if (autoscale->incarnation != record->start->incarnation) {
        autoscale->incarnation = record->start->incarnation;
        moved(autoscale, now_ns);
    }
    return autoscale;
}

static bool is_moving(const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    return moving->now != NULL || moving->order != NULL || moving->writes || moving->written ||
           pst_moves_any_ended(record);
}

/* False: it is not known, or not any more. */
static bool partition_look(const struct graph_record *record, uint32_t n, uint32_t partition, uint64_t now_ns,
                           struct scaler_partition *ret_partition)
{
    uint32_t index = record->moving->layouts[n]->node_of[partition];
    const struct load *load = pst_load_find(&record->loads, false, index, n, partition);
    if (load == NULL || now_ns - load->heard_ns >= LOAD_STALE_NS || !pst_load_share(load, &ret_partition->busy))
        return false;
    ret_partition->number = partition;
    ret_partition->state_bytes = load->now.state_bytes;
    return true;
}

/* How many; 0: not all of them are known. */
static uint32_t partitions_look(const struct graph_record *record, uint32_t n, uint64_t now_ns,
                                struct scaler_partition *partitions)
{
    const struct layout *layout = record->moving->layouts[n];
    uint32_t count = 0;
    if (record->loads.incarnation != record->start->incarnation)
        return 0;
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        uint32_t owned = pst_layout_owned(layout, record->graph->nodes[n].bucket_count, p);
        if (owned == 0)
            continue;
        if (!partition_look(record, n, p, now_ns, &partitions[count]))
            return 0;
        partitions[count++].bucket_count = owned;
    }
    return count;
}

static void operator_step(struct pst_node *node, struct graph_record *record, uint32_t n, uint64_t now_ns)
{
    const struct pst_graph_node *op = &record->graph->nodes[n];
    const struct pst_autoscale *rule = &op->autoscale;
    struct scaler_partition *partitions = pst_calloc(pst_partition_numbers(op), sizeof *partitions);
    if (partitions == NULL)
        return; /* it is looked at again */
    struct scaler_view view = {.now_ns = now_ns, .moving = is_moving(record), .partitions = partitions};
    view.count = view.moving ? 0 : partitions_look(record, n, now_ns, partitions);
    struct scaler_decision decision = pst_scaler_look(&record->autoscale->scalers[n], rule, &view);
    bool dry = rule->mode == PST_AUTOSCALE_DRY_RUN;
    if (decision.news) {
        char why[240];
        pst_scaler_sentence(&decision, rule, why, sizeof why);
        if (decision.count != view.count)
            pst_node_log(node, "graph %s, %s, autoscale%s: %u -> %u partitions: %s", record->start->graph, op->id,
                         dry ? " (dry run)" : "", view.count, decision.count, why);
        else
            pst_node_log(node, "graph %s, %s, autoscale%s: it stays at %u partitions: %s", record->start->graph, op->id,
                         dry ? " (dry run)" : "", view.count, why);
    }
    if (!dry && decision.news && decision.count != view.count) {
        int rc = pst_order_autoscale(node, record, n, decision.count, partitions, view.count);
        if (rc != PST_OK)
            pst_node_log(node, "graph %s, %s, autoscale: not now: %s", record->start->graph, op->id,
                         pst_error_sentence(rc));
    }
    pst_free(partitions);
}

static void graph_step(struct pst_node *node, struct graph_record *record, uint64_t now_ns)
{
    struct autoscale *autoscale = autoscale_of(record, now_ns);
    uint64_t last_move = record->past_count != 0 ? record->past[record->past_count - 1]->message->move : 0;
    if (autoscale == NULL || pst_moves_of(record) == NULL)
        return;
    if (is_moving(record) || autoscale->last_move != last_move)
        moved(autoscale, now_ns);
    autoscale->last_move = last_move;
    if (now_ns < autoscale->look_ns)
        return;
    autoscale->look_ns = now_ns + LOOK_NS;
    for (uint32_t n = 0; n < record->graph->node_count; n++)
        if (record->graph->nodes[n].autoscale.mode != PST_AUTOSCALE_OFF)
            operator_step(node, record, n, now_ns);
}

void pst_autoscale_step(struct pst_node *node)
{
    uint64_t now_ns = node->world->now_ns(node->world->self);
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        if (record->state == GRAPH_RUNNING && !record->restored && any_scales(record->graph))
            graph_step(node, record, now_ns);
    }
}
