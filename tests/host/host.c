/* host.c - the test host: its life, rows in, event time. */
#include "tests/host/host_inside.h"

#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_STANDARD = 256 };

/* ---- memory and last words ---- */

void *host_own(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes != 0 ? bytes : 1);
    if (memory == NULL)
        abort();
    return memory;
}

static void *own_zeroed(size_t count, size_t bytes) { return memset(host_own(NULL, count * bytes), 0, count * bytes); }

char *host_own_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(host_own(NULL, bytes), text, bytes);
}

void host_die(const struct host *host, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "test host, operator `%s`: ", host->op->name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

void *host_lend(struct memory **list, size_t bytes)
{
    struct memory *memory = pst_calloc(1, sizeof *memory + bytes);
    if (memory == NULL)
        return NULL;
    memory->next = *list;
    *list = memory;
    return memory->bytes;
}

void host_take_back(struct memory **list)
{
    for (struct memory *memory = *list, *next; memory != NULL; memory = next) {
        next = memory->next;
        pst_free(memory);
    }
    *list = NULL;
}

/* ---- cells ---- */

int64_t host_cell(const struct pst_field *field, const void *column, uint32_t row)
{
    uint32_t small;
    int64_t large;
    switch (field->type) {
    case PST_U32:
        memcpy(&small, (const unsigned char *)column + row * sizeof small, sizeof small);
        return small;
    case PST_U64:
    case PST_I64:
        memcpy(&large, (const unsigned char *)column + row * sizeof large, sizeof large);
        return large;
    case PST_TEXT:
        break;
    }
    fprintf(stderr, "test host: the text field `%s` is read as a number\n", field->name);
    abort();
}

uint32_t host_field_find(const struct pst_schema *schema, const char *name)
{
    uint32_t i = 0;
    while (i < schema->field_count && strcmp(schema->fields[i].name, name) != 0)
        i++;
    return i;
}

void host_text_set(void *cell, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes >= PST_TEXT_BYTES)
        abort();
    memset(cell, 0, PST_TEXT_BYTES);
    *(unsigned char *)cell = (unsigned char)bytes;
    memcpy((unsigned char *)cell + 1, text, bytes);
}

/* ---- callbacks ---- */

static void enter(struct host *host, enum phase phase, int64_t emit_time)
{
    host->phase = phase;
    host->emit_time = emit_time;
}

static int leave(struct host *host, int rc, const char *callback)
{
    host_out_harvest(host);
    host->phase = PHASE_NONE;
    host->rows = NULL;
    if (rc > 0)
        host_die(host, "%s() returned %d, which is neither PST_OK nor an error", callback, rc);
    host->error = rc;
    return rc;
}

static const void *planned(struct pst_ctx *ctx) { return ctx->host->planned; }
static void *ctx_alloc(struct pst_ctx *ctx, size_t bytes) { return host_lend(&ctx->host->ctx_memory, bytes); }
static void set_user(struct pst_ctx *ctx, void *user) { ctx->host->user = user; }
static void *user(struct pst_ctx *ctx) { return ctx->host->user; }

static const uint32_t *buckets(struct pst_ctx *ctx, uint32_t *ret_count)
{
    *ret_count = ctx->host->owned_count;
    return ctx->host->buckets;
}

static const uint32_t *due(struct pst_ctx *ctx, uint32_t *ret_count)
{
    if (ctx->host->phase != PHASE_TIME && ctx->host->phase != PHASE_END)
        host_die(ctx->host, "pst_due() outside on_time() and on_end()");
    *ret_count = ctx->host->due_count;
    return ctx->host->due;
}

static void timer_set(struct pst_ctx *ctx, uint32_t bucket, int64_t t)
{
    if (bucket >= ctx->host->bucket_count || !ctx->host->owned[bucket])
        host_die(ctx->host, "a timer is set for bucket %u, which this partition does not own", bucket);
    ctx->host->timers[bucket] = t;
}

static void fail(struct pst_ctx *ctx, const char *sentence)
{
    (void)snprintf(ctx->host->failure, sizeof ctx->host->failure, "%s", sentence);
}

static struct pst_table *table_open(struct pst_ctx *ctx, const char *name, uint32_t key_bytes, uint32_t record_bytes)
{
    if (ctx->host->phase != PHASE_OPEN)
        host_die(ctx->host, "the table `%s` is opened outside open()", name);
    return pst_state_table_open(ctx->host->state, name, key_bytes, record_bytes);
}

