/* cluster.c - see cluster.h. */
#include "tests/sim/cluster.h"

#include "engine/mover.h"
#include "operators/builtin.h"
#include "state/seal.h"
#include "tests/sim/guests.h"
#include "tests/sim/show.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEAD_NS = 400 * 1000 * 1000 }; /* two beats */

static char names[CLUSTER_NODES_MAX][8], addresses[CLUSTER_NODES_MAX][8];

static void names_make(void)
{
    for (uint32_t i = 0; i < CLUSTER_NODES_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%u", i);
        (void)snprintf(addresses[i], sizeof addresses[i], "n%u:1", i);
    }
}

/* ---- the store ---- */

static void store_begin(void *self, struct pst_store_request *request)
{
    struct cluster_store *store = self;
    assert_true(store->waiting_count < CLUSTER_RECORDS_MAX);
    if (store->sim->cut)
        return; /* it dies in this step: nothing of it is heard any more */
    store->waiting[store->waiting_count++] = request;
    (void)store->sim->world.alarm(store->sim, 0, store->sim->now_ns + 1 + sim_random(store->sim, 5000000));
}

static uint32_t store_find(const struct cluster_store *store, const char *path)
{
    uint32_t i = 0;
    while (store->records[i].version != 0 && strcmp(store->records[i].path, path) != 0)
        assert_true(++i < CLUSTER_RECORDS_MAX);
    return i;
}

/* The last one stands where it was. */
static void store_remove(struct cluster_store *store, uint32_t i)
{
    uint32_t last = i;
    while (last + 1 < CLUSTER_RECORDS_MAX && store->records[last + 1].version != 0)
        last++;
    pst_text_fini(&store->records[i].bytes);
    store->records[i] = store->records[last];
    memset(&store->records[last], 0, sizeof store->records[last]);
}

/* Of a record's Start, packed; 0: none, or it is none. */
static uint64_t checkpoint_of(const void *bytes, size_t byte_count)
{
    struct pst_arena arena;
    Pst__Control *message;
    uint64_t checkpoint = 0;
    pst_arena_init(&arena);
    if (pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message) == PST_OK &&
        message->body_case == PST__CONTROL__BODY_START)
        checkpoint = message->start->checkpoint;
    pst_arena_fini(&arena);
    return checkpoint;
}

static bool store_refuses(const struct cluster_store *store, const struct pst_store_request *request)
{
    for (uint32_t c = 0; c < request->change_count; c++) {
        const struct pst_store_change *change = &request->changes[c];
        const struct pst_text *there = &store->records[store_find(store, change->path)].bytes;
        if (store->refuses_ends && strncmp(change->path, "ended/", 6) == 0)
            return true;
        if (store->refuses && change->bytes != NULL &&
            checkpoint_of(change->bytes, change->byte_count) != checkpoint_of(there->bytes, there->count))
            return true;
    }
    return false;
}

static int store_commit(struct cluster_store *store, const struct pst_store_request *request)
{
    for (uint32_t c = 0; c < request->change_count; c++)
        if (store->records[store_find(store, request->changes[c].path)].version != request->changes[c].expected)
            return PST_EINVAL;
    if (store_refuses(store, request))
        return PST_EIO;
    for (uint32_t c = 0; c < request->change_count; c++) {
        const struct pst_store_change *change = &request->changes[c];
        uint32_t i = store_find(store, change->path);
        if (change->bytes == NULL) {
            store_remove(store, i);
            continue;
        }
        (void)snprintf(store->records[i].path, sizeof store->records[i].path, "%s", change->path);
        store->records[i].version++;
        store->records[i].bytes.count = 0;
        assert_int_equal(pst_text_add(&store->records[i].bytes, change->bytes, change->byte_count), PST_OK);
    }
    return PST_OK;
}

uint64_t cluster_checkpoint(const struct cluster *cluster, const char *graph_name)
{
    const struct cluster_store *store = &cluster->store;
    char path[PST_STORE_PATH_BYTES];
    (void)snprintf(path, sizeof path, "graphs/%s", graph_name);
    uint32_t i = store_find(store, path);
    return store->records[i].version != 0 ? checkpoint_of(store->records[i].bytes.bytes, store->records[i].bytes.count)
                                          : 0;
}

static int store_read(const struct cluster_store *store, struct pst_store_request *request)
{
    uint32_t i = store_find(store, request->path);
    request->version = store->records[i].version;
    return request->version == 0
               ? PST_ENOENT
               : pst_text_add(&request->text, store->records[i].bytes.bytes, store->records[i].bytes.count);
}

static int store_list(const struct cluster_store *store, struct pst_store_request *request)
{
    for (uint32_t i = 0; store->records[i].version != 0; i++)
        if (strncmp(store->records[i].path, request->path, strlen(request->path)) == 0)
            (void)pst_text_printf(&request->text, "%s\n", store->records[i].path);
    return PST_OK;
}

static void store_step(void *self)
{
    struct cluster_store *store = self;
    if (store->waiting_count == 0 || store->sim->cut)
        return;
    if (sim_random(store->sim, 3) != 0) {
        (void)store->sim->world.alarm(store->sim, 0, store->sim->now_ns + 1000000);
        return;
    }
    struct pst_store_request *request = store->waiting[0];
    memmove(store->waiting, store->waiting + 1, --store->waiting_count * sizeof(struct pst_store_request *));
    request->rc = request->kind == PST_STORE_COMMIT ? store_commit(store, request)
                  : request->kind == PST_STORE_READ ? store_read(store, request)
                                                    : store_list(store, request);
}

/* ---- a store that all nodes reach ---- */

static void everybody_wakes(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].node != NULL)
            cluster->nodes[i].sim.world.wake(&cluster->nodes[i].sim, 0);
}

static void store_changed(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count)
{
    everybody_wakes(self);
    (void)path;
    (void)version;
    (void)bytes;
    (void)byte_count;
}

static struct store_sim *session_time(struct cluster_session *session)
{
    struct store_sim *sim = &session->node->cluster->coordination;
    uint64_t now_us = session->node->sim.now_ns / 1000;
    if (now_us > sim->now_us)
        store_sim_run(sim, now_us);
    return sim;
}

static void session_alarm(struct cluster_session *session)
{
    const struct store_sim_session *below = session->below->self;
    if (below->queue_count != 0)
        (void)session->node->sim.world.alarm(&session->node->sim, 0, (below->queue[0].due_us + 1) * 1000);
}

