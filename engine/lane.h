/* engine/lane.h - buckets of a running operator go to another partition while the stream runs: what docs/cluster.md calls giver, lane,
 * upstream and downstream, as far as a run is concerned. Inside the room: nobody else includes it.
 *
 * The keeper decides what happens when; here is how. While workers stand still (pst_run_hold()) the keeper changes what they work on:
 * instances, channels, routes. What has to happen at an epoch's end the worker of the partition does in its step: it looks at what the
 * keeper has asked for, and says in the same struct what came of it.
 *
 * Thread:   pst_lane_...(): the keeper, while all workers of the run stand still. pst_partition_...(): the instance's worker.
 * Holds true:
 *   M1  a row goes to the lane from when its producer has said so; to the giver as before, until it is released
 *   M2  a bucket's image is taken when the open epoch has had no row, so it is the state at `now`, though it may go in parts, while rows
 *       are served between; the lane gives the bucket no row, timer or end of an epoch below that, and every one from there on, and none
 *       before all parts are in
 *   M3  what a lane puts out stays with it until it is an owner, then only what is at or above the cut goes out
 *   M4  downstream a row of (bucket, number) is taken once while two may send it, or three, where the giver has a replica
 *   M5  a lane holds nobody up before its bounds are reached: of what waits for it, and of what it keeps. Then it stands still, who sends
 *       to it waits, and the keeper gives the move up if that can still be; nothing is ever left out, for it may be decided
 */
#ifndef PST_LANE_H
#define PST_LANE_H

#include "engine/runtime.h"
#include "state/image.h"

#define LANE_BYTES_MAX (UINT64_C(256) << 20)
/* What the giver does in one step: about a millisecond's work. */
#define TURN_BYTES_MAX (UINT64_C(1) << 20)
/* A parcel ends where it has passed this; so it is longer by one page at most, or by one bucket where buckets are not to go in parts. It is
 * what the lane does in one step. */
#define PARCEL_BYTES_MAX (UINT64_C(512) << 10)
#define PARCEL_BYTES_INSIDE (UINT64_C(1) << 20) /* of operators in enclaves, whose workers seal it meanwhile */
/* Images that are taken and not in parcels yet, so that there is something to be packed until the next end of an epoch: no more is taken
 * where so much is. Of pages of them that rows change there are copies. */
#define AHEAD_BYTES_MAX (UINT64_C(16) << 20)
enum { AHEAD_BUCKETS_MAX = 64 };
/* Parcels that are made and not yet in the lane: enough that neither side waits for the other to begin. No more is taken beyond it. */
#define WAY_BYTES_MAX (UINT64_C(16) << 20)
enum { WAY_PARCELS = 16 }; /* a power of two; one less fit */
/* Joining may cost the operator a look at all of it (scratch that is made again) in one call at the next end of an epoch. So many buckets
 * join at one time that this takes no longer; at first so many bytes as a turn gives. */
#define JOIN_NS_MAX (UINT64_C(10) * 1000 * 1000)
/* So much longer than what joins at one time takes, the giver leaves the lane's worker to others; never longer than that. */
enum { REST_TIMES = 4 };
#define REST_NS_MAX (UINT64_C(1) * 1000 * 1000 * 1000)
/* What joining costs is in microseconds a MiB, + 1; 0: not known. Less than JOIN_BYTES_MIN says nothing of it: the call that it is measured
 * by does what the operator has to do anyway. */
#define JOIN_COST_MAX (UINT32_C(16) * 1000 * 1000)
#define JOIN_BYTES_MIN (UINT64_C(64) << 10)

