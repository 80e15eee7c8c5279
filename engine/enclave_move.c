/* enclave_move.c - see lane.h and docs/enclaves.md: buckets of an operator in enclaves on their way from one worker to another. What is in
 * a parcel the giver's worker has sealed for the lane's; here it is carried, and what the workers are asked for is waited for.
 *
 * Parcel, little endian, all at multiples of 8:
 *    0 u32 magic "PSTE"    4 u32 version 1    8 u32 digest_count    12 u32 bucket_count    16 u32 1 the last one, else 0    20 u32 piece_count
 *   24 digests, of what the host knows: 0 u32 bucket    4 u32 zero    8 u64 number
 *      buckets: 0 u32 bucket    4 u32 zero    8 u64 number
 *      pieces:  0 u32 sealed_bytes    4 u32 bucket    8 u32 structure, in the upper half the kind    12 u32 changed    16 u64 number
 *              24 sealed_bytes, zeros to a multiple of 8 */
#include "engine/control.h"
#include "engine/enclave.h"
#include "engine/lane.h"

#include "enclave_shim/attestation/evidence.h"

#include <stdio.h>
#include <string.h>

enum { PARCEL_MAGIC = 0x45545350, PARCEL_VERSION = 1, HEAD_BYTES = 24, ENTRY_BYTES = 16, PIECE_HEAD_BYTES = 24 };
enum asked { ASKED_NOTHING, ASKED_MEET, ASKED_HAND, ASKED_ARRIVE, ASKED_FORGET };

static_assert((int)PST_PEER_EVIDENCE_BYTES == PST_PROCESS_EVIDENCE_BYTES, "the same bytes");
static_assert((int)ENCLAVE_WORDS_BYTES_MAX <= PST_CONTROL_WORDS_BYTES_MAX, "they fit a message");

struct enclave_moving { /* of an instance that has a worker: from its first move on */
    struct pst_enclave_meeting meeting;
    uint8_t own[PST_PEER_EVIDENCE_BYTES], others[ENCLAVE_SHOWN_BYTES_MAX];
    size_t others_bytes; /* 0: it was not shown the other one yet */
    bool met;
    bool over; /* the move was given up: its worker is to end the meeting */
    enum asked asked;
    struct blob *blob;    /* ASKED_HAND: pieces come here, */
    struct pst_ctx *into; /* or go there at once; NULL: they do not */
    uint32_t piece_count;
    int error; /* of that */
};

/* ---- parcels ---- */

static void put_u32(struct pst_text *bytes, uint32_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}
static void put_u64(struct pst_text *bytes, uint64_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}

static void entries_put(struct pst_ctx *ctx, const uint32_t *buckets, uint32_t count, struct pst_text *bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        put_u32(bytes, buckets[i]);
        put_u32(bytes, 0);
        put_u64(bytes, ctx->numbers[buckets[i]]);
    }
}

static int head_put(struct pst_ctx *ctx, const struct parcel *parcel, struct pst_text *bytes)
{
    put_u32(bytes, PARCEL_MAGIC);
    put_u32(bytes, PARCEL_VERSION);
    put_u32(bytes, parcel->digest_count);
    put_u32(bytes, parcel->bucket_count);
    put_u32(bytes, parcel->last);
    put_u32(bytes, 0);
    entries_put(ctx, parcel->digests, parcel->digest_count, bytes);
    entries_put(ctx, parcel->buckets, parcel->bucket_count, bytes);
    return bytes->failed ? PST_ENOMEM : PST_OK;
}

