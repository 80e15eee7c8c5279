/* sealed.c - see sealed.h. */
#include "engine/sealed.h"

#include <assert.h>
#include <string.h>

enum { READ_BYTES = 1 << 20 };

/* ---- edges ---- */

static bool on_users_side(const struct pst_graph *graph, uint32_t n) { return graph->nodes[n].host == graph->source; }

/* The operator that lies in the clear between the seals, if there is one. */
static int check(const struct pst_graph *graph, struct pst_text *why)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        if (node->op->role == PST_ROLE_STATELESS && !on_users_side(graph, n)) {
            (void)pst_text_printf(
                why,
                "operator `%s` (%s) cannot lie on the way of sealed rows: it runs beside `%s`, outside of "
                "its enclave; put it in front of it, or leave it out",
                node->id, node->op->name, graph->nodes[node->host].id);
            return PST_EGRAPH;
        }
        if (node->op->role == PST_ROLE_PLAIN && node->order == PST_ORDER_TOTAL) {
            (void)pst_text_printf(why,
                                  "operator `%s` (%s) takes its rows in total order, which rows that are sealed from "
                                  "end to end do not have: run it without --sealed",
                                  node->id, node->op->name);
            return PST_EGRAPH;
        }
        if (node->op->role != PST_ROLE_PLAIN || node->enclave)
            continue;
        const char *fault = pst_enclave_fault(node);
        (void)pst_text_printf(why, "operator `%s` (%s) lies on the way of sealed rows, and is not in an enclave: %s",
                              node->id, node->op->name,
                              fault != NULL ? fault : "say `enclave: true`, or `--enclave all`");
        return PST_EGRAPH;
    }
    return PST_OK;
}

static void parts_fill(const struct pst_graph *graph, const struct pst_graph_input *input, struct pst_sealed_edge *edge)
{
    const struct pst_schema *schema = &graph->nodes[input->producer].outputs[input->producer_output].schema;
    edge->part_bytes[edge->part_count++] = sizeof(int64_t);
    if (edge->keyed)
        edge->part_bytes[edge->part_count++] = sizeof(uint64_t);
    for (uint32_t c = 0; c < input->used_count; c++)
        edge->part_bytes[edge->part_count++] = pst_type_bytes(schema->fields[input->used[c]].type);
}

static int edge_fill(struct sealed_plan *plan, const struct pst_graph *graph, uint32_t n, uint32_t i)
{
    const struct pst_graph_node *node = &graph->nodes[n];
    const struct pst_graph_input *input = &node->inputs[i];
    struct sealed_edge *made = &plan->edges[plan->edge_count];
    *made = (struct sealed_edge){.producer = input->producer,
                                 .producer_output = input->producer_output,
                                 .from_user = on_users_side(graph, input->producer),
                                 .node = n,
                                 .input = i};
    made->edge.name = pst_arena_printf(&plan->arena, "%s.%u>%s.%u", graph->nodes[input->producer].id,
                                       input->producer_output, node->id, i);
    made->edge.number = plan->edge_count++;
    made->edge.producer_bucket_count = made->from_user ? 1 : graph->nodes[input->producer].bucket_count;
    made->edge.keyed = input->key != NULL;
    made->edge.bucket_count = input->key != NULL ? node->bucket_count : 1;
    parts_fill(graph, input, &made->edge);
    return made->edge.name != NULL ? PST_OK : PST_ENOMEM;
}

/* Which fields lie in a row is part of the name of what is sealed: the same keys never stand for two meanings of the same bytes. */
static int digest(struct sealed_plan *plan, const struct pst_graph *graph)
{
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "penstock sealed graph 1\n%s\n", graph->name);
    for (uint32_t e = 0; e < plan->edge_count; e++) {
        const struct sealed_edge *edge = &plan->edges[e];
        const struct pst_graph_input *input = &graph->nodes[edge->node].inputs[edge->input];
        const struct pst_schema *schema = &graph->nodes[edge->producer].outputs[edge->producer_output].schema;
        (void)pst_text_printf(&text, "%s %u %u", edge->edge.name, edge->edge.producer_bucket_count,
                              edge->edge.bucket_count);
        for (uint32_t k = 0; input->key != NULL && k < graph->nodes[edge->node].key_count; k++)
            (void)pst_text_printf(&text, " %s %s", k < graph->nodes[edge->node].lead_count ? "lead" : "key",
                                  schema->fields[input->key[k]].name);
        for (uint32_t c = 0; c < input->used_count; c++) {
            const struct pst_field *field = &schema->fields[input->used[c]];
            (void)pst_text_printf(&text, " %s:%u:%u", field->name, field->type, field->scale);
        }
        (void)pst_text_printf(&text, "\n");
    }
    int rc = text.failed ? PST_ENOMEM : pst_sealed_digest(text.bytes, text.count, plan->digest);
    pst_text_fini(&text);
    return rc;
}

