/* mover.c - see mover.h: a node's part in a move. */
#include "engine/mover.h"

#include <string.h>

#define SETTLE_NS (UINT64_C(2) * 1000 * 1000)

void pst_mover_free(struct mover *mover) { pst_free(mover); }

static struct hosted *hosted_find(const struct pst_node *node, const Pst__Control *message)
{
    for (uint32_t i = 0; i < node->hosted_count; i++) {
        struct hosted *hosted = node->hosted[i];
        if (strcmp(hosted->graph_name, message->graph) == 0 && hosted->incarnation == message->incarnation &&
            hosted->begun && !hosted->superseded)
            return hosted;
    }
    return NULL;
}

static void answer(struct pst_node *node, struct hosted *hosted, Pst__Step step, int64_t time, const char *why)
{
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.step = step;
    body.time = time;
    body.why = (char *)(uintptr_t)why;
    message.graph = hosted->graph_name;
    message.incarnation = hosted->incarnation;
    message.move = hosted->mover->move.id;
    message.body_case = PST__CONTROL__BODY_MOVE_STEP;
    message.move_step = &body;
    pst_node_tell(node, &message);
}

static void refuse(struct pst_node *node, struct hosted *hosted, const char *why)
{
    if (!hosted->mover->refused)
        answer(node, hosted, PST__STEP__REFUSED, 0, why);
    hosted->mover->refused = true;
}

/* ---- what is told ---- */

static uint32_t site_index(const struct site *site, const char *name)
{
    uint32_t i = 0;
    while (i < site->node_count && strcmp(site->name[i], name) != 0)
        i++;
    return i;
}

/* False: it is of another graph than this one. */
static bool move_read(struct hosted *hosted, const Pst__Control *message, struct mover *mover)
{
    const Pst__MoveStep *body = message->move_step;
    const struct pst_graph *graph = hosted->graph;
    uint32_t n = 0, to_node = site_index(&hosted->site, body->to_node);
    while (n < graph->node_count && strcmp(graph->nodes[n].id, body->operator_id) != 0)
        n++;
    if (n == graph->node_count || graph->nodes[n].op->role != PST_ROLE_PLAIN || to_node == hosted->site.node_count ||
        body->to_partition >= graph->nodes[n].bucket_count || body->from_partition >= hosted->run.partition_count[n] ||
        body->n_buckets == 0 || body->n_buckets > graph->nodes[n].bucket_count)
        return false;
    for (size_t i = 0; i < body->n_buckets; i++) {
        mover->buckets[i] = body->buckets[i];
        if (body->buckets[i] >= graph->nodes[n].bucket_count || (i != 0 && body->buckets[i] <= body->buckets[i - 1]))
            return false;
    }
    mover->move = (struct move){.id = message->move,
                                .operator_index = n,
                                .from = body->from_partition,
                                .to = body->to_partition,
                                .to_node = to_node,
                                .into = NO_PARTITION,
                                .buckets = mover->buckets,
                                .bucket_count = (uint32_t)body->n_buckets};
    return true;
}

void pst_mover_on(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message);
    const Pst__MoveStep *body = message->move_step;
    if (hosted == NULL)
        return;
    if (hosted->mover == NULL)
        hosted->mover = pst_calloc(1, sizeof *hosted->mover);
    struct mover *mover = hosted->mover;
    if (mover == NULL)
        return; /* its deadline ends the move */
    if (body->step == PST__STEP__PREPARE && !mover->open) {
        *mover = (struct mover){0};
        mover->move.id = message->move;
        bool over = atomic_load_explicit(&hosted->run.finish, memory_order_relaxed);
        if (over || !move_read(hosted, message, mover)) {
            refuse(node, hosted, over ? "the run is at its end" : "it is not of the graph that runs here");
            return;
        }
        mover->open = true;
    }
    if (!mover->open || mover->move.id != message->move) {
        if (body->step == PST__STEP__DROP) { /* it was refused here before it began */
            uint64_t own = mover->move.id;
            mover->move.id = message->move;
            answer(node, hosted, body->step, 0, "");
            mover->move.id = own;
        }
        return;
    }
    mover->told = body->step;
    mover->time = body->time;
    node->any = true;
}

/* ---- what is done ---- */

