/* tests/operators/test_aggregate.c - the aggregate against a naive model, and each promise of its page by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "operators/decimal.h"
#include "state/state.h"
#include "host/host.h"

#include <cmocka.h> /* behind the others: it makes `fail` a macro, and struct pst_host has a member of that name */

extern const struct pst_operator pst_aggregate;

static const struct pst_field fields[] = {
    {"ts", PST_I64, 0}, {"house", PST_U32, 0}, {"plug", PST_U64, 0}, {"value", PST_I64, 3}, {"level", PST_U32, 0},
};
enum { FIELDS = 5, BUCKETS = 16 };
static const char *const house_key[] = {"house", NULL};

static struct host *open_plain(int64_t window, int64_t slide, const struct host_param *aggregates, bool plan_only)
{
    const struct host_param params[] = {
        HOST_INT("window", window), HOST_INT("slide", slide), HOST_TEXTS("group", "house", "plug"), *aggregates, {0}};
    return host_new(&pst_aggregate, &(struct host_options){
                                        .params = params,
                                        .inputs = {{.schema = {FIELDS, fields, 0}, .key = house_key}},
                                        .bucket_count = BUCKETS,
                                        .plan_only = plan_only,
                                    });
}

#define OPEN(window, slide, ...) \
    open_plain(window, slide, &(const struct host_param)HOST_TEXTS("aggregates", __VA_ARGS__), false)

/* ---- the model ---- */

struct row {
    int64_t ts, value;
    uint64_t plug;
    uint32_t house, level;
};

struct result {
    int64_t start, end;
    uint32_t house;
    uint64_t plug, count;
    int64_t sum, min, max, avg, median, level_sum, level_median;
};

enum { ROWS_MAX = 400, RESULTS_MAX = 40000 };

static uint64_t random_state;
static uint64_t random_below(uint64_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % bound;
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int compare_results(const void *a, const void *b)
{
    const struct result *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (x->house != y->house)
        return x->house < y->house ? -1 : 1;
    return (x->plug > y->plug) - (x->plug < y->plug);
}

static int64_t model_median(int64_t *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare_numbers);
    pst_i128 twice = (pst_i128)values[(count - 1) / 2] + values[count / 2];
    return (int64_t)pst_decimal_round(twice * 1000, 2);
}

/* One group in one window, straight from the definition. */
static bool model_window(const struct row *rows, uint32_t n, const struct row *group, int64_t start, int64_t end,
                         struct result *ret_result)
{
    int64_t values[ROWS_MAX], levels[ROWS_MAX];
    struct result r = {.start = start, .end = end, .house = group->house, .plug = group->plug};
    r.min = INT64_MAX;
    r.max = INT64_MIN;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].ts < start || rows[i].ts >= end || rows[i].house != r.house || rows[i].plug != r.plug)
            continue;
        values[r.count] = rows[i].value;
        levels[r.count++] = rows[i].level;
        r.sum += rows[i].value;
        r.level_sum += rows[i].level;
        r.min = rows[i].value < r.min ? rows[i].value : r.min;
        r.max = rows[i].value > r.max ? rows[i].value : r.max;
    }
    if (r.count == 0)
        return false;
    r.avg = (int64_t)pst_decimal_round((pst_i128)r.sum * 1000, r.count);
    r.median = model_median(values, (uint32_t)r.count);
    r.level_median = model_median(levels, (uint32_t)r.count);
    *ret_result = r;
    return true;
}

static uint32_t model(const struct row *rows, uint32_t n, int64_t window, int64_t slide, struct result *results)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) /* each row asks for its windows; doubles are left out at the end */
        for (int64_t k = pst_floor_div(rows[i].ts, slide); k * slide > rows[i].ts - window; k--) {
            assert_true(count < RESULTS_MAX);
            count += model_window(rows, n, &rows[i], k * slide, k * slide + window, &results[count]);
        }
    qsort(results, count, sizeof *results, compare_results);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || compare_results(&results[kept - 1], &results[i]) != 0)
            results[kept++] = results[i];
    return kept;
}

/* ---- feeding ---- */

