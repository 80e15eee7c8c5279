/* ask.c - the other end of admin.c: one question to a node, one answer. */
#include "engine/control.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#define AGAIN_NS (UINT64_C(300) * 1000 * 1000)
#define PATIENCE_NS (UINT64_C(60) * 1000 * 1000 * 1000)

enum ask_state { ASK_OPENING, ASK_GREETED };

struct pst_asking {
    struct pst_world *world;
    const struct pst_question *question;
    struct pst_answer *answer;
    struct pst_conn *conn;
    enum ask_state state;
    uint64_t begin_ns, deadline_ns;
    uint64_t again_ns; /* a reading asks for more then; 0: it waits for an answer */
    uint64_t later_ns; /* since when nothing can be read; 0: something could */
    int rc;            /* PST_EAGAIN: it goes on */
};

static int failed(struct pst_asking *asking, int rc, const char *what)
{
    (void)pst_text_printf(&asking->answer->err, "%s %s: %s", what, asking->question->address, pst_system_error());
    return rc;
}

static int send(struct pst_asking *asking, Pst__Control *message)
{
    struct pst_text bytes = {0};
    int rc = pst_control_pack(message, &bytes);
    if (rc == PST_OK)
        rc = asking->world->net_send(asking->world->self, asking->conn, bytes.bytes, bytes.count);
    pst_text_fini(&bytes);
    return rc;
}

static int greet(struct pst_asking *asking)
{
    Pst__Hello hello;
    Pst__Control message;
    pst_control_greet(&message, &hello);
    return send(asking, &message);
}

static int ask(struct pst_asking *asking)
{
    const struct pst_question *question = asking->question;
    Pst__Admin admin = PST__ADMIN__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    admin.arguments = (char **)(uintptr_t)question->arguments;
    admin.n_arguments = question->argument_count;
    admin.body = (ProtobufCBinaryData){question->body_bytes, (uint8_t *)(uintptr_t)question->body};
    admin.json = question->json;
    admin.deadline_ns = question->deadline_ns;
    admin.progress = question->progress != NULL;
    message.request = 2;
    message.body_case = PST__CONTROL__BODY_ADMIN;
    message.admin = &admin;
    return send(asking, &message);
}

/* For what is behind what it has. */
static int read_on(struct pst_asking *asking)
{
    const struct pst_reading *reading = asking->question->reading;
    Pst__Read body = PST__READ__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.sink = (char *)(uintptr_t)reading->sink;
    body.offset = reading->offset;
    body.bytes_max = PST_CONTROL_PIECE_BYTES_MAX;
    message.request = 2;
    message.graph = (char *)(uintptr_t)reading->graph;
    message.body_case = PST__CONTROL__BODY_READ;
    message.read = &body;
    asking->again_ns = 0;
    asking->deadline_ns = asking->question->timeout_ns != 0
                              ? asking->world->now_ns(asking->world->self) + asking->question->timeout_ns
                              : 0;
    return send(asking, &message);
}

/* As long as an answer may take. */
static bool later_for_too_long(struct pst_asking *asking)
{
    uint64_t now_ns = asking->world->now_ns(asking->world->self), timeout_ns = asking->question->timeout_ns;
    asking->later_ns = asking->later_ns != 0 ? asking->later_ns : now_ns | 1;
    return timeout_ns != 0 && now_ns > asking->later_ns + timeout_ns;
}

