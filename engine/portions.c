/* portions.c - see mover.h: a large part of an operator's state moves in several moves, each with a commit of its own. So each is short: few
 * rows wait for it, little is copied that may have to be thrown away, and what has moved is forgotten before the next is copied, so that no
 * more than a portion is there twice. Where one of them is given up, what has moved before goes back. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

/* What a bucket has, as far as the coordinator was told before any of them went: what it is told later lags behind that. */
static uint64_t bytes_of_each(const struct graph_record *record, const struct wish *rest)
{
    const struct layout *layout = record->moving->layouts[rest->operator_index];
    uint32_t owned = pst_layout_owned(layout, record->graph->nodes[rest->operator_index].bucket_count, rest->from);
    const struct load *load =
        record->loads.incarnation == record->start->incarnation
            ? pst_load_find(&record->loads, false, layout->node_of[rest->from], rest->operator_index, rest->from)
            : NULL;
    return load != NULL && owned != 0 ? load->now.state_bytes / owned : 0;
}

/* Buckets that have so much state together; one at least. */
static uint32_t portion_count(const struct pst_node *node, const struct portions *portions)
{
    const struct wish *rest = &portions->rest;
    uint64_t most = node->options.stop_and_copy        ? UINT64_MAX
                    : node->options.portion_bytes != 0 ? node->options.portion_bytes
                                                       : portions->standard_bytes;
    uint64_t fit = portions->each_bytes != 0 ? most / portions->each_bytes : rest->count;
    return fit == 0 ? 1 : fit < rest->count ? (uint32_t)fit : rest->count;
}

static int next(struct pst_node *node, struct graph_record *record)
{
    struct portions *portions = &record->moving->portions;
    struct wish portion = portions->rest;
    portion.count = portion_count(node, portions);
    bool first = portions->gone_count == 0 && !portions->back;
    pst_order_begins(record, first ? (portions->rest.count - 1) / portion.count : portions->back);
    int rc = pst_moves_begin(node, record, &portion, portions->deadline_ns);
    if (rc != PST_OK)
        return rc;
    portions->rest.count -= portion.count;
    if (portions->rest.count != 0 || portions->gone_count != 0)
        pst_node_log(node, "graph %s, move %llu: %u buckets, a portion of it; %u to come%s", record->start->graph,
                     (unsigned long long)record->moving->now->message->move, portion.count, portions->rest.count,
                     portions->back ? ", on their way back" : "");
    return PST_OK;
}

/* Those that go, whatever the portions are. */
static void mark(const struct graph_record *record, const struct wish *wish, uint8_t ret_wanted[PST_BUCKETS_MAX])
{
    const struct layout *layout = record->moving->layouts[wish->operator_index];
    uint32_t bucket_count = record->graph->nodes[wish->operator_index].bucket_count, count = 0;
    memset(ret_wanted, 0, PST_BUCKETS_MAX);
    for (uint32_t b = bucket_count; b != 0 && count < wish->count; b--)
        if (layout->of[b - 1] == wish->from && (wish->marked == NULL || wish->marked[b - 1] != 0)) {
            ret_wanted[b - 1] = 1;
            count++;
        }
}

int pst_portions_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish,
                       uint64_t deadline_ns)
{
    struct portions *portions = &record->moving->portions;
    uint8_t wanted[PST_BUCKETS_MAX];
    mark(record, wish, wanted);
    memset(portions, 0, sizeof *portions);
    memcpy(portions->wanted, wanted, sizeof wanted);
    portions->rest = *wish;
    if (wish->marked != NULL)
        portions->rest.marked = portions->wanted;
    (void)snprintf(portions->node, sizeof portions->node, "%s", wish->to_node);
    portions->rest.to_node = portions->node;
    portions->origin = record->moving->layouts[wish->operator_index]->node_of[wish->from];
    portions->deadline_ns = deadline_ns;
    portions->each_bytes = bytes_of_each(record, wish);
    portions->standard_bytes =
        record->graph->nodes[wish->operator_index].enclave ? PORTION_BYTES_INSIDE : PORTION_BYTES;
    return next(node, record);
}

static void count(struct portions *portions, const Pst__MoveRecord *last)
{
    portions->moves++;
    portions->buckets += last->n_buckets;
    portions->bytes += last->bytes;
    portions->rows_lost += last->rows_lost != 0 ? last->rows_lost - 1 : 0;
    portions->uncounted |= last->rows_lost == 0;
    if (portions->longest_pause_ns < last->longest_pause_ns)
        portions->longest_pause_ns = last->longest_pause_ns;
    for (size_t i = 0; i < last->n_buckets && !portions->back; i++)
        portions->gone[last->buckets[i]] = 1;
    portions->gone_count += portions->back ? 0 : (uint32_t)last->n_buckets;
    if (portions->rest.into == NO_PARTITION) /* the rest of it goes there, too */
        portions->rest.into = last->to_partition;
}

/* What has moved goes to the partition that it came from, which has the rest. */
static int turn_back(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct portions *portions = &record->moving->portions;
    const struct wish there = portions->rest;
    portions->back = true;
    portions->error = error;
    (void)snprintf(portions->why, sizeof portions->why, "%s", why);
    (void)snprintf(portions->node, sizeof portions->node, "%s", record->start->start->nodes[portions->origin]);
    portions->rest = (struct wish){there.operator_index, there.into, portions->gone_count, there.from, portions->node,
                                   portions->gone,       false};
    return next(node, record);
}

void pst_portions_on(struct pst_node *node, struct graph_record *record, int error, const char *why)
{
    struct moving *moving = record->moving;
    struct portions *portions = &moving->portions;
    if (moving->order == NULL)
        return;
    bool goes_on = record->state == GRAPH_RUNNING && !pst_moves_any_ended(record);
    const Pst__MoveRecord *last = record->past[record->past_count - 1]->message->move_record;
    if (error == PST_OK)
        count(portions, last);
    if (last->rows_lost > 1) { /* nothing more moves, nor back */
        pst_order_on(node, record, error, why);
        return;
    }
    if (error == PST_OK) {
        bool more = portions->rest.count != 0;
        if (more)
            error = goes_on ? next(node, record) : PST_EREFUSED;
        if (more && error == PST_OK)
            return;
        why = error == PST_OK ? "" : goes_on ? pst_error_sentence(error) : "the graph is at its end";
    }
    if (error != PST_OK && portions->gone_count != 0 && !portions->back && goes_on && !pst_order_keeps(record) &&
        turn_back(node, record, error, why) == PST_OK)
        return;
    if (portions->back && error != PST_OK) {
        size_t at = strlen(portions->why);
        (void)snprintf(portions->why + at, sizeof portions->why - at,
                       "; some of it has moved, and does not come back: %.100s", why);
    }
    pst_order_on(node, record, portions->back ? portions->error : error, portions->back ? portions->why : why);
}
