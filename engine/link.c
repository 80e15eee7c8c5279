/* link.c - see link.h. */
#include "engine/link.h"

#include "engine/checkpoint.h"
#include "engine/lane.h"
#include "engine/planted.h"
#include "engine/wire.h"

#include <string.h>

enum { RETRY_NS_MIN = 1000 * 1000, RETRY_NS_MAX = 20 * 1000 * 1000 }; /* the run over there begins at any moment */
#define STANDS_NS (UINT64_C(1) * 1000 * 1000 * 1000)
#define SILENT_NS (UINT64_C(5) * 1000 * 1000 * 1000) /* a dead node would have been found out by then */

/* Of a channel whose other end is on another node. */
struct far {
    struct far *next_free; /* it is of none */
    struct channel *channel;
    struct pst_wire_shape shape;
    uint32_t number;  /* of the channel */
    uint32_t epoch;   /* of the later born of its two ends: a number may come again, this does not */
    bool out, source; /* source: its producer is one */
    bool later;       /* it was made while the run was going on */
    /* out: frames kept, numbered kept_end - count + 1 to kept_end; `next` is the first that this connection has not been given */
    struct frame *kept_first, *kept_last, *next;
    uint64_t kept_end, acked, sent, allowed;
    int64_t watermark_told;
    int64_t promised; /* what the channel has said of time; holds when frame `behind` was sent */
    uint64_t behind;
    enum end end_told;
    bool ended;   /* an end was sent on some connection */
    bool resumed; /* the receiver has said on this connection how far it is */
    bool narrow;  /* and that it reads narrow frames */
    bool asked;   /* it was asked to: of a channel that was made while the connection stood */
    /* in */
    uint64_t received, taken_told;
    int64_t watermark;
    enum end end;
    bool end_granted;
};

/* Parcels of a move, in order of their numbers. */
struct sending {     /* kept until the lane has them, to be sent again when the connection breaks */
    struct way *way; /* NULL: none are sent */
    struct blob *kept[WAY_PARCELS];
    uint32_t kept_count, sent_count; /* of them; of the one behind so many chunks: */
    uint32_t chunk_count;
    uint32_t whole_number; /* of the last one that was ever sent whole */
};
struct receiving {
    struct way *way;                   /* NULL: none are wanted */
    struct blob *blob;                 /* of which so many chunks are here; NULL: the next one begins with its first */
    uint32_t chunk_count, whole_count; /* of parcels, the latter */
    uint32_t told, cost_told;          /* the sender: the last one that is in the lane, what that costs */
};

enum link_state { LINK_DOWN, LINK_OPENING, LINK_UP };

struct link {
    struct run *run;
    uint32_t peer, worker;
    bool dials, needed;
    enum link_state state;
    struct pst_conn *conn;
    struct pst_conn *_Atomic given;
    atomic_bool peer_ended;
    uint64_t retry_ns; /* it dials again */
    uint64_t wait_ns;  /* and then after so long: twice as long each time, until something has come */
    uint64_t cut_told; /* the checkpoint whose cut this connection was told last */
    uint64_t cut_heard;
    struct far **fars;
    uint32_t far_count, far_capacity, first;
    struct sending sending;
    struct receiving receiving;
    uint8_t *message, *scratch;
    size_t message_bytes, scratch_bytes;
    _Atomic uint64_t sent_bytes, received_bytes; /* for whoever looks */
    /* Of one that dials: since when nothing has come from there, 0: it has, or nothing is wanted; why it could not be reached last. */
    _Atomic uint64_t silent_ns, up_ns; /* up: since when its connection stands; 0: there is none */
    atomic_flag why_lock;
    char why[120];
};

static void sending_end(struct link *link);
static void receiving_end(struct link *link);

/* ---- life ---- */

uint32_t pst_link_worker(const struct run *run, uint32_t far_node) { return far_node % run->worker_count; }

static uint32_t node_room(const struct site *site)
{
    return site->node_capacity > site->node_count ? site->node_capacity : site->node_count;
}

int pst_links_init(struct run *run)
{
    run->links = pst_arena_alloc(&run->arena, node_room(run->site) * sizeof(struct link *));
    return run->links != NULL ? PST_OK : PST_ENOMEM;
}

static int link_new(struct run *run, uint32_t far_node)
{
    struct link *link = pst_arena_alloc(&run->arena, sizeof *link);
    if (link == NULL)
        return PST_ENOMEM;
    *link = (struct link){.run = run,
                          .peer = far_node,
                          .worker = pst_link_worker(run, far_node),
                          .dials = run->site->this_node < far_node,
                          .wait_ns = RETRY_NS_MIN,
                          .message_bytes = PST_WIRE_SMALL_BYTES_MAX};
    atomic_init(&link->given, NULL);
    atomic_init(&link->peer_ended, false);
    atomic_flag_clear(&link->why_lock);
    run->links[far_node] = link;
    if (run->workers != NULL) { /* it comes later; there is room for one a node */
        struct worker *worker = &run->workers[link->worker];
        worker->links[worker->link_count++] = link;
    }
    return PST_OK;
}

/* ---- all channels of all links, by number: open addressing, at most half full ---- */

/* 2^32 over the golden ratio; its high bits are the good ones. */
static uint32_t far_home(uint32_t number, uint32_t mask) { return (number * 0x9E3779B1u) >> 7 & mask; }

static struct far **far_place(struct far **fars, uint32_t capacity, uint32_t number)
{
    uint32_t i = far_home(number, capacity - 1);
    while (fars[i] != NULL && fars[i]->number != number)
        i = (i + 1) & (capacity - 1);
    return &fars[i];
}

static struct far *far_find(const struct run *run, uint32_t number)
{
    return run->far_capacity != 0 ? *far_place(run->fars, run->far_capacity, number) : NULL;
}

