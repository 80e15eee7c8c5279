/* tests/csv/fake.h - the smallest host that a CSV source or sink can run on, for unit tests, the fuzz target and the bench.
 *
 * Every allocation ends exactly where it must, so that AddressSanitizer sees a step too far: blocks have 64 bytes of slack
 * on either side, rows put out have room for just as many as were asked for. */
#ifndef CSV_FAKE_H
#define CSV_FAKE_H

#include "operators/operator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_UNUSED __attribute__((unused))

struct fake_param {
    const char *name;
    uint32_t count;
    const char *texts[80];
};

struct pst_plan {
    struct pst_plan_head head;
    struct fake_param params[6];
    struct pst_schema input;
    struct pst_field output[PST_FIELDS_MAX];
    uint32_t output_count, use_count, uses[PST_FIELDS_MAX], error_count, error_index;
    int32_t time_field;
    char error[512], error_param[64];
    pst_order order;
    void *user, *owned[64];
    uint32_t owned_count;
};

/* What came of a source's rows and rejects, as text: easy to compare and to print. */
struct pst_ctx {
    struct pst_plan_head head;
    const struct pst_field *fields; /* of what is put out */
    uint32_t field_count;
    uint64_t unwanted; /* bit i: field i is read by no one */
    bool discard;      /* count rows, keep nothing */
    const void *planned;
    void *user, *owned[8192];
    uint32_t owned_count;
    uint64_t allocation_fails_at; /* the n-th; 0: none */
    struct pst_out out;
    void *columns[PST_FIELDS_MAX];
    char *rows, *rejects, *written;
    size_t rows_bytes, rejects_bytes, written_bytes, capacity[3];
    uint64_t row_count, reject_count, line_count, line_base;
    uint64_t block_offset, offset_digest;
    char failure[256];
};

static void fake_add(char **text, size_t *bytes, size_t *capacity, const void *more, size_t more_bytes)
{
    if (*bytes + more_bytes + 1 > *capacity) {
        *capacity = (*bytes + more_bytes + 1) * 2;
        *text = realloc(*text, *capacity);
        if (*text == NULL)
            abort();
    }
    memcpy(*text + *bytes, more, more_bytes);
    *bytes += more_bytes;
    (*text)[*bytes] = 0;
}

/* Turns the rows put out since the last reserve into text. */
static void fake_flush(struct pst_ctx *c)
{
    char cell[64];
    if (c->out.row_count > c->out.row_capacity)
        abort();
    c->row_count += c->out.row_count;
    for (uint32_t row = 0; !c->discard && row < c->out.row_count; row++) {
        /* where the row's line begins, from the start of all blocks: order matters */
        c->offset_digest = c->offset_digest * UINT64_C(1099511628211) + c->block_offset + c->out.bucket[row];
        for (uint32_t i = 0; i < c->field_count; i++) {
            int n = 0;
            if (c->unwanted >> i & 1)
                n = snprintf(cell, sizeof cell, "-");
            else if (c->fields[i].type == PST_U32)
                n = snprintf(cell, sizeof cell, "%u", ((uint32_t *)c->columns[i])[row]);
            else if (c->fields[i].type == PST_U64)
                n = snprintf(cell, sizeof cell, "%llu", (unsigned long long)((uint64_t *)c->columns[i])[row]);
            else if (c->fields[i].type == PST_I64)
                n = snprintf(cell, sizeof cell, "%lld", (long long)((int64_t *)c->columns[i])[row]);
            else {
                const char *text = (char *)c->columns[i] + (size_t)row * PST_TEXT_BYTES;
                n = *text;
                if (n < 0 || n >= PST_TEXT_BYTES)
                    abort();
                memcpy(cell, text + 1, (size_t)n);
                for (int k = n + 1; k < PST_TEXT_BYTES; k++)
                    if (text[k] != 0)
                        abort();
            }
            cell[n] = i + 1 < c->field_count ? ' ' : '\n';
            fake_add(&c->rows, &c->rows_bytes, &c->capacity[0], cell, (size_t)n + 1);
        }
    }
    c->out.row_count = 0;
}

