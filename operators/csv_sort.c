/* operators/csv_sort.c - sorts rows by number: radix sort where the columns fit into a word, merge sort where they do not.
 *
 * The word holds the sort columns, each less its minimum and with just the bits it then needs, above the row's number: equal
 * rows stay in order by themselves, and the array sorted is the array of numbers. A tick of load_plug.csv (10625 rows from 16
 * partitions) takes 26 bits of columns, so three passes. */
#include "operators/csv_sort.h"

#include <string.h>

enum {
    DIGIT_BITS_MAX = 11,
    INSERTION_ROWS = 32,
    WIDE_DIGIT_ROWS = 4096, /* from here on, clearing tables of 2048 is worth a pass less */
};

static uint32_t bits_of(uint64_t value) { return value == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(value); }

/* How many bits the columns take; over 64: they do not fit. */
static uint32_t columns_bits(const struct pst_csv_sort_rows *rows)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < rows->column_count; i++) {
        if (rows->columns[i].type == PST_TEXT)
            return 65;
        bits += bits_of(rows->columns[i].last - rows->columns[i].first);
        if (bits > 64)
            return 65;
    }
    return bits;
}

/* ---- words ---- */

static void words_pack(const struct pst_csv_sort_rows *rows, uint32_t number_bits, uint64_t *words)
{
    struct {
        uint32_t word, bits;
        uint64_t sign, first;
    } parts[64]; /* each takes a bit at least */
    uint32_t part_count = 0, row = 0;
    for (uint32_t i = 0; i < rows->column_count; i++) {
        const struct pst_csv_sort_column *column = &rows->columns[i];
        uint32_t bits = bits_of(column->last - column->first);
        if (bits == 0)
            continue;
        parts[part_count].word = column->word;
        parts[part_count].bits = bits;
        parts[part_count].sign = pst_csv_sort_key(column->type, 0);
        parts[part_count++].first = column->first;
    }
    for (uint32_t chunk = 0; row < rows->row_count; chunk++) {
        const uint64_t *cells = rows->chunks[chunk];
        uint32_t chunk_end = (chunk + 1) << rows->chunk_shift;
        uint32_t end = chunk_end < rows->row_count ? chunk_end : rows->row_count;
        for (; row < end; row++, cells += rows->row_words) {
            uint64_t word = 0;
            for (uint32_t i = 0; i < part_count; i++)
                word = word << parts[i].bits | ((cells[parts[i].word] ^ parts[i].sign) - parts[i].first);
            words[row] = word << number_bits | row;
        }
    }
}

static bool words_are_sorted(const uint64_t *words, uint32_t count)
{
    uint64_t descents = 0;
    for (uint32_t i = 1; i < count; i++)
        descents |= words[i] < words[i - 1];
    return descents == 0;
}

static void words_insert(uint64_t *words, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint64_t word = words[i];
        uint32_t at = i;
        for (; at > 0 && words[at - 1] > word; at--)
            words[at] = words[at - 1];
        words[at] = word;
    }
}

/* One pass from `from` to `to` by a digit; false: all have the same one, nothing done. */
static bool words_scatter(const uint64_t *from, uint64_t *to, uint32_t count, uint32_t shift, uint32_t digit_bits)
{
    uint32_t places[1 << DIGIT_BITS_MAX], mask = (1u << digit_bits) - 1, place = 0;
    memset(places, 0, sizeof *places << digit_bits);
    for (uint32_t i = 0; i < count; i++)
        places[from[i] >> shift & mask]++;
    if (places[from[0] >> shift & mask] == count)
        return false;
    for (uint32_t digit = 0; digit <= mask; digit++) {
        uint32_t digit_count = places[digit];
        places[digit] = place;
        place += digit_count;
    }
    for (uint32_t i = 0; i < count; i++)
        to[places[from[i] >> shift & mask]++] = from[i];
    return true;
}

static uint64_t *words_sort(uint64_t *words, uint64_t *other, uint32_t count, uint32_t number_bits, uint32_t bits)
{
    if (bits == 0 || words_are_sorted(words, count))
        return words;
    if (count <= INSERTION_ROWS) {
        words_insert(words, count);
        return words;
    }
    uint32_t digit_bits_max = count < WIDE_DIGIT_ROWS ? 8 : DIGIT_BITS_MAX;
    uint32_t pass_count = (bits + digit_bits_max - 1) / digit_bits_max;
    uint32_t digit_bits = (bits + pass_count - 1) / pass_count;
    for (uint32_t pass = 0; pass < pass_count; pass++)
        if (words_scatter(words, other, count, number_bits + pass * digit_bits, digit_bits)) {
            uint64_t *swap = words;
            words = other, other = swap;
        }
    return words;
}

/* ---- comparing ---- */

static bool is_before(const struct pst_csv_sort_rows *rows, uint64_t a, uint64_t b)
{
    const uint64_t *row_a = pst_csv_sort_row(rows, a), *row_b = pst_csv_sort_row(rows, b);
    for (uint32_t i = 0; i < rows->column_count; i++) {
        const struct pst_csv_sort_column *column = &rows->columns[i];
        const uint64_t *cell_a = row_a + column->word, *cell_b = row_b + column->word;
        if (column->type == PST_TEXT) {
            /* Behind the length byte; zeros behind the text make a beginning smaller than what it begins. */
            int order = memcmp((const char *)cell_a + 1, (const char *)cell_b + 1, PST_TEXT_BYTES - 1);
            if (order != 0)
                return order < 0;
        } else if (*cell_a != *cell_b) {
            return pst_csv_sort_key(column->type, *cell_a) < pst_csv_sort_key(column->type, *cell_b);
        }
    }
    return false;
}

/* Where the ascending run that begins at `from` ends. */
static uint32_t run_end(const struct pst_csv_sort_rows *rows, const uint64_t *numbers, uint32_t from)
{
    uint32_t end = from + 1;
    while (end < rows->row_count && !is_before(rows, numbers[end], numbers[end - 1]))
        end++;
    return end;
}

/* Merges neighbouring runs until there is one: rows come from partitions that are each in order, so there are few. */
static const uint64_t *numbers_merge(const struct pst_csv_sort_rows *rows, uint64_t *numbers, uint64_t *other)
{
    for (;;) {
        uint32_t count = rows->row_count, from = 0, run_count = 0;
        while (from < count) {
            uint32_t middle = run_end(rows, numbers, from);
            uint32_t end = middle < count ? run_end(rows, numbers, middle) : middle;
            uint32_t a = from, b = middle;
            for (uint32_t to = from; to < end; to++) {
                bool take_b = a == middle || (b < end && is_before(rows, numbers[b], numbers[a]));
                other[to] = numbers[take_b ? b++ : a++];
            }
            from = end;
            run_count++;
        }
        uint64_t *swap = numbers;
        numbers = other, other = swap;
        if (run_count <= 1)
            return numbers;
    }
}

const uint64_t *pst_csv_sort(const struct pst_csv_sort_rows *rows, uint64_t *scratch_a, uint64_t *scratch_b)
{
    uint32_t count = rows->row_count, number_bits = bits_of(count), bits = columns_bits(rows);
    if (bits + number_bits > 64) {
        for (uint32_t row = 0; row < count; row++)
            scratch_a[row] = row;
        return numbers_merge(rows, scratch_a, scratch_b);
    }
    words_pack(rows, number_bits, scratch_a);
    uint64_t *words = words_sort(scratch_a, scratch_b, count, number_bits, bits);
    for (uint32_t row = 0; row < count; row++)
        words[row] &= (UINT64_C(1) << number_bits) - 1;
    return words;
}
