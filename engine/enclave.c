/* enclave.c - see enclave.h. */
#include "engine/enclave.h"

#include "enclave_shim/enclave_shim.h"
#include "engine/carry.h"
#include "engine/graph_build.h"
#include "engine/lane.h"

#include <string.h>

/* Sealed pages that a worker may put outside: in memory, so bounded by what the machine has rather than by this. */
#define OUTSIDE_BYTES_MAX (UINT64_C(64) << 30)
/* Of the memory of workers, touched before the first row: of each that takes rows of the input, of all of these in a graph, and of each other
 * one, all of which have a quarter of that; of each no more than this part of the input, whose length has to be known. At 25 us for 4 KiB that is
 * 0.15 s for one, 0.8 s for all that there may be on one processor; a small file waits for next to nothing. */
#define TOUCH_BYTES_EACH (UINT64_C(24) << 20)
#define TOUCH_BYTES_ALL (UINT64_C(96) << 20)
#define TOUCH_BYTES_FEW (UINT64_C(2) << 20)
enum { TOUCH_INPUT_PART = 24 };

enum {
    TURNS = 50,    /* over all workers that are waited for, before one of them is slept for */
    WAIT_US = 200, /* and so long at most: another one may answer first, or rows come from elsewhere */
};

/* In the order in which they were asked for, a ring. */
struct enclave_asks {
    int64_t emit_time[PST_ENCLAVE_ASKED_MAX];
    uint32_t first, count;
    bool open;  /* the time of the open epoch, or the end, is among what was asked for */
    bool ends;  /* the end is */
    bool timed; /* total order: the rows that come next are of event time `at` */
    int64_t at;
};

/* ---- what a worker is told ---- */

static void params_fill(const struct pst_graph_node *node, struct pst_enclave_param *params)
{
    for (uint32_t i = 0; i < node->op->param_count; i++) {
        const struct pst_build_param *value = &node->values[i];
        params[i] = (struct pst_enclave_param){.name = value->param->name,
                                               .kind = value->param->kind,
                                               .given = value->value != NULL,
                                               .number = value->number,
                                               .text = value->text != NULL ? value->text : "",
                                               .numbers = value->numbers,
                                               .texts = value->texts,
                                               .count = value->count};
    }
}

void pst_enclave_operator_fill(const struct pst_graph *graph, const struct pst_graph_node *node,
                               struct pst_enclave_operator *ret, struct pst_enclave_param *params)
{
    *ret = (struct pst_enclave_operator){.type = node->op->name,
                                         .id = node->id,
                                         .bucket_count = node->bucket_count,
                                         .epoch = node->epoch,
                                         .total = node->order == PST_ORDER_TOTAL,
                                         .param_count = node->op->param_count,
                                         .params = params,
                                         .input_count = node->input_count,
                                         .output_count = node->output_count};
    params_fill(node, params);
    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct pst_graph_input *from = &node->inputs[i];
        struct pst_enclave_input *input = &ret->inputs[i];
        input->schema = graph->nodes[from->producer].outputs[from->producer_output].schema;
        input->broadcast = from->broadcast;
        input->keyed = from->key != NULL;
        input->used_count = from->used_count;
        if (from->used_count != 0)
            memcpy(input->used, from->used, from->used_count * sizeof *input->used);
    }
    for (uint32_t o = 0; o < node->output_count; o++) {
        ret->outputs[o].schema = node->outputs[o].schema;
        memcpy(ret->outputs[o].wanted, node->outputs[o].wanted, node->outputs[o].schema.field_count * sizeof(bool));
    }
}

/* ---- what comes back ---- */

/* Columns from row `from` on. */
static void columns_from(const struct pst_schema *schema, const void *const *columns, uint32_t from, const void **ret)
{
    for (uint32_t f = 0; f < schema->field_count; f++)
        ret[f] = columns[f] == NULL ? NULL : (const char *)columns[f] + from * pst_type_bytes(schema->fields[f].type);
}

