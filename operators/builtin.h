/* operators/builtin.h - the list of operators that come with penstock, for the registry of whoever runs graphs. */
#ifndef PST_BUILTIN_H
#define PST_BUILTIN_H
#include "operators/operator.h"
extern const struct pst_operator *const pst_builtin_operators[]; /* ended by NULL */
#endif
