/* move_decide.c - what a coordinator concludes from the records and from what players have said. Nothing here changes anything. */
#include "migration/move_inside.h"

/* ---- the table of a record's states ---- */
#define NAME(name, what) #name,
static const char *const cause_names[] = {PST_MOVE_CAUSES(NAME)};
#undef NAME
const char *pst_move_cause_name(pst_move_cause cause)
{
    return cause < PST_MOVE_CAUSE_COUNT ? cause_names[cause] : "unknown";
}

#define S(name) BIT(PST_MOVE_##name)
#define BY(name) BIT(PST_MOVE_BY_##name)
#define STAYS PST_MOVE_STEP_COUNT
#define OPEN (S(INTENT) | S(PREPARED) | S(DUPLICATING) | S(COPYING) | S(READY))
#define ENDED (S(DONE) | S(ABORTED))
#define FAILS (BY(CANCEL) | BY(LATE) | BY(REFUSED) | BY(FULL) | BY(LOST) | BY(DIFFERENT) | BY(RECOVERY))
#define GOES_ON (BY(ACCEPTED) | BY(BRANCHED) | BY(BEGUN) | BY(CAUGHT_UP) | BY(AGREED) | BY(FINISHED))
static const struct pst_move_rule rules[] = {
    {OPEN, FAILS, PST_MOVE_ABORTED, "before the commit everything is as if it had not been"},
    {S(INTENT), BY(ACCEPTED), PST_MOVE_PREPARED, "lane, branches"},
    {S(PREPARED), BY(BRANCHED), PST_MOVE_DUPLICATING, "s is the latest s_u"},
    {S(DUPLICATING), BY(BEGUN), PST_MOVE_COPYING, ""},
    {S(COPYING), BY(CAUGHT_UP), PST_MOVE_READY, "the latest image's time is written down: a takeover needs it"},
    {S(READY), BY(AGREED) | BY(TAKEN_OVER), PST_MOVE_COMMITTED, "owner and owner epoch change in the same commit"},
    {S(COMMITTED), BY(FINISHED) | BY(RECOVERY), PST_MOVE_DONE, "a recovery starts with the taker as owner"},
    {S(COMMITTED), FAILS & ~BY(RECOVERY), STAYS, PST_FORWARD},
    {S(COMMITTED), BY(TAKEN_OVER), PST_MOVE_COMMITTED, "the taker is told to put out all that it has kept"},
    {S(COMMITTED), GOES_ON & ~BY(FINISHED), STAYS, "behind it"},
    {S(INTENT), GOES_ON & ~BY(ACCEPTED), STAYS, "before its time"},
    {S(PREPARED), GOES_ON & ~BY(BRANCHED), STAYS, "before its time, or behind it"},
    {S(DUPLICATING), GOES_ON & ~BY(BEGUN), STAYS, "before its time, or behind it"},
    {S(COPYING), GOES_ON & ~BY(CAUGHT_UP), STAYS, "before its time, or behind it"},
    {S(READY), GOES_ON & ~BY(AGREED), STAYS, "before its time, or behind it"},
    {OPEN & ~S(READY), BY(TAKEN_OVER), STAYS, "the taker does not have everything: a recovery"},
    {ENDED, BIT(PST_MOVE_CAUSE_COUNT) - 1, STAYS, "a move ends once"},
};

const struct pst_move_rule *pst_move_rule(pst_move_step step, pst_move_cause cause)
{
    for (uint32_t i = 0; i < TABLE_COUNT(rules); i++)
        if ((rules[i].steps & BIT(step)) != 0 && (rules[i].causes & BIT(cause)) != 0)
            return &rules[i];
    return NULL;
}

/* ---- who takes part ---- */
bool pst_move_locked(const struct pst_move_coordinator *c, const struct pst_move_run *run)
{
    const struct pst_owners *owners = &c->owners;
    uint32_t first = pst_move_set_next(&run->record.buckets, 0);
    return run->record.op < owners->op_count && first < pst_owners_bucket_count(owners, run->record.op) &&
           owners->buckets[owners->first[run->record.op] + first].locked == run->record.id;
}

static uint32_t peers_of(const struct pst_owners *owners, uint32_t op, struct pst_move_peer *peers, uint32_t count)
{
    for (uint32_t i = owners->first[op]; i < owners->first[op + 1]; i++) {
        uint32_t partition = owners->buckets[i].partition, at = 0;
        while (at < count && peers[at].partition != partition)
            at++;
        if (at < count)
            continue;
        PST_ASSERT(count < PST_MOVE_PEERS_MAX); /* pst_move_peers_fit() */
        peers[count++] = (struct pst_move_peer){.partition = partition, .node = owners->partitions[partition].node};
    }
    return count;
}

