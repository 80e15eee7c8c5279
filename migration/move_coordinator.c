/* move_coordinator.c - the coordinator over the store: reads what was decided, commits what follows from it, one request at a
 * time. What it has read may be old: a commit names the versions of all that it rests on, and when it fails everything is read
 * again (T2). */
#include "migration/move_inside.h"

#include <stdio.h>
#include <string.h>

/* T5: news may be lost, and who has nothing to commit does not find out that its copy is old. */
enum { TICKS_TO_READ = 8 };
enum { PHASE_BEGIN, PHASE_OWNERS, PHASE_LIST, PHASE_MOVES, PHASE_KNOWN, PHASE_COMMIT };

void pst_move_coordinator_init(struct pst_move_coordinator *c, struct pst_store *store,
                               const struct pst_move_graph *graph, const struct pst_move_coordinator_seam *seam)
{
    memset(c, 0, sizeof *c);
    c->store = store;
    c->graph = graph;
    c->seam = *seam;
    int count = snprintf(c->owners_path, sizeof c->owners_path, "owners/%s", graph->name);
    PST_ASSERT(count > 0 && (size_t)count < sizeof c->owners_path);
}

static void changes_drop(struct pst_move_coordinator *c)
{
    for (uint32_t i = 0; i < c->change_count; i++)
        pst_text_fini(&c->change_texts[i]);
    c->change_count = 0;
}

void pst_move_coordinator_fini(struct pst_move_coordinator *c)
{
    changes_drop(c);
    pst_text_fini(&c->list);
    pst_text_fini(&c->request.text);
}

const struct pst_owners *pst_move_coordinator_owners(const struct pst_move_coordinator *c)
{
    return c->owners_version != 0 ? &c->owners : NULL;
}

static struct pst_move_run *run_find(struct pst_move_coordinator *c, uint64_t id)
{
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++)
        if (c->moves[i].used && c->moves[i].record.id == id)
            return &c->moves[i];
    return NULL;
}

static bool ended(const struct pst_move_run *run) { return run->record.step >= PST_MOVE_DONE; }

/* Players of an incarnation that is over end with it. The end that a recovery gives to a move must not be heard by them: it would be
 * taken for one that every player had come to. */
static void orders(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    if (run->record.incarnation == c->owners.incarnation)
        pst_move_orders(c, run);
}

static struct pst_move_run *run_new(struct pst_move_coordinator *c)
{
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++)
        if (!c->moves[i].used) {
            c->moves[i] = (struct pst_move_run){.used = true};
            return &c->moves[i];
        }
    return NULL;
}

/* ---- reading everything ---- */
static void begin(struct pst_move_coordinator *c, int phase, pst_store_kind kind, const char *path)
{
    pst_text_fini(&c->request.text);
    c->phase = phase;
    c->waits = true;
    c->request = (struct pst_store_request){.kind = kind, .path = path, .rc = PST_EAGAIN};
    if (kind == PST_STORE_COMMIT) {
        c->request.changes = c->changes;
        c->request.change_count = c->change_count;
    }
    c->store->begin(c->store->self, &c->request);
}

static void read_begin(struct pst_move_coordinator *c)
{
    c->stale = false;
    c->news = c->store->news(c->store->self);
    begin(c, PHASE_OWNERS, PST_STORE_READ, c->owners_path);
}

static int owners_have(struct pst_move_coordinator *c)
{
    int rc = pst_owners_read(c->request.text.bytes, c->request.text.count, &c->owners);
    if (rc == PST_OK && c->owners.op_count != c->graph->op_count)
        rc = PST_EDATA;
    for (uint32_t op = 0; rc == PST_OK && op < c->owners.op_count; op++)
        if (pst_owners_bucket_count(&c->owners, op) != c->graph->ops[op].bucket_count)
            rc = PST_EDATA;
    c->owners_version = rc == PST_OK ? c->request.version : 0;
    if (rc == PST_OK) {
        (void)snprintf(c->path, sizeof c->path, "moves/%s/", c->graph->name);
        begin(c, PHASE_LIST, PST_STORE_LIST, c->path);
    }
    return rc;
}