static int fars_rehash(struct run *run, uint32_t capacity)
{
    struct far **fars = pst_calloc(capacity, sizeof(struct far *));
    if (fars == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < run->far_capacity; i++)
        if (run->fars[i] != NULL)
            *far_place(fars, capacity, run->fars[i]->number) = run->fars[i];
    pst_free(run->fars);
    run->fars = fars;
    run->far_capacity = capacity;
    return PST_OK;
}

static int far_put(struct run *run, struct far *far)
{
    int rc = PST_OK;
    if (2 * (run->far_count + 1) > run->far_capacity)
        rc = fars_rehash(run, run->far_capacity == 0 ? 64 : 2 * run->far_capacity);
    if (rc != PST_OK)
        return rc;
    *far_place(run->fars, run->far_capacity, far->number) = far;
    run->far_count++;
    return PST_OK;
}

/* What stands behind it moves up to where it is looked for (Knuth, TAOCP 3, 6.4, algorithm R). */
static void far_take(struct run *run, struct far *far)
{
    uint32_t mask = run->far_capacity - 1, hole = (uint32_t)(far_place(run->fars, mask + 1, far->number) - run->fars);
    for (uint32_t i = (hole + 1) & mask; run->fars[i] != NULL; i = (i + 1) & mask) {
        uint32_t home = far_home(run->fars[i]->number, mask);
        if (((i - home) & mask) < ((i - hole) & mask))
            continue; /* it stands between its home and here: the hole is before that */
        run->fars[hole] = run->fars[i];
        hole = i;
    }
    run->fars[hole] = NULL;
    run->far_count--;
}

static int link_fars_grow(struct link *link)
{
    uint32_t capacity = link->far_capacity == 0 ? 16 : link->far_capacity * 2;
    struct far **fars = pst_realloc(link->fars, capacity * sizeof(struct far *));
    if (fars == NULL)
        return PST_ENOMEM;
    link->fars = fars;
    link->far_capacity = capacity;
    return PST_OK;
}

/* Memory for the longest messages of its channels. */
static int link_room(struct link *link, const struct far *far)
{
    size_t bytes = pst_wire_frame_bound(&far->shape, far->channel->frame_rows);
    size_t clear = pst_wire_frame_clear_bytes(&far->shape, far->channel->frame_rows);
    if (bytes > PST_WIRE_MESSAGE_BYTES_MAX) {
        pst_run_fail(link->run, PST_EGRAPH, "a frame of %u rows is too long for a message: use smaller frames",
                     far->channel->frame_rows);
        return PST_EGRAPH;
    }
    if (bytes > link->message_bytes || link->message == NULL) {
        link->message_bytes = bytes > link->message_bytes ? bytes : link->message_bytes;
        uint8_t *message = pst_realloc(link->message, link->message_bytes);
        link->message = message != NULL ? message : link->message;
        if (message == NULL)
            return PST_ENOMEM;
    }
    if (clear > link->scratch_bytes) {
        uint8_t *scratch = pst_realloc(link->scratch, clear);
        link->scratch = scratch != NULL ? scratch : link->scratch;
        if (scratch == NULL)
            return PST_ENOMEM;
        link->scratch_bytes = clear;
    }
    return PST_OK;
}

int pst_link_add(struct run *run, uint32_t far_node, struct channel *channel, uint64_t number, uint32_t epoch,
                 pst_link_end end)
{
    int rc = number <= UINT32_MAX ? PST_OK : PST_EGRAPH;
    if (rc != PST_OK)
        pst_run_fail(run, rc, "the graph has too many buckets and edges for several nodes: use fewer buckets");
    if (rc == PST_OK && run->links[far_node] == NULL)
        rc = link_new(run, far_node);
    struct link *link = run->links[far_node];
    if (rc == PST_OK && link->far_count == link->far_capacity)
        rc = link_fars_grow(link);
    struct far *far = rc == PST_OK ? run->far_free : NULL;
    if (far != NULL)
        run->far_free = far->next_free;
    else if (rc == PST_OK)
        far = pst_arena_alloc(&run->arena, sizeof *far);
    if (far == NULL)
        return rc == PST_OK ? PST_ENOMEM : rc;
    const struct edge *edge = channel->edge;
    *far = (struct far){.channel = channel,
                        .number = (uint32_t)number,
                        .epoch = epoch,
                        .out = end == PST_LINK_OUT,
                        .source = end == PST_LINK_IN_SOURCE,
                        .later = run->workers != NULL,
                        .shape = {.column_count = edge->column_count,
                                  .column_bytes = edge->column_bytes,
                                  .bucket_mask = edge->bucket_mask,
                                  .keyed = edge->keyed,
                                  .numbered = edge->total,
                                  .key_count = edge->key_columns != NULL ? edge->key_count : 0,
                                  .lead_bytes = edge->lead_bytes,
                                  .key = edge->key_columns,
                                  .hash_key = &run->graph->hash_key},
                        .watermark_told = INT64_MIN,
                        .promised = INT64_MIN,
                        .watermark = INT64_MIN};
    rc = link_room(link, far);
    if (rc == PST_OK)
        rc = far_put(run, far);
    if (rc == PST_OK)
        channel->far = link->fars[link->far_count++] = far;
    if (rc != PST_OK) {
        far->next_free = run->far_free;
        run->far_free = far;
    }
    return rc;
}

static void kept_free(struct far *far)
{
    for (struct frame *frame = far->kept_first, *next; frame != NULL; frame = next) {
        next = frame->next;
        pst_free(frame);
    }
    far->kept_first = far->kept_last = far->next = NULL;
}

bool pst_link_is(const struct channel *channel, uint64_t number)
{
    return channel->far != NULL && channel->far->number == number;
}

