/* join.c - see lane.h: a lane becomes a part of another partition of its worker, and partitions that own nothing any more are forgotten. */
#include "engine/build.h"
#include "engine/enclave.h"
#include "engine/lane.h"

#include <stdlib.h>
#include <string.h>

/* ---- the lane and what it joins ---- */

int pst_lane_join(struct run *run, const struct move *move, int64_t at)
{
    struct pst_ctx *lane = run->partitions[move->operator_index][move->to];
    struct pst_ctx *into = run->partitions[move->operator_index][move->into];
    if (lane == NULL)
        return PST_OK;
    struct join *join = pst_arena_alloc(&run->move_arena, sizeof *join);
    if (join == NULL)
        return PST_ENOMEM;
    *join = (struct join){.lane = lane, .into = into, .at = at > lane->lane->from ? at : lane->lane->from};
    if (join->at == INT64_MAX) /* the giver has ended: so do these */
        join->at = lane->lane->from;
    atomic_init(&join->done, lane->ended || into->ended);
    lane->join = into->join = join;
    pst_run_wake(run, into->worker);
    return PST_OK;
}

const struct join *pst_lane_joining(const struct run *run, const struct move *move)
{
    const struct pst_ctx *lane = run->partitions[move->operator_index][move->to];
    return lane != NULL ? lane->join : NULL;
}

static void join_done(struct join *join)
{
    const struct run *run = join->into->run;
    atomic_store_explicit(&join->done, true, memory_order_release);
    run->world->wake(run->world->self, 0);
}

void pst_join_ended(struct pst_ctx *ctx)
{
    if (ctx->join != NULL && !atomic_load_explicit(&ctx->join->done, memory_order_relaxed))
        join_done(ctx->join);
}

