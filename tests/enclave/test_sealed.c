/* test_sealed.c - rows that are sealed at one end of an edge and opened at the other: what comes out, and what a host can do to a stream.
 *
 * Each attack has its control: a reader that has the key and opens, but keeps no account of sessions, numbers and marks, takes what the
 * attack made, and gives other rows than were sealed. */
#include "base/gcm.h"
#include "enclave_shim/common/capsule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { CAPSULES_MAX = 8192, BUCKETS = 8, ROWS_MAX = 8192 };

struct stream { /* capsules, as a host has them */
    uint8_t *bytes[CAPSULES_MAX];
    size_t sizes[CAPSULES_MAX];
    uint32_t count;
};

struct scene {
    struct pst_sealed_keys keys;
    struct pst_sealed_edge edge;
    struct stream stream;
    uint8_t stream_id;
    uint64_t row_count, value_sum; /* that were sealed */
    /* what came out */
    uint64_t rows, sum;
    int64_t limit, floor;
    char why[PST_SEALED_WHY_BYTES];
};

static int keep(void *emitter, const void *bytes, size_t byte_count)
{
    struct stream *stream = emitter;
    assert_true(stream->count < CAPSULES_MAX);
    uint8_t *copy = malloc(byte_count);
    assert_non_null(copy);
    memcpy(copy, bytes, byte_count);
    stream->bytes[stream->count] = copy;
    stream->sizes[stream->count++] = byte_count;
    return PST_OK;
}

static void scene_init(struct scene *scene)
{
    const uint8_t user[32] = {1, 2, 3}, graph[32] = {9};
    uint8_t root[32];
    memset(scene, 0, sizeof *scene);
    assert_int_equal(pst_sealed_root(user, graph, root), PST_OK);
    assert_int_equal(pst_sealed_keys_init(&scene->keys, root), PST_OK);
    scene->edge = (struct pst_sealed_edge){.name = "loads.0>plug.0",
                                           .number = 3,
                                           .producer_bucket_count = 1,
                                           .bucket_count = BUCKETS,
                                           .keyed = true,
                                           .part_count = 4,
                                           .part_bytes = {8, 8, 4, 8}};
}

static void scene_fini(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->stream.count; i++)
        free(scene->stream.bytes[i]);
    pst_sealed_keys_fini(&scene->keys);
}

static struct pst_sealed_writer *writer_new(struct scene *scene, uint8_t salt, const uint64_t *cover)
{
    struct pst_sealed_writer *writer = NULL;
    struct pst_sealed_writer_settings settings = {.keys = &scene->keys,
                                                  .edge = &scene->edge,
                                                  .cover = cover,
                                                  .rows_max = 100,
                                                  .emit = keep,
                                                  .emitter = &scene->stream};
    memset(settings.salt, salt, sizeof settings.salt);
    memset(settings.stream, scene->stream_id, sizeof settings.stream);
    assert_int_equal(pst_sealed_writer_new(&settings, &writer), PST_OK);
    return writer;
}

/* `n` rows of times from `time` on, some of each, values first, first + 1 and so on. */
static void add(struct scene *scene, struct pst_sealed_writer *writer, int64_t time, uint32_t first, uint32_t n)
{
    static int64_t times[ROWS_MAX];
    static uint64_t hashes[ROWS_MAX], values[ROWS_MAX];
    static uint32_t keys[ROWS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        times[i] = time + i / 10;
        keys[i] = first + i;
        hashes[i] = (first + i) * UINT64_C(0x9e3779b97f4a7c15) >> 7;
        values[i] = first + i;
        scene->value_sum += values[i];
    }
    scene->row_count += n;
    const void *columns[] = {keys, values};
    assert_int_equal(pst_sealed_writer_add(writer, n, times, hashes, columns), PST_OK);
}

static struct pst_sealed_reader *reader_new(struct scene *scene, const uint8_t *owned)
{
    struct pst_sealed_reader *reader = NULL;
    assert_int_equal(pst_sealed_reader_new(&(struct pst_sealed_reader_settings){.keys = &scene->keys,
                                                                                .edge = &scene->edge,
                                                                                .owned = owned,
                                                                                .held_bytes_max = 1 << 20,
                                                                                .frame_rows = 64},
                                           &reader),
                     PST_OK);
    return reader;
}

static int take(void *taker, uint32_t row_count, void *const *parts)
{
    struct scene *scene = taker;
    const int64_t *time = parts[0];
    const uint32_t *keys = parts[2];
    const uint64_t *values = parts[3];
    for (uint32_t i = 0; i < row_count; i++) {
        assert_true(time[i] < scene->limit && time[i] >= scene->floor);
        assert_int_equal(keys[i], values[i]);
        scene->sum += values[i];
    }
    scene->rows += row_count;
    return PST_OK;
}

/* Reads it all, in steps of time; what the first capsule that is refused says. */
static int read_stream(struct scene *scene, const struct stream *stream, bool *ret_ended)
{
    struct pst_sealed_reader *reader = reader_new(scene, NULL);
    int rc = PST_OK;
    scene->rows = scene->sum = 0;
    scene->floor = INT64_MIN;
    for (uint32_t i = 0; i < stream->count && rc == PST_OK; i++) {
        rc = pst_sealed_reader_take(reader, stream->bytes[i], stream->sizes[i], scene->why);
        int64_t watermark = pst_sealed_reader_watermark(reader);
        for (int64_t limit = watermark == INT64_MIN ? INT64_MAX : watermark - 3; rc == PST_OK && limit <= watermark;
             limit++) {
            if (limit < scene->floor)
                continue;
            scene->limit = limit;
            assert_int_equal(pst_sealed_reader_rows(reader, limit, take, scene), PST_OK);
            scene->floor = limit;
        }
    }
    *ret_ended = rc == PST_OK && pst_sealed_reader_ended(reader);
    pst_sealed_reader_free(reader);
    return rc;
}

/* The control: opens what has rows, and believes it. */
static uint64_t naive_rows(const struct scene *scene, const struct stream *stream)
{
    uint64_t rows = 0;
    uint8_t clear[PST_CAPSULE_BODY_BYTES_MAX];
    for (uint32_t i = 0; i < stream->count; i++) {
        struct pst_capsule capsule;
        struct pst_gcm *cipher;
        if (pst_capsule_read(stream->bytes[i], stream->sizes[i], &capsule) != PST_OK ||
            capsule.kind != PST_CAPSULE_ROWS)
            continue;
        assert_int_equal(pst_capsule_cipher(&scene->keys, &scene->edge, capsule.salt, &cipher), PST_OK);
        if (pst_capsule_open(cipher, stream->bytes[i], clear) == PST_OK)
            rows += capsule.row_count;
        pst_gcm_free(cipher);
    }
    return rows;
}

/* A stream of 500 rows in three batches, ended. */
static void seal_some(struct scene *scene)
{
    struct pst_sealed_writer *writer = writer_new(scene, 7, NULL);
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    for (uint32_t i = 0; i < 3; i++) {
        add(scene, writer, 20 * i, 200 * i, i == 2 ? 100 : 200);
        assert_int_equal(pst_sealed_writer_mark(writer, 20 * (i + 1), false, 0), PST_OK);
    }
    assert_int_equal(pst_sealed_writer_mark(writer, 61, true, 61), PST_OK);
    pst_sealed_writer_free(writer);
}

