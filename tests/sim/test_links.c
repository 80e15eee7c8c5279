/* test_links.c - a graph on several nodes of the simulated network: wherever its partitions are, however late messages come and
 * however often connections break, the outputs are those of one process (P1), and nothing is ever stuck. */
#include "engine/link.h"
#include "engine/wire.h"
#include "tests/sim/graphs.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES_MAX = 4, TURNS_MAX = 2 * 1000 * 1000 };

struct cluster;

struct node {
    struct cluster *cluster;
    struct scene scene; /* its world, and what its run left */
    struct pst_graph *graph;
    struct run run;
    struct site site;
    struct pst_listener *listener;
    struct pst_conn *unknown[16]; /* accepted, not introduced yet */
    bool worker_done[PST_WORKERS_MAX];
};

struct cluster {
    struct sim_net net;
    struct node *nodes[NODES_MAX];
    uint32_t node_count;
    uint32_t worker_count[NODES_MAX];
    bool reads[NODES_MAX];
    const uint16_t **node_of_partition;
    uint32_t operator_count;
};

static const char *const names[NODES_MAX] = {"n0", "n1", "n2", "n3"};
static const char *const addresses[NODES_MAX] = {"n0:1", "n1:1", "n2:1", "n3:1"};

/* ---- a node: worker 0 introduces connections to the run, the others step it ---- */

static bool introduce(struct node *node, struct pst_conn *conn)
{
    const struct pst_world *world = &node->scene.sim.world;
    const void *bytes;
    size_t byte_count;
    struct pst_wire_hello hello;
    int rc = world->net_receive(world->self, conn, &bytes, &byte_count);
    if (rc == PST_EAGAIN)
        return false;
    if (rc == PST_OK)
        rc = pst_wire_hello_read(bytes, byte_count, &hello);
    if (rc != PST_OK || !pst_link_give(&node->run, hello.node, conn))
        world->net_close(world->self, conn);
    return true;
}

/* What the keepers tell each other when a run has ended. */
static pst_step ended(struct node *node)
{
    for (uint32_t i = 0; i < node->cluster->node_count; i++)
        if (i != node->site.this_node && node->cluster->nodes[i]->scene.sim.workers_left != 0)
            pst_link_peer_ended(&node->cluster->nodes[i]->run, node->site.this_node);
    return PST_STEP_DONE;
}

static pst_step keeper_step(struct node *node)
{
    const struct pst_world *world = &node->scene.sim.world;
    struct pst_conn *conn;
    while (world->net_accept(world->self, node->listener, &conn) == PST_OK) {
        uint32_t i = 0;
        while (node->unknown[i] != NULL)
            assert_true(++i < 16);
        node->unknown[i] = conn;
    }
    for (uint32_t i = 0; i < 16; i++)
        if (node->unknown[i] != NULL && introduce(node, node->unknown[i]))
            node->unknown[i] = NULL;
    for (uint32_t w = 0; w < node->run.worker_count; w++)
        if (!node->worker_done[w])
            return PST_STEP_IDLE;
    return ended(node);
}

static pst_step node_step(void *argument, uint32_t worker)
{
    struct node *node = argument;
    if (worker == 0)
        return keeper_step(node);
    pst_step result = pst_run_step(&node->run, worker - 1);
    node->worker_done[worker - 1] = result == PST_STEP_DONE;
    if (result == PST_STEP_DONE)
        node->scene.sim.world.wake(&node->scene.sim, 0);
    return result;
}

/* ---- a cluster ---- */

static void placement(struct cluster *cluster, const struct pst_graph *graph, struct sim *random)
{
    cluster->operator_count = graph->node_count;
    cluster->node_of_partition = calloc(graph->node_count, sizeof(uint16_t *));
    for (uint32_t n = 0; n < graph->node_count; n++) {
        uint32_t count = graph->nodes[n].partition_count;
        uint16_t *nodes = calloc(count + 1, sizeof *nodes);
        for (uint32_t p = 0; p < count; p++)
            nodes[p] = (uint16_t)sim_random(random, cluster->node_count);
        cluster->node_of_partition[n] = nodes;
    }
}

