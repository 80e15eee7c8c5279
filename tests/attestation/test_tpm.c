/* test_tpm.c - quotes of a node's TPM with keys of our own: what binds a quote to node, nonce, key and PCRs is each wrong once. Those of a
 * TPM itself are in tests/cli/tpm.sh. */
#include "tests/attestation/made.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PARTS_MAX = 2048, ATTESTING = PST_TPM_ATTESTING | 1 << 6 /* userWithAuth */ };

static const uint8_t node_seed[32] = {1, 2, 3};

static struct {
    EVP_PKEY *key;
    bool rsa;
    uint32_t attributes, magic, type, pcrs;
    uint8_t public[PARTS_MAX], attest[PARTS_MAX], signature[PARTS_MAX], pcr[PST_PCR_COUNT][PST_SHA256_BYTES];
    uint8_t extra[32], bytes[PST_PROCESS_EVIDENCE_BYTES + PST_TPM_EVIDENCE_BYTES_MAX];
    size_t count;
    struct pst_tpm_evidence evidence;
} made;
static struct pst_attestation_policy policy;
static struct pst_evidence_request request;
static struct pst_digest pin, pcr_pin, node_pin, firmware, measurement;
static uint8_t nonce[32];

/* ---- a TPM of paper ---- */
struct writer {
    uint8_t *bytes;
    size_t count;
};
static void put(struct writer *w, const void *bytes, size_t count)
{
    assert_true(w->count + count <= PARTS_MAX);
    memcpy(w->bytes + w->count, bytes, count);
    w->count += count;
}
static void number(struct writer *w, uint64_t value, uint32_t bytes)
{
    uint8_t text[8];
    for (uint32_t i = 0; i < bytes; i++)
        text[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    put(w, text, bytes);
}
static void sized(struct writer *w, const void *bytes, size_t count)
{
    number(w, count, 2);
    put(w, bytes, count);
}
static void big_number(struct writer *w, const char *param, uint32_t bytes)
{
    BIGNUM *value = NULL;
    uint8_t text[512];
    assert_int_equal(EVP_PKEY_get_bn_param(made.key, param, &value), 1);
    assert_int_equal(BN_bn2binpad(value, text, (int)bytes), (int)bytes);
    BN_free(value);
    sized(w, text, bytes);
}

static void public_make(void)
{
    struct writer w = {made.public, 0};
    number(&w, made.rsa ? 0x0001 : 0x0023, 2);
    number(&w, PST_TPM_SHA256, 2);
    number(&w, made.attributes, 4);
    number(&w, 0, 2);
    number(&w, 0x0010, 2);
    number(&w, made.rsa ? PST_TPM_RSASSA : PST_TPM_ECDSA, 2);
    number(&w, PST_TPM_SHA256, 2);
    if (made.rsa) {
        number(&w, 2048, 2);
        number(&w, 0, 4);
        big_number(&w, OSSL_PKEY_PARAM_RSA_N, 256);
    } else {
        number(&w, 0x0003, 2);
        number(&w, 0x0010, 2);
        big_number(&w, OSSL_PKEY_PARAM_EC_PUB_X, 32);
        big_number(&w, OSSL_PKEY_PARAM_EC_PUB_Y, 32);
    }
    made.evidence.public = (struct pst_bytes){made.public, w.count, NULL};
}

static void attest_make(void)
{
    struct writer w = {made.attest, 0};
    uint8_t chosen[PST_PCR_COUNT * PST_SHA256_BYTES], digest[PST_SHA256_BYTES];
    uint32_t count = 0;
    static uint8_t values[PST_PCR_COUNT * PST_SHA256_BYTES];
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++)
        if ((made.pcrs >> i & 1) != 0)
            memcpy(chosen + (size_t)PST_SHA256_BYTES * count++, made.pcr[i], PST_SHA256_BYTES);
    assert_true(pst_sha256(chosen, (size_t)count * PST_SHA256_BYTES, digest));
    memcpy(values, chosen, (size_t)count * PST_SHA256_BYTES);
    made.evidence.pcrs = values;
    made.evidence.pcr_count = count;
    number(&w, made.magic, 4);
    number(&w, made.type, 2);
    sized(&w, "signer", 6);
    sized(&w, made.extra, sizeof made.extra);
    number(&w, 12345, 8);
    number(&w, 7, 4);
    number(&w, 1, 4);
    number(&w, 1, 1);
    number(&w, UINT64_C(0x0102030405060708), 8);
    number(&w, 1, 4);
    number(&w, PST_TPM_SHA256, 2);
    number(&w, 3, 1);
    for (uint32_t i = 0; i < 3; i++)
        number(&w, made.pcrs >> (8 * i) & 0xff, 1);
    sized(&w, digest, sizeof digest);
    made.evidence.attest = (struct pst_bytes){made.attest, w.count, NULL};
}

