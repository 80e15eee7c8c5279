/* plan.c - the plan side of struct pst_host in a worker: the same call of plan() as the host has made, on what the configuration says.
 * What comes out must be what the host's came to: the configuration says that, too. */
#include "enclave_shim/inside/inside.h"

#include <stdio.h>
#include <string.h>

struct pst_plan {
    struct pst_plan_head head;
    struct pst_host host;
    const struct pst_enclave_operator *config;
    struct pst_arena *arena;
    uint32_t used_count[PST_INPUTS_MAX];
    uint32_t used[PST_INPUTS_MAX][PST_FIELDS_MAX];
    uint32_t outputs_said; /* bit o */
    void *user;
    bool differs, no_memory, total;
    bool stateless;                   /* it names fields of its output by those of its input, and passes rows on */
    uint64_t mapped[PST_OUTPUTS_MAX]; /* bit f: plan_map() was called for field f */
    uint32_t map[PST_OUTPUTS_MAX][PST_FIELDS_MAX];
};

static const struct pst_enclave_param *param_find(struct pst_plan *plan, const char *name, pst_param_kind kind)
{
    static const struct pst_enclave_param nothing = {.text = ""};
    for (uint32_t i = 0; i < plan->config->param_count; i++) {
        const struct pst_enclave_param *param = &plan->config->params[i];
        if (strcmp(param->name, name) == 0 && (kind == 0 || param->kind == kind))
            return param;
    }
    plan->differs = true;
    return &nothing;
}

static int64_t host_int(struct pst_plan *plan, const char *param)
{
    return param_find(plan, param, PST_PARAM_INT)->number;
}

static const int64_t *host_ints(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct pst_enclave_param *p = param_find(plan, param, PST_PARAM_INTS);
    *ret_count = p->count;
    return p->numbers;
}

static const char *host_text(struct pst_plan *plan, const char *param)
{
    return param_find(plan, param, PST_PARAM_TEXT)->text;
}

static const char *const *host_texts(struct pst_plan *plan, const char *param, uint32_t *ret_count)
{
    const struct pst_enclave_param *p = param_find(plan, param, PST_PARAM_TEXTS);
    *ret_count = p->count;
    return p->texts;
}

static bool host_given(struct pst_plan *plan, const char *param) { return param_find(plan, param, 0)->given; }

static const struct pst_schema *host_input(struct pst_plan *plan, uint32_t input)
{
    static const struct pst_schema nothing = {.time_field = -1};
    plan->differs |= input >= plan->config->input_count;
    return input < plan->config->input_count ? &plan->config->inputs[input].schema : &nothing;
}

/* The place of field f among those that are used. */
static uint32_t field_use(struct pst_plan *plan, uint32_t input, uint32_t f)
{
    uint32_t *used = plan->used[input], i = 0;
    while (i < plan->used_count[input] && used[i] != f)
        i++;
    used[i] = f;
    plan->used_count[input] += i == plan->used_count[input];
    return i;
}

static int host_use(struct pst_plan *plan, uint32_t input, const char *field, const char *param, uint32_t index)
{
    (void)param, (void)index;
    const struct pst_schema *schema = host_input(plan, input);
    for (uint32_t f = 0; f < schema->field_count; f++)
        if (strcmp(schema->fields[f].name, field) == 0)
            return (int)field_use(plan, input, f);
    plan->differs = true;
    return PST_EGRAPH;
}

static int host_output(struct pst_plan *plan, uint32_t output, const struct pst_field *fields, uint32_t field_count,
                       int32_t time_field)
{
    bool same = output < plan->config->output_count;
    const struct pst_schema *schema = same ? &plan->config->outputs[output].schema : NULL;
    same = same && schema->field_count == field_count && schema->time_field == time_field;
    for (uint32_t f = 0; same && f < field_count; f++)
        same = strcmp(schema->fields[f].name, fields[f].name) == 0 && schema->fields[f].type == fields[f].type &&
               schema->fields[f].scale == fields[f].scale;
    plan->differs |= !same;
    plan->outputs_said |= output < PST_OUTPUTS_MAX ? UINT32_C(1) << output : 0;
    return same ? PST_OK : PST_EINVAL;
}

