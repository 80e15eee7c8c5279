/* coordinator.c - see node.h: members, graphs, where their partitions are, and what happens when a node dies.
 *
 * A graph is a record: a Start message as it is sent to its nodes. Whatever changes it - another incarnation, other places - is
 * committed first, then said (K3). Its state beside it is found again by asking: who runs what stands in every hello. */
#include "engine/node.h"

#include <string.h>

const char *const pst_graph_state_names[] = {"",     "waiting", "starting", "running",
                                             "done", "failed",  "cancelled"};

/* ---- members ---- */

static struct member *member_find(struct coordinator *duty, const char *name)
{
    for (uint32_t i = 0; i < duty->member_count; i++)
        if (strcmp(duty->members[i].name, name) == 0)
            return &duty->members[i];
    return NULL;
}

static struct member *member_add(struct coordinator *duty, const char *name, const char *address, uint32_t workers)
{
    struct member *member = member_find(duty, name);
    if (member == NULL && duty->member_count == NODE_MEMBERS_MAX)
        return NULL;
    member = member != NULL ? member : &duty->members[duty->member_count++];
    *member = (struct member){.alive = true, .workers = workers};
    (void)snprintf(member->name, sizeof member->name, "%s", name);
    (void)snprintf(member->address, sizeof member->address, "%s", address);
    return member;
}

static bool is_alive(struct coordinator *duty, const char *name)
{
    const struct member *member = member_find(duty, name);
    return member != NULL && member->alive;
}

/* ---- what is said to members ---- */

static void tell(struct pst_node *node, const char *name, Pst__Control *message)
{
    struct peer *peer = pst_peer_find(node, name);
    if (strcmp(name, node->options.name) == 0) { /* K4 */
        if (message->body_case == PST__CONTROL__BODY_START)
            pst_node_on_start(node, message);
        else if (message->body_case == PST__CONTROL__BODY_STOP)
            pst_node_on_stop(node, message);
        else if (message->body_case == PST__CONTROL__BODY_ENDED)
            pst_node_on_ended(node, message);
    } else if (peer != NULL) {
        pst_peer_send(node, peer, message);
    }
}

static void tell_start(struct pst_node *node, struct graph_record *record, const char *only)
{
    Pst__Start *start = record->start->start;
    for (uint32_t i = 0; i < start->n_nodes; i++) {
        if (only != NULL && strcmp(only, start->nodes[i]) != 0)
            continue;
        start->this_node = i;
        tell(node, start->nodes[i], record->start);
    }
    start->this_node = 0;
}

static void tell_stop(struct pst_node *node, const char *graph, uint64_t incarnation, const char *only)
{
    Pst__Stop stop = PST__STOP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    message.graph = (char *)(uintptr_t)graph;
    message.incarnation = incarnation;
    message.body_case = PST__CONTROL__BODY_STOP;
    message.stop = &stop;
    for (uint32_t i = 0; i < node->duty->member_count; i++)
        if (only == NULL || strcmp(only, node->duty->members[i].name) == 0)
            tell(node, node->duty->members[i].name, &message);
}

/* ---- places ---- */

struct place_list {
    Pst__Place *items, **list;
    size_t count;
};

static uint32_t least_loaded(const uint32_t *load, const bool *usable, uint32_t count)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (usable[i] && (best == UINT32_MAX || load[i] < load[best]))
            best = i;
    return best;
}

static const Pst__Place *place_before(const Pst__Start *before, const char *operator_id, uint32_t partition)
{
    for (size_t i = 0; before != NULL && i < before->n_places; i++)
        if (before->places[i]->partition == partition && strcmp(before->places[i]->operator_id, operator_id) == 0)
            return before->places[i];
    return NULL;
}

static int place_add(struct place_list *places, const char *operator_id, uint32_t partition, uint32_t index)
{
    Pst__Place *place = &places->items[places->count];
    pst__place__init(place);
    place->operator_id = (char *)(uintptr_t)operator_id;
    place->partition = partition;
    place->node = index;
    places->list[places->count++] = place;
    return PST_OK;
}

