/* tpm.c - what a TPM 2.0 makes, taken apart: quotes, public keys, signatures; and the envelope in which a node sends them (evidence.h).
 *
 * Sources: TPM 2.0 Library part 2 (structures): TPMS_ATTEST 10.12.12, TPMT_PUBLIC 12.2.4, TPMT_SIGNATURE 11.3.4; part 1, section 16
 * on names. A TPM's numbers are big endian, the envelope's little endian. */
#include "enclave_shim/attestation/inside.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

enum {
    TPM_BANKS_MAX = 16,
    TPM_ALG_RSA = 0x0001,
    TPM_ALG_NULL = 0x0010,
    TPM_ALG_ECC = 0x0023,
    TPM_ECC_NIST_P256 = 0x0003,
    RSA_BYTES_MIN = 256,
    RSA_BYTES_MAX = 512,
    COUNTERS_BYTES = 8 + 4 + 4 + 1,
};

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static const uint8_t *take(struct reader *r, size_t bytes)
{
    const uint8_t *at = r->at;
    if (r->failed || bytes > r->left) {
        r->failed = true;
        return NULL;
    }
    r->at += bytes;
    r->left -= bytes;
    return at;
}

static uint32_t number_take(struct reader *r, uint32_t bytes)
{
    const uint8_t *at = take(r, bytes);
    return at != NULL ? (uint32_t)pst_be(at, bytes) : 0;
}

static const uint8_t *sized_take(struct reader *r, uint32_t *ret_bytes)
{
    *ret_bytes = number_take(r, 2);
    return take(r, *ret_bytes);
}

/* ---- quotes ---- */
/* TPML_PCR_SELECTION: of the SHA-256 bank alone, for more than one would make the digest ambiguous here. */
static bool selection_take(struct reader *r, uint32_t *ret_pcrs)
{
    uint32_t banks = number_take(r, 4), chosen = 0;
    for (uint32_t i = 0; i < banks && i < TPM_BANKS_MAX && !r->failed; i++) {
        uint32_t hash = number_take(r, 2), bytes = number_take(r, 1);
        const uint8_t *bits = take(r, bytes);
        if (bits == NULL || bytes > 3 || pst_all_zero(bits, bytes))
            continue;
        chosen++;
        if (hash == PST_TPM_SHA256)
            *ret_pcrs = (uint32_t)pst_le(bits, bytes);
    }
    return !r->failed && banks <= TPM_BANKS_MAX && chosen == 1 && *ret_pcrs != 0;
}

int pst_tpm_quote_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_quote *ret_quote, const char **ret_why)
{
    struct reader r = {.at = bytes, .left = byte_count};
    struct pst_tpm_quote quote = {0};
    bool magic = number_take(&r, 4) == (uint32_t)PST_TPM_MAGIC;
    bool type = number_take(&r, 2) == PST_TPM_QUOTE;
    quote.signer = sized_take(&r, &quote.signer_bytes);
    quote.nonce = sized_take(&r, &quote.nonce_bytes);
    const uint8_t *counters = take(&r, COUNTERS_BYTES);
    quote.firmware = take(&r, 8);
    bool selection = selection_take(&r, &quote.pcrs);
    quote.digest = sized_take(&r, &quote.digest_bytes);
    *ret_why = !magic || !type ? "holds a TPM quote that is none" : "holds a TPM quote that is cut short or too long";
    if (!magic || !type || r.failed || r.left != 0)
        return PST_EDATA;
    *ret_why = "holds a TPM quote that is not of PCRs of the SHA-256 bank alone";
    if (!selection || quote.digest_bytes != PST_SHA256_BYTES)
        return PST_EDATA;
    quote.clock_ms = pst_be(counters, 8);
    quote.resets = (uint32_t)pst_be(counters + 8, 4);
    quote.restarts = (uint32_t)pst_be(counters + 12, 4);
    quote.safe = counters[16] != 0;
    *ret_quote = quote;
    return PST_OK;
}

/* ---- keys ---- */
/* TPMS_RSA_PARMS and TPM2B_PUBLIC_KEY_RSA, behind the scheme. */
static bool rsa_take(struct reader *r, struct pst_tpm_public *public)
{
    uint32_t bits = number_take(r, 2);
    public->exponent = number_take(r, 4);
    public->exponent = public->exponent != 0 ? public->exponent : 65537;
    public->modulus = sized_take(r, &public->modulus_bytes);
    return !r->failed && public->modulus_bytes >= RSA_BYTES_MIN && public->modulus_bytes <= RSA_BYTES_MAX &&
           bits == 8 * public->modulus_bytes;
}

/* Leading zeros may be missing. */
static bool coordinate_take(struct reader *r, uint8_t ret_bytes[32])
{
    uint32_t bytes = 0;
    const uint8_t *at = sized_take(r, &bytes);
    if (at == NULL || bytes > 32)
        return false;
    memset(ret_bytes, 0, 32);
    memcpy(ret_bytes + 32 - bytes, at, bytes);
    return true;
}

