/* route.c - rows on their way out of an instance: through its stateless stages, then hashed by key, dealt to partitions and
 * copied into the frames of their channels. All work is per column over up to ROUTE_ROWS rows; nothing is per row. */
#include "engine/carry.h"
#include "engine/lane.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- batches: where an operator puts its rows ---- */
int pst_batch_init(struct batch *batch, const struct pst_schema *schema, uint32_t row_capacity)
{
    *batch = (struct batch){0};
    batch->columns = pst_calloc(schema->field_count, sizeof *batch->columns);
    batch->time = pst_malloc(row_capacity * sizeof *batch->time);
    batch->out.bucket = pst_calloc(row_capacity, sizeof *batch->out.bucket);
    bool whole = batch->columns != NULL && batch->time != NULL && batch->out.bucket != NULL;
    for (uint32_t f = 0; f < schema->field_count && whole; f++) {
        batch->columns[f] = pst_aligned(64, (size_t)row_capacity * pst_type_bytes(schema->fields[f].type));
        whole = batch->columns[f] != NULL;
    }
    if (!whole) {
        pst_batch_fini(batch, schema);
        return PST_ENOMEM;
    }
    batch->out.columns = batch->columns;
    batch->out.row_capacity = row_capacity;
    return PST_OK;
}

void pst_batch_fini(struct batch *batch, const struct pst_schema *schema)
{
    for (uint32_t f = 0; f < schema->field_count && batch->columns != NULL; f++)
        pst_free(batch->columns[f]);
    pst_free(batch->columns);
    pst_free(batch->time);
    pst_free(batch->out.bucket);
    *batch = (struct batch){0};
}

/* Makes a batch larger, keeping its rows: only outputs with a total route behind them keep more than one batch of rows. */
static int batch_grow(struct batch *batch, const struct pst_schema *schema)
{
    struct batch larger;
    int rc = pst_batch_init(&larger, schema, batch->out.row_capacity * 2);
    if (rc != PST_OK)
        return rc;
    uint32_t rows = batch->out.row_count;
    for (uint32_t f = 0; f < schema->field_count; f++)
        memcpy(larger.columns[f], batch->columns[f], (size_t)rows * pst_type_bytes(schema->fields[f].type));
    memcpy(larger.out.bucket, batch->out.bucket, rows * sizeof *larger.out.bucket);
    memcpy(larger.time, batch->time, rows * sizeof *larger.time);
    larger.out.row_count = rows;
    pst_batch_fini(batch, schema);
    *batch = larger;
    return PST_OK;
}

/* What is counted by buckets would be counted beside. Operators of penstock's own are tested for it. */
static int buckets_check(struct pst_ctx *ctx, const struct batch *batch)
{
    uint32_t highest = 0;
    if (!ctx->node->plugin)
        return PST_OK;
    for (uint32_t i = 0; i < batch->out.row_count; i++)
        highest = batch->out.bucket[i] > highest ? batch->out.bucket[i] : highest;
    return highest < ctx->node->bucket_count
               ? PST_OK
               : pst_ctx_fail(
                     ctx, PST_EINVAL,
                     "operator %s (%s), partition %u, has put out a row of bucket %u, and it has %u: a row is of "
                     "the bucket whose state made it",
                     ctx->node->id, ctx->node->op->name, ctx->partition, highest, ctx->node->bucket_count);
}

static int batch_flush(struct pst_ctx *ctx, uint32_t output)
{
    struct batch *batch = &ctx->outputs[output].batch;
    uint32_t rows = batch->out.row_count;
    int rc = buckets_check(ctx, batch);
    if (rc != PST_OK)
        return rc;
    for (uint32_t i = 0; i < rows; i++)
        batch->time[i] = ctx->emit_time;
    batch->out.row_count = 0;
    if (ctx->sums != NULL)
        pst_sums_out(ctx->sums, output, &ctx->outputs[output], rows);
    struct view view = {.columns = (const void *const *)batch->columns,
                        .time = batch->time,
                        .bucket = batch->out.bucket,
                        .row_count = rows};
    return pst_deliver(ctx, output, &view);
}

bool pst_batch_may_pass(const struct pst_ctx *ctx, uint32_t output)
{
    const struct output *out = &ctx->outputs[output];
    return !out->total && out->batch.out.row_count == 0 && ctx->sums == NULL;
}