static uint32_t partition_count(const struct pst_owners *owners, uint32_t op)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < PST_MOVE_PARTITIONS_MAX; i++)
        count += owners->partitions[i].used && owners->partitions[i].op == op;
    return count;
}

bool pst_move_peers_fit(const struct pst_move_coordinator *c, uint32_t op)
{
    uint32_t upstreams = 0, downstreams = 0;
    for (uint32_t i = 0; i < c->graph->ops[op].input_count; i++)
        upstreams += partition_count(&c->owners, c->graph->ops[op].inputs[i]);
    for (uint32_t other = 0; other < c->graph->op_count; other++)
        for (uint32_t i = 0; i < c->graph->ops[other].input_count; i++)
            downstreams += c->graph->ops[other].inputs[i] == op ? partition_count(&c->owners, other) : 0;
    return upstreams <= PST_MOVE_PEERS_MAX && downstreams <= PST_MOVE_PEERS_MAX;
}

/* The operators next to a moving one do not move, so that this is the same for as long as the move runs. */
void pst_move_peers(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    const struct pst_move_record *record = &run->record;
    run->giver = (struct pst_move_peer){.partition = record->from, .node = record->from_node};
    run->taker = (struct pst_move_peer){.partition = record->to, .node = record->to_node};
    run->upstream_count = run->downstream_count = 0;
    const struct pst_move_op *op = &c->graph->ops[record->op];
    for (uint32_t i = 0; i < op->input_count; i++)
        run->upstream_count = peers_of(&c->owners, op->inputs[i], run->upstreams, run->upstream_count);
    for (uint32_t other = 0; other < c->graph->op_count; other++)
        for (uint32_t i = 0; i < c->graph->ops[other].input_count; i++)
            if (c->graph->ops[other].inputs[i] == record->op)
                run->downstream_count = peers_of(&c->owners, other, run->downstreams, run->downstream_count);
    run->digest_at = PST_MOVE_NEVER;
    run->digest_tries = 0;
}

/* ---- what players have said ---- */
static bool all(const struct pst_move_peer *peers, uint32_t count, bool (*is)(const struct pst_move_peer *peer))
{
    for (uint32_t i = 0; i < count; i++)
        if (!is(&peers[i]))
            return false;
    return true;
}

static bool each(const struct pst_move_run *run, bool (*is)(const struct pst_move_peer *peer))
{
    return is(&run->giver) && is(&run->taker) && all(run->upstreams, run->upstream_count, is) &&
           all(run->downstreams, run->downstream_count, is);
}

static bool not_full(const struct pst_move_peer *peer)
{
    return !peer->heard || (peer->flags & PST_MOVE_SAYS_FULL) == 0;
}
static bool knows(const struct pst_move_peer *peer)
{
    return !peer->heard || (peer->flags & PST_MOVE_SAYS_UNKNOWN) == 0;
}

static bool all_at(const struct pst_move_peer *peers, uint32_t count, uint8_t state)
{
    for (uint32_t i = 0; i < count; i++)
        if (!peers[i].heard || peers[i].state < state)
            return false;
    return true;
}

/* Below it every downstream has what the giver put out. */
static int64_t have(const struct pst_move_run *run)
{
    int64_t least = PST_MOVE_END;
    for (uint32_t i = 0; i < run->downstream_count; i++) {
        int64_t one = run->downstreams[i].heard ? run->downstreams[i].have : PST_MOVE_NEVER;
        least = one < least ? one : least;
    }
    return least;
}

static int64_t time_add(int64_t time, int64_t more) { return time > PST_MOVE_END - more ? PST_MOVE_END : time + more; }

static int64_t later(int64_t one, int64_t other) { return one > other ? one : other; }

static bool caught_up(const struct pst_move_coordinator *c, const struct pst_move_run *run)
{
    int64_t lag = c->graph->ops[run->record.op].span * c->graph->lag_epochs;
    return run->taker.heard && run->taker.state == PST_TAKER_CAUGHT && run->giver.heard &&
           run->giver.now <= time_add(run->taker.now, lag) && have(run) >= run->taker.time;
}

