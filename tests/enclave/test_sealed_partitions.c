/* test_sealed_partitions.c - behind a cut an operator on sealed rows has other partitions than before: what it puts out is what it would have
 * put out, and what its host does with that freedom is noticed, by the worker or by whoever reads it (docs/sealing.md). Each attack beside its
 * control. Without a process. */
#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/image.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { CAPSULES_MAX = 6000, PIECES_MAX = 64, WORKERS_MAX = 6, KEYS = 300, ALL = 0xffff };

struct capsules { /* as a host has them */
    uint8_t *bytes[CAPSULES_MAX];
    uint32_t sizes[CAPSULES_MAX], count;
};

struct piece {
    struct pst_message message;
    uint8_t bytes[PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MAX];
};
struct image { /* of one worker, at one cut */
    struct piece *pieces;
    uint32_t count, buckets;
    uint64_t id;
    int64_t cut;
};

struct scene { /* a user, and a host with its workers */
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_enclave_sealing sealing;
    struct pst_enclave_sealed_output out;
    struct pst_sealed_keys keys;
    struct pst_sealed_edge in_edge, out_edge;
    struct pst_sealed_writer *writer;
    struct capsules in;
    uint8_t drawn; /* what a worker has drawn, and no other */
};

struct worker {
    struct scene *scene;
    uint32_t buckets, fed; /* buckets: bit by bit; fed: capsules of the stream that were looked at */
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    struct pst_secret *room;
    struct pst_inside_sealed *sealed;
    struct pst_inside *inside;
    uint8_t salts[1][32];
    struct image *into;
    int image_error;
    struct capsules out;
};

static void capsule_keep(struct capsules *to, const void *bytes, size_t byte_count)
{
    uint8_t *copy = malloc(byte_count);
    assert_non_null(copy);
    assert_true(to->count < CAPSULES_MAX);
    memcpy(copy, bytes, byte_count);
    to->bytes[to->count] = copy;
    to->sizes[to->count++] = (uint32_t)byte_count;
}

static void capsules_free(struct capsules *capsules)
{
    for (uint32_t i = 0; i < capsules->count; i++)
        free(capsules->bytes[i]);
    capsules->count = 0;
}

/* ---- the user ---- */

static int stream_keep(void *emitter, const void *bytes, size_t byte_count)
{
    capsule_keep(emitter, bytes, byte_count);
    return PST_OK;
}

static void writer_begin(struct scene *scene, uint8_t stream, uint8_t salt)
{
    const struct pst_sealed_writer_settings settings = {.keys = &scene->keys,
                                                        .edge = &scene->in_edge,
                                                        .salt = {200, salt},
                                                        .stream = {stream},
                                                        .rows_max = KEYS,
                                                        .emit = stream_keep,
                                                        .emitter = &scene->in};
    assert_int_equal(pst_sealed_writer_new(&settings, &scene->writer), PST_OK);
}

static struct scene *scene_new(uint8_t stream)
{
    const uint8_t root[32] = {1};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    tally_config(&scene->config, &scene->param, "");
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
    writer_begin(scene, stream, 0);
    assert_int_equal(pst_sealed_writer_mark(scene->writer, INT64_MIN, false, 0), PST_OK);
    scene->drawn = stream;
    return scene;
}

static void scene_free(struct scene *scene)
{
    pst_sealed_writer_free(scene->writer);
    pst_sealed_keys_fini(&scene->keys);
    capsules_free(&scene->in);
    free(scene);
}

/* Rows of all keys from time t to t + 11, so that some lie above the next epoch's end; and a mark that says that time has come to t. */
static void rows(struct scene *scene, int64_t t)
{
    int64_t times[KEYS], values[KEYS];
    uint64_t hashes[KEYS];
    uint32_t keys[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        times[i] = t + i % 12;
        keys[i] = i;
        hashes[i] = i * UINT64_C(0x9e3779b97f4a7c15) >> 20;
        values[i] = t + i;
    }
    const void *columns[] = {keys, values};
    assert_int_equal(pst_sealed_writer_add(scene->writer, KEYS, times, hashes, columns), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(scene->writer, t, false, 0), PST_OK);
}

