/* test_inside.c - the worker's handler without a process: what it answers to messages, good ones and others; and configurations. */
#include "enclave_shim/inside/inside.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 4096, OUTSIDE_BYTES = 24 << 20 };

struct scene {
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_inside_settings settings;
    struct pst_inside *inside;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    /* what came out */
    uint32_t keys[ROWS_MAX];
    int64_t sums[ROWS_MAX];
    uint32_t row_count, done_count;
    int64_t timer_min;
    int error;
    int64_t rows_time; /* of frames; 0: 1 */
    int64_t timed[8];  /* of each ROWS with a time of its own, that */
    uint32_t timed_count, untimed_count;
};

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *scene = emitter;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    pst_config_shapes(&scene->config, inputs, outputs);
    static uint8_t body[PST_BODY_BYTES_MAX];
    message->body_bytes = pst_pieces_write(pieces, piece_count, body);
    assert_int_equal(pst_message_check_out(message, outputs, 1), PST_OK);
    if (message->kind == PST_MESSAGE_ROWS) {
        assert_true(scene->row_count + message->row_count <= ROWS_MAX);
        memcpy(scene->keys + scene->row_count, pieces[1].bytes, pieces[1].byte_count);
        memcpy(scene->sums + scene->row_count, pieces[2].bytes, pieces[2].byte_count);
        scene->row_count += message->row_count;
        scene->untimed_count += message->facts == 0;
        if (message->facts == PST_ROWS_TIMED && scene->timed_count < 8)
            scene->timed[scene->timed_count++] = message->time;
    } else {
        scene->done_count += message->kind == PST_MESSAGE_DONE;
        scene->timer_min = message->time;
    }
    return scene->error;
}

static void scene_init(struct scene *scene, const char *call)
{
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, call);
    memset(scene->owned, 0xff, sizeof scene->owned);
    scene->settings = (struct pst_inside_settings){
        .op = &tally, .config = &scene->config, .owned = scene->owned, .emit = emit, .emitter = scene};
}

static void scene_open(struct scene *scene, const char *call)
{
    char why[PST_SENTENCE_BYTES_MAX];
    scene_init(scene, call);
    assert_int_equal(pst_inside_new(&scene->settings, &scene->inside, why), PST_OK);
}

/* A frame of n rows with keys first, first + 1 and so on, each with the value 1. */
static int frame(struct scene *scene, uint32_t first, uint32_t n)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8], hash[ROWS_MAX];
    static int64_t time[ROWS_MAX], value[ROWS_MAX];
    static uint32_t key[ROWS_MAX];
    struct pst_message message = {.kind = PST_MESSAGE_FRAME, .row_count = n};
    for (uint32_t i = 0; i < n; i++) {
        time[i] = scene->rows_time != 0 ? scene->rows_time : 1;
        value[i] = 1;
        hash[i] = (first + i) * UINT64_C(0x9e3779b97f4a7c15);
        key[i] = first + i;
    }
    const struct pst_piece pieces[] = {
        {time, n * 8, 8, false}, {hash, n * 8, 8, true}, {key, n * 4, 4, false}, {value, n * 8, 8, false}};
    message.body_bytes = pst_pieces_write(pieces, 4, (uint8_t *)body);
    return pst_inside_take(scene->inside, &message, (uint8_t *)body);
}

static int at_time(struct scene *scene, int64_t t)
{
    struct pst_message message = {.kind = PST_MESSAGE_TIME, .time = t, .limit = t};
    scene->row_count = 0;
    return pst_inside_take(scene->inside, &message, NULL);
}

static int64_t sum_of(const struct scene *scene, uint32_t key)
{
    for (uint32_t i = 0; i < scene->row_count; i++)
        if (scene->keys[i] == key)
            return scene->sums[i];
    return -1;
}