static struct pst_capsule header_of(const struct stream *stream, uint32_t i)
{
    struct pst_capsule capsule;
    assert_int_equal(pst_capsule_read(stream->bytes[i], stream->sizes[i], &capsule), PST_OK);
    return capsule;
}

static uint32_t nth_of_kind(const struct stream *stream, uint32_t kind, uint32_t n)
{
    for (uint32_t i = 0; i < stream->count; i++)
        if (header_of(stream, i).kind == kind && n-- == 0)
            return i;
    fail();
    return 0;
}

/* ---- what comes out ---- */

static void rows_come_out_once_each_and_below_the_mark(void **state)
{
    (void)state;
    struct scene scene;
    bool ended;
    scene_init(&scene);
    seal_some(&scene);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_true(ended);
    assert_int_equal(scene.rows, 500);
    assert_int_equal(scene.sum, scene.value_sum);
    scene_fini(&scene);
}

/* Rows of times 0 to 89 in one capsule, not in their order. */
static void seal_mixed(struct scene *scene)
{
    scene_init(scene);
    scene->edge.bucket_count = 1;
    scene->edge.keyed = false;
    scene->edge.part_count = 4;
    scene->edge.part_bytes[1] = 8; /* a column of its own: nobody looks at it */
    struct pst_sealed_writer *writer = writer_new(scene, 7, NULL);
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    int64_t times[90];
    uint64_t values[90], column[90] = {0};
    uint32_t keys[90];
    for (uint32_t i = 0; i < 90; i++) {
        times[i] = i * 37 % 90; /* each from 0 to 89 once */
        keys[i] = i;
        values[i] = i;
    }
    const void *columns[] = {column, keys, values};
    assert_int_equal(pst_sealed_writer_add(writer, 90, times, NULL, columns), PST_OK);
    for (int64_t t = 10; t <= 90; t += 10) /* and the reader is asked at 7, 8, 9, 10 and so on */
        assert_int_equal(pst_sealed_writer_mark(writer, t, t == 90, 90), PST_OK);
    pst_sealed_writer_free(writer);
}

static void rows_of_one_capsule_may_be_in_any_order(void **state)
{
    (void)state;
    struct scene scene;
    bool ended;
    seal_mixed(&scene);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_true(ended);
    assert_int_equal(scene.rows, 90);
    assert_int_equal(scene.sum, 89 * 90 / 2);
    scene_fini(&scene);
}

static void a_time_that_has_been_passed_gives_nothing_again(void **state)
{
    (void)state;
    static const int64_t limits[] = {40, 10, 40, 90};
    static const uint64_t rows[] = {40, 40, 40, 90};
    struct scene scene;
    seal_mixed(&scene);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    scene.limit = 90;
    for (uint32_t i = 0; i < scene.stream.count; i++)
        assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                         PST_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pst_sealed_reader_rows(reader, limits[i], take, &scene), PST_OK);
        assert_int_equal(scene.rows, rows[i]);
        assert_int_equal(pst_sealed_reader_first(reader), i < 3 ? 40 : INT64_MAX); /* what waits is as it was */
    }
    assert_int_equal(scene.sum, 89 * 90 / 2);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void nothing_comes_out_before_a_mark_has_counted_it(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    uint32_t second = nth_of_kind(&scene.stream, PST_CAPSULE_MARK, 1);
    for (uint32_t i = 0; i < second; i++)
        assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                         PST_OK);
    assert_int_equal(pst_sealed_reader_watermark(reader), 0);
    assert_int_equal(pst_sealed_reader_first(reader), 0); /* they are here, and wait */
    assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[second], scene.stream.sizes[second], scene.why),
                     PST_OK);
    assert_int_equal(pst_sealed_reader_watermark(reader), 20);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void a_reader_of_some_buckets_takes_theirs_alone(void **state)
{
    (void)state;
    struct scene scene;
    const uint8_t owned[2] = {0x0f};
    scene_init(&scene);
    seal_some(&scene);
    struct pst_sealed_reader *reader = reader_new(&scene, owned);
    bool refused = false;
    for (uint32_t i = 0; i < scene.stream.count; i++) {
        struct pst_capsule capsule = header_of(&scene.stream, i);
        bool theirs = capsule.kind == PST_CAPSULE_MARK || capsule.bucket < 4;
        if (!theirs)
            continue;
        assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                         PST_OK);
    }
    assert_true(pst_sealed_reader_ended(reader));
    pst_sealed_reader_free(reader);
    reader = reader_new(&scene, owned);
    for (uint32_t i = 0; i < scene.stream.count && !refused; i++)
        refused =
            pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why) == PST_EREFUSED;
    assert_non_null(strstr(scene.why, "is of a bucket that is not read here"));
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void time_is_that_of_the_slowest_producer(void **state)
{
    (void)state;
    struct scene scene;
    const uint64_t low = 0x3, high = 0xc;
    bool ended;
    scene_init(&scene);
    scene.edge.producer_bucket_count = 4;
    struct pst_sealed_writer *first = writer_new(&scene, 1, &low), *second = writer_new(&scene, 2, &high);
    assert_int_equal(pst_sealed_writer_mark(first, INT64_MIN, false, 0), PST_OK);
    add(&scene, first, 5, 0, 50);
    assert_int_equal(pst_sealed_writer_mark(first, 100, false, 0), PST_OK);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_int_equal(scene.rows, 0); /* the other half of the producer has said nothing yet */
    assert_int_equal(pst_sealed_writer_mark(second, INT64_MIN, false, 0), PST_OK);
    add(&scene, second, 7, 50, 50);
    assert_int_equal(pst_sealed_writer_mark(second, 8, false, 0), PST_OK);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_int_equal(scene.floor, 8);
    assert_int_equal(pst_sealed_writer_mark(first, 100, true, 50), PST_OK);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_false(ended);
    assert_int_equal(pst_sealed_writer_mark(second, 90, true, 50), PST_OK);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_true(ended);
    assert_int_equal(scene.rows, 100);
    pst_sealed_writer_free(first);
    pst_sealed_writer_free(second);
    scene_fini(&scene);
}

/* ---- what a host does, and what is said ---- */

static void expect_refused(struct scene *scene, const struct stream *stream, const char *sentence)
{
    bool ended;
    assert_int_equal(read_stream(scene, stream, &ended), PST_EREFUSED);
    if (strstr(scene->why, sentence) == NULL)
        fail_msg("`%s` does not say `%s`", scene->why, sentence);
}

/* The stream without capsule `i`. */
static struct stream without(const struct stream *stream, uint32_t i)
{
    struct stream cut = *stream;
    memmove(cut.bytes + i, cut.bytes + i + 1, (cut.count - i - 1) * sizeof *cut.bytes);
    memmove(cut.sizes + i, cut.sizes + i + 1, (cut.count - i - 1) * sizeof *cut.sizes);
    cut.count--;
    return cut;
}

static struct stream with(const struct stream *stream, uint32_t at, uint8_t *bytes, size_t size)
{
    struct stream more = *stream;
    memmove(more.bytes + at + 1, more.bytes + at, (more.count - at) * sizeof *more.bytes);
    memmove(more.sizes + at + 1, more.sizes + at, (more.count - at) * sizeof *more.sizes);
    more.bytes[at] = bytes;
    more.sizes[at] = size;
    more.count++;
    return more;
}