/* The next record of the list that has to be read. What has ended does not change any more. */
static void moves_next(struct pst_move_coordinator *c)
{
    while (c->list_at < c->list.count) {
        const char *line = c->list.bytes + c->list_at, *end = memchr(line, '\n', c->list.count - c->list_at);
        size_t byte_count = (size_t)(end - line);
        c->list_at += byte_count + 1;
        PST_ASSERT(byte_count < sizeof c->path);
        memcpy(c->path, line, byte_count);
        c->path[byte_count] = '\0';
        const char *name = strrchr(c->path, '/');
        uint64_t id;
        if (name == NULL || pst_parse_u64(name + 1, &id) != PST_OK)
            continue;
        struct pst_move_run *run = run_find(c, id);
        if (run != NULL)
            run->listed = true;
        if (run != NULL && ended(run))
            continue;
        begin(c, PHASE_MOVES, PST_STORE_READ, c->path);
        return;
    }
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++)
        c->moves[i].used = c->moves[i].used && c->moves[i].listed;
    c->phase = PHASE_KNOWN;
}

static void list_have(struct pst_move_coordinator *c)
{
    pst_text_fini(&c->list);
    c->list = c->request.text;
    c->request.text = (struct pst_text){0};
    c->list_at = 0;
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++)
        c->moves[i].listed = false;
    moves_next(c);
}

static int move_have(struct pst_move_coordinator *c)
{
    struct pst_move_record record;
    int rc = pst_move_record_read(c->request.text.bytes, c->request.text.count, &record);
    if (rc == PST_OK && (record.op >= c->graph->op_count || !pst_move_peers_fit(c, record.op)))
        rc = PST_EDATA;
    if (rc != PST_OK)
        return rc;
    struct pst_move_run *run = run_find(c, record.id);
    bool known = run != NULL;
    if (!known)
        run = run_new(c);
    if (run == NULL)
        return PST_EFULL;
    pst_move_step before = run->record.step;
    run->listed = true;
    run->record = record;
    run->version = c->request.version;
    if (!known)
        pst_move_peers(c, run);
    if (!known || before != record.step)
        orders(c, run);
    moves_next(c);
    return PST_OK;
}

static int read_have(struct pst_move_coordinator *c)
{
    int rc = c->request.rc;
    if (rc == PST_ENOENT && c->phase == PHASE_MOVES) {
        moves_next(c);
        rc = PST_OK;
    } else if (rc == PST_OK && c->phase == PHASE_OWNERS) {
        rc = owners_have(c);
    } else if (rc == PST_OK && c->phase == PHASE_LIST) {
        list_have(c);
    } else if (rc == PST_OK) {
        rc = move_have(c);
    }
    if (rc != PST_OK && !c->waits)
        c->phase = PHASE_BEGIN;
    return rc;
}

/* ---- commits ---- */
static void change_add(struct pst_move_coordinator *c, const char *path, uint64_t expected, bool removes)
{
    uint32_t i = c->change_count++;
    PST_ASSERT(i < TABLE_COUNT(c->changes));
    const struct pst_text *text = &c->change_texts[i];
    (void)snprintf(c->change_paths[i], sizeof c->change_paths[i], "%s", path);
    c->changes[i] = (struct pst_store_change){.path = c->change_paths[i],
                                              .expected = expected,
                                              .bytes = removes ? NULL : text->bytes,
                                              .byte_count = removes ? 0 : (uint32_t)text->count};
}

static int change_owners(struct pst_move_coordinator *c)
{
    c->change_texts[c->change_count] = (struct pst_text){0};
    c->change_records[c->change_count].id = 0;
    int rc = pst_owners_write(&c->owners_next, &c->change_texts[c->change_count]);
    change_add(c, c->owners_path, c->owners_version, false);
    return rc;
}

/* `record` NULL: it is removed. */
static int change_move(struct pst_move_coordinator *c, uint64_t id, uint64_t expected,
                       const struct pst_move_record *record, pst_move_cause cause)
{
    char path[PST_STORE_PATH_BYTES];
    uint32_t i = c->change_count;
    (void)snprintf(path, sizeof path, "moves/%s/%llu", c->graph->name, (unsigned long long)id);
    c->change_texts[i] = (struct pst_text){0};
    c->change_records[i] = record != NULL ? *record : (struct pst_move_record){.id = id};
    c->change_causes[i] = cause;
    int rc = record != NULL ? pst_move_record_write(record, &c->change_texts[i]) : PST_OK;
    change_add(c, path, expected, record == NULL);
    return rc;
}

static void commit_begin(struct pst_move_coordinator *c) { begin(c, PHASE_COMMIT, PST_STORE_COMMIT, NULL); }

