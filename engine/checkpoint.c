/* checkpoint.c - when a checkpoint is made, and what each part of a run brings to it. See checkpoint.h. */
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/disk.h"
#include "engine/enclave.h"
#include "engine/spill.h"

#include <string.h>

static int64_t gcd_of(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The least common multiple of all epochs; 0: it is beyond any time. */
static int64_t common_epoch(const struct pst_graph *graph)
{
    int64_t common = 1;
    for (uint32_t n = 0; n < graph->node_count && common != 0; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        bool timed = node->op->role == PST_ROLE_PLAIN;
        if (timed && __builtin_mul_overflow(common / gcd_of(common, node->epoch), node->epoch, &common))
            common = 0;
    }
    return common;
}

const struct pst_state *pst_checkpoint_state(const struct run *run, uint32_t node)
{
    const struct pst_state *state = NULL;
    for (uint32_t p = 0; p < run->partition_count[node] && state == NULL; p++)
        state = run->partitions[node][p] != NULL ? run->partitions[node][p]->state : NULL;
    return state;
}

static bool brings_image(const struct pst_ctx *ctx)
{
    return !ctx->retired && (ctx->node->op->role == PST_ROLE_PLAIN || ctx->node->op->role == PST_ROLE_SINK);
}

/* One run at a time: of two each would take the other's checkpoints for its own older ones, and remove them. Nodes share the folder. */
static int folder_take(struct run *run)
{
    const struct pst_world *world = run->world;
    struct checkpoint *checkpoint = run->checkpoint;
    if (run->site != NULL)
        return PST_OK;
    const char *path = pst_arena_printf(&run->arena, "%s/run.lock", checkpoint->directory);
    if (path == NULL)
        return PST_ENOMEM;
    checkpoint->lock_path = path;
    int rc = world->file_open(world->self, path, PST_OPEN_ALONE, &checkpoint->lock_file);
    if (rc == PST_EAGAIN) {
        rc = PST_EREFUSED;
        pst_run_fail(run, rc, "another process writes checkpoints into %s: wait for its end, or name another folder",
                     checkpoint->directory);
    } else if (rc != PST_OK) {
        rc = rc == PST_ENOENT ? PST_EIO : rc;
        pst_run_fail(run, rc, "cannot write into the checkpoint folder %s: %s", checkpoint->directory,
                     pst_system_error());
    }
    return rc;
}

int pst_checkpoint_init(struct run *run)
{
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    const struct pst_world *world = run->world;
    atomic_init(&run->cut, CUT_NONE);
    if (options->directory == NULL)
        return PST_OK;
    struct checkpoint *checkpoint = pst_calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL)
        return PST_ENOMEM;
    run->checkpoint = checkpoint;
    checkpoint->run = run;
    checkpoint->directory = options->directory;
    checkpoint->master = options->keys[0];
    checkpoint->every_rows = options->every_rows;
    checkpoint->every_ns = options->every_ns;
    checkpoint->epoch = common_epoch(run->graph);
    checkpoint->several = pst_several_read(run);
    checkpoint->past_kept = PAST_BLOCKS;
    atomic_flag_clear(&checkpoint->turn_lock);
    if (checkpoint->several && pst_reads(run)) {
        checkpoint->past = pst_calloc(PAST_BLOCKS, sizeof *checkpoint->past);
        if (checkpoint->past == NULL)
            return PST_ENOMEM;
    }
    checkpoint->cut = CUT_NONE;
    atomic_init(&checkpoint->phase, CHECKPOINT_IDLE);
    atomic_flag_clear(&checkpoint->lock);
    if (checkpoint->epoch == 0) {
        pst_run_fail(run, PST_EGRAPH,
                     "the epochs of the operators have no common multiple below 2^63: no checkpoint of "
                     "this graph can be cut");
        return PST_EGRAPH;
    }
    int rc = world->mkdir(world->self, options->directory);
    if (rc != PST_OK) {
        rc = rc == PST_ENOENT ? PST_EIO : rc;
        pst_run_fail(run, rc, "cannot make the checkpoint folder %s: %s", options->directory, pst_system_error());
        return rc;
    }
    rc = folder_take(run);
    if (rc != PST_OK)
        return rc;
    pst_disk_look(run->options.disk, world, options->directory, false);
    return pst_manifest_graph(run->graph->name, checkpoint->graph);
}

