/* moves.c - see mover.h: the coordinator takes a move from step to step. One move of a graph runs at a time; what a command wants is
 * a list of them. */
#include "engine/mover.h"

#include <string.h>

#define MOVE_DEADLINE_NS (UINT64_C(60) * 1000 * 1000 * 1000)
enum { PARTITIONS_SHOWN_MAX = 1024 };

static const Pst__Step steps[] = {PST__STEP__PREPARE, PST__STEP__COPY,    PST__STEP__LISTEN, PST__STEP__SPEAK,
                                  PST__STEP__LEAVE,   PST__STEP__RELEASE, PST__STEP__SETTLE};
enum { STEP_COUNT = sizeof steps / sizeof *steps, DROPPING = STEP_COUNT };
static const char *const step_names[] = {"prepare", "copy", "listen", "speak", "leave", "release", "settle", "drop"};

struct layout {                        /* of an operator with state */
    uint16_t of[PST_BUCKETS_MAX];      /* by bucket: its partition */
    uint16_t node_of[PST_BUCKETS_MAX]; /* by partition; UINT16_MAX: there is none */
    uint32_t partition_count;          /* one above the highest */
};

struct moving { /* of a graph that runs */
    uint64_t incarnation;
    struct layout **layouts; /* by operator; NULL: it has none */
    uint32_t layout_count;
    bool changed;
    /* the move */
    uint64_t id;
    uint32_t operator_index, from, to, to_node, step; /* of `steps`, or DROPPING */
    uint32_t buckets[PST_BUCKETS_MAX], bucket_count;
    bool acked[NODE_MEMBERS_MAX], refused;
    int64_t time, taken_at; /* time: of the step */
    uint64_t begun_ns, deadline_ns;
    char why[240];
    /* the command */
    uint32_t scale_to; /* partitions that are wanted; 0: it is one move */
    uint32_t moved, moved_buckets;
    uint64_t command_ns;
    uint64_t asked_by, request;
    bool asked_json;
};

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
    if (record->moving != NULL)
        layouts_free(record->moving);
    pst_free(record->moving);
    record->moving = NULL;
}

static int layout_make(const struct graph_record *record, uint32_t n, struct layout **ret_layout)
{
    const struct pst_graph_node *op = &record->graph->nodes[n];
    const Pst__Start *start = record->start->start;
    struct layout *layout = *ret_layout = pst_calloc(1, sizeof *layout);
    if (layout == NULL)
        return PST_ENOMEM;
    memset(layout->node_of, 0xff, sizeof layout->node_of);
    layout->partition_count = op->partition_count;
    for (uint32_t b = 0; b < op->bucket_count; b++)
        layout->of[b] = (uint16_t)((uint64_t)b * op->partition_count / op->bucket_count);
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, op->id) == 0)
            layout->node_of[start->places[i]->partition] = (uint16_t)start->places[i]->node;
    return PST_OK;
}

/* As it is at the beginning of the incarnation, until a move has changed it. */
static struct moving *moving_of(struct graph_record *record)
{
    if (record->moving != NULL && record->moving->incarnation != record->start->incarnation)
        pst_moves_end(record);
    if (record->moving != NULL)
        return record->moving;
    struct moving *moving = record->moving = pst_calloc(1, sizeof *moving);
    uint32_t count = record->graph->node_count;
    if (moving == NULL)
        return NULL;
    moving->incarnation = record->start->incarnation;
    moving->layouts = pst_calloc(count, sizeof(struct layout *));
    moving->layout_count = moving->layouts != NULL ? count : 0;
    int rc = moving->layouts != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t n = 0; n < count && rc == PST_OK; n++)
        if (record->graph->nodes[n].op->role == PST_ROLE_PLAIN)
            rc = layout_make(record, n, &moving->layouts[n]);
    if (rc != PST_OK)
        pst_moves_end(record);
    return record->moving;
}

static uint32_t owned(const struct layout *layout, uint32_t bucket_count, uint32_t partition)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < bucket_count; b++)
        count += layout->of[b] == partition;
    return count;
}

