/* operators/csv_columns.h - the columns of the fast CSV parser, converted field by field without branches.
 *
 * Included by each kernel, which compiles it for its own instructions: everything here is inlined into the kernel's
 * column function. Numbers are made from 8 bytes at a time: load where the field starts, shift out what follows it (so its
 * last byte is the word's last), turn digits into 0..9, check all at once, three multiplications. Bytes are in little-endian
 * order; other machines use the plain parser.
 *
 * Errors are gathered over the column and looked at once. Short loops take numbers up to 8 bytes and only say that there was
 * an error; the caller repeats the column by a wide loop, up to 16 bytes, which marks the rows.
 */
#ifndef PST_CSV_COLUMNS_H
#define PST_CSV_COLUMNS_H

#include "operators/csv_kernel.h"

#include <string.h>

#define PST_CSV_INLINE static inline __attribute__((always_inline))

#define PST_CSV_ONES UINT64_C(0x0101010101010101)
#define PST_CSV_ZEROS UINT64_C(0x3030303030303030) /* "00000000" */
#define PST_CSV_HIGH UINT64_C(0x8080808080808080)
#define PST_CSV_NINES UINT64_C(0x7676767676767676) /* added to a digit's value, sets bit 7 of what is over 9 */

/* Powers of ten; zeros where no number of decimals leads, so that any four bits are an index. */
static const uint64_t pst_csv_power[16] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};

