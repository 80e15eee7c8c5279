/* dealt.c - see loads.h: where the rows of each bucket come from. A node's workers count what their producers deal to each (runtime.h); the
 * node tells it, one edge after the other, as of the last half minute, so that a message which is lost, or a coordinator that is another one,
 * does no harm: the next one says all of it again. */
#include "engine/loads.h"

#include <string.h>

#define FADES_S 30.0 /* what was dealt so long ago counts for a third */

struct dealing {    /* of an edge: what this node has told */
    uint32_t *seen; /* by bucket: the workers' counts, as they were at the last look; NULL: it was never looked at */
    float *rows;    /* by bucket: of the last seconds */
    uint32_t along_seen;
    float along, over_ms;
    uint64_t looked_ns;
};
struct dealings {
    uint32_t next, count; /* edges; next: the one whose turn it is */
    struct dealing of[];
};

/* ---- a node's ---- */

void pst_dealings_free(struct dealings *dealings)
{
    for (uint32_t i = 0; dealings != NULL && i < dealings->count; i++) {
        pst_free(dealings->of[i].seen);
        pst_free(dealings->of[i].rows);
    }
    pst_free(dealings);
}

static bool is_counted(const struct run *run, const struct edge *edge)
{
    return run->worker_count != 0 && run->workers[0].dealt != NULL && run->workers[0].dealt[edge->index].rows != NULL;
}

/* The edge whose turn it is; NULL: there is none that has several buckets. */
static const struct edge *edge_next(const struct run *run, struct dealings *dealings)
{
    const struct edge *best = NULL;
    uint32_t best_wait = UINT32_MAX;
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t i = 0; i < run->graph->nodes[n].input_count; i++) {
            const struct edge *edge = &run->edges[n][i];
            uint32_t wait = (edge->index + dealings->count - dealings->next) % dealings->count;
            if (is_counted(run, edge) && wait < best_wait) {
                best = edge;
                best_wait = wait;
            }
        }
    if (best != NULL)
        dealings->next = (best->index + 1) % dealings->count;
    return best;
}

static bool dealing_room(struct dealing *dealing, uint32_t bucket_count)
{
    if (dealing->seen == NULL)
        dealing->seen = pst_calloc(bucket_count, sizeof *dealing->seen);
    if (dealing->rows == NULL)
        dealing->rows = pst_calloc(bucket_count, sizeof *dealing->rows);
    return dealing->seen != NULL && dealing->rows != NULL;
}

static void faded_add(float *figure, uint32_t *seen, uint32_t now, float keeps)
{
    *figure = *figure * keeps + (float)(now - *seen); /* counts go round */
    *seen = now;
}

static void dealing_look(const struct run *run, const struct edge *edge, struct dealing *dealing, uint64_t now_ns)
{
    uint64_t since_ns = dealing->looked_ns != 0 ? dealing->looked_ns : run->begun_ns;
    double seconds = now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 0;
    float keeps = (float)(FADES_S / (FADES_S + seconds));
    uint32_t along = 0;
    for (uint32_t b = 0; b <= edge->bucket_mask; b++) {
        uint32_t rows = 0;
        for (uint32_t w = 0; w < run->worker_count; w++)
            rows += atomic_load_explicit(&run->workers[w].dealt[edge->index].rows[b], memory_order_relaxed);
        faded_add(&dealing->rows[b], &dealing->seen[b], rows, keeps);
    }
    for (uint32_t w = 0; w < run->worker_count; w++)
        along += atomic_load_explicit(&run->workers[w].dealt[edge->index].along, memory_order_relaxed);
    faded_add(&dealing->along, &dealing->along_seen, along, keeps);
    dealing->over_ms = dealing->over_ms * keeps + (float)(seconds * 1e3);
    dealing->looked_ns = now_ns;
}

static void edge_tell(struct pst_node *node, struct hosted *hosted, const struct edge *edge, uint64_t now_ns)
{
    const struct run *run = &hosted->run;
    uint32_t rows[PST_BUCKETS_MAX];
    struct dealing *dealing = &hosted->dealings->of[edge->index];
    if (!dealing_room(dealing, edge->bucket_mask + 1))
        return; /* without memory it is not known this time */
    dealing_look(run, edge, dealing, now_ns);
    Pst__Beat beat = PST__BEAT__INIT;
    Pst__Dealt dealt = PST__DEALT__INIT, *list = &dealt;
    Pst__Control message = PST__CONTROL__INIT;
    for (uint32_t b = 0; b <= edge->bucket_mask; b++)
        rows[b] = (uint32_t)(dealing->rows[b] + 0.5F);
    dealt.operator_id = (char *)(uintptr_t)run->graph->nodes[edge->node].id;
    dealt.input = edge->input;
    dealt.rows = rows;
    dealt.n_rows = edge->bucket_mask + 1;
    dealt.along = (uint32_t)(dealing->along + 0.5F);
    dealt.over_ms = (uint32_t)(dealing->over_ms + 0.5F);
    beat.time_ns = now_ns;
    beat.dealt = &list;
    beat.n_dealt = 1;
    message.graph = hosted->graph_name;
    message.incarnation = hosted->incarnation;
    message.body_case = PST__CONTROL__BODY_BEAT;
    message.beat = &beat;
    pst_node_tell(node, &message);
}