static uint32_t serving(const struct layout *layout, uint32_t bucket_count)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < layout->partition_count; p++)
        count += owned(layout, bucket_count, p) != 0;
    return count;
}

bool pst_moves_knows(const struct graph_record *record, const char *operator_id)
{
    for (uint32_t n = 0; n < record->moving->layout_count; n++)
        if (record->moving->layouts[n] != NULL && strcmp(record->graph->nodes[n].id, operator_id) == 0)
            return true;
    return false;
}

bool pst_moves_layout(const struct graph_record *record, bool json, struct pst_text *out)
{
    const struct moving *moving = record->moving;
    const Pst__Start *start = record->start->start;
    if (moving == NULL || moving->incarnation != record->start->incarnation || !moving->changed)
        return false;
    for (uint32_t n = 0, shown = 0; n < moving->layout_count; n++) {
        const struct pst_graph_node *op = &record->graph->nodes[n];
        for (uint32_t p = 0; moving->layouts[n] != NULL && p < moving->layouts[n]->partition_count; p++) {
            uint32_t buckets = owned(moving->layouts[n], op->bucket_count, p);
            if (buckets == 0 || shown == PARTITIONS_SHOWN_MAX)
                continue;
            const char *on = start->nodes[moving->layouts[n]->node_of[p]];
            if (json)
                (void)pst_text_printf(out, "%s{\"operator\":\"%s\",\"partition\":%u,\"node\":\"%s\",\"buckets\":%u}",
                                      shown != 0 ? "," : "", op->id, p, on, buckets);
            else
                (void)pst_text_printf(out, "  %s/%u on %s, %u buckets\n", op->id, p, on, buckets);
            shown++;
        }
    }
    return true;
}

/* ---- telling ---- */

static void step_tell(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    const Pst__Start *start = record->start->start;
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.step = moving->step == DROPPING ? PST__STEP__DROP : steps[moving->step];
    body.operator_id = (char *)(uintptr_t)record->graph->nodes[moving->operator_index].id;
    body.from_partition = moving->from;
    body.to_partition = moving->to;
    body.to_node = start->nodes[moving->to_node];
    body.buckets = moving->buckets;
    body.n_buckets = moving->step == 0 ? moving->bucket_count : 0;
    body.time = moving->time;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.move = moving->id;
    message.body_case = PST__CONTROL__BODY_MOVE_STEP;
    message.move_step = &body;
    memset(moving->acked, 0, sizeof moving->acked);
    pst_node_log(node, "graph %s, move %llu: %s", record->start->graph, (unsigned long long)moving->id,
                 step_names[moving->step]);
    for (uint32_t i = 0; i < start->n_nodes; i++)
        pst_coordinator_tell(node, start->nodes[i], &message);
}

static void command_answer(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct moving *moving = record->moving;
    char text[400];
    double seconds = (double)(now_ns(node) - moving->command_ns) / 1e9;
    struct peer *peer = moving->asked_by != 0 ? pst_peer_by_id(node, moving->asked_by) : NULL;
    moving->asked_by = 0;
    if (peer == NULL)
        return;
    (void)snprintf(text, sizeof text,
                   moving->asked_json
                       ? "{\"schema_version\":1,\"moves\":%u,\"buckets\":%u,\"seconds\":%.3f,\"error\":null}\n"
                       : "%u moves, %u buckets, %.3f s\n",
                   moving->moved, moving->moved_buckets, seconds);
    pst_admin_reply(node, peer, moving->request, error, error == PST_OK ? text : NULL, error == PST_OK ? NULL : why);
}

static void drop(struct pst_node *node, struct graph_record *record, const char *why)
{
    struct moving *moving = record->moving;
    if (moving->step == DROPPING)
        return;
    if (why != moving->why)
        (void)snprintf(moving->why, sizeof moving->why, "%s", why);
    moving->step = DROPPING;
    step_tell(node, record);
}

/* ---- beginning ---- */