int pst_batch_pass(struct pst_ctx *ctx, uint32_t output, uint32_t row_count, const uint32_t *bucket,
                   const void *const *columns)
{
    struct output *out = &ctx->outputs[output];
    PST_ASSERT(pst_batch_may_pass(ctx, output) && row_count <= out->batch.out.row_capacity);
    for (uint32_t i = 0; i < row_count; i++)
        out->batch.time[i] = ctx->emit_time;
    struct view view = {.columns = columns, .time = out->batch.time, .bucket = bucket, .row_count = row_count};
    return pst_deliver(ctx, output, &view);
}

struct pst_out *pst_batch_reserve(struct pst_ctx *ctx, uint32_t output, uint32_t row_count)
{
    struct output *out = &ctx->outputs[output];
    PST_ASSERT(row_count >= 1 && row_count <= PST_OUT_ROWS_MAX && output < ctx->node->output_count);
    while (out->batch.out.row_count + row_count > out->batch.out.row_capacity) {
        int rc = out->total ? batch_grow(&out->batch, &out->plan->schema) : batch_flush(ctx, output);
        if (rc != PST_OK)
            return NULL;
    }
    return &out->batch.out;
}

/* ---- numbering, for total routes: what a bucket put out in one call, in the canonical order of its bytes ---- */
struct sorting {
    const struct batch *batch;
    const struct pst_schema *schema;
    const bool *wanted; /* fields that nobody reads may hold anything */
};

/* A row, and its first bytes that tell it from others: those behind the fields in which all rows of the batch are alike, as numbers in the
 * order of bytes. */
enum { HEAD_WORDS = 3 };
struct headed {
    uint64_t head[HEAD_WORDS];
    uint32_t row, place; /* place: among those of its bucket, as they were put out */
};

static int compare_rows(const struct sorting *sorting, uint32_t x, uint32_t y)
{
    for (uint32_t f = 0; f < sorting->schema->field_count; f++) {
        size_t bytes = pst_type_bytes(sorting->schema->fields[f].type);
        const char *column = sorting->batch->columns[f];
        int order = sorting->wanted[f] ? memcmp(column + x * bytes, column + y * bytes, bytes) : 0;
        if (order != 0)
            return order;
    }
    return 0;
}

static inline bool is_above(const struct headed *x, const struct headed *y, const struct sorting *sorting)
{
    for (uint32_t i = 0; i < HEAD_WORDS; i++)
        if (x->head[i] != y->head[i])
            return x->head[i] > y->head[i];
    return compare_rows(sorting, x->row, y->row) > 0;
}

/* Merges runs of `run` rows of `from` into those of twice as many of `to`. */
static void runs_merge(const struct headed *from, struct headed *to, uint32_t rows, uint32_t run,
                       const struct sorting *sorting)
{
    for (uint32_t begin = 0; begin < rows; begin += 2 * run) {
        uint32_t middle = rows - begin < run ? rows : begin + run,
                 end = rows - begin < 2 * run ? rows : begin + 2 * run;
        uint32_t a = begin, b = middle, at = begin;
        while (a < middle && b < end)
            to[at++] = is_above(&from[a], &from[b], sorting) ? from[b++] : from[a++];
        memcpy(&to[at], &from[a], (middle - a) * sizeof *to);
        memcpy(&to[at + middle - a], &from[b], (end - b) * sizeof *to);
    }
}

/* Runs of eight are put in order where they stand, the rest by merging: qsort_r() takes twice the time for a bucket's rows. */
static void rows_sort(struct headed *headed, struct headed *room, uint32_t rows, const struct sorting *sorting)
{
    enum { RUN = 8 };
    for (uint32_t begin = 0; begin < rows; begin += RUN) {
        uint32_t end = rows - begin < RUN ? rows : begin + RUN;
        for (uint32_t i = begin + 1; i < end; i++) {
            struct headed row = headed[i];
            uint32_t to = i;
            for (; to > begin && is_above(&headed[to - 1], &row, sorting); to--)
                headed[to] = headed[to - 1];
            headed[to] = row;
        }
    }
    struct headed *from = headed, *to = room;
    for (uint32_t run = RUN; run < rows; run *= 2) {
        runs_merge(from, to, rows, run, sorting);
        struct headed *swap = from;
        from = to;
        to = swap;
    }
    if (from != headed)
        memcpy(headed, from, rows * sizeof *headed);
}

