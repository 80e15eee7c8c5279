/* move.c - see move.h. */
#include "enclave_shim/inside/move.h"

#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/peer.h"
#include "enclave_shim/inside/sip.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define DIGESTS_MAGIC UINT32_C(0x47545350) /* "PSTG" */
#define NEXT_LABEL "penstock offer 1"
enum { DIGESTS_VERSION = 1, KEY_BYTES = 32 };
static_assert((int)PST_OFFER_SEED_BYTES == KEY_BYTES, "a seed is as a key");

struct
    offer { /* what a seed becomes: the next seed, and what is good for one meeting. All of it is drawn with the seed */
    uint8_t next[KEY_BYTES], secret[KEY_BYTES], nonce[KEY_BYTES];
};

struct meeting {
    bool gives;
    struct pst_images *images;
    uint8_t digest_key[KEY_BYTES];
    struct pst_sip sip; /* under the same key: what each row of the sums begins with */
    uint64_t piece_count;
    uint64_t broadcast;                /* rows that are every bucket's */
    uint64_t *broadcast_before, *rows; /* by bucket: broadcast rows up to its image; its own rows since, in and out */
    /* the taker's: what the giver has said of buckets at `t` */
    int64_t t;
    uint64_t *digests;
    uint8_t *said; /* bit by bit */
    uint8_t list[PST_DIGESTS_HEADER_BYTES + PST_DIGESTS_MAX * PST_DIGESTS_ENTRY_BYTES];
};

struct pst_transfer {
    const struct pst_inside_settings *settings;
    struct offer offer;
    uint8_t channel_key[KEY_BYTES];
    struct meeting *meeting; /* NULL: none */
};

/* ---- digests, as bytes ---- */

int pst_digests_read(const uint8_t *bytes, uint32_t byte_count, struct pst_digest_list *ret)
{
    if (byte_count < PST_DIGESTS_HEADER_BYTES || pst_get_u32(bytes) != DIGESTS_MAGIC ||
        pst_get_u32(bytes + 4) != DIGESTS_VERSION || pst_get_u32(bytes + 20) != 0)
        return PST_EDATA;
    *ret = (struct pst_digest_list){(int64_t)pst_get_u64(bytes + 8), pst_get_u32(bytes + 16),
                                    bytes + PST_DIGESTS_HEADER_BYTES};
    return ret->count <= PST_DIGESTS_MAX &&
                   byte_count == PST_DIGESTS_HEADER_BYTES + ret->count * PST_DIGESTS_ENTRY_BYTES
               ? PST_OK
               : PST_EDATA;
}

uint32_t pst_digests_bucket(const struct pst_digest_list *list, uint32_t i)
{
    return pst_get_u32(list->entries + (size_t)i * PST_DIGESTS_ENTRY_BYTES);
}

uint64_t pst_digests_value(const struct pst_digest_list *list, uint32_t i)
{
    return pst_get_u64(list->entries + (size_t)i * PST_DIGESTS_ENTRY_BYTES + 8);
}

uint32_t pst_transfer_bucket(const uint8_t *body, uint32_t i)
{
    return pst_get_u32(body + (size_t)i * sizeof(uint32_t));
}

/* ---- sums ---- */

/* Whoever gives a worker its rows would otherwise find others that come to the same. A port's rows are all of one length; those that come are
 * told from those that go by the first word. */
static struct pst_sip row_begin(const struct meeting *m, uint64_t of, int64_t t)
{
    struct pst_sip sip = m->sip;
    pst_sip_word(&sip, of);
    pst_sip_word(&sip, (uint64_t)t);
    return sip;
}

bool pst_transfer_count(const struct pst_transfer *transfer) { return transfer != NULL && transfer->meeting != NULL; }

void pst_transfer_row_in(struct pst_transfer *transfer, uint32_t port, const struct pst_rows *rows)
{
    struct meeting *m = transfer->meeting;
    const struct pst_enclave_input *input = &transfer->settings->config->inputs[port];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        struct pst_sip sip = row_begin(m, port + (uint64_t)1, rows->time[i]);
        for (uint32_t c = 0; c < input->used_count; c++) {
            uint32_t bytes = pst_type_bytes(input->schema.fields[input->used[c]].type);
            pst_sip_cell(&sip, (const char *)rows->columns[c] + (size_t)i * bytes, bytes);
        }
        uint64_t sum = pst_sip_end(&sip);
        if (input->broadcast)
            m->broadcast += sum;
        else
            m->rows[input->keyed ? rows->bucket[i] : 0] += sum;
    }
}