static uint32_t least_loaded(const struct graph_record *record, const struct moving *moving)
{
    const Pst__Start *start = record->start->start;
    uint32_t load[NODE_MEMBERS_MAX] = {0}, best = 0;
    for (uint32_t n = 0; n < moving->layout_count; n++)
        for (uint32_t b = 0; moving->layouts[n] != NULL && b < record->graph->nodes[n].bucket_count; b++)
            load[moving->layouts[n]->node_of[moving->layouts[n]->of[b]]]++;
    for (uint32_t i = 1; i < start->n_nodes; i++)
        best = load[i] < load[best] ? i : best;
    return best;
}

/* Half of the partition's buckets where `half`, else all of them. */
static void begin(struct pst_node *node, struct graph_record *record, uint32_t n, uint32_t from, uint32_t to_node,
                  bool half)
{
    struct moving *moving = record->moving;
    struct layout *layout = moving->layouts[n];
    uint32_t bucket_count = record->graph->nodes[n].bucket_count, seen = 0, count = owned(layout, bucket_count, from);
    moving->id = ++node->duty->move_ids;
    moving->operator_index = n;
    moving->from = from;
    moving->to = layout->partition_count;
    moving->to_node = to_node;
    moving->bucket_count = 0;
    for (uint32_t b = 0; b < bucket_count; b++) {
        if (layout->of[b] != from)
            continue;
        if (!half || seen >= count / 2)
            moving->buckets[moving->bucket_count++] = b;
        seen++;
    }
    layout->partition_count++; /* a number is never used again */
    moving->step = 0;
    moving->time = moving->taken_at = INT64_MIN;
    moving->refused = false;
    moving->why[0] = '\0';
    moving->begun_ns = now_ns(node);
    moving->deadline_ns = moving->begun_ns + MOVE_DEADLINE_NS;
    step_tell(node, record);
}

/* The next move that a command wants; false: it has all. */
static bool scale_on(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    uint32_t n = moving->operator_index, bucket_count = record->graph->nodes[n].bucket_count, largest = 0;
    struct layout *layout = moving->layouts[n];
    if (serving(layout, bucket_count) >= moving->scale_to || layout->partition_count == bucket_count)
        return false; /* it has all, or there is no number left */
    for (uint32_t p = 1; p < layout->partition_count; p++)
        largest = owned(layout, bucket_count, p) > owned(layout, bucket_count, largest) ? p : largest;
    begin(node, record, n, largest, least_loaded(record, moving), true);
    return true;
}

/* ---- answers ---- */

static bool all_acked(const struct graph_record *record)
{
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        if (!record->moving->acked[i] && !record->ended[i])
            return false;
    return true;
}

static bool any_ended(const struct graph_record *record)
{
    bool any = false;
    for (uint32_t i = 0; i < record->start->start->n_nodes; i++)
        any |= record->ended[i];
    return any;
}

static void done(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    struct layout *layout = moving->layouts[moving->operator_index];
    for (uint32_t i = 0; i < moving->bucket_count; i++)
        layout->of[moving->buckets[i]] = (uint16_t)moving->to;
    layout->node_of[moving->to] = (uint16_t)moving->to_node;
    moving->changed = true;
    moving->moved++;
    moving->moved_buckets += moving->bucket_count;
    pst_node_log(node, "graph %s, move %llu: done, %u buckets in %.3f s", record->start->graph,
                 (unsigned long long)moving->id, moving->bucket_count, (double)(now_ns(node) - moving->begun_ns) / 1e9);
    moving->id = 0;
    if (moving->scale_to != 0 && scale_on(node, record))
        return;
    command_answer(node, record, PST_OK, NULL);
}