static void session_begin(void *self, struct pst_store_request *request)
{
    struct cluster_session *session = self;
    request->rc = PST_EAGAIN;
    if (session->node->sim.cut)
        return; /* it dies in this step */
    (void)session_time(session);
    session->below->begin(session->below->self, request);
    session_alarm(session);
}

static void session_step(void *self)
{
    struct cluster_session *session = self;
    if (session->node->sim.cut)
        return;
    (void)session_time(session);
    session->below->step(session->below->self);
    session_alarm(session);
}

static uint64_t session_news(void *self)
{
    struct cluster_session *session = self;
    return session->below->news(session->below->self);
}

static uint64_t session_number(void *self)
{
    struct cluster_session *session = self;
    return session->below->session(session->below->self);
}

static void session_close(void *self)
{
    struct cluster_session *session = self;
    struct store_sim *sim = session_time(session);
    struct cluster *cluster = session->node->cluster;
    session->closed = true;
    if (session->node->dies) {
        store_sim_lose(sim, session->below);
        session->ends_ns = cluster->net.now_ns + 1 + sim_random(&cluster->random, 1000000000);
    } else {
        session->below->close(session->below->self);
        session->ends_ns = 0;
    }
}

static int session_open(void *argument, struct pst_store **ret_store)
{
    struct cluster_node *node = argument;
    struct cluster_session *session = calloc(1, sizeof *session);
    assert_non_null(session);
    session->node = node;
    assert_int_equal(store_sim_open(&node->cluster->coordination, &session->below), PST_OK);
    session->store = (struct pst_store){.self = session,
                                        .begin = session_begin,
                                        .step = session_step,
                                        .news = session_news,
                                        .session = session_number,
                                        .close = session_close};
    session->next = node->cluster->sessions;
    node->cluster->sessions = session;
    return pst_store_sealed(&session->store, node->cluster->key, ret_store);
}

/* What happens at its time. */
static void sessions_turn(struct cluster *cluster)
{
    uint64_t now = cluster->net.now_ns;
    for (struct cluster_session **link = &cluster->sessions, *session; (session = *link) != NULL;) {
        if (session->cut_ns != 0 && now >= session->cut_ns) {
            session->cut_ns = 0;
            store_sim_cut(&cluster->coordination, session->below, false);
        }
        if (session->ends_ns != 0 && now >= session->ends_ns) {
            session->ends_ns = 0;
            store_sim_crash(&cluster->coordination, session->below);
        }
        if (session->closed && session->ends_ns == 0) {
            *link = session->next;
            free(session);
        } else {
            link = &session->next;
        }
    }
}

void cluster_store_fault(struct cluster *cluster)
{
    uint32_t kind = (uint32_t)sim_random(&cluster->random, 4);
    uint64_t until_ns = cluster->net.now_ns + 1 + sim_random(&cluster->random, cluster->cut_ns_max);
    for (struct cluster_session *session = cluster->sessions; session != NULL; session = session->next) {
        bool chosen = kind == 3 || sim_random(&cluster->random, 2) == 0;
        if (session->closed || !chosen)
            continue;
        if (kind == 0) {
            store_sim_expire(&cluster->coordination, session->below);
        } else {
            store_sim_cut(&cluster->coordination, session->below, true);
            session->cut_ns = until_ns;
            if (kind == 1) /* so long that its session ends behind its back */
                store_sim_expire(&cluster->coordination, session->below);
        }
    }
    everybody_wakes(cluster);
}

void cluster_depose(struct cluster *cluster, uint32_t node, bool away)
{
    uint64_t until_ns = cluster->net.now_ns + 1 + sim_random(&cluster->random, cluster->cut_ns_max);
    for (struct cluster_session *session = cluster->sessions; session != NULL; session = session->next) {
        if (session->closed || session->node != &cluster->nodes[node])
            continue;
        if (away) {
            store_sim_cut(&cluster->coordination, session->below, true);
            session->cut_ns = until_ns;
        }
        store_sim_expire(&cluster->coordination, session->below);
    }
    everybody_wakes(cluster);
}

/* ---- nodes ---- */

static struct pst_registry registry(void)
{
    static const struct pst_operator *const *lists[3];
    lists[0] = pst_builtin_operators;
    lists[1] = pst_debs14_operators;
    lists[2] = pst_sim_guests;
    return (struct pst_registry){lists, 3};
}

static void log_line(void *argument, const char *line)
{
    struct cluster_node *node = argument;
    node->cluster->listening += strstr(line, " listens on ") != NULL;
    node->cluster->joined += strstr(line, " has joined, ") != NULL;
    node->cluster->completed += strstr(line, "is complete") != NULL;
    node->cluster->given_up += strstr(line, " is given up: ") != NULL;
    node->cluster->resumed += strstr(line, "from checkpoint") != NULL;
    node->cluster->passed += strstr(line, "it had passed the cut when it heard of it") != NULL;
    node->cluster->gone_on += strstr(line, "another node coordinated then: it goes on") != NULL;
    node->cluster->rolled_back += strstr(line, "another node coordinated then: what is left") != NULL;
    node->cluster->terms += strstr(line, ": this node coordinates") != NULL;
    node->cluster->resigned += strstr(line, "coordinates no longer") != NULL;
    node->cluster->silences += strstr(line, "store does not answer;") != NULL;
    node->cluster->portions += strstr(line, ", a portion of it") != NULL;
    node->cluster->relocated += strstr(line, ": it is where it is to be") != NULL;
    node->cluster->went_back += strstr(line, "READY -> ABORTED") != NULL;
    node->cluster->late += strstr(line, "its time to bring elsewhere") != NULL;
    const char *move = strstr(line, ", move ");
    uint64_t number = move != NULL ? strtoull(move + 7, NULL, 10) : 0;
    node->cluster->newest_move = number > node->cluster->newest_move ? number : node->cluster->newest_move;
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%llu %llu ms %s: %s\n", (unsigned long long)node->cluster->turns,
                      (unsigned long long)(node->cluster->net.now_ns / 1000000), names[node->sim.node], line);
}

/* What it sends goes as it is, but for its hello, which a node of the version before would say so. */
static int earlier_send(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count)
{
    const struct cluster_node *node = self; /* its world is the first in it */
    struct pst_arena arena;
    struct pst_text hello = {0};
    Pst__Control *message;
    pst_arena_init(&arena);
    if (pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message) == PST_OK &&
        message->body_case == PST__CONTROL__BODY_HELLO) {
        message->hello->resumes = message->hello->parts = message->hello->keeps = message->hello->outlives = false;
        assert_int_equal(pst_control_pack(message, &hello), PST_OK);
        assert_memory_equal(hello.bytes, "\x08\x03", 2); /* the version, first of all */
        hello.bytes[1] = PST_CONTROL_VERSION - 1;
        bytes = hello.bytes;
        byte_count = hello.count;
    }
    int rc = node->send(self, conn, bytes, byte_count);
    pst_text_fini(&hello);
    pst_arena_fini(&arena);
    return rc;
}

