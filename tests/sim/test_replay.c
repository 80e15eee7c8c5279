/* test_replay.c - a stream that comes by a connection, into a graph on several nodes: whatever is killed or cut off, and whenever - the node
 * that reads, the coordinator, the client itself - the graph leaves the bytes of one process over the whole file (P1, P2). */
#include "engine/node.h"
#include "tests/sim/cluster.h"
#include "tests/sim/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sums { /* over all seeds */
    uint64_t restarts, completed, begun, killed, resumed;
    uint64_t bytes_sent, bytes_input;
    uint64_t players, stopped;
};

static const char *graph_path;
static bool several; /* nodes read, each a stream of its own: no row is late, as it would be so by other rows */

static void query_input(struct scene *scene)
{
    struct scene_meters meters = scene_small;
    meters.dirt = !several;
    scene_query(scene, graph_path);
    scene_put_meters(scene, &meters);
}

static void one(const struct scene *wanted, const struct pst_text *text, const char *name, uint64_t seed,
                uint32_t kills, bool points, struct sums *sums)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "%s, seed %llu", name, (unsigned long long)seed);
    cluster_init(cluster, seed, text, query_input);
    cluster->fed = true;
    cluster->source = (uint32_t)sim_random(&cluster->random, cluster->node_count);
    cluster->every_ns = points ? 1000000 + sim_random(&cluster->random, 30000000) : 0;
    cluster->reader_count = several ? 2 + (cluster->node_count > 2 && seed % 3 == 0) : 0; /* there are three houses */
    cluster->client.graph_name = name;
    cluster->client.stops = several && points && seed % 2 == 0 ? 1 : 0;
    if (kills != 0) /* so slow that it is amid the stream when something happens */
        cluster->player->speed = 100 * (double)(1 + sim_random(&cluster->random, 100));
    cluster->player->sim.read_bytes_max = cluster->like.sim.read_bytes_max;
    cluster_begin(cluster);
    cluster_run(cluster, kills, true, what);
    cluster_same(wanted, cluster, name, what);
    sums->restarts += cluster->client.incarnation - 1;
    sums->completed += cluster->completed;
    for (uint32_t k = 0; k < CLUSTER_FEW_NODES; k++) {
        sums->begun += cluster->player[k].begun;
        sums->killed += cluster->player[k].killed;
        sums->resumed += cluster->player[k].resumed;
        sums->bytes_sent += cluster->player[k].bytes_sent;
        sums->bytes_input += cluster->player[k].added ? sim_get(&cluster->player[k].sim, "stream.csv")->count : 0;
    }
    sums->players += several ? cluster->reader_count : 1;
    sums->stopped += cluster->client.stopped;
    cluster_fini(cluster);
    free(cluster);
}

static void seeds_run(const char *path, const char *name, uint64_t seeds, uint32_t kills, bool points,
                      struct sums *ret_sums)
{
    struct scene wanted;
    struct pst_text text = {0};
    *ret_sums = (struct sums){0};
    graph_path = path;
    scene_text_of(path, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, path), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        one(&wanted, &text, name, seed, kills, points, ret_sums);
    if (getenv("PST_TEST_LOG") != NULL)
        print_message(
            "%s: %llu restarts, %llu checkpoints, the player begun %llu times, killed %llu times, %llu connections "
            "went on amid the stream, %llu of %llu bytes sent, %llu players, %llu stops\n",
            name, (unsigned long long)ret_sums->restarts, (unsigned long long)ret_sums->completed,
            (unsigned long long)ret_sums->begun, (unsigned long long)ret_sums->killed,
            (unsigned long long)ret_sums->resumed, (unsigned long long)ret_sums->bytes_sent,
            (unsigned long long)ret_sums->bytes_input, (unsigned long long)ret_sums->players,
            (unsigned long long)ret_sums->stopped);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void a_stream_is_sent_once_where_nothing_happens(void **state)
{
    (void)state;
    struct sums sums;
    uint64_t seeds = scene_seeds(20);
    seeds_run(LOAD, "load", seeds, 0, false, &sums);
    assert_true(sums.restarts == 0 && sums.begun == seeds && sums.bytes_sent == sums.bytes_input);
    seeds_run(OUTLIERS, "outliers", seeds, 0, true, &sums);
    assert_true(sums.begun == seeds && sums.bytes_sent == sums.bytes_input);
    scene_shows(sums.completed > 0);
}

static void killed(const char *path, const char *name, bool points)
{
    struct sums sums;
    uint64_t seeds = scene_seeds(several ? 24 : 60);
    seeds_run(path, name, seeds, 4, points, &sums);
    scene_shows(sums.restarts > seeds / 2 && sums.killed > seeds / 4 && sums.resumed > seeds / 4);
    scene_shows(sums.bytes_sent > sums.bytes_input);
}

static void query_1_without_checkpoints_begins_again(void **state)
{
    (void)state;
    killed(LOAD, "load", false);
}

static void query_1_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(LOAD, "load", true);
}

