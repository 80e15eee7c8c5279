/* operators/csv_scan_avx512.c - the kernel of the CSV parser for AVX-512 with VBMI2: separators by masks of 64 bytes, their
 * positions by compression; columns in csv_columns_avx512.h. */
#include "operators/csv_kernel.h"

#if defined(__x86_64__)
#include "operators/csv_columns_avx512.h"

/* ---- separators ---- */

CSV_VECTOR void put(uint16_t *starts, __m256i offsets, uint32_t at)
{
    __m512i wide = _mm512_add_epi16(_mm512_cvtepu8_epi16(offsets), _mm512_set1_epi16((short)at));
    _mm512_storeu_si512(starts, wide);
}

CSV_TARGET static uint32_t scan(const char *text, uint32_t byte_count, uint16_t *ret_starts, uint32_t *ret_line_count)
{
    uint8_t offset_bytes[64];
    for (uint32_t i = 0; i < 64; i++)
        offset_bytes[i] = (uint8_t)(i + 1);
    const __m512i offsets = _mm512_loadu_si512(offset_bytes);
    const __m512i comma = _mm512_set1_epi8(','), newline = _mm512_set1_epi8('\n');
    uint32_t count = 0, line_count = 0;
    for (uint32_t at = 0; at < byte_count; at += 64) {
        __m512i bytes = _mm512_loadu_si512(text + at);
        uint64_t lines = _mm512_cmpeq_epi8_mask(bytes, newline);
        uint64_t marks = lines | _mm512_cmpeq_epi8_mask(bytes, comma);
        if (byte_count - at < 64) {
            uint64_t inside = (UINT64_C(1) << (byte_count - at)) - 1;
            lines &= inside, marks &= inside;
        }
        uint32_t mark_count = (uint32_t)_mm_popcnt_u64(marks);
        __m512i found = _mm512_maskz_compress_epi8(marks, offsets);
        put(ret_starts + count, _mm512_castsi512_si256(found), at);
        if (mark_count > 32)
            put(ret_starts + count + 32, _mm512_extracti64x4_epi64(found, 1), at);
        count += mark_count;
        line_count += (uint32_t)_mm_popcnt_u64(lines);
    }
    *ret_line_count = line_count;
    return count;
}

CSV_TARGET static bool column(const struct pst_csv_run *run) { return lanes_column(run); }

const struct pst_csv_kernel pst_csv_kernel_avx512 = {.name = "avx512", .scan = scan, .column = column};
#endif
