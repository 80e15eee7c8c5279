/* wire.c - see wire.h. One table says what bodies may look like; each kind has a writer and a reader beside each other. */
#include "engine/wire.h"

#include "engine/engine.h"
#include "base/narrow.h"
#include "state/seal.h"

#include <assert.h>
#include <lz4.h>
#include <string.h>

static_assert(sizeof(struct pst_wire_head) == PST_WIRE_HEAD_BYTES, "wire layout");
static_assert(offsetof(struct pst_wire_head, flags) == 2, "wire layout");
static_assert(offsetof(struct pst_wire_head, channel) == 4, "wire layout");
static_assert(offsetof(struct pst_wire_head, number) == 8, "wire layout");
static_assert(offsetof(struct pst_wire_head, incarnation) == 16, "wire layout");
static_assert(offsetof(struct pst_wire_head, owner_epoch) == 24, "wire layout");
static_assert(offsetof(struct pst_wire_head, zero) == 28, "wire layout");
static_assert(offsetof(struct pst_wire_head, move) == 32, "wire layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "heads and columns are written as they lie in memory");

enum {
    HELLO_BYTES = 12,
    FRAME_BYTES = 20,  /* then the offsets */
    NARROW_BYTES = 16, /* then each column's base and width */
    NARROW_COLUMN_BYTES = 12,
    WATERMARK_BYTES = 8,
    END_BYTES = 1,
    GRANT_BYTES = 12,
    RESUME_BYTES = 8,
    CHUNK_BYTES = 20,
    CHUNK_ACK_BYTES = 8,
    CUT_BYTES = 24,
};
static_assert(PST_WIRE_CHUNK_BYTES_MAX == 256 * 1024 + PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES, "a sealed chunk");

/* in_order: a message of its channel, with a number; the others are about channels and moves. */
static const struct kind {
    uint32_t body_bytes_min, body_bytes_max;
    uint16_t flags;
    bool in_order;
} kinds[] = {
    [PST_WIRE_HELLO] = {HELLO_BYTES + 1, HELLO_BYTES + PST_WIRE_NAME_BYTES_MAX, 0, false},
    [PST_WIRE_FRAME] = {NARROW_BYTES, PST_WIRE_MESSAGE_BYTES_MAX - PST_WIRE_HEAD_BYTES, PST_WIRE_FLAG_LZ4, true},
    [PST_WIRE_WATERMARK] = {WATERMARK_BYTES, WATERMARK_BYTES, 0, true},
    [PST_WIRE_END] = {END_BYTES, END_BYTES, 0, true},
    [PST_WIRE_GRANT] = {GRANT_BYTES, GRANT_BYTES, 0, false},
    [PST_WIRE_RESUME] = {RESUME_BYTES, RESUME_BYTES, 0, false},
    [PST_WIRE_CHUNK] = {CHUNK_BYTES + 1, CHUNK_BYTES + PST_WIRE_CHUNK_BYTES_MAX, 0, false},
    [PST_WIRE_CHUNK_ACK] = {CHUNK_ACK_BYTES, CHUNK_ACK_BYTES, 0, false},
    [PST_WIRE_CUT] = {CUT_BYTES, CUT_BYTES, 0, false},
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

/* ---- bytes ---- */
static uint8_t *put(uint8_t *at, const void *bytes, size_t byte_count)
{
    memcpy(at, bytes, byte_count);
    return at + byte_count;
}
static uint8_t *put_u32(uint8_t *at, uint32_t value) { return put(at, &value, sizeof value); }
static uint8_t *put_u64(uint8_t *at, uint64_t value) { return put(at, &value, sizeof value); }
static uint8_t *put_i64(uint8_t *at, int64_t value) { return put(at, &value, sizeof value); }

static int64_t get_i64(const uint8_t *at)
{
    int64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* ---- heads ---- */
static bool number_is_right(const struct kind *kind, uint64_t number) { return (number != 0) == kind->in_order; }

/* Writes the head where the message fits; its body comes behind. */
static int message_begin(const struct pst_wire_head *head, pst_wire_kind kind, uint16_t flags, size_t body_bytes,
                         void *out, size_t out_capacity, uint8_t **ret_body)
{
    struct pst_wire_head written = *head;
    if (body_bytes > kinds[kind].body_bytes_max || out_capacity < PST_WIRE_HEAD_BYTES + body_bytes)
        return PST_EFULL;
    if (!number_is_right(&kinds[kind], head->number))
        return PST_EINVAL;
    written.kind = (uint8_t)kind;
    written.version = 1;
    written.flags = flags;
    written.zero = 0;
    *ret_body = put(out, &written, sizeof written);
    return PST_OK;
}

int pst_wire_head_read(const void *bytes, size_t byte_count, struct pst_wire_head *ret_head)
{
    struct pst_wire_head head;
    if (byte_count < sizeof head)
        return PST_EDATA;
    memcpy(&head, bytes, sizeof head);
    if (head.version > PST_WIRE_VERSION)
        return PST_EABI;
    if (head.version == 0 || head.kind == 0 || head.kind >= KIND_COUNT)
        return PST_EDATA;
    if (byte_count > PST_WIRE_MESSAGE_BYTES_MAX)
        return PST_EFULL;
    const struct kind *kind = &kinds[head.kind];
    size_t body_bytes = byte_count - sizeof head;
    if (head.version != 1 && (head.kind != PST_WIRE_FRAME || head.flags != 0))
        return PST_EDATA;
    if ((head.flags & ~kind->flags) != 0 || head.zero != 0 || !number_is_right(kind, head.number) ||
        body_bytes < kind->body_bytes_min || body_bytes > kind->body_bytes_max)
        return PST_EDATA;
    *ret_head = head;
    return PST_OK;
}

/* The head again, so that a body is never read as another kind's, nor beyond its end. */
static int message_open(const void *bytes, size_t byte_count, pst_wire_kind kind, struct pst_wire_head *ret_head,
                        const uint8_t **ret_body)
{
    int rc = pst_wire_head_read(bytes, byte_count, ret_head);
    if (rc == PST_OK && ret_head->kind != kind)
        rc = PST_EDATA;
    *ret_body = (const uint8_t *)bytes + PST_WIRE_HEAD_BYTES;
    return rc;
}

/* ---- HELLO ---- */
static bool name_is_visible(const char *name, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return true;
}

int pst_wire_hello_write(const struct pst_wire_head *head, const struct pst_wire_hello *hello, void *out,
                         size_t out_capacity, size_t *ret_bytes)
{
    uint8_t *at;
    size_t name_bytes = strnlen(hello->graph_name, sizeof hello->graph_name);
    if (name_bytes == 0 || name_bytes > PST_WIRE_NAME_BYTES_MAX || !name_is_visible(hello->graph_name, name_bytes))
        return PST_EINVAL;
    int rc = message_begin(head, PST_WIRE_HELLO, 0, HELLO_BYTES + name_bytes, out, out_capacity, &at);
    if (rc != PST_OK)
        return rc;
    at = put_u32(put_u32(put_u32(at, hello->node), hello->worker), (uint32_t)name_bytes);
    at = put(at, hello->graph_name, name_bytes);
    *ret_bytes = (size_t)(at - (uint8_t *)out);
    return PST_OK;
}

int pst_wire_hello_read(const void *bytes, size_t byte_count, struct pst_wire_hello *ret_hello)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_HELLO, &head, &body);
    if (rc != PST_OK)
        return rc;
    size_t name_bytes = byte_count - PST_WIRE_HEAD_BYTES - HELLO_BYTES;
    const char *name = (const char *)body + HELLO_BYTES;
    if (pst_get_u32(body + 8) != name_bytes || !name_is_visible(name, name_bytes))
        return PST_EDATA;
    *ret_hello = (struct pst_wire_hello){.node = pst_get_u32(body), .worker = pst_get_u32(body + 4)};
    memcpy(ret_hello->graph_name, name, name_bytes);
    return PST_OK;
}

/* ---- WATERMARK, END ---- */
int pst_wire_watermark_write(const struct pst_wire_head *head, int64_t watermark, void *out, size_t out_capacity,
                             size_t *ret_bytes)
{
    uint8_t *at;
    int rc = message_begin(head, PST_WIRE_WATERMARK, 0, WATERMARK_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes = (size_t)(put_i64(at, watermark) - (uint8_t *)out);
    return rc;
}

int pst_wire_watermark_read(const void *bytes, size_t byte_count, int64_t *ret_watermark)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_WATERMARK, &head, &body);
    if (rc == PST_OK)
        *ret_watermark = get_i64(body);
    return rc;
}

