/* registry.c - the operators that are linked into a worker: those that come with penstock, and the list that a shared object would
 * export, which is own.c's where the program has none of its own. */
#include "debs14/debs14.h"
#include "enclave_shim/inside/inside.h"
#include "operators/builtin.h"

#include <string.h>

extern const struct pst_operator *const PST_OPERATOR_SYMBOL[];

/* abi and struct_bytes stand first in every version of the descriptor; nothing else is touched until they fit. */
static bool fits(const struct pst_operator *op)
{
    return op->abi == PST_OPERATOR_ABI && op->struct_bytes == sizeof *op && op->name != NULL;
}

const struct pst_operator *pst_inside_operator(const char *type)
{
    const struct pst_operator *const *const lists[] = {pst_builtin_operators, pst_debs14_operators,
                                                       PST_OPERATOR_SYMBOL};
    for (uint32_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct pst_operator *const *op = lists[i]; *op != NULL; op++)
            if (fits(*op) && strcmp((*op)->name, type) == 0)
                return *op;
    return NULL;
}
