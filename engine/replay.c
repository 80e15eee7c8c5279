/* replay.c - the other end of feed.h: a client that sends a recorded stream to the node that wants it.
 *
 *   DOWN --dials--> OPENING --both know each other--> ASKING --it is here--> FEEDING --the connection is lost--> DOWN
 *                                                       |  \--not now: asks again after a while
 *                                                       |--another node reads it--> OPENING, there
 *                                                       \--the graph is done--> the end
 *
 * Nothing is taken for granted that was not said on this connection: where the stream goes on is asked anew each time. So it makes no
 * difference whether a connection broke, a node died and the graph went back to its last checkpoint, or this is another process. The
 * graph is done when the coordinator's record says so: until then whoever replays stays, for the graph may want the stream again. */
#include "engine/control.h"
#include "engine/engine.h"
#include "engine/tape.h"

#include <stdio.h>
#include <string.h>

#define NS_A_MS (UINT64_C(1000) * 1000)
#define NS_A_SECOND (UINT64_C(1000) * NS_A_MS)
#define RETRY_NS (50 * NS_A_MS)
#define WAIT_SAID_NS (300 * NS_A_MS) /* nobody needs to know of less */
#define PROGRESS_NS (250 * NS_A_MS)
#define BEAT_NS (500 * NS_A_MS)
#define SILENT_NS (5 * NS_A_SECOND)
#define BUSY_NS (3 * NS_A_SECOND) /* a client that was killed is missed sooner */
enum { PIECE_BYTES = 48 * 1024, PIECES_A_STEP = 16, ADDRESSES = 3 };

enum replay_state { REPLAY_DOWN, REPLAY_OPENING, REPLAY_ASKING, REPLAY_FEEDING };

struct pst_replay {
    struct pst_world *world;
    const struct pst_replay_options *options;
    struct pst_replay_report report;
    struct tape *tape;
    struct pst_conn *conn;
    enum replay_state state;
    /* where it is tried: what it was told to ask, the node that reads, the coordinator */
    char address[ADDRESSES][PST_CONTROL_NAME_BYTES_MAX + 1];
    uint32_t at;
    char node[PST_CONTROL_NAME_BYTES_MAX + 1], first[PST_CONTROL_NAME_BYTES_MAX + 1]; /* first: at address[0] */
    char said[400]; /* the last reason to wait that was logged */
    uint64_t client, incarnation, request;
    uint64_t retry_ns, asked_ns, heard_ns, good_ns, progress_ns, begun_ns, busy_ns, wait_ns, beat_ns;
    bool greeted, fed, asked, reached, end_sent; /* greeted, fed: once at least */
    bool beats;                                  /* it is to say that it is there, at `beat_ns` */
    uint64_t limit, fed_max;                     /* of the stream; fed_max: the farthest that was ever sent */
    struct pst_text out;                         /* packed, not taken yet */
    struct piece piece;                          /* that stands in it; byte_count 0: it is the end */
    int rc;                                      /* PST_EAGAIN: it goes on */
};

static uint64_t now_of(const struct pst_replay *replay) { return replay->world->now_ns(replay->world->self); }

/* Not 0, and never ahead of the clock. */
static uint64_t clock_begin(const struct pst_replay *replay)
{
    uint64_t now_ns = now_of(replay);
    return now_ns != 0 ? now_ns : 1;
}

static void note(struct pst_replay *replay, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct pst_replay *replay, const char *format, ...)
{
    char line[600];
    va_list arguments;
    if (replay->options->log == NULL)
        return;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    replay->options->log(replay->options->argument, line);
}

static void fail(struct pst_replay *replay, int rc, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct pst_replay *replay, int rc, const char *format, ...)
{
    va_list arguments;
    if (replay->rc != PST_EAGAIN)
        return;
    replay->rc = rc;
    va_start(arguments, format);
    (void)vsnprintf(replay->report.why, sizeof replay->report.why, format, arguments);
    va_end(arguments);
}

/* ---- connections ---- */