static void release(struct pst_ctx *ctx) { (void)ctx; } /* all stays in memory */

static struct pst_log *log_open(struct pst_ctx *ctx, const char *name)
{
    if (ctx->host->phase != PHASE_OPEN)
        host_die(ctx->host, "the log `%s` is opened outside open()", name);
    return pst_state_log_open(ctx->host->state, name);
}

static const struct pst_host *host_table(void)
{
    static struct pst_host table = {
        .abi = PST_OPERATOR_ABI,
        .struct_bytes = sizeof(struct pst_host),
        .planned = planned,
        .alloc = ctx_alloc,
        .set_user = set_user,
        .user = user,
        .buckets = buckets,
        .due = due,
        .timer_set = timer_set,
        .fail = fail,
        .table_open = table_open,
        .table_upsert = pst_state_table_upsert,
        .table_find = pst_state_table_find,
        .table_count = pst_state_table_count,
        .table_record = pst_state_table_record,
        .table_key = pst_state_table_key,
        .table_remove = pst_state_table_remove,
        .log_open = log_open,
        .log_append = pst_state_log_append,
        .log_read = pst_state_log_read,
        .log_tail = pst_state_log_tail,
        .log_head = pst_state_log_head,
        .log_trim = pst_state_log_trim,
        .log_wanted = pst_state_log_wanted,
        .release = release,
    };
    host_plan_fill(&table);
    host_out_fill(&table);
    return &table;
}

/* ---- life ---- */

static void descriptor_check(const struct host *host)
{
    const struct pst_operator *op = host->op;
    bool source = op->role == PST_ROLE_SOURCE, sink = op->role == PST_ROLE_SINK;
    if (op->abi != PST_OPERATOR_ABI || op->struct_bytes != sizeof *op)
        host_die(host, "the descriptor is not of this interface");
    if (op->input_count > PST_INPUTS_MAX || (op->input_count == 0) != source)
        host_die(host, "an operator of role %d cannot have %u inputs", op->role, op->input_count);
    if (op->output_count > PST_OUTPUTS_MAX || (op->output_count == 0) != sink)
        host_die(host, "an operator of role %d cannot have %u outputs", op->role, op->output_count);
    if (op->plan == NULL || (source ? op->on_block == NULL : op->on_frame == NULL))
        host_die(host, "a callback is missing");
}

static void key_init(struct host *host, struct input *in, const char *const *key)
{
    in->keyed = key != NULL;
    for (; key != NULL && *key != NULL; key++) {
        uint32_t field = host_field_find(&in->schema, *key);
        if (field == in->schema.field_count)
            host_die(host, "the key's field `%s` is not in the schema", *key);
        in->key[in->key_count++] = field;
        in->key_bytes += pst_type_bytes(in->schema.fields[field].type);
    }
    if (in->key_bytes > PST_KEY_BYTES_MAX)
        host_die(host, "the key has %u bytes", in->key_bytes);
}

static void inputs_init(struct host *host, const struct host_options *options)
{
    for (uint32_t i = 0; i < host->op->input_count; i++) {
        struct input *in = &host->inputs[i];
        host_schema_copy(&in->schema, &options->inputs[i].schema);
        key_init(host, in, options->inputs[i].key);
        in->broadcast = (host->op->broadcast_inputs >> i & 1) != 0;
    }
    for (uint32_t i = 0; i < host->op->output_count; i++)
        host->outputs[i].unwanted = options->unwanted[i];
}

static void partition_init(struct host *host, const struct host_options *options)
{
    uint32_t count = options->bucket_count != 0 ? options->bucket_count : BUCKETS_STANDARD;
    uint32_t partitions = options->partition_count != 0 ? options->partition_count : 1;
    if ((count & (count - 1)) != 0)
        host_die(host, "%u buckets are not a power of two", count);
    host->bucket_count = count;
    host->frame_rows = options->frame_rows;
    host->owned = own_zeroed(count, sizeof *host->owned);
    host->touched = own_zeroed(count, sizeof *host->touched);
    host->buckets = own_zeroed(count, sizeof *host->buckets);
    host->due = own_zeroed(count, sizeof *host->due);
    host->timers = own_zeroed(count, sizeof *host->timers);
    for (uint32_t i = 0; i < count; i++) {
        host->timers[i] = INT64_MAX;
        host->owned[i] = (uint64_t)i * partitions / count == options->partition_index;
        if (host->owned[i])
            host->buckets[host->owned_count++] = i;
    }
}