static void feed(struct host *host, const struct row *rows, uint32_t n)
{
    static int64_t ts[ROWS_MAX], value[ROWS_MAX];
    static uint64_t plug[ROWS_MAX];
    static uint32_t house[ROWS_MAX], level[ROWS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        ts[i] = rows[i].ts;
        house[i] = rows[i].house;
        plug[i] = rows[i].plug;
        value[i] = rows[i].value;
        level[i] = rows[i].level;
    }
    assert_int_equal(host_rows(host, 0, (const void *const[]){ts, house, plug, value, level}, NULL, n), PST_OK);
}

static uint32_t collect(struct host *host, struct result *results)
{
    const struct host_out *out = host_output(host, 0);
    assert_true(out->row_count <= RESULTS_MAX);
    uint32_t n = out->row_count;
    for (uint32_t i = 0; i < n; i++)
        results[i] = (struct result){
            ((const int64_t *)out->columns[0])[i],  ((const int64_t *)out->columns[1])[i],
            ((const uint32_t *)out->columns[2])[i], ((const uint64_t *)out->columns[3])[i],
            ((const uint64_t *)out->columns[4])[i], ((const int64_t *)out->columns[5])[i],
            ((const int64_t *)out->columns[6])[i],  ((const int64_t *)out->columns[7])[i],
            ((const int64_t *)out->columns[8])[i],  ((const int64_t *)out->columns[9])[i],
            ((const int64_t *)out->columns[10])[i], ((const int64_t *)out->columns[11])[i],
        };
    qsort(results, n, sizeof *results, compare_results);
    return n;
}

struct stream {
    struct row rows[ROWS_MAX];
    uint32_t count;
    int64_t window, slide, pane;
};

static int64_t greatest_common_divisor(int64_t a, int64_t b) { return b == 0 ? a : greatest_common_divisor(b, a % b); }

static void make_stream(struct stream *stream)
{
    stream->window = 1 + (int64_t)random_below(40);
    stream->slide = 1 + (int64_t)random_below(random_below(3) == 0 ? 60 : (uint64_t)stream->window);
    if (random_below(3) == 0)
        stream->slide = stream->window;
    stream->pane = greatest_common_divisor(stream->window, stream->slide);
    stream->count = 1 + (uint32_t)random_below(ROWS_MAX);
    int64_t ts = (int64_t)random_below(200) - 100;
    uint64_t step = 1 + random_below(4), houses = 1 + random_below(6), values = random_below(2) ? 5 : 1u << 30;
    for (uint32_t i = 0; i < stream->count; i++) {
        ts += (int64_t)random_below(step) + (random_below(40) == 0 ? (int64_t)random_below(500) : 0);
        stream->rows[i] = (struct row){ts, (int64_t)random_below(values) - (int64_t)values / 2, random_below(3),
                                       (uint32_t)random_below(houses), (uint32_t)random_below(values)};
    }
}

static void shuffle_epoch(struct row *rows, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)random_below(i);
        struct row held = rows[i - 1];
        rows[i - 1] = rows[j];
        rows[j] = held;
    }
}