static bool all_alike(const char *column, size_t bytes, uint32_t rows)
{
    return rows < 2 || memcmp(column, column + bytes, (rows - 1) * bytes) == 0;
}

/* The first byte is the highest. */
static inline uint32_t bytes_4(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t bytes_8(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return __builtin_bswap64(value);
}

/* Adds the first bytes of a field to each head, from byte `at` of it on, as far as there is room; returns where the next field goes. A text
 * counts with its first eight bytes: what stands behind it would be compared before the rest of it, so nothing may. */
static uint32_t heads_add(struct headed *headed, uint32_t rows, const char *column, uint32_t bytes, uint32_t at)
{
    uint32_t room = sizeof headed->head - at, taken = bytes < 8 ? bytes : 8;
    taken = taken < room ? taken : room;
    if (taken == 4 && at % 8 <= 4)
        for (uint32_t i = 0; i < rows; i++)
            headed[i].head[at / 8] |= (uint64_t)bytes_4(column + (size_t)headed[i].row * bytes) << 8 * (4 - at % 8);
    else if (taken == 8 && at % 8 == 0)
        for (uint32_t i = 0; i < rows; i++)
            headed[i].head[at / 8] |= bytes_8(column + (size_t)headed[i].row * bytes);
    else if (taken == 8)
        for (uint32_t i = 0; i < rows; i++) {
            uint64_t value = bytes_8(column + (size_t)headed[i].row * bytes);
            headed[i].head[at / 8] |= value >> 8 * (at % 8);
            headed[i].head[at / 8 + 1] |= value << 8 * (8 - at % 8);
        }
    else
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t k = 0; k < taken; k++) {
                uint64_t byte = (unsigned char)column[(size_t)headed[i].row * bytes + k];
                headed[i].head[(at + k) / 8] |= byte << 8 * (7 - (at + k) % 8);
            }
    return taken < bytes ? sizeof headed->head : at + taken;
}

static void heads_fill(struct headed *headed, uint32_t rows, const struct sorting *sorting)
{
    uint32_t at = 0;
    for (uint32_t f = 0; f < sorting->schema->field_count && at < sizeof headed->head; f++) {
        uint32_t bytes = pst_type_bytes(sorting->schema->fields[f].type);
        const char *column = sorting->batch->columns[f];
        if (sorting->wanted[f] && (at != 0 || !all_alike(column, bytes, rows)))
            at = heads_add(headed, rows, column, bytes, at);
    }
}

static int ordering_room(struct ordering *ordering, uint32_t bucket_count, uint32_t rows)
{
    if (ordering->count == NULL)
        ordering->count = pst_calloc(bucket_count, sizeof *ordering->count);
    if (ordering->count == NULL)
        return PST_ENOMEM;
    if (rows <= ordering->capacity)
        return PST_OK;
    uint32_t *larger = pst_realloc(ordering->place, rows * sizeof *larger);
    if (larger == NULL)
        return PST_ENOMEM;
    ordering->place = larger;
    ordering->capacity = rows;
    return PST_OK;
}

void pst_ordering_fini(struct ordering *ordering)
{
    pst_free(ordering->count);
    pst_free(ordering->place);
    *ordering = (struct ordering){0};
}

static bool is_sorted(const struct headed *headed, uint32_t rows, const struct sorting *sorting)
{
    for (uint32_t i = 1; i < rows; i++)
        if (is_above(&headed[i - 1], &headed[i], sorting))
            return false;
    return true;
}

/* The rows bucket by bucket, those of each as they stood in order the last time: operators go through their state in the same order time
 * after time, and what they put out first are names. Query 1 on a node, one worker: a sixth of its time without. `order`: the rows bucket
 * by bucket, as they were put out; end[b]: where those of b end. */
static void rows_guess(struct headed *headed, const uint32_t *order, const uint32_t *end, uint32_t bucket_count,
                       const struct ordering *before)
{
    const uint32_t *place = before->place;
    for (uint32_t b = 0, begin = 0; b < bucket_count; begin = end[b], b++) {
        bool alike = before->count[b] == end[b] - begin;
        for (uint32_t i = 0; i < end[b] - begin; i++) {
            uint32_t at = alike ? place[i] : i;
            headed[begin + i] = (struct headed){{0}, order[begin + at], at};
        }
        place += before->count[b];
    }
}

