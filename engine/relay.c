/* relay.c - a run on a sealed stream: what its host does, which is to carry capsules. It reads them from the input, hands each to the worker
 * that owns its bucket, takes those that workers put out, and writes those that are for sinks. It has no key; it goes by headers, and
 * what they say is checked by whoever opens.
 *
 * One thread. What comes for a worker stands in queues, one for each partition that it comes from, and rows wait there while another of
 * them is behind, so that in its enclave no more than about two batches of each wait: a capsule of rows goes in when marks of all have gone in
 * that reach the time it begins at. Nobody waits for ever: that of the queue that is furthest behind may always go, and a partition that
 * has all capsules below a time promises that time, so by induction along the graph every queue gets its next batch. What waits here is
 * bounded by reading no further; where all workers wait for more, the input is read all the same. */
#include "engine/carry.h"
#include "engine/enclave.h"
#include "engine/release.h"
#include "engine/sealed.h"

#include <assert.h>
#include <string.h>

#define QUEUED_BYTES_MAX (UINT64_C(1) << 30)
enum {
    CHUNK_BYTES = PST_ENCLAVE_CAPSULES_BYTES_MAX,
    QUEUED_BYTES_READ = 8 << 20, /* beyond, the input is read only when all workers wait for it */
    CAPSULES_AT_ONCE = 256,
    WAIT_US = 100,
    TURNS = 64, /* over all workers, before one of them is slept for */
    PROGRESS_NS = 250 * 1000 * 1000,
};
#define OUTSIDE_BYTES_MAX (UINT64_C(64) << 30)

struct chunk {
    struct chunk *next;
    uint32_t at, count;
    uint8_t bytes[CHUNK_BYTES];
};

struct queue { /* what has come for a worker from one partition */
    struct chunk *first, *last;
    int64_t watermark; /* of the last mark that has gone in */
};

struct member { /* a worker */
    struct relay *relay;
    const struct pst_graph_node *node;
    uint32_t node_index, partition;
    struct pst_enclave *enclave;
    struct queue *queues; /* by input, then by partition of who fills it */
    uint32_t queue_count, queue_first[PST_INPUTS_MAX];
    uint8_t *going; /* CHUNK_BYTES of the border, while it is filled */
    uint32_t going_bytes;
};

struct way { /* an edge, as its host sees it */
    const struct sealed_edge *edge;
    int64_t *watermark; /* by partition of the producer */
    bool *ended;
    uint32_t producer_count, member_first; /* of the reader's workers */
    struct sink *sink;                     /* NULL: to workers */
    uint64_t rows;
};

struct relay {
    struct run run; /* of sinks and how it ended, and no more */
    const struct pst_graph *graph;
    const struct pst_sealed_options *options;
    struct sealed_plan plan;
    struct pst_capsules input;
    bool input_open;
    struct way *ways;
    struct member *members;
    uint32_t member_count, member_released;
    uint32_t *member_first; /* by node */
    struct chunk *spare;
    uint64_t queued_bytes;
    struct release_asker asker;
    bool asks, ended;
    uint32_t quiet; /* turns without anything */
    uint64_t told_ns;
};

/* ---- capsules that wait ---- */

static int queue(struct relay *relay, struct queue *queue, const uint8_t *bytes, uint32_t count)
{
    struct chunk *chunk = queue->last;
    if (queue->first == NULL || chunk->count + count > CHUNK_BYTES) {
        chunk = relay->spare;
        if (chunk != NULL)
            relay->spare = chunk->next;
        else if ((chunk = pst_malloc(sizeof *chunk)) == NULL)
            return PST_ENOMEM;
        chunk->next = NULL;
        chunk->at = chunk->count = 0;
        if (queue->first == NULL)
            queue->first = chunk;
        else
            queue->last->next = chunk;
        queue->last = chunk;
    }
    memcpy(chunk->bytes + chunk->count, bytes, count);
    chunk->count += count;
    relay->queued_bytes += count;
    return relay->queued_bytes <= QUEUED_BYTES_MAX ? PST_OK : PST_EFULL;
}

static int64_t member_watermark(const struct member *member)
{
    int64_t low = INT64_MAX;
    for (uint32_t q = 0; q < member->queue_count; q++)
        low = member->queues[q].watermark < low ? member->queues[q].watermark : low;
    return low;
}

