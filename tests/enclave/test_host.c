/* test_host.c - the host's side against a worker that is not what it should be: a thread of this program behind a backend of its own
 * plays the worker, and says what it likes. It protects from nobody, and says so. */
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pst_enclave_box {
    uint8_t *memory;
    struct pst_border border;
    uint8_t digest[PST_CONFIG_DIGEST_BYTES];
    pthread_t thread;
    bool started;
    atomic_bool stop, ended;
};

static void (*script)(struct pst_enclave_box *box);

/* ---- the backend ---- */

static int box_create(const struct pst_enclave_settings *settings, struct pst_enclave_box **ret_box, char *ret_why)
{
    (void)settings, (void)ret_why;
    struct pst_enclave_box *box = calloc(1, sizeof *box);
    assert_non_null(box);
    box->memory = aligned_alloc(4096, PST_BORDER_BYTES);
    assert_non_null(box->memory);
    memset(box->memory, 0, PST_BORDER_BYTES);
    *ret_box = box;
    return PST_OK;
}

static int box_measure(const struct pst_enclave_box *box, const void *config, size_t config_bytes,
                       uint8_t ret_measurement[PST_MEASUREMENT_BYTES])
{
    (void)box, (void)config, (void)config_bytes;
    memset(ret_measurement, 0, PST_MEASUREMENT_BYTES);
    return PST_OK;
}

static void *box_rings(const struct pst_enclave_box *box) { return box->memory; }

static void *play(void *argument)
{
    struct pst_enclave_box *box = argument;
    script(box);
    atomic_store(&box->ended, true);
    return NULL;
}

static int box_run(struct pst_enclave_box *box, const void *bytes, size_t byte_count, uint32_t *ret_facts,
                   char *ret_why)
{
    struct pst_boot boot;
    (void)ret_why;
    memcpy(&boot, bytes, sizeof boot);
    assert_int_equal(boot.config_bytes, byte_count - sizeof boot);
    assert_int_equal(
        EVP_Digest((const uint8_t *)bytes + sizeof boot, boot.config_bytes, box->digest, NULL, EVP_sha256(), NULL), 1);
    assert_int_equal(pst_border_init(&box->border, box->memory, true, boot.key_in, boot.key_out), PST_OK);
    *ret_facts = 0;
    box->started = pthread_create(&box->thread, NULL, play, box) == 0;
    return box->started ? PST_OK : PST_ENOMEM;
}

static int box_look(struct pst_enclave_box *box, char *ret_why)
{
    if (!atomic_load(&box->ended))
        return PST_OK;
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "the thread has ended");
    return PST_EIO;
}

static uint64_t box_worked_ns(const struct pst_enclave_box *box)
{
    (void)box;
    return 0; /* a thread of this process: nobody knows */
}

static void box_attest(const struct pst_enclave_box *box, uint32_t facts, struct pst_enclave_report *ret_report)
{
    (void)box;
    ret_report->backend = "thread";
    ret_report->facts = facts;
}

static void box_stop(struct pst_enclave_box *box)
{
    atomic_store(&box->stop, true);
    if (box->started)
        (void)pthread_join(box->thread, NULL);
    box->started = false;
}

static void box_destroy(struct pst_enclave_box *box)
{
    pst_border_fini(&box->border);
    free(box->memory);
    free(box);
}

static const struct pst_enclave_backend thread_backend = {
    .name = "thread",
    .create = box_create,
    .measure = box_measure,
    .rings = box_rings,
    .run = box_run,
    .look = box_look,
    .worked_ns = box_worked_ns,
    .attest = box_attest,
    .stop = box_stop,
    .destroy = box_destroy,
};

/* ---- what a worker says ---- */

static void say(struct pst_enclave_box *box, struct pst_message message, const void *bytes, uint32_t byte_count)
{
    struct pst_piece piece = {bytes, byte_count, 0, false};
    while (pst_border_send(&box->border, &message, &piece, 1) == PST_EAGAIN && !atomic_load(&box->stop))
        (void)pst_border_wait(&box->border, true, 1000);
    pst_border_kick(&box->border);
}

