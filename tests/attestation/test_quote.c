/* test_quote.c - quotes of SGX and TDX, and collateral, with keys of our own. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct made_quote made;
static struct pst_attestation_policy policy;

static int begin_sgx(void **state)
{
    (void)state;
    made_quote_init(&made, 3, false);
    pst_attestation_policy_init(&policy);
    made.request.policy = &policy;
    return 0;
}

static int begin_tdx(void **state)
{
    (void)state;
    made_quote_init(&made, 4, false);
    pst_attestation_policy_init(&policy);
    made.request.policy = &policy;
    return 0;
}

static int finish(void **state)
{
    (void)state;
    made_quote_fini(&made);
    return 0;
}

static void a_quote_with_its_collateral_is_accepted_in_every_version(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        bool td15;
    } cases[] = {{3, false}, {4, false}, {5, false}, {5, true}};
    for (size_t i = 0; i < 4; i++) {
        struct made_quote *one = malloc(sizeof *one);
        made_quote_init(one, cases[i].version, cases[i].td15);
        assert_string_equal(made_verdict(&one->request), "");
        made_quote_fini(one);
        free(one);
    }
}

/* Of a quote nothing covers the root in it, for one is given, and of the text of its certificates the few signs that carry no bits
 * of them: line ends, and what pads the last sign. */
static void each_bit_that_is_changed_is_refused(void **state)
{
    (void)state;
    const char begin[] = "-----BEGIN";
    size_t root = 0, chain = 0, padding_count = 0;
    for (size_t i = 0; i + sizeof begin < made.count; i++)
        root = memcmp(made.bytes + i, begin, sizeof begin - 1) == 0 ? i : root;
    chain = (size_t)((uint8_t *)memmem(made.bytes, made.count, begin, sizeof begin - 1) - made.bytes);
    for (size_t i = 0; i < root; i += i < 1200 ? MADE_STEP : 3 * MADE_STEP) {
        made.bytes[i] ^= (uint8_t)(1u << (i % 8));
        padding_count += made_verdict(&made.request)[0] == '\0';
        if (i < chain && padding_count != 0)
            fail_msg("byte %zu may be changed", i);
        made.bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_true(padding_count <= 8);
    assert_string_equal(made_verdict(&made.request), "");
}

static void a_quote_that_is_cut_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < made.count; i += i < 1200 ? MADE_STEP : 61) {
        uint8_t *cut = malloc(i + 1);
        memcpy(cut, made.bytes, i);
        made.request.evidence = (struct pst_bytes){cut, i, "quote.bin"};
        if (i != PST_SNP_REPORT_BYTES)
            assert_string_equal(made_verdict(&made.request), "no evidence");
        free(cut);
    }
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const uint8_t sizes[][4] = {{0xff, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0x7f}, {0, 0, 0, 0}, {1, 0, 0, 0}};
    const size_t signature = PST_QUOTE_HEADER_BYTES + made.body_bytes,
                 places[] = {signature, signature + 4 + 128 + 2, signature + 4 + 128 + 6 + 384 + 64 + 2 + 32 + 2};
    for (size_t p = 0; p < 3; p++) {
        uint8_t kept[4];
        memcpy(kept, made.bytes + places[p], 4);
        for (size_t s = 0; s < 4; s++) {
            memcpy(made.bytes + places[p], sizes[s], 4);
            assert_string_equal(made_verdict(&made.request), "no evidence");
        }
        memcpy(made.bytes + places[p], kept, 4);
    }
    assert_string_equal(made_verdict(&made.request), "");
}

static void bytes_behind_a_quote_are_shown_and_change_nothing(void **state)
{
    (void)state;
    memset(made.bytes + made.count, 0, 64);
    made.request.evidence.count += 64;
    assert_string_equal(made_verdict(&made.request), "");
}

