/* test_vtpm.c - Azure's forms with keys of our own: the hardware signs the key of the virtual TPM, which signs PCRs and nonce. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct made_az az;
static struct made_snp snp;
static struct made_quote quote;
static struct pst_attestation_policy policy;

static void wrap(bool tdx)
{
    if (!tdx) {
        made_az_runtime_hash(&az, snp.report + 0x050);
        made_snp_sign(&snp);
        made_az_wrap(&az, snp.report, sizeof snp.report, NULL);
    } else {
        made_az_runtime_hash(&az, quote.body + 520);
        made_quote_sign(&quote);
        made_az_wrap(&az, NULL, 0, &quote);
    }
    struct pst_bytes evidence = az.request.evidence;
    az.request = tdx ? quote.request : snp.request;
    az.request.evidence = evidence;
    az.request.policy = &policy;
}

static int begin_snp(void **state)
{
    (void)state;
    pst_attestation_policy_init(&policy);
    made_snp_init(&snp, "Milan", false);
    made_quote_init(&quote, 4, false);
    made_az_init(&az, false);
    wrap(false);
    return 0;
}

static int begin_tdx(void **state)
{
    (void)state;
    pst_attestation_policy_init(&policy);
    made_snp_init(&snp, "Milan", false);
    made_quote_init(&quote, 4, false);
    made_az_init(&az, true);
    wrap(true);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    made_snp_fini(&snp);
    made_quote_fini(&quote);
    made_az_fini(&az);
    return 0;
}

static void hardware_key_and_quote_together_are_accepted(void **state)
{
    (void)state;
    assert_string_equal(made_verdict(&az.request), "");
    az.request.nonce = az.nonce;
    az.request.nonce_bytes = sizeof az.nonce;
    assert_string_equal(made_verdict(&az.request), "");
}

static void another_nonce_is_refused(void **state)
{
    (void)state;
    uint8_t nonce[33] = {0};
    memcpy(nonce, az.nonce, 32);
    az.request.nonce = nonce;
    az.request.nonce_bytes = 31;
    assert_string_equal(made_verdict(&az.request), "tpm.nonce");
    az.request.nonce_bytes = 33;
    assert_string_equal(made_verdict(&az.request), "tpm.nonce");
    az.request.nonce_bytes = 32;
    nonce[0] ^= 1;
    assert_string_equal(made_verdict(&az.request), "tpm.nonce");
}

static void a_quote_of_another_key_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *kept = az.key;
    az.key = EVP_RSA_gen(2048);
    made_az_quote(&az); /* the runtime data name the key that was before */
    wrap(false);
    assert_string_equal(made_verdict(&az.request), "tpm.signature");
    EVP_PKEY_free(az.key);
    az.key = kept;
}

static void a_key_that_the_hardware_has_not_signed_is_refused(void **state)
{
    (void)state;
    struct made_az other;
    made_az_init(&other, false);
    made_az_wrap(&other, snp.report, sizeof snp.report, NULL);
    az.request.evidence = other.request.evidence;
    assert_string_equal(made_verdict(&az.request), "report.report_data");
    made_az_fini(&other);
}

static void a_report_that_the_guest_itself_asked_for_is_refused(void **state)
{
    (void)state;
    snp.report[PST_SNP_VMPL_OFFSET] = 2;
    wrap(false);
    assert_string_equal(made_verdict(&az.request), "report.vmpl");
}

static void a_quote_of_a_td_is_bound_to_the_key_too(void **state)
{
    (void)state;
    quote.body[520] ^= 1;
    made_quote_sign(&quote);
    made_az_wrap(&az, NULL, 0, &quote);
    az.request.evidence = (struct pst_bytes){(uint8_t *)az.json, strlen(az.json), "evidence.json"};
    assert_string_equal(made_verdict(&az.request), "td.report_data");
    made_az_wrap(&az, NULL, 0, NULL); /* nothing in it that hardware has signed */
    az.request.evidence = (struct pst_bytes){(uint8_t *)az.json, strlen(az.json), "evidence.json"};
    assert_string_equal(made_verdict(&az.request), "no evidence");
}

static void pcrs_are_what_was_quoted(void **state)
{
    (void)state;
    struct pst_digest digest = {.byte_count = 32};
    assert_true(pst_sha256(az.pcrs, sizeof az.pcrs, digest.bytes));
    policy.pcr_digests = (struct pst_digests){&digest, 1};
    assert_string_equal(made_verdict(&az.request), "");
    digest.bytes[0] ^= 1;
    assert_string_equal(made_verdict(&az.request), "tpm.pcr_digest");
    policy.pcr_digests.count = 0;
    struct pst_digest value = {.byte_count = PST_SHA256_BYTES};
    memcpy(value.bytes, az.pcrs[4], PST_SHA256_BYTES);
    policy.pcrs[4] = (struct pst_digests){&value, 1};
    assert_string_equal(made_verdict(&az.request), "");
    value.bytes[0] ^= 1;
    assert_string_equal(made_verdict(&az.request), "tpm.pcr4");
    policy.pcrs[4].count = 0;
    az.pcrs[4][0] ^= 1;
    wrap(false);
    assert_string_equal(made_verdict(&az.request), "tpm.pcrs");
}

