/* mover.c - see mover.h: a node's part in a move. */
#include "engine/mover.h"

#include "engine/checkpoint.h"
#include "engine/planted.h"

#include <string.h>

#define SETTLE_NS (UINT64_C(2) * 1000 * 1000)
#define PROGRESS_NS (UINT64_C(250) * 1000 * 1000)

static void know_forget(struct mover *mover)
{
    if (mover->know != NULL)
        pst_arena_fini(&mover->know_arena);
    mover->know = NULL;
}

void pst_mover_free(struct mover *mover)
{
    PST_ASSERT(!pst_mover_starting(mover));
    know_forget(mover);
    pst_enclave_free(mover->enclave);
    pst_free(mover);
}

static struct hosted *hosted_find(const struct pst_node *node, const Pst__Control *message)
{
    for (uint32_t i = 0; i < node->hosted_count; i++) {
        struct hosted *hosted = node->hosted[i];
        if (strcmp(hosted->graph_name, message->graph) == 0 && hosted->incarnation == message->incarnation &&
            hosted->begun && !hosted->superseded)
            return hosted;
    }
    return NULL;
}

static void tell(struct pst_node *node, struct hosted *hosted, Pst__MoveStep *body)
{
    Pst__Control message = PST__CONTROL__INIT;
    message.graph = hosted->graph_name;
    message.incarnation = hosted->incarnation;
    message.move = hosted->mover->move.id;
    message.body_case = PST__CONTROL__BODY_MOVE_STEP;
    message.move_step = body;
    pst_node_tell(node, &message);
}

/* Steps that follow from the decision, in their order: each is taken once, whoever says so how often. */
static const Pst__Step decided_steps[] = {PST__STEP__LISTEN,  PST__STEP__SPEAK,  PST__STEP__LEAVE,
                                          PST__STEP__RELEASE, PST__STEP__SETTLE, PST__STEP__JOIN,
                                          PST__STEP__REROUTE, PST__STEP__DRAIN,  PST__STEP__RETIRE};
static_assert(sizeof decided_steps / sizeof *decided_steps == MOVER_DECIDED_MAX, "each has its answer");

/* MOVER_DECIDED_MAX: it is none of them. */
static uint32_t place_of(Pst__Step step)
{
    uint32_t at = 0;
    while (at < MOVER_DECIDED_MAX && decided_steps[at] != step)
        at++;
    return at;
}

static void answer(struct pst_node *node, struct hosted *hosted, Pst__Step step, int64_t time, const char *why)
{
    struct mover *mover = hosted->mover;
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    uint32_t at = place_of(step);
    body.step = step;
    body.time = time;
    body.why = (char *)(uintptr_t)why;
    body.rows_lost = step == PST__STEP__SETTLE ? mover->rows_lost : 0;
    if (step == PST__STEP__LEAVE && mover->gave) {
        body.numbers = mover->numbers;
        body.n_numbers = mover->move.bucket_count;
    }
    if (at < MOVER_DECIDED_MAX) {
        mover->answers[at].said = true;
        mover->answers[at].time = time;
    }
    tell(node, hosted, &body);
}

/* Whoever coordinates now does not know how far the one before had come, and says all of it again. True: it was done, or is being done;
 * then the answer comes by itself. */
static bool told_again(struct pst_node *node, struct hosted *hosted, const Pst__Control *message)
{
    const struct mover *mover = hosted->mover;
    Pst__Step step = message->move_step->step;
    uint32_t at = place_of(step);
    if (mover->move.id != message->move || at == MOVER_DECIDED_MAX || at >= mover->acted || PST_PLANTED(STEP_AGAIN))
        return false;
    if (step == PST__STEP__SETTLE && !message->move_step->more) /* the next portion does not come after all */
        pst_blobs_forget(&hosted->run);
    if (mover->answers[at].said)
        answer(node, hosted, step, mover->answers[at].time, "");
    return true;
}

enum { GIVES, TAKES };

