/* run.c - builds the instances, channels and workers of a graph, steps them, and says how it ended. */
#include "engine/checkpoint.h"
#include "engine/spill.h"

#include <string.h>

enum { PROGRESS_NS = 250 * 1000 * 1000 };

const char *const *const pst_run_evict_names = pst_evict_names;

/* ---- errors ---- */
void pst_run_fail(struct run *run, int error, const char *format, ...)
{
    va_list arguments;
    struct pst_text text = {0};
    pst_lock_take(&run->error_lock);
    if (run->error == PST_OK) { /* the first one counts */
        va_start(arguments, format);
        (void)pst_text_vprintf(&text, format, arguments);
        va_end(arguments);
        run->error = error;
        run->error_text = text.bytes;
    }
    pst_lock_give(&run->error_lock);
    atomic_store(&run->stopped, true);
    for (uint32_t i = 0; i < run->worker_count && run->begun_ns != 0; i++)
        run->world->wake(run->world->self, i);
}

int pst_ctx_failed(struct pst_ctx *ctx, int error, const char *callback)
{
    pst_run_fail(ctx->run, error, "operator %s (%s), partition %u, %s: %s", ctx->node->id, ctx->node->op->name,
                 ctx->partition, callback, ctx->sentence[0] != '\0' ? ctx->sentence : pst_error_sentence(error));
    return error;
}

/* ---- building ---- */
static int edges_build(struct run *run)
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
static int ownership_build(struct run *run)
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

/* Partitions are dealt to workers in turn, on from one node to the next, so that single ones spread. */
static int instances_build(struct run *run)
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

/* Makes the channels of every route of `ctx` (an instance or a stage inside `owner`). */
static int channels_of(struct run *run, struct pst_ctx *owner, struct pst_ctx *ctx)
{
    for (uint32_t o = 0; o < ctx->node->output_count; o++) {
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++) {
            struct route *route = &ctx->outputs[o].routes[r];
            for (uint32_t t = 0; t < route->target_count; t++) {
                struct pst_ctx *target = run->partitions[route->edge->node][t];
                struct channel *channel = pst_channel_new(run, route->edge, owner->worker, target->worker);
                int rc = channel_add(run, channel);
                if (rc != PST_OK)
                    return rc;
                channel->consumer = target;
                channel->from_source = owner->node->op->role == PST_ROLE_SOURCE;
                route->targets[t] = channel;
                owner->channels_out[owner->channel_out_count++] = channel;
                target->channel_count++;
            }
        }
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count; s++) {
            int rc = channels_of(run, owner, ctx->outputs[o].stages[s]);
            if (rc != PST_OK)
                return rc;
        }
    }
    return PST_OK;
}

static int channels_build(struct run *run)
{
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct pst_ctx *ctx = run->instances[i];
        if (is_stage(ctx->node))
            continue;
        ctx->channels_out = pst_arena_alloc(&run->arena, (count_routes(ctx) + 1) * sizeof(struct channel *));
        int rc = ctx->channels_out != NULL ? channels_of(run, ctx, ctx) : PST_ENOMEM;
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t i = 0; i < run->instance_count; i++) { /* the consumers' side, in the order of inputs */
        struct pst_ctx *ctx = run->instances[i];
        ctx->channels = pst_arena_alloc(&run->arena, (ctx->channel_count + 1) * sizeof(struct channel *));
        if (ctx->channels == NULL)
            return PST_ENOMEM;
        ctx->channel_count = 0;
    }
    for (uint32_t c = 0; c < run->channel_count; c++) {
        struct pst_ctx *consumer = run->channels[c]->consumer;
        consumer->channels[consumer->channel_count++] = run->channels[c];
    }
    return PST_OK;
}

/* ---- sinks ---- */
static int sink_add(struct run *run, const char *file, const char *name, struct sink **ret_sink)
{
    int rc = pst_sink_open(run, run->options.output_dir, file, name, ret_sink);
    if (rc == PST_OK)
        run->sinks[run->sink_count++] = *ret_sink;
    return rc;
}

static int sink_name_check(struct run *run, const struct pst_graph_node *node)
{
    if (node->file == NULL || node->file[0] == '\0' || strchr(node->file, '/') != NULL) {
        pst_run_fail(run, PST_EGRAPH, "%s: `file` must be a plain name; the folder is given by --output", node->id);
        return PST_EGRAPH;
    }
    for (uint32_t n = 0; &run->graph->nodes[n] != node; n++) {
        const struct pst_graph_node *other = &run->graph->nodes[n];
        if (other->op->role != PST_ROLE_SINK || strcmp(other->file, node->file) != 0)
            continue;
        pst_run_fail(run, PST_EGRAPH, "%s and %s both write the file %s", other->id, node->id, node->file);
        return PST_EGRAPH;
    }
    return PST_OK;
}

