/* operators.c - the operators of the two queries, for the registry. */
#include "debs14/debs14.h"

#include "debs14/history.h"
#include "debs14/outliers.h"

const struct pst_operator *const pst_debs14_operators[] = {&plug_load,  &house_load,  &median_all,
                                                           &plug_above, &house_share, NULL};
