/* host_plan.c - the planning side of the test host: parameters, schemas, complaints. */
#include "tests/host/host_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- complaints ---- */

void host_complain(struct host *host, const char *param, uint32_t index, const char *format, ...)
{
    host->complaints = host_own(host->complaints, (host->complaint_count + 1) * sizeof *host->complaints);
    struct host_complaint *complaint = &host->complaints[host->complaint_count++];
    *complaint = (struct host_complaint){.index = index};
    (void)snprintf(complaint->param, sizeof complaint->param, "%s", param != NULL ? param : "");
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(complaint->sentence, sizeof complaint->sentence, format, arguments);
    va_end(arguments);
}

uint32_t host_complaint_count(const struct host *host) { return host->complaint_count; }

const struct host_complaint *host_complaint(const struct host *host, uint32_t index)
{
    if (index >= host->complaint_count)
        host_die(host, "there is no complaint %u, only %u", index, host->complaint_count);
    return &host->complaints[index];
}

/* ---- parameters ---- */

static void value_add(struct value *value, bool number, const char *text)
{
    if (number) {
        value->ints = host_own(value->ints, (value->count + 1) * sizeof *value->ints);
        value->ints[value->count++] = strtoll(text, NULL, 10);
    } else {
        value->texts = host_own(value->texts, (value->count + 1) * sizeof *value->texts);
        value->texts[value->count++] = host_own_text(text);
    }
}

static bool is_number(const struct pst_param *param)
{
    return param->kind == PST_PARAM_INT || param->kind == PST_PARAM_INTS;
}

static bool is_list(const struct pst_param *param)
{
    return param->kind == PST_PARAM_INTS || param->kind == PST_PARAM_TEXTS;
}

/* Cuts blanks and one pair of quotes off a piece of YAML. */
static char *scalar(char *text)
{
    text += strspn(text, " ");
    size_t count = strlen(text);
    while (count > 0 && text[count - 1] == ' ')
        text[--count] = '\0';
    if (count >= 2 && (text[0] == '"' || text[0] == '\'') && text[count - 1] == text[0]) {
        text[count - 1] = '\0';
        text++;
    }
    return text;
}

/* The standard value as it would stand in YAML: a scalar, or [a, b, c]. */
static void value_parse(struct value *value, const struct pst_param *param)
{
    char *copy = host_own_text(param->standard), *text = scalar(copy);
    size_t count = strlen(text);
    if (!is_list(param) || text[0] != '[' || text[count - 1] != ']') {
        value_add(value, is_number(param), text);
    } else {
        text[count - 1] = '\0';
        for (char *rest = text + 1, *item; (item = strsep(&rest, ",")) != NULL;)
            if (item[strspn(item, " ")] != '\0')
                value_add(value, is_number(param), scalar(item));
    }
    free(copy);
}

static void value_copy(struct host *host, struct value *value, const struct pst_param *param,
                       const struct host_param *from)
{
    value->given = true;
    if ((is_number(param) && from->texts != NULL) || (!is_number(param) && from->ints != NULL))
        host_complain(host, param->name, 0, "`%s` is not of its kind", param->name);
    else if (!is_list(param) && from->count != 1)
        host_complain(host, param->name, 0, "`%s` takes one value", param->name);
    else
        for (uint32_t i = 0; i < from->count; i++) {
            char number[32];
            (void)snprintf(number, sizeof number, "%lld", is_number(param) ? (long long)from->ints[i] : 0);
            value_add(value, is_number(param), is_number(param) ? number : from->texts[i]);
        }
}

static void value_check(struct host *host, const struct value *value, const struct pst_param *param)
{
    if (!value->given && param->required)
        host_complain(host, param->name, 0, "the parameter `%s` is missing", param->name);
    if (!value->given || !is_number(param) || (param->value_min == 0 && param->value_max == 0))
        return;
    for (uint32_t i = 0; i < value->count; i++)
        if (value->ints[i] < param->value_min || value->ints[i] > param->value_max)
            host_complain(host, param->name, i, "`%s` must be from %lld to %lld, not %lld", param->name,
                          (long long)param->value_min, (long long)param->value_max, (long long)value->ints[i]);
}

static const struct pst_param *param_find(const struct host *host, const char *name)
{
    for (uint32_t i = 0; i < host->op->param_count; i++)
        if (strcmp(host->op->params[i].name, name) == 0)
            return &host->op->params[i];
    return NULL;
}

