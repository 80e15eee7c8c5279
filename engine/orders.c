/* orders.c - see mover.h: what commands that move partitions want, as one move after the other. Each graph works for one order at a time;
 * drain and rebalance are for all of them. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <inttypes.h>
#include <string.h>

#define DEADLINE_NS (UINT64_C(60) * 1000 * 1000 * 1000)
#define PROGRESS_NS (UINT64_C(1000) * 1000 * 1000)

static const char *const kind_names[] = {[ORDER_MOVE] = "move",
                                         [ORDER_SCALE] = "scale",
                                         [ORDER_DRAIN] = "drain",
                                         [ORDER_REBALANCE] = "rebalance",
                                         [ORDER_BY_SOURCE] = "rebalance"};

struct order {
    enum order_kind kind;
    uint64_t asked_by, request;
    bool told; /* that it waits for the store: nobody waits for it any more */
    bool json, progress;
    uint32_t operator_index, count;            /* SCALE: partitions that are wanted */
    struct wish wish;                          /* MOVE */
    char node[PST_CONTROL_NAME_BYTES_MAX + 1]; /* MOVE, DRAIN; of its own accord: GRAPH/OPERATOR */
    uint32_t graphs;                           /* that work for it */
    uint32_t wishes, moves;                    /* done; each of the former is one of the latter, or several */
    uint32_t begun, wanted;                    /* moves; wanted: as far as it is known before; 0: it is not */
    uint64_t buckets, bytes, longest_pause_ns, begun_ns, rows_lost;
    bool uncounted;       /* of a move it is not known how many rows were lost */
    uint64_t deadline_ns; /* of each move */
    struct piece {        /* by bucket: its part of what its partition did and had. NULL: nobody knows */
        double busy, state_bytes;
    } * pieces;                  /* SCALE, of its own accord */
    double target;               /* of it */
    uint32_t at_most;            /* wishes of it */
    bool stops;                  /* SCALE: stop and go, at once */
    struct pst_text relocations; /* what was done stop and go, as the answer has it; of an answer in JSON, objects */
    int error;
    char why[500];
};

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

/* ---- what is where ---- */

/* By name: buckets that a node has, of one operator or of all. */
struct shares {
    const char *name[NODE_MEMBERS_MAX];
    struct scaler_share of[NODE_MEMBERS_MAX];
    uint32_t count;
};

/* Of the nodes that may get something: they live, and are to have nothing less than they have. */
static void load_take(const struct pst_node *node, const struct graph_record *record, uint32_t operator_index,
                      struct shares *ret_load)
{
    const struct coordinator *duty = node->duty;
    const struct moving *moving = record->moving;
    const Pst__Start *start = record->start->start;
    *ret_load = (struct shares){0};
    for (uint32_t i = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        if (!member->alive || member->lost_ns != 0 || !pst_member_takes(member) || record->unfit[i])
            continue;
        uint32_t at = ret_load->count++;
        ret_load->name[at] = member->name;
        for (uint32_t n = 0; n < moving->layout_count; n++) {
            const struct layout *layout = moving->layouts[n];
            for (uint32_t b = 0; layout != NULL && b < record->graph->nodes[n].bucket_count; b++) {
                bool here = strcmp(start->nodes[layout->node_of[layout->of[b]]], member->name) == 0;
                ret_load->of[at].buckets += here;
                ret_load->of[at].of_operator += here && n == operator_index;
            }
        }
    }
}

/* The node that has the fewest of the operator's buckets, then of all; SCALER_NONE: there is none but `except`. */
static uint32_t least(const struct shares *load, const char *except)
{
    uint32_t without = 0;
    while (without < load->count && (except == NULL || strcmp(load->name[without], except) != 0))
        without++;
    return pst_scaler_least(load->of, load->count, without);
}

static uint32_t owned(const struct graph_record *record, uint32_t n, uint32_t partition)
{
    return pst_layout_owned(record->moving->layouts[n], record->graph->nodes[n].bucket_count, partition);
}

static const char *node_of(const struct graph_record *record, uint32_t n, uint32_t partition)
{
    return record->start->start->nodes[record->moving->layouts[n]->node_of[partition]];
}

/* The partition with the most or the fewest buckets, on a node or on any; NO_PARTITION: none is there but `except`. */
static uint32_t extreme(const struct graph_record *record, uint32_t n, bool most, const char *on, uint32_t except)
{
    uint32_t best = NO_PARTITION, best_count = 0;
    for (uint32_t p = 0; p < record->moving->layouts[n]->partition_count; p++) {
        uint32_t count = owned(record, n, p);
        if (count == 0 || p == except || (on != NULL && strcmp(on, node_of(record, n, p)) != 0))
            continue;
        if (best == NO_PARTITION || (most ? count > best_count : count < best_count)) {
            best = p;
            best_count = count;
        }
    }
    return best;
}

/* One with buckets on this node that has no replica elsewhere: others need not move. */
static uint32_t alone_on(const struct graph_record *record, uint32_t n, const char *on)
{
    const struct layout *layout = record->moving->layouts[n];
    for (uint32_t p = 0; p < layout->partition_count; p++)
        if (owned(record, n, p) != 0 && layout->twin[p] == UINT16_MAX && strcmp(on, node_of(record, n, p)) == 0)
            return p;
    return NO_PARTITION;
}

static bool takes(const struct pst_node *node, const char *name)
{
    const struct member *member = pst_coordinator_member(node->duty, name);
    return member != NULL && pst_member_takes(member);
}

/* What another partition may go into: the smallest, where it is on a node that may get something, as long as there is one. */
static uint32_t smallest_into(const struct pst_node *node, const struct graph_record *record, uint32_t n,
                              uint32_t except)
{
    uint32_t best = NO_PARTITION;
    for (uint32_t p = 0; p < record->moving->layouts[n]->partition_count; p++)
        if (p != except && owned(record, n, p) != 0 && takes(node, node_of(record, n, p)) &&
            (best == NO_PARTITION || owned(record, n, p) < owned(record, n, best)))
            best = p;
    return best != NO_PARTITION ? best : extreme(record, n, false, NULL, except);
}

/* What goes into another one: the smallest of those on nodes that are to have nothing, or else of all. */
static uint32_t smallest_from(const struct pst_node *node, const struct graph_record *record, uint32_t n)
{
    uint32_t best = NO_PARTITION;
    for (uint32_t p = 0; p < record->moving->layouts[n]->partition_count; p++)
        if (owned(record, n, p) != 0 && !takes(node, node_of(record, n, p)) &&
            (best == NO_PARTITION || owned(record, n, p) < owned(record, n, best)))
            best = p;
    return best != NO_PARTITION ? best : extreme(record, n, false, NULL, NO_PARTITION);
}

/* ---- the next move ---- */

/* Partitions with buckets, as the pieces make them. */
static uint32_t pieces_sum(const struct graph_record *record, const struct order *order,
                           struct scaler_partition *partitions)
{
    const struct layout *layout = record->moving->layouts[order->operator_index];
    uint32_t bucket_count = record->graph->nodes[order->operator_index].bucket_count, count = 0;
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        struct scaler_partition sum = {.number = p};
        double state_bytes = 0;
        for (uint32_t b = 0; b < bucket_count; b++) {
            if (layout->of[b] != p)
                continue;
            sum.bucket_count++;
            sum.busy += order->pieces[b].busy;
            state_bytes += order->pieces[b].state_bytes;
        }
        sum.state_bytes = (uint64_t)state_bytes;
        if (sum.bucket_count != 0)
            partitions[count++] = sum;
    }
    return count;
}