static void conn_close(struct pst_replay *replay)
{
    if (replay->conn != NULL)
        replay->world->net_close(replay->world->self, replay->conn);
    replay->conn = NULL;
    replay->state = REPLAY_DOWN;
    replay->out.count = 0;
    replay->asked = replay->reached = replay->end_sent = false;
}

/* Elsewhere, in a moment. What was never reached will not be. */
static void lost(struct pst_replay *replay, int rc, const char *why)
{
    const char *address = replay->address[replay->at];
    uint64_t now_ns = now_of(replay);
    bool fed = replay->state == REPLAY_FEEDING;
    uint64_t patience_ns = replay->fed ? replay->options->patience_ns : SILENT_NS;
    if (!replay->greeted)
        fail(replay, rc == PST_EREFUSED ? rc : PST_EIO, "cannot reach %.200s: %.180s", address, why);
    else if (now_ns > replay->good_ns + patience_ns)
        fail(replay, PST_ETIMEOUT,
             "the node that reads the stream has not answered for too long; tried last was %.100s: %.160s", address,
             why);
    if (fed && !replay->end_sent)
        note(replay, "the connection to %s was lost (%s): asks again where to go on", replay->node, why);
    conn_close(replay);
    do
        replay->at = (replay->at + 1) % ADDRESSES;
    while (replay->address[replay->at][0] == '\0');
    replay->retry_ns = now_ns + RETRY_NS;
}

static int send(struct pst_replay *replay, Pst__Control *message)
{
    message->incarnation = replay->incarnation;
    replay->out.count = 0;
    int rc = pst_control_pack(message, &replay->out);
    if (rc == PST_OK)
        rc = replay->world->net_send(replay->world->self, replay->conn, replay->out.bytes, replay->out.count);
    if (rc != PST_EAGAIN)
        replay->out.count = 0;
    return rc;
}

static int greet(struct pst_replay *replay)
{
    Pst__Hello hello;
    Pst__Control message;
    pst_control_greet(&message, &hello);
    replay->incarnation = 0;
    return send(replay, &message);
}

static int ask(struct pst_replay *replay)
{
    const struct pst_replay_options *options = replay->options;
    Pst__Replay body = PST__REPLAY__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.source = (char *)(uintptr_t)options->source;
    body.stream = (char *)(uintptr_t)options->stream;
    body.client = replay->client;
    body.beats = true;
    body.named = options->reader != NULL && options->reader[0] != '\0';
    body.here = options->here;
    if (body.named || options->here)
        body.reader = body.named ? (char *)(uintptr_t)options->reader : replay->first;
    message.graph = replay->report.graph[0] != '\0' ? replay->report.graph : (char *)(uintptr_t)options->graph;
    message.request = ++replay->request;
    message.body_case = PST__CONTROL__BODY_REPLAY;
    message.replay = &body;
    replay->incarnation = 0;
    replay->asked = true;
    return send(replay, &message);
}

static void open_up(struct pst_replay *replay)
{
    const struct pst_world *world = replay->world;
    char peer[PST_PEER_BYTES];
    if (replay->state == REPLAY_DOWN) {
        if (now_of(replay) < replay->retry_ns)
            return;
        int rc = world->net_connect(world->self, 0, replay->address[replay->at], &replay->conn);
        if (rc != PST_OK) {
            lost(replay, rc, pst_system_error());
            return;
        }
        replay->state = REPLAY_OPENING;
        replay->retry_ns = now_of(replay) + SILENT_NS;
    }
    int rc = world->net_peer(world->self, replay->conn, peer);
    if (rc == PST_EAGAIN && now_of(replay) < replay->retry_ns)
        return;
    if (rc == PST_OK)
        rc = greet(replay);
    if (rc == PST_OK)
        rc = ask(replay);
    if (rc == PST_OK) {
        replay->state = REPLAY_ASKING;
        replay->asked_ns = now_of(replay);
    } else {
        lost(replay, rc, rc == PST_EAGAIN ? "it does not answer" : pst_system_error());
    }
}

/* ---- what is heard ---- */

