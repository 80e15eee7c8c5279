/* graph_wire.c - who reads from whom: `inputs:` resolved, outputs that nobody reads, cycles, the order of the
 * operators. */
#include "engine/graph_build.h"

#include <stdlib.h>
#include <string.h>

/* ---- names of operators and outputs ---- */
static int32_t node_find(const struct pst_build *b, const char *id, size_t id_bytes)
{
    for (uint32_t i = 0; i < b->node_count; i++)
        if (strlen(b->nodes[i].id) == id_bytes && memcmp(b->nodes[i].id, id, id_bytes) == 0)
            return (int32_t)i;
    return -1;
}

/* Every name that an input may bear: "id", and "id.output" where there are several. */
static const char **input_names(struct pst_build *b, uint32_t *ret_count)
{
    uint32_t capacity = 0, count = 0;
    for (uint32_t i = 0; i < b->node_count; i++)
        capacity += b->nodes[i].op != NULL ? b->nodes[i].op->output_count : 1;
    const char **names = pst_build_alloc(b, (capacity + 1) * sizeof *names);
    for (uint32_t i = 0; i < b->node_count && names != NULL; i++) {
        const struct pst_build_node *node = &b->nodes[i];
        uint32_t outputs = node->op != NULL ? node->op->output_count : 1;
        for (uint32_t k = 0; k < i;
             k++) /* one of two of that id is enough: that there are two is an error of its own */
            outputs = strcmp(b->nodes[k].id, node->id) == 0 ? 0 : outputs;
        for (uint32_t k = 0; k < outputs; k++)
            names[count++] = outputs > 1 ? pst_build_printf(b, "%s.%s", node->id, node->op->output_names[k]) : node->id;
    }
    *ret_count = count;
    return names;
}

static void input_unknown(struct pst_build *b, const struct pst_yaml *item)
{
    uint32_t count = 0;
    const char **names = b->d->item_count < PST_DIAGNOSTICS_MAX ? input_names(b, &count) : NULL;
    const char *hint = pst_build_suggest(b, item->text, names, count, "operators with an output are");
    pst_build_error(b, &item->place, hint, "no operator is called `%s`", pst_build_shown(b, item->text));
    /* What was probably meant has a reader after all: no second error for the same slip. */
    const char *meant = pst_nearest(item->text, names, count);
    int32_t producer = meant != NULL ? node_find(b, meant, strcspn(meant, ".")) : -1;
    if (producer >= 0)
        b->nodes[producer].outputs_read = UINT64_MAX;
    else
        b->readers_unknown = true;
}

/* ---- one input ---- */
static void output_not_chosen(struct pst_build *b, const struct pst_yaml *item, const struct pst_build_node *producer)
{
    const char *list = "";
    for (uint32_t i = 0; i < producer->op->output_count; i++)
        list =
            pst_build_printf(b, "%s%s`%s.%s`", list, i != 0 ? " or " : "", producer->id, producer->op->output_names[i]);
    pst_build_error(b, &item->place, pst_build_printf(b, "write %s", list), "`%s` has %u outputs, one must be chosen",
                    producer->id, producer->op->output_count);
}

static void output_unknown(struct pst_build *b, const struct pst_yaml *item, const struct pst_build_node *producer,
                           const char *name)
{
    const struct pst_operator *op = producer->op;
    const char *hint = pst_build_printf(b, "it has one: write `%s`", producer->id);
    if (op->output_names != NULL)
        hint = pst_build_suggest(b, name, op->output_names, op->output_count, "its outputs are");
    pst_build_error(b, &item->place, hint, "operator `%s` (%s) has no output `%s`", producer->id, op->name,
                    pst_build_shown(b, name));
}

/* The output that "id.name" or "id" means; -1: reported, or the producer's type is not known. */
static int32_t output_resolve(struct pst_build *b, const struct pst_yaml *item, struct pst_build_node *producer,
                              const char *name)
{
    const struct pst_operator *op = producer->op;
    if (op == NULL) {
        producer->outputs_read = UINT64_MAX;
        return -1;
    }
    if (op->output_count == 0) {
        pst_build_error(b, &item->place, NULL, "`%s` is a sink (%s): nothing can be read from it", producer->id,
                        op->name);
        return -1;
    }
    if (name == NULL && op->output_count == 1)
        return 0;
    producer->outputs_read = UINT64_MAX; /* whatever is wrong below: it is meant to be read */
    if (name == NULL) {
        output_not_chosen(b, item, producer);
        return -1;
    }
    for (uint32_t i = 0; op->output_names != NULL && i < op->output_count; i++)
        if (strcmp(op->output_names[i], name) == 0)
            return (int32_t)i;
    output_unknown(b, item, producer, name);
    return -1;
}