static void a_capsule_that_is_dropped_is_missed(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    for (uint32_t i = 0; i < scene.stream.count - 1; i++) {
        struct stream cut = without(&scene.stream, i);
        bool ended;
        assert_int_equal(read_stream(&scene, &cut, &ended), PST_EREFUSED);
        bool rows = header_of(&scene.stream, i).kind == PST_CAPSULE_ROWS;
        assert_int_equal(naive_rows(&scene, &cut) < 500, rows); /* the control does not miss it */
    }
    struct stream cut = without(&scene.stream, nth_of_kind(&scene.stream, PST_CAPSULE_ROWS, 0));
    expect_refused(&scene, &cut, "one was left out");
    scene_fini(&scene);
}

static void an_end_that_is_dropped_is_no_end(void **state)
{
    (void)state;
    struct scene scene;
    bool ended;
    scene_init(&scene);
    seal_some(&scene);
    struct stream cut = without(&scene.stream, scene.stream.count - 1);
    assert_int_equal(read_stream(&scene, &cut, &ended), PST_OK);
    assert_false(ended);
    scene_fini(&scene);
}

static void a_capsule_that_comes_twice_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    for (uint32_t i = 0; i < scene.stream.count; i++) {
        struct stream more = with(&scene.stream, i + 1, scene.stream.bytes[i], scene.stream.sizes[i]);
        bool ended;
        assert_int_equal(read_stream(&scene, &more, &ended), PST_EREFUSED);
        if (header_of(&scene.stream, i).kind == PST_CAPSULE_ROWS)
            assert_true(naive_rows(&scene, &more) > 500);
    }
    uint32_t first = nth_of_kind(&scene.stream, PST_CAPSULE_ROWS, 0);
    struct stream more =
        with(&scene.stream, scene.stream.count - 1, scene.stream.bytes[first], scene.stream.sizes[first]);
    expect_refused(&scene, &more, "comes a second time, or after later ones");
    scene_fini(&scene);
}

static void capsules_in_another_order_are_refused(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    for (uint32_t i = 0; i + 1 < scene.stream.count; i++) {
        struct stream other = scene.stream;
        bool ended;
        other.bytes[i] = scene.stream.bytes[i + 1];
        other.sizes[i] = scene.stream.sizes[i + 1];
        other.bytes[i + 1] = scene.stream.bytes[i];
        other.sizes[i + 1] = scene.stream.sizes[i];
        assert_int_equal(read_stream(&scene, &other, &ended), PST_EREFUSED);
        assert_int_equal(naive_rows(&scene, &other), 500);
    }
    scene_fini(&scene);
}

static void each_byte_that_is_changed_is_noticed(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    uint32_t places[] = {nth_of_kind(&scene.stream, PST_CAPSULE_ROWS, 1),
                         nth_of_kind(&scene.stream, PST_CAPSULE_MARK, 1)};
    for (uint32_t p = 0; p < 2; p++) {
        struct stream changed = scene.stream;
        size_t size = scene.stream.sizes[places[p]];
        uint8_t *copy = malloc(size);
        assert_non_null(copy);
        changed.bytes[places[p]] = copy;
        for (size_t byte = 0; byte < size; byte++) {
            bool ended;
            memcpy(copy, scene.stream.bytes[places[p]], size);
            copy[byte] ^= 0x10;
            int rc = read_stream(&scene, &changed, &ended);
            assert_true(rc == PST_EREFUSED || rc == PST_EABI);
        }
        free(copy);
    }
    scene_fini(&scene);
}

static void a_capsule_of_another_edge_does_not_open(void **state)
{
    (void)state;
    struct scene scene, other;
    scene_init(&scene);
    scene_init(&other);
    other.edge.name = "loads.0>other.0"; /* of the same number and shape */
    seal_some(&scene);
    seal_some(&other);
    struct stream swapped = scene.stream;
    uint32_t i = nth_of_kind(&scene.stream, PST_CAPSULE_ROWS, 2);
    assert_int_equal(other.stream.sizes[i], scene.stream.sizes[i]);
    swapped.bytes[i] = other.stream.bytes[i];
    expect_refused(&scene, &swapped, "does not open");
    assert_true(naive_rows(&scene, &swapped) < 500); /* nor for the control: the key is of the edge */
    scene_fini(&scene);
    scene_fini(&other);
}

static void a_capsule_of_another_time_is_refused(void **state)
{
    (void)state;
    struct scene scene, before;
    scene_init(&scene);
    scene_init(&before);
    seal_some(&scene);
    struct pst_sealed_writer *writer = writer_new(&before, 99, NULL); /* yesterday's, under the same user's key */
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    add(&before, writer, 0, 1000, 50);
    assert_int_equal(pst_sealed_writer_mark(writer, 20, false, 0), PST_OK);
    uint32_t rows = nth_of_kind(&before.stream, PST_CAPSULE_ROWS, 0);
    struct stream mixed = with(&scene.stream, 1, before.stream.bytes[rows], before.stream.sizes[rows]);
    expect_refused(&scene, &mixed, "is of a stream that has not begun here");
    assert_true(naive_rows(&scene, &mixed) > 500);
    mixed = with(&scene.stream, 1, before.stream.bytes[0], before.stream.sizes[0]);
    expect_refused(&scene, &mixed, "begins a stream where another one stands already");
    pst_sealed_writer_free(writer);
    before.stream_id = 1;
    writer = writer_new(&before, 98, NULL);
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    mixed = with(&scene.stream, 1, before.stream.bytes[before.stream.count - 1],
                 before.stream.sizes[before.stream.count - 1]);
    expect_refused(&scene, &mixed, "comes of another stream of the user's");
    pst_sealed_writer_free(writer);
    scene_fini(&scene);
    scene_fini(&before);
}

static void rows_that_wait_have_a_bound(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    struct pst_sealed_writer *writer = writer_new(&scene, 7, NULL);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    int rc = PST_OK;
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    for (uint32_t i = 0; i < 16; i++)
        add(&scene, writer, 0, 0, ROWS_MAX / 2);
    for (uint32_t i = 0; i < scene.stream.count && rc == PST_OK; i++)
        rc = pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why);
    assert_int_equal(rc, PST_EFULL);
    assert_non_null(strstr(scene.why, "give it a larger EPC"));
    pst_sealed_writer_free(writer);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

/* ---- a stream that was cut ---- */

/* Two batches are marked, and 60 rows behind them are sealed: then the writer is gone. *ret_from: how many rows are marked. */
static void seal_cut(struct scene *scene, uint32_t *ret_from)
{
    struct pst_sealed_writer *writer = writer_new(scene, 7, NULL);
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    add(scene, writer, 0, 0, 200);
    assert_int_equal(pst_sealed_writer_mark(writer, 20, false, 0), PST_OK);
    *ret_from = (uint32_t)scene->row_count;
    uint64_t sum = scene->value_sum;
    add(scene, writer, 20, 200, 200); /* 200: sealed, as a writer keeps 100 at most */
    scene->row_count = *ret_from;
    scene->value_sum = sum;
    pst_sealed_writer_free(writer);
}