static void sign(EVP_PKEY *key)
{
    struct writer w = {made.signature, 0};
    uint8_t bytes[PARTS_MAX], half[32];
    size_t count = sizeof bytes;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, bytes, &count, made.evidence.attest.bytes, made.evidence.attest.count), 1);
    EVP_MD_CTX_free(context);
    number(&w, made.rsa ? PST_TPM_RSASSA : PST_TPM_ECDSA, 2);
    number(&w, PST_TPM_SHA256, 2);
    if (made.rsa) {
        sized(&w, bytes, count);
    } else {
        const unsigned char *at = bytes;
        ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)count);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), half, 32), 32);
        sized(&w, half, 32);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), half, 32), 32);
        sized(&w, half, 32);
        ECDSA_SIG_free(signature);
    }
    made.evidence.signature = (struct pst_bytes){made.signature, w.count, NULL};
}

static void wrap(void)
{
    assert_int_equal(pst_tpm_evidence_put(&made.evidence, made.bytes, &made.count), PST_OK);
    request.evidence = (struct pst_bytes){made.bytes, made.count, "node.quote"};
}

static void make(void)
{
    public_make();
    attest_make();
    sign(made.key);
    wrap();
}

static void bind(void)
{
    assert_int_equal(pst_tpm_qualifying_data(made.evidence.node_key, made.evidence.nonce, made.extra), PST_OK);
}

static void name_pin(void)
{
    uint8_t name[PST_TPM_NAME_BYTES];
    char pem[PST_TPM_PEM_BYTES_MAX];
    const char *why = NULL;
    assert_int_equal(pst_tpm_key_show(made.public, made.evidence.public.count, name, pem, &why), PST_OK);
    pin.byte_count = sizeof name;
    memcpy(pin.bytes, name, sizeof name);
    assert_non_null(strstr(pem, "BEGIN PUBLIC KEY"));
}

/* Making one of RSA takes long: one will do for all tests. */
static EVP_PKEY *key_take(bool rsa)
{
    static EVP_PKEY *kept;
    if (!rsa)
        return made_key("P-256");
    if (kept == NULL)
        kept = EVP_RSA_gen(2048);
    assert_int_equal(EVP_PKEY_up_ref(kept), 1);
    return kept;
}

static int begin(bool rsa)
{
    memset(&made, 0, sizeof made);
    made.rsa = rsa;
    made.key = key_take(rsa);
    made.attributes = ATTESTING;
    made.magic = 0xff544347;
    made.type = 0x8018;
    made.pcrs = 0x8ff;
    for (uint32_t i = 0; i < PST_PCR_COUNT; i++)
        memset(made.pcr[i], (int)(0xa0 + i), PST_SHA256_BYTES);
    memset(nonce, 0x5a, sizeof nonce);
    memcpy(made.evidence.nonce, nonce, sizeof nonce);
    if (pst_process_node_key(node_seed, made.evidence.node_key) != PST_OK)
        return -1;
    bind();
    pst_attestation_policy_init(&policy);
    request = (struct pst_evidence_request){
        .policy = &policy, .at_s = made_at_s, .allow_software = true, .nonce = nonce, .nonce_bytes = sizeof nonce};
    make();
    name_pin();
    policy.tpm_keys = (struct pst_digests){&pin, 1};
    return 0;
}
static int begin_ecdsa(void **state)
{
    (void)state;
    return begin(false);
}
static int begin_rsa(void **state)
{
    (void)state;
    return begin(true);
}
static int finish(void **state)
{
    (void)state;
    EVP_PKEY_free(made.key);
    return 0;
}

