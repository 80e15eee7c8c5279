/* test_nodes.c - whole nodes of a simulated cluster, with keepers, a coordinator and a client that submits a graph: whatever node
 * dies, and whenever, the outputs are those of one process (P1, P2), and the graph ends. */
#include "engine/control.h"
#include "migration/store.h"
#include "operators/builtin.h"
#include "tests/sim/graphs.h"
#include "tests/sim/guests.h"
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

enum { NODES_MAX = 4, TURNS_MAX = 3 * 1000 * 1000, RECORDS_MAX = 16 };

static const char *const names[NODES_MAX] = {"n0", "n1", "n2", "n3"};
static const char *const addresses[NODES_MAX] = {"n0:1", "n1:1", "n2:1", "n3:1"};

/* ---- a store in memory that answers when it likes ---- */
struct store {
    struct pst_store store;
    struct sim *sim;
    struct {
        char path[PST_STORE_PATH_BYTES];
        uint64_t version;
    } records[RECORDS_MAX];
    struct pst_store_request *waiting[RECORDS_MAX];
    uint32_t waiting_count;
};

static void store_begin(void *self, struct pst_store_request *request)
{
    struct store *store = self;
    assert_int_equal(request->kind, PST_STORE_COMMIT);
    assert_true(store->waiting_count < RECORDS_MAX);
    store->waiting[store->waiting_count++] = request;
    (void)store->sim->world.alarm(store->sim, 0, store->sim->now_ns + 1 + sim_random(store->sim, 5000000));
}

static int store_commit(struct store *store, const struct pst_store_change *change)
{
    uint32_t i = 0;
    while (store->records[i].version != 0 && strcmp(store->records[i].path, change->path) != 0)
        assert_true(++i < RECORDS_MAX);
    if (store->records[i].version != change->expected)
        return PST_EINVAL;
    (void)snprintf(store->records[i].path, sizeof store->records[i].path, "%s", change->path);
    store->records[i].version++;
    return PST_OK;
}

static void store_step(void *self)
{
    struct store *store = self;
    if (store->waiting_count == 0)
        return;
    if (sim_random(store->sim, 3) != 0) {
        (void)store->sim->world.alarm(store->sim, 0, store->sim->now_ns + 1000000);
        return;
    }
    struct pst_store_request *request = store->waiting[0];
    memmove(store->waiting, store->waiting + 1, --store->waiting_count * sizeof(struct pst_store_request *));
    request->rc = store_commit(store, request->changes);
}

/* ---- the cluster ---- */
struct node {
    struct sim sim;
    struct pst_node *node; /* NULL: it is dead */
    uint32_t workers;
};

struct client { /* one more world: it submits a graph, and then asks how it is until it has ended */
    struct sim sim;
    struct pst_conn *conn;
    const struct pst_text *graph;
    const struct scene *like; /* its settings */
    bool greeted, submitted, answered, done;
    int error;
    char says[2000];
    uint64_t requests;
    uint32_t incarnation;
};

struct cluster {
    struct sim_net net;
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    struct store store;
    struct client client;
    struct scene like;
    struct sim random;
};

static struct pst_registry registry(void)
{
    static const struct pst_operator *const *lists[3];
    lists[0] = pst_builtin_operators;
    lists[1] = pst_debs14_operators;
    lists[2] = pst_sim_guests;
    return (struct pst_registry){lists, 3};
}

static void node_up(struct cluster *cluster, uint32_t i)
{
    struct node *node = &cluster->nodes[i];
    struct pst_node_options options = {.name = names[i],
                                       .listen = addresses[i],
                                       .directory = names[i],
                                       .join = i == 0 ? NULL : addresses[0],
                                       .store = i == 0 ? &cluster->store.store : NULL,
                                       .worker_count = node->workers,
                                       .registry = registry(),
                                       .frame_rows = cluster->like.options.frame_rows,
                                       .channel_frames = cluster->like.options.channel_frames,
                                       .block_bytes = cluster->like.options.block_bytes};
    cluster->net.down[i] = false;
    assert_int_equal(pst_node_new(&node->sim.world, &options, &node->node), PST_OK);
    sim_begin(&node->sim, pst_node_workers(node->node), pst_node_step, node->node);
}

/* As kill -9 leaves it: connections break, nothing more reaches the disk. */
static void node_kill(struct cluster *cluster, uint32_t i)
{
    struct node *node = &cluster->nodes[i];
    char why[240];
    for (uint32_t k = 0; k < cluster->net.node_count; k++)
        sim_net_break(&cluster->net, i, k);
    cluster->net.down[i] = true;
    node->sim.cut = true;
    node->sim.job_count = 0;
    (void)pst_node_free(node->node, why);
    node->node = NULL;
    sim_end(&node->sim);
    sim_net_crash(&cluster->net, i);
    sim_revive(&node->sim);
}

/* ---- the client ---- */