int pst_sealed_plan_init(struct sealed_plan *plan, const struct pst_graph *graph, struct pst_text *why)
{
    uint32_t count = 0;
    *plan = (struct sealed_plan){0};
    pst_arena_init(&plan->arena);
    int rc = check(graph, why);
    for (uint32_t n = 0; n < graph->node_count; n++)
        count += graph->nodes[n].op->role == PST_ROLE_STATELESS ? 0 : graph->nodes[n].input_count;
    if (rc == PST_OK && count > PST_SEALED_EDGES_MAX) {
        (void)pst_text_printf(why, "the graph has %u edges, and %u can be sealed", count,
                              (unsigned)PST_SEALED_EDGES_MAX);
        rc = PST_EGRAPH;
    }
    if (rc == PST_OK)
        plan->edges = pst_arena_alloc(&plan->arena, (count + (size_t)1) * sizeof *plan->edges);
    if (rc == PST_OK && plan->edges == NULL)
        rc = PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++)
        for (uint32_t i = 0;
             graph->nodes[n].op->role != PST_ROLE_STATELESS && i < graph->nodes[n].input_count && rc == PST_OK; i++)
            rc = edge_fill(plan, graph, n, i);
    return rc == PST_OK ? digest(plan, graph) : rc;
}

void pst_sealed_plan_fini(struct sealed_plan *plan) { pst_arena_fini(&plan->arena); }

static void output_fill(const struct pst_graph *graph, const struct sealed_edge *edge,
                        struct pst_enclave_sealed_output *ret)
{
    const struct pst_graph_node *reader = &graph->nodes[edge->node];
    const struct pst_graph_input *input = &reader->inputs[edge->input];
    ret->name = edge->edge.name;
    ret->number = edge->edge.number;
    ret->output = edge->producer_output;
    ret->bucket_count = edge->edge.bucket_count;
    ret->used_count = input->used_count;
    if (input->used_count != 0)
        memcpy(ret->used, input->used, input->used_count * sizeof *input->used);
    if (input->key != NULL) {
        ret->key_count = reader->key_count;
        ret->lead_count = reader->lead_count;
        memcpy(ret->key, input->key, reader->key_count * sizeof *input->key);
    }
}

struct pst_enclave_sealing *pst_sealed_plan_of(struct sealed_plan *plan, const struct pst_graph *graph, uint32_t node)
{
    struct pst_enclave_sealing *made = pst_arena_alloc(&plan->arena, sizeof *made);
    if (made != NULL)
        made->edges = pst_arena_alloc(&plan->arena, (plan->edge_count + (size_t)1) * sizeof *made->edges);
    if (made == NULL || made->edges == NULL)
        return NULL;
    memcpy(made->graph, plan->digest, sizeof made->graph);
    for (uint32_t e = 0; e < plan->edge_count; e++) {
        const struct sealed_edge *edge = &plan->edges[e];
        if (edge->node == node)
            made->inputs[edge->input] =
                (struct pst_enclave_sealed_input){edge->edge.name, edge->edge.number, edge->edge.producer_bucket_count};
        else if (!edge->from_user && edge->producer == node)
            output_fill(graph, edge, &made->edges[made->edge_count++]);
    }
    return made;
}

/* ---- streams of capsules ---- */

int pst_capsules_open(struct pst_capsules *capsules, struct pst_world *world, const char *path)
{
    *capsules = (struct pst_capsules){.world = world};
    capsules->bytes = pst_malloc(READ_BYTES);
    if (capsules->bytes == NULL)
        return PST_ENOMEM;
    return world->file_open(world->self, path, PST_OPEN_READ, &capsules->file);
}

void pst_capsules_close(struct pst_capsules *capsules)
{
    if (capsules->file != NULL)
        (void)capsules->world->file_close(capsules->world->self, capsules->file);
    pst_free(capsules->bytes);
    *capsules = (struct pst_capsules){0};
}

int pst_capsules_next(struct pst_capsules *p, struct pst_capsule *ret_capsule, const uint8_t **ret_bytes)
{
    for (;;) {
        int rc = pst_capsule_read(p->bytes + p->at, p->count - p->at, ret_capsule);
        if (rc == PST_OK) {
            *ret_bytes = p->bytes + p->at;
            p->at += pst_capsule_bytes(ret_capsule);
            p->offset += pst_capsule_bytes(ret_capsule);
            return PST_OK;
        }
        if (rc != PST_EAGAIN)
            return rc;
        if (p->at_end)
            return p->at == p->count ? PST_ESTOPPED : PST_EDATA;
        memmove(p->bytes, p->bytes + p->at, p->count - p->at);
        p->count -= p->at;
        p->at = 0;
        int64_t count = p->world->file_read(p->world->self, p->file, p->bytes + p->count, READ_BYTES - p->count);
        if (count < 0)
            return (int)count;
        p->at_end = count == 0;
        p->count += (size_t)count;
    }
}
static_assert((int)READ_BYTES >= 2 * (int)PST_CAPSULE_BYTES_MAX, "a capsule fits");