static int host_map(struct pst_plan *plan, uint32_t output, uint32_t output_field, uint32_t input_field)
{
    const struct pst_enclave_operator *config = plan->config;
    bool fits = plan->stateless && output < config->output_count &&
                output_field < config->outputs[output].schema.field_count &&
                input_field < config->inputs[0].schema.field_count;
    if (fits) {
        const struct pst_field *to = &config->outputs[output].schema.fields[output_field],
                               *from = &config->inputs[0].schema.fields[input_field];
        fits = to->type == from->type && to->scale == from->scale;
        plan->map[output][output_field] = input_field;
        plan->mapped[output] |= UINT64_C(1) << output_field;
    }
    plan->differs |= !fits;
    return fits ? PST_OK : PST_EINVAL;
}

static void host_order(struct pst_plan *plan, pst_order order, int64_t epoch)
{
    plan->total = order == PST_ORDER_TOTAL;
    plan->differs |= (!plan->total && order != PST_ORDER_EPOCH) || epoch != plan->config->epoch;
}

static void host_error(struct pst_plan *plan, const char *param, uint32_t index, const char *sentence)
{
    (void)param, (void)index, (void)sentence;
    plan->differs = true;
}

static void *host_alloc(struct pst_plan *plan, size_t bytes)
{
    void *memory = pst_arena_alloc(plan->arena, bytes);
    plan->no_memory |= memory == NULL;
    return memory;
}

static void host_set_user(struct pst_plan *plan, void *user) { plan->user = user; }

/* The host has looked at it, and what a worker plans must not depend on it. */
static const char *host_key(struct pst_plan *plan, uint32_t index)
{
    (void)plan;
    (void)index;
    return NULL;
}

void pst_inside_plan_host(struct pst_host *host)
{
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

static bool used_same(const struct pst_plan *plan)
{
    bool same = plan->outputs_said == (UINT32_C(1) << plan->config->output_count) - 1;
    for (uint32_t i = 0; same && i < plan->config->input_count; i++) {
        const struct pst_enclave_input *input = &plan->config->inputs[i];
        same = plan->used_count[i] == input->used_count &&
               memcmp(plan->used[i], input->used, input->used_count * sizeof *input->used) == 0;
    }
    return same;
}

/* What a stateless operator passes on is among what comes in, as the host has added it (pst_graph_enclose()). */
static void forward_plan(struct pst_plan *plan, struct pst_inside_forward *ret)
{
    for (uint32_t o = 0; o < plan->config->output_count; o++) {
        const struct pst_enclave_output *output = &plan->config->outputs[o];
        for (uint32_t f = 0; f < output->schema.field_count; f++) {
            plan->differs |= (plan->mapped[o] >> f & 1) == 0;
            if (output->wanted[f])
                ret->column[o][f] = (uint8_t)field_use(plan, 0, plan->map[o][f]);
        }
    }
}

int pst_inside_plan(const struct pst_operator *op, const struct pst_enclave_operator *config, struct pst_arena *arena,
                    const void **ret_planned, struct pst_inside_forward *ret_forward,
                    char ret_why[PST_SENTENCE_BYTES_MAX])
{
    struct pst_plan *plan = pst_calloc(1, sizeof *plan);
    if (plan == NULL)
        return PST_ENOMEM;
    plan->host = (struct pst_host){.abi = PST_OPERATOR_ABI, .struct_bytes = sizeof plan->host};
    pst_inside_plan_host(&plan->host);
    plan->head.host = &plan->host;
    plan->config = config;
    plan->arena = arena;
    plan->stateless = plan->total = op->role == PST_ROLE_STATELESS;
    bool fits = (op->role == PST_ROLE_PLAIN || (plan->stateless && op->input_count == 1)) &&
                op->input_count == config->input_count && op->output_count == config->output_count;
    int rc = fits ? op->plan(plan) : PST_EDATA;
    if (rc == PST_OK && plan->stateless)
        forward_plan(plan, ret_forward);
    if (plan->no_memory)
        rc = PST_ENOMEM;
    else if (rc != PST_OK || plan->differs || plan->total != config->total || !used_same(plan))
        rc = PST_EDATA;
    if (rc == PST_EDATA)
        (void)snprintf(ret_why, PST_SENTENCE_BYTES_MAX,
                       "the plan that the worker makes of the configuration is not the one that the host has made");
    *ret_planned = plan->user;
    pst_free(plan);
    return rc;
}
