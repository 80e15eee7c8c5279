/* test_net.c - the real network on loopback: workers 1.. talk to each other, or to a raw peer that runs as a job and knows nothing
 * of penstock. Worker 0 ends at once: its tick would hide a wake-up that was lost.
 */
#include "base/base.h"
#include "base/certificates.h"
#include "base/world_uv.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define NS_A_MS ((uint64_t)1000 * 1000)

static struct pst_world *world;
static char folder[64];

/* cmocka's own would jump out of another thread's stack. */
#define must(condition) ((condition) ? (void)0 : must_failed(#condition, __LINE__))
static void must_failed(const char *condition, int line)
{
    (void)fprintf(stderr, "test_net.c:%d: %s does not hold; the last reason is: %s\n", line, condition,
                  pst_system_error());
    abort();
}

static const char *path(const char *name)
{
    static char paths[8][200];
    static unsigned next;
    char *to = paths[next++ % 8];
    (void)snprintf(to, sizeof paths[0], "%s/%s", folder, name);
    return to;
}

static unsigned descriptor_count(void)
{
    unsigned count = 0;
    DIR *descriptors = opendir("/proc/self/fd");
    must(descriptors != NULL);
    while (readdir(descriptors) != NULL)
        count++;
    (void)closedir(descriptors);
    return count;
}

static pst_step nothing(void *argument, uint32_t worker)
{
    (void)argument;
    (void)worker;
    return PST_STEP_DONE;
}

static int begin(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/penstock-test-XXXXXX");
    world = pst_world_uv();
    if (world == NULL || mkdtemp(folder) == NULL || world->run(world->self, 1, nothing, NULL) != PST_OK)
        return -1; /* a first run, for libuv opens descriptors that it keeps */
    struct authority ours = authority_make("ours"), other = authority_make("other");
    node_make(path("a"), "node-a", &ours, &ours, 0, 86400);
    node_make(path("stranger"), "node-a", &other, &ours, 0, 86400);
    node_make(path("distrustful"), "node-a", &ours, &other, 0, 86400);
    node_make(path("expired"), "node-a", &ours, &ours, -86400, -60);
    node_make(path("early"), "node-a", &ours, &ours, 3600, 86400);
    node_make(path("nameless"), "node a", &ours, &ours, 0, 86400);
    authority_free(&ours);
    authority_free(&other);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    pst_world_uv_free(world);
    return system(command);
}

/* From a plain world to one with TLS and back, between tests. */
static void world_renew(const char *tls_folder)
{
    char why[PST_TLS_WHY_BYTES];
    pst_world_uv_free(world);
    world = pst_world_uv();
    must(world != NULL);
    if (tls_folder != NULL)
        must(pst_world_uv_tls(world, path(tls_folder), why) == PST_OK);
}

/* ---- workers that talk ---- */
enum { WORKERS = 4 };

struct scene {
    const char *listen_at;
    pst_step (*steps[WORKERS])(struct scene *scene, uint32_t worker); /* NULL: none to do */
    struct pst_listener *listener;
    char address[300];
    atomic_bool listening, go;
    /* the two ends, each of its worker */
    struct pst_conn *server, *client;
    char server_peer[PST_PEER_BYTES], client_peer[PST_PEER_BYTES];
    uint8_t *held; /* what the server has still to send back */
    size_t held_bytes;
    uint32_t sent, received, taken, message_count;
    uint32_t size_max, limit;
    struct pst_conn *_Atomic handed[WORKERS];
    uint32_t turns;
    bool introduced;            /* worker 1 has had it */
    int outcome, outcome_other; /* of the server, of the client */
    char why[PST_TLS_WHY_BYTES];
    char text[200];
    /* the raw peer */
    int (*raw)(struct scene *scene);
    bool raw_begun;
    atomic_bool raw_ended;
    const char *raw_folder;
    uint64_t t[3];
};

static pst_step scene_step(void *argument, uint32_t worker)
{
    struct scene *scene = argument;
    return scene->steps[worker] != NULL ? scene->steps[worker](scene, worker) : PST_STEP_DONE;
}

static void scene_run(struct scene *scene)
{
    uint32_t worker_count = 1;
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_count = scene->steps[i] != NULL ? i + 1 : worker_count;
    must(world->run(world->self, worker_count, scene_step, scene) == PST_OK);
    pst_free(scene->held);
}

/* The server's worker: listens, once, and tells the others. */
static void listen_once(struct scene *scene, uint32_t worker)
{
    if (scene->listener != NULL)
        return;
    must(world->net_listen(world->self, worker, scene->listen_at, &scene->listener) == PST_OK);
    (void)snprintf(scene->address, sizeof scene->address, "%s", world->net_address(world->self, scene->listener));
    atomic_store(&scene->listening, true);
    for (uint32_t i = 0; i < WORKERS; i++)
        if (scene->steps[i] != NULL)
            world->wake(world->self, i);
}

/* True when the server has its connection and knows who it is; scene->outcome otherwise. */
static bool server_ready(struct scene *scene, uint32_t worker)
{
    listen_once(scene, worker);
    if (scene->server == NULL) {
        scene->outcome = world->net_accept(world->self, scene->listener, &scene->server);
        if (scene->outcome != PST_OK)
            return false;
        if (scene->limit != 0)
            world->net_limit(world->self, scene->server, scene->limit);
    }
    scene->outcome = world->net_peer(world->self, scene->server, scene->server_peer);
    return scene->outcome == PST_OK;
}

static bool client_ready(struct scene *scene, uint32_t worker)
{
    scene->outcome_other = PST_EAGAIN;
    if (!atomic_load(&scene->listening))
        return false;
    if (scene->client == NULL) {
        must(world->net_connect(world->self, worker, scene->address, &scene->client) == PST_OK);
        if (scene->limit != 0)
            world->net_limit(world->self, scene->client, scene->limit);
    }
    scene->outcome_other = world->net_peer(world->self, scene->client, scene->client_peer);
    return scene->outcome_other == PST_OK;
}

static pst_step server_end(struct scene *scene)
{
    (void)snprintf(scene->why, sizeof scene->why, "%s", pst_system_error());
    if (scene->server != NULL)
        world->net_close(world->self, scene->server);
    world->net_unlisten(world->self, scene->listener);
    return PST_STEP_DONE;
}

static pst_step client_end(struct scene *scene)
{
    world->net_close(world->self, scene->client);
    return PST_STEP_DONE;
}

/* ---- messages ---- */
static uint32_t message_size(const struct scene *scene, uint32_t index)
{
    static const uint32_t edges[] = {1, 2, 3, 4, 5, 16379, 16380, 16381, 16384, 65535, 65536};
    uint32_t size = index < sizeof edges / sizeof edges[0] ? edges[index] : index * 2654435761u % scene->size_max + 1;
    return index == scene->message_count - 1 || size > scene->size_max ? scene->size_max : size;
}

