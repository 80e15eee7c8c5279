/* certificates.c - keys and certificates by OpenSSL: reading them, their chains up to a pinned root, signatures. */
#include "enclave_shim/attestation/inside.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { DEPTH_MAX = 8, NAME_BYTES = 128 };

/* Roots that are built in: SHA-256 of the certificate. Sources: AMD key distribution service, /vcek/v1/{Milan,Genoa,Turin}/cert_chain;
 * Intel, SGX Root CA (certificates.trustedservices.intel.com). */
static const struct pin {
    pst_vendor vendor;
    const char *name, *fingerprint;
} pins[] = {
    {PST_VENDOR_AMD, "ARK-Milan", "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"},
    {PST_VENDOR_AMD, "ARK-Genoa", "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"},
    {PST_VENDOR_AMD, "ARK-Turin", "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"},
    {PST_VENDOR_INTEL, "Intel SGX Root CA", "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"},
};

/* ---- reading ---- */
/* One certificate or list of revoked ones, all of the bytes. */
static bool der_take(const uint8_t *bytes, size_t byte_count, STACK_OF(X509) * certificates, STACK_OF(X509_CRL) * crls)
{
    const unsigned char *at = bytes;
    int count = sk_X509_num(certificates) + (crls != NULL ? sk_X509_CRL_num(crls) : 0);
    if (byte_count > LONG_MAX || count >= PST_CERTIFICATES_MAX)
        return false;
    X509 *certificate = d2i_X509(NULL, &at, (long)byte_count);
    if (certificate != NULL && at == bytes + byte_count && sk_X509_push(certificates, certificate) > 0)
        return true;
    X509_free(certificate);
    at = bytes;
    X509_CRL *crl = crls != NULL ? d2i_X509_CRL(NULL, &at, (long)byte_count) : NULL;
    if (crl != NULL && at == bytes + byte_count && sk_X509_CRL_push(crls, crl) > 0)
        return true;
    X509_CRL_free(crl);
    return false;
}

static int pem_take(BIO *bio, STACK_OF(X509) * certificates, STACK_OF(X509_CRL) * crls, const char **ret_why)
{
    char *name = NULL, *header = NULL;
    unsigned char *bytes = NULL;
    long byte_count = 0;
    int count = 0;
    bool good = true;
    while (good && PEM_read_bio(bio, &name, &header, &bytes, &byte_count) == 1) {
        bool known = strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_CRL) == 0;
        good = known && der_take(bytes, (size_t)byte_count, certificates, crls);
        count++;
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(bytes);
    }
    bool whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (good && whole && count != 0)
        return PST_OK;
    *ret_why = !good ? "holds something that is no X.509 certificate or CRL, or more than 64 of them"
                     : "is neither PEM nor DER of X.509 certificates or CRLs";
    return PST_EDATA;
}

/* The table in which a host hands an SNP guest its certificates (AMD 56421, GHCB, SNP extended guest request): entries of a GUID, an offset and a
 * length, the last one zero. What each is stands in the certificate itself, so GUIDs are not looked at. */
static int table_take(const uint8_t *bytes, size_t byte_count, STACK_OF(X509) * certificates, STACK_OF(X509_CRL) * crls)
{
    enum { ENTRY_BYTES = 24, OFFSET = 16, LENGTH = 20 };
    int count = 0;
    for (size_t at = 0; byte_count >= ENTRY_BYTES && at <= byte_count - ENTRY_BYTES; at += ENTRY_BYTES) {
        const uint8_t *entry = bytes + at;
        uint64_t offset = pst_le(entry + OFFSET, 4), length = pst_le(entry + LENGTH, 4);
        if (pst_all_zero(entry, ENTRY_BYTES))
            return count != 0 ? PST_OK : PST_EDATA;
        if (offset > byte_count || length > byte_count - offset ||
            !der_take(bytes + offset, (size_t)length, certificates, crls))
            return PST_EDATA;
        count++;
    }
    return PST_EDATA;
}

int pst_certificates_parse(const uint8_t *bytes, size_t byte_count, STACK_OF(X509) * certificates,
                           STACK_OF(X509_CRL) * crls, const char **ret_why)
{
    int rc = PST_OK;
    ERR_clear_error();
    *ret_why = "is too large";
    if (byte_count > PST_EVIDENCE_BYTES_MAX)
        return PST_EDATA;
    if (byte_count != 0 && bytes[0] == 0x30) {
        *ret_why = "is no DER of one X.509 certificate or CRL";
        rc = der_take(bytes, byte_count, certificates, crls) ? PST_OK : PST_EDATA;
    } else if (table_take(bytes, byte_count, certificates, crls) != PST_OK) {
        ERR_clear_error();
        BIO *bio = BIO_new_mem_buf(bytes, (int)byte_count);
        rc = bio != NULL ? pem_take(bio, certificates, crls, ret_why) : PST_ENOMEM;
        BIO_free(bio);
    }
    ERR_clear_error();
    return rc;
}

