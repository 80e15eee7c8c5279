/* test_moves.c - partitions move between nodes while the stream runs: whatever moves where, and however late each node hears of each
 * step, the outputs are those of one process (P1, P2, P6). What the coordinator says is said here by a conductor that is nowhere. */
#include "tests/sim/graphs.h"
#include "tests/sim/mesh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the conductor: one move at a time, each step on one node after the other, in between any number of turns ---- */
enum step {
    REST,
    OPEN,
    COPY,
    HAND_OVER,
    CATCH_UP,
    DOWNSTREAM,
    TAKER,
    GIVER,
    DRAIN,
    UPSTREAM,
    SETTLE,
    ENDING,
    JOIN,
    JOINING,
    REROUTE,
    DRAINED,
    RETIRE,
    DROP
};

enum { NARROW_BYTES = 64 * 1024 }; /* of a way, where state_bytes_min says that there is much to go through it */

/* What loses rows where the engine is right: the lane is told a later cut than all others; a consumer takes the next row for one that it
 * has had. */
enum planted { NOTHING_PLANTED, LANE_LATE, ROW_TAKEN_FOR_OLD };

struct conductor {
    struct sim random;
    enum step step;
    uint32_t moves_wanted, patience; /* turns until the next thing is done */
    struct move move;
    uint32_t buckets[PST_BUCKETS_MAX];
    bool done_on[MESH_NODES_MAX]; /* this step */
    int64_t after, stopped;
    uint64_t number; /* of the moves so far */
    uint32_t moves, aborted, overshot, full, full_after, failed, compared, joins, used_again;
    uint32_t times, buckets_taken; /* at which the buckets of a move were taken, all moves together; how many */
    uint32_t half_packed, half_read, dropped_amid; /* moves in which a bucket was; which then were given up */
    bool packs, reads;                             /* the move is one of these */
    /* moves in which a bucket was taken while one before it was packed; in which the digests were, while there was something to be packed */
    uint32_t ahead, early;
    bool takes_ahead, digests; /* the move is one of these */
    uint32_t taken_count;      /* of the move, so far; the last one at taken_at */
    int64_t taken_at;
    uint32_t amid_left;  /* it is given up when that was seen so often more; 0: it is not */
    uint64_t on_way_max; /* bytes of parcels at one moment, at most */
    uint64_t total_max;  /* of a move */
    char why[200];
    uint64_t lane_bytes_max; /* 0: as it is */
    uint64_t turn_bytes_max, stand_rows_max, digest_wait_ns;
    uint64_t state_bytes_min; /* of a partition, before buckets of it move */
    enum lane_mistake mistake;
    const char *seed;
    /* steady: a half of a partition goes, and comes back into it, again and again. So there are never more partitions than before. */
    bool steady, away;
    uint32_t away_operator, away_partition, away_from;
    uint64_t bytes_early,
        bytes_late; /* that the runs hold when all is back: at most within some moves; the last time */
    enum planted planted;
    bool to_plant;
    int64_t late; /* LANE_LATE: from here on the lane puts out */
    uint64_t numbers[PST_BUCKETS_MAX];
    uint64_t lost; /* rows, of all moves together */
};

static struct pst_ctx *partition_of(struct mesh *mesh, uint32_t operator_index, uint32_t partition)
{
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        struct pst_ctx *ctx = mesh->nodes[i]->run.partitions[operator_index][partition];
        if (ctx != NULL)
            return ctx;
    }
    return NULL;
}

/* What stays as long as the run does. */
static uint64_t bytes_held(const struct mesh *mesh)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        const struct run *run = &mesh->nodes[i]->run;
        bytes += run->arena.bytes_total + run->move_arena.bytes_total;
        bytes += run->instance_capacity * sizeof *run->instances + run->channel_capacity * sizeof *run->channels;
        for (uint32_t k = 0; k < run->instance_count; k++)
            bytes += run->instances[k]->arena.bytes_total + run->instances[k]->user_arena.bytes_total;
    }
    return bytes;
}

static uint32_t node_of(const struct mesh *mesh, uint32_t operator_index, uint32_t partition)
{
    uint32_t i = 0;
    while (i < mesh->node_count && mesh->nodes[i]->run.partitions[operator_index][partition] == NULL)
        i++;
    return i;
}

