/* relocate.c - see mover.h: partitions whose rows cannot go both ways, for they are sealed for one worker, go stop and go (docs/cluster.md).
 *
 * A relocation is a restart on purpose. Its record is one of the graph's moves: INTENT while a checkpoint is waited for; READY in one commit
 * with the graph's new places and incarnation, until every node has begun and no worker is without its key; DONE then. Before that a run that
 * fails sends the graph back where it was. Whatever dies meanwhile, the graph is started again as ever, and READY goes on.
 *
 * An operator may get another number of partitions so, too: its record has by bucket which partition had it, and all of these with their nodes,
 * for the way back. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

#define DEADLINE_NS (UINT64_C(60) * 1000 * 1000 * 1000) /* of one that another coordinator began */

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

static Pst__MoveRecord *record_of(const struct past *past) { return past->message->move_record; }

static bool scales(const Pst__MoveRecord *body) { return body->partition_count != 0; }

/* NULL: none is under way, that this coordinator knows of. */
static struct moving *under_way(const struct graph_record *record)
{
    struct moving *moving = record->moving;
    return moving != NULL && moving->now != NULL && moving->relocates ? moving : NULL;
}

static uint32_t step_of(const struct moving *moving) { return record_of(moving->now)->step; }

bool pst_relocates(const struct pst_node *node, const struct graph_record *record)
{
    return record->graph->carry != NULL || node->options.relocates;
}

/* ---- what goes ---- */

static bool goes_from(const struct pst_node *node, const struct graph_record *record, const Pst__Place *place,
                      const char *name)
{
    return place->copy_of == 0 && strcmp(record->start->start->nodes[place->node], name) == 0 &&
           !pst_order_stays(node, record, place);
}

bool pst_relocation_left(const struct pst_node *node, const struct graph_record *record, const char *name)
{
    const Pst__Start *start = record->start->start;
    bool any = false;
    for (size_t i = 0; i < start->n_places; i++)
        any |= goes_from(node, record, start->places[i], name);
    return any;
}

static int place_add(struct past *past, const Pst__Place *place, const char *from, uint32_t to_partition,
                     const char *to, uint32_t buckets)
{
    Pst__MoveRecord *body = record_of(past);
    Pst__Relocated *item = pst_arena_alloc(&past->arena, sizeof *item);
    if (item == NULL)
        return PST_ENOMEM;
    pst__relocated__init(item);
    item->operator_id = pst_arena_strdup(&past->arena, place->operator_id);
    item->from_partition = place->partition;
    item->to_partition = to_partition;
    item->from_node = pst_arena_strdup(&past->arena, from);
    item->to_node = pst_arena_strdup(&past->arena, to);
    item->buckets = buckets;
    if (item->operator_id == NULL || item->from_node == NULL || item->to_node == NULL)
        return PST_ENOMEM;
    body->places[body->n_places++] = item;
    return PST_OK;
}

/* Room for so many, and none there. */
static int places_begin(struct past *past, size_t count)
{
    Pst__MoveRecord *body = record_of(past);
    body->places = pst_arena_alloc(&past->arena, (count + 1) * sizeof(Pst__Relocated *));
    body->n_places = 0;
    return body->places != NULL ? PST_OK : PST_ENOMEM;
}

/* Of an operator that gets other partitions, its own first, though something else may have to go as well. */
static void first_show(Pst__MoveRecord *body)
{
    size_t i = 0;
    while (i < body->n_places && scales(body) && body->operator_id[0] != '\0' &&
           strcmp(body->places[i]->operator_id, body->operator_id) != 0)
        i++;
    if (i == body->n_places)
        return;
    const Pst__Relocated *first = body->places[i];
    body->operator_id = first->operator_id;
    body->from_partition = first->from_partition;
    body->to_partition = first->to_partition;
    body->from_node = first->from_node;
    body->to_node = first->to_node;
}

/* Which partition has a bucket before the operator gets others. */
static int partitions_note(struct past *past, const struct layout *layout, uint32_t bucket_count, uint32_t count)
{
    Pst__MoveRecord *body = record_of(past);
    body->partitions = pst_arena_alloc(&past->arena, bucket_count * sizeof *body->partitions);
    if (body->partitions == NULL)
        return PST_ENOMEM;
    for (uint32_t b = 0; b < bucket_count; b++)
        body->partitions[b] = layout->of[b];
    body->n_partitions = bucket_count;
    body->partition_count = count;
    return PST_OK;
}