/* So that each gets like much to do. */
static bool next_by_load(const struct pst_node *node, const struct graph_record *record, const struct order *order,
                         struct wish *wish)
{
    uint32_t n = order->operator_index;
    struct scaler_partition *partitions =
        pst_calloc(pst_partition_numbers(&record->graph->nodes[n]), sizeof *partitions);
    struct scaler_step step;
    if (partitions == NULL)
        return false; /* it is as good as it is now */
    uint32_t count = pieces_sum(record, order, partitions);
    bool more =
        order->wishes < order->at_most && pst_scaler_step(partitions, count, order->count, order->target, &step);
    if (more) {
        struct shares load;
        load_take(node, record, n, &load);
        uint32_t from = partitions[step.from].number, wanted = step.count;
        uint32_t into = step.into != SCALER_NONE ? partitions[step.into].number : NO_PARTITION;
        uint32_t to = least(&load, NULL);
        more = into != NO_PARTITION || to != SCALER_NONE;
        if (into != NO_PARTITION && !takes(node, node_of(record, n, into))) { /* all of it goes the other way */
            more = wanted == owned(record, n, from) && takes(node, node_of(record, n, from));
            wanted = owned(record, n, into);
            from = into;
            into = partitions[step.from].number;
        }
        if (more)
            *wish = (struct wish){
                n, from, wanted, into, into != NO_PARTITION ? node_of(record, n, into) : load.name[to], NULL, false};
    }
    pst_free(partitions);
    return more;
}

bool pst_order_can_move(const struct pst_node *node, const struct graph_record *record, uint32_t n)
{
    return !record->graph->nodes[n].enclave || node->options.identity != NULL;
}

static bool next_of_scale(const struct pst_node *node, const struct graph_record *record, const struct order *order,
                          struct wish *wish)
{
    uint32_t n = order->operator_index;
    uint32_t now = pst_layout_serving(record->moving->layouts[n], record->graph->nodes[n].bucket_count);
    struct shares load;
    if (now == order->count)
        return false;
    load_take(node, record, n, &load);
    if (now < order->count) { /* half of the largest to whoever has least to do */
        uint32_t from = extreme(record, n, true, NULL, NO_PARTITION), to = least(&load, NULL);
        if (from == NO_PARTITION || to == SCALER_NONE || owned(record, n, from) < 2)
            return false;
        *wish = (struct wish){n, from, owned(record, n, from) / 2, NO_PARTITION, load.name[to], NULL, false};
        return true;
    }
    /* the smallest goes into the smallest of the others */
    uint32_t from = smallest_from(node, record, n), into = smallest_into(node, record, n, from);
    if (from == NO_PARTITION || into == NO_PARTITION)
        return false;
    *wish = (struct wish){n, from, owned(record, n, from), into, node_of(record, n, into), NULL, false};
    return true;
}

static bool next_of_drain(const struct pst_node *node, const struct graph_record *record, const struct order *order,
                          struct wish *wish)
{
    for (uint32_t n = 0; n < record->moving->layout_count && !takes(node, order->node); n++) {
        if (record->moving->layouts[n] == NULL || !pst_order_can_move(node, record, n))
            continue;
        struct shares load;
        uint32_t from = alone_on(record, n, order->node);
        if (from == NO_PARTITION)
            continue;
        load_take(node, record, n, &load);
        uint32_t to = least(&load, order->node);
        if (to == SCALER_NONE)
            return false;
        *wish = (struct wish){n, from, owned(record, n, from), NO_PARTITION, load.name[to], NULL, false};
        return true;
    }
    return false;
}

/* As pst_scaler_even() has it, from the largest partition there; of several it may take more than one. */
static bool next_of_rebalance(const struct pst_node *node, const struct graph_record *record, struct wish *wish)
{
    for (uint32_t n = 0; n < record->moving->layout_count; n++) {
        struct shares load;
        struct scaler_step step;
        uint32_t bucket_count = record->graph->nodes[n].bucket_count;
        if (record->moving->layouts[n] == NULL || bucket_count == 1 || !pst_order_can_move(node, record, n))
            continue;
        load_take(node, record, n, &load);
        uint32_t there = 0; /* what a node has that gets nothing stays out of it */
        for (uint32_t i = 0; i < load.count; i++)
            there += load.of[i].of_operator;
        if (!pst_scaler_even(load.of, load.count, there, &step))
            continue;
        uint32_t from = extreme(record, n, true, load.name[step.from], NO_PARTITION);
        if (from == NO_PARTITION)
            continue;
        uint32_t count = step.count < owned(record, n, from) ? step.count : owned(record, n, from);
        *wish = (struct wish){
            n, from, count, extreme(record, n, false, load.name[step.into], from), load.name[step.into], NULL, false};
        return true;
    }
    return false;
}

static bool next_wish(const struct pst_node *node, const struct graph_record *record, struct order *order,
                      struct wish *wish)
{
    switch (order->kind) {
    case ORDER_MOVE:
        *wish = order->wish;
        return order->wish.count != 0;
    case ORDER_SCALE:
        return order->pieces != NULL ? next_by_load(node, record, order, wish)
                                     : next_of_scale(node, record, order, wish);
    case ORDER_DRAIN:
        return next_of_drain(node, record, order, wish);
    case ORDER_REBALANCE:
    case ORDER_BY_SOURCE:
        return record->moving->balance != NULL ? pst_balance_next(node, record, record->moving->balance, wish)
                                               : next_of_rebalance(node, record, wish);
    }
    return false;
}

/* ---- what a node has that was drained ---- */

bool pst_order_stays(const struct pst_node *node, const struct graph_record *record, const Pst__Place *place)
{
    if (pst_relocates(node, record)) /* a file is where it is; without checkpoints all is */
        return record->start->start->checkpoint_every_ns == 0 ||
               ((!record->start->start->fed || pst_streams_any(record->start->start)) &&
                strcmp(record->graph->nodes[record->graph->source].id, place->operator_id) == 0);
    for (uint32_t n = 0; n < record->graph->node_count; n++)
        if (strcmp(record->graph->nodes[n].id, place->operator_id) == 0)
            return record->graph->nodes[n].op->role != PST_ROLE_PLAIN || !pst_order_can_move(node, record, n);
    return true;
}

static void stays_print(const struct graph_record *record, const Pst__Place *place, struct pst_text *text)
{
    const struct pst_graph *graph = record->graph;
    bool plain = false;
    for (uint32_t n = 0; n < graph->node_count; n++)
        plain |= graph->nodes[n].op->role == PST_ROLE_PLAIN && strcmp(graph->nodes[n].id, place->operator_id) == 0;
    if (plain)
        (void)pst_text_printf(text, "%s/%u of graph `%s` in its enclave", place->operator_id, place->partition,
                              record->start->graph);
    else
        (void)pst_text_printf(text, "%s `%s` of graph `%s`",
                              strcmp(graph->nodes[graph->source].id, place->operator_id) == 0 ? "the input" : "sink",
                              place->operator_id, record->start->graph);
}

/* Of all graphs that run: what stays as long as they do, or what could have moved. How many there are. */
static uint32_t places_list(const struct pst_node *node, const char *name, bool stay, struct pst_text *text)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        const struct graph_record *record = node->duty->graphs[i];
        const Pst__Start *start = record->start->start;
        bool runs = record->state == GRAPH_RUNNING || record->state == GRAPH_STARTING;
        for (size_t p = 0; runs && p < start->n_places; p++) {
            const Pst__Place *place = start->places[p];
            if (strcmp(start->nodes[place->node], name) != 0 || pst_order_stays(node, record, place) != stay)
                continue;
            (void)pst_text_printf(text, "%s", count++ != 0 ? ", " : "");
            if (stay)
                stays_print(record, place, text);
            else
                (void)pst_text_printf(text, "%s/%u of graph `%s`", place->operator_id, place->partition,
                                      record->start->graph);
        }
    }
    return count;
}

