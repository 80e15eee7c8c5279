/* median.c - the operator median_all: the two middle values of all readings in each window, second by second. */
#include "debs14/outliers.h"

#include <string.h>

enum { REGION_ENTRIES = 4096, DIGIT_BITS = 12, DIGITS = 3, DIGIT_VALUES = 1 << DIGIT_BITS };
#define VALUE_OFFSET ((int64_t)1 << (DIGIT_BITS * DIGITS - 1)) /* makes values, |v| < 2^35 mW, digits of 36 bits */

struct window {        /* record: key is the window's number */
    uint64_t tail;     /* position of the first bunch that is in it */
    int64_t tail_time; /* its; NOT_LOOKED: nobody has looked, so that the page is left alone until the bunch leaves */
    uint64_t count, below, equal; /* readings in it; below and at the pivot */
    int64_t lower, upper;         /* as put out last */
    uint64_t known;               /* they were */
};

struct median_all {
    const struct windows_plan *plan;
    struct pst_table *windows;
    struct pst_log *log;
    struct ranks ranks[WINDOWS_MAX];
    struct bunch bunch;
    uint64_t histogram[DIGIT_VALUES];
};

static int median_plan(struct pst_plan *p)
{
    static const struct pst_field medians[] = {
        {"window_number", PST_U32, 0}, {"lower", PST_I64, 3}, {"upper", PST_I64, 3}};
    struct windows_plan *plan = windows_plan(p);
    if (plan == NULL)
        return PST_ENOMEM;
    bool whole = plan_field(p, &plan->field[0], 0, "value", PST_I64, 3);
    int rc = pst_plan_output(p, 0, medians, 3, -1);
    pst_plan_order(p, PST_ORDER_EPOCH, 1);
    return whole ? rc : PST_EGRAPH;
}

static int median_open(struct pst_ctx *ctx)
{
    struct median_all *all = pst_alloc(ctx, sizeof *all);
    if (all == NULL)
        return PST_ENOMEM;
    all->plan = pst_planned(ctx);
    pst_set_user(ctx, all);
    all->windows = pst_table_open(ctx, "windows", sizeof(uint32_t), sizeof(struct window));
    all->log = pst_log_open(ctx, "readings");
    if (all->windows == NULL || all->log == NULL)
        return PST_ENOMEM;
    for (uint32_t w = 0; w < all->plan->window_count; w++)
        if (ranks_reserve(&all->ranks[w], ctx, REGION_ENTRIES) != PST_OK)
            return PST_ENOMEM;
    return windows_wanted(ctx, all->plan, all->log);
}

static struct window *window_of(struct pst_ctx *ctx, struct median_all *all, uint32_t w)
{
    void *record = NULL;
    uint64_t hash = (w + 1) * 0x9e3779b97f4a7c15u;
    uint32_t bucket = 0;
    if (pst_table_upsert(ctx, all->windows, 1, &bucket, &hash, &w, NULL, &record) != PST_OK)
        return NULL;
    struct window *window = record;
    if (window->tail == 0) { /* new: positions in a log are above 0 */
        window->tail = pst_log_tail(ctx, all->log, 0);
        window->tail_time = NOT_LOOKED;
    }
    return window;
}

/* ---- what comes and what leaves ---- */
static void add(struct window *window, struct ranks *ranks, const int64_t *values, uint32_t n)
{
    uint64_t below = 0, equal = 0;
    window->count += n;
    if (!ranks->known)
        return; /* counted from the log when the region is made */
    for (uint32_t i = 0; i < n; i++) {
        below += values[i] < ranks->pivot;
        equal += values[i] == ranks->pivot;
        if (ranks_has(ranks, values[i]))
            ranks_add(ranks, values[i], 0, 1);
    }
    window->below += below;
    window->equal += equal;
}

static int take(struct window *window, struct ranks *ranks, const struct bunch *bunch)
{
    uint64_t below = 0, equal = 0;
    window->count -= bunch->count;
    for (uint32_t i = 0; i < bunch->count && ranks->known; i++) {
        below += bunch->value[i] < ranks->pivot;
        equal += bunch->value[i] == ranks->pivot;
        if (ranks_has(ranks, bunch->value[i]) && ranks_take(ranks, bunch->value[i], 0) != PST_OK)
            return PST_EINTERNAL;
    }
    window->below -= below;
    window->equal -= equal;
    return PST_OK;
}

static int median_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct median_all *all = pst_user(ctx);
    const int64_t *values = rows->columns[all->plan->field[0]];
    int rc = readings_append(ctx, all->log, 0, rows->time[0], values, NULL, rows->row_count);
    for (uint32_t w = 0; w < all->plan->window_count && rc == PST_OK; w++) {
        struct window *window = window_of(ctx, all, w);
        if (window == NULL)
            return PST_ENOMEM;
        add(window, &all->ranks[w], values, rows->row_count);
    }
    return rc;
}

/* ---- the region, made anew ---- */
/* The value of rank `rank` (from 0) among the window's readings: one pass over its log for each digit. */
static int64_t select_rank(struct pst_ctx *ctx, struct median_all *all, const struct window *window, uint64_t rank)
{
    uint64_t prefix = 0;
    for (int digit = DIGITS - 1; digit >= 0; digit--) {
        uint64_t position = window->tail;
        memset(all->histogram, 0, sizeof all->histogram);
        while (readings_next(ctx, all->log, 0, &position, &all->bunch)) {
            for (uint32_t i = 0; i < all->bunch.count; i++) {
                uint64_t value = (uint64_t)(all->bunch.value[i] + VALUE_OFFSET) >> (digit * DIGIT_BITS);
                if (value >> DIGIT_BITS == prefix)
                    all->histogram[value & (DIGIT_VALUES - 1)]++;
            }
        }
        uint32_t d = 0;
        while (d < DIGIT_VALUES - 1 && rank >= all->histogram[d])
            rank -= all->histogram[d++];
        prefix = prefix << DIGIT_BITS | d;
    }
    return (int64_t)prefix - VALUE_OFFSET;
}