static bool end_is_known(uint8_t end) { return end == 1 || end == 2; }

int pst_wire_end_write(const struct pst_wire_head *head, uint8_t end, void *out, size_t out_capacity, size_t *ret_bytes)
{
    uint8_t *at;
    if (!end_is_known(end))
        return PST_EINVAL;
    int rc = message_begin(head, PST_WIRE_END, 0, END_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes = (size_t)(put(at, &end, END_BYTES) - (uint8_t *)out);
    return rc;
}

int pst_wire_end_read(const void *bytes, size_t byte_count, uint8_t *ret_end)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_END, &head, &body);
    if (rc == PST_OK && !end_is_known(body[0]))
        rc = PST_EDATA;
    if (rc == PST_OK)
        *ret_end = body[0];
    return rc;
}

/* ---- GRANT, RESUME ---- */
int pst_wire_grant_write(const struct pst_wire_head *head, const struct pst_wire_grant *grant, void *out,
                         size_t out_capacity, size_t *ret_bytes)
{
    uint8_t *at;
    int rc = message_begin(head, PST_WIRE_GRANT, 0, GRANT_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes = (size_t)(put_u32(put_u64(at, grant->taken), grant->frame_count) - (uint8_t *)out);
    return rc;
}

int pst_wire_grant_read(const void *bytes, size_t byte_count, struct pst_wire_grant *ret_grant)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_GRANT, &head, &body);
    if (rc == PST_OK)
        *ret_grant = (struct pst_wire_grant){pst_get_u64(body), pst_get_u32(body + 8)};
    return rc;
}

