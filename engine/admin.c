/* admin.c - see node.h: what commands ask, and what they are told. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

/* As tools/cli.h has it: an answer is printed as it comes. */
#define JSON_BEGIN "{\"schema_version\":1,"
#define JSON_END ",\"error\":null}\n"

static void reply(struct pst_node *node, struct peer *peer, uint64_t request, int error, const struct pst_text *out,
                  const char *err)
{
    Pst__AdminReply body = PST__ADMIN_REPLY__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.error = error;
    if (out != NULL && out->count != 0)
        body.out = (ProtobufCBinaryData){out->count, (uint8_t *)out->bytes};
    if (err != NULL)
        body.err = (ProtobufCBinaryData){strlen(err), (uint8_t *)(uintptr_t)err};
    body.last = true;
    message.request = request;
    message.body_case = PST__CONTROL__BODY_ADMIN_REPLY;
    message.admin_reply = &body;
    pst_peer_send(node, peer, &message);
}

void pst_admin_reply(struct pst_node *node, struct peer *peer, uint64_t request, int error, const char *out,
                     const char *err)
{
    struct pst_text text = {.bytes = (char *)(uintptr_t)out, .count = out != NULL ? strlen(out) : 0};
    reply(node, peer, request, error, &text, err);
}

void pst_admin_progress(struct pst_node *node, uint64_t asked_by, uint64_t request, const struct pst_text *text)
{
    struct peer *peer = pst_peer_by_id(node, asked_by);
    Pst__AdminReply body = PST__ADMIN_REPLY__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    if (peer == NULL || peer->first != NULL || text->failed)
        return;
    body.progress = (ProtobufCBinaryData){text->count, (uint8_t *)text->bytes};
    message.request = request;
    message.body_case = PST__CONTROL__BODY_ADMIN_REPLY;
    message.admin_reply = &body;
    pst_peer_send(node, peer, &message);
}

static void graph_state_print(const struct graph_record *record, bool json, struct pst_text *out)
{
    const char *state = pst_graph_state_names[record->state];
    char checkpoint[20] = "";
    if (record->complete_stored != 0) /* nobody goes on from one that the store does not name */
        (void)snprintf(checkpoint, sizeof checkpoint, "%016llx", (unsigned long long)record->complete_stored);
    if (!json) {
        (void)pst_text_printf(out, "%s: %s, incarnation %llu%s%s%s%s\n", record->start->graph, state,
                              (unsigned long long)record->start->incarnation,
                              checkpoint[0] != '\0' ? ", checkpoint " : "", checkpoint,
                              record->why[0] != '\0' ? ": " : "", record->why);
        if (record->given_up[0] != '\0' && pst_coordinator_goes_on(record))
            (void)pst_text_printf(out, "  its last checkpoint was given up: %s\n", record->given_up);
        if (record->stop_stored && !record->saving)
            (void)pst_text_printf(out, "  it is to be stopped at its next checkpoint, with the savepoint %s\n",
                                  record->stop_to);
        return;
    }
    (void)pst_text_printf(out, "\"graph\":");
    (void)pst_text_json(out, record->start->graph);
    (void)pst_text_printf(out, ",\"state\":\"%s\",\"incarnation\":%llu,\"checkpoint\":", state,
                          (unsigned long long)record->start->incarnation);
    (void)pst_text_json(out, checkpoint[0] != '\0' ? checkpoint : NULL);
    (void)pst_text_printf(out, ",\"checkpoint_given_up\":");
    (void)pst_text_json(out, record->given_up[0] != '\0' && pst_coordinator_goes_on(record) ? record->given_up : NULL);
    (void)pst_text_printf(out, ",\"why\":");
    (void)pst_text_json(out, record->why[0] != '\0' ? record->why : NULL);
    (void)pst_text_printf(out, ",\"savepoint\":");
    (void)pst_text_json(out, record->start->start->saved[0] != '\0' ? record->start->start->saved : NULL);
    (void)pst_text_printf(out, ",\"stopping\":");
    (void)pst_text_json(out, record->stop_stored ? record->stop_to : NULL);
    (void)pst_text_printf(out, ",\"from\":");
    (void)pst_text_json(out, record->start->start->savepoint[0] != '\0' ? record->start->start->savepoint : NULL);
    (void)pst_text_printf(out, ",\"listens\":%s,\"stream\":", record->start->start->fed ? "true" : "false");
    bool one = record->start->start->stream[0] != '\0' && !pst_streams_any(record->start->start);
    (void)pst_text_json(out, one ? record->start->start->stream : NULL);
}