/* What is wanted, as it is now. */
static int wanted_fill(const struct pst_node *node, const struct graph_record *record, struct past *past,
                       const struct wish *wish, uint32_t partition_count, const char *from)
{
    const Pst__Start *start = record->start->start;
    int rc = places_begin(past, start->n_places);
    if (rc == PST_OK && partition_count != 0)
        rc = partitions_note(past, record->moving->layouts[wish->operator_index],
                             record->graph->nodes[wish->operator_index].bucket_count, partition_count);
    for (size_t i = 0; i < start->n_places && rc == PST_OK; i++) {
        const Pst__Place *place = start->places[i];
        uint32_t n = pst_graph_find(record->graph, place->operator_id);
        bool named = wish != NULL && n == wish->operator_index && place->copy_of == 0 &&
                     (partition_count != 0 || place->partition == wish->from);
        if (wish != NULL ? !named : !goes_from(node, record, place, from))
            continue;
        const struct layout *layout = record->moving->layouts[n];
        uint32_t buckets =
            layout != NULL ? pst_layout_owned(layout, record->graph->nodes[n].bucket_count, place->partition) : 0;
        for (uint32_t b = 0; layout != NULL && b < record->graph->nodes[n].bucket_count; b++)
            if (layout->of[b] == place->partition && layout->epoch[b] > record_of(past)->owner_epoch)
                record_of(past)->owner_epoch = layout->epoch[b];
        rc = place_add(past, place, start->nodes[place->node], place->partition,
                       wish != NULL && partition_count == 0 ? wish->to_node : "", buckets);
    }
    first_show(record_of(past));
    return rc;
}

static const Pst__Place *place_of(const Pst__Start *start, const char *operator_id, uint32_t partition)
{
    for (size_t i = 0; i < start->n_places; i++)
        if (start->places[i]->copy_of == 0 && start->places[i]->partition == partition &&
            strcmp(start->places[i]->operator_id, operator_id) == 0)
            return start->places[i];
    return NULL;
}

struct layouts { /* of one operator, before and after */
    struct layout before, after;
};

/* Where one has gone that was at `place`; partitions may have other numbers. */
static const Pst__Place *gone_to(const struct pst_graph_node *op, const struct layouts *layouts,
                                 const Pst__Place *place, const Pst__Start *after, uint32_t *ret_buckets)
{
    uint32_t partition = place->partition;
    *ret_buckets = 0;
    for (uint32_t b = op->bucket_count; op->op->role == PST_ROLE_PLAIN && b-- != 0;) {
        if (layouts->before.of[b] != place->partition)
            continue;
        partition = layouts->after.of[b];
        (*ret_buckets)++;
    }
    return place_of(after, op->id, partition);
}

/* What the graph's nodes have told last of the state of one that goes. */
static uint64_t bytes_of(const struct graph_record *record, const Pst__Place *place, uint32_t n)
{
    const struct load *load = record->loads.incarnation == record->start->incarnation
                                  ? pst_load_find(&record->loads, false, place->node, n, place->partition)
                                  : NULL;
    return load != NULL ? load->now.state_bytes : 0;
}

/* What is elsewhere than it was. */
static int gone_fill(struct pst_node *node, struct graph_record *record, const Pst__Start *before)
{
    struct moving *moving = record->moving;
    const Pst__Start *after = record->start->start;
    struct past *past = moving->now;
    struct layouts *layouts = pst_malloc(sizeof *layouts);
    const char *scaled_id = record_of(past)->operator_id; /* before first_show() */
    int rc = layouts != NULL ? places_begin(past, before->n_places) : PST_ENOMEM;
    moving->bytes = 0;
    if (scales(record_of(past)))
        pst_node_log(node, "graph %s, move %llu: %s goes on in %u partitions", record->start->graph,
                     (unsigned long long)past->message->move, scaled_id, record_of(past)->partition_count);
    for (size_t i = 0; i < before->n_places && rc == PST_OK; i++) {
        const Pst__Place *place = before->places[i];
        uint32_t n = pst_graph_find(record->graph, place->operator_id), buckets;
        if (place->copy_of != 0)
            continue;
        if (record->graph->nodes[n].op->role == PST_ROLE_PLAIN) {
            rc = pst_layout_read(before, &record->graph->nodes[n], &layouts->before);
            if (rc == PST_OK)
                rc = pst_layout_read(after, &record->graph->nodes[n], &layouts->after);
        }
        const Pst__Place *to = rc == PST_OK ? gone_to(&record->graph->nodes[n], layouts, place, after, &buckets) : NULL;
        bool scaled = scales(record_of(past)) && strcmp(place->operator_id, scaled_id) == 0;
        bool stays = to == NULL || strcmp(before->nodes[place->node], after->nodes[to->node]) == 0;
        if (to == NULL || (stays && !scaled))
            continue;
        rc = place_add(past, place, before->nodes[place->node], to->partition, after->nodes[to->node], buckets);
        moving->bytes += bytes_of(record, place, n);
        if (scaled)
            continue; /* said once, of all of them */
        pst_node_log(node, "graph %s, move %llu: %s/%u goes from node %s to node %s", record->start->graph,
                     (unsigned long long)past->message->move, place->operator_id, place->partition,
                     before->nodes[place->node], after->nodes[to->node]);
    }
    pst_free(layouts);
    first_show(record_of(past));
    return rc;
}

