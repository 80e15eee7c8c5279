/* build.c - the instances and channels of a graph, and what a partition that comes later needs of them (lane.c). */
#include "engine/build.h"
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/enclave.h"
#include "engine/lane.h"
#include "engine/spill.h"

#include <string.h>

static bool is_stage(const struct pst_graph_node *node) { return node->op->role == PST_ROLE_STATELESS; }

/* On several nodes what an operator with state puts out bears its bucket and number, so that it can come from two. */
static bool is_numbered(const struct run *run, uint32_t node_index)
{
    const struct pst_graph_node *node = &run->graph->nodes[node_index];
    return run->site != NULL && run->graph->carry == NULL && run->graph->nodes[node->host].op->role == PST_ROLE_PLAIN;
}

/* Where each of the key's fields is among the columns that the consumer reads; *ret_columns stays NULL where one is not. */
static int key_columns_find(struct run *run, const struct edge *edge, const uint32_t **ret_columns)
{
    uint32_t *found = pst_arena_alloc(&run->arena, (edge->key_count + 1) * sizeof *found);
    if (found == NULL)
        return PST_ENOMEM;
    for (uint32_t k = 0; k < edge->key_count; k++) {
        found[k] = 0;
        while (found[k] < edge->column_count && edge->columns[found[k]] != edge->key[k])
            found[k]++;
        if (found[k] == edge->column_count)
            return PST_OK;
    }
    *ret_columns = found;
    return PST_OK;
}

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
                                  .index = run->edge_count++,
                                  .column_count = input->used_count,
                                  .columns = input->used,
                                  .keyed = input->key != NULL,
                                  .broadcast = input->broadcast,
                                  .total = node->order == PST_ORDER_TOTAL || is_numbered(run, input->producer),
                                  .key = input->key,
                                  .key_count = input->key != NULL ? node->key_count : 0,
                                  .key_bytes = node->key_bytes,
                                  .lead_bytes = node->lead_bytes,
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
            if (edge->keyed && key_columns_find(run, edge, &edge->key_columns) != PST_OK)
                return PST_ENOMEM;
        }
    }
    return PST_OK;
}

/* Where nothing else is said buckets are dealt to partitions in runs of like length: partition p of n owns those with
 * bucket * n / buckets == p. */
int pst_ownership_build(struct run *run)
{
    const struct site *site = run->site;
    run->partition_of_bucket = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->partition_of_bucket);
    run->partition_count = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->partition_count);
    run->twin = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->twin);
    if (run->partition_of_bucket == NULL || run->partition_count == NULL || run->twin == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        const uint16_t *said = site != NULL && site->partition_of_bucket != NULL ? site->partition_of_bucket[n] : NULL;
        uint16_t *of = run->partition_of_bucket[n] = pst_arena_alloc(&run->arena, node->bucket_count * sizeof *of);
        if (of == NULL)
            return PST_ENOMEM;
        if (site != NULL && site->twin != NULL && site->twin[n] != NULL) {
            size_t bytes = pst_partition_numbers(node) * sizeof **run->twin;
            run->twin[n] = pst_arena_alloc(&run->arena, bytes);
            if (run->twin[n] == NULL)
                return PST_ENOMEM;
            memcpy(run->twin[n], site->twin[n], bytes);
        }
        run->partition_count[n] = said != NULL ? site->partition_count[n] : node->partition_count;
        for (uint32_t b = 0; b < node->bucket_count; b++) {
            uint64_t dealt = (uint64_t)b * node->partition_count / node->bucket_count;
            of[b] = (uint16_t)(said != NULL ? said[b] : dealt);
        }
    }
    return PST_OK;
}

