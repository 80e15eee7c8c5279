/* carry.c - see carry.h. */
#include "engine/carry.h"

#include "engine/enclave.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PLACE_FIRST (UINT64_C(1) << 48)
#define PLACE_MARK (UINT64_C(1) << 49)
enum { TIME_FIELD, PLACE_FIELD, WORDS_FIELD, CARRY_FIELDS = WORDS_FIELD + CARRY_WORDS };
enum { KEY_LOOK_NS = 100 * 1000 * 1000 };
#define TIME_BEGINS \
    (INT64_MIN / 2) /* of capsules before the first mark that says a time: below all times that there are */
static_assert((int)CARRY_FIELDS <= (int)PST_FIELDS_MAX, "a schema has room for a row");
static_assert((int)PST_SEALED_BUCKETS_MAX <= 1 << 16 && (int)PST_SEALED_EDGES_MAX <= 1 << 16,
              "a place has room for them");
static_assert((int)CARRY_ROWS_MAX <= (int)ROUTE_ROWS, "a capsule is routed at once");

/* ---- places ---- */

static uint64_t place_of(const struct pst_capsule *capsule, uint32_t producer)
{
    return (uint64_t)capsule->bucket | (uint64_t)producer << 16 | (uint64_t)capsule->edge << 32 |
           (capsule->kind == PST_CAPSULE_MARK ? PLACE_MARK : 0);
}

int pst_carry_place_read(uint64_t word, struct carry_place *ret)
{
    if ((word & ~(PLACE_FIRST | PLACE_MARK | UINT64_C(0xffffffffffff))) != 0)
        return PST_EDATA;
    *ret = (struct carry_place){.bucket = (uint32_t)(word & 0xffff),
                                .producer = (uint32_t)(word >> 16 & 0xffff),
                                .edge = (uint32_t)(word >> 32 & 0xffff),
                                .first = (word & PLACE_FIRST) != 0,
                                .mark = (word & PLACE_MARK) != 0};
    return ret->mark && ret->bucket != 0 ? PST_EDATA : PST_OK;
}

/* ---- the graph ---- */

#define WORD               \
    {                      \
        "word", PST_U64, 0 \
    }
#define WORDS_4 WORD, WORD, WORD, WORD
#define WORDS_16 WORDS_4, WORDS_4, WORDS_4, WORDS_4
static const struct pst_field fields[CARRY_FIELDS] = {{"time", PST_I64, 0}, {"place", PST_U64, 0}, WORDS_16, WORDS_16};
static const struct pst_schema schema = {.field_count = CARRY_FIELDS, .fields = fields, .time_field = TIME_FIELD};

static int source_open(struct pst_ctx *ctx);
static int source_block(struct pst_ctx *ctx, const struct pst_block *block);

/* What stands for an operator: as the graph names it, so that a checkpoint knows it again. */
static const struct pst_operator *operator_for(struct pst_graph *graph, const struct pst_operator *op, bool put_out)
{
    struct pst_operator *made = pst_arena_alloc(&graph->arena, sizeof *made);
    if (made == NULL)
        return NULL;
    *made = (struct pst_operator){.abi = PST_OPERATOR_ABI,
                                  .struct_bytes = sizeof *made,
                                  .name = op->name,
                                  .summary = op->summary,
                                  .role = op->role,
                                  .input_count = op->role == PST_ROLE_STATELESS ? 0 : op->input_count,
                                  .output_count = put_out};
    if (op->role == PST_ROLE_SOURCE) {
        made->open = source_open;
        made->on_block = source_block;
    } else if (op->role == PST_ROLE_SINK) {
        made->open = pst_carried_init;
    }
    return made;
}

static const uint32_t *used_all(struct pst_graph *graph)
{
    uint32_t *used = pst_arena_alloc(&graph->arena, CARRY_FIELDS * sizeof *used);
    for (uint32_t f = 0; used != NULL && f < CARRY_FIELDS; f++)
        used[f] = f;
    return used != NULL ? used + PLACE_FIELD : NULL; /* the time is the engine's own column */
}