int pst_moving_take_piece(struct pst_ctx *ctx, const struct pst_enclave_piece *piece)
{
    static const char zeros[8];
    struct enclave_moving *m = ctx->enclave_moving;
    if (piece->sealed_bytes == 0 || (m->blob == NULL && m->into == NULL))
        return PST_EDATA;
    if (m->into != NULL)
        return pst_ctx_enclave_said(m->into, pst_enclave_take(m->into->enclave, piece));
    struct pst_text *bytes = &m->blob->bytes;
    put_u32(bytes, piece->sealed_bytes);
    put_u32(bytes, piece->bucket);
    put_u32(bytes, piece->structure | (uint32_t)piece->kind << 16);
    put_u32(bytes, piece->changed);
    put_u64(bytes, piece->number);
    (void)pst_text_add(bytes, piece->sealed, piece->sealed_bytes);
    (void)pst_text_add(bytes, zeros, -piece->sealed_bytes & 7);
    m->piece_count++;
    return bytes->failed ? PST_ENOMEM : PST_OK;
}

int pst_sealed_parcel_read(const void *bytes, size_t byte_count, struct sealed_parcel *ret)
{
    const char *at = bytes;
    if (byte_count < HEAD_BYTES || pst_get_u32(at) != PARCEL_MAGIC)
        return PST_EDATA;
    if (pst_get_u32(at + 4) != PARCEL_VERSION)
        return PST_EABI;
    *ret = (struct sealed_parcel){.digest_count = pst_get_u32(at + 8),
                                  .bucket_count = pst_get_u32(at + 12),
                                  .last = pst_get_u32(at + 16) == 1,
                                  .piece_count = pst_get_u32(at + 20),
                                  .digests = at + HEAD_BYTES,
                                  .end = at + byte_count};
    uint64_t entries = ((uint64_t)ret->digest_count + ret->bucket_count) * ENTRY_BYTES;
    if (pst_get_u32(at + 16) > 1 || entries > byte_count - HEAD_BYTES)
        return PST_EDATA;
    ret->buckets = ret->digests + (size_t)ret->digest_count * ENTRY_BYTES;
    ret->at = ret->digests + entries;
    return PST_OK;
}

int pst_sealed_parcel_entry(const char *entries, uint32_t i, uint32_t *ret_bucket, uint64_t *ret_number)
{
    const char *at = entries + (size_t)i * ENTRY_BYTES;
    *ret_bucket = pst_get_u32(at);
    *ret_number = pst_get_u64(at + 8);
    return pst_get_u32(at + 4) == 0 ? PST_OK : PST_EDATA;
}

int pst_sealed_parcel_piece(struct sealed_parcel *parcel, struct pst_enclave_piece *ret)
{
    if ((size_t)(parcel->end - parcel->at) < PIECE_HEAD_BYTES)
        return PST_EDATA;
    const char *at = parcel->at;
    uint32_t place = pst_get_u32(at + 8);
    *ret = (struct pst_enclave_piece){.bucket = pst_get_u32(at + 4),
                                      .structure = (uint16_t)place,
                                      .kind = (uint16_t)(place >> 16),
                                      .number = pst_get_u64(at + 16),
                                      .changed = pst_get_u32(at + 12),
                                      .sealed_bytes = pst_get_u32(at),
                                      .sealed = at + PIECE_HEAD_BYTES};
    uint64_t whole = ((uint64_t)ret->sealed_bytes + 7) & ~UINT64_C(7);
    if (ret->sealed_bytes < SEALED_PIECE_BYTES_MIN || ret->sealed_bytes > SEALED_PIECE_BYTES_MAX ||
        whole > (size_t)(parcel->end - at) - PIECE_HEAD_BYTES)
        return PST_EDATA;
    parcel->at = at + PIECE_HEAD_BYTES + whole;
    return PST_OK;
}

/* ---- words: what hosts bring each other ---- */

static struct pst_ctx *side_of(const struct run *run, const struct move *move, bool gives)
{
    struct pst_ctx *ctx = run->partitions[move->operator_index][gives ? move->from : move->to];
    return ctx != NULL && ctx->enclave != NULL ? ctx : NULL;
}

