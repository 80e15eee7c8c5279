/* engine/checkpoint.h - checkpoints of a running graph (docs/checkpoints.md). Inside the room: nobody else includes it.
 *
 * Threads:  the cut is chosen and the input's position found in the turn of a block, by whoever has it; an image is taken by its
 *           partition's worker; whoever brings the last of these starts the job, which runs in the pool; then all is idle again.
 *           Where several nodes read, worker 0 or a link's hears of the cut.
 *
 * On several nodes each of them writes a part, into a folder of its own. The node that reads the input chooses the cut; the others hear
 * of it on a link, before the first row or watermark at or above it. All parts written: the coordinator calls the checkpoint complete,
 * and tells the reading node; the others learn it with the next cut. Until then a node's part is WRITTEN, and nothing is built on it.
 *
 *   IDLE --chosen, or heard of--> CHOSEN --all is brought--> WRITING --one process--> IDLE
 *                                                               \--several nodes--> WRITTEN --settled--> IDLE
 *
 * Where several nodes read none of them can choose: the coordinator has all of them wait and say how far they are (cuts.c), and tells
 * the cut. Nobody waits for ever: who is told too late may have passed it, says so instead of a part, and the checkpoint is given up.
 *
 * Holds true:
 *   C1  no partition has a row at or above the cut when it is published; where several nodes read it may have some, and if it has been
 *       given one it brings nothing (C6)
 *   C2  an image is taken when all rows below the cut have been delivered, on_time(cut) has been called, and nothing else
 *   C3  a manifest gets its name when all that it names is on the disk; nothing that a kept manifest names is removed
 *   C4  on several nodes: what is built on, and what is kept, is of a complete checkpoint; nothing that the last complete one names is
 *       removed, whatever was written since
 *   C5  ids grow, and none is given twice: the upper half is the incarnation
 *   C6  a partition that has passed the cut before it was heard of brings no image, a reader that does not know where it is no position:
 *       then this node has no part
 */
#ifndef PST_ENGINE_CHECKPOINT_H
#define PST_ENGINE_CHECKPOINT_H

#include "engine/runtime.h"
#include "state/manifest.h"

#define CUT_NONE INT64_MAX
enum { PAST_BLOCKS = 256 }; /* how far a reader may be ahead of another, and still say where a cut is in its input */
#define FILES_SLACK_BYTES (UINT64_C(64) << 20)

enum checkpoint_phase { CHECKPOINT_IDLE, CHECKPOINT_CHOSEN, CHECKPOINT_WRITING, CHECKPOINT_WRITTEN };

/* What is said from node to node before a row or a watermark at or above `time`. */
struct cut {
    uint64_t id, complete; /* complete: the last one that is, and that this one is built on; 0: none */
    int64_t time;
};

struct found { /* what a run goes on from: one folder's part of a checkpoint */
    const char *directory;
    struct pst_manifest manifest;
    uint64_t left_at; /* the checkpoint from which on its node has had no place; 0: it has one */
};

