/* narrow.c - see narrow.h. Cells of 1, 2, 4 and 8 bytes go by loops that the compiler makes vectors of, of which target_clones picks one at
 * run time. Those of other widths are written and read eight bytes at a time, each over what is behind it, as long as there is so much. */
#include "base/narrow.h"

#include "base/base.h"

#include <string.h>

/* ---- the range of a column ---- */
#define RANGE(name, type)                                                                                     \
    PST_FOR_EACH_CPU static void name(const type *cells, uint32_t row_count, type *ret_least, type *ret_most) \
    {                                                                                                         \
        type least = cells[0], most = cells[0];                                                               \
        for (uint32_t i = 1; i < row_count; i++) {                                                            \
            least = cells[i] < least ? cells[i] : least;                                                      \
            most = cells[i] > most ? cells[i] : most;                                                         \
        }                                                                                                     \
        *ret_least = least;                                                                                   \
        *ret_most = most;                                                                                     \
    }
RANGE(range_i64, int64_t)
RANGE(range_u32, uint32_t)

struct pst_narrow pst_narrow_find(const void *cells, uint32_t cell_bytes, uint32_t row_count)
{
    struct pst_narrow narrow;
    uint64_t range;
    if (cell_bytes == 4) {
        uint32_t least, most;
        range_u32(cells, row_count, &least, &most);
        narrow.base = least;
        range = most - least;
    } else {
        int64_t most;
        range_i64(cells, row_count, &narrow.base, &most);
        range = (uint64_t)most - (uint64_t)narrow.base;
    }
    narrow.width = range == 0 ? 0 : 8 - (uint32_t)__builtin_clzll(range) / 8;
    return narrow;
}

/* ---- cells of usual widths ---- */
#define PUT(name, cell_type, out_type)                                                                          \
    PST_FOR_EACH_CPU static void name(const cell_type *cells, cell_type base, uint32_t row_count, uint8_t *out) \
    {                                                                                                           \
        for (uint32_t i = 0; i < row_count; i++) {                                                              \
            out_type above = (out_type)(cells[i] - base);                                                       \
            memcpy(out + i * sizeof above, &above, sizeof above);                                               \
        }                                                                                                       \
    }
#define GET(name, cell_type, in_type)                                                                             \
    PST_FOR_EACH_CPU static void name(const uint8_t *bytes, cell_type base, uint32_t row_count, cell_type *cells) \
    {                                                                                                             \
        for (uint32_t i = 0; i < row_count; i++) {                                                                \
            in_type above;                                                                                        \
            memcpy(&above, bytes + i * sizeof above, sizeof above);                                               \
            cells[i] = base + above;                                                                              \
        }                                                                                                         \
    }
PUT(put_8_to_1, uint64_t, uint8_t)
PUT(put_8_to_2, uint64_t, uint16_t)
PUT(put_8_to_4, uint64_t, uint32_t)
PUT(put_8_to_8, uint64_t, uint64_t)
PUT(put_4_to_1, uint32_t, uint8_t)
PUT(put_4_to_2, uint32_t, uint16_t)
PUT(put_4_to_4, uint32_t, uint32_t)
GET(get_8_of_1, uint64_t, uint8_t)
GET(get_8_of_2, uint64_t, uint16_t)
GET(get_8_of_4, uint64_t, uint32_t)
GET(get_8_of_8, uint64_t, uint64_t)
GET(get_4_of_1, uint32_t, uint8_t)
GET(get_4_of_2, uint32_t, uint16_t)
GET(get_4_of_4, uint32_t, uint32_t)

/* ---- and of others: 3 of both, 5 to 7 of cells of eight bytes ---- */
/* Of the last rows fewer than eight bytes are left. */
static uint32_t rows_with_eight_bytes(uint32_t row_count, uint32_t width)
{
    return row_count > 7 / width ? row_count - 7 / width : 0;
}

#define PUT_ODD(name, type)                                                                          \
    static void name(const type *cells, type base, uint32_t row_count, uint32_t width, uint8_t *out) \
    {                                                                                                \
        uint32_t whole = rows_with_eight_bytes(row_count, width), i = 0;                             \
        for (; i < whole; i++, out += width) {                                                       \
            uint64_t above = (type)(cells[i] - base);                                                \
            memcpy(out, &above, sizeof above);                                                       \
        }                                                                                            \
        for (; i < row_count; i++, out += width) {                                                   \
            uint64_t above = (type)(cells[i] - base);                                                \
            memcpy(out, &above, width);                                                              \
        }                                                                                            \
    }