static struct pst_ctx *instance_new(struct run *run, uint32_t node_index, uint32_t partition, uint32_t worker)
{
    const struct pst_graph_node *node = &run->graph->nodes[node_index];
    struct pst_ctx *ctx = NULL;
    for (uint32_t i = 0; i < run->instance_count && ctx == NULL; i++) /* one that is no more leaves its place */
        ctx = run->instances[i]->retired ? run->instances[i] : NULL;
    if (ctx == NULL && run->instance_count == run->instance_capacity) {
        uint32_t capacity = run->instance_capacity == 0 ? 64 : run->instance_capacity * 2;
        struct pst_ctx **instances = pst_realloc(run->instances, capacity * sizeof *instances);
        if (instances == NULL)
            return NULL;
        run->instances = instances;
        run->instance_capacity = capacity;
    }
    uint32_t index = ctx != NULL ? ctx->index : run->instance_count;
    if (ctx == NULL)
        ctx = pst_arena_alloc(&run->arena, sizeof *ctx);
    if (ctx == NULL)
        return NULL;
    *ctx = (struct pst_ctx){.index = index};
    ctx->head.host = pst_engine_host();
    ctx->run = run;
    ctx->node = node;
    ctx->node_index = node_index;
    ctx->partition = partition;
    ctx->worker = worker;
    ctx->timer_min = ctx->timer_limit = ctx->cut = INT64_MAX;
    ctx->cut_done = ctx->cut_seen = INT64_MIN;
    ctx->watermark_out = INT64_MIN;
    atomic_init(&ctx->gauge.watermark, INT64_MIN);
    pst_arena_init(&ctx->arena);
    pst_arena_init(&ctx->user_arena);
    run->instances[index] = ctx;
    run->instance_count += index == run->instance_count;
    return ctx;
}

static int instance_buckets(struct run *run, struct pst_ctx *ctx)
{
    uint32_t bucket_count = ctx->node->bucket_count;
    ctx->buckets = pst_arena_alloc(&ctx->arena, bucket_count * sizeof *ctx->buckets);
    ctx->due = pst_arena_alloc(&ctx->arena, bucket_count * sizeof *ctx->due);
    ctx->marked = pst_arena_alloc(&ctx->arena, bucket_count * sizeof *ctx->marked);
    ctx->timers = pst_arena_alloc(&ctx->arena, bucket_count * sizeof *ctx->timers);
    ctx->numbers = pst_arena_alloc(&ctx->arena, bucket_count * sizeof *ctx->numbers);
    if (ctx->buckets == NULL || ctx->due == NULL || ctx->marked == NULL || ctx->timers == NULL || ctx->numbers == NULL)
        return PST_ENOMEM;
    uint32_t twin = pst_twin(run, ctx->node_index, ctx->partition);
    const uint16_t *of = run->partition_of_bucket[ctx->node_index];
    for (uint32_t b = 0; b < bucket_count; b++) {
        ctx->timers[b] = INT64_MAX;
        if (of[b] == ctx->partition || of[b] == twin)
            ctx->buckets[ctx->owned_count++] = b;
        ctx->copy |= of[b] == twin;
    }
    return PST_OK;
}

/* A partition, or the source on a worker, with everything behind it up to the first nodes that are no stages. */
static int outputs_build(struct run *run, struct pst_ctx *ctx, bool batches);

static int stage_build(struct run *run, struct pst_ctx *before, uint32_t node_index, struct pst_ctx **ret_stage)
{
    struct pst_ctx *stage = instance_new(run, node_index, before->partition, before->worker);
    if (stage == NULL)
        return PST_ENOMEM;
    stage->gathered = pst_arena_alloc(&stage->arena, (stage->node->inputs[0].used_count + 1) * sizeof *stage->gathered);
    if (stage->gathered == NULL)
        return PST_ENOMEM;
    *ret_stage = stage;
    return outputs_build(run, stage, false);
}

static int route_build(struct run *run, struct pst_ctx *ctx, const struct pst_graph_consumer *consumer,
                       struct route *route)
{
    const struct pst_graph_node *node = &run->graph->nodes[consumer->node];
    route->edge = &run->edges[consumer->node][consumer->input];
    route->target_count = run->partition_count[consumer->node];
    route->partition_of_bucket = run->partition_of_bucket[consumer->node];
    route->twin = run->twin[consumer->node];
    route->targets = pst_arena_alloc(&ctx->arena, pst_partition_numbers(node) * sizeof(struct channel *));
    return route->targets != NULL ? PST_OK : PST_ENOMEM;
}

