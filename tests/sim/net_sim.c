/* net_sim.c - see net_sim.h. */
#include "net_sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_NS = 100 * 1000 * 1000 };

struct message {
    struct message *next;
    uint64_t due_ns;
    size_t byte_count;
    char bytes[];
};

/* One side. What it sends is in the other side's queue from the beginning: `due_ns` says when it is there. */
struct pst_conn {
    struct sim_net *net;
    struct pst_conn *other; /* NULL: that side is closed, or the node is gone */
    uint32_t node, worker, slot;
    uint64_t up_ns;     /* from when on both know each other */
    uint64_t broken_ns; /* from when on this side knows that it is broken; 0: it is not */
    uint64_t last_due_ns;
    bool refused, ended, accepted, wants_room; /* ended: the other side closed it in order, behind the queue */
    uint32_t limit;
    struct message *first, *last, *held; /* held: borrowed by who received it */
    size_t way_bytes;
};

struct pst_listener {
    struct sim_net *net;
    uint32_t node, worker, slot;
    char address[64];
};

static uint64_t draw(struct sim_net *net, uint64_t below)
{
    uint64_t z = net->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static uint64_t delay(struct sim_net *net)
{
    return 1 + net->delay_ns_max / 10 + draw(net, net->delay_ns_max - net->delay_ns_max / 10 + 1);
}

static void notify(const struct pst_conn *conn)
{
    struct sim *sim = conn->net->nodes[conn->node];
    if (sim != NULL && !conn->net->down[conn->node] && conn->worker < SIM_WORKERS_MAX)
        sim->notified[conn->worker] = true;
}

/* ---- life ---- */

static struct pst_conn *conn_new(struct sim_net *net, uint32_t node, uint32_t worker)
{
    struct pst_conn *conn = calloc(1, sizeof *conn);
    PST_ASSERT(conn != NULL);
    *conn = (struct pst_conn){.net = net, .node = node, .worker = worker, .limit = PST_NET_MESSAGE_BYTES};
    for (conn->slot = 0; net->conns[conn->slot] != NULL;)
        PST_ASSERT(++conn->slot < SIM_CONNS_MAX);
    if (net->conns_used <= conn->slot)
        net->conns_used = conn->slot + 1;
    return net->conns[conn->slot] = conn;
}

static void messages_drop(struct pst_conn *conn)
{
    for (struct message *next; conn->first != NULL; conn->first = next) {
        next = conn->first->next;
        free(conn->first);
    }
    conn->last = NULL;
    conn->way_bytes = 0;
}

static void conn_free(struct pst_conn *conn)
{
    messages_drop(conn);
    free(conn->held);
    conn->net->conns[conn->slot] = NULL;
    free(conn);
}

/* Both sides will learn of it, each in its own time; what is not there yet is lost. */
static void conn_break(struct pst_conn *conn)
{
    struct sim_net *net = conn->net;
    net->broken++;
    for (int side = 0; side < 2 && conn != NULL; side++, conn = conn->other) {
        if (conn->broken_ns == 0)
            conn->broken_ns = net->now_ns + delay(net);
        struct message **at = &conn->first, *last = NULL;
        while (*at != NULL && (*at)->due_ns <= net->now_ns) {
            last = *at;
            at = &(*at)->next;
        }
        for (struct message *lost = *at, *next; lost != NULL; lost = next) {
            next = lost->next;
            conn->way_bytes -= lost->byte_count;
            free(lost);
        }
        *at = NULL;
        conn->last = last;
    }
}

void sim_net_break(struct sim_net *net, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < net->conns_used; i++) {
        struct pst_conn *conn = net->conns[i];
        if (conn != NULL && conn->other != NULL && conn->node == a && conn->other->node == b && conn->broken_ns == 0)
            conn_break(conn);
    }
}

/* ---- the table ---- */