/* As `steady` says. */
static bool choose_steady(struct mesh *mesh, struct conductor *c)
{
    const struct run *run = &mesh->nodes[0]->run;
    if (c->away) {
        uint32_t n = c->away_operator, home = node_of(mesh, n, c->away_from), to = 0;
        struct pst_ctx *giver = partition_of(mesh, n, c->away_partition);
        while (partition_of(mesh, n, to) != NULL)
            to++;
        if (giver->ended || to == run->graph->nodes[n].bucket_count)
            return false;
        c->move = (struct move){.id = ++c->number,
                                .operator_index = n,
                                .from = c->away_partition,
                                .to = to,
                                .to_node = home,
                                .into = c->away_from,
                                .buckets = c->buckets,
                                .bucket_count = giver->owned_count};
        memcpy(c->buckets, giver->buckets, giver->owned_count * sizeof *c->buckets);
        return true;
    }
    uint32_t n = (uint32_t)sim_random(&c->random, run->graph->node_count), to = 0;
    if (run->graph->nodes[n].op->role != PST_ROLE_PLAIN)
        return false;
    while (to < run->graph->nodes[n].bucket_count && partition_of(mesh, n, to) != NULL)
        to++;
    uint32_t p = (uint32_t)sim_random(&c->random, run->partition_count[n]);
    struct pst_ctx *giver = partition_of(mesh, n, p);
    if (giver == NULL || giver->ended || giver->owned_count < 2 || to == run->graph->nodes[n].bucket_count)
        return false;
    c->move = (struct move){.id = ++c->number,
                            .operator_index = n,
                            .from = p,
                            .to = to,
                            .to_node = (node_of(mesh, n, p) + 1) % mesh->node_count,
                            .into = NO_PARTITION,
                            .buckets = c->buckets,
                            .bucket_count = giver->owned_count / 2};
    memcpy(c->buckets, giver->buckets, c->move.bucket_count * sizeof *c->buckets);
    return true;
}

/* A steady move is over. */
static void steady_look(struct mesh *mesh, struct conductor *c, bool aborted)
{
    if (!aborted) {
        c->away = !c->away;
        c->away_operator = c->move.operator_index;
        c->away_partition = c->move.to;
        c->away_from = c->move.from;
    }
    if (c->away)
        return;
    c->bytes_late = bytes_held(mesh);
    if (c->moves + c->aborted <= 20 && c->bytes_late > c->bytes_early)
        c->bytes_early = c->bytes_late;
}

/* A partition with buckets, and somewhere to go. */
static bool choose(struct mesh *mesh, struct conductor *c)
{
    const struct run *run = &mesh->nodes[0]->run;
    if (c->steady)
        return choose_steady(mesh, c);
    uint32_t n = (uint32_t)sim_random(&c->random, run->graph->node_count);
    const struct pst_graph_node *node = &run->graph->nodes[n];
    uint32_t to = 0; /* the lowest number that is free: it may have been used before */
    while (node->op->role == PST_ROLE_PLAIN && to < node->bucket_count && partition_of(mesh, n, to) != NULL)
        to++;
    if (node->op->role != PST_ROLE_PLAIN || to == node->bucket_count)
        return false;
    uint32_t p = (uint32_t)sim_random(&c->random, run->partition_count[n]);
    struct pst_ctx *giver = partition_of(mesh, n, p);
    if (giver == NULL || giver->owned_count == 0 || giver->ended ||
        (c->state_bytes_min != 0 && pst_state_bytes(giver->state) < c->state_bytes_min))
        return false;
    c->move = (struct move){.id = ++c->number,
                            .operator_index = n,
                            .from = p,
                            .to = to,
                            .to_node = (uint32_t)sim_random(&c->random, mesh->node_count),
                            .into = NO_PARTITION,
                            .whole = c->state_bytes_min == 0 && c->number % 5 == 0, /* to an earlier version */
                            .buckets = c->buckets};
    uint32_t into = (uint32_t)sim_random(&c->random, run->partition_count[n]);
    for (uint32_t i = 0; i < run->partition_count[n] && c->number % 2 == 0;
         i++, into = (into + 1) % run->partition_count[n])
        if (into != p && mesh->nodes[c->move.to_node]->run.partitions[n][into] != NULL)
            c->move.into = into;
    c->used_again += run->born[n][to] != 0;
    bool all = sim_random(&c->random, 2) == 0;
    for (uint32_t i = 0; i < giver->owned_count; i++)
        if (all || sim_random(&c->random, 2) == 0)
            c->buckets[c->move.bucket_count++] = giver->buckets[i];
    return c->move.bucket_count != 0;
}

static bool over(const struct mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->node_count; i++)
        for (uint32_t k = 0; k < mesh->nodes[i]->run.instance_count; k++)
            if (mesh->nodes[i]->run.instances[k]->ended)
                return true;
    return false;
}

