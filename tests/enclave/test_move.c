/* test_move.c - buckets that go from one worker to another while rows come, and hosts that show, carry and ask for what they like. The
 * hosts here are the test: they have every message, the keys of the nodes, and none of a worker. */
#include "enclave_shim/inside/move.h"
#include "enclave_shim/inside/sip.h"
#include "enclave_shim/sealed.h"
#include "meeting.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX = 2048, ROWS_MAX = 8192, KEYS = 2000, AUTHORITY = 77, MOVE = 5, INCARNATION = 3 };

struct kept {
    struct pst_message message;
    uint8_t bytes[PST_PIECE_BYTES_MAX];
};

struct side { /* a worker and its host */
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_inside_settings settings;
    struct pst_inside *inside;
    struct meeting_node node;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8], authority[32], digest[32], offer_seed[PST_OFFER_SEED_BYTES];
    uint8_t offer[PST_OFFER_BYTES];
    struct pst_process_evidence evidence; /* what its host says of it */
    uint8_t shown[PST_PEER_EVIDENCE_BYTES];
    struct kept *kept; /* pieces that have come of it */
    uint32_t kept_count;
    int moved;
    int64_t timer;
    char why[PST_SENTENCE_BYTES_MAX + 1];
    uint32_t row_count;
    struct {
        uint32_t key, bucket;
        int64_t sum;
    } rows[ROWS_MAX];
};

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct side *side = emitter;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    static uint8_t body[PST_BODY_BYTES_MAX];
    pst_config_shapes(&side->config, inputs, outputs);
    message->body_bytes = pst_pieces_write(pieces, piece_count, body);
    assert_int_equal(pst_message_check_out(message, outputs, 1), PST_OK);
    if (message->kind == PST_MESSAGE_ROWS) {
        for (uint32_t i = 0; i < message->row_count; i++) {
            assert_true(side->row_count < ROWS_MAX);
            side->rows[side->row_count].bucket = ((const uint32_t *)pieces[0].bytes)[i];
            side->rows[side->row_count].key = ((const uint32_t *)pieces[1].bytes)[i];
            side->rows[side->row_count++].sum = ((const int64_t *)pieces[2].bytes)[i];
        }
    } else if (message->kind == PST_MESSAGE_PIECE) {
        assert_true(side->kept_count < PIECES_MAX);
        side->kept[side->kept_count].message = *message;
        memcpy(side->kept[side->kept_count++].bytes, body, message->body_bytes);
    } else if (message->kind == PST_MESSAGE_OFFER) {
        memcpy(side->offer, body, sizeof side->offer);
    } else if (message->kind == PST_MESSAGE_MOVED) {
        side->moved = message->error;
        side->timer = message->time;
        (void)snprintf(side->why, sizeof side->why, "%.*s", (int)message->body_bytes, (const char *)body);
    }
    return PST_OK;
}

/* ---- sides ---- */

static void side_begin(struct side *side, uint8_t number)
{
    memset(side, 0, sizeof *side);
    tally_config(&side->config, &side->param, "");
    side->kept = calloc(PIECES_MAX, sizeof *side->kept);
    assert_non_null(side->kept);
    meeting_authority(AUTHORITY, side->authority);
    meeting_node_make(&side->node, number, AUTHORITY);
    side->config.authority = side->authority;
    memset(side->digest, 9, sizeof side->digest);
    memset(side->owned, 0xff, sizeof side->owned);
    side->settings = (struct pst_inside_settings){.op = &tally,
                                                  .config = &side->config,
                                                  .owned = side->owned,
                                                  .emit = emit,
                                                  .emitter = side,
                                                  .config_digest = side->digest};
    side->settings.offer_seed = side->offer_seed;
    memset(side->offer_seed, number, sizeof side->offer_seed);
    side->evidence.capabilities = PST_CONF_USER | PST_EXEC_MEASURED;
    memset(side->evidence.measurement, 4, sizeof side->evidence.measurement);
}

static void side_open(struct side *side)
{
    char why[PST_SENTENCE_BYTES_MAX];
    assert_int_equal(pst_inside_new(&side->settings, &side->inside, why), PST_OK);
    assert_int_equal(pst_inside_ready(side->inside, 0, side->digest), PST_OK);
}

static void side_end(struct side *side)
{
    pst_inside_free(side->inside);
    free(side->kept);
}

/* A worker with rows, and one that is to take some of its buckets. */
static void two_sides(struct side *giver, struct side *taker)
{
    side_begin(giver, 1);
    side_begin(taker, 2);
    taker->settings.lane = true;
    side_open(giver);
    side_open(taker);
}

static void sides_end(struct side *giver, struct side *taker)
{
    side_end(giver);
    side_end(taker);
}

static int tell(struct side *side, struct pst_message message, const void *body, uint32_t bytes)
{
    static _Alignas(8) uint8_t copy[PST_BODY_BYTES_MAX];
    assert_true(bytes <= sizeof copy);
    message.body_bytes = bytes;
    if (bytes != 0)
        memcpy(copy, body, bytes);
    return pst_inside_take(side->inside, &message, copy);
}

static bool goes(uint32_t bucket) { return bucket % 2 == 1; }

/* Of the rows that this side has to see: of all keys, or those in buckets that have gone, or stay. */
enum which { ALL, GONE, STAYED };
static uint32_t bucket_of(uint32_t key)
{
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (TALLY_BUCKETS - 1);
}