static void move_changed(struct pst_move_coordinator *c, uint32_t i)
{
    const struct pst_move_record *record = &c->change_records[i];
    struct pst_move_run *run = run_find(c, record->id);
    if (c->changes[i].bytes == NULL) {
        run->used = false;
        return;
    }
    bool new = run == NULL;
    if (new)
        run = run_new(c);
    PST_ASSERT(run != NULL);
    pst_move_step from = run->record.step;
    run->record = *record;
    run->version = c->changes[i].expected + 1;
    if (new)
        pst_move_peers(c, run);
    c->seam.trace(c->seam.self, record, from, c->change_causes[i]);
    orders(c, run);
}

/* What is known to have happened is known without reading. Anything else is read. */
static void commit_have(struct pst_move_coordinator *c)
{
    c->phase = c->request.rc == PST_OK ? PHASE_KNOWN : PHASE_BEGIN;
    for (uint32_t i = 0; i < c->change_count && c->request.rc == PST_OK; i++)
        if (c->change_records[i].id == 0) {
            pst_owners_copy(&c->owners, &c->owners_next);
            c->owners_version++;
        }
    for (uint32_t i = 0; i < c->change_count && c->request.rc == PST_OK; i++)
        if (c->change_records[i].id != 0)
            move_changed(c, i);
    changes_drop(c);
}

/* True: a commit is under way, or cannot be for want of memory. */
static bool commit_or_drop(struct pst_move_coordinator *c, int rc)
{
    if (rc != PST_OK)
        changes_drop(c);
    else
        commit_begin(c);
    return true;
}

static bool from_stays(const struct pst_move_coordinator *c, const struct pst_move_run *run)
{
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++)
        if (c->moves[i].used && &c->moves[i] != run && c->moves[i].record.from == run->record.from &&
            pst_move_locked(c, &c->moves[i]))
            return true;
    return false;
}

static bool step_commit(struct pst_move_coordinator *c, struct pst_move_run *run, pst_move_cause cause)
{
    struct pst_move_record next;
    pst_move_record_next(c, run, cause, &next);
    pst_owners_copy(&c->owners_next, &c->owners);
    int rc = PST_OK;
    if (next.step == PST_MOVE_COMMITTED && run->record.step == PST_MOVE_READY)
        pst_owners_give(&c->owners_next, &next);
    if (next.step == PST_MOVE_DONE)
        pst_owners_unlock(&c->owners_next, &next, from_stays(c, run));
    if (next.step == PST_MOVE_COMMITTED || next.step == PST_MOVE_DONE)
        rc = change_owners(c);
    int rc_move = change_move(c, next.id, run->version, &next, cause);
    return commit_or_drop(c, rc == PST_OK ? rc_move : rc);
}

/* The locks of an aborted move go when nobody knows it any more: until then its lane may still be there. */
static bool unlock_commit(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    pst_owners_copy(&c->owners_next, &c->owners);
    pst_owners_unlock(&c->owners_next, &run->record, from_stays(c, run));
    return commit_or_drop(c, change_owners(c));
}

static bool recovery_commit(struct pst_move_coordinator *c)
{
    uint32_t gone, there;
    pst_owners_copy(&c->owners_next, &c->owners);
    if (!pst_move_nodes(c, &gone, &there) || pst_owners_recover(&c->owners_next, gone, there) != PST_OK)
        return false;
    int rc = change_owners(c);
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        struct pst_move_run *run = &c->moves[i];
        struct pst_move_record next;
        if (!run->used || ended(run))
            continue;
        pst_move_record_next(c, run, PST_MOVE_BY_RECOVERY, &next);
        int rc_move = change_move(c, next.id, run->version, &next, PST_MOVE_BY_RECOVERY);
        rc = rc == PST_OK ? rc_move : rc;
    }
    return commit_or_drop(c, rc);
}

/* All moves from the node at once: what it had has no gap in time without an owner. */
static bool takeover_commit(struct pst_move_coordinator *c, uint32_t node)
{
    int rc = PST_OK;
    pst_owners_copy(&c->owners_next, &c->owners);
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        struct pst_move_run *run = &c->moves[i];
        struct pst_move_record next;
        if (!run->used || run->record.from_node != node || run->record.gone ||
            (run->record.step != PST_MOVE_READY && run->record.step != PST_MOVE_COMMITTED))
            continue;
        pst_move_record_next(c, run, PST_MOVE_BY_TAKEN_OVER, &next);
        if (run->record.step == PST_MOVE_READY)
            pst_owners_give(&c->owners_next, &next);
        int rc_move = change_move(c, next.id, run->version, &next, PST_MOVE_BY_TAKEN_OVER);
        rc = rc == PST_OK ? rc_move : rc;
    }
    int rc_owners = change_owners(c);
    return commit_or_drop(c, rc == PST_OK ? rc_owners : rc);
}