/* 1: the same, -1: not, 0: not known yet. */
static int digests(const struct pst_move_run *run)
{
    const struct pst_move_peer *giver = &run->giver, *taker = &run->taker;
    if (!giver->heard || !taker->heard || (giver->flags & taker->flags & PST_MOVE_SAYS_DIGEST) == 0 ||
        giver->digest_at != taker->digest_at)
        return 0;
    return giver->digest == taker->digest ? 1 : -1;
}

/* What a node has of an older incarnation is nothing. Without that look a recovery would be over as soon as it was written down: what
 * the nodes had last said would hold for the new incarnation. */
static pst_move_health health(const struct pst_move_coordinator *c, uint32_t node)
{
    if (c->nodes[node].health >= PST_MOVE_NODE_LOADED && c->nodes[node].incarnation != c->owners.incarnation)
        return PST_MOVE_NODE_EMPTY;
    return c->nodes[node].health;
}

static bool node_lost(const struct pst_move_coordinator *c, uint32_t node)
{
    return health(c, node) == PST_MOVE_NODE_GONE || health(c, node) == PST_MOVE_NODE_EMPTY;
}

static bool lost(const struct pst_move_coordinator *c, const struct pst_move_run *run)
{
    return !each(run, knows) || node_lost(c, run->record.to_node);
}

static bool finished(const struct pst_move_run *run)
{
    return (run->record.gone || (run->giver.heard && run->giver.state == PST_GIVER_STOPPED)) && run->taker.heard &&
           run->taker.state == PST_TAKER_SERVES && all_at(run->upstreams, run->upstream_count, PST_UPSTREAM_ONE_WAY) &&
           all_at(run->downstreams, run->downstream_count, PST_DOWNSTREAM_SETTLED);
}

static bool holds(const struct pst_move_coordinator *c, const struct pst_move_run *run, pst_move_cause cause)
{
    switch (cause) {
    case PST_MOVE_BY_RECOVERY:   /* of the whole graph: pst_move_need_of() */
    case PST_MOVE_BY_TAKEN_OVER: /* of all moves from a node at once */
    case PST_MOVE_CAUSE_COUNT:
        return false;
    case PST_MOVE_BY_CANCEL:
        return run->cancel;
    case PST_MOVE_BY_LATE:
        return c->now_ns >= run->record.deadline_ns;
    case PST_MOVE_BY_REFUSED:
        return run->taker.heard && (run->taker.flags & PST_MOVE_SAYS_REFUSED) != 0;
    case PST_MOVE_BY_FULL:
        return !each(run, not_full);
    case PST_MOVE_BY_LOST:
        return lost(c, run);
    case PST_MOVE_BY_DIFFERENT:
        return digests(run) < 0;
    case PST_MOVE_BY_ACCEPTED:
        return run->taker.heard && run->taker.state >= PST_TAKER_ASKED;
    case PST_MOVE_BY_BRANCHED:
        return run->taker.heard && run->taker.state >= PST_TAKER_OPEN &&
               all_at(run->upstreams, run->upstream_count, PST_UPSTREAM_BOTH) &&
               all_at(run->downstreams, run->downstream_count, PST_DOWNSTREAM_WATCHES);
    case PST_MOVE_BY_BEGUN:
        return run->giver.heard && run->giver.state >= PST_GIVER_IMAGES;
    case PST_MOVE_BY_CAUGHT_UP:
        return caught_up(c, run);
    case PST_MOVE_BY_AGREED:
        return digests(run) > 0;
    case PST_MOVE_BY_FINISHED:
        return finished(run);
    }
    return false;
}

/* A time for digests that neither has passed. Where one has passed it before it heard of it, the next is twice as far ahead. */
static void digest_choose(const struct pst_move_coordinator *c, struct pst_move_run *run)
{
    const struct pst_move_peer *giver = &run->giver, *taker = &run->taker;
    if (run->record.step != PST_MOVE_READY || !giver->heard || !taker->heard || giver->now == PST_MOVE_NEVER ||
        taker->now == PST_MOVE_NEVER)
        return;
    bool passed = (giver->now > run->digest_at && giver->digest_at != run->digest_at) ||
                  (taker->now > run->digest_at && taker->digest_at != run->digest_at);
    if (run->digest_at != PST_MOVE_NEVER && !passed)
        return;
    int64_t margin = c->graph->ops[run->record.op].span * c->graph->margin_epochs << run->digest_tries;
    run->digest_at = time_add(later(giver->now, taker->now), margin);
    run->digest_tries += run->digest_tries < 8;
}

