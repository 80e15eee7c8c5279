/* feed.c - see feed.h. */
#include "engine/feed.h"

#include "engine/control.h"
#include "engine/runtime.h"

#include <string.h>

#define BEAT_NS (UINT64_C(500) * 1000 * 1000)
#define QUIET_NS (UINT64_C(2) * 1000 * 1000 * 1000)  /* whoever asks for its place may wait for it */
#define STALL_NS (UINT64_C(10) * 1000 * 1000 * 1000) /* and has it */
enum { FEED_BLOCKS = 8, MESSAGES_A_STEP = 8 };

struct feed {
    struct run *run;
    char *bytes;
    size_t capacity;
    _Atomic uint64_t received, taken; /* of the stream: bytes that have come; that were taken */
    _Atomic uint64_t length;          /* of the stream; UINT64_MAX: its end was not said yet */
    _Atomic uint64_t waiting;         /* workers that found nothing */
    _Atomic uint64_t limit;           /* as the client was told */
    _Atomic uint64_t client;          /* whose connection is there, or comes; 0: nobody's */
    _Atomic uint64_t heard_ns;        /* when it has said something, or came */
    _Atomic uint64_t unwanted;        /* the client that is to make room, if it still says nothing; 0: none */
    atomic_bool beats;                /* it says something now and then in any case */
    /* from the keeper; `given` is set last, and taken first */
    struct pst_conn *_Atomic given;
    uint64_t given_request, given_client;
    /* worker 0's */
    struct pst_conn *conn;
    uint64_t conn_client, request; /* request: is to be answered; 0: it was */
    uint64_t beat_ns;
};

struct feed *pst_feed_new(struct run *run, size_t block_bytes)
{
    struct feed *feed = pst_calloc(1, sizeof *feed);
    if (feed == NULL)
        return NULL;
    feed->run = run;
    feed->capacity = FEED_BLOCKS * block_bytes;
    feed->bytes = pst_malloc(feed->capacity);
    atomic_init(&feed->length, UINT64_MAX);
    if (feed->bytes == NULL) {
        pst_free(feed);
        return NULL;
    }
    return feed;
}

static void conn_drop(struct feed *feed)
{
    uint64_t client = feed->conn_client;
    if (feed->conn == NULL)
        return;
    feed->run->world->net_close(feed->run->world->self, feed->conn);
    feed->conn = NULL;
    (void)atomic_compare_exchange_strong(&feed->client, &client, 0);
}

void pst_feed_close(struct feed *feed)
{
    struct pst_conn *given = atomic_exchange(&feed->given, NULL);
    if (given != NULL)
        feed->run->world->net_close(feed->run->world->self, given);
    conn_drop(feed);
}

void pst_feed_free(struct feed *feed)
{
    if (feed == NULL)
        return;
    pst_feed_close(feed); /* of a run whose workers were stopped before they were done */
    pst_free(feed->bytes);
    pst_free(feed);
}

void pst_feed_begin_at(struct feed *feed, uint64_t offset)
{
    atomic_store_explicit(&feed->received, offset, memory_order_relaxed);
    atomic_store_explicit(&feed->taken, offset, memory_order_relaxed);
}

uint64_t pst_feed_received(const struct feed *feed)
{
    return atomic_load_explicit(&feed->received, memory_order_acquire);
}

bool pst_feed_is_here(const struct feed *feed) { return atomic_load(&feed->client) != 0; }

/* ---- the reader's side ---- */