static void open_now(struct host *host)
{
    if (host->error != PST_OK)
        return;
    enter(host, PHASE_OPEN, 0);
    (void)leave(host, host->op->open != NULL ? host->op->open(&host->ctx) : PST_OK, "open");
    host->opened = host->error == PST_OK;
}

/* The engine calls close() for what open() began, well or not. */
static void close_now(struct host *host)
{
    enter(host, PHASE_CLOSE, 0);
    if (host->op->close != NULL)
        host->op->close(&host->ctx);
    host->phase = PHASE_NONE;
    host->opened = false;
    host_take_back(&host->ctx_memory);
    host->user = NULL;
}

struct host *host_new(const struct pst_operator *descriptor, const struct host_options *options)
{
    struct host *host = own_zeroed(1, sizeof *host);
    host->op = descriptor;
    host->plan = (struct pst_plan){{host_table()}, host};
    host->ctx = (struct pst_ctx){{host_table()}, host};
    host->epoch = 1;
    host->now = host->open_end = host->time_max = INT64_MIN;
    descriptor_check(host);
    inputs_init(host, options);
    partition_init(host, options);
    host_values_init(host, options->params);
    host->error = host->complaint_count != 0 ? PST_EGRAPH : PST_OK;
    if (host->error == PST_OK) {
        enter(host, PHASE_PLAN, 0);
        (void)leave(host, descriptor->plan(&host->plan), "plan");
        host_plan_finish(host);
    }
    if (host->error != PST_OK || options->plan_only)
        return host;
    host->state =
        pst_state_new(host->bucket_count, options->state_bytes_max != 0 ? options->state_bytes_max : UINT64_MAX);
    host->error = host->state != NULL ? PST_OK : PST_ENOMEM;
    open_now(host);
    return host;
}

void host_free(struct host *host)
{
    if (host == NULL)
        return;
    if (host->opened)
        close_now(host);
    host_take_back(&host->ctx_memory);
    host_take_back(&host->plan_memory);
    pst_state_free(host->state);
    host_out_fini(host);
    host_values_fini(host);
    for (uint32_t i = 0; i < host->op->input_count; i++)
        host_schema_free(&host->inputs[i].schema);
    free(host->complaints);
    free(host->owned);
    free(host->touched);
    free(host->buckets);
    free(host->due);
    free(host->timers);
    free(host);
}

int host_reopen(struct host *host)
{
    if (host->opened)
        close_now(host);
    open_now(host);
    return host->error;
}

int host_error(const struct host *host) { return host->error; }
const char *host_failure(const struct host *host) { return host->failure; }
struct pst_state *host_state(struct host *host) { return host->state; }

/* ---- rows in ---- */

static int64_t floor_to(int64_t t, int64_t step)
{
    int64_t rest = t % step;
    return rest < 0 ? t - rest - step : t - rest;
}

static int64_t add_time(int64_t t, int64_t span) { return t > INT64_MAX - span ? INT64_MAX : t + span; }
static int64_t epoch_end(const struct host *host, int64_t t) { return add_time(floor_to(t, host->epoch), host->epoch); }

/* The end of the epoch at which the earliest timer fires. */
static int64_t timer_end(const struct host *host)
{
    int64_t t = host_next_timer(host);
    if (t == INT64_MAX)
        return t;
    int64_t end = floor_to(t, host->epoch) == t ? t : epoch_end(host, t);
    int64_t first = host->now == INT64_MIN ? INT64_MIN : epoch_end(host, host->now);
    return end > first ? end : first;
}

static void time_check(struct host *host, int64_t time)
{
    if (time < host->now)
        host_die(host, "a row of time %lld is below %lld, which has passed", (long long)time, (long long)host->now);
    if (host->order == PST_ORDER_ANY)
        return;
    int64_t end = epoch_end(host, time);
    if (host->open_end != INT64_MIN && end != host->open_end)
        host_die(host,
                 "a row of time %lld comes while the epoch up to %lld is open: call host_time(), or use host_stream()",
                 (long long)time, (long long)host->open_end);
    if (timer_end(host) < end)
        host_die(host, "a row of time %lld comes before host_time(%lld), at which a timer is due", (long long)time,
                 (long long)timer_end(host));
    if (host->order == PST_ORDER_TOTAL && time < host->time_max)
        host_die(host, "a row of time %lld is out of the total order", (long long)time);
    host->open_end = end;
    host->time_max = time > host->time_max ? time : host->time_max;
}

