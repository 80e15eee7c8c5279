/* test_wire.c - messages of data connections: what is written is read; nothing else is, and nothing is read beyond its end. */
#include "engine/wire.h"

#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS_MAX = 300, COLUMNS_MAX = 6, CELLS_BYTES = ROWS_MAX * PST_TEXT_BYTES, MESSAGE_MAX = 512 * 1024 };

static uint64_t random_state;

static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static uint32_t random_below(uint32_t n) { return (uint32_t)(random_next() % n); }

/* ---- frames in memory ---- */
struct rows {
    struct pst_wire_shape shape;
    uint32_t column_bytes[COLUMNS_MAX];
    struct pst_wire_columns columns;
    int64_t time[ROWS_MAX];
    uint64_t hash[ROWS_MAX], number[ROWS_MAX];
    uint32_t bucket[ROWS_MAX], producer[ROWS_MAX];
    uint8_t cells[COLUMNS_MAX][CELLS_BYTES];
    void *column[COLUMNS_MAX];
    uint32_t row_count;
    int64_t watermark;
};
static struct rows from, to;
static uint8_t scratch[MESSAGE_MAX], message[MESSAGE_MAX], again[MESSAGE_MAX];

static void rows_init(struct rows *r, uint32_t column_count, bool keyed, bool numbered)
{
    static const uint32_t widths[] = {8, 4, PST_TEXT_BYTES, 4, 8, 8};
    memset(r, 0, sizeof *r);
    memcpy(r->column_bytes, widths, sizeof widths);
    for (uint32_t i = 0; i < COLUMNS_MAX; i++)
        r->column[i] = r->cells[i];
    r->shape = (struct pst_wire_shape){.column_count = column_count,
                                       .column_bytes = r->column_bytes,
                                       .bucket_mask = 15,
                                       .keyed = keyed,
                                       .numbered = numbered};
    r->columns = (struct pst_wire_columns){r->time, r->hash, r->bucket, r->producer, r->number, r->column};
}

/* Hashes are those of keys of two columns. */
static void rows_key(struct rows *r)
{
    static const uint32_t key[] = {2, 1};
    static const struct pst_hash_key hash_key = {3, 5};
    uint8_t bytes[PST_TEXT_BYTES + 4];
    r->shape.key = key;
    r->shape.key_count = 2;
    r->shape.hash_key = &hash_key;
    for (uint32_t i = 0; i < r->row_count; i++) {
        memcpy(bytes, r->cells[2] + (size_t)i * PST_TEXT_BYTES, PST_TEXT_BYTES);
        memcpy(bytes + PST_TEXT_BYTES, r->cells[1] + (size_t)i * 4, 4);
        r->hash[i] = pst_hash(&hash_key, bytes, sizeof bytes);
        r->bucket[i] = (uint32_t)r->hash[i] & r->shape.bucket_mask;
    }
}

/* noise: cells that LZ4 gains nothing from. */
static void rows_fill(struct rows *r, uint32_t row_count, bool noise)
{
    r->row_count = row_count;
    r->watermark = (int64_t)random_next();
    for (uint32_t i = 0; i < row_count; i++) {
        r->time[i] = i == 0 ? -5 : r->time[i - 1] + random_below(3);
        r->hash[i] = random_next();
        r->bucket[i] = (uint32_t)r->hash[i] & r->shape.bucket_mask;
        r->producer[i] = random_below(17);
        r->number[i] = random_next();
    }
    for (uint32_t c = 0; c < r->shape.column_count; c++)
        for (uint32_t at = 0; at < row_count * r->column_bytes[c]; at++) {
            bool length = r->column_bytes[c] == PST_TEXT_BYTES && at % PST_TEXT_BYTES == 0;
            r->cells[c][at] = (uint8_t)(length ? random_below(32) : noise ? random_next() : c);
        }
}

static void rows_same(const struct rows *a, const struct rows *b)
{
    uint32_t n = a->row_count;
    assert_int_equal(n, b->row_count);
    assert_int_equal(a->watermark, b->watermark);
    assert_memory_equal(a->time, b->time, n * sizeof *a->time);
    if (a->shape.keyed) {
        assert_memory_equal(a->hash, b->hash, n * sizeof *a->hash);
        assert_memory_equal(a->bucket, b->bucket, n * sizeof *a->bucket);
    }
    if (a->shape.numbered) {
        assert_memory_equal(a->producer, b->producer, n * sizeof *a->producer);
        assert_memory_equal(a->number, b->number, n * sizeof *a->number);
    }
    for (uint32_t c = 0; c < a->shape.column_count; c++)
        assert_memory_equal(a->cells[c], b->cells[c], n * a->column_bytes[c]);
}

static const struct pst_wire_head in_order = {.channel = 7, .number = 9, .incarnation = 3, .owner_epoch = 2, .move = 5};
static const struct pst_wire_head beside = {.channel = 7, .incarnation = 3, .owner_epoch = 2, .move = 5};