/* Whoever seals is cut, and goes on in another session; of the same mark that may be done twice. */
static void seal_again(struct scene *scene, uint8_t stream, uint8_t salt, int64_t watermark)
{
    uint8_t before[PST_CAPSULE_SALT_BYTES];
    uint64_t sequence;
    pst_sealed_writer_marked(scene->writer, before, &sequence);
    pst_sealed_writer_free(scene->writer);
    writer_begin(scene, stream, salt);
    assert_int_equal(pst_sealed_writer_continue(scene->writer, before, sequence), PST_OK);
    assert_int_equal(pst_sealed_writer_mark(scene->writer, watermark, false, 0), PST_OK);
}

/* ---- workers ---- */

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    static uint8_t body[PST_BODY_BYTES_MAX];
    struct worker *worker = emitter;
    struct pst_capsule capsule;
    uint32_t count = pst_pieces_write(pieces, piece_count, body);
    if (message->kind == PST_MESSAGE_PIECE) {
        assert_true(worker->into->count < PIECES_MAX);
        struct piece *piece = &worker->into->pieces[worker->into->count++];
        piece->message = *message;
        piece->message.body_bytes = PST_PIECE_INCARNATION_BYTES + count;
        memcpy(piece->bytes + PST_PIECE_INCARNATION_BYTES, body, count);
    } else if (message->kind == PST_MESSAGE_IMAGED) {
        worker->image_error = message->error;
        for (uint32_t i = 0; i < worker->into->count; i++)
            memcpy(worker->into->pieces[i].bytes, body, PST_PIECE_INCARNATION_BYTES);
    } else if (message->kind == PST_MESSAGE_CAPSULES) {
        for (uint32_t at = 0; at < count; at += (uint32_t)pst_capsule_bytes(&capsule)) {
            assert_int_equal(pst_capsule_read(body + at, count - at, &capsule), PST_OK);
            capsule_keep(&worker->out, body + at, pst_capsule_bytes(&capsule));
        }
    }
    return PST_OK;
}

static int give(struct worker *worker, struct pst_message message, const void *bytes, size_t byte_count)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8];
    message.body_bytes = (uint32_t)byte_count;
    if (byte_count != 0)
        memcpy(body, bytes, byte_count);
    return pst_inside_sealed_take(worker->sealed, &message, (uint8_t *)body);
}

static struct worker *worker_new(struct scene *scene, uint32_t buckets)
{
    static const uint8_t digest[PST_CONFIG_DIGEST_BYTES] = {5};
    const uint8_t root[32] = {1}, own[32] = {2}, evidence[32] = {3}, secret[32] = {++scene->drawn};
    uint8_t public[32], release[PST_RELEASE_BYTES];
    char why[PST_SENTENCE_BYTES_MAX];
    struct worker *worker = calloc(1, sizeof *worker);
    assert_non_null(worker);
    worker->scene = scene;
    worker->buckets = buckets;
    worker->owned[0] = (uint8_t)buckets;
    worker->owned[1] = (uint8_t)(buckets >> 8);
    worker->salts[0][0] = scene->drawn;
    struct pst_inside_sealed_settings settings = {.config = &scene->config,
                                                  .config_digest = digest,
                                                  .owned = worker->owned,
                                                  .salts = worker->salts,
                                                  .held_bytes_max = 256 * 1024,
                                                  .paced = true,
                                                  .emit = emit,
                                                  .emitter = worker};
    memcpy(settings.channel_secret, secret, sizeof secret);
    assert_int_equal(pst_inside_sealed_new(&settings, &worker->sealed), PST_OK);
    assert_int_equal(pst_secret_new(&worker->room), PST_OK);
    struct pst_inside_settings inside = {.op = &tally,
                                         .config = &scene->config,
                                         .owned = worker->owned,
                                         .image_room = worker->room,
                                         .image_incarnation = {scene->drawn},
                                         .emit = pst_inside_sealed_emit,
                                         .emitter = worker->sealed};
    assert_int_equal(pst_inside_new(&inside, &worker->inside, why), PST_OK);
    pst_inside_sealed_serve(worker->sealed, worker->inside);
    assert_int_equal(pst_channel_key_public(secret, public), PST_OK);
    assert_int_equal(pst_release_seal(root, scene->config.sealing->graph, own, public, evidence, release), PST_OK);
    assert_int_equal(give(worker, (struct pst_message){.kind = PST_MESSAGE_RELEASE}, release, sizeof release), PST_OK);
    return worker;
}

static void worker_free(struct worker *worker)
{
    pst_inside_sealed_free(worker->sealed);
    pst_inside_free(worker->inside);
    pst_secret_free(worker->room);
    capsules_free(&worker->out);
    free(worker);
}

