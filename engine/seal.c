/* seal.c - the user's side of sealed rows: a run of the source and the stateless operators behind it, whose rows are sealed where the
 * next operators would take them. Reading, lateness, dead letters and the rest are those of any run (run.c); what stands where the
 * operators of the graph would is a tap for each edge.
 *
 * NO SEQUENCE TWICE. A tap draws 256 random bits as its session's salt, and a writer of that session counts its capsules (sealed.h, X1); no
 * salt is read back to be sealed with. A run that was cut goes on by sessions of its own, with salts of their own, from the last mark of
 * the ones before: the rows behind that mark are sealed again, under other keys. */
#include "engine/runtime.h"
#include "engine/sealed.h"

#include <string.h>

enum { MARK_ROWS = 8192, BATCH_BYTES_MAX = 384 * 1024, BATCH_ROWS_MIN = 64, FILE_BUFFER_BYTES = 1 << 20 };

struct sealing {
    struct pst_world *world;
    const char *graph_name;
    struct sealed_plan plan;
    struct pst_sealed_keys keys;
    uint8_t stream[PST_STREAM_ID_BYTES];
    struct tap *taps; /* of the edges that begin on the user's side */
    uint32_t tap_count;
    atomic_flag lock; /* the file and its buffer: taps are of several workers */
    struct pst_file *file;
    uint8_t *buffer;
    size_t used_bytes;
    uint64_t bytes_total;
    char *path_part; /* of a live one: what it is called in sentences */
    bool live;       /* to standard output: a mark does not wait for more */
    /* The highest time at which a tap had MARK_ROWS: all taps put out a mark there or behind it, so that no edge is far behind the others,
     * however few rows it has. INT64_MIN: none yet. */
    _Atomic int64_t due;
};

struct tap {
    struct sealing *all;
    const struct sealed_edge *edge;
    struct pst_sealed_writer *writer;
    int64_t floor;  /* rows below it have been sealed before */
    int64_t marked; /* the last mark */
    int64_t target; /* where it marks next whatever it has had, once it is above `marked`; it stays until it is met */
    uint64_t rows;  /* since the last mark */
    bool ended;
};

/* ---- the file ---- */

static int file_flush(struct sealing *all)
{
    const struct pst_world *world = all->world;
    int rc = all->used_bytes != 0 ? world->file_write(world->self, all->file, all->buffer, all->used_bytes) : PST_OK;
    all->used_bytes = 0;
    return rc;
}

static int capsule_out(void *emitter, const void *bytes, size_t byte_count)
{
    struct sealing *all = emitter;
    int rc = PST_OK;
    pst_lock_take(&all->lock);
    if (all->used_bytes + byte_count > FILE_BUFFER_BYTES)
        rc = file_flush(all);
    memcpy(all->buffer + all->used_bytes, bytes, byte_count);
    all->used_bytes += byte_count;
    all->bytes_total += byte_count;
    pst_lock_give(&all->lock);
    return rc;
}

/* ---- a tap, as the operator that it is to a run ---- */

static int rows_add(struct tap *tap, const struct pst_rows *rows, uint32_t from, uint32_t count)
{
    const struct pst_sealed_edge *edge = &tap->edge->edge;
    const void *columns[PST_FIELDS_MAX];
    uint32_t part = edge->keyed ? 2 : 1;
    for (uint32_t c = 0; part < edge->part_count; c++, part++)
        columns[c] = (const uint8_t *)rows->columns[c] + (size_t)from * edge->part_bytes[part];
    tap->rows += count;
    return pst_sealed_writer_add(tap->writer, count, rows->time + from, edge->keyed ? rows->hash + from : NULL,
                                 columns);
}

static int tap_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct tap *tap = (struct tap *)(uintptr_t)ctx->node->user;
    int rc = PST_OK;
    for (uint32_t from = 0, end; from < rows->row_count && rc == PST_OK && !tap->ended; from = end) {
        end = from;
        while (end < rows->row_count && rows->time[end] >= tap->floor)
            end++;
        if (end != from)
            rc = rows_add(tap, rows, from, end - from);
        while (end < rows->row_count && rows->time[end] < tap->floor)
            end++;
    }
    return rc;
}

