/* build.c - the instances and channels of a graph, and what a partition that comes later needs of them (lane.c). */
#include "engine/build.h"

#include "engine/link.h"

#include <string.h>

int pst_edges_build(struct run *run)
{
    struct pst_graph *graph = run->graph;
    run->edges = pst_arena_alloc(&run->arena, graph->node_count * sizeof *run->edges);
    if (run->edges == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        run->edges[n] = pst_arena_alloc(&run->arena, node->input_count * sizeof **run->edges);
        if (run->edges[n] == NULL)
            return PST_ENOMEM;
        for (uint32_t i = 0; i < node->input_count; i++) {
            const struct pst_graph_input *input = &node->inputs[i];
            const struct pst_schema *schema = &graph->nodes[input->producer].outputs[input->producer_output].schema;
            struct edge *edge = &run->edges[n][i];
            *edge = (struct edge){.node = n,
                                  .input = i,
                                  .column_count = input->used_count,
                                  .columns = input->used,
                                  .keyed = input->key != NULL,
                                  .broadcast = input->broadcast,
                                  .total = node->order == PST_ORDER_TOTAL,
                                  .key = input->key,
                                  .key_count = input->key != NULL ? node->key_count : 0,
                                  .key_bytes = node->key_bytes,
                                  .bucket_mask = node->bucket_count - 1};
            edge->column_bytes = pst_arena_alloc(&run->arena, input->used_count * sizeof *edge->column_bytes);
            if (edge->column_bytes == NULL)
                return PST_ENOMEM;
            edge->frame_bytes = 8 + (edge->keyed ? 12 : 0) + (edge->total ? 12 : 0);
            for (uint32_t c = 0; c < input->used_count; c++) {
                edge->column_bytes[c] = pst_type_bytes(schema->fields[input->used[c]].type);
                edge->frame_bytes += edge->column_bytes[c];
            }
            edge->frame_bytes *= run->options.frame_rows;
        }
    }
    return PST_OK;
}

/* Buckets are dealt to partitions in runs of like length: partition p of n owns those with bucket * n / buckets == p. */
int pst_ownership_build(struct run *run)
{
    run->partition_of_bucket = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->partition_of_bucket);
    if (run->partition_of_bucket == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        run->partition_of_bucket[n] =
            pst_arena_alloc(&run->arena, node->bucket_count * sizeof **run->partition_of_bucket);
        if (run->partition_of_bucket[n] == NULL)
            return PST_ENOMEM;
        for (uint32_t b = 0; b < node->bucket_count; b++)
            run->partition_of_bucket[n][b] = (uint16_t)((uint64_t)b * node->partition_count / node->bucket_count);
    }
    return PST_OK;
}

static struct pst_ctx *instance_new(struct run *run, uint32_t node_index, uint32_t partition, uint32_t worker)
{
    const struct pst_graph_node *node = &run->graph->nodes[node_index];
    if (run->instance_count == run->instance_capacity) {
        uint32_t capacity = run->instance_capacity == 0 ? 64 : run->instance_capacity * 2;
        struct pst_ctx **instances = pst_realloc(run->instances, capacity * sizeof *instances);
        if (instances == NULL)
            return NULL;
        run->instances = instances;
        run->instance_capacity = capacity;
    }
    struct pst_ctx *ctx = pst_arena_alloc(&run->arena, sizeof *ctx);
    if (ctx == NULL)
        return NULL;
    ctx->head.host = pst_engine_host();
    ctx->run = run;
    ctx->node = node;
    ctx->node_index = node_index;
    ctx->partition = partition;
    ctx->index = run->instance_count;
    ctx->worker = worker;
    ctx->timer_min = ctx->timer_limit = ctx->cut = INT64_MAX;
    ctx->cut_done = INT64_MIN;
    ctx->watermark_out = INT64_MIN;
    pst_arena_init(&ctx->arena);
    run->instances[run->instance_count++] = ctx;
    return ctx;
}