void pst_admin_answer(struct pst_node *node, const struct graph_record *record, int error, const char *why)
{
    struct peer *peer = pst_peer_by_id(node, record->asked_by);
    struct pst_text out = {0};
    if (peer == NULL)
        return;
    if (error == PST_OK && record->asked_json)
        (void)pst_text_printf(&out, JSON_BEGIN);
    if (error == PST_OK)
        graph_state_print(record, record->asked_json, &out);
    if (error == PST_OK && record->asked_json)
        (void)pst_text_printf(&out, JSON_END);
    reply(node, peer, record->request, error, &out,
          error == PST_OK  ? NULL
          : why[0] != '\0' ? why
                           : pst_error_sentence(error));
    pst_text_fini(&out);
}

/* bare: the last one without a file, of so many. One such is who reads; several do where the graph listens. */
static bool sources_sort(struct submission *submission, const char *bare, uint32_t bare_count, struct pst_text *why)
{
    if (bare_count > 1 && !(submission->fed && bare_count == submission->source_count)) {
        (void)pst_text_printf(why,
                              "--source is given twice: say what each node reads, as in `%.64s=FILE`, or with --listen "
                              "that each reads a stream of its own",
                              bare);
        return false;
    }
    if (bare_count != 1)
        return true;
    submission->source = bare;
    struct pst_setting *sources = (struct pst_setting *)(uintptr_t)submission->sources;
    uint32_t count = 0;
    for (uint32_t i = 0; i < submission->source_count; i++)
        if (sources[i].value != NULL)
            sources[count++] = sources[i];
    submission->source_count = count;
    return true;
}

/* submit FILE [NAME=VALUE...] [--source NODE...] [--input FILE] [--source NODE=FILE...] [--from SAVEPOINT] [--keys ADDRESS] [--listen] [--strict] [--wait];
 * the body is the graph's text */
static int submit(struct pst_node *node, struct peer *peer, const Pst__Control *message, struct pst_text *why)
{
    const Pst__Admin *admin = message->admin;
    struct pst_setting settings[64], sources[NODE_MEMBERS_MAX];
    struct submission submission = {.file = admin->n_arguments > 1 ? admin->arguments[1] : "graph",
                                    .text = admin->body.data,
                                    .text_bytes = admin->body.len,
                                    .settings = settings,
                                    .sources = sources,
                                    .asked_by = peer->id,
                                    .request = message->request,
                                    .json = admin->json};
    const char *bare = NULL;
    uint32_t bare_count = 0;
    for (size_t i = 2; i < admin->n_arguments; i++) {
        char *value = strchr(admin->arguments[i], '=');
        if (strcmp(admin->arguments[i], "--source") == 0 && i + 1 < admin->n_arguments) {
            char *node_name = admin->arguments[++i], *file = strchr(node_name, '=');
            bare_count += file == NULL;
            bare = file == NULL ? node_name : bare;
            if (submission.source_count == NODE_MEMBERS_MAX) {
                (void)pst_text_printf(why, "more inputs than a cluster can have nodes, %d", NODE_MEMBERS_MAX);
                return PST_EFULL;
            }
            if (file != NULL)
                *file = '\0';
            sources[submission.source_count++] = (struct pst_setting){node_name, file != NULL ? file + 1 : NULL};
        } else if (strcmp(admin->arguments[i], "--input") == 0 && i + 1 < admin->n_arguments) {
            submission.input = admin->arguments[++i];
        } else if (strcmp(admin->arguments[i], "--from") == 0 && i + 1 < admin->n_arguments) {
            submission.from = admin->arguments[++i];
        } else if (strcmp(admin->arguments[i], "--keys") == 0 && i + 1 < admin->n_arguments) {
            submission.keys = admin->arguments[++i];
        } else if (strcmp(admin->arguments[i], "--listen") == 0) {
            submission.fed = true;
        } else if (strcmp(admin->arguments[i], "--strict") == 0) {
            submission.strict = true;
        } else if (strcmp(admin->arguments[i], "--by-source") == 0) {
            submission.by_source = true;
        } else if (strcmp(admin->arguments[i], "--wait") == 0) {
            submission.wait = true;
        } else if (value == NULL || submission.setting_count == 64) {
            (void)pst_text_printf(why, "`%s` is no setting NAME=VALUE, or there are too many", admin->arguments[i]);
            return PST_EINVAL;
        } else {
            *value = '\0'; /* the message is ours */
            settings[submission.setting_count++] = (struct pst_setting){admin->arguments[i], value + 1};
        }
    }
    return sources_sort(&submission, bare, bare_count, why) ? pst_coordinator_submit(node, &submission, why)
                                                            : PST_EINVAL;
}

