/* tpm.c - see tpm.h. Four commands of TPM 2.0 (part 3): CreatePrimary, PCR_Read, Quote, GetCapability. */
#include "enclave_shim/tpm/tpm.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

enum { TURNS_MAX = 8, ROUNDS_MAX = PST_PCR_COUNT, RSA_BITS = 2048, DIGEST_BYTES = 32 };

struct pst_tpm {
    TSS2_TCTI_CONTEXT *transport;
    ESYS_CONTEXT *context;
    const char *address;
    char *why; /* of the call that is under way */
};

/* PST_OK, or the sentence and what it is. */
static int done(struct pst_tpm *tpm, TSS2_RC code, const char *what)
{
    if (code == TSS2_RC_SUCCESS)
        return PST_OK;
    (void)snprintf(tpm->why, PST_TPM_WHY_BYTES, "the TPM at `%.100s` %s: %.120s", tpm->address, what,
                   Tss2_RC_Decode(code));
    return (code & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY ? PST_ENOMEM : PST_EIO;
}

/* ---- the connection ---- */
bool pst_tpm_standard(void) { return access(PST_TPM_DEVICE, R_OK | W_OK) == 0; }

int pst_tpm_open(const char *address, struct pst_tpm **ret_tpm, char ret_why[PST_TPM_WHY_BYTES])
{
    if (address == NULL && access(PST_TPM_DEVICE, F_OK) != 0) {
        (void)snprintf(ret_why, PST_TPM_WHY_BYTES, "there is no TPM: no %s", PST_TPM_DEVICE);
        return PST_EIO;
    }
    struct pst_tpm *tpm = pst_malloc(sizeof *tpm);
    if (tpm == NULL) {
        (void)snprintf(ret_why, PST_TPM_WHY_BYTES, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_ENOMEM;
    }
    *tpm = (struct pst_tpm){.address = address != NULL ? address : "device:" PST_TPM_DEVICE, .why = ret_why};
    (void)setenv("TSS2_LOG", "all+none", 0);
    int rc = done(tpm, Tss2_TctiLdr_Initialize(tpm->address, &tpm->transport), "does not answer");
    if (rc == PST_OK)
        rc = done(tpm, Esys_Initialize(&tpm->context, tpm->transport, NULL), "does not answer");
    if (rc != PST_OK) {
        pst_tpm_close(tpm);
        return rc;
    }
    *ret_tpm = tpm;
    return PST_OK;
}

void pst_tpm_close(struct pst_tpm *tpm)
{
    if (tpm == NULL)
        return;
    if (tpm->context != NULL)
        Esys_Finalize(&tpm->context);
    if (tpm->transport != NULL)
        Tss2_TctiLdr_Finalize(&tpm->transport);
    pst_free(tpm);
}

/* ---- the attestation key ---- */
static TPM2B_PUBLIC template_of(pst_tpm_key kind)
{
    TPM2B_PUBLIC public = {.publicArea = {.type = kind == PST_TPM_KEY_RSA ? TPM2_ALG_RSA : TPM2_ALG_ECC,
                                          .nameAlg = TPM2_ALG_SHA256,
                                          .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                                              TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                                              TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_RESTRICTED |
                                                              TPMA_OBJECT_SIGN_ENCRYPT}};
    if (kind == PST_TPM_KEY_RSA) {
        TPMS_RSA_PARMS *rsa = &public.publicArea.parameters.rsaDetail;
        rsa->symmetric.algorithm = TPM2_ALG_NULL;
        rsa->scheme.scheme = TPM2_ALG_RSASSA;
        rsa->scheme.details.rsassa.hashAlg = TPM2_ALG_SHA256;
        rsa->keyBits = RSA_BITS;
    } else {
        TPMS_ECC_PARMS *ecc = &public.publicArea.parameters.eccDetail;
        ecc->symmetric.algorithm = TPM2_ALG_NULL;
        ecc->scheme.scheme = TPM2_ALG_ECDSA;
        ecc->scheme.details.ecdsa.hashAlg = TPM2_ALG_SHA256;
        ecc->curveID = TPM2_ECC_NIST_P256;
        ecc->kdf.scheme = TPM2_ALG_NULL;
    }
    return public;
}

static int key_make(struct pst_tpm *tpm, pst_tpm_key kind, ESYS_TR *ret_key, TPM2B_PUBLIC **ret_public)
{
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION none = {0};
    const TPM2B_PUBLIC template = template_of(kind);
    return done(tpm,
                Esys_CreatePrimary(tpm->context, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                   &sensitive, &template, &outside, &none, ret_key, ret_public, NULL, NULL, NULL),
                kind == PST_TPM_KEY_RSA ? "makes no attestation key of RSA" : "makes no attestation key of ECDSA");
}

/* ---- PCRs ---- */
static TPML_PCR_SELECTION selection_of(uint32_t pcrs)
{
    TPML_PCR_SELECTION selection = {.count = 1};
    TPMS_PCR_SELECTION *bank = &selection.pcrSelections[0];
    bank->hash = TPM2_ALG_SHA256;
    bank->sizeofSelect = 3;
    for (uint32_t i = 0; i < 3; i++)
        bank->pcrSelect[i] = (BYTE)(pcrs >> (8 * i));
    return selection;
}

static uint32_t selected(const TPML_PCR_SELECTION *selection)
{
    uint32_t pcrs = 0;
    for (uint32_t i = 0; i < selection->count && i < TPM2_NUM_PCR_BANKS; i++) {
        const TPMS_PCR_SELECTION *bank = &selection->pcrSelections[i];
        for (uint32_t byte = 0; bank->hash == TPM2_ALG_SHA256 && byte < bank->sizeofSelect && byte < 3; byte++)
            pcrs |= (uint32_t)bank->pcrSelect[byte] << (8 * byte);
    }
    return pcrs;
}

/* What one answer holds: the values of the PCRs that it names, the lowest number first. */
static int values_take(const TPML_DIGEST *digests, uint32_t got, uint8_t values[PST_PCR_COUNT][DIGEST_BYTES])
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++) {
        if ((got >> i & 1) == 0)
            continue;
        if (taken == digests->count || digests->digests[taken].size != DIGEST_BYTES)
            return PST_EIO;
        memcpy(values[i], digests->digests[taken++].buffer, DIGEST_BYTES);
    }
    return taken == digests->count && taken != 0 ? PST_OK : PST_EIO;
}