static int frame(struct side *side, uint32_t first, uint32_t n, int64_t t, enum which which)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8], hash[ROWS_MAX];
    static int64_t time[ROWS_MAX], value[ROWS_MAX];
    static uint32_t key[ROWS_MAX];
    struct pst_message message = {.kind = PST_MESSAGE_FRAME};
    for (uint32_t k = first; k < first + n; k++) {
        if (which != ALL && goes(bucket_of(k)) != (which == GONE))
            continue;
        time[message.row_count] = t;
        hash[message.row_count] = k * UINT64_C(0x9e3779b97f4a7c15) >> 32;
        key[message.row_count] = k;
        value[message.row_count++] = k + t;
    }
    const struct pst_piece pieces[] = {{time, message.row_count * 8, 8, false},
                                       {hash, message.row_count * 8, 8, true},
                                       {key, message.row_count * 4, 4, false},
                                       {value, message.row_count * 8, 8, false}};
    message.body_bytes = pst_pieces_write(pieces, 4, (uint8_t *)body);
    return pst_inside_take(side->inside, &message, (uint8_t *)body);
}

static void at_time(struct side *side, int64_t t)
{
    side->row_count = 0;
    assert_int_equal(tell(side, (struct pst_message){.kind = PST_MESSAGE_TIME, .time = t, .limit = t}, NULL, 0),
                     PST_OK);
}

/* ---- hosts ---- */

static void show(struct side *side, const struct side *other, bool gives, uint64_t move)
{
    const struct pst_enclave_meeting meeting = {INCARNATION, move, gives};
    memcpy(side->evidence.channel_key, side->offer, 32);
    memcpy(side->evidence.nonce, other->offer + 32, 32);
    assert_int_equal(pst_peer_meeting_digest(&meeting, gives, side->digest, side->evidence.nonce + 32), PST_OK);
    meeting_evidence(&side->node, &side->evidence, side->shown);
}

static uint32_t both_shown(const struct side *side, const struct side *other, uint8_t *ret_body)
{
    memcpy(ret_body, side->shown, PST_PEER_EVIDENCE_BYTES);
    memcpy(ret_body + PST_PEER_EVIDENCE_BYTES, other->shown, PST_PEER_EVIDENCE_BYTES);
    memcpy(ret_body + PST_PEER_HEADS_BYTES, other->node.certificate, other->node.certificate_bytes);
    return PST_PEER_HEADS_BYTES + other->node.certificate_bytes;
}

static int meet(struct side *side, const struct side *other, bool gives, uint64_t move)
{
    uint8_t body[PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX];
    struct pst_message message = {
        .kind = PST_MESSAGE_PEER, .time = INCARNATION, .limit = (int64_t)move, .port = gives ? 1 : 0};
    uint32_t bytes = both_shown(side, other, body);
    side->moved = 1;
    assert_int_equal(tell(side, message, body, bytes), PST_OK);
    return side->moved;
}

static void shown_to_each_other(struct side *giver, struct side *taker)
{
    show(giver, taker, true, MOVE);
    show(taker, giver, false, MOVE);
}

static void both_meet(struct side *giver, struct side *taker)
{
    shown_to_each_other(giver, taker);
    assert_int_equal(meet(giver, taker, true, MOVE), PST_OK);
    assert_int_equal(meet(taker, giver, false, MOVE), PST_OK);
}

static uint32_t moving(uint32_t *ret_buckets)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < TALLY_BUCKETS; b++)
        if (goes(b))
            ret_buckets[count++] = b;
    return count;
}

static int hand(struct side *side, int64_t t, const uint32_t *buckets, uint32_t count, bool digests)
{
    struct pst_message message = {.kind = PST_MESSAGE_HAND, .time = t, .row_count = count, .facts = digests ? 1 : 0};
    side->kept_count = 0;
    side->moved = 1;
    return tell(side, message, buckets, count * 4);
}

static int take(struct side *side, const struct kept *kept)
{
    struct pst_message message = kept->message;
    message.kind = PST_MESSAGE_TAKE;
    return tell(side, message, kept->bytes, kept->message.body_bytes);
}

static int take_all(struct side *taker, const struct side *giver)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < giver->kept_count && rc == PST_OK; i++)
        rc = take(taker, &giver->kept[i]);
    return rc;
}

static int arrive(struct side *side, int64_t t, const uint32_t *buckets, uint32_t count, uint32_t facts)
{
    struct pst_message message = {.kind = PST_MESSAGE_ARRIVE, .time = t, .row_count = count, .facts = facts};
    side->moved = 1;
    return tell(side, message, buckets, count * 4);
}

static int forget(struct side *side, const uint32_t *buckets, uint32_t count)
{
    struct pst_message message = {.kind = PST_MESSAGE_FORGET, .row_count = count, .facts = PST_ARRIVE_LAST};
    side->moved = 1;
    return tell(side, message, buckets, count * 4);
}

/* The giver has rows of all keys up to time 10, and a timer of each bucket; its buckets have been handed over at 10, and are here. */
static uint32_t handed_over(struct side *giver, struct side *taker, uint32_t *ret_buckets)
{
    uint32_t count = moving(ret_buckets);
    for (uint32_t i = 0; i < KEYS; i += 500)
        assert_int_equal(frame(giver, i, 500, 1, ALL), PST_OK);
    at_time(giver, 10);
    both_meet(giver, taker);
    assert_int_equal(hand(giver, 10, ret_buckets, count, false), PST_OK);
    assert_int_equal(giver->moved, PST_OK);
    return count;
}

