/* operators/builtin.c - the list of operators that come with penstock. */
#include "operators/builtin.h"

extern const struct pst_operator pst_csv_source, pst_csv_sink, pst_filter, pst_select, pst_aggregate;

const struct pst_operator *const pst_builtin_operators[] = {
    &pst_csv_source, &pst_csv_sink, &pst_filter, &pst_select, &pst_aggregate, NULL,
};
