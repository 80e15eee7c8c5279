/* moves.c - see mover.h: the coordinator takes a move from step to step, and writes down how far it is. One move of a graph runs at a
 * time. Which step of its record follows from what is the protocol's table (pst_move_rule()); here is what is told to whom meanwhile.
 *
 * A record's step is in the store before what follows from it is said (K3). The commit of COMMITTED changes the owners and their epochs
 * in the graph's record too: whatever happens afterwards, the next incarnation begins with the new owners; before it, with the old. */
#include "engine/mover.h"

#include <string.h>

#define DEAD_NS (UINT64_C(500) * 1000 * 1000) /* a partition's worker is gone: that is said again before */

enum when { ALWAYS, BEHIND, NEW_NODE, CHECKPOINTS, REPLICAS, ENCLAVES, INTO, HANDED_OVER };
enum { AGREED = 1u << PST_MOVE_BY_AGREED };
static const struct stage {
    Pst__Step step;
    const char *name;
    enum when when;
    bool decided, latest; /* latest: each node says an event time, and the latest of them counts */
    uint32_t causes;      /* bits: of what all have done then */
} stages[] = {
    {PST__STEP__KNOW, "know", BEHIND, false, false, 0}, /* a Start, to those that are behind */
    {PST__STEP__ADMIT, "admit", NEW_NODE, false, false, 0},
    {PST__STEP__STEP_UNSAID, "start", NEW_NODE, false, false, 0}, /* a Start, to the new node */
    {PST__STEP__REST, "rest", CHECKPOINTS, false, false, 0},
    {PST__STEP__PREPARE, "prepare", ALWAYS, false, true,
     1u << PST_MOVE_BY_ACCEPTED | 1u << PST_MOVE_BY_BRANCHED | 1u << PST_MOVE_BY_BEGUN},
    {PST__STEP__ATTEST, "attest", ENCLAVES, false, false, 0},
    {PST__STEP__COPY, "copy", ALWAYS, false, false, 1u << PST_MOVE_BY_CAUGHT_UP | AGREED},
    {PST__STEP__ALONE, "alone", REPLICAS, false, false, 0},
    {PST__STEP__LEVEL, "level", REPLICAS, false, false, AGREED}, /* then not by COPY */
    {PST__STEP__LISTEN, "listen", ALWAYS, true, false, 0},
    {PST__STEP__SPEAK, "speak", ALWAYS, true, false, 0},
    {PST__STEP__LEAVE, "leave", HANDED_OVER, true, true, 0},
    {PST__STEP__RELEASE, "release", ALWAYS, true, false, 0},
    {PST__STEP__SETTLE, "settle", ALWAYS, true, false, 0},
    {PST__STEP__JOIN, "join", INTO, true, true, 0},
    {PST__STEP__REROUTE, "reroute", INTO, true, true, 0},
    {PST__STEP__DRAIN, "drain", INTO, true, false, 0},
    {PST__STEP__RETIRE, "retire", ALWAYS, true, false, 1u << PST_MOVE_BY_FINISHED},
    {PST__STEP__DROP, "drop", ALWAYS, false, false, 0},
};
enum { STAGE_DROP = sizeof stages / sizeof *stages - 1 };

static uint32_t stage_of(Pst__Step step)
{
    uint32_t i = 0;
    while (stages[i].step != step)
        i++;
    return i;
}

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

/* ---- what is where ---- */

static void layouts_free(struct moving *moving)
{
    for (uint32_t n = 0; n < moving->layout_count; n++)
        pst_free(moving->layouts[n]);
    pst_free(moving->layouts);
}

void pst_moves_end(struct graph_record *record)
{
    if (record->moving != NULL) {
        pst_order_forget(record->moving);
        layouts_free(record->moving);
        pst_free(record->moving->numbers);
    }
    pst_free(record->moving);
    record->moving = NULL;
}

static int layouts_read(const struct graph_record *record, struct moving *moving)
{
    uint32_t count = record->graph->node_count;
    if (moving->layouts == NULL)
        moving->layouts = pst_calloc(count, sizeof(struct layout *));
    moving->layout_count = moving->layouts != NULL ? count : 0;
    int rc = moving->layouts != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t n = 0; n < count && rc == PST_OK; n++) {
        const struct pst_graph_node *op = &record->graph->nodes[n];
        if (op->op->role != PST_ROLE_PLAIN)
            continue;
        if (moving->layouts[n] == NULL)
            moving->layouts[n] = pst_calloc(1, sizeof **moving->layouts);
        rc = moving->layouts[n] != NULL ? pst_layout_read(record->start->start, op, moving->layouts[n]) : PST_ENOMEM;
    }
    return rc;
}

static uint64_t last_id(const struct graph_record *record)
{
    return record->past_count != 0 ? record->past[record->past_count - 1]->message->move : 0;
}

/* Of an earlier incarnation only what is still to be stored is kept. */
struct moving *pst_moves_of(struct graph_record *record)
{
    struct moving *moving = record->moving;
    if (moving != NULL && moving->incarnation == record->start->incarnation)
        return moving;
    if (moving == NULL)
        moving = record->moving = pst_calloc(1, sizeof *moving);
    if (moving == NULL || layouts_read(record, moving) != PST_OK)
        return NULL;
    moving->incarnation = record->start->incarnation;
    moving->stage = NO_STAGE;
    for (uint32_t i = 0; i < NODE_MEMBERS_MAX; i++) /* with its Start, if that was said by this coordinator */
        moving->known[i] = record->told[i] ? last_id(record) : 0;
    return moving;
}

/* The graph's record says what the layouts say. */
static int layouts_store(struct graph_record *record)
{
    struct pst_arena arena;
    Pst__Start *start = record->start->start, before = *start;
    pst_arena_init(&arena);
    int rc = pst_layouts_write(record->moving->layouts, record->graph, &arena, start);
    if (rc != PST_OK) {
        *start = before;
        pst_arena_fini(&arena);
        return rc;
    }
    pst_arena_fini(&record->places_arena);
    record->places_arena = arena;
    return PST_OK;
}

static Pst__MoveRecord *record_of(const struct past *past) { return past->message->move_record; }

/* What is at it only goes forward; and all but its last commit is still to come. */
static bool is_decided(const struct moving *moving)
{
    return moving != NULL && moving->now != NULL && !moving->relocates &&
           record_of(moving->now)->step >= PST_MOVE_COMMITTED && record_of(moving->now)->step != PST_MOVE_ABORTED;
}

/* ---- replicas ---- */

/* As it is, or will be when what moves was given up. */
static bool is_replaced(struct graph_record *record, const Pst__Place *place)
{
    struct moving *moving = pst_moves_of(record);
    uint32_t n = pst_graph_find(record->graph, place->operator_id);
    if (moving == NULL || n == record->graph->node_count || record->graph->nodes[n].op->role != PST_ROLE_PLAIN)
        return false;
    const struct layout *layout = moving->layouts[n];
    uint32_t twin = layout->twin[place->partition];
    if (twin == UINT16_MAX)
        return false;
    uint32_t other = layout->node_of[twin];
    return other < record->start->start->n_nodes && !record->ended[other] && !record->gone[other];
}

bool pst_moves_replaces(struct graph_record *record, const Pst__Place *place)
{
    const struct moving *moving = pst_moves_of(record);
    return moving != NULL && moving->now == NULL && !moving->writes && !moving->written && is_replaced(record, place);
}

/* Of both, the one goes. */
static void twin_goes(const struct graph_record *record, uint32_t n, uint32_t partition)
{
    struct layout *layout = record->moving->layouts[n];
    uint32_t twin = layout->twin[partition];
    layout->twin[partition] = layout->twin[twin] = UINT16_MAX;
    layout->node_of[partition] = UINT16_MAX;
    for (uint32_t b = 0; b < record->graph->nodes[n].bucket_count; b++) {
        if (layout->of[b] != partition)
            continue;
        layout->of[b] = (uint16_t)twin;
        layout->epoch[b]++;
    }
}

int pst_moves_take_over(struct graph_record *record, uint32_t index)
{
    struct moving *moving = record->moving;
    for (uint32_t n = 0; n < moving->layout_count; n++) {
        struct layout *layout = moving->layouts[n];
        for (uint32_t p = 0; layout != NULL && p < layout->partition_count; p++) {
            if (layout->node_of[p] == index && layout->twin[p] != UINT16_MAX)
                twin_goes(record, n, p);
        }
    }
    int rc = layouts_store(record);
    if (rc != PST_OK)
        (void)layouts_read(record, moving);
    return rc;
}

