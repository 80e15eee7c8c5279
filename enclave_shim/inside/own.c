/* own.c - the list of operators of a program that has none of its own. In an archive: who brings a list, by the symbol that a shared
 * object exports, gets that one, and this file is not linked. */
#include "operators/operator.h"

extern const struct pst_operator *const PST_OPERATOR_SYMBOL[];
const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {NULL};
