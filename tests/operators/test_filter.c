/* tests/operators/test_filter.c - filter, select and the comparisons, each against what the words of their parameters say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "operators/expression.h"
#include "operators/rank.h"
#include "host/host.h"

#include <cmocka.h> /* behind the others: it makes `fail` a macro, and struct pst_host has a member of that name */

extern const struct pst_operator pst_filter, pst_select;

static const struct pst_field fields[] = {
    {"ts", PST_I64, 0}, {"value", PST_I64, 3}, {"id", PST_U64, 0}, {"plug", PST_U32, 0}, {"name", PST_TEXT, 0},
};
static const struct pst_schema schema = {5, fields, 0};

static struct host *open_with(const struct pst_operator *descriptor, struct host_param param, bool plan_only)
{
    return host_new(descriptor, &(struct host_options){
                                    .params = (const struct host_param[]){param, {0}},
                                    .inputs = {{.schema = schema}},
                                    .plan_only = plan_only,
                                });
}

static struct host *filter_of(const char *where)
{
    struct host *host = open_with(&pst_filter, (struct host_param)HOST_TEXTS("where", where), false);
    assert_int_equal(host_error(host), PST_OK);
    return host;
}

/* Does one row (value in thousandths) pass? */
static bool passes(const char *where, int64_t value, uint64_t id, uint32_t plug, const char *name)
{
    struct host *host = filter_of(where);
    assert_int_equal(HOST_ROW(host, 0, 5, value, (int64_t)id, plug, HOST_TEXT(name)), PST_OK);
    bool passed = host_output(host, 0)->row_count == 1;
    host_free(host);
    return passed;
}

static void the_six_comparisons_mean_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *where;
        bool below, equal, above; /* value 0.499, 0.500, 0.501 */
    } cases[] = {
        {"value == 0.5", 0, 1, 0}, {"value != 0.5", 1, 0, 1}, {"value < 0.5", 1, 0, 0},
        {"value <= 0.5", 1, 1, 0}, {"value > 0.5", 0, 0, 1},  {"value >= 0.5", 0, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(passes(cases[i].where, 499, 0, 0, ""), cases[i].below);
        assert_int_equal(passes(cases[i].where, 500, 0, 0, ""), cases[i].equal);
        assert_int_equal(passes(cases[i].where, 501, 0, 0, ""), cases[i].above);
    }
}

static void a_literal_finer_than_the_field_is_compared_exactly(void **state)
{
    (void)state;
    assert_false(passes("value > 0.5001", 500, 0, 0, ""));
    assert_true(passes("value > 0.5001", 501, 0, 0, ""));
    assert_true(passes("value >= 0.4999", 500, 0, 0, ""));
    assert_false(passes("value >= 0.5001", 500, 0, 0, ""));
    assert_true(passes("value < 0.5001", 500, 0, 0, ""));
    assert_false(passes("value == 0.5001", 500, 0, 0, ""));
    assert_true(passes("value != 0.5001", 500, 0, 0, ""));
    assert_true(passes("value == 0.5000", 500, 0, 0, ""));
    assert_true(passes("value < -0.0001", -1, 0, 0, ""));
    assert_false(passes("value < -0.0001", 0, 0, 0, ""));
    assert_true(passes("value >= -0.0011", -1, 0, 0, ""));
    assert_false(passes("value > -0.0009", -1, 0, 0, ""));
    assert_true(passes("plug <= 7.5", 0, 0, 7, ""));
    assert_false(passes("plug > 7.5", 0, 0, 7, ""));
}

static void the_ends_of_every_type_compare_right(void **state)
{
    (void)state;
    assert_true(passes("id == 18446744073709551615", 0, UINT64_MAX, 0, ""));
    assert_true(passes("id > 9223372036854775807", 0, UINT64_MAX, 0, ""));
    assert_true(passes("id < 99999999999999999999999999999999999999999999", 0, UINT64_MAX, 0, ""));
    assert_true(passes("id > -1", 0, 0, 0, ""));
    assert_false(passes("id < 0", 0, 0, 0, ""));
    assert_true(passes("id != -1", 0, 0, 0, ""));
    assert_true(passes("plug == 4294967295", 0, 0, UINT32_MAX, ""));
    assert_false(passes("plug == 4294967296", 0, 0, 0, ""));
    assert_true(passes("plug < 4294967296", 0, 0, UINT32_MAX, ""));
    assert_true(passes("value == -9223372036854775.808", INT64_MIN, 0, 0, ""));
    assert_true(passes("value > -9223372036854775.809", INT64_MIN, 0, 0, ""));
    assert_false(passes("value > 9223372036854775.807", INT64_MAX, 0, 0, ""));
    assert_true(passes("value >= 9223372036854775.807", INT64_MAX, 0, 0, ""));
    assert_true(passes("value > -100000000000000000000000000000000000", INT64_MIN, 0, 0, ""));
}

