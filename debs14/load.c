/* load.c - Query 1, load prediction, as two operators.
 *
 *   loads --(house, household, plug)--> plug_load --predictions--> load_plug.csv
 *                                          \--averages--(house)--> house_load --> load_house.csv
 *
 * plug_load sums a plug's readings between two instants that matter (a multiple of `every`, an end of a slice), then rolls the
 * sums up to all slice lengths at once: one addition a reading. At each such instant it puts out the predictions, and the
 * averages for the houses; a slice that ends joins the history. house_load adds the averages of a house's plugs and does the
 * same with the sums. Averages are rounded once, to whole microwatts, so sums are exact in any order (P1).
 */
#include "debs14/fields.h"
#include "debs14/history.h"

/* ---- planning, for both ---- */
static void plan_slices(struct pst_plan *p, struct load_plan *plan)
{
    uint32_t count;
    const int64_t *slices = pst_plan_ints(p, "slices", &count);
    if (count == 0 || count > SLICES_MAX)
        pst_plan_error(p, "slices", 0, "give 1 to 16 slice lengths in seconds");
    for (uint32_t i = 0; i < count && i < SLICES_MAX; i++) {
        if (slices[i] < 1 || slices[i] > 28800 || DAY_S % slices[i] != 0)
            pst_plan_error(p, "slices", i, "a slice length must divide 86400 and be at most 28800 seconds");
        for (uint32_t j = 0; j < i; j++)
            if (slices[j] == slices[i])
                pst_plan_error(p, "slices", i, "this slice length is there already");
        plan->slice_s[i] = slices[i];
    }
    plan->slice_count = count < SLICES_MAX ? count : SLICES_MAX;
}

static struct load_plan *plan_common(struct pst_plan *p)
{
    struct load_plan *plan = pst_plan_alloc(p, sizeof *plan);
    if (plan == NULL)
        return NULL;
    plan_slices(p, plan);
    plan->every_s = pst_plan_int(p, "every");
    pst_plan_set_user(p, plan);
    return plan;
}

static int64_t plan_epoch(const struct load_plan *plan)
{
    int64_t epoch = plan->every_s;
    for (uint32_t s = 0; s < plan->slice_count; s++)
        epoch = gcd(epoch, plan->slice_s[s]);
    return epoch;
}

static const struct pst_param load_params[] = {
    {.name = "slices",
     .kind = PST_PARAM_INTS,
     .standard = "[60, 300, 900, 3600, 7200]",
     .help = "slice lengths in seconds; each divides 86400 and is at most 28800"},
    {.name = "every",
     .kind = PST_PARAM_INT,
     .standard = "30",
     .value_min = 1,
     .value_max = INT64_C(1) << 50,
     .help = "seconds of event time between two updates of the predictions"},
};

/* ---- plug_load ---- */
enum { PLUG_VALUE, PLUG_HOUSE, PLUG_HOUSEHOLD, PLUG_PLUG };
enum { FLAG_UPDATE = 1, FLAG_CLOSES = 2 };

struct plug_key {
    uint32_t house, household, plug;
};

struct slice_sum {
    int64_t sum_mw, low_uw, high_uw; /* the two middle values of the history */
    uint32_t count, known;           /* known: the median is */
};

struct plug {
    int64_t sum_mw; /* since the last instant */
    int64_t count;
    struct slice_sum slices[];
};

struct plug_load {
    const struct load_plan *plan;
    struct pst_table *plugs;
    struct history history;
    struct closing closing[SLICES_MAX];
    struct plug_key keys[PST_OUT_ROWS_MAX];
    void *records[PST_OUT_ROWS_MAX];
};

static int plug_plan(struct pst_plan *p)
{
    static const struct pst_field predictions[] = {{"at", PST_I64, 0},
                                                   {"slice", PST_I64, 0},
                                                   {"ts", PST_I64, 0},
                                                   {"house_id", PST_U32, 0},
                                                   {"household_id", PST_U32, 0},
                                                   {"plug_id", PST_U32, 0},
                                                   {"predicted_load", PST_I64, 3}};
    static const struct pst_field averages[] = {{"at", PST_I64, 0},
                                                {"slice", PST_U32, 0},
                                                {"flags", PST_U32, 0},
                                                {"house_id", PST_U32, 0},
                                                {"average", PST_I64, 6}};
    struct load_plan *plan = plan_common(p);
    if (plan == NULL)
        return PST_ENOMEM;
    bool whole = plan_field(p, &plan->field[PLUG_VALUE], 0, "value", PST_I64, 3);
    whole &= plan_field(p, &plan->field[PLUG_HOUSE], 0, "house_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[PLUG_HOUSEHOLD], 0, "household_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[PLUG_PLUG], 0, "plug_id", PST_U32, 0);
    int rc = pst_plan_output(p, 0, predictions, 7, -1);
    if (rc == PST_OK)
        rc = pst_plan_output(p, 1, averages, 5, -1);
    for (uint32_t s = 0; s < plan->slice_count; s++)
        whole &= plan->slice_s[s] >= 1;
    if (!whole || plan->every_s < 1)
        return PST_EGRAPH;
    pst_plan_order(p, PST_ORDER_EPOCH, plan_epoch(plan));
    return rc;
}

