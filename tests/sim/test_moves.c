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
    IMAGE,
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

struct conductor {
    struct sim random;
    enum step step;
    uint32_t moves_wanted, patience; /* turns until the next thing is done */
    struct move move;
    uint32_t buckets[PST_BUCKETS_MAX];
    bool done_on[MESH_NODES_MAX]; /* this step */
    int64_t after, stopped;
    uint32_t moves, aborted, overshot, full, full_after, joins, used_again;
    uint64_t number;         /* of the moves so far */
    uint64_t lane_bytes_max; /* 0: as it is */
    const char *seed;
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

/* A partition with buckets, and somewhere to go. */
static bool choose(struct mesh *mesh, struct conductor *c)
{
    const struct run *run = &mesh->nodes[0]->run;
    uint32_t n = (uint32_t)sim_random(&c->random, run->graph->node_count);
    const struct pst_graph_node *node = &run->graph->nodes[n];
    uint32_t to = 0; /* the lowest number that is free: it may have been used before */
    while (node->op->role == PST_ROLE_PLAIN && to < node->bucket_count && partition_of(mesh, n, to) != NULL)
        to++;
    if (node->op->role != PST_ROLE_PLAIN || to == node->bucket_count)
        return false;
    uint32_t p = (uint32_t)sim_random(&c->random, run->partition_count[n]);
    struct pst_ctx *giver = partition_of(mesh, n, p);
    if (giver == NULL || giver->owned_count == 0 || giver->ended)
        return false;
    c->move = (struct move){.id = ++c->number,
                            .operator_index = n,
                            .from = p,
                            .to = to,
                            .to_node = (uint32_t)sim_random(&c->random, mesh->node_count),
                            .into = NO_PARTITION,
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

static void do_open(struct mesh_node *node, struct conductor *c)
{
    assert_int_equal(pst_lane_open(&node->run, &c->move), PST_OK);
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
}
static void do_taker(struct mesh_node *node, struct conductor *c)
{
    pst_lane_commit_taker(&node->run, &c->move, c->move.cut);
}
static void do_giver(struct mesh_node *node, struct conductor *c)
{
    pst_lane_commit_giver(&node->run, &c->move, c->move.cut);
}
static void do_upstream(struct mesh_node *node, struct conductor *c)
{
    pst_lane_release_upstream(&node->run, &c->move);
}
static void do_settle(struct mesh_node *node, struct conductor *c)
{
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

/* Every consumer of the operator has what came twice. */
static bool settled(struct mesh *mesh, const struct conductor *c, const struct pst_ctx *giver)
{
    int64_t until = giver->giving->stopped ? giver->giving->stopped_at : INT64_MAX;
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

static void next(struct conductor *c, enum step step)
{
    c->step = step;
    c->patience = (uint32_t)sim_random(&c->random, 3) == 0 ? 0 : (uint32_t)sim_random(&c->random, 200);
}

static void conduct(struct mesh *mesh, void *argument)
{
    struct conductor *c = argument;
    struct pst_ctx *giver = c->step != REST ? partition_of(mesh, c->move.operator_index, c->move.from) : NULL;
    struct lane *lane = NULL;
    const struct join *join;
    struct blob *blob;
    bool tight =
        c->lane_bytes_max != 0 && (c->move.id % 2 == 1 || c->step >= DOWNSTREAM); /* some from when they are decided */
    for (uint32_t i = 0; i < mesh->node_count; i++)
        mesh->nodes[i]->run.lane_bytes_max = tight ? c->lane_bytes_max : LANE_BYTES_MAX;
    if (c->patience != 0 && c->patience-- != 0)
        return;
    for (uint32_t i = 0; i < mesh->node_count && c->step > OPEN; i++)
        lane = lane != NULL ? lane : pst_lane_of(&mesh->nodes[i]->run, &c->move);
    switch (c->step) {
    case REST:
        if (c->moves_wanted == 0) {
            mesh->busy = false;
            for (uint32_t i = 0; i < mesh->node_count; i++)
                mesh->nodes[i]->scene.sim.notified[0] = true;
        } else if (choose(mesh, c)) {
            c->moves_wanted--;
            c->after = INT64_MIN;
            next(c, OPEN);
        } else if (sim_random(&c->random, 50) == 0) {
            c->moves_wanted--; /* it may be over */
        }
        break;
    case OPEN:
        if (on_each(mesh, c, do_open))
            next(c, sim_random(&c->random, 10) == 0 ? DROP : COPY);
        break;
    case COPY:
        if (on_each(mesh, c, do_copy))
            next(c, IMAGE);
        break;
    case IMAGE:
        if (giver->giving->imaged) {
            assert_int_equal(giver->giving->error, PST_OK);
            next(c, HAND_OVER);
        } else if (giver->ended) {
            next(c, DROP);
        } else if (overflows(mesh, c)) { /* who waits for the lane may be the one that feeds the giver */
            c->full++;
            next(c, DROP);
        }
        break;
    case HAND_OVER:
        pst_link_blob(giver->run, c->move.to_node, c->move.id, giver->giving->blob);
        giver->giving->blob = NULL;
        next(c, CATCH_UP);
        break;
    case CATCH_UP:
        PST_ASSERT(lane != NULL);
        blob = pst_link_blob_take(&mesh->nodes[c->move.to_node]->run, c->move.id);
        if (blob != NULL)
            pst_lane_hand(&mesh->nodes[c->move.to_node]->run, &c->move, blob);
        if (lane->state == LANE_INSTALLED) {
            int64_t epoch = giver->node->epoch;
            c->move.cut = giver->now + (int64_t)sim_random(&c->random, 4) * epoch - epoch;
            c->move.cut = c->move.cut < lane->from ? lane->from : c->move.cut;
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
        if (settled(mesh, c, giver))
            next(c, ENDING);
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
            c->move = (struct move){0};
            next(c, REST);
        }
        break;
    case DROP:
        if (on_each(mesh, c, do_drop)) {
            c->aborted++;
            next(c, REST);
        }
        break;
    }
}

/* ---- tests ---- */

static void moves_change_nothing(const char *graph, void (*input)(struct scene *scene, const char *graph),
                                 uint32_t break_every, uint64_t lane_bytes_max, uint64_t seeds)
{
    struct scene wanted;
    uint64_t moves = 0, aborted = 0, overshot = 0, full = 0, full_after = 0, joins = 0, used_again = 0;
    scene_init(&wanted, 1);
    input(&wanted, graph);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct mesh mesh;
        struct conductor *conductor = calloc(1, sizeof *conductor);
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, graph, input);
        mesh.net.break_every = break_every;
        mesh.busy = true;
        conductor->random.random = seed * 31;
        conductor->moves_wanted = 1 + (uint32_t)sim_random(&conductor->random, 6);
        conductor->lane_bytes_max = lane_bytes_max;
        mesh_run(&mesh, conduct, conductor, what);
        mesh_same(&wanted, &mesh, what);
        moves += conductor->moves;
        aborted += conductor->aborted;
        overshot += conductor->overshot;
        full += conductor->full;
        full_after += conductor->full_after;
        joins += conductor->joins;
        used_again += conductor->used_again;
        mesh_fini(&mesh);
        free(conductor);
    }
    print_message(
        "%llu moves, %llu given up, in %llu the giver went beyond the cut; %llu joins, %llu numbers used again\n",
        (unsigned long long)moves, (unsigned long long)aborted, (unsigned long long)overshot, (unsigned long long)joins,
        (unsigned long long)used_again);
    assert_true(moves > seeds / 2 && aborted > 0 && joins > 0 && used_again > 0);
    if (lane_bytes_max != 0) {
        print_message("%llu full before they were decided, %llu after\n", (unsigned long long)full,
                      (unsigned long long)full_after);
        assert_true(full > 0 && full_after > 0);
    }
    scene_fini(&wanted);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_moves),
        cmocka_unit_test(query_2_moves),
        cmocka_unit_test(diamonds_and_total_orders_move),
        cmocka_unit_test(they_move_while_connections_break),
        cmocka_unit_test(a_full_lane_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