/* Partitions stay where they were if that node lives; the others go where the fewest are. `start` has its nodes already. */
static int places_choose(struct coordinator *duty, const struct pst_graph *graph, const Pst__Start *before,
                         const char *source, struct pst_arena *arena, Pst__Start *start)
{
    uint32_t load[NODE_MEMBERS_MAX] = {0}, total = 1;
    bool usable[NODE_MEMBERS_MAX];
    for (uint32_t i = 0; i < start->n_nodes; i++)
        usable[i] = is_alive(duty, start->nodes[i]);
    for (uint32_t n = 0; n < graph->node_count; n++)
        total += graph->nodes[n].partition_count;
    struct place_list places = {pst_arena_alloc(arena, total * sizeof *places.items),
                                pst_arena_alloc(arena, total * sizeof *places.list), 0};
    if (places.items == NULL || places.list == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        if (node->op->role == PST_ROLE_SOURCE) {
            for (uint32_t i = 0; i < start->n_nodes; i++)
                if (strcmp(start->nodes[i], source) == 0)
                    (void)place_add(&places, node->id, 0, i);
            continue;
        }
        for (uint32_t p = 0; node->op->role != PST_ROLE_STATELESS && p < node->partition_count; p++) {
            const Pst__Place *was = place_before(before, node->id, p);
            uint32_t index = UINT32_MAX;
            for (uint32_t i = 0; was != NULL && i < start->n_nodes; i++)
                if (usable[i] && strcmp(start->nodes[i], before->nodes[was->node]) == 0)
                    index = i;
            index = index != UINT32_MAX ? index : least_loaded(load, usable, (uint32_t)start->n_nodes);
            if (index == UINT32_MAX)
                return PST_EAGAIN;
            load[index]++;
            (void)place_add(&places, node->id, p, index);
        }
    }
    start->places = places.list;
    start->n_places = places.count;
    return PST_OK;
}

static int nodes_choose(struct coordinator *duty, struct pst_arena *arena, Pst__Start *start)
{
    size_t count = duty->member_count;
    start->nodes = pst_arena_alloc(arena, count * sizeof *start->nodes);
    start->addresses = pst_arena_alloc(arena, count * sizeof *start->addresses);
    start->node_workers = pst_arena_alloc(arena, count * sizeof *start->node_workers);
    start->n_nodes = start->n_addresses = start->n_node_workers = 0;
    if (start->nodes == NULL || start->addresses == NULL || start->node_workers == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (!duty->members[i].alive)
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

static const char *source_of(const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    const char *id = record->graph->nodes[record->graph->source].id;
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, id) == 0)
            return start->nodes[start->places[i]->node];
    return "";
}

/* ---- the store ---- */

static void record_commit(struct pst_node *node, struct graph_record *record)
{
    if (record->committing) {
        record->again = true;
        return;
    }
    pst_text_fini(&record->bytes);
    int rc = pst_control_pack(record->start, &record->bytes);
    if (rc != PST_OK) {
        record->state = GRAPH_FAILED;
        (void)snprintf(record->why, sizeof record->why, "its record cannot be written: %s", pst_error_sentence(rc));
        return;
    }
    (void)snprintf(record->path, sizeof record->path, "graphs/%.200s", record->start->graph);
    record->change = (struct pst_store_change){.path = record->path,
                                               .expected = record->version,
                                               .bytes = record->bytes.bytes,
                                               .byte_count = (uint32_t)record->bytes.count};
    record->commit = (struct pst_store_request){
        .kind = PST_STORE_COMMIT, .changes = &record->change, .change_count = 1, .rc = PST_EAGAIN};
    record->committing = true;
    node->duty->store->begin(node->duty->store->self, &record->commit);
}

static void answer(struct pst_node *node, struct graph_record *record, int error, const char *text)
{
    if (record->asked_by != 0)
        pst_admin_answer(node, record->asked_by, record->request, error, text);
    record->asked_by = 0;
}

static void record_fail(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    record->state = GRAPH_FAILED;
    (void)snprintf(record->why, sizeof record->why, "%s", why);
    tell_stop(node, record->start->graph, record->start->incarnation, NULL);
    answer(node, record, error, record->why);
}