static void position_of(struct scene *scene, struct pst_sealed_position *ret_position)
{
    struct pst_sealed_reader *reader = reader_new(scene, NULL);
    for (uint32_t i = 0; i < scene->stream.count; i++)
        assert_int_equal(pst_sealed_reader_take(reader, scene->stream.bytes[i], scene->stream.sizes[i], scene->why),
                         PST_OK);
    assert_true(pst_sealed_reader_position(reader, ret_position));
    pst_sealed_reader_free(reader);
}

static void go_on(struct scene *scene, const struct pst_sealed_position *position, uint8_t salt)
{
    struct pst_sealed_writer *writer = writer_new(scene, salt, NULL);
    assert_int_equal(pst_sealed_writer_continue(writer, position->salt, position->sequence), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(writer, position->watermark, false, 0), PST_OK);
    add(scene, writer, 20, 200, 300);
    assert_int_equal(pst_sealed_writer_mark(writer, 60, true, 60), PST_OK);
    pst_sealed_writer_free(writer);
}

static void a_stream_that_was_cut_goes_on_from_its_last_mark(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_sealed_position position;
    uint32_t marked;
    bool ended;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    position_of(&scene, &position);
    assert_int_equal(position.watermark, 20);
    assert_int_equal(position.stream[3], scene.stream_id);
    go_on(&scene, &position, 8);
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_true(ended);
    assert_int_equal(scene.rows, 500); /* what was sealed behind the mark came once: by the second session */
    assert_int_equal(scene.sum, scene.value_sum);
    assert_true(naive_rows(&scene, &scene.stream) > 500);
    scene_fini(&scene);
}

static void no_two_capsules_share_key_and_sequence(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_sealed_position position;
    uint32_t marked;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    position_of(&scene, &position);
    go_on(&scene, &position, 8);
    for (uint32_t i = 0; i < scene.stream.count; i++)
        for (uint32_t k = 0; k < i; k++) {
            struct pst_capsule a = header_of(&scene.stream, i), b = header_of(&scene.stream, k);
            assert_true(memcmp(a.salt, b.salt, sizeof a.salt) != 0 || a.sequence != b.sequence);
        }
    scene_fini(&scene);
}

static void a_stream_goes_on_from_no_other_mark_and_only_once(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_sealed_position position, wrong;
    uint32_t marked;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    position_of(&scene, &position);
    struct stream cut = scene.stream;
    wrong = position;
    wrong.sequence = 0; /* the first mark */
    go_on(&scene, &wrong, 8);
    expect_refused(&scene, &scene.stream, "does not go on where the stream was cut");
    for (uint32_t i = cut.count; i < scene.stream.count; i++)
        free(scene.stream.bytes[i]);
    scene.stream = cut;
    go_on(&scene, &position, 9);
    go_on(&scene, &position, 10); /* somebody has gone on from the same copy */
    expect_refused(&scene, &scene.stream, "does not go on where the stream was cut");
    scene_fini(&scene);
}

/* The `n`-th session, from 1 on: 200 rows are marked, 200 behind them are sealed, and it is cut there, or all are marked and it ends. */
static void go_on_and_cut(struct scene *scene, uint32_t n, bool ends)
{
    struct pst_sealed_position position;
    position_of(scene, &position);
    assert_int_equal(position.watermark, 20 * n);
    struct pst_sealed_writer *writer = writer_new(scene, (uint8_t)(7 + n), NULL);
    assert_int_equal(pst_sealed_writer_continue(writer, position.salt, position.sequence), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(writer, position.watermark, false, 0), PST_OK);
    add(scene, writer, 20 * n, 200 * n, 200);
    assert_int_equal(pst_sealed_writer_mark(writer, 20 * (n + 1), ends, 20 * (n + 1)), PST_OK);
    uint64_t rows = scene->row_count, sum = scene->value_sum;
    if (!ends)
        add(scene, writer, 20 * (n + 1), 200 * (n + 1), 200);
    scene->row_count = rows;
    scene->value_sum = sum;
    pst_sealed_writer_free(writer);
}

enum { CUTS = 20, KNOWN = 16 }; /* KNOWN: sessions that a reader of one producer's bucket knows at once */

static void a_stream_may_be_cut_as_often_as_it_likes(void **state)
{
    (void)state;
    struct scene scene;
    uint32_t marked, begins[CUTS + 1] = {0};
    bool ended;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    for (uint32_t n = 1; n <= CUTS; n++) {
        begins[n] = scene.stream.count;
        go_on_and_cut(&scene, n, n == CUTS);
    }
    assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
    assert_true(ended);
    assert_int_equal(scene.rows, 200 * (CUTS + 1));
    assert_int_equal(scene.row_count, 200 * (CUTS + 1));
    assert_int_equal(scene.sum, scene.value_sum);

    struct pst_sealed_position position; /* which takes all of it, and no row: they wait */
    position_of(&scene, &position);
    assert_true(position.ended);

    /* The first sessions are forgotten, and none comes back. */
    for (uint32_t n = 1; n <= CUTS; n++) {
        uint32_t at = begins[n] + 1;
        bool known = n < KNOWN;
        struct stream more = with(&scene.stream, at, scene.stream.bytes[1], scene.stream.sizes[1]);
        expect_refused(&scene, &more, known ? "is of a stream that is over" : "is of a stream that has not begun here");
        more = with(&scene.stream, at, scene.stream.bytes[0], scene.stream.sizes[0]);
        expect_refused(&scene, &more, known ? "is of a stream that is over" : "where another one stands already");
        if (n <= KNOWN)
            continue;
        uint32_t before = begins[n - KNOWN]; /* went on from a session that is forgotten, and is itself */
        more = with(&scene.stream, at, scene.stream.bytes[before], scene.stream.sizes[before]);
        expect_refused(&scene, &more, "does not go on where the stream was cut");
    }
    scene_fini(&scene);
}

/* ---- keys, releases, layout, memory ---- */

static void a_writer_takes_rows_between_its_marks_alone(void **state)
{
    (void)state;
    struct scene scene;
    const int64_t time = 1;
    const uint64_t hash = 1;
    const void *columns[] = {"abcd", "efghijkl"};
    scene_init(&scene);
    struct pst_sealed_writer *writer = writer_new(&scene, 7, NULL);
    assert_int_equal(pst_sealed_writer_add(writer, 1, &time, &hash, columns), PST_EINVAL);
    assert_int_equal(pst_sealed_writer_mark(writer, 5, false, 0), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(writer, 4, false, 0), PST_EINVAL);
    assert_int_equal(pst_sealed_writer_mark(writer, 6, true, 6), PST_OK);
    assert_int_equal(pst_sealed_writer_add(writer, 1, &time, &hash, columns), PST_EINVAL);
    assert_int_equal(pst_sealed_writer_mark(writer, 7, false, 0), PST_EINVAL);
    pst_sealed_writer_free(writer);
    scene_fini(&scene);
}

static void another_users_key_opens_nothing(void **state)
{
    (void)state;
    struct scene scene;
    const uint8_t user[32] = {1, 2, 4}, graph[32] = {9};
    uint8_t root[32];
    scene_init(&scene);
    seal_some(&scene);
    assert_int_equal(pst_sealed_root(user, graph, root), PST_OK);
    assert_int_equal(pst_sealed_keys_init(&scene.keys, root), PST_OK);
    expect_refused(&scene, &scene.stream, "does not open");
    scene_fini(&scene);
}

