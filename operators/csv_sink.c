/* operators/csv_sink.c - the operator `csv_sink`: rows to lines of comma-separated text, in a stated order.
 *
 * Rows are kept as they come, a word for each number, and leave at the next on_time(), sorted among themselves. So the file
 * as a whole is in order where the first sort column does not go back when event time goes on, as an output time does.
 * Texts are written as they are: a csv_source has no quotes, and nothing else makes texts with commas. */
#include "operators/csv_format.h"
#include "operators/csv_sort.h"

#include <string.h>

#define ROWS_BYTES_MAX (UINT64_C(1) << 30)

enum {
    CHUNK_BYTES = 256 * 1024, /* at most, unless 64 rows take more */
    CHUNK_ROWS_MIN = 64,
    BUFFER_BYTES = 32 * 1024, /* what is formatted before it goes to pst_write(): half of a first-level cache */
    TEXT_WORDS = PST_TEXT_BYTES / 8,
    PREFETCH_ROWS = 8,
    COPY_ROWS = 128, /* go in together: their lines of cache stay while the columns are written one by one */
};

/* ---- plan ---- */

struct sink_field { /* a field in use, in the order of rows->columns */
    pst_type type;
    uint8_t scale;
    uint32_t word; /* of the row */
};

struct sink_plan {
    uint32_t field_count, column_count, order_count, row_words;
    struct sink_field fields[PST_FIELDS_MAX + 1];               /* the last one in use is the event time */
    uint8_t columns[PST_FIELDS_MAX], order[PST_FIELDS_MAX + 1]; /* indices of fields; order[0] is the event time */
    uint32_t header_bytes;
    char *header;
};

/* The names that a parameter lists; every field of the input where it lists none. buffer: PST_FIELDS_MAX names. */
static const char *const *names_of(struct pst_plan *plan, const char *param, const char **buffer, uint32_t *ret_count)
{
    const char *const *names = pst_plan_texts(plan, param, ret_count);
    const struct pst_schema *input = pst_plan_input(plan, 0);
    if (*ret_count != 0)
        return names;
    for (uint32_t i = 0; i < input->field_count; i++)
        buffer[i] = input->fields[i].name;
    *ret_count = input->field_count;
    return buffer;
}

/* The fields that a list names become indices of fields in use. */
static int list_plan(struct pst_plan *plan, struct sink_plan *sink, const char *param, uint8_t *ret_indices,
                     uint32_t *ret_count)
{
    uint32_t name_count = 0;
    const char *buffer[PST_FIELDS_MAX];
    const char *const *names = names_of(plan, param, buffer, &name_count);
    if (name_count == 0 || name_count > PST_FIELDS_MAX) {
        pst_plan_error(plan, param, 0, "name 1 to 64 fields of the input");
        return PST_EGRAPH;
    }
    const struct pst_schema *input = pst_plan_input(plan, 0);
    int rc = PST_OK;
    for (uint32_t i = 0; i < name_count; i++) {
        int use = pst_plan_use(plan, 0, names[i], param, i);
        if (use < 0 || use >= PST_FIELDS_MAX) {
            rc = PST_EGRAPH;
            continue;
        }
        if (memchr(ret_indices, use, *ret_count) != NULL) {
            pst_plan_error(plan, param, i, "this field is named twice");
            rc = PST_EGRAPH;
            continue;
        }
        ret_indices[(*ret_count)++] = (uint8_t)use;
        for (uint32_t k = 0; k < input->field_count; k++)
            if (strcmp(input->fields[k].name, names[i]) == 0)
                sink->fields[use] = (struct sink_field){input->fields[k].type, input->fields[k].scale, 0};
        if ((uint32_t)use >= sink->field_count)
            sink->field_count = (uint32_t)use + 1;
    }
    return rc;
}

static int header_plan(struct pst_plan *plan, struct sink_plan *sink)
{
    uint32_t name_count = 0;
    const char *buffer[PST_FIELDS_MAX];
    const char *const *names = names_of(plan, "columns", buffer, &name_count);
    size_t bytes = 0;
    for (uint32_t i = 0; i < name_count; i++)
        bytes += strlen(names[i]) + 1;
    char *at = sink->header = pst_plan_alloc(plan, bytes);
    if (at == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < name_count; i++) {
        size_t name_bytes = strlen(names[i]);
        memcpy(at, names[i], name_bytes);
        at[name_bytes] = i + 1 < name_count ? ',' : '\n';
        at += name_bytes + 1;
    }
    sink->header_bytes = (uint32_t)bytes;
    return PST_OK;
}

