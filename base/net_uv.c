/* net_uv.c - the real filling of the seam's network: connections that carry messages, on TCP, with TLS or without, and on unix
 * sockets.
 *
 * Calls try at once, on descriptors that do not block. What they could not do waits for the loop of the worker that has the
 * connection: reading wakes the worker, which calls again; what waits to be sent the loop sends itself. A descriptor stays watched
 * after it has woken its worker, for most workers read until there is nothing and wait again: that costs no call to change what
 * epoll watches. An event that nobody waits for takes the watch off.
 *
 * SIGPIPE: everything is sent with MSG_NOSIGNAL, TLS records too (net_tls.c).
 *
 * Nothing here is locked but the list of what other workers have given, once for each that is given.
 */
#include "base/net_uv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_A_SECOND ((uint64_t)1000 * 1000 * 1000)
#define HANDSHAKE_NS (10 * NS_A_SECOND)
#define FAREWELL_NS (3 * NS_A_SECOND)
#define UNIX_RETRY_NS (NS_A_SECOND / 100)
#define DESCRIPTORS_RETRY_NS (NS_A_SECOND / 10)

enum {
    UNPROVEN_MAX = 256,           /* accepted by a worker, and not through their handshake */
    SEND_BYTES = 64 * 1024,       /* of messages go before the step has ended */
    OUT_BYTES_MAX = 1024 * 1024,  /* that wait to be sent; a longer message may wait alone */
    IN_BYTES = 96 * 1024,         /* a read, and more than most messages; grows for a longer one */
    KEPT_BYTES_MAX = 1024 * 1024, /* of a buffer that has become empty */
    DISCARD_BYTES = 64 * 1024,    /* a read of what nobody wants any more, */
    DISCARDS_A_TURN = 16,         /* and how many of them before the loop has its turn */
    KEEP_IDLE_S = 15,             /* nothing has come for so long: is the peer still there? */
    KEEP_EVERY_S = 5,             /* asked again, */
    KEEP_COUNT = 6,               /* so often in vain: it is not */
};

/*    state        may move to                                            while in it */
#define CONN_STATES(X)                                                                                        \
    X(RESOLVING, TO(CONNECTING) | TO(BROKEN), "a name is looked up by libuv's pool")                          \
    X(CONNECTING, TO(HANDSHAKING) | TO(OPEN) | TO(BROKEN), "targets are tried one after the other")           \
    X(HANDSHAKING, TO(OPEN) | TO(BROKEN), "TLS finds out who the other side is")                              \
    X(OPEN, TO(FLUSHING) | TO(BROKEN), "messages go both ways")                                               \
    X(FLUSHING, TO(ENDING), "closed by its owner: what was taken, and a goodbye, is being sent")              \
    X(ENDING, 0, "all is sent; closing before the other side has would destroy what it has not yet received") \
    X(BROKEN, 0, "every call says why")
typedef enum conn_state {
#define X(name, moves, sentence) name,
    CONN_STATES(X)
#undef X
} conn_state;
#define TO(state) (1u << (state))
static const uint32_t conn_moves[] = {
#define X(name, moves, sentence) [name] = (moves),
    CONN_STATES(X)
#undef X
};

struct buffer { /* what is in it lies from begin to end */
    uint8_t *bytes;
    size_t begin, end, capacity;
};

/* A name that is being looked up; outlives a connection that is closed meanwhile. */
struct lookup {
    uv_getaddrinfo_t request;
    struct pst_conn *conn; /* NULL: nobody asks any more */
};

struct pst_conn {
    struct uv_world *world;
    struct worker *worker; /* NULL: the run is over */
    struct watch *watch;   /* of its worker's loop; while it arrives, memory for one */
    int fd;                /* -1: none yet */
    conn_state state;
    bool accepted, arriving;
    bool web;   /* of a listener on "http:": messages are heads of requests, or go out as they are */
    bool ended; /* a closed one: there is nothing more to be read and thrown away */
    struct pst_conn *arrivals_next;
    bool unsent; /* it stands in its worker's list */
    struct pst_conn *unsent_next;
    struct pst_tls_conn *tls; /* NULL: plain */
    char peer[PST_PEER_BYTES];
    int error;
    char why[PST_TLS_WHY_BYTES];
    uint32_t message_bytes_max;
    struct buffer in, out;
    int receive_events; /* what the worker waits for to receive; 0: it does not */
    int send_events;    /* what `out` waits for; 0: it is empty */
    size_t send_wanted; /* so many bytes the worker waits to send; 0: it does not */
    uint64_t deadline_ns;
    struct lookup *lookup;
    struct targets *targets; /* until it is connected */
};

struct pst_listener {
    struct uv_world *world;
    struct worker *worker; /* NULL: the run is over */
    struct watch *watch;
    int fd;
    bool local, web;
    dev_t device; /* of a local one's file, that no other is removed */
    ino_t inode;
    char address[300];
};

static int said(int error, const char *sentence)
{
    pst_system_error_say(sentence);
    return error;
}