/* 0: it has none, as inputs and sinks. */
static uint32_t buckets_of(const Pst__Start *start, const Pst__Place *place)
{
    uint32_t count = 0;
    for (size_t i = 0; i < start->n_layouts; i++)
        for (size_t b = 0;
             strcmp(start->layouts[i]->operator_id, place->operator_id) == 0 && b < start->layouts[i]->n_partitions;
             b++)
            count += start->layouts[i]->partitions[b] == place->partition;
    return count;
}

/* Of a graph that has ended nothing is anywhere any more but what its sinks have written on their nodes. */
static bool is_shown(const struct graph_record *record, const Pst__Place *place)
{
    bool left = record->start->start->checkpoint_every_ns == 0 && record->graph != NULL &&
                (record->state == GRAPH_DONE || record->state == GRAPH_FAILED);
    if (pst_coordinator_goes_on(record) || !left)
        return pst_coordinator_goes_on(record);
    uint32_t n = pst_graph_find(record->graph, place->operator_id);
    return n < record->graph->node_count && record->graph->nodes[n].op->role == PST_ROLE_SINK;
}

/* Of an operator that is to have replicas: this partition owns its buckets alone, so its node's death takes the graph back. */
static bool is_alone(const struct graph_record *record, const Pst__Place *place)
{
    const Pst__Start *start = record->start->start;
    uint32_t n = record->graph != NULL ? pst_graph_find(record->graph, place->operator_id) : 0;
    if (record->graph == NULL || n == record->graph->node_count || record->graph->nodes[n].replicas < 2 ||
        place->copy_of != 0)
        return false;
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, place->operator_id) == 0 &&
            start->places[i]->copy_of == place->partition + 1)
            return false;
    return true;
}

static void status_graph(const struct graph_record *record, bool json, struct pst_text *out)
{
    const Pst__Start *start = record->start->start;
    uint32_t shown = 0;
    if (json)
        (void)pst_text_printf(out, "{");
    graph_state_print(record, json, out);
    pst_streams_print(record, json, out);
    if (json)
        (void)pst_text_printf(out, ",\"rows\":%llu,\"rows_out\":%llu,\"places\":[", (unsigned long long)record->rows,
                              (unsigned long long)record->rows_out);
    for (size_t i = 0; i < start->n_places; i++) {
        const Pst__Place *place = start->places[i];
        uint32_t buckets = buckets_of(start, place);
        if (!is_shown(record, place))
            continue;
        if (!json) {
            (void)pst_text_printf(out, "  %s/%u on %s", place->operator_id, place->partition,
                                  start->nodes[place->node]);
            if (place->copy_of != 0)
                (void)pst_text_printf(out, ", replica of %s/%u", place->operator_id, place->copy_of - 1);
            if (buckets > 1)
                (void)pst_text_printf(out, ", %u buckets", buckets);
            (void)pst_text_printf(out, is_alone(record, place) ? ", without a replica\n" : "\n");
            continue;
        }
        (void)pst_text_printf(out, "%s{\"operator\":", shown++ == 0 ? "" : ",");
        (void)pst_text_json(out, place->operator_id);
        (void)pst_text_printf(out, ",\"partition\":%u,\"node\":", place->partition);
        (void)pst_text_json(out, start->nodes[place->node]);
        (void)pst_text_printf(out, ",\"buckets\":%u,\"replica_of\":", buckets);
        (void)pst_text_printf(out, place->copy_of != 0 ? "%u" : "null", place->copy_of - 1);
        (void)pst_text_printf(out, ",\"alone\":%s}", is_alone(record, place) ? "true" : "false");
    }
    if (json)
        (void)pst_text_printf(out, "]}");
}