void host_values_init(struct host *host, const struct host_param *params)
{
    host->values = host_own(NULL, (host->op->param_count + 1) * sizeof *host->values);
    memset(host->values, 0, (host->op->param_count + 1) * sizeof *host->values);
    for (const struct host_param *from = params; from != NULL && from->name != NULL; from++) {
        const struct pst_param *param = param_find(host, from->name);
        if (param == NULL)
            host_complain(host, from->name, 0, "there is no parameter `%s`", from->name);
        else
            value_copy(host, &host->values[param - host->op->params], param, from);
    }
    for (uint32_t i = 0; i < host->op->param_count; i++) {
        const struct pst_param *param = &host->op->params[i];
        if (!host->values[i].given && param->standard != NULL)
            value_parse(&host->values[i], param);
        value_check(host, &host->values[i], param);
    }
}

void host_values_fini(struct host *host)
{
    for (uint32_t i = 0; i < host->op->param_count; i++) {
        struct value *value = &host->values[i];
        for (uint32_t k = 0; value->texts != NULL && k < value->count; k++)
            free(value->texts[k]);
        free(value->texts);
        free(value->ints);
    }
    free(host->values);
}

static const struct value *value_of(struct pst_plan *plan, const char *name, pst_param_kind kind)
{
    const struct pst_param *param = param_find(plan->host, name);
    if (param == NULL || (kind != 0 && param->kind != kind))
        host_die(plan->host, "plan() asks for the parameter `%s`, which is not declared so", name);
    return &plan->host->values[param - plan->host->op->params];
}

static int64_t plan_int(struct pst_plan *plan, const char *param)
{
    const struct value *value = value_of(plan, param, PST_PARAM_INT);
    return value->count != 0 ? value->ints[0] : 0;
}

static const int64_t *plan_ints(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct value *value = value_of(plan, param, PST_PARAM_INTS);
    *ret_count = value->count;
    return value->ints;
}

static const char *plan_text(struct pst_plan *plan, const char *param)
{
    const struct value *value = value_of(plan, param, PST_PARAM_TEXT);
    return value->count != 0 ? value->texts[0] : NULL;
}

static const char *const *plan_texts(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct value *value = value_of(plan, param, PST_PARAM_TEXTS);
    *ret_count = value->count;
    return (const char *const *)value->texts;
}

static bool plan_given(struct pst_plan *plan, const char *param) { return value_of(plan, param, 0)->given; }

/* ---- schemas ---- */

void host_schema_copy(struct pst_schema *to, const struct pst_schema *from)
{
    struct pst_field *fields = host_own(NULL, (from->field_count + 1) * sizeof *fields);
    for (uint32_t i = 0; i < from->field_count; i++) {
        fields[i] = from->fields[i];
        fields[i].name = host_own_text(from->fields[i].name);
    }
    *to = (struct pst_schema){from->field_count, fields, from->field_count != 0 ? from->time_field : -1};
}

void host_schema_free(struct pst_schema *schema)
{
    for (uint32_t i = 0; schema->fields != NULL && i < schema->field_count; i++)
        free((void *)(uintptr_t)schema->fields[i].name);
    free((void *)(uintptr_t)schema->fields);
}

static struct input *input_of(struct pst_plan *plan, uint32_t input)
{
    if (input >= plan->host->op->input_count)
        host_die(plan->host, "plan() asks for input %u of %u", input, plan->host->op->input_count);
    return &plan->host->inputs[input];
}

static const struct pst_schema *plan_input(struct pst_plan *plan, uint32_t input)
{
    return &input_of(plan, input)->schema;
}

static int plan_use(struct pst_plan *plan, uint32_t input, const char *field, const char *param, uint32_t index)
{
    struct input *in = input_of(plan, input);
    uint32_t found = host_field_find(&in->schema, field);
    if (found == in->schema.field_count) {
        host_complain(plan->host, param, index, "there is no field `%s`", field);
        return PST_EGRAPH;
    }
    for (uint32_t i = 0; i < in->used_count; i++)
        if (in->used[i] == found)
            return (int)i;
    in->used[in->used_count] = found;
    return (int)in->used_count++;
}

static struct output *output_of(struct pst_plan *plan, uint32_t output)
{
    if (output >= plan->host->op->output_count)
        host_die(plan->host, "plan() speaks of output %u of %u", output, plan->host->op->output_count);
    return &plan->host->outputs[output];
}

