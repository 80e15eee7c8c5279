/* intel.c - quotes of SGX and TDX verified: attestation key, quoting enclave, PCK, and what Intel says of the platform.
 *
 * Sources: Intel, "TDX DCAP Quoting Library API" and "SGX ECDSA QuoteGenReference"; Intel SGX PCK certificate and CRL specification;
 * how TCB levels are matched, and how the statuses of platform, module and QE come together: api.portal.trustedservices.intel.com,
 * "TCB info" and "Enclave identity", and Intel's quote verification library. */
#include "enclave_shim/attestation/inside.h"

#include <openssl/asn1t.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

enum {
    MISCSELECT = 16,
    ATTRIBUTES = 48,
    MR_ENCLAVE = 64,
    MR_SIGNER = 128,
    ISV_PROD_ID = 256,
    ISV_SVN = 258,
    REPORT_DATA = 320,
    TD_MR_SEAM_SIGNER = 64,
    TD_SEAM_ATTRIBUTES = 112,
    TD_ATTRIBUTES = 120,
    TD_MIGRATABLE = 29, /* a bit of these */
    TD_MR = 136,
    TD_MR_CONFIG = 184,
    TD_RTMR = 328,
    TD_REPORT_DATA = 520,
    DAY_S = 86400,
};

/* ---- the SGX extension of a PCK's certificate ---- */
#define SGX_EXTENSION "1.2.840.113741.1.13.1"

static bool oid_is(const ASN1_TYPE *type, const char *text)
{
    char oid[64];
    return type != NULL && type->type == V_ASN1_OBJECT && OBJ_obj2txt(oid, sizeof oid, type->value.object, 1) > 0 &&
           strcmp(oid, text) == 0;
}

/* The sequence that `bytes` are, all of them; NULL: none. */
static ASN1_SEQUENCE_ANY *sequence_read(const uint8_t *bytes, size_t byte_count)
{
    const unsigned char *at = bytes;
    ASN1_SEQUENCE_ANY *sequence = byte_count <= 65536 ? d2i_ASN1_SEQUENCE_ANY(NULL, &at, (long)byte_count) : NULL;
    if (sequence != NULL && at != bytes + byte_count) {
        sk_ASN1_TYPE_pop_free(sequence, ASN1_TYPE_free);
        return NULL;
    }
    return sequence;
}

typedef bool (*member_fn)(const ASN1_TYPE *name, const ASN1_TYPE *value, struct pst_pck *pck, uint32_t *seen);

/* A sequence of sequences of a name and a value. */
static bool members_each(const uint8_t *bytes, size_t byte_count, member_fn member, struct pst_pck *pck, uint32_t *seen)
{
    ASN1_SEQUENCE_ANY *all = sequence_read(bytes, byte_count);
    bool good = all != NULL;
    for (int i = 0; good && i < sk_ASN1_TYPE_num(all); i++) {
        const ASN1_TYPE *one = sk_ASN1_TYPE_value(all, i);
        ASN1_SEQUENCE_ANY *pair = one->type == V_ASN1_SEQUENCE
                                      ? sequence_read(one->value.sequence->data, (size_t)one->value.sequence->length)
                                      : NULL;
        good =
            sk_ASN1_TYPE_num(pair) == 2 && member(sk_ASN1_TYPE_value(pair, 0), sk_ASN1_TYPE_value(pair, 1), pck, seen);
        sk_ASN1_TYPE_pop_free(pair, ASN1_TYPE_free);
    }
    sk_ASN1_TYPE_pop_free(all, ASN1_TYPE_free);
    return good;
}

static bool octets(const ASN1_TYPE *value, uint8_t *ret_bytes, int byte_count)
{
    if (value->type != V_ASN1_OCTET_STRING || value->value.octet_string->length != byte_count)
        return false;
    memcpy(ret_bytes, value->value.octet_string->data, (size_t)byte_count);
    return true;
}