static int output_make(struct pst_graph *graph, const struct sealed_plan *plan, uint32_t n, struct pst_graph_node *node)
{
    bool *wanted = pst_arena_alloc(&graph->arena, CARRY_FIELDS * sizeof *wanted);
    struct pst_graph_output *output = pst_arena_alloc(&graph->arena, sizeof *output);
    struct pst_graph_consumer *readers =
        pst_arena_alloc(&graph->arena, (plan->edge_count + (size_t)1) * sizeof *readers);
    if (wanted == NULL || output == NULL || readers == NULL)
        return PST_ENOMEM;
    memset(wanted, true, CARRY_FIELDS * sizeof *wanted);
    *output = (struct pst_graph_output){.schema = schema, .wanted = wanted, .consumers = readers};
    for (uint32_t e = 0; e < plan->edge_count; e++) {
        const struct sealed_edge *edge = &plan->edges[e];
        if (edge->from_user ? n == graph->source : edge->producer == n)
            readers[output->consumer_count++] = (struct pst_graph_consumer){edge->node, edge->input};
    }
    node->outputs = output;
    node->output_count = output->consumer_count != 0;
    return PST_OK;
}

static int inputs_make(struct pst_graph *graph, const struct sealed_plan *plan, uint32_t n, struct pst_graph_node *node)
{
    const uint32_t *used = used_all(graph);
    node->inputs = pst_arena_alloc(&graph->arena, (node->input_count + (size_t)1) * sizeof *node->inputs);
    if (used == NULL || node->inputs == NULL)
        return PST_ENOMEM;
    for (uint32_t e = 0; e < plan->edge_count; e++) {
        const struct sealed_edge *edge = &plan->edges[e];
        if (edge->node == n)
            node->inputs[edge->input] =
                (struct pst_graph_input){.producer = edge->from_user ? graph->source : edge->producer,
                                         .broadcast = true,
                                         .used_count = CARRY_FIELDS - PLACE_FIELD,
                                         .used = used};
    }
    return PST_OK;
}

static int node_carry(struct pst_graph *graph, const struct sealed_plan *plan, uint32_t n, struct pst_graph_node *node)
{
    const struct pst_graph_node *from = &graph->nodes[n];
    *node = *from;
    node->user = NULL;
    node->values = NULL;
    if (from->op->role == PST_ROLE_STATELESS)
        node->input_count = node->output_count = 0;
    int rc = output_make(graph, plan, n, node);
    if (rc == PST_OK)
        rc = inputs_make(graph, plan, n, node);
    if (from->op->role == PST_ROLE_SINK) {
        node->file = pst_arena_printf(&graph->arena, "%s.sealed", from->file != NULL ? from->file : from->id);
        rc = node->file != NULL ? rc : PST_ENOMEM;
    }
    node->op = operator_for(graph, from->op, node->output_count != 0);
    return node->op != NULL ? rc : PST_ENOMEM;
}

int pst_graph_carry(struct pst_graph *graph, struct pst_text *why)
{
    struct carry *carry = pst_arena_alloc(&graph->arena, sizeof *carry);
    struct pst_graph_node *nodes = pst_arena_alloc(&graph->arena, graph->node_count * sizeof *nodes);
    if (carry == NULL || nodes == NULL)
        return PST_ENOMEM;
    graph->carry = carry;
    carry->bare = *graph;
    int rc = pst_sealed_plan_init(&carry->plan, graph, why);
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++)
        rc = node_carry(graph, &carry->plan, n, &nodes[n]);
    if (rc == PST_OK)
        graph->nodes = nodes;
    return rc;
}

void pst_carry_free(struct carry *carry)
{
    if (carry != NULL)
        pst_sealed_plan_fini(&carry->plan);
}

/* ---- rows of a capsule ---- */