/* Columns first and in order, so that rows that begin alike are words that do. */
static void words_plan(struct sink_plan *sink)
{
    for (uint32_t i = 0; i < sink->column_count + sink->order_count; i++) {
        uint8_t use = i < sink->column_count ? sink->columns[i] : sink->order[i - sink->column_count];
        bool placed = i >= sink->column_count && memchr(sink->columns, use, sink->column_count) != NULL;
        if (placed)
            continue;
        sink->fields[use].word = sink->row_words;
        sink->row_words += sink->fields[use].type == PST_TEXT ? TEXT_WORDS : 1;
    }
}

/* Event time sorts first: how many seconds leave together depends on how the stream was cut, the lines must not (P1). */
static void time_plan(struct sink_plan *sink)
{
    sink->fields[sink->field_count] = (struct sink_field){PST_I64, 0, 0};
    memmove(sink->order + 1, sink->order, sink->order_count);
    sink->order[0] = (uint8_t)sink->field_count;
    sink->order_count++;
    sink->field_count++;
}

/* A name in the folder of --output, not a way out of it. */
static bool file_plan(struct pst_plan *plan)
{
    const char *file = pst_plan_text(plan, "file");
    if (file == NULL)
        return true; /* reported: it is required */
    if (file[0] != '\0' && strchr(file, '/') == NULL && strcmp(file, ".") != 0 && strcmp(file, "..") != 0)
        return true;
    pst_plan_error(plan, "file", 0, "give a plain file name; the folder is named by --output");
    return false;
}

static int plan(struct pst_plan *plan)
{
    struct sink_plan *sink = pst_plan_alloc(plan, sizeof *sink);
    if (sink == NULL)
        return PST_ENOMEM;
    int rc = list_plan(plan, sink, "columns", sink->columns, &sink->column_count);
    int rc_order = list_plan(plan, sink, "order", sink->order, &sink->order_count);
    if (!file_plan(plan) || rc != PST_OK || rc_order != PST_OK)
        return PST_EGRAPH;
    rc = header_plan(plan, sink);
    if (rc != PST_OK)
        return rc;
    time_plan(sink);
    words_plan(sink);
    pst_plan_order(plan, PST_ORDER_ANY, 1);
    pst_plan_set_user(plan, sink);
    return PST_OK;
}

/* ---- one partition ---- */

/* How lines have begun lately: the text of the leading columns that stay the same, apart from the lines themselves, so that
 * it is not read back right behind the narrow writes that made it. */
struct beginning {
    const uint64_t *row; /* the row above; NULL: there is none */
    uint32_t column_count;
    uint16_t ends[PST_FIELDS_MAX]; /* of each column's text, its separator included */
    char text[PST_FIELDS_MAX * (PST_CSV_CELL_BYTES_MAX + 1)];
};

struct sink {
    const struct sink_plan *plan;
    uint64_t **chunks;
    uint32_t chunk_count, chunk_max, chunk_shift, row_count;
    uint64_t *scratch[2];
    uint32_t scratch_rows;
    struct pst_csv_sort_column order[PST_FIELDS_MAX + 1];
    char *buffer;
    uint32_t line_bytes_max;
    struct beginning beginning;
};

static void order_reset(struct sink *sink)
{
    for (uint32_t i = 0; i < sink->plan->order_count; i++) {
        const struct sink_field *field = &sink->plan->fields[sink->plan->order[i]];
        sink->order[i] = (struct pst_csv_sort_column){field->word, field->type, UINT64_MAX, 0};
    }
}

