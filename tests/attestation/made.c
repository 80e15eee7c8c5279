/* made.c - evidence with keys of the test's own (made.h). */
#include "tests/attestation/made.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const int64_t made_at_s = 1751328000;

/* ---- certificates ---- */
EVP_PKEY *made_key(const char *curve)
{
    EVP_PKEY *key = EVP_EC_gen(curve);
    assert_non_null(key);
    return key;
}

void made_extension(struct made_certificate *to, const char *oid, const void *bytes, size_t count)
{
    struct made_extension *extension = NULL;
    for (uint32_t i = 0; i < to->extension_count; i++)
        if (strcmp(to->extensions[i].oid, oid) == 0)
            extension = &to->extensions[i];
    if (extension == NULL) {
        assert_true(to->extension_count < MADE_EXTENSIONS_MAX);
        extension = &to->extensions[to->extension_count++];
    }
    assert_true(count <= sizeof extension->bytes);
    extension->oid = oid;
    extension->count = count;
    memcpy(extension->bytes, bytes, count);
}

static void extension_put(X509 *certificate, const struct made_extension *extension)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(extension->oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    assert_int_equal(ASN1_OCTET_STRING_set(value, extension->bytes, (int)extension->count), 1);
    X509_EXTENSION *put = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    assert_int_equal(X509_add_ext(certificate, put, -1), 1);
    X509_EXTENSION_free(put);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
}

X509 *made_certificate(const struct made_certificate *parts)
{
    X509 *made = X509_new();
    X509_NAME *name = X509_get_subject_name(made);
    assert_int_equal(X509_set_version(made, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made), parts->serial), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)parts->name, -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(made, parts->issuer != NULL ? X509_get_subject_name(parts->issuer) : name),
                     1);
    assert_int_equal(ASN1_TIME_set_string_X509(X509_getm_notBefore(made), parts->from ? parts->from : MADE_FROM), 1);
    assert_int_equal(ASN1_TIME_set_string_X509(X509_getm_notAfter(made), parts->until ? parts->until : MADE_UNTIL), 1);
    assert_int_equal(X509_set_pubkey(made, parts->key), 1);
    if (parts->authority) {
        X509_EXTENSION *basic = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
        assert_int_equal(X509_add_ext(made, basic, -1), 1);
        X509_EXTENSION_free(basic);
    }
    for (uint32_t i = 0; i < parts->extension_count; i++)
        extension_put(made, &parts->extensions[i]);
    assert_true(X509_sign(made, parts->issuer_key != NULL ? parts->issuer_key : parts->key, EVP_sha384()) > 0);
    return made;
}

X509_CRL *made_crl(X509 *issuer, EVP_PKEY *key, const char *until, long serial)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *from_time = ASN1_TIME_new(), *until_time = ASN1_TIME_new();
    assert_int_equal(ASN1_TIME_set_string_X509(from_time, MADE_FROM), 1);
    assert_int_equal(ASN1_TIME_set_string_X509(until_time, until ? until : MADE_UNTIL), 1);
    assert_int_equal(X509_CRL_set_version(crl, 1), 1);
    assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)), 1);
    assert_int_equal(X509_CRL_set1_lastUpdate(crl, from_time), 1);
    assert_int_equal(X509_CRL_set1_nextUpdate(crl, until_time), 1);
    if (serial != 0) {
        X509_REVOKED *revoked = X509_REVOKED_new();
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        assert_int_equal(ASN1_INTEGER_set(number, serial), 1);
        assert_int_equal(X509_REVOKED_set_serialNumber(revoked, number), 1);
        assert_int_equal(X509_REVOKED_set_revocationDate(revoked, from_time), 1);
        assert_int_equal(X509_CRL_add0_revoked(crl, revoked), 1);
        ASN1_INTEGER_free(number);
    }
    assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
    ASN1_TIME_free(from_time);
    ASN1_TIME_free(until_time);
    return crl;
}

struct pst_bytes made_crl_der(X509_CRL *crl)
{
    unsigned char *der = NULL;
    int count = i2d_X509_CRL(crl, &der);
    assert_true(count > 0);
    return (struct pst_bytes){der, (size_t)count, "made.crl"};
}