/* A restart amid it: nothing has moved but what had to. */
static int gone_update(struct graph_record *record)
{
    struct past *past = record->moving->now;
    Pst__MoveRecord *body = record_of(past);
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < body->n_places; i++) {
        const Pst__Place *place = place_of(start, body->places[i]->operator_id, body->places[i]->to_partition);
        if (place == NULL || strcmp(start->nodes[place->node], body->places[i]->to_node) == 0)
            continue;
        char *name = pst_arena_strdup(&past->arena, start->nodes[place->node]);
        if (name == NULL)
            return PST_ENOMEM;
        body->places[i]->to_node = name;
    }
    first_show(body);
    return PST_OK;
}

/* ---- beginning, ending ---- */

static void begun_log(struct pst_node *node, const struct graph_record *record, const Pst__MoveRecord *body,
                      uint64_t id)
{
    if (scales(body))
        pst_node_log(node, "graph %s, move %llu: %s is to have %u partitions, stop and go, from its next checkpoint",
                     record->start->graph, (unsigned long long)id, body->operator_id, body->partition_count);
    else
        pst_node_log(node,
                     "graph %s, move %llu: %zu places of it are to go to %s%s, stop and go, from its next checkpoint",
                     record->start->graph, (unsigned long long)id, body->n_places,
                     body->to_node[0] != '\0' ? "node " : "other nodes", body->to_node);
}

int pst_relocation_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish,
                         uint32_t partition_count, const char *from, uint64_t deadline_ns)
{
    struct moving *moving = record->moving;
    struct past *past = pst_calloc(1, sizeof *past);
    if (past == NULL)
        return PST_ENOMEM;
    pst_arena_init(&past->arena);
    Pst__MoveRecord *body = pst_arena_alloc(&past->arena, sizeof *body);
    past->message = pst_arena_alloc(&past->arena, sizeof *past->message);
    int rc = body != NULL && past->message != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK) {
        pst__control__init(past->message);
        pst__move_record__init(body);
        past->message->body_case = PST__CONTROL__BODY_MOVE_RECORD;
        past->message->move_record = body;
        past->message->incarnation = record->start->incarnation;
        past->message->graph = pst_arena_strdup(&past->arena, record->start->graph);
        body->relocates = true;
        rc = past->message->graph != NULL ? wanted_fill(node, record, past, wish, partition_count, from) : PST_ENOMEM;
    }
    size_t bytes = rc == PST_OK ? protobuf_c_message_get_packed_size(&past->message->base) : 0;
    if (rc == PST_OK && bytes + body->n_places * PST_CONTROL_NAME_BYTES_MAX > PST_CONTROL_BYTES_MAX)
        rc = PST_EFULL;
    if (rc != PST_OK) {
        pst_arena_fini(&past->arena);
        pst_free(past);
        return rc;
    }
    uint64_t id = pst_moves_append(record, past);
    moving->now = past;
    moving->relocates = moving->relocated = true;
    moving->goes = moving->goes_back = moving->went_back = false;
    moving->stage = NO_STAGE;
    moving->portions = (struct portions){0};
    moving->bytes = moving->bytes_total = moving->longest_pause_ns = moving->stands_ns = moving->ask_ns = 0;
    memset(moving->probed, 0, sizeof moving->probed);
    moving->why[0] = moving->admitted[0] = '\0';
    moving->refused = moving->rolls_back = moving->waits_cut = moving->copies_end = false;
    memset(moving->part, 0, sizeof moving->part);
    moving->begun_ns = now_ns(node);
    moving->deadline_ns = moving->begun_ns + deadline_ns;
    moving->writes = true;
    begun_log(node, record, body, id);
    pst_order_begins(record, 0);
    pst_coordinator_commit(node, record);
    return PST_OK;
}

