/* engine/runtime.h - a running graph. Inside the room: nobody else includes it.
 *
 * The way of a row: input.c reads a block and has the source parse it; route.c takes rows through stateless stages, hashes their
 * keys and appends them to the frames of the channels; channel.c hands frames over; partition.c delivers them epoch by epoch;
 * what an operator puts out goes through route.c again, what a sink writes through sink.c. run.c builds all this and steps it.
 *
 * Threads:  an instance belongs to one worker and is touched by its thread alone. Two things are shared: channels (their
 *           producer's side and their consumer's side are told apart below) and struct input (by lock or by turn).
 * Holds true:
 *   E1  rows stand in a channel in order of event time
 *   E2  a channel's watermark is set only when every row below it is in the ring: so a reader loads it before it looks there
 *   E3  an instance takes no new step while any of its channels has frames pending, so what waits is what one step put out
 *   E4  channels of one instance are flushed apart: one that is full never holds up another (no deadlock in diamonds)
 *   E5  a partition that waits for one input takes in the frames of its others, up to HELD_BYTES_MAX: no deadlock at any ring size
 *       An input that is ahead of another node's is not taken in beyond more rows than a block has: nothing that the other one
 *       needs comes from it, and neither holds up the other's block that is under way
 *   E6  a channel to or from another node ends at a link (link.h), which stands where the other instance would: the same rules hold
 */
#ifndef PST_ENGINE_RUNTIME_H
#define PST_ENGINE_RUNTIME_H

#include "engine/graph.h"
#include "state/pager.h"

#include <ck_ring.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    FRAME_ROWS = 2048,
    CHANNEL_FRAMES = 8,
    BLOCK_BYTES = 128 * 1024,
    BLOCK_BYTES_SEVERAL = 256 * 1024, /* of files that several nodes read: a frame of each block goes to each node */
    BLOCK_BYTES_MIN = 4104,           /* the longest line that may be well-formed, its end, a byte order mark */
    BLOCK_PAD_BYTES = 64,
    ROUTE_ROWS = 1024,  /* rows hashed and routed at a time */
    BATCH_ROWS = 1024,  /* rows an operator fills before they are routed */
    SOURCE_ROWS = 4096, /* rows of one batch of a parsed block */
    SINK_BUFFER_BYTES = 256 * 1024,
    BLOCKS_AHEAD = 4, /* beyond one a worker: how many blocks may be claimed above the lowest that is not sent yet */
};
enum { INPUT_NUMBER_BITS = 48 }; /* of a row's number, where several nodes have inputs */
enum { CHANNELS_MAX = 100000 };  /* each costs some kilobytes before a row has come */
#define HELD_BYTES_MAX ((uint64_t)1 << 30)
#define STATE_BYTES_MAX ((uint64_t)1 << 40)

struct run;
struct worker;
struct far;
struct link;
struct feed;

/* Where the instances of a graph are, on several nodes. The same on all of them for one incarnation but for this_node; borrowed by the
 * run. Every node has the channels of the whole graph in one order, so that a number names a channel. */
struct site {
    uint32_t node_count, this_node;
    uint32_t node_capacity; /* nodes that read nothing may be added, up to this; 0: none */
    uint64_t incarnation;
    const uint32_t *worker_count; /* by node, PST_WORKERS_MAX at most */
    const bool *reads;            /* by node: it has an input, or the only one */
    uint32_t input_index;         /* of this node's input: rows of one time are numbered input by input */
    uint16_t *const
        *node_of_partition; /* [operator][partition], room for all numbers; NULL: of sources and stages. The run's to
                                         * change, when a partition comes later */
    /* By operator; NULL: of all as the graph says. Of an operator NULL, 0: as the graph says */
    const uint16_t *const *partition_of_bucket;
    const uint32_t *partition_count;
    const uint32_t *const *born; /* [operator][partition], or NULL */
    const uint16_t *const *twin; /* [operator][partition]; of an operator without replicas NULL */
    const char *const *address;  /* by node: where it listens */
    const char *const *name;     /* by node */
    uint32_t takeover;   /* the last node of this incarnation that replicas have replaced before, from 1; 0: none */
    uint32_t replaced;   /* so many partitions, the same */
    uint64_t checkpoint; /* to go on from; 0: from the beginning */
    const char *const *folders; /* where its parts are */
    uint32_t folder_count;
    const char *position; /* the one of them with the position of this node's input; NULL: the only one that has one */
    const char *
        saved; /* of a savepoint: where its sinks' files are, and nothing there is ever changed. NULL: where this run writes */
};