/* The whole message: chunks are sent in two parts. */
static int chunk_write(const struct pst_wire_head *head, const struct pst_wire_chunk *chunk, uint8_t *out,
                       size_t out_capacity, size_t *ret_bytes)
{
    int rc = pst_wire_chunk_head_write(head, chunk, out, out_capacity, ret_bytes);
    if (rc == PST_OK && out_capacity - *ret_bytes < chunk->byte_count)
        rc = PST_EFULL;
    if (rc == PST_OK) {
        memcpy(out + *ret_bytes, chunk->bytes, chunk->byte_count);
        *ret_bytes += chunk->byte_count;
    }
    return rc;
}

static int frame_write(const struct pst_wire_head *head, struct rows *r, bool pack, uint8_t *out, size_t *ret_bytes)
{
    return pst_wire_frame_write(head, &r->shape, &r->columns, r->row_count, r->watermark, pack ? scratch : NULL,
                                pack ? sizeof scratch : 0, out, MESSAGE_MAX, ret_bytes);
}

static int frame_narrow(const struct pst_wire_head *head, struct rows *r, uint8_t *out, size_t *ret_bytes)
{
    return pst_wire_frame_narrow(head, &r->shape, &r->columns, r->row_count, r->watermark, out, MESSAGE_MAX, ret_bytes);
}

static int frame_read(const uint8_t *bytes, size_t count, struct rows *r)
{
    return pst_wire_frame_read(bytes, count, &r->shape, &r->columns, ROWS_MAX, scratch, sizeof scratch, &r->row_count,
                               &r->watermark);
}

/* ---- one message of each kind ---- */
enum { SAMPLE_PACKED = PST_WIRE_CUT + 1, SAMPLE_KEYLESS, SAMPLE_NARROW, SAMPLE_KEYS, SAMPLE_END };

