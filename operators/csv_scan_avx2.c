/* operators/csv_scan_avx2.c - the kernel of the CSV parser for AVX2 with BMI2: separators by masks of 64 bytes. */
#include "operators/csv_columns.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define CSV_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))

CSV_TARGET static inline uint64_t equal_mask(__m256i low, __m256i high, char byte)
{
    __m256i wanted = _mm256_set1_epi8(byte);
    uint32_t low_mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted));
    uint32_t high_mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted));
    return low_mask | (uint64_t)high_mask << 32;
}

CSV_TARGET static uint32_t scan(const char *text, uint32_t byte_count, uint16_t *ret_starts, uint32_t *ret_line_count)
{
    uint32_t count = 0, line_count = 0;
    for (uint32_t at = 0; at < byte_count; at += 64) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)(text + at));
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(text + at + 32));
        uint64_t lines = equal_mask(low, high, '\n'), marks = lines | equal_mask(low, high, ',');
        if (byte_count - at < 64) {
            uint64_t inside = (UINT64_C(1) << (byte_count - at)) - 1;
            lines &= inside, marks &= inside;
        }
        line_count += (uint32_t)_mm_popcnt_u64(lines);
        uint32_t mark_count = (uint32_t)_mm_popcnt_u64(marks);
        /* Eight at a time whether there are so many or not: how many there are cannot be foretold, how many eights can. */
        for (uint32_t done = 0; done < mark_count; done += 8)
            for (uint32_t i = 0; i < 8; i++) {
                ret_starts[count + done + i] = (uint16_t)(at + (uint32_t)_tzcnt_u64(marks) + 1);
                marks &= marks - 1;
            }
        count += mark_count;
    }
    *ret_line_count = line_count;
    return count;
}

CSV_TARGET static bool column(const struct pst_csv_run *run) { return csv_column(run); }

const struct pst_csv_kernel pst_csv_kernel_avx2 = {.name = "avx2", .scan = scan, .column = column};
#endif
