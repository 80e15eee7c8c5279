/* tpm_verify.c - a quote of a node's TPM against a policy: rows of a report. It says which machine this is and what was booted there, so it
 * is software's evidence with a witness, and never an enclave's (A2). */
#include "enclave_shim/attestation/inside.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#define AK_USAGE "2.23.133.8.3" /* tcg-kp-AIKCertificate: TCG EK Credential Profile, annex on attestation keys */

/* ---- PCRs ---- */
static void pcr_check(struct pst_checking *c, uint32_t index, const uint8_t *value)
{
    const struct pst_digests *wanted = &c->policy->pcrs[index];
    const char *name = pst_checking_printf(c, "tpm.pcr%u", index);
    if (value == NULL && wanted->count == 0)
        return;
    pst_checking_add(c, name, PST_CHECK_OPEN, "-",
                     value != NULL ? pst_checking_hex(c, value, PST_SHA256_BYTES) : "not quoted");
    pst_checking_digests(c, name, wanted, value != NULL ? value : (const uint8_t[PST_SHA256_BYTES]){0},
                         value != NULL ? PST_SHA256_BYTES : 0);
}

void pst_tpm_pcrs_verify(struct pst_checking *c, const struct pst_tpm_quote *quote,
                         uint8_t values[PST_PCR_COUNT][PST_SHA256_BYTES], uint32_t there)
{
    uint8_t chosen[PST_PCR_COUNT][PST_SHA256_BYTES], digest[PST_SHA256_BYTES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++) {
        const bool quoted = (quote->pcrs >> i & 1) != 0;
        if (quoted)
            memcpy(chosen[count++], values[i], PST_SHA256_BYTES);
        pcr_check(c, i, quoted && (there >> i & 1) != 0 ? values[i] : NULL);
    }
    if (!pst_sha256(chosen, (size_t)count * PST_SHA256_BYTES, digest))
        c->rc = PST_ENOMEM;
    const bool all = (quote->pcrs & ~there) == 0;
    pst_checking_that(
        c, "tpm.pcrs", all && CRYPTO_memcmp(digest, quote->digest, sizeof digest) == 0,
        pst_checking_printf(c, "the digest in the quote: %s", pst_checking_hex(c, quote->digest, sizeof digest)),
        all ? pst_checking_hex(c, digest, sizeof digest) : "some of them are not there");
    pst_checking_add(c, "tpm.pcr_digest", PST_CHECK_OPEN, "-", pst_checking_hex(c, quote->digest, PST_SHA256_BYTES));
    pst_checking_digests(c, "tpm.pcr_digest", &c->policy->pcr_digests, quote->digest, PST_SHA256_BYTES);
}

bool pst_tpm_pcrs_wanted(const struct pst_attestation_policy *policy)
{
    bool wanted = policy->pcr_digests.count != 0;
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++)
        wanted |= policy->pcrs[i].count != 0;
    return wanted;
}

static const char *pcrs_shown(struct pst_checking *c, uint32_t pcrs)
{
    const char *text = "";
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++)
        if ((pcrs >> i & 1) != 0)
            text = pst_checking_printf(c, "%s%s%u", text, *text == '\0' ? "" : ", ", i);
    return *text != '\0' ? text : "none";
}

/* The values that came along belong to the PCRs of the quote, in their order; too few or too many are not there. */
static void node_pcrs_check(struct pst_checking *c, const struct pst_tpm_evidence *evidence,
                            const struct pst_tpm_quote *quote)
{
    uint8_t values[PST_PCR_COUNT][PST_SHA256_BYTES] = {{0}};
    uint32_t taken = 0, there = 0;
    const uint32_t wanted = c->policy->pcr_selection;
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++) {
        if ((quote->pcrs >> i & 1) == 0)
            continue;
        if (taken < evidence->pcr_count) {
            memcpy(values[i], evidence->pcrs + (size_t)taken * PST_SHA256_BYTES, PST_SHA256_BYTES);
            there |= 1u << i;
        }
        taken++;
    }
    pst_checking_that(c, "tpm.pcr_selection", (wanted & ~quote->pcrs) == 0 && taken == evidence->pcr_count,
                      pst_checking_printf(c, "%s at least, and a value for each", pcrs_shown(c, wanted)),
                      pst_checking_printf(c, "%s, with %u values", pcrs_shown(c, quote->pcrs), evidence->pcr_count));
    pst_tpm_pcrs_verify(c, quote, values, there);
}

