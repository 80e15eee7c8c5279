/* test_image.c - a worker's state on its way out and back, with a host that gives back what it likes. The host here is the test: it has
 * every sealed piece of every checkpoint, in order, and no key. */
#include "enclave_shim/inside/image.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX = 4096, ROWS_MAX = 8192, OUTSIDE_BYTES = 24 << 20, KEYS = 3000 };

struct kept {                   /* as the host has it */
    struct pst_message message; /* as it came: PIECE */
    uint8_t bytes[PST_PIECE_BYTES_MAX];
};

struct checkpoint {
    uint64_t id;
    int64_t cut;
    uint32_t count, sealed_count, generation;
    uint8_t incarnation[PST_INCARNATION_BYTES];
    struct kept *kept;
};

struct scene { /* a worker */
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_inside_settings settings;
    struct pst_inside *inside;
    struct pst_secret *key, *master;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8], *outside;
    struct checkpoint *into;
    uint32_t row_count;
    struct {
        uint32_t key;
        int64_t sum;
    } rows[ROWS_MAX];
    int image_error;
};

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *scene = emitter;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    struct checkpoint *into = scene->into;
    pst_config_shapes(&scene->config, inputs, outputs);
    static uint8_t body[PST_BODY_BYTES_MAX];
    message->body_bytes = pst_pieces_write(pieces, piece_count, body);
    assert_int_equal(pst_message_check_out(message, outputs, 1), PST_OK);
    if (message->kind == PST_MESSAGE_ROWS) {
        for (uint32_t i = 0; i < message->row_count; i++) {
            scene->rows[scene->row_count].key = ((const uint32_t *)pieces[1].bytes)[i];
            scene->rows[scene->row_count++].sum = ((const int64_t *)pieces[2].bytes)[i];
        }
    } else if (message->kind == PST_MESSAGE_PIECE) {
        assert_true(into->count < PIECES_MAX);
        into->kept[into->count].message = *message;
        if (message->body_bytes != 0)
            memcpy(into->kept[into->count].bytes, pieces[0].bytes, message->body_bytes);
        into->sealed_count += message->body_bytes != 0;
        into->count++;
    } else if (message->kind == PST_MESSAGE_IMAGED) {
        memcpy(into->incarnation, pieces[0].bytes, sizeof into->incarnation);
        into->generation = message->facts;
        scene->image_error = message->error;
    }
    return PST_OK;
}

/* ---- workers ---- */

static void scene_begin(struct scene *scene, uint8_t incarnation, uint64_t least)
{
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, "");
    memset(scene->owned, 0xff, sizeof scene->owned);
    assert_int_equal(pst_secret_new(&scene->key), PST_OK);
    assert_int_equal(pst_secret_new(&scene->master), PST_OK);
    memset(pst_secret_bytes(scene->key), 7, PST_SECRET_BYTES);
    scene->settings = (struct pst_inside_settings){.op = &tally,
                                                   .config = &scene->config,
                                                   .owned = scene->owned,
                                                   .emit = emit,
                                                   .emitter = scene,
                                                   .image_key = scene->key,
                                                   .restore_keys = {scene->master, scene->key},
                                                   .restore_key_count = 2,
                                                   .master = scene->master,
                                                   .restore_least = least};
    memset(scene->settings.image_incarnation, incarnation, PST_INCARNATION_BYTES);
}

static void scene_open(struct scene *scene)
{
    char why[PST_SENTENCE_BYTES_MAX];
    assert_int_equal(pst_inside_new(&scene->settings, &scene->inside, why), PST_OK);
}

static void scene_page(struct scene *scene)
{
    scene->outside = calloc(1, OUTSIDE_BYTES);
    assert_non_null(scene->outside);
    scene->settings.page_budget = 32 * PST_PAGE_BYTES;
    scene->settings.outside = scene->outside;
    scene->settings.outside_bytes = OUTSIDE_BYTES;
}

static void scene_fini(struct scene *scene)
{
    pst_inside_free(scene->inside);
    pst_secret_free(scene->key);
    pst_secret_free(scene->master);
    free(scene->outside);
}

static int frame_once(struct scene *scene, uint32_t first, uint32_t n, int64_t t)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8], hash[ROWS_MAX];
    static int64_t time[ROWS_MAX], value[ROWS_MAX];
    static uint32_t key[ROWS_MAX];
    struct pst_message message = {.kind = PST_MESSAGE_FRAME, .row_count = n};
    for (uint32_t i = 0; i < n; i++) {
        time[i] = t;
        hash[i] = (first + i) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
        key[i] = first + i;
        value[i] = first + i;
    }
    const struct pst_piece pieces[] = {
        {time, n * 8, 8, false}, {hash, n * 8, 8, true}, {key, n * 4, 4, false}, {value, n * 8, 8, false}};
    message.body_bytes = pst_pieces_write(pieces, 4, (uint8_t *)body);
    return pst_inside_take(scene->inside, &message, (uint8_t *)body);
}