int pst_checkpoint_grow(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    uint32_t count = run->instance_count;
    if (checkpoint == NULL || checkpoint->part_count >= count)
        return PST_OK;
    struct part *parts = pst_realloc(checkpoint->parts, count * sizeof *parts);
    if (parts == NULL)
        return PST_ENOMEM;
    memset(parts + checkpoint->part_count, 0, (count - checkpoint->part_count) * sizeof *parts);
    checkpoint->parts = parts;
    checkpoint->part_count = count;
    return PST_OK;
}

bool pst_checkpoint_quiet(const struct run *run)
{
    if (run->checkpoint == NULL)
        return true;
    int phase = atomic_load_explicit(&run->checkpoint->phase, memory_order_acquire);
    return phase == CHECKPOINT_IDLE || phase == CHECKPOINT_WRITTEN;
}

void pst_checkpoint_forget(struct pst_ctx *ctx)
{
    struct checkpoint *checkpoint = ctx->run->checkpoint;
    if (checkpoint == NULL || ctx->index >= checkpoint->part_count)
        return;
    PST_ASSERT(pst_checkpoint_quiet(ctx->run)); /* nobody waits for what it would bring */
    struct part *part = &checkpoint->parts[ctx->index];
    pst_free(part->timers);
    pst_free(part->numbers);
    pst_sealed_drop(&part->sealed);
    *part = (struct part){0};
}

static void parts_drop(struct checkpoint *checkpoint)
{
    for (uint32_t i = 0; checkpoint->parts != NULL && i < checkpoint->part_count; i++) {
        if (checkpoint->parts[i].imaged)
            pst_image_fini(&checkpoint->parts[i].image);
        pst_sealed_drop(&checkpoint->parts[i].sealed);
        checkpoint->parts[i].imaged = checkpoint->parts[i].is_sealed = false;
    }
}

void pst_checkpoint_drop(struct pst_manifest **manifest)
{
    if (*manifest != NULL)
        pst_manifest_fini(*manifest);
    pst_free(*manifest);
    *manifest = NULL;
}

void pst_checkpoint_fini(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return;
    parts_drop(checkpoint);
    for (uint32_t i = 0; checkpoint->parts != NULL && i < checkpoint->part_count; i++) {
        pst_free(checkpoint->parts[i].timers);
        pst_free(checkpoint->parts[i].numbers);
    }
    pst_checkpoint_drop(&checkpoint->previous);
    pst_checkpoint_drop(&checkpoint->written);
    for (uint32_t i = 0; i < checkpoint->found_count; i++)
        pst_manifest_fini(&checkpoint->found[i].manifest);
    pst_free(checkpoint->found);
    if (checkpoint->lock_file != NULL) { /* it goes while it is locked: who waits for this name makes it anew */
        (void)run->world->unlink(run->world->self, checkpoint->lock_path);
        (void)run->world->file_close(run->world->self, checkpoint->lock_file);
    }
    pst_free(checkpoint->past);
    pst_free(checkpoint->parts);
    pst_free(checkpoint);
    run->checkpoint = NULL;
}

/* ---- in the turn ---- */

static bool is_due(const struct checkpoint *checkpoint, const struct input *input, uint64_t now_ns)
{
    uint64_t rows = atomic_load_explicit(&input->rows, memory_order_relaxed);
    return atomic_load_explicit(&checkpoint->asked, memory_order_relaxed) ||
           (checkpoint->every_rows != 0 && rows - checkpoint->rows_at >= checkpoint->every_rows) ||
           (checkpoint->every_ns != 0 && now_ns - checkpoint->ns_at >= checkpoint->every_ns);
}

/* Every page anew, so that the files before go: when they hold too much that is not live, and while the node's disk still has room for
 * all that is. Where it has not, what has changed may fit. */
static bool rewrites(const struct checkpoint *checkpoint)
{
    uint64_t live = checkpoint->bytes_live, files = checkpoint->bytes_files;
    uint64_t room = pst_disk_room(checkpoint->run->options.disk);
    return files > 3 * live + FILES_SLACK_BYTES || (room < 2 * live && room >= live && files > live + live / 2);
}