/* What an edge's frames look like: the fields the consumer reads, and what the engine adds. One for each input of a node. */
struct edge {
    uint32_t node, input; /* the consumer */
    uint32_t index;       /* among all of the run */
    uint32_t column_count;
    const uint32_t *columns; /* fields of the producer's output schema */
    uint32_t *column_bytes;
    bool keyed, broadcast, total;              /* total: frames carry producer and number of each row */
    const uint32_t *key;                       /* fields of the producer's output schema */
    uint32_t key_count, key_bytes, lead_bytes; /* lead: that alone decide on the bucket; 0: all do */
    const uint32_t *key_columns; /* which of `columns` the key's fields are; NULL: they are not all among them */
    uint32_t bucket_mask;
    size_t frame_bytes;
    uint64_t rows_gone,
        rows_left_gone; /* that passed channels which are no more, and of these to other nodes; the keeper's */
};

/* A batch of rows in columns on its way. Owned by the producer until it is in the ring, then by the consumer. */
struct frame {
    struct frame *next;
    uint32_t row_count, cursor; /* cursor: rows delivered, the consumer's */
    uint64_t sequence;          /* of its first row, on this channel */
    int64_t *time;
    uint64_t *hash;     /* keyed edges */
    uint32_t *bucket;   /* keyed edges */
    uint32_t *producer; /* total edges: 0 for the source, else 1 + bucket */
    uint64_t *number;   /* total edges: given once by the producer */
    void *columns[];
};

/* From one instance to one partition. */
struct channel {
    const struct edge *edge;
    struct run *run;
    struct pst_ctx *producer, *consumer; /* NULL: on another node */
    uint32_t producer_worker, consumer_worker;
    /* producer's side */
    struct frame *open, *pending_first, *pending_last;
    struct frame *used; /* to be filled again, the one that came back last first */
    uint32_t pending_count, used_count;
    uint64_t sequence;
    _Atomic uint64_t rows; /* as `sequence`, for whoever looks */
    /* both */
    _Alignas(64) _Atomic int64_t watermark;
    atomic_bool busy; /* source channels: rows of a sequenced block are still to come; then `watermark` counts, not M */
    atomic_bool blocked; /* the producer waits for room */
    _Atomic int ended;   /* enum end */
    _Alignas(64) ck_ring_t ring;
    ck_ring_t recycled;
    ck_ring_buffer_t *ring_buffer, *recycled_buffer;
    /* consumer's side */
    _Alignas(64) struct frame *held_first, *held_last;
    uint64_t held_count;
    uint32_t frame_rows;
    bool from_source;
    atomic_bool overflow; /* of a branch: its bound is reached, and it holds up as others do */
    bool branch;          /* to a lane that is not an owner yet: it holds nobody up (E3 does not count it) */
    bool standby;         /* from a lane that is not an owner yet: its time does not count */
    int64_t floor;        /* up to here another channel's promise holds for this one, too */
    int64_t
        newest; /* of the rows that have come: an operator may have them before the watermark is beyond; INT64_MIN: none */
    uint32_t reader; /* of a source's: 1 + the node whose input it is; 0: of another operator's */
    struct channel *
        twin; /* from the other replica of the producer; NULL: there is none. What the one has brought of both counts */
    struct far *far;                   /* the link's; NULL: both ends are here */
    uint32_t producer_index, from, to; /* from which operator, from which of its partitions, to which */
};
enum end { END_NOT = 0, END_INPUT = 1, END_CUT = 2 };

