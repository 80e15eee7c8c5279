/* inside.c - see inside.h. */
#include "enclave_shim/inside/move.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { BUCKETS_AT_ONCE = 64, PAGES_BESIDES = 8 }; /* as engine/spill.c: what a callback is likely to touch */

struct batch {
    struct pst_out out;
    void **columns;
};

/* Rows of one input that have come, and that the operator gets next: first, and count from there on, of `capacity`. */
struct gathered {
    uint32_t first, count, capacity;
    void *columns[PST_FIELDS_MAX + 2];
};

/* What an operator sees as its partition; also struct pst_inside. */
struct pst_ctx {
    struct pst_plan_head head;
    struct pst_inside_settings settings;
    struct pst_arena arena, user_arena;
    const void *planned;
    void *user;
    bool opened;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    struct batch batches[PST_OUTPUTS_MAX];
    struct pst_inside_forward forward;
    bool may_put; /* in on_time() and on_end(), in total order in on_frame() too */
    bool timed;   /* what is in the batches was put out by on_frame(), at rows_time */
    int64_t rows_time;
    uint32_t *buckets, *due;
    uint32_t owned_count, due_count;
    uint8_t *marked; /* by bucket */
    int64_t *timers; /* by bucket */
    int64_t timer_min, time;
    bool ended;
    uint32_t *row_bucket; /* of the frame at hand */
    struct gathered gathered[PST_INPUTS_MAX];
    uint32_t gathered_port; /* the only one that has any */
    struct pst_state *state;
    struct pst_pool *pool;
    struct pst_sealer *sealer, *opener;
    struct pst_images *images;     /* NULL: none are made */
    struct pst_transfer *transfer; /* NULL: its buckets stay */
    uint8_t owns[PST_BOOT_BUCKETS_MAX / 8];
    bool served;        /* something else than images has come */
    int error;          /* of emit, or of the state when it was made */
    char sentence[240]; /* what the operator said by pst_fail() */
    char why[PST_SENTENCE_BYTES_MAX];
};
struct pst_inside {
    struct pst_ctx ctx;
};

/* ---- the pager's outside: slots in shared memory ---- */

static uint8_t *slot_at(struct pst_ctx *ctx, uint32_t slot, uint32_t byte_count)
{
    uint64_t bytes = pst_seal_bound(PST_PAGE_BYTES), at = slot * bytes;
    PST_ASSERT(byte_count <= bytes);
    return at + bytes <= ctx->settings.outside_bytes ? ctx->settings.outside + at : NULL;
}

static int outside_put(void *self, uint32_t slot, const void *sealed, uint32_t byte_count)
{
    struct pst_ctx *ctx = self;
    uint8_t *at = slot_at(ctx, slot, byte_count);
    if (at == NULL)
        return PST_ERANGE;
    memcpy(at, sealed, byte_count);
    return PST_OK;
}

static int outside_get(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    const uint8_t *at = slot_at(self, slot, byte_count);
    PST_ASSERT(at != NULL);
    memcpy(sealed, at, byte_count); /* opened from the copy */
    return PST_OK;
}

static void outside_nothing(void *self, uint32_t slot) { (void)self, (void)slot; }
static void outside_ahead(void *self, uint32_t slot, uint32_t byte_count) { (void)self, (void)slot, (void)byte_count; }

/* ---- state ---- */

static int state_page(struct pst_ctx *ctx)
{
    const struct pst_inside_settings *s = &ctx->settings;
    static const uint8_t graph[PST_GRAPH_DIGEST_BYTES]; /* the master key is this worker's alone */
    uint32_t pages_min = (ctx->owned_count < BUCKETS_AT_ONCE ? ctx->owned_count : BUCKETS_AT_ONCE) + PAGES_BESIDES;
    ctx->pool = pst_pool_new(s->page_budget);
    if (ctx->pool == NULL)
        return PST_ENOMEM;
    if (s->dear_after != 0 && s->evict == PST_EVICT_EVENT_TIME) /* the others are there to be compared with */
        pst_pool_dear(ctx->pool, s->dear_after);
    int rc = pst_sealer_new(s->master, graph, PST_SEAL_SPILL, s->incarnation, 1, &s->config->id,
                            &s->config->bucket_count, &ctx->sealer);
    if (rc == PST_OK)
        rc = pst_sealer_new_to_open(s->master, graph, PST_SEAL_SPILL, s->incarnation, 1, &s->config->id,
                                    &s->config->bucket_count, &ctx->opener);
    struct pst_paging paging = {
        .pool = ctx->pool,
        .pages_min = pages_min,
        .sealer = ctx->sealer,
        .opener = ctx->opener,
        .outside = {ctx, outside_put, outside_get, outside_ahead, outside_nothing, outside_get},
        .evict = (pst_evict)s->evict,
    };
    if (rc == PST_OK)
        rc = pst_state_page(ctx->state, &paging);
    return rc == PST_OK && pst_pool_least(ctx->pool) > s->page_budget ? PST_EFULL : rc;
}

static struct pst_state *state_of(struct pst_ctx *ctx)
{
    if (ctx->state != NULL || ctx->error != PST_OK)
        return ctx->error == PST_OK ? ctx->state : NULL;
    ctx->state = pst_state_new(ctx->settings.config->bucket_count, UINT64_C(1) << 40);
    ctx->error = ctx->state != NULL ? PST_OK : PST_ENOMEM;
    if (ctx->error == PST_OK && ctx->settings.page_budget != 0)
        ctx->error = state_page(ctx);
    return ctx->error == PST_OK ? ctx->state : NULL;
}