static void what_is_signed_and_wrong_in_a_td_is_named(void **state)
{
    (void)state;
    static const struct {
        uint32_t offset;
        uint8_t bits;
        const char *field;
    } cases[] = {{120, 1, "td.td_attributes.debug"},
                 {120, 4, "td.td_attributes.debug"},
                 {64, 1, "module.signer"},
                 {112, 1, "module.attributes"},
                 {1, 2, "module.identity"},
                 {0, 6 ^ 5, "tcb.status"},
                 {2, 5 ^ 4, "tcb.status"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made.body[cases[i].offset] ^= cases[i].bits;
        made_quote_sign(&made);
        if (!made_fails(&made.request, cases[i].field))
            fail_msg("%s is not named", cases[i].field);
        made.body[cases[i].offset] ^= cases[i].bits;
    }
}

static void what_is_wrong_with_the_quoting_enclave_is_named(void **state)
{
    (void)state;
    static const struct {
        uint32_t offset;
        uint8_t bits;
        const char *field;
    } cases[] = {{16, 1, "qe.miscselect"},  {48, 2, "qe.debug"},        {52, 1, "qe.attributes"},
                 {128, 1, "qe.mr_signer"},  {256, 4, "qe.isv_prod_id"}, {258, 8 ^ 7, "tcb.status"},
                 {258, 8 ^ 5, "tcb.status"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made.qe_report[cases[i].offset] ^= cases[i].bits;
        made_quote_sign(&made);
        if (!made_fails(&made.request, cases[i].field))
            fail_msg("%s is not named", cases[i].field);
        made.qe_report[cases[i].offset] ^= cases[i].bits;
    }
    made.other_pck_key = true;
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "qe.signature");
    made.other_pck_key = false;
    made.header[12] ^= 1;
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "quote.qe_vendor");
}

static void an_enclave_in_debug_mode_is_refused_unless_it_is_allowed(void **state)
{
    (void)state;
    made.body[48] |= 2;
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "enclave.attributes.debug");
    made.request.allow_debug = true;
    assert_string_equal(made_verdict(&made.request), "");
}

static void a_td_that_may_be_moved_is_refused(void **state)
{
    (void)state;
    assert_string_equal(made_verdict(&made.request), "");
    made.body[120 + 3] |= 1 << 5; /* bit 29 of its attributes */
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "td.td_attributes.migratable");
}

static void the_nonce_is_the_report_data(void **state)
{
    (void)state;
    uint8_t nonce[64];
    memset(nonce, 0x5a, sizeof nonce);
    made.request.nonce = nonce;
    made.request.nonce_bytes = sizeof nonce;
    assert_string_equal(made_verdict(&made.request), "");
    nonce[63] ^= 1;
    assert_string_equal(made_verdict(&made.request), made.version == 3 ? "enclave.report_data" : "td.report_data");
}

/* ---- certificates ---- */
static void a_root_of_somebody_else_is_refused(void **state)
{
    (void)state;
    made.request.root_count = 0;
    assert_string_equal(made_verdict(&made.request), "chain.quote.root");
    assert_true(made_fails(&made.request, "chain.tcb_info.root"));
}

static void revoked_keys_are_refused(void **state)
{
    (void)state;
    made.revoked_pck = 4;
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "chain.quote.pck");
    made.revoked_pck = 0;
    made.revoked_ca = 2;
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "chain.quote.pck_ca");
    made.revoked_ca = 3;
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "chain.tcb_info.tcb_signing");
    made.revoked_ca = 0;
    made.crl_until = "20250301000000Z";
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "chain.quote.pck");
}

static void a_key_of_the_root_that_is_no_pck_cannot_stand_in_for_one(void **state)
{
    (void)state;
    made.pck_parts.extension_count = 0;
    made_quote_issue(&made);
    made_quote_sign(&made);
    made_quote_collateral(&made);
    assert_true(made_fails(&made.request, "certificate.pck"));
    made.request.collateral.bytes = NULL; /* and not without collateral either */
    policy.tcb_statuses |= 1u << PST_TCB_NO_COLLATERAL;
    assert_string_equal(made_verdict(&made.request), "certificate.pck");
}

static void a_pck_cannot_sign_collateral(void **state)
{
    (void)state;
    made.tcb_parts.name = "Intel SGX PCK Certificate";
    made_quote_issue(&made);
    made_quote_sign(&made);
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "collateral.tcb_info.signature");
}

/* ---- collateral ---- */
static void changed(const char *from, const char *to, const char *field)
{
    bool qe = strstr(made.tcb_info, from) == NULL;
    char *text = qe ? made.qe_identity : made.tcb_info;
    size_t room = qe ? sizeof made.qe_identity : sizeof made.tcb_info;
    char *kept = strdup(text);
    made_replace(text, room, from, to);
    made_quote_collateral(&made);
    const char *verdict = made_verdict(&made.request);
    if (strcmp(verdict, field) != 0)
        fail_msg("%s for %s: %s, not %s", to, from, verdict, field);
    (void)snprintf(text, room, "%s", kept);
    free(kept);
}

