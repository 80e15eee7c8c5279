/* engine/carry.h - graphs on sealed rows as any other run has them (docs/sealing.md): what stands where the operators stand is carriers,
 * which hand capsules over and can open none. Inside the room.
 *
 * A graph that is carried has the same nodes at the same places. Its source reads a sealed stream, its stateless operators are gone (the
 * user's side has run them), its plain ones are partitions whose operator is in an enclave, its sinks write what they get. Between them go
 * capsules, cut into rows of one size, so that channels, links, cuts and checkpoints are those of any graph.
 *
 * A row: event time, place, CARRY_WORDS words of the capsule, the last ones padded with zeros. All rows of a capsule have its time and
 * place, and follow each other on their channel. Place:
 *    0 bucket of the reader, 16 bits   16 partition of the producer, 16 bits   32 edge, 16 bits   48 it is the first one   49 a mark
 * The event time of a capsule is that of the mark before it on its edge and session, or at which it was put out: so it never goes back on a
 * channel, and the watermark behind a mark is what the mark says. What these say is the host's word; whoever opens checks. */
#ifndef PST_ENGINE_CARRY_H
#define PST_ENGINE_CARRY_H

#include "engine/release.h"
#include "engine/runtime.h"
#include "engine/sealed.h"

enum {
    CARRY_WORDS = 32,
    CARRY_ROW_BYTES = CARRY_WORDS * 8,
    CARRY_ROWS_MAX = (PST_CAPSULE_BYTES_MAX + CARRY_ROW_BYTES - 1) / CARRY_ROW_BYTES,
    CARRY_GATHER_BYTES = CARRY_ROWS_MAX * CARRY_ROW_BYTES,
    CARRY_FRAME_ROWS = 512, /* of a frame, where nothing else is said: 140 KiB */
};
struct carry { /* of a graph; in its arena but for the plan */
    struct sealed_plan plan;
    struct pst_graph bare; /* as it was parsed: nodes and all that hangs on them. Not to be freed */
};
/* Makes a planned graph one that is carried. PST_EGRAPH: it cannot be sealed, `why` names the operator; PST_ENOMEM. */
int pst_graph_carry(struct pst_graph *graph, struct pst_text *why);
void pst_carry_free(struct carry *carry); /* of a graph that is freed; NULL is nothing */

/* What a row's place says. PST_EDATA: no place of this graph's. */
struct carry_place {
    uint32_t bucket, producer, edge;
    bool first, mark;
};
int pst_carry_place_read(uint64_t word, struct carry_place *ret_place);

/* ---- the source ---- */
/* How many of these bytes are whole capsules. PST_EDATA, PST_EABI: something else stands among them. */
int pst_carry_whole(const char *bytes, size_t byte_count, size_t *ret_whole);
/* By turn, behind a block: the highest time that anything has come to; what all edges have promised; how many rows have been read, with the
 * block and before it. */
int64_t pst_carry_newest(const struct run *run);
int64_t pst_carry_watermark(const struct run *run);
uint64_t pst_carry_rows(const struct run *run);
uint64_t pst_carry_rows_before(const struct run *run);
/* A run that goes on from a cut. */
void pst_carry_resume(struct run *run, int64_t cut, uint64_t rows);

/* ---- on the way ---- */
/* Rows of a carrier: each capsule to whoever reads its edge. As pst_deliver(). */
int pst_carry_deliver(struct pst_ctx *ctx, const struct view *view);
/* A capsule of which rows come one after the other: `words` is CARRY_WORDS columns of them. PST_OK: with this row it is whole, and stands
 * in `bytes`; PST_EAGAIN: not yet. PST_EDATA: these are no rows of a capsule. */
struct carry_gather {
    uint8_t *bytes; /* CARRY_GATHER_BYTES of the caller's; NULL: nothing has come yet */
    uint32_t count;
};
int pst_carry_gather(struct carry_gather *gather, bool first, const void *const *words, uint32_t row,
                     struct pst_capsule *ret_capsule);
/* Rows that have come to a partition or a sink. */
int pst_carry_take(struct pst_ctx *ctx, const struct pst_rows *rows);

/* ---- a partition's worker ---- */
struct carried;
int pst_carried_init(struct pst_ctx *ctx);     /* of a sink, too */
void pst_carried_hang_up(struct pst_ctx *ctx); /* by its thread, before it ends */
void pst_carried_free(struct pst_ctx *ctx);
/* The key. PST_OK: the worker has it; PST_EAGAIN: it is asked for; else the run has ended, and says why. */
int pst_carried_key(struct pst_ctx *ctx);
/* What its buckets had at a checkpoint, and the places of all workers that had sealed any of it: kept until it has its key, for it opens
 * nothing before. Each worker's in the order in which it was put out; then the end. */
int pst_carried_back(struct pst_ctx *ctx, const uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES],
                     const struct pst_enclave_piece *piece);
void pst_carried_back_whole(struct pst_ctx *ctx, uint64_t checkpoint, int64_t cut);
/* The worker is told how far the marks go that it has been given, an epoch's end, but not beyond `limit`, if it was not yet. PST_OK: it has
 * answered; *ret_any: just now. PST_EAGAIN: it will. */
int pst_carried_time(struct pst_ctx *ctx, int64_t limit, bool *ret_any);
/* All that lies below a cut has been handed over: it is told that time, if it was not yet. It has marks that reach it, though after a checkpoint
 * this side may not have seen them: what a worker has had before its source leaves out. As pst_carried_time(). */
int pst_carried_cut(struct pst_ctx *ctx, int64_t cut, bool *ret_any);
bool pst_carried_asks(const struct pst_ctx *ctx);
int64_t pst_carried_promise(const struct pst_ctx *ctx); /* what it has sealed; INT64_MIN: nothing yet */
/* What a worker put out; the shim's callback of it. */
int pst_carried_out(void *taker, const void *bytes, size_t byte_count);

#endif