/* ---- what the operator calls ---- */

static const void *host_planned(struct pst_ctx *ctx) { return ctx->planned; }
static void *host_alloc(struct pst_ctx *ctx, size_t bytes) { return pst_arena_alloc(&ctx->user_arena, bytes); }
static void host_set_user(struct pst_ctx *ctx, void *user) { ctx->user = user; }
static void *host_user(struct pst_ctx *ctx) { return ctx->user; }

static const uint32_t *host_buckets(struct pst_ctx *ctx, uint32_t *ret_count)
{
    *ret_count = ctx->owned_count;
    return ctx->buckets;
}

static const uint32_t *host_due(struct pst_ctx *ctx, uint32_t *ret_count)
{
    *ret_count = ctx->due_count;
    return ctx->due;
}

static void host_timer_set(struct pst_ctx *ctx, uint32_t bucket, int64_t t)
{
    PST_ASSERT(bucket < ctx->settings.config->bucket_count);
    ctx->timers[bucket] = t;
    if (t < ctx->timer_min)
        ctx->timer_min = t;
}

static int batch_emit(struct pst_ctx *ctx, uint32_t output)
{
    const struct pst_enclave_output *plan = &ctx->settings.config->outputs[output];
    struct pst_out *out = &ctx->batches[output].out;
    uint32_t rows = out->row_count, rows_each = pst_shape_rows_each(&ctx->outputs[output], rows);
    PST_ASSERT(rows <= out->row_capacity);
    if (pst_transfer_count(ctx->transfer))
        pst_transfer_rows_out(ctx->transfer, output, ctx->timed ? ctx->rows_time : ctx->time, out);
    out->row_count = 0;
    for (uint32_t from = 0; from < rows; from += rows_each) {
        uint32_t n = rows - from < rows_each ? rows - from : rows_each, count = 0;
        struct pst_piece pieces[PST_FIELDS_MAX + 1];
        struct pst_message message = {.kind = PST_MESSAGE_ROWS, .port = output, .row_count = n};
        message.facts = ctx->timed ? PST_ROWS_TIMED : 0;
        message.time = ctx->timed ? ctx->rows_time : 0;
        pieces[count++] = (struct pst_piece){out->bucket + from, n * (uint32_t)sizeof *out->bucket, 4, false};
        for (uint32_t f = 0; f < plan->schema.field_count; f++) {
            uint32_t bytes = pst_type_bytes(plan->schema.fields[f].type);
            if (plan->wanted[f])
                pieces[count++] =
                    (struct pst_piece){(char *)out->columns[f] + (size_t)from * bytes, n * bytes, bytes, false};
        }
        int rc = ctx->settings.emit(ctx->settings.emitter, &message, pieces, count);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int batches_emit(struct pst_ctx *ctx)
{
    int rc = PST_OK;
    for (uint32_t o = 0; o < ctx->settings.config->output_count && rc == PST_OK; o++)
        rc = batch_emit(ctx, o);
    ctx->timed = false;
    return rc;
}

static struct pst_out *host_out_reserve(struct pst_ctx *ctx, uint32_t output, uint32_t row_count)
{
    PST_ASSERT(output < ctx->settings.config->output_count && row_count >= 1 && row_count <= PST_OUT_ROWS_MAX);
    struct pst_out *out = &ctx->batches[output].out;
    if (!ctx->may_put) {
        (void)snprintf(ctx->sentence, sizeof ctx->sentence, "it puts out rows in on_frame(), which it may not");
        return NULL;
    }
    if (out->row_count + row_count > out->row_capacity && ctx->error == PST_OK)
        ctx->error = batch_emit(ctx, output);
    return ctx->error == PST_OK ? out : NULL;
}

static void gather(const void *from, void *to, uint32_t cell_bytes, const uint32_t *indices, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        memcpy((char *)to + (size_t)i * cell_bytes, (const char *)from + (size_t)indices[i] * cell_bytes, cell_bytes);
}

/* Of a stateless operator. It has no key, so all is of bucket 0; its rows have the event time of those that came. */
static int host_forward(struct pst_ctx *ctx, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                        uint32_t index_count)
{
    if (ctx->settings.op->role != PST_ROLE_STATELESS || output >= ctx->settings.config->output_count)
        return PST_EINVAL;
    const struct pst_enclave_output *plan = &ctx->settings.config->outputs[output];
    for (uint32_t from = 0, n; from < index_count; from += n) {
        n = index_count - from < PST_OUT_ROWS_MAX ? index_count - from : PST_OUT_ROWS_MAX;
        struct pst_out *out = host_out_reserve(ctx, output, n);
        if (out == NULL)
            return ctx->error != PST_OK ? ctx->error : PST_EINVAL;
        memset(out->bucket + out->row_count, 0, n * sizeof *out->bucket);
        for (uint32_t i = 0; i < n; i++)
            PST_ASSERT(indices[from + i] < rows->row_count);
        for (uint32_t f = 0; f < plan->schema.field_count; f++) {
            uint32_t bytes = pst_type_bytes(plan->schema.fields[f].type);
            if (plan->wanted[f])
                gather(rows->columns[ctx->forward.column[output][f]],
                       (char *)out->columns[f] + (size_t)out->row_count * bytes, bytes, indices + from, n);
        }
        out->row_count += n;
    }
    return PST_OK;
}

static int host_reject(struct pst_ctx *ctx, pst_reject_reason reason, const char *line, size_t line_bytes,
                       uint32_t line_index)
{
    (void)ctx, (void)reason, (void)line, (void)line_bytes, (void)line_index;
    return PST_EINVAL;
}

static int host_block_lines(struct pst_ctx *ctx, uint32_t line_count)
{
    (void)ctx, (void)line_count;
    return PST_EINVAL;
}

static int host_write(struct pst_ctx *ctx, const void *bytes, size_t byte_count)
{
    (void)ctx, (void)bytes, (void)byte_count;
    return PST_EINVAL;
}

static void host_fail(struct pst_ctx *ctx, const char *sentence)
{
    pst_text_plain(ctx->sentence, sizeof ctx->sentence - 1, sentence);
}

static bool host_wanted(struct pst_ctx *ctx, uint32_t output, uint32_t output_field)
{
    return ctx->settings.config->outputs[output].wanted[output_field];
}

static struct pst_table *host_table_open(struct pst_ctx *ctx, const char *name, uint32_t key_bytes,
                                         uint32_t record_bytes)
{
    struct pst_state *state = state_of(ctx);
    return state != NULL ? pst_state_table_open(state, name, key_bytes, record_bytes) : NULL;
}

static struct pst_log *host_log_open(struct pst_ctx *ctx, const char *name)
{
    struct pst_state *state = state_of(ctx);
    return state != NULL ? pst_state_log_open(state, name) : NULL;
}

static void host_release(struct pst_ctx *ctx)
{
    if (ctx->pool != NULL)
        pst_state_release(ctx->state);
}

static const struct pst_host host = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof host,
    .planned = host_planned,
    .alloc = host_alloc,
    .set_user = host_set_user,
    .user = host_user,
    .buckets = host_buckets,
    .due = host_due,
    .timer_set = host_timer_set,
    .out_reserve = host_out_reserve,
    .forward = host_forward,
    .reject = host_reject,
    .block_lines = host_block_lines,
    .write = host_write,
    .fail = host_fail,
    .wanted = host_wanted,
    .table_open = host_table_open,
    .table_upsert = pst_state_table_upsert,
    .table_find = pst_state_table_find,
    .table_count = pst_state_table_count,
    .table_record = pst_state_table_record,
    .table_key = pst_state_table_key,
    .table_remove = pst_state_table_remove,
    .log_open = host_log_open,
    .log_append = pst_state_log_append,
    .log_read = pst_state_log_read,
    .log_tail = pst_state_log_tail,
    .log_head = pst_state_log_head,
    .log_trim = pst_state_log_trim,
    .log_wanted = pst_state_log_wanted,
    .release = host_release,
};

/* ---- callbacks ---- */

static int failed(struct pst_ctx *ctx, int rc, const char *callback)
{
    struct pst_seal_place place;
    int error = ctx->state != NULL && ctx->pool != NULL ? pst_state_error(ctx->state, &place) : PST_OK;
    if (error == PST_EREFUSED)
        (void)snprintf(ctx->why, sizeof ctx->why,
                       "%s: page %" PRIu64 " of bucket %u, outside, is not what was put there", callback, place.number,
                       place.bucket);
    else if (error == PST_ERANGE)
        (void)snprintf(ctx->why, sizeof ctx->why,
                       "%s: its state is larger than what may lie outside the EPC (%" PRIu64 " MiB)", callback,
                       ctx->settings.outside_bytes >> 20);
    else if (ctx->sentence[0] != '\0' &&
             ctx->settings.config->sealing != NULL) /* it may name what stands in rows: P4 */
        (void)snprintf(ctx->why, sizeof ctx->why, "%s: %s; what the operator says of it stays in its enclave", callback,
                       pst_error_sentence(rc));
    else
        (void)snprintf(ctx->why, sizeof ctx->why, "%s: %s", callback,
                       ctx->sentence[0] != '\0' ? ctx->sentence : pst_error_sentence(rc));
    return rc;
}

static void begins(struct pst_ctx *ctx, int64_t t)
{
    if (ctx->pool != NULL)
        pst_state_begin(ctx->state, t);
}

/* Of a callback that returned rc. What the state or the way out could not do comes first: that is why it failed. */
static int ends(struct pst_ctx *ctx, int rc, const char *callback)
{
    int error = ctx->pool != NULL ? pst_state_end(ctx->state) : PST_OK;
    if (ctx->error != PST_OK)
        return ctx->error;
    return error != PST_OK ? failed(ctx, error, callback) : rc != PST_OK ? failed(ctx, rc, callback) : PST_OK;
}

/* In which bucket each row is, into ctx->row_bucket, and which of them on_time() is due for. A broadcast has no key, and is nobody's. */
static void mark(struct pst_ctx *ctx, const struct pst_enclave_input *input, const uint64_t *hash, uint32_t row_count)
{
    uint32_t mask = ctx->settings.config->bucket_count - 1, *row_bucket = ctx->row_bucket;
    uint8_t *marked = ctx->marked;
    if (!input->keyed && !input->broadcast)
        marked[0] = 1;
    for (uint32_t i = 0; input->keyed && i < row_count; i++) {
        row_bucket[i] = (uint32_t)hash[i] & mask;
        marked[row_bucket[i]] = 1;
    }
}

/* In total order rows come one event time after the other, and what they put out is of their time: what is left of the one before goes
 * first. PST_EDATA: they are of several, or below what has been. */
static int total_begins(struct pst_ctx *ctx, const int64_t *time, uint32_t row_count)
{
    for (uint32_t i = 0; i < row_count; i++)
        if (time[i] != time[0] || time[0] < ctx->time)
            return PST_EDATA;
    int rc = ctx->timed && ctx->rows_time != time[0] ? batches_emit(ctx) : PST_OK;
    ctx->may_put = ctx->timed = true;
    ctx->rows_time = time[0];
    return rc;
}

int pst_inside_rows(struct pst_inside *inside, uint32_t port, uint32_t row_count, void *const *parts)
{
    struct pst_ctx *ctx = &inside->ctx;
    int rc = ctx->settings.config->total ? total_begins(ctx, parts[0], row_count) : PST_OK;
    if (rc != PST_OK)
        return rc;
    const struct pst_enclave_input *input = &ctx->settings.config->inputs[port];
    struct pst_rows rows = {.row_count = row_count,
                            .input = port,
                            .time = parts[0],
                            .columns = (const void *const *)parts + (input->keyed ? 2 : 1)};
    if (input->keyed) {
        rows.hash = parts[1];
        rows.bucket = ctx->row_bucket;
    }
    mark(ctx, input, rows.hash, row_count);
    if (pst_transfer_count(ctx->transfer))
        pst_transfer_row_in(ctx->transfer, port, &rows);
    begins(ctx, rows.time[0]);
    rc = ends(ctx, ctx->settings.op->on_frame(ctx, &rows), "on_frame");
    ctx->may_put = false;
    return rc;
}

static int gathered_give(struct pst_inside *inside)
{
    struct pst_ctx *ctx = &inside->ctx;
    struct gathered *g = &ctx->gathered[ctx->gathered_port];
    const struct pst_shape *shape = &ctx->inputs[ctx->gathered_port];
    uint32_t count = g->count;
    if (count == 0)
        return PST_OK;
    void *parts[PST_FIELDS_MAX + 2] = {(int64_t *)g->columns[0] + g->first, g->columns[1]};
    for (uint32_t p = 1; p < shape->part_count; p++)
        parts[p] = (uint8_t *)g->columns[p] + (size_t)g->first * shape->part_bytes[p];
    g->first = g->count = 0;
    return pst_inside_rows(inside, ctx->gathered_port, count, parts);
}

/* As it is: columns that take their full width stay where they came. */
static int frame_give(struct pst_inside *inside, const struct pst_message *message, uint8_t *body)
{
    struct pst_ctx *ctx = &inside->ctx;
    void *parts[PST_FIELDS_MAX + 2];
    int rc = pst_shape_read(&ctx->inputs[message->port], message->row_count, body, message->body_bytes,
                            ctx->gathered[message->port].columns[0], parts);
    return rc == PST_OK ? pst_inside_rows(inside, message->port, message->row_count, parts) : rc;
}

/* Frames of one input that follow each other become one, whose times do not go back either: what is done for each frame, of each bucket
 * often, is done less often. In total order a frame is of one time. */
static int take_frame(struct pst_inside *inside, const struct pst_message *message, uint8_t *body)
{
    struct pst_ctx *ctx = &inside->ctx;
    struct gathered *g = &ctx->gathered[message->port];
    const struct pst_shape *shape = &ctx->inputs[message->port];
    uint32_t n = message->row_count, at = g->first + g->count;
    int rc = PST_OK;
    if (ctx->gathered_port != message->port || at + n > PST_INSIDE_ROWS_MAX || at + n > g->capacity) {
        rc = gathered_give(inside);
        at = 0;
    }
    ctx->gathered_port = message->port;
    bool waits =
        !ctx->settings.config->total && ctx->settings.more != NULL && ctx->settings.more(ctx->settings.emitter);
    if (rc == PST_OK && g->count == 0 && !waits)
        return frame_give(inside, message, body);
    if (rc == PST_OK)
        rc = pst_shape_read_behind(shape, n, body, message->body_bytes, at, g->columns);
    if (rc != PST_OK)
        return rc;
    const int64_t *time = g->columns[0];
    if (g->count != 0 && time[at] < time[at - 1]) {
        rc = gathered_give(inside);
        g->first = at;
    }
    g->count += n;
    return rc == PST_OK && !waits ? gathered_give(inside) : rc;
}

static void find_due(struct pst_ctx *ctx, int64_t t)
{
    ctx->timer_min = INT64_MAX;
    ctx->due_count = 0;
    for (uint32_t i = 0; i < ctx->owned_count; i++) {
        uint32_t bucket = ctx->buckets[i];
        if (ctx->marked[bucket] != 0 || ctx->timers[bucket] <= t) {
            ctx->due[ctx->due_count++] = bucket;
            ctx->marked[bucket] = 0;
            if (ctx->timers[bucket] <= t)
                ctx->timers[bucket] = INT64_MAX;
        }
        if (ctx->timers[bucket] < ctx->timer_min)
            ctx->timer_min = ctx->timers[bucket];
    }
}

static int answer(struct pst_ctx *ctx)
{
    struct pst_border_counts counts = {0};
    struct pst_message message = {.kind = PST_MESSAGE_DONE, .time = ctx->timer_min};
    int rc = batches_emit(ctx);
    if (rc != PST_OK)
        return rc;
    if (ctx->pool != NULL) {
        struct pst_paging_counts paging;
        pst_state_paging_counts(ctx->state, &paging);
        counts = (struct pst_border_counts){paging.lookups,
                                            paging.page_ins,
                                            paging.page_outs,
                                            paging.page_outs_clean,
                                            paging.bytes_sealed,
                                            paging.bytes_opened,
                                            paging.pages_in_max,
                                            paging.need_pages,
                                            0,
                                            0};
    }
    if (ctx->state != NULL)
        message.state_bytes = pst_state_bytes(ctx->state);
    if (ctx->settings.counts != NULL)
        ctx->settings.counts(ctx->settings.counter, &counts);
    struct pst_piece piece = {&counts, sizeof counts, 0, false};
    return ctx->settings.emit(ctx->settings.emitter, &message, &piece, 1);
}

int pst_inside_answer(struct pst_inside *inside) { return answer(&inside->ctx); }

static int take_time(struct pst_ctx *ctx, const struct pst_message *message)
{
    if (ctx->ended || message->time < ctx->time)
        return PST_EDATA;
    int rc = batches_emit(ctx); /* of on_frame(): they are of a time of their own */
    if (rc != PST_OK)
        return rc;
    ctx->time = message->time;
    find_due(ctx, message->limit < message->time ? message->limit : message->time);
    ctx->may_put = true;
    begins(ctx, message->time);
    rc = ctx->settings.op->on_time != NULL ? ctx->settings.op->on_time(ctx, message->time) : PST_OK;
    rc = ends(ctx, rc, "on_time");
    if (rc == PST_OK)
        rc = answer(ctx);
    ctx->may_put = false;
    return rc;
}

static int take_end(struct pst_ctx *ctx, const struct pst_message *message)
{
    int rc = ctx->ended || message->time < ctx->time ? PST_EDATA : batches_emit(ctx);
    if (rc != PST_OK)
        return rc;
    ctx->ended = true;
    memcpy(ctx->due, ctx->buckets, ctx->owned_count * sizeof *ctx->due);
    ctx->due_count = ctx->owned_count;
    ctx->may_put = true;
    begins(ctx, message->time);
    rc = ctx->settings.op->on_end != NULL ? ctx->settings.op->on_end(ctx, message->time) : PST_OK;
    rc = ends(ctx, rc, "on_end");
    if (rc == PST_OK)
        rc = answer(ctx);
    ctx->may_put = false;
    return rc;
}

/* ---- images ---- */

static struct pst_images_of images_of(struct pst_ctx *ctx)
{
    return (struct pst_images_of){ctx->state, ctx->buckets, ctx->owned_count, ctx->timers, ctx->owns};
}

static bool has_marks(const struct pst_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->owned_count; i++)
        if (ctx->marked[ctx->buckets[i]] != 0)
            return true;
    return false;
}