static uint64_t row_hash(const struct input *in, const void *const *columns, uint32_t row)
{
    unsigned char key[PST_KEY_BYTES_MAX];
    size_t used = 0;
    for (uint32_t i = 0; i < in->key_count; i++) {
        size_t bytes = pst_type_bytes(in->schema.fields[in->key[i]].type);
        memcpy(key + used, (const unsigned char *)columns[in->key[i]] + row * bytes, bytes);
        used += bytes;
    }
    return pst_hash(&(struct pst_hash_key){0, 0}, key, used);
}

/* A frame on its way to on_frame(); arrays exactly as long as its rows. */
struct frame {
    uint32_t row_count;
    uint32_t *rows; /* which of the test's rows */
    int64_t *time;
    uint64_t *hash;
    uint32_t *bucket;
    void *columns[PST_FIELDS_MAX];
};

static void frame_select(const struct host *host, const struct input *in, const void *const *columns, uint32_t first,
                         uint32_t count, struct frame *frame)
{
    frame->rows = host_own(NULL, count * sizeof *frame->rows);
    frame->hash = in->keyed ? host_own(NULL, count * sizeof *frame->hash) : NULL;
    frame->bucket = in->keyed ? host_own(NULL, count * sizeof *frame->bucket) : NULL;
    for (uint32_t row = first; row < first + count; row++) {
        uint64_t hash = in->keyed ? row_hash(in, columns, row) : 0;
        uint32_t bucket = (uint32_t)hash & (host->bucket_count - 1);
        if (in->keyed && !in->broadcast && !host->owned[bucket])
            continue;
        if (in->keyed) {
            frame->hash[frame->row_count] = hash;
            frame->bucket[frame->row_count] = bucket;
        }
        frame->rows[frame->row_count++] = row;
    }
    if (in->keyed && frame->row_count != 0) { /* cut to size */
        frame->hash = host_own(frame->hash, frame->row_count * sizeof *frame->hash);
        frame->bucket = host_own(frame->bucket, frame->row_count * sizeof *frame->bucket);
    }
}

static int64_t row_time(const struct host *host, const struct input *in, const void *const *columns,
                        const int64_t *time, uint32_t row)
{
    if (time != NULL)
        return time[row];
    if (in->schema.time_field < 0)
        host_die(host, "the input's schema has no time field: give the times");
    return host_cell(&in->schema.fields[in->schema.time_field], columns[in->schema.time_field], row);
}

static void frame_fill(struct host *host, const struct input *in, const void *const *columns, const int64_t *time,
                       struct frame *frame)
{
    frame->time = host_own(NULL, frame->row_count * sizeof *frame->time);
    for (uint32_t i = 0; i < frame->row_count; i++) {
        frame->time[i] = row_time(host, in, columns, time, frame->rows[i]);
        time_check(host, frame->time[i]);
        if (!in->broadcast)
            host->touched[in->keyed ? frame->bucket[i] : 0] = true;
    }
    for (uint32_t field = 0; field < in->schema.field_count; field++) {
        size_t bytes = pst_type_bytes(in->schema.fields[field].type);
        if (columns[field] == NULL)
            continue;
        unsigned char *to = frame->columns[field] = host_own(NULL, frame->row_count * bytes);
        for (uint32_t i = 0; i < frame->row_count; i++)
            memcpy(to + i * bytes, (const unsigned char *)columns[field] + frame->rows[i] * bytes, bytes);
    }
}

static int frame_deliver(struct host *host, uint32_t input, struct frame *frame)
{
    const struct input *in = &host->inputs[input];
    /* as many as are used and no more */
    const void **used = host_own(NULL, in->used_count * sizeof *used);
    for (uint32_t i = 0; i < in->used_count; i++) {
        used[i] = frame->columns[in->used[i]];
        if (used[i] == NULL)
            host_die(host, "the test gives no column for `%s`, which is used", in->schema.fields[in->used[i]].name);
    }
    struct pst_rows *rows = host_own(NULL, sizeof *rows);
    *rows = (struct pst_rows){frame->row_count, input, used, frame->time, frame->hash, frame->bucket};
    host->rows = rows;
    host->frame_columns = frame->columns;
    enter(host, PHASE_FRAME, frame->time[frame->row_count - 1]);
    int rc = leave(host, host->op->on_frame(&host->ctx, rows), "on_frame");
    free(rows);
    free(used);
    return rc;
}