/* Rows on their way through stages and routes, borrowed. Row i of the view is row selection[i] of the columns. */
struct view {
    const void *const *columns; /* by field of the output's schema */
    const int64_t *time;
    const uint32_t *bucket;    /* of the state that made the row; NULL: 0 */
    const uint32_t *selection; /* NULL: rows 0.. */
    uint32_t row_count;
    const uint64_t *number; /* by row; NULL: number_first + row */
    uint64_t number_first;
    bool from_source;
};

struct route { /* from one instance to all partitions of a consumer */
    const struct edge *edge;
    uint64_t number;          /* of the channel to partition 0 */
    struct channel **targets; /* room for all numbers; below target_count, NULL: it is no more */
    uint32_t target_count;
    const uint16_t *partition_of_bucket;
    const uint16_t *twin;  /* of its partitions; NULL: they are alone */
    struct branch *branch; /* rows of some buckets go to a lane as well; NULL: none do */
};

struct batch {
    struct pst_out out;
    void **columns;
    int64_t *time;
};

/* In which order the rows of the last call were: mostly the next one's are, too. place: bucket by bucket, from the lowest row on, which of
 * the bucket's rows it was, as they were put out. */
struct ordering {
    uint32_t *count; /* by bucket */
    uint32_t *place;
    uint32_t capacity; /* of `place` */
};

struct output {
    const struct pst_graph_output *plan;
    struct pst_ctx **stages;
    uint32_t stage_count;
    struct route *routes;
    uint32_t route_count;
    struct batch batch;
    struct ordering ordering;
    bool total; /* a route behind it is total: rows are kept, ordered and numbered at the end of the callback */
};

/* What an instance has done and has, for whoever looks. Written by its worker alone, once for a step or a frame and never for a row,
 * relaxed: each figure is right, no two need belong together. Idle is what is neither busy nor blocked. */
struct gauge {
    _Atomic uint64_t rows_in, rows_out; /* out: on all outputs; of a sink none */
    _Atomic uint64_t busy_ns, blocked_ns;
    _Atomic uint64_t blocked_since_ns; /* it waits for room behind it, from then on; 0: it does not */
    _Atomic uint64_t held_bytes, state_bytes;
    _Atomic int64_t watermark;          /* its own; INT64_MIN: none yet */
    _Atomic uint64_t worker_ns;         /* processor time of its enclaves' workers, which work beside its thread */
    uint64_t looked_ns, worker_seen_ns; /* private: when that was looked at; what the worker of then said */
};

/* Of a figure that one thread alone writes. */
static inline void pst_count(_Atomic uint64_t *figure, uint64_t more)
{
    uint64_t before = atomic_load_explicit(figure, memory_order_relaxed);
    atomic_store_explicit(figure, before + more, memory_order_relaxed);
}

/* An instance of an operator: a partition, the source on one worker, or a stateless stage inside one of them. */
enum { CTX_BEGINS_BYTES = 200 };