static void buckets_depend_on_the_graphs_key(void **state)
{
    (void)state;
    const uint8_t user[32] = {5}, one[32] = {1}, two[32] = {2};
    uint8_t root[32];
    struct pst_sealed_keys first, second;
    const uint64_t house = 17;
    assert_int_equal(pst_sealed_root(user, one, root), PST_OK);
    assert_int_equal(pst_sealed_keys_init(&first, root), PST_OK);
    assert_int_equal(pst_sealed_root(user, two, root), PST_OK);
    assert_int_equal(pst_sealed_keys_init(&second, root), PST_OK);
    const struct pst_hash_key zero = {0};
    uint64_t a = pst_hash(&first.hash, &house, sizeof house), b = pst_hash(&second.hash, &house, sizeof house);
    assert_true(a != b && a != pst_hash(&zero, &house, sizeof house));
}

static void a_release_opens_for_its_worker_alone(void **state)
{
    (void)state;
    const uint8_t root[32] = {42}, graph[32] = {7}, own[32] = {3}, evidence[32] = {8};
    uint8_t worker[32] = {1, 1}, other[32] = {1, 2}, public[32], release[PST_RELEASE_BYTES], got[32];
    assert_int_equal(pst_channel_key_public(worker, public), PST_OK);
    assert_int_equal(pst_release_seal(root, graph, own, public, evidence, release), PST_OK);
    assert_int_equal(pst_release_open(release, sizeof release, graph, worker, got), PST_OK);
    assert_memory_equal(got, root, sizeof root);
    assert_int_equal(pst_release_open(release, sizeof release, graph, other, got), PST_EREFUSED);
    assert_int_equal(pst_release_open(release, sizeof release, evidence, worker, got),
                     PST_EREFUSED); /* another graph */
    assert_int_equal(pst_release_open(release, sizeof release - 1, graph, worker, got), PST_EREFUSED);
    for (size_t i = 0; i < sizeof release; i++) {
        release[i] ^= 1;
        int rc = pst_release_open(release, sizeof release, graph, worker, got);
        release[i] ^= 1;
        assert_int_equal(rc, PST_EREFUSED);
    }
    uint8_t nobody[32] = {0};
    assert_int_equal(pst_release_seal(root, graph, own, nobody, evidence, release), PST_EDATA);
}

/* The bytes of a stream are a format: with this key and salt they are these for ever. */
static void the_layout_is_frozen(void **state)
{
    (void)state;
    struct scene scene;
    static const uint8_t wanted[32] = {0x8b, 0x9d, 0xc7, 0xfc, 0x2f, 0x06, 0xc4, 0xe4, 0x7f, 0x96, 0x60,
                                       0xa7, 0x37, 0xce, 0x39, 0x8f, 0x0d, 0x27, 0x42, 0xe7, 0x94, 0xec,
                                       0x6e, 0xec, 0x98, 0x06, 0x22, 0xca, 0x5c, 0x12, 0x95, 0x9a};
    uint8_t all[65536], digest[32];
    size_t count = 0;
    scene_init(&scene);
    seal_some(&scene);
    for (uint32_t i = 0; i < scene.stream.count; i++) {
        memcpy(all + count, scene.stream.bytes[i], scene.stream.sizes[i]);
        count += scene.stream.sizes[i];
    }
    assert_int_equal(pst_sealed_digest(all, count, digest), PST_OK);
    assert_memory_equal(digest, wanted, sizeof wanted);
    scene_fini(&scene);
}

static int seal_and_read(struct scene *scene)
{
    struct pst_sealed_writer *writer = NULL;
    struct pst_sealed_reader *reader = NULL;
    static int64_t times[100];
    static uint64_t hashes[100], values[100];
    static uint32_t keys[100];
    const void *columns[] = {keys, values};
    struct pst_sealed_writer_settings settings = {
        .keys = &scene->keys, .edge = &scene->edge, .rows_max = 100, .emit = keep, .emitter = &scene->stream};
    int rc = pst_sealed_writer_new(&settings, &writer);
    if (rc == PST_OK)
        rc = pst_sealed_writer_mark(writer, 0, false, 0);
    if (rc == PST_OK)
        rc = pst_sealed_writer_add(writer, 100, times, hashes, columns);
    if (rc == PST_OK)
        rc = pst_sealed_writer_mark(writer, 1, true, 1);
    pst_sealed_writer_free(writer);
    if (rc == PST_OK)
        rc = pst_sealed_reader_new(
            &(struct pst_sealed_reader_settings){
                .keys = &scene->keys, .edge = &scene->edge, .held_bytes_max = 1 << 20, .frame_rows = 64},
            &reader);
    for (uint32_t i = 0; rc == PST_OK && i < scene->stream.count; i++)
        rc = pst_sealed_reader_take(reader, scene->stream.bytes[i], scene->stream.sizes[i], scene->why);
    pst_sealed_reader_free(reader);
    return rc;
}

/* ---- on in another process ---- */

/* Takes capsules from..to, and the rows below `limit` and the marks. */
static void read_some(struct scene *scene, struct pst_sealed_reader *reader, uint32_t from, uint32_t to, int64_t limit)
{
    for (uint32_t i = from; i < to; i++)
        assert_int_equal(pst_sealed_reader_take(reader, scene->stream.bytes[i], scene->stream.sizes[i], scene->why),
                         PST_OK);
    int64_t watermark = pst_sealed_reader_watermark(reader);
    scene->limit = limit < watermark ? limit : watermark;
    assert_int_equal(pst_sealed_reader_rows(reader, scene->limit, take, scene), PST_OK);
    scene->floor = scene->limit;
}

static struct pst_sealed_reader *saved_and_loaded(struct scene *scene, struct pst_sealed_reader *reader)
{
    struct pst_text saved = {0};
    size_t used;
    assert_int_equal(pst_sealed_reader_save(reader, &saved), PST_OK);
    pst_sealed_reader_free(reader);
    for (size_t bytes = 0; bytes < saved.count; bytes += 1 + saved.count / 200) { /* it is whole, or it is none */
        struct pst_sealed_reader *other = reader_new(scene, NULL);
        assert_int_equal(pst_sealed_reader_load(other, (const uint8_t *)saved.bytes, bytes, NULL, &used), PST_EDATA);
        pst_sealed_reader_free(other);
    }
    reader = reader_new(scene, NULL);
    assert_int_equal(pst_sealed_reader_load(reader, (const uint8_t *)saved.bytes, saved.count, NULL, &used), PST_OK);
    assert_int_equal(used, saved.count);
    pst_text_fini(&saved);
    return reader;
}

static void a_reader_that_was_saved_goes_on_where_it_was(void **state)
{
    (void)state;
    for (int64_t limit = 15; limit <= 40; limit += 5) {
        struct scene scene;
        scene_init(&scene);
        seal_some(&scene);
        uint32_t cut = nth_of_kind(&scene.stream, PST_CAPSULE_MARK, 2) + 1; /* the mark that reaches 40 */
        struct pst_sealed_reader *reader = reader_new(&scene, NULL);
        scene.floor = INT64_MIN;
        read_some(&scene, reader, 0, cut, limit);
        reader = saved_and_loaded(&scene, reader);
        assert_int_equal(pst_sealed_reader_watermark(reader), 40);
        read_some(&scene, reader, 0, scene.stream.count, INT64_MAX); /* what it has had comes again */
        assert_true(pst_sealed_reader_ended(reader));
        assert_int_equal(scene.rows, 500);
        assert_int_equal(scene.sum, scene.value_sum);
        pst_sealed_reader_free(reader);
        scene_fini(&scene);
    }
}