/* `order` gets the rows bucket by bucket, and in the canonical order of their bytes in each. */
static int rows_order(const struct sorting *sorting, uint32_t bucket_count, uint32_t rows, struct ordering *ordering,
                      uint32_t *order)
{
    const uint32_t *bucket = sorting->batch->out.bucket;
    struct headed *headed = pst_malloc(2 * (size_t)rows * sizeof *headed); /* half of them for merging */
    uint32_t *end = pst_calloc(bucket_count + 1, sizeof *end);
    int rc = headed != NULL && end != NULL ? ordering_room(ordering, bucket_count, rows) : PST_ENOMEM;
    if (rc == PST_OK) {
        for (uint32_t i = 0; i < rows; i++)
            end[bucket[i] + 1]++;
        for (uint32_t b = 0; b < bucket_count; b++)
            end[b + 1] += end[b];
        for (uint32_t i = 0; i < rows; i++) /* then end[b] is where bucket b ends */
            order[end[bucket[i]]++] = i;
        rows_guess(headed, order, end, bucket_count, ordering);
        heads_fill(headed, rows, sorting);
        for (uint32_t b = 0, begin = 0; b < bucket_count; begin = end[b], b++) {
            if (!is_sorted(headed + begin, end[b] - begin, sorting))
                rows_sort(headed + begin, headed + rows, end[b] - begin, sorting);
            ordering->count[b] = end[b] - begin;
        }
        for (uint32_t i = 0; i < rows; i++) {
            order[i] = headed[i].row;
            ordering->place[i] = headed[i].place;
        }
    }
    pst_free(headed);
    pst_free(end);
    return rc;
}

static int batch_number_and_flush(struct pst_ctx *ctx, uint32_t output)
{
    struct output *out = &ctx->outputs[output];
    struct batch *batch = &out->batch;
    uint32_t rows = batch->out.row_count;
    if (rows == 0)
        return PST_OK;
    int rc = buckets_check(ctx, batch);
    if (rc != PST_OK)
        return rc;
    uint32_t *order = pst_malloc(rows * sizeof *order);
    uint64_t *number = pst_malloc(rows * sizeof *number);
    rc = order != NULL && number != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK) {
        struct sorting sorting = {batch, &out->plan->schema, out->plan->wanted};
        for (uint32_t i = 0; i < rows; i++) {
            order[i] = i;
            batch->time[i] = ctx->emit_time;
        }
        if (ctx->node->order !=
            PST_ORDER_TOTAL) /* total order in: the rows already came out in an order of their own */
            rc = rows_order(&sorting, ctx->node->bucket_count, rows, &out->ordering, order);
    }
    if (rc == PST_OK) {
        for (uint32_t i = 0; i < rows; i++)
            number[order[i]] = ctx->numbers[batch->out.bucket[order[i]]]++;
        batch->out.row_count = 0;
        if (ctx->sums != NULL)
            pst_sums_out(ctx->sums, output, out, rows);
        struct view view = {.columns = (const void *const *)batch->columns,
                            .time = batch->time,
                            .bucket = batch->out.bucket,
                            .selection = order,
                            .row_count = rows,
                            .number = number};
        rc = pst_deliver(ctx, output, &view);
    }
    pst_free(order);
    pst_free(number);
    return rc;
}