bool pst_moves_has(struct graph_record *record, const Pst__Ended *ended, uint32_t index)
{
    const struct moving *moving = pst_moves_of(record);
    uint32_t n = pst_graph_find(record->graph, ended->operator_id);
    const struct layout *layout = moving != NULL && n != record->graph->node_count ? moving->layouts[n] : NULL;
    return layout != NULL && ended->partition < layout->partition_count && layout->node_of[ended->partition] == index &&
           layout->born[ended->partition] == ended->born;
}

/* Everybody who might have a part in it, or coordinate next, knows what that is. */
static bool all_know(const struct pst_node *node)
{
    bool all = true;
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        all &= !node->duty->members[i].alive || node->duty->members[i].outlives;
    return all;
}

bool pst_moves_may_replace(const struct pst_node *node, struct graph_record *record, const Pst__Ended *ended,
                           uint32_t index)
{
    Pst__Place place = PST__PLACE__INIT;
    place.operator_id = ended->operator_id;
    place.partition = ended->partition;
    return pst_moves_has(record, ended, index) && is_replaced(record, &place) && all_know(node);
}

bool pst_moves_touches(const struct graph_record *record, const Pst__Ended *ended)
{
    const struct moving *moving = record->moving;
    bool own = is_decided(moving) && strcmp(record_of(moving->now)->operator_id, ended->operator_id) == 0;
    return is_decided(moving) && (moving->into != NO_PARTITION ||
                                  (own && (ended->partition == moving->from || ended->partition == moving->to)));
}

int pst_moves_replace(struct graph_record *record, const Pst__Ended *ended)
{
    twin_goes(record, pst_graph_find(record->graph, ended->operator_id), ended->partition);
    int rc = layouts_store(record);
    if (rc != PST_OK)
        (void)layouts_read(record, record->moving);
    return rc;
}

bool pst_moves_copies(const struct moving *moving)
{
    return moving->now != NULL && moving->now->message->move_record->copies;
}

/* Something that matters to a move of this operator has copies, or has had: consumers still know what they have taken of them. */
static bool any_copies(const struct graph_record *record, uint32_t moved)
{
    bool any = false;
    for (uint32_t n = 0; n < record->moving->layout_count; n++)
        any |= pst_replicas_matter(record->graph, n, moved);
    return any;
}

static bool is_free(const struct graph_record *record, const struct layout *layout, uint32_t n, uint32_t partition)
{
    return partition >= layout->partition_count ||
           (layout->twin[partition] == UINT16_MAX &&
            pst_layout_owned(layout, record->graph->nodes[n].bucket_count, partition) == 0);
}

/* Each node of the graph, and the one that is to get something, knows how to keep copies while buckets move. */
static bool all_keep(const struct pst_node *node, const struct graph_record *record, const char *to_node)
{
    const Pst__Start *start = record->start->start;
    const struct member *to = pst_coordinator_member(node->duty, to_node);
    bool all = to != NULL && to->keeps;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->nodes[i]);
        all &= record->left[i] || (member != NULL && member->keeps);
    }
    return all;
}

/* What becomes of the giver's copy, where it and all others can stay until then (docs/cluster.md). NONE: they cannot: where lanes are joined
 * to other partitions; and where numbers of partitions would run out, for what goes now leaves its own free. */
static enum replica_then replica_of(const struct pst_node *node, const struct graph_record *record,
                                    const struct wish *wish)
{
    const struct pst_graph_node *op = &record->graph->nodes[wish->operator_index];
    const struct layout *layout = record->moving->layouts[wish->operator_index];
    uint32_t copy = layout->twin[wish->from], unused = 0;
    bool whole = wish->count == pst_layout_owned(layout, op->bucket_count, wish->from);
    for (uint32_t p = 0; p < pst_partition_numbers(op); p++)
        unused += is_free(record, layout, wish->operator_index, p);
    if (wish->into != NO_PARTITION || !all_keep(node, record, wish->to_node) ||
        (!whole && copy == UINT16_MAX && unused < 2))
        return REPLICA_NONE;
    bool there = copy != UINT16_MAX && strcmp(record->start->start->nodes[layout->node_of[copy]], wish->to_node) == 0;
    return whole && !there ? REPLICA_FOLLOWS : REPLICA_ENDS;
}

/* With the decision. */
static void replica_goes_on(const struct moving *moving, struct layout *layout)
{
    uint32_t copy = layout->twin[moving->from];
    if (moving->replica == REPLICA_NONE || copy == UINT16_MAX)
        return;
    bool follows = moving->replica == REPLICA_FOLLOWS;
    layout->twin[moving->from] = UINT16_MAX;
    layout->twin[copy] = follows ? (uint16_t)moving->to : UINT16_MAX;
    if (follows)
        layout->twin[moving->to] = (uint16_t)copy;
    else
        layout->node_of[copy] = UINT16_MAX;
}

/* They are about to go: the store has it before anybody is told (K3), for whoever coordinates next has to know whether they may have been. */
static int copies_forget(struct graph_record *record)
{
    struct moving *moving = record->moving;
    for (uint32_t n = 0; n < moving->layout_count; n++) {
        struct layout *layout = moving->layouts[n];
        if (!pst_replicas_matter(record->graph, n, moving->operator_index))
            continue;
        for (uint32_t p = 0; p < layout->partition_count; p++)
            if (pst_layout_is_copy(layout, record->graph->nodes[n].bucket_count, p))
                layout->node_of[p] = UINT16_MAX;
        memset(layout->twin, 0xff, sizeof layout->twin);
    }
    int rc = layouts_store(record);
    if (rc != PST_OK)
        (void)layouts_read(record, moving);
    return rc;
}

/* ---- records ---- */

static void past_free(struct past *past)
{
    if (past == NULL)
        return;
    pst_arena_fini(&past->arena);
    pst_text_fini(&past->bytes);
    pst_free(past);
}

void pst_moves_forget(struct graph_record *record)
{
    for (uint32_t i = 0; i < record->past_count; i++)
        past_free(record->past[i]);
    record->past_count = 0;
}

static void past_path(const struct graph_record *record, struct past *past, uint64_t id)
{
    (void)snprintf(past->path, sizeof past->path, "moves/%.200s/%llu", record->start->graph, (unsigned long long)id);
}

static int past_fill(struct past *past, const struct graph_record *record, const struct wish *wish,
                     const struct moving *moving)
{
    const struct layout *layout = moving->layouts[wish->operator_index];
    const struct pst_graph_node *op = &record->graph->nodes[wish->operator_index];
    const Pst__Start *start = record->start->start;
    struct pst_arena *arena = &past->arena;
    past->message = pst_arena_alloc(arena, sizeof *past->message);
    Pst__MoveRecord *body = pst_arena_alloc(arena, sizeof *body);
    if (past->message == NULL || body == NULL)
        return PST_ENOMEM;
    pst__control__init(past->message);
    pst__move_record__init(body);
    past->message->body_case = PST__CONTROL__BODY_MOVE_RECORD;
    past->message->move_record = body;
    past->message->graph = pst_arena_strdup(arena, record->start->graph);
    past->message->incarnation = record->start->incarnation;
    body->operator_id = pst_arena_strdup(arena, op->id);
    body->from_node = pst_arena_strdup(arena, start->nodes[layout->node_of[wish->from]]);
    body->to_node = pst_arena_strdup(arena, wish->to_node);
    body->buckets = pst_arena_alloc(arena, op->bucket_count * sizeof *body->buckets);
    if (past->message->graph == NULL || body->operator_id == NULL || body->from_node == NULL || body->to_node == NULL ||
        body->buckets == NULL)
        return PST_ENOMEM;
    body->from_partition = wish->from;
    body->into_partition = wish->into + 1; /* NO_PARTITION: 0 */
    body->copies = wish->copies;
    uint32_t seen = 0, from = pst_layout_owned(layout, op->bucket_count, wish->from) - wish->count;
    for (uint32_t b = 0; b < op->bucket_count && body->n_buckets < wish->count; b++) {
        if (layout->of[b] != wish->from || (wish->marked != NULL ? wish->marked[b] == 0 : seen++ < from))
            continue;
        body->buckets[body->n_buckets++] = b;
        uint32_t epoch = layout->epoch[b] + !wish->copies;
        body->owner_epoch = epoch > body->owner_epoch ? epoch : body->owner_epoch;
    }
    return PST_OK;
}