static void what_comes_again_behind_a_cut_is_left_out_until_something_new_comes(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    seal_some(&scene);
    uint32_t cut = nth_of_kind(&scene.stream, PST_CAPSULE_MARK, 1) + 1;
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    read_some(&scene, reader, 0, cut, INT64_MAX);
    reader = saved_and_loaded(&scene, reader);
    assert_int_equal(
        pst_sealed_reader_take(reader, scene.stream.bytes[cut - 1], scene.stream.sizes[cut - 1], scene.why), PST_OK);
    assert_int_equal(
        pst_sealed_reader_take(reader, scene.stream.bytes[cut + 1], scene.stream.sizes[cut + 1], scene.why),
        PST_OK); /* another bucket's: which is missing shows with the mark */
    assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[cut], scene.stream.sizes[cut], scene.why),
                     PST_EREFUSED);
    assert_non_null(strstr(scene.why, "comes a second time, or after later ones"));
    pst_sealed_reader_free(reader);

    reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    read_some(&scene, reader, 0, cut, INT64_MAX);
    reader = saved_and_loaded(&scene, reader);
    assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[cut], scene.stream.sizes[cut], scene.why),
                     PST_OK);
    assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[0], scene.stream.sizes[0], scene.why),
                     PST_EREFUSED); /* and now nothing more */
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void what_comes_again_may_be_of_sessions_that_are_over(void **state)
{
    (void)state;
    struct scene scene;
    uint32_t marked;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    for (uint32_t n = 1; n <= 5; n++)
        go_on_and_cut(&scene, n, false);
    uint32_t cut = scene.stream.count;
    go_on_and_cut(&scene, 6, true);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    read_some(&scene, reader, 0, cut, INT64_MAX);
    reader = saved_and_loaded(&scene, reader);
    read_some(&scene, reader, 0, scene.stream.count, INT64_MAX); /* all of it comes again */
    assert_true(pst_sealed_reader_ended(reader));
    assert_int_equal(scene.rows, 200 * 7);
    assert_int_equal(scene.sum, scene.value_sum);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void rows_of_sessions_that_are_forgotten_wait_and_are_saved(void **state)
{
    (void)state;
    struct scene scene;
    uint32_t marked;
    scene_init(&scene);
    seal_cut(&scene, &marked);
    for (uint32_t n = 1; n <= CUTS; n++)
        go_on_and_cut(&scene, n, n == CUTS);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    read_some(&scene, reader, 0, scene.stream.count, 7); /* all others wait, of each session */
    assert_int_equal(scene.rows, 70);
    reader = saved_and_loaded(&scene, reader);
    read_some(&scene, reader, 0, 0, INT64_MAX);
    assert_true(pst_sealed_reader_ended(reader));
    assert_int_equal(scene.rows, 200 * (CUTS + 1));
    assert_int_equal(scene.sum, scene.value_sum);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

/* ---- buckets that others go on with ---- */

enum { PARTS = 4 }; /* buckets of the producer */

static struct pst_sealed_writer *part_new(struct scene *scene, uint8_t salt, uint64_t cover)
{
    const uint64_t words[PST_SEALED_COVER_WORDS] = {cover};
    return writer_new(scene, salt, words);
}

/* Of sessions by their salts, each at its last mark. */
static void part_goes_on(struct scene *scene, uint8_t salt, uint64_t cover, const uint8_t *from, uint32_t from_count,
                         uint64_t sequence, bool ends)
{
    struct pst_sealed_writer *writer = part_new(scene, salt, cover);
    for (uint32_t i = 0; i < from_count; i++) {
        uint8_t before[PST_CAPSULE_SALT_BYTES];
        memset(before, from[i], sizeof before);
        assert_int_equal(pst_sealed_writer_continue(writer, before, sequence), PST_OK);
    }
    assert_int_equal(pst_sealed_writer_mark(writer, 30, false, 0), PST_OK);
    if (ends) {
        add(scene, writer, 30, 1000 * salt, 100);
        assert_int_equal(pst_sealed_writer_mark(writer, 60, true, 60), PST_OK);
    }
    pst_sealed_writer_free(writer);
}

/* Two sessions, of two buckets each, at the mark of 30. ret_sequence: of both's. */
static void parts_begin(struct scene *scene, uint64_t *ret_sequence)
{
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    scene_init(scene);
    scene->edge.producer_bucket_count = PARTS;
    for (uint8_t i = 1; i <= 2; i++) {
        struct pst_sealed_writer *writer = part_new(scene, i, i == 1 ? 3 : 12);
        assert_int_equal(pst_sealed_writer_mark(writer, INT64_MIN, false, 0), PST_OK);
        add(scene, writer, 20, 0, 100);
        assert_int_equal(pst_sealed_writer_mark(writer, 30, false, 0), PST_OK);
        pst_sealed_writer_marked(writer, salt, ret_sequence);
        pst_sealed_writer_free(writer);
    }
}

static void each_bucket_of_a_session_is_gone_on_with_once(void **state)
{
    (void)state;
    static const uint8_t both[] = {1, 2}, turned[] = {2, 1}, twice[] = {1, 1}, unknown[] = {1, 9};
    static const struct {
        uint64_t cover;
        const uint8_t *from;
        uint32_t from_count;
        uint64_t beyond;
        const char *why; /* NULL: a control */
    } tries[] = {
        {3, both, 1, 0, NULL},
        {1, both, 1, 0, NULL},
        {6, both, 2, 0, NULL},
        {6, turned, 2, 0, NULL},
        {15, turned, 2, 0, NULL},
        {6, both, 1, 0, "goes on from another operator's"},
        {12, both, 1, 0, "goes on from another operator's"},
        {1, both, 2, 0, "goes on from another operator's"},
        {3, twice, 2, 0, "goes on from another operator's"},
        {6, unknown, 2, 0, "does not go on where the stream was cut"},
        {6, both, 2, 1, "does not go on where the stream was cut"},
        {0x16, both, 2, 0, "begins a stream of nobody's"},
    };
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        struct scene scene;
        uint64_t sequence;
        bool ended;
        parts_begin(&scene, &sequence);
        if ((tries[i].cover & 0x10) != 0)
            scene.edge.producer_bucket_count = PARTS + 1; /* of the writer: it seals what the reader has not */
        part_goes_on(&scene, 3, tries[i].cover, tries[i].from, tries[i].from_count, sequence + tries[i].beyond, false);
        scene.edge.producer_bucket_count = PARTS;
        if (tries[i].why != NULL)
            expect_refused(&scene, &scene.stream, tries[i].why);
        else
            assert_int_equal(read_stream(&scene, &scene.stream, &ended), PST_OK);
        scene_fini(&scene);
    }
}

static void a_session_of_which_some_buckets_are_gone_on_with_holds_time(void **state)
{
    (void)state;
    static const uint8_t both[] = {1, 2};
    struct scene scene;
    uint64_t sequence;
    parts_begin(&scene, &sequence);
    part_goes_on(&scene, 3, 6, both, 2, sequence, true);
    part_goes_on(&scene, 4, 1, both, 1, sequence, true);
    uint32_t three = scene.stream.count;
    part_goes_on(&scene, 5, 8, both + 1, 1, sequence, true);
    struct pst_sealed_reader *reader = reader_new(&scene, NULL);
    scene.floor = INT64_MIN;
    for (uint32_t i = 0; i < scene.stream.count; i++) {
        assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                         PST_OK);
        if (i + 1 == three) {
            assert_int_equal(pst_sealed_reader_watermark(reader), 30);
            assert_false(pst_sealed_reader_ended(reader));
            reader = saved_and_loaded(&scene, reader);
            assert_int_equal(pst_sealed_reader_watermark(reader), 30);
        }
    }
    assert_true(pst_sealed_reader_ended(reader));
    read_some(&scene, reader, 0, 0, INT64_MAX);
    assert_int_equal(scene.rows, scene.row_count);
    assert_int_equal(scene.sum, scene.value_sum);
    pst_sealed_reader_free(reader);
    scene_fini(&scene);
}