static void rows_are_summed_and_put_out_by_the_buckets_that_are_due(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, "");
    assert_int_equal(frame(&scene, 0, 1500), PST_OK);
    assert_int_equal(frame(&scene, 500, 500), PST_OK);
    assert_int_equal(at_time(&scene, 10), PST_OK);
    assert_int_equal(scene.row_count, 1500);
    assert_int_equal(sum_of(&scene, 499), 1);
    assert_int_equal(sum_of(&scene, 500), 2);
    assert_int_equal(scene.done_count, 1);
    assert_int_equal(scene.timer_min, 10 + 100 * TALLY_EPOCH);
    assert_int_equal(at_time(&scene, 20), PST_OK); /* nothing came */
    assert_int_equal(scene.row_count, 0);
    assert_int_equal(at_time(&scene, 10 + 100 * TALLY_EPOCH), PST_OK); /* timers */
    assert_int_equal(scene.row_count, 1500);
    pst_inside_free(scene.inside);
}

/* What the operator is called with. */
static struct {
    uint32_t row_count[8], call_count;
    bool more;
} watched;

static int watched_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    for (uint32_t i = 1; i < rows->row_count; i++)
        assert_true(rows->time[i] >= rows->time[i - 1]);
    assert_true(watched.call_count < 8);
    watched.row_count[watched.call_count++] = rows->row_count;
    return tally.on_frame(ctx, rows);
}

static bool watched_more(void *emitter)
{
    (void)emitter;
    return watched.more;
}

static int frame_at(struct scene *scene, int64_t t, uint32_t first, uint32_t n)
{
    scene->rows_time = t;
    return frame(scene, first, n);
}

static void frames_that_follow_each_other_are_one_where_more_is_there_already(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_operator operator= tally;
    char why[PST_SENTENCE_BYTES_MAX];
    operator.on_frame = watched_on_frame;
    memset(&watched, 0, sizeof watched);
    scene_init(&scene, "");
    scene.settings.op = &operator;
    scene.settings.more = watched_more;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_OK);
    watched.more = true;
    assert_int_equal(frame_at(&scene, 1, 0, 100), PST_OK);
    assert_int_equal(frame_at(&scene, 2, 50, 100), PST_OK);
    assert_int_equal(watched.call_count, 0);
    assert_int_equal(frame_at(&scene, 1, 150, 10), PST_OK); /* its time goes back */
    assert_int_equal(watched.call_count, 1);
    assert_int_equal(frame_at(&scene, 1, 160, 1000), PST_OK);
    assert_int_equal(frame_at(&scene, 1, 1160, 1200), PST_OK); /* they would be more than a frame has */
    assert_int_equal(watched.call_count, 2);
    watched.more = false; /* a time is still to come, but it is not there yet */
    assert_int_equal(frame_at(&scene, 3, 0, 1), PST_OK);
    assert_int_equal(watched.call_count, 3);
    watched.more = true;
    assert_int_equal(frame_at(&scene, 3, 0, 2), PST_OK);
    assert_int_equal(watched.call_count, 3);
    assert_int_equal(at_time(&scene, 10), PST_OK);
    assert_int_equal(watched.call_count, 4);
    const uint32_t counts[] = {200, 1010, 1201, 2};
    for (int i = 0; i < 4; i++)
        assert_int_equal(watched.row_count[i], counts[i]);
    assert_int_equal(scene.row_count, 2360);
    assert_int_equal(sum_of(&scene, 0), 3);
    assert_int_equal(sum_of(&scene, 1), 2);
    assert_int_equal(sum_of(&scene, 50), 2);
    assert_int_equal(sum_of(&scene, 2359), 1);
    pst_inside_free(scene.inside);
}