/* ---- what is to be done: true: something is under way ---- */
static bool decide_graph(struct pst_move_coordinator *c)
{
    uint32_t node = 0;
    switch (pst_move_need_of(c, &node)) {
    case PST_MOVE_NEEDS_RECOVERY:
        return recovery_commit(c);
    case PST_MOVE_NEEDS_TAKEOVER:
        return takeover_commit(c, node);
    case PST_MOVE_NEEDS_NOTHING:
        break;
    }
    if (c->owners.running || !pst_move_all_loaded(c))
        return false;
    pst_owners_copy(&c->owners_next, &c->owners);
    c->owners_next.running = true;
    return commit_or_drop(c, change_owners(c));
}

static bool decide_move(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    if (!run->used || (ended(run) && !pst_move_locked(c, run)))
        return false;
    if (ended(run))
        return pst_move_all_forgot(c, run) && unlock_commit(c, run);
    pst_move_cause cause = pst_move_cause_of(c, run);
    return cause != PST_MOVE_CAUSE_COUNT && step_commit(c, run, cause);
}

int pst_move_coordinator_step(struct pst_move_coordinator *c, uint64_t now_ns)
{
    c->now_ns = now_ns;
    for (;;) {
        if (c->waits && c->request.rc == PST_EAGAIN)
            return PST_OK;
        if (c->waits) {
            c->waits = false;
            int rc = PST_OK, rc_request = c->request.rc;
            if (c->phase == PHASE_COMMIT)
                commit_have(c);
            else
                rc = read_have(c);
            if (rc_request == PST_ESTOPPED || rc_request == PST_EIO || rc != PST_OK)
                return rc_request == PST_OK ? rc : rc_request;
            continue;
        }
        if (c->phase == PHASE_BEGIN || c->stale || c->news != c->store->news(c->store->self)) {
            read_begin(c);
            continue;
        }
        bool busy = decide_graph(c);
        for (uint32_t i = 0; i < PST_MOVES_MAX && !busy; i++)
            busy = decide_move(c, &c->moves[i]);
        if (!c->waits)
            return PST_OK;
    }
}

/* ---- what comes from outside ---- */
void pst_move_coordinator_tick(struct pst_move_coordinator *c)
{
    if (++c->ticks % TICKS_TO_READ == 0)
        c->stale = true;
    for (uint32_t i = 0; i < PST_MOVES_MAX && c->owners_version != 0; i++)
        if (c->moves[i].used && (!ended(&c->moves[i]) || pst_move_locked(c, &c->moves[i])))
            orders(c, &c->moves[i]);
}

void pst_move_coordinator_node(struct pst_move_coordinator *c, uint32_t node, pst_move_health health,
                               uint64_t incarnation)
{
    PST_ASSERT(node < PST_MOVE_NODES_MAX);
    c->nodes[node].health = health;
    c->nodes[node].incarnation = incarnation;
}

static struct pst_move_peer *peer_find(struct pst_move_run *run, pst_move_role role, uint32_t partition)
{
    struct pst_move_peer *peers = role == PST_MOVE_UPSTREAM ? run->upstreams : run->downstreams;
    uint32_t count = role == PST_MOVE_UPSTREAM ? run->upstream_count : run->downstream_count;
    if (role == PST_MOVE_GIVER || role == PST_MOVE_TAKER) {
        peers = role == PST_MOVE_GIVER ? &run->giver : &run->taker;
        count = 1;
    }
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].partition == partition)
            return &peers[i];
    return NULL;
}