int pst_batches_flush(struct pst_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->node->output_count; i++) {
        if (ctx->outputs[i].batch.out.row_count == 0)
            continue;
        int rc = ctx->outputs[i].total ? batch_number_and_flush(ctx, i) : batch_flush(ctx, i);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- stages ---- */
/* Not by gather instructions: some processors take longer for one than for its loads. */
static void gather(void *restrict to, const void *restrict from, size_t bytes, const uint32_t *restrict rows,
                   uint32_t n)
{
    if (bytes == 4) {
        uint32_t *restrict out = to;
        const uint32_t *restrict in = from;
#pragma GCC unroll 8
        for (uint32_t i = 0; i < n; i++)
            out[i] = in[rows[i]];
    } else if (bytes == 8) {
        uint64_t *restrict out = to;
        const uint64_t *restrict in = from;
#pragma GCC unroll 8
        for (uint32_t i = 0; i < n; i++)
            out[i] = in[rows[i]];
    } else {
        char *out = to;
        const char *in = from;
        for (uint32_t i = 0; i < n; i++)
            memcpy(out + i * bytes, in + rows[i] * bytes, bytes);
    }
}

static int stage_room(struct pst_ctx *stage, uint32_t rows)
{
    const struct pst_graph_input *input = &stage->node->inputs[0];
    if (rows <= stage->gathered_rows)
        return PST_OK;
    uint32_t capacity = rows < SOURCE_ROWS ? SOURCE_ROWS : rows;
    for (uint32_t i = 0; i <= input->used_count; i++) { /* the last one is for the time */
        pst_free(stage->gathered[i]);
        stage->gathered[i] = pst_malloc((size_t)capacity * PST_TEXT_BYTES);
        if (stage->gathered[i] == NULL) {
            stage->gathered_rows = 0;
            return PST_ENOMEM;
        }
    }
    pst_free(stage->composed);
    stage->composed = pst_malloc(capacity * sizeof *stage->composed);
    stage->gathered_rows = stage->composed != NULL ? capacity : 0;
    return stage->composed != NULL ? PST_OK : PST_ENOMEM;
}

static int stage_run(struct pst_ctx *stage, const struct pst_schema *schema, const struct view *view)
{
    const struct pst_graph_input *input = &stage->node->inputs[0];
    const void *columns[PST_FIELDS_MAX];
    struct pst_rows rows = {.row_count = view->row_count, .columns = columns, .time = view->time};
    int rc = stage_room(stage, view->row_count);
    if (rc != PST_OK)
        return rc;
    for (uint32_t i = 0; i < input->used_count; i++) {
        uint32_t field = input->used[i];
        columns[i] = view->columns[field];
        if (view->selection != NULL) {
            gather(stage->gathered[i], columns[i], pst_type_bytes(schema->fields[field].type), view->selection,
                   view->row_count);
            columns[i] = stage->gathered[i];
        }
    }
    if (view->selection != NULL) {
        gather(stage->gathered[input->used_count], view->time, sizeof *view->time, view->selection, view->row_count);
        rows.time = stage->gathered[input->used_count];
    }
    stage->view = view;
    pst_count(&stage->gauge.rows_in, view->row_count);
    rc = stage->node->op->on_frame(stage, &rows);
    stage->view = NULL;
    return rc == PST_OK ? PST_OK : pst_ctx_failed(stage, rc, "on_frame");
}

int pst_forward_rows(struct pst_ctx *stage, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                     uint32_t count)
{
    const struct view *in = stage->view;
    const struct output *out = &stage->outputs[output];
    const void *columns[PST_FIELDS_MAX];
    if (in == NULL || count > rows->row_count || count > stage->gathered_rows)
        return PST_EINVAL;
    if (count == 0)
        return PST_OK;
    for (uint32_t f = 0; f < out->plan->schema.field_count; f++)
        columns[f] = in->columns[out->plan->map[f]];
    struct view view = *in;
    view.columns = columns;
    view.row_count = count;
    if (count == rows->row_count) { /* ascending and complete: all of them, in place */
        view.selection = in->selection;
    } else if (in->selection == NULL) {
        view.selection = indices;
    } else {
        for (uint32_t i = 0; i < count; i++)
            stage->composed[i] = in->selection[indices[i]];
        view.selection = stage->composed;
    }
    return pst_deliver(stage, output, &view);
}

/* ---- routes ---- */
static void pack_keys(const struct edge *edge, const struct view *view, const uint32_t *rows, uint32_t n, uint8_t *keys,
                      const struct pst_schema *schema)
{
    size_t at = 0, stride = edge->key_bytes;
    for (uint32_t k = 0; k < edge->key_count; k++) {
        size_t bytes = pst_type_bytes(schema->fields[edge->key[k]].type);
        const char *column = view->columns[edge->key[k]];
        if (bytes == 4)
            for (uint32_t i = 0; i < n; i++)
                memcpy(keys + i * stride + at, column + (size_t)rows[i] * 4, 4);
        else if (bytes == 8)
            for (uint32_t i = 0; i < n; i++)
                memcpy(keys + i * stride + at, column + (size_t)rows[i] * 8, 8);
        else
            for (uint32_t i = 0; i < n; i++)
                memcpy(keys + i * stride + at, column + rows[i] * bytes, bytes);
        at += bytes;
    }
}

struct part { /* rows of a view that go to one target: position i of the piece, row rows[i] of the view's columns */
    const uint32_t *places; /* into scratch->hash and ->bucket; NULL: 0.. */
    const uint32_t *rows;
    uint32_t row_count;
    bool side_by_side; /* rows[0], rows[0] + 1, ...: copied in one go */
};

static void part_copy(void *to, const void *column, size_t bytes, const struct part *part, uint32_t from, uint32_t n)
{
    if (part->side_by_side)
        memcpy(to, (const char *)column + part->rows[from] * bytes, n * bytes);
    else
        gather(to, column, bytes, part->rows + from, n);
}

static void append_engine_columns(struct frame *frame, uint32_t at, const struct edge *edge, const struct view *view,
                                  const struct part *part, uint32_t from, uint32_t n, const struct scratch *scratch)
{
    part_copy(frame->time + at, view->time, sizeof *frame->time, part, from, n);
    if (edge->keyed && part->places == NULL) {
        memcpy(frame->hash + at, scratch->hash + from, n * sizeof *frame->hash);
        memcpy(frame->bucket + at, scratch->bucket + from, n * sizeof *frame->bucket);
    } else if (edge->keyed) {
        gather(frame->hash + at, scratch->hash, 8, part->places + from, n);
        gather(frame->bucket + at, scratch->bucket, 4, part->places + from, n);
    }
    for (uint32_t i = 0; edge->total && i < n; i++) {
        uint32_t row = part->rows[from + i];
        frame->producer[at + i] = view->from_source || view->bucket == NULL ? 0 : 1 + view->bucket[row];
        frame->number[at + i] = view->number != NULL ? view->number[row] : view->number_first + row;
    }
}

static int append(struct channel *channel, const struct view *view, const struct part *part,
                  const struct scratch *scratch)
{
    const struct edge *edge = channel->edge;
    for (uint32_t from = 0; from < part->row_count;) {
        struct frame *frame = pst_channel_open_frame(channel);
        if (frame == NULL)
            return PST_ENOMEM;
        uint32_t at = frame->row_count, room = channel->frame_rows - at;
        uint32_t n = part->row_count - from < room ? part->row_count - from : room;
        append_engine_columns(frame, at, edge, view, part, from, n, scratch);
        for (uint32_t c = 0; c < edge->column_count; c++)
            part_copy((char *)frame->columns[c] + (size_t)at * edge->column_bytes[c], view->columns[edge->columns[c]],
                      edge->column_bytes[c], part, from, n);
        frame->row_count += n;
        from += n;
    }
    return PST_OK;
}

int pst_route_append(struct pst_ctx *ctx, const struct route *route, uint32_t target, const struct view *view,
                     const uint32_t *rows, uint32_t n)
{
    struct part part = {NULL, rows, n, view->selection == NULL};
    return append(route->targets[target], view, &part, ctx->run->workers[ctx->worker].scratch);
}

/* The rows that a lane gets, too. All of them where there are no buckets, or to all. */
static int append_branch(const struct route *route, const struct view *view, const uint32_t *rows, uint32_t n,
                         const struct scratch *scratch)
{
    const struct branch *branch = route->branch;
    uint32_t places[ROUTE_ROWS], wanted[ROUTE_ROWS], count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (route->edge->keyed && branch->wanted[scratch->bucket[i]] == 0)
            continue;
        places[count] = i;
        wanted[count++] = rows[i];
    }
    struct part part = {places, wanted, count, false};
    return count != 0 ? append(branch->channel, view, &part, scratch) : PST_OK;
}

