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
 *   M2  an image is taken when the open epoch has had no row, so it is the state at `now`; the lane takes no row below that
 *   M3  what a lane puts out stays with it until it is an owner, then only what is at or above the cut goes out
 *   M4  downstream a row of (bucket, number) is taken once while two may send it
 *   M5  a lane holds nobody up before its bounds are reached: of what waits for it, and of what it keeps. Then it stands still, who sends
 *       to it waits, and the keeper gives the move up if that can still be; nothing is ever left out, for it may be decided
 */
#ifndef PST_LANE_H
#define PST_LANE_H

#include "engine/runtime.h"

#define LANE_BYTES_MAX (UINT64_C(256) << 20)

/* ---- standing still (run.c) ---- */
void pst_run_hold(struct run *run); /* asks for it; the keeper is woken when it is so */
static inline bool pst_run_held(const struct run *run)
{
    return atomic_load_explicit(&run->held_count, memory_order_acquire) == run->worker_count;
}
void pst_run_release(struct run *run);

/* ---- a move, as every node of the graph knows it ---- */
struct move {
    uint64_t id;
    uint32_t operator_index, from, to, to_node; /* partitions; a node of the site */
    const uint32_t *buckets;                    /* ascending */
    uint32_t bucket_count;
    int64_t cut; /* once it is decided */
    /* A partition of that node of which the lane will be a part, in the end; NO_PARTITION: it stays one by itself. Its state is there
     * from the beginning: a join copies nothing. */
    uint32_t into;
};
#define NO_PARTITION UINT32_MAX

/* Buckets as bytes, at one moment. */
struct blob {
    int64_t t;
    struct pst_text bytes;
};

enum lane_state { LANE_WAITING = 1, LANE_FAILED, LANE_INSTALLED, LANE_SERVING };
struct lane { /* the taker's. Written by its worker, but for what the keeper gives it, and while workers stand still */
    _Atomic int state;         /* enum lane_state */
    struct blob *_Atomic blob; /* to be installed, then freed; NULL: none yet, or it is in */
    int64_t from;              /* the state's time: rows below it are in it already */
    int64_t cut;               /* SERVING: what is below it the giver puts out */
    atomic_bool overflow;      /* M5 */
    int error;                 /* FAILED: of the install */
};

struct giving { /* the giver's */
    const struct move *move;
    int64_t after; /* the image is taken at the first end of an epoch that is not below it */
    struct blob *blob;
    bool stop; /* it is an owner no more from the first end of an epoch at or above `cut` on */
    int64_t cut, stopped_at;
    atomic_bool imaged, stopped, ended; /* ended: before it has come to the one or the other */
    int error;
};

/* The lane and the partition that it joins. Of one worker, which alone touches it but for `done`. Whoever comes to `at` first stands
 * still there: what is sent to all partitions is a part of every bucket's past, so their times must be one. Then the lane's buckets and
 * its channels are those of `into`; the lane puts out nothing any more, and promises in its channels what `into` promises. */
struct join {
    struct pst_ctx *lane, *into;
    int64_t at;       /* an end of an epoch; while it is not `agreed`: not before */
    bool agreed;      /* `at` is ahead of both */
    bool joined;      /* false when done: one of them has come to its end before */
    atomic_bool done; /* the keeper is told */
};

struct branch { /* of a route: rows of these buckets go to a lane, too */
    const struct move *move;
    uint8_t *wanted; /* by bucket */
    struct channel *channel;
};

struct taken {     /* of a producer's bucket */
    uint64_t next; /* the number above the highest that was taken at or above the cut */
    int64_t cut;   /* below it the giver alone puts out, be it after what the lane has put out above it */
};

struct filter {           /* of what comes to an instance */
    int64_t from;         /* nothing below it */
    uint8_t *gone;        /* by bucket of the row: not its own any more; NULL: all are */
    struct taken **taken; /* by input, then by producer's bucket; NULL: not looked at */
    uint32_t open_moves;  /* `taken` is kept while there is one */
};

/* Makes what this node has of the move: branches of upstreams, the lane, channels that are on standby downstream. */
int pst_lane_open(struct run *run, const struct move *move);
/* All of it goes again: the move was given up. */
void pst_lane_drop(struct run *run, const struct move *move);
/* From which event time on all rows of the buckets go both ways, as far as this node's producers are concerned. */
int64_t pst_lane_branched(const struct run *run, const struct move *move);
/* The giver is to take the image; it is here. */
int pst_lane_copy(struct run *run, const struct move *move, int64_t after);
struct giving *pst_lane_giving(const struct run *run, const struct move *move); /* NULL: the giver is not here */
struct lane *pst_lane_of(const struct run *run, const struct move *move);       /* NULL: the lane is not here */
/* The lane is to install it; it owns it. At any time. */
void pst_lane_hand(struct run *run, const struct move *move, struct blob *blob);
bool pst_lane_overflows(const struct run *run, const struct move *move); /* M5, of what is here. At any time */
void pst_blob_free(struct blob *blob);
/* It is decided: on every node. Downstreams first, then the lane, then the giver: by three calls of the keeper. */
void pst_lane_commit_downstream(struct run *run, const struct move *move, int64_t cut);
void pst_lane_commit_taker(struct run *run, const struct move *move, int64_t cut);
void pst_lane_commit_giver(struct run *run, const struct move *move, int64_t cut);
/* The giver has stopped: rows go one way, and what came twice has come. */
void pst_lane_release_upstream(struct run *run, const struct move *move);
void pst_lane_release_downstream(struct run *run, const struct move *move);
/* join.c: the lane becomes a part of another partition; where it is. PST_ENOMEM. */
int pst_lane_join(struct run *run, const struct move *move, int64_t at);
const struct join *pst_lane_joining(const struct run *run, const struct move *move); /* NULL: the lane is not here */
/* It has: its buckets' rows go there by themselves from now on. From which event time on, as far as this node is concerned. */
int64_t pst_lane_reroute(struct run *run, const struct move *move);
/* All that is below `until` has come to where it goes: nothing more comes in the lane's channels, and in those from it. */
bool pst_lane_drained(const struct run *run, const struct move *move, int64_t until);
/* Partitions of the move that own nothing any more are forgotten, with their channels: their numbers may be used again. */
void pst_lane_retire(struct run *run, const struct move *move);
/* What giver and lane have put out below `until` has come to all consumers on this node; INT64_MAX: all they ever will. */
bool pst_lane_settled(const struct run *run, const struct move *move, int64_t until);

/* ---- in a worker's step ---- */
/* At the beginning of an epoch, before any of its rows. PST_OK, or why the run ends. */
int pst_partition_turn(struct pst_ctx *ctx);
/* The buckets as they are now, as bytes. PST_ENOMEM. */
int pst_lane_image(struct pst_ctx *ctx, const struct move *move, struct blob *blob);
/* Fuzzed: the bytes come from another node. PST_EDATA, PST_EABI, PST_ENOMEM: the lane is of no use. */
int pst_lane_install(struct pst_ctx *ctx, const struct blob *blob);
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
bool pst_lane_waits(struct pst_ctx *ctx); /* it has no state yet: it takes in what comes */
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

/* ---- between lane.c and join.c ---- */
typedef void (*pst_upstream_visit)(void *argument, struct pst_ctx *producer, struct route *route);
void pst_upstreams_visit(const struct run *run, const struct move *move, pst_upstream_visit visit, void *argument);

#endif
