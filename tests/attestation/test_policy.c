/* test_policy.c - policy files: each key of the table is read, and what is wrong has its place and a remedy. */
#include "engine/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEX32 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define HEX48 HEX32 "00112233445566778899aabbccddeeff"

static struct pst_diagnostics d;
static struct pst_policy_file file;

static int begin(void **state)
{
    (void)state;
    pst_diagnostics_init(&d);
    memset(&file, 0, sizeof file);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    pst_diagnostics_fini(&d);
    pst_policy_file_fini(&file);
    return 0;
}

static int parse(const char *text)
{
    (void)finish(NULL);
    (void)begin(NULL);
    return pst_policy_parse("policy.yaml", text, strlen(text), &d, &file);
}

static void a_policy_of_nothing_is_the_standard_one(void **state)
{
    (void)state;
    struct pst_attestation_policy standard;
    pst_attestation_policy_init(&standard);
    assert_int_equal(parse("penstock_policy: 1\n"), PST_OK);
    assert_memory_equal(&file.policy, &standard, sizeof standard);
    assert_int_equal(standard.tcb_statuses, 1u << PST_TCB_UP_TO_DATE);
    assert_false(standard.debug);
    assert_int_equal(standard.collateral_age_days_max, 30);
}

static void every_key_of_the_table_is_read(void **state)
{
    (void)state;
    for (const struct pst_policy_key *key = pst_policy_keys; key->name != NULL; key++) {
        struct pst_attestation_policy standard;
        char text[512], value[256];
        pst_attestation_policy_init(&standard);
        if (key->kind == PST_POLICY_NAMES)
            (void)snprintf(value, sizeof value, "[%s]", key->names[1]);
        else if (key->kind == PST_POLICY_DIGESTS)
            (void)snprintf(value, sizeof value, "[%s]",
                           key->max == 48  ? HEX48
                           : key->max == 8 ? "0011223344556677"
                                           : HEX32);
        else if (key->kind == PST_POLICY_DIGESTS_OF)
            (void)snprintf(value, sizeof value, "{%s: [%s]}", key->names[0], HEX32);
        else if (key->kind == PST_POLICY_SWITCH)
            (void)snprintf(value, sizeof value, "true");
        else if (key->kind == PST_POLICY_NUMBER)
            (void)snprintf(value, sizeof value, "2");
        else
            (void)snprintf(value, sizeof value, "{%s: 2}", key->names[0]);
        (void)snprintf(text, sizeof text, "penstock_policy: 1\n%s: %s\n", key->name, value);
        if (parse(text) != PST_OK)
            fail_msg("%s", text);
        /* It changes its own place in the policy, and it alone. */
        const size_t at = key->offset;
        assert_memory_equal(&file.policy, &standard, at);
        assert_memory_not_equal((char *)&file.policy + at, (char *)&standard + at,
                                key->kind == PST_POLICY_NAMES    ? 4
                                : key->kind == PST_POLICY_SWITCH ? 1
                                                                 : 8);
        assert_true(strlen(key->help) > 10);
    }
}

static void several_measurements_stand_side_by_side(void **state)
{
    (void)state;
    assert_int_equal(parse("penstock_policy: 1\nmeasurements:\n  - " HEX48 "\n  - \"" HEX32 "\"\n"), PST_OK);
    assert_int_equal(file.policy.measurements.count, 2);
    assert_int_equal(file.policy.measurements.items[0].byte_count, 48);
    assert_int_equal(file.policy.measurements.items[1].byte_count, 32);
    assert_int_equal(file.policy.measurements.items[1].bytes[31], 0xff);
}

static void what_is_wrong_is_told_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t line, column;
        const char *sentence, *hint;
    } cases[] = {
        {"", 0, 0, "the policy is empty", "penstock_policy: 1"},
        {"debug: true\n", 1, 1, "has no `penstock_policy`", NULL},
        {"penstock_policy: 2\n", 1, 18, "reads version 1 of the policy file, not 2", NULL},
        {"- 1\n", 1, 1, "a policy is a mapping", "penstock_policy: 1"},
        {"penstock_policy: 1\nmeasurement: [" HEX48 "]\n", 2, 1, "unknown key `measurement`",
         "did you mean `measurements`?"},
        {"penstock_policy: 1\nbackends: [az_snp_vtpm]\n", 2, 12, "is none of `backends`",
         "did you mean `az-snp-vtpm`?"},
        {"penstock_policy: 1\nbackends: []\n", 2, 11, "accepts nothing", "leave the key out"},
        {"penstock_policy: 1\nmeasurements: []\n", 2, 15, "accepts nothing", "leave the key out"},
        {"penstock_policy: 1\ntcb_statuses: [Revoked]\n", 2, 16, "is none of `tcb_statuses`", "UpToDate"},
        {"penstock_policy: 1\nmeasurements: [abcd]\n", 2, 16, "64 or 96 hexadecimal digits", "these are 4 digits"},
        {"penstock_policy: 1\nroots: [\"" HEX48 "\"]\n", 2, 9, "64 hexadecimal digits", "these are 96 digits"},
        {"penstock_policy: 1\nroots: " HEX32 "\n", 2, 8, "must be a list", "a list of one is"},
        {"penstock_policy: 1\nminimum_tcb: {snp: 256}\n", 2, 20, "from 0 to 255", NULL},
        {"penstock_policy: 1\nminimum_tcb: {snpp: 2}\n", 2, 15, "unknown key `snpp`", "did you mean `snp`?"},
        {"penstock_policy: 1\nmaximum_vmpl: 4\n", 2, 15, "from 0 to 3", NULL},
        {"penstock_policy: 1\ndebug: yes\n", 2, 8, "true or false, not `yes`", NULL},
        {"penstock_policy: 1\ndebug: &a true\n", 2, 8, "policies have no anchors", NULL},
        {"penstock_policy: 1\ndebug: true\ndebug: false\n", 3, 1, "stands here twice", "line 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse(cases[i].text) != PST_EGRAPH || d.item_count != 1)
            fail_msg("%s: %u errors", cases[i].text, d.item_count);
        const struct pst_diagnostic *item = &d.items[0];
        if (item->line != cases[i].line || (cases[i].column != 0 && item->column != cases[i].column))
            fail_msg("%s: at %u:%u", cases[i].text, item->line, item->column);
        if (strstr(item->text, cases[i].sentence) == NULL)
            fail_msg("%s: %s", cases[i].text, item->text);
        if (cases[i].hint != NULL && (item->hint == NULL || strstr(item->hint, cases[i].hint) == NULL))
            fail_msg("%s: hint %s", cases[i].text, item->hint != NULL ? item->hint : "none");
    }
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    static const char text[] =
        "penstock_policy: 1\nbackends: [snp]\nmeasurements: [" HEX48 "]\nminimum_tcb: {snp: 3}\ndebug: yes\nnone: 1\n";
    uint64_t before = pst_malloc_count();
    assert_int_equal(parse(text), PST_EGRAPH);
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_int_equal(parse(text), PST_ENOMEM);
    }
    pst_malloc_fail_at(0);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(a_policy_of_nothing_is_the_standard_one),
        EACH(every_key_of_the_table_is_read),
        EACH(several_measurements_stand_side_by_side),
        EACH(what_is_wrong_is_told_with_its_place),
        EACH(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