static void query_2_goes_on_from_its_checkpoints(void **state)
{
    (void)state;
    killed(OUTLIERS, "outliers", true);
}

/* ---- somebody who breaks the rules ---- */

enum wrong {
    WRONG_OFFSET,
    WRONG_LIMIT,
    WRONG_INCARNATION,
    WRONG_BODY,
    WRONG_LENGTH,
    WRONG_BYTES,
    WRONG_BEHIND_END,
    WRONG_SILENCE, /* a part of the stream, and then nothing more */
    WRONG_COUNT
};

struct rogue {
    struct sim sim;
    enum wrong wrong;
    const struct pst_text *rows; /* the stream */
    struct pst_conn *conn;
    char address[64];
    bool greeted, asked, open;
    uint32_t refused;
    uint64_t incarnation, limit;
    /* one that keeps its connection, for so long */
    uint64_t stays_ns;
    bool beats, says; /* beats: it has promised to say something now and then; says: it does */
    uint64_t open_ns, said_ns, over_ns;
};

static void rogue_send(struct rogue *rogue, Pst__Control *message)
{
    struct pst_text text = {0};
    message->request = 3;
    message->graph = (char *)(uintptr_t) "load";
    message->incarnation = rogue->incarnation;
    assert_int_equal(pst_control_pack(message, &text), PST_OK);
    assert_int_equal(rogue->sim.world.net_send(&rogue->sim, rogue->conn, text.bytes, text.count), PST_OK);
    pst_text_fini(&text);
}

static void rogue_ask(struct rogue *rogue)
{
    Pst__Hello hello = PST__HELLO__INIT;
    Pst__Replay replay = PST__REPLAY__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    hello.role = PST__ROLE__ADMIN;
    message.body_case = PST__CONTROL__BODY_HELLO;
    message.hello = &hello;
    if (!rogue->greeted)
        rogue_send(rogue, &message);
    rogue->greeted = rogue->asked = true;
    replay.stream = (char *)(uintptr_t) "the-stream";
    replay.client = 12345;
    replay.beats = rogue->beats;
    message.body_case = PST__CONTROL__BODY_REPLAY;
    message.replay = &replay;
    rogue_send(rogue, &message);
}

static void rogue_bytes(struct rogue *rogue, uint64_t offset, size_t count)
{
    Pst__ReplayBytes bytes = PST__REPLAY_BYTES__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    bytes.offset = offset;
    bytes.payload = (ProtobufCBinaryData){count, (uint8_t *)rogue->rows->bytes + offset};
    message.body_case = PST__CONTROL__BODY_REPLAY_BYTES;
    message.replay_bytes = &bytes;
    rogue_send(rogue, &message);
}

static void rogue_end(struct rogue *rogue, uint64_t length)
{
    Pst__ReplayEnd end = PST__REPLAY_END__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    end.length = length;
    message.body_case = PST__CONTROL__BODY_REPLAY_END;
    message.replay_end = &end;
    rogue_send(rogue, &message);
}