/* ---- whose key ---- */
static bool usage_is(X509 *certificate)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    bool found = false;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++) {
        char text[64];
        found |= OBJ_obj2txt(text, sizeof text, sk_ASN1_OBJECT_value(usages, i), 1) > 0 && strcmp(text, AK_USAGE) == 0;
    }
    sk_ASN1_OBJECT_pop_free(usages, ASN1_OBJECT_free);
    return found;
}

static X509 *certificate_find(struct pst_checking *c, EVP_PKEY *key)
{
    for (int i = 0; i < sk_X509_num(c->certificates); i++)
        if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(c->certificates, i)), key) == 1)
            return sk_X509_value(c->certificates, i);
    return NULL;
}

static bool issued_by_root(const STACK_OF(X509) * certificates, X509 *leaf)
{
    bool found = false;
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *other = sk_X509_value(certificates, i);
        found |= X509_check_issued(other, leaf) == X509_V_OK && X509_check_issued(other, other) == X509_V_OK;
    }
    return found;
}

/* By a certificate, with one authority between it and the root or with none. */
static bool certificate_check(struct pst_checking *c, X509 *leaf)
{
    static const char *const straight[] = {"key", "authority", NULL}, *const between[] = {"key", "issuer", "authority",
                                                                                          NULL};
    X509 *root = NULL;
    const bool direct = issued_by_root(c->certificates, leaf) || issued_by_root(c->roots, leaf);
    const struct pst_chain chain = {.name = "tpm",
                                    .roles = direct ? straight : between,
                                    .vendor = PST_VENDOR_TPM,
                                    .leaf = leaf,
                                    .others = c->certificates,
                                    .crls = c->crls};
    const bool good = pst_chain_verify(c, &chain, &root), usage = usage_is(leaf);
    pst_checking_that(c, "chain.tpm.usage", usage, "for attestation keys of TPMs (" AK_USAGE ")",
                      usage ? "for these" : "not for these");
    return good && usage;
}

/* By name, or by SHA-256 of the public key. */
static bool pin_check(struct pst_checking *c, const struct pst_tpm_public *public, EVP_PKEY *key)
{
    const struct pst_digests *pins = &c->policy->tpm_keys;
    uint8_t digest[PST_SHA256_BYTES] = {0};
    unsigned char *der = NULL;
    int der_bytes = i2d_PUBKEY(key, &der);
    if (der_bytes <= 0 || !pst_sha256(der, (size_t)der_bytes, digest))
        c->rc = PST_ENOMEM;
    OPENSSL_free(der);
    pst_checking_add(c, "tpm.key_sha256", PST_CHECK_OPEN, "-", pst_checking_hex(c, digest, sizeof digest));
    bool found = false;
    const char *expected = "one of the policy's tpm_keys:";
    for (uint32_t i = 0; i < pins->count; i++) {
        const struct pst_digest *pin = &pins->items[i];
        const bool name = pin->byte_count == PST_TPM_NAME_BYTES;
        found |= CRYPTO_memcmp(pin->bytes, name ? public->name : digest, pin->byte_count) == 0;
        expected =
            pst_checking_printf(c, "%s%s %s%s", expected, i == 0 ? "" : ",",
                                pst_checking_hex(c, pin->bytes, pin->byte_count), name ? "" : " (SHA-256 of the key)");
    }
    if (pins->count != 0)
        pst_checking_expect(c, "tpm.key_name", found, expected);
    return found;
}

/* What only a quote answers: whoever asks for it wants to know whose TPM it is. */
static bool quote_wanted(const struct pst_attestation_policy *policy)
{
    return policy->tpm_keys.count != 0 || policy->tpm_firmware.count != 0 || pst_tpm_pcrs_wanted(policy);
}

