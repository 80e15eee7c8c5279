/* pool.h - inside of struct pst_pool, for the files of the state room. */
#ifndef PST_STATE_POOL_H
#define PST_STATE_POOL_H

#include "state/internal.h"

#include <stdatomic.h>

struct pst_pool {
    atomic_flag lock;
    uint64_t pages_max, cushion; /* cushion: left to states that have less than their share */
    bool dear;                   /* what was never touched is */
    uint64_t fresh_left,
        came; /* dear: pages of it that may be taken; that have come in since the last one was added to them */
    _Atomic uint64_t kept; /* of what is each state's own, the pages that it does not have yet */
    struct pst_slabs slabs;
    _Atomic uint64_t pages_used;  /* in clear */
    _Atomic uint64_t pages_total; /* of all states, in and outside */
    _Atomic uint64_t pages_need;  /* the sum of what is each state's own */
};

/* A state, which has `resident`, has another number of pages of its own: none before it comes and when it has gone. */
void pst_pool_own(struct pst_pool *pool, uint64_t resident, uint64_t own_before, uint64_t own);
/* A page, all zero. Not the state's own, it leaves `left` beside what is kept for others, or with POOL_LAST whatever is there, or is
 * one more than there is; with POOL_FAIR it is none of dear memory. NULL: *ret_none, with POOL_FAIR also where there is no memory for more
 * pages; else out of memory. */
typedef enum pool_how { POOL_FAIR, POOL_LAST, POOL_OVER } pool_how;
uint8_t *pst_pool_take(struct pst_pool *pool, bool own, uint64_t left, pool_how how, bool *ret_none);
void pst_pool_came(struct pst_pool *pool);                          /* a page, from outside */
void pst_pool_give(struct pst_pool *pool, bool own, uint8_t *page); /* its header and used bytes are wiped */
bool pst_pool_is_half_full(
    const struct pst_pool
        *pool); /* of what may be taken before pages leave half is, or kept for others; or some have left */
bool pst_pool_is_short(const struct pst_pool *pool); /* of pages for those who have less than their share */

#endif