/* What a reader can go on with by now: it knows nothing of rows that no mark has counted. */
static int mark_out(struct sealing *all)
{
    int rc = PST_OK;
    if (!all->live)
        return rc;
    pst_lock_take(&all->lock);
    rc = file_flush(all);
    pst_lock_give(&all->lock);
    return rc;
}

/* It wants each epoch's end, though no row of this edge was in it. */
static int tap_open(struct pst_ctx *ctx)
{
    ctx->had_rows = true;
    return PST_OK;
}

static int tap_mark(struct tap *tap, int64_t t, bool ends, int64_t input_end)
{
    tap->rows = 0;
    tap->marked = t > tap->marked ? t : tap->marked;
    tap->ended = ends;
    int rc = pst_sealed_writer_mark(tap->writer, tap->marked, ends, input_end);
    return rc == PST_OK ? mark_out(tap->all) : rc;
}

/* One that lags is not sent after a target that runs away from it. */
static bool tap_is_due(struct tap *tap, int64_t t)
{
    bool full = tap->rows >= MARK_ROWS;
    if (full)
        pst_raise(&tap->all->due, t);
    if (tap->target <= tap->marked)
        tap->target = atomic_load_explicit(&tap->all->due, memory_order_relaxed);
    return full || (tap->target > tap->marked && t >= tap->target);
}

static int tap_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct tap *tap = (struct tap *)(uintptr_t)ctx->node->user;
    ctx->had_rows = true; /* as tap_open() */
    return !tap->ended && tap_is_due(tap, t) ? tap_mark(tap, t, false, 0) : PST_OK;
}

static int tap_on_end(struct pst_ctx *ctx, int64_t t)
{
    struct tap *tap = (struct tap *)(uintptr_t)ctx->node->user;
    return tap->ended ? PST_OK : tap_mark(tap, t, true, t);
}

static const struct pst_operator tap_operator = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "sealed",
    .summary = "",
    .role = PST_ROLE_PLAIN,
    .input_count = 1,
    .open = tap_open,
    .on_frame = tap_on_frame,
    .on_time = tap_on_time,
    .on_end = tap_on_end,
};

/* ---- the graph of the user's side: the source, what is stateless behind it, taps ---- */

static bool is_kept(const struct pst_graph *graph, uint32_t n)
{
    return n == graph->source ||
           (graph->nodes[n].op->role == PST_ROLE_STATELESS && graph->nodes[n].host == graph->source);
}

static struct tap *tap_of(struct sealing *all, uint32_t node, uint32_t input)
{
    for (uint32_t t = 0; t < all->tap_count; t++)
        if (all->taps[t].edge->node == node && all->taps[t].edge->input == input)
            return &all->taps[t];
    return NULL;
}

/* place[n]: where a node that is kept stands in the new graph. */
static bool outputs_copy(struct sealing *all, const struct pst_graph *from, uint32_t n, const uint32_t *place,
                         uint32_t kept_count, struct pst_graph_node *to)
{
    struct pst_graph_output *outputs = pst_arena_alloc(&all->plan.arena, to->output_count * sizeof *outputs + 1);
    for (uint32_t o = 0; outputs != NULL && o < to->output_count; o++) {
        const struct pst_graph_output *output = &from->nodes[n].outputs[o];
        struct pst_graph_consumer *consumers =
            pst_arena_alloc(&all->plan.arena, (output->consumer_count + (size_t)1) * sizeof *consumers);
        if (consumers == NULL)
            return false;
        outputs[o] = *output;
        for (uint32_t c = 0; c < output->consumer_count; c++) {
            const struct pst_graph_consumer *reader = &output->consumers[c];
            const struct tap *tap = tap_of(all, reader->node, reader->input);
            consumers[c] = tap != NULL ? (struct pst_graph_consumer){kept_count + (uint32_t)(tap - all->taps), 0}
                                       : (struct pst_graph_consumer){place[reader->node], reader->input};
        }
        outputs[o].consumers = consumers;
    }
    to->outputs = outputs;
    return outputs != NULL;
}

static bool inputs_copy(struct sealing *all, const struct pst_graph_input *from, uint32_t count, const uint32_t *place,
                        struct pst_graph_node *to)
{
    to->inputs = pst_arena_alloc(&all->plan.arena, (count + (size_t)1) * sizeof *to->inputs);
    for (uint32_t i = 0; to->inputs != NULL && i < count; i++) {
        to->inputs[i] = from[i];
        to->inputs[i].producer = place[from[i].producer];
    }
    return to->inputs != NULL;
}