/* What is still there, and why. PST_OK: nothing is. */
static int drained(const struct pst_node *node, const struct order *order, struct pst_text *why)
{
    struct pst_text fixed = {0}, rest = {0};
    uint32_t fixed_count = places_list(node, order->node, true, &fixed),
             rest_count = places_list(node, order->node, false, &rest);
    int rc = order->error != PST_OK ? order->error : rest_count != 0 ? PST_ETIMEOUT : PST_EREFUSED;
    if (takes(node, order->node)) {
        (void)pst_text_printf(why, "node `%s` is not drained any more: that was taken back meanwhile", order->node);
        rc = PST_EREFUSED;
    } else if (fixed_count + rest_count == 0) {
        rc = PST_OK;
    } else {
        (void)pst_text_printf(why, "node `%s` gets nothing any more, but is not empty", order->node);
        if (fixed_count != 0)
            (void)pst_text_printf(why, ": it has %s, which cannot move while the graph runs", fixed.bytes);
        if (rest_count != 0)
            (void)pst_text_printf(why, "%s %s %s moved: %s", fixed_count != 0 ? ";" : ":", rest.bytes,
                                  rest_count == 1 ? "has not" : "have not",
                                  order->why[0] != '\0' ? order->why : "give the command again when the graph runs");
    }
    pst_text_fini(&fixed);
    pst_text_fini(&rest);
    return rc;
}

/* ---- an order ---- */

/* A number, or that there is none. */
static const char *lost_text(char text[24], bool counted, uint64_t rows, bool json)
{
    (void)snprintf(text, 24, "%" PRIu64, rows);
    return counted ? text : json ? "null" : "not counted";
}

static const char *s(uint64_t count) { return count == 1 ? "" : "s"; }

static void figures_line(const struct order *order, double seconds, struct pst_text *text)
{
    (void)pst_text_printf(text, "%u move%s, %" PRIu64 " bucket%s, %" PRIu64 " byte%s, %.3f s", order->moves,
                          s(order->moves), order->buckets, s(order->buckets), order->bytes, s(order->bytes), seconds);
}

static void figures_print(const struct order *order, double seconds, struct pst_text *text)
{
    double pause = (double)order->longest_pause_ns / 1e9;
    char lost[24];
    (void)lost_text(lost, !order->uncounted, order->rows_lost, order->json);
    if (order->json) {
        (void)pst_text_printf(text,
                              "{\"schema_version\":1,\"moves\":%u,\"buckets\":%" PRIu64 ",\"bytes\":%" PRIu64
                              ",\"seconds\":%.3f,\"longest_pause_seconds\":%.6f,\"rows_lost\":%s",
                              order->moves, order->buckets, order->bytes, seconds, pause, lost);
    } else {
        figures_line(order, seconds, text);
        (void)pst_text_printf(text, ", longest pause %.6f s, rows lost %s\n", pause, lost);
    }
    if (order->json)
        (void)pst_text_printf(text, ",\"relocations\":[");
    if (order->relocations.count != 0)
        (void)pst_text_add(text, order->relocations.bytes, order->relocations.count);
    if (order->json)
        (void)pst_text_printf(text, "]");
    if (order->kind == ORDER_DRAIN && order->json)
        (void)pst_text_printf(text, ",\"node\":\"%s\",\"draining\":true", order->node);
    if (order->json)
        (void)pst_text_printf(text, ",\"error\":null}\n");
}

/* What is asked for is so already: a command that is given twice ends as the first one did. */
static void nothing_to_do(struct pst_node *node, const struct submission *asked, enum order_kind kind, const char *name,
                          const char *what)
{
    struct peer *peer = pst_peer_by_id(node, asked->asked_by);
    struct order order = {.kind = kind, .json = asked->json};
    struct pst_text text = {0};
    (void)snprintf(order.node, sizeof order.node, "%s", name);
    if (asked->json)
        figures_print(&order, 0, &text);
    else
        (void)pst_text_printf(&text, "%s: nothing to do\n", what);
    if (peer != NULL)
        pst_admin_reply(node, peer, asked->request, PST_OK, text.bytes, NULL);
    pst_text_fini(&text);
}

static void order_free(struct order *order)
{
    pst_text_fini(&order->relocations);
    pst_free(order->pieces);
    pst_free(order);
}

static void answer(struct pst_node *node, struct order *order)
{
    struct peer *peer = pst_peer_by_id(node, order->asked_by);
    double seconds = (double)(now_ns(node) - order->begun_ns) / 1e9;
    struct pst_text text = {0}, why = {0};
    char lost[24];
    int error = order->error;
    if (order->kind == ORDER_DRAIN && order->asked_by != 0 && error != PST_EINTERNAL)
        error = drained(node, order, &why);
    else if (error != PST_OK)
        (void)pst_text_printf(&why, "%s", order->why);
    if (order->asked_by == 0) {
        struct pst_text line = {0};
        figures_line(order, seconds, &line);
        pst_node_log(node, "%s, %s: %s, rows lost %s%s%s", order->node,
                     order->pieces != NULL ? "autoscale" : kind_names[order->kind],
                     line.bytes != NULL ? line.bytes : "", lost_text(lost, !order->uncounted, order->rows_lost, false),
                     error != PST_OK ? ": " : "", error != PST_OK ? order->why : "");
        pst_text_fini(&line);
    }
    if (error == PST_OK || (order->kind == ORDER_DRAIN && !order->json)) /* with --json there is one object */
        figures_print(order, seconds, &text);
    if (peer != NULL && !order->told)
        pst_admin_reply(node, peer, order->request, error, text.bytes,
                        error == PST_OK     ? NULL
                        : why.bytes != NULL ? why.bytes
                                            : pst_error_sentence(error));
    pst_text_fini(&text);
    pst_text_fini(&why);
    order_free(order);
}

/* ---- how far it is ---- */

static void progress_line(const struct graph_record *record, const struct order *order, const struct move_view *view,
                          const char *phase, struct pst_text *out)
{
    uint32_t index = record->moving->order_index;
    const char *id = record->graph->nodes[view->operator_index].id;
    (void)pst_text_printf(out, "move %u", index);
    if (order->wanted >= index)
        (void)pst_text_printf(out, " of %u", order->wanted);
    if (view->partition_count != 0)
        (void)pst_text_printf(out, ": %s in %u partitions", id, view->partition_count);
    else
        (void)pst_text_printf(out, ": %s %u -> %u on %s%s", id, view->from, view->to,
                              view->to_node[0] != '\0' ? "node " : "other nodes", view->to_node);
    if (view->place_count > 1 && view->partition_count == 0)
        (void)pst_text_printf(out, " and %u more", view->place_count - 1);
    (void)pst_text_printf(out, ": %s%s", view->relocates ? "stop and go, " : "", phase);
    if (view->bytes_total != 0)
        (void)pst_text_printf(out, ", %.1f of %.1f MB", (double)view->bytes / 1e6, (double)view->bytes_total / 1e6);
    (void)pst_text_printf(out, ", %.1f s", view->seconds);
    if (view->seconds_left >= 0)
        (void)pst_text_printf(out, ", up to %.1f s left", view->seconds_left);
}

static void progress_json(const struct graph_record *record, const struct order *order, const struct move_view *view,
                          const char *phase, struct pst_text *out)
{
    uint32_t index = record->moving->order_index;
    (void)pst_text_printf(out, "{\"schema_version\":1,\"progress\":{\"move\":%u,\"moves\":", index);
    (void)pst_text_printf(out, order->wanted >= index ? "%u" : "null", order->wanted);
    (void)pst_text_printf(
        out, ",\"id\":\"%s/%" PRIu64 "\",\"operator\":\"%s\",\"from_partition\":%u,\"to_partition\":%u",
        record->start->graph, view->id, record->graph->nodes[view->operator_index].id, view->from, view->to);
    (void)pst_text_printf(out,
                          ",\"to_node\":\"%s\",\"relocates\":%s,\"phase\":\"%s\",\"bytes\":%" PRIu64
                          ",\"bytes_total\":%" PRIu64 ",\"seconds\":%.3f,\"seconds_left_max\":",
                          view->to_node, view->relocates ? "true" : "false", phase, view->bytes, view->bytes_total,
                          view->seconds);
    (void)pst_text_printf(out, view->seconds_left >= 0 ? "%.3f}}" : "null}}", view->seconds_left);
}