struct pst_ctx {
    struct pst_plan_head head;
    struct run *run;
    const struct pst_graph_node *node;
    uint32_t index, node_index, partition, worker; /* index: in run->instances */
    void *user;
    struct pst_arena arena, user_arena; /* user_arena: what the operator has allocated */
    struct pst_state *state;
    bool borrows;                /* the state is that of the partition that this lane will be a part of */
    bool copy;                   /* of another partition, which is the owner: no image is wanted of it */
    bool retired;                /* it is no more: but for this struct all of it is freed */
    atomic_bool dead;            /* its enclave's worker is gone, and a replica elsewhere has all of it (takeover.c) */
    int dead_error;              /* then, and the sentence is pst_fail()'s */
    struct spill *spill;         /* where its pages lie outside; NULL: no budget */
    struct pst_enclave *enclave; /* its operator and state are there (enclave.h); NULL: they are here */
    struct enclave_asks *enclave_asks;     /* what it has been asked for and has not answered */
    struct carried *carried;               /* its rows are capsules (carry.h); NULL: they are rows */
    bool enclave_seals;                    /* its state, for a checkpoint, and has not answered */
    bool enclave_back;                     /* something of a checkpoint was given back to it */
    struct enclave_moving *enclave_moving; /* buckets have gone from it, or come to it; NULL: none have */
    struct output *outputs;
    bool opened;
    char sentence[240]; /* what pst_fail() said */
    char *begins;       /* of a lane that is being made, and of its stages: where it is said why it cannot be */
    int64_t emit_time;
    /* partitions */
    struct channel **channels; /* inputs */
    uint32_t channel_count, channel_capacity;
    struct channel **channels_out;
    uint32_t channel_out_count, channel_out_capacity;
    struct lane *lane;     /* it is taking buckets over; NULL: it serves what it has */
    struct giving *giving; /* it is giving some away; NULL: it is not */
    uint32_t join_cost;    /* of what it has given, as its last lane has said (lane.h); 0: it has given nothing */
    struct join *join;     /* it becomes a part of another, or another one a part of it; NULL: it does not */
    struct sums *sums;     /* of what its buckets take and put out while some are handed over; NULL: nobody asks */
    struct filter *filter; /* what is not wanted of the rows that come; NULL: all is */
    uint32_t *buckets, *due;
    uint32_t owned_count, due_count;
    uint8_t *marked;   /* by bucket */
    int64_t *timers;   /* by bucket */
    uint64_t *numbers; /* by bucket: rows put out, for total edges */
    int64_t timer_min, timer_limit, now, watermark_out;
    uint64_t held_bytes;
    bool now_known, had_rows, ended;
    bool held_up; /* its last step ended because there is no room behind it */
    bool wipes;   /* buckets have gone, and those from wipe_next on are still to be forgotten */
    uint32_t wipe_next;
    int64_t cut, cut_done; /* of a checkpoint: to be stopped at, INT64_MAX: none; and brought last */
    int64_t cut_seen;      /* the last one that it was to stop at */
    /* stages */
    const struct view *view;
    void **gathered;
    uint32_t *composed;
    uint32_t gathered_rows;
    /* sinks */
    struct sink *sink;
    struct gauge gauge;
};

#define PST_DEAD_LETTER_NAME "/dead-letter" /* no sink of a graph has a slash in its name */

struct sink {
    const char *name;
    char *path_part, *path_final, *path_now;
    char *path_found; /* resumed: where the committed bytes are; NULL: it begins anew */
    struct pst_file *file;
    struct pst_file *alone; /* of `penstock run`: what it is written to, locked until it has its name; NULL elsewhere */
    char *buffer;
    size_t used_bytes;
    uint64_t bytes_total, rows;
    /* On several nodes, the keeper's: what is in the part that was written last, and in the last complete checkpoint. */
    uint64_t written_id, written_bytes, committed_bytes;
};

/* ---- input.c ---- */
struct reject {
    const char *line;
    size_t line_bytes;
    uint32_t line_index;
    uint32_t reason;
};

enum source_state { SOURCE_IDLE, SOURCE_PARSED, SOURCE_SENDING, SOURCE_DONE };

struct source { /* the source on one worker: it reads, parses, takes its turn, and sends */
    struct pst_ctx *ctx;
    enum source_state state;
    char *memory; /* BLOCK_PAD_BYTES, text, BLOCK_PAD_BYTES */
    struct pst_block block;
    uint64_t index;
    uint64_t offset;          /* of the block's first byte in the input */
    _Atomic uint64_t sending; /* index of the block that is not sent yet; UINT64_MAX: none. Read by all who claim */
    struct batch *batches;
    uint32_t batch_count, batch_capacity, sent_count;
    uint32_t **late;      /* by batch: the rows that are taken; NULL: all of them */
    uint32_t *late_count; /* of those that are not */
    uint32_t *done_count; /* of these, the ones that are not late: below `done_below` */
    uint64_t *number_first;
    struct reject *rejects;
    uint32_t reject_count, reject_capacity, line_count;
};