void cluster_up(struct cluster *cluster, uint32_t i)
{
    struct cluster_node *node = &cluster->nodes[i];
    if (cluster->earlier == i + 1 && node->sim.world.net_send != earlier_send) {
        node->send = node->sim.world.net_send;
        node->sim.world.net_send = earlier_send;
    }
    struct pst_node_options options = {.name = names[i],
                                       .listen = addresses[i],
                                       .directory = names[i],
                                       .join = i == 0 ? NULL : addresses[0],
                                       .store = i == 0 ? &cluster->store.store : NULL,
                                       .worker_count = node->workers,
                                       .registry = registry(),
                                       .frame_rows = cluster->like.options.frame_rows,
                                       .channel_frames = cluster->like.options.channel_frames,
                                       .block_bytes = cluster->like.options.block_bytes,
                                       .dead_ns = cluster->dead_ns,
                                       .tell_ns = cluster->portion_bytes != 0 ? 2 * 1000 * 1000 : 0,
                                       .portion_bytes = cluster->portion_bytes,
                                       .drain_ns = cluster->drain_ns,
                                       .state_budget = cluster->state_budget,
                                       .relocates = cluster->relocates,
                                       .interrupts = &node->interrupts,
                                       .log = log_line,
                                       .log_argument = node};
    if (cluster->elects) {
        options.join = NULL;
        options.store = NULL;
        options.store_open = session_open;
        options.store_argument = node;
    }
    if (cluster->every_ns != 0 && cluster->poor != i + 1) {
        options.checkpoints = "shared";
        options.every_ns = cluster->every_ns;
        options.disk_bytes_max = cluster->disk_bytes_max;
        options.keys = &cluster->key;
        options.key_count = 1;
    }
    cluster->net.down[i] = false;
    atomic_store(&node->interrupts, 0);
    assert_int_equal(pst_node_new(&node->sim.world, &options, &node->node), PST_OK);
    sim_begin(&node->sim, pst_node_workers(node->node), pst_node_step, node->node);
}

void cluster_kill(struct cluster *cluster, uint32_t i)
{
    struct cluster_node *node = &cluster->nodes[i];
    char why[240];
    for (uint32_t k = 0; k < cluster->net.node_count; k++)
        sim_net_break(&cluster->net, i, k);
    cluster->net.down[i] = true;
    cluster->killed = true;
    node->sim.cut = true;
    node->sim.job_count = 0;
    node->dies = true;
    (void)pst_node_free(node->node, why);
    node->dies = false;
    node->node = NULL;
    sim_end(&node->sim);
    sim_net_crash(&cluster->net, i);
    sim_revive(&node->sim);
    sim_shared_crash(&cluster->shared, i);
    if (i == 0)
        cluster->store.waiting_count = 0; /* whoever asked is no more */
}

void cluster_stop(struct cluster *cluster, uint32_t i)
{
    atomic_store(&cluster->nodes[i].interrupts, 1);
    cluster->nodes[i].sim.world.wake(&cluster->nodes[i].sim, 0);
}

/* Those that have ended as they were told to. */
static void nodes_reap(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        char why[240];
        if (node->node == NULL || node->sim.workers_left != 0 || atomic_load(&node->interrupts) == 0)
            continue;
        assert_int_equal(pst_node_free(node->node, why), PST_ESTOPPED);
        node->node = NULL;
        sim_end(&node->sim);
        cluster->net.down[i] = true; /* what it has said last is on its way */
        if (i == 0)
            cluster->store.waiting_count = 0;
        cluster->left++;
    }
}

uint32_t cluster_coordinator(const struct cluster *cluster)
{
    uint32_t i = 0;
    while (i < cluster->node_count && (cluster->nodes[i].node == NULL || cluster->nodes[i].node->duty == NULL ||
                                       !cluster->nodes[i].node->opened || cluster->nodes[i].sim.cut))
        i++;
    return i;
}

const struct graph_record *cluster_record(const struct cluster *cluster)
{
    uint32_t i = cluster_coordinator(cluster);
    const struct coordinator *duty = i < cluster->node_count ? cluster->nodes[i].node->duty : NULL;
    return duty != NULL && duty->graph_count != 0 ? duty->graphs[0] : NULL;
}

uint32_t cluster_places(const struct cluster *cluster, uint32_t node, bool fixed)
{
    const struct graph_record *record = cluster_record(cluster);
    const Pst__Start *start = record != NULL ? record->start->start : NULL;
    uint32_t count = 0;
    for (size_t i = 0; start != NULL && i < start->n_places; i++)
        count +=
            strcmp(start->nodes[start->places[i]->node], names[node]) == 0 &&
            (!fixed || pst_order_stays(cluster->nodes[cluster_coordinator(cluster)].node, record, start->places[i]));
    return count;
}

/* ---- the client ---- */

static void client_send(struct cluster_client *client, Pst__Control *message)
{
    struct pst_text bytes = {0};
    message->request = ++client->requests;
    assert_int_equal(pst_control_pack(message, &bytes), PST_OK);
    assert_int_equal(client->sim.world.net_send(&client->sim, client->conn, bytes.bytes, bytes.count), PST_OK);
    pst_text_fini(&bytes);
}

enum { SCRIPT_EVERY_NS = 50 * 1000 * 1000, STATUS_EVERY_NS = 5 * 1000 * 1000 };
enum { SCALES = 1, MOVES, DRAINS, REBALANCES, CANCELS, STOPS, UNDOES, SAYS, WISHES, SUBMITS };