/* phase: another one than the move shows; NULL: that one. */
static void progress_tell(struct pst_node *node, struct graph_record *record, const char *phase)
{
    struct moving *moving = record->moving;
    const struct order *order = moving->order;
    struct move_view view;
    struct pst_text text = {0};
    if (order == NULL || !order->progress || pst_moves_copies(moving) || !pst_moves_view(node, record, &view))
        return;
    phase = phase != NULL ? phase : view.phase;
    uint64_t due_ns = moving->said_ns + PROGRESS_NS, now = now_ns(node);
    bool same = moving->said_phase != NULL && strcmp(moving->said_phase, phase) == 0;
    if (same && now < due_ns) {
        (void)node->world->alarm(node->world->self, 0, due_ns);
        return;
    }
    moving->said_phase = phase;
    moving->said_ns = now;
    (void)node->world->alarm(node->world->self, 0, now + PROGRESS_NS);
    (order->json ? progress_json : progress_line)(record, order, &view, phase, &text);
    pst_admin_progress(node, order->asked_by, order->request, &text);
    pst_text_fini(&text);
}

void pst_orders_tell(struct pst_node *node, double silent_s)
{
    char why[240];
    (void)snprintf(why, sizeof why,
                   "the coordination store has not answered for %.0f s: what moves goes on when that does, if its time "
                   "lasts; `penstock migration ls` will show it",
                   silent_s);
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        const struct graph_record *record = node->duty->graphs[i];
        struct order *order = record->moving != NULL ? record->moving->order : NULL;
        struct peer *peer =
            order != NULL && !order->told && record->committing ? pst_peer_by_id(node, order->asked_by) : NULL;
        if (peer == NULL)
            continue;
        pst_admin_reply(node, peer, order->request, PST_ETIMEOUT, NULL, why);
        order->told = true;
        order->progress = false;
    }
}

/* Of a graph that was submitted with --by-source. The first look is when it is clear where rows come from, with little state to move: what
 * partitions do is not known well by then, and changes as windows fill. So it is looked again, twice, at what was told since all had moved. */
static const uint64_t by_source_after_ns[] = {0, UINT64_C(1000) * 1000 * 1000, UINT64_C(4000) * 1000 * 1000};
enum { BY_SOURCE_LOOKS = sizeof by_source_after_ns / sizeof by_source_after_ns[0] };

static void by_source_step(struct pst_node *node, struct graph_record *record)
{
    struct pst_text why = {0};
    const struct order_wanted wanted = {
        .kind = ORDER_REBALANCE, .by = REBALANCE_BY_SOURCE, .deadline_ns = DEADLINE_NS, .first = true};
    if (!record->start->start->by_source || record->state != GRAPH_RUNNING || record->restored || record->begins ||
        record->saving || record->stop_to != NULL)
        return;
    if (pst_order_under_way(record) || record->by_source.incarnation != record->start->incarnation) {
        record->by_source.looks *= record->by_source.incarnation == record->start->incarnation;
        record->by_source.incarnation = record->start->incarnation;
        record->by_source.since_ns = 0;
        return;
    }
    if (record->by_source.since_ns == 0) {
        record->by_source.since_ns = now_ns(node);
        pst_loads_anew(&record->loads);
    }
    if (now_ns(node) < record->by_source.since_ns + by_source_after_ns[record->by_source.looks] ||
        pst_moves_of(record) == NULL || !pst_balance_is_clear(node, record))
        return;
    bool last = record->by_source.looks + 1 == BY_SOURCE_LOOKS;
    record->start->start->by_source = !last; /* with the record of its first move */
    if (pst_order_again(node, record, &wanted, NULL, &why) == PST_OK) {
        record->by_source.looks++;
        record->by_source.since_ns = 0;
    } else {
        record->start->start->by_source = true;
    }
    pst_text_fini(&why);
}

void pst_orders_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        pst_kept_step(node, node->duty->graphs[i]);
        by_source_step(node, node->duty->graphs[i]);
        if (node->duty->graphs[i]->moving != NULL)
            progress_tell(node, node->duty->graphs[i], NULL);
    }
}

bool pst_order_keeps(const struct graph_record *record) { return record->moving->order->kind == ORDER_DRAIN; }

bool pst_order_leaves(const struct graph_record *record)
{
    return record->moving->order->kind == ORDER_DRAIN && record->moving->order->asked_by == 0;
}

void pst_order_begins(struct graph_record *record, uint32_t more)
{
    struct order *order = record->moving->order;
    record->moving->order_index = ++order->begun;
    record->moving->said_phase = NULL;
    order->wanted += order->wanted != 0 ? more : 0;
}

void pst_order_ends(struct pst_node *node, struct graph_record *record, bool done)
{
    progress_tell(node, record, done ? "done" : "given up");
}

static void balance_end(struct moving *moving)
{
    pst_balance_free(moving->balance);
    moving->balance = NULL;
}

/* A graph has no more to do for it. */
static void leave(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct order *order = record->moving->order;
    balance_end(record->moving);
    record->moving->order = NULL;
    if (error != PST_OK)
        record->unmoved_ns = now_ns(node);
    if (error != PST_OK && order->error == PST_OK) {
        order->error = error;
        (void)snprintf(order->why, sizeof order->why, "%s", why);
    }
    if (--order->graphs == 0)
        answer(node, order);
}

void pst_order_forget(struct moving *moving)
{
    if (moving->order != NULL && --moving->order->graphs == 0)
        order_free(moving->order);
    balance_end(moving);
    moving->order = NULL;
}

/* It has no next move, and is not what was wanted. */
static bool falls_short_of(const struct graph_record *record, const struct order *order)
{
    bool any = false;
    if (order->kind == ORDER_SCALE)
        return pst_layout_serving(record->moving->layouts[order->operator_index],
                                  record->graph->nodes[order->operator_index].bucket_count) != order->count;
    for (uint32_t n = 0; order->kind == ORDER_DRAIN && n < record->moving->layout_count; n++)
        any |= record->moving->layouts[n] != NULL && alone_on(record, n, order->node) != NO_PARTITION;
    return any;
}

/* The graph has done its part: where nothing of it is left on a node that is to have nothing it is not missed there. */
static void node_release(struct pst_node *node, struct graph_record *record, const struct order *order)
{
    uint32_t index = order->kind == ORDER_DRAIN ? pst_start_index(record->start->start, order->node) : 0;
    if (order->kind == ORDER_DRAIN && index < record->start->start->n_nodes && !record->left[index])
        (void)pst_coordinator_release(node, record, index);
}

/* Stop and go, once for an order. */
static void relocate(struct pst_node *node, struct graph_record *record)
{
    struct order *order = record->moving->order;
    bool drain = order->kind == ORDER_DRAIN && !takes(node, order->node);
    bool left = drain && pst_relocation_left(node, record, order->node);
    bool scale = order->kind == ORDER_SCALE, move = order->kind == ORDER_MOVE;
    bool wanted = !record->moving->relocated && (left || scale || (move && order->wish.count != 0));
    const struct wish scaled = {.operator_index = order->operator_index};
    int rc = wanted ? pst_relocation_begin(node, record,
                                           move    ? &order->wish
                                           : scale ? &scaled
                                                   : NULL,
                                           scale ? order->count : 0, order->node, order->deadline_ns)
                    : PST_OK;
    if (wanted && rc == PST_OK)
        return;
    if (rc != PST_OK && order->asked_by == 0)
        record->undrained = record->start->incarnation;
    if (rc == PST_OK)
        node_release(node, record, order);
    leave(node, record,
          rc != PST_OK ? rc
          : left       ? PST_EREFUSED
                       : PST_OK,
          rc == PST_EFULL ? "the graph has more places there than one relocation can have"
          : rc != PST_OK  ? pst_error_sentence(rc)
          : left          ? "there is no node for what is left: `penstock status` shows what is where"
                          : "");
}