static void ready(struct pst_enclave_box *box)
{
    say(box, (struct pst_message){.kind = PST_MESSAGE_READY, .time = INT64_MAX, .facts = UINT32_MAX}, box->digest,
        sizeof box->digest);
}

static void done(struct pst_enclave_box *box)
{
    struct pst_border_counts counts = {0};
    say(box, (struct pst_message){.kind = PST_MESSAGE_DONE, .time = INT64_MAX}, &counts, sizeof counts);
}

static void rows_of(struct pst_enclave_box *box, uint32_t bucket, uint32_t facts, int64_t time)
{
    const uint32_t buckets[] = {1, bucket}, keys[] = {7, 8};
    const int64_t sums[] = {70, 80};
    const struct pst_piece pieces[] = {{buckets, 8, 4, false}, {keys, 8, 4, false}, {sums, 16, 8, false}};
    static _Thread_local uint8_t body[PST_BODY_BYTES_MAX];
    say(box, (struct pst_message){.kind = PST_MESSAGE_ROWS, .row_count = 2, .facts = facts, .time = time}, body,
        pst_pieces_write(pieces, 3, body));
}

static void rows(struct pst_enclave_box *box, uint32_t bucket) { rows_of(box, bucket, 0, 0); }

/* Takes what comes up to the next message of this kind. False: it is to stop. */
static bool heard(struct pst_enclave_box *box, uint32_t kind)
{
    struct pst_message message = {0};
    uint8_t *body;
    while (message.kind != kind && !atomic_load(&box->stop))
        if (pst_border_receive(&box->border, &message, &body) == PST_EAGAIN)
            (void)pst_border_wait(&box->border, false, 1000);
    return message.kind == kind;
}

static void honest(struct pst_enclave_box *box)
{
    ready(box);
    while (heard(box, PST_MESSAGE_TIME)) {
        rows(box, 2);
        done(box);
    }
}

static _Atomic uint32_t both_run;
static void ready_when_both_run(struct pst_enclave_box *box)
{
    atomic_fetch_add(&both_run, 1);
    while (atomic_load(&both_run) < 2 && !atomic_load(&box->stop))
        (void)sched_yield();
    honest(box);
}

static void in_total_order(struct pst_enclave_box *box)
{
    ready(box);
    rows_of(box, 2, PST_ROWS_TIMED, 3); /* nothing is asked, and it may */
    while (heard(box, PST_MESSAGE_TIME)) {
        rows_of(box, 2, PST_ROWS_TIMED, 4);
        rows(box, 2);
        done(box);
    }
}

static void of_another_time(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        rows_of(box, 2, PST_ROWS_TIMED, 13);
}

static void of_no_time(struct pst_enclave_box *box)
{
    ready(box);
    rows(box, 2); /* they are of what is asked, and nothing is */
    (void)heard(box, PST_MESSAGE_STOP);
}

static void another_configuration(struct pst_enclave_box *box)
{
    box->digest[5] ^= 1;
    ready(box);
}

static void no_facts(struct pst_enclave_box *box)
{
    say(box, (struct pst_message){.kind = PST_MESSAGE_READY}, box->digest, sizeof box->digest);
}

static void bucket_beyond(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        rows(box, TALLY_BUCKETS);
}

static void ready_twice(struct pst_enclave_box *box)
{
    ready(box);
    ready(box);
}

static void unknown_kind(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        say(box, (struct pst_message){.kind = 99}, NULL, 0);
}

static void message_of_the_hosts(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        say(box, (struct pst_message){.kind = PST_MESSAGE_TIME, .time = 1}, NULL, 0);
}

static void index_beyond(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        atomic_store(&((struct pst_control *)(void *)box->memory)->out_head, UINT64_MAX);
}