int pst_wire_resume_write(const struct pst_wire_head *head, uint64_t number, void *out, size_t out_capacity,
                          size_t *ret_bytes)
{
    uint8_t *at;
    int rc = message_begin(head, PST_WIRE_RESUME, 0, RESUME_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes = (size_t)(put_u64(at, number) - (uint8_t *)out);
    return rc;
}

int pst_wire_resume_read(const void *bytes, size_t byte_count, uint64_t *ret_number)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_RESUME, &head, &body);
    if (rc == PST_OK)
        *ret_number = pst_get_u64(body);
    return rc;
}

/* ---- CHUNK, CHUNK_ACK ---- */
static bool chunk_holds(const struct pst_wire_chunk *chunk)
{
    return chunk->parcel != 0 && chunk->index < chunk->count && chunk->byte_count != 0;
}

int pst_wire_chunk_head_write(const struct pst_wire_head *head, const struct pst_wire_chunk *chunk, void *out,
                              size_t out_capacity, size_t *ret_bytes)
{
    uint8_t *at;
    if (!chunk_holds(chunk))
        return PST_EINVAL;
    if (CHUNK_BYTES + (size_t)chunk->byte_count > kinds[PST_WIRE_CHUNK].body_bytes_max)
        return PST_EFULL;
    int rc = message_begin(head, PST_WIRE_CHUNK, 0, CHUNK_BYTES, out, out_capacity, &at);
    if (rc != PST_OK)
        return rc;
    at = put_u32(put_i64(at, chunk->t), chunk->parcel);
    at = put_u32(put_u32(at, chunk->index), chunk->count);
    *ret_bytes = (size_t)(at - (uint8_t *)out);
    return PST_OK;
}

int pst_wire_chunk_read(const void *bytes, size_t byte_count, struct pst_wire_chunk *ret_chunk)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_CHUNK, &head, &body);
    if (rc != PST_OK)
        return rc;
    struct pst_wire_chunk chunk = {.t = get_i64(body),
                                   .parcel = pst_get_u32(body + 8),
                                   .index = pst_get_u32(body + 12),
                                   .count = pst_get_u32(body + 16),
                                   .byte_count = (uint32_t)(byte_count - PST_WIRE_HEAD_BYTES - CHUNK_BYTES),
                                   .bytes = body + CHUNK_BYTES};
    if (!chunk_holds(&chunk))
        return PST_EDATA;
    *ret_chunk = chunk;
    return PST_OK;
}

