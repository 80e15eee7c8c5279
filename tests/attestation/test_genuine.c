/* test_genuine.c - evidence that real machines have made, where the recordings are: the folder PENSTOCK_RECORDINGS names, or ../shared
 * beside the tree, with data/attestation in it. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[4096];

/* Freed by the caller. */
static struct pst_bytes file_read(const char *name)
{
    char path[8192];
    enum { BYTES_MAX = 1 << 20 };
    uint8_t *bytes = malloc(BYTES_MAX);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL || bytes == NULL)
        fail_msg("%s cannot be read", path);
    size_t count = fread(bytes, 1, BYTES_MAX, file);
    (void)fclose(file);
    return (struct pst_bytes){bytes, count, name};
}

struct genuine { /* one case */
    const char *evidence, *certificates[3], *collateral, *day;
    uint32_t statuses; /* that are accepted beside UpToDate */
    const char *verdict;
};
struct opened {
    struct pst_bytes certificates[3];
    struct pst_attestation_policy policy;
    struct pst_evidence_request request;
};

static void genuine_open(const struct genuine *one, struct opened *to)
{
    memset(to, 0, sizeof *to);
    pst_attestation_policy_init(&to->policy);
    to->policy.tcb_statuses |= one->statuses;
    to->request.policy = &to->policy;
    to->request.evidence = file_read(one->evidence);
    to->request.certificates = to->certificates;
    for (uint32_t i = 0; i < 3 && one->certificates[i] != NULL; i++)
        to->certificates[to->request.certificate_count++] = file_read(one->certificates[i]);
    if (one->collateral != NULL)
        to->request.collateral = file_read(one->collateral);
    assert_int_equal(pst_time_parse(one->day, &to->request.at_s), PST_OK);
}

static void genuine_close(struct opened *to)
{
    free((void *)to->request.evidence.bytes);
    free((void *)to->request.collateral.bytes);
    for (uint32_t i = 0; i < 3; i++)
        free((void *)to->certificates[i].bytes);
}

#define MILAN "snp/roots/milan_ask_ark_asvk.pem"
#define GENOA "snp/roots/genoa_ask_ark_asvk.pem"
#define TURIN "snp/roots/turin_ask_ark_asvk.pem"
#define REPORT "snp/trustee/test-report.bin"
#define VCEK "snp/trustee/test-vcek.der"
#define NONE (1u << PST_TCB_NO_COLLATERAL)
#define CONFIGURATION (1u << PST_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED)
#define SGX_QUOTE "sgx/dcap-qvl/sgx_quote"
#define SGX_COLLATERAL "sgx/dcap-qvl/sgx_quote_collateral.json"
#define TDX_QUOTE "tdx/dcap-qvl/tdx_quote"
#define TDX_COLLATERAL "tdx/dcap-qvl/tdx_quote_collateral.json"
#define OLD_QUOTE "tdx/dcap-qvl/tdx_quote_outdated"
#define OLD_COLLATERAL "tdx/dcap-qvl/tdx_quote_outdated_collateral.json"