static void says_much(struct pst_enclave_box *box)
{
    static const char sentence[] = "\033[2Jgone\nfor good\x7f\x80\xc3\xff";
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        say(box, (struct pst_message){.kind = PST_MESSAGE_FAILED, .error = -9999}, sentence, sizeof sentence - 1);
}

static void leaves(struct pst_enclave_box *box)
{
    ready(box);
    (void)heard(box, PST_MESSAGE_TIME);
}

/* ---- images ---- */

static void piece(struct pst_enclave_box *box, uint32_t bucket, uint32_t place, uint32_t byte_count)
{
    static const uint8_t sealed[PST_PIECE_BYTES_MAX];
    say(box, (struct pst_message){.kind = PST_MESSAGE_PIECE, .port = bucket, .row_count = place, .facts = 5}, sealed,
        byte_count);
}

static void imaged(struct pst_enclave_box *box, int64_t checkpoint, int32_t error)
{
    static const uint8_t incarnation[PST_PIECE_INCARNATION_BYTES] = {9};
    say(box, (struct pst_message){.kind = PST_MESSAGE_IMAGED, .limit = checkpoint, .error = error, .facts = 6},
        incarnation, sizeof incarnation);
}

static void seals(struct pst_enclave_box *box)
{
    ready(box);
    while (heard(box, PST_MESSAGE_IMAGE)) {
        piece(box, 1, 1u << 16, 400);
        piece(box, 2, 1u << 16, 0); /* as it was */
        imaged(box, 7, PST_OK);
    }
}

static void has_no_memory(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        imaged(box, 7, PST_ENOMEM);
    if (heard(box, PST_MESSAGE_TIME))
        done(box);
}

static void piece_unasked(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        piece(box, 1, 1u << 16, 400);
}

static void imaged_unasked(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        imaged(box, 7, PST_OK);
}

static void piece_of_no_bucket(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        piece(box, TALLY_BUCKETS, 1u << 16, 400);
}

static void piece_too_short(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        piece(box, 1, 1u << 16, PST_PIECE_BYTES_MIN - 1);
}

static void piece_too_long(struct pst_enclave_box *box)
{
    static const uint8_t sealed[PST_PIECE_BYTES_MAX + 1];
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        say(box, (struct pst_message){.kind = PST_MESSAGE_PIECE, .port = 1}, sealed, sizeof sealed);
}

static void another_image(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        imaged(box, 8, PST_OK);
}

static void rows_in_an_image(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_IMAGE))
        rows(box, 2);
}

/* ---- moves ---- */

static void moved(struct pst_enclave_box *box, int32_t error, const char *sentence)
{
    say(box, (struct pst_message){.kind = PST_MESSAGE_MOVED, .time = 40, .error = error}, sentence,
        (uint32_t)strlen(sentence));
}

static void offer(struct pst_enclave_box *box)
{
    static const uint8_t offered[PST_OFFER_BYTES] = {3};
    say(box, (struct pst_message){.kind = PST_MESSAGE_OFFER}, offered, sizeof offered);
}

static void hands(struct pst_enclave_box *box)
{
    offer(box);
    ready(box);
    if (heard(box, PST_MESSAGE_HAND)) {
        piece(box, 1, 1u << 16, 400);
        moved(box, PST_OK, "");
    }
    if (heard(box, PST_MESSAGE_HAND))
        moved(box, PST_ENOMEM, "\033no room");
    if (heard(box, PST_MESSAGE_TIME))
        done(box);
}

static void moved_unasked(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        moved(box, PST_OK, "");
}

static void offer_unasked(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        offer(box);
}

static void rows_in_a_move(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_HAND))
        rows(box, 2);
}

static void done_in_a_move(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_HAND))
        done(box);
}

static void imaged_in_a_move(struct pst_enclave_box *box)
{
    ready(box);
    if (heard(box, PST_MESSAGE_HAND))
        imaged(box, 7, PST_OK);
}

/* ---- what the host makes of it ---- */

