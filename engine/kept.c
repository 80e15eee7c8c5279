/* kept.c - see mover.h: an order that is made of several moves, as the store has it (orders/GRAPH): so another coordinator goes on with it.
 *
 * What the record says follows from the order and what has moved of it, and goes with each commit of the graph's record that changes it; it is
 * removed when the order has ended. Buckets say what is left, and no partition's number, for these are given anew with each incarnation. */
#include "engine/mover.h"

#include <string.h>

static Pst__MoveRecord *moved(const struct moving *moving) { return moving->now->message->move_record; }

/* The newest move of the graph; 0: there was none. */
static uint64_t newest(const struct graph_record *record)
{
    return record->past_count != 0 ? record->past[record->past_count - 1]->message->move : 0;
}

/* ---- what is written ---- */

/* What moves has gone, or will have. */
static bool is_decided(const struct moving *moving)
{
    return moving->now != NULL && !pst_moves_copies(moving) &&
           (moved(moving)->step == PST_MOVE_COMMITTED || moved(moving)->step == PST_MOVE_DONE);
}

/* What was wanted last and has not moved, by bucket, as it is when the commit has happened that is made now. */
static uint32_t left_take(const struct moving *moving, uint32_t bucket_count, uint32_t *ret_buckets)
{
    const struct portions *portions = &moving->portions;
    bool decided = is_decided(moving);
    uint8_t goes[PST_BUCKETS_MAX] = {0};
    uint32_t count = 0;
    for (size_t i = 0; decided && i < moved(moving)->n_buckets; i++)
        goes[moved(moving)->buckets[i]] = 1;
    for (uint32_t b = 0; b < bucket_count; b++)
        if (portions->wanted[b] != 0 && portions->gone[b] == 0 && goes[b] == 0)
            ret_buckets[count++] = b;
    return count;
}

/* 1 + a bucket of the partition that the rest goes into; 0: to one of its own. */
static uint32_t into_take(const struct moving *moving, uint32_t n, uint32_t bucket_count)
{
    uint32_t into = moving->portions.rest.into;
    if (into == NO_PARTITION && is_decided(moving))
        into = moving->to;
    for (uint32_t b = 0; b < bucket_count && into != NO_PARTITION; b++)
        if (moving->layouts[n]->of[b] == into)
            return 1 + b;
    return 0;
}

static int record_pack(const struct graph_record *record, const struct order_wanted *wanted, struct pst_text *bytes)
{
    const struct moving *moving = record->moving;
    const struct portions *portions = &moving->portions;
    uint32_t buckets[PST_BUCKETS_MAX], n = wanted->operator_index;
    Pst__OrderRecord body = PST__ORDER_RECORD__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    bool begun = portions->rest.to_node != NULL;
    n = begun ? portions->rest.operator_index : n;
    body.kind = wanted->by == REBALANCE_BY_SOURCE ? ORDER_BY_SOURCE : wanted->kind;
    body.count = wanted->count;
    body.by_load = wanted->by == REBALANCE_BY_LOAD;
    body.deadline_ns = wanted->deadline_ns;
    if (begun || wanted->kind == ORDER_SCALE)
        body.operator_id = (char *)(uintptr_t)record->graph->nodes[n].id;
    if (begun) {
        uint32_t bucket_count = record->graph->nodes[n].bucket_count;
        body.buckets = buckets;
        body.n_buckets = left_take(moving, bucket_count, buckets);
        body.to_node = (char *)(uintptr_t)portions->node;
        body.into = into_take(moving, n, bucket_count);
    }
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.move = newest(record);
    message.body_case = PST__CONTROL__BODY_ORDER_RECORD;
    message.order_record = &body;
    return pst_control_pack(&message, bytes);
}

static void found_forget(struct kept *kept)
{
    if (kept->found != NULL)
        pst_arena_fini(&kept->arena);
    kept->found = NULL;
}

