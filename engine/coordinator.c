/* coordinator.c - see node.h: members, graphs, where their partitions are, and what happens when a node dies.
 *
 * A graph is a record: a Start message as it is sent to its nodes. Whatever changes it - another incarnation, other places - is
 * committed first, then said (K3). Its state beside it is found again by asking: who runs what stands in every hello. */
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

enum {
    SETTINGS_MAX = 64,
    TAKEOVER_PART = 8, /* of the time after which a node is taken for dead: its replicas take over */
    LOST_MAX = 3,      /* workers of enclaves, from one checkpoint */
};
#define COMMAND_NS (UINT64_C(5) * 1000 * 1000 * 1000)
#define SAVING_WHY "it is being stopped, its savepoint is written"

const char *const pst_graph_state_names[] = {"",     "waiting", "starting",  "running",
                                             "done", "failed",  "cancelled", "stopped"};

/* ---- members ---- */

struct member *pst_coordinator_member(struct coordinator *duty, const char *name)
{
    for (uint32_t i = 0; i < duty->member_count; i++)
        if (strcmp(duty->members[i].name, name) == 0)
            return &duty->members[i];
    return NULL;
}

static struct member *member_add(struct coordinator *duty, const char *name, const char *address, uint32_t workers)
{
    struct member *member = pst_coordinator_member(duty, name);
    if (member == NULL && duty->member_count == NODE_MEMBERS_MAX)
        return NULL;
    member = member != NULL ? member : &duty->members[duty->member_count++];
    *member =
        (struct member){.alive = true, .workers = workers, .draining = member->draining, .record = member->record};
    (void)snprintf(member->name, sizeof member->name, "%s", name);
    (void)snprintf(member->address, sizeof member->address, "%s", address);
    return member;
}

static bool is_alive(struct coordinator *duty, const char *name)
{
    const struct member *member = pst_coordinator_member(duty, name);
    return member != NULL && member->alive;
}

uint32_t pst_start_index(const Pst__Start *start, const char *name)
{
    size_t i = start->n_nodes;
    while (i != 0 && strcmp(start->nodes[i - 1], name) != 0)
        i--;
    return (uint32_t)(i != 0 ? i - 1 : start->n_nodes);
}

/* ---- what is said to members ---- */

void pst_coordinator_tell(struct pst_node *node, const char *name, Pst__Control *message)
{
    struct peer *peer = pst_peer_find(node, name);
    if (strcmp(name, node->options.name) == 0) { /* K4 */
        if (message->body_case == PST__CONTROL__BODY_START)
            pst_node_on_start(node, message);
        else if (message->body_case == PST__CONTROL__BODY_STOP)
            pst_node_on_stop(node, message);
        else if (message->body_case == PST__CONTROL__BODY_ENDED)
            pst_node_on_ended(node, message);
        else if (message->body_case == PST__CONTROL__BODY_CHECKPOINTED)
            pst_node_on_checkpointed(node, message);
        else if (message->body_case == PST__CONTROL__BODY_CUT)
            pst_node_on_cut(node, message);
        else if (message->body_case == PST__CONTROL__BODY_MOVE_STEP)
            pst_mover_on(node, message);
        else if (message->body_case == PST__CONTROL__BODY_PROBE)
            pst_probe_on(node, message);
        else if (message->body_case == PST__CONTROL__BODY_READ)
            pst_results_read(node, message);
        else if (message->body_case == PST__CONTROL__BODY_LEAVE)
            node->may_leave = node->any = true;
    } else if (peer != NULL) {
        pst_peer_send(node, peer, message);
    }
}

static void tell_start(struct pst_node *node, struct graph_record *record, const char *only)
{
    Pst__Start *start = record->start->start;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        if (record->left[i] || (only != NULL && strcmp(only, start->nodes[i]) != 0))
            continue;
        start->this_node = i;
        record->told[i] |= pst_peer_find(node, start->nodes[i]) != NULL;
        pst_coordinator_tell(node, start->nodes[i], record->start);
    }
    start->this_node = 0;
}

void pst_coordinator_start(struct pst_node *node, struct graph_record *record, const char *name)
{
    tell_start(node, record, name);
}

static void stop_say(struct pst_node *node, const char *graph, uint64_t incarnation, const char *only, bool ended)
{
    Pst__Stop stop = PST__STOP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    stop.ended = ended;
    message.graph = (char *)(uintptr_t)graph;
    message.incarnation = incarnation;
    message.body_case = PST__CONTROL__BODY_STOP;
    message.stop = &stop;
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        if (only == NULL || strcmp(only, node->duty->members[i].name) == 0)
            pst_coordinator_tell(node, node->duty->members[i].name, &message);
}

static void tell_stop(struct pst_node *node, const char *graph, uint64_t incarnation, const char *only)
{
    stop_say(node, graph, incarnation, only, false);
}

/* ---- places ---- */

static uint32_t least_loaded(const uint32_t *load, const bool *usable, uint32_t count)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (usable[i] && (best == UINT32_MAX || load[i] < load[best]))
            best = i;
    return best;
}

/* Which of the inputs this node reads; UINT32_MAX: none. */
static uint32_t input_of(const Pst__Start *start, const char *source, const char *name)
{
    for (size_t i = 0; i < start->n_source_nodes; i++)
        if (strcmp(start->source_nodes[i], name) == 0)
            return (uint32_t)i;
    return start->n_source_nodes == 0 && strcmp(source, name) == 0 ? 0 : UINT32_MAX;
}

/* One more in start->places, for which there is room. */
static int place_add(struct pst_arena *arena, Pst__Start *start, const char *operator_id, uint32_t partition,
                     uint32_t index)
{
    Pst__Place *place = pst_arena_alloc(arena, sizeof *place);
    if (place == NULL)
        return PST_ENOMEM;
    pst__place__init(place);
    place->operator_id = (char *)(uintptr_t)operator_id;
    place->partition = partition;
    place->node = index;
    start->places[start->n_places++] = place;
    return PST_OK;
}

struct choice { /* of places */
    const struct pst_graph *graph;
    const Pst__Start *before; /* NULL: there was none */
    struct pst_arena *arena;
    Pst__Start *start;
    uint32_t load[NODE_MEMBERS_MAX];
    bool usable[NODE_MEMBERS_MAX], stays[NODE_MEMBERS_MAX]; /* stays: what it had it may have again */
};

/* Where it was, if it may be there again, else where the fewest are; UINT32_MAX: there is none. */
static uint32_t stays_or_goes(struct choice *choice, uint32_t before)
{
    uint32_t index = UINT32_MAX, count = (uint32_t)choice->start->n_nodes;
    for (uint32_t i = 0; choice->before != NULL && before != UINT32_MAX && i < count; i++)
        if (choice->stays[i] && strcmp(choice->start->nodes[i], choice->before->nodes[before]) == 0)
            index = i;
    index = index != UINT32_MAX ? index : least_loaded(choice->load, choice->usable, count);
    if (index != UINT32_MAX)
        choice->load[index]++;
    return index;
}

static int sources_place(struct choice *choice, const struct pst_graph_node *node, const char *source)
{
    Pst__Start *start = choice->start;
    int rc = PST_OK;
    for (uint32_t i = 0; i < start->n_nodes && rc == PST_OK; i++) {
        uint32_t input = input_of(start, source, start->nodes[i]);
        if (input != UINT32_MAX)
            rc = place_add(choice->arena, start, node->id, input, i);
    }
    return rc;
}

static int sink_place(struct choice *choice, const struct pst_graph_node *node)
{
    const Pst__Start *before = choice->before;
    uint32_t was = UINT32_MAX;
    for (size_t i = 0; before != NULL && i < before->n_places; i++)
        if (strcmp(before->places[i]->operator_id, node->id) == 0)
            was = before->places[i]->node;
    uint32_t index = stays_or_goes(choice, was);
    return index != UINT32_MAX ? place_add(choice->arena, choice->start, node->id, 0, index) : PST_EAGAIN;
}

/* A copy of each partition on the node with the fewest of those that have not the original. Where there is none it goes without. */
static void copies_place(struct choice *choice, const struct pst_graph_node *node, struct layout *layout)
{
    uint32_t originals = layout->partition_count;
    for (uint32_t p = 0; p < originals && layout->partition_count < pst_partition_numbers(node); p++) {
        uint32_t original = layout->node_of[p], copy = layout->partition_count;
        bool usable = choice->usable[original];
        choice->usable[original] = false;
        uint32_t index = least_loaded(choice->load, choice->usable, (uint32_t)choice->start->n_nodes);
        choice->usable[original] = usable;
        if (index == UINT32_MAX)
            continue;
        choice->load[index]++;
        layout->node_of[copy] = (uint16_t)index;
        layout->twin[copy] = (uint16_t)p;
        layout->twin[p] = (uint16_t)copy;
        layout->partition_count++;
    }
}

/* Whoever owned a bucket before still does; partitions are numbered anew. */
static int partitions_place(struct choice *choice, const struct pst_graph_node *node, struct layout *layout)
{
    static const Pst__Start none = PST__START__INIT;
    int rc = pst_layout_read(choice->before != NULL ? choice->before : &none, node, layout);
    pst_layout_compact(layout, node->bucket_count);
    for (uint32_t p = 0; p < layout->partition_count && rc == PST_OK; p++) {
        uint32_t index = stays_or_goes(choice, layout->node_of[p] != UINT16_MAX ? layout->node_of[p] : UINT32_MAX);
        layout->node_of[p] = (uint16_t)index;
        rc = index != UINT32_MAX ? PST_OK : PST_EAGAIN;
    }
    if (rc == PST_OK && node->replicas > 1)
        copies_place(choice, node, layout);
    return rc;
}

/* Partitions stay where they were if that node lives; the others go where the fewest are. `start` has its nodes already; it gets its
 * places and layouts, in `arena`. back: they stay on a node that gets nothing any more, too. */
static int places_choose(struct coordinator *duty, const struct pst_graph *graph, const Pst__Start *before,
                         const char *source, bool back, struct pst_arena *arena, Pst__Start *start)
{
    struct choice choice = {.graph = graph, .before = before, .arena = arena, .start = start};
    struct layout **layouts = pst_calloc(graph->node_count, sizeof(struct layout *));
    bool any = false;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        const struct member *member = pst_coordinator_member(duty, start->nodes[i]);
        choice.usable[i] = member != NULL && member->alive && pst_member_takes(member);
        any |= choice.usable[i];
    }
    for (uint32_t i = 0; i < start->n_nodes && !any; i++) /* better one that is to go than none */
        choice.usable[i] = is_alive(duty, start->nodes[i]);
    for (uint32_t i = 0; i < start->n_nodes; i++)
        choice.stays[i] = choice.usable[i] || (back && is_alive(duty, start->nodes[i]));
    start->n_layouts = start->n_places = start->n_left_nodes = start->n_replaced_nodes = 0;
    start->n_replaced_partitions = 0;
    start->places = pst_arena_alloc(arena, (graph->node_count + start->n_nodes) * sizeof *start->places);
    int rc = layouts != NULL && start->places != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        if (node->op->role == PST_ROLE_SOURCE) {
            rc = sources_place(&choice, node, source);
        } else if (node->op->role == PST_ROLE_SINK) {
            rc = sink_place(&choice, node);
        } else if (node->op->role == PST_ROLE_PLAIN) {
            layouts[n] = pst_calloc(1, sizeof **layouts);
            rc = layouts[n] != NULL ? partitions_place(&choice, node, layouts[n]) : PST_ENOMEM;
        }
    }
    if (rc == PST_OK)
        rc = pst_layouts_write(layouts, graph, arena, start);
    for (uint32_t n = 0; layouts != NULL && n < graph->node_count; n++)
        pst_free(layouts[n]);
    pst_free(layouts);
    return rc;
}

/* without: by member, those that are not to be among them; NULL: none. */
static int nodes_choose(struct coordinator *duty, struct pst_arena *arena, const bool *without, Pst__Start *start)
{
    size_t count = duty->member_count;
    start->nodes = pst_arena_alloc(arena, count * sizeof *start->nodes);
    start->addresses = pst_arena_alloc(arena, count * sizeof *start->addresses);
    start->node_workers = pst_arena_alloc(arena, count * sizeof *start->node_workers);
    start->n_nodes = start->n_addresses = start->n_node_workers = 0;
    if (start->nodes == NULL || start->addresses == NULL || start->node_workers == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (!duty->members[i].alive || (without != NULL && without[i]))
            continue;
        size_t at = start->n_nodes++;
        start->nodes[at] = pst_arena_strdup(arena, duty->members[i].name);
        start->addresses[at] = pst_arena_strdup(arena, duty->members[i].address);
        start->node_workers[at] = duty->members[i].workers;
        if (start->nodes[at] == NULL || start->addresses[at] == NULL)
            return PST_ENOMEM;
    }
    start->n_addresses = start->n_node_workers = start->n_nodes;
    return PST_OK;
}