static int plug_open(struct pst_ctx *ctx)
{
    struct plug_load *load = pst_alloc(ctx, sizeof *load);
    if (load == NULL)
        return PST_ENOMEM;
    load->plan = pst_planned(ctx);
    pst_set_user(ctx, load);
    uint32_t bytes = (uint32_t)(sizeof(struct plug) + load->plan->slice_count * sizeof(struct slice_sum));
    load->plugs = pst_table_open(ctx, "plugs", sizeof(struct plug_key), bytes);
    return load->plugs != NULL ? history_open(&load->history, ctx, load->plan) : PST_ENOMEM;
}

static int plug_rows(struct pst_ctx *ctx, struct plug_load *load, const struct pst_rows *rows, uint32_t from,
                     uint32_t n)
{
    const int *field = load->plan->field;
    const int64_t *value = (const int64_t *)rows->columns[field[PLUG_VALUE]] + from;
    const uint32_t *house = (const uint32_t *)rows->columns[field[PLUG_HOUSE]] + from;
    const uint32_t *household = (const uint32_t *)rows->columns[field[PLUG_HOUSEHOLD]] + from;
    const uint32_t *plug = (const uint32_t *)rows->columns[field[PLUG_PLUG]] + from;
    for (uint32_t i = 0; i < n; i++)
        load->keys[i] = (struct plug_key){house[i], household[i], plug[i]};
    int rc =
        pst_table_upsert(ctx, load->plugs, n, rows->bucket + from, rows->hash + from, load->keys, NULL, load->records);
    for (uint32_t i = 0; i < n && rc == PST_OK; i++) {
        struct plug *record = load->records[i];
        record->sum_mw += value[i];
        record->count++;
    }
    return rc;
}