static void on_welcome(struct pst_replay *replay, const Pst__Welcome *welcome)
{
    if (!replay->greeted) /* elsewhere it was never tried before */
        (void)snprintf(replay->first, sizeof replay->first, "%s", welcome->node);
    replay->greeted = true;
    (void)snprintf(replay->node, sizeof replay->node, "%s", welcome->node);
    (void)snprintf(replay->address[2], sizeof replay->address[2], "%s", welcome->coordinator_address);
}

static void ask_later(struct pst_replay *replay, const char *why)
{
    uint64_t now_ns = now_of(replay);
    if (replay->wait_ns == 0)
        replay->wait_ns = now_ns;
    if (now_ns >= replay->wait_ns + WAIT_SAID_NS && strcmp(why, replay->said) != 0) {
        (void)snprintf(replay->said, sizeof replay->said, "%s", why);
        note(replay, "waits: %s", why);
    }
    replay->asked = false;
    replay->good_ns = now_ns;
    replay->retry_ns = now_ns + RETRY_NS;
}

static void feed_begin(struct pst_replay *replay, const Pst__ReplayGo *go)
{
    const struct pst_replay_options *options = replay->options;
    replay->state = REPLAY_FEEDING;
    replay->limit = go->limit;
    replay->beats = go->beats;
    replay->beat_ns = now_of(replay) + BEAT_NS;
    replay->said[0] = '\0';
    replay->busy_ns = replay->wait_ns = 0;
    const struct tape_lines lines = {.column =
                                         options->time_column >= 0 ? (uint32_t)options->time_column : go->time_column,
                                     .column_count = go->columns,
                                     .time_min = go->time_min,
                                     .time_max = go->time_max};
    if (!replay->fed)
        pst_tape_lines(replay->tape, &lines);
    replay->fed = true;
    pst_tape_seek(replay->tape, go->offset);
    note(replay, "node %s takes it, from byte %llu on", go->node, (unsigned long long)go->offset);
}

static void on_go(struct pst_replay *replay, const Pst__Control *message)
{
    const Pst__ReplayGo *go = message->replay_go;
    if (message->request != replay->request || replay->state != REPLAY_ASKING)
        return;
    if (message->graph[0] != '\0') /* from now on it is this one */
        (void)snprintf(replay->report.graph, sizeof replay->report.graph, "%s", message->graph);
    replay->incarnation = message->incarnation;
    if (go->error == PST_EFULL) {
        uint64_t now_ns = now_of(replay);
        replay->busy_ns = replay->busy_ns != 0 ? replay->busy_ns : now_ns + BUSY_NS;
        if (now_ns >= replay->busy_ns)
            fail(replay, PST_EREFUSED, "%s", go->sentence);
    }
    if (go->error == PST_EAGAIN || go->error == PST_EFULL) {
        ask_later(replay, go->sentence);
    } else if (go->error != PST_OK) {
        fail(replay, go->error, "%s", go->sentence);
    } else if (go->ended) {
        replay->report.before = !replay->fed;
        replay->rc = PST_OK;
    } else if (go->open) {
        feed_begin(replay, go);
    } else if (strcmp(go->node, replay->node) == 0) {
        ask_later(replay, "the node that reads is not ready");
    } else {
        (void)snprintf(replay->address[1], sizeof replay->address[1], "%s", go->address);
        conn_close(replay);
        replay->at = 1;
        replay->retry_ns = 0; /* at once */
    }
}

static void hear(struct pst_replay *replay, const Pst__Control *message)
{
    replay->heard_ns = now_of(replay);
    if (replay->state == REPLAY_FEEDING) /* to be sent elsewhere, where nobody answers, is no answer */
        replay->good_ns = replay->heard_ns;
    if (message->body_case == PST__CONTROL__BODY_WELCOME)
        on_welcome(replay, message->welcome);
    else if (message->body_case == PST__CONTROL__BODY_REFUSED)
        fail(replay, message->refused->error != PST_OK ? message->refused->error : PST_EREFUSED, "%s",
             message->refused->sentence);
    else if (message->body_case == PST__CONTROL__BODY_REPLAY_GO)
        on_go(replay, message);
    else if (message->body_case == PST__CONTROL__BODY_REPLAY_GRANT && message->replay_grant->limit > replay->limit)
        replay->limit = message->replay_grant->limit;
}