PST_CSV_INLINE uint64_t csv_load(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* A field's place. `end` may be below `start` in garbage before an empty window: its length is then over any limit. */
struct csv_place {
    uint32_t start, end;
};
PST_CSV_INLINE struct csv_place csv_place(const struct pst_csv_run *run, uint32_t row, bool line_end)
{
    const uint16_t *at = run->starts + (size_t)row * run->stride;
    struct csv_place place = {at[0], at[1] - 1u};
    if (line_end)
        place.end -= run->text[(int32_t)place.end - 1] == '\r';
    return place;
}

/* The value of 8 digits (each byte 0..9), the first one in the lowest byte. */
PST_CSV_INLINE uint64_t csv_digits(uint64_t digits)
{
    digits = ((digits * 2561) >> 8) & UINT64_C(0x00ff00ff00ff00ff);
    digits = ((digits * 6553601) >> 16) & UINT64_C(0x0000ffff0000ffff);
    return (digits * UINT64_C(42949672960001)) >> 32;
}

/* The field's digits as bytes 0..9, the last one in the highest byte; zeros before the first. byte_count 1..8, else any. */
PST_CSV_INLINE uint64_t csv_word(const char *field, uint32_t byte_count)
{
    uint32_t shift = (0u - 8 * byte_count) & 63;
    return (csv_load(field) << shift) ^ (PST_CSV_ZEROS << shift);
}

/* The same for 0..8 bytes. */
PST_CSV_INLINE uint64_t csv_word_or_none(const char *field, uint32_t byte_count)
{
    return csv_word(field, byte_count) & (0 - (uint64_t)(byte_count != 0));
}

/* Bit 7 of a byte is set where it is over 9, or a byte before was. */
PST_CSV_INLINE uint64_t csv_over_nine(uint64_t digits) { return (digits + PST_CSV_NINES) | digits; }

/* Bit 7 of the first byte that is zero, if any; bytes behind it may be marked wrongly. */
PST_CSV_INLINE uint64_t csv_zero_byte(uint64_t word) { return (word - PST_CSV_ONES) & ~word & PST_CSV_HIGH; }

PST_CSV_INLINE void csv_store(const struct pst_csv_run *run, uint32_t row, uint64_t value, uint32_t cell_bytes)
{
    if (cell_bytes == 4)
        ((uint32_t *)run->cells)[row] = (uint32_t)value;
    else if (cell_bytes == 8)
        ((uint64_t *)run->cells)[row] = value;
}

/* What a loop over numbers is made for; constants, so that the compiler leaves out what does not apply. */
struct csv_shape {
    uint32_t cell_bytes; /* 4, 8; 0: check alone */
    bool wide;           /* up to 16 bytes, and rows in error are marked; else up to 8 */
    bool with_sign, with_dot;
    bool limited;  /* may exceed the field's maximum */
    bool repeated; /* mostly the same bytes as in the row before */
};

/* A number on its way: its digits without dot and sign. */
struct csv_number {
    uint64_t head, tail; /* the last 8 bytes are in tail */
    uint64_t decimals;
    uint64_t wrong; /* bit 7 of any byte: not a number of this shape */
};

/* Squeezes the dot out of the tail: what is before it moves up by a byte. Returns 10^(digits left in the tail). */
PST_CSV_INLINE uint64_t csv_dot_squeeze(struct csv_number *number, uint32_t tail_bytes, bool wide, uint32_t head_bytes)
{
    uint64_t marks = csv_zero_byte(number->tail ^ (PST_CSV_ONES * ('.' ^ '0')));
    uint64_t dot = (marks & (0 - marks)) >> 7; /* the lowest bit of the dot's byte; 0: there is none */
    uint64_t before = dot - (dot != 0);
    number->tail = ((number->tail & before) << 8) | (number->tail & ~before & ~(dot * 255));
    number->decimals = dot != 0 ? (uint64_t)__builtin_clzll(dot | 1) >> 3 : 0;
    /* In error: no digit behind the dot, none before it. (A dot before the tail is a wrong digit of the head.) */
    number->wrong |= dot >> 56 << 7;
    uint64_t first = UINT64_C(1) << ((0u - 8 * tail_bytes) & 63);
    number->wrong |= (uint64_t)(dot == first && (!wide || head_bytes == 0)) << 7;
    return dot != 0 ? 10000000 : 100000000;
}

PST_CSV_INLINE bool csv_numbers(const struct pst_csv_run *whole_run, struct csv_shape shape, bool line_end)
{
    /* A copy that no store can reach, so that it stays in registers. */
    const struct pst_csv_run own_run = *whole_run, *run = &own_run;
    const uint64_t scale = run->field->scale, max = run->field->max;
    uint64_t wrong = 0, last_head = 0, last_tail = 0, last_value = 0;
    uint32_t lengths = 0, last_bytes = 0;
    for (uint32_t row = 0; row < run->row_count; row++) {
        struct csv_place place = csv_place(run, row, line_end);
        const char *field = run->text + place.start;
        uint64_t same_head = 0, same_tail = 0;
        if (shape.repeated) {
            same_head = csv_load(field), same_tail = csv_load(run->text + (int32_t)place.end - 8);
            if (same_head == last_head && same_tail == last_tail && place.end - place.start == last_bytes) {
                csv_store(run, row, last_value, shape.cell_bytes);
                continue;
            }
        }
        uint64_t negative = shape.with_sign ? *field == '-' : 0;
        field += negative;
        uint32_t byte_count = place.end - place.start - (uint32_t)negative;
        uint32_t head_bytes = shape.wide && byte_count > 8 ? (byte_count - 8) & 15 : 0;
        uint32_t tail_bytes = shape.wide && byte_count > 8 ? 8 : byte_count;
        struct csv_number number = {0, csv_word(field + head_bytes, tail_bytes), 0, 0};
        if (shape.wide)
            number.head = csv_word_or_none(field, head_bytes);
        uint64_t tail_power = 100000000;
        if (shape.with_dot)
            tail_power = csv_dot_squeeze(&number, tail_bytes, shape.wide, head_bytes);
        number.wrong |= csv_over_nine(number.tail) | (shape.wide ? csv_over_nine(number.head) : 0);
        uint64_t value = csv_digits(number.tail) + (shape.wide ? csv_digits(number.head) * tail_power : 0);
        if (shape.with_dot) {
            bool over = value >= PST_CSV_DECIMAL_LIMIT * pst_csv_power[number.decimals];
            number.wrong |= (uint64_t)(over | (number.decimals > scale)) << 63;
            value *= pst_csv_power[(scale - number.decimals) & 15];
        } else if (shape.limited) {
            number.wrong |= (uint64_t)(value > max) << 63;
        }
        value = (value ^ (0 - negative)) + negative;
        csv_store(run, row, value, shape.cell_bytes);
        if (!shape.wide) {
            wrong |= number.wrong;
            lengths |= byte_count - 1;
            continue;
        }
        bool bad = ((number.wrong & PST_CSV_HIGH) | ((byte_count - 1) >> 4)) != 0;
        run->bad[row] |= bad;
        wrong |= (uint64_t)bad << 63;
        if (shape.repeated && !bad)
            last_head = same_head, last_tail = same_tail, last_bytes = place.end - place.start, last_value = value;
    }
    return ((wrong & PST_CSV_HIGH) | (lengths >> 3)) != 0;
}

/* Each shape as a loop of its own, once more for the last column. */
PST_CSV_INLINE bool csv_numbers_either(const struct pst_csv_run *run, struct csv_shape shape)
{
    return run->line_end ? csv_numbers(run, shape, true) : csv_numbers(run, shape, false);
}

PST_CSV_INLINE bool csv_unsigned(const struct pst_csv_run *run, uint32_t cell_bytes)
{
    if (run->wide && run->repeated)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, true, false, false, true, true});
    if (run->wide)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, true, false, false, true, false});
    if (run->field->max < 99999999)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, false, false, false, true, false});
    return csv_numbers_either(run, (struct csv_shape){cell_bytes, false, false, false, false, false});
}