/* Into so many rows of columns, from row `at` on; returns how many. */
static uint32_t rows_fill(void *const *columns, uint32_t at, uint64_t place, int64_t time, const uint8_t *bytes,
                          size_t byte_count)
{
    uint32_t rows = (uint32_t)((byte_count + CARRY_ROW_BYTES - 1) / CARRY_ROW_BYTES);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t words[CARRY_WORDS] = {0};
        size_t from = (size_t)i * CARRY_ROW_BYTES;
        memcpy(words, bytes + from, byte_count - from < CARRY_ROW_BYTES ? byte_count - from : CARRY_ROW_BYTES);
        ((int64_t *)columns[TIME_FIELD])[at + i] = time;
        ((uint64_t *)columns[PLACE_FIELD])[at + i] = place | (i == 0 ? PLACE_FIRST : 0);
        for (uint32_t w = 0; w < CARRY_WORDS; w++)
            ((uint64_t *)columns[WORDS_FIELD + w])[at + i] = words[w];
    }
    return rows;
}

/* ---- the source ---- */

struct passed {                 /* of an edge that begins on the user's side */
    int64_t last, marked;       /* event time of its last capsule; of its last mark */
    uint64_t rows, rows_before; /* rows_before: of the blocks before this one */
    bool known, ended;
};
struct carry_source {
    struct passed *edges; /* by number */
    int64_t newest, cut;  /* cut: that was gone on from; INT64_MIN: none */
    uint64_t rows_resumed;
};

static int source_open(struct pst_ctx *ctx)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    struct carry_source *s = pst_arena_alloc(&ctx->arena, sizeof *s);
    if (s == NULL)
        return PST_ENOMEM;
    s->edges = pst_arena_alloc(&ctx->arena, (plan->edge_count + (size_t)1) * sizeof *s->edges);
    s->newest = s->cut = INT64_MIN;
    for (uint32_t e = 0; s->edges != NULL && e < plan->edge_count; e++)
        s->edges[e] = (struct passed){.last = TIME_BEGINS, .marked = INT64_MIN};
    ctx->user = s;
    return s->edges != NULL ? PST_OK : PST_ENOMEM;
}

/* That of the worker which reads. */
static struct carry_source *source_of(const struct run *run) { return run->partitions[run->graph->source][0]->user; }

static int input_bad(struct run *run, const char *what)
{
    pst_run_fail(run, PST_EDATA, "the input %s: %s", run->input.name, what);
    return PST_EDATA;
}

int pst_carry_whole(const char *bytes, size_t byte_count, size_t *ret_whole)
{
    struct pst_capsule capsule;
    int rc;
    *ret_whole = 0;
    while ((rc = pst_capsule_read(bytes + *ret_whole, byte_count - *ret_whole, &capsule)) == PST_OK)
        *ret_whole += pst_capsule_bytes(&capsule);
    return rc == PST_EAGAIN ? PST_OK : rc;
}

/* Its event time: of rows as it says, of a mark that of the mark before, so that it is behind no cut that its rows are in front of. Where
 * no mark before it is known, for the run goes on from a cut, it is the cut's: the worker leaves out what it has had. */
static int64_t time_of(struct pst_ctx *ctx, struct passed *p, const struct pst_capsule *capsule)
{
    struct carry_source *s = ctx->user;
    bool mark = capsule->kind == PST_CAPSULE_MARK;
    int64_t time = !mark                 ? capsule->time
                   : p->known            ? p->marked
                   : s->cut != INT64_MIN ? s->cut - 1 /* the mark before it lies below, so this one was delivered */
                                         : s->cut;
    if ((mark || !p->known) && capsule->time > p->marked)
        p->marked = capsule->time; /* rows say the mark before them */
    p->ended |= mark && (capsule->flags & PST_CAPSULE_ENDS) != 0;
    p->known = true;
    p->rows += capsule->row_count;
    pst_count(&ctx->gauge.rows_in, capsule->row_count);
    p->last = time > p->last ? time : p->last; /* a header may say anything, and a channel's time does not go back */
    s->newest = p->marked > s->newest ? p->marked : s->newest;
    if (p->last != TIME_BEGINS)
        s->newest = p->last > s->newest ? p->last : s->newest;
    return p->last;
}

static int source_end(struct pst_ctx *ctx)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    const struct carry_source *s = ctx->user;
    for (uint32_t e = 0; e < plan->edge_count; e++)
        if (plan->edges[e].from_user && !s->edges[e].ended)
            return input_bad(ctx->run, "it is not complete: the end of the sealed stream is missing");
    return pst_carry_watermark(ctx->run) != INT64_MIN ? PST_OK : input_bad(ctx->run, "it has no rows");
}