size_t made_pem(X509 *const *certificates, uint32_t count, char *ret_text)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *bytes;
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(PEM_write_bio_X509(bio, certificates[i]), 1);
    size_t byte_count = (size_t)BIO_get_mem_data(bio, &bytes);
    assert_true(byte_count < MADE_TEXT_BYTES);
    memcpy(ret_text, bytes, byte_count);
    ret_text[byte_count] = '\0';
    BIO_free(bio);
    return byte_count;
}

static void ecdsa_sign(EVP_PKEY *key, const EVP_MD *digest, const uint8_t *bytes, size_t count, uint8_t *ret_rs,
                       int half)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char der[256];
    size_t der_bytes = sizeof der;
    assert_int_equal(EVP_DigestSignInit(context, NULL, digest, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, der, &der_bytes, bytes, count), 1);
    const unsigned char *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_bytes);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret_rs, half), half);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret_rs + half, half), half);
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
}

/* ---- SEV-SNP ---- */
static void small_extension(struct made_certificate *to, const char *oid, uint8_t value)
{
    const uint8_t small[] = {2, 1, value}, large[] = {2, 2, 0, value};
    made_extension(to, oid, value < 0x80 ? small : large, value < 0x80 ? sizeof small : sizeof large);
}

void made_snp_issue(struct made_snp *made)
{
    X509_free(made->ark);
    X509_free(made->ask);
    X509_free(made->leaf);
    made->ark = made_certificate(&made->ark_parts);
    made->ask_parts.issuer = made->ark;
    made->ask = made_certificate(&made->ask_parts);
    made->parts.issuer = made->ask;
    made->leaf = made_certificate(&made->parts);
    X509 *const all[] = {made->leaf, made->ask, made->ark};
    made->certificates = (struct pst_bytes){(uint8_t *)made->pem, made_pem(all, 3, made->pem), "chain.pem"};
    made->roots = (struct pst_bytes){(uint8_t *)made->root_pem, made_pem(&made->ark, 1, made->root_pem), "root.pem"};
}

void made_snp_sign(struct made_snp *made)
{
    uint8_t rs[96];
    ecdsa_sign(made->key, EVP_sha384(), made->report, PST_SNP_SIGNED_BYTES, rs, 48);
    memset(made->report + PST_SNP_SIGNED_BYTES, 0, PST_SNP_REPORT_BYTES - PST_SNP_SIGNED_BYTES);
    for (int i = 0; i < 48; i++) {
        made->report[PST_SNP_SIGNED_BYTES + i] = rs[47 - i];
        made->report[PST_SNP_SIGNED_BYTES + 72 + i] = rs[95 - i];
    }
}

