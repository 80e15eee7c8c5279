/* cuts.c - see node.h: when and where a checkpoint is cut of a graph whose input several nodes read.
 *
 * With one reader that one chooses (checkpoint.c). With several none knows how far the others are, so the coordinator does it in two
 * messages: all readers are to WAIT, and each says the lowest cut above what it has sequenced, and the lowest that it still can take. The
 * least of the former is above all that a partition can have come to; that, or the highest of the latter, is TOLD to all, and they go on.
 * Nothing hangs on this but that it succeeds: whoever waits for too long goes on by himself, and who is told a cut that he
 * has passed by then has no part of the checkpoint, which is given up (checkpoint.h, C6).
 *
 * Nothing is kept of it in the store. A reader that is at work for a cut already says so instead, and where it is: then all others are
 * told that one (again), as it may be of another coordinator, or a message may have been lost. */
#include "engine/checkpoint.h"
#include "engine/mover.h"

#include <string.h>

static uint64_t now_ns(const struct pst_node *node) { return node->world->now_ns(node->world->self); }

bool pst_cuts_wanted(const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    return start->n_source_nodes > 1 && start->checkpoint_every_ns != 0;
}

static void tell(struct pst_node *node, struct graph_record *record, Pst__CutKind kind, uint64_t id, int64_t time)
{
    const Pst__Start *start = record->start->start;
    Pst__Cut cut = PST__CUT__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    cut.kind = kind;
    cut.checkpoint = id;
    cut.time = time;
    cut.complete = record->complete;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_CUT;
    message.cut = &cut;
    for (size_t i = 0; i < start->n_source_nodes; i++)
        pst_coordinator_tell(node, start->source_nodes[i], &message);
}

/* Nobody waits any more; the next one is tried when it is due. */
static void over(struct pst_node *node, struct graph_record *record)
{
    struct cutting *cutting = &record->cutting;
    bool asked = record->stop_to != NULL;
    cutting->id = 0;
    cutting->due_ns = now_ns(node) + (asked ? pst_cut_again_ns(node) : record->start->start->checkpoint_every_ns);
    node->any = true;
}

static void give_up(struct pst_node *node, struct graph_record *record)
{
    uint64_t id = record->cutting.id;
    if (id == 0 || record->cutting.incarnation != record->start->incarnation)
        return;
    over(node, record);
    tell(node, record, PST__CUT_KIND__GO_ON, id, 0);
}

void pst_cuts_ask(struct graph_record *record) { record->cutting.due_ns = 0; }

const char *pst_cuts_stranger(struct pst_node *node, const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    for (uint32_t i = 0; i < start->n_nodes && pst_cuts_wanted(record); i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->nodes[i]);
        if (!record->left[i] && pst_start_has_place(start, i) && member != NULL && member->alive && !member->waits)
            return start->nodes[i];
    }
    return NULL;
}

/* Whoever has asked for a stop before it came is told. */
static void strange(struct pst_node *node, struct graph_record *record, const char *name)
{
    char why[sizeof record->given_up + 60];
    (void)snprintf(record->given_up, sizeof record->given_up,
                   "node %s is of an earlier version, which has no checkpoints where several nodes read", name);
    (void)snprintf(why, sizeof why, "there is no savepoint, and the graph goes on: %s", record->given_up);
    pst_coordinator_stop_forget(node, record, PST_EREFUSED, why);
}

/* Nobody is to wait for one that is not there at this moment. */
static bool all_connected(struct pst_node *node, const struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    bool all = true;
    for (size_t i = 0; i < start->n_source_nodes; i++) {
        const struct member *member = pst_coordinator_member(node->duty, start->source_nodes[i]);
        all &= member != NULL && member->alive && member->lost_ns == 0;
    }
    return all;
}

static void begin(struct pst_node *node, struct graph_record *record)
{
    struct cutting *cutting = &record->cutting;
    const char *name = pst_cuts_stranger(node, record);
    if (name != NULL)
        strange(node, record, name);
    if (name != NULL || !all_connected(node, record)) {
        over(node, record);
        return;
    }
    cutting->id = ++cutting->last;
    cutting->low = INT64_MIN;
    cutting->least = INT64_MAX;
    memset(cutting->answered, 0, sizeof cutting->answered);
    cutting->until_ns = now_ns(node) + pst_cut_wait_ns(node);
    tell(node, record, PST__CUT_KIND__WAIT, cutting->id, 0);
}