static void texts_are_compared_whole(void **state)
{
    (void)state;
    assert_true(passes("name == 'load'", 0, 0, 0, "load"));
    assert_false(passes("name == 'load'", 0, 0, 0, "loads"));
    assert_false(passes("name == 'load'", 0, 0, 0, "loa"));
    assert_true(passes("name != 'load'", 0, 0, 0, ""));
    assert_true(passes("name == ''", 0, 0, 0, ""));
    assert_true(passes("name=='it''s'", 0, 0, 0, "it's"));
    assert_true(passes("name == '0123456789012345678901234567890'", 0, 0, 0, "0123456789012345678901234567890"));
}

static void all_comparisons_must_hold(void **state)
{
    (void)state;
    struct host *host =
        open_with(&pst_filter, (struct host_param)HOST_TEXTS("where", "value > 1", "plug<4", "name != 'x'"), false);
    assert_int_equal(HOST_ROW(host, 0, 1, 1001, 1, 3, HOST_TEXT("a")), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 1000, 2, 3, HOST_TEXT("a")), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 1001, 3, 4, HOST_TEXT("a")), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 1001, 4, 3, HOST_TEXT("x")), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 9001, 5, 0, HOST_TEXT("b")), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_out(host, 0, 0, "id"), 1);
    assert_int_equal(host_out(host, 0, 1, "id"), 5);
    assert_string_equal(host_out_text(host, 0, 1, "name"), "b");
    host_free(host);
}

static void a_filter_puts_out_the_schema_it_takes_in_and_uses_what_it_compares(void **state)
{
    (void)state;
    struct host *host = filter_of("value > 0");
    const struct pst_schema *out = host_schema(host, 0);
    assert_int_equal(out->field_count, 5);
    assert_int_equal(out->time_field, 0);
    for (uint32_t i = 0; i < 5; i++) {
        assert_string_equal(out->fields[i].name, fields[i].name);
        assert_int_equal(out->fields[i].type, fields[i].type);
        assert_int_equal(out->fields[i].scale, fields[i].scale);
    }
    assert_true(host_uses(host, 0, "value"));
    assert_false(host_uses(host, 0, "id"));
    host_free(host);
}

static void every_bad_comparison_is_reported_at_its_item(void **state)
{
    (void)state;
    struct host *host = open_with(
        &pst_filter,
        (struct host_param)HOST_TEXTS("where", "value > 0.5", "valeu > 1", "value", "value = 1", "value > 'a'",
                                      "name == 3", "name < 'a'", "value > 1 and plug < 2", "name == 'abc", "value > ",
                                      "name == '01234567890123456789012345678901'", "value > 1."),
        true);
    assert_int_equal(host_error(host), PST_EGRAPH);
    assert_int_equal(host_complaint_count(host), 11);
    for (uint32_t i = 0; i < host_complaint_count(host); i++) {
        assert_string_equal(host_complaint(host, i)->param, "where");
        assert_int_equal(host_complaint(host, i)->index, i + 1);
    }
    host_free(host);
}

static void many_rows_pass_in_order_whatever_the_frames(void **state)
{
    (void)state;
    enum { ROWS = 5000 };
    static int64_t ts[ROWS], value[ROWS];
    static uint32_t plug[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        value[i] = (int64_t)(i * 2654435761u % 1000);
        plug[i] = i;
    }
    for (uint32_t frame_rows = 0; frame_rows <= 4099; frame_rows += 4099) {
        struct host *host = host_new(
            &pst_filter,
            &(struct host_options){
                .params = (const struct host_param[]){HOST_TEXTS("where", "value >= 0.25", "value < 0.75"), {0}},
                .inputs = {{.schema = {3, (const struct pst_field[]){fields[0], fields[1], fields[3]}, 0}}},
                .frame_rows = frame_rows,
            });
        assert_int_equal(host_rows(host, 0, (const void *const[]){ts, value, plug}, NULL, ROWS), PST_OK);
        const struct host_out *out = host_output(host, 0);
        uint32_t row = 0;
        for (uint32_t i = 0; i < ROWS; i++)
            if (value[i] >= 250 && value[i] < 750)
                assert_int_equal(((const uint32_t *)out->columns[2])[row++], i);
        assert_int_equal(out->row_count, row);
        host_free(host);
    }
}

static void the_fast_comparison_is_its_plain_twin(void **state)
{
    (void)state;
    enum { ROWS = 517 };
    static uint64_t values[ROWS];
    static uint8_t fast[ROWS], plain[ROWS];
    uint64_t random = 88172645463325252u;
    for (uint32_t turn = 0; turn < 300; turn++) {
        struct pst_comparison comparison = {.type = turn % 3 == 0 ? PST_U32 : turn % 3 == 1 ? PST_U64 : PST_I64};
        for (uint32_t i = 0; i < ROWS; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            values[i] = random >> (random & 63);
            fast[i] = plain[i] = (uint8_t)(random >> 32 & 1);
        }
        comparison.low = values[turn % ROWS];
        comparison.span = values[(turn * 7) % ROWS];
        if (comparison.type == PST_U32)
            comparison.low &= UINT32_MAX, comparison.span &= UINT32_MAX;
        comparison.inverted = turn & 1;
        const struct pst_rows rows = {.row_count = ROWS, .columns = (const void *const[]){values}};
        pst_comparison_choose()(&comparison, &rows, 3, ROWS - 3, fast);
        pst_comparison_hold_portable(&comparison, &rows, 3, ROWS - 3, plain);
        assert_memory_equal(fast, plain, ROWS);
    }
}