static bool common_name(X509 *certificate, char ret_name[NAME_BYTES])
{
    X509_NAME *name = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    ASN1_STRING *text = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)) : NULL;
    if (text == NULL || ASN1_STRING_length(text) >= NAME_BYTES ||
        memchr(ASN1_STRING_get0_data(text), '\0', (size_t)ASN1_STRING_length(text)) != NULL)
        return false;
    memcpy(ret_name, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
    ret_name[ASN1_STRING_length(text)] = '\0';
    return true;
}

bool pst_certificate_name_is(X509 *certificate, const char *wanted)
{
    char name[NAME_BYTES];
    return common_name(certificate, name) && strcmp(name, wanted) == 0;
}

const char *pst_certificate_name(struct pst_checking *c, X509 *certificate)
{
    char name[NAME_BYTES];
    return common_name(certificate, name) ? pst_checking_printf(c, "%s", name) : "";
}

const uint8_t *pst_certificate_extension(X509 *certificate, const char *oid, size_t *ret_bytes)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = object != NULL ? X509_get_ext_by_OBJ(certificate, object, -1) : -1;
    bool once = at >= 0 && X509_get_ext_by_OBJ(certificate, object, at) < 0;
    ASN1_OBJECT_free(object);
    const ASN1_OCTET_STRING *value = once ? X509_EXTENSION_get_data(X509_get_ext(certificate, at)) : NULL;
    if (value == NULL)
        return NULL;
    *ret_bytes = (size_t)ASN1_STRING_length(value);
    return ASN1_STRING_get0_data(value);
}

/* ---- roots ---- */
static bool fingerprint(X509 *certificate, uint8_t ret_digest[PST_SHA256_BYTES])
{
    unsigned int bytes = 0;
    return X509_digest(certificate, EVP_sha256(), ret_digest, &bytes) == 1 && bytes == PST_SHA256_BYTES;
}

/* The name of what pins this root, or NULL. */
static const char *pinned_as(struct pst_checking *c, pst_vendor vendor, X509 *root)
{
    uint8_t digest[PST_SHA256_BYTES], pinned[PST_SHA256_BYTES];
    const struct pst_digests *own = &c->policy->roots;
    for (int i = 0; i < sk_X509_num(c->roots); i++)
        if (X509_cmp(sk_X509_value(c->roots, i), root) == 0)
            return "a root that was given";
    if (sk_X509_num(c->roots) > 0 || !fingerprint(root, digest))
        return NULL;
    for (uint32_t i = 0; i < own->count; i++)
        if (own->items[i].byte_count == sizeof digest && CRYPTO_memcmp(own->items[i].bytes, digest, sizeof digest) == 0)
            return "a fingerprint of the policy";
    for (size_t i = 0; i < sizeof pins / sizeof *pins && own->count == 0; i++)
        if (pins[i].vendor == vendor && pst_hex_parse(pins[i].fingerprint, sizeof pinned * 2, pinned) &&
            memcmp(pinned, digest, sizeof digest) == 0)
            return pins[i].name;
    return NULL;
}

static bool self_issued(X509 *certificate)
{
    return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
}

/* Roots that are pinned; where there are none, those that are not, so that the rest of the chain can be looked at. */
static bool store_fill(struct pst_checking *c, const struct pst_chain *chain, X509_STORE *store)
{
    int added = 0;
    for (int i = 0; i < sk_X509_num(c->roots); i++)
        added += X509_STORE_add_cert(store, sk_X509_value(c->roots, i)) == 1;
    for (int pass = 0; pass < 2 && added == 0; pass++) {
        for (int i = 0; i < sk_X509_num(chain->others); i++) {
            X509 *other = sk_X509_value(chain->others, i);
            if (self_issued(other) && (pass == 1 || pinned_as(c, chain->vendor, other) != NULL))
                added += X509_STORE_add_cert(store, other) == 1;
        }
    }
    return added > 0;
}

static const char *pins_expected(struct pst_checking *c, pst_vendor vendor)
{
    if (sk_X509_num(c->roots) > 0)
        return pst_checking_printf(c, "one of the %d roots that were given", sk_X509_num(c->roots));
    if (c->policy->roots.count != 0)
        return pst_checking_printf(c, "one of the %u fingerprints of the policy", c->policy->roots.count);
    const char *names = "";
    for (size_t i = 0; i < sizeof pins / sizeof *pins; i++)
        if (pins[i].vendor == vendor)
            names = pst_checking_printf(c, "%s%s%s", names, *names == '\0' ? "" : ", ", pins[i].name);
    return *names != '\0' ? pst_checking_printf(c, "%s, by fingerprint", names)
                          : "a root that was given, or a fingerprint of the policy's";
}