/* In messages that hold them. */
static int frame(struct scene *scene, uint32_t first, uint32_t n, int64_t t)
{
    int rc = PST_OK;
    for (uint32_t from = 0; from < n && rc == PST_OK; from += 1500)
        rc = frame_once(scene, first + from, n - from < 1500 ? n - from : 1500, t);
    return rc;
}

static int at_time(struct scene *scene, int64_t t)
{
    struct pst_message message = {.kind = PST_MESSAGE_TIME, .time = t, .limit = t};
    scene->row_count = 0;
    return pst_inside_take(scene->inside, &message, NULL);
}

static int image(struct scene *scene, struct checkpoint *into, uint64_t id, int64_t cut, uint32_t since)
{
    struct pst_message message = {.kind = PST_MESSAGE_IMAGE, .time = cut, .limit = (int64_t)id, .facts = since};
    if (into->kept == NULL)
        into->kept = calloc(PIECES_MAX, sizeof *into->kept);
    assert_non_null(into->kept);
    into->id = id;
    into->cut = cut;
    into->count = into->sealed_count = 0;
    scene->into = into;
    return pst_inside_take(scene->inside, &message, NULL);
}

/* All pages of `of` that were as before, as they were sealed before. */
static void fill(struct checkpoint *of, const struct checkpoint *before)
{
    for (uint32_t i = 0; i < of->count; i++) {
        struct pst_message *m = &of->kept[i].message;
        for (uint32_t k = 0; m->body_bytes == 0 && k < before->count; k++) {
            const struct pst_message *b = &before->kept[k].message;
            if (b->port == m->port && b->row_count == m->row_count && b->limit == m->limit && b->facts == m->facts)
                of->kept[i] = before->kept[k];
        }
        assert_int_not_equal(m->body_bytes, 0);
    }
}

static int give(struct scene *scene, const struct checkpoint *of, const struct kept *kept)
{
    static _Alignas(8) uint8_t body[PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MAX];
    struct pst_message message = kept->message;
    message.kind = PST_MESSAGE_RESTORE;
    message.body_bytes += PST_PIECE_INCARNATION_BYTES;
    memcpy(body, of->incarnation, PST_PIECE_INCARNATION_BYTES);
    memcpy(body + PST_PIECE_INCARNATION_BYTES, kept->bytes, kept->message.body_bytes);
    return pst_inside_take(scene->inside, &message, body);
}

static bool owns(const struct scene *scene, uint32_t bucket)
{
    return (scene->owned[bucket / 8] >> bucket % 8 & 1) != 0;
}

static int given(struct scene *scene, uint64_t id, int64_t cut)
{
    struct pst_message message = {.kind = PST_MESSAGE_RESTORED, .time = cut, .limit = (int64_t)id};
    return pst_inside_take(scene->inside, &message, NULL);
}

static int restore(struct scene *scene, const struct checkpoint *of)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < of->count && rc == PST_OK; i++)
        if (owns(scene, of->kept[i].message.port))
            rc = give(scene, of, &of->kept[i]);
    return rc == PST_OK ? given(scene, of->id, of->cut) : rc;
}

static void same_rows(const struct scene *a, const struct scene *b)
{
    assert_int_equal(a->row_count, b->row_count);
    for (uint32_t i = 0; i < a->row_count; i++) {
        assert_int_equal(a->rows[i].key, b->rows[i].key);
        assert_int_equal(a->rows[i].sum, b->rows[i].sum);
    }
}

/* A worker with two checkpoints: all of the first, and what has changed up to the second, filled up. */
static void two_checkpoints(struct scene *scene, struct checkpoint *first, struct checkpoint *second)
{
    memset(first, 0, sizeof *first);
    memset(second, 0, sizeof *second);
    for (uint32_t i = 0; i < KEYS; i += 500)
        assert_int_equal(frame(scene, i, 500, 1), PST_OK);
    assert_int_equal(at_time(scene, 10), PST_OK);
    assert_int_equal(image(scene, first, 1, 10, 0), PST_OK);
    assert_int_equal(frame(scene, 0, 3, 11), PST_OK);
    assert_int_equal(at_time(scene, 20), PST_OK);
    assert_int_equal(image(scene, second, 2, 20, first->generation), PST_OK);
    assert_int_equal(first->sealed_count, first->count);
    assert_true(second->sealed_count < second->count); /* most pages are as they were */
    fill(second, first);
}

static void checkpoints_fini(struct checkpoint *first, struct checkpoint *second)
{
    free(first->kept);
    free(second->kept);
}

