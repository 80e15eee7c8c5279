/* Units of `csv_sink`: its plan, the order of its lines and how numbers are written. */
#include "operators/csv_format.h"
#include "operators/csv_sort.h"
#include "tests/csv/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* Behind the operator header: it defines `fail` as a macro. */
#include <cmocka.h>

extern const struct pst_operator pst_csv_sink;

/* ---- numbers to text ---- */

static void expect_decimal(int64_t value, uint8_t scale, const char *text)
{
    char cell[PST_CSV_CELL_BYTES_MAX];
    *pst_csv_decimal_put(cell, value, scale) = 0;
    assert_string_equal(cell, text);
}

static void decimals_are_written_with_their_scale(void **state)
{
    (void)state;
    expect_decimal(0, 3, "0.000");
    expect_decimal(-500, 3, "-0.500");
    expect_decimal(-1, 3, "-0.001");
    expect_decimal(1234567, 3, "1234.567");
    expect_decimal(999999, 3, "999.999");
    expect_decimal(1000000, 3, "1000.000");
    expect_decimal(INT64_MAX, 3, "9223372036854775.807");
    expect_decimal(INT64_MIN, 3, "-9223372036854775.808");
    expect_decimal(-42, 0, "-42");
    expect_decimal(-5, 1, "-0.5");
    expect_decimal(5, 9, "0.000000005");
    expect_decimal(INT64_MIN, 9, "-9223372036.854775808");
}

static void whole_numbers_are_written_as_the_c_library_does(void **state)
{
    (void)state;
    char cell[PST_CSV_CELL_BYTES_MAX], model[PST_CSV_CELL_BYTES_MAX];
    uint64_t power = 1;
    for (int digits = 0; digits < 20; digits++, power *= 10)
        for (int offset = -1; offset <= 1; offset++)
            for (int times = 1; times < 10; times += 4) {
                uint64_t value = power * (uint64_t)times + (uint64_t)(int64_t)offset;
                *pst_csv_u64_put(cell, value) = 0;
                snprintf(model, sizeof model, "%llu", (unsigned long long)value);
                assert_string_equal(cell, model);
                *pst_csv_i64_put(cell, (int64_t)value) = 0;
                snprintf(model, sizeof model, "%lld", (long long)value);
                assert_string_equal(cell, model);
            }
    for (uint64_t value = 0; value < 1100000; value += value < 11000 ? 1 : 997) {
        *pst_csv_u64_put(cell, value) = 0;
        snprintf(model, sizeof model, "%llu", (unsigned long long)value);
        assert_string_equal(cell, model);
        *pst_csv_decimal_put(cell, -(int64_t)value, 3) = 0;
        snprintf(model, sizeof model, "%s%llu.%03llu", value > 0 ? "-" : "", (unsigned long long)value / 1000,
                 (unsigned long long)value % 1000);
        assert_string_equal(cell, model);
    }
}

/* ---- the sink on a schema of all types ---- */

enum { FIELDS = 6 };
static const struct pst_field fields[FIELDS] = {{"at", PST_I64, 0},   {"house", PST_U32, 0}, {"name", PST_TEXT, 0},
                                                {"load", PST_I64, 3}, {"id", PST_U64, 0},    {"seq", PST_U32, 0}};
struct row {
    int64_t at;
    uint32_t house;
    const char *name;
    int64_t load;
    uint64_t id;
    uint32_t seq;
};

static struct pst_plan plan;
static struct pst_ctx ctx;