pst_move_cause pst_move_cause_of(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    digest_choose(c, run);
    for (uint32_t cause = 0; cause < PST_MOVE_CAUSE_COUNT; cause++)
        if (holds(c, run, (pst_move_cause)cause) && pst_move_rule(run->record.step, (pst_move_cause)cause)->to != STAYS)
            return (pst_move_cause)cause;
    return PST_MOVE_CAUSE_COUNT;
}

pst_move_why pst_move_why_of(pst_move_cause cause)
{
    switch (cause) {
    case PST_MOVE_BY_RECOVERY:
        return PST_MOVE_WHY_RECOVERY;
    case PST_MOVE_BY_CANCEL:
        return PST_MOVE_WHY_CANCELLED;
    case PST_MOVE_BY_LATE:
        return PST_MOVE_WHY_LATE;
    case PST_MOVE_BY_REFUSED:
        return PST_MOVE_WHY_REFUSED;
    case PST_MOVE_BY_FULL:
        return PST_MOVE_WHY_FULL;
    case PST_MOVE_BY_DIFFERENT:
        return PST_MOVE_WHY_DIFFERENT;
    default:
        return PST_MOVE_WHY_LOST;
    }
}

void pst_move_record_next(const struct pst_move_coordinator *c, const struct pst_move_run *run, pst_move_cause cause,
                          struct pst_move_record *ret_record)
{
    struct pst_move_record *next = ret_record;
    *next = run->record;
    next->step = (pst_move_step)pst_move_rule(run->record.step, cause)->to;
    PST_ASSERT(next->step < PST_MOVE_STEP_COUNT);
    if (next->step == PST_MOVE_ABORTED)
        next->why = pst_move_why_of(cause);
    if (next->step == PST_MOVE_DUPLICATING)
        for (uint32_t i = 0; i < run->upstream_count; i++)
            next->since = later(next->since, run->upstreams[i].time);
    if (next->step == PST_MOVE_READY)
        next->latest = run->taker.time;
    if (cause == PST_MOVE_BY_TAKEN_OVER)
        next->gone = true;
    if (cause == PST_MOVE_BY_AGREED)
        next->cut =
            time_add(later(run->giver.now, run->taker.now), c->graph->ops[next->op].span * c->graph->margin_epochs);
}

static bool forgot(const struct pst_move_coordinator *c, const struct pst_move_peer *peer)
{
    return (peer->heard && (peer->flags & PST_MOVE_SAYS_UNKNOWN) != 0) || node_lost(c, peer->node);
}

bool pst_move_all_forgot(const struct pst_move_coordinator *c, const struct pst_move_run *run)
{
    bool nobody = forgot(c, &run->giver) && forgot(c, &run->taker);
    for (uint32_t i = 0; i < run->upstream_count; i++)
        nobody = nobody && forgot(c, &run->upstreams[i]);
    for (uint32_t i = 0; i < run->downstream_count; i++)
        nobody = nobody && forgot(c, &run->downstreams[i]);
    return nobody || MISTAKE(EARLY_UNLOCK);
}

/* ---- orders ---- */
static void order(struct pst_move_coordinator *c, const struct pst_move_run *run, pst_move_role role,
                  const struct pst_move_peer *peer)
{
    const struct pst_move_record *record = &run->record;
    struct pst_move_message message = {.kind = PST_MOVE_ORDER,
                                       .role = role,
                                       .step = record->step,
                                       .partition = peer->partition,
                                       .op = record->op,
                                       .from = record->from,
                                       .to = record->to,
                                       .from_node = record->from_node,
                                       .to_node = record->to_node,
                                       .move = record->id,
                                       .serial = record->serial,
                                       .incarnation = record->incarnation,
                                       .epoch = record->epoch,
                                       .time = record->step >= PST_MOVE_COMMITTED ? record->cut : record->since,
                                       .now = PST_MOVE_NEVER,
                                       .have = have(run),
                                       .digest_at = run->digest_at,
                                       .buckets = record->buckets};
    message.flags =
        (record->gone ? PST_MOVE_SAYS_GONE : 0u) |
        (run->giver.heard && run->giver.state == PST_GIVER_STOPPED ? PST_MOVE_SAYS_LEFT : 0u) |
        (all_at(run->downstreams, run->downstream_count, PST_DOWNSTREAM_SETTLED) ? PST_MOVE_SAYS_SETTLED : 0u);
    c->seam.send(c->seam.self, peer->node, &message);
}