static int plug_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct plug_load *load = pst_user(ctx);
    for (uint32_t from = 0; from < rows->row_count; from += PST_OUT_ROWS_MAX) {
        uint32_t rest = rows->row_count - from;
        int rc = plug_rows(ctx, load, rows, from, rest < PST_OUT_ROWS_MAX ? rest : PST_OUT_ROWS_MAX);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

struct instant { /* an event time at which something is put out or closes */
    int64_t at;
    bool update;
    bool closes[SLICES_MAX];
    int64_t index[SLICES_MAX];
};

static struct instant instant_at(const struct load_plan *plan, int64_t t)
{
    struct instant now = {.at = t, .update = t % plan->every_s == 0};
    for (uint32_t s = 0; s < plan->slice_count; s++) {
        now.closes[s] = t % plan->slice_s[s] == 0;
        now.index[s] = floor_div(t - 1, plan->slice_s[s]);
    }
    return now;
}

static int64_t next_instant(const struct load_plan *plan, int64_t t)
{
    int64_t next = (floor_div(t, plan->every_s) + 1) * plan->every_s;
    for (uint32_t s = 0; s < plan->slice_count; s++) {
        int64_t end = (floor_div(t, plan->slice_s[s]) + 1) * plan->slice_s[s];
        next = end < next ? end : next;
    }
    return next;
}

static void put_prediction(struct pst_out *out, const struct instant *now, const struct load_plan *plan, uint32_t s,
                           const struct plug_key *key, int64_t predicted_mw, uint32_t bucket)
{
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = now->at;
    ((int64_t *)out->columns[1])[row] = plan->slice_s[s];
    ((int64_t *)out->columns[2])[row] = (now->index[s] + 2) * plan->slice_s[s];
    ((uint32_t *)out->columns[3])[row] = key->house;
    ((uint32_t *)out->columns[4])[row] = key->household;
    ((uint32_t *)out->columns[5])[row] = key->plug;
    ((int64_t *)out->columns[6])[row] = predicted_mw;
    out->bucket[row] = bucket;
}

static void put_average(struct pst_out *out, const struct instant *now, const struct load_plan *plan, uint32_t s,
                        uint32_t house, int64_t average, uint32_t bucket)
{
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = now->at;
    ((uint32_t *)out->columns[1])[row] = (uint32_t)plan->slice_s[s];
    ((uint32_t *)out->columns[2])[row] = (now->update ? FLAG_UPDATE : 0u) | (now->closes[s] ? FLAG_CLOSES : 0u);
    ((uint32_t *)out->columns[3])[row] = house;
    ((int64_t *)out->columns[4])[row] = average;
    out->bucket[row] = bucket;
}

static void plug_set_median(void *record, uint32_t s, bool known, int64_t low, int64_t high)
{
    struct slice_sum *slice = &((struct plug *)record)->slices[s];
    slice->low_uw = low;
    slice->high_uw = high;
    slice->known = known;
}

static int plug_instant(struct pst_ctx *ctx, struct plug_load *load, uint32_t bucket, uint32_t m,
                        const struct instant *now, bool *ret_alive)
{
    const struct load_plan *plan = load->plan;
    struct plug *plug = pst_table_record(ctx, load->plugs, bucket, m);
    const struct plug_key *key = pst_table_key(ctx, load->plugs, bucket, m);
    struct pst_out *predictions = pst_out_reserve(ctx, 0, SLICES_MAX), *averages = pst_out_reserve(ctx, 1, SLICES_MAX);
    if (predictions == NULL || averages == NULL)
        return PST_ENOMEM;
    for (uint32_t s = 0; s < plan->slice_count; s++) {
        struct slice_sum *slice = &plug->slices[s];
        slice->sum_mw += plug->sum_mw;
        slice->count += (uint32_t)plug->count;
        if (slice->count == 0)
            continue;
        if (now->update || now->closes[s]) {
            int64_t average = average_uw(slice->sum_mw, slice->count);
            if (now->update)
                put_prediction(predictions, now, plan, s, key,
                               predict_mw(average, slice->known != 0, slice->low_uw, slice->high_uw), bucket);
            put_average(averages, now, plan, s, key->house, average, bucket);
            if (now->closes[s]) {
                int rc = closing_add(&load->closing[s], ctx, m, average);
                if (rc != PST_OK)
                    return rc;
                slice->sum_mw = 0;
                slice->count = 0;
            }
        }
        *ret_alive |= slice->count != 0;
    }
    plug->sum_mw = plug->count = 0;
    return PST_OK;
}

static int plug_bucket(struct pst_ctx *ctx, struct plug_load *load, uint32_t bucket, const struct instant *now)
{
    bool alive = false;
    uint32_t count = pst_table_count(ctx, load->plugs, bucket);
    int rc = PST_OK;
    for (uint32_t s = 0; s < load->plan->slice_count && now->update && rc == PST_OK; s++)
        rc = history_load(&load->history, ctx, load->plugs, bucket, s, now->index[s], plug_set_median);
    for (uint32_t m = 0; m < count && rc == PST_OK; m++)
        rc = plug_instant(ctx, load, bucket, m, now, &alive);
    for (uint32_t s = 0; s < load->plan->slice_count && rc == PST_OK; s++) {
        if (now->closes[s] && load->closing[s].count != 0)
            rc = history_append(&load->history, ctx, bucket, s, now->index[s], &load->closing[s]);
        load->closing[s].count = 0;
    }
    if (alive && rc == PST_OK)
        pst_timer_set(ctx, bucket, next_instant(load->plan, now->at));
    return rc;
}

static int plug_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct plug_load *load = pst_user(ctx);
    struct instant now = instant_at(load->plan, t);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < due_count && rc == PST_OK; i++, pst_release(ctx))
        rc = plug_bucket(ctx, load, due[i], &now);
    return rc;
}

/* The last update, at the first multiple of `every` above the last timestamp, unless time t was one. */
static int plug_on_end(struct pst_ctx *ctx, int64_t t)
{
    struct plug_load *load = pst_user(ctx);
    const struct load_plan *plan = load->plan;
    int64_t at = (floor_div(t - 1, plan->every_s) + 1) * plan->every_s;
    if (at == t)
        return PST_OK;
    struct instant now = instant_at(plan, at);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    int rc = PST_OK;
    for (uint32_t s = 0; s < plan->slice_count;
         s++) { /* a slice that ends between t and the update has nothing to say */
        if (now.index[s] == floor_div(t - 1, plan->slice_s[s]))
            continue;
        for (uint32_t i = 0; i < due_count; i++, pst_release(ctx))
            for (uint32_t m = 0; m < pst_table_count(ctx, load->plugs, due[i]); m++) {
                struct plug *plug = pst_table_record(ctx, load->plugs, due[i], m);
                plug->slices[s].sum_mw = -plug->sum_mw; /* so that what is rolled up below comes to nothing */
                plug->slices[s].count = (uint32_t)-plug->count;
            }
    }
    for (uint32_t i = 0; i < due_count && rc == PST_OK; i++, pst_release(ctx))
        rc = plug_bucket(ctx, load, due[i], &now);
    return rc;
}