/* From now on every partition stops at the cut. All is idle, the lock held. */
static void begin(struct checkpoint *checkpoint, uint64_t id, int64_t cut)
{
    struct run *run = checkpoint->run;
    checkpoint->id = id;
    checkpoint->cut = cut;
    checkpoint->takeover = atomic_load_explicit(&run->takeover, memory_order_acquire);
    checkpoint->replaced = atomic_load_explicit(&run->replaced, memory_order_acquire);
    atomic_store_explicit(&checkpoint->positioned, !pst_reads(run), memory_order_relaxed);
    checkpoint->changes_begun = checkpoint->changes;
    checkpoint->full =
        checkpoint->previous == NULL || checkpoint->changes != checkpoint->changes_previous || rewrites(checkpoint);
    uint32_t missing = pst_reads(run);
    for (uint32_t i = 0; i < run->instance_count; i++)
        missing += brings_image(run->instances[i]);
    atomic_store_explicit(&checkpoint->missing, missing, memory_order_relaxed);
    atomic_store_explicit(&checkpoint->dropped, PST_OK, memory_order_relaxed);
    atomic_store_explicit(&checkpoint->phase, CHECKPOINT_CHOSEN, memory_order_release);
    atomic_store_explicit(&run->cut, cut, memory_order_release); /* C1 */
    atomic_store_explicit(&checkpoint->announced, id, memory_order_release);
}

/* The part is on the disk, or it is known why not. On several nodes that is to be told. */
static void all_done(struct checkpoint *checkpoint, int rc)
{
    if (checkpoint->run->site == NULL) {
        atomic_store_explicit(&checkpoint->phase, CHECKPOINT_IDLE, memory_order_release);
        return;
    }
    checkpoint->part_error = rc;
    atomic_store_explicit(&checkpoint->part, checkpoint->id, memory_order_relaxed);
    atomic_store_explicit(&checkpoint->phase, CHECKPOINT_WRITTEN, memory_order_release); /* the last touch of the job */
}

static void why_dropped(struct checkpoint *checkpoint, const char *what, const char *why)
{
    struct pst_checkpoint_report *report = &checkpoint->report;
    (void)snprintf(report->why_dropped, sizeof report->why_dropped, "%s: %s", what, why);
}

/* Instead, while partitions come and go here: others hear of it as of any, and this node has no part. Where the coordinator is of this
 * version that does not happen: who reads goes on last. */
static void begin_without(struct checkpoint *checkpoint, uint64_t id, int64_t cut, const char *why)
{
    checkpoint->id = id;
    checkpoint->cut = cut;
    checkpoint->takeover = atomic_load_explicit(&checkpoint->run->takeover, memory_order_acquire);
    checkpoint->replaced = atomic_load_explicit(&checkpoint->run->replaced, memory_order_acquire);
    why_dropped(checkpoint, "it is not cut here", why);
    checkpoint->report.dropped++;
    all_done(checkpoint, PST_EAGAIN);
    atomic_store_explicit(&checkpoint->announced, id, memory_order_release);
}

/* What has become of the part that this node has written: C4. The lock held. */
static void settle(struct checkpoint *checkpoint, bool complete)
{
    if (complete)
        checkpoint->complete = checkpoint->id;
    if (complete && checkpoint->written != NULL) {
        pst_checkpoint_drop(&checkpoint->previous);
        checkpoint->previous = checkpoint->written;
        checkpoint->written = NULL;
        checkpoint->changes_previous = checkpoint->changes_begun;
        pst_checkpoint_count(checkpoint);
        for (uint32_t i = 0; i < checkpoint->part_count; i++)
            checkpoint->parts[i].since = checkpoint->parts[i].since_written;
    }
    pst_checkpoint_drop(&checkpoint->written);
    atomic_store_explicit(&checkpoint->phase, CHECKPOINT_IDLE, memory_order_relaxed);
}

bool pst_checkpoint_is_idle(struct checkpoint *checkpoint)
{
    if (atomic_load_explicit(&checkpoint->phase, memory_order_acquire) == CHECKPOINT_WRITTEN &&
        atomic_load_explicit(&checkpoint->settled, memory_order_acquire) == checkpoint->id)
        settle(checkpoint, atomic_load_explicit(&checkpoint->settled_complete, memory_order_relaxed));
    return atomic_load_explicit(&checkpoint->phase, memory_order_acquire) == CHECKPOINT_IDLE;
}

