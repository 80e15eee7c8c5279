/* test_machine.c - a worker's report with the hardware's evidence of its node behind it: what binds the one to the other is each wrong once,
 * and neither is taken for both. With keys of our own; what real machines have made is in test_genuine.c. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = PST_PROCESS_EVIDENCE_BYTES + PST_MACHINE_EVIDENCE_BYTES_MAX + 64 };

static const uint8_t node_seed[32] = {1, 2, 3}, nonce[32] = {9, 9};
static struct made_snp snp;
static struct made_quote quote;
static struct pst_process_evidence evidence;
static struct pst_attestation_policy policy;
static struct pst_digest node, measurements[2];
static uint8_t bytes[BYTES_MAX];
static size_t byte_count;
static struct pst_evidence_request request;

static void worker_sign(void)
{
    assert_int_equal(pst_process_evidence_sign(&evidence, node_seed, bytes), PST_OK);
    byte_count = PST_PROCESS_EVIDENCE_BYTES;
}

static void machine_put(const uint8_t *report, size_t report_bytes, const struct pst_bytes *along)
{
    struct pst_machine_evidence machine = {.report = {report, report_bytes, NULL}};
    size_t count = 0;
    if (along != NULL)
        machine.certificates = *along;
    assert_int_equal(pst_machine_evidence_put(&machine, bytes + byte_count, sizeof bytes - byte_count, &count), PST_OK);
    byte_count += count;
    request.evidence = (struct pst_bytes){bytes, byte_count, "worker.evidence"};
}

/* What the hardware does where it is asked with the hash of the worker's report. */
static void snp_behind(const struct pst_bytes *along)
{
    assert_int_equal(pst_machine_report_data(bytes, snp.report + 0x050), PST_OK);
    made_snp_sign(&snp);
    machine_put(snp.report, sizeof snp.report, along);
}

static void tdx_behind(void)
{
    assert_int_equal(pst_machine_report_data(bytes, quote.body + 520), PST_OK);
    made_quote_sign(&quote);
    machine_put(quote.bytes, quote.count, NULL);
}

static int begin(void **state)
{
    (void)state;
    made_snp_init(&snp, "Milan", false);
    made_quote_init(&quote, 4, false);
    evidence = (struct pst_process_evidence){.capabilities = PST_CONF_USER | PST_EXEC_MEASURED, .epc_bytes = 97517568};
    memset(evidence.measurement, 0x77, 32);
    memcpy(evidence.nonce, nonce, sizeof nonce);
    memset(evidence.channel_key, 0x11, 32);
    pst_attestation_policy_init(&policy);
    node.byte_count = 32;
    if (pst_process_node_key(node_seed, node.bytes) != PST_OK)
        return -1;
    policy.node_keys = (struct pst_digests){&node, 1};
    measurements[0] = (struct pst_digest){.byte_count = 32};
    measurements[1] = (struct pst_digest){.byte_count = 48};
    memset(measurements[0].bytes, 0x77, 32);
    memset(measurements[1].bytes, 0x3c, 48);
    policy.measurements = (struct pst_digests){measurements, 2};
    policy.backends = 1u << PST_BACKEND_PROCESS_SNP;
    policy.nonce = true;
    request = snp.request;
    request.policy = &policy;
    request.nonce = nonce;
    request.nonce_bytes = sizeof nonce;
    worker_sign();
    return 0;
}

static int finish(void **state)
{
    (void)state;
    made_snp_fini(&snp);
    made_quote_fini(&quote);
    return 0;
}

/* The others ask for TDX by this. */
static void of_tdx(void)
{
    policy.backends = 1u << PST_BACKEND_PROCESS_TDX;
    memcpy(measurements[1].bytes, quote.body + 136, 48);
    request = quote.request;
    request.policy = &policy;
    request.nonce = nonce;
    request.nonce_bytes = sizeof nonce;
}

static void a_worker_on_a_machine_of_snp_is_accepted_as_hardwares(void **state)
{
    (void)state;
    struct pst_evidence_report report;
    snp_behind(NULL);
    assert_string_equal(made_verdict(&request), "");
    assert_int_equal(pst_evidence_verify(&request, &report), PST_OK);
    assert_int_equal(report.backend, PST_BACKEND_PROCESS_SNP);
    assert_int_equal(report.measurement.byte_count, 32); /* the worker's: a key is released to that */
    assert_memory_equal(report.measurement.bytes, evidence.measurement, 32);
    assert_memory_equal(report.channel_key, evidence.channel_key, 32);
    assert_memory_equal(report.report_data, evidence.nonce, 64);
    pst_evidence_report_fini(&report);
}

