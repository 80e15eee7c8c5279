/* operators/aggregate_plan.c - reads the parameters of an aggregate and declares what it puts out. */
#include "operators/aggregate.h"
#include "operators/phrase.h"

#include <string.h>

struct planning {
    struct pst_plan *plan;
    struct aggregate_plan *to;
    struct pst_field fields[PST_FIELDS_MAX]; /* of the output */
    uint32_t field_count;
    int rc;
};

static void complain(struct planning *p, const char *param, uint32_t index, const char *sentence)
{
    pst_plan_error(p->plan, param, index, sentence);
    p->rc = PST_EGRAPH;
}

static void complain_of(struct planning *p, const struct pst_phrase *phrase, uint32_t index, const char *sentence)
{
    p->rc = pst_phrase_complain(phrase, "aggregates", index, sentence);
}

static void put_out(struct planning *p, struct pst_field field, const char *param, uint32_t index)
{
    if (p->field_count == PST_FIELDS_MAX)
        complain(p, param, index, "more than 64 fields would be put out");
    else if (!pst_schema_name_is_new(p->plan, p->fields, p->field_count, field.name, param, index))
        p->rc = PST_EGRAPH;
    else
        p->fields[p->field_count++] = field;
}

/* Asks for an input field. Returns its column, or -1 with the error reported. */
static int32_t use_field(struct planning *p, const char *name, const char *param, uint32_t index,
                         struct pst_field *ret_field)
{
    int column = pst_plan_use(p->plan, 0, name, param, index);
    if (column < 0) {
        p->rc = column;
        return -1;
    }
    const struct pst_schema *input = pst_plan_input(p->plan, 0);
    *ret_field = input->fields[pst_schema_find(input, name)];
    return column;
}

/* Else a group would lie in several buckets, each with a result of its own. */
static void key_check(struct planning *p, const char *const *names, uint32_t count)
{
    const char *field;
    for (uint32_t k = 0; (field = pst_plan_key(p->plan, k)) != NULL; k++) {
        bool named = false;
        for (uint32_t i = 0; i < count && !named; i++)
            named = strcmp(names[i], field) == 0;
        if (named)
            continue;
        complain(p, "group", 0,
                 "`group` must name all fields of the operator's `key`: rows of a group would be counted apart");
        return;
    }
}

static void plan_group(struct planning *p)
{
    uint32_t count = 0;
    const char *const *names = pst_plan_texts(p->plan, "group", &count);
    struct aggregate_plan *to = p->to;
    for (uint32_t i = 0; i < count && to->group_count < PST_FIELDS_MAX; i++) {
        struct aggregate_group *group = &to->groups[to->group_count];
        int32_t column = use_field(p, names[i], "group", i, &group->field);
        if (column < 0)
            continue;
        group->column = (uint32_t)column;
        group->offset = to->group_bytes;
        if (to->group_bytes + pst_type_bytes(group->field.type) > PST_KEY_BYTES_MAX) {
            complain(p, "group", i, "with this field the group has more than 128 bytes");
            return;
        }
        to->group_bytes += pst_type_bytes(group->field.type);
        to->group_count++;
        put_out(p, group->field, "group", i);
    }
    if (count == 0)
        complain(p, "group", 0, "name the fields of the group: all of the operator's `key`, and others if wanted");
    else
        key_check(p, names, count);
}

static void plan_windows(struct planning *p)
{
    struct aggregate_plan *to = p->to;
    to->window = pst_plan_int(p->plan, "window");
    to->slide = pst_plan_int(p->plan, "slide");
    if (to->window < 1)
        to->window = 1; /* out of its bounds: reported already */
    if (to->slide < 1)
        to->slide = to->window;
    int64_t a = to->window, b = to->slide;
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    to->pane = a;
    pst_plan_order(p->plan, PST_ORDER_EPOCH, to->pane);
}

/* The slot of a field, a new one or one that is there. */
static uint32_t slot_of(struct aggregate_plan *to, uint32_t column, const struct pst_field *field)
{
    for (uint32_t i = 0; i < to->slot_count; i++)
        if (to->slots[i].column == column)
            return i;
    to->slots[to->slot_count] = (struct aggregate_slot){column, *field, -1};
    return to->slot_count++;
}

static const char *name_of(struct planning *p, const char *function, const char *field)
{
    size_t function_bytes = strlen(function), field_bytes = strlen(field);
    char *name = pst_plan_alloc(p->plan, function_bytes + 1 + field_bytes + 1);
    if (name == NULL) {
        p->rc = PST_ENOMEM;
        return "";
    }
    memcpy(name, function, function_bytes);
    name[function_bytes] = '_';
    memcpy(name + function_bytes + 1, field, field_bytes);
    return name;
}