/* The record has it, and so has the store. */
static void ended(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct moving *moving = record->moving;
    const Pst__MoveRecord *body = record_of(moving->now);
    struct portions *did = &moving->portions;
    pst_order_ends(node, record, error == PST_OK);
    *did = (struct portions){0};
    if (error == PST_OK) {
        *did = (struct portions){
            .moves = 1, .bytes = body->bytes, .longest_pause_ns = body->longest_pause_ns, .relocated = true};
        for (size_t i = 0; i < body->n_places; i++)
            did->buckets += body->places[i]->buckets;
    }
    if (moving->went_back && moving->order != NULL && pst_order_leaves(record)) /* it would end the same way again */
        record->undrained = record->start->incarnation;
    moving->now = NULL;
    moving->relocates = moving->goes = moving->goes_back = moving->went_back = false;
    if (moving->order != NULL)
        pst_order_on(node, record, error, why);
}

/* Before the graph is anywhere else it stays; READY, it goes back. */
void pst_relocation_drop(struct pst_node *node, struct graph_record *record, pst_move_cause cause, const char *why)
{
    struct moving *moving = record->moving;
    bool back = step_of(moving) == PST_MOVE_READY;
    if (!pst_moves_caused(node, record, cause, why))
        return;
    record_of(moving->now)->why = pst_move_why_of(cause);
    (void)snprintf(moving->why, sizeof moving->why, "%.340s%s", why, back ? ": the graph is back where it was" : "");
    moving->goes = false;
    moving->goes_back = back;
    if (back)
        pst_coordinator_restart(node, record);
    else
        pst_coordinator_commit(node, record);
}

/* The graph can do without it, from now on: nothing of it goes there by itself before it has joined anew. */
static void unfit_mark(struct pst_node *node, struct graph_record *record, const char *name)
{
    const struct member *member = pst_coordinator_member(node->duty, name);
    if (member != NULL)
        record->unfit[member - node->duty->members] = true;
}

bool pst_relocation_failed(struct pst_node *node, struct graph_record *record, const char *name, const char *why)
{
    const struct moving *moving = under_way(record);
    if (moving == NULL || step_of(moving) != PST_MOVE_READY)
        return false;
    unfit_mark(node, record, name);
    pst_relocation_drop(node, record, PST_MOVE_BY_REFUSED, why);
    return true;
}

static void done(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    if (moving->stands_ns != 0)
        moving->longest_pause_ns = now_ns(node) - moving->stands_ns;
    (void)pst_moves_caused(node, record, PST_MOVE_BY_AGREED, "");
    (void)pst_moves_caused(node, record, PST_MOVE_BY_FINISHED, "");
    record_of(moving->now)->rows_lost = 1; /* none: it went on from a checkpoint */
    pst_node_log(node, "graph %s, move %llu: it is where it is to be, and stood still for %.3f s", record->start->graph,
                 (unsigned long long)moving->now->message->move, (double)moving->longest_pause_ns / 1e9);
}

/* ---- from step to step ---- */

static void ask(struct pst_node *node, struct graph_record *record)
{
    record->moving->ask_ns = now_ns(node) + pst_cut_again_ns(node);
    pst_savepoint_ask(node, record);
}

/* One that may be dead: all would wait for it where they are started. */
static bool any_silent(const struct pst_node *node)
{
    bool any = false;
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        any |= node->duty->members[i].alive && node->duty->members[i].lost_ns != 0;
    return any;
}

bool pst_relocation_waits(const struct pst_node *node, const struct graph_record *record)
{
    const struct moving *moving = under_way(record);
    return !any_silent(node) && moving != NULL && step_of(moving) == PST_MOVE_INTENT && moving->ask_ns != 0 &&
           !moving->goes && !moving->writes && !moving->written && record->state == GRAPH_RUNNING;
}