/* Once so many bytes have joined in a call of `ns`. It falls slowly: that time there may have been little to do. */
static inline uint32_t pst_join_cost(uint32_t before, uint64_t ns, uint64_t bytes)
{
    uint64_t floor = before - before / 4, us = ns / 1000 < UINT32_MAX ? ns / 1000 : UINT32_MAX;
    if (bytes < JOIN_BYTES_MIN)
        return before;
    uint64_t cost = (us << 20) / bytes + 1;
    cost = cost > floor ? cost : floor;
    return (uint32_t)(cost < JOIN_COST_MAX ? cost : JOIN_COST_MAX);
}

/* What the lane will need for so many bytes; a cost that another node has said may be anything. */
static inline uint64_t pst_join_ns(uint32_t cost, uint64_t bytes)
{
    uint64_t each = cost < JOIN_COST_MAX ? cost : JOIN_COST_MAX, kib = bytes >> 10;
    kib = kib < UINT32_MAX ? kib : UINT32_MAX; /* 4 TiB: the product is below 2^64 */
    return cost == 0 ? 0 : ((each - 1) * kib >> 10) * 1000;
}

/* So long the giver rests behind them. */
static inline uint64_t pst_join_rest_ns(uint32_t cost, uint64_t bytes)
{
    uint64_t ns = pst_join_ns(cost, bytes);
    return ns < REST_NS_MAX / REST_TIMES ? ns * REST_TIMES : REST_NS_MAX;
}
/* Both sides work for the move when their worker has nothing else to do; where that does not come, after so much longer than they last did. */
enum { BUSY_TIMES = 8 };
/* While the giver stays at the end of an epoch to hand more over: rows of the next one that may wait, some milliseconds' work. */
#define STAND_ROWS_MAX UINT64_C(16384)
/* When all images are taken: how long digests wait for the next end of an epoch. Then the move goes on without. */
#define DIGEST_WAIT_NS (UINT64_C(2) * 1000 * 1000 * 1000)

/* ---- standing still (run.c) ---- */
void pst_run_hold(struct run *run); /* asks for it; the keeper is woken when it is so */
static inline bool pst_run_held(const struct run *run)
{
    return atomic_load_explicit(&run->held_count, memory_order_acquire) == run->worker_count;
}
void pst_run_release(struct run *run);

/* ---- a move, as every node of the graph knows it ---- */
/* What becomes of the replica that the giver has, where it has one (MoveStep.replica). NONE: it has gone before the move. */
enum replica_then { REPLICA_NONE, REPLICA_FOLLOWS, REPLICA_ENDS, REPLICA_KINDS };
struct move {
    uint64_t id;
    uint32_t operator_index, from, to, to_node; /* partitions; a node of the site */
    const uint32_t *buckets;                    /* ascending */
    uint32_t bucket_count;
    int64_t cut; /* once it is decided */
    /* A partition of that node of which the lane will be a part, in the end; NO_PARTITION: it stays one by itself. Its state is there
     * from the beginning: a join copies nothing. */
    uint32_t into;
    bool copies; /* the lane becomes a replica of `from`, which goes on as it is: no bucket has another owner */
    enum replica_then
        replica;   /* FOLLOWS: of a whole partition: it is the lane's from the release on; ENDS: it is no more then */
    uint32_t copy; /* the giver's replica, when it was prepared; NO_TWIN: it had none */
    bool more;     /* another portion follows: memory of parcels is kept for it */
    bool whole;    /* the lane's node takes no bucket in parts: it is of an earlier version */
};
#define NO_PARTITION UINT32_MAX

/* ---- parcels: images of some buckets, and digests of some ---- */
struct parcel { /* what one is made of */
    const uint32_t *digests, *buckets;
    const uint64_t *values; /* of the digests; NULL: as they are now */
    uint32_t digest_count, bucket_count;
    bool last;
};