/* ---- by itself ---- */
static void a_quote_is_accepted_as_software_alone(void **state)
{
    (void)state;
    struct pst_evidence_report report;
    assert_string_equal(made_verdict(&request), "");
    assert_int_equal(pst_evidence_verify(&request, &report), PST_OK);
    assert_int_equal(report.backend, PST_BACKEND_TPM);
    assert_false(pst_backend_hardware(report.backend));
    assert_true(pst_all_zero(report.channel_key, sizeof report.channel_key)); /* so no key is ever released to it */
    pst_evidence_report_fini(&report);
    request.allow_software = false;
    assert_string_equal(made_verdict(&request), "hardware");
    policy.backends = 1u << PST_BACKEND_TPM; /* a policy does not make it hardware's */
    assert_string_equal(made_verdict(&request), "hardware");
    request.allow_software = true;
    policy.backends = 1u << PST_BACKEND_PROCESS;
    assert_string_equal(made_verdict(&request), "backend");
}

static void an_old_nonce_is_refused(void **state)
{
    (void)state;
    nonce[31] ^= 1;
    assert_string_equal(made_verdict(&request), "tpm.nonce");
    memcpy(made.evidence.nonce, nonce, sizeof nonce); /* the envelope says the new one, the quote does not */
    wrap();
    assert_string_equal(made_verdict(&request), "tpm.qualifying_data");
    bind();
    make();
    assert_string_equal(made_verdict(&request), "");
    request.nonce = NULL;
    policy.nonce = true;
    assert_string_equal(made_verdict(&request), "tpm.nonce");
}

static void another_nodes_key_is_refused(void **state)
{
    (void)state;
    node_pin.byte_count = 32;
    memcpy(node_pin.bytes, made.evidence.node_key, 32);
    policy.node_keys = (struct pst_digests){&node_pin, 1};
    assert_string_equal(made_verdict(&request), "");
    made.evidence.node_key[0] ^= 1;
    wrap();
    assert_string_equal(made_verdict(&request), "tpm.node_key");
    assert_true(made_fails(&request, "tpm.qualifying_data"));
}

static void another_tpm_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *other = made.rsa ? EVP_RSA_gen(2048) : made_key("P-256");
    sign(other); /* it says the key of the policy, and another one has signed */
    wrap();
    assert_string_equal(made_verdict(&request), "tpm.signature");
    EVP_PKEY *kept = made.key;
    made.key = other;
    make();
    assert_string_equal(made_verdict(&request), "tpm.key_name");
    policy.tpm_keys.count = 0; /* nobody has said whose it is */
    assert_string_equal(made_verdict(&request), "tpm.key_name");
    made.key = kept;
    EVP_PKEY_free(other);
}

static void a_key_is_known_by_its_digest_too(void **state)
{
    (void)state;
    unsigned char *der = NULL;
    int count = i2d_PUBKEY(made.key, &der);
    pin.byte_count = 32;
    assert_true(pst_sha256(der, (size_t)count, pin.bytes));
    OPENSSL_free(der);
    assert_string_equal(made_verdict(&request), "");
    pin.bytes[5] ^= 1;
    assert_string_equal(made_verdict(&request), "tpm.key_name");
}

static void a_key_that_signs_anything_is_refused(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {
        PST_TPM_RESTRICTED, PST_TPM_SIGN, PST_TPM_FIXED_TPM, PST_TPM_FIXED_PARENT, PST_TPM_SENSITIVE_DATA_ORIGIN,
        PST_TPM_DECRYPT};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        made.attributes = ATTESTING ^ wrong[i];
        make();
        name_pin();
        assert_string_equal(made_verdict(&request), "tpm.key_attributes");
    }
}

static void what_is_no_quote_is_refused(void **state)
{
    (void)state;
    made.magic = 0xff544346;
    make();
    assert_string_equal(made_verdict(&request), "tpm.magic");
    made.magic = 0xff544347;
    made.type = 0x8017; /* a certification */
    make();
    assert_string_equal(made_verdict(&request), "tpm.type");
}

