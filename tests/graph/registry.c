/* registry.c - operators that plan and never run. */
#include "registry.h"

#include <string.h>

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    (void)ctx, (void)rows;
    return PST_OK;
}

static int on_block(struct pst_ctx *ctx, const struct pst_block *block)
{
    (void)ctx, (void)block;
    return PST_OK;
}

/* ---- csv_source: the fields of `schema`, "name:type" ---- */
static bool field_parse(struct pst_plan *plan, const char *text, struct pst_field *field)
{
    static const struct {
        const char *name;
        pst_type type;
        uint8_t scale;
    } types[] = {
        {"u32", PST_U32, 0}, {"u64", PST_U64, 0}, {"i64", PST_I64, 0}, {"decimal3", PST_I64, 3}, {"text", PST_TEXT, 0}};
    const char *colon = strchr(text, ':');
    char *name = colon != NULL ? pst_plan_alloc(plan, (size_t)(colon - text) + 1) : NULL;
    for (size_t i = 0; name != NULL && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, colon + 1) != 0)
            continue;
        memcpy(name, text, (size_t)(colon - text));
        *field = (struct pst_field){name, types[i].type, types[i].scale};
        return true;
    }
    return false;
}

static int source_plan(struct pst_plan *plan)
{
    uint32_t count = 0;
    const char *const *texts = pst_plan_texts(plan, "schema", &count);
    struct pst_field *fields = pst_plan_alloc(plan, (count + 1) * sizeof *fields);
    int32_t time_field = -1;
    int rc = fields != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t i = 0; i < count && fields != NULL; i++) {
        if (!field_parse(plan, texts[i], &fields[i])) {
            pst_plan_error(plan, "schema", i,
                           "a field is written `name:type`, type one of u32, u64, i64, decimal3, text");
            rc = PST_EGRAPH;
        } else if (strcmp(fields[i].name, pst_plan_text(plan, "time")) == 0) {
            time_field = (int32_t)i;
        }
    }
    return rc == PST_OK ? pst_plan_output(plan, 0, fields, count, time_field) : rc;
}

static const struct pst_param source_params[] = {
    {"file", PST_PARAM_TEXT, false, "meters.csv", 0, 0, "the file to read"},
    {"schema", PST_PARAM_TEXTS, false,
     "[\"id:u64\", timestamp:u32, value:decimal3, property:u32, plug_id:u32, household_id:u32, house_id:u32]", 0, 0,
     "the fields of a line"},
    {"time", PST_PARAM_TEXT, false, "timestamp", 0, 0, "the field that is the event time"},
};
static const struct pst_operator source = {PST_OPERATOR_ABI,
                                           sizeof source,
                                           "csv_source",
                                           "Reads lines.",
                                           PST_ROLE_SOURCE,
                                           0,
                                           1,
                                           NULL,
                                           0,
                                           3,
                                           source_params,
                                           source_plan,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL,
                                           on_block,
                                           NULL,
                                           NULL};

/* ---- filter: "field == number" ---- */
static int filter_plan(struct pst_plan *plan)
{
    const struct pst_schema *in = pst_plan_input(plan, 0);
    uint32_t count = 0;
    const char *const *where = pst_plan_texts(plan, "where", &count);
    int rc = pst_plan_output(plan, 0, in->fields, in->field_count, in->time_field);
    for (uint32_t i = 0; i < in->field_count && rc == PST_OK; i++)
        rc = pst_plan_map(plan, 0, i, i);
    for (uint32_t i = 0; i < count; i++) {
        char field[64] = "";
        size_t bytes = strcspn(where[i], " ");
        memcpy(field, where[i], bytes < sizeof field ? bytes : 0);
        if (strncmp(where[i] + bytes, " == ", 4) != 0) {
            pst_plan_error(plan, "where", i, "a condition is written `field == value`");
            rc = PST_EGRAPH;
        } else if (pst_plan_use(plan, 0, field, "where", i) < 0) {
            rc = PST_EGRAPH;
        }
    }
    return rc;
}
static const struct pst_param filter_params[] = {
    {"where", PST_PARAM_TEXTS, true, NULL, 0, 0, "conditions that a row must meet, as in `[\"property == 1\"]`"}};
static const struct pst_operator filter = {PST_OPERATOR_ABI,
                                           sizeof filter,
                                           "filter",
                                           "Keeps rows.",
                                           PST_ROLE_STATELESS,
                                           1,
                                           1,
                                           NULL,
                                           0,
                                           1,
                                           filter_params,
                                           filter_plan,
                                           NULL,
                                           on_frame,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL,
                                           NULL};

/* ---- plug_load and house_load ---- */
static const struct pst_field load_fields[] = {
    {"at", PST_I64, 0},           {"slice", PST_U32, 0},   {"ts", PST_I64, 0},  {"house_id", PST_U32, 0},
    {"household_id", PST_U32, 0}, {"plug_id", PST_U32, 0}, {"load", PST_I64, 6}};
