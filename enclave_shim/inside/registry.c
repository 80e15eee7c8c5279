/* registry.c - the operators that are linked into a worker. */
#include "debs14/debs14.h"
#include "enclave_shim/inside/inside.h"
#include "operators/builtin.h"

#include <string.h>

const struct pst_operator *pst_inside_operator(const char *type)
{
    const struct pst_operator *const *const lists[] = {pst_builtin_operators, pst_debs14_operators};
    for (uint32_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (const struct pst_operator *const *op = lists[i]; *op != NULL; op++)
            if (strcmp((*op)->name, type) == 0)
                return *op;
    return NULL;
}
