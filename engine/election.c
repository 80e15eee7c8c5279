/* election.c - see node.h: who coordinates, where the store is one that every node reaches.
 *
 * Two records. `term` says who coordinates and where; it is bound to that node's session, and goes with it. `fence` stays: who makes `term`
 * takes it in the same commit, and gives the term its number. From then on every commit of his expects the fence as he left it
 * (pst_store_fenced()), so what a coordinator of before has on its way cannot happen any more.
 *
 *   TERM: read it --another's--> follow it; look again on news, and now and then
 *                 --nobody's or ours--> FENCE: read it --> STAND: commit both --> the records are read back --> coordinates
 *
 * What is not certain is read: a commit of STAND whose outcome is not known is followed by TERM, and a term that bears our session is ours.
 * Level-triggered: whoever coordinates stops when he reads that the term is not his, and when his session has ended. */
#include "engine/node.h"

#include <string.h>

#define LOOK_NS (UINT64_C(500) * 1000 * 1000)  /* news may be lost */
#define AGAIN_NS (UINT64_C(100) * 1000 * 1000) /* behind an error */
#define HOLD_OFF_NS (UINT64_C(1000) * 1000 * 1000)
#define PATIENCE_NS (UINT64_C(1000) * 1000 * 1000) /* an answer that takes longer is none, as far as status says */

static const char term_path[] = "term", fence_path[] = "fence";

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

/* ---- whether the store answers ---- */

uint64_t pst_election_silent_ns(const struct pst_node *node)
{
    uint64_t since_ns = node->election.silent_ns;
    return since_ns != 0 ? now_ns(node) - since_ns + 1 : 0;
}

static void silent(struct pst_node *node, uint64_t since_ns)
{
    if (node->election.silent_ns != 0)
        return;
    node->election.silent_ns = since_ns | 1;
    pst_node_log(node, "the coordination store does not answer; what runs goes on");
}

static void heard(struct pst_node *node)
{
    struct election *election = &node->election;
    if (election->silent_ns != 0)
        pst_node_log(node, "the coordination store answers again, after %.1f s",
                     (double)(now_ns(node) - election->silent_ns) / 1e9);
    election->silent_ns = 0;
}

/* Once for each reason. */
static void complain(struct pst_node *node, const char *why)
{
    struct election *election = &node->election;
    if (strcmp(election->why, why) != 0)
        pst_node_log(node, "%s", why);
    (void)snprintf(election->why, sizeof election->why, "%s", why);
}

/* ---- ending ---- */

/* The session with all that is bound to it. The store is closed before the records that its requests point to are freed. */
void pst_election_end(struct pst_node *node)
{
    struct election *election = &node->election;
    if (election->store != NULL)
        election->store->close(election->store->self);
    if (election->fenced != NULL)
        election->fenced->close(election->fenced->self);
    election->store = election->fenced = NULL;
    if (node->options.store_open != NULL) {
        pst_coordinator_free(node->duty);
        node->duty = NULL;
    }
    pst_coordinator_free(election->rising);
    election->rising = NULL;
    pst_text_fini(&election->request.text);
    pst_text_fini(&election->bytes);
    election->asked = false;
}

/* A session is over, and looked for again. Who coordinated does not any more; who followed goes on until he reads of another. */
static void leave(struct pst_node *node, const char *why, uint64_t wait_ns)
{
    struct election *election = &node->election;
    if (node->duty != NULL) {
        pst_node_log(node, "this node coordinates no longer: %s", why);
        pst_coordinator_resign(node);
    } else {
        complain(node, why);
    }
    if (election->fenced != NULL) {
        election->term = 0;
        node->coordinator[0] = '\0';
    }
    pst_election_end(node);
    election->step = ELECTION_TERM;
    election->open_ns = now_ns(node) + wait_ns;
    node->any = true;
}

/* The way to whoever coordinated before. */
static void upstream_close(struct pst_node *node, const char *why)
{
    if (node->upstream != NULL && node->upstream->state == PEER_UP)
        pst_peer_close(node, node->upstream, "%s", why);
    else if (node->upstream != NULL)
        node->upstream->closing = true;
}