static int compare_rows(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void sort(struct side *side) { qsort(side->rows, side->row_count, sizeof side->rows[0], compare_rows); }

/* ---- as it should be ---- */

static void buckets_go_on_where_they_were_handed_over(void **state)
{
    (void)state;
    static struct side giver, taker, model;
    uint32_t buckets[TALLY_BUCKETS];
    side_begin(&model, 9);
    side_open(&model);
    for (uint32_t i = 0; i < KEYS; i += 500)
        assert_int_equal(frame(&model, i, 500, 1, ALL), PST_OK);
    at_time(&model, 10);
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(arrive(&taker, 10, buckets, count, 0), PST_OK);
    assert_int_equal(taker.moved, PST_OK);
    assert_true(taker.timer < INT64_MAX); /* timers have come, too */

    /* for an epoch both work, and come to the same */
    assert_int_equal(frame(&giver, 0, KEYS / 2, 11, ALL), PST_OK);
    assert_int_equal(frame(&taker, 0, KEYS / 2, 11, GONE), PST_OK);
    assert_int_equal(frame(&model, 0, KEYS / 2, 11, ALL), PST_OK);
    at_time(&giver, 20);
    at_time(&taker, 20);
    at_time(&model, 20);
    assert_int_equal(hand(&giver, 20, buckets, count, true), PST_OK);
    assert_int_equal(giver.moved, PST_OK);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(arrive(&taker, 20, NULL, 0, PST_ARRIVE_LAST), PST_OK);
    assert_string_equal(taker.why, "");
    assert_int_equal(taker.moved, PST_OK);
    assert_int_equal(forget(&giver, buckets, count), PST_OK);
    assert_int_equal(giver.moved, PST_OK);

    assert_int_equal(frame(&giver, 0, KEYS, 21, STAYED), PST_OK);
    assert_int_equal(frame(&taker, 0, KEYS, 21, GONE), PST_OK);
    assert_int_equal(frame(&model, 0, KEYS, 21, ALL), PST_OK);
    at_time(&giver, 30);
    at_time(&taker, 30);
    at_time(&model, 30);
    assert_int_equal(giver.row_count + taker.row_count, model.row_count);
    memcpy(giver.rows + giver.row_count, taker.rows, taker.row_count * sizeof taker.rows[0]);
    giver.row_count += taker.row_count;
    sort(&giver);
    sort(&model);
    assert_memory_equal(giver.rows, model.rows, model.row_count * sizeof model.rows[0]);
    side_end(&model);
    sides_end(&giver, &taker);
}

static void nothing_of_the_state_can_be_read_on_the_way(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    (void)handed_over(&giver, &taker, buckets);
    static const uint8_t zeros[64];
    for (uint32_t i = 0; i < giver.kept_count; i++) /* records have 240 zeros each */
        for (uint32_t at = PST_SEAL_HEADER_BYTES; at + 64 <= giver.kept[i].message.body_bytes; at++)
            assert_memory_not_equal(giver.kept[i].bytes + at, zeros, sizeof zeros);
    sides_end(&giver, &taker);
}

/* ---- who is met ---- */

/* What is wrong with what the taker's host shows; the giver goes on either way. */
static void refused_of(struct side *giver, struct side *taker, const char *why)
{
    assert_int_equal(meet(giver, taker, true, MOVE), PST_EREFUSED);
    assert_non_null(strstr(giver->why, why));
    uint32_t bucket = 1;
    assert_int_equal(hand(giver, 10, &bucket, 1, false), PST_EDATA); /* nothing goes out without a meeting */
}

static void another_nodes_evidence_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    meeting_node_make(&taker.node, 2, AUTHORITY + 1); /* of another authority */
    shown_to_each_other(&giver, &taker);
    refused_of(&giver, &taker, "no certificate of the authority");
    sides_end(&giver, &taker);
    two_sides(&giver, &taker);
    shown_to_each_other(&giver, &taker);
    struct meeting_node other;
    meeting_node_make(&other, 3, AUTHORITY);
    memcpy(taker.node.certificate, other.certificate, other.certificate_bytes);
    taker.node.certificate_bytes = other.certificate_bytes;
    refused_of(&giver, &taker, "signed by another node");
    sides_end(&giver, &taker);
}

static void evidence_of_another_measurement_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    taker.evidence.measurement[31] ^= 1;
    shown_to_each_other(&giver, &taker);
    refused_of(&giver, &taker, "of another measurement");
    sides_end(&giver, &taker);
}

static void evidence_that_claims_less_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    taker.evidence.capabilities = PST_EXEC_MEASURED;
    shown_to_each_other(&giver, &taker);
    refused_of(&giver, &taker, "protects from less");
    sides_end(&giver, &taker);
    two_sides(&giver, &taker);
    taker.evidence.flags = PST_PROCESS_DEBUG;
    shown_to_each_other(&giver, &taker);
    refused_of(&giver, &taker, "the other worker can be debugged");
    sides_end(&giver, &taker);
    two_sides(&giver, &taker); /* another kind of evidence than this one's */
    shown_to_each_other(&giver, &taker);
    memset(taker.shown, 2, 8);
    refused_of(&giver, &taker, "none of the backend `process`");
    sides_end(&giver, &taker);
}

