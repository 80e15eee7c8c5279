/* peers.c - see node.h: control connections.
 *
 *   accepted: UNKNOWN --its hello--> UP, or handed over to a run (data), or refused
 *   dialed:   DIALING --both know each other--> GREETING (hello sent) --welcome--> UP
 *
 * Whoever breaks the rules is told why and closed; so is who does not take what it is sent, and who stays unknown for too long.
 *
 * Nodes are always let in: strangers and commands have bounds of their own. Beyond the strangers' the one goes that was there longest, of
 * those without a certificate first; beyond the commands' the one that waits for no answer and was silent longest. Where all wait for one,
 * the one goes that has done so longest, if that is a minute; else a further command is told to come again. */
#include "engine/mover.h"

#include "engine/wire.h"

#include <string.h>

#define BEAT_NS (UINT64_C(200) * 1000 * 1000)
#define DIAL_NS (UINT64_C(100) * 1000 * 1000)
#define COMMAND_WAIT_NS (UINT64_C(60) * 1000 * 1000 * 1000) /* that nobody can take from it */
#define REFUSAL_NS (UINT64_C(1000) * 1000 * 1000) /* a stranger who knocks all the time does not fill the log */
enum { MESSAGES_A_STEP = 32 };

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

static struct peer *peer_new(struct pst_node *node, struct pst_conn *conn, enum peer_state state)
{
    struct peer *peer = node->peer_count < NODE_PEERS_MAX ? pst_calloc(1, sizeof *peer) : NULL;
    if (peer == NULL) {
        node->world->net_close(node->world->self, conn);
        return NULL;
    }
    peer->conn = conn;
    peer->id = ++node->peer_ids;
    peer->state = state;
    peer->since_ns = peer->heard_ns = now_ns(node);
    return node->peers[node->peer_count++] = peer;
}

static void peer_free(struct pst_node *node, struct peer *peer)
{
    for (struct message *message = peer->first, *next; message != NULL; message = next) {
        next = message->next;
        pst_text_fini(&message->bytes);
        pst_free(message);
    }
    if (peer->conn != NULL)
        node->world->net_close(node->world->self, peer->conn);
    pst_free(peer);
}

void pst_peer_close(struct pst_node *node, struct peer *peer, const char *format, ...)
{
    va_list arguments;
    (void)node;
    peer->closing = true;
    if (peer->why[0] != '\0')
        return;
    va_start(arguments, format);
    (void)vsnprintf(peer->why, sizeof peer->why, format, arguments);
    va_end(arguments);
}

void pst_peers_fini(struct pst_node *node)
{
    const struct pst_world *world = node->world;
    for (uint32_t i = 0; i < node->peer_count; i++)
        peer_free(node, node->peers[i]);
    node->peer_count = 0;
    node->upstream = NULL;
    for (uint32_t i = 0; i < 2; i++)
        if (node->listeners[i] != NULL)
            world->net_unlisten(world->self, node->listeners[i]);
    node->listeners[0] = node->listeners[1] = NULL;
}

struct peer *pst_peer_find(const struct pst_node *node, const char *name)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *peer = node->peers[i];
        if (peer->state == PEER_UP && !peer->closing && peer->role == PST__ROLE__NODE && strcmp(peer->name, name) == 0)
            return peer;
    }
    return NULL;
}

struct peer *pst_peer_by_id(const struct pst_node *node, uint64_t id)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peers[i]->id == id && !node->peers[i]->closing)
            return node->peers[i];
    return NULL;
}

/* ---- out ---- */

static void flush(struct pst_node *node, struct peer *peer)
{
    while (peer->first != NULL && peer->conn != NULL) {
        struct message *message = peer->first;
        int rc = node->world->net_send(node->world->self, peer->conn, message->bytes.bytes, message->bytes.count);
        if (rc == PST_EAGAIN)
            return;
        if (rc != PST_OK) {
            pst_peer_close(node, peer, "%s", pst_system_error());
            return;
        }
        peer->first = message->next;
        if (peer->first == NULL)
            peer->last = NULL;
        peer->waiting_bytes -= message->bytes.count;
        pst_text_fini(&message->bytes);
        pst_free(message);
    }
}