static void message_fill(uint8_t *bytes, uint32_t size, uint32_t index)
{
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(index * 31 + i + (i >> 8));
}

static bool message_good(const uint8_t *bytes, size_t size, uint32_t index, uint32_t size_expected)
{
    if (size != size_expected)
        return false;
    for (uint32_t i = 0; i < size; i++)
        if (bytes[i] != (uint8_t)(index * 31 + i + (i >> 8)))
            return false;
    return true;
}

/* PST_OK: message `index` was taken. Every second one is given in two parts, the second mostly the long one. */
static int message_send(struct scene *scene, struct pst_conn *conn, uint32_t index)
{
    uint32_t size = message_size(scene, index);
    uint8_t *bytes = malloc(size + 1);
    must(size >= 1 && bytes != NULL);
    message_fill(bytes, size, index);
    uint32_t first = index % 2 == 1 && size > 1 ? 1 + index * 37 % (size < 200 ? size - 1 : 199) : 0;
    int rc = first == 0 ? world->net_send(world->self, conn, bytes, size)
                        : world->net_send_parts(world->self, conn, bytes, first, bytes + first, size - first);
    memset(bytes, 0xee, size); /* what was taken may not be looked at again */
    free(bytes);
    return rc;
}

/* PST_OK: message `index` came, and is as it was sent. */
static int message_receive(struct scene *scene, struct pst_conn *conn, uint32_t index)
{
    const void *bytes;
    size_t count;
    int rc = world->net_receive(world->self, conn, &bytes, &count);
    if (rc == PST_OK)
        must(message_good(bytes, count, index, message_size(scene, index)));
    return rc;
}

static pst_step echo_serve(struct scene *scene, uint32_t worker)
{
    const void *bytes;
    if (!server_ready(scene, worker))
        return scene->outcome == PST_EAGAIN ? PST_STEP_IDLE : server_end(scene);
    if (scene->held == NULL) {
        size_t count;
        scene->outcome = world->net_receive(world->self, scene->server, &bytes, &count);
        if (scene->outcome == PST_OK) {
            scene->held = pst_malloc(count);
            if (scene->held == NULL)
                return server_end(scene);
            memcpy(scene->held, bytes, count);
            scene->held_bytes = count;
        }
    }
    if (scene->held != NULL) {
        scene->outcome = world->net_send(world->self, scene->server, scene->held, scene->held_bytes);
        if (scene->outcome == PST_OK) {
            pst_free(scene->held);
            scene->held = NULL;
        }
    }
    if (scene->outcome == PST_OK)
        return PST_STEP_MORE;
    return scene->outcome == PST_EAGAIN ? PST_STEP_IDLE : server_end(scene);
}

static pst_step echo_ask(struct scene *scene, uint32_t worker)
{
    if (!client_ready(scene, worker))
        return scene->outcome_other == PST_EAGAIN ? PST_STEP_IDLE : client_end(scene);
    int sent = PST_EAGAIN;
    if (scene->sent < scene->message_count)
        sent = message_send(scene, scene->client, scene->sent);
    scene->sent += sent == PST_OK;
    scene->outcome_other = message_receive(scene, scene->client, scene->received);
    scene->received += scene->outcome_other == PST_OK;
    if (scene->received == scene->message_count)
        return client_end(scene);
    if (scene->outcome_other == PST_OK || sent == PST_OK)
        return PST_STEP_MORE;
    return scene->outcome_other == PST_EAGAIN && sent == PST_EAGAIN ? PST_STEP_IDLE : client_end(scene);
}

static void echo(const char *listen_at, uint32_t size_max, uint32_t message_count, const char *peer)
{
    struct scene scene = {
        .listen_at = listen_at,
        .steps = {NULL, echo_serve, echo_ask},
        .size_max = size_max,
        .limit = size_max == PST_NET_MESSAGE_BYTES ? 0 : size_max, /* that is the limit at first */
        .message_count = message_count,
    };
    unsigned descriptors = descriptor_count();
    scene_run(&scene);
    assert_int_equal(scene.received, message_count);
    assert_int_equal(scene.outcome, PST_ESTOPPED);
    assert_string_equal(scene.server_peer, peer);
    assert_string_equal(scene.client_peer, peer);
    assert_int_equal(descriptor_count(), descriptors);
}

/* ---- peers that are gone without a word ---- */
/* Of the connection between two ports of this machine, ends that ask by themselves whether the other one is still there, as the system has
 * it: "sl local_address rem_address st tx_queue:rx_queue tr:tm->when", tr 2 for that timer. */
static unsigned ends_that_ask(const char *address)
{
    char line[300];
    unsigned port = (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10), count = 0;
    FILE *sockets = fopen("/proc/self/net/tcp", "r");
    must(sockets != NULL);
    while (fgets(line, sizeof line, sockets) != NULL) {
        unsigned local, remote, state, timer, when;
        if (sscanf(line, " %*u: %*8x:%x %*8x:%x %x %*8x:%*8x %x:%x", &local, &remote, &state, &timer, &when) != 5)
            continue;
        count += (local == port || remote == port) && state == 1 && timer == 2 && when <= 15 * 100;
    }
    (void)fclose(sockets);
    return count;
}

static pst_step still_serve(struct scene *scene, uint32_t worker)
{
    const void *bytes;
    size_t count;
    if (!server_ready(scene, worker))
        return scene->outcome == PST_EAGAIN ? PST_STEP_IDLE : server_end(scene);
    atomic_store(&scene->go, true);
    world->wake(world->self, 2);
    scene->outcome = world->net_receive(world->self, scene->server, &bytes, &count);
    return scene->outcome == PST_EAGAIN ? PST_STEP_IDLE : server_end(scene);
}

static pst_step still_ask(struct scene *scene, uint32_t worker)
{
    if (!client_ready(scene, worker))
        return scene->outcome_other == PST_EAGAIN ? PST_STEP_IDLE : client_end(scene);
    if (!atomic_load(&scene->go))
        return PST_STEP_IDLE;
    scene->taken = ends_that_ask(scene->address);
    return client_end(scene);
}

static void both_ends_ask_whether_the_other_is_still_there(void **state)
{
    (void)state;
    struct scene scene = {.listen_at = "127.0.0.1:0", .steps = {NULL, still_serve, still_ask}};
    scene_run(&scene);
    assert_int_equal(scene.outcome, PST_ESTOPPED);
    assert_int_equal(scene.taken, 2);
}

static void messages_come_back_on_tcp(void **state)
{
    (void)state;
    echo("127.0.0.1:0", PST_NET_MESSAGE_BYTES, 400, "");
    echo("127.0.0.1:0", 1, 1000, "");
    echo("127.0.0.1:0", 4 * 1024 * 1024, 12, "");
    echo("127.0.0.1:0", PST_NET_MESSAGE_BYTES_MAX, 3, "");
    echo("localhost:0", 1000, 10, "");
}