static const struct genuine cases[] = {
    /* SEV-SNP */
    {REPORT, {VCEK, MILAN}, NULL, "2025-06-30", 0, ""},
    {REPORT, {VCEK, GENOA, MILAN}, NULL, "2025-06-30", 0, ""},
    {REPORT, {VCEK, GENOA, TURIN}, NULL, "2025-06-30", 0, "chain.snp.vcek"}, /* another generation */
    {REPORT, {MILAN}, NULL, "2025-06-30", 0, "chain.snp.vcek"},
    {REPORT, {"snp/trustee/test-vlek.der", MILAN}, NULL, "2025-06-30", 0, "chain.snp.vcek"},
    {REPORT, {"snp/trustee/test-vcek-invalid-legacy.der", MILAN}, NULL, "2025-06-30", 0, "chain.snp.vcek"},
    {REPORT, {"snp/trustee/test-vcek-invalid-new.der", MILAN}, NULL, "2025-06-30", 0, "chain.snp.vcek"},
    {REPORT, {"az-snp-vtpm/vcek.pem", MILAN}, NULL, "2025-06-30", 0, "report.signature"}, /* of another chip */
    {REPORT, {VCEK, MILAN}, NULL, "2022-01-01", 0, "chain.snp.vcek"},
    {REPORT, {VCEK, MILAN}, NULL, "2031-01-01", 0, "chain.snp.vcek"},
    {"snp/trustee/test-vlek-report.bin", {"snp/trustee/test-vlek.der", MILAN}, NULL, "2025-06-30", 0, ""},
    {"snp/trustee/test-vlek-report.bin", {VCEK, MILAN}, NULL, "2025-06-30", 0, "chain.snp.vlek"},
    {"snp/trustee/test-vlek-report.bin", {"snp/trustee/test-vlek.der", MILAN}, NULL, "2026-06-30", 0, "chain.snp.vlek"},
    /* SGX */
    {SGX_QUOTE, {NULL}, SGX_COLLATERAL, "2025-06-30", CONFIGURATION, ""},
    {SGX_QUOTE, {NULL}, SGX_COLLATERAL, "2025-06-30", 0, "tcb.status"},
    {SGX_QUOTE, {NULL}, SGX_COLLATERAL, "2025-06-18", CONFIGURATION, "chain.quote.pck"}, /* a CRL of tomorrow */
    {SGX_QUOTE, {NULL}, SGX_COLLATERAL, "2025-07-21", CONFIGURATION, "chain.quote.pck"}, /* one that has expired */
    {SGX_QUOTE, {NULL}, TDX_COLLATERAL, "2025-06-30", CONFIGURATION, "chain.quote.pck"},
    {SGX_QUOTE, {NULL}, NULL, "2025-06-30", 0, "tcb.status"},
    {SGX_QUOTE, {NULL}, NULL, "2025-06-30", NONE, ""},
    {"sgx/openenclave/sgx_quote", {NULL}, NULL, "2025-06-30", NONE, "enclave.attributes.debug"},
    /* TDX */
    {TDX_QUOTE, {NULL}, TDX_COLLATERAL, "2025-06-30", 0, ""},
    {TDX_QUOTE, {NULL}, TDX_COLLATERAL, "2025-07-21", 0, "chain.quote.pck"},
    {TDX_QUOTE, {NULL}, OLD_COLLATERAL, "2026-02-28", 0, "collateral.fmspc"},
    {OLD_QUOTE, {NULL}, OLD_COLLATERAL, "2026-02-28", ~0u, "tcb.status"}, /* a component below every level */
    {OLD_QUOTE, {NULL}, NULL, "2026-02-28", NONE, ""},
    {"tdx/dcap-qvl/tdx-quote.hex", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"tdx/dcap-qvl/quote-from-tappd.hex", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"tdx/go-tdx-guest/quote_v5_sample.dat", {NULL}, NULL, "2026-02-28", NONE, ""},
    {"tdx/go-tdx-guest/cos/cos-113-tdx-quote.dat", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"az-tdx-vtpm/td-quote.bin", {NULL}, NULL, "2025-06-30", NONE, ""},
    /* Azure */
    {"az-snp-vtpm/evidence-v0.json", {MILAN}, NULL, "2025-06-30", 0, ""},
    {"az-snp-vtpm/evidence-v1.json", {MILAN}, NULL, "2025-06-30", 0, ""},
    {"az-snp-vtpm/evidence-v2.json", {MILAN}, NULL, "2025-06-30", 0, ""},
    {"az-snp-vtpm/evidence-genoa.json", {GENOA}, NULL, "2025-06-30", 0, ""},
    {"az-snp-vtpm/evidence-genoa.json", {MILAN}, NULL, "2025-06-30", 0, "chain.snp.vcek"},
    {"az-snp-vtpm/hcl-report.bin", {"az-snp-vtpm/vcek.pem"}, NULL, "2025-06-30", 0, ""},
    {"az-tdx-vtpm/evidence-v0.json", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"az-tdx-vtpm/evidence-v1.json", {NULL}, NULL, "2025-06-30", NONE, ""},
    {"az-tdx-vtpm/hcl-report.bin", {NULL}, NULL, "2025-06-30", NONE, "no evidence"}, /* no quote in it */
};

static void evidence_of_real_machines_is_judged_as_it_should_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct opened one;
        genuine_open(&cases[i], &one);
        const char *verdict = made_verdict(&one.request);
        if (strcmp(verdict, cases[i].verdict) != 0)
            fail_msg("%s of %s: `%s`, not `%s`", cases[i].evidence, cases[i].day, verdict, cases[i].verdict);
        genuine_close(&one);
    }
}