bool pst_coordinator_may_read(struct coordinator *duty, const struct graph_record *record, const char *name)
{
    const struct member *member = pst_coordinator_member(duty, name);
    return member != NULL && member->alive && (member->waits || !pst_cuts_wanted(record)) &&
           (member->streams || !pst_streams_any(record->start->start));
}

/* Of several inputs: the node of one that cannot be read, or else of any. */
static const char *source_of(struct coordinator *duty, const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    const char *id = record->graph->nodes[record->graph->source].id;
    for (size_t i = 0; i < start->n_source_nodes; i++)
        if (i + 1 == start->n_source_nodes || !pst_coordinator_may_read(duty, record, start->source_nodes[i]))
            return start->source_nodes[i];
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, id) == 0)
            return start->nodes[start->places[i]->node];
    return "";
}

const char *pst_coordinator_source(struct coordinator *duty, const struct graph_record *record)
{
    return source_of(duty, record);
}

/* ---- states of a graph ---- */

static bool goes_on(const struct graph_record *record)
{
    return record->state == GRAPH_WAITING || record->state == GRAPH_STARTING || record->state == GRAPH_RUNNING;
}

bool pst_coordinator_goes_on(const struct graph_record *record) { return goes_on(record); }

static void record_move(struct pst_node *node, struct graph_record *record, enum graph_state state, const char *why)
{
    bool news = record->state != state || strcmp(record->why, why) != 0;
    record->state = state;
    if (why != record->why)
        (void)snprintf(record->why, sizeof record->why, "%s", why);
    if (news)
        pst_node_log(node, "graph %s, incarnation %llu: %s%s%s", record->start->graph,
                     (unsigned long long)record->start->incarnation, pst_graph_state_names[state],
                     why[0] != '\0' ? ": " : "", why);
}

static void answer(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    if (record->asked_by != 0)
        pst_admin_answer(node, record, error, why);
    record->asked_by = 0;
}

void pst_coordinator_answer(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    answer(node, record, error, why);
}

/* ---- the store ---- */

/* How it has ended, as a message that a node would send. */
static int ended_pack(struct graph_record *record)
{
    Pst__Ended ended = PST__ENDED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    bool stopped = record->state == GRAPH_CANCELLED || record->state == GRAPH_STOPPED;
    ended.error = record->state == GRAPH_DONE ? PST_OK : stopped ? PST_ESTOPPED : record->error;
    ended.sentence = record->why;
    ended.rows = record->rows;
    ended.rows_out = record->rows_out;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_ENDED;
    message.ended = &ended;
    pst_text_fini(&record->ended_bytes);
    return pst_control_pack(&message, &record->ended_bytes);
}

/* As whoever reads it goes on: from the last complete checkpoint. */
static Pst__Start start_stored(const struct graph_record *record)
{
    Pst__Start stored = *record->start->start;
    stored.checkpoint = record->complete;
    stored.checkpoint_nodes = record->complete_nodes;
    stored.n_checkpoint_nodes = record->complete_node_count;
    stored.saved_sources = record->complete_readers;
    stored.n_saved_sources = record->complete_reader_count;
    stored.given_up = record->settling != 0 && record->settling_error != PST_OK ? record->settling
                      : record->settled_error != PST_OK                         ? record->settled
                                                                                : 0;
    if (record->complete != record->start->start->checkpoint) /* it is the graph's own */
        stored.savepoint = (char *)(uintptr_t) "";
    return stored;
}

int pst_coordinator_record(const struct graph_record *record, struct pst_text *bytes)
{
    Pst__Start stored = start_stored(record);
    Pst__Control message = *record->start;
    message.start = &stored;
    return pst_control_pack(&message, bytes);
}

static int start_pack(struct graph_record *record)
{
    Pst__Start stored = start_stored(record);
    Pst__Control message = *record->start;
    if (record->stop_to != NULL) {
        stored.stopping = record->stop_to;
        stored.stopping_since = record->start->incarnation;
        stored.stopping_at = record->stop_at;
    }
    record->stop_packed = record->stop_to != NULL;
    record->complete_packed = record->complete;
    record->left_packed = stored.n_left_nodes;
    record->replaced_packed = stored.n_replaced_partitions;
    message.start = &stored;
    pst_text_fini(&record->bytes);
    return pst_control_pack(&message, &record->bytes);
}

static void record_commit(struct pst_node *node, struct graph_record *record);
void pst_coordinator_commit(struct pst_node *node, struct graph_record *record) { record_commit(node, record); }

/* As if the store had not taken it: pst_coordinator_step() goes on. */
static void not_packed(struct pst_node *node, struct graph_record *record, int rc)
{
    char why[100];
    (void)snprintf(why, sizeof why, "its record cannot be written: %s", pst_error_sentence(rc));
    record_move(node, record, GRAPH_FAILED, why);
    record->commit = (struct pst_store_request){.kind = PST_STORE_COMMIT, .rc = rc};
    record->committing = node->any = true;
    record->ended_written = false;
}

static void record_commit(struct pst_node *node, struct graph_record *record)
{
    if (record->committing) {
        record->again = true;
        return;
    }
    int rc = start_pack(record);
    if (rc != PST_OK) {
        not_packed(node, record, rc);
        return;
    }
    if (!goes_on(record) &&
        ended_pack(record) != PST_OK) { /* it is started anew when the coordinator is, and ends again */
        answer(node, record, record->error, record->why);
        return;
    }
    (void)snprintf(record->path, sizeof record->path, "graphs/%.200s", record->start->graph);
    (void)snprintf(record->ended_path, sizeof record->ended_path, "ended/%.200s", record->start->graph);
    record->changes[0] = (struct pst_store_change){.path = record->path,
                                                   .expected = record->version,
                                                   .bytes = record->bytes.bytes,
                                                   .byte_count = (uint32_t)record->bytes.count};
    record->changes[1] = (struct pst_store_change){.path = record->ended_path,
                                                   .expected = record->ended_version,
                                                   .bytes = record->ended_bytes.bytes,
                                                   .byte_count = (uint32_t)record->ended_bytes.count};
    uint32_t count = goes_on(record) ? 1 : 2, moves = 0, orders = 0;
    record->ended_written = count == 2;
    rc = pst_kept_changes(record, record->changes + count, &orders);
    if (rc != PST_OK)
        pst_node_log(node, "graph %s: its order cannot be written down, and ends with this coordinator: %s",
                     record->start->graph, pst_error_sentence(rc));
    count += orders;
    rc = pst_moves_changes(record, record->changes + count, &moves);
    if (rc != PST_OK && goes_on(record)) { /* neither without the other: who owns what would be another thing in each */
        not_packed(node, record, rc);
        return;
    }
    if (rc != PST_OK) /* how it has ended is what counts */
        pst_node_log(node, "graph %s: the record of a move cannot be written: %s", record->start->graph,
                     pst_error_sentence(rc));
    record->commit = (struct pst_store_request){
        .kind = PST_STORE_COMMIT, .changes = record->changes, .change_count = count + moves, .rc = PST_EAGAIN};
    record->committing = true;
    node->duty->store->begin(node->duty->store->self, &record->commit);
}

/* error: PST_OK: as it has come to nothing; else the store has not said so in time, or another node coordinates by now. */
static void unstopped_tell(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct peer *peer = record->unstopped.asked_by != 0 ? pst_peer_by_id(node, record->unstopped.asked_by) : NULL;
    record->unstopped.asked_by = 0;
    if (peer != NULL)
        pst_admin_reply(node, peer, record->unstopped.request, error != PST_OK ? error : record->unstopped.error, NULL,
                        error != PST_OK ? why : record->unstopped.why);
}

/* Whoever waits is told with the next commit. */
static void stop_drop(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    if (record->stop_to == NULL)
        return;
    unstopped_tell(node, record, PST_OK, ""); /* of one before: the same commit has it */
    pst_free(record->stop_to);
    record->stop_to = NULL;
    record->stop_at = 0;
    record->stop_stored = false;
    record->unstopped.asked_by = record->asked_by;
    record->unstopped.request = record->request;
    record->unstopped.error = error;
    (void)snprintf(record->unstopped.why, sizeof record->unstopped.why, "%s", why);
    record->asked_by = 0;
}

void pst_coordinator_stop_forget(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    if (record->stop_to == NULL)
        return;
    stop_drop(node, record, error, why);
    record_commit(node, record);
}

/* It ends here: so it is in the store, and whoever waits is told when it is there. */
static void record_end(struct pst_node *node, struct graph_record *record, enum graph_state state, int error,
                       const char *why)
{
    char sentence[sizeof record->why + 100];
    (void)snprintf(sentence, sizeof sentence, "there is no savepoint, the graph is %s%s%s",
                   pst_graph_state_names[state], why[0] != '\0' ? ": " : "", why);
    if (state != GRAPH_STOPPED)
        stop_drop(node, record, PST_EREFUSED, sentence);
    record->saving = false;
    record->error = error;
    record->begins = record->restored = false;
    pst_moves_over(node, record, "the graph has ended meanwhile");
    record_move(node, record, state, why);
    if (state != GRAPH_DONE)
        tell_stop(node, record->start->graph, record->start->incarnation, NULL);
    record_commit(node, record);
}

/* only: NULL: all of its nodes. */
static void tell_settled(struct pst_node *node, struct graph_record *record, const char *why, const char *only)
{
    const Pst__Start *start = record->start->start;
    Pst__Checkpointed body = PST__CHECKPOINTED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.checkpoint = record->settled;
    body.error = record->settled_error;
    body.sentence = (char *)(uintptr_t)why;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_CHECKPOINTED;
    message.checkpointed = &body;
    for (size_t i = 0; i < start->n_nodes; i++)
        if (!record->left[i] && (only == NULL || strcmp(only, start->nodes[i]) == 0))
            pst_coordinator_tell(node, start->nodes[i], &message);
}

/* It is known what has become of a checkpoint, but K3: that it is given up is a decision, too. Another coordinator is told the parts again,
 * perhaps without the one that was missing. */
static void settle(struct pst_node *node, struct graph_record *record, uint64_t id, int error, const char *why)
{
    record->settling = id;
    record->settling_error = error;
    record->stop_at = error == PST_OK && record->stop_to != NULL ? id : 0;
    (void)snprintf(record->settling_why, sizeof record->settling_why, "%s", why);
    record_commit(node, record);
}

/* The store has it: whoever reads the input may choose the next one. */
static void settled(struct pst_node *node, struct graph_record *record)
{
    uint64_t id = record->settling;
    int error = record->settling_error;
    const char *why = record->settling_why;
    record->settled = id;
    record->settled_error = error;
    record->settling = 0;
    (void)snprintf(record->given_up, sizeof record->given_up, "%s", why);
    pst_node_log(node, "graph %s, incarnation %llu: checkpoint %016llx %s%s", record->start->graph,
                 (unsigned long long)record->start->incarnation, (unsigned long long)id,
                 error == PST_OK ? "is complete" : "is given up: ", why);
    tell_settled(node, record, why, NULL);
}

/* Its last checkpoint is complete, and the store says that it is the last: the nodes choose no other before they are told, and are stopped.
 * Until its savepoint is written, or cannot be, nothing is decided about the graph, whoever coordinates. */
static void stop_begin(struct pst_node *node, struct graph_record *record)
{
    record->settled = record->settling;
    record->settled_error = PST_OK;
    record->settling = 0;
    record->saving = node->any = true; /* pst_savepoint_step() begins */
    pst_moves_over(node, record, "the graph is being stopped");
    record_move(node, record, GRAPH_WAITING, SAVING_WHY);
    tell_stop(node, record->start->graph, record->start->incarnation, NULL);
}

static bool all(const bool *flags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!flags[i])
            return false;
    return true;
}

/* Its place in the order of takeovers, from 1; 0: there was none for it. */
static uint32_t takeover_of(const Pst__Start *start, uint32_t index)
{
    for (uint32_t i = 0; i < start->n_replaced_nodes; i++)
        if (start->replaced_nodes[i] == index)
            return i + 1;
    return 0;
}

