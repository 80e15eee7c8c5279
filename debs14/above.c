/* above.c - the operator plug_above: which plugs' medians are greater than the median of all, window by window. */
#include "debs14/outliers.h"

#include <string.h>

enum { ABOVE_VALUE, ABOVE_HOUSE, ABOVE_HOUSEHOLD, ABOVE_PLUG, ABOVE_WINDOW, ABOVE_LOWER, ABOVE_UPPER };
enum { REGION_ENTRIES = 512, REGION_ENTRIES_A_PLUG = 16 };

struct plug_key {
    uint32_t house, household, plug;
};

struct plug_window {
    uint32_t count, below, equal; /* readings in the window; below and at the pivot L */
    uint32_t passed;              /* for the moment of a pivot's move */
    uint32_t above, alive;        /* as put out last */
    uint32_t gap_known, tied;     /* tied: the verdict hung on the gap when it was looked at last */
    int64_t gap_low, gap_high;    /* neighbours in the order of this plug's readings, found for a tie */
};

struct plug { /* record */
    uint64_t touched;
    struct plug_window windows[];
};

struct window { /* record: key is the window's number */
    uint64_t tail;
    int64_t
        tail_time; /* of the readings there; NOT_LOOKED: nobody has looked, so that the page is left alone until they leave */
    int64_t lower, upper;
    uint64_t known; /* median_all has spoken */
};

struct place { /* scratch of a bucket */
    struct ranks ranks[WINDOWS_MAX];
    uint32_t tied_count[WINDOWS_MAX]; /* plugs in a tie: theirs are the verdicts that L and U alone can change */
    uint32_t *touched;
    uint32_t touched_count, touched_capacity;
};

struct medians { /* what came from median_all in this epoch */
    bool fresh;
    int64_t lower, upper;
};

struct plug_above {
    const struct windows_plan *plan;
    struct pst_table *plugs, *windows;
    struct pst_log *log;
    struct place *places; /* by bucket */
    uint32_t bucket_count;
    struct medians medians[WINDOWS_MAX];
    bool fresh;
    struct bunch bunch;
    struct plug_key keys[PST_OUT_ROWS_MAX];
    void *records[PST_OUT_ROWS_MAX];
    uint32_t indices[PST_OUT_ROWS_MAX], order[PST_OUT_ROWS_MAX], owners[PST_OUT_ROWS_MAX];
    int64_t values[PST_OUT_ROWS_MAX];
    uint32_t *first; /* by bucket, for counting */
};