static int frame_feed(struct host *host, uint32_t input, const void *const *columns, const int64_t *time,
                      uint32_t first, uint32_t count)
{
    struct frame frame = {0};
    int rc = PST_OK;
    frame_select(host, &host->inputs[input], columns, first, count, &frame);
    if (frame.row_count != 0) {
        frame_fill(host, &host->inputs[input], columns, time, &frame);
        rc = frame_deliver(host, input, &frame);
    }
    free(frame.rows);
    free(frame.time);
    free(frame.hash);
    free(frame.bucket);
    for (uint32_t i = 0; i < PST_FIELDS_MAX; i++)
        free(frame.columns[i]);
    return rc;
}

static void feed_check(const struct host *host, uint32_t input)
{
    if (input >= host->op->input_count)
        host_die(host, "there is no input %u", input);
    if (!host->opened && host->error == PST_OK)
        host_die(host, "rows are fed to an operator that was only planned");
    if (host->ended)
        host_die(host, "rows are fed behind the end");
}

int host_rows(struct host *host, uint32_t input, const void *const *columns, const int64_t *time, uint32_t n)
{
    feed_check(host, input);
    const struct input *in = &host->inputs[input];
    for (uint32_t first = 0, count; first < n && host->error == PST_OK; first += count) {
        uint32_t count_max = host->frame_rows != 0 && host->frame_rows < n - first ? host->frame_rows : n - first;
        for (count = 1; count < count_max; count++) /* in total order only rows of one time go together */
            if (host->order == PST_ORDER_TOTAL &&
                row_time(host, in, columns, time, first + count) != row_time(host, in, columns, time, first))
                break;
        (void)frame_feed(host, input, columns, time, first, count);
    }
    return host->error;
}

static void cells_to_columns(const struct host *host, uint32_t input, const int64_t *cells, uint32_t cell_count,
                             unsigned char store[][PST_TEXT_BYTES], const void **ret_columns)
{
    const struct pst_schema *schema = &host->inputs[input].schema;
    if (cell_count != schema->field_count)
        host_die(host, "a row of %u cells is fed to an input of %u fields", cell_count, schema->field_count);
    for (uint32_t i = 0; i < cell_count; i++) {
        uint32_t small = (uint32_t)cells[i];
        if (schema->fields[i].type == PST_TEXT)
            host_text_set(store[i], (const char *)(intptr_t)cells[i]);
        else if (schema->fields[i].type == PST_U32)
            memcpy(store[i], &small, sizeof small);
        else
            memcpy(store[i], &cells[i], sizeof cells[i]);
        ret_columns[i] = store[i];
    }
}

static int row_feed(struct host *host, uint32_t input, const int64_t *time, const int64_t *cells, uint32_t cell_count)
{
    unsigned char store[PST_FIELDS_MAX][PST_TEXT_BYTES];
    const void *columns[PST_FIELDS_MAX];
    feed_check(host, input);
    cells_to_columns(host, input, cells, cell_count, store, columns);
    return host_rows(host, input, columns, time, 1);
}

int host_row(struct host *host, uint32_t input, const int64_t *cells, uint32_t cell_count)
{
    return row_feed(host, input, NULL, cells, cell_count);
}

int host_row_at(struct host *host, uint32_t input, int64_t time, const int64_t *cells, uint32_t cell_count)
{
    return row_feed(host, input, &time, cells, cell_count);
}

uint32_t host_bucket(struct host *host, uint32_t input, const int64_t *cells, uint32_t cell_count)
{
    unsigned char store[PST_FIELDS_MAX][PST_TEXT_BYTES];
    const void *columns[PST_FIELDS_MAX];
    cells_to_columns(host, input, cells, cell_count, store, columns);
    if (!host->inputs[input].keyed)
        return 0;
    return (uint32_t)row_hash(&host->inputs[input], columns, 0) & (host->bucket_count - 1);
}

