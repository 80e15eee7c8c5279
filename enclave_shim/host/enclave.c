/* enclave.c - the host's side of a worker: what it is told, what it is sent, and what comes back. Behind any backend.
 *
 *    state      may move to                  while in it
 *    STARTING   READY, GONE                  the worker makes itself ready; nothing is sent
 *    READY      IMAGING, MOVING, ENDED, GONE frames and times are sent; rows come while a time is not answered; or what it had is given
 *                                            back to it
 *    IMAGING    READY, GONE                  it has answered all else, seals its state, and pieces come
 *    MOVING     READY, GONE                  it has answered all else; buckets go from it, or come to it, and pieces may come
 *    ENDED      GONE                         the end was sent; rows come until it is answered
 *    GONE       -                            every call answers the error that it went with
 */
#include "enclave_shim/common/config.h"
#include "enclave_shim/common/peer.h"
#include "enclave_shim/sealed.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOK_US = 50 * 1000, /* between two looks whether a worker that says nothing still runs */
    QUIET_SECONDS_STANDARD = 60,
    TOUCHED_BYTES = 4096, /* by one write */
    TOUCHED_SHIFT = 25,   /* 32 MiB a second at least */
    TRIAL_CONFIGS = 3,    /* what a worker takes to read a configuration and make its plan, in sizes of that */
};

enum state { STARTING, READY, IMAGING, MOVING, ENDED, GONE };

struct pst_enclave {
    const struct pst_enclave_backend *backend;
    struct pst_enclave_box *box;
    struct pst_enclave_settings settings;
    struct pst_enclave_operator operator; /* texts and lists are the settings' */
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    struct pst_border border;
    uint8_t *room; /* for columns of what comes out */
    bool bordered;
    enum state state;
    uint32_t asked;               /* times, and the end, that are not answered yet */
    int error;                    /* GONE */
    uint64_t quiet_us, looked_us; /* waited for without a sign of it; up to the last look */
    uint32_t facts;
    int64_t timer_min;
    uint64_t state_bytes;
    struct pst_border_counts counts;
    bool lost;           /* see pst_enclave_is_lost() */
    uint64_t checkpoint; /* IMAGING: of this one; else of the last image */
    int image_error;
    uint32_t generation;
    uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES];
    uint8_t digest[PST_CONFIG_DIGEST_BYTES], measurement[PST_MEASUREMENT_BYTES];
    uint8_t channel_key[PST_CHANNEL_KEY_BYTES]; /* where rows are sealed */
    uint8_t offer[PST_OFFER_BYTES];             /* where buckets may move */
    bool has_offer;
    int move_error; /* of what was asked last about a move */
    char move_why[PST_SENTENCE_BYTES_MAX + 1];
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

/* Of its pool before it is ready. */
static uint64_t touched(const struct pst_enclave_settings *s)
{
    return s->touch_bytes < s->epc_bytes ? s->touch_bytes : s->epc_bytes;
}

/* While it starts it may take longer, for those that start beside it touch theirs at the same time. */
static uint64_t touch_seconds(const struct pst_enclave_settings *s)
{
    return (touched(s) >> TOUCHED_SHIFT) * (s->starting_count != 0 ? s->starting_count : 1);
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
    if (pst_shape_read(&e->outputs[message->port], message->row_count, body, message->body_bytes, e->room, parts) !=
        PST_OK)
        return PST_EREFUSED;
    const uint32_t *bucket = parts[part++];
    for (uint32_t i = 0; i < message->row_count; i++)
        if (bucket[i] >= e->operator.bucket_count)
            return PST_EREFUSED;
    for (uint32_t f = 0; f < output->schema.field_count; f++)
        columns[f] = output->wanted[f] ? parts[part++] : NULL;
    int rc = message->facts == PST_ROWS_TIMED ? e->settings.take_at(e->settings.taker, message->time) : PST_OK;
    if (rc != PST_OK)
        return rc;
    return e->settings.take(e->settings.taker, message->port, message->row_count, bucket, columns);
}

