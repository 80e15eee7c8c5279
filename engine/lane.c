/* lane.c - see lane.h: how a run takes part in a move. What is done at an epoch's end stands in lane_turn.c. */
#include "engine/lane.h"

#include "engine/build.h"
#include "engine/enclave.h"
#include "engine/planted.h"
#include "engine/spill.h"

#include <assert.h>
#include <string.h>

/* ---- who has to do with it ---- */

struct walk { /* of the routes that lead to the operator, or come from it */
    struct run *run;
    const struct move *move;
    struct pst_ctx *producer; /* NULL: on another node */
    struct origin origin;
    void *argument;
};

static struct route *route_of(struct pst_ctx *ctx, uint32_t consumer, uint32_t input)
{
    struct route *found = NULL;
    for (uint32_t o = 0; o < ctx->node->output_count && found == NULL; o++) {
        for (uint32_t r = 0; r < ctx->outputs[o].route_count; r++) {
            const struct edge *edge = ctx->outputs[o].routes[r].edge;
            if (edge->node == consumer && edge->input == input)
                found = &ctx->outputs[o].routes[r];
        }
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count && found == NULL; s++)
            found = route_of(ctx->outputs[o].stages[s], consumer, input);
    }
    return found;
}

static bool is_stage(const struct pst_graph_node *node) { return node->op->role == PST_ROLE_STATELESS; }

typedef int (*instance_visit)(void *argument, struct walk *walk, uint32_t node_index, uint32_t slot);

/* All instances of an operator, here and elsewhere. */
static int instances_visit(struct run *run, const struct move *move, uint32_t node_index, instance_visit visit,
                           void *argument)
{
    const struct site *site = run->site;
    struct walk walk = {.run = run, .move = move, .origin = {.operator_index = node_index}};
    int rc = PST_OK;
    if (run->graph->nodes[node_index].op->role == PST_ROLE_SOURCE) {
        walk.origin.end = PST_LINK_IN_SOURCE;
        for (uint32_t k = 0; k < site->node_count; k++) {
            for (uint32_t w = 0; site->reads[k] && w < site->worker_count[k] && rc == PST_OK; w++) {
                walk.origin.far_node = k;
                walk.origin.slot = k * PST_WORKERS_MAX + w;
                walk.producer = k == site->this_node ? run->partitions[node_index][w] : NULL;
                rc = visit(argument, &walk, node_index, walk.origin.slot);
            }
        }
        return rc;
    }
    walk.origin.end = PST_LINK_IN;
    for (uint32_t p = 0; p < run->partition_count[node_index] && rc == PST_OK; p++) {
        walk.origin.far_node = site->node_of_partition[node_index][p];
        walk.origin.slot = p;
        walk.producer = run->partitions[node_index][p];
        if (walk.origin.far_node != UINT16_MAX)
            rc = visit(argument, &walk, node_index, p);
    }
    return rc;
}

/* ---- opening ---- */

static struct pst_ctx *lane_here(const struct run *run, const struct move *move)
{
    return run->partitions[move->operator_index][move->to];
}

static int branch_make(struct walk *walk, struct route *route, uint64_t number)
{
    struct run *run = walk->run;
    const struct move *move = walk->move;
    struct branch *branch = pst_arena_alloc(&run->move_arena, sizeof *branch);
    if (branch == NULL)
        return PST_ENOMEM;
    branch->move = move;
    branch->wanted = pst_arena_alloc(&run->move_arena, run->graph->nodes[move->operator_index].bucket_count);
    if (branch->wanted == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < move->bucket_count; i++)
        branch->wanted[move->buckets[i]] = 1;
    int rc = pst_channel_out_build(run, walk->producer, route->edge, move->to, number + move->to, &branch->channel);
    if (rc != PST_OK)
        return rc;
    branch->channel->branch = true;
    route->branch = branch;
    /* Rows of a block that has had its turn are still to come, and go there, too: until then it promises nothing. */
    bool sends = branch->channel->from_source && run->workers[walk->producer->worker].source.state == SOURCE_SENDING;
    atomic_store_explicit(&branch->channel->busy, sends, memory_order_release);
    return PST_OK;
}

