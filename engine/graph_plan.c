/* graph_plan.c - the plan side of struct pst_host: runs plan() of each operator over what its inputs put out, resolves
 * keys, and fills the finished nodes. */
#include "engine/graph_build.h"

#include <stdlib.h>
#include <string.h>

struct pst_plan {
    struct pst_plan_head head; /* first: the inline calls of operator.h find the host here */
    struct pst_host host;
    struct pst_build *b;
    struct pst_build_node *node;
    struct pst_graph_node *made;
    uint32_t used_count[PST_INPUTS_MAX];
    uint32_t used[PST_INPUTS_MAX][PST_FIELDS_MAX];
    uint64_t mapped[PST_OUTPUTS_MAX]; /* bit f: plan_map() was called for field f */
    bool key_fine;
    bool failed;
};

/* ---- errors ---- */
/* A place for parameter `name`, its index-th item where it is a list that was given; else the operator. */
static const struct pst_place *param_place(const struct pst_plan *plan, const char *name, uint32_t index)
{
    const struct pst_build_node *node = plan->node;
    for (uint32_t i = 0; name != NULL && i < node->op->param_count; i++) {
        const struct pst_yaml *value = node->params[i].value;
        if (value == NULL || strcmp(node->op->params[i].name, name) != 0)
            continue;
        if (value->kind != PST_YAML_LIST)
            return &value->place;
        const struct pst_yaml *item = value->first;
        for (uint32_t k = 0; k < index && item != NULL; k++)
            item = item->next;
        return item != NULL ? &item->place : &value->place;
    }
    return &node->id_value->place;
}

/* The operator does not keep to its own declarations: its author's mistake, told to whoever runs it all the same. */
static void author_error(struct pst_plan *plan, const char *sentence)
{
    plan->failed = true;
    pst_build_error(plan->b, &plan->node->type_value->place, "this is a mistake in the operator, not in the graph",
                    "operator type `%s`: %s", plan->node->op->name, sentence);
}

static void host_error(struct pst_plan *plan, const char *param, uint32_t index, const char *sentence)
{
    plan->failed = true;
    pst_build_error(plan->b, param_place(plan, param, index), NULL, "operator `%s`: %.500s", plan->node->id, sentence);
}

/* ---- parameters ---- */
static const struct pst_build_param *param_find(struct pst_plan *plan, const char *name, pst_param_kind kind)
{
    for (uint32_t i = 0; i < plan->node->op->param_count; i++)
        if (strcmp(plan->node->op->params[i].name, name) == 0 && plan->node->op->params[i].kind == kind)
            return &plan->node->params[i];
    author_error(plan, pst_build_printf(plan->b, "plan() asks for a parameter `%s` that is not declared so", name));
    return NULL;
}

static int64_t host_int(struct pst_plan *plan, const char *param)
{
    const struct pst_build_param *p = param_find(plan, param, PST_PARAM_INT);
    return p != NULL ? p->number : 0;
}

static const int64_t *host_ints(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct pst_build_param *p = param_find(plan, param, PST_PARAM_INTS);
    *ret_count = p != NULL ? p->count : 0;
    return p != NULL ? p->numbers : NULL;
}

static const char *host_text(struct pst_plan *plan, const char *param)
{
    const struct pst_build_param *p = param_find(plan, param, PST_PARAM_TEXT);
    return p != NULL ? p->text : "";
}

static const char *const *host_texts(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct pst_build_param *p = param_find(plan, param, PST_PARAM_TEXTS);
    *ret_count = p != NULL ? p->count : 0;
    return p != NULL ? p->texts : NULL;
}

static bool host_given(struct pst_plan *plan, const char *param)
{
    for (uint32_t i = 0; i < plan->node->op->param_count; i++)
        if (strcmp(plan->node->op->params[i].name, param) == 0)
            return plan->node->params[i].value != NULL;
    author_error(plan, pst_build_printf(plan->b, "plan() asks for a parameter `%s` that is not declared", param));
    return false;
}