/* What there is of the stream that it was not handed yet, as its host routes it. */
static int feed(struct worker *worker, uint32_t to)
{
    const struct capsules *in = &worker->scene->in;
    int rc = PST_OK;
    for (; worker->fed < to && rc == PST_OK; worker->fed++) {
        struct pst_capsule capsule;
        assert_int_equal(pst_capsule_read(in->bytes[worker->fed], in->sizes[worker->fed], &capsule), PST_OK);
        if (capsule.kind == PST_CAPSULE_MARK || (worker->buckets >> capsule.bucket & 1) != 0)
            rc = give(worker, (struct pst_message){.kind = PST_MESSAGE_SEALED}, in->bytes[worker->fed],
                      in->sizes[worker->fed]);
    }
    return rc;
}

static int tell(struct worker *worker, int64_t t)
{
    return give(worker, (struct pst_message){.kind = PST_MESSAGE_TIME, .time = t, .limit = t}, NULL, 0);
}

static void image(struct worker *worker, uint64_t id, int64_t cut, struct image *ret)
{
    *ret = (struct image){
        .pieces = calloc(PIECES_MAX, sizeof *ret->pieces), .buckets = worker->buckets, .id = id, .cut = cut};
    assert_non_null(ret->pieces);
    worker->into = ret;
    struct pst_message message = {.kind = PST_MESSAGE_IMAGE, .time = cut, .limit = (int64_t)id};
    assert_int_equal(give(worker, message, NULL, 0), PST_OK);
    assert_int_equal(worker->image_error, PST_OK);
}

/* To the cut, and its image there: all of the stream that there is must reach it. */
static void run_to(struct worker *worker, uint64_t id, int64_t cut, struct image *ret)
{
    assert_int_equal(feed(worker, worker->scene->in.count), PST_OK);
    assert_int_equal(tell(worker, cut), PST_OK);
    image(worker, id, cut, ret);
}

static bool is_place(const struct piece *piece) { return (uint16_t)piece->message.row_count == PST_EXTRA_STRUCTURE; }

static int piece_give(struct worker *worker, const struct piece *piece)
{
    struct pst_message message = piece->message;
    message.kind = PST_MESSAGE_RESTORE;
    return give(worker, message, piece->bytes, message.body_bytes);
}

static int places_give(struct worker *worker, const struct image *of)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < of->count && rc == PST_OK; i++)
        if (is_place(&of->pieces[i]))
            rc = piece_give(worker, &of->pieces[i]);
    return rc;
}

static int buckets_give(struct worker *worker, const struct image *of, uint32_t buckets)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < of->count && rc == PST_OK; i++)
        if (!is_place(&of->pieces[i]) && (buckets >> of->pieces[i].message.port & 1) != 0)
            rc = piece_give(worker, &of->pieces[i]);
    return rc;
}

static int given(struct worker *worker, const struct image *of)
{
    struct pst_message message = {.kind = PST_MESSAGE_RESTORED, .time = of->cut, .limit = (int64_t)of->id};
    return give(worker, message, NULL, 0);
}

/* As an honest host does it: places first, of those alone that had a bucket of its. */
static int restore(struct worker *worker, const struct image *images, uint32_t count)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = (images[i].buckets & worker->buckets) != 0 ? places_give(worker, &images[i]) : PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = buckets_give(worker, &images[i], worker->buckets);
    return rc == PST_OK ? given(worker, &images[0]) : rc;
}

static void images_free(struct image *images, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(images[i].pieces);
}

static void refused(const struct worker *worker, int rc, const char *why)
{
    assert_int_equal(rc, PST_EREFUSED);
    if (strstr(pst_inside_sealed_why(worker->sealed), why) == NULL)
        fail_msg("%s", pst_inside_sealed_why(worker->sealed));
}

/* ---- who opens the results ---- */

struct opened {
    struct pst_sealed_reader *reader;
    uint64_t row_count, sum; /* of all rows in any order */
    char why[PST_SEALED_WHY_BYTES];
};

static void opened_begin(const struct scene *scene, struct opened *ret)
{
    const struct pst_sealed_reader_settings settings = {
        .keys = &scene->keys, .edge = &scene->out_edge, .held_bytes_max = 1 << 24, .frame_rows = 64};
    *ret = (struct opened){0};
    assert_int_equal(pst_sealed_reader_new(&settings, &ret->reader), PST_OK);
}