int pst_moves_restore(struct graph_record *record, const char *path, uint64_t version, const struct pst_text *bytes)
{
    struct past *past = record->past_count < MOVES_KEPT_MAX ? pst_calloc(1, sizeof *past) : NULL;
    if (past == NULL)
        return record->past_count < MOVES_KEPT_MAX ? PST_ENOMEM : PST_EDATA;
    pst_arena_init(&past->arena);
    int rc = pst_control_unpack(bytes->bytes, bytes->count, PST_CONTROL_LONG_BYTES_MAX, &past->arena, &past->message);
    if (rc == PST_OK && (past->message->body_case != PST__CONTROL__BODY_MOVE_RECORD ||
                         strcmp(past->message->graph, record->start->graph) != 0))
        rc = PST_EDATA;
    if (rc != PST_OK) {
        past_free(past);
        return rc;
    }
    past->version = version;
    past->stored_step = record_of(past)->step;
    (void)snprintf(past->path, sizeof past->path, "%s", path);
    uint32_t at = record->past_count++; /* listed by name, kept by number */
    for (; at > 0 && record->past[at - 1]->message->move > past->message->move; at--)
        record->past[at] = record->past[at - 1];
    record->past[at] = past;
    return PST_OK;
}

/* The newest one, if it has not ended: nothing else can have a record that has not. */
static struct past *past_open(const struct graph_record *record)
{
    struct past *last = record->past_count != 0 ? record->past[record->past_count - 1] : NULL;
    return last != NULL && record_of(last)->step != PST_MOVE_DONE && record_of(last)->step != PST_MOVE_ABORTED ? last
                                                                                                               : NULL;
}

int pst_moves_changes(struct graph_record *record, struct pst_store_change *changes, uint32_t *ret_count)
{
    struct moving *moving = record->moving;
    *ret_count = 0;
    if (moving == NULL || !moving->writes)
        return PST_OK;
    struct past *past = record->past[record->past_count - 1];
    pst_text_fini(&past->bytes);
    int rc = pst_control_pack(past->message, &past->bytes);
    if (rc == PST_EINVAL) { /* its sentence was cut within a character */
        record_of(past)->sentence = (char *)(uintptr_t) "";
        pst_text_fini(&past->bytes);
        rc = pst_control_pack(past->message, &past->bytes);
    }
    if (rc != PST_OK)
        return rc;
    changes[(*ret_count)++] = (struct pst_store_change){.path = past->path,
                                                        .expected = past->version,
                                                        .bytes = past->bytes.bytes,
                                                        .byte_count = (uint32_t)past->bytes.count};
    if (past->version == 0 && record->past_count == MOVES_KEPT_MAX) /* the oldest makes room for the next one */
        changes[(*ret_count)++] =
            (struct pst_store_change){.path = record->past[0]->path, .expected = record->past[0]->version};
    past->packed_step = record_of(past)->step;
    moving->writes = false;
    moving->written = true;
    return PST_OK;
}

/* Of those that the record names, and what is between two of them, as somebody would say it who waits. */
static const char *phase_of(const struct moving *moving, uint32_t step)
{
    bool copied = moving->bytes_total != 0 && moving->bytes >= moving->bytes_total;
    return step == PST_MOVE_INTENT      ? "preparing"
           : step == PST_MOVE_ABORTED   ? "giving up"
           : step >= PST_MOVE_COMMITTED ? "handing over"
           : copied                     ? "catching up"
                                        : "copying";
}

bool pst_moves_view(const struct pst_node *node, const struct graph_record *record, struct move_view *ret_view)
{
    const struct moving *moving = record->moving;
    if (moving == NULL || moving->now == NULL)
        return false;
    if (moving->relocates) {
        pst_relocation_view(node, record, ret_view);
        return true;
    }
    uint64_t now = now_ns(node);
    bool decided = record_of(moving->now)->step >= PST_MOVE_COMMITTED;
    bool known = moving->begun_ns != 0; /* when it was begun: else another coordinator did that */
    *ret_view =
        (struct move_view){.id = moving->now->message->move,
                           .phase = phase_of(moving, record_of(moving->now)->step),
                           .step = pst_move_step_name((pst_move_step)record_of(moving->now)->step),
                           .operator_index = moving->operator_index,
                           .from = moving->from,
                           .to = moving->into != NO_PARTITION ? moving->into : moving->to,
                           .to_node = record->start->start->nodes[moving->to_node],
                           .place_count = 1,
                           .bucket_count = (uint32_t)record_of(moving->now)->n_buckets,
                           .bytes = moving->bytes,
                           .bytes_total = moving->bytes_total,
                           .seconds = known ? (double)(now - moving->begun_ns) / 1e9 : 0,
                           .seconds_left = decided || !known ? -1 : ((double)moving->deadline_ns - (double)now) / 1e9};
    return true;
}

/* ---- who has a part in it ---- */

static void nodes_mark(struct graph_record *record, uint32_t n)
{
    const Pst__Start *start = record->start->start;
    const struct layout *layout = record->moving->layouts[n];
    for (size_t i = 0; i < start->n_places && layout == NULL; i++)
        if (strcmp(start->places[i]->operator_id, record->graph->nodes[n].id) == 0)
            record->moving->part[start->places[i]->node] = true;
    for (uint32_t b = 0; layout != NULL && b < record->graph->nodes[n].bucket_count; b++)
        record->moving->part[layout->node_of[layout->of[b]]] = true;
    for (uint32_t p = 0; layout != NULL && p < layout->partition_count; p++)
        if (layout->twin[p] != UINT16_MAX)
            record->moving->part[layout->node_of[p]] = true;
}

/* The owners, who sends to the operator and who gets rows of it; who reads, for checkpoints rest there. All, where copies go. */
static void parts_find(struct graph_record *record)
{
    struct moving *moving = record->moving;
    const struct pst_graph *graph = record->graph;
    uint32_t moved = moving->operator_index;
    memset(moving->part, 0, sizeof moving->part);
    const struct layout *layout = moving->layouts[moved];
    const uint32_t sides[2] = {moving->from, moving->to};
    moving->part[moving->from_node] = moving->part[moving->to_node] = true;
    for (int i = 0; i < 2; i++) /* and whose replica they have, or had */
        if (layout->twin[sides[i]] != UINT16_MAX)
            moving->part[layout->node_of[layout->twin[sides[i]]]] = true;
    for (uint32_t n = 0; n < graph->node_count; n++)
        if (graph->nodes[n].op->role == PST_ROLE_SOURCE || pst_leads_to(graph, n, moved) ||
            pst_leads_to(graph, moved, n))
            nodes_mark(record, n);
    for (uint32_t i = 0; i < record->start->start->n_nodes && moving->copies_end; i++)
        moving->part[i] = !record->left[i];
}

/* It reads input of the graph. */
static bool reads(const struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    const struct pst_graph *graph = record->graph;
    bool any = false;
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (size_t i = 0; graph->nodes[n].op->role == PST_ROLE_SOURCE && i < start->n_places; i++)
            any |= start->places[i]->node == index && strcmp(start->places[i]->operator_id, graph->nodes[n].id) == 0;
    return any;
}

/* Checkpoints go on with it: who reads is told when all others have done it. */
static bool readers_last(const struct stage *stage)
{
    return stage->step == PST__STEP__RETIRE || stage->step == PST__STEP__DROP;
}

/* It has a part in this move, and has had none in one before. */
static bool is_behind(const struct graph_record *record, uint32_t i)
{
    const struct moving *moving = record->moving;
    return moving->part[i] && record->started[i] && moving->known[i] + 1 < moving->now->message->move;
}

static bool any_behind(const struct graph_record *record)
{
    bool any = false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        any |= is_behind(record, i);
    return any;
}

/* ---- telling ---- */

/* What is told to this node itself it may answer at once, and where all others have ended that is the last answer: then the stage is over
 * while it is still being told. */
struct telling {
    uint64_t move;
    uint32_t stage;
    bool readers;
};

static struct telling telling_of(const struct moving *moving)
{
    return (struct telling){moving->now->message->move, moving->stage, moving->readers};
}

static bool is_told(const struct moving *moving, const struct telling *telling)
{
    return moving->now != NULL && moving->now->message->move == telling->move && moving->stage == telling->stage &&
           moving->readers == telling->readers;
}