static bool tap_node(struct sealing *all, const struct pst_graph *from, struct tap *tap, const uint32_t *place,
                     uint32_t index, struct pst_graph_node *to)
{
    const struct pst_graph_node *node = &from->nodes[tap->edge->node];
    *to = (struct pst_graph_node){.id = node->id,
                                  .op = &tap_operator,
                                  .line = node->line,
                                  .partition_count = 1,
                                  .bucket_count = node->bucket_count,
                                  .replicas = 1,
                                  .key_count = node->key_count,
                                  .key_types = node->key_types,
                                  .key_bytes = node->key_bytes,
                                  .lead_count = node->lead_count,
                                  .lead_bytes = node->lead_bytes,
                                  .order = PST_ORDER_EPOCH,
                                  .epoch = 1,
                                  .user = tap,
                                  .params = "",
                                  .input_count = 1,
                                  .host = index};
    return inputs_copy(all, &node->inputs[tap->edge->input], 1, place, to);
}

static int graph_cut(struct sealing *all, const struct pst_graph *from, struct pst_graph *to)
{
    uint32_t *place = pst_arena_alloc(&all->plan.arena, from->node_count * sizeof *place), kept = 0;
    *to = (struct pst_graph){.name = from->name, .source = 0, .hash_key = all->keys.hash};
    for (uint32_t n = 0; place != NULL && n < from->node_count; n++)
        if (is_kept(from, n))
            place[n] = kept++;
    to->nodes = pst_arena_alloc(&all->plan.arena, (kept + (size_t)all->tap_count) * sizeof *to->nodes);
    if (place == NULL || to->nodes == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < from->node_count; n++) {
        struct pst_graph_node *node = &to->nodes[to->node_count];
        if (!is_kept(from, n))
            continue;
        *node = from->nodes[n];
        node->host = 0;
        if (!inputs_copy(all, from->nodes[n].inputs, node->input_count, place, node) ||
            !outputs_copy(all, from, n, place, kept, node))
            return PST_ENOMEM;
        to->node_count++;
    }
    for (uint32_t t = 0; t < all->tap_count; t++, to->node_count++)
        if (!tap_node(all, from, &all->taps[t], place, to->node_count, &to->nodes[to->node_count]))
            return PST_ENOMEM;
    return PST_OK;
}

/* ---- going on ---- */

struct before { /* what a file of an earlier run holds, for one edge */
    struct pst_sealed_reader *reader;
    struct pst_sealed_position position;
    bool known;
};

static int nothing(void *taker, uint32_t row_count, void *const *parts)
{
    (void)taker, (void)row_count, (void)parts;
    return PST_OK;
}

/* Reads all that was sealed, as its reader will; *ret_bytes: of whole capsules. */
static int before_read(struct sealing *all, struct before *before, struct pst_run_report *report, uint64_t *ret_bytes)
{
    struct pst_capsules capsules;
    struct pst_capsule capsule;
    const uint8_t *bytes;
    char why[PST_SEALED_WHY_BYTES];
    int rc = pst_capsules_open(&capsules, all->world, all->path_part);
    const char *reason = pst_system_error();
    while (rc == PST_OK && (rc = pst_capsules_next(&capsules, &capsule, &bytes)) == PST_OK) {
        uint32_t t = 0;
        while (t < all->tap_count && all->taps[t].edge->edge.number != capsule.edge)
            t++;
        (void)snprintf(why, sizeof why, "it has a capsule of an edge that the graph has not");
        rc = t < all->tap_count ? pst_sealed_reader_take(before[t].reader, bytes, pst_capsule_bytes(&capsule), why)
                                : PST_EREFUSED;
        reason = why;
        if (rc == PST_OK)
            rc = pst_sealed_reader_rows(before[t].reader, pst_sealed_reader_watermark(before[t].reader), nothing, NULL);
        if (rc == PST_OK)
            *ret_bytes = capsules.offset;
    }
    pst_capsules_close(&capsules);
    if (rc == PST_ESTOPPED || rc == PST_EDATA) /* the last capsule may be cut */
        return PST_OK;
    if (rc != PST_OK) {
        struct pst_text text = {0};
        (void)pst_text_printf(&text, "cannot go on with %s: %s", all->path_part, reason);
        report->error = text.bytes;
    }
    return rc;
}