static bool may_get(const struct pst_node *node, const struct graph_record *record, const char *name)
{
    const struct member *member = pst_coordinator_member(node->duty, name);
    return member != NULL && member->alive && member->lost_ns == 0 && pst_member_takes(member) &&
           !record->unfit[member - node->duty->members];
}

/* Any of them but this one. */
static bool others_may_get(const struct pst_node *node, const struct graph_record *record, const char *name)
{
    bool any = false;
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        any |= strcmp(node->duty->members[i].name, name) != 0 && may_get(node, record, node->duty->members[i].name);
    return any;
}

/* ---- whether keys can be had: a graph that had to ask in vain would have to ask again where it was ---- */

static bool has_part(const struct graph_record *record, const char *name)
{
    const Pst__Start *start = record->start->start;
    const Pst__MoveRecord *body = record_of(record->moving->now);
    bool any = body->n_places != 0 && strcmp(body->to_node, name) == 0;
    for (size_t i = 0; i < start->n_places; i++)
        any |= strcmp(start->nodes[start->places[i]->node], name) == 0;
    return any;
}

static void probe(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    Pst__Probe body = PST__PROBE__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.keys = record->start->start->keys;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.move = moving->now->message->move;
    message.body_case = PST__CONTROL__BODY_PROBE;
    message.probe = &body;
    for (uint32_t i = 0; i < node->duty->member_count; i++) {
        const struct member *member = &node->duty->members[i];
        bool part = has_part(record, member->name) || may_get(node, record, member->name);
        moving->probed[i] = body.keys[0] != '\0' && member->alive && member->lost_ns == 0 && member->probes && part;
        if (moving->probed[i])
            pst_coordinator_tell(node, member->name, &message);
    }
}

void pst_relocation_probed(struct pst_node *node, struct graph_record *record, const char *name,
                           const Pst__Control *message)
{
    struct moving *moving = under_way(record);
    const struct member *member = pst_coordinator_member(node->duty, name);
    char why[PST_CONTROL_NAME_BYTES_MAX + 400];
    if (moving == NULL || member == NULL || moving->now->message->move != message->move || !message->probe->answer ||
        record->start->incarnation != message->incarnation || step_of(moving) != PST_MOVE_INTENT || moving->writes ||
        moving->written || !moving->probed[member - node->duty->members])
        return;
    moving->probed[member - node->duty->members] = false;
    node->any = true;
    if (message->probe->error == PST_OK)
        return;
    (void)snprintf(why, sizeof why, "node %.60s: %.330s", name, message->probe->sentence);
    if (has_part(record, name))
        pst_relocation_drop(node, record, PST_MOVE_BY_REFUSED, why);
    else
        unfit_mark(node, record, name); /* it goes to others, if there are any */
}

/* Who is away meanwhile is not waited for: it answers no more. */
static bool all_probed(struct pst_node *node, const struct graph_record *record)
{
    struct moving *moving = record->moving;
    bool all = true;
    for (uint32_t i = 0; i < node->duty->member_count; i++) {
        moving->probed[i] &= node->duty->members[i].alive && node->duty->members[i].lost_ns == 0;
        all &= !moving->probed[i];
    }
    return all;
}

bool pst_relocation_may(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    const Pst__MoveRecord *body = record_of(record->moving->now);
    char why[PST_CONTROL_NAME_BYTES_MAX + 100] = "";
    for (size_t i = 0; i < start->n_places && !start->fed; i++)
        if (strcmp(start->places[i]->operator_id, record->graph->nodes[record->graph->source].id) == 0 &&
            !record->rereads[start->places[i]->node])
            (void)snprintf(why, sizeof why, "its input cannot be read again, as a pipe cannot: it stays where it is");
    for (size_t i = 0; i < body->n_places; i++)
        if (body->places[i]->to_node[0] != '\0' && !may_get(node, record, body->places[i]->to_node))
            (void)snprintf(why, sizeof why, "node %s is gone, or gets nothing any more", body->places[i]->to_node);
        else if (!scales(body) && !others_may_get(node, record, body->places[i]->from_node))
            (void)snprintf(why, sizeof why, "there is no other node that could take it");
    if (why[0] != '\0')
        pst_relocation_drop(node, record, PST_MOVE_BY_REFUSED, why);
    record->moving->goes = why[0] == '\0';
    return why[0] == '\0';
}