static int plan_output(struct pst_plan *plan, uint32_t output, const struct pst_field *fields, uint32_t field_count,
                       int32_t time_field)
{
    struct output *out = output_of(plan, output);
    if (out->declared)
        host_die(plan->host, "plan() declares output %u twice", output);
    if (field_count == 0 || field_count > PST_FIELDS_MAX || time_field < -1 || time_field >= (int32_t)field_count)
        host_die(plan->host, "plan() declares output %u with %u fields, time field %d", output, field_count,
                 time_field);
    host_schema_copy(&out->schema, &(struct pst_schema){field_count, fields, time_field});
    out->declared = true;
    return PST_OK;
}

static int plan_map(struct pst_plan *plan, uint32_t output, uint32_t output_field, uint32_t input_field)
{
    if (output_field >= PST_FIELDS_MAX || input_field >= input_of(plan, 0)->schema.field_count)
        host_die(plan->host, "plan() maps field %u to input field %u", output_field, input_field);
    output_of(plan, output)->map[output_field] = input_field + 1;
    return PST_OK;
}

static void plan_order(struct pst_plan *plan, pst_order order, int64_t epoch)
{
    if (epoch < 1)
        host_die(plan->host, "plan() wants an epoch of %lld", (long long)epoch);
    plan->host->order = order;
    plan->host->epoch = epoch;
}

static void plan_error(struct pst_plan *plan, const char *param, uint32_t index, const char *sentence)
{
    if (param != NULL && param_find(plan->host, param) == NULL)
        host_die(plan->host, "plan() complains of the parameter `%s`, which is not declared", param);
    host_complain(plan->host, param, index, "%s", sentence);
}

static void *plan_alloc(struct pst_plan *plan, size_t bytes) { return host_lend(&plan->host->plan_memory, bytes); }
static void plan_set_user(struct pst_plan *plan, void *user) { plan->host->planned = user; }

static const char *plan_key(struct pst_plan *plan, uint32_t index)
{
    for (uint32_t i = 0; i < plan->host->op->input_count; i++) {
        const struct input *in = &plan->host->inputs[i];
        if (in->keyed && !in->broadcast)
            return index < in->key_count ? in->schema.fields[in->key[index]].name : NULL;
    }
    return NULL;
}

void host_plan_fill(struct pst_host *table)
{
    table->plan_int = plan_int;
    table->plan_ints = plan_ints;
    table->plan_text = plan_text;
    table->plan_texts = plan_texts;
    table->plan_given = plan_given;
    table->plan_input = plan_input;
    table->plan_use = plan_use;
    table->plan_output = plan_output;
    table->plan_map = plan_map;
    table->plan_order = plan_order;
    table->plan_error = plan_error;
    table->plan_alloc = plan_alloc;
    table->plan_set_user = plan_set_user;
    table->plan_key = plan_key;
}

static void map_check(const struct host *host, const struct output *out)
{
    for (uint32_t i = 0; i < out->schema.field_count; i++) {
        if (out->map[i] == 0)
            host_die(host, "plan() maps no input field to `%s`", out->schema.fields[i].name);
        if (host->inputs[0].schema.fields[out->map[i] - 1].type != out->schema.fields[i].type)
            host_die(host, "plan() maps a field of another type to `%s`", out->schema.fields[i].name);
    }
}

void host_plan_finish(struct host *host)
{
    if ((host->error != PST_OK) != (host->complaint_count != 0) && host->error != PST_ENOMEM)
        host_die(host, "plan() returned %d with %u complaints", host->error, host->complaint_count);
    for (uint32_t i = 0; host->error == PST_OK && i < host->op->output_count; i++) {
        if (!host->outputs[i].declared)
            host_die(host, "plan() does not declare output %u", i);
        if (host->op->role == PST_ROLE_STATELESS)
            map_check(host, &host->outputs[i]);
    }
}

const struct pst_schema *host_schema(const struct host *host, uint32_t output) { return &host->outputs[output].schema; }
pst_order host_order(const struct host *host) { return host->order; }
int64_t host_epoch(const struct host *host) { return host->epoch; }

bool host_uses(const struct host *host, uint32_t input, const char *field)
{
    const struct input *in = &host->inputs[input];
    for (uint32_t i = 0; i < in->used_count; i++)
        if (strcmp(in->schema.fields[in->used[i]].name, field) == 0)
            return true;
    return false;
}