/* ---- inputs ---- */
static const struct pst_schema *input_schema(const struct pst_graph *graph, const struct pst_graph_input *input)
{
    return &graph->nodes[input->producer].outputs[input->producer_output].schema;
}

static const struct pst_schema *host_input(struct pst_plan *plan, uint32_t input)
{
    static const struct pst_schema nothing = {.time_field = -1};
    if (input < plan->made->input_count)
        return input_schema(plan->b->graph, &plan->made->inputs[input]);
    author_error(plan, "plan() asks for an input that it does not have");
    return &nothing;
}

static int field_find(const struct pst_schema *schema, const char *name)
{
    for (uint32_t i = 0; i < schema->field_count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return (int)i;
    return -1;
}

static const char *field_hint(struct pst_build *b, const struct pst_schema *schema, const char *name)
{
    const char *names[PST_FIELDS_MAX];
    for (uint32_t i = 0; i < schema->field_count; i++)
        names[i] = schema->fields[i].name;
    return pst_build_suggest(b, name, names, schema->field_count, "its fields are");
}

static const char *producer_name(const struct pst_plan *plan, uint32_t input)
{
    return pst_build_shown(plan->b, plan->node->inputs[input].item->text);
}

static int host_use(struct pst_plan *plan, uint32_t input, const char *field, const char *param, uint32_t index)
{
    const struct pst_schema *schema = host_input(plan, input);
    if (input >= plan->made->input_count)
        return PST_EINVAL;
    int found = field_find(schema, field);
    if (found < 0) {
        plan->failed = true;
        pst_build_error(plan->b, param_place(plan, param, index), field_hint(plan->b, schema, field),
                        "operator `%s`: its input `%s` has no field `%s`", plan->node->id, producer_name(plan, input),
                        pst_build_shown(plan->b, field));
        return PST_EGRAPH;
    }
    uint32_t *used = plan->used[input], count = plan->used_count[input];
    for (uint32_t i = 0; i < count; i++)
        if (used[i] == (uint32_t)found)
            return (int)i;
    used[count] = (uint32_t)found;
    return (int)plan->used_count[input]++;
}

/* ---- outputs ---- */
static const char *schema_fault(const struct pst_field *fields, uint32_t field_count, int32_t time_field)
{
    if (field_count == 0 || field_count > PST_FIELDS_MAX)
        return "an output must have 1 to 64 fields";
    if (time_field < -1 || time_field >= (int32_t)field_count)
        return "the time field of an output is none of its fields";
    if (time_field >= 0 && fields[time_field].type == PST_TEXT)
        return "the time field of an output is a text";
    for (uint32_t i = 0; i < field_count; i++) {
        if (fields[i].name == NULL || fields[i].name[0] == '\0')
            return "a field of an output has no name";
        if (fields[i].type < PST_U32 || fields[i].type > PST_TEXT)
            return "a field of an output has an unknown type";
        if (fields[i].scale > 9 || (fields[i].scale != 0 && fields[i].type != PST_I64))
            return "a field of an output has a scale that its type cannot have";
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(fields[i].name, fields[k].name) == 0)
                return "two fields of an output have one name";
    }
    return NULL;
}

static int host_output(struct pst_plan *plan, uint32_t output, const struct pst_field *fields, uint32_t field_count,
                       int32_t time_field)
{
    struct pst_build *b = plan->b;
    const char *fault = output < plan->made->output_count ? schema_fault(fields, field_count, time_field)
                                                          : "plan() declares an output that it does not have";
    if (fault != NULL) {
        author_error(plan, fault);
        return PST_EINVAL;
    }
    struct pst_field *copy = pst_build_alloc(b, field_count * sizeof *copy);
    uint32_t *map = pst_build_alloc(b, field_count * sizeof *map);
    bool *wanted = pst_build_alloc(b, field_count * sizeof *wanted);
    for (uint32_t i = 0; i < field_count && copy != NULL; i++) {
        copy[i] = fields[i];
        copy[i].name = pst_arena_strdup(&b->graph->arena, fields[i].name);
        if (copy[i].name == NULL)
            b->rc = PST_ENOMEM;
    }
    if (b->rc != PST_OK)
        return PST_ENOMEM;
    struct pst_graph_output *made = &plan->made->outputs[output];
    made->schema = (struct pst_schema){field_count, copy, time_field};
    made->wanted = wanted;
    made->map = plan->node->op->role == PST_ROLE_STATELESS ? map : NULL;
    plan->mapped[output] = 0;
    return PST_OK;
}