static int resume_find(struct sealing *all, struct before *before, struct pst_run_report *report, uint64_t *ret_bytes)
{
    int rc = PST_OK;
    for (uint32_t t = 0; t < all->tap_count && rc == PST_OK; t++)
        rc = pst_sealed_reader_new(&(struct pst_sealed_reader_settings){.keys = &all->keys,
                                                                        .edge = &all->taps[t].edge->edge,
                                                                        .held_bytes_max = UINT64_MAX / 2,
                                                                        .frame_rows = MARK_ROWS},
                                   &before[t].reader);
    if (rc == PST_OK)
        rc = before_read(all, before, report, ret_bytes);
    for (uint32_t t = 0; t < all->tap_count && rc == PST_OK; t++)
        before[t].known = pst_sealed_reader_position(before[t].reader, &before[t].position);
    for (uint32_t t = 0; t < all->tap_count; t++)
        pst_sealed_reader_free(before[t].reader);
    return rc;
}

static int tap_begin(struct tap *tap, const struct before *before)
{
    const struct pst_world *world = tap->all->world;
    uint32_t row_bytes = pst_sealed_row_bytes(&tap->edge->edge), rows_max = BATCH_BYTES_MAX / row_bytes;
    struct pst_sealed_writer_settings settings = {.keys = &tap->all->keys,
                                                  .edge = &tap->edge->edge,
                                                  .rows_max = rows_max > MARK_ROWS        ? MARK_ROWS
                                                              : rows_max < BATCH_ROWS_MIN ? BATCH_ROWS_MIN
                                                                                          : rows_max,
                                                  .emit = capsule_out,
                                                  .emitter = tap->all};
    memcpy(settings.stream, tap->all->stream, sizeof settings.stream);
    tap->floor = tap->marked = before->known ? before->position.watermark : INT64_MIN;
    tap->target = INT64_MIN;
    tap->ended = before->known && before->position.ended;
    int rc = world->random(world->self, settings.salt, sizeof settings.salt);
    if (rc == PST_OK)
        rc = pst_sealed_writer_new(&settings, &tap->writer);
    if (rc != PST_OK || tap->ended)
        return rc;
    if (before->known)
        rc = pst_sealed_writer_continue(tap->writer, before->position.salt, before->position.sequence);
    return rc == PST_OK ? tap_mark(tap, tap->floor, false, 0) : rc;
}

/* ---- the run ---- */

/* Who writes it is alone: two would make one stream of two, or cut what the other is about to name. It is cut when what is to stay has been
 * read. */
static int file_open(struct sealing *all, const struct pst_seal_options *options, struct pst_text *why)
{
    const struct pst_world *world = all->world;
    uint64_t id[2];
    if (all->live)
        return world->file_open(world->self, "-", PST_OPEN_CREATE, &all->file);
    if (options->resume && world->look(world->self, all->path_part, id) == 0) {
        (void)pst_text_printf(why, "cannot go on with %s: there is no such file", all->path_part);
        return PST_ENOENT;
    }
    int rc = world->file_open(world->self, all->path_part, PST_OPEN_ALONE, &all->file);
    if (rc == PST_EAGAIN) {
        (void)pst_text_printf(why, "another process is writing %s", all->path_part);
        return PST_EREFUSED;
    }
    if (rc != PST_OK)
        (void)pst_text_printf(why, "cannot write %s: %s", all->path_part, pst_system_error());
    return rc;
}

/* Whoever was faster has named what it wrote while it had the lock. Then what was made here is empty, and goes. */
static bool output_stays(struct sealing *all, const struct pst_seal_options *options)
{
    const struct pst_world *world = all->world;
    uint64_t id[2], bytes = 1;
    if (options->ret_stays == NULL || world->look(world->self, options->output, id) == 0)
        return false;
    if (world->file_size(world->self, all->file, &bytes) == PST_OK && bytes == 0)
        (void)world->unlink(world->self, all->path_part);
    *options->ret_stays = true;
    return true;
}