static int open_some(struct opened *opened, const struct capsules *capsules, uint32_t from, uint32_t to)
{
    int rc = PST_OK;
    for (uint32_t i = from; i < to && rc == PST_OK; i++)
        rc = pst_sealed_reader_take(opened->reader, capsules->bytes[i], capsules->sizes[i], opened->why);
    return rc;
}

static int open_all(struct opened *opened, const struct worker *worker)
{
    return open_some(opened, &worker->out, 0, worker->out.count);
}

static int count(void *taker, uint32_t row_count, void *const *parts)
{
    struct opened *opened = taker;
    for (uint32_t i = 0; i < row_count; i++) {
        uint64_t word = (uint64_t)((const int64_t *)parts[0])[i] * 31 + ((const uint32_t *)parts[1])[i];
        word = word * 31 + (uint64_t)((const int64_t *)parts[2])[i];
        opened->sum += (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    }
    opened->row_count += row_count;
    return PST_OK;
}

static int64_t rows_of(struct opened *opened)
{
    int64_t watermark = pst_sealed_reader_watermark(opened->reader);
    assert_int_equal(pst_sealed_reader_rows(opened->reader, watermark, count, opened), PST_OK);
    return watermark;
}

static void opened_end(struct opened *opened) { pst_sealed_reader_free(opened->reader); }

static void open_refused(const struct opened *opened, int rc, const char *why)
{
    assert_int_equal(rc, PST_EREFUSED);
    if (strstr(opened->why, why) == NULL)
        fail_msg("%s", opened->why);
}

/* ---- as it should be ---- */

enum { STAGES = 3, EPOCHS_EACH = 3 };

/* In each stage as many workers as the list has, until a 0; each with these buckets. */
static void run(const uint32_t stages[STAGES][WORKERS_MAX], struct opened *ret)
{
    static struct worker *workers[STAGES][WORKERS_MAX];
    static struct image images[2][WORKERS_MAX];
    struct scene *scene = scene_new(8);
    uint32_t before = 0, fed_again = 0;
    memset(workers, 0, sizeof workers);
    opened_begin(scene, ret);
    for (uint32_t s = 0; s < STAGES; s++) {
        uint32_t n = 0;
        int64_t cut = (int64_t)(s + 1) * EPOCHS_EACH * TALLY_EPOCH;
        for (; n < WORKERS_MAX && stages[s][n] != 0; n++) {
            workers[s][n] = worker_new(scene, stages[s][n]);
            workers[s][n]->fed = fed_again; /* some of what they have had comes again */
            if (s != 0)
                assert_int_equal(restore(workers[s][n], images[(s + 1) % 2], before), PST_OK);
        }
        if (s != 0)
            images_free(images[(s + 1) % 2], before);
        fed_again = scene->in.count / 2;
        for (int64_t t = cut - EPOCHS_EACH * TALLY_EPOCH; t <= cut; t += 5)
            rows(scene, t);
        for (uint32_t w = 0; w < n; w++) {
            assert_int_equal(feed(workers[s][w], scene->in.count), PST_OK);
            for (int64_t t = cut - (EPOCHS_EACH - 1) * TALLY_EPOCH; t <= cut; t += TALLY_EPOCH)
                assert_int_equal(tell(workers[s][w], t), PST_OK);
            image(workers[s][w], s + 1, cut, &images[s % 2][w]);
        }
        before = n;
    }
    images_free(images[(STAGES - 1) % 2], before);
    for (uint32_t s = 0; s < STAGES; s++)
        for (uint32_t w = WORKERS_MAX; w-- != 0;) /* in any order, but each behind what it goes on from */
            if (workers[s][w] != NULL)
                assert_int_equal(open_all(ret, workers[s][w]), PST_OK);
    assert_int_equal(rows_of(ret), STAGES * EPOCHS_EACH * TALLY_EPOCH + TALLY_EPOCH - 1);
    opened_end(ret);
    for (uint32_t s = 0; s < STAGES; s++)
        for (uint32_t w = 0; w < WORKERS_MAX; w++)
            if (workers[s][w] != NULL)
                worker_free(workers[s][w]);
    scene_free(scene);
}

static void results_are_the_same_whoever_has_which_buckets(void **state)
{
    (void)state;
    static const uint32_t one[STAGES][WORKERS_MAX] = {{ALL}, {ALL}, {ALL}};
    static const uint32_t many[][STAGES][WORKERS_MAX] = {
        {{ALL}, {0x00ff, 0xff00}, {0x000f, 0x00f0, 0x0f00, 0xf000}}, /* out, and out */
        {{0x000f, 0x00f0, 0x0f00, 0xf000}, {0x00ff, 0xff00}, {ALL}}, /* in, and in */
        {{0x00ff, 0xff00}, {0x001f, 0x07e0, 0xf800}, {0x0fff, 0xf000}},
        {{0x5555, 0xaaaa}, {0x3333, 0xcccc}, {0x5555, 0xaaaa}}, /* each of both, twice */
        {{0x0001, 0xfffe}, {0x8000, 0x7fff}, {0x0101, 0x1010, 0xeeee}},
    };
    struct opened wanted, seen;
    run(one, &wanted);
    assert_true(wanted.row_count > KEYS);
    for (uint32_t i = 0; i < sizeof many / sizeof many[0]; i++) {
        run(many[i], &seen);
        assert_int_equal(seen.row_count, wanted.row_count);
        assert_int_equal(seen.sum, wanted.sum);
    }
}

/* ---- what a host does ---- */

/* Two workers at one cut, with rows behind it that wait. */
struct cut {
    struct scene *scene;
    struct worker *before[2];
    struct image images[2];
};
enum { LOW = 0x00ff, HIGH = 0xff00, MIDDLE = 0x0ff0 };

static struct cut cut_new(uint8_t stream)
{
    struct cut cut = {.scene = scene_new(stream)};
    rows(cut.scene, 0);
    rows(cut.scene, 10);
    rows(cut.scene, 20);
    for (int i = 0; i < 2; i++) {
        cut.before[i] = worker_new(cut.scene, i == 0 ? LOW : HIGH);
        run_to(cut.before[i], 1, 20, &cut.images[i]);
    }
    return cut;
}

static void cut_free(struct cut *cut)
{
    images_free(cut->images, 2);
    for (int i = 0; i < 2; i++)
        worker_free(cut->before[i]);
    scene_free(cut->scene);
}

/* It goes on from there to 30. */
static struct worker *gone_on(struct cut *cut, uint32_t buckets)
{
    struct worker *worker = worker_new(cut->scene, buckets);
    assert_int_equal(restore(worker, cut->images, 2), PST_OK);
    assert_int_equal(feed(worker, cut->scene->in.count), PST_OK);
    assert_int_equal(tell(worker, 30), PST_OK);
    return worker;
}

static void open_before(const struct cut *cut, struct opened *opened)
{
    opened_begin(cut->scene, opened);
    for (int i = 0; i < 2; i++)
        assert_int_equal(open_all(opened, cut->before[i]), PST_OK);
    assert_int_equal(rows_of(opened), 29);
}

/* A worker of MIDDLE is given these, and the end, which says the first one's checkpoint. */
static void middle(struct scene *scene, const struct image *low_place, const struct image *high_place,
                   const struct image *low, const struct image *high, const char *why)
{
    struct worker *worker = worker_new(scene, MIDDLE);
    int rc = places_give(worker, low_place);
    if (rc == PST_OK)
        rc = places_give(worker, high_place);
    if (rc == PST_OK)
        rc = buckets_give(worker, low, MIDDLE & LOW);
    if (rc == PST_OK)
        rc = buckets_give(worker, high, MIDDLE & HIGH);
    if (rc == PST_OK)
        rc = given(worker, low);
    if (why != NULL)
        refused(worker, rc, why);
    else
        assert_int_equal(rc, PST_OK);
    worker_free(worker);
}

static void buckets_of_two_cuts_are_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct image later[2];
    rows(cut.scene, 30);
    for (int i = 0; i < 2; i++)
        run_to(cut.before[i], 2, 30, &later[i]);
    const struct image *low = &cut.images[0], *high = &cut.images[1];
    middle(cut.scene, low, high, low, high, NULL); /* the controls */
    middle(cut.scene, &later[0], &later[1], &later[0], &later[1], NULL);
    middle(cut.scene, low, &later[1], low, &later[1], "it is of another checkpoint than others");
    middle(cut.scene, low, high, &later[0], &later[1],
           "buckets are said to be of another checkpoint than their places in the stream");
    middle(cut.scene, low, &later[1], low, high,
           "buckets are said to be of another checkpoint than their places in the stream");
    images_free(later, 2);
    cut_free(&cut);
}