static bool all_ready(const struct graph_record *record)
{
    bool all = true, keys = record->graph->carry != NULL;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        all &= record->ended[i] || record->left[i] || record->gone[i] ||
               (record->started[i] && (!keys || record->ready[i]));
    return all;
}

static void intent_step(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    bool late = now_ns(node) > moving->deadline_ns;
    char why[sizeof record->given_up + 100];
    if (moving->goes && !late)
        return; /* its node that reads is away */
    (void)snprintf(why, sizeof why, "its deadline passed, and there was no checkpoint%s%.300s",
                   record->given_up[0] != '\0' ? ": " : "", record->given_up);
    if (record->stop_to != NULL)
        pst_relocation_drop(node, record, PST_MOVE_BY_CANCEL, "the graph is to be stopped");
    else if (pst_moves_any_ended(record))
        pst_relocation_drop(node, record, PST_MOVE_BY_CANCEL, "the graph is at its end");
    else if (late)
        pst_relocation_drop(node, record, PST_MOVE_BY_LATE, why);
    else if (record->state == GRAPH_RUNNING && record->settling == 0 && all_probed(node, record) && !any_silent(node) &&
             now_ns(node) >= moving->ask_ns)
        ask(node, record);
    if (moving->now != NULL && step_of(moving) == PST_MOVE_INTENT && now_ns(node) < moving->ask_ns)
        (void)node->world->alarm(node->world->self, 0, moving->ask_ns);
}

void pst_relocation_step(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    bool runs = record->state == GRAPH_RUNNING && !record->restored && !record->begins;
    uint32_t step = step_of(moving);
    if (record->restored || record->saving || moving->writes || moving->written)
        return;
    if (step == PST_MOVE_INTENT) {
        intent_step(node, record);
    } else if (step == PST_MOVE_READY && runs && all_ready(record)) {
        done(node, record);
        pst_coordinator_commit(node, record);
    } else if (step == PST_MOVE_READY && now_ns(node) > moving->deadline_ns) {
        pst_relocation_drop(node, record, PST_MOVE_BY_LATE, "its deadline passed");
    } else if (step == PST_MOVE_ABORTED && moving->went_back && runs) {
        ended(node, record, record_of(moving->now)->why == PST_MOVE_WHY_LATE ? PST_ETIMEOUT : PST_EREFUSED,
              moving->why);
    }
}

void pst_relocation_committed(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    uint32_t step = step_of(moving);
    if (step == PST_MOVE_INTENT)
        probe(node, record);
    else if (step == PST_MOVE_DONE)
        ended(node, record, PST_OK, "");
    else if (step == PST_MOVE_ABORTED && !moving->goes_back && !moving->went_back)
        ended(node, record, record_of(moving->now)->why == PST_MOVE_WHY_LATE ? PST_ETIMEOUT : PST_EREFUSED,
              moving->why);
}

/* ---- restarts ---- */

/* As if this coordinator had begun it; deadline_ns is for whoever goes on with it. */
static void take(struct moving *moving, struct past *past)
{
    moving->now = past;
    moving->relocates = true;
    moving->relocated = moving->goes = moving->goes_back = moving->went_back = false;
    moving->stage = NO_STAGE;
    moving->refused = moving->rolls_back = moving->waits_cut = false;
    moving->begun_ns = moving->stands_ns = moving->ask_ns = moving->deadline_ns = 0;
    moving->bytes = record_of(past)->bytes;
    moving->bytes_total = moving->longest_pause_ns = 0;
    moving->admitted[0] = moving->why[0] = '\0';
    memset(moving->part, 0, sizeof moving->part);
}

bool pst_relocation_goes_on(struct pst_node *node, struct graph_record *record)
{
    struct past *last = record->past_count != 0 ? record->past[record->past_count - 1] : NULL;
    struct moving *moving = under_way(record);
    if (last == NULL || !record_of(last)->relocates)
        return false;
    if (moving != NULL && (moving->goes || moving->goes_back || moving->went_back))
        return true;
    if (record_of(last)->step != PST_MOVE_READY)
        return false;
    if (moving == NULL) {
        moving = pst_moves_of(record);
        if (moving == NULL)
            return false;
        take(moving, last);
    }
    if (moving->deadline_ns == 0)
        moving->deadline_ns = now_ns(node) + DEADLINE_NS;
    return true;
}

bool pst_relocation_goes_back(const struct graph_record *record)
{
    const struct moving *moving = under_way(record);
    return moving != NULL && moving->goes_back;
}

