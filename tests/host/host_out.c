/* host_out.c - what comes out of the operator under test: rows, forwarded rows, rejected lines, written bytes. */
#include "tests/host/host_inside.h"

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIRT = 0xA5 }; /* what a cell holds before the operator fills it */

/* ---- the rows collected ---- */

static void output_grow(struct output *out, uint32_t count)
{
    if (out->row_count + count <= out->row_capacity)
        return;
    uint32_t capacity = (out->row_count + count) * 2;
    for (uint32_t i = 0; i < out->schema.field_count; i++)
        out->columns[i] = host_own(out->columns[i], (size_t)capacity * pst_type_bytes(out->schema.fields[i].type));
    out->time = host_own(out->time, capacity * sizeof *out->time);
    out->bucket = host_own(out->bucket, capacity * sizeof *out->bucket);
    out->row_capacity = capacity;
}

static void column_add(struct output *out, uint32_t field, const void *cells, uint32_t count)
{
    size_t bytes = pst_type_bytes(out->schema.fields[field].type);
    unsigned char *to = (unsigned char *)out->columns[field] + out->row_count * bytes;
    if ((out->unwanted >> field & 1) != 0)
        memset(to, 0, count * bytes);
    else
        memcpy(to, cells, count * bytes);
}

static void text_check(const struct host *host, const struct pst_field *field, const unsigned char *cell)
{
    if (cell[0] >= PST_TEXT_BYTES)
        host_die(host, "the text `%s` has a length of %u", field->name, cell[0]);
    for (uint32_t i = 1u + cell[0]; i < PST_TEXT_BYTES; i++)
        if (cell[i] != 0)
            host_die(host, "the text `%s` is not padded with zeros", field->name);
}

static bool all_dirt(const unsigned char *cell, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        if (cell[i] != DIRT)
            return false;
    return true;
}

static void cells_check(const struct host *host, const struct output *out, uint32_t row)
{
    for (uint32_t i = 0; i < out->schema.field_count; i++) {
        const struct pst_field *field = &out->schema.fields[i];
        uint32_t bytes = pst_type_bytes(field->type);
        const unsigned char *cell = (const unsigned char *)out->out.columns[i] + (size_t)row * bytes;
        if ((out->unwanted >> i & 1) != 0)
            continue;
        if (all_dirt(cell, bytes))
            host_die(host, "row %u has no value in `%s`, which is wanted", row, field->name);
        if (field->type == PST_TEXT)
            text_check(host, field, cell);
    }
    uint32_t bucket = out->out.bucket[row];
    if (bucket >= host->bucket_count || !host->owned[bucket])
        host_die(host, "row %u is of bucket %u, which this partition does not own", row, bucket);
}

static void out_release(struct output *out)
{
    for (uint32_t i = 0; i < out->schema.field_count; i++) {
        pst_free(out->out_columns[i]);
        out->out_columns[i] = NULL;
    }
    pst_free(out->out.bucket);
    out->out = (struct pst_out){0};
}

static void output_harvest(struct host *host, struct output *out)
{
    uint32_t count = out->out.row_count;
    if (count > out->out.row_capacity)
        host_die(host, "%u rows were put into room for %u", count, out->out.row_capacity);
    output_grow(out, count);
    for (uint32_t row = 0; row < count; row++)
        cells_check(host, out, row);
    for (uint32_t i = 0; count != 0 && i < out->schema.field_count; i++)
        column_add(out, i, out->out.columns[i], count);
    for (uint32_t row = 0; row < count; row++) {
        bool own = host->op->role == PST_ROLE_SOURCE && out->schema.time_field >= 0;
        uint32_t field = own ? (uint32_t)out->schema.time_field : 0;
        int64_t time = own ? host_cell(&out->schema.fields[field], out->out.columns[field], row) : host->emit_time;
        out->time[out->row_count + row] = time;
        out->bucket[out->row_count + row] = out->out.bucket[row];
    }
    out->row_count += count;
    out_release(out);
}

void host_out_harvest(struct host *host)
{
    for (uint32_t i = 0; i < host->op->output_count; i++)
        output_harvest(host, &host->outputs[i]);
}

void host_out_fini(struct host *host)
{
    for (uint32_t i = 0; i < host->op->output_count; i++) {
        struct output *out = &host->outputs[i];
        out_release(out);
        for (uint32_t k = 0; k < out->schema.field_count; k++)
            free(out->columns[k]);
        free(out->time);
        free(out->bucket);
        host_schema_free(&out->schema);
    }
    for (uint32_t i = 0; i < host->reject_count; i++)
        free((void *)(uintptr_t)host->rejects[i].line);
    free(host->rejects);
    free(host->written);
}

/* ---- calls of the operator ---- */

static struct output *output_of(struct pst_ctx *ctx, uint32_t output)
{
    if (output >= ctx->host->op->output_count)
        host_die(ctx->host, "there is no output %u", output);
    return &ctx->host->outputs[output];
}