/* ---- as it should be ---- */

static void goes_on(bool paged)
{
    static struct scene before, after;
    struct checkpoint first, second, third = {0};
    scene_begin(&before, 1, 0);
    scene_begin(&after, 2, 2);
    if (paged) {
        scene_page(&before);
        scene_page(&after);
    }
    scene_open(&before);
    scene_open(&after);
    two_checkpoints(&before, &first, &second);
    assert_int_equal(restore(&after, &second), PST_OK);
    for (int64_t t = 30; t <= 1030; t += 250) { /* rows, then the timers that are in the indices */
        assert_int_equal(frame(&before, 100, 2000, t - 5), PST_OK);
        assert_int_equal(frame(&after, 100, 2000, t - 5), PST_OK);
        assert_int_equal(at_time(&before, t), PST_OK);
        assert_int_equal(at_time(&after, t), PST_OK);
        same_rows(&before, &after);
        assert_true(before.row_count >= 2000);
    }
    assert_int_equal(image(&after, &third, 3, 1030, 0), PST_OK); /* and its own go on from there */
    free(third.kept);
    checkpoints_fini(&first, &second);
    scene_fini(&before);
    scene_fini(&after);
}

static void a_worker_goes_on_where_another_one_was(void **state)
{
    (void)state;
    goes_on(false);
}

static void so_it_does_with_most_of_it_outside(void **state)
{
    (void)state;
    goes_on(true);
}

static void buckets_of_one_worker_may_go_to_several(void **state)
{
    (void)state;
    static struct scene before, half[2];
    struct checkpoint first, second;
    uint32_t rows = 0;
    scene_begin(&before, 1, 0);
    scene_open(&before);
    two_checkpoints(&before, &first, &second);
    assert_int_equal(frame(&before, 0, KEYS, 25), PST_OK);
    assert_int_equal(at_time(&before, 30), PST_OK);
    for (int i = 0; i < 2; i++) {
        scene_begin(&half[i], (uint8_t)(2 + i), 2);
        memset(half[i].owned, i == 0 ? 0x55 : 0xaa, sizeof half[i].owned);
        scene_open(&half[i]);
        assert_int_equal(restore(&half[i], &second), PST_OK);
        assert_int_equal(frame(&half[i], 0, KEYS, 25), PST_OK);
        assert_int_equal(at_time(&half[i], 30), PST_OK);
        rows += half[i].row_count;
        scene_fini(&half[i]);
    }
    assert_true(rows >= before.row_count); /* each has taken rows of all, and puts out those of its own buckets */
    checkpoints_fini(&first, &second);
    scene_fini(&before);
}

static void nothing_of_the_state_can_be_read_in_what_goes_out(void **state)
{
    (void)state;
    static struct scene scene;
    struct checkpoint first, second;
    scene_begin(&scene, 1, 0);
    scene_open(&scene);
    two_checkpoints(&scene, &first, &second);
    for (uint32_t key = 0; key < KEYS; key += 97) {
        struct {
            uint32_t key, zero;
            int64_t value;
        } record = {key, 0, key};
        for (uint32_t i = 0; i < first.count; i++)
            assert_null(memmem(first.kept[i].bytes, first.kept[i].message.body_bytes, &record, sizeof record));
    }
    checkpoints_fini(&first, &second);
    scene_fini(&scene);
}

/* ---- hostile ---- */

/* Of what a host may do with the second checkpoint of two, and the sentence that it ends with. */
struct attack {
    const char *name, *sentence;
    int (*mount)(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second);
};

static uint32_t piece_at(const struct checkpoint *of, bool index, uint32_t bucket)
{
    for (uint32_t i = 0; i < of->count; i++)
        if (of->kept[i].message.port == bucket && (of->kept[i].message.row_count == PST_PLACE_INDEX) == index)
            return i;
    fail();
    return 0;
}

static uint32_t changed_page(const struct checkpoint *first, const struct checkpoint *second)
{
    for (uint32_t i = 0; i < second->count; i++)
        if (memcmp(&first->kept[i], &second->kept[i], sizeof first->kept[i]) != 0 &&
            second->kept[i].message.row_count != PST_PLACE_INDEX)
            return i;
    fail();
    return 0;
}

static int with(struct scene *scene, const struct checkpoint *of, uint32_t at, const struct kept *instead)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < of->count && rc == PST_OK; i++)
        rc = i != at ? give(scene, of, &of->kept[i]) : instead != NULL ? give(scene, of, instead) : PST_OK;
    return rc == PST_OK ? given(scene, of->id, of->cut) : rc;
}