static void select_chooses_orders_and_renames(void **state)
{
    (void)state;
    struct host *host = open_with(
        &pst_select, (struct host_param)HOST_TEXTS("fields", "name as label", "value", "ts", "plug as id"), false);
    const struct pst_schema *out = host_schema(host, 0);
    assert_int_equal(out->field_count, 4);
    assert_int_equal(out->time_field, 2);
    assert_string_equal(out->fields[0].name, "label");
    assert_string_equal(out->fields[3].name, "id");
    assert_int_equal(out->fields[1].scale, 3);
    assert_int_equal(HOST_ROW(host, 0, 9, 1500, 1, 7, HOST_TEXT("a")), PST_OK);
    assert_int_equal(host_out(host, 0, 0, "value"), 1500);
    assert_int_equal(host_out(host, 0, 0, "id"), 7);
    assert_int_equal(host_out(host, 0, 0, "ts"), 9);
    assert_string_equal(host_out_text(host, 0, 0, "label"), "a");
    host_free(host);
}

static void select_without_the_event_time_has_no_time_field(void **state)
{
    (void)state;
    struct host *host = open_with(&pst_select, (struct host_param)HOST_TEXTS("fields", "value"), false);
    assert_int_equal(host_schema(host, 0)->time_field, -1);
    host_free(host);
}

static void every_bad_field_is_reported_at_its_item(void **state)
{
    (void)state;
    struct host *host = open_with(&pst_select,
                                  (struct host_param)HOST_TEXTS("fields", "value", "valeu", "value", "plug as",
                                                                "plug like x", "plug as value", ""),
                                  true);
    assert_int_equal(host_error(host), PST_EGRAPH);
    assert_int_equal(host_complaint_count(host), 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(host_complaint(host, i)->index, i + 1);
    host_free(host);
}

static void selection_finds_every_rank_of_every_kind_of_array(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (uint32_t turn = 0; turn < 3000; turn++) {
        int64_t values[64], sorted[64];
        size_t count = 1 + turn % 64;
        for (size_t i = 0; i < count; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            values[i] = turn % 4 == 0   ? (int64_t)i
                        : turn % 4 == 1 ? -(int64_t)i
                                        : (int64_t)(random >> 40) % (turn % 9 + 1);
        }
        memcpy(sorted, values, sizeof values);
        pst_rank_sort(sorted, count);
        for (size_t i = 1; i < count; i++)
            assert_true(sorted[i - 1] <= sorted[i]);
        size_t rank = (size_t)(random >> 33) % count;
        pst_rank_select(values, count, rank);
        assert_int_equal(values[rank], sorted[rank]);
        for (size_t i = 0; i < count; i++)
            assert_true(i < rank ? values[i] <= values[rank] : values[i] >= values[rank]);
    }
}

/* Every allocation on the way fails once, and comes back as want of memory, not as a mistake in the graph. */
static void each_failing_allocation_is_want_of_memory(void **state)
{
    (void)state;
    for (uint32_t which = 0; which < 2; which++) {
        bool done = false;
        for (uint64_t n = 1; !done; n++) {
            assert_true(n < 1000);
            pst_malloc_fail_at(n);
            struct host *host = which == 0
                                    ? open_with(&pst_filter, (struct host_param)HOST_TEXTS("where", "value > 1"), false)
                                    : open_with(&pst_select, (struct host_param)HOST_TEXTS("fields", "ts as t"), false);
            int rc = host_error(host) != PST_OK ? host_error(host) : HOST_ROW(host, 0, 1, 2000, 3, 4, HOST_TEXT("a"));
            pst_malloc_fail_at(0);
            assert_true(rc == PST_OK || rc == PST_ENOMEM);
            done = rc == PST_OK;
            host_free(host);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_six_comparisons_mean_what_they_say),
        cmocka_unit_test(a_literal_finer_than_the_field_is_compared_exactly),
        cmocka_unit_test(the_ends_of_every_type_compare_right),
        cmocka_unit_test(texts_are_compared_whole),
        cmocka_unit_test(all_comparisons_must_hold),
        cmocka_unit_test(a_filter_puts_out_the_schema_it_takes_in_and_uses_what_it_compares),
        cmocka_unit_test(every_bad_comparison_is_reported_at_its_item),
        cmocka_unit_test(many_rows_pass_in_order_whatever_the_frames),
        cmocka_unit_test(the_fast_comparison_is_its_plain_twin),
        cmocka_unit_test(select_chooses_orders_and_renames),
        cmocka_unit_test(select_without_the_event_time_has_no_time_field),
        cmocka_unit_test(every_bad_field_is_reported_at_its_item),
        cmocka_unit_test(each_failing_allocation_is_want_of_memory),
        cmocka_unit_test(selection_finds_every_rank_of_every_kind_of_array),
    };
    return cmocka_run_group_tests_name("filter and select", tests, NULL, NULL);
}
