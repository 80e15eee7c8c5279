/* tests/operators/wrong_abi.c - a shared object built for another version of the operator interface, to be refused. */
#include "operators/operator.h"

static const struct pst_operator stranger = {
    .abi = PST_OPERATOR_ABI + 1,
    .struct_bytes = sizeof(struct pst_operator) + 8,
    .name = "spike",
};

__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&stranger, NULL};