static int flipped(struct scene *scene, const struct checkpoint *second, uint32_t at, uint32_t byte)
{
    struct kept changed = second->kept[at];
    changed.bytes[byte] ^= 1;
    return with(scene, second, at, &changed);
}

static int a_byte_of_a_page(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    return flipped(scene, second, piece_at(second, false, 3), 5000);
}

static int a_byte_of_an_index(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    return flipped(scene, second, piece_at(second, true, 3), 100);
}

static int the_version_in_an_index(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    return flipped(scene, second, piece_at(second, true, 3), 24);
}

static int an_older_page(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    uint32_t at = changed_page(first, second);
    return with(scene, second, at, &first->kept[at]);
}

static int an_older_page_as_a_newer_one(struct scene *scene, const struct checkpoint *first,
                                        const struct checkpoint *second)
{
    uint32_t at = changed_page(first, second);
    struct kept older = first->kept[at];
    older.message.facts = second->kept[at].message.facts;
    return with(scene, second, at, &older);
}

static int an_older_index(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    uint32_t at = piece_at(second, true, 5);
    return with(scene, second, at, &first->kept[at]);
}

static int another_buckets_page(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    struct kept other = second->kept[piece_at(second, false, 4)];
    other.message.port = 3;
    return with(scene, second, piece_at(second, false, 3), &other);
}

static int a_page_left_out(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    uint32_t at = piece_at(second, true, 3); /* the last page before it */
    return with(scene, second, at - 1, NULL);
}

static int an_index_left_out(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    return with(scene, second, piece_at(second, true, 3), NULL);
}

static int a_bucket_left_out(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    int rc = PST_OK;
    (void)first;
    for (uint32_t i = 0; i < second->count && rc == PST_OK; i++)
        if (second->kept[i].message.port != 6)
            rc = give(scene, second, &second->kept[i]);
    return rc == PST_OK ? given(scene, second->id, second->cut) : rc;
}

static int a_bucket_twice(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    int rc = PST_OK;
    (void)first;
    for (uint32_t turn = 0; turn < 2 && rc == PST_OK; turn++)
        for (uint32_t i = 0; i < second->count && rc == PST_OK; i++)
            if (second->kept[i].message.port == 2)
                rc = give(scene, second, &second->kept[i]);
    return rc;
}

static int all_of_an_older_checkpoint(struct scene *scene, const struct checkpoint *first,
                                      const struct checkpoint *second)
{
    (void)second;
    return restore(scene, first);
}

static int an_older_one_by_a_newer_name(struct scene *scene, const struct checkpoint *first,
                                        const struct checkpoint *second)
{
    struct checkpoint as = *first;
    as.id = second->id;
    as.cut = second->cut;
    return restore(scene, &as);
}

static int another_checkpoint_in_the_end(struct scene *scene, const struct checkpoint *first,
                                         const struct checkpoint *second)
{
    (void)first;
    struct checkpoint as = *second;
    as.id++;
    return restore(scene, &as);
}

static int another_incarnation(struct scene *scene, const struct checkpoint *first, const struct checkpoint *second)
{
    (void)first;
    struct checkpoint as = *second;
    as.incarnation[0] ^= 1;
    return restore(scene, &as);
}

static int two_incarnations_in_a_bucket(struct scene *scene, const struct checkpoint *first,
                                        const struct checkpoint *second)
{
    (void)first;
    struct checkpoint as = *second;
    uint32_t at = piece_at(second, true, 0);
    as.incarnation[0] ^= 1;
    int rc = PST_OK;
    for (uint32_t i = 0; i <= at && rc == PST_OK; i++)
        rc = give(scene, i < at ? second : &as, &second->kept[i]);
    return rc;
}

static const struct attack attacks[] = {
    {"a byte of a page", "page 0 is not what was sealed there", a_byte_of_a_page},
    {"a byte of an index", "index 0 is not what was sealed there", a_byte_of_an_index},
    {"the version in an index", "index 0 is not what was sealed there", the_version_in_an_index},
    {"an older page", "its pages are not those that its index names", an_older_page},
    {"an older page as a newer one", "is not what was sealed there", an_older_page_as_a_newer_one},
    {"an older index", "it is of another checkpoint than others", an_older_index},
    {"another bucket's page", "page 0 is not what was sealed there", another_buckets_page},
    {"a page left out", "its pages are not those that its index names", a_page_left_out},
    {"an index left out", "something of it is missing", an_index_left_out},
    {"a bucket left out", "it was not given back", a_bucket_left_out},
    {"a bucket twice", "it was given back twice", a_bucket_twice},
    {"all of an older checkpoint", "it is older than the checkpoint that its key was given for",
     all_of_an_older_checkpoint},
    {"an older one by a newer name", "it is older than the checkpoint that its key was given for",
     an_older_one_by_a_newer_name},
    {"another checkpoint in the end", "is of checkpoint 2, not of 3", another_checkpoint_in_the_end},
    {"another incarnation", "is not what was sealed there", another_incarnation},
    {"two incarnations in a bucket", "were sealed by more than one worker", two_incarnations_in_a_bucket},
};