static int upstream_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    struct run *run = walk->run;
    struct channel *channel;
    if (consumer != walk->move->operator_index)
        return PST_OK;
    if (walk->producer != NULL)
        return branch_make(walk, route_of(walk->producer, consumer, input), number);
    struct pst_ctx *lane = lane_here(run, walk->move);
    return lane == NULL ? PST_OK
                        : pst_channel_in_build(run, &walk->origin, &run->edges[consumer][input], lane,
                                               number + walk->move->to, &channel);
}

static int upstream_open(void *argument, struct walk *walk, uint32_t node_index, uint32_t slot)
{
    (void)argument;
    return pst_routes_visit(walk->run, node_index, slot, upstream_route, walk);
}

int pst_taken_begin(struct run *run, struct pst_ctx *consumer)
{
    struct filter *filter = pst_filter_of(consumer);
    if (filter == NULL)
        return PST_ENOMEM;
    if (filter->taken == NULL) {
        struct taken **taken = filter->taken_room;
        if (taken == NULL)
            taken = pst_arena_alloc(&consumer->arena, consumer->node->input_count * sizeof *taken);
        for (uint32_t i = 0; taken != NULL && i < consumer->node->input_count; i++) {
            uint32_t producer = run->graph->nodes[consumer->node->inputs[i].producer].host;
            uint32_t bucket_count = run->graph->nodes[producer].bucket_count;
            if (taken[i] == NULL)
                taken[i] = pst_arena_alloc(&consumer->arena, bucket_count * sizeof **taken);
            if (taken[i] == NULL)
                return PST_ENOMEM;
            for (uint32_t b = 0; b < bucket_count; b++)
                taken[i][b] = (struct taken){.cut = INT64_MIN};
        }
        filter->taken = filter->taken_room = taken;
    }
    filter->open_moves++;
    return filter->taken != NULL ? PST_OK : PST_ENOMEM;
}

static_assert(PST_INPUTS_MAX <= 8, "filter.replicas has a bit for each");

int pst_taken_always(struct run *run, struct pst_ctx *consumer, uint32_t input)
{
    bool counts = consumer->filter != NULL && consumer->filter->replicas != 0;
    int rc = counts ? PST_OK : pst_taken_begin(run, consumer);
    if (rc != PST_OK)
        return rc;
    consumer->filter->open_moves -= !counts;
    consumer->filter->replicas |= (uint8_t)(1u << input);
    return PST_OK;
}

static int downstream_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    struct run *run = walk->run;
    struct origin lane = {walk->move->to_node, PST_LINK_IN, walk->move->operator_index, walk->move->to};
    int rc = PST_OK;
    for (uint32_t t = 0; t < run->partition_count[consumer] && rc == PST_OK; t++) {
        struct pst_ctx *target = run->partitions[consumer][t];
        struct channel *channel = NULL;
        if (target == NULL)
            continue;
        rc = pst_taken_begin(run, target);
        if (rc == PST_OK && lane_here(run, walk->move) == NULL)
            rc = pst_channel_in_build(run, &lane, &run->edges[consumer][input], target, number + t, &channel);
        if (channel != NULL)
            channel->standby = true;
    }
    return rc;
}

static int partition_into(struct run *run, struct pst_ctx *ctx)
{
    struct worker *worker = &run->workers[ctx->worker];
    if (worker->partition_count == worker->partition_capacity) {
        uint32_t capacity = 2 * worker->partition_capacity;
        struct pst_ctx **partitions = pst_arena_alloc(&run->arena, capacity * sizeof(struct pst_ctx *));
        if (partitions == NULL)
            return PST_ENOMEM;
        memcpy(partitions, worker->partitions, worker->partition_count * sizeof(struct pst_ctx *));
        worker->partitions = partitions;
        worker->partition_capacity = capacity;
    }
    uint32_t at = worker->partition_count++;
    for (; at != 0 && worker->partitions[at - 1]->node_index > ctx->node_index; at--) /* in topological order */
        worker->partitions[at] = worker->partitions[at - 1];
    worker->partitions[at] = ctx;
    return PST_OK;
}

/* With the stages inside it. While it is made what fails is the move's end and not the run's. */
static void begins_set(struct pst_ctx *ctx, char *why)
{
    ctx->begins = why;
    for (uint32_t o = 0; o < ctx->node->output_count; o++)
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count; s++)
            begins_set(ctx->outputs[o].stages[s], why);
}