static void client_send(struct client *client, Pst__Control *message)
{
    struct pst_text bytes = {0};
    message->request = ++client->requests;
    assert_int_equal(pst_control_pack(message, &bytes), PST_OK);
    assert_int_equal(client->sim.world.net_send(&client->sim, client->conn, bytes.bytes, bytes.count), PST_OK);
    pst_text_fini(&bytes);
}

static void client_ask(struct client *client)
{
    Pst__Admin admin = PST__ADMIN__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    char settings[SCENE_SETTINGS_MAX][100], *arguments[SCENE_SETTINGS_MAX + 2] = {(char *)(uintptr_t) "submit",
                                                                                 (char *)(uintptr_t) "graph"};
    admin.arguments = arguments;
    admin.n_arguments = 2;
    for (uint32_t i = 0; i < client->like->setting_count; i++) {
        (void)snprintf(settings[i], sizeof settings[i], "%s=%s", client->like->settings[i].name,
                       client->like->settings[i].value);
        arguments[admin.n_arguments++] = settings[i];
    }
    if (client->submitted) {
        arguments[0] = (char *)(uintptr_t) "status";
        admin.n_arguments = 1;
    } else {
        admin.body = (ProtobufCBinaryData){client->graph->count, (uint8_t *)client->graph->bytes};
    }
    message.body_case = PST__CONTROL__BODY_ADMIN;
    message.admin = &admin;
    client->submitted = true;
    client_send(client, &message);
}

static void client_hears(struct client *client, const Pst__Control *message)
{
    if (message->body_case != PST__CONTROL__BODY_ADMIN_REPLY)
        return;
    const Pst__AdminReply *body = message->admin_reply;
    client->answered = true;
    client->error = body->error;
    (void)snprintf(client->says, sizeof client->says, "%.*s%.*s", (int)body->out.len, (const char *)body->out.data,
                   (int)body->err.len, (const char *)body->err.data);
    client->done = body->error != PST_OK || strstr(client->says, ": done") != NULL;
    const char *incarnation = strstr(client->says, "incarnation ");
    client->incarnation = incarnation != NULL ? (uint32_t)strtoul(incarnation + 12, NULL, 10) : 0;
}

static pst_step client_step(void *argument, uint32_t worker)
{
    struct client *client = argument;
    const struct pst_world *world = &client->sim.world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    assert_int_equal(worker, 0);
    if (client->conn == NULL)
        assert_int_equal(world->net_connect(world->self, 0, addresses[0], &client->conn), PST_OK);
    if (!client->greeted) {
        int rc = world->net_peer(world->self, client->conn, peer);
        if (rc != PST_OK && rc != PST_EAGAIN) { /* it does not listen yet */
            world->net_close(world->self, client->conn);
            client->conn = NULL;
            (void)world->alarm(world->self, 0, client->sim.now_ns + 1000000);
        }
        if (rc != PST_OK)
            return PST_STEP_IDLE;
        Pst__Hello hello = PST__HELLO__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        hello.role = PST__ROLE__ADMIN;
        message.body_case = PST__CONTROL__BODY_HELLO;
        message.hello = &hello;
        client->greeted = true;
        client_send(client, &message);
        client_ask(client);
    }
    while (world->net_receive(world->self, client->conn, &bytes, &byte_count) == PST_OK) {
        struct pst_arena arena;
        Pst__Control *message;
        pst_arena_init(&arena);
        assert_int_equal(pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message), PST_OK);
        client_hears(client, message);
        pst_arena_fini(&arena);
    }
    if (client->done) {
        world->net_close(world->self, client->conn);
        return PST_STEP_DONE;
    }
    if (client->answered) {
        client->answered = false;
        client_ask(client);
    }
    return PST_STEP_IDLE;
}

/* ---- running ---- */

static void cluster_init(struct cluster *cluster, uint64_t seed, const struct pst_text *graph,
                         void (*input)(struct scene *scene))
{
    memset(cluster, 0, sizeof *cluster);
    cluster->random.random = seed ^ 0xc105;
    sim_net_init(&cluster->net, seed);
    cluster->net.delay_ns_max = 1 + sim_random(&cluster->random, 2000000);
    cluster->node_count = 2 + (uint32_t)sim_random(&cluster->random, NODES_MAX - 1);
    scene_init(&cluster->like, seed);
    input(&cluster->like);
    scene_shake(&cluster->like, true);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct node *node = &cluster->nodes[i];
        sim_init(&node->sim, seed * 100 + i);
        node->workers = 1 + (uint32_t)sim_random(&cluster->random, 3);
        node->sim.read_bytes_max = cluster->like.sim.read_bytes_max;
        sim_net_add(&cluster->net, &node->sim);
    }
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    sim_put(&cluster->nodes[0].sim, "in.csv", rows->bytes, rows->count);
    sim_put(&cluster->nodes[0].sim, "meters.csv", rows->bytes, rows->count);
    cluster->store = (struct store){.sim = &cluster->nodes[0].sim};
    cluster->store.store = (struct pst_store){.self = &cluster->store, .begin = store_begin, .step = store_step};
    for (uint32_t i = 0; i < cluster->node_count; i++)
        node_up(cluster, i);
    sim_init(&cluster->client.sim, seed);
    cluster->client.graph = graph;
    cluster->client.like = &cluster->like;
    sim_net_add(&cluster->net, &cluster->client.sim);
    sim_begin(&cluster->client.sim, 1, client_step, &cluster->client);
}