/* While workers stand still. */
static void act(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    Pst__Step step = mover->told;
    int64_t time = mover->time;
    int rc = PST_OK;
    mover->told = PST__STEP__STEP_UNSAID;
    switch (step) {
    case PST__STEP__PREPARE:
        rc = pst_lane_open(run, &mover->move);
        time = pst_lane_branched(run, &mover->move);
        break;
    case PST__STEP__COPY:
        rc = pst_lane_copy(run, &mover->move, time);
        break;
    case PST__STEP__LISTEN:
        pst_lane_commit_downstream(run, &mover->move, time);
        break;
    case PST__STEP__SPEAK:
        pst_lane_commit_taker(run, &mover->move, time);
        break;
    case PST__STEP__LEAVE:
        pst_lane_commit_giver(run, &mover->move, time);
        mover->left = pst_lane_giving(run, &mover->move) != NULL;
        break;
    case PST__STEP__RELEASE:
        pst_lane_release_upstream(run, &mover->move);
        break;
    case PST__STEP__SETTLE:
        pst_lane_release_downstream(run, &mover->move);
        mover->open = false;
        break;
    case PST__STEP__DROP:
        pst_lane_drop(run, &mover->move);
        mover->open = false;
        break;
    default:
        break;
    }
    if (rc != PST_OK)
        pst_run_fail(run, rc, "a move of operator %s cannot go on: %s",
                     run->graph->nodes[mover->move.operator_index].id, pst_error_sentence(rc));
    else if (step != PST__STEP__COPY && !(step == PST__STEP__LEAVE && mover->left))
        answer(node, hosted, step, time, "");
}

/* The image goes to whoever takes it. */
static void hand_over(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct giving *giving = pst_lane_giving(&hosted->run, &mover->move);
    if (giving == NULL || mover->handed)
        return;
    if (!atomic_load_explicit(&giving->imaged, memory_order_acquire)) {
        if (atomic_load_explicit(&giving->ended, memory_order_acquire))
            refuse(node, hosted, "the input has ended");
        return;
    }
    mover->handed = true;
    if (giving->error != PST_OK) {
        refuse(node, hosted, pst_error_sentence(giving->error));
        return;
    }
    pst_link_blob(&hosted->run, mover->move.to_node, mover->move.id, giving->blob);
    giving->blob = NULL;
}

/* What has become of the lane, and of what leads to it. */
static void look(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    struct lane *lane = pst_lane_of(run, &mover->move);
    if (pst_lane_overflows(run, &mover->move))
        refuse(node, hosted, "more rows wait for it than its bound allows");
    if (lane == NULL || mover->caught_up)
        return;
    struct blob *blob = pst_link_blob_take(run, mover->move.id);
    if (blob != NULL)
        pst_lane_hand(run, &mover->move, blob);
    int state = atomic_load_explicit(&lane->state, memory_order_acquire);
    if (state == LANE_FAILED)
        refuse(node, hosted, pst_error_sentence(lane->error));
    if (state != LANE_INSTALLED)
        return;
    mover->caught_up = true;
    answer(node, hosted, PST__STEP__CAUGHT_UP, lane->from, "");
}

static void stopped(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct giving *giving = pst_lane_giving(&hosted->run, &mover->move);
    if (!mover->left || giving == NULL)
        return;
    if (atomic_load_explicit(&giving->stopped, memory_order_acquire))
        answer(node, hosted, PST__STEP__LEAVE, giving->stopped_at, "");
    else if (atomic_load_explicit(&giving->ended, memory_order_acquire))
        answer(node, hosted, PST__STEP__LEAVE, INT64_MAX, "");
    else
        return;
    mover->left = false;
}

void pst_mover_step(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    if (mover == NULL || !mover->open || hosted->superseded ||
        hosted->attached + 1 != (uint64_t)1 << node->worker_count)
        return;
    /* Settled is looked at again with every news of the run; who waits for it stands still but for that moment. */
    bool waits = mover->waits_ns > node->world->now_ns(node->world->self);
    if (mover->told != PST__STEP__STEP_UNSAID && run->hold == 0 && !waits) {
        pst_run_hold(run);
        return;
    }
    if (run->hold != 0 && pst_run_held(run)) {
        bool ready = mover->told != PST__STEP__SETTLE || pst_lane_settled(run, &mover->move, mover->time);
        if (ready)
            act(node, hosted);
        pst_run_release(run);
        node->any |= ready;
        if (!ready)
            (void)node->world->alarm(node->world->self, 0, node->world->now_ns(node->world->self) + SETTLE_NS);
        mover->waits_ns = ready ? 0 : node->world->now_ns(node->world->self) + SETTLE_NS;
        return;
    }
    if (run->hold != 0 || !mover->open)
        return;
    hand_over(node, hosted);
    look(node, hosted);
    stopped(node, hosted);
}