/* TPMS_ECC_PARMS and TPMS_ECC_POINT, behind the scheme. */
static bool ecc_take(struct reader *r, struct pst_tpm_public *public)
{
    bool curve = number_take(r, 2) == TPM_ECC_NIST_P256, kdf = number_take(r, 2) == TPM_ALG_NULL;
    bool x = coordinate_take(r, public->point), y = coordinate_take(r, public->point + 32);
    return curve && kdf && x && y;
}

int pst_tpm_public_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_public *ret_public,
                         const char **ret_why)
{
    struct reader r = {.at = bytes, .left = byte_count};
    struct pst_tpm_public public = {0};
    uint32_t policy_bytes = 0, type = number_take(&r, 2), hash = number_take(&r, 2);
    public.attributes = number_take(&r, 4);
    (void)sized_take(&r, &policy_bytes);
    bool plain = number_take(&r, 2) == TPM_ALG_NULL; /* a signing key encrypts nothing */
    public.scheme = (pst_tpm_scheme)number_take(&r, 2);
    bool scheme_hash = number_take(&r, 2) == PST_TPM_SHA256, good = false;
    if (type == TPM_ALG_RSA && public.scheme == PST_TPM_RSASSA)
        good = rsa_take(&r, &public);
    else if (type == TPM_ALG_ECC && public.scheme == PST_TPM_ECDSA)
        good = ecc_take(&r, &public);
    *ret_why =
        "holds a TPM's key that is none for RSASSA (2048 to 4096 bits) or ECDSA (P-256) with SHA-256, or is cut short";
    if (!good || !plain || !scheme_hash || hash != PST_TPM_SHA256 || r.failed || r.left != 0)
        return PST_EDATA;
    public.name[0] = PST_TPM_SHA256 >> 8;
    public.name[1] = PST_TPM_SHA256 & 0xff;
    if (!pst_sha256(bytes, byte_count, public.name + 2))
        return PST_ENOMEM;
    *ret_public = public;
    return PST_OK;
}

EVP_PKEY *pst_tpm_public_key(const struct pst_tpm_public *public)
{
    if (public->scheme == PST_TPM_ECDSA)
        return pst_p256_key(public->point);
    uint8_t exponent[4];
    for (uint32_t i = 0; i < sizeof exponent; i++)
        exponent[i] = (uint8_t)(public->exponent >> (24 - 8 * i));
    return pst_rsa_key(public->modulus, public->modulus_bytes, exponent, sizeof exponent);
}

static int pem_print(EVP_PKEY *key, char ret_pem[PST_TPM_PEM_BYTES_MAX])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long count = bio != NULL && PEM_write_bio_PUBKEY(bio, key) == 1 ? BIO_get_mem_data(bio, &text) : 0;
    bool fits = count > 0 && count < PST_TPM_PEM_BYTES_MAX;
    if (fits) {
        memcpy(ret_pem, text, (size_t)count);
        ret_pem[count] = '\0';
    }
    BIO_free(bio);
    return fits ? PST_OK : PST_ENOMEM;
}

int pst_tpm_key_show(const uint8_t *bytes, size_t byte_count, uint8_t ret_name[PST_TPM_NAME_BYTES],
                     char ret_pem[PST_TPM_PEM_BYTES_MAX], const char **ret_why)
{
    struct pst_tpm_public public;
    int rc = pst_tpm_public_parse(bytes, byte_count, &public, ret_why);
    if (rc != PST_OK)
        return rc;
    EVP_PKEY *key = pst_tpm_public_key(&public);
    rc = key != NULL ? pem_print(key, ret_pem) : PST_EDATA;
    EVP_PKEY_free(key);
    ERR_clear_error();
    memcpy(ret_name, public.name, sizeof public.name);
    return rc;
}

/* ---- signatures ---- */
int pst_tpm_signature_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_signature *ret_signature,
                            const char **ret_why)
{
    struct reader r = {.at = bytes, .left = byte_count};
    struct pst_tpm_signature signature = {.scheme = (pst_tpm_scheme)number_take(&r, 2)};
    bool hash = number_take(&r, 2) == PST_TPM_SHA256, good = false;
    if (signature.scheme == PST_TPM_RSASSA) {
        signature.rsa = sized_take(&r, &signature.rsa_bytes);
        good = signature.rsa != NULL && signature.rsa_bytes <= RSA_BYTES_MAX;
    } else if (signature.scheme == PST_TPM_ECDSA) {
        good = coordinate_take(&r, signature.r);
        good = coordinate_take(&r, signature.s) && good;
    }
    *ret_why = "holds a TPM's signature that is neither RSASSA nor ECDSA with SHA-256, or is cut short";
    if (!good || !hash || r.failed || r.left != 0)
        return PST_EDATA;
    *ret_signature = signature;
    return PST_OK;
}

/* ---- the envelope ---- */
static const uint8_t magic[8] = "psttpmq";

