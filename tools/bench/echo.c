/* echo.c - the emptiest operator that there can be: what comes in an epoch goes out at its end. In a worker of its own, for border.c. */
#include "enclave_shim/inside/inside.h"

#include "tools/bench/border.h"

#include <string.h>

struct user {
    uint32_t row_count;
    uint32_t bucket[ECHO_ROWS_MAX], key[ECHO_ROWS_MAX];
    int64_t value[ECHO_ROWS_MAX];
};

static int plan(struct pst_plan *plan)
{
    (void)pst_plan_use(plan, 0, "k", NULL, 0);
    (void)pst_plan_use(plan, 0, "v", NULL, 0);
    pst_plan_order(plan, PST_ORDER_EPOCH, 1);
    return pst_plan_output(plan, 0, echo_fields, 2, -1);
}

static int open(struct pst_ctx *ctx)
{
    struct user *user = pst_alloc(ctx, sizeof *user);
    pst_set_user(ctx, user);
    return user != NULL ? PST_OK : PST_ENOMEM;
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct user *user = pst_user(ctx);
    if (user->row_count + rows->row_count > ECHO_ROWS_MAX)
        return PST_EFULL;
    memcpy(user->bucket + user->row_count, rows->bucket, rows->row_count * sizeof *user->bucket);
    memcpy(user->key + user->row_count, rows->columns[0], rows->row_count * sizeof *user->key);
    memcpy(user->value + user->row_count, rows->columns[1], rows->row_count * sizeof *user->value);
    user->row_count += rows->row_count;
    return PST_OK;
}

static int on_time(struct pst_ctx *ctx, int64_t t)
{
    struct user *user = pst_user(ctx);
    (void)t;
    for (uint32_t from = 0; from < user->row_count;) {
        uint32_t n = user->row_count - from < PST_OUT_ROWS_MAX ? user->row_count - from : PST_OUT_ROWS_MAX;
        struct pst_out *out = pst_out_reserve(ctx, 0, n);
        if (out == NULL)
            return PST_ENOMEM;
        memcpy(out->bucket + out->row_count, user->bucket + from, n * sizeof *out->bucket);
        memcpy((uint32_t *)out->columns[0] + out->row_count, user->key + from, n * sizeof *user->key);
        memcpy((int64_t *)out->columns[1] + out->row_count, user->value + from, n * sizeof *user->value);
        out->row_count += n;
        from += n;
    }
    user->row_count = 0;
    return PST_OK;
}

static const struct pst_operator echo = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof echo,
    .name = "echo",
    .summary = "Puts out what comes in.",
    .role = PST_ROLE_PLAIN,
    .input_count = 1,
    .output_count = 1,
    .plan = plan,
    .open = open,
    .on_frame = on_frame,
    .on_time = on_time,
};

const struct pst_operator *pst_inside_operator(const char *type) { return strcmp(type, echo.name) == 0 ? &echo : NULL; }
