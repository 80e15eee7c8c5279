/* test_release.c - who keeps the user's key, asked over a socket by somebody who may be anybody: what is released, and what is not. Both sides
 * are steps of one thread. */
#include "enclave_shim/attestation/evidence.h"
#include "engine/release.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const uint8_t user_key[32] = {7, 7}, node_key[32] = {5, 5}, graph[32] = {3}, other_graph[32] = {4},
                     worker_secret[32] = {1, 9};

enum { IDLE_MAX = 40, STEPS_MAX = 400 };

struct asking { /* the other side: sends what it is told to, one message after the other, and keeps what comes */
    struct pst_world *world;
    struct pst_key_server *server;
    struct pst_conn *conn;
    char address[128];
    struct pst_process_evidence evidence;
    uint8_t shown[PST_PROCESS_EVIDENCE_BYTES]; /* what was shown last */
    enum { HONEST, SHOWS_AGAIN, NOT_ASKED, OTHER_NODE, OTHER_GRAPH, GARBAGE, SILENT, ASKS_ON } what;
    uint32_t rounds;                 /* workers that it asks for */
    struct pst_conn *idle[IDLE_MAX]; /* of others, who connect before it does and say nothing */
    uint32_t idle_count, idle_closed, steps;
    uint64_t step_ns; /* so much later is each step for the keeper; 0: it goes by the system's clock */
    bool known, sent, closed;
    uint8_t release[PST_RELEASE_BYTES];
    uint32_t releases, refusals;
    char sentence[RELEASE_SENTENCE_BYTES_MAX + 1];
};

static void show(struct asking *a, const uint8_t *nonce)
{
    static const uint8_t other_node[32] = {6};
    memcpy(a->evidence.nonce, nonce, RELEASE_NONCE_BYTES);
    if (a->what != SHOWS_AGAIN || a->releases == 0)
        assert_int_equal(
            pst_process_evidence_sign(&a->evidence, a->what == OTHER_NODE ? other_node : node_key, a->shown), PST_OK);
    assert_int_equal(pst_release_send(a->world, a->conn, RELEASE_EVIDENCE, a->shown, sizeof a->shown), PST_OK);
}

static void begin(struct asking *a)
{
    static const uint8_t nothing[32] = {0};
    const uint8_t *asked = a->what == OTHER_GRAPH ? other_graph : graph;
    a->sent = true;
    if (a->what == SILENT)
        return;
    if (a->what == NOT_ASKED)
        show(a, nothing);
    else if (a->what == GARBAGE)
        assert_int_equal(a->world->net_send(a->world->self, a->conn, "GET / HTTP/1.1", 14), PST_OK);
    else
        assert_int_equal(pst_release_send(a->world, a->conn, RELEASE_ASK, asked, sizeof graph), PST_OK);
}

static void hear(struct asking *a, const void *bytes, size_t byte_count)
{
    release_kind kind;
    const uint8_t *body;
    size_t count;
    assert_int_equal(pst_release_read(bytes, byte_count, &kind, &body, &count), PST_OK);
    if (kind == RELEASE_NONCE && a->what == ASKS_ON) {
        begin(a);
        return;
    }
    if (kind == RELEASE_NONCE) {
        show(a, body);
        return;
    }
    if (kind == RELEASE_RELEASE) {
        memcpy(a->release, body, count);
        a->releases++;
    } else {
        assert_int_equal(kind, RELEASE_REFUSED);
        memcpy(a->sentence, body, count);
        a->refusals++;
    }
    if (--a->rounds != 0)
        begin(a);
}

static uint64_t clock_ns;
static uint64_t clock_now_ns(void *self)
{
    (void)self;
    return clock_ns;
}

static void idle_step(struct asking *a, uint32_t worker)
{
    const struct pst_world *world = a->world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    for (uint32_t i = 0; i < a->idle_count; i++) {
        if (a->steps == 1)
            assert_int_equal(world->net_connect(world->self, worker, a->address, &a->idle[i]), PST_OK);
        if (a->idle[i] == NULL || world->net_peer(world->self, a->idle[i], peer) == PST_EAGAIN ||
            world->net_receive(world->self, a->idle[i], &bytes, &byte_count) == PST_EAGAIN)
            continue;
        world->net_close(world->self, a->idle[i]);
        a->idle[i] = NULL;
        a->idle_closed++;
    }
}