void pst_link_remove(struct run *run, struct channel *channel)
{
    struct far *far = channel->far;
    for (uint32_t n = 0; n < run->site->node_count; n++) {
        struct link *link = run->links[n];
        for (uint32_t i = 0; link != NULL && i < link->far_count; i++)
            if (link->fars[i] == far)
                link->fars[i--] = link->fars[--link->far_count];
    }
    far_take(run, far);
    kept_free(far);
    far->next_free = run->far_free;
    run->far_free = far;
    channel->far = NULL;
}

void pst_link_visit(struct run *run, uint32_t far_node, pst_link_channel visit, void *argument)
{
    struct link *link = run->links[far_node];
    for (uint32_t i = link != NULL ? link->far_count : 0; i != 0;
         i--) /* the last one takes the place of one that goes */
        visit(argument, link->fars[i - 1]->channel);
}

int pst_links_deal(struct run *run, struct worker *worker)
{
    uint32_t node_count = run->site != NULL ? run->site->node_count : 0;
    uint32_t room = run->site != NULL ? node_room(run->site) : 0;
    worker->links = pst_arena_alloc(&run->arena, (room + 1) * sizeof(struct link *));
    if (worker->links == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < node_count; n++) {
        struct link *link = run->links[n];
        if (link == NULL || link->worker != worker->index)
            continue;
        worker->links[worker->link_count++] = link;
    }
    return PST_OK;
}

void pst_links_fini(struct run *run)
{
    for (uint32_t n = 0; run->links != NULL && n < run->site->node_count; n++) {
        struct link *link = run->links[n];
        if (link == NULL)
            continue;
        pst_link_close(link); /* of a run whose workers were stopped before they were done */
        sending_end(link);
        receiving_end(link);
        for (uint32_t i = 0; i < link->far_count; i++)
            kept_free(link->fars[i]);
        pst_free(link->fars);
        pst_free(link->message);
        pst_free(link->scratch);
    }
    pst_free(run->fars);
}

void pst_links_bytes(const struct run *run, uint64_t *sent, uint64_t *received)
{
    for (uint32_t n = 0; run->links != NULL && n < run->site->node_count; n++) {
        if (run->links[n] == NULL)
            continue;
        *sent += atomic_load_explicit(&run->links[n]->sent_bytes, memory_order_relaxed);
        *received += atomic_load_explicit(&run->links[n]->received_bytes, memory_order_relaxed);
    }
}

bool pst_links_cut(const struct run *run)
{
    for (uint32_t i = 0; i < run->far_capacity; i++)
        if (run->fars[i] != NULL && !run->fars[i]->out && run->fars[i]->end == END_CUT)
            return true;
    return false;
}

/* ---- the connection ---- */

/* It may have nothing to say; a node that does not want it hangs up at once. */
static bool stands(uint64_t up_ns, uint64_t now_ns) { return up_ns != 0 && now_ns > up_ns + STANDS_NS; }

static void conn_drop(struct link *link)
{
    struct run *run = link->run;
    if (link->conn != NULL)
        run->world->net_close(run->world->self, link->conn);
    link->conn = NULL;
    link->state = LINK_DOWN;
    uint64_t now_ns = run->world->now_ns(run->world->self);
    if (stands(atomic_exchange_explicit(&link->up_ns, 0, memory_order_relaxed), now_ns))
        atomic_store_explicit(&link->silent_ns, 0, memory_order_relaxed);
    link->retry_ns = now_ns + link->wait_ns;
    link->wait_ns = 2 * link->wait_ns < RETRY_NS_MAX ? 2 * link->wait_ns : RETRY_NS_MAX;
    link->cut_told = 0;
    link->sending.sent_count = link->sending.chunk_count = link->receiving.told = 0; /* parcels begin again */
    link->receiving.cost_told = 0;
    for (uint32_t i = 0; i < link->far_count; i++) {
        struct far *far = link->fars[i];
        far->resumed = far->asked = false;
        far->watermark_told = INT64_MIN;
        far->end_told = END_NOT;
        far->taken_told = 0;
    }
}

void pst_link_close(struct link *link)
{
    struct pst_conn *given = atomic_exchange(&link->given, NULL);
    if (given != NULL)
        link->run->world->net_close(link->run->world->self, given);
    if (link->conn != NULL)
        link->run->world->net_close(link->run->world->self, link->conn);
    link->conn = NULL;
    link->state = LINK_DOWN;
}

bool pst_link_give(struct run *run, uint32_t far_node, struct pst_conn *conn)
{
    struct link *link = run->site != NULL && far_node < run->site->node_count ? run->links[far_node] : NULL;
    if (link == NULL || link->dials || atomic_load(&link->given) != NULL)
        return false;
    if (run->world->net_give(run->world->self, conn, run->worker_base + link->worker) != PST_OK)
        return false; /* it is the keeper's still, and whoever dials tries again */
    atomic_store_explicit(&link->given, conn, memory_order_release);
    pst_run_wake(run, link->worker);
    return true;
}

void pst_link_peer_ended(struct run *run, uint32_t far_node)
{
    struct link *link = run->links[far_node];
    if (link == NULL)
        return;
    atomic_store_explicit(&link->peer_ended, true, memory_order_release);
    pst_run_wake(run, link->worker);
}

/* far: NULL: it is about no channel. */
static struct pst_wire_head head_of(const struct link *link, const struct far *far, uint64_t number)
{
    struct pst_wire_head head = {.number = number, .incarnation = link->run->site->incarnation};
    if (far != NULL) {
        head.channel = far->number;
        head.owner_epoch = far->epoch;
    }
    return head;
}

/* Sends what stands in link->message. */
static int message_send(struct link *link, int rc, size_t byte_count)
{
    const struct pst_world *world = link->run->world;
    rc = rc == PST_OK ? world->net_send(world->self, link->conn, link->message, byte_count) : rc;
    if (rc == PST_OK)
        pst_count(&link->sent_bytes, byte_count);
    return rc;
}