static int source_block(struct pst_ctx *ctx, const struct pst_block *block)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    struct carry_source *s = ctx->user;
    struct pst_capsule capsule;
    for (uint32_t e = 0; e < plan->edge_count; e++)
        s->edges[e].rows_before = s->edges[e].rows;
    for (size_t at = 0; at < block->text_bytes; at += pst_capsule_bytes(&capsule)) {
        if (pst_capsule_read(block->text + at, block->text_bytes - at, &capsule) != PST_OK)
            return input_bad(ctx->run, "it is cut, or no sealed stream: `penstock seal` makes one");
        if (capsule.edge >= plan->edge_count || !plan->edges[capsule.edge].from_user)
            return input_bad(ctx->run, "it was sealed for another graph");
        uint32_t rows = (uint32_t)((pst_capsule_bytes(&capsule) + CARRY_ROW_BYTES - 1) / CARRY_ROW_BYTES);
        struct pst_out *out = pst_source_reserve(ctx, rows);
        if (out == NULL)
            return PST_ENOMEM;
        int64_t time = time_of(ctx, &s->edges[capsule.edge], &capsule);
        rows = rows_fill(out->columns, out->row_count, place_of(&capsule, 0), time, (const uint8_t *)block->text + at,
                         pst_capsule_bytes(&capsule));
        for (uint32_t i = 0; i < rows; i++)
            out->bucket[out->row_count + i] = (uint32_t)at;
        out->row_count += rows;
    }
    return block->last ? source_end(ctx) : PST_OK;
}

int64_t pst_carry_newest(const struct run *run) { return source_of(run)->newest; }

int64_t pst_carry_watermark(const struct run *run)
{
    const struct sealed_plan *plan = &run->graph->carry->plan;
    const struct carry_source *s = source_of(run);
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool ended = true;
    for (uint32_t e = 0; e < plan->edge_count; e++) {
        if (!plan->edges[e].from_user)
            continue;
        int64_t one = s->edges[e].marked > s->cut ? s->edges[e].marked : s->cut;
        low = one < low ? one : low;
        high = one > high ? one : high;
        ended &= s->edges[e].ended;
    }
    return ended ? high : low;
}

static uint64_t rows_most(const struct run *run, bool before)
{
    const struct carry_source *s = source_of(run);
    uint64_t most = 0;
    for (uint32_t e = 0; e < run->graph->carry->plan.edge_count; e++) {
        uint64_t rows = before ? s->edges[e].rows_before : s->edges[e].rows;
        most = rows > most ? rows : most;
    }
    return s->rows_resumed + most;
}

uint64_t pst_carry_rows(const struct run *run) { return rows_most(run, false); }
uint64_t pst_carry_rows_before(const struct run *run) { return rows_most(run, true); }

void pst_carry_resume(struct run *run, int64_t cut, uint64_t rows)
{
    struct carry_source *s = source_of(run);
    s->cut = s->newest = cut;
    s->rows_resumed = rows;
}

/* ---- on the way ---- */

static const struct route *route_of(const struct pst_ctx *ctx, const struct sealed_edge *edge)
{
    const struct output *output = &ctx->outputs[0];
    for (uint32_t r = 0; r < output->route_count; r++)
        if (output->routes[r].edge->node == edge->node && output->routes[r].edge->input == edge->input)
            return &output->routes[r];
    return NULL;
}

/* A capsule, or a piece of one: rows from..from + n of a view, of one place. */
static int piece_route(struct pst_ctx *ctx, const struct view *view, const struct carry_place *place, uint32_t from,
                       uint32_t n)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    const struct sealed_edge *edge = place->edge < plan->edge_count ? &plan->edges[place->edge] : NULL;
    const struct route *route = edge != NULL ? route_of(ctx, edge) : NULL;
    uint32_t rows[ROUTE_ROWS];
    if (route == NULL || n > ROUTE_ROWS)
        return PST_EDATA;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = view->selection != NULL ? view->selection[from + i] : from + i;
    if (!place->mark && edge->edge.keyed)
        return place->bucket < edge->edge.bucket_count
                   ? pst_route_append(ctx, route, route->partition_of_bucket[place->bucket], view, rows, n)
                   : PST_EDATA;
    int rc = PST_OK;
    for (uint32_t t = 0; t < route->target_count && rc == PST_OK; t++)
        rc = route->targets[t] != NULL ? pst_route_append(ctx, route, t, view, rows, n) : PST_OK;
    return rc;
}