/* That a node's run has ended, to the others; only: NULL: all of them. Who has left is known by its name until it is back. */
static void tell_ended(struct pst_node *node, struct graph_record *record, uint32_t index, const char *only)
{
    const Pst__Start *start = record->start->start;
    Pst__Ended body = PST__ENDED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    if (pst_start_index(start, start->nodes[index]) != index)
        return;
    body.sentence = (char *)(uintptr_t) "";
    body.node = start->nodes[index];
    body.left = record->left[index];
    body.takeover = takeover_of(start, index);
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_ENDED;
    message.ended = &body;
    for (uint32_t i = 0; i < start->n_nodes; i++)
        if (i != index && !record->left[i] && (only == NULL || strcmp(only, start->nodes[i]) == 0))
            pst_coordinator_tell(node, start->nodes[i], &message);
}

/* Of an earlier version: it would take it for its node's end. It may come while there are such partitions, and its Start has none of them. */
static bool knows_replaced(const struct pst_node *node, const char *name)
{
    const struct member *member = pst_coordinator_member(node->duty, name);
    return member != NULL && member->outlives;
}

/* That its replica has what a partition had whose node lives; only: NULL: to all. */
static void tell_replaced(struct pst_node *node, struct graph_record *record, uint32_t i, const char *only)
{
    const Pst__Start *start = record->start->start;
    const Pst__Replaced *replaced = start->replaced_partitions[i];
    Pst__Ended body = PST__ENDED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.sentence = (char *)(uintptr_t) "";
    body.node = start->nodes[replaced->node];
    body.operator_id = replaced->operator_id;
    body.partition = replaced->partition;
    body.born = replaced->born;
    body.replaced = i + 1;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_ENDED;
    message.ended = &body;
    for (uint32_t k = 0; k < start->n_nodes; k++)
        if (!record->left[k] && (only == NULL || strcmp(only, start->nodes[k]) == 0) &&
            knows_replaced(node, start->nodes[k]))
            pst_coordinator_tell(node, start->nodes[k], &message);
}

/* Takeovers in their order: who knows of one knows of those before it. */
static void tell_all_ended(struct pst_node *node, struct graph_record *record, const char *only)
{
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < start->n_replaced_nodes; i++)
        if (record->left[start->replaced_nodes[i]])
            tell_ended(node, record, start->replaced_nodes[i], only);
    for (uint32_t i = 0; i < start->n_nodes; i++)
        if (record->ended[i] && takeover_of(start, i) == 0)
            tell_ended(node, record, i, only);
    for (uint32_t i = 0; i < record->replaced_stored; i++)
        tell_replaced(node, record, i, only);
}

/* ---- nodes that a graph does not need any more ---- */

/* The places that the store has, or is about to have; and a move that leads from there or to it. Of one that was decided, and when the node is
 * lost: what others have not. */
static bool is_needed(const struct pst_node *node, struct graph_record *record, uint32_t index, bool lost)
{
    const Pst__Start *start = record->start->start;
    const struct moving *moving = record->moving;
    if (lost && pst_moves_decided(record))
        return moving->writes || moving->written || !pst_moves_can_lose(node, record, index);
    for (size_t i = 0; i < start->n_places; i++)
        if (start->places[i]->node == index && !pst_moves_replaces(record, start->places[i]))
            return true;
    if (moving == NULL || moving->now == NULL)
        return false;
    const Pst__MoveRecord *move = moving->now->message->move_record;
    bool goes_to = strcmp(move->to_node, start->nodes[index]) == 0;
    if (move->step == PST_MOVE_COMMITTED && move->keeps && moving->part[index])
        return true; /* a copy there has no place any more, and gets rows until *release*: who sends them may wait for it */
    if (move->relocates) /* its places are what the graph's record says, or the ones before */
        return move->step == PST_MOVE_INTENT && goes_to;
    return strcmp(move->from_node, start->nodes[index]) == 0 || goes_to;
}

bool pst_start_has_place(const Pst__Start *start, uint32_t index)
{
    for (size_t i = 0; i < start->n_places; i++)
        if (start->places[i]->node == index)
            return true;
    return false;
}

static bool replaced_add(struct graph_record *record, uint32_t index)
{
    Pst__Start *start = record->start->start;
    uint32_t *replaced = pst_arena_alloc(&record->nodes_arena, (start->n_replaced_nodes + 1) * sizeof *replaced);
    if (replaced == NULL || pst_moves_take_over(record, index) != PST_OK)
        return false;
    if (start->n_replaced_nodes != 0)
        memcpy(replaced, start->replaced_nodes, start->n_replaced_nodes * sizeof *replaced);
    replaced[start->n_replaced_nodes++] = index;
    start->replaced_nodes = replaced;
    return true;
}

/* lost: it is dead, or so it seems. */
static bool release(struct pst_node *node, struct graph_record *record, uint32_t index, bool lost)
{
    Pst__Start *start = record->start->start;
    bool replaced =
        pst_start_has_place(start, index) || pst_moves_decided(record); /* of a giver rows go on to its replica */
    if (record->state != GRAPH_RUNNING || record->restored || is_needed(node, record, index, lost))
        return false;
    for (size_t i = 0; i < start->n_left_nodes; i++)
        if (start->left_nodes[i] == index)
            return true; /* it is on its way to the store */
    uint32_t *left = pst_arena_alloc(&record->nodes_arena, (start->n_left_nodes + 1) * sizeof *left);
    if (left == NULL)
        return false;
    if (start->n_left_nodes != 0)
        memcpy(left, start->left_nodes, start->n_left_nodes * sizeof *left);
    if (replaced && !replaced_add(record, index))
        return false;
    left[start->n_left_nodes] = index;
    start->left_nodes = left;
    start->n_left_nodes++;
    record_commit(node, record);
    return true;
}

bool pst_coordinator_release(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    if (pst_moves_any_dead(node, record))
        return false; /* its replica may be the only one */
    return release(node, record, index, false);
}

/* Where something moves, that is given up first; what was decided goes on without the node. */
static bool lose(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    if (release(node, record, index, true))
        return true;
    bool amid = record->state == GRAPH_RUNNING && !record->restored && pst_moves_under_way(record);
    if (!amid || !pst_moves_can_lose(node, record, index))
        return false;
    record->gone[index] = node->any = true;
    return true;
}

/* Nodes without a place neither hear of a cut nor write a part. */
static void placed_find(const Pst__Start *start, bool ret_placed[NODE_MEMBERS_MAX])
{
    memset(ret_placed, 0, NODE_MEMBERS_MAX * sizeof *ret_placed);
    for (size_t i = 0; i < start->n_places; i++)
        ret_placed[start->places[i]->node] = true;
}

/* In `arena`. NULL: no memory. */
static char **names_copy(struct pst_arena *arena, char *const *names, size_t count)
{
    char **copy = pst_arena_alloc(arena, (count + 1) * sizeof *copy);
    for (size_t i = 0; copy != NULL && i < count; i++)
        if ((copy[i] = pst_arena_strdup(arena, names[i])) == NULL)
            return NULL;
    return copy;
}

/* All of its parts are there: `id` is the last complete one, and which nodes have them. */
static int complete_take(struct graph_record *record, uint64_t id)
{
    const Pst__Start *start = record->start->start;
    struct pst_arena arena;
    bool placed[NODE_MEMBERS_MAX];
    char *names[NODE_MEMBERS_MAX];
    size_t count = 0;
    placed_find(start, placed);
    for (size_t i = 0; i < start->n_nodes; i++)
        if (placed[i])
            names[count++] = start->nodes[i];
    pst_arena_init(&arena);
    char **copy = names_copy(&arena, names, count);
    char **readers = names_copy(&arena, start->source_nodes, start->n_source_nodes);
    if (copy == NULL || readers == NULL) {
        pst_arena_fini(&arena);
        return PST_ENOMEM;
    }
    pst_arena_fini(&record->complete_arena);
    record->complete_arena = arena;
    record->complete = id;
    record->complete_nodes = copy;
    record->complete_node_count = count;
    record->complete_readers = readers;
    record->complete_reader_count = start->n_source_nodes;
    return PST_OK;
}

/* Without memory: a part is told once on each connection. */
static bool parts_all(const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    bool placed[NODE_MEMBERS_MAX];
    placed_find(start, placed);
    for (size_t i = 0; i < start->n_nodes; i++)
        if (placed[i] && !record->parts[pst_start_index(start, start->nodes[i])])
            return false;
    return true;
}

/* A checkpoint that is under way has no part of the owner that is gone. It is given up when all others have told theirs: until then they are at
 * it. */
static void part_lost(struct pst_node *node, struct graph_record *record)
{
    if (record->part <= record->settled || record->part == record->settling)
        return;
    record->part_error = PST_EAGAIN;
    (void)snprintf(record->part_why, sizeof record->part_why, "a node was replaced by replicas meanwhile");
    if (parts_all(record))
        settle(node, record, record->part, record->part_error, record->part_why);
}

/* K3: the store has it. */
static void released(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < record->left_packed && goes_on(record); i++) {
        uint32_t index = start->left_nodes[i];
        if (record->left[index])
            continue;
        pst_node_log(node, "graph %s, incarnation %llu: goes on without node %s%s", record->start->graph,
                     (unsigned long long)record->start->incarnation, start->nodes[index],
                     takeover_of(start, index) != 0 ? ": replicas have what it had" : ", which has nothing of it");
        record->left[index] = record->ended[index] = true;
        if (takeover_of(start, index) != 0)
            part_lost(node, record);
        tell_ended(node, record, index, NULL);
        tell_stop(node, record->start->graph, record->start->incarnation, start->nodes[index]);
    }
}

/* The same, of partitions whose nodes live. */
static void replaced(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    for (; record->replaced_stored < record->replaced_packed && goes_on(record); record->replaced_stored++) {
        const Pst__Replaced *one = start->replaced_partitions[record->replaced_stored];
        pst_node_log(node, "graph %s, incarnation %llu: goes on without %s/%u on node %s: its replica has what it had",
                     record->start->graph, (unsigned long long)record->start->incarnation, one->operator_id,
                     one->partition, start->nodes[one->node]);
        part_lost(node, record);
        tell_replaced(node, record, (uint32_t)record->replaced_stored, NULL);
    }
}

/* The checkpoint that it has waited for is complete, and the last of this incarnation: nodes choose no other before they are told. False: it
 * is given up, and the graph goes on. */
static bool relocate(struct pst_node *node, struct graph_record *record)
{
    if (!pst_relocation_may(node, record))
        return false;
    record->settled = record->settling;
    record->settled_error = PST_OK;
    record->settling = 0;
    record->given_up[0] = '\0';
    pst_node_log(
        node, "graph %s, incarnation %llu: checkpoint %016llx is complete: the graph is started from it, elsewhere",
        record->start->graph, (unsigned long long)record->start->incarnation, (unsigned long long)record->settled);
    pst_coordinator_restart(node, record);
    return true;
}

static void record_committed(struct pst_node *node, struct graph_record *record)
{
    int rc = record->commit.rc;
    uint64_t settles = record->again ? 0 : record->settling; /* the store has it */
    node->any = true;
    if (rc == PST_OK) {
        record->version++;
        record->ended_version += record->ended_written;
        record->complete_stored = record->complete_packed;
        record->stop_stored = record->stop_packed && record->stop_to != NULL;
        pst_kept_committed(record, rc);
        released(node,
                 record); /* still committing: what it wants written waits until the move knows its record's version */
        replaced(node, record);
        record->committing = false;
    } else {
        record->committing = false;
        char why[100];
        (void)snprintf(why, sizeof why, "the coordination store did not take it: %s", pst_error_sentence(rc));
        record->error = rc;
        record->begins = record->again = record->restored = false;
        if (goes_on(record))
            record_move(node, record, GRAPH_FAILED, why);
        else if (record->why[0] == '\0') /* whoever asks is told that it may begin again */
            record_move(node, record, record->state, why);
        tell_stop(node, record->start->graph, record->start->incarnation, NULL);
    }
    pst_moves_committed(node, record, rc);
    if (rc != PST_OK) { /* whoever waits for partitions to move is told; what is stored says how far they are */
        pst_moves_over(node, record, record->why);
        record->again = false;
    }
    if (!record->again) {
        record->claimed = false;
        unstopped_tell(node, record, PST_OK, "");
    }
    if (record->again) {
        record->again = false;
        if (!record->committing)
            record_commit(node, record);
    } else if (record->begins) {
        record->begins = false;
        record->begun = true;
        record_move(node, record, GRAPH_STARTING, "");
        pst_relocation_begins(node, record);
        tell_start(node, record, NULL);
    } else if (!goes_on(record)) {
        /* Nodes need not keep any more how it has ended, nor its checkpoints. */
        stop_say(node, record->start->graph, record->start->incarnation, NULL, rc == PST_OK);
        answer(node, record, rc != PST_OK ? rc : record->error, record->why);
    } else if (settles != 0 && settles == record->settling) {
        if (record->stop_at == settles)
            stop_begin(node, record);
        else if (record->settling_error != PST_OK || !pst_relocation_waits(node, record) || !relocate(node, record))
            settled(node, record);
    }
    if (record->state == GRAPH_RUNNING && !record->committing && all(record->ended, record->start->start->n_nodes))
        record_end(node, record, GRAPH_DONE, PST_OK, ""); /* a node that has left was the last one */
}

