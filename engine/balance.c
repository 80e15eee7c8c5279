/* balance.c - see mover.h: what `rebalance --by-load` and `--by-source` go by. How busy each bucket is, where its rows come from, and what a node
 * does besides, is looked at once, when the order is given: what a move itself costs would else be evened out, too.
 *
 * A bucket does as much of what its partition does as it gets of its rows, where nodes have told whose they are (dealt.c), else as much as any
 * other of it; of buckets of which few rows were seen, something between.
 *
 * By source, what an operator's buckets are to have is found first, for all operators at once, and then moved: all that goes from one partition to
 * one node is one move. An operator that gets its rows from buckets of its own numbers (nine of ten) goes along with the one that makes them:
 * where that one's buckets are to be is where its rows will come from. Of all others' rows it counts where they come from now: of an operator
 * behind one that moves, and is not divided alike, the next such order knows better. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <stdlib.h>
#include <string.h>

enum { MOVES_A_NODE_MAX = 4 };
enum { FEW_ROWS = 8 }; /* seen of a bucket say little: beside so many it counts as any other */

struct bucket_load {
    double busy, state_bytes;
};
struct balance {
    uint32_t moves_left;
    uint16_t **wanted;               /* by operator and bucket: the member that is to have it; NULL: by load */
    uint8_t marked[PST_BUCKETS_MAX]; /* of the next move */
    double fixed[NODE_MEMBERS_MAX];  /* by the graph's node: what cannot move, in processors */
    uint32_t operator_count;
    struct bucket_load *buckets[]; /* by operator; NULL: none of it moves */
};

