/* operators/csv_scan_portable.c - the kernel of the CSV parser for any machine: separators by words of 8 bytes. */
#include "operators/csv_columns.h"

/* Bit 7 of each byte that equals the byte that `repeated` holds 8 times, exactly. */
static inline uint64_t equal_bytes(uint64_t word, uint64_t repeated)
{
    uint64_t difference = word ^ repeated;
    return ~(((difference & ~PST_CSV_HIGH) + ~PST_CSV_HIGH) | difference | ~PST_CSV_HIGH);
}

static uint32_t scan(const char *text, uint32_t byte_count, uint16_t *ret_starts, uint32_t *ret_line_count)
{
    uint32_t count = 0, line_count = 0;
    for (uint32_t at = 0; at < byte_count; at += 8) {
        uint64_t word = csv_load(text + at);
        uint64_t lines = equal_bytes(word, PST_CSV_ONES * '\n');
        uint64_t marks = lines | equal_bytes(word, PST_CSV_ONES * ',');
        if (byte_count - at < 8) {
            uint64_t inside = (UINT64_C(1) << (8 * (byte_count - at))) - 1;
            lines &= inside, marks &= inside;
        }
        line_count += (uint32_t)(((lines >> 7) * PST_CSV_ONES) >> 56);
        for (; marks != 0; marks &= marks - 1)
            ret_starts[count++] = (uint16_t)(at + ((uint32_t)__builtin_ctzll(marks) >> 3) + 1);
    }
    *ret_line_count = line_count;
    return count;
}

static bool column(const struct pst_csv_run *run) { return csv_column(run); }

const struct pst_csv_kernel pst_csv_kernel_portable = {.name = "portable", .scan = scan, .column = column};
