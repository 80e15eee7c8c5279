/* fuzz_wire.c - messages of data connections: whatever the bytes, an answer; what is read is written as the very same bytes
 * (packed and narrow frames: as the same rows), and holds what wire.h says.
 *
 * The first byte says which frames are waited for: bit 0 keyed, bit 1 numbered, bits 2..4 how many columns, bit 5 with the key among them. */
#include "engine/wire.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 256, COLUMNS_MAX = 7, ROOM = 128 * 1024, BUCKET_MASK = 15 };
static const uint32_t column_bytes[COLUMNS_MAX] = {8, 4, PST_TEXT_BYTES, 4, 4, 8, 8};

static void *memory(size_t bytes)
{
    void *allocated = malloc(bytes);
    if (allocated == NULL)
        abort();
    return allocated;
}

/* Each column an allocation of its own, so that a sanitizer sees a row too many. */
static struct pst_wire_columns columns_new(void)
{
    void **columns = memory(COLUMNS_MAX * sizeof *columns);
    for (uint32_t c = 0; c < COLUMNS_MAX; c++)
        columns[c] = memory(ROWS_MAX * (size_t)column_bytes[c]);
    return (struct pst_wire_columns){memory(ROWS_MAX * 8), memory(ROWS_MAX * 8), memory(ROWS_MAX * 4),
                                     memory(ROWS_MAX * 4), memory(ROWS_MAX * 8), columns};
}

static void rows_hold(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t row_count)
{
    if (row_count == 0 || row_count > ROWS_MAX)
        abort();
    for (uint32_t i = 0; i < row_count; i++) {
        if (i != 0 && columns->time[i] < columns->time[i - 1])
            abort();
        if (shape->keyed && columns->bucket[i] != (columns->hash[i] & BUCKET_MASK))
            abort();
        if (shape->column_count > 2 && ((const uint8_t *)columns->columns[2])[(size_t)i * PST_TEXT_BYTES] > 31)
            abort();
    }
}

static void rows_same(const struct pst_wire_shape *shape, const struct pst_wire_columns *a,
                      const struct pst_wire_columns *b, uint32_t row_count)
{
    bool same = memcmp(a->time, b->time, row_count * sizeof *a->time) == 0;
    if (shape->keyed)
        same = same && memcmp(a->hash, b->hash, row_count * sizeof *a->hash) == 0;
    if (shape->numbered)
        same = same && memcmp(a->producer, b->producer, row_count * sizeof *a->producer) == 0 &&
               memcmp(a->number, b->number, row_count * sizeof *a->number) == 0;
    for (uint32_t c = 0; c < shape->column_count; c++)
        same = same && memcmp(a->columns[c], b->columns[c], row_count * (size_t)column_bytes[c]) == 0;
    if (!same)
        abort();
}

static uint8_t out[ROOM], scratch[ROOM];

/* Narrow: where hashes are made of keys, what came in a narrow frame alone, for others may have had any. */
static void narrow_again(const struct pst_wire_head *head, const struct pst_wire_shape *shape,
                         const struct pst_wire_columns *rows, const struct pst_wire_columns *again, uint32_t row_count,
                         int64_t watermark)
{
    size_t count;
    uint32_t again_count;
    int64_t again_watermark;
    if (head->version == 1 && shape->keyed && shape->key_count != 0)
        return;
    if (pst_wire_frame_narrow(head, shape, rows, row_count, watermark, out, ROOM, &count) != PST_OK ||
        pst_wire_frame_read(out, count, shape, again, ROWS_MAX, NULL, 0, &again_count, &again_watermark) != PST_OK ||
        again_count != row_count || again_watermark != watermark)
        abort();
    rows_same(shape, rows, again, row_count);
}

