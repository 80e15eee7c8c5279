/* opened.c - the user's side of sealed results: what a sink was given is opened and checked, and the sink itself writes it, here. Its
 * rows come as they came in any run: all that are below a time, then on_time(); so the bytes are the same. */
#include "engine/runtime.h"
#include "engine/sealed.h"

#include <string.h>

enum { FRAME_ROWS_OPENED = 2048 };

struct opening {
    struct run run; /* of one instance, the sink */
    struct pst_ctx ctx;
    struct sealed_plan plan;
    struct pst_sealed_keys keys;
    struct pst_capsules capsules;
    const struct pst_graph_node *node;
    struct pst_sealed_reader *readers[PST_INPUTS_MAX];
    const struct sealed_edge *edges[PST_INPUTS_MAX];
    uint32_t input; /* whose rows a reader gives */
    bool had_rows, opened;
    uint64_t rows;
    const uint8_t *stream; /* NULL: any */
    uint8_t found[PST_STREAM_ID_BYTES];
    struct pst_text why;
};

static int fail(struct opening *o, int rc, const char *what, const char *reason)
{
    if (o->why.bytes == NULL)
        (void)pst_text_printf(&o->why, "%s%s%s", what, reason[0] != '\0' ? ": " : "", reason);
    return rc;
}

/* ---- the sink ---- */

static int sink_find(struct opening *o, const struct pst_graph *graph, const char *name)
{
    uint32_t found = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        bool meant =
            name == NULL || strcmp(node->id, name) == 0 || (node->file != NULL && strcmp(node->file, name) == 0);
        if (node->op->role != PST_ROLE_SINK || !meant)
            continue;
        o->node = node;
        o->ctx.node_index = n;
        found++;
    }
    if (found == 1)
        return PST_OK;
    if (name == NULL && found > 1)
        return fail(o, PST_EGRAPH, "the graph has several sinks: --sink says which one's results these are", "");
    return fail(o, PST_EGRAPH, "the graph has no such sink", name != NULL ? name : "");
}

static int sink_open(struct opening *o, const struct pst_graph *graph, const char *input, const char *output)
{
    struct run *run = &o->run;
    run->graph = (struct pst_graph *)(uintptr_t)graph;
    run->input.path = input;
    o->ctx.head.host = pst_engine_host();
    o->ctx.run = run;
    o->ctx.node = o->node;
    int rc = pst_sink_open(run, NULL, output, o->node->id, &o->ctx.sink);
    if (rc != PST_OK)
        return fail(o, rc, run->error_text != NULL ? run->error_text : pst_error_sentence(rc), "");
    rc = o->node->op->open != NULL ? o->node->op->open(&o->ctx) : PST_OK;
    o->opened = rc == PST_OK;
    return rc == PST_OK ? PST_OK : fail(o, rc, o->ctx.sentence, pst_error_sentence(rc));
}

static int readers_open(struct opening *o)
{
    int rc = PST_OK;
    for (uint32_t e = 0; e < o->plan.edge_count && rc == PST_OK; e++) {
        const struct sealed_edge *edge = &o->plan.edges[e];
        if (edge->node != o->ctx.node_index)
            continue;
        o->edges[edge->input] = edge;
        rc = pst_sealed_reader_new(&(struct pst_sealed_reader_settings){.keys = &o->keys,
                                                                        .edge = &edge->edge,
                                                                        .held_bytes_max = HELD_BYTES_MAX,
                                                                        .frame_rows = FRAME_ROWS_OPENED},
                                   &o->readers[edge->input]);
    }
    return rc;
}

/* ---- rows ---- */

static int rows_in(void *self, uint32_t row_count, void *const *parts)
{
    struct opening *o = self;
    struct pst_rows rows = {
        .row_count = row_count, .input = o->input, .time = parts[0], .columns = (const void *const *)parts + 1};
    o->had_rows = true;
    o->rows += row_count;
    return o->node->op->on_frame(&o->ctx, &rows);
}

static int advance(struct opening *o, bool *ret_ended)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    int rc = PST_OK;
    *ret_ended = true;
    for (uint32_t i = 0; i < o->node->input_count; i++) {
        int64_t watermark = pst_sealed_reader_watermark(o->readers[i]);
        low = watermark < low ? watermark : low;
        high = watermark > high ? watermark : high;
        *ret_ended &= pst_sealed_reader_ended(o->readers[i]);
    }
    int64_t watermark = *ret_ended ? high : low;
    for (uint32_t i = 0; i < o->node->input_count && rc == PST_OK; i++) {
        int64_t known = pst_sealed_reader_watermark(o->readers[i]);
        o->input = i;
        rc = pst_sealed_reader_rows(o->readers[i], watermark < known ? watermark : known, rows_in, o);
    }
    if (rc == PST_OK && o->had_rows && o->node->op->on_time != NULL)
        rc = o->node->op->on_time(&o->ctx, watermark);
    o->had_rows = false;
    if (rc == PST_OK && *ret_ended && watermark != INT64_MIN && o->node->op->on_end != NULL)
        rc = o->node->op->on_end(&o->ctx, watermark);
    return rc == PST_OK
               ? PST_OK
               : fail(o, rc, o->ctx.sentence[0] != '\0' ? o->ctx.sentence : "the sink failed", pst_error_sentence(rc));
}

