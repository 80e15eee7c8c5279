/* operators/csv_columns_avx512.h - the columns of the fast CSV parser for AVX-512: eight rows at a time.
 *
 * Included by the kernel alone. The contract is that of csv_columns.h, whose loops take runs of fewer than eight rows; the
 * last eight rows of a longer run overlap those before, so that no lane is ever idle.
 *
 * A field's bytes are fetched by plain loads and put together, for gathers are slow: 8 fields of 8 bytes take 4.8 ns by
 * gathering their places and then their bytes, 3.8 ns with places by permutation, 1.4 ns by loads, whatever puts them
 * together (a loop of nothing else, 864 rows of 7 fields in the first cache, Zen 5). Short loops load where the field
 * starts and shift out what follows it; wide loops load the 16 bytes that end with the field and mask out what precedes it.
 * A short loop looks at its errors once: maxima and unions of what must not be exceeded are gathered meanwhile.
 *
 * The challenge's seven columns, in ns a row: 9.9 with gathers, 3.5 so (gcc 12; 3.6 clang 14; each column of one window of
 * `penstock gen` again and again, Zen 5). `bench_csv`, scan and all, first column: from 12.4 to 5.8. `perf record` of
 * `penstock run load.yaml`, 20 million rows: `column` from 11.5 to 4.4, beside other work.
 */
#ifndef PST_CSV_COLUMNS_AVX512_H
#define PST_CSV_COLUMNS_AVX512_H

#include "operators/csv_columns.h"

#include <immintrin.h>

#define CSV_TARGET                                                                                             \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512vbmi,avx512vbmi2,bmi,bmi2,lzcnt," \
                          "popcnt")))
#define CSV_VECTOR CSV_TARGET static inline __attribute__((always_inline))

enum { CSV_LANES = 8 };

#define SPLAT(word) _mm512_set1_epi64((long long)(word))
#define SPLAT_BYTES(byte) _mm512_set1_epi8((char)(byte))

/* ---- places ---- */

/* What a column needs at every step: a copy of the run that no store can reach, and where the places of eight rows are
 * among 64 entries, if they are. */
struct lanes {
    struct pst_csv_run run;
    __m512i place_at;
    bool near; /* a row is at most 8 fields */
};

CSV_VECTOR struct lanes lanes_make(const struct pst_csv_run *run)
{
    __m512i rows = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    return (struct lanes){*run, _mm512_mullo_epi64(rows, SPLAT(run->stride)), run->stride <= 8};
}

/* The byte counts of a field in eight rows, 64 bits each; below zero in garbage, then over any limit. Reads 64 entries of
 * starts, as many as a scan may write behind the last one. */
CSV_VECTOR __m512i lengths_load(const struct lanes *lanes, const uint16_t *at)
{
    size_t stride = lanes->run.stride;
    __m512i words;
    if (lanes->near) {
        __m512i low = _mm512_loadu_si512(at), high = _mm512_loadu_si512(at + 32);
        __m512i next_at = _mm512_add_epi16(lanes->place_at, SPLAT(1));
        words = _mm512_sub_epi64(_mm512_maskz_permutex2var_epi16(0x11111111, low, next_at, high),
                                 _mm512_maskz_permutex2var_epi16(0x11111111, low, lanes->place_at, high));
    } else {
#define LENGTH(row) ((long long)at[(row)*stride + 1] - at[(row)*stride])
        words =
            _mm512_setr_epi64(LENGTH(0), LENGTH(1), LENGTH(2), LENGTH(3), LENGTH(4), LENGTH(5), LENGTH(6), LENGTH(7));
#undef LENGTH
    }
    return _mm512_sub_epi64(words, SPLAT(1));
}

CSV_VECTOR __m128i text_load(const char *text) { return _mm_loadu_si128((const __m128i *)(const void *)text); }

