/* seal.c - AES-256-GCM over pieces of state, with keys from HKDF-SHA256.
 *
 * NO NONCE TWICE. A second message under one key and one nonce gives away the exclusive or of both and the means to forge, so:
 *
 *  1. A key is HKDF(master, salt = incarnation, info = label, graph, operator, bucket, purpose). What info is made of has a fixed
 *     length or says its length, so different places make different infos, and different infos different keys.
 *  2. An incarnation is 256 random bits that the caller draws for one call of pst_sealer_new(). What is read back from disk or
 *     wire goes to pst_sealer_new_to_open(), whose sealers refuse to seal. So all seals ever made under one incarnation were made
 *     by one sealer, in one process; two draws are equal with a probability of 2^-256 for each pair.
 *  3. A sealer counts the seals of each key. The counter is the nonce. It is taken before anything is encrypted, never given
 *     back and never stored to be gone on from; it lives as long as the sealer, longer than the key's cached context. A sealer
 *     belongs to one thread at a time. So under one key no counter is used twice.
 *  4. From 1 to 3: two seals with equal key and nonce have the same incarnation, hence the same sealer, hence different counters.
 *
 * What could be feared, one by one:
 *  a. Resume: the counters are gone, and with them the incarnation: the resumed run draws another. Old pieces are opened only.
 *  b. Two resumes of one copy, at once or one after the other, here or elsewhere: each draws its own.
 *  c. Both owners during a move, and replicas: each draws its own; what they hand over is sealed by the giver's sealer alone.
 *  d. One page to spill and to checkpoint: two sealers of two purposes: the keys differ by 1, and by 2 once more.
 *  e. A page sealed again, changed or not: the same key, the next counter.
 *  f. The counter's end: it is refused at 2^31, far below the 2^32 of its word here and the 2^64 of the nonce. It cannot wrap.
 *  g. A write that failed: writing the same sealed bytes again is no seal; sealing again takes the next counter.
 *  h. A seal that failed half way: its counter is used up, as in 3.
 *  i. A second process with the same master key: draws its own.
 *  j. A child process that inherits the sealer, and the counters with it: the page that holds the sealer's root key is wiped (or
 *     gone) in a child, and pst_seal() looks at it each time.
 *  k. Not covered: a whole machine that is saved while it runs and continued twice from there has the same sealer twice. Who
 *     continues saved machines has to start penstock anew in them.
 */
#include "state/seal_inside.h"

#include "base/gcm.h"

#include <assert.h>
#include <lz4.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define SEAL_MAGIC 0x53545350u /* "PSTS" */
#define SEAL_LABEL "penstock seal 1"
#define KEY_ID_LABEL "penstock key id 1"
#define SEALED_KEY_ID_LABEL "penstock sealing key id 1" /* not the master's: an id of one tells nothing of the other */

enum {
    SEAL_VERSION = 1,
    COUNTER_OFFSET = 4, /* in the nonce */
    KEYS_MAX = 1 << 30,
    INFO_BYTES_MAX = 512,
    DERIVE_LABEL_BYTES_MAX = 64,
};

static_assert(sizeof(struct pst_seal_header) == PST_SEAL_HEADER_BYTES, "sealed layout");
static_assert(offsetof(struct pst_seal_header, flags) == 6, "sealed layout");
static_assert(offsetof(struct pst_seal_header, bucket) == 8, "sealed layout");
static_assert(offsetof(struct pst_seal_header, structure) == 12, "sealed layout");
static_assert(offsetof(struct pst_seal_header, number) == 16, "sealed layout");
static_assert(offsetof(struct pst_seal_header, page_version) == 24, "sealed layout");
static_assert(offsetof(struct pst_seal_header, counter) == 32, "sealed layout");
static_assert(offsetof(struct pst_seal_header, clear_bytes) == 40, "sealed layout");
static_assert(offsetof(struct pst_seal_header, sealed_bytes) == 48, "sealed layout");
static_assert(offsetof(struct pst_seal_header, zero2) == 56, "sealed layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are written as they lie in memory");

