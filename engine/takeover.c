/* takeover.c - one of two replicas goes while the run goes on (docs/cluster.md): with its node, or with the worker of its enclave, and then a
 * copy becomes the owner; or before something moves, and then it is the copy. */
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/lane.h"
#include "engine/mover.h"

#define DEAD_NS (UINT64_C(50) * 1000 * 1000)    /* when it is said again that a partition's worker is gone */
#define RETIRES_NS (UINT64_C(20) * 1000 * 1000) /* when it is looked again whether a checkpoint is over */

/* ---- in the run, while its workers stand still ---- */

static bool owns_any(const struct run *run, uint32_t n, uint32_t partition)
{
    for (uint32_t b = 0; b < run->graph->nodes[n].bucket_count; b++)
        if (run->partition_of_bucket[n][b] == partition)
            return true;
    return false;
}

static void target_lost(void *argument, struct pst_ctx *producer, struct route *route)
{
    const uint32_t *partition = argument;
    (void)producer;
    if (*partition < route->target_count)
        route->targets[*partition] = NULL;
}

/* The other one of the two is alone, and the owner. */
static void partition_lost(struct run *run, uint32_t n, uint32_t partition)
{
    struct move of = {.operator_index = n};
    uint32_t twin = pst_twin(run, n, partition);
    pst_upstreams_visit(run, &of, target_lost, &partition);
    run->site->node_of_partition[n][partition] = UINT16_MAX;
    if (twin == NO_TWIN)
        return;
    run->twin[n][partition] = run->twin[n][twin] = NO_TWIN;
    for (uint32_t b = 0; b < run->graph->nodes[n].bucket_count; b++)
        if (run->partition_of_bucket[n][b] == partition)
            run->partition_of_bucket[n][b] = (uint16_t)twin;
    if (run->partitions[n][twin] != NULL)
        run->partitions[n][twin]->copy = false;
}

/* What has come from there is worked off, for it counts as taken; its time does not count any more, for the other one's does. */
static void consumer_goes_on(struct run *run, struct channel *channel)
{
    struct filter *filter = channel->consumer->filter;
    int64_t watermark = atomic_load_explicit(&channel->watermark, memory_order_acquire);
    (void)pst_channel_hold(channel);
    if (filter != NULL && watermark > filter->level)
        filter->level = watermark;
    if (filter != NULL &&
        channel->newest >= filter->level) /* what has come of the epoch that is open, worked off or not */
        filter->level = channel->newest + 1;
    channel->standby = true;
    if (channel->twin != NULL)
        channel->twin->twin = NULL;
    channel->twin = NULL;
    if (channel->far != NULL)
        pst_link_remove(run, channel);
    else
        pst_channel_orphan(run, channel);
}

static void channel_lost(void *argument, struct channel *channel)
{
    struct run *run = argument;
    if (channel->producer != NULL)
        pst_channel_drop(run, channel);
    else
        consumer_goes_on(run, channel);
}

static void branch_lost(void *argument, struct pst_ctx *producer, struct route *route)
{
    const struct move *move = argument;
    (void)producer;
    if (route->branch != NULL && route->branch->move == move)
        route->branch = NULL; /* its channel goes with the others that lead there */
}

/* mover: a move that is open was decided, for else it was dropped before; but this node may not have heard that. */
static void node_lost(struct run *run, const struct mover *mover, uint32_t node, uint32_t takeover)
{
    const struct move *move = mover->open && mover->prepared ? &mover->move : NULL;
    if (move != NULL && move->to_node == node)
        pst_upstreams_visit(run, move, branch_lost, (void *)(uintptr_t)move);
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t p = 0; run->graph->nodes[n].op->role == PST_ROLE_PLAIN && p < run->partition_count[n]; p++)
            if (run->site->node_of_partition[n][p] == node)
                partition_lost(run, n, p);
    pst_link_visit(run, node, channel_lost, run);
    pst_link_peer_ended(run, node);
    if (move != NULL && move->to_node == node && pst_mover_decided(mover))
        pst_lane_dead(run, move);
    if (mover->open) /* checkpoints rest until it is over */
        pst_checkpoint_changes(run);
    else
        pst_checkpoint_go_on(run, true);
    if (takeover > atomic_load_explicit(&run->takeover, memory_order_relaxed))
        atomic_store_explicit(&run->takeover, takeover, memory_order_release);
    for (uint32_t w = 0; w < run->worker_count; w++)
        atomic_store_explicit(&run->workers[w].finished, false, memory_order_release);
}