static int instance_buckets(struct run *run, struct pst_ctx *ctx)
{
    uint32_t bucket_count = ctx->node->bucket_count;
    ctx->buckets = pst_arena_alloc(&run->arena, bucket_count * sizeof *ctx->buckets);
    ctx->due = pst_arena_alloc(&run->arena, bucket_count * sizeof *ctx->due);
    ctx->marked = pst_arena_alloc(&run->arena, bucket_count * sizeof *ctx->marked);
    ctx->timers = pst_arena_alloc(&run->arena, bucket_count * sizeof *ctx->timers);
    ctx->numbers = pst_arena_alloc(&run->arena, bucket_count * sizeof *ctx->numbers);
    if (ctx->buckets == NULL || ctx->due == NULL || ctx->marked == NULL || ctx->timers == NULL || ctx->numbers == NULL)
        return PST_ENOMEM;
    for (uint32_t b = 0; b < bucket_count; b++) {
        ctx->timers[b] = INT64_MAX;
        if (run->partition_of_bucket[ctx->node_index][b] == ctx->partition)
            ctx->buckets[ctx->owned_count++] = b;
    }
    return PST_OK;
}

static bool is_stage(const struct pst_graph_node *node) { return node->op->role == PST_ROLE_STATELESS; }

/* A partition, or the source on a worker, with everything behind it up to the first nodes that are no stages. */
static int outputs_build(struct run *run, struct pst_ctx *ctx, bool batches);

static int stage_build(struct run *run, struct pst_ctx *before, uint32_t node_index, struct pst_ctx **ret_stage)
{
    struct pst_ctx *stage = instance_new(run, node_index, before->partition, before->worker);
    if (stage == NULL)
        return PST_ENOMEM;
    stage->gathered = pst_arena_alloc(&run->arena, (stage->node->inputs[0].used_count + 1) * sizeof *stage->gathered);
    if (stage->gathered == NULL)
        return PST_ENOMEM;
    *ret_stage = stage;
    return outputs_build(run, stage, false);
}

static int route_build(struct run *run, struct pst_ctx *ctx, const struct pst_graph_consumer *consumer,
                       struct route *route)
{
    const struct pst_graph_node *node = &run->graph->nodes[consumer->node];
    (void)ctx;
    route->edge = &run->edges[consumer->node][consumer->input];
    route->target_count = node->partition_count;
    route->partition_of_bucket = run->partition_of_bucket[consumer->node];
    route->targets = pst_arena_alloc(&run->arena, node->partition_count * sizeof(struct channel *));
    return route->targets != NULL ? PST_OK : PST_ENOMEM;
}

