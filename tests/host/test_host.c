/* test_host.c - the test host proved by a tiny operator that counts rows per key and epoch, by one that forwards, and by a
 * source and a sink. */
#include "base/base.h"
#include "tests/host/host.h"
#include "state/state.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* last: its macro fail() would hide a member of struct pst_host */

/* ---- counter: rows per key and epoch, and the total since the start; a quiet key is reported once more after `quiet` ---- */

struct counter_plan {
    int64_t every, quiet;
    int house;
};
struct counter {
    const struct counter_plan *plan;
    struct pst_table *table;
};
struct counter_record {
    uint64_t total;
    uint32_t epoch, padding;
};

static int counter_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {
        {"house", PST_U32, 0}, {"count", PST_U32, 0}, {"total", PST_U64, 0}, {"label", PST_TEXT, 0}};
    struct counter_plan *planned = pst_plan_alloc(plan, sizeof *planned);
    if (planned == NULL)
        return PST_ENOMEM;
    planned->every = pst_plan_int(plan, "every");
    planned->quiet = pst_plan_int(plan, "quiet");
    uint32_t label_count;
    const char *const *labels = pst_plan_texts(plan, "labels", &label_count);
    if (label_count != 2 || strcmp(labels[1], "b c") != 0) {
        pst_plan_error(plan, "labels", 1, "the second label must be `b c`");
        return PST_EGRAPH;
    }
    planned->house = pst_plan_use(plan, 0, "house", NULL, 0);
    if (planned->house < 0)
        return planned->house;
    pst_plan_order(plan, PST_ORDER_EPOCH, planned->every);
    pst_plan_set_user(plan, planned);
    return pst_plan_output(plan, 0, fields, 4, -1);
}

static int counter_open(struct pst_ctx *ctx)
{
    struct counter *counter = pst_alloc(ctx, sizeof *counter);
    if (counter == NULL)
        return PST_ENOMEM;
    counter->plan = pst_planned(ctx);
    counter->table = pst_table_open(ctx, "counts", sizeof(uint32_t), sizeof(struct counter_record));
    pst_set_user(ctx, counter);
    return counter->table != NULL ? PST_OK : PST_ENOMEM;
}

static int counter_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct counter *counter = pst_user(ctx);
    const uint32_t *house = rows->columns[counter->plan->house];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        void *record;
        int rc = pst_table_upsert(ctx, counter->table, 1, &rows->bucket[i], &rows->hash[i], &house[i], NULL, &record);
        if (rc != PST_OK)
            return rc;
        ((struct counter_record *)record)->epoch++;
        ((struct counter_record *)record)->total++;
    }
    return PST_OK;
}

static int counter_put(struct pst_ctx *ctx, struct counter *counter, uint32_t bucket, uint32_t index)
{
    struct counter_record *record = pst_table_record(ctx, counter->table, bucket, index);
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    memcpy((uint32_t *)out->columns[0] + out->row_count, pst_table_key(ctx, counter->table, bucket, index), 4);
    ((uint32_t *)out->columns[1])[out->row_count] = record->epoch;
    ((uint64_t *)out->columns[2])[out->row_count] = record->total;
    if (pst_wanted(ctx, 0, 3))
        host_text_set((char *)out->columns[3] + (size_t)out->row_count * PST_TEXT_BYTES,
                      record->epoch != 0 ? "busy" : "");
    out->bucket[out->row_count++] = bucket;
    record->epoch = 0;
    return PST_OK;
}

static int counter_time(struct pst_ctx *ctx, int64_t t)
{
    struct counter *counter = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    for (uint32_t i = 0; i < due_count; i++) {
        bool busy = false;
        for (uint32_t k = 0; k < pst_table_count(ctx, counter->table, due[i]); k++) {
            struct counter_record *record = pst_table_record(ctx, counter->table, due[i], k);
            busy |= record->epoch != 0;
            int rc = counter_put(ctx, counter, due[i], k);
            if (rc != PST_OK)
                return rc;
        }
        pst_timer_set(ctx, due[i], busy && counter->plan->quiet != 0 ? t + counter->plan->quiet : INT64_MAX);
    }
    return PST_OK;
}

