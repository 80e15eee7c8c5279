/* vtpm.c - Azure's forms: SEV-SNP and TDX behind a virtual TPM, whose key stands in what the hardware signs.
 *
 * The chain: hardware signs a report whose report data begin with SHA-256 of the runtime data; these hold HCLAkPub, a key of the
 * virtual TPM; it signs a quote over PCRs and the verifier's nonce.
 * Sources: Microsoft, "Guest attestation for confidential VMs", HCL report; TPM 2.0 Library part 2, TPMS_ATTEST (10.12.12), part 1 on
 * quotes (tpm.c); the JSON around it is Trustee's (az-snp-vtpm, az-tdx-vtpm), version 0 with lists of bytes, versions 1 and 2 with texts. */
#include "enclave_shim/attestation/inside.h"

#include <openssl/crypto.h>
#include <string.h>

enum {
    HCL_TYPE_SNP = 2,
    HCL_TYPE_TDX = 4,
    HASH_SHA256 = 1,
    HASH_SHA512 = 3,
    MODULUS_BYTES_MIN = 256,
};

/* ---- base64 ---- */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* Both alphabets of RFC 4648, with padding or without. `ret_bytes` has room for three quarters of the text. False: it is neither. */
static bool base64_take(const char *text, size_t text_bytes, uint8_t *ret_bytes, size_t *ret_count)
{
    uint32_t bits = 0, bit_count = 0;
    size_t count = 0;
    while (text_bytes != 0 && text[text_bytes - 1] == '=')
        text_bytes--;
    for (size_t i = 0; i < text_bytes; i++) {
        int value = base64_value(text[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            ret_bytes[count++] = (uint8_t)(bits >> bit_count);
        }
    }
    *ret_count = count;
    return text_bytes % 4 != 1 && (bits & ((1u << bit_count) - 1)) == 0;
}

/* ---- the HCL report ---- */
/* The key named HCLAkPub, a JWK (RFC 7517). */
static bool key_take(const struct pst_json *json, struct pst_hcl *hcl)
{
    const struct pst_json *keys = pst_json_at(json, "keys", PST_JSON_LIST);
    for (const struct pst_json *key = keys != NULL ? keys->first : NULL; key != NULL; key = key->next) {
        const struct pst_json *kid = pst_json_at(key, "kid", PST_JSON_TEXT),
                              *kty = pst_json_at(key, "kty", PST_JSON_TEXT), *n = pst_json_at(key, "n", PST_JSON_TEXT),
                              *e = pst_json_at(key, "e", PST_JSON_TEXT);
        size_t n_bytes = 0, e_bytes = 0;
        if (kid == NULL || strcmp(kid->text, "HCLAkPub") != 0)
            continue;
        if (kty == NULL || strcmp(kty->text, "RSA") != 0 || n == NULL || e == NULL ||
            n->text_bytes > sizeof hcl->modulus * 4 / 3 || e->text_bytes > sizeof hcl->exponent ||
            !base64_take(n->text, n->text_bytes, hcl->modulus, &n_bytes) ||
            !base64_take(e->text, e->text_bytes, hcl->exponent, &e_bytes))
            return false;
        hcl->modulus_bytes = (uint32_t)n_bytes;
        hcl->exponent_bytes = (uint32_t)e_bytes;
        return n_bytes >= MODULUS_BYTES_MIN && e_bytes != 0;
    }
    return false;
}

int pst_hcl_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count, struct pst_hcl *ret_hcl,
                  const char **ret_why)
{
    *ret_why = "is no HCL report: it does not begin with `HCLA`, or is too short";
    if (byte_count < PST_HCL_RUNTIME_OFFSET || memcmp(bytes, "HCLA", 4) != 0)
        return PST_EDATA;
    const uint8_t *data = bytes + PST_HCL_DATA_OFFSET;
    uint64_t type = pst_le(data + 8, 4), hash = pst_le(data + 12, 4), runtime_bytes = pst_le(data + 16, 4);
    *ret_why = "is an HCL report of neither SEV-SNP nor TDX";
    if (type != HCL_TYPE_SNP && type != HCL_TYPE_TDX)
        return PST_EDATA;
    *ret_why = "is an HCL report whose runtime data are longer than it is, or hashed by nothing that is known";
    if (runtime_bytes > byte_count - PST_HCL_RUNTIME_OFFSET || hash < HASH_SHA256 || hash > HASH_SHA512)
        return PST_EDATA;
    struct pst_hcl hcl = {.tdx = type == HCL_TYPE_TDX,
                          .report = bytes + PST_HCL_REPORT_OFFSET,
                          .runtime = bytes + PST_HCL_RUNTIME_OFFSET,
                          .runtime_bytes = (uint32_t)runtime_bytes,
                          .hash = (uint32_t)hash};
    const struct pst_json *json = NULL;
    int rc = pst_json_parse(arena, (const char *)hcl.runtime, hcl.runtime_bytes, &json, ret_why);
    if (rc != PST_OK)
        return rc;
    *ret_why = "is an HCL report without a good key HCLAkPub in its runtime data";
    if (!key_take(json, &hcl))
        return PST_EDATA;
    *ret_hcl = hcl;
    return PST_OK;
}