static int opened(struct pst_ctx *ctx)
{
    bool inside = ctx->enclave != NULL;
    int rc = !inside && ctx->node->op->open != NULL ? ctx->node->op->open(ctx) : PST_OK;
    if (rc != PST_OK)
        return pst_ctx_failed(ctx, rc, "open");
    ctx->opened = !inside;
    for (uint32_t o = 0; o < ctx->node->output_count; o++)
        for (uint32_t s = 0; s < ctx->outputs[o].stage_count && rc == PST_OK; s++)
            rc = opened(ctx->outputs[o].stages[s]);
    return rc;
}

/* The worker with the fewest partitions of the operator, then of all. */
static uint32_t least_busy(const struct run *run, uint32_t operator_index)
{
    uint32_t best = 0, best_count = UINT32_MAX;
    for (uint32_t w = 0; w < run->worker_count; w++) {
        const struct worker *worker = &run->workers[w];
        uint32_t count = worker->partition_count;
        for (uint32_t i = 0; i < worker->partition_count; i++)
            count += worker->partitions[i]->node_index == operator_index ? PST_BUCKETS_MAX : 0;
        if (count < best_count) {
            best = w;
            best_count = count;
        }
    }
    return best;
}

static int lane_init(struct run *run, const struct move *move, struct pst_ctx *ctx)
{
    uint32_t from_node = run->site->node_of_partition[move->operator_index][move->from];
    bool far = from_node != run->site->this_node;
    struct pst_arena *arena = &ctx->arena;
    struct lane *lane = ctx->lane = pst_arena_alloc(arena, sizeof *ctx->lane);
    if (ctx->lane == NULL || pst_filter_of(ctx) == NULL)
        return PST_ENOMEM;
    uint32_t giver_worker =
        far ? pst_link_worker(run, from_node) : run->partitions[move->operator_index][move->from]->worker;
    pst_way_init(&lane->way, move->id, giver_worker, ctx->worker);
    lane->of = pst_arena_alloc(arena, ctx->node->bucket_count);
    lane->joining = pst_arena_alloc(arena, move->bucket_count * sizeof *lane->joining);
    lane->digests = pst_arena_alloc(arena, move->bucket_count * sizeof *lane->digests);
    lane->first = pst_arena_alloc(arena, ctx->node->bucket_count * sizeof *lane->first);
    bool inside = ctx->node->enclave; /* then its worker sums up */
    ctx->sums = inside ? NULL : pst_sums_new(arena, ctx->node);
    if (lane->of == NULL || lane->joining == NULL || lane->digests == NULL || lane->first == NULL ||
        (ctx->sums == NULL && !inside))
        return PST_ENOMEM;
    for (uint32_t i = 0; i < move->bucket_count; i++)
        lane->of[move->buckets[i]] = LANE_WANTS;
    lane->wanted_count = move->bucket_count;
    lane->from = INT64_MIN;
    lane->cut = INT64_MAX;
    atomic_init(&lane->state, LANE_WAITING);
    if (far)
        pst_link_way(run, from_node, &lane->way, PST_LINK_IN);
    return PST_OK;
}

static int lane_make(struct run *run, const struct move *move, struct pst_enclave *enclave)
{
    struct pst_ctx *ctx = NULL;
    struct pst_ctx *into = move->into != NO_PARTITION ? run->partitions[move->operator_index][move->into] : NULL;
    uint32_t worker = into != NULL ? into->worker : least_busy(run, move->operator_index);
    int rc = pst_instance_later(run, move->operator_index, move->to, worker, &ctx);
    if (rc != PST_OK) {
        pst_enclave_free(enclave);
        return rc;
    }
    if (enclave != NULL)
        rc = pst_lane_enclose(ctx, enclave);
    if (rc == PST_OK)
        rc = lane_init(run, move, ctx);
    if (rc != PST_OK)
        return rc;
    begins_set(ctx, ctx->lane->why);
    memcpy(ctx->buckets, move->buckets,
           move->bucket_count * sizeof *ctx->buckets); /* operators look at them when opened */
    ctx->owned_count = move->bucket_count;
    while (into != NULL && into->wipes)
        (void)pst_partition_wipe(into);          /* what it has given away before may come back */
    if (into != NULL && into->enclave == NULL) { /* else it hands over what it has when they join */
        ctx->borrows = true;
        ctx->state = into->state;
        ctx->spill = into->spill;
    }
    rc = pst_channels_later(run, ctx);
    for (uint32_t i = 0; i < ctx->channel_out_count; i++)
        ctx->channels_out[i]->standby = true;
    if (rc == PST_OK)
        rc = opened(ctx);
    ctx->owned_count = 0; /* they join one by one */
    if (rc == PST_OK &&
        !pst_paging_has_room(run, into, move->bucket_count)) /* else it would end with the next recovery */
        rc = PST_EFULL;
    if (rc == PST_OK)
        rc = partition_into(run, ctx);
    if (rc == PST_OK)
        begins_set(ctx, NULL);
    return rc;
}