/* Does `what` on one more node, standing still; true: it was the last. */
static bool on_each(struct mesh *mesh, struct conductor *c, void (*what)(struct mesh_node *node, struct conductor *c))
{
    uint32_t i = (uint32_t)sim_random(&c->random, mesh->node_count);
    struct run *run = &mesh->nodes[i]->run;
    if (c->done_on[i])
        return false;
    if (run->hold == 0) {
        pst_run_hold(run);
    } else if (pst_run_held(run)) {
        what(mesh->nodes[i], c);
        pst_run_release(run);
        c->done_on[i] = true;
    }
    for (uint32_t k = 0; k < mesh->node_count; k++)
        if (!c->done_on[k])
            return false;
    memset(c->done_on, 0, sizeof c->done_on);
    return true;
}

/* Of one bucket, in one consumer. */
static void row_make_old(struct mesh_node *node, struct conductor *c)
{
    for (uint32_t i = 0; i < node->run.instance_count; i++) {
        struct pst_ctx *ctx = node->run.instances[i];
        struct filter *filter = ctx->retired ? NULL : ctx->filter;
        for (uint32_t k = 0; filter != NULL && filter->taken != NULL && k < ctx->node->input_count; k++) {
            if (ctx->node->inputs[k].producer != c->move.operator_index)
                continue;
            filter->taken[k][c->buckets[0]].next++;
            c->to_plant = false;
            return;
        }
    }
}

static void do_open(struct mesh_node *node, struct conductor *c)
{
    assert_int_equal(pst_lane_open(&node->run, &c->move, NULL), PST_OK);
    struct lane *lane = pst_lane_of(&node->run, &c->move);
    if (lane != NULL)
        lane->mistake = c->mistake;
    int64_t branched = pst_lane_branched(&node->run, &c->move);
    c->after = branched > c->after ? branched : c->after;
}
static void do_copy(struct mesh_node *node, struct conductor *c)
{
    assert_int_equal(pst_lane_copy(&node->run, &c->move, c->after), PST_OK);
}
static void do_downstream(struct mesh_node *node, struct conductor *c)
{
    pst_lane_commit_downstream(&node->run, &c->move, c->move.cut);
    if (c->to_plant)
        row_make_old(node, c);
}
static void do_taker(struct mesh_node *node, struct conductor *c)
{
    pst_lane_commit_taker(&node->run, &c->move, c->late > c->move.cut ? c->late : c->move.cut);
}
static void do_giver(struct mesh_node *node, struct conductor *c)
{
    pst_lane_commit_giver(&node->run, &c->move, c->move.cut);
}
static void do_upstream(struct mesh_node *node, struct conductor *c)
{
    pst_lane_release_upstream(&node->run, &c->move);
}
/* In what follows the lane, or the giver, of the move has left out. */
static void do_count(struct mesh_node *node, struct conductor *c)
{
    uint64_t rows = 0;
    assert_true(pst_lane_lost(&node->run, &c->move, c->numbers, &rows));
    assert_int_equal(pst_lane_lost(&node->run, &c->move, NULL, &(uint64_t){0}),
                     pst_lane_of(&node->run, &c->move) == NULL);
    c->lost += rows;
}
static void do_settle(struct mesh_node *node, struct conductor *c)
{
    do_count(node, c);
    pst_lane_release_downstream(&node->run, &c->move);
}
static void do_join(struct mesh_node *node, struct conductor *c)
{
    assert_int_equal(pst_lane_join(&node->run, &c->move, c->after), PST_OK);
}
static void do_reroute(struct mesh_node *node, struct conductor *c)
{
    int64_t from = pst_lane_reroute(&node->run, &c->move);
    c->after = from > c->after ? from : c->after;
}
static void do_retire(struct mesh_node *node, struct conductor *c) { pst_lane_retire(&node->run, &c->move); }
static void do_drop(struct mesh_node *node, struct conductor *c) { pst_lane_drop(&node->run, &c->move); }

/* Every consumer of the operator has what came twice; and what the lane keeps back for too long, it has kept back. */
static bool settled(struct mesh *mesh, const struct conductor *c, const struct pst_ctx *giver)
{
    int64_t until = giver->giving->stopped ? giver->giving->stopped_at : INT64_MAX;
    const struct pst_ctx *lane = partition_of(mesh, c->move.operator_index, c->move.to);
    if (!lane->ended && c->late > lane->now)
        return false;
    for (uint32_t i = 0; i < mesh->node_count; i++)
        if (!pst_lane_settled(&mesh->nodes[i]->run, &c->move, until))
            return false;
    return true;
}