static void in_total_order_rows_leave_with_the_time_of_those_they_are_of(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, "total");
    assert_int_equal(frame(&scene, 0, 100), PST_OK);
    assert_int_equal(frame(&scene, 50, 100), PST_OK);
    assert_int_equal(scene.row_count, 0); /* they wait until there are more, of this time */
    scene.rows_time = 4;
    assert_int_equal(frame(&scene, 0, 1), PST_OK);
    assert_int_equal(scene.row_count, 200);
    assert_int_equal(scene.timed_count, 1);
    assert_int_equal(scene.timed[0], 1);
    assert_int_equal(at_time(&scene, 10), PST_OK); /* what is left of on_frame() first, then what on_time() puts out */
    assert_int_equal(scene.timed_count, 2);
    assert_int_equal(scene.timed[1], 4);
    assert_int_equal(scene.row_count, 1 + 150);
    assert_int_equal(scene.untimed_count, 1);
    assert_int_equal(scene.sums[0], -1);
    assert_int_equal(sum_of(&scene, 120), 1);
    scene.rows_time = 10;
    assert_int_equal(frame(&scene, 0, 1500), PST_OK); /* more than a batch */
    assert_int_equal(scene.timed_count, 3);
    scene.rows_time = 9;
    assert_int_equal(frame(&scene, 0, 1), PST_EDATA); /* below the time that was reached */
    pst_inside_free(scene.inside);
}

static void in_epoch_order_on_frame_puts_nothing_out(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_SENTENCE_BYTES_MAX];
    scene_init(&scene, "total");
    scene.config.total = false; /* as a host would have it */
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_EDATA);
    assert_non_null(strstr(why, "is not the one that the host has made"));
    pst_inside_free(scene.inside);
    scene_init(&scene, "");
    scene.config.total = true;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_EDATA);
    pst_inside_free(scene.inside);
}

static void only_buckets_of_the_partition_are_due(void **state)
{
    (void)state;
    struct scene scene;
    char why[PST_SENTENCE_BYTES_MAX];
    scene_init(&scene, "");
    memset(scene.owned, 0, sizeof scene.owned);
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_OK);
    assert_int_equal(frame(&scene, 0, 100), PST_OK);
    assert_int_equal(at_time(&scene, 10), PST_OK);
    assert_int_equal(scene.row_count, 0);
    pst_inside_free(scene.inside);
}

static void what_fits_nothing_is_refused_without_a_sentence(void **state)
{
    (void)state;
    struct scene scene;
    static uint64_t body[64];
    scene_open(&scene, "");
    assert_int_equal(at_time(&scene, 100), PST_OK);
    assert_int_equal(at_time(&scene, 90), PST_EDATA); /* time goes back */
    const struct pst_message bad[] = {{.kind = 0},
                                      {.kind = PST_MESSAGE_DONE},
                                      {.kind = PST_MESSAGE_FRAME},
                                      {.kind = PST_MESSAGE_FRAME, .port = 1, .row_count = 1, .body_bytes = 32},
                                      {.kind = PST_MESSAGE_FRAME, .row_count = UINT32_MAX, .body_bytes = 32},
                                      {.kind = PST_MESSAGE_TIME, .time = 200, .body_bytes = 8}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(pst_inside_take(scene.inside, &bad[i], (uint8_t *)body), PST_EDATA);
    assert_string_equal(pst_inside_why(scene.inside), "");
    struct pst_message end = {.kind = PST_MESSAGE_END, .time = 99}, stop = {.kind = PST_MESSAGE_STOP};
    assert_int_equal(pst_inside_take(scene.inside, &end, NULL), PST_EDATA); /* the same */
    end.time = 200;
    assert_int_equal(pst_inside_take(scene.inside, &end, NULL), PST_OK);
    assert_int_equal(pst_inside_take(scene.inside, &end, NULL), PST_EDATA);
    assert_int_equal(frame(&scene, 0, 1), PST_EDATA);
    assert_int_equal(at_time(&scene, 300), PST_EDATA);
    assert_int_equal(pst_inside_take(scene.inside, &stop, NULL), PST_ESTOPPED);
    pst_inside_free(scene.inside);
}

static void an_operators_error_is_told_with_its_sentence(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, "fail");
    assert_int_equal(frame(&scene, 0, 1), PST_EDATA);
    assert_string_equal(pst_inside_why(scene.inside), "on_frame: the test wants it so");
    pst_inside_free(scene.inside);
}