static int output_build(struct run *run, struct pst_ctx *ctx, struct output *output)
{
    const struct pst_graph_output *plan = output->plan;
    output->stages = pst_arena_alloc(&run->arena, (plan->consumer_count + 1) * sizeof(struct pst_ctx *));
    output->routes = pst_arena_alloc(&run->arena, (plan->consumer_count + 1) * sizeof *output->routes);
    if (output->stages == NULL || output->routes == NULL)
        return PST_ENOMEM;
    for (uint32_t c = 0; c < plan->consumer_count; c++) {
        const struct pst_graph_node *node = &run->graph->nodes[plan->consumers[c].node];
        int rc;
        if (is_stage(node)) {
            struct pst_ctx *stage = NULL;
            rc = stage_build(run, ctx, plan->consumers[c].node, &stage);
            if (rc == PST_OK) {
                output->stages[output->stage_count++] = stage;
                for (uint32_t o = 0; o < stage->node->output_count; o++)
                    output->total |= stage->outputs[o].total;
            }
        } else {
            rc = route_build(run, ctx, &plan->consumers[c], &output->routes[output->route_count++]);
            output->total |= node->order == PST_ORDER_TOTAL;
        }
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int outputs_build(struct run *run, struct pst_ctx *ctx, bool batches)
{
    ctx->outputs = pst_arena_alloc(&run->arena, (ctx->node->output_count + 1) * sizeof *ctx->outputs);
    if (ctx->outputs == NULL)
        return PST_ENOMEM;
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        ctx->outputs[o].plan = &ctx->node->outputs[o];
        int rc = output_build(run, ctx, &ctx->outputs[o]);
        if (rc == PST_OK && batches)
            rc = pst_batch_init(&ctx->outputs[o].batch, &ctx->outputs[o].plan->schema, BATCH_ROWS);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

bool pst_is_here(const struct run *run, uint32_t node_index, uint32_t partition)
{
    const struct site *site = run->site;
    return site == NULL || site->node_of_partition[node_index][partition] == site->this_node;
}

bool pst_reads(const struct run *run) { return run->site == NULL || run->site->reads[run->site->this_node]; }

/* Partitions are dealt to workers in turn, on from one node to the next, so that single ones spread. */
int pst_instances_build(struct run *run)
{
    uint32_t next_worker = 0;
    run->partitions = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->partitions);
    if (run->partitions == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        bool source = node->op->role == PST_ROLE_SOURCE;
        if (is_stage(node))
            continue;
        uint32_t count = source ? run->worker_count : node->partition_count;
        run->partitions[n] = pst_arena_alloc(&run->arena, count * sizeof **run->partitions);
        if (run->partitions[n] == NULL)
            return PST_ENOMEM;
        for (uint32_t p = 0; p < count; p++) {
            if (source ? !pst_reads(run) : !pst_is_here(run, n, p))
                continue;
            uint32_t worker = source ? p : next_worker++ % run->worker_count;
            struct pst_ctx *ctx = instance_new(run, n, p, worker);
            int rc = ctx != NULL ? outputs_build(run, ctx, !source) : PST_ENOMEM;
            if (rc == PST_OK && !source)
                rc = instance_buckets(run, ctx);
            if (rc != PST_OK)
                return rc;
            run->partitions[n][p] = ctx;
        }
    }
    return PST_OK;
}

static int channel_add(struct run *run, struct channel *channel)
{
    if (channel == NULL)
        return PST_ENOMEM;
    if (run->channel_count == CHANNELS_MAX) {
        pst_channel_free(channel);
        pst_run_fail(run, PST_EGRAPH,
                     "the graph has more than %d channels between its partitions: give it fewer partitions or workers",
                     CHANNELS_MAX);
        return PST_EGRAPH;
    }
    if (run->channel_count == run->channel_capacity) {
        uint32_t capacity = run->channel_capacity == 0 ? 64 : run->channel_capacity * 2;
        struct channel **channels = pst_realloc(run->channels, capacity * sizeof(struct channel *));
        if (channels == NULL) {
            pst_channel_free(channel);
            return PST_ENOMEM;
        }
        run->channels = channels;
        run->channel_capacity = capacity;
    }
    run->channels[run->channel_count++] = channel;
    return PST_OK;
}

static uint32_t count_routes(const struct pst_ctx *ctx)
{
    uint32_t count = 0;
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++)
            count += ctx->outputs[o].routes[r].target_count;
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count; s++)
            count += count_routes(ctx->outputs[o].stages[s]);
    }
    return count;
}

/* From `owner` to a partition here or on another node. */
static int channel_out_build(struct run *run, struct pst_ctx *owner, const struct edge *edge, uint32_t partition,
                             uint32_t number, struct channel **ret_channel)
{
    struct pst_ctx *target = run->partitions[edge->node][partition];
    uint32_t far_node = target != NULL ? 0 : run->site->node_of_partition[edge->node][partition];
    uint32_t worker = target != NULL ? target->worker : pst_link_worker(run, far_node);
    struct channel *channel = pst_channel_new(run, edge, owner->worker, worker);
    int rc = channel_add(run, channel);
    if (rc != PST_OK)
        return rc;
    channel->consumer = target;
    channel->from_source = owner->node->op->role == PST_ROLE_SOURCE;
    owner->channels_out[owner->channel_out_count++] = channel;
    *ret_channel = channel;
    if (target == NULL)
        return pst_link_add(run, far_node, channel, number, PST_LINK_OUT);
    target->channel_count++;
    return PST_OK;
}

/* Makes the channels of every route of `ctx` (an instance or a stage inside `owner`); *number is of the next one. */
static int channels_of(struct run *run, struct pst_ctx *owner, struct pst_ctx *ctx, uint32_t *number)
{
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++) {
            struct route *route = &ctx->outputs[o].routes[r];
            for (uint32_t t = 0; t < route->target_count; t++) {
                int rc = channel_out_build(run, owner, route->edge, t, (*number)++, &route->targets[t]);
                if (rc != PST_OK)
                    return rc;
            }
        }
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count; s++) {
            int rc = channels_of(run, owner, ctx->outputs[o].stages[s], number);
            if (rc != PST_OK)
                return rc;
        }
    }
    return PST_OK;
}

/* An instance on another node. */
struct far_instance {
    uint32_t node; /* of the cluster */
    pst_link_end end;
    uint32_t *number;
};