struct checkpoint {
    struct run *run;
    const char *directory;
    const char *lock_path;      /* "DIR/run.lock": of `penstock run`, for as long as it runs; NULL on a node */
    struct pst_file *lock_file; /* NULL: not taken */
    struct pst_secret *master;  /* the newest key: it seals */
    uint8_t graph[PST_GRAPH_DIGEST_BYTES];
    int64_t epoch; /* a multiple of all operators' epochs: cuts are multiples of it */
    uint64_t every_rows, every_ns;
    _Atomic int phase;
    /* chosen, in a turn */
    int64_t cut;
    uint32_t takeover, replaced; /* the run's, then */
    uint64_t id, rows_at, ns_at; /* when the last one was chosen */
    bool full;                   /* it builds on nothing */
    /* How often what is here has become another, by a move or a takeover, or is sealed under another key: by now; when the one under way
     * began; when `previous` did. What differs from that must not be built on. */
    uint32_t changes, changes_begun, changes_previous;
    atomic_bool rests; /* buckets move: no cut is chosen. Set by the keeper, under the lock */
    bool moves; /* under the lock: partitions come and go here: of a cut that is heard of this node has no part */
    atomic_bool asked; /* a cut is to be chosen, due or not. Set by the keeper */
    atomic_bool positioned;
    struct pst_manifest_source source;
    uint64_t dead_letter_bytes;
    /* brought, each by its own thread */
    atomic_uint missing; /* images and the position */
    atomic_int dropped;  /* why one of them could not be had; PST_OK: all could */
    struct part *parts;  /* by instance */
    uint32_t part_count;
    /* the job's, and the turn's when all is idle */
    struct pst_manifest *previous; /* NULL: none that this run may build on */
    bool folders_synced;
    uint64_t bytes_live, bytes_files;
    struct pst_checkpoint_report report;
    struct found
        *found; /* of one process one, of a site one for each node that has a part; empty: it begins at the beginning */
    uint32_t found_count;
    /* on several nodes */
    atomic_flag lock;           /* a new cut: of what is said of it, and of `id`, `cut`, `complete` */
    _Atomic uint64_t announced; /* its id, once all that is said of it can be read; 0: nobody has to hear of one */
    uint64_t complete; /* the last one that is known to be, of this incarnation or the one that was gone on from */
    struct pst_manifest *written; /* this node's part of `id`, until it is settled */
    int part_error;               /* why it has none */
    _Atomic uint64_t part;        /* the id whose part is WRITTEN, or could not be, and was not told yet; 0: none */
    _Atomic uint64_t settled;     /* the id that the coordinator has decided on */
    atomic_bool settled_complete;
    /* where several nodes read (checkpoint_wait.c) */
    bool several;
    atomic_flag turn_lock; /* whoever has the turn, or must have nobody else in it */
    struct pst_manifest_source
        *past;          /* under it: where the last PAST_BLOCKS blocks began, as a ring; NULL: nothing is read here */
    uint64_t past_end;  /* so many were entered */
    uint32_t past_kept; /* of these count so many at most: PAST_BLOCKS; tests: fewer */
    _Atomic uint64_t waits;  /* the id of a cut: until it is known no block is sequenced; 0: none is waited for */
    uint64_t asked_id;       /* the keeper's: how far the input is was asked for, and is to be said; 0: it is not */
    uint64_t waits_until_ns; /* the keeper's */
    struct cut told_cut;     /* under the lock: for worker 0, where `told` */
    atomic_bool told;
};

struct sealed_piece { /* as struct pst_enclave_piece; its bytes are at `at` */
    uint32_t bucket;
    uint16_t structure, kind;
    uint64_t number;
    uint32_t changed, sealed_bytes;
    size_t at;
};

struct sealed_image { /* of an operator in an enclave, as its worker has sealed it: nobody here can open it */
    uint8_t incarnation[PST_INCARNATION_BYTES];
    struct sealed_piece *pieces;
    uint32_t count, capacity;
    uint8_t *bytes;
    size_t byte_count, byte_capacity;
};

struct part { /* what one instance has brought */
    struct pst_image image;
    struct sealed_image sealed; /* instead of the image's pages, where is_sealed */
    bool is_sealed;
    bool imaged;
    bool brought;           /* false: a copy's, whose owner brings it */
    uint32_t since;         /* the generation of its image in `previous`; 0: none */
    uint32_t since_written; /* in `written` */
    uint64_t sink_bytes, sink_rows;
    int64_t *timers; /* by bucket, copies; NULL: sinks */
    uint64_t *numbers;
};

/* Where checkpoints are wanted or one is to be resumed: makes run->checkpoint. Before anything else is opened. */
int pst_checkpoint_init(struct run *run);
void pst_checkpoint_fini(struct run *run);
/* Looks into the folder. --resume: the newest one that opens wholly becomes `previous`; where there is none at all the run begins
 * at the beginning. Without --resume there must be none. */