static void what_collateral_says_counts(void **state)
{
    (void)state;
    changed("90C06F000000", "90C06F000001", "collateral.fmspc");
    changed("\"pceId\":\"0000\"", "\"pceId\":\"0001\"", "collateral.pce_id");
    changed("2025-06-20T00:00:00Z", "2025-07-02T00:00:00Z", "collateral.tcb_info.time");
    changed("2025-07-20T00:00:00Z", "2025-06-30T23:59:59Z", "collateral.tcb_info.time");
    changed("2025-07-21T00:00:00Z", "2025-06-30T23:59:59Z", "collateral.qe_identity.time");
    changed("\"UpToDate\"", "\"Revoked\"", "tcb.status");
    changed("\"UpToDate\"", "\"SWHardeningNeeded\"", "tcb.status");
    changed("\"pcesvn\":13", "\"pcesvn\":14", "tcb.status");
    changed("\"version\":3", "\"version\":2", "no evidence");
    changed("\"UpToDate\"", "\"Fine\"", "no evidence");
    changed("\"UpToDate\"", "\"NoCollateral\"", "no evidence");
    changed("\"tcbType\":0", "\"tcbType\":1", "no evidence");
    changed("\"svn\":5", "\"svn\":256", "no evidence");
    changed("\"version\":2", "\"version\":3", "no evidence");
}

static void collateral_of_the_other_tee_is_refused(void **state)
{
    (void)state;
    struct made_quote *other = malloc(sizeof *other);
    made_quote_init(other, made.version == 3 ? 4 : 3, false);
    memcpy(made.tcb_info, other->tcb_info, sizeof made.tcb_info);
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "collateral.tee");
    made_quote_fini(other);
    free(other);
}

static void collateral_that_was_changed_is_refused(void **state)
{
    (void)state;
    char *at = strstr(made.collateral, "OutOfDate");
    assert_non_null(at);
    made_replace(made.collateral, sizeof made.collateral, "OutOfDate", "UpToDate");
    made.request.collateral.count = strlen(made.collateral);
    assert_string_equal(made_verdict(&made.request), "collateral.tcb_info.signature");
}

static void the_age_of_collateral_is_bounded(void **state)
{
    (void)state;
    struct pst_evidence_report report;
    assert_int_equal(pst_evidence_verify(&made.request, &report), PST_OK);
    assert_true(report.collateral);
    assert_int_equal((made_at_s - report.collateral_from_s) / 86400, 11);
    pst_evidence_report_fini(&report);
    policy.collateral_age_days_max = 11;
    assert_string_equal(made_verdict(&made.request), "");
    policy.collateral_age_days_max = 10;
    assert_string_equal(made_verdict(&made.request), "collateral.age");
}

static void statuses_are_accepted_by_policy(void **state)
{
    (void)state;
    policy.tcb_statuses = 1u << PST_TCB_OUT_OF_DATE;
    assert_string_equal(made_verdict(&made.request), "tcb.status");
    changed("\"pcesvn\":13", "\"pcesvn\":14", "");
    policy.tcb_statuses |= 1u << PST_TCB_UP_TO_DATE;
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "");
    policy.tcb_statuses = ~0u;
    changed("\"UpToDate\"", "\"Revoked\"", "tcb.status");
    made_replace(made.tcb_info, sizeof made.tcb_info, "\"pcesvn\":5", "\"pcesvn\":14");
    changed("\"pcesvn\":13", "\"pcesvn\":14", "tcb.status"); /* lower than every level */
    policy.tcb_evaluation_min = 18;
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "collateral.evaluation");
}

static void a_module_or_qe_that_is_out_of_date_makes_the_platform_so(void **state)
{
    (void)state;
    policy.tcb_statuses = 1u << PST_TCB_OUT_OF_DATE;
    made.body[0] = 3;
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "");
    made.body[0] = 1; /* lower than every level of the module */
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "tcb.status");
    made.body[0] = 6;
    made.qe_report[258] = 6;
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "");
    policy.tcb_statuses = 1u << PST_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
    changed("\"tdxtcbcomponents\":[{\"svn\":5}", "\"tdxtcbcomponents\":[{\"svn\":4}", "tcb.status");
    /* The platform's level is the third "UpToDate" of the text, behind the module's. */
    made_replace(made.tcb_info, sizeof made.tcb_info, "\"2024-03-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"",
                 "\"2024-03-13T00:00:00Z\",\"tcbStatus\":\"ConfigurationNeeded\"");
    made_quote_collateral(&made);
    assert_string_equal(made_verdict(&made.request), "");
}