/* ---- the JSON around it ---- */
/* A list of numbers, a text of hexadecimal digits, or one of base64. */
static int bytes_take(struct pst_arena *arena, const struct pst_json *value, bool hex, struct pst_bytes *ret_bytes)
{
    if (value == NULL || (value->kind != PST_JSON_TEXT && value->kind != PST_JSON_LIST))
        return PST_EDATA;
    size_t count = value->kind == PST_JSON_LIST ? value->count : value->text_bytes;
    uint8_t *bytes = pst_arena_alloc(arena, count + 1);
    if (bytes == NULL)
        return PST_ENOMEM;
    bool good = true;
    if (value->kind == PST_JSON_LIST) {
        uint32_t i = 0;
        for (const struct pst_json *item = value->first; item != NULL && good; item = item->next) {
            uint64_t number = 0;
            good = pst_json_number(item, UINT8_MAX, &number);
            bytes[i++] = (uint8_t)number;
        }
    } else if (hex) {
        good = pst_hex_parse(value->text, count, bytes);
        count /= 2;
    } else {
        good = base64_take(value->text, value->text_bytes, bytes, &count);
    }
    *ret_bytes = (struct pst_bytes){bytes, count, value->key};
    return good ? PST_OK : PST_EDATA;
}

static const struct pst_json *any_at(const struct pst_json *map, const char *key)
{
    const struct pst_json *value = pst_json_at(map, key, PST_JSON_TEXT);
    return value != NULL ? value : pst_json_at(map, key, PST_JSON_LIST);
}

static int pcrs_take(struct pst_arena *arena, const struct pst_json *quote, struct pst_az_evidence *evidence)
{
    const struct pst_json *list = pst_json_at(quote, "pcrs", PST_JSON_LIST);
    int rc = list != NULL && list->count <= PST_PCR_COUNT ? PST_OK : PST_EDATA;
    for (const struct pst_json *item = list != NULL ? list->first : NULL; item != NULL && rc == PST_OK;
         item = item->next) {
        struct pst_bytes pcr;
        rc = bytes_take(arena, item, true, &pcr);
        if (rc == PST_OK && pcr.count != PST_SHA256_BYTES)
            rc = PST_EDATA;
        if (rc == PST_OK)
            memcpy(evidence->pcrs[evidence->pcr_count++], pcr.bytes, PST_SHA256_BYTES);
    }
    return rc;
}

/* PEM as it stands, or base64 of DER. */
static int vcek_take(struct pst_arena *arena, const struct pst_json *value, struct pst_bytes *ret_vcek)
{
    if (value == NULL || value->kind != PST_JSON_TEXT || strncmp(value->text, "-----", 5) != 0)
        return bytes_take(arena, value, false, ret_vcek);
    *ret_vcek = (struct pst_bytes){(const uint8_t *)value->text, value->text_bytes, value->key};
    return PST_OK;
}

int pst_az_evidence_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count,
                          struct pst_az_evidence *ret_evidence, const char **ret_why)
{
    const struct pst_json *json = NULL;
    int rc = pst_json_parse(arena, (const char *)bytes, byte_count, &json, ret_why);
    if (rc != PST_OK)
        return rc;
    memset(ret_evidence, 0, sizeof *ret_evidence);
    const struct pst_json *hcl = any_at(json, "hcl_report"), *quote = pst_json_at(json, "tpm_quote", PST_JSON_MAP),
                          *vcek = any_at(json, "vcek"), *td_quote = any_at(json, "td_quote");
    hcl = hcl != NULL ? hcl : any_at(json, "report");
    quote = quote != NULL ? quote : pst_json_at(json, "quote", PST_JSON_MAP);
    *ret_why = "is JSON, and no evidence that is known: it has no `hcl_report` or `report` that is bytes, or no "
               "`tpm_quote` or "
               "`quote`, or one of its parts is malformed";
    rc = bytes_take(arena, hcl, false, &ret_evidence->hcl);
    if (rc == PST_OK)
        rc = bytes_take(arena, any_at(quote, "message"), true, &ret_evidence->message);
    if (rc == PST_OK)
        rc = bytes_take(arena, any_at(quote, "signature"), true, &ret_evidence->signature);
    if (rc == PST_OK)
        rc = pcrs_take(arena, quote, ret_evidence);
    if (rc == PST_OK && vcek != NULL)
        rc = vcek_take(arena, vcek, &ret_evidence->vcek);
    if (rc == PST_OK && td_quote != NULL)
        rc = bytes_take(arena, td_quote, false, &ret_evidence->td_quote);
    return rc;
}

