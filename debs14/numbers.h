/* debs14/numbers.h - the exact arithmetic of the queries: floors, and rounding with halves toward +infinity. */
#ifndef PST_DEBS14_NUMBERS_H
#define PST_DEBS14_NUMBERS_H

#include "operators/operator.h"

enum { DAY_S = 86400 };

static inline int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b < 0);
}

/* round(a / b) = floor((2a + b) / (2b)), b > 0 */
static inline int64_t round_div(int64_t a, int64_t b)
{
    int64_t doubled;
    if (!__builtin_mul_overflow(a, 2, &doubled) && !__builtin_add_overflow(doubled, b, &doubled) && b <= INT64_MAX / 2)
        return floor_div(doubled, 2 * b);
    __extension__ typedef __int128 wide;
    wide n = 2 * (wide)a + b, d = 2 * (wide)b, q = n / d;
    return (int64_t)(q - (n % d < 0));
}

/* The average of `count` readings in whole microwatts, from their sum in milliwatts. */
static inline int64_t average_uw(int64_t sum_mw, int64_t count)
{
    int64_t scaled;
    if (!__builtin_mul_overflow(sum_mw, 1000, &scaled))
        return round_div(scaled, count);
    __extension__ typedef __int128 wide;
    wide n = 2 * ((wide)sum_mw * 1000) + count, d = 2 * (wide)count, q = n / d;
    return (int64_t)(q - (n % d < 0));
}

static inline int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#endif