/* The taker comes first: nobody sends to a lane that is not open. */
void pst_move_orders(struct pst_move_coordinator *c, struct pst_move_run *run)
{
    pst_move_step step = run->record.step;
    order(c, run, PST_MOVE_TAKER, &run->taker);
    if (step == PST_MOVE_INTENT ||
        (step == PST_MOVE_PREPARED && (!run->taker.heard || run->taker.state < PST_TAKER_OPEN)))
        return;
    order(c, run, PST_MOVE_GIVER, &run->giver);
    for (uint32_t i = 0; i < run->downstream_count; i++)
        order(c, run, PST_MOVE_DOWNSTREAM, &run->downstreams[i]);
    for (uint32_t i = 0; i < run->upstream_count; i++)
        order(c, run, PST_MOVE_UPSTREAM, &run->upstreams[i]);
}

/* ---- nodes ---- */
bool pst_move_nodes(const struct pst_move_coordinator *c, uint32_t *ret_gone, uint32_t *ret_there)
{
    bool known = true;
    *ret_gone = *ret_there = 0;
    for (uint32_t node = 0; node < PST_MOVE_NODES_MAX; node++) {
        if (health(c, node) == PST_MOVE_NODE_GONE)
            *ret_gone |= BIT(node);
        else if (health(c, node) != PST_MOVE_NODE_ABSENT)
            *ret_there |= BIT(node);
        else if (pst_owners_serves(&c->owners, node))
            known = false;
    }
    return known;
}

bool pst_move_all_loaded(const struct pst_move_coordinator *c)
{
    for (uint32_t node = 0; node < PST_MOVE_NODES_MAX; node++)
        if (pst_owners_serves(&c->owners, node) && health(c, node) < PST_MOVE_NODE_LOADED)
            return false;
    return true;
}

/* Everything that the node has is moving, and the takers have it. */
static bool covered(const struct pst_move_coordinator *c, uint32_t node)
{
    const struct pst_owners *owners = &c->owners;
    for (uint32_t i = 0; i < owners->first[owners->op_count]; i++) {
        if (owners->partitions[owners->buckets[i].partition].node != node)
            continue;
        const struct pst_move_run *run = NULL;
        for (uint32_t m = 0; m < PST_MOVES_MAX; m++)
            if (c->moves[m].used && owners->buckets[i].locked == c->moves[m].record.id)
                run = &c->moves[m];
        if (owners->buckets[i].locked == 0 || run == NULL || run->record.step != PST_MOVE_READY ||
            node_lost(c, run->record.to_node))
            return false;
    }
    return true;
}

/* A move that is committed cannot be without any of its players, but for a giver that is known to be dead. */
static bool broken(const struct pst_move_coordinator *c)
{
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        const struct pst_move_run *run = &c->moves[i];
        if (!run->used || run->record.step != PST_MOVE_COMMITTED)
            continue;
        bool giver = run->record.gone || knows(&run->giver);
        if (!giver || !knows(&run->taker) || !all(run->upstreams, run->upstream_count, knows) ||
            !all(run->downstreams, run->downstream_count, knows))
            return true;
    }
    return false;
}

pst_move_need pst_move_need_of(const struct pst_move_coordinator *c, uint32_t *ret_node)
{
    for (uint32_t node = 0; node < PST_MOVE_NODES_MAX; node++) {
        bool gone = health(c, node) == PST_MOVE_NODE_GONE;
        bool empty = health(c, node) == PST_MOVE_NODE_EMPTY && c->owners.running;
        if ((!gone && !empty) || !pst_owners_serves(&c->owners, node))
            continue;
        *ret_node = node;
        return c->owners.running && covered(c, node) ? PST_MOVE_NEEDS_TAKEOVER : PST_MOVE_NEEDS_RECOVERY;
    }
    if (broken(c))
        return PST_MOVE_NEEDS_RECOVERY;
    for (uint32_t i = 0; i < PST_MOVES_MAX; i++) {
        const struct pst_move_record *record = &c->moves[i].record;
        if (!c->moves[i].used || record->step != PST_MOVE_COMMITTED || record->gone || !node_lost(c, record->from_node))
            continue;
        *ret_node = record->from_node;
        return PST_MOVE_NEEDS_TAKEOVER;
    }
    return PST_MOVE_NEEDS_NOTHING;
}