/* M5: a bound is reached somewhere. */
static bool overflows(struct mesh *mesh, const struct conductor *c)
{
    for (uint32_t i = 0; i < mesh->node_count; i++)
        if (pst_lane_overflows(&mesh->nodes[i]->run, &c->move))
            return true;
    return false;
}

static bool is_half_packed(const struct giving *giving)
{
    return giving->packings.count != 0 && pst_packing(&giving->packings, 0)->parts;
}

/* P5: what is on its way is bounded, whatever the state. */
static void watch(struct conductor *c, const struct pst_ctx *giver, const struct lane *lane)
{
    const struct giving *giving = giver->giving;
    c->total_max = giving->bytes_total > c->total_max ? giving->bytes_total : c->total_max;
    const bool half = is_half_packed(giving);
    c->half_packed += !c->packs && half;
    c->packs |= half;
    c->ahead += !c->takes_ahead && giving->packings.count > 1 && half;
    c->takes_ahead |= giving->packings.count > 1 && half;
    c->early += giving->digested && !c->digests && giving->packings.count != 0;
    c->digests |= giving->digested;
    if (giving->taken_count > c->taken_count) {
        c->times += c->taken_count == 0 || giving->taken_at != c->taken_at;
        c->taken_count = giving->taken_count;
        c->taken_at = giving->taken_at;
    }
    c->half_read += lane != NULL && !c->reads && lane->goes_on;
    c->reads |= lane != NULL && lane->goes_on;
    uint64_t on_way = giving->bytes_put - giving->way->bytes_arrived;
    c->on_way_max = on_way > c->on_way_max ? on_way : c->on_way_max;
}

static void next(struct conductor *c, enum step step)
{
    c->step = step;
    c->patience = c->steady || sim_random(&c->random, 3) == 0 ? 0 : (uint32_t)sim_random(&c->random, 200);
}

