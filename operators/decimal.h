/* operators/decimal.h - exact arithmetic on decimals (an int64_t that is the value times 10^scale). */
#ifndef PST_DECIMAL_H
#define PST_DECIMAL_H

#include "operators/operator.h"

typedef __int128 pst_i128;

enum { PST_SCALE_MAX = 9 };

static inline int64_t pst_decimal_power(uint32_t exponent) /* 10^exponent, at most 10^18 */
{
    int64_t power = 1;
    while (exponent-- > 0)
        power *= 10;
    return power;
}

static inline int64_t pst_floor_div(int64_t a, int64_t b) /* b > 0 */ { return a / b - (a % b < 0); }

/* a / b, halves toward +infinity: floor((2a + b) / (2b)), b > 0. */
static inline pst_i128 pst_decimal_round(pst_i128 a, pst_i128 b)
{
    pst_i128 dividend = 2 * a + b, divisor = 2 * b;
    return dividend / divisor - (dividend % divisor < 0);
}

static inline bool pst_decimal_fits(pst_i128 value) { return value >= INT64_MIN && value <= INT64_MAX; }

/* 128-bit sums in records, which are aligned to 8 bytes only. */
struct pst_sum {
    uint64_t low;
    int64_t high;
};

static inline pst_i128 pst_sum_get(const struct pst_sum *sum)
{
    return (pst_i128)(((unsigned __int128)(uint64_t)sum->high << 64) | sum->low);
}

static inline void pst_sum_add(struct pst_sum *sum, pst_i128 value)
{
    unsigned __int128 total = (unsigned __int128)pst_sum_get(sum) + (unsigned __int128)value;
    sum->low = (uint64_t)total;
    sum->high = (int64_t)(uint64_t)(total >> 64);
}

#endif