static int put(struct pst_ctx *ctx, uint32_t output, uint32_t n, const uint32_t *bucket, const void *const *columns)
{
    const struct pst_schema *schema = &ctx->node->outputs[output].schema;
    struct pst_out *out = pst_batch_reserve(ctx, output, n);
    if (out == NULL)
        return PST_ENOMEM;
    memcpy(out->bucket + out->row_count, bucket, n * sizeof *bucket);
    for (uint32_t f = 0; f < schema->field_count; f++) {
        size_t bytes = pst_type_bytes(schema->fields[f].type);
        if (columns[f] != NULL)
            memcpy((char *)out->columns[f] + out->row_count * bytes, columns[f], n * bytes);
    }
    out->row_count += n;
    return PST_OK;
}

/* Rows that on_frame() has put out are of the first epoch that is not answered: what is promised to others stands below it. */
static int take_at(void *taker, int64_t t)
{
    struct pst_ctx *ctx = taker;
    int64_t begins = pst_ctx_enclave_epoch_min(ctx);
    if (!ctx->now_known || t < begins || (uint64_t)t - (uint64_t)begins >= (uint64_t)ctx->node->epoch)
        return PST_EREFUSED;
    ctx->enclave_asks->timed = true;
    ctx->enclave_asks->at = t;
    return PST_OK;
}

/* In total order batches go at once: the next rows may be of another time. */
static int take(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns)
{
    struct pst_ctx *ctx = taker;
    const void *some[PST_FIELDS_MAX];
    int rc = PST_OK;
    ctx->emit_time = ctx->enclave_asks->timed ? ctx->enclave_asks->at : pst_ctx_enclave_time_min(ctx);
    ctx->enclave_asks->timed = false;
    for (uint32_t from = 0, n; from < row_count && rc == PST_OK; from += n) {
        n = row_count - from < PST_OUT_ROWS_MAX ? row_count - from : PST_OUT_ROWS_MAX;
        columns_from(&ctx->node->outputs[output].schema, columns, from, some);
        rc = (pst_batch_may_pass(ctx, output) ? pst_batch_pass : put)(ctx, output, n, bucket + from, some);
    }
    return rc == PST_OK && ctx->node->order == PST_ORDER_TOTAL ? pst_batches_flush(ctx) : rc;
}

static int answered(void *taker)
{
    struct pst_ctx *ctx = taker;
    struct enclave_asks *asks = ctx->enclave_asks;
    if (asks->count == 0) /* it has what was given back to it */
        return PST_OK;
    ctx->emit_time = pst_ctx_enclave_time_min(ctx);
    ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    asks->first = (asks->first + 1) % PST_ENCLAVE_ASKED_MAX;
    asks->count--;
    return pst_batches_flush(ctx);
}

int pst_ctx_enclave_said(struct pst_ctx *ctx, int rc)
{
    if (rc == PST_OK || rc == PST_ESTOPPED)
        return rc;
    if (ctx->lane != NULL && pst_lane_waits(ctx)) { /* nobody needs it yet: the move is given up */
        ctx->enclave_asks->count = 0;               /* nothing is waited for */
        pst_lane_fail(ctx, rc, pst_enclave_why(ctx->enclave));
        return rc;
    }
    bool lost = pst_enclave_is_lost(ctx->enclave);
    if (lost && pst_partition_dies(ctx, rc, pst_enclave_why(ctx->enclave))) {
        ctx->enclave_asks->count = 0; /* nothing is waited for */
        return rc;
    }
    (lost ? pst_run_lose : pst_run_fail)(ctx->run, rc, "operator %s (%s), partition %u, in its enclave: %s",
                                         ctx->node->id, ctx->node->op->name, ctx->partition,
                                         pst_enclave_why(ctx->enclave));
    return rc;
}

int pst_ctx_enclave_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    return pst_ctx_enclave_said(ctx, pst_enclave_frame(ctx->enclave, rows));
}

/* It is asked for first, for the answer may come in the same call. */
static void asks_add(struct pst_ctx *ctx)
{
    struct enclave_asks *asks = ctx->enclave_asks;
    asks->emit_time[(asks->first + asks->count++) % PST_ENCLAVE_ASKED_MAX] = ctx->emit_time;
    asks->open = true;
}