static const char *const plug_key_fields[] = {"house_id", "household_id", "plug_id", NULL};
static const char *const plug_output_names[] = {"predictions", "averages"};

const struct pst_operator plug_load = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "plug_load",
    .key_fields = plug_key_fields,
    .summary = "DEBS'14 Query 1 for plugs: predicts each plug's load from its average now and at the same time of "
               "earlier days.",
    .input_count = 1,
    .output_count = 2,
    .output_names = plug_output_names,
    .param_count = 2,
    .params = load_params,
    .plan = plug_plan,
    .open = plug_open,
    .on_frame = plug_on_frame,
    .on_time = plug_on_time,
    .on_end = plug_on_end,
};

/* ---- house_load ---- */
enum { HOUSE_AT, HOUSE_SLICE, HOUSE_FLAGS, HOUSE_ID, HOUSE_AVERAGE };

struct house_slice {
    int64_t sum_uw, at, low_uw, high_uw;
    uint32_t flags, known; /* flags 0: nothing came for this instant */
};

struct house {
    struct house_slice slices[1]; /* slice_count of them */
};

struct house_load {
    const struct load_plan *plan;
    struct pst_table *houses;
    struct history history;
    struct closing closing[SLICES_MAX];
    void *records[PST_OUT_ROWS_MAX];
};

