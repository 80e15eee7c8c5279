/* enclave.c - the host's side of a worker: what it is told, what it is sent, and what comes back. Behind any backend.
 *
 *    state      may move to                  while in it
 *    STARTING   READY, GONE                  the worker makes itself ready; nothing is sent
 *    READY      WAITING, GONE                frames are sent
 *    WAITING    READY, GONE                  it works up to a time, and rows come
 *    GONE       -                            every call answers the error that it went with
 */
#include "enclave_shim/common/config.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOK_US = 50 * 1000, /* between two looks whether a worker that says nothing still runs */
    QUIET_SECONDS_STANDARD = 60,
};

enum state { STARTING, READY, WAITING, GONE };

struct pst_enclave {
    const struct pst_enclave_backend *backend;
    struct pst_enclave_box *box;
    struct pst_enclave_settings settings;
    struct pst_enclave_operator operator; /* texts and lists are the settings' */
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    struct pst_border border;
    bool bordered;
    enum state state;
    int error;                    /* GONE */
    uint64_t quiet_us, looked_us; /* waited for without a sign of it; up to the last look */
    uint32_t facts;
    int64_t timer_min;
    uint64_t state_bytes;
    struct pst_border_counts counts;
    uint8_t digest[PST_CONFIG_DIGEST_BYTES], measurement[PST_MEASUREMENT_BYTES];
    char why[PST_ENCLAVE_WHY_BYTES];
};

const char *pst_enclave_fact_word(uint32_t bit)
{
    static const char *const words[] = {
#define X(name, bit, word, sentence) [bit] = (word),
        PST_ENCLAVE_FACT_MAP(X)
#undef X
    };
    return bit < sizeof words / sizeof words[0] ? words[bit] : NULL;
}

const char *pst_enclave_fact_sentence(uint32_t bit)
{
    static const char *const sentences[] = {
#define X(name, bit, word, sentence) [bit] = (sentence),
        PST_ENCLAVE_FACT_MAP(X)
#undef X
    };
    return bit < sizeof sentences / sizeof sentences[0] ? sentences[bit] : NULL;
}

static int gone(struct pst_enclave *e, int error)
{
    if (e->state == GONE)
        return e->error;
    e->state = GONE;
    e->error = error;
    if (e->why[0] == '\0')
        (void)snprintf(e->why, sizeof e->why, "%s", pst_error_sentence(error));
    return error;
}

/* ---- what comes out ---- */

static int take_rows(struct pst_enclave *e, const struct pst_message *message, uint8_t *body)
{
    const struct pst_enclave_output *output = &e->operator.outputs[message->port];
    void *parts[PST_FIELDS_MAX + 2];
    const void *columns[PST_FIELDS_MAX] = {0};
    uint32_t part = 0;
    pst_shape_parts(&e->outputs[message->port], message->row_count, body, parts);
    const uint32_t *bucket = parts[part++];
    for (uint32_t i = 0; i < message->row_count; i++)
        if (bucket[i] >= e->operator.bucket_count)
            return PST_EREFUSED;
    for (uint32_t f = 0; f < output->schema.field_count; f++)
        columns[f] = output->wanted[f] ? parts[part++] : NULL;
    return e->settings.take(e->settings.taker, message->port, message->row_count, bucket, columns);
}

static int take_failure(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    (void)snprintf(e->why, sizeof e->why, "%.*s", (int)message->body_bytes, (const char *)body);
    for (char *at = e->why; *at != '\0';
         at++) /* a worker may be anybody's operator: nothing for terminals comes from it */
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
    return message->error >= PST_EINTERNAL ? message->error : PST_EINTERNAL;
}

static int take_ready(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    if (e->state != STARTING || CRYPTO_memcmp(body, e->digest, sizeof e->digest) != 0)
        return PST_EREFUSED;
    e->state = READY;
    e->timer_min = message->time;
    e->facts |= message->facts & PST_FACT_SECCOMP;
    return PST_OK;
}

static int take_done(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    if (e->state != WAITING)
        return PST_EREFUSED;
    e->state = READY;
    e->timer_min = message->time;
    e->state_bytes = message->state_bytes;
    memcpy(&e->counts, body, sizeof e->counts);
    return PST_OK;
}

