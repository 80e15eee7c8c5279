/* share.c - the operator house_share: the percentage of a house's plugs whose median is above that of all, when it changes. */
#include "debs14/outliers.h"

enum { SHARE_WINDOW, SHARE_HOUSE, SHARE_ABOVE, SHARE_ALIVE };

struct house_window {
    int64_t above, alive;
    int64_t percentage; /* in thousandths, as written last */
    uint64_t written;   /* it was */
};

struct house {                      /* record: key is the house */
    struct house_window windows[1]; /* window_count of them */
};

struct house_share {
    const struct windows_plan *plan;
    struct pst_table *houses;
    void *records[PST_OUT_ROWS_MAX];
};

static int share_plan(struct pst_plan *p)
{
    static const struct pst_field outliers[] = {{"window", PST_I64, 0},
                                                {"ts_start", PST_I64, 0},
                                                {"ts_stop", PST_I64, 0},
                                                {"house_id", PST_U32, 0},
                                                {"percentage", PST_I64, 3}};
    struct windows_plan *plan = windows_plan(p);
    if (plan == NULL)
        return PST_ENOMEM;
    bool whole = plan_field(p, &plan->field[SHARE_WINDOW], 0, "window_number", PST_U32, 0);
    whole &= plan_field(p, &plan->field[SHARE_HOUSE], 0, "house_id", PST_U32, 0);
    whole &= plan_field(p, &plan->field[SHARE_ABOVE], 0, "above", PST_I64, 0);
    whole &= plan_field(p, &plan->field[SHARE_ALIVE], 0, "alive", PST_I64, 0);
    int rc = pst_plan_output(p, 0, outliers, 5, -1);
    pst_plan_order(p, PST_ORDER_EPOCH, 1);
    return whole ? rc : PST_EGRAPH;
}

static int share_open(struct pst_ctx *ctx)
{
    struct house_share *share = pst_alloc(ctx, sizeof *share);
    if (share == NULL)
        return PST_ENOMEM;
    share->plan = pst_planned(ctx);
    pst_set_user(ctx, share);
    share->houses = pst_table_open(ctx, "houses", sizeof(uint32_t),
                                   share->plan->window_count * (uint32_t)sizeof(struct house_window));
    return share->houses != NULL ? PST_OK : PST_ENOMEM;
}

static int share_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct house_share *share = pst_user(ctx);
    const int *field = share->plan->field;
    const uint32_t *window = rows->columns[field[SHARE_WINDOW]], *house = rows->columns[field[SHARE_HOUSE]];
    const int64_t *above = rows->columns[field[SHARE_ABOVE]], *alive = rows->columns[field[SHARE_ALIVE]];
    int rc = PST_OK;
    for (uint32_t from = 0; from < rows->row_count && rc == PST_OK; from += PST_OUT_ROWS_MAX) {
        uint32_t n = rows->row_count - from < PST_OUT_ROWS_MAX ? rows->row_count - from : PST_OUT_ROWS_MAX;
        rc = pst_table_upsert(ctx, share->houses, n, rows->bucket + from, rows->hash + from, house + from, NULL,
                              share->records);
        for (uint32_t i = 0; i < n && rc == PST_OK; i++) {
            if (window[from + i] >= share->plan->window_count) {
                pst_fail(
                    ctx,
                    "a window that this operator does not know: give the operators of the query the same `windows`");
                return PST_EINVAL;
            }
            struct house_window *in = &((struct house *)share->records[i])->windows[window[from + i]];
            in->above += above[from + i];
            in->alive += alive[from + i];
        }
    }
    return rc;
}

static int put_share(struct pst_ctx *ctx, const struct house_share *share, uint32_t w, struct house_window *in,
                     uint32_t house, int64_t now, uint32_t bucket)
{
    if (in->alive == 0)
        return PST_OK; /* no reading, no percentage */
    int64_t percentage = round_div(in->above * 100000, in->alive);
    if (in->written != 0 && in->percentage == percentage)
        return PST_OK;
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    in->percentage = percentage;
    in->written = 1;
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = share->plan->window_s[w];
    ((int64_t *)out->columns[1])[row] = now - share->plan->window_s[w];
    ((int64_t *)out->columns[2])[row] = now;
    ((uint32_t *)out->columns[3])[row] = house;
    ((int64_t *)out->columns[4])[row] = percentage;
    out->bucket[row] = bucket;
    return PST_OK;
}

static int share_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct house_share *share = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < due_count; i++, pst_release(ctx)) {
        uint32_t count = pst_table_count(ctx, share->houses, due[i]);
        for (uint32_t m = 0; m < count; m++) {
            struct house *house = pst_table_record(ctx, share->houses, due[i], m);
            uint32_t id = *(const uint32_t *)pst_table_key(ctx, share->houses, due[i], m);
            for (uint32_t w = 0; w < share->plan->window_count && rc == PST_OK; w++)
                rc = put_share(ctx, share, w, &house->windows[w], id, t - 1, due[i]);
        }
    }
    return rc;
}

static const char *const share_key_fields[] = {"house_id", NULL};

const struct pst_operator house_share = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "house_share",
    .key_fields = share_key_fields,
    .summary = "DEBS'14 Query 2: the percentage of a house's plugs above the median of all, whenever it changes.",
    .input_count = 1,
    .output_count = 1,
    .param_count = 1,
    .params = windows_params,
    .plan = share_plan,
    .open = share_open,
    .on_frame = share_on_frame,
    .on_time = share_on_time,
};