/* Written without LZ4, with it and narrow: all are read as the same rows. */
static int frame_again(const struct pst_wire_head *head, const uint8_t *data, size_t size,
                       const struct pst_wire_shape *shape, size_t *ret_count)
{
    static struct pst_wire_columns first, second;
    uint32_t row_count, again_count;
    int64_t watermark, again_watermark;
    if (first.time == NULL) {
        first = columns_new();
        second = columns_new();
    }
    int rc = pst_wire_frame_read(data, size, shape, &first, ROWS_MAX, scratch, ROOM, &row_count, &watermark);
    if (rc != PST_OK)
        return rc;
    rows_hold(shape, &first, row_count);
    narrow_again(head, shape, &first, &second, row_count, watermark);
    for (int pack = 1; pack >= 0; pack--) {
        if (pst_wire_frame_write(head, shape, &first, row_count, watermark, pack ? scratch : NULL, ROOM, out, ROOM,
                                 ret_count) != PST_OK ||
            pst_wire_frame_read(out, *ret_count, shape, &second, ROWS_MAX, scratch, ROOM, &again_count,
                                &again_watermark) != PST_OK ||
            again_count != row_count || again_watermark != watermark)
            abort();
        rows_same(shape, &first, &second, row_count);
    }
    return PST_OK;
}

/* The whole message: chunks are sent in two parts. */
static int chunk_write(const struct pst_wire_head *head, const struct pst_wire_chunk *chunk, uint8_t *to,
                       size_t to_capacity, size_t *ret_bytes)
{
    int rc = pst_wire_chunk_head_write(head, chunk, to, to_capacity, ret_bytes);
    if (rc == PST_OK && to_capacity - *ret_bytes < chunk->byte_count)
        rc = PST_EFULL;
    if (rc == PST_OK) {
        memcpy(to + *ret_bytes, chunk->bytes, chunk->byte_count);
        *ret_bytes += chunk->byte_count;
    }
    return rc;
}

static int small_again(const struct pst_wire_head *head, const uint8_t *data, size_t size, size_t *ret_count)
{
    struct pst_wire_hello hello;
    struct pst_wire_grant grant;
    struct pst_wire_chunk chunk;
    struct pst_wire_cut cut;
    int64_t watermark;
    uint64_t number;
    uint32_t parcel, cost;
    uint8_t end;
    int rc = PST_EINTERNAL;
    if (head->kind == PST_WIRE_HELLO && (rc = pst_wire_hello_read(data, size, &hello)) == PST_OK)
        rc = pst_wire_hello_write(head, &hello, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_WATERMARK && (rc = pst_wire_watermark_read(data, size, &watermark)) == PST_OK)
        rc = pst_wire_watermark_write(head, watermark, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_END && (rc = pst_wire_end_read(data, size, &end)) == PST_OK)
        rc = pst_wire_end_write(head, end, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_GRANT && (rc = pst_wire_grant_read(data, size, &grant)) == PST_OK)
        rc = pst_wire_grant_write(head, &grant, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_RESUME && (rc = pst_wire_resume_read(data, size, &number)) == PST_OK)
        rc = pst_wire_resume_write(head, number, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_CHUNK && (rc = pst_wire_chunk_read(data, size, &chunk)) == PST_OK)
        rc = chunk_write(head, &chunk, out, ROOM, ret_count);
    if (head->kind == PST_WIRE_CHUNK_ACK && (rc = pst_wire_chunk_ack_read(data, size, &parcel, &cost)) == PST_OK)
        rc = pst_wire_chunk_ack_write(head, parcel, cost, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    if (head->kind == PST_WIRE_CUT && (rc = pst_wire_cut_read(data, size, &cut)) == PST_OK)
        rc = pst_wire_cut_write(head, &cut, out, PST_WIRE_SMALL_BYTES_MAX, ret_count);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_wire_head head;
    size_t count = 0;
    if (size == 0 || size > ROOM)
        return 0;
    static const uint32_t key[] = {1, 2};
    static const struct pst_hash_key hash_key = {3, 5};
    struct pst_wire_shape shape = {.column_count = data[0] >> 2 & 7,
                                   .column_bytes = column_bytes,
                                   .bucket_mask = BUCKET_MASK,
                                   .keyed = data[0] & 1,
                                   .numbered = data[0] & 2,
                                   .key = key,
                                   .hash_key = &hash_key};
    shape.key_count = (data[0] & 32) != 0 && shape.column_count > 2 ? 2 : 0;
    data++;
    size--;
    if (pst_wire_head_read(data, size, &head) != PST_OK)
        return 0;
    int rc = head.kind == PST_WIRE_FRAME ? frame_again(&head, data, size, &shape, &count)
                                         : small_again(&head, data, size, &count);
    if (rc != PST_OK && rc != PST_EDATA && rc != PST_EFULL)
        abort();
    if (rc == PST_OK && head.flags == 0 && head.version == 1 && (count != size || memcmp(out, data, size) != 0))
        abort();
    return 0;
}