static int take(struct pst_enclave *e, const struct pst_message *message, uint8_t *body)
{
    int rc = pst_message_check_out(message, e->outputs, e->operator.output_count);
    if (rc != PST_OK)
        return PST_EREFUSED;
    switch (message->kind) {
    case PST_MESSAGE_READY:
        return take_ready(e, message, body);
    case PST_MESSAGE_ROWS:
        return e->state == WAITING ? take_rows(e, message, body) : PST_EREFUSED;
    case PST_MESSAGE_DONE:
        return take_done(e, message, body);
    default:
        return take_failure(e, message, body);
    }
}

/* All that is in the ring, or up to an answer. PST_OK: the border is empty for now, or the answer came. */
static int take_all(struct pst_enclave *e)
{
    enum state before = e->state;
    for (;;) {
        struct pst_message message;
        uint8_t *body;
        int rc = pst_border_receive(&e->border, &message, &body);
        if (rc == PST_EAGAIN)
            return PST_OK;
        if (rc == PST_OK)
            rc = take(e, &message, body);
        if (rc == PST_EREFUSED && e->why[0] == '\0')
            (void)snprintf(e->why, sizeof e->why, "its worker put something into the border that is not valid");
        if (rc != PST_OK)
            return gone(e, rc);
        if (e->state != before)
            return PST_OK;
    }
}

/* Whether it still runs. What a worker has said before it ended is still taken. */
static int look(struct pst_enclave *e)
{
    if (e->settings.stopped != NULL && atomic_load_explicit(e->settings.stopped, memory_order_relaxed))
        return gone(e, PST_ESTOPPED);
    if (e->backend->look(e->box, e->why) != PST_OK) {
        char why[PST_ENCLAVE_WHY_BYTES];
        memcpy(why, e->why, sizeof why);
        e->why[0] = '\0';
        int rc = take_all(e);
        if (rc != PST_OK)
            return rc;
        memcpy(e->why, why, sizeof why);
        return gone(e, PST_EIO);
    }
    if (e->quiet_us < e->settings.quiet_seconds_max * UINT64_C(1000000))
        return PST_OK;
    (void)snprintf(e->why, sizeof e->why, "its worker has not moved for %u s", e->settings.quiet_seconds_max);
    return gone(e, PST_ETIMEOUT);
}

/* PST_OK: it has moved, or time has passed. */
static int wait_once(struct pst_enclave *e, bool for_room, uint32_t timeout_us)
{
    if (pst_border_wait(&e->border, for_room, timeout_us)) {
        e->quiet_us = e->looked_us = 0;
        return PST_OK;
    }
    e->quiet_us += timeout_us;
    if (e->quiet_us - e->looked_us < LOOK_US)
        return PST_OK;
    e->looked_us = e->quiet_us;
    return look(e);
}

static int wait_for(struct pst_enclave *e, enum state wanted)
{
    for (;;) {
        int rc = take_all(e);
        if (rc == PST_OK && e->state != wanted)
            rc = wait_once(e, false, LOOK_US);
        if (rc != PST_OK || e->state == wanted)
            return rc;
    }
}

static int send(struct pst_enclave *e, struct pst_message *message, const struct pst_piece *pieces,
                uint32_t piece_count)
{
    int rc;
    while ((rc = pst_border_send(&e->border, message, pieces, piece_count)) == PST_EAGAIN) {
        rc = take_all(e);
        if (rc == PST_OK)
            rc = wait_once(e, true, LOOK_US);
        if (rc != PST_OK)
            return rc;
    }
    if (rc == PST_EREFUSED)
        (void)snprintf(e->why, sizeof e->why, "its worker put something into the border that is not valid");
    return rc == PST_OK ? PST_OK : gone(e, rc);
}

/* ---- what goes in ---- */