/* Of what a command has asked. */
static bool is_answer(const Pst__Control *message)
{
    return message->body_case == PST__CONTROL__BODY_PIECE || message->body_case == PST__CONTROL__BODY_REPLAY_GO ||
           (message->body_case == PST__CONTROL__BODY_ADMIN_REPLY && message->admin_reply->last);
}

void pst_peer_send(struct pst_node *node, struct peer *peer, Pst__Control *body)
{
    struct message *message = pst_calloc(1, sizeof *message);
    int rc = message != NULL ? pst_control_pack(body, &message->bytes) : PST_ENOMEM;
    if (rc == PST_OK && peer->waiting_bytes + message->bytes.count > PEER_WAITING_BYTES_MAX)
        rc = PST_EFULL;
    if (rc != PST_OK) {
        if (message != NULL)
            pst_text_fini(&message->bytes);
        pst_free(message);
        pst_peer_close(node, peer, "it does not take what it is sent: %s", pst_error_sentence(rc));
        return; /* what it has missed it is told anew when it comes back */
    }
    peer->asked -= peer->asked != 0 && is_answer(body);
    peer->waiting_bytes += message->bytes.count;
    *(peer->last != NULL ? &peer->last->next : &peer->first) = message;
    peer->last = message;
    flush(node, peer);
}

void pst_peer_refuse(struct pst_node *node, struct peer *peer, uint64_t request, int error, const char *format, ...)
{
    char sentence[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    Pst__Refused refused = PST__REFUSED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    refused.error = error;
    refused.sentence = sentence;
    message.request = request;
    message.body_case = PST__CONTROL__BODY_REFUSED;
    message.refused = &refused;
    pst_peer_send(node, peer, &message);
    pst_peer_close(node, peer, "%s", sentence);
}

/* ---- greetings ---- */

static void give_up(struct pst_node *node, int rc, const char *why)
{
    if (node->error != PST_OK)
        return;
    node->error = rc;
    (void)snprintf(node->why, sizeof node->why, "cannot join%s%.60s: %.160s",
                   node->coordinator_address[0] != '\0' ? " at " : "", node->coordinator_address, why);
}

/* Whoever is refused, or finds no node where it was told to find one, before it was ever let in: that will be so again. */
static void never_will(struct pst_node *node, const struct peer *peer, int rc)
{
    bool found = node->options.store_open == NULL; /* else it was the store that named it, and will name another */
    if (peer == node->upstream && found && !node->joined && rc == PST_EREFUSED)
        give_up(node, rc, peer->why);
}

static void welcome(struct pst_node *node, struct peer *peer, uint64_t request)
{
    Pst__Welcome body = PST__WELCOME__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.node = (char *)(uintptr_t)node->options.name;
    bool here = node->duty != NULL;
    bool soon = !here && strcmp(node->coordinator, node->options.name) == 0; /* it still reads what was decided */
    body.coordinator = here ? (char *)(uintptr_t)node->options.name : soon ? (char *)(uintptr_t) "" : node->coordinator;
    body.coordinator_address = here ? node->address : node->coordinator_address;
    body.term = node->election.term;
    if (here)
        body.cluster = (ProtobufCBinaryData){strlen(node->duty->cluster), (uint8_t *)node->duty->cluster};
    message.request = request;
    message.body_case = PST__CONTROL__BODY_WELCOME;
    message.welcome = &body;
    pst_peer_send(node, peer, &message);
}

static void greet(struct pst_node *node, struct peer *peer)
{
    struct tidings_hello hello;
    Pst__Control message = PST__CONTROL__INIT;
    pst_tidings_hello(node, &hello);
    message.request = 1;
    message.body_case = PST__CONTROL__BODY_HELLO;
    message.hello = &hello.body;
    peer->state = PEER_GREETING;
    pst_peer_send(node, peer, &message);
}

static bool is_stranger(const struct peer *peer) { return peer->state == PEER_UNKNOWN && !peer->closing; }

static bool is_command(const struct peer *peer)
{
    return peer->state == PEER_UP && peer->role == PST__ROLE__ADMIN && !peer->closing;
}

/* One more command, at the cost of one that asks for nothing, or of one whose answer may never come. */
static bool command_admits(struct pst_node *node, struct peer *peer, uint64_t request)
{
    struct peer *idle = NULL, *waits = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *other = node->peers[i];
        if (!is_command(other))
            continue;
        count++;
        if (other->asked == 0 && (idle == NULL || other->heard_ns < idle->heard_ns))
            idle = other;
        if (other->asked != 0 && now_ns(node) >= other->asked_ns + COMMAND_WAIT_NS &&
            (waits == NULL || other->asked_ns < waits->asked_ns))
            waits = other;
    }
    if (count < NODE_COMMANDS_MAX)
        return true;
    struct peer *goes = idle != NULL ? idle : waits != NULL ? waits : peer;
    goes->role = PST__ROLE__ROLE_UNSAID; /* it has its line in the log as others who are not let in */
    if (idle != NULL)
        pst_peer_close(node, idle, "%d commands are connected, and it asks for nothing", NODE_COMMANDS_MAX);
    else if (waits != NULL)
        pst_peer_refuse(
            node, waits, waits->asked_request, PST_ETIMEOUT,
            "%d commands wait for answers of this node, and this one has done so longest: another takes its "
            "place. What it asked for goes on: `penstock status` and `penstock migration ls` show it",
            NODE_COMMANDS_MAX);
    else
        pst_peer_refuse(node, peer, request, PST_ETIMEOUT,
                        "%d commands wait for answers of this node: give it again when some of them have ended",
                        NODE_COMMANDS_MAX);
    return goes != peer;
}