/* ---- secrets: their pages are secret.c's ---- */
/* SHA-256 of a label and a secret. The context wipes what it has taken in. */
static int secret_digest(const struct pst_secret *secret, const char *label, uint8_t ret_digest[32])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return PST_ENOMEM;
    bool good = EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, label, strlen(label)) == 1 &&
                EVP_DigestUpdate(context, pst_secret_bytes(secret), PST_SECRET_BYTES) == 1 &&
                EVP_DigestFinal_ex(context, ret_digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good ? PST_OK : PST_EINTERNAL;
}

int pst_secret_id(const struct pst_secret *secret, uint8_t ret_id[PST_SECRET_ID_BYTES])
{
    uint8_t digest[32];
    int rc = secret_digest(secret, KEY_ID_LABEL, digest);
    if (rc == PST_OK)
        memcpy(ret_id, digest, PST_SECRET_ID_BYTES);
    return rc;
}

int pst_secret_derive(const struct pst_secret *from, const char *label, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                      const char *operator_id, struct pst_secret **ret_secret)
{
    uint8_t info[INFO_BYTES_MAX], *at = info;
    size_t label_bytes = strlen(label), id_bytes = strlen(operator_id);
    uint32_t id_word = (uint32_t)id_bytes;
    if (id_bytes == 0 || id_bytes > PST_SEAL_ID_BYTES_MAX || label_bytes > DERIVE_LABEL_BYTES_MAX)
        return PST_EINVAL;
    memcpy(at, label, label_bytes);
    memcpy(at += label_bytes, graph, PST_GRAPH_DIGEST_BYTES);
    memcpy(at += PST_GRAPH_DIGEST_BYTES, &id_word, sizeof id_word);
    memcpy(at += sizeof id_word, operator_id, id_bytes);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, pst_secret_bytes(from), PST_SECRET_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, (size_t)(at + id_bytes - info)),
        OSSL_PARAM_construct_end(),
    };
    struct pst_secret *secret = NULL;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    int rc = context != NULL ? pst_secret_new(&secret) : PST_ENOMEM;
    if (rc == PST_OK && EVP_KDF_derive(context, pst_secret_bytes(secret), PST_SECRET_BYTES, params) != 1)
        rc = PST_EINTERNAL;
    EVP_KDF_CTX_free(context); /* wipes its copy */
    EVP_KDF_free(kdf);
    if (rc == PST_OK)
        *ret_secret = secret;
    else
        pst_secret_free(secret);
    return rc;
}

/* ---- sealers ---- */
struct seal_operator {
    uint8_t *
        identity; /* graph's digest, u32 bytes of the id, the id: the beginning of all associated data, and part of info */
    uint32_t identity_bytes;
    uint32_t bucket_count;
    uint32_t key_first; /* key of bucket b: key_first + b */
};

/* A key ready to use. Key k has slot k modulo the slots, so that one that is needed again and again is derived but once
 * unless there are more keys than slots. */
struct seal_slot {
    struct pst_gcm *gcm; /* of both directions */
    uint32_t key;        /* whose key it holds, plus 1; 0: nobody's */
};

struct pst_sealer {
    struct pst_arena arena; /* operators and their identities */
    struct seal_operator *operators;
    uint32_t operator_count;
    uint32_t purpose;
    bool to_open;
    uint32_t key_count, slot_count;
    uint32_t *seals; /* [key_count]: how many there were, the next counter */
    struct seal_slot *slots;
    struct pst_secret *root;    /* HKDF's extract of master and incarnation */
    struct pst_secret *derived; /* a key on its way into a context, else zero */
    EVP_KDF *kdf;
    uint8_t *packed; /* a text that has just been opened, packed or with a pad behind it, else zero */
    uint32_t packed_capacity;
};