static pst_step step(void *argument, uint32_t worker)
{
    struct asking *a = argument;
    const struct pst_world *world = a->world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    clock_ns += a->step_ns;
    a->steps++;
    (void)pst_key_server_step(a->server, worker);
    idle_step(a, worker);
    if (a->conn == NULL)
        assert_int_equal(world->net_connect(world->self, worker, a->address, &a->conn), PST_OK);
    if (!a->known && world->net_peer(world->self, a->conn, peer) == PST_OK)
        a->known = true;
    if (a->known && !a->sent)
        begin(a);
    int rc = PST_EAGAIN;
    while (a->known && (rc = world->net_receive(world->self, a->conn, &bytes, &byte_count)) == PST_OK)
        hear(a, bytes, byte_count);
    a->closed = rc != PST_EAGAIN;
    bool over = a->closed || a->rounds == 0 || (a->step_ns != 0 && a->steps == STEPS_MAX);
    return over ? PST_STEP_DONE : PST_STEP_IDLE;
}

/* The keeper's policy is a worker of measurement {2}, of a node of node_key. */
static void ask(struct asking *a, uint32_t what, uint32_t rounds, bool allow_software)
{
    struct pst_attestation_policy policy;
    struct pst_digest measurement = {.bytes = {2}, .byte_count = 32}, node = {.byte_count = 32};
    char why[240];
    pst_attestation_policy_init(&policy);
    policy.backends = 1u << PST_BACKEND_PROCESS;
    policy.measurements = (struct pst_digests){&measurement, 1};
    policy.node_keys = (struct pst_digests){&node, 1};
    assert_int_equal(pst_process_node_key(node_key, node.bytes), PST_OK);
    struct pst_evidence_request request = {.policy = &policy, .allow_software = allow_software};
    a->what = what;
    a->rounds = rounds;
    a->world = pst_world_uv();
    assert_non_null(a->world);
    clock_ns = 1;
    if (a->step_ns != 0)
        a->world->now_ns = clock_now_ns;
    (void)snprintf(a->address, sizeof a->address, "unix:test-release-%d.sock", (int)getpid());
    a->evidence.capabilities = PST_EXEC_MEASURED;
    assert_int_equal(pst_channel_key_public(worker_secret, a->evidence.channel_key), PST_OK);
    struct pst_key_server_options options = {.listen = a->address, .key = user_key, .request = &request};
    assert_int_equal(pst_key_server_new(a->world, &options, &a->server), PST_OK);
    assert_int_equal(a->world->run(a->world->self, 1, step, a), PST_OK);
    if (a->conn != NULL)
        a->world->net_close(a->world->self, a->conn);
    for (uint32_t i = 0; i < a->idle_count; i++)
        if (a->idle[i] != NULL)
            a->world->net_close(a->world->self, a->idle[i]);
    assert_int_equal(pst_key_server_free(a->server, why), PST_OK);
    pst_world_uv_free(a->world);
}

static void a_worker_that_is_what_the_policy_wants_gets_the_graphs_root(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    uint8_t root[32], wanted[32];
    ask(&a, HONEST, 1, true);
    assert_int_equal(a.releases, 1);
    assert_int_equal(pst_release_open(a.release, sizeof a.release, graph, worker_secret, root), PST_OK);
    assert_int_equal(pst_sealed_root(user_key, graph, wanted), PST_OK);
    assert_memory_equal(root, wanted, sizeof root);
    assert_memory_not_equal(root, user_key, sizeof root);
}

/* Its host asks in the name of a graph that the same user's key seals, and shows a worker that was measured for this one. */
static void a_root_of_another_graph_does_not_open_for_the_worker(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    uint8_t root[32], wanted[32];
    ask(&a, OTHER_GRAPH, 1, true);
    assert_int_equal(a.releases, 1); /* the keeper cannot know of which graph a measurement is */
    assert_int_equal(pst_release_open(a.release, sizeof a.release, graph, worker_secret, root), PST_EREFUSED);
    assert_int_equal(pst_release_open(a.release, sizeof a.release, other_graph, worker_secret, root), PST_OK);
    assert_int_equal(pst_sealed_root(user_key, other_graph, wanted), PST_OK); /* the control: it was that root */
    assert_memory_equal(root, wanted, sizeof root);
}

static void expect_refused(struct asking *a, const char *sentence)
{
    assert_int_equal(a->refusals, 1);
    if (strstr(a->sentence, sentence) == NULL)
        fail_msg("`%s` does not say `%s`", a->sentence, sentence);
}

static void another_measurement_gets_nothing(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {3}};
    ask(&a, HONEST, 1, true);
    assert_int_equal(a.releases, 0);
    expect_refused(&a, "process.measurement is 0300");
}

static void another_node_gets_nothing(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    ask(&a, OTHER_NODE, 1, true);
    assert_int_equal(a.releases, 0);
    expect_refused(&a, "process.node_key");
}

static void software_gets_nothing_unless_it_is_allowed(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    ask(&a, HONEST, 1, false);
    assert_int_equal(a.releases, 0);
    expect_refused(&a, "hardware is software");
}