int pst_enclave_frame(struct pst_enclave *e, const struct pst_rows *rows)
{
    const struct pst_enclave_input *input = &e->operator.inputs[rows->input];
    uint32_t rows_max = pst_shape_rows_max(&e->inputs[rows->input]);
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    for (uint32_t from = 0; from < rows->row_count; from += rows_max) {
        uint32_t n = rows->row_count - from < rows_max ? rows->row_count - from : rows_max, count = 0;
        struct pst_piece pieces[PST_FIELDS_MAX + 2];
        struct pst_message message = {.kind = PST_MESSAGE_FRAME, .port = rows->input, .row_count = n};
        pieces[count++] = (struct pst_piece){rows->time + from, n * (uint32_t)sizeof *rows->time, true};
        if (input->keyed)
            pieces[count++] = (struct pst_piece){rows->hash + from, n * (uint32_t)sizeof *rows->hash, true};
        for (uint32_t c = 0; c < input->used_count; c++) {
            uint32_t bytes = pst_type_bytes(input->schema.fields[input->used[c]].type);
            pieces[count++] =
                (struct pst_piece){(const char *)rows->columns[c] + (size_t)from * bytes, n * bytes, true};
        }
        int rc = send(e, &message, pieces, count);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int ask(struct pst_enclave *e, struct pst_message *message)
{
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    int rc = take_all(e); /* nothing is due but why it has failed */
    if (rc == PST_OK)
        rc = send(e, message, NULL, 0);
    if (rc == PST_OK)
        e->state = WAITING;
    return rc;
}

int pst_enclave_ask_time(struct pst_enclave *e, int64_t t, int64_t due)
{
    return ask(e, &(struct pst_message){.kind = PST_MESSAGE_TIME, .time = t, .limit = due});
}

int pst_enclave_ask_end(struct pst_enclave *e, int64_t t)
{
    return ask(e, &(struct pst_message){.kind = PST_MESSAGE_END, .time = t});
}

int pst_enclave_answered(struct pst_enclave *e)
{
    int rc = e->state == WAITING ? take_all(e) : e->state == READY ? PST_OK : gone(e, PST_EINTERNAL);
    return rc == PST_OK && e->state == WAITING ? PST_EAGAIN : rc;
}

bool pst_enclave_has_news(const struct pst_enclave *e) { return pst_border_has_news(&e->border); }

int pst_enclave_wait(struct pst_enclave *e, uint32_t timeout_us) { return wait_once(e, false, timeout_us); }

int pst_enclave_time(struct pst_enclave *e, int64_t t, int64_t due)
{
    int rc = pst_enclave_ask_time(e, t, due);
    return rc == PST_OK ? wait_for(e, READY) : rc;
}

int pst_enclave_end(struct pst_enclave *e, int64_t t)
{
    int rc = pst_enclave_ask_end(e, t);
    return rc == PST_OK ? wait_for(e, READY) : rc;
}

int64_t pst_enclave_timer_min(const struct pst_enclave *e) { return e->timer_min; }
uint64_t pst_enclave_state_bytes(const struct pst_enclave *e) { return e->state_bytes; }
const char *pst_enclave_why(const struct pst_enclave *e) { return e->why; }

void pst_enclave_report(const struct pst_enclave *e, struct pst_enclave_report *ret_report)
{
    *ret_report = (struct pst_enclave_report){0};
    e->backend->attest(e->box, e->facts, ret_report);
    memcpy(ret_report->measurement, e->measurement, sizeof ret_report->measurement);
}

void pst_enclave_counts(const struct pst_enclave *e, struct pst_enclave_counts *ret)
{
    const struct pst_border_counts *c = &e->counts;
    *ret = (struct pst_enclave_counts){c->lookups,         c->page_ins,     c->page_outs,
                                       c->page_outs_clean, c->bytes_sealed, c->bytes_opened,
                                       c->pages_in_max,    c->need_pages,   c->epc_used_max};
}

/* ---- life ---- */

static int config_make(struct pst_enclave *e, struct pst_text *config)
{
    int rc = pst_config_encode(&e->operator, config);
    if (rc == PST_EGRAPH)
        (void)snprintf(e->why, sizeof e->why,
                       "its parameters are more than a worker takes (4 MiB, texts of 4096 bytes)");
    if (rc == PST_OK && EVP_Digest(config->bytes, config->count, e->digest, NULL, EVP_sha256(), NULL) != 1)
        rc = PST_EINTERNAL;
    return rc;
}

/* Keys are drawn, used on this side, and handed over. */
static int boot_make(struct pst_enclave *e, struct pst_boot *boot, const struct pst_text *config)
{
    const struct pst_enclave_settings *s = &e->settings;
    *boot = (struct pst_boot){.magic = PST_BOOT_MAGIC,
                              .version = PST_BOOT_VERSION,
                              .config_bytes = (uint32_t)config->count,
                              .evict = s->evict,
                              .epc_bytes = s->epc_bytes,
                              .outside_bytes = s->outside_bytes};
    for (uint32_t i = 0; i < s->bucket_count; i++)
        boot->owned[s->buckets[i] / 8] |= (uint8_t)(1 << s->buckets[i] % 8);
    int rc = s->random(s->argument, boot->key_in, sizeof boot->key_in);
    if (rc == PST_OK)
        rc = s->random(s->argument, boot->key_out, sizeof boot->key_out);
    if (rc == PST_OK)
        rc = pst_border_init(&e->border, e->backend->rings(e->box), false, boot->key_in, boot->key_out);
    e->bordered = rc == PST_OK;
    return rc;
}

static int start(struct pst_enclave *e, struct pst_text *config, struct pst_text *boot)
{
    struct pst_boot head;
    int rc = config_make(e, config);
    if (rc == PST_OK)
        rc = e->backend->create(&e->settings, &e->box, e->why);
    if (rc == PST_OK)
        rc = e->backend->measure(e->box, config->bytes, config->count, e->measurement);
    if (rc == PST_OK)
        rc = boot_make(e, &head, config);
    if (rc == PST_OK)
        rc = pst_text_add(boot, (const char *)&head, sizeof head);
    OPENSSL_cleanse(&head, sizeof head);
    if (rc == PST_OK)
        rc = pst_text_add(boot, config->bytes, config->count);
    if (rc == PST_OK)
        rc = e->backend->run(e->box, boot->bytes, boot->count, &e->facts, e->why);
    if (rc == PST_OK)
        rc = wait_for(e, READY);
    if (rc == PST_OK && (e->facts & PST_FACT_SECCOMP) == 0) {
        (void)snprintf(e->why, sizeof e->why, "its worker could not give up system calls");
        rc = PST_EREFUSED;
    }
    return rc;
}

int pst_enclave_start(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                      struct pst_enclave **ret_enclave, char ret_why[PST_ENCLAVE_WHY_BYTES])
{
    struct pst_text config = {0}, boot = {0};
    struct pst_enclave *e = pst_calloc(1, sizeof *e);
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", pst_error_sentence(PST_ENOMEM));
    if (e == NULL)
        return PST_ENOMEM;
    e->backend = backend;
    e->settings = *settings;
    e->settings.epc_bytes &= ~(uint64_t)4095;
    if (e->settings.quiet_seconds_max == 0)
        e->settings.quiet_seconds_max = QUIET_SECONDS_STANDARD;
    e->operator= * settings->operator;
    e->timer_min = INT64_MAX;
    pst_config_shapes(&e->operator, e->inputs, e->outputs);
    int rc = start(e, &config, &boot);
    if (boot.bytes != NULL)
        OPENSSL_cleanse(boot.bytes, boot.count);
    pst_text_fini(&boot);
    pst_text_fini(&config);
    if (rc == PST_OK) {
        *ret_enclave = e;
        return PST_OK;
    }
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", e->why[0] != '\0' ? e->why : pst_error_sentence(rc));
    pst_enclave_free(e);
    return rc;
}

void pst_enclave_free(struct pst_enclave *e)
{
    if (e == NULL)
        return;
    struct pst_message stop = {.kind = PST_MESSAGE_STOP};
    if (e->bordered && e->state == READY)
        (void)pst_border_send(&e->border, &stop, NULL, 0); /* without room it is ended below all the same */
    if (e->box != NULL) {
        e->backend->stop(e->box);
        e->backend->destroy(e->box);
    }
    if (e->bordered)
        pst_border_fini(&e->border);
    pst_free(e);
}