/* Runs a stream, the rows of each epoch shuffled, in frames of any size; a digest of the state on the way in *ret_digest. */
static struct host *run_stream(const struct stream *stream, uint64_t *ret_digest)
{
    const struct host_param params[] = {
        HOST_INT("window", stream->window),
        HOST_INT("slide", stream->slide == stream->window ? 0 : stream->slide),
        HOST_TEXTS("group", "house", "plug"),
        HOST_TEXTS("aggregates", "count", "sum(value)", "min(value)", "max(value)", "avg(value)", "median(value)",
                   "sum(level) as levels", "median( level )"),
        {0},
    };
    struct host *host = host_new(&pst_aggregate, &(struct host_options){
                                                     .params = params,
                                                     .inputs = {{.schema = {FIELDS, fields, 0}, .key = house_key}},
                                                     .bucket_count = BUCKETS,
                                                     .frame_rows = (uint32_t)random_below(20),
                                                 });
    assert_int_equal(host_error(host), PST_OK);
    assert_int_equal(host_epoch(host), stream->pane);
    static struct row epoch[ROWS_MAX];
    int64_t end = 0;
    *ret_digest = 0;
    for (uint32_t first = 0, n; first < stream->count; first += n) {
        end = (pst_floor_div(stream->rows[first].ts, stream->pane) + 1) * stream->pane;
        for (n = 0; first + n < stream->count && stream->rows[first + n].ts < end; n++)
            epoch[n] = stream->rows[first + n];
        shuffle_epoch(epoch, n);
        assert_int_equal(host_time(host, end - stream->pane), PST_OK); /* timers that are due before it */
        feed(host, epoch, n);
        bool last = first + n == stream->count;
        if (last && random_below(2)) /* the input may end within an epoch */
            end = stream->rows[stream->count - 1].ts + 1;
        else
            assert_int_equal(host_time(host, end), PST_OK);
        if (random_below(16) == 0)
            assert_int_equal(host_reopen(host), PST_OK);
        for (uint32_t b = 0; b < BUCKETS && !last; b++)
            *ret_digest = *ret_digest * 31 + pst_state_digest(host_state(host), b);
    }
    assert_int_equal(host_end(host, end), PST_OK);
    assert_int_equal(pst_state_check(host_state(host)), PST_OK);
    return host;
}

static void any_stream_in_any_windows_gives_what_the_naive_model_gives(void **state)
{
    (void)state;
    static struct stream stream;
    static struct result expected[RESULTS_MAX], found[RESULTS_MAX];
    for (uint64_t seed = 1; seed <= 400; seed++) {
        random_state = seed * 7919;
        make_stream(&stream);
        uint32_t expected_count = model(stream.rows, stream.count, stream.window, stream.slide, expected);
        uint64_t digests[2];
        for (uint32_t turn = 0; turn < 2; turn++) {
            struct host *host = run_stream(&stream, &digests[turn]);
            uint32_t found_count = collect(host, found);
            if (found_count != expected_count || memcmp(found, expected, found_count * sizeof *found) != 0)
                fail_msg("seed %llu: window %lld, slide %lld: %u rows, %u expected", (unsigned long long)seed,
                         (long long)stream.window, (long long)stream.slide, found_count, expected_count);
            host_free(host);
        }
        /* Not the results alone: between epochs the state, too, knows nothing of the order of the rows. */
        assert_int_equal(digests[0], digests[1]);
    }
}

/* ---- one promise at a time ---- */

static void results_are_named_typed_and_scaled(void **state)
{
    (void)state;
    struct host *host = OPEN(60, 0, "count", "sum(value)", "avg(value) as mean", "median(level)", "count as n");
    const struct pst_schema *out = host_schema(host, 0);
    static const struct pst_field expected[] = {
        {"window_start", PST_I64, 0}, {"window_end", PST_I64, 0},   {"house", PST_U32, 0},
        {"plug", PST_U64, 0},         {"count", PST_U64, 0},        {"sum_value", PST_I64, 3},
        {"mean", PST_I64, 6},         {"median_level", PST_I64, 3}, {"n", PST_U64, 0},
    };
    assert_int_equal(out->field_count, 9);
    assert_int_equal(out->time_field, -1);
    for (uint32_t i = 0; i < 9; i++) {
        assert_string_equal(out->fields[i].name, expected[i].name);
        assert_int_equal(out->fields[i].type, expected[i].type);
        assert_int_equal(out->fields[i].scale, expected[i].scale);
    }
    assert_int_equal(host_order(host), PST_ORDER_EPOCH);
    assert_int_equal(host_epoch(host), 60);
    host_free(host);
}

static void averages_and_medians_are_rounded_halves_up(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 0, "avg(level)", "median(level)", "avg(value)", "median(value)");
    for (int64_t i = 0; i < 16; i++) /* averages 1/16 = 0.0625 and, in thousandths, -1/16 */
        assert_int_equal(HOST_ROW(host, 0, 1, 1, 1, i == 0 ? -1 : 0, i == 0), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 2, 1, -4, 1), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 2, 1, -1, 2), PST_OK);
    assert_int_equal(host_time(host, 10), PST_OK);
    host_output_sort(host, 0);
    assert_int_equal(host_out(host, 0, 0, "avg_level"), 63);  /* 0.0625 -> 0.063 */
    assert_int_equal(host_out(host, 0, 0, "avg_value"), -62); /* -0.0000625 -> -0.000062 */
    assert_int_equal(host_out(host, 0, 0, "median_level"), 0);
    assert_int_equal(host_out(host, 0, 1, "median_level"), 1500);
    assert_int_equal(host_out(host, 0, 1, "median_value"), -2500);
    host_free(host);
}