int host_stream(struct host *host, uint32_t input, const void *const *columns, const int64_t *time, uint32_t n)
{
    feed_check(host, input);
    const struct input *in = &host->inputs[input];
    for (uint32_t first = 0, end; first < n && host->error == PST_OK; first = end) {
        int64_t limit = epoch_end(host, row_time(host, in, columns, time, first));
        for (end = first + 1; end < n && row_time(host, in, columns, time, end) < limit; end++)
            continue;
        const void *part[PST_FIELDS_MAX];
        for (uint32_t i = 0; i < in->schema.field_count; i++)
            part[i] = columns[i] == NULL ? NULL
                                         : (const unsigned char *)columns[i] +
                                               (size_t)first * pst_type_bytes(in->schema.fields[i].type);
        if (host_time(host, limit - host->epoch) == PST_OK)
            (void)host_rows(host, input, part, time != NULL ? time + first : NULL, end - first);
    }
    return host->error;
}

/* ---- time ---- */

int64_t host_timer(const struct host *host, uint32_t bucket) { return host->timers[bucket]; }
uint64_t host_time_calls(const struct host *host) { return host->time_calls; }

int64_t host_next_timer(const struct host *host)
{
    int64_t first = INT64_MAX;
    for (uint32_t i = 0; i < host->bucket_count; i++)
        first = host->timers[i] < first ? host->timers[i] : first;
    return first;
}

static void due_find(struct host *host, int64_t t)
{
    host->due_count = 0;
    for (uint32_t i = 0; i < host->bucket_count; i++) {
        if (!host->touched[i] && host->timers[i] > t)
            continue;
        host->due[host->due_count++] = i;
        host->touched[i] = false;
        if (host->timers[i] <= t)
            host->timers[i] = INT64_MAX;
    }
}

static void call_on_time(struct host *host, int64_t t)
{
    due_find(host, t);
    host->now = t;
    host->open_end = INT64_MIN;
    host->time_calls++;
    enter(host, PHASE_TIME, t - 1);
    (void)leave(host, host->op->on_time != NULL ? host->op->on_time(&host->ctx, t) : PST_OK, "on_time");
}

static bool any_due(const struct host *host, int64_t t)
{
    for (uint32_t i = 0; i < host->bucket_count; i++)
        if (host->touched[i] || host->timers[i] <= t)
            return true;
    return false;
}

int host_time(struct host *host, int64_t t)
{
    if (t < host->now)
        host_die(host, "time goes back from %lld to %lld", (long long)host->now, (long long)t);
    if (host->order == PST_ORDER_ANY) {
        if (host->error == PST_OK && any_due(host, t))
            call_on_time(host, t);
        host->now = t;
        return host->error;
    }
    while (host->error == PST_OK) {
        int64_t timer = timer_end(host), end = host->open_end;
        end = end == INT64_MIN || timer < end ? timer : end;
        if (end > t || end == INT64_MAX)
            break;
        call_on_time(host, end);
    }
    int64_t reached = floor_to(t, host->epoch);
    host->now = reached > host->now ? reached : host->now;
    return host->error;
}

int host_end(struct host *host, int64_t t)
{
    if (host_time(host, t) != PST_OK || host->ended)
        return host->error;
    memcpy(host->due, host->buckets, host->owned_count * sizeof *host->due);
    host->due_count = host->owned_count;
    host->ended = true;
    enter(host, PHASE_END, (host->order == PST_ORDER_ANY ? t : epoch_end(host, t)) - 1);
    return leave(host, host->op->on_end != NULL ? host->op->on_end(&host->ctx, t) : PST_OK, "on_end");
}

/* ---- sources ---- */

int host_block_flags(struct host *host, const struct pst_block *block)
{
    enum { PAD = 64, DIRT = 0x2C }; /* commas: what a parser that steps too far is most likely to take for data */
    if (host->error != PST_OK)
        return host->error;
    char *text = host_own(NULL, block->text_bytes + 2 * PAD);
    memset(text, DIRT, block->text_bytes + 2 * PAD);
    memcpy(text + PAD, block->text, block->text_bytes);
    struct pst_block copy = *block;
    copy.text = text + PAD;
    enter(host, PHASE_BLOCK, 0);
    int rc = leave(host, host->op->on_block(&host->ctx, &copy), "on_block");
    free(text);
    return rc;
}

int host_block(struct host *host, const char *text, size_t text_bytes, bool first, bool last)
{
    return host_block_flags(host,
                            &(struct pst_block){.text = text, .text_bytes = text_bytes, .first = first, .last = last});
}