/* Each bit of `seen` once. */
static bool first_time(uint32_t *seen, uint32_t bit)
{
    bool first = (*seen >> bit & 1) == 0;
    *seen |= 1u << bit;
    return first;
}

static bool tcb_member(const ASN1_TYPE *name, const ASN1_TYPE *value, struct pst_pck *pck, uint32_t *seen)
{
    char oid[sizeof SGX_EXTENSION ".2.17"];
    for (uint32_t i = 1; i <= 17; i++) {
        int64_t number = 0;
        (void)BIO_snprintf(oid, sizeof oid, SGX_EXTENSION ".2.%u", i);
        if (!oid_is(name, oid))
            continue;
        if (value->type != V_ASN1_INTEGER || ASN1_INTEGER_get_int64(&number, value->value.integer) != 1 || number < 0 ||
            number > (i == 17 ? UINT16_MAX : UINT8_MAX))
            return false;
        if (i == 17)
            pck->pce_svn = (uint16_t)number;
        else
            pck->components[i - 1] = (uint8_t)number;
        return first_time(seen, i);
    }
    return true; /* 18 is CPUSVN, which says the same in a form that is the processor's own */
}

static bool top_member(const ASN1_TYPE *name, const ASN1_TYPE *value, struct pst_pck *pck, uint32_t *seen)
{
    if (oid_is(name, SGX_EXTENSION ".2"))
        return value->type == V_ASN1_SEQUENCE && first_time(seen, 0) &&
               members_each(value->value.sequence->data, (size_t)value->value.sequence->length, tcb_member, pck, seen);
    if (oid_is(name, SGX_EXTENSION ".3"))
        return octets(value, pck->pce_id, sizeof pck->pce_id) && first_time(seen, 18);
    if (oid_is(name, SGX_EXTENSION ".4"))
        return octets(value, pck->fmspc, sizeof pck->fmspc) && first_time(seen, 19);
    return true;
}

int pst_pck_parse(X509 *certificate, struct pst_pck *ret_pck, const char **ret_why)
{
    size_t byte_count = 0;
    uint32_t seen = 0;
    struct pst_pck pck = {0};
    const uint8_t *bytes = pst_certificate_extension(certificate, SGX_EXTENSION, &byte_count);
    *ret_why = "its SGX extension is missing or malformed";
    bool good = bytes != NULL && members_each(bytes, byte_count, top_member, &pck, &seen);
    ERR_clear_error();
    if (!good || seen != (1u << 20) - 1)
        return PST_EDATA;
    *ret_pck = pck;
    return PST_OK;
}

/* ---- texts that Intel has signed ---- */
/* The window of time of one piece of collateral, and of all of it. */
static void window_check(struct pst_checking *c, const char *name, int64_t from_s, int64_t until_s)
{
    char from[PST_TIME_TEXT_BYTES], until[PST_TIME_TEXT_BYTES], at[PST_TIME_TEXT_BYTES];
    struct pst_evidence_report *report = c->report;
    pst_time_print(from_s, from);
    pst_time_print(until_s, until);
    pst_time_print(c->request->at_s, at);
    pst_checking_that(c, pst_checking_printf(c, "collateral.%s.time", name),
                      from_s <= c->request->at_s && c->request->at_s <= until_s,
                      pst_checking_printf(c, "good at %s", at), pst_checking_printf(c, "%s to %s", from, until));
    if (!report->collateral || from_s < report->collateral_from_s)
        report->collateral_from_s = from_s;
    if (!report->collateral || until_s < report->collateral_until_s)
        report->collateral_until_s = until_s;
    report->collateral = true;
}