static void a_silent_key_is_closed_by_the_watermark_and_slides_on_until_empty(void **state)
{
    (void)state;
    struct host *host = OPEN(60, 20, "count");
    assert_int_equal(HOST_ROW(host, 0, 5, 1, 1, 0, 0), PST_OK);
    assert_int_equal(host_time(host, 19), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 0);
    assert_int_equal(host_time(host, 20), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 1);
    assert_int_equal(host_out(host, 0, 0, "window_start"), -40);
    assert_int_equal(host_time(host, 60), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 3);
    assert_int_equal(host_out(host, 0, 2, "window_start"), 0);
    assert_int_equal(host_next_timer(host), INT64_MAX);
    host_free(host);
}

static void a_jump_of_time_costs_no_more_than_its_results(void **state)
{
    (void)state;
    struct host *host = OPEN(60, 20, "count");
    assert_int_equal(HOST_ROW(host, 0, 5, 1, 1, 0, 0), PST_OK);
    assert_int_equal(host_time(host, 320000000), PST_OK); /* ten years */
    assert_int_equal(host_output(host, 0)->row_count, 3);
    assert_true(host_time_calls(host) <= 4);
    host_free(host);
}

static void rows_between_windows_are_in_none(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 60, "count");
    for (int64_t ts = 0; ts < 180; ts++) {
        assert_int_equal(host_time(host, ts / 10 * 10), PST_OK);
        assert_int_equal(HOST_ROW(host, 0, ts, 1, 1, 0, 0), PST_OK);
    }
    assert_int_equal(host_end(host, 180), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(host_out(host, 0, i, "count"), 10);
    host_free(host);
}

static void the_end_of_the_input_puts_out_what_is_open(void **state)
{
    (void)state;
    struct host *host = OPEN(30, 10, "count");
    assert_int_equal(HOST_ROW(host, 0, 15, 1, 1, 0, 0), PST_OK);
    assert_int_equal(host_end(host, 16), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(host_out(host, 0, i, "window_start"), -10 + 10 * (int64_t)i);
    host_free(host);
}

static void the_state_of_dead_panes_is_removed(void **state)
{
    (void)state;
    struct host *host = OPEN(30, 10, "median(value)", "sum(level)");
    uint64_t bytes_early = 0;
    for (int64_t second = 0; second < 20000; second++) {
        assert_int_equal(HOST_ROW(host, 0, second, second % 3, second, second % 17, 1), PST_OK); /* ever new plugs */
        if (second % 10 == 9)
            assert_int_equal(host_time(host, second + 1), PST_OK);
        if (second == 2000)
            bytes_early = pst_state_bytes(host_state(host));
    }
    assert_true(pst_state_bytes(host_state(host)) <= 2 * bytes_early);
    host_free(host);
}

static void a_pane_with_more_values_than_an_entry_holds_keeps_them_all(void **state)
{
    (void)state;
    enum { VALUES = 9001 };
    struct host *host = OPEN(20, 10, "count", "median(value)", "median(level)", "sum(value)");
    for (int64_t i = 0; i < VALUES; i++)
        assert_int_equal(HOST_ROW(host, 0, 1, 1, 1, i * 7919 % VALUES, i * 31 % VALUES), PST_OK);
    assert_int_equal(host_time(host, 10), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 12, 1, 1, 1000000, 1000000), PST_OK);
    assert_int_equal(host_time(host, 20), PST_OK);
    assert_int_equal(host_out(host, 0, 0, "median_value"), (VALUES - 1) / 2 * 1000);
    assert_int_equal(host_out(host, 0, 1, "median_value"), (VALUES - 1) / 2 * 1000 + 500);
    assert_int_equal(host_out(host, 0, 1, "median_level"), (VALUES - 1) / 2 * 1000 + 500);
    assert_int_equal(host_out(host, 0, 1, "count"), VALUES + 1);
    assert_int_equal(host_out(host, 0, 1, "sum_value"), (int64_t)VALUES * (VALUES - 1) / 2 + 1000000);
    host_free(host);
}

