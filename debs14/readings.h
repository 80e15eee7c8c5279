/* debs14/readings.h - the readings of Query 2's windows: a log of bunches, each the readings of one second and bucket.
 *
 * A reading leaves a window w seconds after it came, so the log is appended at its head and read once at each window's tail, never
 * between, but for the rare search that ranks.h asks for. Most readings are 0 and take no value: a bunch lists the owners of the
 * zeros, then those of the others. 2 bytes a zero, 6 another reading, 16 a bunch (measured: tools/bench memory). */
#ifndef PST_DEBS14_READINGS_H
#define PST_DEBS14_READINGS_H

#include "operators/operator.h"

#define NOT_LOOKED INT64_MIN /* of the time of a bunch */
enum { BUNCH_MAX = 1024 };

struct bunch { /* one entry, decoded */
    int64_t time;
    uint32_t count;
    int64_t value[BUNCH_MAX];
    uint32_t owner[BUNCH_MAX];
};

/* Appends n readings (any n) of one time; owners NULL: they have none. PST_ERANGE: a time that is no u32. */
int readings_append(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, int64_t time, const int64_t *values,
                    const uint32_t *owners, uint32_t n);
/* Decodes the entry at *position and moves on; false: at the head. */
bool readings_next(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, uint64_t *position,
                   struct bunch *ret_bunch);
/* The time of the entry at a position; false: at the head. */
bool readings_time(struct pst_ctx *ctx, struct pst_log *log, uint32_t bucket, uint64_t position, int64_t *ret_time);

#endif
