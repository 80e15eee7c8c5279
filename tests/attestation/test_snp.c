/* test_snp.c - reports of SEV-SNP with keys of our own: what is genuine is accepted, and each thing that can be wrong is named. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct made_snp made;

static int begin(void **state)
{
    (void)state;
    made_snp_init(&made, "Milan", false);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    made_snp_fini(&made);
    return 0;
}

static void a_report_with_its_chain_is_accepted_in_every_generation(void **state)
{
    (void)state;
    static const char *const products[] = {"Milan", "Genoa", "Turin"};
    for (size_t i = 0; i < 6; i++) {
        struct made_snp one;
        made_snp_init(&one, products[i / 2], i % 2 != 0);
        assert_string_equal(made_verdict(&one.request), "");
        made_snp_fini(&one);
    }
}

static void a_report_of_version_2_names_no_processor_and_is_accepted(void **state)
{
    (void)state;
    made.report[0] = 2;
    memset(made.report + 0x188, 0, 3);
    made_snp_sign(&made);
    assert_string_equal(made_verdict(&made.request), "");
}

static void each_bit_that_is_changed_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < PST_SNP_REPORT_BYTES; i += MADE_STEP) {
        made.report[i] ^= (uint8_t)(1u << (i % 8));
        if (made_verdict(&made.request)[0] == '\0')
            fail_msg("byte %zu may be changed", i);
        made.report[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_string_equal(made_verdict(&made.request), "");
}

static void what_is_signed_and_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        uint32_t offset;
        uint8_t bits;
        const char *field;
    } cases[] = {
        {0x000, 3 ^ 6, "report.version"},
        {0x000, 3 ^ 1, "report.version"},
        {0x034, 1 ^ 2, "report.signature_algo"},
        {0x00a, 1 << 3, "report.policy.debug"},
        {0x048, 2 << 2, "report.key_info"},
        {0x180, 1, "certificate.tcb"},
        {0x181, 1, "certificate.tcb"},
        {0x186, 1, "certificate.tcb"},
        {0x187, 0x80, "certificate.tcb"},
        {0x188, 1, "report.cpuid"},
        {0x189, 0x10, "report.cpuid"},
        {0x1a0, 1, "report.chip_id"},
        {0x1df, 1, "report.chip_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made.report[cases[i].offset] ^= cases[i].bits;
        made_snp_sign(&made);
        if (!made_fails(&made.request, cases[i].field))
            fail_msg("%s is not named", cases[i].field);
        made.report[cases[i].offset] ^= cases[i].bits;
    }
}

static void debug_is_accepted_where_it_is_allowed(void **state)
{
    (void)state;
    struct pst_attestation_policy policy;
    pst_attestation_policy_init(&policy);
    made.report[0x00a] |= 1 << 3;
    made_snp_sign(&made);
    made.request.allow_debug = true;
    assert_string_equal(made_verdict(&made.request), "");
    made.request.allow_debug = false;
    policy.debug = true;
    made.request.policy = &policy;
    assert_string_equal(made_verdict(&made.request), "");
}

static void a_guest_that_a_migration_agent_may_move_is_refused(void **state)
{
    (void)state;
    assert_string_equal(made_verdict(&made.request), "");
    made.report[0x00a] |= 1 << 2;
    made_snp_sign(&made);
    assert_string_equal(made_verdict(&made.request), "report.policy.migrate_ma");
    made.request.allow_debug = true; /* is another question */
    assert_string_equal(made_verdict(&made.request), "report.policy.migrate_ma");
}

