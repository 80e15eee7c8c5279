/* operators/csv_parse.c - the fast CSV parser: windows of text, runs of regular rows, columns; the rest line by line.
 *
 * A window is scanned for separators. Where every field_count-th of them ends a line and no other does, the lines are
 * regular: the positions are a matrix, and its columns are converted one after the other straight into the output. A row
 * that a column is not sure of is decided by the plain parser, and so is each line that is not regular. */
#include "operators/csv_block.h"
#include "operators/csv_kernel.h"

#include <string.h>

enum { HINT_BLOCKS = 16 }; /* how long a single long number makes its column dearer */

/* ---- which kernel ---- */

const struct pst_csv_kernel *pst_csv_kernel_at(pst_csv_level level)
{
#if defined(__x86_64__)
    if (level == PST_CSV_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        return &pst_csv_kernel_avx2;
    if (level == PST_CSV_AVX512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2"))
        return &pst_csv_kernel_avx512;
#endif
    return level == PST_CSV_PORTABLE ? &pst_csv_kernel_portable : NULL;
}

const struct pst_csv_kernel *pst_csv_kernel_best(void)
{
    for (int level = PST_CSV_LEVEL_COUNT - 1; level > PST_CSV_PORTABLE; level--) {
        const struct pst_csv_kernel *kernel = pst_csv_kernel_at((pst_csv_level)level);
        if (kernel != NULL)
            return kernel;
    }
    return &pst_csv_kernel_portable;
}

int pst_csv_parser_init(struct pst_ctx *ctx, struct pst_csv_parser *parser, const struct pst_csv_schema *schema,
                        const struct pst_csv_kernel *kernel)
{
    *parser = (struct pst_csv_parser){.schema = *schema, .kernel = kernel != NULL ? kernel : pst_csv_kernel_best()};
    parser->starts = pst_alloc(ctx, PST_CSV_STARTS_MAX * sizeof *parser->starts);
    parser->bad = pst_alloc(ctx, PST_OUT_ROWS_MAX);
    return parser->starts == NULL || parser->bad == NULL ? PST_ENOMEM : PST_OK;
}

/* ---- a window and its runs ---- */

struct window {
    const char *text;
    const uint16_t *starts; /* starts[0] = 0, then behind each separator */
    uint32_t separator_count;
    bool regular; /* all whole rows are, from the first one */
};

static bool ends_line(const struct window *window, uint32_t separator)
{
    return window->text[window->starts[separator + 1] - 1] == '\n';
}

/* Are all rows regular? They are if as many lines as rows end, and each row ends a line. */
static bool window_is_regular(const struct window *window, uint32_t field_count, uint32_t line_count)
{
    uint32_t row_count = window->separator_count / field_count;
    if (row_count != line_count)
        return false;
    uint32_t different = 0;
    for (uint32_t row = 1; row <= row_count; row++)
        different |= (uint32_t)(window->text[window->starts[row * field_count] - 1] ^ '\n');
    return different == 0;
}

/* Regular rows from a separator that follows a line's end, at most PST_OUT_ROWS_MAX. */
static uint32_t run_row_count(const struct window *window, uint32_t separator, uint32_t field_count)
{
    uint32_t row_max = (window->separator_count - separator) / field_count, row_count = 0;
    if (row_max > PST_OUT_ROWS_MAX)
        row_max = PST_OUT_ROWS_MAX;
    if (window->regular)
        return row_max;
    for (; row_count < row_max; row_count++, separator += field_count) {
        uint32_t line_ends = 0;
        for (uint32_t i = 0; i < field_count - 1; i++)
            line_ends |= ends_line(window, separator + i);
        if (line_ends || !ends_line(window, separator + field_count - 1))
            break;
    }
    return row_count;
}

/* ---- rows of a run ---- */

/* Closes the gap between the rows kept so far and those from `row` on. */
static void rows_move(const struct pst_csv_schema *schema, const struct pst_out *out, uint32_t to, uint32_t from,
                      uint32_t row_count)
{
    if (to == from || row_count == 0)
        return;
    for (uint32_t i = 0; i < schema->field_count; i++) {
        if (!schema->fields[i].wanted)
            continue;
        size_t bytes = pst_type_bytes(pst_csv_field_type(&schema->fields[i]));
        uint8_t *cells = out->columns[i];
        memmove(cells + to * bytes, cells + from * bytes, row_count * bytes);
    }
    memmove(out->bucket + to, out->bucket + from, row_count * sizeof *out->bucket);
}

/* Where each row's line begins in the block, for whoever must find it again: a late row's bytes are wanted. */
static void run_offsets(const struct pst_csv_pass *pass, const struct pst_out *out, const struct window *window,
                        uint32_t separator, uint32_t row_count, uint32_t stride)
{
    uint32_t base = (uint32_t)(window->text - pass->begin);
    for (uint32_t row = 0; row < row_count; row++)
        out->bucket[out->row_count + row] = base + window->starts[separator + row * stride];
}

/* Lets the plain parser decide the rows that are in error; returns how many rows are left, or an error. The rows of the run
 * stand behind out->row_count. */
static int64_t run_repair(struct pst_csv_parser *parser, struct pst_csv_pass *pass, const struct pst_out *out,
                          const struct window *window, uint32_t separator, uint32_t row_count)
{
    struct pst_csv_cell cells[PST_FIELDS_MAX];
    uint32_t stride = parser->schema.field_count, base = out->row_count, kept = 0, next = 0;
    for (uint32_t row = 0; row < row_count; row++) {
        if (!parser->bad[row])
            continue;
        uint32_t first = separator + row * stride;
        const char *text = window->text + window->starts[first];
        struct pst_csv_line line = pst_csv_line_at(text, window->text + window->starts[first + stride]);
        if (line.bytes == 0 && pass->last && line.text + line.bytes_whole == pass->end) {
            /* The empty line at the end, where a line is one field: neither row nor reject. */
        } else {
            int reason = pst_csv_line_read(&parser->schema, line.text, line.bytes, cells);
            if (reason == 0) {
                pst_csv_cells_store(&parser->schema, cells, out, base + row);
                continue;
            }
            int rc =
                pst_reject(pass->ctx, (pst_reject_reason)reason, line.text, line.bytes_whole, pass->line_index + row);
            if (rc != PST_OK)
                return rc;
        }
        rows_move(&parser->schema, out, base + kept, base + next, row - next);
        kept += row - next;
        next = row + 1;
    }
    rows_move(&parser->schema, out, base + kept, base + next, row_count - next);
    return kept + row_count - next;
}

static void *cells_at(const struct pst_csv_field *field, const struct pst_out *out, uint32_t column)
{
    if (!field->wanted)
        return NULL;
    return (uint8_t *)out->columns[column] + (size_t)out->row_count * pst_type_bytes(pst_csv_field_type(field));
}

/* Converts all columns; whether some row is in error, and then which ones. */
static bool run_convert(struct pst_csv_parser *parser, const struct pst_out *out, const struct window *window,
                        uint32_t separator, uint32_t row_count)
{
    bool in_error = false;
    uint32_t field_count = parser->schema.field_count;
    memset(parser->bad, 0, row_count);
    for (uint32_t i = 0; i < field_count; i++) {
        const struct pst_csv_field *field = &parser->schema.fields[i];
        uint64_t bit = UINT64_C(1) << i;
        struct pst_csv_run run = {
            .text = window->text,
            .starts = window->starts + separator + i,
            .stride = field_count,
            .row_count = row_count,
            .field = field,
            .line_end = i == field_count - 1,
            .wide = (parser->wide_fields & bit) != 0 || field->kind == PST_CSV_TEXT,
            .repeated = field->time,
            .cells = cells_at(field, out, i),
            .bad = parser->bad,
        };
        bool wrong = parser->kernel->column(&run);
        if (wrong && !run.wide) {
            run.wide = true;
            wrong = parser->kernel->column(&run);
            /* Wide loops are dearer than short ones, but less than both. A clean second try says that numbers were long. */
            if (!wrong)
                parser->wide_fields |= bit;
        }
        in_error |= wrong;
    }
    return in_error;
}

static int run_take(struct pst_csv_parser *parser, struct pst_csv_pass *pass, const struct window *window,
                    uint32_t separator, uint32_t row_count)
{
    struct pst_out *out = pst_out_reserve(pass->ctx, 0, row_count);
    if (out == NULL)
        return PST_ENOMEM;
    int64_t kept = row_count;
    run_offsets(pass, out, window, separator, row_count, parser->schema.field_count);
    if (run_convert(parser, out, window, separator, row_count))
        kept = run_repair(parser, pass, out, window, separator, row_count);
    if (kept < 0)
        return (int)kept;
    out->row_count += (uint32_t)kept;
    pass->at = window->text + window->starts[separator + row_count * parser->schema.field_count];
    pass->line_index += row_count;
    return PST_OK;
}

/* ---- windows of a block ---- */

/* Takes the whole lines of a window; a line that is longer than it, or is the last one and has no end, too. */
static int window_take(struct pst_csv_parser *parser, struct pst_csv_pass *pass)
{
    uint32_t field_count = parser->schema.field_count, line_count = 0, separator = 0;
    size_t left = (size_t)(pass->end - pass->at);
    uint32_t bytes = left < PST_CSV_WINDOW_BYTES ? (uint32_t)left : PST_CSV_WINDOW_BYTES;
    struct window window = {.text = pass->at, .starts = parser->starts};
    parser->starts[0] = 0;
    window.separator_count = parser->kernel->scan(window.text, bytes, parser->starts + 1, &line_count);
    window.regular = window_is_regular(&window, field_count, line_count);
    if (line_count == 0)
        return pst_csv_line_take(pass);
    while (line_count > 0) {
        uint32_t row_count = run_row_count(&window, separator, field_count), before = pass->line_index;
        int rc = row_count > 0 ? run_take(parser, pass, &window, separator, row_count) : pst_csv_line_take(pass);
        if (rc != PST_OK)
            return rc;
        line_count -= pass->line_index - before;
        if (row_count > 0)
            separator += row_count * field_count;
        else
            while (window.starts[separator] < pass->at - window.text)
                separator++;
    }
    return PST_OK;
}

int pst_csv_parse(struct pst_ctx *ctx, struct pst_csv_parser *parser, const struct pst_block *block)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    return pst_csv_plain_parse(ctx, &parser->schema, block);
#else
    struct pst_csv_pass pass;
    int rc = pst_csv_pass_begin(ctx, &parser->schema, block, &pass);
    if (++parser->block_count % HINT_BLOCKS == 0)
        parser->wide_fields = 0;
    while (rc == PST_OK && pass.at < pass.end)
        rc = window_take(parser, &pass);
    return rc == PST_OK ? pst_block_lines(ctx, pass.line_index) : rc;
#endif
}