int64_t pst_feed_take(struct feed *feed, void *bytes, size_t byte_count)
{
    uint64_t length = atomic_load_explicit(&feed->length, memory_order_acquire); /* before what has come until then */
    uint64_t received = pst_feed_received(feed), taken = atomic_load_explicit(&feed->taken, memory_order_relaxed);
    size_t count = received - taken < byte_count ? (size_t)(received - taken) : byte_count;
    if (count == 0)
        return taken == length || byte_count == 0 ? 0 : PST_EAGAIN;
    size_t at = (size_t)(taken % feed->capacity);
    size_t first = count < feed->capacity - at ? count : feed->capacity - at;
    memcpy(bytes, feed->bytes + at, first);
    memcpy((char *)bytes + first, feed->bytes, count - first);
    atomic_store_explicit(&feed->taken, taken + count, memory_order_release);
    if (taken + count + feed->capacity - atomic_load_explicit(&feed->limit, memory_order_relaxed) >= feed->capacity / 4)
        pst_run_wake(feed->run, 0); /* it has something to tell */
    return (int64_t)count;
}

/* Whoever waits sets his bit, then looks again; what comes is stored, then the bits are looked at: one of the two sees the other. */
bool pst_feed_watch(struct feed *feed, uint32_t worker)
{
    (void)atomic_fetch_or(&feed->waiting, (uint64_t)1 << worker);
    uint64_t taken = atomic_load_explicit(&feed->taken, memory_order_relaxed);
    return atomic_load(&feed->received) == taken && atomic_load(&feed->length) != taken;
}

/* One for each message: as much as comes then has a reader. The end is for all. */
static void readers_wake(struct feed *feed, bool all)
{
    uint64_t waiting = atomic_load(&feed->waiting);
    uint64_t woken = all ? waiting : waiting & (0 - waiting);
    if (woken == 0)
        return;
    (void)atomic_fetch_and(&feed->waiting, ~woken);
    for (; woken != 0; woken &= woken - 1)
        pst_wake_later(feed->run, 0, (uint32_t)__builtin_ctzll(woken));
}

/* ---- the client's side ---- */

static int send(struct feed *feed, Pst__Control *message)
{
    const struct pst_world *world = feed->run->world;
    struct pst_text bytes = {0};
    message->graph = (char *)(uintptr_t)pst_graph_name(feed->run->graph);
    message->incarnation = feed->run->site->incarnation;
    int rc = pst_control_pack(message, &bytes);
    if (rc == PST_OK)
        rc = world->net_send(world->self, feed->conn, bytes.bytes, bytes.count);
    pst_text_fini(&bytes);
    return rc;
}

/* Whoever breaks the rules is told so, if he still listens. */
static int refuse(struct feed *feed, const char *sentence)
{
    Pst__Refused refused = PST__REFUSED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    refused.error = PST_EDATA;
    refused.sentence = (char *)(uintptr_t)sentence;
    message.body_case = PST__CONTROL__BODY_REFUSED;
    message.refused = &refused;
    (void)send(feed, &message);
    return PST_EDATA;
}

static uint64_t limit_now(const struct feed *feed)
{
    return atomic_load_explicit(&feed->taken, memory_order_acquire) + feed->capacity;
}

/* The answer to whoever has come: from here on. */
static int go_send(struct feed *feed)
{
    const struct site *site = feed->run->site;
    const struct pst_schema *schema = &feed->run->graph->nodes[feed->run->graph->source].outputs[0].schema;
    uint64_t limit = limit_now(feed);
    Pst__ReplayGo go = PST__REPLAY_GO__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    go.node = (char *)(uintptr_t)site->name[site->this_node];
    go.address = (char *)(uintptr_t)site->address[site->this_node];
    go.open = true;
    go.offset = pst_feed_received(feed);
    go.limit = limit;
    go.time_column = (uint32_t)schema->time_field;
    go.columns = schema->field_count;
    pst_type type = schema->fields[schema->time_field].type;
    go.time_min = type == PST_I64 ? INT64_MIN : 0;
    go.time_max = type == PST_U32 ? UINT32_MAX : INT64_MAX;
    go.client = feed->conn_client;
    go.beats = atomic_load_explicit(&feed->beats, memory_order_relaxed);
    message.request = feed->request;
    message.body_case = PST__CONTROL__BODY_REPLAY_GO;
    message.replay_go = &go;
    int rc = send(feed, &message);
    if (rc == PST_OK) {
        feed->request = 0;
        atomic_store_explicit(&feed->limit, limit, memory_order_relaxed);
    }
    return rc;
}