static void messages_come_back_on_ipv6(void **state)
{
    (void)state;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        (void)close(fd);
    if (!there)
        skip();
    echo("[::1]:0", PST_NET_MESSAGE_BYTES, 50, "");
}

static void messages_come_back_on_a_unix_socket(void **state)
{
    (void)state;
    char address[200];
    (void)snprintf(address, sizeof address, "unix:%s", path("echo"));
    echo(address, PST_NET_MESSAGE_BYTES, 400, "");
    echo(address, PST_NET_MESSAGE_BYTES_MAX, 3, "");
    assert_int_equal(access(path("echo"), F_OK), -1);
}

static void messages_come_back_over_tls_and_names_are_known(void **state)
{
    (void)state;
    world_renew("a");
    echo("127.0.0.1:0", PST_NET_MESSAGE_BYTES, 400, "node-a");
    echo("127.0.0.1:0", 1, 1000, "node-a");
    echo("127.0.0.1:0", PST_NET_MESSAGE_BYTES_MAX, 3, "node-a");
    char address[200];
    (void)snprintf(address, sizeof address, "unix:%s", path("echo"));
    echo(address, 1000, 10, ""); /* not on a unix socket */
    world_renew(NULL);
}

/* ---- limits, pressure ---- */
static pst_step one_too_long(struct scene *scene, uint32_t worker)
{
    if (!client_ready(scene, worker))
        return PST_STEP_IDLE;
    if (scene->sent == 0) {
        scene->sent = 1;
        scene->size_max = 1001;
        scene->message_count = 1;
        must(message_send(scene, scene->client, 0) == PST_OK);
    }
    const void *bytes;
    size_t count;
    scene->outcome_other = world->net_receive(world->self, scene->client, &bytes, &count);
    return scene->outcome_other == PST_EAGAIN ? PST_STEP_IDLE : client_end(scene);
}

static void a_message_above_the_limit_is_refused(void **state)
{
    (void)state;
    struct scene scene = {.listen_at = "127.0.0.1:0", .steps = {NULL, echo_serve, one_too_long}, .limit = 1000};
    scene_run(&scene);
    assert_int_equal(scene.outcome, PST_EREFUSED);
    assert_string_equal(scene.why, "a message of the other side is empty or above the limit");
    assert_true(scene.outcome_other == PST_ESTOPPED || scene.outcome_other == PST_EIO);
}

/* Sends until it may not; then the other side may begin to read. */
static pst_step press(struct scene *scene, uint32_t worker)
{
    if (!client_ready(scene, worker))
        return PST_STEP_IDLE;
    while (scene->sent < scene->message_count) {
        int rc = message_send(scene, scene->client, scene->sent);
        if (rc == PST_EAGAIN) {
            scene->turns++;
            atomic_store(&scene->go, true);
            world->wake(world->self, 1);
            return PST_STEP_IDLE;
        }
        must(rc == PST_OK);
        scene->sent++;
    }
    return client_end(scene);
}

static pst_step read_when_told(struct scene *scene, uint32_t worker)
{
    if (!server_ready(scene, worker) || !atomic_load(&scene->go))
        return PST_STEP_IDLE;
    scene->outcome = message_receive(scene, scene->server, scene->received);
    scene->received += scene->outcome == PST_OK;
    if (scene->outcome == PST_OK)
        return PST_STEP_MORE;
    return scene->outcome == PST_EAGAIN ? PST_STEP_IDLE : server_end(scene);
}

static void pressure(const char *address)
{
    struct scene scene = {
        .listen_at = address,
        .steps = {NULL, read_when_told, press},
        .size_max = PST_NET_MESSAGE_BYTES,
        .message_count = 600,
    };
    scene_run(&scene);
    assert_int_equal(scene.outcome, PST_ESTOPPED); /* what was taken before the close came, all of it */
    assert_int_equal(scene.received, scene.message_count);
    assert_true(scene.turns >= 1);
}

static void a_sender_waits_for_a_receiver_that_does_not_read(void **state)
{
    (void)state;
    char address[200];
    (void)snprintf(address, sizeof address, "unix:%s", path("pressure"));
    pressure("127.0.0.1:0");
    pressure(address);
    world_renew("a");
    pressure("127.0.0.1:0");
    world_renew(NULL);
}

/* Both send more than can be on its way, and close without reading. */
enum { FLOOD = 300 };
static pst_step server_floods_and_closes(struct scene *scene, uint32_t worker)
{
    if (!server_ready(scene, worker))
        return PST_STEP_IDLE;
    if (scene->taken++ < FLOOD && message_send(scene, scene->server, 0) == PST_OK)
        return PST_STEP_MORE;
    return server_end(scene);
}

static pst_step client_floods_and_closes(struct scene *scene, uint32_t worker)
{
    if (!client_ready(scene, worker))
        return PST_STEP_IDLE;
    if (scene->sent++ < FLOOD && message_send(scene, scene->client, 0) == PST_OK)
        return PST_STEP_MORE;
    return client_end(scene);
}

static void both_sides_may_close_amid_traffic(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct scene scene = {
            .listen_at = "127.0.0.1:0",
            .steps = {NULL, server_floods_and_closes, client_floods_and_closes},
            .size_max = PST_NET_MESSAGE_BYTES,
            .message_count = 1,
        };
        unsigned descriptors = descriptor_count();
        uint64_t begun = world->now_ns(world->self);
        scene_run(&scene);
        assert_true(world->now_ns(world->self) - begun < 20000 * NS_A_MS);
        assert_int_equal(descriptor_count(), descriptors);
        if (i == 4)
            world_renew("a");
    }
    world_renew(NULL);
}

/* ---- a connection that is handed round ---- */
static void hand_over(struct scene *scene, struct pst_conn *conn, uint32_t to)
{
    must(world->net_give(world->self, conn, to) == PST_OK);
    atomic_store(&scene->handed[to], conn);
    world->wake(world->self, to);
}

/* Worker 1 and worker 3 take turns with the server's end, three messages each, echoing. */
static pst_step echo_in_turns(struct scene *scene, uint32_t worker)
{
    uint32_t other = worker == 1 ? 3 : 1;
    if (worker == 1 && !scene->introduced) {
        if (!server_ready(scene, worker))
            return PST_STEP_IDLE;
        scene->introduced = true;
        world->net_unlisten(world->self, scene->listener); /* of this worker, as the connection is no more */
        atomic_store(&scene->handed[worker], scene->server);
    }
    struct pst_conn *conn = atomic_load(&scene->handed[worker]);
    if (conn == NULL)
        return atomic_load(&scene->go) ? PST_STEP_DONE : PST_STEP_IDLE;
    for (int i = 0; i < 3; i++) {
        int rc = message_receive(scene, conn, scene->taken);
        if (rc == PST_EAGAIN)
            return PST_STEP_IDLE;
        if (rc == PST_ESTOPPED) {
            atomic_store(&scene->go, true);
            world->wake(world->self, other);
            world->net_close(world->self, conn);
            return PST_STEP_DONE;
        }
        must(rc == PST_OK);
        must(message_send(scene, conn, scene->taken) == PST_OK);
        scene->taken++;
    }
    scene->turns++;
    atomic_store(&scene->handed[worker], NULL);
    hand_over(scene, conn, other);
    return PST_STEP_MORE;
}

