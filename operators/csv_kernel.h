/* operators/csv_kernel.h - between the fast CSV parser and its kernels: one table of functions for each set of instructions.
 */
#ifndef PST_CSV_KERNEL_H
#define PST_CSV_KERNEL_H

#include "operators/csv_parse.h"

enum {
    /* A window is parsed at a time: positions fit in 16 bits, text and positions in the first two caches. */
    PST_CSV_WINDOW_BYTES = 32 * 1024,
    PST_CSV_STARTS_MAX =
        PST_CSV_WINDOW_BYTES + 1 + 64, /* a separator in every byte, and what a kernel writes too far */
    PST_CSV_SLACK_BYTES = 64,          /* readable on either side of a block */
};

/* A column of regular rows (each with `stride` fields and no other separator). Field c of row r begins at
 * text[starts[r * stride + c]] and ends a byte before the next entry. */
struct pst_csv_run {
    const char *text;
    const uint16_t *starts; /* of this column in the first row */
    uint32_t stride, row_count;
    const struct pst_csv_field *field;
    bool line_end; /* the last column: its end may be a '\r' */
    bool wide;     /* numbers may be over 8 bytes; else such a number counts as an error */
    bool repeated; /* mostly the same as in the row before: the event time */
    void *cells;   /* where to store; NULL: check alone */
    uint8_t *bad;  /* set to 1 for each row that is in error; by wide numbers and texts alone */
};

struct pst_csv_kernel {
    const char *name;
    /* Writes where a field begins behind each ',' and '\n' of text[0..byte_count), byte_count at most
     * PST_CSV_WINDOW_BYTES; returns how many there are. May write 64 entries more, and read 63 bytes more. */
    uint32_t (*scan)(const char *text, uint32_t byte_count, uint16_t *ret_starts, uint32_t *ret_line_count);
    /* Converts a column; whether a row was in error. An error may be a number that is merely long: the plain parser decides.
     */
    bool (*column)(const struct pst_csv_run *run);
};

extern const struct pst_csv_kernel pst_csv_kernel_portable;
#if defined(__x86_64__)
extern const struct pst_csv_kernel pst_csv_kernel_avx2, pst_csv_kernel_avx512;
#endif

#endif