/* PREPARE and ATTEST, of an operator in enclaves: what its workers here have to say. PST_EREFUSED: nothing that would count. */
static int answer_words(struct pst_node *node, struct hosted *hosted, Pst__Step step, int64_t time,
                        char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    struct mover *mover = hosted->mover;
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    uint8_t words[2][ENCLAVE_WORDS_BYTES_MAX];
    size_t bytes[2];
    for (int side = GIVES; side <= TAKES; side++) {
        int other = GIVES + TAKES - side;
        int rc = step == PST__STEP__PREPARE
                     ? pst_moving_offer(&hosted->run, &mover->move, side == GIVES, words[side], &bytes[side])
                     : pst_moving_attest(&hosted->run, &mover->move, side == GIVES, mover->words[other],
                                         mover->word_bytes[other], words[side], &bytes[side], ret_why);
        if (rc != PST_OK)
            return rc;
    }
    body.step = step;
    body.time = time;
    body.giver_words = (ProtobufCBinaryData){bytes[GIVES], words[GIVES]};
    body.taker_words = (ProtobufCBinaryData){bytes[TAKES], words[TAKES]};
    tell(node, hosted, &body);
    return PST_OK;
}

static void words_keep(struct mover *mover, const Pst__MoveStep *body)
{
    const ProtobufCBinaryData *said[2] = {&body->giver_words, &body->taker_words};
    for (int side = GIVES; side <= TAKES; side++) {
        bool fits = said[side]->len <= sizeof mover->words[side];
        mover->word_bytes[side] = fits ? said[side]->len : 0;
        if (fits && said[side]->len != 0)
            memcpy(mover->words[side], said[side]->data, said[side]->len);
    }
}

static int words_show(struct hosted *hosted, char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    const struct mover *mover = hosted->mover;
    if (!hosted->graph->nodes[mover->move.operator_index].enclave)
        return PST_OK;
    int rc = pst_moving_show(&hosted->run, &mover->move, true, mover->words[TAKES], mover->word_bytes[TAKES], ret_why);
    if (rc != PST_OK)
        return rc;
    return pst_moving_show(&hosted->run, &mover->move, false, mover->words[GIVES], mover->word_bytes[GIVES], ret_why);
}

static void refuse(struct pst_node *node, struct hosted *hosted, const char *why)
{
    if (!hosted->mover->refused)
        answer(node, hosted, PST__STEP__REFUSED, 0, why);
    hosted->mover->refused = true;
}

/* ---- what is told ---- */

/* False: it is of another graph than this one. */
static bool move_read(struct hosted *hosted, const Pst__Control *message, struct mover *mover)
{
    const Pst__MoveStep *body = message->move_step;
    const struct pst_graph *graph = hosted->graph;
    uint32_t n = pst_graph_find(graph, body->operator_id), to_node = pst_site_index(&hosted->site, body->to_node);
    if (n == graph->node_count || graph->nodes[n].op->role != PST_ROLE_PLAIN || to_node == hosted->site.node_count ||
        body->to_partition >= pst_partition_numbers(&graph->nodes[n]) ||
        body->from_partition >= hosted->run.partition_count[n] ||
        body->into_partition > hosted->run.partition_count[n] || body->n_buckets == 0 ||
        body->n_buckets > graph->nodes[n].bucket_count || body->replica >= REPLICA_KINDS ||
        (body->replica != REPLICA_NONE && body->into_partition != 0) ||
        (body->copies && (body->into_partition != 0 || hosted->run.twin[n] == NULL)))
        return false;
    for (size_t i = 0; i < body->n_buckets; i++) {
        mover->buckets[i] = body->buckets[i];
        if (body->buckets[i] >= graph->nodes[n].bucket_count || (i != 0 && body->buckets[i] <= body->buckets[i - 1]))
            return false;
    }
    mover->move = (struct move){.id = message->move,
                                .operator_index = n,
                                .from = body->from_partition,
                                .to = body->to_partition,
                                .to_node = to_node,
                                .into = body->into_partition - 1, /* 0: none */
                                .copies = body->copies,
                                .replica = (enum replica_then)body->replica,
                                .buckets = mover->buckets,
                                .bucket_count = (uint32_t)body->n_buckets};
    return true;
}

/* The first step of a move, whichever it is. */
static void open_up(struct mover *mover, const Pst__Control *message)
{
    PST_ASSERT(!mover->starting);
    know_forget(mover);
    pst_enclave_free(mover->enclave);
    *mover = (struct mover){.open = true, .move = {.id = message->move}};
}