/* ---- buffers ---- */
static size_t buffer_count(const struct buffer *buffer) { return buffer->end - buffer->begin; }

static void buffer_fini(struct buffer *buffer)
{
    pst_free(buffer->bytes);
    *buffer = (struct buffer){0};
}

/* An empty one starts at its beginning again, and keeps no more than is reasonable for an idle connection. */
static void buffer_tidy(struct buffer *buffer)
{
    if (buffer->begin != buffer->end)
        return;
    buffer->begin = buffer->end = 0;
    if (buffer->capacity > KEPT_BYTES_MAX)
        buffer_fini(buffer);
}

static void buffer_to_front(struct buffer *buffer)
{
    if (buffer->begin == 0)
        return;
    memmove(buffer->bytes, buffer->bytes + buffer->begin, buffer_count(buffer));
    buffer->end -= buffer->begin;
    buffer->begin = 0;
}

static int buffer_grow(struct buffer *buffer, size_t capacity)
{
    uint8_t *bytes = pst_realloc(buffer->bytes, capacity);
    if (bytes == NULL)
        return PST_ENOMEM;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return PST_OK;
}

/* Room behind `end` to read into, for a message that takes `needed` bytes in all. A buffer grows only when it is full: what a head
 * announces is not believed before it is there. */
static int in_reserve(struct buffer *in, size_t needed)
{
    if (in->begin == in->end)
        in->begin = in->end = 0;
    if (in->capacity - in->begin < needed)
        buffer_to_front(in);
    if (in->end < in->capacity)
        return PST_OK;
    size_t twice = in->capacity * 2;
    return buffer_grow(in, in->capacity == 0 ? IN_BYTES : twice < needed ? twice : needed);
}

static int out_reserve(struct buffer *out, size_t byte_count)
{
    if (out->capacity - out->end >= byte_count)
        return PST_OK;
    buffer_to_front(out);
    if (out->capacity - out->end >= byte_count)
        return PST_OK;
    size_t needed = out->end + byte_count, twice = out->capacity * 2;
    return buffer_grow(out, needed > twice ? needed : twice);
}

static void out_append(struct buffer *out, const void *bytes, size_t byte_count)
{
    memcpy(out->bytes + out->end, bytes, byte_count);
    out->end += byte_count;
}

/* ---- the life of a connection ---- */
static const struct watch_calls conn_calls;

static void conn_move(struct pst_conn *conn, conn_state state)
{
    PST_ASSERT((conn_moves[conn->state] & TO(state)) != 0);
    if (conn->state == HANDSHAKING && conn->accepted && conn->worker->net.unproven_count-- == UNPROVEN_MAX)
        pst_uv_awake(conn->worker); /* its listeners take no more until now */
    conn->state = state;
    if (state == HANDSHAKING && conn->accepted)
        conn->worker->net.unproven_count++;
    if (state == FLUSHING)
        conn->worker->net.farewell_count++;
    if (state == OPEN)
        pst_watch_timer_stop(conn->watch);
}

static void lookup_forget(struct pst_conn *conn)
{
    if (conn->lookup != NULL)
        conn->lookup->conn = NULL;
    conn->lookup = NULL;
}

/* It has failed: the reason is pst_system_error()'s. Returns the error. */
static int conn_break(struct pst_conn *conn, int error)
{
    (void)snprintf(conn->why, sizeof conn->why, "%s", pst_system_error());
    conn->error = error;
    conn_move(conn, BROKEN);
    lookup_forget(conn);
    pst_watch_timer_stop(conn->watch);
    pst_watch_remove(conn->watch, UV_READABLE | UV_WRITABLE);
    conn->receive_events = conn->send_events = 0;
    return error;
}

static int conn_broken(const struct pst_conn *conn) { return said(conn->error, conn->why); }

static void conn_free(struct pst_conn *conn)
{
    if (conn->worker != NULL) {
        conn->worker->net.farewell_count -= conn->state == FLUSHING || conn->state == ENDING;
        if (conn->state == HANDSHAKING)
            conn_move(conn, BROKEN);
        pst_watch_close(conn->watch);
    }
    lookup_forget(conn);
    pst_tls_conn_free(conn->tls);
    if (conn->fd >= 0)
        (void)close(conn->fd);
    buffer_fini(&conn->in);
    buffer_fini(&conn->out);
    pst_free(conn->targets);
    pst_free(conn);
}

static struct worker *worker_of(struct uv_world *world, uint32_t worker_index)
{
    PST_ASSERT(world->workers != NULL && worker_index < world->worker_count);
    return &world->workers[worker_index];
}

/* On the loop of `worker`, with `fd`, which is its own from now on. */
static struct pst_conn *conn_new(struct worker *worker, conn_state state, int fd)
{
    struct pst_conn *conn = pst_calloc(1, sizeof *conn);
    struct watch *watch = pst_watch_new();
    if (conn == NULL || watch == NULL) {
        pst_free(watch);
        pst_free(conn);
        return NULL;
    }
    *conn = (struct pst_conn){
        .world = worker->world,
        .worker = worker,
        .watch = watch,
        .fd = fd,
        .state = state,
        .message_bytes_max = PST_NET_MESSAGE_BYTES,
    };
    pst_watch_begin(watch, worker, &conn_calls, conn);
    return conn;
}