static void conduct(struct mesh *mesh, void *argument)
{
    struct conductor *c = argument;
    struct pst_ctx *giver = c->step != REST ? partition_of(mesh, c->move.operator_index, c->move.from) : NULL;
    struct lane *lane = NULL;
    const struct join *join;
    bool tight =
        c->lane_bytes_max != 0 && (c->move.id % 2 == 1 || c->step >= DOWNSTREAM); /* some from when they are decided */
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        mesh->nodes[i]->run.lane_bytes_max = tight ? c->lane_bytes_max : LANE_BYTES_MAX;
        mesh->nodes[i]->run.turn_bytes_max = c->turn_bytes_max;
        mesh->nodes[i]->run.stand_rows_max = c->stand_rows_max;
        mesh->nodes[i]->run.way_bytes_max = c->state_bytes_min != 0 ? NARROW_BYTES : WAY_BYTES_MAX;
        mesh->nodes[i]->run.digest_wait_ns = c->digest_wait_ns;
    }
    if (c->patience != 0 && c->patience-- != 0)
        return;
    for (uint32_t i = 0; i < mesh->node_count && c->step > OPEN; i++)
        lane = lane != NULL ? lane : pst_lane_of(&mesh->nodes[i]->run, &c->move);
    switch (c->step) {
    case REST:
        if (c->moves_wanted == 0) {
            mesh->busy = false;
            for (uint32_t i = 0; i < mesh->node_count; i++) {
                mesh->nodes[i]->scene.sim.notified[0] = true;
                if (c->steady) /* what is left of the stream is nobody's concern */
                    atomic_store(&mesh->nodes[i]->scene.sim.interrupts, 1);
            }
        } else if (choose(mesh, c)) {
            c->moves_wanted--;
            c->after = INT64_MIN;
            c->packs = c->reads = c->takes_ahead = c->digests = false;
            c->taken_count = 0;
            c->amid_left = sim_random(&c->random, 4) == 0 ? 1 + (uint32_t)sim_random(&c->random, 100) : 0;
            next(c, OPEN);
        } else if (sim_random(&c->random, 50) == 0 && ((c->state_bytes_min == 0 && !c->steady) || over(mesh))) {
            c->moves_wanted--; /* it may be over */
        }
        break;
    case OPEN:
        if (on_each(mesh, c, do_open))
            next(c, sim_random(&c->random, 10) == 0 ? DROP : COPY);
        break;
    case COPY:
        if (on_each(mesh, c, do_copy))
            next(c, HAND_OVER);
        break;
    case HAND_OVER:
        watch(c, giver, lane);
        if (giver->giving->given) {
            assert_int_equal(giver->giving->error, PST_OK);
            next(c, CATCH_UP);
        } else if (giver->ended) {
            next(c, DROP);
        } else if (overflows(mesh, c)) { /* who waits for the lane may be the one that feeds the giver */
            c->full++;
            next(c, DROP);
        } else if ((is_half_packed(giver->giving) || (lane != NULL && lane->goes_on)) && c->amid_left != 0 &&
                   --c->amid_left == 0) {
            c->dropped_amid++;
            next(c, DROP);
            c->patience = 0;
        }
        break;
    case CATCH_UP:
        PST_ASSERT(lane != NULL);
        watch(c, giver, lane);
        if (lane->state == LANE_FAILED) {
            c->failed++;
            (void)snprintf(c->why, sizeof c->why, "%s", lane->why);
            next(c, DROP);
        } else if (lane->state == LANE_INSTALLED) {
            int64_t epoch = giver->node->epoch;
            c->move.cut = giver->now + (int64_t)sim_random(&c->random, 4) * epoch - epoch;
            c->move.cut = c->move.cut < lane->from ? lane->from : c->move.cut;
            if (sim_random(&c->random, 2) == 0 || c->planted != NOTHING_PLANTED)
                c->move.cut = lane->from; /* as the coordinator does */
            c->late = c->planted == LANE_LATE ? giver->now + 4 * epoch : INT64_MIN;
            c->to_plant = c->planted == ROW_TAKEN_FOR_OLD;
            c->compared += lane->compared_count;
            c->buckets_taken += c->move.bucket_count;
            next(c, sim_random(&c->random, 6) == 0 ? DROP : DOWNSTREAM);
        } else if (overflows(mesh, c)) {
            c->full++;
            next(c, DROP);
        }
        break;
    case DOWNSTREAM:
        if (on_each(mesh, c, do_downstream))
            next(c, TAKER); /* decided: full or not, it goes on */
        break;
    case TAKER:
        if (on_each(mesh, c, do_taker)) {
            c->full_after += overflows(mesh, c);
            next(c, GIVER);
        }
        break;
    case GIVER:
        if (on_each(mesh, c, do_giver))
            next(c, DRAIN);
        break;
    case DRAIN:
        if (giver->giving->stopped || giver->ended) {
            c->stopped = giver->giving->stopped ? giver->giving->stopped_at : INT64_MAX;
            c->overshot += giver->giving->stopped && giver->giving->stopped_at > c->move.cut;
            next(c, UPSTREAM);
        }
        break;
    case UPSTREAM:
        if (on_each(mesh, c, do_upstream))
            next(c, SETTLE);
        break;
    case SETTLE:
        if (settled(mesh, c, giver)) {
            memcpy(c->numbers, giver->giving->numbers, c->move.bucket_count * sizeof *c->numbers);
            next(c, ENDING);
        }
        break;
    case ENDING:
        if (on_each(mesh, c, do_settle)) {
            c->after = c->stopped;
            next(c, c->move.into != NO_PARTITION ? JOIN : RETIRE);
        }
        break;
    case JOIN:
        if (on_each(mesh, c, do_join))
            next(c, JOINING);
        break;
    case JOINING:
        join = pst_lane_joining(&mesh->nodes[c->move.to_node]->run, &c->move);
        if (join->done) {
            c->after = join->joined ? join->at : INT64_MAX;
            c->joins += join->joined;
            next(c, REROUTE);
        }
        break;
    case REROUTE:
        if (on_each(mesh, c, do_reroute))
            next(c, DRAINED);
        break;
    case DRAINED:
        for (uint32_t i = 0; i < mesh->node_count; i++)
            if (!pst_lane_drained(&mesh->nodes[i]->run, &c->move, c->after))
                return;
        next(c, RETIRE);
        break;
    case RETIRE:
        if (on_each(mesh, c, do_retire)) {
            c->moves++;
            if (c->steady)
                steady_look(mesh, c, false);
            c->move = (struct move){0};
            next(c, REST);
        }
        break;
    case DROP:
        if (on_each(mesh, c, do_drop)) {
            c->aborted++;
            if (c->steady)
                steady_look(mesh, c, true);
            next(c, REST);
        }
        break;
    }
}

/* ---- tests ---- */

struct trial {
    const char *graph;
    void (*input)(struct scene *scene, const char *graph);
    uint64_t seeds;
    uint32_t break_every;
    uint64_t lane_bytes_max;
    uint64_t state_bytes_min;
    enum planted planted;
    enum lane_mistake mistake; /* then each move is cut into turns of one bucket, and all of them are compared */
};