/* Of aggregate's that is the group whose sum is too large, so what stood in rows. */
static void where_rows_are_sealed_an_operators_sentence_stays_inside(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_enclave_sealing sealing = {.edge_count = 0};
    char why[PST_SENTENCE_BYTES_MAX];
    scene_init(&scene, "fail");
    scene.config.sealing = &sealing;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_OK);
    assert_int_equal(frame(&scene, 0, 1), PST_EDATA);
    assert_non_null(strstr(pst_inside_why(scene.inside), "on_frame: "));
    assert_null(strstr(pst_inside_why(scene.inside), "the test wants it so")); /* the test above has it */
    pst_inside_free(scene.inside);
}

static void a_way_out_that_fails_ends_the_callback(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, "");
    assert_int_equal(frame(&scene, 0, 1500), PST_OK);
    scene.error = PST_EREFUSED;
    assert_int_equal(at_time(&scene, 10), PST_EREFUSED);
    pst_inside_free(scene.inside);
}

static void another_plan_than_the_hosts_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        struct scene scene;
        char why[PST_SENTENCE_BYTES_MAX];
        struct pst_field fields[3];
        scene_init(&scene, "");
        memcpy(fields, scene.config.inputs[0].schema.fields, sizeof fields);
        if (i == 0)
            scene.config.epoch = 20;
        else if (i == 1)
            scene.config.inputs[0].used[0] = 1;
        else if (i == 2)
            scene.config.inputs[0].used_count = 1;
        else if (i == 3)
            scene.config.outputs[0].schema.field_count = 1;
        else if (i == 4)
            scene.config.param_count = 0;
        else if (i == 5)
            scene.config.output_count = 2;
        else
            fields[2].name = "other";
        scene.config.inputs[0].schema.fields = fields;
        assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_EDATA);
        assert_non_null(strstr(why, "is not the one that the host has made"));
        pst_inside_free(scene.inside);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct scene scene;
        char why[PST_SENTENCE_BYTES_MAX];
        scene_init(&scene, "");
        pst_malloc_fail_at(n);
        int rc = pst_inside_new(&scene.settings, &scene.inside, why);
        for (uint32_t i = 0; rc == PST_OK && i < 4; i++)
            rc = frame(&scene, i * 500, 500);
        if (rc == PST_OK)
            rc = at_time(&scene, 10);
        pst_malloc_fail_at(0);
        pst_inside_free(scene.inside);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
    }
}

/* ---- pages outside ---- */

static void paged_init(struct scene *scene, struct pst_secret **ret_master, uint8_t **ret_outside)
{
    char why[PST_SENTENCE_BYTES_MAX];
    scene_init(scene, "");
    assert_int_equal(pst_secret_new(ret_master), PST_OK);
    *ret_outside = calloc(1, OUTSIDE_BYTES);
    assert_non_null(*ret_outside);
    scene->settings.page_budget = 32 * PST_PAGE_BYTES;
    scene->settings.outside = *ret_outside;
    scene->settings.outside_bytes = OUTSIDE_BYTES;
    scene->settings.master = *ret_master;
    assert_int_equal(pst_inside_new(&scene->settings, &scene->inside, why), PST_OK);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(frame(scene, i * 1000, 1000), PST_OK);
}

static void paged_fini(struct scene *scene, struct pst_secret *master, uint8_t *outside)
{
    pst_inside_free(scene->inside);
    pst_secret_free(master);
    free(outside);
}

static void pages_beyond_the_budget_lie_outside_sealed_and_come_back(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_secret *master;
    uint8_t *outside;
    paged_init(&scene, &master, &outside);
    uint64_t used = 0;
    for (uint64_t i = 0; i < OUTSIDE_BYTES; i++)
        used += outside[i] != 0;
    assert_true(used > 8 * PST_PAGE_BYTES);
    for (uint32_t key = 1000; key < 40000; key += 5000) /* records are key, zero, value 1: none of them can be seen */
    {
        struct {
            uint32_t key, zero;
            int64_t value;
        } record = {key, 0, 1};
        assert_null(memmem(outside, OUTSIDE_BYTES, &record, sizeof record));
    }
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(frame(&scene, i * 1000, 1000), PST_OK);
    paged_fini(&scene, master, outside);
}

