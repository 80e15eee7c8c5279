/* pool.h - inside of struct pst_pool, for the files of the state room. */
#ifndef PST_STATE_POOL_H
#define PST_STATE_POOL_H

#include "state/internal.h"

#include <stdatomic.h>

struct pst_pool {
    atomic_flag lock;
    uint64_t pages_max, cushion; /* cushion: left to states that have less than their share */
    uint64_t kept;               /* of PST_POOL_PAGES_MIN for each state, those that it does not have yet */
    struct pst_slabs slabs;
    _Atomic uint64_t pages_used;  /* in clear */
    _Atomic uint64_t pages_total; /* of all states, in and outside */
    _Atomic uint64_t
        pages_need; /* the sum of what each has touched in one callback at most, and no less than its least */
    _Atomic uint64_t pages_short; /* what was missing when a callback needed more than there was; 0: never */
};

/* A state comes, and goes with all its pages given back. */
void pst_pool_join(struct pst_pool *pool);
void pst_pool_leave(struct pst_pool *pool);
/* A page, all zero, for a state that has `resident`: one of its own PST_POOL_PAGES_MIN, or one that leaves `left` beside those of
 * all others; `over`: in any case. NULL: *ret_none, or out of memory. */
uint8_t *pst_pool_take(struct pst_pool *pool, uint64_t resident, uint64_t left, bool over, bool *ret_none);
/* Its header and used bytes are wiped. resident: what the state has without it. */
void pst_pool_give(struct pst_pool *pool, uint64_t resident, uint8_t *page);

#endif