/* Somebody says who he is. */
static void on_hello(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    const Pst__Hello *hello = message->hello;
    peer->role = hello->role;
    (void)snprintf(peer->name, sizeof peer->name, "%s", hello->node);
    if (hello->role == PST__ROLE__ADMIN) {
        if (!command_admits(node, peer, message->request))
            return;
        peer->state = PEER_UP;
        welcome(node, peer, message->request);
        return;
    }
    bool named = hello->role == PST__ROLE__NODE && peer->name[0] != '\0' && hello->address[0] != '\0';
    if (!named || (peer->certificate[0] != '\0' && strcmp(peer->certificate, peer->name) != 0)) {
        peer->role = PST__ROLE__ROLE_UNSAID;
        pst_peer_refuse(node, peer, message->request, PST_EREFUSED,
                        "the certificate is of `%.64s`, and the name that was said is `%.64s`: --name and --tls do not "
                        "belong together",
                        peer->certificate, peer->name);
        return;
    }
    if (node->duty != NULL && !pst_coordinator_admits(node, peer, hello))
        return;
    peer->state = PEER_UP;
    welcome(node, peer, message->request);
    if (node->duty != NULL)
        pst_coordinator_up(node, peer, hello);
    else
        peer->closing = true; /* it was told where the coordinator is */
}

static void on_welcome(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    const Pst__Welcome *body = message->welcome;
    /* Who coordinates; else the store tells, unless somebody has read there what we have not. */
    bool told = node->options.store_open == NULL || body->term > node->election.term;
    (void)snprintf(peer->name, sizeof peer->name, "%s", body->node);
    if (told)
        (void)snprintf(node->coordinator, sizeof node->coordinator, "%s", body->coordinator);
    if (told)
        node->election.term = body->term;
    peer->role = PST__ROLE__NODE;
    bool another = peer->certificate[0] != '\0' && strcmp(peer->certificate, body->node) != 0;
    if (another || strcmp(body->node, node->options.name) == 0) {
        pst_peer_close(node, peer,
                       another ? "the node there says that it is another than its certificate's"
                               : "the node there is this one, or has its name");
        never_will(node, peer, PST_EREFUSED);
    } else if (strcmp(body->node, body->coordinator) == 0) {
        peer->state = PEER_UP;
        node->joined = true;
        node->upstream_why[0] = '\0';
        pst_identity_keep(node, body->cluster.data, body->cluster.len);
        pst_node_log(node, "joined: %s at %s coordinates", node->coordinator, node->coordinator_address);
    } else if (!told) {
        pst_peer_close(node, peer, "the node there does not coordinate, or not yet");
    } else if (body->coordinator[0] == '\0' || body->coordinator_address[0] == '\0') {
        pst_peer_close(node, peer, "the node there has not joined a cluster yet");
    } else {
        pst_node_log(node, "%s at %s says that %s at %s coordinates", body->node, node->coordinator_address,
                     body->coordinator, body->coordinator_address);
        (void)snprintf(node->coordinator_address, sizeof node->coordinator_address, "%s", body->coordinator_address);
        peer->closing = true;
    }
}