static void cluster_fini(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].node != NULL)
            node_kill(cluster, i);
    sim_end(&cluster->client.sim);
    sim_net_fini(&cluster->net);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        sim_fini(&cluster->nodes[i].sim);
    sim_fini(&cluster->client.sim);
    scene_fini(&cluster->like);
}

/* Every file of `wanted` is on one node that lives, with the same bytes. */
static void cluster_same(const struct scene *wanted, struct cluster *cluster, const char *graph_name, const char *what)
{
    for (uint32_t f = 0; f < wanted->sim.file_count; f++) {
        const struct sim_file *file = &wanted->sim.files[f];
        char path[200];
        const struct pst_text *bytes = NULL;
        if (strncmp(file->name, "out/", 4) != 0)
            continue;
        for (uint32_t i = 0; i < cluster->node_count && bytes == NULL; i++) {
            (void)snprintf(path, sizeof path, "%s/results/%s/%s", names[i], graph_name, file->name + 4);
            bytes = sim_get(&cluster->nodes[i].sim, path);
        }
        if (bytes == NULL)
            fail_msg("%s: there is no %s on any node", what, file->name);
        if (bytes->count != file->bytes.count ||
            (bytes->count != 0 && memcmp(bytes->bytes, file->bytes.bytes, bytes->count) != 0))
            fail_msg("%s: %s is not the same: %zu bytes, wanted %zu", what, file->name, bytes->count,
                     file->bytes.count);
    }
}

/* Up to so many kills of nodes other than the first, each with its return some time later. */
static void cluster_run(struct cluster *cluster, uint32_t kills, const char *what)
{
    uint64_t turns = 0, next = kills != 0 ? 200 + sim_random(&cluster->random, 6000) : UINT64_MAX;
    while (!cluster->client.done) {
        if (!sim_net_turn(&cluster->net) || ++turns == TURNS_MAX)
            fail_msg("%s: nothing goes on any more after %llu turns; the client was told: %s", what,
                     (unsigned long long)turns, cluster->client.says);
        if (turns < next)
            continue;
        uint32_t i = 1 + (uint32_t)sim_random(&cluster->random, cluster->node_count - 1);
        next = turns + 200 + sim_random(&cluster->random, 4000);
        if (cluster->nodes[i].node == NULL) {
            node_up(cluster, i);
        } else if (kills != 0) {
            node_kill(cluster, i);
            kills--;
        }
    }
    if (cluster->client.error != PST_OK)
        print_error("%s: %s\n", what, cluster->client.says);
    assert_int_equal(cluster->client.error, PST_OK);
}

/* ---- tests ---- */

static void text_of(const char *path, struct pst_text *ret_text)
{
    FILE *file = fopen(path, "rb");
    char buffer[4096];
    assert_non_null(file);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) != 0;)
        assert_int_equal(pst_text_add(ret_text, buffer, n), PST_OK);
    (void)fclose(file);
}

static const char *graph_path;
static void query_input(struct scene *scene)
{
    scene_query(scene, graph_path);
    scene_put_meters(scene, &scene_small);
}

static void queries(const char *path, const char *name, uint32_t kills, uint64_t seeds)
{
    struct scene wanted;
    struct pst_text text = {0};
    uint64_t restarts = 0;
    graph_path = path;
    text_of(path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, path), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cluster *cluster = calloc(1, sizeof *cluster);
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        cluster_init(cluster, seed, &text, query_input);
        cluster_run(cluster, kills, what);
        cluster_same(&wanted, cluster, name, what);
        restarts += cluster->client.incarnation - 1;
        cluster_fini(cluster);
        free(cluster);
    }
    assert_true((restarts > 0) == (kills > 0));
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_submitted_graph_gives_the_same_bytes(void **state)
{
    (void)state;
    queries(LOAD, "load", 0, scene_seeds(30));
    queries(OUTLIERS, "outliers", 0, scene_seeds(30));
}

static void nodes_that_are_killed_lose_and_repeat_nothing(void **state)
{
    (void)state;
    queries(LOAD, "load", 3, scene_seeds(60));
    queries(OUTLIERS, "outliers", 3, scene_seeds(60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submitted_graph_gives_the_same_bytes),
        cmocka_unit_test(nodes_that_are_killed_lose_and_repeat_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
