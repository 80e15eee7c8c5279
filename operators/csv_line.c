/* operators/csv_line.c - the plain CSV parser: what a line is, what a row is, and why a line is none. */
#include "operators/csv_block.h"

#include <string.h>

/* ---- schemas ---- */

static bool is_name_byte(char byte, bool first)
{
    bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
    return letter || (!first && byte >= '0' && byte <= '9');
}

static bool kind_read(const char *type, struct pst_csv_field *field)
{
    static const struct {
        const char *name;
        pst_csv_kind kind;
        uint64_t max;
    } kinds[] = {
        {"u32", PST_CSV_U32, UINT32_MAX}, {"u64", PST_CSV_U64, UINT64_MAX}, {"i64", PST_CSV_I64, INT64_MAX},
        {"bit", PST_CSV_BIT, 1},          {"text", PST_CSV_TEXT, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(type, kinds[i].name) == 0) {
            field->kind = kinds[i].kind;
            field->max = kinds[i].max;
            return true;
        }
    if (strncmp(type, "decimal", 7) != 0 || type[7] < '0' || type[7] > '0' + PST_CSV_SCALE_MAX || type[8] != 0)
        return false;
    field->kind = PST_CSV_DECIMAL;
    field->scale = (uint8_t)(type[7] - '0');
    return true;
}

const char *pst_csv_field_read(const char *text, struct pst_csv_field *ret_field)
{
    struct pst_csv_field field = {.wanted = true};
    size_t name_bytes = 0;
    while (is_name_byte(text[name_bytes], name_bytes == 0))
        name_bytes++;
    if (name_bytes == 0 || text[name_bytes] != ':')
        return "a field is written NAME:TYPE, the name in letters, digits and '_', not beginning with a digit";
    if (name_bytes > PST_CSV_NAME_BYTES_MAX)
        return "the name of a field has at most 63 bytes";
    memcpy(field.name, text, name_bytes);
    const char *type = text + name_bytes + 1;
    type += *type == ' ';
    if (!kind_read(type, &field))
        return "the type of a field is one of u32, u64, i64, bit (0 or 1), text, decimal0 to decimal9";
    *ret_field = field;
    return NULL;
}

const char *pst_csv_field_time_set(struct pst_csv_field *field)
{
    if (field->kind != PST_CSV_U32 && field->kind != PST_CSV_U64 && field->kind != PST_CSV_I64)
        return "the event time must be a field of type u32, u64 or i64";
    if (field->max > PST_CSV_TIME_MAX)
        field->max = PST_CSV_TIME_MAX;
    field->wanted = field->time = true;
    return NULL;
}

pst_type pst_csv_field_type(const struct pst_csv_field *field)
{
    switch (field->kind) {
    case PST_CSV_U32:
    case PST_CSV_BIT:
        return PST_U32;
    case PST_CSV_U64:
        return PST_U64;
    case PST_CSV_TEXT:
        return PST_TEXT;
    case PST_CSV_I64:
    case PST_CSV_DECIMAL:
        break;
    }
    return PST_I64;
}

/* ---- fields ---- */

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

/* Digits, one at least, the value at most max. */
static bool digits_read(const char *at, const char *end, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (at == end)
        return false;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return false;
        uint64_t digit = (uint64_t)(*at - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static bool i64_read(const struct pst_csv_field *field, const char *at, const char *end, uint64_t *ret_value)
{
    bool negative = at < end && *at == '-';
    /* i64 reaches one further below zero than above. */
    uint64_t max = field->max + (negative && field->max == INT64_MAX), value = 0;
    if (!digits_read(at + negative, end, max, &value))
        return false;
    *ret_value = negative ? 0 - value : value;
    return true;
}

/* Decimals behind the dot: the first `scale` as a number; whether the rest is below, at or above one half. */
static bool fraction_read(const char *at, const char *end, uint8_t scale, uint64_t *ret_value, int *ret_rest)
{
    uint64_t value = 0;
    int rest = -1; /* against one half */
    uint32_t count = 0;
    if (at == end)
        return false;
    for (; at < end; at++, count++) {
        if (!is_digit(*at))
            return false;
        int digit = *at - '0';
        if (count < scale)
            value = value * 10 + (uint64_t)digit;
        else if (count == scale)
            rest = digit < 5 ? -1 : digit > 5;
        else if (rest == 0 && digit != 0)
            rest = 1;
    }
    for (; count < scale; count++)
        value *= 10;
    *ret_value = value;
    *ret_rest = rest;
    return true;
}

static bool decimal_read(const struct pst_csv_field *field, const char *at, const char *end, uint64_t *ret_value)
{
    bool negative = at < end && *at == '-';
    at += negative;
    const char *dot = memchr(at, '.', (size_t)(end - at));
    uint64_t whole = 0, fraction = 0;
    int rest = -1;
    if (!digits_read(at, dot != NULL ? dot : end, PST_CSV_DECIMAL_LIMIT - 1, &whole))
        return false;
    if (dot != NULL && !fraction_read(dot + 1, end, field->scale, &fraction, &rest))
        return false;
    for (uint8_t i = 0; i < field->scale; i++)
        whole *= 10;
    /* Halves toward +infinity: away from zero above it, toward zero below it. */
    uint64_t value = whole + fraction + (negative ? rest > 0 : rest >= 0);
    *ret_value = negative ? 0 - value : value;
    return true;
}

static bool field_read(const struct pst_csv_field *field, const char *at, const char *end,
                       struct pst_csv_cell *ret_cell)
{
    switch (field->kind) {
    case PST_CSV_U32:
    case PST_CSV_U64:
    case PST_CSV_BIT:
        return digits_read(at, end, field->max, &ret_cell->number);
    case PST_CSV_I64:
        return i64_read(field, at, end, &ret_cell->number);
    case PST_CSV_DECIMAL:
        return decimal_read(field, at, end, &ret_cell->number);
    case PST_CSV_TEXT:
        ret_cell->text = at;
        ret_cell->number = (uint64_t)(end - at);
        return ret_cell->number < PST_TEXT_BYTES;
    }
    return false;
}

/* ---- lines ---- */

int pst_csv_line_read(const struct pst_csv_schema *schema, const char *line, size_t line_bytes,
                      struct pst_csv_cell *ret_cells)
{
    if (line_bytes > PST_CSV_LINE_BYTES_MAX)
        return PST_REJECT_LONG;
    if (line_bytes == 0)
        return PST_REJECT_EMPTY;
    if (memchr(line, 0, line_bytes) != NULL)
        return PST_REJECT_NUL;
    const char *end = line + line_bytes;
    uint32_t field_count = 1;
    for (const char *at = line; at < end; at++)
        field_count += *at == ',';
    if (field_count != schema->field_count)
        return PST_REJECT_FIELDS;
    for (uint32_t i = 0; i < field_count; i++) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        const char *field_end = comma != NULL ? comma : end;
        if (!field_read(&schema->fields[i], line, field_end, &ret_cells[i]))
            return PST_REJECT_FIELD;
        line = field_end + 1;
    }
    return 0;
}

struct pst_csv_line pst_csv_line_at(const char *at, const char *text_end)
{
    const char *newline = memchr(at, '\n', (size_t)(text_end - at));
    struct pst_csv_line line = {.text = at};
    if (newline == NULL) {
        line.bytes = line.bytes_whole = (size_t)(text_end - at);
        return line;
    }
    line.bytes_whole = (size_t)(newline + 1 - at);
    line.bytes = (size_t)(newline - at);
    line.bytes -= line.bytes > 0 && newline[-1] == '\r';
    return line;
}

void pst_csv_cells_store(const struct pst_csv_schema *schema, const struct pst_csv_cell *cells,
                         const struct pst_out *out, uint32_t row)
{
    for (uint32_t i = 0; i < schema->field_count; i++) {
        if (!schema->fields[i].wanted)
            continue;
        pst_type type = pst_csv_field_type(&schema->fields[i]);
        if (type == PST_TEXT) {
            uint8_t *cell = (uint8_t *)out->columns[i] + (size_t)row * PST_TEXT_BYTES;
            memset(cell, 0, PST_TEXT_BYTES);
            cell[0] = (uint8_t)cells[i].number;
            memcpy(cell + 1, cells[i].text, (size_t)cells[i].number);
        } else if (type == PST_U32) {
            ((uint32_t *)out->columns[i])[row] = (uint32_t)cells[i].number;
        } else {
            ((uint64_t *)out->columns[i])[row] = cells[i].number;
        }
    }
}

/* ---- blocks ---- */

static bool is_header(const struct pst_csv_schema *schema, const struct pst_csv_line *line)
{
    const char *name = schema->fields[0].name;
    size_t name_bytes = strlen(name);
    return line->bytes > name_bytes && line->bytes <= PST_CSV_LINE_BYTES_MAX &&
           memcmp(line->text, name, name_bytes) == 0 && line->text[name_bytes] == ',';
}

int pst_csv_pass_begin(struct pst_ctx *ctx, const struct pst_csv_schema *schema, const struct pst_block *block,
                       struct pst_csv_pass *ret_pass)
{
    static const char mark[] = "\xef\xbb\xbf";
    *ret_pass =
        (struct pst_csv_pass){ctx, schema, block->text, block->text, block->text + block->text_bytes, block->last, 0};
    struct pst_csv_pass *pass = ret_pass;
    if (block->first && block->text_bytes >= 3 && memcmp(pass->at, mark, 3) == 0)
        pass->at += 3;
    if (block->overlong) {
        int rc = pst_reject(ctx, PST_REJECT_LONG, pass->at, (size_t)(pass->end - pass->at), 0);
        pass->at = pass->end;
        pass->line_index = block->overlong_begins;
        return rc;
    }
    if (block->first && pass->at < pass->end) {
        struct pst_csv_line line = pst_csv_line_at(pass->at, pass->end);
        if (is_header(schema, &line)) {
            pass->at += line.bytes_whole;
            pass->line_index = 1;
        }
    }
    return PST_OK;
}

int pst_csv_line_take(struct pst_csv_pass *pass)
{
    struct pst_csv_line line = pst_csv_line_at(pass->at, pass->end);
    struct pst_csv_cell cells[PST_FIELDS_MAX];
    pass->at += line.bytes_whole;
    uint32_t line_index = pass->line_index++;
    if (line.bytes == 0 && pass->last && pass->at == pass->end)
        return PST_OK;
    int reason = pst_csv_line_read(pass->schema, line.text, line.bytes, cells);
    if (reason != 0)
        return pst_reject(pass->ctx, (pst_reject_reason)reason, line.text, line.bytes_whole, line_index);
    struct pst_out *out = pst_out_reserve(pass->ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    pst_csv_cells_store(pass->schema, cells, out, out->row_count);
    out->bucket[out->row_count] = (uint32_t)(line.text - pass->begin);
    out->row_count++;
    return PST_OK;
}

int pst_csv_plain_parse(struct pst_ctx *ctx, const struct pst_csv_schema *schema, const struct pst_block *block)
{
    struct pst_csv_pass pass;
    int rc = pst_csv_pass_begin(ctx, schema, block, &pass);
    while (rc == PST_OK && pass.at < pass.end)
        rc = pst_csv_line_take(&pass);
    return rc == PST_OK ? pst_block_lines(ctx, pass.line_index) : rc;
}