/* From the coordinator. */
static void on_order(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    switch (message->body_case) {
    case PST__CONTROL__BODY_START:
        pst_node_on_start(node, message);
        break;
    case PST__CONTROL__BODY_STOP:
        pst_node_on_stop(node, message);
        break;
    case PST__CONTROL__BODY_ENDED:
        pst_node_on_ended(node, message);
        break;
    case PST__CONTROL__BODY_CHECKPOINTED:
        pst_node_on_checkpointed(node, message);
        break;
    case PST__CONTROL__BODY_CUT:
        pst_node_on_cut(node, message);
        break;
    case PST__CONTROL__BODY_MOVE_STEP:
        pst_mover_on(node, message);
        break;
    case PST__CONTROL__BODY_PROBE:
        pst_probe_on(node, message);
        break;
    case PST__CONTROL__BODY_BEAT_ACK:
        break;
    case PST__CONTROL__BODY_LEAVE:
        node->may_leave = node->any = true;
        break;
    case PST__CONTROL__BODY_READ:
        pst_results_read(node, message);
        break;
    case PST__CONTROL__BODY_PIECE:
    case PST__CONTROL__BODY_ADMIN_REPLY:
        pst_admin_back(node, message);
        break;
    case PST__CONTROL__BODY_REPLAY_GO:
        pst_replays_back(node, message);
        break;
    case PST__CONTROL__BODY_REFUSED:
        if (peer->state == PEER_GREETING || message->request == 1) {
            node->error = message->refused->error;
            (void)snprintf(node->why, sizeof node->why, "%.230s", message->refused->sentence);
        }
        break;
    default:
        pst_peer_close(node, peer, "it has sent what a coordinator does not send");
    }
}

static void dispatch(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    peer->heard_ns = now_ns(node);
    bool asks = is_command(peer) &&
                (message->body_case == PST__CONTROL__BODY_ADMIN || message->body_case == PST__CONTROL__BODY_READ ||
                 message->body_case == PST__CONTROL__BODY_REPLAY);
    if (asks && peer->asked++ == 0)
        peer->asked_ns = peer->heard_ns;
    peer->asked_request = asks ? message->request : peer->asked_request;
    if (peer->state == PEER_UNKNOWN && message->body_case == PST__CONTROL__BODY_HELLO)
        on_hello(node, peer, message);
    else if (peer->state == PEER_GREETING && message->body_case == PST__CONTROL__BODY_WELCOME)
        on_welcome(node, peer, message);
    else if (peer == node->upstream)
        on_order(node, peer, message);
    else if (peer->state == PEER_UP && message->body_case == PST__CONTROL__BODY_READ)
        pst_results_on(node, peer, message);
    else if (peer->state == PEER_UP && message->body_case == PST__CONTROL__BODY_REPLAY)
        pst_replays_on(node, peer, message);
    else if (peer->state == PEER_UP &&
             (peer->role == PST__ROLE__ADMIN || message->body_case == PST__CONTROL__BODY_ADMIN))
        pst_admin_on(node, peer, message);
    else if (peer->state == PEER_UP && message->body_case == PST__CONTROL__BODY_TERM_OF)
        pst_election_on_term(node, message);
    else if (peer->state == PEER_UP && node->duty != NULL)
        pst_coordinator_on(node, peer->name, message);
    else
        pst_peer_close(node, peer, "it has sent what does not belong here");
}

/* ---- in ---- */

/* The first message of a data connection. True: the connection is not the keeper's any more, or never will be of use. */
static bool on_data(struct pst_node *node, struct peer *peer, const void *bytes, size_t byte_count)
{
    struct pst_wire_head head;
    struct pst_wire_hello hello;
    bool stale = true;
    int rc = pst_wire_head_read(bytes, byte_count, &head);
    if (rc == PST_OK)
        rc = pst_wire_hello_read(bytes, byte_count, &hello);
    if (rc == PST_OK && pst_node_on_data(node, &hello, head.incarnation, peer, &stale))
        peer->conn = NULL; /* its worker has it */
    peer->closing = true;  /* who comes too early dials again */
    return true;
}

static const char *unpack_sentence(int error)
{
    return error == PST_EABI    ? "its version is more than one away from this one's"
           : error == PST_EFULL ? "it is longer than one of its kind may be"
                                : pst_error_sentence(error);
}

