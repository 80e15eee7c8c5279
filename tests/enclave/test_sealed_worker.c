/* test_sealed_worker.c - a worker whose rows come and go sealed, and whose host says how far event time is: what it keeps, what it works off, and
 * what its images are. Without a process. */
#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/inside.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { HELD_BYTES = 64 * 1024, ROWS_AT_ONCE = 500, PIECES_MAX = 64, CHECKPOINT = 1 };

struct piece {
    struct pst_message message;
    uint8_t bytes[PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MAX];
};

struct scene { /* one user, one worker after the other */
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_enclave_sealing sealing;
    struct pst_enclave_sealed_output out;
    struct pst_sealed_keys keys;
    struct pst_sealed_edge in_edge, out_edge;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    struct pst_sealed_writer *writer;
    struct pst_sealed_reader *reader; /* of what it puts out */
    uint64_t sum;                     /* of that */
    uint32_t marks;                   /* among that */
    bool unpaced, there;              /* nobody tells it times; its host says that more is there */
    /* the worker */
    struct pst_secret *room;
    struct pst_inside_sealed *sealed;
    struct pst_inside *inside;
    uint8_t salts[1][32];
    int error;        /* of what it was handed last */
    uint32_t answers; /* DONE */
    /* its image */
    struct piece pieces[PIECES_MAX];
    uint32_t piece_count;
    bool imaged;
    int image_error;
};

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *scene = emitter;
    static uint8_t body[PST_BODY_BYTES_MAX];
    struct pst_capsule capsule;
    char why[PST_SEALED_WHY_BYTES];
    uint32_t count = pst_pieces_write(pieces, piece_count, body);
    if (message->kind == PST_MESSAGE_PIECE) {
        assert_true(scene->piece_count < PIECES_MAX);
        struct piece *piece = &scene->pieces[scene->piece_count++];
        piece->message = *message;
        piece->message.body_bytes = PST_PIECE_INCARNATION_BYTES + count;
        memcpy(piece->bytes + PST_PIECE_INCARNATION_BYTES, body, count);
    } else if (message->kind == PST_MESSAGE_IMAGED) {
        scene->imaged = true;
        scene->image_error = message->error;
        for (uint32_t i = 0; i < scene->piece_count; i++)
            memcpy(scene->pieces[i].bytes, body, PST_PIECE_INCARNATION_BYTES);
    } else if (message->kind == PST_MESSAGE_CAPSULES) {
        for (uint32_t at = 0; at < count; at += (uint32_t)pst_capsule_bytes(&capsule)) {
            assert_int_equal(pst_capsule_read(body + at, count - at, &capsule), PST_OK);
            assert_int_equal(pst_sealed_reader_take(scene->reader, body + at, pst_capsule_bytes(&capsule), why),
                             PST_OK);
            scene->marks += capsule.kind == PST_CAPSULE_MARK;
        }
    }
    scene->answers += message->kind == PST_MESSAGE_DONE;
    return PST_OK;
}

static bool more(void *emitter)
{
    const struct scene *scene = emitter;
    return scene->there;
}

static int give(struct scene *scene, struct pst_message message, const void *bytes, size_t byte_count)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8];
    message.body_bytes = (uint32_t)byte_count;
    if (byte_count != 0)
        memcpy(body, bytes, byte_count);
    return pst_inside_sealed_take(scene->sealed, &message, (uint8_t *)body);
}

/* The user's side: each capsule goes to the worker at once. */
static int hand_over(void *self, const void *bytes, size_t byte_count)
{
    struct scene *scene = self;
    if (scene->error == PST_OK)
        scene->error = give(scene, (struct pst_message){.kind = PST_MESSAGE_SEALED}, bytes, byte_count);
    return PST_OK;
}

static void worker_new(struct scene *scene, const uint8_t *config_digest, uint8_t drawn)
{
    const uint8_t root[32] = {1}, own[32] = {2}, evidence[32] = {3}, secret[32] = {drawn};
    uint8_t public[32], release[PST_RELEASE_BYTES];
    char why[PST_SENTENCE_BYTES_MAX];
    scene->salts[0][0] = drawn;
    struct pst_inside_sealed_settings settings = {.config = &scene->config,
                                                  .config_digest = config_digest,
                                                  .owned = scene->owned,
                                                  .salts = scene->salts,
                                                  .held_bytes_max = HELD_BYTES,
                                                  .paced = !scene->unpaced,
                                                  .emit = emit,
                                                  .more = more,
                                                  .emitter = scene};
    memcpy(settings.channel_secret, secret, sizeof secret);
    assert_int_equal(pst_inside_sealed_new(&settings, &scene->sealed), PST_OK);
    assert_int_equal(pst_secret_new(&scene->room), PST_OK);
    struct pst_inside_settings inside = {.op = &tally,
                                         .config = &scene->config,
                                         .owned = scene->owned,
                                         .image_room = scene->room,
                                         .image_incarnation = {drawn},
                                         .emit = pst_inside_sealed_emit,
                                         .emitter = scene->sealed};
    assert_int_equal(pst_inside_new(&inside, &scene->inside, why), PST_OK);
    pst_inside_sealed_serve(scene->sealed, scene->inside);
    assert_int_equal(pst_channel_key_public(secret, public), PST_OK);
    assert_int_equal(pst_release_seal(root, scene->config.sealing->graph, own, public, evidence, release), PST_OK);
    assert_int_equal(give(scene, (struct pst_message){.kind = PST_MESSAGE_RELEASE}, release, sizeof release), PST_OK);
}

