/* test_links.c - a graph on several nodes of the simulated network: wherever its partitions are, however late messages come and
 * however often connections break, the outputs are those of one process (P1), and nothing is ever stuck. */
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

/* ---- tests ---- */

static void same_on_several_nodes(const char *graph, void (*input)(struct scene *scene, const char *graph),
                                  uint32_t break_every, uint64_t seeds)
{
    struct scene wanted;
    uint64_t messages = 0, broken = 0;
    scene_init(&wanted, 1);
    input(&wanted, graph);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct mesh mesh;
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, graph, input);
        mesh.net.break_every = break_every;
        mesh_run(&mesh, NULL, NULL, what);
        mesh_same(&wanted, &mesh, what);
        messages += mesh.net.messages;
        broken += mesh.net.broken;
        mesh_fini(&mesh);
    }
    assert_true(messages > 0 && (broken > 0) == (break_every > 0));
    scene_fini(&wanted);
}

static void query_1_gives_the_same_bytes_on_several_nodes(void **state)
{
    (void)state;
    same_on_several_nodes(LOAD, mesh_query_input, 0, scene_seeds(60));
}

static void query_2_gives_the_same_bytes_on_several_nodes(void **state)
{
    (void)state;
    same_on_several_nodes(OUTLIERS, mesh_query_input, 0, scene_seeds(60));
}

static void diamonds_and_total_orders_do_as_well(void **state)
{
    (void)state;
    same_on_several_nodes(diamonds, mesh_rows_input, 0, scene_seeds(30));
    same_on_several_nodes(totals, mesh_rows_input, 0, scene_seeds(30));
}

static void a_connection_that_breaks_loses_nothing(void **state)
{
    (void)state;
    same_on_several_nodes(LOAD, mesh_query_input, 500, scene_seeds(60));
    same_on_several_nodes(OUTLIERS, mesh_query_input, 500, scene_seeds(60));
    same_on_several_nodes(diamonds, mesh_rows_input, 500, scene_seeds(30));
    same_on_several_nodes(totals, mesh_rows_input, 500, scene_seeds(30));
}

/* The most that one partition holds of one channel, for it is not below its time yet: in rings full of frames. It is more than one, as
 * another channel may be behind; where time did not come as long as there were rows it was a hundred and more. */
static void held_look(struct mesh *mesh, void *argument)
{
    uint64_t *rings_max = argument;
    for (uint32_t n = 0; n < mesh->node_count; n++) {
        const struct run *run = &mesh->nodes[n]->run;
        for (uint32_t i = 0; i < run->instance_count; i++) {
            const struct pst_ctx *ctx = run->instances[i];
            for (uint32_t c = 0; ctx != NULL && c < ctx->channel_count; c++) {
                uint64_t rings = ctx->channels[c]->held_count / ck_ring_capacity(&ctx->channels[c]->ring);
                *rings_max = rings > *rings_max ? rings : *rings_max;
            }
        }
    }
}

static void a_way_that_is_always_full_tells_the_time(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct mesh mesh;
        uint64_t rings_max = 0;
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, LOAD, mesh_query_input);
        mesh.net.way_bytes_max = 1;
        mesh.net.delay_ns_max = UINT64_C(20) * 1000 * 1000;
        mesh_run(&mesh, held_look, &rings_max, what);
        assert_in_range(rings_max, 0, 64);
        for (uint32_t n = 0; n < mesh.node_count; n++)
            assert_int_equal(pst_run_end(&mesh.nodes[n]->run), PST_OK);
        mesh_fini(&mesh);
    }
}

enum { CUT_AT = 1000, BREAK_EVERY = 100, BREAKS = 60 };

struct standing { /* nothing gets to the last node; connections between the others break again and again */
    uint64_t turns, waiting_max;
};

/* The most frames of a channel that have come over a link, and the partition has not taken. */
static uint64_t waiting_of(const struct mesh *mesh)
{
    uint64_t most = 0;
    for (uint32_t n = 0; n < mesh->node_count; n++) {
        const struct run *run = &mesh->nodes[n]->run;
        for (uint32_t i = 0; i < run->instance_count; i++) {
            const struct pst_ctx *ctx = run->instances[i];
            for (uint32_t c = 0; ctx != NULL && c < ctx->channel_count; c++)
                if (ctx->channels[c]->far != NULL && ctx->channels[c]->pending_count > most)
                    most = ctx->channels[c]->pending_count;
        }
    }
    return most;
}