static int open(struct pst_ctx *ctx)
{
    struct sink *sink = pst_alloc(ctx, sizeof *sink);
    if (sink == NULL)
        return PST_ENOMEM;
    sink->plan = pst_planned(ctx);
    uint32_t row_bytes = sink->plan->row_words * 8;
    while ((row_bytes << (sink->chunk_shift + 1)) <= CHUNK_BYTES || 2u << sink->chunk_shift <= CHUNK_ROWS_MIN)
        sink->chunk_shift++;
    sink->chunk_max = (uint32_t)(ROWS_BYTES_MAX / ((uint64_t)row_bytes << sink->chunk_shift));
    sink->chunks = pst_alloc(ctx, sink->chunk_max * sizeof *sink->chunks);
    sink->line_bytes_max = sink->plan->column_count * (PST_CSV_CELL_BYTES_MAX + 1);
    sink->buffer = pst_alloc(ctx, BUFFER_BYTES + sink->line_bytes_max + 16);
    if (sink->chunks == NULL || sink->buffer == NULL)
        return PST_ENOMEM;
    order_reset(sink);
    pst_set_user(ctx, sink);
    return pst_write(ctx, sink->plan->header, sink->plan->header_bytes);
}

/* ---- rows in ---- */

/* A loop for each width: the narrow one becomes vectors, the wide one stays free of branches. */
static void order_extend(struct pst_csv_sort_column *column, const void *cells, uint32_t row_count)
{
    uint64_t first = column->first, last = column->last;
    if (column->type == PST_TEXT || row_count == 0)
        return;
    if (column->type == PST_U32) {
        const uint32_t *narrow = cells;
        uint32_t least = narrow[0], greatest = narrow[0];
        for (uint32_t i = 0; i < row_count; i++) {
            least = narrow[i] < least ? narrow[i] : least;
            greatest = narrow[i] > greatest ? narrow[i] : greatest;
        }
        column->first = least < first ? least : first;
        column->last = greatest > last ? greatest : last;
        return;
    }
    const uint64_t *wide = cells, sign = pst_csv_sort_key(column->type, 0);
    for (uint32_t i = 0; i < row_count; i++) {
        uint64_t key = wide[i] ^ sign;
        first = key < first ? key : first;
        last = key > last ? key : last;
    }
    column->first = first, column->last = last;
}

/* Copies rows first..first+row_count of a column into rows of `row_words` words. */
static void column_copy(const struct sink_field *field, const void *cells, uint32_t first, uint32_t row_count,
                        uint64_t *to, uint32_t row_words)
{
    to += field->word;
    if (field->type == PST_U32) {
        const uint32_t *from = (const uint32_t *)cells + first;
        for (uint32_t i = 0; i < row_count; i++, to += row_words)
            *to = from[i];
    } else if (field->type == PST_TEXT) {
        const char *from = (const char *)cells + (size_t)first * PST_TEXT_BYTES;
        for (uint32_t i = 0; i < row_count; i++, to += row_words)
            memcpy(to, from + (size_t)i * PST_TEXT_BYTES, PST_TEXT_BYTES);
    } else {
        const uint64_t *from = (const uint64_t *)cells + first;
        for (uint32_t i = 0; i < row_count; i++, to += row_words)
            *to = from[i];
    }
}

/* The chunk of the next row. Errors: PST_EFULL, PST_ENOMEM. */
static int chunk_ready(struct pst_ctx *ctx, struct sink *sink)
{
    uint32_t chunk = sink->row_count >> sink->chunk_shift;
    if (chunk < sink->chunk_count)
        return PST_OK;
    if (chunk == sink->chunk_max) {
        pst_fail(ctx, "the sink holds 1 GiB of rows, and event time has let none of them out");
        return PST_EFULL;
    }
    sink->chunks[chunk] = pst_alloc(ctx, (size_t)sink->plan->row_words * 8 << sink->chunk_shift);
    if (sink->chunks[chunk] == NULL)
        return PST_ENOMEM;
    sink->chunk_count++;
    return PST_OK;
}

static const void *cells_of(const struct sink_plan *plan, const struct pst_rows *rows, uint32_t field)
{
    return field + 1 == plan->field_count ? rows->time : rows->columns[field];
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct sink *sink = pst_user(ctx);
    const struct sink_plan *plan = sink->plan;
    for (uint32_t i = 0; i < plan->order_count; i++)
        order_extend(&sink->order[i], cells_of(plan, rows, plan->order[i]), rows->row_count);
    for (uint32_t first = 0; first < rows->row_count;) {
        int rc = chunk_ready(ctx, sink);
        if (rc != PST_OK)
            return rc;
        uint32_t chunk_rows = 1u << sink->chunk_shift, inside = sink->row_count & (chunk_rows - 1);
        uint32_t left = rows->row_count - first, count = left < COPY_ROWS ? left : COPY_ROWS;
        count = count < chunk_rows - inside ? count : chunk_rows - inside;
        uint64_t *to = sink->chunks[sink->row_count >> sink->chunk_shift] + (size_t)inside * plan->row_words;
        for (uint32_t i = 0; i < plan->field_count; i++)
            column_copy(&plan->fields[i], cells_of(plan, rows, i), first, count, to, plan->row_words);
        sink->row_count += count;
        first += count;
    }
    return PST_OK;
}

