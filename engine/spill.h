/* engine/spill.h - where the pages of an instance's state lie that its budget has no room for (docs/paging.md). Inside the room.
 *
 * Threads:  a spill belongs to its instance's worker. Writing, and reading ahead, is done by a job in the pool, one at a time for each
 *           spill; a checkpoint's job may look at what is there. The lock is held to copy a page, never over a call of the file.
 * Bounds:   SPILL_WRITES pages on their way out, PST_AHEAD_MAX asked for; where the first are all taken the worker writes one itself.
 */
#ifndef PST_ENGINE_SPILL_H
#define PST_ENGINE_SPILL_H

#include "engine/runtime.h"

/* Where the run has a budget: the pool, the key that nobody keeps. Before instances are opened. */
int pst_paging_init(struct run *run);
/* When all are: every state must have its least. */
int pst_paging_fits(struct run *run);
/* The run could begin with all that is open now, where `into`, or NULL, is to have so many buckets more. */
bool pst_paging_has_room(const struct run *run, const struct pst_ctx *into, uint32_t bucket_count);
void pst_paging_fini(struct run *run); /* after all states */
/* To ctx->state, that was just made. An error has ended the run, and says why. */
int pst_paging_attach(struct pst_ctx *ctx);
void pst_paging_detach(struct pst_ctx *ctx); /* when it has been freed */
int pst_paging_report(struct run *run, struct pst_run_report *report);

/* The sentence for a page that is not what was put there. Any thread, once the state's structures are open. */
struct pst_seal_place;
void pst_paging_refused(const struct pst_ctx *ctx, const struct pst_seal_place *place, char *ret_sentence,
                        size_t bytes);

/* Around each callback of an instance. */
static inline void pst_paging_begins(struct pst_ctx *ctx, int64_t t)
{
    if (ctx->spill != NULL)
        pst_state_begin(ctx->state, t);
}
int pst_paging_failed(struct pst_ctx *ctx, int error); /* says why */
/* rc: the callback's. */
static inline int pst_paging_ends(struct pst_ctx *ctx, int rc)
{
    if (ctx->spill == NULL)
        return rc;
    int error = pst_state_end(ctx->state);
    return error != PST_OK ? pst_paging_failed(ctx, error) : rc;
}

#endif