static int plan_of(const char *const *columns, const char *const *order)
{
    memset(&plan, 0, sizeof plan);
    plan.head.host = &fake_host;
    plan.input = (struct pst_schema){FIELDS, fields, 0};
    plan.params[0] = (struct fake_param){"file", 1, {"out.csv"}};
    plan.params[1].name = "columns";
    plan.params[2].name = "order";
    while (*columns != NULL)
        plan.params[1].texts[plan.params[1].count++] = *columns++;
    while (*order != NULL)
        plan.params[2].texts[plan.params[2].count++] = *order++;
    return pst_csv_sink.plan(&plan);
}
#define LIST(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void sink_open(const char *const *columns, const char *const *order)
{
    assert_int_equal(plan_of(columns, order), PST_OK);
    fake_init(&ctx, NULL, 0);
    ctx.planned = plan.user;
    assert_int_equal(pst_csv_sink.open(&ctx), PST_OK);
}
static void sink_close(void)
{
    fake_fini(&ctx);
    fake_plan_fini(&plan);
}

/* Columns that end where they must, only those that the plan asked for, in the order it did. */
static int rows_put(const struct row *rows, uint32_t count)
{
    void *columns[FIELDS];
    for (uint32_t i = 0; i < plan.use_count; i++) {
        uint32_t field = plan.uses[i], bytes = pst_type_bytes(fields[field].type);
        uint8_t *cells = columns[i] = calloc(count, bytes);
        for (uint32_t row = 0; row < count; row++, cells += bytes) {
            const struct row *r = &rows[row];
            if (field == 2) {
                cells[0] = (uint8_t)strlen(r->name);
                memcpy(cells + 1, r->name, cells[0]);
                continue;
            }
            const void *sources[FIELDS] = {&r->at, &r->house, NULL, &r->load, &r->id, &r->seq};
            memcpy(cells, sources[field], bytes);
        }
    }
    static const int64_t times[1 << 20]; /* all of one time */
    struct pst_rows view = {.row_count = count, .columns = (const void *const *)columns, .time = times};
    int rc = pst_csv_sink.on_frame(&ctx, &view);
    for (uint32_t i = 0; i < plan.use_count; i++)
        free(columns[i]);
    return rc;
}

static const struct row some[] = {
    {60, 7, "b", -500, 9, 0}, {30, 7, "bb", 0, UINT64_MAX, 1}, {-60, 8, "a", 1500, 1, 2},
    {30, 6, "", 99999, 0, 3}, {30, 7, "b", -1, 5, 4},          {INT64_MIN, 0, "z", INT64_MIN, 0, 5},
};

static void the_header_is_there_even_without_rows(void **state)
{
    (void)state;
    sink_open(LIST("at", "load"), LIST("at"));
    assert_int_equal(pst_csv_sink.on_end(&ctx, 5), PST_OK);
    assert_string_equal(ctx.written, "at,load\n");
    sink_close();
}

static void lines_are_sorted_by_signed_fields_too(void **state)
{
    (void)state;
    sink_open(LIST("at", "house", "load"), LIST("at", "house", "load"));
    assert_int_equal(plan.order, PST_ORDER_ANY);
    rows_put(some, 5);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_string_equal(ctx.written, "at,house,load\n-60,8,1.500\n30,6,99.999\n30,7,-0.001\n30,7,0.000\n60,7,-0.500\n");
    sink_close();
}

static void fields_that_do_not_fit_into_a_word_together_are_sorted_by_comparing(void **state)
{
    (void)state;
    sink_open(LIST("id", "at", "seq"), LIST("id", "at", "seq"));
    rows_put(some, 6);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_string_equal(ctx.written, "id,at,seq\n0,-9223372036854775808,5\n0,30,3\n1,-60,2\n5,30,4\n9,60,0\n"
                                     "18446744073709551615,30,1\n");
    sink_close();
}

static void texts_are_sorted_by_their_bytes(void **state)
{
    (void)state;
    sink_open(LIST("name", "seq"), LIST("name", "at"));
    rows_put(some, 6);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_string_equal(ctx.written, "name,seq\n,3\na,2\nb,4\nb,0\nbb,1\nz,5\n");
    sink_close();
}