static void the_nonce_has_to_be_all_of_the_report_data(void **state)
{
    (void)state;
    uint8_t nonce[64];
    memset(nonce, 0x5a, sizeof nonce);
    made.request.nonce = nonce;
    made.request.nonce_bytes = 64;
    assert_string_equal(made_verdict(&made.request), "");
    made.request.nonce_bytes = 32;
    assert_string_equal(made_verdict(&made.request), "report.report_data");
    memset(made.report + 0x050 + 32, 0, 32);
    made_snp_sign(&made);
    assert_string_equal(made_verdict(&made.request), "");
    nonce[31] ^= 1; /* an old one */
    assert_string_equal(made_verdict(&made.request), "report.report_data");
    struct pst_attestation_policy policy;
    pst_attestation_policy_init(&policy);
    policy.nonce = true;
    made.request.policy = &policy;
    made.request.nonce = NULL;
    assert_string_equal(made_verdict(&made.request), "report.report_data");
    memset(made.report + 0x050, 0, 64); /* made for nobody; an empty nonce is none, and fits nothing */
    made_snp_sign(&made);
    made.request.nonce = nonce;
    made.request.nonce_bytes = 0;
    assert_string_equal(made_verdict(&made.request), "report.report_data");
    memset(nonce, 0, sizeof nonce); /* the control: it is the report data that somebody has asked for */
    made.request.nonce_bytes = 64;
    assert_string_equal(made_verdict(&made.request), "");
    made.request.nonce = NULL;
}

/* ---- certificates ---- */
static void a_chain_that_is_not_whole_or_not_ours_is_refused(void **state)
{
    (void)state;
    X509 *const leaf_alone[] = {made.leaf}, *const no_ask[] = {made.leaf, made.ark},
                *const no_leaf[] = {made.ask, made.ark};
    made.certificates.count = made_pem(leaf_alone, 1, made.pem);
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
    made.certificates.count = made_pem(no_ask, 2, made.pem);
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
    made.certificates.count = made_pem(no_leaf, 2, made.pem);
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
    made.request.certificate_count = 0;
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
}

static void a_root_that_is_not_pinned_is_refused(void **state)
{
    (void)state;
    struct made_snp other;
    struct pst_attestation_policy policy;
    struct pst_digest fingerprint = {.byte_count = 32};
    unsigned int bytes = 0;
    pst_attestation_policy_init(&policy);
    made.request.root_count = 0; /* those that are built in are AMD's */
    assert_string_equal(made_verdict(&made.request), "chain.snp.root");
    assert_int_equal(X509_digest(made.ark, EVP_sha256(), fingerprint.bytes, &bytes), 1);
    policy.roots = (struct pst_digests){&fingerprint, 1};
    made.request.policy = &policy;
    assert_string_equal(made_verdict(&made.request), "");
    fingerprint.bytes[7] ^= 1;
    assert_string_equal(made_verdict(&made.request), "chain.snp.root");
    made.request.policy = NULL;
    made_snp_init(&other, "Milan", false); /* the same names, other keys */
    made.request.roots = &other.roots;
    made.request.root_count = 1;
    assert_string_equal(made_verdict(&made.request), "chain.snp.ask");
    made_snp_fini(&other);
}

static void a_report_of_another_key_or_generation_is_refused(void **state)
{
    (void)state;
    struct made_snp other;
    made_snp_init(&other, "Milan", false);
    made.request.certificates = &other.certificates;
    made.request.roots = &other.roots;
    assert_string_equal(made_verdict(&made.request), "report.signature");
    made_snp_fini(&other);
    made_snp_init(&other, "Genoa", false);
    made.request.certificates = &other.certificates;
    made.request.roots = &other.roots;
    assert_true(made_fails(&made.request, "report.cpuid"));
    made_snp_fini(&other);
    made.request.certificates = &made.certificates;
    made.request.roots = &made.roots;
    static const uint8_t genoa[] = {0x16, 5, 'G', 'e', 'n', 'o', 'a'};
    made_extension(&made.parts, "1.3.6.1.4.1.3704.1.2", genoa, sizeof genoa);
    made_snp_issue(&made);
    assert_true(made_fails(&made.request, "certificate.product"));
}

static void certificates_count_in_their_time_alone(void **state)
{
    (void)state;
    made.request.at_s = made_at_s - (int64_t)365 * 86400;
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
    made.request.at_s = made_at_s + (int64_t)3650 * 86400;
    assert_string_equal(made_verdict(&made.request), "chain.snp.vcek");
    made.request.at_s = made_at_s;
    made.ask_parts.until = "20250301000000Z";
    made_snp_issue(&made);
    assert_string_equal(made_verdict(&made.request), "chain.snp.ask");
}

