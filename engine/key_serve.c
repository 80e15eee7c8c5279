/* key_serve.c - the user's side of a key's release: whoever asks shows evidence of a worker, which is checked before anything is sent. The
 * key itself never leaves: what is sent is the root of one graph, for the worker's key alone.
 *
 * A connection has one deadline for each release, from when it was made, or had the last one: a refusal moves it no further, and neither do
 * messages that bring no release. Where all places are taken, who knocks gets that of the connection that is the least far, and of those
 * alike the longest at it; none goes in its first second. So neither who says nothing nor who asks on and on keeps others out. */
#include "engine/release.h"

#include "enclave_shim/attestation/evidence.h"

#include <stdio.h>
#include <string.h>

enum { CONNS_MAX = 32 };
#define NS_A_SECOND (UINT64_C(1000) * 1000 * 1000)
#define RELEASE_NS (30 * NS_A_SECOND) /* as long as who asks waits for an answer */
#define PLACE_NS NS_A_SECOND          /* a place is nobody else's before */
#define LINE_NS NS_A_SECOND           /* who connects all the time does not fill the log */

struct asked { /* one connection */
    struct pst_conn *conn;
    uint64_t since_ns;   /* of the release that it is to have */
    bool known, expects; /* expects: evidence for `nonce` */
    uint8_t graph[32], nonce[RELEASE_NONCE_BYTES];
    char peer[PST_PEER_BYTES];
};

struct pst_key_server {
    struct pst_world *world;
    struct pst_key_server_options options;
    struct pst_listener *listener;
    struct asked asked[CONNS_MAX];
    uint64_t released, refused;
    uint64_t line_ns;   /* of the last line about a connection that was closed; 0: there was none */
    uint32_t line_less; /* closed since then, without one */
    bool begun;
    int error;
    char why[240];
};

static void say(struct pst_key_server *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct pst_key_server *s, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (s->options.log != NULL)
        s->options.log(s->options.argument, line);
}

int pst_key_server_new(struct pst_world *world, const struct pst_key_server_options *options,
                       struct pst_key_server **ret_server)
{
    struct pst_key_server *s = pst_calloc(1, sizeof *s);
    if (s == NULL)
        return PST_ENOMEM;
    s->world = world;
    s->options = *options;
    *ret_server = s;
    return PST_OK;
}

int pst_key_server_free(struct pst_key_server *s, char ret_why[240])
{
    int rc = s->error;
    (void)snprintf(ret_why, 240, "%s", s->why);
    for (uint32_t i = 0; i < CONNS_MAX; i++)
        if (s->asked[i].conn != NULL)
            s->world->net_close(s->world->self, s->asked[i].conn);
    if (s->listener != NULL)
        s->world->net_unlisten(s->world->self, s->listener);
    pst_free(s);
    return rc;
}

/* ---- evidence ---- */

static int release(struct pst_key_server *s, struct asked *asked, const uint8_t channel_key[32],
                   const uint8_t *evidence, size_t evidence_bytes)
{
    struct pst_world *world = s->world;
    uint8_t own[PST_CHANNEL_KEY_BYTES], root[PST_SEALED_KEY_BYTES], digest[32], bytes[PST_RELEASE_BYTES];
    int rc = world->random(world->self, own, sizeof own);
    if (rc == PST_OK)
        rc = pst_sealed_digest(evidence, evidence_bytes, digest);
    if (rc == PST_OK)
        rc = pst_sealed_root(s->options.key, asked->graph, root);
    if (rc == PST_OK)
        rc = pst_release_seal(root, asked->graph, own, channel_key, digest, bytes);
    explicit_bzero(own, sizeof own);
    explicit_bzero(root, sizeof root);
    return rc == PST_OK ? pst_release_send(world, asked->conn, RELEASE_RELEASE, bytes, sizeof bytes) : rc;
}