static void rogue_misbehave(struct rogue *rogue)
{
    Pst__Control message = PST__CONTROL__INIT;
    Pst__Stop stop = PST__STOP__INIT;
    rogue->open = true;
    switch (rogue->wrong) {
    case WRONG_OFFSET:
        rogue_bytes(rogue, 1, 100);
        break;
    case WRONG_LIMIT:
        rogue_bytes(rogue, rogue->limit < 60000 ? 0 : 1, rogue->limit < 60000 ? (size_t)rogue->limit + 1 : 100);
        break;
    case WRONG_INCARNATION:
        rogue->incarnation++;
        rogue_bytes(rogue, 0, 100);
        break;
    case WRONG_BODY:
        message.body_case = PST__CONTROL__BODY_STOP;
        message.stop = &stop;
        rogue_send(rogue, &message);
        break;
    case WRONG_LENGTH:
        rogue_bytes(rogue, 0, 100);
        rogue_end(rogue, 101);
        break;
    case WRONG_BYTES:
        assert_int_equal(rogue->sim.world.net_send(&rogue->sim, rogue->conn, "\x01\x02\x03", 3), PST_OK);
        break;
    case WRONG_BEHIND_END:
        rogue_end(rogue, 0);
        rogue_bytes(rogue, 0, 100);
        break;
    default:
        rogue_bytes(rogue, 0, 150);
        break;
    }
}

/* True: it is over. */
static bool rogue_hears(struct rogue *rogue, const void *bytes, size_t byte_count)
{
    struct pst_arena arena;
    Pst__Control *message;
    bool over = false;
    pst_arena_init(&arena);
    assert_int_equal(pst_control_unpack(bytes, byte_count, SIZE_MAX, &arena, &message), PST_OK);
    const Pst__ReplayGo *go = message->body_case == PST__CONTROL__BODY_REPLAY_GO ? message->replay_go : NULL;
    rogue->refused += message->body_case == PST__CONTROL__BODY_REFUSED;
    if (go != NULL && go->open) {
        rogue->incarnation = message->incarnation;
        rogue->limit = go->limit;
        assert_int_equal(go->beats, rogue->beats);
        rogue_misbehave(rogue);
        rogue->open_ns = rogue->sim.now_ns;
        over = rogue->wrong == WRONG_SILENCE && rogue->stays_ns == 0;
    } else if (go != NULL) {
        bool elsewhere = go->error == PST_OK && strcmp(go->address, rogue->address) != 0;
        if (elsewhere)
            (void)snprintf(rogue->address, sizeof rogue->address, "%s", go->address);
        rogue->asked = false;
        if (elsewhere) {
            rogue->sim.world.net_close(&rogue->sim, rogue->conn);
            rogue->conn = NULL;
            rogue->greeted = false;
        }
    }
    pst_arena_fini(&arena);
    return over;
}

static void rogue_beat(struct rogue *rogue)
{
    Pst__BeatAck beat = PST__BEAT_ACK__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    message.body_case = PST__CONTROL__BODY_BEAT_ACK;
    message.beat_ack = &beat;
    rogue->said_ns = rogue->sim.now_ns;
    rogue_send(rogue, &message);
}

static pst_step rogue_ends(struct rogue *rogue)
{
    rogue->over_ns = rogue->sim.now_ns;
    rogue->sim.world.net_close(&rogue->sim, rogue->conn);
    return PST_STEP_DONE;
}

static pst_step rogue_step(void *argument, uint32_t worker)
{
    struct rogue *rogue = argument;
    const struct pst_world *world = &rogue->sim.world;
    char peer[PST_PEER_BYTES];
    const void *bytes;
    size_t byte_count;
    int rc;
    assert_int_equal(worker, 0);
    (void)world->alarm(world->self, 0, rogue->sim.now_ns + 10000000);
    if (rogue->conn == NULL)
        assert_int_equal(world->net_connect(world->self, 0, rogue->address, &rogue->conn), PST_OK);
    if (!rogue->greeted && world->net_peer(world->self, rogue->conn, peer) != PST_OK)
        return PST_STEP_IDLE;
    if (!rogue->asked)
        rogue_ask(rogue);
    while (rogue->conn != NULL &&
           (rc = world->net_receive(world->self, rogue->conn, &bytes, &byte_count)) != PST_EAGAIN) {
        if (rc != PST_OK || rogue_hears(rogue, bytes, byte_count))
            return rogue_ends(rogue);
    }
    if (rogue->open && rogue->says && rogue->sim.now_ns >= rogue->said_ns + 500000000)
        rogue_beat(rogue);
    if (rogue->open && rogue->stays_ns != 0 && rogue->sim.now_ns >= rogue->open_ns + rogue->stays_ns)
        return rogue_ends(rogue);
    return PST_STEP_IDLE;
}