static bool map_fits(const struct pst_plan *plan, uint32_t output, uint32_t output_field, uint32_t input_field)
{
    if (plan->node->op->role != PST_ROLE_STATELESS || output >= plan->made->output_count)
        return false;
    const struct pst_schema *to = &plan->made->outputs[output].schema,
                            *from = input_schema(plan->b->graph, &plan->made->inputs[0]);
    if (output_field >= to->field_count || input_field >= from->field_count)
        return false;
    const struct pst_field *a = &to->fields[output_field], *b = &from->fields[input_field];
    return a->type == b->type && a->scale == b->scale;
}

static int host_map(struct pst_plan *plan, uint32_t output, uint32_t output_field, uint32_t input_field)
{
    if (!map_fits(plan, output, output_field, input_field)) {
        author_error(plan, "plan() maps a field to one that is not there or is of another type");
        return PST_EINVAL;
    }
    ((uint32_t *)plan->made->outputs[output].map)[output_field] = input_field;
    plan->mapped[output] |= UINT64_C(1) << output_field;
    return PST_OK;
}

/* ---- the rest of the host ---- */
static void host_order(struct pst_plan *plan, pst_order order, int64_t epoch)
{
    if (order > PST_ORDER_ANY || epoch < 1) {
        author_error(plan, "plan() asks for an order or an epoch that there is not");
        return;
    }
    plan->made->order = order;
    plan->made->epoch = epoch;
}

static const char *host_key(struct pst_plan *plan, uint32_t index)
{
    const struct pst_yaml *list = plan->node->key_value;
    const struct pst_yaml *item = list != NULL && plan->key_fine ? list->first : NULL;
    for (uint32_t i = 0; item != NULL && i < index; i++)
        item = item->next;
    return item != NULL ? item->text : NULL;
}

static void *host_alloc(struct pst_plan *plan, size_t bytes) { return pst_build_alloc(plan->b, bytes); }
static void host_set_user(struct pst_plan *plan, void *user) { plan->made->user = user; }

void pst_plan_host_fill(struct pst_host *host)
{
    host->abi = PST_OPERATOR_ABI;
    host->struct_bytes = sizeof *host;
    host->plan_int = host_int;
    host->plan_ints = host_ints;
    host->plan_text = host_text;
    host->plan_texts = host_texts;
    host->plan_given = host_given;
    host->plan_input = host_input;
    host->plan_use = host_use;
    host->plan_output = host_output;
    host->plan_map = host_map;
    host->plan_order = host_order;
    host->plan_error = host_error;
    host->plan_alloc = host_alloc;
    host->plan_set_user = host_set_user;
    host->plan_key = host_key;
}

/* ---- keys ---- */
static const char *type_name(const struct pst_build *b, const struct pst_field *field)
{
    static const char *const names[] = {"?", "u32", "u64", "i64", "text"};
    return field->scale != 0 ? pst_build_printf((struct pst_build *)b, "decimal%u", field->scale) : names[field->type];
}