static int output_build(struct run *run, struct pst_ctx *ctx, struct output *output)
{
    const struct pst_graph_output *plan = output->plan;
    output->stages = pst_arena_alloc(&ctx->arena, (plan->consumer_count + 1) * sizeof(struct pst_ctx *));
    output->routes = pst_arena_alloc(&ctx->arena, (plan->consumer_count + 1) * sizeof *output->routes);
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
            output->total |= run->edges[plan->consumers[c].node][plan->consumers[c].input].total;
        }
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int outputs_build(struct run *run, struct pst_ctx *ctx, bool batches)
{
    ctx->outputs = pst_arena_alloc(&ctx->arena, (ctx->node->output_count + 1) * sizeof *ctx->outputs);
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

static bool has_partition(const struct run *run, uint32_t node)
{
    const struct site *site = run->site;
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t p = 0; site->node_of_partition[n] != NULL && p < run->partition_count[n]; p++)
            if (site->node_of_partition[n][p] == node)
                return true;
    return false;
}

bool pst_node_has_place(const struct run *run, uint32_t node)
{
    return run->site->reads[node] || has_partition(run, node);
}

bool pst_reads(const struct run *run) { return run->site == NULL || run->site->reads[run->site->this_node]; }

bool pst_several_read(const struct run *run)
{
    uint32_t count = 0;
    for (uint32_t k = 0; run->site != NULL && k < run->site->node_count; k++)
        count += run->site->reads[k];
    return count > 1;
}

bool pst_only_reads(const struct run *run)
{
    return run->site != NULL && run->site->reads[run->site->this_node] && !has_partition(run, run->site->this_node);
}