/* All have said how far they are. Where one has read nothing yet, or nothing is left to read, there is nothing to cut. */
static void choose(struct pst_node *node, struct graph_record *record)
{
    struct cutting *cutting = &record->cutting;
    uint64_t id = cutting->id;
    int64_t time = cutting->low > cutting->least ? cutting->low : cutting->least;
    if (cutting->least == INT64_MIN || time == INT64_MAX) {
        give_up(node, record);
        return;
    }
    pst_node_log(node, "graph %s, incarnation %llu: checkpoint %016llx is cut at event time %lld", record->start->graph,
                 (unsigned long long)record->start->incarnation, (unsigned long long)id, (long long)time);
    over(node, record);
    tell(node, record, PST__CUT_KIND__TELL, id, time);
}

void pst_cuts_on(struct pst_node *node, struct graph_record *record, const char *name, const Pst__CutAnswer *answer)
{
    struct cutting *cutting = &record->cutting;
    const Pst__Start *start = record->start->start;
    size_t index = 0, answers = 0;
    if (cutting->id == 0 || cutting->incarnation != record->start->incarnation || answer->checkpoint != cutting->id ||
        pst_checkpoint_incarnation(answer->last) != cutting->incarnation) /* C5: the next one would be of none */
        return;
    while (index < start->n_source_nodes && strcmp(start->source_nodes[index], name) != 0)
        index++;
    if (index == start->n_source_nodes)
        return;
    cutting->last = answer->last > cutting->last ? answer->last : cutting->last;
    if (answer->under_way || answer->last >= cutting->id) {
        give_up(node, record);
        if (answer->under_way)
            tell(node, record, PST__CUT_KIND__TELL, answer->last, answer->time);
        return;
    }
    cutting->answered[index] = true;
    cutting->low = answer->low > cutting->low ? answer->low : cutting->low;
    if (!answer->ended && answer->time < cutting->least)
        cutting->least = answer->time;
    for (size_t i = 0; i < start->n_source_nodes; i++)
        answers += cutting->answered[i];
    if (answers == start->n_source_nodes)
        choose(node, record);
}

/* Something else is decided about it, or it is at its end. */
static bool may_begin(const struct graph_record *record)
{
    return record->state == GRAPH_RUNNING && !record->restored && !record->saving && !record->begins &&
           record->settling == 0 && !pst_moves_rest(record) && !pst_moves_any_ended(record);
}

/* `status` says who was waited for in vain. */
static void given_up(struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    size_t i = 0;
    while (i < start->n_source_nodes && record->cutting.answered[i])
        i++;
    if (i < start->n_source_nodes)
        (void)snprintf(record->given_up, sizeof record->given_up,
                       "node %s has not said in time how far it has read its input", start->source_nodes[i]);
}

static void record_step(struct pst_node *node, struct graph_record *record)
{
    struct cutting *cutting = &record->cutting;
    uint64_t now = now_ns(node);
    if (cutting->incarnation != record->start->incarnation) {
        *cutting = (struct cutting){.incarnation = record->start->incarnation,
                                    .last = record->start->incarnation << 32,
                                    .due_ns = now + record->start->start->checkpoint_every_ns};
        if (record->stop_to != NULL)
            cutting->due_ns = now;
    }
    if (cutting->id != 0 && now >= cutting->until_ns)
        given_up(record);
    if (cutting->id != 0 && (now >= cutting->until_ns || !may_begin(record)))
        give_up(node, record);
    if (cutting->id == 0 && now >= cutting->due_ns && may_begin(record))
        begin(node, record);
    if (may_begin(record))
        (void)node->world->alarm(node->world->self, 0, cutting->id != 0 ? cutting->until_ns : cutting->due_ns);
}

/* Where moves follow each other there would be none else. */
bool pst_cuts_first(struct pst_node *node, struct graph_record *record)
{
    if (pst_cuts_wanted(record))
        record_step(node, record);
    return record->cutting.id != 0;
}

void pst_cuts_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->duty->graph_count; i++)
        if (pst_cuts_wanted(node->duty->graphs[i]))
            record_step(node, node->duty->graphs[i]);
}