struct input {
    struct pst_file *file;
    struct gunzip *gunzip;
    struct feed *feed; /* feed.h; NULL: it is read from the file */
    const char *name, *path;
    uint64_t bytes_total;
    /* by lock: reading */
    atomic_flag lock;
    char *carry;
    size_t carry_bytes, block_bytes;
    uint64_t claimed_count, bytes_read;
    uint64_t offset; /* of the next block's first byte in the (uncompressed) input */
    bool closed, at_end, begun, overlong;
    bool rereads; /* from any place on; what a connection brings, too, for whoever feeds it goes back */
    /* by turn: lateness, counts, the dead letters */
    _Alignas(64) _Atomic uint64_t turn;
    _Atomic int64_t max; /* M: no row below it comes after the blocks sequenced so far; at the end, the last time + 1 */
    _Atomic int end;     /* enum end, set when the last block has been sequenced */
    int64_t newest;
    int64_t
        done_below; /* rows below were worked off by the run that this one goes on from; INT64_MIN: none are there */
    uint64_t number_base; /* of its rows: input_index << INPUT_NUMBER_BITS */
    uint64_t lines;
    _Atomic uint64_t rows, rows_late, lines_malformed, bytes_sequenced;
    uint64_t malformed_line[PST_BAD_LINES_KEPT];
    uint32_t malformed_reason[PST_BAD_LINES_KEPT];
    struct sink *dead_letter;
};

struct scratch { /* a worker's, for routing */
    uint8_t keys[ROUTE_ROWS * PST_KEY_BYTES_MAX];
    uint64_t hash[ROUTE_ROWS];
    uint32_t bucket[ROUTE_ROWS], rows[ROUTE_ROWS], order[ROUTE_ROWS];
    uint16_t target[ROUTE_ROWS];
};

/* Of a keyed edge, what one worker's producers have dealt to each bucket: one row of DEALT_EACH counts, of pieces of any size. Written by that
 * worker alone, relaxed; it goes round, and whoever looks takes differences. A prime, so as not to go in step with a stream's own rounds. */
enum { DEALT_EACH = 17 };
struct dealt {
    _Atomic uint32_t *rows; /* by bucket; NULL: nobody asks */
    _Atomic uint32_t along; /* of these, rows that a bucket of the same number has made */
    uint32_t skip;          /* rows until the next one that counts */
};

struct worker {
    struct run *run;
    uint32_t index;
    struct pst_ctx **partitions; /* in topological order */
    uint32_t partition_count;
    struct link **links;
    uint32_t link_count;
    uint32_t partition_capacity;
    uint32_t held;        /* `hold` as it stood still for */
    atomic_bool finished; /* on several nodes: it has nothing left to do, unless the keeper gives it something */
    struct source source;
    struct scratch *scratch;
    struct dealt *dealt; /* by edge; NULL: all is in one process */
    uint64_t wake_mask;
    uint64_t progress_ns;
    bool interrupted;
    uint32_t rests;     /* steps in which there was nothing to do: images on their way count where it is loaded */
    bool rest_is_used;  /* in this step: there is something that is done when there is nothing else */
    uint64_t busy_ns;   /* with partitions and the source, so far */
    uint64_t moved_ns;  /* of that, with images of moves */
    uint64_t looked_ns; /* when it was looked how much of its time rows take */
    int64_t rows_ns;    /* what they had taken till then */
    bool loaded;
};

struct blob;
enum { BLOBS_KEPT = 16 };
struct blobs { /* of moves: lane.h */
    atomic_flag lock;
    uint32_t count;
    size_t bytes; /* of all that are kept */
    struct blob *kept[BLOBS_KEPT];
};