/* Field `item` of the key in each input that is divided by key; the types must be those of the first such input. */
static bool key_field(struct pst_plan *plan, const struct pst_yaml *item, const char *name, uint32_t index)
{
    struct pst_build *b = plan->b;
    const struct pst_field *first = NULL;
    uint32_t first_input = 0;
    bool fine = true;
    for (uint32_t i = 0; i < plan->made->input_count; i++) {
        struct pst_graph_input *input = &plan->made->inputs[i];
        if (input->broadcast)
            continue;
        const struct pst_schema *schema = input_schema(b->graph, input);
        int found = field_find(schema, name);
        if (found < 0) {
            pst_build_error(b, &item->place, field_hint(b, schema, name), "`%s` has no field `%s` to be a key of `%s`",
                            producer_name(plan, i), pst_build_shown(b, name), plan->node->id);
            fine = false;
            continue;
        }
        const struct pst_field *field = &schema->fields[found];
        if (first != NULL && (field->type != first->type || field->scale != first->scale)) {
            pst_build_error(b, &item->place, "the inputs of a keyed operator must agree in the types of the key",
                            "`%s` is %s in `%s` and %s in `%s`", name, type_name(b, first),
                            producer_name(plan, first_input), type_name(b, field), producer_name(plan, i));
            fine = false;
        }
        if (first == NULL) {
            first = field;
            first_input = i;
            ((pst_type *)plan->made->key_types)[index] = field->type;
        }
        ((uint32_t *)input->key)[index] = (uint32_t)found;
    }
    return fine;
}

static bool key_allowed(struct pst_plan *plan, const struct pst_yaml *item, const char *name);

static bool key_item(struct pst_plan *plan, const struct pst_yaml *list, const struct pst_yaml *item, uint32_t index)
{
    const char *name = pst_build_text(plan->b, item, "each item of `key`");
    if (name == NULL)
        return false;
    for (const struct pst_yaml *other = list->first; other != item; other = other->next) {
        if (other->kind != PST_YAML_SCALAR || strcmp(other->text, name) != 0)
            continue;
        pst_build_error(plan->b, &item->place, NULL, "the key names the field `%s` twice",
                        pst_build_shown(plan->b, name));
        return false;
    }
    return key_allowed(plan, item, name) && key_field(plan, item, name, index);
}

static bool key_room(struct pst_plan *plan, uint32_t count)
{
    bool divided = false;
    plan->made->key_types = pst_build_alloc(plan->b, count * sizeof *plan->made->key_types);
    for (uint32_t i = 0; i < plan->made->input_count && plan->b->rc == PST_OK; i++) {
        struct pst_graph_input *input = &plan->made->inputs[i];
        if (!input->broadcast)
            input->key = pst_build_alloc(plan->b, count * sizeof *input->key);
        divided |= !input->broadcast;
    }
    if (plan->b->rc != PST_OK)
        return false;
    if (!divided)
        pst_build_error(plan->b, &plan->node->key_value->place, "leave the `key` out",
                        "every partition of `%s` gets every row: there is nothing to divide by a key", plan->node->id);
    return divided;
}

/* An operator may say of which fields its key must be made. */
static bool key_allowed(struct pst_plan *plan, const struct pst_yaml *item, const char *name)
{
    const char *const *allowed = plan->node->op->key_fields;
    struct pst_text list = {0};
    if (allowed == NULL)
        return true;
    for (uint32_t i = 0; allowed[i] != NULL; i++) {
        if (name != NULL && strcmp(allowed[i], name) == 0) {
            pst_text_fini(&list);
            return true;
        }
        (void)pst_text_printf(&list, "%s%s", i == 0 ? "" : ", ", allowed[i]);
    }
    const struct pst_place *place = item != NULL ? &item->place : &plan->node->id_value->place;
    const char *fields = list.bytes != NULL ? list.bytes : "";
    if (name == NULL)
        pst_build_error(plan->b, place, pst_build_printf(plan->b, "add `key: [%s]`", fields),
                        "operator `%s` (%s) needs a `key`", plan->node->id, plan->node->op->name);
    else
        pst_build_error(plan->b, place, NULL,
                        "the key of `%s` (%s) can be made of %s only: rows that belong together must meet",
                        plan->node->id, plan->node->op->name, fields);
    pst_text_fini(&list);
    return false;
}

