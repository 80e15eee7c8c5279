/* operators/csv_sort.h - the order in which rows leave a CSV sink.
 *
 * A row is an array of words: a number is one (an i64 as its bits), a text is four. Rows are numbered as they came. */
#ifndef PST_CSV_SORT_H
#define PST_CSV_SORT_H

#include "operators/operator.h"

struct pst_csv_sort_column {
    uint32_t word; /* where in the row */
    pst_type type;
    uint64_t first, last; /* numbers: the least and the greatest of all rows, as pst_csv_sort_key() says */
};

struct pst_csv_sort_rows {
    uint64_t *const *chunks;
    uint32_t chunk_shift; /* a chunk holds 2^chunk_shift rows */
    uint32_t row_words, row_count;
    const struct pst_csv_sort_column *columns;
    uint32_t column_count;
};

static inline const uint64_t *pst_csv_sort_row(const struct pst_csv_sort_rows *rows, uint64_t index)
{
    uint64_t inside = index & ((UINT64_C(1) << rows->chunk_shift) - 1);
    return rows->chunks[index >> rows->chunk_shift] + inside * rows->row_words;
}

/* A number's word as one that sorts without a sign. */
static inline uint64_t pst_csv_sort_key(pst_type type, uint64_t word)
{
    return type == PST_I64 ? word ^ UINT64_C(1) << 63 : word;
}

/* Sorts by the columns in turn, texts by their bytes; rows that are equal in all of them stay as they came. Returns the rows'
 * numbers in order: one of the two scratch arrays, each of row_count words. */
const uint64_t *pst_csv_sort(const struct pst_csv_sort_rows *rows, uint64_t *scratch_a, uint64_t *scratch_b);

#endif
