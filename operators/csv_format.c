/* operators/csv_format.c - numbers to decimal text, three digits at a time. */
#include "operators/csv_format.h"

/* Tables of the numbers 0..999, made by the compiler, 8 KiB, so that a short number or a fraction is one load and one
 * store, and no digit count is guessed wrongly. */
#define TEN(X, n) X(n), X(n + 1), X(n + 2), X(n + 3), X(n + 4), X(n + 5), X(n + 6), X(n + 7), X(n + 8), X(n + 9)
#define HUNDRED(X, n)                                                                                          \
    TEN(X, n), TEN(X, n + 10), TEN(X, n + 20), TEN(X, n + 30), TEN(X, n + 40), TEN(X, n + 50), TEN(X, n + 60), \
        TEN(X, n + 70), TEN(X, n + 80), TEN(X, n + 90)
#define THOUSAND(X)                                                                                     \
    HUNDRED(X, 0), HUNDRED(X, 100), HUNDRED(X, 200), HUNDRED(X, 300), HUNDRED(X, 400), HUNDRED(X, 500), \
        HUNDRED(X, 600), HUNDRED(X, 700), HUNDRED(X, 800), HUNDRED(X, 900)

/* '.', then three digits. */
#define PADDED(n)                                                 \
    {                                                             \
        '.', '0' + (n) / 100, '0' + (n) / 10 % 10, '0' + (n) % 10 \
    }
const char pst_csv_padded[1000][4] = {THOUSAND(PADDED)};

/* The digits without leading zeros, then what is left; last, how many they are. */
#define SHORT(n)                                                         \
    {                                                                    \
        '0' + ((n) > 99  ? (n) / 100                                     \
               : (n) > 9 ? (n) / 10                                      \
                         : (n)),                                         \
            '0' + ((n) > 99 ? (n) / 10 % 10 : (n) % 10), '0' + (n) % 10, \
            (n) > 99  ? 3                                                \
            : (n) > 9 ? 2                                                \
                      : 1                                                \
    }
const char pst_csv_brief[1000][4] = {THOUSAND(SHORT)};

/* Three digits with leading zeros. */
static inline char *padded_put(char *at, uint64_t value)
{
    memcpy(at, pst_csv_padded[value] + 1, 3);
    return at + 3;
}

char *pst_csv_u64_put_long(char *at, uint64_t value)
{
    if (value < 1000)
        return pst_csv_u64_put(at, value);
    if (value < 1000000)
        return padded_put(pst_csv_u64_put(at, value / 1000), value % 1000);
    at = pst_csv_u64_put_long(at, value / 1000000);
    uint64_t rest = value % 1000000;
    return padded_put(padded_put(at, rest / 1000), rest % 1000);
}

char *pst_csv_decimal_put_any(char *at, int64_t value, uint8_t scale)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value, power = 1;
    for (uint8_t i = 0; i < scale; i++)
        power *= 10;
    *at = '-';
    at = pst_csv_u64_put(at + (value < 0), magnitude / power);
    if (scale == 0)
        return at;
    *at = '.';
    uint64_t fraction = magnitude % power;
    for (uint8_t i = scale; i > 0; i--, fraction /= 10)
        at[i] = (char)('0' + fraction % 10);
    return at + scale + 1;
}