static void receive(struct pst_node *node, struct peer *peer)
{
    for (uint32_t i = 0; i < MESSAGES_A_STEP && !peer->closing && peer->conn != NULL; i++) {
        const void *bytes;
        size_t byte_count;
        int rc = node->world->net_receive(node->world->self, peer->conn, &bytes, &byte_count);
        if (rc == PST_EAGAIN)
            return;
        node->any = true;
        if (rc != PST_OK) {
            pst_peer_close(node, peer, "%s", pst_system_error());
            never_will(node, peer, rc);
            return;
        }
        if (peer->state == PEER_UNKNOWN && *(const uint8_t *)bytes == PST_WIRE_HELLO) {
            (void)on_data(node, peer, bytes, byte_count);
            return;
        }
        struct pst_arena arena;
        Pst__Control *message = NULL;
        size_t limit = peer->state == PEER_UP ? PST_CONTROL_LONG_BYTES_MAX : PST_CONTROL_BYTES_MAX;
        pst_arena_init(&arena);
        rc = pst_control_unpack(bytes, byte_count, limit, &arena, &message);
        if (rc == PST_OK)
            dispatch(node, peer, message);
        else
            pst_peer_refuse(node, peer, 0, rc, "not a message that a node understands: %s", unpack_sentence(rc));
        pst_arena_fini(&arena);
    }
}

static void introduce(struct pst_node *node, struct peer *peer)
{
    if (peer->since_ns != 0) {
        int rc = node->world->net_peer(node->world->self, peer->conn, peer->certificate);
        if (rc == PST_EAGAIN)
            return;
        if (rc != PST_OK) {
            pst_peer_close(node, peer, "%s", pst_system_error());
            never_will(node, peer, rc);
            return;
        }
        peer->since_ns = 0;
        peer->heard_ns = now_ns(node);
        node->world->net_limit(node->world->self, peer->conn, PST_CONTROL_LONG_BYTES_MAX);
        if (peer->state == PEER_DIALING)
            greet(node, peer);
    }
}

static void peer_step(struct pst_node *node, struct peer *peer)
{
    uint64_t since_ns = peer->since_ns;
    introduce(node, peer);
    if (since_ns != 0 && peer->since_ns != 0) {
        if (now_ns(node) > since_ns + INTRODUCTION_NS)
            pst_peer_close(node, peer, "it has not shown in time who it is");
        return;
    }
    receive(node, peer);
    if (peer->state == PEER_UNKNOWN && now_ns(node) > peer->heard_ns + INTRODUCTION_NS)
        pst_peer_close(node, peer, "it has not said in time who it is");
    if (!peer->closing)
        flush(node, peer);
}

/* Of somebody who was never let in, one line a second at most. */
static void refusal_log(struct pst_node *node, const char *why)
{
    uint64_t now = now_ns(node);
    if (node->refusal_ns != 0 && now < node->refusal_ns + REFUSAL_NS) {
        node->refusals++;
        (void)snprintf(node->refusal_why, sizeof node->refusal_why, "%s", why);
        return;
    }
    node->refusal_ns = now;
    pst_node_log(node, "a connection was refused: %s", why);
}

/* Those that had no line of their own. */
static void refusals_log(struct pst_node *node)
{
    uint64_t now = now_ns(node);
    if (node->refusals == 0 || now < node->refusal_ns + REFUSAL_NS)
        return;
    pst_node_log(node, "%u more connections were refused, the last one: %s", node->refusals, node->refusal_why);
    node->refusals = 0;
    node->refusal_ns = now;
}

/* Once for each reason: it is tried again all the time. */
static void upstream_log(struct pst_node *node, const struct peer *peer)
{
    bool up = peer->state == PEER_UP;
    if (peer->why[0] == '\0' || strcmp(node->upstream_why, peer->why) == 0 || node->left)
        return;
    (void)snprintf(node->upstream_why, sizeof node->upstream_why, "%s", peer->why);
    pst_node_log(node, "%s %s: %s; tries again",
                 up ? "lost the connection to the coordinator" : "cannot reach a node at",
                 up ? peer->name : node->coordinator_address, peer->why);
}

