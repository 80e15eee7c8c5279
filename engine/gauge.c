/* gauge.c - what the instances of a run have done and have: written by their workers in passing, read by the keeper.
 *
 * A worker looks at the clock once for a step and once for each instance that did something in it; an instance that did nothing costs
 * two comparisons. What it took is part of the next one that did something: some nanoseconds. */
#include "engine/enclave.h"

static uint64_t look(_Atomic uint64_t const *figure) { return atomic_load_explicit(figure, memory_order_relaxed); }

static void set(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

/* A source on a worker has put out all below the blocks that it has not sent. */
static int64_t watermark_of(const struct pst_ctx *ctx)
{
    if (ctx->node->op->role == PST_ROLE_SOURCE)
        return atomic_load_explicit(&ctx->run->input.max, memory_order_relaxed);
    return ctx->now_known ? ctx->now : INT64_MIN;
}

#define WORKER_LOOK_NS (UINT64_C(20) * 1000 * 1000)

/* A worker works while its partition's thread does something else, or nothing: so it is looked at whether a step did something or not.
 * Whoever waits for one steps again within a millisecond. A worker in another one's place begins anew. */
static void worker_look(struct pst_ctx *ctx, uint64_t now_ns)
{
    struct gauge *gauge = &ctx->gauge;
    if (now_ns - gauge->looked_ns < WORKER_LOOK_NS)
        return;
    uint64_t worked_ns = pst_enclave_worked_ns(ctx->enclave);
    pst_count(&gauge->worker_ns, worked_ns - (worked_ns >= gauge->worker_seen_ns ? gauge->worker_seen_ns : 0));
    gauge->worker_seen_ns = worked_ns;
    gauge->looked_ns = now_ns;
}

void pst_gauge_step(struct pst_ctx *ctx, bool any, uint64_t *then_ns)
{
    struct gauge *gauge = &ctx->gauge;
    if (ctx->enclave != NULL)
        worker_look(ctx, *then_ns);
    uint64_t since_ns = look(&gauge->blocked_since_ns);
    if (!any && ctx->held_up == (since_ns != 0))
        return;
    uint64_t now_ns = ctx->run->world->now_ns(ctx->run->world->self);
    if (since_ns != 0) {
        pst_count(&gauge->blocked_ns, *then_ns > since_ns ? *then_ns - since_ns : 0);
        set(&gauge->blocked_since_ns, 0);
    }
    if (any) {
        pst_count(&gauge->busy_ns, now_ns - *then_ns);
        set(&gauge->held_bytes, ctx->held_bytes);
        set(&gauge->state_bytes, ctx->state != NULL ? pst_state_bytes(ctx->state) : pst_ctx_enclave_bytes(ctx));
        atomic_store_explicit(&gauge->watermark, watermark_of(ctx), memory_order_relaxed);
    }
    if (ctx->held_up)
        set(&gauge->blocked_since_ns, now_ns | 1);
    *then_ns = now_ns;
}

uint64_t pst_gauge_blocked(const struct gauge *gauge, uint64_t now_ns)
{
    uint64_t since_ns = look(&gauge->blocked_since_ns), blocked_ns = look(&gauge->blocked_ns);
    return blocked_ns + (since_ns != 0 && now_ns > since_ns ? now_ns - since_ns : 0);
}

static uint64_t ring_bytes(const struct channel *channel)
{
    return (uint64_t)ck_ring_size(&channel->ring) * channel->edge->frame_bytes;
}

uint64_t pst_gauge_queue(const struct pst_ctx *ctx)
{
    uint64_t bytes = look(&ctx->gauge.held_bytes);
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        bytes += ring_bytes(ctx->channels[c]);
    return bytes;
}

void pst_gauge_gone(struct run *run, const struct channel *channel)
{
    struct edge *edge = &run->edges[channel->edge->node][channel->edge->input];
    edge->rows_gone += channel->sequence;
    edge->rows_left_gone += channel->far != NULL ? channel->sequence : 0;
}

void pst_gauge_edges(const struct run *run, struct edge_gauge *ret_gauges)
{
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t i = 0; i < run->graph->nodes[n].input_count; i++)
            ret_gauges[run->edges[n][i].index] =
                (struct edge_gauge){.rows = run->edges[n][i].rows_gone, .rows_left = run->edges[n][i].rows_left_gone};
    for (uint32_t i = 0; i < run->channel_count; i++) {
        const struct channel *channel = run->channels[i];
        struct edge_gauge *gauge = &ret_gauges[channel->edge->index];
        uint64_t rows = channel->producer != NULL ? look(&channel->rows) : 0;
        gauge->rows += rows;
        gauge->rows_left += channel->far != NULL ? rows : 0;
        gauge->queue_bytes += ring_bytes(channel);
        gauge->queue_bytes_max += (uint64_t)ck_ring_capacity(&channel->ring) * channel->edge->frame_bytes;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t i = 0; i < run->graph->nodes[n].input_count; i++) {
            const struct edge *edge = &run->edges[n][i];
            ret_gauges[edge->index].bytes =
                ret_gauges[edge->index].rows * (edge->frame_bytes / run->options.frame_rows);
        }
}