/* A Start that begins nothing, for it runs: without what does not change in it. */
static void know_tell(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    struct telling telling = telling_of(moving);
    Pst__Control message = *record->start;
    Pst__Start start = *record->start->start;
    message.start = &start;
    message.move = moving->now->message->move;
    start.text = (ProtobufCBinaryData){0};
    start.n_settings = 0;
    for (uint32_t i = 0; i < start.n_nodes; i++)
        moving->acked[i] = !is_behind(record, i);
    for (uint32_t i = 0; i < start.n_nodes && is_told(moving, &telling); i++) {
        start.this_node = i;
        if (!moving->acked[i])
            pst_coordinator_tell(node, start.nodes[i], &message);
    }
}

/* What a step has to say, but for its name. */
static void step_fill(const struct pst_node *node, const struct graph_record *record, Pst__MoveStep *body)
{
    const struct moving *moving = record->moving;
    const Pst__MoveRecord *wanted = record_of(moving->now);
    const struct member *admitted =
        moving->admitted[0] != '\0' ? pst_coordinator_member(node->duty, moving->admitted) : NULL;
    body->operator_id = wanted->operator_id;
    body->from_partition = moving->from;
    body->to_partition = moving->to;
    body->into_partition = moving->into + 1; /* NO_PARTITION: 0 */
    body->to_node = wanted->to_node;
    body->copies = wanted->copies;
    if (body->step == PST__STEP__PREPARE) {
        body->buckets = wanted->buckets;
        body->n_buckets = wanted->n_buckets;
        body->replica = moving->replica;
    }
    if (body->step == PST__STEP__ATTEST || body->step == PST__STEP__COPY) {
        body->giver_words = (ProtobufCBinaryData){moving->word_bytes[0], (uint8_t *)(uintptr_t)moving->words[0]};
        body->taker_words = (ProtobufCBinaryData){moving->word_bytes[1], (uint8_t *)(uintptr_t)moving->words[1]};
    }
    if (body->step == PST__STEP__ADMIT && admitted != NULL) {
        body->address = (char *)(uintptr_t)admitted->address;
        body->workers = admitted->workers;
    }
    if (body->step == PST__STEP__SETTLE) {
        body->numbers = moving->numbers;
        body->n_numbers = moving->number_count;
    }
    const struct member *taker =
        body->step == PST__STEP__COPY ? pst_coordinator_member(node->duty, wanted->to_node) : NULL;
    body->parts = taker != NULL && taker->parts;
    body->more = body->step == PST__STEP__SETTLE && moving->portions.rest.count != 0;
    body->time = moving->time;
}

static void step_tell(struct pst_node *node, struct graph_record *record, Pst__Step step, uint32_t i)
{
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.step = step;
    step_fill(node, record, &body);
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.move = record->moving->now->message->move;
    message.body_case = PST__CONTROL__BODY_MOVE_STEP;
    message.move_step = &body;
    pst_coordinator_tell(node, record->start->start->nodes[i], &message);
}

/* To one that has not answered it yet. */
static void stage_say(struct pst_node *node, struct graph_record *record, uint32_t i)
{
    const struct moving *moving = record->moving;
    if (stages[moving->stage].step == PST__STEP__STEP_UNSAID) {
        pst_coordinator_start(node, record, moving->admitted);
        return;
    }
    if (moving->stage == STAGE_DROP && moving->copies_end && moving->rolls_back) /* it may not have heard it */
        step_tell(node, record, PST__STEP__ALONE, i);
    step_tell(node, record, stages[moving->stage].step, i);
}

static void stage_tell(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    const Pst__Start *start = record->start->start;
    const struct stage *stage = &stages[moving->stage];
    memset(moving->acked, 0, sizeof moving->acked);
    pst_node_log(node, "graph %s, move %llu: %s%s", record->start->graph,
                 (unsigned long long)moving->now->message->move, stage->name,
                 moving->readers ? ", where the input is read" : "");
    node->any = true;
    if (stage->step == PST__STEP__STEP_UNSAID) {
        for (uint32_t i = 0; i < start->n_nodes; i++)
            moving->acked[i] = strcmp(start->nodes[i], moving->admitted) != 0;
        pst_coordinator_start(node, record, moving->admitted);
        return;
    }
    if (stage->step == PST__STEP__KNOW) {
        know_tell(node, record);
        return;
    }
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        bool unborn = !record->started[i] && strcmp(start->nodes[i], moving->admitted) == 0;
        moving->acked[i] = unborn || record->gone[i] || record->left[i] || !moving->part[i] ||
                           (readers_last(stage) && reads(record, i) != moving->readers);
    }
    struct telling telling = telling_of(moving);
    for (uint32_t i = 0; i < start->n_nodes && is_told(moving, &telling); i++)
        if (!moving->acked[i])
            stage_say(node, record, i);
}

static bool all_acked(const struct graph_record *record)
{
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        if (!record->moving->acked[i] && !record->ended[i] && !record->gone[i])
            return false;
    return true;
}

static bool any_gone(const struct graph_record *record)
{
    bool any = false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        any |= record->gone[i];
    return any;
}

bool pst_moves_any_dead(const struct pst_node *node, const struct graph_record *record)
{
    return record->dead_ns != 0 && now_ns(node) < record->dead_ns + DEAD_NS;
}

/* One that takes part has no connection at this moment; or a partition is dead, and its replica is needed. */
static bool any_away(const struct pst_node *node, const struct graph_record *record)
{
    bool any = pst_moves_any_dead(node, record);
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++) {
        const struct member *member = pst_coordinator_member(node->duty, record->start->start->nodes[i]);
        any |= record->moving->part[i] && !record->ended[i] && (member == NULL || member->lost_ns != 0);
    }
    return any;
}

static void know_done(struct graph_record *record)
{
    struct moving *moving = record->moving;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        if (is_behind(record, i))
            moving->known[i] = moving->now->message->move - 1;
}

/* ---- ending ---- */

static void ended(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct moving *moving = record->moving;
    if (moving->admitted[0] != '\0' && !record->told[pst_start_index(record->start->start, moving->admitted)])
        pst_coordinator_start(node, record, moving->admitted); /* the others know it: it ends with them */
    /* else it may not have heard of a node that was added */
    bool know = !moving->rolls_back && (error == PST_OK || moving->admitted[0] == '\0');
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        if (know && moving->part[i] && !is_behind(record, i)) /* else it was given up before it knew of those before */
            moving->known[i] = moving->now->message->move;
    bool copies = pst_moves_copies(moving);
    pst_order_ends(node, record, error == PST_OK);
    if (moving->rolls_back)
        pst_node_log(node, "graph %s, move %llu: nothing of it is left", record->start->graph,
                     (unsigned long long)moving->now->message->move);
    moving->now = NULL;
    moving->stage = NO_STAGE;
    moving->rolls_back = false;
    if (copies && error != PST_OK)
        record->unmoved_ns = now_ns(node);
    if (copies)
        pst_order_resume(node, record);
    else
        pst_portions_on(node, record, error, why);
}

/* What happened goes into the record by the protocol's table; false: it changes nothing. */
bool pst_moves_caused(struct pst_node *node, struct graph_record *record, pst_move_cause cause, const char *why)
{
    struct moving *moving = record->moving;
    Pst__MoveRecord *body = record_of(moving->now);
    const struct pst_move_rule *rule = pst_move_rule((pst_move_step)body->step, cause);
    if (rule == NULL || rule->to == PST_MOVE_STEP_COUNT || (uint32_t)rule->to == body->step)
        return false;
    pst_node_log(node, "graph %s, move %llu: %s -> %s, by %s%s%s", record->start->graph,
                 (unsigned long long)moving->now->message->move, pst_move_step_name((pst_move_step)body->step),
                 pst_move_step_name((pst_move_step)rule->to), pst_move_cause_name(cause), why[0] != '\0' ? ": " : "",
                 why);
    body->step = (uint32_t)rule->to;
    if (moving->begun_ns != 0) { /* else another coordinator began it */
        body->bytes = moving->bytes;
        body->longest_pause_ns = moving->longest_pause_ns;
        body->nanoseconds = now_ns(node) - moving->begun_ns;
    }
    if (why[0] != '\0') {
        char *sentence = pst_arena_strdup(&moving->now->arena, why);
        body->sentence = sentence != NULL ? sentence : body->sentence;
    }
    moving->writes = true;
    return true;
}

/* Of what matters to the move there are no copies. Where some were to go for it they have, and nodes may have been told. */
static bool copies_are_gone(const struct graph_record *record)
{
    const struct moving *moving = record->moving;
    for (uint32_t n = 0; n < moving->layout_count; n++)
        for (uint32_t p = 0;
             pst_replicas_matter(record->graph, n, moving->operator_index) && p < moving->layouts[n]->partition_count;
             p++)
            if (moving->layouts[n]->twin[p] != UINT16_MAX)
                return false;
    return true;
}