static void *fake_alloc(struct pst_ctx *c, size_t bytes)
{
    if (c->allocation_fails_at != 0 && --c->allocation_fails_at == 0)
        return NULL;
    if (c->owned_count == sizeof c->owned / sizeof c->owned[0])
        abort();
    return c->owned[c->owned_count++] = calloc(1, bytes);
}
static void fake_set_user(struct pst_ctx *c, void *user) { c->user = user; }
static void *fake_user(struct pst_ctx *c) { return c->user; }
static const void *fake_planned(struct pst_ctx *c) { return c->planned; }
static void fake_fail(struct pst_ctx *c, const char *s) { snprintf(c->failure, sizeof c->failure, "%s", s); }
static bool fake_wanted(struct pst_ctx *c, uint32_t output, uint32_t field)
{
    return output == 0 && !(c->unwanted >> field & 1);
}

static struct pst_out *fake_out_reserve(struct pst_ctx *c, uint32_t output, uint32_t row_count)
{
    if (output != 0 || row_count == 0 || row_count > PST_OUT_ROWS_MAX)
        abort();
    fake_flush(c);
    if (c->discard && c->out.row_capacity == PST_OUT_ROWS_MAX)
        return &c->out;
    if (c->discard)
        row_count = PST_OUT_ROWS_MAX;
    for (uint32_t i = 0; i < c->field_count; i++) {
        free(c->columns[i]);
        c->columns[i] = (c->unwanted >> i & 1) ? NULL : malloc((size_t)row_count * pst_type_bytes(c->fields[i].type));
    }
    free(c->out.bucket);
    c->out = (struct pst_out){0, row_count, c->columns, malloc(row_count * sizeof(uint32_t))};
    memset(c->out.bucket, 255, row_count * sizeof(uint32_t));
    return &c->out;
}

static int fake_reject(struct pst_ctx *c, pst_reject_reason reason, const char *line, size_t bytes, uint32_t index)
{
    char head[64];
    c->reject_count++;
    if (c->discard)
        return PST_OK;
    int n = snprintf(head, sizeof head, "%llu:%d:", (unsigned long long)(c->line_base + index), (int)reason);
    fake_add(&c->rejects, &c->rejects_bytes, &c->capacity[1], head, (size_t)n);
    fake_add(&c->rejects, &c->rejects_bytes, &c->capacity[1], line, bytes);
    fake_add(&c->rejects, &c->rejects_bytes, &c->capacity[1], "|", 1);
    return PST_OK;
}
static int fake_block_lines(struct pst_ctx *c, uint32_t count)
{
    c->line_count += count;
    c->line_base = c->line_count;
    return PST_OK;
}
static int fake_write(struct pst_ctx *c, const void *bytes, size_t count)
{
    if (c->discard)
        c->written_bytes += count;
    else
        fake_add(&c->written, &c->written_bytes, &c->capacity[2], bytes, count);
    return PST_OK;
}