static int file_begin(struct sealing *all, uint64_t bytes, struct pst_text *why)
{
    int rc = all->live ? PST_OK : all->world->file_cut(all->world->self, all->file, bytes);
    if (rc != PST_OK)
        (void)pst_text_printf(why, "cannot write %s: %s", all->path_part, pst_system_error());
    return rc;
}

/* What goes on is the same stream. */
static int stream_draw(struct sealing *all, const struct before *before)
{
    for (uint32_t t = 0; t < all->tap_count; t++)
        if (before[t].known) {
            memcpy(all->stream, before[t].position.stream, sizeof all->stream);
            return PST_OK;
        }
    return all->world->random(all->world->self, all->stream, sizeof all->stream);
}

/* Keys, and a tap for each edge that begins on the user's side. */
static int taps_make(struct sealing *all, const struct pst_graph *graph, const uint8_t *key, struct pst_text *why)
{
    uint8_t root[PST_SEALED_KEY_BYTES];
    int rc = pst_sealed_plan_init(&all->plan, graph, why);
    if (rc == PST_OK)
        rc = pst_sealed_root(key, all->plan.digest, root);
    if (rc == PST_OK)
        rc = pst_sealed_keys_init(&all->keys, root);
    explicit_bzero(root, sizeof root);
    all->taps = pst_calloc(all->plan.edge_count + (size_t)1, sizeof *all->taps);
    if (all->taps == NULL)
        rc = rc == PST_OK ? PST_ENOMEM : rc;
    for (uint32_t e = 0; rc == PST_OK && e < all->plan.edge_count; e++)
        if (all->plan.edges[e].from_user)
            all->taps[all->tap_count++] = (struct tap){.all = all, .edge = &all->plan.edges[e]};
    return rc;
}

static int begin(struct sealing *all, const struct pst_graph *graph, const struct pst_seal_options *options,
                 struct pst_run_report *report, struct pst_text *why)
{
    uint64_t bytes = 0;
    int rc = taps_make(all, graph, options->key, why);
    all->buffer = pst_malloc(FILE_BUFFER_BYTES);
    struct before *before = pst_calloc(all->plan.edge_count + (size_t)1, sizeof *before);
    if (all->buffer == NULL || before == NULL)
        rc = rc == PST_OK ? PST_ENOMEM : rc;
    if (rc == PST_OK)
        rc = file_open(all, options, why);
    if (rc == PST_OK && output_stays(all, options)) {
        pst_free(before);
        return PST_OK;
    }
    if (rc == PST_OK && options->resume)
        rc = resume_find(all, before, report, &bytes);
    if (rc == PST_OK)
        rc = file_begin(all, bytes, why);
    if (rc == PST_OK)
        rc = stream_draw(all, before);
    memcpy(options->ret_stream, all->stream, sizeof all->stream);
    for (uint32_t t = 0; t < all->tap_count && rc == PST_OK; t++)
        rc = tap_begin(&all->taps[t], &before[t]);
    pst_free(before);
    return rc;
}

/* An input without a row has no end that a tap is told of. */
static int finish(struct sealing *all, const struct pst_seal_options *options, struct pst_text *why)
{
    const struct pst_world *world = all->world;
    int rc = PST_OK;
    for (uint32_t t = 0; t < all->tap_count && rc == PST_OK; t++)
        if (!all->taps[t].ended)
            rc = tap_mark(&all->taps[t], INT64_MIN, true, INT64_MIN);
    if (rc == PST_OK)
        rc = file_flush(all);
    if (rc == PST_OK && !all->live)
        rc = world->file_sync(world->self, all->file);
    if (rc == PST_OK && !all->live) /* while it is locked: nobody else opens it by its old name and cuts it */
        rc = world->rename(world->self, all->path_part, options->output);
    int closed = world->file_close(world->self, all->file);
    all->file = NULL;
    if (rc == PST_OK)
        rc = closed;
    if (rc != PST_OK)
        (void)pst_text_printf(why, "cannot write %s: %s", all->path_part, pst_system_error());
    return rc;
}