void pst_balance_free(struct balance *balance)
{
    for (uint32_t n = 0; balance != NULL && n < balance->operator_count; n++) {
        pst_free(balance->buckets[n]);
        if (balance->wanted != NULL)
            pst_free(balance->wanted[n]);
    }
    if (balance != NULL)
        pst_free(balance->wanted);
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

/* ---- whose rows they get ---- */

static bool is_divided(const struct graph_record *record, uint32_t n, uint32_t input)
{
    return record->graph->nodes[n].inputs[input].key != NULL;
}

/* The operator that makes an input's rows: stages in between do not count. */
static uint32_t maker_of(const struct graph_record *record, uint32_t n, uint32_t input)
{
    return record->graph->nodes[record->graph->nodes[n].inputs[input].producer].host;
}

/* It has something of the operator that makes rows: a source, or partitions. */
static bool makes(const struct graph_record *record, uint32_t index, uint32_t maker)
{
    const Pst__Start *start = record->start->start;
    const struct layout *layout = record->moving->layouts[maker];
    for (uint32_t p = 0; layout != NULL && p < layout->partition_count; p++)
        if (layout->node_of[p] == index && pst_layout_owned(layout, record->graph->nodes[maker].bucket_count, p) != 0)
            return true;
    for (size_t i = 0; layout == NULL && i < start->n_places; i++)
        if (start->places[i]->node == index &&
            strcmp(start->places[i]->operator_id, record->graph->nodes[maker].id) == 0)
            return true;
    return false;
}

/* Twice: the first time may be of a moment in which it had hardly begun. */
static bool is_told(const struct dealt_told *dealt)
{
    return dealt != NULL && dealt->looks >= 2 && dealt->over_ms != 0;
}

/* Of ten seconds: nodes have told of times that differ. */
static double rows_dealt(const struct dealt_told *dealt, uint32_t bucket)
{
    return dealt->over_ms != 0 ? dealt->rows[bucket] * 1e4 / dealt->over_ms : 0;
}

/* Every node that makes rows for the operator has told whom it deals them to. */
static bool all_told(const struct graph_record *record, uint32_t n)
{
    for (uint32_t input = 0; input < record->graph->nodes[n].input_count; input++)
        for (uint32_t i = 0; is_divided(record, n, input) && i < record->start->start->n_nodes; i++)
            if (!record->left[i] && makes(record, i, maker_of(record, n, input)) &&
                !is_told(pst_dealt_find(&record->loads, i, n, input)))
                return false;
    return true;
}

/* Of the buckets of which it has seen any, more on the average than count for nothing. */
static bool is_clear(const struct dealt_told *dealt)
{
    uint64_t seen = 0;
    for (uint32_t b = 0; dealt != NULL && b < dealt->bucket_count; b++)
        seen += dealt->rows[b] != 0;
    return seen != 0 && dealt->all > FEW_ROWS * seen;
}

bool pst_balance_is_clear(const struct pst_node *node, const struct graph_record *record)
{
    bool clear = record->loads.incarnation == record->start->incarnation;
    for (uint32_t n = 0; clear && n < record->moving->layout_count; n++)
        for (uint32_t input = 0; moves(node, record, n) && input < record->graph->nodes[n].input_count; input++) {
            if (!is_divided(record, n, input) ||
                record->graph->nodes[maker_of(record, n, input)].op->role != PST_ROLE_SOURCE)
                continue;
            for (uint32_t i = 0; i < record->start->start->n_nodes && clear; i++)
                clear = record->left[i] || !makes(record, i, maker_of(record, n, input)) ||
                        is_clear(pst_dealt_find(&record->loads, i, n, input));
        }
    return clear;
}

/* On each bucket of the operator, by all nodes and inputs; not all told: none. */
static void rows_sum(const struct graph_record *record, uint32_t n, double *ret_rows)
{
    bool told = all_told(record, n);
    for (uint32_t i = 0; told && i < record->loads.dealt_count; i++) {
        const struct dealt_told *dealt = &record->loads.dealt[i];
        for (uint32_t b = 0; dealt->operator_index == n && b < dealt->bucket_count; b++)
            ret_rows[b] += rows_dealt(dealt, b);
    }
}

/* ---- what they do ---- */

/* False: one of its partitions has not told yet. rows: by bucket; those of a partition all 0: each counts alike. */
static bool buckets_look(const struct graph_record *record, uint32_t n, const double *rows, struct bucket_load *buckets,
                         uint64_t now_ns)
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
        double all = 0;
        for (uint32_t b = 0; b < bucket_count; b++)
            all += layout->of[b] == p ? rows[b] : 0;
        for (uint32_t b = 0; b < bucket_count; b++)
            if (layout->of[b] == p) {
                double share = (rows[b] + FEW_ROWS) / (all + (double)FEW_ROWS * owned);
                buckets[b] = (struct bucket_load){busy * share, (double)load->now.state_bytes * share};
            }
    }
    return true;
}

static int operator_look(const struct graph_record *record, uint32_t n, struct balance *balance, uint64_t now_ns)
{
    uint32_t bucket_count = record->graph->nodes[n].bucket_count;
    double *rows = pst_calloc(bucket_count, sizeof *rows);
    balance->buckets[n] = pst_calloc(bucket_count, sizeof *balance->buckets[n]);
    int rc = rows != NULL && balance->buckets[n] != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK)
        rows_sum(record, n, rows);
    if (rc == PST_OK && !buckets_look(record, n, rows, balance->buckets[n], now_ns))
        rc = PST_ETIMEOUT;
    pst_free(rows);
    return rc;
}

static int wanted_find(const struct pst_node *node, const struct graph_record *record, struct balance *balance);

int pst_balance_new(const struct pst_node *node, const struct graph_record *record, bool by_source,
                    struct balance **ret_balance)
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
        rc = by_source && !all_told(record, n) ? PST_ETIMEOUT : operator_look(record, n, balance, now_ns);
    }
    if (rc == PST_OK) {
        fixed_look(node, record, balance, now_ns);
        rc = by_source ? wanted_find(node, record, balance) : PST_OK;
    }
    if (rc != PST_OK) {
        pst_balance_free(balance);
        return rc;
    }
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