struct run {
    struct pst_graph *graph;
    struct pst_world *world;
    struct pst_run_options options;
    struct pst_run_report *report;
    struct pst_arena arena;
    struct blobs blobs;
    struct pst_arena move_arena; /* of the move that is under way: all of it goes with it */
    struct edge **edges;         /* [node][input] */
    uint32_t edge_count;
    uint16_t **partition_of_bucket; /* [node] */
    struct worker *workers;
    uint32_t worker_count;
    uint32_t worker_base;       /* the world's index of this run's worker 0 */
    struct pst_ctx **instances; /* all, stages included */
    uint32_t instance_count, instance_capacity;
    struct channel **channels;
    uint32_t channel_count, channel_capacity;
    struct pst_ctx ***partitions; /* [node][partition]; for the source [node][worker] */
    struct sink **sinks;
    uint32_t sink_count;
    struct input input;
    const struct site *site; /* NULL: all is here */
    struct link **links;     /* by node; NULL: to this one, and where nothing goes */
    struct far **fars;       /* those of all links, hashed by the channel's number */
    struct far *far_free;    /* of channels that are no more, to be used again */
    uint32_t far_count, far_capacity;
    uint64_t lane_bytes_max; /* that wait for a lane, on each side of a channel, and that a muted one keeps */
    uint64_t turn_bytes_max, way_bytes_max, ahead_bytes_max, stand_rows_max,
        digest_wait_ns;        /* of a giver: lane.h says how much, tests another */
    uint32_t frame_version;    /* that links say they read (wire.h); tests: 0, as an earlier node */
    uint64_t *route_number;    /* by operator: of its first route's first channel */
    uint32_t *partition_count; /* by operator: one above the highest that there is, or was */
    /* [operator][partition]: of two that are given the same and put out the same, each other's number; the copy has the higher one.
     * NO_TWIN: it is alone. Of an operator without replicas NULL. */
    uint16_t **twin;
    uint32_t **born; /* [operator][partition]: by the move of this number; 0: with the run */
    atomic_uint
        takeover; /* the last node that is gone and replaced: 1 + its place in Start.replaced_nodes; 0: none is */
    atomic_uint
        replaced; /* partitions whose replicas have taken over, though their nodes live: Start.replaced_partitions, as far as it is known */
    atomic_bool newly_dead; /* some partition is, and the coordinator is to know */
    atomic_uint hold; /* not 0: workers are to stand still, the keeper changes what they work on; another each time */
    uint32_t holds;   /* how often so far */
    atomic_uint held_count; /* workers that stand still */
    atomic_uint keyless; /* workers of sealed rows that have not got their key, or not what they had at a checkpoint */
    atomic_bool finish;  /* on several nodes: the keeper has seen that all are finished, and nothing more will come */
    _Atomic int64_t input_end; /* the highest time of those nodes' inputs that ended, + 1, as far as it is known here */
    _Atomic int64_t
        whole_end; /* the same of all of them; INT64_MIN: it is not known, or not all have ended. Who says a time beyond
                                * it has said it before: no timer above it is for on_time() */
    struct paging *paging;         /* spill.c; NULL: no budget */
    struct checkpoint *checkpoint; /* NULL: none are made, none is resumed */
    _Atomic int64_t cut; /* event time at which every partition hands over its image; INT64_MAX: none is wanted */
    uint64_t begun_ns;
    atomic_bool stopped; /* an error, or a second interrupt */
    bool lost;    /* the error is that an enclave's worker has died or hung: another one may go on from a checkpoint */
    bool rewinds; /* this process does so now: outputs stay as they are */
    bool discard; /* its outputs are nobody's: another run writes them anew */
    atomic_flag error_lock;
    int error;
    char *error_text;
};

#define NO_TWIN UINT16_MAX
static inline uint32_t pst_twin(const struct run *run, uint32_t node_index, uint32_t partition)
{
    return run->twin[node_index] != NULL ? run->twin[node_index][partition] : NO_TWIN;
}

/* The highest time of the whole input, + 1: by whoever has seen that it ended. */
static inline int64_t pst_input_end(const struct run *run)
{
    int64_t here = atomic_load_explicit(&run->input.max, memory_order_relaxed);
    int64_t there = atomic_load_explicit(&run->input_end, memory_order_relaxed);
    return here > there ? here : there;
}

static inline void pst_raise(_Atomic int64_t *at, int64_t value)
{
    int64_t now = atomic_load_explicit(at, memory_order_relaxed);
    while (now < value && !atomic_compare_exchange_weak(at, &now, value))
        continue;
}

/* The multiple of `step` at or below t. */
static inline int64_t pst_floor_to(int64_t t, int64_t step)
{
    int64_t rest = t % step;
    return rest < 0 ? t - rest - step : t - rest;
}

/* run.c: a run in pieces, for whoever has workers of his own. step() is called by each worker until it says DONE; end() when all have
 * said so, and when begin() failed. The graph, the world, the site and the report outlive it. */
