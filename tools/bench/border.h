/* border.h - what border.c and the operator that it measures with have in common. */
#ifndef BORDER_H
#define BORDER_H

#include "operators/operator.h"

enum { ECHO_ROWS_MAX = 16384, ECHO_BUCKETS = 64 };
static const struct pst_field echo_fields[] = {{"k", PST_U32, 0}, {"v", PST_I64, 0}};

#endif