/* On another thread: it takes as long as the system takes for a process and its memory, and the keeper has others to answer. */
static void start_job(void *argument)
{
    struct hosted *hosted = argument;
    struct mover *mover = hosted->mover;
    mover->start_rc = pst_lane_enclave(&hosted->run, &mover->move, &mover->enclave, mover->start_why);
    atomic_store_explicit(&mover->start_done, true, memory_order_release);
}

/* The lane's worker is started while the others go on. */
static void prepare_inside(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    mover->starting = true;
    mover->start_why[0] = '\0';
    atomic_store_explicit(&mover->start_done, false, memory_order_relaxed);
    if (node->world->work(node->world->self, 0, start_job, hosted) != PST_OK)
        start_job(hosted);
}

/* The lane's worker runs, or there is none; what was told meanwhile waits. */
static bool started(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    if (pst_mover_starting(mover))
        return false;
    if (!mover->starting)
        return true;
    mover->starting = false;
    mover->prepared = mover->start_rc == PST_OK;
    if (!mover->prepared && mover->told == PST__STEP__PREPARE) { /* else it is dropped already */
        mover->told = PST__STEP__STEP_UNSAID;
        refuse(node, hosted, mover->start_why);
    }
    return true;
}

static void prepare(struct pst_node *node, struct hosted *hosted, const Pst__Control *message)
{
    struct mover *mover = hosted->mover;
    mover->prepared = move_read(hosted, message, mover);
    if (!mover->prepared)
        refuse(node, hosted, "it is not of the graph that runs here");
    else if (mover->move.to_node == hosted->site.this_node && hosted->graph->nodes[mover->move.operator_index].enclave)
        prepare_inside(node, hosted);
}

/* Of a move that has not begun here, and does not any more: nothing is to be done for it. */
static void pass_over(struct pst_node *node, struct hosted *hosted, const Pst__Control *message, Pst__Step step)
{
    struct mover *mover = hosted->mover;
    uint64_t own = mover->move.id;
    mover->move.id = message->move;
    if (step == PST__STEP__PREPARE)
        answer(node, hosted, PST__STEP__REFUSED, 0, "the run is at its end");
    else
        answer(node, hosted, step, 0, "");
    mover->move.id = own;
}

static bool alone(struct pst_node *node, struct hosted *hosted, const Pst__MoveStep *body)
{
    uint32_t n = pst_graph_find(hosted->graph, body->operator_id);
    if (hosted->run.checkpoint != NULL &&
        !hosted->mover->rested) { /* so nobody has come to it: it is said beside DROP */
        answer(node, hosted, PST__STEP__ALONE, 0, "");
        return false;
    }
    hosted->mover->move.operator_index = n;
    if (n == hosted->graph->node_count)
        refuse(node, hosted, "it is not of the graph that runs here");
    else
        pst_checkpoint_over(&hosted->run); /* all rest; copies go, now or when the move is dropped */
    return n != hosted->graph->node_count;
}

static void admit(struct mover *mover, const Pst__MoveStep *body)
{
    (void)snprintf(mover->name, sizeof mover->name, "%s", body->to_node);
    (void)snprintf(mover->address, sizeof mover->address, "%s", body->address);
    mover->workers = body->workers;
}

/* The run that has a part in the move, which may begin here with this step; NULL: nothing is to be done for it. */
static struct hosted *taker_of(struct pst_node *node, const Pst__Control *message, Pst__Step step)
{
    struct hosted *hosted = hosted_find(node, message);
    if (hosted == NULL)
        return NULL;
    struct mover *mover = hosted->mover;
    bool first = step == PST__STEP__KNOW || step == PST__STEP__ADMIT || step == PST__STEP__REST ||
                 step == PST__STEP__ALONE || step == PST__STEP__PREPARE;
    bool over = atomic_load_explicit(&hosted->run.finish, memory_order_relaxed); /* nobody would stand still */
    bool dropped = mover->move.id == message->move; /* where it is not open: a coordinator may say so twice */
    if (first && !mover->open && !dropped && !over)
        open_up(mover, message);
    if (mover->open && mover->move.id == message->move)
        return hosted;
    if (first || step == PST__STEP__DROP)
        pass_over(node, hosted, message, step);
    return NULL;
}