int pst_run_begin(struct run *run, struct pst_graph *graph, const struct pst_run_options *options,
                  struct pst_world *world, const struct site *site, uint32_t worker_base,
                  struct pst_run_report *report);
pst_step pst_run_step(void *argument, uint32_t index); /* of the run; of its worker */
/* On several nodes: all workers have nothing left to do, and are done when the keeper has called finish(). */
bool pst_run_finished(const struct run *run);
void pst_run_finish(struct run *run);
int pst_run_end(struct run *run); /* what pst_run() returns */
static inline void pst_run_wake(struct run *run, uint32_t worker)
{
    run->world->wake(run->world->self, run->worker_base + worker);
}
extern const struct pst_host *pst_engine_host(void);
void pst_run_fail(struct run *run, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void pst_run_lose(struct run *run, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4))); /* the same, and run->lost where it is the first error */
/* Both report, and return `error`: the run ends by it, but for a lane that is being made, where it is the move (ctx->begins). */
int pst_ctx_fail(struct pst_ctx *ctx, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
int pst_ctx_failed(struct pst_ctx *ctx, int error, const char *callback);
/* At the end of its step `from_worker` wakes `worker`; itself by not going to sleep. */
static inline void pst_wake_later(struct run *run, uint32_t from_worker, uint32_t worker)
{
    run->workers[from_worker].wake_mask |= (uint64_t)1 << worker;
}

/* channel.c */
struct channel *pst_channel_new(struct run *run, const struct edge *edge, uint32_t producer_worker,
                                uint32_t consumer_worker);
void pst_channel_free(struct channel *channel);
struct frame *pst_channel_take(struct channel *channel);                /* consumer: the head, to be given back later */
void pst_channel_recycle(struct channel *channel, struct frame *frame); /* consumer: gives back what it took */
/* Rows first .. first + n - 1 of `from` stand at `at` of `to`, which may be the same frame. */
void pst_frame_rows_move(const struct edge *edge, struct frame *to, uint32_t at, const struct frame *from,
                         uint32_t first, uint32_t n);
/* Frames that have lost all their rows go: of the producer's side, of the consumer's. */
void pst_channel_tidy_out(struct channel *channel);
void pst_channel_tidy_in(struct channel *channel);
struct frame *
pst_channel_open_frame(struct channel *channel); /* the frame being filled, with room; NULL: out of memory */
void pst_channel_pend(struct channel *channel);  /* what is open becomes pending */
void pst_channel_flush(
    struct channel *channel); /* all goes as room allows; what is open stays so where there is none */
static inline bool pst_channel_pending(const struct channel *c) { return c->pending_first != NULL; }
void pst_channel_watermark(struct channel *channel, int64_t watermark);
struct frame *pst_channel_head(struct channel *channel); /* consumer: the first frame not used up, or NULL */
void pst_channel_pop(struct channel *channel);           /* consumer: gives the head back */
uint32_t pst_channel_hold(struct channel *channel);      /* consumer: takes in all that is in the ring; frames taken */
uint64_t pst_channel_ready(const struct channel *channel); /* consumer: frames that stand there for it */
int64_t pst_channel_read_watermark(const struct channel *channel, const struct input *input);
enum end pst_channel_read_end(const struct channel *channel, const struct input *input);

/* route.c */
int pst_deliver(struct pst_ctx *ctx, uint32_t output, const struct view *view);
int pst_forward_rows(struct pst_ctx *stage, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                     uint32_t count);
struct pst_out *pst_batch_reserve(struct pst_ctx *ctx, uint32_t output, uint32_t row_count);
/* Rows that lie elsewhere go on their way from there, PST_OUT_ROWS_MAX at most; columns that nobody wants may be NULL. */
bool pst_batch_may_pass(const struct pst_ctx *ctx, uint32_t output);
int pst_batch_pass(struct pst_ctx *ctx, uint32_t output, uint32_t row_count, const uint32_t *bucket,
                   const void *const *columns);
int pst_batches_flush(struct pst_ctx *ctx);
/* Rows of a view, ROUTE_ROWS at most, by their numbers: to one target. */
int pst_route_append(struct pst_ctx *ctx, const struct route *route, uint32_t target, const struct view *view,
                     const uint32_t *rows, uint32_t n);
int pst_batch_init(struct batch *batch, const struct pst_schema *schema, uint32_t row_capacity);
void pst_batch_fini(struct batch *batch, const struct pst_schema *schema);
void pst_ordering_fini(struct ordering *ordering);
bool pst_any_pending(const struct pst_ctx *ctx);
bool pst_flush_channels(struct pst_ctx *ctx); /* false: something is still pending */

/* gauge.c: what a step has come to, from *then_ns on; any: it did something. *then_ns is its end where that was looked at. */
void pst_gauge_step(struct pst_ctx *ctx, bool any, uint64_t *then_ns);
struct edge_gauge {
    uint64_t rows, bytes;                  /* passed by producers that are here */
    uint64_t rows_left;                    /* of these, to other nodes */
    uint64_t queue_bytes, queue_bytes_max; /* of frames that wait here; max: what channels may hold */
};
/* The keeper: bytes of frames in the channels that lead to an instance, those that it holds back included. */
uint64_t pst_gauge_queue(const struct pst_ctx *ctx);
void pst_gauge_edges(const struct run *run, struct edge_gauge *ret_gauges); /* by their index */
uint64_t pst_gauge_blocked(const struct gauge *gauge, uint64_t now_ns);
void pst_gauge_gone(struct run *run,
                    const struct channel *channel); /* the channel of a producer here is about to be no more */

/* partition.c: true if it did something */
bool pst_partition_step(struct pst_ctx *ctx);
void pst_ctx_timer_set(struct pst_ctx *ctx, uint32_t bucket, int64_t t);

/* input.c */
int pst_input_init(struct input *input, struct run *run, const char *path);
bool pst_input_rereads(const struct run *run); /* it can be read again */
/* Before it is opened, where a run before this one has read of it: PST_EREFUSED: what it has read is lost. */
int pst_input_again(struct run *run, const char *path);
void pst_input_none(struct input *input); /* this node reads none */
void pst_input_fini(struct input *input, struct run *run);
/* Goes on behind so many bytes of the (uncompressed) input, where a line must begin. Says why not. */
int pst_input_skip(struct run *run, uint64_t offset);
int pst_source_init(struct source *source, struct pst_ctx *ctx, size_t block_bytes);
void pst_source_fini(struct source *source);
bool pst_source_step(struct worker *worker, bool may_read);
struct pst_out *pst_source_reserve(struct pst_ctx *ctx, uint32_t row_count);
int pst_source_reject(struct pst_ctx *ctx, pst_reject_reason reason, const char *line, size_t line_bytes,
                      uint32_t line_index);
int pst_source_lines(struct pst_ctx *ctx, uint32_t line_count);
void pst_input_close(struct run *run); /* an interrupt: no block is read any more */

/* gunzip.c */
struct gunzip *pst_gunzip_new(struct pst_world *world, struct pst_file *file);
void pst_gunzip_free(struct gunzip *gunzip);
int64_t pst_gunzip_read(struct gunzip *gunzip, void *bytes, size_t byte_count);

/* sink.c */
/* name: what a manifest calls it; borrowed. */
int pst_sink_open(struct run *run, const char *directory, const char *file, const char *name, struct sink **ret_sink);
/* Resumed, once all fits: what was committed stays, what came after it goes. */
int pst_sink_continue(struct run *run, struct sink *sink);
int pst_sink_write(struct run *run, struct sink *sink, const void *bytes, size_t byte_count);
int pst_sink_flush(struct run *run, struct sink *sink);
void pst_sink_close(struct run *run, struct sink *sink, int outcome); /* frees nothing; an error ends the run with it */
void pst_sink_name(struct run *run, struct sink *sink,
                   int outcome); /* renames after the outcome, once all are closed */
/* On several nodes: what earlier incarnations have left of it is not wanted any more. By a job, too. */
void pst_sink_clear(struct run *run, const struct sink *sink);
void pst_sink_free(struct run *run, struct sink *sink);

#endif
