/* sealed - how fast one process sends to another over loopback, by the product's own connections (base/net_uv.c): what a copy of state is
 * compared with.
 *
 * usage: sealed SECONDS [FOLDER FOLDER]: certificates of two nodes, as `penstock tls issue` makes them; without them there is no TLS.
 * Prints bytes a second, of messages of 256 KiB. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 256 * 1024, ADDRESS_BYTES = 64 };

struct side {
    struct pst_world *world;
    struct pst_listener *listener; /* the receiver's */
    struct pst_conn *conn;
    char address[ADDRESS_BYTES];
    int out; /* the receiver's: says where it listens */
    bool up;
    uint64_t begun_ns, end_ns, bytes, span_ns;
    uint8_t *message;
};

static bool is_up(struct side *side)
{
    char peer[PST_PEER_BYTES];
    if (side->up)
        return true;
    int rc = side->world->net_peer(side->world->self, side->conn, peer);
    if (rc != PST_OK && rc != PST_EAGAIN) {
        fprintf(stderr, "sealed: %s\n", pst_system_error());
        exit(1);
    }
    side->up = rc == PST_OK;
    if (side->up) {
        side->world->net_limit(side->world->self, side->conn, 2 * MESSAGE_BYTES);
        side->begun_ns = side->world->now_ns(side->world->self);
    }
    return side->up;
}

static pst_step receive_step(void *argument, uint32_t worker)
{
    struct side *side = argument;
    const struct pst_world *world = side->world;
    const void *bytes;
    size_t byte_count;
    int rc = PST_EAGAIN;
    if (side->listener == NULL) {
        if (world->net_listen(world->self, worker, "127.0.0.1:0", &side->listener) != PST_OK)
            exit(1);
        const char *address = world->net_address(world->self, side->listener);
        if (write(side->out, address, strlen(address) + 1) < 0)
            exit(1);
    }
    if (side->conn == NULL && world->net_accept(world->self, side->listener, &side->conn) != PST_OK)
        return PST_STEP_IDLE;
    for (int i = 0; i < 64 && is_up(side); i++) {
        rc = world->net_receive(world->self, side->conn, &bytes, &byte_count);
        if (rc != PST_OK)
            break;
        side->bytes += byte_count;
    }
    if (rc == PST_OK)
        return PST_STEP_MORE;
    if (rc == PST_EAGAIN)
        return PST_STEP_IDLE;
    side->span_ns = world->now_ns(world->self) - side->begun_ns;
    world->net_close(world->self, side->conn);
    world->net_unlisten(world->self, side->listener);
    return PST_STEP_DONE;
}

static pst_step send_step(void *argument, uint32_t worker)
{
    struct side *side = argument;
    const struct pst_world *world = side->world;
    if (side->conn == NULL && world->net_connect(world->self, worker, side->address, &side->conn) != PST_OK)
        exit(1);
    if (!is_up(side))
        return PST_STEP_IDLE;
    if (world->now_ns(world->self) >= side->begun_ns + side->end_ns) {
        world->net_close(world->self, side->conn);
        return PST_STEP_DONE;
    }
    int rc = world->net_send(world->self, side->conn, side->message, MESSAGE_BYTES);
    return rc == PST_OK ? PST_STEP_MORE : rc == PST_EAGAIN ? PST_STEP_IDLE : PST_STEP_DONE;
}

static void side_run(struct side *side, const char *folder, pst_step (*step)(void *, uint32_t))
{
    char why[PST_TLS_WHY_BYTES] = "";
    side->world = pst_world_uv();
    if (side->world == NULL || (folder != NULL && pst_world_uv_tls(side->world, folder, why) != PST_OK)) {
        fprintf(stderr, "sealed: %s\n", why);
        exit(1);
    }
    if (side->world->run(side->world->self, 1, step, side) != PST_OK)
        exit(1);
    pst_world_uv_free(side->world);
}

int main(int argc, char **argv)
{
    struct side side = {0};
    int pipe_fds[2], status;
    if ((argc != 2 && argc != 4) || pipe(pipe_fds) != 0) {
        fprintf(stderr, "usage: sealed SECONDS [FOLDER FOLDER]\n");
        return 2;
    }
    pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        side.out = pipe_fds[1];
        side_run(&side, argc == 4 ? argv[2] : NULL, receive_step);
        printf("%.0f\n", (double)side.bytes / ((double)side.span_ns / 1e9));
        return fflush(stdout) == 0 ? 0 : 1;
    }
    side.end_ns = (uint64_t)(strtod(argv[1], NULL) * 1e9);
    side.message = calloc(1, MESSAGE_BYTES);
    if (side.message == NULL || read(pipe_fds[0], side.address, sizeof side.address) <= 0)
        return 1;
    side_run(&side, argc == 4 ? argv[3] : NULL, send_step);
    free(side.message);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