/* ---- graphs ---- */

struct graph_record *pst_coordinator_graph(struct coordinator *duty, const char *name)
{
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (strcmp(duty->graphs[i]->start->graph, name) == 0)
            return duty->graphs[i];
    return NULL;
}

/* Who reads the input next: the node that did. A stream that comes by a connection comes to any: where that node is dead, or is to have
 * nothing (but what goes back to it), to the one of the others that had the least to do for this graph. */
static const char *reader_of(struct coordinator *duty, const struct graph_record *record, bool back)
{
    const Pst__Start *start = record->start->start;
    const char *source = source_of(duty, record), *best = source;
    size_t best_count = SIZE_MAX;
    const struct member *member = pst_coordinator_member(duty, source);
    if (!start->fed || (member != NULL && member->alive && (back || pst_member_takes(member))))
        return source;
    for (uint32_t i = 0; i < duty->member_count; i++) {
        size_t count = 0;
        for (size_t p = 0; p < start->n_places; p++)
            count += strcmp(start->nodes[start->places[p]->node], duty->members[i].name) == 0;
        count += pst_member_takes(&duty->members[i]) ? 0 : start->n_places; /* if no other is left */
        if (!duty->members[i].alive || count >= best_count)
            continue;
        best = duty->members[i].name;
        best_count = count;
    }
    return best;
}

static bool has_place(const Pst__Start *start, const char *name)
{
    bool any = false;
    for (size_t i = 0; i < start->n_places; i++)
        any |= strcmp(start->nodes[start->places[i]->node], name) == 0;
    return any;
}

/* Another incarnation, on the nodes that live; or it waits for one that it cannot do without. */
static void record_restart(struct pst_node *node, struct graph_record *record)
{
    struct coordinator *duty = node->duty;
    Pst__Control *control = record->start;
    const Pst__Start original = *control->start;
    if (record->saving)
        return; /* when it is known what becomes of that */
    memset(record->started, 0, sizeof record->started);
    memset(record->ended, 0, sizeof record->ended);
    memset(record->told, 0, sizeof record->told);
    memset(record->left, 0, sizeof record->left);
    memset(record->gone, 0, sizeof record->gone);
    record->dead_ns = 0;
    memset(record->heard, 0, sizeof record->heard);
    memset(record->ready, 0, sizeof record->ready);
    memset(record->rereads, 0, sizeof record->rereads);
    record->drains = false;
    control->start->n_left_nodes = control->start->n_replaced_nodes = record->left_packed = 0;
    control->start->n_replaced_partitions = record->replaced_packed = record->replaced_stored = 0;
    record->rows = record->rows_out = 0;
    pst_moves_restart(node, record);
    record->part = record->settling = record->stop_at = 0;
    record->begins = false;
    struct pst_arena wished;
    pst_arena_init(&wished);
    bool back = pst_relocation_goes_back(record);
    int rc = pst_relocation_wish(record, &wished, control->start);
    const Pst__Start before = *control->start; /* where all was, or is to be */
    char *readers[NODE_MEMBERS_MAX];
    size_t reader_count = pst_streams_any(control->start) ? control->start->n_source_nodes : 0;
    const char *missing = reader_count != 0 ? pst_streams_place(duty, record, back, readers) : NULL;
    const char *source = reader_count == 0 ? reader_of(duty, record, back) : missing != NULL ? missing : readers[0];
    if (!pst_coordinator_may_read(duty, record, source)) {
        char why[sizeof record->why];
        (void)snprintf(why, sizeof why, "waits for node %s, which reads the input%s", source,
                       is_alive(duty, source) ? ", and is of an earlier version that does not know several inputs"
                                              : "");
        *control->start = original;
        control->start->n_left_nodes = control->start->n_replaced_nodes = control->start->n_replaced_partitions = 0;
        pst_arena_fini(&wished);
        record_move(node, record, GRAPH_WAITING, why);
        tell_stop(node, control->graph, control->incarnation, NULL);
        return;
    }
    struct pst_arena arena, nodes;
    bool without[NODE_MEMBERS_MAX];
    pst_arena_init(&arena);
    pst_arena_init(&nodes);
    for (uint32_t i = 0; i < duty->member_count; i++)
        without[i] = record->unfit[i] && !has_place(&before, duty->members[i].name);
    if (rc == PST_OK)
        rc = nodes_choose(duty, &nodes, without, control->start);
    char **checkpoint_nodes = names_copy(&nodes, record->complete_nodes, record->complete_node_count);
    char **saved_sources = names_copy(&nodes, record->complete_readers, record->complete_reader_count);
    char **source_nodes = names_copy(&nodes, readers, reader_count);
    if (rc == PST_OK)
        rc = checkpoint_nodes != NULL && saved_sources != NULL && source_nodes != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK && reader_count != 0)
        control->start->source_nodes = source_nodes;
    if (rc == PST_OK)
        rc = places_choose(duty, record->graph, &before, source, back, &arena, control->start);
    if (rc == PST_OK)
        rc = pst_relocation_placed(node, record, &original);
    pst_arena_fini(&wished);
    if (rc != PST_OK) {
        pst_arena_fini(&arena);
        pst_arena_fini(&nodes);
        *control->start = original;
        record_end(node, record, GRAPH_FAILED, rc, "its partitions cannot be placed");
        return;
    }
    pst_arena_fini(&record->places_arena);
    pst_arena_fini(&record->nodes_arena);
    record->places_arena = arena;
    record->nodes_arena = nodes;
    control->start->left_nodes = control->start->replaced_nodes = NULL;
    control->start->replaced_partitions = NULL;
    control->start->again |= record->begun;
    control->incarnation++;
    if (control->start->checkpoint != record->complete)
        control->start->savepoint = (char *)(uintptr_t) "";
    control->start->checkpoint = record->complete;
    control->start->checkpoint_nodes = checkpoint_nodes;
    control->start->n_checkpoint_nodes = record->complete_node_count;
    control->start->saved_sources = saved_sources;
    control->start->n_saved_sources = record->complete_reader_count;
    record_move(node, record, GRAPH_WAITING, "");
    record->begins = true;
    record_commit(node, record);
}

void pst_coordinator_restart(struct pst_node *node, struct graph_record *record) { record_restart(node, record); }

static void record_free(struct graph_record *record)
{
    pst_moves_end(record);
    pst_moves_forget(record);
    pst_kept_free(&record->kept);
    pst_loads_free(&record->loads);
    pst_autoscale_free(record->autoscale);
    pst_graph_free(record->graph);
    pst_arena_fini(&record->arena);
    pst_arena_fini(&record->places_arena);
    pst_arena_fini(&record->nodes_arena);
    pst_arena_fini(&record->complete_arena);
    pst_free(record->stop_to);
    pst_free(record->stopped_to);
    pst_text_fini(&record->bytes);
    pst_text_fini(&record->ended_bytes);
    pst_text_fini(&record->commit.text);
    pst_free(record);
}

static int sources_fill(const struct submission *submission, struct pst_arena *arena, Pst__Start *start)
{
    size_t count = submission->source_count;
    start->source_nodes = pst_arena_alloc(arena, (count + 1) * sizeof *start->source_nodes);
    start->source_inputs = pst_arena_alloc(arena, (count + 1) * sizeof *start->source_inputs);
    if (start->source_nodes == NULL || start->source_inputs == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        start->source_nodes[i] = pst_arena_strdup(arena, submission->sources[i].name);
        start->source_inputs[i] = pst_arena_strdup(arena, submission->fed ? "" : submission->sources[i].value);
        if (start->source_nodes[i] == NULL || start->source_inputs[i] == NULL)
            return PST_ENOMEM;
    }
    start->n_source_nodes = start->n_source_inputs = count;
    return PST_OK;
}

static int start_fill(struct pst_node *node, const struct submission *submission, struct graph_record *record)
{
    struct pst_arena *arena = &record->arena;
    Pst__Control *control = record->start = pst_arena_alloc(arena, sizeof *control);
    Pst__Start *start = pst_arena_alloc(arena, sizeof *start);
    Pst__Setting **settings = pst_arena_alloc(arena, (submission->setting_count + 1) * sizeof *settings);
    void *text = pst_arena_alloc(arena, submission->text_bytes + 1);
    if (control == NULL || start == NULL || settings == NULL || text == NULL)
        return PST_ENOMEM;
    pst__control__init(control);
    pst__start__init(start);
    memcpy(text, submission->text, submission->text_bytes);
    for (uint32_t i = 0; i < submission->setting_count; i++) {
        settings[i] = pst_arena_alloc(arena, sizeof **settings);
        if (settings[i] == NULL)
            return PST_ENOMEM;
        pst__setting__init(settings[i]);
        settings[i]->name = pst_arena_strdup(arena, submission->settings[i].name);
        settings[i]->value = pst_arena_strdup(arena, submission->settings[i].value);
        if (settings[i]->name == NULL || settings[i]->value == NULL)
            return PST_ENOMEM;
    }
    start->text = (ProtobufCBinaryData){submission->text_bytes, text};
    start->settings = settings;
    start->n_settings = submission->setting_count;
    start->file = pst_arena_strdup(arena, submission->file);
    start->strict = submission->strict;
    start->by_source = submission->by_source;
    start->fed = submission->fed;
    start->keys = pst_arena_strdup(arena, submission->keys != NULL ? submission->keys : "");
    start->checkpoint_every_ns = node->options.checkpoints != NULL ? node->options.every_ns : 0;
    start->input = pst_arena_strdup(arena, submission->input != NULL ? submission->input : "");
    control->graph = pst_arena_strdup(arena, pst_graph_name(record->graph));
    control->incarnation = 1;
    control->body_case = PST__CONTROL__BODY_START;
    control->start = start;
    if (start->file == NULL || start->input == NULL || start->keys == NULL || control->graph == NULL)
        return PST_ENOMEM;
    int rc = sources_fill(submission, arena, start);
    if (rc == PST_OK)
        rc = pst_streams_fill(arena, start);
    if (rc == PST_OK)
        rc = nodes_choose(node->duty, &record->nodes_arena, NULL, start);
    const char *source = submission->source != NULL ? submission->source : node->options.name;
    return rc == PST_OK ? places_choose(node->duty, record->graph, NULL, source, false, &record->places_arena, start)
                        : rc;
}

/* What the nodes of a cluster cannot do with an operator in enclaves. */
static int inside_good(const struct pst_node *node, const struct pst_graph *graph, bool sealed, struct pst_text *why)
{
    char sentence[640];
    if (pst_graph_enclave_check(graph, node->options.enclave_program, sentence) != PST_OK)
        (void)pst_text_printf(why, "%s, of every node", sentence);
    for (uint32_t n = 0; n < graph->node_count && why->count == 0; n++) {
        const struct pst_graph_node *op = &graph->nodes[n];
        bool scales = op->autoscale.mode == PST_AUTOSCALE_ON;
        const char *wants = op->replicas > 1 ? "replicas" : "autoscale"; /* never both */
        if (!op->enclave || (op->replicas <= 1 && !scales) || (!sealed && node->options.identity != NULL))
            continue;
        (void)pst_text_printf(why, "operator `%s`: with `enclave` and `%s` its buckets have to move, ", op->id, wants);
        if (sealed)
            (void)pst_text_printf(why, "and where rows are sealed they stay in their partitions: take `%s` out", wants);
        else
            (void)pst_text_printf(
                why, "for which this cluster's nodes need certificates: start them with --tls; or take `%s` out",
                wants);
        if (scales)
            (void)pst_text_printf(why, ", or give it `mode: dry-run`");
    }
    return why->count == 0 ? PST_OK : PST_EGRAPH;
}