/* Between two epochs: rows that on_time() has not seen are in no image. */
static int take_image(struct pst_ctx *ctx, const struct pst_message *message)
{
    struct pst_images_of of = images_of(ctx);
    if (ctx->images == NULL || ctx->ended || message->time < ctx->time || has_marks(ctx))
        return PST_EDATA;
    begins(ctx, message->time);
    int rc = pst_images_out(ctx->images, &of, message);
    bool of_state = rc == PST_ERANGE || (ctx->pool != NULL && pst_state_error(ctx->state, NULL) != PST_OK);
    return rc == PST_OK || of_state ? ends(ctx, rc, "a checkpoint") : rc; /* of the way out nothing is said */
}

int pst_inside_image_late(struct pst_inside *inside, const struct pst_message *message)
{
    struct pst_ctx *ctx = &inside->ctx;
    return ctx->images != NULL ? pst_images_late(ctx->images, message) : PST_EDATA;
}

static void timer_find(struct pst_ctx *ctx)
{
    ctx->timer_min = INT64_MAX;
    for (uint32_t i = 0; i < ctx->owned_count; i++)
        if (ctx->timers[ctx->buckets[i]] < ctx->timer_min)
            ctx->timer_min = ctx->timers[ctx->buckets[i]];
}

static int take_restore(struct pst_ctx *ctx, const struct pst_message *message, const uint8_t *body)
{
    struct pst_images_of of = images_of(ctx);
    if (ctx->images == NULL || ctx->served)
        return PST_EDATA;
    if (message->kind == PST_MESSAGE_RESTORE) {
        int rc = pst_images_back(ctx->images, &of, message, body, ctx->why);
        return rc == PST_OK || ctx->why[0] != '\0' ? rc : ends(ctx, rc, "a checkpoint");
    }
    int rc = pst_images_end(ctx->images, &of, message, ctx->why);
    if (rc != PST_OK)
        return rc;
    ctx->time = message->time;
    timer_find(ctx);
    rc = ends(ctx, PST_OK, "a checkpoint");
    return rc == PST_OK ? answer(ctx) : rc;
}