int pst_moving_offer(const struct run *run, const struct move *move, bool gives, uint8_t *ret_words, size_t *ret_bytes)
{
    const struct pst_ctx *ctx = side_of(run, move, gives);
    const uint8_t *offer = ctx != NULL ? pst_enclave_offer(ctx->enclave) : NULL;
    *ret_bytes = 0;
    if (offer == NULL)
        return ctx == NULL ? PST_OK : PST_EREFUSED;
    memcpy(ret_words, offer, PST_OFFER_BYTES);
    *ret_bytes = PST_OFFER_BYTES;
    return PST_OK;
}

static int moving_of(struct pst_ctx *ctx, uint64_t move, bool gives)
{
    struct enclave_moving *m = ctx->enclave_moving;
    if (m == NULL)
        m = ctx->enclave_moving = pst_calloc(1, sizeof *m);
    if (m == NULL)
        return PST_ENOMEM;
    PST_ASSERT(m->asked == ASKED_NOTHING || m->over);
    m->meeting = (struct pst_enclave_meeting){ctx->run->site->incarnation, move, gives};
    m->others_bytes = 0;
    m->met = false;
    return PST_OK;
}

/* What this node says of the worker, for the other one's offer. */
static int attest_own(struct pst_ctx *ctx, const uint8_t *others_offer)
{
    const struct pst_identity *identity = ctx->run->options.identity;
    struct enclave_moving *m = ctx->enclave_moving;
    struct pst_enclave_report report;
    pst_enclave_report(ctx->enclave, &report);
    struct pst_process_evidence evidence = {.epc_bytes = ctx->node->epc_bytes != 0 ? ctx->node->epc_bytes
                                                                                   : PST_EPC_BYTES_STANDARD};
    evidence.capabilities = ((report.guards & PST_GUARD_USERS) != 0 ? PST_CONF_USER : 0u) |
                            ((report.facts & PST_FACT_MEASURED) != 0 ? PST_EXEC_MEASURED : 0u);
    memcpy(evidence.measurement, report.measurement, sizeof evidence.measurement);
    memcpy(evidence.channel_key, pst_enclave_offer(ctx->enclave), sizeof evidence.channel_key);
    int rc = pst_enclave_meeting_nonce(ctx->enclave, &m->meeting, others_offer, evidence.nonce);
    return rc == PST_OK ? pst_process_evidence_sign(&evidence, identity->key, m->own) : rc;
}

/* The same, and what the hardware of this machine says of it, where that is asked and it goes to another node; then the certificate. */
static int attest(struct pst_ctx *ctx, const uint8_t *others_offer, const char *tsm, uint8_t *ret_words,
                  size_t *ret_bytes, char *ret_why)
{
    const struct pst_identity *identity = ctx->run->options.identity;
    const struct enclave_moving *m = ctx->enclave_moving;
    uint8_t *at = ret_words + sizeof m->own;
    char path[PST_TSM_PATH_BYTES];
    size_t machine_bytes = 0;
    int rc = attest_own(ctx, others_offer);
    if (rc == PST_OK && tsm != NULL) {
        rc =
            pst_machine_evidence_ask(ctx->run->world, tsm, m->own, at, ENCLAVE_MACHINE_BYTES_MAX, &machine_bytes, path);
        if (rc != PST_OK)
            (void)snprintf(ret_why, ENCLAVE_MOVE_WHY_BYTES, "no hardware's evidence of this machine: `%s`: %s", path,
                           rc == PST_EDATA ? "it was changed meanwhile, is empty or too large" : pst_system_error());
    }
    if (rc != PST_OK)
        return rc;
    memcpy(ret_words, m->own, sizeof m->own);
    memcpy(at + machine_bytes, identity->certificate, identity->certificate_bytes);
    *ret_bytes = sizeof m->own + machine_bytes + identity->certificate_bytes;
    return PST_OK;
}

int pst_moving_attest(struct run *run, const struct move *move, bool gives, const uint8_t *others_words,
                      size_t others_bytes, uint8_t *ret_words, size_t *ret_bytes, char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    struct pst_ctx *ctx = side_of(run, move, gives);
    *ret_bytes = 0;
    ret_why[0] = '\0';
    if (ctx == NULL)
        return PST_OK;
    if (run->options.identity == NULL || others_bytes != PST_OFFER_BYTES)
        return PST_EREFUSED;
    int rc = moving_of(ctx, move->id, gives);
    return rc == PST_OK ? attest(ctx, others_words, run->options.tsm, ret_words, ret_bytes, ret_why) : rc;
}