static bool root_check(struct pst_checking *c, const struct pst_chain *chain, X509 *root)
{
    uint8_t digest[PST_SHA256_BYTES] = {0};
    const char *pin = root != NULL ? pinned_as(c, chain->vendor, root) : NULL, *actual = "there is no whole chain";
    if (root != NULL && fingerprint(root, digest))
        actual =
            pst_checking_printf(c, "%s, %s", pst_certificate_name(c, root), pst_checking_hex(c, digest, sizeof digest));
    pst_checking_that(c, pst_checking_printf(c, "chain.%s.root", chain->name), pin != NULL,
                      pins_expected(c, chain->vendor), actual);
    return pin != NULL;
}

/* ---- chains ---- */
struct faults { /* the first of each certificate, by its depth; 0: none */
    int fault[DEPTH_MAX];
    bool crls_wanted, any;
    bool crl_missing[DEPTH_MAX];
};

static int on_fault(int ok, X509_STORE_CTX *context)
{
    struct faults *faults = X509_STORE_CTX_get_app_data(context);
    int fault = X509_STORE_CTX_get_error(context), depth = X509_STORE_CTX_get_error_depth(context);
    if (ok == 1)
        return 1;
    if (depth < 0 || depth >= DEPTH_MAX)
        depth = DEPTH_MAX - 1;
    if (fault == X509_V_ERR_UNABLE_TO_GET_CRL && !faults->crls_wanted) {
        faults->crl_missing[depth] = true;
        return 1;
    }
    faults->any = true;
    if (faults->fault[depth] == 0)
        faults->fault[depth] = fault;
    return 1; /* go on, so that each certificate is looked at */
}