static void pcrs_are_compared(void **state)
{
    (void)state;
    pcr_pin.byte_count = PST_SHA256_BYTES;
    memcpy(pcr_pin.bytes, made.pcr[7], PST_SHA256_BYTES);
    policy.pcrs[7] = (struct pst_digests){&pcr_pin, 1};
    assert_string_equal(made_verdict(&request), "");
    made.pcr[7][0] ^= 1; /* it was extended */
    make();
    assert_string_equal(made_verdict(&request), "tpm.pcr7");
    made.pcr[7][0] ^= 1;
    make();
    policy.pcrs[12] = policy.pcrs[7]; /* of one that is not quoted */
    assert_string_equal(made_verdict(&request), "tpm.pcr12");
    policy.pcrs[12].count = 0;
    uint8_t *values = (uint8_t *)(uintptr_t)made.evidence.pcrs;
    values[0] ^= 1; /* other values than those of the quote came along */
    wrap();
    assert_string_equal(made_verdict(&request), "tpm.pcrs");
    values[0] ^= 1;
    made.evidence.pcr_count--;
    wrap();
    assert_string_equal(made_verdict(&request), "tpm.pcr_selection");
    made.pcrs = 0x0fe; /* without PCR 0 */
    make();
    assert_string_equal(made_verdict(&request), "tpm.pcr_selection");
    policy.pcr_selection = 0x0f0;
    assert_string_equal(made_verdict(&request), "");
    policy.pcr_digests = (struct pst_digests){&pcr_pin, 1};
    assert_string_equal(made_verdict(&request), "tpm.pcr_digest");
}

static void firmware_is_compared(void **state)
{
    (void)state;
    firmware = (struct pst_digest){{1, 2, 3, 4, 5, 6, 7, 8}, 8};
    policy.tpm_firmware = (struct pst_digests){&firmware, 1};
    assert_string_equal(made_verdict(&request), "");
    firmware.bytes[7] = 9;
    assert_string_equal(made_verdict(&request), "tpm.firmware");
}

static void a_quote_has_no_measurement(void **state)
{
    (void)state;
    measurement.byte_count = 32;
    policy.measurements = (struct pst_digests){&measurement, 1};
    assert_string_equal(made_verdict(&request), "tpm.measurement");
}

static void each_byte_counts(void **state)
{
    (void)state;
    uint32_t accepted = 0;
    for (size_t i = 0; i < made.count; i++) {
        made.bytes[i] ^= 0x10;
        accepted += made_verdict(&request)[0] == '\0';
        made.bytes[i] ^= 0x10;
    }
    assert_int_equal(accepted, 0);
    for (size_t count = 0; count < made.count; count++) {
        request.evidence.count = count;
        assert_string_equal(made_verdict(&request), "no evidence");
    }
    request.evidence.count = made.count;
    assert_string_equal(made_verdict(&request), "");
    request.evidence.count = made.count + 1;
    assert_string_equal(made_verdict(&request), "no evidence");
}

/* ---- by a certificate ---- */
static X509 *issue(const char *usage, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool authority)
{
    static const uint8_t ak[] = {0x30, 0x07, 0x06, 0x05, 0x67, 0x81, 0x05, 0x08, 0x03}; /* 2.23.133.8.3 */
    struct made_certificate parts = {.name = authority ? "Maker of TPMs" : "AK",
                                     .key = key,
                                     .issuer = issuer,
                                     .issuer_key = issuer_key,
                                     .serial = 3,
                                     .authority = authority};
    if (usage != NULL)
        made_extension(&parts, usage, ak, sizeof ak);
    return made_certificate(&parts);
}