void made_snp_init(struct made_snp *made, const char *product, bool vlek)
{
    const bool turin = strcmp(product, "Turin") == 0, genoa = strcmp(product, "Genoa") == 0;
    uint8_t ia5[32] = {0x16, (uint8_t)strlen(product)}, chip[64], *report = made->report;
    memset(made, 0, sizeof *made);
    made->ark_key = made_key("P-384");
    made->ask_key = made_key("P-384");
    made->key = made_key("P-384");
    (void)snprintf(made->ark_name, sizeof made->ark_name, "ARK-%s", product);
    (void)snprintf(made->ask_name, sizeof made->ask_name, "SEV-%s%s", vlek ? "VLEK-" : "", product);
    made->ark_parts =
        (struct made_certificate){.name = made->ark_name, .key = made->ark_key, .serial = 1, .authority = true};
    made->ask_parts = (struct made_certificate){
        .name = made->ask_name, .key = made->ask_key, .issuer_key = made->ark_key, .serial = 2, .authority = true};
    made->parts = (struct made_certificate){
        .name = vlek ? "SEV-VLEK" : "SEV-VCEK", .key = made->key, .issuer_key = made->ask_key, .serial = 3};
    memcpy(ia5 + 2, product, strlen(product));
    made_extension(&made->parts, "1.3.6.1.4.1.3704.1.2", ia5, strlen(product) + 2);
    small_extension(&made->parts, "1.3.6.1.4.1.3704.1.3.1", 4);
    small_extension(&made->parts, "1.3.6.1.4.1.3704.1.3.2", 0);
    small_extension(&made->parts, "1.3.6.1.4.1.3704.1.3.3", 22);
    small_extension(&made->parts, "1.3.6.1.4.1.3704.1.3.8", 213);
    if (turin)
        small_extension(&made->parts, "1.3.6.1.4.1.3704.1.3.9", 1);
    for (int i = 0; i < 64; i++)
        chip[i] = (uint8_t)(i < (turin ? 8 : 64) ? i + 1 : 0);
    if (!vlek)
        made_extension(&made->parts, "1.3.6.1.4.1.3704.1.4", chip, turin ? 8 : 64);
    report[0x000] = turin ? 5 : 3;
    report[0x004] = 7;    /* guest SVN */
    report[0x00a] = 0x03; /* SMT, and the bit that is always one */
    report[0x034] = 1;
    report[0x048] = vlek ? 1 << 2 : 0;
    memset(report + 0x050, 0x5a, 64);
    memset(report + 0x090, 0x3c, 48);
    memset(report + 0x0c0, 0x11, 32);
    memset(report + 0x0e0, 0x22, 48);
    report[0x180 + (turin ? 1 : 0)] = 4;
    report[0x180 + (turin ? 3 : 6)] = 22;
    report[0x187] = 213;
    if (turin)
        report[0x180] = 1;
    report[0x188] = turin ? 0x1a : 0x19;
    report[0x189] = genoa ? 0x11 : 0x01;
    if (!vlek)
        memcpy(report + 0x1a0, chip, 64);
    made_snp_issue(made);
    made_snp_sign(made);
    made->request = (struct pst_evidence_request){.evidence = {made->report, PST_SNP_REPORT_BYTES, "report.bin"},
                                                  .certificates = &made->certificates,
                                                  .certificate_count = 1,
                                                  .roots = &made->roots,
                                                  .root_count = 1,
                                                  .at_s = made_at_s};
}

void made_snp_fini(struct made_snp *made)
{
    X509_free(made->ark);
    X509_free(made->ask);
    X509_free(made->leaf);
    EVP_PKEY_free(made->ark_key);
    EVP_PKEY_free(made->ask_key);
    EVP_PKEY_free(made->key);
}

/* ---- SGX and TDX ---- */
static size_t der(uint8_t *to, uint8_t tag, const uint8_t *bytes, size_t count)
{
    size_t head = count < 0x80 ? 2 : 4;
    memmove(to + head, bytes, count);
    to[0] = tag;
    to[1] = (uint8_t)(count < 0x80 ? count : 0x82);
    if (head == 4) {
        to[2] = (uint8_t)(count >> 8);
        to[3] = (uint8_t)count;
    }
    return head + count;
}

/* SEQUENCE { SGX extension's arc with `tail`, value } */
static size_t pair(uint8_t *to, const uint8_t *tail, size_t tail_bytes, const uint8_t *value, size_t value_bytes)
{
    static const uint8_t arc[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};
    uint8_t oid[16], inner[512];
    memcpy(oid, arc, sizeof arc);
    memcpy(oid + sizeof arc, tail, tail_bytes);
    size_t count = der(inner, 0x06, oid, sizeof arc + tail_bytes);
    memcpy(inner + count, value, value_bytes);
    return der(to, 0x30, inner, count + value_bytes);
}