/* Of whoever makes them: a bucket whose image is taken, at t. All of its pages, or the last ones, will be in the next parcels, as they were. */
struct packing {
    uint32_t bucket, log_count;
    int64_t t, timer;
    uint64_t number, bytes;        /* bytes: that are not packed, mostly */
    bool parts;                    /* some of it is packed */
    struct pst_snapshot *snapshot; /* NULL: there is no state */
    struct pst_image_log *logs;    /* NULL: none */
};
struct packings { /* in their order, from `first` on; all zero: none */
    struct packing of[AHEAD_BUCKETS_MAX];
    uint32_t first, count;
    uint64_t bytes; /* of what is not packed */
};
/* At the end of an epoch, behind those that there are; there is room for it. `bytes` of images. PST_ENOMEM: it has not begun. */
int pst_packing_begin(struct pst_ctx *ctx, uint32_t bucket, uint64_t bytes, struct packings *packings);
void pst_packings_free(struct packings *packings); /* all of them */
static inline const struct packing *pst_packing(const struct packings *packings, uint32_t i)
{
    return &packings->of[(packings->first + i) % AHEAD_BUCKETS_MAX];
}

struct blob { /* and as bytes, at one moment. lane_copy.c has the layout */
    int64_t t;
    uint32_t number; /* of the parcel in its move, from 1 */
    struct pst_text bytes;
};

/* From the giver to the lane, or to the link that leads there; and over there from the link to the lane. One puts in, one takes out. */
struct way {
    uint64_t move;
    uint32_t giver_worker, taker_worker; /* of this run: who is woken when room is made, when something comes */
    ck_ring_t ring;
    ck_ring_buffer_t buffer[WAY_PARCELS];
    _Atomic uint32_t arrived;       /* the number of the last parcel that is in the lane, and freed */
    _Atomic uint64_t bytes_arrived; /* of all up to it */
    _Atomic uint32_t cost;          /* of their joining: see JOIN_COST_MAX */
};
void pst_way_init(struct way *way, uint64_t move, uint32_t giver_worker, uint32_t taker_worker);
/* False: there is no room, the blob is still the caller's. */
bool pst_way_put(struct run *run, struct way *way, struct blob *blob);
struct blob *pst_way_take(struct way *way); /* the caller's; NULL: none */
void pst_way_arrived(struct run *run, struct way *way, const struct blob *blob);
void pst_way_empty(struct run *run, struct way *way); /* frees what is in it. NULL is nothing */
/* With room for so many bytes; NULL: no memory. Some that are freed are kept for the next ones while the move lasts: fresh memory is
 * cleared page by page, which takes longer than what is copied into it. By any thread. */
struct blob *pst_blob_new(struct run *run, size_t byte_count);
void pst_blob_free(struct run *run, struct blob *blob); /* NULL is nothing */
void pst_blobs_forget(struct run *run);

enum lane_state { LANE_WAITING = 1, LANE_FAILED, LANE_INSTALLED, LANE_SERVING };
enum lane_has {
    LANE_NOTHING,
    LANE_WANTS,
    LANE_HAS,
    LANE_JOINED
}; /* HAS: its state is of a time that the lane has not reached */
enum lane_mistake { LANE_CORRECT, LANE_TAKES_TWICE, LANE_LOSES_ONE, LANE_LOST_ONE }; /* planted by tests: M2 */

struct pace {         /* of what a side does for the move */
    uint32_t rests;   /* of its worker, as it was done */
    uint64_t rest_ns; /* until when it has to be there, at most */
};

struct lane_digest {
    uint32_t bucket;
    uint64_t digest;
};
struct
    lane { /* the taker's. Written by its worker, but for what others put on the way, and while workers stand still */
    _Atomic int state; /* enum lane_state */
    struct way way;
    uint8_t *of; /* by bucket: enum lane_has */
    uint32_t wanted_count;
    /* the parcel that is in */
    bool stops, last; /* stops: its time, `t`, is not reached yet */
    int64_t t;
    uint32_t *joining; /* at `t` */
    uint32_t joining_count;
    bool
        goes_on; /* the next parcel begins with more of bucket `open`, of which some is in; what is joining waits for that */
    uint32_t open;
    struct lane_digest *digests; /* of the giver, at `t` */
    uint32_t digest_count, compared_count;
    uint64_t joined_bytes; /* since the last on_time() */
    struct pace pace;
    int64_t from;               /* INSTALLED: from here on it has all that its buckets put out */
    int64_t cut;                /* SERVING: what is below it the giver puts out */
    uint64_t *first;            /* by bucket, from INSTALLED on: rows of a lower number it has not put out */
    atomic_bool overflow;       /* M5 */
    int error;                  /* FAILED: why */
    char why[CTX_BEGINS_BYTES]; /* and while it is made: why it cannot be */
    enum lane_mistake mistake;
};