/* When there is room for a good part more; and now and then, that the client hears something. */
static int grant_send(struct feed *feed)
{
    const struct pst_world *world = feed->run->world;
    uint64_t limit = limit_now(feed), now_ns = world->now_ns(world->self);
    bool due = limit - atomic_load_explicit(&feed->limit, memory_order_relaxed) >= feed->capacity / 4;
    if (!due && now_ns < feed->beat_ns) {
        (void)world->alarm(world->self, feed->run->worker_base, feed->beat_ns);
        return PST_EAGAIN;
    }
    Pst__ReplayGrant grant = PST__REPLAY_GRANT__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    grant.limit = limit;
    message.body_case = PST__CONTROL__BODY_REPLAY_GRANT;
    message.replay_grant = &grant;
    int rc = send(feed, &message);
    if (rc == PST_OK) {
        atomic_store_explicit(&feed->limit, limit, memory_order_relaxed);
        feed->beat_ns = now_ns + BEAT_NS;
    }
    return rc;
}

static int on_bytes(struct feed *feed, const Pst__ReplayBytes *message)
{
    uint64_t received = pst_feed_received(feed);
    size_t count = message->payload.len, at = (size_t)(received % feed->capacity);
    if (message->offset != received)
        return refuse(feed, "the stream's bytes do not come one after the other");
    if (count > atomic_load_explicit(&feed->limit, memory_order_relaxed) - received)
        return refuse(feed, "it has sent more than it was allowed to");
    if (atomic_load_explicit(&feed->length, memory_order_relaxed) != UINT64_MAX)
        return refuse(feed, "the stream goes on behind its end");
    size_t first = count < feed->capacity - at ? count : feed->capacity - at;
    memcpy(feed->bytes + at, message->payload.data, first);
    memcpy(feed->bytes, message->payload.data + first, count - first);
    atomic_store(&feed->received, received + count);
    readers_wake(feed, false);
    return PST_OK;
}

static int on_end(struct feed *feed, const Pst__ReplayEnd *message)
{
    uint64_t length = atomic_load_explicit(&feed->length, memory_order_relaxed);
    if (message->length != pst_feed_received(feed) || (length != UINT64_MAX && length != message->length))
        return refuse(feed, "the stream is not as long as it is said to be");
    atomic_store(&feed->length, message->length);
    readers_wake(feed, true);
    return PST_OK;
}

/* PST_EAGAIN: there is none. */
static int message_take(struct feed *feed)
{
    const struct pst_world *world = feed->run->world;
    const void *bytes;
    size_t byte_count;
    struct pst_arena arena;
    Pst__Control *message = NULL;
    int rc = world->net_receive(world->self, feed->conn, &bytes, &byte_count);
    if (rc != PST_OK)
        return rc;
    pst_arena_init(&arena);
    rc = pst_control_unpack(bytes, byte_count, PST_CONTROL_BYTES_MAX, &arena, &message);
    atomic_store(&feed->heard_ns, world->now_ns(world->self));
    bool beats = atomic_load_explicit(&feed->beats, memory_order_relaxed);
    if (rc != PST_OK || message->incarnation != feed->run->site->incarnation)
        rc = refuse(feed, "not a message that belongs here");
    else if (beats && message->body_case == PST__CONTROL__BODY_BEAT_ACK)
        rc = PST_OK;
    else if (message->body_case == PST__CONTROL__BODY_REPLAY_BYTES)
        rc = on_bytes(feed, message->replay_bytes);
    else if (message->body_case == PST__CONTROL__BODY_REPLAY_END)
        rc = on_end(feed, message->replay_end);
    else
        rc = refuse(feed, "not a message that belongs here");
    pst_arena_fini(&arena);
    return rc;
}