static void sgx_extension(struct made_certificate *to)
{
    static const uint8_t fmspc[] = {0x04, 6, 0x90, 0xc0, 0x6f, 0, 0, 0}, pce_id[] = {0x04, 2, 0, 0};
    uint8_t tcb[512], members[512], all[512];
    size_t tcb_bytes = 0, count = 0;
    for (uint8_t i = 1; i <= 17; i++) {
        const uint8_t tail[] = {2, i}, svn[] = {2, 1, i == 17 ? 13 : 5};
        tcb_bytes += pair(tcb + tcb_bytes, tail, 2, svn, 3);
    }
    size_t sequence_bytes = der(all, 0x30, tcb, tcb_bytes);
    count += pair(members + count, (const uint8_t[]){2}, 1, all, sequence_bytes);
    count += pair(members + count, (const uint8_t[]){3}, 1, pce_id, sizeof pce_id);
    count += pair(members + count, (const uint8_t[]){4}, 1, fmspc, sizeof fmspc);
    made_extension(to, "1.2.840.113741.1.13.1", all, der(all, 0x30, members, count));
}

void made_replace(char *text, size_t room, const char *from, const char *to)
{
    char *at = strstr(text, from);
    assert_non_null(at);
    size_t rest = strlen(at + strlen(from)) + 1;
    assert_true((size_t)(at - text) + strlen(to) + rest <= room);
    memmove(at + strlen(to), at + strlen(from), rest);
    memcpy(at, to, strlen(to));
}

static void svns(char *to, size_t room, int svn)
{
    size_t count = 0;
    for (int i = 0; i < 16; i++)
        count += (size_t)snprintf(to + count, room - count, "%s{\"svn\":%d}", i == 0 ? "" : ",", svn);
}

/* Those of Intel's quoting enclaves, which a verifier knows without collateral. */
static const char *const signers[] = {"8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF",
                                      "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"};

static void texts_init(struct made_quote *made)
{
    const bool tdx = made->version > 3;
    char five[512], three[512];
    svns(five, sizeof five, 5);
    svns(three, sizeof three, 3);
    (void)snprintf(
        made->tcb_info, sizeof made->tcb_info,
        "{\"id\":\"%s\",\"version\":3,\"issueDate\":\"2025-06-20T00:00:00Z\",\"nextUpdate\":\"2025-07-20T00:00:00Z\","
        "\"fmspc\":\"90C06F000000\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":17,%s\"tcbLevels\":["
        "{\"tcb\":{\"sgxtcbcomponents\":[%s],\"pcesvn\":13%s%s%s},\"tcbDate\":\"2024-03-13T00:00:00Z\",\"tcbStatus\":"
        "\"UpToDate\"},{\"tcb\":{\"sgxtcbcomponents\":[%s],\"pcesvn\":5%s%s%s},\"tcbDate\":\"2023-03-13T00:00:00Z\","
        "\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[\"INTEL-SA-00001\"]}]}",
        tdx ? "TDX" : "SGX",
        tdx ? "\"tdxModule\":{\"mrsigner\":"
              "\"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\","
              "\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"},\"tdxModuleIdentities\":[{"
              "\"id\":\"TDX_01\",\"mrsigner\":"
              "\"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\","
              "\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\",\"tcbLevels\":[{\"tcb\":{"
              "\"isvsvn\":6},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"isvsvn\":2},"
              "\"tcbDate\":\"2023-11-13T00:00:00Z\",\"tcbStatus\":\"OutOfDate\"}]}],"
            : "",
        five, tdx ? ",\"tdxtcbcomponents\":[" : "", tdx ? five : "", tdx ? "]" : "", three,
        tdx ? ",\"tdxtcbcomponents\":[" : "", tdx ? three : "", tdx ? "]" : "");
    (void)snprintf(
        made->qe_identity, sizeof made->qe_identity,
        "{\"id\":\"%s\",\"version\":2,\"issueDate\":\"2025-06-21T00:00:00Z\",\"nextUpdate\":\"2025-07-21T00:00:00Z\","
        "\"tcbEvaluationDataNumber\":17,\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":"
        "\"11000000000000000000000000000000\",\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\"mrsigner\":"
        "\"%s\",\"isvprodid\":%d,\"tcbLevels\":[{\"tcb\":{"
        "\"isvsvn\":8},\"tcbDate\":\"2024-03-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},{\"tcb\":{\"isvsvn\":6},"
        "\"tcbDate\":\"2021-11-10T00:00:00Z\",\"tcbStatus\":\"OutOfDate\"}]}",
        tdx ? "TD_QE" : "QE", signers[tdx], tdx ? 2 : 1);
}