static bool turn_is_idle(struct checkpoint *checkpoint)
{
    int phase = atomic_load_explicit(&checkpoint->phase, memory_order_acquire);
    if (phase != CHECKPOINT_WRITTEN)
        return phase == CHECKPOINT_IDLE;
    pst_lock_take(&checkpoint->lock);
    bool idle = pst_checkpoint_is_idle(checkpoint);
    pst_lock_give(&checkpoint->lock);
    return idle;
}

void pst_checkpoint_turn(struct worker *worker)
{
    struct run *run = worker->run;
    struct checkpoint *checkpoint = run->checkpoint;
    const struct input *input = &run->input;
    if (checkpoint == NULL || checkpoint->several || (checkpoint->every_rows == 0 && checkpoint->every_ns == 0) ||
        input->newest == INT64_MIN || !turn_is_idle(checkpoint))
        return;
    uint64_t now_ns = run->world->now_ns(run->world->self);
    if (!is_due(checkpoint, input, now_ns) || atomic_load_explicit(&checkpoint->rests, memory_order_relaxed))
        return;
    if (input->newest > INT64_MAX - 2 * checkpoint->epoch)
        return; /* no cut above it */
    int64_t cut = pst_floor_to(input->newest, checkpoint->epoch) + checkpoint->epoch;
    if (checkpoint->cut != CUT_NONE && cut <= checkpoint->cut)
        return; /* the one that was resumed: no partition would stop there again */
    checkpoint->rows_at = atomic_load_explicit(&input->rows, memory_order_relaxed);
    checkpoint->ns_at = now_ns;
    pst_lock_take(&checkpoint->lock);
    if (!atomic_load_explicit(&checkpoint->rests, memory_order_relaxed)) { /* under the lock it is certain */
        atomic_store_explicit(&checkpoint->asked, false, memory_order_relaxed);
        begin(checkpoint, checkpoint->id + 1, cut);
    }
    pst_lock_give(&checkpoint->lock);
}

/* ---- while buckets move ---- */

bool pst_checkpoint_rest(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return true;
    pst_lock_take(&checkpoint->lock);
    atomic_store_explicit(&checkpoint->rests, true, memory_order_relaxed);
    int phase = atomic_load_explicit(&checkpoint->phase, memory_order_acquire);
    bool settled = atomic_load_explicit(&checkpoint->settled, memory_order_acquire) == checkpoint->id;
    bool told = atomic_load_explicit(&checkpoint->told, memory_order_relaxed); /* of one, which is about to begin */
    pst_lock_give(&checkpoint->lock);
    return !told && (phase == CHECKPOINT_IDLE || (phase == CHECKPOINT_WRITTEN && (!pst_reads(run) || settled)));
}

void pst_checkpoint_go_on(struct run *run, bool changed)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return;
    pst_lock_take(&checkpoint->lock);
    checkpoint->changes += changed;
    checkpoint->moves = false;
    atomic_store_explicit(&checkpoint->rests, false, memory_order_relaxed);
    pst_lock_give(&checkpoint->lock);
}

void pst_checkpoint_changes(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return;
    pst_lock_take(&checkpoint->lock);
    checkpoint->changes++;
    pst_lock_give(&checkpoint->lock);
}

void pst_checkpoint_over(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return;
    pst_lock_take(&checkpoint->lock);
    checkpoint->moves = true;
    atomic_store_explicit(&checkpoint->announced, 0, memory_order_release);
    pst_lock_give(&checkpoint->lock);
}

/* ---- from node to node ---- */

struct cut pst_checkpoint_said(const struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    pst_lock_take(&checkpoint->lock);
    struct cut cut = {checkpoint->id, checkpoint->complete, checkpoint->cut};
    pst_lock_give(&checkpoint->lock);
    return cut;
}

static bool has_nothing(const struct run *run)
{
    bool any = pst_reads(run);
    for (uint32_t i = 0; i < run->instance_count; i++)
        any |= brings_image(run->instances[i]);
    return !any;
}