void pst_mover_know(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = taker_of(node, message, PST__STEP__KNOW);
    if (hosted == NULL)
        return;
    struct mover *mover = hosted->mover;
    know_forget(mover);
    pst_arena_init(&mover->know_arena);
    int rc = pst_control_copy(message, &mover->know_arena, &mover->know);
    if (rc != PST_OK) {
        pst_arena_fini(&mover->know_arena);
        mover->know = NULL;
        refuse(node, hosted, pst_error_sentence(rc));
        return;
    }
    mover->told = PST__STEP__KNOW;
    node->any = true;
}

void pst_mover_on(struct pst_node *node, const Pst__Control *message)
{
    const Pst__MoveStep *body = message->move_step;
    struct hosted *hosted = hosted_find(node, message);
    if (hosted != NULL && told_again(node, hosted, message))
        return;
    hosted = taker_of(node, message, body->step);
    if (hosted == NULL)
        return;
    struct mover *mover = hosted->mover;
    if (body->step == PST__STEP__PREPARE && !mover->prepared)
        prepare(node, hosted, message);
    if (body->step == PST__STEP__ADMIT)
        admit(mover, body);
    if (body->step == PST__STEP__ALONE && !alone(node, hosted, body))
        return;
    mover->alone = mover->told == PST__STEP__ALONE; /* it was not acted on yet */
    if (body->step == PST__STEP__PREPARE && !mover->prepared)
        return; /* refused */
    if (body->step == PST__STEP__ATTEST || body->step == PST__STEP__COPY)
        words_keep(mover, body);
    mover->numbered = body->step == PST__STEP__SETTLE && body->n_numbers == mover->move.bucket_count;
    if (mover->numbered)
        memcpy(mover->numbers, body->numbers, body->n_numbers * sizeof *mover->numbers);
    mover->told = body->step;
    mover->time = body->time;
    mover->move.more = body->more;
    if (body->step == PST__STEP__COPY)
        mover->move.whole = !body->parts;
    node->any = true;
}

/* ---- what is done ---- */

static int site_add(struct hosted *hosted, const char *new_name, const char *new_address, uint32_t workers)
{
    struct site *site = &hosted->site;
    uint32_t k = site->node_count, known = pst_site_index(site, new_name);
    if (known != k && !hosted->peer_left[known]) /* else it comes back, as another one */
        return PST_OK;
    const char *name = pst_arena_strdup(&hosted->arena, new_name);
    const char *address = pst_arena_strdup(&hosted->arena, new_address);
    if (k == site->node_capacity || name == NULL || address == NULL || workers == 0)
        return k == site->node_capacity ? PST_EFULL : PST_ENOMEM;
    ((uint32_t *)(uintptr_t)site->worker_count)[k] = workers; /* they are this node's own */
    ((bool *)(uintptr_t)site->reads)[k] = false;
    ((const char **)(uintptr_t)site->name)[k] = name;
    ((const char **)(uintptr_t)site->address)[k] = address;
    site->node_count = k + 1;
    return PST_OK;
}

/* Of what this node has or sends to it knows it already: that stays as it is. */
static int layout_know(struct hosted *hosted, const Pst__Start *start, uint32_t n, struct layout *layout)
{
    struct run *run = &hosted->run;
    const struct pst_graph_node *op = &run->graph->nodes[n];
    int rc = pst_layout_read(start, op, layout);
    if (rc != PST_OK)
        return rc;
    for (uint32_t p = 0; p < pst_partition_numbers(op); p++) {
        run->site->node_of_partition[n][p] = layout->node_of[p];
        run->born[n][p] = layout->born[p];
        if (run->twin[n] != NULL)
            run->twin[n][p] = layout->twin[p];
    }
    for (uint32_t b = 0; b < op->bucket_count; b++)
        run->partition_of_bucket[n][b] = layout->of[b];
    if (run->partition_count[n] < layout->partition_count)
        run->partition_count[n] = layout->partition_count;
    return PST_OK;
}