static void conductor_init(struct conductor *c, const struct trial *trial, uint64_t seed)
{
    c->random.random = seed * 31;
    c->moves_wanted = 1 + (uint32_t)sim_random(&c->random, 6);
    c->lane_bytes_max = trial->lane_bytes_max;
    c->state_bytes_min = trial->state_bytes_min;
    c->turn_bytes_max = sim_random(&c->random, 2) == 0 ? TURN_BYTES_MAX : 1; /* 1: a bucket a turn */
    if (c->state_bytes_min != 0)                                             /* buckets of megabytes */
        c->turn_bytes_max = 1 + sim_random(&c->random, 4 * NARROW_BYTES);
    c->stand_rows_max = sim_random(&c->random, 2) == 0 ? STAND_ROWS_MAX : 0; /* 0: a turn at a time */
    c->digest_wait_ns = sim_random(&c->random, 3) == 0 ? 1000000 : UINT64_MAX / 2;
    c->mistake = trial->mistake;
    c->planted = trial->planted;
    if (c->planted != NOTHING_PLANTED)
        c->moves_wanted = 1;
    if (c->mistake == LANE_CORRECT)
        return;
    c->turn_bytes_max = 1;
    c->stand_rows_max = 0;
    c->digest_wait_ns = UINT64_MAX / 2;
}

static void conductor_add(struct conductor *sum, const struct conductor *c)
{
    sum->moves += c->moves;
    sum->aborted += c->aborted;
    sum->half_packed += c->half_packed;
    sum->ahead += c->ahead;
    sum->early += c->early;
    sum->half_read += c->half_read;
    sum->dropped_amid += c->dropped_amid;
    sum->overshot += c->overshot;
    sum->full += c->full;
    sum->full_after += c->full_after;
    sum->times += c->times;
    sum->buckets_taken += c->buckets_taken;
    sum->compared += c->compared;
    sum->joins += c->joins;
    sum->used_again += c->used_again;
    sum->failed += c->failed;
    sum->lost += c->lost;
    sum->on_way_max = c->on_way_max > sum->on_way_max ? c->on_way_max : sum->on_way_max;
    sum->total_max = c->total_max > sum->total_max ? c->total_max : sum->total_max;
}

static uint64_t lines_of(const struct pst_text *bytes)
{
    uint64_t lines = 0;
    for (size_t at = 0; at < bytes->count; at++)
        lines += bytes->bytes[at] == '\n';
    return lines;
}

/* In the outputs of the mesh, whose runs end with it. */
static uint64_t lines_missing(const struct scene *wanted, struct mesh *mesh)
{
    uint64_t lines = 0;
    for (uint32_t i = 0; i < mesh->node_count; i++)
        assert_int_equal(pst_run_end(&mesh->nodes[i]->run), PST_OK);
    for (uint32_t f = 0; f < wanted->sim.file_count; f++) {
        const struct sim_file *file = &wanted->sim.files[f];
        uint32_t i = 0;
        while (i < mesh->node_count && !scene_there(&mesh->nodes[i]->scene, file->name))
            i++;
        assert_true(i < mesh->node_count);
        lines += lines_of(&file->bytes) - lines_of(scene_file(&mesh->nodes[i]->scene, file->name));
    }
    return lines;
}

/* The outputs are always the same, and no row is counted as lost, or so many are missing as are counted; what there was besides is in
 * *ret_sum. */
static void try_seeds(const struct trial *trial, struct conductor *ret_sum)
{
    struct scene wanted;
    scene_init(&wanted, 1);
    trial->input(&wanted, trial->graph);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, trial->graph), PST_OK);
    memset(ret_sum, 0, sizeof *ret_sum);
    for (uint64_t seed = 1; seed <= trial->seeds; seed++) {
        struct mesh mesh;
        struct conductor *conductor = calloc(1, sizeof *conductor);
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, trial->graph, trial->input);
        mesh.net.break_every = trial->break_every;
        mesh.busy = true;
        conductor_init(conductor, trial, seed);
        mesh_run(&mesh, conduct, conductor, what);
        if (trial->planted == NOTHING_PLANTED)
            mesh_same(&wanted, &mesh, what);
        uint64_t missing = trial->planted == NOTHING_PLANTED ? 0 : lines_missing(&wanted, &mesh);
        if (conductor->lost != missing)
            fail_msg("%s: %llu rows are lost, %llu were counted", what, (unsigned long long)missing,
                     (unsigned long long)conductor->lost);
        if (conductor->failed != 0 && trial->mistake == LANE_CORRECT)
            fail_msg("%s: %s", what, conductor->why);
        conductor_add(ret_sum, conductor);
        mesh_fini(&mesh);
        free(conductor);
    }
    print_message(
        "%u moves, %u given up, in %u the giver went beyond the cut; %u buckets at %u times, %u compared; %u joins, "
        "%u numbers used again; %u with buckets half packed, %u half read, %u given up then; in %u one was taken "
        "ahead, in %u the digests\n",
        ret_sum->moves, ret_sum->aborted, ret_sum->overshot, ret_sum->buckets_taken, ret_sum->times, ret_sum->compared,
        ret_sum->joins, ret_sum->used_again, ret_sum->half_packed, ret_sum->half_read, ret_sum->dropped_amid,
        ret_sum->ahead, ret_sum->early);
    scene_fini(&wanted);
}

