/* drain.c - see node.h: nodes that are to have nothing.
 *
 * One is *drained* by a command: nodes/NAME in the store says so before anything follows from it (K3), and for as long as it is there the
 * node gets nothing, whoever coordinates, and whether or not it lives. One that is told to end *leaves*: it says so, the coordinator
 * brings elsewhere what can go, graph after graph, and lets it go; that ends with the process, and is nobody's record. What moves, and in
 * which order, is orders.c's.
 *
 * A graph has what cannot move: its input, its sinks. By a command the rest of it moves all the same. Who leaves takes the graph back to its
 * last checkpoint then, so there nothing is moved first. A graph that needs nothing of a node goes on without it, as the same incarnation. */
#include "engine/mover.h"

#include <string.h>

struct node_record {
    struct pst_store_request commit;
    struct pst_store_change change;
    struct pst_text bytes;
    char path[PST_STORE_PATH_BYTES];
    uint64_t version; /* 0: it is not in the store */
    bool committing;
    struct submission asked; /* by whom, how it is to be answered, and what moves may take */
};

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

/* ---- the record ---- */

static int record_pack(const struct member *member, struct pst_text *bytes)
{
    Pst__NodeRecord body = PST__NODE_RECORD__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.node = (char *)(uintptr_t)member->name;
    body.address = (char *)(uintptr_t)member->address;
    body.workers = member->workers;
    message.body_case = PST__CONTROL__BODY_NODE_RECORD;
    message.node_record = &body;
    pst_text_fini(bytes);
    return pst_control_pack(&message, bytes);
}

static struct node_record *record_of(struct member *member)
{
    if (member->record == NULL)
        member->record = pst_calloc(1, sizeof *member->record);
    if (member->record != NULL)
        (void)snprintf(member->record->path, sizeof member->record->path, "nodes/%.200s", member->name);
    return member->record;
}

static int record_commit(struct pst_node *node, struct member *member, const struct submission *asked, bool undo)
{
    struct node_record *record = record_of(member);
    int rc = record == NULL ? PST_ENOMEM : undo ? PST_OK : record_pack(member, &record->bytes);
    if (rc != PST_OK)
        return rc;
    record->asked = *asked;
    record->change = (struct pst_store_change){.path = record->path,
                                               .expected = record->version,
                                               .bytes = undo ? NULL : record->bytes.bytes,
                                               .byte_count = undo ? 0 : (uint32_t)record->bytes.count};
    record->commit = (struct pst_store_request){
        .kind = PST_STORE_COMMIT, .changes = &record->change, .change_count = 1, .rc = PST_EAGAIN};
    record->committing = true;
    node->duty->store->begin(node->duty->store->self, &record->commit);
    return PST_OK;
}

int pst_drain_restore(struct coordinator *duty)
{
    const struct pst_text *text = &duty->reading.text;
    const char *name = strchr(duty->path, '/') + 1;
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    int rc = pst_control_unpack(text->bytes, text->count, PST_CONTROL_BYTES_MAX, &arena, &message);
    if (rc == PST_OK && (message->body_case != PST__CONTROL__BODY_NODE_RECORD ||
                         strcmp(message->node_record->node, name) != 0 || duty->member_count == NODE_MEMBERS_MAX))
        rc = PST_EDATA;
    if (rc == PST_OK) { /* nobody has joined yet: it is dead, as far as is known */
        struct member *member = &duty->members[duty->member_count++];
        *member = (struct member){.workers = message->node_record->workers, .draining = true};
        (void)snprintf(member->name, sizeof member->name, "%s", name);
        (void)snprintf(member->address, sizeof member->address, "%s", message->node_record->address);
        rc = record_of(member) != NULL ? PST_OK : PST_ENOMEM;
        if (rc == PST_OK)
            member->record->version = duty->reading.version;
    }
    pst_arena_fini(&arena);
    return rc;
}

void pst_drain_free(struct coordinator *duty)
{
    for (uint32_t i = 0; i < duty->member_count; i++) {
        if (duty->members[i].record != NULL)
            pst_text_fini(&duty->members[i].record->bytes);
        pst_free(duty->members[i].record);
    }
}

/* ---- the command ---- */

static bool has_another(const struct coordinator *duty, const struct member *but)
{
    for (uint32_t i = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        if (member != but && member->alive && member->lost_ns == 0 && pst_member_takes(member))
            return true;
    }
    return false;
}

/* To whoever has taken it back; already: nobody had to. */
static void undo_print(const struct member *member, bool json, bool already, struct pst_text *text)
{
    if (json) {
        (void)pst_text_printf(text, "{\"schema_version\":1,\"node\":");
        (void)pst_text_json(text, member->name);
        (void)pst_text_printf(text, ",\"draining\":false,\"error\":null}\n");
    } else {
        (void)pst_text_printf(
            text, already ? "node `%s` is not being drained: nothing to do\n" : "node `%s` gets partitions again\n",
            member->name);
    }
}