static int above_plan(struct pst_plan *p)
{
    static const struct pst_field changes[] = {
        {"window_number", PST_U32, 0}, {"house_id", PST_U32, 0}, {"above", PST_I64, 0}, {"alive", PST_I64, 0}};
    struct windows_plan *plan = windows_plan(p);
    if (plan == NULL)
        return PST_ENOMEM;
    bool whole = plan_field(p, &plan->field[ABOVE_VALUE], 0, "value", PST_I64, 3);
    whole &= plan_field(p, &plan->field[ABOVE_HOUSE], 0, "house_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[ABOVE_HOUSEHOLD], 0, "household_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[ABOVE_PLUG], 0, "plug_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[ABOVE_WINDOW], 1, "window_number", PST_U32, 0);
    whole &= plan_field(p, &plan->field[ABOVE_LOWER], 1, "lower", PST_I64, 3);
    whole &= plan_field(p, &plan->field[ABOVE_UPPER], 1, "upper", PST_I64, 3);
    int rc = pst_plan_output(p, 0, changes, 4, -1);
    pst_plan_order(p, PST_ORDER_EPOCH, 1);
    return whole ? rc : PST_EGRAPH;
}

static int above_open(struct pst_ctx *ctx)
{
    uint32_t owned_count;
    const uint32_t *owned = pst_buckets(ctx, &owned_count);
    struct plug_above *above = pst_alloc(ctx, sizeof *above);
    if (above == NULL)
        return PST_ENOMEM;
    above->plan = pst_planned(ctx);
    pst_set_user(ctx, above);
    uint32_t windows = above->plan->window_count;
    above->bucket_count = owned_count == 0 ? 1 : owned[owned_count - 1] + 1;
    above->plugs = pst_table_open(ctx, "plugs", sizeof(struct plug_key),
                                  (uint32_t)(sizeof(struct plug) + windows * sizeof(struct plug_window)));
    above->windows = pst_table_open(ctx, "windows", sizeof(uint32_t), sizeof(struct window));
    above->log = pst_log_open(ctx, "readings");
    above->places = pst_alloc(ctx, above->bucket_count * sizeof *above->places);
    above->first = pst_alloc(ctx, (above->bucket_count + 1) * sizeof *above->first);
    bool whole = above->plugs != NULL && above->windows != NULL && above->log != NULL && above->places != NULL &&
                 above->first != NULL;
    return whole ? windows_wanted(ctx, above->plan, above->log) : PST_ENOMEM;
}

static struct window *window_of(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w)
{
    void *record = NULL;
    uint64_t hash = (w + 1) * 0x9e3779b97f4a7c15u;
    if (pst_table_upsert(ctx, above->windows, 1, &bucket, &hash, &w, NULL, &record) != PST_OK)
        return NULL;
    struct window *window = record;
    if (window->tail == 0) { /* new: positions in a log are above 0 */
        window->tail = pst_log_tail(ctx, above->log, bucket);
        window->tail_time = NOT_LOOKED;
    }
    return window;
}

static struct plug *plug_of(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t index)
{
    return pst_table_record(ctx, above->plugs, bucket, index);
}

/* ---- touched plugs: those to be looked at when the second is over ---- */
static int touch(struct pst_ctx *ctx, struct place *place, struct plug *plug, uint32_t index)
{
    if (plug->touched != 0)
        return PST_OK;
    if (place->touched_count == place->touched_capacity) {
        uint32_t capacity = place->touched_capacity == 0 ? 64 : place->touched_capacity * 2;
        uint32_t *touched = pst_alloc(ctx, capacity * sizeof *touched);
        if (touched == NULL)
            return PST_ENOMEM;
        if (place->touched_count != 0)
            memcpy(touched, place->touched, place->touched_count * sizeof *touched);
        place->touched = touched;
        place->touched_capacity = capacity;
    }
    plug->touched = 1;
    place->touched[place->touched_count++] = index;
    return PST_OK;
}

/* ---- one reading in one window ---- */
static inline void add(struct plug_window *in, struct ranks *ranks, int64_t value, uint32_t index)
{
    if (!ranks->known)
        return; /* counted from the log when the region is made */
    in->below += value < ranks->pivot;
    in->equal += value == ranks->pivot;
    if (ranks_has(ranks, value))
        ranks_add(ranks, value, index, 1);
    if (in->gap_known != 0 && value > in->gap_low && value < in->gap_high) {
        if (value <= ranks->pivot)
            in->gap_low = value;
        else
            in->gap_high = value;
    }
}

static inline int take(struct plug_window *in, struct ranks *ranks, int64_t value, uint32_t index)
{
    in->count--;
    if (!ranks->known)
        return PST_OK;
    in->below -= value < ranks->pivot;
    in->equal -= value == ranks->pivot;
    if (value == in->gap_low || value == in->gap_high)
        in->gap_known = 0;
    return ranks_has(ranks, value) ? ranks_take(ranks, value, index) : PST_OK;
}

/* ---- what comes ---- */
static void sort_by_bucket(struct plug_above *above, const uint32_t *bucket, uint32_t n)
{
    uint32_t *first = above->first;
    memset(first, 0, (above->bucket_count + 1) * sizeof *first);
    for (uint32_t i = 0; i < n; i++)
        first[bucket[i] + 1]++;
    for (uint32_t b = 0; b < above->bucket_count; b++)
        first[b + 1] += first[b];
    for (uint32_t i = 0; i < n; i++)
        above->order[first[bucket[i]]++] = i;
}

/* The readings of one bucket: order[from..to). */
static int bucket_rows(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t from, uint32_t to,
                       int64_t time, const int64_t *value)
{
    struct place *place = &above->places[bucket];
    uint32_t windows = above->plan->window_count;
    for (uint32_t k = from; k < to; k++) {
        uint32_t i = above->order[k];
        struct plug *plug = above->records[i];
        above->values[k - from] = value[i];
        above->owners[k - from] = above->indices[i];
        int rc = touch(ctx, place, plug, above->indices[i]);
        if (rc != PST_OK)
            return rc;
        for (uint32_t w = 0; w < windows; w++) {
            plug->windows[w].count++;
            add(&plug->windows[w], &place->ranks[w], value[i], above->indices[i]);
        }
    }
    return readings_append(ctx, above->log, bucket, time, above->values, above->owners, to - from);
}

static int some_rows(struct pst_ctx *ctx, struct plug_above *above, const struct pst_rows *rows, uint32_t from,
                     uint32_t n)
{
    const int *field = above->plan->field;
    const int64_t *value = (const int64_t *)rows->columns[field[ABOVE_VALUE]] + from;
    const uint32_t *house = (const uint32_t *)rows->columns[field[ABOVE_HOUSE]] + from;
    const uint32_t *household = (const uint32_t *)rows->columns[field[ABOVE_HOUSEHOLD]] + from;
    const uint32_t *plug = (const uint32_t *)rows->columns[field[ABOVE_PLUG]] + from;
    const uint32_t *bucket = rows->bucket + from;
    for (uint32_t i = 0; i < n; i++)
        above->keys[i] = (struct plug_key){house[i], household[i], plug[i]};
    int rc =
        pst_table_upsert(ctx, above->plugs, n, bucket, rows->hash + from, above->keys, above->indices, above->records);
    if (rc != PST_OK)
        return rc;
    sort_by_bucket(above, bucket, n);
    for (uint32_t k = 0, end; k < n && rc == PST_OK; k = end) {
        uint32_t b = bucket[above->order[k]];
        end = above->first[b]; /* by now the end of bucket b's rows */
        rc = bucket_rows(ctx, above, b, k, end, rows->time[from], value);
    }
    return rc;
}

static int above_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct plug_above *above = pst_user(ctx);
    const int *field = above->plan->field;
    if (rows->input == 1) {
        for (uint32_t i = 0; i < rows->row_count; i++) {
            uint32_t w = ((const uint32_t *)rows->columns[field[ABOVE_WINDOW]])[i];
            if (w >= above->plan->window_count) {
                pst_fail(
                    ctx,
                    "a window that this operator does not know: give the operators of the query the same `windows`");
                return PST_EINVAL;
            }
            above->medians[w] = (struct medians){true, ((const int64_t *)rows->columns[field[ABOVE_LOWER]])[i],
                                                 ((const int64_t *)rows->columns[field[ABOVE_UPPER]])[i]};
            above->fresh = true;
        }
        return PST_OK;
    }
    for (uint32_t from = 0; from < rows->row_count; from += PST_OUT_ROWS_MAX) {
        uint32_t rest = rows->row_count - from;
        pst_release(ctx);
        int rc = some_rows(ctx, above, rows, from, rest < PST_OUT_ROWS_MAX ? rest : PST_OUT_ROWS_MAX);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- what leaves ---- */
static int expire(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w, struct window *window,
                  int64_t now, int64_t *ret_next)
{
    struct place *place = &above->places[bucket];
    struct bunch *bunch = &above->bunch;
    int64_t length = above->plan->window_s[w];
    *ret_next = INT64_MAX;
    while (window->tail_time != NOT_LOOKED ||
           readings_time(ctx, above->log, bucket, window->tail, &window->tail_time)) {
        if (window->tail_time > now - length) {
            *ret_next = window->tail_time + length;
            break;
        }
        if (!readings_next(ctx, above->log, bucket, &window->tail, bunch))
            return PST_EINTERNAL;
        window->tail_time = NOT_LOOKED;
        for (uint32_t i = 0; i < bunch->count; i++) {
            struct plug *plug = plug_of(ctx, above, bucket, bunch->owner[i]);
            int rc = touch(ctx, place, plug, bunch->owner[i]);
            if (rc == PST_OK)
                rc = take(&plug->windows[w], &place->ranks[w], bunch->value[i], bunch->owner[i]);
            if (rc != PST_OK)
                return rc;
        }
    }
    return PST_OK;
}

/* ---- a new median of all ---- */
static int rebuild(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w,
                   const struct window *window)
{
    struct ranks *ranks = &above->places[bucket].ranks[w];
    uint32_t count = pst_table_count(ctx, above->plugs, bucket);
    int rc = ranks_reserve(ranks, ctx, REGION_ENTRIES + count * REGION_ENTRIES_A_PLUG);
    if (rc != PST_OK)
        return rc;
    ranks_begin(ranks, window->lower);
    for (uint32_t m = 0; m < count; m++) {
        struct plug_window *in = &plug_of(ctx, above, bucket, m)->windows[w];
        in->below = in->equal = 0;
        in->gap_known = in->tied = 0;
    }
    above->places[bucket].tied_count[w] = 0;
    uint64_t position = window->tail;
    while (readings_next(ctx, above->log, bucket, &position, &above->bunch)) {
        for (uint32_t i = 0; i < above->bunch.count; i++)
            add(&plug_of(ctx, above, bucket, above->bunch.owner[i])->windows[w], ranks, above->bunch.value[i],
                above->bunch.owner[i]);
    }
    return PST_OK;
}

struct settling {
    struct pst_ctx *ctx;
    struct plug_above *above;
    uint32_t bucket, w;
    int rc;
};

static void settle(void *argument, uint32_t owner, int64_t below, int64_t equal)
{
    struct settling *s = argument;
    struct plug *plug = plug_of(s->ctx, s->above, s->bucket, owner);
    struct plug_window *in = &plug->windows[s->w];
    int rc = touch(s->ctx, &s->above->places[s->bucket], plug, owner);
    s->rc = s->rc == PST_OK ? rc : s->rc;
    in->below = (uint32_t)((int64_t)in->below + below);
    in->equal = (uint32_t)((int64_t)in->equal + equal);
}

/* The readings at the old pivot become entries like the others. Whoever's count of readings up to L changes is touched. */
static int move_pivot(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w, int64_t pivot)
{
    struct ranks *ranks = &above->places[bucket].ranks[w];
    struct settling settling = {ctx, above, bucket, w, PST_OK};
    uint32_t count = pst_table_count(ctx, above->plugs, bucket);
    int64_t before = ranks->pivot;
    for (uint32_t m = 0; m < count; m++) {
        struct plug *plug = plug_of(ctx, above, bucket, m);
        struct plug_window *in = &plug->windows[w];
        in->passed = in->equal;
        in->below += pivot > before ? in->equal : 0;
        in->equal = 0;
        if (in->passed != 0 && pivot < before && settling.rc == PST_OK)
            settling.rc = touch(ctx, &above->places[bucket], plug, m);
    }
    ranks_move(ranks, pivot, settle, &settling);
    for (uint32_t m = 0; m < count; m++) {
        const struct plug_window *in = &plug_of(ctx, above, bucket, m)->windows[w];
        if (in->passed != 0 && ranks_has(ranks, before))
            ranks_add(ranks, before, m, in->passed);
    }
    return settling.rc;
}

/* Brings a bucket up to the newest medians; *ret_all: every plug has to be looked at again. */
static int apply_medians(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w,
                         struct window *window, bool *ret_all)
{
    const struct medians *medians = &above->medians[w];
    struct ranks *ranks = &above->places[bucket].ranks[w];
    *ret_all = false;
    if (medians->fresh) {
        *ret_all = window->known == 0 || above->places[bucket].tied_count[w] != 0;
        window->lower = medians->lower;
        window->upper = medians->upper;
        window->known = 1;
    }
    if (window->known == 0)
        return PST_OK;
    if (!ranks->known || window->lower < ranks->lo || window->lower > ranks->hi) {
        *ret_all = true;
        return rebuild(ctx, above, bucket, w, window);
    }
    return window->lower != ranks->pivot ? move_pivot(ctx, above, bucket, w, window->lower) : PST_OK;
}

/* ---- the verdict ---- */
/* A tie: the plug's two middle values are its greatest reading up to L and its least above. The region knows them or, seldom,
 * the log. They are remembered until one of them leaves. */
static void find_gap(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w, uint32_t index,
                     const struct window *window, struct plug_window *in)
{
    const struct ranks *ranks = &above->places[bucket].ranks[w];
    bool low = true, high;
    in->gap_known = 1;
    if (in->equal != 0)
        in->gap_low = ranks->pivot;
    else
        low = ranks_nearest_below(ranks, index, &in->gap_low);
    high = ranks_nearest_above(ranks, index, &in->gap_high);
    if (low && high)
        return;
    uint64_t position = window->tail;
    in->gap_low = INT64_MIN;
    in->gap_high = INT64_MAX;
    while (readings_next(ctx, above->log, bucket, &position, &above->bunch)) {
        for (uint32_t i = 0; i < above->bunch.count; i++) {
            int64_t value = above->bunch.value[i];
            if (above->bunch.owner[i] != index)
                continue;
            if (value <= window->lower && value > in->gap_low)
                in->gap_low = value;
            if (value > window->lower && value < in->gap_high)
                in->gap_high = value;
        }
    }
}

static bool is_above(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w, uint32_t index,
                     const struct window *window, struct plug_window *in)
{
    uint64_t twice = 2 * ((uint64_t)in->below + in->equal);
    if (twice != in->count)
        return twice < in->count;
    if (in->gap_known == 0 || window->lower < in->gap_low || window->lower >= in->gap_high)
        find_gap(ctx, above, bucket, w, index, window, in);
    return in->gap_low + in->gap_high > window->lower + window->upper;
}

static int judge(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w, uint32_t index,
                 const struct window *window)
{
    struct plug_window *in = &plug_of(ctx, above, bucket, index)->windows[w];
    bool alive = in->count != 0 && window->known != 0;
    bool tied = alive && 2 * ((uint64_t)in->below + in->equal) == in->count;
    above->places[bucket].tied_count[w] += tied - in->tied;
    in->tied = tied;
    bool is = alive && is_above(ctx, above, bucket, w, index, window, in);
    if (is == (in->above != 0) && alive == (in->alive != 0))
        return PST_OK;
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    const struct plug_key *key = pst_table_key(ctx, above->plugs, bucket, index);
    uint32_t row = out->row_count++;
    ((uint32_t *)out->columns[0])[row] = w;
    ((uint32_t *)out->columns[1])[row] = key->house;
    ((int64_t *)out->columns[2])[row] = (int64_t)is - in->above;
    ((int64_t *)out->columns[3])[row] = (int64_t)alive - in->alive;
    out->bucket[row] = bucket;
    in->above = is ? 1 : 0;
    in->alive = alive ? 1 : 0;
    return PST_OK;
}

static int judge_window(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, uint32_t w,
                        const struct window *window, bool all)
{
    const struct place *place = &above->places[bucket];
    uint32_t count = all ? pst_table_count(ctx, above->plugs, bucket) : place->touched_count;
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = judge(ctx, above, bucket, w, all ? i : place->touched[i], window);
    return rc;
}

static int bucket_time(struct pst_ctx *ctx, struct plug_above *above, uint32_t bucket, int64_t now)
{
    struct place *place = &above->places[bucket];
    int64_t timer = INT64_MAX;
    uint64_t tail = UINT64_MAX;
    int rc = PST_OK;
    bool all[WINDOWS_MAX] = {false};
    for (uint32_t w = 0; w < above->plan->window_count && rc == PST_OK; w++) {
        int64_t next;
        struct window *window = window_of(ctx, above, bucket, w);
        if (window == NULL)
            return PST_ENOMEM;
        rc = expire(ctx, above, bucket, w, window, now, &next);
        timer = next < timer ? next : timer;
        tail = window->tail < tail ? window->tail : tail;
        if (rc == PST_OK)
            rc = apply_medians(ctx, above, bucket, w, window, &all[w]);
    }
    for (uint32_t w = 0; w < above->plan->window_count && rc == PST_OK; w++) {
        /* touched is complete when all have expired */
        const struct window *window = window_of(ctx, above, bucket, w);
        rc = window != NULL ? judge_window(ctx, above, bucket, w, window, all[w]) : PST_ENOMEM;
    }
    for (uint32_t i = 0; i < place->touched_count; i++)
        plug_of(ctx, above, bucket, place->touched[i])->touched = 0;
    place->touched_count = 0;
    if (rc == PST_OK)
        rc = pst_log_trim(ctx, above->log, bucket, tail);
    if (timer != INT64_MAX)
        pst_timer_set(ctx, bucket, timer + 1); /* second s is looked at in on_time(s + 1) */
    return rc;
}

static int above_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct plug_above *above = pst_user(ctx);
    uint32_t count;
    const uint32_t *buckets = above->fresh ? pst_buckets(ctx, &count) : pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++, pst_release(ctx))
        rc = bucket_time(ctx, above, buckets[i], t - 1);
    for (uint32_t w = 0; w < above->plan->window_count; w++)
        above->medians[w].fresh = false;
    above->fresh = false;
    return rc;
}

static const char *const above_key_fields[] = {"house_id", "household_id", "plug_id", NULL};

const struct pst_operator plug_above = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "plug_above",
    .key_fields = above_key_fields,
    .summary = "DEBS'14 Query 2: which plugs' medians are strictly greater than the median of all, in each window.",
    .input_count = 2,
    .output_count = 1,
    .broadcast_inputs = 1u << 1,
    .param_count = 1,
    .params = windows_params,
    .plan = above_plan,
    .open = above_open,
    .on_frame = above_on_frame,
    .on_time = above_on_time,
};