/* The field that a function puts out, and what it takes to get there. */
static struct pst_field result_field(struct aggregate_result *result, const struct pst_field *of, const char *name)
{
    uint8_t scale = of->scale;
    if (result->function == AGGREGATE_AVG || result->function == AGGREGATE_MEDIAN)
        scale = (uint8_t)(scale + 3 < PST_SCALE_MAX ? scale + 3 : PST_SCALE_MAX);
    result->multiplier = pst_decimal_power((uint32_t)(scale - of->scale));
    return (struct pst_field){name, PST_I64, scale};
}

static bool parse_function(struct pst_phrase *phrase, struct aggregate_result *result)
{
    static const char *const names[] = {"count", "sum", "min", "max", "avg", "median"};
    const char *word = pst_phrase_word(phrase);
    for (uint32_t i = 0; word != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(word, names[i]) == 0) {
            result->function = (aggregate_function)i;
            result->name = names[i];
            return true;
        }
    return false;
}

/* The field in brackets. NULL: reported. */
static const char *parse_field(struct planning *p, struct pst_phrase *phrase, uint32_t index, uint32_t *ret_column,
                               struct pst_field *ret_field)
{
    const char *name = pst_phrase_take(phrase, "(") ? pst_phrase_word(phrase) : NULL;
    if (name == NULL || !pst_phrase_take(phrase, ")")) {
        complain_of(p, phrase, index, "this function needs a field in brackets: `sum(value)`");
        return NULL;
    }
    int32_t column = use_field(p, name, "aggregates", index, ret_field);
    if (column < 0)
        return NULL;
    if (ret_field->type == PST_TEXT) {
        complain(p, "aggregates", index, "this field is a text: only numbers can be aggregated");
        return NULL;
    }
    *ret_column = (uint32_t)column;
    return name;
}

static void plan_result(struct planning *p, uint32_t index, const char *text)
{
    struct pst_phrase phrase = {.plan = p->plan, .at = text};
    struct aggregate_plan *to = p->to;
    struct aggregate_result result = {0};
    struct pst_field field = {"count", PST_U64, 0}, of;
    if (!parse_function(&phrase, &result)) {
        complain_of(
            p, &phrase, index,
            "expected count, sum(FIELD), min(FIELD), max(FIELD), avg(FIELD) or median(FIELD), and `as NAME` if wanted");
        return;
    }
    if (result.function != AGGREGATE_COUNT) {
        uint32_t column;
        const char *name = parse_field(p, &phrase, index, &column, &of);
        if (name == NULL)
            return;
        result.slot = slot_of(to, column, &of);
        field = result_field(&result, &of, name_of(p, result.name, name));
    }
    if (!pst_phrase_as(&phrase, &field.name)) {
        complain_of(p, &phrase, index, "expected nothing, or `as NAME`, behind the function");
        return;
    }
    struct aggregate_slot *slot = &to->slots[result.slot];
    if (result.function == AGGREGATE_MEDIAN && slot->median_index < 0) {
        slot->median_index = (int32_t)to->median_count;
        to->median_slots[to->median_count++] = result.slot;
    }
    to->results[to->result_count++] = result;
    put_out(p, field, "aggregates", index);
}

static void plan_results(struct planning *p)
{
    uint32_t count = 0;
    const char *const *texts = pst_plan_texts(p->plan, "aggregates", &count);
    if (count == 0)
        complain(p, "aggregates", 0, "name at least one aggregate: `count`, `sum(value)`");
    for (uint32_t i = 0; i < count && p->to->result_count < PST_FIELDS_MAX; i++)
        plan_result(p, i, texts[i]);
    if (count > PST_FIELDS_MAX)
        complain(p, "aggregates", PST_FIELDS_MAX, "more than 64 fields would be put out");
}

int pst_aggregate_plan(struct pst_plan *plan)
{
    struct planning p = {.plan = plan, .to = pst_plan_alloc(plan, sizeof *p.to)};
    if (p.to == NULL)
        return PST_ENOMEM;
    plan_windows(&p);
    p.fields[p.field_count++] = (struct pst_field){"window_start", PST_I64, 0};
    p.fields[p.field_count++] = (struct pst_field){"window_end", PST_I64, 0};
    plan_group(&p);
    plan_results(&p);
    if (p.rc != PST_OK)
        return p.rc;
    pst_plan_set_user(plan, p.to);
    /* Rows are put out with the event time just below window_end, so no field of theirs is their event time. */
    return pst_plan_output(plan, 0, p.fields, p.field_count, -1);
}