static void buckets_of_two_streams_are_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8), other = cut_new(108);
    middle(cut.scene, &cut.images[0], &other.images[1], &cut.images[0], &other.images[1],
           "its buckets are of different streams of the user's");
    middle(cut.scene, &other.images[0], &other.images[1], &other.images[0], &other.images[1], NULL); /* the control */
    cut_free(&other);
    cut_free(&cut);
}

/* The user has sealed twice from one mark: two starts, which have read the same up to there. */
static void buckets_of_two_starts_that_have_read_other_rows_are_refused(void **state)
{
    (void)state;
    struct scene *scenes[2];
    struct worker *workers[2][2];
    struct image images[2][2];
    for (int i = 0; i < 2; i++) {
        scenes[i] = scene_new(8);
        scenes[i]->drawn = (uint8_t)(8 + 50 * i);
        rows(scenes[i], 0);
        seal_again(scenes[i], 8, (uint8_t)(1 + i), 0);
        rows(scenes[i], 10);
        rows(scenes[i], 20);
        for (int k = 0; k < 2; k++) {
            workers[i][k] = worker_new(scenes[i], k == 0 ? LOW : HIGH);
            run_to(workers[i][k], 1, 20, &images[i][k]);
        }
    }
    for (int i = 0; i < 2; i++) {
        middle(scenes[i], &images[i][0], &images[i][1], &images[i][0], &images[i][1], NULL); /* the control */
        middle(scenes[i], &images[i][0], &images[1 - i][1], &images[i][0], &images[1 - i][1],
               "what several workers had read of rows.0>sums.0 ends at other marks");
    }
    for (int i = 0; i < 2; i++) {
        images_free(images[i], 2);
        for (int k = 0; k < 2; k++)
            worker_free(workers[i][k]);
        scene_free(scenes[i]);
    }
}