int pst_ctx_enclave_time(struct pst_ctx *ctx, int64_t t, bool runs_ahead)
{
    struct enclave_asks *asks = ctx->enclave_asks;
    if (!asks->open) {
        asks_add(ctx);
        int rc = pst_enclave_ask_time(ctx->enclave, t, t < ctx->timer_limit ? t : ctx->timer_limit);
        if (rc != PST_OK)
            return pst_ctx_enclave_said(ctx, rc);
    }
    if (asks->count != 0 && (!runs_ahead || asks->count == PST_ENCLAVE_ASKED_MAX))
        return PST_EAGAIN;
    asks->open = false;
    return PST_OK;
}

int pst_ctx_enclave_end(struct pst_ctx *ctx, int64_t t)
{
    struct enclave_asks *asks = ctx->enclave_asks;
    if (!asks->open && asks->count == 0) {
        asks->ends = true;
        asks_add(ctx);
        int rc = pst_enclave_ask_end(ctx->enclave, t);
        if (rc != PST_OK)
            return pst_ctx_enclave_said(ctx, rc);
    }
    return asks->count != 0 ? PST_EAGAIN : PST_OK;
}

int pst_ctx_enclave_collect(struct pst_ctx *ctx, bool *ret_any)
{
    while (ctx->enclave_asks->count != 0 && (!pst_any_pending(ctx) || pst_flush_channels(ctx))) {
        int rc = pst_enclave_answered(ctx->enclave);
        if (rc == PST_EAGAIN)
            return PST_OK;
        if (rc != PST_OK)
            return pst_ctx_enclave_said(ctx, rc);
        *ret_any = true;
    }
    return PST_OK;
}

uint32_t pst_ctx_enclave_asked(const struct pst_ctx *ctx)
{
    return ctx->enclave_asks != NULL ? ctx->enclave_asks->count : 0;
}

bool pst_ctx_enclave_ends(const struct pst_ctx *ctx) { return ctx->enclave_asks != NULL && ctx->enclave_asks->ends; }

int64_t pst_ctx_enclave_time_min(const struct pst_ctx *ctx)
{
    return pst_ctx_enclave_asked(ctx) != 0 ? ctx->enclave_asks->emit_time[ctx->enclave_asks->first] : INT64_MAX;
}

int64_t pst_ctx_enclave_epoch_min(const struct pst_ctx *ctx)
{
    int64_t owed = pst_ctx_enclave_time_min(ctx);
    if (owed == INT64_MAX || ctx->enclave_asks->ends) /* the end is asked for alone, and is of the open epoch */
        return ctx->now;
    int64_t begins = owed + 1 - ctx->node->epoch;
    return begins < ctx->now ? begins : ctx->now;
}

bool pst_enclaves_wait(const struct worker *worker)
{
    struct pst_ctx *waiting = NULL;
    for (uint32_t p = 0; p < worker->partition_count; p++)
        if (worker->partitions[p]->enclave != NULL && !pst_is_dead(worker->partitions[p]))
            pst_enclave_kick(worker->partitions[p]->enclave);
    for (int turn = 0; turn < TURNS; turn++) {
        for (uint32_t p = 0; p < worker->partition_count; p++) {
            struct pst_ctx *ctx = worker->partitions[p];
            bool waits = pst_ctx_enclave_asked(ctx) != 0 || ctx->enclave_seals || pst_moving_busy(ctx);
            if (!waits || pst_is_dead(ctx)) /* nothing comes of that one, whatever it was asked for */
                continue;
            if (pst_enclave_has_news(ctx->enclave))
                return true;
            waiting = waiting != NULL ? waiting : ctx;
        }
        if (waiting == NULL)
            return false;
    }
    (void)pst_ctx_enclave_said(waiting, pst_enclave_wait(waiting->enclave, WAIT_US));
    return true;
}

uint64_t pst_ctx_enclave_bytes(const struct pst_ctx *ctx)
{
    return ctx->enclave != NULL ? pst_enclave_state_bytes(ctx->enclave) : 0;
}

/* ---- life ---- */