static void what_was_not_sealed_there_is_refused_with_a_report(void **state)
{
    (void)state;
    static struct scene before, after;
    struct checkpoint first, second;
    scene_begin(&before, 1, 0);
    scene_open(&before);
    two_checkpoints(&before, &first, &second);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        scene_begin(&after, 2, 2);
        scene_open(&after);
        int rc = attacks[i].mount(&after, &first, &second);
        if (rc != PST_EREFUSED || strstr(pst_inside_why(after.inside), attacks[i].sentence) == NULL)
            print_message("%s: %d, %s\n", attacks[i].name, rc, pst_inside_why(after.inside));
        assert_int_equal(rc, PST_EREFUSED);
        assert_non_null(strstr(pst_inside_why(after.inside), attacks[i].sentence));
        scene_fini(&after);
    }
    checkpoints_fini(&first, &second);
    scene_fini(&before);
}

/* A stolen checkpoint: of another graph, another operator, under another key it opens nothing. */
static void what_is_another_operators_does_not_open(void **state)
{
    (void)state;
    static struct scene before, after;
    struct checkpoint first, second;
    scene_begin(&before, 1, 0);
    scene_open(&before);
    two_checkpoints(&before, &first, &second);
    for (int i = 0; i < 4; i++) {
        scene_begin(&after, 2, 2);
        if (i == 0)
            pst_secret_bytes(after.key)[5] ^= 1;
        else if (i == 1)
            after.settings.graph[0] ^= 1;
        else if (i == 2)
            after.config.id = "another";
        scene_open(&after);
        assert_int_equal(restore(&after, &second), i < 3 ? PST_EREFUSED : PST_OK); /* 3: the control */
        scene_fini(&after);
    }
    checkpoints_fini(&first, &second);
    scene_fini(&before);
}

static void a_worker_that_must_be_given_something_back_does_nothing_before(void **state)
{
    (void)state;
    static struct scene before, after;
    struct checkpoint first, second, none = {0};
    scene_begin(&before, 1, 0);
    scene_open(&before);
    two_checkpoints(&before, &first, &second);
    scene_begin(&after, 2, 2);
    scene_open(&after);
    assert_int_equal(frame(&after, 0, 1, 25), PST_EDATA);
    assert_int_equal(at_time(&after, 30), PST_EDATA);
    assert_int_equal(image(&after, &none, 3, 30, 0), PST_EDATA);
    assert_int_equal(restore(&after, &second), PST_OK);
    assert_int_equal(frame(&after, 0, 1, 25), PST_OK);
    assert_int_equal(give(&after, &second, &second.kept[0]),
                     PST_EDATA); /* and nothing is given back to one that works */
    assert_int_equal(given(&after, 2, 20), PST_EDATA);
    free(none.kept);
    checkpoints_fini(&first, &second);
    scene_fini(&after);
    scene_fini(&before);
}

static void no_image_is_sealed_twice_or_between_epochs(void **state)
{
    (void)state;
    static struct scene scene;
    struct checkpoint first, second, again = {0};
    scene_begin(&scene, 1, 0);
    scene_open(&scene);
    two_checkpoints(&scene, &first, &second);
    assert_int_equal(image(&scene, &again, 2, 20, 0), PST_EDATA);
    assert_int_equal(image(&scene, &again, 1, 20, 0), PST_EDATA);
    assert_int_equal(image(&scene, &again, 0, 20, 0), PST_EDATA);
    assert_int_equal(image(&scene, &again, 3, 19, 0), PST_EDATA);
    assert_int_equal(frame(&scene, 0, 1, 25), PST_OK);
    assert_int_equal(image(&scene, &again, 3, 30, 0), PST_EDATA);
    assert_int_equal(at_time(&scene, 30), PST_OK);
    assert_int_equal(image(&scene, &again, 3, 30, 0), PST_OK);
    free(again.kept);
    checkpoints_fini(&first, &second);
    scene_fini(&scene);
}

/* A worker of sealed rows: its key of images comes after its start, and with them goes how far it is in its stream. */
static void scene_open_sealed(struct scene *scene, struct pst_enclave_sealing *sealing)
{
    const uint8_t key[PST_SECRET_BYTES] = {7};
    scene->config.sealing = sealing;
    scene->settings.image_room = scene->key;
    scene->settings.image_key = NULL;
    scene->settings.restore_key_count = 0;
    scene_open(scene);
    assert_int_equal(pst_inside_images(scene->inside, key), PST_OK);
}