/* Partitions are dealt to workers in turn, on from one node to the next, so that single ones spread. */
int pst_instances_build(struct run *run)
{
    uint32_t next_worker = 0;
    run->partitions = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->partitions);
    run->born = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->born);
    run->route_number = pst_arena_alloc(&run->arena, run->graph->node_count * sizeof *run->route_number);
    if (run->partitions == NULL || run->born == NULL || run->route_number == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        bool source = node->op->role == PST_ROLE_SOURCE;
        if (is_stage(node))
            continue;
        uint32_t count = source ? run->worker_count : run->partition_count[n];
        uint32_t room = source ? count : pst_partition_numbers(node);
        run->partitions[n] = pst_arena_alloc(&run->arena, room * sizeof **run->partitions);
        run->born[n] = pst_arena_alloc(&run->arena, room * sizeof **run->born);
        if (run->partitions[n] == NULL || run->born[n] == NULL)
            return PST_ENOMEM;
        if (!source && run->site != NULL && run->site->born != NULL && run->site->born[n] != NULL)
            memcpy(run->born[n], run->site->born[n], room * sizeof **run->born);
        for (uint32_t p = 0; p < count; p++) {
            if (source ? !pst_reads(run) : !pst_is_here(run, n, p)) /* of a number that is not used: not here */
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
    if (run->graph->carry != NULL)
        channel->floor = INT64_MIN; /* of rows that came sealed nothing is known before a mark says it */
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

/* ---- numbers of channels ----
 * A channel has a number on every node, from what it joins alone, so that one that is made later needs no agreement: routes are
 * counted in the order of the graph, and each has room for all instances that its producer may ever have, by all that its consumer may. */
struct numbers {
    uint64_t route; /* the first one of the next route */
    uint32_t slot;  /* of the producer among its operator's */
    uint32_t slot_count;
};

static uint32_t slot_count(const struct run *run, const struct pst_graph_node *node)
{
    uint32_t nodes = 0; /* up to the last one that reads: those that are added behind it do not */
    if (node->op->role != PST_ROLE_SOURCE)
        return pst_partition_numbers(node);
    for (uint32_t k = 0; run->site != NULL && k < run->site->node_count; k++)
        nodes = run->site->reads[k] ? k + 1 : nodes;
    return run->site != NULL ? nodes * PST_WORKERS_MAX : run->worker_count;
}

static uint64_t number_of(const struct numbers *numbers, const struct pst_graph_node *consumer, uint32_t partition)
{
    return numbers->route + (uint64_t)numbers->slot * pst_partition_numbers(consumer) + partition;
}

static void next_route(struct numbers *numbers, const struct pst_graph_node *consumer)
{
    numbers->route += (uint64_t)numbers->slot_count * pst_partition_numbers(consumer);
}

/* ---- channels ---- */

/* Of an instance, and with it. */
static int list_grow(struct pst_ctx *ctx, void *list_of_pointers, uint32_t count, uint32_t *capacity)
{
    void **list = *(void ***)list_of_pointers;
    if (count < *capacity)
        return PST_OK;
    uint32_t larger = *capacity == 0 ? 8 : *capacity * 2;
    void **copy = pst_arena_alloc(&ctx->arena, larger * sizeof *copy);
    if (copy == NULL)
        return PST_ENOMEM;
    if (count != 0)
        memcpy(copy, list, count * sizeof *copy);
    *(void ***)list_of_pointers = copy;
    *capacity = larger;
    return PST_OK;
}

/* Both replicas of its producer send the same: the consumer counts what it takes, so that it takes nothing twice. */
static int twin_find(struct pst_ctx *consumer, struct channel *channel)
{
    struct run *run = consumer->run;
    uint32_t twin = pst_twin(run, channel->producer_index, channel->from);
    if (channel->from_source || channel->reader != 0 || twin == NO_TWIN)
        return PST_OK;
    for (uint32_t c = 0; c < consumer->channel_count; c++) {
        struct channel *other = consumer->channels[c];
        if (other->edge != channel->edge || other->from != twin || other->to != channel->to)
            continue;
        other->twin = channel;
        channel->twin = other;
    }
    return pst_taken_always(run, consumer, channel->edge->input);
}

int pst_channel_into(struct pst_ctx *consumer, struct channel *channel)
{
    int rc = list_grow(consumer, &consumer->channels, consumer->channel_count, &consumer->channel_capacity);
    if (rc == PST_OK && channel->twin == NULL)
        rc = twin_find(consumer, channel);
    if (rc == PST_OK)
        consumer->channels[consumer->channel_count++] = channel;
    return rc;
}

/* Which of all that its number has named a channel is: the youngest. */
static uint32_t epoch_of(const struct run *run, uint32_t producer, uint32_t slot, uint32_t consumer, uint32_t partition)
{
    bool source = run->graph->nodes[producer].op->role == PST_ROLE_SOURCE;
    uint32_t from = source ? 0 : run->born[producer][slot], to = run->born[consumer][partition];
    return from > to ? from : to;
}

/* From `owner` to a partition here or on another node. */
int pst_channel_out_build(struct run *run, struct pst_ctx *owner, const struct edge *edge, uint32_t partition,
                          uint64_t number, struct channel **ret_channel)
{
    struct pst_ctx *target = run->partitions[edge->node][partition];
    uint32_t far_node = target != NULL ? 0 : run->site->node_of_partition[edge->node][partition];
    uint32_t worker = target != NULL ? target->worker : pst_link_worker(run, far_node);
    struct channel *channel = pst_channel_new(run, edge, owner->worker, worker);
    int rc = channel_add(run, channel);
    if (rc == PST_OK)
        rc = list_grow(owner, &owner->channels_out, owner->channel_out_count, &owner->channel_out_capacity);
    if (rc != PST_OK)
        return rc;
    channel->producer = owner;
    channel->consumer = target;
    channel->producer_index = owner->node_index;
    channel->from = owner->partition;
    channel->to = partition;
    channel->from_source = owner->node->op->role == PST_ROLE_SOURCE;
    channel->reader = channel->from_source ? 1 + (run->site != NULL ? run->site->this_node : 0) : 0;
    owner->channels_out[owner->channel_out_count++] = channel;
    *ret_channel = channel;
    return target != NULL
               ? pst_channel_into(target, channel)
               : pst_link_add(run, far_node, channel, number,
                              epoch_of(run, owner->node_index, owner->partition, edge->node, partition), PST_LINK_OUT);
}

/* From an instance on another node to a partition here. */
int pst_channel_in_build(struct run *run, const struct origin *from, const struct edge *edge, struct pst_ctx *target,
                         uint64_t number, struct channel **ret_channel)
{
    struct channel *channel = pst_channel_new(run, edge, pst_link_worker(run, from->far_node), target->worker);
    int rc = channel_add(run, channel);
    if (rc != PST_OK)
        return rc;
    channel->consumer = target;
    channel->producer_index = from->operator_index;
    channel->from = from->slot;
    channel->to = target->partition;
    channel->reader = from->end == PST_LINK_IN_SOURCE ? 1 + from->far_node : 0;
    *ret_channel = channel;
    rc = pst_channel_into(target, channel);
    if (rc != PST_OK)
        return rc;
    uint32_t epoch = epoch_of(run, from->operator_index, from->slot, edge->node, target->partition);
    return pst_link_add(run, from->far_node, channel, number, epoch, from->end);
}

/* Lanes that were given up have left a hole. */
static bool is_anywhere(const struct run *run, uint32_t node_index, uint32_t partition)
{
    return run->site == NULL || run->site->node_of_partition[node_index][partition] != UINT16_MAX;
}

/* Makes the channels of every route of `ctx` (an instance or a stage inside `owner`). */
static int channels_of(struct run *run, struct pst_ctx *owner, struct pst_ctx *ctx, struct numbers *numbers)
{
    int rc = PST_OK;
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        for (uint32_t r = 0; r < ctx->outputs[o].route_count && rc == PST_OK; r++) {
            struct route *route = &ctx->outputs[o].routes[r];
            const struct pst_graph_node *consumer = &run->graph->nodes[route->edge->node];
            route->number = numbers->route + (uint64_t)numbers->slot * pst_partition_numbers(consumer);
            for (uint32_t t = 0; t < route->target_count && rc == PST_OK; t++)
                if (is_anywhere(run, route->edge->node, t))
                    rc = pst_channel_out_build(run, owner, route->edge, t, number_of(numbers, consumer, t),
                                               &route->targets[t]);
            next_route(numbers, consumer);
        }
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count && rc == PST_OK; s++)
            rc = channels_of(run, owner, ctx->outputs[o].stages[s], numbers);
    }
    return rc;
}