/* The piece's places by their targets, and their rows; each target's keep their order (E1). end[t]: where those of target t end. Where all go
 * to one there is nothing to sort: false, and *ret_only. */
static bool sort_out(const struct route *route, const uint32_t *rows, uint32_t n, struct scratch *scratch,
                     uint32_t *ordered_rows, uint32_t *end, uint32_t *ret_only)
{
    memset(end, 0, (route->target_count + 1) * sizeof *end);
    for (uint32_t i = 0; i < n; i++) {
        scratch->target[i] = route->partition_of_bucket[scratch->bucket[i]];
        end[scratch->target[i] + 1]++;
    }
    if (end[scratch->target[0] + 1] == n) {
        *ret_only = scratch->target[0];
        return false;
    }
    for (uint32_t t = 0; t < route->target_count; t++)
        end[t + 1] += end[t];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = end[scratch->target[i]]++;
        scratch->order[place] = i;
        ordered_rows[place] = rows[i];
    }
    return true;
}

/* The same for few targets, with all counts in one register: of two rows with one target the second would wait until the first one's
 * count is back from memory, which it does for half of the rows and more. */
enum { FEW_TARGETS = 4, COUNT_BITS = 16 };
static_assert(PST_BUCKETS_MAX <= 1 << PST_HASH_LEAD_BITS, "a leading part of the key decides on all of the bucket");
static_assert(ROUTE_ROWS < (1 << COUNT_BITS) && FEW_TARGETS * COUNT_BITS <= 64, "a count has its bits");