int pst_wire_chunk_ack_write(const struct pst_wire_head *head, uint32_t parcel, uint32_t cost, void *out,
                             size_t out_capacity, size_t *ret_bytes)
{
    uint8_t *at;
    if (parcel == 0)
        return PST_EINVAL;
    int rc = message_begin(head, PST_WIRE_CHUNK_ACK, 0, CHUNK_ACK_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes = (size_t)(put_u32(put_u32(at, parcel), cost) - (uint8_t *)out);
    return rc;
}

int pst_wire_chunk_ack_read(const void *bytes, size_t byte_count, uint32_t *ret_parcel, uint32_t *ret_cost)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_CHUNK_ACK, &head, &body);
    if (rc == PST_OK && pst_get_u32(body) == 0)
        rc = PST_EDATA;
    if (rc == PST_OK) {
        *ret_parcel = pst_get_u32(body);
        *ret_cost = pst_get_u32(body + 4);
    }
    return rc;
}

/* ---- CUT ---- */
/* INT64_MAX is the time of no cut. */
static bool cut_is_right(const struct pst_wire_cut *cut)
{
    return cut->complete < cut->checkpoint && cut->time != INT64_MAX;
}

int pst_wire_cut_write(const struct pst_wire_head *head, const struct pst_wire_cut *cut, void *out, size_t out_capacity,
                       size_t *ret_bytes)
{
    uint8_t *at;
    if (!cut_is_right(cut))
        return PST_EINVAL;
    int rc = message_begin(head, PST_WIRE_CUT, 0, CUT_BYTES, out, out_capacity, &at);
    if (rc == PST_OK)
        *ret_bytes =
            (size_t)(put_u64(put_i64(put_u64(at, cut->checkpoint), cut->time), cut->complete) - (uint8_t *)out);
    return rc;
}

int pst_wire_cut_read(const void *bytes, size_t byte_count, struct pst_wire_cut *ret_cut)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_CUT, &head, &body);
    if (rc != PST_OK)
        return rc;
    struct pst_wire_cut cut = {
        .checkpoint = pst_get_u64(body), .time = get_i64(body + 8), .complete = pst_get_u64(body + 16)};
    if (!cut_is_right(&cut))
        return PST_EDATA;
    *ret_cut = cut;
    return PST_OK;
}

/* ---- the columns of a frame ---- */
/* One column of the wire: the engine's own come first, then the edge's. */
struct part {
    uint32_t cell_bytes;
    void *cells;
};

static uint32_t part_count(const struct pst_wire_shape *shape)
{
    return 1 + (shape->keyed ? 2 : 0) + (shape->numbered ? 2 : 0) + shape->column_count;
}

/* columns: NULL where only sizes are wanted. */
static struct part part_at(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t index)
{
    static const struct pst_wire_columns none;
    const struct pst_wire_columns *from = columns != NULL ? columns : &none;
    struct part engine[5] = {{8, from->time}};
    uint32_t count = 1;
    if (shape->keyed) {
        engine[count++] = (struct part){8, from->hash};
        engine[count++] = (struct part){4, from->bucket};
    }
    if (shape->numbered) {
        engine[count++] = (struct part){4, from->producer};
        engine[count++] = (struct part){8, from->number};
    }
    if (index < count)
        return engine[index];
    index -= count;
    return (struct part){shape->column_bytes[index], columns != NULL ? columns->columns[index] : NULL};
}