static void evidence_from_before_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint8_t before[PST_PEER_EVIDENCE_BYTES];
    two_sides(&giver, &taker);
    both_meet(&giver, &taker);
    memcpy(before, taker.shown, sizeof before);
    shown_to_each_other(&giver, &taker); /* by the next offers */
    memcpy(taker.shown, before, sizeof before);
    refused_of(&giver, &taker, "for another nonce");
    sides_end(&giver, &taker);
}

static void evidence_for_another_move_or_side_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    shown_to_each_other(&giver, &taker);
    show(&taker, &giver, false, MOVE + 1);
    refused_of(&giver, &taker, "for another move");
    sides_end(&giver, &taker);
    two_sides(&giver, &taker);
    shown_to_each_other(&giver, &taker);
    show(&taker, &giver, true, MOVE); /* two that give */
    refused_of(&giver, &taker, "for another move, or for another side");
    sides_end(&giver, &taker);
}

static void a_worker_is_not_met_by_itself(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    const struct pst_enclave_meeting as_taker = {INCARNATION, MOVE, false};
    show(&giver, &giver, true, MOVE);
    memcpy(taker.offer, giver.offer, sizeof taker.offer);
    show(&taker, &giver, false, MOVE);
    assert_int_equal(pst_peer_meeting_digest(&as_taker, false, giver.digest, taker.evidence.nonce + 32), PST_OK);
    refused_of(&giver, &taker, "is this one");
    sides_end(&giver, &taker);
}

static void evidence_of_which_a_byte_is_changed_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    for (uint32_t at = 0; at < PST_PEER_EVIDENCE_BYTES + taker.node.certificate_bytes; at += 7) {
        bool evidence = at < PST_PEER_EVIDENCE_BYTES;
        shown_to_each_other(&giver, &taker);
        uint8_t *byte = evidence ? &taker.shown[at] : &taker.node.certificate[at - PST_PEER_EVIDENCE_BYTES];
        *byte ^= 1;
        assert_int_equal(meet(&giver, &taker, true, MOVE), PST_EREFUSED);
        *byte ^= evidence ? 0 : 1;
    }
    sides_end(&giver, &taker);
}

static void its_own_host_says_of_it_what_it_is_not(void **state)
{
    (void)state;
    static struct side giver, taker;
    two_sides(&giver, &taker);
    shown_to_each_other(&giver, &taker);
    giver.evidence.channel_key[0] ^= 1;
    meeting_evidence(&giver.node, &giver.evidence, giver.shown);
    refused_of(&giver, &taker, "its own evidence is of another key");
    shown_to_each_other(&giver, &taker);
    giver.shown[40] ^= 1;
    refused_of(&giver, &taker, "its own evidence is not signed");
    sides_end(&giver, &taker);
}

/* Then its host could look into it, and would have it take any other one that can be. */
static void a_worker_that_can_be_debugged_meets_nobody(void **state)
{
    (void)state;
    static struct side giver, taker;
    for (int both = 0; both < 2; both++) {
        two_sides(&giver, &taker);
        giver.evidence.flags = PST_PROCESS_DEBUG;
        taker.evidence.flags = both ? PST_PROCESS_DEBUG : 0;
        shown_to_each_other(&giver, &taker);
        refused_of(&giver, &taker, "its own evidence is of a worker that can be debugged");
        sides_end(&giver, &taker);
    }
}

/* Of software there is no more to be known than what a node says: documented, and so it is tried. */
static void a_node_that_lies_gets_the_buckets(void **state)
{
    (void)state;
    static struct side giver, taker;
    static const uint8_t nobodys_secret[32] = {1, 2, 3};
    const struct pst_enclave_meeting meeting = {INCARNATION, MOVE, false};
    uint8_t body[PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX];
    struct pst_peer_keys keys;
    const char *why;
    uint32_t bucket = 1;
    two_sides(&giver, &taker);
    assert_int_equal(frame(&giver, 0, 1000, 1, ALL), PST_OK);
    at_time(&giver, 10);
    assert_int_equal(pst_channel_key_public(nobodys_secret, taker.offer), PST_OK); /* no worker has it */
    shown_to_each_other(&giver, &taker);
    assert_int_equal(meet(&giver, &taker, true, MOVE), PST_OK);
    assert_int_equal(hand(&giver, 10, &bucket, 1, false), PST_OK);
    memcpy(body, taker.shown, PST_PEER_EVIDENCE_BYTES);
    memcpy(body + PST_PEER_EVIDENCE_BYTES, giver.shown, PST_PEER_EVIDENCE_BYTES);
    memcpy(body + PST_PEER_HEADS_BYTES, giver.node.certificate, giver.node.certificate_bytes);
    const struct pst_peer_self self = {&meeting,       giver.authority, giver.digest,
                                       nobodys_secret, taker.offer,     taker.offer + 32};
    assert_int_equal(pst_peer_meet(&self, body, PST_PEER_HEADS_BYTES + giver.node.certificate_bytes, &keys, &why),
                     PST_OK);
    const struct kept *page = &giver.kept[0];
    const struct pst_seal_place place = {page->message.port, (uint16_t)page->message.row_count,
                                         (uint16_t)(page->message.row_count >> 16), (uint64_t)page->message.limit,
                                         page->message.facts};
    static _Alignas(8) uint8_t clear[PST_PAGE_BYTES];
    static const uint8_t zeros[64];
    struct pst_secret *secret;
    struct pst_sealer *opener;
    uint32_t count;
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    memcpy(pst_secret_bytes(secret), keys.transfer, sizeof keys.transfer);
    assert_int_equal(pst_sealer_new_to_open(secret, giver.settings.graph, PST_SEAL_TRANSFER, keys.incarnation, 1,
                                            &giver.config.id, &giver.config.bucket_count, &opener),
                     PST_OK);
    assert_int_equal(pst_unseal(opener, 0, &place, page->bytes, page->message.body_bytes, clear, sizeof clear, &count),
                     PST_OK);
    bool found = false; /* of a record what no other test sees on the way */
    for (uint32_t at = 0; at + sizeof zeros <= count; at++)
        found |= memcmp(clear + at, zeros, sizeof zeros) == 0;
    assert_true(found);
    pst_sealer_free(opener);
    pst_secret_free(secret);
    sides_end(&giver, &taker);
}