void pst_enclave_warn(const struct pst_run_options *options, const struct pst_graph_node *node,
                      const struct pst_enclave *enclave)
{
    struct pst_enclave_report report;
    struct pst_text text = {0};
    pst_enclave_report(enclave, &report);
    if (options->note == NULL || report.guards == pst_enclave_process.guards)
        return;
    (void)pst_text_printf(&text, "operator %s runs in an enclave that protects from nobody for certain: without",
                          node->id);
    for (uint32_t bit = 0, count = 0; pst_enclave_fact_word(bit) != NULL; bit++)
        if ((report.facts >> bit & 1) == 0)
            (void)pst_text_printf(&text, "%s %s", count++ == 0 ? "" : ",", pst_enclave_fact_word(bit));
    (void)pst_text_printf(&text, " (`penstock doctor` says what to do)");
    if (!text.failed)
        options->note(options->note_argument, text.bytes);
    pst_text_fini(&text);
}

/* A processor for each thread of this process and each worker. */
static bool has_spare_processors(const struct run *run)
{
    uint64_t wanted = run->worker_count;
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        wanted += run->graph->nodes[n].enclave ? run->partition_count[n] : 0;
    return wanted <= run->world->cores(run->world->self);
}

/* Whether rows of the input come to it as they are, all or some, and not what an operator with a state has made of them. No graph has a
 * circle, so it ends. */
static bool takes_input(const struct pst_graph *graph, const struct pst_graph_node *node)
{
    bool takes = false;
    for (uint32_t i = 0; i < node->input_count && !takes; i++) {
        const struct pst_graph_node *from = &graph->nodes[node->inputs[i].producer];
        takes = from->op->role == PST_ROLE_SOURCE || (from->op->role == PST_ROLE_STATELESS && takes_input(graph, from));
    }
    return takes;
}

uint64_t pst_enclave_touch_bytes(const struct run *run, const struct pst_graph_node *node, uint64_t input_bytes)
{
    uint64_t count = 0, bytes = input_bytes / TOUCH_INPUT_PART;
    bool most = takes_input(run->graph, node);
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        if (run->graph->nodes[n].enclave && takes_input(run->graph, &run->graph->nodes[n]) == most)
            count += run->graph->nodes[n].partition_count;
    uint64_t each = most ? TOUCH_BYTES_EACH : TOUCH_BYTES_FEW, all = most ? TOUCH_BYTES_ALL : TOUCH_BYTES_ALL / 4;
    if (count != 0 && all / count < each)
        each = all / count;
    return run->options.preheat ? UINT64_MAX : bytes < each ? bytes : each;
}

uint32_t pst_enclave_worker_count(const struct run *run)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        count += run->graph->nodes[n].enclave ? run->graph->nodes[n].partition_count : 0;
    return count;
}