static void record_committed(struct pst_node *node, struct graph_record *record)
{
    record->committing = false;
    node->any = true;
    if (record->commit.rc != PST_OK) {
        record_fail(node, record, record->commit.rc, "the coordination store did not take it");
        return;
    }
    record->version++;
    if (record->again) {
        record->again = false;
        record_commit(node, record);
        return;
    }
    if (record->begins) {
        record->begins = false;
        record->state = GRAPH_STARTING;
        tell_start(node, record, NULL);
    }
}

/* ---- graphs ---- */

static struct graph_record *record_find(struct coordinator *duty, const char *name)
{
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (strcmp(duty->graphs[i]->start->graph, name) == 0)
            return duty->graphs[i];
    return NULL;
}

static bool goes_on(const struct graph_record *record)
{
    return record->state == GRAPH_WAITING || record->state == GRAPH_STARTING || record->state == GRAPH_RUNNING;
}

/* Another incarnation, on the nodes that live; or it waits for one that it cannot do without. */
static void record_restart(struct pst_node *node, struct graph_record *record)
{
    struct coordinator *duty = node->duty;
    Pst__Control *control = record->start;
    Pst__Start before = *control->start;
    const char *source = source_of(record);
    memset(record->started, 0, sizeof record->started);
    memset(record->ended, 0, sizeof record->ended);
    record->begins = false;
    record->state = GRAPH_WAITING;
    if (!is_alive(duty, source)) {
        (void)snprintf(record->why, sizeof record->why, "waits for node %s, which reads the input", source);
        tell_stop(node, control->graph, control->incarnation, NULL);
        return;
    }
    int rc = nodes_choose(duty, &record->arena, control->start);
    if (rc == PST_OK)
        rc = places_choose(duty, record->graph, &before, source, &record->arena, control->start);
    if (rc != PST_OK) {
        *control->start = before;
        record_fail(node, record, rc, "its partitions cannot be placed");
        return;
    }
    control->incarnation++;
    record->why[0] = '\0';
    record->begins = true;
    record_commit(node, record);
}

static void record_free(struct graph_record *record)
{
    pst_graph_free(record->graph);
    pst_arena_fini(&record->arena);
    pst_text_fini(&record->bytes);
    pst_text_fini(&record->commit.text);
    pst_free(record);
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
    control->graph = pst_arena_strdup(arena, pst_graph_name(record->graph));
    control->incarnation = 1;
    control->body_case = PST__CONTROL__BODY_START;
    control->start = start;
    if (start->file == NULL || control->graph == NULL)
        return PST_ENOMEM;
    int rc = nodes_choose(node->duty, arena, start);
    const char *source = submission->source != NULL ? submission->source : node->options.name;
    return rc == PST_OK ? places_choose(node->duty, record->graph, NULL, source, arena, start) : rc;
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
    return rc;
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
        record->start->incarnation = old->start->incarnation + 1;
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

int pst_coordinator_submit(struct pst_node *node, const struct submission *submission, struct pst_text *why)
{
    struct coordinator *duty = node->duty;
    if (submission->source != NULL && !is_alive(duty, submission->source)) {
        (void)pst_text_printf(why, "there is no node `%s` that could read the input", submission->source);
        return PST_ENOENT;
    }
    struct graph_record *record = pst_calloc(1, sizeof *record);
    if (record == NULL)
        return PST_ENOMEM;
    pst_arena_init(&record->arena);
    int rc = graph_parse(node, submission, record, why);
    if (rc == PST_OK)
        rc = start_fill(node, submission, record);
    if (rc == PST_OK)
        rc = record_replace(duty, record, why);
    if (rc != PST_OK) {
        record_free(record);
        return rc;
    }
    record->state = GRAPH_WAITING;
    record->asked_by = submission->asked_by;
    record->request = submission->request;
    record->begins = true;
    record_commit(node, record);
    return PST_OK;
}

int pst_coordinator_cancel(struct pst_node *node, const char *graph, struct pst_text *why)
{
    struct graph_record *record = record_find(node->duty, graph);
    if (record == NULL) {
        (void)pst_text_printf(why, "there is no graph `%s`", graph);
        return PST_ENOENT;
    }
    if (!goes_on(record)) {
        (void)pst_text_printf(why, "graph `%s` is %s", graph, pst_graph_state_names[record->state]);
        return PST_EREFUSED;
    }
    record->state = GRAPH_CANCELLED;
    record->begins = false;
    answer(node, record, PST_ESTOPPED, "it was cancelled");
    tell_stop(node, record->start->graph, record->start->incarnation, NULL);
    return PST_OK;
}

/* ---- what members say ---- */

static uint32_t site_index(const Pst__Start *start, const char *name)
{
    uint32_t i = 0;
    while (i < start->n_nodes && strcmp(start->nodes[i], name) != 0)
        i++;
    return i;
}

static bool all(const bool *flags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!flags[i])
            return false;
    return true;
}

