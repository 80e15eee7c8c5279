/* base/narrow.h - a column of whole numbers in as few bytes as it takes: the least of them, and of each how far it is above that.
 * A header of its own beside base.h: who sends columns opens it.
 *
 * Cells are of 4 bytes, unsigned, or of 8, signed; what an 8-byte column of unsigned numbers holds comes out as it went in.
 */
#ifndef PST_NARROW_H
#define PST_NARROW_H

#include <stddef.h>
#include <stdint.h>

struct pst_narrow {
    int64_t base;
    uint32_t width; /* bytes of each cell, 0: all are alike; the cell's own at most */
};

/* row_count: from 1. Cost: one pass. */
struct pst_narrow pst_narrow_find(const void *cells, uint32_t cell_bytes, uint32_t row_count);

/* Writes row_count * width bytes. */
void pst_narrow_put(const struct pst_narrow *narrow, const void *cells, uint32_t cell_bytes, uint32_t row_count,
                    uint8_t *out);

/* Reads row_count * width bytes, whatever they are; sums that are beyond a cell wrap. */
void pst_narrow_get(const struct pst_narrow *narrow, const uint8_t *bytes, uint32_t row_count, void *cells,
                    uint32_t cell_bytes);

#endif