static const char *time_shown(struct pst_checking *c, const ASN1_TIME *time)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1)
        return "?";
    return pst_checking_printf(c, "%04d-%02d-%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

static void certificate_row(struct pst_checking *c, const struct pst_chain *chain, const struct faults *faults,
                            STACK_OF(X509) * certificates, int depth)
{
    X509 *certificate = sk_X509_value(certificates, depth);
    const char *role = chain->roles[depth], *above = chain->roles[depth + 1];
    char at[PST_TIME_TEXT_BYTES];
    pst_time_print(c->request->at_s, at);
    at[10] = '\0'; /* the day */
    const bool looked = above != NULL && !faults->crl_missing[depth] && sk_X509_CRL_num(chain->crls) > 0;
    const char *expected = pst_checking_printf(c, "signed by %s%s, valid on %s%s", above != NULL ? "the " : "itself",
                                               above != NULL ? above : "", at, looked ? ", not revoked" : "");
    const char *actual =
        pst_checking_printf(c, "%s, valid %s to %s%s%s%s", pst_certificate_name(c, certificate),
                            time_shown(c, X509_get0_notBefore(certificate)),
                            time_shown(c, X509_get0_notAfter(certificate)), faults->fault[depth] != 0 ? ": " : "",
                            faults->fault[depth] != 0 ? X509_verify_cert_error_string(faults->fault[depth]) : "",
                            above != NULL && !looked ? "; no CRL of its issuer was given" : "");
    pst_checking_that(c, pst_checking_printf(c, "chain.%s.%s", chain->name, role), faults->fault[depth] == 0, expected,
                      actual);
}

/* Who issued whom stands in the certificates; that there are as many as there have to be is looked at here. */
static bool rows_add(struct pst_checking *c, const struct pst_chain *chain, const struct faults *faults,
                     STACK_OF(X509) * certificates)
{
    int wanted = 0, there = sk_X509_num(certificates);
    while (chain->roles[wanted] != NULL)
        wanted++;
    PST_ASSERT(wanted < DEPTH_MAX);
    for (int i = 0; i < wanted && i < there; i++)
        certificate_row(c, chain, faults, certificates, i);
    if (there != wanted)
        pst_checking_that(c, pst_checking_printf(c, "chain.%s.length", chain->name), false,
                          pst_checking_printf(c, "%d certificates", wanted), pst_checking_printf(c, "%d", there));
    return there == wanted && !faults->any;
}

static bool chain_build(struct pst_checking *c, const struct pst_chain *chain, X509_STORE *store,
                        X509_STORE_CTX *context, X509 **ret_root)
{
    struct faults faults = {.crls_wanted = chain->crls_wanted};
    if (X509_STORE_CTX_init(context, store, chain->leaf, chain->others) != 1)
        return false;
    X509_STORE_CTX_set_app_data(context, &faults);
    X509_STORE_CTX_set_verify_cb(context, on_fault);
    X509_STORE_CTX_set_time(context, 0, (time_t)c->request->at_s);
    if (chain->crls_wanted || sk_X509_CRL_num(chain->crls) > 0) {
        X509_STORE_CTX_set0_crls(context, chain->crls);
        X509_STORE_CTX_set_flags(context, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    }
    bool good = X509_verify_cert(context) == 1;
    STACK_OF(X509) *certificates = X509_STORE_CTX_get0_chain(context);
    good &= rows_add(c, chain, &faults, certificates);
    int count = sk_X509_num(certificates);
    X509 *top = count > 0 ? sk_X509_value(certificates, count - 1) : NULL;
    *ret_root = top != NULL && self_issued(top) ? top : NULL;
    return good;
}

bool pst_chain_verify(struct pst_checking *c, const struct pst_chain *chain, X509 **ret_root)
{
    X509 *root = NULL;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    bool good = false;
    *ret_root = NULL;
    if (store != NULL && context != NULL) {
        (void)store_fill(c, chain, store);
        good = chain_build(c, chain, store, context, &root);
        good &= root_check(c, chain, root);
        good &= root != NULL;
    } else {
        c->rc = PST_ENOMEM;
    }
    /* What the store holds is held by the lists of the request and the evidence, too. */
    *ret_root = root;
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return good;
}

/* ---- signatures ---- */
static bool curve_is(EVP_PKEY *key, const char *curve)
{
    char name[32];
    size_t bytes = 0;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, name, sizeof name, &bytes) == 1 &&
           OBJ_sn2nid(name) != NID_undef && OBJ_sn2nid(name) == EC_curve_nist2nid(curve);
}

static bool der_verify(EVP_PKEY *key, const EVP_MD *digest, const uint8_t *bytes, size_t byte_count,
                       const ECDSA_SIG *signature)
{
    unsigned char *der = NULL;
    int der_bytes = i2d_ECDSA_SIG(signature, &der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = der_bytes > 0 && context != NULL && EVP_DigestVerifyInit(context, NULL, digest, NULL, key) == 1 &&
                EVP_DigestVerify(context, der, (size_t)der_bytes, bytes, byte_count) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return good;
}

bool pst_ecdsa_verify(EVP_PKEY *key, const char *curve, const EVP_MD *digest, const uint8_t *bytes, size_t byte_count,
                      const uint8_t *r, const uint8_t *s, uint32_t half)
{
    if (key == NULL || !curve_is(key, curve))
        return false;
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r_number = BN_bin2bn(r, (int)half, NULL), *s_number = BN_bin2bn(s, (int)half, NULL);
    bool good = false;
    if (signature != NULL && r_number != NULL && s_number != NULL &&
        ECDSA_SIG_set0(signature, r_number, s_number) == 1) {
        good = der_verify(key, digest, bytes, byte_count, signature);
    } else {
        BN_free(r_number);
        BN_free(s_number);
    }
    ECDSA_SIG_free(signature);
    ERR_clear_error();
    return good;
}

EVP_PKEY *pst_p256_key(const uint8_t point[64])
{
    uint8_t encoded[65] = {4}; /* SEC 1, section 2.3.3: uncompressed */
    memcpy(encoded + 1, point, 64);
    char group[] = "P-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
                           OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof encoded),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return key;
}

EVP_PKEY *pst_rsa_key(const uint8_t *modulus, uint32_t modulus_bytes, const uint8_t *exponent, uint32_t exponent_bytes)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_bytes, NULL), *e = BN_bin2bn(exponent, (int)exponent_bytes, NULL);
    OSSL_PARAM *params = NULL;
    if (builder != NULL && n != NULL && e != NULL && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (context == NULL || params == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return key;
}

bool pst_rsassa_verify(EVP_PKEY *key, const uint8_t *bytes, size_t byte_count, const uint8_t *signature,
                       size_t signature_bytes)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options = NULL; /* of the context */
    bool good = key != NULL && context != NULL && EVP_PKEY_is_a(key, "RSA") &&
                EVP_DigestVerifyInit(context, &options, EVP_sha256(), NULL, key) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PADDING) == 1 &&
                EVP_DigestVerify(context, signature, signature_bytes, bytes, byte_count) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

bool pst_sha256(const void *bytes, size_t byte_count, uint8_t ret_digest[PST_SHA256_BYTES])
{
    unsigned int digest_bytes = 0;
    return EVP_Digest(bytes, byte_count, ret_digest, &digest_bytes, EVP_sha256(), NULL) == 1 &&
           digest_bytes == PST_SHA256_BYTES;
}
