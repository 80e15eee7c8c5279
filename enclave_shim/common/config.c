/* config.c - see config.h. The order of fields stands once, in the functions that end in `_walk`: one pass writes, the other reads. */
#include "enclave_shim/common/config.h"

#include "enclave_shim/sealed.h"

#include <string.h>

#define CONFIG_MAGIC UINT32_C(0x43545350) /* "PSTC" */
enum { CONFIG_VERSION = 4, NAME_BYTES_MAX = 4096 };

struct walk {
    struct pst_text *text; /* writing; NULL: reading */
    const uint8_t *at, *end;
    struct pst_arena *arena;
    int rc;
};

static void bytes_walk(struct walk *w, void *value, size_t byte_count)
{
    if (w->rc != PST_OK)
        return;
    if (w->text != NULL) {
        w->rc = pst_text_add(w->text, value, byte_count);
    } else if ((size_t)(w->end - w->at) < byte_count) {
        w->rc = PST_EDATA;
    } else {
        memcpy(value, w->at, byte_count);
        w->at += byte_count;
    }
}

static void u32_walk(struct walk *w, uint32_t *value, uint32_t max)
{
    bytes_walk(w, value, sizeof *value);
    if (w->rc == PST_OK && *value > max)
        w->rc = w->text != NULL ? PST_EGRAPH : PST_EDATA;
    if (w->rc != PST_OK && w->text == NULL)
        *value = 0;
}

static void i64_walk(struct walk *w, int64_t *value) { bytes_walk(w, value, sizeof *value); }

static void bool_walk(struct walk *w, bool *value)
{
    uint32_t number = *value;
    u32_walk(w, &number, 1);
    if (w->text == NULL)
        *value = number != 0;
}

static void text_walk(struct walk *w, const char **value)
{
    uint32_t count = w->text != NULL && *value != NULL ? (uint32_t)strlen(*value) : 0;
    u32_walk(w, &count, NAME_BYTES_MAX);
    if (w->rc != PST_OK)
        return;
    if (w->text != NULL) {
        bytes_walk(w, (void *)(uintptr_t)*value, count);
        return;
    }
    if ((size_t)(w->end - w->at) < count || memchr(w->at, '\0', count) != NULL) {
        w->rc = PST_EDATA;
        return;
    }
    char *copy = pst_arena_alloc(w->arena, (size_t)count + 1);
    if (copy == NULL) {
        w->rc = PST_ENOMEM;
        return;
    }
    bytes_walk(w, copy, count);
    *value = copy;
}

/* Room for `count` items of a list that is read. An item has at least 4 bytes, so a count that lies ends before much is taken. */
static void *list_room(struct walk *w, uint32_t count, size_t item_bytes)
{
    if (w->rc == PST_OK && (size_t)(w->end - w->at) / 4 < count)
        w->rc = PST_EDATA;
    void *list = w->rc == PST_OK ? pst_arena_alloc(w->arena, count * item_bytes + 1) : NULL;
    if (w->rc == PST_OK && list == NULL)
        w->rc = PST_ENOMEM;
    return list;
}

static void schema_walk(struct walk *w, struct pst_schema *schema)
{
    u32_walk(w, &schema->field_count, PST_FIELDS_MAX);
    uint32_t time = (uint32_t)schema->time_field + 1; /* 0: none */
    u32_walk(w, &time, schema->field_count);
    if (w->text == NULL)
        schema->time_field = (int32_t)time - 1;
    struct pst_field *fields = (struct pst_field *)(uintptr_t)schema->fields;
    if (w->text == NULL)
        schema->fields = fields = list_room(w, schema->field_count, sizeof *fields);
    for (uint32_t f = 0; f < schema->field_count && w->rc == PST_OK; f++) {
        uint32_t type = fields[f].type, scale = fields[f].scale;
        text_walk(w, &fields[f].name);
        u32_walk(w, &type, PST_TEXT);
        u32_walk(w, &scale, 9);
        if (w->rc != PST_OK || w->text != NULL)
            continue;
        fields[f].type = (pst_type)type;
        fields[f].scale = (uint8_t)scale;
        if (type < PST_U32 || fields[f].name[0] == '\0')
            w->rc = PST_EDATA;
    }
}

