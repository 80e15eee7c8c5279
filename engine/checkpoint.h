/* engine/checkpoint.h - checkpoints of a running graph (docs/checkpoints.md). Inside the room: nobody else includes it.
 *
 * Threads:  the cut is chosen and the input's position found in the turn of a block, by whoever has it; an image is taken by its
 *           partition's worker; whoever brings the last of these starts the job, which runs in the pool; then all is idle again.
 * Holds true:
 *   C1  no partition has been given a row at or above the cut when it is published
 *   C2  an image is taken when all rows below the cut have been delivered, on_time(cut) has been called, and nothing else
 *   C3  a manifest gets its name when all that it names is on the disk; nothing that a kept manifest names is removed
 */
#ifndef PST_ENGINE_CHECKPOINT_H
#define PST_ENGINE_CHECKPOINT_H

#include "engine/runtime.h"
#include "state/manifest.h"

#define CUT_NONE INT64_MAX
#define FILES_SLACK_BYTES (UINT64_C(64) << 20)

enum checkpoint_phase { CHECKPOINT_IDLE, CHECKPOINT_CHOSEN, CHECKPOINT_WRITING };

struct checkpoint {
    struct run *run;
    const char *directory;
    struct pst_secret *master; /* the newest key: it seals */
    uint8_t graph[PST_GRAPH_DIGEST_BYTES];
    int64_t epoch; /* a multiple of all operators' epochs: cuts are multiples of it */
    uint64_t every_rows, every_ns;
    _Atomic int phase;
    /* chosen, in a turn */
    int64_t cut;
    uint64_t id, rows_at, ns_at; /* when the last one was chosen */
    bool full, full_next; /* full_next: what `previous` names is sealed under an older key, or must not be built on */
    bool positioned;
    struct pst_manifest_source source;
    uint64_t dead_letter_bytes;
    /* brought, each by its own thread */
    atomic_uint missing; /* images and the position */
    atomic_bool dropped; /* one of them could not be had */
    struct part *parts;  /* by instance */
    /* the job's, and the turn's when all is idle */
    struct pst_manifest *previous; /* NULL: none that this run may build on */
    bool folders_synced;
    uint64_t bytes_live, bytes_files;
    struct pst_checkpoint_report report;
};

struct part { /* what one instance has brought */
    struct pst_image image;
    bool imaged;
    uint32_t since; /* the generation of its image in `previous`; 0: none */
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
/* A checkpoint was found that this run goes on from. */
static inline bool pst_checkpoint_resumes(const struct run *run)
{
    return run->checkpoint != NULL && run->checkpoint->previous != NULL;
}
/* The sink's committed bytes in what was found; false: it is not named there. */
bool pst_checkpoint_sink(const struct run *run, const char *file, uint64_t *ret_bytes, uint64_t *ret_rows);

/* In the turn of a block, before its rows are counted; `worker` has the turn. */
void pst_checkpoint_turn(struct worker *worker);
/* The same, with the position of the first row at or above the cut. */
void pst_checkpoint_position(struct worker *worker, const struct pst_manifest_source *source,
                             uint64_t dead_letter_bytes);
static inline bool pst_checkpoint_wants_position(const struct run *run)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    return checkpoint != NULL && !checkpoint->positioned &&
           atomic_load_explicit(&checkpoint->phase, memory_order_relaxed) == CHECKPOINT_CHOSEN;
}

/* The cut that this partition has still to bring its image for, or CUT_NONE. After its watermark was read. */
static inline int64_t pst_checkpoint_cut(const struct pst_ctx *ctx)
{
    int64_t cut = atomic_load_explicit(&ctx->run->cut, memory_order_acquire);
    return cut > ctx->cut_done ? cut : CUT_NONE;
}
void pst_checkpoint_image(struct pst_ctx *ctx, int64_t cut);

/* checkpoint_file.c: the job */
const char *
pst_checkpoint_reason(int error);          /* what the system says of it on this thread, or the error's own sentence */
void pst_checkpoint_write(void *argument); /* a struct checkpoint */
void pst_checkpoint_count(struct checkpoint *checkpoint); /* bytes_live and bytes_files of `previous` */

#endif
