/* test_process.c - evidence of `process`: what is made is taken apart and verified again; it is never taken for hardware's. */
#include "tests/attestation/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t node_key[32] = {1, 2, 3};
static struct pst_process_evidence evidence;
static struct pst_attestation_policy policy;
static struct pst_digest node;
static uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES];
static struct pst_evidence_request request;

static void sign(void) { assert_int_equal(pst_process_evidence_sign(&evidence, node_key, bytes), PST_OK); }

static int begin(void **state)
{
    (void)state;
    evidence = (struct pst_process_evidence){.capabilities = PST_CONF_USER | PST_EXEC_MEASURED, .epc_bytes = 97517568};
    memset(evidence.measurement, 0x3c, 32);
    memset(evidence.nonce, 0x5a, 64);
    memset(evidence.channel_key, 0x11, 32);
    sign();
    pst_attestation_policy_init(&policy);
    node.byte_count = 32;
    if (pst_process_node_key(node_key, node.bytes) != PST_OK)
        return -1;
    policy.node_keys = (struct pst_digests){&node, 1};
    request = (struct pst_evidence_request){.evidence = {bytes, sizeof bytes, "worker.evidence"},
                                            .policy = &policy,
                                            .at_s = made_at_s,
                                            .allow_software = true};
    return 0;
}

static void what_was_made_is_taken_apart_again(void **state)
{
    (void)state;
    struct pst_process_evidence parsed;
    const char *why = NULL;
    assert_int_equal(pst_process_evidence_parse(bytes, sizeof bytes, &parsed, &why), PST_OK);
    assert_int_equal(parsed.capabilities, evidence.capabilities);
    assert_int_equal(parsed.epc_bytes, evidence.epc_bytes);
    assert_memory_equal(parsed.measurement, evidence.measurement, 32);
    assert_memory_equal(parsed.nonce, evidence.nonce, 64);
    assert_memory_equal(parsed.channel_key, evidence.channel_key, 32);
    assert_memory_equal(parsed.node_key, node.bytes, 32);
}

/* RFC 8032 keys and our own layout: these bytes stay as they are. */
static void the_format_is_frozen(void **state)
{
    (void)state;
    static const uint8_t head[64] = {'p', 's', 't', 'p', 'r', 'o', 'c', 0, 1, 0, 0, 0, 0x41, 0, 0, 0, 0, 0, 0xd0, 0x05};
    assert_memory_equal(bytes, head, 32);
    uint8_t digest[32];
    static const uint8_t frozen[4] = {0x19, 0x38, 0x04, 0xa0};
    assert_true(pst_sha256(bytes, sizeof bytes, digest));
    assert_memory_equal(digest, frozen, sizeof frozen);
}

static void software_is_accepted_only_where_it_is_allowed(void **state)
{
    (void)state;
    assert_string_equal(made_verdict(&request), "");
    request.allow_software = false;
    assert_string_equal(made_verdict(&request), "hardware");
    request.policy = NULL;
    assert_string_equal(made_verdict(&request), "hardware");
}

static void a_key_that_no_policy_names_is_nobodys_word(void **state)
{
    (void)state;
    policy.node_keys.count = 0;
    assert_string_equal(made_verdict(&request), "process.node_key");
    policy.node_keys.count = 1;
    node.bytes[0] ^= 1;
    assert_string_equal(made_verdict(&request), "process.node_key");
}

static void each_bit_that_is_changed_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8 * sizeof bytes; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
        if (made_verdict(&request)[0] == '\0')
            fail_msg("bit %zu may be changed", i);
        bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    assert_string_equal(made_verdict(&request), "");
}