/* PST_EAGAIN: it goes on. */
static int hear_piece(struct pst_asking *asking, const Pst__Piece *piece)
{
    struct pst_reading *reading = asking->question->reading;
    struct pst_answer *answer = asking->answer;
    if (piece->error == PST_OK && piece->since != 0 && piece->since != reading->since && reading->offset != 0) {
        answer->error = PST_EREFUSED;
        return pst_text_printf(&answer->err, "graph `%s` was submitted anew: this is another one's result",
                               reading->graph);
    }
    answer->error = piece->error;
    if (piece->error != PST_OK)
        return pst_text_printf(&answer->err, "%s", piece->sentence);
    reading->since = piece->since != 0 ? piece->since : reading->since;
    reading->heard_ns = asking->world->now_ns(asking->world->self);
    if (piece->bytes.len != 0 && piece->offset != reading->offset)
        return PST_EDATA;
    (void)snprintf(reading->said, sizeof reading->said, "%s", piece->sentence);
    if (piece->bytes.len != 0) {
        int rc = reading->take(reading->argument, piece->bytes.data, piece->bytes.len);
        if (rc != PST_OK)
            return rc;
        reading->offset += piece->bytes.len;
    }
    reading->ended = piece->end;
    if (piece->end || (piece->bytes.len == 0 && !reading->follow && !piece->later))
        return PST_OK;
    if (piece->later && !reading->follow && later_for_too_long(asking)) {
        answer->error = PST_ETIMEOUT;
        return pst_text_printf(&answer->err, "%s",
                               piece->sentence[0] != '\0' ? piece->sentence
                                                          : "the node that has it is not ready: try again");
    }
    if (piece->bytes.len != 0) {
        asking->later_ns = 0;
        int rc = read_on(asking);
        return rc == PST_OK ? PST_EAGAIN : rc;
    }
    asking->deadline_ns = 0;
    asking->again_ns = asking->world->now_ns(asking->world->self) + AGAIN_NS;
    return PST_EAGAIN;
}

static int hear(struct pst_asking *asking, const Pst__Control *message)
{
    struct pst_answer *answer = asking->answer;
    if (message->body_case == PST__CONTROL__BODY_REFUSED) {
        (void)pst_text_printf(&answer->err, "%s", message->refused->sentence);
        return message->refused->error == PST_ETIMEOUT ? PST_ETIMEOUT : PST_EREFUSED;
    }
    if (message->body_case == PST__CONTROL__BODY_PIECE && asking->question->reading != NULL)
        return hear_piece(asking, message->piece);
    if (message->body_case != PST__CONTROL__BODY_ADMIN_REPLY)
        return PST_EAGAIN; /* its welcome */
    const Pst__AdminReply *reply = message->admin_reply;
    if (!reply->last && reply->progress.len != 0) {
        if (asking->question->progress != NULL)
            asking->question->progress(asking->question->argument, (const char *)reply->progress.data,
                                       reply->progress.len);
        return PST_EAGAIN;
    }
    answer->error = reply->error;
    int rc = reply->out.len != 0 ? pst_text_add(&answer->out, (const char *)reply->out.data, reply->out.len) : PST_OK;
    if (rc == PST_OK && reply->err.len != 0)
        rc = pst_text_add(&answer->err, (const char *)reply->err.data, reply->err.len);
    return rc != PST_OK || reply->last ? rc : PST_EAGAIN;
}

static int receive(struct pst_asking *asking)
{
    const void *bytes;
    size_t byte_count;
    struct pst_arena arena;
    Pst__Control *message = NULL;
    int rc = asking->world->net_receive(asking->world->self, asking->conn, &bytes, &byte_count);
    if (rc == PST_EAGAIN)
        return rc;
    if (rc != PST_OK) {
        asking->answer->unanswered = rc == PST_ESTOPPED;
        return failed(asking, PST_EIO, rc == PST_ESTOPPED ? "no answer from" : "lost the connection to");
    }
    asking->deadline_ns = asking->question->reading != NULL ? asking->deadline_ns : 0;
    pst_arena_init(&arena);
    rc = pst_control_unpack(bytes, byte_count, PST_CONTROL_LONG_BYTES_MAX, &arena, &message);
    rc = rc == PST_OK ? hear(asking, message) : failed(asking, PST_EREFUSED, "no penstock node answers at");
    pst_arena_fini(&arena);
    return rc == PST_EAGAIN ? receive(asking) : rc;
}

static int open_up(struct pst_asking *asking)
{
    const struct pst_world *world = asking->world;
    char peer[PST_PEER_BYTES];
    if (asking->conn == NULL) {
        int rc = world->net_connect(world->self, 0, asking->question->address, &asking->conn);
        if (rc != PST_OK)
            return failed(asking, rc, "cannot reach");
    }
    int rc = world->net_peer(world->self, asking->conn, peer);
    if (rc == PST_EAGAIN)
        return rc;
    if (rc != PST_OK)
        return failed(asking, rc == PST_EREFUSED ? rc : PST_EIO, "cannot reach");
    world->net_limit(world->self, asking->conn, PST_CONTROL_LONG_BYTES_MAX);
    rc = greet(asking);
    if (rc == PST_OK)
        rc = asking->question->reading != NULL ? read_on(asking) : ask(asking);
    asking->state = ASK_GREETED;
    return rc == PST_OK ? PST_EAGAIN : failed(asking, rc, "cannot ask");
}