bool pst_leads_to(const struct pst_graph *graph, uint32_t node_index, uint32_t operator_index)
{
    const struct pst_graph_node *node = &graph->nodes[node_index];
    for (uint32_t o = 0; o < node->output_count; o++) {
        for (uint32_t c = 0; c < node->outputs[o].consumer_count; c++) {
            uint32_t consumer = node->outputs[o].consumers[c].node;
            if (consumer == operator_index ||
                (is_stage(&graph->nodes[consumer]) && pst_leads_to(graph, consumer, operator_index)))
                return true;
        }
    }
    return false;
}

static void workers_unfinished(struct run *run)
{
    for (uint32_t w = 0; w < run->worker_count; w++)
        atomic_store_explicit(&run->workers[w].finished, false, memory_order_release);
}

int pst_lane_open(struct run *run, const struct move *move, struct pst_enclave *enclave)
{
    const struct site *site = run->site;
    uint32_t from_node = site->node_of_partition[move->operator_index][move->from];
    int rc = PST_OK;
    if (from_node != move->to_node && (from_node == site->this_node || move->to_node == site->this_node))
        rc = pst_link_need(run, from_node == site->this_node ? move->to_node : from_node);
    site->node_of_partition[move->operator_index][move->to] = (uint16_t)move->to_node;
    run->born[move->operator_index][move->to] = (uint32_t)move->id;
    if (run->partition_count[move->operator_index] <= move->to)
        run->partition_count[move->operator_index] = move->to + 1;
    if (rc == PST_OK && move->to_node == site->this_node)
        rc = lane_make(run, move, enclave);
    else
        pst_enclave_free(enclave);
    for (uint32_t n = 0; n < move->operator_index && rc == PST_OK; n++)
        if (!is_stage(&run->graph->nodes[n]) && pst_leads_to(run->graph, n, move->operator_index))
            rc = instances_visit(run, move, n, upstream_open, NULL);
    struct walk walk = {.run = run, .move = move};
    if (rc == PST_OK)
        rc = pst_routes_visit(run, move->operator_index, move->to, downstream_route, &walk);
    workers_unfinished(run);
    return rc;
}

/* ---- what became of it ---- */

static void branched_route(void *argument, struct pst_ctx *producer, struct route *route)
{
    int64_t *from = argument;
    bool source = producer->node->op->role == PST_ROLE_SOURCE;
    int64_t sent = source ? atomic_load_explicit(&producer->run->input.max, memory_order_acquire) : producer->emit_time;
    (void)route;
    if (sent != INT64_MIN && sent + 1 > *from)
        *from = sent + 1;
}

int64_t pst_lane_branched(const struct run *run, const struct move *move)
{
    int64_t from = INT64_MIN;
    pst_upstreams_visit(run, move, branched_route, &from);
    return from;
}

int pst_lane_copy(struct run *run, const struct move *move, int64_t after)
{
    struct pst_ctx *ctx = run->partitions[move->operator_index][move->from];
    if (ctx == NULL)
        return PST_OK; /* the giver is on another node */
    struct giving *giving = pst_arena_alloc(&run->move_arena, sizeof *giving);
    uint64_t *digests = pst_arena_alloc(&run->move_arena, move->bucket_count * sizeof *digests);
    uint64_t *numbers = pst_arena_alloc(&run->move_arena, move->bucket_count * sizeof *numbers);
    ctx->sums = ctx->enclave == NULL ? pst_sums_new(&run->move_arena, ctx->node) : NULL;
    if (giving == NULL || digests == NULL || numbers == NULL || (ctx->sums == NULL && ctx->enclave == NULL))
        return PST_ENOMEM;
    giving->digests = digests;
    giving->numbers = numbers;
    giving->way = &giving->own_way;
    if (move->to_node == run->site->this_node) {
        giving->way = &lane_here(run, move)->lane->way;
    } else {
        pst_way_init(giving->way, move->id, ctx->worker, pst_link_worker(run, move->to_node));
        pst_link_way(run, move->to_node, giving->way, PST_LINK_OUT);
    }
    giving->move = move;
    giving->after = after;
    giving->whole = move->whole;
    giving->cost_before = ctx->join_cost;
    giving->cut = INT64_MAX;
    atomic_init(&giving->ended, ctx->ended); /* then it comes to no end of an epoch any more */
    ctx->giving = giving;
    return PST_OK;
}