/* Its producer is no more. */
static bool is_dead(const struct channel *channel)
{
    return channel->standby && channel->producer == NULL && channel->far == NULL;
}

bool pst_dead_channel_holds(struct channel *channel)
{
    if (!is_dead(channel))
        return false;
    (void)pst_channel_hold(channel);
    return channel->held_first != NULL;
}

void pst_dead_channels_drop(struct run *run)
{
    for (uint32_t i = 0; i < run->channel_count; i++)
        if (is_dead(run->channels[i]) && !pst_dead_channel_holds(run->channels[i]))
            pst_channel_drop(run, run->channels[i--]);
}

/* A partition that owns nothing, or whose twin has all that it has, though its node lives. */
static void copy_ends(struct run *run, uint32_t n, uint32_t copy)
{
    struct pst_ctx *ctx = run->partitions[n][copy];
    partition_lost(run, n, copy);
    for (uint32_t i = 0; i < run->channel_count; i++) {
        struct channel *channel = run->channels[i];
        bool to = channel->edge->node == n && channel->to == copy;
        bool from = channel->producer_index == n && channel->from == copy && channel->reader == 0;
        if (from && channel->consumer != NULL && !channel->standby) {
            consumer_goes_on(run, channel);
        } else if (to || (from && channel->consumer == NULL)) {
            pst_channel_drop(run, channel);
            i--; /* the last one stands here now */
        }
    }
    if (ctx == NULL)
        return;
    if (pst_checkpoint_quiet(run)) {
        pst_instance_retire(run, ctx);
        return;
    }
    PST_ASSERT(pst_is_dead(ctx)); /* what it was to bring it says that it has not: until then it stays, with nothing */
    run->partitions[n][copy] = NULL;
    ctx->ended = true;
}

static void workers_unfinished(struct run *run)
{
    for (uint32_t w = 0; w < run->worker_count; w++)
        atomic_store_explicit(&run->workers[w].finished, false, memory_order_release);
}

void pst_copy_end(struct run *run, uint32_t operator_index, uint32_t copy)
{
    if (copy != NO_TWIN)
        copy_ends(run, operator_index, copy);
    workers_unfinished(run);
}

void pst_lane_dead(struct run *run, const struct move *move)
{
    uint32_t n = move->operator_index, copy = move->copy;
    const uint16_t *node_of = run->site->node_of_partition[n];
    if (move->replica != REPLICA_FOLLOWS || copy == NO_TWIN || node_of[copy] == UINT16_MAX)
        return;
    if (pst_twin(run, n, move->from) == copy) { /* it was not released yet */
        run->twin[n][move->from] = run->twin[n][copy] = NO_TWIN;
        for (uint32_t i = 0; i < move->bucket_count; i++)
            run->partition_of_bucket[n][move->buckets[i]] = (uint16_t)copy;
        if (run->partitions[n][copy] != NULL)
            run->partitions[n][copy]->copy = false;
    }
    if (node_of[move->from] != UINT16_MAX) {
        pst_giving_end(run->partitions[n][move->from]);
        copy_ends(run, n, move->from);
    }
    workers_unfinished(run);
}

void pst_copies_end(struct run *run, uint32_t operator_index)
{
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t p = 0; pst_replicas_matter(run->graph, n, operator_index) && p < run->partition_count[n]; p++) {
            uint32_t twin = pst_twin(run, n, p);
            if (twin != NO_TWIN)
                copy_ends(run, n, owns_any(run, n, p) ? twin : p);
        }
    workers_unfinished(run);
}

/* All that the one had brought before it went has been worked off, and the other one has come as far: nothing comes twice any more. */
static bool is_level(struct filter *filter, struct channel *channel)
{
    if (is_dead(channel)) {
        (void)pst_channel_hold(channel);
        return channel->held_first == NULL;
    }
    return atomic_load_explicit(&channel->ended, memory_order_acquire) != END_NOT ||
           atomic_load_explicit(&channel->watermark, memory_order_acquire) >= filter->level;
}

typedef bool (*copies_visit)(struct filter *filter, struct channel *channel);

/* Channels that lead to a partition here from an operator whose copies go. True: all of them said so. */
static bool copies_channels(const struct run *run, uint32_t operator_index, copies_visit visit)
{
    bool all = true;
    for (uint32_t i = 0; i < run->instance_count; i++) {
        const struct pst_ctx *ctx = run->instances[i];
        for (uint32_t c = 0; !ctx->retired && !ctx->ended && ctx->filter != NULL && c < ctx->channel_count; c++) {
            struct channel *channel = ctx->channels[c];
            if (channel->reader == 0 && pst_replicas_matter(run->graph, channel->producer_index, operator_index))
                all &= visit(ctx->filter, channel);
        }
    }
    return all;
}