static void may_put_out(const struct host *host)
{
    bool in_time = host->phase == PHASE_TIME || host->phase == PHASE_END || host->phase == PHASE_BLOCK;
    if (!in_time && !(host->phase == PHASE_FRAME && host->order == PST_ORDER_TOTAL))
        host_die(host, "rows are put out where the operator's order does not allow it");
}

static struct pst_out *out_reserve(struct pst_ctx *ctx, uint32_t output, uint32_t row_count)
{
    struct output *out = output_of(ctx, output);
    may_put_out(ctx->host);
    if (row_count < 1 || row_count > PST_OUT_ROWS_MAX)
        host_die(ctx->host, "out_reserve() of %u rows", row_count);
    output_harvest(ctx->host, out);
    bool complete = true;
    for (uint32_t i = 0; i < out->schema.field_count; i++) {
        size_t bytes = (size_t)row_count * pst_type_bytes(out->schema.fields[i].type);
        out->out_columns[i] = pst_malloc(bytes);
        complete &= out->out_columns[i] != NULL;
        if (out->out_columns[i] != NULL)
            memset(out->out_columns[i], DIRT, bytes);
    }
    out->out = (struct pst_out){0, row_count, out->out_columns, pst_malloc(row_count * sizeof(uint32_t))};
    if (!complete || out->out.bucket == NULL) {
        out_release(out);
        return NULL;
    }
    memset(out->out.bucket, DIRT, row_count * sizeof(uint32_t));
    return &out->out;
}

static int forward(struct pst_ctx *ctx, uint32_t output, const struct pst_rows *rows, const uint32_t *indices,
                   uint32_t index_count)
{
    struct host *host = ctx->host;
    struct output *out = output_of(ctx, output);
    if (host->op->role != PST_ROLE_STATELESS || host->phase != PHASE_FRAME || rows != host->rows)
        host_die(host, "pst_forward() is for stateless operators, of the rows they were given");
    output_grow(out, index_count);
    for (uint32_t k = 0; k < index_count; k++) {
        uint32_t row = indices[k];
        if (row >= rows->row_count || (k > 0 && row <= indices[k - 1]))
            host_die(host, "pst_forward() of row %u of %u, which is not ascending or not there", row, rows->row_count);
        for (uint32_t i = 0; i < out->schema.field_count; i++) {
            uint32_t bytes = pst_type_bytes(out->schema.fields[i].type);
            const unsigned char *column = host->frame_columns[out->map[i] - 1];
            if (column == NULL)
                host_die(host, "the test gives no column for `%s`, which is forwarded", out->schema.fields[i].name);
            column_add(out, i, column + (size_t)row * bytes, 1);
        }
        out->time[out->row_count] = rows->time[row];
        out->bucket[out->row_count++] = rows->bucket != NULL ? rows->bucket[row] : 0;
    }
    return PST_OK;
}

static int reject(struct pst_ctx *ctx, pst_reject_reason reason, const char *line, size_t line_bytes,
                  uint32_t line_index)
{
    struct host *host = ctx->host;
    if (host->phase != PHASE_BLOCK)
        host_die(host, "pst_reject() outside on_block()");
    host->rejects = host_own(host->rejects, (host->reject_count + 1) * sizeof *host->rejects);
    char *copy = host_own(NULL, line_bytes + 1);
    memcpy(copy, line, line_bytes);
    copy[line_bytes] = '\0';
    host->rejects[host->reject_count++] = (struct host_reject){reason, line_index, line_bytes, copy};
    return PST_OK;
}

static int block_lines(struct pst_ctx *ctx, uint32_t line_count)
{
    if (ctx->host->phase != PHASE_BLOCK)
        host_die(ctx->host, "pst_block_lines() outside on_block()");
    ctx->host->line_count += line_count;
    return PST_OK;
}

static int sink_write(struct pst_ctx *ctx, const void *bytes, size_t byte_count)
{
    struct host *host = ctx->host;
    if (host->op->role != PST_ROLE_SINK)
        host_die(host, "pst_write() is for sinks");
    host->written = host_own(host->written, host->written_bytes + byte_count + 1);
    memcpy(host->written + host->written_bytes, bytes, byte_count);
    host->written_bytes += byte_count;
    host->written[host->written_bytes] = '\0';
    return PST_OK;
}

static bool wanted(struct pst_ctx *ctx, uint32_t output, uint32_t output_field)
{
    const struct output *out = output_of(ctx, output);
    if (output_field >= out->schema.field_count)
        host_die(ctx->host, "pst_wanted() of field %u of %u", output_field, out->schema.field_count);
    return (out->unwanted >> output_field & 1) == 0;
}

void host_out_fill(struct pst_host *table)
{
    table->out_reserve = out_reserve;
    table->forward = forward;
    table->reject = reject;
    table->block_lines = block_lines;
    table->write = sink_write;
    table->wanted = wanted;
}

/* ---- for the test ---- */

const struct host_out *host_output(struct host *host, uint32_t output)
{
    struct output *out = output_of(&host->ctx, output);
    out->view = (struct host_out){out->row_count, &out->schema, out->columns, out->time, out->bucket};
    return &out->view;
}