static void answer(struct pst_node *node, struct node_record *record, int error, const char *out, const char *why)
{
    struct peer *peer = record->asked.asked_by != 0 ? pst_peer_by_id(node, record->asked.asked_by) : NULL;
    record->asked.asked_by = 0;
    if (peer != NULL)
        pst_admin_reply(node, peer, record->asked.request, error, out, why);
}

int pst_drain(struct pst_node *node, const struct submission *asked, const char *name, bool undo, struct pst_text *why)
{
    struct member *member = pst_coordinator_member(node->duty, name);
    bool so = member != NULL && member->draining;
    if (member == NULL || (!undo && !member->alive && !so)) {
        (void)pst_text_printf(why, "there is no node `%s`%s", name, undo ? "" : " that is alive");
        return PST_EREFUSED;
    }
    if (member->record != NULL && member->record->committing) {
        (void)pst_text_printf(why, "whether node `%s` is drained is being written down: try again", name);
        return PST_ETIMEOUT;
    }
    if (undo && !so) {
        struct peer *peer = pst_peer_by_id(node, asked->asked_by);
        struct pst_text text = {0};
        undo_print(member, asked->json, true, &text);
        if (peer != NULL)
            pst_admin_reply(node, peer, asked->request, PST_OK, text.bytes, NULL);
        pst_text_fini(&text);
        return PST_OK;
    }
    if (!undo && so && pst_order_drained(node, asked, name))
        return PST_OK;
    if (!undo && !member->alive)
        (void)pst_text_printf(why, "node `%s` is drained, and not alive: what it has goes elsewhere by itself", name);
    else if (!undo && !has_another(node->duty, member))
        (void)pst_text_printf(why, "there is no other node that could take what `%s` has", name);
    if (why->count != 0)
        return PST_EREFUSED;
    if (!undo && !pst_order_may_drain(node, why))
        return PST_EREFUSED;
    if (!undo && member->draining) /* what it still has */
        return pst_order_drain(node, asked, name);
    return record_commit(node, member, asked, undo);
}

static void record_committed(struct pst_node *node, struct member *member)
{
    struct node_record *record = member->record;
    bool undo = record->change.bytes == NULL;
    char text[200];
    int rc = record->commit.rc;
    record->committing = false;
    node->any = true;
    if (rc != PST_OK) {
        (void)snprintf(text, sizeof text, "the coordination store did not take it: %s", pst_error_sentence(rc));
        answer(node, record, rc, NULL, text);
        return;
    }
    record->version = undo ? 0 : record->version + 1;
    member->draining = !undo;
    pst_node_log(node, "node %s: %s", member->name, undo ? "is not drained any more" : "is drained: it gets nothing");
    if (undo) {
        struct pst_text out = {0};
        undo_print(member, record->asked.json, false, &out);
        answer(node, record, PST_OK, out.bytes, NULL);
        pst_text_fini(&out);
        return;
    }
    rc = pst_order_drain(node, &record->asked, member->name);
    if (rc != PST_OK)
        answer(node, record, rc, NULL, pst_error_sentence(rc));
}

void pst_drain_resign(struct pst_node *node, const char *why)
{
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        if (node->duty->members[i].record != NULL && node->duty->members[i].record->committing)
            answer(node, node->duty->members[i].record, PST_ETIMEOUT, NULL, why);
}

/* ---- members that leave ---- */

/* What ends with its process, and cannot be elsewhere before. */
static bool is_fixed(const struct pst_node *node, const struct graph_record *record, uint32_t index)
{
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < start->n_places; i++)
        if (start->places[i]->node == index && pst_order_stays(node, record, start->places[i]))
            return true;
    return false;
}

/* One step of bringing elsewhere what a graph has on a node. False: it is done, or will not be. */
static bool graph_leaves(struct pst_node *node, struct graph_record *record, const struct member *member)
{
    const Pst__Start *start = record->start->start;
    uint32_t index = pst_start_index(start, member->name);
    bool own =
        strcmp(member->name, node->options.name) == 0; /* how graphs have ended is lost with it, until they all have */
    if (!pst_coordinator_goes_on(record))
        return own && record->committing;
    if (record->saving || index == start->n_nodes || record->left[index])
        return false;
    if (record->ended[index])
        return own && record->state == GRAPH_RUNNING;
    if (record->begins || record->restored || record->state == GRAPH_STARTING)
        return true; /* soon it is known what is where */
    if (record->state != GRAPH_RUNNING || is_fixed(node, record, index))
        return false;
    if (pst_order_under_way(record) || pst_coordinator_release(node, record, index))
        return true;
    if (pst_moves_any_ended(record)) /* it is at its end: that is soon */
        return true;
    if (record->undrained == record->start->incarnation)
        return false;
    if (record->unmoved_ns != 0 && now_ns(node) < record->unmoved_ns + node->options.dead_ns)
        return true; /* tried again, but for a graph that has come to its end by then */
    return pst_order_leave(node, record, member->name);
}