/* Of an offer that has been used nothing can be made again: what it came of is nowhere, with an authority or without. */
static void the_seed_of_all_offers_is_gone_when_the_worker_is_open(void **state)
{
    (void)state;
    static struct side side;
    static const uint8_t zeros[PST_OFFER_SEED_BYTES];
    for (int authority = 0; authority < 2; authority++) {
        side_begin(&side, 0xa7);
        if (!authority)
            side.config.authority = NULL;
        side_open(&side);
        assert_memory_equal(side.offer_seed, zeros, sizeof zeros);
        side_end(&side);
    }
}

/* ---- what comes on the way ---- */

static void what_was_changed_on_the_way_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    for (uint32_t at = 0; at < 3; at++) {
        two_sides(&giver, &taker);
        (void)handed_over(&giver, &taker, buckets);
        uint32_t offsets[] = {8, PST_SEAL_HEADER_BYTES + 5, giver.kept[0].message.body_bytes - 1};
        giver.kept[0].bytes[offsets[at]] ^= 1;
        assert_int_equal(take_all(&taker, &giver), PST_EREFUSED);
        assert_non_null(strstr(pst_inside_why(taker.inside), "what comes of another worker is refused"));
        sides_end(&giver, &taker);
    }
}

static void a_piece_of_another_bucket_or_left_out_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    (void)handed_over(&giver, &taker, buckets);
    giver.kept[0].message.port = 3; /* said to be bucket 3's */
    assert_int_equal(take_all(&taker, &giver), PST_EREFUSED);
    sides_end(&giver, &taker);
    two_sides(&giver, &taker);
    (void)handed_over(&giver, &taker, buckets);
    assert_int_equal(take(&taker, &giver.kept[1]), PST_EREFUSED); /* an index without its page, or a second page */
    sides_end(&giver, &taker);
}

static void a_bucket_does_not_come_twice(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(take(&taker, &giver.kept[0]), PST_EREFUSED);
    assert_non_null(strstr(pst_inside_why(taker.inside), "it has come twice"));
    assert_int_equal(hand(&giver, 10, buckets, count, false), PST_EDATA); /* nor is it sealed twice */
    sides_end(&giver, &taker);
}

/* The taker's host has given it rows of buckets that were to come. */
static void a_bucket_does_not_come_where_something_of_it_is(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    assert_int_equal(frame(&taker, 0, 500, 1, GONE), PST_OK);
    at_time(&taker, 10);
    (void)handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_EREFUSED);
    assert_non_null(strstr(pst_inside_why(taker.inside), "something of it is here already"));
    sides_end(&giver, &taker);
}

/* As when partitions are made fewer, and more again. */
static void a_bucket_comes_back_to_where_it_was_forgotten(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(arrive(&taker, 10, buckets, count, PST_ARRIVE_LAST), PST_OK);
    assert_int_equal(forget(&giver, buckets, count), PST_OK);
    show(&giver, &taker, false, MOVE + 1);
    show(&taker, &giver, true, MOVE + 1);
    assert_int_equal(meet(&giver, &taker, false, MOVE + 1), PST_OK);
    assert_int_equal(meet(&taker, &giver, true, MOVE + 1), PST_OK);
    assert_int_equal(hand(&taker, 20, buckets, count, false), PST_OK);
    assert_int_equal(take_all(&giver, &taker), PST_OK);
    assert_int_equal(arrive(&giver, 20, buckets, count, PST_ARRIVE_LAST), PST_OK);
    assert_int_equal(giver.moved, PST_OK);
    sides_end(&giver, &taker);
}

static void a_piece_of_another_move_is_refused(void **state)
{
    (void)state;
    static struct side giver, taker, later;
    uint32_t buckets[TALLY_BUCKETS];
    static struct kept before;
    two_sides(&giver, &taker);
    (void)handed_over(&giver, &taker, buckets);
    before = giver.kept[0];
    side_begin(&later, 3); /* the move is given up, and another one begins */
    later.settings.lane = true;
    side_open(&later);
    show(&giver, &later, true, MOVE + 1);
    show(&later, &giver, false, MOVE + 1);
    assert_int_equal(meet(&giver, &later, true, MOVE + 1), PST_OK);
    assert_int_equal(meet(&later, &giver, false, MOVE + 1), PST_OK);
    assert_int_equal(take(&later, &before), PST_EREFUSED);
    side_end(&later);
    sides_end(&giver, &taker);
}