/* Of this name; it is added where it is not there. UINT32_MAX: no memory. */
static uint32_t node_index(struct pst_arena *arena, Pst__Start *start, const char *name)
{
    for (uint32_t i = 0; i < start->n_nodes; i++)
        if (strcmp(start->nodes[i], name) == 0)
            return i;
    char *copy = pst_arena_strdup(arena, name);
    if (copy == NULL)
        return UINT32_MAX;
    start->nodes[start->n_nodes] = copy;
    return (uint32_t)start->n_nodes++;
}

/* All of the operator's places are those that it had. `nodes` and `places` have room for them. */
static int places_back(const Pst__MoveRecord *body, struct pst_arena *arena, Pst__Start *start)
{
    size_t count = 0;
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, body->operator_id) != 0)
            start->places[count++] = start->places[i];
    start->n_places = count;
    for (size_t i = 0; i < body->n_places; i++) {
        const Pst__Relocated *item = body->places[i];
        if (strcmp(item->operator_id, body->operator_id) != 0)
            continue;
        Pst__Place *place = pst_arena_alloc(arena, sizeof *place);
        if (place == NULL)
            return PST_ENOMEM;
        pst__place__init(place);
        place->operator_id = item->operator_id;
        place->partition = item->from_partition;
        place->node = node_index(arena, start, item->from_node);
        if (place->node == UINT32_MAX)
            return PST_ENOMEM;
        start->places[start->n_places++] = place;
    }
    return PST_OK;
}

/* Of the operator that gets another number of partitions: who is to have a bucket, or had it before. */
static int partitions_wish(const struct graph_record *record, const struct moving *moving, struct pst_arena *arena,
                           Pst__Start *start)
{
    const Pst__MoveRecord *body = record_of(moving->now);
    uint32_t n = pst_graph_find(record->graph, body->operator_id);
    const struct pst_graph_node *op = n < record->graph->node_count ? &record->graph->nodes[n] : NULL;
    if (op == NULL || op->op->role != PST_ROLE_PLAIN || body->n_partitions != op->bucket_count ||
        body->partition_count > op->bucket_count)
        return PST_EINVAL;
    struct layout *layout = pst_malloc(sizeof *layout);
    int rc = layout != NULL ? pst_layout_read(start, op, layout) : PST_ENOMEM;
    if (rc == PST_OK && moving->goes)
        pst_layout_rescale(layout, op->bucket_count, body->partition_count);
    for (uint32_t b = 0; b < op->bucket_count && rc == PST_OK && !moving->goes; b++)
        layout->of[b] = (uint16_t)body->partitions[b];
    if (rc == PST_OK)
        rc = pst_layout_put(layout, op, arena, start);
    if (rc == PST_OK && !moving->goes)
        rc = places_back(body, arena, start);
    pst_free(layout);
    return rc;
}

int pst_relocation_wish(const struct graph_record *record, struct pst_arena *arena, Pst__Start *start)
{
    const struct moving *moving = under_way(record);
    if (moving == NULL || (!moving->goes && !moving->goes_back))
        return PST_OK;
    const Pst__MoveRecord *body = record_of(moving->now);
    char **nodes = pst_arena_alloc(arena, (start->n_nodes + body->n_places + 1) * sizeof *nodes);
    Pst__Place **places = pst_arena_alloc(arena, (start->n_places + body->n_places + 1) * sizeof *places);
    if (nodes == NULL || places == NULL)
        return PST_ENOMEM;
    if (start->n_nodes != 0)
        memcpy(nodes, start->nodes, start->n_nodes * sizeof *nodes);
    start->nodes = nodes;
    for (size_t i = 0; i < start->n_places; i++) {
        const Pst__Place *was = start->places[i];
        places[i] = pst_arena_alloc(arena, sizeof **places);
        if (places[i] == NULL)
            return PST_ENOMEM;
        *places[i] = *was;
        for (size_t k = 0; k < body->n_places; k++) {
            const Pst__Relocated *item = body->places[k];
            const char *name = moving->goes ? item->to_node : item->from_node;
            if (was->copy_of != 0 || was->partition != (moving->goes ? item->from_partition : item->to_partition) ||
                strcmp(was->operator_id, item->operator_id) != 0 || name[0] == '\0')
                continue;
            places[i]->node = node_index(arena, start, name);
            if (places[i]->node == UINT32_MAX)
                return PST_ENOMEM;
        }
    }
    start->places = places;
    return scales(body) ? partitions_wish(record, moving, arena, start) : PST_OK;
}