/* Is the other node the machine that this one's policy wants? The hardware has to have signed the hash of its worker's evidence, which is
 * what the worker here looks at. */
static int machine_look(const struct run *run, const uint8_t process[PST_PROCESS_EVIDENCE_BYTES],
                        const struct pst_machine_evidence *machine, char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    enum { MACHINES = 1 << PST_BACKEND_SNP | 1 << PST_BACKEND_TDX };
    struct pst_evidence_request request = *run->options.peers;
    struct pst_attestation_policy policy = *request.policy;
    struct pst_bytes certificates[PST_EVIDENCE_CERTIFICATES_MAX + 1];
    struct pst_evidence_report report;
    uint8_t data[64];
    PST_ASSERT(request.certificate_count <= PST_EVIDENCE_CERTIFICATES_MAX);
    int rc = pst_machine_report_data(process, data);
    if (rc != PST_OK)
        return rc;
    for (uint32_t i = 0; i < request.certificate_count; i++)
        certificates[i] = request.certificates[i];
    if (machine->certificates.count != 0)
        certificates[request.certificate_count++] = machine->certificates;
    policy.backends &= MACHINES; /* other evidence may hold the same hash */
    request.policy = &policy;
    request.certificates = certificates;
    request.evidence = machine->report;
    request.nonce = data;
    request.nonce_bytes = sizeof data;
    request.at_s = run->world->wall_s(run->world->self);
    rc = pst_evidence_verify(&request, &report);
    const struct pst_check *failed = rc == PST_OK ? pst_evidence_report_failed(&report) : NULL;
    if (rc == PST_EDATA)
        (void)snprintf(ret_why, ENCLAVE_MOVE_WHY_BYTES, "the other node's machine: %.300s", report.why);
    else if (rc == PST_OK && !report.accepted)
        (void)snprintf(ret_why, ENCLAVE_MOVE_WHY_BYTES,
                       "the other node's machine is not what the policy wants: %.60s is %.120s, not %.150s",
                       failed != NULL ? failed->name : "it", failed != NULL ? failed->actual : "not accepted",
                       failed != NULL ? failed->expected : "accepted");
    if (rc == PST_EDATA || (rc == PST_OK && !report.accepted))
        rc = PST_EREFUSED;
    pst_evidence_report_fini(&report);
    return rc;
}

/* *ret_machine_bytes lie behind the worker's evidence, and are not the worker's to see. */
static int machine_take(const struct run *run, const uint8_t *words, size_t word_bytes, size_t *ret_machine_bytes,
                        char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    struct pst_machine_evidence machine;
    const char *why;
    const uint8_t *at = words + PST_PROCESS_EVIDENCE_BYTES;
    const size_t left = word_bytes - PST_PROCESS_EVIDENCE_BYTES;
    *ret_machine_bytes = 0;
    if (!pst_machine_evidence_begins(at, left)) {
        (void)snprintf(ret_why, ENCLAVE_MOVE_WHY_BYTES, "%s",
                       run->options.peers != NULL ? "the other node shows no hardware's evidence of its machine" : "");
        return run->options.peers != NULL ? PST_EREFUSED : PST_OK;
    }
    if (pst_machine_evidence_parse(at, left, &machine, ret_machine_bytes, &why) != PST_OK) {
        (void)snprintf(ret_why, ENCLAVE_MOVE_WHY_BYTES, "what the other node shows %s", why);
        return PST_EREFUSED;
    }
    machine.report.name = "the evidence";
    machine.certificates.name = "what came along with it";
    return run->options.peers != NULL ? machine_look(run, words, &machine, ret_why) : PST_OK;
}