/* HKDF-SHA256 of one mode: EXTRACT makes the root from master and salt, EXPAND a key from root and info. */
static int hkdf(const struct pst_sealer *sealer, int mode, const struct pst_secret *from, const char *extra_name,
                const uint8_t *extra, size_t extra_bytes, struct pst_secret *to)
{
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(sealer->kdf);
    if (context == NULL)
        return PST_ENOMEM;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, pst_secret_bytes(from), PST_SECRET_BYTES),
        OSSL_PARAM_construct_octet_string(extra_name, (void *)(uintptr_t)extra, extra_bytes),
        OSSL_PARAM_construct_end(),
    };
    int good = EVP_KDF_derive(context, pst_secret_bytes(to), PST_SECRET_BYTES, params);
    EVP_KDF_CTX_free(context); /* wipes its copy */
    return good == 1 ? PST_OK : PST_EINTERNAL;
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t byte_count)
{
    memcpy(at, bytes, byte_count);
    return at + byte_count;
}

/* The key of a bucket, into sealer->derived; to be wiped by key_wipe(). */
static int key_derive(struct pst_sealer *sealer, const struct seal_operator *of, uint32_t bucket)
{
    uint8_t info[INFO_BYTES_MAX], *end;
    end = put(info, SEAL_LABEL, sizeof SEAL_LABEL - 1);
    end = put(end, of->identity, of->identity_bytes);
    end = put_u32(end, bucket);
    end = put_u32(end, sealer->purpose);
    return hkdf(sealer, EVP_KDF_HKDF_MODE_EXPAND_ONLY, sealer->root, OSSL_KDF_PARAM_INFO, info, (size_t)(end - info),
                sealer->derived);
}
static_assert(INFO_BYTES_MAX >= sizeof SEAL_LABEL + PST_GRAPH_DIGEST_BYTES + PST_SEAL_ID_BYTES_MAX + 12, "info fits");
static_assert(INFO_BYTES_MAX >= DERIVE_LABEL_BYTES_MAX + PST_GRAPH_DIGEST_BYTES + 4 + PST_SEAL_ID_BYTES_MAX,
              "info fits");

static void key_wipe(struct pst_sealer *sealer)
{
    OPENSSL_cleanse(pst_secret_bytes(sealer->derived), PST_SECRET_BYTES);
}

static int gcm_get(struct pst_sealer *sealer, const struct seal_operator *of, uint32_t bucket, struct pst_gcm **ret_gcm)
{
    uint32_t key = of->key_first + bucket;
    struct seal_slot *slot = &sealer->slots[key % sealer->slot_count];
    if (slot->key != key + 1) {
        pst_gcm_free(slot->gcm);
        *slot = (struct seal_slot){0};
        int rc = key_derive(sealer, of, bucket);
        if (rc == PST_OK)
            rc = pst_gcm_new(pst_secret_bytes(sealer->derived), &slot->gcm);
        key_wipe(sealer);
        if (rc != PST_OK)
            return rc;
        slot->key = key + 1;
    }
    *ret_gcm = slot->gcm;
    return PST_OK;
}

static int operator_fill(struct pst_sealer *sealer, const uint8_t *graph, const char *id, uint32_t bucket_count)
{
    struct seal_operator *filled = &sealer->operators[sealer->operator_count];
    size_t id_bytes = strlen(id);
    if (id_bytes == 0 || id_bytes > PST_SEAL_ID_BYTES_MAX || bucket_count == 0 ||
        bucket_count > KEYS_MAX - sealer->key_count)
        return PST_EINVAL;
    filled->identity_bytes = PST_GRAPH_DIGEST_BYTES + 4 + (uint32_t)id_bytes;
    filled->identity = pst_arena_alloc(&sealer->arena, filled->identity_bytes);
    if (filled->identity == NULL)
        return PST_ENOMEM;
    uint8_t *at = put(filled->identity, graph, PST_GRAPH_DIGEST_BYTES);
    (void)put(put_u32(at, (uint32_t)id_bytes), id, id_bytes);
    /* One id twice would be one key with two counters. */
    for (uint32_t i = 0; i < sealer->operator_count; i++) {
        const struct seal_operator *other = &sealer->operators[i];
        if (other->identity_bytes == filled->identity_bytes &&
            memcmp(other->identity, filled->identity, filled->identity_bytes) == 0)
            return PST_EINVAL;
    }
    filled->bucket_count = bucket_count;
    filled->key_first = sealer->key_count;
    sealer->key_count += bucket_count;
    sealer->operator_count++;
    return PST_OK;
}