static int hello_send(struct link *link)
{
    struct pst_wire_head head = head_of(link, NULL, 0);
    struct pst_wire_hello hello = {.node = link->run->site->this_node, .worker = link->worker};
    size_t bytes = 0;
    (void)snprintf(hello.graph_name, sizeof hello.graph_name, "%s", pst_graph_name(link->run->graph));
    int rc = pst_wire_hello_write(&head, &hello, link->message, link->message_bytes, &bytes);
    return message_send(link, rc, bytes);
}

static int grant_send(struct link *link, struct far *far, uint64_t taken)
{
    struct pst_wire_head head = head_of(link, far, 0);
    struct pst_wire_grant grant = {.taken = taken, .frame_count = LINK_FRAMES};
    size_t bytes = 0;
    int rc = pst_wire_grant_write(&head, &grant, link->message, link->message_bytes, &bytes);
    rc = message_send(link, rc, bytes);
    if (rc == PST_OK) {
        far->taken_told = taken;
        far->end_granted = taken > far->received;
    }
    return rc;
}

static int resume_send(struct link *link, struct far *far)
{
    struct pst_wire_head head = head_of(link, far, 0);
    size_t bytes = 0;
    head.move = link->run->frame_version;
    int rc = pst_wire_resume_write(&head, far->received, link->message, link->message_bytes, &bytes);
    rc = message_send(link, rc, bytes);
    *(far->out ? &far->asked : &far->resumed) = rc == PST_OK;
    return rc;
}

static void why_keep(struct link *link, const char *why)
{
    pst_lock_take(&link->why_lock);
    (void)snprintf(link->why, sizeof link->why, "%s", why);
    pst_lock_give(&link->why_lock);
}

bool pst_link_silent(const struct run *run, uint32_t far_node, uint64_t now_ns, char ret_why[120])
{
    struct link *link = run->links != NULL ? run->links[far_node] : NULL;
    uint64_t since_ns = link != NULL ? atomic_load_explicit(&link->silent_ns, memory_order_relaxed) : 0;
    uint64_t up_ns = since_ns != 0 ? atomic_load_explicit(&link->up_ns, memory_order_relaxed) : 0;
    if (since_ns == 0 || now_ns < since_ns + SILENT_NS || stands(up_ns, now_ns))
        return false;
    pst_lock_take(&link->why_lock);
    memcpy(ret_why, link->why, sizeof link->why);
    pst_lock_give(&link->why_lock);
    return true;
}

/* True: it is up. */
static bool conn_bring_up(struct link *link)
{
    struct run *run = link->run;
    const struct pst_world *world = run->world;
    struct pst_conn *given = atomic_load_explicit(&link->given, memory_order_acquire);
    if (given != NULL) {
        atomic_store_explicit(&link->given, NULL, memory_order_release); /* its giver waits for that */
        conn_drop(link);
        link->conn = given;
        link->state = LINK_UP;
        world->net_limit(world->self, link->conn, PST_WIRE_MESSAGE_BYTES_MAX);
    }
    bool wanted = link->needed && !atomic_load_explicit(&link->peer_ended, memory_order_acquire);
    bool dials = link->state == LINK_DOWN && link->dials && (wanted || !pst_link_finished(link));
    if (link->state == LINK_DOWN && !dials)
        atomic_store_explicit(&link->silent_ns, 0, memory_order_relaxed);
    if (dials) {
        uint64_t now_ns = world->now_ns(world->self);
        if (atomic_load_explicit(&link->silent_ns, memory_order_relaxed) == 0)
            atomic_store_explicit(&link->silent_ns, now_ns | 1, memory_order_relaxed);
        if (now_ns < link->retry_ns) {
            (void)world->alarm(world->self, run->worker_base + link->worker, link->retry_ns);
            return false;
        }
        if (world->net_connect(world->self, run->worker_base + link->worker, run->site->address[link->peer],
                               &link->conn) != PST_OK) {
            why_keep(link, pst_system_error());
            conn_drop(link);
            (void)world->alarm(world->self, run->worker_base + link->worker, link->retry_ns);
            return false;
        }
        link->state = LINK_OPENING;
    }
    if (link->state == LINK_OPENING) {
        char peer[PST_PEER_BYTES];
        int rc = world->net_peer(world->self, link->conn, peer);
        if (rc != PST_OK && rc != PST_EAGAIN)
            why_keep(link, pst_system_error());
        if (rc == PST_OK && peer[0] != '\0' && strcmp(peer, run->site->name[link->peer]) != 0) {
            why_keep(link, "the certificate there is another node's");
            rc = PST_EREFUSED;
        }
        if (rc == PST_OK) {
            world->net_limit(world->self, link->conn, PST_WIRE_MESSAGE_BYTES_MAX);
            rc = hello_send(link);
        }
        if (rc == PST_OK) {
            link->state = LINK_UP;
            atomic_store_explicit(&link->up_ns, world->now_ns(world->self) | 1, memory_order_relaxed);
        } else if (rc != PST_EAGAIN) {
            conn_drop(link);
        }
        if (link->state == LINK_DOWN)
            (void)world->alarm(world->self, run->worker_base + link->worker, link->retry_ns);
    }
    return link->state == LINK_UP;
}

/* ---- parcels ---- */

enum { CHUNK_BYTES = 256 * 1024, CHUNKS_MAX = 64 * 1024, RESERVED_MAX = 64 /* chunks, at the first one */ };

static void sending_end(struct link *link)
{
    for (uint32_t i = 0; i < link->sending.kept_count; i++)
        pst_blob_free(link->run, link->sending.kept[i]);
    link->sending = (struct sending){0};
}

static void receiving_end(struct link *link)
{
    pst_blob_free(link->run, link->receiving.blob);
    link->receiving = (struct receiving){0};
}

