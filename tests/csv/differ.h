/* tests/csv/differ.h - one text through the plain and the fast CSV parser, for the property test and the fuzz target. */
#ifndef CSV_DIFFER_H
#define CSV_DIFFER_H

#include "operators/csv_parse.h"
#include "tests/csv/fake.h"

struct differ {
    struct pst_csv_schema schema;
    struct pst_field fields[PST_FIELDS_MAX];
    uint64_t unwanted;
};

/* items: NAME:TYPE. time_index: the event time; -1: none. */
static FAKE_UNUSED void differ_init(struct differ *d, const char *const *items, uint32_t count, int time_index,
                                    uint64_t unwanted)
{
    memset(d, 0, sizeof *d);
    for (uint32_t i = 0; i < count; i++) {
        struct pst_csv_field *field = &d->schema.fields[i];
        if (pst_csv_field_read(items[i], field) != NULL)
            abort();
        field->wanted = !(unwanted >> i & 1);
        if ((int)i == time_index && pst_csv_field_time_set(field) != NULL)
            abort();
        if (!field->wanted)
            d->unwanted |= UINT64_C(1) << i;
        d->fields[i] = (struct pst_field){field->name, pst_csv_field_type(field), field->scale};
    }
    d->schema.field_count = count;
}

/* Feeds the text in blocks that end behind a line: each at least `cut` bytes, where there are so many; 0: all in one.
 * kernel NULL: the plain parser. */
static FAKE_UNUSED void differ_run(const struct differ *d, struct pst_ctx *c, const struct pst_csv_kernel *kernel,
                                   const char *text, size_t bytes, size_t cut)
{
    struct pst_csv_parser parser;
    fake_init(c, d->fields, d->schema.field_count);
    c->unwanted = d->unwanted;
    if (kernel != NULL && pst_csv_parser_init(c, &parser, &d->schema, kernel) != PST_OK)
        abort();
    size_t at = 0;
    do {
        size_t end = cut == 0 || bytes - at <= cut ? bytes : at + cut;
        while (end < bytes && text[end - 1] != '\n')
            end++;
        char *base;
        struct pst_block block = fake_block(text + at, end - at, &base);
        block.first = at == 0;
        c->block_offset = at;
        block.last = end == bytes;
        int rc = kernel != NULL ? pst_csv_parse(c, &parser, &block) : pst_csv_plain_parse(c, &d->schema, &block);
        if (rc != PST_OK)
            abort();
        fake_flush(c);
        free(base);
        at = end;
    } while (at < bytes);
}

static FAKE_UNUSED bool differ_same(const struct pst_ctx *a, const struct pst_ctx *b)
{
    return a->line_count == b->line_count && a->row_count == b->row_count && a->reject_count == b->reject_count &&
           a->offset_digest == b->offset_digest && a->rows_bytes == b->rows_bytes &&
           a->rejects_bytes == b->rejects_bytes &&
           (a->rows_bytes == 0 || memcmp(a->rows, b->rows, a->rows_bytes) == 0) &&
           (a->rejects_bytes == 0 || memcmp(a->rejects, b->rejects, a->rejects_bytes) == 0);
}

#endif