static int counter_end(struct pst_ctx *ctx, int64_t t)
{
    (void)t;
    return counter_time(ctx, t);
}

static const struct pst_param counter_params[] = {
    {"every", PST_PARAM_INT, true, NULL, 1, 1000, "Epoch."},
    {"quiet", PST_PARAM_INT, false, "0", 0, 0, "Time after which a quiet key is reported."},
    {"labels", PST_PARAM_TEXTS, false, "[a, 'b c']", 0, 0, "Labels."},
};
static const struct pst_operator counter = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "counter",
    .summary = "Counts.",
    .input_count = 1,
    .output_count = 1,
    .param_count = 3,
    .params = counter_params,
    .plan = counter_plan,
    .open = counter_open,
    .on_frame = counter_frame,
    .on_time = counter_time,
    .on_end = counter_end,
};

static const struct pst_field meter_fields[] = {{"ts", PST_I64, 0}, {"house", PST_U32, 0}, {"name", PST_TEXT, 0}};
static const char *const house_key[] = {"house", NULL};

static struct host_options counter_options(const struct host_param *params)
{
    return (struct host_options){.params = params, .inputs = {{.schema = {3, meter_fields, 0}, .key = house_key}}};
}

static void rows_of_an_epoch_are_counted_when_it_ends(void **unused)
{
    (void)unused;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    struct host *host = host_new(&counter, &options);
    assert_int_equal(host_error(host), PST_OK);
    assert_int_equal(host_epoch(host), 10);
    assert_true(host_uses(host, 0, "house") && !host_uses(host, 0, "ts"));
    HOST_ROW(host, 0, 3, 7, HOST_TEXT("x"));
    HOST_ROW(host, 0, 5, 7, HOST_TEXT("x"));
    HOST_ROW(host, 0, 1, 8, HOST_TEXT("x"));
    assert_int_equal(host_time(host, 9), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 0);
    assert_int_equal(host_time(host, 10), PST_OK);
    host_output_sort(host, 0);
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_out(host, 0, 0, "house"), 7);
    assert_int_equal(host_out(host, 0, 0, "count"), 2);
    assert_int_equal(host_out(host, 0, 1, "total"), 1);
    assert_string_equal(host_out_text(host, 0, 1, "label"), "busy");
    assert_int_equal(host_output(host, 0)->time[0], 9);
    assert_int_equal(host_output(host, 0)->bucket[0], host_bucket(host, 0, (const int64_t[]){0, 7, HOST_TEXT("")}, 3));
    host_free(host);
}

static void ends_of_epochs_without_rows_or_timers_are_skipped(void **unused)
{
    (void)unused;
    struct host_options options =
        counter_options((const struct host_param[]){HOST_INT("every", 10), HOST_INT("quiet", 25), {0}});
    struct host *host = host_new(&counter, &options);
    HOST_ROW(host, 0, 1, 8, HOST_TEXT(""));
    assert_int_equal(host_time(host, 30), PST_OK);
    assert_int_equal(host_time_calls(host), 1);
    assert_int_equal(host_next_timer(host), 35);
    assert_int_equal(host_time(host, 1000000), PST_OK); /* fires at 40, the first end at or above 35 */
    assert_int_equal(host_time_calls(host), 2);
    assert_int_equal(host_next_timer(host), INT64_MAX);
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_output(host, 0)->time[1], 39);
    assert_string_equal(host_out_text(host, 0, 1, "label"), "");
    host_free(host);
}

static void at_the_end_every_bucket_is_due(void **unused)
{
    (void)unused;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    struct host *host = host_new(&counter, &options);
    HOST_ROW(host, 0, 1, 8, HOST_TEXT(""));
    host_time(host, 10);
    HOST_ROW(host, 0, 11, 9, HOST_TEXT(""));
    host_output_clear(host, 0);
    assert_int_equal(host_end(host, 12), PST_OK);
    host_output_sort(host, 0);
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_out(host, 0, 0, "count"), 0);
    assert_int_equal(host_out(host, 0, 1, "count"), 1);
    assert_int_equal(host_output(host, 0)->time[1], 19);
    host_free(host);
}