static void on_started(struct pst_node *node, struct graph_record *record, uint32_t index)
{
    record->started[index] = true;
    if (record->state != GRAPH_STARTING || !all(record->started, record->start->start->n_nodes))
        return;
    record->state = GRAPH_RUNNING;
    answer(node, record, PST_OK, "running");
}

static void on_ended(struct pst_node *node, struct graph_record *record, uint32_t index, const Pst__Control *message)
{
    const Pst__Ended *ended = message->ended;
    const Pst__Start *start = record->start->start;
    if (!goes_on(record) || record->ended[index])
        return;
    if (ended->error != PST_OK) { /* the same would happen again */
        char why[sizeof record->why];
        (void)snprintf(why, sizeof why, "node %.60s: %.300s", start->nodes[index], ended->sentence);
        record_fail(node, record, ended->error, why);
        return;
    }
    record->ended[index] = true;
    record->rows += ended->rows;
    record->rows_out += ended->rows_out;
    Pst__Ended passed_on = *ended;
    Pst__Control news = *message;
    passed_on.node = start->nodes[index];
    news.ended = &passed_on;
    for (uint32_t i = 0; i < start->n_nodes; i++)
        if (i != index)
            tell(node, start->nodes[i], &news);
    if (all(record->ended, start->n_nodes)) {
        record->state = GRAPH_DONE;
        answer(node, record, PST_OK, "done");
    }
}

void pst_coordinator_on(struct pst_node *node, const char *name, const Pst__Control *message)
{
    struct member *member = member_find(node->duty, name);
    struct graph_record *record = record_find(node->duty, message->graph);
    if (member == NULL)
        return;
    if (message->body_case == PST__CONTROL__BODY_BEAT) {
        struct peer *peer = pst_peer_find(node, name);
        Pst__BeatAck ack = PST__BEAT_ACK__INIT;
        Pst__Control reply = PST__CONTROL__INIT;
        reply.body_case = PST__CONTROL__BODY_BEAT_ACK;
        reply.beat_ack = &ack;
        if (peer != NULL)
            pst_peer_send(node, peer, &reply);
        return;
    }
    if (record == NULL || record->start->incarnation != message->incarnation || record->begins)
        return; /* of what is no more, or not yet */
    uint32_t index = site_index(record->start->start, name);
    if (index == record->start->start->n_nodes)
        return;
    if (message->body_case == PST__CONTROL__BODY_STARTED)
        on_started(node, record, index);
    else if (message->body_case == PST__CONTROL__BODY_ENDED)
        on_ended(node, record, index, message);
}

static const Pst__Running *running_find(const Pst__Hello *hello, const char *graph)
{
    for (size_t i = 0; i < hello->n_running; i++)
        if (strcmp(hello->running[i]->graph, graph) == 0)
            return hello->running[i];
    return NULL;
}