struct giving { /* the giver's */
    const struct move *move;
    int64_t after; /* images are taken at ends of epochs that are not below it */
    struct way own_way, *way;
    /* Of the move's buckets, in their order: the image of so many is taken, so many are in parcels; the last one taken at taken_at. */
    uint32_t taken_count, imaged_count;
    int64_t taken_at;
    uint64_t at_bytes; /* taken at that time */
    struct pace pace;
    uint64_t handed_ns; /* a parcel, the last time: from then on others of the lane's worker have their turn */
    struct packings packings;
    uint64_t *digests; /* by place in the move's buckets, once `digested`: as they were at digested_at */
    bool digested;
    int64_t digested_at;
    bool whole;           /* the move's */
    uint32_t cost_before; /* as way.cost, of the move before; 0: there was none */
    uint32_t parcel_count;
    uint64_t bytes_put, late_ns;              /* late: when digests are not waited for any more */
    _Atomic uint64_t bytes_done, bytes_total; /* of images. For whoever wants to know */
    _Atomic uint64_t pause_ns_max;            /* of a step, for images and digests */
    struct parcel parcel; /* that its enclave's worker seals, since then: so many bytes of images are in it */
    uint64_t parcel_bytes, parcel_ns;
    bool stop; /* it is an owner no more from the first end of an epoch at or above `cut` on */
    int64_t cut, stopped_at;
    uint64_t
        *numbers; /* by place in the move's buckets, once stopped or ended: rows of a lower number it has put out */
    atomic_bool given, stopped,
        ended; /* given: all of it is on the way. ended: before it has come to the one or the other */
    int error;
    char why[200]; /* of it; "": its own sentence */
    bool compared; /* once given: digests of all buckets went with the last parcel */
};

/* The lane and the partition that it joins. Of one worker, which alone touches it but for `done`. Whoever comes to `at` first stands
 * still there: what is sent to all partitions is a part of every bucket's past, so their times must be one. Then the lane's buckets and
 * its channels are those of `into`; the lane puts out nothing any more, and promises in its channels what `into` promises. */
struct join {
    struct pst_ctx *lane, *into;
    int64_t at;       /* an end of an epoch; while it is not `agreed`: not before */
    bool agreed;      /* `at` is ahead of both */
    bool joined;      /* false when done: one of them has come to its end before */
    int phase;        /* of workers in enclaves: enum join_phase */
    atomic_bool done; /* the keeper is told */
};

struct branch { /* of a route: rows of these buckets go to a lane, too */
    const struct move *move;
    uint8_t *wanted; /* by bucket */
    struct channel *channel;
};

struct taken {     /* of a producer's bucket */
    uint64_t next; /* the number above the highest that was taken at or above the cut */
    int64_t
        cut; /* below it the lane puts out nothing; the giver does, be it after what the lane has put out above it */
    uint64_t below; /* as `next`, of rows below the cut: the giver and its replica both put them out */
    /* Each of the two sends rows in the order of their numbers and leaves none out, so these say what has come before: from the commit on,
     * the lowest number that has come from the lane, and the numbers above the highest from each. */
    uint64_t lane_first, lane_next, giver_next;
    uint64_t lost; /* rows that were not taken, and had not come before */
    uint32_t lane; /* its partition */
};