enum {
    AT_VERSION = 8,
    AT_ZERO = 12,
    AT_NODE_KEY = 16,
    AT_NONCE = 48,
    AT_COUNTS = 112, /* of public, attest, signature: bytes; then PCRs */
    AT_PCR_COUNT = 124,
};
static_assert((int)AT_PCR_COUNT + 4 == PST_TPM_HEAD_BYTES, "wire layout");

static void put_number(uint8_t *bytes, uint32_t number)
{
    for (uint32_t i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
}

int pst_tpm_evidence_put(const struct pst_tpm_evidence *evidence, uint8_t ret_bytes[PST_TPM_EVIDENCE_BYTES_MAX],
                         size_t *ret_count)
{
    const struct pst_bytes parts[3] = {evidence->public, evidence->attest, evidence->signature};
    uint8_t *at = ret_bytes + PST_TPM_HEAD_BYTES;
    if (evidence->pcr_count == 0 || evidence->pcr_count > PST_PCR_COUNT)
        return PST_EINVAL;
    memset(ret_bytes, 0, PST_TPM_HEAD_BYTES);
    memcpy(ret_bytes, magic, sizeof magic);
    put_number(ret_bytes + AT_VERSION, PST_TPM_VERSION);
    memcpy(ret_bytes + AT_NODE_KEY, evidence->node_key, sizeof evidence->node_key);
    memcpy(ret_bytes + AT_NONCE, evidence->nonce, sizeof evidence->nonce);
    for (uint32_t i = 0; i < 3; i++) {
        if (parts[i].count == 0 || parts[i].count > PST_TPM_PART_BYTES_MAX)
            return PST_EINVAL;
        put_number(ret_bytes + AT_COUNTS + (size_t)4 * i, (uint32_t)parts[i].count);
        memcpy(at, parts[i].bytes, parts[i].count);
        at += parts[i].count;
    }
    put_number(ret_bytes + AT_PCR_COUNT, evidence->pcr_count);
    memcpy(at, evidence->pcrs, (size_t)evidence->pcr_count * PST_SHA256_BYTES);
    *ret_count = (size_t)(at - ret_bytes) + (size_t)evidence->pcr_count * PST_SHA256_BYTES;
    return PST_OK;
}

int pst_tpm_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_evidence *ret_evidence,
                           const char **ret_why)
{
    struct pst_tpm_evidence evidence = {0};
    struct pst_bytes *const parts[3] = {&evidence.public, &evidence.attest, &evidence.signature};
    *ret_why = "holds no quote of a node's TPM: that begins with `psttpmq`";
    if (byte_count < PST_TPM_HEAD_BYTES || memcmp(bytes, magic, sizeof magic) != 0)
        return PST_EDATA;
    *ret_why = "holds a quote of a node's TPM in a version that this penstock does not know";
    if (pst_le(bytes + AT_VERSION, 4) != PST_TPM_VERSION || pst_le(bytes + AT_ZERO, 4) != 0)
        return PST_EDATA;
    struct reader r = {.at = bytes + PST_TPM_HEAD_BYTES, .left = byte_count - PST_TPM_HEAD_BYTES};
    bool fits = true;
    for (uint32_t i = 0; i < 3; i++) {
        parts[i]->count = (size_t)pst_le(bytes + AT_COUNTS + (size_t)4 * i, 4);
        fits &= parts[i]->count >= 1 && parts[i]->count <= PST_TPM_PART_BYTES_MAX;
        parts[i]->bytes = fits ? take(&r, parts[i]->count) : NULL;
    }
    evidence.pcr_count = (uint32_t)pst_le(bytes + AT_PCR_COUNT, 4);
    fits &= evidence.pcr_count >= 1 && evidence.pcr_count <= PST_PCR_COUNT;
    evidence.pcrs = fits ? take(&r, (size_t)evidence.pcr_count * PST_SHA256_BYTES) : NULL;
    *ret_why = "holds a quote of a node's TPM that is cut short or too long";
    if (!fits || r.failed || r.left != 0)
        return PST_EDATA;
    memcpy(evidence.node_key, bytes + AT_NODE_KEY, sizeof evidence.node_key);
    memcpy(evidence.nonce, bytes + AT_NONCE, sizeof evidence.nonce);
    *ret_evidence = evidence;
    return PST_OK;
}

int pst_tpm_qualifying_data(const uint8_t node_key[32], const uint8_t nonce[64], uint8_t ret_data[32])
{
    enum { LABEL_BYTES = sizeof PST_TPM_LABEL - 1 };
    uint8_t bytes[LABEL_BYTES + 32 + 64];
    memcpy(bytes, PST_TPM_LABEL, LABEL_BYTES);
    memcpy(bytes + LABEL_BYTES, node_key, 32);
    memcpy(bytes + LABEL_BYTES + 32, nonce, 64);
    return pst_sha256(bytes, sizeof bytes, ret_data) ? PST_OK : PST_ENOMEM;
}