static int know(struct hosted *hosted)
{
    const Pst__Start *start = hosted->mover->know->start;
    const struct site *site = &hosted->site;
    struct layout *layout = pst_malloc(sizeof *layout);
    int rc = layout != NULL ? PST_OK : PST_ENOMEM;
    for (size_t i = 0; i < start->n_left_nodes; i++)
        if (start->left_nodes[i] < NODE_MEMBERS_MAX)
            hosted->peer_left[start->left_nodes[i]] = true;
    for (uint32_t i = 0; i < start->n_nodes && rc == PST_OK; i++) {
        uint32_t known = pst_site_index(site, start->nodes[i]);
        bool twice = known < i && !hosted->peer_left[known];
        if (i < site->node_count ? strcmp(site->name[i], start->nodes[i]) != 0 : twice)
            rc = PST_EDATA;
        else if (i == site->node_count)
            rc = site_add(hosted, start->nodes[i], start->addresses[i], start->node_workers[i]);
    }
    for (uint32_t n = 0; n < hosted->graph->node_count && rc == PST_OK; n++)
        if (hosted->graph->nodes[n].op->role == PST_ROLE_PLAIN)
            rc = layout_know(hosted, start, n, layout);
    pst_free(layout);
    know_forget(hosted->mover);
    return rc;
}

static void count_lost(struct mover *mover, const struct run *run)
{
    uint64_t rows;
    bool known = pst_lane_lost(run, &mover->move, mover->numbered ? mover->numbers : NULL, &rows);
    mover->rows_lost = known || rows != 0 ? 1 + rows : 0;
}

/* PST_EAGAIN: it is answered later. */
static int act_on(struct hosted *hosted, Pst__Step step, int64_t *time, char ret_why[ENCLAVE_MOVE_WHY_BYTES])
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    int rc = PST_OK;
    switch (step) {
    case PST__STEP__KNOW:
        rc = know(hosted);
        break;
    case PST__STEP__ADMIT:
        rc = site_add(hosted, mover->name, mover->address, mover->workers);
        break;
    case PST__STEP__ALONE:
        pst_copies_end(run, mover->move.operator_index);
        break;
    case PST__STEP__LEVEL:
        pst_copies_forget(run, mover->move.operator_index);
        break;
    case PST__STEP__PREPARE:
        pst_checkpoint_over(run);
        mover->move.copy = pst_twin(run, mover->move.operator_index, mover->move.from);
        rc = pst_lane_open(run, &mover->move, mover->enclave);
        mover->enclave = NULL;
        *time = pst_lane_branched(run, &mover->move);
        break;
    case PST__STEP__COPY:
        rc = words_show(hosted, ret_why);
        if (rc == PST_OK)
            rc = pst_lane_copy(run, &mover->move, *time);
        rc = rc == PST_OK ? PST_EAGAIN : rc;
        break;
    case PST__STEP__LISTEN:
        pst_lane_commit_downstream(run, &mover->move, *time);
        if (pst_lane_is_dead(run, &mover->move)) /* that was heard first */
            pst_lane_dead(run, &mover->move);
        break;
    case PST__STEP__SPEAK:
        pst_lane_commit_taker(run, &mover->move, *time);
        break;
    case PST__STEP__LEAVE:
        pst_lane_commit_giver(run, &mover->move, *time);
        mover->left = pst_lane_giving(run, &mover->move) != NULL;
        rc = mover->left ? PST_EAGAIN : PST_OK;
        break;
    case PST__STEP__RELEASE:
        pst_lane_release_upstream(run, &mover->move);
        break;
    case PST__STEP__SETTLE:
        if (!mover->move.copies) /* else nothing was handed over */
            count_lost(mover, run);
        pst_lane_release_downstream(run, &mover->move);
        break;
    case PST__STEP__JOIN:
        rc = pst_lane_join(run, &mover->move, *time);
        mover->joins = pst_lane_joining(run, &mover->move) != NULL;
        rc = rc == PST_OK && mover->joins ? PST_EAGAIN : rc;
        break;
    case PST__STEP__REROUTE:
        *time = pst_lane_reroute(run, &mover->move);
        break;
    case PST__STEP__RETIRE:
        pst_lane_retire(run, &mover->move);
        pst_checkpoint_go_on(run, true);
        mover->open = false;
        break;
    case PST__STEP__DROP:
        if (mover->alone) /* others have done it */
            pst_copies_end(run, mover->move.operator_index);
        pst_enclave_free(mover->enclave);
        mover->enclave = NULL;
        if (mover->prepared)
            pst_lane_drop(run, &mover->move);
        pst_checkpoint_go_on(run, false);
        mover->open = false;
        break;
    default:
        break;
    }
    return rc;
}