/* Of an instance, or of a lane that there will be one of: its buckets come later, and so does whoever takes what comes out. */
static int start(struct run *run, const struct pst_graph_node *node, const uint32_t *buckets, uint32_t bucket_count,
                 bool lane, struct pst_ctx *taker, struct pst_enclave **ret_enclave, bool *ret_lost, char *ret_why)
{
    struct pst_enclave_operator operator;
    const struct pst_graph_node *planned =
        run->graph->carry != NULL ? &run->graph->carry->bare.nodes[node - run->graph->nodes] : node;
    struct pst_enclave_param *params = pst_calloc(planned->op->param_count + 1, sizeof *params);
    static const uint8_t no_key[PST_IMAGE_KEY_BYTES]; /* of sealed rows it comes with the user's */
    struct pst_enclave_keys keys = {0};
    int rc = params != NULL ? pst_enclave_keys_init(&keys, run, node) : PST_ENOMEM;
    (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "%s", pst_error_sentence(rc));
    struct carry *carry = run->graph->carry;
    uint32_t n = (uint32_t)(node - run->graph->nodes);
    if (rc == PST_OK && carry != NULL) {
        pst_enclave_operator_fill(&carry->bare, planned, &operator, params);
        operator.sealing = pst_sealed_plan_of(&carry->plan, &carry->bare, n);
        rc = operator.sealing != NULL ? PST_OK : PST_ENOMEM;
    } else if (rc == PST_OK) {
        pst_enclave_operator_fill(run->graph, node, &operator, params);
    }
    if (rc == PST_OK && carry == NULL && run->options.identity != NULL)
        operator.authority = run->options.identity->authority;
    const struct pst_enclave_settings settings = {
        .operator= & operator,
        .buckets = buckets,
        .bucket_count = bucket_count,
        .lane = lane,
        .epc_bytes = node->epc_bytes != 0 ? node->epc_bytes : PST_EPC_BYTES_STANDARD,
        .outside_bytes = OUTSIDE_BYTES_MAX,
        .evict = run->options.evict,
        .touch_bytes = pst_enclave_touch_bytes(run, node, lane ? 0 : run->input.bytes_total),
        .starting_count = lane ? 0 : pst_enclave_worker_count(run),
        .later = !lane,
        .cheap = run->options.cheap,
        .random = run->world->random,
        .argument = run->world->self,
        .take = take,
        .take_at = take_at,
        .take_capsules = carry != NULL ? pst_carried_out : NULL,
        .paced = carry != NULL,
        .answered = answered,
        .taker = taker,
        .image_key = carry != NULL && run->checkpoint != NULL ? no_key
                     : keys.seals != NULL                     ? pst_secret_bytes(keys.seals)
                                                              : NULL,
        .restore_keys = keys.open_bytes,
        .restore_key_count = keys.open_count,
        .graph = keys.graph,
        .restore_least = lane ? 0 : keys.least, /* what a lane has comes from its giver */
        .take_piece = pst_ctx_enclave_take_piece,
        .quiet_seconds_max = run->options.enclave_patience_s,
        .program = run->options.enclave_program,
        .ret_lost = ret_lost,
        .stopped = &run->stopped,
        .spare_processors = has_spare_processors(run),
    };
    if (rc == PST_OK)
        rc = pst_enclave_start(&pst_enclave_process, &settings, ret_enclave, ret_why);
    pst_enclave_keys_fini(&keys);
    pst_free(params);
    return rc;
}

static void start_failed(const struct pst_ctx *ctx, bool lost, int rc, const char *why)
{
    (lost ? pst_run_lose : pst_run_fail)(ctx->run, rc, "operator %s (%s), partition %u: cannot start its enclave: %s",
                                         ctx->node->id, ctx->node->op->name, ctx->partition, why);
}

int pst_ctx_enclose(struct pst_ctx *ctx)
{
    struct run *run = ctx->run;
    const struct pst_graph_node *node = ctx->node;
    char why[PST_ENCLAVE_WHY_BYTES];
    bool lost = false;
    ctx->enclave_asks = pst_arena_alloc(&ctx->arena, sizeof *ctx->enclave_asks); /* zeroed */
    if (ctx->enclave_asks == NULL || (run->graph->carry != NULL && pst_carried_init(ctx) != PST_OK))
        return pst_ctx_failed(ctx, PST_ENOMEM, "its enclave");
    if (ctx->carried != NULL)
        atomic_fetch_add_explicit(&run->keyless, 1, memory_order_relaxed);
    int rc = start(run, node, ctx->buckets, ctx->owned_count, false, ctx, &ctx->enclave, &lost, why);
    if (rc != PST_OK)
        start_failed(ctx, lost, rc, why);
    return rc;
}

int pst_ctx_enclosed(struct pst_ctx *ctx)
{
    int rc = pst_enclave_await(ctx->enclave);
    if (rc != PST_OK) {
        start_failed(ctx, pst_enclave_is_lost(ctx->enclave), rc, pst_enclave_why(ctx->enclave));
        return rc;
    }
    ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    if (ctx->partition == 0)
        pst_enclave_warn(&ctx->run->options, ctx->node, ctx->enclave);
    return PST_OK;
}