void made_quote_issue(struct made_quote *made)
{
    X509_free(made->root);
    X509_free(made->ca);
    X509_free(made->pck);
    X509_free(made->tcb);
    made->root = made_certificate(&made->root_parts);
    made->ca_parts.issuer = made->tcb_parts.issuer = made->root;
    made->ca = made_certificate(&made->ca_parts);
    made->tcb = made_certificate(&made->tcb_parts);
    made->pck_parts.issuer = made->ca;
    made->pck = made_certificate(&made->pck_parts);
    made->roots = (struct pst_bytes){(uint8_t *)made->root_pem, made_pem(&made->root, 1, made->root_pem), "root.pem"};
}

static void point_of(EVP_PKEY *key, uint8_t ret_point[64])
{
    uint8_t encoded[65];
    size_t bytes = 0;
    assert_int_equal(EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", encoded, sizeof encoded, &bytes), 1);
    assert_int_equal(bytes, sizeof encoded);
    memcpy(ret_point, encoded + 1, 64);
}

static size_t put_number(uint8_t *to, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(number >> (8 * i));
    return bytes;
}

static size_t put_bytes(uint8_t *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return count;
}

void made_quote_sign(struct made_quote *made)
{
    uint8_t *to = made->bytes, tail[MADE_QUOTE_BYTES_MAX], key_auth[64 + sizeof made->auth], rs[64];
    char chain[MADE_TEXT_BYTES];
    X509 *const certificates[] = {made->pck, made->ca, made->root};
    size_t chain_bytes = made_pem(certificates, 3, chain), count = 0, signed_count, n = 0;
    count += put_bytes(to + count, made->header, sizeof made->header);
    if (made->version == 5) {
        count += put_number(to + count, made->body_bytes == PST_TD_REPORT15_BYTES ? 3 : 2, 2);
        count += put_number(to + count, made->body_bytes, 4);
    }
    count += put_bytes(to + count, made->body, made->body_bytes);
    signed_count = count;
    point_of(made->key, key_auth);
    memcpy(key_auth + 64, made->auth, sizeof made->auth);
    assert_true(pst_sha256(key_auth, sizeof key_auth, made->qe_report + 320));
    n += put_bytes(tail + n, made->qe_report, sizeof made->qe_report);
    ecdsa_sign(made->other_pck_key ? made->tcb_key : made->pck_key, EVP_sha256(), made->qe_report,
               sizeof made->qe_report, rs, 32);
    n += put_bytes(tail + n, rs, 64);
    n += put_number(tail + n, sizeof made->auth, 2);
    n += put_bytes(tail + n, made->auth, sizeof made->auth);
    n += put_number(tail + n, 5, 2);
    n += put_number(tail + n, chain_bytes, 4);
    n += put_bytes(tail + n, chain, chain_bytes);
    ecdsa_sign(made->key, EVP_sha256(), to, signed_count, rs, 32);
    count += put_number(to + count, 128 + (made->version > 3 ? 6 : 0) + n, 4);
    count += put_bytes(to + count, rs, 64);
    count += put_bytes(to + count, key_auth, 64);
    if (made->version > 3) {
        count += put_number(to + count, 6, 2);
        count += put_number(to + count, n, 4);
    }
    count += put_bytes(to + count, tail, n);
    assert_true(count <= sizeof made->bytes);
    made->count = count;
    made->request.evidence = (struct pst_bytes){made->bytes, count, "quote.bin"};
}

static void hex_add(struct pst_text *text, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pst_text_printf(text, "%02x", bytes[i]), PST_OK);
}

static void member_add(struct pst_text *text, const char *key, const char *value)
{
    assert_int_equal(pst_text_printf(text, "%s\"%s\":", text->count == 1 ? "" : ",", key), PST_OK);
    assert_int_equal(pst_text_json(text, value), PST_OK);
}