enum { STREAM_ROWS = 3000 };

static void stream_feed(struct host *host)
{
    static int64_t ts[STREAM_ROWS];
    static uint32_t house[STREAM_ROWS];
    for (uint32_t i = 0; i < STREAM_ROWS; i++) {
        ts[i] = i / 3;
        house[i] = i * i % 101;
    }
    const void *columns[] = {ts, house, NULL};
    assert_int_equal(host_stream(host, 0, columns, NULL, STREAM_ROWS), PST_OK);
    assert_int_equal(host_end(host, STREAM_ROWS / 3), PST_OK);
}

static void partitions_together_put_out_what_one_does(void **unused)
{
    (void)unused;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 7), {0}});
    struct host *whole = host_new(&counter, &options);
    stream_feed(whole);
    uint64_t total = 0, rows = 0;
    for (uint32_t partition = 0; partition < 3; partition++) {
        options.partition_count = 3;
        options.partition_index = partition;
        options.frame_rows = 2;
        struct host *part = host_new(&counter, &options);
        stream_feed(part);
        rows += host_output(part, 0)->row_count;
        for (uint32_t i = 0; i < host_output(part, 0)->row_count; i++)
            total += (uint64_t)host_out(part, 0, i, "count");
        host_free(part);
    }
    assert_int_equal(total, STREAM_ROWS);
    assert_int_equal(rows, host_output(whole, 0)->row_count);
    host_free(whole);
}

static void tables_and_timers_outlive_a_reopening(void **unused)
{
    (void)unused;
    struct host_options options =
        counter_options((const struct host_param[]){HOST_INT("every", 10), HOST_INT("quiet", 25), {0}});
    struct host *host = host_new(&counter, &options);
    HOST_ROW(host, 0, 1, 8, HOST_TEXT(""));
    host_time(host, 10);
    assert_int_equal(host_reopen(host), PST_OK);
    HOST_ROW(host, 0, 11, 8, HOST_TEXT(""));
    host_time(host, 20);
    assert_int_equal(host_out(host, 0, 1, "total"), 2);
    assert_int_equal(pst_state_check(host_state(host)), PST_OK);
    assert_int_equal(host_next_timer(host), 45);
    host_free(host);
}

static void unwanted_fields_need_no_filling(void **unused)
{
    (void)unused;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    options.unwanted[0] = 1u << 3;
    struct host *host = host_new(&counter, &options);
    HOST_ROW(host, 0, 1, 8, HOST_TEXT(""));
    assert_int_equal(host_time(host, 10), PST_OK);
    assert_string_equal(host_out_text(host, 0, 0, "label"), "");
    host_free(host);
}

static void wrong_parameters_are_complained_of(void **unused)
{
    (void)unused;
    struct host_options options = counter_options(
        (const struct host_param[]){HOST_INT("every", 0), HOST_INT("evry", 1), HOST_TEXT_PARAM("quiet", "1"), {0}});
    struct host *host = host_new(&counter, &options);
    assert_int_equal(host_error(host), PST_EGRAPH);
    assert_int_equal(host_complaint_count(host), 3);
    assert_string_equal(host_complaint(host, 0)->param, "evry");
    assert_string_equal(host_complaint(host, 2)->sentence, "`every` must be from 1 to 1000, not 0");
    host_free(host);
    options.params = (const struct host_param[]){HOST_INT("every", 1), HOST_TEXTS("labels", "a", "b"), {0}};
    host = host_new(&counter, &options);
    assert_int_equal(host_complaint(host, 0)->index, 1);
    host_free(host);
    options.params = NULL;
    host = host_new(&counter, &options);
    assert_string_equal(host_complaint(host, 0)->sentence, "the parameter `every` is missing");
    host_free(host);
}

static void every_allocation_may_fail_and_the_error_is_told(void **unused)
{
    (void)unused;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    for (uint64_t n = 1;; n++) {
        pst_malloc_fail_at(n);
        struct host *host = host_new(&counter, &options);
        if (host_error(host) == PST_OK && HOST_ROW(host, 0, 1, 8, HOST_TEXT("")) == PST_OK)
            (void)host_time(host, 10);
        pst_malloc_fail_at(0);
        int error = host_error(host);
        uint32_t row_count = host_output(host, 0)->row_count;
        host_free(host);
        if (error == PST_OK) {
            assert_int_equal(row_count, 1);
            assert_true(n > 5);
            return;
        }
        assert_int_equal(error, PST_ENOMEM);
    }
}