/* Half of it cannot be: partitions that there are not, moves that have ended. Sets how many arguments there are. */
static size_t client_moves(struct cluster *cluster, char **arguments, char what[100], char number[20],
                           uint32_t *ret_moving)
{
    struct cluster_client *client = &cluster->client;
    uint32_t count = 0, moving;
    while (client->movable[count] != NULL)
        count++;
    const char *operator_id = client->movable[sim_random(&cluster->random, count)];
    const char *somewhere = names[sim_random(&cluster->random, cluster->node_count)];
    *ret_moving = moving = 1 + (uint32_t)sim_random(&cluster->random, 8);
    if (moving == UNDOES) {
        arguments[0] = (char *)(uintptr_t) "drain";
        arguments[1] = (char *)(uintptr_t)somewhere;
        arguments[2] = (char *)(uintptr_t) "--undo";
        return 3;
    }
    if (moving == DRAINS || moving == REBALANCES || moving == CANCELS) {
        bool cancels = moving == CANCELS, drains = moving == DRAINS;
        uint64_t id = client->pause_ns != 0 ? cluster->newest_move : 1 + sim_random(&cluster->random, 6);
        arguments[0] = (char *)(uintptr_t)(cancels ? "migration" : drains ? "drain" : "rebalance");
        arguments[1] = (char *)(uintptr_t)(cancels ? "cancel" : somewhere);
        (void)snprintf(what, 100, "%s/%llu", client->graph_name, (unsigned long long)id);
        arguments[2] = what;
        if (moving == REBALANCES && client->requests % 3 != 0) {
            arguments[1] = (char *)(uintptr_t)(client->requests % 3 == 1 ? "--by-load" : "--by-source");
            return 2;
        }
        return cancels ? 3 : drains ? 2 : 1;
    }
    *ret_moving = moving = 1 + moving % 2;
    arguments[0] = (char *)(uintptr_t)(moving == SCALES ? "scale" : "move");
    arguments[1] = what;
    arguments[2] = moving == SCALES ? number : (char *)(uintptr_t)somewhere;
    (void)snprintf(number, 20, "%llu", (unsigned long long)(1 + sim_random(&cluster->random, 8)));
    (void)snprintf(what, 100, moving == SCALES ? "%s" : "%s/%llu", operator_id,
                   (unsigned long long)sim_random(&cluster->random, 8));
    return 3;
}

/* It goes on with other partitions than it had. */
static void setting_put(struct cluster *cluster, uint32_t i, char text[100])
{
    const char *name = cluster->like.settings[i].name, *value = cluster->like.settings[i].value;
    if (cluster->client.from[0] != '\0' && strcmp(name, "partitions") == 0)
        (void)snprintf(text, 100, "%s=%u", name, 1 + (unsigned)sim_random(&cluster->random, 4));
    else
        (void)snprintf(text, 100, "%s=%s", name, value);
}

static void client_ask(struct cluster *cluster)
{
    struct cluster_client *client = &cluster->client;
    Pst__Admin admin = PST__ADMIN__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    char settings[SCENE_SETTINGS_MAX][100], readers[CLUSTER_FEW_NODES][20],
        *arguments[SCENE_SETTINGS_MAX + 6 + 2 * CLUSTER_FEW_NODES] = {(char *)(uintptr_t) "submit",
                                                                      (char *)(uintptr_t) "graph"};
    admin.arguments = arguments;
    admin.n_arguments = 2;
    for (uint32_t i = 0; i < cluster->like.setting_count; i++) {
        setting_put(cluster, i, settings[i]);
        arguments[admin.n_arguments++] = settings[i];
    }
    for (uint32_t i = 0; i < cluster->reader_count; i++) {
        (void)snprintf(readers[i], sizeof readers[i], cluster->fed ? "%s" : "%s=meters.csv", names[i]);
        arguments[admin.n_arguments++] = (char *)(uintptr_t) "--source";
        arguments[admin.n_arguments++] = readers[i];
    }
    if (cluster->reader_count == 0) {
        arguments[admin.n_arguments++] = (char *)(uintptr_t) "--source";
        arguments[admin.n_arguments++] = (char *)(uintptr_t)names[cluster->source];
    }
    if (cluster->fed)
        arguments[admin.n_arguments++] = (char *)(uintptr_t) "--listen";
    if (cluster->by_source)
        arguments[admin.n_arguments++] = (char *)(uintptr_t) "--by-source";
    if (client->from[0] != '\0') {
        arguments[admin.n_arguments++] = (char *)(uintptr_t) "--from";
        arguments[admin.n_arguments++] = client->from;
    }
    char what[100], number[20];
    uint32_t moving = 0;
    if ((client->taken || client->refuses) && client->wish[0] != NULL) {
        moving = WISHES;
        for (admin.n_arguments = 0; admin.n_arguments < 3 && client->wish[admin.n_arguments] != NULL;
             admin.n_arguments++)
            arguments[admin.n_arguments] = (char *)(uintptr_t)client->wish[admin.n_arguments];
    } else if (client->taken && client->script != NULL && client->script[client->said_count] != NULL) {
        moving = SAYS;
        (void)snprintf(what, sizeof what, "%s", client->script[client->said_count]);
        admin.n_arguments = 0;
        for (char *at = what, *word; (word = strtok_r(at, " ", &at)) != NULL;)
            arguments[admin.n_arguments++] = word;
    } else if (client->taken && client->movable != NULL && sim_random(&cluster->random, 3) != 0) {
        admin.n_arguments = client_moves(cluster, arguments, what, number, &moving);
    } else if (client->taken && client->asked_to_stop < client->stops && sim_random(&cluster->random, 20) == 0) {
        moving = STOPS;
        (void)snprintf(what, sizeof what, "point-%u", ++client->asked_to_stop);
        arguments[0] = (char *)(uintptr_t) "stop";
        arguments[1] = (char *)(uintptr_t)client->graph_name;
        arguments[2] = (char *)(uintptr_t) "--savepoint";
        arguments[3] = what;
        admin.n_arguments = 4;
    } else if (client->taken) {
        arguments[0] = (char *)(uintptr_t) "status";
        admin.n_arguments = 1;
        if (client->movable == NULL && client->asks_ns < client->sim.now_ns + STATUS_EVERY_NS)
            client->asks_ns = client->sim.now_ns + STATUS_EVERY_NS; /* it only waits for the end */
    } else {
        moving = SUBMITS;
        admin.body = (ProtobufCBinaryData){cluster->graph->count, (uint8_t *)cluster->graph->bytes};
    }
    admin.progress = moving != 0 && moving != SUBMITS && client->requests % 2 == 0;
    client->progress |= admin.progress;
    message.body_case = PST__CONTROL__BODY_ADMIN;
    message.admin = &admin;
    client_send(client, &message);
    client->asked[client->asked_count].request = client->requests;
    client->asked[client->asked_count++].moving = moving;
}

/* What it was that is answered now. */
static uint32_t client_asked(struct cluster_client *client, uint64_t request)
{
    uint32_t i = 0;
    while (i < client->asked_count && client->asked[i].request != request)
        i++;
    assert_true(i < client->asked_count);
    uint32_t moving = client->asked[i].moving;
    client->asked[i] = client->asked[--client->asked_count];
    return moving;
}