/* One key signs all of it, under the root alone: no PCK's can, which also hangs below that root. */
static bool signed_check(struct pst_checking *c, const char *name, const struct pst_signed_text *text,
                         STACK_OF(X509_CRL) * crls)
{
    static const char *const roles[] = {"tcb_signing", "root_ca", NULL};
    STACK_OF(X509) *certificates = sk_X509_new_null();
    X509 *root = NULL;
    const char *why = NULL;
    bool good = false;
    if (certificates == NULL)
        c->rc = PST_ENOMEM;
    else if (pst_certificates_parse((const uint8_t *)text->chain->text, text->chain->text_bytes, certificates, NULL,
                                    &why) != PST_OK ||
             sk_X509_num(certificates) == 0)
        pst_checking_that(c, pst_checking_printf(c, "chain.%s", name), false, "certificates in PEM",
                          why != NULL ? why : "none");
    else {
        X509 *leaf = sk_X509_value(certificates, 0);
        struct pst_chain chain = {.name = name,
                                  .roles = roles,
                                  .vendor = PST_VENDOR_INTEL,
                                  .leaf = leaf,
                                  .others = certificates,
                                  .crls = crls,
                                  .crls_wanted = true};
        bool named = pst_certificate_name_is(leaf, "Intel SGX TCB Signing");
        good = pst_chain_verify(c, &chain, &root);
        good &= pst_ecdsa_verify(X509_get0_pubkey(leaf), "P-256", EVP_sha256(), (const uint8_t *)text->text,
                                 text->text_bytes, text->signature, text->signature + 32, 32);
        good &= named;
        pst_checking_that(c, pst_checking_printf(c, "collateral.%s.signature", name), good,
                          "ECDSA P-256 with SHA-256 by Intel SGX TCB Signing",
                          good    ? "good"
                          : named ? "not by that key, or over other bytes"
                                  : pst_certificate_name(c, leaf));
    }
    sk_X509_pop_free(certificates, X509_free);
    return good;
}

/* ---- levels ---- */
static bool at_least(const uint8_t *actual, const uint8_t *level, uint32_t from, uint32_t count)
{
    bool good = true;
    for (uint32_t i = from; i < count; i++)
        good &= actual[i] >= level[i];
    return good;
}

/* Levels go from the highest down: the first that the platform reaches in every component is its own. */
static pst_tcb_status platform_status(const struct pst_tcb_info *info, const struct pst_pck *pck,
                                      const uint8_t *tdx_svn)
{
    for (uint32_t i = 0; i < info->levels.count; i++) {
        const struct pst_tcb_level *level = &info->levels.levels[i];
        bool good = at_least(pck->components, level->sgx, 0, 16) && pck->pce_svn >= level->svn;
        /* Where the module has a version, its own identity tells of the first two. */
        if (good && tdx_svn != NULL)
            good = at_least(tdx_svn, level->tdx, tdx_svn[1] > 0 ? 2 : 0, 16);
        if (good)
            return level->status;
    }
    return PST_TCB_NOT_SUPPORTED;
}

static pst_tcb_status svn_status(const struct pst_tcb_levels *levels, uint32_t svn)
{
    for (uint32_t i = 0; i < levels->count; i++)
        if (svn >= levels->levels[i].svn)
            return levels->levels[i].status;
    return PST_TCB_NOT_SUPPORTED;
}

/* What the platform's status becomes where the QE or the TDX module has this one. */
static pst_tcb_status status_join(pst_tcb_status platform, pst_tcb_status part)
{
    if (platform == PST_TCB_REVOKED || part == PST_TCB_REVOKED)
        return PST_TCB_REVOKED;
    if (platform == PST_TCB_NOT_SUPPORTED || part == PST_TCB_NOT_SUPPORTED)
        return PST_TCB_NOT_SUPPORTED;
    if (part == PST_TCB_UP_TO_DATE)
        return platform;
    if (part != PST_TCB_OUT_OF_DATE)
        return platform == PST_TCB_UP_TO_DATE ? part : PST_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
    if (platform == PST_TCB_UP_TO_DATE || platform == PST_TCB_SW_HARDENING_NEEDED || platform == PST_TCB_OUT_OF_DATE)
        return PST_TCB_OUT_OF_DATE;
    return PST_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
}