/* A player whose move has long ended asks how it ended by saying where it is: it is told. */
void pst_move_coordinator_report(struct pst_move_coordinator *c, const struct pst_move_message *report)
{
    struct pst_move_run *run = run_find(c, report->move);
    if (run == NULL || run->record.serial != report->serial || report->incarnation != run->record.incarnation ||
        report->role >= PST_MOVE_ROLE_COUNT)
        return;
    struct pst_move_peer *peer = peer_find(run, report->role, report->partition);
    if (peer == NULL)
        return;
    bool refused = peer->heard && (peer->flags & PST_MOVE_SAYS_REFUSED) != 0;
    int64_t have = peer->heard && peer->have > report->have ? peer->have : report->have;
    *peer = (struct pst_move_peer){.partition = peer->partition,
                                   .node = peer->node,
                                   .heard = true,
                                   .state = report->state,
                                   .step = report->step,
                                   .flags = report->flags | (refused ? PST_MOVE_SAYS_REFUSED : 0u),
                                   .time = report->time,
                                   .now = report->now,
                                   .have = have,
                                   .digest_at = report->digest_at,
                                   .digest = report->digest};
    if (ended(run) && (report->flags & PST_MOVE_SAYS_UNKNOWN) == 0 && report->step < PST_MOVE_DONE)
        orders(c, run);
}

/* ---- commands ---- */
static struct pst_owner *owner_at(struct pst_move_coordinator *c, uint32_t op, uint32_t bucket)
{
    return pst_owners_at(&c->owners, op, bucket);
}

static bool command_can_be(struct pst_move_coordinator *c, const struct pst_move_command *command)
{
    uint32_t op = command->op, bucket = pst_move_set_next(&command->buckets, 0);
    if (command->id == 0 || op >= c->owners.op_count || bucket == PST_MOVE_BUCKETS_MAX ||
        command->to_node >= PST_MOVE_NODES_MAX || command->from >= PST_MOVE_PARTITIONS_MAX ||
        c->graph->ops[op].input_count == 0 || c->owners.partitions[command->from].node == command->to_node)
        return false;
    for (; bucket < PST_MOVE_BUCKETS_MAX; bucket = pst_move_set_next(&command->buckets, bucket + 1))
        if (bucket >= pst_owners_bucket_count(&c->owners, op) || owner_at(c, op, bucket)->partition != command->from)
            return false;
    return true;
}

static bool next_to(const struct pst_move_coordinator *c, uint32_t one, uint32_t other)
{
    for (uint32_t i = 0; i < c->graph->ops[one].input_count; i++)
        if (c->graph->ops[one].inputs[i] == other)
            return true;
    for (uint32_t i = 0; i < c->graph->ops[other].input_count; i++)
        if (c->graph->ops[other].inputs[i] == one)
            return true;
    return false;
}

/* Does the running move stand in the command's way? */
static bool in_the_way(const struct pst_move_coordinator *c, const struct pst_move_run *run,
                       const struct pst_move_command *command)
{
    if (next_to(c, run->record.op, command->op) || c->owners.serial + 1 - run->record.serial >= PST_MOVE_SERIALS)
        return true;
    for (uint32_t i = 0; run->record.op == command->op && i < PST_MOVE_BUCKETS_MAX / 64; i++)
        if ((run->record.buckets.bits[i] & command->buckets.bits[i]) != 0)
            return true;
    return false;
}

static bool touching(const struct pst_move_run *run, uint32_t node)
{
    return run->record.from_node == node || run->record.to_node == node;
}

/* The way back of a running move: it is cancelled, if it still can be. */
static bool reverse(const struct pst_move_run *run, const struct pst_move_command *command)
{
    return run->record.op == command->op && run->record.from_node == command->to_node &&
           pst_move_set_equal(&run->record.buckets, &command->buckets);
}

static int command_check(struct pst_move_coordinator *c, const struct pst_move_command *command,
                         struct pst_move_status *ret_status)
{
    uint32_t from_node = c->owners.partitions[command->from].node, at_giver = 0, at_taker = 0;
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        struct pst_move_run *run = &c->moves[i];
        if (!run->used || !pst_move_locked(c, run))
            continue;
        ret_status->holder = run->record.id;
        if (reverse(run, command)) {
            run->cancel = true;
            return PST_EREFUSED;
        }
        if (in_the_way(c, run, command))
            return PST_EREFUSED;
        at_giver += touching(run, from_node);
        at_taker += touching(run, command->to_node);
        if (at_giver >= PST_MOVES_NODE_MAX || at_taker >= PST_MOVES_NODE_MAX)
            return PST_EREFUSED;
    }
    ret_status->holder = 0;
    if (!command_can_be(c, command))
        return PST_EINVAL;
    return pst_move_peers_fit(c, command->op) ? PST_OK : PST_EREFUSED;
}

