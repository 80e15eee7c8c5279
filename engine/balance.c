/* balance.c - see mover.h: what `rebalance --by-load` goes by. How busy each bucket is, and what a node does besides, is looked at once, when
 * the order is given: what a move itself costs would else be evened out, too. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

enum { MOVES_A_NODE_MAX = 4 };

struct bucket_load {
    double busy, state_bytes;
};
struct balance {
    uint32_t moves_left;
    double fixed[NODE_MEMBERS_MAX]; /* by the graph's node: what cannot move, in processors */
    uint32_t operator_count;
    struct bucket_load *buckets[]; /* by operator; NULL: none of it moves */
};

void pst_balance_free(struct balance *balance)
{
    for (uint32_t n = 0; balance != NULL && n < balance->operator_count; n++)
        pst_free(balance->buckets[n]);
    pst_free(balance);
}

static bool moves(const struct pst_node *node, const struct graph_record *record, uint32_t n)
{
    return record->moving->layouts[n] != NULL && record->graph->nodes[n].bucket_count > 1 &&
           pst_order_can_move(node, record, n);
}

/* Sources and sinks, and operators of one bucket. */
static void fixed_look(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                       uint64_t now_ns)
{
    double busy;
    for (uint32_t i = 0; i < record->loads.capacity; i++) {
        const struct load *load = &record->loads.items[i];
        if (load->taken && !load->edge && load->operator_index < balance->operator_count &&
            load->node < NODE_MEMBERS_MAX && !moves(node, record, load->operator_index) &&
            pst_load_busy(load, now_ns, &busy))
            balance->fixed[load->node] += busy;
    }
}

/* False: one of its partitions has not told yet. */
static bool buckets_look(const struct graph_record *record, uint32_t n, struct bucket_load *buckets, uint64_t now_ns)
{
    const struct layout *layout = record->moving->layouts[n];
    uint32_t bucket_count = record->graph->nodes[n].bucket_count;
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        uint32_t owned = pst_layout_owned(layout, bucket_count, p);
        const struct load *load = pst_load_find(&record->loads, false, layout->node_of[p], n, p);
        double busy;
        if (owned == 0)
            continue;
        if (load == NULL || !pst_load_busy(load, now_ns, &busy))
            return false;
        for (uint32_t b = 0; b < bucket_count; b++)
            if (layout->of[b] == p)
                buckets[b] = (struct bucket_load){busy / owned, (double)load->now.state_bytes / owned};
    }
    return true;
}

int pst_balance_new(const struct pst_node *node, const struct graph_record *record, struct balance **ret_balance)
{
    uint32_t count = record->moving->layout_count;
    uint64_t now_ns = node->world->now_ns(node->world->self);
    struct balance *balance = pst_calloc(1, sizeof *balance + count * sizeof balance->buckets[0]);
    if (balance == NULL)
        return PST_ENOMEM;
    balance->operator_count = count;
    balance->moves_left = MOVES_A_NODE_MAX * node->duty->member_count;
    int rc = record->loads.incarnation == record->start->incarnation ? PST_OK : PST_ETIMEOUT;
    for (uint32_t n = 0; n < count && rc == PST_OK; n++) {
        if (!moves(node, record, n))
            continue;
        balance->buckets[n] = pst_calloc(record->graph->nodes[n].bucket_count, sizeof *balance->buckets[n]);
        if (balance->buckets[n] == NULL)
            rc = PST_ENOMEM;
        else if (!buckets_look(record, n, balance->buckets[n], now_ns))
            rc = PST_ETIMEOUT;
    }
    if (rc != PST_OK) {
        pst_balance_free(balance);
        return rc;
    }
    fixed_look(node, record, balance, now_ns);
    *ret_balance = balance;
    return PST_OK;
}

/* ---- the next move ---- */

struct balance_view { /* of nodes that may get something, and of what they have that may move */
    const struct member *members[NODE_MEMBERS_MAX];
    uint32_t index_of[NODE_MEMBERS_MAX]; /* by the graph's node: of `nodes`; SCALER_NONE: it gets nothing */
    struct scaler_node nodes[NODE_MEMBERS_MAX];
    uint32_t node_count, piece_count, piece_max;
    struct scaler_piece *pieces;
    struct whose {
        uint32_t operator_index, partition;
    } * whose; /* by piece */
};

