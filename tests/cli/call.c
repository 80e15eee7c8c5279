/* call.c - the parser of the command line by itself, want of memory included. */
#include "tools/inside.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static const struct pst_flag pour_flags[] = {
    {"cups", 'c', "N", false, "How many.", NULL},
    {"with", 'w', "WHAT", true, "Milk, sugar.", NULL},
    {"hot", 0, NULL, false, "Hot.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};
static int pour_run(const struct pst_call *call)
{
    (void)call;
    return PST_EXIT_OK;
}
static const struct pst_verb pour = {
    .name = "pour",
    .operands = "CAN",
    .operand_count_min = 1,
    .operand_count_max = 2,
    .summary = "Pour.",
    .text = "Pours.",
    .examples = "penstock pour can",
    .flags = pour_flags,
    .run = pour_run,
};
const struct pst_verb *const pst_verbs[] = {&pour, NULL};

#define PARSE(call, help, ...)                                                                                        \
    pst_call_init(call, &pour, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, \
                  help)

static void flags_and_operands_come_in_any_order(void **state)
{
    (void)state;
    struct pst_call call;
    bool help = false;
    assert_true(PARSE(&call, &help, "--with", "milk", "can", "-c", "2", "--hot", "--with=sugar=2", "--", "--hot"));
    assert_int_equal(call.operand_count, 2);
    assert_string_equal(call.operands[0], "can");
    assert_string_equal(call.operands[1], "--hot");
    assert_string_equal(pst_call_flag(&call, "cups"), "2");
    assert_string_equal(pst_call_flag(&call, "hot"), "");
    assert_string_equal(pst_call_flag(&call, "with"), "sugar=2");
    assert_null(pst_call_flag(&call, "json"));
    assert_int_equal(call.flag_count, 4);
    assert_false(help);
    pst_call_fini(&call);
}

static void a_number_is_read_within_its_bounds(void **state)
{
    (void)state;
    struct pst_call call;
    bool help = false;
    uint64_t value = 0;
    assert_true(PARSE(&call, &help, "can", "--cups=7"));
    assert_true(pst_call_number(&call, "cups", 1, 7, 0, &value));
    assert_int_equal(value, 7);
    assert_false(pst_call_number(&call, "cups", 1, 6, 0, &value));
    assert_false(pst_call_number(&call, "cups", 8, UINT64_MAX, 0, &value));
    assert_int_equal(value, 7);
    assert_true(pst_call_number(&call, "with", 1, 6, 99, &value));
    assert_int_equal(value, 99);
    pst_call_fini(&call);
}

static void help_wins_over_what_is_wrong(void **state)
{
    (void)state;
    struct pst_call call;
    bool help = false;
    assert_true(PARSE(&call, &help, "--bogus", "--cups", "--help"));
    assert_true(help);
    pst_call_fini(&call);
}

static void a_wrong_line_is_refused_and_json_behind_the_error_obeyed(void **state)
{
    (void)state;
    struct pst_call call;
    bool help = false;
    assert_false(PARSE(&call, &help, "can", "--bogus", "--json"));
    assert_true(call.json);
    pst_call_fini(&call);
}

static void without_memory_a_line_is_refused_and_nothing_leaks(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct pst_call call;
        bool help = false;
        pst_malloc_fail_at(n);
        assert_false(PARSE(&call, &help, "can"));
        pst_malloc_fail_at(0);
        pst_call_fini(&call);
    }
    for (uint64_t n = 3; n <= 8; n++) { /* while the message is made: another sentence, but a refusal all the same */
        struct pst_call call;
        bool help = false;
        pst_malloc_fail_at(n);
        assert_false(PARSE(&call, &help, "--bogus", "--json"));
        pst_malloc_fail_at(0);
        pst_call_fini(&call);
    }
}

static void text_that_ran_out_of_memory_is_not_shown(void **state)
{
    (void)state;
    const struct pst_call call = {.verb = &pour};
    struct pst_text text = {0};
    pst_malloc_fail_at(1);
    (void)pst_text_printf(&text, "half a page");
    pst_malloc_fail_at(0);
    assert_int_equal(pst_text_show(&call, &text), PST_EXIT_FAILED);
}

static void each_error_has_its_exit_code(void **state)
{
    (void)state;
    static const struct {
        int error, exit_code;
    } wanted[] = {{PST_OK, 0},        {PST_EDATA, 65},  {PST_EIO, 74},      {PST_ENOENT, 74}, {PST_ETIMEOUT, 75},
                  {PST_EREFUSED, 77}, {PST_EGRAPH, 78}, {PST_EABI, 78},     {PST_EINVAL, 78}, {PST_ERANGE, 65},
                  {PST_ESTOPPED, 1},  {PST_ENOMEM, 1},  {PST_EINTERNAL, 1}, {-12345, 1}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        assert_int_equal(pst_exit_of_error(wanted[i].error), wanted[i].exit_code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_operands_come_in_any_order),
        cmocka_unit_test(a_number_is_read_within_its_bounds),
        cmocka_unit_test(help_wins_over_what_is_wrong),
        cmocka_unit_test(a_wrong_line_is_refused_and_json_behind_the_error_obeyed),
        cmocka_unit_test(without_memory_a_line_is_refused_and_nothing_leaks),
        cmocka_unit_test(text_that_ran_out_of_memory_is_not_shown),
        cmocka_unit_test(each_error_has_its_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