static int operators_fill(struct pst_sealer *sealer, const uint8_t *graph, uint32_t operator_count,
                          const char *const *operator_ids, const uint32_t *bucket_counts)
{
    if (operator_count == 0)
        return PST_EINVAL;
    sealer->operators = pst_arena_alloc(&sealer->arena, operator_count * sizeof *sealer->operators);
    if (sealer->operators == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < operator_count; i++) {
        int rc = operator_fill(sealer, graph, operator_ids[i], bucket_counts[i]);
        if (rc != PST_OK)
            return rc;
    }
    sealer->slot_count = sealer->key_count < PST_SEAL_CONTEXTS_MAX ? sealer->key_count : PST_SEAL_CONTEXTS_MAX;
    sealer->seals = pst_calloc(sealer->key_count, sizeof *sealer->seals);
    sealer->slots = pst_calloc(sealer->slot_count, sizeof *sealer->slots);
    return sealer->seals != NULL && sealer->slots != NULL ? PST_OK : PST_ENOMEM;
}

static int root_fill(struct pst_sealer *sealer, const struct pst_secret *master, const uint8_t *incarnation)
{
    int rc = pst_secret_new(&sealer->root);
    if (rc == PST_OK)
        rc = pst_secret_new(&sealer->derived);
    if (rc != PST_OK)
        return rc;
    sealer->kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    if (sealer->kdf == NULL)
        return PST_EINTERNAL;
    return hkdf(sealer, EVP_KDF_HKDF_MODE_EXTRACT_ONLY, master, OSSL_KDF_PARAM_SALT, incarnation, PST_INCARNATION_BYTES,
                sealer->root);
}

static int sealer_new(bool to_open, const struct pst_secret *master, const uint8_t *graph, pst_seal_purpose purpose,
                      const uint8_t *incarnation, uint32_t operator_count, const char *const *operator_ids,
                      const uint32_t *bucket_counts, struct pst_sealer **ret_sealer)
{
    if (purpose < PST_SEAL_SPILL || purpose > PST_SEAL_MANIFEST)
        return PST_EINVAL;
    struct pst_sealer *sealer = pst_calloc(1, sizeof *sealer);
    if (sealer == NULL)
        return PST_ENOMEM;
    pst_arena_init(&sealer->arena);
    sealer->to_open = to_open;
    sealer->purpose = (uint32_t)purpose;
    int rc = operators_fill(sealer, graph, operator_count, operator_ids, bucket_counts);
    if (rc == PST_OK)
        rc = root_fill(sealer, master, incarnation);
    if (rc != PST_OK) {
        pst_sealer_free(sealer);
        return rc;
    }
    *ret_sealer = sealer;
    return PST_OK;
}

int pst_sealer_new(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                   pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES], uint32_t operator_count,
                   const char *const *operator_ids, const uint32_t *bucket_counts, struct pst_sealer **ret_sealer)
{
    return sealer_new(false, master, graph, purpose, incarnation, operator_count, operator_ids, bucket_counts,
                      ret_sealer);
}

int pst_sealer_new_to_open(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                           pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES],
                           uint32_t operator_count, const char *const *operator_ids, const uint32_t *bucket_counts,
                           struct pst_sealer **ret_sealer)
{
    return sealer_new(true, master, graph, purpose, incarnation, operator_count, operator_ids, bucket_counts,
                      ret_sealer);
}

void pst_sealer_forget(struct pst_sealer *sealer)
{
    for (uint32_t i = 0; sealer->slots != NULL && i < sealer->slot_count; i++) {
        pst_gcm_free(sealer->slots[i].gcm);
        sealer->slots[i] = (struct seal_slot){0};
    }
}

void pst_sealer_free(struct pst_sealer *sealer)
{
    if (sealer == NULL)
        return;
    pst_sealer_forget(sealer);
    EVP_KDF_free(sealer->kdf);
    pst_secret_free(sealer->derived);
    pst_secret_free(sealer->root);
    pst_free(sealer->packed);
    pst_free(sealer->slots);
    pst_free(sealer->seals);
    pst_arena_fini(&sealer->arena);
    pst_free(sealer);
}