static void refused_to_arrive(struct side *taker, int64_t t, const uint32_t *buckets, uint32_t count)
{
    assert_int_equal(arrive(taker, t, buckets, count, 0), PST_EREFUSED);
    assert_non_null(strstr(pst_inside_why(taker->inside), "is not whole, or not of this time"));
    assert_int_equal(taker->moved, 1); /* it ends */
}

static void buckets_join_at_their_own_time_alone(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    refused_to_arrive(&taker, 20, buckets, count);
    sides_end(&giver, &taker);
    two_sides(&giver, &taker);
    count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take(&taker, &giver.kept[0]), PST_OK); /* half of a bucket */
    refused_to_arrive(&taker, 10, buckets, 1);
    sides_end(&giver, &taker);
}

/* One that came before, and was left out when others arrived. */
static void a_bucket_cannot_wait_and_join_later_ones(void **state)
{
    (void)state;
    static struct side giver, taker;
    const uint32_t one = 1, three = 3, both[] = {1, 3};
    for (int late = 0; late < 3; late++) {
        two_sides(&giver, &taker);
        assert_int_equal(frame(&giver, 0, 500, 1, ALL), PST_OK);
        at_time(&giver, 10);
        both_meet(&giver, &taker);
        assert_int_equal(hand(&giver, 10, &one, 1, false), PST_OK);
        assert_int_equal(take_all(&taker, &giver), PST_OK);
        if (late == 0) {
            refused_to_arrive(&taker, 10, NULL, 0); /* not without it */
        } else {
            assert_int_equal(arrive(&taker, 10, &one, 1, 0), PST_OK);
            at_time(&giver, 20);
            assert_int_equal(hand(&giver, 20, &three, 1, false), PST_OK);
            assert_int_equal(take_all(&taker, &giver), PST_OK);
            if (late == 1)
                refused_to_arrive(&taker, 20, both, 2); /* nor again with others */
            else
                assert_int_equal(arrive(&taker, 20, &three, 1, PST_ARRIVE_LAST), PST_OK);
        }
        sides_end(&giver, &taker);
    }
}

static void what_was_refused_once_does_not_arrive_at_a_time_that_is_none(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    refused_to_arrive(&taker, 20, buckets, count);
    refused_to_arrive(&taker, INT64_MIN, buckets, count);
    sides_end(&giver, &taker);
}

/* A row that the host has not given to one of the two. */
static void what_is_not_the_same_on_both_sides_ends_the_taker(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    for (int lost = 0; lost < 2; lost++) {
        two_sides(&giver, &taker);
        uint32_t count = handed_over(&giver, &taker, buckets);
        assert_int_equal(take_all(&taker, &giver), PST_OK);
        assert_int_equal(arrive(&taker, 10, buckets, count, 0), PST_OK);
        assert_int_equal(frame(&giver, 0, 100, 11, ALL), PST_OK);
        assert_int_equal(frame(&taker, 0, lost ? 60 : 100, 11, GONE), PST_OK);
        at_time(&giver, 20);
        at_time(&taker, 20);
        assert_int_equal(hand(&giver, 20, buckets, count, true), PST_OK);
        assert_int_equal(take_all(&taker, &giver), PST_OK);
        assert_int_equal(arrive(&taker, 20, NULL, 0, PST_ARRIVE_LAST), lost ? PST_EREFUSED : PST_OK);
        assert_int_equal(taker.moved, lost ? 1 : PST_OK); /* it ends, and does not go on with them */
        assert_true(!lost || strstr(pst_inside_why(taker.inside), "is not the same on both sides") != NULL);
        sides_end(&giver, &taker);
    }
}

/* ---- without a worker around it: rows of two cells of 64 bits, which no operator here has; bucket 1 goes ---- */

struct bare {
    struct side side;
    struct pst_transfer *transfer;
    uint32_t bucket;
    int64_t timers[TALLY_BUCKETS];
    uint8_t owns[PST_BOOT_BUCKETS_MAX / 8];
    struct pst_images_of of;
    char why[PST_SENTENCE_BYTES_MAX];
};

static void bare_begin(struct bare *bare, uint8_t number)
{
    side_begin(&bare->side, number);
    bare->side.config.inputs[0].used[0] = bare->side.config.inputs[0].used[1] = 0;
    assert_int_equal(pst_transfer_new(&bare->side.settings, &bare->transfer), PST_OK);
    assert_int_equal(pst_transfer_offer(bare->transfer), PST_OK);
    bare->bucket = 1;
    for (uint32_t b = 0; b < TALLY_BUCKETS; b++)
        bare->timers[b] = INT64_MAX;
    memset(bare->owns, 0, sizeof bare->owns);
    bare->of = (struct pst_images_of){NULL, &bare->bucket, 1, bare->timers, bare->owns};
}

static void bare_meet(struct bare *bare, const struct bare *other, bool gives)
{
    uint8_t body[PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX];
    struct pst_message message = {.kind = PST_MESSAGE_PEER, .time = INCARNATION, .limit = MOVE, .port = gives ? 1 : 0};
    message.body_bytes = both_shown(&bare->side, &other->side, body);
    assert_int_equal(pst_transfer_meet(bare->transfer, &message, body, bare->why), PST_OK);
}