static void member_hex(struct pst_text *text, const char *key, const uint8_t *bytes, size_t count)
{
    assert_int_equal(pst_text_printf(text, "%s\"%s\":\"", text->count == 1 ? "" : ",", key), PST_OK);
    hex_add(text, bytes, count);
    assert_int_equal(pst_text_printf(text, "\""), PST_OK);
}

void made_quote_collateral(struct made_quote *made)
{
    struct pst_text text = {0};
    char chain[MADE_TEXT_BYTES];
    uint8_t rs[64];
    X509 *const tcb[] = {made->tcb, made->root}, *const ca[] = {made->ca, made->root};
    X509_CRL *root_crl = made_crl(made->root, made->root_key, made->crl_until, made->revoked_ca),
             *pck_crl = made_crl(made->ca, made->ca_key, made->crl_until, made->revoked_pck);
    struct pst_bytes root_der = made_crl_der(root_crl), pck_der = made_crl_der(pck_crl);
    (void)pst_text_printf(&text, "{");
    (void)made_pem(ca, 2, chain);
    member_add(&text, "pck_crl_issuer_chain", chain);
    member_hex(&text, "root_ca_crl", root_der.bytes, root_der.count);
    member_hex(&text, "pck_crl", pck_der.bytes, pck_der.count);
    (void)made_pem(tcb, 2, chain);
    member_add(&text, "tcb_info_issuer_chain", chain);
    member_add(&text, "tcb_info", made->tcb_info);
    ecdsa_sign(made->tcb_key, EVP_sha256(), (const uint8_t *)made->tcb_info, strlen(made->tcb_info), rs, 32);
    member_hex(&text, "tcb_info_signature", rs, 64);
    member_add(&text, "qe_identity_issuer_chain", chain);
    member_add(&text, "qe_identity", made->qe_identity);
    ecdsa_sign(made->tcb_key, EVP_sha256(), (const uint8_t *)made->qe_identity, strlen(made->qe_identity), rs, 32);
    member_hex(&text, "qe_identity_signature", rs, 64);
    (void)pst_text_printf(&text, "}");
    assert_true(!text.failed && text.count < sizeof made->collateral);
    memcpy(made->collateral, text.bytes, text.count + 1);
    made->request.collateral = (struct pst_bytes){(uint8_t *)made->collateral, text.count, "collateral.json"};
    pst_text_fini(&text);
    OPENSSL_free((void *)root_der.bytes);
    OPENSSL_free((void *)pck_der.bytes);
    X509_CRL_free(root_crl);
    X509_CRL_free(pck_crl);
}