static void worker_free(struct scene *scene)
{
    pst_inside_sealed_free(scene->sealed);
    pst_inside_free(scene->inside);
    pst_secret_free(scene->room);
}

static const uint8_t this_one[PST_CONFIG_DIGEST_BYTES] = {5}, another[PST_CONFIG_DIGEST_BYTES] = {6};

static struct scene *scene_with(bool unpaced)
{
    const uint8_t root[32] = {1};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->unpaced = scene->there = unpaced;
    tally_config(&scene->config, &scene->param, "");
    memset(scene->owned, 0xff, sizeof scene->owned);
    scene->out = (struct pst_enclave_sealed_output){
        .name = "sums.0>file.0", .number = 1, .bucket_count = 1, .used_count = 2, .used = {0, 1}};
    scene->sealing =
        (struct pst_enclave_sealing){.inputs = {{"rows.0>sums.0", 0, 1}}, .edge_count = 1, .edges = &scene->out};
    scene->config.sealing = &scene->sealing;
    assert_int_equal(pst_sealed_keys_init(&scene->keys, root), PST_OK);
    scene->in_edge = (struct pst_sealed_edge){.name = "rows.0>sums.0",
                                              .producer_bucket_count = 1,
                                              .bucket_count = TALLY_BUCKETS,
                                              .keyed = true,
                                              .part_count = 4,
                                              .part_bytes = {8, 8, 4, 8}};
    scene->out_edge = (struct pst_sealed_edge){.name = "sums.0>file.0",
                                               .number = 1,
                                               .producer_bucket_count = TALLY_BUCKETS,
                                               .bucket_count = 1,
                                               .part_count = 3,
                                               .part_bytes = {8, 4, 8}};
    const struct pst_sealed_writer_settings writer = {.keys = &scene->keys,
                                                      .edge = &scene->in_edge,
                                                      .salt = {7},
                                                      .stream = {8},
                                                      .rows_max = ROWS_AT_ONCE,
                                                      .emit = hand_over,
                                                      .emitter = scene};
    const struct pst_sealed_reader_settings reader = {
        .keys = &scene->keys, .edge = &scene->out_edge, .held_bytes_max = 1 << 20, .frame_rows = 64};
    assert_int_equal(pst_sealed_writer_new(&writer, &scene->writer), PST_OK);
    assert_int_equal(pst_sealed_reader_new(&reader, &scene->reader), PST_OK);
    worker_new(scene, this_one, 9);
    assert_int_equal(pst_sealed_writer_mark(scene->writer, INT64_MIN, false, 0), PST_OK);
    return scene;
}

static struct scene *scene_new(void) { return scene_with(false); }

static void scene_free(struct scene *scene)
{
    worker_free(scene);
    pst_sealed_writer_free(scene->writer);
    pst_sealed_reader_free(scene->reader);
    pst_sealed_keys_fini(&scene->keys);
    free(scene);
}

/* ROWS_AT_ONCE rows of this time, of a key each, of the value 1; a mark behind them, if one is wanted. What the worker made of them. */
static int rows(struct scene *scene, int64_t t, bool marked)
{
    static int64_t times[ROWS_AT_ONCE], values[ROWS_AT_ONCE];
    static uint64_t hashes[ROWS_AT_ONCE];
    static uint32_t keys[ROWS_AT_ONCE];
    for (uint32_t i = 0; i < ROWS_AT_ONCE; i++) {
        times[i] = t;
        keys[i] = i;
        hashes[i] = i * UINT64_C(0x9e3779b97f4a7c15);
        values[i] = 1;
    }
    const void *columns[] = {keys, values};
    assert_int_equal(pst_sealed_writer_add(scene->writer, ROWS_AT_ONCE, times, hashes, columns), PST_OK);
    if (marked)
        assert_int_equal(pst_sealed_writer_mark(scene->writer, t + 1, false, 0), PST_OK);
    return scene->error;
}

static int tell(struct scene *scene, int64_t t)
{
    return give(scene, (struct pst_message){.kind = PST_MESSAGE_TIME, .time = t, .limit = t}, NULL, 0);
}

static int image(struct scene *scene, int64_t cut)
{
    scene->piece_count = 0;
    scene->imaged = false;
    return give(scene, (struct pst_message){.kind = PST_MESSAGE_IMAGE, .time = cut, .limit = CHECKPOINT}, NULL, 0);
}

static int count(void *taker, uint32_t row_count, void *const *parts)
{
    struct scene *scene = taker;
    const int64_t *sums = parts[2];
    for (uint32_t i = 0; i < row_count; i++)
        scene->sum += (uint64_t)sums[i];
    return PST_OK;
}