/* DROP will be told to nodes of which it is not known how much of it they have heard. */
static void rolls_back(struct graph_record *record)
{
    struct moving *moving = record->moving;
    moving->rolls_back = true;
    moving->copies_end = moving->copies_end && copies_are_gone(record); /* else nobody was told that they go */
}

/* Not decided: it is given up. When the store has it, all are told. A node that is being added is so on all of them, first. */
static void drop(struct pst_node *node, struct graph_record *record, pst_move_cause cause, const char *why)
{
    struct moving *moving = record->moving;
    bool adds = moving->stage < STAGE_DROP && stages[moving->stage].when == NEW_NODE;
    if (adds && !moving->refused) {
        moving->refused = true;
        moving->refusal = cause;
        (void)snprintf(moving->why, sizeof moving->why, "%s", why);
    }
    if (moving->stage == STAGE_DROP || (adds && !all_acked(record)) || !pst_moves_caused(node, record, cause, why))
        return;
    if (why != moving->why)
        (void)snprintf(moving->why, sizeof moving->why, "%s", why);
    record_of(moving->now)->why = pst_move_why_of(cause);
    if (moving->away || moving->copies_ended) /* of which the store says already that there are none */
        rolls_back(record);
    moving->stage = STAGE_DROP;
    pst_coordinator_commit(node, record);
}

/* ---- beginning ---- */

uint64_t pst_moves_append(struct graph_record *record, struct past *past)
{
    if (record->past_count == MOVES_KEPT_MAX) { /* it has gone from the store with the commit before */
        past_free(record->past[0]);
        memmove(record->past, record->past + 1, --record->past_count * sizeof *record->past);
    }
    past->message->move = record->past_count != 0 ? record->past[record->past_count - 1]->message->move + 1 : 1;
    past_path(record, past, past->message->move);
    record->past[record->past_count++] = past;
    return past->message->move;
}

/* A node that the graph does not run on yet, at the end of the Start's lists. */
static int node_add(struct graph_record *record, const struct member *member)
{
    Pst__Start *start = record->start->start;
    struct pst_arena *arena = &record->nodes_arena;
    size_t count = start->n_nodes;
    char **nodes = pst_arena_alloc(arena, (count + 1) * sizeof *nodes);
    char **addresses = pst_arena_alloc(arena, (count + 1) * sizeof *addresses);
    uint32_t *workers = pst_arena_alloc(arena, (count + 1) * sizeof *workers);
    if (count == NODE_MEMBERS_MAX || nodes == NULL || addresses == NULL || workers == NULL)
        return count == NODE_MEMBERS_MAX ? PST_EFULL : PST_ENOMEM;
    memcpy(nodes, start->nodes, count * sizeof *nodes);
    memcpy(addresses, start->addresses, count * sizeof *addresses);
    memcpy(workers, start->node_workers, count * sizeof *workers);
    nodes[count] = pst_arena_strdup(arena, member->name);
    addresses[count] = pst_arena_strdup(arena, member->address);
    workers[count] = member->workers;
    if (nodes[count] == NULL || addresses[count] == NULL)
        return PST_ENOMEM;
    record->started[count] = record->ended[count] = record->told[count] = record->left[count] = false;
    start->nodes = nodes;
    start->addresses = addresses;
    start->node_workers = workers;
    start->n_nodes = start->n_addresses = start->n_node_workers = count + 1;
    return PST_OK;
}

static bool applies(const struct graph_record *record, const struct stage *stage)
{
    const struct moving *moving = record->moving;
    return stage->when == BEHIND        ? any_behind(record)
           : stage->when == NEW_NODE    ? moving->admitted[0] != '\0'
           : stage->when == CHECKPOINTS ? record->start->start->checkpoint_every_ns != 0
           : stage->when == REPLICAS    ? moving->copies_end
           : stage->when == ENCLAVES    ? record->graph->nodes[moving->operator_index].enclave
           : stage->when == INTO        ? moving->into != NO_PARTITION
           : stage->when == HANDED_OVER ? !record_of(moving->now)->copies
                                        : true;
}

int pst_moves_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish, uint64_t deadline_ns)
{
    struct moving *moving = record->moving;
    struct layout *layout = moving->layouts[wish->operator_index];
    const Pst__Start *start = record->start->start;
    uint32_t to = 0, numbers = pst_partition_numbers(&record->graph->nodes[wish->operator_index]);
    if (any_gone(record) || pst_moves_any_dead(node, record))
        return PST_EREFUSED; /* first it is known what becomes of what it had */
    while (to < numbers && !is_free(record, layout, wish->operator_index, to))
        to++;
    struct past *past = to < numbers ? pst_calloc(1, sizeof *past) : NULL;
    if (past == NULL)
        return to < numbers ? PST_ENOMEM : PST_EFULL;
    pst_arena_init(&past->arena);
    int rc = past_fill(past, record, wish, moving);
    uint32_t to_node = pst_start_index(start, wish->to_node);
    const struct member *member = pst_coordinator_member(node->duty, wish->to_node);
    bool admits = to_node == start->n_nodes || record->left[to_node];
    if (admits)
        to_node = (uint32_t)start->n_nodes;
    if (rc == PST_OK && admits)
        rc = member != NULL ? node_add(record, member) : PST_EINVAL;
    if (rc != PST_OK) {
        past_free(past);
        return rc;
    }
    uint64_t id = pst_moves_append(record, past);
    record_of(past)->to_partition = to;
    moving->now = past;
    moving->relocates = false;
    moving->operator_index = wish->operator_index;
    moving->from = wish->from;
    moving->to = to;
    moving->to_node = to_node;
    moving->from_node = layout->node_of[wish->from];
    moving->into = wish->into;
    (void)snprintf(moving->admitted, sizeof moving->admitted, "%s", admits ? wish->to_node : "");
    moving->replica = wish->copies ? REPLICA_NONE : replica_of(node, record, wish);
    record_of(past)->keeps = moving->replica != REPLICA_NONE;
    moving->copies_end = !wish->copies && moving->replica == REPLICA_NONE && any_copies(record, wish->operator_index);
    moving->copies_ended = moving->away = moving->rolls_back = false;
    parts_find(record);
    moving->stage = NO_STAGE; /* its record first */
    moving->time = moving->taken_at = INT64_MIN;
    moving->refused = false;
    moving->why[0] = '\0';
    moving->bytes = moving->bytes_total = moving->longest_pause_ns = moving->rows_lost = 0;
    moving->number_count = moving->counted_on = 0;
    moving->word_bytes[0] = moving->word_bytes[1] = 0;
    moving->begun_ns = now_ns(node);
    moving->deadline_ns = moving->begun_ns + deadline_ns;
    moving->waits_cut = moving->readers = false;
    moving->writes = true;
    pst_node_log(node, "graph %s, move %llu: %u buckets of %s/%u on node %s %s %u on node %s", record->start->graph,
                 (unsigned long long)id, wish->count, record_of(past)->operator_id, wish->from,
                 record_of(past)->from_node, wish->copies ? "have a replica in" : "go to",
                 wish->into != NO_PARTITION ? wish->into : to, wish->to_node);
    pst_coordinator_commit(node, record);
    return PST_OK;
}

/* ---- from step to step ---- */

bool pst_moves_any_ended(const struct graph_record *record)
{
    bool any = false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        any |= record->ended[i] && !record->left[i];
    return any;
}

/* The commit point: with this record goes the graph's, which says who owns the buckets now, and who has a copy. */
static int owners_change(struct graph_record *record)
{
    struct moving *moving = record->moving;
    struct layout *layout = moving->layouts[moving->operator_index];
    Pst__MoveRecord *body = record_of(moving->now);
    uint32_t owner = moving->into != NO_PARTITION ? moving->into : moving->to;
    for (size_t i = 0; i < body->n_buckets && !body->copies; i++) {
        layout->of[body->buckets[i]] = (uint16_t)owner;
        layout->epoch[body->buckets[i]]++;
    }
    replica_goes_on(moving, layout);
    if (body->copies) {
        layout->twin[moving->from] = (uint16_t)moving->to;
        layout->twin[moving->to] = (uint16_t)moving->from;
    }
    if (owner == moving->to) {
        layout->node_of[owner] = (uint16_t)moving->to_node;
        layout->born[owner] = (uint32_t)moving->now->message->move;
        if (layout->partition_count <= owner)
            layout->partition_count = owner + 1;
    }
    body->cut = moving->taken_at;
    return layouts_store(record);
}