struct heavy { /* a bucket, by what it does */
    double busy;
    uint32_t bucket;
};

static int heavy_compare(const void *left, const void *right)
{
    const struct heavy *a = left, *b = right;
    if (a->busy != b->busy)
        return a->busy > b->busy ? -1 : 1;
    return a->bucket > b->bucket ? -1 : a->bucket < b->bucket;
}

/* Of a partition, those that do as much together as step->count of it do on the average, the busiest first; how many. */
static uint32_t mark_by_load(const struct graph_record *record, const struct balance_view *view,
                             const struct scaler_step *step, struct balance *balance)
{
    const struct whose *whose = &view->whose[step->from];
    const struct scaler_piece *piece = &view->pieces[step->from];
    const struct layout *layout = record->moving->layouts[whose->operator_index];
    struct heavy heavy[PST_BUCKETS_MAX];
    double wanted = piece->busy / piece->bucket_count * step->count, sum = 0;
    uint32_t count = 0, marked = 0;
    memset(balance->marked, 0, sizeof balance->marked);
    for (uint32_t b = 0; b < record->graph->nodes[whose->operator_index].bucket_count; b++)
        if (layout->of[b] == whose->partition)
            heavy[count++] = (struct heavy){balance->buckets[whose->operator_index][b].busy, b};
    qsort(heavy, count, sizeof *heavy, heavy_compare);
    for (uint32_t i = 0; i < count && heavy[i].busy > 0; i++) {
        if (sum + heavy[i].busy / 2 > wanted)
            continue;
        sum += heavy[i].busy;
        balance->marked[heavy[i].bucket] = 1;
        marked++;
    }
    return marked;
}

static struct wish wish_of(const struct balance_view *view, const struct scaler_step *step,
                           const struct balance *balance, uint32_t count)
{
    const struct whose *whose = &view->whose[step->from];
    uint32_t into = NO_PARTITION, into_count = UINT32_MAX;
    for (uint32_t i = 0; i < view->piece_count; i++) /* the smallest that the operator has there */
        if (view->whose[i].operator_index == whose->operator_index && view->pieces[i].node == step->into &&
            view->pieces[i].bucket_count < into_count) {
            into = view->whose[i].partition;
            into_count = view->pieces[i].bucket_count;
        }
    return (struct wish){whose->operator_index,           whose->partition, count, into,
                         view->members[step->into]->name, balance->marked,  false};
}

static bool next_by_load(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                         struct wish *ret_wish)
{
    struct balance_view *view = view_new(node, record, balance);
    struct scaler_step step;
    if (view == NULL)
        return false; /* it is as good as it is now */
    bool more = balance->moves_left != 0 &&
                pst_scaler_balance(view->nodes, view->node_count, view->pieces, view->piece_count, &step);
    uint32_t count = more ? mark_by_load(record, view, &step, balance) : 0;
    if (count != 0) {
        balance->moves_left--;
        *ret_wish = wish_of(view, &step, balance, count);
    }
    view_free(view);
    return count != 0;
}

/* ---- by source ---- */

/* The operator whose buckets it goes along with, itself where it does not. `leads`: of those before it. */
static uint32_t lead_of(const struct graph_record *record, const struct balance *balance, const uint32_t *leads,
                        uint32_t n)
{
    uint32_t divided = 0, input = 0;
    uint64_t all = 0, along = 0;
    for (uint32_t i = 0; i < record->graph->nodes[n].input_count; i++)
        if (is_divided(record, n, i)) {
            divided++;
            input = i;
        }
    uint32_t maker = divided == 1 ? maker_of(record, n, input) : n;
    if (maker == n || balance->buckets[maker] == NULL ||
        record->graph->nodes[maker].bucket_count != record->graph->nodes[n].bucket_count)
        return n;
    for (uint32_t i = 0; i < record->loads.dealt_count; i++) {
        const struct dealt_told *dealt = &record->loads.dealt[i];
        all += dealt->operator_index == n ? dealt->all : 0;
        along += dealt->operator_index == n ? dealt->along : 0;
    }
    return all != 0 && along * 10 >= all * 9 ? leads[maker] : n;
}