/* ---- sending ---- */
static int64_t plain_write(int fd, const void *bytes, size_t byte_count, int *ret_events)
{
    for (;;) {
        ssize_t count = send(fd, bytes, byte_count, MSG_NOSIGNAL);
        if (count >= 0)
            return count;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            *ret_events = UV_WRITABLE;
            return PST_EAGAIN;
        }
        if (errno != EINTR) {
            pst_system_error_set(errno);
            return PST_EIO;
        }
    }
}

/* Sends what waits. PST_EAGAIN: not all; the loop goes on with it. Other errors are for the caller to keep. */
static int conn_flush(struct pst_conn *conn)
{
    struct buffer *out = &conn->out;
    conn->send_events = 0;
    while (out->begin != out->end) {
        const uint8_t *bytes = out->bytes + out->begin;
        int64_t count = conn->tls != NULL ? pst_tls_write(conn->tls, bytes, buffer_count(out), &conn->send_events)
                                          : plain_write(conn->fd, bytes, buffer_count(out), &conn->send_events);
        if (count == PST_EAGAIN) {
            int rc = pst_watch_add(conn->watch, conn->fd, conn->send_events);
            return rc == PST_OK ? PST_EAGAIN : rc;
        }
        if (count < 0)
            return (int)count;
        out->begin += (size_t)count;
    }
    buffer_tidy(out);
    return PST_OK;
}

static void unsent_add(struct pst_conn *conn)
{
    if (conn->unsent)
        return;
    conn->unsent = true;
    conn->unsent_next = conn->worker->net.unsent;
    conn->worker->net.unsent = conn;
}

static void unsent_remove(struct pst_conn *conn)
{
    if (!conn->unsent)
        return;
    struct pst_conn **at = &conn->worker->net.unsent;
    while (*at != conn)
        at = &(*at)->unsent_next;
    *at = conn->unsent_next;
    conn->unsent = false;
}

bool pst_net_flush(struct worker *worker)
{
    bool broke = false;
    for (struct pst_conn *conn; (conn = worker->net.unsent) != NULL;) {
        unsent_remove(conn);
        int rc = conn->state == OPEN && conn->send_events == 0 ? conn_flush(conn) : PST_OK;
        if (rc != PST_OK && rc != PST_EAGAIN) {
            (void)conn_break(conn, rc);
            broke = true;
        }
    }
    return broke;
}

static bool out_has_room(const struct pst_conn *conn, size_t byte_count)
{
    size_t waiting = buffer_count(&conn->out);
    return waiting == 0 || waiting + byte_count <= OUT_BYTES_MAX;
}

/* ---- what other workers have given ---- */
static void arrive(struct pst_conn *conn, struct worker *worker)
{
    conn->arriving = false;
    pst_watch_begin(conn->watch, worker, &conn_calls, conn);
    int rc = conn->state == OPEN ? conn_flush(conn) : PST_OK;
    if (rc != PST_OK && rc != PST_EAGAIN)
        (void)conn_break(conn, rc);
}

void pst_net_arrive(struct worker *worker)
{
    uv_mutex_lock(&worker->net.arrivals_lock);
    struct pst_conn *conn = worker->net.arrivals;
    worker->net.arrivals = NULL;
    uv_mutex_unlock(&worker->net.arrivals_lock);
    while (conn != NULL) {
        struct pst_conn *next = conn->arrivals_next;
        arrive(conn, worker);
        conn = next;
    }
}

/* Every call starts here: a worker may have heard of a connection before its loop has. */
static void conn_settle(struct pst_conn *conn)
{
    if (conn->arriving)
        pst_net_arrive(conn->worker);
}

/* ---- connecting ---- */
/* They fail on unix sockets, which neither delay nor lose a peer unseen.
 *
 * A peer that is gone without a word, as one whose machine lost power or to which the way was cut for long, answers no probe, or says that it
 * knows of no connection. Whoever only receives would wait for it for ever. A process that stands still has its probes answered. */
static void conn_options(int fd)
{
    const int yes = 1, idle_s = KEEP_IDLE_S, every_s = KEEP_EVERY_S, count = KEEP_COUNT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
}

/* The socket is there, both ways. */
static int conn_connected(struct pst_conn *conn, bool local)
{
    pst_free(conn->targets);
    conn->targets = NULL;
    if (local || conn->world->tls == NULL) {
        conn_move(conn, OPEN);
        return PST_OK;
    }
    conn->tls = pst_tls_conn_new(conn->world->tls, conn->fd, conn->accepted);
    if (conn->tls == NULL)
        return said(PST_ENOMEM, pst_error_sentence(PST_ENOMEM));
    conn_move(conn, HANDSHAKING);
    return PST_OK;
}