static void loss_hear(struct cluster_client *client)
{
    const char *lost = strstr(client->says, "rows lost ");
    bool none = lost != NULL && strncmp(lost, "rows lost 0\n", 12) == 0;
    client->counted += none;
    client->uncounted += lost != NULL && strncmp(lost, "rows lost not counted\n", 22) == 0;
    client->lost += (lost != NULL && !none && strstr(lost, "not counted") == NULL) ||
                    strstr(client->says, "rows were lost in move") != NULL;
}

/* The one that the answer names. */
static uint32_t reader_drained(const struct cluster *cluster)
{
    char name[sizeof names[0] + 2];
    for (uint32_t i = 0; i < cluster->reader_count; i++) {
        (void)snprintf(name, sizeof name, "`%s`", names[i]);
        if (strstr(cluster->client.says, name) != NULL)
            return i;
    }
    return cluster->source;
}

static void client_hears(struct cluster *cluster, const Pst__Control *message)
{
    struct cluster_client *client = &cluster->client;
    if (message->body_case != PST__CONTROL__BODY_ADMIN_REPLY)
        return;
    const Pst__AdminReply *body = message->admin_reply;
    if (!body->last) {
        assert_true(client->progress && body->progress.len != 0 && body->out.len == 0 && body->err.len == 0);
        assert_int_equal(memcmp(body->progress.data, "move ", 5), 0);
        client->told++;
        return;
    }
    uint32_t moving = client_asked(client, message->request);
    client->answered = true;
    if (moving == SUBMITS && client->taken) /* it has asked twice, and the other one was taken */
        return;
    moving = moving == SUBMITS ? 0 : moving;
    client->error = body->error;
    (void)snprintf(client->says, sizeof client->says, "%.*s%.*s", (int)body->out.len, (const char *)body->out.data,
                   (int)body->err.len, (const char *)body->err.data);
    const char *savepoint = strstr(client->says, ": its savepoint is ");
    if (client->taken && body->error == PST_OK && savepoint != NULL) { /* an answer, or what status says of it */
        (void)snprintf(client->from, sizeof client->from, "%.*s", (int)strcspn(savepoint + 19, "\n"), savepoint + 19);
        client->taken = false;
        client->stopped++;
        return;
    }
    if (moving == WISHES) {
        client->wish_error = body->error;
        client->error = PST_OK;
        memset(client->wish, 0, sizeof client->wish);
        client->refuses = false;
        return;
    }
    if (!client->taken && strstr(client->says, "is being drained") != NULL) { /* it is not to be, then */
        static const char *const undo[] = {"drain", NULL, "--undo"};
        memcpy(client->wish, undo, sizeof undo);
        client->wish[1] = names[reader_drained(cluster)];
        client->refuses = true;
    }
    client->submitted_from += !client->taken && client->from[0] != '\0' && body->error == PST_OK;
    if (moving == SAYS) {
        if (body->error != PST_OK)
            fail_msg("%s: %s", client->script[client->said_count], client->says);
        const char *figures = strstr(client->says, " moves, ");
        figures = figures != NULL ? figures : strstr(client->says, " move, ");
        while (figures != NULL && figures != client->says && figures[-1] >= '0' && figures[-1] <= '9')
            figures--;
        if (figures != NULL) {
            client->done_moves += strtoul(figures, NULL, 10);
            client->done_buckets += strtoul(strstr(figures, ", ") + 2, NULL, 10);
        }
        client->said_count++;
        return;
    }
    if (moving != 0) {
        bool did = body->error == PST_OK && strstr(client->says, "nothing to do") == NULL;
        client->scaled += did && moving == SCALES;
        client->moved += did && moving == MOVES;
        client->spread +=
            did && (moving == DRAINS || moving == REBALANCES) && strstr(client->says, "0 moves") != client->says;
        client->cancelled += body->error == PST_OK && moving == CANCELS;
        client->refused += body->error != PST_OK;
        loss_hear(client);
        client->error = PST_OK;
        return;
    }
    /* The coordinator was killed meanwhile: whether it had taken the graph was not heard, or the node that reads is not back yet. */
    bool again = !client->taken && body->error == PST_EREFUSED;
    again |= cluster->elects && strstr(client->says, "coordinat") != NULL &&
             (body->error == PST_EREFUSED || body->error == PST_ETIMEOUT); /* nobody does now, or not any more */
    client->taken |= body->error == PST_OK || strstr(client->says, " already: ") != NULL;
    if (again)
        return;
    client->done = body->error != PST_OK || strstr(client->says, ": done") != NULL;
    const char *incarnation = strstr(client->says, "incarnation ");
    client->incarnation = incarnation != NULL ? (uint32_t)strtoul(incarnation + 12, NULL, 10) : 0;
}

static pst_step client_step(void *argument, uint32_t worker)
{
    struct cluster *cluster = argument;
    struct cluster_client *client = &cluster->client;
    const struct pst_world *world = &client->sim.world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    int rc;
    assert_int_equal(worker, 0);
    if (client->conn == NULL)
        assert_int_equal(world->net_connect(world->self, 0, addresses[0], &client->conn), PST_OK);
    if (!client->greeted) {
        rc = world->net_peer(world->self, client->conn, peer);
        if (rc != PST_OK && rc != PST_EAGAIN) { /* it does not listen yet */
            world->net_close(world->self, client->conn);
            client->conn = NULL;
            (void)world->alarm(world->self, 0, client->sim.now_ns + 1000000);
        }
        if (rc != PST_OK)
            return PST_STEP_IDLE;
        Pst__Hello hello;
        Pst__Control message;
        pst_control_greet(&message, &hello);
        client->greeted = true;
        client_send(client, &message);
        client_ask(cluster);
    }
    while ((rc = world->net_receive(world->self, client->conn, &bytes, &byte_count)) == PST_OK) {
        struct pst_arena arena;
        Pst__Control *message;
        pst_arena_init(&arena);
        assert_int_equal(pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message), PST_OK);
        client_hears(cluster, message);
        pst_arena_fini(&arena);
    }
    if (rc != PST_EAGAIN && !client->done) { /* its node is dead: it asks again when that is back */
        world->net_close(world->self, client->conn);
        client->conn = NULL;
        client->greeted = client->answered = false;
        client->asked_count = 0;
        (void)world->alarm(world->self, 0, client->sim.now_ns + 1000000);
        return PST_STEP_IDLE;
    }
    if (client->done) {
        world->net_close(world->self, client->conn);
        return PST_STEP_DONE;
    }
    bool early = client->wish[0] == NULL && client->sim.now_ns < client->asks_ns;
    uint64_t now_ns = client->sim.now_ns;
    if (client->pause_ns != 0 && client->taken && client->asked_count < CLUSTER_ASKED_MAX) {
        client->answered = now_ns >= client->next_ns;
        client->next_ns =
            client->answered ? now_ns + 1 + sim_random(&cluster->random, client->pause_ns) : client->next_ns;
        (void)world->alarm(world->self, 0, client->next_ns);
    }
    if (client->answered && !early) {
        client->answered = false;
        client->asks_ns = client->script != NULL ? client->sim.now_ns + SCRIPT_EVERY_NS : 0;
        client_ask(cluster);
    }
    if (early)
        (void)world->alarm(world->self, 0, client->asks_ns);
    return PST_STEP_IDLE;
}