static void go_on(struct pst_node *node, struct graph_record *record)
{
    struct order *order = record->moving->order;
    bool own_drain = order->kind == ORDER_DRAIN && order->asked_by == 0; /* it would end the same way again */
    struct wish wish;
    if (record->moving->now != NULL)
        return; /* a replica is being made: that is given up first */
    if (pst_relocates(node, record)) {
        relocate(node, record);
        return;
    }
    if (!next_wish(node, record, order, &wish)) {
        node_release(node, record, order); /* where replicas have all that is left there */
        bool falls_short = falls_short_of(record, order);
        record->undrained = falls_short && own_drain ? record->start->incarnation : record->undrained;
        leave(node, record, falls_short ? PST_EREFUSED : PST_OK,
              falls_short ? "there is no node, or no bucket, for what is left: `penstock status` shows what is where"
                          : "");
        return;
    }
    if (order->kind == ORDER_MOVE)
        order->wish.count = 0; /* that is all it wants */
    int rc = pst_portions_begin(node, record, &wish, order->deadline_ns);
    if (rc != PST_OK && own_drain)
        record->undrained = record->start->incarnation;
    if (rc != PST_OK)
        leave(node, record, rc,
              rc == PST_EFULL ? "every number of a partition is in use, or there are too many nodes"
                              : pst_error_sentence(rc));
}

/* Nothing more moves: whoever asked is to look first. */
static void lost_tell(struct pst_node *node, struct graph_record *record)
{
    const Pst__Control *last = record->past[record->past_count - 1]->message;
    char why[300];
    (void)snprintf(why, sizeof why,
                   "%" PRIu64 " rows were lost in move %.100s/%" PRIu64
                   ": what comes out behind operator `%.60s` is not complete. Please report it",
                   last->move_record->rows_lost - 1, record->start->graph, last->move, last->move_record->operator_id);
    leave(node, record, PST_EINTERNAL, why);
}

/* That it was no move while the stream ran on is not left unsaid. */
static void relocation_print(const struct graph_record *record, struct order *order, uint64_t pause_ns)
{
    struct pst_text *text = &order->relocations;
    if (!order->json) {
        (void)pst_text_printf(text,
                              "graph `%s` was relocated, stop and go: it stood still for %.3f s, and goes on from "
                              "checkpoint %016" PRIx64 " as incarnation %" PRIu64 "\n",
                              record->start->graph, (double)pause_ns / 1e9, record->start->start->checkpoint,
                              record->start->incarnation);
        return;
    }
    (void)pst_text_printf(text, "%s{\"graph\":", text->count != 0 ? "," : "");
    (void)pst_text_json(text, record->start->graph);
    (void)pst_text_printf(text,
                          ",\"pause_seconds\":%.6f,\"checkpoint\":\"%016" PRIx64 "\",\"incarnation\":%" PRIu64 "}",
                          (double)pause_ns / 1e9, record->start->start->checkpoint, record->start->incarnation);
}

void pst_order_on(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct order *order = record->moving->order;
    const struct portions *did = &record->moving->portions; /* some of it, where the rest could not be */
    order->wishes += error == PST_OK;
    order->moves += did->moves;
    order->buckets += did->buckets;
    order->bytes += did->bytes;
    order->longest_pause_ns =
        did->longest_pause_ns > order->longest_pause_ns ? did->longest_pause_ns : order->longest_pause_ns;
    order->rows_lost += did->rows_lost;
    order->uncounted |= did->uncounted;
    if (did->relocated)
        relocation_print(record, order, did->longest_pause_ns);
    if (record->past[record->past_count - 1]->message->move_record->rows_lost > 1) {
        lost_tell(node, record);
    } else if (error == PST_OK) {
        go_on(node, record);
    } else {
        leave(node, record, error, why);
    }
}

void pst_order_resume(struct pst_node *node, struct graph_record *record)
{
    if (record->moving->order != NULL)
        go_on(node, record);
}

static struct order *order_new(const struct pst_node *node, const struct submission *asked, enum order_kind kind)
{
    struct order *order = pst_calloc(1, sizeof *order);
    if (order == NULL)
        return NULL;
    order->kind = kind;
    order->asked_by = asked->asked_by;
    order->request = asked->request;
    order->json = asked->json;
    order->progress = asked->progress;
    order->deadline_ns = asked->deadline_ns != 0 ? asked->deadline_ns : DEADLINE_NS;
    order->begun_ns = now_ns(node);
    return order;
}

/* May this graph's partitions move now? */
static bool may_move(const struct pst_node *node, struct graph_record *record, struct pst_text *why)
{
    struct moving *moving = pst_moves_of(record);
    if (moving == NULL)
        (void)pst_text_printf(why, "no memory");
    else if (pst_moves_any_ended(record))
        (void)pst_text_printf(why, "graph `%s` is at its end", record->start->graph);
    else if (moving->now != NULL && !pst_moves_copies(moving))
        (void)pst_text_printf(why, "move %s/%" PRIu64 " runs already", record->start->graph,
                              moving->now->message->move);
    else if (pst_relocates(node, record) && record->start->start->checkpoint_every_ns == 0)
        (void)pst_text_printf(why,
                              "the rows of graph `%s` are sealed from end to end: its partitions go elsewhere from a "
                              "checkpoint alone, and it has none, as its nodes were started without --checkpoints",
                              record->start->graph);
    else if (pst_relocates(node, record) && record->stop_to != NULL)
        (void)pst_text_printf(why, "graph `%s` is being stopped", record->start->graph);
    else if (record->kept.found != NULL || moving->order != NULL ||
             (moving->now == NULL && (moving->writes || moving->written)))
        (void)pst_text_printf(why, "partitions of graph `%s` are being moved already", record->start->graph);
    else
        return true;
    return false;
}

/* Why there is none that may be moved: of an operator in enclaves how the cluster is set up is at fault. */
static int refusal(const struct pst_node *node, const struct graph_record *record, uint32_t n)
{
    bool cannot = record != NULL && !pst_relocates(node, record) && !pst_order_can_move(node, record, n);
    return cannot ? PST_EINVAL : PST_EREFUSED;
}

/* The graph that runs and has this operator, and may be moved; else NULL, and *ret_error. */
static struct graph_record *graph_of(struct pst_node *node, const char *operator_id, uint32_t *ret_operator,
                                     int *ret_error, struct pst_text *why)
{
    struct graph_record *found = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        for (uint32_t n = 0; record->state == GRAPH_RUNNING && n < record->graph->node_count; n++) {
            if (strcmp(record->graph->nodes[n].id, operator_id) != 0)
                continue;
            found = record;
            *ret_operator = n;
            count++;
        }
    }
    const struct pst_graph_node *op = count == 1 ? &found->graph->nodes[*ret_operator] : NULL;
    *ret_error = refusal(node, count == 1 ? found : NULL, *ret_operator);
    if (count != 1)
        (void)pst_text_printf(why,
                              count == 0 ? "no graph that runs has an operator `%s`"
                                         : "more than one graph that runs has an operator `%s`",
                              operator_id);
    else if (op->op->role != PST_ROLE_PLAIN)
        (void)pst_text_printf(why, "operator `%s` has no buckets that could move", operator_id);
    else if (!pst_relocates(node, found) && !pst_order_can_move(node, found, *ret_operator))
        (void)pst_text_printf(why,
                              "operator `%s` runs in enclaves, whose workers know each other's nodes by certificates "
                              "with Ed25519 keys, and this cluster has none: start its nodes with --tls",
                              operator_id);
    else if (may_move(node, found, why))
        return found;
    return NULL;
}

static void begin(struct pst_node *node, struct graph_record *record, struct order *order)
{
    order->graphs = 1;
    record->moving->order = order;
    record->kept.tries = 0;
    record->moving->relocated = false;
    record->moving->portions = (struct portions){0};
    go_on(node, record);
}

/* A node that may get something, by name. */
static struct member *target(struct pst_node *node, const char *name, struct pst_text *why)
{
    struct member *member = pst_coordinator_member(node->duty, name);
    if (member == NULL || !member->alive || member->lost_ns != 0)
        (void)pst_text_printf(why, "there is no node `%s` that is alive", name);
    else if (!pst_member_takes(member))
        (void)pst_text_printf(why, "node `%s` is being drained: it gets nothing any more", name);
    else
        return member;
    return NULL;
}