/* The key's first fields, in its order; all of them are what holds without it. */
static bool bucket_by_resolve(struct pst_plan *plan, const struct pst_yaml *key)
{
    struct pst_build *b = plan->b;
    const struct pst_yaml *list = plan->node->bucket_by_value, *field = key->first;
    if (!pst_build_list(b, list, "`bucket_by`"))
        return false;
    if (list->count == 0 || list->count > key->count) {
        pst_build_error(b, &list->place, list->count == 0 ? "leave it out where all of the key decides" : NULL,
                        "`bucket_by` has 1 to %u fields, as the key has, not %u", key->count, list->count);
        return false;
    }
    uint32_t bytes = 0, index = 0;
    for (const struct pst_yaml *item = list->first; item != NULL && field != NULL;
         item = item->next, field = field->next, index++) {
        const char *name = pst_build_text(b, item, "each item of `bucket_by`");
        if (name == NULL || field->kind != PST_YAML_SCALAR)
            return false;
        if (strcmp(name, field->text) != 0) {
            pst_build_error(b, &item->place, "it names the first fields of the key, in the key's order",
                            "`bucket_by` has `%s` where the key of `%s` has `%s`", pst_build_shown(b, name),
                            plan->node->id, pst_build_shown(b, field->text));
            return false;
        }
        bytes += pst_type_bytes(plan->made->key_types[index]);
    }
    if (list->count < key->count) {
        plan->made->lead_count = list->count;
        plan->made->lead_bytes = bytes;
    }
    return true;
}

static bool key_resolve(struct pst_plan *plan)
{
    const struct pst_yaml *list = plan->node->key_value;
    if (list == NULL)
        return key_allowed(plan, NULL, NULL);
    if (plan->node->op->role != PST_ROLE_PLAIN)
        return true;
    if (!pst_build_list(plan->b, list, "`key`"))
        return false;
    if (list->count == 0 || list->count > PST_FIELDS_MAX) {
        pst_build_error(plan->b, &list->place, list->count == 0 ? "leave the `key` out where there is none" : NULL,
                        "a key has 1 to %d fields, not %u", PST_FIELDS_MAX, list->count);
        return false;
    }
    if (!key_room(plan, list->count))
        return false;
    bool fine = true;
    uint32_t index = 0, bytes = 0;
    for (const struct pst_yaml *item = list->first; item != NULL; item = item->next)
        fine &= key_item(plan, list, item, index++);
    for (uint32_t i = 0; i < list->count && fine; i++)
        bytes += pst_type_bytes(plan->made->key_types[i]);
    if (bytes > PST_KEY_BYTES_MAX) {
        pst_build_error(plan->b, &list->place, NULL, "the key has %u bytes, %d is the most", bytes, PST_KEY_BYTES_MAX);
        fine = false;
    }
    plan->made->key_count = list->count;
    plan->made->key_bytes = bytes;
    fine = fine && plan->b->rc == PST_OK;
    return (plan->node->bucket_by_value == NULL || bucket_by_resolve(plan, list)) && fine;
}

/* ---- one operator ---- */
static bool made_init(struct pst_plan *plan)
{
    struct pst_build *b = plan->b;
    const struct pst_build_node *node = plan->node;
    const struct pst_operator *op = node->op;
    struct pst_graph_node *made = plan->made;
    made->id = node->id;
    made->op = op;
    made->line = node->id_value->place.line;
    made->partition_count = node->partition_count;
    made->bucket_count = node->bucket_count;
    made->autoscale = node->autoscale;
    made->replicas = node->replicas;
    made->enclave = node->enclave;
    made->epc_bytes = node->epc_bytes;
    made->plugin = node->plugin;
    made->values = node->params;
    made->order = PST_ORDER_EPOCH;
    made->epoch = 1;
    made->input_count = op->input_count;
    made->output_count = op->output_count;
    made->inputs = pst_build_alloc(b, op->input_count * sizeof *made->inputs);
    made->outputs = pst_build_alloc(b, op->output_count * sizeof *made->outputs);
    if (b->rc != PST_OK)
        return false;
    for (uint32_t i = 0; i < op->input_count; i++) {
        made->inputs[i].producer = b->nodes[node->inputs[i].producer].position;
        made->inputs[i].producer_output = (uint32_t)node->inputs[i].output;
        made->inputs[i].broadcast = (op->broadcast_inputs >> i & 1) != 0;
    }
    for (uint32_t i = 0; i < op->output_count; i++)
        made->outputs[i].name = op->output_names != NULL ? op->output_names[i] : NULL;
    return true;
}

