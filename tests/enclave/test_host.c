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
    .attest = box_attest,
    .stop = box_stop,
    .destroy = box_destroy,
};

/* ---- what a worker says ---- */

static void say(struct pst_enclave_box *box, struct pst_message message, const void *bytes, uint32_t byte_count)
{
    struct pst_piece piece = {bytes, byte_count, false};
    while (pst_border_send(&box->border, &message, &piece, 1) == PST_EAGAIN && !atomic_load(&box->stop))
        (void)pst_border_wait(&box->border, true, 1000);
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

static void rows(struct pst_enclave_box *box, uint32_t bucket)
{
    struct {
        uint32_t bucket[2], key[2];
        int64_t sum[2];
    } body = {{1, bucket}, {7, 8}, {70, 80}};
    say(box, (struct pst_message){.kind = PST_MESSAGE_ROWS, .row_count = 2}, &body, sizeof body);
}

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
    static const char sentence[] = "\033[2Jgone\nfor good";
    ready(box);
    if (heard(box, PST_MESSAGE_TIME))
        say(box, (struct pst_message){.kind = PST_MESSAGE_FAILED, .error = -9999}, sentence, sizeof sentence - 1);
}

static void leaves(struct pst_enclave_box *box)
{
    ready(box);
    (void)heard(box, PST_MESSAGE_TIME);
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

static int draw(void *argument, void *bytes, size_t byte_count)
{
    (void)argument;
    memset(bytes, 0x42, byte_count);
    return PST_OK;
}

static int start(void (*plays)(struct pst_enclave_box *), struct pst_enclave **ret_enclave, char *ret_why)
{
    static struct pst_enclave_operator config;
    static struct pst_enclave_param param;
    static const uint32_t buckets[] = {0, 1, 2};
    tally_config(&config, &param, "");
    script = plays;
    sum = row_count = 0;
    struct pst_enclave_settings settings = {.operator= & config,
                                            .buckets = buckets,
                                            .bucket_count = 3,
                                            .epc_bytes = 8 << 20,
                                            .outside_bytes = 1 << 20,
                                            .random = draw,
                                            .take = take,
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

static void another_configuration_and_a_worker_that_is_not_locked_in_do_not_start(void **state)
{
    (void)state;
    struct pst_enclave *enclave;
    char why[PST_ENCLAVE_WHY_BYTES];
    assert_int_equal(start(another_configuration, &enclave, why), PST_EREFUSED);
    assert_int_equal(start(no_facts, &enclave, why), PST_EREFUSED);
    assert_string_equal(why, "its worker could not give up system calls");
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
            assert_string_equal(pst_enclave_why(enclave), "?[2Jgone?for good");
        pst_enclave_free(enclave);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_worker_is_believed_and_no_more_than_that),
        cmocka_unit_test(another_configuration_and_a_worker_that_is_not_locked_in_do_not_start),
        cmocka_unit_test(what_a_worker_must_not_say_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