static int net_listen(void *self, uint32_t worker_index, const char *address, struct pst_listener **ret_listener)
{
    struct sim *sim = self;
    struct sim_net *net = sim->net;
    struct pst_listener *listener = calloc(1, sizeof *listener);
    PST_ASSERT(listener != NULL);
    *listener = (struct pst_listener){.net = net, .node = sim->node, .worker = worker_index};
    size_t bytes = strlen(address);
    bool any = bytes >= 2 && strcmp(address + bytes - 2, ":0") == 0;
    (void)snprintf(listener->address, sizeof listener->address, "%.*s%u", any ? (int)bytes - 1 : 60, address,
                   any ? ++net->ports : 0);
    if (!any)
        (void)snprintf(listener->address, sizeof listener->address, "%s", address);
    for (listener->slot = 0; net->listeners[listener->slot] != NULL;)
        PST_ASSERT(++listener->slot < SIM_LISTENERS_MAX);
    net->listeners[listener->slot] = listener;
    *ret_listener = listener;
    return PST_OK;
}

static const char *net_address(void *self, const struct pst_listener *listener)
{
    (void)self;
    return listener->address;
}

static void net_unlisten(void *self, struct pst_listener *listener)
{
    (void)self;
    listener->net->listeners[listener->slot] = NULL;
    free(listener);
}

static struct pst_listener *listener_find(struct sim_net *net, const char *address)
{
    for (uint32_t i = 0; i < SIM_LISTENERS_MAX; i++)
        if (net->listeners[i] != NULL && strcmp(net->listeners[i]->address, address) == 0)
            return net->listeners[i];
    return NULL;
}

static int net_connect(void *self, uint32_t worker_index, const char *address, struct pst_conn **ret_conn)
{
    struct sim *sim = self;
    struct sim_net *net = sim->net;
    struct pst_conn *conn = conn_new(net, sim->node, worker_index);
    struct pst_listener *listener = listener_find(net, address);
    conn->up_ns = net->now_ns + delay(net);
    if (listener == NULL || net->cut[sim->node][listener->node]) {
        conn->refused = true; /* as it will turn out */
    } else {
        conn->other = conn_new(net, listener->node, UINT32_MAX); /* nobody's until it is accepted */
        conn->other->other = conn;
        conn->other->up_ns = conn->up_ns + delay(net);
    }
    *ret_conn = conn;
    return PST_OK;
}

static int net_accept(void *self, struct pst_listener *listener, struct pst_conn **ret_conn)
{
    (void)self;
    struct sim_net *net = listener->net;
    for (uint32_t i = 0; i < net->conns_used; i++) {
        struct pst_conn *conn = net->conns[i];
        if (conn == NULL || conn->node != listener->node || conn->worker != UINT32_MAX || conn->up_ns > net->now_ns)
            continue;
        conn->worker = listener->worker;
        conn->accepted = true;
        *ret_conn = conn;
        return PST_OK;
    }
    return PST_EAGAIN;
}

static int broken(const struct pst_conn *conn)
{
    pst_system_error_set(conn->refused ? ECONNREFUSED : ECONNRESET);
    return PST_EIO;
}

static bool is_broken(const struct pst_conn *conn)
{
    uint64_t now_ns = conn->net->now_ns;
    return (conn->refused && conn->up_ns <= now_ns) || (conn->broken_ns != 0 && conn->broken_ns <= now_ns);
}

static int net_peer(void *self, struct pst_conn *conn, char ret_peer[PST_PEER_BYTES])
{
    (void)self;
    if (is_broken(conn))
        return broken(conn);
    if (conn->up_ns > conn->net->now_ns)
        return PST_EAGAIN;
    ret_peer[0] = '\0';
    if (conn->other != NULL)
        (void)snprintf(ret_peer, PST_PEER_BYTES, "n%u", conn->other->node);
    return PST_OK;
}

static void net_limit(void *self, struct pst_conn *conn, uint32_t message_bytes_max)
{
    (void)self;
    conn->limit = message_bytes_max;
}