/* A graph waits for its stream, and here is somebody else who has it. */
static void rogue_begin(struct cluster *cluster, struct rogue *rogue, const struct pst_text *text, uint64_t seed,
                        const char *what)
{
    cluster_init(cluster, seed, text, query_input);
    cluster->fed = cluster->player->held = true;
    cluster_begin(cluster);
    while (!cluster->client.taken)
        cluster_turn(cluster, what);
    sim_init(&rogue->sim, seed);
    sim_net_add(&cluster->net, &rogue->sim);
    rogue->rows = scene_file(&cluster->like, "in.csv");
    (void)snprintf(rogue->address, sizeof rogue->address, "n0:1");
    sim_begin(&rogue->sim, 1, rogue_step, rogue);
}

static void one_rogue(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct rogue *rogue = calloc(1, sizeof *rogue);
    char what[80];
    (void)snprintf(what, sizeof what, "a rogue, seed %llu", (unsigned long long)seed);
    rogue->wrong = seed % WRONG_COUNT;
    rogue_begin(cluster, rogue, text, seed, what);
    while (rogue->sim.workers_left != 0)
        cluster_turn(cluster, what);
    assert_true(rogue->open);
    assert_int_equal(rogue->refused, rogue->wrong == WRONG_SILENCE ? 0 : 1);
    cluster->player->held = false;
    if (rogue->wrong != WRONG_BEHIND_END) { /* that stream was said to be empty: it is another one */
        cluster_run(cluster, 0, false, what);
        cluster_same(wanted, cluster, "load", what);
    }
    sim_end(&rogue->sim);
    cluster_fini(cluster);
    sim_fini(&rogue->sim);
    free(rogue);
    free(cluster);
}

static void rogues_run(void (*try_seed)(const struct scene *wanted, const struct pst_text *text, uint64_t seed),
                       uint64_t seeds)
{
    struct scene wanted;
    struct pst_text text = {0};
    graph_path = LOAD;
    scene_text_of(LOAD, &text);
    scene_init(&wanted, 1);
    query_input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, LOAD), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        try_seed(&wanted, &text, seed);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

static void whoever_breaks_the_rules_is_refused_and_the_stream_goes_on(void **state)
{
    (void)state;
    rogues_run(one_rogue, scene_seeds(4 * WRONG_COUNT));
}

/* ---- somebody who stands still ---- */

#define SECONDS UINT64_C(1000000000)
enum holder { HOLDER_STALLS, HOLDER_WAITS, HOLDER_IS_OLD, HOLDER_COUNT };

/* It has sent a part of the stream, and sends nothing more, with its connection open. When the player comes it is let in after ten seconds
 * if the holder has stopped altogether; never if it says that it is there, or has never promised to. */
static void one_holder(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct rogue *rogue = calloc(1, sizeof *rogue);
    enum holder holder = seed % HOLDER_COUNT;
    char what[80];
    (void)snprintf(what, sizeof what, "a holder, seed %llu", (unsigned long long)seed);
    rogue->wrong = WRONG_SILENCE;
    rogue->stays_ns = 30 * SECONDS;
    rogue->beats = holder != HOLDER_IS_OLD;
    rogue->says = holder == HOLDER_WAITS;
    rogue_begin(cluster, rogue, text, seed, what);
    while (!rogue->open)
        cluster_turn(cluster, what);
    cluster->player->held = false;
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, "load", what);
    assert_int_equal(rogue->sim.workers_left, 0);
    uint64_t held_ns = rogue->over_ns - rogue->open_ns;
    if (holder == HOLDER_STALLS)
        assert_true(held_ns >= 9 * SECONDS && held_ns < 15 * SECONDS);
    else
        assert_true(held_ns >= rogue->stays_ns && cluster->player->begun > 1);
    assert_true(cluster->player->resumed > 0); /* behind what the holder has sent */
    sim_end(&rogue->sim);
    cluster_fini(cluster);
    sim_fini(&rogue->sim);
    free(rogue);
    free(cluster);
}