void pst_transfer_rows_out(struct pst_transfer *transfer, uint32_t output, int64_t t, const struct pst_out *out)
{
    struct meeting *m = transfer->meeting;
    const struct pst_enclave_output *plan = &transfer->settings->config->outputs[output];
    for (uint32_t i = 0; i < out->row_count; i++) {
        struct pst_sip sip = row_begin(m, ~(uint64_t)output, t);
        for (uint32_t f = 0; f < plan->schema.field_count; f++) {
            uint32_t bytes = pst_type_bytes(plan->schema.fields[f].type);
            if (plan->wanted[f])
                pst_sip_cell(&sip, (const char *)out->columns[f] + (size_t)i * bytes, bytes);
        }
        if (out->bucket[i] < transfer->settings->config->bucket_count)
            m->rows[out->bucket[i]] += pst_sip_end(&sip);
    }
}

static int digest_of(const struct meeting *m, const struct pst_images_of *of, uint32_t bucket, int64_t t,
                     uint64_t *ret_digest)
{
    uint8_t bytes[KEY_BYTES + 5 * sizeof(uint64_t)], hash[32];
    const uint64_t words[] = {bucket, (uint64_t)t, m->rows[bucket], m->broadcast - m->broadcast_before[bucket],
                              (uint64_t)of->timers[bucket]};
    memcpy(bytes, m->digest_key, KEY_BYTES);
    memcpy(bytes + KEY_BYTES, words, sizeof words);
    bool good = EVP_Digest(bytes, sizeof bytes, hash, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(bytes, sizeof bytes);
    memcpy(ret_digest, hash, sizeof *ret_digest);
    return good ? PST_OK : PST_EINTERNAL;
}

/* ---- offers and meetings ---- */

/* Of the seed in offer.next, which is gone then: V1. */
static int offer_make(struct pst_transfer *transfer)
{
    static const uint8_t salt[KEY_BYTES];
    uint8_t seed[KEY_BYTES];
    memcpy(seed, transfer->offer.next, sizeof seed);
    int rc = pst_hkdf(seed, salt, sizeof salt, NEXT_LABEL, sizeof NEXT_LABEL - 1, (uint8_t *)&transfer->offer,
                      sizeof transfer->offer);
    OPENSSL_cleanse(seed, sizeof seed);
    return rc == PST_OK ? pst_channel_key_public(transfer->offer.secret, transfer->channel_key) : rc;
}

int pst_transfer_new(const struct pst_inside_settings *settings, struct pst_transfer **ret_transfer)
{
    struct pst_transfer *transfer = pst_calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return PST_ENOMEM;
    transfer->settings = settings;
    memcpy(transfer->offer.next, settings->offer_seed, sizeof transfer->offer.next);
    int rc = offer_make(transfer);
    if (rc == PST_OK)
        *ret_transfer = transfer;
    else
        pst_transfer_free(transfer);
    return rc;
}

void pst_transfer_free(struct pst_transfer *transfer)
{
    if (transfer == NULL)
        return;
    pst_transfer_end(transfer);
    OPENSSL_cleanse(transfer, sizeof *transfer);
    pst_free(transfer);
}

int pst_transfer_offer(struct pst_transfer *transfer)
{
    struct pst_message message = {.kind = PST_MESSAGE_OFFER};
    const struct pst_piece pieces[] = {{transfer->channel_key, KEY_BYTES, 0, false},
                                       {transfer->offer.nonce, KEY_BYTES, 0, false}};
    return transfer->settings->emit(transfer->settings->emitter, &message, pieces, 2);
}

static void meeting_free(struct meeting *m)
{
    if (m == NULL)
        return;
    pst_images_free(m->images);
    pst_free(m->rows);
    pst_free(m->broadcast_before);
    pst_free(m->digests);
    pst_free(m->said);
    OPENSSL_cleanse(m, sizeof *m);
    pst_free(m);
}

void pst_transfer_end(struct pst_transfer *transfer)
{
    if (transfer != NULL) {
        meeting_free(transfer->meeting);
        transfer->meeting = NULL;
    }
}

static int meeting_begin(struct pst_transfer *transfer, const struct pst_enclave_meeting *what,
                         const struct pst_peer_keys *keys)
{
    uint32_t count = transfer->settings->config->bucket_count;
    struct meeting *m = pst_calloc(1, sizeof *m);
    if (m == NULL)
        return PST_ENOMEM;
    m->gives = what->gives;
    m->rows = pst_calloc(count, sizeof *m->rows);
    m->broadcast_before = pst_calloc(count, sizeof *m->broadcast_before);
    m->digests = pst_calloc(count, sizeof *m->digests);
    m->said = pst_calloc(count / 8 + 1, 1);
    memcpy(m->digest_key, keys->digests, sizeof m->digest_key);
    pst_sip_begin(&m->sip, m->digest_key);
    int rc =
        m->rows != NULL && m->broadcast_before != NULL && m->digests != NULL && m->said != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pst_images_new_of_move(transfer->settings, keys->transfer, keys->incarnation, what->move, what->gives,
                                    &m->images);
    if (rc == PST_OK)
        transfer->meeting = m;
    else
        meeting_free(m);
    return rc;
}

int pst_transfer_meet(struct pst_transfer *transfer, const struct pst_message *message, const uint8_t *body,
                      char why[PST_SENTENCE_BYTES_MAX])
{
    const struct pst_enclave_meeting what = {
        .incarnation = (uint64_t)message->time, .move = (uint64_t)message->limit, .gives = message->port == 1};
    const struct pst_peer_self self = {.meeting = &what,
                                       .authority = transfer->settings->config->authority,
                                       .config = transfer->settings->config_digest,
                                       .secret = transfer->offer.secret,
                                       .channel_key = transfer->channel_key,
                                       .nonce = transfer->offer.nonce};
    struct pst_peer_keys keys;
    const char *fault = "";
    pst_transfer_end(transfer); /* V2 */
    int rc = pst_peer_meet(&self, body, message->body_bytes, &keys, &fault);
    if (rc == PST_OK)
        rc = meeting_begin(transfer, &what, &keys);
    OPENSSL_cleanse(&keys, sizeof keys);
    if (rc != PST_OK)
        (void)snprintf(why, PST_SENTENCE_BYTES_MAX, "%s", rc == PST_EREFUSED ? fault : pst_error_sentence(rc));
    int made = offer_make(transfer);
    if (made == PST_OK)
        made = pst_transfer_offer(transfer);
    return made == PST_OK ? rc : made;
}

/* ---- the giver ---- */

static bool owns(const struct pst_images_of *of, uint32_t bucket)
{
    return (of->owns[bucket / 8] >> bucket % 8 & 1) != 0;
}

/* Buckets of its own, ascending. */
static bool list_good(const struct pst_transfer *transfer, const struct pst_images_of *of,
                      const struct pst_message *message, const uint8_t *body)
{
    for (uint32_t i = 0; i < message->row_count; i++) {
        uint32_t bucket = pst_transfer_bucket(body, i);
        if (bucket >= transfer->settings->config->bucket_count || !owns(of, bucket) ||
            (i != 0 && bucket <= pst_transfer_bucket(body, i - 1)))
            return false;
    }
    return true;
}

static int digests_out(struct meeting *m, const struct pst_images_of *of, int64_t t, const uint8_t *body,
                       uint32_t count)
{
    const uint32_t head[] = {DIGESTS_MAGIC, DIGESTS_VERSION};
    const uint32_t tail[] = {count, 0};
    memcpy(m->list, head, 8);
    memcpy(m->list + 8, &t, 8);
    memcpy(m->list + 16, tail, 8);
    uint8_t *at = m->list + PST_DIGESTS_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++, at += PST_DIGESTS_ENTRY_BYTES) {
        const uint32_t entry[] = {pst_transfer_bucket(body, i), 0};
        uint64_t digest;
        int rc = digest_of(m, of, entry[0], t, &digest);
        if (rc != PST_OK)
            return rc;
        memcpy(at, entry, 8);
        memcpy(at + 8, &digest, 8);
    }
    return pst_images_piece_out(m->images, m->piece_count++, m->list, (uint32_t)(at - m->list));
}