static void two_bare(struct bare *giver, struct bare *taker)
{
    bare_begin(giver, 1);
    bare_begin(taker, 2);
    giver->owns[0] = 2;
    shown_to_each_other(&giver->side, &taker->side);
    bare_meet(giver, taker, true);
    bare_meet(taker, giver, false);
}

static void bare_end(struct bare *giver, struct bare *taker)
{
    struct bare *both[] = {giver, taker};
    for (int i = 0; i < 2; i++) {
        pst_transfer_free(both[i]->transfer);
        free(both[i]->side.kept);
    }
}

static int bare_carry(struct bare *giver, struct bare *taker, int64_t t, bool digests)
{
    struct pst_message message = {.kind = PST_MESSAGE_HAND, .time = t, .row_count = 1, .facts = digests ? 1 : 0};
    int rc = PST_OK;
    giver->side.kept_count = 0;
    assert_int_equal(pst_transfer_hand(giver->transfer, &giver->of, &message, (const uint8_t *)&giver->bucket), PST_OK);
    for (uint32_t i = 0; i < giver->side.kept_count && rc == PST_OK; i++)
        rc = pst_transfer_take(taker->transfer, &taker->of, &giver->side.kept[i].message, giver->side.kept[i].bytes,
                               taker->why);
    return rc;
}

static int bare_arrive(struct bare *taker, int64_t t, uint32_t count)
{
    struct pst_message message = {.kind = PST_MESSAGE_ARRIVE, .time = t, .row_count = count};
    return pst_transfer_arrive(taker->transfer, &taker->of, &message, (const uint8_t *)&taker->bucket, taker->why);
}

static void bare_row(struct bare *bare, const uint64_t row[3])
{
    const void *columns[] = {&row[1], &row[2]};
    const struct pst_rows rows = {
        .row_count = 1, .time = (const int64_t *)row, .bucket = &bare->bucket, .columns = columns};
    pst_transfer_row_in(bare->transfer, 0, &rows);
}

/* Of the sums that hosts compare such pairs are known, whatever they begin with. */
static void no_row_is_known_that_comes_to_the_same_as_another(void **state)
{
    (void)state;
    static struct bare giver, taker;
    const uint64_t high = UINT64_C(1) << 63, both = high | UINT64_C(1) << 34;
    const uint64_t row[] = {11, 1000, 2000};
    const uint64_t others[][3] = {{11, 1000, 2000}, {11, 1000 ^ high, 2000 ^ both}, {11 ^ high, 1000 ^ both, 2000}};
    for (int i = 0; i < 3; i++) {
        two_bare(&giver, &taker);
        assert_int_equal(bare_carry(&giver, &taker, 10, false), PST_OK);
        assert_int_equal(bare_arrive(&taker, 10, 1), PST_OK);
        taker.owns[0] = 2;
        bare_row(&giver, row);
        bare_row(&taker, others[i]);
        assert_int_equal(bare_carry(&giver, &taker, 20, true), PST_OK);
        assert_int_equal(bare_arrive(&taker, 20, 0), i == 0 ? PST_OK : PST_EREFUSED);
        bare_end(&giver, &taker);
    }
}

static void a_bucket_does_not_come_where_its_timer_is_set(void **state)
{
    (void)state;
    static struct bare giver, taker;
    two_bare(&giver, &taker);
    taker.timers[1] = 30;
    assert_int_equal(bare_carry(&giver, &taker, 10, false), PST_EREFUSED);
    assert_non_null(strstr(taker.why, "something of it is here already"));
    bare_end(&giver, &taker);
}

/* Key bytes 0..15, message bytes 0..n-1, as published with SipHash-2-4; n is a multiple of 8 here. */
static void published_vectors(void **state)
{
    (void)state;
    static const struct {
        uint32_t byte_count;
        uint64_t hash;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31u}, {8, 0x93f5f5799a932462u}, {16, 0x3f2acc7f57c29bdbu}, {56, 0xb78dbfaf3a8d83bdu}};
    uint8_t bytes[56];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct pst_sip sip;
        pst_sip_begin(&sip, bytes);
        pst_sip_cell(&sip, bytes, vectors[i].byte_count);
        assert_int_equal(pst_sip_end(&sip), vectors[i].hash);
    }
}

/* Documented, and so it is tried: nobody waits for digests without end, and a host need not bring them. */
static void buckets_go_on_where_no_digests_are_brought(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(arrive(&taker, 10, buckets, count, PST_ARRIVE_LAST), PST_OK);
    assert_int_equal(taker.moved, PST_OK);
    assert_int_equal(frame(&taker, 0, 100, 11, GONE), PST_OK);
    at_time(&taker, 20);
    assert_true(taker.row_count != 0);
    sides_end(&giver, &taker);
}

static void digests_that_were_changed_are_refused(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS];
    two_sides(&giver, &taker);
    uint32_t count = handed_over(&giver, &taker, buckets);
    assert_int_equal(take_all(&taker, &giver), PST_OK);
    assert_int_equal(arrive(&taker, 10, buckets, count, 0), PST_OK);
    assert_int_equal(hand(&giver, 20, buckets, count, true), PST_OK);
    giver.kept[0].bytes[PST_SEAL_HEADER_BYTES + 30] ^= 1;
    assert_int_equal(take_all(&taker, &giver), PST_EREFUSED);
    sides_end(&giver, &taker);
}