/* ---- players ---- */

static uint32_t player_count(const struct cluster *cluster)
{
    return !cluster->fed ? 0 : cluster->reader_count > 1 ? cluster->reader_count : 1;
}

bool cluster_players_ended(const struct cluster *cluster)
{
    for (uint32_t k = 0; k < player_count(cluster); k++)
        if (!cluster->player[k].ended)
            return false;
    return true;
}

static void player_log(void *argument, const char *line)
{
    struct cluster_player *player = argument;
    player->resumed += strstr(line, "takes it, from byte") != NULL && strstr(line, "byte 0 on") == NULL;
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%llu player, %s: %s\n", (unsigned long long)player->sim.now_ns / 1000000, player->stream, line);
}

static void player_progress(void *argument, const struct pst_replay_report *report)
{
    struct cluster_player *player = argument;
    player->report = *report;
}

static bool has_house(const struct cluster *cluster, uint32_t reader, const char *line, const char *newline, size_t at,
                      size_t byte_count)
{
    const char *house = newline;
    while (house > line && house[-1] != ',')
        house--;
    bool there = reader != 0 || cluster_has_row(cluster->lack, at, byte_count);
    return at == 0 || (there && strtoul(house, NULL, 10) % cluster->reader_count == reader);
}

/* The header, and the rows whose last field, the house, is this one's. */
static void houses_take(struct cluster *cluster, uint32_t reader, struct pst_text *own)
{
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    for (const char *line = rows->bytes, *end; line < rows->bytes + rows->count; line = end) {
        const char *newline = memchr(line, '\n', (size_t)(rows->bytes + rows->count - line));
        end = newline + 1;
        if (has_house(cluster, reader, line, newline, (size_t)(line - rows->bytes), rows->count))
            assert_int_equal(pst_text_add(own, line, (size_t)(end - line)), PST_OK);
    }
    own->count -= reader == 0 && cluster->lack == LACKS_END;
    assert_true(own->count != 0);
}

static void player_add(struct cluster *cluster, uint32_t k)
{
    struct cluster_player *player = &cluster->player[k];
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    struct pst_text own = {0};
    if (cluster->reader_count > 1) {
        houses_take(cluster, k, &own);
        sim_put(&player->sim, "stream.csv", own.bytes, own.count);
        (void)snprintf(player->stream, sizeof player->stream, "stream-%u", k);
    } else {
        sim_put(&player->sim, "stream.csv", rows->bytes, rows->count);
        (void)snprintf(player->stream, sizeof player->stream, "the-stream");
    }
    pst_text_fini(&own);
    player->index = cluster->net.node_count;
    sim_net_add(&cluster->net, &player->sim);
    player->added = true;
}

/* Of any node that is up. Whose stream it is it says by that one's name, or, where that one is asked first, not at all. */
static void player_begin(struct cluster *cluster, uint32_t k)
{
    struct cluster_player *player = &cluster->player[k];
    uint32_t i = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    if (cluster->nodes[i].node == NULL)
        return;
    if (!player->added)
        player_add(cluster, k);
    cluster->net.down[player->index] = false;
    player->options = (struct pst_replay_options){.file = "stream.csv",
                                                  .address = addresses[i],
                                                  .graph = "",
                                                  .source = "",
                                                  .stream = player->stream,
                                                  .reader = cluster->reader_count > 1 && i != k ? names[k] : NULL,
                                                  .here = true,
                                                  .from = INT64_MIN,
                                                  .until = INT64_MAX,
                                                  .time_column = -1,
                                                  .speed = player->speed,
                                                  .time_unit_ns = 1000000000,
                                                  .patience_ns = UINT64_C(60) * 1000000000,
                                                  .log = player_log,
                                                  .progress = player_progress,
                                                  .argument = player};
    assert_int_equal(pst_replay_new(&player->sim.world, &player->options, &player->replay), PST_OK);
    player->begun++;
    sim_begin(&player->sim, 1, pst_replay_step, player->replay);
}

static int player_end(struct cluster_player *player)
{
    int rc = pst_replay_free(player->replay, &player->report);
    player->replay = NULL;
    player->bytes_sent += player->report.bytes;
    sim_end(&player->sim);
    return rc;
}

static void player_kill(struct cluster *cluster, struct cluster_player *player)
{
    if (player->replay == NULL)
        return;
    for (uint32_t k = 0; k < cluster->net.node_count; k++)
        sim_net_break(&cluster->net, player->index, k);
    cluster->net.down[player->index] = true;
    player->sim.cut = true;
    (void)player_end(player);
    sim_net_crash(&cluster->net, player->index);
    sim_revive(&player->sim);
    player->killed++;
}

void cluster_player_kill(struct cluster *cluster)
{
    uint32_t count = player_count(cluster);
    player_kill(cluster, &cluster->player[count > 1 ? sim_random(&cluster->random, count) : 0]);
}

static void player_look(struct cluster *cluster, uint32_t k, const char *what)
{
    struct cluster_player *player = &cluster->player[k];
    if (player->held || player->ended)
        return;
    if (player->replay == NULL) {
        player_begin(cluster, k);
    } else if (player->sim.workers_left == 0) {
        int rc = player_end(player);
        player->ended = rc == PST_OK;
        if (rc != PST_OK && getenv("PST_TEST_LOG") != NULL)
            print_message("%llu player: %s\n", (unsigned long long)cluster->turns, player->report.why);
        if (rc != PST_OK && rc != PST_EIO && rc != PST_ETIMEOUT && rc != PST_EREFUSED)
            fail_msg("%s: the player ends: %s", what, player->report.why);
    }
}

