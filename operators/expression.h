/* operators/expression.h - comparisons of a field with a constant, compiled when the graph is planned. */
#ifndef PST_EXPRESSION_H
#define PST_EXPRESSION_H

#include "operators/operator.h"

/* Every comparison with a number is "is the value inside a range?", perhaps turned round: (value - low) <= span in
 * unsigned arithmetic of the field's width. Decimals are brought to the field's scale here, so rows are compared as
 * integers, exactly. */
struct pst_comparison {
    uint32_t column; /* of pst_rows */
    pst_type type;
    uint8_t inverted; /* 1: holds outside the range, or where the texts differ */
    uint64_t low, span;
    uint8_t text[PST_TEXT_BYTES]; /* PST_TEXT: a cell to be equal to */
};

/* Parses "FIELD OP NUMBER" or "FIELD OP 'text'", item `index` of `param`, against input 0. Errors are reported there.
 */
int pst_comparison_parse(struct pst_plan *plan, const char *param, uint32_t index, const char *text,
                         struct pst_comparison *ret_comparison);

/* held[i] &= does row first + i meet the comparison (0 or 1), for `count` rows. */
typedef void (*pst_comparison_fn)(const struct pst_comparison *comparison, const struct pst_rows *rows, uint32_t first,
                                  uint32_t count, uint8_t *held);
/* The fastest one for this machine. */
pst_comparison_fn pst_comparison_choose(void);
/* Its plain twin. */
void pst_comparison_hold_portable(const struct pst_comparison *comparison, const struct pst_rows *rows, uint32_t first,
                                  uint32_t count, uint8_t *held);

#endif