struct giving *pst_lane_giving(const struct run *run, const struct move *move)
{
    struct pst_ctx *ctx = run->partitions[move->operator_index][move->from];
    return ctx != NULL ? ctx->giving : NULL;
}

struct lane *pst_lane_of(const struct run *run, const struct move *move)
{
    struct pst_ctx *ctx = lane_here(run, move);
    return ctx != NULL ? ctx->lane : NULL;
}

static void overflow_route(void *argument, struct pst_ctx *producer, struct route *route)
{
    bool *full = argument;
    (void)producer;
    *full |= route->branch != NULL && atomic_load(&route->branch->channel->overflow);
}

bool pst_lane_overflows(const struct run *run, const struct move *move)
{
    const struct lane *lane = pst_lane_of(run, move);
    bool full = lane != NULL && atomic_load(&lane->overflow);
    pst_upstreams_visit(run, move, overflow_route, &full);
    return full;
}

/* ---- it is decided ---- */

static int commit_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    const struct run *run = walk->run;
    struct pst_ctx *lane = lane_here(run, walk->move);
    for (uint32_t t = 0; t < run->partition_count[consumer]; t++) {
        struct pst_ctx *target = run->partitions[consumer][t];
        for (uint32_t i = 0; target != NULL && i < walk->move->bucket_count; i++) {
            struct taken *taken = &target->filter->taken[input][walk->move->buckets[i]];
            *taken = (struct taken){.next = taken->next,
                                    .cut = walk->move->cut,
                                    .below = taken->next,
                                    .lane_first = UINT64_MAX,
                                    .giver_next = taken->next,
                                    .lane = walk->move->to};
        }
        for (uint32_t c = 0; target != NULL && c < target->channel_count; c++) {
            struct channel *channel = target->channels[c];
            bool local = channel->far == NULL && lane != NULL && channel->producer == lane;
            if (!channel->standby || !(local || pst_link_is(channel, number + t)))
                continue;
            channel->standby = false;
            channel->floor = walk->move->cut;
            if (target->now_known && target->now > channel->floor)
                channel->floor = target->now; /* what is below has come from the giver */
        }
    }
    return PST_OK;
}

void pst_lane_commit_downstream(struct run *run, const struct move *move, int64_t cut)
{
    struct move decided = *move;
    struct walk walk = {.run = run, .move = &decided};
    decided.cut = cut;
    (void)pst_routes_visit(run, move->operator_index, move->to, commit_route, &walk);
}

static void kept_back(struct lane *lane, uint32_t bucket, uint64_t number)
{
    if (number >= lane->first[bucket])
        lane->first[bucket] = number + 1;
}

void pst_lane_keeps_back(struct pst_ctx *ctx, const struct view *view)
{
    for (uint32_t i = 0; view->number != NULL && i < view->row_count; i++) {
        uint32_t row = view->selection != NULL ? view->selection[i] : i;
        kept_back(ctx->lane, view->bucket[row], view->number[row]);
    }
}

/* Rows below the cut are the giver's. */
static void cut_below(struct lane *lane, struct channel *channel, int64_t cut)
{
    struct frame *all[2] = {channel->pending_first, channel->open};
    for (int i = 0; i < 2; i++) {
        for (struct frame *frame = all[i]; frame != NULL; frame = i == 0 ? frame->next : NULL) {
            uint32_t first = 0;
            for (; first < frame->row_count && frame->time[first] < cut; first++)
                if (channel->edge->total && frame->producer[first] != 0)
                    kept_back(lane, frame->producer[first] - 1, frame->number[first]);
            pst_frame_keep(channel->edge, frame, first);
        }
    }
    pst_channel_tidy_out(channel);
}