static int compare_buckets(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void buckets_take(struct pst_ctx *into, struct pst_ctx *lane)
{
    for (uint32_t i = 0; i < lane->owned_count; i++) {
        uint32_t bucket = lane->buckets[i];
        into->buckets[into->owned_count++] = bucket;
        into->timers[bucket] = lane->timers[bucket];
        into->numbers[bucket] = lane->numbers[bucket];
        into->marked[bucket] = lane->marked[bucket];
        if (into->filter != NULL && into->filter->gone != NULL)
            into->filter->gone[bucket] = 0; /* what came for it before `at` is gone, too */
    }
    into->timer_min = lane->timer_min < into->timer_min ? lane->timer_min : into->timer_min;
    qsort(into->buckets, into->owned_count, sizeof *into->buckets, compare_buckets);
    lane->owned_count = 0;
    lane->timer_min = INT64_MAX;
}

/* What goes to every partition `into` has had by itself: of that the lane throws away what still comes. */
static int channels_take(struct pst_ctx *into, struct pst_ctx *lane)
{
    uint32_t kept = 0;
    int rc = PST_OK;
    for (uint32_t c = 0; c < lane->channel_count && rc == PST_OK; c++) {
        struct channel *channel = lane->channels[c];
        if (channel->edge->broadcast) {
            lane->channels[kept++] = channel;
            continue;
        }
        rc = pst_channel_into(into, channel);
        channel->consumer = into;
    }
    lane->channel_count = kept;
    return rc;
}

/* Operators keep nothing between two epochs that is not in their state (P3), but may have looked at which buckets there are when they
 * were opened. */
static int open_again(struct pst_ctx *ctx)
{
    const struct pst_operator *op = ctx->node->op;
    if (op->close != NULL)
        op->close(ctx);
    pst_arena_fini(&ctx->user_arena);
    pst_arena_init(&ctx->user_arena);
    ctx->user = NULL;
    ctx->opened = false;
    int rc = op->open != NULL ? op->open(ctx) : PST_OK;
    ctx->opened = rc == PST_OK;
    return rc == PST_OK ? PST_OK : pst_ctx_failed(ctx, rc, "open");
}

static int join_now(struct join *join)
{
    struct pst_ctx *into = join->into, *lane = join->lane;
    int rc = channels_take(into, lane);
    if (rc != PST_OK)
        return rc;
    buckets_take(into, lane);
    lane->state = NULL;
    lane->spill = NULL;
    if (into->enclave == NULL) /* else its worker has done so */
        rc = open_again(into);
    join->joined = true;
    join_done(join);
    return rc;
}

/* The first end of an epoch that neither has passed. */
static int64_t next_end(const struct pst_ctx *ctx, int64_t at)
{
    int64_t epoch = ctx->node->epoch, next = ctx->had_rows ? ctx->now + epoch : ctx->now;
    int64_t low = pst_floor_to(at, epoch);
    at = low == at ? at : low + epoch;
    return at > next ? at : next;
}

/* At the beginning of an epoch, before any of its rows or amid them. */
int pst_join_turn(struct pst_ctx *ctx)
{
    struct join *join = ctx->join;
    if (atomic_load_explicit(&join->done, memory_order_relaxed) || !join->lane->now_known || !join->into->now_known)
        return PST_OK;
    if (!join->agreed) {
        join->at = next_end(join->lane, next_end(join->into, join->at));
        join->agreed = true;
    }
    if (!pst_stands(ctx) || !pst_stands(join->lane) || !pst_stands(join->into))
        return PST_OK;
    if (join->into->enclave == NULL)
        return join_now(join);
    if (pst_ctx_enclave_asked(join->lane) != 0 || pst_ctx_enclave_asked(join->into) != 0 ||
        pst_ctx_enclave_ends(join->lane) || pst_ctx_enclave_ends(join->into))
        return PST_OK;
    enum join_phase phase = (enum join_phase)join->phase;
    int rc = pst_moving_join(join->lane, join->into, &phase);
    join->phase = (int)phase;
    return rc == PST_OK ? join_now(join) : rc == PST_EAGAIN ? PST_OK : rc;
}

/* ---- by themselves ---- */

static void sent_before(void *argument, struct pst_ctx *producer, struct route *route)
{
    int64_t *from = argument;
    bool source = producer->node->op->role == PST_ROLE_SOURCE;
    int64_t sent = source ? atomic_load_explicit(&producer->run->input.max, memory_order_acquire) : producer->emit_time;
    (void)route;
    if (sent != INT64_MIN && sent + 1 > *from)
        *from = sent + 1;
}

int64_t pst_lane_reroute(struct run *run, const struct move *move)
{
    int64_t from = INT64_MIN;
    pst_upstreams_visit(run, move, sent_before, &from);
    for (uint32_t i = 0; i < move->bucket_count; i++)
        run->partition_of_bucket[move->operator_index][move->buckets[i]] = (uint16_t)move->into;
    return from;
}

bool pst_lane_drained(const struct run *run, const struct move *move, int64_t until)
{
    const struct pst_ctx *into = run->partitions[move->operator_index][move->into];
    if (into != NULL && !into->ended && !(into->now_known && into->now >= until))
        return false;
    return pst_lane_settled(run, move, until);
}

/* ---- forgetting ---- */

static bool owns_any(const struct run *run, uint32_t operator_index, uint32_t partition)
{
    const uint16_t *of = run->partition_of_bucket[operator_index];
    for (uint32_t b = 0; b < run->graph->nodes[operator_index].bucket_count; b++)
        if (of[b] == partition)
            return true;
    return false;
}

static void target_forget(void *argument, struct pst_ctx *producer, struct route *route)
{
    const uint32_t *partition = argument;
    (void)producer;
    if (*partition < route->target_count)
        route->targets[*partition] = NULL;
}

static void forget(struct run *run, const struct move *move, uint32_t partition)
{
    uint32_t n = move->operator_index;
    struct pst_ctx *ctx = run->partitions[n][partition];
    if (owns_any(run, n, partition) || pst_twin(run, n, partition) != NO_TWIN)
        return;
    pst_upstreams_visit(run, move, target_forget, &partition);
    for (uint32_t i = 0; i < run->channel_count; i++) {
        struct channel *channel = run->channels[i];
        bool to = channel->edge->node == n && channel->to == partition;
        bool from = channel->producer_index == n && channel->from == partition;
        if (to || (from && !pst_dead_channel_holds(channel))) { /* else it goes later */
            pst_channel_drop(run, channel);
            i--; /* the last one stands here now */
        }
    }
    if (ctx != NULL)
        pst_instance_retire(run, ctx);
    run->site->node_of_partition[n][partition] = UINT16_MAX;
}

void pst_lane_retire(struct run *run, const struct move *move)
{
    struct pst_ctx *into = move->into != NO_PARTITION ? run->partitions[move->operator_index][move->into] : NULL;
    if (into != NULL)
        into->join = NULL;
    forget(run, move, move->from);
    forget(run, move, move->to);
    pst_dead_channels_drop(run);
    pst_arena_fini(&run->move_arena);
    for (uint32_t w = 0; w < run->worker_count; w++)
        atomic_store_explicit(&run->workers[w].finished, false, memory_order_release);
}
