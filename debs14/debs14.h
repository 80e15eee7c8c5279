/* debs14/debs14.h - the ACM DEBS 2014 Grand Challenge: its two queries as operators, and a generator of meter streams.
 * Holds:   a list of descriptors for the registry; pst_meters, a pure function from options to bytes.
 * Refuses: files, clocks, everything but operators/operator.h. */
#ifndef PST_DEBS14_H
#define PST_DEBS14_H

#include "operators/operator.h"

extern const struct pst_operator *const pst_debs14_operators[]; /* ended by NULL */

struct pst_meters_options { /* pst_meters_options_standard() fills the challenge's own figures */
    uint64_t seed;
    uint32_t house_count, plug_count;              /* plug_count >= house_count */
    uint32_t start_s;                              /* first second of event time */
    uint64_t duration_s;                           /* rows have start_s <= timestamp < start_s + duration_s */
    uint64_t row_count_max;                        /* stop after so many rows; 0: none */
    uint32_t late_ppm, malformed_ppm, missing_ppm; /* dirt: per million rows (missing: readings) */
    bool outages;
    bool header;
};
void pst_meters_options_standard(struct pst_meters_options *options);
struct pst_meters;
/* Makes a generator in memory the caller gives: bytes needed, or 0 where the options are not valid (sentence in *ret_why). */
size_t pst_meters_bytes(const struct pst_meters_options *options, const char **ret_why);
struct pst_meters *pst_meters_init(void *memory, const struct pst_meters_options *options);
/* Writes whole lines, at most capacity bytes (at least 8192); 0 at the end. *ret_rows: lines written, the header not counted;
 * *ret_timestamp: the event time of the last of them. Ends a call early at the end of each second if `by_second`. */
size_t pst_meters_next(struct pst_meters *meters, char *buffer, size_t capacity, bool by_second, uint64_t *ret_rows,
                       uint32_t *ret_timestamp);

#endif