static size_t align8(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static size_t part_bytes(const struct part *part, uint32_t row_count) { return (size_t)part->cell_bytes * row_count; }

size_t pst_wire_frame_clear_bytes(const struct pst_wire_shape *shape, uint32_t row_count)
{
    size_t bytes = 0;
    for (uint32_t i = 0, count = part_count(shape); i < count; i++) {
        struct part part = part_at(shape, NULL, i);
        bytes += align8(part_bytes(&part, row_count));
    }
    return bytes;
}

/* Where the columns begin in the body. */
static size_t columns_offset(const struct pst_wire_shape *shape)
{
    return FRAME_BYTES + ((size_t)part_count(shape) + 1) * sizeof(uint32_t);
}

static size_t clear_bound(const struct pst_wire_shape *shape, uint32_t row_count)
{
    return PST_WIRE_HEAD_BYTES + columns_offset(shape) + pst_wire_frame_clear_bytes(shape, row_count);
}

/* No cell becomes wider. */
static size_t narrow_bound(const struct pst_wire_shape *shape, uint32_t row_count)
{
    return PST_WIRE_HEAD_BYTES + NARROW_BYTES + (size_t)part_count(shape) * NARROW_COLUMN_BYTES +
           pst_wire_frame_clear_bytes(shape, row_count);
}

size_t pst_wire_frame_bound(const struct pst_wire_shape *shape, uint32_t row_count)
{
    size_t clear = clear_bound(shape, row_count), narrow = narrow_bound(shape, row_count);
    return clear > narrow ? clear : narrow;
}

static bool times_ascend(const int64_t *time, uint32_t row_count)
{
    bool descends = false; /* all of them: no branch in the loop, so that it can be vectorised */
    for (uint32_t i = 1; i < row_count; i++)
        descends |= time[i] < time[i - 1];
    return !descends;
}

static bool buckets_are_of_hashes(const uint32_t *bucket, const uint64_t *hash, uint32_t mask, uint32_t row_count)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < row_count; i++)
        wrong |= bucket[i] ^ ((uint32_t)hash[i] & mask);
    return wrong == 0;
}

static bool texts_end_in_their_cells(const uint8_t *cells, uint32_t row_count)
{
    bool beyond = false;
    for (uint32_t i = 0; i < row_count; i++)
        beyond |= cells[(size_t)i * PST_TEXT_BYTES] >= PST_TEXT_BYTES;
    return !beyond;
}

/* W3, but for buckets. */
static bool order_holds(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t row_count)
{
    bool good = times_ascend(columns->time, row_count);
    for (uint32_t i = 0; good && i < shape->column_count; i++)
        if (shape->column_bytes[i] == PST_TEXT_BYTES)
            good = texts_end_in_their_cells(columns->columns[i], row_count);
    return good;
}

/* W3 */
static bool rows_hold(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t row_count)
{
    return order_holds(shape, columns, row_count) &&
           (!shape->keyed || buckets_are_of_hashes(columns->bucket, columns->hash, shape->bucket_mask, row_count));
}

/* ---- FRAME ---- */
static void columns_gather(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns,
                           uint32_t row_count, uint8_t *at)
{
    for (uint32_t i = 0, count = part_count(shape); i < count; i++) {
        struct part part = part_at(shape, columns, i);
        size_t bytes = part_bytes(&part, row_count), gap = align8(bytes) - bytes;
        at = put(at, part.cells, bytes);
        memset(at, 0, gap);
        at += gap;
    }
}

/* Gives the columns out of their bytes. False: something is between them. */
static bool columns_scatter(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns,
                            uint32_t row_count, const uint8_t *at)
{
    static const uint8_t zeros[8];
    for (uint32_t i = 0, count = part_count(shape); i < count; i++) {
        struct part part = part_at(shape, columns, i);
        size_t bytes = part_bytes(&part, row_count), gap = align8(bytes) - bytes;
        memcpy(part.cells, at, bytes);
        if (memcmp(at + bytes, zeros, gap) != 0)
            return false;
        at += bytes + gap;
    }
    return true;
}

static uint8_t *offsets_put(const struct pst_wire_shape *shape, uint32_t row_count, uint8_t *at)
{
    size_t offset = 0;
    for (uint32_t i = 0, count = part_count(shape); i < count; i++) {
        struct part part = part_at(shape, NULL, i);
        at = put_u32(at, (uint32_t)offset);
        offset += align8(part_bytes(&part, row_count));
    }
    return put_u32(at, (uint32_t)offset);
}

/* Shape and row count leave offsets no choice. */
static bool offsets_are_right(const struct pst_wire_shape *shape, uint32_t row_count, const uint8_t *at)
{
    size_t offset = 0;
    for (uint32_t i = 0, count = part_count(shape); i < count; i++, at += sizeof(uint32_t)) {
        struct part part = part_at(shape, NULL, i);
        if (pst_get_u32(at) != offset)
            return false;
        offset += align8(part_bytes(&part, row_count));
    }
    return pst_get_u32(at) == offset;
}

/* The most that a packed block may have, so that it saves an eighth. */
static size_t packed_bytes_max(size_t clear_bytes) { return clear_bytes - clear_bytes / 8; }