static void sealing_free(struct sealing *all)
{
    if (all->file != NULL) { /* cut: what is whole of it can be gone on from */
        (void)file_flush(all);
        (void)all->world->file_close(all->world->self, all->file);
    }
    for (uint32_t t = 0; t < all->tap_count; t++)
        pst_sealed_writer_free(all->taps[t].writer);
    pst_free(all->taps);
    if (all->buffer != NULL)
        explicit_bzero(all->buffer, FILE_BUFFER_BYTES);
    pst_free(all->buffer);
    pst_free(all->path_part);
    pst_sealed_keys_fini(&all->keys);
    pst_sealed_plan_fini(&all->plan);
}

int pst_seal_run(const struct pst_graph *graph, const struct pst_run_options *options,
                 const struct pst_seal_options *seal, struct pst_run_report *ret_report)
{
    struct pst_text why = {0}, part = {0};
    struct pst_graph cut;
    struct pst_world *world = pst_world_uv();
    *ret_report = (struct pst_run_report){.watermark = INT64_MIN};
    if (world == NULL)
        return PST_ENOMEM;
    struct sealing all = {.world = world, .graph_name = graph->name, .live = seal->live};
    atomic_flag_clear(&all.lock);
    atomic_init(&all.due, INT64_MIN);
    int rc = seal->live ? pst_text_printf(&part, "standard output") : pst_text_printf(&part, "%s.part", seal->output);
    all.path_part = part.bytes;
    if (rc == PST_OK)
        rc = begin(&all, graph, seal, ret_report, &why);
    bool stays = seal->ret_stays != NULL && *seal->ret_stays;
    if (rc == PST_OK && !stays)
        rc = graph_cut(&all, graph, &cut);
    if (rc == PST_OK && !stays)
        rc = pst_run(&cut, options, world, ret_report);
    if (rc == PST_OK && !stays)
        rc = finish(&all, seal, &why);
    if (ret_report->error == NULL && why.bytes != NULL)
        ret_report->error = why.bytes;
    else
        pst_text_fini(&why);
    sealing_free(&all);
    pst_world_uv_free(world);
    return rc;
}

/* ---- is it this one? ---- */

/* A stream begins with a mark on each edge, in their order. What is no stream at all is for whoever reads it to say. */
static int beginnings_check(struct sealing *all, const char *path, struct pst_text *why)
{
    struct pst_capsules capsules;
    struct pst_capsule capsule;
    const uint8_t *bytes;
    char reason[PST_SEALED_WHY_BYTES];
    int rc = pst_capsules_open(&capsules, all->world, path);
    if (rc != PST_OK)
        (void)pst_text_printf(why, "cannot read %s: %s", path, pst_system_error());
    for (uint32_t t = 0; t < all->tap_count && rc == PST_OK; t++) {
        struct pst_sealed_reader *reader = NULL;
        const struct pst_sealed_reader_settings settings = {
            .keys = &all->keys, .edge = &all->taps[t].edge->edge, .held_bytes_max = UINT64_MAX / 2, .frame_rows = 1};
        rc = pst_sealed_reader_new(&settings, &reader);
        if (rc != PST_OK)
            break;
        rc = pst_capsules_next(&capsules, &capsule, &bytes);
        bool whole = rc == PST_OK,
             good = whole && pst_sealed_reader_take(reader, bytes, pst_capsule_bytes(&capsule), reason) == PST_OK;
        pst_sealed_reader_free(reader);
        if (whole && !good) {
            (void)pst_text_printf(why, "%s was not sealed for graph `%s` with this key", path, all->graph_name);
            rc = PST_EREFUSED;
        }
    }
    if (rc == PST_EDATA || rc == PST_ESTOPPED || rc == PST_EABI)
        rc = PST_OK;
    pst_capsules_close(&capsules);
    return rc;
}

int pst_seal_check(const struct pst_graph *graph, const uint8_t key[32], const char *path, char **ret_error)
{
    struct pst_text why = {0};
    struct pst_world *world = pst_world_uv();
    *ret_error = NULL;
    if (world == NULL)
        return PST_ENOMEM;
    struct sealing all = {.world = world, .graph_name = graph->name};
    int rc = taps_make(&all, graph, key, &why);
    if (rc == PST_OK)
        rc = beginnings_check(&all, path, &why);
    *ret_error = why.bytes;
    sealing_free(&all);
    pst_world_uv_free(world);
    return rc;
}