/* True: there is one, which knows where to go on. */
static bool conn_bring_up(struct feed *feed, bool *any)
{
    const struct pst_world *world = feed->run->world;
    struct pst_conn *given = atomic_load_explicit(&feed->given, memory_order_acquire);
    if (given != NULL) {
        if (feed->conn != NULL)
            world->net_close(world->self, feed->conn); /* the same client's */
        feed->conn = given;
        feed->conn_client = feed->given_client;
        feed->request = feed->given_request;
        feed->beat_ns = world->now_ns(world->self) + BEAT_NS;
        atomic_store(&feed->client, feed->conn_client); /* its last connection may have been dropped meanwhile */
        atomic_store_explicit(&feed->given, NULL, memory_order_release); /* its giver waits for that */
        world->net_limit(world->self, feed->conn, PST_CONTROL_BYTES_MAX);
        *any = true;
    }
    if (feed->conn == NULL || feed->request == 0)
        return feed->conn != NULL;
    int rc = go_send(feed);
    if (rc != PST_OK && rc != PST_EAGAIN)
        conn_drop(feed);
    return rc == PST_OK;
}

/* Somebody else asks for its place, and it says nothing. */
static bool is_stalled(struct feed *feed)
{
    const struct pst_world *world = feed->run->world;
    uint64_t client = feed->conn_client;
    return atomic_compare_exchange_strong(&feed->unwanted, &client, 0) &&
           world->now_ns(world->self) >= atomic_load(&feed->heard_ns) + STALL_NS;
}

bool pst_feed_step(struct feed *feed)
{
    bool any = false;
    if (!conn_bring_up(feed, &any))
        return any;
    int rc = PST_OK;
    for (uint32_t i = 0; i < MESSAGES_A_STEP && rc == PST_OK; i++) {
        rc = message_take(feed);
        any |= rc == PST_OK;
    }
    if (rc == PST_EAGAIN && is_stalled(feed))
        rc = PST_ESTOPPED;
    if (rc == PST_OK || rc == PST_EAGAIN)
        rc = grant_send(feed);
    any |= rc == PST_OK;
    if (rc != PST_OK && rc != PST_EAGAIN)
        conn_drop(feed);
    return any;
}

/* ---- the keeper's side ---- */

/* The stream is another client's. */
static int place_ask(struct feed *feed, uint64_t client)
{
    const struct pst_world *world = feed->run->world;
    uint64_t now_ns = world->now_ns(world->self), heard_ns = atomic_load(&feed->heard_ns);
    if (!atomic_load(&feed->beats) || now_ns < heard_ns + QUIET_NS)
        return PST_EFULL;
    if (now_ns < heard_ns + STALL_NS || atomic_load_explicit(&feed->given, memory_order_acquire) != NULL)
        return PST_ETIMEOUT;
    bool told = atomic_exchange(&feed->unwanted, client) == client;
    pst_run_wake(feed->run, 0);
    return told ? PST_ETIMEOUT : PST_ESTOPPED;
}

int pst_feed_give(struct feed *feed, struct pst_conn *conn, uint64_t client, bool beats, uint64_t request)
{
    struct run *run = feed->run;
    uint64_t now = atomic_load(&feed->client);
    if (now != 0 && now != client)
        return place_ask(feed, now);
    if (atomic_load_explicit(&feed->given, memory_order_acquire) != NULL || atomic_load(&run->stopped) ||
        atomic_load(&run->finish))
        return PST_EAGAIN;
    int rc = run->world->net_give(run->world->self, conn, run->worker_base);
    if (rc != PST_OK)
        return PST_EAGAIN;
    atomic_store(&feed->client, client);
    atomic_store(&feed->heard_ns, run->world->now_ns(run->world->self));
    atomic_store(&feed->beats, beats);
    feed->given_client = client;
    feed->given_request = request;
    atomic_store_explicit(&feed->given, conn, memory_order_release);
    pst_run_wake(run, 0);
    return PST_OK;
}