static int net_send(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count)
{
    struct sim_net *net = conn->net;
    struct pst_conn *to = conn->other;
    PST_ASSERT(byte_count != 0 && byte_count <= PST_NET_MESSAGE_BYTES_MAX);
    if (is_broken(conn))
        return broken(conn);
    if (conn->up_ns > net->now_ns)
        return PST_EAGAIN;
    if (to == NULL || conn->broken_ns != 0 || ((const struct sim *)self)->cut)
        return PST_OK; /* it goes nowhere, and this side does not know yet; or this side dies in this step */
    if (to->way_bytes != 0 && to->way_bytes + byte_count > net->way_bytes_max) {
        conn->wants_room = true;
        return PST_EAGAIN;
    }
    struct message *message = malloc(sizeof *message + byte_count);
    PST_ASSERT(message != NULL);
    uint64_t due_ns = net->now_ns + delay(net);
    to->last_due_ns = due_ns > to->last_due_ns ? due_ns : to->last_due_ns;
    *message = (struct message){.due_ns = to->last_due_ns, .byte_count = byte_count};
    memcpy(message->bytes, bytes, byte_count);
    *(to->last != NULL ? &to->last->next : &to->first) = message;
    to->last = message;
    to->way_bytes += byte_count;
    if (net->spy != NULL)
        net->spy(net->spy_argument, conn->node, to->node, bytes, byte_count);
    net->messages++;
    net->message_bytes += byte_count;
    net->trace = (net->trace ^ byte_count ^ (uint64_t)conn->node << 32) * 0x100000001b3u;
    if (net->break_every != 0 && draw(net, net->break_every) == 0)
        conn_break(conn);
    return PST_OK;
}

static int net_send_parts(void *self, struct pst_conn *conn, const void *first, size_t first_bytes, const void *second,
                          size_t second_bytes)
{
    uint8_t *bytes = malloc(first_bytes + second_bytes);
    PST_ASSERT(bytes != NULL && first_bytes != 0 && second_bytes != 0);
    memcpy(bytes, first, first_bytes);
    memcpy(bytes + first_bytes, second, second_bytes);
    int rc = net_send(self, conn, bytes, first_bytes + second_bytes);
    free(bytes);
    return rc;
}

static int net_receive(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_byte_count)
{
    (void)self;
    struct sim_net *net = conn->net;
    free(conn->held);
    conn->held = NULL;
    struct message *message = conn->first;
    bool cut = conn->other != NULL && net->cut[conn->other->node][conn->node];
    if (message == NULL || message->due_ns > net->now_ns || cut) {
        if (is_broken(conn))
            return broken(conn);
        return conn->ended && message == NULL && !cut ? PST_ESTOPPED : PST_EAGAIN;
    }
    conn->first = message->next;
    conn->last = conn->first != NULL ? conn->last : NULL;
    conn->way_bytes -= message->byte_count;
    conn->held = message;
    if (conn->other != NULL && conn->other->wants_room) {
        conn->other->wants_room = false;
        notify(conn->other);
    }
    if (message->byte_count > conn->limit) {
        pst_system_error_set(EMSGSIZE);
        return PST_EREFUSED;
    }
    *ret_bytes = message->bytes;
    *ret_byte_count = message->byte_count;
    return PST_OK;
}

static int net_give(void *self, struct pst_conn *conn, uint32_t worker_index)
{
    (void)self;
    conn->worker = worker_index;
    notify(conn);
    return PST_OK;
}

static void net_close(void *self, struct pst_conn *conn)
{
    (void)self;
    if (conn->other != NULL) {
        conn->other->ended = true;
        conn->other->other = NULL;
        notify(conn->other);
    }
    conn_free(conn);
}

/* ---- the network ---- */

void sim_net_init(struct sim_net *net, uint64_t seed)
{
    *net = (struct sim_net){.random = seed, .now_ns = 1, .delay_ns_max = 500 * 1000, .way_bytes_max = 256 * 1024};
}

void sim_net_add(struct sim_net *net, struct sim *sim)
{
    PST_ASSERT(net->node_count < SIM_NODES_MAX);
    sim->net = net;
    sim->node = net->node_count;
    sim->now_ns = net->now_ns;
    net->nodes[net->node_count++] = sim;
    sim->world.net_listen = net_listen;
    sim->world.net_address = net_address;
    sim->world.net_unlisten = net_unlisten;
    sim->world.net_accept = net_accept;
    sim->world.net_connect = net_connect;
    sim->world.net_peer = net_peer;
    sim->world.net_limit = net_limit;
    sim->world.net_send = net_send;
    sim->world.net_send_parts = net_send_parts;
    sim->world.net_receive = net_receive;
    sim->world.net_give = net_give;
    sim->world.net_close = net_close;
}

