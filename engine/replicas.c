/* replicas.c - see mover.h: a partition that is to have a replica, and has none, gets one while the graph runs. So it is after a node's
 * replicas have taken over, when a node has come that there was none of before, and after moves, for which copies go. */
#include "engine/mover.h"

#include <string.h>

#define RETRY_NS (UINT64_C(10) * 1000 * 1000 * 1000)
#define DEADLINE_NS (UINT64_C(600) * 1000 * 1000 * 1000)

bool pst_replicas_matter(const struct pst_graph *graph, uint32_t n, uint32_t moved)
{
    const struct pst_graph_node *op = &graph->nodes[moved];
    bool matters = n == moved;
    for (uint32_t i = 0; i < op->input_count; i++)
        matters |= graph->nodes[op->inputs[i].producer].host == n;
    return matters && graph->nodes[n].replicas > 1;
}

/* Nothing else is decided about it, and all that take part can be told. */
static bool is_calm(const struct pst_node *node, const struct graph_record *record, uint64_t now_ns)
{
    const Pst__Start *start = record->start->start;
    bool calm = record->state == GRAPH_RUNNING && !record->restored && record->stop_to == NULL && !record->saving &&
                !pst_order_under_way(record) && !pst_moves_any_ended(record) && !pst_moves_any_dead(node, record) &&
                (record->unmoved_ns == 0 || now_ns >= record->unmoved_ns + RETRY_NS);
    for (uint32_t i = 0; i < start->n_nodes && calm; i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->nodes[i]);
        calm = record->left[i] || (member != NULL && member->alive && member->lost_ns == 0);
    }
    return calm;
}

static uint32_t place_count(const Pst__Start *start, const char *name)
{
    uint32_t count = 0;
    for (size_t i = 0; i < start->n_places; i++)
        count += strcmp(start->nodes[start->places[i]->node], name) == 0;
    return count;
}

/* The node with the fewest places of those that may get something and are not `except`; NULL: there is none. */
static const char *least(const struct pst_node *node, const struct graph_record *record, const char *except)
{
    const Pst__Start *start = record->start->start;
    const char *best = NULL;
    for (uint32_t i = 0; i < node->duty->member_count; i++) {
        const struct member *member = &node->duty->members[i];
        if (member->alive && member->lost_ns == 0 && pst_member_takes(member) && !record->unfit[i] &&
            strcmp(member->name, except) != 0 &&
            (best == NULL || place_count(start, member->name) < place_count(start, best)))
            best = member->name;
    }
    return best;
}

/* The first partition that is alone and could have a replica; false: there is none. */
static bool wish_find(const struct pst_node *node, struct graph_record *record, struct wish *ret_wish)
{
    const Pst__Start *start = record->start->start;
    const struct moving *moving = pst_moves_of(record);
    for (uint32_t n = 0; moving != NULL && n < moving->layout_count; n++) {
        const struct layout *layout = moving->layouts[n];
        for (uint32_t p = 0; record->graph->nodes[n].replicas > 1 && p < layout->partition_count; p++) {
            uint32_t count = pst_layout_owned(layout, record->graph->nodes[n].bucket_count, p);
            const char *to = NULL;
            if (count != 0 && layout->twin[p] == UINT16_MAX)
                to = least(node, record, start->nodes[layout->node_of[p]]);
            if (to == NULL)
                continue;
            *ret_wish = (struct wish){n, p, count, NO_PARTITION, to, NULL, true};
            return true;
        }
    }
    return false;
}

void pst_replicas_step(struct pst_node *node)
{
    uint64_t now_ns = node->world->now_ns(node->world->self);
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        struct wish wish;
        if (!is_calm(node, record, now_ns) || !wish_find(node, record, &wish))
            continue;
        int rc = pst_moves_begin(node, record, &wish, DEADLINE_NS);
        if (rc == PST_OK)
            continue;
        record->unmoved_ns = now_ns;
        pst_node_log(node, "graph %s: %s/%u gets no replica: %s", record->start->graph,
                     record->graph->nodes[wish.operator_index].id, wish.from, pst_error_sentence(rc));
    }
}
