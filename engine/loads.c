/* loads.c - see loads.h. */
#include "engine/loads.h"

#include "engine/feed.h"

#include <string.h>

enum { AVERAGE_SECONDS = 30 };
#define TELL_NS (UINT64_C(1000) * 1000 * 1000)
/* Of a run whose buckets are to be where their rows come from as soon as that is known (Start.by_source). */
#define EARLY_TELL_NS (UINT64_C(50) * 1000 * 1000)
#define EARLY_NS (UINT64_C(3000) * 1000 * 1000)

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

/* ---- what runs here ---- */

static void add(Pst__PartitionLoad *load, const struct pst_ctx *ctx, uint64_t now)
{
    const struct gauge *gauge = &ctx->gauge;
    uint64_t busy = atomic_load_explicit(&gauge->busy_ns, memory_order_relaxed);
    uint64_t blocked = pst_gauge_blocked(gauge, now), since = now - ctx->run->begun_ns;
    int64_t watermark = atomic_load_explicit(&gauge->watermark, memory_order_relaxed);
    load->rows += atomic_load_explicit(&gauge->rows_in, memory_order_relaxed);
    load->rows_out += atomic_load_explicit(&gauge->rows_out, memory_order_relaxed);
    load->busy_ns += busy;
    load->blocked_ns += blocked;
    load->worker_ns += atomic_load_explicit(&gauge->worker_ns, memory_order_relaxed);
    load->idle_ns += since > busy + blocked ? since - busy - blocked : 0;
    load->queue_bytes += pst_gauge_queue(ctx);
    load->state_bytes += atomic_load_explicit(&gauge->state_bytes, memory_order_relaxed);
    load->watermark = watermark > load->watermark ? watermark : load->watermark;
}

static Pst__PartitionLoad *load_new(struct pst_arena *arena, struct load_lists *lists, const char *id)
{
    Pst__PartitionLoad *load = pst_arena_alloc(arena, sizeof *load);
    if (load == NULL)
        return NULL;
    pst__partition_load__init(load);
    load->operator_id = (char *)(uintptr_t)id;
    load->watermark = INT64_MIN;
    return lists->partitions[lists->partition_count++] = load;
}

static bool partitions_look(const struct run *run, uint64_t now, struct pst_arena *arena, struct load_lists *lists)
{
    Pst__PartitionLoad **together = pst_arena_alloc(arena, run->graph->node_count * sizeof *together);
    lists->partitions = pst_arena_alloc(arena, (run->instance_count + 1) * sizeof *lists->partitions);
    if (together == NULL || lists->partitions == NULL)
        return false;
    for (uint32_t i = 0; i < run->instance_count; i++) {
        const struct pst_ctx *ctx = run->instances[i];
        if (ctx->retired)
            continue;
        bool alone = ctx->node->op->role == PST_ROLE_PLAIN || ctx->node->op->role == PST_ROLE_SINK;
        Pst__PartitionLoad *load = alone ? NULL : together[ctx->node_index];
        if (load == NULL)
            load = load_new(arena, lists, ctx->node->id);
        if (load == NULL)
            return false;
        load->partition = alone ? ctx->partition : 0;
        together[ctx->node_index] = load;
        add(load, ctx, now);
    }
    return true;
}

static bool edges_look(const struct run *run, struct pst_arena *arena, struct load_lists *lists)
{
    struct edge_gauge *gauges = pst_arena_alloc(arena, (run->edge_count + 1) * sizeof *gauges);
    lists->edges = pst_arena_alloc(arena, (run->edge_count + 1) * sizeof *lists->edges);
    if (gauges == NULL || lists->edges == NULL)
        return false;
    pst_gauge_edges(run, gauges);
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *op = &run->graph->nodes[n];
        for (uint32_t i = 0; op->op->role != PST_ROLE_STATELESS && i < op->input_count; i++) {
            const struct edge_gauge *gauge = &gauges[run->edges[n][i].index];
            Pst__EdgeLoad *load = pst_arena_alloc(arena, sizeof *load);
            if (load == NULL)
                return false;
            pst__edge_load__init(load);
            load->operator_id = (char *)(uintptr_t)op->id;
            load->input = i;
            load->from = (char *)(uintptr_t)run->graph->nodes[op->inputs[i].producer].id;
            load->rows = gauge->rows;
            load->bytes = gauge->bytes;
            load->rows_left = gauge->rows_left;
            load->queue_bytes = gauge->queue_bytes;
            load->queue_bytes_max = gauge->queue_bytes_max;
            lists->edges[lists->edge_count++] = load;
        }
    }
    return true;
}