static void handed_round(uint32_t size_max)
{
    struct scene scene = {
        .listen_at = "127.0.0.1:0",
        .steps = {NULL, echo_in_turns, echo_ask, echo_in_turns},
        .size_max = size_max,
        .message_count = 1500,
    };
    unsigned descriptors = descriptor_count();
    scene_run(&scene);
    assert_int_equal(scene.received, scene.message_count);
    assert_true(scene.turns > 100);
    assert_int_equal(descriptor_count(), descriptors);
}

static void a_connection_is_given_to_other_workers_amid_traffic(void **state)
{
    (void)state;
    handed_round(1000);
    world_renew("a");
    handed_round(3000);
    world_renew(NULL);
}

/* ---- raw peers ---- */
static int raw_connect(const struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strrchr(scene->address, ':');
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static void raw_run(void *argument)
{
    struct scene *scene = argument;
    sigset_t pipe_signal; /* OpenSSL's own sockets write(); ours may not raise it, so it is not ignored for all */
    must(sigemptyset(&pipe_signal) == 0 && sigaddset(&pipe_signal, SIGPIPE) == 0);
    must(pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL) == 0);
    scene->outcome_other = scene->raw(scene);
    atomic_store(&scene->raw_ended, true);
}

/* Worker 2 has the raw peer run. */
static pst_step raw_peer(struct scene *scene, uint32_t worker)
{
    if (!atomic_load(&scene->listening))
        return PST_STEP_IDLE;
    if (!scene->raw_begun)
        must(world->work(world->self, worker, raw_run, scene) == PST_OK);
    scene->raw_begun = true;
    return atomic_load(&scene->raw_ended) ? PST_STEP_DONE : PST_STEP_IDLE;
}

/* Receives one message after the other until there is an outcome. */
static pst_step serve_to_the_end(struct scene *scene, uint32_t worker)
{
    const void *bytes;
    size_t count;
    bool ready = server_ready(scene, worker);
    while (ready && scene->outcome == PST_OK) {
        scene->outcome = world->net_receive(world->self, scene->server, &bytes, &count);
        scene->received += scene->outcome == PST_OK;
    }
    if (scene->outcome == PST_EAGAIN)
        return PST_STEP_IDLE;
    int again = ready ? world->net_receive(world->self, scene->server, &bytes, &count)
                      : world->net_peer(world->self, scene->server, scene->server_peer);
    must(again == scene->outcome); /* from then on, in every call */
    must(world->net_send(world->self, scene->server, "x", 1) == scene->outcome);
    return server_end(scene);
}

static void raw_against_us(struct scene *scene)
{
    scene->listen_at = "127.0.0.1:0";
    scene->steps[1] = serve_to_the_end;
    scene->steps[2] = raw_peer;
    unsigned descriptors = descriptor_count();
    scene_run(scene);
    assert_int_equal(descriptor_count(), descriptors);
}

static int raw_two_and_a_half(struct scene *scene)
{
    int fd = raw_connect(scene);
    must(send(fd, "\3\0\0\0abc\1\0\0\0d\5\0\0\0ab", 18, MSG_NOSIGNAL) == 18);
    (void)close(fd);
    return PST_OK;
}

static int raw_killed(struct scene *scene)
{
    const struct linger hard = {.l_onoff = 1};
    int fd = raw_connect(scene);
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
    (void)close(fd);
    return PST_OK;
}

static int raw_orderly(struct scene *scene)
{
    int fd = raw_connect(scene);
    for (int i = 0; i < 7; i++) /* a byte at a time */
        must(send(fd, &"\3\0\0\0abc"[i], 1, MSG_NOSIGNAL) == 1);
    (void)close(fd);
    return PST_OK;
}

static int raw_empty_message(struct scene *scene)
{
    int fd = raw_connect(scene);
    char byte;
    must(send(fd, "\0\0\0\0", 4, MSG_NOSIGNAL) == 4);
    must(recv(fd, &byte, 1, 0) <= 0);
    (void)close(fd);
    return PST_OK;
}

static void a_peer_that_ends_within_a_message_is_an_error(void **state)
{
    (void)state;
    struct scene half = {.raw = raw_two_and_a_half}, killed = {.raw = raw_killed}, orderly = {.raw = raw_orderly},
                 empty = {.raw = raw_empty_message};
    raw_against_us(&half);
    assert_int_equal(half.received, 2);
    assert_int_equal(half.outcome, PST_EIO);
    assert_string_equal(half.why, "the other side has closed the connection within a message");
    raw_against_us(&killed);
    assert_int_equal(killed.outcome, PST_EIO);
    assert_string_equal(killed.why, "Connection reset by peer");
    raw_against_us(&orderly);
    assert_int_equal(orderly.received, 1);
    assert_int_equal(orderly.outcome, PST_ESTOPPED);
    raw_against_us(&empty);
    assert_int_equal(empty.outcome, PST_EREFUSED);
}