void pst_link_way(struct run *run, uint32_t far_node, struct way *way, pst_link_end end)
{
    struct link *link = run->links[far_node]; /* pst_link_need() */
    PST_ASSERT(end == PST_LINK_OUT ? link->sending.way == NULL : link->receiving.way == NULL);
    *(end == PST_LINK_OUT ? &link->sending.way : &link->receiving.way) = way;
}

void pst_link_way_end(struct run *run, uint64_t move)
{
    for (uint32_t n = 0; n < run->site->node_count; n++) {
        struct link *link = run->links[n];
        if (link != NULL && link->sending.way != NULL && link->sending.way->move == move)
            sending_end(link);
        if (link != NULL && link->receiving.way != NULL && link->receiving.way->move == move)
            receiving_end(link);
    }
}

int pst_link_need(struct run *run, uint32_t far_node)
{
    int rc = run->links[far_node] != NULL ? PST_OK : link_new(run, far_node);
    struct link *link = run->links[far_node];
    if (rc == PST_OK && link->message == NULL) {
        link->message = pst_malloc(link->message_bytes);
        rc = link->message != NULL ? PST_OK : PST_ENOMEM;
    }
    if (rc == PST_OK)
        link->needed = true;
    return rc;
}

static int on_chunk(struct link *link, const struct pst_wire_head *head, const void *bytes, size_t byte_count)
{
    struct receiving *in = &link->receiving;
    struct pst_wire_chunk chunk;
    int rc = pst_wire_chunk_read(bytes, byte_count, &chunk);
    if (rc != PST_OK)
        return rc;
    if (in->way == NULL || in->way->move != head->move || chunk.parcel <= in->whole_count)
        return PST_OK; /* of a move that was given up, or sent again */
    if (chunk.index == 0) {
        size_t room = (size_t)(chunk.count < RESERVED_MAX ? chunk.count : RESERVED_MAX) * CHUNK_BYTES;
        pst_blob_free(link->run, in->blob);
        in->chunk_count = 0;
        in->blob = pst_blob_new(link->run, room);
        if (in->blob == NULL)
            return PST_ENOMEM;
        in->blob->t = chunk.t;
        in->blob->number = chunk.parcel;
    }
    if (in->blob == NULL || chunk.parcel != in->whole_count + 1 || chunk.index != in->chunk_count ||
        chunk.count > CHUNKS_MAX || chunk.t != in->blob->t)
        return PST_EDATA;
    rc = pst_text_add(&in->blob->bytes, chunk.bytes, chunk.byte_count);
    if (rc != PST_OK || ++in->chunk_count < chunk.count)
        return rc;
    if (!pst_way_put(link->run, in->way, in->blob))
        return PST_EDATA; /* more than it may send */
    in->blob = NULL;
    in->whole_count++;
    return PST_OK;
}

/* The lane has taken in all up to this one. */
static int on_chunk_ack(struct link *link, const struct pst_wire_head *head, const void *bytes, size_t byte_count)
{
    struct sending *out = &link->sending;
    uint32_t parcel, cost;
    int rc = pst_wire_chunk_ack_read(bytes, byte_count, &parcel, &cost);
    if (rc != PST_OK || out->way == NULL || out->way->move != head->move)
        return rc;
    if (parcel > out->whole_number)
        return PST_EDATA;
    atomic_store_explicit(&out->way->cost, cost, memory_order_relaxed);
    while (out->kept_count != 0 && out->kept[0]->number <= parcel) {
        struct blob *blob = out->kept[0];
        memmove(&out->kept[0], &out->kept[1], --out->kept_count * sizeof(struct blob *));
        if (out->sent_count != 0)
            out->sent_count--;
        else
            out->chunk_count = 0; /* it was being sent again, and had come */
        pst_way_arrived(link->run, out->way, blob);
        pst_blob_free(link->run, blob);
    }
    return PST_OK;
}

static int ack_send(struct link *link, uint64_t move, uint32_t parcel, uint32_t cost)
{
    struct pst_wire_head head = head_of(link, NULL, 0);
    size_t bytes = 0;
    head.move = move;
    int rc = pst_wire_chunk_ack_write(&head, parcel, cost, link->message, link->message_bytes, &bytes);
    rc = message_send(link, rc, bytes);
    if (rc == PST_OK) {
        link->receiving.told = parcel;
        link->receiving.cost_told = cost;
    }
    return rc;
}

/* The next chunk; *ret_any stays where there is none. */
static int chunk_send(struct link *link, bool *ret_any)
{
    struct sending *out = &link->sending;
    if (out->sent_count == out->kept_count) {
        struct blob *blob = out->kept_count < WAY_PARCELS ? pst_way_take(out->way) : NULL;
        if (blob == NULL)
            return PST_OK;
        out->kept[out->kept_count++] = blob;
    }
    const struct blob *blob = out->kept[out->sent_count];
    size_t from = (size_t)out->chunk_count * CHUNK_BYTES, left = blob->bytes.count - from, bytes = 0;
    struct pst_wire_head head = head_of(link, NULL, 0);
    struct pst_wire_chunk chunk = {.t = blob->t,
                                   .parcel = blob->number,
                                   .index = out->chunk_count,
                                   .count = (uint32_t)((blob->bytes.count + CHUNK_BYTES - 1) / CHUNK_BYTES),
                                   .byte_count = (uint32_t)(left < CHUNK_BYTES ? left : CHUNK_BYTES),
                                   .bytes = blob->bytes.bytes + from};
    head.move = out->way->move;
    const struct pst_world *world = link->run->world;
    int rc = pst_wire_chunk_head_write(&head, &chunk, link->message, link->message_bytes, &bytes);
    if (rc == PST_OK)
        rc = world->net_send_parts(world->self, link->conn, link->message, bytes, chunk.bytes, chunk.byte_count);
    if (rc != PST_OK)
        return rc;
    pst_count(&link->sent_bytes, bytes + chunk.byte_count);
    *ret_any = true;
    if (++out->chunk_count == chunk.count) {
        out->chunk_count = 0;
        out->sent_count++;
        out->whole_number = blob->number > out->whole_number ? blob->number : out->whole_number;
    }
    return PST_OK;
}