void cluster_player_look(struct cluster *cluster, const char *what)
{
    for (uint32_t k = 0; cluster->client.taken && k < player_count(cluster); k++)
        player_look(cluster, k, what);
}

/* ---- running ---- */

void cluster_init(struct cluster *cluster, uint64_t seed, const struct pst_text *graph,
                  void (*input)(struct scene *scene))
{
    cluster_init_many(cluster, seed, 0, graph, input);
}

void cluster_init_many(struct cluster *cluster, uint64_t seed, uint32_t node_count, const struct pst_text *graph,
                       void (*input)(struct scene *scene))
{
    names_make();
    memset(cluster, 0, sizeof *cluster);
    cluster->random.random = seed ^ 0xc105;
    cluster->graph = graph;
    cluster->dead_ns = DEAD_NS;
    cluster->cut_ns_max = (uint64_t)2 * DEAD_NS;
    cluster->portion_bytes = seed % 2 != 0 ? (1 + seed % 20) * 16384 : 0;
    sim_net_init(&cluster->net, seed);
    cluster->net.delay_ns_max = 1 + sim_random(&cluster->random, 2000000);
    cluster->node_count =
        node_count != 0 ? node_count : 2 + (uint32_t)sim_random(&cluster->random, CLUSTER_FEW_NODES - 1);
    cluster->nodes = calloc(cluster->node_count, sizeof *cluster->nodes);
    assert_non_null(cluster->nodes);
    scene_init(&cluster->like, seed);
    input(&cluster->like);
    scene_shake(&cluster->like, true);
    sim_init(&cluster->shared, seed);
    assert_int_equal(pst_secret_new(&cluster->key), PST_OK);
    memset(pst_secret_bytes(cluster->key), 7, PST_SECRET_BYTES);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        struct cluster_node *node = &cluster->nodes[i];
        sim_init(&node->sim, seed * 100 + i);
        node->cluster = cluster;
        node->workers = 1 + (uint32_t)sim_random(&cluster->random, 3);
        node->sim.read_bytes_max = cluster->like.sim.read_bytes_max;
        node->sim.shared = &cluster->shared;
        sim_net_add(&cluster->net, &node->sim);
    }
    cluster->store = (struct cluster_store){.sim = &cluster->nodes[0].sim};
    cluster->store.store = (struct pst_store){.self = &cluster->store, .begin = store_begin, .step = store_step};
    sim_init(&cluster->client.sim, seed);
    store_sim_init(&cluster->coordination, seed);
    cluster->coordination.changed = store_changed;
    cluster->coordination.self = cluster;
    for (uint32_t k = 0; k < CLUSTER_FEW_NODES; k++)
        sim_init(&cluster->player[k].sim, seed + 1 + k);
}

bool cluster_has_row(enum cluster_lack lack, size_t at, size_t byte_count)
{
    return lack == LACKS_NOTHING || (lack == LACKS_END && at < byte_count / 3) ||
           (lack == LACKS_BEGIN && at > byte_count / 3 * 2);
}

static void houses_put(struct cluster *cluster, uint32_t reader)
{
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    struct pst_text own = {0};
    houses_take(cluster, reader, &own);
    sim_put_growing(&cluster->nodes[reader].sim, "meters.csv", own.bytes, own.count,
                    cluster->grow_ns * rows->count / own.count * (cluster->abreast ? 1 : reader + 1) /
                        (cluster->abreast ? 1 : cluster->reader_count)); /* the last one as long as the whole would */
    pst_text_fini(&own);
}

void cluster_begin(struct cluster *cluster)
{
    const struct pst_text *rows = scene_file(&cluster->like, "in.csv");
    struct sim *source = &cluster->nodes[cluster->source].sim;
    if (!cluster->fed) {
        sim_put_growing(source, "in.csv", rows->bytes, rows->count, cluster->grow_ns);
        sim_put_growing(source, "meters.csv", rows->bytes, rows->count, cluster->grow_ns);
    }
    for (uint32_t i = 0; i < cluster->reader_count && !cluster->fed; i++)
        houses_put(cluster, i);
    for (uint32_t k = 1; k < player_count(cluster); k++) {
        cluster->player[k].speed = cluster->player->speed;
        cluster->player[k].sim.read_bytes_max = cluster->player->sim.read_bytes_max;
    }
    sim_net_add(&cluster->net, &cluster->client.sim);
    cluster_up(cluster, 0);
    while (cluster->listening == 0 || (cluster->elects && cluster->terms == 0))
        cluster_turn(cluster, "the first node");
    for (uint32_t i = 1; i < cluster->node_count - cluster->held_back; i++)
        cluster_up(cluster, i);
    while (cluster->joined < cluster->node_count - cluster->held_back - 1)
        cluster_turn(cluster, "the nodes");
    sim_begin(&cluster->client.sim, 1, client_step, cluster);
}

void cluster_fini(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].node != NULL)
            cluster_kill(cluster, i);
    for (struct cluster_session *session = cluster->sessions; session != NULL; session = session->next)
        session->ends_ns = session->ends_ns != 0 ? 1 : 0;
    sessions_turn(cluster);
    assert_null(cluster->sessions);
    store_sim_fini(&cluster->coordination);
    sim_end(&cluster->client.sim);
    for (uint32_t k = 0; k < CLUSTER_FEW_NODES; k++)
        player_kill(cluster, &cluster->player[k]);
    sim_net_fini(&cluster->net);
    for (uint32_t i = 0; i < cluster->node_count; i++)
        sim_fini(&cluster->nodes[i].sim);
    free(cluster->nodes);
    sim_fini(&cluster->client.sim);
    for (uint32_t k = 0; k < CLUSTER_FEW_NODES; k++)
        sim_fini(&cluster->player[k].sim);
    sim_fini(&cluster->shared);
    pst_secret_free(cluster->key);
    for (uint32_t i = 0; i < CLUSTER_RECORDS_MAX; i++)
        pst_text_fini(&cluster->store.records[i].bytes);
    scene_fini(&cluster->like);
}

/* ---- looking ---- */

static const struct pst_text *result_of(struct cluster *cluster, const char *graph_name, const char *file)
{
    char path[200];
    const struct pst_text *bytes = NULL;
    if (cluster->every_ns != 0) {
        (void)snprintf(path, sizeof path, "shared/%s/results/%s", graph_name, file);
        return sim_get(&cluster->shared, path);
    }
    for (uint32_t i = 0; i < cluster->node_count && bytes == NULL; i++) {
        (void)snprintf(path, sizeof path, "%s/results/%s/%s", names[i], graph_name, file);
        bytes = sim_get(&cluster->nodes[i].sim, path);
    }
    return bytes;
}