int pst_order_move(struct pst_node *node, const struct submission *asked, const char *what, const char *to,
                   struct pst_text *why)
{
    char id[PST_CONTROL_NAME_BYTES_MAX + 1];
    const char *slash = strrchr(what, '/');
    uint64_t partition = 0;
    uint32_t n = 0;
    if (slash == NULL || (size_t)(slash - what) >= sizeof id || pst_parse_u64(slash + 1, &partition) != PST_OK) {
        (void)pst_text_printf(why, "`%s` is no partition: OPERATOR/NUMBER is wanted, as status shows them", what);
        return PST_EINVAL;
    }
    (void)snprintf(id, sizeof id, "%.*s", (int)(slash - what), what);
    int error;
    struct graph_record *record = graph_of(node, id, &n, &error, why);
    if (record == NULL)
        return error;
    const struct layout *layout = record->moving->layouts[n];
    if (partition >= layout->partition_count || owned(record, n, (uint32_t)partition) == 0)
        (void)pst_text_printf(why, "operator `%s` has no partition %" PRIu64, id, partition);
    else
        (void)target(node, to, why);
    if (why->count != 0)
        return PST_EREFUSED;
    if (strcmp(node_of(record, n, (uint32_t)partition), to) == 0) {
        char is_there[2 * PST_CONTROL_NAME_BYTES_MAX + 60];
        (void)snprintf(is_there, sizeof is_there, "%s is on node %s already", what, to);
        nothing_to_do(node, asked, ORDER_MOVE, to, is_there);
        return PST_OK;
    }
    struct order *order = order_new(node, asked, ORDER_MOVE);
    if (order == NULL)
        return PST_ENOMEM;
    (void)snprintf(order->node, sizeof order->node, "%s", to);
    order->wish = (struct wish){
        n, (uint32_t)partition, owned(record, n, (uint32_t)partition), NO_PARTITION, order->node, NULL, false};
    order->wanted = 1;
    record->unfit[pst_coordinator_member(node->duty, to) - node->duty->members] = false; /* it is to be tried again */
    begin(node, record, order);
    return PST_OK;
}

int pst_order_scale(struct pst_node *node, const struct submission *asked, const char *what, uint32_t count,
                    struct pst_text *why)
{
    uint32_t n = 0;
    int error;
    struct graph_record *record = graph_of(node, what, &n, &error, why);
    if (record == NULL)
        return error;
    const struct pst_graph_node *op = &record->graph->nodes[n];
    uint32_t now = pst_layout_serving(record->moving->layouts[n], op->bucket_count);
    if (count == 0 || count > op->bucket_count)
        (void)pst_text_printf(why, "operator `%s` can have 1 to %u partitions, as it has so many buckets", op->id,
                              op->bucket_count);
    if (why->count != 0)
        return PST_EREFUSED;
    if (count == now) {
        char is_so[PST_CONTROL_NAME_BYTES_MAX + 60];
        (void)snprintf(is_so, sizeof is_so, "operator `%.200s` has %u partition%s already", op->id, now, s(now));
        nothing_to_do(node, asked, ORDER_SCALE, "", is_so);
        return PST_OK;
    }
    struct order *order = order_new(node, asked, ORDER_SCALE);
    if (order == NULL)
        return PST_ENOMEM;
    order->operator_index = n;
    order->count = count;
    order->stops = pst_relocates(node, record);
    order->wanted = order->stops ? 1 : count > now ? count - now : now - count;
    begin(node, record, order);
    return PST_OK;
}

int pst_order_autoscale(struct pst_node *node, struct graph_record *record, uint32_t n, uint32_t count,
                        const struct scaler_partition *partitions, uint32_t partition_count)
{
    struct pst_text why = {0};
    const struct pst_graph_node *op = &record->graph->nodes[n];
    bool may = !pst_relocates(node, record) && pst_order_can_move(node, record, n) && may_move(node, record, &why);
    pst_text_fini(&why);
    if (!may)
        return PST_EREFUSED;
    struct order *order = order_new(node, &(struct submission){0}, ORDER_SCALE);
    struct piece *pieces = order != NULL ? pst_calloc(op->bucket_count, sizeof *pieces) : NULL;
    if (pieces == NULL) {
        pst_free(order);
        return PST_ENOMEM;
    }
    const struct layout *layout = record->moving->layouts[n];
    for (uint32_t i = 0; i < partition_count; i++) {
        const struct scaler_partition *from = &partitions[i];
        for (uint32_t b = 0; b < op->bucket_count; b++)
            if (layout->of[b] == from->number)
                pieces[b] =
                    (struct piece){from->busy / from->bucket_count, (double)from->state_bytes / from->bucket_count};
    }
    (void)snprintf(order->node, sizeof order->node, "graph %.100s, %.100s", record->start->graph, op->id);
    order->operator_index = n;
    order->count = count;
    order->pieces = pieces;
    order->target = count > partition_count ? op->autoscale.target / 100.0 : 2;
    order->at_most = 2 * (count > partition_count ? count : partition_count);
    begin(node, record, order);
    return PST_OK;
}

/* Of those that can move. */
static uint32_t partitions_on(const struct graph_record *record, const char *name)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < record->moving->layout_count; n++)
        for (uint32_t p = 0; record->moving->layouts[n] != NULL && p < record->moving->layouts[n]->partition_count; p++)
            count += owned(record, n, p) != 0 && strcmp(node_of(record, n, p), name) == 0;
    return count;
}

static void begin_working(struct pst_node *node, struct order *order, struct graph_record *const *working,
                          uint32_t count)
{
    order->graphs = count + 1; /* and this one, so that it is not answered before all have begun */
    for (uint32_t i = 0; i < count; i++) {
        working[i]->moving->order = order;
        working[i]->kept.tries = 0;
        working[i]->moving->relocated = false;
        working[i]->moving->portions = (struct portions){0};
        order->wanted += order->kind != ORDER_DRAIN                           ? 0
                         : !pst_relocates(node, working[i])                   ? partitions_on(working[i], order->node)
                         : pst_relocation_left(node, working[i], order->node) ? 1
                                                                              : 0;
    }
    for (uint32_t i = 0; i < count; i++)
        go_on(node, working[i]);
    if (--order->graphs == 0)
        answer(node, order);
}

/* Every graph that runs works for it. */
static int begin_all(struct pst_node *node, struct order *order, enum rebalance by, struct pst_text *why)
{
    struct coordinator *duty = node->duty;
    struct graph_record *working[NODE_GRAPHS_MAX];
    const char *whole = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < duty->graph_count && why->count == 0; i++) {
        struct graph_record *record = duty->graphs[i];
        if (record->state == GRAPH_WAITING || record->state == GRAPH_STARTING)
            (void)pst_text_printf(why, "graph `%s` is %s: try again when it runs", record->start->graph,
                                  pst_graph_state_names[record->state]);
        else if (record->state == GRAPH_RUNNING && pst_relocates(node, record))
            whole = record->start->graph; /* it is not stopped for that */
        else if (record->state == GRAPH_RUNNING && !pst_moves_any_ended(record) && may_move(node, record, why))
            working[count++] = record;
    }
    if (why->count == 0 && count == 0 && whole != NULL)
        (void)pst_text_printf(why,
                              "the rows of graph `%s` are sealed from end to end: what is where says `penstock move`, "
                              "for which the graph is stopped for a moment",
                              whole);
    int rc = why->count != 0 ? PST_EREFUSED : PST_OK;
    for (uint32_t i = 0; i < count && by != REBALANCE_EVEN && rc == PST_OK; i++)
        rc = pst_balance_new(node, working[i], by == REBALANCE_BY_SOURCE, &working[i]->moving->balance);
    if (rc == PST_ETIMEOUT)
        (void)pst_text_printf(why,
                              "how busy partitions are%s is not known yet: give the command again in a few seconds",
                              by == REBALANCE_BY_SOURCE ? ", and where their rows come from," : "");
    if (rc != PST_OK) {
        for (uint32_t i = 0; i < count; i++)
            balance_end(working[i]->moving);
        pst_free(order);
        return rc;
    }
    begin_working(node, order, working, count);
    return PST_OK;
}