void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut)
{
    net->cut[from][to] = cut;
    for (uint32_t i = 0; i < net->conns_used && !cut; i++) {
        struct pst_conn *conn = net->conns[i];
        if (conn != NULL && conn->node == to && conn->other != NULL && conn->other->node == from)
            notify(conn);
    }
}

void sim_net_crash(struct sim_net *net, uint32_t node)
{
    for (uint32_t i = 0; i < net->conns_used; i++) {
        struct pst_conn *conn = net->conns[i];
        if (conn == NULL || conn->node != node)
            continue;
        if (conn->other != NULL) {
            conn_break(conn);
            conn->other->other = NULL;
        }
        conn_free(conn);
    }
    for (uint32_t i = 0; i < SIM_LISTENERS_MAX; i++)
        if (net->listeners[i] != NULL && net->listeners[i]->node == node)
            net_unlisten(NULL, net->listeners[i]);
}

void sim_net_fini(struct sim_net *net)
{
    for (uint32_t n = 0; n < net->node_count; n++)
        sim_net_crash(net, n);
}

static bool readers_wait(const struct sim *sim)
{
    for (uint32_t w = 0; w < sim->worker_count; w++)
        if (sim->watching[w] && !sim->done[w])
            return true;
    return false;
}

/* Wakes whoever has something that was not there before `now`. Returns when the next thing happens; UINT64_MAX: never. */
static uint64_t arrivals(struct sim_net *net, uint64_t before_ns)
{
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < net->conns_used; i++) {
        struct pst_conn *conn = net->conns[i];
        if (conn == NULL)
            continue;
        bool cut = conn->other != NULL && net->cut[conn->other->node][conn->node];
        uint64_t times[] = {conn->up_ns, conn->broken_ns, UINT64_MAX};
        for (struct message *message = conn->first; message != NULL && !cut; message = message->next) {
            times[2] = message->due_ns;
            if (message->due_ns > before_ns)
                break;
        }
        for (uint32_t t = 0; t < 3; t++) {
            if (times[t] > before_ns && times[t] <= net->now_ns) {
                notify(conn);
                for (uint32_t l = 0; l < SIM_LISTENERS_MAX && conn->worker == UINT32_MAX; l++)
                    if (net->listeners[l] != NULL && net->listeners[l]->node == conn->node)
                        net->nodes[conn->node]->notified[net->listeners[l]->worker] = true;
            } else if (times[t] > net->now_ns && times[t] < next_ns) {
                next_ns = times[t];
            }
        }
    }
    for (uint32_t n = 0; n < net->node_count; n++) {
        const struct sim *sim = net->nodes[n];
        for (uint32_t w = 0; !net->down[n] && w < sim->worker_count; w++)
            if (sim->alarm_ns[w] != 0 && sim->alarm_ns[w] < next_ns)
                next_ns = sim->alarm_ns[w];
        if (!net->down[n] && readers_wait(sim) && sim->watched_ns > net->now_ns && sim->watched_ns < next_ns)
            next_ns = sim->watched_ns;
    }
    return next_ns;
}

static void time_set(struct sim_net *net, uint64_t ns)
{
    net->now_ns = ns > net->now_ns ? ns : net->now_ns;
    for (uint32_t n = 0; n < net->node_count; n++)
        net->nodes[n]->now_ns = net->now_ns;
}

bool sim_net_turn(struct sim_net *net)
{
    uint32_t first = (uint32_t)draw(net, net->node_count);
    uint64_t before_ns = net->now_ns, next_ns;
    bool waits = false;
    for (uint32_t i = 0; i < net->node_count; i++) {
        uint32_t n = (first + i) % net->node_count;
        struct sim *sim = net->nodes[n];
        if (net->down[n] || sim->worker_count == 0)
            continue;
        waits |= readers_wait(sim) && sim->now_ns >= sim->watched_ns;
        if (!sim_turn(sim))
            continue;
        time_set(net, sim->now_ns);
        (void)arrivals(net, before_ns);
        return true;
    }
    next_ns = arrivals(net, before_ns);
    if (next_ns == UINT64_MAX && !waits)
        return false;
    time_set(net, waits && next_ns > net->now_ns + 1000000 ? net->now_ns + 1000000 : next_ns);
    (void)arrivals(net, before_ns);
    return true;
}