static void a_session_goes_on_from_as_many_as_a_mark_names(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    scene.edge.producer_bucket_count = PST_SEALED_BUCKETS_MAX;
    struct pst_sealed_writer *writer = writer_new(&scene, 1, NULL);
    uint8_t salt[PST_CAPSULE_SALT_BYTES] = {0};
    for (uint32_t i = 0; i < PST_SEALED_ORIGINS_MAX; i++)
        assert_int_equal(pst_sealed_writer_continue(writer, salt, i), PST_OK);
    assert_int_equal(pst_sealed_writer_continue(writer, salt, 0), PST_EFULL);
    assert_int_equal(pst_sealed_writer_mark(writer, 0, false, 0), PST_OK);
    expect_refused(&scene, &scene.stream, "does not go on where the stream was cut");
    pst_sealed_writer_free(writer);
    scene_fini(&scene);
}

/* What a reader of these buckets knows after so many of all capsules that are its own. */
static void saved_after(struct scene *scene, const uint8_t *owned, uint32_t count, struct pst_text *ret_saved)
{
    struct pst_sealed_reader *reader = reader_new(scene, owned);
    for (uint32_t i = 0; i < count; i++) {
        struct pst_capsule capsule = header_of(&scene->stream, i);
        if (capsule.kind == PST_CAPSULE_ROWS && owned != NULL && (owned[0] >> capsule.bucket & 1) == 0)
            continue;
        assert_int_equal(pst_sealed_reader_take(reader, scene->stream.bytes[i], scene->stream.sizes[i], scene->why),
                         PST_OK);
    }
    assert_int_equal(pst_sealed_reader_save(reader, ret_saved), PST_OK);
    pst_sealed_reader_free(reader);
}

