/* good.c - a shared object with one operator that fits: rows go through unchanged. */
#include "operators/operator.h"

static int plan(struct pst_plan *plan)
{
    const struct pst_schema *in = pst_plan_input(plan, 0);
    int rc = pst_plan_output(plan, 0, in->fields, in->field_count, in->time_field);
    for (uint32_t i = 0; i < in->field_count && rc == PST_OK; i++)
        rc = pst_plan_map(plan, 0, i, i);
    return rc;
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    (void)ctx, (void)rows;
    return PST_OK;
}

static const struct pst_operator pass = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof pass,
    .name = "pass",
    .summary = "Lets every row through.",
    .role = PST_ROLE_STATELESS,
    .input_count = 1,
    .output_count = 1,
    .plan = plan,
    .on_frame = on_frame,
};

__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&pass, NULL};