static void a_quote_that_is_none_is_refused(void **state)
{
    (void)state;
    static const uint32_t offsets[] = {0, 5, 7, 11};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        az.message[offsets[i]] ^= 0x40;
        wrap(false);
        assert_string_equal(made_verdict(&az.request), "no evidence");
        az.message[offsets[i]] ^= 0x40;
    }
    for (size_t cut = 0; cut < az.message_bytes; cut++) {
        struct pst_tpm_quote parsed;
        const char *why = NULL;
        uint8_t *bytes = malloc(cut + 1);
        memcpy(bytes, az.message, cut);
        assert_int_equal(pst_tpm_quote_parse(bytes, cut, &parsed, &why), PST_EDATA);
        free(bytes);
    }
}

static void a_report_alone_says_that_there_is_no_quote(void **state)
{
    (void)state;
    az.request.evidence = (struct pst_bytes){az.hcl, az.hcl_bytes, "hcl-report.bin"};
    assert_string_equal(made_verdict(&az.request), "");
    policy.nonce = true;
    assert_string_equal(made_verdict(&az.request), "tpm.quote");
    policy.nonce = false;
    az.request.nonce = az.nonce;
    az.request.nonce_bytes = sizeof az.nonce;
    assert_string_equal(made_verdict(&az.request), "tpm.quote");
    az.request.nonce = NULL;
    struct pst_digest value = {.byte_count = PST_SHA256_BYTES};
    policy.pcrs[23] = (struct pst_digests){&value, 1};
    assert_string_equal(made_verdict(&az.request), "tpm.quote");
    policy.pcrs[23].count = 0;
    assert_string_equal(made_verdict(&az.request), "");
}

static void an_hcl_report_that_is_none_is_refused(void **state)
{
    (void)state;
    static const uint32_t offsets[] = {0,
                                       PST_HCL_DATA_OFFSET + 8,
                                       PST_HCL_DATA_OFFSET + 12,
                                       PST_HCL_DATA_OFFSET + 18,
                                       PST_HCL_RUNTIME_OFFSET,
                                       PST_HCL_RUNTIME_OFFSET + 17};
    az.request.evidence = (struct pst_bytes){az.hcl, az.hcl_bytes, "hcl-report.bin"};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        az.hcl[offsets[i]] ^= 0x21;
        assert_string_equal(made_verdict(&az.request), "no evidence");
        az.hcl[offsets[i]] ^= 0x21;
    }
    for (size_t cut = 5; cut < az.hcl_bytes; cut += 13) {
        uint8_t *bytes = malloc(cut);
        memcpy(bytes, az.hcl, cut);
        az.request.evidence = (struct pst_bytes){bytes, cut, "hcl-report.bin"};
        assert_string_equal(made_verdict(&az.request), "no evidence");
        free(bytes);
    }
}

static void each_allocation_may_fail_and_nothing_is_accepted(void **state)
{
    (void)state;
    uint64_t before = pst_malloc_count();
    assert_string_equal(made_verdict(&az.request), "");
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_string_equal(made_verdict(&az.request), "no memory");
    }
    pst_malloc_fail_at(0);
}

int main(void)
{
#define SNP(name) cmocka_unit_test_setup_teardown(name, begin_snp, finish)
#define TDX(name) cmocka_unit_test_setup_teardown(name, begin_tdx, finish)
    const struct CMUnitTest tests[] = {
        SNP(hardware_key_and_quote_together_are_accepted),
        TDX(hardware_key_and_quote_together_are_accepted),
        SNP(another_nonce_is_refused),
        SNP(a_quote_of_another_key_is_refused),
        SNP(a_key_that_the_hardware_has_not_signed_is_refused),
        SNP(a_report_that_the_guest_itself_asked_for_is_refused),
        TDX(a_quote_of_a_td_is_bound_to_the_key_too),
        SNP(pcrs_are_what_was_quoted),
        SNP(a_quote_that_is_none_is_refused),
        SNP(a_report_alone_says_that_there_is_no_quote),
        SNP(an_hcl_report_that_is_none_is_refused),
        SNP(each_allocation_may_fail_and_nothing_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