/* Nothing moves at the moment of any graph that runs. */
bool pst_order_may_drain(struct pst_node *node, struct pst_text *why)
{
    for (uint32_t i = 0; i < node->duty->graph_count && why->count == 0; i++) {
        struct graph_record *record = node->duty->graphs[i];
        bool stays = record->state == GRAPH_RUNNING && pst_relocates(node, record) &&
                     record->start->start->checkpoint_every_ns == 0; /* the answer says so */
        if (record->state == GRAPH_RUNNING && !stays && !pst_moves_any_ended(record))
            (void)may_move(node, record, why);
    }
    return why->count == 0;
}

int pst_order_drain(struct pst_node *node, const struct submission *asked, const char *name)
{
    struct coordinator *duty = node->duty;
    struct graph_record *working[NODE_GRAPHS_MAX];
    struct order *order = order_new(node, asked, ORDER_DRAIN);
    if (order == NULL)
        return PST_ENOMEM;
    (void)snprintf(order->node, sizeof order->node, "%s", name);
    uint32_t count = 0;
    for (uint32_t i = 0; i < duty->graph_count; i++) { /* what others have of it, the answer says */
        struct pst_text why = {0};
        if (duty->graphs[i]->state == GRAPH_RUNNING && may_move(node, duty->graphs[i], &why))
            working[count++] = duty->graphs[i];
        else if (why.bytes != NULL && order->why[0] == '\0')
            (void)snprintf(order->why, sizeof order->why, "%s", why.bytes);
        pst_text_fini(&why);
    }
    begin_working(node, order, working, count);
    return PST_OK;
}

bool pst_order_drained(struct pst_node *node, const struct submission *asked, const char *name)
{
    char is_so[PST_CONTROL_NAME_BYTES_MAX + 60];
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        const struct graph_record *record = node->duty->graphs[i];
        const Pst__Start *start = record->start->start;
        if (pst_coordinator_goes_on(record) && pst_order_under_way(record))
            return false; /* what has been decided stands in the places before the node has stopped */
        for (size_t p = 0; pst_coordinator_goes_on(record) && p < start->n_places; p++)
            if (strcmp(start->nodes[start->places[p]->node], name) == 0)
                return false;
    }
    (void)snprintf(is_so, sizeof is_so, "node `%s` is drained already, and has nothing", name);
    nothing_to_do(node, asked, ORDER_DRAIN, name, is_so);
    return true;
}

bool pst_order_leave(struct pst_node *node, struct graph_record *record, const char *name)
{
    struct pst_text why = {0};
    bool may = may_move(node, record, &why);
    struct order *order = may ? order_new(node, &(struct submission){0}, ORDER_DRAIN) : NULL;
    pst_text_fini(&why);
    if (order == NULL)
        return false;
    (void)snprintf(order->node, sizeof order->node, "%s", name);
    begin(node, record, order);
    return true;
}

bool pst_order_under_way(const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    return record->kept.found != NULL ||
           (moving != NULL && (moving->now != NULL || moving->order != NULL || moving->writes || moving->written));
}

/* ---- what another coordinator goes on with ---- */

bool pst_order_wanted(const struct graph_record *record, struct order_wanted *ret_wanted)
{
    const struct moving *moving = record->moving;
    const struct order *order = moving != NULL ? moving->order : NULL;
    bool aborted = order != NULL && moving->now != NULL && !pst_moves_copies(moving) &&
                   moving->now->message->move_record->step == PST_MOVE_ABORTED;
    if (order == NULL || order->kind == ORDER_DRAIN || order->pieces != NULL || order->stops || aborted ||
        moving->portions.back ||
        (order->kind == ORDER_MOVE && order->wish.count != 0)) /* as long as nothing of it has begun */
        return false;
    *ret_wanted = (struct order_wanted){.kind = order->kind,
                                        .operator_index = order->operator_index,
                                        .count = order->count,
                                        .by = moving->balance == NULL                     ? REBALANCE_EVEN
                                              : pst_balance_is_by_source(moving->balance) ? REBALANCE_BY_SOURCE
                                                                                          : REBALANCE_BY_LOAD,
                                        .deadline_ns = order->deadline_ns};
    return true;
}

int pst_order_again(struct pst_node *node, struct graph_record *record, const struct order_wanted *wanted,
                    const struct wish *left, struct pst_text *why)
{
    struct submission asked = {.deadline_ns = wanted->deadline_ns};
    const char *id = wanted->kind != ORDER_REBALANCE ? record->graph->nodes[wanted->operator_index].id : "all";
    struct balance *balance = NULL;
    if (wanted->kind == ORDER_DRAIN || wanted->kind > ORDER_REBALANCE || pst_relocates(node, record) ||
        !may_move(node, record, why))
        return PST_EREFUSED;
    int rc = wanted->by != REBALANCE_EVEN ? pst_balance_new(node, record, wanted->by == REBALANCE_BY_SOURCE, &balance)
                                          : PST_OK;
    struct order *order = rc == PST_OK ? order_new(node, &asked, wanted->kind) : NULL;
    if (order == NULL) {
        pst_balance_free(balance);
        return rc != PST_OK ? rc : PST_ENOMEM;
    }
    (void)snprintf(order->node, sizeof order->node, "graph %.100s, %.100s", record->start->graph, id);
    order->operator_index = wanted->kind == ORDER_SCALE ? wanted->operator_index : 0;
    order->count = wanted->count;
    record->moving->balance = balance;
    if (wanted->first)
        pst_node_log(node, "%s: where their rows come from is known: buckets go there", order->node);
    else
        pst_node_log(node, "%s: the %s that was under way goes on", order->node, kind_names[order->kind]);
    order->graphs = 1;
    record->moving->order = order;
    record->moving->relocated = false;
    record->moving->portions = (struct portions){0};
    rc = left != NULL ? pst_portions_begin(node, record, left, order->deadline_ns) : PST_OK;
    if (rc != PST_OK)
        leave(node, record, rc, pst_error_sentence(rc));
    else if (left == NULL)
        go_on(node, record);
    return PST_OK;
}

int pst_order_rebalance(struct pst_node *node, const struct submission *asked, enum rebalance by, struct pst_text *why)
{
    struct order *order = order_new(node, asked, ORDER_REBALANCE);
    return order != NULL ? begin_all(node, order, by, why) : PST_ENOMEM;
}

/* ---- migration ls, show, cancel ---- */

static size_t buckets_of_record(const Pst__MoveRecord *body)
{
    size_t count = body->n_buckets;
    for (size_t i = 0; i < body->n_places; i++)
        count += body->places[i]->buckets;
    return count;
}

static void relocation_line(const struct past *past, struct pst_text *out)
{
    const Pst__MoveRecord *body = past->message->move_record;
    bool aborted = body->step == PST_MOVE_ABORTED;
    (void)pst_text_printf(out, "%s/%" PRIu64 ":", past->message->graph, past->message->move);
    if (body->partition_count != 0)
        (void)pst_text_printf(out, " %s in %u partitions", body->operator_id, body->partition_count);
    for (size_t i = 0; i < body->n_places && body->partition_count == 0; i++) {
        const Pst__Relocated *item = body->places[i];
        (void)pst_text_printf(out, "%s %s/%u on %s to %s", i != 0 ? "," : "", item->operator_id, item->from_partition,
                              item->from_node, item->to_node[0] != '\0' ? item->to_node : "another node");
    }
    (void)pst_text_printf(out, ", stop and go, %zu buckets, %s%s%s\n", buckets_of_record(body),
                          pst_move_step_name((pst_move_step)body->step), aborted ? ": " : "",
                          aborted ? body->sentence : "");
}