static void buckets_that_two_workers_have_had_are_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct image image;
    struct worker *other = worker_new(cut.scene, 0xfff8); /* of another start */
    run_to(other, 1, 20, &image);
    middle(cut.scene, &cut.images[0], &image, &cut.images[0], &image,
           "two workers have had a bucket that comes back: they were of different starts");
    middle(cut.scene, &cut.images[0], &cut.images[1], &cut.images[0], &cut.images[1], NULL); /* the control */
    images_free(&image, 1);
    worker_free(other);
    cut_free(&cut);
}

/* Where all that they have read is the user's own stream their rows are the same; but who reads the one knows nothing of the other. */
static void what_goes_on_from_two_starts_is_refused_behind_it(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct image images[2];
    struct opened opened;
    struct worker *other = worker_new(cut.scene, HIGH);
    run_to(other, 1, 20, &images[1]);
    images[0] = cut.images[0];
    struct worker *mixed = worker_new(cut.scene, MIDDLE);
    assert_int_equal(restore(mixed, images, 2), PST_OK);
    assert_int_equal(feed(mixed, cut.scene->in.count), PST_OK);
    assert_int_equal(tell(mixed, 30), PST_EREFUSED); /* marks do not reach it yet */
    worker_free(mixed);
    rows(cut.scene, 30);
    mixed = worker_new(cut.scene, MIDDLE);
    assert_int_equal(restore(mixed, images, 2), PST_OK);
    assert_int_equal(feed(mixed, cut.scene->in.count), PST_OK);
    assert_int_equal(tell(mixed, 30), PST_OK);
    open_before(&cut, &opened);
    open_refused(&opened, open_all(&opened, mixed), "does not go on where the stream was cut");
    opened_end(&opened);
    struct worker *control = gone_on(&cut, MIDDLE);
    open_before(&cut, &opened);
    assert_int_equal(open_all(&opened, control), PST_OK);
    opened_end(&opened);
    worker_free(control);
    worker_free(mixed);
    images_free(&images[1], 1);
    worker_free(other);
    cut_free(&cut);
}

static void a_bucket_that_two_new_workers_have_is_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct opened opened;
    rows(cut.scene, 30);
    static const uint32_t shares[][2] = {
        {0x01ff, 0xff00}, {0x000f, 0x001f}, {0x01ff, 0xfe00}}; /* the last one: the control */
    for (uint32_t i = 0; i < 3; i++) {
        struct worker *one = gone_on(&cut, shares[i][0]), *two = gone_on(&cut, shares[i][1]);
        open_before(&cut, &opened);
        assert_int_equal(open_all(&opened, one), PST_OK);
        if (i < 2) {
            open_refused(&opened, open_all(&opened, two), "begins a stream that goes on from another operator's");
        } else {
            assert_int_equal(open_all(&opened, two), PST_OK);
            assert_int_equal(rows_of(&opened), 39);
        }
        opened_end(&opened);
        worker_free(one);
        worker_free(two);
    }
    cut_free(&cut);
}