int pst_moving_show(struct run *run, const struct move *move, bool gives, const uint8_t *words, size_t word_bytes,
                    char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    struct pst_ctx *ctx = side_of(run, move, gives);
    size_t machine_bytes = 0;
    ret_why[0] = '\0';
    if (ctx == NULL)
        return PST_OK;
    struct enclave_moving *m = ctx->enclave_moving;
    if (m == NULL || m->meeting.move != move->id || word_bytes <= PST_PEER_EVIDENCE_BYTES)
        return PST_EREFUSED;
    int rc = machine_take(run, words, word_bytes, &machine_bytes, ret_why);
    if (rc != PST_OK)
        return rc;
    const size_t certificate_bytes = word_bytes - PST_PEER_EVIDENCE_BYTES - machine_bytes;
    if (certificate_bytes == 0 || certificate_bytes > PST_PEER_CERTIFICATE_BYTES_MAX)
        return PST_EREFUSED;
    memcpy(m->others, words, PST_PEER_EVIDENCE_BYTES);
    memcpy(m->others + PST_PEER_EVIDENCE_BYTES, words + word_bytes - certificate_bytes, certificate_bytes);
    m->others_bytes = PST_PEER_EVIDENCE_BYTES + certificate_bytes;
    pst_run_wake(run, ctx->worker);
    return PST_OK;
}

/* ---- what a worker is asked ---- */

bool pst_moving_busy(const struct pst_ctx *ctx)
{
    return ctx->enclave_moving != NULL && ctx->enclave_moving->asked != ASKED_NOTHING;
}

bool pst_moving_ends(const struct pst_ctx *ctx)
{
    const struct enclave_moving *m = ctx->enclave_moving;
    return m != NULL && m->over && m->asked == ASKED_NOTHING;
}

static int asked(struct pst_ctx *ctx, enum asked what, int rc)
{
    if (rc == PST_OK)
        ctx->enclave_moving->asked = what;
    return pst_ctx_enclave_said(ctx, rc);
}

bool pst_moving_meets(struct pst_ctx *ctx)
{
    struct enclave_moving *m = ctx->enclave_moving;
    if (m == NULL || m->asked != ASKED_NOTHING || m->others_bytes == 0)
        return false;
    m->over = false; /* a meeting ends the one before */
    if (!m->met)
        (void)asked(ctx, ASKED_MEET,
                    pst_enclave_ask_meet(ctx->enclave, &m->meeting, m->own, m->others,
                                         m->others + PST_PEER_EVIDENCE_BYTES,
                                         m->others_bytes - PST_PEER_EVIDENCE_BYTES));
    return m->met;
}

int pst_moving_hand(struct pst_ctx *ctx, const struct parcel *parcel, struct blob *blob)
{
    struct enclave_moving *m = ctx->enclave_moving;
    bool digests = parcel->bucket_count == 0;
    int rc = head_put(ctx, parcel, &blob->bytes);
    if (rc != PST_OK || (digests && parcel->digest_count == 0))
        return rc;
    m->blob = blob;
    m->piece_count = 0;
    rc = asked(ctx, ASKED_HAND,
               pst_enclave_ask_hand(ctx->enclave, ctx->now, digests ? parcel->digests : parcel->buckets,
                                    digests ? parcel->digest_count : parcel->bucket_count, digests));
    if (rc != PST_OK)
        m->blob = NULL;
    return rc == PST_OK ? PST_EAGAIN : rc;
}

