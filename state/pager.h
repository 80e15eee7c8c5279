/* state/pager.h - a state within a budget: pages beyond it lie outside, sealed, and come back by a look-up, never by a fault.
 *
 * Holds:    the pool of page frames that the states of a run share (struct pst_pool), where a state puts its pages (struct
 *           pst_outside), which page leaves (pst_evict), what happened (struct pst_paging_counts).
 * Refuses:  files, clocks, threads: an outside is given, event time is told.
 * Thread:   a pool is shared by the threads of its states; all else belongs to the thread of the state, but for the two calls of
 *           image.h that name their own.
 * Holds true:
 *   G1  pages in clear are at most the pool's, but while a callback needs more than others have left; who has more than his share
 *       gives back then, and a callback that all the pool would be too little for is the state's last
 *   G2  a page that lies outside opens only as what was put there last: its version is kept inside and never used again
 *   G3  a page touched since the callback began does not leave before it ends; of a log, the page touched last
 *   G4  a page that is dead is dropped: neither sealed nor fetched
 */
#ifndef PST_PAGER_H
#define PST_PAGER_H

#include "state/seal.h"
#include "state/state.h"

/* ---- the pool ---- */
struct pst_pool;
/* budget_bytes: of pages in clear, rounded down to pages. NULL: out of memory. Memory is taken as it is needed. */
struct pst_pool *pst_pool_new(uint64_t budget_bytes);
void pst_pool_free(struct pst_pool *pool); /* after all its states */
/* Memory that was never touched is dear from now on, as an enclave's is: so many bytes of pages are taken of it as they are wanted. Then a
 * page leaves instead, wherever one may, and for PST_DEAR_PAGE_INS that have come in one more page is taken: what it costs was paid by
 * then, so both together cost twice what the better of the two would have. Before it has a state. */
enum { PST_DEAR_PAGE_INS = 16 };
void pst_pool_dear(struct pst_pool *pool, uint64_t first_bytes);
/* The least budget that would have done so far: what each state touches in one callback, or its pages_min. Any thread. */
uint64_t pst_pool_least(const struct pst_pool *pool);

/* ---- the outside ---- */
/* Slots are numbered from 0 and as many as pages ever lay outside at one time. Bytes are at most
 * pst_seal_bound(PST_PAGE_BYTES). Errors of put and get end the use of the state. */
struct pst_outside {
    void *self;
    int (*put)(void *self, uint32_t slot, const void *sealed, uint32_t byte_count); /* over what was there */
    int (*get)(void *self, uint32_t slot, void *sealed, uint32_t byte_count);       /* what put got */
    void (*ahead)(void *self, uint32_t slot,
                  uint32_t byte_count);        /* it will be wanted soon; at most PST_AHEAD_MAX at once */
    void (*forget)(void *self, uint32_t slot); /* of one asked for: it is not wanted any more */
    int (*look)(void *self, uint32_t slot, void *sealed,
                uint32_t byte_count); /* as get, by another thread, for an image */
};
enum { PST_AHEAD_MAX = 32 };

/* ---- the state's side ---- */
typedef enum pst_evict { PST_EVICT_EVENT_TIME, PST_EVICT_LRU, PST_EVICT_CLOCK, PST_EVICT_RANDOM } pst_evict;
extern const char *const pst_evict_names[]; /* by pst_evict, ended by NULL */

struct pst_paging {
    struct pst_pool *pool;
    struct pst_sealer *sealer; /* of PST_SEAL_SPILL, used by the state's thread */
    struct pst_sealer *opener; /* of the same incarnation, to open alone, used by whoever has an image (image.h) */
    uint32_t operator_index;   /* in both */
    uint32_t pages_min;        /* kept for this state alone: what a callback is likely to touch */
    struct pst_outside outside;
    pst_evict evict;
    bool ahead;
};
/* From now on the state's pages are the pool's. Before it has one. Borrows pool, sealers and outside until the state is freed.
 * PST_ENOMEM. */
int pst_state_page(struct pst_state *state, const struct pst_paging *paging);

/* A callback begins at event time `now`, and pages due soon are asked for; it ends, and the pages it has touched may leave again.
 * Returns what pst_state_error() does. */
void pst_state_begin(struct pst_state *state, int64_t now);
int pst_state_end(struct pst_state *state);
void pst_state_release(struct pst_state *state); /* within one: what it has touched so far may leave */
/* Why the state must not be used any more: PST_OK, or what a page could not be had for: PST_EREFUSED it was changed outside, PST_EFULL
 * the pool is too small for what all states need, PST_ERANGE a key has sealed PST_SEALS_MAX pages, PST_EIO and others from outside,
 * PST_ENOMEM. From the first one on, records of a page that cannot be had read as zeros and a log ends before it, so that a
 * callback need not ask. ret_place: the page, where there is one; may be NULL. */
int pst_state_error(const struct pst_state *state, struct pst_seal_place *ret_place);

struct pst_paging_counts {
    uint64_t lookups;                    /* of records and entries; all that are no misses are hits */
    uint64_t page_ins, page_ins_ahead;   /* misses; of them those that had been asked for ahead */
    uint64_t page_outs, page_outs_clean; /* sealed; dropped, for the page outside was still the same */
    uint64_t page_images;                /* sealed for an image, and stayed in */
    uint64_t dead_inside, dead_outside;  /* dropped unsealed; freed without a fetch */
    uint64_t bytes_sealed, bytes_opened; /* in clear; sealed: of page_outs and page_images */
    uint64_t aheads;                     /* asked for ahead */
    uint64_t pages, pages_in_max;        /* now, in and outside; in clear at most */
    uint64_t need_pages;                 /* touched in one callback at most */
};
void pst_state_paging_counts(const struct pst_state *state, struct pst_paging_counts *ret_counts);

#endif