static void node_begin(struct cluster *cluster, uint32_t index)
{
    struct node *node = cluster->nodes[index];
    struct sim *sim = &node->scene.sim;
    node->site = (struct site){.node_count = cluster->node_count,
                               .this_node = index,
                               .incarnation = 7,
                               .worker_count = cluster->worker_count,
                               .reads = cluster->reads,
                               .node_of_partition = cluster->node_of_partition,
                               .address = addresses,
                               .name = names};
    assert_int_equal(sim->world.net_listen(sim, 0, addresses[index], &node->listener), PST_OK);
    assert_int_equal(pst_run_begin(&node->run, node->graph, &node->scene.options, &sim->world, &node->site, 1,
                                   &node->scene.report),
                     PST_OK);
    sim_begin(sim, 1 + node->run.worker_count, node_step, node);
}

/* The graph on 2 to 4 nodes; the first of them reads the input that `input` has put into its world. */
static void cluster_init(struct cluster *cluster, uint64_t seed, const char *graph,
                         void (*input)(struct scene *scene, const char *graph))
{
    struct sim shaken = {.random = seed ^ 0x5eed};
    struct scene like;
    memset(cluster, 0, sizeof *cluster);
    sim_net_init(&cluster->net, seed);
    cluster->node_count = 2 + (uint32_t)sim_random(&shaken, NODES_MAX - 1);
    cluster->reads[0] = true;
    scene_init(&like, seed);
    input(&like, graph);
    scene_shake(&like, true);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct node *node = cluster->nodes[i] = calloc(1, sizeof *node);
        node->cluster = cluster;
        scene_init(&node->scene, seed * 100 + i);
        node->scene.options = like.options;
        node->scene.options.dead_letter = i == 0 ? "dead" : NULL;
        node->scene.options.interrupts = &node->scene.sim.interrupts;
        node->scene.sim.read_bytes_max = like.sim.read_bytes_max;
        node->scene.sim.again_percent = like.sim.again_percent;
        input(&node->scene, graph);
        node->scene.setting_count = 0;
        for (uint32_t s = 0; s < like.setting_count; s++)
            scene_set(&node->scene, like.settings[s].name, like.settings[s].value);
        sim_net_add(&cluster->net, &node->scene.sim);
        assert_int_equal(scene_load(&node->scene, graph, &node->graph), PST_OK);
        cluster->worker_count[i] = 1 + (uint32_t)sim_random(&shaken, 3);
    }
    placement(cluster, cluster->nodes[0]->graph, &shaken);
    cluster->net.delay_ns_max = 1 + sim_random(&shaken, sim_random(&shaken, 2) == 0 ? 1000 : 3000000);
    cluster->net.way_bytes_max = 1 + sim_random(&shaken, 64 * 1024);
    scene_fini(&like);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        node_begin(cluster, i);
}

static bool cluster_done(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i]->scene.sim.workers_left != 0)
            return false;
    return true;
}

static void cluster_run(struct cluster *cluster, const char *what)
{
    uint64_t turns = 0;
    while (!cluster_done(cluster)) {
        bool going = sim_net_turn(&cluster->net);
        if (!going || ++turns == TURNS_MAX)
            print_error("%s: nothing goes on any more after %llu turns\n", what, (unsigned long long)turns);
        assert_true(going && turns < TURNS_MAX);
    }
}

static void cluster_fini(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i]->scene.sim.worker_count != 0)
            sim_end(&cluster->nodes[i]->scene.sim);
    sim_net_fini(&cluster->net);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        pst_graph_free(cluster->nodes[i]->graph);
        scene_fini(&cluster->nodes[i]->scene);
        free(cluster->nodes[i]);
    }
    for (uint32_t n = 0; n < cluster->operator_count; n++)
        free((void *)(uintptr_t)cluster->node_of_partition[n]);
    free(cluster->node_of_partition);
}