int pst_relocation_placed(struct pst_node *node, struct graph_record *record, const Pst__Start *original)
{
    struct moving *moving = under_way(record);
    int rc = PST_OK;
    if (moving == NULL)
        return PST_OK;
    Pst__MoveRecord *body = record_of(moving->now);
    if (moving->goes) {
        rc = gone_fill(node, record, original);
        if (rc != PST_OK)
            return rc;
        pst_node_log(node, "graph %s, move %llu: INTENT -> READY, with checkpoint %016llx", record->start->graph,
                     (unsigned long long)moving->now->message->move, (unsigned long long)record->complete);
        body->step = PST_MOVE_READY;
        body->bytes = moving->bytes;
    } else if (body->step == PST_MOVE_READY) {
        rc = gone_update(record);
    } else if (moving->goes_back) {
        moving->went_back = true;
    } else {
        return PST_OK;
    }
    moving->goes = moving->goes_back = false;
    moving->now->message->incarnation = record->start->incarnation + 1;
    moving->writes = true;
    return rc;
}

void pst_relocation_begins(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = under_way(record);
    if (moving != NULL && moving->stands_ns == 0 && moving->begun_ns != 0 && step_of(moving) == PST_MOVE_READY)
        moving->stands_ns = now_ns(node);
}

bool pst_relocation_over(struct pst_node *node, struct graph_record *record, struct past *open)
{
    struct moving *moving = record->moving;
    if (open == NULL || !record_of(open)->relocates || record_of(open)->step != PST_MOVE_READY) {
        moving->goes = moving->goes_back = moving->went_back = false;
        return false;
    }
    if (under_way(record) == NULL)
        take(moving, open);
    done(node, record);
    memset(record->gone, 0, sizeof record->gone);
    ended(node, record, PST_OK, "");
    return true;
}

/* ---- another coordinator's ---- */

bool pst_relocation_stand(struct graph_record *record, struct past *last)
{
    uint32_t step = record_of(last)->step;
    if (step != PST_MOVE_INTENT && step != PST_MOVE_READY)
        return true;
    struct moving *moving = pst_moves_of(record);
    if (moving == NULL)
        return false;
    take(moving, last);
    return true;
}

/* What waits for a checkpoint is given up, as all moves are that nobody had agreed upon. */
void pst_relocation_resume(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    moving->deadline_ns = now_ns(node) + DEADLINE_NS;
    if (step_of(moving) == PST_MOVE_INTENT)
        pst_relocation_drop(node, record, PST_MOVE_BY_CANCEL, "the coordinator changed");
}

/* ---- what is shown ---- */

void pst_relocation_view(const struct pst_node *node, const struct graph_record *record, struct move_view *ret_view)
{
    const struct moving *moving = record->moving;
    const Pst__MoveRecord *body = record_of(moving->now);
    uint64_t now = now_ns(node);
    uint32_t n = pst_graph_find(record->graph, body->operator_id);
    bool known = moving->begun_ns != 0, open = body->step < PST_MOVE_COMMITTED;
    *ret_view = (struct move_view){.id = moving->now->message->move,
                                   .phase = body->step == PST_MOVE_INTENT    ? "waiting for a checkpoint"
                                            : body->step == PST_MOVE_READY   ? "starting again"
                                            : body->step == PST_MOVE_ABORTED ? "going back"
                                                                             : "handing over",
                                   .step = pst_move_step_name((pst_move_step)body->step),
                                   .operator_index = n < record->graph->node_count ? n : 0,
                                   .from = body->from_partition,
                                   .to = body->to_partition,
                                   .to_node = body->to_node,
                                   .place_count = (uint32_t)body->n_places,
                                   .relocates = true,
                                   .partition_count = body->partition_count,
                                   .bytes = moving->bytes,
                                   .bytes_total = moving->bytes,
                                   .seconds = known ? (double)(now - moving->begun_ns) / 1e9 : 0,
                                   .seconds_left = !open ? -1 : ((double)moving->deadline_ns - (double)now) / 1e9};
    for (size_t i = 0; i < body->n_places; i++)
        ret_view->bucket_count += body->places[i]->buckets;
}