/* Of a graph whose rows are sealed: it becomes one that is carried. */
static int sealed_good(const struct pst_node *node, const struct submission *submission, struct pst_graph *graph,
                       struct pst_text *why)
{
    if (submission->keys == NULL)
        return PST_OK;
    if (submission->source_count > 1)
        (void)pst_text_printf(why, "a sealed stream is one: it is read by one node");
    else if (submission->by_source)
        (void)pst_text_printf(why, "--by-source means nothing with --sealed: its partitions go elsewhere stop and go");
    else if (submission->strict)
        (void)pst_text_printf(why, "--strict means nothing with --sealed: lines are parsed where rows are sealed");
    else if (node->options.insecure && strncmp(submission->keys, "unix:", 5) != 0)
        (void)pst_text_printf(why, "--keys %.200s needs nodes with --tls; unix:PATH needs none", submission->keys);
    return why->count == 0 ? pst_graph_carry(graph, why) : PST_EGRAPH;
}

static int graph_parse(struct pst_node *node, const struct submission *submission, struct graph_record *record,
                       struct pst_text *why)
{
    struct pst_diagnostics d;
    pst_diagnostics_init(&d);
    int rc = pst_graph_parse(submission->file, submission->text, submission->text_bytes, submission->settings,
                             submission->setting_count, &node->options.registry, &d, &record->graph);
    if (rc == PST_EGRAPH)
        (void)pst_diagnostics_print(&d, false, why);
    pst_diagnostics_fini(&d);
    if (rc == PST_OK)
        rc = inside_good(node, record->graph, submission->keys != NULL, why);
    return rc == PST_OK ? sealed_good(node, submission, record->graph, why) : rc;
}

/* The record of a graph of this name that has ended makes room, and leaves its version and incarnation. */
static int record_replace(struct coordinator *duty, struct graph_record *record, struct pst_text *why)
{
    const char *name = record->start->graph;
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *old = duty->graphs[i];
        if (strcmp(old->start->graph, name) != 0)
            continue;
        if (goes_on(old) || old->committing) {
            (void)pst_text_printf(why, "a graph `%s` is %s already: cancel it first, or give this one another name",
                                  name, pst_graph_state_names[old->state]);
            return PST_EREFUSED;
        }
        record->version = old->version;
        record->ended_version = old->ended_version;
        record->kept.version = old->kept.version;
        record->start->incarnation = old->start->incarnation + 1;
        memcpy(record->past, old->past, sizeof record->past);
        record->past_count = old->past_count;
        old->past_count = 0;
        duty->graphs[i] = record;
        record_free(old);
        return PST_OK;
    }
    if (duty->graph_count == NODE_GRAPHS_MAX) {
        (void)pst_text_printf(why, "there are %d graphs already, and no room for more", NODE_GRAPHS_MAX);
        return PST_EFULL;
    }
    duty->graphs[duty->graph_count++] = record;
    return PST_OK;
}

/* Of one that a node is to read. */
static void source_good(const struct pst_node *node, const char *name, struct pst_text *why)
{
    const struct member *member = pst_coordinator_member(node->duty, name);
    if (member == NULL || !member->alive)
        (void)pst_text_printf(why, "there is no node `%s` that could read the input", name);
    else if (!pst_member_takes(member))
        (void)pst_text_printf(why,
                              "node `%s`, which would read the input, is being drained: say with --source which node "
                              "is to read it",
                              name);
}

/* Of several inputs. */
static int sources_good(const struct pst_node *node, const struct submission *submission, struct pst_text *why)
{
    bool files = false;
    for (uint32_t i = 0; i < submission->source_count; i++)
        files |= submission->sources[i].value != NULL;
    if (submission->source_count != 0 && (submission->source != NULL || submission->input != NULL))
        (void)pst_text_printf(why, "--source NODE=FILE says what is read: no --input, and no --source without a file");
    else if (submission->fed && (submission->input != NULL || files))
        (void)pst_text_printf(why,
                              "a graph that listens reads no file: with --listen each --source names a node alone");
    else if (submission->fed && submission->source_count != 0)
        pst_streams_good(node->duty, why);
    for (uint32_t i = 0; i < submission->source_count && why->count == 0; i++) {
        const struct pst_setting *source = &submission->sources[i];
        source_good(node, source->name, why);
        if (why->count == 0 && submission->source_count > 1 && node->options.checkpoints != NULL &&
            !pst_coordinator_member(node->duty, source->name)->waits)
            (void)pst_text_printf(why,
                                  "node `%s` is of an earlier version, which has no checkpoints where several nodes "
                                  "read: start it as this one's",
                                  source->name);
        for (uint32_t k = 0; k < i && why->count == 0; k++)
            if (strcmp(source->name, submission->sources[k].name) == 0)
                (void)pst_text_printf(why, "--source names node `%s` twice: a node reads one input", source->name);
    }
    return why->count == 0 ? PST_OK : PST_EREFUSED;
}

/* What a worker has sealed only a worker goes on with: it would refuse it, but later. */
static int sealed_fits(const struct graph_record *record, const Pst__Start *saved, struct pst_text *why)
{
    const struct pst_graph *graph = record->graph;
    if ((saved->keys[0] != '\0') != (graph->carry != NULL)) {
        (void)pst_text_printf(
            why, graph->carry != NULL ? "the graph of the savepoint read rows in the clear: without --sealed it goes on"
                                      : "the rows of the graph of the savepoint are sealed from end to end: it goes on "
                                        "with --sealed and --keys");
        return PST_EREFUSED;
    }
    return PST_OK;
}

/* It goes on from there, under other places. Whether the graph fits, its nodes find out. */
static int savepoint_take(struct pst_node *node, const char *name, struct graph_record *record, struct pst_text *why)
{
    Pst__Control *saved;
    Pst__Start *start = record->start->start;
    int rc = pst_savepoint_open(node, name, &record->arena, &saved, why);
    if (rc != PST_OK)
        return rc;
    if (strcmp(saved->graph, record->start->graph) != 0) {
        (void)pst_text_printf(why, "the checkpoint is of the graph `%s`, not of `%s`", saved->graph,
                              record->start->graph);
        return PST_EREFUSED;
    }
    size_t inputs = start->n_source_nodes > 1 ? start->n_source_nodes : 1;
    size_t saved_inputs = saved->start->n_source_nodes > 1 ? saved->start->n_source_nodes : 1;
    if (inputs != saved_inputs) {
        (void)pst_text_printf(why,
                              "the graph of the savepoint read %zu inputs, and this one reads %zu: give --source as "
                              "often, in the same order",
                              saved_inputs, inputs);
        return PST_EREFUSED;
    }
    rc = sealed_fits(record, saved->start, why);
    if (rc != PST_OK)
        return rc;
    start->saved_sources = record->complete_readers = saved->start->source_nodes;
    start->n_saved_sources = record->complete_reader_count = saved->start->n_source_nodes;
    start->savepoint = pst_arena_strdup(&record->arena, name);
    start->checkpoint = record->complete = record->settled = saved->start->checkpoint;
    start->checkpoint_nodes = record->complete_nodes = saved->start->checkpoint_nodes;
    start->n_checkpoint_nodes = record->complete_node_count = saved->start->n_checkpoint_nodes;
    pst_streams_take(start, saved->start); /* that lives as long as the record */
    return start->savepoint != NULL ? PST_OK : PST_ENOMEM;
}

int pst_coordinator_submit(struct pst_node *node, const struct submission *submission, struct pst_text *why)
{
    struct coordinator *duty = node->duty;
    if (sources_good(node, submission, why) != PST_OK)
        return PST_EREFUSED;
    if (submission->source_count == 0)
        source_good(node, submission->source != NULL ? submission->source : node->options.name, why);
    if (why->count != 0)
        return PST_EREFUSED;
    struct graph_record *record = pst_calloc(1, sizeof *record);
    if (record == NULL)
        return PST_ENOMEM;
    pst_arena_init(&record->arena);
    pst_arena_init(&record->places_arena);
    pst_arena_init(&record->nodes_arena);
    pst_arena_init(&record->complete_arena);
    int rc = graph_parse(node, submission, record, why);
    if (rc == PST_OK)
        rc = start_fill(node, submission, record);
    if (rc == PST_OK && submission->from != NULL)
        rc = savepoint_take(node, submission->from, record, why);
    if (rc == PST_OK)
        rc = record_replace(duty, record, why);
    if (rc != PST_OK) {
        record_free(record);
        return rc;
    }
    record->asked_by = submission->asked_by;
    record->request = submission->request;
    record->asked_json = submission->json;
    record->asked_wait = submission->wait;
    record->begins = true;
    if (record->start->incarnation <= record->complete >>
        32) /* ids of checkpoints grow, whatever cluster has given them */
        record->start->incarnation = (record->complete >> 32) + 1;
    record->since = record->start->start->submitted = record->start->incarnation;
    pst_node_log(node, "graph %s is submitted, its input is read by node %s", record->start->graph,
                 source_of(duty, record));
    record_move(node, record, GRAPH_WAITING, "");
    record_commit(node, record);
    return PST_OK;
}

int pst_coordinator_cancel(struct pst_node *node, const struct submission *asked, const char *graph,
                           struct pst_text *why)
{
    struct graph_record *record = pst_coordinator_graph(node->duty, graph);
    if (record == NULL) {
        (void)pst_text_printf(why, "there is no graph `%s`", graph);
        return PST_EREFUSED;
    }
    if (!goes_on(record) || record->saving) {
        (void)pst_text_printf(why, "graph `%s` is %s", graph,
                              record->saving ? "being stopped" : pst_graph_state_names[record->state]);
        return PST_EREFUSED;
    }
    stop_drop(node, record, PST_ESTOPPED, "it was cancelled");
    answer(node, record, PST_ESTOPPED, "it was cancelled");
    record->asked_by = asked->asked_by;
    record->request = asked->request;
    record->asked_json = asked->json;
    record_end(node, record, GRAPH_CANCELLED, PST_OK, "");
    return PST_OK;
}

void pst_coordinator_saved(struct pst_node *node, struct graph_record *record)
{
    char why[sizeof record->why];
    record->start->start->saved = record->stopped_to = record->stop_to;
    (void)snprintf(why, sizeof why, "its savepoint is %s", record->stop_to);
    record->stop_to = NULL;
    record->stop_at = 0;
    record_end(node, record, GRAPH_STOPPED, PST_OK, why);
}

/* Its nodes are waited for first: this coordinator may have met none of them yet. */
void pst_coordinator_not_saved(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    stop_drop(node, record, error, why);
    record->saving = false;
    record->restored = node->any = true;
    memset(record->started, 0, sizeof record->started);
    memset(record->ended, 0, sizeof record->ended);
    record_move(node, record, GRAPH_WAITING, why);
    record_commit(node, record);
}

/* ---- what members say ---- */

static void member_dead(struct pst_node *node, struct member *member, const char *why)
{
    struct coordinator *duty = node->duty;
    member->alive = false;
    member->load = member->load_before = (struct member_load){0};
    pst_node_log(node, "node %s is taken for dead: %s", member->name, why);
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *record = duty->graphs[i];
        uint32_t index = pst_start_index(record->start->start, member->name);
        pst_loads_forget(&record->loads, index);
        if (goes_on(record) && !record->restored && index < record->start->start->n_nodes && !record->ended[index])
            pst_coordinator_lost(node, record, index);
    }
    node->any = true;
}

void pst_coordinator_lost(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    if (!lose(node, record, index))
        record_restart(node, record);
}

static void on_started(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    record->started[index] = true;
    tell_all_ended(node, record, record->start->start->nodes[index]); /* whoever starts late has not heard it */
    pst_moves_started(node, record, record->start->start->nodes[index]);
    if (record->state != GRAPH_STARTING || !all(record->started, record->start->start->n_nodes))
        return;
    record_move(node, record, GRAPH_RUNNING, "");
    if (record->stop_to != NULL)
        pst_savepoint_ask(node, record);
    else if (!record->asked_wait)
        answer(node, record, PST_OK, "");
}

/* A worker of an enclave is gone. It is started again where there are checkpoints, and there is one more of them from time to time. */
static bool may_go_back(struct graph_record *record)
{
    if (record->start->start->checkpoint_every_ns == 0)
        return false;
    record->lost_in_row = record->lost_in_row != 0 && record->lost_at == record->complete ? record->lost_in_row + 1 : 1;
    record->lost_at = record->complete;
    return record->lost_in_row <= LOST_MAX;
}