/* ---- TLS ---- */
static SSL_CTX *raw_context(const struct scene *scene)
{
    char name[300];
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    must(context != NULL);
    if (scene->raw_folder != NULL) {
        (void)snprintf(name, sizeof name, "%s/node.pem", path(scene->raw_folder));
        must(SSL_CTX_use_certificate_file(context, name, SSL_FILETYPE_PEM) == 1);
        (void)snprintf(name, sizeof name, "%s/node.key", path(scene->raw_folder));
        must(SSL_CTX_use_PrivateKey_file(context, name, SSL_FILETYPE_PEM) == 1);
        (void)snprintf(name, sizeof name, "%s/ca.pem", path(scene->raw_folder));
        must(SSL_CTX_load_verify_file(context, name) == 1);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    return context;
}

/* A client that says "abc", and waits for the end. */
static int raw_tls_version(struct scene *scene, int version)
{
    char bytes[10];
    int fd = raw_connect(scene);
    SSL_CTX *context = raw_context(scene);
    must(SSL_CTX_set_max_proto_version(context, version) == 1);
    SSL *ssl = SSL_new(context);
    must(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    int rc = SSL_connect(ssl) == 1 ? PST_OK : PST_EREFUSED;
    if (rc == PST_OK && SSL_write(ssl, "\3\0\0\0abc", 7) == 7) {
        (void)SSL_shutdown(ssl);
        rc = SSL_read(ssl, bytes, sizeof bytes) <= 0 && SSL_get_error(ssl, 0) == SSL_ERROR_ZERO_RETURN ? PST_OK
                                                                                                       : PST_EREFUSED;
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(fd);
    return rc;
}
static int raw_tls(struct scene *scene) { return raw_tls_version(scene, TLS1_3_VERSION); }
static int raw_tls_old(struct scene *scene) { return raw_tls_version(scene, TLS1_2_VERSION); }

/* Says a message, and is gone without a goodbye. */
static int raw_tls_cut(struct scene *scene)
{
    int fd = raw_connect(scene);
    SSL_CTX *context = raw_context(scene);
    SSL *ssl = SSL_new(context);
    must(ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1);
    must(SSL_write(ssl, "\3\0\0\0abc", 7) == 7);
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(fd);
    return PST_OK;
}

static int raw_garbage(struct scene *scene)
{
    char byte;
    int fd = raw_connect(scene);
    must(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) == 18);
    while (recv(fd, &byte, 1, 0) > 0)
        continue;
    (void)close(fd);
    return PST_OK;
}

/* Says nothing, until the other side hangs up. */
static int raw_silence(struct scene *scene)
{
    char byte;
    int fd = raw_connect(scene);
    while (recv(fd, &byte, 1, 0) > 0)
        continue;
    (void)close(fd);
    return PST_OK;
}

static void refused_by_us(int (*raw)(struct scene *), const char *raw_folder, int outcome, const char *why)
{
    struct scene scene = {.raw = raw, .raw_folder = raw_folder};
    raw_against_us(&scene);
    if (scene.outcome != outcome || strncmp(scene.why, why, strlen(why)) != 0)
        fail_msg("with %s: %s, \"%s\"", raw_folder != NULL ? raw_folder : "nothing", pst_error_name(scene.outcome),
                 scene.why);
}

static void a_server_talks_to_nodes_of_its_authority_alone(void **state)
{
    (void)state;
    struct scene good = {.raw = raw_tls, .raw_folder = "a"};
    world_renew("a");
    raw_against_us(&good);
    assert_int_equal(good.outcome, PST_ESTOPPED);
    assert_int_equal(good.outcome_other, PST_OK);
    assert_int_equal(good.received, 1);
    assert_string_equal(good.server_peer, "node-a");
    refused_by_us(raw_tls, "stranger", PST_EREFUSED, "the certificate of the other side is refused: unable to get");
    refused_by_us(raw_tls, "expired", PST_EREFUSED,
                  "the certificate of the other side is refused: certificate has expired");
    refused_by_us(raw_tls, "early", PST_EREFUSED,
                  "the certificate of the other side is refused: certificate is not yet valid");
    refused_by_us(raw_tls, "nameless", PST_EREFUSED, "the certificate of the other side does not name a node");
    refused_by_us(raw_tls, NULL, PST_EREFUSED, "the other side has shown no certificate");
    refused_by_us(raw_tls, "distrustful", PST_EREFUSED, "the other side refuses us: tlsv1 alert unknown ca");
    refused_by_us(raw_tls_old, "a", PST_EREFUSED, "the other side does not speak TLS 1.3 as a node does: ");
    refused_by_us(raw_garbage, NULL, PST_EREFUSED, "the other side does not speak TLS 1.3 as a node does: ");
    refused_by_us(raw_tls_cut, "a", PST_EIO, "the other side has cut the connection");
    refused_by_us(raw_killed, NULL, PST_EIO, "Connection reset by peer");
    world_renew(NULL);
}

static void a_handshake_that_takes_too_long_is_dropped(void **state)
{
    (void)state;
    world_renew("a");
    pst_world_uv_handshake_ns(world, 30 * NS_A_MS);
    refused_by_us(raw_silence, NULL, PST_EREFUSED, "the other side has not shown in time who it is");
    world_renew(NULL);
}

/* Our client against a raw server that shows what is in raw_folder. */
static int raw_serve(struct scene *scene)
{
    int server = scene->sent;
    int fd = accept(server, NULL, NULL);
    must(fd >= 0);
    SSL_CTX *context = raw_context(scene);
    if (scene->raw_folder != NULL)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL *ssl = SSL_new(context);
    char bytes[10];
    must(ssl != NULL && SSL_set_fd(ssl, fd) == 1);
    int rc = SSL_accept(ssl) == 1 ? PST_OK : PST_EREFUSED;
    while (rc == PST_OK && SSL_read(ssl, bytes, sizeof bytes) > 0)
        continue;
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(fd);
    return rc;
}

/* Sends and receives until it hears that it is refused. */
static pst_step ask_raw(struct scene *scene, uint32_t worker)
{
    const void *bytes;
    size_t count;
    if (scene->client == NULL)
        must(world->net_connect(world->self, worker, scene->address, &scene->client) == PST_OK);
    int rc = world->net_peer(world->self, scene->client, scene->client_peer);
    if (rc == PST_OK)
        rc = world->net_send(world->self, scene->client, "question", 8);
    if (rc == PST_OK)
        rc = world->net_receive(world->self, scene->client, &bytes, &count);
    if (rc == PST_EAGAIN)
        return PST_STEP_IDLE;
    scene->outcome = rc;
    (void)snprintf(scene->why, sizeof scene->why, "%s", pst_system_error());
    return client_end(scene);
}

static void refused_raw_server(const char *raw_folder, const char *why)
{
    struct scene scene = {.steps = {NULL, ask_raw, raw_peer}, .raw = raw_serve, .raw_folder = raw_folder};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server, 5), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&address, &bytes), 0);
    scene.sent = (uint32_t)server;
    (void)snprintf(scene.address, sizeof scene.address, "127.0.0.1:%u", ntohs(address.sin_port));
    atomic_store(&scene.listening, true);
    scene_run(&scene);
    (void)close(server);
    assert_int_equal(scene.outcome, PST_EREFUSED);
    if (strncmp(scene.why, why, strlen(why)) != 0)
        fail_msg("with %s: \"%s\"", raw_folder, scene.why);
}

static void a_client_talks_to_nodes_of_its_authority_alone(void **state)
{
    (void)state;
    world_renew("a");
    refused_raw_server("stranger", "the certificate of the other side is refused: unable to get");
    refused_raw_server("expired", "the certificate of the other side is refused: certificate has expired");
    for (int i = 0; i < 20;
         i++) /* the alert comes when for the client the handshake is over, before or after it has sent */
        refused_raw_server("distrustful", "the other side refuses us: tlsv1 alert unknown ca");
    world_renew(NULL);
}

/* ---- certificates that are refused at the start ---- */
static void copy(const char *from, const char *to)
{
    char command[500];
    (void)snprintf(command, sizeof command, "cp -p %s %s", from, to);
    assert_int_equal(system(command), 0);
}

static void loads_not(int error, const char *sentence)
{
    char why[PST_TLS_WHY_BYTES] = "";
    int rc = pst_world_uv_tls(world, path("own"), why);
    if (rc != error || strstr(why, sentence) == NULL)
        fail_msg("%s, \"%s\" and not %s, \"%s\"", pst_error_name(rc), why, pst_error_name(error), sentence);
}