/* ---- rows out ---- */

static char *cell_put(char *at, const struct sink_field *field, const uint64_t *row)
{
    const uint64_t *cell = row + field->word;
    switch (field->type) {
    case PST_TEXT: {
        uint8_t byte_count = *(const uint8_t *)cell & (PST_TEXT_BYTES - 1);
        memcpy(at, (const char *)cell + 1, PST_TEXT_BYTES - 1);
        return at + byte_count;
    }
    case PST_I64:
        return field->scale == 0 ? pst_csv_i64_put(at, (int64_t)*cell)
                                 : pst_csv_decimal_put(at, (int64_t)*cell, field->scale);
    case PST_U32:
    case PST_U64:
        break;
    }
    return pst_csv_u64_put(at, *cell);
}

/* How many leading columns, but not all, are as in the row above. */
static uint32_t columns_alike(const struct sink_plan *plan, const uint64_t *row, const uint64_t *above)
{
    uint32_t column = 0;
    for (; column + 1 < plan->column_count; column++) {
        const struct sink_field *field = &plan->fields[plan->columns[column]];
        uint64_t different = row[field->word] ^ above[field->word];
        for (uint32_t i = 1; field->type == PST_TEXT && i < TEXT_WORDS; i++)
            different |= row[field->word + i] ^ above[field->word + i];
        if (different != 0)
            break;
    }
    return column;
}

/* Copies in steps of 16 bytes; up to 15 more are read and written. */
static void steps_copy(char *to, const char *from, uint32_t byte_count)
{
    for (uint32_t i = 0; i < byte_count; i += 16)
        memcpy(to + i, from + i, 16);
}

static char *line_put(const struct sink_plan *plan, struct beginning *beginning, const uint64_t *row, char *at)
{
    char *line = at;
    uint16_t ends[PST_FIELDS_MAX];
    uint32_t alike = beginning->row == NULL ? 0 : columns_alike(plan, row, beginning->row);
    uint32_t kept = alike < beginning->column_count ? alike : beginning->column_count;
    uint32_t kept_bytes = kept == 0 ? 0 : beginning->ends[kept - 1];
    steps_copy(at, beginning->text, kept_bytes);
    at += kept_bytes;
    for (uint32_t column = kept; column < plan->column_count; column++) {
        at = cell_put(at, &plan->fields[plan->columns[column]], row);
        *at++ = ',';
        ends[column] = (uint16_t)(at - line);
    }
    at[-1] = '\n';
    for (uint32_t column = kept; column < alike; column++)
        /* kept..alike were written in the loop above, which runs to column_count > alike */
        beginning->ends[column] = ends[column]; /* NOLINT(clang-analyzer-core.uninitialized.Assign) */
    if (alike > kept)
        memcpy(beginning->text + kept_bytes, line + kept_bytes, ends[alike - 1] - kept_bytes);
    beginning->column_count = alike;
    beginning->row = row;
    return at;
}

static bool same_in_order(const struct sink_plan *plan, const uint64_t *a, const uint64_t *b)
{
    for (uint32_t i = plan->order_count; i-- > 0;) { /* the last columns differ most often */
        const struct sink_field *field = &plan->fields[plan->order[i]];
        if (memcmp(a + field->word, b + field->word, field->type == PST_TEXT ? PST_TEXT_BYTES : 8) != 0)
            return false;
    }
    return true;
}

/* Rows that the order does not tell apart go by their bytes, so that it does not matter who came first (P1). Orders those that
 * begin at `first`; returns where the others begin. */