static void a_revoked_issuer_is_refused(void **state)
{
    (void)state;
    made.request.crls = &made.crl;
    made.request.crl_count = 1;
    for (long revoked = 1; revoked <= 4;
         revoked++) { /* serials: 1 is the ARK, 2 the ASK; 3 is not the ARK's to revoke */
        static const char *const verdicts[] = {"chain.snp.ark", "chain.snp.ask", "", ""};
        X509_CRL *crl = made_crl(made.ark, made.ark_key, NULL, revoked);
        made.crl = made_crl_der(crl);
        assert_string_equal(made_verdict(&made.request), verdicts[revoked - 1]);
        OPENSSL_free((void *)made.crl.bytes);
        X509_CRL_free(crl);
    }
    X509_CRL *old = made_crl(made.ark, made.ark_key, "20250301000000Z", 0),
             *foreign = made_crl(made.ark, made.ask_key, NULL, 0);
    made.crl = made_crl_der(old);
    assert_string_equal(made_verdict(&made.request), "chain.snp.ask");
    OPENSSL_free((void *)made.crl.bytes);
    made.crl = made_crl_der(foreign);
    assert_string_equal(made_verdict(&made.request), "chain.snp.ask");
    OPENSSL_free((void *)made.crl.bytes);
    X509_CRL_free(old);
    X509_CRL_free(foreign);
}

static void an_issuer_that_is_no_authority_is_refused(void **state)
{
    (void)state;
    made.ask_parts.authority = false;
    made_snp_issue(&made);
    assert_string_not_equal(made_verdict(&made.request), "");
    assert_true(made_fails(&made.request, "chain.snp.ask"));
}

static void a_key_on_another_curve_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *key = made.parts.key;
    made.parts.key = made_key("P-256");
    made_snp_issue(&made);
    assert_true(made_fails(&made.request, "report.signature"));
    EVP_PKEY_free(made.parts.key);
    made.parts.key = key;
}