struct filter { /* of what comes to an instance */
    /* Nothing below it. Of two replicas only one may be past it: the other one may have sent to a lane from an earlier time on. */
    int64_t from;
    uint8_t *gone;             /* by bucket of the row: not its own any more; NULL: all are */
    struct taken **taken;      /* by input, then by producer's bucket; NULL: not looked at */
    struct taken **taken_room; /* kept for the next time; NULL: there was none */
    uint32_t open_moves;       /* `taken` is kept while there is one */
    uint8_t replicas; /* a bit for each input on which two replicas of a producer send, or have sent: there, too */
    int64_t level;    /* of these one has gone: what of its rows was delivered before is below it */
};
/* The instance's, made where there was none; NULL: no memory. */
struct filter *pst_filter_of(struct pst_ctx *ctx);

/* From now on downstream counts what it takes of every bucket, so that a row that comes twice is known: M4. PST_ENOMEM. */
int pst_taken_begin(struct run *run, struct pst_ctx *consumer);
int pst_taken_always(struct run *run, struct pst_ctx *consumer,
                     uint32_t input); /* the same on this input, for two replicas */
/* Makes what this node has of the move: branches of upstreams, the lane, channels that are on standby downstream. `enclave`: the lane's
 * worker, of an operator in enclaves, whatever becomes of it; else NULL. */
int pst_lane_open(struct run *run, const struct move *move, struct pst_enclave *enclave);
/* All of it goes again: the move was given up. */
void pst_lane_drop(struct run *run, const struct move *move);
/* From which event time on all rows of the buckets go both ways, as far as this node's producers are concerned. */
int64_t pst_lane_branched(const struct run *run, const struct move *move);
/* The giver is to hand over, where it is here. */
int pst_lane_copy(struct run *run, const struct move *move, int64_t after);
struct giving *pst_lane_giving(const struct run *run, const struct move *move); /* NULL: the giver is not here */
struct lane *pst_lane_of(const struct run *run, const struct move *move);       /* NULL: the lane is not here */
bool pst_lane_overflows(const struct run *run, const struct move *move);        /* M5, of what is here. At any time */
/* It is decided: on every node. Downstreams first, then the lane, then the giver: by three calls of the keeper. */
void pst_lane_commit_downstream(struct run *run, const struct move *move, int64_t cut);
void pst_lane_commit_taker(struct run *run, const struct move *move, int64_t cut);
void pst_lane_commit_giver(struct run *run, const struct move *move, int64_t cut);
/* Rows of the moved buckets that are lost, as far as this node can know it, once settled and before that is released. A row has a number
 * of its bucket, and what is sent comes (a link's messages are numbered, too), so these are all there are:
 *   - the taker knows which it did not put out, and is told what the giver did (giving->numbers): what lies between is lost;
 *   - a downstream throws away what it has taken from the other one: what that one has not sent is lost.
 * numbers: as many as the move's buckets; NULL: nobody has said them. False: it cannot be known here. */
bool pst_lane_lost(const struct run *run, const struct move *move, const uint64_t *numbers, uint64_t *ret_rows);
/* The giver has stopped: rows go one way, and what came twice has come. */
void pst_lane_release_upstream(struct run *run, const struct move *move);
void pst_lane_release_downstream(struct run *run, const struct move *move);
/* join.c: the lane becomes a part of another partition; where it is. PST_ENOMEM. */
int pst_lane_join(struct run *run, const struct move *move, int64_t at);
const struct join *pst_lane_joining(const struct run *run, const struct move *move); /* NULL: the lane is not here */
/* It has: its buckets' rows go there by themselves from now on. From which event time on, as far as this node is concerned. */
int64_t pst_lane_reroute(struct run *run, const struct move *move);
/* The lane's node has died once it was decided: the giver's replica owns what moved, and the giver nothing; where the replica follows. May be
 * said again. */