int pst_carry_deliver(struct pst_ctx *ctx, const struct view *view)
{
    const uint64_t *places = view->columns[PLACE_FIELD];
    int rc = PST_OK;
    for (uint32_t from = 0, end; from < view->row_count && rc == PST_OK; from = end) {
        struct carry_place place;
        uint64_t word = places[view->selection != NULL ? view->selection[from] : from];
        for (end = from + 1; end < view->row_count; end++)
            if (places[view->selection != NULL ? view->selection[end] : end] != (word & ~PLACE_FIRST))
                break;
        rc = pst_carry_place_read(word, &place);
        if (rc == PST_OK)
            rc = piece_route(ctx, view, &place, from, end - from);
    }
    return rc;
}

/* ---- a partition ---- */

struct gather { /* of one producer */
    struct carry_gather of;
    int64_t marked; /* of the last mark that was whole */
    bool ended;
};

struct kept { /* a piece of a checkpoint */
    struct kept *next;
    struct pst_enclave_piece piece;
    uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES];
    uint8_t sealed[];
};

struct carried {
    struct gather *gathers[PST_INPUTS_MAX];
    uint32_t gather_count[PST_INPUTS_MAX];
    /* of an operator, and of no sink */
    struct release_asker asker;
    bool asks_key, released;
    int key_error;          /* why it has none, or not what it had at a checkpoint; it stays. PST_OK: nothing */
    bool asks;              /* it was told a time, and has not answered */
    int64_t asked, reached; /* the time; the one before. INT64_MIN: none */
    struct kept *places, **places_last; /* of a checkpoint: where those workers were that have sealed any of it; */
    struct kept *back, **back_last;     /* all else */
    uint64_t back_id;                   /* 0: there is none to go on from */
    int64_t back_cut;
    uint32_t going_bytes;
    uint8_t going[PST_ENCLAVE_CAPSULES_BYTES_MAX];
    void *columns[CARRY_FIELDS]; /* CARRY_ROWS_MAX rows each */
};

/* Those partitions that own buckets, whose numbers have no gap: rows and marks come from no others. */
static uint32_t producer_count(const struct run *run, uint32_t producer)
{
    uint32_t count = 1;
    if (producer == run->graph->source)
        return 1;
    for (uint32_t b = 0; b < run->graph->nodes[producer].bucket_count; b++)
        if (run->partition_of_bucket[producer][b] >= count)
            count = run->partition_of_bucket[producer][b] + 1u;
    return count;
}

int pst_carried_init(struct pst_ctx *ctx)
{
    struct carried *c = pst_calloc(1, sizeof *c);
    if (c == NULL)
        return PST_ENOMEM;
    ctx->carried = c;
    c->asked = c->reached = INT64_MIN;
    c->back_last = &c->back;
    c->places_last = &c->places;
    for (uint32_t i = 0; i < ctx->node->input_count; i++) {
        uint32_t producer = ctx->node->inputs[i].producer;
        c->gather_count[i] = producer_count(ctx->run, producer);
        c->gathers[i] = pst_arena_alloc(&ctx->arena, c->gather_count[i] * sizeof *c->gathers[i]);
        if (c->gathers[i] == NULL)
            return PST_ENOMEM;
        for (uint32_t p = 0; p < c->gather_count[i]; p++)
            c->gathers[i][p].marked = INT64_MIN;
    }
    for (uint32_t f = 0; f < CARRY_FIELDS && ctx->sink == NULL; f++) {
        c->columns[f] = pst_arena_alloc(&ctx->arena, CARRY_ROWS_MAX * sizeof(uint64_t));
        if (c->columns[f] == NULL)
            return PST_ENOMEM;
    }
    return PST_OK;
}

