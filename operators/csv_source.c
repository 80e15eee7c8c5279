/* operators/csv_source.c - the operator `csv_source`: lines of comma-separated text to rows of a declared schema. */
#include "operators/csv_parse.h"

#include <string.h>

/* pst_plan_output() of the schema; errors at the parameter. */
static int output_plan(struct pst_plan *plan, const struct pst_csv_schema *schema, int32_t time_index)
{
    struct pst_field fields[PST_FIELDS_MAX];
    for (uint32_t i = 0; i < schema->field_count; i++) {
        const struct pst_csv_field *field = &schema->fields[i];
        fields[i] = (struct pst_field){field->name, pst_csv_field_type(field), field->scale};
    }
    return pst_plan_output(plan, 0, fields, schema->field_count, time_index);
}

static int32_t field_find(const struct pst_csv_schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->field_count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return (int32_t)i;
    return -1;
}

/* Every error is reported at its item. */
static int schema_plan(struct pst_plan *plan, struct pst_csv_schema *schema)
{
    uint32_t item_count = 0;
    const char *const *items = pst_plan_texts(plan, "schema", &item_count);
    int rc = PST_OK;
    if (item_count == 0 || item_count > PST_FIELDS_MAX) {
        pst_plan_error(plan, "schema", 0, "a schema has 1 to 64 fields");
        return PST_EGRAPH;
    }
    for (uint32_t i = 0; i < item_count; i++) {
        struct pst_csv_field *field = &schema->fields[schema->field_count];
        const char *sentence = pst_csv_field_read(items[i], field);
        if (sentence == NULL && field_find(schema, field->name) >= 0)
            sentence = "another field has this name";
        if (sentence != NULL) {
            pst_plan_error(plan, "schema", i, sentence);
            rc = PST_EGRAPH;
        } else {
            schema->field_count++;
        }
    }
    return rc;
}

static int plan(struct pst_plan *plan)
{
    struct pst_csv_schema *schema = pst_plan_alloc(plan, sizeof *schema);
    if (schema == NULL)
        return PST_ENOMEM;
    int rc = schema_plan(plan, schema);
    if (rc != PST_OK)
        return rc;
    int32_t time_index = field_find(schema, pst_plan_text(plan, "time"));
    const char *sentence =
        time_index < 0 ? "the schema has no field of this name" : pst_csv_field_time_set(&schema->fields[time_index]);
    if (sentence != NULL) {
        pst_plan_error(plan, "time", 0, sentence);
        return PST_EGRAPH;
    }
    pst_plan_set_user(plan, schema);
    return output_plan(plan, schema, time_index);
}

static int open(struct pst_ctx *ctx)
{
    struct pst_csv_parser *parser = pst_alloc(ctx, sizeof *parser);
    if (parser == NULL)
        return PST_ENOMEM;
    int rc = pst_csv_parser_init(ctx, parser, pst_planned(ctx), NULL);
    struct pst_csv_schema *schema = &parser->schema;
    for (uint32_t i = 0; i < schema->field_count; i++)
        schema->fields[i].wanted = schema->fields[i].time || pst_wanted(ctx, 0, i);
    pst_set_user(ctx, parser);
    return rc;
}

static int on_block(struct pst_ctx *ctx, const struct pst_block *block)
{
    return pst_csv_parse(ctx, pst_user(ctx), block);
}

static const struct pst_param params[] = {
    {.name = "file",
     .kind = PST_PARAM_TEXT,
     .standard = "meters.csv",
     .help = "what to read; - is standard input, a name that ends in .gz is unpacked"},
    {.name = "schema",
     .kind = PST_PARAM_TEXTS,
     .standard = "[id:u64, timestamp:u32, value:decimal3, property:bit, plug_id:u32, household_id:u32, house_id:u32]",
     .help =
         "the fields of a line in order, each NAME:TYPE; types: u32, u64, i64, bit (0 or 1), text (up to 31 bytes), "
         "decimal0 to decimal9 (that many decimals are kept, magnitude below 10000000)"},
    {.name = "time",
     .kind = PST_PARAM_TEXT,
     .standard = "timestamp",
     .help = "the field that is the event time, of type u32, u64 or i64"},
};

const struct pst_operator pst_csv_source = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "csv_source",
    .summary = "Reads comma-separated lines, one row each; malformed ones are counted and left out.",
    .role = PST_ROLE_SOURCE,
    .output_count = 1,
    .param_count = sizeof params / sizeof params[0],
    .params = params,
    .plan = plan,
    .open = open,
    .on_block = on_block,
};