static void masked_check(struct pst_checking *c, const char *name, const uint8_t *actual, const uint8_t *mask,
                         const uint8_t *expected, uint32_t byte_count)
{
    uint8_t masked[16];
    PST_ASSERT(byte_count <= sizeof masked);
    for (uint32_t i = 0; i < byte_count; i++)
        masked[i] = actual[i] & mask[i];
    pst_checking_equal(c, name, expected, masked, byte_count);
}

static pst_tcb_status module_check(struct pst_checking *c, const struct pst_tcb_info *info, const uint8_t *td)
{
    const uint32_t version = td[1]; /* TEE_TCB_SVN: of the module its SVN, and its major version */
    const struct pst_tdx_module *module = NULL;
    for (uint32_t i = 0; i < info->module_count; i++)
        if (info->modules[i].version == version)
            module = &info->modules[i];
    pst_checking_that(c, "module.identity", module != NULL, pst_checking_printf(c, "TDX_%02x in the TCB info", version),
                      module != NULL ? "there" : "not there");
    if (module == NULL)
        return PST_TCB_NOT_SUPPORTED;
    pst_checking_equal(c, "module.signer", module->signer, td + TD_MR_SEAM_SIGNER, 48);
    masked_check(c, "module.attributes", td + TD_SEAM_ATTRIBUTES, module->attributes_mask, module->attributes, 8);
    pst_tcb_status status = version > 0 ? svn_status(&module->levels, td[0]) : PST_TCB_UP_TO_DATE;
    pst_checking_add(c, "module.tcb_status", PST_CHECK_OPEN, "-", pst_tcb_status_name(status));
    return status;
}

static pst_tcb_status qe_check(struct pst_checking *c, const struct pst_qe_identity *identity, const uint8_t *qe)
{
    masked_check(c, "qe.miscselect", qe + MISCSELECT, identity->miscselect_mask, identity->miscselect, 4);
    masked_check(c, "qe.attributes", qe + ATTRIBUTES, identity->attributes_mask, identity->attributes, 16);
    pst_checking_equal(c, "qe.mr_signer", identity->signer, qe + MR_SIGNER, 32);
    pst_checking_that(c, "qe.isv_prod_id", pst_le(qe + ISV_PROD_ID, 2) == identity->product,
                      pst_checking_printf(c, "%u", identity->product),
                      pst_checking_printf(c, "%u", (unsigned)pst_le(qe + ISV_PROD_ID, 2)));
    pst_tcb_status status = svn_status(&identity->levels, (uint32_t)pst_le(qe + ISV_SVN, 2));
    pst_checking_add(c, "qe.tcb_status", PST_CHECK_OPEN, "-", pst_tcb_status_name(status));
    return status;
}

/* Where no identity is given: who has signed Intel's quoting enclaves, and which of his products they are. */
static void qe_builtin_check(struct pst_checking *c, const struct pst_quote *quote)
{
    static const struct {
        const char *signer;
        uint32_t product;
    } qes[2] = {{"8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff", 1},
                {"dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5", 2}};
    uint8_t signer[32];
    PST_ASSERT(pst_hex_parse(qes[quote->tdx].signer, 2 * sizeof signer, signer));
    pst_checking_equal(c, "qe.mr_signer", signer, quote->qe_report + MR_SIGNER, sizeof signer);
    pst_checking_that(c, "qe.isv_prod_id", pst_le(quote->qe_report + ISV_PROD_ID, 2) == qes[quote->tdx].product,
                      pst_checking_printf(c, "%u", qes[quote->tdx].product),
                      pst_checking_printf(c, "%u", (unsigned)pst_le(quote->qe_report + ISV_PROD_ID, 2)));
}

/* The TDX module too: zeros are what Intel's own has for signer and attributes (TDX module base specification, TEE_TCB_INFO). */
static void module_builtin_check(struct pst_checking *c, const uint8_t *td)
{
    static const uint8_t intels[48];
    pst_checking_equal(c, "module.signer", intels, td + TD_MR_SEAM_SIGNER, sizeof intels);
    pst_checking_equal(c, "module.attributes", intels, td + TD_SEAM_ATTRIBUTES, 8);
}