static void what_may_not_be_asked_now_ends_the_worker(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS], other[] = {3, 1};
    uint32_t count = moving(buckets);
    two_sides(&giver, &taker);
    assert_int_equal(hand(&giver, 10, buckets, count, false), PST_EDATA); /* to nobody */
    assert_int_equal(arrive(&taker, 10, buckets, count, 0), PST_EDATA);
    both_meet(&giver, &taker);
    assert_int_equal(hand(&taker, 10, buckets, 1, false), PST_EDATA); /* it takes */
    assert_int_equal(hand(&giver, 10, other, 2, false), PST_EDATA);   /* not in order */
    assert_int_equal(hand(&giver, 10, buckets, 1, true), PST_EDATA);  /* it has not gone */
    assert_int_equal(frame(&giver, 0, 10, 11, ALL), PST_OK);
    assert_int_equal(hand(&giver, 10, buckets, 1, false), PST_EDATA); /* amid an epoch */
    other[0] = TALLY_BUCKETS;
    assert_int_equal(forget(&taker, other, 1), PST_EDATA);
    sides_end(&giver, &taker);
    side_begin(&giver, 1); /* whose buckets stay */
    giver.config.authority = NULL;
    side_open(&giver);
    struct pst_message message = {.kind = PST_MESSAGE_FORGET};
    assert_int_equal(tell(&giver, message, NULL, 0), PST_EDATA);
    side_end(&giver);
}

/* What there is no memory for is told, and the giver goes on; of what comes in half the worker ends. */
static void every_allocation_of_a_move_may_fail(void **state)
{
    (void)state;
    static struct side giver, taker;
    uint32_t buckets[TALLY_BUCKETS], count = moving(buckets);
    for (uint64_t n = 1;; n++) {
        two_sides(&giver, &taker);
        assert_int_equal(frame(&giver, 0, 1000, 1, ALL), PST_OK);
        at_time(&giver, 10);
        shown_to_each_other(&giver, &taker);
        pst_malloc_fail_at(n);
        int given = meet(&giver, &taker, true, MOVE), taken = meet(&taker, &giver, false, MOVE), taking = PST_OK;
        if (given == PST_OK) {
            assert_int_equal(hand(&giver, 10, buckets, count, false), PST_OK);
            given = giver.moved;
        }
        if (given == PST_OK && taken == PST_OK)
            taking = take_all(&taker, &giver);
        pst_malloc_fail_at(0);
        bool all = given == PST_OK && taken == PST_OK && taking == PST_OK;
        assert_true(all || given == PST_ENOMEM || taken == PST_ENOMEM || taking == PST_ENOMEM);
        assert_int_equal(frame(&giver, 0, 1000, 11, ALL), PST_OK);
        at_time(&giver, 20);
        if (all)
            break;
        sides_end(&giver, &taker);
    }
    sides_end(&giver, &taker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_go_on_where_they_were_handed_over),
        cmocka_unit_test(nothing_of_the_state_can_be_read_on_the_way),
        cmocka_unit_test(another_nodes_evidence_is_refused),
        cmocka_unit_test(evidence_of_another_measurement_is_refused),
        cmocka_unit_test(evidence_that_claims_less_is_refused),
        cmocka_unit_test(evidence_from_before_is_refused),
        cmocka_unit_test(evidence_for_another_move_or_side_is_refused),
        cmocka_unit_test(a_worker_is_not_met_by_itself),
        cmocka_unit_test(evidence_of_which_a_byte_is_changed_is_refused),
        cmocka_unit_test(its_own_host_says_of_it_what_it_is_not),
        cmocka_unit_test(a_worker_that_can_be_debugged_meets_nobody),
        cmocka_unit_test(a_node_that_lies_gets_the_buckets),
        cmocka_unit_test(the_seed_of_all_offers_is_gone_when_the_worker_is_open),
        cmocka_unit_test(what_was_changed_on_the_way_is_refused),
        cmocka_unit_test(a_piece_of_another_bucket_or_left_out_is_refused),
        cmocka_unit_test(a_bucket_does_not_come_twice),
        cmocka_unit_test(a_bucket_does_not_come_where_something_of_it_is),
        cmocka_unit_test(a_bucket_comes_back_to_where_it_was_forgotten),
        cmocka_unit_test(a_piece_of_another_move_is_refused),
        cmocka_unit_test(buckets_join_at_their_own_time_alone),
        cmocka_unit_test(a_bucket_cannot_wait_and_join_later_ones),
        cmocka_unit_test(what_was_refused_once_does_not_arrive_at_a_time_that_is_none),
        cmocka_unit_test(what_is_not_the_same_on_both_sides_ends_the_taker),
        cmocka_unit_test(no_row_is_known_that_comes_to_the_same_as_another),
        cmocka_unit_test(a_bucket_does_not_come_where_its_timer_is_set),
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(buckets_go_on_where_no_digests_are_brought),
        cmocka_unit_test(digests_that_were_changed_are_refused),
        cmocka_unit_test(what_may_not_be_asked_now_ends_the_worker),
        cmocka_unit_test(every_allocation_of_a_move_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