/* What a cluster without TLS is, is never left unsaid. */
static void insecure_print(const struct pst_node *node, bool json, struct pst_text *out)
{
    if (json)
        (void)pst_text_printf(out, "\"insecure_loopback\":%s,", node->options.insecure ? "true" : "false");
    else if (node->options.insecure)
        (void)pst_text_printf(out, "this cluster runs with --insecure-loopback: its connections are not protected\n");
}

/* Where what is decided is kept, and what that does not cover. */
static void store_print(const struct pst_node *node, bool json, struct pst_text *out)
{
    bool elected = node->options.store_open != NULL;
    uint64_t silent_ns = pst_election_silent_ns(node);
    if (json) {
        (void)pst_text_printf(out, "\"coordinator\":");
        (void)pst_text_json(out, node->options.name);
        (void)pst_text_printf(out, ",\"term\":%llu,\"store\":", (unsigned long long)node->election.term);
        (void)pst_text_json(out, node->options.store_name);
        (void)pst_text_printf(out, ",\"store_silent_s\":%.0f,\"coordinator_disk_covered\":%s,", (double)silent_ns / 1e9,
                              elected ? "true" : "false");
        return;
    }
    if (!elected) {
        (void)pst_text_printf(out,
                              "%s coordinates; what is decided is on its disk alone: the loss of that disk is the one "
                              "failure that is not covered\n",
                              node->options.name);
        return;
    }
    (void)pst_text_printf(out, "%s coordinates, term %llu; what is decided is in %s\n", node->options.name,
                          (unsigned long long)node->election.term,
                          node->options.store_name != NULL ? node->options.store_name : "a store that all nodes reach");
    if (silent_ns != 0)
        (void)pst_text_printf(out,
                              "the coordination store has not answered for %.0f s: what runs goes on, and nothing is "
                              "decided meanwhile\n",
                              (double)silent_ns / 1e9);
}

/* What the nodes keep for checkpoints, as they have told last. */
static void disks_print(const struct coordinator *duty, bool json, struct pst_text *out)
{
    if (json)
        (void)pst_text_printf(out, "\"disks\":[");
    for (uint32_t i = 0, n = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        unsigned long long used = member->load.disk_bytes, max = member->load.disk_bytes_max;
        if (!member->alive || member->load.time_ns == 0)
            continue;
        if (json) {
            (void)pst_text_printf(out, "%s{\"node\":", n++ != 0 ? "," : "");
            (void)pst_text_json(out, member->name);
            (void)pst_text_printf(out, ",\"disk_bytes\":%llu,\"disk_bytes_max\":", used);
            (void)pst_text_printf(out, max != 0 ? "%llu}" : "null}", max);
        } else if (max != 0) {
            (void)pst_text_printf(out, "disk of %s: %llu of %llu KiB\n", member->name, used / 1024, max / 1024);
        }
    }
    if (json)
        (void)pst_text_printf(out, "],");
}

/* Nodes that get nothing. */
static void draining_print(const struct pst_node *node, bool json, struct pst_text *out)
{
    const struct coordinator *duty = node->duty;
    if (json)
        (void)pst_text_printf(out, "\"draining\":[");
    for (uint32_t i = 0, n = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        if (json && member->draining) {
            (void)pst_text_printf(out, "%s", n++ != 0 ? "," : "");
            (void)pst_text_json(out, member->name);
        } else if (member->draining) {
            (void)pst_text_printf(out, "%s is draining: it gets nothing until `penstock drain %s --undo`\n",
                                  member->name, member->name);
        }
    }
    if (json)
        (void)pst_text_printf(out, "],");
}