static void status_check(struct pst_checking *c, pst_tcb_status status)
{
    const char *expected = "";
    for (uint32_t i = 0; i < PST_TCB_STATUS_COUNT; i++)
        if ((c->policy->tcb_statuses >> i & 1) != 0)
            expected =
                pst_checking_printf(c, "%s%s%s", expected, *expected == '\0' ? "" : ", ", pst_tcb_status_names[i]);
    bool good = status < PST_TCB_STATUS_COUNT && (c->policy->tcb_statuses >> status & 1) != 0;
    pst_checking_that(c, "tcb.status", good, expected, pst_tcb_status_name(status));
}

static void age_check(struct pst_checking *c)
{
    int64_t age_s = c->request->at_s - c->report->collateral_from_s, days = c->policy->collateral_age_days_max;
    pst_checking_that(c, "collateral.age", age_s <= days * DAY_S,
                      pst_checking_printf(c, "%lld days at most", (long long)days),
                      pst_checking_printf(c, "%lld days", (long long)(age_s / DAY_S)));
}

/* What was signed is read only once it is known to be signed. */
static pst_tcb_status levels_check(struct pst_checking *c, const struct pst_collateral *collateral,
                                   const struct pst_quote *quote, const struct pst_pck *pck)
{
    struct pst_arena *arena = &c->report->arena;
    struct pst_tcb_info info;
    struct pst_qe_identity identity;
    const char *why = NULL;
    int rc = pst_tcb_info_parse(arena, collateral->tcb_info.text, collateral->tcb_info.text_bytes, &info, &why);
    if (rc == PST_OK)
        rc = pst_qe_identity_parse(arena, collateral->qe_identity.text, collateral->qe_identity.text_bytes, &identity,
                                   &why);
    if (rc != PST_OK) {
        if (rc == PST_EDATA)
            pst_checking_fault(c, c->request->collateral.name, why);
        else
            c->rc = rc;
        return PST_TCB_NOT_SUPPORTED;
    }
    window_check(c, "tcb_info", info.from_s, info.until_s);
    window_check(c, "qe_identity", identity.from_s, identity.until_s);
    uint64_t evaluation = info.evaluation < identity.evaluation ? info.evaluation : identity.evaluation;
    pst_checking_add(c, "collateral.evaluation", PST_CHECK_OPEN, "-",
                     pst_checking_printf(c, "%llu", (unsigned long long)evaluation));
    pst_checking_number_min(c, "collateral.evaluation", c->policy->tcb_evaluation_min, evaluation);
    pst_checking_that(c, "collateral.tee", info.tdx == quote->tdx && identity.tdx == quote->tdx,
                      quote->tdx ? "TDX and TD_QE" : "SGX and QE",
                      pst_checking_printf(c, "%s and %s", info.tdx ? "TDX" : "SGX", identity.tdx ? "TD_QE" : "QE"));
    pst_checking_equal(c, "collateral.fmspc", info.fmspc, pck->fmspc, sizeof pck->fmspc);
    pst_checking_equal(c, "collateral.pce_id", info.pce_id, pck->pce_id, sizeof pck->pce_id);
    if (info.tdx != quote->tdx)
        return PST_TCB_NOT_SUPPORTED;
    pst_tcb_status status = platform_status(&info, pck, quote->tdx ? quote->body : NULL);
    pst_checking_add(c, "platform.tcb_status", PST_CHECK_OPEN, "-", pst_tcb_status_name(status));
    if (quote->tdx)
        status = status_join(status, module_check(c, &info, quote->body));
    return status_join(status, qe_check(c, &identity, quote->qe_report));
}