int pst_kept_changes(struct graph_record *record, struct pst_store_change *change, uint32_t *ret_count)
{
    struct kept *kept = &record->kept;
    struct order_wanted wanted;
    bool goes_on = pst_coordinator_goes_on(record);
    *ret_count = 0;
    kept->change = KEPT_AS_IT_IS;
    if (kept->found != NULL && goes_on)
        return PST_OK;
    found_forget(kept);
    bool is = goes_on && pst_order_wanted(record, &wanted);
    pst_text_fini(&kept->bytes);
    int rc = is ? record_pack(record, &wanted, &kept->bytes) : PST_OK;
    bool same = is ? kept->version != 0 && kept->bytes.count == kept->stored.count &&
                         memcmp(kept->bytes.bytes, kept->stored.bytes, kept->bytes.count) == 0
                   : kept->version == 0;
    if (rc != PST_OK || same)
        return rc;
    (void)snprintf(kept->path, sizeof kept->path, "orders/%.200s", record->start->graph);
    *change = (struct pst_store_change){.path = kept->path,
                                        .expected = kept->version,
                                        .bytes = is ? kept->bytes.bytes : NULL,
                                        .byte_count = is ? (uint32_t)kept->bytes.count : 0};
    kept->change = is ? KEPT_WRITTEN : KEPT_REMOVED;
    *ret_count = 1;
    return PST_OK;
}

void pst_kept_committed(struct graph_record *record, int rc)
{
    struct kept *kept = &record->kept;
    if (rc != PST_OK || kept->change == KEPT_AS_IT_IS)
        return;
    kept->version = kept->change == KEPT_WRITTEN ? kept->version + 1 : 0;
    pst_text_fini(&kept->stored);
    if (kept->change == KEPT_WRITTEN)
        kept->stored = kept->bytes;
    else
        pst_text_fini(&kept->bytes);
    kept->bytes = (struct pst_text){0};
    kept->change = KEPT_AS_IT_IS;
}

void pst_kept_free(struct kept *kept)
{
    found_forget(kept);
    pst_text_fini(&kept->bytes);
    pst_text_fini(&kept->stored);
}

/* ---- what another coordinator was given ---- */

int pst_kept_restore(struct graph_record *record, uint64_t version, const struct pst_text *bytes)
{
    struct kept *kept = &record->kept;
    pst_arena_init(&kept->arena);
    int rc = pst_control_unpack(bytes->bytes, bytes->count, PST_CONTROL_BYTES_MAX, &kept->arena, &kept->found);
    if (rc == PST_OK && (kept->found->body_case != PST__CONTROL__BODY_ORDER_RECORD ||
                         strcmp(kept->found->graph, record->start->graph) != 0))
        rc = PST_EDATA;
    if (rc != PST_OK) {
        pst_arena_fini(&kept->arena);
        kept->found = NULL;
        return rc;
    }
    kept->version = version;
    return PST_OK;
}

/* As if another coordinator had read it; but not time and again, for it may be what ends the incarnation. */
bool pst_kept_waits(struct graph_record *record)
{
    struct kept *kept = &record->kept;
    struct order_wanted wanted;
    struct pst_text bytes = {0};
    if (kept->found != NULL)
        return true;
    if (kept->version == 0 || kept->tries == KEPT_TRIES_MAX || !pst_order_wanted(record, &wanted))
        return false;
    if (record_pack(record, &wanted, &bytes) == PST_OK && pst_kept_restore(record, kept->version, &bytes) == PST_OK)
        kept->tries++;
    pst_text_fini(&bytes);
    return kept->found != NULL;
}

/* The one partition that owns all that is left; NO_PARTITION: there is none, or none is left. */
static uint32_t owner_of(const Pst__OrderRecord *body, const struct layout *layout, uint32_t bucket_count)
{
    uint32_t from = NO_PARTITION;
    for (size_t i = 0; i < body->n_buckets; i++) {
        if (body->buckets[i] >= bucket_count || (i != 0 && layout->of[body->buckets[i]] != from))
            return NO_PARTITION;
        from = layout->of[body->buckets[i]];
    }
    return from;
}