/* The run of a node that has nothing of the graph, as one that something was to go to: what moves is given up by it, and the graph goes on
 * without that node. */
static bool fails_alone(struct pst_node *node, struct graph_record *record, uint32_t index, const char *why)
{
    const Pst__Start *start = record->start->start;
    const struct member *member = pst_coordinator_member(node->duty, start->nodes[index]);
    if (pst_start_has_place(start, index) || (!record->restored && !lose(node, record, index)))
        return false;
    if (record->restored)
        record->started[index] = false; /* restored_step() */
    pst_node_log(node, "graph %s, incarnation %llu: a node that has nothing of it fails: %s", record->start->graph,
                 (unsigned long long)record->start->incarnation, why);
    if (member != NULL)
        record->unfit[member - node->duty->members] = true;
    if (record->gone[index])
        pst_moves_refuse(record, why);
    return true;
}

/* place: as Running.place. The graph has gone on without this run, and its node was added to it anew since: it may have heard neither. */
static bool is_former(uint32_t place, uint32_t index) { return place != 0 && place != index + 1; }

static bool replaced_partition_add(struct graph_record *record, uint32_t index, const Pst__Ended *ended)
{
    Pst__Start *start = record->start->start;
    struct pst_arena *arena = &record->nodes_arena;
    size_t count = start->n_replaced_partitions;
    Pst__Replaced **list = pst_arena_alloc(arena, (count + 1) * sizeof *list),
                  *replaced = pst_arena_alloc(arena, sizeof *replaced);
    char *operator_id = pst_arena_strdup(arena, ended->operator_id);
    if (list == NULL || replaced == NULL || operator_id == NULL || count == PST_CONTROL_PLACES_MAX ||
        pst_moves_replace(record, ended) != PST_OK)
        return false;
    pst__replaced__init(replaced);
    replaced->operator_id = operator_id;
    replaced->partition = ended->partition;
    replaced->born = ended->born;
    replaced->node = index;
    if (count != 0)
        memcpy(list, start->replaced_partitions, count * sizeof *list);
    list[count] = replaced;
    start->replaced_partitions = list;
    start->n_replaced_partitions = count + 1;
    return true;
}

/* The worker of one partition is gone. True: its replica has what it had, or will, or it is not known yet whether: then the node says it again. */
static bool partition_ended(struct pst_node *node, struct graph_record *record, uint32_t index, const Pst__Ended *ended)
{
    uint64_t now_ns = node->world->now_ns(node->world->self);
    record->dead_ns = now_ns | 1;
    if (record->state != GRAPH_RUNNING || record->restored || record->committing)
        return true;
    if (!pst_moves_has(record, ended, index)) { /* it has not heard it */
        record->dead_ns = 0;
        tell_all_ended(node, record, record->start->start->nodes[index]);
        return true;
    }
    if (!pst_moves_may_replace(node, record, ended, index) || pst_moves_touches(record, ended))
        return false;
    if (pst_moves_under_way(record) &&
        record->moving->relocates) /* a checkpoint is waited for, which it has no part of */
        return false;
    if (pst_moves_under_way(record) && !pst_moves_decided(record))
        return true; /* that is given up first: pst_moves_step() */
    if (!replaced_partition_add(record, index, ended))
        return false;
    pst_node_log(node, "graph %s: node %s: %s: its replica takes over", record->start->graph,
                 record->start->start->nodes[index], ended->sentence);
    record->dead_ns = 0;
    record_commit(node, record);
    return true;
}

static void on_ended(struct pst_node *node, struct graph_record *record, uint32_t index, const Pst__Control *message)
{
    const Pst__Ended *ended = message->ended;
    const Pst__Start *start = record->start->start;
    if (!goes_on(record) || record->ended[index] || is_former(ended->place, index) ||
        (ended->operator_id[0] != '\0' && partition_ended(node, record, index, ended)))
        return;
    if (ended->error != PST_OK && ended->lost && may_go_back(record)) {
        pst_node_log(node, "graph %s: node %s: %s: it goes back to its last checkpoint", record->start->graph,
                     start->nodes[index], ended->sentence);
        record->restored = false;
        record_restart(node, record);
        return;
    }
    if (ended->error != PST_OK) { /* the same would happen again */
        char why[sizeof record->why];
        (void)snprintf(why, sizeof why, "node %.60s: %.300s", start->nodes[index], ended->sentence);
        if (fails_alone(node, record, index, why))
            return;
        if (pst_relocation_failed(node, record, start->nodes[index], why)) /* not where it was */
            return;
        record_end(node, record, GRAPH_FAILED, ended->error, why);
        return;
    }
    record->ended[index] = true;
    record->rows += ended->rows;
    record->rows_out += ended->rows_out;
    tell_ended(node, record, index, NULL);
    if (all(record->ended, start->n_nodes))
        record_end(node, record, GRAPH_DONE, PST_OK, "");
}

static void on_checkpointed(struct pst_node *node, struct graph_record *record, uint32_t index,
                            const Pst__Checkpointed *body)
{
    uint64_t id = body->checkpoint;
    if (pst_checkpoint_incarnation(id) != record->start->incarnation)
        return; /* C5: there is none of this number; above all that there are, it would be waited for */
    if (id == record->settled)
        tell_settled(node, record, "", record->start->start->nodes[index]); /* it has not heard it */
    if (!goes_on(record) || id <= record->settled || id < record->part || id == record->settling)
        return;
    if (id != record->part) {
        memset(record->parts, 0, sizeof record->parts);
        record->part = id;
        record->part_error = PST_OK;
    }
    record->parts[index] = true;
    record->rereads[index] = body->rereads;
    if (body->error == PST_OK &&
        (body->takeover != record->start->start->n_replaced_nodes ||
         (body->replaced < record->start->start->n_replaced_partitions &&
          knows_replaced(node, record->start->start->nodes[index])))) { /* owners were others when it began */
        record->part_error = PST_EAGAIN;
        (void)snprintf(record->part_why, sizeof record->part_why, "a node was replaced by replicas meanwhile");
    }
    if (body->error != PST_OK) {
        record->part_error = body->error;
        (void)snprintf(record->part_why, sizeof record->part_why, "node %s: %s", record->start->start->nodes[index],
                       body->sentence[0] != '\0' ? body->sentence : pst_error_sentence(body->error));
    }
    if (!parts_all(record))
        return;
    if (record->part_error == PST_OK && (record->part_error = complete_take(record, id)) != PST_OK)
        (void)snprintf(record->part_why, sizeof record->part_why, "%s", pst_error_sentence(record->part_error));
    if (record->part_error != PST_OK) {
        settle(node, record, id, record->part_error, record->part_why);
        return;
    }
    settle(node, record, id, PST_OK, "");
}

static void member_load_take(struct member *member, const Pst__Beat *beat)
{
    if (beat->time_ns == 0)
        return;
    member->load_before = member->load;
    member->load = (struct member_load){beat->time_ns,        beat->memory_bytes, beat->sent_bytes,
                                        beat->received_bytes, beat->disk_bytes,   beat->disk_bytes_max};
}

void pst_coordinator_on(struct pst_node *node, const char *name, const Pst__Control *message)
{
    struct member *member = pst_coordinator_member(node->duty, name);
    struct graph_record *record = pst_coordinator_graph(node->duty, message->graph);
    if (message->body_case == PST__CONTROL__BODY_PIECE) {
        pst_results_back(node, name, message);
        return;
    }
    if (member == NULL)
        return;
    if (message->body_case == PST__CONTROL__BODY_BEAT && message->graph[0] != '\0') {
        uint32_t of = record != NULL ? pst_start_index(record->start->start, name) : 0;
        if (record != NULL && record->start->incarnation == message->incarnation && of < record->start->start->n_nodes)
            pst_loads_take(node, record, of, message->beat);
        return;
    }
    if (message->body_case == PST__CONTROL__BODY_BEAT) {
        member_load_take(member, message->beat);
        struct peer *peer = pst_peer_find(node, name);
        Pst__BeatAck ack = PST__BEAT_ACK__INIT;
        Pst__Control reply = PST__CONTROL__INIT;
        reply.body_case = PST__CONTROL__BODY_BEAT_ACK;
        reply.beat_ack = &ack;
        if (peer != NULL)
            pst_peer_send(node, peer, &reply);
        return;
    }
    if (message->body_case == PST__CONTROL__BODY_STOP && message->graph[0] == '\0') {
        if (member->alive)
            member_dead(node, member, "it ends, as it was told to");
        return;
    }
    if (message->body_case == PST__CONTROL__BODY_LEAVE) {
        if (!member->leaving)
            pst_node_log(node, "node %s was told to end: what it has is to go elsewhere first", name);
        member->leaving = node->any = true;
        return;
    }
    if (message->body_case == PST__CONTROL__BODY_STARTED && message->started->ready && record != NULL &&
        record->start->incarnation == message->incarnation &&
        pst_start_index(record->start->start, name) < record->start->start->n_nodes)
        record->ready[pst_start_index(record->start->start, name)] = node->any = true; /* said once, too */
    if (message->body_case == PST__CONTROL__BODY_PROBE && record != NULL)
        pst_relocation_probed(node, record, name, message);
    bool told_once = message->body_case == PST__CONTROL__BODY_ENDED ||
                     message->body_case == PST__CONTROL__BODY_CHECKPOINTED; /* on this connection */
    if (record == NULL || record->start->incarnation != message->incarnation || record->begins || record->saving ||
        (record->restored && !told_once))
        return; /* of what is no more, or not yet */
    uint32_t index = pst_start_index(record->start->start, name);
    if (index == record->start->start->n_nodes)
        return;
    if (message->body_case == PST__CONTROL__BODY_STARTED) {
        on_started(node, record, index);
        pst_moves_begun(node, record, index);
    } else if (message->body_case == PST__CONTROL__BODY_ENDED)
        on_ended(node, record, index, message);
    else if (message->body_case == PST__CONTROL__BODY_CHECKPOINTED)
        on_checkpointed(node, record, index, message->checkpointed);
    else if (message->body_case == PST__CONTROL__BODY_CUT_ANSWER)
        pst_cuts_on(node, record, name, message->cut_answer);
    else if (message->body_case == PST__CONTROL__BODY_MOVE_STEP)
        pst_moves_on(node, record, name, message);
}

/* NULL: it is not there. */
static const Pst__Running *among(Pst__Running *const *runs, size_t count, const Pst__Control *start)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(runs[i]->graph, start->graph) == 0 && runs[i]->incarnation == start->incarnation)
            return runs[i];
    return NULL;
}

/* What it has and should not is stopped, or forgotten. */
static void stop_strays(struct pst_node *node, const char *name, Pst__Running *const *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct graph_record *record = pst_coordinator_graph(node->duty, runs[i]->graph);
        uint32_t index = record != NULL ? pst_start_index(record->start->start, name) : 0;
        bool known = record != NULL && index < record->start->start->n_nodes;
        bool left = known && (record->left[index] ||
                              (record->start->incarnation == runs[i]->incarnation && is_former(runs[i]->place, index)));
        if (record == NULL || !goes_on(record) || record->saving || record->start->incarnation > runs[i]->incarnation ||
            left)
            tell_stop(node, runs[i]->graph, runs[i]->incarnation, name);
    }
}

/* The highest incarnation of the graph that the node has heard of. */
static uint64_t heard_of(const struct graph_record *record, const Pst__Hello *hello)
{
    Pst__Running *const *const lists[] = {hello->running, hello->ended};
    const size_t counts[] = {hello->n_running, hello->n_ended};
    uint64_t highest = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < counts[k]; i++)
            if (strcmp(lists[k][i]->graph, record->start->graph) == 0 && lists[k][i]->incarnation > highest)
                highest = lists[k][i]->incarnation;
    return highest;
}

/* K3: nobody hears of an incarnation that the store does not have. So this record is an older one, which opens as it did: whoever may write to
 * the store can give it its old version. The graph goes neither back to it nor on: whoever owned what by it does not any more. */
static bool is_put_back(struct pst_node *node, struct graph_record *record, const char *name, const Pst__Hello *hello)
{
    uint64_t highest = heard_of(record, hello), found = record->start->incarnation;
    char why[sizeof record->why];
    if (!record->restored || !goes_on(record) || highest <= found)
        return false;
    (void)snprintf(why, sizeof why,
                   "node %.100s knows its incarnation %llu, and the coordination store has %llu: an older record was "
                   "put back there",
                   name, (unsigned long long)highest, (unsigned long long)found);
    record->start->incarnation = highest; /* these runs end, and what is submitted next is above them */
    record_end(node, record, GRAPH_FAILED, PST_EREFUSED, why);
    return true;
}