/* ---- asking ---- */

static void ask(struct pst_node *node, pst_store_kind kind, const char *path, uint32_t change_count)
{
    struct election *election = &node->election;
    election->request = (struct pst_store_request){
        .kind = kind, .path = path, .changes = election->changes, .change_count = change_count, .rc = PST_EAGAIN};
    election->asked = true;
    election->asked_ns = now_ns(node);
    if (election->step == ELECTION_TERM)
        election->news = election->store->news(election->store->self);
    election->store->begin(election->store->self, &election->request);
}

void pst_election_look(struct pst_node *node) { node->election.look_ns = 0; }

static void stand(struct pst_node *node)
{
    struct election *election = &node->election;
    Pst__Term body = PST__TERM__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    election->fence.term++;
    election->fence.session = election->store->session(election->store->self);
    election->fence.commits = 0;
    body.node = (char *)(uintptr_t)node->options.name;
    body.address = node->address;
    body.session = election->fence.session;
    message.term = election->fence.term;
    message.body_case = PST__CONTROL__BODY_TERM_OF;
    message.term_of = &body;
    pst_text_fini(&election->bytes);
    if (body.session == 0 || pst_control_pack(&message, &election->bytes) != PST_OK) {
        election->step = ELECTION_TERM;
        election->look_ns = now_ns(node) + AGAIN_NS;
        return;
    }
    pst_store_fence_encode(&election->fence, election->fence_bytes);
    election->changes[0] = (struct pst_store_change){.path = term_path,
                                                     .bytes = election->bytes.bytes,
                                                     .byte_count = (uint32_t)election->bytes.count,
                                                     .bound = true};
    election->changes[1] = (struct pst_store_change){.path = fence_path,
                                                     .expected = election->fence_version,
                                                     .bytes = election->fence_bytes,
                                                     .byte_count = PST_STORE_FENCE_BYTES};
    election->step = ELECTION_STAND;
    ask(node, PST_STORE_COMMIT, NULL, 2);
}

/* ---- what is found ---- */

/* It is ours: what was decided before is read back, and then this node coordinates. */
static void rise(struct pst_node *node)
{
    struct election *election = &node->election;
    int rc = pst_store_fenced(election->store, node->world, 0, fence_path, &election->fence, election->fence_version,
                              &election->fenced);
    if (rc == PST_OK)
        rc = pst_coordinator_new(node, election->fenced);
    if (rc != PST_OK) {
        leave(node, pst_error_sentence(rc), HOLD_OFF_NS);
        return;
    }
    election->rising = node->duty;
    node->duty = NULL; /* nobody is listened to before it knows what was decided */
    election->term = election->fence.term;
    election->step = ELECTION_TERM;
    node->coordinator_address[0] = '\0';
    (void)snprintf(node->coordinator, sizeof node->coordinator, "%s", node->options.name);
    upstream_close(node, "this node coordinates now");
}

/* Who is left may not be able to read it. */
static void old_one_tell(struct pst_node *node, uint64_t term, const char *name, const char *address)
{
    Pst__Term body = PST__TERM__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    if (node->upstream == NULL || node->upstream->state != PEER_UP || node->upstream->closing)
        return;
    body.node = (char *)(uintptr_t)name;
    body.address = (char *)(uintptr_t)address;
    body.session = 1;
    message.term = term;
    message.body_case = PST__CONTROL__BODY_TERM_OF;
    message.term_of = &body;
    pst_peer_send(node, node->upstream, &message);
}