void pst_carried_hang_up(struct pst_ctx *ctx)
{
    if (ctx->carried != NULL && ctx->carried->asks_key)
        pst_release_end(&ctx->carried->asker);
}

static void kept_drop(struct kept **list, struct kept ***last)
{
    for (struct kept *next; *list != NULL; *list = next) {
        next = (*list)->next;
        pst_free(*list);
    }
    *last = list;
}

static void back_drop(struct carried *c)
{
    kept_drop(&c->places, &c->places_last);
    kept_drop(&c->back, &c->back_last);
}

void pst_carried_free(struct pst_ctx *ctx)
{
    struct carried *c = ctx->carried;
    if (c == NULL)
        return;
    pst_carried_hang_up(ctx);
    back_drop(c);
    for (uint32_t i = 0; i < PST_INPUTS_MAX; i++)
        for (uint32_t p = 0; c->gathers[i] != NULL && p < c->gather_count[i]; p++)
            pst_free(c->gathers[i][p].of.bytes);
    pst_free(c);
    ctx->carried = NULL;
}

static int going_flush(struct pst_ctx *ctx)
{
    struct carried *c = ctx->carried;
    uint32_t count = c->going_bytes;
    c->going_bytes = 0;
    return count != 0 ? pst_ctx_enclave_said(ctx, pst_enclave_capsules(ctx->enclave, c->going, count)) : PST_OK;
}

static int capsule_take(struct pst_ctx *ctx, const struct pst_capsule *capsule, const uint8_t *bytes)
{
    struct carried *c = ctx->carried;
    uint32_t count = (uint32_t)pst_capsule_bytes(capsule);
    pst_count(&ctx->gauge.rows_in, capsule->row_count);
    if (ctx->sink != NULL) {
        ctx->sink->rows += capsule->row_count;
        return pst_sink_write(ctx->run, ctx->sink, bytes, count);
    }
    int rc = c->going_bytes + count > sizeof c->going ? going_flush(ctx) : PST_OK;
    memcpy(c->going + c->going_bytes, bytes, count);
    c->going_bytes += count;
    return rc;
}
static_assert((int)PST_CAPSULE_BYTES_MAX <= (int)PST_ENCLAVE_CAPSULES_BYTES_MAX, "a capsule goes in at once");

/* What a place says of a row that has come to this input; NULL: it does not belong there. */
static struct gather *gather_of(struct pst_ctx *ctx, uint32_t input, const struct carry_place *place)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    struct carried *c = ctx->carried;
    if (place->edge >= plan->edge_count || plan->edges[place->edge].node != ctx->node_index ||
        plan->edges[place->edge].input != input || place->producer >= c->gather_count[input])
        return NULL;
    struct gather *gather = &c->gathers[input][place->producer];
    if (gather->of.bytes == NULL)
        gather->of.bytes = pst_malloc(CARRY_GATHER_BYTES);
    return gather->of.bytes != NULL ? gather : NULL;
}

int pst_carry_gather(struct carry_gather *gather, bool first, const void *const *words, uint32_t row,
                     struct pst_capsule *ret_capsule)
{
    if (first != (gather->count == 0) || gather->count >= CARRY_GATHER_BYTES)
        return PST_EDATA;
    for (uint32_t w = 0; w < CARRY_WORDS; w++)
        memcpy(gather->bytes + gather->count + w * sizeof(uint64_t), (const uint64_t *)words[w] + row,
               sizeof(uint64_t));
    gather->count += CARRY_ROW_BYTES;
    int rc = pst_capsule_read(gather->bytes, gather->count, ret_capsule);
    if (rc == PST_OK)
        gather->count = 0;
    return rc == PST_OK || rc == PST_EAGAIN ? rc : PST_EDATA;
}

static int row_take(struct pst_ctx *ctx, struct gather *gather, bool first, const void *const *columns, uint32_t row)
{
    struct pst_capsule capsule;
    int rc = pst_carry_gather(&gather->of, first, columns + 1, row, &capsule);
    if (rc != PST_OK)
        return rc == PST_EAGAIN ? PST_OK : rc;
    if (capsule.kind == PST_CAPSULE_MARK) {
        gather->marked = capsule.time > gather->marked ? capsule.time : gather->marked;
        gather->ended = (capsule.flags & PST_CAPSULE_ENDS) != 0;
    }
    return capsule_take(ctx, &capsule, gather->of.bytes);
}