static void going_on_twice_from_one_cut_is_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct opened opened;
    rows(cut.scene, 30);
    struct worker *one = gone_on(&cut, MIDDLE), *again = gone_on(&cut, MIDDLE), *all = gone_on(&cut, ALL);
    open_before(&cut, &opened);
    assert_int_equal(open_all(&opened, one), PST_OK);
    open_refused(&opened, open_all(&opened, again), "goes on from another operator's");
    opened_end(&opened);
    open_before(&cut, &opened);
    assert_int_equal(open_all(&opened, one), PST_OK);
    open_refused(&opened, open_all(&opened, all), "goes on from another operator's");
    opened_end(&opened);
    open_before(&cut, &opened);
    assert_int_equal(open_all(&opened, all), PST_OK);
    open_refused(&opened, open_all(&opened, one), "does not go on where the stream was cut");
    opened_end(&opened);
    open_before(&cut, &opened); /* the control */
    assert_int_equal(open_all(&opened, again), PST_OK);
    opened_end(&opened);
    worker_free(all);
    worker_free(again);
    worker_free(one);
    cut_free(&cut);
}

/* Event time stands where it was for what nobody has gone on with. */
static void a_bucket_that_is_left_out_holds_event_time(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct opened opened;
    rows(cut.scene, 30);
    struct worker *low = gone_on(&cut, 0x03ff), *high = gone_on(&cut, 0xf800), *left = gone_on(&cut, 0x0400);
    open_before(&cut, &opened);
    assert_int_equal(open_all(&opened, low), PST_OK);
    assert_int_equal(open_all(&opened, high), PST_OK);
    uint64_t row_count = opened.row_count;
    assert_int_equal(rows_of(&opened), 29);
    assert_int_equal(opened.row_count, row_count);
    assert_int_equal(open_all(&opened, left), PST_OK); /* the control */
    assert_int_equal(rows_of(&opened), 39);
    assert_true(opened.row_count > row_count);
    opened_end(&opened);
    worker_free(left);
    worker_free(high);
    worker_free(low);
    cut_free(&cut);
}

static void an_old_worker_beside_new_ones_is_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    struct opened opened;
    struct worker *old = cut.before[0];
    uint32_t at_cut = old->out.count;
    rows(cut.scene, 30);
    assert_int_equal(feed(old, cut.scene->in.count), PST_OK);
    assert_int_equal(tell(old, 30), PST_OK);
    struct worker *one = gone_on(&cut, 0x000f);
    for (int first = 0; first < 3; first++) { /* 2: the control */
        opened_begin(cut.scene, &opened);
        assert_int_equal(open_some(&opened, &old->out, 0, at_cut), PST_OK);
        assert_int_equal(open_all(&opened, cut.before[1]), PST_OK);
        if (first == 0) {
            assert_int_equal(open_some(&opened, &old->out, at_cut, old->out.count), PST_OK);
            open_refused(&opened, open_all(&opened, one), "does not go on where the stream was cut");
        } else {
            assert_int_equal(open_all(&opened, one), PST_OK);
        }
        if (first == 1) /* though it stands for buckets yet */
            open_refused(&opened, open_some(&opened, &old->out, at_cut, old->out.count), "is of a stream that is over");
        opened_end(&opened);
    }
    worker_free(one);
    cut_free(&cut);
}