/* ---- buckets that move ---- */

static bool owns(const struct pst_ctx *ctx, uint32_t bucket) { return (ctx->owns[bucket / 8] >> bucket % 8 & 1) != 0; }

/* Whose bits are set: ascending. */
static void buckets_of_bits(struct pst_ctx *ctx)
{
    ctx->owned_count = 0;
    for (uint32_t b = 0; b < ctx->settings.config->bucket_count; b++)
        if (owns(ctx, b))
            ctx->buckets[ctx->owned_count++] = b;
}

/* Which buckets there are an operator may have looked at when it was opened. Between two epochs it keeps nothing but its state (P3). */
static int open_again(struct pst_ctx *ctx)
{
    const struct pst_operator *op = ctx->settings.op;
    if (op->close != NULL)
        op->close(ctx);
    pst_arena_fini(&ctx->user_arena);
    pst_arena_init(&ctx->user_arena);
    ctx->user = NULL;
    int rc = op->open != NULL ? op->open(ctx) : PST_OK;
    rc = ctx->error != PST_OK ? ctx->error : rc;
    ctx->opened = rc == PST_OK;
    return rc == PST_OK ? PST_OK : failed(ctx, rc, "open");
}

static int moved(struct pst_ctx *ctx, int error, const char *why)
{
    struct pst_message message = {.kind = PST_MESSAGE_MOVED, .time = ctx->timer_min, .error = error};
    struct pst_piece piece = {why, (uint32_t)strlen(why), 0, false};
    return ctx->settings.emit(ctx->settings.emitter, &message, &piece, 1);
}