PST_CSV_INLINE bool csv_signed(const struct pst_csv_run *run, uint32_t cell_bytes)
{
    if (run->wide && run->repeated)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, true, true, false, true, true});
    if (run->wide)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, true, true, false, true, false});
    return csv_numbers_either(run, (struct csv_shape){cell_bytes, false, true, false, false, false});
}

PST_CSV_INLINE bool csv_decimals(const struct pst_csv_run *run, uint32_t cell_bytes)
{
    if (run->wide)
        return csv_numbers_either(run, (struct csv_shape){cell_bytes, true, true, true, false, false});
    return csv_numbers_either(run, (struct csv_shape){cell_bytes, false, true, true, false, false});
}

/* Bytes that are kept, from the end: PST_TEXT_BYTES ones, then as many zeros. */
static const uint8_t csv_text_mask[2 * PST_TEXT_BYTES] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
};

/* Texts: 32 bytes from the one before the field, which becomes the length, cut by a mask. An empty line (a schema of one
 * field) is the plain parser's. */
PST_CSV_INLINE bool csv_texts(const struct pst_csv_run *run, bool stored)
{
    uint64_t any = 0;
    for (uint32_t row = 0; row < run->row_count; row++) {
        struct csv_place place = csv_place(run, row, run->line_end);
        uint32_t byte_count = place.end - place.start;
        bool bad = byte_count >= PST_TEXT_BYTES || (byte_count == 0 && run->stride == 1);
        byte_count &= PST_TEXT_BYTES - 1;
        const char *from = run->text + (int32_t)place.start - 1;
        const uint8_t *mask = csv_text_mask + PST_TEXT_BYTES - 1 - byte_count;
        uint64_t words[PST_TEXT_BYTES / 8], masks[PST_TEXT_BYTES / 8], nul = 0;
        memcpy(words, from, sizeof words);
        memcpy(masks, mask, sizeof masks);
        words[0] = (words[0] & ~UINT64_C(255)) | byte_count;
        for (uint32_t i = 0; i < PST_TEXT_BYTES / 8; i++) {
            words[i] &= masks[i];
            nul |= csv_zero_byte(words[i] | ~masks[i] | (i == 0 ? 255 : 0));
        }
        if (stored)
            memcpy((uint8_t *)run->cells + (size_t)row * PST_TEXT_BYTES, words, sizeof words);
        bad |= nul != 0;
        run->bad[row] |= bad;
        any |= bad;
    }
    return any != 0;
}

PST_CSV_INLINE bool csv_column(const struct pst_csv_run *run)
{
    bool stored = run->cells != NULL;
    switch (run->field->kind) {
    case PST_CSV_U32:
    case PST_CSV_BIT:
        return stored ? csv_unsigned(run, 4) : csv_unsigned(run, 0);
    case PST_CSV_U64:
        return stored ? csv_unsigned(run, 8) : csv_unsigned(run, 0);
    case PST_CSV_I64:
        return stored ? csv_signed(run, 8) : csv_signed(run, 0);
    case PST_CSV_DECIMAL:
        return stored ? csv_decimals(run, 8) : csv_decimals(run, 0);
    case PST_CSV_TEXT:
        return stored ? csv_texts(run, true) : csv_texts(run, false);
    }
    return true;
}

#endif