/* What it should run and does not is started - in a new incarnation, if it had begun. */
static void reconcile_record(struct pst_node *node, struct graph_record *record, const char *name,
                             const Pst__Hello *hello)
{
    const Pst__Start *start = record->start->start;
    uint32_t index = pst_start_index(start, name);
    if (is_put_back(node, record, name, hello))
        return;
    const Pst__Running *running = among(hello->running, hello->n_running, record->start);
    if (running != NULL && index < start->n_nodes && is_former(running->place, index))
        running = NULL; /* it is told to stop */
    bool known = index < start->n_nodes && !record->left[index], runs = running != NULL;
    const Pst__Running *ended = among(hello->ended, hello->n_ended, record->start);
    bool over = ended != NULL && (!known || !is_former(ended->place, index)); /* how, it says next */
    bool same = known && strcmp(start->addresses[index], hello->address) == 0;
    if (known)
        record->heard[index] =
            (struct heard){.move = runs ? running->move : 0,
                           .open = runs && among(hello->moves, hello->n_moves, record->start) != NULL,
                           .runs = runs,
                           .over = over && !runs,
                           .resumes = hello->resumes};
    if (record->restored && known) /* as restored_step() asks */
        record->started[index] = same && (runs || over);
    if (!goes_on(record) || record->begins || record->restored || record->saving)
        return;
    if (record->state == GRAPH_WAITING) {
        record_restart(node, record);
    } else if (!known || record->ended[index]) {
        return;
    } else if (!same) {
        record_restart(node, record); /* the others look for it where it was */
    } else if (runs) {
        on_started(node, record, index);
    } else if (over || record->gone[index]) {
        return; /* gone: soon the graph goes on without it */
    } else if (pst_moves_begins_at(record, index)) {
        tell_start(node, record, name); /* it has nothing yet, and may not have heard it */
    } else if (record->started[index] || record->told[index]) {
        record_restart(node, record); /* how it ended there was not heard, or it is another process */
    } else {
        tell_start(node, record, name);
    }
}

static void reconcile(struct pst_node *node, const char *name, const Pst__Hello *hello)
{
    stop_strays(node, name, hello->running, hello->n_running);
    stop_strays(node, name, hello->ended, hello->n_ended);
    for (uint32_t i = 0; i < node->duty->graph_count; i++)
        reconcile_record(node, node->duty->graphs[i], name, hello);
}

bool pst_coordinator_admits(struct pst_node *node, struct peer *peer, const Pst__Hello *hello)
{
    struct member *member = pst_coordinator_member(node->duty, peer->name);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *other = node->peers[i];
        if (other == peer || other->closing || other->role != PST__ROLE__NODE || strcmp(other->name, peer->name) != 0)
            continue;
        if (member != NULL && strcmp(member->address, hello->address) == 0) {
            other->closing = true; /* the same node has made another connection */
            continue;
        }
        peer->role = PST__ROLE__ROLE_UNSAID;
        pst_peer_refuse(node, peer, 1, PST_EREFUSED, "there is a node of the name `%s` already, at %s", peer->name,
                        member != NULL ? member->address : "?");
        return false;
    }
    const char *cluster = node->duty->cluster;
    bool another = hello->cluster.len != 0 && (hello->cluster.len != strlen(cluster) ||
                                               memcmp(hello->cluster.data, cluster, hello->cluster.len) != 0);
    if (another) {
        peer->role = PST__ROLE__ROLE_UNSAID;
        pst_peer_refuse(node, peer, 1, PST_EREFUSED,
                        "the folder of node `%s` belongs to another cluster (its file `cluster` says which): --dir is "
                        "to name one of its own for each",
                        peer->name);
        return false;
    }
    bool own = strcmp(peer->name, node->options.name) == 0;
    if (own || hello->workers == 0 || (member == NULL && node->duty->member_count == NODE_MEMBERS_MAX)) {
        peer->role = PST__ROLE__ROLE_UNSAID;
        if (own)
            pst_peer_refuse(node, peer, 1, PST_EREFUSED, "the name `%s` is the coordinator's", peer->name);
        else
            pst_peer_refuse(node, peer, 1, PST_EREFUSED,
                            "there are %d nodes already, and no room for more, or it has no worker", NODE_MEMBERS_MAX);
        return false;
    }
    return true;
}

/* Which graphs have ended: a node that was started since does not know it. */
static void tell_endings(struct pst_node *node, const char *name)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        const struct graph_record *record = node->duty->graphs[i];
        if (!goes_on(record) && !record->committing && record->commit.rc == PST_OK)
            stop_say(node, record->start->graph, record->start->incarnation, name, true);
    }
}

void pst_coordinator_up(struct pst_node *node, struct peer *peer, const Pst__Hello *hello)
{
    const struct member *before = pst_coordinator_member(node->duty, peer->name);
    bool back = before != NULL && before->alive;
    struct member *member =
        member_add(node->duty, peer->name, hello->address, hello->workers); /* there is room: it was admitted */
    member->waits = hello->waits;
    member->probes = hello->probes;
    member->parts = hello->parts;
    member->streams = hello->streams;
    member->keeps = hello->keeps;
    member->outlives = hello->outlives;
    for (uint32_t i = 0; i < node->duty->graph_count && !back; i++)
        node->duty->graphs[i]->unfit[member - node->duty->members] = false;
    pst_node_log(node, "node %s %s, at %s, %u workers, %zu runs", peer->name, back ? "is back" : "has joined",
                 hello->address, hello->workers, hello->n_running);
    reconcile(node, peer->name, hello);
    for (uint32_t i = 0; i < node->duty->graph_count; i++) { /* what it was told meanwhile it has not heard */
        struct graph_record *record = node->duty->graphs[i];
        uint32_t index = pst_start_index(record->start->start, peer->name);
        bool takes_part = index < record->start->start->n_nodes && !record->ended[index];
        if (takes_part && record->gone[index] && !record->heard[index].runs)
            continue;
        if (takes_part && goes_on(record) && pst_moves_under_way(record) && !pst_moves_again(node, record, index))
            record_restart(node, record);
    }
    tell_endings(node, peer->name);
}

void pst_coordinator_down(struct pst_node *node, const char *name, const char *why)
{
    struct member *member = pst_coordinator_member(node->duty, name);
    if (member == NULL || !member->alive || member->lost_ns != 0)
        return;
    member->lost_ns = node->world->now_ns(node->world->self) | 1;
    pst_node_log(node, "node %s: its connection is lost%s%s", name, why[0] != '\0' ? ": " : "", why);
}

/* ---- steps ---- */

/* It does not run there, and nobody who does knows how that ended. */
static bool is_missed(struct pst_node *node, const struct graph_record *record, uint32_t i)
{
    bool alive = is_alive(node->duty, record->start->start->nodes[i]);
    return !record->ended[i] && !(alive && record->started[i]);
}

/* A graph whose coordinator was another process goes on when each of its nodes is there, or dead: as it is, where each of them that is
 * needed has what the record says; what happened to it meanwhile they tell by themselves. */
static void restored_step(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->nodes[i]);
        if (!record->left[i] && member != NULL && member->alive && member->lost_ns != 0)
            return;
    }
    bool same = pst_moves_stand(record);
    for (uint32_t i = 0; i < start->n_nodes && same; i++)
        record->gone[i] = !record->left[i] && is_missed(node, record, i);
    for (uint32_t i = 0; i < start->n_nodes && same; i++)
        same = !record->gone[i] || pst_moves_can_lose(node, record, i);
    record->restored = false;
    node->any = true;
    if (!same) {
        record_restart(node, record);
        return;
    }
    record->drains = true;
    record_move(node, record, GRAPH_RUNNING, "");
    tell_all_ended(node, record, NULL);
    pst_moves_resume(node, record);
}

static void record_answer(struct pst_node *node, struct graph_record *record, const char *why)
{
    answer(node, record, PST_ETIMEOUT, why);
    unstopped_tell(node, record, PST_ETIMEOUT, why);
}

/* A commit that waits for a store that does not answer is not waited for by a command. */
static void commands_answer(struct pst_node *node)
{
    char why[200];
    uint64_t silent_ns = pst_election_silent_ns(node);
    if (silent_ns < COMMAND_NS)
        return;
    (void)snprintf(
        why, sizeof why,
        "the coordination store has not answered for %.0f s: it is done when that does, and `penstock status` "
        "will show it",
        (double)silent_ns / 1e9);
    for (uint32_t i = 0; i < node->duty->graph_count; i++)
        if (node->duty->graphs[i]->committing)
            record_answer(node, node->duty->graphs[i], why);
    pst_drain_resign(node, why);
    pst_orders_tell(node, (double)silent_ns / 1e9);
}

void pst_coordinator_resign(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *record = duty->graphs[i];
        pst_moves_resign(node, record, "another node coordinates now");
        record_answer(node, record,
                      record->stop_to == NULL
                          ? "another node coordinates now: `penstock status` shows whether it was done"
                      : record->stop_stored
                          ? "another node coordinates now, and goes on with it: give the command again to wait for that"
                          : "another node coordinates now: give the command again");
    }
    pst_savepoint_halt(node);
    pst_drain_resign(node, "another node coordinates now: `penstock status` shows whether it was done");
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peers[i]->role == PST__ROLE__NODE)
            pst_peer_close(node, node->peers[i], "this node coordinates no longer");
}

/* Its graphs that can do without it do not wait until it is taken for dead: whoever is replaced wrongly is not listened to any more. */
static void replicas_take_over(struct pst_node *node, const struct member *member)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++) {
        struct graph_record *record = node->duty->graphs[i];
        uint32_t index = pst_start_index(record->start->start, member->name);
        if (goes_on(record) && index < record->start->start->n_nodes && !record->ended[index] && !record->gone[index] &&
            (pst_start_has_place(record->start->start, index) || pst_moves_decided(record)))
            (void)lose(node, record, index);
    }
}

void pst_coordinator_step(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    const struct pst_world *world = node->world;
    uint64_t now_ns = world->now_ns(world->self);
    bool silent = pst_election_silent_ns(node) != 0; /* then nothing can be decided, and it may be another's by now */
    duty->store->step(duty->store->self);
    pst_moves_step(node);
    pst_orders_step(node);
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (duty->graphs[i]->committing && duty->graphs[i]->commit.rc != PST_EAGAIN)
            record_committed(node, duty->graphs[i]);
    pst_drain_step(node);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *peer = node->peers[i];
        if (peer->state == PEER_UP && peer->role == PST__ROLE__NODE && now_ns > peer->heard_ns + node->options.dead_ns)
            pst_peer_close(node, peer, "it is silent"); /* its connection is no connection */
    }
    for (uint32_t i = 0; i < duty->member_count; i++) {
        struct member *member = &duty->members[i];
        if (member->lost_ns != 0 && silent)
            member->lost_ns = now_ns | 1; /* it may not find us, as little as we find the store */
        if (member->alive && member->lost_ns != 0 && now_ns >= member->lost_ns + node->options.dead_ns / TAKEOVER_PART)
            replicas_take_over(node, member);
        if (member->alive && member->lost_ns != 0 && now_ns > member->lost_ns + node->options.dead_ns)
            member_dead(node, member, "it was silent for too long");
    }
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (duty->graphs[i]->restored && !silent)
            restored_step(node, duty->graphs[i]);
    pst_cuts_step(node);
    if (!silent) {
        pst_replicas_step(node);
        pst_autoscale_step(node);
    }
    commands_answer(node);
    (void)world->alarm(world->self, 0, now_ns + node->options.dead_ns / 8);
}

int pst_coordinator_new(struct pst_node *node, struct pst_store *store)
{
    struct coordinator *duty = pst_calloc(1, sizeof *duty);
    if (duty == NULL)
        return PST_ENOMEM;
    duty->store = store;
    duty->restore = RESTORE_CLUSTER;
    node->duty = duty;
    return PST_OK;
}

/* ---- what was decided before ---- */