static bool is_place(const struct kept *kept) { return (uint16_t)kept->message.row_count == PST_EXTRA_STRUCTURE; }

/* Pieces of the place of one; -1: all of them, else all but this one. */
static int place_of(struct scene *scene, const struct checkpoint *one, int without)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < one->count && rc == PST_OK; i++)
        if (is_place(&one->kept[i]) && one->kept[i].message.limit != without)
            rc = give(scene, one, &one->kept[i]);
    return rc;
}

/* The first bucket as it was in `one`, and the others as in `other`. */
static int buckets_of_both(struct scene *scene, const struct checkpoint *one, const struct checkpoint *other)
{
    int rc = PST_OK;
    assert_int_equal(one->count, other->count);
    for (uint32_t i = 0; i < one->count && rc == PST_OK; i++) {
        const struct checkpoint *of = one->kept[i].message.port == 0 ? one : other;
        if (!is_place(&one->kept[i]))
            rc = give(scene, of, &of->kept[i]);
    }
    return rc == PST_OK ? given(scene, one->id, one->cut) : rc;
}

enum { PLACE_BYTES = 40000 }; /* three pieces */
struct pair {                 /* two workers of sealed rows, and two checkpoints of each */
    struct scene before[2], after;
    struct checkpoint first[2], second[2];
    struct pst_text place[2];
    struct pst_enclave_sealing sealing;
};

static struct pair *pair_new(void)
{
    static struct pair pair;
    static char bytes[PLACE_BYTES];
    memset(&pair, 0, sizeof pair);
    pair.sealing = (struct pst_enclave_sealing){.inputs = {{"rows.0>sums.0", 0, 1}}};
    for (int i = 0; i < 2; i++) {
        const uint32_t magic = PST_PLACE_MAGIC;
        memset(bytes, 'a' + i, sizeof bytes);
        memcpy(bytes, &magic, sizeof magic);
        scene_begin(&pair.before[i], (uint8_t)(1 + i), 0);
        scene_open_sealed(&pair.before[i], &pair.sealing);
        assert_int_equal(pst_text_add(&pair.place[i], bytes, sizeof bytes), PST_OK);
        pst_inside_extra(pair.before[i].inside, &pair.place[i]);
        two_checkpoints(&pair.before[i], &pair.first[i], &pair.second[i]);
    }
    return &pair;
}

static void pair_free(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        checkpoints_fini(&pair->first[i], &pair->second[i]);
        pst_text_fini(&pair->place[i]);
        scene_fini(&pair->before[i]);
    }
}

static void after_begin(struct pair *pair)
{
    scene_begin(&pair->after, 3, 0);
    scene_open_sealed(&pair->after, &pair->sealing);
}

static void after_refused(struct pair *pair, int rc, const char *why)
{
    assert_int_equal(rc, PST_EREFUSED);
    if (strstr(pst_inside_why(pair->after.inside), why) == NULL)
        fail_msg("%s", pst_inside_why(pair->after.inside));
    scene_fini(&pair->after);
}

static void where_rows_are_sealed_the_place_of_each_worker_comes_first(void **state)
{
    (void)state;
    struct pair *pair = pair_new();
    struct scene *after = &pair->after;
    for (int i = 0; i < 2; i++) {
        after_begin(pair);
        assert_int_equal(restore(after, &pair->second[i]), PST_OK); /* most of its pages are of the checkpoint before */
        assert_int_equal(pst_inside_place_count(after->inside), 1);
        assert_int_equal(pst_inside_place(after->inside, 0)->count, PLACE_BYTES);
        assert_memory_equal(pst_inside_place(after->inside, 0)->bytes, pair->place[i].bytes, PLACE_BYTES);
        pst_inside_places_forget(after->inside);
        assert_int_equal(pst_inside_place_count(after->inside), 0);
        scene_fini(after);
    }
    after_begin(pair); /* of both */
    for (int i = 0; i < 2; i++)
        assert_int_equal(place_of(after, &pair->second[i], -1), PST_OK);
    assert_int_equal(buckets_of_both(after, &pair->second[1], &pair->second[0]), PST_OK);
    assert_int_equal(pst_inside_place_count(after->inside), 2);
    assert_true(pst_inside_place_has(after->inside, 1, 0) && !pst_inside_place_has(after->inside, 0, 0));
    assert_true(pst_inside_place_has(after->inside, 0, 1) && !pst_inside_place_has(after->inside, 1, 1));
    assert_memory_equal(pst_inside_place(after->inside, 1)->bytes, pair->place[1].bytes, PLACE_BYTES);
    scene_fini(after);
    pair_free(pair);
}