static bool is_edge(pst_role role) { return role == PST_ROLE_SOURCE || role == PST_ROLE_SINK; }

static void made_file(struct pst_plan *plan)
{
    const struct pst_operator *op = plan->node->op;
    for (uint32_t i = 0; is_edge(op->role) && i < op->param_count; i++) {
        const struct pst_build_param *p = &plan->node->params[i];
        if (op->params[i].kind == PST_PARAM_TEXT && strcmp(op->params[i].name, "file") == 0 && p->text[0] != '\0')
            plan->made->file = p->text;
    }
}

static void param_text(struct pst_text *text, const struct pst_build_param *p)
{
    (void)pst_text_printf(text, "%s=", p->param->name);
    switch (p->param->kind) {
    case PST_PARAM_INT:
        (void)pst_text_printf(text, "%lld", (long long)p->number);
        break;
    case PST_PARAM_TEXT:
        (void)pst_text_printf(text, "%s", p->text);
        break;
    case PST_PARAM_INTS:
    case PST_PARAM_TEXTS:
        for (uint32_t i = 0; i < p->count; i++) {
            if (p->param->kind == PST_PARAM_INTS)
                (void)pst_text_printf(text, "%s%lld", i == 0 ? "" : ",", (long long)p->numbers[i]);
            else
                (void)pst_text_printf(text, "%s%s", i == 0 ? "" : ",", p->texts[i]);
        }
        break;
    }
    (void)pst_text_printf(text, ";");
}

/* What an operator's state may depend on, for whoever has stored some of it. */
static void made_params(struct pst_plan *plan)
{
    struct pst_text text = {0};
    for (uint32_t i = 0; i < plan->node->op->param_count; i++)
        param_text(&text, &plan->node->params[i]);
    const struct pst_yaml *field = plan->made->lead_count != 0 ? plan->node->bucket_by_value->first : NULL;
    for (; field != NULL; field = field->next) /* what lies in which bucket hangs on it */
        (void)pst_text_printf(&text, "bucket_by=%s;", field->text);
    plan->made->params = pst_build_printf(plan->b, "%s", text.bytes != NULL ? text.bytes : "");
    if (text.failed)
        plan->b->rc = PST_ENOMEM;
    pst_text_fini(&text);
}

/* What plan() must have said, now that it has returned well. */
static void promises_check(struct pst_plan *plan)
{
    const struct pst_graph_node *made = plan->made;
    for (uint32_t i = 0; i < made->output_count && !plan->failed; i++) {
        uint32_t count = made->outputs[i].schema.field_count;
        uint64_t all = count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
        if (count == 0)
            author_error(plan, "plan() does not declare each of its outputs");
        else if (made->op->role == PST_ROLE_STATELESS && plan->mapped[i] != all)
            author_error(plan, "plan() does not map each field of its output");
        else if (made->op->role == PST_ROLE_SOURCE && made->outputs[i].schema.time_field < 0)
            author_error(plan, "a source must name the field that is its event time");
    }
}

