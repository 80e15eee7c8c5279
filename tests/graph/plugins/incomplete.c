/* incomplete.c - an operator of the right version that has no plan(). */
#include "operators/operator.h"
static const struct pst_operator incomplete = {.abi = PST_OPERATOR_ABI,
                                               .struct_bytes = sizeof incomplete,
                                               .name = "incomplete",
                                               .input_count = 1,
                                               .output_count = 1};
__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&incomplete, NULL};