static const char *fault_of(const struct hosted *hosted, Pst__Step step, bool words, int rc)
{
    const struct lane *lane = step == PST__STEP__PREPARE ? pst_lane_of(&hosted->run, &hosted->mover->move) : NULL;
    if (lane != NULL && lane->why[0] != '\0')
        return lane->why;
    return words && rc == PST_EREFUSED
               ? "there is no evidence of its worker for the other one: the node has no certificate for an Ed25519 key"
           : step == PST__STEP__PREPARE && rc == PST_EFULL
               ? "its --state-budget is too small for what the graph would have there"
               : pst_error_sentence(rc);
}

/* While workers stand still. */
static void act(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    Pst__Step step = mover->told;
    int64_t time = mover->time;
    uint32_t at = place_of(step);
    mover->told = PST__STEP__STEP_UNSAID;
    if (at < MOVER_DECIDED_MAX)
        mover->acted = at + 1;
    char why[ENCLAVE_MOVE_WHY_BYTES] = "";
    int rc = act_on(hosted, step, &time, why);
    bool words = (step == PST__STEP__PREPARE || step == PST__STEP__ATTEST) &&
                 run->graph->nodes[mover->move.operator_index].enclave;
    if (rc == PST_OK && words && (rc = answer_words(node, hosted, step, time, why)) == PST_OK)
        return;
    bool decided = step != PST__STEP__KNOW && step != PST__STEP__ADMIT && step != PST__STEP__ALONE &&
                   step != PST__STEP__LEVEL && step != PST__STEP__PREPARE && step != PST__STEP__ATTEST &&
                   step != PST__STEP__COPY;
    if (rc == PST_OK)
        answer(node, hosted, step, time, "");
    else if (rc != PST_EAGAIN && !decided) /* what was begun of it goes when it is dropped */
        refuse(node, hosted, why[0] != '\0' ? why : fault_of(hosted, step, words, rc));
    else if (rc != PST_EAGAIN)
        pst_run_fail(run, rc, "a move of operator %s cannot go on: %s",
                     run->graph->nodes[mover->move.operator_index].id, pst_error_sentence(rc));
}

/* How far the giver is. */
static void tell_progress(struct pst_node *node, struct hosted *hosted, const struct giving *giving)
{
    Pst__MoveStep body = PST__MOVE_STEP__INIT;
    body.step = PST__STEP__PROGRESS;
    body.bytes_done = atomic_load_explicit(&giving->bytes_done, memory_order_relaxed);
    body.bytes_total = atomic_load_explicit(&giving->bytes_total, memory_order_relaxed);
    body.longest_pause_ns = atomic_load_explicit(&giving->pause_ns_max, memory_order_relaxed);
    tell(node, hosted, &body);
}

static void look_at_giver(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    const struct giving *giving = pst_lane_giving(&hosted->run, &mover->move);
    uint64_t now_ns = node->world->now_ns(node->world->self);
    if (giving == NULL || mover->handed)
        return;
    mover->handed = atomic_load_explicit(&giving->given, memory_order_acquire);
    if (mover->handed || now_ns >= mover->progress_ns + PROGRESS_NS) {
        mover->progress_ns = now_ns;
        tell_progress(node, hosted, giving);
    }
    if (mover->handed && giving->error == PST_OK && !giving->compared) /* no step without rows came in time */
        pst_node_log(node,
                     "graph %s, move %llu: its owners have not compared what they have come to: rows came all the time",
                     hosted->graph_name, (unsigned long long)mover->move.id);
    if (mover->handed && giving->error != PST_OK)
        refuse(node, hosted, giving->why[0] != '\0' ? giving->why : pst_error_sentence(giving->error));
    else if (!mover->handed && atomic_load_explicit(&giving->ended, memory_order_acquire))
        refuse(node, hosted, "the input has ended");
}