static void standing_turn(struct mesh *mesh, void *argument)
{
    struct standing *standing = argument;
    uint32_t last = mesh->node_count - 1;
    uint64_t waiting = waiting_of(mesh), turn = standing->turns++;
    standing->waiting_max = waiting > standing->waiting_max ? waiting : standing->waiting_max;
    uint64_t end = CUT_AT + BREAKS * BREAK_EVERY;
    mesh->busy = turn < end;
    for (uint32_t n = 0; turn == end && n < mesh->node_count; n++) /* keepers look whether their runs are to finish */
        mesh->nodes[n]->scene.sim.world.wake(&mesh->nodes[n]->scene.sim, 0);
    for (uint32_t n = 0; n < last; n++) {
        if (turn == CUT_AT || turn == end)
            sim_net_cut(&mesh->net, n, last, mesh->busy);
        for (uint32_t k = 0; k < n && mesh->busy && turn > CUT_AT && turn % BREAK_EVERY == 0; k++)
            sim_net_break(&mesh->net, n, k);
    }
}

/* Credit is for what the partition has taken: a connection that is made again and again brings no more than one that stays. */
static void a_connection_that_breaks_brings_no_more_than_may_come(void **state)
{
    (void)state;
    uint64_t waiting_max = 0, seeds = scene_seeds(20);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++) {
        struct mesh mesh;
        struct standing standing = {0};
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        mesh_init(&mesh, seed, LOAD, mesh_query_input);
        mesh.net.way_bytes_max = 4096;
        mesh_run(&mesh, mesh.node_count > 2 ? standing_turn : NULL, &standing, what);
        for (uint32_t n = 0; n < mesh.node_count; n++)
            assert_int_equal(pst_run_end(&mesh.nodes[n]->run), PST_OK);
        waiting_max = standing.waiting_max > waiting_max ? standing.waiting_max : waiting_max;
        mesh_fini(&mesh);
    }
    assert_in_range(waiting_max, seeds < 20 ? 0 : 2, LINK_FRAMES); /* of few seeds nobody may have stood still */
}

static const char garbled[] =
    SOURCE OPERATOR("garbled", "garble", "rows", "k", "key_field: k, value: v") SINK("out", "garbled", "at, key, name");

/* An operator's row that no other node would take ends the run, with its name, and is not sent again for ever. */
static void a_row_that_cannot_be_sent_ends_the_run(void **state)
{
    (void)state;
    struct mesh mesh;
    uint64_t seed = 0, turns = 0;
    uint32_t producer, n = 0;
    do { /* one where the sink is on another node than all that write to it */
        mesh_init(&mesh, ++seed, garbled, mesh_rows_input);
        producer = mesh.node_of_partition[1][0];
        for (n = 0; n < mesh.partition_count[1] && mesh.node_of_partition[1][n] == producer;)
            n++;
        if (n == mesh.partition_count[1] && mesh.node_of_partition[2][0] != producer)
            break;
        for (n = 0; n < mesh.node_count; n++)
            (void)pst_run_end(&mesh.nodes[n]->run);
        mesh_fini(&mesh);
    } while (seed < 100);
    const struct run *run = &mesh.nodes[producer]->run;
    while (run->error == PST_OK && turns++ < 200000 && sim_net_turn(&mesh.net))
        continue;
    assert_int_equal(run->error, PST_EINTERNAL);
    assert_non_null(strstr(run->error_text, "garbled"));
    for (n = 0; n < mesh.node_count; n++)
        (void)pst_run_end(&mesh.nodes[n]->run);
    mesh_fini(&mesh);
}

static void the_same_seed_gives_the_same_trace(void **state)
{
    (void)state;
    uint64_t traces[3];
    for (int i = 0; i < 3; i++) {
        struct mesh mesh;
        mesh_init(&mesh, i == 2 ? 8 : 7, OUTLIERS, mesh_query_input);
        mesh.net.break_every = 500;
        mesh_run(&mesh, NULL, NULL, "trace");
        traces[i] = mesh.net.trace;
        for (uint32_t n = 0; n < mesh.node_count; n++) {
            traces[i] ^= mesh.nodes[n]->scene.sim.trace * (n + 1);
            assert_int_equal(pst_run_end(&mesh.nodes[n]->run), PST_OK);
        }
        mesh_fini(&mesh);
    }
    assert_true(traces[0] == traces[1]);
    assert_true(traces[0] != traces[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_gives_the_same_bytes_on_several_nodes),
        cmocka_unit_test(query_2_gives_the_same_bytes_on_several_nodes),
        cmocka_unit_test(diamonds_and_total_orders_do_as_well),
        cmocka_unit_test(a_connection_that_breaks_loses_nothing),
        cmocka_unit_test(a_way_that_is_always_full_tells_the_time),
        cmocka_unit_test(a_connection_that_breaks_brings_no_more_than_may_come),
        cmocka_unit_test(a_row_that_cannot_be_sent_ends_the_run),
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