static void a_sum_beyond_64_bits_names_the_group(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 0, "sum(value)", "avg(level)");
    assert_int_equal(HOST_ROW(host, 0, 1, 7, 9, INT64_MAX, 0), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, 7, 9, 1, 0), PST_OK);
    assert_int_equal(host_time(host, 10), PST_ERANGE);
    assert_string_equal(host_failure(host),
                        "sum(value) of house 7, plug 9 in the window from 0 to 10 does not fit into 64 bits");
    host_free(host);
}

static void sums_pass_beyond_64_bits_on_the_way(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 0, "sum(value)", "min(value)", "max(value)");
    assert_int_equal(HOST_ROW(host, 0, 1, 7, 9, INT64_MAX, 0), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 2, 7, 9, INT64_MAX, 0), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 3, 7, 9, INT64_MIN, 0), PST_OK);
    assert_int_equal(host_time(host, 10), PST_OK);
    assert_int_equal(host_out(host, 0, 0, "sum_value"), INT64_MAX - 1);
    assert_int_equal(host_out(host, 0, 0, "min_value"), INT64_MIN);
    assert_int_equal(host_out(host, 0, 0, "max_value"), INT64_MAX);
    host_free(host);
}

static void a_u64_beyond_the_range_of_i64_is_an_error(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 0, "max(plug)");
    assert_int_equal(HOST_ROW(host, 0, 1, 7, INT64_MIN, 0, 0), PST_ERANGE);
    assert_non_null(strstr(host_failure(host), "`plug`"));
    host_free(host);
}

static void every_bad_aggregate_is_reported_at_its_item(void **state)
{
    (void)state;
    struct host *host = open_plain(60, 0,
                                   &(const struct host_param)HOST_TEXTS("aggregates", "count", "sun(value)", "sum",
                                                                        "sum(valeu)", "sum(value", "sum(value) total",
                                                                        "count", "sum(value) as house"),
                                   true);
    assert_int_equal(host_error(host), PST_EGRAPH);
    assert_int_equal(host_complaint_count(host), 7);
    for (uint32_t i = 0; i < 7; i++) {
        assert_string_equal(host_complaint(host, i)->param, "aggregates");
        assert_int_equal(host_complaint(host, i)->index, i + 1);
    }
    host_free(host);
}

static void a_group_without_all_of_the_key_is_refused(void **state)
{
    (void)state;
    static const char *const key[] = {"plug", "house", NULL};
    const struct host_param params[] = {
        HOST_INT("window", 10), HOST_TEXTS("group", "house"), HOST_TEXTS("aggregates", "count"), {0}};
    struct host *host = host_new(&pst_aggregate, &(struct host_options){
                                                     .params = params,
                                                     .inputs = {{.schema = {FIELDS, fields, 0}, .key = key}},
                                                 });
    assert_int_equal(host_error(host), PST_EGRAPH);
    assert_int_equal(host_complaint_count(host), 1);
    assert_string_equal(host_complaint(host, 0)->param, "group");
    host_free(host);
}

static void fields_that_nobody_reads_are_left_alone(void **state)
{
    (void)state;
    const struct host_param params[] = {HOST_INT("window", 10),
                                        HOST_TEXTS("group", "house"),
                                        HOST_TEXTS("aggregates", "count", "median(value)", "sum(value)"),
                                        {0}};
    struct host *host = host_new(&pst_aggregate, &(struct host_options){
                                                     .params = params,
                                                     .inputs = {{.schema = {FIELDS, fields, 0}, .key = house_key}},
                                                     .unwanted = {1u << 0 | 1u << 2 | 1u << 4},
                                                 });
    assert_int_equal(HOST_ROW(host, 0, 1, 7, 9, 5, 0), PST_OK);
    assert_int_equal(host_time(host, 10), PST_OK);
    assert_int_equal(host_out(host, 0, 0, "count"), 1);
    assert_int_equal(host_out(host, 0, 0, "sum_value"), 5);
    host_free(host);
}