/* What has become of the lane, and of what leads to it. */
static void look(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    struct lane *lane = pst_lane_of(run, &mover->move);
    if (pst_lane_overflows(run, &mover->move))
        refuse(node, hosted, "more rows wait for it than its bound allows");
    if (lane == NULL || mover->caught_up)
        return;
    int state = atomic_load_explicit(&lane->state, memory_order_acquire);
    if (state == LANE_FAILED)
        refuse(node, hosted, lane->why);
    if (state != LANE_INSTALLED)
        return;
    mover->caught_up = true;
    answer(node, hosted, PST__STEP__CAUGHT_UP, lane->from, "");
}

static void stopped(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct giving *giving = pst_lane_giving(&hosted->run, &mover->move);
    if (!mover->left)
        return;
    if (giving == NULL) { /* the lane is dead, and its replica has all */
        mover->left = false;
        answer(node, hosted, PST__STEP__LEAVE, mover->time, "");
        return;
    }
    bool left = atomic_load_explicit(&giving->stopped, memory_order_acquire);
    if (!left && !atomic_load_explicit(&giving->ended, memory_order_acquire))
        return;
    memcpy(mover->numbers, giving->numbers, mover->move.bucket_count * sizeof *mover->numbers);
    mover->gave = true;
    mover->left = false;
    answer(node, hosted, PST__STEP__LEAVE, left ? giving->stopped_at : INT64_MAX, "");
}

static void joined(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    const struct join *join = mover->joins ? pst_lane_joining(&hosted->run, &mover->move) : NULL;
    if (join == NULL || !atomic_load_explicit(&join->done, memory_order_acquire))
        return;
    mover->joins = false;
    answer(node, hosted, PST__STEP__JOIN, join->joined ? join->at : INT64_MAX, "");
}

/* What has to have come before is here. */
static bool is_ready(const struct run *run, const struct mover *mover)
{
    return mover->told == PST__STEP__SETTLE  ? pst_lane_settled(run, &mover->move, mover->time)
           : mover->told == PST__STEP__DRAIN ? pst_lane_drained(run, &mover->move, mover->time)
           : mover->told == PST__STEP__LEVEL ? pst_copies_level(run, mover->move.operator_index)
                                             : true;
}

/* Checkpoints rest: that is waited for without standing still. */
static bool rests(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    if (mover->told != PST__STEP__REST)
        return true;
    bool rest = pst_checkpoint_rest(&hosted->run);
    bool over = pst_run_finished(&hosted->run) && !pst_checkpoint_stays(&hosted->run);
    if (!rest && over) { /* the cut is one that nothing comes to any more */
        mover->told = PST__STEP__STEP_UNSAID;
        refuse(node, hosted, "the input has ended");
        return false;
    }
    if (!rest) {
        (void)node->world->alarm(node->world->self, 0, node->world->now_ns(node->world->self) + SETTLE_NS);
        return false;
    }
    mover->told = PST__STEP__STEP_UNSAID;
    mover->rested = true;
    answer(node, hosted, PST__STEP__REST, 0, "");
    return true;
}

void pst_mover_step(struct pst_node *node, struct hosted *hosted)
{
    struct mover *mover = hosted->mover;
    struct run *run = &hosted->run;
    if (!mover->open || hosted->superseded || hosted->attached + 1 != (uint64_t)1 << node->worker_count ||
        !started(node, hosted) || !rests(node, hosted))
        return;
    /* What is waited for is looked at again with every news of the run; who waits for it stands still but for that moment. */
    bool waits = mover->waits_ns > node->world->now_ns(node->world->self);
    if (mover->told != PST__STEP__STEP_UNSAID && run->hold == 0 && !waits) {
        pst_run_hold(run);
        return;
    }
    if (run->hold != 0 && pst_run_held(run)) {
        bool ready = is_ready(run, mover);
        if (ready)
            act(node, hosted);
        pst_run_release(run);
        node->any |= ready;
        if (!ready)
            (void)node->world->alarm(node->world->self, 0, node->world->now_ns(node->world->self) + SETTLE_NS);
        mover->waits_ns = ready ? 0 : node->world->now_ns(node->world->self) + SETTLE_NS;
        return;
    }
    if (run->hold != 0 || !mover->open || !mover->prepared)
        return;
    look_at_giver(node, hosted);
    look(node, hosted);
    stopped(node, hosted);
    joined(node, hosted);
}
