/* probe.c - see node.h: whether a node could get keys for workers of sealed rows (docs/sealing.md), before anything is stopped so that it
 * has to. It has a key to sign with, and whoever keeps the user's answers a question (release.h: ASK, then NONCE). No evidence is shown: whether
 * the key would be released is not found out. */
#include "engine/node.h"
#include "engine/release.h"

#include <string.h>

#define PROBE_NS (UINT64_C(5) * 1000 * 1000 * 1000)
#define LOOK_NS (UINT64_C(100) * 1000 * 1000)

static void say(struct pst_node *node, const struct probe *probe, int error, const char *sentence)
{
    Pst__Probe body = PST__PROBE__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.answer = true;
    body.error = error;
    body.sentence = (char *)(uintptr_t)sentence;
    message.graph = (char *)(uintptr_t)probe->graph_name;
    message.incarnation = probe->incarnation;
    message.move = probe->move;
    message.body_case = PST__CONTROL__BODY_PROBE;
    message.probe = &body;
    pst_node_tell(node, &message);
}

static void end(struct pst_node *node, struct probe *probe)
{
    if (probe->conn != NULL)
        node->world->net_close(node->world->self, probe->conn);
    *probe = (struct probe){0};
}

void pst_probe_on(struct pst_node *node, const Pst__Control *message)
{
    struct probe now = {.used = true,
                        .incarnation = message->incarnation,
                        .move = message->move,
                        .until_ns = node->world->now_ns(node->world->self) + PROBE_NS};
    uint32_t i = 0;
    (void)snprintf(now.keys, sizeof now.keys, "%s", message->probe->keys);
    (void)snprintf(now.graph_name, sizeof now.graph_name, "%s", message->graph);
    while (i < NODE_PROBES_MAX && node->probes[i].used)
        i++;
    if (node->options.node_key == NULL) {
        say(node, &now, PST_EINVAL,
            "its rows are sealed, and this node has no key to sign its workers' evidence with: start it with "
            "--node-key "
            "FILE");
        return;
    }
    if (i == NODE_PROBES_MAX) {
        say(node, &now, PST_EFULL, "it is at other graphs' keys: try again");
        return;
    }
    node->probes[i] = now;
    node->any = true;
}

/* It is asked once it is connected. PST_OK: it has answered. */
static int ask(struct pst_node *node, struct probe *probe)
{
    static const uint8_t any_graph[RELEASE_NONCE_BYTES];
    struct pst_world *world = node->world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    const uint8_t *body;
    size_t byte_count, count;
    release_kind kind;
    int rc = probe->conn == NULL ? world->net_connect(world->self, 0, probe->keys, &probe->conn) : PST_OK;
    if (rc == PST_OK && !probe->asked) {
        rc = world->net_peer(world->self, probe->conn, peer);
        if (rc == PST_OK)
            rc = pst_release_send(world, probe->conn, RELEASE_ASK, any_graph, sizeof any_graph);
        probe->asked = rc == PST_OK;
    }
    if (rc == PST_OK)
        rc = world->net_receive(world->self, probe->conn, &bytes, &byte_count);
    if (rc == PST_OK)
        rc = pst_release_read(bytes, byte_count, &kind, &body, &count);
    return rc == PST_OK && kind != RELEASE_NONCE ? PST_EREFUSED : rc;
}

/* True: it is known. */
static bool step(struct pst_node *node, struct probe *probe)
{
    const struct pst_world *world = node->world;
    char why[PST_CONTROL_NAME_BYTES_MAX + 200];
    uint64_t now_ns = world->now_ns(world->self);
    int rc = ask(node, probe);
    if (rc == PST_EAGAIN && now_ns < probe->until_ns) {
        (void)world->alarm(world->self, 0, now_ns + LOOK_NS);
        return false;
    }
    (void)snprintf(why, sizeof why, "the keeper of the key, %s: %s", probe->keys,
                   rc == PST_EAGAIN     ? "it does not answer"
                   : rc == PST_ESTOPPED ? "it has hung up"
                   : rc == PST_EIO      ? pst_system_error()
                                        : pst_error_sentence(rc));
    say(node, probe, rc == PST_EAGAIN ? PST_ETIMEOUT : rc, rc == PST_OK ? "" : why);
    return true;
}

void pst_probes_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_PROBES_MAX; i++) {
        struct probe *probe = &node->probes[i];
        if (!probe->used || !step(node, probe))
            continue;
        end(node, probe);
        node->any = true;
    }
}

void pst_probes_fini(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_PROBES_MAX; i++)
        if (node->probes[i].used)
            end(node, &node->probes[i]);
}