static void a_worker_on_a_machine_of_tdx_is_accepted_as_hardwares(void **state)
{
    (void)state;
    of_tdx();
    tdx_behind();
    assert_string_equal(made_verdict(&request), "");
    quote.body[520] ^= 1; /* the hardware has signed something else */
    made_quote_sign(&quote);
    byte_count = PST_PROCESS_EVIDENCE_BYTES;
    machine_put(quote.bytes, quote.count, NULL);
    assert_string_equal(made_verdict(&request), "td.report_data");
}

static void certificates_that_came_along_will_do_and_are_trusted_for_nothing(void **state)
{
    (void)state;
    request.certificate_count = 0;
    snp_behind(NULL);
    assert_string_equal(made_verdict(&request), "chain.snp.vcek");
    worker_sign();
    snp_behind(&snp.certificates);
    assert_string_equal(made_verdict(&request), "");
    request.root_count = 0; /* the root is in them, too */
    assert_string_equal(made_verdict(&request), "chain.snp.root");
    const struct pst_bytes nothing = {(const uint8_t *)"nothing", 7, NULL};
    worker_sign();
    snp_behind(&nothing);
    assert_string_equal(made_verdict(&request), "no evidence");
}

static void software_alone_is_refused_where_hardware_is_wanted(void **state)
{
    (void)state;
    request.evidence = (struct pst_bytes){bytes, byte_count, "worker.evidence"};
    request.allow_software = true;
    assert_string_equal(made_verdict(&request), "backend");
    policy.backends = UINT32_MAX;
    assert_string_equal(made_verdict(&request), ""); /* the control: by a policy that wants none */
    request.allow_software = false;
    assert_string_equal(made_verdict(&request), "hardware");
    policy.backends = 1u << PST_BACKEND_PROCESS; /* and the other way round: what is named counts */
    snp_behind(NULL);
    assert_string_equal(made_verdict(&request), "backend");
}

static void what_the_hardware_signed_for_another_worker_is_refused(void **state)
{
    (void)state;
    snp_behind(NULL);
    evidence.channel_key[0] ^= 1; /* the node signs it, and shows what the hardware said before */
    uint8_t other[PST_PROCESS_EVIDENCE_BYTES];
    assert_int_equal(pst_process_evidence_sign(&evidence, node_seed, other), PST_OK);
    memcpy(bytes, other, sizeof other);
    assert_string_equal(made_verdict(&request), "report.report_data");
    assert_false(made_fails(&request, "process.signature"));
}

static void a_copied_node_key_is_not_enough(void **state)
{
    (void)state;
    measurements[1].bytes[0] ^= 1; /* a machine that was started with something else */
    snp_behind(NULL);
    assert_string_equal(made_verdict(&request), "report.measurement");
    measurements[1].bytes[0] ^= 1;
    policy.measurements.count = 1; /* a policy without the machine's */
    assert_string_equal(made_verdict(&request), "report.measurement");
    policy.measurements = (struct pst_digests){measurements + 1, 1}; /* and without the worker's */
    assert_string_equal(made_verdict(&request), "process.measurement");
}

static void a_machine_without_a_node_of_the_policy_is_not_enough(void **state)
{
    (void)state;
    snp_behind(NULL);
    node.bytes[0] ^= 1;
    assert_string_equal(made_verdict(&request), "process.node_key");
    policy.node_keys.count = 0;
    assert_string_equal(made_verdict(&request), "process.node_key");
}

static void an_old_nonce_is_refused(void **state)
{
    (void)state;
    static const uint8_t other[32] = {8};
    snp_behind(NULL);
    request.nonce = other;
    assert_string_equal(made_verdict(&request), "process.nonce");
    request.nonce = NULL;
    assert_string_equal(made_verdict(&request), "process.nonce"); /* the policy wants one */
}

static void a_machine_in_debug_mode_is_refused(void **state)
{
    (void)state;
    snp.report[0x00a] = 0x0b; /* policy, bit 19 */
    snp_behind(NULL);
    assert_string_equal(made_verdict(&request), "report.policy.debug");
}

static void a_worker_claims_no_more_than_software_may(void **state)
{
    (void)state;
    bytes[12] |= PST_CONF_ROOT; /* signed by nobody then, but refused by itself */
    snp_behind(NULL);
    assert_true(made_fails(&request, "process.capabilities"));
}