/* ---- sizes ---- */
static uint32_t power_at_or_below(uint32_t n) { return UINT32_C(1) << (31 - __builtin_clz(n)); }

uint32_t pst_seal_class(uint32_t packed_bytes)
{
    if (packed_bytes <= PST_SEAL_CLASS_BYTES_MIN)
        return PST_SEAL_CLASS_BYTES_MIN;
    uint32_t step = power_at_or_below(packed_bytes) / 4;
    return (packed_bytes + step - 1) / step * step;
}

/* The next class below one, 0 below the smallest. */
static uint32_t class_below(uint32_t class_bytes)
{
    if (class_bytes == PST_SEAL_CLASS_BYTES_MIN)
        return 0;
    return class_bytes - power_at_or_below(class_bytes - 1) / 4;
}

size_t pst_seal_bound(uint32_t clear_bytes)
{
    return PST_SEAL_HEADER_BYTES + (size_t)pst_seal_class(clear_bytes) + PST_SEAL_TAG_BYTES;
}

/* ---- the header ---- */
static bool header_sizes_agree(const struct pst_seal_header *header)
{
    if (header->clear_bytes > PST_SEAL_CLEAR_BYTES_MAX || header->packed_bytes > PST_SEAL_CLEAR_BYTES_MAX)
        return false;
    uint32_t class_bytes = pst_seal_class(header->packed_bytes);
    if (header->flags == PST_SEAL_FLAG_LZ4)
        return header->packed_bytes != 0 &&
               header->clear_bytes <= 255 * (uint64_t)header->packed_bytes && /* LZ4's best */
               class_bytes < pst_seal_class(header->clear_bytes) && header->sealed_bytes == class_bytes;
    return header->packed_bytes == header->clear_bytes && header->sealed_bytes == class_bytes;
}

int pst_seal_header_read(const void *sealed, size_t sealed_bytes, struct pst_seal_header *ret_header)
{
    struct pst_seal_header header;
    if (sealed_bytes < PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES)
        return PST_EREFUSED;
    memcpy(&header, sealed, sizeof header);
    if (header.magic != SEAL_MAGIC || header.version == 0)
        return PST_EREFUSED;
    if (header.version > SEAL_VERSION)
        return PST_EABI;
    if ((header.flags & ~PST_SEAL_FLAG_LZ4) != 0 || header.zero != 0 || header.zero2 != 0 ||
        header.counter >= PST_SEALS_MAX || !header_sizes_agree(&header) ||
        sealed_bytes - PST_SEAL_HEADER_BYTES - PST_SEAL_TAG_BYTES != header.sealed_bytes)
        return PST_EREFUSED;
    *ret_header = header;
    return PST_OK;
}

static bool header_is_of(const struct pst_seal_header *header, const struct pst_seal_place *place)
{
    return header->bucket == place->bucket && header->structure == place->structure && header->kind == place->kind &&
           header->number == place->number && header->page_version == place->version;
}

/* ---- sealing ---- */
/* A message's nonce, and what is authenticated with it: the operator's identity, and the header. */
struct seal_head {
    uint8_t nonce[PST_GCM_NONCE_BYTES];
    uint8_t data[PST_GRAPH_DIGEST_BYTES + 4 + PST_SEAL_ID_BYTES_MAX + PST_SEAL_HEADER_BYTES];
    struct pst_gcm_head gcm;
};

static const struct pst_gcm_head *head_fill(struct seal_head *head, const struct seal_operator *of,
                                            const struct pst_seal_header *header)
{
    memset(head->nonce, 0, sizeof head->nonce);
    memcpy(head->nonce + COUNTER_OFFSET, &header->counter, sizeof header->counter);
    (void)put(put(head->data, of->identity, of->identity_bytes), header, sizeof *header);
    head->gcm = (struct pst_gcm_head){head->nonce, head->data, of->identity_bytes + (uint32_t)sizeof *header};
    return &head->gcm;
}