static int capsule_in(struct opening *o, const struct pst_capsule *capsule, const uint8_t *bytes)
{
    char why[PST_SEALED_WHY_BYTES];
    uint32_t i = 0;
    while (i < o->node->input_count && o->edges[i]->edge.number != capsule->edge)
        i++;
    if (i == o->node->input_count)
        return fail(o, PST_EREFUSED, "these are results of another sink, or of another graph", "");
    int rc = pst_sealed_reader_take(o->readers[i], bytes, pst_capsule_bytes(capsule), why);
    if (rc != PST_OK)
        return fail(o, rc, why, "");
    memcpy(o->found, pst_sealed_reader_stream(o->readers[i]), sizeof o->found);
    if (o->stream != NULL && memcmp(o->stream, o->found, sizeof o->found) != 0)
        return fail(o, PST_EREFUSED, "these are results of another stream than --stream says", "");
    return PST_OK;
}

static int read_all(struct opening *o, const char *input)
{
    struct pst_capsule capsule;
    const uint8_t *bytes;
    bool ended = false;
    int rc;
    while ((rc = pst_capsules_next(&o->capsules, &capsule, &bytes)) == PST_OK || rc == PST_EAGAIN) {
        if (rc == PST_EAGAIN) /* a pipe: the next read waits, too */
            continue;
        if (ended)
            return fail(o, PST_EREFUSED, input, "it goes on behind its end");
        rc = capsule_in(o, &capsule, bytes);
        if (rc == PST_OK && capsule.kind == PST_CAPSULE_MARK)
            rc = advance(o, &ended);
        if (rc != PST_OK)
            return rc;
    }
    if (rc == PST_ESTOPPED && ended)
        return PST_OK;
    if (rc == PST_ESTOPPED)
        return fail(o, PST_EREFUSED, input, "it is not complete: its end is missing");
    if (rc == PST_EDATA)
        return fail(o, rc, input, "it is cut, or no sealed stream");
    if (rc == PST_EABI)
        return fail(o, PST_EDATA, input, "it is of a newer version");
    return fail(o, rc, input, pst_system_error());
}

static void opening_fini(struct opening *o, int rc)
{
    if (o->opened && o->node->op->close != NULL)
        o->node->op->close(&o->ctx);
    if (o->ctx.sink != NULL) {
        pst_sink_close(&o->run, o->ctx.sink, rc);
        rc = rc == PST_OK ? o->run.error : rc;
        if (rc != PST_OK) /* of what was opened nothing stays: it may not be all */
            (void)o->run.world->unlink(o->run.world->self, o->ctx.sink->path_part);
        else
            pst_sink_name(&o->run, o->ctx.sink, rc);
        pst_sink_free(&o->run, o->ctx.sink);
    }
    for (uint32_t i = 0; i < PST_INPUTS_MAX; i++)
        pst_sealed_reader_free(o->readers[i]);
    pst_capsules_close(&o->capsules);
    pst_sealed_keys_fini(&o->keys);
    pst_sealed_plan_fini(&o->plan);
    pst_arena_fini(&o->ctx.user_arena);
    pst_arena_fini(&o->ctx.arena);
    pst_arena_fini(&o->run.arena);
}

static int open_all(struct opening *o, const struct pst_graph *graph, const char *sink, const uint8_t key[32],
                    const char *input, const char *output)
{
    uint8_t root[PST_SEALED_KEY_BYTES];
    int rc = pst_sealed_plan_init(&o->plan, graph, &o->why);
    if (rc == PST_OK)
        rc = sink_find(o, graph, sink);
    if (rc == PST_OK)
        rc = pst_sealed_root(key, o->plan.digest, root);
    if (rc == PST_OK)
        rc = pst_sealed_keys_init(&o->keys, root);
    explicit_bzero(root, sizeof root);
    if (rc == PST_OK)
        rc = readers_open(o);
    if (rc == PST_OK) {
        rc = pst_capsules_open(&o->capsules, o->run.world, input);
        if (rc != PST_OK)
            (void)fail(o, rc, input, pst_system_error());
    }
    if (rc == PST_OK)
        rc = sink_open(o, graph, input, output);
    if (rc == PST_OK)
        rc = read_all(o, input);
    if (rc == PST_OK) {
        rc = pst_sink_flush(&o->run, o->ctx.sink);
        if (rc != PST_OK)
            (void)fail(o, rc, o->run.error_text != NULL ? o->run.error_text : output, "");
    }
    return rc;
}

int pst_open_sealed(const struct pst_graph *graph, const char *sink, const uint8_t key[32], const uint8_t *stream,
                    const char *input, const char *output, struct pst_open_report *ret_report)
{
    *ret_report = (struct pst_open_report){0};
    struct pst_world *world = pst_world_uv();
    struct opening *o = pst_calloc(1, sizeof *o);
    if (world == NULL || o == NULL) {
        pst_free(o);
        pst_world_uv_free(world);
        return PST_ENOMEM;
    }
    o->run.world = world;
    o->stream = stream;
    atomic_flag_clear(&o->run.error_lock);
    pst_arena_init(&o->run.arena);
    pst_arena_init(&o->ctx.arena);
    pst_arena_init(&o->ctx.user_arena);
    int rc = open_all(o, graph, sink, key, input, output);
    ret_report->rows = o->rows;
    memcpy(ret_report->stream, o->found, sizeof ret_report->stream);
    ret_report->bytes = o->ctx.sink != NULL ? o->ctx.sink->bytes_total : 0;
    opening_fini(o, rc);
    if (rc == PST_OK && o->run.error != PST_OK) { /* its last bytes, or its name */
        rc = o->run.error;
        (void)fail(o, rc, o->run.error_text, "");
    }
    ret_report->error = o->why.bytes;
    pst_free(o->run.error_text);
    pst_free(o);
    pst_world_uv_free(world);
    return rc;
}
