/* test_load.c - Query 1 where no genuine stream comes: at the bounds of 64 bits, and with operators that were given different
 * slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "debs14/history.h"
#include "tests/host/host.h"

#include <cmocka.h> /* behind the others: it makes `fail` a macro, and struct pst_host has a member of that name */

enum { UPDATE = 1, CLOSES = 2 }; /* the flags of plug_load's averages */

/* ---- predictions: the wanted numbers are those of Python's integers ---- */
static void a_prediction_is_rounded_with_halves_up(void **state)
{
    (void)state;
    static const struct {
        int64_t average, low, high, wanted_mw;
    } cases[] = {{1000, 1000, 1000, 1}, {999, 0, 0, 1},   {998, 0, 0, 0},   {1499, 1500, 1500, 2},
                 {-500, -500, -500, 0}, {-999, -2, 0, 0}, {-1000, 0, 0, 0}, {-501, -501, -501, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(predict_mw(cases[i].average, true, cases[i].low, cases[i].high), cases[i].wanted_mw);
    assert_int_equal(predict_mw(1500, false, 7, 7), 2);
    assert_int_equal(predict_mw(-1500, false, 7, 7), -1);
}

static void predictions_near_64_bits_do_not_wrap(void **state)
{
    (void)state;
    assert_int_equal(predict_mw(INT64_MAX, true, INT64_MAX, INT64_MAX), INT64_C(9223372036854776));
    assert_int_equal(predict_mw(INT64_MIN, true, INT64_MIN, INT64_MIN), INT64_C(-9223372036854776));
    assert_int_equal(predict_mw(INT64_MAX, true, INT64_MIN, INT64_MIN), 0);
    assert_int_equal(predict_mw(INT64_MAX, true, 0, 0), INT64_C(4611686018427388));
    assert_int_equal(predict_mw(0, true, INT64_MAX - 1, INT64_MAX), INT64_C(4611686018427388));
    assert_int_equal(predict_mw(INT64_MAX, false, 0, 0), INT64_C(9223372036854776));
    assert_int_equal(predict_mw(INT64_MIN, false, 0, 0), INT64_C(-9223372036854776));
}

static void averages_near_64_bits_do_not_wrap(void **state)
{
    (void)state;
    assert_int_equal(average_uw(INT64_MAX, 1000), INT64_MAX);
    assert_int_equal(average_uw(INT64_MIN, 1000), INT64_MIN);
    assert_int_equal(average_uw(INT64_MAX, 2000), INT64_C(4611686018427387904)); /* a half, upwards */
    assert_int_equal(average_uw(INT64_MIN + 1, 2000), INT64_C(-4611686018427387903));
}

/* ---- house_load by itself ---- */
static const struct pst_field averages[] = {{"at", PST_I64, 0},
                                            {"slice", PST_U32, 0},
                                            {"flags", PST_U32, 0},
                                            {"house_id", PST_U32, 0},
                                            {"average", PST_I64, 6}};
static const char *const house_key[] = {"house_id", NULL};

static struct host *houses_of(const struct host_param *slices)
{
    const struct host_param params[] = {*slices, HOST_INT("every", 30), {0}};
    struct host *host = host_new(&house_load, &(struct host_options){
                                                  .params = params,
                                                  .inputs = {{.schema = {5, averages, -1}, .key = house_key}},
                                              });
    assert_int_equal(host_error(host), PST_OK);
    return host;
}
#define HOUSES(...) houses_of(&(const struct host_param)HOST_INTS("slices", __VA_ARGS__))

/* What plug_load says at `at` of one plug of house 7. */
static int say(struct host *host, int64_t at, int64_t slice, int64_t flags, int64_t average)
{
    return host_row_at(host, 0, at - 1, (const int64_t[]){at, slice, flags, 7, average}, 5);
}

static void a_house_may_draw_all_that_64_bits_hold_and_no_more(void **state)
{
    (void)state;
    struct host *host = HOUSES(60, 300);
    assert_int_equal(say(host, 30, 60, UPDATE, INT64_MAX - 1000), PST_OK);
    assert_int_equal(say(host, 30, 60, UPDATE, 1000), PST_OK);
    assert_int_equal(host_time(host, 30), PST_OK);
    assert_int_equal(host_out(host, 0, 0, "predicted_load"), INT64_C(9223372036854776));
    assert_int_equal(say(host, 60, 60, UPDATE | CLOSES, INT64_MAX), PST_OK);
    assert_int_equal(say(host, 60, 60, UPDATE | CLOSES, 1), PST_ERANGE);
    assert_string_equal(host_failure(host), "the loads of a house's plugs add up to more than 9.2 TW");
    host_free(host);
}

static void slices_are_known_by_their_length_in_any_order(void **state)
{
    (void)state;
    struct host *hosts[] = {HOUSES(60, 300), HOUSES(300, 60)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(say(hosts[i], 60, 60, UPDATE | CLOSES, 1000), PST_OK);
        assert_int_equal(say(hosts[i], 60, 300, UPDATE, 2000), PST_OK);
        assert_int_equal(host_time(hosts[i], 60), PST_OK);
        assert_int_equal(host_output(hosts[i], 0)->row_count, 2);
        host_output_sort(hosts[i], 0);
        for (uint32_t row = 0; row < 2; row++) {
            assert_int_equal(host_out(hosts[i], 0, row, "slice"), row == 0 ? 60 : 300);
            assert_int_equal(host_out(hosts[i], 0, row, "ts"), row == 0 ? 120 : 600);
            assert_int_equal(host_out(hosts[i], 0, row, "predicted_load"), row == 0 ? 1 : 2);
        }
        host_free(hosts[i]);
    }
}

static void a_slice_that_a_house_was_not_given_ends_the_run(void **state)
{
    (void)state;
    struct host *host = HOUSES(60, 300);
    assert_int_equal(say(host, 30, 900, UPDATE, 1000), PST_EINVAL);
    assert_non_null(strstr(host_failure(host), "give plug_load and house_load the same `slices`"));
    host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prediction_is_rounded_with_halves_up),
        cmocka_unit_test(predictions_near_64_bits_do_not_wrap),
        cmocka_unit_test(averages_near_64_bits_do_not_wrap),
        cmocka_unit_test(a_house_may_draw_all_that_64_bits_hold_and_no_more),
        cmocka_unit_test(slices_are_known_by_their_length_in_any_order),
        cmocka_unit_test(a_slice_that_a_house_was_not_given_ends_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