static int status(struct pst_node *node, const Pst__Admin *admin, struct pst_text *out, struct pst_text *why)
{
    const struct coordinator *duty = node->duty;
    const char *only = admin->n_arguments > 1 ? admin->arguments[1] : NULL;
    bool found = only == NULL;
    if (admin->json)
        (void)pst_text_printf(out, JSON_BEGIN);
    insecure_print(node, admin->json, out);
    store_print(node, admin->json, out);
    disks_print(duty, admin->json, out);
    draining_print(node, admin->json, out);
    if (admin->json)
        (void)pst_text_printf(out, "\"graphs\":[");
    for (uint32_t i = 0, n = 0; i < duty->graph_count; i++) {
        if (only != NULL && strcmp(only, duty->graphs[i]->start->graph) != 0)
            continue;
        if (admin->json && n++ != 0)
            (void)pst_text_printf(out, ",");
        status_graph(duty->graphs[i], admin->json, out);
        found = true;
    }
    if (admin->json)
        (void)pst_text_printf(out, "]" JSON_END);
    if (!found)
        (void)pst_text_printf(why, "there is no graph `%s`", only);
    return found ? PST_OK : PST_EREFUSED;
}

static int ls(struct pst_node *node, bool json, struct pst_text *out)
{
    const struct coordinator *duty = node->duty;
    if (json)
        (void)pst_text_printf(out, JSON_BEGIN);
    insecure_print(node, json, out);
    store_print(node, json, out);
    if (json)
        (void)pst_text_printf(out, "\"nodes\":[");
    for (uint32_t i = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        const char *state = !member->alive ? "dead" : member->lost_ns != 0 ? "silent" : "alive";
        bool here = strcmp(member->name, node->options.name) == 0;
        if (json) {
            (void)pst_text_printf(out, "%s{\"node\":", i != 0 ? "," : "");
            (void)pst_text_json(out, member->name);
            (void)pst_text_printf(out, ",\"address\":");
            (void)pst_text_json(out, member->address);
            (void)pst_text_printf(out,
                                  ",\"workers\":%u,\"state\":\"%s\",\"draining\":%s,\"leaving\":%s,\"coordinator\":%s}",
                                  member->workers, state, member->draining ? "true" : "false",
                                  member->leaving ? "true" : "false", here ? "true" : "false");
        } else {
            (void)pst_text_printf(out, "%s at %s, %u workers, %s%s%s\n", member->name, member->address, member->workers,
                                  state,
                                  member->draining  ? ", draining"
                                  : member->leaving ? ", leaving"
                                                    : "",
                                  here ? ", coordinator" : "");
        }
    }
    if (json)
        (void)pst_text_printf(out, "]" JSON_END);
    return PST_OK;
}

/* ---- a node that is not the coordinator hands on what it is asked, and the answer back ---- */

static struct passed *passed_find(struct pst_node *node, uint64_t request)
{
    for (uint32_t i = 0; i < NODE_PASSED_MAX; i++)
        if (node->passed[i].request == request)
            return &node->passed[i];
    return NULL;
}

int pst_admin_pass_on(struct pst_node *node, struct peer *peer, const Pst__Control *message, struct pst_text *why)
{
    struct passed *passed = passed_find(node, 0);
    bool up = node->upstream != NULL && node->upstream->state == PEER_UP;
    if (!up && node->coordinator_address[0] == '\0') {
        uint64_t silent_ns = pst_election_silent_ns(node);
        if (silent_ns != 0)
            (void)pst_text_printf(
                why,
                "no node coordinates: the coordination store has not answered for %.0f s; what runs goes "
                "on, and the command is to be given again when the store is back",
                (double)silent_ns / 1e9);
        else
            (void)pst_text_printf(why, "no node coordinates at this moment: give the command again in a few seconds");
        return PST_ETIMEOUT;
    }
    if (!up) {
        (void)pst_text_printf(why, "this node has no connection to the coordinator, %s at %s",
                              node->coordinator[0] != '\0' ? node->coordinator : "whose name it does not know",
                              node->coordinator_address);
        return PST_ETIMEOUT; /* it is looked for */
    }
    if (passed == NULL) {
        (void)pst_text_printf(why, "%d commands wait already for the coordinator's answer", NODE_PASSED_MAX);
        return PST_EFULL;
    }
    Pst__Control copy = *message;
    *passed = (struct passed){++node->passed_requests + 1, peer->id, message->request,
                              message->body_case == PST__CONTROL__BODY_REPLAY}; /* 1 is the hello's */
    copy.request = passed->request;
    pst_peer_send(node, node->upstream, &copy);
    return PST_OK;
}