static void without_collateral_a_policy_has_to_say_so(void **state)
{
    (void)state;
    made.request.collateral.bytes = NULL;
    assert_string_equal(made_verdict(&made.request), "tcb.status");
    policy.tcb_statuses |= 1u << PST_TCB_NO_COLLATERAL;
    assert_string_equal(made_verdict(&made.request), "");
    made.qe_report[128] ^= 1; /* somebody's own enclave that quotes */
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "qe.mr_signer");
    made.qe_report[128] ^= 1;
    made.body[64] ^= 1; /* somebody's own module of TDX */
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "module.signer");
    made.body[64] ^= 1;
    made.body[112] ^= 1; /* Intel's, in a mode for looking into it */
    made_quote_sign(&made);
    assert_string_equal(made_verdict(&made.request), "module.attributes");
}

static void lists_of_the_user_count_without_collateral_and_those_of_the_quote_never(void **state)
{
    (void)state;
    policy.tcb_statuses |= 1u << PST_TCB_NO_COLLATERAL;
    made.request.collateral.bytes = NULL;
    for (long serial = 4; serial <= 5; serial++) { /* 4 is the PCK */
        X509_CRL *crl = made_crl(made.ca, made.ca_key, NULL, serial);
        struct pst_bytes der = made_crl_der(crl);
        made.request.crls = &der;
        made.request.crl_count = 1;
        assert_string_equal(made_verdict(&made.request), serial == 4 ? "chain.quote.pck" : "");
        OPENSSL_free((void *)der.bytes);
        X509_CRL_free(crl);
    }
    STACK_OF(X509) *certificates = sk_X509_new_null();
    X509_CRL *crl = made_crl(made.ca, made.ca_key, NULL, 0);
    struct pst_bytes der = made_crl_der(crl);
    const char *why = NULL;
    assert_int_equal(pst_certificates_parse(der.bytes, der.count, certificates, NULL, &why), PST_EDATA);
    OPENSSL_free((void *)der.bytes);
    X509_CRL_free(crl);
    sk_X509_free(certificates);
}

static void a_policy_names_what_it_wants_of_a_td(void **state)
{
    (void)state;
    struct pst_digest digest = {.byte_count = 48};
    const struct {
        struct pst_digests *list;
        const char *field;
        uint8_t byte;
    } cases[] = {{&policy.measurements, "td.mr_td", 0x3c}, {&policy.host_data, "td.mr_config_id", 0x11},
                 {&policy.rtmr0, "td.rtmr0", 0x40},        {&policy.rtmr1, "td.rtmr1", 0x41},
                 {&policy.rtmr2, "td.rtmr2", 0x42},        {&policy.rtmr3, "td.rtmr3", 0x43}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pst_attestation_policy_init(&policy);
        *cases[i].list = (struct pst_digests){&digest, 1};
        memset(digest.bytes, cases[i].byte, 48);
        assert_string_equal(made_verdict(&made.request), "");
        digest.bytes[47] ^= 1;
        assert_string_equal(made_verdict(&made.request), cases[i].field);
    }
}

static void a_policy_names_what_it_wants_of_an_enclave(void **state)
{
    (void)state;
    struct pst_digest digest = {.byte_count = 32};
    policy.measurements = (struct pst_digests){&digest, 1};
    memset(digest.bytes, 0x3c, 32);
    assert_string_equal(made_verdict(&made.request), "");
    digest.bytes[0] ^= 1;
    assert_string_equal(made_verdict(&made.request), "enclave.mr_enclave");
    pst_attestation_policy_init(&policy);
    policy.signers = (struct pst_digests){&digest, 1};
    assert_string_equal(made_verdict(&made.request), "enclave.mr_signer");
    pst_attestation_policy_init(&policy);
    policy.svn_min = 8;
    assert_string_equal(made_verdict(&made.request), "enclave.isv_svn");
}

static void each_allocation_may_fail_and_nothing_is_accepted(void **state)
{
    (void)state;
    uint64_t before = pst_malloc_count();
    assert_string_equal(made_verdict(&made.request), "");
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_string_equal(made_verdict(&made.request), "no memory");
    }
    pst_malloc_fail_at(0);
}