static void a_worker_in_debug_mode_gets_nothing(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}, .evidence.flags = PST_PROCESS_DEBUG};
    ask(&a, HONEST, 1, true);
    assert_int_equal(a.releases, 0);
    expect_refused(&a, "process.debug");
}

static void evidence_that_was_shown_before_gets_nothing(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    ask(&a, SHOWS_AGAIN, 2, true);
    assert_int_equal(a.releases, 1); /* the control: it was good the first time */
    expect_refused(&a, "process.nonce");
}

static void whoever_shows_what_nobody_asked_for_is_hung_up_on(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}};
    ask(&a, NOT_ASKED, 1, true);
    assert_true(a.closed && a.releases + a.refusals == 0);
    struct asking b = {.evidence.measurement = {2}};
    ask(&b, GARBAGE, 1, true);
    assert_true(b.closed && b.releases + b.refusals == 0);
}

/* ---- who holds a place ---- */

#define NS_A_SECOND (UINT64_C(1000) * 1000 * 1000)

static void whoever_says_nothing_keeps_nobody_out(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}, .idle_count = IDLE_MAX, .step_ns = NS_A_SECOND};
    ask(&a, HONEST, 1, true);
    assert_int_equal(a.releases, 1);
    assert_true(a.idle_closed >= 1 && a.idle_closed < IDLE_MAX); /* and none went that need not go */
}

static void whoever_gets_no_key_in_time_is_hung_up_on(void **state)
{
    (void)state;
    struct asking a = {.evidence.measurement = {2}, .step_ns = 10 * NS_A_SECOND};
    ask(&a, SILENT, 1, true);
    assert_true(a.closed && a.releases + a.refusals == 0);
    struct asking b = {.evidence.measurement = {2}, .step_ns = NS_A_SECOND};
    ask(&b, ASKS_ON, 1, true);
    assert_true(b.closed && b.releases + b.refusals == 0);
    struct asking c = {.evidence.measurement = {2}, .step_ns = NS_A_SECOND};
    ask(&c, HONEST, 60, true); /* the control: a minute, and a key each second or two */
    assert_int_equal(c.releases, 60);
}

/* ---- who asks ---- */

static uint64_t no_time(void *self)
{
    (void)self;
    return 1;
}
static int there(void *self, uint32_t worker, const char *address, struct pst_conn **ret_conn)
{
    (void)worker, (void)address;
    *ret_conn = self;
    return PST_OK;
}
static int known(void *self, struct pst_conn *conn, char *ret_peer)
{
    (void)self, (void)conn;
    ret_peer[0] = '\0';
    return PST_OK;
}
static int taken(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count)
{
    (void)self, (void)conn, (void)bytes, (void)byte_count;
    return PST_OK;
}
static int garbage(void *self, struct pst_conn *conn, const void **ret_bytes, size_t *ret_count)
{
    (void)conn;
    uint32_t *left = self;
    *ret_bytes = "garbage";
    *ret_count = 7;
    return *left != 0 && (*left)-- != 0 ? PST_OK : PST_EAGAIN;
}
static void closed(void *self, struct pst_conn *conn) { (void)self, (void)conn; }

static void who_has_failed_to_get_a_key_has_none_later(void **state)
{
    (void)state;
    uint32_t messages = 1;
    struct pst_world world = {.self = &messages,
                              .now_ns = no_time,
                              .net_connect = there,
                              .net_peer = known,
                              .net_send = taken,
                              .net_receive = garbage,
                              .net_close = closed};
    const struct pst_sealed_options options = {.keys = "here", .patience_ns = 1000};
    struct release_asker asker;
    pst_release_begin(&asker, &world, &options, graph);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pst_release_step(&asker, NULL, 1), PST_EREFUSED);
        assert_string_equal(asker.why, "the keeper of the key, here: it says something else than a keeper does");
        pst_release_end(&asker);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_is_what_the_policy_wants_gets_the_graphs_root),
        cmocka_unit_test(a_root_of_another_graph_does_not_open_for_the_worker),
        cmocka_unit_test(another_measurement_gets_nothing),
        cmocka_unit_test(another_node_gets_nothing),
        cmocka_unit_test(software_gets_nothing_unless_it_is_allowed),
        cmocka_unit_test(a_worker_in_debug_mode_gets_nothing),
        cmocka_unit_test(evidence_that_was_shown_before_gets_nothing),
        cmocka_unit_test(whoever_shows_what_nobody_asked_for_is_hung_up_on),
        cmocka_unit_test(whoever_says_nothing_keeps_nobody_out),
        cmocka_unit_test(whoever_gets_no_key_in_time_is_hung_up_on),
        cmocka_unit_test(who_has_failed_to_get_a_key_has_none_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