/* Moves what may go from one queue to what goes. */
static bool fill_from(struct relay *relay, struct member *member, struct queue *queue, int64_t watermark)
{
    struct chunk *chunk;
    bool any = false;
    while ((chunk = queue->first) != NULL) {
        struct pst_capsule capsule;
        int rc = pst_capsule_read(chunk->bytes + chunk->at, chunk->count - chunk->at, &capsule);
        PST_ASSERT(rc == PST_OK); /* it was read when it came */
        uint32_t count = (uint32_t)pst_capsule_bytes(&capsule);
        if ((capsule.kind == PST_CAPSULE_ROWS && capsule.time > watermark) || member->going_bytes + count > CHUNK_BYTES)
            break;
        memcpy(member->going + member->going_bytes, chunk->bytes + chunk->at, count);
        member->going_bytes += count;
        chunk->at += count;
        relay->queued_bytes -= count;
        any = true;
        if (capsule.kind == PST_CAPSULE_MARK)
            queue->watermark = capsule.time;
        if (chunk->at != chunk->count)
            continue;
        queue->first = chunk->next;
        chunk->next = relay->spare;
        relay->spare = chunk;
    }
    return any;
}

static void fill(struct relay *relay, struct member *member)
{
    for (bool any = true; any;) {
        int64_t watermark = member_watermark(member);
        any = false;
        for (uint32_t q = 0; q < member->queue_count; q++)
            any |= fill_from(relay, member, &member->queues[q], watermark);
    }
}

static int member_gone(struct relay *relay, const struct member *member, int rc)
{
    if (rc != PST_ESTOPPED)
        pst_run_fail(&relay->run, rc, "operator %s (%s), partition %u, in its enclave: %s", member->node->id,
                     member->node->op->name, member->partition, pst_enclave_why(member->enclave));
    return rc;
}

static int member_feed(struct relay *relay, struct member *member, bool *ret_any)
{
    for (;;) {
        int rc = pst_enclave_capsules_room(member->enclave, &member->going);
        if (rc == PST_EAGAIN)
            return PST_OK;
        member->going_bytes = 0;
        if (rc == PST_OK)
            fill(relay, member);
        if (rc == PST_OK && member->going_bytes == 0)
            return PST_OK;
        if (rc == PST_OK)
            rc = pst_enclave_capsules_put(member->enclave, member->going_bytes);
        if (rc != PST_OK)
            return member_gone(relay, member, rc);
        *ret_any = true;
    }
}

/* ---- where a capsule goes ---- */

static int to_member(struct relay *relay, struct member *member, const struct way *way, uint32_t producer,
                     const struct pst_capsule *capsule, const uint8_t *bytes)
{
    uint32_t q = member->queue_first[way->edge->input] + producer;
    return queue(relay, &member->queues[q], bytes, (uint32_t)pst_capsule_bytes(capsule));
}

static int to_members(struct relay *relay, const struct way *way, uint32_t producer, const struct pst_capsule *capsule,
                      const uint8_t *bytes)
{
    const struct sealed_edge *edge = way->edge;
    uint32_t partitions = relay->graph->nodes[edge->node].partition_count;
    struct member *members = &relay->members[way->member_first];
    int rc = PST_OK;
    if (capsule->kind == PST_CAPSULE_ROWS && edge->edge.keyed) {
        uint32_t partition = (uint32_t)((uint64_t)capsule->bucket * partitions / edge->edge.bucket_count);
        return capsule->bucket < edge->edge.bucket_count
                   ? to_member(relay, &members[partition], way, producer, capsule, bytes)
                   : PST_EDATA;
    }
    for (uint32_t p = 0; p < partitions && rc == PST_OK; p++)
        rc = to_member(relay, &members[p], way, producer, capsule, bytes);
    return rc;
}