static void hex_print(const uint8_t *bytes, size_t count, char *ret_text)
{
    for (size_t i = 0; i < count; i++)
        (void)snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

static int refuse(struct pst_key_server *s, struct asked *asked, const char *sentence)
{
    s->refused++;
    say(s, "refused%s%s: %s", asked->peer[0] != '\0' ? " to " : "", asked->peer, sentence);
    return pst_release_send(s->world, asked->conn, RELEASE_REFUSED, sentence,
                            strnlen(sentence, RELEASE_SENTENCE_BYTES_MAX));
}

static int evidence_take(struct pst_key_server *s, struct asked *asked, const uint8_t *bytes, size_t byte_count)
{
    static const uint8_t no_key[32];
    struct pst_evidence_request request = *s->options.request;
    struct pst_evidence_report report;
    char sentence[RELEASE_SENTENCE_BYTES_MAX], measured[2 * PST_DIGEST_BYTES_MAX + 1] = "";
    request.evidence = (struct pst_bytes){bytes, byte_count, "the evidence"};
    request.nonce = asked->nonce;
    request.nonce_bytes = sizeof asked->nonce;
    request.at_s = s->world->wall_s(s->world->self);
    int rc = pst_evidence_verify(&request, &report);
    const struct pst_check *failed = rc == PST_OK ? pst_evidence_report_failed(&report) : NULL;
    if (rc == PST_EDATA) {
        (void)snprintf(sentence, sizeof sentence, "%.300s", report.why);
        rc = refuse(s, asked, sentence);
    } else if (rc == PST_OK && (failed != NULL || !report.accepted)) {
        (void)snprintf(sentence, sizeof sentence,
                       "the evidence is not what the policy wants: %.60s is %.120s, not %.150s",
                       failed != NULL ? failed->name : "it", failed != NULL ? failed->actual : "not accepted",
                       failed != NULL ? failed->expected : "accepted");
        rc = refuse(s, asked, sentence);
    } else if (rc == PST_OK && memcmp(report.channel_key, no_key, sizeof no_key) == 0) {
        rc = refuse(s, asked, "the evidence names no worker's key: there is nobody to release it to");
    } else if (rc == PST_OK) {
        hex_print(report.measurement.bytes, report.measurement.byte_count, measured);
        rc = release(s, asked, report.channel_key, bytes, byte_count);
        if (rc == PST_OK)
            say(s, "released to a worker of measurement %s (%s)", measured, pst_backend_names[report.backend]);
        s->released += rc == PST_OK;
        asked->since_ns = s->world->now_ns(s->world->self);
    }
    pst_evidence_report_fini(&report);
    return rc;
}

/* ---- connections ---- */

static int message_take(struct pst_key_server *s, struct asked *asked, const void *bytes, size_t byte_count)
{
    release_kind kind;
    const uint8_t *body;
    size_t count;
    int rc = pst_release_read(bytes, byte_count, &kind, &body, &count);
    if (rc != PST_OK)
        return rc;
    if (kind == RELEASE_ASK) {
        memcpy(asked->graph, body, sizeof asked->graph);
        rc = s->world->random(s->world->self, asked->nonce, sizeof asked->nonce);
        asked->expects = rc == PST_OK;
        return rc == PST_OK ? pst_release_send(s->world, asked->conn, RELEASE_NONCE, asked->nonce, sizeof asked->nonce)
                            : rc;
    }
    if (kind != RELEASE_EVIDENCE || !asked->expects)
        return PST_EDATA;
    asked->expects = false; /* a nonce is good for one piece of evidence */
    return evidence_take(s, asked, body, count);
}

static void hang_up(struct pst_key_server *s, struct asked *asked)
{
    s->world->net_close(s->world->self, asked->conn);
    *asked = (struct asked){0};
}

/* Of one that has had its time; a line a second at most. */
static void expire(struct pst_key_server *s, struct asked *asked, const char *why)
{
    uint64_t now_ns = s->world->now_ns(s->world->self);
    if (s->line_ns != 0 && now_ns < s->line_ns + LINE_NS) {
        s->line_less++;
    } else {
        if (s->line_less != 0)
            say(s, "closed %u more connections", s->line_less);
        say(s, "closed a connection%s%s: it has %s, and %s", asked->peer[0] != '\0' ? " of " : "", asked->peer,
            asked->expects ? "shown no evidence" : "not asked for a key", why);
        s->line_ns = now_ns;
        s->line_less = 0;
    }
    hang_up(s, asked);
}

static bool asked_step(struct pst_key_server *s, struct asked *asked)
{
    const struct pst_world *world = s->world;
    const void *bytes;
    size_t byte_count;
    int rc = PST_OK;
    bool any = false;
    if (!asked->known) {
        rc = world->net_peer(world->self, asked->conn, asked->peer);
        asked->known = rc == PST_OK;
    }
    while (rc == PST_OK && (rc = world->net_receive(world->self, asked->conn, &bytes, &byte_count)) == PST_OK) {
        rc = message_take(s, asked, bytes, byte_count);
        any = true;
    }
    if (rc != PST_EAGAIN)
        hang_up(s, asked);
    else if (world->now_ns(world->self) >= asked->since_ns + RELEASE_NS)
        expire(s, asked, "its time is over");
    else
        return any;
    return true;
}

/* How far a connection is towards a release. */
static uint32_t progress(const struct asked *asked) { return (uint32_t)asked->known + asked->expects; }

/* For one more connection: one that is free, else one that may be taken from who has it. NULL: not yet; the next look is a tenth of a
 * second later. */
static struct asked *place_find(struct pst_key_server *s)
{
    uint64_t now_ns = s->world->now_ns(s->world->self);
    struct asked *found = NULL;
    for (uint32_t i = 0; i < CONNS_MAX; i++) {
        struct asked *asked = &s->asked[i];
        if (asked->conn == NULL)
            return asked;
        if (now_ns < asked->since_ns + PLACE_NS)
            continue;
        if (found == NULL || progress(asked) < progress(found) ||
            (progress(asked) == progress(found) && asked->since_ns < found->since_ns))
            found = asked;
    }
    return found;
}

static bool accept_all(struct pst_key_server *s)
{
    const struct pst_world *world = s->world;
    struct asked *place;
    struct pst_conn *conn;
    bool any = false;
    while ((place = place_find(s)) != NULL && world->net_accept(world->self, s->listener, &conn) == PST_OK) {
        if (place->conn != NULL)
            expire(s, place, "another one knocks");
        world->net_limit(world->self, conn, RELEASE_MESSAGE_BYTES_MAX);
        place->conn = conn;
        place->since_ns = world->now_ns(world->self);
        any = true;
    }
    return any;
}

pst_step pst_key_server_step(void *argument, uint32_t worker)
{
    struct pst_key_server *s = argument;
    const struct pst_world *world = s->world;
    if (!s->begun) {
        s->begun = true;
        s->error = world->net_listen(world->self, worker, s->options.listen, &s->listener);
        if (s->error != PST_OK) {
            (void)snprintf(s->why, sizeof s->why, "cannot listen on %.120s: %.80s", s->options.listen,
                           s->error == PST_EINVAL ? "HOST:PORT or unix:PATH is wanted" : pst_system_error());
            return PST_STEP_DONE;
        }
        say(s, "listens on %s", world->net_address(world->self, s->listener));
    }
    bool any = accept_all(s);
    bool left = false;
    for (uint32_t i = 0; i < CONNS_MAX; i++) {
        if (s->asked[i].conn != NULL)
            any |= asked_step(s, &s->asked[i]);
        left |= s->asked[i].conn != NULL;
    }
    bool enough = s->options.count != 0 && s->released >= s->options.count && !left;
    if (enough || (s->options.interrupts != NULL && atomic_load(s->options.interrupts) != 0))
        return PST_STEP_DONE;
    return any ? PST_STEP_MORE : PST_STEP_IDLE;
}