static bool key_check(struct pst_checking *c, const struct pst_tpm_public *public, EVP_PKEY *key, bool needed)
{
    const uint32_t looked = PST_TPM_ATTESTING | PST_TPM_DECRYPT;
    pst_checking_add(c, "tpm.key", PST_CHECK_OPEN, "-",
                     public->scheme == PST_TPM_ECDSA
                         ? "ECDSA, P-256"
                         : pst_checking_printf(c, "RSASSA, %u bits", 8 * public->modulus_bytes));
    pst_checking_that(c, "tpm.key_attributes", (public->attributes & looked) == PST_TPM_ATTESTING,
                      pst_checking_printf(
                          c, "0x%x in 0x%x: restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin, not decrypt",
                          (unsigned)PST_TPM_ATTESTING, (unsigned)looked),
                      pst_checking_printf(c, "0x%x", (unsigned)public->attributes));
    pst_checking_add(c, "tpm.key_name", PST_CHECK_OPEN, "-", pst_checking_hex(c, public->name, sizeof public->name));
    if (key == NULL) {
        pst_checking_expect(c, "tpm.key_name", false, "a key that is a point of the curve, or a modulus");
        return false;
    }
    X509 *certificate = c->policy->tpm_keys.count == 0 ? certificate_find(c, key) : NULL;
    bool good = pin_check(c, public, key);
    if (certificate != NULL)
        good = certificate_check(c, certificate);
    else if (c->policy->tpm_keys.count == 0 && needed)
        pst_checking_expect(c, "tpm.key_name", false,
                            "one of the policy's tpm_keys, which has none, or a certificate of it");
    return good;
}

/* ---- what it says ---- */
static void binding_check(struct pst_checking *c, const struct pst_tpm_evidence *evidence,
                          const struct pst_process_evidence *process)
{
    pst_checking_add(c, "tpm.node_key", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->node_key, 32));
    pst_checking_add(c, "tpm.nonce", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->nonce, 64));
    if (process == NULL) {
        pst_checking_digests(c, "tpm.node_key", &c->policy->node_keys, evidence->node_key, 32);
        pst_checking_nonce(c, "tpm.nonce", evidence->nonce, 64);
        return;
    }
    pst_checking_expect(c, "tpm.node_key", CRYPTO_memcmp(process->node_key, evidence->node_key, 32) == 0,
                        pst_checking_printf(c, "that of the report: %s", pst_checking_hex(c, process->node_key, 32)));
    pst_checking_expect(c, "tpm.nonce", CRYPTO_memcmp(process->nonce, evidence->nonce, 64) == 0,
                        pst_checking_printf(c, "that of the report: %s", pst_checking_hex(c, process->nonce, 64)));
}

/* False: it is no quote, and says so. */
static bool head_check(struct pst_checking *c, const struct pst_bytes *attest)
{
    const uint64_t magic = attest->count >= PST_TPM_HEAD ? pst_be(attest->bytes, 4) : 0,
                   type = attest->count >= PST_TPM_HEAD ? pst_be(attest->bytes + 4, 2) : 0;
    pst_checking_that(c, "tpm.magic", magic == (uint32_t)PST_TPM_MAGIC,
                      pst_checking_printf(c, "0x%x: a TPM has made it", (unsigned)PST_TPM_MAGIC),
                      pst_checking_printf(c, "0x%llx", (unsigned long long)magic));
    pst_checking_that(c, "tpm.type", type == PST_TPM_QUOTE, pst_checking_printf(c, "0x%x: a quote", PST_TPM_QUOTE),
                      pst_checking_printf(c, "0x%llx", (unsigned long long)type));
    return magic == (uint32_t)PST_TPM_MAGIC && type == PST_TPM_QUOTE;
}

static bool signature_check(struct pst_checking *c, const struct pst_bytes *attest, EVP_PKEY *key,
                            const struct pst_tpm_signature *signature)
{
    const bool rsa = signature->scheme == PST_TPM_RSASSA;
    bool good = rsa ? pst_rsassa_verify(key, attest->bytes, attest->count, signature->rsa, signature->rsa_bytes)
                    : pst_ecdsa_verify(key, "P-256", EVP_sha256(), attest->bytes, attest->count, signature->r,
                                       signature->s, sizeof signature->r);
    pst_checking_that(c, "tpm.signature", good,
                      pst_checking_printf(c, "%s with SHA-256 by the attestation key", rsa ? "RSASSA" : "ECDSA"),
                      good ? "good" : "not by that key, or over other bytes");
    return good;
}