static int conn_wait(struct pst_conn *conn, int events)
{
    int rc = pst_watch_add(conn->watch, conn->fd, events);
    return rc == PST_OK ? PST_EAGAIN : conn_break(conn, rc);
}

/* Gives up a socket that did not lead anywhere; its watch goes with it. */
static int socket_drop(struct pst_conn *conn)
{
    struct watch *watch = pst_watch_new();
    if (watch == NULL)
        return PST_ENOMEM;
    uint64_t now = uv_hrtime();
    pst_watch_close(conn->watch);
    pst_watch_begin(watch, conn->worker, &conn_calls, conn);
    pst_watch_timer(watch, conn->deadline_ns > now ? conn->deadline_ns - now : 0);
    conn->watch = watch;
    (void)close(conn->fd);
    conn->fd = -1;
    return PST_OK;
}

/* Begins with the next target. PST_OK: there is a socket that connects, or the target is to be left behind. */
static int target_try(struct pst_conn *conn)
{
    const struct target *target = &conn->targets->at[conn->targets->next];
    conn->fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return pst_uv_failed(errno);
    conn_options(conn->fd);
    if (connect(conn->fd, (const struct sockaddr *)&target->address, target->address_bytes) == 0 ||
        errno == EINPROGRESS || errno == EINTR)
        return PST_OK;
    int reason = errno;
    int rc = socket_drop(conn);
    if (rc != PST_OK)
        return rc;
    if (reason == EAGAIN && target->address.ss_family == AF_UNIX) { /* its queue is full, and nothing tells when not */
        pst_watch_timer(conn->watch, UNIX_RETRY_NS);
        return PST_EAGAIN;
    }
    conn->targets->next++;
    pst_system_error_set(reason);
    return conn->targets->next < conn->targets->count ? PST_OK : PST_EIO;
}

/* Looks whether the socket is connected. */
static int target_look(struct pst_conn *conn)
{
    struct sockaddr_storage peer;
    int reason = 0;
    socklen_t reason_bytes = sizeof reason, peer_bytes = sizeof peer;
    bool local = conn->targets->at[conn->targets->next].address.ss_family == AF_UNIX;
    (void)getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &reason, &reason_bytes);
    if (reason == 0 && getpeername(conn->fd, (struct sockaddr *)&peer, &peer_bytes) == 0)
        return conn_connected(conn, local);
    if (reason == 0 && errno == ENOTCONN)
        return PST_EAGAIN;
    int rc = socket_drop(conn);
    if (rc != PST_OK)
        return rc;
    conn->targets->next++;
    pst_system_error_set(reason != 0 ? reason : ECONNRESET);
    return conn->targets->next < conn->targets->count ? PST_OK : PST_EIO;
}

static int conn_connect(struct pst_conn *conn)
{
    int rc = conn->fd < 0 ? target_try(conn) : target_look(conn);
    if (rc == PST_OK)
        return PST_OK;
    if (rc != PST_EAGAIN)
        return conn_break(conn, rc == PST_ENOMEM ? PST_ENOMEM : PST_EIO);
    return conn->fd >= 0 ? conn_wait(conn, UV_WRITABLE) : PST_EAGAIN;
}

static int conn_handshake(struct pst_conn *conn)
{
    int events = 0;
    int rc = pst_tls_handshake(conn->tls, conn->peer, &events);
    if (rc == PST_EAGAIN)
        return conn_wait(conn, events);
    if (rc != PST_OK)
        return conn_break(conn, rc);
    conn_move(conn, OPEN);
    return PST_OK;
}

static void on_lookup(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct lookup *lookup = request->data;
    struct pst_conn *conn = lookup->conn;
    pst_free(lookup);
    if (conn != NULL) {
        conn->lookup = NULL;
        if (status == 0) {
            pst_targets_take(found, conn->targets);
            conn_move(conn, CONNECTING);
        } else {
            (void)conn_break(conn, said(PST_EIO, uv_strerror(status)));
        }
        pst_uv_awake(conn->worker);
    }
    uv_freeaddrinfo(found);
}

static int lookup_begin(struct pst_conn *conn, const struct address *address)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct lookup *lookup = pst_calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return PST_ENOMEM;
    lookup->conn = conn;
    lookup->request.data = lookup;
    int rc = uv_getaddrinfo(&conn->worker->loop, &lookup->request, on_lookup, address->host, address->port, &hints);
    if (rc != 0) {
        pst_free(lookup);
        return pst_uv_failed(-rc);
    }
    conn->lookup = lookup;
    return PST_OK;
}

static int net_connect(void *self, uint32_t worker_index, const char *text, struct pst_conn **ret_conn)
{
    struct uv_world *world = self;
    struct address address;
    int rc = pst_address_parse(text, &address);
    if (rc != PST_OK)
        return rc;
    struct pst_conn *conn = conn_new(worker_of(world, worker_index), CONNECTING, -1);
    if (conn == NULL)
        return PST_ENOMEM;
    conn->deadline_ns = uv_hrtime() + world->handshake_ns;
    pst_watch_timer(conn->watch, world->handshake_ns);
    conn->targets = pst_calloc(1, sizeof *conn->targets);
    rc = conn->targets != NULL ? pst_targets_numeric(&address, conn->targets) : PST_ENOMEM;
    if (rc == PST_ENOENT) {
        conn->state = RESOLVING;
        rc = lookup_begin(conn, &address);
    }
    if (rc != PST_OK) {
        conn_free(conn);
        return rc;
    }
    *ret_conn = conn;
    return PST_OK;
}