static bool sort_out_few(const struct route *route, const uint32_t *rows, uint32_t n, struct scratch *scratch,
                         uint32_t *ordered_rows, uint32_t *end, uint32_t *ret_only)
{
    uint64_t count = 0, next = 0;
    for (uint32_t i = 0; i < n; i++) {
        scratch->target[i] = COUNT_BITS * route->partition_of_bucket[scratch->bucket[i]];
        count += UINT64_C(1) << scratch->target[i];
    }
    if (count == (uint64_t)n << scratch->target[0]) {
        *ret_only = scratch->target[0] / COUNT_BITS;
        return false;
    }
    for (uint32_t t = 0, all = 0; t < route->target_count; t++) {
        next |= (uint64_t)all << (COUNT_BITS * t);
        all += (uint32_t)(count >> (COUNT_BITS * t)) & ((1u << COUNT_BITS) - 1);
        end[t] = all;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = (uint32_t)(next >> scratch->target[i]) & ((1u << COUNT_BITS) - 1);
        next += UINT64_C(1) << scratch->target[i];
        scratch->order[place] = i;
        ordered_rows[place] = rows[i];
    }
    return true;
}

/* To a partition and, where it has one, its copy. */
static int part_deal(const struct route *route, uint32_t target, const struct view *view, const struct part *part,
                     const struct scratch *scratch)
{
    int rc = append(route->targets[target], view, part, scratch);
    if (rc == PST_OK && route->twin != NULL && route->twin[target] != NO_TWIN)
        rc = append(route->targets[route->twin[target]], view, part, scratch);
    return rc;
}

static int deal(const struct route *route, const struct view *view, const uint32_t *rows, uint32_t n,
                struct scratch *scratch)
{
    uint32_t end[PST_BUCKETS_MAX + 1];
    uint32_t ordered_rows[ROUTE_ROWS];
    uint32_t only = 0;
    bool several = (route->target_count <= FEW_TARGETS ? sort_out_few : sort_out)(route, rows, n, scratch, ordered_rows,
                                                                                  end, &only);
    if (route->branch != NULL) {
        int rc = append_branch(route, view, rows, n, scratch);
        if (rc != PST_OK)
            return rc;
    }
    if (!several) {
        struct part all = {NULL, rows, n, view->selection == NULL};
        return part_deal(route, only, view, &all, scratch);
    }
    uint32_t from = 0;
    for (uint32_t t = 0; t < route->target_count; t++) {
        struct part part = {scratch->order + from, ordered_rows + from, end[t] - from, false};
        int rc = part.row_count != 0 ? part_deal(route, t, view, &part, scratch) : PST_OK;
        if (rc != PST_OK)
            return rc;
        from = end[t];
    }
    return PST_OK;
}

static void dealt_add(_Atomic uint32_t *count, uint32_t more)
{
    uint32_t before = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, before + more, memory_order_relaxed);
}

/* Some nanoseconds for a piece: one row of DEALT_EACH. */
static void dealt_count(struct dealt *dealt, const struct view *view, const uint32_t *rows, uint32_t n,
                        const struct scratch *scratch)
{
    uint32_t i = dealt->skip, along = 0;
    for (; i < n; i += DEALT_EACH) {
        dealt_add(&dealt->rows[scratch->bucket[i]], 1);
        along += view->bucket != NULL && !view->from_source && view->bucket[rows[i]] == scratch->bucket[i];
    }
    dealt->skip = i - n;
    dealt_add(&dealt->along, along);
}