void pst_lane_commit_taker(struct run *run, const struct move *move, int64_t cut)
{
    struct pst_ctx *ctx = lane_here(run, move);
    if (ctx == NULL)
        return;
    for (uint32_t i = 0; i < ctx->channel_out_count; i++)
        cut_below(ctx->lane, ctx->channels_out[i], PST_PLANTED(NO_REPLAY) ? INT64_MAX : cut);
    ctx->lane->cut = cut;
    ctx->lane->state = LANE_SERVING;
}

void pst_lane_commit_giver(struct run *run, const struct move *move, int64_t cut)
{
    struct giving *giving = pst_lane_giving(run, move);
    if (giving == NULL)
        return;
    giving->cut = cut;
    giving->stop = true;
}

/* ---- what was lost ---- */

struct losing {
    struct walk walk;
    uint64_t rows;
};

static int lost_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct losing *losing = argument;
    const struct run *run = losing->walk.run;
    const struct move *move = losing->walk.move;
    (void)number;
    for (uint32_t t = 0; t < run->partition_count[consumer]; t++) {
        const struct pst_ctx *target = run->partitions[consumer][t];
        const struct filter *filter = target != NULL ? target->filter : NULL;
        for (uint32_t c = 0; filter != NULL && filter->taken != NULL && c < target->channel_count; c++)
            (void)pst_channel_hold(target->channels[c]); /* what is here is looked at first */
        for (uint32_t i = 0; filter != NULL && filter->taken != NULL && i < move->bucket_count; i++)
            losing->rows += filter->taken[input][move->buckets[i]].lost;
    }
    return PST_OK;
}

bool pst_lane_lost(const struct run *run, const struct move *move, const uint64_t *numbers, uint64_t *ret_rows)
{
    const struct lane *lane = pst_lane_of(run, move);
    struct losing losing = {.walk = {.run = (struct run *)(uintptr_t)run, .move = move}};
    (void)pst_routes_visit(run, move->operator_index, move->to, lost_route, &losing);
    for (uint32_t i = 0; lane != NULL && numbers != NULL && i < move->bucket_count; i++) {
        uint64_t first = lane->first[move->buckets[i]];
        losing.rows += first > numbers[i] ? first - numbers[i] : 0;
    }
    *ret_rows = losing.rows;
    return lane == NULL || numbers != NULL;
}

/* ---- one way again ---- */

struct upstreams {
    pst_upstream_visit visit;
    void *argument;
};

static int upstream_visit(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    const struct upstreams *upstreams = walk->argument;
    (void)number;
    if (consumer == walk->move->operator_index && walk->producer != NULL)
        upstreams->visit(upstreams->argument, walk->producer, route_of(walk->producer, consumer, input));
    return PST_OK;
}

static int upstream_instance(void *argument, struct walk *walk, uint32_t node_index, uint32_t slot)
{
    walk->argument = argument;
    return pst_routes_visit(walk->run, node_index, slot, upstream_visit, walk);
}

/* Every route to the operator from an instance that is here. */
void pst_upstreams_visit(const struct run *run, const struct move *move, pst_upstream_visit visit, void *argument)
{
    struct upstreams upstreams = {visit, argument};
    for (uint32_t n = 0; n < move->operator_index; n++)
        if (!is_stage(&run->graph->nodes[n]) && pst_leads_to(run->graph, n, move->operator_index))
            (void)instances_visit((struct run *)(uintptr_t)run, move, n, upstream_instance, &upstreams);
}

static void release_route(void *argument, struct pst_ctx *producer, struct route *route)
{
    const struct move *move = argument;
    (void)producer;
    if (route->branch == NULL || route->branch->move != move)
        return;
    route->targets[move->to] = route->branch->channel;
    if (route->target_count <= move->to)
        route->target_count = move->to + 1;
    route->branch->channel->branch = false;
    route->branch = NULL;
}