struct sources {             /* what pst_scaler_place() is asked */
    uint32_t *leads, *first; /* by operator; first: of a leading one, the place of its bucket 0 */
    uint32_t count;
    struct scaler_bucket *buckets;
    float *rows;
};

static void sources_fini(struct sources *sources)
{
    pst_free(sources->leads);
    pst_free(sources->first);
    pst_free(sources->buckets);
    pst_free(sources->rows);
}

static int sources_init(const struct graph_record *record, const struct balance *balance, uint32_t node_count,
                        struct sources *ret_sources)
{
    struct sources *s = ret_sources;
    *s = (struct sources){0};
    s->leads = pst_calloc(balance->operator_count + (size_t)1, sizeof *s->leads);
    s->first = pst_calloc(balance->operator_count + (size_t)1, sizeof *s->first);
    if (s->leads == NULL || s->first == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < balance->operator_count; n++) {
        s->leads[n] = balance->buckets[n] != NULL ? lead_of(record, balance, s->leads, n) : n;
        s->first[n] = s->count;
        if (balance->buckets[n] != NULL && s->leads[n] == n)
            s->count += record->graph->nodes[n].bucket_count;
    }
    s->buckets = pst_calloc(s->count + (size_t)1, sizeof *s->buckets);
    s->rows = pst_calloc((size_t)s->count * node_count + 1, sizeof *s->rows);
    return s->buckets != NULL && s->rows != NULL ? PST_OK : PST_ENOMEM;
}

static void sources_fill(const struct graph_record *record, const struct balance *balance,
                         const struct balance_view *view, struct sources *s)
{
    for (uint32_t n = 0; n < balance->operator_count; n++) {
        const struct layout *layout = record->moving->layouts[n];
        struct scaler_bucket *buckets = s->buckets + s->first[s->leads[n]];
        for (uint32_t b = 0; balance->buckets[n] != NULL && b < record->graph->nodes[n].bucket_count; b++) {
            buckets[b].busy += balance->buckets[n][b].busy;
            if (s->leads[n] == n)
                buckets[b].node = view->index_of[layout->node_of[layout->of[b]]];
        }
    }
    for (uint32_t i = 0; i < record->loads.dealt_count; i++) {
        const struct dealt_told *dealt = &record->loads.dealt[i];
        uint32_t n = dealt->operator_index, at = view->index_of[dealt->node];
        if (at == SCALER_NONE || balance->buckets[n] == NULL || s->leads[n] != n)
            continue;
        for (uint32_t b = 0; b < dealt->bucket_count; b++)
            s->rows[((size_t)s->first[n] + b) * view->node_count + at] += (float)rows_dealt(dealt, b);
    }
}

/* Buckets of which no row was seen stay where they are: what they count for is a guess. */
static void silent_keep(uint32_t node_count, struct sources *s)
{
    for (uint32_t b = 0; b < s->count; b++) {
        float all = 0;
        for (uint32_t n = 0; n < node_count; n++)
            all += s->rows[(size_t)b * node_count + n];
        s->buckets[b].busy = all > 0 ? s->buckets[b].busy : 0;
    }
}