static void listen_in(struct pst_replay *replay)
{
    const void *bytes;
    size_t byte_count;
    while (replay->conn != NULL && replay->rc == PST_EAGAIN) {
        struct pst_arena arena;
        Pst__Control *message = NULL;
        int rc = replay->world->net_receive(replay->world->self, replay->conn, &bytes, &byte_count);
        if (rc == PST_EAGAIN)
            return;
        if (rc != PST_OK) {
            lost(replay, rc, rc == PST_ESTOPPED ? "it was closed" : pst_system_error());
            return;
        }
        pst_arena_init(&arena);
        rc = pst_control_unpack(bytes, byte_count, PST_CONTROL_BYTES_MAX, &arena, &message);
        if (rc == PST_OK)
            hear(replay, message);
        else
            fail(replay, PST_EREFUSED, "no penstock node answers at %.200s: %.150s", replay->address[replay->at],
                 pst_error_sentence(rc));
        pst_arena_fini(&arena);
    }
}

/* ---- feeding ---- */

/* The event time that has come by the clock. INT64_MAX: there is no clock; INT64_MIN: it has not begun. */
static int64_t due_now(const struct pst_replay *replay)
{
    const struct pst_replay_options *options = replay->options;
    if (options->speed <= 0)
        return INT64_MAX;
    if (replay->begun_ns == 0)
        return INT64_MIN;
    double passed = (double)(now_of(replay) - replay->begun_ns) * options->speed / (double)options->time_unit_ns;
    double due = (double)replay->report.time_first + passed;
    return due < (double)INT64_MAX ? (int64_t)due : INT64_MAX - 1;
}

static void sleep_until(struct pst_replay *replay, int64_t time)
{
    const struct pst_replay_options *options = replay->options;
    double ahead = ((double)time - (double)replay->report.time_first) * (double)options->time_unit_ns / options->speed;
    uint64_t now_ns = now_of(replay);
    double wait = ahead - (double)(now_ns - replay->begun_ns);
    uint64_t wait_ns = wait < 1 ? 1 : wait < (double)NS_A_SECOND ? (uint64_t)wait + 1 : NS_A_SECOND;
    (void)replay->world->alarm(replay->world->self, 0, now_ns + wait_ns);
}

/* What stands in `out` was taken. */
static void sent(struct pst_replay *replay)
{
    struct pst_replay_report *report = &replay->report;
    replay->beat_ns = now_of(replay) + BEAT_NS;
    if (replay->piece.byte_count == 0) {
        replay->end_sent = true;
        return;
    }
    if (replay->piece.newest != INT64_MIN) {
        if (report->time_first == INT64_MIN)
            report->time_first = replay->piece.first;
        report->time_last = replay->piece.newest;
    }
    report->rows += replay->piece.rows;
    report->bytes += replay->piece.byte_count;
    pst_tape_took(replay->tape, &replay->piece);
    report->offset = pst_tape_offset(replay->tape);
}

static int end_send(struct pst_replay *replay)
{
    Pst__ReplayEnd end = PST__REPLAY_END__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    end.length = replay->report.length = pst_tape_offset(replay->tape);
    replay->report.offset = end.length;
    message.body_case = PST__CONTROL__BODY_REPLAY_END;
    message.replay_end = &end;
    replay->piece = (struct piece){0};
    return send(replay, &message);
}

static int piece_send(struct pst_replay *replay)
{
    Pst__ReplayBytes bytes = PST__REPLAY_BYTES__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    bytes.offset = pst_tape_offset(replay->tape);
    bytes.payload = (ProtobufCBinaryData){replay->piece.byte_count, (uint8_t *)(uintptr_t)replay->piece.bytes};
    message.body_case = PST__CONTROL__BODY_REPLAY_BYTES;
    message.replay_bytes = &bytes;
    return send(replay, &message);
}