/* It was chosen when all nodes had told their part of the one before: here, too, nothing is under way. */
static bool may_follow(const struct checkpoint *checkpoint, const struct cut *cut)
{
    int phase = atomic_load_explicit(&checkpoint->phase, memory_order_acquire);
    return (checkpoint->several || !pst_reads(checkpoint->run)) &&
           (phase == CHECKPOINT_IDLE || phase == CHECKPOINT_WRITTEN) &&
           pst_checkpoint_incarnation(cut->id) == checkpoint->run->site->incarnation &&
           (checkpoint->cut == CUT_NONE || cut->time > checkpoint->cut) && cut->time % checkpoint->epoch == 0;
}

int pst_checkpoint_heard(struct run *run, const struct cut *cut, uint32_t worker)
{
    struct checkpoint *checkpoint = run->checkpoint;
    int rc = PST_OK;
    bool begun = false;
    if (checkpoint == NULL)
        return PST_EDATA;
    pst_lock_take(&checkpoint->lock);
    if (cut->id > checkpoint->id) {
        rc = may_follow(checkpoint, cut) ? PST_OK : PST_EDATA;
        if (rc == PST_OK) {
            settle(checkpoint, cut->complete == checkpoint->id);
            if (cut->complete > checkpoint->complete) /* it had no part of that one, and hands the news on */
                checkpoint->complete = cut->complete;
            if (checkpoint->moves)
                begin_without(checkpoint, cut->id, cut->time, "buckets move");
            else if (has_nothing(run)) /* its last partition was replaced, which the sender had not heard */
                begin_without(checkpoint, cut->id, cut->time, "nothing is left here");
            else
                begin(checkpoint, cut->id, cut->time);
            begun = true;
        }
    }
    pst_lock_give(&checkpoint->lock);
    if (begun && checkpoint->several && pst_reads(run))
        pst_checkpoint_input_goes_on(&run->workers[worker]);
    return rc;
}

bool pst_checkpoint_part(struct run *run, uint64_t *ret_id, int *ret_error, const char **ret_why)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL || atomic_load_explicit(&checkpoint->phase, memory_order_acquire) != CHECKPOINT_WRITTEN)
        return false;
    uint64_t id = atomic_exchange_explicit(&checkpoint->part, 0, memory_order_relaxed);
    if (id == 0)
        return false; /* nothing follows before it was told: so what stands beside it is still of it */
    *ret_id = id;
    *ret_error = checkpoint->part_error;
    *ret_why = checkpoint->report.why_dropped;
    return true;
}

void pst_checkpoint_ask(struct run *run)
{
    if (run->checkpoint != NULL)
        atomic_store_explicit(&run->checkpoint->asked, true, memory_order_relaxed);
}

void pst_checkpoint_settled(struct run *run, uint64_t id, bool complete)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL || atomic_load_explicit(&checkpoint->settled, memory_order_relaxed) >= id)
        return;
    atomic_store_explicit(&checkpoint->settled_complete, complete, memory_order_relaxed);
    atomic_store_explicit(&checkpoint->settled, id, memory_order_release);
}

/* ---- what each part brings ---- */

static void job(void *argument)
{
    struct checkpoint *checkpoint = argument;
    int rc = pst_checkpoint_write(checkpoint);
    parts_drop(checkpoint);
    all_done(checkpoint, rc);
}

/* Whoever brings the last part starts the job. */
static void brought(struct run *run, uint32_t worker)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (atomic_fetch_sub_explicit(&checkpoint->missing, 1, memory_order_acq_rel) != 1)
        return;
    atomic_store_explicit(&run->cut, CUT_NONE, memory_order_relaxed); /* everybody has been there */
    atomic_store_explicit(&checkpoint->phase, CHECKPOINT_WRITING, memory_order_relaxed);
    int rc = atomic_load_explicit(&checkpoint->dropped, memory_order_relaxed);
    if (rc == PST_OK) {
        rc = run->world->work(run->world->self, run->worker_base + worker, job, checkpoint);
        if (rc == PST_OK)
            return;
        why_dropped(checkpoint, "starting to write", pst_checkpoint_reason(rc));
    }
    checkpoint->report.dropped++;
    parts_drop(checkpoint);
    all_done(checkpoint, rc);
}

/* The first part that cannot be had says why. Until the last one has been brought, nobody else writes to the report. */
static void lost(struct checkpoint *checkpoint, int error, const char *what, const char *why)
{
    int none = PST_OK;
    if (atomic_compare_exchange_strong(&checkpoint->dropped, &none, error))
        why_dropped(checkpoint, what, why);
}