static void rows_that_are_equal_in_the_order_go_by_their_bytes(void **state)
{
    (void)state;
    sink_open(LIST("seq"), LIST("house"));
    rows_put(some, 6);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_string_equal(ctx.written, "seq\n5\n3\n0\n1\n4\n2\n");
    sink_close();
}

static void a_field_may_order_lines_without_being_in_them(void **state)
{
    (void)state;
    sink_open(LIST("load"), LIST("seq"));
    rows_put(some, 2);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    rows_put(some + 3, 1);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 91), PST_OK);
    assert_string_equal(ctx.written, "load\n-0.500\n0.000\n99.999\n");
    sink_close();
}

static void without_columns_or_order_all_fields_are_written_and_sorted_as_they_stand(void **state)
{
    (void)state;
    sink_open(LIST(), LIST());
    rows_put(some, 5);
    assert_int_equal(pst_csv_sink.on_time(&ctx, 61), PST_OK);
    assert_string_equal(ctx.written,
                        "at,house,name,load,id,seq\n-60,8,a,1.500,1,2\n30,6,,99.999,0,3\n30,7,b,-0.001,5,4\n"
                        "30,7,bb,0.000,18446744073709551615,1\n60,7,b,-0.500,9,0\n");
    sink_close();
}

/* ---- many rows against a plain model ---- */

static uint64_t random_state;
static uint32_t pick(uint32_t count)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % count);
}

static int model_order; /* 0: at, house, seq; 1: name, at, seq; 2: id, at, seq */
static int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (model_order == 1 && strcmp(x->name, y->name) != 0)
        return strcmp(x->name, y->name);
    if (model_order == 2 && x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (model_order == 0 && x->house != y->house)
        return x->house < y->house ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void round_run(uint64_t seed)
{
    enum { ROWS_MAX = 9000 };
    static struct row rows[ROWS_MAX];
    static char model[ROWS_MAX * 2 * 110];
    static const char *const names[] = {"", "a", "ab", "b", "0123456789012345678901234567890", "\xc3\xa9"};
    random_state = seed;
    model_order = (int)pick(3);
    const char *const *orders[] = {LIST("at", "house", "seq"), LIST("name", "at", "seq"), LIST("id", "at", "seq")};
    sink_open(LIST("at", "name", "house", "load", "id", "seq"), orders[model_order]);
    int n = sprintf(model, "at,name,house,load,id,seq\n");
    for (int tick = 0; tick < 2; tick++) {
        uint32_t count = pick(3) == 0 ? pick(40) : pick(ROWS_MAX), spread = pick(2) == 0 ? 5 : 1000000, at = 0;
        bool sorted = pick(3) == 0;
        for (uint32_t i = 0; i < count; i++)
            rows[i] = (struct row){(int64_t)pick(spread) - spread / 2,
                                   pick(spread),
                                   names[pick(6)],
                                   (int64_t)pick(2000000) - 1000000,
                                   pick(2) ? pick(9) : ~(uint64_t)pick(spread),
                                   i};
        if (sorted)
            qsort(rows, count, sizeof rows[0], row_compare);
        while (at < count) {
            uint32_t frame = 1 + pick(1024);
            frame = frame < count - at ? frame : count - at;
            assert_int_equal(rows_put(rows + at, frame), PST_OK);
            at += frame;
        }
        assert_int_equal(pst_csv_sink.on_time(&ctx, tick), PST_OK);
        qsort(rows, count, sizeof rows[0], row_compare);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t load = (uint64_t)(rows[i].load < 0 ? -rows[i].load : rows[i].load);
            n += sprintf(model + n, "%lld,%s,%u,%s%llu.%03llu,%llu,%u\n", (long long)rows[i].at, rows[i].name,
                         rows[i].house, rows[i].load < 0 ? "-" : "", (unsigned long long)load / 1000,
                         (unsigned long long)load % 1000, (unsigned long long)rows[i].id, rows[i].seq);
        }
    }
    if (strcmp(ctx.written, model) != 0) {
        print_error("seed %llu\n", (unsigned long long)seed);
        fail();
    }
    sink_close();
}