static int take_hand(struct pst_ctx *ctx, const struct pst_message *message, const uint8_t *body)
{
    struct pst_images_of of = images_of(ctx);
    if (ctx->ended || message->time < ctx->time || has_marks(ctx))
        return PST_EDATA;
    begins(ctx, message->time);
    int rc = pst_transfer_hand(ctx->transfer, &of, message, body);
    bool of_state = rc == PST_ERANGE || (ctx->pool != NULL && pst_state_error(ctx->state, NULL) != PST_OK);
    if (rc == PST_OK || of_state)
        rc = ends(ctx, rc, "a move");
    else if (rc == PST_ENOMEM && ends(ctx, PST_OK, "a move") == PST_OK) /* then it is given up, and that is all */
        return moved(ctx, rc, pst_error_sentence(rc));
    return rc == PST_OK ? moved(ctx, PST_OK, "") : rc;
}

static int take_arrive(struct pst_ctx *ctx, const struct pst_message *message, const uint8_t *body)
{
    struct pst_images_of of = images_of(ctx);
    if (ctx->ended || message->time < ctx->time || has_marks(ctx))
        return PST_EDATA;
    int rc = pst_transfer_arrive(ctx->transfer, &of, message, body, ctx->why);
    if (rc != PST_OK)
        return rc;
    ctx->time = message->time;
    for (uint32_t i = 0; i < message->row_count; i++) {
        uint32_t bucket = pst_transfer_bucket(body, i);
        ctx->owns[bucket / 8] |= (uint8_t)(1 << bucket % 8);
    }
    buckets_of_bits(ctx);
    timer_find(ctx);
    if ((message->facts & PST_ARRIVE_LAST) != 0)
        pst_transfer_end(ctx->transfer);
    if ((message->facts & PST_ARRIVE_OPENS_AGAIN) != 0)
        rc = open_again(ctx);
    return rc == PST_OK ? moved(ctx, PST_OK, "") : rc;
}

