/* tally.c - see tally.h. */
#include "tally.h"

#include <string.h>

struct sum {
    uint32_t key, zero;
    uint64_t value;
    uint8_t unused[240]; /* so that pages outweigh what is kept about records */
};

static const struct pst_field out_fields[] = {{"k", PST_U32, 0}, {"sum", PST_I64, 0}};
static const struct pst_param params[] = {{"call", PST_PARAM_TEXT, false, "", 0, 0, "What it tries besides."}};

struct user {
    struct pst_table *sums;
    const char *call;
};

static int plan(struct pst_plan *plan)
{
    (void)pst_plan_use(plan, 0, "k", NULL, 0);
    (void)pst_plan_use(plan, 0, "v", NULL, 0);
    pst_plan_set_user(plan, (void *)(uintptr_t)pst_plan_text(plan, "call"));
    bool total = strcmp(pst_plan_text(plan, "call"), "total") == 0;
    pst_plan_order(plan, total ? PST_ORDER_TOTAL : PST_ORDER_EPOCH, TALLY_EPOCH);
    return pst_plan_output(plan, 0, out_fields, 2, -1);
}

static int open(struct pst_ctx *ctx)
{
    struct user *user = pst_alloc(ctx, sizeof *user);
    if (user == NULL)
        return PST_ENOMEM;
    user->sums = pst_table_open(ctx, "sums", sizeof(uint32_t), sizeof(struct sum));
    user->call = pst_planned(ctx);
    pst_set_user(ctx, user);
    return user->sums != NULL ? PST_OK : PST_ENOMEM;
}

static int put_one(struct pst_ctx *ctx, uint32_t bucket, uint32_t key, int64_t value)
{
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    ((uint32_t *)out->columns[0])[out->row_count] = key;
    ((int64_t *)out->columns[1])[out->row_count] = value;
    out->bucket[out->row_count++] = bucket;
    return PST_OK;
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct user *user = pst_user(ctx);
    const uint32_t *keys = rows->columns[0];
    const int64_t *values = rows->columns[1];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        void *record;
        int rc = pst_table_upsert(ctx, user->sums, 1, &rows->bucket[i], &rows->hash[i], &keys[i], NULL, &record);
        if (rc != PST_OK)
            return rc;
        ((struct sum *)record)->key = keys[i];
        ((struct sum *)record)->value += (uint64_t)values[i]; /* it may wrap */
        pst_release(ctx);
        if (strcmp(user->call, "total") == 0)
            rc = put_one(ctx, rows->bucket[i], keys[i], -values[i]);
        if (rc != PST_OK)
            return rc;
    }
    if (strcmp(user->call, "fail") == 0) {
        pst_fail(ctx, "the test wants it so");
        return PST_EDATA;
    }
    return PST_OK;
}

static int put(struct pst_ctx *ctx)
{
    struct user *user = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    for (uint32_t d = 0; d < due_count; d++) {
        for (uint32_t i = 0; i < pst_table_count(ctx, user->sums, due[d]); i++) {
            const struct sum *sum = pst_table_record(ctx, user->sums, due[d], i);
            int rc = put_one(ctx, due[d], sum->key, (int64_t)sum->value);
            if (rc != PST_OK)
                return rc;
            pst_release(ctx);
        }
    }
    return PST_OK;
}

static int on_time(struct pst_ctx *ctx, int64_t t)
{
    struct user *user = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    const char *told = tally_try(user->call);
    if (told != NULL) {
        pst_fail(ctx, told);
        return PST_EDATA;
    }
    for (uint32_t d = 0; d < due_count; d++)
        pst_timer_set(ctx, due[d], t + 100 * TALLY_EPOCH);
    return put(ctx);
}

static int on_end(struct pst_ctx *ctx, int64_t t)
{
    (void)t;
    return put(ctx);
}

const struct pst_operator tally = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof tally,
    .name = "tally",
    .summary = "Sums by key.",
    .role = PST_ROLE_PLAIN,
    .input_count = 1,
    .output_count = 1,
    .param_count = 1,
    .params = params,
    .plan = plan,
    .open = open,
    .on_frame = on_frame,
    .on_time = on_time,
    .on_end = on_end,
};

void tally_config(struct pst_enclave_operator *ret, struct pst_enclave_param *ret_param, const char *call)
{
    static const struct pst_field in_fields[] = {{"v", PST_I64, 0}, {"unused", PST_TEXT, 0}, {"k", PST_U32, 0}};
    *ret_param = (struct pst_enclave_param){.name = "call", .kind = PST_PARAM_TEXT, .given = true, .text = call};
    *ret = (struct pst_enclave_operator){.type = "tally",
                                         .id = "sums",
                                         .bucket_count = TALLY_BUCKETS,
                                         .epoch = TALLY_EPOCH,
                                         .total = strcmp(call, "total") == 0,
                                         .param_count = 1,
                                         .params = ret_param,
                                         .input_count = 1,
                                         .output_count = 1};
    ret->inputs[0] =
        (struct pst_enclave_input){.schema = {3, in_fields, -1}, .keyed = true, .used_count = 2, .used = {2, 0}};
    ret->outputs[0] = (struct pst_enclave_output){.schema = {2, out_fields, -1}, .wanted = {true, true}};
}