/* Sixteen bytes of each of eight rows, from text + at[row * stride] on. Unpacking gives eight words in the rows' order. */
struct halves {
    __m512i even, odd; /* rows 0, 2, 4, 6 and 1, 3, 5, 7 */
};
CSV_VECTOR struct halves halves_load(const char *text, const uint16_t *at, size_t stride)
{
    const uint16_t *more = at + 4 * stride;
    __m512i even = _mm512_castsi128_si512(text_load(text + at[0]));
    __m512i odd = _mm512_castsi128_si512(text_load(text + at[stride]));
    even = _mm512_inserti64x2(even, text_load(text + at[2 * stride]), 1);
    odd = _mm512_inserti64x2(odd, text_load(text + at[3 * stride]), 1);
    even = _mm512_inserti64x2(even, text_load(text + more[0]), 2);
    odd = _mm512_inserti64x2(odd, text_load(text + more[stride]), 2);
    even = _mm512_inserti64x2(even, text_load(text + more[2 * stride]), 3);
    odd = _mm512_inserti64x2(odd, text_load(text + more[3 * stride]), 3);
    return (struct halves){even, odd};
}

/* ---- digits ---- */

/* The value of each 8 digits: pairs, fours, all. */
CSV_VECTOR __m512i digits_value(__m512i digits)
{
    __m512i pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(0x010a)); /* 10, 1 */
    __m512i fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00010064)); /* 100, 1 */
    return _mm512_add_epi64(_mm512_mul_epu32(fours, SPLAT(10000)), _mm512_srli_epi64(fours, 32));
}

/* Squeezes the last dot out of each 8 bytes: what is before it moves up by a byte. Another dot stays, as a wrong digit.
 * Returns the bytes of the dots, all bits set. */
CSV_VECTOR __m512i dots_squeeze(__m512i *digits, __m512i *ret_bits_behind)
{
    __m512i dots = _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(*digits, SPLAT_BYTES('.' ^ '0')));
    __m512i behind = _mm512_lzcnt_epi64(dots); /* 64: no dot */
    __m512i moving = _mm512_srlv_epi64(SPLAT(-1), behind);
    /* moving ? digits << 8 : digits */
    *digits = _mm512_ternarylogic_epi64(moving, _mm512_slli_epi64(*digits, 8), *digits, 0xca);
    *ret_bits_behind = behind;
    return dots;
}

/* What a value is multiplied with, by its number of decimals 0..7, and 8 without a dot: to the field's scale. 0: an error. */
CSV_VECTOR void factors_make(uint32_t scale, __m512i *ret_dotted, __m512i *ret_plain)
{
    uint64_t factors[CSV_LANES] = {0};
    for (uint32_t decimals = 1; decimals <= scale && decimals < CSV_LANES; decimals++)
        factors[decimals] = pst_csv_power[scale - decimals];
    *ret_dotted = _mm512_loadu_si512(factors);
    *ret_plain = SPLAT(pst_csv_power[scale]);
}

CSV_VECTOR void lanes_store(const struct pst_csv_run *run, uint32_t row, __m512i values, uint32_t cell_bytes)
{
    if (cell_bytes == 4)
        _mm256_storeu_si256((__m256i *)(void *)((uint32_t *)run->cells + row), _mm512_cvtepi64_epi32(values));
    else if (cell_bytes == 8)
        _mm512_storeu_si512((uint64_t *)run->cells + row, values);
}

/* ---- numbers of up to 8 bytes ---- */

/* What eight fields at a time leave behind: whether anything was wrong is decided when all are through. */
struct tally {
    __m512i digit_max;   /* of each byte */
    __m512i first_max;   /* the same of the first byte, in the lowest one */
    __m512i skipped_any; /* bits of 64 - 8 * byte count: must be among 8, 16 and 32 */
    __m512i value_max, factor_min;
};