static void member_leaves(struct pst_node *node, struct member *member)
{
    Pst__Leave body = PST__LEAVE__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    bool waits = false;
    if (has_another(node->duty, member))
        for (uint32_t i = 0; i < node->duty->graph_count; i++)
            waits |= graph_leaves(node, node->duty->graphs[i], member);
    if (waits)
        return;
    message.body_case = PST__CONTROL__BODY_LEAVE;
    message.leave = &body;
    member->let_go = true;
    pst_coordinator_tell(node, member->name, &message);
}

/* A graph that another coordinator had: what a drain of that one has left on its way goes on. A node that has no connection at this moment is
 * waited for, as long as it lives. */
static void graph_drains(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    bool calm = record->state == GRAPH_RUNNING && !record->restored && !record->begins && !record->saving &&
                record->stop_to == NULL && !pst_order_under_way(record);
    if (!calm || (record->unmoved_ns != 0 && now_ns(node) < record->unmoved_ns + node->options.dead_ns))
        return;
    bool may = !pst_moves_any_ended(record) && record->undrained != record->start->incarnation, waits = false;
    for (uint32_t i = 0; i < node->duty->member_count && may; i++) {
        const struct member *member = &node->duty->members[i];
        uint32_t index = pst_start_index(start, member->name);
        bool any = false;
        if (!member->draining || !member->alive || index == start->n_nodes || record->left[index] ||
            record->ended[index])
            continue;
        waits |= member->lost_ns != 0;
        if (member->lost_ns != 0 || pst_coordinator_release(node, record, index))
            continue;
        for (size_t p = 0; p < start->n_places; p++)
            any |= start->places[p]->node == index && !pst_order_stays(node, record, start->places[p]) &&
                   !pst_moves_replaces(record, start->places[p]);
        if (any && has_another(node->duty, member) && pst_order_leave(node, record, member->name))
            return;
        waits |= any; /* for a node that it could go to */
    }
    record->drains = waits;
}

void pst_drain_step(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (duty->graphs[i]->drains)
            graph_drains(node, duty->graphs[i]);
    for (uint32_t i = 0; i < duty->member_count; i++) {
        struct member *member = &duty->members[i];
        if (member->record != NULL && member->record->committing && member->record->commit.rc != PST_EAGAIN)
            record_committed(node, member);
        if (member->leaving && !member->let_go && member->alive && member->lost_ns == 0)
            member_leaves(node, member);
    }
}

/* ---- a node's own part ---- */

void pst_leave_look(struct pst_node *node)
{
    if (pst_tidings_to(node) != 0)
        node->alone_ns = 0;
    else if (node->alone_ns == 0)
        node->alone_ns = now_ns(node) | 1;
}

bool pst_leave_step(struct pst_node *node)
{
    uint64_t now = now_ns(node), to = pst_tidings_to(node);
    uint32_t runs = node->hosted_count + node->beginning_count + node->start_count + node->ending_count;
    bool begins = node->leave_ns == 0, empty = runs == 0 && node->duty == NULL;
    node->leave_ns = begins ? now | 1 : node->leave_ns;
    if (node->options.drain_ns == 0 || !node->opened || empty || node->may_leave)
        return true;
    if (now >= node->leave_ns + node->options.drain_ns) {
        pst_node_log(node, "its time to bring elsewhere what it has is over");
        return true;
    }
    if (to == 0 && ((node->duty == NULL && !node->joined) || now >= node->alone_ns + node->options.dead_ns))
        return true; /* nobody is there who would do it */
    if (begins)
        pst_node_log(node, "it was told to end: what it has is to go elsewhere first, for which there are %.0f s",
                     (double)node->options.drain_ns / 1e9);
    if (to != 0 && to != node->leave_told) {
        Pst__Leave body = PST__LEAVE__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        message.body_case = PST__CONTROL__BODY_LEAVE;
        message.leave = &body;
        node->leave_told = to;
        pst_node_tell(node, &message);
    }
    uint64_t end_ns = node->leave_ns + node->options.drain_ns;
    if (to == 0 && node->alone_ns + node->options.dead_ns < end_ns)
        end_ns = node->alone_ns + node->options.dead_ns;
    (void)node->world->alarm(node->world->self, 0, end_ns);
    return node->may_leave;
}
