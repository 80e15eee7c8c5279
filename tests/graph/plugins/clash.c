/* clash.c - an operator whose type there is already. */
#include "operators/operator.h"
static int plan(struct pst_plan *plan)
{
    (void)plan;
    return PST_OK;
}
static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    (void)ctx, (void)rows;
    return PST_OK;
}
static const struct pst_operator clash = {.abi = PST_OPERATOR_ABI,
                                          .struct_bytes = sizeof clash,
                                          .name = "filter",
                                          .input_count = 1,
                                          .output_count = 1,
                                          .plan = plan,
                                          .on_frame = on_frame};
__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&clash, NULL};