static int net_peer(void *self, struct pst_conn *conn, char ret_peer[PST_PEER_BYTES])
{
    (void)self;
    int rc = PST_OK;
    conn_settle(conn);
    while (rc == PST_OK && (conn->state == CONNECTING || conn->state == HANDSHAKING))
        rc = conn->state == CONNECTING ? conn_connect(conn) : conn_handshake(conn);
    if (rc != PST_OK)
        return rc;
    if (conn->state == BROKEN)
        return conn_broken(conn);
    if (conn->state != OPEN)
        return PST_EAGAIN;
    memcpy(ret_peer, conn->peer, PST_PEER_BYTES);
    return PST_OK;
}

/* ---- messages ---- */
static void net_limit(void *self, struct pst_conn *conn, uint32_t message_bytes_max)
{
    (void)self;
    PST_ASSERT(message_bytes_max >= 1 && message_bytes_max <= PST_NET_MESSAGE_BYTES_MAX);
    conn->message_bytes_max = message_bytes_max;
}

/* PST_EAGAIN: not now. PST_OK: there is room for a message of so many bytes behind what waits, and its head stands there. */
static int message_begin(struct pst_conn *conn, size_t byte_count, size_t room_bytes)
{
    uint8_t head[PST_FRAME_HEAD_BYTES];
    size_t head_bytes = conn->web ? 0 : sizeof head;
    PST_ASSERT(byte_count >= 1 && byte_count <= PST_NET_MESSAGE_BYTES_MAX);
    conn_settle(conn);
    if (conn->state == BROKEN)
        return conn_broken(conn);
    if (conn->state != OPEN)
        return PST_EAGAIN;
    if (!out_has_room(conn, head_bytes + byte_count)) {
        conn->send_wanted = head_bytes + byte_count;
        return PST_EAGAIN;
    }
    if (out_reserve(&conn->out, head_bytes + room_bytes) != PST_OK)
        return PST_ENOMEM;
    pst_frame_head(head, (uint32_t)byte_count);
    out_append(&conn->out, head, head_bytes);
    return PST_OK;
}

static int message_end(struct pst_conn *conn)
{
    if (conn->send_events != 0)
        return PST_OK; /* behind what waits already */
    if (buffer_count(&conn->out) < SEND_BYTES) {
        unsent_add(conn);
        return PST_OK;
    }
    int rc = conn_flush(conn);
    return rc == PST_OK || rc == PST_EAGAIN ? PST_OK : conn_break(conn, rc);
}

static int net_send(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count)
{
    (void)self;
    int rc = message_begin(conn, byte_count, byte_count);
    if (rc != PST_OK)
        return rc;
    out_append(&conn->out, bytes, byte_count);
    return message_end(conn);
}

/* Sends of these bytes, for which nothing waits, what goes; *ret_sent so many. PST_EAGAIN: the loop has to go on with the others. */
static int send_past(struct pst_conn *conn, const uint8_t *bytes, size_t byte_count, size_t *ret_sent)
{
    *ret_sent = 0;
    while (*ret_sent < byte_count) {
        int64_t count = conn->tls != NULL
                            ? pst_tls_write(conn->tls, bytes + *ret_sent, byte_count - *ret_sent, &conn->send_events)
                            : plain_write(conn->fd, bytes + *ret_sent, byte_count - *ret_sent, &conn->send_events);
        if (count < 0)
            return (int)count;
        *ret_sent += (size_t)count;
    }
    return PST_OK;
}

/* There is room for it all before any of it goes: half of a message cannot be taken back. */
static int net_send_parts(void *self, struct pst_conn *conn, const void *first, size_t first_bytes, const void *second,
                          size_t second_bytes)
{
    (void)self;
    size_t sent = 0;
    PST_ASSERT(first_bytes >= 1 && second_bytes >= 1);
    int rc = message_begin(conn, first_bytes + second_bytes, first_bytes + second_bytes);
    if (rc != PST_OK)
        return rc;
    out_append(&conn->out, first, first_bytes);
    if (conn->send_events == 0 && second_bytes >= SEND_BYTES)
        rc = conn_flush(conn);
    if (rc == PST_OK && buffer_count(&conn->out) == 0) {
        rc = out_reserve(&conn->out, second_bytes); /* a flush may have given it back */
        if (rc == PST_OK)
            rc = send_past(conn, second, second_bytes, &sent);
    }
    if (rc != PST_OK && rc != PST_EAGAIN)
        return conn_break(conn, rc);
    if (sent == second_bytes)
        return PST_OK;
    out_append(&conn->out, (const uint8_t *)second + sent, second_bytes - sent);
    if (rc != PST_EAGAIN)
        return message_end(conn);
    rc = pst_watch_add(conn->watch, conn->fd, conn->send_events);
    return rc == PST_OK ? PST_OK : conn_break(conn, rc);
}