static void a_client_that_stands_still_makes_room_for_the_next(void **state)
{
    (void)state;
    rogues_run(one_holder, scene_seeds(4 * HOLDER_COUNT));
}

/* ---- an end that is not written down ---- */

/* All of the stream was taken, and the store does not take that the graph is done. The next coordinator starts the graph again, from its last
 * checkpoint or from the beginning: so whoever replays is not told that it is done, and is there. */
static void one_unwritten_end(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "an end that is not written, seed %llu", (unsigned long long)seed);
    cluster_init(cluster, seed, text, query_input);
    cluster->fed = true;
    cluster->every_ns = seed % 2 != 0 ? 5000000 : 0;
    cluster->store.refuses_ends = true;
    cluster_begin(cluster);
    const struct graph_record *record = NULL;
    while (record == NULL || record->state != GRAPH_DONE || record->committing) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
        record = cluster_record(cluster);
    }
    assert_non_null(strstr(record->why, "the coordination store did not take it"));
    for (uint64_t until = cluster->net.now_ns + SECONDS; cluster->net.now_ns < until;) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
        assert_false(cluster->player->ended);
    }
    cluster_kill(cluster, 0);
    cluster->store.refuses_ends = false;
    cluster_up(cluster, 0);
    cluster_run(cluster, 0, false, what);
    assert_int_equal(cluster_record(cluster)->state, GRAPH_DONE);
    cluster_same(wanted, cluster, "load", what);
    cluster_fini(cluster);
    free(cluster);
}

static void whoever_replays_stays_until_the_end_is_written(void **state)
{
    (void)state;
    rogues_run(one_unwritten_end, scene_seeds(10));
}

/* ---- several streams ---- */

static void several_streams_are_sent_once_where_nothing_happens(void **state)
{
    (void)state;
    struct sums sums;
    several = true;
    seeds_run(LOAD, "load", scene_seeds(10), 0, false, &sums);
    assert_true(sums.restarts == 0 && sums.begun == sums.players && sums.bytes_sent == sums.bytes_input);
    seeds_run(OUTLIERS, "outliers", scene_seeds(20), 0, true, &sums); /* some are stopped, and go on from a savepoint */
    scene_shows(sums.completed > 0 && sums.stopped > 0);
    several = false;
}

static void several_streams_go_on_whoever_dies(void **state)
{
    (void)state;
    several = true;
    killed(LOAD, "load", true);
    killed(OUTLIERS, "outliers", true);
    killed(LOAD, "load", false);
    several = false;
}

static const char *reader_of(struct cluster *cluster, size_t i)
{
    const struct graph_record *record = cluster_record(cluster);
    return record != NULL ? record->start->start->source_nodes[i] : "";
}

/* Until it runs, from this checkpoint's incarnation or a later one. */
static void runs_again(struct cluster *cluster, uint64_t incarnation, const char *what)
{
    const struct graph_record *record = NULL;
    while (record == NULL || record->start->incarnation < incarnation || record->state != GRAPH_RUNNING) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
        record = cluster_record(cluster);
    }
}

/* The second of two readers dies for good behind a checkpoint, and the third node takes its stream; that one dies, too, before there is another
 * checkpoint, when the second has come back: the stream goes back there. Its position is in the part of the second all along. */