void made_quote_init(struct made_quote *made, uint16_t version, bool td15)
{
    static const uint8_t intel[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                      0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
    memset(made, 0, sizeof *made);
    made->version = version;
    EVP_PKEY **const keys[] = {&made->root_key, &made->ca_key, &made->pck_key, &made->tcb_key, &made->key};
    for (size_t i = 0; i < 5; i++)
        *keys[i] = made_key("P-256");
    made->root_parts = (struct made_certificate){.name = "Root", .key = made->root_key, .serial = 1, .authority = true};
    made->ca_parts = (struct made_certificate){
        .name = "PCK CA", .key = made->ca_key, .issuer_key = made->root_key, .serial = 2, .authority = true};
    made->tcb_parts = (struct made_certificate){
        .name = "Intel SGX TCB Signing", .key = made->tcb_key, .issuer_key = made->root_key, .serial = 3};
    made->pck_parts = (struct made_certificate){
        .name = "Intel SGX PCK Certificate", .key = made->pck_key, .issuer_key = made->ca_key, .serial = 4};
    sgx_extension(&made->pck_parts);
    made->header[0] = (uint8_t)version;
    made->header[2] = 2;
    made->header[4] = version > 3 ? 0x81 : 0;
    memcpy(made->header + 12, intel, sizeof intel);
    made->body_bytes = version == 3 ? PST_ENCLAVE_REPORT_BYTES : td15 ? PST_TD_REPORT15_BYTES : PST_TD_REPORT_BYTES;
    if (version == 3) {
        made->body[48] = 0x05;
        memset(made->body + 64, 0x3c, 32);
        memset(made->body + 128, 0x22, 32);
        made->body[258] = 7;
        memset(made->body + 320, 0x5a, 64);
    } else {
        memset(made->body, 5, 16);
        made->body[0] = 6; /* the module's SVN, and its version */
        made->body[1] = 1;
        memset(made->body + 136, 0x3c, 48);
        memset(made->body + 184, 0x11, 48);
        for (int i = 0; i < 4; i++)
            memset(made->body + 328 + 48 * i, 0x40 + i, 48);
        memset(made->body + 520, 0x5a, 64);
    }
    made->qe_report[48] = 0x11;
    assert_true(pst_hex_parse(signers[version > 3], 64, made->qe_report + 128));
    made->qe_report[256] = version > 3 ? 2 : 1;
    made->qe_report[258] = 8;
    memset(made->auth, 0xaa, sizeof made->auth);
    made_quote_issue(made);
    made->request = (struct pst_evidence_request){.roots = &made->roots, .root_count = 1, .at_s = made_at_s};
    made_quote_sign(made);
    texts_init(made);
    made_quote_collateral(made);
}

void made_quote_fini(struct made_quote *made)
{
    X509 *const certificates[] = {made->root, made->ca, made->pck, made->tcb};
    EVP_PKEY *const keys[] = {made->root_key, made->ca_key, made->pck_key, made->tcb_key, made->key};
    for (size_t i = 0; i < 4; i++)
        X509_free(certificates[i]);
    for (size_t i = 0; i < 5; i++)
        EVP_PKEY_free(keys[i]);
}

/* ---- Azure ---- */
static void base64url(const uint8_t *bytes, size_t count, char *to)
{
    static const char signs[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0, bit_count = 0;
    for (size_t i = 0; i < count; i++) {
        bits = bits << 8 | bytes[i];
        for (bit_count += 8; bit_count >= 6; bit_count -= 6)
            *to++ = signs[bits >> (bit_count - 6) & 63];
    }
    if (bit_count != 0)
        *to++ = signs[bits << (6 - bit_count) & 63];
    *to = '\0';
}

void made_az_init(struct made_az *made, bool tdx)
{
    memset(made, 0, sizeof *made);
    made->key = EVP_RSA_gen(2048);
    assert_non_null(made->key);
    BIGNUM *n = NULL;
    uint8_t modulus[256];
    char text[512];
    assert_int_equal(EVP_PKEY_get_bn_param(made->key, "n", &n), 1);
    assert_int_equal(BN_bn2binpad(n, modulus, sizeof modulus), (int)sizeof modulus);
    BN_free(n);
    base64url(modulus, sizeof modulus, text);
    memcpy(made->hcl, "HCLA", 4);
    made->hcl[4] = 1;
    uint8_t *data = made->hcl + PST_HCL_DATA_OFFSET;
    int count = snprintf(
        (char *)data + 20, sizeof made->hcl - PST_HCL_RUNTIME_OFFSET,
        "{\"keys\":[{\"kid\":\"HCLAkPub\",\"key_ops\":[\"sign\"],\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}]}", text);
    put_number(data, 20 + (uint64_t)count, 4);
    put_number(data + 4, 1, 4);
    put_number(data + 8, tdx ? 4 : 2, 4);
    put_number(data + 12, 1, 4);
    put_number(data + 16, (uint64_t)count, 4);
    made->hcl_bytes = PST_HCL_RUNTIME_OFFSET + (size_t)count;
    for (int i = 0; i < PST_PCR_COUNT; i++)
        memset(made->pcrs[i], i, PST_SHA256_BYTES);
    memset(made->nonce, 0x77, sizeof made->nonce);
    made_az_quote(made);
}

void made_az_runtime_hash(const struct made_az *made, uint8_t ret_data[64])
{
    memset(ret_data, 0, 64);
    assert_true(pst_sha256(made->hcl + PST_HCL_RUNTIME_OFFSET, made->hcl_bytes - PST_HCL_RUNTIME_OFFSET, ret_data));
}

void made_az_quote(struct made_az *made)
{
    static const uint8_t head[] = {0xff, 'T', 'C', 'G', 0x80, 0x18, 0, 2, 0, 0x0b},
                         selection[] = {0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0xff};
    size_t count = put_bytes(made->message, head, sizeof head), signature_bytes = sizeof made->signature;
    made->message[count++] = 0;
    made->message[count++] = sizeof made->nonce;
    count += put_bytes(made->message + count, made->nonce, sizeof made->nonce);
    memset(made->message + count, 0, 25);
    count += 25;
    count += put_bytes(made->message + count, selection, sizeof selection);
    made->message[count++] = 0;
    made->message[count++] = PST_SHA256_BYTES;
    assert_true(pst_sha256(made->pcrs, sizeof made->pcrs, made->message + count));
    made->message_bytes = count + PST_SHA256_BYTES;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, made->key), 1);
    assert_int_equal(EVP_DigestSign(context, made->signature, &signature_bytes, made->message, made->message_bytes), 1);
    EVP_MD_CTX_free(context);
}