static void a_certificate_says_whose_key_it_is(void **state)
{
    (void)state;
    char pem[MADE_TEXT_BYTES], root_pem[MADE_TEXT_BYTES];
    EVP_PKEY *root_key = made_key("P-384"), *other_key = made_key("P-384");
    X509 *root = issue(NULL, root_key, NULL, root_key, true), *other = issue(NULL, other_key, NULL, other_key, true);
    X509 *leaf = issue("2.5.29.37", made.key, root, root_key, false),
         *plain = issue(NULL, made.key, root, root_key, false);
    struct pst_bytes certificates = {(uint8_t *)pem, made_pem(&leaf, 1, pem), "ak.pem"},
                     roots = {(uint8_t *)root_pem, made_pem(&root, 1, root_pem), "root.pem"};
    policy.tpm_keys.count = 0;
    request.certificates = &certificates;
    request.certificate_count = 1;
    request.roots = &roots;
    request.root_count = 1;
    assert_string_equal(made_verdict(&request), "");
    request.at_s = made_at_s + INT64_C(10) * 365 * 86400;
    assert_string_equal(made_verdict(&request), "chain.tpm.key");
    request.at_s = made_at_s;
    certificates.count = made_pem(&plain, 1, pem); /* made for something else */
    assert_string_equal(made_verdict(&request), "chain.tpm.usage");
    certificates.count = made_pem(&leaf, 1, pem);
    roots.count = made_pem(&other, 1, root_pem); /* of the same name */
    assert_string_equal(made_verdict(&request), "chain.tpm.key");
    certificates.count = made_pem((X509 *[]){leaf, root}, 2, pem);
    request.root_count = 0; /* none is built in */
    assert_true(made_fails(&request, "chain.tpm.root"));
    X509_free(root);
    X509_free(other);
    X509_free(leaf);
    X509_free(plain);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(other_key);
}

/* ---- behind a worker's report ---- */
static void accompany(const uint8_t seed[32])
{
    struct pst_process_evidence report = {.capabilities = PST_CONF_USER};
    uint8_t quote[PST_TPM_EVIDENCE_BYTES_MAX];
    size_t count = 0;
    memcpy(report.nonce, nonce, sizeof nonce);
    memset(report.channel_key, 0x11, 32);
    assert_int_equal(pst_process_evidence_sign(&report, seed, made.bytes), PST_OK);
    assert_int_equal(pst_tpm_evidence_put(&made.evidence, quote, &count), PST_OK);
    memcpy(made.bytes + PST_PROCESS_EVIDENCE_BYTES, quote, count);
    request.evidence = (struct pst_bytes){made.bytes, PST_PROCESS_EVIDENCE_BYTES + count, "worker.evidence"};
    node_pin.byte_count = 32;
    assert_int_equal(pst_process_node_key(seed, node_pin.bytes), PST_OK);
    policy.node_keys = (struct pst_digests){&node_pin, 1};
}

static void a_report_with_a_quote_is_that_of_its_node(void **state)
{
    (void)state;
    struct pst_evidence_report report;
    accompany(node_seed);
    assert_string_equal(made_verdict(&request), "");
    assert_int_equal(pst_evidence_verify(&request, &report), PST_OK);
    assert_int_equal(report.backend, PST_BACKEND_PROCESS);
    assert_int_equal(report.channel_key[0], 0x11);
    pst_evidence_report_fini(&report);
    request.allow_software = false;
    assert_string_equal(made_verdict(&request), "hardware");
}

static void a_stolen_node_key_is_not_enough_where_a_quote_is_wanted(void **state)
{
    (void)state;
    accompany(node_seed);
    request.evidence.count = PST_PROCESS_EVIDENCE_BYTES; /* the thief has no such TPM */
    assert_string_equal(made_verdict(&request), "tpm.quote");
    EVP_PKEY *kept = made.key; /* or one of his own */
    made.key = made.rsa ? EVP_RSA_gen(2048) : made_key("P-256");
    make();
    accompany(node_seed);
    assert_string_equal(made_verdict(&request), "tpm.key_name");
    EVP_PKEY_free(made.key);
    made.key = kept;
    policy.tpm_keys.count = 0; /* nobody asks for it: then it is */
    assert_string_equal(made_verdict(&request), "");
    request.evidence.count = PST_PROCESS_EVIDENCE_BYTES;
    assert_string_equal(made_verdict(&request), "");
}

static void another_nodes_quote_behind_a_report_is_refused(void **state)
{
    (void)state;
    static const uint8_t other_seed[32] = {9};
    accompany(other_seed);
    assert_string_equal(made_verdict(&request), "tpm.node_key");
    policy.tpm_keys.count = 0;
    assert_string_equal(made_verdict(&request), "tpm.node_key");
}

static void an_old_quote_behind_a_new_report_is_refused(void **state)
{
    (void)state;
    nonce[0] ^= 1;
    accompany(node_seed);
    assert_string_equal(made_verdict(&request), "tpm.nonce");
}