static void rebuild(struct pst_ctx *ctx, struct median_all *all, struct window *window, struct ranks *ranks)
{
    uint64_t position = window->tail, count = window->count;
    ranks_begin(ranks, select_rank(ctx, all, window, (window->count - 1) / 2));
    window->below = window->equal = 0;
    while (readings_next(ctx, all->log, 0, &position, &all->bunch))
        add(window, ranks, all->bunch.value, all->bunch.count);
    window->count = count;
}

/* ---- the middle ---- */
/* The value of a rank, if the region holds it. */
static bool find_rank(const struct window *window, const struct ranks *ranks, uint64_t rank, int64_t *ret_value)
{
    uint64_t seen = window->below;
    if (rank < seen) {
        for (uint32_t i = ranks->at; i > 0; i--) {
            seen -= ranks->entries[i - 1].count;
            *ret_value = ranks->entries[i - 1].value;
            if (rank >= seen)
                return true;
        }
        return false;
    }
    seen += window->equal;
    *ret_value = ranks->pivot;
    for (uint32_t i = ranks->at; rank >= seen; i++) {
        if (i == ranks->entry_count)
            return false;
        seen += ranks->entries[i].count;
        *ret_value = ranks->entries[i].value;
    }
    return true;
}

static void settle(void *argument, uint32_t owner, int64_t below, int64_t equal)
{
    struct window *window = argument;
    (void)owner;
    window->below += (uint64_t)below;
    window->equal += (uint64_t)equal;
}

static void move_pivot(struct window *window, struct ranks *ranks, int64_t pivot)
{
    int64_t before = ranks->pivot;
    uint32_t equal = (uint32_t)window->equal;
    if (pivot > before)
        window->below += window->equal;
    window->equal = 0;
    ranks_move(ranks, pivot, settle, window);
    if (equal != 0 && ranks_has(ranks, before))
        ranks_add(ranks, before, 0, equal);
}

static int find_middle(struct pst_ctx *ctx, struct median_all *all, struct window *window, struct ranks *ranks,
                       int64_t *ret_lower, int64_t *ret_upper)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!ranks->known || attempt == 1)
            rebuild(ctx, all, window, ranks);
        if (!find_rank(window, ranks, (window->count - 1) / 2, ret_lower))
            continue;
        if (*ret_lower != ranks->pivot)
            move_pivot(window, ranks, *ret_lower);
        if (find_rank(window, ranks, window->count / 2, ret_upper))
            return PST_OK;
    }
    return PST_EINTERNAL;
}

static int put_medians(struct pst_ctx *ctx, uint32_t w, struct window *window, int64_t lower, int64_t upper)
{
    if (window->known != 0 && window->lower == lower && window->upper == upper)
        return PST_OK;
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    window->lower = lower;
    window->upper = upper;
    window->known = 1;
    uint32_t row = out->row_count++;
    ((uint32_t *)out->columns[0])[row] = w;
    ((int64_t *)out->columns[1])[row] = lower;
    ((int64_t *)out->columns[2])[row] = upper;
    out->bucket[row] = 0;
    return PST_OK;
}

/* Drops what left window w by second `now`; *ret_next: when the next bunch leaves. */
static int expire(struct pst_ctx *ctx, struct median_all *all, uint32_t w, struct window *window, int64_t now,
                  int64_t *ret_next)
{
    int64_t length = all->plan->window_s[w];
    *ret_next = INT64_MAX;
    while (window->tail_time != NOT_LOOKED || readings_time(ctx, all->log, 0, window->tail, &window->tail_time)) {
        if (window->tail_time > now - length) {
            *ret_next = window->tail_time + length;
            break;
        }
        if (!readings_next(ctx, all->log, 0, &window->tail, &all->bunch))
            return PST_EINTERNAL;
        window->tail_time = NOT_LOOKED;
        if (take(window, &all->ranks[w], &all->bunch) != PST_OK)
            return PST_EINTERNAL;
    }
    return PST_OK;
}

static int median_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct median_all *all = pst_user(ctx);
    int64_t timer = INT64_MAX;
    uint64_t tail = UINT64_MAX;
    int rc = PST_OK;
    for (uint32_t w = 0; w < all->plan->window_count && rc == PST_OK; w++) {
        int64_t next, lower, upper;
        struct window *window = window_of(ctx, all, w);
        if (window == NULL)
            return PST_ENOMEM;
        rc = expire(ctx, all, w, window, t - 1, &next);
        timer = next < timer ? next : timer;
        tail = window->tail < tail ? window->tail : tail;
        if (rc != PST_OK || window->count == 0)
            continue;
        rc = find_middle(ctx, all, window, &all->ranks[w], &lower, &upper);
        if (rc == PST_OK)
            rc = put_medians(ctx, w, window, lower, upper);
    }
    if (rc == PST_OK)
        rc = pst_log_trim(ctx, all->log, 0, tail);
    if (timer != INT64_MAX)
        pst_timer_set(ctx, 0, timer + 1); /* second s is looked at in on_time(s + 1) */
    return rc;
}

const struct pst_operator median_all = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "median_all",
    .summary = "DEBS'14 Query 2: the two middle values of all readings of all plugs, in each window.",
    .input_count = 1,
    .output_count = 1,
    .param_count = 1,
    .params = windows_params,
    .plan = median_plan,
    .open = median_open,
    .on_frame = median_on_frame,
    .on_time = median_on_time,
};