int pst_carry_take(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint64_t *places = rows->columns[0];
    int rc = PST_OK;
    for (uint32_t i = 0; i < rows->row_count && rc == PST_OK; i++) {
        struct carry_place place;
        rc = pst_carry_place_read(places[i], &place);
        struct gather *gather = rc == PST_OK ? gather_of(ctx, rows->input, &place) : NULL;
        rc = gather != NULL ? row_take(ctx, gather, place.first, rows->columns, i) : PST_EDATA;
    }
    if (rc == PST_EDATA)
        (void)snprintf(ctx->sentence, sizeof ctx->sentence, "what has come is no sealed stream of this graph's");
    return rc == PST_OK && ctx->sink == NULL ? going_flush(ctx) : rc;
}

/* ---- what a worker puts out ---- */

static int capsule_out(struct pst_ctx *ctx, const struct pst_capsule *capsule, const uint8_t *bytes)
{
    const struct sealed_plan *plan = &ctx->run->graph->carry->plan;
    const struct sealed_edge *edge = capsule->edge < plan->edge_count ? &plan->edges[capsule->edge] : NULL;
    struct carried *c = ctx->carried;
    if (edge == NULL || edge->from_user || edge->producer != ctx->node_index ||
        capsule->bucket >= (capsule->kind == PST_CAPSULE_MARK ? 1 : edge->edge.bucket_count))
        return PST_EREFUSED;
    uint64_t place = place_of(capsule, ctx->partition);
    uint32_t rows = rows_fill(c->columns, 0, place, ctx->emit_time, bytes, pst_capsule_bytes(capsule));
    struct view view = {.columns = (const void *const *)c->columns, .time = c->columns[TIME_FIELD], .row_count = rows};
    pst_count(&ctx->gauge.rows_out, capsule->row_count);
    return pst_carry_deliver(ctx, &view);
}

int pst_carried_out(void *taker, const void *bytes, size_t byte_count)
{
    struct pst_ctx *ctx = taker;
    struct pst_capsule capsule;
    int rc = PST_OK;
    ctx->emit_time = pst_ctx_enclave_time_min(ctx);
    if (ctx->emit_time == INT64_MAX) /* nobody asked */
        return PST_EREFUSED;
    for (size_t at = 0; at < byte_count && rc == PST_OK; at += pst_capsule_bytes(&capsule)) {
        const uint8_t *one = (const uint8_t *)bytes + at;
        if (pst_capsule_read(one, byte_count - at, &capsule) != PST_OK)
            return PST_EREFUSED;
        rc = capsule_out(ctx, &capsule, one);
    }
    return rc;
}

/* ---- keys and times ---- */

int pst_carried_back(struct pst_ctx *ctx, const uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES],
                     const struct pst_enclave_piece *piece)
{
    struct carried *c = ctx->carried;
    struct kept *kept = pst_malloc(sizeof *kept + piece->sealed_bytes);
    if (kept == NULL)
        return PST_ENOMEM;
    *kept = (struct kept){.piece = *piece};
    memcpy(kept->incarnation, incarnation, sizeof kept->incarnation);
    memcpy(kept->sealed, piece->sealed, piece->sealed_bytes);
    kept->piece.sealed = kept->sealed;
    struct kept ***last = piece->structure == PST_IMAGE_PLACE_STRUCTURE ? &c->places_last : &c->back_last;
    **last = kept;
    *last = &kept->next;
    return PST_OK;
}

void pst_carried_back_whole(struct pst_ctx *ctx, uint64_t checkpoint, int64_t cut)
{
    ctx->carried->back_id = checkpoint;
    ctx->carried->back_cut = cut;
}