/* Into `message`. */
static size_t sample(int which)
{
    size_t count = 0;
    int rc = PST_EINTERNAL;
    random_state = 1;
    rows_init(&from, 3, which != SAMPLE_KEYLESS, which != SAMPLE_KEYLESS);
    rows_fill(&from, which == SAMPLE_PACKED ? 40 : 5, which == PST_WIRE_FRAME);
    switch (which) {
    case PST_WIRE_HELLO:
        rc = pst_wire_hello_write(&beside, &(struct pst_wire_hello){2, 1, "meters"}, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_FRAME:
    case SAMPLE_PACKED:
    case SAMPLE_KEYLESS:
        rc = frame_write(&in_order, &from, which == SAMPLE_PACKED, message, &count);
        break;
    case SAMPLE_KEYS:
        rows_key(&from);
        /* fall through */
    case SAMPLE_NARROW:
        rc = frame_narrow(&in_order, &from, message, &count);
        break;
    case PST_WIRE_WATERMARK:
        rc = pst_wire_watermark_write(&in_order, -3, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_END:
        rc = pst_wire_end_write(&in_order, 2, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_GRANT:
        rc = pst_wire_grant_write(&beside, &(struct pst_wire_grant){12, 8}, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_RESUME:
        rc = pst_wire_resume_write(&beside, 11, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_CHUNK:
        rc = chunk_write(&beside, &(struct pst_wire_chunk){-60, 3, 1, 2, 5, "piece"}, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_CHUNK_ACK:
        rc = pst_wire_chunk_ack_write(&beside, 3, 1, message, MESSAGE_MAX, &count);
        break;
    case PST_WIRE_CUT:
        rc = pst_wire_cut_write(&beside, &(struct pst_wire_cut){6, 5, -60}, message, MESSAGE_MAX, &count);
        break;
    default:
        break;
    }
    assert_int_equal(rc, PST_OK);
    return count;
}

/* Reads a body and, where it is one, writes it again, into `again`. Frames are read as those of `from`. */
static int body_again(const uint8_t *bytes, size_t count, const struct pst_wire_head *head, size_t *ret_count)
{
    union {
        struct pst_wire_hello hello;
        struct pst_wire_grant grant;
        struct pst_wire_chunk chunk;
        struct pst_wire_cut cut;
        int64_t watermark;
        uint64_t number;
        uint32_t ack[2];
        uint8_t end;
    } u;
    int rc;
#define AGAIN(read, write) ((rc = (read)) != PST_OK ? rc : (write))
    switch ((pst_wire_kind)head->kind) {
    case PST_WIRE_HELLO:
        return AGAIN(pst_wire_hello_read(bytes, count, &u.hello),
                     pst_wire_hello_write(head, &u.hello, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_FRAME:
        rows_init(&to, from.shape.column_count, from.shape.keyed, from.shape.numbered);
        to.shape = from.shape;
        return AGAIN(frame_read(bytes, count, &to), head->version == 2
                                                        ? frame_narrow(head, &to, again, ret_count)
                                                        : frame_write(head, &to, head->flags != 0, again, ret_count));
    case PST_WIRE_WATERMARK:
        return AGAIN(pst_wire_watermark_read(bytes, count, &u.watermark),
                     pst_wire_watermark_write(head, u.watermark, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_END:
        return AGAIN(pst_wire_end_read(bytes, count, &u.end),
                     pst_wire_end_write(head, u.end, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_GRANT:
        return AGAIN(pst_wire_grant_read(bytes, count, &u.grant),
                     pst_wire_grant_write(head, &u.grant, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_RESUME:
        return AGAIN(pst_wire_resume_read(bytes, count, &u.number),
                     pst_wire_resume_write(head, u.number, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_CHUNK:
        return AGAIN(pst_wire_chunk_read(bytes, count, &u.chunk),
                     chunk_write(head, &u.chunk, again, MESSAGE_MAX, ret_count));
    case PST_WIRE_CHUNK_ACK:
        return AGAIN(pst_wire_chunk_ack_read(bytes, count, &u.ack[0], &u.ack[1]),
                     pst_wire_chunk_ack_write(head, u.ack[0], u.ack[1], again, MESSAGE_MAX, ret_count));
    case PST_WIRE_CUT:
        return AGAIN(pst_wire_cut_read(bytes, count, &u.cut),
                     pst_wire_cut_write(head, &u.cut, again, MESSAGE_MAX, ret_count));
    }
#undef AGAIN
    return PST_EINTERNAL;
}

/* From memory of exactly that size, so that a sanitizer sees a read behind it. What is accepted is written as the same bytes; of
 * packed and narrow ones only what they hold is the same. */
static int read_copy(const uint8_t *bytes, size_t count)
{
    struct pst_wire_head head;
    size_t again_count = 0;
    uint8_t *copy = malloc(count != 0 ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    int rc = pst_wire_head_read(copy, count, &head);
    if (rc == PST_OK)
        rc = body_again(copy, count, &head, &again_count);
    if (rc == PST_OK && head.version == 2) {
        struct rows *read = malloc(sizeof *read);
        assert_non_null(read);
        memcpy(read, &to, sizeof *read);
        assert_int_equal(frame_read(again, again_count, &to), PST_OK);
        rows_same(read, &to);
        free(read);
    } else if (rc == PST_OK && head.flags == 0) {
        assert_int_equal(again_count, count);
        assert_memory_equal(again, copy, count);
    }
    free(copy);
    return rc;
}

/* ---- what holds ---- */
static void the_bytes_are_those_of_version_1(void **state)
{
    (void)state;
    static const uint8_t watermark[] = {3, 1, 0, 0, 7, 0, 0, 0, 9,    0,    0,    0,    0,    0,    0,    0,
                                        3, 0, 0, 0, 0, 0, 0, 0, 2,    0,    0,    0,    0,    0,    0,    0,
                                        5, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t frame[] = {
        1,    0,    0,    0,    24,   0,    0,    0,                              /* rows, clear bytes */
        0,    0,    0,    0,    0,    0,    0,    0x80,                           /* watermark: none */
        3,    0,    0,    0,                                                      /* columns */
        0,    0,    0,    0,    8,    0,    0,    0,    16, 0, 0, 0, 24, 0, 0, 0, /* offsets */
        0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                           /* time */
        1,    1,    1,    1,    1,    1,    1,    1,                              /* 8 bytes a cell */
        2,    2,    2,    2,    0,    0,    0,    0,                              /* 4 bytes a cell */
    };
    size_t count = sample(PST_WIRE_WATERMARK);
    assert_int_equal(count, sizeof watermark);
    assert_memory_equal(message, watermark, count);
    rows_init(&from, 2, false, false);
    rows_fill(&from, 1, false);
    from.watermark = INT64_MIN;
    memset(from.cells[0], 1, 8);
    memset(from.cells[1], 2, 4);
    assert_int_equal(frame_write(&in_order, &from, false, message, &count), PST_OK);
    assert_int_equal(count, PST_WIRE_HEAD_BYTES + sizeof frame);
    assert_memory_equal(message + PST_WIRE_HEAD_BYTES, frame, sizeof frame);
}

static void the_bytes_of_a_narrow_frame_are_those_of_version_2(void **state)
{
    (void)state;
    static const uint8_t heads[] = {3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80};
    static const uint8_t columns[] = {
        0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, /* time: -5 and up, a byte each */
        7,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0, /* 8 bytes a cell: all are 7 */
        1,    0,    0,    0,    0,    0,    0,    0,    3, 0, 0, 0, /* 4 bytes a cell: 1 and up, three bytes each */
    };
    static const uint8_t cells[] = {0, 1, 2, 0, 0, 0, 0xff, 0xff, 0xff, 1, 0, 0};
    size_t count;
    rows_init(&from, 2, false, false);
    from.row_count = 3;
    from.watermark = INT64_MIN;
    for (uint32_t i = 0; i < 3; i++) {
        static const uint32_t fours[] = {1, 0x1000000, 2};
        from.time[i] = -5 + (int64_t)i;
        memcpy(from.cells[0] + (size_t)i * 8, &(uint64_t){7}, 8);
        memcpy(from.cells[1] + (size_t)i * 4, &fours[i], 4);
    }
    assert_int_equal(frame_narrow(&in_order, &from, message, &count), PST_OK);
    assert_int_equal(message[1], 2);
    assert_int_equal(count, PST_WIRE_HEAD_BYTES + sizeof heads + sizeof columns + sizeof cells);
    assert_memory_equal(message + PST_WIRE_HEAD_BYTES, heads, sizeof heads);
    assert_memory_equal(message + PST_WIRE_HEAD_BYTES + sizeof heads, columns, sizeof columns);
    assert_memory_equal(message + count - sizeof cells, cells, sizeof cells);
}

/* Columns whose cells are so many bytes apart at most, of any least one. */
static void any_width_comes_out_as_it_went_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        size_t count;
        random_state = seed;
        rows_init(&from, random_below(COLUMNS_MAX + 1), random_below(2), random_below(2));
        rows_fill(&from, 1 + random_below(random_below(4) == 0 ? ROWS_MAX : 20), true);
        for (uint32_t c = 0; c < from.shape.column_count; c++) {
            uint32_t bytes = from.column_bytes[c], width = random_below(bytes + 1);
            uint64_t base = random_next(), mask = width == 0 ? 0 : UINT64_MAX >> (64 - 8 * (width < 8 ? width : 8));
            for (uint32_t i = 0; bytes != PST_TEXT_BYTES && i < from.row_count; i++) {
                uint64_t cell = base + (random_next() & mask);
                memcpy(from.cells[c] + (size_t)i * bytes, &cell, bytes);
            }
        }
        bool keys = from.shape.keyed && from.shape.column_count >= 3 && random_below(2) != 0;
        if (keys)
            rows_key(&from);
        rows_init(&to, from.shape.column_count, from.shape.keyed, from.shape.numbered);
        to.shape = from.shape;
        if (frame_narrow(&in_order, &from, message, &count) != PST_OK || frame_read(message, count, &to) != PST_OK)
            fail_msg("seed %llu", (unsigned long long)seed);
        rows_same(&from, &to);
        assert_true(count <= pst_wire_frame_bound(&from.shape, from.row_count));
        assert_int_equal(read_copy(message, count), PST_OK);
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int which = 1; which < SAMPLE_END; which++)
        assert_int_equal(read_copy(message, sample(which)), PST_OK);
    struct pst_wire_head head;
    assert_int_equal(pst_wire_head_read(message, sample(PST_WIRE_END), &head), PST_OK);
    assert_int_equal(head.kind, PST_WIRE_END);
    assert_int_equal(head.channel, 7);
    assert_int_equal(head.number, 9);
    assert_int_equal(head.incarnation, 3);
    assert_int_equal(head.owner_epoch, 2);
    assert_int_equal(head.move, 5);
}

static void frames_of_any_shape_come_out_as_they_went_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        size_t count;
        random_state = seed;
        rows_init(&from, random_below(COLUMNS_MAX + 1), random_below(2), random_below(2));
        rows_fill(&from, 1 + random_below(random_below(4) == 0 ? ROWS_MAX : 9), random_below(2));
        rows_init(&to, from.shape.column_count, from.shape.keyed, from.shape.numbered);
        bool pack = random_below(2);
        if (frame_write(&in_order, &from, pack, message, &count) != PST_OK || frame_read(message, count, &to) != PST_OK)
            fail_msg("seed %llu", (unsigned long long)seed);
        rows_same(&from, &to);
        assert_true(count <= pst_wire_frame_bound(&from.shape, from.row_count));
    }
}

static void other_messages_come_out_as_they_went_in(void **state)
{
    (void)state;
    static uint8_t piece[PST_WIRE_CHUNK_BYTES_MAX];
    random_state = 1;
    for (uint32_t i = 0; i < 2000; i++) {
        struct pst_wire_head head = {
            0, 0, 0, (uint32_t)random_next(), 0, random_next(), (uint32_t)random_next(), 0, random_next()};
        struct pst_wire_hello hello = {random_below(9), random_below(9), ""};
        struct pst_wire_chunk chunk = {(int64_t)random_next(),
                                       1 + random_below(PST_BUCKETS_MAX),
                                       random_below(9),
                                       9,
                                       1 + random_below(i % 100 == 0 ? sizeof piece : 99),
                                       piece};
        size_t count;
        memset(hello.graph_name, '!' + (int)random_below(94), 1 + random_below(PST_WIRE_NAME_BYTES_MAX));
        assert_int_equal(pst_wire_hello_write(&head, &hello, message, PST_WIRE_SMALL_BYTES_MAX, &count), PST_OK);
        assert_int_equal(read_copy(message, count), PST_OK);
        assert_int_equal(chunk_write(&head, &chunk, message, MESSAGE_MAX, &count), PST_OK);
        assert_int_equal(read_copy(message, count), PST_OK);
    }
}

/* Of a frame of version 1 with keys, numbers and three columns. */
static size_t clear_count(const struct rows *r)
{
    return PST_WIRE_HEAD_BYTES + 20 + 9 * 4 + pst_wire_frame_clear_bytes(&r->shape, r->row_count);
}

static void only_what_saves_an_eighth_is_packed(void **state)
{
    (void)state;
    size_t count;
    random_state = 1;
    rows_init(&from, 3, true, true);
    rows_fill(&from, ROWS_MAX, true);
    assert_int_equal(frame_write(&in_order, &from, true, message, &count), PST_OK);
    assert_int_equal(message[2], 0);
    assert_int_equal(count, clear_count(&from));
    rows_fill(&from, ROWS_MAX, false);
    assert_int_equal(frame_write(&in_order, &from, true, message, &count), PST_OK);
    assert_int_equal(message[2], PST_WIRE_FLAG_LZ4);
    assert_true(count <= pst_wire_frame_bound(&from.shape, ROWS_MAX) * 7 / 8 + PST_WIRE_HEAD_BYTES);
}

static void no_other_length_is_accepted(void **state)
{
    (void)state;
    for (int which = 1; which < SAMPLE_END; which++) {
        size_t whole = sample(which);
        for (size_t count = 0; count < whole; count++) {
            sample(which);
            /* Of a chunk's piece any beginning is one, too: how long it has to be stands in it, under its seal. */
            bool piece = which == PST_WIRE_CHUNK && count > PST_WIRE_HEAD_BYTES + 20;
            assert_int_equal(read_copy(message, count), piece ? PST_OK : PST_EDATA);
        }
        message[whole] = 0;
        if (which != PST_WIRE_CHUNK)
            assert_int_equal(read_copy(message, whole + 1), PST_EDATA);
    }
}

static void a_changed_bit_is_refused_or_means_what_it_says(void **state)
{
    (void)state;
    for (int which = 1; which < SAMPLE_END; which++) {
        size_t count = sample(which), refused = 0;
        for (size_t bit = 0; bit < count * 8; bit++) {
            message[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int rc = read_copy(message, count);
            message[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (rc != PST_OK && rc != PST_EDATA && rc != PST_EABI && rc != PST_EFULL)
                fail_msg("sample %d, bit %zu: %d", which, bit, rc);
            refused += rc != PST_OK;
        }
        assert_true(refused >= 40); /* of the head alone: version, flags, reserved */
        assert_int_equal(read_copy(message, count), PST_OK);
    }
}

static void noise_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        size_t count = sample(1 + (int)(seed % (SAMPLE_END - 1)));
        random_state = seed;
        for (uint32_t n = 1 + random_below(8); n != 0; n--)
            message[PST_WIRE_HEAD_BYTES + random_below((uint32_t)count - PST_WIRE_HEAD_BYTES)] = (uint8_t)random_next();
        (void)read_copy(message, count); /* it compares what it accepts */
    }
}

static void a_newer_version_is_told_apart(void **state)
{
    (void)state;
    for (int which = 1; which < SAMPLE_END; which++) {
        size_t count = sample(which);
        message[0] = 99; /* a kind that it may have */
        message[1] = 3;
        assert_int_equal(read_copy(message, count), PST_EABI);
        message[1] = 0;
        assert_int_equal(read_copy(message, count), PST_EDATA);
    }
}

static void a_body_is_read_as_its_own_kind_alone(void **state)
{
    (void)state;
    struct pst_wire_hello hello;
    struct pst_wire_grant grant;
    struct pst_wire_chunk chunk;
    struct pst_wire_cut cut;
    uint64_t number;
    int64_t watermark;
    uint32_t ack[2];
    uint8_t end;
    for (int which = 1; which <= PST_WIRE_CUT; which++) {
        size_t count = sample(which);
        int good = 0;
        good += pst_wire_hello_read(message, count, &hello) == PST_OK;
        good += frame_read(message, count, &from) == PST_OK;
        good += pst_wire_watermark_read(message, count, &watermark) == PST_OK;
        good += pst_wire_end_read(message, count, &end) == PST_OK;
        good += pst_wire_grant_read(message, count, &grant) == PST_OK;
        good += pst_wire_resume_read(message, count, &number) == PST_OK;
        good += pst_wire_chunk_read(message, count, &chunk) == PST_OK;
        good += pst_wire_chunk_ack_read(message, count, &ack[0], &ack[1]) == PST_OK;
        good += pst_wire_cut_read(message, count, &cut) == PST_OK;
        assert_int_equal(good, 1);
    }
}

static void set_no_time(size_t offset) { memcpy(message + offset, &(int64_t){INT64_MAX}, sizeof(int64_t)); }
static void set_u32(size_t offset, uint32_t value) { memcpy(message + offset, &value, sizeof value); }

/* Offsets in a frame's body with keys, numbers and three columns, five rows. */
enum {
    BODY = PST_WIRE_HEAD_BYTES,
    OFFSETS = BODY + 20,
    TIME = OFFSETS + 9 * 4,
    HASH = TIME + 5 * 8,
    BUCKET = HASH + 5 * 8,
    PRODUCER = BUCKET + 24,
    NUMBER = PRODUCER + 24,
    TEXT = NUMBER + 5 * 8 + 5 * 8 + 24,
    NARROW = BODY + 16, /* of a narrow one: time, hash, producer, number, three columns */
};

#define WRONG(X)                                                                             \
    X("kind 0", PST_EDATA, PST_WIRE_END, message[0] = 0)                                     \
    X("a kind that is not there", PST_EDATA, PST_WIRE_END, message[0] = 10)                  \
    X("a flag", PST_EDATA, PST_WIRE_FRAME, message[2] = 2)                                   \
    X("a flag above", PST_EDATA, PST_WIRE_FRAME, message[3] = 1)                             \
    X("what is packed but is no frame", PST_EDATA, PST_WIRE_END, message[2] = 1)             \
    X("what is reserved", PST_EDATA, PST_WIRE_END, message[31] = 1)                          \
    X("no number", PST_EDATA, PST_WIRE_END, message[8] = 0)                                  \
    X("a number beside the channel", PST_EDATA, PST_WIRE_GRANT, message[8] = 1)              \
    X("an end that is none", PST_EDATA, PST_WIRE_END, message[BODY] = 0)                     \
    X("another end", PST_EDATA, PST_WIRE_END, message[BODY] = 3)                             \
    X("a name's length", PST_EDATA, PST_WIRE_HELLO, message[BODY + 8] = 5)                   \
    X("a name with a NUL", PST_EDATA, PST_WIRE_HELLO, message[BODY + 13] = 0)                \
    X("a name with a blank", PST_EDATA, PST_WIRE_HELLO, message[BODY + 13] = ' ')            \
    X("a name beyond ASCII", PST_EDATA, PST_WIRE_HELLO, message[BODY + 13] = 0xe4)           \
    X("a chunk of no parcel", PST_EDATA, PST_WIRE_CHUNK, set_u32(BODY + 8, 0))               \
    X("a chunk's index", PST_EDATA, PST_WIRE_CHUNK, set_u32(BODY + 12, 2))                   \
    X("no chunks", PST_EDATA, PST_WIRE_CHUNK, set_u32(BODY + 16, 0))                         \
    X("an answer about no parcel", PST_EDATA, PST_WIRE_CHUNK_ACK, set_u32(BODY, 0))          \
    X("a cut of what is complete", PST_EDATA, PST_WIRE_CUT, set_u32(BODY, 5))                \
    X("a cut at no time", PST_EDATA, PST_WIRE_CUT, set_no_time(BODY + 8))                    \
    X("no row", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY, 0))                                 \
    X("one row less", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY, 4))                           \
    X("rows without bytes", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY, ROWS_MAX))              \
    X("too many rows", PST_EFULL, PST_WIRE_FRAME, set_u32(BODY, ROWS_MAX + 1))               \
    X("rows beyond all", PST_EFULL, PST_WIRE_FRAME, set_u32(BODY, UINT32_MAX))               \
    X("clear bytes", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY + 4, 1))                        \
    X("one column less", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY + 16, 7))                   \
    X("columns beyond all", PST_EDATA, PST_WIRE_FRAME, set_u32(BODY + 16, 1u << 31))         \
    X("the first offset", PST_EDATA, PST_WIRE_FRAME, set_u32(OFFSETS, 8))                    \
    X("an offset", PST_EDATA, PST_WIRE_FRAME, set_u32(OFFSETS + 8, 0))                       \
    X("the last offset", PST_EDATA, PST_WIRE_FRAME, set_u32(OFFSETS + 32, 1u << 30))         \
    X("a time before another", PST_EDATA, PST_WIRE_FRAME, message[TIME + 4 * 8 + 7] = 0x80)  \
    X("another hash", PST_EDATA, PST_WIRE_FRAME, message[HASH + 8] ^= 1)                     \
    X("another bucket", PST_EDATA, PST_WIRE_FRAME, message[BUCKET + 4] ^= 1)                 \
    X("a bucket beyond all", PST_EDATA, PST_WIRE_FRAME, message[BUCKET + 7] = 1)             \
    X("what is between columns", PST_EDATA, PST_WIRE_FRAME, message[BUCKET + 20] = 1)        \
    X("a text longer than its cell", PST_EDATA, PST_WIRE_FRAME, message[TEXT + 4 * 32] = 32) \
    X("packed bytes that are none", PST_EDATA, PST_WIRE_FRAME, message[2] = 1)               \
    X("version 2 of another", PST_EDATA, PST_WIRE_END, message[1] = 2)                       \
    X("a narrow frame that is packed", PST_EDATA, SAMPLE_NARROW, message[2] = 1)             \
    X("narrow: no row", PST_EDATA, SAMPLE_NARROW, set_u32(BODY, 0))                          \
    X("narrow: one row less", PST_EDATA, SAMPLE_NARROW, set_u32(BODY, 4))                    \
    X("narrow: too many rows", PST_EFULL, SAMPLE_NARROW, set_u32(BODY, ROWS_MAX + 1))        \
    X("narrow: rows beyond all", PST_EFULL, SAMPLE_NARROW, set_u32(BODY, UINT32_MAX))        \
    X("narrow: one column less", PST_EDATA, SAMPLE_NARROW, set_u32(BODY + 4, 6))             \
    X("narrow: columns beyond all", PST_EDATA, SAMPLE_NARROW, set_u32(BODY + 4, 1u << 31))   \
    X("narrow: a width", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 8, 2))                   \
    X("narrow: wider than a cell", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 8, 9))         \
    X("narrow: 4 bytes, 5 wide", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 2 * 12 + 8, 5))  \
    X("narrow: 4 bytes, above", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 2 * 12 + 4, 1))   \
    X("narrow: 4 bytes, below", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 2 * 12 + 4, ~0u)) \
    X("narrow: a text's base", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 6 * 12, 1))        \
    X("narrow: a text's width", PST_EDATA, SAMPLE_NARROW, set_u32(NARROW + 6 * 12 + 8, 0))   \
    X("narrow: a text too long", PST_EDATA, SAMPLE_NARROW, message[count - 32] = 32)         \
    X("narrow: a time before", PST_EDATA, SAMPLE_NARROW, message[NARROW + 7 * 12] = 0xff)

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
#define X(what, error, which, change)                     \
    {                                                     \
        size_t count = sample(which);                     \
        (void)(change);                                   \
        int rc = read_copy(message, count);               \
        if (rc != (error))                                \
            fail_msg("%s: %s", what, pst_error_name(rc)); \
    }
    WRONG(X)
#undef X
}

/* A block that unpacks to less, or to more, than the frame says. */
static void a_packed_block_has_exactly_its_bytes(void **state)
{
    (void)state;
    size_t count = sample(SAMPLE_PACKED);
    assert_int_equal(message[2], PST_WIRE_FLAG_LZ4);
    for (size_t cut = 1; cut < 8; cut++)
        assert_int_equal(read_copy(message, count - cut), PST_EDATA);
    rows_fill(&from, 41, false);
    size_t longer_count;
    assert_int_equal(frame_write(&in_order, &from, true, again, &longer_count), PST_OK);
    memcpy(message + TIME, again + TIME, longer_count - TIME);
    assert_int_equal(read_copy(message, longer_count), PST_EDATA);
}

static void what_has_no_room_is_refused(void **state)
{
    (void)state;
    size_t count = sample(SAMPLE_PACKED), bound = pst_wire_frame_bound(&from.shape, from.row_count), other;
    size_t clear = clear_count(&from);
    size_t clear_bytes = pst_wire_frame_clear_bytes(&from.shape, from.row_count);
    uint32_t rows;
    int64_t watermark;
    assert_int_equal(
        pst_wire_frame_read(message, count, &from.shape, &to.columns, 39, scratch, clear_bytes, &rows, &watermark),
        PST_EFULL);
    assert_int_equal(
        pst_wire_frame_read(message, count, &from.shape, &to.columns, 40, scratch, clear_bytes - 1, &rows, &watermark),
        PST_EFULL);
    assert_int_equal(pst_wire_frame_read(message, count, &from.shape, &to.columns, 40, NULL, 0, &rows, &watermark),
                     PST_EFULL);
    rows_init(&to, 3, true, true);
    assert_int_equal(
        pst_wire_frame_read(message, count, &from.shape, &to.columns, 40, scratch, clear_bytes, &rows, &watermark),
        PST_OK);
    assert_int_equal(
        pst_wire_frame_write(&in_order, &from.shape, &from.columns, 40, 0, NULL, 0, message, clear - 1, &other),
        PST_EFULL);
    assert_int_equal(pst_wire_frame_narrow(&in_order, &from.shape, &from.columns, 40, 0, message, bound - 1, &other),
                     PST_EFULL);
    assert_int_equal(pst_wire_frame_narrow(&in_order, &from.shape, &from.columns, 40, 0, message, bound, &other),
                     PST_OK);
    assert_int_equal(pst_wire_frame_write(&in_order, &from.shape, &from.columns, 40, 0, scratch, clear_bytes - 1,
                                          message, bound, &other),
                     PST_EFULL);
    assert_int_equal(pst_wire_end_write(&in_order, 1, message, PST_WIRE_HEAD_BYTES, &other), PST_EFULL);
    assert_int_equal(pst_wire_hello_write(&beside, &(struct pst_wire_hello){0, 0, "meters"}, message, 57, &other),
                     PST_EFULL);
    assert_int_equal(pst_wire_head_read(message, (size_t)PST_WIRE_MESSAGE_BYTES_MAX + 1, &(struct pst_wire_head){0}),
                     PST_EFULL);
}

/* More than a message may have: found before a byte of the columns is touched. */
static void a_frame_longer_than_a_message_is_not_written(void **state)
{
    (void)state;
    size_t count;
    rows_init(&from, 3, false, false);
    uint32_t rows = PST_WIRE_MESSAGE_BYTES_MAX / 52;
    assert_true(pst_wire_frame_bound(&from.shape, rows) > PST_WIRE_MESSAGE_BYTES_MAX);
    assert_int_equal(pst_wire_frame_write(&in_order, &from.shape, &from.columns, rows, 0, NULL, 0, message,
                                          (size_t)PST_WIRE_MESSAGE_BYTES_MAX * 2, &count),
                     PST_EFULL);
    assert_int_equal(
        pst_wire_frame_write(&in_order, &from.shape, &from.columns, UINT32_MAX, 0, NULL, 0, message, SIZE_MAX, &count),
        PST_EFULL);
    assert_int_equal(pst_wire_frame_narrow(&in_order, &from.shape, &from.columns, rows, 0, message,
                                           (size_t)PST_WIRE_MESSAGE_BYTES_MAX * 2, &count),
                     PST_EFULL);
    struct pst_wire_chunk chunk = {0, 1, 0, 1, PST_WIRE_CHUNK_BYTES_MAX + 1, message};
    assert_int_equal(pst_wire_chunk_head_write(&beside, &chunk, message, SIZE_MAX, &count), PST_EFULL);
}

static void what_no_reader_would_take_is_not_written(void **state)
{
    (void)state;
    size_t count;
    struct pst_wire_hello hello = {0, 0, ""};
    struct pst_wire_chunk chunk = {0, 0, 1, 1, 5, "piece"};
    assert_int_equal(pst_wire_hello_write(&beside, &hello, message, MESSAGE_MAX, &count), PST_EINVAL);
    memset(hello.graph_name, 'a', sizeof hello.graph_name); /* no end */
    assert_int_equal(pst_wire_hello_write(&beside, &hello, message, MESSAGE_MAX, &count), PST_EINVAL);
    hello.graph_name[3] = '\n';
    hello.graph_name[4] = '\0';
    assert_int_equal(pst_wire_hello_write(&beside, &hello, message, MESSAGE_MAX, &count), PST_EINVAL);
    assert_int_equal(chunk_write(&beside, &chunk, message, MESSAGE_MAX, &count), PST_EINVAL);
    assert_int_equal(pst_wire_chunk_ack_write(&beside, 0, 0, message, MESSAGE_MAX, &count), PST_EINVAL);
    assert_int_equal(pst_wire_end_write(&in_order, 0, message, MESSAGE_MAX, &count), PST_EINVAL);
    assert_int_equal(pst_wire_end_write(&beside, 1, message, MESSAGE_MAX, &count), PST_EINVAL);
    assert_int_equal(pst_wire_resume_write(&in_order, 1, message, MESSAGE_MAX, &count), PST_EINVAL);
    sample(PST_WIRE_FRAME);
    from.row_count = 0;
    assert_int_equal(frame_write(&in_order, &from, false, message, &count), PST_EINVAL);
    sample(PST_WIRE_FRAME);
    from.time[4] = from.time[3] - 1;
    assert_int_equal(frame_write(&in_order, &from, false, message, &count), PST_EINVAL);
    sample(PST_WIRE_FRAME);
    from.bucket[4] ^= 1;
    assert_int_equal(frame_write(&in_order, &from, false, message, &count), PST_EINVAL);
    sample(PST_WIRE_FRAME);
    from.cells[2][4 * PST_TEXT_BYTES] = PST_TEXT_BYTES;
    assert_int_equal(frame_write(&in_order, &from, false, message, &count), PST_EINVAL);
    assert_int_equal(frame_narrow(&in_order, &from, message, &count), PST_EINVAL);
    sample(SAMPLE_NARROW);
    from.row_count = 0;
    assert_int_equal(frame_narrow(&in_order, &from, message, &count), PST_EINVAL);
    sample(SAMPLE_NARROW);
    from.time[4] = from.time[3] - 1;
    assert_int_equal(frame_narrow(&in_order, &from, message, &count), PST_EINVAL);
}

static void nothing_is_allocated(void **state)
{
    (void)state;
    uint64_t before = pst_malloc_count();
    for (int which = 1; which < SAMPLE_END; which++)
        assert_int_equal(read_copy(message, sample(which)), PST_OK);
    assert_int_equal(pst_malloc_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_version_1),
        cmocka_unit_test(the_bytes_of_a_narrow_frame_are_those_of_version_2),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(frames_of_any_shape_come_out_as_they_went_in),
        cmocka_unit_test(any_width_comes_out_as_it_went_in),
        cmocka_unit_test(other_messages_come_out_as_they_went_in),
        cmocka_unit_test(only_what_saves_an_eighth_is_packed),
        cmocka_unit_test(no_other_length_is_accepted),
        cmocka_unit_test(a_changed_bit_is_refused_or_means_what_it_says),
        cmocka_unit_test(noise_is_refused),
        cmocka_unit_test(a_newer_version_is_told_apart),
        cmocka_unit_test(a_body_is_read_as_its_own_kind_alone),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_packed_block_has_exactly_its_bytes),
        cmocka_unit_test(what_has_no_room_is_refused),
        cmocka_unit_test(a_frame_longer_than_a_message_is_not_written),
        cmocka_unit_test(what_no_reader_would_take_is_not_written),
        cmocka_unit_test(nothing_is_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