static void used_keep(struct pst_plan *plan)
{
    for (uint32_t i = 0; i < plan->made->input_count; i++) {
        uint32_t count = plan->used_count[i];
        uint32_t *used = pst_build_alloc(plan->b, count * sizeof *used);
        if (used == NULL)
            return;
        memcpy(used, plan->used[i], count * sizeof *used);
        plan->made->inputs[i].used = used;
        plan->made->inputs[i].used_count = count;
    }
}

/* Its key is checked although plan() fails, and the other way round: every error at once. */
static void node_plan(struct pst_build *b, struct pst_build_node *node)
{
    struct pst_plan plan = {.b = b, .node = node, .made = &b->graph->nodes[node->position]};
    pst_plan_host_fill(&plan.host);
    plan.head.host = &plan.host;
    if (!made_init(&plan))
        return;
    plan.key_fine = key_resolve(&plan);
    uint32_t reported = pst_build_error_count(b);
    int rc = b->rc == PST_OK ? node->op->plan(&plan) : b->rc;
    if (rc == PST_ENOMEM)
        b->rc = rc;
    if (b->rc != PST_OK)
        return;
    if (rc == PST_OK)
        promises_check(&plan);
    else if (!plan.failed && pst_build_error_count(b) == reported)
        pst_build_error(b, &node->id_value->place, NULL, "operator `%s` (%s) refuses its configuration: %s", node->id,
                        node->op->name, pst_error_sentence(rc));
    node->planned = rc == PST_OK && !plan.failed && plan.key_fine;
    if (!node->planned)
        return;
    const char *fault = node->enclave ? pst_enclave_fault(plan.made) : NULL;
    if (fault != NULL)
        pst_build_error(b, &node->enclave_value->place, "take it out",
                        "operator `%s` (%s) cannot run in an enclave: %s", node->id, node->op->name, fault);
    used_keep(&plan);
    made_file(&plan);
    made_params(&plan);
}

void pst_build_plan(struct pst_build *b)
{
    b->graph->nodes = pst_build_alloc(b, (b->node_count + 1) * sizeof *b->graph->nodes);
    for (uint32_t i = 0; i < b->topological_count && b->rc == PST_OK; i++) {
        struct pst_build_node *node = &b->nodes[b->topological[i]];
        bool ready = !node->broken;
        for (uint32_t k = 0; k < node->input_count; k++) {
            const struct pst_build_input *input = &node->inputs[k];
            ready &= input->output >= 0 && b->nodes[input->producer].planned;
        }
        if (ready)
            node_plan(b, node);
    }
}

/* ---- what needs the whole graph ---- */
static void consumers_fill(struct pst_build *b)
{
    struct pst_graph *graph = b->graph;
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++)
            graph->nodes[graph->nodes[n].inputs[i].producer]
                .outputs[graph->nodes[n].inputs[i].producer_output]
                .consumer_count++;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].output_count; i++) {
            struct pst_graph_output *output = &graph->nodes[n].outputs[i];
            output->consumers = pst_build_alloc(b, output->consumer_count * sizeof *output->consumers);
            if (output->consumers == NULL)
                return;
            output->consumer_count = 0;
        }
    }
    for (uint32_t n = 0; n < graph->node_count; n++) {
        for (uint32_t i = 0; i < graph->nodes[n].input_count; i++) {
            const struct pst_graph_input *input = &graph->nodes[n].inputs[i];
            struct pst_graph_output *output = &graph->nodes[input->producer].outputs[input->producer_output];
            ((struct pst_graph_consumer *)output->consumers)[output->consumer_count++] =
                (struct pst_graph_consumer){n, i};
        }
    }
}

static void input_want(struct pst_graph *graph, const struct pst_graph_node *node, const struct pst_graph_input *input)
{
    bool *wanted = (bool *)graph->nodes[input->producer].outputs[input->producer_output].wanted;
    for (uint32_t i = 0; i < input->used_count; i++)
        wanted[input->used[i]] = true;
    for (uint32_t i = 0; i < node->key_count && input->key != NULL; i++)
        wanted[input->key[i]] = true;
    if (node->op->role != PST_ROLE_STATELESS)
        return;
    for (uint32_t o = 0; o < node->output_count; o++)
        for (uint32_t f = 0; f < node->outputs[o].schema.field_count; f++)
            if (node->outputs[o].wanted[f])
                wanted[node->outputs[o].map[f]] = true;
}