/* Packs `clear` into `to` where that saves a class, and says so in the header. */
static void pack(struct pst_seal_header *header, bool compress, const void *clear, uint8_t *to)
{
    uint32_t smaller_bytes = class_below(pst_seal_class(header->clear_bytes));
    int packed_bytes = 0;
    if (compress && smaller_bytes != 0)
        packed_bytes = LZ4_compress_default(clear, (char *)to, (int)header->clear_bytes, (int)smaller_bytes);
    header->flags = packed_bytes > 0 ? PST_SEAL_FLAG_LZ4 : 0;
    header->packed_bytes = packed_bytes > 0 ? (uint32_t)packed_bytes : header->clear_bytes;
    header->sealed_bytes = pst_seal_class(header->packed_bytes);
}

/* `header` is complete. What is packed lies in `text` and is encrypted where it lies, else it comes from `clear`; a pad of zeros goes with
 * it. */
static int message_seal(struct pst_gcm *gcm, const struct seal_operator *of, const struct pst_seal_header *header,
                        const void *clear, uint8_t *text)
{
    struct seal_head head;
    const uint8_t *from = header->flags == PST_SEAL_FLAG_LZ4 ? text : clear;
    uint32_t pad_bytes = header->sealed_bytes - header->packed_bytes;
    if (pad_bytes != 0) {
        if (from != text && header->packed_bytes != 0)
            memcpy(text, from, header->packed_bytes);
        memset(text + header->packed_bytes, 0, pad_bytes);
        from = text;
    }
    return pst_gcm_seal(gcm, head_fill(&head, of, header), from, header->sealed_bytes, text,
                        text + header->sealed_bytes);
}

/* Whether this process may still use the keys: see j. */
static bool sealer_is_ours(const struct pst_sealer *sealer) { return pst_secret_is_ours(sealer->root); }

/* A counter of the bucket's key, for this seal alone. */
static int counter_take(struct pst_sealer *sealer, const struct seal_operator *of, uint32_t bucket,
                        uint64_t *ret_counter)
{
    uint32_t *seals = &sealer->seals[of->key_first + bucket];
    if (sealer->to_open || !sealer_is_ours(sealer) || *seals >= PST_SEALS_MAX)
        return PST_EREFUSED;
    *ret_counter = (*seals)++;
    return PST_OK;
}

int pst_seal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *place, bool compress,
             const void *clear, uint32_t clear_bytes, void *out, size_t out_capacity, size_t *ret_bytes)
{
    PST_ASSERT(operator_index < sealer->operator_count && clear_bytes <= PST_SEAL_CLEAR_BYTES_MAX);
    const struct seal_operator *of = &sealer->operators[operator_index];
    PST_ASSERT(place->bucket < of->bucket_count);
    struct pst_seal_header header = {.magic = SEAL_MAGIC,
                                     .version = SEAL_VERSION,
                                     .bucket = place->bucket,
                                     .structure = place->structure,
                                     .kind = place->kind,
                                     .number = place->number,
                                     .page_version = place->version,
                                     .clear_bytes = clear_bytes};
    struct pst_gcm *gcm;
    uint8_t *text = (uint8_t *)out + PST_SEAL_HEADER_BYTES;
    if (out_capacity < pst_seal_bound(clear_bytes))
        return PST_EFULL;
    int rc = counter_take(sealer, of, place->bucket, &header.counter);
    if (rc == PST_OK)
        rc = gcm_get(sealer, of, place->bucket, &gcm);
    if (rc != PST_OK)
        return rc;
    pack(&header, compress, clear, text);
    if (message_seal(gcm, of, &header, clear, text) != PST_OK) {
        OPENSSL_cleanse(out, pst_seal_bound(clear_bytes)); /* what was packed may still lie there */
        ERR_clear_error();
        return PST_EINTERNAL;
    }
    memcpy(out, &header, sizeof header);
    *ret_bytes = PST_SEAL_HEADER_BYTES + (size_t)header.sealed_bytes + PST_SEAL_TAG_BYTES;
    return PST_OK;
}