static void quote_check(struct pst_checking *c, const struct pst_tpm_evidence *evidence,
                        const struct pst_tpm_quote *quote)
{
    uint8_t data[PST_SHA256_BYTES];
    if (pst_tpm_qualifying_data(evidence->node_key, evidence->nonce, data) != PST_OK)
        c->rc = PST_ENOMEM;
    pst_checking_that(
        c, "tpm.qualifying_data",
        quote->nonce_bytes == sizeof data && CRYPTO_memcmp(quote->nonce, data, sizeof data) == 0,
        pst_checking_printf(c, "SHA-256 of node key and nonce: %s", pst_checking_hex(c, data, sizeof data)),
        pst_checking_hex(c, quote->nonce, quote->nonce_bytes));
    pst_checking_add(c, "tpm.signer", PST_CHECK_OPEN, "-", pst_checking_hex(c, quote->signer, quote->signer_bytes));
    pst_checking_add(
        c, "tpm.clock", PST_CHECK_OPEN, "-",
        pst_checking_printf(c, "%llu ms, %s", (unsigned long long)quote->clock_ms, quote->safe ? "safe" : "not safe"));
    pst_checking_add(c, "tpm.resets", PST_CHECK_OPEN, "-",
                     pst_checking_printf(c, "%u, and %u restarts", quote->resets, quote->restarts));
    pst_checking_add(c, "tpm.firmware", PST_CHECK_OPEN, "-", pst_checking_hex(c, quote->firmware, 8));
    pst_checking_digests(c, "tpm.firmware", &c->policy->tpm_firmware, quote->firmware, 8);
    node_pcrs_check(c, evidence, quote);
}

static int parts_parse(const struct pst_tpm_evidence *evidence, struct pst_tpm_public *public,
                       struct pst_tpm_signature *signature, const char **ret_why)
{
    int rc = pst_tpm_public_parse(evidence->public.bytes, evidence->public.count, public, ret_why);
    return rc != PST_OK
               ? rc
               : pst_tpm_signature_parse(evidence->signature.bytes, evidence->signature.count, signature, ret_why);
}

void pst_tpm_verify(struct pst_checking *c, const struct pst_tpm_evidence *evidence,
                    const struct pst_process_evidence *process)
{
    struct pst_tpm_public public;
    struct pst_tpm_signature signature;
    struct pst_tpm_quote quote;
    const char *why = NULL;
    if (evidence == NULL) {
        if (quote_wanted(c->policy))
            pst_checking_that(c, "tpm.quote", false, "a quote of the node's TPM: the policy asks for one",
                              "none is there");
        return;
    }
    int rc = parts_parse(evidence, &public, &signature, &why);
    if (rc == PST_EDATA)
        pst_checking_fault(c, c->request->evidence.name, why);
    else if (rc != PST_OK)
        c->rc = rc;
    if (rc != PST_OK)
        return;
    EVP_PKEY *key = pst_tpm_public_key(&public);
    binding_check(c, evidence, process);
    const bool known = key_check(c, &public, key, process == NULL || quote_wanted(c->policy));
    const bool good = head_check(c, &evidence->attest),
               is_signed = signature_check(c, &evidence->attest, key, &signature);
    EVP_PKEY_free(key);
    ERR_clear_error();
    if (process == NULL) {
        c->signatures_good += good && is_signed;
        c->root_good = known;
        if (c->policy->measurements.count != 0)
            pst_checking_that(c, "tpm.measurement", false, "one of the policy's measurements",
                              "none: a TPM knows nothing of a worker");
        memcpy(c->report->report_data, evidence->nonce, sizeof evidence->nonce);
    }
    if (!good)
        return;
    if (pst_tpm_quote_parse(evidence->attest.bytes, evidence->attest.count, &quote, &why) != PST_OK)
        pst_checking_fault(c, c->request->evidence.name, why);
    else
        quote_check(c, evidence, &quote);
}