static_assert(PST_DIGESTS_HEADER_BYTES + PST_DIGESTS_MAX * PST_DIGESTS_ENTRY_BYTES <= PST_PAGE_BYTES, "one piece");

int pst_transfer_hand(struct pst_transfer *transfer, const struct pst_images_of *of, const struct pst_message *message,
                      const uint8_t *body)
{
    struct meeting *m = transfer->meeting;
    int rc = PST_OK;
    if (m == NULL || !m->gives || !list_good(transfer, of, message, body))
        return PST_EDATA;
    for (uint32_t i = 0, n; message->facts == 1 && i < message->row_count && rc == PST_OK; i += n) {
        n = message->row_count - i < PST_DIGESTS_MAX ? message->row_count - i : PST_DIGESTS_MAX;
        for (uint32_t k = 0; k < n; k++)
            if (!pst_images_has(m->images, pst_transfer_bucket(body, i + k)))
                return PST_EDATA; /* of others nothing is known since when */
        rc = digests_out(m, of, message->time, body + i * sizeof(uint32_t), n);
    }
    for (uint32_t i = 0; message->facts == 0 && i < message->row_count && rc == PST_OK; i++) {
        uint32_t bucket = pst_transfer_bucket(body, i);
        rc = pst_images_bucket_out(m->images, of, bucket, message->time);
        m->rows[bucket] = 0;
        m->broadcast_before[bucket] = m->broadcast;
    }
    return rc;
}