static void wishes_of_a_tpm_want_a_key_that_is_known(void **state)
{
    (void)state;
    accompany(node_seed);
    policy.tpm_keys.count = 0;
    pcr_pin.byte_count = PST_SHA256_BYTES;
    memcpy(pcr_pin.bytes, made.pcr[7], PST_SHA256_BYTES);
    policy.pcrs[7] = (struct pst_digests){&pcr_pin, 1};
    assert_string_equal(made_verdict(&request), "tpm.key_name");
}

/* ---- of a TPM ---- */
static void quotes_that_a_tpm_has_made_are_accepted(void **state)
{
    (void)state;
    static const uint8_t asked[] = {0x00, 0xc0, 0xff, 0xee};
    const char *path = made.rsa ? PST_TEST_SOURCE_DIR "/tests/fuzz/corpus/evidence/tpm_rsa"
                                : PST_TEST_SOURCE_DIR "/tests/fuzz/corpus/evidence/tpm_ecdsa";
    const char *why = NULL;
    char pem[PST_TPM_PEM_BYTES_MAX];
    FILE *file = fopen(path, "rbe");
    assert_non_null(file);
    made.count = fread(made.bytes, 1, sizeof made.bytes, file);
    assert_int_equal(fclose(file), 0);
    struct pst_tpm_evidence evidence;
    assert_int_equal(pst_tpm_evidence_parse(made.bytes, made.count, &evidence, &why), PST_OK);
    assert_int_equal(pst_tpm_key_show(evidence.public.bytes, evidence.public.count, pin.bytes, pem, &why), PST_OK);
    request.evidence = (struct pst_bytes){made.bytes, made.count, "swtpm's"};
    request.nonce = asked;
    request.nonce_bytes = sizeof asked;
    assert_string_equal(made_verdict(&request), "");
}

/* ---- parsers ---- */
static void what_cannot_be_put_is_refused(void **state)
{
    (void)state;
    size_t count = 0;
    struct pst_tpm_evidence evidence = made.evidence;
    evidence.pcr_count = 0;
    assert_int_equal(pst_tpm_evidence_put(&evidence, made.bytes, &count), PST_EINVAL);
    evidence.pcr_count = PST_PCR_COUNT + 1;
    assert_int_equal(pst_tpm_evidence_put(&evidence, made.bytes, &count), PST_EINVAL);
    evidence = made.evidence;
    evidence.attest.count = 0;
    assert_int_equal(pst_tpm_evidence_put(&evidence, made.bytes, &count), PST_EINVAL);
    evidence.attest.count = PST_TPM_PART_BYTES_MAX + 1;
    assert_int_equal(pst_tpm_evidence_put(&evidence, made.bytes, &count), PST_EINVAL);
}

static void memory_may_run_out_at_each_allocation(void **state)
{
    (void)state;
    uint64_t before = pst_malloc_count();
    assert_string_equal(made_verdict(&request), "");
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_string_equal(made_verdict(&request), "no memory");
    }
    pst_malloc_fail_at(0);
}

int main(void)
{
#define EACH(name) \
    cmocka_unit_test_setup_teardown(name, begin_ecdsa, finish), { #name " (RSASSA)", name, begin_rsa, finish, NULL }
    const struct CMUnitTest tests[] = {
        EACH(a_quote_is_accepted_as_software_alone),
        EACH(an_old_nonce_is_refused),
        EACH(another_nodes_key_is_refused),
        EACH(another_tpm_is_refused),
        EACH(a_key_is_known_by_its_digest_too),
        EACH(a_key_that_signs_anything_is_refused),
        EACH(what_is_no_quote_is_refused),
        EACH(pcrs_are_compared),
        EACH(firmware_is_compared),
        EACH(a_quote_has_no_measurement),
        EACH(each_byte_counts),
        EACH(a_certificate_says_whose_key_it_is),
        EACH(a_report_with_a_quote_is_that_of_its_node),
        EACH(a_stolen_node_key_is_not_enough_where_a_quote_is_wanted),
        EACH(another_nodes_quote_behind_a_report_is_refused),
        EACH(an_old_quote_behind_a_new_report_is_refused),
        EACH(wishes_of_a_tpm_want_a_key_that_is_known),
        EACH(quotes_that_a_tpm_has_made_are_accepted),
        EACH(what_cannot_be_put_is_refused),
        EACH(memory_may_run_out_at_each_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