/* PST_OK: one more may go; PST_EAGAIN: not now. */
static int feed_one(struct pst_replay *replay)
{
    uint64_t offset = pst_tape_offset(replay->tape);
    if (replay->out.count != 0) {
        int rc = replay->world->net_send(replay->world->self, replay->conn, replay->out.bytes, replay->out.count);
        if (rc != PST_OK)
            return rc;
        replay->out.count = 0;
        sent(replay);
        return PST_OK;
    }
    if (replay->end_sent)
        return PST_EAGAIN;
    uint64_t room = replay->limit > offset ? replay->limit - offset : 0;
    int rc = pst_tape_next(replay->tape, room < PIECE_BYTES ? (size_t)room + (room == 0) : PIECE_BYTES, due_now(replay),
                           &replay->piece);
    if (rc == PST_EAGAIN && replay->piece.next != INT64_MIN) {
        if (replay->begun_ns == 0) { /* the clock begins with the first line that has a time */
            replay->begun_ns = clock_begin(replay);
            replay->report.time_first = replay->piece.next;
            return PST_OK;
        }
        sleep_until(replay, replay->piece.next);
    }
    if (rc == PST_OK && room == 0)
        return PST_EAGAIN; /* it is told when there is some; the end needs none */
    if (rc == PST_OK || rc == PST_ESTOPPED) {
        replay->begun_ns = replay->begun_ns != 0 || replay->options->speed > 0 ? replay->begun_ns : clock_begin(replay);
        rc = rc == PST_OK ? piece_send(replay) : end_send(replay);
        if (rc == PST_OK)
            sent(replay);
    } else if (rc != PST_EAGAIN) {
        fail(replay, rc, "%.300s: %s", replay->options->file,
             rc == PST_EDATA ? "it is damaged or cut short" : pst_system_error());
    }
    return rc;
}

/* Where a line is waited for, or room, or the end: whoever stands still says nothing at all. What has no room now is said later. */
static int beat_send(struct pst_replay *replay)
{
    Pst__BeatAck beat = PST__BEAT_ACK__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    if (!replay->beats || replay->out.count != 0 || now_of(replay) < replay->beat_ns)
        return PST_OK;
    message.body_case = PST__CONTROL__BODY_BEAT_ACK;
    message.beat_ack = &beat;
    replay->beat_ns = now_of(replay) + BEAT_NS;
    int rc = send(replay, &message);
    replay->out.count = 0;
    return rc == PST_EAGAIN ? PST_OK : rc;
}

/* True: there is more to do at once. */
static bool feed(struct pst_replay *replay)
{
    int rc = beat_send(replay);
    if (rc != PST_OK) {
        lost(replay, rc, pst_system_error());
        return false;
    }
    if (!replay->reached) {
        rc = pst_tape_reach(replay->tape);
        if (rc == PST_EDATA || rc == PST_EIO)
            fail(replay, rc, "%.200s: the graph has taken more of this stream than there is, or it cannot be read",
                 replay->options->file);
        if (rc != PST_OK)
            return rc == PST_EAGAIN;
        replay->reached = true;
        replay->report.connections++;
    }
    for (uint32_t i = 0; i < PIECES_A_STEP && rc == PST_OK; i++)
        rc = feed_one(replay);
    if (rc != PST_OK && rc != PST_EAGAIN && replay->rc == PST_EAGAIN)
        lost(replay, rc, pst_system_error());
    return rc == PST_OK;
}

/* ---- steps ---- */

static void progress_tell(struct pst_replay *replay, bool last)
{
    uint64_t now_ns = now_of(replay);
    if (replay->begun_ns != 0)
        replay->report.nanoseconds = now_ns - replay->begun_ns;
    if (replay->options->progress == NULL || (!last && now_ns < replay->progress_ns))
        return;
    replay->progress_ns = now_ns + PROGRESS_NS;
    replay->options->progress(replay->options->argument, &replay->report);
}