/* ---- opening ---- */
static int packed_reserve(struct pst_sealer *sealer, uint32_t byte_count)
{
    if (byte_count <= sealer->packed_capacity)
        return PST_OK;
    uint8_t *larger = pst_malloc(byte_count);
    if (larger == NULL)
        return PST_ENOMEM;
    pst_free(sealer->packed);
    sealer->packed = larger;
    sealer->packed_capacity = byte_count;
    return PST_OK;
}

/* What is packed, or has a pad, for which `clear` may have no room. Not a byte goes to LZ4 before the tag is right. */
static int packed_open(struct pst_sealer *sealer, struct pst_gcm *gcm, const struct pst_gcm_head *head,
                       const struct pst_seal_header *header, const uint8_t *text, void *clear)
{
    int rc = packed_reserve(sealer, header->sealed_bytes);
    if (rc == PST_OK)
        rc = pst_gcm_open(gcm, head, text, header->sealed_bytes, text + header->sealed_bytes, sealer->packed);
    if (rc != PST_OK)
        return rc;
    if (header->flags != PST_SEAL_FLAG_LZ4 && header->clear_bytes != 0)
        memcpy(clear, sealer->packed, header->clear_bytes);
    else if (header->flags == PST_SEAL_FLAG_LZ4 &&
             LZ4_decompress_safe((const char *)sealer->packed, clear, (int)header->packed_bytes,
                                 (int)header->clear_bytes) != (int)header->clear_bytes)
        rc = PST_EREFUSED;
    OPENSSL_cleanse(sealer->packed, header->packed_bytes);
    return rc;
}

int pst_unseal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *expected,
               const void *sealed, size_t sealed_bytes, void *clear, uint32_t clear_capacity, uint32_t *ret_clear_bytes)
{
    PST_ASSERT(operator_index < sealer->operator_count);
    const struct seal_operator *of = &sealer->operators[operator_index];
    const uint8_t *text = (const uint8_t *)sealed + PST_SEAL_HEADER_BYTES;
    struct pst_seal_header header;
    struct seal_head head;
    struct pst_gcm *gcm;
    int rc = pst_seal_header_read(sealed, sealed_bytes, &header);
    if (rc != PST_OK)
        return rc;
    /* `expected` may come from a list that was made for another graph, so its bucket is looked at here. */
    if (!header_is_of(&header, expected) || header.clear_bytes > clear_capacity ||
        expected->bucket >= of->bucket_count || !sealer_is_ours(sealer))
        return PST_EREFUSED;
    rc = gcm_get(sealer, of, expected->bucket, &gcm);
    if (rc != PST_OK)
        return rc;
    (void)head_fill(&head, of, &header);
    if (header.sealed_bytes != header.clear_bytes)
        rc = packed_open(sealer, gcm, &head.gcm, &header, text, clear);
    else
        rc = pst_gcm_open(gcm, &head.gcm, text, header.sealed_bytes, text + header.sealed_bytes, clear);
    if (rc != PST_OK) {
        if (header.clear_bytes != 0)
            OPENSSL_cleanse(clear, header.clear_bytes);
        ERR_clear_error();
        return rc;
    }
    *ret_clear_bytes = header.clear_bytes;
    return PST_OK;
}

/* ---- for tests ---- */
int pst_sealer_key_id(struct pst_sealer *sealer, uint32_t operator_index, uint32_t bucket,
                      uint8_t ret_id[PST_SEAL_KEY_ID_BYTES])
{
    int rc = key_derive(sealer, &sealer->operators[operator_index], bucket);
    if (rc == PST_OK)
        rc = secret_digest(sealer->derived, SEALED_KEY_ID_LABEL, ret_id);
    key_wipe(sealer);
    return rc;
}

void pst_sealer_seals_skip(struct pst_sealer *sealer, uint32_t operator_index, uint32_t bucket, uint64_t seal_count)
{
    uint32_t *seals = &sealer->seals[sealer->operators[operator_index].key_first + bucket];
    PST_ASSERT(seal_count >= *seals && seal_count <= PST_SEALS_MAX);
    *seals = (uint32_t)seal_count;
}