static void stage_next(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    uint32_t next = moving->stage == NO_STAGE ? 0 : moving->stage + 1;
    if (moving->stage != NO_STAGE && stages[moving->stage].step == PST__STEP__KNOW)
        know_done(record);
    while (next < STAGE_DROP && !applies(record, &stages[next]))
        next++;
    if (next == STAGE_DROP) { /* nothing is left to do */
        ended(node, record, PST_OK, "");
        return;
    }
    moving->waits_cut = stages[next].step == PST__STEP__REST && pst_cuts_first(node, record);
    if (moving->waits_cut)
        return; /* pst_moves_step() goes on */
    if (stages[next].step == PST__STEP__ALONE && !moving->copies_ended) {
        bool away = any_away(node, record); /* if it is dead, they are needed */
        if (away || copies_forget(record) != PST_OK) {
            drop(node, record, PST_MOVE_BY_LOST, away ? "a node that takes part is away" : "no memory");
            return;
        }
        moving->copies_ended = moving->writes = true;
        pst_coordinator_commit(node, record); /* and on when the store has it */
        return;
    }
    moving->stage = next;
    if (stages[next].step == PST__STEP__LISTEN)
        moving->time = moving->taken_at; /* the cut: the lane has all from there on; the giver stops where it is */
    stage_tell(node, record);
}

/* Where up to which number the giver has put out each bucket's rows: the taker compares it with where it began. */
static void left(struct moving *moving, const Pst__MoveStep *body)
{
    uint64_t *numbers = pst_malloc(body->n_numbers * sizeof *numbers);
    if (numbers == NULL)
        return; /* then it is not known whether rows were lost */
    memcpy(numbers, body->numbers, body->n_numbers * sizeof *numbers);
    pst_free(moving->numbers);
    moving->numbers = numbers;
    moving->number_count = body->n_numbers;
}

/* It is in the record from now on, and in the store with the next step. Rows that are known to be lost count though a node has not
 * said it. */
static void settled(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    uint32_t parts = 0;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        parts += moving->part[i];
    bool counted = moving->counted_on == parts || moving->rows_lost != 0;
    record_of(moving->now)->rows_lost = counted ? 1 + moving->rows_lost : 0;
    if (moving->rows_lost != 0)
        pst_node_log(node, "graph %s, move %llu: %llu rows were lost: results behind operator %s are not complete",
                     record->start->graph, (unsigned long long)moving->now->message->move,
                     (unsigned long long)moving->rows_lost, record_of(moving->now)->operator_id);
}

static void stage_done(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    const struct stage *stage = &stages[moving->stage];
    Pst__MoveRecord *body = record_of(moving->now);
    if (readers_last(stage) && !moving->readers) {
        moving->readers = true;
        stage_tell(node, record);
        return;
    }
    if (moving->stage == STAGE_DROP) {
        ended(node, record, body->why == PST_MOVE_WHY_LATE ? PST_ETIMEOUT : PST_EREFUSED, moving->why);
        return;
    }
    if (any_gone(record))
        return; /* nothing is decided without them, and once it is they are replaced first: pst_moves_step() */
    uint32_t causes = stage->causes;
    if (stage->step == PST__STEP__COPY && moving->copies_end)
        causes &= ~(uint32_t)AGREED;                        /* copies that would be in the way go first */
    if ((causes & AGREED) != 0 && any_away(node, record)) { /* if it is dead, this could not be taken back */
        drop(node, record, PST_MOVE_BY_LOST, "a node that takes part is away");
        return;
    }
    if (moving->refused && !stage->decided) {
        drop(node, record, moving->refusal, moving->why);
        return;
    }
    bool changed = false;
    uint32_t before = body->step;
    if (stage->step == PST__STEP__PREPARE)
        body->since = moving->time;
    if (stage->step == PST__STEP__COPY)
        body->latest = moving->taken_at;
    if (stage->step == PST__STEP__SETTLE)
        settled(node, record);
    for (uint32_t cause = 0; cause < PST_MOVE_CAUSE_COUNT; cause++)
        if ((causes & 1u << cause) != 0)
            changed |= pst_moves_caused(node, record, (pst_move_cause)cause, "");
    if (changed && body->step == PST_MOVE_COMMITTED && before != PST_MOVE_COMMITTED &&
        owners_change(record) != PST_OK) {
        body->step = before; /* as if it had not been: nobody was told */
        (void)layouts_read(record, moving);
        drop(node, record, PST_MOVE_BY_LOST, "no memory");
        return;
    }
    if (changed)
        pst_coordinator_commit(node, record); /* and on when the store has it */
    else
        stage_next(node, record);
}

void pst_moves_committed(struct pst_node *node, struct graph_record *record, int rc)
{
    struct moving *moving = record->moving;
    if (moving == NULL || !moving->written)
        return;
    struct past *past = record->past[record->past_count - 1];
    moving->written = false;
    past->version += rc == PST_OK;
    if (rc == PST_OK)
        past->stored_step = past->packed_step;
    else /* it did not happen */
        record_of(past)->step = past->version != 0 ? past->stored_step : PST_MOVE_ABORTED;
    if (rc != PST_OK || moving->writes || moving->now == NULL)
        return; /* the graph ends; there is news already; it was told to nobody any more */
    if (moving->relocates)
        pst_relocation_committed(node, record);
    else if (moving->stage == STAGE_DROP)
        stage_tell(node, record);
    else if (moving->refused && record_of(past)->step < PST_MOVE_COMMITTED && record_of(past)->step != PST_MOVE_INTENT)
        drop(node, record, moving->refusal, moving->why);
    else
        stage_next(node, record);
}

static void refused(struct pst_node *node, struct graph_record *record, const char *member, const Pst__MoveStep *body,
                    uint32_t index)
{
    struct moving *moving = record->moving;
    char why[sizeof moving->why];
    Pst__Step step = stages[moving->stage].step;
    (void)snprintf(why, sizeof why, "node %.60s: %.150s", member, body->why);
    if (step == PST__STEP__COPY || step == PST__STEP__LEVEL) {
        drop(node, record, PST_MOVE_BY_REFUSED, why);
    } else if (step == PST__STEP__PREPARE || step == PST__STEP__ATTEST || step == PST__STEP__ADMIT ||
               step == PST__STEP__KNOW || step == PST__STEP__REST ||
               step == PST__STEP__ALONE) { /* the others are making theirs */
        moving->refused = moving->acked[index] = true;
        moving->refusal = PST_MOVE_BY_REFUSED;
        (void)snprintf(moving->why, sizeof moving->why, "%s", why);
    }
}

/* Of an operator in enclaves: what the workers of giver and lane have to say to each other is brought to them, and looked at by them. */
static void words_take(struct moving *moving, uint32_t index, const Pst__MoveStep *body)
{
    const ProtobufCBinaryData *said[2] = {&body->giver_words, &body->taker_words};
    for (int side = 0; side < 2; side++) {
        bool theirs = index == (side == 0 ? moving->from_node : moving->to_node);
        if (!theirs || said[side]->len == 0 || said[side]->len > sizeof moving->words[side])
            continue;
        memcpy(moving->words[side], said[side]->data, said[side]->len);
        moving->word_bytes[side] = said[side]->len;
    }
}

void pst_moves_on(struct pst_node *node, struct graph_record *record, const char *member, const Pst__Control *message)
{
    struct moving *moving = record->moving;
    const Pst__MoveStep *body = message->move_step;
    uint32_t index = pst_start_index(record->start->start, member);
    if (moving == NULL || moving->incarnation != message->incarnation || moving->now == NULL ||
        moving->now->message->move != message->move || index == record->start->start->n_nodes)
        return;
    if (body->step == PST__STEP__PROGRESS) {
        moving->bytes = body->bytes_done;
        moving->bytes_total = body->bytes_total;
        moving->longest_pause_ns = body->longest_pause_ns;
        return;
    }
    if (body->step == PST__STEP__REFUSED && !moving->refused && moving->stage != STAGE_DROP &&
        (moving->writes || moving->written)) { /* said once: it is looked at when the store has answered */
        moving->refused = true;
        moving->refusal = PST_MOVE_BY_REFUSED;
        (void)snprintf(moving->why, sizeof moving->why, "node %.60s: %.150s", member, body->why);
    }
    if (moving->stage == NO_STAGE || moving->writes || moving->written)
        return;
    const struct stage *stage = &stages[moving->stage];
    node->any = true;
    if (body->step == PST__STEP__REFUSED) {
        refused(node, record, member, body, index);
    } else if (stage->step == PST__STEP__COPY) {
        if (body->step == PST__STEP__CAUGHT_UP) {
            moving->taken_at = body->time;
            stage_done(node, record);
        }
        return;
    } else if (body->step == stage->step) {
        words_take(moving, index, body);
        if (body->rows_lost != 0 && !moving->acked[index]) {
            moving->rows_lost += body->rows_lost - 1;
            moving->counted_on++;
        }
        if (body->n_numbers != 0)
            left(moving, body);
        moving->acked[index] = true;
        if (stage->latest && body->time > moving->time)
            moving->time = body->time;
    }
    if (moving->now != NULL && !moving->writes && !moving->written && stages[moving->stage].step != PST__STEP__COPY &&
        all_acked(record))
        stage_done(node, record);
}