/* Puts the columns behind the offsets, packed where that saves enough; returns their bytes there. */
static size_t columns_put(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns,
                          uint32_t row_count, size_t clear_bytes, void *scratch, uint8_t *at, uint16_t *ret_flags)
{
    *ret_flags = 0;
    if (scratch == NULL) {
        columns_gather(shape, columns, row_count, at);
        return clear_bytes;
    }
    columns_gather(shape, columns, row_count, scratch);
    int packed_bytes = LZ4_compress_default(scratch, (char *)at, (int)clear_bytes, (int)packed_bytes_max(clear_bytes));
    if (packed_bytes <= 0) {
        memcpy(at, scratch, clear_bytes);
        return clear_bytes;
    }
    *ret_flags = PST_WIRE_FLAG_LZ4;
    return (size_t)packed_bytes;
}

int pst_wire_frame_write(const struct pst_wire_head *head, const struct pst_wire_shape *shape,
                         const struct pst_wire_columns *columns, uint32_t row_count, int64_t watermark, void *scratch,
                         size_t scratch_bytes, void *out, size_t out_capacity, size_t *ret_bytes)
{
    size_t clear_bytes = pst_wire_frame_clear_bytes(shape, row_count), offset = columns_offset(shape);
    uint8_t *at;
    uint16_t flags;
    if (scratch != NULL && scratch_bytes < clear_bytes)
        return PST_EFULL;
    int rc = message_begin(head, PST_WIRE_FRAME, 0, offset + clear_bytes, out, out_capacity, &at);
    if (rc != PST_OK)
        return rc;
    if (row_count == 0 || !rows_hold(shape, columns, row_count))
        return PST_EINVAL;
    at = put_i64(put_u32(put_u32(at, row_count), (uint32_t)clear_bytes), watermark);
    at = offsets_put(shape, row_count, put_u32(at, part_count(shape)));
    at += columns_put(shape, columns, row_count, clear_bytes, scratch, at, &flags);
    memcpy((uint8_t *)out + offsetof(struct pst_wire_head, flags), &flags, sizeof flags);
    *ret_bytes = (size_t)(at - (uint8_t *)out);
    return PST_OK;
}

/* All of a frame but its columns. */
static int frame_check(const uint8_t *body, size_t body_bytes, const struct pst_wire_shape *shape, uint32_t rows_max)
{
    uint32_t row_count = pst_get_u32(body);
    if (body_bytes < columns_offset(shape) || row_count == 0 || pst_get_u32(body + 16) != part_count(shape))
        return PST_EDATA;
    if (row_count > rows_max)
        return PST_EFULL;
    size_t clear_bytes = pst_wire_frame_clear_bytes(shape, row_count);
    if (pst_get_u32(body + 4) != clear_bytes || !offsets_are_right(shape, row_count, body + FRAME_BYTES))
        return PST_EDATA;
    return clear_bound(shape, row_count) <= PST_WIRE_MESSAGE_BYTES_MAX ? PST_OK : PST_EFULL;
}

/* Finds the columns' bytes, unpacked if need be. */
static int columns_open(const struct pst_wire_head *head, const uint8_t *packed, size_t packed_bytes,
                        size_t clear_bytes, void *scratch, size_t scratch_bytes, const uint8_t **ret_clear)
{
    *ret_clear = packed;
    if ((head->flags & PST_WIRE_FLAG_LZ4) == 0)
        return packed_bytes == clear_bytes ? PST_OK : PST_EDATA;
    if (packed_bytes > packed_bytes_max(clear_bytes))
        return PST_EDATA;
    if (scratch == NULL || scratch_bytes < clear_bytes)
        return PST_EFULL;
    *ret_clear = scratch;
    int bytes = LZ4_decompress_safe((const char *)packed, scratch, (int)packed_bytes, (int)clear_bytes);
    return bytes >= 0 && (size_t)bytes == clear_bytes ? PST_OK : PST_EDATA;
}