static void relocation_json(const Pst__MoveRecord *body, struct pst_text *out)
{
    (void)pst_text_printf(out, ",\"relocates\":%s,\"partition_count\":%u,\"places\":[",
                          body->relocates ? "true" : "false", body->partition_count);
    for (size_t i = 0; i < body->n_places; i++) {
        const Pst__Relocated *item = body->places[i];
        (void)pst_text_printf(out,
                              "%s{\"operator\":\"%s\",\"from_partition\":%u,\"from_node\":\"%s\","
                              "\"to_partition\":%u,\"to_node\":\"%s\",\"buckets\":%u}",
                              i != 0 ? "," : "", item->operator_id, item->from_partition, item->from_node,
                              item->to_partition, item->to_node, item->buckets);
    }
    (void)pst_text_printf(out, "]");
}

static void past_line(const struct past *past, bool json, struct pst_text *out)
{
    const Pst__MoveRecord *body = past->message->move_record;
    const char *step = pst_move_step_name((pst_move_step)body->step);
    bool aborted = body->step == PST_MOVE_ABORTED;
    if (!json && body->relocates) {
        relocation_line(past, out);
        return;
    }
    if (!json) {
        (void)pst_text_printf(out, "%s/%" PRIu64 ": %s/%u on %s %s %u on %s, %zu buckets, %s%s%s\n",
                              past->message->graph, past->message->move, body->operator_id, body->from_partition,
                              body->from_node, body->copies ? "copied as" : "to",
                              body->into_partition != 0 ? body->into_partition - 1 : body->to_partition, body->to_node,
                              body->n_buckets, step, aborted ? ": " : "", aborted ? body->sentence : "");
        return;
    }
    (void)pst_text_printf(out,
                          "{\"id\":\"%s/%" PRIu64 "\",\"operator\":\"%s\",\"from_partition\":%u,\"from_node\":\"%s\","
                          "\"to_partition\":%u,\"to_node\":\"%s\",\"copies\":%s,\"step\":\"%s\",\"why\":",
                          past->message->graph, past->message->move, body->operator_id, body->from_partition,
                          body->from_node, body->into_partition != 0 ? body->into_partition - 1 : body->to_partition,
                          body->to_node, body->copies ? "true" : "false", step);
    (void)pst_text_json(out, aborted ? body->sentence : NULL);
    relocation_json(body, out);
    char lost[24];
    (void)pst_text_printf(out,
                          ",\"buckets\":%zu,\"owner_epoch\":%u,\"bytes\":%" PRIu64
                          ",\"seconds\":%.3f,\"longest_pause_seconds\":%.6f,\"rows_lost\":%s}",
                          buckets_of_record(body), body->owner_epoch, body->bytes, (double)body->nanoseconds / 1e9,
                          (double)body->longest_pause_ns / 1e9,
                          lost_text(lost, body->rows_lost != 0, body->rows_lost - 1, true));
}

static void past_more(const struct past *past, struct pst_text *out)
{
    const Pst__MoveRecord *body = past->message->move_record;
    char lost[24];
    (void)pst_text_printf(
        out, "  owner epoch %u, incarnation %" PRIu64 "\n  %" PRIu64 " bytes, %.3f s, longest pause %.6f s\n",
        body->owner_epoch, past->message->incarnation, body->bytes, (double)body->nanoseconds / 1e9,
        (double)body->longest_pause_ns / 1e9);
    if (body->relocates) {
        if (body->step == PST_MOVE_DONE)
            (void)pst_text_printf(out,
                                  "  stop and go: the pause is for how long the graph stood still; it went on from a "
                                  "checkpoint\n  rows lost %s\n",
                                  lost_text(lost, body->rows_lost != 0, body->rows_lost - 1, false));
        return;
    }
    if (body->step >= PST_MOVE_COPYING && body->step <= PST_MOVE_DONE)
        (void)pst_text_printf(out, "  both ways from event time %" PRId64 " on\n", body->since);
    if (body->step >= PST_MOVE_READY && body->step <= PST_MOVE_DONE)
        (void)pst_text_printf(out, "  copied at event time %" PRId64 "\n", body->latest);
    if (body->step == PST_MOVE_COMMITTED || body->step == PST_MOVE_DONE)
        (void)pst_text_printf(out, "  cut at event time %" PRId64 "\n", body->cut);
    if (body->step == PST_MOVE_DONE)
        (void)pst_text_printf(out, "  rows lost %s\n",
                              lost_text(lost, body->rows_lost != 0, body->rows_lost - 1, false));
}

/* `GRAPH/NUMBER` of what there is; NULL: it is none. */
static const struct past *past_find(const struct pst_node *node, const char *what, struct graph_record **ret_record)
{
    const char *slash = strrchr(what, '/');
    uint64_t id = 0;
    if (slash == NULL || pst_parse_u64(slash + 1, &id) != PST_OK)
        return NULL;
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        if (strncmp(record->start->graph, what, (size_t)(slash - what)) != 0 ||
            record->start->graph[slash - what] != '\0')
            continue;
        *ret_record = record;
        for (uint32_t k = 0; k < record->past_count; k++)
            if (record->past[k]->message->move == id)
                return record->past[k];
    }
    return NULL;
}

/* What is under way of a graph, or waits for it to run: whoever gave it may not hear of its end. */
static bool order_print(const struct graph_record *record, bool json, bool first, struct pst_text *out)
{
    const Pst__OrderRecord *found = record->kept.found != NULL ? record->kept.found->order_record : NULL;
    const struct order *order = record->moving != NULL ? record->moving->order : NULL;
    bool known = found != NULL && found->kind <= ORDER_BY_SOURCE;
    const char *what = order != NULL && order->pieces != NULL ? "autoscale"
                       : order != NULL                        ? kind_names[order->kind]
                       : known                                ? kind_names[found->kind]
                                                              : NULL;
    if (what == NULL)
        return false;
    if (json) {
        (void)pst_text_printf(out, "%s{\"graph\":", first ? "" : ",");
        (void)pst_text_json(out, record->start->graph);
        (void)pst_text_printf(out, ",\"order\":\"%s\",\"waits\":%s}", what, order == NULL ? "true" : "false");
    } else {
        (void)pst_text_printf(out, "%s: %s %s\n", record->start->graph, what,
                              order == NULL ? "goes on when the graph runs" : "is under way");
    }
    return true;
}

static void orders_print(const struct pst_node *node, bool json, struct pst_text *out)
{
    bool first = true;
    if (json)
        (void)pst_text_printf(out, "],\"orders\":[");
    for (uint32_t i = 0; i < node->duty->graph_count; i++)
        first &= !order_print(node->duty->graphs[i], json, first, out);
}

int pst_order_list(const struct pst_node *node, const char *only, bool json, struct pst_text *out, struct pst_text *why)
{
    struct graph_record *record = NULL;
    const struct past *one = only != NULL ? past_find(node, only, &record) : NULL;
    bool first = true;
    if (only != NULL && one == NULL) {
        (void)pst_text_printf(why, "there is no move `%s`: GRAPH/NUMBER is wanted, as `migration ls` shows them", only);
        return PST_EREFUSED;
    }
    if (json)
        (void)pst_text_printf(out, "{\"schema_version\":1,\"moves\":[");
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        for (uint32_t k = 0; k < node->duty->graphs[i]->past_count; k++) {
            const struct past *past = node->duty->graphs[i]->past[k];
            if (one != NULL && past != one)
                continue;
            if (json && !first)
                (void)pst_text_printf(out, ",");
            first = false;
            past_line(past, json, out);
            if (one != NULL && !json)
                past_more(past, out);
        }
    }
    if (only == NULL)
        orders_print(node, json, out);
    if (json)
        (void)pst_text_printf(out, "],\"error\":null}\n");
    return PST_OK;
}

int pst_order_cancel(struct pst_node *node, const char *what, struct pst_text *why)
{
    struct graph_record *record = NULL;
    const struct past *past = past_find(node, what, &record);
    if (past == NULL) {
        (void)pst_text_printf(why, "there is no move `%s`: GRAPH/NUMBER is wanted, as `migration ls` shows them", what);
        return PST_EREFUSED;
    }
    return pst_moves_cancel(node, record, past->message->move, why);
}
