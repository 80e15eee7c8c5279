/* debs14/outliers.h - Query 2 in three operators, a diamond:
 *
 *   loads ---------------------------(house, household, plug)--> plug_above --(house)--> house_share --> outliers.csv
 *      \--(all)--> median_all --(broadcast: the two middle values)--^
 *
 * median_all finds, for each window and second, the two middle values L <= U of all readings of all plugs. No reading lies between
 * L and U. plug_above knows for each plug how many of its n readings are at most L, c, and with it whether the plug's median is
 * strictly greater than (L + U) / 2:
 *
 *   2c > n: both middle values of the plug are at most L: no.     2c < n: both are above L, so at least U: yes, as L < U or all are > L.
 *   2c = n: the plug's middle values are l <= L and u > L, its greatest up to L and its least above it: yes if l + u > L + U.
 *
 * house_share counts plugs above and plugs alive in each house and puts out the percentages that changed. */
#ifndef PST_DEBS14_OUTLIERS_H
#define PST_DEBS14_OUTLIERS_H

#include "debs14/fields.h"
#include "debs14/numbers.h"
#include "debs14/ranks.h"
#include "debs14/readings.h"

enum { WINDOWS_MAX = 8 };

struct windows_plan {
    uint32_t window_count;
    int64_t window_s[WINDOWS_MAX];
    int field[8];
};

extern const struct pst_param windows_params[1];
/* Reads `windows`; NULL: out of memory. An error is reported to the plan, and then window_count is 0. */
struct windows_plan *windows_plan(struct pst_plan *p);
/* Tells the state when the readings of a log leave their windows. */
int windows_wanted(struct pst_ctx *ctx, const struct windows_plan *plan, struct pst_log *log);

extern const struct pst_operator median_all, plug_above, house_share;

#endif