/* An instance on another node. */
struct far_instance {
    struct origin origin;
    struct numbers numbers;
};

static int channels_in_build(struct run *run, struct far_instance *from, const struct pst_graph_consumer *consumer)
{
    const struct edge *edge = &run->edges[consumer->node][consumer->input];
    const struct pst_graph_node *to = &run->graph->nodes[consumer->node];
    int rc = PST_OK;
    for (uint32_t t = 0; t < run->partition_count[consumer->node] && rc == PST_OK; t++) {
        struct pst_ctx *target = run->partitions[consumer->node][t];
        struct channel *channel;
        if (target != NULL)
            rc = pst_channel_in_build(run, &from->origin, edge, target, number_of(&from->numbers, to, t), &channel);
    }
    next_route(&from->numbers, to);
    return rc;
}

/* As channels_of(), in the same order: of its channels those that lead here. */
static int channels_from(struct run *run, struct far_instance *from, uint32_t node_index)
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

/* How many numbers the routes of an operator take. */
static uint64_t numbers_taken(const struct run *run, uint32_t node_index, uint32_t slots)
{
    const struct pst_graph_node *node = &run->graph->nodes[node_index];
    uint64_t taken = 0;
    for (uint32_t o = 0; o < node->output_count; o++) {
        for (uint32_t c = 0; c < node->outputs[o].consumer_count; c++) {
            uint32_t index = node->outputs[o].consumers[c].node;
            const struct pst_graph_node *consumer = &run->graph->nodes[index];
            taken += is_stage(consumer) ? numbers_taken(run, index, slots)
                                        : (uint64_t)slots * pst_partition_numbers(consumer);
        }
    }
    return taken;
}