static bool input_resolve(struct pst_build *b, struct pst_build_input *input)
{
    const char *text = pst_build_text(b, input->item, "each item of `inputs`");
    if (text == NULL) {
        b->readers_unknown = true;
        return false;
    }
    size_t id_bytes = strcspn(text, ".");
    input->producer = node_find(b, text, id_bytes);
    if (input->producer < 0) {
        input_unknown(b, input->item);
        return false;
    }
    struct pst_build_node *producer = &b->nodes[input->producer];
    uint64_t read_before = producer->outputs_read;
    if (producer->op != NULL && producer->op->role == PST_ROLE_SINK)
        input->producer = -1; /* no rows come from there: it is no part of a cycle */
    input->output = output_resolve(b, input->item, producer, text[id_bytes] == '.' ? text + id_bytes + 1 : NULL);
    if (input->output < 0)
        return false;
    producer->outputs_read = read_before | UINT64_C(1) << input->output;
    return true;
}

/* ---- `inputs:` ---- */
static void inputs_count_check(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_operator *op = node->op;
    uint32_t given = node->inputs_value != NULL ? node->inputs_value->count : 0;
    if (op == NULL || given == op->input_count)
        return;
    node->broken = true;
    const struct pst_place *place = node->inputs_value != NULL ? &node->inputs_value->place : &node->id_value->place;
    if (op->role == PST_ROLE_SOURCE)
        pst_build_error(b, place, NULL, "`%s` is a source (%s) and takes no `inputs`", node->id, op->name);
    else if (node->inputs_value == NULL)
        pst_build_error(b, place, NULL, "operator `%s` (%s) has no `inputs`", node->id, op->name);
    else
        pst_build_error(b, place, NULL, "operator `%s` (%s) takes %u input%s, not %u", node->id, op->name,
                        op->input_count, op->input_count == 1 ? "" : "s", given);
}

static void node_inputs(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_yaml *list = node->inputs_value;
    if (list != NULL && !pst_build_list(b, list, "`inputs`")) {
        node->broken = true;
        b->readers_unknown = true;
        return;
    }
    if (node->op != NULL && node->op->role == PST_ROLE_SOURCE)
        list = NULL; /* counted below, and that is all there is to say */
    uint32_t count = list == NULL ? 0 : list->count < PST_INPUTS_MAX ? list->count : PST_INPUTS_MAX;
    node->inputs = pst_build_alloc(b, count * sizeof *node->inputs);
    if (node->inputs == NULL)
        return;
    node->input_count = count;
    uint32_t i = 0;
    for (const struct pst_yaml *item = list != NULL ? list->first : NULL; i < count; item = item->next, i++) {
        node->inputs[i] = (struct pst_build_input){.item = item, .producer = -1, .output = -1};
        node->broken |= !input_resolve(b, &node->inputs[i]);
    }
    inputs_count_check(b, node);
}

static void readers_check(struct pst_build *b)
{
    for (uint32_t i = 0; i < b->node_count && !b->readers_unknown; i++) {
        const struct pst_build_node *node = &b->nodes[i];
        if (node->op == NULL || node->op->output_count == 0 || node->outputs_read != 0)
            continue;
        pst_build_error(b, &node->id_value->place, "name it in the `inputs` of another operator, or take it out",
                        "nothing reads what `%s` puts out", node->id);
    }
}

static void sources_check(struct pst_build *b)
{
    const struct pst_build_node *source = NULL;
    bool unknown = false;
    for (uint32_t i = 0; i < b->node_count; i++) {
        const struct pst_build_node *node = &b->nodes[i];
        unknown |= node->op == NULL;
        if (node->op == NULL || node->op->role != PST_ROLE_SOURCE)
            continue;
        if (source != NULL)
            pst_build_error(
                b, &node->type_value->place,
                pst_build_printf(b, "the source is `%s`, line %u", source->id, source->id_value->place.line),
                "`%s` is a second source: a graph with several is not supported yet", node->id);
        else
            source = node;
    }
    if (source == NULL && !unknown && b->node_count != 0)
        pst_build_error(b, NULL, "begin with an operator that has no inputs, such as `type: csv_source`",
                        "the graph has no source");
}