static const char passed[] = "it had passed the cut when it heard of it";

void pst_checkpoint_position(struct worker *worker, const struct pst_manifest_source *source,
                             uint64_t dead_letter_bytes)
{
    struct checkpoint *checkpoint = worker->run->checkpoint;
    if (atomic_exchange_explicit(&checkpoint->positioned, true, memory_order_acq_rel))
        return; /* at the input's end two may have it */
    if (source != NULL) {
        checkpoint->source = *source;
        checkpoint->dead_letter_bytes = dead_letter_bytes;
    } else {
        lost(checkpoint, PST_EAGAIN, worker->run->input.name, passed);
    }
    brought(worker->run, worker->index);
}

static int timers_copy(const struct pst_ctx *ctx, struct part *part)
{
    size_t bytes = ctx->node->bucket_count * sizeof *part->timers;
    part->timers = part->timers != NULL ? part->timers : pst_malloc(bytes);
    part->numbers = part->numbers != NULL ? part->numbers : pst_malloc(bytes);
    if (part->timers == NULL || part->numbers == NULL)
        return PST_ENOMEM;
    memcpy(part->timers, ctx->timers, bytes);
    memcpy(part->numbers, ctx->numbers, bytes);
    return PST_OK;
}

static void part_lost(const struct pst_ctx *ctx, const char *why)
{
    lost(ctx->run->checkpoint, PST_ENOMEM, ctx->node->id, why);
}

static void sink_bring(struct pst_ctx *ctx, struct part *part)
{
    int rc = pst_sink_flush(ctx->run, ctx->sink); /* an error has ended the run */
    part->sink_bytes = ctx->sink->bytes_total;
    part->sink_rows = ctx->sink->rows;
    if (rc != PST_OK)
        part_lost(ctx, pst_checkpoint_reason(rc));
}

static void state_bring(struct pst_ctx *ctx, struct part *part)
{
    part->brought = !ctx->copy;
    if (ctx->copy)
        return;
    int rc = timers_copy(ctx, part);
    if (rc == PST_OK && ctx->state != NULL) {
        rc = pst_state_image(ctx->state, ctx->run->checkpoint->full ? 0 : part->since, &part->image);
        part->imaged = rc == PST_OK;
    }
    if (rc == PST_OK)
        return;
    int error = ctx->spill != NULL ? pst_state_error(ctx->state, NULL) : PST_OK;
    if (error != PST_OK)
        (void)pst_paging_failed(ctx, error); /* ends the run; ctx->sentence, where there is more to say */
    part_lost(ctx, error != PST_OK && ctx->sentence[0] != '\0' ? ctx->sentence : pst_error_sentence(rc));
}

/* Its worker has sealed it, but for a copy's, which is not asked. */
static void sealed_bring(struct pst_ctx *ctx, struct part *part)
{
    part->brought = !ctx->copy;
    if (ctx->copy)
        return;
    int rc = timers_copy(ctx, part);
    if (rc == PST_OK)
        rc = pst_ctx_enclave_imaged(ctx, part);
    if (rc != PST_OK)
        part_lost(ctx, pst_error_sentence(rc));
}

void pst_checkpoint_image(struct pst_ctx *ctx, int64_t cut)
{
    struct checkpoint *checkpoint = ctx->run->checkpoint;
    struct part *part = &checkpoint->parts[ctx->index];
    PST_ASSERT(cut == checkpoint->cut);
    if (ctx->sink != NULL)
        sink_bring(ctx, part);
    else if (ctx->enclave != NULL)
        sealed_bring(ctx, part);
    else
        state_bring(ctx, part);
    brought(ctx->run, ctx->worker);
}

static void image_none(struct pst_ctx *ctx, const char *why)
{
    struct part *part = &ctx->run->checkpoint->parts[ctx->index];
    part->brought = false;
    lost(ctx->run->checkpoint, PST_EAGAIN, ctx->node->id, why);
    brought(ctx->run, ctx->worker);
}

void pst_checkpoint_image_late(struct pst_ctx *ctx) { image_none(ctx, passed); }
void pst_checkpoint_image_none(struct pst_ctx *ctx) { image_none(ctx, "its worker is gone"); }