static void one_that_goes_round(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "a stream that goes round, seed %llu", (unsigned long long)seed);
    cluster_init_many(cluster, seed, 3, text, query_input);
    cluster->fed = true;
    cluster->reader_count = 2;
    cluster->every_ns = 20000000;
    cluster->player->speed = 50;
    cluster->client.graph_name = "load";
    cluster_begin(cluster);
    while (cluster->completed == 0) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
    }
    assert_string_equal(reader_of(cluster, 0), "n0");
    assert_string_equal(reader_of(cluster, 1), "n1");
    cluster_kill(cluster, 1);
    runs_again(cluster, 2, what);
    assert_string_equal(reader_of(cluster, 0), "n0");
    assert_string_equal(reader_of(cluster, 1), "n2");
    if (seed % 2 == 0) {
        cluster_up(cluster, 1);
        while (!pst_coordinator_member(cluster->nodes[0].node->duty, "n1")->alive)
            cluster_turn(cluster, what);
        uint64_t complete = cluster_record(cluster)->complete;
        cluster_kill(cluster, 2);
        runs_again(cluster, 3, what);
        assert_string_equal(reader_of(cluster, 1), "n1");
        scene_shows(complete >> 32 == 1);
    }
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, "load", what);
    assert_true(cluster->player[0].killed == 0 && cluster->player[0].resumed > 0 && cluster->player[1].resumed > 0);
    cluster_fini(cluster);
    free(cluster);
}

static void a_stream_goes_to_a_node_that_reads_none(void **state)
{
    (void)state;
    several = true;
    rogues_run(one_that_goes_round, scene_seeds(10));
    several = false;
}

/* Where both nodes read the stream of a dead one waits for it; the other one's player is there all along. */
static void one_that_waits(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "a stream that waits, seed %llu", (unsigned long long)seed);
    cluster_init_many(cluster, seed, 2, text, query_input);
    cluster->fed = true;
    cluster->reader_count = 2;
    cluster->every_ns = seed % 2 != 0 ? 20000000 : 0;
    cluster->player->speed = 50;
    cluster_begin(cluster);
    runs_again(cluster, 1, what);
    for (uint64_t until = cluster->net.now_ns + SECONDS; cluster->net.now_ns < until;) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
    }
    cluster_kill(cluster, 1);
    const struct graph_record *record = cluster_record(cluster);
    while (strcmp(record->why, "waits for node n1, which reads the input") != 0) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
    }
    cluster_up(cluster, 1);
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, "load", what);
    cluster_fini(cluster);
    free(cluster);
}

static void a_stream_waits_where_all_others_read(void **state)
{
    (void)state;
    several = true;
    rogues_run(one_that_waits, scene_seeds(6));
    several = false;
}

/* One whose player has not come: it is shown as waited for, and the other one, which is ahead or at its end, is not. */
static void one_that_is_missing(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    char what[80];
    (void)snprintf(what, sizeof what, "a stream that is missing, seed %llu", (unsigned long long)seed);
    cluster_init_many(cluster, seed, 2 + (uint32_t)(seed % 2), text, query_input);
    cluster->fed = true;
    cluster->reader_count = 2;
    cluster->player[seed % 2].held = true;
    cluster_begin(cluster);
    runs_again(cluster, 1, what);
    struct pst_text shown = {0};
    const char *missing = seed % 2 != 0 ? "stream of n1, read by n1: none was said yet: event time waits for it\n"
                                        : "stream of n0, read by n0: none was said yet: event time waits for it\n";
    while (shown.count == 0 ||
           (strstr(shown.bytes, "is at event time") == NULL && strstr(shown.bytes, "has ended") == NULL)) {
        cluster_turn(cluster, what);
        cluster_player_look(cluster, what);
        pst_text_fini(&shown);
        pst_streams_print(cluster_record(cluster), false, &shown);
    }
    assert_non_null(strstr(shown.bytes, missing));
    assert_ptr_equal(strstr(strstr(shown.bytes, "event time waits") + 1, "event time waits"), NULL);
    cluster->player[seed % 2].held = false;
    cluster_run(cluster, 0, false, what);
    cluster_same(wanted, cluster, "load", what);
    pst_text_fini(&shown);
    cluster_fini(cluster);
    free(cluster);
}

static void a_stream_that_is_missing_is_named(void **state)
{
    (void)state;
    several = true;
    rogues_run(one_that_is_missing, scene_seeds(6));
    several = false;
}