static int clear_read(const struct pst_wire_head *head, const uint8_t *body, size_t body_bytes,
                      const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t rows_max,
                      void *scratch, size_t scratch_bytes)
{
    const uint8_t *clear;
    size_t offset = columns_offset(shape);
    int rc = frame_check(body, body_bytes, shape, rows_max);
    if (rc == PST_OK)
        rc = columns_open(head, body + offset, body_bytes - offset, pst_get_u32(body + 4), scratch, scratch_bytes,
                          &clear);
    if (rc != PST_OK)
        return rc;
    uint32_t row_count = pst_get_u32(body);
    bool good = columns_scatter(shape, columns, row_count, clear) && rows_hold(shape, columns, row_count);
    return good ? PST_OK : PST_EDATA;
}

/* ---- FRAME, narrow ---- */
/* The columns that are sent. */
static uint32_t narrow_parts(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns,
                             struct part ret_parts[5 + PST_FIELDS_MAX])
{
    uint32_t count = 0;
    ret_parts[count++] = (struct part){8, columns->time};
    if (shape->keyed && shape->key_count == 0)
        ret_parts[count++] = (struct part){8, columns->hash};
    if (shape->numbered) {
        ret_parts[count++] = (struct part){4, columns->producer};
        ret_parts[count++] = (struct part){8, columns->number};
    }
    for (uint32_t i = 0; i < shape->column_count; i++)
        ret_parts[count++] = (struct part){shape->column_bytes[i], columns->columns[i]};
    return count;
}

int pst_wire_frame_narrow(const struct pst_wire_head *head, const struct pst_wire_shape *shape,
                          const struct pst_wire_columns *columns, uint32_t row_count, int64_t watermark, void *out,
                          size_t out_capacity, size_t *ret_bytes)
{
    struct part parts[5 + PST_FIELDS_MAX];
    uint8_t *at;
    int rc = message_begin(head, PST_WIRE_FRAME, 0, narrow_bound(shape, row_count) - PST_WIRE_HEAD_BYTES, out,
                           out_capacity, &at);
    if (rc != PST_OK)
        return rc;
    if (row_count == 0 || !order_holds(shape, columns, row_count))
        return PST_EINVAL;
    ((uint8_t *)out)[offsetof(struct pst_wire_head, version)] = 2;
    uint32_t count = narrow_parts(shape, columns, parts);
    at = put_i64(put_u32(put_u32(at, row_count), count), watermark);
    uint8_t *cells = at + (size_t)count * NARROW_COLUMN_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        struct pst_narrow narrow = {0, PST_TEXT_BYTES};
        if (parts[i].cell_bytes == PST_TEXT_BYTES) {
            memcpy(cells, parts[i].cells, part_bytes(&parts[i], row_count));
        } else {
            narrow = pst_narrow_find(parts[i].cells, parts[i].cell_bytes, row_count);
            pst_narrow_put(&narrow, parts[i].cells, parts[i].cell_bytes, row_count, cells);
        }
        at = put_u32(put_i64(at, narrow.base), narrow.width);
        cells += (size_t)narrow.width * row_count;
    }
    *ret_bytes = (size_t)(cells - (uint8_t *)out);
    return PST_OK;
}

static bool narrow_is_right(const struct pst_narrow *narrow, uint32_t cell_bytes)
{
    if (cell_bytes == PST_TEXT_BYTES)
        return narrow->width == PST_TEXT_BYTES && narrow->base == 0;
    return narrow->width <= cell_bytes && (cell_bytes == 8 || (narrow->base >= 0 && narrow->base <= UINT32_MAX));
}

/* All of a narrow frame but its cells, which fill the rest of the body. */
static int narrow_check(const uint8_t *body, size_t body_bytes, const struct pst_wire_shape *shape,
                        const struct part *parts, uint32_t count, uint32_t rows_max, struct pst_narrow *ret_narrows)
{
    uint32_t row_count = pst_get_u32(body);
    size_t bytes = NARROW_BYTES + (size_t)count * NARROW_COLUMN_BYTES;
    if (row_count == 0 || pst_get_u32(body + 4) != count || body_bytes < bytes)
        return PST_EDATA;
    if (row_count > rows_max || narrow_bound(shape, row_count) > PST_WIRE_MESSAGE_BYTES_MAX)
        return PST_EFULL;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *at = body + NARROW_BYTES + (size_t)i * NARROW_COLUMN_BYTES;
        ret_narrows[i] = (struct pst_narrow){get_i64(at), pst_get_u32(at + 8)};
        if (!narrow_is_right(&ret_narrows[i], parts[i].cell_bytes))
            return PST_EDATA;
        bytes += (size_t)ret_narrows[i].width * row_count;
    }
    return bytes == body_bytes ? PST_OK : PST_EDATA;
}