static int64_t sum;
static uint32_t row_count;

static int take(void *taker, uint32_t output, uint32_t count, const uint32_t *bucket, const void *const *columns)
{
    (void)taker, (void)output, (void)bucket;
    for (uint32_t i = 0; i < count; i++)
        sum += ((const int64_t *)columns[1])[i];
    row_count += count;
    return PST_OK;
}

static uint32_t piece_count, piece_bytes;
static int piece_error;

static int take_piece(void *taker, const struct pst_enclave_piece *of)
{
    (void)taker;
    assert_true(of->bucket < TALLY_BUCKETS && of->kind == 1 && of->structure == 0 && of->changed == 5);
    piece_count++;
    piece_bytes += of->sealed_bytes;
    return piece_error;
}

static int draw(void *argument, void *bytes, size_t byte_count)
{
    (void)argument;
    memset(bytes, 0x42, byte_count);
    return PST_OK;
}

/* Of the first epoch alone. */
static int64_t times[8];
static uint32_t time_count;
static int take_at(void *taker, int64_t t)
{
    (void)taker;
    if (t >= 10 || time_count == 8)
        return PST_EREFUSED;
    times[time_count++] = t;
    return PST_OK;
}

static bool total; /* of the operator that is started */
static bool later; /* start() does not wait until it is ready */
static const uint8_t *image_key;
static uint32_t param_count =
    1; /* that its configuration has: the same again and again, of 4096 bytes each from the second on */

static int start(void (*plays)(struct pst_enclave_box *), struct pst_enclave **ret_enclave, char *ret_why)
{
    static struct pst_enclave_operator config;
    static struct pst_enclave_param params[64];
    static char text[4096];
    static const uint8_t graph[PST_IMAGE_GRAPH_BYTES];
    static const uint32_t buckets[] = {0, 1, 2};
    static const uint8_t authority[PST_ENCLAVE_AUTHORITY_BYTES] = {1};
    tally_config(&config, params, total ? "total" : "");
    memset(text, 'x', sizeof text - 1);
    for (uint32_t i = 1; i < param_count; i++)
        params[i] = (struct pst_enclave_param){.name = "call", .kind = PST_PARAM_TEXT, .given = true, .text = text};
    config.param_count = param_count;
    config.authority = authority;
    script = plays;
    sum = row_count = piece_count = piece_bytes = 0;
    struct pst_enclave_settings settings = {.operator= & config,
                                            .buckets = buckets,
                                            .bucket_count = 3,
                                            .epc_bytes = 8 << 20,
                                            .outside_bytes = 1 << 20,
                                            .random = draw,
                                            .take = take,
                                            .take_at = take_at,
                                            .take_piece = take_piece,
                                            .image_key = image_key,
                                            .graph = graph,
                                            .later = later,
                                            .quiet_seconds_max = 2};
    return pst_enclave_start(&thread_backend, &settings, ret_enclave, ret_why);
}

static void an_honest_worker_is_believed_and_no_more_than_that(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    struct pst_enclave_report report;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(honest, &enclave, why), PST_OK);
    for (int64_t t = 10; t <= 1000; t += 10)
        assert_int_equal(pst_enclave_time(enclave, t, t), PST_OK);
    assert_int_equal(row_count, 200);
    assert_int_equal(sum, 15000);
    pst_enclave_report(enclave, &report);
    assert_int_equal(report.facts, PST_FACT_SECCOMP); /* it has claimed all, the backend none */
    assert_int_equal(report.guards, 0);
    pst_enclave_free(enclave);
}