static void param_walk(struct walk *w, struct pst_enclave_param *param)
{
    uint32_t kind = param->kind;
    text_walk(w, &param->name);
    u32_walk(w, &kind, PST_PARAM_TEXTS);
    if (w->text == NULL)
        param->kind = (pst_param_kind)kind;
    bool_walk(w, &param->given);
    i64_walk(w, &param->number);
    text_walk(w, &param->text);
    u32_walk(w, &param->count, PST_CONFIG_ITEMS_MAX);
    if (w->rc == PST_OK && kind == PST_PARAM_INTS) {
        int64_t *numbers = (int64_t *)(uintptr_t)param->numbers;
        if (w->text == NULL)
            param->numbers = numbers = list_room(w, param->count, sizeof *numbers);
        for (uint32_t i = 0; i < param->count && w->rc == PST_OK; i++)
            i64_walk(w, &numbers[i]);
    } else if (w->rc == PST_OK && kind == PST_PARAM_TEXTS) {
        const char **texts = (const char **)(uintptr_t)param->texts;
        if (w->text == NULL)
            param->texts = texts = list_room(w, param->count, sizeof *texts);
        for (uint32_t i = 0; i < param->count && w->rc == PST_OK; i++)
            text_walk(w, &texts[i]);
    } else if (w->rc == PST_OK && (param->count != 0 || kind < PST_PARAM_INT)) {
        w->rc = w->text != NULL ? PST_EGRAPH : PST_EDATA;
    }
}

static void input_walk(struct walk *w, struct pst_enclave_input *input)
{
    schema_walk(w, &input->schema);
    bool_walk(w, &input->broadcast);
    bool_walk(w, &input->keyed);
    u32_walk(w, &input->used_count, input->schema.field_count);
    for (uint32_t i = 0; i < input->used_count && w->rc == PST_OK; i++)
        u32_walk(w, &input->used[i], input->schema.field_count - 1);
}

static void output_walk(struct walk *w, struct pst_enclave_output *output)
{
    schema_walk(w, &output->schema);
    for (uint32_t i = 0; i < output->schema.field_count && w->rc == PST_OK; i++)
        bool_walk(w, &output->wanted[i]);
}

/* Who may vouch for a worker that buckets go to: a part of what is measured, for a host would name anybody. */
static void authority_walk(struct walk *w, struct pst_enclave_operator *op)
{
    bool there = op->authority != NULL;
    bool_walk(w, &there);
    if (!there || w->rc != PST_OK)
        return;
    if (w->text == NULL)
        op->authority = pst_arena_alloc(w->arena, PST_ENCLAVE_AUTHORITY_BYTES);
    if (op->authority == NULL)
        w->rc = PST_ENOMEM;
    else
        bytes_walk(w, (uint8_t *)(uintptr_t)op->authority, PST_ENCLAVE_AUTHORITY_BYTES);
}

/* ---- of rows that come and go sealed: a section of its own behind the others, there or not ---- */

static void sealed_output_walk(struct walk *w, struct pst_enclave_sealed_output *edge,
                               const struct pst_enclave_operator *op)
{
    if (op->output_count == 0)
        w->rc = w->text != NULL ? PST_EGRAPH : PST_EDATA;
    text_walk(w, &edge->name);
    u32_walk(w, &edge->number, PST_SEALED_EDGES_MAX - 1);
    u32_walk(w, &edge->output, op->output_count - 1);
    u32_walk(w, &edge->bucket_count, PST_BOOT_BUCKETS_MAX);
    u32_walk(w, &edge->key_count, PST_FIELDS_MAX);
    u32_walk(w, &edge->lead_count, edge->key_count);
    u32_walk(w, &edge->used_count, PST_FIELDS_MAX);
    uint32_t field_count = w->rc == PST_OK ? op->outputs[edge->output].schema.field_count : 0;
    for (uint32_t i = 0; i < edge->key_count && w->rc == PST_OK; i++)
        u32_walk(w, &edge->key[i], field_count - 1);
    for (uint32_t i = 0; i < edge->used_count && w->rc == PST_OK; i++)
        u32_walk(w, &edge->used[i], field_count - 1);
    if (w->rc == PST_OK && field_count == 0 && edge->key_count + edge->used_count != 0)
        w->rc = PST_EDATA;
}