static int channels_of_instance(struct run *run, uint32_t node_index, uint32_t far_node, struct pst_ctx *ctx,
                                struct numbers numbers)
{
    bool source = run->graph->nodes[node_index].op->role == PST_ROLE_SOURCE;
    if (ctx != NULL)
        return channels_of(run, ctx, ctx, &numbers);
    struct far_instance from = {{far_node, source ? PST_LINK_IN_SOURCE : PST_LINK_IN, node_index, numbers.slot},
                                numbers};
    return channels_from(run, &from, node_index);
}

static int channels_of_source(struct run *run, uint32_t node_index, struct numbers numbers)
{
    const struct site *site = run->site;
    int rc = PST_OK;
    for (uint32_t k = 0; k < (site != NULL ? site->node_count : 1); k++) {
        bool here = site == NULL || k == site->this_node;
        uint32_t workers = site == NULL ? run->worker_count : site->reads[k] ? site->worker_count[k] : 0;
        for (uint32_t w = 0; w < workers && rc == PST_OK; w++) {
            numbers.slot = site != NULL ? k * PST_WORKERS_MAX + w : w;
            rc = channels_of_instance(run, node_index, k, here ? run->partitions[node_index][w] : NULL, numbers);
        }
    }
    return rc;
}

int pst_channels_build(struct run *run)
{
    const struct site *site = run->site;
    uint64_t route = 0;
    int rc = PST_OK;
    for (uint32_t n = 0; n < run->graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        if (is_stage(node))
            continue;
        struct numbers numbers = {.route = route, .slot_count = slot_count(run, node)};
        run->route_number[n] = route;
        route += numbers_taken(run, n, numbers.slot_count);
        if (node->op->role == PST_ROLE_SOURCE) {
            rc = channels_of_source(run, n, numbers);
            continue;
        }
        for (; numbers.slot < run->partition_count[n] && rc == PST_OK; numbers.slot++) {
            if (!is_anywhere(run, n, numbers.slot))
                continue;
            rc = channels_of_instance(run, n, site != NULL ? site->node_of_partition[n][numbers.slot] : 0,
                                      run->partitions[n][numbers.slot], numbers);
        }
    }
    return rc;
}

/* ---- what comes later ---- */

int pst_instance_later(struct run *run, uint32_t node_index, uint32_t partition, uint32_t worker,
                       struct pst_ctx **ret_ctx)
{
    struct pst_ctx *ctx = instance_new(run, node_index, partition, worker);
    int rc = ctx != NULL ? outputs_build(run, ctx, true) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = instance_buckets(run, ctx);
    if (rc != PST_OK)
        return rc;
    run->partitions[node_index][partition] = ctx;
    if (run->partition_count[node_index] <= partition)
        run->partition_count[node_index] = partition + 1;
    *ret_ctx = ctx;
    return pst_checkpoint_grow(run);
}

int pst_channels_later(struct run *run, struct pst_ctx *ctx)
{
    struct numbers numbers = {
        .route = run->route_number[ctx->node_index], .slot = ctx->partition, .slot_count = slot_count(run, ctx->node)};
    return channels_of(run, ctx, ctx, &numbers);
}

static int routes_visit(const struct run *run, uint32_t node_index, struct numbers *numbers, pst_route_visit visit,
                        void *argument)
{
    const struct pst_graph_node *node = &run->graph->nodes[node_index];
    int rc = PST_OK;
    for (uint32_t o = 0; o < node->output_count; o++) {
        const struct pst_graph_output *output = &node->outputs[o];
        for (uint32_t c = 0; c < output->consumer_count && rc == PST_OK; c++) {
            const struct pst_graph_node *consumer = &run->graph->nodes[output->consumers[c].node];
            if (is_stage(consumer))
                continue;
            rc =
                visit(argument, output->consumers[c].node, output->consumers[c].input, number_of(numbers, consumer, 0));
            next_route(numbers, consumer);
        }
        for (uint32_t c = 0; c < output->consumer_count && rc == PST_OK; c++)
            if (is_stage(&run->graph->nodes[output->consumers[c].node]))
                rc = routes_visit(run, output->consumers[c].node, numbers, visit, argument);
    }
    return rc;
}

