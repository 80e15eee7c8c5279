/* replays.c - see node.h: streams that come by a connection, as far as the keeper has to do with them.
 *
 *   a client --Replay--> any node --(handed on)--> the coordinator: is it this graph's stream, who reads it?
 *   the coordinator --ReplayGo--> that node: it reads itself: the connection goes to the run (feed.h), which answers
 *                                            another does: the client is told which one, and asks there
 *
 * Nothing of it is kept: whoever is told to wait asks again, and so does whoever has lost his connection. */
#include "engine/feed.h"
#include "engine/node.h"

#include <string.h>

static void answer(struct pst_node *node, struct peer *peer, uint64_t request, const char *graph_name,
                   uint64_t incarnation, Pst__ReplayGo *go)
{
    Pst__Control message = PST__CONTROL__INIT;
    message.graph = (char *)(uintptr_t)graph_name;
    message.incarnation = incarnation;
    message.request = request;
    message.body_case = PST__CONTROL__BODY_REPLAY_GO;
    message.replay_go = go;
    pst_peer_send(node, peer, &message);
}

static void answer_error(struct pst_node *node, struct peer *peer, uint64_t request, int error, const char *sentence)
{
    Pst__ReplayGo go = PST__REPLAY_GO__INIT;
    go.error = error;
    go.sentence = (char *)(uintptr_t)sentence;
    answer(node, peer, request, "", 0, &go);
}

void pst_replays_lost(struct pst_node *node, struct peer *peer, uint64_t request)
{
    answer_error(node, peer, request, PST_EAGAIN, "the connection to the coordinator was lost");
}

/* It is this node's to take: the connection is not the keeper's any more. */
static void take(struct pst_node *node, struct peer *peer, uint64_t request, const char *graph_name,
                 uint64_t incarnation, const Pst__ReplayGo *go)
{
    struct hosted *hosted = pst_node_hosted(node, graph_name, incarnation);
    struct feed *feed = hosted != NULL ? hosted->run.input.feed : NULL;
    if (feed == NULL) {
        answer_error(node, peer, request, PST_EAGAIN, "the graph's run has not begun here, or has ended");
        return;
    }
    int rc = peer->first == NULL ? pst_feed_give(feed, peer->conn, go->client, go->beats, request) : PST_EAGAIN;
    if (rc == PST_ESTOPPED)
        pst_node_log(node,
                     "graph %s, incarnation %llu: whoever sends its stream stands still, and another one has it, too: "
                     "that connection is closed",
                     graph_name, (unsigned long long)incarnation);
    if (rc == PST_EFULL) {
        answer_error(node, peer, request, rc, "somebody else replays this stream at the moment");
        return;
    }
    if (rc != PST_OK) {
        answer_error(node, peer, request, PST_EAGAIN,
                     rc == PST_EAGAIN ? "not now" : "somebody else replays this stream, and stands still");
        return;
    }
    pst_node_log(node, "graph %s, incarnation %llu: its stream comes by a connection, from byte %llu on", graph_name,
                 (unsigned long long)incarnation, (unsigned long long)pst_feed_received(feed));
    peer->conn = NULL;
    peer->closing = true;
}

/* The coordinator's answer, for a client that is connected here. */
static void decide(struct pst_node *node, struct peer *peer, uint64_t request, const char *graph_name,
                   uint64_t incarnation, Pst__ReplayGo *go)
{
    bool here = go->error == PST_OK && !go->ended && strcmp(go->node, node->options.name) == 0;
    if (here && peer->role == PST__ROLE__ADMIN)
        take(node, peer, request, graph_name, incarnation, go);
    else
        answer(node, peer, request, graph_name, incarnation, go);
}

void pst_replays_on(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    Pst__Replay *replay = message->replay;
    if (replay->here && replay->reader[0] == '\0') /* it has come here first */
        replay->reader = (char *)(uintptr_t)node->options.name;
    replay->here = false;
    if (node->duty == NULL) {
        struct pst_text why = {0};
        if (pst_admin_pass_on(node, peer, message, &why) != PST_OK)
            answer_error(node, peer, message->request, PST_EAGAIN, why.bytes != NULL ? why.bytes : "not now");
        pst_text_fini(&why);
        return;
    }
    char sentence[400];
    Pst__ReplayGo go = PST__REPLAY_GO__INIT;
    const struct graph_record *record = pst_streams_replay(node, message, &go, sentence);
    const char *graph_name = record != NULL ? record->start->graph : message->graph;
    decide(node, peer, message->request, graph_name, record != NULL ? record->start->incarnation : 0, &go);
}

void pst_replays_back(struct pst_node *node, const Pst__Control *message)
{
    uint64_t request = 0;
    struct peer *peer = pst_admin_taken(node, message, &request);
    if (peer != NULL)
        decide(node, peer, request, message->graph, message->incarnation, message->replay_go);
}