/* Every file of `wanted` is on one node, with the same bytes. */
static void cluster_same(const struct scene *wanted, struct cluster *cluster, const char *what)
{
    uint64_t rows_out = 0;
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct node *node = cluster->nodes[i];
        node->scene.rc = pst_run_end(&node->run);
        if (node->scene.rc != PST_OK)
            print_error("%s: node %u: %s\n", what, i, node->scene.report.error);
        assert_int_equal(node->scene.rc, PST_OK);
        rows_out += node->scene.report.rows_out;
    }
    for (uint32_t f = 0; f < wanted->sim.file_count; f++) {
        const struct sim_file *file = &wanted->sim.files[f];
        const struct scene *holder = NULL;
        for (uint32_t i = 0; i < cluster->node_count && holder == NULL; i++)
            holder = scene_there(&cluster->nodes[i]->scene, file->name) ? &cluster->nodes[i]->scene : NULL;
        if (holder == NULL)
            print_error("%s: there is no %s on any node\n", what, file->name);
        assert_non_null(holder);
        const struct pst_text *bytes = scene_file(holder, file->name);
        if (bytes->count != file->bytes.count ||
            (bytes->count != 0 && memcmp(bytes->bytes, file->bytes.bytes, bytes->count) != 0))
            fail_msg("%s: %s is not the same: %zu bytes, wanted %zu", what, file->name, bytes->count,
                     file->bytes.count);
    }
    assert_int_equal(rows_out, wanted->report.rows_out);
}

/* ---- tests ---- */

static void query_input(struct scene *scene, const char *graph)
{
    scene_query(scene, graph);
    scene_put_meters(scene, &scene_small);
}

static void rows_input(struct scene *scene, const char *graph)
{
    (void)graph;
    scene_put_rows(scene, 11, 3000, 40, 30);
}

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
        struct cluster cluster;
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        cluster_init(&cluster, seed, graph, input);
        cluster.net.break_every = break_every;
        cluster_run(&cluster, what);
        cluster_same(&wanted, &cluster, what);
        messages += cluster.net.messages;
        broken += cluster.net.broken;
        cluster_fini(&cluster);
    }
    assert_true(messages > 0 && (broken > 0) == (break_every > 0));
    scene_fini(&wanted);
}

static void query_1_gives_the_same_bytes_on_several_nodes(void **state)
{
    (void)state;
    same_on_several_nodes(LOAD, query_input, 0, scene_seeds(60));
}

static void query_2_gives_the_same_bytes_on_several_nodes(void **state)
{
    (void)state;
    same_on_several_nodes(OUTLIERS, query_input, 0, scene_seeds(60));
}

static void diamonds_and_total_orders_do_as_well(void **state)
{
    (void)state;
    same_on_several_nodes(diamonds, rows_input, 0, scene_seeds(30));
    same_on_several_nodes(totals, rows_input, 0, scene_seeds(30));
}

static void a_connection_that_breaks_loses_nothing(void **state)
{
    (void)state;
    same_on_several_nodes(LOAD, query_input, 500, scene_seeds(60));
    same_on_several_nodes(OUTLIERS, query_input, 500, scene_seeds(60));
    same_on_several_nodes(diamonds, rows_input, 500, scene_seeds(30));
    same_on_several_nodes(totals, rows_input, 500, scene_seeds(30));
}

static void the_same_seed_gives_the_same_trace(void **state)
{
    (void)state;
    uint64_t traces[3];
    for (int i = 0; i < 3; i++) {
        struct cluster cluster;
        cluster_init(&cluster, i == 2 ? 8 : 7, OUTLIERS, query_input);
        cluster.net.break_every = 500;
        cluster_run(&cluster, "trace");
        traces[i] = cluster.net.trace;
        for (uint32_t n = 0; n < cluster.node_count; n++) {
            traces[i] ^= cluster.nodes[n]->scene.sim.trace * (n + 1);
            assert_int_equal(pst_run_end(&cluster.nodes[n]->run), PST_OK);
        }
        cluster_fini(&cluster);
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
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