int pst_routes_visit(const struct run *run, uint32_t node_index, uint32_t slot, pst_route_visit visit, void *argument)
{
    struct numbers numbers = {.route = run->route_number[node_index],
                              .slot = slot,
                              .slot_count = slot_count(run, &run->graph->nodes[node_index])};
    return routes_visit(run, node_index, &numbers, visit, argument);
}

static void list_drop(struct channel **list, uint32_t *count, const struct channel *channel)
{
    for (uint32_t i = 0; i < *count; i++)
        if (list[i] == channel)
            list[i--] = list[--*count];
}

void pst_instance_free(struct pst_ctx *ctx)
{
    pst_carried_free(ctx);
    pst_ctx_disclose(ctx);
    if (ctx->opened && ctx->node->op->close != NULL)
        ctx->node->op->close(ctx);
    for (uint32_t o = 0; ctx->outputs != NULL && o < ctx->node->output_count; o++) {
        pst_batch_fini(&ctx->outputs[o].batch, &ctx->node->outputs[o].schema);
        pst_ordering_fini(&ctx->outputs[o].ordering);
    }
    for (uint32_t i = 0; ctx->gathered != NULL && i <= ctx->node->inputs[0].used_count; i++)
        pst_free(ctx->gathered[i]);
    pst_free(ctx->composed);
    if (ctx->lane != NULL)
        pst_way_empty(ctx->run, &ctx->lane->way);
    if (ctx->giving != NULL) {
        pst_way_empty(ctx->run, &ctx->giving->own_way);
        pst_packings_free(&ctx->giving->packings);
    }
    if (!ctx->borrows) {
        pst_state_free(ctx->state);
        pst_paging_detach(ctx);
    }
    pst_arena_fini(&ctx->user_arena);
    pst_arena_fini(&ctx->arena);
}

static void stages_retire(struct pst_ctx *ctx)
{
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count; s++) {
            struct pst_ctx *stage = ctx->outputs[o].stages[s];
            stages_retire(stage);
            pst_instance_free(stage);
            stage->retired = true;
            stage->outputs = NULL;
            stage->gathered = NULL;
        }
    }
}

void pst_instance_retire(struct run *run, struct pst_ctx *ctx)
{
    struct worker *worker = &run->workers[ctx->worker];
    for (uint32_t i = 0; i < worker->partition_count; i++) {
        if (worker->partitions[i] != ctx)
            continue;
        memmove(&worker->partitions[i], &worker->partitions[i + 1],
                (worker->partition_count - i - 1) * sizeof *worker->partitions);
        worker->partition_count--;
    }
    run->partitions[ctx->node_index][ctx->partition] = NULL;
    pst_checkpoint_forget(ctx);
    stages_retire(ctx);
    pst_instance_free(ctx);
    *ctx = (struct pst_ctx){.head = ctx->head,
                            .run = run,
                            .node = ctx->node,
                            .index = ctx->index,
                            .node_index = ctx->node_index,
                            .partition = ctx->partition,
                            .worker = ctx->worker,
                            .retired = true};
    pst_arena_init(&ctx->arena);
    pst_arena_init(&ctx->user_arena);
}

void pst_channel_orphan(struct run *run, struct channel *channel)
{
    list_drop(channel->producer->channels_out, &channel->producer->channel_out_count, channel);
    pst_gauge_gone(run, channel);
    channel->producer = NULL;
}

void pst_channel_drop(struct run *run, struct channel *channel)
{
    if (channel->producer != NULL)
        pst_gauge_gone(run, channel);
    if (channel->far != NULL)
        pst_link_remove(run, channel);
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct pst_ctx *ctx = run->instances[i];
        list_drop(ctx->channels, &ctx->channel_count, channel);
        list_drop(ctx->channels_out, &ctx->channel_out_count, channel);
    }
    list_drop(run->channels, &run->channel_count, channel);
    if (channel->twin != NULL)
        channel->twin->twin = NULL;
    pst_channel_free(channel);
}