static void extensions_that_are_malformed_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *oid;
        uint8_t bytes[8];
        size_t count;
        const char *field;
    } cases[] = {
        {"1.3.6.1.4.1.3704.1.2", {0x16, 5, 'M', 'i'}, 4, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.2", {0x16, 1, '-'}, 3, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.2", {0x16, 3, 'M', 0, 'i'}, 5, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.2", {0x16, 4, 'R', 'o', 'm', 'e'}, 6, "certificate.product"},
        {"1.3.6.1.4.1.3704.1.3.1", {2, 1, 0x84}, 3, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.3.1", {2, 2, 1, 4}, 4, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.3.1", {2, 1, 4, 0}, 4, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.3.8", {4, 1, 4}, 3, "certificate.extensions"},
        {"1.3.6.1.4.1.3704.1.4", {1, 2, 3}, 3, "certificate.extensions"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made_certificate parts = made.parts;
        made_extension(&made.parts, cases[i].oid, cases[i].bytes, cases[i].count);
        made_snp_issue(&made);
        if (!made_fails(&made.request, cases[i].field))
            fail_msg("case %zu: %s is not named", i, cases[i].field);
        made.parts = parts;
    }
    made.parts.extension_count--; /* the chip's is the last one */
    made_snp_issue(&made);
    assert_string_equal(made_verdict(&made.request), "report.chip_id");
}

/* ---- policies ---- */
static void a_policy_names_what_it_wants(void **state)
{
    (void)state;
    struct pst_digest two[2] = {{.byte_count = 48}, {.byte_count = 48}}, host = {.byte_count = 32};
    struct pst_attestation_policy policy;
    made.request.policy = &policy;
    pst_attestation_policy_init(&policy);
    policy.measurements = (struct pst_digests){two, 2};
    assert_string_equal(made_verdict(&made.request), "report.measurement");
    memset(two[1].bytes, 0x3c, 48); /* an update is under way: either will do */
    assert_string_equal(made_verdict(&made.request), "");
    two[1].byte_count = 32;
    assert_string_equal(made_verdict(&made.request), "report.measurement");
    pst_attestation_policy_init(&policy);
    policy.host_data = (struct pst_digests){&host, 1};
    assert_string_equal(made_verdict(&made.request), "report.host_data");
    memset(host.bytes, 0x11, 32);
    assert_string_equal(made_verdict(&made.request), "");
    pst_attestation_policy_init(&policy);
    policy.signers = (struct pst_digests){two, 1};
    assert_string_equal(made_verdict(&made.request), "report.id_key_digest");
    pst_attestation_policy_init(&policy);
    policy.backends = 1u << PST_BACKEND_TDX;
    assert_string_equal(made_verdict(&made.request), "backend");
    pst_attestation_policy_init(&policy);
    policy.svn_min = 8;
    assert_string_equal(made_verdict(&made.request), "report.guest_svn");
    policy.svn_min = 7;
    assert_string_equal(made_verdict(&made.request), "");
    made.report[0x030] = 2;
    made_snp_sign(&made);
    policy.vmpl_max = 1;
    assert_string_equal(made_verdict(&made.request), "report.vmpl");
    policy.vmpl_max = 2;
    assert_string_equal(made_verdict(&made.request), "");
}

static void each_part_of_the_tcb_has_its_minimum(void **state)
{
    (void)state;
    static const int64_t there[PST_TCB_PART_COUNT] = {4, 0, 22, 213, 0};
    struct pst_attestation_policy policy;
    made.request.policy = &policy;
    for (int i = 0; i < PST_TCB_PART_COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "tcb.%s", pst_tcb_part_names[i]);
        pst_attestation_policy_init(&policy);
        policy.tcb_min[i] = there[i] + 1;
        assert_string_equal(made_verdict(&made.request), name);
        policy.tcb_min[i] = there[i];
        assert_string_equal(made_verdict(&made.request), "");
    }
}

/* ---- bytes that are no evidence, and want of memory ---- */
static void bytes_that_are_no_evidence_are_said_to_be_none(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 1183, 1185};
    uint8_t bytes[1200] = {0xee};
    made.request.evidence.bytes = bytes;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        made.request.evidence.count = sizes[i];
        assert_string_equal(made_verdict(&made.request), "no evidence");
    }
    made.request.evidence = (struct pst_bytes){made.report, PST_SNP_REPORT_BYTES, "report.bin"};
    made.request.kind_given = true;
    made.request.kind = PST_BACKEND_TDX;
    assert_string_equal(made_verdict(&made.request), "no evidence");
    made.request.kind = PST_BACKEND_SNP;
    assert_string_equal(made_verdict(&made.request), "");
    made.certificates.count--; /* the last line is cut */
    made.pem[made.certificates.count - 5] = 'x';
    assert_string_equal(made_verdict(&made.request), "no evidence");
}

static void hexadecimal_digits_will_do_too(void **state)
{
    (void)state;
    char text[2 * PST_SNP_REPORT_BYTES + 4] = "0x";
    for (size_t i = 0; i < PST_SNP_REPORT_BYTES; i++)
        (void)snprintf(text + 2 + 2 * i, 3, "%02X", made.report[i]);
    text[2 + 2 * PST_SNP_REPORT_BYTES] = '\n'; /* a zero is behind it */
    made.request.evidence = (struct pst_bytes){(uint8_t *)text, strlen(text), "report.hex"};
    assert_string_equal(made_verdict(&made.request), "");
}

static void each_allocation_may_fail_and_nothing_is_accepted(void **state)
{
    (void)state;
    uint64_t before = pst_malloc_count();
    assert_string_equal(made_verdict(&made.request), "");
    uint64_t count = pst_malloc_count() - before;
    assert_true(count > 5);
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_string_equal(made_verdict(&made.request), "no memory");
    }
    pst_malloc_fail_at(0);
}