static int64_t plain_read(int fd, void *bytes, size_t byte_count, int *ret_events)
{
    for (;;) {
        ssize_t count = recv(fd, bytes, byte_count, 0);
        if (count >= 0)
            return count;
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            *ret_events = UV_READABLE;
            return PST_EAGAIN;
        }
        if (errno != EINTR) {
            pst_system_error_set(errno);
            return PST_EIO;
        }
    }
}

/* Reads on, for a message that takes `needed` bytes in all. */
static int conn_read(struct pst_conn *conn, size_t needed)
{
    struct buffer *in = &conn->in;
    if (in_reserve(in, needed) != PST_OK)
        return PST_ENOMEM; /* nothing is lost, it may be tried again */
    uint8_t *at = in->bytes + in->end;
    size_t room = in->capacity - in->end;
    int64_t count = conn->tls != NULL ? pst_tls_read(conn->tls, at, room, &conn->receive_events)
                                      : plain_read(conn->fd, at, room, &conn->receive_events);
    if (count > 0) {
        in->end += (size_t)count;
        return PST_OK;
    }
    if (count == PST_EAGAIN) {
        buffer_tidy(in);
        return conn_wait(conn, conn->receive_events);
    }
    if (count < 0)
        return conn_break(conn, (int)count);
    if (in->begin != in->end)
        return conn_break(conn, said(PST_EIO, "the other side has closed the connection within a message"));
    return conn_break(conn, said(PST_ESTOPPED, "the other side has closed the connection"));
}

static int net_receive(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_byte_count)
{
    (void)self;
    struct buffer *in = &conn->in;
    size_t count;
    conn_settle(conn);
    if (conn->state == BROKEN)
        return conn_broken(conn);
    if (conn->state != OPEN)
        return PST_EAGAIN;
    int rc = PST_OK;
    while (rc == PST_OK) {
        const uint8_t *begin = in->bytes + in->begin;
        size_t head_bytes = conn->web ? 0 : PST_FRAME_HEAD_BYTES;
        rc = conn->web ? pst_request_parse(begin, buffer_count(in), conn->message_bytes_max, &count)
                       : pst_frame_parse(begin, buffer_count(in), conn->message_bytes_max, &count);
        if (rc == PST_EREFUSED)
            return conn_break(conn, said(rc, "a message of the other side is empty or above the limit"));
        if (rc == PST_OK) {
            *ret_bytes = begin + head_bytes;
            *ret_byte_count = count;
            in->begin += head_bytes + count;
            return PST_OK;
        }
        rc = conn_read(conn, count);
    }
    return rc;
}

static int net_give(void *self, struct pst_conn *conn, uint32_t worker_index)
{
    struct worker *to = worker_of(self, worker_index);
    conn_settle(conn);
    PST_ASSERT(conn->state == OPEN || conn->state == BROKEN);
    struct watch *watch = pst_watch_new();
    if (watch == NULL)
        return PST_ENOMEM;
    unsent_remove(conn); /* it is sent where it arrives */
    pst_watch_close(conn->watch);
    conn->watch = watch;
    conn->worker = to;
    conn->arriving = true;
    conn->receive_events = conn->send_events = 0;
    conn->send_wanted = 0;
    uv_mutex_lock(&to->net.arrivals_lock);
    conn->arrivals_next = to->net.arrivals;
    to->net.arrivals = conn;
    uv_mutex_unlock(&to->net.arrivals_lock);
    (void)uv_async_send(&to->async); /* cannot fail on a loop that is there */
    return PST_OK;
}

/* ---- the end of a connection ---- */
/* Reads what nobody wants any more: two that send to each other and close would wait for each other. PST_EAGAIN: the other side
 * has not closed yet. */
static int discard(struct pst_conn *conn)
{
    uint8_t bytes[DISCARD_BYTES];
    int events;
    for (int i = 0; i < DISCARDS_A_TURN && !conn->ended; i++) {
        int64_t count = plain_read(conn->fd, bytes, sizeof bytes, &events);
        if (count < 0 && count != PST_EAGAIN)
            return (int)count;
        if (count == PST_EAGAIN)
            break;
        conn->ended = count == 0;
    }
    if (conn->ended) {
        pst_watch_remove(conn->watch, UV_READABLE);
        return PST_OK;
    }
    int rc = pst_watch_add(conn->watch, conn->fd, UV_READABLE);
    return rc == PST_OK ? PST_EAGAIN : rc;
}

/* What was taken to be sent, and the goodbye. */
static int farewell_send(struct pst_conn *conn)
{
    int events = 0;
    int rc = conn_flush(conn);
    if (rc != PST_OK || conn->tls == NULL)
        return rc;
    rc = pst_tls_goodbye(conn->tls, &events);
    if (rc != PST_EAGAIN)
        return rc;
    rc = pst_watch_add(conn->watch, conn->fd, events);
    return rc == PST_OK ? PST_EAGAIN : rc;
}