static void a_page_that_was_changed_outside_ends_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_secret *master;
    uint8_t *outside;
    paged_init(&scene, &master, &outside);
    for (uint64_t i = 0; i < OUTSIDE_BYTES; i += 4096)
        outside[i + 100] ^= 1;
    int rc = PST_OK;
    for (uint32_t i = 0; i < 40 && rc == PST_OK; i++)
        rc = frame(&scene, i * 1000, 1000);
    assert_int_equal(rc, PST_EREFUSED);
    assert_non_null(strstr(pst_inside_why(scene.inside), "is not what was put there"));
    paged_fini(&scene, master, outside);
}

static void an_older_page_in_its_place_ends_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_secret *master;
    uint8_t *outside, *older = malloc(OUTSIDE_BYTES);
    assert_non_null(older);
    paged_init(&scene, &master, &outside);
    memcpy(older, outside, OUTSIDE_BYTES);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(frame(&scene, i * 1000, 1000), PST_OK);
    memcpy(outside, older, OUTSIDE_BYTES);
    int rc = PST_OK;
    for (uint32_t i = 0; i < 40 && rc == PST_OK; i++)
        rc = frame(&scene, i * 1000, 1000);
    assert_int_equal(rc, PST_EREFUSED);
    free(older);
    paged_fini(&scene, master, outside);
}

static void a_state_beyond_what_may_lie_outside_ends_the_worker(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_secret *master;
    char why[PST_SENTENCE_BYTES_MAX];
    static uint8_t outside[4 * 20000];
    scene_init(&scene, "");
    assert_int_equal(pst_secret_new(&master), PST_OK);
    scene.settings.page_budget = 32 * PST_PAGE_BYTES;
    scene.settings.outside = outside;
    scene.settings.outside_bytes = sizeof outside;
    scene.settings.master = master;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_OK);
    int rc = PST_OK;
    for (uint32_t i = 0; i < 60 && rc == PST_OK; i++)
        rc = frame(&scene, i * 1000, 1000);
    assert_int_equal(rc, PST_ERANGE);
    assert_non_null(strstr(pst_inside_why(scene.inside), "larger than what may lie outside"));
    pst_inside_free(scene.inside);
    pst_secret_free(master);
}

/* ---- configurations ---- */

static void a_configuration_reads_as_it_was_written(void **state)
{
    (void)state;
    static const int64_t numbers[] = {3, -4};
    static const char *const texts[] = {"a", "", "bc"};
    struct pst_enclave_operator config, again;
    struct pst_enclave_param params[3];
    struct pst_text bytes = {0}, twice = {0};
    struct pst_arena arena;
    tally_config(&config, &params[0], "x");
    params[1] = (struct pst_enclave_param){.name = "list", .kind = PST_PARAM_INTS, .numbers = numbers, .count = 2};
    params[2] =
        (struct pst_enclave_param){.name = "words", .kind = PST_PARAM_TEXTS, .given = true, .texts = texts, .count = 3};
    config.param_count = 3;
    pst_arena_init(&arena);
    assert_int_equal(pst_config_encode(&config, &bytes), PST_OK);
    assert_int_equal(pst_config_decode(bytes.bytes, bytes.count, &arena, &again), PST_OK);
    assert_string_equal(again.type, "tally");
    assert_int_equal(again.params[1].numbers[1], -4);
    assert_string_equal(again.params[2].texts[2], "bc");
    assert_int_equal(pst_config_encode(&again, &twice), PST_OK);
    assert_int_equal(bytes.count, twice.count);
    assert_memory_equal(bytes.bytes, twice.bytes, bytes.count);
    for (size_t count = 0; count < bytes.count; count++) /* cut anywhere it is none */
        assert_int_equal(pst_config_decode(bytes.bytes, count, &arena, &again), PST_EDATA);
    for (size_t at = 0; at < bytes.count; at++) { /* changed anywhere it is read to its end, or refused */
        bytes.bytes[at] ^= (char)0x81;
        int rc = pst_config_decode(bytes.bytes, bytes.count, &arena, &again);
        assert_true(rc == PST_OK || rc == PST_EDATA);
        bytes.bytes[at] ^= (char)0x81;
    }
    pst_text_fini(&bytes);
    pst_text_fini(&twice);
    pst_arena_fini(&arena);
}