static void peer_drop(struct pst_node *node, uint32_t index)
{
    struct peer *peer = node->peers[index];
    flush(node, peer);
    node->peers[index] = node->peers[--node->peer_count];
    bool dialed = peer == node->upstream;
    if (dialed) {
        node->upstream = NULL;
        upstream_log(node, peer);
        pst_admin_lost(node);
        pst_election_look(node);
    }
    bool member = node->duty != NULL && peer->state == PEER_UP && peer->role == PST__ROLE__NODE;
    if (member && pst_peer_find(node, peer->name) == NULL)
        pst_coordinator_down(node, peer->name, peer->why);
    else if (!dialed && peer->role == PST__ROLE__ROLE_UNSAID && peer->why[0] != '\0')
        refusal_log(node, peer->why);
    peer_free(node, peer);
    node->any = true;
}

/* Strangers: who was there longest; before those whose certificate is known those of whom nothing is. */
static bool goes_before(const struct peer *a, const struct peer *b)
{
    if ((a->since_ns != 0) != (b->since_ns != 0))
        return a->since_ns != 0;
    return a->since_ns != 0 ? a->since_ns < b->since_ns : a->heard_ns < b->heard_ns;
}

/* Somebody knocks. */
static void stranger_new(struct pst_node *node, struct pst_conn *conn)
{
    uint32_t count = 0, goes = 0;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        if (!is_stranger(node->peers[i]))
            continue;
        if (count++ == 0 || goes_before(node->peers[i], node->peers[goes]))
            goes = i;
    }
    if (count >= NODE_STRANGERS_MAX) {
        pst_peer_close(node, node->peers[goes], "it has not said who it is, and %d more have not", NODE_STRANGERS_MAX);
        peer_drop(node, goes);
    }
    (void)peer_new(node, conn, PEER_UNKNOWN);
}

static void accept_all(struct pst_node *node)
{
    struct pst_conn *conn;
    for (uint32_t i = 0; i < 2; i++)
        while (node->listeners[i] != NULL &&
               node->world->net_accept(node->world->self, node->listeners[i], &conn) == PST_OK)
            stranger_new(node, conn);
}

/* The way to the coordinator, made again when it is lost. */
static void upstream_step(struct pst_node *node)
{
    const struct pst_world *world = node->world;
    uint64_t now = now_ns(node);
    struct pst_conn *conn;
    bool known = node->coordinator_address[0] != '\0';
    if (node->upstream == NULL && known && now >= node->dial_ns && !node->left) {
        node->dial_ns = now + DIAL_NS;
        int rc = world->net_connect(world->self, 0, node->coordinator_address, &conn);
        if (rc == PST_OK)
            node->upstream = peer_new(node, conn, PEER_DIALING);
        else if (rc == PST_EINVAL && !node->joined)
            give_up(node, rc, pst_system_error());
    }
    if (!node->joined && node->options.join_ns != 0 && now > node->opened_ns + node->options.join_ns) {
        char silent[160] = "the coordination store does not answer";
        if (node->options.store_name != NULL)
            (void)snprintf(silent, sizeof silent, "the coordination store does not answer: %.100s",
                           node->options.store_name);
        give_up(node, PST_ETIMEOUT,
                node->upstream_why[0] != '\0'       ? node->upstream_why
                : known                             ? "it does not answer"
                : pst_election_silent_ns(node) != 0 ? silent
                                                    : "no node coordinates");
    }
    if (node->upstream != NULL && node->upstream->state == PEER_UP && now >= node->beat_ns) {
        Pst__Beat beat = PST__BEAT__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        message.body_case = PST__CONTROL__BODY_BEAT;
        message.beat = &beat;
        node->beat_ns = now + BEAT_NS;
        pst_peer_send(node, node->upstream, &message);
    }
    if (node->upstream != NULL && now > node->upstream->heard_ns + node->options.dead_ns)
        pst_peer_close(node, node->upstream, "it is silent");
    (void)world->alarm(world->self, 0, node->upstream == NULL && known ? node->dial_ns : now + BEAT_NS);
}

void pst_peers_step(struct pst_node *node)
{
    accept_all(node);
    refusals_log(node);
    if (node->duty == NULL)
        upstream_step(node);
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (!node->peers[i]->closing)
            peer_step(node, node->peers[i]);
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peers[i]->closing)
            peer_drop(node, i--);
}
