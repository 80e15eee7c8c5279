/* mesh.c - see mesh.h. */
#include "tests/sim/mesh.h"

#include "engine/wire.h"
#include "tests/sim/show.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TURNS_MAX = 2 * 1000 * 1000, IDLE_MAX = 10000 };

static const char *const names[MESH_NODES_MAX] = {"n0", "n1", "n2", "n3"};
static const char *const addresses[MESH_NODES_MAX] = {"n0:1", "n1:1", "n2:1", "n3:1"};

/* ---- a node: worker 0 introduces connections to the run, the others step it ---- */

static bool introduce(struct mesh_node *node, struct pst_conn *conn)
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
static pst_step ended(struct mesh_node *node)
{
    for (uint32_t i = 0; i < node->mesh->node_count; i++)
        if (i != node->site.this_node && node->mesh->nodes[i]->scene.sim.workers_left != 0)
            pst_link_peer_ended(&node->mesh->nodes[i]->run, node->site.this_node);
    return PST_STEP_DONE;
}

static pst_step keeper_step(struct mesh_node *node)
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
    if (!node->mesh->busy && pst_run_finished(&node->run))
        pst_run_finish(&node->run);
    for (uint32_t w = 0; w < node->run.worker_count; w++)
        if (!node->worker_done[w])
            return PST_STEP_IDLE;
    return ended(node);
}

static pst_step node_step(void *argument, uint32_t worker)
{
    struct mesh_node *node = argument;
    if (worker == 0)
        return keeper_step(node);
    pst_step result = pst_run_step(&node->run, worker - 1);
    node->worker_done[worker - 1] = result == PST_STEP_DONE;
    if (result == PST_STEP_DONE)
        node->scene.sim.world.wake(&node->scene.sim, 0);
    return result;
}

/* ---- a mesh ---- */

/* As moves may have left it: any bucket with any partition, some with none; of some operators as the graph says. */
static void ownership(struct mesh *mesh, const struct pst_graph_node *node, uint32_t n, struct sim *random)
{
    uint32_t bucket_count = node->bucket_count;
    if (node->op->role != PST_ROLE_PLAIN || sim_random(random, 2) == 0)
        return;
    uint16_t *of = mesh->partition_of_bucket[n] = calloc(bucket_count, sizeof *of);
    mesh->partition_count[n] = 1 + (uint32_t)sim_random(random, bucket_count < 5 ? bucket_count : 5);
    for (uint32_t b = 0; b < bucket_count; b++)
        of[b] = (uint16_t)sim_random(random, mesh->partition_count[n]);
}

static void placement(struct mesh *mesh, const struct pst_graph *graph, struct sim *random)
{
    mesh->operator_count = graph->node_count;
    mesh->node_of_partition = calloc(graph->node_count, sizeof(uint16_t *));
    mesh->partition_of_bucket = calloc(graph->node_count, sizeof(uint16_t *));
    mesh->partition_count = calloc(graph->node_count, sizeof *mesh->partition_count);
    for (uint32_t n = 0; n < graph->node_count; n++) {
        mesh->partition_count[n] = graph->nodes[n].partition_count;
        ownership(mesh, &graph->nodes[n], n, random);
        uint16_t *nodes = calloc(graph->nodes[n].bucket_count + 1, sizeof *nodes);
        for (uint32_t p = 0; p < mesh->partition_count[n]; p++)
            nodes[p] = (uint16_t)sim_random(random, mesh->node_count);
        mesh->node_of_partition[n] = nodes;
    }
}

static uint16_t **nodes_copy(const struct mesh *mesh, const struct pst_graph *graph)
{
    uint16_t **copy = calloc(mesh->operator_count, sizeof(uint16_t *));
    for (uint32_t n = 0; n < mesh->operator_count; n++) {
        size_t bytes = (graph->nodes[n].bucket_count + 1) * sizeof **copy;
        copy[n] = malloc(bytes);
        memcpy(copy[n], mesh->node_of_partition[n], bytes);
    }
    return copy;
}

static void table_free(uint16_t **table, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        free(table[n]);
    free(table);
}

static void node_begin(struct mesh *mesh, uint32_t index)
{
    struct mesh_node *node = mesh->nodes[index];
    struct sim *sim = &node->scene.sim;
    node->node_of_partition = nodes_copy(mesh, node->graph);
    node->site = (struct site){.node_count = mesh->node_count,
                               .this_node = index,
                               .incarnation = 7,
                               .worker_count = mesh->worker_count,
                               .reads = mesh->reads,
                               .node_of_partition = node->node_of_partition,
                               .partition_of_bucket = (const uint16_t *const *)mesh->partition_of_bucket,
                               .partition_count = mesh->partition_count,
                               .address = addresses,
                               .name = names};
    assert_int_equal(sim->world.net_listen(sim, 0, addresses[index], &node->listener), PST_OK);
    assert_int_equal(
        pst_run_begin(&node->run, node->graph, &node->scene.options, &sim->world, &node->site, 1, &node->scene.report),
        PST_OK);
    sim_begin(sim, 1 + node->run.worker_count, node_step, node);
}