static int deal(struct relay *relay, struct way *way, uint32_t producer, const struct pst_capsule *capsule,
                const uint8_t *bytes)
{
    way->rows += capsule->row_count;
    if (capsule->kind == PST_CAPSULE_MARK) {
        way->watermark[producer] = capsule->time;
        way->ended[producer] = (capsule->flags & PST_CAPSULE_ENDS) != 0;
    }
    if (way->sink == NULL)
        return to_members(relay, way, producer, capsule, bytes);
    int rc = pst_sink_write(&relay->run, way->sink, bytes, pst_capsule_bytes(capsule));
    way->sink->rows += capsule->row_count;
    return rc;
}

/* What a worker put out; the engine's callback of it. */
static int member_out(void *taker, const void *bytes, size_t byte_count)
{
    struct member *member = taker;
    struct relay *relay = member->relay;
    struct pst_capsule capsule;
    for (size_t at = 0; at < byte_count; at += pst_capsule_bytes(&capsule)) {
        const uint8_t *one = (const uint8_t *)bytes + at;
        if (pst_capsule_read(one, byte_count - at, &capsule) != PST_OK || capsule.edge >= relay->plan.edge_count)
            return PST_EREFUSED;
        struct way *way = &relay->ways[capsule.edge];
        if (way->edge->from_user || way->edge->producer != member->node_index)
            return PST_EREFUSED;
        int rc = deal(relay, way, member->partition, &capsule, one);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- the input ---- */

static int input_bad(struct relay *relay, int rc, const char *what)
{
    pst_run_fail(&relay->run, rc, "the input %s: %s", relay->run.options.input, what);
    return rc;
}

static int input_read(struct relay *relay, bool *ret_any)
{
    struct pst_capsule capsule;
    const uint8_t *bytes;
    int rc = PST_OK;
    for (uint32_t i = 0; i < CAPSULES_AT_ONCE && rc == PST_OK; i++) {
        rc = pst_capsules_next(&relay->input, &capsule, &bytes);
        if (rc != PST_OK)
            break;
        *ret_any = true;
        struct way *way = capsule.edge < relay->plan.edge_count ? &relay->ways[capsule.edge] : NULL;
        if (way == NULL || !way->edge->from_user)
            return input_bad(relay, PST_EDATA, "it was sealed for another graph");
        rc = deal(relay, way, 0, &capsule, bytes);
        if (rc == PST_EFULL)
            return input_bad(relay, rc, "more than 1 GiB of it waits for operators that do not go on");
    }
    if (rc == PST_OK)
        return rc;
    if (rc == PST_EAGAIN) {
        rc = relay->run.world->file_watch(relay->run.world->self, relay->input.file, 0);
        return rc == PST_OK ? PST_EAGAIN : input_bad(relay, PST_EIO, pst_system_error());
    }
    for (uint32_t e = 0; rc == PST_ESTOPPED && e < relay->plan.edge_count; e++)
        if (relay->plan.edges[e].from_user && !relay->ways[e].ended[0])
            return input_bad(relay, PST_EDATA, "it is not complete: the end of the sealed stream is missing");
    if (rc == PST_ESTOPPED) {
        pst_capsules_close(&relay->input);
        relay->input_open = false;
        return PST_OK;
    }
    return input_bad(relay, rc == PST_EABI ? PST_EDATA : rc,
                     rc == PST_EDATA    ? "it is cut, or no sealed stream: `penstock seal` makes one"
                     : rc == PST_EABI   ? "it is of a newer version"
                     : rc == PST_ENOMEM ? pst_error_sentence(rc)
                                        : pst_system_error());
}

/* ---- a step ---- */

static bool all_ended(const struct relay *relay)
{
    for (uint32_t e = 0; e < relay->plan.edge_count; e++)
        for (uint32_t p = 0; relay->ways[e].sink != NULL && p < relay->ways[e].producer_count; p++)
            if (!relay->ways[e].ended[p])
                return false;
    return !relay->input_open && relay->queued_bytes == 0;
}

static void progress_tell(struct relay *relay)
{
    const struct run *run = &relay->run;
    uint64_t now = run->world->now_ns(run->world->self), rows = 0;
    if (run->options.progress == NULL || now - relay->told_ns < PROGRESS_NS)
        return;
    relay->told_ns = now;
    for (uint32_t e = 0; e < relay->plan.edge_count; e++)
        if (relay->plan.edges[e].from_user && relay->ways[e].rows > rows)
            rows = relay->ways[e].rows;
    run->report->rows = rows;
    run->report->input_bytes = relay->input.offset;
    run->report->nanoseconds = now - run->begun_ns;
    run->options.progress(run->options.progress_argument, run->report);
}

/* Each worker gets its key first, one after the other. */
static int keys_step(struct relay *relay)
{
    while (relay->member_released < relay->member_count) {
        struct member *member = &relay->members[relay->member_released];
        uint64_t epc = member->node->epc_bytes != 0 ? member->node->epc_bytes : PST_EPC_BYTES_STANDARD;
        if (!relay->asks)
            pst_release_begin(&relay->asker, relay->run.world, relay->options, relay->plan.digest);
        relay->asks = true;
        int rc = pst_release_step(&relay->asker, member->enclave, epc);
        if (rc == PST_EAGAIN)
            return rc;
        if (rc != PST_OK) {
            pst_run_fail(&relay->run, rc, "operator %s (%s), partition %u, gets no key: %s", member->node->id,
                         member->node->op->name, member->partition, relay->asker.why);
            return rc;
        }
        relay->member_released++;
    }
    if (relay->asks)
        pst_release_end(&relay->asker);
    return PST_OK;
}

static bool member_has_work(const struct member *member) { return !pst_enclave_took_all(member->enclave); }

/* Whether none goes on without more of the input. Where one of them is at work, what waits here waits for it. */
static bool all_starve(const struct relay *relay)
{
    for (uint32_t m = 0; m < relay->member_count; m++)
        if (!pst_enclave_is_idle(relay->members[m].enclave))
            return false;
    return true;
}

/* Nothing moved: some turns on, one of the workers that have work is slept for. */
static int rest(struct relay *relay, bool reads)
{
    struct member *waiting = NULL;
    if (++relay->quiet < TURNS || relay->member_count == 0)
        return PST_OK;
    for (uint32_t s = 0; s < relay->run.sink_count; s++) { /* the stream pauses: what is written becomes visible */
        int rc = pst_sink_flush(&relay->run, relay->run.sinks[s]);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t m = 0; m < relay->member_count && waiting == NULL; m++)
        waiting = member_has_work(&relay->members[m]) ? &relay->members[m] : NULL;
    if (waiting == NULL && reads)
        return PST_EAGAIN; /* for more of the input */
    if (waiting == NULL)   /* they work off what they took */
        waiting = &relay->members[relay->quiet % relay->member_count];
    int rc = pst_enclave_wait(waiting->enclave, WAIT_US);
    return rc == PST_OK ? PST_OK : member_gone(relay, waiting, rc);
}

static int carry(struct relay *relay)
{
    bool any = false, reads = false;
    int rc = PST_OK;
    for (uint32_t m = 0; m < relay->member_count && rc == PST_OK; m++) {
        struct member *member = &relay->members[m];
        uint64_t before = relay->queued_bytes;
        bool news = pst_enclave_has_news(member->enclave);
        rc = pst_enclave_poll(member->enclave);
        any |= news || relay->queued_bytes != before;
        if (rc != PST_OK)
            return member_gone(relay, member, rc);
    }
    for (uint32_t m = 0; m < relay->member_count && rc == PST_OK; m++)
        rc = member_feed(relay, &relay->members[m], &any);
    for (uint32_t m = 0; m < relay->member_count && rc == PST_OK; m++)
        pst_enclave_kick(relay->members[m].enclave);
    if (rc == PST_OK && relay->input_open && (relay->queued_bytes < QUEUED_BYTES_READ || (!any && all_starve(relay)))) {
        rc = input_read(relay, &any);
        reads = rc == PST_EAGAIN;
        rc = reads ? PST_OK : rc;
    }
    if (any)
        relay->quiet = 0;
    return rc != PST_OK || any ? rc : rest(relay, reads);
}

static pst_step relay_step(void *argument, uint32_t index)
{
    struct relay *relay = argument;
    struct run *run = &relay->run;
    (void)index;
    if (run->options.interrupts != NULL && atomic_load(run->options.interrupts) != 0) {
        pst_run_fail(run, PST_ESTOPPED, "stopped before the end of the input: a sealed run cannot be drained");
        return PST_STEP_DONE;
    }
    int rc = keys_step(relay);
    if (rc == PST_EAGAIN)
        return PST_STEP_IDLE; /* woken by the connection, and ten times a second */
    if (rc == PST_OK && run->begun_ns == 0)
        run->begun_ns = run->world->now_ns(run->world->self) | 1;
    if (rc == PST_OK)
        rc = carry(relay);
    progress_tell(relay);
    if (rc == PST_EAGAIN)
        return PST_STEP_IDLE;
    relay->ended = rc == PST_OK && all_ended(relay);
    if (rc != PST_OK && run->error == PST_OK)
        pst_run_fail(run, rc, "%s", pst_error_sentence(rc));
    return rc != PST_OK || relay->ended ? PST_STEP_DONE : PST_STEP_MORE;
}

/* ---- life ---- */

static int sink_open(struct relay *relay, const struct pst_graph_node *node, struct sink **ret_sink)
{
    struct pst_text name = {0};
    int rc = pst_text_printf(&name, "%s.sealed", node->file != NULL ? node->file : node->id);
    char *file = rc == PST_OK ? pst_arena_strdup(&relay->plan.arena, name.bytes) : NULL;
    pst_text_fini(&name);
    rc =
        file != NULL ? pst_sink_open(&relay->run, relay->run.options.output_dir, file, node->id, ret_sink) : PST_ENOMEM;
    if (rc == PST_OK)
        relay->run.sinks[relay->run.sink_count++] = *ret_sink;
    return rc;
}

static int ways_build(struct relay *relay)
{
    const struct pst_graph *graph = relay->graph;
    int rc = PST_OK;
    relay->ways = pst_arena_alloc(&relay->plan.arena, relay->plan.edge_count * sizeof *relay->ways);
    relay->member_first = pst_arena_alloc(&relay->plan.arena, graph->node_count * sizeof *relay->member_first);
    relay->run.sinks = pst_arena_alloc(&relay->plan.arena, graph->node_count * sizeof *relay->run.sinks);
    if (relay->ways == NULL || relay->member_first == NULL || relay->run.sinks == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        relay->member_first[n] = relay->member_count;
        relay->member_count += graph->nodes[n].op->role == PST_ROLE_PLAIN ? graph->nodes[n].partition_count : 0;
    }
    for (uint32_t e = 0; e < relay->plan.edge_count && rc == PST_OK; e++) {
        const struct sealed_edge *edge = &relay->plan.edges[e];
        struct way *way = &relay->ways[e];
        way->edge = edge;
        way->producer_count = edge->from_user ? 1 : graph->nodes[edge->producer].partition_count;
        way->member_first = relay->member_first[edge->node];
        way->watermark = pst_arena_alloc(&relay->plan.arena, way->producer_count * sizeof *way->watermark);
        way->ended = pst_arena_alloc(&relay->plan.arena, way->producer_count * sizeof *way->ended);
        if (way->watermark == NULL || way->ended == NULL)
            return PST_ENOMEM;
        for (uint32_t p = 0; p < way->producer_count; p++)
            way->watermark[p] = INT64_MIN;
        const struct sealed_edge *before = edge->input != 0 ? edge - 1 : NULL; /* of the same sink */
        if (graph->nodes[edge->node].op->role == PST_ROLE_SINK && before != NULL)
            way->sink = relay->ways[e - 1].sink;
        else if (graph->nodes[edge->node].op->role == PST_ROLE_SINK)
            rc = sink_open(relay, &graph->nodes[edge->node], &way->sink);
    }
    return rc;
}

static int queues_make(struct relay *relay, struct member *member)
{
    for (uint32_t e = 0; e < relay->plan.edge_count; e++) {
        const struct way *way = &relay->ways[e];
        if (way->edge->node != member->node_index)
            continue;
        member->queue_first[way->edge->input] = member->queue_count;
        member->queue_count += way->producer_count;
    }
    member->queues = pst_arena_alloc(&relay->plan.arena, member->queue_count * sizeof *member->queues);
    for (uint32_t q = 0; member->queues != NULL && q < member->queue_count; q++)
        member->queues[q].watermark = INT64_MIN;
    return member->queues != NULL ? PST_OK : PST_ENOMEM;
}

static int member_start(struct relay *relay, struct member *member, struct pst_enclave_operator *operator)
{
    const struct pst_graph_node *node = member->node;
    struct run *run = &relay->run;
    char why[PST_ENCLAVE_WHY_BYTES];
    uint32_t *buckets = pst_malloc(node->bucket_count * sizeof *buckets), count = 0;
    if (buckets == NULL || queues_make(relay, member) != PST_OK) {
        pst_free(buckets);
        return PST_ENOMEM;
    }
    for (uint32_t b = 0; b < node->bucket_count; b++)
        if ((uint64_t)b * node->partition_count / node->bucket_count == member->partition)
            buckets[count++] = b;
    struct pst_enclave_settings settings = {
        .operator= operator,
        .buckets = buckets,
        .bucket_count = count,
        .epc_bytes = node->epc_bytes != 0 ? node->epc_bytes : PST_EPC_BYTES_STANDARD,
        .outside_bytes = OUTSIDE_BYTES_MAX,
        .evict = run->options.evict,
        .touch_bytes = pst_enclave_touch_bytes(run, node, run->report->input_bytes_total),
        .starting_count = relay->member_count,
        .later = true,
        .cheap = run->options.cheap,
        .random = run->world->random,
        .argument = run->world->self,
        .take_capsules = member_out,
        .taker = member,
        .spare_processors = relay->member_count + 1 <= run->world->cores(run->world->self),
        .quiet_seconds_max = run->options.enclave_patience_s,
        .program = run->options.enclave_program,
        .stopped = &run->stopped,
    };
    int rc = pst_enclave_start(&pst_enclave_process, &settings, &member->enclave, why);
    pst_free(buckets);
    if (rc != PST_OK)
        pst_run_fail(run, rc, "operator %s (%s), partition %u: cannot start its enclave: %s", node->id, node->op->name,
                     member->partition, why);
    return rc;
}

static int member_await(struct relay *relay, struct member *member)
{
    const struct pst_graph_node *node = member->node;
    int rc = pst_enclave_await(member->enclave);
    if (rc != PST_OK)
        pst_run_fail(&relay->run, rc, "operator %s (%s), partition %u: cannot start its enclave: %s", node->id,
                     node->op->name, member->partition, pst_enclave_why(member->enclave));
    else if (member->partition == 0)
        pst_enclave_warn(&relay->run.options, node, member->enclave);
    return rc;
}

static int members_start(struct relay *relay)
{
    const struct pst_graph *graph = relay->graph;
    int rc = PST_OK;
    relay->members = pst_calloc(relay->member_count + (size_t)1, sizeof *relay->members);
    if (relay->members == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        struct pst_enclave_operator operator;
        if (node->op->role != PST_ROLE_PLAIN)
            continue;
        struct pst_enclave_param *params = pst_calloc(node->op->param_count + 1, sizeof *params);
        if (params == NULL)
            return PST_ENOMEM;
        pst_enclave_operator_fill(graph, node, &operator, params);
        operator.sealing = pst_sealed_plan_of(&relay->plan, graph, n);
        rc = operator.sealing != NULL ? PST_OK : PST_ENOMEM;
        for (uint32_t p = 0; p < node->partition_count && rc == PST_OK; p++) {
            struct member *member = &relay->members[relay->member_first[n] + p];
            *member = (struct member){.relay = relay, .node = node, .node_index = n, .partition = p};
            rc = member_start(relay, member, &operator);
        }
        pst_free(params);
    }
    for (uint32_t m = 0; m < relay->member_count && rc == PST_OK; m++)
        rc = member_await(relay, &relay->members[m]);
    return rc;
}

static int begin(struct relay *relay, struct pst_text *why)
{
    struct run *run = &relay->run;
    int rc = pst_sealed_plan_init(&relay->plan, relay->graph, why);
    if (rc != PST_OK) {
        pst_run_fail(run, rc, "%s", why->bytes != NULL ? why->bytes : pst_error_sentence(rc));
        return rc;
    }
    rc = pst_capsules_open(&relay->input, run->world, run->options.input);
    relay->input_open = rc == PST_OK;
    if (rc != PST_OK)
        pst_run_fail(run, rc, "cannot open the input %s: %s", run->options.input, pst_system_error());
    if (rc == PST_OK &&
        run->world->file_size(run->world->self, relay->input.file, &run->report->input_bytes_total) != PST_OK)
        run->report->input_bytes_total = 0;
    if (rc == PST_OK && run->options.output_dir != NULL) {
        rc = run->world->mkdir(run->world->self, run->options.output_dir);
        if (rc != PST_OK)
            pst_run_fail(run, rc, "cannot make the folder %s: %s", run->options.output_dir, pst_system_error());
    }
    if (rc == PST_OK)
        rc = ways_build(relay);
    if (rc == PST_OK)
        rc = members_start(relay);
    if (rc != PST_OK)
        pst_run_fail(run, rc, "cannot start the graph: %s", pst_error_sentence(rc));
    return rc;
}

static int64_t way_watermark(const struct way *way)
{
    int64_t low = INT64_MAX;
    for (uint32_t p = 0; p < way->producer_count; p++)
        low = way->watermark[p] < low ? way->watermark[p] : low;
    return low;
}

static int report_fill(struct relay *relay, struct pst_run_report *report)
{
    struct run *run = &relay->run;
    uint32_t enclaved = 0;
    report->nanoseconds = run->begun_ns != 0 ? run->world->now_ns(run->world->self) - run->begun_ns : 0;
    report->input_bytes = relay->input.offset;
    report->enclaves = pst_calloc(relay->graph->node_count, sizeof *report->enclaves);
    report->outputs = pst_calloc(run->sink_count + (size_t)1, sizeof *report->outputs);
    if (report->enclaves == NULL || report->outputs == NULL)
        return PST_ENOMEM;
    for (uint32_t m = 0; relay->members != NULL && m < relay->member_count; m++) {
        struct member *member = &relay->members[m];
        if (member->enclave == NULL)
            continue;
        if (m != 0 && member->node != relay->members[m - 1].node)
            enclaved++;
        if (pst_enclave_count_in(&report->enclaves[enclaved], member->node, member->enclave) != PST_OK)
            return PST_ENOMEM;
        report->state_bytes_max += pst_enclave_state_bytes(member->enclave);
        report->enclave_count = enclaved + 1;
    }
    for (uint32_t e = 0; relay->ways != NULL && e < relay->plan.edge_count; e++) {
        const struct way *way = &relay->ways[e];
        if (way->edge == NULL)
            continue;
        if (way->edge->from_user && way->rows > report->rows)
            report->rows = way->rows;
        if (way->sink != NULL)
            report->rows_out += way->rows;
        int64_t watermark = way_watermark(way);
        report->watermark = watermark > report->watermark ? watermark : report->watermark;
    }
    report->worker_count = 1;
    report->sealed = true;
    return PST_OK;
}

static void sinks_end(struct relay *relay, struct pst_run_report *report)
{
    struct run *run = &relay->run;
    for (uint32_t s = 0; s < run->sink_count; s++)
        pst_sink_close(run, run->sinks[s], run->error);
    for (uint32_t s = 0; s < run->sink_count; s++) {
        struct sink *sink = run->sinks[s];
        if (run->begun_ns == 0) {
            (void)run->world->unlink(run->world->self, sink->path_part);
        } else {
            pst_sink_name(run, sink, run->error);
            report->outputs[report->output_count++] = sink->path_now; /* handed over */
            *(sink->path_now == sink->path_part ? &sink->path_part : &sink->path_final) = NULL;
        }
        pst_sink_free(run, sink);
    }
}

static void relay_free(struct relay *relay)
{
    if (relay->asks)
        pst_release_end(&relay->asker);
    for (uint32_t m = 0; relay->members != NULL && m < relay->member_count; m++) {
        struct member *member = &relay->members[m];
        pst_enclave_free(member->enclave);
        for (uint32_t q = 0; member->queues != NULL && q < member->queue_count; q++)
            for (struct chunk *at = member->queues[q].first, *next; at != NULL; at = next) {
                next = at->next;
                pst_free(at);
            }
    }
    for (struct chunk *at = relay->spare, *next; at != NULL; at = next) {
        next = at->next;
        pst_free(at);
    }
    pst_free(relay->members);
    pst_capsules_close(&relay->input);
    pst_sealed_plan_fini(&relay->plan);
    pst_arena_fini(&relay->run.arena);
    pst_free(relay);
}

/* As any other run: with checkpoints, by carriers (carry.h). */
static int run_carried(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
                       const struct pst_sealed_options *sealed, struct pst_run_report *ret_report)
{
    struct pst_text why = {0};
    struct pst_run_options with = *options;
    with.sealed = sealed;
    if (sealed->witness != NULL)
        with.worker_count = 1; /* whom it asks is asked by one at a time */
    *ret_report = (struct pst_run_report){.watermark = INT64_MIN};
    int rc = graph->carry != NULL ? PST_OK : pst_graph_carry(graph, &why);
    if (rc == PST_OK)
        rc = pst_run(graph, &with, world, ret_report);
    else
        ret_report->error = pst_strdup(why.bytes != NULL ? why.bytes : pst_error_sentence(rc));
    ret_report->sealed = true;
    pst_text_fini(&why);
    return rc;
}

int pst_sealed_run(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
                   const struct pst_sealed_options *sealed, struct pst_run_report *ret_report)
{
    if (options->checkpoint.directory != NULL)
        return run_carried(graph, options, world, sealed, ret_report);
    struct pst_text why = {0};
    *ret_report = (struct pst_run_report){.watermark = INT64_MIN};
    struct relay *relay = pst_calloc(1, sizeof *relay);
    if (relay == NULL)
        return PST_ENOMEM;
    struct run *run = &relay->run;
    relay->graph = graph;
    relay->options = sealed;
    run->graph = (struct pst_graph *)(uintptr_t)graph;
    run->world = world;
    run->options = *options;
    run->report = ret_report;
    run->input.path = options->input;
    run->input.name = options->input;
    pst_arena_init(&run->arena);
    atomic_flag_clear(&run->error_lock);
    int rc = begin(relay, &why);
    if (rc == PST_OK) {
        rc = world->run(world->self, 1, relay_step, relay);
        if (rc != PST_OK)
            pst_run_fail(run, rc, "cannot start the workers: %s", pst_system_error());
    }
    if (report_fill(relay, ret_report) == PST_OK)
        sinks_end(relay, ret_report);
    else
        pst_run_fail(run, PST_ENOMEM, "no memory for the report");
    rc = run->error;
    ret_report->error = run->error_text;
    pst_text_fini(&why);
    relay_free(relay);
    return rc;
}

int pst_sealed_measure(const struct pst_graph *graph, const char *program,
                       void (*take)(void *argument, const char *id, const uint8_t measurement[32]), void *argument,
                       char ret_why[640])
{
    struct sealed_plan plan;
    struct pst_text why = {0};
    int rc = pst_sealed_plan_init(&plan, graph, &why);
    (void)snprintf(ret_why, 640, "%s", why.bytes != NULL ? why.bytes : pst_error_sentence(rc));
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        struct pst_enclave_operator operator;
        uint8_t measurement[PST_MEASUREMENT_BYTES];
        if (node->op->role != PST_ROLE_PLAIN)
            continue;
        struct pst_enclave_param *params = pst_calloc(node->op->param_count + 1, sizeof *params);
        if (params != NULL)
            pst_enclave_operator_fill(graph, node, &operator, params);
        struct pst_enclave_sealing *sealing = params != NULL ? pst_sealed_plan_of(&plan, graph, n) : NULL;
        rc = sealing != NULL ? PST_OK : PST_ENOMEM;
        if (rc == PST_OK) {
            operator.sealing = sealing;
            struct pst_enclave_settings settings = {
                .operator= & operator, .program = program, .epc_bytes = PST_EPC_BYTES_STANDARD};
            rc = pst_enclave_measure(&pst_enclave_process, &settings, measurement, ret_why);
        }
        if (rc == PST_OK)
            take(argument, node->id, measurement);
        pst_free(params);
    }
    pst_text_fini(&why);
    pst_sealed_plan_fini(&plan);
    return rc;
}
static_assert((int)PST_ENCLAVE_WHY_BYTES == 640, "sentences have this size in engine.h");