static void step_done(struct pst_node *node, struct graph_record *record)
{
    struct moving *moving = record->moving;
    if (moving->step == DROPPING) {
        moving->id = 0;
        command_answer(node, record, PST_EREFUSED, moving->why);
        return;
    }
    if (moving->refused && moving->step < 2) {
        drop(node, record, moving->why);
        return;
    }
    if (++moving->step == STEP_COUNT) {
        done(node, record);
        return;
    }
    if (steps[moving->step] == PST__STEP__LISTEN)
        moving->time = moving->taken_at; /* the cut: the lane has all from there on; the giver stops where it is */
    step_tell(node, record);
}

void pst_moves_on(struct pst_node *node, struct graph_record *record, const char *member, const Pst__Control *message)
{
    struct moving *moving = record->moving;
    const Pst__MoveStep *body = message->move_step;
    const Pst__Start *start = record->start->start;
    uint32_t index = 0;
    while (index < start->n_nodes && strcmp(start->nodes[index], member) != 0)
        index++;
    if (moving == NULL || moving->incarnation != message->incarnation || moving->id == 0 ||
        moving->id != message->move || index == start->n_nodes)
        return;
    node->any = true;
    if (body->step == PST__STEP__REFUSED) {
        char why[sizeof moving->why];
        (void)snprintf(why, sizeof why, "node %.60s: %.150s", member, body->why);
        if (moving->step == 1)
            drop(node, record, why);
        else if (moving->step == 0) { /* the others are making theirs */
            moving->refused = moving->acked[index] = true;
            (void)snprintf(moving->why, sizeof moving->why, "%s", why);
        }
    } else if (moving->step == 1 && body->step == PST__STEP__CAUGHT_UP) {
        moving->taken_at = body->time;
        step_done(node, record);
        return;
    } else if (body->step == (moving->step == DROPPING ? PST__STEP__DROP : steps[moving->step]) && moving->step != 1) {
        moving->acked[index] = true;
        bool later = steps[moving->step % STEP_COUNT] == PST__STEP__PREPARE ||
                     steps[moving->step % STEP_COUNT] == PST__STEP__LEAVE;
        if (later && moving->step != DROPPING && body->time > moving->time)
            moving->time = body->time;
    }
    if (moving->step != 1 && all_acked(record))
        step_done(node, record);
}

/* ---- commands ---- */

static struct graph_record *running(struct pst_node *node, const char *operator_id, uint32_t *ret_operator,
                                    struct pst_text *why)
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
    if (count != 1)
        (void)pst_text_printf(why,
                              count == 0 ? "no graph that runs has an operator `%s`"
                                         : "more than one graph that runs has an operator `%s`",
                              operator_id);
    return count == 1 ? found : NULL;
}

static int may_move(struct graph_record *record, uint32_t n, struct pst_text *why)
{
    const struct pst_graph_node *op = &record->graph->nodes[n];
    struct moving *moving = moving_of(record);
    if (moving == NULL)
        return PST_ENOMEM;
    if (moving->layouts[n] == NULL || op->bucket_count == 1)
        (void)pst_text_printf(why, "operator `%s` has no buckets that could move", op->id);
    else if (record->start->start->checkpoint_every_ns != 0)
        (void)pst_text_printf(why, "a graph with checkpoints cannot be changed while it runs");
    else if (any_ended(record))
        (void)pst_text_printf(why, "the graph is at its end");
    else if (moving->id != 0 || moving->asked_by != 0)
        (void)pst_text_printf(why, "move %llu of this graph runs already", (unsigned long long)moving->id);
    else if (moving->layouts[n]->partition_count >= op->bucket_count)
        (void)pst_text_printf(why, "operator `%s` has had as many partitions as it has buckets, %u", op->id,
                              op->bucket_count);
    else
        return PST_OK;
    return PST_EREFUSED;
}

static void command_begin(struct pst_node *node, struct graph_record *record, const struct submission *asked)
{
    struct moving *moving = record->moving;
    moving->moved = moving->moved_buckets = moving->scale_to = 0;
    moving->command_ns = now_ns(node);
    moving->asked_by = asked->asked_by;
    moving->request = asked->request;
    moving->asked_json = asked->json;
}

