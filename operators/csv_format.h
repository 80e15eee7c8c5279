/* operators/csv_format.h - numbers to decimal text.
 *
 * Each function writes at `at` and returns where the text ends; no NUL is added. Room: PST_CSV_CELL_BYTES_MAX bytes must be
 * writable at `at`, whatever the number, for some are written that are not kept. */
#ifndef PST_CSV_FORMAT_H
#define PST_CSV_FORMAT_H

#include "operators/operator.h"

#include <string.h>

enum { PST_CSV_CELL_BYTES_MAX = 40 };

/* The numbers 0..999. Brief: digits without leading zeros, in the last byte how many. Padded: a dot and three digits. */
extern const char pst_csv_brief[1000][4], pst_csv_padded[1000][4];

char *pst_csv_u64_put_long(char *at, uint64_t value); /* any number */
char *pst_csv_decimal_put_any(char *at, int64_t value, uint8_t scale);

static inline char *pst_csv_u64_put(char *at, uint64_t value)
{
    if (value >= 1000)
        return pst_csv_u64_put_long(at, value);
    memcpy(at, pst_csv_brief[value], 4);
    return at + pst_csv_brief[value][3];
}

static inline char *pst_csv_i64_put(char *at, int64_t value)
{
    *at = '-';
    at += value < 0;
    return pst_csv_u64_put(at, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* A decimal with exactly `scale` (0..9) digits behind the dot: -500 at scale 3 is "-0.500". */
static inline char *pst_csv_decimal_put(char *at, int64_t value, uint8_t scale)
{
    if (scale != 3)
        return pst_csv_decimal_put_any(at, value, scale);
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *at = '-';
    at = pst_csv_u64_put(at + (value < 0), magnitude / 1000);
    memcpy(at, pst_csv_padded[magnitude % 1000], 4);
    return at + 4;
}

#endif