/* From the last node to the first: when a node is reached, everybody who reads it has said what is wanted. */
static void wanted_fill(struct pst_graph *graph)
{
    for (uint32_t n = graph->node_count; n-- > 0;) {
        const struct pst_graph_node *node = &graph->nodes[n];
        for (uint32_t i = 0; i < node->input_count; i++)
            input_want(graph, node, &node->inputs[i]);
    }
    const struct pst_graph_output *rows = &graph->nodes[graph->source].outputs[0];
    ((bool *)rows->wanted)[rows->schema.time_field] = true;
}

static void hosts_fill(struct pst_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct pst_graph_node *node = &graph->nodes[n];
        node->host = n;
        if (node->op->role != PST_ROLE_STATELESS)
            continue;
        node->host = graph->nodes[node->inputs[0].producer].host;
        node->partition_count = graph->nodes[node->host].partition_count;
        node->bucket_count = graph->nodes[node->host].bucket_count;
    }
}

/* ---- stateless operators in enclaves ---- */
/* Its own fields first, so that plan()'s numbers of columns stay, then each that it passes on and somebody wants. The worker's plan does the
 * same (enclave_shim/inside/plan.c). */
static int enclosed_use(struct pst_graph *graph, struct pst_graph_node *node)
{
    struct pst_graph_input *input = &node->inputs[0];
    uint32_t *used = pst_arena_alloc(&graph->arena, PST_FIELDS_MAX * sizeof *used), count = input->used_count;
    if (used == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        used[i] = input->used[i];
    for (uint32_t o = 0; o < node->output_count; o++) {
        const struct pst_graph_output *output = &node->outputs[o];
        for (uint32_t f = 0; f < output->schema.field_count; f++) {
            uint32_t i = 0;
            while (i < count && used[i] != output->map[f])
                i++;
            if (!output->wanted[f] || i < count)
                continue;
            used[count++] = output->map[f];
        }
    }
    input->used = used;
    input->used_count = count;
    return PST_OK;
}

/* In total order, so that what it lets through has the event time and the place that it came with. */
static int enclosed_make(struct pst_graph *graph, struct pst_graph_node *node)
{
    struct pst_operator *op = pst_arena_alloc(&graph->arena, sizeof *op);
    int rc = op != NULL ? enclosed_use(graph, node) : PST_ENOMEM;
    if (rc != PST_OK)
        return rc;
    *op = *node->op;
    op->role = PST_ROLE_PLAIN;
    node->op = op;
    node->order = PST_ORDER_TOTAL;
    node->epoch = 1;
    node->partition_count = node->bucket_count = 1;
    return PST_OK;
}

int pst_graph_enclose(struct pst_graph *graph)
{
    int rc = PST_OK;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++)
        if (graph->nodes[n].enclave && graph->nodes[n].op->role == PST_ROLE_STATELESS)
            rc = enclosed_make(graph, &graph->nodes[n]);
    hosts_fill(graph);
    return rc;
}

void pst_build_finish(struct pst_build *b)
{
    struct pst_graph *graph = b->graph;
    PST_ASSERT(b->topological_count == b->node_count && b->node_count != 0);
    for (uint32_t i = 0; i < b->node_count; i++)
        PST_ASSERT(b->nodes[i].planned);
    graph->node_count = b->node_count;
    graph->source = 0; /* every other one waits for an input */
    PST_ASSERT(graph->nodes[graph->source].op->role == PST_ROLE_SOURCE);
    consumers_fill(b);
    if (b->rc != PST_OK)
        return;
    wanted_fill(graph);
    b->rc = pst_graph_enclose(graph);
}