static int lane_entries(struct pst_ctx *ctx, const struct sealed_parcel *parcel)
{
    struct lane *lane = ctx->lane;
    uint32_t bucket;
    uint64_t number;
    int rc = PST_OK;
    for (uint32_t i = 0; i < parcel->digest_count && rc == PST_OK; i++) {
        rc = pst_sealed_parcel_entry(parcel->digests, i, &bucket, &number);
        if (rc != PST_OK || bucket >= ctx->node->bucket_count || lane->of[bucket] != LANE_JOINED ||
            lane->digest_count == lane->wanted_count)
            return PST_EDATA;
        lane->digests[lane->digest_count++] = (struct lane_digest){bucket, number};
    }
    for (uint32_t i = 0; i < parcel->bucket_count && rc == PST_OK; i++) {
        rc = pst_sealed_parcel_entry(parcel->buckets, i, &bucket, &number);
        if (rc != PST_OK || bucket >= ctx->node->bucket_count || lane->of[bucket] != LANE_WANTS)
            return PST_EDATA;
        ctx->numbers[bucket] = number;
        lane->of[bucket] = LANE_HAS;
        lane->joining[lane->joining_count++] = bucket;
    }
    return rc;
}

int pst_moving_take(struct pst_ctx *ctx, const struct blob *blob)
{
    struct lane *lane = ctx->lane;
    struct sealed_parcel parcel;
    struct pst_enclave_piece piece;
    lane->joining_count = lane->digest_count = 0;
    int rc = pst_sealed_parcel_read(blob->bytes.bytes, blob->bytes.count, &parcel);
    if (rc != PST_OK)
        return rc;
    lane->last = parcel.last;
    rc = lane_entries(ctx, &parcel);
    for (uint32_t i = 0; i < parcel.piece_count && rc == PST_OK; i++) {
        rc = pst_sealed_parcel_piece(&parcel, &piece);
        if (rc == PST_OK)
            rc = pst_ctx_enclave_said(ctx, pst_enclave_take(ctx->enclave, &piece));
    }
    return rc == PST_OK && parcel.at != parcel.end ? PST_EDATA : rc;
}

int pst_moving_arrive(struct pst_ctx *ctx)
{
    const struct lane *lane = ctx->lane;
    return asked(ctx, ASKED_ARRIVE,
                 pst_enclave_ask_arrive(ctx->enclave, ctx->now, lane->joining, lane->joining_count, lane->last, false));
}

int pst_moving_forget(struct pst_ctx *ctx, const struct move *move)
{
    ctx->enclave_moving->met = false;
    return asked(ctx, ASKED_FORGET, pst_enclave_ask_forget(ctx->enclave, move->buckets, move->bucket_count, true));
}

void pst_moving_over(struct pst_ctx *ctx)
{
    struct enclave_moving *m = ctx->enclave_moving;
    if (m == NULL)
        return;
    m->others_bytes = 0;
    m->over = m->met || m->asked != ASKED_NOTHING;
    pst_run_wake(ctx->run, ctx->worker);
}

/* ---- a lane becomes a part of another partition of its node: one more meeting, of the two workers ---- */

static int joins_meet(struct pst_ctx *lane, struct pst_ctx *into)
{
    uint64_t move = lane->enclave_moving->meeting.move;
    struct pst_ctx *sides[2] = {lane, into};
    int rc = lane->run->options.identity != NULL ? PST_OK : PST_EREFUSED;
    for (int i = 0; i < 2 && rc == PST_OK; i++)
        rc = moving_of(sides[i], move, i == 0);
    for (int i = 0; i < 2 && rc == PST_OK; i++) {
        struct enclave_moving *other = sides[1 - i]->enclave_moving;
        rc =
            attest(sides[i], pst_enclave_offer(sides[1 - i]->enclave), NULL, other->others, &other->others_bytes, NULL);
    }
    return rc;
}