CSV_VECTOR bool tally_wrong(const struct tally *tally, struct csv_shape shape, uint64_t value_max)
{
    uint32_t wrong = _mm512_cmpgt_epu8_mask(tally->digit_max, SPLAT_BYTES(9)) != 0;
    wrong |= _mm512_test_epi64_mask(tally->skipped_any, SPLAT(~UINT64_C(56)));
    if (shape.limited || shape.with_dot)
        wrong |= _mm512_cmpgt_epu64_mask(tally->value_max, SPLAT(value_max));
    if (shape.with_dot) {
        wrong |= _mm512_cmpgt_epu8_mask(_mm512_and_si512(tally->first_max, SPLAT(255)), SPLAT_BYTES(9)) != 0;
        wrong |= _mm512_cmpeq_epi64_mask(tally->factor_min, _mm512_setzero_si512());
    }
    return wrong != 0;
}

/* Takes a '\r' off the fields that end with one; their bytes are at the end of the words, xor '0'. */
CSV_VECTOR void returns_drop(__m512i *digits, __m512i *skipped)
{
    __mmask64 returns = _mm512_mask_cmpeq_epi8_mask(PST_CSV_HIGH, *digits, SPLAT_BYTES('\r' ^ '0'));
    if (returns == 0)
        return;
    __mmask8 lanes = _mm512_movepi64_mask(_mm512_movm_epi8(returns));
    *digits = _mm512_mask_slli_epi64(*digits, lanes, *digits, 8);
    *skipped = _mm512_mask_add_epi64(*skipped, lanes, *skipped, SPLAT(8));
}

CSV_VECTOR bool numbers_short(const struct pst_csv_run *whole_run, struct csv_shape shape)
{
    const struct lanes lanes = lanes_make(whole_run);
    const struct pst_csv_run *run = &lanes.run;
    const __m512i zero = _mm512_setzero_si512();
    struct tally tally = {zero, zero, zero, zero, SPLAT(-1)};
    __m512i dotted, plain;
    factors_make(run->field->scale, &dotted, &plain);
    for (uint32_t next = 0; next < run->row_count; next += CSV_LANES) {
        uint32_t row = next <= run->row_count - CSV_LANES ? next : run->row_count - CSV_LANES;
        const uint16_t *at = run->starts + (size_t)row * run->stride;
        struct halves halves = halves_load(run->text, at, run->stride);
        __m512i words = _mm512_xor_si512(_mm512_unpacklo_epi64(halves.even, halves.odd), SPLAT(PST_CSV_ZEROS));
        __m512i skipped = _mm512_sub_epi64(SPLAT(64), _mm512_slli_epi64(lengths_load(&lanes, at), 3));
        __mmask8 negative = 0;
        if (shape.with_sign) {
            negative = _mm512_cmpeq_epi64_mask(_mm512_and_si512(words, SPLAT(255)), SPLAT('-' ^ '0'));
            tally.skipped_any = _mm512_or_si512(tally.skipped_any, skipped);
            words = _mm512_mask_srli_epi64(words, negative, words, 8);
            skipped = _mm512_mask_add_epi64(skipped, negative, skipped, SPLAT(8));
        }
        __m512i digits = _mm512_sllv_epi64(words, skipped);
        if (run->line_end)
            returns_drop(&digits, &skipped);
        tally.skipped_any = _mm512_or_si512(tally.skipped_any, skipped);
        __m512i factor = zero;
        if (shape.with_dot) {
            __m512i behind;
            tally.first_max = _mm512_max_epu8(tally.first_max, words);
            dots_squeeze(&digits, &behind);
            factor = _mm512_permutex2var_epi64(dotted, _mm512_srli_epi64(behind, 3), plain);
            tally.factor_min = _mm512_min_epu64(tally.factor_min, factor);
        }
        tally.digit_max = _mm512_max_epu8(tally.digit_max, digits);
        if (shape.cell_bytes == 0 && !shape.limited && !shape.with_dot)
            continue;
        __m512i value = digits_value(digits);
        if (shape.with_dot)
            value = _mm512_mul_epu32(value, factor);
        if (shape.with_dot || shape.limited)
            tally.value_max = _mm512_max_epu64(tally.value_max, value);
        if (shape.with_sign)
            value = _mm512_mask_sub_epi64(value, negative, zero, value);
        lanes_store(run, row, value, shape.cell_bytes);
    }
    uint64_t decimal_max = PST_CSV_DECIMAL_LIMIT * pst_csv_power[run->field->scale] - 1;
    return tally_wrong(&tally, shape, shape.with_dot ? decimal_max : run->field->max);
}