static int restore(struct pst_ctx *ctx)
{
    struct carried *c = ctx->carried;
    int rc = PST_OK;
    if (c->back_id == 0)
        return PST_OK;
    for (struct kept *at = c->places; at != NULL && rc == PST_OK; at = at->next)
        rc = pst_enclave_restore(ctx->enclave, at->incarnation, &at->piece);
    for (struct kept *at = c->back; at != NULL && rc == PST_OK; at = at->next)
        rc = pst_enclave_restore(ctx->enclave, at->incarnation, &at->piece);
    if (rc == PST_OK)
        rc = pst_enclave_restored(ctx->enclave, c->back_id, c->back_cut);
    back_drop(c);
    c->reached = c->back_cut;
    return pst_ctx_enclave_said(ctx, rc);
}

int pst_carried_key(struct pst_ctx *ctx)
{
    struct run *run = ctx->run;
    struct carried *c = ctx->carried;
    uint64_t epc = ctx->node->epc_bytes != 0 ? ctx->node->epc_bytes : PST_EPC_BYTES_STANDARD;
    if (c->released || c->key_error != PST_OK)
        return c->key_error;
    if (!c->asks_key) {
        pst_release_begin(&c->asker, run->world, run->options.sealed, run->graph->carry->plan.digest);
        c->asker.worker = run->worker_base + ctx->worker;
    }
    c->asks_key = true;
    int rc = pst_release_step(&c->asker, ctx->enclave, epc);
    if (rc == PST_EAGAIN) { /* woken by the connection; while there is none, it looks again */
        (void)run->world->alarm(run->world->self, c->asker.worker, run->world->now_ns(run->world->self) + KEY_LOOK_NS);
        return rc;
    }
    pst_carried_hang_up(ctx);
    c->released = rc == PST_OK;
    c->key_error = rc == PST_OK ? restore(ctx) : rc;
    if (c->key_error == PST_OK && atomic_fetch_sub_explicit(&run->keyless, 1, memory_order_release) == 1)
        run->world->wake(run->world->self, 0); /* the keeper's: it says so */
    if (rc == PST_OK)
        return c->key_error;
    pst_run_fail(run, rc, "operator %s (%s), partition %u, gets no key: %s", ctx->node->id, ctx->node->op->name,
                 ctx->partition, c->asker.why);
    return rc;
}

/* As the worker does: at the end every producer is through with its last epoch. */
static int64_t marks_known(const struct carried *c)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool ended = true;
    for (uint32_t i = 0; i < PST_INPUTS_MAX; i++) {
        for (uint32_t p = 0; p < c->gather_count[i]; p++) {
            const struct gather *gather = &c->gathers[i][p];
            low = gather->marked < low ? gather->marked : low;
            high = gather->marked > high ? gather->marked : high;
            ended &= gather->ended;
        }
    }
    return ended ? high : low;
}

/* PST_OK: it has answered. */
static int time_tell(struct pst_ctx *ctx, int64_t t, bool *ret_any)
{
    struct carried *c = ctx->carried;
    if (!c->asks) {
        c->asks = true;
        c->asked = t;
        ctx->emit_time = t - 1;
    }
    int rc = pst_ctx_enclave_time(ctx, c->asked, false);
    if (rc != PST_OK)
        return rc;
    c->asks = false;
    c->reached = c->asked;
    *ret_any = true;
    return PST_OK;
}

int pst_carried_time(struct pst_ctx *ctx, int64_t limit, bool *ret_any)
{
    const struct carried *c = ctx->carried;
    int64_t t = c->asked;
    if (!c->asks) {
        t = marks_known(c);
        t = limit < t ? limit : t;
        if (t == INT64_MIN || (t = pst_floor_to(t, ctx->node->epoch)) <= c->reached)
            return PST_OK;
    }
    return time_tell(ctx, t, ret_any);
}

int pst_carried_cut(struct pst_ctx *ctx, int64_t cut, bool *ret_any)
{
    return ctx->carried->reached < cut ? time_tell(ctx, cut, ret_any) : PST_OK;
}

bool pst_carried_asks(const struct pst_ctx *ctx) { return ctx->carried->asks; }

int64_t pst_carried_promise(const struct pst_ctx *ctx)
{
    int64_t reached = ctx->carried->reached;
    return reached != INT64_MIN ? reached + ctx->node->epoch - 1 : reached;
}