static void moves_change_nothing(const char *graph, void (*input)(struct scene *scene, const char *graph),
                                 uint32_t break_every, uint64_t lane_bytes_max, uint64_t seeds)
{
    struct trial trial = {
        .graph = graph, .input = input, .seeds = seeds, .break_every = break_every, .lane_bytes_max = lane_bytes_max};
    struct conductor sum;
    try_seeds(&trial, &sum);
    scene_shows(sum.moves > seeds / 2 && sum.aborted > 0 && sum.times > sum.moves && sum.compared > 0);
    assert_true(seeds < 50 || (sum.joins > 0 && sum.used_again > 0));
    if (lane_bytes_max != 0) {
        print_message("%u full before they were decided, %u after\n", sum.full, sum.full_after);
        assert_true(seeds < 20 || (sum.full > 0 && sum.full_after > 0));
    }
}

static void query_1_moves(void **state)
{
    (void)state;
    moves_change_nothing(LOAD, mesh_query_input, 0, 0, scene_seeds(100));
}

static void query_2_moves(void **state)
{
    (void)state;
    moves_change_nothing(OUTLIERS, mesh_query_input, 0, 0, scene_seeds(100));
}

static void diamonds_and_total_orders_move(void **state)
{
    (void)state;
    moves_change_nothing(diamonds, mesh_rows_input, 0, 0, scene_seeds(60));
    moves_change_nothing(totals, mesh_rows_input, 0, 0, scene_seeds(60));
}

static void they_move_while_connections_break(void **state)
{
    (void)state;
    moves_change_nothing(LOAD, mesh_query_input, 500, 0, scene_seeds(50));
    moves_change_nothing(OUTLIERS, mesh_query_input, 500, 0, scene_seeds(50));
}

/* The bound is a few frames: a lane that is given up for it, and one that is full when it is decided (P2). */
static void a_full_lane_loses_nothing(void **state)
{
    (void)state;
    moves_change_nothing(OUTLIERS, mesh_query_input, 0, 4000, scene_seeds(100));
    moves_change_nothing(diamonds, mesh_rows_input, 0, 4000, scene_seeds(100));
}

/* Megabytes a bucket: what is on its way is as much as the way has room for, and a bucket. */
static const char *const hoards =
    SOURCE "  - {id: kept, type: hoard, inputs: [rows], key: [k], partitions: \"${partitions}\", buckets: 16, "
           "params: {key_field: k, value: v, epoch: 20}}\n" SINK("kept_out", "kept", "at, key, value");

static void many_rows_input(struct scene *scene, const char *graph)
{
    (void)graph;
    scene_put_rows(scene, 7, 9000, 6000, 4);
}

static void big_buckets_go_through_a_narrow_way(void **state)
{
    (void)state;
    struct trial trial = {
        .graph = hoards, .input = many_rows_input, .seeds = scene_seeds(24), .state_bytes_min = 8u << 20};
    struct conductor sum;
    try_seeds(&trial, &sum);
    print_message("%llu KiB on the way at most, of %llu KiB\n", (unsigned long long)sum.on_way_max / 1024,
                  (unsigned long long)sum.total_max / 1024);
    assert_true(sum.on_way_max < 8 * NARROW_BYTES); /* a parcel more: a bucket goes in parts */
    scene_shows(sum.total_max > 2 * sum.on_way_max && sum.moves > 2 && sum.half_packed > 2 && sum.half_read > 2 &&
                sum.dropped_amid > 0 && sum.ahead > 2 && sum.early > 0);
}