void pst_lane_dead(struct run *run, const struct move *move);
static inline bool pst_lane_is_dead(const struct run *run, const struct move *move)
{
    return run->site->node_of_partition[move->operator_index][move->to] == UINT16_MAX;
}
/* All that is below `until` has come to where it goes: nothing more comes in the lane's channels, and in those from it. */
bool pst_lane_drained(const struct run *run, const struct move *move, int64_t until);
/* Partitions of the move that own nothing any more are forgotten, with their channels: their numbers may be used again. */
void pst_lane_retire(struct run *run, const struct move *move);
/* What giver and lane have put out below `until` has come to all consumers on this node; INT64_MAX: all they ever will. */
bool pst_lane_settled(const struct run *run, const struct move *move, int64_t until);

/* ---- in a worker's step ---- */
/* Before rows of the open epoch are delivered. PST_OK, or why the run ends. */
int pst_partition_turn(struct pst_ctx *ctx, bool *ret_any);
/* A turn's worth of what is not its own any more is forgotten; true: it was. */
bool pst_partition_wipe(struct pst_ctx *ctx);
void pst_giver_done(struct pst_ctx *ctx); /* it puts out nothing more of the move's buckets: says up to where it did */
void pst_lane_keeps_back(struct pst_ctx *ctx, const struct view *view); /* rows that are the giver's */
/* The giver hands over what there is room for; true: it did. */
bool pst_giver_copy(struct pst_ctx *ctx);
/* It has more to hand over here, where the open epoch has had no row; `closed`: it will have none beyond those that are here. */
bool pst_giver_stands(const struct pst_ctx *ctx, bool closed);
/* Of instances with workers in enclaves (enclave.h): what was asked for is answered. The blob is the giver's from now on. */
void pst_giver_handed(struct pst_ctx *ctx, struct blob *blob, int error, const char *why);
void pst_giver_fail(struct pst_ctx *ctx, int error, const char *why);
void pst_lane_arrived(struct pst_ctx *ctx, int error, const char *why);
void pst_lane_fail(struct pst_ctx *ctx, int error, const char *why);
/* What a parcel is made of, as bytes; its buckets are the first of `packings`, and go from there. When it has passed so many the last of
 * them stays, and goes on in the next one, which is made of that bucket alone. *ret_bytes: of pages. PST_ENOMEM, and the pager's errors. */
int pst_parcel_write(struct pst_ctx *ctx, const struct parcel *parcel, uint64_t bytes_max, struct packings *packings,
                     struct pst_text *bytes, uint64_t *ret_bytes);
/* Fuzzed: the bytes come from another node. PST_EDATA, PST_EABI, PST_ENOMEM: the lane is of no use. */
int pst_parcel_read(struct pst_ctx *ctx, const struct blob *blob);
/* Sums of an instance, while it gives or takes buckets: NULL without memory; in `arena`. begin: the bucket's image is taken; join: it is
 * the lane's, and whatever the lane took for it before counts, too. */
