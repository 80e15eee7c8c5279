/* no_operators.c - a shared object with an empty list. */
#include "operators/operator.h"
__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {NULL};