static void groups_of_texts_without_a_key_are_one_bucket(void **state)
{
    (void)state;
    static const struct pst_field named[] = {{"ts", PST_I64, 0}, {"name", PST_TEXT, 0}, {"value", PST_I64, 9}};
    const struct host_param params[] = {
        HOST_INT("window", 10), HOST_TEXTS("group", "name"), HOST_TEXTS("aggregates", "avg(value)"), {0}};
    struct host *host =
        host_new(&pst_aggregate, &(struct host_options){.params = params, .inputs = {{.schema = {3, named, 0}}}});
    assert_int_equal(host_schema(host, 0)->fields[3].scale, 9);
    assert_int_equal(HOST_ROW(host, 0, 1, HOST_TEXT("b"), 3), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, HOST_TEXT("a"), 1), PST_OK);
    assert_int_equal(HOST_ROW(host, 0, 1, HOST_TEXT("b"), 4), PST_OK);
    assert_int_equal(host_time(host, 10), PST_OK);
    host_output_sort(host, 0);
    assert_string_equal(host_out_text(host, 0, 0, "name"), "a");
    assert_int_equal(host_out(host, 0, 1, "avg_value"), 4); /* 3.5 */
    host_free(host);
}

static void a_time_too_far_from_zero_is_an_error(void **state)
{
    (void)state;
    struct host *host = OPEN(10, 0, "count");
    assert_int_equal(HOST_ROW(host, 0, INT64_MAX / 4 + 1, 7, 9, 5, 0), PST_ERANGE);
    host_free(host);
}

/* Every allocation on the way fails once: an error comes back each time, and nothing is lost to it but the run. */
static void each_failing_allocation_is_an_error_and_no_crash(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        assert_true(n < 10000);
        pst_malloc_fail_at(n);
        struct host *host = OPEN(20, 10, "count", "median(value)");
        int rc = host_error(host);
        for (int64_t i = 0; rc == PST_OK && i < 40; i++) {
            rc = HOST_ROW(host, 0, i / 4, i % 3, 1, i, 1);
            if (rc == PST_OK && i == 39)
                rc = host_time(host, 30);
        }
        pst_malloc_fail_at(0);
        done = rc == PST_OK;
        assert_true(rc == PST_OK || rc == PST_ENOMEM || rc == PST_EFULL);
        host_free(host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_stream_in_any_windows_gives_what_the_naive_model_gives),
        cmocka_unit_test(results_are_named_typed_and_scaled),
        cmocka_unit_test(averages_and_medians_are_rounded_halves_up),
        cmocka_unit_test(a_silent_key_is_closed_by_the_watermark_and_slides_on_until_empty),
        cmocka_unit_test(a_jump_of_time_costs_no_more_than_its_results),
        cmocka_unit_test(rows_between_windows_are_in_none),
        cmocka_unit_test(the_end_of_the_input_puts_out_what_is_open),
        cmocka_unit_test(the_state_of_dead_panes_is_removed),
        cmocka_unit_test(a_pane_with_more_values_than_an_entry_holds_keeps_them_all),
        cmocka_unit_test(a_sum_beyond_64_bits_names_the_group),
        cmocka_unit_test(sums_pass_beyond_64_bits_on_the_way),
        cmocka_unit_test(a_u64_beyond_the_range_of_i64_is_an_error),
        cmocka_unit_test(every_bad_aggregate_is_reported_at_its_item),
        cmocka_unit_test(a_group_without_all_of_the_key_is_refused),
        cmocka_unit_test(fields_that_nobody_reads_are_left_alone),
        cmocka_unit_test(groups_of_texts_without_a_key_are_one_bucket),
        cmocka_unit_test(a_time_too_far_from_zero_is_an_error),
        cmocka_unit_test(each_failing_allocation_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests_name("aggregate", tests, NULL, NULL);
}