void pst_dealt_tell(struct pst_node *node, struct hosted *hosted, bool several, uint64_t now_ns)
{
    const struct run *run = &hosted->run;
    const struct edge *first = NULL;
    uint32_t told = 0;
    if (hosted->dealings == NULL && run->edge_count != 0) {
        hosted->dealings = pst_calloc(1, sizeof *hosted->dealings + run->edge_count * sizeof hosted->dealings->of[0]);
        if (hosted->dealings != NULL)
            hosted->dealings->count = run->edge_count;
    }
    while (hosted->dealings != NULL && (told == 0 || (several && told < PST_BUCKETS_MAX))) {
        const struct edge *edge = edge_next(run, hosted->dealings);
        if (edge == NULL || edge == first)
            return;
        first = first != NULL ? first : edge;
        edge_tell(node, hosted, edge, now_ns);
        told += edge->bucket_mask + 1;
    }
}

/* ---- what the coordinator keeps ---- */

void pst_dealt_free(struct loads *loads)
{
    for (uint32_t i = 0; i < loads->dealt_count; i++)
        pst_free(loads->dealt[i].rows);
    pst_free(loads->dealt);
    loads->dealt = NULL;
    loads->dealt_count = loads->dealt_capacity = 0;
    loads->dealt_bytes = 0;
}

const struct dealt_told *pst_dealt_find(const struct loads *loads, uint32_t index, uint32_t operator_index,
                                        uint32_t input)
{
    for (uint32_t i = 0; i < loads->dealt_count; i++) {
        const struct dealt_told *told = &loads->dealt[i];
        if (told->node == index && told->operator_index == operator_index && told->input == input)
            return told;
    }
    return NULL;
}

void pst_dealt_forget(struct loads *loads, uint32_t index)
{
    for (uint32_t i = 0; i < loads->dealt_count; i++) {
        if (loads->dealt[i].node != index)
            continue;
        loads->dealt_bytes -= loads->dealt[i].bucket_count * sizeof *loads->dealt[i].rows;
        pst_free(loads->dealt[i].rows);
        loads->dealt[i--] = loads->dealt[--loads->dealt_count];
    }
}

/* NULL: there is no room; it is not kept. */
static struct dealt_told *told_new(struct loads *loads, const struct dealt_told *key)
{
    uint64_t bytes = key->bucket_count * sizeof *key->rows;
    if (loads->dealt_bytes + bytes > DEALT_BYTES_MAX)
        return NULL;
    if (loads->dealt_count == loads->dealt_capacity) {
        uint32_t capacity = loads->dealt_capacity == 0 ? 8 : 2 * loads->dealt_capacity;
        struct dealt_told *larger = pst_realloc(loads->dealt, capacity * sizeof *larger);
        if (larger == NULL)
            return NULL;
        loads->dealt = larger;
        loads->dealt_capacity = capacity;
    }
    struct dealt_told *told = &loads->dealt[loads->dealt_count];
    *told = *key;
    told->rows = pst_calloc(key->bucket_count, sizeof *told->rows);
    if (told->rows == NULL)
        return NULL;
    loads->dealt_bytes += bytes;
    loads->dealt_count++;
    return told;
}

static bool is_of(const struct pst_graph *graph, const Pst__Dealt *dealt, uint32_t n)
{
    return n < graph->node_count && dealt->input < graph->nodes[n].input_count &&
           graph->nodes[n].inputs[dealt->input].key != NULL && dealt->n_rows == graph->nodes[n].bucket_count;
}

void pst_dealt_take(struct graph_record *record, uint32_t index, const Pst__Dealt *dealt)
{
    struct loads *loads = &record->loads;
    uint32_t n = pst_graph_find(record->graph, dealt->operator_id);
    if (!is_of(record->graph, dealt, n))
        return;
    struct dealt_told *told = (struct dealt_told *)(uintptr_t)pst_dealt_find(loads, index, n, dealt->input);
    if (told == NULL)
        told = told_new(loads, &(struct dealt_told){.node = index,
                                                    .operator_index = n,
                                                    .input = dealt->input,
                                                    .bucket_count = record->graph->nodes[n].bucket_count});
    if (told == NULL)
        return;
    memcpy(told->rows, dealt->rows, dealt->n_rows * sizeof *told->rows);
    told->along = dealt->along;
    told->over_ms = dealt->over_ms;
    told->looks += told->looks < 2;
    told->all = 0;
    for (uint32_t b = 0; b < told->bucket_count; b++)
        told->all += told->rows[b];
}