/* Of the giver, where it stayed: it has all that the lane has, but for buckets that were not the move's. */
static void replica_goes_on(struct run *run, const struct move *move)
{
    uint32_t n = move->operator_index, copy = move->copy;
    if (copy == NO_TWIN || move->replica == REPLICA_NONE || run->site->node_of_partition[n][copy] == UINT16_MAX)
        return; /* or its node has died meanwhile */
    if (move->replica == REPLICA_ENDS) {
        pst_copy_end(run, n, copy);
        return;
    }
    uint16_t *twin = run->twin[n];
    twin[move->from] = NO_TWIN;
    twin[move->to] = (uint16_t)copy;
    twin[copy] = (uint16_t)move->to;
    if (run->partitions[n][copy] != NULL) /* the giver may be dead, and this one have been the owner since */
        run->partitions[n][copy]->copy = true;
}

/* All routes to an operator on a node look into one table. */
void pst_lane_release_upstream(struct run *run, const struct move *move)
{
    struct pst_ctx *lane = lane_here(run, move);
    pst_upstreams_visit(run, move, release_route, (void *)(uintptr_t)move);
    if (pst_lane_is_dead(run, move)) {
        pst_lane_dead(run, move);
        return;
    }
    if (move->copies) {
        run->twin[move->operator_index][move->from] = (uint16_t)move->to;
        run->twin[move->operator_index][move->to] = (uint16_t)move->from;
        if (lane != NULL)
            lane->copy = true;
        return;
    }
    for (uint32_t i = 0; i < move->bucket_count; i++)
        run->partition_of_bucket[move->operator_index][move->buckets[i]] = (uint16_t)move->to;
    replica_goes_on(run, move);
}

static int taken_end(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    (void)number;
    for (uint32_t t = 0; t < walk->run->partition_count[consumer]; t++) {
        struct pst_ctx *target = walk->run->partitions[consumer][t];
        struct filter *filter = target != NULL ? target->filter : NULL;
        if (filter == NULL || filter->taken == NULL)
            continue;
        /* what is here and was not looked at may have come twice */
        for (uint32_t c = 0; c < target->channel_count; c++)
            (void)pst_channel_hold(target->channels[c]);
        for (uint32_t i = 0; i < walk->move->bucket_count; i++) {
            struct taken *taken = &filter->taken[input][walk->move->buckets[i]];
            taken->next = taken->below > taken->next ? taken->below : taken->next;
            taken->below = 0;
            taken->cut = INT64_MIN;
        }
        filter->open_moves -= filter->open_moves != 0; /* else it was given up before it came here */
        if (filter->open_moves == 0 && filter->replicas == 0)
            filter->taken = NULL;
        pst_filter_tidy(target);
    }
    return PST_OK;
}

/* Either is as good as the other from now on; `one` may have been another's. */
static void replicas_pair(struct pst_ctx *consumer, uint32_t operator_index, uint32_t one, uint32_t other)
{
    for (uint32_t c = 0; c < consumer->channel_count; c++) {
        struct channel *of_one = consumer->channels[c];
        if (of_one->producer_index != operator_index || of_one->from != one || of_one->standby)
            continue;
        for (uint32_t k = 0; k < consumer->channel_count; k++) {
            struct channel *of_other = consumer->channels[k];
            if (of_other->edge != of_one->edge || of_other->from != other || of_other->standby)
                continue;
            if (of_one->twin != NULL)
                of_one->twin->twin = NULL;
            of_one->twin = of_other;
            of_other->twin = of_one;
        }
    }
}

/* What comes is looked at as it was, and from now on as it is to be. */
static int settle_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    const struct move *move = walk->move;
    uint32_t n = move->operator_index, copy = pst_twin(walk->run, n, move->to);
    bool pairs = copy != NO_TWIN && (move->copies || move->replica == REPLICA_FOLLOWS);
    for (uint32_t t = 0; t < walk->run->partition_count[consumer] && pairs; t++) {
        struct pst_ctx *target = walk->run->partitions[consumer][t];
        if (target == NULL || target->filter == NULL)
            continue;
        target->filter->replicas |= (uint8_t)(1u << input);
        replicas_pair(target, n, copy, move->to);
    }
    return taken_end(walk, consumer, input, number);
}

void pst_giving_end(struct pst_ctx *giver)
{
    if (giver == NULL || giver->giving == NULL)
        return;
    pst_way_empty(giver->run, &giver->giving->own_way);
    pst_packings_free(&giver->giving->packings); /* given up amid a bucket */
    giver->giving = NULL;
    giver->sums = NULL;
    pst_moving_over(giver);
}