static void what_several_readers_knew_is_put_together_where_they_were_at_one_mark(void **state)
{
    (void)state;
    static const uint8_t even[] = {0x55}, odd[] = {0xaa}, middle[] = {0x3c}, middle_even[] = {0x14},
                         middle_odd[] = {0x28};
    static_assert(BUCKETS == 8, "a byte has them");
    for (int with = 0; with < 5; with++) { /* 0: the control */
        struct scene scene, other;
        struct pst_text one = {0}, two = {0};
        uint64_t sequence;
        size_t used;
        parts_begin(&scene, &sequence);
        uint32_t at = scene.stream.count;
        parts_begin(&other, &sequence);
        if (with == 1) /* it has had a capsule more */
            part_goes_on(&scene, 3, 3, (const uint8_t[]){1}, 1, sequence, true);
        if (with == 2) { /* it stands at the mark before */
            while (header_of(&scene.stream, at - 1).kind == PST_CAPSULE_ROWS)
                at--;
            at--;
        }
        if (with == 3) { /* others of the same edge */
            scene_fini(&other);
            scene_init(&other);
            other.edge.producer_bucket_count = PARTS;
            for (uint8_t i = 4; i <= 5; i++) {
                struct pst_sealed_writer *writer = part_new(&other, i, i == 4 ? 3 : 12);
                assert_int_equal(pst_sealed_writer_mark(writer, 30, false, 0), PST_OK);
                pst_sealed_writer_free(writer);
            }
        }
        if (with == 4) { /* less of them */
            while (at > 1 && header_of(&scene.stream, at - 1).salt[0] == 2)
                at--;
        }
        saved_after(with == 3 ? &other : &scene, even,
                    with == 3   ? other.stream.count
                    : with == 1 ? scene.stream.count
                                : at,
                    &one);
        at = other.stream.count; /* all of the two sessions */
        saved_after(with == 3 ? &scene : &other, odd, with == 3 ? scene.stream.count : at, &two);
        for (int first = 0; first < 2; first++) {
            struct pst_sealed_reader *reader = reader_new(&scene, middle);
            const struct pst_text *saved[] = {first == 0 ? &one : &two, first == 0 ? &two : &one};
            int rc = pst_sealed_reader_load(reader, (const uint8_t *)saved[0]->bytes, saved[0]->count,
                                            first == 0 ? middle_even : middle_odd, &used);
            assert_int_equal(rc, PST_OK);
            rc = pst_sealed_reader_load(reader, (const uint8_t *)saved[1]->bytes, saved[1]->count,
                                        first == 0 ? middle_odd : middle_even, &used);
            assert_int_equal(rc, with == 0 ? PST_OK : PST_EREFUSED);
            if (with == 0) {
                struct pst_sealed_reader *alone = reader_new(&scene, middle);
                scene.floor = INT64_MIN;
                scene.rows = scene.sum = 0;
                for (uint32_t i = 0; i < scene.stream.count; i++) {
                    struct pst_capsule capsule = header_of(&scene.stream, i);
                    if (capsule.kind == PST_CAPSULE_MARK || (middle[0] >> capsule.bucket & 1) != 0)
                        assert_int_equal(
                            pst_sealed_reader_take(alone, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                            PST_OK);
                }
                read_some(&scene, alone, 0, 0, 30);
                uint64_t rows = scene.rows, sum = scene.sum;
                assert_true(rows > 10);
                scene.rows = scene.sum = 0;
                scene.floor = INT64_MIN;
                read_some(&scene, reader, 0, 0, 30);
                assert_int_equal(scene.rows, rows);
                assert_int_equal(scene.sum, sum);
                pst_sealed_reader_free(alone);
            }
            pst_sealed_reader_free(reader);
        }
        pst_text_fini(&one);
        pst_text_fini(&two);
        scene_fini(&scene);
        scene_fini(&other);
    }
}

static int take_count(void *taker, uint32_t row_count, void *const *parts)
{
    struct scene *scene = taker;
    (void)parts;
    scene->rows += row_count;
    return PST_OK;
}

/* Of an edge without a key each has had all of it: one of them counts, and what the others say is compared. */
static void of_an_edge_without_a_key_all_readers_know_the_same(void **state)
{
    (void)state;
    static const uint8_t first[] = {1}, later[] = {0};
    for (int changed = 1; changed >= 0; changed--) { /* 0: the control */
        struct scene scene;
        struct pst_text saved = {0};
        uint64_t count;
        size_t used;
        scene_init(&scene);
        scene.edge.keyed = false;
        scene.edge.bucket_count = 1;
        scene.edge.part_count = 3;
        scene.edge.part_bytes[1] = 4;
        scene.edge.part_bytes[2] = 8;
        seal_some(&scene);
        saved_after(&scene, NULL, nth_of_kind(&scene.stream, PST_CAPSULE_MARK, 1) + 1, &saved);
        struct pst_sealed_reader *reader = reader_new(&scene, NULL);
        assert_int_equal(pst_sealed_reader_load(reader, (const uint8_t *)saved.bytes, saved.count, first, &used),
                         PST_OK);
        memcpy(&count, saved.bytes + 40 + 80 + 8, sizeof count); /* head, session, cover */
        assert_true(count != 0);
        count += (uint64_t)changed;
        memcpy(saved.bytes + 40 + 80 + 8, &count, sizeof count);
        assert_int_equal(pst_sealed_reader_load(reader, (const uint8_t *)saved.bytes, saved.count, later, &used),
                         changed != 0 ? PST_EREFUSED : PST_OK);
        for (uint32_t i = 0; i < scene.stream.count && changed == 0; i++)
            assert_int_equal(pst_sealed_reader_take(reader, scene.stream.bytes[i], scene.stream.sizes[i], scene.why),
                             PST_OK);
        if (changed == 0) {
            assert_int_equal(pst_sealed_reader_rows(reader, INT64_MAX, take_count, &scene), PST_OK);
            assert_int_equal(scene.rows, scene.row_count);
        }
        pst_sealed_reader_free(reader);
        pst_text_fini(&saved);
        scene_fini(&scene);
    }
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    int rc = PST_ENOMEM;
    for (uint64_t n = 1; rc == PST_ENOMEM && n < 100; n++) {
        struct scene scene;
        scene_init(&scene);
        pst_malloc_fail_at(n);
        rc = seal_and_read(&scene);
        pst_malloc_fail_at(0);
        assert_true(rc == PST_OK || rc == PST_ENOMEM);
        scene_fini(&scene);
    }
    assert_int_equal(rc, PST_OK);
}

/* ---- many rows of one capsule ---- */

enum { MANY = 2000, MANY_EACH = 700, MANY_FRAME = 600 };

struct many {
    struct pst_sealed_reader *reader;
    uint32_t given;
};

static int many_hand_over(void *emitter, const void *bytes, size_t byte_count)
{
    const struct many *many = emitter;
    char why[PST_SEALED_WHY_BYTES];
    return pst_sealed_reader_take(many->reader, bytes, byte_count, why);
}

static int many_take(void *taker, uint32_t row_count, void *const *parts)
{
    struct many *many = taker;
    const int64_t *time = parts[0];
    const uint32_t *number = parts[1];
    assert_in_range(row_count, 1, MANY_FRAME);
    for (uint32_t i = 0; i < row_count; i++, many->given++) {
        assert_int_equal(number[i], many->given);
        assert_int_equal(time[i], many->given / MANY_EACH);
    }
    return PST_OK;
}

static void many_rows_of_a_capsule_are_given_once_each_in_frames(void **state)
{
    (void)state;
    const uint8_t root[32] = {1};
    const struct pst_sealed_edge edge = {
        .name = "a.0>b.0", .producer_bucket_count = 1, .bucket_count = 1, .part_count = 2, .part_bytes = {8, 4}};
    struct pst_sealed_keys keys;
    struct many many = {0};
    struct pst_sealed_writer *writer = NULL;
    static int64_t time[MANY];
    static uint32_t number[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        number[i] = i;
        time[i] = i / MANY_EACH;
    }
    const void *columns[] = {number};
    assert_int_equal(pst_sealed_keys_init(&keys, root), PST_OK);
    const struct pst_sealed_writer_settings writes = {
        .keys = &keys, .edge = &edge, .rows_max = MANY, .emit = many_hand_over, .emitter = &many};
    const struct pst_sealed_reader_settings reads = {
        .keys = &keys, .edge = &edge, .held_bytes_max = 1 << 20, .frame_rows = MANY_FRAME};
    assert_int_equal(pst_sealed_reader_new(&reads, &many.reader), PST_OK);
    assert_int_equal(pst_sealed_writer_new(&writes, &writer), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(writer, INT64_MIN, false, 0), PST_OK);
    assert_int_equal(pst_sealed_writer_add(writer, MANY, time, NULL, columns), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(writer, 3, false, 0), PST_OK);
    for (int64_t t = 1; t <= 3; t++) {
        assert_int_equal(pst_sealed_reader_first(many.reader), t - 1);
        assert_int_equal(pst_sealed_reader_rows(many.reader, t, many_take, &many), PST_OK);
        assert_int_equal(many.given, t < 3 ? t * MANY_EACH : MANY);
    }
    assert_int_equal(pst_sealed_reader_first(many.reader), INT64_MAX);
    pst_sealed_writer_free(writer);
    pst_sealed_reader_free(many.reader);
    pst_sealed_keys_fini(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_out_once_each_and_below_the_mark),
        cmocka_unit_test(rows_of_one_capsule_may_be_in_any_order),
        cmocka_unit_test(a_time_that_has_been_passed_gives_nothing_again),
        cmocka_unit_test(nothing_comes_out_before_a_mark_has_counted_it),
        cmocka_unit_test(a_reader_of_some_buckets_takes_theirs_alone),
        cmocka_unit_test(time_is_that_of_the_slowest_producer),
        cmocka_unit_test(a_capsule_that_is_dropped_is_missed),
        cmocka_unit_test(an_end_that_is_dropped_is_no_end),
        cmocka_unit_test(a_capsule_that_comes_twice_is_refused),
        cmocka_unit_test(capsules_in_another_order_are_refused),
        cmocka_unit_test(each_byte_that_is_changed_is_noticed),
        cmocka_unit_test(a_capsule_of_another_edge_does_not_open),
        cmocka_unit_test(a_capsule_of_another_time_is_refused),
        cmocka_unit_test(rows_that_wait_have_a_bound),
        cmocka_unit_test(a_stream_that_was_cut_goes_on_from_its_last_mark),
        cmocka_unit_test(no_two_capsules_share_key_and_sequence),
        cmocka_unit_test(a_stream_goes_on_from_no_other_mark_and_only_once),
        cmocka_unit_test(a_stream_may_be_cut_as_often_as_it_likes),
        cmocka_unit_test(a_writer_takes_rows_between_its_marks_alone),
        cmocka_unit_test(another_users_key_opens_nothing),
        cmocka_unit_test(buckets_depend_on_the_graphs_key),
        cmocka_unit_test(a_release_opens_for_its_worker_alone),
        cmocka_unit_test(the_layout_is_frozen),
        cmocka_unit_test(a_reader_that_was_saved_goes_on_where_it_was),
        cmocka_unit_test(what_comes_again_behind_a_cut_is_left_out_until_something_new_comes),
        cmocka_unit_test(what_comes_again_may_be_of_sessions_that_are_over),
        cmocka_unit_test(rows_of_sessions_that_are_forgotten_wait_and_are_saved),
        cmocka_unit_test(many_rows_of_a_capsule_are_given_once_each_in_frames),
        cmocka_unit_test(each_bucket_of_a_session_is_gone_on_with_once),
        cmocka_unit_test(a_session_of_which_some_buckets_are_gone_on_with_holds_time),
        cmocka_unit_test(a_session_goes_on_from_as_many_as_a_mark_names),
        cmocka_unit_test(what_several_readers_knew_is_put_together_where_they_were_at_one_mark),
        cmocka_unit_test(of_an_edge_without_a_key_all_readers_know_the_same),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