/* ---- verifying ---- */
/* What the hardware has signed as report data: the hash of the runtime data, then zeros. */
static void runtime_check(struct pst_checking *c, const struct pst_hcl *hcl)
{
    const EVP_MD *const digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    uint8_t digest[64] = {0};
    unsigned int bytes = 0;
    if (EVP_Digest(hcl->runtime, hcl->runtime_bytes, digest, &bytes, digests[hcl->hash - HASH_SHA256], NULL) != 1)
        c->rc = PST_ENOMEM;
    pst_checking_expect(c, hcl->tdx ? "td.report_data" : "report.report_data",
                        CRYPTO_memcmp(digest, c->report->report_data, sizeof digest) == 0,
                        pst_checking_printf(c, "SHA-%s of the runtime data: %s",
                                            hcl->hash == HASH_SHA256   ? "256"
                                            : hcl->hash == HASH_SHA512 ? "512"
                                                                       : "384",
                                            pst_checking_hex(c, digest, sizeof digest)));
}

static bool rsa_good(const struct pst_hcl *hcl, const struct pst_bytes *message, const struct pst_bytes *signature)
{
    EVP_PKEY *key = pst_rsa_key(hcl->modulus, hcl->modulus_bytes, hcl->exponent, hcl->exponent_bytes);
    bool good = pst_rsassa_verify(key, message->bytes, message->count, signature->bytes, signature->count);
    EVP_PKEY_free(key);
    return good;
}

static void pcrs_check(struct pst_checking *c, const struct pst_az_evidence *evidence,
                       const struct pst_tpm_quote *quote)
{
    uint8_t values[PST_PCR_COUNT][PST_SHA256_BYTES];
    memcpy(values, evidence->pcrs, sizeof values);
    pst_tpm_pcrs_verify(c, quote, values, (1u << evidence->pcr_count) - 1);
}

/* The nonce of a TPM's quote is as long as the verifier made it. */
static void nonce_check(struct pst_checking *c, const struct pst_tpm_quote *quote)
{
    const struct pst_evidence_request *request = c->request;
    pst_checking_add(c, "tpm.nonce", PST_CHECK_OPEN, "-", pst_checking_hex(c, quote->nonce, quote->nonce_bytes));
    if (request->nonce != NULL && request->nonce_bytes != quote->nonce_bytes)
        pst_checking_expect(c, "tpm.nonce", false, pst_checking_hex(c, request->nonce, request->nonce_bytes));
    else
        pst_checking_nonce(c, "tpm.nonce", quote->nonce, quote->nonce_bytes);
}

static void tpm_check(struct pst_checking *c, const struct pst_az_evidence *evidence, const struct pst_hcl *hcl)
{
    struct pst_tpm_quote quote;
    const char *why = NULL;
    if (evidence->message.bytes == NULL) { /* an HCL report alone */
        bool wanted = c->request->nonce != NULL || c->policy->nonce || pst_tpm_pcrs_wanted(c->policy);
        pst_checking_add(c, "tpm.quote", wanted ? PST_CHECK_FAILED : PST_CHECK_OPEN, wanted ? "a quote" : "-",
                         "none is in the evidence: nothing is known of PCRs and of when it was made");
        return;
    }
    if (pst_tpm_quote_parse(evidence->message.bytes, evidence->message.count, &quote, &why) != PST_OK) {
        pst_checking_fault(c, c->request->evidence.name, why);
        return;
    }
    bool good = rsa_good(hcl, &evidence->message, &evidence->signature);
    pst_checking_that(c, "tpm.signature", good, "RSASSA with SHA-256 by HCLAkPub of the runtime data",
                      good ? "good" : "not by that key, or over other bytes");
    pcrs_check(c, evidence, &quote);
    nonce_check(c, &quote);
}

static void snp_check(struct pst_checking *c, const struct pst_az_evidence *evidence, const struct pst_hcl *hcl)
{
    const char *why = NULL;
    if (evidence->vcek.bytes != NULL &&
        pst_certificates_parse(evidence->vcek.bytes, evidence->vcek.count, c->certificates, NULL, &why) != PST_OK) {
        pst_checking_fault(c, c->request->evidence.name, pst_checking_printf(c, "has a `vcek` that %s", why));
        return;
    }
    pst_snp_verify(c, hcl->report, c->certificates, false);
    /* The virtual TPM is at VMPL 0; the guest's system is not, and what it has signed could name any key. */
    const uint64_t vmpl = pst_le(hcl->report + PST_SNP_VMPL_OFFSET, 4);
    pst_checking_expect(c, "report.vmpl", vmpl == 0, "0: the level of the virtual TPM");
}

static void tdx_check(struct pst_checking *c, const struct pst_az_evidence *evidence)
{
    struct pst_quote quote;
    const char *why = "is Azure's evidence of TDX without a quote of TDX: nothing in it is signed by hardware";
    if (evidence->td_quote.bytes == NULL ||
        pst_quote_parse(evidence->td_quote.bytes, evidence->td_quote.count, &quote, &why) != PST_OK || !quote.tdx)
        pst_checking_fault(c, c->request->evidence.name, why);
    else
        pst_quote_verify(c, &quote, false);
}

void pst_az_verify(struct pst_checking *c, const struct pst_az_evidence *evidence, const struct pst_hcl *hcl)
{
    if (hcl->tdx)
        tdx_check(c, evidence);
    else
        snp_check(c, evidence, hcl);
    if (c->rc != PST_OK)
        return;
    runtime_check(c, hcl);
    tpm_check(c, evidence, hcl);
}