/* How often it stands in what malloc() has given out or taken back; read past sanitizers, which keep an eye on both. */
static uint32_t times_in_heap(const uint8_t wanted[32])
{
    static uint8_t bytes[1 << 20]; /* is not in there */
    char line[256];
    unsigned long begin, end;
    uint32_t found = 0;
    FILE *maps = fopen("/proc/self/maps", "re"), *memory = fopen("/proc/self/mem", "re");
    assert_true(maps != NULL && memory != NULL);
    setvbuf(memory, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "[heap]") == NULL || sscanf(line, "%lx-%lx", &begin, &end) != 2)
            continue;
        for (unsigned long at = begin; at < end; at += sizeof bytes - 31) {
            size_t count = end - at < sizeof bytes ? end - at : sizeof bytes;
            assert_int_equal(fseek(memory, (long)at, SEEK_SET), 0);
            assert_int_equal(fread(bytes, 1, count, memory), count);
            for (size_t i = 0; i + 32 <= count; i++)
                found += memcmp(bytes + i, wanted, 32) == 0;
        }
    }
    (void)fclose(memory);
    (void)fclose(maps);
    return found;
}

/* Neither while it runs nor behind it: what is handed over is wiped wherever it was put together. The configuration is as large as several
 * of malloc()'s steps, so that what grows is moved. */
static void keys_that_were_handed_over_are_nowhere_in_memory(void **state)
{
    (void)state;
    static uint8_t key[32], other[32];
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    for (uint8_t i = 0; i < 32; i++) {
        key[i] = (uint8_t)(0xa5 ^ i * 7);
        other[i] = (uint8_t)(0x3c ^ i * 11);
    }
    uint8_t *control = malloc(4096);
    assert_non_null(control);
    memcpy(control + 2048, other, sizeof other);
    bool visible = times_in_heap(other) != 0; /* a sanitizer's malloc() has no such heap */
    free(control);
    image_key = key;
    param_count = 64;
    int rc = start(honest, &enclave, why);
    image_key = NULL;
    param_count = 1;
    assert_int_equal(rc, PST_OK);
    assert_int_equal(times_in_heap(key), 0);
    pst_enclave_free(enclave);
    assert_int_equal(times_in_heap(key), 0);
    if (!visible)
        print_message("not looked at: this malloc() keeps its blocks elsewhere\n");
}

static void another_configuration_and_a_worker_that_is_not_locked_in_do_not_start(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(another_configuration, &enclave, why), PST_EREFUSED);
    assert_int_equal(start(no_facts, &enclave, why), PST_EREFUSED);
    assert_string_equal(why, "its worker could not give up system calls");
}

static void workers_make_themselves_ready_side_by_side(void **state)
{
    (void)state;
    struct pst_enclave *enclaves[2], *unlocked;
    char why[PST_ENCLAVE_WHY_BYTES];
    later = true;
    for (uint32_t i = 0; i < 2; i++) /* none is ready before both run */
        assert_int_equal(start(ready_when_both_run, &enclaves[i], why), PST_OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pst_enclave_await(enclaves[i]), PST_OK);
        assert_int_equal(pst_enclave_time(enclaves[i], 10, 10), PST_OK);
        pst_enclave_free(enclaves[i]);
    }
    assert_int_equal(start(no_facts, &unlocked, why), PST_OK);
    assert_int_equal(pst_enclave_await(unlocked), PST_EREFUSED);
    assert_string_equal(pst_enclave_why(unlocked), "its worker could not give up system calls");
    assert_int_equal(pst_enclave_time(unlocked, 10, 10), PST_EREFUSED); /* and it is given nothing */
    assert_false(pst_enclave_is_lost(unlocked));
    pst_enclave_free(unlocked);
    later = false;
}

