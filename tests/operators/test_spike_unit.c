/* tests/operators/test_spike_unit.c - the example operator in the harness, as its page shows it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "host/host.h"

#include <cmocka.h> /* behind the others: it makes `fail` a macro, and struct pst_host has a member of that name */

extern const struct pst_operator *const PST_OPERATOR_SYMBOL[]; /* of examples/spike/spike.c */

static const struct pst_field fields[] = {
    {"timestamp", PST_U32, 0},    {"value", PST_I64, 3},    {"plug_id", PST_U32, 0},
    {"household_id", PST_U32, 0}, {"house_id", PST_U32, 0},
};
static const char *const key[] = {"house_id", "household_id", "plug_id", NULL};

static struct host *open_spike(const char *const *with_key)
{
    return host_new(PST_OPERATOR_SYMBOL[0], &(struct host_options){
                                                .params = (const struct host_param[]){HOST_INT("threshold", 500), {0}},
                                                .inputs = {{.schema = {5, fields, 0}, .key = with_key}},
                                            });
}

static void a_jump_is_a_change_by_more_than_the_threshold(void **state)
{
    (void)state;
    struct host *host = open_spike(key);
    assert_int_equal(host_error(host), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 10, 900000, 1, 0, 0), PST_OK); /* the first: no jump, however great */
    assert_int_equal(host_time(host, 11), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 11, 400000, 1, 0, 0), PST_OK); /* by 500 W: no more than the threshold */
    assert_int_equal(host_time(host, 12), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 12, 900001, 1, 0, 0), PST_OK);  /* by 500.001 W */
    assert_int_equal(HOST_ROW(host, 0, 12, 0, 2, 0, 0), PST_OK);       /* another plug */
    assert_int_equal(HOST_ROW(host, 0, 12, -900001, 1, 0, 0), PST_OK); /* downward, within the same second */
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_out(host, 0, 0, "timestamp"), 12);
    assert_int_equal(host_out(host, 0, 0, "before"), 400000);
    assert_int_equal(host_out(host, 0, 0, "after"), 900001);
    assert_int_equal(host_out(host, 0, 1, "after"), -900001);
    assert_int_equal(host_out(host, 0, 1, "plug_id"), 1);
    host_free(host);
}

static void without_a_key_it_says_which_one_it_needs(void **state)
{
    (void)state;
    struct host *host = open_spike(NULL);
    assert_int_equal(HOST_ROW(host, 0, 10, 900000, 1, 0, 0), PST_EINVAL);
    assert_string_equal(host_failure(host), "spike needs `key: [house_id, household_id, plug_id]` in the graph");
    host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_jump_is_a_change_by_more_than_the_threshold),
        cmocka_unit_test(without_a_key_it_says_which_one_it_needs),
    };
    return cmocka_run_group_tests_name("spike", tests, NULL, NULL);
}