void made_az_wrap(struct made_az *made, const uint8_t *report, size_t report_bytes, const struct made_quote *quote)
{
    struct pst_text text = {0};
    char *base64 = malloc(MADE_TEXT_BYTES);
    if (report != NULL)
        memcpy(made->hcl + PST_HCL_REPORT_OFFSET, report, report_bytes);
    base64url(made->hcl, made->hcl_bytes, base64);
    (void)pst_text_printf(&text, "{\"version\":1,\"hcl_report\":\"%s\",\"tpm_quote\":{\"message\":\"", base64);
    hex_add(&text, made->message, made->message_bytes);
    (void)pst_text_printf(&text, "\",\"signature\":\"");
    hex_add(&text, made->signature, sizeof made->signature);
    (void)pst_text_printf(&text, "\",\"pcrs\":[");
    for (int i = 0; i < PST_PCR_COUNT; i++) {
        (void)pst_text_printf(&text, "%s\"", i == 0 ? "" : ",");
        hex_add(&text, made->pcrs[i], PST_SHA256_BYTES);
        (void)pst_text_printf(&text, "\"");
    }
    (void)pst_text_printf(&text, "]}");
    if (quote != NULL) {
        base64url(quote->bytes, quote->count, base64);
        (void)pst_text_printf(&text, ",\"td_quote\":\"%s\"", base64);
    }
    (void)pst_text_printf(&text, "}");
    assert_true(!text.failed && text.count < sizeof made->json);
    memcpy(made->json, text.bytes, text.count + 1);
    made->request.evidence = (struct pst_bytes){(uint8_t *)made->json, text.count, "evidence.json"};
    pst_text_fini(&text);
    free(base64);
}

void made_az_fini(struct made_az *made) { EVP_PKEY_free(made->key); }

/* ---- what came of it ---- */
const char *made_verdict(const struct pst_evidence_request *request)
{
    static char name[128];
    struct pst_evidence_report report;
    int rc = pst_evidence_verify(request, &report);
    const struct pst_check *failed = pst_evidence_report_failed(&report);
    if (rc == PST_OK)
        assert_true(report.accepted == (failed == NULL));
    (void)snprintf(name, sizeof name, "%s",
                   rc == PST_EDATA    ? "no evidence"
                   : rc == PST_ENOMEM ? "no memory"
                   : failed != NULL   ? failed->name
                                      : "");
    if (rc == PST_EDATA)
        assert_non_null(report.why);
    for (uint32_t i = 0; i < report.check_count; i++) /* each field is one row */
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(report.checks[i].name, report.checks[k].name);
    pst_evidence_report_fini(&report);
    return name;
}

bool made_fails(const struct pst_evidence_request *request, const char *name)
{
    struct pst_evidence_report report;
    bool fails = false;
    assert_int_equal(pst_evidence_verify(request, &report), PST_OK);
    for (uint32_t i = 0; i < report.check_count; i++)
        fails |= report.checks[i].result == PST_CHECK_FAILED && strcmp(report.checks[i].name, name) == 0;
    assert_true(!fails || !report.accepted);
    pst_evidence_report_fini(&report);
    return fails;
}