bool pst_loads_look(const struct hosted *hosted, uint64_t now, struct pst_arena *arena, struct load_lists *ret_lists)
{
    struct load_lists lists = {.newest = INT64_MIN};
    for (uint32_t i = 0; i < hosted->run.channel_count; i++) {
        int64_t heard = pst_channel_read_watermark(hosted->run.channels[i], &hosted->run.input);
        lists.newest = heard > lists.newest ? heard : lists.newest;
    }
    if (!partitions_look(&hosted->run, now, arena, &lists) || !edges_look(&hosted->run, arena, &lists))
        return false;
    *ret_lists = lists;
    return true;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* False: it reads no stream that a connection brings. */
static bool fed_look(const struct run *run, Pst__Fed *fed)
{
    const struct input *input = &run->input;
    pst__fed__init(fed);
    if (input->feed == NULL)
        return false;
    fed->here = pst_feed_is_here(input->feed);
    fed->ended = atomic_load(&input->end) != END_NOT;
    fed->time = atomic_load(&input->max);
    fed->offset = pst_feed_received(input->feed);
    return true;
}

static bool is_early(const struct hosted *hosted, uint64_t now)
{
    return hosted->by_source && now - hosted->run.begun_ns < EARLY_NS;
}

static void run_tell(struct pst_node *node, struct hosted *hosted, uint64_t now)
{
    struct load_lists lists;
    struct pst_arena arena;
    pst_arena_init(&arena);
    bool looked = pst_loads_look(hosted, now, &arena, &lists);
    hosted->loads_told = true;
    for (uint32_t at = 0; looked && at < lists.partition_count + lists.edge_count;) {
        Pst__Beat beat = PST__BEAT__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        Pst__Fed fed;
        uint32_t partition = least(at, lists.partition_count), edge = at - partition;
        beat.time_ns = now;
        beat.partitions = lists.partitions + partition;
        beat.n_partitions = least(lists.partition_count - partition, LOADS_A_MESSAGE);
        beat.edges = lists.edges + edge;
        beat.n_edges = beat.n_partitions == 0 ? least(lists.edge_count - edge, LOADS_A_MESSAGE) : 0;
        if (at == 0 && fed_look(&hosted->run, &fed))
            beat.fed = &fed;
        at += (uint32_t)(beat.n_partitions + beat.n_edges);
        message.graph = hosted->graph_name;
        message.incarnation = hosted->incarnation;
        message.body_case = PST__CONTROL__BODY_BEAT;
        message.beat = &beat;
        pst_node_tell(node, &message);
    }
    pst_arena_fini(&arena);
    pst_dealt_tell(node, hosted, is_early(hosted, now), now);
}

static uint64_t tell_every_ns(const struct pst_node *node, uint64_t now)
{
    uint64_t every_ns = node->options.tell_ns != 0 ? node->options.tell_ns : TELL_NS;
    for (uint32_t i = 0; i < node->hosted_count && every_ns > EARLY_TELL_NS; i++)
        if (!node->hosted[i]->superseded && is_early(node->hosted[i], now))
            every_ns = EARLY_TELL_NS;
    return every_ns;
}

void pst_loads_tell(struct pst_node *node)
{
    uint64_t now = now_ns(node);
    Pst__Beat beat = PST__BEAT__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    if (node->loads_ns != 0 && now < node->loads_ns + tell_every_ns(node, now))
        return;
    node->loads_ns = now | 1;
    beat.time_ns = now;
    beat.memory_bytes = node->options.memory != NULL ? node->options.memory() : 0;
    beat.disk_bytes = pst_disk_used(&node->disk);
    beat.disk_bytes_max = node->disk.bytes_max;
    pst_node_link_bytes(node, &beat.sent_bytes, &beat.received_bytes);
    message.body_case = PST__CONTROL__BODY_BEAT;
    message.beat = &beat;
    pst_node_tell(node, &message);
    for (uint32_t i = 0; i < node->hosted_count; i++)
        if (!node->hosted[i]->superseded)
            run_tell(node, node->hosted[i], now);
}

/* ---- what the coordinator keeps ---- */

void pst_loads_free(struct loads *loads)
{
    pst_free(loads->items);
    pst_dealt_free(loads);
    *loads = (struct loads){0};
}

/* Its figures alone: others are found behind its place. */
void pst_loads_forget(struct loads *loads, uint32_t index)
{
    for (uint32_t i = 0; i < loads->capacity; i++)
        if (loads->items[i].taken && loads->items[i].node == index) {
            loads->items[i].now = loads->items[i].before = (struct load_sample){.watermark = INT64_MIN};
            loads->items[i].over_s = 0;
        }
    pst_dealt_forget(loads, index);
    if (index < NODE_MEMBERS_MAX)
        loads->fed[index] = (struct fed_told){0};
}

void pst_loads_anew(struct loads *loads)
{
    for (uint32_t i = 0; i < loads->capacity; i++)
        loads->items[i].over_s = 0;
}

/* Its place, or that where it would be. */
static struct load *place(const struct loads *loads, bool edge, uint32_t index, uint32_t operator_index,
                          uint32_t number)
{
    uint32_t hash = ((index * 1031 + operator_index) * 4099 + number) * 2 + edge;
    for (uint32_t i = hash * 0x9E3779B1u >> 7;; i++) {
        struct load *load = &loads->items[i & (loads->capacity - 1)];
        if (!load->taken || (load->edge == edge && load->node == index && load->operator_index == operator_index &&
                             load->number == number))
            return load;
    }
}

const struct load *pst_load_find(const struct loads *loads, bool edge, uint32_t index, uint32_t operator_index,
                                 uint32_t number)
{
    const struct load *load = loads->capacity != 0 ? place(loads, edge, index, operator_index, number) : NULL;
    return load != NULL && load->taken ? load : NULL;
}

static bool grow(struct loads *loads)
{
    struct loads larger = *loads;
    larger.capacity = loads->capacity == 0 ? 64 : 2 * loads->capacity;
    larger.items = pst_calloc(larger.capacity, sizeof *larger.items);
    if (larger.items == NULL)
        return false;
    for (uint32_t i = 0; i < loads->capacity; i++) {
        const struct load *load = &loads->items[i];
        if (load->taken)
            *place(&larger, load->edge, load->node, load->operator_index, load->number) = *load;
    }
    pst_free(loads->items);
    *loads = larger;
    return true;
}

/* NULL: there is no room; the figure is not kept. */
static struct load *load_take(struct loads *loads, const struct load *key)
{
    if (2 * (loads->count + 1) > loads->capacity && (loads->count == LOADS_MAX || !grow(loads)))
        return (struct load *)(uintptr_t)pst_load_find(loads, key->edge, key->node, key->operator_index, key->number);
    struct load *load = place(loads, key->edge, key->node, key->operator_index, key->number);
    if (!load->taken) {
        *load = *key;
        load->taken = true;
        loads->count++;
    }
    return load;
}

static double share_of(uint64_t some_ns, uint64_t all_ns)
{
    return some_ns < all_ns ? (double)some_ns / (double)all_ns : 1;
}

/* Of its thread, and of its worker in an enclave. */
static bool shares(const struct load *load, double *ret_thread, double *ret_worker)
{
    const struct load_sample *now = &load->now, *before = &load->before;
    if (before->time_ns == 0 || now->time_ns <= before->time_ns || now->busy_ns < before->busy_ns ||
        now->worker_ns < before->worker_ns)
        return false;
    *ret_thread = share_of(now->busy_ns - before->busy_ns, now->time_ns - before->time_ns);
    *ret_worker = share_of(now->worker_ns - before->worker_ns, now->time_ns - before->time_ns);
    return true;
}

bool pst_load_share(const struct load *load, double *ret_share)
{
    double thread, worker;
    if (!shares(load, &thread, &worker))
        return false;
    *ret_share = thread > worker ? thread : worker;
    return true;
}

/* Queries work in bursts, at the ends of slices and windows: all of the first AVERAGE_SECONDS counts alike, later ones so that the last
 * AVERAGE_SECONDS do. */
static void busy_take(struct load *load)
{
    double thread, worker, seconds = (double)(load->now.time_ns - load->before.time_ns) / 1e9;
    if (!shares(load, &thread, &worker)) {
        load->over_s = 0;
        return;
    }
    double over_s = load->over_s < AVERAGE_SECONDS ? load->over_s : AVERAGE_SECONDS;
    load->busy = load->over_s > 0 ? load->busy : 0;
    load->busy += (thread + worker - load->busy) * seconds / (seconds + over_s);
    load->over_s = over_s + seconds;
}

static void sample_take(struct pst_node *node, struct loads *loads, const struct load *key,
                        const struct load_sample *sample)
{
    struct load *load = load_take(loads, key);
    if (load == NULL)
        return;
    load->before = load->now;
    load->now = *sample;
    load->heard_ns = now_ns(node);
    busy_take(load);
}

bool pst_load_busy(const struct load *load, uint64_t now_ns, double *ret_busy)
{
    if (load->over_s <= 0 || now_ns - load->heard_ns >= LOAD_STALE_NS)
        return false;
    *ret_busy = load->busy;
    return true;
}

void pst_loads_take(struct pst_node *node, struct graph_record *record, uint32_t index, const Pst__Beat *beat)
{
    struct loads *loads = &record->loads;
    const struct pst_graph *graph = record->graph;
    if (loads->incarnation != record->start->incarnation) {
        pst_loads_free(loads);
        loads->incarnation = record->start->incarnation;
    }
    for (size_t i = 0; i < beat->n_partitions; i++) {
        const Pst__PartitionLoad *from = beat->partitions[i];
        struct load key = {
            .node = index, .operator_index = pst_graph_find(graph, from->operator_id), .number = from->partition};
        if (key.operator_index < graph->node_count)
            sample_take(node, loads, &key,
                        &(struct load_sample){.time_ns = beat->time_ns,
                                              .rows = from->rows,
                                              .rows_out = from->rows_out,
                                              .busy_ns = from->busy_ns,
                                              .idle_ns = from->idle_ns,
                                              .blocked_ns = from->blocked_ns,
                                              .worker_ns = from->worker_ns,
                                              .queue_bytes = from->queue_bytes,
                                              .state_bytes = from->state_bytes,
                                              .watermark = from->watermark});
    }
    for (size_t i = 0; i < beat->n_edges; i++) {
        const Pst__EdgeLoad *from = beat->edges[i];
        struct load key = {.edge = true,
                           .node = index,
                           .operator_index = pst_graph_find(graph, from->operator_id),
                           .number = from->input};
        if (key.operator_index < graph->node_count && from->input < graph->nodes[key.operator_index].input_count)
            sample_take(node, loads, &key,
                        &(struct load_sample){.time_ns = beat->time_ns,
                                              .rows = from->rows,
                                              .bytes = from->bytes,
                                              .rows_left = from->rows_left,
                                              .queue_bytes = from->queue_bytes,
                                              .queue_bytes_max = from->queue_bytes_max,
                                              .watermark = INT64_MIN});
    }
    if (beat->fed != NULL && index < NODE_MEMBERS_MAX)
        loads->fed[index] = (struct fed_told){.told = true,
                                              .here = beat->fed->here,
                                              .ended = beat->fed->ended,
                                              .time = beat->fed->time,
                                              .offset = beat->fed->offset};
    for (size_t i = 0; i < beat->n_dealt; i++)
        pst_dealt_take(record, index, beat->dealt[i]);
}