/* PST_OK: what is left goes there. PST_ENOENT: there is nothing of it that could. PST_EAGAIN: a node is silent, and perhaps dead. */
static int left_find(const struct pst_node *node, const struct graph_record *record, const Pst__OrderRecord *body,
                     uint8_t marked[PST_BUCKETS_MAX], struct wish *ret_wish)
{
    const Pst__Start *start = record->start->start;
    uint32_t n = pst_graph_find(record->graph, body->operator_id);
    const struct layout *layout = n < record->graph->node_count ? record->moving->layouts[n] : NULL;
    if (layout == NULL)
        return PST_ENOENT;
    uint32_t bucket_count = record->graph->nodes[n].bucket_count, from = owner_of(body, layout, bucket_count);
    uint32_t into = body->into != 0 && body->into <= bucket_count ? layout->of[body->into - 1] : NO_PARTITION;
    const char *to = into != NO_PARTITION ? start->nodes[layout->node_of[into]] : body->to_node;
    const struct member *member = pst_coordinator_member(node->duty, to);
    if (from == NO_PARTITION || from == into || member == NULL || !member->alive || !pst_member_takes(member) ||
        (into == NO_PARTITION && strcmp(start->nodes[layout->node_of[from]], to) == 0))
        return PST_ENOENT;
    if (member->lost_ns != 0)
        return PST_EAGAIN;
    memset(marked, 0, PST_BUCKETS_MAX);
    for (size_t i = 0; i < body->n_buckets; i++)
        marked[body->buckets[i]] = 1;
    *ret_wish = (struct wish){n, from, (uint32_t)body->n_buckets, into, to, marked, false};
    return PST_OK;
}

static bool is_calm(const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    return record->state == GRAPH_RUNNING && !record->restored && !record->begins && !record->saving &&
           record->stop_to == NULL &&
           (moving == NULL || (moving->now == NULL && moving->order == NULL && !moving->writes && !moving->written));
}

/* With what is left of its last wish first. */
static void go_on(struct pst_node *node, struct graph_record *record)
{
    struct kept *kept = &record->kept;
    const Pst__OrderRecord *body = kept->found->order_record;
    uint8_t marked[PST_BUCKETS_MAX];
    struct wish wish;
    struct pst_text why = {0};
    uint32_t n = pst_graph_find(record->graph, body->operator_id);
    bool by_source = body->kind == ORDER_BY_SOURCE;
    bool known = body->kind == ORDER_REBALANCE || by_source ||
                 (n < record->graph->node_count && record->graph->nodes[n].op->role == PST_ROLE_PLAIN);
    int left = pst_moves_of(record) != NULL ? left_find(node, record, body, marked, &wish) : PST_ENOMEM;
    if (left == PST_EAGAIN)
        return;
    bool latest = kept->found->move == newest(record); /* else a coordinator had the graph that knows nothing of this */
    int rc = left == PST_ENOMEM ? left : known && latest ? PST_OK : PST_EREFUSED;
    if (!latest)
        (void)pst_text_printf(&why, "something else has moved since");
    Pst__Control *found = kept->found; /* it keeps others from moving anything, and not itself */
    kept->found = NULL;
    if (rc == PST_OK)
        rc = pst_order_again(node, record,
                             &(struct order_wanted){.kind = by_source ? ORDER_REBALANCE : (enum order_kind)body->kind,
                                                    .operator_index = n,
                                                    .count = body->count,
                                                    .by = by_source       ? REBALANCE_BY_SOURCE
                                                          : body->by_load ? REBALANCE_BY_LOAD
                                                                          : REBALANCE_EVEN,
                                                    .deadline_ns = body->deadline_ns},
                             left == PST_OK ? &wish : NULL, &why);
    if (rc == PST_ETIMEOUT) { /* it is asked again */
        kept->found = found;
    } else {
        if (rc != PST_OK)
            pst_node_log(node, "graph %s: the order that another coordinator was given does not go on: %s",
                         record->start->graph, why.bytes != NULL ? why.bytes : pst_error_sentence(rc));
        pst_arena_fini(&kept->arena);
    }
    pst_text_fini(&why);
}

void pst_kept_step(struct pst_node *node, struct graph_record *record)
{
    struct kept *kept = &record->kept;
    struct order_wanted wanted;
    if (kept->version == 0 || record->restored || record->committing)
        return;
    if (kept->found != NULL && pst_moves_any_ended(record))
        found_forget(kept);
    if (kept->found != NULL && is_calm(record))
        go_on(node, record);
    if (kept->found == NULL && record->state == GRAPH_RUNNING && !record->begins && !record->committing &&
        !pst_order_wanted(record, &wanted))
        pst_coordinator_commit(node, record); /* it has ended: the record goes */
}