static int channels_in_build(struct run *run, const struct far_instance *from,
                             const struct pst_graph_consumer *consumer)
{
    const struct edge *edge = &run->edges[consumer->node][consumer->input];
    uint32_t partition_count = run->graph->nodes[consumer->node].partition_count;
    for (uint32_t t = 0; t < partition_count; t++, (*from->number)++) {
        struct pst_ctx *target = run->partitions[consumer->node][t];
        if (target == NULL)
            continue;
        struct channel *channel = pst_channel_new(run, edge, pst_link_worker(run, from->node), target->worker);
        int rc = channel_add(run, channel);
        if (rc != PST_OK)
            return rc;
        channel->consumer = target;
        target->channel_count++;
        rc = pst_link_add(run, from->node, channel, *from->number, from->end);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* As channels_of(), in the same order: of its channels those that lead here. */
static int channels_from(struct run *run, const struct far_instance *from, uint32_t node_index)
{
    const struct pst_graph *graph = run->graph;
    const struct pst_graph_node *node = &graph->nodes[node_index];
    int rc = PST_OK;
    for (uint32_t o = 0; o < node->output_count; o++) {
        const struct pst_graph_output *output = &node->outputs[o];
        for (uint32_t c = 0; c < output->consumer_count && rc == PST_OK; c++)
            if (!is_stage(&graph->nodes[output->consumers[c].node]))
                rc = channels_in_build(run, from, &output->consumers[c]);
        for (uint32_t c = 0; c < output->consumer_count && rc == PST_OK; c++)
            if (is_stage(&graph->nodes[output->consumers[c].node]))
                rc = channels_from(run, from, output->consumers[c].node);
    }
    return rc;
}

static int channels_of_instance(struct run *run, uint32_t node_index, uint32_t far_node, struct pst_ctx *ctx,
                                uint32_t *number)
{
    bool source = run->graph->nodes[node_index].op->role == PST_ROLE_SOURCE;
    if (ctx == NULL) {
        struct far_instance from = {far_node, source ? PST_LINK_IN_SOURCE : PST_LINK_IN, number};
        return channels_from(run, &from, node_index);
    }
    ctx->channels_out = pst_arena_alloc(&run->arena, (count_routes(ctx) + 1) * sizeof(struct channel *));
    return ctx->channels_out != NULL ? channels_of(run, ctx, ctx, number) : PST_ENOMEM;
}

/* Channels are numbered alike on all nodes: by operator, then instance (of a source by node and worker), then route, then target. */
static int channels_number(struct run *run)
{
    const struct site *site = run->site;
    uint32_t number = 0;
    int rc = PST_OK;
    for (uint32_t n = 0; n < run->graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        bool source = node->op->role == PST_ROLE_SOURCE;
        for (uint32_t p = 0; !is_stage(node) && !source && p < node->partition_count && rc == PST_OK; p++)
            rc = channels_of_instance(run, n, site != NULL ? site->node_of_partition[n][p] : 0, run->partitions[n][p],
                                      &number);
        for (uint32_t k = 0; source && k < (site != NULL ? site->node_count : 1); k++) {
            bool here = site == NULL || k == site->this_node;
            uint32_t workers = site == NULL ? run->worker_count : site->reads[k] ? site->worker_count[k] : 0;
            for (uint32_t w = 0; w < workers && rc == PST_OK; w++)
                rc = channels_of_instance(run, n, k, here ? run->partitions[n][w] : NULL, &number);
        }
    }
    return rc;
}

int pst_channels_build(struct run *run)
{
    int rc = channels_number(run);
    if (rc != PST_OK)
        return rc;
    for (uint32_t i = 0; i < run->instance_count; i++) { /* the consumers' side, in the order of inputs */
        struct pst_ctx *ctx = run->instances[i];
        ctx->channels = pst_arena_alloc(&run->arena, (ctx->channel_count + 1) * sizeof(struct channel *));
        if (ctx->channels == NULL)
            return PST_ENOMEM;
        ctx->channel_count = 0;
    }
    for (uint32_t c = 0; c < run->channel_count; c++) {
        struct pst_ctx *consumer = run->channels[c]->consumer;
        if (consumer == NULL)
            continue; /* on another node */
        consumer->channels[consumer->channel_count++] = run->channels[c];
    }
    return PST_OK;
}