static int sinks_open(struct run *run)
{
    const struct pst_world *world = run->world;
    const char *directory = run->options.output_dir;
    run->sinks = pst_arena_alloc(&run->arena, (run->graph->node_count + 1) * sizeof(struct sink *));
    if (run->sinks == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        int rc = node->op->role == PST_ROLE_SINK ? sink_name_check(run, node) : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    if (directory != NULL && world->mkdir(world->self, directory) != PST_OK) {
        pst_run_fail(run, PST_EIO, "cannot make the output folder %s: %s", directory, pst_system_error());
        return PST_EIO;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        int rc = node->op->role == PST_ROLE_SINK ? sink_add(run, node->file, node->file, &run->partitions[n][0]->sink)
                                                 : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int dead_letter_open(struct run *run)
{
    const char *path = run->options.dead_letter, *output_dir = run->options.output_dir;
    if (path == NULL)
        return PST_OK;
    run->options.output_dir = NULL; /* it is named by its own path */
    int rc = sink_add(run, path, PST_DEAD_LETTER_NAME, &run->input.dead_letter);
    run->options.output_dir = output_dir;
    return rc;
}

/* ---- workers ---- */
static bool pst_run_finished(const struct worker *worker)
{
    for (uint32_t p = 0; p < worker->partition_count; p++) {
        const struct pst_ctx *ctx = worker->partitions[p];
        if (!ctx->ended)
            return false;
        for (uint32_t c = 0; c < ctx->channel_out_count; c++)
            if (pst_channel_pending(ctx->channels_out[c]) ||
                atomic_load_explicit(&ctx->channels_out[c]->ended, memory_order_relaxed) == END_NOT)
                return false;
    }
    return worker->source.state == SOURCE_DONE;
}

static void report_counts(struct run *run, struct pst_run_report *report)
{
    struct input *input = &run->input;
    report->rows = atomic_load_explicit(&input->rows, memory_order_relaxed);
    report->rows_late = atomic_load_explicit(&input->rows_late, memory_order_relaxed);
    report->lines_malformed = atomic_load_explicit(&input->lines_malformed, memory_order_relaxed);
    report->watermark = atomic_load_explicit(&input->max, memory_order_relaxed);
    report->nanoseconds = run->begun_ns != 0 ? run->world->now_ns(run->world->self) - run->begun_ns : 0;
    report->input_bytes_total = input->bytes_total;
    report->worker_count = run->worker_count;
}

static void look_around(struct worker *worker)
{
    struct run *run = worker->run;
    int interrupts =
        run->options.interrupts != NULL ? atomic_load_explicit(run->options.interrupts, memory_order_relaxed) : 0;
    if (interrupts >= 2)
        pst_run_fail(run, PST_ESTOPPED, "stopped at once");
    else if (interrupts == 1 && !worker->interrupted) {
        worker->interrupted = true;
        worker->wake_mask =
            ~(uint64_t)1 & (run->worker_count == PST_WORKERS_MAX ? UINT64_MAX : ((uint64_t)1 << run->worker_count) - 1);
        pst_input_close(run);
    }
    if (run->options.progress == NULL)
        return;
    uint64_t now = run->world->now_ns(run->world->self);
    if (now - worker->progress_ns < PROGRESS_NS)
        return;
    struct pst_run_report report = {0};
    worker->progress_ns = now;
    report_counts(run, &report);
    report.input_bytes = atomic_load_explicit(&run->input.bytes_sequenced, memory_order_relaxed);
    run->options.progress(run->options.progress_argument, &report);
}

/* Wakes who was named in this step; true: this worker itself was. */
static bool wake_named(struct worker *worker)
{
    uint64_t own = (uint64_t)1 << worker->index, mask = worker->wake_mask & ~own;
    bool again = (worker->wake_mask & own) != 0;
    worker->wake_mask = 0;
    for (; mask != 0; mask &= mask - 1)
        worker->run->world->wake(worker->run->world->self, (uint32_t)__builtin_ctzll(mask));
    return again;
}

/* Partitions first, in topological order: a worker reads on only when there is nothing else to do, so that the one with the
 * heavier partitions parses less. */
static pst_step worker_step(void *argument, uint32_t index)
{
    struct run *run = argument;
    struct worker *worker = &run->workers[index];
    bool any = false;
    if (index == 0)
        look_around(worker);
    if (atomic_load_explicit(&run->stopped, memory_order_relaxed))
        return PST_STEP_DONE;
    any |= pst_source_step(worker, false);
    for (uint32_t p = 0; p < worker->partition_count; p++)
        any |= pst_partition_step(worker->partitions[p]);
    if (!any)
        any = pst_source_step(worker, true);
    any |= wake_named(worker);
    if (any)
        return PST_STEP_MORE;
    for (uint32_t p = 0; p < worker->partition_count; p++) /* the stream pauses: what is written becomes visible */
        if (worker->partitions[p]->sink != NULL && pst_sink_flush(run, worker->partitions[p]->sink) != PST_OK)
            return PST_STEP_DONE;
    return pst_run_finished(worker) ? PST_STEP_DONE : PST_STEP_IDLE;
}

static int workers_build(struct run *run)
{
    run->workers = pst_aligned(64, run->worker_count * sizeof *run->workers);
    if (run->workers == NULL)
        return PST_ENOMEM;
    memset(run->workers, 0, run->worker_count * sizeof *run->workers);
    for (uint32_t w = 0; w < run->worker_count; w++) {
        struct worker *worker = &run->workers[w];
        worker->run = run;
        worker->index = w;
        worker->scratch = pst_calloc(1, sizeof *worker->scratch);
        worker->partitions = pst_arena_alloc(&run->arena, (run->instance_count + 1) * sizeof(struct pst_ctx *));
        int rc = worker->scratch != NULL && worker->partitions != NULL ? PST_OK : PST_ENOMEM;
        if (rc == PST_OK)
            rc = pst_source_init(&worker->source, run->partitions[run->graph->source][w], run->options.block_bytes);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        for (uint32_t p = 0;
             run->partitions[n] != NULL && node->op->role != PST_ROLE_SOURCE && p < node->partition_count; p++) {
            struct worker *worker = &run->workers[run->partitions[n][p]->worker];
            worker->partitions[worker->partition_count++] = run->partitions[n][p];
        }
    }
    return PST_OK;
}

static int instances_open(struct run *run)
{
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct pst_ctx *ctx = run->instances[i];
        int rc = ctx->node->op->open != NULL ? ctx->node->op->open(ctx) : PST_OK;
        if (rc != PST_OK)
            return pst_ctx_failed(ctx, rc, "open");
        ctx->opened = true;
    }
    return PST_OK;
}

/* ---- the run ---- */
static void options_complete(struct run *run, const struct pst_run_options *options)
{
    run->options = *options;
    if (run->options.frame_rows == 0)
        run->options.frame_rows = FRAME_ROWS;
    if (run->options.channel_frames == 0)
        run->options.channel_frames = CHANNEL_FRAMES;
    if (run->options.block_bytes == 0)
        run->options.block_bytes = BLOCK_BYTES;
    if (run->options.block_bytes < BLOCK_BYTES_MIN)
        run->options.block_bytes = BLOCK_BYTES_MIN;
    run->worker_count = options->worker_count == 0 ? run->world->cores(run->world->self) : options->worker_count;
    if (run->worker_count > PST_WORKERS_MAX)
        run->worker_count = PST_WORKERS_MAX;
}

static int build(struct run *run)
{
    const char *input = run->options.input != NULL ? run->options.input : run->graph->nodes[run->graph->source].file;
    int rc = pst_checkpoint_init(run);
    if (rc == PST_OK)
        rc = pst_input_init(&run->input, run, input);
    if (rc == PST_OK)
        rc = pst_checkpoint_find(run);
    if (rc == PST_OK)
        rc = ownership_build(run);
    if (rc == PST_OK)
        rc = edges_build(run);
    if (rc == PST_OK)
        rc = instances_build(run);
    if (rc == PST_OK)
        rc = channels_build(run);
    if (rc == PST_OK)
        rc = workers_build(run);
    if (rc == PST_OK)
        rc = sinks_open(run);
    if (rc == PST_OK)
        rc = dead_letter_open(run);
    if (rc == PST_OK)
        rc = pst_paging_init(run);
    if (rc == PST_OK)
        rc = instances_open(run);
    if (rc == PST_OK)
        rc = pst_paging_fits(run);
    if (rc == PST_OK)
        rc = pst_checkpoint_load(run);
    if (rc != PST_OK)
        pst_run_fail(run, rc, "cannot start the graph: %s", pst_error_sentence(rc));
    return rc;
}

static void instance_free(struct pst_ctx *ctx)
{
    if (ctx->opened && ctx->node->op->close != NULL)
        ctx->node->op->close(ctx);
    for (uint32_t o = 0; ctx->outputs != NULL && o < ctx->node->output_count; o++)
        pst_batch_fini(&ctx->outputs[o].batch, &ctx->node->outputs[o].schema);
    for (uint32_t i = 0; ctx->gathered != NULL && i <= ctx->node->inputs[0].used_count; i++)
        pst_free(ctx->gathered[i]);
    pst_free(ctx->composed);
    pst_state_free(ctx->state);
    pst_paging_detach(ctx);
    pst_arena_fini(&ctx->arena);
}

static void run_fini(struct run *run)
{
    pst_checkpoint_fini(run);
    for (uint32_t i = 0; i < run->instance_count; i++)
        instance_free(run->instances[i]);
    pst_paging_fini(run);
    for (uint32_t i = 0; i < run->channel_count; i++)
        pst_channel_free(run->channels[i]);
    for (uint32_t w = 0; run->workers != NULL && w < run->worker_count; w++) {
        if (run->workers[w].source.ctx != NULL)
            pst_source_fini(&run->workers[w].source);
        pst_free(run->workers[w].scratch);
    }
    for (uint32_t i = 0; i < run->sink_count; i++)
        pst_sink_free(run->sinks[i]);
    pst_input_fini(&run->input, run);
    pst_free(run->instances);
    pst_free(run->channels);
    pst_free(run->workers);
    pst_arena_fini(&run->arena);
}

static void report_end(struct run *run, int outcome)
{
    struct pst_run_report *report = run->report;
    report_counts(run, report);
    report->input_bytes = run->input.bytes_read;
    memcpy(report->malformed_line, run->input.malformed_line, sizeof report->malformed_line);
    memcpy(report->malformed_reason, run->input.malformed_reason, sizeof report->malformed_reason);
    for (uint32_t i = 0; i < run->instance_count; i++)
        if (run->instances[i]->state != NULL)
            report->state_bytes_max += pst_state_bytes_max_seen(run->instances[i]->state);
    report->outputs = pst_calloc(run->sink_count + 1, sizeof *report->outputs);
    if (report->outputs == NULL || pst_paging_report(run, report) != PST_OK)
        pst_run_fail(run, PST_ENOMEM, "no memory for the report");
    for (uint32_t i = 0; i < run->sink_count; i++)
        pst_sink_close(run, run->sinks[i], run->error != PST_OK ? run->error : outcome);
    if (run->checkpoint != NULL)
        report->checkpoint = run->checkpoint->report;
    bool resumed = run->checkpoint != NULL && run->checkpoint->previous != NULL;
    for (uint32_t i = 0; i < run->sink_count && run->begun_ns == 0 && !resumed;
         i++) /* it never began: nothing is left */
        (void)run->world->unlink(run->world->self, run->sinks[i]->path_part);
    for (uint32_t i = 0; i < run->sink_count && run->begun_ns != 0; i++) {
        struct sink *sink = run->sinks[i];
        report->rows_out += sink->rows;
        pst_sink_name(run, sink, run->error != PST_OK ? run->error : outcome);
        if (report->outputs == NULL)
            continue;
        report->outputs[report->output_count++] = sink->path_now; /* handed over */
        *(sink->path_now == sink->path_part ? &sink->path_part : &sink->path_final) = NULL;
    }
}

void pst_run_report_fini(struct pst_run_report *report)
{
    for (uint32_t i = 0; i < report->output_count; i++)
        pst_free(report->outputs[i]);
    pst_free(report->outputs);
    for (uint32_t i = 0; i < report->paging_count; i++)
        pst_free(report->paging[i].operator_id);
    pst_free(report->paging);
    pst_free(report->error);
    *report = (struct pst_run_report){0};
}

int pst_run(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
            struct pst_run_report *ret_report)
{
    struct run run = {.graph = graph, .world = world, .report = ret_report};
    struct pst_world *own = world == NULL ? run.world = pst_world_uv() : NULL;
    *ret_report = (struct pst_run_report){.watermark = INT64_MIN};
    if (run.world == NULL)
        return PST_ENOMEM;
    pst_arena_init(&run.arena);
    atomic_flag_clear(&run.error_lock);
    options_complete(&run, options);
    int rc = build(&run);
    if (rc == PST_OK) {
        run.begun_ns = run.world->now_ns(run.world->self) | 1;
        rc = run.world->run(run.world->self, run.worker_count, worker_step, &run);
        if (rc != PST_OK)
            pst_run_fail(&run, rc, "cannot start the workers: %s", pst_system_error());
    }
    int outcome = run.error == PST_OK && atomic_load(&run.input.end) == END_CUT ? PST_ESTOPPED : run.error;
    report_end(&run, outcome);
    rc = run.error != PST_OK ? run.error : outcome;
    ret_report->error = run.error_text;
    run_fini(&run);
    pst_world_uv_free(own);
    return rc;
}