/* The oldest record of a move that has ended makes room. */
static int oldest_remove(struct pst_move_coordinator *c)
{
    uint32_t count = 0;
    struct pst_move_run *oldest = NULL;
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        struct pst_move_run *run = &c->moves[i];
        count += run->used;
        if (run->used && ended(run) && !pst_move_locked(c, run) &&
            (oldest == NULL || run->record.serial < oldest->record.serial))
            oldest = run;
    }
    if (count < PST_MOVES_MAX - 1)
        return PST_OK;
    return oldest == NULL ? PST_EFULL : change_move(c, oldest->record.id, oldest->version, NULL, PST_MOVE_CAUSE_COUNT);
}

static int intent_commit(struct pst_move_coordinator *c, const struct pst_move_command *command)
{
    struct pst_move_record record = {.id = command->id,
                                     .serial = c->owners.serial + 1,
                                     .step = PST_MOVE_INTENT,
                                     .incarnation = c->owners.incarnation,
                                     .op = command->op,
                                     .from = command->from,
                                     .from_node = c->owners.partitions[command->from].node,
                                     .to_node = command->to_node,
                                     .deadline_ns = command->deadline_ns,
                                     .since = PST_MOVE_NEVER,
                                     .latest = PST_MOVE_NEVER,
                                     .cut = PST_MOVE_NEVER,
                                     .buckets = command->buckets};
    pst_owners_copy(&c->owners_next, &c->owners);
    c->owners_next.serial++;
    if (pst_owners_free(&c->owners_next, record.op, record.to_node, record.serial, &record.to) != PST_OK)
        return PST_EREFUSED;
    for (uint32_t bucket = pst_move_set_next(&record.buckets, 0); bucket < PST_MOVE_BUCKETS_MAX;
         bucket = pst_move_set_next(&record.buckets, bucket + 1)) {
        uint64_t epoch = owner_at(c, record.op, bucket)->epoch;
        record.epoch = epoch > record.epoch ? epoch : record.epoch;
    }
    pst_owners_lock(&c->owners_next, record.op, &record.buckets, record.id);
    int rc = oldest_remove(c);
    if (rc == PST_OK)
        rc = change_owners(c);
    if (rc == PST_OK)
        rc = change_move(c, record.id, 0, &record, PST_MOVE_CAUSE_COUNT);
    (void)commit_or_drop(c, rc);
    return rc == PST_OK ? PST_EAGAIN : rc == PST_EFULL ? PST_EREFUSED : rc;
}

int pst_move_coordinator_move(struct pst_move_coordinator *c, const struct pst_move_command *command,
                              struct pst_move_status *ret_status)
{
    *ret_status = (struct pst_move_status){0};
    if (c->phase != PHASE_KNOWN)
        return PST_EAGAIN;
    struct pst_move_run *run = run_find(c, command->id);
    if (run != NULL) {
        *ret_status = (struct pst_move_status){.step = run->record.step, .why = run->record.why};
        return PST_OK;
    }
    if (!c->owners.running)
        return PST_EAGAIN;
    int rc = command_check(c, command, ret_status);
    return rc == PST_OK ? intent_commit(c, command) : rc;
}

int pst_move_coordinator_cancel(struct pst_move_coordinator *c, uint64_t id, struct pst_move_status *ret_status)
{
    *ret_status = (struct pst_move_status){0};
    struct pst_move_run *run = run_find(c, id);
    if (c->phase != PHASE_KNOWN)
        return PST_EAGAIN;
    if (run == NULL)
        return PST_ENOENT;
    *ret_status = (struct pst_move_status){.step = run->record.step, .why = run->record.why};
    if (run->record.step == PST_MOVE_ABORTED)
        return PST_OK;
    if (run->record.step >= PST_MOVE_COMMITTED)
        return PST_EREFUSED;
    run->cancel = true;
    return PST_EAGAIN;
}

int pst_move_coordinator_checkpoint(struct pst_move_coordinator *c, uint64_t incarnation, int64_t time)
{
    if (c->phase != PHASE_KNOWN)
        return PST_EAGAIN;
    if (!c->owners.running || c->owners.incarnation != incarnation || c->owners.checkpoint > time)
        return PST_EREFUSED;
    if (c->owners.checkpoint == time)
        return PST_OK;
    pst_owners_copy(&c->owners_next, &c->owners);
    c->owners_next.checkpoint = time;
    (void)commit_or_drop(c, change_owners(c));
    return PST_EAGAIN;
}