/* What it runs and should not is stopped, what it should run and does not is started - in a new incarnation, if it had begun. */
static void reconcile(struct pst_node *node, const char *name, const Pst__Hello *hello)
{
    struct coordinator *duty = node->duty;
    for (size_t i = 0; i < hello->n_running; i++) {
        struct graph_record *record = record_find(duty, hello->running[i]->graph);
        if (record == NULL || !goes_on(record) || record->start->incarnation > hello->running[i]->incarnation)
            tell_stop(node, hello->running[i]->graph, hello->running[i]->incarnation, name);
    }
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *record = duty->graphs[i];
        const Pst__Running *running = running_find(hello, record->start->graph);
        uint32_t index = site_index(record->start->start, name);
        if (!goes_on(record) || record->begins)
            continue;
        if (record->state == GRAPH_WAITING)
            record_restart(node, record);
        else if (index == record->start->start->n_nodes || record->ended[index])
            continue;
        else if (running != NULL && running->incarnation == record->start->incarnation)
            on_started(node, record, index);
        else if (record->started[index])
            record_restart(node, record); /* it has ended there, and how was not heard; or it is another process */
        else
            tell_start(node, record, name);
    }
}

void pst_coordinator_up(struct pst_node *node, struct peer *peer, const Pst__Hello *hello)
{
    struct member *member = member_find(node->duty, peer->name);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *other = node->peers[i];
        if (other == peer || other->closing || other->role != PST__ROLE__NODE || strcmp(other->name, peer->name) != 0)
            continue;
        if (member != NULL && strcmp(member->address, hello->address) == 0) {
            other->closing = true; /* the same node has made another connection */
            continue;
        }
        pst_peer_refuse(node, peer, 1, PST_EREFUSED, "there is a node of the name %s already, at %s", peer->name,
                        member != NULL ? member->address : "?");
        peer->closing = true;
        peer->role = PST__ROLE__ROLE_UNSAID;
        return;
    }
    if (strcmp(peer->name, node->options.name) == 0 ||
        member_add(node->duty, peer->name, hello->address, hello->workers) == NULL) {
        pst_peer_refuse(node, peer, 1, PST_EREFUSED, "the name %s is the coordinator's own, or there are too many nodes",
                        peer->name);
        peer->closing = true;
        peer->role = PST__ROLE__ROLE_UNSAID;
        return;
    }
    reconcile(node, peer->name, hello);
}

void pst_coordinator_down(struct pst_node *node, const char *name)
{
    struct member *member = member_find(node->duty, name);
    if (member != NULL && member->alive && member->lost_ns == 0)
        member->lost_ns = node->world->now_ns(node->world->self) | 1;
}

/* ---- steps ---- */

static void member_dead(struct pst_node *node, struct member *member)
{
    struct coordinator *duty = node->duty;
    member->alive = false;
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *record = duty->graphs[i];
        uint32_t index = site_index(record->start->start, member->name);
        if (goes_on(record) && index < record->start->start->n_nodes && !record->ended[index])
            record_restart(node, record);
    }
    node->any = true;
}

void pst_coordinator_step(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    const struct pst_world *world = node->world;
    uint64_t now_ns = world->now_ns(world->self);
    duty->store->step(duty->store->self);
    for (uint32_t i = 0; i < duty->graph_count; i++)
        if (duty->graphs[i]->committing && duty->graphs[i]->commit.rc != PST_EAGAIN)
            record_committed(node, duty->graphs[i]);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *peer = node->peers[i];
        if (peer->state == PEER_UP && peer->role == PST__ROLE__NODE && now_ns > peer->heard_ns + node->options.dead_ns)
            peer->closing = true; /* silent: its connection is no connection */
    }
    for (uint32_t i = 0; i < duty->member_count; i++) {
        struct member *member = &duty->members[i];
        if (member->alive && member->lost_ns != 0 && now_ns > member->lost_ns + node->options.dead_ns)
            member_dead(node, member);
    }
    (void)world->alarm(world->self, 0, now_ns + node->options.dead_ns / 8);
}

int pst_coordinator_new(struct pst_node *node, struct pst_store *store)
{
    struct coordinator *duty = pst_calloc(1, sizeof *duty);
    if (duty == NULL)
        return PST_ENOMEM;
    duty->store = store;
    node->duty = duty;
    return PST_OK;
}

void pst_coordinator_opens(struct pst_node *node)
{
    (void)member_add(node->duty, node->options.name, node->address, node->worker_count); /* the first one: there is room */
}

void pst_coordinator_free(struct coordinator *duty)
{
    if (duty == NULL)
        return;
    for (uint32_t i = 0; i < duty->graph_count; i++)
        record_free(duty->graphs[i]);
    pst_free(duty);
}