/* ---- numbers of up to 16 bytes ---- */

/* Marks rows in error; few batches have any. */
CSV_TARGET static void rows_mark(uint8_t *bad, uint32_t rows)
{
    for (; rows != 0; rows &= rows - 1)
        bad[__builtin_ctz(rows)] = 1;
}

/* A number that is the same in many rows: the last one's bytes, and its value. */
struct repeated {
    __m128i bytes, kept; /* the 16 bytes that end with it; which of them are its own */
    __m512i byte_count, value;
    bool known;
};

CSV_VECTOR bool repeated_again(const struct repeated *last, const struct pst_csv_run *run, const uint16_t *at,
                               __m512i byte_count)
{
    __m128i different = _mm_setzero_si128();
    for (uint32_t row = 0; row < CSV_LANES; row++) /* different |= bytes ^ last->bytes */
        different =
            _mm_ternarylogic_epi64(different, text_load(run->text - 17 + at[row * run->stride + 1]), last->bytes, 0xf6);
    return last->known && _mm512_cmpneq_epi64_mask(byte_count, last->byte_count) == 0 &&
           _mm_testz_si128(different, last->kept);
}

/* Notes the last of eight rows. */
CSV_VECTOR void repeated_note(struct repeated *last, const struct pst_csv_run *run, const uint16_t *at,
                              __m512i byte_count, __m512i value, bool right)
{
    const __m128i places = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i lane = SPLAT(CSV_LANES - 1);
    last->byte_count = _mm512_permutexvar_epi64(lane, byte_count);
    last->value = _mm512_permutexvar_epi64(lane, value);
    last->bytes = text_load(run->text - 17 + at[(CSV_LANES - 1) * run->stride + 1]);
    __m128i count = _mm512_castsi512_si128(last->byte_count);
    last->kept = _mm_cmpgt_epi8(_mm_broadcastb_epi8(count), places);
    last->known = right && (uint64_t)_mm_cvtsi128_si64(count) <= 16; /* a '\r' more, and there are 17 */
}

/* The last 16 bytes of eight fields, as two words xor '0'; what precedes the field is in them too. */
struct wide {
    __m512i head, tail, byte_count;
};

CSV_VECTOR struct wide wide_load(const struct pst_csv_run *run, const uint16_t *at, __m512i byte_count)
{
    struct halves halves = halves_load(run->text - 17, at + 1, run->stride);
    __m512i tail = _mm512_unpackhi_epi64(halves.even, halves.odd);
    if (run->line_end) {
        __mmask8 returns = _mm512_cmpeq_epi64_mask(_mm512_srli_epi64(tail, 56), SPLAT('\r'));
        if (returns != 0) {
            uint16_t nexts[CSV_LANES];
            for (uint32_t row = 0; row < CSV_LANES; row++)
                nexts[row] = (uint16_t)(at[row * run->stride + 1] - (returns >> row & 1));
            halves = halves_load(run->text - 17, nexts, 1);
            tail = _mm512_unpackhi_epi64(halves.even, halves.odd);
            byte_count = _mm512_mask_sub_epi64(byte_count, returns, byte_count, SPLAT(1));
        }
    }
    __m512i head = _mm512_unpacklo_epi64(halves.even, halves.odd);
    return (struct wide){_mm512_xor_si512(head, SPLAT(PST_CSV_ZEROS)), _mm512_xor_si512(tail, SPLAT(PST_CSV_ZEROS)),
                         byte_count};
}