static int take_forget(struct pst_ctx *ctx, const struct pst_message *message, const uint8_t *body)
{
    if (has_marks(ctx))
        return PST_EDATA;
    for (uint32_t i = 0; i < message->row_count; i++) {
        uint32_t bucket = pst_transfer_bucket(body, i);
        if (bucket >= ctx->settings.config->bucket_count || !owns(ctx, bucket))
            return PST_EDATA;
        ctx->owns[bucket / 8] &= (uint8_t) ~(1 << bucket % 8);
        ctx->timers[bucket] = INT64_MAX;
        if (ctx->state != NULL)
            pst_state_drop(ctx->state, bucket);
    }
    buckets_of_bits(ctx);
    timer_find(ctx);
    if ((message->facts & PST_ARRIVE_LAST) != 0)
        pst_transfer_end(ctx->transfer);
    return moved(ctx, PST_OK, "");
}

static int take_move(struct pst_ctx *ctx, const struct pst_message *message, const uint8_t *body)
{
    struct pst_images_of of = images_of(ctx);
    char why[PST_SENTENCE_BYTES_MAX] = "";
    int rc;
    if (ctx->transfer == NULL)
        return PST_EDATA;
    switch (message->kind) {
    case PST_MESSAGE_PEER:
        rc = pst_transfer_meet(ctx->transfer, message, body, why);
        return rc == PST_OK || why[0] != '\0' ? moved(ctx, rc, why) : rc;
    case PST_MESSAGE_HAND:
        return take_hand(ctx, message, body);
    case PST_MESSAGE_TAKE:
        rc = pst_transfer_take(ctx->transfer, &of, message, body, ctx->why);
        return rc == PST_OK || ctx->why[0] != '\0' ? rc : ends(ctx, rc, "a move");
    case PST_MESSAGE_ARRIVE:
        return take_arrive(ctx, message, body);
    default:
        return take_forget(ctx, message, body);
    }
}