int pst_graph_enclave_try(const struct pst_graph *graph, const char *program, char ret_why[640])
{
    int rc = PST_OK;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        struct pst_enclave_operator operator;
        char why[PST_ENCLAVE_WHY_BYTES];
        if (!node->enclave)
            continue;
        struct pst_enclave_param *params = pst_calloc(node->op->param_count + 1, sizeof *params);
        if (params == NULL)
            return PST_ENOMEM;
        pst_enclave_operator_fill(graph, node, &operator, params);
        const struct pst_enclave_settings settings = {.operator= & operator, .program = program };
        rc = pst_enclave_try(&pst_enclave_process, &settings, why);
        if (rc != PST_OK)
            (void)snprintf(ret_why, PST_ENCLAVE_WHY_BYTES, "operator `%.64s` (%.64s) cannot run in an enclave: %.440s",
                           node->id, node->op->name, why);
        pst_free(params);
    }
    return rc;
}

int pst_lane_enclave(struct run *run, const struct move *move, struct pst_enclave **ret_enclave, char *ret_why)
{
    bool lost;
    return start(run, &run->graph->nodes[move->operator_index], move->buckets, move->bucket_count, true, NULL,
                 ret_enclave, &lost, ret_why);
}

int pst_lane_enclose(struct pst_ctx *ctx, struct pst_enclave *enclave)
{
    ctx->enclave_asks = pst_arena_alloc(&ctx->arena, sizeof *ctx->enclave_asks); /* zeroed */
    ctx->enclave = enclave;
    pst_enclave_take_for(enclave, ctx);
    ctx->timer_min = INT64_MAX;
    return ctx->enclave_asks != NULL ? PST_OK : PST_ENOMEM;
}

void pst_ctx_disclose(struct pst_ctx *ctx)
{
    pst_moving_free(ctx);
    pst_enclave_free(ctx->enclave);
    ctx->enclave = NULL;
}

int pst_enclave_count_in(struct pst_enclave_run_report *report, const struct pst_graph_node *node,
                         const struct pst_enclave *enclave)
{
    struct pst_enclave_report one;
    struct pst_enclave_counts counts;
    pst_enclave_report(enclave, &one);
    pst_enclave_counts(enclave, &counts);
    if (report->operator_id == NULL) {
        report->operator_id = pst_strdup(node->id);
        report->backend = one.backend;
        report->facts = one.facts;
        report->guards = one.guards;
        memcpy(report->measurement, one.measurement, sizeof report->measurement);
        report->epc_bytes = node->epc_bytes != 0 ? node->epc_bytes : PST_EPC_BYTES_STANDARD;
    }
    report->facts &= one.facts; /* what holds of all of them */
    report->guards &= one.guards;
    report->workers++;
    report->epc_used_max = counts.epc_used_max > report->epc_used_max ? counts.epc_used_max : report->epc_used_max;
    report->epc_touched_max =
        counts.epc_touched > report->epc_touched_max ? counts.epc_touched : report->epc_touched_max;
    report->page_ins += counts.page_ins;
    report->page_outs += counts.page_outs;
    report->page_outs_clean += counts.page_outs_clean;
    report->leaves += counts.leaves;
    report->messages += counts.messages;
    return report->operator_id != NULL ? PST_OK : PST_ENOMEM;
}

static int report_operator(struct run *run, uint32_t n, struct pst_enclave_run_report *report)
{
    int rc = PST_OK;
    for (uint32_t p = 0; p < run->partition_count[n] && rc == PST_OK; p++) {
        const struct pst_ctx *ctx = run->partitions[n][p];
        if (ctx != NULL && ctx->enclave != NULL)
            rc = pst_enclave_count_in(report, ctx->node, ctx->enclave);
    }
    return rc;
}

int pst_enclaves_report(struct run *run, struct pst_run_report *report)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        count += run->graph->nodes[n].enclave;
    if (count == 0 || run->partitions == NULL)
        return PST_OK;
    report->enclaves = pst_calloc(count, sizeof *report->enclaves);
    if (report->enclaves == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        struct pst_enclave_run_report *one = &report->enclaves[report->enclave_count];
        if (!run->graph->nodes[n].enclave || run->partitions[n] == NULL)
            continue;
        int rc = report_operator(run, n, one);
        if (rc != PST_OK)
            return rc;
        report->enclave_count += one->workers != 0;
    }
    return PST_OK;
}