void cluster_same(const struct scene *wanted, struct cluster *cluster, const char *graph_name, const char *what)
{
    for (uint32_t f = 0; f < wanted->sim.file_count; f++) {
        const struct sim_file *file = &wanted->sim.files[f];
        if (strncmp(file->name, "out/", 4) != 0)
            continue;
        const struct pst_text *bytes = result_of(cluster, graph_name, file->name + 4);
        if (bytes == NULL)
            fail_msg("%s: there is no %s on any node", what, file->name);
        if (bytes->count != file->bytes.count ||
            (bytes->count != 0 && memcmp(bytes->bytes, file->bytes.bytes, bytes->count) != 0))
            fail_msg("%s: %s is not the same: %zu bytes, wanted %zu", what, file->name, bytes->count,
                     file->bytes.count);
    }
}

uint64_t cluster_bytes_read(const struct cluster *cluster)
{
    uint64_t bytes = 0;
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        const struct sim *sim = &cluster->nodes[n].sim;
        for (uint32_t i = 0; i < sim->file_count; i++)
            if (strcmp(sim->files[i].name, "in.csv") == 0 || strcmp(sim->files[i].name, "meters.csv") == 0)
                bytes += sim->files[i].read_bytes;
    }
    return bytes;
}

/* ---- running ---- */

static void disks_look(struct cluster *cluster, const char *what)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        char below[40];
        uint64_t bytes = 0;
        (void)snprintf(below, sizeof below, "/nodes/%s/", names[i]);
        for (uint32_t f = 0; f < cluster->shared.file_count; f++) {
            const struct sim_file *file = &cluster->shared.files[f];
            if (file->there && strstr(file->name, below) != NULL)
                bytes += file->bytes.count;
        }
        cluster->disk_bytes_seen = bytes > cluster->disk_bytes_seen ? bytes : cluster->disk_bytes_seen;
        if (cluster->disk_bytes_max != 0 && !cluster->killed && bytes > cluster->disk_bytes_max)
            fail_msg("%s: node %s has %llu bytes of checkpoints, and may have %llu", what, names[i],
                     (unsigned long long)bytes, (unsigned long long)cluster->disk_bytes_max);
    }
}

static void cluster_show(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const struct pst_node *node = cluster->nodes[i].node;
        for (uint32_t k = 0; node != NULL && k < node->hosted_count; k++) {
            const struct run *run = &node->hosted[k]->run;
            print_error("node %s, %s: hold %u, held %u\n", names[i], node->hosted[k]->graph_name, run->hold,
                        run->held_count);
            if (node->hosted[k]->begun)
                sim_run_show(run);
        }
    }
}

void cluster_turn(struct cluster *cluster, const char *what)
{
    if (cluster->every_ns != 0 && cluster->turns % 4 == 0)
        disks_look(cluster, what);
    sessions_turn(cluster);
    nodes_reap(cluster);
    if (!sim_net_turn(&cluster->net) || ++cluster->turns == CLUSTER_TURNS_MAX ||
        (cluster->ends_ns != 0 && cluster->net.now_ns > cluster->ends_ns)) {
        cluster_show(cluster);
        fail_msg("%s: nothing goes on any more after %llu turns, %llu ms; %llu bytes replayed; the client was told: %s",
                 what, (unsigned long long)cluster->turns, (unsigned long long)(cluster->net.now_ns / 1000000),
                 (unsigned long long)cluster->player->report.offset, cluster->client.says);
    }
    if (cluster->look != NULL)
        cluster->look(cluster, what);
}

void cluster_kill_amid(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->node_count; i++)
        if (cluster->nodes[i].node != NULL && cluster->nodes[i].sim.cut)
            cluster_kill(cluster, i);
}

void cluster_cut_off(struct cluster *cluster, uint32_t node, bool off)
{
    for (uint32_t k = 0; k < cluster->net.node_count; k++) {
        sim_net_cut(&cluster->net, node, k, off);
        sim_net_cut(&cluster->net, k, node, off);
    }
}

void cluster_run(struct cluster *cluster, uint32_t kills, bool first_too, const char *what)
{
    uint32_t spared = first_too ? 0 : 1, off = 0; /* off: the node that is cut off */
    uint64_t next = kills != 0 ? cluster->turns + sim_random(&cluster->random, 1500) : UINT64_MAX;
    while (!cluster->client.done || !cluster_players_ended(cluster)) {
        cluster_turn(cluster, what);
        cluster_kill_amid(cluster);
        if (cluster->store_faults != 0 && cluster->client.taken && cluster->net.now_ns >= cluster->store_fault_ns) {
            cluster->store_faults--;
            cluster->store_fault_ns = cluster->net.now_ns + sim_random(&cluster->random, 400 * 1000 * 1000);
            cluster_store_fault(cluster);
        }
        cluster_player_look(cluster, what);
        if (cluster->client.script != NULL && cluster->client.script[cluster->client.said_count] == NULL)
            for (uint32_t k = 0; k < player_count(cluster); k++)
                cluster->player[k].options.speed = 0; /* all was said that the stream is there for */
        if (cluster->turns < next)
            continue;
        uint32_t i = spared + (uint32_t)sim_random(&cluster->random, cluster->node_count - spared);
        struct cluster_node *node = &cluster->nodes[i];
        if (off != 0) {
            cluster_cut_off(cluster, off, false);
            off = 0;
        } else if (kills != 0 && i != 0 && sim_random(&cluster->random, 3) == 0) {
            kills--;
            cluster_cut_off(cluster, off = i, true);
            next = cluster->turns + 1 + sim_random(&cluster->random, 8000);
            continue;
        }
        next = cluster->turns + 100 + sim_random(&cluster->random, 2000);
        if (cluster->fed && kills != 0 && sim_random(&cluster->random, 4) == 0) {
            cluster_player_kill(cluster);
            continue;
        }
        if (node->node == NULL) {
            cluster_up(cluster, i);
        } else if (kills != 0 && node->sim.cut_step == 0) {
            kills--;
            if (sim_random(&cluster->random, 2) == 0)
                cluster_kill(cluster, i);
            else
                node->sim.cut_step = node->sim.disk_steps + 1 + sim_random(&cluster->random, 30);
        }
    }
    if (cluster->client.error != PST_OK)
        print_error("%s: %s\n", what, cluster->client.says);
    assert_int_equal(cluster->client.error, PST_OK);
}