static int wanted_take(const struct pst_node *node, const struct graph_record *record, const struct balance_view *view,
                       const struct sources *s, struct balance *balance)
{
    balance->wanted = pst_calloc(balance->operator_count + (size_t)1, sizeof *balance->wanted);
    for (uint32_t n = 0; balance->wanted != NULL && n < balance->operator_count; n++) {
        const struct scaler_bucket *buckets = s->buckets + s->first[s->leads[n]];
        uint32_t bucket_count = record->graph->nodes[n].bucket_count;
        if (balance->buckets[n] == NULL)
            continue;
        balance->wanted[n] = pst_calloc(bucket_count, sizeof *balance->wanted[n]);
        if (balance->wanted[n] == NULL)
            return PST_ENOMEM;
        for (uint32_t b = 0; b < bucket_count; b++)
            balance->wanted[n][b] = buckets[b].node != SCALER_NONE
                                        ? (uint16_t)(view->members[buckets[b].node] - node->duty->members)
                                        : UINT16_MAX;
    }
    return balance->wanted != NULL ? PST_OK : PST_ENOMEM;
}

static int wanted_find(const struct pst_node *node, const struct graph_record *record, struct balance *balance)
{
    struct balance_view *view = pst_calloc(1, sizeof *view);
    struct sources sources = {0};
    int rc = view != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK) {
        nodes_view(node, record, balance, view);
        rc = sources_init(record, balance, view->node_count, &sources);
    }
    if (rc == PST_OK) {
        sources_fill(record, balance, view, &sources);
        silent_keep(view->node_count, &sources);
        rc = pst_scaler_place(view->nodes, view->node_count, sources.buckets, sources.count, sources.rows);
    }
    if (rc == PST_OK)
        rc = wanted_take(node, record, view, &sources, balance);
    sources_fini(&sources);
    pst_free(view);
    return rc;
}

/* The smallest that the operator has on this node, but for one; NO_PARTITION: it has none. */
static uint32_t smallest_on(const struct graph_record *record, uint32_t n, const char *name, uint32_t except)
{
    const struct layout *layout = record->moving->layouts[n];
    uint32_t best = NO_PARTITION, best_count = UINT32_MAX;
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        uint32_t count = pst_layout_owned(layout, record->graph->nodes[n].bucket_count, p);
        if (p != except && count != 0 && count < best_count &&
            strcmp(record->start->start->nodes[layout->node_of[p]], name) == 0) {
            best = p;
            best_count = count;
        }
    }
    return best;
}

/* What is to go from the partition to the first node that is to have something of it. */
static bool next_from(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                      uint32_t n, uint32_t p, struct wish *ret_wish)
{
    const struct layout *layout = record->moving->layouts[n];
    uint32_t count = 0, to = UINT16_MAX;
    memset(balance->marked, 0, sizeof balance->marked);
    for (uint32_t b = 0; b < record->graph->nodes[n].bucket_count; b++) {
        uint32_t wanted = balance->wanted[n][b];
        const struct member *member = &node->duty->members[wanted != UINT16_MAX ? wanted : 0];
        if (layout->of[b] != p || wanted == UINT16_MAX || (to != UINT16_MAX && wanted != to) || !member->alive ||
            member->lost_ns != 0 || !pst_member_takes(member) || record->unfit[wanted] ||
            strcmp(member->name, record->start->start->nodes[layout->node_of[p]]) == 0)
            continue;
        to = wanted;
        balance->marked[b] = 1;
        count++;
    }
    if (count == 0)
        return false;
    const char *name = node->duty->members[to].name;
    *ret_wish = (struct wish){n, p, count, smallest_on(record, n, name, p), name, balance->marked, false};
    return true;
}

static bool next_by_source(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                           struct wish *ret_wish)
{
    for (uint32_t n = 0; n < balance->operator_count; n++)
        for (uint32_t p = 0; balance->wanted[n] != NULL && p < record->moving->layouts[n]->partition_count; p++)
            if (next_from(node, record, balance, n, p, ret_wish))
                return true;
    return false;
}

bool pst_balance_is_by_source(const struct balance *balance) { return balance->wanted != NULL; }

bool pst_balance_next(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                      struct wish *ret_wish)
{
    return (balance->wanted != NULL ? next_by_source : next_by_load)(node, record, balance, ret_wish);
}