int pst_moves_move(struct pst_node *node, const struct submission *asked, const char *what, const char *to,
                   struct pst_text *why)
{
    char id[PST_CONTROL_NAME_BYTES_MAX + 1];
    const char *slash = strrchr(what, '/');
    uint64_t partition = 0;
    uint32_t n = 0, to_node = 0;
    if (slash == NULL || (size_t)(slash - what) >= sizeof id || pst_parse_u64(slash + 1, &partition) != PST_OK) {
        (void)pst_text_printf(why, "`%s` is no partition: OPERATOR/NUMBER is wanted, as status shows them", what);
        return PST_EINVAL;
    }
    (void)snprintf(id, sizeof id, "%.*s", (int)(slash - what), what);
    struct graph_record *record = running(node, id, &n, why);
    int rc = record != NULL ? may_move(record, n, why) : PST_EREFUSED;
    if (rc != PST_OK)
        return rc;
    const Pst__Start *start = record->start->start;
    const struct layout *layout = record->moving->layouts[n];
    while (to_node < start->n_nodes && strcmp(start->nodes[to_node], to) != 0)
        to_node++;
    bool there = partition < layout->partition_count &&
                 owned(layout, record->graph->nodes[n].bucket_count, (uint32_t)partition) != 0;
    if (!there)
        (void)pst_text_printf(why, "operator `%s` has no partition %llu", id, (unsigned long long)partition);
    else if (to_node == start->n_nodes)
        (void)pst_text_printf(why, "the graph does not run on a node `%s`", to);
    else if (layout->node_of[partition] == to_node)
        (void)pst_text_printf(why, "%s is on node %s already", what, to);
    if (why->count != 0)
        return PST_EREFUSED;
    command_begin(node, record, asked);
    begin(node, record, n, (uint32_t)partition, to_node, false);
    return PST_OK;
}

int pst_moves_scale(struct pst_node *node, const struct submission *asked, const char *what, uint32_t count,
                    struct pst_text *why)
{
    uint32_t n = 0;
    struct graph_record *record = running(node, what, &n, why);
    int rc = record != NULL ? may_move(record, n, why) : PST_EREFUSED;
    if (rc != PST_OK)
        return rc;
    const struct pst_graph_node *op = &record->graph->nodes[n];
    uint32_t now = serving(record->moving->layouts[n], op->bucket_count);
    if (count == 0 || count > op->bucket_count)
        (void)pst_text_printf(why, "operator `%s` can have 1 to %u partitions, as it has so many buckets", op->id,
                              op->bucket_count);
    else if (count == now)
        (void)pst_text_printf(why, "operator `%s` has %u partitions already", op->id, now);
    else if (count < now)
        (void)pst_text_printf(why, "operator `%s` has %u partitions: to have fewer of them is not possible yet", op->id,
                              now);
    if (why->count != 0)
        return PST_EREFUSED;
    command_begin(node, record, asked);
    record->moving->scale_to = count;
    record->moving->operator_index = n;
    (void)scale_on(node, record);
    return PST_OK;
}

bool pst_moves_under_way(const struct graph_record *record)
{
    return record->moving != NULL && record->moving->id != 0;
}

void pst_moves_over(struct pst_node *node, struct graph_record *record, const char *why)
{
    if (record->moving != NULL && (record->moving->id != 0 || record->moving->asked_by != 0))
        command_answer(node, record, PST_EREFUSED, why);
    pst_moves_end(record);
}

void pst_moves_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        struct moving *moving = record->moving;
        if (moving == NULL)
            continue;
        if (record->state != GRAPH_RUNNING)
            pst_moves_over(node, record, "the graph has ended meanwhile");
        else if (moving->id != 0 && moving->step < 2 && now_ns(node) > moving->deadline_ns)
            drop(node, record, "its deadline passed");
        else if (moving->id != 0 && moving->step < 2 && any_ended(record))
            drop(node, record, "the graph is at its end");
        else if (moving->id != 0 && moving->step != 1 && all_acked(record))
            step_done(node, record); /* the last one that was waited for has ended */
    }
}