static void sealing_walk(struct walk *w, struct pst_enclave_operator *op)
{
    struct pst_enclave_sealing *sealing = op->sealing;
    if (w->text == NULL)
        op->sealing = sealing = pst_arena_alloc(w->arena, sizeof *sealing);
    if (sealing == NULL) {
        w->rc = PST_ENOMEM;
        return;
    }
    bytes_walk(w, sealing->graph, sizeof sealing->graph);
    for (uint32_t i = 0; i < op->input_count && w->rc == PST_OK; i++) {
        text_walk(w, &sealing->inputs[i].name);
        u32_walk(w, &sealing->inputs[i].number, PST_SEALED_EDGES_MAX - 1);
        u32_walk(w, &sealing->inputs[i].producer_bucket_count, PST_BOOT_BUCKETS_MAX);
    }
    u32_walk(w, &sealing->edge_count, PST_SEALED_EDGES_MAX);
    if (w->text == NULL)
        sealing->edges = list_room(w, sealing->edge_count, sizeof *sealing->edges);
    for (uint32_t i = 0; i < sealing->edge_count && w->rc == PST_OK; i++)
        sealed_output_walk(w, &sealing->edges[i], op);
}

static void operator_walk(struct walk *w, struct pst_enclave_operator *op)
{
    uint32_t magic = CONFIG_MAGIC, version = CONFIG_VERSION;
    u32_walk(w, &magic, UINT32_MAX);
    u32_walk(w, &version, UINT32_MAX);
    if (w->rc == PST_OK && (magic != CONFIG_MAGIC || version != CONFIG_VERSION))
        w->rc = PST_EDATA;
    text_walk(w, &op->type);
    text_walk(w, &op->id);
    u32_walk(w, &op->bucket_count, PST_BOOT_BUCKETS_MAX);
    i64_walk(w, &op->epoch);
    bool_walk(w, &op->total);
    u32_walk(w, &op->param_count, PST_CONFIG_ITEMS_MAX);
    u32_walk(w, &op->input_count, PST_INPUTS_MAX);
    u32_walk(w, &op->output_count, PST_OUTPUTS_MAX);
    if (w->text == NULL)
        op->params = list_room(w, op->param_count, sizeof *op->params);
    for (uint32_t i = 0; i < op->param_count && w->rc == PST_OK; i++)
        param_walk(w, &op->params[i]);
    for (uint32_t i = 0; i < op->input_count && w->rc == PST_OK; i++)
        input_walk(w, &op->inputs[i]);
    for (uint32_t i = 0; i < op->output_count && w->rc == PST_OK; i++)
        output_walk(w, &op->outputs[i]);
    authority_walk(w, op);
    if (w->rc == PST_OK && (w->text != NULL ? op->sealing != NULL : w->at != w->end))
        sealing_walk(w, op);
}

int pst_config_encode(const struct pst_enclave_operator *operator, struct pst_text * text)
{
    struct pst_enclave_operator copy = *operator;
    struct walk walk = {.text = text};
    operator_walk(&walk, &copy);
    return walk.rc == PST_OK && text->count > PST_CONFIG_BYTES_MAX ? PST_EGRAPH : walk.rc;
}

int pst_config_decode(const void *bytes, size_t byte_count, struct pst_arena *arena, struct pst_enclave_operator *ret)
{
    struct walk walk = {.at = bytes, .end = (const uint8_t *)bytes + byte_count, .arena = arena};
    *ret = (struct pst_enclave_operator){0};
    operator_walk(&walk, ret);
    bool power = ret->bucket_count != 0 && (ret->bucket_count & (ret->bucket_count - 1)) == 0;
    if (walk.rc == PST_OK && (walk.at != walk.end || !power || ret->epoch < 1 || ret->input_count == 0 ||
                              (ret->total && ret->sealing != NULL)))
        walk.rc = PST_EDATA;
    return walk.rc;
}

void pst_config_shapes(const struct pst_enclave_operator *operator, struct pst_shape inputs[PST_INPUTS_MAX],
                       struct pst_shape outputs[PST_OUTPUTS_MAX])
{
    for (uint32_t i = 0; i < operator->input_count; i++) {
        const struct pst_enclave_input *input = &operator->inputs[i];
        inputs[i] = (struct pst_shape){0};
        pst_shape_add(&inputs[i], sizeof(int64_t));
        if (input->keyed)
            pst_shape_add(&inputs[i], sizeof(uint64_t));
        for (uint32_t c = 0; c < input->used_count; c++)
            pst_shape_add(&inputs[i], pst_type_bytes(input->schema.fields[input->used[c]].type));
    }
    for (uint32_t o = 0; o < operator->output_count; o++) {
        const struct pst_enclave_output *output = &operator->outputs[o];
        outputs[o] = (struct pst_shape){0};
        pst_shape_add(&outputs[o], sizeof(uint32_t));
        for (uint32_t f = 0; f < output->schema.field_count; f++)
            if (output->wanted[f])
                pst_shape_add(&outputs[o], pst_type_bytes(output->schema.fields[f].type));
    }
}