PUT_ODD(put_8_odd, uint64_t)
PUT_ODD(put_4_odd, uint32_t)

#define GET_ODD(name, type)                                                                            \
    static void name(const uint8_t *bytes, type base, uint32_t row_count, uint32_t width, type *cells) \
    {                                                                                                  \
        uint64_t above = 0, mask = UINT64_MAX >> (64 - 8 * width);                                     \
        uint32_t whole = rows_with_eight_bytes(row_count, width), i = 0;                               \
        for (; i < whole; i++, bytes += width) {                                                       \
            memcpy(&above, bytes, sizeof above);                                                       \
            cells[i] = base + (type)(above & mask);                                                    \
        }                                                                                              \
        for (above = 0; i < row_count; i++, bytes += width) {                                          \
            memcpy(&above, bytes, width);                                                              \
            cells[i] = base + (type)above;                                                             \
        }                                                                                              \
    }
GET_ODD(get_8_odd, uint64_t)
GET_ODD(get_4_odd, uint32_t)

static void put_8(uint64_t base, uint32_t width, const uint64_t *cells, uint32_t row_count, uint8_t *out)
{
    switch (width) {
    case 1:
        put_8_to_1(cells, base, row_count, out);
        return;
    case 2:
        put_8_to_2(cells, base, row_count, out);
        return;
    case 4:
        put_8_to_4(cells, base, row_count, out);
        return;
    case 8:
        put_8_to_8(cells, base, row_count, out);
        return;
    default:
        put_8_odd(cells, base, row_count, width, out);
    }
}

static void put_4(uint32_t base, uint32_t width, const uint32_t *cells, uint32_t row_count, uint8_t *out)
{
    switch (width) {
    case 1:
        put_4_to_1(cells, base, row_count, out);
        return;
    case 2:
        put_4_to_2(cells, base, row_count, out);
        return;
    case 4:
        put_4_to_4(cells, base, row_count, out);
        return;
    default:
        put_4_odd(cells, base, row_count, width, out);
    }
}

void pst_narrow_put(const struct pst_narrow *narrow, const void *cells, uint32_t cell_bytes, uint32_t row_count,
                    uint8_t *out)
{
    if (narrow->width != 0 && cell_bytes == 4)
        put_4((uint32_t)narrow->base, narrow->width, cells, row_count, out);
    else if (narrow->width != 0)
        put_8((uint64_t)narrow->base, narrow->width, cells, row_count, out);
}

static void get_8(uint64_t base, uint32_t width, const uint8_t *bytes, uint32_t row_count, uint64_t *cells)
{
    switch (width) {
    case 0:
        for (uint32_t i = 0; i < row_count; i++)
            cells[i] = base;
        return;
    case 1:
        get_8_of_1(bytes, base, row_count, cells);
        return;
    case 2:
        get_8_of_2(bytes, base, row_count, cells);
        return;
    case 4:
        get_8_of_4(bytes, base, row_count, cells);
        return;
    case 8:
        get_8_of_8(bytes, base, row_count, cells);
        return;
    default:
        get_8_odd(bytes, base, row_count, width, cells);
    }
}

static void get_4(uint32_t base, uint32_t width, const uint8_t *bytes, uint32_t row_count, uint32_t *cells)
{
    switch (width) {
    case 0:
        for (uint32_t i = 0; i < row_count; i++)
            cells[i] = base;
        return;
    case 1:
        get_4_of_1(bytes, base, row_count, cells);
        return;
    case 2:
        get_4_of_2(bytes, base, row_count, cells);
        return;
    case 4:
        get_4_of_4(bytes, base, row_count, cells);
        return;
    default:
        get_4_odd(bytes, base, row_count, width, cells);
    }
}

void pst_narrow_get(const struct pst_narrow *narrow, const uint8_t *bytes, uint32_t row_count, void *cells,
                    uint32_t cell_bytes)
{
    if (cell_bytes == 4)
        get_4((uint32_t)narrow->base, narrow->width, bytes, row_count, cells);
    else
        get_8((uint64_t)narrow->base, narrow->width, bytes, row_count, cells);
}