/* A quote of the virtual TPM's that is not by the key in the report: each is genuine, together they are not. */
static void a_quote_of_another_tpm_is_refused(void **state)
{
    (void)state;
    struct pst_bytes hcl = file_read("az-snp-vtpm/hcl-report.bin"), message = file_read("az-snp-vtpm/tpm-quote.msg"),
                     signature = file_read("az-snp-vtpm/tpm-quote.sig"), vcek = file_read("az-snp-vtpm/vcek.pem");
    struct pst_text json = {0};
    static const char *const keys[] = {"hcl_report", "message", "signature"};
    const struct pst_bytes *const values[] = {&hcl, &message, &signature};
    for (int v = 0; v < 3; v++) {
        (void)pst_text_printf(&json, "%s\"%s\":[",
                              v == 0   ? "{"
                              : v == 1 ? ",\"tpm_quote\":{\"pcrs\":[],"
                                       : ",",
                              keys[v]);
        for (size_t i = 0; i < values[v]->count; i++)
            (void)pst_text_printf(&json, "%s%u", i == 0 ? "" : ",", values[v]->bytes[i]);
        (void)pst_text_printf(&json, "]");
    }
    (void)pst_text_printf(&json, "}}");
    const struct pst_evidence_request request = {.evidence = {(uint8_t *)json.bytes, json.count, "evidence.json"},
                                                 .certificates = &vcek,
                                                 .certificate_count = 1,
                                                 .at_s = made_at_s};
    assert_string_equal(made_verdict(&request), "tpm.signature");
    pst_text_fini(&json);
    free((void *)hcl.bytes);
    free((void *)message.bytes);
    free((void *)signature.bytes);
    free((void *)vcek.bytes);
}

