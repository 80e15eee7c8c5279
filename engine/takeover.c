/* takeover.c - a node is gone, and what it had of a graph is elsewhere, too: copies become owners while the run goes on (docs/cluster.md). */
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/lane.h"
#include "engine/mover.h"

/* ---- in the run, while its workers stand still ---- */

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
static void channel_lost(void *argument, struct channel *channel)
{
    struct run *run = argument;
    if (channel->producer != NULL) {
        pst_channel_drop(run, channel);
        return;
    }
    (void)pst_channel_hold(channel);
    channel->standby = true;
    if (channel->twin != NULL)
        channel->twin->twin = NULL;
    channel->twin = NULL;
    pst_link_remove(run, channel);
}

static void node_lost(struct run *run, uint32_t node, uint32_t takeover)
{
    for (uint32_t n = 0; n < run->graph->node_count; n++)
        for (uint32_t p = 0; run->graph->nodes[n].op->role == PST_ROLE_PLAIN && p < run->partition_count[n]; p++)
            if (run->site->node_of_partition[n][p] == node)
                partition_lost(run, n, p);
    pst_link_visit(run, node, channel_lost, run);
    pst_link_peer_ended(run, node);
    pst_checkpoint_go_on(run, true);
    if (takeover > atomic_load_explicit(&run->takeover, memory_order_relaxed))
        atomic_store_explicit(&run->takeover, takeover, memory_order_release);
    for (uint32_t w = 0; w < run->worker_count; w++)
        atomic_store_explicit(&run->workers[w].finished, false, memory_order_release);
}

/* ---- the keeper ---- */

void pst_takeover_told(struct hosted *hosted, uint32_t index, uint32_t takeover)
{
    hosted->lost[index] = takeover;
    hosted->any_lost = true;
}

bool pst_takeover_step(struct pst_node *node, struct hosted *hosted)
{
    struct run *run = &hosted->run;
    if (!hosted->any_lost || hosted->superseded || hosted->attached + 1 != (uint64_t)1 << node->worker_count ||
        atomic_load_explicit(&run->finish, memory_order_relaxed)) /* nobody would stand still */
        return false;
    if (run->hold == 0) {
        pst_run_hold(run);
        return true;
    }
    if (!pst_run_held(run))
        return true;
    for (uint32_t k = 0; k < hosted->site.node_count; k++) {
        if (hosted->lost[k] == 0)
            continue;
        node_lost(run, k, hosted->lost[k]);
        hosted->peer_left[k] = true;
        hosted->lost[k] = 0;
    }
    hosted->any_lost = false;
    pst_run_release(run);
    node->any = true;
    return true;
}