/* ---- the taker ---- */

static int digests_take(struct meeting *m, const struct pst_transfer *transfer, const struct pst_message *message,
                        const uint8_t *body, char *why)
{
    struct pst_digest_list list;
    const uint8_t *bytes;
    uint32_t count = 0;
    bool good = message->port == 0 && message->facts == 0 && (uint64_t)message->limit == m->piece_count++;
    int rc = good ? pst_images_piece_back(m->images, message, body, &bytes, &count) : PST_EREFUSED;
    if (rc == PST_OK)
        rc = pst_digests_read(bytes, count, &list);
    if (rc == PST_OK && m->piece_count != 1 && list.t != m->t)
        rc = PST_EREFUSED;
    for (uint32_t i = 0; rc == PST_OK && i < list.count; i++) {
        uint32_t bucket = pst_digests_bucket(&list, i);
        if (bucket >= transfer->settings->config->bucket_count || (m->said[bucket / 8] >> bucket % 8 & 1) != 0) {
            rc = PST_EREFUSED;
            break;
        }
        m->said[bucket / 8] |= (uint8_t)(1 << bucket % 8);
        m->digests[bucket] = pst_digests_value(&list, i);
    }
    if (rc == PST_OK)
        m->t = list.t;
    else if (rc == PST_EREFUSED || rc == PST_EDATA)
        (void)snprintf(why, PST_SENTENCE_BYTES_MAX,
                       "what comes of another worker is refused: digests are not what was sealed there");
    return rc == PST_EDATA ? PST_EREFUSED : rc;
}

int pst_transfer_take(struct pst_transfer *transfer, const struct pst_images_of *of, const struct pst_message *message,
                      const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX])
{
    struct meeting *m = transfer->meeting;
    if (m == NULL || m->gives)
        return PST_EDATA;
    if (message->row_count == PST_PLACE_DIGESTS)
        return digests_take(m, transfer, message, body, why);
    return pst_images_bucket_back(m->images, of, message, body, why);
}

/* Both sides have come to the same since the bucket was handed over. */
static int compare(const struct meeting *m, const struct pst_images_of *of, int64_t t, uint32_t bucket, char *why)
{
    uint64_t digest = 0;
    int rc = owns(of, bucket) && pst_images_has(m->images, bucket) && m->t == t ? PST_OK : PST_EREFUSED;
    if (rc == PST_OK)
        rc = digest_of(m, of, bucket, t, &digest);
    if (rc == PST_OK && digest == m->digests[bucket])
        return PST_OK;
    (void)snprintf(why, PST_SENTENCE_BYTES_MAX, "bucket %u is not the same on both sides at event time %lld", bucket,
                   (long long)t);
    return rc == PST_OK ? PST_EREFUSED : rc;
}

/* All buckets that have come since others arrived, ascending, at the time for which they were sealed: V3. */
static bool list_arrives(const struct pst_transfer *transfer, const struct pst_images_of *of,
                         const struct pst_message *message, const uint8_t *body)
{
    const struct pst_images *images = transfer->meeting->images;
    for (uint32_t i = 0; i < message->row_count; i++) {
        uint32_t bucket = pst_transfer_bucket(body, i);
        if (bucket >= transfer->settings->config->bucket_count || owns(of, bucket) ||
            !pst_images_arrives(images, bucket) || (i != 0 && bucket <= pst_transfer_bucket(body, i - 1)))
            return false;
    }
    return pst_images_arriving(images, message->row_count, message->time);
}

int pst_transfer_arrive(struct pst_transfer *transfer, const struct pst_images_of *of,
                        const struct pst_message *message, const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX])
{
    struct meeting *m = transfer->meeting;
    uint32_t bucket_count = transfer->settings->config->bucket_count;
    int rc = PST_OK;
    if (m == NULL || m->gives)
        return PST_EDATA;
    for (uint32_t b = 0; b < bucket_count && rc == PST_OK; b++)
        if ((m->said[b / 8] >> b % 8 & 1) != 0)
            rc = compare(m, of, message->time, b, why);
    memset(m->said, 0, bucket_count / 8 + 1);
    if (rc != PST_OK)
        return rc;
    if (!list_arrives(transfer, of, message, body)) {
        (void)snprintf(why, PST_SENTENCE_BYTES_MAX,
                       "what has come of another worker is not whole, or not of this time");
        return PST_EREFUSED;
    }
    for (uint32_t i = 0; i < message->row_count; i++)
        m->broadcast_before[pst_transfer_bucket(body, i)] = m->broadcast;
    pst_images_arrived(m->images);
    return PST_OK;
}