/* Goes on with a connection that its owner has closed, and frees it when there is no more to do. */
static void farewell(struct pst_conn *conn)
{
    int heard = discard(conn);
    int rc = heard == PST_EIO ? heard : conn->state == FLUSHING ? farewell_send(conn) : PST_OK;
    if (conn->state == FLUSHING && rc == PST_OK) {
        (void)shutdown(conn->fd, SHUT_WR);
        conn_move(conn, ENDING);
        pst_watch_remove(conn->watch, UV_WRITABLE);
    }
    if (heard == PST_EAGAIN && conn->state == ENDING && conn->worker->done)
        heard = PST_OK; /* all is sent, and the run ends: nobody waits for the other side's end */
    if (rc != PST_EAGAIN && (rc != PST_OK || heard != PST_EAGAIN))
        conn_free(conn);
}

static void net_close(void *self, struct pst_conn *conn)
{
    (void)self;
    if (conn->worker != NULL) {
        conn_settle(conn);
        unsent_remove(conn);
    }
    if (conn->worker == NULL || conn->state != OPEN) {
        int events;
        if (conn->error == PST_ESTOPPED && conn->tls != NULL)
            (void)pst_tls_goodbye(conn->tls, &events); /* the answer to the other side's own */
        conn_free(conn);
        return;
    }
    conn_move(conn, FLUSHING);
    pst_watch_timer(conn->watch, FAREWELL_NS);
    farewell(conn);
}

/* ---- events of a connection ---- */
static void open_event(struct pst_conn *conn, int events)
{
    int unasked = events & ~(conn->receive_events | conn->send_events);
    if (unasked != 0)
        pst_watch_remove(conn->watch, unasked);
    if ((events & conn->receive_events) != 0) {
        conn->receive_events = 0;
        pst_uv_awake(conn->worker);
    }
    if ((events & conn->send_events) == 0)
        return;
    int rc = conn_flush(conn);
    if (rc != PST_OK && rc != PST_EAGAIN)
        (void)conn_break(conn, rc);
    if (conn->state == BROKEN || (conn->send_wanted != 0 && out_has_room(conn, conn->send_wanted))) {
        conn->send_wanted = 0;
        pst_uv_awake(conn->worker);
    }
}

static void conn_event(void *owner, int events)
{
    struct pst_conn *conn = owner;
    if (conn->state == FLUSHING || conn->state == ENDING) {
        farewell(conn);
    } else if (conn->state == OPEN) {
        open_event(conn, events);
    } else {
        pst_watch_remove(conn->watch, events);
        pst_uv_awake(conn->worker);
    }
}

static void conn_time(void *owner)
{
    struct pst_conn *conn = owner;
    if (conn->state == FLUSHING || conn->state == ENDING) {
        conn_free(conn);
        return;
    }
    if (uv_hrtime() >= conn->deadline_ns) {
        if (conn->state == HANDSHAKING)
            (void)conn_break(conn, said(PST_EREFUSED, "the other side has not shown in time who it is"));
        else
            (void)conn_break(conn, said(PST_EIO, "the other side did not answer in time"));
    }
    pst_uv_awake(conn->worker); /* or it is time to try a full unix socket again */
}

static void conn_over(void *owner)
{
    struct pst_conn *conn = owner;
    if (conn->state == FLUSHING || conn->state == ENDING) {
        conn_free(conn);
        return;
    }
    unsent_remove(conn);
    pst_watch_close(conn->watch);
    lookup_forget(conn);
    conn->watch = NULL;
    conn->worker = NULL;
}

static const struct watch_calls conn_calls = {.event = conn_event, .time = conn_time, .over = conn_over};

/* ---- listeners ---- */
static void listener_awake(void *owner)
{
    struct pst_listener *listener = owner;
    pst_uv_awake(listener->worker);
}

static void listener_event(void *owner, int events)
{
    struct pst_listener *listener = owner;
    pst_watch_remove(listener->watch, events);
    pst_uv_awake(listener->worker);
}

static void listener_over(void *owner)
{
    struct pst_listener *listener = owner;
    pst_watch_close(listener->watch);
    listener->watch = NULL;
    listener->worker = NULL;
}

static const struct watch_calls listener_calls = {
    .event = listener_event, .time = listener_awake, .over = listener_over};

/* How it is called from now on, and which file it has made. */
static int listener_name(struct pst_listener *listener, const struct address *address)
{
    struct stat status;
    if (!address->local)
        return pst_socket_name(listener->fd, listener->address, sizeof listener->address);
    (void)snprintf(listener->address, sizeof listener->address, "%s", address->written);
    if (lstat(address->host, &status) != 0)
        return pst_uv_failed(errno);
    listener->local = true;
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    return PST_OK;
}