static uint32_t cell_find(struct host *host, struct output *out, uint32_t row, const char *name)
{
    uint32_t field = host_field_find(&out->schema, name);
    if (field == out->schema.field_count || row >= out->row_count)
        host_die(host, "there is no `%s` in row %u of %u", name, row, out->row_count);
    return field;
}

int64_t host_out(struct host *host, uint32_t output, uint32_t row, const char *field)
{
    struct output *out = output_of(&host->ctx, output);
    uint32_t index = cell_find(host, out, row, field);
    return host_cell(&out->schema.fields[index], out->columns[index], row);
}

const char *host_out_text(struct host *host, uint32_t output, uint32_t row, const char *field)
{
    static char texts[8][PST_TEXT_BYTES];
    static unsigned next;
    struct output *out = output_of(&host->ctx, output);
    const unsigned char *cell = out->columns[cell_find(host, out, row, field)];
    char *text = texts[next++ % 8];
    cell += (size_t)row * PST_TEXT_BYTES;
    memcpy(text, cell + 1, cell[0]);
    text[cell[0]] = '\0';
    return text;
}

static int row_compare(const void *a, const void *b, void *argument)
{
    const struct output *out = argument;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = (out->time[x] > out->time[y]) - (out->time[x] < out->time[y]);
    for (uint32_t i = 0; order == 0 && i < out->schema.field_count; i++) {
        const struct pst_field *field = &out->schema.fields[i];
        const unsigned char *column = out->columns[i];
        if (field->type == PST_TEXT) {
            order = memcmp(column + (size_t)x * PST_TEXT_BYTES + 1, column + (size_t)y * PST_TEXT_BYTES + 1,
                           PST_TEXT_BYTES - 1);
            continue;
        }
        int64_t p = host_cell(field, column, x), q = host_cell(field, column, y);
        order = field->type == PST_U64 ? ((uint64_t)p > (uint64_t)q) - ((uint64_t)p < (uint64_t)q) : (p > q) - (p < q);
    }
    return order != 0 ? order : (out->bucket[x] > out->bucket[y]) - (out->bucket[x] < out->bucket[y]);
}

static void *permuted(const void *cells, size_t bytes, const uint32_t *order, uint32_t count)
{
    unsigned char *to = host_own(NULL, count * bytes + 1);
    for (uint32_t i = 0; i < count; i++)
        memcpy(to + i * bytes, (const unsigned char *)cells + order[i] * bytes, bytes);
    return to;
}

void host_output_sort(struct host *host, uint32_t output)
{
    struct output *out = output_of(&host->ctx, output);
    uint32_t *order = host_own(NULL, (out->row_count + 1) * sizeof *order);
    for (uint32_t i = 0; i < out->row_count; i++)
        order[i] = i;
    qsort_r(order, out->row_count, sizeof *order, row_compare, out);
    for (uint32_t i = 0; i < out->schema.field_count; i++) {
        void *sorted = permuted(out->columns[i], pst_type_bytes(out->schema.fields[i].type), order, out->row_count);
        free(out->columns[i]);
        out->columns[i] = sorted;
    }
    int64_t *time = permuted(out->time, sizeof *time, order, out->row_count);
    uint32_t *bucket = permuted(out->bucket, sizeof *bucket, order, out->row_count);
    free(out->time);
    free(out->bucket);
    free(order);
    out->time = time;
    out->bucket = bucket;
    out->row_capacity = out->row_count;
}

void host_output_clear(struct host *host, uint32_t output) { output_of(&host->ctx, output)->row_count = 0; }

void host_output_print(struct host *host, uint32_t output)
{
    struct output *out = output_of(&host->ctx, output);
    for (uint32_t row = 0; row < out->row_count; row++) {
        fprintf(stderr, "%s[%u] row %u: time %" PRId64 " bucket %u", host->op->name, output, row, out->time[row],
                out->bucket[row]);
        for (uint32_t i = 0; i < out->schema.field_count; i++) {
            const struct pst_field *field = &out->schema.fields[i];
            if (field->type == PST_TEXT)
                fprintf(stderr, " %s \"%s\"", field->name, host_out_text(host, output, row, field->name));
            else
                fprintf(stderr, " %s %" PRId64, field->name, host_out(host, output, row, field->name));
        }
        fputc('\n', stderr);
    }
}

uint32_t host_reject_count(const struct host *host) { return host->reject_count; }

const struct host_reject *host_reject(const struct host *host, uint32_t index)
{
    if (index >= host->reject_count)
        host_die(host, "there is no rejected line %u, only %u", index, host->reject_count);
    return &host->rejects[index];
}

uint64_t host_line_count(const struct host *host) { return host->line_count; }

const char *host_written(const struct host *host, size_t *ret_bytes)
{
    if (ret_bytes != NULL)
        *ret_bytes = host->written_bytes;
    return host->written != NULL ? host->written : "";
}
