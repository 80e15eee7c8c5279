/* operators/aggregate.h - the aggregate operator, between its plan (aggregate_plan.c) and its run (aggregate.c).
 *
 * Event-time windows [k * slide, k * slide + window) for every whole k. Rows are folded into panes of gcd(window,
 * slide), of which every window is a whole number, so that a row is touched once however many windows it is in.
 */
#ifndef PST_AGGREGATE_H
#define PST_AGGREGATE_H

#include "operators/decimal.h"
#include "operators/operator.h"

typedef enum aggregate_function {
    AGGREGATE_COUNT,
    AGGREGATE_SUM,
    AGGREGATE_MIN,
    AGGREGATE_MAX,
    AGGREGATE_AVG,
    AGGREGATE_MEDIAN,
} aggregate_function;

struct aggregate_group { /* a field of the group */
    uint32_t column;     /* of pst_rows */
    struct pst_field field;
    uint32_t offset; /* in the packed group */
};

struct aggregate_slot { /* an input field that is aggregated, once however many functions it is in */
    uint32_t column;
    struct pst_field field;
    int32_t median_index; /* among the fields whose median is asked for; -1: it is not */
};

struct aggregate_result {
    aggregate_function function;
    uint32_t slot;      /* not of a count */
    int64_t multiplier; /* of avg and median: from the field's scale to the result's */
    const char *name;   /* the function's */
};

enum { AGGREGATE_FIXED_FIELDS = 2 }; /* window_start, window_end; the group's fields and the results follow */

struct aggregate_plan {
    int64_t window, slide, pane;
    uint32_t group_count, group_bytes, slot_count, median_count, result_count;
    struct aggregate_group groups[PST_FIELDS_MAX];
    struct aggregate_slot slots[PST_FIELDS_MAX];
    uint32_t median_slots[PST_FIELDS_MAX]; /* median_index -> slot */
    struct aggregate_result results[PST_FIELDS_MAX];
};

int pst_aggregate_plan(struct pst_plan *plan);

#endif