static int net_listen(void *self, uint32_t worker_index, const char *text, struct pst_listener **ret_listener)
{
    struct worker *worker = worker_of(self, worker_index);
    struct address address;
    bool web = strncmp(text, "http:", 5) == 0;
    int rc = pst_address_parse(web ? text + 5 : text, &address);
    if (rc == PST_OK && web && address.local)
        rc = said(PST_EINVAL, "what speaks HTTP listens on HOST:PORT");
    if (rc != PST_OK)
        return rc;
    struct pst_listener *listener = pst_calloc(1, sizeof *listener);
    struct watch *watch = pst_watch_new();
    rc = listener != NULL && watch != NULL ? pst_socket_listen(&address, &listener->fd) : PST_ENOMEM;
    if (rc != PST_OK)
        goto undo_memory;
    rc = listener_name(listener, &address);
    if (rc != PST_OK)
        goto undo_socket;
    listener->world = self;
    listener->worker = worker;
    listener->web = web;
    listener->watch = watch;
    pst_watch_begin(watch, worker, &listener_calls, listener);
    *ret_listener = listener;
    return PST_OK;
undo_socket:
    (void)close(listener->fd);
undo_memory:
    pst_free(watch);
    pst_free(listener);
    return rc;
}

static const char *net_address(void *self, const struct pst_listener *listener)
{
    (void)self;
    return listener->address;
}

/* Another process may have put its own socket there meanwhile; that is left alone. */
static void local_file_remove(const struct pst_listener *listener)
{
    struct stat status;
    struct address address;
    if (pst_address_parse(listener->address, &address) == PST_OK && lstat(address.host, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode)
        (void)unlink(address.host);
}

static void net_unlisten(void *self, struct pst_listener *listener)
{
    (void)self;
    if (listener->worker != NULL)
        pst_watch_close(listener->watch);
    if (listener->local)
        local_file_remove(listener);
    (void)close(listener->fd);
    pst_free(listener);
}

/* A descriptor of who knocks. */
static int listener_take(struct pst_listener *listener, int *ret_fd)
{
    int rc;
    do
        *ret_fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (*ret_fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    if (*ret_fd >= 0)
        return PST_OK;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        pst_watch_timer(listener->watch, DESCRIPTORS_RETRY_NS); /* who knocks waits, and so would every poll say */
        return PST_EAGAIN;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return pst_uv_failed(errno);
    rc = pst_watch_add(listener->watch, listener->fd, UV_READABLE);
    return rc == PST_OK ? PST_EAGAIN : rc;
}

static int net_accept(void *self, struct pst_listener *listener, struct pst_conn **ret_conn)
{
    (void)self;
    int fd;
    if (!listener->local && !listener->web && listener->worker->net.unproven_count >= UNPROVEN_MAX)
        return PST_EAGAIN; /* woken when one of them is through, or dropped */
    int rc = listener_take(listener, &fd);
    if (rc != PST_OK)
        return rc;
    struct pst_conn *conn = conn_new(listener->worker, CONNECTING, fd);
    if (conn == NULL) {
        (void)close(fd);
        return PST_ENOMEM;
    }
    conn_options(fd);
    conn->accepted = true;
    conn->deadline_ns = uv_hrtime() + listener->world->handshake_ns;
    pst_watch_timer(conn->watch, listener->world->handshake_ns);
    conn->web = listener->web;
    rc = conn_connected(conn, listener->local || listener->web);
    if (rc != PST_OK) {
        conn_free(conn);
        return rc;
    }
    *ret_conn = conn;
    return PST_OK;
}

/* ---- workers ---- */
int pst_net_worker_init(struct worker *worker)
{
    return uv_mutex_init(&worker->net.arrivals_lock) == 0 ? PST_OK : PST_ENOMEM;
}

void pst_net_worker_fini(struct worker *worker) { uv_mutex_destroy(&worker->net.arrivals_lock); }

void pst_net_hurry(struct worker *worker)
{
    for (struct watch *watch = worker->net.watches, *next; watch != NULL; watch = next) {
        struct pst_conn *conn = watch->owner;
        next = watch->next;
        if (watch->calls == &conn_calls && conn->state == ENDING)
            conn_free(conn);
    }
}

void pst_net_worker_drain(struct worker *worker)
{
    pst_net_arrive(worker);
    while (worker->net.watches != NULL)
        worker->net.watches->calls->over(worker->net.watches->owner);
}

void pst_world_uv_handshake_ns(struct pst_world *world, uint64_t ns)
{
    struct uv_world *uv = world->self;
    uv->handshake_ns = ns;
}

void pst_net_fill(struct pst_world *world)
{
    pst_world_uv_handshake_ns(world, HANDSHAKE_NS);
    world->net_listen = net_listen;
    world->net_address = net_address;
    world->net_unlisten = net_unlisten;
    world->net_accept = net_accept;
    world->net_connect = net_connect;
    world->net_peer = net_peer;
    world->net_limit = net_limit;
    world->net_send = net_send;
    world->net_send_parts = net_send_parts;
    world->net_receive = net_receive;
    world->net_give = net_give;
    world->net_close = net_close;
}