/* As route.c packs keys: field behind field. */
static void key_pack(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t from,
                     uint32_t row_count, size_t key_bytes, uint8_t *keys)
{
    for (uint32_t k = 0; k < shape->key_count; k++) {
        uint32_t bytes = shape->column_bytes[shape->key[k]];
        const uint8_t *cells = (const uint8_t *)columns->columns[shape->key[k]] + (size_t)from * bytes;
        for (uint32_t i = 0; bytes == 4 && i < row_count; i++)
            memcpy(keys + i * key_bytes, cells + (size_t)i * 4, 4);
        for (uint32_t i = 0; bytes == 8 && i < row_count; i++)
            memcpy(keys + i * key_bytes, cells + (size_t)i * 8, 8);
        for (uint32_t i = 0; bytes == PST_TEXT_BYTES && i < row_count; i++)
            memcpy(keys + i * key_bytes, cells + (size_t)i * PST_TEXT_BYTES, PST_TEXT_BYTES);
        keys += bytes;
    }
}

static void keys_hash(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, uint32_t row_count)
{
    enum { ROWS = 128 };
    uint8_t keys[ROWS * PST_KEY_BYTES_MAX];
    size_t key_bytes = 0;
    for (uint32_t k = 0; k < shape->key_count; k++)
        key_bytes += shape->column_bytes[shape->key[k]];
    for (uint32_t from = 0; from < row_count; from += ROWS) {
        uint32_t n = row_count - from < ROWS ? row_count - from : ROWS;
        key_pack(shape, columns, from, n, key_bytes, keys);
        pst_hash_led(shape->hash_key, keys, key_bytes, shape->lead_bytes, n, columns->hash + from);
    }
}

static int narrow_read(const uint8_t *body, size_t body_bytes, const struct pst_wire_shape *shape,
                       const struct pst_wire_columns *columns, uint32_t rows_max)
{
    struct part parts[5 + PST_FIELDS_MAX];
    struct pst_narrow narrows[5 + PST_FIELDS_MAX];
    uint32_t count = narrow_parts(shape, columns, parts), row_count = pst_get_u32(body);
    int rc = narrow_check(body, body_bytes, shape, parts, count, rows_max, narrows);
    if (rc != PST_OK)
        return rc;
    const uint8_t *cells = body + NARROW_BYTES + (size_t)count * NARROW_COLUMN_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].cell_bytes == PST_TEXT_BYTES)
            memcpy(parts[i].cells, cells, part_bytes(&parts[i], row_count));
        else
            pst_narrow_get(&narrows[i], cells, row_count, parts[i].cells, parts[i].cell_bytes);
        cells += (size_t)narrows[i].width * row_count;
    }
    if (!order_holds(shape, columns, row_count))
        return PST_EDATA;
    if (shape->keyed && shape->key_count != 0)
        keys_hash(shape, columns, row_count);
    for (uint32_t i = 0; shape->keyed && i < row_count; i++)
        columns->bucket[i] = (uint32_t)columns->hash[i] & shape->bucket_mask;
    return PST_OK;
}

int pst_wire_frame_read(const void *bytes, size_t byte_count, const struct pst_wire_shape *shape,
                        const struct pst_wire_columns *columns, uint32_t rows_max, void *scratch, size_t scratch_bytes,
                        uint32_t *ret_row_count, int64_t *ret_watermark)
{
    struct pst_wire_head head;
    const uint8_t *body;
    int rc = message_open(bytes, byte_count, PST_WIRE_FRAME, &head, &body);
    if (rc != PST_OK)
        return rc;
    size_t body_bytes = byte_count - PST_WIRE_HEAD_BYTES;
    if (head.version == 1)
        rc = clear_read(&head, body, body_bytes, shape, columns, rows_max, scratch, scratch_bytes);
    else
        rc = narrow_read(body, body_bytes, shape, columns, rows_max);
    if (rc != PST_OK)
        return rc;
    *ret_row_count = pst_get_u32(body);
    *ret_watermark = get_i64(body + 8);
    return PST_OK;
}