static bool looked_at(struct filter *filter, struct channel *channel)
{
    (void)filter;
    (void)pst_channel_hold(channel);
    return true;
}

static bool forgotten(struct filter *filter, struct channel *channel)
{
    filter->replicas &= (uint8_t) ~(1u << channel->edge->input);
    return true;
}

bool pst_copies_level(const struct run *run, uint32_t operator_index)
{
    return copies_channels(run, operator_index, is_level);
}

void pst_copies_forget(struct run *run, uint32_t operator_index)
{
    (void)copies_channels(run, operator_index,
                          looked_at); /* all that is here as it was, before anything is forgotten */
    (void)copies_channels(run, operator_index, forgotten);
    for (uint32_t i = 0; i < run->instance_count; i++) {
        const struct pst_ctx *ctx = run->instances[i];
        if (ctx->retired || ctx->filter == NULL || ctx->filter->replicas != 0)
            continue;
        ctx->filter->level = INT64_MIN;
        if (ctx->filter->open_moves == 0)
            ctx->filter->taken = NULL;
    }
    pst_dead_channels_drop(run);
}

/* ---- a partition whose worker is gone ---- */

bool pst_partition_dies(struct pst_ctx *ctx, int error, const char *why)
{
    struct run *run = ctx->run;
    if (pst_is_dead(ctx))
        return true; /* its replica may be the owner by now */
    if (run->site == NULL || pst_twin(run, ctx->node_index, ctx->partition) == NO_TWIN || pst_is_muted(ctx) ||
        ctx->join != NULL)
        return false;
    (void)snprintf(ctx->sentence, sizeof ctx->sentence, "operator %s (%s), partition %u, in its enclave: %s",
                   ctx->node->id, ctx->node->op->name, ctx->partition, why);
    ctx->dead_error = error;
    atomic_store_explicit(&ctx->dead, true, memory_order_release);
    atomic_store_explicit(&run->newly_dead, true, memory_order_release);
    run->world->wake(run->world->self, 0);
    return true;
}

/* Of what this node knows: else it has been told already, or that number is another one's by now. */
static bool is_there(const struct run *run, const struct gone *gone)
{
    return run->site->node_of_partition[gone->operator_index][gone->partition] != UINT16_MAX &&
           run->born[gone->operator_index][gone->partition] == gone->born;
}

static void partition_gone(struct run *run, const struct gone *gone)
{
    if (is_there(run, gone))
        copy_ends(run, gone->operator_index, gone->partition);
    pst_checkpoint_changes(run);
    if (gone->replaced > atomic_load_explicit(&run->replaced, memory_order_relaxed))
        atomic_store_explicit(&run->replaced, gone->replaced, memory_order_release);
    workers_unfinished(run);
}

/* It is nobody's any more, but for a checkpoint that is under way. */
static bool is_left_over(const struct pst_ctx *ctx)
{
    return !ctx->retired && pst_is_dead(ctx) && ctx->run->partitions[ctx->node_index][ctx->partition] != ctx;
}

/* False: nothing is left over. */
static bool left_over_retire(struct run *run)
{
    bool any = false, quiet = pst_checkpoint_quiet(run);
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct pst_ctx *ctx = run->instances[i];
        if (!is_left_over(ctx))
            continue;
        struct pst_ctx *now = run->partitions[ctx->node_index][ctx->partition]; /* of that number */
        if (quiet)
            pst_instance_retire(run, ctx);
        run->partitions[ctx->node_index][ctx->partition] = now;
        any |= !quiet;
    }
    return any;
}

/* ---- the keeper ---- */