static void a_bucket_without_its_workers_place_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_new();
    for (int i = 0; i < 2; i++) {
        after_begin(pair);
        assert_int_equal(place_of(&pair->after, &pair->second[i], -1), PST_OK);
        after_refused(pair, buckets_of_both(&pair->after, &pair->second[i], &pair->second[1 - i]),
                      "bucket 1: the place in the stream of the worker that has sealed it is not there");
    }
    pair_free(pair);
}

static void a_place_of_a_worker_without_a_bucket_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_new();
    after_begin(pair);
    assert_int_equal(place_of(&pair->after, &pair->second[1], -1), PST_OK);
    after_refused(pair, restore(&pair->after, &pair->second[0]), "of a worker that has sealed nothing of it");
    pair_free(pair);
}

static void a_place_is_whole_and_of_one_image(void **state)
{
    (void)state;
    struct pair *pair = pair_new();
    static const char *const broken = "is not whole, or not of one image";
    for (int without = 0; without < 2; without++) {
        after_begin(pair);
        after_refused(pair, place_of(&pair->after, &pair->second[0], without), broken);
    }
    after_begin(pair); /* the first piece of one checkpoint, the others of the next */
    assert_int_equal(give(&pair->after, &pair->first[0], &pair->first[0].kept[0]), PST_OK);
    after_refused(pair, place_of(&pair->after, &pair->second[0], 0), broken);
    after_begin(pair); /* twice */
    assert_int_equal(place_of(&pair->after, &pair->second[0], -1), PST_OK);
    after_refused(pair, place_of(&pair->after, &pair->second[0], -1), broken);
    after_begin(pair); /* by the name of another bucket */
    struct kept *first = &pair->second[0].kept[0];
    assert_true(is_place(first));
    first->message.port = 1;
    after_refused(pair, give(&pair->after, &pair->second[0], first), "is not what was sealed there");
    first->message.port = UINT32_MAX;
    after_begin(pair);
    after_refused(pair, give(&pair->after, &pair->second[0], first), "it is not this operator's");
    first->message.port = 0;
    after_begin(pair); /* amid a bucket */
    assert_int_equal(place_of(&pair->after, &pair->second[0], -1), PST_OK);
    for (uint32_t i = 0; i < pair->second[0].count; i++)
        if (!is_place(&pair->second[0].kept[i])) {
            assert_int_equal(give(&pair->after, &pair->second[0], &pair->second[0].kept[i]), PST_OK);
            break;
        }
    after_refused(pair, place_of(&pair->after, &pair->second[1], -1), "something of it is missing");
    pair_free(pair);
}

static void an_image_of_an_earlier_version_is_refused(void **state)
{
    (void)state;
    static struct scene before, after;
    struct checkpoint first, second;
    struct pst_text place = {0};
    struct pst_enclave_sealing sealing = {.inputs = {{"rows.0>sums.0", 0, 1}}};
    scene_begin(&before, 1, 0);
    scene_open_sealed(&before, &sealing);
    assert_int_equal(pst_text_add(&place, "PSTW, and more", 14), PST_OK); /* as it was before it had a version */
    pst_inside_extra(before.inside, &place);
    two_checkpoints(&before, &first, &second);
    scene_begin(&after, 3, 0);
    scene_open_sealed(&after, &sealing);
    assert_int_equal(restore(&after, &second), PST_EREFUSED);
    assert_non_null(
        strstr(pst_inside_why(after.inside), "it was made by an earlier version, whose images are not gone on from"));
    scene_fini(&after);
    scene_fini(&before);
    checkpoints_fini(&first, &second);
    pst_text_fini(&place);
}

/* The control: where rows are not sealed there are no places. */
static void where_they_are_not_there_are_no_places(void **state)
{
    (void)state;
    static struct scene before[2], after;
    struct checkpoint first[2], second[2];
    for (int i = 0; i < 2; i++) {
        scene_begin(&before[i], (uint8_t)(1 + i), 0);
        scene_open(&before[i]);
        two_checkpoints(&before[i], &first[i], &second[i]);
    }
    scene_begin(&after, 3, 2);
    scene_open(&after);
    assert_int_equal(buckets_of_both(&after, &second[0], &second[1]), PST_OK);
    scene_fini(&after);
    for (int i = 0; i < 2; i++) {
        checkpoints_fini(&first[i], &second[i]);
        scene_fini(&before[i]);
    }
}

static void without_a_key_there_are_no_images(void **state)
{
    (void)state;
    static struct scene scene;
    struct checkpoint none = {0};
    scene_begin(&scene, 1, 0);
    scene.settings.image_key = NULL;
    scene_open(&scene);
    assert_int_equal(image(&scene, &none, 1, 10, 0), PST_EDATA);
    assert_int_equal(given(&scene, 1, 10), PST_EDATA);
    free(none.kept);
    scene_fini(&scene);
}