/* Short epochs, so that moves are soon over; a stream that lasts. */
static const char *const brisk = SOURCE OPERATOR("twisted", "twist", "rows", "k", "key_field: k, value: v, epoch: 5")
    OPERATOR("keyed", "sequence", "twisted", "key", "key_field: key, value: value, epoch: 5")
        SINK("keyed_out", "keyed", "at, number, key, digest, value");

static void lasting_input(struct scene *scene, const char *graph)
{
    (void)graph;
    scene->sim.again_percent = 90;
    scene->sim.read_bytes_max = 1000;
    scene_put_rows(scene, 9, 250000, 60, 30);
}

/* What a move takes goes with it: a graph that is moved about for months holds no more than after some hours. */
static void moves_leave_nothing_behind(void **state)
{
    (void)state;
    enum { MOVES = 200 };
    for (uint64_t seed = 1, seeds = scene_seeds(4); seed <= seeds; seed++) {
        struct mesh mesh;
        struct conductor *conductor = calloc(1, sizeof *conductor);
        struct trial trial = {.graph = brisk, .mistake = LANE_CORRECT};
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, trial.graph, lasting_input);
        mesh.busy = true;
        conductor_init(conductor, &trial, seed);
        conductor->moves_wanted = MOVES;
        conductor->steady = true;
        mesh_run(&mesh, conduct, conductor, what);
        print_message("%u moves, %u given up, %u joins: %llu KiB after 20 at most, %llu KiB after all\n",
                      conductor->moves, conductor->aborted, conductor->joins,
                      (unsigned long long)conductor->bytes_early / 1024,
                      (unsigned long long)conductor->bytes_late / 1024);
        assert_true(conductor->moves + conductor->aborted == MOVES && conductor->joins > MOVES / 4);
        assert_true(conductor->bytes_late <= conductor->bytes_early + mesh.node_count * 32u * 1024);
        for (uint32_t i = 0; i < mesh.node_count; i++) {
            int rc = pst_run_end(&mesh.nodes[i]->run);
            assert_true(rc == PST_OK || rc == PST_ESTOPPED);
        }
        mesh_fini(&mesh);
        free(conductor);
    }
}

static void mistake_is_caught(const char *graph, void (*input)(struct scene *scene, const char *graph),
                              enum lane_mistake mistake)
{
    struct trial trial = {.graph = graph, .input = input, .seeds = scene_seeds(20), .mistake = mistake};
    struct conductor sum;
    try_seeds(&trial, &sum);
    print_message("%u caught\n", sum.failed);
    assert_true(sum.failed >= trial.seeds / 4);
}

/* The bytes are right all the same: what is different is given up before it is decided. */
static void a_lane_that_takes_rows_below_its_vector_is_caught(void **state)
{
    (void)state;
    mistake_is_caught(totals, mesh_rows_input, LANE_TAKES_TWICE); /* of diamonds some operators fail by themselves */
    mistake_is_caught(OUTLIERS, mesh_query_input, LANE_TAKES_TWICE);
}

static void a_lane_that_loses_a_row_above_its_vector_is_caught(void **state)
{
    (void)state;
    mistake_is_caught(hoards, mesh_rows_input, LANE_LOSES_ONE);
    mistake_is_caught(OUTLIERS, mesh_query_input, LANE_LOSES_ONE);
}

/* Of an operator whose rows a sink writes: each that is lost is a line that is missing. */
static void each_row_that_is_lost_is_counted(void **state)
{
    (void)state;
    enum planted planted[] = {LANE_LATE, ROW_TAKEN_FOR_OLD};
    for (int i = 0; i < 2; i++) {
        struct trial trial = {
            .graph = hoards, .input = mesh_rows_input, .seeds = scene_seeds(60), .planted = planted[i]};
        struct conductor sum;
        try_seeds(&trial, &sum);
        print_message("%llu rows lost\n", (unsigned long long)sum.lost);
        assert_true(trial.seeds < 20 || sum.lost > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_moves),
        cmocka_unit_test(query_2_moves),
        cmocka_unit_test(diamonds_and_total_orders_move),
        cmocka_unit_test(they_move_while_connections_break),
        cmocka_unit_test(a_full_lane_loses_nothing),
        cmocka_unit_test(big_buckets_go_through_a_narrow_way),
        cmocka_unit_test(moves_leave_nothing_behind),
        cmocka_unit_test(a_lane_that_takes_rows_below_its_vector_is_caught),
        cmocka_unit_test(a_lane_that_loses_a_row_above_its_vector_is_caught),
        cmocka_unit_test(each_row_that_is_lost_is_counted),
    };
    if (getenv("PST_TEST_ONLY") != NULL)
        cmocka_set_test_filter(getenv("PST_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