static uint32_t ties_order(const struct sink_plan *plan, const struct pst_csv_sort_rows *rows, uint64_t *numbers,
                           uint32_t first)
{
    uint32_t end = first + 1;
    for (; end < rows->row_count; end++) {
        uint64_t number = numbers[end];
        const uint64_t *row = pst_csv_sort_row(rows, number);
        uint32_t at = end;
        if (!same_in_order(plan, pst_csv_sort_row(rows, numbers[first]), row))
            break;
        for (; at > first && memcmp(pst_csv_sort_row(rows, numbers[at - 1]), row, plan->row_words * 8) > 0; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = number;
    }
    return end;
}

static int lines_write(struct pst_ctx *ctx, struct sink *sink, const struct pst_csv_sort_rows *rows, uint64_t *numbers)
{
    struct beginning *beginning = &sink->beginning;
    beginning->row = NULL;
    beginning->column_count = 0;
    char *at = sink->buffer;
    uint32_t tied_end =
        0; /* looked at here, where the next row is near already: a pass of its own cost a tenth of Query 1 */
    for (uint32_t i = 0; i < rows->row_count; i++) {
        if (i == tied_end)
            tied_end = ties_order(sink->plan, rows, numbers, i);
        if (i + PREFETCH_ROWS < rows->row_count)
            __builtin_prefetch(pst_csv_sort_row(rows, numbers[i + PREFETCH_ROWS]));
        at = line_put(sink->plan, beginning, pst_csv_sort_row(rows, numbers[i]), at);
        if (at - sink->buffer < BUFFER_BYTES)
            continue;
        int rc = pst_write(ctx, sink->buffer, (size_t)(at - sink->buffer));
        if (rc != PST_OK)
            return rc;
        at = sink->buffer;
    }
    return at == sink->buffer ? PST_OK : pst_write(ctx, sink->buffer, (size_t)(at - sink->buffer));
}

static int scratch_ready(struct pst_ctx *ctx, struct sink *sink)
{
    if (sink->row_count <= sink->scratch_rows)
        return PST_OK;
    uint32_t row_count = sink->scratch_rows == 0 ? 1024 : sink->scratch_rows;
    while (row_count < sink->row_count)
        row_count *= 2;
    sink->scratch_rows = 0;
    for (uint32_t i = 0; i < 2; i++) {
        sink->scratch[i] = pst_alloc(ctx, row_count * sizeof(uint64_t));
        if (sink->scratch[i] == NULL)
            return PST_ENOMEM;
    }
    sink->scratch_rows = row_count;
    return PST_OK;
}

static int on_time(struct pst_ctx *ctx, int64_t t)
{
    struct sink *sink = pst_user(ctx);
    (void)t; /* every row so far is below it */
    if (sink->row_count == 0)
        return PST_OK;
    int rc = scratch_ready(ctx, sink);
    if (rc != PST_OK)
        return rc;
    struct pst_csv_sort_rows rows = {
        .chunks = sink->chunks,
        .chunk_shift = sink->chunk_shift,
        .row_words = sink->plan->row_words,
        .row_count = sink->row_count,
        .columns = sink->order,
        .column_count = sink->plan->order_count,
    };
    const uint64_t *numbers = pst_csv_sort(&rows, sink->scratch[0], sink->scratch[1]);
    rc = lines_write(ctx, sink, &rows, numbers == sink->scratch[0] ? sink->scratch[0] : sink->scratch[1]);
    sink->row_count = 0;
    order_reset(sink);
    return rc;
}

/* ---- the descriptor ---- */

static const struct pst_param params[] = {
    {.name = "file",
     .kind = PST_PARAM_TEXT,
     .required = true,
     .help = "the name of the file, in the folder that --output names"},
    {.name = "columns",
     .kind = PST_PARAM_TEXTS,
     .help = "the fields to write, in order; their names are the header line; without it all fields of the input"},
    {.name = "order",
     .kind = PST_PARAM_TEXTS,
     .help = "the fields to sort by among rows of one event time; without it all fields, as they stand"},
};

const struct pst_operator pst_csv_sink = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "csv_sink",
    .summary = "Writes rows as comma-separated lines, sorted, under a header line.",
    .role = PST_ROLE_SINK,
    .input_count = 1,
    .param_count = sizeof params / sizeof params[0],
    .params = params,
    .plan = plan,
    .open = open,
    .on_frame = on_frame,
    .on_time = on_time,
    .on_end = on_time,
};