int pst_moving_join(struct pst_ctx *lane, struct pst_ctx *into, enum join_phase *phase)
{
    if (pst_moving_busy(lane) || pst_moving_busy(into) || (into->enclave_moving != NULL && into->enclave_moving->over))
        return PST_EAGAIN;
    int rc = PST_OK;
    switch (*phase) {
    case JOIN_BEGINS:
        rc = joins_meet(lane, into);
        *phase = JOIN_MEETS;
        if (rc != PST_OK)
            return pst_ctx_enclave_said(into, rc);
        /* fall through */
    case JOIN_MEETS: /* who does not know the other one has ended the run */
        (void)pst_moving_meets(lane);
        (void)pst_moving_meets(into);
        if (!lane->enclave_moving->met || !into->enclave_moving->met)
            return PST_EAGAIN;
        lane->enclave_moving->into = into;
        *phase = JOIN_HANDS;
        rc = asked(lane, ASKED_HAND,
                   pst_enclave_ask_hand(lane->enclave, lane->now, lane->buckets, lane->owned_count, false));
        return rc == PST_OK ? PST_EAGAIN : rc;
    case JOIN_HANDS:
        lane->enclave_moving->into = NULL;
        *phase = JOIN_ARRIVES;
        into->enclave_moving->met = false;
        rc = asked(into, ASKED_ARRIVE,
                   pst_enclave_ask_arrive(into->enclave, into->now, lane->buckets, lane->owned_count, true, true));
        return rc == PST_OK ? PST_EAGAIN : rc;
    case JOIN_ARRIVES:
        break;
    }
    return rc;
}

/* In a join there is no way back: all is decided. */
static void join_answered(struct pst_ctx *ctx, int error, const char *why)
{
    if (error != PST_OK)
        pst_run_fail(ctx->run, error, "operator %s, partition %u: a lane cannot become a part of it: %s", ctx->node->id,
                     ctx->partition, why);
}

/* ---- what it has answered ---- */

static void handed(struct pst_ctx *ctx, struct enclave_moving *m, int error, const char *why)
{
    struct blob *blob = m->blob;
    m->blob = NULL;
    if (error == PST_OK)
        memcpy(blob->bytes.bytes + 20, &m->piece_count, sizeof m->piece_count);
    if (ctx->giving != NULL && !m->over)
        pst_giver_handed(ctx, blob, error, why);
    else
        pst_blob_free(ctx->run, blob);
}

static void met(struct pst_ctx *ctx, struct enclave_moving *m, int error, const char *why)
{
    m->met = error == PST_OK && !m->over;
    if (m->met || m->over)
        return;
    if (ctx->join != NULL)
        join_answered(ctx, error, why);
    else if (ctx->lane != NULL && pst_lane_waits(ctx))
        pst_lane_fail(ctx, error, why);
    else if (ctx->giving != NULL)
        pst_giver_fail(ctx, error, why);
}

bool pst_moving_step(struct pst_ctx *ctx)
{
    struct enclave_moving *m = ctx->enclave_moving;
    bool idle = pst_ctx_enclave_asked(ctx) == 0 && !ctx->enclave_seals && !ctx->had_rows && !ctx->ended &&
                !pst_ctx_enclave_ends(ctx);
    if (m->asked == ASKED_NOTHING && m->over && idle) {
        m->over = m->met = false;
        (void)asked(ctx, ASKED_FORGET, pst_enclave_ask_forget(ctx->enclave, NULL, 0, true));
        return true;
    }
    if (m->asked == ASKED_NOTHING)
        return false;
    int rc = pst_enclave_answered(ctx->enclave);
    if (rc == PST_EAGAIN)
        return false;
    enum asked what = m->asked;
    m->asked = ASKED_NOTHING;
    if (pst_ctx_enclave_said(ctx, rc) != PST_OK)
        return false;
    int error = pst_enclave_move_error(ctx->enclave);
    const char *why = pst_enclave_move_why(ctx->enclave);
    why = why[0] != '\0' ? why : pst_error_sentence(error);
    ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    if (what == ASKED_MEET)
        met(ctx, m, error, why);
    else if (ctx->join != NULL && what != ASKED_FORGET)
        join_answered(ctx, error, why);
    else if (what == ASKED_HAND)
        handed(ctx, m, error, why);
    else if (what == ASKED_ARRIVE)
        pst_lane_arrived(ctx, error, why);
    return true;
}

void pst_moving_free(struct pst_ctx *ctx)
{
    if (ctx->enclave_moving != NULL)
        pst_blob_free(ctx->run, ctx->enclave_moving->blob);
    pst_free(ctx->enclave_moving);
    ctx->enclave_moving = NULL;
}