/* Which fields begin with '-': it is no longer counted. Shifts by 64 and more, and by less than 0, give 0. */
CSV_VECTOR __mmask8 wide_sign_drop(struct wide *wide)
{
    __m512i bits = _mm512_slli_epi64(wide->byte_count, 3);
    __m512i first = _mm512_or_si512(_mm512_srlv_epi64(wide->head, _mm512_sub_epi64(SPLAT(128), bits)),
                                    _mm512_srlv_epi64(wide->tail, _mm512_sub_epi64(SPLAT(64), bits)));
    __mmask8 negative = _mm512_cmpeq_epi64_mask(_mm512_and_si512(first, SPLAT(255)), SPLAT('-' ^ '0'));
    wide->byte_count = _mm512_mask_sub_epi64(wide->byte_count, negative, wide->byte_count, SPLAT(1));
    return negative;
}

/* Masks out what precedes the fields. */
CSV_VECTOR void wide_cut(struct wide *wide)
{
    __m512i skipped = _mm512_sub_epi64(SPLAT(64), _mm512_slli_epi64(wide->byte_count, 3));
    __m512i tail_skipped = _mm512_max_epi64(skipped, _mm512_setzero_si512());
    wide->tail = _mm512_and_si512(wide->tail, _mm512_sllv_epi64(SPLAT(-1), tail_skipped));
    __m512i head_skipped = _mm512_add_epi64(skipped, SPLAT(64));
    wide->head = _mm512_and_si512(wide->head, _mm512_sllv_epi64(SPLAT(-1), head_skipped));
}

/* The value of what has been cut, unscaled, and its decimals; returns which dots are in error. */
CSV_VECTOR __mmask8 wide_dot_value(struct wide *wide, __m512i *ret_value, __m512i *ret_decimals)
{
    __m512i behind, dots = dots_squeeze(&wide->tail, &behind);
    __mmask8 dotted = _mm512_test_epi64_mask(dots, dots);
    *ret_decimals = _mm512_maskz_srli_epi64(dotted, behind, 3);
    __m512i tail_power = _mm512_mask_mov_epi64(SPLAT(100000000), dotted, SPLAT(10000000));
    *ret_value = _mm512_add_epi64(digits_value(wide->tail), _mm512_mul_epu32(digits_value(wide->head), tail_power));
    /* In error: no digit behind the dot, none before it. (A dot in the head is a wrong digit.) */
    __m512i with_dot = _mm512_add_epi64(*ret_decimals, SPLAT(1));
    return _mm512_movepi64_mask(dots) | _mm512_mask_cmpeq_epi64_mask(dotted, with_dot, wide->byte_count);
}

CSV_VECTOR __m512i power_of(__m512i exponent)
{
    return _mm512_permutex2var_epi64(_mm512_loadu_si512(pst_csv_power), exponent,
                                     _mm512_loadu_si512(pst_csv_power + 8));
}

/* Scales decimals; returns which are over the limit or have too many decimals. */
CSV_VECTOR __mmask8 wide_scale(__m512i *value, __m512i decimals, uint32_t scale)
{
    __m512i end = _mm512_mullo_epi64(power_of(decimals), SPLAT(PST_CSV_DECIMAL_LIMIT));
    __mmask8 wrong = _mm512_cmpge_epu64_mask(*value, end) | _mm512_cmpgt_epu64_mask(decimals, SPLAT(scale));
    *value = _mm512_mullo_epi64(*value, power_of(_mm512_sub_epi64(SPLAT(scale), decimals)));
    return wrong;
}

