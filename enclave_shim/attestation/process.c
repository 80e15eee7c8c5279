/* process.c - evidence of the backend `process` (evidence.h): made, taken apart, its signature looked at. It is software's word, and says
 * so. A worker has this file in it, and none of the others: nothing of reports and policies is known here. */
#include "enclave_shim/attestation/inside.h"

#include <assert.h>
#include <openssl/err.h>
#include <string.h>

enum field {
#define X(id, name, offset, bytes) id,
    PST_PROCESS_FIELDS(X)
#undef X
        FIELD_COUNT
};
static const struct {
    const char *name;
    uint32_t offset, bytes;
} fields[FIELD_COUNT] = {
#define X(id, name, offset, bytes) {name, offset, bytes},
    PST_PROCESS_FIELDS(X)
#undef X
};
#define X(id, name, offset, bytes) +(bytes)
static_assert(0 PST_PROCESS_FIELDS(X) == PST_PROCESS_EVIDENCE_BYTES, "the fields fill the evidence");
#undef X

static const uint8_t magic[8] = "pstproc";

enum {
    SIGNED_BYTES = 192,
    LABEL_BYTES = sizeof PST_PROCESS_LABEL - 1,
#define X(name, bit, text, sentence) | (name)
    CAPABILITIES_KNOWN = 0 PST_CAPABILITY_MAP(X),
#undef X
};

static void put(uint8_t *bytes, enum field field, const void *from)
{
    memcpy(bytes + fields[field].offset, from, fields[field].bytes);
}
static void get(const uint8_t *bytes, enum field field, void *to)
{
    memcpy(to, bytes + fields[field].offset, fields[field].bytes);
}

static void put_number(uint8_t *bytes, enum field field, uint64_t number)
{
    for (uint32_t i = 0; i < fields[field].bytes; i++)
        bytes[fields[field].offset + i] = (uint8_t)(number >> (8 * i));
}

static uint64_t get_number(const uint8_t *bytes, enum field field)
{
    return pst_le(bytes + fields[field].offset, fields[field].bytes);
}

static void signed_bytes(const uint8_t *bytes, uint8_t ret_signed[LABEL_BYTES + SIGNED_BYTES])
{
    memcpy(ret_signed, PST_PROCESS_LABEL, LABEL_BYTES);
    memcpy(ret_signed + LABEL_BYTES, bytes, SIGNED_BYTES);
}

/* ---- making ---- */
static EVP_PKEY *key_of(const uint8_t node_key[32])
{
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, node_key, 32);
}

int pst_process_node_key(const uint8_t node_key[32], uint8_t ret_public[32])
{
    size_t bytes = 32;
    EVP_PKEY *key = key_of(node_key);
    bool good = key != NULL && EVP_PKEY_get_raw_public_key(key, ret_public, &bytes) == 1 && bytes == 32;
    EVP_PKEY_free(key);
    return good ? PST_OK : PST_ENOMEM;
}

static bool sign(EVP_PKEY *key, uint8_t *bytes)
{
    uint8_t to_sign[LABEL_BYTES + SIGNED_BYTES];
    size_t signature_bytes = fields[SIGNATURE].bytes;
    signed_bytes(bytes, to_sign);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good =
        context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
        EVP_DigestSign(context, bytes + fields[SIGNATURE].offset, &signature_bytes, to_sign, sizeof to_sign) == 1;
    EVP_MD_CTX_free(context);
    return good && signature_bytes == fields[SIGNATURE].bytes;
}

int pst_process_evidence_sign(const struct pst_process_evidence *evidence, const uint8_t node_key[32],
                              uint8_t ret_bytes[PST_PROCESS_EVIDENCE_BYTES])
{
    uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES] = {0}, public[32];
    if ((evidence->capabilities & ~(uint32_t)PST_CAPABILITIES_OF_SOFTWARE) != 0 ||
        (evidence->flags & ~(uint32_t)PST_PROCESS_DEBUG) != 0)
        return PST_EINVAL;
    int rc = pst_process_node_key(node_key, public);
    if (rc != PST_OK)
        return rc;
    put(bytes, MAGIC, magic);
    put_number(bytes, VERSION, PST_PROCESS_VERSION);
    put_number(bytes, CAPABILITIES, evidence->capabilities);
    put_number(bytes, EPC, evidence->epc_bytes);
    put_number(bytes, FLAGS, evidence->flags);
    put(bytes, MEASUREMENT, evidence->measurement);
    put(bytes, NONCE, evidence->nonce);
    put(bytes, CHANNEL, evidence->channel_key);
    put(bytes, NODE, public);
    EVP_PKEY *key = key_of(node_key);
    bool good = key != NULL && sign(key, bytes);
    EVP_PKEY_free(key);
    if (good)
        memcpy(ret_bytes, bytes, sizeof bytes);
    return good ? PST_OK : PST_ENOMEM;
}

/* ---- reading ---- */
int pst_process_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_process_evidence *ret_evidence,
                               const char **ret_why)
{
    struct pst_process_evidence evidence;
    if (byte_count != PST_PROCESS_EVIDENCE_BYTES || memcmp(bytes, magic, sizeof magic) != 0)
        *ret_why = "is no evidence of `process`: that has 256 bytes and begins with `pstproc`";
    else if (get_number(bytes, VERSION) != PST_PROCESS_VERSION)
        *ret_why = "is evidence of `process` of a version that this penstock does not know";
    else if (get_number(bytes, ZERO) != 0 || (get_number(bytes, CAPABILITIES) & ~(uint64_t)CAPABILITIES_KNOWN) != 0 ||
             (get_number(bytes, FLAGS) & ~(uint64_t)PST_PROCESS_DEBUG) != 0)
        *ret_why = "is evidence of `process` with bits that nobody has given a meaning";
    else {
        evidence.capabilities = (uint32_t)get_number(bytes, CAPABILITIES);
        evidence.flags = (uint32_t)get_number(bytes, FLAGS);
        evidence.epc_bytes = get_number(bytes, EPC);
        get(bytes, MEASUREMENT, evidence.measurement);
        get(bytes, NONCE, evidence.nonce);
        get(bytes, CHANNEL, evidence.channel_key);
        get(bytes, NODE, evidence.node_key);
        *ret_evidence = evidence;
        return PST_OK;
    }
    return PST_EDATA;
}

bool pst_process_evidence_signed(const uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES])
{
    uint8_t was_signed[LABEL_BYTES + SIGNED_BYTES];
    signed_bytes(bytes, was_signed);
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes + fields[NODE].offset, fields[NODE].bytes);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = key != NULL && context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                EVP_DigestVerify(context, bytes + fields[SIGNATURE].offset, fields[SIGNATURE].bytes, was_signed,
                                 sizeof was_signed) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return good;
}