/* The next path of the list, or none. */
static bool path_next(struct coordinator *duty)
{
    if (duty->paths_at >= duty->paths.count)
        return false;
    const char *at = duty->paths.bytes + duty->paths_at;
    size_t count = strcspn(at, "\n");
    if (count == 0 || count >= sizeof duty->path)
        return false;
    memcpy(duty->path, at, count);
    duty->path[count] = '\0';
    duty->paths_at += count + 1;
    return true;
}

/* What a record's bytes say, if they are what this program writes; its name is its path's. */
static int record_unpack(struct coordinator *duty, uint32_t body, struct pst_arena *arena, Pst__Control **ret_message)
{
    const struct pst_text *text = &duty->reading.text;
    int rc = pst_control_unpack(text->bytes, text->count, PST_CONTROL_LONG_BYTES_MAX, arena, ret_message);
    if (rc == PST_OK && ((uint32_t)(*ret_message)->body_case != body ||
                         strcmp((*ret_message)->graph, strchr(duty->path, '/') + 1) != 0))
        rc = PST_EDATA;
    return rc;
}

/* It was to be stopped, or nothing of it is to run on by now, and its savepoint is to be written. Of a coordinator of an earlier version,
 * which has started the graph again since, nobody knows whether that is still wanted. */
static int stop_restore(struct graph_record *record)
{
    Pst__Start *start = record->start->start;
    bool is = start->stopping[0] != '\0' && start->stopping_since == record->start->incarnation;
    record->stop_to = is ? pst_strdup(start->stopping) : NULL;
    record->stop_stored = is;
    record->stop_at = is && start->stopping_at == start->checkpoint ? start->stopping_at : 0;
    record->saving = record->stop_at != 0;
    start->stopping = (char *)(uintptr_t) "";
    start->stopping_since = start->stopping_at = 0;
    if (!record->saving)
        return is && record->stop_to == NULL ? PST_ENOMEM : PST_OK;
    record->restored = false;
    (void)snprintf(record->why, sizeof record->why, SAVING_WHY);
    return record->stop_to != NULL ? PST_OK : PST_ENOMEM;
}

static int record_restore(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    struct pst_diagnostics d;
    struct graph_record *record = duty->graph_count < NODE_GRAPHS_MAX ? pst_calloc(1, sizeof *record) : NULL;
    if (record == NULL)
        return duty->graph_count < NODE_GRAPHS_MAX ? PST_ENOMEM : PST_EFULL;
    pst_arena_init(&record->arena);
    pst_arena_init(&record->places_arena);
    pst_arena_init(&record->nodes_arena);
    pst_arena_init(&record->complete_arena);
    int rc = record_unpack(duty, PST__CONTROL__BODY_START, &record->arena, &record->start);
    const Pst__Start *start = rc == PST_OK ? record->start->start : NULL;
    if (rc == PST_OK && (start->n_nodes == 0 || start->n_nodes > NODE_MEMBERS_MAX ||
                         start->n_source_nodes > NODE_MEMBERS_MAX || start->n_settings > SETTINGS_MAX))
        rc = PST_EDATA;
    if (rc == PST_OK) {
        struct pst_setting settings[SETTINGS_MAX];
        for (size_t i = 0; i < start->n_settings; i++)
            settings[i] = (struct pst_setting){start->settings[i]->name, start->settings[i]->value};
        pst_diagnostics_init(&d);
        rc = pst_graph_parse(start->file, (const char *)start->text.data, start->text.len, settings,
                             (uint32_t)start->n_settings, &node->options.registry, &d, &record->graph);
        pst_diagnostics_fini(&d);
    }
    if (rc == PST_OK && start->keys[0] != '\0') {
        struct pst_text why = {0};
        rc = pst_graph_carry(record->graph, &why);
        pst_text_fini(&why);
    }
    if (rc != PST_OK && rc != PST_EGRAPH) {
        record_free(record);
        return rc;
    }
    PST_ASSERT(start != NULL); /* it was unpacked */
    record->version = duty->reading.version;
    record->since = start->submitted;
    record->complete = record->complete_stored = record->settled = start->checkpoint;
    record->complete_nodes = start->checkpoint_nodes;
    record->complete_node_count = start->n_checkpoint_nodes;
    record->complete_readers = start->saved_sources;
    record->complete_reader_count = start->n_saved_sources;
    if (start->given_up > record->settled) {
        record->settled = start->given_up;
        record->settled_error = PST_EAGAIN;
        (void)snprintf(record->given_up, sizeof record->given_up,
                       "the coordinator before this one did that: its log says why");
    }
    for (size_t i = 0; i < start->n_left_nodes; i++)
        record->left[start->left_nodes[i]] = record->ended[start->left_nodes[i]] = true;
    record->replaced_stored = start->n_replaced_partitions;
    record->restored = rc == PST_OK;
    record->begun = true;
    record->state = rc == PST_OK ? GRAPH_WAITING : GRAPH_FAILED;
    record->error = rc;
    duty->graphs[duty->graph_count++] = record;
    (void)snprintf(record->why, sizeof record->why, "%s",
                   rc == PST_OK ? node->options.store_open != NULL
                                      ? "waits for its nodes: another node coordinates now"
                                      : "waits for its nodes: the coordinator was started again"
                                : "it is not valid any more: this node has other operators than the one before");
    return rc == PST_OK ? stop_restore(record) : PST_OK;
}

/* How a graph has ended; of an earlier incarnation than the graph's record it says nothing. */
static int ended_restore(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    struct graph_record *record = pst_coordinator_graph(duty, strchr(duty->path, '/') + 1);
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    int rc = record_unpack(duty, PST__CONTROL__BODY_ENDED, &arena, &message);
    if (rc == PST_OK && (record == NULL || message->incarnation > record->start->incarnation))
        rc = PST_EDATA;
    if (rc == PST_OK) {
        record->ended_version = duty->reading.version;
        if (message->incarnation == record->start->incarnation) {
            const Pst__Ended *ended = message->ended;
            record->state = ended->error == PST_OK                   ? GRAPH_DONE
                            : ended->error != PST_ESTOPPED           ? GRAPH_FAILED
                            : record->start->start->saved[0] != '\0' ? GRAPH_STOPPED
                                                                     : GRAPH_CANCELLED;
            record->error = ended->error == PST_ESTOPPED ? PST_OK : ended->error;
            record->rows = ended->rows;
            record->rows_out = ended->rows_out;
            record->restored = record->saving = record->stop_stored = false;
            record->stop_at = 0;
            pst_free(record->stop_to);
            record->stop_to = NULL;
            (void)snprintf(record->why, sizeof record->why, "%s", ended->sentence);
        }
    }
    pst_arena_fini(&arena);
    return rc;
}

/* A move of a graph that there is. */
static int move_restore(struct coordinator *duty)
{
    char name[PST_STORE_PATH_BYTES];
    (void)snprintf(name, sizeof name, "%s", strchr(duty->path, '/') + 1);
    char *slash = strchr(name, '/');
    if (slash == NULL)
        return PST_EDATA;
    *slash = '\0';
    struct graph_record *record = pst_coordinator_graph(duty, name);
    return record != NULL ? pst_moves_restore(record, duty->path, duty->reading.version, &duty->reading.text)
                          : PST_EDATA;
}

static int order_restore(struct coordinator *duty)
{
    struct graph_record *record = pst_coordinator_graph(duty, strchr(duty->path, '/') + 1);
    return record != NULL ? pst_kept_restore(record, duty->reading.version, &duty->reading.text) : PST_EDATA;
}

/* Asks the store for what comes next; false: there is nothing more. */
static bool restore_ask(struct coordinator *duty)
{
    while (duty->restore != RESTORE_LIST && !path_next(duty)) {
        if (duty->restore == RESTORE_ORDER) {
            duty->restore = RESTORE_DONE;
            return false;
        }
        duty->restore = RESTORE_LIST;
        pst_text_fini(&duty->paths);
    }
    if (duty->restore == RESTORE_LIST)
        (void)snprintf(duty->path, sizeof duty->path, "%s",
                       duty->listed == RESTORE_NODE    ? "orders/"
                       : duty->listed == RESTORE_MOVE  ? "nodes/"
                       : duty->listed == RESTORE_ENDED ? "moves/"
                       : duty->listed == RESTORE_GRAPH ? "ended/"
                                                       : "graphs/");
    duty->reading = (struct pst_store_request){
        .kind = duty->restore == RESTORE_LIST ? PST_STORE_LIST : PST_STORE_READ, .path = duty->path, .rc = PST_EAGAIN};
    duty->begun = true;
    duty->store->begin(duty->store->self, &duty->reading);
    return true;
}

static int restore_answered(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    int rc = duty->reading.rc;
    duty->begun = false;
    if (duty->restore == RESTORE_CLUSTER) {
        rc = pst_identity_answered(node);
        if (rc == PST_OK)
            duty->restore = RESTORE_LIST;
        else if (rc == PST_EAGAIN)
            rc = PST_OK; /* it asks again */
    } else if (rc == PST_OK && duty->restore == RESTORE_LIST) {
        duty->paths = duty->reading.text;
        duty->reading.text = (struct pst_text){0};
        duty->paths_at = 0;
        duty->restore = duty->listed == RESTORE_NODE    ? RESTORE_ORDER
                        : duty->listed == RESTORE_MOVE  ? RESTORE_NODE
                        : duty->listed == RESTORE_ENDED ? RESTORE_MOVE
                        : duty->listed == RESTORE_GRAPH ? RESTORE_ENDED
                                                        : RESTORE_GRAPH;
        duty->listed = duty->restore;
    } else if (rc == PST_OK) {
        rc = duty->restore == RESTORE_GRAPH   ? record_restore(node)
             : duty->restore == RESTORE_ENDED ? ended_restore(node)
             : duty->restore == RESTORE_MOVE  ? move_restore(duty)
             : duty->restore == RESTORE_ORDER ? order_restore(duty)
                                              : pst_drain_restore(duty);
    }
    pst_text_fini(&duty->reading.text);
    return rc;
}

int pst_coordinator_restore(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    int rc = PST_OK;
    while (rc == PST_OK && duty->restore != RESTORE_DONE) {
        if (!duty->begun && duty->restore == RESTORE_CLUSTER)
            pst_identity_ask(node);
        else if (!duty->begun && !restore_ask(duty))
            break;
        duty->store->step(duty->store->self);
        if (duty->reading.rc == PST_EAGAIN)
            return PST_EAGAIN;
        rc = restore_answered(node);
    }
    if (rc != PST_OK && node->why[0] == '\0')
        (void)snprintf(node->why, sizeof node->why, "`%.100s` of the coordination store cannot be read back: %s",
                       duty->path, pst_error_sentence(rc));
    pst_text_fini(&duty->paths);
    return rc;
}

void pst_coordinator_opens(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        const struct graph_record *record = duty->graphs[i];
        const Pst__Start *start = record->start->start;
        pst_node_log(node, "graph %s, incarnation %llu: %s%s%s, as the store has it", record->start->graph,
                     (unsigned long long)record->start->incarnation, pst_graph_state_names[record->state],
                     record->why[0] != '\0' ? ": " : "", record->why);
        if (record->stop_to != NULL)
            pst_node_log(node,
                         "graph %s, incarnation %llu: is to be stopped with the savepoint %s, as the store has it",
                         record->start->graph, (unsigned long long)record->start->incarnation, record->stop_to);
        for (size_t n = 0; (record->restored || record->saving) && n < start->n_nodes;
             n++) { /* they live until they are silent for too long */
            if (record->left[n])
                continue;
            struct member *member = member_add(duty, start->nodes[n], start->addresses[n], start->node_workers[n]);
            if (member != NULL)
                member->lost_ns = node->world->now_ns(node->world->self) | 1;
        }
    }
    struct tidings_hello hello;
    struct member *own = member_add(duty, node->options.name, node->address, node->worker_count);
    pst_tidings_hello(node, &hello);
    if (own == NULL) /* the store has named too many others */
        return;
    own->waits = hello.body.waits;
    own->probes = hello.body.probes;
    own->parts = hello.body.parts;
    own->streams = hello.body.streams;
    own->keeps = hello.body.keeps;
    own->outlives = hello.body.outlives;
    reconcile(node, own->name, &hello.body); /* K4 */
    tell_endings(node, own->name);
}

void pst_coordinator_free(struct coordinator *duty)
{
    if (duty == NULL)
        return;
    for (uint32_t i = 0; i < duty->graph_count; i++)
        record_free(duty->graphs[i]);
    pst_drain_free(duty);
    pst_text_fini(&duty->paths);
    pst_text_fini(&duty->reading.text);
    pst_free(duty);
}