static void many_random_rows_leave_as_a_plain_sort_and_printf_would_write_them(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        round_run(seed);
}

/* ---- what is refused ---- */

static void expect_error(const char *const *columns, const char *const *order, const char *param, uint32_t index)
{
    assert_int_equal(plan_of(columns, order), PST_EGRAPH);
    assert_int_equal(plan.error_count, 1);
    assert_string_equal(plan.error_param, param);
    assert_int_equal(plan.error_index, index);
    fake_plan_fini(&plan);
}

static void the_plan_reports_unknown_and_repeated_fields(void **state)
{
    (void)state;
    expect_error(LIST("at", "houze"), LIST("at"), "columns", 1);
    expect_error(LIST("at"), LIST("at", "x"), "order", 1);
    expect_error(LIST("at", "at"), LIST("at"), "columns", 1);
    expect_error(LIST("at"), LIST("house", "house"), "order", 1);
}

static void without_columns_and_order_all_fields_are_written_as_they_stand(void **state)
{
    (void)state;
    assert_int_equal(plan_of(LIST(), LIST()), PST_OK);
    assert_int_equal(plan.use_count, plan.input.field_count);
    fake_plan_fini(&plan);
}

static void a_gibibyte_of_rows_is_the_bound(void **state)
{
    (void)state;
    enum { FRAME = 16384 };
    static uint32_t cells[FRAME];
    static const int64_t times[FRAME];
    struct pst_rows view = {.row_count = FRAME, .columns = (const void *const[]){cells}, .time = times};
    sink_open(LIST("seq"), LIST("seq"));
    uint64_t frame_count = 0;
    int rc = PST_OK;
    while (rc == PST_OK && frame_count < 10000) {
        rc = pst_csv_sink.on_frame(&ctx, &view);
        frame_count += rc == PST_OK;
    }
    assert_int_equal(rc, PST_EFULL);
    assert_int_equal(frame_count * FRAME * 16, UINT64_C(1) << 30); /* the field and the event time */
    assert_string_not_equal(ctx.failure, "");
    sink_close();
}

static void a_failed_allocation_is_an_error_and_no_crash(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 6; n++) {
        assert_int_equal(plan_of(LIST("at"), LIST("at")), PST_OK);
        fake_init(&ctx, NULL, 0);
        ctx.planned = plan.user;
        ctx.allocation_fails_at = n;
        int rc = pst_csv_sink.open(&ctx);
        if (rc == PST_OK)
            rc = rows_put(some, 6);
        if (rc == PST_OK)
            rc = pst_csv_sink.on_time(&ctx, 1);
        assert_int_equal(rc, PST_ENOMEM);
        sink_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_written_with_their_scale),
        cmocka_unit_test(whole_numbers_are_written_as_the_c_library_does),
        cmocka_unit_test(the_header_is_there_even_without_rows),
        cmocka_unit_test(lines_are_sorted_by_signed_fields_too),
        cmocka_unit_test(fields_that_do_not_fit_into_a_word_together_are_sorted_by_comparing),
        cmocka_unit_test(texts_are_sorted_by_their_bytes),
        cmocka_unit_test(rows_that_are_equal_in_the_order_go_by_their_bytes),
        cmocka_unit_test(a_field_may_order_lines_without_being_in_them),
        cmocka_unit_test(without_columns_or_order_all_fields_are_written_and_sorted_as_they_stand),
        cmocka_unit_test(many_random_rows_leave_as_a_plain_sort_and_printf_would_write_them),
        cmocka_unit_test(the_plan_reports_unknown_and_repeated_fields),
        cmocka_unit_test(without_columns_and_order_all_fields_are_written_as_they_stand),
        cmocka_unit_test(a_gibibyte_of_rows_is_the_bound),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