/* ---- what the harness does not let pass ---- */

static struct host *counter_new(void)
{
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    return host_new(&counter, &options);
}

static void feed_late(void)
{
    struct host *host = counter_new();
    host_time(host, 20);
    HOST_ROW(host, 0, 19, 8, HOST_TEXT(""));
}

static void feed_two_epochs(void)
{
    struct host *host = counter_new();
    HOST_ROW(host, 0, 9, 8, HOST_TEXT(""));
    HOST_ROW(host, 0, 10, 8, HOST_TEXT(""));
}

static int frame_puts_out(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    (void)rows;
    return pst_out_reserve(ctx, 0, 1) != NULL ? PST_OK : PST_ENOMEM;
}

static void put_out_in_on_frame(void)
{
    struct pst_operator hasty = counter;
    hasty.on_frame = frame_puts_out;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    HOST_ROW(host_new(&hasty, &options), 0, 9, 8, HOST_TEXT(""));
}

static int time_fills_nothing(struct pst_ctx *ctx, int64_t t)
{
    (void)t;
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    out->bucket[0] = 0;
    out->row_count = 1;
    return PST_OK;
}

static void put_out_unfilled_rows(void)
{
    struct pst_operator lazy = counter;
    lazy.on_time = time_fills_nothing;
    struct host_options options = counter_options((const struct host_param[]){HOST_INT("every", 10), {0}});
    struct host *host = host_new(&lazy, &options);
    HOST_ROW(host, 0, 9, 8, HOST_TEXT(""));
    host_time(host, 10);
}

static bool aborts(void (*function)(void))
{
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        function();
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void mistakes_of_test_and_operator_abort(void **unused)
{
    (void)unused;
    assert_true(aborts(feed_late));
    assert_true(aborts(feed_two_epochs));
    assert_true(aborts(put_out_in_on_frame));
    assert_true(aborts(put_out_unfilled_rows));
}

/* ---- odd: forwards rows whose value is odd, to an output of the same fields in another order ---- */

static int odd_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"name", PST_TEXT, 0}, {"ts", PST_I64, 0}};
    if (pst_plan_use(plan, 0, "house", NULL, 0) != 0 || pst_plan_use(plan, 0, "house", NULL, 0) != 0)
        return PST_EGRAPH;
    (void)pst_plan_map(plan, 0, 0, 2);
    (void)pst_plan_map(plan, 0, 1, 0);
    return pst_plan_output(plan, 0, fields, 2, 1);
}

static int odd_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *house = rows->columns[0];
    uint32_t indices[16], count = 0;
    for (uint32_t i = 0; i < rows->row_count; i++)
        if (house[i] % 2 == 1)
            indices[count++] = i;
    return pst_forward(ctx, 0, rows, indices, count);
}

static const struct pst_operator odd = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "odd",
    .role = PST_ROLE_STATELESS,
    .input_count = 1,
    .output_count = 1,
    .plan = odd_plan,
    .on_frame = odd_frame,
};

static void forwarded_rows_keep_their_time_and_mapped_fields(void **unused)
{
    (void)unused;
    struct host *host = host_new(&odd, &(struct host_options){.inputs = {{.schema = {3, meter_fields, 0}}}});
    HOST_ROW(host, 0, 5, 2, HOST_TEXT("two"));
    HOST_ROW(host, 0, 5, 3, HOST_TEXT("three"));
    assert_int_equal(host_output(host, 0)->row_count, 1);
    assert_string_equal(host_out_text(host, 0, 0, "name"), "three");
    assert_int_equal(host_output(host, 0)->time[0], 5);
    host_free(host);
}

/* ---- a source of one number a line, and a sink that writes it ---- */

static int digit_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"ts", PST_U32, 0}};
    return pst_plan_output(plan, 0, fields, 1, 0);
}