void pst_moves_started(struct pst_node *node, struct graph_record *record, const char *member)
{
    struct moving *moving = record->moving;
    if (moving == NULL || moving->now == NULL || moving->stage == NO_STAGE || moving->writes || moving->written ||
        stages[moving->stage].step != PST__STEP__STEP_UNSAID || strcmp(moving->admitted, member) != 0)
        return;
    moving->acked[pst_start_index(record->start->start, member)] = true;
    stage_done(node, record);
}

void pst_moves_begun(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    const struct moving *moving = record->moving;
    if (moving != NULL && moving->now != NULL && moving->stage == STAGE_DROP && !moving->writes && !moving->written &&
        !moving->acked[index])
        stage_say(node, record, index);
}

int pst_moves_cancel(struct pst_node *node, struct graph_record *record, uint64_t id, struct pst_text *why)
{
    struct moving *moving = record->moving;
    uint32_t i = 0;
    while (i < record->past_count && record->past[i]->message->move != id)
        i++;
    if (i == record->past_count) {
        (void)pst_text_printf(why, "graph `%s` has had no move %llu, or it was long ago", record->start->graph,
                              (unsigned long long)id);
        return PST_EREFUSED;
    }
    bool runs = moving != NULL && moving->now == record->past[i];
    pst_move_step step = (pst_move_step)record_of(record->past[i])->step;
    if (runs && (moving->writes || moving->written) && step < PST_MOVE_COMMITTED) {
        (void)pst_text_printf(why,
                              "the coordination store has not answered yet: give the command again in a few seconds");
        return PST_ETIMEOUT;
    }
    if (!runs || step >= PST_MOVE_COMMITTED) {
        (void)pst_text_printf(why, "move %llu is %s: that cannot be taken back", (unsigned long long)id,
                              pst_move_step_name(step));
        return PST_EREFUSED;
    }
    if (moving->relocates)
        pst_relocation_drop(node, record, PST_MOVE_BY_CANCEL, "it was cancelled");
    else
        drop(node, record, PST_MOVE_BY_CANCEL, "it was cancelled");
    return PST_OK;
}

bool pst_moves_decided(const struct graph_record *record) { return is_decided(record->moving); }

bool pst_moves_open(const struct graph_record *record) { return past_open(record) != NULL; }

bool pst_moves_under_way(const struct graph_record *record)
{
    return record->moving != NULL && record->moving->now != NULL;
}

bool pst_moves_rest(const struct graph_record *record)
{
    if (!pst_moves_under_way(record) || record->moving->stage == NO_STAGE)
        return false;
    Pst__Step step = stages[record->moving->stage].step;
    return step != PST__STEP__KNOW && step != PST__STEP__ADMIT && step != PST__STEP__STEP_UNSAID;
}

void pst_moves_restart(struct pst_node *node, struct graph_record *record)
{
    if (pst_relocation_goes_on(node, record))
        memset(record->gone, 0, sizeof record->gone);
    else
        pst_moves_over(node, record,
                       pst_kept_waits(record) ? "the graph is started again, and the order goes on then: `penstock "
                                                "migration ls` shows how far it is"
                                              : "the graph is started again");
}

/* The next incarnation has none of it: before the commit the old owners go on, after it the new ones. */
void pst_moves_over(struct pst_node *node, struct graph_record *record, const char *why)
{
    struct past *open = past_open(record);
    struct moving *moving = open != NULL ? pst_moves_of(record) : record->moving;
    if (moving != NULL && pst_relocation_over(node, record, open))
        return;
    if (open != NULL && moving != NULL) {
        moving->now = open;
        if (pst_moves_caused(node, record, PST_MOVE_BY_RECOVERY, why) && record_of(open)->step == PST_MOVE_ABORTED)
            record_of(open)->why = PST_MOVE_WHY_RECOVERY;
    }
    memset(record->gone, 0, sizeof record->gone);
    if (moving == NULL)
        return;
    moving->now = NULL;
    moving->stage = NO_STAGE;
    if (moving->order != NULL)
        pst_order_on(node, record, record->kept.found != NULL ? PST_ETIMEOUT : PST_EREFUSED, why);
}

void pst_moves_resign(struct pst_node *node, struct graph_record *record, const char *why)
{
    struct moving *moving = record->moving;
    if (moving == NULL)
        return;
    moving->now = NULL; /* as the store has it it goes on, or is given up, elsewhere */
    moving->relocates = false;
    moving->stage = NO_STAGE;
    if (moving->order != NULL && record->kept.version != 0)
        pst_order_on(node, record, PST_ETIMEOUT,
                     "another node coordinates now, and goes on with it: `penstock migration ls` shows how far it is");
    else if (moving->order != NULL)
        pst_order_on(node, record, PST_EREFUSED, why);
}

/* ---- amid which something ends: the coordinator before this one, a connection, a node ---- */

static struct past *past_last(const struct graph_record *record)
{
    return record->past_count != 0 ? record->past[record->past_count - 1] : NULL;
}

/* The newest move as it would stand here if this coordinator had begun it. False: it is not of this graph as it is. */
static bool stands_again(struct graph_record *record, struct past *past)
{
    struct moving *moving = pst_moves_of(record);
    const Pst__MoveRecord *body = record_of(past);
    const Pst__Start *start = record->start->start;
    uint32_t n = pst_graph_find(record->graph, body->operator_id);
    uint32_t from_node = pst_start_index(start, body->from_node), to_node = pst_start_index(start, body->to_node);
    if (moving == NULL || n == record->graph->node_count || moving->layouts[n] == NULL || from_node == start->n_nodes ||
        to_node == start->n_nodes)
        return false;
    uint32_t numbers = pst_partition_numbers(&record->graph->nodes[n]);
    if (body->from_partition >= numbers || body->to_partition >= numbers || body->into_partition > numbers ||
        body->n_buckets == 0 || body->n_buckets > record->graph->nodes[n].bucket_count)
        return false;
    moving->now = past;
    moving->relocates = false;
    moving->operator_index = n;
    moving->from = body->from_partition;
    moving->from_node = from_node;
    moving->to = body->to_partition;
    moving->to_node = to_node;
    moving->into = body->into_partition - 1; /* 0: none */
    moving->admitted[0] = '\0';
    moving->replica = REPLICA_NONE; /* nobody is told of it any more */
    moving->copies_end = !body->copies && !body->keeps && any_copies(record, n);
    moving->stage = NO_STAGE;
    moving->refused = moving->waits_cut = moving->readers = false;
    moving->copies_ended = moving->away = moving->rolls_back = false;
    moving->bytes = body->bytes;
    moving->longest_pause_ns = body->longest_pause_ns;
    parts_find(record);
    return true;
}

/* What nodes have said of their last move fits the newest one that there is. */
static bool hellos_fit(const struct graph_record *record, uint64_t id, bool decided)
{
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++) {
        const struct heard *heard = &record->heard[i];
        bool part = decided && record->moving->part[i];
        if (record->left[i] || record->ended[i] || !record->started[i] || heard->over)
            continue;
        if ((heard->open && heard->move != id) || (part && (heard->move != id || !heard->resumes)))
            return false;
    }
    return true;
}

static bool any_open(const struct graph_record *record)
{
    bool any = false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        any |= record->heard[i].open;
    return any;
}

