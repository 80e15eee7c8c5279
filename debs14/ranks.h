/* debs14/ranks.h - order statistics of a window without keeping the window in order.
 *
 * A multiset of (value, owner) is known by one pivot value: how many readings lie below it and at it is counted by the caller,
 * for each owner. Around the pivot a region lo..hi is kept exactly, as entries (value, owner, count) in order, the pivot's own
 * value left out; beyond the region nothing is known but the counts. Almost every reading is therefore one or two comparisons:
 * it lies beyond the region, or it is the pivot (63 % of all loads are 0). When the pivot moves, the entries it passes are
 * settled one by one. When it leaves the region, the caller reads the window's log again and the region is made anew around it.
 * The region is derived from the log alone: it is scratch (O1).
 *
 * Cost: the region holds a fixed share of the window, so even a pivot that sweeps through all values reads the log a bounded number
 * of times a sweep, and no search tree of all readings is needed. */
#ifndef PST_DEBS14_RANKS_H
#define PST_DEBS14_RANKS_H

#include "operators/operator.h"

struct ranked {
    int64_t value;
    uint32_t owner, count;
};

struct ranks {
    int64_t pivot, lo,
        hi;      /* entries stand for all readings with lo <= value <= hi, value != pivot; lo <= pivot <= hi */
    bool known;  /* false: no pivot yet, or the region has to be made anew */
    uint32_t at; /* entries[at..] are above the pivot */
    uint32_t entry_count, entry_capacity;
    struct ranked *entries;
};

/* An empty region of unbounded width around a pivot. */
static inline void ranks_begin(struct ranks *ranks, int64_t pivot)
{
    ranks->pivot = pivot;
    ranks->lo = INT64_MIN;
    ranks->hi = INT64_MAX;
    ranks->known = true;
    ranks->at = ranks->entry_count = 0;
}

static inline bool ranks_has(const struct ranks *ranks, int64_t value)
{
    return value >= ranks->lo && value <= ranks->hi && value != ranks->pivot;
}

/* Room for `capacity` entries; less is kept as it is. PST_ENOMEM. */
int ranks_reserve(struct ranks *ranks, struct pst_ctx *ctx, uint32_t capacity);
/* Adds or takes `count` readings of a value that ranks_has(). A full region first gives up what is farthest from the pivot. */
void ranks_add(struct ranks *ranks, int64_t value, uint32_t owner, uint32_t count);
/* PST_EINTERNAL: it is not there. */
int ranks_take(struct ranks *ranks, int64_t value, uint32_t owner);
/* Moves the pivot to a value in lo..hi. Calls settle(argument, owner, below, equal) with signed changes for each entry that the pivot
 * passes (value strictly between: below) or reaches (equal); those at the old pivot are the caller's: it adds them with
 * ranks_add() afterwards and settles their owners itself. */
typedef void (*ranks_settle)(void *argument, uint32_t owner, int64_t below, int64_t equal);
void ranks_move(struct ranks *ranks, int64_t pivot, ranks_settle settle, void *argument);
/* The owner's nearest entry below or above the pivot; false: there is none in the region. */
bool ranks_nearest_below(const struct ranks *ranks, uint32_t owner, int64_t *ret_value);
bool ranks_nearest_above(const struct ranks *ranks, uint32_t owner, int64_t *ret_value);

#endif