int pst_inside_take(struct pst_inside *inside, const struct pst_message *message, uint8_t *body)
{
    struct pst_ctx *ctx = &inside->ctx;
    int rc = pst_message_check_in(message, ctx->inputs, ctx->settings.config->input_count);
    if (rc != PST_OK)
        return rc;
    if (message->kind == PST_MESSAGE_RESTORE || message->kind == PST_MESSAGE_RESTORED)
        return take_restore(ctx, message, body);
    if (message->kind == PST_MESSAGE_STOP)
        return PST_ESTOPPED;
    if (!pst_images_serve(ctx->images))
        return PST_EDATA;
    ctx->served = true;
    if (message->kind == PST_MESSAGE_FRAME)
        return ctx->ended ? PST_EDATA : take_frame(inside, message, body);
    rc = gathered_give(inside);
    if (rc != PST_OK)
        return rc;
    if (message->kind == PST_MESSAGE_IMAGE)
        return take_image(ctx, message);
    if ((message->kind >= PST_MESSAGE_PEER && message->kind <= PST_MESSAGE_TAKE) ||
        message->kind == PST_MESSAGE_ARRIVE || message->kind == PST_MESSAGE_FORGET)
        return take_move(ctx, message, body);
    if (message->kind == PST_MESSAGE_TIME)
        return take_time(ctx, message);
    if (message->kind == PST_MESSAGE_END)
        return take_end(ctx, message);
    return PST_EDATA; /* sealed rows are for sealed.c */
}

/* ---- life ---- */

static int batches_init(struct pst_ctx *ctx)
{
    for (uint32_t o = 0; o < ctx->settings.config->output_count; o++) {
        const struct pst_schema *schema = &ctx->settings.config->outputs[o].schema;
        struct batch *batch = &ctx->batches[o];
        batch->columns = pst_arena_alloc(&ctx->arena, schema->field_count * sizeof *batch->columns);
        batch->out.bucket = pst_arena_alloc(&ctx->arena, PST_OUT_ROWS_MAX * sizeof *batch->out.bucket);
        if (batch->columns == NULL || batch->out.bucket == NULL)
            return PST_ENOMEM;
        for (uint32_t f = 0; f < schema->field_count; f++) {
            batch->columns[f] =
                pst_arena_alloc(&ctx->arena, (size_t)PST_OUT_ROWS_MAX * pst_type_bytes(schema->fields[f].type));
            if (batch->columns[f] == NULL)
                return PST_ENOMEM;
        }
        batch->out.columns = batch->columns;
        batch->out.row_capacity = PST_OUT_ROWS_MAX;
    }
    return PST_OK;
}

/* Of each input: room for as many rows as one may have, which are no more than a message is long. */
static int gathered_init(struct pst_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->settings.config->input_count; i++) {
        struct gathered *g = &ctx->gathered[i];
        const struct pst_shape *shape = &ctx->inputs[i];
        uint8_t *room = pst_arena_alloc(&ctx->arena, PST_BODY_BYTES_MAX);
        uint32_t at = 0;
        if (room == NULL)
            return PST_ENOMEM;
        g->capacity = pst_shape_rows_max(shape);
        for (uint32_t p = 0; p < shape->part_count; p++) {
            g->columns[p] = room + at;
            at += (g->capacity * shape->part_bytes[p] + 7) & ~UINT32_C(7);
        }
        PST_ASSERT(at <= PST_BODY_BYTES_MAX);
    }
    return PST_OK;
}

static_assert(PST_INSIDE_ROWS_MAX <= PST_BODY_BYTES_MAX / (2 * sizeof(uint64_t)), "row_bucket has room for them");

static int buckets_init(struct pst_ctx *ctx)
{
    uint32_t count = ctx->settings.config->bucket_count;
    uint32_t rows_max = PST_BODY_BYTES_MAX / (2 * sizeof(uint64_t)) + 1; /* a row of a keyed input has time and hash */
    ctx->buckets = pst_arena_alloc(&ctx->arena, count * sizeof *ctx->buckets);
    ctx->due = pst_arena_alloc(&ctx->arena, count * sizeof *ctx->due);
    ctx->marked = pst_arena_alloc(&ctx->arena, count * sizeof *ctx->marked);
    ctx->timers = pst_arena_alloc(&ctx->arena, count * sizeof *ctx->timers);
    ctx->row_bucket = pst_arena_alloc(&ctx->arena, rows_max * sizeof *ctx->row_bucket);
    if (ctx->buckets == NULL || ctx->due == NULL || ctx->marked == NULL || ctx->timers == NULL ||
        ctx->row_bucket == NULL)
        return PST_ENOMEM;
    for (uint32_t b = 0; b < count; b++) {
        ctx->timers[b] = INT64_MAX;
        if ((ctx->settings.owned[b / 8] >> b % 8 & 1) != 0)
            ctx->buckets[ctx->owned_count++] = b;
    }
    if (!ctx->settings.lane)
        memcpy(ctx->owns, ctx->settings.owned, (count + 7) / 8);
    return PST_OK;
}

static int open_operator(struct pst_ctx *ctx, char *ret_why)
{
    int rc = ctx->settings.op->open != NULL ? ctx->settings.op->open(ctx) : PST_OK;
    if (ctx->error != PST_OK)
        rc = ctx->error;
    if (rc == PST_EFULL && ctx->pool != NULL)
        (void)snprintf(ret_why, PST_SENTENCE_BYTES_MAX, "its pages want %" PRIu64 " KiB at least",
                       pst_pool_least(ctx->pool) / 1024);
    else if (rc != PST_OK)
        (void)snprintf(ret_why, PST_SENTENCE_BYTES_MAX, "open: %s",
                       ctx->sentence[0] != '\0' ? ctx->sentence : pst_error_sentence(rc));
    ctx->opened = rc == PST_OK;
    return rc;
}