/* A TPM gives eight at a time. */
static int pcrs_read(struct pst_tpm *tpm, uint32_t pcrs, uint8_t values[PST_PCR_COUNT][DIGEST_BYTES])
{
    uint32_t left = pcrs;
    int rc = PST_OK;
    for (uint32_t round = 0; round < ROUNDS_MAX && left != 0 && rc == PST_OK; round++) {
        const TPML_PCR_SELECTION wanted = selection_of(left);
        TPML_PCR_SELECTION *given = NULL;
        TPML_DIGEST *digests = NULL;
        rc = done(
            tpm, Esys_PCR_Read(tpm->context, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &wanted, NULL, &given, &digests),
            "does not tell its PCRs");
        uint32_t got = rc == PST_OK ? selected(given) & left : 0;
        if (rc == PST_OK && values_take(digests, got, values) != PST_OK) {
            (void)snprintf(tpm->why, PST_TPM_WHY_BYTES,
                           "the TPM at `%.100s` has no PCRs of SHA-256 that were asked for", tpm->address);
            rc = PST_EIO;
        }
        left &= ~got;
        Esys_Free(given);
        Esys_Free(digests);
    }
    return rc;
}

/* ---- what it is ---- */
/* Four characters of a property, those that can be printed. */
static size_t letters_put(uint32_t value, char *ret_text)
{
    size_t count = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        char letter = (char)(value >> shift & 0xff);
        if (letter > ' ' && letter <= '~') /* strings are filled up with spaces */
            ret_text[count++] = letter;
    }
    ret_text[count] = '\0';
    return count;
}