void pst_lane_release_downstream(struct run *run, const struct move *move)
{
    struct walk walk = {.run = run, .move = move};
    struct pst_ctx *giver = run->partitions[move->operator_index][move->from];
    (void)pst_routes_visit(run, move->operator_index, move->to, settle_route, &walk);
    pst_link_way_end(run, move->id);
    if (!move->more)
        pst_blobs_forget(run);
    pst_giving_end(giver);
}

struct settling {
    struct walk walk;
    int64_t until;
    bool settled;
};

static bool has_come(const struct channel *channel, int64_t until)
{
    return atomic_load_explicit(&channel->ended, memory_order_acquire) != END_NOT ||
           atomic_load_explicit(&channel->watermark, memory_order_acquire) >= until;
}

static int settled_route(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct settling *settling = argument;
    const struct run *run = settling->walk.run;
    const struct move *move = settling->walk.move;
    struct pst_ctx *lane = lane_here(run, move);
    (void)input;
    for (uint32_t t = 0; t < run->partition_count[consumer]; t++) {
        const struct pst_ctx *target = run->partitions[consumer][t];
        if (target == NULL || target->ended || pst_is_muted(target))
            continue;
        settling->settled &= target->now_known && target->now >= settling->until;
        for (uint32_t c = 0; c < target->channel_count; c++) {
            const struct channel *channel = target->channels[c];
            if ((channel->far == NULL && lane != NULL && channel->producer == lane) || pst_link_is(channel, number + t))
                settling->settled &= has_come(channel, settling->until);
        }
    }
    return PST_OK;
}

bool pst_lane_settled(const struct run *run, const struct move *move, int64_t until)
{
    struct settling settling = {
        .walk = {.run = (struct run *)(uintptr_t)run, .move = move}, .until = until, .settled = true};
    (void)pst_routes_visit(run, move->operator_index, move->to, settled_route, &settling);
    return settling.settled;
}

/* ---- it was given up ---- */

static void drop_route(void *argument, struct pst_ctx *producer, struct route *route)
{
    const struct move *move = argument;
    if (route->branch == NULL || route->branch->move != move)
        return;
    struct channel *channel = route->branch->channel;
    route->branch = NULL;
    pst_channel_drop(producer->run, channel);
}

static int drop_standby(void *argument, uint32_t consumer, uint32_t input, uint64_t number)
{
    struct walk *walk = argument;
    for (uint32_t t = 0; t < walk->run->partition_count[consumer]; t++) {
        struct pst_ctx *target = walk->run->partitions[consumer][t];
        for (uint32_t c = 0; target != NULL && c < target->channel_count; c++) {
            if (!target->channels[c]->standby || !pst_link_is(target->channels[c], number + t))
                continue;
            pst_channel_drop(walk->run, target->channels[c]);
            break;
        }
    }
    return taken_end(walk, consumer, input, number);
}

static void lane_drop(struct run *run, const struct move *move, struct pst_ctx *ctx)
{
    while (ctx->channel_count != 0)
        pst_channel_drop(run, ctx->channels[0]);
    while (ctx->channel_out_count != 0)
        pst_channel_drop(run, ctx->channels_out[0]);
    if (ctx->lane != NULL) /* there was memory for it */
        pst_way_empty(run, &ctx->lane->way);
    for (uint32_t i = 0; i < move->bucket_count && ctx->borrows && ctx->state != NULL; i++)
        pst_state_drop(ctx->state, move->buckets[i]);
    pst_instance_retire(run, ctx);
}

void pst_lane_drop(struct run *run, const struct move *move)
{
    struct walk walk = {.run = run, .move = move};
    struct pst_ctx *lane = lane_here(run, move), *giver = run->partitions[move->operator_index][move->from];
    pst_upstreams_visit(run, move, drop_route, (void *)(uintptr_t)move);
    (void)pst_routes_visit(run, move->operator_index, move->to, drop_standby, &walk);
    pst_link_way_end(run, move->id);
    pst_blobs_forget(run);
    pst_giving_end(giver);
    if (lane != NULL)
        lane_drop(run, move, lane);
    run->partitions[move->operator_index][move->to] = NULL;
    run->site->node_of_partition[move->operator_index][move->to] = UINT16_MAX;
    workers_unfinished(run);
    pst_arena_fini(&run->move_arena);
}
