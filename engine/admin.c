/* admin.c - see node.h: what commands ask, and what they are told. */
#include "engine/node.h"

#include <string.h>

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

void pst_admin_answer(struct pst_node *node, uint64_t peer_id, uint64_t request, int error, const char *text)
{
    struct peer *peer = pst_peer_by_id(node, peer_id);
    struct pst_text out = {0};
    if (peer == NULL)
        return;
    if (error == PST_OK)
        (void)pst_text_printf(&out, "%s\n", text);
    reply(node, peer, request, error, &out, error != PST_OK ? text : NULL);
    pst_text_fini(&out);
}

/* submit FILE [NAME=VALUE...] [--source NODE]; the body is the graph's text */
static int submit(struct pst_node *node, struct peer *peer, const Pst__Control *message, struct pst_text *why)
{
    const Pst__Admin *admin = message->admin;
    struct pst_setting settings[64];
    struct submission submission = {.file = admin->n_arguments > 1 ? admin->arguments[1] : "graph",
                                    .text = admin->body.data,
                                    .text_bytes = admin->body.len,
                                    .settings = settings,
                                    .asked_by = peer->id,
                                    .request = message->request};
    for (size_t i = 2; i < admin->n_arguments; i++) {
        char *value = strchr(admin->arguments[i], '=');
        if (strcmp(admin->arguments[i], "--source") == 0 && i + 1 < admin->n_arguments) {
            submission.source = admin->arguments[++i];
        } else if (value == NULL || submission.setting_count == 64) {
            (void)pst_text_printf(why, "`%s` is no setting NAME=VALUE, or there are too many", admin->arguments[i]);
            return PST_EINVAL;
        } else {
            *value = '\0'; /* the message is ours */
            settings[submission.setting_count++] = (struct pst_setting){admin->arguments[i], value + 1};
        }
    }
    return pst_coordinator_submit(node, &submission, why);
}

static void status_graph(const struct graph_record *record, bool json, struct pst_text *out)
{
    const Pst__Control *control = record->start;
    const Pst__Start *start = control->start;
    if (json) {
        (void)pst_text_printf(out, "{\"graph\":");
        (void)pst_text_json(out, control->graph);
        (void)pst_text_printf(out, ",\"state\":\"%s\",\"incarnation\":%llu,\"rows\":%llu,\"rows_out\":%llu,\"why\":",
                              pst_graph_state_names[record->state], (unsigned long long)control->incarnation,
                              (unsigned long long)record->rows, (unsigned long long)record->rows_out);
        (void)pst_text_json(out, record->why[0] != '\0' ? record->why : NULL);
        (void)pst_text_printf(out, ",\"places\":[");
        for (size_t i = 0; i < start->n_places; i++) {
            (void)pst_text_printf(out, "%s{\"operator\":", i != 0 ? "," : "");
            (void)pst_text_json(out, start->places[i]->operator_id);
            (void)pst_text_printf(out, ",\"partition\":%u,\"node\":", start->places[i]->partition);
            (void)pst_text_json(out, start->nodes[start->places[i]->node]);
            (void)pst_text_printf(out, "}");
        }
        (void)pst_text_printf(out, "]}");
        return;
    }
    (void)pst_text_printf(out, "%s: %s, incarnation %llu%s%s\n", control->graph, pst_graph_state_names[record->state],
                          (unsigned long long)control->incarnation, record->why[0] != '\0' ? ": " : "", record->why);
    for (size_t i = 0; i < start->n_places; i++)
        (void)pst_text_printf(out, "  %s/%u on %s\n", start->places[i]->operator_id, start->places[i]->partition,
                              start->nodes[start->places[i]->node]);
}

static int status(struct pst_node *node, const Pst__Admin *admin, struct pst_text *out, struct pst_text *why)
{
    const struct coordinator *duty = node->duty;
    const char *only = admin->n_arguments > 1 ? admin->arguments[1] : NULL;
    bool found = only == NULL;
    if (admin->json)
        (void)pst_text_printf(out, "{\"graphs\":[");
    for (uint32_t i = 0, n = 0; i < duty->graph_count; i++) {
        if (only != NULL && strcmp(only, duty->graphs[i]->start->graph) != 0)
            continue;
        if (admin->json && n++ != 0)
            (void)pst_text_printf(out, ",");
        status_graph(duty->graphs[i], admin->json, out);
        found = true;
    }
    if (admin->json)
        (void)pst_text_printf(out, "],\"error\":null}\n");
    if (!found)
        (void)pst_text_printf(why, "there is no graph `%s`", only);
    return found ? PST_OK : PST_ENOENT;
}

static int ls(struct pst_node *node, bool json, struct pst_text *out)
{
    const struct coordinator *duty = node->duty;
    if (json)
        (void)pst_text_printf(out, "{\"nodes\":[");
    for (uint32_t i = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        const char *state = !member->alive ? "dead" : member->lost_ns != 0 ? "silent" : "alive";
        bool here = strcmp(member->name, node->options.name) == 0;
        if (json) {
            (void)pst_text_printf(out, "%s{\"node\":", i != 0 ? "," : "");
            (void)pst_text_json(out, member->name);
            (void)pst_text_printf(out, ",\"address\":");
            (void)pst_text_json(out, member->address);
            (void)pst_text_printf(out, ",\"workers\":%u,\"state\":\"%s\",\"coordinator\":%s}", member->workers, state,
                                  here ? "true" : "false");
        } else {
            (void)pst_text_printf(out, "%s at %s, %u workers, %s%s\n", member->name, member->address, member->workers,
                                  state, here ? ", coordinator" : "");
        }
    }
    if (json)
        (void)pst_text_printf(out, "],\"error\":null}\n");
    return PST_OK;
}

void pst_admin_on(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    const Pst__Admin *admin = message->admin;
    struct pst_text out = {0}, why = {0};
    if (message->body_case != PST__CONTROL__BODY_ADMIN || admin->n_arguments == 0) {
        peer->closing = true;
        return;
    }
    const char *verb = admin->arguments[0];
    int rc = PST_EINVAL;
    bool answered_later = false;
    if (node->duty == NULL) {
        (void)pst_text_printf(&why, "this node is not the coordinator: ask %s at %s", node->coordinator,
                              node->coordinator_address);
        rc = PST_EREFUSED;
    } else if (strcmp(verb, "submit") == 0) {
        rc = submit(node, peer, message, &why);
        answered_later = rc == PST_OK;
    } else if (strcmp(verb, "status") == 0) {
        rc = status(node, admin, &out, &why);
    } else if (strcmp(verb, "ls") == 0) {
        rc = ls(node, admin->json, &out);
    } else if (strcmp(verb, "cancel") == 0 && admin->n_arguments == 2) {
        rc = pst_coordinator_cancel(node, admin->arguments[1], &why);
    } else {
        (void)pst_text_printf(&why, "`%s` is no command of this node", verb);
    }
    if (!answered_later)
        reply(node, peer, message->request, rc, &out,
              rc == PST_OK          ? NULL
              : why.bytes != NULL ? why.bytes
                                    : pst_error_sentence(rc));
    pst_text_fini(&out);
    pst_text_fini(&why);
}