CSV_VECTOR bool numbers_wide(const struct pst_csv_run *whole_run, struct csv_shape shape)
{
    const struct lanes lanes = lanes_make(whole_run);
    const struct pst_csv_run *run = &lanes.run;
    const __m512i zero = _mm512_setzero_si512(), max = SPLAT(run->field->max);
    /* 16 digits are often in range whatever they are: then nobody asks for the value of what is not stored. */
    const bool valued = shape.cell_bytes != 0 || shape.with_dot || run->field->max < UINT64_C(9999999999999999);
    struct repeated last = {_mm_setzero_si128(), _mm_setzero_si128(), zero, zero, false};
    uint32_t any = 0;
    for (uint32_t next = 0; next < run->row_count; next += CSV_LANES) {
        uint32_t row = next <= run->row_count - CSV_LANES ? next : run->row_count - CSV_LANES;
        const uint16_t *at = run->starts + (size_t)row * run->stride;
        __m512i byte_count = lengths_load(&lanes, at), value = zero, decimals;
        if (shape.repeated && repeated_again(&last, run, at, byte_count)) {
            lanes_store(run, row, last.value, shape.cell_bytes);
            continue;
        }
        struct wide wide = wide_load(run, at, byte_count);
        __mmask8 wrong = 0, negative = 0;
        wrong |= _mm512_cmpgt_epu64_mask(wide.byte_count, SPLAT(16));
        if (shape.with_sign)
            negative = wide_sign_drop(&wide);
        wrong |= _mm512_cmpeq_epi64_mask(wide.byte_count, zero);
        wide_cut(&wide);
        if (shape.with_dot) {
            wrong |= wide_dot_value(&wide, &value, &decimals);
            wrong |= wide_scale(&value, decimals, run->field->scale);
        } else if (valued) {
            __m512i head = _mm512_mul_epu32(digits_value(wide.head), SPLAT(100000000));
            value = _mm512_add_epi64(digits_value(wide.tail), head);
            wrong |= _mm512_cmpgt_epu64_mask(value, max);
        }
        __mmask64 over_nine = _mm512_cmpgt_epu8_mask(_mm512_max_epu8(wide.head, wide.tail), SPLAT_BYTES(9));
        if (shape.with_sign)
            value = _mm512_mask_sub_epi64(value, negative, zero, value);
        lanes_store(run, row, value, shape.cell_bytes);
        if (over_nine != 0 || wrong != 0) {
            __m512i bytes = _mm512_movm_epi8(over_nine);
            wrong |= _mm512_test_epi64_mask(bytes, bytes);
            rows_mark(run->bad + row, wrong);
            any = 1;
        }
        if (shape.repeated)
            repeated_note(&last, run, at, byte_count, value, wrong == 0);
    }
    return any != 0;
}

/* ---- columns ---- */

CSV_VECTOR bool lanes_integers(const struct pst_csv_run *run, uint32_t cell_bytes, bool with_sign)
{
    if (run->wide && run->repeated)
        return numbers_wide(run, (struct csv_shape){cell_bytes, true, with_sign, false, true, true});
    if (run->wide)
        return numbers_wide(run, (struct csv_shape){cell_bytes, true, with_sign, false, true, false});
    if (run->field->max < 99999999)
        return numbers_short(run, (struct csv_shape){cell_bytes, false, with_sign, false, true, false});
    return numbers_short(run, (struct csv_shape){cell_bytes, false, with_sign, false, false, false});
}

CSV_VECTOR bool lanes_decimals(const struct pst_csv_run *run, uint32_t cell_bytes)
{
    if (run->wide)
        return numbers_wide(run, (struct csv_shape){cell_bytes, true, true, true, false, false});
    return numbers_short(run, (struct csv_shape){cell_bytes, false, true, true, false, false});
}

/* Texts, and what is too short for lanes. */
CSV_TARGET static bool column_by_rows(const struct pst_csv_run *run) { return csv_column(run); }

CSV_VECTOR bool lanes_column(const struct pst_csv_run *run)
{
    bool stored = run->cells != NULL;
    if (run->row_count < CSV_LANES)
        return column_by_rows(run);
    switch (run->field->kind) {
    case PST_CSV_U32:
    case PST_CSV_BIT:
        return stored ? lanes_integers(run, 4, false) : lanes_integers(run, 0, false);
    case PST_CSV_U64:
        return stored ? lanes_integers(run, 8, false) : lanes_integers(run, 0, false);
    case PST_CSV_I64:
        return stored ? lanes_integers(run, 8, true) : lanes_integers(run, 0, true);
    case PST_CSV_DECIMAL:
        return stored ? lanes_decimals(run, 8) : lanes_decimals(run, 0);
    case PST_CSV_TEXT:
        break;
    }
    return column_by_rows(run);
}

#endif