/* ---- keys ---- */
static void crls_add(struct pst_checking *c, const struct pst_collateral *collateral, STACK_OF(X509_CRL) * crls,
                     STACK_OF(X509) * certificates)
{
    const char *why = NULL;
    for (int i = 0; i < 2 && collateral != NULL && c->rc == PST_OK; i++)
        if (pst_certificates_parse(collateral->crls[i].bytes, collateral->crls[i].count, certificates, crls, &why) !=
            PST_OK)
            pst_checking_fault(c, c->request->collateral.name,
                               pst_checking_printf(c, "has a CRL that is none: it %s", why));
    for (int i = 0; i < sk_X509_CRL_num(c->crls) && c->rc == PST_OK; i++) {
        X509_CRL *crl = sk_X509_CRL_value(c->crls, i);
        if (X509_CRL_up_ref(crl) != 1 || sk_X509_CRL_push(crls, crl) <= 0)
            c->rc = PST_ENOMEM;
    }
}

/* Lists of revoked certificates may be older than the rest; whether each is in its time is a matter of the chains. */
static int64_t seconds_of(const ASN1_TIME *time, int64_t otherwise)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool known = time != NULL && epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    return known ? (int64_t)days * DAY_S + seconds : otherwise;
}

static void crls_window(struct pst_checking *c, STACK_OF(X509_CRL) * crls)
{
    struct pst_evidence_report *report = c->report;
    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        const X509_CRL *crl = sk_X509_CRL_value(crls, i);
        int64_t until_s = seconds_of(X509_CRL_get0_nextUpdate(crl), report->collateral_until_s);
        report->collateral_until_s = until_s < report->collateral_until_s ? until_s : report->collateral_until_s;
    }
}

static bool pck_chain_check(struct pst_checking *c, STACK_OF(X509) * certificates, STACK_OF(X509_CRL) * crls,
                            bool crls_wanted)
{
    static const char *const roles[] = {"pck", "pck_ca", "root_ca", NULL};
    X509 *root = NULL;
    struct pst_chain chain = {.name = "quote",
                              .roles = roles,
                              .vendor = PST_VENDOR_INTEL,
                              .leaf = sk_X509_value(certificates, 0),
                              .others = certificates,
                              .crls = crls,
                              .crls_wanted = crls_wanted};
    return pst_chain_verify(c, &chain, &root);
}

/* From the PCK down: it signs the QE's report, which names the attestation key, which signs the quote. */
static void signatures_check(struct pst_checking *c, const struct pst_quote *quote, X509 *pck)
{
    static const char expected[] = "ECDSA P-256 with SHA-256 by that key";
    uint8_t digest[64] = {0};
    uint8_t hashed[64 + UINT16_MAX];
    bool qe_good = pst_ecdsa_verify(X509_get0_pubkey(pck), "P-256", EVP_sha256(), quote->qe_report,
                                    PST_ENCLAVE_REPORT_BYTES, quote->qe_signature, quote->qe_signature + 32, 32);
    pst_checking_that(c, "qe.signature", qe_good, "ECDSA P-256 with SHA-256 by the PCK",
                      qe_good ? "good" : "not by that key, or over other bytes");
    PST_ASSERT(quote->auth_bytes <= UINT16_MAX);
    memcpy(hashed, quote->key, 64);
    memcpy(hashed + 64, quote->auth, quote->auth_bytes);
    if (!pst_sha256(hashed, 64 + quote->auth_bytes, digest))
        c->rc = PST_ENOMEM;
    pst_checking_equal(c, "qe.report_data", digest, quote->qe_report + REPORT_DATA, sizeof digest);
    EVP_PKEY *key = pst_p256_key(quote->key);
    bool good = key != NULL && pst_ecdsa_verify(key, "P-256", EVP_sha256(), quote->bytes, quote->signed_bytes,
                                                quote->signature, quote->signature + 32, 32);
    EVP_PKEY_free(key);
    pst_checking_that(c, "quote.signature", good, expected, good ? "good" : "not by that key, or over other bytes");
    c->signatures_good += good && qe_good;
}