int pst_tpm_describe(struct pst_tpm *tpm, char ret_text[PST_TPM_TEXT_BYTES], char ret_why[PST_TPM_WHY_BYTES])
{
    TPMS_CAPABILITY_DATA *data = NULL;
    char maker[8] = "?", vendor[24] = "";
    uint32_t firmware[2] = {0};
    size_t vendor_bytes = 0;
    uint8_t values[PST_PCR_COUNT][DIGEST_BYTES];
    tpm->why = ret_why;
    int rc = pcrs_read(tpm, 1, values); /* one in failure mode still tells who has made it */
    if (rc == PST_OK)
        rc = done(tpm,
                  Esys_GetCapability(tpm->context, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES,
                                     TPM2_PT_MANUFACTURER, TPM2_PT_FIRMWARE_VERSION_2 - TPM2_PT_MANUFACTURER + 1, NULL,
                                     &data),
                  "does not answer");
    for (uint32_t i = 0; rc == PST_OK && i < data->data.tpmProperties.count; i++) {
        const TPMS_TAGGED_PROPERTY *property = &data->data.tpmProperties.tpmProperty[i];
        if (property->property == TPM2_PT_MANUFACTURER)
            (void)letters_put(property->value, maker);
        else if (property->property >= TPM2_PT_VENDOR_STRING_1 && property->property <= TPM2_PT_VENDOR_STRING_4 &&
                 vendor_bytes + 5 <= sizeof vendor)
            vendor_bytes += letters_put(property->value, vendor + vendor_bytes);
        else if (property->property == TPM2_PT_FIRMWARE_VERSION_1 || property->property == TPM2_PT_FIRMWARE_VERSION_2)
            firmware[property->property - TPM2_PT_FIRMWARE_VERSION_1] = property->value;
    }
    Esys_Free(data);
    if (rc == PST_OK)
        (void)snprintf(ret_text, PST_TPM_TEXT_BYTES, "%s, %s, firmware %08x%08x", maker, vendor, firmware[0],
                       firmware[1]);
    return rc;
}

/* ---- the quote ---- */
struct quoted { /* as bytes */
    uint8_t public[PST_TPM_PART_BYTES_MAX], signature[PST_TPM_PART_BYTES_MAX], attest[PST_TPM_PART_BYTES_MAX];
    size_t public_bytes, signature_bytes, attest_bytes;
    uint8_t pcrs[PST_PCR_COUNT * DIGEST_BYTES];
    uint32_t pcr_count;
};

static int quote_once(struct pst_tpm *tpm, ESYS_TR key, uint32_t pcrs, const uint8_t data[32], struct quoted *quoted)
{
    TPM2B_DATA qualifying = {.size = 32};
    const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL}; /* the key's own */
    const TPML_PCR_SELECTION selection = selection_of(pcrs);
    TPM2B_ATTEST *attest = NULL;
    TPMT_SIGNATURE *signature = NULL;
    memcpy(qualifying.buffer, data, 32);
    int rc = done(tpm,
                  Esys_Quote(tpm->context, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &qualifying, &scheme,
                             &selection, &attest, &signature),
                  "gives no quote");
    quoted->signature_bytes = 0;
    if (rc == PST_OK)
        rc = done(tpm,
                  Tss2_MU_TPMT_SIGNATURE_Marshal(signature, quoted->signature, sizeof quoted->signature,
                                                 &quoted->signature_bytes),
                  "has made a signature that is too large");
    if (rc == PST_OK && attest->size <= sizeof quoted->attest) {
        memcpy(quoted->attest, attest->attestationData, attest->size);
        quoted->attest_bytes = attest->size;
    }
    Esys_Free(attest);
    Esys_Free(signature);
    return rc;
}