/* Ed25519 alone: what is signed by the key that was read is checked by the certificate's, and that by the authority's. */
static void the_keys_of_a_folder_are_read_where_they_are_of_ed25519(void **state)
{
    (void)state;
    struct pst_tls_identity identity;
    char why[PST_TLS_WHY_BYTES];
    uint8_t public[32];
    size_t bytes = sizeof public;
    assert_int_equal(pst_tls_identity_read(path("a"), &identity, why), PST_OK);
    const uint8_t *at = identity.certificate;
    X509 *certificate = d2i_X509(NULL, &at, (long)identity.certificate_bytes);
    assert_non_null(certificate);
    assert_ptr_equal(at, identity.certificate + identity.certificate_bytes);
    EVP_PKEY *authority = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, identity.authority, 32);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, identity.key, 32);
    assert_int_equal(X509_verify(certificate, authority), 1);
    assert_int_equal(EVP_PKEY_get_raw_public_key(key, public, &bytes), 1);
    assert_int_equal(EVP_PKEY_eq(key, X509_get0_pubkey(certificate)), 1);
    EVP_PKEY_free(authority);
    EVP_PKEY_free(key);
    X509_free(certificate);
    assert_int_equal(mkdir(path("ec"), 0700), 0);
    copy(path("a/*"), path("ec"));
    key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    FILE *file = fopen(path("ec/node.key"), "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
    assert_int_equal(pst_tls_identity_read(path("ec"), &identity, why), PST_EINVAL);
    assert_non_null(strstr(why, "`node.key` is no Ed25519 key"));
    assert_int_equal(pst_tls_identity_read(path("nowhere"), &identity, why), PST_ENOENT);
}

static void bad_certificates_are_refused_with_a_sentence(void **state)
{
    (void)state;
    char why[PST_TLS_WHY_BYTES];
    loads_not(PST_ENOENT, "`ca.pem` cannot be read: No such file or directory");
    assert_int_equal(mkdir(path("own"), 0700), 0);
    copy(path("a/*"), path("own"));
    assert_int_equal(pst_world_uv_tls(world, path("own"), why), PST_OK);
    assert_int_equal(chmod(path("own/node.key"), 0640), 0);
    loads_not(PST_EREFUSED, "`node.key` is refused: others may read or write it");
    copy(path("expired/node.key"), path("own/node.key"));
    loads_not(PST_EDATA, "`node.key` is not the key of node.pem");
    copy(path("a/node.pem"), path("own/node.key"));
    loads_not(PST_EDATA, "`node.key` is no private key");
    copy(path("stranger/*"), path("own"));
    loads_not(PST_EDATA, "`node.pem` is refused: unable to get");
    copy(path("expired/*"), path("own"));
    loads_not(PST_EDATA, "`node.pem` is refused: certificate has expired");
    copy(path("a/node.key"), path("own/node.pem"));
    loads_not(PST_EDATA, "`node.pem` is no certificate");
    copy(path("a/node.key"), path("own/ca.pem"));
    loads_not(PST_EDATA, "`ca.pem` is no certificate of an authority");
    assert_int_equal(unlink(path("own/ca.pem")), 0);
    assert_int_equal(mkfifo(path("own/ca.pem"), 0600), 0);
    loads_not(PST_EREFUSED, "`ca.pem` is refused: it is not a regular file");
    pst_malloc_fail_at(1);
    loads_not(PST_ENOMEM, "out of memory");
    world_renew(NULL);
}

/* ---- many ---- */
enum { KNOCKS = 300 };

static int raw_crowd(struct scene *scene)
{
    int fds[KNOCKS];
    char byte;
    for (int i = 0; i < KNOCKS; i++)
        fds[i] = raw_connect(scene);
    for (int i = 0; i < KNOCKS; i++) {
        while (recv(fds[i], &byte, 1, 0) > 0)
            continue;
        (void)close(fds[i]);
    }
    return PST_OK;
}

struct crowd {
    struct scene scene;
    struct pst_conn *conns[KNOCKS];
    uint32_t accepted, at_once_max, open_count;
};

static pst_step take_a_crowd(struct scene *scene, uint32_t worker)
{
    struct crowd *crowd = (struct crowd *)scene;
    char peer[PST_PEER_BYTES];
    listen_once(scene, worker);
    for (uint32_t i = 0; i < crowd->accepted; i++) {
        if (crowd->conns[i] == NULL || world->net_peer(world->self, crowd->conns[i], peer) == PST_EAGAIN)
            continue;
        world->net_close(world->self, crowd->conns[i]);
        crowd->conns[i] = NULL;
        crowd->open_count--;
    }
    while (crowd->accepted < KNOCKS &&
           world->net_accept(world->self, scene->listener, &crowd->conns[crowd->accepted]) == PST_OK) {
        crowd->accepted++;
        crowd->open_count++;
    }
    if (crowd->open_count > crowd->at_once_max)
        crowd->at_once_max = crowd->open_count;
    if (crowd->accepted < KNOCKS || crowd->open_count != 0)
        return PST_STEP_IDLE;
    world->net_unlisten(world->self, scene->listener);
    return PST_STEP_DONE;
}

static void those_who_do_not_show_who_they_are_are_bounded_in_number(void **state)
{
    (void)state;
    struct crowd crowd = {
        .scene = {.listen_at = "127.0.0.1:0", .steps = {NULL, take_a_crowd, raw_peer}, .raw = raw_crowd}};
    world_renew("a");
    pst_world_uv_handshake_ns(world, 300 * NS_A_MS);
    unsigned descriptors = descriptor_count();
    scene_run(&crowd.scene);
    assert_int_equal(crowd.accepted, KNOCKS);
    assert_true(crowd.at_once_max <= 256);
    assert_int_equal(descriptor_count(), descriptors);
    world_renew(NULL);
}

/* One after the other, an echo each; the server has up to a few that still say goodbye. */
enum { SERVED_MAX = 16 };
struct rush {
    struct scene scene;
    uint32_t count_max, opened, served;
    struct pst_conn *conns[SERVED_MAX];
};

/* True while there is more to do for this one. */
static bool rush_serve_one(struct rush *rush, struct pst_conn **conn)
{
    const void *bytes;
    size_t count;
    char peer[PST_PEER_BYTES];
    int rc = world->net_peer(world->self, *conn, peer);
    if (rc == PST_OK)
        rc = world->net_receive(world->self, *conn, &bytes, &count);
    if (rc == PST_EAGAIN)
        return false;
    if (rc == PST_OK) {
        must(count == 5 && world->net_send(world->self, *conn, "reply", 5) == PST_OK);
        return true;
    }
    must(rc == PST_ESTOPPED);
    world->net_close(world->self, *conn);
    *conn = NULL;
    rush->served++;
    return true; /* its place is free: accept has not been asked about it */
}

