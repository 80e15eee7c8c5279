/* debs14/fields.h - how the operators of both queries ask for the fields of their inputs. */
#ifndef PST_DEBS14_FIELDS_H
#define PST_DEBS14_FIELDS_H

#include "operators/operator.h"

/* Uses a field of an input, which must be of this very type: the queries compute with bytes, not with names. *ret_column is its
 * column in pst_rows. False: reported. */
bool plan_field(struct pst_plan *p, int *ret_column, uint32_t input, const char *name, pst_type type, uint8_t scale);

#endif