pst_step pst_asking_step(void *argument, uint32_t worker)
{
    struct pst_asking *asking = argument;
    const struct pst_world *world = asking->world;
    const atomic_int *interrupts = asking->question->interrupts;
    (void)worker;
    uint64_t now_ns = world->now_ns(world->self);
    bool early = asking->conn == NULL && now_ns < asking->begin_ns;
    if (early)
        (void)world->alarm(world->self, 0, asking->begin_ns);
    asking->rc = asking->state == ASK_OPENING && !early ? open_up(asking) : PST_EAGAIN;
    if (asking->rc == PST_EAGAIN && asking->state == ASK_GREETED)
        asking->rc = receive(asking);
    if (asking->rc == PST_EAGAIN && asking->again_ns != 0 && now_ns >= asking->again_ns) {
        int rc = read_on(asking);
        asking->rc = rc == PST_OK ? PST_EAGAIN : failed(asking, PST_EIO, "lost the connection to");
    } else if (asking->rc == PST_EAGAIN && asking->again_ns != 0) {
        (void)world->alarm(world->self, 0, asking->again_ns);
    }
    if (asking->rc == PST_EAGAIN && interrupts != NULL && atomic_load(interrupts) != 0)
        asking->rc = PST_ESTOPPED;
    if (asking->rc == PST_EAGAIN && asking->deadline_ns != 0) {
        if (now_ns >= asking->deadline_ns) {
            asking->rc = PST_ETIMEOUT;
            (void)pst_text_printf(&asking->answer->err, "no answer in time from %s", asking->question->address);
        } else
            (void)world->alarm(world->self, 0, asking->deadline_ns);
    }
    if (asking->rc == PST_EAGAIN)
        return PST_STEP_IDLE;
    if (asking->conn != NULL)
        world->net_close(world->self, asking->conn);
    return PST_STEP_DONE;
}

/* ---- life ---- */

int pst_asking_new(struct pst_world *world, const struct pst_question *question, struct pst_answer *answer,
                   struct pst_asking **ret_asking)
{
    struct pst_asking *asking = pst_calloc(1, sizeof *asking);
    if (asking == NULL)
        return PST_ENOMEM;
    *asking = (struct pst_asking){.world = world, .question = question, .answer = answer, .rc = PST_EAGAIN};
    asking->begin_ns = world->now_ns(world->self) + question->after_ns;
    if (question->timeout_ns != 0)
        asking->deadline_ns = asking->begin_ns + question->timeout_ns;
    *ret_asking = asking;
    return PST_OK;
}

int pst_asking_free(struct pst_asking *asking)
{
    int rc = asking->rc;
    pst_free(asking);
    return rc;
}

int pst_ask(struct pst_world *world, const struct pst_question *question, struct pst_answer *ret_answer)
{
    struct pst_asking *asking;
    *ret_answer = (struct pst_answer){0};
    int rc = pst_asking_new(world, question, ret_answer, &asking);
    if (rc != PST_OK)
        return rc;
    rc = world->run(world->self, 1, pst_asking_step, asking);
    int asked = pst_asking_free(asking);
    return rc == PST_OK ? asked : rc;
}

bool pst_reading_again(const struct pst_reading *reading, int rc, const struct pst_answer *answer, uint64_t now_ns)
{
    int error = rc != PST_OK ? rc : answer->error;
    bool may_pass = error == PST_EIO || error == PST_ETIMEOUT || error == PST_EFULL;
    return reading->follow && !reading->ended && may_pass && now_ns - reading->heard_ns < PATIENCE_NS;
}

void pst_answer_fini(struct pst_answer *answer)
{
    pst_text_fini(&answer->out);
    pst_text_fini(&answer->err);
}