/* A whole image of one worker, and nothing that fits its buckets. */
static void a_place_alone_is_refused(void **state)
{
    (void)state;
    struct cut cut = cut_new(8);
    middle(cut.scene, &cut.images[0], &cut.images[0], &cut.images[0], &cut.images[1], "not whole, or not of one image");
    struct worker *worker = worker_new(cut.scene, MIDDLE);
    assert_int_equal(places_give(worker, &cut.images[0]), PST_OK);
    assert_int_equal(buckets_give(worker, &cut.images[0], MIDDLE), PST_OK);
    refused(worker, buckets_give(worker, &cut.images[1], MIDDLE),
            "the place in the stream of the worker that has sealed it is not there");
    worker_free(worker);
    worker = worker_new(cut.scene, LOW);
    for (int i = 0; i < 2; i++)
        assert_int_equal(places_give(worker, &cut.images[i]), PST_OK);
    assert_int_equal(buckets_give(worker, &cut.images[0], LOW), PST_OK);
    refused(worker, given(worker, &cut.images[0]), "of a worker that has sealed nothing of it");
    worker_free(worker);
    worker = worker_new(cut.scene, MIDDLE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(places_give(worker, &cut.images[i]), PST_OK);
    assert_int_equal(buckets_give(worker, &cut.images[0], MIDDLE), PST_OK);
    assert_int_equal(buckets_give(worker, &cut.images[1], MIDDLE & 0x07ff), PST_OK);
    refused(worker, given(worker, &cut.images[0]), "bucket 11: it was not given back");
    worker_free(worker);
    cut_free(&cut);
}

/* Rows that wait are as much of it as of its first piece. */
static void a_place_without_its_end_is_refused(void **state)
{
    (void)state;
    struct scene *scene = scene_new(8);
    struct image image;
    rows(scene, 0);
    for (int i = 0; i < 4; i++)
        rows(scene, 20);
    struct worker *before = worker_new(scene, LOW), *worker = worker_new(scene, LOW);
    run_to(before, 1, 20, &image);
    assert_true(is_place(&image.pieces[1]) && !is_place(&image.pieces[2]));
    assert_int_equal(piece_give(worker, &image.pieces[0]), PST_OK);
    assert_int_equal(buckets_give(worker, &image, LOW), PST_OK);
    refused(worker, given(worker, &image), "its place in the stream is none of this operator's");
    worker_free(worker);
    worker = worker_new(scene, LOW); /* the control */
    assert_int_equal(restore(worker, &image, 1), PST_OK);
    worker_free(worker);
    worker_free(before);
    images_free(&image, 1);
    scene_free(scene);
}

/* The checkpoint does without it; the next one has it, and the worker goes on. */
static void an_image_for_which_there_is_no_memory_is_none(void **state)
{
    (void)state;
    struct scene *scene = scene_new(8);
    struct worker *worker = worker_new(scene, LOW);
    struct image made;
    uint64_t id = 0, nth = 0;
    for (int i = 0; i < 4; i++)
        rows(scene, 20);
    assert_int_equal(feed(worker, scene->in.count), PST_OK);
    assert_int_equal(tell(worker, 20), PST_OK);
    do {
        pst_malloc_fail_at(++nth);
        worker->image_error = PST_OK;
        struct pst_message message = {.kind = PST_MESSAGE_IMAGE, .time = 20, .limit = (int64_t)++id};
        made = (struct image){.pieces = calloc(PIECES_MAX, sizeof *made.pieces)};
        assert_non_null(made.pieces);
        worker->into = &made;
        assert_int_equal(give(worker, message, NULL, 0), PST_OK);
        pst_malloc_fail_at(0);
        images_free(&made, 1);
        assert_true(worker->image_error == PST_OK || worker->image_error == PST_EAGAIN ||
                    worker->image_error == PST_ENOMEM);
    } while (worker->image_error != PST_OK);
    assert_true(nth > 1);
    image(worker, id + 1, 20, &made);
    worker_free(worker);
    worker = worker_new(scene, LOW);
    assert_int_equal(restore(worker, &made, 1), PST_OK);
    worker_free(worker);
    images_free(&made, 1);
    scene_free(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_the_same_whoever_has_which_buckets),
        cmocka_unit_test(buckets_of_two_cuts_are_refused),
        cmocka_unit_test(buckets_of_two_streams_are_refused),
        cmocka_unit_test(buckets_of_two_starts_that_have_read_other_rows_are_refused),
        cmocka_unit_test(buckets_that_two_workers_have_had_are_refused),
        cmocka_unit_test(what_goes_on_from_two_starts_is_refused_behind_it),
        cmocka_unit_test(a_bucket_that_two_new_workers_have_is_refused),
        cmocka_unit_test(going_on_twice_from_one_cut_is_refused),
        cmocka_unit_test(a_bucket_that_is_left_out_holds_event_time),
        cmocka_unit_test(an_old_worker_beside_new_ones_is_refused),
        cmocka_unit_test(a_place_alone_is_refused),
        cmocka_unit_test(a_place_without_its_end_is_refused),
        cmocka_unit_test(an_image_for_which_there_is_no_memory_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