/* Do the values belong to the quote? Its digest stands at its end. */
static bool agree(const struct quoted *quoted)
{
    uint8_t digest[DIGEST_BYTES];
    unsigned int bytes = 0;
    return quoted->attest_bytes >= DIGEST_BYTES &&
           EVP_Digest(quoted->pcrs, (size_t)quoted->pcr_count * DIGEST_BYTES, digest, &bytes, EVP_sha256(), NULL) ==
               1 &&
           memcmp(digest, quoted->attest + quoted->attest_bytes - DIGEST_BYTES, DIGEST_BYTES) == 0;
}

static int quote_turns(struct pst_tpm *tpm, ESYS_TR key, uint32_t pcrs, const uint8_t data[32], struct quoted *quoted)
{
    uint8_t values[PST_PCR_COUNT][DIGEST_BYTES];
    for (uint32_t turn = 0; turn < TURNS_MAX; turn++) {
        int rc = pcrs_read(tpm, pcrs, values);
        if (rc == PST_OK)
            rc = quote_once(tpm, key, pcrs, data, quoted);
        if (rc != PST_OK)
            return rc;
        quoted->pcr_count = 0;
        for (uint32_t i = 0; i < PST_PCR_COUNT; i++)
            if ((pcrs >> i & 1) != 0)
                memcpy(quoted->pcrs + (size_t)DIGEST_BYTES * quoted->pcr_count++, values[i], DIGEST_BYTES);
        if (agree(quoted))
            return PST_OK;
    }
    (void)snprintf(tpm->why, PST_TPM_WHY_BYTES, "the TPM at `%.100s` has other PCRs each time they are read",
                   tpm->address);
    return PST_ETIMEOUT;
}

int pst_tpm_quote(struct pst_tpm *tpm, pst_tpm_key kind, uint32_t pcrs, const uint8_t node_key[32],
                  const uint8_t nonce[64], uint8_t ret_bytes[PST_TPM_EVIDENCE_BYTES_MAX], size_t *ret_count,
                  char ret_why[PST_TPM_WHY_BYTES])
{
    struct quoted quoted = {.public_bytes = 0};
    TPM2B_PUBLIC *public = NULL;
    ESYS_TR key = ESYS_TR_NONE;
    uint8_t data[32];
    tpm->why = ret_why;
    int rc = pst_tpm_qualifying_data(node_key, nonce, data);
    if (rc != PST_OK) {
        (void)snprintf(ret_why, PST_TPM_WHY_BYTES, "%s", pst_error_sentence(rc));
        return rc;
    }
    rc = key_make(tpm, kind, &key, &public);
    if (rc != PST_OK)
        return rc;
    rc = done(
        tpm,
        Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, quoted.public, sizeof quoted.public, &quoted.public_bytes),
        "has made a key that is too large");
    if (rc == PST_OK)
        rc = quote_turns(tpm, key, pcrs, data, &quoted);
    const TSS2_RC flushed =
        Esys_FlushContext(tpm->context, key); /* a key left there takes room of all that use the TPM */
    if (rc == PST_OK)
        rc = done(tpm, flushed, "does not give up the attestation key");
    Esys_Free(public);
    struct pst_tpm_evidence evidence = {.public = {quoted.public, quoted.public_bytes, NULL},
                                        .attest = {quoted.attest, quoted.attest_bytes, NULL},
                                        .signature = {quoted.signature, quoted.signature_bytes, NULL},
                                        .pcrs = quoted.pcrs,
                                        .pcr_count = quoted.pcr_count};
    memcpy(evidence.node_key, node_key, sizeof evidence.node_key);
    memcpy(evidence.nonce, nonce, sizeof evidence.nonce);
    if (rc != PST_OK)
        return rc;
    rc = pst_tpm_evidence_put(&evidence, ret_bytes, ret_count);
    if (rc != PST_OK)
        (void)snprintf(ret_why, PST_TPM_WHY_BYTES, "the TPM at `%.100s` has made a quote that is too large",
                       tpm->address);
    return rc;
}