struct peer *pst_admin_taken(struct pst_node *node, const Pst__Control *message, uint64_t *ret_request)
{
    struct passed *passed = message->request != 0 ? passed_find(node, message->request) : NULL;
    if (passed == NULL)
        return NULL;
    *ret_request = passed->peer_request;
    passed->request = 0;
    return pst_peer_by_id(node, passed->peer);
}

/* One that is not the last: its place is kept. */
static void back_before_last(struct pst_node *node, const Pst__Control *message)
{
    const struct passed *passed = message->request != 0 ? passed_find(node, message->request) : NULL;
    const ProtobufCBinaryData *progress = &message->admin_reply->progress;
    const struct pst_text text = {.bytes = (char *)progress->data, .count = progress->len};
    if (passed != NULL)
        pst_admin_progress(node, passed->peer, passed->peer_request, &text);
}

void pst_admin_back(struct pst_node *node, const Pst__Control *message)
{
    Pst__Control copy = *message;
    if (message->body_case == PST__CONTROL__BODY_ADMIN_REPLY && !message->admin_reply->last) {
        back_before_last(node, message);
        return;
    }
    struct peer *peer = pst_admin_taken(node, message, &copy.request);
    if (peer != NULL)
        pst_peer_send(node, peer, &copy);
}

void pst_admin_lost(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_PASSED_MAX; i++) {
        struct passed *passed = &node->passed[i];
        struct peer *peer = passed->request != 0 ? pst_peer_by_id(node, passed->peer) : NULL;
        passed->request = 0;
        if (peer != NULL && passed->replay)
            pst_replays_lost(node, peer, passed->peer_request);
        else if (peer != NULL)
            reply(node, peer, passed->peer_request, PST_ETIMEOUT, NULL,
                  "the connection to the coordinator was lost: `penstock status` shows whether it was done, and "
                  "`penstock migration ls` what still moves");
    }
}

/* ---- commands ---- */

/* migration ls, migration show GRAPH/NUMBER, migration cancel GRAPH/NUMBER */
static int migration(struct pst_node *node, const Pst__Admin *admin, struct pst_text *out, struct pst_text *why)
{
    const char *what = admin->arguments[1], *id = admin->n_arguments == 3 ? admin->arguments[2] : NULL;
    if (strcmp(what, "ls") == 0 && id == NULL)
        return pst_order_list(node, NULL, admin->json, out, why);
    if (strcmp(what, "show") == 0 && id != NULL)
        return pst_order_list(node, id, admin->json, out, why);
    if (strcmp(what, "cancel") != 0 || id == NULL) {
        (void)pst_text_printf(why, "`migration` has ls, show GRAPH/NUMBER and cancel GRAPH/NUMBER");
        return PST_EINVAL;
    }
    int rc = pst_order_cancel(node, id, why);
    if (rc == PST_OK)
        (void)pst_text_printf(out, admin->json ? JSON_BEGIN "\"cancelled\":\"%s\"" JSON_END : "%s is cancelled\n", id);
    return rc;
}

static bool is_undo(const Pst__Admin *admin)
{
    return admin->n_arguments == 3 && strcmp(admin->arguments[2], "--undo") == 0;
}