/* One chunk a step, when channels have had their turn. */
static int parcel_send(struct link *link, bool *ret_any)
{
    const struct receiving *in = &link->receiving;
    int rc = PST_OK;
    if (in->way != NULL) {
        uint32_t arrived = atomic_load_explicit(&in->way->arrived, memory_order_acquire);
        uint32_t cost = arrived != 0 ? atomic_load_explicit(&in->way->cost, memory_order_relaxed) : 0;
        if (arrived != in->told || cost != in->cost_told)
            rc = ack_send(link, in->way->move, arrived, cost);
    }
    return rc == PST_OK && link->sending.way != NULL ? chunk_send(link, ret_any) : rc;
}

/* ---- in ---- */

/* The other side has all frames up to `number`; `frame_count` more may follow. */
static int acknowledged(struct far *far, uint64_t number)
{
    if (number < far->acked)
        return PST_OK; /* said before */
    if (number > far->kept_end + far->ended)
        return PST_EDATA;
    for (; far->acked < number && far->kept_first != NULL; far->acked++) {
        struct frame *frame = far->kept_first;
        if (frame == far->next) { /* it was about to be sent again, and had come */
            far->next = frame->next;
            far->sent++;
        }
        far->kept_first = frame->next;
        if (far->kept_first == NULL)
            far->kept_last = NULL;
        frame->next = NULL;
        pst_channel_recycle(far->channel, frame);
    }
    far->acked = number;
    return PST_OK;
}

static int on_resume(struct far *far, const struct pst_wire_head *head, const void *bytes, size_t byte_count)
{
    uint64_t number;
    int rc = pst_wire_resume_read(bytes, byte_count, &number);
    if (rc != PST_OK || number > far->kept_end)
        return PST_EDATA;
    far->next = NULL; /* any that is kept may go; those behind `number` are sent again */
    rc = acknowledged(far, number);
    if (far->acked > number && number != far->kept_end)
        return PST_EDATA; /* it has taken more, and be it the end alone */
    far->next = far->kept_first;
    far->sent = number;
    if (far->allowed == 0) /* else it holds what was granted: much of what has come may not have been taken */
        far->allowed = LINK_FRAMES;
    far->narrow = head->move >= 2;
    far->resumed = true;
    return rc;
}

static int on_grant(struct far *far, const void *bytes, size_t byte_count)
{
    struct pst_wire_grant grant;
    int rc = pst_wire_grant_read(bytes, byte_count, &grant);
    if (rc == PST_OK)
        rc = acknowledged(far, grant.taken);
    if (rc == PST_OK && grant.taken + grant.frame_count > far->allowed)
        far->allowed = grant.taken + grant.frame_count;
    return rc;
}

static int on_frame(struct link *link, struct far *far, const struct pst_wire_head *head, const void *bytes,
                    size_t byte_count)
{
    struct channel *channel = far->channel;
    if (head->number <= far->received)
        return PST_OK; /* sent again */
    if (head->number != far->received + 1 || (head->version != 1 && head->version > link->run->frame_version))
        return PST_EDATA;
    struct frame *frame = pst_channel_open_frame(channel);
    if (frame == NULL)
        return PST_ENOMEM;
    struct pst_wire_columns columns = {.time = frame->time,
                                       .hash = frame->hash,
                                       .bucket = frame->bucket,
                                       .producer = frame->producer,
                                       .number = frame->number,
                                       .columns = frame->columns};
    int64_t watermark;
    uint32_t rows = 0;
    int rc = pst_wire_frame_read(bytes, byte_count, &far->shape, &columns, channel->frame_rows, link->scratch,
                                 link->scratch_bytes, &rows, &watermark);
    if (rc != PST_OK)
        return rc;
    frame->row_count = rows;
    far->received++;
    far->watermark = watermark > far->watermark ? watermark : far->watermark;
    pst_channel_pend(channel); /* frame by frame, as they are acknowledged */
    pst_channel_flush(channel);
    return PST_OK;
}

/* The whole input's end is told with the first time that may lie beyond it: no source may lead here, or say its end later. */
static int on_time_of(struct run *run, struct far *far, const struct pst_wire_head *head, const void *bytes,
                      size_t byte_count)
{
    int64_t watermark = INT64_MIN;
    uint8_t end = END_NOT;
    int rc = head->kind == PST_WIRE_END ? pst_wire_end_read(bytes, byte_count, &end)
                                        : pst_wire_watermark_read(bytes, byte_count, &watermark);
    if (rc != PST_OK)
        return rc;
    if (head->number != far->received + 1)
        return head->number <= far->received ? PST_OK : PST_EDATA;
    if (head->move != 0 && !far->source)
        pst_raise(&run->whole_end, (int64_t)head->move);
    far->watermark = watermark > far->watermark ? watermark : far->watermark;
    far->end = far->end == END_NOT ? (enum end)end : far->end;
    return PST_OK;
}

static int on_cut(struct link *link, const void *bytes, size_t byte_count)
{
    struct pst_wire_cut cut;
    int rc = pst_wire_cut_read(bytes, byte_count, &cut);
    if (rc != PST_OK || cut.checkpoint <= link->cut_heard)
        return rc;
    for (uint32_t i = 0; i < link->far_count && !pst_checkpoint_several(link->run); i++)
        if (!link->fars[i]->out && link->fars[i]->watermark >= cut.time)
            return PST_EDATA; /* C1: it comes too late */
    link->cut_heard = cut.checkpoint;
    return pst_checkpoint_heard(link->run, &(struct cut){cut.checkpoint, cut.complete, cut.time}, link->worker);
}