static void nodes_view(const struct pst_node *node, const struct graph_record *record, const struct balance *balance,
                       struct balance_view *view)
{
    const Pst__Start *start = record->start->start;
    uint32_t workers = 0;
    for (uint32_t i = 0; i < NODE_MEMBERS_MAX; i++)
        view->index_of[i] = SCALER_NONE;
    for (uint32_t i = 0; i < node->duty->member_count; i++) {
        const struct member *member = &node->duty->members[i];
        if (!member->alive || member->lost_ns != 0 || !pst_member_takes(member) || record->unfit[i])
            continue;
        uint32_t at = view->node_count++, index = pst_start_index(start, member->name);
        view->members[at] = member;
        view->nodes[at].busy = index < start->n_nodes ? balance->fixed[index] : 0;
        view->nodes[at].part = member->workers != 0 ? member->workers : 1;
        workers += member->workers != 0 ? member->workers : 1;
        if (index < start->n_nodes)
            view->index_of[index] = at;
    }
    for (uint32_t i = 0; i < view->node_count; i++)
        view->nodes[i].part /= workers;
}

static void pieces_view(const struct graph_record *record, const struct balance *balance, struct balance_view *view)
{
    for (uint32_t n = 0; n < balance->operator_count; n++) {
        const struct layout *layout = record->moving->layouts[n];
        for (uint32_t p = 0; balance->buckets[n] != NULL && p < layout->partition_count; p++) {
            if (layout->node_of[p] == UINT16_MAX)
                continue; /* a number that no partition has at the moment */
            struct scaler_piece piece = {.node = view->index_of[layout->node_of[p]]};
            for (uint32_t b = 0; b < record->graph->nodes[n].bucket_count; b++) {
                if (layout->of[b] != p)
                    continue;
                piece.bucket_count++;
                piece.busy += balance->buckets[n][b].busy;
                piece.state_bytes += balance->buckets[n][b].state_bytes;
            }
            if (piece.bucket_count == 0 || piece.node == SCALER_NONE)
                continue;
            PST_ASSERT(view->piece_count < view->piece_max);
            view->nodes[piece.node].busy += piece.busy;
            view->whose[view->piece_count] = (struct whose){n, p};
            view->pieces[view->piece_count++] = piece;
        }
    }
}

static void view_free(struct balance_view *view)
{
    pst_free(view->pieces);
    pst_free(view->whose);
    pst_free(view);
}

/* NULL: no memory. */
static struct balance_view *view_new(const struct pst_node *node, const struct graph_record *record,
                                     const struct balance *balance)
{
    struct balance_view *view = pst_calloc(1, sizeof *view);
    if (view == NULL)
        return NULL;
    for (uint32_t n = 0; n < balance->operator_count; n++)
        view->piece_max += balance->buckets[n] != NULL ? record->moving->layouts[n]->partition_count : 0;
    view->pieces = pst_calloc(view->piece_max + 1, sizeof *view->pieces);
    view->whose = pst_calloc(view->piece_max + 1, sizeof *view->whose);
    if (view->pieces == NULL || view->whose == NULL) {
        view_free(view);
        return NULL;
    }
    nodes_view(node, record, balance, view);
    pieces_view(record, balance, view);
    return view;
}

static struct wish wish_of(const struct balance_view *view, const struct scaler_step *step)
{
    const struct whose *whose = &view->whose[step->from];
    uint32_t into = NO_PARTITION, into_count = UINT32_MAX;
    for (uint32_t i = 0; i < view->piece_count; i++) /* the smallest that the operator has there */
        if (view->whose[i].operator_index == whose->operator_index && view->pieces[i].node == step->into &&
            view->pieces[i].bucket_count < into_count) {
            into = view->whose[i].partition;
            into_count = view->pieces[i].bucket_count;
        }
    return (struct wish){
        whose->operator_index, whose->partition, step->count, into, view->members[step->into]->name, NULL, false};
}

bool pst_balance_next(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                      struct wish *ret_wish)
{
    struct balance_view *view = view_new(node, record, balance);
    struct scaler_step step;
    if (view == NULL)
        return false; /* it is as good as it is now */
    bool more = balance->moves_left != 0 &&
                pst_scaler_balance(view->nodes, view->node_count, view->pieces, view->piece_count, &step);
    if (more) {
        balance->moves_left--;
        *ret_wish = wish_of(view, &step);
    }
    view_free(view);
    return more;
}