bool pst_moves_stand(struct graph_record *record)
{
    struct past *last = past_last(record);
    if (last == NULL || last->message->incarnation != record->start->incarnation)
        return !any_open(record) && past_open(record) == NULL;
    pst_move_step step = (pst_move_step)record_of(last)->step;
    if (record_of(last)->relocates) /* no node takes part in it */
        return !any_open(record) && pst_relocation_stand(record, last);
    if (step == PST_MOVE_DONE) /* all have said that nothing of it is left */
        return !any_open(record);
    if (!stands_again(record, last) || !hellos_fit(record, last->message->move, step == PST_MOVE_COMMITTED))
        return false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        record->moving->part[i] |= record->heard[i].open && !record->left[i];
    if (step != PST_MOVE_COMMITTED)
        rolls_back(record);
    return true;
}

/* It has been decided: all steps from there on again. Who has done one says what it said then. */
static void decided_tell(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    moving->time = moving->taken_at = record_of(moving->now)->cut;
    moving->rows_lost = moving->counted_on = 0;
    moving->number_count = 0;
    moving->readers = false;
    moving->stage = stage_of(PST__STEP__LISTEN);
    stage_tell(node, record);
}

void pst_moves_resume(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    if (moving == NULL || moving->now == NULL)
        return;
    uint32_t step = record_of(moving->now)->step;
    pst_node_log(node, "graph %s, move %llu: it is %s, and another node coordinated then: %s", record->start->graph,
                 (unsigned long long)moving->now->message->move, pst_move_step_name((pst_move_step)step),
                 step == PST_MOVE_COMMITTED || (moving->relocates && step == PST_MOVE_READY)
                     ? "it goes on"
                     : "what is left of it is dropped");
    if (moving->relocates) {
        pst_relocation_resume(node, record);
    } else if (step == PST_MOVE_COMMITTED) {
        decided_tell(node, record);
    } else if (step == PST_MOVE_ABORTED) {
        moving->stage = STAGE_DROP;
        stage_tell(node, record);
    } else {
        drop(node, record, PST_MOVE_BY_CANCEL, "the coordinator changed");
    }
}

/* It takes no more part in the graph, or soon will not. */
static bool is_out(const struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    bool out = record->ended[index] || record->gone[index];
    for (size_t i = 0; i < start->n_left_nodes; i++)
        out |= start->left_nodes[i] == index;
    return out;
}

/* Until consumers have settled, rows below the cut come from the giver or its replica alone. */
static bool brings_the_rest(const struct graph_record *record, uint32_t index)
{
    const struct moving *moving = record->moving;
    const Pst__MoveRecord *body = record_of(moving->now);
    const struct layout *layout = moving->layouts[moving->operator_index];
    if (moving->stage != NO_STAGE && moving->stage > stage_of(PST__STEP__SETTLE))
        return false;
    if (body->copies)
        return index == moving->from_node;
    if (layout->of[body->buckets[0]] != moving->to) /* the replica owns them already: it has a place */
        return false;
    uint32_t copy = layout->twin[moving->to], copy_node = copy != UINT16_MAX ? layout->node_of[copy] : UINT16_MAX;
    bool giver = index != moving->from_node && !is_out(record, moving->from_node);
    bool replica = copy_node != UINT16_MAX && index != copy_node && !is_out(record, copy_node);
    return !giver && !replica;
}

/* All others know what is to be done where this one dies behind a decision. */
static bool all_outlive(const struct pst_node *node, const struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    bool all = true;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->nodes[i]);
        all &= i == index || is_out(record, i) || (member != NULL && member->outlives);
    }
    return all;
}

bool pst_moves_can_lose(const struct pst_node *node, struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    const struct moving *moving = record->moving;
    if (moving != NULL && moving->now != NULL && moving->relocates &&
        record_of(moving->now)->step != PST_MOVE_INTENT) /* nothing of that is given up for a node */
        return false;
    if (is_decided(moving) &&
        (moving->into != NO_PARTITION || brings_the_rest(record, index) || !all_outlive(node, record, index)))
        return false;
    for (size_t i = 0; i < start->n_places; i++)
        if (start->places[i]->node == index && !is_replaced(record, start->places[i]))
            return false;
    return true;
}

void pst_moves_refuse(struct graph_record *record, const char *why)
{
    struct moving *moving = record->moving;
    if (moving == NULL || moving->now == NULL || moving->refused)
        return;
    moving->refused = true;
    moving->refusal = PST_MOVE_BY_REFUSED;
    (void)snprintf(moving->why, sizeof moving->why, "%s", why);
}

bool pst_moves_begins_at(const struct graph_record *record, uint32_t index)
{
    const struct moving *moving = record->moving;
    return moving != NULL && moving->now != NULL && moving->stage != NO_STAGE &&
           stages[moving->stage].step == PST__STEP__STEP_UNSAID && !record->started[index] &&
           strcmp(record->start->start->nodes[index], moving->admitted) == 0;
}

/* A node that takes part was away: what it was told last, and what it said, may be lost. What goes to a node that is being added waits until
 * all know of that one, and it has begun. */
bool pst_moves_again(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    struct moving *moving = record->moving;
    const struct heard *heard = &record->heard[index];
    uint64_t id = moving->now->message->move;
    uint32_t step = record_of(moving->now)->step;
    bool writes = moving->writes || moving->written, open = step < PST_MOVE_COMMITTED;
    bool told =
        moving->stage == STAGE_DROP ||
        (moving->stage != NO_STAGE && (stages[moving->stage].decided || stages[moving->stage].when == NEW_NODE));
    bool gone = record->gone[index];
    record->gone[index] = false;
    if (moving->relocates || !moving->part[index])
        return true;
    if ((heard->open && heard->move != id) ||
        (step == PST_MOVE_COMMITTED && !heard->over && (heard->move != id || !heard->resumes)))
        return false;
    if (open && writes && moving->stage == NO_STAGE)
        return true; /* nobody was told anything of it */
    moving->away = true;
    if (moving->stage == STAGE_DROP)
        rolls_back(record);
    if (moving->stage == STAGE_DROP && gone) /* it was not told, as nobody waited for it */
        moving->acked[index] = reads(record, index) && !moving->readers;
    if (told && !writes && !moving->acked[index])
        stage_say(node, record, index);
    if (!open)
        return true;
    moving->refused = true; /* where the store has not answered yet: when it has */
    moving->refusal = PST_MOVE_BY_LOST;
    (void)snprintf(moving->why, sizeof moving->why, "node %.60s was away", record->start->start->nodes[index]);
    if (!writes)
        drop(node, record, moving->refusal, moving->why);
    return true;
}

/* Without them nothing is decided any more. When all others have dropped it they are released, if they still can be; where it was decided,
 * between two steps. */
static void gone_step(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    if (record->restored || record->begins || !any_gone(record) ||
        (moving != NULL && (moving->writes || moving->written)))
        return;
    if (moving != NULL && moving->now != NULL && !is_decided(moving)) {
        (moving->relocates ? pst_relocation_drop
                           : drop)(node, record, moving->refused ? moving->refusal : PST_MOVE_BY_LOST,
                                   moving->refused ? moving->why : "a node was lost, and is replaced");
        return;
    }
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++) {
        if (!record->gone[i])
            continue;
        record->gone[i] = false;
        pst_coordinator_lost(node, record, i);
    }
}

void pst_moves_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        struct moving *moving = record->moving;
        gone_step(node, record);
        if (moving != NULL && moving->now != NULL && moving->relocates && !moving->writes && !moving->written)
            pst_relocation_step(node, record);
        if (moving != NULL && moving->now != NULL && moving->waits_cut && !moving->writes && !moving->written &&
            moving->stage != STAGE_DROP)
            stage_next(node, record);
        if (moving == NULL || moving->now == NULL || moving->stage == NO_STAGE || moving->writes || moving->written)
            continue;
        const struct stage *stage = &stages[moving->stage];
        bool open = !stage->decided && moving->stage != STAGE_DROP;
        if (open && pst_moves_any_dead(node, record))
            drop(node, record, PST_MOVE_BY_LOST, "the worker of a partition was lost, and is replaced");
        else if (open && now_ns(node) > moving->deadline_ns)
            drop(node, record, PST_MOVE_BY_LATE, "its deadline passed");
        else if (open && pst_moves_any_ended(record))
            drop(node, record, PST_MOVE_BY_CANCEL, "the graph is at its end");
        else if (open && pst_moves_copies(moving) && moving->order != NULL)
            drop(node, record, PST_MOVE_BY_CANCEL, "something else is to move");
        else if (stage->step != PST__STEP__COPY && all_acked(record))
            stage_done(node, record); /* the last one that was waited for has ended */
    }
}