void pst_takeover_dead(struct pst_node *node, struct hosted *hosted)
{
    struct run *run = &hosted->run;
    uint64_t now_ns = node->world->now_ns(node->world->self);
    bool due = hosted->dead_ns != 0 && now_ns >= hosted->dead_ns;
    if (hosted->dead_ns != 0 && !due)
        (void)node->world->alarm(node->world->self, 0, hosted->dead_ns);
    if (!hosted->begun || hosted->superseded ||
        (!atomic_exchange_explicit(&run->newly_dead, false, memory_order_acq_rel) && !due))
        return;
    hosted->dead_ns = 0;
    for (uint32_t i = 0; i < run->instance_count && !hosted->superseded; i++) {
        struct pst_ctx *ctx = run->instances[i];
        Pst__Ended body = PST__ENDED__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        if (ctx->retired || !pst_is_dead(ctx) || is_left_over(ctx))
            continue;
        hosted->dead_ns = now_ns + DEAD_NS; /* it is said again, until somebody decides */
        body.error = ctx->dead_error;
        body.lost = true;
        body.place = hosted->place;
        body.sentence = ctx->sentence;
        body.node = (char *)(uintptr_t)node->options.name;
        body.operator_id = (char *)(uintptr_t)ctx->node->id;
        body.partition = ctx->partition;
        body.born = run->born[ctx->node_index][ctx->partition];
        message.graph = hosted->graph_name;
        message.incarnation = hosted->incarnation;
        message.body_case = PST__CONTROL__BODY_ENDED;
        message.ended = &body;
        pst_node_tell(node, &message);
    }
    if (hosted->dead_ns != 0)
        (void)node->world->alarm(node->world->self, 0, hosted->dead_ns);
}

void pst_takeover_partition_told(struct hosted *hosted, const Pst__Ended *ended)
{
    struct gone gone = {.operator_index = pst_graph_find(hosted->graph, ended->operator_id),
                        .partition = ended->partition,
                        .born = ended->born,
                        .replaced = ended->replaced};
    const struct pst_graph_node *op = &hosted->graph->nodes[gone.operator_index];
    if (!hosted->begun || gone.operator_index == hosted->graph->node_count || op->op->role != PST_ROLE_PLAIN ||
        gone.partition >= pst_partition_numbers(op))
        return; /* it is of another graph than this one */
    struct run *run = &hosted->run;
    uint32_t done = atomic_load_explicit(&run->replaced, memory_order_relaxed);
    if (!is_there(run, &gone) && (gone.replaced <= done || hosted->gone_count == 0)) {
        if (gone.replaced > done) /* those before it are, too: they are told in their order */
            atomic_store_explicit(&run->replaced, gone.replaced, memory_order_release);
        return;
    }
    for (uint32_t i = 0; i < hosted->gone_count; i++)
        if (hosted->gone[i].replaced == gone.replaced)
            return;
    if (hosted->gone_count == HOSTED_GONE_MAX) {
        pst_run_fail(&hosted->run, PST_EFULL, "more partitions are replaced at once than this node can be told");
        return;
    }
    hosted->gone[hosted->gone_count++] = gone;
    hosted->any_lost = true;
}

void pst_takeover_told(struct hosted *hosted, uint32_t index, uint32_t takeover)
{
    hosted->lost[index] = takeover;
    hosted->any_lost = true;
}

static bool retires_later(struct pst_node *node, struct hosted *hosted, uint64_t now_ns)
{
    hosted->retires_ns = now_ns + RETIRES_NS;
    (void)node->world->alarm(node->world->self, 0, hosted->retires_ns);
    return false;
}

bool pst_takeover_step(struct pst_node *node, struct hosted *hosted)
{
    struct run *run = &hosted->run;
    uint64_t now_ns = node->world->now_ns(node->world->self);
    bool retires = hosted->takes_hold || (hosted->retires_ns != 0 && now_ns >= hosted->retires_ns);
    if (retires && !hosted->takes_hold && !pst_checkpoint_quiet(run))
        retires = retires_later(node, hosted, now_ns);
    else if (!retires && hosted->retires_ns != 0)
        (void)node->world->alarm(node->world->self, 0, hosted->retires_ns);
    if ((!hosted->any_lost && !retires) || hosted->superseded ||
        hosted->attached + 1 != (uint64_t)1 << node->worker_count ||
        atomic_load_explicit(&run->finish, memory_order_relaxed)) /* nobody would stand still */
        return false;
    if (run->hold == 0) {
        hosted->takes_hold = true;
        pst_run_hold(run);
        return true;
    }
    if (!pst_run_held(run))
        return true;
    hosted->takes_hold = false;
    for (uint32_t k = 0; k < hosted->site.node_count; k++) {
        if (hosted->lost[k] == 0)
            continue;
        node_lost(run, hosted->mover, k, hosted->lost[k]);
        hosted->peer_left[k] = true;
        hosted->lost[k] = 0;
    }
    for (uint32_t i = 0; i < hosted->gone_count; i++)
        partition_gone(run, &hosted->gone[i]);
    hosted->gone_count = 0;
    hosted->any_lost = false;
    hosted->retires_ns = 0;
    if (left_over_retire(run))
        (void)retires_later(node, hosted, now_ns);
    pst_run_release(run);
    node->any = true;
    return true;
}