/* What the coordinator says to whoever has the second stream. "": it is taken, or waited for. */
static const char *said_to(struct cluster *cluster, const char *reader, bool named, char sentence[400])
{
    Pst__Replay replay = PST__REPLAY__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    Pst__ReplayGo go = PST__REPLAY_GO__INIT;
    replay.stream = (char *)(uintptr_t) "stream-1";
    replay.reader = (char *)(uintptr_t)reader;
    replay.named = named;
    replay.client = 9;
    message.graph = (char *)(uintptr_t) "load";
    message.body_case = PST__CONTROL__BODY_REPLAY;
    message.replay = &replay;
    assert_non_null(pst_streams_replay(cluster->nodes[0].node, &message, &go, sentence));
    return go.error == PST_EREFUSED ? sentence : "";
}

/* A node of an earlier version drops what it does not know of the record; and it cannot have part in a graph that is submitted so. */
static void earlier_versions_take_no_part(void **state)
{
    (void)state;
    struct pst_text text = {0}, why = {0};
    char sentence[400];
    struct cluster *cluster = calloc(1, sizeof *cluster);
    several = true;
    graph_path = LOAD;
    scene_text_of(LOAD, &text);
    cluster_init_many(cluster, 1, 3, &text, query_input);
    cluster->fed = true;
    cluster->reader_count = 2;
    cluster->player[0].held = cluster->player[1].held = true;
    cluster_begin(cluster);
    runs_again(cluster, 1, "earlier versions");
    struct graph_record *record = pst_coordinator_graph(cluster->nodes[0].node->duty, "load");
    Pst__Start *start = record->start->start;
    assert_string_equal(start->stream, "@several"); /* an id has no @ but before a range */
    assert_non_null(strstr(said_to(cluster, "", false, sentence), "say with --reader whose this one is"));
    assert_non_null(strstr(said_to(cluster, "n2", false, sentence), "say with --reader whose this one is"));
    assert_non_null(
        strstr(said_to(cluster, "n2", true, sentence), "has no stream of `n2`: it takes those of n0 and n1"));
    start->n_streams = 0;
    assert_non_null(strstr(said_to(cluster, "n1", true, sentence), "is not known any more, for a node of an earlier"));
    start->n_streams = 2;
    assert_string_equal(said_to(cluster, "n1", false, sentence), "");
    assert_string_equal(start->streams[1]->id, "stream-1");
    assert_string_equal(said_to(cluster, "n0", false, sentence), ""); /* it is known by its id */
    assert_non_null(strstr(said_to(cluster, "n0", true, sentence), "as that of n1, and not of n0"));
    assert_string_equal(start->streams[0]->id, "");
    pst_streams_good(cluster->nodes[0].node->duty, &why);
    assert_int_equal(why.count, 0);
    pst_coordinator_member(cluster->nodes[0].node->duty, "n2")->streams = false;
    pst_streams_good(cluster->nodes[0].node->duty, &why);
    assert_non_null(strstr(why.bytes, "node `n2` is of an earlier version"));
    assert_false(pst_coordinator_may_read(cluster->nodes[0].node->duty, record, "n2"));
    pst_text_fini(&why);
    cluster_fini(cluster);
    free(cluster);
    pst_text_fini(&text);
    several = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_sent_once_where_nothing_happens),
        cmocka_unit_test(whoever_breaks_the_rules_is_refused_and_the_stream_goes_on),
        cmocka_unit_test(a_client_that_stands_still_makes_room_for_the_next),
        cmocka_unit_test(whoever_replays_stays_until_the_end_is_written),
        cmocka_unit_test(several_streams_are_sent_once_where_nothing_happens),
        cmocka_unit_test(a_stream_goes_to_a_node_that_reads_none),
        cmocka_unit_test(earlier_versions_take_no_part),
        cmocka_unit_test(a_stream_waits_where_all_others_read),
        cmocka_unit_test(a_stream_that_is_missing_is_named),
        cmocka_unit_test(several_streams_go_on_whoever_dies),
        cmocka_unit_test(query_1_without_checkpoints_begins_again),
        cmocka_unit_test(query_1_goes_on_from_its_checkpoints),
        cmocka_unit_test(query_2_goes_on_from_its_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