int pst_inside_images(struct pst_inside *inside, const uint8_t key[PST_SECRET_BYTES])
{
    struct pst_ctx *ctx = &inside->ctx;
    struct pst_inside_settings *s = &ctx->settings;
    struct pst_structure_view views[PST_STRUCTURES_MAX];
    if (s->image_room == NULL)
        return PST_OK;
    if (ctx->state != NULL && pst_state_structures(ctx->state, views) > PST_EXTRA_STRUCTURE)
        return PST_EGRAPH;
    memcpy(pst_secret_bytes(s->image_room), key, PST_SECRET_BYTES);
    s->image_key = s->restore_keys[0] = s->image_room;
    s->restore_key_count = 1;
    return pst_images_new(s, &ctx->images);
}

void pst_inside_extra(struct pst_inside *inside, const struct pst_text *extra)
{
    if (inside->ctx.images != NULL)
        pst_images_extra(inside->ctx.images, extra);
}

uint32_t pst_inside_place_count(const struct pst_inside *inside)
{
    return inside->ctx.images != NULL ? pst_images_place_count(inside->ctx.images) : 0;
}

const struct pst_text *pst_inside_place(const struct pst_inside *inside, uint32_t i)
{
    return pst_images_place(inside->ctx.images, i);
}

bool pst_inside_place_has(const struct pst_inside *inside, uint32_t i, uint32_t bucket)
{
    return pst_images_place_has(inside->ctx.images, i, bucket);
}

void pst_inside_places_forget(struct pst_inside *inside)
{
    if (inside->ctx.images != NULL)
        pst_images_places_forget(inside->ctx.images);
}

/* Its host has the key of images, so it could read by them what it must not, or put back what was. */
static int may_have_images(const struct pst_inside_settings *settings, char *ret_why)
{
    if (settings->image_key == NULL || settings->config->sealing == NULL)
        return PST_OK;
    (void)snprintf(ret_why, PST_SENTENCE_BYTES_MAX, PST_INSIDE_NO_KEY);
    return PST_EGRAPH;
}

int pst_inside_new(const struct pst_inside_settings *settings, struct pst_inside **ret_inside,
                   char ret_why[PST_SENTENCE_BYTES_MAX])
{
    struct pst_inside *inside = *ret_inside = pst_calloc(1, sizeof *inside);
    (void)snprintf(ret_why, PST_SENTENCE_BYTES_MAX, "%s", pst_error_sentence(PST_ENOMEM));
    if (inside == NULL)
        return PST_ENOMEM;
    struct pst_ctx *ctx = &inside->ctx;
    ctx->settings = *settings;
    ctx->head.host = &host;
    ctx->timer_min = INT64_MAX;
    ctx->time = INT64_MIN;
    pst_arena_init(&ctx->arena);
    pst_arena_init(&ctx->user_arena);
    pst_config_shapes(settings->config, ctx->inputs, ctx->outputs);
    int rc = may_have_images(settings, ret_why);
    if (rc == PST_OK)
        rc = pst_inside_plan(settings->op, settings->config, &ctx->arena, &ctx->planned, &ctx->forward, ret_why);
    if (rc == PST_OK)
        rc = batches_init(ctx);
    if (rc == PST_OK)
        rc = buckets_init(ctx);
    if (rc == PST_OK)
        rc = gathered_init(ctx);
    if (rc == PST_OK)
        rc = open_operator(ctx, ret_why);
    if (rc == PST_OK && settings->image_key != NULL)
        rc = pst_images_new(&ctx->settings, &ctx->images);
    if (rc == PST_OK && settings->config->authority != NULL && settings->config->sealing == NULL)
        rc = pst_transfer_new(&ctx->settings, &ctx->transfer);
    if (settings->offer_seed != NULL) /* of it all offers come: V1 */
        OPENSSL_cleanse(settings->offer_seed, PST_OFFER_SEED_BYTES);
    if (settings->lane) /* it has looked at those that will come */
        ctx->owned_count = 0;
    return rc;
}

void pst_inside_free(struct pst_inside *inside)
{
    if (inside == NULL)
        return;
    struct pst_ctx *ctx = &inside->ctx;
    if (ctx->opened && ctx->settings.op->close != NULL)
        ctx->settings.op->close(ctx);
    pst_images_free(ctx->images);
    pst_transfer_free(ctx->transfer);
    pst_state_free(ctx->state);
    pst_pool_free(ctx->pool);
    pst_sealer_free(ctx->sealer);
    pst_sealer_free(ctx->opener);
    pst_arena_fini(&ctx->user_arena);
    pst_arena_fini(&ctx->arena);
    pst_free(inside);
}

int pst_inside_ready(struct pst_inside *inside, uint32_t facts, const uint8_t config_digest[PST_CONFIG_DIGEST_BYTES])
{
    struct pst_ctx *ctx = &inside->ctx;
    struct pst_message message = {.kind = PST_MESSAGE_READY, .time = ctx->timer_min, .facts = facts};
    struct pst_piece piece = {config_digest, PST_CONFIG_DIGEST_BYTES, 0, false};
    int rc = ctx->transfer != NULL ? pst_transfer_offer(ctx->transfer) : PST_OK;
    return rc == PST_OK ? ctx->settings.emit(ctx->settings.emitter, &message, &piece, 1) : rc;
}

const char *pst_inside_why(const struct pst_inside *inside) { return inside->ctx.why; }

uint64_t pst_inside_page_bytes_least(const struct pst_inside *inside)
{
    return inside != NULL && inside->ctx.pool != NULL ? pst_pool_least(inside->ctx.pool) : 0;
}