/* What has come out so far: at each epoch's end a key's rows up to then. */
static void expect_sum(struct scene *scene, uint64_t wanted)
{
    int64_t watermark = pst_sealed_reader_watermark(scene->reader);
    assert_int_equal(pst_sealed_reader_rows(scene->reader, watermark, count, scene), PST_OK);
    assert_int_equal(scene->sum, wanted);
}

static void rows_of_the_open_epoch_go_on_where_they_have_no_room(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    assert_int_equal(rows(scene, 5, true), PST_OK);
    assert_int_equal(tell(scene, 0), PST_OK);
    for (int64_t t = 6; t < 10; t++)
        for (uint32_t i = 0; i < 4; i++) /* 56 KiB at each time */
            assert_int_equal(rows(scene, t, true), PST_OK);
    expect_sum(scene, 0);
    assert_int_equal(tell(scene, 10), PST_OK);
    expect_sum(scene, 17 * ROWS_AT_ONCE);
    assert_int_equal(image(scene, 10), PST_OK);
    assert_true(scene->imaged && scene->image_error == PST_OK && scene->piece_count != 0);
    scene_free(scene);
}

static void what_no_mark_bears_out_has_to_fit(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    int rc = PST_OK;
    for (uint32_t i = 0; i < 8 && rc == PST_OK; i++)
        rc = rows(scene, 5, false);
    assert_int_equal(rc, PST_EGRAPH);
    assert_non_null(strstr(pst_inside_sealed_why(scene->sealed), "more than 64 KiB of rows of rows.0>sums.0 wait"));
    assert_non_null(strstr(pst_inside_sealed_why(scene->sealed), "with one of 2 MiB twice as many may"));
    scene_free(scene);
}

static void there_is_no_image_of_a_cut_below_rows_that_went_on(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    for (int64_t t = 100; t < 105; t++)
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(rows(scene, t, true), PST_OK);
    assert_int_equal(tell(scene, 50), PST_OK); /* the first that it hears */
    assert_int_equal(image(scene, 50), PST_OK);
    assert_true(scene->imaged && scene->image_error == PST_EAGAIN);
    assert_int_equal(scene->piece_count, 0);
    assert_int_equal(rows(scene, 110, true), PST_OK);
    assert_int_equal(tell(scene, 110), PST_OK);
    expect_sum(scene, 10 * ROWS_AT_ONCE); /* those of 110 wait */
    scene_free(scene);
}

static int put_back(struct scene *scene, int64_t cut)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < scene->piece_count && rc == PST_OK; i++) {
        struct pst_message message = scene->pieces[i].message;
        message.kind = PST_MESSAGE_RESTORE;
        rc = give(scene, message, scene->pieces[i].bytes, message.body_bytes);
    }
    return rc == PST_OK
               ? give(scene, (struct pst_message){.kind = PST_MESSAGE_RESTORED, .time = cut, .limit = CHECKPOINT}, NULL,
                      0)
               : rc;
}

static void an_image_is_of_one_configuration(void **state)
{
    (void)state;
    struct scene *scene = scene_new();
    assert_int_equal(rows(scene, 5, true), PST_OK);
    assert_int_equal(rows(scene, 12, true), PST_OK);
    assert_int_equal(tell(scene, 10), PST_OK);
    assert_int_equal(image(scene, 10), PST_OK);
    worker_free(scene);
    worker_new(scene, another, 10);
    assert_int_equal(put_back(scene, 10), PST_EREFUSED);
    worker_free(scene);
    worker_new(scene, this_one, 11); /* the control */
    assert_int_equal(put_back(scene, 10), PST_OK);
    assert_int_equal(rows(scene, 15, true), PST_OK);
    assert_int_equal(rows(scene, 20, true), PST_OK);
    assert_int_equal(tell(scene, 20), PST_OK);
    expect_sum(scene, (1 + 3) * ROWS_AT_ONCE); /* at 10, and at 20 */
    scene_free(scene);
}

static void what_is_there_is_taken_before_marks_are_worked_off(void **state)
{
    (void)state;
    struct scene *scene = scene_with(true);
    assert_int_equal(scene->error, PST_OK);
    assert_int_equal(scene->marks, 0); /* it has not begun, for more is there */
    assert_int_equal(rows(scene, 5, true), PST_OK);
    assert_int_not_equal(scene->marks, 0); /* a host that goes on saying so stops nothing */
    for (int64_t t = 15; t < 45; t += 10)
        assert_int_equal(rows(scene, t, true), PST_OK);
    scene->there = false;
    assert_int_equal(rows(scene, 45, true), PST_OK);
    expect_sum(scene, (1 + 2 + 3 + 4) * ROWS_AT_ONCE); /* at 10, 20, 30 and 40 */
    scene_free(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_open_epoch_go_on_where_they_have_no_room),
        cmocka_unit_test(what_no_mark_bears_out_has_to_fit),
        cmocka_unit_test(there_is_no_image_of_a_cut_below_rows_that_went_on),
        cmocka_unit_test(an_image_is_of_one_configuration),
        cmocka_unit_test(what_is_there_is_taken_before_marks_are_worked_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