void mesh_init(struct mesh *mesh, uint64_t seed, const char *graph,
               void (*input)(struct scene *scene, const char *graph))
{
    struct sim shaken = {.random = seed ^ 0x5eed};
    struct scene like;
    memset(mesh, 0, sizeof *mesh);
    sim_net_init(&mesh->net, seed);
    mesh->node_count = 2 + (uint32_t)sim_random(&shaken, MESH_NODES_MAX - 1);
    mesh->reads[0] = true;
    scene_init(&like, seed);
    input(&like, graph);
    scene_shake(&like, true);
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        struct mesh_node *node = mesh->nodes[i] = calloc(1, sizeof *node);
        node->mesh = mesh;
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
        sim_net_add(&mesh->net, &node->scene.sim);
        assert_int_equal(scene_load(&node->scene, graph, &node->graph), PST_OK);
        mesh->worker_count[i] = 1 + (uint32_t)sim_random(&shaken, 3);
    }
    placement(mesh, mesh->nodes[0]->graph, &shaken);
    mesh->net.delay_ns_max = 1 + sim_random(&shaken, sim_random(&shaken, 2) == 0 ? 1000 : 3000000);
    mesh->net.way_bytes_max = 1 + sim_random(&shaken, 64 * 1024);
    scene_fini(&like);
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        node_begin(mesh, i);
        if (sim_random(&shaken, 4) == 0)
            mesh->nodes[i]->run.frame_version = 0;
    }
}

bool mesh_done(const struct mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->node_count; i++)
        if (mesh->nodes[i]->scene.sim.workers_left != 0)
            return false;
    return true;
}

/* Who waits for what. */
static void mesh_show(const struct mesh *mesh, const char *what, uint64_t turns)
{
    print_error("%s: nothing goes on any more after %llu turns\n", what, (unsigned long long)turns);
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        const struct run *run = &mesh->nodes[i]->run;
        print_error("node %u: %u workers left, hold %u, held %u, %s\n", i, mesh->nodes[i]->scene.sim.workers_left,
                    run->hold, run->held_count, run->error_text != NULL ? run->error_text : "no error");
        sim_run_show(run);
    }
}

void mesh_run(struct mesh *mesh, void (*turn)(struct mesh *mesh, void *argument), void *argument, const char *what)
{
    uint64_t turns = 0, idle = 0;
    while (!mesh_done(mesh)) {
        if (turn != NULL)
            turn(mesh, argument);
        bool going = sim_net_turn(&mesh->net);
        idle = going ? 0 : idle + 1;
        going |= mesh->busy && idle < IDLE_MAX; /* whoever keeps it busy may be waiting by himself */
        if (!going || ++turns == TURNS_MAX)
            mesh_show(mesh, what, turns);
        assert_true(going && turns < TURNS_MAX);
    }
}

void mesh_fini(struct mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->node_count; i++)
        if (mesh->nodes[i]->scene.sim.worker_count != 0)
            sim_end(&mesh->nodes[i]->scene.sim);
    sim_net_fini(&mesh->net);
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        pst_graph_free(mesh->nodes[i]->graph);
        scene_fini(&mesh->nodes[i]->scene);
        table_free(mesh->nodes[i]->node_of_partition, mesh->operator_count);
        free(mesh->nodes[i]);
    }
    table_free(mesh->node_of_partition, mesh->operator_count);
    table_free(mesh->partition_of_bucket, mesh->operator_count);
    free(mesh->partition_count);
}

/* Every file of `wanted` is on one node, with the same bytes. */
void mesh_same(const struct scene *wanted, struct mesh *mesh, const char *what)
{
    uint64_t rows_out = 0;
    for (uint32_t i = 0; i < mesh->node_count; i++) {
        struct mesh_node *node = mesh->nodes[i];
        node->scene.rc = pst_run_end(&node->run);
        if (node->scene.rc != PST_OK)
            print_error("%s: node %u: %s\n", what, i, node->scene.report.error);
        assert_int_equal(node->scene.rc, PST_OK);
        rows_out += node->scene.report.rows_out;
    }
    for (uint32_t f = 0; f < wanted->sim.file_count; f++) {
        const struct sim_file *file = &wanted->sim.files[f];
        const struct scene *holder = NULL;
        for (uint32_t i = 0; i < mesh->node_count && holder == NULL; i++)
            holder = scene_there(&mesh->nodes[i]->scene, file->name) ? &mesh->nodes[i]->scene : NULL;
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

/* ---- inputs ---- */

void mesh_query_input(struct scene *scene, const char *graph)
{
    scene_query(scene, graph);
    scene_put_meters(scene, &scene_small);
}

void mesh_rows_input(struct scene *scene, const char *graph)
{
    (void)graph;
    scene_put_rows(scene, 11, 3000, 40, 30);
}