static int on_message(struct link *link, const void *bytes, size_t byte_count, bool *ret_copied)
{
    struct run *run = link->run;
    struct pst_wire_head head;
    int rc = pst_wire_head_read(bytes, byte_count, &head);
    if (rc != PST_OK)
        return rc;
    if (head.incarnation != run->site->incarnation && !PST_PLANTED(NO_EPOCH))
        return PST_OK; /* of a run that is no more */
    if (head.kind == PST_WIRE_CUT)
        return on_cut(link, bytes, byte_count);
    *ret_copied = head.kind == PST_WIRE_CHUNK || head.kind == PST_WIRE_CHUNK_ACK;
    if (head.kind == PST_WIRE_CHUNK)
        return on_chunk(link, &head, bytes, byte_count);
    if (head.kind == PST_WIRE_CHUNK_ACK)
        return on_chunk_ack(link, &head, bytes, byte_count);
    struct far *far = far_find(run, head.channel);
    bool to_producer = head.kind == PST_WIRE_RESUME || head.kind == PST_WIRE_GRANT;
    if (far == NULL || (far->epoch != head.owner_epoch && !PST_PLANTED(NO_EPOCH)))
        return PST_OK; /* of a lane that is not there yet, or no more */
    if (head.kind == PST_WIRE_RESUME && !far->out) {
        far->resumed = false; /* its producer has come later, and asks how far this side is */
        return PST_OK;
    }
    if (far->out != to_producer)
        return PST_EDATA;
    switch (head.kind) {
    case PST_WIRE_RESUME:
        return on_resume(far, &head, bytes, byte_count);
    case PST_WIRE_GRANT:
        return on_grant(far, bytes, byte_count);
    case PST_WIRE_FRAME:
        return on_frame(link, far, &head, bytes, byte_count);
    case PST_WIRE_WATERMARK:
    case PST_WIRE_END:
        return on_time_of(run, far, &head, bytes, byte_count);
    default:
        return PST_EDATA;
    }
}

/* What is here goes on to the partition, then what it says about time: E2. */
static int hand_over(struct link *link, struct far *far)
{
    struct channel *channel = far->channel;
    struct run *run = link->run;
    if (pst_channel_pending(channel))
        pst_channel_flush(channel);
    uint64_t taken = far->received - channel->pending_count;
    if (channel->pending_count == 0) {
        pst_channel_watermark(channel, far->watermark);
        if (far->end != END_NOT && atomic_load_explicit(&channel->ended, memory_order_relaxed) == END_NOT) {
            if (far->source)
                pst_raise(&run->input_end, far->watermark);
            atomic_store_explicit(&channel->ended, far->end, memory_order_release);
            pst_wake_later(run, channel->producer_worker, channel->consumer_worker);
        }
        taken += far->end != END_NOT;
    }
    if (link->state != LINK_UP)
        return PST_OK;
    int rc = far->resumed ? PST_OK : resume_send(link, far);
    bool worth = taken >= far->taken_told + LINK_FRAMES / 2 || (taken > far->taken_told && far->end != END_NOT);
    return rc == PST_OK && worth ? grant_send(link, far, taken) : rc;
}

static void link_failed(struct link *link, int rc)
{
    struct run *run = link->run;
    why_keep(link,
             rc == PST_EIO || rc == PST_ESTOPPED || rc == PST_EREFUSED ? pst_system_error() : pst_error_sentence(rc));
    if (rc == PST_EDATA || rc == PST_EABI || rc == PST_EFULL)
        pst_run_fail(run, PST_EDATA, "node %s sent what does not belong here: %s", run->site->name[link->peer],
                     pst_error_sentence(rc));
    else if (rc == PST_ENOMEM)
        pst_run_fail(run, rc, "link to node %s: %s", run->site->name[link->peer], pst_error_sentence(rc));
    conn_drop(link);
    if (link->dials)
        (void)run->world->alarm(run->world->self, run->worker_base + link->worker, link->retry_ns);
}

bool pst_link_receive(struct link *link, bool *ret_copied)
{
    const struct pst_world *world = link->run->world;
    bool any = false;
    int rc = PST_OK;
    if (conn_bring_up(link)) {
        size_t taken = 0;
        for (uint32_t i = 0; i < LINK_MESSAGES_A_STEP && taken < LINK_BYTES_A_STEP && rc == PST_OK; i++) {
            const void *bytes;
            size_t byte_count = 0;
            bool copied = false;
            rc = world->net_receive(world->self, link->conn, &bytes, &byte_count);
            if (rc == PST_OK) {
                pst_count(&link->received_bytes, byte_count);
                link->wait_ns = RETRY_NS_MIN;
                atomic_store_explicit(&link->silent_ns, 0, memory_order_relaxed);
                rc = on_message(link, bytes, byte_count, &copied);
            }
            any |= rc == PST_OK && !copied;
            *ret_copied |= rc == PST_OK && copied;
            taken += byte_count;
        }
    }
    rc = rc == PST_EAGAIN ? PST_OK : rc;
    for (uint32_t i = 0; i < link->far_count && rc == PST_OK; i++)
        if (!link->fars[i]->out)
            rc = hand_over(link, link->fars[i]);
    if (rc != PST_OK && rc != PST_EAGAIN)
        link_failed(link, rc);
    return any;
}

/* ---- out ---- */