/* ---- order and cycles ---- */
/* Kahn's algorithm; among the operators that are ready the first one in the file goes first. */
static bool order_make(struct pst_build *b)
{
    uint32_t *waits = pst_build_alloc(b, (b->node_count + 1) * sizeof *waits);
    b->topological = pst_build_alloc(b, (b->node_count + 1) * sizeof *b->topological);
    if (waits == NULL || b->topological == NULL)
        return false;
    for (uint32_t i = 0; i < b->node_count; i++) {
        b->nodes[i].position = UINT32_MAX;
        for (uint32_t k = 0; k < b->nodes[i].input_count; k++)
            waits[i] += b->nodes[i].inputs[k].producer >= 0;
    }
    for (bool found = true; found;) {
        found = false;
        for (uint32_t i = 0; i < b->node_count && !found; i++) {
            if (waits[i] != 0 || b->nodes[i].position != UINT32_MAX)
                continue;
            found = true;
            b->nodes[i].position = b->topological_count;
            b->topological[b->topological_count++] = i;
            for (uint32_t n = 0; n < b->node_count; n++)
                for (uint32_t k = 0; k < b->nodes[n].input_count; k++)
                    waits[n] -= b->nodes[n].inputs[k].producer == (int32_t)i;
        }
    }
    return true;
}

/* An operator that is left over reads from at least one other that is left over. */
static uint32_t left_over_producer(const struct pst_build *b, uint32_t index)
{
    const struct pst_build_node *node = &b->nodes[index];
    for (uint32_t k = 0; k < node->input_count; k++)
        if (node->inputs[k].producer >= 0 && b->nodes[node->inputs[k].producer].position == UINT32_MAX)
            return (uint32_t)node->inputs[k].producer;
    pst_assert_failed("a left over operator has a left over producer", __FILE__, __LINE__);
}

enum { CYCLE_NAMES_MAX = 12 };

/* Inputs lead backwards, so the names are collected first and told the other way round: the way of the rows. */
static void cycle_report(struct pst_build *b, uint32_t index)
{
    uint32_t names[CYCLE_NAMES_MAX], count = 0, length = 0, at = index;
    do {
        at = left_over_producer(b, at);
        if (count < CYCLE_NAMES_MAX)
            names[count++] = at;
        length++;
    } while (at != index);
    const char *path = "";
    while (count > 0 && length <= CYCLE_NAMES_MAX)
        path = pst_build_printf(b, "%s%s -> ", path, b->nodes[names[--count]].id);
    const struct pst_build_node *node = &b->nodes[index];
    const struct pst_place *place = node->inputs_value != NULL ? &node->inputs_value->place : &node->id_value->place;
    if (length > CYCLE_NAMES_MAX)
        pst_build_error(b, place, NULL, "%u operators form a cycle, `%s` is one of them", length, node->id);
    else
        pst_build_error(b, place, "rows cannot go round: one of these inputs must be another",
                        "the operators form a cycle: %s%s", path, node->id);
}

/* Walks back from each left over operator; a walk that meets itself has found a cycle, one that meets an older walk has
 * not. */
static void cycles_check(struct pst_build *b)
{
    uint32_t *walk = pst_build_alloc(b, (b->node_count + 1) * sizeof *walk);
    for (uint32_t i = 0; i < b->node_count && walk != NULL; i++) {
        uint32_t at = i;
        while (b->nodes[at].position == UINT32_MAX && walk[at] == 0) {
            walk[at] = i + 1;
            at = left_over_producer(b, at);
        }
        if (b->nodes[at].position != UINT32_MAX || walk[at] != i + 1)
            continue;
        uint32_t first = at; /* the cycle is told from its operator that stands first in the file */
        for (uint32_t next = left_over_producer(b, at); next != at; next = left_over_producer(b, next))
            first = next < first ? next : first;
        cycle_report(b, first);
    }
}

void pst_build_wire(struct pst_build *b)
{
    for (uint32_t i = 0; i < b->node_count && b->rc == PST_OK; i++)
        node_inputs(b, &b->nodes[i]);
    if (b->rc != PST_OK)
        return;
    sources_check(b);
    readers_check(b);
    if (order_make(b) && b->topological_count < b->node_count)
        cycles_check(b);
}