static int route_rows(const struct route *route, const struct pst_schema *schema, const struct view *view,
                      const uint32_t *rows, uint32_t n, struct worker *worker, const struct pst_hash_key *hash_key)
{
    const struct edge *edge = route->edge;
    struct scratch *scratch = worker->scratch;
    struct part all = {NULL, rows, n, view->selection == NULL};
    if (edge->keyed) {
        pack_keys(edge, view, rows, n, scratch->keys, schema);
        pst_hash_led(hash_key, scratch->keys, edge->key_bytes, edge->lead_bytes, n, scratch->hash);
        for (uint32_t i = 0; i < n; i++)
            scratch->bucket[i] = (uint32_t)scratch->hash[i] & edge->bucket_mask;
        if (worker->dealt != NULL && worker->dealt[edge->index].rows != NULL)
            dealt_count(&worker->dealt[edge->index], view, rows, n, scratch);
        if (route->target_count > 1)
            return deal(route, view, rows, n, scratch);
    }
    if (route->branch != NULL) {
        int rc = append_branch(route, view, rows, n, scratch);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t t = 0; t < route->target_count; t++) { /* one target, or a broadcast */
        int rc = route->targets[t] != NULL ? append(route->targets[t], view, &all, scratch) : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

int pst_deliver(struct pst_ctx *ctx, uint32_t output, const struct view *view)
{
    const struct output *out = &ctx->outputs[output];
    struct run *run = ctx->run;
    struct worker *worker = &run->workers[ctx->worker];
    struct scratch *scratch = worker->scratch;
    if (view->row_count == 0)
        return PST_OK;
    if (pst_is_the_givers(ctx)) {
        pst_lane_keeps_back(ctx, view);
        return PST_OK;
    }
    if (run->graph->carry != NULL)
        return pst_carry_deliver(ctx, view);
    pst_count(&ctx->gauge.rows_out, view->row_count);
    for (uint32_t i = 0; i < out->stage_count; i++) {
        int rc = stage_run(out->stages[i], &out->plan->schema, view);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t i = 0; i < out->route_count; i++) {
        for (uint32_t from = 0; from < view->row_count; from += ROUTE_ROWS) {
            uint32_t n = view->row_count - from < ROUTE_ROWS ? view->row_count - from : ROUTE_ROWS;
            const uint32_t *rows = view->selection != NULL ? view->selection + from : scratch->rows;
            for (uint32_t r = 0; view->selection == NULL && r < n; r++)
                scratch->rows[r] = from + r;
            int rc = route_rows(&out->routes[i], &out->plan->schema, view, rows, n, worker, &run->graph->hash_key);
            if (rc != PST_OK)
                return rc;
        }
    }
    return PST_OK;
}

/* A lane that is no owner yet holds up nobody before its bound is reached: E3, M5. */
static bool holds_up(const struct channel *channel)
{
    return pst_channel_pending(channel) &&
           (!channel->branch || atomic_load_explicit(&channel->overflow, memory_order_relaxed));
}

bool pst_any_pending(const struct pst_ctx *ctx)
{
    for (uint32_t i = 0; i < ctx->channel_out_count && !pst_is_muted(ctx); i++)
        if (holds_up(ctx->channels_out[i]))
            return true;
    return false;
}

static uint64_t pending_bytes(const struct channel *channel)
{
    return channel->pending_count * (uint64_t)channel->edge->frame_bytes;
}

/* What a muted lane puts out stays with it: M3. */
static void muted_bound(struct pst_ctx *ctx)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < ctx->channel_out_count; i++)
        bytes += pending_bytes(ctx->channels_out[i]);
    if (bytes > ctx->run->lane_bytes_max)
        atomic_store_explicit(&ctx->lane->overflow, true, memory_order_release);
}

bool pst_flush_channels(struct pst_ctx *ctx)
{
    bool free_of_pending = true;
    if (pst_is_muted(ctx)) {
        muted_bound(ctx);
        return true;
    }
    for (uint32_t i = 0; i < ctx->channel_out_count; i++) {
        struct channel *channel = ctx->channels_out[i];
        pst_channel_flush(channel);
        if (channel->branch && pending_bytes(channel) > ctx->run->lane_bytes_max)
            atomic_store_explicit(&channel->overflow, true, memory_order_release);
        free_of_pending &= !holds_up(channel);
    }
    return free_of_pending;
}