static void each_byte_counts(void **state)
{
    (void)state;
    snp_behind(NULL);
    for (size_t i = 0; i < byte_count; i += (i < 300 ? 1 : 11) * MADE_STEP) {
        bytes[i] ^= (uint8_t)(1u << (i % 8));
        if (made_verdict(&request)[0] == '\0')
            fail_msg("byte %zu may be changed", i);
        bytes[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_string_equal(made_verdict(&request), "");
}

static void what_is_cut_or_does_not_fit_is_none(void **state)
{
    (void)state;
    snp_behind(&snp.certificates);
    const size_t whole = byte_count;
    for (size_t count = 1; count < whole; count += count < 320 ? 1 : 37) {
        request.evidence.count = count;
        const char *verdict = made_verdict(&request);
        assert_string_equal(verdict, count == PST_PROCESS_EVIDENCE_BYTES ? "backend" : "no evidence");
    }
    request.evidence.count = whole + 1; /* a byte behind it is the beginning of a TPM's quote, and that is cut */
    assert_string_equal(made_verdict(&request), "no evidence");
    request.evidence.count = whole;
    static const struct {
        uint32_t at;
        uint8_t value;
    } wrong[] = {{8, 2}, {12, 1}, {16, 0xa1}, {18, 1}, {19, 0x80}, {22, 1}, {23, 0x80}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t *at = bytes + PST_PROCESS_EVIDENCE_BYTES + wrong[i].at, before = *at;
        *at = wrong[i].value;
        assert_string_equal(made_verdict(&request), "no evidence");
        *at = before;
    }
    assert_string_equal(made_verdict(&request), "");
}

static void a_quote_of_sgx_is_no_machines(void **state)
{
    (void)state;
    made_quote_fini(&quote);
    made_quote_init(&quote, 3, false);
    machine_put(quote.bytes, quote.count, NULL);
    assert_string_equal(made_verdict(&request), "no evidence");
}

static void what_has_no_room_is_not_put(void **state)
{
    (void)state;
    static uint8_t large[PST_MACHINE_PART_BYTES_MAX + 1], room[PST_MACHINE_EVIDENCE_BYTES_MAX];
    size_t count = 77;
    struct pst_machine_evidence machine = {.report = {large, sizeof large, NULL}};
    assert_int_equal(pst_machine_evidence_put(&machine, room, sizeof room, &count), PST_EINVAL);
    machine.report.count = 0;
    assert_int_equal(pst_machine_evidence_put(&machine, room, sizeof room, &count), PST_EINVAL);
    machine.report.count = sizeof large - 1;
    machine.certificates = (struct pst_bytes){large, sizeof large, NULL};
    assert_int_equal(pst_machine_evidence_put(&machine, room, sizeof room, &count), PST_EINVAL);
    machine.certificates.count--;
    assert_int_equal(pst_machine_evidence_put(&machine, room, sizeof room - 1, &count), PST_EFULL);
    assert_int_equal(count, 77);
    assert_int_equal(pst_machine_evidence_put(&machine, room, sizeof room, &count), PST_OK);
    assert_int_equal(count, sizeof room);
}

static void memory_that_runs_out_is_told(void **state)
{
    (void)state;
    struct pst_evidence_report report;
    snp_behind(&snp.certificates);
    uint64_t before = pst_malloc_count();
    assert_int_equal(pst_evidence_verify(&request, &report), PST_OK);
    pst_evidence_report_fini(&report);
    const uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_int_equal(pst_evidence_verify(&request, &report), PST_ENOMEM);
        pst_malloc_fail_at(0);
        pst_evidence_report_fini(&report);
    }
}

static void each_kind_has_its_words(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PST_BACKEND_COUNT; i++) {
        const struct pst_backend_words *words = pst_backend_words((pst_backend)i);
        assert_true(strlen(words->protects_from) > 20 && strlen(words->not_from) > 20 && strlen(words->root_can) > 20);
    }
    assert_non_null(strstr(pst_backend_words(PST_BACKEND_PROCESS)->not_from, "no hardware vouches"));
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(a_worker_on_a_machine_of_snp_is_accepted_as_hardwares),
        EACH(a_worker_on_a_machine_of_tdx_is_accepted_as_hardwares),
        EACH(certificates_that_came_along_will_do_and_are_trusted_for_nothing),
        EACH(software_alone_is_refused_where_hardware_is_wanted),
        EACH(what_the_hardware_signed_for_another_worker_is_refused),
        EACH(a_copied_node_key_is_not_enough),
        EACH(a_machine_without_a_node_of_the_policy_is_not_enough),
        EACH(an_old_nonce_is_refused),
        EACH(a_machine_in_debug_mode_is_refused),
        EACH(a_worker_claims_no_more_than_software_may),
        EACH(each_byte_counts),
        EACH(what_is_cut_or_does_not_fit_is_none),
        EACH(a_quote_of_sgx_is_no_machines),
        EACH(what_has_no_room_is_not_put),
        EACH(memory_that_runs_out_is_told),
        EACH(each_kind_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
