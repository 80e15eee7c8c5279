/* debs14/history.h - what Query 1 remembers: the averages of closed slices, by bucket and time of day.
 *
 * One log a bucket: an entry for each closed slice holds the averages of all its members (plugs or houses, named by the number
 * of their record), and the position of the entry of the same time of day one day earlier: a chain. A table holds the ends of
 * the chains, 64 times of day a record. So a slice's history is read in as many steps as there are days, in long runs, and is
 * wanted at a known time of day. */
#ifndef PST_DEBS14_HISTORY_H
#define PST_DEBS14_HISTORY_H

#include "debs14/numbers.h"

enum { SLICES_MAX = 16 };

struct load_plan { /* Query 1's parameters, as both operators plan them */
    uint32_t slice_count;
    int64_t slice_s[SLICES_MAX];
    int64_t every_s;
    int field[8]; /* columns of the input, in the operator's own order */
};

struct history {
    const struct load_plan *plan;
    struct pst_table *ends;
    struct pst_log *log;
    int64_t *loaded; /* [bucket][slice]: the slice index whose median stands in the members' records */
    /* scratch of history_load(), one entry a member or a value */
    uint32_t *first;
    int64_t *values;
    uint32_t member_capacity;
    size_t value_capacity;
};

struct closing { /* members whose slice closes now */
    uint32_t count;
    uint32_t *member;
    int64_t *average_uw;
    uint32_t capacity;
};

int history_open(struct history *history, struct pst_ctx *ctx, const struct load_plan *plan);
/* Remembers the members' averages of slice `index` of slice length number s. */
int history_append(struct history *history, struct pst_ctx *ctx, uint32_t bucket, uint32_t s, int64_t index,
                   const struct closing *closing);
/* Calls set() for the record of every member of the bucket with the two middle ones of its averages at the time of day of slice
 * index + 2, which is what slice `index` predicts; known false: it has none yet. Nothing is done for an index that was loaded last. */
typedef void (*history_set)(void *record, uint32_t s, bool known, int64_t low_uw, int64_t high_uw);
int history_load(struct history *history, struct pst_ctx *ctx, struct pst_table *members, uint32_t bucket, uint32_t s,
                 int64_t index, history_set set);
int closing_add(struct closing *closing, struct pst_ctx *ctx, uint32_t member, int64_t average_uw);

/* L(i+2) in milliwatts, rounded for printing, from the average of slice i and the two middle values of the history. */
static inline int64_t predict_mw(int64_t average, bool known, int64_t low, int64_t high)
{
    __extension__ typedef __int128 wide;
    if (!known)
        return round_div(average, 1000);
    wide sum = 2 * (wide)average + low + high + 2; /* floor(sum / 4) is L in whole microwatts */
    int64_t microwatts = (int64_t)(sum >= 0 ? sum / 4 : -((3 - sum) / 4));
    return round_div(microwatts, 1000);
}

extern const struct pst_operator plug_load, house_load;

#endif