static pst_step rush_serve(struct scene *scene, uint32_t worker)
{
    struct rush *rush = (struct rush *)scene;
    bool more = false;
    listen_once(scene, worker);
    for (int i = 0; i < SERVED_MAX; i++) {
        if (rush->conns[i] == NULL)
            (void)world->net_accept(world->self, scene->listener, &rush->conns[i]);
        if (rush->conns[i] != NULL)
            more |= rush_serve_one(rush, &rush->conns[i]);
    }
    if (rush->served < rush->count_max)
        return more ? PST_STEP_MORE : PST_STEP_IDLE;
    world->net_unlisten(world->self, scene->listener);
    return PST_STEP_DONE;
}

static pst_step rush_ask(struct scene *scene, uint32_t worker)
{
    struct rush *rush = (struct rush *)scene;
    const void *bytes;
    size_t count;
    if (!client_ready(scene, worker)) {
        must(scene->outcome_other == PST_EAGAIN);
        return PST_STEP_IDLE;
    }
    if (scene->sent == rush->opened) {
        must(world->net_send(world->self, scene->client, "hello", 5) == PST_OK);
        scene->sent++;
    }
    int rc = world->net_receive(world->self, scene->client, &bytes, &count);
    if (rc == PST_EAGAIN)
        return PST_STEP_IDLE;
    must(rc == PST_OK && count == 5);
    world->net_close(world->self, scene->client);
    scene->client = NULL;
    return ++rush->opened < rush->count_max ? PST_STEP_MORE : PST_STEP_DONE;
}

static void rush_run(const char *address, uint32_t count)
{
    struct rush rush = {.scene = {.listen_at = address, .steps = {NULL, rush_serve, rush_ask}}, .count_max = count};
    unsigned descriptors = descriptor_count();
    scene_run(&rush.scene);
    assert_int_equal(rush.served, count);
    assert_int_equal(descriptor_count(), descriptors);
}

static void thousands_of_connections_leave_nothing(void **state)
{
    (void)state;
    char address[200];
    (void)snprintf(address, sizeof address, "unix:%s", path("rush"));
    rush_run("127.0.0.1:0", 3000);
    rush_run(address, 3000);
    world_renew("a");
    rush_run("127.0.0.1:0", 300);
    world_renew(NULL);
}

/* ---- addresses ---- */
static pst_step refused_addresses(struct scene *scene, uint32_t worker)
{
    static const char *const bad[] = {"",         "host",    ":7000", "host:",   "host:port", "host:65536",
                                      "::1:7000", "[]:7000", "unix:", "host:-1", "1.2.3.4",   NULL};
    char long_path[200];
    struct pst_conn *conn = NULL;
    struct pst_listener *listener = NULL;
    (void)scene;
    for (int i = 0; bad[i] != NULL; i++) {
        must(world->net_connect(world->self, worker, bad[i], &conn) == PST_EINVAL && conn == NULL);
        must(world->net_listen(world->self, worker, bad[i], &listener) == PST_EINVAL && listener == NULL);
    }
    memset(long_path, 'x', sizeof long_path);
    memcpy(long_path, "unix:/tmp/", 10);
    long_path[sizeof long_path - 1] = '\0';
    must(world->net_listen(world->self, worker, long_path, &listener) == PST_EINVAL);
    must(strcmp(pst_system_error(), "the path of a socket may have 107 bytes at most") == 0);
    must(world->net_listen(world->self, worker, "unix:/nowhere/at/all", &listener) == PST_ENOENT);
    must(world->net_listen(world->self, worker, "192.0.2.1:1", &listener) == PST_EIO); /* not ours */
    return PST_STEP_DONE;
}

static void addresses_that_are_none_are_refused(void **state)
{
    (void)state;
    struct scene scene = {.steps = {NULL, refused_addresses}};
    scene_run(&scene);
}

/* Connects to scene->text until there is an outcome. */
static pst_step connect_to_text(struct scene *scene, uint32_t worker)
{
    if (scene->client == NULL)
        must(world->net_connect(world->self, worker, scene->text, &scene->client) == PST_OK);
    scene->outcome = world->net_peer(world->self, scene->client, scene->client_peer);
    if (scene->outcome == PST_EAGAIN)
        return PST_STEP_IDLE;
    (void)snprintf(scene->why, sizeof scene->why, "%s", pst_system_error());
    return client_end(scene);
}

static void connects_not(const char *address, const char *why)
{
    struct scene scene = {.steps = {NULL, connect_to_text}};
    (void)snprintf(scene.text, sizeof scene.text, "%s", address);
    scene_run(&scene);
    assert_int_equal(scene.outcome, PST_EIO);
    if (why != NULL)
        assert_string_equal(scene.why, why);
}

static void where_nobody_listens_nobody_is_reached(void **state)
{
    (void)state;
    char address[200];
    struct sockaddr_in free_port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof free_port;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, and not listening: nobody else gets the port */
    assert_int_equal(bind(fd, (struct sockaddr *)&free_port, sizeof free_port), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&free_port, &bytes), 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(free_port.sin_port));
    connects_not(address, "Connection refused");
    (void)snprintf(address, sizeof address, "localhost:%u", ntohs(free_port.sin_port));
    connects_not(address, "Connection refused");
    (void)close(fd);
    (void)snprintf(address, sizeof address, "unix:%s", path("nobody"));
    connects_not(address, "No such file or directory");
    connects_not("no-such-host.invalid:1", NULL);
}

/* Closed while a name is looked up, or while it connects; the run ends meanwhile. */
static pst_step connect_and_leave(struct scene *scene, uint32_t worker)
{
    struct pst_conn *conn;
    must(world->net_connect(world->self, worker, scene->text, &conn) == PST_OK);
    (void)world->net_peer(world->self, conn, scene->client_peer);
    if (scene->limit == 0)
        world->net_close(world->self, conn);
    scene->client = conn;
    return PST_STEP_DONE;
}

static void a_connection_may_be_closed_at_any_time(void **state)
{
    (void)state;
    static const char *const to[] = {"localhost:1", "127.0.0.1:1", "192.0.2.1:9"};
    unsigned descriptors = descriptor_count();
    for (int i = 0; i < 6; i++) {
        struct scene scene = {.steps = {NULL, connect_and_leave}, .limit = i / 3};
        (void)snprintf(scene.text, sizeof scene.text, "%s", to[i % 3]);
        scene_run(&scene);
        if (scene.limit != 0) /* after the run, too */
            world->net_close(world->self, scene.client);
        assert_int_equal(descriptor_count(), descriptors);
    }
}

