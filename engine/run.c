/* run.c - opens, steps and ends a graph whose instances and channels build.c has made, and says how it ended. */
#include "engine/build.h"
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/enclave.h"
#include "engine/feed.h"
#include "engine/lane.h"
#include "engine/link.h"
#include "engine/spill.h"
#include "engine/wire.h"

#include <string.h>

enum {
    PROGRESS_NS = 250 * 1000 * 1000,
    ENCLAVE_RESTARTS_MAX = 3, /* from one checkpoint */
};

const char *const *const pst_run_evict_names = pst_evict_names;

/* ---- errors ---- */
__attribute__((format(printf, 4, 0))) static void fail(struct run *run, int error, bool lost, const char *format,
                                                       va_list arguments)
{
    struct pst_text text = {0};
    pst_lock_take(&run->error_lock);
    if (run->error == PST_OK) { /* the first one counts */
        (void)pst_text_vprintf(&text, format, arguments);
        run->error = error;
        run->error_text = text.bytes;
        run->lost = lost;
    }
    pst_lock_give(&run->error_lock);
    atomic_store(&run->stopped, true);
    for (uint32_t i = 0; i < run->worker_count && run->begun_ns != 0; i++)
        pst_run_wake(run, i);
}

void pst_run_fail(struct run *run, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail(run, error, false, format, arguments);
    va_end(arguments);
}

void pst_run_lose(struct run *run, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail(run, error, true, format, arguments);
    va_end(arguments);
}

int pst_ctx_fail(struct pst_ctx *ctx, int error, const char *format, ...)
{
    struct pst_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    if (ctx->begins == NULL) {
        fail(ctx->run, error, false, format, arguments);
    } else if (ctx->begins[0] == '\0') { /* the first one counts */
        (void)pst_text_vprintf(&text, format, arguments);
        (void)snprintf(ctx->begins, CTX_BEGINS_BYTES, "%s",
                       text.bytes != NULL ? text.bytes : pst_error_sentence(error));
        pst_text_fini(&text);
    }
    va_end(arguments);
    return error;
}

