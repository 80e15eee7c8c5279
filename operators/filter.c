/* operators/filter.c - lets those rows through for which all comparisons hold. */
#include "operators/expression.h"

#include <string.h>

enum { ROWS_A_STEP = 2048, ROWS_A_FORWARD = 8 * ROWS_A_STEP }; /* tested while in the cache; passed on together */

struct filter_plan {
    uint32_t comparison_count;
    struct pst_comparison comparisons[];
};

struct filter_scratch {
    pst_comparison_fn hold;
    uint8_t held[ROWS_A_STEP];
    uint32_t indices[ROWS_A_FORWARD];
};

static int plan_output(struct pst_plan *plan)
{
    const struct pst_schema *input = pst_plan_input(plan, 0);
    int rc = pst_plan_output(plan, 0, input->fields, input->field_count, input->time_field);
    for (uint32_t i = 0; rc == PST_OK && i < input->field_count; i++)
        rc = pst_plan_map(plan, 0, i, i);
    return rc;
}

static int filter_plan(struct pst_plan *plan)
{
    uint32_t count = 0;
    const char *const *where = pst_plan_texts(plan, "where", &count);
    struct filter_plan *compiled =
        pst_plan_alloc(plan, sizeof *compiled + (size_t)count * sizeof compiled->comparisons[0]);
    if (compiled == NULL)
        return PST_ENOMEM;
    int result = PST_OK;
    for (uint32_t i = 0; i < count; i++) {
        int rc = pst_comparison_parse(plan, "where", i, where[i], &compiled->comparisons[i]);
        result = rc == PST_OK ? result : rc; /* go on: every error at once */
    }
    compiled->comparison_count = count;
    pst_plan_set_user(plan, compiled);
    int rc = plan_output(plan);
    return result == PST_OK ? rc : result;
}

static int filter_open(struct pst_ctx *ctx)
{
    struct filter_scratch *scratch = pst_alloc(ctx, sizeof *scratch);
    if (scratch == NULL)
        return PST_ENOMEM;
    scratch->hold = pst_comparison_choose();
    pst_set_user(ctx, scratch);
    return PST_OK;
}

/* The numbers of the rows that are held, packed; no branch depends on the data. */
static uint32_t compact(const uint8_t *restrict held, uint32_t first, uint32_t count, uint32_t *restrict indices)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        indices[kept] = first + i;
        kept += held[i];
    }
    return kept;
}

/* Tests `count` rows from `first` on. Returns how many indices it has written. */
static uint32_t choose(const struct filter_plan *plan, struct filter_scratch *scratch, const struct pst_rows *rows,
                       uint32_t first, uint32_t count, uint32_t *indices)
{
    memset(scratch->held, 1, count);
    for (uint32_t i = 0; i < plan->comparison_count; i++)
        scratch->hold(&plan->comparisons[i], rows, first, count, scratch->held);
    return compact(scratch->held, first, count, indices);
}

static int filter_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const struct filter_plan *plan = pst_planned(ctx);
    struct filter_scratch *scratch = pst_user(ctx);
    uint32_t kept = 0;
    int rc = PST_OK;
    for (uint32_t first = 0, count; rc == PST_OK && first < rows->row_count; first += count) {
        count = rows->row_count - first < ROWS_A_STEP ? rows->row_count - first : ROWS_A_STEP;
        kept += choose(plan, scratch, rows, first, count, scratch->indices + kept);
        bool last = first + count == rows->row_count;
        if (kept != 0 && (last || kept > ROWS_A_FORWARD - ROWS_A_STEP)) {
            rc = pst_forward(ctx, 0, rows, scratch->indices, kept);
            kept = 0;
        }
    }
    return rc;
}

static const struct pst_param filter_params[] = {
    {.name = "where",
     .kind = PST_PARAM_TEXTS,
     .required = true,
     .help = "comparisons that must all hold, each a field, one of == != < <= > >=, and a number or a 'text'"},
};

const struct pst_operator pst_filter = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "filter",
    .summary = "Lets the rows through for which all comparisons hold.",
    .role = PST_ROLE_STATELESS,
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof filter_params / sizeof filter_params[0],
    .params = filter_params,
    .plan = filter_plan,
    .open = filter_open,
    .on_frame = filter_on_frame,
};