static int frame_send(struct link *link, struct far *far, int64_t watermark)
{
    const struct frame *frame = far->next;
    struct pst_wire_head head = head_of(link, far, far->sent + 1);
    struct pst_wire_columns columns = {.time = frame->time,
                                       .hash = frame->hash,
                                       .bucket = frame->bucket,
                                       .producer = frame->producer,
                                       .number = frame->number,
                                       .columns = frame->columns};
    size_t bytes = 0;
    int rc = far->narrow ? pst_wire_frame_narrow(&head, &far->shape, &columns, frame->row_count, watermark,
                                                 link->message, link->message_bytes, &bytes)
                         : pst_wire_frame_write(&head, &far->shape, &columns, frame->row_count, watermark, NULL, 0,
                                                link->message, link->message_bytes, &bytes);
    if (rc == PST_EINVAL) /* made anew, the connection would take it no more than this one */
        pst_run_fail(
            link->run, PST_EINTERNAL,
            "operator %s has put out rows that no node takes: a text is longer than its cell, or their times fall",
            link->run->graph->nodes[far->channel->producer_index].id);
    rc = message_send(link, rc, bytes);
    if (rc == PST_OK) {
        far->sent++;
        far->next = frame->next;
        if (PST_PLANTED(EARLY_TRIM))
            (void)acknowledged(far, far->sent);
    }
    return rc;
}

/* The next frame of the ring, kept from now on. */
static bool frame_take(struct far *far)
{
    struct channel *channel = far->channel;
    if (far->kept_end >= far->allowed || pst_channel_head(channel) == NULL)
        return false;
    struct frame *frame = pst_channel_take(channel);
    *(far->kept_last != NULL ? &far->kept_last->next : &far->kept_first) = frame;
    far->kept_last = far->next = frame;
    far->kept_end++;
    return true;
}

static int time_send(struct link *link, struct far *far, int64_t watermark, enum end end)
{
    struct pst_wire_head head = head_of(link, far, far->sent + 1);
    int64_t whole_end = atomic_load_explicit(&link->run->whole_end, memory_order_relaxed);
    size_t bytes = 0;
    int rc = PST_OK;
    head.move = whole_end != INT64_MIN && !far->source ? (uint64_t)whole_end : 0;
    if (watermark > far->watermark_told) {
        rc = pst_wire_watermark_write(&head, watermark, link->message, link->message_bytes, &bytes);
        rc = message_send(link, rc, bytes);
        far->watermark_told = rc == PST_OK ? watermark : far->watermark_told;
    }
    if (rc == PST_OK && end != END_NOT && far->end_told == END_NOT) {
        rc = pst_wire_end_write(&head, (uint8_t)end, link->message, link->message_bytes, &bytes);
        rc = message_send(link, rc, bytes);
        far->end_told = rc == PST_OK ? end : END_NOT;
        far->ended |= rc == PST_OK;
    }
    return rc;
}

/* C1, over there: a cut goes out before any row or watermark at or above it. So this comes between whatever is taken or read, and its
 * sending. */
static int cut_send(struct link *link)
{
    uint64_t announced = pst_checkpoint_announced(link->run);
    if (announced == 0 || announced == link->cut_told)
        return PST_OK;
    struct pst_wire_head head = head_of(link, NULL, 0);
    struct cut said = pst_checkpoint_said(link->run);
    if (said.complete == said.id) { /* all nodes have had it */
        link->cut_told = said.id;
        return PST_OK;
    }
    struct pst_wire_cut cut = {.checkpoint = said.id, .complete = said.complete, .time = said.time};
    size_t bytes = 0;
    int rc = pst_wire_cut_write(&head, &cut, link->message, link->message_bytes, &bytes);
    rc = message_send(link, rc, bytes);
    link->cut_told = rc == PST_OK ? said.id : link->cut_told;
    return rc;
}

/* A ring that never runs empty must not keep time back: a watermark holds as soon as what stood in the ring before it has been sent. */
static int promised_send(struct link *link, struct far *far)
{
    if (far->sent < far->behind || far->promised <= far->watermark_told)
        return PST_OK;
    int rc = cut_send(link);
    return rc == PST_OK ? time_send(link, far, far->promised, END_NOT) : rc;
}

static int far_send(struct link *link, struct far *far, bool *ret_any)
{
    struct channel *channel = far->channel;
    const struct input *input = &link->run->input;
    /* as a partition reads them: the end, the watermark, then the ring */
    enum end end = pst_channel_read_end(channel, input);
    int64_t watermark = pst_channel_read_watermark(channel, input);
    int rc = promised_send(link, far);
    if (rc == PST_OK && far->sent >= far->behind) {
        far->promised = watermark;
        far->behind = far->kept_end + pst_channel_ready(channel);
    }
    while (rc == PST_OK && (far->next != NULL ? far->sent < far->allowed : frame_take(far))) {
        rc = cut_send(link);
        if (rc == PST_OK)
            rc = frame_send(link, far, INT64_MIN);
        *ret_any |= rc == PST_OK;
        if (rc == PST_OK)
            rc = promised_send(link, far);
    }
    bool drained = rc == PST_OK && far->next == NULL && pst_channel_head(channel) == NULL;
    rc = drained ? cut_send(link) : rc;
    return drained && rc == PST_OK ? time_send(link, far, watermark, end) : rc;
}

bool pst_link_send(struct link *link, bool *ret_copied)
{
    bool any = false;
    int rc = PST_OK;
    for (uint32_t i = 0; i < link->far_count && link->state == LINK_UP && rc == PST_OK; i++) {
        struct far *far = link->fars[(link->first + i) % link->far_count];
        if (far->out && far->resumed)
            rc = far_send(link, far, &any);
        else if (far->out && far->later && !far->asked)
            rc = resume_send(link, far);
    }
    link->first++;
    if (rc == PST_OK && link->state == LINK_UP)
        rc = parcel_send(link, ret_copied);
    if (rc != PST_OK && rc != PST_EAGAIN)
        link_failed(link, rc);
    return any;
}

bool pst_link_finished(const struct link *link)
{
    if (atomic_load_explicit(&link->peer_ended, memory_order_acquire))
        return true;
    for (uint32_t i = 0; i < link->far_count; i++) {
        const struct far *far = link->fars[i];
        if (far->out ? far->acked <= far->kept_end : !far->end_granted)
            return false;
    }
    return true;
}