/* ---- unix sockets ---- */
static pst_step socket_files(struct scene *scene, uint32_t worker)
{
    struct stat status;
    struct pst_listener *first = NULL, *second = NULL;
    char file[100], address[120];
    (void)snprintf(file, sizeof file, "%s", path("files"));
    (void)snprintf(address, sizeof address, "unix:%s", file);
    mode_t before = umask((mode_t)scene->limit);
    must(world->net_listen(world->self, worker, address, &first) == PST_OK);
    must(strcmp(world->net_address(world->self, first), address) == 0);
    must(stat(file, &status) == 0 && (status.st_mode & 07777) == 0600);
    must(world->net_listen(world->self, worker, address, &second) == PST_EREFUSED);
    must(strcmp(pst_system_error(), "Address already in use") == 0);
    must(rename(file, path("elsewhere")) == 0); /* what is there then is not ours, and stays */
    must(world->net_listen(world->self, worker, address, &second) == PST_OK);
    world->net_unlisten(world->self, first);
    must(access(file, F_OK) == 0);
    world->net_unlisten(world->self, second);
    must(access(file, F_OK) != 0);
    must(world->net_listen(world->self, worker, address, &first) == PST_OK);
    must(link(file, path("stale")) == 0); /* is left over, as by a process that was killed */
    world->net_unlisten(world->self, first);
    must(rename(path("stale"), file) == 0);
    must(world->net_listen(world->self, worker, address, &first) == PST_OK);
    world->net_unlisten(world->self, first);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    must(fd >= 0 && close(fd) == 0);
    must(world->net_listen(world->self, worker, address, &first) == PST_EREFUSED);
    must(stat(file, &status) == 0 && S_ISREG(status.st_mode) && unlink(file) == 0);
    (void)umask(before);
    return PST_STEP_DONE;
}

static void socket_files_are_their_owners_and_stale_ones_are_replaced(void **state)
{
    (void)state;
    struct scene open_hand = {.steps = {NULL, socket_files}, .limit = 0};
    struct scene strict = {.steps = {NULL, socket_files}, .limit = 0777};
    scene_run(&open_hand);
    scene_run(&strict);
}

/* ---- alarm ---- */
static pst_step alarms(struct scene *scene, uint32_t worker)
{
    uint64_t now = world->now_ns(world->self);
    switch (scene->turns) {
    case 0: /* replaces one, and takes one back */
        must(world->alarm(world->self, worker, now + 3600000 * NS_A_MS) == PST_OK);
        must(world->alarm(world->self, worker, 0) == PST_OK);
        must(world->alarm(world->self, worker, now + 1) == PST_OK);
        scene->t[0] = now + 20 * NS_A_MS + 1;
        must(world->alarm(world->self, worker, scene->t[0]) == PST_OK);
        break;
    case 1: /* it is over already */
        must(now >= scene->t[0]);
        must(world->alarm(world->self, worker, now - 1) == PST_OK);
        break;
    case 2: /* while it works, it is called anyway, and once more */
        must(world->alarm(world->self, worker, now + NS_A_MS) == PST_OK);
        while (world->now_ns(world->self) < now + 5 * NS_A_MS)
            continue;
        break;
    default:
        return PST_STEP_DONE;
    }
    scene->turns++;
    return PST_STEP_IDLE;
}

static void an_alarm_wakes_its_worker_once(void **state)
{
    (void)state;
    struct scene scene = {.steps = {NULL, alarms}};
    scene_run(&scene);
    assert_int_equal(scene.turns, 3);
}

/* ---- memory ---- */
static pst_step frugal_serve(struct scene *scene, uint32_t worker)
{
    if (scene->listener == NULL &&
        world->net_listen(world->self, worker, scene->listen_at, &scene->listener) != PST_OK) {
        scene->listener = NULL;
        return PST_STEP_MORE; /* once alone it fails */
    }
    if (!atomic_load(&scene->listening)) {
        (void)snprintf(scene->address, sizeof scene->address, "%s", world->net_address(world->self, scene->listener));
        atomic_store(&scene->listening, true);
        world->wake(world->self, 2);
    }
    pst_step step = echo_serve(scene, worker);
    if (step != PST_STEP_DONE || scene->outcome == PST_ESTOPPED)
        return step;
    scene->outcome = PST_ENOMEM; /* the listener is gone, the client hears of it or has failed */
    return step;
}

static pst_step frugal_ask(struct scene *scene, uint32_t worker)
{
    if (!atomic_load(&scene->listening))
        return PST_STEP_IDLE;
    if (scene->client == NULL && world->net_connect(world->self, worker, scene->address, &scene->client) != PST_OK)
        return PST_STEP_MORE;
    return echo_ask(scene, worker);
}

/* The n-th allocation fails: the echo ends all the same, with all messages or with an error, and nothing is left. */
static void a_lost_allocation_is_an_error_and_no_leak(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (uint32_t n = 1; n <= 60; n++) {
        if (n == 31)
            world_renew("a");
        struct scene scene = {.listen_at = "localhost:0",
                              .steps = {NULL, frugal_serve, frugal_ask},
                              .size_max = 30000,
                              .message_count = 3};
        unsigned descriptors = descriptor_count();
        pst_malloc_fail_at(n % 30 + 1);
        int rc = world->run(world->self, 3, scene_step, &scene);
        pst_malloc_fail_at(0);
        assert_true(rc == PST_OK || rc == PST_ENOMEM);
        pst_free(scene.held);
        assert_int_equal(descriptor_count(), descriptors);
        failures += scene.received != scene.message_count;
    }
    assert_true(failures > 5);
    world_renew(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_on_tcp),
        cmocka_unit_test(messages_come_back_on_ipv6),
        cmocka_unit_test(messages_come_back_on_a_unix_socket),
        cmocka_unit_test(messages_come_back_over_tls_and_names_are_known),
        cmocka_unit_test(a_message_above_the_limit_is_refused),
        cmocka_unit_test(a_sender_waits_for_a_receiver_that_does_not_read),
        cmocka_unit_test(both_sides_may_close_amid_traffic),
        cmocka_unit_test(a_connection_is_given_to_other_workers_amid_traffic),
        cmocka_unit_test(a_peer_that_ends_within_a_message_is_an_error),
        cmocka_unit_test(a_server_talks_to_nodes_of_its_authority_alone),
        cmocka_unit_test(a_handshake_that_takes_too_long_is_dropped),
        cmocka_unit_test(a_client_talks_to_nodes_of_its_authority_alone),
        cmocka_unit_test(the_keys_of_a_folder_are_read_where_they_are_of_ed25519),
        cmocka_unit_test(bad_certificates_are_refused_with_a_sentence),
        cmocka_unit_test(those_who_do_not_show_who_they_are_are_bounded_in_number),
        cmocka_unit_test(thousands_of_connections_leave_nothing),
        cmocka_unit_test(addresses_that_are_none_are_refused),
        cmocka_unit_test(where_nobody_listens_nobody_is_reached),
        cmocka_unit_test(a_connection_may_be_closed_at_any_time),
        cmocka_unit_test(socket_files_are_their_owners_and_stale_ones_are_replaced),
        cmocka_unit_test(both_ends_ask_whether_the_other_is_still_there),
        cmocka_unit_test(an_alarm_wakes_its_worker_once),
        cmocka_unit_test(a_lost_allocation_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