/* A worker may be anybody's operator: nothing for terminals comes from it, and nothing that is no text in a message to other nodes. */
static int sentence_take(const struct pst_message *message, const uint8_t *body, char *ret_why, size_t why_bytes)
{
    (void)snprintf(ret_why, why_bytes, "%.*s", (int)message->body_bytes, (const char *)body);
    for (char *at = ret_why; *at != '\0'; at++)
        *at = (unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f ? '?' : *at;
    return message->error >= PST_EINTERNAL ? message->error : PST_EINTERNAL;
}

static int take_failure(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    return sentence_take(message, body, e->why, sizeof e->why);
}

static int take_offer(struct pst_enclave *e, const uint8_t *body)
{
    if ((e->state != STARTING && e->state != MOVING) || e->operator.authority == NULL)
        return PST_EREFUSED;
    memcpy(e->offer, body, sizeof e->offer);
    e->has_offer = true;
    return PST_OK;
}

static int take_moved(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    if (e->state != MOVING)
        return PST_EREFUSED;
    e->state = READY;
    e->asked--;
    e->timer_min = message->time;
    if (message->error != PST_OK)
        e->move_error = sentence_take(message, body, e->move_why, sizeof e->move_why);
    return PST_OK;
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
    bool sealed = e->operator.sealing != NULL && !e->settings.paced &&
                  e->state == READY; /* nobody asked: it goes by what it opens */
    if (!sealed && (e->asked == 0 || e->state == IMAGING || e->state == MOVING))
        return PST_EREFUSED;
    e->asked -= !sealed;
    e->timer_min = message->time;
    e->state_bytes = message->state_bytes;
    memcpy(&e->counts, body, sizeof e->counts);
    return !sealed && e->settings.answered != NULL ? e->settings.answered(e->settings.taker) : PST_OK;
}

static int take_piece(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    const struct pst_enclave_piece piece = {.bucket = message->port,
                                            .structure = (uint16_t)message->row_count,
                                            .kind = (uint16_t)(message->row_count >> 16),
                                            .number = (uint64_t)message->limit,
                                            .changed = message->facts,
                                            .sealed_bytes = message->body_bytes,
                                            .sealed = body};
    if ((e->state != IMAGING && e->state != MOVING) || piece.bucket >= e->operator.bucket_count ||
                                                                       e->settings.take_piece == NULL)
        return PST_EREFUSED;
    int *error = e->state == IMAGING ? &e->image_error : &e->move_error;
    if (*error == PST_OK)
        *error = e->settings.take_piece(e->settings.taker, &piece);
    return PST_OK;
}

static int take_imaged(struct pst_enclave *e, const struct pst_message *message, const uint8_t *body)
{
    if (e->state != IMAGING || (uint64_t)message->limit != e->checkpoint)
        return PST_EREFUSED;
    e->state = READY;
    e->asked--;
    if (message->error != PST_OK)
        e->image_error = message->error >= PST_EINTERNAL ? message->error : PST_EINTERNAL;
    e->generation = message->facts;
    memcpy(e->incarnation, body, sizeof e->incarnation);
    return PST_OK;
}

/* Of on_time() and on_end() while they are asked for; in total order those of on_frame() whenever a batch of them is full. */
static bool rows_are_due(const struct pst_enclave *e, const struct pst_message *message)
{
    if (message->facts == PST_ROWS_TIMED)
        return e->operator.total && e->settings.take_at != NULL &&(e->state == READY || e->state == ENDED);
    return e->asked != 0 && e->state != IMAGING && e->state != MOVING;
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
        return rows_are_due(e, message) ? take_rows(e, message, body) : PST_EREFUSED;
    case PST_MESSAGE_DONE:
        return take_done(e, message, body);
    case PST_MESSAGE_PIECE:
        return take_piece(e, message, body);
    case PST_MESSAGE_IMAGED:
        return take_imaged(e, message, body);
    case PST_MESSAGE_OFFER:
        return take_offer(e, body);
    case PST_MESSAGE_MOVED:
        return take_moved(e, message, body);
    case PST_MESSAGE_CHANNEL:
        if (e->state != STARTING || e->operator.sealing == NULL)
            return PST_EREFUSED;
        memcpy(e->channel_key, body, sizeof e->channel_key);
        return PST_OK;
    case PST_MESSAGE_CAPSULES:
        return (e->state == READY || (e->state == ENDED && e->settings.paced)) && e->operator.sealing != NULL
                   ? e->settings.take_capsules(e->settings.taker, body, message->body_bytes)
                   : PST_EREFUSED;
    default:
        return take_failure(e, message, body);
    }
}