int pst_checkpoint_find(struct run *run);
/* Puts state, input and counts back, when the operators have been opened. */
int pst_checkpoint_load(struct run *run);
/* An instance came later. While workers stand still, and checkpoints rest. */
int pst_checkpoint_grow(struct run *run);
void pst_checkpoint_forget(struct pst_ctx *ctx); /* it is no more. The same */
bool pst_checkpoint_quiet(
    const struct run *run); /* none is under way, so an instance may go. While workers stand still */
/* The keeper's, while buckets move: from now on no cut is chosen here; true: and none is under way. Of a graph that rests where its
 * input is read, and then everywhere, nothing is. */
bool pst_checkpoint_rest(struct run *run);
/* changed: what is here is not what it was: the next one is whole. */
void pst_checkpoint_go_on(struct run *run, bool changed);
void pst_checkpoint_changes(struct run *run); /* the same, and they rest on */
/* Whoever has a part in a move rests, and from now on partitions come and go here. The last cut is over, and is told to nobody any more:
 * a node that had no part of it would hear of it too late. */
void pst_checkpoint_over(struct run *run);
/* A checkpoint was found that this run goes on from. */
static inline bool pst_checkpoint_resumes(const struct run *run)
{
    return run->checkpoint != NULL && run->checkpoint->found_count != 0;
}
/* Its outputs and pages are where all nodes reach them, and this incarnation's are its own: another one's may still be written to by
 * a node that has not heard that it was taken for dead. */
static inline bool pst_checkpoint_shared(const struct run *run) { return run->checkpoint != NULL && run->site != NULL; }
static inline uint64_t pst_checkpoint_incarnation(uint64_t id) { return id >> 32; }
/* Of an operator in enclaves: the checkpoint that its workers have to be given back; 0: they may begin with nothing. */
uint64_t pst_checkpoint_least(const struct run *run, const struct pst_graph_node *node);
/* The sink's committed bytes in what was found; false: it is not named there. */
bool pst_checkpoint_sink(const struct run *run, const char *file, uint64_t *ret_bytes, uint64_t *ret_rows);

/* In the turn of a block, before its rows are counted; `worker` has the turn. */
void pst_checkpoint_turn(struct worker *worker);
/* The same, with the position of the first row at or above the cut; NULL: the input had passed it, C6. */
void pst_checkpoint_position(struct worker *worker, const struct pst_manifest_source *source,
                             uint64_t dead_letter_bytes);
static inline bool pst_checkpoint_wants_position(const struct run *run)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    return checkpoint != NULL && atomic_load_explicit(&checkpoint->phase, memory_order_acquire) == CHECKPOINT_CHOSEN &&
           !atomic_load_explicit(&checkpoint->positioned, memory_order_relaxed);
}

/* The cut that this partition has still to bring its image for, or CUT_NONE. After its watermark was read. */
static inline int64_t pst_checkpoint_cut(const struct pst_ctx *ctx)
{
    int64_t cut = atomic_load_explicit(&ctx->run->cut, memory_order_acquire);
    return cut > ctx->cut_done ? cut : CUT_NONE;
}
void pst_checkpoint_image(struct pst_ctx *ctx, int64_t cut);
void pst_checkpoint_image_late(struct pst_ctx *ctx); /* instead: it has passed the cut, C6 */
void pst_checkpoint_image_none(struct pst_ctx *ctx); /* instead: its worker is gone */

/* Links. The id of the last cut, after whatever was taken from a ring or read as a watermark; 0: none. */
static inline uint64_t pst_checkpoint_announced(const struct run *run)
{
    return run->checkpoint != NULL ? atomic_load_explicit(&run->checkpoint->announced, memory_order_acquire) : 0;
}
struct cut pst_checkpoint_said(const struct run *run);
/* Before anything that comes behind it on the link is handed over. What was heard of before is nothing. By a worker of the run.
 * PST_EDATA: it cannot be. */
int pst_checkpoint_heard(struct run *run, const struct cut *cut, uint32_t worker);