static void follow(struct pst_node *node, uint64_t term, const char *name, const char *address)
{
    struct election *election = &node->election;
    bool own = strcmp(name, node->options.name) == 0; /* of a process before this one: its session will end */
    if (election->term == term)
        return;
    election->term = term;
    (void)snprintf(node->coordinator, sizeof node->coordinator, "%s", name);
    (void)snprintf(node->coordinator_address, sizeof node->coordinator_address, "%s", own ? "" : address);
    pst_node_log(node, "term %llu: %s at %s coordinates%s", (unsigned long long)term, name, address,
                 own ? ", as the store has it; it is waited for the end of that session" : "");
    node->dial_ns = 0;
    if (!own)
        old_one_tell(node, term, name, address);
    upstream_close(node, "another node coordinates now");
}

static void fence_ask(struct pst_node *node)
{
    node->election.step = ELECTION_FENCE;
    ask(node, PST_STORE_READ, fence_path, 0);
}

static void term_found(struct pst_node *node, const struct pst_text *text)
{
    struct election *election = &node->election;
    struct pst_arena arena;
    Pst__Control *message = NULL;
    pst_arena_init(&arena);
    int rc = pst_control_unpack(text->bytes, text->count, PST_CONTROL_BYTES_MAX, &arena, &message);
    if (rc == PST_OK && message->body_case != PST__CONTROL__BODY_TERM_OF)
        rc = PST_EDATA;
    bool holds = election->fenced != NULL;
    bool ours = rc == PST_OK && message->term_of->session == election->store->session(election->store->self);
    election->ours = ours;
    if (rc != PST_OK)
        complain(node, "the record `term` of the coordination store is not what a node writes");
    else if (!ours && holds)
        leave(node, "another node does", 0);
    else if (!ours)
        follow(node, message->term, message->term_of->node, message->term_of->address);
    else if (!holds)
        fence_ask(node);
    pst_arena_fini(&arena);
}

static void term_missing(struct pst_node *node)
{
    struct election *election = &node->election;
    election->ours = false;
    if (election->fenced != NULL)
        leave(node, "its record is not in the store any more", 0);
    else if (node->leave_ns == 0) /* who leaves does not begin to coordinate */
        fence_ask(node);
}

static void fence_found(struct pst_node *node, const struct pst_text *text)
{
    struct election *election = &node->election;
    struct pst_store_fence *fence = &election->fence;
    bool there = election->request.rc == PST_OK;
    *fence = (struct pst_store_fence){0};
    election->fence_version = election->request.version;
    if (there && pst_store_fence_decode(text->bytes, text->count, fence) != PST_OK) {
        leave(node, "the record `fence` of the coordination store is not what a node writes", HOLD_OFF_NS);
    } else if (!election->ours) {
        stand(node);
    } else if (there && fence->session == election->store->session(election->store->self)) {
        rise(node);
    } else {
        leave(node, "the records `term` and `fence` do not belong together", HOLD_OFF_NS);
    }
}

/* What is no answer about a record. */
static void failed(struct pst_node *node, int rc)
{
    struct election *election = &node->election;
    election->step = ELECTION_TERM;
    election->look_ns = now_ns(node) + AGAIN_NS;
    if (rc == PST_EIO)
        silent(node, election->asked_ns);
    if (rc == PST_EREFUSED && !node->joined) { /* it will be so again */
        node->error = rc;
        (void)snprintf(node->why, sizeof node->why,
                       "the coordination store is not this cluster's: its records are under another key, or were "
                       "changed, or it does not let this node in");
    } else if (rc == PST_EREFUSED) {
        complain(node, "a record of the coordination store is not what was stored there");
    }
}

static void answered(struct pst_node *node)
{
    struct election *election = &node->election;
    int rc = election->request.rc;
    enum election_step step = election->step;
    struct pst_text text = election->request.text; /* the next request may be begun before this one is done with */
    election->request.text = (struct pst_text){0};
    election->asked = false;
    election->look_ns = now_ns(node) + LOOK_NS;
    election->step = ELECTION_TERM;
    if (rc == PST_OK || rc == PST_ENOENT || rc == PST_EINVAL)
        heard(node);
    if (rc == PST_OK && step == ELECTION_TERM)
        term_found(node, &text);
    else if (rc == PST_ENOENT && step == ELECTION_TERM)
        term_missing(node);
    else if ((rc == PST_OK || rc == PST_ENOENT) && step == ELECTION_FENCE)
        fence_found(node, &text);
    else if (rc == PST_OK && step == ELECTION_STAND) {
        election->fence_version++;
        rise(node);
    } else if (step == ELECTION_STAND && (rc == PST_EINVAL || rc == PST_ETIMEOUT)) {
        election->look_ns = 0; /* somebody was faster; or it is not known who was */
    } else if (rc != PST_ESTOPPED) {
        failed(node, rc);
    }
    pst_text_fini(&text);
    node->any = true;
}

