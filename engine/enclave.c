/* enclave.c - see enclave.h. */
#include "engine/enclave.h"

#include "enclave_shim/enclave_shim.h"
#include "engine/graph_build.h"

#include <string.h>

/* Sealed pages that a worker may put outside: in memory, so bounded by what the machine has rather than by this. */
#define OUTSIDE_BYTES_MAX (UINT64_C(64) << 30)

enum {
    TURNS = 50,    /* over all workers that are waited for, before one of them is slept for */
    WAIT_US = 200, /* and so long at most: another one may answer first, or rows come from elsewhere */
};

int pst_enclaves_check(struct run *run)
{
    const struct pst_graph_node *node = pst_graph_first_inside(run->graph);
    if (node == NULL ||
        (run->site == NULL && run->checkpoint == NULL)) /* a cluster's coordinator has refused it before */
        return PST_OK;
    pst_run_fail(
        run, PST_EGRAPH,
        "operator %s (%s): a checkpoint of an operator in an enclave cannot be made yet: leave --checkpoint out, "
        "or the enclave",
        node->id, node->op->name);
    return PST_EGRAPH;
}

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

static void operator_fill(const struct pst_graph *graph, const struct pst_graph_node *node,
                          struct pst_enclave_operator *ret, struct pst_enclave_param *params)
{
    *ret = (struct pst_enclave_operator){.type = node->op->name,
                                         .id = node->id,
                                         .bucket_count = node->bucket_count,
                                         .epoch = node->epoch,
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

static int take(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns)
{
    struct pst_ctx *ctx = taker;
    const struct pst_schema *schema = &ctx->node->outputs[output].schema;
    for (uint32_t from = 0; from < row_count;) {
        uint32_t n = row_count - from < PST_OUT_ROWS_MAX ? row_count - from : PST_OUT_ROWS_MAX;
        struct pst_out *out = pst_batch_reserve(ctx, output, n);
        if (out == NULL)
            return PST_ENOMEM;
        memcpy(out->bucket + out->row_count, bucket + from, n * sizeof *bucket);
        for (uint32_t f = 0; f < schema->field_count; f++) {
            size_t bytes = pst_type_bytes(schema->fields[f].type);
            if (columns[f] != NULL)
                memcpy((char *)out->columns[f] + out->row_count * bytes, (const char *)columns[f] + from * bytes,
                       n * bytes);
        }
        out->row_count += n;
        from += n;
    }
    return PST_OK;
}

static int failed(struct pst_ctx *ctx, int rc)
{
    if (rc == PST_ESTOPPED)
        return rc;
    pst_run_fail(ctx->run, rc, "operator %s (%s), partition %u, in its enclave: %s", ctx->node->id, ctx->node->op->name,
                 ctx->partition, pst_enclave_why(ctx->enclave));
    return rc;
}

int pst_ctx_enclave_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    int rc = pst_enclave_frame(ctx->enclave, rows);
    return rc == PST_OK ? PST_OK : failed(ctx, rc);
}

/* Of what has been asked for, in this step or an earlier one. */
static int answered(struct pst_ctx *ctx, int asked)
{
    int rc = asked == PST_OK ? pst_enclave_answered(ctx->enclave) : asked;
    ctx->enclave_asked = rc == PST_EAGAIN;
    if (rc != PST_EAGAIN)
        ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    return rc == PST_OK || rc == PST_EAGAIN ? rc : failed(ctx, rc);
}

int pst_ctx_enclave_time(struct pst_ctx *ctx, int64_t t)
{
    int64_t due = t < ctx->timer_limit ? t : ctx->timer_limit;
    return answered(ctx, ctx->enclave_asked ? PST_OK : pst_enclave_ask_time(ctx->enclave, t, due));
}

int pst_ctx_enclave_end(struct pst_ctx *ctx, int64_t t)
{
    return answered(ctx, ctx->enclave_asked ? PST_OK : pst_enclave_ask_end(ctx->enclave, t));
}

bool pst_enclaves_wait(const struct worker *worker)
{
    struct pst_ctx *waiting = NULL;
    for (int turn = 0; turn < TURNS; turn++) {
        for (uint32_t p = 0; p < worker->partition_count; p++) {
            struct pst_ctx *ctx = worker->partitions[p];
            if (!ctx->enclave_asked)
                continue;
            if (pst_enclave_has_news(ctx->enclave))
                return true;
            waiting = waiting != NULL ? waiting : ctx;
        }
        if (waiting == NULL)
            return false;
    }
    int rc = pst_enclave_wait(waiting->enclave, WAIT_US);
    if (rc != PST_OK)
        (void)failed(waiting, rc);
    return true;
}

uint64_t pst_ctx_enclave_bytes(const struct pst_ctx *ctx)
{
    return ctx->enclave != NULL ? pst_enclave_state_bytes(ctx->enclave) : 0;
}

/* ---- life ---- */

/* Of a worker that does not have all that its backend protects by. */
static void warn(const struct pst_ctx *ctx)
{
    const struct pst_run_options *options = &ctx->run->options;
    struct pst_enclave_report report;
    struct pst_text text = {0};
    pst_enclave_report(ctx->enclave, &report);
    if (options->note == NULL || report.guards == pst_enclave_process.guards)
        return;
    (void)pst_text_printf(&text, "operator %s runs in an enclave that protects from nobody for certain: without",
                          ctx->node->id);
    for (uint32_t bit = 0, count = 0; pst_enclave_fact_word(bit) != NULL; bit++)
        if ((report.facts >> bit & 1) == 0)
            (void)pst_text_printf(&text, "%s %s", count++ == 0 ? "" : ",", pst_enclave_fact_word(bit));
    (void)pst_text_printf(&text, " (`penstock doctor` says what to do)");
    if (!text.failed)
        options->note(options->note_argument, text.bytes);
    pst_text_fini(&text);
}

int pst_ctx_enclose(struct pst_ctx *ctx)
{
    struct run *run = ctx->run;
    const struct pst_graph_node *node = ctx->node;
    struct pst_enclave_operator operator;
    char why[PST_ENCLAVE_WHY_BYTES];
    struct pst_enclave_param *params = pst_calloc(node->op->param_count + 1, sizeof *params);
    int rc = PST_ENOMEM;
    if (params == NULL)
        return pst_ctx_failed(ctx, rc, "its enclave");
    operator_fill(run->graph, node, &operator, params);
    struct pst_enclave_settings settings = {
        .operator= & operator,
        .buckets = ctx->buckets,
        .bucket_count = ctx->owned_count,
        .epc_bytes = node->epc_bytes != 0 ? node->epc_bytes : PST_EPC_BYTES_STANDARD,
        .outside_bytes = OUTSIDE_BYTES_MAX,
        .evict = run->options.evict,
        .random = run->world->random,
        .argument = run->world->self,
        .take = take,
        .taker = ctx,
        .stopped = &run->stopped,
    };
    rc = pst_enclave_start(&pst_enclave_process, &settings, &ctx->enclave, why);
    pst_free(params);
    if (rc != PST_OK) {
        pst_run_fail(run, rc, "operator %s (%s), partition %u: cannot start its enclave: %s", node->id, node->op->name,
                     ctx->partition, why);
        return rc;
    }
    ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    if (ctx->partition == 0)
        warn(ctx);
    return PST_OK;
}

void pst_ctx_disclose(struct pst_ctx *ctx)
{
    pst_enclave_free(ctx->enclave);
    ctx->enclave = NULL;
}

static int report_operator(struct run *run, uint32_t n, struct pst_enclave_run_report *report)
{
    for (uint32_t p = 0; p < run->partition_count[n]; p++) {
        const struct pst_ctx *ctx = run->partitions[n][p];
        if (ctx == NULL || ctx->enclave == NULL)
            continue;
        struct pst_enclave_report one;
        struct pst_enclave_counts counts;
        pst_enclave_report(ctx->enclave, &one);
        pst_enclave_counts(ctx->enclave, &counts);
        if (report->operator_id == NULL) {
            report->operator_id = pst_strdup(ctx->node->id);
            report->backend = one.backend;
            report->facts = one.facts;
            report->guards = one.guards;
            memcpy(report->measurement, one.measurement, sizeof report->measurement);
            report->epc_bytes = ctx->node->epc_bytes != 0 ? ctx->node->epc_bytes : PST_EPC_BYTES_STANDARD;
        }
        report->facts &= one.facts; /* what holds of all of them */
        report->guards &= one.guards;
        report->workers++;
        report->epc_used_max = counts.epc_used_max > report->epc_used_max ? counts.epc_used_max : report->epc_used_max;
        report->page_ins += counts.page_ins;
        report->page_outs += counts.page_outs;
        report->page_outs_clean += counts.page_outs_clean;
        if (report->operator_id == NULL)
            return PST_ENOMEM;
    }
    return PST_OK;
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