static void a_configuration_with_sealed_edges_reads_as_it_was_written(void **state)
{
    (void)state;
    struct pst_enclave_operator config, again;
    struct pst_enclave_param param;
    struct pst_enclave_sealed_output edges[] = {
        {.name = "sums.0>next.0",
         .number = 4,
         .bucket_count = 8,
         .key_count = 2,
         .lead_count = 1,
         .used_count = 2,
         .key = {0, 1},
         .used = {1, 0}},
        {.name = "sums.0>file.0", .number = 5, .bucket_count = 1, .used_count = 1, .used = {1}}};
    struct pst_enclave_sealing sealing = {
        .graph = {7}, .inputs = {{"rows.0>sums.0", 3, 1}}, .edge_count = 2, .edges = edges};
    struct pst_text plain = {0}, bytes = {0}, twice = {0};
    struct pst_arena arena;
    tally_config(&config, &param, "x");
    pst_arena_init(&arena);
    assert_int_equal(pst_config_encode(&config, &plain), PST_OK);
    config.sealing = &sealing;
    assert_int_equal(pst_config_encode(&config, &bytes), PST_OK);
    assert_memory_equal(bytes.bytes, plain.bytes,
                        plain.count); /* without them it is what it was, and so is its measurement */
    assert_int_equal(pst_config_decode(bytes.bytes, bytes.count, &arena, &again), PST_OK);
    assert_non_null(again.sealing);
    assert_string_equal(again.sealing->inputs[0].name, "rows.0>sums.0");
    assert_int_equal(again.sealing->edges[0].lead_count, 1);
    assert_int_equal(again.sealing->edges[1].used[0], 1);
    assert_int_equal(pst_config_encode(&again, &twice), PST_OK);
    assert_int_equal(bytes.count, twice.count);
    assert_memory_equal(bytes.bytes, twice.bytes, bytes.count);
    for (size_t count = plain.count + 1; count < bytes.count; count++)
        assert_int_equal(pst_config_decode(bytes.bytes, count, &arena, &again), PST_EDATA);
    for (size_t at = plain.count; at < bytes.count; at++) {
        bytes.bytes[at] ^= (char)0x81;
        int rc = pst_config_decode(bytes.bytes, bytes.count, &arena, &again);
        assert_true(rc == PST_OK || rc == PST_EDATA);
        bytes.bytes[at] ^= (char)0x81;
    }
    edges[0].used[0] = 2; /* a field that the output has not */
    pst_text_fini(&twice);
    assert_int_equal(pst_config_encode(&config, &twice), PST_EGRAPH);
    pst_text_fini(&twice);
    pst_text_fini(&bytes);
    pst_text_fini(&plain);
    pst_arena_fini(&arena);
}

/* ---- rows that are sealed from end to end ---- */

static int take_sealed(struct pst_inside_sealed *sealed, struct pst_message message)
{
    uint8_t body[PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MIN] = {0};
    return pst_inside_sealed_take(sealed, &message, body);
}