static void what_is_signed_and_wrong_is_named(void **state)
{
    (void)state;
    struct pst_digest measurement = {.byte_count = 32};
    policy.measurements = (struct pst_digests){&measurement, 1};
    assert_string_equal(made_verdict(&request), "process.measurement");
    memset(measurement.bytes, 0x3c, 32);
    assert_string_equal(made_verdict(&request), "");
    uint8_t nonce[64];
    memset(nonce, 0x5a, 64);
    request.nonce = nonce;
    request.nonce_bytes = 64;
    assert_string_equal(made_verdict(&request), "");
    nonce[1] = 0;
    assert_string_equal(made_verdict(&request), "process.nonce");
    request.nonce = NULL;
    evidence.flags = PST_PROCESS_DEBUG;
    sign();
    assert_string_equal(made_verdict(&request), "process.debug");
    policy.debug = true;
    assert_string_equal(made_verdict(&request), "");
    policy.backends = 1u << PST_BACKEND_SNP;
    assert_string_equal(made_verdict(&request), "backend");
}

static void what_it_does_not_protect_from_is_refused_where_that_is_wanted(void **state)
{
    (void)state;
    struct pst_digest measurement = {.byte_count = 32};
    memset(measurement.bytes, 0x3c, 32);
    evidence.capabilities = PST_EXEC_MEASURED; /* of a machine without secret memory */
    sign();
    assert_string_equal(made_verdict(&request), "");
    policy.capabilities = PST_CONF_USER;
    assert_string_equal(made_verdict(&request), "process.capabilities");
    policy.capabilities = PST_CONF_ROOT; /* which software never has */
    assert_string_equal(made_verdict(&request), "process.capabilities");
    policy.capabilities = 0;
    evidence.capabilities = PST_CONF_USER; /* whose code was not measured */
    sign();
    assert_string_equal(made_verdict(&request), "");
    policy.measurements = (struct pst_digests){&measurement, 1};
    assert_string_equal(made_verdict(&request), "process.capabilities");
    evidence.capabilities |= PST_EXEC_MEASURED;
    sign();
    policy.capabilities = PST_CONF_USER | PST_EXEC_MEASURED;
    assert_string_equal(made_verdict(&request), "");
}

static void software_cannot_say_that_it_is_more(void **state)
{
    (void)state;
    uint8_t made_bytes[PST_PROCESS_EVIDENCE_BYTES];
    static const uint32_t more[] = {PST_CONF_ROOT,  PST_CONF_HYPERVISOR, PST_RAM_INTEGRITY,
                                    PST_RAM_REPLAY, PST_HW_ATTESTED,     1u << 31};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        evidence.capabilities = more[i];
        assert_int_equal(pst_process_evidence_sign(&evidence, node_key, made_bytes), PST_EINVAL);
    }
    evidence.capabilities = 0;
    evidence.flags = 2;
    assert_int_equal(pst_process_evidence_sign(&evidence, node_key, made_bytes), PST_EINVAL);
}

static void other_versions_and_sizes_are_no_evidence(void **state)
{
    (void)state;
    struct pst_process_evidence parsed;
    const char *why = NULL;
    for (size_t count = 0; count < sizeof bytes; count++)
        assert_int_equal(pst_process_evidence_parse(bytes, count, &parsed, &why), PST_EDATA);
    bytes[8] = 2;
    assert_string_equal(made_verdict(&request), "no evidence");
    bytes[8] = 1;
    bytes[28] = 1;
    assert_string_equal(made_verdict(&request), "no evidence");
}

static void each_allocation_may_fail_and_nothing_is_accepted(void **state)
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_made_is_taken_apart_again, begin),
        cmocka_unit_test_setup(the_format_is_frozen, begin),
        cmocka_unit_test_setup(software_is_accepted_only_where_it_is_allowed, begin),
        cmocka_unit_test_setup(a_key_that_no_policy_names_is_nobodys_word, begin),
        cmocka_unit_test_setup(each_bit_that_is_changed_is_refused, begin),
        cmocka_unit_test_setup(what_is_signed_and_wrong_is_named, begin),
        cmocka_unit_test_setup(what_it_does_not_protect_from_is_refused_where_that_is_wanted, begin),
        cmocka_unit_test_setup(software_cannot_say_that_it_is_more, begin),
        cmocka_unit_test_setup(other_versions_and_sizes_are_no_evidence, begin),
        cmocka_unit_test_setup(each_allocation_may_fail_and_nothing_is_accepted, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