int pst_ctx_failed(struct pst_ctx *ctx, int error, const char *callback)
{
    return pst_ctx_fail(ctx, error, "operator %s (%s), partition %u, %s: %s", ctx->node->id, ctx->node->op->name,
                        ctx->partition, callback, ctx->sentence[0] != '\0' ? ctx->sentence : pst_error_sentence(error));
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
    int made = directory != NULL ? world->mkdir(world->self, directory) : PST_OK;
    if (made != PST_OK) {
        made = made == PST_ENOENT ? PST_EIO : made;
        pst_run_fail(run, made, "cannot make the output folder %s: %s", directory, pst_system_error());
        return made;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        bool here = node->op->role == PST_ROLE_SINK && pst_is_here(run, n, 0);
        int rc = here ? sink_add(run, node->file, node->file, &run->partitions[n][0]->sink) : PST_OK;
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
static bool worker_finished(const struct worker *worker)
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
    for (uint32_t l = 0; l < worker->link_count; l++)
        if (!pst_link_finished(worker->links[l]))
            return false;
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
        pst_run_wake(worker->run, (uint32_t)__builtin_ctzll(mask));
    return again;
}

/* A connection is closed by the worker that has it. */
static pst_step worker_done(struct worker *worker)
{
    for (uint32_t l = 0; l < worker->link_count; l++)
        pst_link_close(worker->links[l]);
    for (uint32_t p = 0; p < worker->partition_count; p++)
        pst_carried_hang_up(worker->partitions[p]);
    if (worker->index == 0 && worker->run->input.feed != NULL)
        pst_feed_close(worker->run->input.feed);
    return PST_STEP_DONE;
}

bool pst_run_finished(const struct run *run)
{
    for (uint32_t w = 0; w < run->worker_count; w++)
        if (!atomic_load_explicit(&run->workers[w].finished, memory_order_acquire))
            return false;
    return true;
}

void pst_run_finish(struct run *run)
{
    if (atomic_load_explicit(&run->finish, memory_order_relaxed))
        return;
    PST_ASSERT(run->hold == 0); /* who stands still would not end, and who ends does not stand still */
    atomic_store_explicit(&run->finish, true, memory_order_release);
    for (uint32_t w = 0; w < run->worker_count; w++)
        pst_run_wake(run, w);
}

/* ---- standing still (lane.h) ---- */

void pst_run_hold(struct run *run)
{
    atomic_store_explicit(&run->held_count, 0, memory_order_relaxed);
    atomic_store_explicit(&run->hold, ++run->holds, memory_order_release);
    for (uint32_t w = 0; w < run->worker_count; w++)
        pst_run_wake(run, w);
}

void pst_run_release(struct run *run)
{
    atomic_store_explicit(&run->hold, 0, memory_order_release);
    for (uint32_t w = 0; w < run->worker_count; w++)
        pst_run_wake(run, w);
}

/* True: this worker does. */
static bool stands_still(struct worker *worker)
{
    struct run *run = worker->run;
    uint32_t hold = atomic_load_explicit(&run->hold, memory_order_acquire);
    if (hold == 0)
        return false;
    if (worker->held != hold) {
        worker->held = hold;
        if (atomic_fetch_add_explicit(&run->held_count, 1, memory_order_acq_rel) + 1 == run->worker_count)
            run->world->wake(run->world->self, 0);
    }
    return true;
}

static bool source_step(struct worker *worker, bool may_read, uint64_t *then_ns)
{
    bool any = pst_source_step(worker, may_read);
    if (worker->source.ctx != NULL)
        pst_gauge_step(worker->source.ctx, any, then_ns);
    return any;
}

/* Every LOOK_NS: do rows take more than the ROWS_PART'th part of its time? Then a move's images that are on their way count as work, as rows
 * do: neither more of them is written or taken in nor the input read in a step that has sent or received some. On a worker with time to
 * spare they do not: all of that goes on beside them. */
static void load_look(struct worker *worker, uint64_t now_ns)
{
    enum { LOOK_NS = 10 * 1000 * 1000, ROWS_PART = 8 };
    uint64_t passed_ns = now_ns - worker->looked_ns;
    if (passed_ns < LOOK_NS)
        return;
    int64_t rows_ns = (int64_t)(worker->busy_ns - worker->moved_ns);
    worker->loaded = rows_ns - worker->rows_ns > (int64_t)(passed_ns / ROWS_PART);
    worker->rows_ns = rows_ns;
    worker->looked_ns = now_ns;
}

/* Partitions first, in topological order: a worker reads on only when there is nothing else to do, so that the one with the
 * heavier partitions parses less. */
pst_step pst_run_step(void *argument, uint32_t index)
{
    struct run *run = argument;
    struct worker *worker = &run->workers[index];
    bool any = false, copied = false;
    worker->rest_is_used = false;
    if (index == 0)
        look_around(worker);
    if (atomic_load_explicit(&run->stopped, memory_order_relaxed))
        return worker_done(worker);
    if (run->site != NULL && stands_still(worker))
        return PST_STEP_IDLE;
    if (index == 0)
        pst_checkpoint_take_told(worker);
    for (uint32_t l = 0; l < worker->link_count; l++)
        any |= pst_link_receive(worker->links[l], &copied);
    uint64_t then_ns = run->world->now_ns(run->world->self), begun_ns = then_ns;
    load_look(worker, begun_ns);
    if (index == 0 && run->input.feed != NULL)
        any |= pst_feed_step(run->input.feed);
    any |= source_step(worker, false, &then_ns);
    for (uint32_t p = 0; p < worker->partition_count; p++) {
        bool did = pst_partition_step(worker->partitions[p]);
        pst_gauge_step(worker->partitions[p], did, &then_ns);
        any |= did;
    }
    for (uint32_t l = 0; l < worker->link_count; l++)
        any |= pst_link_send(worker->links[l], &copied);
    any |= copied && worker->loaded;
    if (!any)
        any = source_step(worker, true, &then_ns);
    worker->busy_ns += then_ns - begun_ns;
    any |= wake_named(worker);
    worker->rests += !any;
    if (any || copied || worker->rest_is_used || pst_enclaves_wait(worker))
        return PST_STEP_MORE;
    for (uint32_t p = 0; p < worker->partition_count; p++) /* the stream pauses: what is written becomes visible */
        if (worker->partitions[p]->sink != NULL && pst_sink_flush(run, worker->partitions[p]->sink) != PST_OK)
            return worker_done(worker);
    if (!worker_finished(worker))
        return PST_STEP_IDLE;
    if (run->site == NULL || atomic_load_explicit(&run->finish, memory_order_acquire))
        return worker_done(worker);
    if (!atomic_exchange_explicit(&worker->finished, true, memory_order_acq_rel))
        run->world->wake(run->world->self, 0); /* the keeper's: partitions may still come */
    return PST_STEP_IDLE;
}

/* Of keyed edges, on several nodes: whose rows a bucket gets is what `rebalance --by-source` goes by. */
static int dealt_build(struct run *run, struct worker *worker)
{
    if (run->site == NULL || run->graph->carry != NULL)
        return PST_OK;
    worker->dealt = pst_arena_alloc(&run->arena, (run->edge_count + 1) * sizeof *worker->dealt);
    for (uint32_t n = 0; worker->dealt != NULL && n < run->graph->node_count; n++)
        for (uint32_t i = 0; i < run->graph->nodes[n].input_count; i++) {
            const struct edge *edge = &run->edges[n][i];
            struct dealt *dealt = &worker->dealt[edge->index];
            if (!edge->keyed || edge->bucket_mask == 0)
                continue;
            dealt->rows = pst_arena_alloc(&run->arena, (edge->bucket_mask + (size_t)1) * sizeof *dealt->rows);
            if (dealt->rows == NULL)
                return PST_ENOMEM;
        }
    return worker->dealt != NULL ? PST_OK : PST_ENOMEM;
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
        worker->partition_capacity = run->instance_count + 1;
        worker->partitions = pst_arena_alloc(&run->arena, worker->partition_capacity * sizeof(struct pst_ctx *));
        int rc = worker->scratch != NULL && worker->partitions != NULL ? PST_OK : PST_ENOMEM;
        if (rc == PST_OK)
            rc = dealt_build(run, worker);
        if (rc == PST_OK)
            rc = pst_links_deal(run, worker);
        worker->source.state = SOURCE_DONE;
        if (rc == PST_OK && pst_reads(run))
            rc = pst_source_init(&worker->source, run->partitions[run->graph->source][w], run->options.block_bytes);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        for (uint32_t p = 0;
             run->partitions[n] != NULL && node->op->role != PST_ROLE_SOURCE && p < run->partition_count[n]; p++) {
            if (run->partitions[n][p] == NULL)
                continue;
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
        if (ctx->node->enclave) {
            int rc = pst_ctx_enclose(ctx);
            if (rc != PST_OK)
                return rc;
            continue;
        }
        int rc = ctx->node->op->open != NULL ? ctx->node->op->open(ctx) : PST_OK;
        if (rc != PST_OK)
            return pst_ctx_failed(ctx, rc, "open");
        ctx->opened = true;
    }
    for (uint32_t i = 0; i < run->instance_count; i++) {
        int rc = run->instances[i]->node->enclave ? pst_ctx_enclosed(run->instances[i]) : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- the run ---- */
static bool several_read(const struct run *run)
{
    uint32_t count = 0;
    for (uint32_t n = 0; run->site != NULL && n < run->site->node_count; n++)
        count += run->site->reads[n];
    return count > 1;
}

static void options_complete(struct run *run, const struct pst_run_options *options)
{
    run->options = *options;
    if (run->options.frame_rows == 0)
        run->options.frame_rows = run->graph->carry != NULL ? CARRY_FRAME_ROWS : FRAME_ROWS;
    if (run->options.channel_frames == 0)
        run->options.channel_frames = CHANNEL_FRAMES;
    if (run->options.block_bytes == 0)
        run->options.block_bytes = several_read(run) && !run->options.fed ? BLOCK_BYTES_SEVERAL : BLOCK_BYTES;
    if (run->options.block_bytes < BLOCK_BYTES_MIN)
        run->options.block_bytes = BLOCK_BYTES_MIN;
    if (run->graph->carry != NULL && run->options.block_bytes < PST_CAPSULE_BYTES_MAX)
        run->options.block_bytes = PST_CAPSULE_BYTES_MAX;
    run->worker_count = options->worker_count == 0 ? run->world->cores(run->world->self) : options->worker_count;
    if (run->site != NULL)
        run->worker_count = run->site->worker_count[run->site->this_node];
    run->lane_bytes_max =
        options->stop_and_copy ? 64 * LANE_BYTES_MAX : LANE_BYTES_MAX; /* there more waits, not less */
    atomic_flag_clear(&run->blobs.lock);
    run->turn_bytes_max = TURN_BYTES_MAX;
    run->way_bytes_max = WAY_BYTES_MAX;
    run->ahead_bytes_max = AHEAD_BYTES_MAX;
    run->stand_rows_max = STAND_ROWS_MAX;
    run->digest_wait_ns = DIGEST_WAIT_NS;
    run->frame_version = PST_WIRE_VERSION;
    if (run->worker_count > PST_WORKERS_MAX)
        run->worker_count = PST_WORKERS_MAX;
}

static int build(struct run *run)
{
    const char *file = run->graph->nodes[run->graph->source].file;
    const char *input = run->options.fed ? "" : run->options.input != NULL ? run->options.input : file;
    int rc = pst_checkpoint_init(run);
    atomic_init(&run->input_end, INT64_MIN);
    atomic_init(&run->keyless, 0);
    atomic_init(&run->whole_end, INT64_MIN);
    if (rc == PST_OK && pst_reads(run) && run->options.again && !run->options.fed)
        rc = pst_input_again(run, input);
    if (rc == PST_OK && pst_reads(run))
        rc = pst_input_init(&run->input, run, input);
    if (!pst_reads(run))
        pst_input_none(&run->input);
    if (rc == PST_OK)
        rc = pst_ownership_build(run);
    if (rc == PST_OK)
        rc = pst_checkpoint_find(run);
    if (rc == PST_OK)
        rc = pst_edges_build(run);
    if (rc == PST_OK)
        rc = pst_instances_build(run);
    if (rc == PST_OK && run->site != NULL)
        rc = pst_links_init(run);
    if (rc == PST_OK)
        rc = pst_channels_build(run);
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

static void run_fini(struct run *run)
{
    pst_checkpoint_fini(run);
    for (uint32_t i = 0; i < run->instance_count; i++)
        if (!run->instances[i]->retired)
            pst_instance_free(run->instances[i]);
    pst_paging_fini(run);
    pst_links_fini(run);
    pst_blobs_forget(run);
    for (uint32_t i = 0; i < run->channel_count; i++)
        pst_channel_free(run->channels[i]);
    for (uint32_t w = 0; run->workers != NULL && w < run->worker_count; w++) {
        if (run->workers[w].source.ctx != NULL)
            pst_source_fini(&run->workers[w].source);
        pst_free(run->workers[w].scratch);
    }
    for (uint32_t i = 0; i < run->sink_count; i++)
        pst_sink_free(run, run->sinks[i]);
    pst_input_fini(&run->input, run);
    pst_free(run->instances);
    pst_free(run->channels);
    pst_free(run->workers);
    pst_arena_fini(&run->move_arena);
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
        else
            report->state_bytes_max += pst_ctx_enclave_bytes(run->instances[i]);
    report->outputs = pst_calloc(run->sink_count + 1, sizeof *report->outputs);
    if (report->outputs == NULL || pst_paging_report(run, report) != PST_OK ||
        pst_enclaves_report(run, report) != PST_OK)
        pst_run_fail(run, PST_ENOMEM, "no memory for the report");
    for (uint32_t i = 0; i < run->sink_count; i++)
        pst_sink_close(run, run->sinks[i], run->error != PST_OK ? run->error : outcome);
    if (run->checkpoint != NULL)
        report->checkpoint = run->checkpoint->report;
    bool resumed = pst_checkpoint_resumes(run);
    bool nothing_left =
        (run->begun_ns == 0 && !resumed) || run->discard; /* it never began, or might as well not have */
    for (uint32_t i = 0; i < run->sink_count && nothing_left && !pst_checkpoint_shared(run); i++)
        (void)run->world->unlink(run->world->self, run->sinks[i]->path_part);
    for (uint32_t i = 0; i < run->sink_count && run->begun_ns != 0 && !nothing_left && !run->rewinds; i++) {
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
    for (uint32_t i = 0; i < report->enclave_count; i++)
        pst_free(report->enclaves[i].operator_id);
    pst_free(report->enclaves);
    pst_free(report->error);
    *report = (struct pst_run_report){0};
}

int pst_run_begin(struct run *run, struct pst_graph *graph, const struct pst_run_options *options,
                  struct pst_world *world, const struct site *site, uint32_t worker_base, struct pst_run_report *report)
{
    *run = (struct run){.graph = graph, .world = world, .report = report, .site = site, .worker_base = worker_base};
    *report = (struct pst_run_report){.watermark = INT64_MIN};
    pst_arena_init(&run->arena);
    pst_arena_init(&run->move_arena);
    atomic_flag_clear(&run->error_lock);
    atomic_init(&run->takeover, site != NULL ? site->takeover : 0);
    atomic_init(&run->replaced, site != NULL ? site->replaced : 0);
    options_complete(run, options);
    int rc = build(run);
    if (rc == PST_OK)
        run->begun_ns = world->now_ns(world->self) | 1;
    return rc;
}

int pst_run_end(struct run *run)
{
    struct pst_run_report *report = run->report;
    bool cut = atomic_load(&run->input.end) == END_CUT || (run->site != NULL && pst_links_cut(run));
    int outcome = run->error == PST_OK && cut ? PST_ESTOPPED : run->error;
    run->rewinds |= run->lost && pst_checkpoint_shared(run); /* another incarnation will go on with what is there */
    report_end(run, outcome);
    int rc = run->error != PST_OK ? run->error : outcome;
    report->error = run->error_text;
    report->enclave_lost = run->lost;
    run_fini(run);
    return rc;
}

/* ---- a worker of an enclave is gone: back to the last checkpoint, as after a kill, but in this process ---- */

struct rewind {
    bool again;
    uint32_t count, in_row; /* in_row: without a checkpoint in between */
    uint64_t checkpoint;    /* that was the last one then */
    uint64_t written;
};

static uint64_t last_checkpoint(const struct run *run)
{
    const struct pst_manifest *previous = run->checkpoint->previous;
    return previous != NULL                    ? previous->id
           : run->checkpoint->found_count != 0 ? run->checkpoint->found[0].manifest.id
                                               : 0;
}

/* The input must be one that can be read again, and there must be some progress from time to time. */
static bool may_rewind(struct run *run, struct rewind *rewind)
{
    if (!run->lost || run->checkpoint == NULL || !pst_input_rereads(run) ||
        (run->options.interrupts != NULL && atomic_load(run->options.interrupts) >= 2))
        return false;
    uint64_t last = last_checkpoint(run);
    rewind->in_row = rewind->count != 0 && last == rewind->checkpoint ? rewind->in_row + 1 : 1;
    rewind->checkpoint = last;
    return rewind->in_row <= ENCLAVE_RESTARTS_MAX;
}

static int run_once(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
                    struct rewind *rewind, struct pst_run_report *ret_report)
{
    struct run run;
    struct pst_world *own = world == NULL ? world = pst_world_uv() : NULL;
    *ret_report = (struct pst_run_report){.watermark = INT64_MIN};
    if (world == NULL)
        return PST_ENOMEM;
    int rc = pst_run_begin(&run, graph, options, world, NULL, 0, ret_report);
    if (rc == PST_OK) {
        rc = world->run(world->self, run.worker_count, pst_run_step, &run);
        if (rc != PST_OK)
            pst_run_fail(&run, rc, "cannot start the workers: %s", pst_system_error());
    }
    rewind->again = may_rewind(&run, rewind);
    run.rewinds = rewind->again;
    rc = pst_run_end(&run);
    pst_world_uv_free(own);
    return rc;
}

int pst_run(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
            struct pst_run_report *ret_report)
{
    struct rewind rewind = {0};
    struct pst_run_options again = *options;
    int rc = run_once(graph, options, world, &rewind, ret_report);
    while (rewind.again) {
        struct pst_text text = {0};
        (void)pst_text_printf(&text, "%s; it is started again, and the run goes on from its last checkpoint",
                              ret_report->error != NULL ? ret_report->error : pst_error_sentence(rc));
        if (options->note != NULL && !text.failed)
            options->note(options->note_argument, text.bytes);
        pst_text_fini(&text);
        rewind.count++;
        rewind.written += ret_report->checkpoint.written;
        pst_run_report_fini(ret_report);
        again.checkpoint.resume = true;
        rc = run_once(graph, &again, world, &rewind, ret_report);
    }
    ret_report->enclave_restarts = rewind.count;
    ret_report->checkpoint.written += rewind.written;
    return rc;
}