/* ---- the layout ---- */
static void fields_stand_in_order_and_do_not_overlap(void **state)
{
    (void)state;
    const struct {
        const struct pst_layout_field *fields;
        uint32_t count, bytes;
    } layouts[] = {
        {pst_snp_fields, pst_snp_field_count, PST_SNP_SIGNED_BYTES},
        {pst_quote_fields, pst_quote_field_count, PST_QUOTE_HEADER_BYTES},
        {pst_enclave_fields, pst_enclave_field_count, PST_ENCLAVE_REPORT_BYTES},
        {pst_td_fields, pst_td_field_count, PST_TD_REPORT_BYTES},
        {pst_td_fields, pst_td15_field_count, PST_TD_REPORT15_BYTES},
    };
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
        uint32_t end = 0;
        for (uint32_t i = 0; i < layouts[l].count; i++) {
            const struct pst_layout_field *field = &layouts[l].fields[i];
            assert_true(field->offset >= end);
            assert_true(field->kind == PST_LAYOUT_BYTES || field->bytes <= 8);
            end = field->offset + field->bytes;
        }
        assert_true(end <= layouts[l].bytes);
    }
}

/* ---- time ---- */
static void times_are_read_and_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"2025-07-01", 1751328000},
                {"2000-02-29T23:59:59Z", 951868799},
                {"1969-12-31T23:59:59Z", -1},
                {"9999-12-31T23:59:59Z", 253402300799}};
    static const char *const bad[] = {"",
                                      "2025",
                                      "2025-02-29",
                                      "2025-13-01",
                                      "2025-00-01",
                                      "2025-01-00",
                                      "2025-1-01",
                                      "2025-01-01 00:00:00Z",
                                      "2025-01-01T24:00:00Z",
                                      "2025-01-01T00:60:00Z",
                                      "2025-01-01T00:00:00",
                                      "2025-01-01T00:00:00Zx",
                                      "2025-01-01Z",
                                      "-025-01-01"};
    char text[PST_TIME_TEXT_BYTES];
    int64_t s = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(pst_time_parse(good[i].text, &s), PST_OK);
        assert_int_equal(s, good[i].s);
        pst_time_print(s, text);
        assert_memory_equal(text, good[i].text, strlen(good[i].text));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pst_time_parse(bad[i], &s), PST_EINVAL);
    for (int64_t day = -200000; day < 200000; day += 97) {
        int64_t again = 0;
        pst_time_print(day * 86400 + 12345, text);
        assert_int_equal(pst_time_parse(text, &again), PST_OK);
        assert_int_equal(again, day * 86400 + 12345);
    }
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(a_report_with_its_chain_is_accepted_in_every_generation),
        EACH(a_report_of_version_2_names_no_processor_and_is_accepted),
        EACH(each_bit_that_is_changed_is_refused),
        EACH(what_is_signed_and_wrong_is_named),
        EACH(debug_is_accepted_where_it_is_allowed),
        EACH(a_guest_that_a_migration_agent_may_move_is_refused),
        EACH(the_nonce_has_to_be_all_of_the_report_data),
        EACH(a_chain_that_is_not_whole_or_not_ours_is_refused),
        EACH(a_root_that_is_not_pinned_is_refused),
        EACH(a_report_of_another_key_or_generation_is_refused),
        EACH(certificates_count_in_their_time_alone),
        EACH(a_revoked_issuer_is_refused),
        EACH(an_issuer_that_is_no_authority_is_refused),
        EACH(a_key_on_another_curve_is_refused),
        EACH(extensions_that_are_malformed_are_named),
        EACH(a_policy_names_what_it_wants),
        EACH(each_part_of_the_tcb_has_its_minimum),
        EACH(bytes_that_are_no_evidence_are_said_to_be_none),
        EACH(hexadecimal_digits_will_do_too),
        EACH(each_allocation_may_fail_and_nothing_is_accepted),
        cmocka_unit_test(fields_stand_in_order_and_do_not_overlap),
        cmocka_unit_test(times_are_read_and_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