static int house_plan(struct pst_plan *p)
{
    static const struct pst_field predictions[] = {{"at", PST_I64, 0},
                                                   {"slice", PST_I64, 0},
                                                   {"ts", PST_I64, 0},
                                                   {"house_id", PST_U32, 0},
                                                   {"predicted_load", PST_I64, 3}};
    struct load_plan *plan = plan_common(p);
    if (plan == NULL)
        return PST_ENOMEM;
    bool whole = plan_field(p, &plan->field[HOUSE_AT], 0, "at", PST_I64, 0);
    whole &= plan_field(p, &plan->field[HOUSE_SLICE], 0, "slice", PST_U32, 0);
    whole &= plan_field(p, &plan->field[HOUSE_FLAGS], 0, "flags", PST_U32, 0);
    whole &= plan_field(p, &plan->field[HOUSE_ID], 0, "house_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[HOUSE_AVERAGE], 0, "average", PST_I64, 6);
    int rc = pst_plan_output(p, 0, predictions, 5, -1);
    pst_plan_order(p, PST_ORDER_EPOCH, 1); /* all rows of one instant carry the time just below it */
    return whole ? rc : PST_EGRAPH;
}

static int house_open(struct pst_ctx *ctx)
{
    struct house_load *load = pst_alloc(ctx, sizeof *load);
    if (load == NULL)
        return PST_ENOMEM;
    load->plan = pst_planned(ctx);
    pst_set_user(ctx, load);
    load->houses =
        pst_table_open(ctx, "houses", sizeof(uint32_t), load->plan->slice_count * (uint32_t)sizeof(struct house_slice));
    return load->houses != NULL ? history_open(&load->history, ctx, load->plan) : PST_ENOMEM;
}

/* The two operators are given their slices apart, perhaps in another order: rows name a slice by its length. slice_count: none. */
static uint32_t slice_of(const struct load_plan *plan, uint32_t length_s)
{
    uint32_t s = 0;
    while (s < plan->slice_count && plan->slice_s[s] != length_s)
        s++;
    return s;
}

static int house_rows(struct pst_ctx *ctx, struct house_load *load, const struct pst_rows *rows, uint32_t from,
                      uint32_t n)
{
    const int *field = load->plan->field;
    const int64_t *at = (const int64_t *)rows->columns[field[HOUSE_AT]] + from;
    const uint32_t *slice = (const uint32_t *)rows->columns[field[HOUSE_SLICE]] + from;
    const uint32_t *flags = (const uint32_t *)rows->columns[field[HOUSE_FLAGS]] + from;
    const uint32_t *house = (const uint32_t *)rows->columns[field[HOUSE_ID]] + from;
    const int64_t *average = (const int64_t *)rows->columns[field[HOUSE_AVERAGE]] + from;
    int rc = pst_table_upsert(ctx, load->houses, n, rows->bucket + from, rows->hash + from, house, NULL, load->records);
    for (uint32_t i = 0; i < n && rc == PST_OK; i++) {
        uint32_t s = slice_of(load->plan, slice[i]);
        if (s == load->plan->slice_count)
            return PST_EINVAL;
        struct house_slice *sum = &((struct house *)load->records[i])->slices[s];
        if (__builtin_add_overflow(sum->sum_uw, average[i], &sum->sum_uw))
            return PST_ERANGE;
        sum->at = at[i];
        sum->flags |= flags[i];
    }
    return rc;
}

static int house_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct house_load *load = pst_user(ctx);
    for (uint32_t from = 0; from < rows->row_count; from += PST_OUT_ROWS_MAX) {
        uint32_t rest = rows->row_count - from;
        int rc = house_rows(ctx, load, rows, from, rest < PST_OUT_ROWS_MAX ? rest : PST_OUT_ROWS_MAX);
        if (rc == PST_ERANGE)
            pst_fail(ctx, "the loads of a house's plugs add up to more than 9.2 TW");
        if (rc == PST_EINVAL) {
            pst_fail(ctx, "a slice that this operator does not know: give plug_load and house_load the same `slices`");
        }
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static void house_set_median(void *record, uint32_t s, bool known, int64_t low, int64_t high)
{
    struct house_slice *slice = &((struct house *)record)->slices[s];
    slice->low_uw = low;
    slice->high_uw = high;
    slice->known = known;
}

static int house_instant(struct pst_ctx *ctx, struct house_load *load, uint32_t bucket, uint32_t m, uint32_t s)
{
    struct house *house = pst_table_record(ctx, load->houses, bucket, m);
    struct house_slice *slice = &house->slices[s];
    int64_t length = load->plan->slice_s[s], index = floor_div(slice->at - 1, length);
    if (slice->flags == 0)
        return PST_OK;
    int rc = PST_OK;
    if ((slice->flags & FLAG_UPDATE) != 0) {
        rc = history_load(&load->history, ctx, load->houses, bucket, s, index, house_set_median);
        struct pst_out *out = rc == PST_OK ? pst_out_reserve(ctx, 0, 1) : NULL;
        if (out == NULL)
            return rc != PST_OK ? rc : PST_ENOMEM;
        uint32_t row = out->row_count++;
        ((int64_t *)out->columns[0])[row] = slice->at;
        ((int64_t *)out->columns[1])[row] = length;
        ((int64_t *)out->columns[2])[row] = (index + 2) * length;
        ((uint32_t *)out->columns[3])[row] = *(const uint32_t *)pst_table_key(ctx, load->houses, bucket, m);
        ((int64_t *)out->columns[4])[row] = predict_mw(slice->sum_uw, slice->known != 0, slice->low_uw, slice->high_uw);
        out->bucket[row] = bucket;
    }
    if ((slice->flags & FLAG_CLOSES) != 0)
        rc = closing_add(&load->closing[s], ctx, m, slice->sum_uw);
    slice->sum_uw = 0;
    slice->flags = 0;
    return rc;
}

static int house_bucket(struct pst_ctx *ctx, struct house_load *load, uint32_t bucket, int64_t t)
{
    uint32_t count = pst_table_count(ctx, load->houses, bucket);
    int rc = PST_OK;
    for (uint32_t s = 0; s < load->plan->slice_count; s++) {
        for (uint32_t m = 0; m < count && rc == PST_OK; m++)
            rc = house_instant(ctx, load, bucket, m, s);
        if (rc == PST_OK && load->closing[s].count != 0)
            rc = history_append(&load->history, ctx, bucket, s, floor_div(t - 1, load->plan->slice_s[s]),
                                &load->closing[s]);
        load->closing[s].count = 0;
    }
    return rc;
}

static int house_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct house_load *load = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < due_count && rc == PST_OK; i++, pst_release(ctx))
        rc = house_bucket(ctx, load, due[i], t);
    return rc;
}

static const char *const house_key_fields[] = {"house_id", NULL};

const struct pst_operator house_load = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "house_load",
    .key_fields = house_key_fields,
    .summary = "DEBS'14 Query 1 for houses: predicts each house's load from the sum of its plugs' averages.",
    .input_count = 1,
    .output_count = 1,
    .param_count = 2,
    .params = load_params,
    .plan = house_plan,
    .open = house_open,
    .on_frame = house_on_frame,
    .on_time = house_on_time,
};
