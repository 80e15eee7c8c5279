/* operators/select.c - projection: chooses, orders and renames fields. */
#include "operators/phrase.h"

enum { ROWS_A_STEP = 16384 }; /* most frames whole: the engine passes those on as they are */

/* One item, "name" or "name as other", as the field to put out. Returns the input's field, or a negative error. */
static int32_t parse_item(struct pst_plan *plan, uint32_t index, const char *text, struct pst_field *ret_field)
{
    struct pst_phrase phrase = {.plan = plan, .at = text};
    const char *name = pst_phrase_word(&phrase);
    const char *other = name;
    if (name == NULL || !pst_phrase_as(&phrase, &other))
        return pst_phrase_complain(&phrase, "fields", index, "expected the name of a field, or `name as other`");
    int column = pst_plan_use(plan, 0, name, "fields", index);
    if (column < 0)
        return column;
    const struct pst_schema *input = pst_plan_input(plan, 0);
    int32_t field = pst_schema_find(input, name);
    *ret_field = input->fields[field];
    ret_field->name = other;
    return field;
}

static int declare(struct pst_plan *plan, const struct pst_field *fields, const int32_t *sources, uint32_t count)
{
    int32_t time_field = -1;
    for (uint32_t i = count; i-- > 0;)
        if (sources[i] == pst_plan_input(plan, 0)->time_field)
            time_field = (int32_t)i;
    int rc = pst_plan_output(plan, 0, fields, count, time_field);
    for (uint32_t i = 0; rc == PST_OK && i < count; i++)
        rc = pst_plan_map(plan, 0, i, (uint32_t)sources[i]);
    return rc;
}

static int select_plan(struct pst_plan *plan)
{
    uint32_t count = 0;
    const char *const *items = pst_plan_texts(plan, "fields", &count);
    if (count == 0 || count > PST_FIELDS_MAX) {
        pst_plan_error(plan, "fields", 0, "give 1 to 64 fields");
        return PST_EGRAPH;
    }
    struct pst_field fields[PST_FIELDS_MAX];
    int32_t sources[PST_FIELDS_MAX];
    uint32_t good = 0;
    for (uint32_t i = 0; i < count; i++) {
        sources[good] = parse_item(plan, i, items[i], &fields[good]);
        if (sources[good] == PST_ENOMEM)
            return PST_ENOMEM;
        if (sources[good] >= 0 && pst_schema_name_is_new(plan, fields, good, fields[good].name, "fields", i))
            good++;
    }
    return good == count ? declare(plan, fields, sources, count) : PST_EGRAPH;
}

static int select_open(struct pst_ctx *ctx)
{
    uint32_t *indices = pst_alloc(ctx, ROWS_A_STEP * sizeof *indices);
    pst_set_user(ctx, indices);
    return indices == NULL ? PST_ENOMEM : PST_OK;
}

static int select_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    uint32_t *indices = pst_user(ctx);
    int rc = PST_OK;
    for (uint32_t first = 0, count; rc == PST_OK && first < rows->row_count; first += count) {
        count = rows->row_count - first < ROWS_A_STEP ? rows->row_count - first : ROWS_A_STEP;
        for (uint32_t i = 0; i < count; i++)
            indices[i] = first + i;
        rc = pst_forward(ctx, 0, rows, indices, count);
    }
    return rc;
}

static const struct pst_param select_params[] = {
    {.name = "fields",
     .kind = PST_PARAM_TEXTS,
     .required = true,
     .help = "the fields to put out, in this order, each `name` or `name as other`"},
};

const struct pst_operator pst_select = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "select",
    .summary = "Chooses, orders and renames the fields of its input.",
    .role = PST_ROLE_STATELESS,
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof select_params / sizeof select_params[0],
    .params = select_params,
    .plan = select_plan,
    .open = select_open,
    .on_frame = select_on_frame,
};