/* ---- steps ---- */

static bool opened(struct pst_node *node)
{
    struct election *election = &node->election;
    if (election->store != NULL)
        return true;
    if (now_ns(node) < election->open_ns || node->left) {
        (void)node->world->alarm(node->world->self, 0, election->open_ns);
        return false;
    }
    int rc = node->options.store_open(node->options.store_argument, &election->store);
    if (rc == PST_OK) {
        election->look_ns = 0;
        return true;
    }
    election->store = NULL;
    election->open_ns = now_ns(node) + HOLD_OFF_NS;
    complain(node, pst_error_sentence(rc));
    return false;
}

static void rising_step(struct pst_node *node)
{
    struct election *election = &node->election;
    node->duty = election->rising; /* for as long as it reads */
    int rc = pst_coordinator_restore(node);
    if (rc == PST_OK) {
        election->rising = NULL;
        election->why[0] = '\0';
        node->joined = true;
        node->any = true;
        pst_node_log(node, "term %llu: this node coordinates", (unsigned long long)election->term);
        pst_tidings_begin(node);
        pst_coordinator_opens(node);
        return;
    }
    node->duty = NULL;
    if (rc != PST_EAGAIN) {
        char why[sizeof node->why];
        (void)snprintf(why, sizeof why, "%s", node->why);
        node->why[0] = '\0';
        leave(node, why, HOLD_OFF_NS);
    }
}

void pst_election_on_term(struct pst_node *node, const Pst__Control *message)
{
    struct election *election = &node->election;
    if (node->options.store_open == NULL || message->term <= election->term || message->term <= election->told_term)
        return;
    election->told_term = message->term;
    (void)snprintf(election->told_name, sizeof election->told_name, "%s", message->term_of->node);
    (void)snprintf(election->told_address, sizeof election->told_address, "%s", message->term_of->address);
    node->any = true;
}

/* What a member has read counts as read: this node may be cut off from the store, and its session ended long ago. */
static void told_step(struct pst_node *node)
{
    struct election *election = &node->election;
    uint64_t term = election->told_term;
    election->told_term = 0;
    if (term <= election->term || strcmp(election->told_name, node->options.name) == 0)
        return;
    if (election->fenced != NULL)
        leave(node, "another node does, as a member says", 0);
    follow(node, term, election->told_name, election->told_address);
}

void pst_election_step(struct pst_node *node)
{
    struct election *election = &node->election;
    uint64_t now = now_ns(node);
    if (election->told_term != 0)
        told_step(node);
    if (!opened(node))
        return;
    struct pst_store *store = election->fenced != NULL ? election->fenced : election->store;
    store->step(store->self);
    if (election->asked && election->request.rc != PST_EAGAIN)
        answered(node);
    if (election->store == NULL)
        return;
    store = election->fenced != NULL ? election->fenced : election->store;
    if (store->session(store->self) == 0) {
        leave(node, "its session with the coordination store has ended", 0);
        return;
    }
    if (election->asked && now > election->asked_ns + PATIENCE_NS)
        silent(node, election->asked_ns);
    bool news = election->store->news(election->store->self) != election->news;
    if (!election->asked && !node->left && (news || now >= election->look_ns))
        ask(node, PST_STORE_READ, term_path, 0);
    if (election->rising != NULL)
        rising_step(node);
    (void)node->world->alarm(node->world->self, 0, now + AGAIN_NS);
}