/* A host must have no key of what is sealed; and where nobody has asked for images, none goes out, and none comes back. */
static void where_rows_are_sealed_the_host_has_no_key_of_images(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_secret *key;
    char why[PST_SENTENCE_BYTES_MAX];
    uint8_t salts[1][32] = {{0}};
    struct pst_inside_sealed *sealed;
    struct pst_enclave_sealed_output edge = {
        .name = "sums.0>file.0", .number = 1, .bucket_count = 1, .used_count = 1, .used = {1}};
    struct pst_enclave_sealing sealing = {.inputs = {{"rows.0>sums.0", 0, 1}}, .edge_count = 1, .edges = &edge};
    scene_init(&scene, "");
    scene.config.sealing = &sealing;
    assert_int_equal(pst_secret_new(&key), PST_OK);
    scene.settings.image_key = key;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_EGRAPH);
    assert_string_equal(why, "where rows are sealed from end to end its host has no key of images");
    pst_inside_free(scene.inside);
    pst_secret_free(key);

    const struct pst_inside_sealed_settings settings = {.config = &scene.config,
                                                        .owned = scene.owned,
                                                        .salts = salts,
                                                        .channel_secret = {4},
                                                        .held_bytes_max = 4096,
                                                        .emit = emit,
                                                        .emitter = &scene};
    assert_int_equal(pst_inside_sealed_new(&settings, &sealed), PST_OK);
    scene.settings.image_key = NULL;
    scene.settings.emit = pst_inside_sealed_emit;
    scene.settings.emitter = sealed;
    assert_int_equal(pst_inside_new(&scene.settings, &scene.inside, why), PST_OK);
    pst_inside_sealed_serve(sealed, scene.inside);
    const struct pst_message of_images[] = {
        {.kind = PST_MESSAGE_IMAGE, .time = 10, .limit = 1},
        {.kind = PST_MESSAGE_RESTORE, .body_bytes = PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MIN},
        {.kind = PST_MESSAGE_RESTORED, .time = 10, .limit = 1},
        {.kind = PST_MESSAGE_TIME, .time = 10, .limit = 10},
        {.kind = PST_MESSAGE_END, .time = 10},
    };
    for (uint32_t i = 0; i < sizeof of_images / sizeof of_images[0]; i++) {
        assert_int_equal(take_sealed(sealed, of_images[i]), PST_EDATA);
        assert_string_equal(pst_inside_sealed_why(sealed), ""); /* nothing is said: it ends */
    }
    assert_int_equal(scene.done_count, 0);
    assert_int_equal(take_sealed(sealed, (struct pst_message){.kind = PST_MESSAGE_STOP}), PST_ESTOPPED);
    pst_inside_sealed_free(sealed);
    pst_inside_free(scene.inside);
}

static void a_worker_that_is_handed_rows_takes_no_capsules(void **state)
{
    (void)state;
    struct scene scene;
    uint8_t body[128] = {0};
    scene_init(&scene, "");
    scene_open(&scene, "");
    for (uint32_t kind = PST_MESSAGE_RELEASE; kind <= PST_MESSAGE_SEALED; kind++)
        assert_int_equal(
            pst_inside_take(scene.inside, &(struct pst_message){.kind = kind, .body_bytes = sizeof body}, body),
            PST_EDATA);
    assert_string_equal(pst_inside_why(scene.inside), "");
    pst_inside_free(scene.inside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_summed_and_put_out_by_the_buckets_that_are_due),
        cmocka_unit_test(frames_that_follow_each_other_are_one_where_more_is_there_already),
        cmocka_unit_test(in_total_order_rows_leave_with_the_time_of_those_they_are_of),
        cmocka_unit_test(in_epoch_order_on_frame_puts_nothing_out),
        cmocka_unit_test(only_buckets_of_the_partition_are_due),
        cmocka_unit_test(what_fits_nothing_is_refused_without_a_sentence),
        cmocka_unit_test(an_operators_error_is_told_with_its_sentence),
        cmocka_unit_test(where_rows_are_sealed_an_operators_sentence_stays_inside),
        cmocka_unit_test(a_way_out_that_fails_ends_the_callback),
        cmocka_unit_test(another_plan_than_the_hosts_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(pages_beyond_the_budget_lie_outside_sealed_and_come_back),
        cmocka_unit_test(a_page_that_was_changed_outside_ends_the_worker),
        cmocka_unit_test(an_older_page_in_its_place_ends_the_worker),
        cmocka_unit_test(a_state_beyond_what_may_lie_outside_ends_the_worker),
        cmocka_unit_test(a_configuration_reads_as_it_was_written),
        cmocka_unit_test(a_configuration_with_sealed_edges_reads_as_it_was_written),
        cmocka_unit_test(where_rows_are_sealed_the_host_has_no_key_of_images),
        cmocka_unit_test(a_worker_that_is_handed_rows_takes_no_capsules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