/* Nothing has been heard for too long where an answer is due, or it is time to ask again. */
static void clocks_look(struct pst_replay *replay)
{
    uint64_t now_ns = now_of(replay),
             since_ns = replay->asked_ns > replay->heard_ns ? replay->asked_ns : replay->heard_ns;
    uint64_t next_ns = since_ns + SILENT_NS;
    if (replay->state == REPLAY_ASKING && !replay->asked) {
        if (now_ns >= replay->retry_ns) {
            int rc = ask(replay);
            if (rc != PST_OK)
                lost(replay, rc, pst_system_error());
            replay->asked_ns = now_ns;
        }
        next_ns = replay->asked ? next_ns : replay->retry_ns;
    } else if (replay->state >= REPLAY_ASKING && now_ns >= next_ns) {
        lost(replay, PST_EIO, "it is silent");
    }
    if (replay->state <= REPLAY_OPENING)
        next_ns = replay->retry_ns;
    if (replay->state == REPLAY_FEEDING && replay->beats && replay->beat_ns < next_ns)
        next_ns = replay->beat_ns;
    (void)replay->world->alarm(replay->world->self, 0, next_ns > now_ns ? next_ns : now_ns + 1);
}

pst_step pst_replay_step(void *argument, uint32_t worker)
{
    struct pst_replay *replay = argument;
    bool more = false;
    (void)worker;
    if (replay->state <= REPLAY_OPENING)
        open_up(replay);
    if (replay->state >= REPLAY_ASKING)
        listen_in(replay);
    if (replay->rc == PST_EAGAIN)
        clocks_look(replay);
    if (replay->rc == PST_EAGAIN && replay->state == REPLAY_FEEDING)
        more = feed(replay);
    if (replay->rc == PST_EAGAIN && replay->options->interrupts != NULL &&
        atomic_load(replay->options->interrupts) != 0)
        fail(replay, PST_ESTOPPED,
             "stopped behind byte %llu of the stream; the same command goes on from where the graph is",
             (unsigned long long)replay->report.offset);
    progress_tell(replay, replay->rc != PST_EAGAIN);
    if (replay->rc != PST_EAGAIN) {
        conn_close(replay);
        return PST_STEP_DONE;
    }
    return more ? PST_STEP_MORE : PST_STEP_IDLE;
}

/* ---- life ---- */

int pst_replay_new(struct pst_world *world, const struct pst_replay_options *options, struct pst_replay **ret_replay)
{
    struct pst_replay *replay = pst_calloc(1, sizeof *replay);
    if (replay == NULL)
        return PST_ENOMEM;
    replay->world = world;
    replay->options = options;
    replay->rc = PST_EAGAIN;
    replay->report.length = UINT64_MAX;
    replay->report.time_first = replay->report.time_last = INT64_MIN;
    replay->heard_ns = replay->good_ns = world->now_ns(world->self);
    (void)snprintf(replay->address[0], sizeof replay->address[0], "%s", options->address);
    int rc = world->random(world->self, &replay->client, sizeof replay->client);
    replay->client |= 1;
    if (rc == PST_OK)
        rc = pst_tape_open(world, options->file, options->from, options->until, &replay->tape);
    bool paced = rc == PST_OK && pst_tape_is_sealed(replay->tape) && options->speed > 0;
    bool clear = rc == PST_OK && options->sealed && !pst_tape_is_sealed(replay->tape);
    if (paced || clear) {
        pst_tape_close(replay->tape);
        rc = clear ? PST_EDATA : PST_ERANGE;
    }
    if (rc != PST_OK) {
        pst_free(replay);
        return rc;
    }
    replay->report.bytes_total = pst_tape_file_bytes(replay->tape);
    *ret_replay = replay;
    return PST_OK;
}

int pst_replay_free(struct pst_replay *replay, struct pst_replay_report *ret_report)
{
    int rc = replay->rc;
    *ret_report = replay->report;
    conn_close(replay);
    pst_tape_close(replay->tape);
    pst_text_fini(&replay->out);
    pst_free(replay);
    return rc;
}