static void what_a_worker_must_not_say_ends_it(void **state)
{
    (void)state;
    static const struct {
        void (*plays)(struct pst_enclave_box *);
        int error;
    } cases[] = {{bucket_beyond, PST_EREFUSED},
                 {ready_twice, PST_EREFUSED},
                 {unknown_kind, PST_EREFUSED},
                 {message_of_the_hosts, PST_EREFUSED},
                 {index_beyond, PST_EREFUSED},
                 {says_much, PST_EINTERNAL},
                 {leaves, PST_EIO}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pst_enclave *enclave;
        char why[PST_ENCLAVE_WHY_BYTES];
        int rc = start(cases[i].plays, &enclave, why);
        assert_int_equal(rc, PST_OK);
        for (int64_t t = 10; t < 1000 && rc == PST_OK; t += 10)
            rc = pst_enclave_time(enclave, t, t);
        if (rc != cases[i].error)
            print_message("case %zu: %d, %s\n", i, rc, pst_enclave_why(enclave));
        assert_int_equal(rc, cases[i].error);
        assert_int_equal(pst_enclave_time(enclave, 2000, 2000), cases[i].error); /* for good */
        assert_int_equal(row_count, 0);
        if (cases[i].plays == says_much) /* and nothing for a terminal comes from it */
            assert_string_equal(pst_enclave_why(enclave), "?[2Jgone?for good????");
        pst_enclave_free(enclave);
    }
}

static void in_total_order_rows_come_with_their_time(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    total = true;
    time_count = 0;
    assert_int_equal(start(in_total_order, &enclave, why), PST_OK);
    assert_int_equal(pst_enclave_time(enclave, 10, 10), PST_OK);
    assert_int_equal(row_count, 6);
    assert_int_equal(time_count, 2);
    assert_int_equal(times[0], 3);
    assert_int_equal(times[1], 4);
    pst_enclave_free(enclave);

    static void (*const plays[])(struct pst_enclave_box *) = {of_another_time, of_no_time};
    for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
        assert_int_equal(start(plays[i], &enclave, why), PST_OK);
        int rc = PST_OK;
        while (i == 1 && rc == PST_OK && !pst_enclave_has_news(enclave)) /* before anything is asked */
            rc = pst_enclave_wait(enclave, 1000);
        assert_int_equal(pst_enclave_time(enclave, 10, 10), PST_EREFUSED);
        assert_int_equal(row_count, 0);
        pst_enclave_free(enclave);
    }
    total = false; /* in epoch order no rows have one */
    time_count = 0;
    assert_int_equal(start(in_total_order, &enclave, why), PST_OK);
    assert_int_equal(pst_enclave_time(enclave, 10, 10), PST_EREFUSED);
    assert_int_equal(row_count + time_count, 0);
    pst_enclave_free(enclave);
}

static int answer(struct pst_enclave *enclave, int rc)
{
    if (rc == PST_OK)
        rc = pst_enclave_answered(enclave);
    while (rc == PST_EAGAIN) {
        rc = pst_enclave_wait(enclave, 1000);
        if (rc == PST_OK)
            rc = pst_enclave_answered(enclave);
    }
    return rc;
}

/* Asks for an image of checkpoint 7, or for a bucket, and waits for what comes of it. */
static int image(struct pst_enclave *enclave) { return answer(enclave, pst_enclave_ask_image(enclave, 7, 10, 0)); }

static int hand(struct pst_enclave *enclave)
{
    const uint32_t bucket = 1;
    return answer(enclave, pst_enclave_ask_hand(enclave, 10, &bucket, 1, false));
}

static void pieces_of_an_image_come_until_it_is_whole(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES];
    assert_int_equal(start(seals, &enclave, why), PST_OK);
    assert_int_equal(image(enclave), PST_OK);
    assert_int_equal(pst_enclave_image_error(enclave), PST_OK);
    assert_int_equal(piece_count, 2);
    assert_int_equal(piece_bytes, 400);
    assert_int_equal(pst_enclave_image_generation(enclave), 6);
    pst_enclave_image_incarnation(enclave, incarnation);
    assert_int_equal(incarnation[0], 9);
    piece_error = PST_ENOMEM; /* what cannot be kept makes an image none, and the next one is another one */
    assert_int_equal(image(enclave), PST_OK);
    assert_int_equal(pst_enclave_image_error(enclave), PST_ENOMEM);
    piece_error = PST_OK;
    assert_int_equal(image(enclave), PST_OK);
    assert_int_equal(pst_enclave_image_error(enclave), PST_OK);
    pst_enclave_free(enclave);
}