static int load_plan(struct pst_plan *plan)
{
    uint32_t count = 0;
    const int64_t *slices = pst_plan_ints(plan, "slices", &count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (86400 % slices[i] == 0)
            continue;
        pst_plan_error(plan, "slices", i, "a slice must divide the 86400 seconds of a day");
        rc = PST_EGRAPH;
    }
    (void)pst_plan_use(plan, 0, "house_id", NULL, 0);
    pst_plan_order(plan, PST_ORDER_EPOCH, pst_plan_int(plan, "every"));
    for (uint32_t output = 0; output < 2 && rc == PST_OK; output++)
        rc = pst_plan_output(plan, output, load_fields, 7, 0);
    return rc;
}
static const char *const load_outputs[] = {"predictions", "averages"};
static const struct pst_param load_params[] = {
    {"slices", PST_PARAM_INTS, false, "[60, 300, 900, 3600, 7200]", 1, 28800, "slice lengths in seconds"},
    {"every", PST_PARAM_INT, false, "30", 1, 86400, "seconds between updates"},
};
static const struct pst_operator plug_load = {
    PST_OPERATOR_ABI, sizeof plug_load, "plug_load", "Predicts.", PST_ROLE_PLAIN, 1,    2,    load_outputs, 0,   2,
    load_params,      load_plan,        NULL,        on_frame,    NULL,           NULL, NULL, NULL,         NULL};

/* ---- median_all, plug_above: a broadcast input ---- */
static int median_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"window", PST_U32, 0}, {"house_id", PST_U64, 0}, {"median", PST_I64, 3}};
    (void)pst_plan_use(plan, 0, "value", NULL, 0);
    return pst_plan_output(plan, 0, fields, 3, -1);
}
static const struct pst_operator median_all = {PST_OPERATOR_ABI,
                                               sizeof median_all,
                                               "median_all",
                                               "Median.",
                                               PST_ROLE_PLAIN,
                                               1,
                                               1,
                                               NULL,
                                               0,
                                               0,
                                               NULL,
                                               median_plan,
                                               NULL,
                                               on_frame,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL};
static int above_plan(struct pst_plan *plan)
{
    if (pst_plan_use(plan, 0, "value", NULL, 0) < 0 || pst_plan_use(plan, 1, "median", NULL, 0) < 0)
        return PST_EGRAPH;
    return pst_plan_output(plan, 0, load_fields, 7, 0);
}
static const struct pst_operator plug_above = {PST_OPERATOR_ABI,
                                               sizeof plug_above,
                                               "plug_above",
                                               "Above.",
                                               PST_ROLE_PLAIN,
                                               2,
                                               1,
                                               NULL,
                                               2,
                                               0,
                                               NULL,
                                               above_plan,
                                               NULL,
                                               on_frame,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL,
                                               NULL};
static const struct pst_operator join = {
    PST_OPERATOR_ABI, sizeof join, "join",   "Joins.", PST_ROLE_PLAIN, 2,    1,    NULL, 0, 0, NULL,
    above_plan,       NULL,        on_frame, NULL,     NULL,           NULL, NULL, NULL};

/* ---- csv_sink ---- */
static int sink_plan(struct pst_plan *plan)
{
    uint32_t count = 0;
    const char *const *columns = pst_plan_texts(plan, "columns", &count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count; i++)
        if (pst_plan_use(plan, 0, columns[i], "columns", i) < 0)
            rc = PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_ANY, 1);
    return rc;
}
static const struct pst_param sink_params[] = {
    {"file", PST_PARAM_TEXT, true, NULL, 0, 0, "the file to write"},
    {"columns", PST_PARAM_TEXTS, false, NULL, 0, 0, "the columns"},
};
static const struct pst_operator sink = {
    PST_OPERATOR_ABI, sizeof sink, "csv_sink", "Writes lines.", PST_ROLE_SINK, 1,    0,    NULL, 0,   2,
    sink_params,      sink_plan,   NULL,       on_frame,        NULL,          NULL, NULL, NULL, NULL};

/* ---- authors' mistakes ---- */
static int lazy_plan(struct pst_plan *plan)
{
    (void)pst_plan_int(plan, "nothing");
    return PST_OK;
}
static const struct pst_param lazy_params[] = {{"much", PST_PARAM_INT, false, "many", 0, 0, "a broken standard value"}};
static const struct pst_operator lazy = {PST_OPERATOR_ABI,
                                         sizeof lazy,
                                         "lazy",
                                         "Declares nothing.",
                                         PST_ROLE_PLAIN,
                                         1,
                                         1,
                                         NULL,
                                         0,
                                         0,
                                         NULL,
                                         lazy_plan,
                                         NULL,
                                         on_frame,
                                         NULL,
                                         NULL,
                                         NULL,
                                         NULL,
                                         NULL};
static const struct pst_operator many = {PST_OPERATOR_ABI,
                                         sizeof many,
                                         "many",
                                         "A broken standard.",
                                         PST_ROLE_PLAIN,
                                         1,
                                         1,
                                         NULL,
                                         0,
                                         1,
                                         lazy_params,
                                         lazy_plan,
                                         NULL,
                                         on_frame,
                                         NULL,
                                         NULL,
                                         NULL,
                                         NULL,
                                         NULL};

static const struct pst_operator *const list_a[] = {&source, &filter, &sink, NULL};
static const struct pst_operator *const list_b[] = {&plug_load, &median_all, &plug_above, &join, &lazy, &many, NULL};
static const struct pst_operator *const *const lists[] = {list_a, list_b};
const struct pst_registry pst_test_registry = {lists, 2};