/* ---- plan ---- */
static const struct fake_param *fake_param(struct pst_plan *p, const char *name)
{
    for (uint32_t i = 0; i < 6 && p->params[i].name != NULL; i++)
        if (strcmp(p->params[i].name, name) == 0)
            return &p->params[i];
    abort();
}
static const char *fake_plan_text(struct pst_plan *p, const char *name) { return fake_param(p, name)->texts[0]; }
static const char *const *fake_plan_texts(struct pst_plan *p, const char *name, uint32_t *ret_count)
{
    *ret_count = fake_param(p, name)->count;
    return fake_param(p, name)->texts;
}
static const struct pst_schema *fake_plan_input(struct pst_plan *p, uint32_t input)
{
    return input == 0 ? &p->input : NULL;
}
static void fake_plan_error(struct pst_plan *p, const char *param, uint32_t index, const char *sentence)
{
    if (p->error_count++ != 0)
        return;
    p->error_index = index;
    snprintf(p->error, sizeof p->error, "%s", sentence);
    snprintf(p->error_param, sizeof p->error_param, "%s", param != NULL ? param : "");
}
static int fake_plan_use(struct pst_plan *p, uint32_t input, const char *field, const char *param, uint32_t index)
{
    uint32_t at = 0;
    (void)input;
    while (at < p->input.field_count && strcmp(p->input.fields[at].name, field) != 0)
        at++;
    if (at == p->input.field_count) {
        fake_plan_error(p, param, index, "no such field");
        return PST_EGRAPH;
    }
    for (uint32_t i = 0; i < p->use_count; i++)
        if (p->uses[i] == at)
            return (int)i;
    p->uses[p->use_count] = at;
    return (int)p->use_count++;
}
static int fake_plan_output(struct pst_plan *p, uint32_t output, const struct pst_field *fields, uint32_t count,
                            int32_t time_field)
{
    (void)output;
    memcpy(p->output, fields, count * sizeof *fields);
    p->output_count = count;
    p->time_field = time_field;
    return PST_OK;
}
static void fake_plan_order(struct pst_plan *p, pst_order order, int64_t epoch)
{
    p->order = order;
    if (epoch < 1)
        abort();
}
static void *fake_plan_alloc(struct pst_plan *p, size_t bytes)
{
    if (p->owned_count == 64)
        abort();
    return p->owned[p->owned_count++] = calloc(1, bytes);
}
static void fake_plan_set_user(struct pst_plan *p, void *user) { p->user = user; }

static const struct pst_host fake_host = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_host),
    .plan_text = fake_plan_text,
    .plan_texts = fake_plan_texts,
    .plan_input = fake_plan_input,
    .plan_use = fake_plan_use,
    .plan_output = fake_plan_output,
    .plan_order = fake_plan_order,
    .plan_error = fake_plan_error,
    .plan_alloc = fake_plan_alloc,
    .plan_set_user = fake_plan_set_user,
    .planned = fake_planned,
    .alloc = fake_alloc,
    .set_user = fake_set_user,
    .user = fake_user,
    .out_reserve = fake_out_reserve,
    .reject = fake_reject,
    .block_lines = fake_block_lines,
    .write = fake_write,
    .fail = fake_fail,
    .wanted = fake_wanted,
};

static FAKE_UNUSED void fake_init(struct pst_ctx *c, const struct pst_field *fields, uint32_t field_count)
{
    memset(c, 0, sizeof *c);
    c->head.host = &fake_host;
    c->fields = fields;
    c->field_count = field_count;
}
static FAKE_UNUSED void fake_fini(struct pst_ctx *c)
{
    for (uint32_t i = 0; i < c->owned_count; i++)
        free(c->owned[i]);
    for (uint32_t i = 0; i < c->field_count; i++)
        free(c->columns[i]);
    free(c->out.bucket);
    free(c->rows);
    free(c->rejects);
    free(c->written);
}
static FAKE_UNUSED void fake_plan_fini(struct pst_plan *p)
{
    for (uint32_t i = 0; i < p->owned_count; i++)
        free(p->owned[i]);
}

/* A block with its slack, filled with what would do most harm if it were believed. Freed with the pointer's base. */
static FAKE_UNUSED struct pst_block fake_block(const char *text, size_t bytes, char **ret_base)
{
    char *base = malloc(bytes + 128);
    if (base == NULL)
        abort();
    for (int i = 0; i < 64; i++)
        base[i] = base[64 + bytes + i] = "\r5,\n.0"[i % 6];
    base[63] = '\r';
    memcpy(base + 64, text, bytes);
    *ret_base = base;
    return (struct pst_block){.text = base + 64, .text_bytes = bytes};
}

#endif