static void a_worker_that_can_make_no_image_goes_on(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(has_no_memory, &enclave, why), PST_OK);
    assert_int_equal(image(enclave), PST_OK);
    assert_int_equal(pst_enclave_image_error(enclave), PST_ENOMEM);
    assert_int_equal(pst_enclave_time(enclave, 20, 20), PST_OK);
    pst_enclave_free(enclave);
}

static void what_a_worker_must_not_say_of_images_ends_it(void **state)
{
    (void)state;
    static void (*const plays[])(struct pst_enclave_box *) = {piece_unasked,   imaged_unasked, piece_of_no_bucket,
                                                              piece_too_short, piece_too_long, another_image,
                                                              rows_in_an_image};
    for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
        struct pst_enclave *enclave;
        char why[PST_ENCLAVE_WHY_BYTES];
        assert_int_equal(start(plays[i], &enclave, why), PST_OK);
        int rc = plays[i] == piece_unasked || plays[i] == imaged_unasked ? pst_enclave_time(enclave, 10, 10)
                                                                         : image(enclave);
        if (rc != PST_EREFUSED)
            print_message("case %zu: %d, %s\n", i, rc, pst_enclave_why(enclave));
        assert_int_equal(rc, PST_EREFUSED);
        assert_int_equal(piece_count + row_count, 0);
        assert_false(pst_enclave_is_lost(enclave)); /* another one would do the same */
        pst_enclave_free(enclave);
    }
}

static void pieces_of_a_bucket_come_until_it_has_gone(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(hands, &enclave, why), PST_OK);
    assert_non_null(pst_enclave_offer(enclave));
    assert_int_equal(hand(enclave), PST_OK);
    assert_int_equal(pst_enclave_move_error(enclave), PST_OK);
    assert_int_equal(piece_count, 1);
    assert_int_equal(pst_enclave_timer_min(enclave), 40);
    assert_int_equal(hand(enclave), PST_OK); /* that it cannot is no error of it */
    assert_int_equal(pst_enclave_move_error(enclave), PST_ENOMEM);
    assert_string_equal(pst_enclave_move_why(enclave), "?no room");
    assert_int_equal(pst_enclave_time(enclave, 20, 20), PST_OK);
    pst_enclave_free(enclave);
}

static void what_a_worker_must_not_say_of_moves_ends_it(void **state)
{
    (void)state;
    static void (*const plays[])(struct pst_enclave_box *) = {moved_unasked, offer_unasked, rows_in_a_move,
                                                              done_in_a_move, imaged_in_a_move};
    for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
        struct pst_enclave *enclave;
        char why[PST_ENCLAVE_WHY_BYTES];
        assert_int_equal(start(plays[i], &enclave, why), PST_OK);
        assert_int_equal(i < 2 ? pst_enclave_time(enclave, 10, 10) : hand(enclave), PST_EREFUSED);
        assert_int_equal(piece_count + row_count, 0);
        pst_enclave_free(enclave);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_worker_is_believed_and_no_more_than_that),
        cmocka_unit_test(keys_that_were_handed_over_are_nowhere_in_memory),
        cmocka_unit_test(another_configuration_and_a_worker_that_is_not_locked_in_do_not_start),
        cmocka_unit_test(workers_make_themselves_ready_side_by_side),
        cmocka_unit_test(what_a_worker_must_not_say_ends_it),
        cmocka_unit_test(in_total_order_rows_come_with_their_time),
        cmocka_unit_test(pieces_of_an_image_come_until_it_is_whole),
        cmocka_unit_test(a_worker_that_can_make_no_image_goes_on),
        cmocka_unit_test(what_a_worker_must_not_say_of_images_ends_it),
        cmocka_unit_test(pieces_of_a_bucket_come_until_it_has_gone),
        cmocka_unit_test(what_a_worker_must_not_say_of_moves_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