/* ---- what stands in the quote ---- */
static void enclave_check(struct pst_checking *c, const struct pst_quote *quote, bool nonce)
{
    const uint8_t *body = quote->body;
    pst_checking_fields(c, pst_enclave_fields, pst_enclave_field_count, body);
    pst_checking_debug(c, "enclave.attributes.debug", (body[ATTRIBUTES] & 2) != 0);
    pst_checking_digests(c, "enclave.mr_enclave", &c->policy->measurements, body + MR_ENCLAVE, 32);
    pst_checking_digests(c, "enclave.mr_signer", &c->policy->signers, body + MR_SIGNER, 32);
    pst_checking_number_min(c, "enclave.isv_svn", c->policy->svn_min, pst_le(body + ISV_SVN, 2));
    if (nonce)
        pst_checking_nonce(c, "enclave.report_data", body + REPORT_DATA, 64);
    c->report->measurement.byte_count = 32;
    memcpy(c->report->measurement.bytes, body + MR_ENCLAVE, 32);
    memcpy(c->report->report_data, body + REPORT_DATA, 64);
}

static void td_check(struct pst_checking *c, const struct pst_quote *quote, bool nonce)
{
    const uint8_t *body = quote->body;
    const struct pst_attestation_policy *policy = c->policy;
    pst_checking_fields(c, pst_td_fields,
                        quote->body_bytes == PST_TD_REPORT15_BYTES ? pst_td15_field_count : pst_td_field_count, body);
    /* TUD, the first eight bits: debug, and profilers that look in as well. */
    pst_checking_debug(c, "td.td_attributes.debug", body[TD_ATTRIBUTES] != 0);
    const bool moves = (pst_le(body + TD_ATTRIBUTES, 8) >> TD_MIGRATABLE & 1) != 0;
    pst_checking_that(c, "td.td_attributes.migratable", !moves, "off: no other TD gets its memory's keys",
                      moves ? "on" : "off");
    pst_checking_digests(c, "td.mr_td", &policy->measurements, body + TD_MR, 48);
    pst_checking_digests(c, "td.mr_config_id", &policy->host_data, body + TD_MR_CONFIG, 48);
    pst_checking_digests(c, "td.rtmr0", &policy->rtmr0, body + TD_RTMR, 48);
    pst_checking_digests(c, "td.rtmr1", &policy->rtmr1, body + TD_RTMR + 48, 48);
    pst_checking_digests(c, "td.rtmr2", &policy->rtmr2, body + TD_RTMR + 96, 48);
    pst_checking_digests(c, "td.rtmr3", &policy->rtmr3, body + TD_RTMR + 144, 48);
    if (nonce)
        pst_checking_nonce(c, "td.report_data", body + TD_REPORT_DATA, 64);
    c->report->measurement.byte_count = 48;
    memcpy(c->report->measurement.bytes, body + TD_MR, 48);
    memcpy(c->report->report_data, body + TD_REPORT_DATA, 64);
}