static void escapes_of_json_are_utf_8(void **state)
{
    (void)state;
    static const char text[] =
        "\"\\u0041\\u007f\\u0080\\u00e9\\u07ff\\u0800\\u20ac\\uffff\\ud800\\udc00\\ud83d\\ude00\"";
    static const char wanted[] = "A\x7f\xc2\x80\xc3\xa9\xdf\xbf\xe0\xa0\x80\xe2\x82\xac\xef\xbf\xbf"
                                 "\xf0\x90\x80\x80\xf0\x9f\x98\x80"; /* RFC 3629, section 3 */
    const struct pst_json *json = NULL;
    const char *why = NULL;
    struct pst_arena arena;
    pst_arena_init(&arena);
    assert_int_equal(pst_json_parse(&arena, text, sizeof text - 1, &json, &why), PST_OK);
    assert_int_equal(json->text_bytes, sizeof wanted - 1);
    assert_memory_equal(json->text, wanted, sizeof wanted);
    pst_arena_fini(&arena);
}

static void json_is_taken_to_the_letter(void **state)
{
    (void)state;
    static const char *const good[] = {"{}", " [1, -2.5e+3, true, false, null, \"\\u00e9\\ud83d\\ude00\\n\"] ", "0",
                                       "\"\""};
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{\"a\":1,\"a\":2}",
                                      "01",
                                      "+1",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "nul",
                                      "\"",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\\udc00\"",
                                      "\"\\u0000\"",
                                      "\"\n\"",
                                      "[1 2]",
                                      "{1:2}",
                                      "1 1",
                                      "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]",
                                      "\"\\",
                                      "{\"a\" 1}"};
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool wanted = i < sizeof good / sizeof *good;
        const char *text = wanted ? good[i] : bad[i - sizeof good / sizeof *good], *why = NULL;
        const struct pst_json *json = NULL;
        struct pst_arena arena;
        pst_arena_init(&arena);
        int rc = pst_json_parse(&arena, text, strlen(text), &json, &why);
        if (rc != (wanted ? PST_OK : PST_EDATA))
            fail_msg("%s: %d", text, rc);
        if (!wanted)
            assert_non_null(why);
        pst_arena_fini(&arena);
    }
}

int main(void)
{
#define SGX(name) cmocka_unit_test_setup_teardown(name, begin_sgx, finish)
#define TDX(name) cmocka_unit_test_setup_teardown(name, begin_tdx, finish)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quote_with_its_collateral_is_accepted_in_every_version),
        SGX(each_bit_that_is_changed_is_refused),
        TDX(each_bit_that_is_changed_is_refused),
        SGX(a_quote_that_is_cut_is_none),
        TDX(a_quote_that_is_cut_is_none),
        TDX(sizes_that_do_not_fit_are_refused),
        TDX(bytes_behind_a_quote_are_shown_and_change_nothing),
        TDX(what_is_signed_and_wrong_in_a_td_is_named),
        TDX(what_is_wrong_with_the_quoting_enclave_is_named),
        SGX(what_is_wrong_with_the_quoting_enclave_is_named),
        SGX(an_enclave_in_debug_mode_is_refused_unless_it_is_allowed),
        TDX(a_td_that_may_be_moved_is_refused),
        SGX(the_nonce_is_the_report_data),
        TDX(the_nonce_is_the_report_data),
        TDX(a_root_of_somebody_else_is_refused),
        TDX(revoked_keys_are_refused),
        SGX(revoked_keys_are_refused),
        TDX(a_key_of_the_root_that_is_no_pck_cannot_stand_in_for_one),
        TDX(a_pck_cannot_sign_collateral),
        SGX(what_collateral_says_counts),
        SGX(collateral_of_the_other_tee_is_refused),
        TDX(collateral_of_the_other_tee_is_refused),
        TDX(collateral_that_was_changed_is_refused),
        TDX(the_age_of_collateral_is_bounded),
        SGX(statuses_are_accepted_by_policy),
        TDX(a_module_or_qe_that_is_out_of_date_makes_the_platform_so),
        TDX(without_collateral_a_policy_has_to_say_so),
        TDX(lists_of_the_user_count_without_collateral_and_those_of_the_quote_never),
        TDX(a_policy_names_what_it_wants_of_a_td),
        SGX(a_policy_names_what_it_wants_of_an_enclave),
        TDX(each_allocation_may_fail_and_nothing_is_accepted),
        cmocka_unit_test(json_is_taken_to_the_letter),
        cmocka_unit_test(escapes_of_json_are_utf_8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