/* False: there is no such way. */
static bool rebalance_by(const Pst__Admin *admin, enum rebalance *ret_by)
{
    *ret_by = REBALANCE_EVEN;
    if (admin->n_arguments == 2 && strcmp(admin->arguments[1], "--by-load") == 0)
        *ret_by = REBALANCE_BY_LOAD;
    else if (admin->n_arguments == 2 && strcmp(admin->arguments[1], "--by-source") == 0)
        *ret_by = REBALANCE_BY_SOURCE;
    return admin->n_arguments == (*ret_by != REBALANCE_EVEN ? 2 : 1);
}

static int command(struct pst_node *node, struct peer *peer, const Pst__Control *message, struct pst_text *out,
                   struct pst_text *why, bool *ret_later)
{
    const Pst__Admin *admin = message->admin;
    const char *verb = admin->arguments[0];
    struct submission asked = {.asked_by = peer->id,
                               .request = message->request,
                               .deadline_ns = admin->deadline_ns,
                               .json = admin->json,
                               .progress = admin->progress};
    enum rebalance by;
    int rc = PST_EINVAL;
    if (node->duty == NULL) {
        rc = pst_admin_pass_on(node, peer, message, why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "submit") == 0) {
        rc = submit(node, peer, message, why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "status") == 0) {
        rc = status(node, admin, out, why);
    } else if (strcmp(verb, "ls") == 0) {
        rc = ls(node, admin->json, out);
    } else if (strcmp(verb, "top") == 0) {
        (void)pst_text_printf(out, "%s", admin->json ? JSON_BEGIN : "");
        insecure_print(node, admin->json, out);
        rc = pst_top(node, admin->json, out);
        (void)pst_text_printf(out, "%s", admin->json ? JSON_END : "");
    } else if (strcmp(verb, "cancel") == 0 && admin->n_arguments == 2) {
        rc = pst_coordinator_cancel(node, &asked, admin->arguments[1], why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "stop") == 0 && admin->n_arguments >= 2) {
        bool named = admin->n_arguments == 4 && strcmp(admin->arguments[2], "--savepoint") == 0;
        rc = pst_savepoint_stop(node, &asked, admin->arguments[1], named ? admin->arguments[3] : "", why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "move") == 0 && admin->n_arguments == 3) {
        rc = pst_order_move(node, &asked, admin->arguments[1], admin->arguments[2], why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "drain") == 0 && admin->n_arguments == (is_undo(admin) ? 3 : 2)) {
        rc = pst_drain(node, &asked, admin->arguments[1], is_undo(admin), why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "rebalance") == 0 && rebalance_by(admin, &by)) {
        rc = pst_order_rebalance(node, &asked, by, why);
        *ret_later = rc == PST_OK;
    } else if (strcmp(verb, "migration") == 0 && admin->n_arguments >= 2) {
        rc = migration(node, admin, out, why);
    } else if (strcmp(verb, "scale") == 0 && admin->n_arguments == 3) {
        uint64_t count = 0;
        rc = pst_parse_u64(admin->arguments[2], &count) == PST_OK ? PST_OK : PST_EINVAL;
        if (rc == PST_OK) /* more than there can be buckets is as many too many */
            rc = pst_order_scale(node, &asked, admin->arguments[1],
                                 count <= PST_BUCKETS_MAX ? (uint32_t)count : PST_BUCKETS_MAX + 1, why);
        else
            (void)pst_text_printf(why, "`%.100s` is no number of partitions", admin->arguments[2]);
        *ret_later = rc == PST_OK;
    } else {
        (void)pst_text_printf(why, "`%.100s` is no command of this node", verb);
    }
    return rc;
}

void pst_admin_on(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    struct pst_text out = {0}, why = {0};
    bool later = false;
    if (message->body_case != PST__CONTROL__BODY_ADMIN || message->admin->n_arguments == 0) {
        pst_peer_close(node, peer, "it has sent what a command does not send");
        return;
    }
    int rc = command(node, peer, message, &out, &why, &later);
    if (!later)
        reply(node, peer, message->request, rc, rc == PST_OK ? &out : NULL,
              rc == PST_OK        ? NULL
              : why.bytes != NULL ? why.bytes
                                  : pst_error_sentence(rc));
    pst_text_fini(&out);
    pst_text_fini(&why);
}