struct sums *pst_sums_new(struct pst_arena *arena, const struct pst_graph_node *node);
void pst_sums_begin(struct sums *sums, uint32_t bucket);
void pst_sums_join(struct sums *sums, uint32_t bucket);
void pst_sums_in(struct sums *sums, const struct edge *edge, const struct pst_rows *rows);
void pst_sums_out(struct sums *sums, uint32_t output_index, const struct output *output, uint32_t row_count);
/* At an epoch's end: the same on both sides of a move. */
uint64_t pst_bucket_digest(const struct pst_ctx *ctx, uint32_t bucket);
/* The lane takes the next parcel in, where it may; true: it did. */
bool pst_lane_take(struct pst_ctx *ctx);
void pst_lane_begin(struct pst_ctx *ctx, int64_t t); /* with its first one */
bool pst_lane_turn(struct pst_ctx *ctx); /* at an epoch's end: buckets join if it is their time; true: it was */
/* An on_time() has taken so long. */
void pst_lane_took(struct pst_ctx *ctx, uint64_t ns);
bool pst_lane_wants_row(struct pst_ctx *ctx, const struct edge *edge, const struct frame *frame, uint32_t row);
/* Of rows cursor .. end - 1 those of buckets that have not joined go; the others stand before `end`. The new cursor. */
uint32_t pst_lane_skip(struct pst_ctx *ctx, const struct edge *edge, struct frame *frame, uint32_t end);
void pst_filter_tidy(struct pst_ctx *ctx);                                         /* one that keeps nothing out goes */
void pst_frame_keep(const struct edge *edge, struct frame *frame, uint32_t first); /* rows below `first` go */
/* Takes out of a frame what is not wanted, behind what has been delivered of it. */
void pst_frame_filter(struct pst_ctx *ctx, const struct channel *channel, struct frame *frame);
static inline bool pst_is_muted(const struct pst_ctx *ctx)
{
    return ctx->lane != NULL && ctx->lane->state != LANE_SERVING;
}
/* What is put out now, the giver puts out: M3. */
static inline bool pst_is_the_givers(const struct pst_ctx *ctx)
{
    return ctx->lane != NULL && ctx->lane->state == LANE_SERVING && ctx->emit_time < ctx->lane->cut;
}
/* It has not all of its buckets yet: it works up to the time of the parcel that is in, and no further. */
static inline bool pst_lane_waits(const struct pst_ctx *ctx)
{
    return ctx->lane != NULL && ctx->lane->state <= LANE_FAILED;
}
/* join.c */
int pst_join_turn(struct pst_ctx *ctx);
void pst_join_ended(struct pst_ctx *ctx); /* it is at the end of its input */
static inline bool pst_stands(const struct pst_ctx *ctx)
{
    const struct join *join = ctx->join;
    return join != NULL && join->agreed && ctx->now >= join->at && !ctx->had_rows &&
           !atomic_load_explicit(&join->done, memory_order_relaxed);
}
/* No jump of time goes beyond it. */
static inline int64_t pst_join_limit(const struct pst_ctx *ctx)
{
    const struct join *join = ctx->join;
    return join != NULL && join->agreed && ctx->now < join->at ? join->at : INT64_MAX;
}
static inline bool pst_is_joined(const struct pst_ctx *ctx)
{
    return ctx->join != NULL && ctx->join->lane == ctx && ctx->join->joined;
}

/* Rows of the one operator come to the other, through operators without state or not. */
bool pst_leads_to(const struct pst_graph *graph, uint32_t node_index, uint32_t operator_index);

/* ---- takeover.c, in a worker's step ---- */
/* The worker of its enclave is gone. True: a replica elsewhere has all of it: it does nothing any more, and the keeper says so to the coordinator;
 * false: there is none, or it has a part in a move. */
bool pst_partition_dies(struct pst_ctx *ctx, int error, const char *why);
static inline bool pst_is_dead(const struct pst_ctx *ctx)
{
    return atomic_load_explicit(&ctx->dead, memory_order_acquire);
}

/* ---- between lane.c, join.c and takeover.c ---- */
/* The replica of a partition here or elsewhere is no more, though its node lives; NO_TWIN is nothing. */
void pst_copy_end(struct run *run, uint32_t operator_index, uint32_t copy);
/* Channels from a partition that is no more, when all that had come in them is worked off. holds: there is still some. */
void pst_dead_channels_drop(struct run *run);
bool pst_dead_channel_holds(struct channel *channel);
/* What it had begun to hand over is over. NULL is nothing. */
void pst_giving_end(struct pst_ctx *giver);
typedef void (*pst_upstream_visit)(void *argument, struct pst_ctx *producer, struct route *route);
void pst_upstreams_visit(const struct run *run, const struct move *move, pst_upstream_visit visit, void *argument);

#endif