/* That there is no memory for an image is told; the worker goes on, and the next image is whole. */
static void every_allocation_of_an_image_may_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        static struct scene before, after;
        struct checkpoint first, second = {0};
        scene_begin(&before, 1, 0);
        scene_open(&before);
        memset(&first, 0, sizeof first);
        assert_int_equal(frame(&before, 0, KEYS, 1), PST_OK);
        assert_int_equal(at_time(&before, 10), PST_OK);
        pst_malloc_fail_at(n);
        assert_int_equal(image(&before, &first, 1, 10, 0), PST_OK);
        pst_malloc_fail_at(0);
        int error = before.image_error;
        assert_true(error == PST_OK || error == PST_ENOMEM);
        assert_int_equal(image(&before, &second, 2, 10, 0), PST_OK);
        assert_int_equal(before.image_error, PST_OK);
        scene_begin(&after, 2, 2);
        scene_open(&after);
        assert_int_equal(restore(&after, &second), PST_OK);
        scene_fini(&after);
        checkpoints_fini(&first, &second);
        scene_fini(&before);
        if (error == PST_OK)
            break;
    }
}

static void every_allocation_of_the_way_back_may_fail(void **state)
{
    (void)state;
    static struct scene before, after;
    struct checkpoint first, second;
    scene_begin(&before, 1, 0);
    scene_open(&before);
    two_checkpoints(&before, &first, &second);
    for (uint64_t n = 1;; n += 7) {
        scene_begin(&after, 2, 2);
        scene_open(&after);
        pst_malloc_fail_at(n);
        int rc = restore(&after, &second);
        pst_malloc_fail_at(0);
        scene_fini(&after);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
    }
    checkpoints_fini(&first, &second);
    scene_fini(&before);
}

/* An index has several parts where a bucket has many pages; here it is read cut and changed in every byte. */
static void an_index_that_was_cut_or_changed_is_read_to_its_end_or_refused(void **state)
{
    (void)state;
    uint8_t clear[PST_INDEX_HEADER_BYTES + 2 * PST_INDEX_LOG_BYTES + 3 * PST_INDEX_PAGE_BYTES] = {'P', 'S', 'T', 'I',
                                                                                                  1};
    const uint32_t words[] = {0, 2, 2, 3}; /* part, parts, logs, pages */
    struct pst_index index;
    clear[8] = 9;
    memcpy(clear + 32, words, sizeof words);
    assert_int_equal(pst_index_read(clear, sizeof clear, &index), PST_OK);
    assert_int_equal(index.checkpoint, 9);
    assert_int_equal(index.log_count, 2);
    assert_int_equal(index.page_count, 3);
    for (uint32_t count = 0; count < sizeof clear; count++)
        assert_int_equal(pst_index_read(clear, count, &index), PST_EDATA);
    for (uint32_t at = 0; at < PST_INDEX_HEADER_BYTES; at++) {
        clear[at] ^= 0x81;
        int rc = pst_index_read(clear, sizeof clear, &index);
        bool free_field = (at >= 8 && at < 40 && at != 32 && at != 36) || at >= 48;
        assert_true(rc == PST_EDATA || (rc == PST_OK && (free_field || at >= 32)));
        clear[at] ^= 0x81;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_goes_on_where_another_one_was),
        cmocka_unit_test(so_it_does_with_most_of_it_outside),
        cmocka_unit_test(buckets_of_one_worker_may_go_to_several),
        cmocka_unit_test(nothing_of_the_state_can_be_read_in_what_goes_out),
        cmocka_unit_test(what_was_not_sealed_there_is_refused_with_a_report),
        cmocka_unit_test(what_is_another_operators_does_not_open),
        cmocka_unit_test(a_worker_that_must_be_given_something_back_does_nothing_before),
        cmocka_unit_test(no_image_is_sealed_twice_or_between_epochs),
        cmocka_unit_test(where_rows_are_sealed_the_place_of_each_worker_comes_first),
        cmocka_unit_test(a_bucket_without_its_workers_place_is_refused),
        cmocka_unit_test(a_place_of_a_worker_without_a_bucket_is_refused),
        cmocka_unit_test(a_place_is_whole_and_of_one_image),
        cmocka_unit_test(an_image_of_an_earlier_version_is_refused),
        cmocka_unit_test(where_they_are_not_there_are_no_places),
        cmocka_unit_test(without_a_key_there_are_no_images),
        cmocka_unit_test(every_allocation_of_an_image_may_fail),
        cmocka_unit_test(every_allocation_of_the_way_back_may_fail),
        cmocka_unit_test(an_index_that_was_cut_or_changed_is_read_to_its_end_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