static int digit_block(struct pst_ctx *ctx, const struct pst_block *block)
{
    uint32_t line = 0;
    for (size_t i = 0; i + 1 < block->text_bytes; i += 2, line++) {
        char c = block->text[i];
        if (c < '0' || c > '9') {
            int rc = pst_reject(ctx, PST_REJECT_FIELD, block->text + i, 1, line);
            if (rc != PST_OK)
                return rc;
            continue;
        }
        struct pst_out *out = pst_out_reserve(ctx, 0, 1);
        if (out == NULL)
            return PST_ENOMEM;
        ((uint32_t *)out->columns[0])[out->row_count] = (uint32_t)(c - '0');
        out->bucket[out->row_count++] = 0;
    }
    return pst_block_lines(ctx, line);
}

static const struct pst_operator digits = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "digits",
    .role = PST_ROLE_SOURCE,
    .output_count = 1,
    .plan = digit_plan,
    .on_block = digit_block,
};

static void blocks_become_rows_and_rejected_lines(void **unused)
{
    (void)unused;
    struct host *host = host_new(&digits, &(struct host_options){0});
    assert_int_equal(host_block(host, "4\nx\n7\n", 6, true, true), PST_OK);
    assert_int_equal(host_output(host, 0)->row_count, 2);
    assert_int_equal(host_output(host, 0)->time[1], 7);
    assert_int_equal(host_reject_count(host), 1);
    assert_int_equal(host_reject(host, 0)->line_index, 1);
    assert_string_equal(host_reject(host, 0)->line, "x");
    assert_int_equal(host_line_count(host), 3);
    host_free(host);
}

static int tally_plan(struct pst_plan *plan)
{
    pst_plan_order(plan, PST_ORDER_ANY, 1);
    return PST_OK;
}

static int tally_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    for (uint32_t i = 0; i < rows->row_count; i++) {
        int rc = pst_write(ctx, "|", 1);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int tally_time(struct pst_ctx *ctx, int64_t t)
{
    return t == 13 ? (pst_fail(ctx, "13"), PST_EDATA) : pst_write(ctx, ".", 1);
}

static const struct pst_operator tally = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "tally",
    .role = PST_ROLE_SINK,
    .input_count = 1,
    .plan = tally_plan,
    .on_frame = tally_frame,
    .on_time = tally_time,
};

static void a_sink_takes_rows_of_many_epochs_and_its_error_stays(void **unused)
{
    (void)unused;
    struct host *host = host_new(&tally, &(struct host_options){.inputs = {{.schema = {3, meter_fields, 0}}}});
    HOST_ROW(host, 0, 5, 2, HOST_TEXT(""));
    HOST_ROW(host, 0, 9, 2, HOST_TEXT(""));
    assert_int_equal(host_time(host, 12), PST_OK);
    assert_string_equal(host_written(host, NULL), "||.");
    HOST_ROW(host, 0, 12, 2, HOST_TEXT(""));
    assert_int_equal(host_time(host, 13), PST_EDATA);
    assert_string_equal(host_failure(host), "13");
    assert_int_equal(HOST_ROW(host, 0, 14, 2, HOST_TEXT("")), PST_EDATA);
    assert_string_equal(host_written(host, NULL), "||.|");
    host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_an_epoch_are_counted_when_it_ends),
        cmocka_unit_test(ends_of_epochs_without_rows_or_timers_are_skipped),
        cmocka_unit_test(at_the_end_every_bucket_is_due),
        cmocka_unit_test(partitions_together_put_out_what_one_does),
        cmocka_unit_test(tables_and_timers_outlive_a_reopening),
        cmocka_unit_test(unwanted_fields_need_no_filling),
        cmocka_unit_test(wrong_parameters_are_complained_of),
        cmocka_unit_test(every_allocation_may_fail_and_the_error_is_told),
        cmocka_unit_test(mistakes_of_test_and_operator_abort),
        cmocka_unit_test(forwarded_rows_keep_their_time_and_mapped_fields),
        cmocka_unit_test(blocks_become_rows_and_rejected_lines),
        cmocka_unit_test(a_sink_takes_rows_of_many_epochs_and_its_error_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