/* The bytes that nobody has signed are listed, and there is no more to them than that. */
static void flip_each(const struct genuine *one, size_t end, const char *what, uint32_t unsigned_max)
{
    struct opened opened;
    genuine_open(one, &opened);
    uint8_t *bytes = (uint8_t *)opened.request.evidence.bytes;
    uint32_t accepted = 0;
    end = end < opened.request.evidence.count ? end : opened.request.evidence.count;
    print_message("%s, bytes that may be changed:", one->evidence);
    for (size_t i = 0; i < end; i += MADE_STEP) {
        bytes[i] ^= (uint8_t)(1u << (i % 8));
        if (made_verdict(&opened.request)[0] == '\0') {
            print_message(" %zu", i);
            accepted++;
        }
        bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    print_message("%s (%s)\n", accepted == 0 ? " none" : "", what);
    if (accepted > unsigned_max)
        fail_msg("%u bytes of %s may be changed", accepted, one->evidence);
    assert_string_equal(made_verdict(&opened.request), "");
    genuine_close(&opened);
}

static void each_byte_of_a_genuine_report_counts(void **state)
{
    (void)state;
    flip_each(&cases[0], SIZE_MAX, "all of the report is signed, or has to be zero", 0);
}

static void each_byte_of_a_genuine_td_quote_counts(void **state)
{
    (void)state;
    static const struct genuine quote = {TDX_QUOTE, {NULL}, TDX_COLLATERAL, "2025-06-30", 0, ""};
    flip_each(&quote, SIZE_MAX, "the end of the certificates, and what stands behind the quote", 100);
}

static void each_byte_of_a_genuine_sgx_quote_counts(void **state)
{
    (void)state;
    static const struct genuine quote = {SGX_QUOTE, {NULL}, NULL, "2025-06-30", NONE, ""};
    flip_each(&quote, SIZE_MAX, "the end of the certificates, and what stands behind the quote", 100);
}

static void nonces_of_genuine_evidence_are_compared(void **state)
{
    (void)state;
    struct opened opened;
    struct pst_bytes nonce = file_read("tdx/go-tdx-guest/cos/nonce.dat");
    static const struct genuine cos = {
        "tdx/go-tdx-guest/cos/cos-113-tdx-quote.dat", {NULL}, NULL, "2025-06-30", NONE, ""};
    genuine_open(&cos, &opened);
    opened.request.nonce = nonce.bytes;
    opened.request.nonce_bytes = nonce.count;
    assert_string_equal(made_verdict(&opened.request), "");
    ((uint8_t *)nonce.bytes)[63] ^= 1;
    assert_string_equal(made_verdict(&opened.request), "td.report_data");
    genuine_close(&opened);
    free((void *)nonce.bytes);
    static const struct genuine azure = {"az-snp-vtpm/evidence-v1.json", {MILAN}, NULL, "2025-06-30", 0, ""};
    genuine_open(&azure, &opened);
    opened.request.nonce = (const uint8_t *)"challenge";
    opened.request.nonce_bytes = 9;
    assert_string_equal(made_verdict(&opened.request), "");
    opened.request.nonce = (const uint8_t *)"Challenge";
    assert_string_equal(made_verdict(&opened.request), "tpm.nonce");
    genuine_close(&opened);
}

/* It was made for another nonce than this worker's, so its report data are wrong. All else of it is right, and nothing else may fail. */
static void pair_look(const struct genuine *one, const char *fails)
{
    static const uint8_t node_seed[32] = {1};
    struct opened opened;
    struct pst_process_evidence worker = {.capabilities = PST_EXEC_MEASURED};
    struct pst_digest node = {.byte_count = 32};
    struct pst_evidence_report report;
    uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES + PST_MACHINE_EVIDENCE_BYTES_MAX];
    size_t count = 0;
    uint32_t failed = 0;
    genuine_open(one, &opened);
    assert_int_equal(pst_process_evidence_sign(&worker, node_seed, bytes), PST_OK);
    assert_int_equal(pst_process_node_key(node_seed, node.bytes), PST_OK);
    opened.policy.node_keys = (struct pst_digests){&node, 1};
    const struct pst_machine_evidence machine = {.report = opened.request.evidence};
    assert_int_equal(
        pst_machine_evidence_put(&machine, bytes + PST_PROCESS_EVIDENCE_BYTES, PST_MACHINE_EVIDENCE_BYTES_MAX, &count),
        PST_OK);
    opened.request.evidence = (struct pst_bytes){bytes, PST_PROCESS_EVIDENCE_BYTES + count, one->evidence};
    assert_int_equal(pst_evidence_verify(&opened.request, &report), PST_OK);
    assert_false(report.accepted);
    for (uint32_t i = 0; i < report.check_count; i++) {
        if (report.checks[i].result != PST_CHECK_FAILED)
            continue;
        assert_string_equal(report.checks[i].name, fails);
        failed++;
    }
    assert_int_equal(failed, 1);
    pst_evidence_report_fini(&report);
    opened.request.evidence = machine.report;
    genuine_close(&opened);
}

static void genuine_hardware_behind_a_worker_it_has_not_signed_for_is_refused_for_that_alone(void **state)
{
    (void)state;
    pair_look(&cases[0], "report.report_data");
    static const struct genuine quote = {TDX_QUOTE, {NULL}, TDX_COLLATERAL, "2025-06-30", 0, ""};
    pair_look(&quote, "td.report_data");
}

int main(void)
{
    const char *recordings = getenv("PENSTOCK_RECORDINGS");
    char path[sizeof folder + 64];
    (void)snprintf(folder, sizeof folder, "%s/data/attestation",
                   recordings != NULL ? recordings : PST_TEST_SOURCE_DIR "/../shared");
    (void)snprintf(path, sizeof path, "%s/%s", folder, REPORT);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        printf(
            "no recordings in %s: genuine evidence is not verified here (PENSTOCK_RECORDINGS names another folder)\n",
            folder);
        return 0;
    }
    (void)fclose(file);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evidence_of_real_machines_is_judged_as_it_should_be),
        cmocka_unit_test(a_quote_of_another_tpm_is_refused),
        cmocka_unit_test(nonces_of_genuine_evidence_are_compared),
        cmocka_unit_test(genuine_hardware_behind_a_worker_it_has_not_signed_for_is_refused_for_that_alone),
        cmocka_unit_test(each_byte_of_a_genuine_report_counts),
        cmocka_unit_test(each_byte_of_a_genuine_td_quote_counts),
        cmocka_unit_test(each_byte_of_a_genuine_sgx_quote_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