static void vendor_check(struct pst_checking *c, const struct pst_quote *quote)
{
    static const uint8_t intel[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                      0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    pst_checking_fields(c, pst_quote_fields, pst_quote_field_count, quote->bytes);
    pst_checking_expect(c, "quote.qe_vendor", memcmp(quote->bytes + 12, intel, sizeof intel) == 0,
                        pst_checking_hex(c, intel, sizeof intel));
}

/* ---- the whole ---- */
static pst_tcb_status collateral_check(struct pst_checking *c, const struct pst_collateral *collateral,
                                       const struct pst_quote *quote, X509 *leaf, STACK_OF(X509_CRL) * crls)
{
    struct pst_pck pck;
    const char *why = NULL;
    bool good = signed_check(c, "tcb_info", &collateral->tcb_info, crls);
    good &= signed_check(c, "qe_identity", &collateral->qe_identity, crls);
    bool extension = pst_pck_parse(leaf, &pck, &why) == PST_OK;
    pst_checking_that(c, "certificate.extensions", extension, "those of an Intel PCK", extension ? "good" : why);
    if (!good || !extension || c->rc != PST_OK)
        return PST_TCB_NOT_SUPPORTED;
    pst_tcb_status status = levels_check(c, collateral, quote, &pck);
    crls_window(c, crls);
    age_check(c);
    return status;
}

static void keys_check(struct pst_checking *c, const struct pst_quote *quote, const struct pst_collateral *collateral,
                       STACK_OF(X509) * certificates, STACK_OF(X509_CRL) * crls)
{
    const char *why = NULL;
    struct pst_pck pck;
    crls_add(c, collateral, crls, certificates);
    if (c->rc != PST_OK)
        return;
    X509 *leaf = sk_X509_value(certificates, 0);
    c->root_good = pck_chain_check(c, certificates, crls, collateral != NULL);
    bool pck_good = pst_pck_parse(leaf, &pck, &why) == PST_OK;
    if (!pck_good) /* Intel's root has signed other keys, too */
        pst_checking_that(c, "certificate.pck", false, "the SGX extension of a PCK", why);
    signatures_check(c, quote, leaf);
    pst_tcb_status status =
        collateral != NULL ? collateral_check(c, collateral, quote, leaf, crls) : PST_TCB_NO_COLLATERAL;
    if (collateral == NULL)
        qe_builtin_check(c, quote);
    if (collateral == NULL && quote->tdx)
        module_builtin_check(c, quote->body);
    status_check(c, status);
}

/* The quote's own certificates, the leaf first; then what the user has given. */
static bool chain_read(struct pst_checking *c, const struct pst_quote *quote, STACK_OF(X509) * certificates)
{
    const char *why = NULL;
    if (pst_certificates_parse(quote->chain, quote->chain_bytes, certificates, NULL, &why) != PST_OK ||
        sk_X509_num(certificates) == 0) {
        pst_checking_that(c, "chain.quote", false, "certificates in PEM", why != NULL ? why : "none");
        return false;
    }
    for (int i = 0; i < sk_X509_num(c->certificates); i++) {
        X509 *certificate = sk_X509_value(c->certificates, i);
        if (X509_up_ref(certificate) != 1 || sk_X509_push(certificates, certificate) <= 0)
            c->rc = PST_ENOMEM;
    }
    return c->rc == PST_OK;
}

static const struct pst_collateral *collateral_read(struct pst_checking *c, struct pst_collateral *collateral)
{
    const struct pst_bytes *bytes = &c->request->collateral;
    const char *why = NULL;
    int rc = bytes->bytes != NULL
                 ? pst_collateral_parse(&c->report->arena, bytes->bytes, bytes->count, collateral, &why)
                 : PST_OK;
    if (rc == PST_EDATA)
        pst_checking_fault(c, bytes->name, why);
    else if (rc != PST_OK)
        c->rc = rc;
    return bytes->bytes != NULL && rc == PST_OK ? collateral : NULL;
}

void pst_quote_verify(struct pst_checking *c, const struct pst_quote *quote, bool nonce)
{
    struct pst_collateral parsed;
    const struct pst_collateral *collateral = collateral_read(c, &parsed);
    STACK_OF(X509) *certificates = sk_X509_new_null();
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    if (certificates == NULL || crls == NULL)
        c->rc = PST_ENOMEM;
    if (c->rc == PST_OK && chain_read(c, quote, certificates))
        keys_check(c, quote, collateral, certificates, crls);
    sk_X509_pop_free(certificates, X509_free);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    if (c->rc != PST_OK)
        return;
    vendor_check(c, quote);
    pst_checking_add(c, "qe.debug", (quote->qe_report[ATTRIBUTES] & 2) == 0 ? PST_CHECK_PASSED : PST_CHECK_FAILED,
                     "off", (quote->qe_report[ATTRIBUTES] & 2) == 0 ? "off" : "on");
    if (quote->tdx)
        td_check(c, quote, nonce);
    else
        enclave_check(c, quote, nonce);
}