/* The next message, if there is one. Errors: PST_EAGAIN there is none. */
static int take_next(struct pst_enclave *e)
{
    struct pst_message message;
    uint8_t *body;
    int rc = pst_border_receive(&e->border, &message, &body);
    if (rc == PST_EAGAIN)
        return rc;
    if (rc == PST_OK)
        rc = take(e, &message, body);
    if (rc == PST_EREFUSED && e->why[0] == '\0')
        (void)snprintf(e->why, sizeof e->why, "its worker put something into the border that is not valid");
    return rc == PST_OK ? PST_OK : gone(e, rc);
}

/* All that is in the ring. */
static int take_all(struct pst_enclave *e)
{
    int rc;
    while ((rc = take_next(e)) == PST_OK)
        continue;
    return rc == PST_EAGAIN ? PST_OK : rc;
}

/* Whether it still runs. What a worker has said before it ended is still taken. */
static int look(struct pst_enclave *e)
{
    if (e->settings.stopped != NULL && atomic_load_explicit(e->settings.stopped, memory_order_relaxed))
        return gone(e, PST_ESTOPPED);
    int ended = e->backend->look(e->box, e->why);
    if (ended != PST_OK) {
        char why[PST_ENCLAVE_WHY_BYTES];
        memcpy(why, e->why, sizeof why);
        e->why[0] = '\0';
        int rc = take_all(e);
        if (rc != PST_OK)
            return rc;
        memcpy(e->why, why, sizeof why);
        e->lost = ended == PST_ESTOPPED;
        return gone(e, PST_EIO);
    }
    uint64_t seconds = e->settings.quiet_seconds_max + (e->state == STARTING ? touch_seconds(&e->settings) : 0);
    if (e->quiet_us < seconds * 1000000)
        return PST_OK;
    (void)snprintf(e->why, sizeof e->why, "its worker has not moved for %" PRIu64 " s", seconds);
    e->lost = true;
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

/* Until it is ready, and has answered all that it was asked. */
static int wait_for_all(struct pst_enclave *e)
{
    int rc = PST_OK;
    while (rc == PST_OK && (e->state == STARTING || e->asked != 0)) {
        rc = take_next(e);
        if (rc == PST_EAGAIN)
            rc = wait_once(e, false, LOOK_US);
    }
    return rc;
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
    uint32_t rows_each = pst_shape_rows_each(&e->inputs[rows->input], rows->row_count);
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    for (uint32_t from = 0; from < rows->row_count; from += rows_each) {
        uint32_t n = rows->row_count - from < rows_each ? rows->row_count - from : rows_each, count = 0;
        struct pst_piece pieces[PST_FIELDS_MAX + 2];
        struct pst_message message = {.kind = PST_MESSAGE_FRAME, .port = rows->input, .row_count = n};
        pieces[count++] = (struct pst_piece){rows->time + from, n * (uint32_t)sizeof *rows->time, 8, false};
        if (input->keyed)
            pieces[count++] = (struct pst_piece){rows->hash + from, n * (uint32_t)sizeof *rows->hash, 8, true};
        for (uint32_t c = 0; c < input->used_count; c++) {
            uint32_t bytes = pst_type_bytes(input->schema.fields[input->used[c]].type);
            pieces[count++] =
                (struct pst_piece){(const char *)rows->columns[c] + (size_t)from * bytes, n * bytes, bytes, false};
        }
        int rc = send(e, &message, pieces, count);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int ask_with(struct pst_enclave *e, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count)
{
    if (e->state != READY || e->asked == PST_ENCLAVE_ASKED_MAX)
        return gone(e, PST_EINTERNAL);
    int rc = e->asked == 0 ? take_all(e) : PST_OK; /* nothing is due then but why it has failed */
    if (rc == PST_OK)
        rc = send(e, message, pieces, piece_count);
    if (rc == PST_OK)
        pst_border_kick(&e->border);
    e->asked += rc == PST_OK;
    return rc;
}

static int ask(struct pst_enclave *e, struct pst_message *message) { return ask_with(e, message, NULL, 0); }

int pst_enclave_ask_time(struct pst_enclave *e, int64_t t, int64_t due)
{
    return ask(e, &(struct pst_message){.kind = PST_MESSAGE_TIME, .time = t, .limit = due});
}

int pst_enclave_ask_end(struct pst_enclave *e, int64_t t)
{
    int rc = ask(e, &(struct pst_message){.kind = PST_MESSAGE_END, .time = t});
    if (rc == PST_OK)
        e->state = ENDED;
    return rc;
}

int pst_enclave_ask_image(struct pst_enclave *e, uint64_t checkpoint, int64_t cut, uint32_t since)
{
    e->checkpoint = checkpoint;
    e->image_error = PST_OK;
    if (e->asked != 0)
        return gone(e, PST_EINTERNAL);
    int rc = ask(
        e, &(struct pst_message){.kind = PST_MESSAGE_IMAGE, .time = cut, .limit = (int64_t)checkpoint, .facts = since});
    if (rc == PST_OK)
        e->state = IMAGING;
    return rc;
}

int pst_enclave_image_error(const struct pst_enclave *e) { return e->image_error; }
uint32_t pst_enclave_image_generation(const struct pst_enclave *e) { return e->generation; }

void pst_enclave_image_incarnation(const struct pst_enclave *e, uint8_t ret[PST_IMAGE_INCARNATION_BYTES])
{
    memcpy(ret, e->incarnation, PST_IMAGE_INCARNATION_BYTES);
}

int pst_enclave_restore(struct pst_enclave *e, const uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES],
                        const struct pst_enclave_piece *piece)
{
    struct pst_message message = {.kind = PST_MESSAGE_RESTORE,
                                  .limit = (int64_t)piece->number,
                                  .port = piece->bucket,
                                  .row_count = piece->structure | (uint32_t)piece->kind << 16,
                                  .facts = piece->changed};
    struct pst_piece pieces[] = {{incarnation, PST_IMAGE_INCARNATION_BYTES, 0, false},
                                 {piece->sealed, piece->sealed_bytes, 0, false}};
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    return send(e, &message, pieces, 2);
}

int pst_enclave_restored(struct pst_enclave *e, uint64_t checkpoint, int64_t cut)
{
    struct pst_message message = {.kind = PST_MESSAGE_RESTORED, .time = cut, .limit = (int64_t)checkpoint};
    int rc = ask(e, &message);
    return rc == PST_OK ? wait_for_all(e) : rc;
}

/* ---- buckets that move ---- */

const uint8_t *pst_enclave_offer(const struct pst_enclave *e) { return e->has_offer ? e->offer : NULL; }
int pst_enclave_move_error(const struct pst_enclave *e) { return e->move_error; }
const char *pst_enclave_move_why(const struct pst_enclave *e) { return e->move_why; }

int pst_enclave_meeting_nonce(const struct pst_enclave *e, const struct pst_enclave_meeting *meeting,
                              const uint8_t others_offer[PST_OFFER_BYTES], uint8_t ret_nonce[64])
{
    memcpy(ret_nonce, others_offer + PST_OFFER_BYTES / 2, PST_OFFER_BYTES / 2);
    return pst_peer_meeting_digest(meeting, meeting->gives, e->digest, ret_nonce + PST_OFFER_BYTES / 2);
}

static int ask_move(struct pst_enclave *e, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count)
{
    if (e->asked != 0)
        return gone(e, PST_EINTERNAL);
    e->move_error = PST_OK;
    e->move_why[0] = '\0';
    int rc = ask_with(e, message, pieces, piece_count);
    if (rc == PST_OK)
        e->state = MOVING;
    return rc;
}

int pst_enclave_ask_meet(struct pst_enclave *e, const struct pst_enclave_meeting *meeting,
                         const uint8_t own[PST_PEER_EVIDENCE_BYTES], const uint8_t others[PST_PEER_EVIDENCE_BYTES],
                         const uint8_t *certificate, size_t certificate_bytes)
{
    struct pst_message message = {.kind = PST_MESSAGE_PEER,
                                  .time = (int64_t)meeting->incarnation,
                                  .limit = (int64_t)meeting->move,
                                  .port = meeting->gives};
    const struct pst_piece pieces[] = {{own, PST_PEER_EVIDENCE_BYTES, 0, false},
                                       {others, PST_PEER_EVIDENCE_BYTES, 0, false},
                                       {certificate, (uint32_t)certificate_bytes, 0, false}};
    PST_ASSERT(certificate_bytes <= PST_PEER_CERTIFICATE_BYTES_MAX);
    return ask_move(e, &message, pieces, 3);
}

static struct pst_piece list_piece(const uint32_t *buckets, uint32_t bucket_count)
{
    return (struct pst_piece){buckets, bucket_count * (uint32_t)sizeof *buckets, 0, false};
}

int pst_enclave_ask_hand(struct pst_enclave *e, int64_t t, const uint32_t *buckets, uint32_t bucket_count, bool digests)
{
    struct pst_piece list = list_piece(buckets, bucket_count);
    struct pst_message message = {
        .kind = PST_MESSAGE_HAND, .time = t, .row_count = bucket_count, .facts = digests ? 1 : 0};
    return ask_move(e, &message, &list, 1);
}

int pst_enclave_take(struct pst_enclave *e, const struct pst_enclave_piece *piece)
{
    struct pst_message message = {.kind = PST_MESSAGE_TAKE,
                                  .limit = (int64_t)piece->number,
                                  .port = piece->bucket,
                                  .row_count = piece->structure | (uint32_t)piece->kind << 16,
                                  .facts = piece->changed};
    struct pst_piece sealed = {piece->sealed, piece->sealed_bytes, 0, false};
    return e->state == READY ? send(e, &message, &sealed, 1) : gone(e, PST_EINTERNAL);
}

int pst_enclave_ask_arrive(struct pst_enclave *e, int64_t t, const uint32_t *buckets, uint32_t bucket_count, bool last,
                           bool opens_again)
{
    struct pst_piece list = list_piece(buckets, bucket_count);
    struct pst_message message = {.kind = PST_MESSAGE_ARRIVE, .time = t, .row_count = bucket_count};
    message.facts = (last ? PST_ARRIVE_LAST : 0u) | (opens_again ? PST_ARRIVE_OPENS_AGAIN : 0u);
    return ask_move(e, &message, &list, bucket_count != 0);
}

int pst_enclave_ask_forget(struct pst_enclave *e, const uint32_t *buckets, uint32_t bucket_count, bool last)
{
    struct pst_piece list = list_piece(buckets, bucket_count);
    struct pst_message message = {
        .kind = PST_MESSAGE_FORGET, .row_count = bucket_count, .facts = last ? PST_ARRIVE_LAST : 0};
    return ask_move(e, &message, &list, bucket_count != 0);
}

bool pst_enclave_is_lost(const struct pst_enclave *e) { return e->lost; }
uint64_t pst_enclave_worked_ns(const struct pst_enclave *e) { return e->backend->worked_ns(e->box); }

int pst_enclave_answered(struct pst_enclave *e)
{
    int rc = e->state == GONE ? e->error : PST_OK;
    for (uint32_t before = e->asked; rc == PST_OK && before != 0 && e->asked == before;)
        rc = take_next(e);
    return rc;
}

void pst_enclave_kick(struct pst_enclave *e) { pst_border_kick(&e->border); }

bool pst_enclave_has_news(const struct pst_enclave *e) { return pst_border_has_news(&e->border); }

int pst_enclave_wait(struct pst_enclave *e, uint32_t timeout_us) { return wait_once(e, false, timeout_us); }

int pst_enclave_time(struct pst_enclave *e, int64_t t, int64_t due)
{
    int rc = pst_enclave_ask_time(e, t, due);
    return rc == PST_OK ? wait_for_all(e) : rc;
}

int pst_enclave_end(struct pst_enclave *e, int64_t t)
{
    int rc = pst_enclave_ask_end(e, t);
    return rc == PST_OK ? wait_for_all(e) : rc;
}

/* ---- where rows are sealed ---- */

const uint8_t *pst_enclave_channel_key(const struct pst_enclave *e) { return e->channel_key; }

int pst_enclave_release(struct pst_enclave *e, const void *release, size_t byte_count)
{
    struct pst_message message = {.kind = PST_MESSAGE_RELEASE};
    struct pst_piece piece = {release, (uint32_t)byte_count, 0, false};
    PST_ASSERT(byte_count <= PST_BODY_BYTES_MAX);
    return e->state == READY ? send(e, &message, &piece, 1) : gone(e, PST_EINTERNAL);
}

/* Of capsules, whose sender does not wait for room. */
static int put(struct pst_enclave *e, int rc)
{
    if (rc == PST_EREFUSED)
        (void)snprintf(e->why, sizeof e->why, "its worker put something into the border that is not valid");
    if (rc == PST_OK)
        e->quiet_us = e->looked_us = 0;
    return rc == PST_OK || rc == PST_EAGAIN ? rc : gone(e, rc);
}

int pst_enclave_capsules(struct pst_enclave *e, const void *bytes, size_t byte_count)
{
    struct pst_message message = {.kind = PST_MESSAGE_SEALED};
    struct pst_piece piece = {bytes, (uint32_t)byte_count, 0, false};
    PST_ASSERT(byte_count != 0 && byte_count <= PST_ENCLAVE_CAPSULES_BYTES_MAX);
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    return e->settings.paced ? send(e, &message, &piece, 1) : put(e, pst_border_send(&e->border, &message, &piece, 1));
}

int pst_enclave_capsules_room(struct pst_enclave *e, uint8_t **ret_room)
{
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    *ret_room = pst_border_room(&e->border);
    return *ret_room != NULL ? PST_OK : put(e, e->border.out.poisoned ? PST_EREFUSED : PST_EAGAIN);
}

int pst_enclave_capsules_put(struct pst_enclave *e, size_t byte_count)
{
    struct pst_message message = {.kind = PST_MESSAGE_SEALED, .body_bytes = (uint32_t)byte_count};
    PST_ASSERT(byte_count != 0 && byte_count <= PST_ENCLAVE_CAPSULES_BYTES_MAX);
    if (e->state != READY)
        return gone(e, PST_EINTERNAL);
    return put(e, pst_border_send(&e->border, &message, NULL, 0));
}

int pst_enclave_poll(struct pst_enclave *e) { return e->state == READY ? take_all(e) : gone(e, PST_EINTERNAL); }

bool pst_enclave_took_all(const struct pst_enclave *e) { return pst_border_all_taken(&e->border); }

bool pst_enclave_is_idle(const struct pst_enclave *e) { return pst_border_other_waits(&e->border); }

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
    /* Memory that is locked the machine gives at once. */
    bool locked = e->facts != 0 && (e->facts & PST_FACT_SECRET_MEMORY) == 0;
    uint64_t touched_bytes = locked ? e->settings.epc_bytes : touched(&e->settings);
    *ret =
        (struct pst_enclave_counts){c->lookups,      c->page_ins,
                                    c->page_outs,    c->page_outs_clean,
                                    c->bytes_sealed, c->bytes_opened,
                                    c->pages_in_max, c->need_pages,
                                    c->epc_used_max, c->epc_used_max > touched_bytes ? c->epc_used_max : touched_bytes,
                                    c->leaves,       e->border.sent + e->border.taken};
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

static uint32_t touch_pages(const struct pst_enclave_settings *s)
{
    uint64_t pages = s->touch_bytes / TOUCHED_BYTES;
    return s->touch_bytes >= s->epc_bytes || pages >= UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
}

/* Keys are drawn, used on this side, and handed over. */
static int boot_make(struct pst_enclave *e, struct pst_boot *boot, const struct pst_text *config)
{
    const struct pst_enclave_settings *s = &e->settings;
    *boot = (struct pst_boot){.magic = PST_BOOT_MAGIC,
                              .version = PST_BOOT_VERSION,
                              .config_bytes = (uint32_t)config->count,
                              .evict = s->evict,
                              .touch_pages = touch_pages(s),
                              .cheap = s->cheap,
                              .epc_bytes = s->epc_bytes,
                              .outside_bytes = s->outside_bytes,
                              .spins = s->spare_processors ? PST_BORDER_SPINS_MAX : PST_BORDER_SPINS_FEW};
    for (uint32_t i = 0; i < s->bucket_count; i++)
        boot->owned[s->buckets[i] / 8] |= (uint8_t)(1 << s->buckets[i] % 8);
    boot->lane = s->lane;
    boot->paced = s->paced;
    if (s->image_key != NULL) {
        boot->has_images = 1;
        boot->restore_least = s->restore_least;
        memcpy(boot->image_key, s->image_key, sizeof boot->image_key);
        PST_ASSERT(s->restore_key_count <= PST_IMAGE_KEYS_MAX);
        boot->restore_key_count = s->restore_key_count;
        for (uint32_t i = 0; i < s->restore_key_count; i++)
            memcpy(boot->restore_keys[i], s->restore_keys[i], sizeof boot->restore_keys[i]);
        memcpy(boot->graph, s->graph, sizeof boot->graph);
    }
    int rc = s->random(s->argument, boot->key_in, sizeof boot->key_in);
    if (rc == PST_OK)
        rc = s->random(s->argument, boot->key_out, sizeof boot->key_out);
    if (rc == PST_OK)
        rc = pst_border_init(&e->border, e->backend->rings(e->box), false, boot->key_in, boot->key_out);
    e->bordered = rc == PST_OK;
    e->border.spins = boot->spins;
    return rc;
}

/* What is handed over lies in one block, which is wiped: one that grows would leave keys where it was before. */
static int boot_run(struct pst_enclave *e, const struct pst_boot *head, const struct pst_text *config)
{
    size_t byte_count = sizeof *head + config->count;
    uint8_t *boot = pst_malloc(byte_count);
    if (boot == NULL)
        return PST_ENOMEM;
    memcpy(boot, head, sizeof *head);
    memcpy(boot + sizeof *head, config->bytes, config->count);
    int rc = e->backend->run(e->box, boot, byte_count, &e->facts, e->why);
    OPENSSL_cleanse(boot, byte_count);
    pst_free(boot);
    return rc;
}

static int start(struct pst_enclave *e, struct pst_text *config)
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
        rc = boot_run(e, &head, config);
    OPENSSL_cleanse(&head, sizeof head);
    if (rc == PST_ESTOPPED) {
        e->lost = true;
        rc = PST_EIO;
    }
    return rc == PST_OK && !e->settings.later ? pst_enclave_await(e) : rc;
}

int pst_enclave_await(struct pst_enclave *e)
{
    int rc = wait_for_all(e);
    if (rc == PST_OK && (e->facts & PST_FACT_SECCOMP) == 0) {
        (void)snprintf(e->why, sizeof e->why, "its worker could not give up system calls");
        rc = gone(e, PST_EREFUSED);
    }
    return rc;
}

int pst_enclave_start(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                      struct pst_enclave **ret_enclave, char ret_why[PST_ENCLAVE_WHY_BYTES])
{
    struct pst_text config = {0};
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
    e->room = pst_aligned(64, PST_BODY_BYTES_MAX);
    int rc = e->room != NULL ? start(e, &config) : PST_ENOMEM;
    pst_text_fini(&config);
    if (rc == PST_OK) {
        *ret_enclave = e;
        return PST_OK;
    }
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", e->why[0] != '\0' ? e->why : pst_error_sentence(rc));
    if (settings->ret_lost != NULL)
        *settings->ret_lost = e->lost;
    pst_enclave_free(e);
    return rc;
}

int pst_enclave_try(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                    char ret_why[PST_ENCLAVE_WHY_BYTES])
{
    struct pst_text text = {0}, config = {0};
    struct pst_enclave_box *box = NULL;
    uint32_t facts;
    ret_why[0] = '\0';
    int rc = pst_config_encode(settings->operator, & config);
    struct pst_enclave_settings small = *settings;
    small.outside_bytes = 4096;
    small.epc_bytes = (PST_EPC_BYTES_MIN + TRIAL_CONFIGS * (uint64_t)config.count + 4095) & ~(uint64_t)4095;
    const struct pst_boot boot = {.magic = PST_BOOT_MAGIC,
                                  .version = PST_BOOT_VERSION,
                                  .config_bytes = (uint32_t)config.count,
                                  .epc_bytes = small.epc_bytes,
                                  .outside_bytes = small.outside_bytes,
                                  .trial = 1};
    if (rc == PST_OK)
        rc = pst_text_add(&text, (const char *)&boot, sizeof boot);
    if (rc == PST_OK)
        rc = pst_text_add(&text, config.bytes, config.count);
    if (rc == PST_OK)
        rc = backend->create(&small, &box, ret_why);
    if (rc == PST_OK)
        rc = backend->run(box, text.bytes, text.count, &facts, ret_why);
    if (box != NULL) {
        backend->stop(box);
        backend->destroy(box);
    }
    pst_text_fini(&text);
    pst_text_fini(&config);
    if (rc != PST_OK && ret_why[0] == '\0')
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", pst_error_sentence(rc));
    return rc == PST_ESTOPPED ? PST_EIO : rc;
}

int pst_enclave_measure(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                        uint8_t ret_measurement[PST_MEASUREMENT_BYTES], char ret_why[PST_ENCLAVE_WHY_BYTES])
{
    struct pst_text config = {0};
    struct pst_enclave_box *box = NULL;
    ret_why[0] = '\0';
    struct pst_enclave_settings small = *settings;
    small.outside_bytes = 4096;
    int rc = pst_config_encode(settings->operator, & config);
    if (rc == PST_OK)
        rc = backend->create(&small, &box, ret_why);
    if (rc == PST_OK)
        rc = backend->measure(box, config.bytes, config.count, ret_measurement);
    if (box != NULL)
        backend->destroy(box);
    pst_text_fini(&config);
    if (rc != PST_OK && ret_why[0] == '\0')
        (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", pst_error_sentence(rc));
    return rc;
}

void pst_enclave_take_for(struct pst_enclave *e, void *taker) { e->settings.taker = taker; }

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
    pst_free(e->room);
    pst_free(e);
}