/* The keeper's: a part that is on the disk, or why not, once each. */
/* ret_why: of an error, a sentence, until the next part. */
bool pst_checkpoint_part(struct run *run, uint64_t *ret_id, int *ret_error, const char **ret_why);
static inline bool pst_checkpoint_has_part(const struct run *run)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    return checkpoint != NULL && atomic_load_explicit(&checkpoint->phase, memory_order_acquire) == CHECKPOINT_WRITTEN &&
           atomic_load_explicit(&checkpoint->part, memory_order_relaxed) != 0;
}
/* The keeper's: the next cut is due. */
void pst_checkpoint_ask(struct run *run);
/* What the coordinator has decided. */
void pst_checkpoint_settled(struct run *run, uint64_t id, bool complete);
/* A job writes: the run's memory is still wanted. */
static inline bool pst_checkpoint_busy(const struct run *run)
{
    return run->checkpoint != NULL &&
           atomic_load_explicit(&run->checkpoint->phase, memory_order_acquire) == CHECKPOINT_WRITING;
}

/* ---- checkpoint_wait.c: where several nodes read; elsewhere all of it does nothing ---- */
/* Around the turn of a block. False: not now; whoever lets the input go on wakes the worker. */
bool pst_checkpoint_may_turn(struct worker *worker);
void pst_checkpoint_turned(struct worker *worker);
/* In the turn: where the block begins, which begins with a line, and what had been counted before. */
void pst_checkpoint_block(struct worker *worker, const struct pst_manifest_source *at);
void pst_checkpoint_take_told(struct worker *worker); /* worker 0's, in each step */
static inline bool pst_checkpoint_several(const struct run *run)
{
    return run->checkpoint != NULL && run->checkpoint->several;
}
/* This node does nothing but read: when its input has ended, checkpoints still want its end as a position. */
bool pst_checkpoint_stays(const struct run *run);
/* The keeper's: no block is sequenced until the cut of this id is known, or until then at most. What has been sequenced is to be said. */
void pst_checkpoint_wait(struct run *run, uint64_t id, uint64_t until_ns);
struct waiting {   /* what a node says that waits */
    uint64_t id;   /* that it was asked for */
    uint64_t last; /* the highest id that it knows of */
    int64_t
        time; /* the lowest cut above all that it has sequenced; INT64_MIN: that is nothing; with under_way `last`'s */
    int64_t low;    /* the lowest of which it can say where it is in the input; INT64_MIN: any */
    bool under_way; /* it is at work for `last`, and does not wait */
    bool ended;     /* all of its input has been sequenced */
};
/* The keeper's, in each step; true: it is to be told, once. */
bool pst_checkpoint_waits(struct run *run, uint64_t now_ns, struct waiting *ret_waiting);
void pst_checkpoint_wait_no_more(struct run *run, uint64_t id);   /* there will be no such cut */
void pst_checkpoint_tell(struct run *run, const struct cut *cut); /* the cut */
/* input.c: where it goes on when all of it has been sequenced, behind its end. */
void pst_input_end_position(const struct input *input, struct pst_manifest_source *ret_at);
void pst_input_bad_lines(const struct input *input, struct pst_manifest_source *at); /* those that `at` counts */
/* A cut is known: by a worker of the run. */
void pst_checkpoint_input_goes_on(struct worker *worker);
/* checkpoint.c, for it */
bool pst_checkpoint_is_idle(struct checkpoint *checkpoint); /* nothing is under way any more; the lock held */

/* checkpoint_file.c: the job */
const char *
pst_checkpoint_reason(int error); /* what the system says of it on this thread, or the error's own sentence */
int pst_checkpoint_write(struct checkpoint *checkpoint);
void pst_checkpoint_drop(struct pst_manifest **manifest);
/* Of any partition of an operator that is here; NULL: none has one. All of them have the same structures. */
const struct pst_state *pst_checkpoint_state(const struct run *run, uint32_t node);
void pst_checkpoint_count(struct checkpoint *checkpoint); /* bytes_live and bytes_files of `previous` */

#endif
