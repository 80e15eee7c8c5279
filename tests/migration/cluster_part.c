/* cluster_part.c - partitions: take frames, count rows in, end epochs, put out; and what players of moves have them do. See
 * cluster.h. */
#include "tests/migration/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cluster *in(struct node *node) { return node->cluster; }
static uint32_t ups(struct node *node, const struct part *part)
{
    return part->op == OP_SOURCE ? 0 : bucket_count(&in(node)->model, part->op - 1);
}
static bool has(const struct part *part, uint32_t bucket) { return (part->mine >> bucket & 1) != 0; }

struct part *part_find(struct node *node, uint32_t id, uint64_t serial)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL && node->parts[i]->id == id && node->parts[i]->serial == serial)
            return node->parts[i];
    return NULL;
}

struct part *part_of_player(struct node *node, const struct pst_move_player *player)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL && node->parts[i]->id == player->partition)
            return node->parts[i];
    return NULL;
}

struct part *part_new(struct node *node, uint32_t id, uint32_t op, uint64_t serial, const struct routes *routes)
{
    uint32_t slot = 0;
    /* A number is given again when the move that emptied its partition is DONE: nobody needs that one any more. */
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL && node->parts[i]->id == id) {
            if (node->parts[i]->mine != 0)
                broken(in(node), "node %u has a partition %u already", node->index, id);
            part_free(node, node->parts[i]);
        }
    while (slot < NODE_PARTS_MAX && node->parts[slot] != NULL)
        slot++;
    if (slot == NODE_PARTS_MAX)
        broken(in(node), "node %u has too many partitions", node->index);
    struct part *part = node->parts[slot] = calloc(1, sizeof *part);
    PST_ASSERT(part != NULL);
    part->used = true;
    part->id = id;
    part->op = op;
    part->serial = serial;
    part->life = ++in(node)->order;
    part->cut = part->put_from = PST_MOVE_NEVER;
    part->now = part->done = part->begun_at = part->useless = part->kept_from = PST_MOVE_NEVER;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        part->mark[i] = PST_MOVE_NEVER;
        part->mark_serial[i] = routes->serials[i];
    }
    for (uint32_t b = 0; b < BUCKETS; b++) {
        part->at[b] = part->image_time[b] = PST_MOVE_NEVER;
        part->in_from[b] = part->in_stopped[b] = PST_MOVE_NEVER;
        if (op != OP_SOURCE) {
            part->in_owner[b] = routes->partition[op - 1][b];
            pst_move_marks_init(&part->marks[b], routes->epoch[op - 1][b]);
        }
        if (op != OP_SINK)
            part->out_owner[b] = routes->partition[op + 1][op + 1 == OP_SINK ? 0 : b];
    }
    return part;
}

void part_free(struct node *node, struct part *part)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] == part)
            node->parts[i] = NULL;
    free(part);
}

void part_schedule(struct node *node, struct part *part)
{
    if (part->scheduled)
        return;
    part->scheduled = true;
    uint64_t wait = 20 + cluster_random(in(node), node->step_us_max);
    if (part->op == OP_SOURCE)
        wait += 8000 + cluster_random(in(node), 6000);
    event_add(
        in(node),
        &(struct event){
            .at_us = in(node)->now_us + wait, .kind = EVENT_STEP, .a = node->index, .b = part->id, .life = part->life});
}

/* ---- out ---- */
static struct out *out_find(struct part *part, uint32_t to, uint64_t serial)
{
    for (uint32_t i = 0; i < 12; i++)
        if (part->outs[i].used && part->outs[i].to == to && part->outs[i].serial == serial)
            return &part->outs[i];
    return NULL;
}

static struct out *out_new(struct node *node, struct part *part, uint32_t to, uint32_t to_node, uint64_t serial)
{
    for (uint32_t i = 0; i < 12; i++)
        if (!part->outs[i].used) {
            part->outs[i].used = true;
            part->outs[i].branch = part->outs[i].bound = false;
            part->outs[i].to = to;
            part->outs[i].node = to_node;
            part->outs[i].serial = serial;
            part->outs[i].move = 0;
            part->outs[i].marked = PST_MOVE_NEVER;
            part->outs[i].credits = CREDITS;
            part->outs[i].count = 0;
            return &part->outs[i];
        }
    broken(in(node), "partition %u has too many channels", part->id);
}

void part_outs(struct node *node, struct part *part, const struct routes *routes)
{
    if (part->op == OP_SINK)
        return;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        uint32_t to = part->out_owner[b];
        if (out_find(part, to, routes->serials[to]) == NULL)
            out_new(node, part, to, routes->node[to], routes->serials[to]);
    }
}

static void out_flush(struct node *node, struct part *part, struct out *out)
{
    uint32_t sent = 0;
    while (sent < out->count && (out->queue[sent].kind != FRAME_ROWS || out->credits != 0)) {
        out->credits -= out->queue[sent].kind == FRAME_ROWS;
        out->queue[sent].incarnation = node->incarnation;
        net_frame(in(node), node->index, out->node, &out->queue[sent++]);
    }
    if (sent != 0) {
        out->count -= sent;
        memmove(out->queue, out->queue + sent, out->count * sizeof out->queue[0]);
    }
    (void)part;
}

static struct frame *out_frame(struct node *node, struct part *part, struct out *out, enum frame_kind kind,
                               int64_t mark)
{
    if (out->count == 64)
        broken(in(node), "partition %u: the queue to %u is over its bound", part->id, out->to);
    struct frame *frame = &out->queue[out->count++];
    frame->kind = kind;
    frame->from = part->id;
    frame->to = out->to;
    frame->from_serial = part->serial;
    frame->to_serial = out->serial;
    frame->mark = mark;
    frame->move = part->move;
    frame->gone = false;
    frame->count = 0;
    return frame;
}

static void out_row(struct node *node, struct part *part, struct out *out, const struct row *row)
{
    struct frame *last = out->count != 0 ? &out->queue[out->count - 1] : NULL;
    if (last == NULL || last->kind != FRAME_ROWS || last->count == ROWS_MAX)
        last = out_frame(node, part, out, FRAME_ROWS, out->marked);
    last->rows[last->count++] = *row;
}

/* To whoever has the bucket; and, where that moves, to the lane. */
static void row_put(struct node *node, struct part *part, const struct row *row)
{
    uint32_t bucket = part->op == OP_B ? 0 : row->key % BUCKETS;
    for (uint32_t i = 0; i < 12; i++) {
        struct out *out = &part->outs[i];
        if (!out->used)
            continue;
        if (!out->branch) {
            if (out->to == part->out_owner[bucket])
                out_row(node, part, out, row);
            continue;
        }
        const struct pst_move_player *player = pst_move_find(&node->players, out->move, PST_MOVE_UPSTREAM, part->id);
        if (player != NULL && pst_move_set_has(&player->buckets, bucket) && row->time >= player->time)
            out_row(node, part, out, row);
    }
}

static void marks_put(struct node *node, struct part *part, int64_t mark)
{
    for (uint32_t i = 0; i < 12; i++) {
        struct out *out = &part->outs[i];
        if (!out->used)
            continue;
        if (mark > out->marked && out->count != 0 && out->queue[out->count - 1].kind == FRAME_MARK)
            out->queue[out->count - 1].mark = mark;
        else if (mark > out->marked)
            (void)out_frame(node, part, out, FRAME_MARK, mark);
        out->marked = mark > out->marked ? mark : out->marked;
        out_flush(node, part, out);
    }
}

static void told_all(struct node *node, struct part *part, enum frame_kind kind, int64_t time, uint64_t move, bool gone)
{
    for (uint32_t i = 0; i < 12; i++)
        if (part->outs[i].used) {
            struct frame *frame = out_frame(node, part, &part->outs[i], kind, time);
            frame->move = move;
            frame->gone = gone;
            out_flush(node, part, &part->outs[i]);
        }
}

static struct pst_move_player *branch_player(struct node *node, const struct part *part, const struct out *out)
{
    return pst_move_find(&node->players, out->move, PST_MOVE_UPSTREAM, part->id);
}

/* Must the partition wait before it makes more? A branch holds up nobody before it is bound, or over its bound. */
static bool blocked(struct node *node, struct part *part)
{
    for (uint32_t i = 0; i < 12; i++) {
        struct out *out = &part->outs[i];
        if (!out->used)
            continue;
        if ((!out->branch || out->bound) && out->count >= QUEUE_BLOCKED)
            return true;
        if (!out->branch || out->bound)
            continue;
        struct pst_move_player *player = branch_player(node, part, out);
        if (player != NULL && player->state == PST_UPSTREAM_HELD)
            return true;
        if (player != NULL && out->count >= in(node)->branch_max && MISTAKE(BRANCH_DROPS)) {
            out->count = 0;
            player->full = true;
        } else if (player != NULL && out->count >= in(node)->branch_max) {
            pst_move_tell(player, PST_MOVE_ON_FULL, &(struct pst_move_fact){0});
            return true;
        }
    }
    return false;
}

/* ---- in ---- */
static int64_t in_mark(const struct part *part, uint32_t bucket)
{
    int64_t giver = part->mark[part->in_owner[bucket]];
    if (part->in_stopped[bucket] != PST_MOVE_NEVER && giver > part->in_stopped[bucket])
        giver = part->in_stopped[bucket];
    if (!part->in_started[bucket] || giver < part->in_from[bucket])
        return giver;
    int64_t taker = part->mark[part->in_other[bucket]];
    return taker > giver ? taker : giver;
}

static void now_raise(struct node *node, struct part *part)
{
    int64_t least = PST_MOVE_END;
    for (uint32_t b = 0; b < ups(node, part); b++) {
        int64_t mark = in_mark(part, b);
        least = mark < least ? mark : least;
    }
    part->now = least > part->now ? least : part->now;
}

static uint32_t pending_index(struct part *part, uint32_t bucket, int64_t time)
{
    /* Only a planted mistake lets a row in that is below what the bucket has seen. */
    if (part->at[bucket] != PST_MOVE_NEVER && time < part->at[bucket])
        time = part->at[bucket];
    return time >= (int64_t)SPAN * EPOCHS_MAX ? EPOCHS_MAX : (uint32_t)(time / SPAN);
}

static void row_take(struct node *node, struct part *part, const struct row *row)
{
    struct pst_move_marks *marks = &part->marks[row->bucket];
    if (!pst_move_accept(marks, row->epoch, row->time, row->number)) {
        in(node)->rows_repeated++;
        return;
    }
    uint64_t *bits = &part->accepted[row->bucket][row->number / 64];
    if (row->number >= 1024 || (*bits >> (row->number % 64) & 1) != 0)
        broken(in(node), "partition %u takes %u.%u.%u twice", part->id, row->op, row->bucket, row->number);
    *bits |= (uint64_t)1 << (row->number % 64);
    uint32_t bucket = part->op == OP_SINK ? 0 : row->key % BUCKETS;
    if (!has(part, bucket))
        return; /* it has left */
    if (part->op == OP_SINK) {
        if (part->line_count == 256)
            broken(in(node), "the sink's rows are over their bound");
        part->lines[part->line_count++] = *row;
        return;
    }
    if (!pst_move_wanted(part->image_time[bucket], row->time) ||
        (part->at[bucket] == PST_MOVE_NEVER && !pst_move_wanted(part->useless, row->time)))
        return;
    if (part->at[bucket] != PST_MOVE_NEVER && row->time < part->at[bucket] && !MISTAKE(NO_VECTOR) && !MISTAKE(NO_EPOCH))
        broken(in(node), "partition %u: row %u.%u.%u of %lld comes behind %lld", part->id, row->op, row->bucket,
               row->number, (long long)row->time, (long long)part->at[bucket]);
    struct pending *pending = &part->pending[bucket][pending_index(part, bucket, row->time)];
    pending->sum += row_digest(row);
    pending->count++;
    part->pending_rows++;
}

static struct pst_move_player *downstream(struct node *node, const struct part *part, uint64_t move)
{
    return pst_move_find(&node->players, move, PST_MOVE_DOWNSTREAM, part->id);
}

static void mark_take(struct node *node, struct part *part, const struct frame *frame, int64_t mark)
{
    if (mark > part->mark[frame->from])
        part->mark[frame->from] = mark;
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++) {
        struct pst_move_player *player = &node->players.players[i];
        if (player->all != NULL && player->role == PST_MOVE_DOWNSTREAM && player->partition == part->id &&
            player->to == frame->from &&
            (player->state == PST_DOWNSTREAM_STARTED || player->state == PST_DOWNSTREAM_BOTH))
            pst_move_tell(player, PST_MOVE_ON_COVERED, &(struct pst_move_fact){.time = part->mark[frame->from]});
    }
}

static void start_take(struct node *node, struct part *part, const struct frame *frame)
{
    struct pst_move_player *player = downstream(node, part, frame->move);
    if (player == NULL && frame->from_serial != part->mark_serial[frame->from])
        broken(in(node), "partition %u hears START of move %llu, which it does not know", part->id,
               (unsigned long long)frame->move);
    if (player == NULL)
        return; /* said again for a giver that died when this partition had settled: it has all of it */
    part->mark_serial[frame->from] = frame->from_serial;
    part->mark[frame->from] = frame->mark;
    pst_move_tell(player, PST_MOVE_ON_START, &(struct pst_move_fact){.time = frame->mark, .gone = frame->gone});
}

static void stop_take(struct node *node, struct part *part, const struct frame *frame)
{
    struct pst_move_player *player = downstream(node, part, frame->move);
    if (player == NULL)
        return; /* thought dead, and long forgotten */
    if (player->state != PST_DOWNSTREAM_SETTLED)
        for (uint32_t b = 0; b < BUCKETS; b++)
            if (pst_move_set_has(&player->buckets, b))
                part->in_stopped[b] = frame->mark;
    pst_move_tell(player, PST_MOVE_ON_STOP, &(struct pst_move_fact){.time = frame->mark});
}

static void cut_take(struct node *node, struct part *part, int64_t time)
{
    if (time <= part->cut || (part->done != PST_MOVE_NEVER && time <= part->done))
        return;
    part->cut = time;
    if (part->op != OP_SINK && (!part->lane || part->speaks))
        told_all(node, part, FRAME_CUT, time, 0, false);
}

static void frame_take(struct node *node, struct part *part, const struct frame *frame)
{
    if (frame->kind == FRAME_START) {
        start_take(node, part, frame);
        return;
    }
    if (frame->from_serial != part->mark_serial[frame->from])
        return; /* of a partition that had this number before */
    if (frame->kind == FRAME_STOP)
        stop_take(node, part, frame);
    else if (frame->kind == FRAME_CUT)
        cut_take(node, part, frame->mark);
    for (uint32_t i = 0; i < frame->count && frame->kind == FRAME_ROWS; i++)
        row_take(node, part, &frame->rows[i]);
    if (frame->kind == FRAME_MARK)
        mark_take(node, part, frame, frame->mark);
}

/* Back to who sent it: the ring has room again. */
static void grant(struct node *node, const struct part *part, const struct frame *frame, uint32_t from_node)
{
    struct frame back = {.kind = FRAME_GRANT,
                         .incarnation = node->incarnation,
                         .from = part->id,
                         .to = frame->from,
                         .from_serial = part->serial,
                         .to_serial = frame->from_serial,
                         .count = 1};
    net_frame(in(node), node->index, from_node, &back);
}

static bool lane_full(const struct part *part) { return part->lane && part->pending_rows >= LANE_ROWS_MAX; }

static void full_say(struct node *node, struct part *part)
{
    struct pst_move_player *player = pst_move_find(&node->players, part->move, PST_MOVE_TAKER, part->id);
    if (player != NULL && !player->full && player->state >= PST_TAKER_OPEN && player->state <= PST_TAKER_CAUGHT)
        pst_move_tell(player, PST_MOVE_ON_FULL, &(struct pst_move_fact){0});
}

static void frames_take(struct node *node, struct part *part)
{
    for (uint32_t n = 0; n < 64 && part->frame_count != 0; n++) {
        struct frame *frame = &part->frames[part->frame_first];
        /* A lane that speaks is nobody's branch any more: it goes on as epochs end. */
        if (frame->kind == FRAME_ROWS && lane_full(part) && !part->speaks) {
            full_say(node, part);
            return;
        }
        frame_take(node, part, frame);
        if (frame->kind == FRAME_ROWS)
            grant(node, part, frame, frame->from_node);
        part->frame_first = (part->frame_first + 1) % RING;
        part->frame_count--;
    }
}

/* Marks need no credit: of several in a row of one channel the last is enough. */
static bool mark_joined(struct part *part, const struct frame *frame)
{
    for (uint32_t i = part->frame_count; i-- > 0 && frame->kind == FRAME_MARK;) {
        struct frame *last = &part->frames[(part->frame_first + i) % RING];
        if (last->from != frame->from)
            continue;
        if (last->kind != FRAME_MARK || last->from_serial != frame->from_serial)
            return false;
        last->mark = frame->mark;
        return true;
    }
    return false;
}

void part_frame(struct node *node, const struct frame *frame)
{
    if (!pst_move_fresh(node->incarnation, frame->incarnation))
        return;
    struct part *part = part_find(node, frame->to, frame->to_serial);
    if (part == NULL)
        return; /* it was a lane, or has left */
    if (frame->kind == FRAME_GRANT) {
        struct out *out = out_find(part, frame->from, frame->from_serial);
        if (out != NULL) {
            out->credits += frame->count;
            out_flush(node, part, out);
            part_schedule(node, part);
        }
        return;
    }
    if (mark_joined(part, frame))
        return;
    if (part->frame_count == RING)
        broken(in(node), "partition %u: its ring is over its bound", part->id);
    part->frames[(part->frame_first + part->frame_count++) % RING] = *frame;
    part_schedule(node, part);
}

/* ---- ends of epochs ---- */
static void state_check(struct node *node, const struct part *part, uint32_t b)
{
    uint32_t epoch = part->at[b] >= (int64_t)SPAN * EPOCHS_MAX ? EPOCHS_MAX : (uint32_t)(part->at[b] / SPAN);
    const struct bucket *wanted = &in(node)->model.buckets[part->op][b][epoch];
    if (wanted->chain != part->buckets[b].chain || wanted->counter != part->buckets[b].counter)
        broken(in(node), "node %u, partition %u: bucket %u.%u at %lld is not what the rows make of it", node->index,
               part->id, part->op, b, (long long)part->at[b]);
}

static void kept_add(struct node *node, struct part *part, const struct row *row)
{
    if (row->time < part->kept_from)
        return; /* every downstream has it from the giver */
    if (part->kept_count >= KEPT_MAX + (part->speaks ? 80 : 16))
        broken(in(node), "partition %u keeps more than its bound", part->id);
    part->kept[part->kept_count++] = *row;
}

static void bucket_step(struct node *node, struct part *part, uint32_t b)
{
    struct row rows[3] = {{0}};
    uint32_t epoch = (uint32_t)(part->at[b] / SPAN);
    struct pending *pending = &part->pending[b][epoch];
    uint32_t count = bucket_apply(&part->buckets[b], part->op, b, pending, part->at[b] + SPAN, rows);
    part->pending_rows -= pending->count;
    *pending = (struct pending){0};
    part->at[b] += SPAN;
    if (epoch + 1 >= EPOCHS_MAX)
        part->at[b] = PST_MOVE_END;
    state_check(node, part, b);
    for (uint32_t i = 0; i < count; i++) {
        rows[i].epoch = part->out_epoch[b];
        if (!part->lane || (part->speaks && rows[i].time >= part->put_from))
            row_put(node, part, &rows[i]);
        else
            kept_add(node, part, &rows[i]);
    }
}

static void image_bring(struct node *node, struct part *part, uint32_t b)
{
    if (part->cut == PST_MOVE_NEVER || part->at[b] != part->cut || part->cut >= (int64_t)SPAN * EPOCHS_MAX)
        return;
    in(node)->images[part->op][part->cut / SPAN] |= (uint16_t)(1u << b);
}

static int64_t done_of(const struct part *part)
{
    int64_t least = PST_MOVE_END;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (has(part, b) && part->at[b] < least)
            least = part->at[b];
    return least;
}

static uint64_t digest_of(const struct part *part, const struct pst_move_set *buckets)
{
    uint64_t sum = 0;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (pst_move_set_has(buckets, b))
            sum += mix(mix(part->buckets[b].chain + b) ^ part->buckets[b].counter);
    return sum;
}

static bool all_at(const struct part *part, const struct pst_move_set *buckets, int64_t time)
{
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (pst_move_set_has(buckets, b) && (!has(part, b) || part->at[b] != time))
            return false;
    return true;
}

/* ---- what players wish, at an epoch's end ---- */
static void digest_grant(struct node *node, struct part *part, struct pst_move_player *player, struct wish *wish)
{
    if (!wish->digest || part->done < wish->digest_at)
        return;
    wish->digest = false;
    if (all_at(part, &player->buckets, wish->digest_at) &&
        (player->state == PST_GIVER_COPIED || player->role == PST_MOVE_TAKER))
        pst_move_tell(player, PST_MOVE_ON_DIGEST,
                      &(struct pst_move_fact){.time = wish->digest_at,
                                              .digest = digest_of(part, &player->buckets) +
                                                        (player->role == PST_MOVE_TAKER && in(node)->lies)});
}

static void image_grant(struct node *node, struct part *part, struct pst_move_player *player, struct wish *wish)
{
    if (!wish->image || part->done < wish->since)
        return;
    uint32_t hot = BUCKETS;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (pst_move_set_has(&wish->left, b) && part->at[b] == part->done &&
            (hot == BUCKETS || part->buckets[b].counter > part->buckets[hot].counter))
            hot = b;
    if (hot == BUCKETS)
        return; /* the images' times do not go back */
    wish->image = false;
    wish->taken = part->buckets[hot];
    pst_move_tell(player, PST_MOVE_ON_IMAGE,
                  &(struct pst_move_fact){
                      .time = part->at[hot], .bucket = hot, .count = 1 + (uint32_t)cluster_random(in(node), 7)});
}

static void leave_grant(struct node *node, struct part *part, struct pst_move_player *player, struct wish *wish)
{
    if (!wish->leave || part->done < wish->leave_at)
        return;
    wish->leave = false;
    int64_t at = part->done;
    told_all(node, part, FRAME_STOP, at, player->move, false);
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (pst_move_set_has(&player->buckets, b)) {
            part->mine &= ~(1u << b);
            for (uint32_t epoch = 0; epoch <= EPOCHS_MAX; epoch++) {
                part->pending_rows -= part->pending[b][epoch].count;
                part->pending[b][epoch] = (struct pending){0};
            }
        }
    pst_move_tell(player, PST_MOVE_ON_LEFT, &(struct pst_move_fact){.time = at});
}

static void wishes_grant(struct node *node, struct part *part)
{
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++) {
        struct pst_move_player *player = &node->players.players[i];
        if (player->all == NULL || player->partition != part->id ||
            (player->role != PST_MOVE_GIVER && player->role != PST_MOVE_TAKER))
            continue;
        struct wish *wish = &node->wishes[i];
        digest_grant(node, part, player, wish);
        if (player->all != NULL)
            image_grant(node, part, player, wish);
        if (player->all != NULL)
            leave_grant(node, part, player, wish);
    }
}

static bool kept_full(struct node *node, struct part *part)
{
    /* After the commit it must come to the cut: what it makes until then is little. */
    if (!part->lane || part->kept_count < KEPT_MAX || part->speaks)
        return false;
    full_say(node, part);
    return true;
}

/* All buckets that are furthest behind go one epoch on. True: there may be more to do. */
static bool epoch_step(struct node *node, struct part *part)
{
    int64_t least = PST_MOVE_END;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (has(part, b) && part->at[b] != PST_MOVE_NEVER && part->at[b] < least)
            least = part->at[b];
    if (least == PST_MOVE_END || part->now == PST_MOVE_NEVER ||
        (part->now != PST_MOVE_END && least + SPAN > part->now) || kept_full(node, part))
        return false;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (has(part, b) && part->at[b] == least) {
            bucket_step(node, part, b);
            image_bring(node, part, b);
        }
    part->done = done_of(part);
    return true;
}

static bool epochs_end(struct node *node, struct part *part)
{
    wishes_grant(node, part);
    for (uint32_t n = 0; n < 6; n++) {
        if (blocked(node, part) || !epoch_step(node, part))
            return false;
        wishes_grant(node, part);
        if (!part->lane || part->speaks)
            marks_put(node, part, part->done);
    }
    return true;
}

/* ---- sources ---- */
static int64_t source_mark(struct node *node, const struct part *part)
{
    int64_t least = PST_MOVE_END;
    for (uint32_t s = 0; s < SOURCES_MAX; s++)
        if (has(part, s) && in(node)->model.least_after[s][part->position[s]] < least)
            least = in(node)->model.least_after[s][part->position[s]];
    return least;
}

static int64_t source_most(struct node *node, const struct part *part)
{
    int64_t most = -1;
    for (uint32_t s = 0; s < SOURCES_MAX; s++)
        if (has(part, s) && in(node)->model.most_before[s][part->position[s]] > most)
            most = in(node)->model.most_before[s][part->position[s]];
    return most;
}

static void source_step(struct node *node, struct part *part)
{
    const struct model *model = &in(node)->model;
    if (!node->runs)
        return;
    for (uint32_t s = 0; s < SOURCES_MAX && !blocked(node, part); s++)
        for (uint32_t n = 0; n < 2 && has(part, s) && part->position[s] < model->row_count[s]; n++) {
            struct row row = model->rows[s][part->position[s]++];
            row.epoch = part->out_epoch[s];
            if (row.time >= part->begun_at)
                row_put(node, part, &row);
        }
    int64_t mark = source_mark(node, part);
    marks_put(node, part, mark == PST_MOVE_END ? mark : epoch_begin(mark));
    if (part->cut != PST_MOVE_NEVER && mark >= part->cut && part->cut < (int64_t)SPAN * EPOCHS_MAX)
        in(node)->images[OP_SOURCE][part->cut / SPAN] |= (uint16_t)part->mine;
    part->done = mark;
    if (mark != PST_MOVE_END)
        part_schedule(node, part);
}

void part_cut(struct node *node, int64_t time)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++) {
        struct part *part = node->parts[i];
        if (part == NULL || part->op != OP_SOURCE || time <= part->cut || time <= source_most(node, part) ||
            source_mark(node, part) >= time)
            continue;
        part->cut = time;
        told_all(node, part, FRAME_CUT, time, 0, false);
    }
}

/* ---- the sink ---- */
static void sink_epoch(struct node *node, struct part *part)
{
    struct cluster *cluster = in(node);
    char line[64];
    struct row now[256];
    uint32_t count = 0, rest = 0;
    for (uint32_t i = 0; i < part->line_count; i++)
        if (part->lines[i].time < part->at[0] + SPAN)
            now[count++] = part->lines[i];
        else
            part->lines[rest++] = part->lines[i];
    part->line_count = rest;
    qsort(now, count, sizeof now[0], row_compare);
    for (uint32_t i = 0; i < count && cluster->sink_incarnation == node->incarnation; i++) {
        uint32_t bytes = (uint32_t)row_line(&now[i], line);
        if (cluster->sink_bytes + bytes > cluster->model.sink_bytes ||
            memcmp(cluster->model.sink + cluster->sink_bytes, line, bytes) != 0)
            broken(cluster, "the sink's line at byte %u is %s", cluster->sink_bytes, line);
        cluster->sink_bytes += bytes;
    }
    part->at[0] += SPAN;
    uint32_t epoch = (uint32_t)(part->at[0] / SPAN);
    if (cluster->sink_incarnation == node->incarnation && cluster->sink_bytes != cluster->model.sink_bytes_at[epoch])
        broken(cluster, "the sink lacks lines at %lld", (long long)part->at[0]);
    if (epoch >= EPOCHS_MAX)
        part->at[0] = PST_MOVE_END;
    image_bring(node, part, 0);
    part->done = part->at[0];
}

static void sink_step(struct node *node, struct part *part)
{
    for (uint32_t n = 0; n < 32; n++) {
        if (part->at[0] == PST_MOVE_END || part->now == PST_MOVE_NEVER ||
            (part->now != PST_MOVE_END && part->at[0] + SPAN > part->now))
            return;
        sink_epoch(node, part);
    }
    part_schedule(node, part);
}

void part_step(struct node *node, struct part *part)
{
    part->scheduled = false;
    if (part->op == OP_SOURCE) {
        source_step(node, part);
        return;
    }
    frames_take(node, part);
    now_raise(node, part);
    if (part->op == OP_SINK)
        sink_step(node, part);
    else if (epochs_end(node, part))
        part_schedule(node, part);
    if (part->frame_count != 0 &&
        (part->frames[part->frame_first].kind != FRAME_ROWS || !lane_full(part) || part->speaks))
        part_schedule(node, part);
}

/* ---- the actions of players ---- */
void part_branch(struct node *node, struct pst_move_player *player, struct pst_move_action *action)
{
    struct part *part = part_of_player(node, player);
    if (part == NULL)
        broken(in(node), "node %u has no partition %u to branch", node->index, player->partition);
    struct out *out = out_new(node, part, player->to, player->to_node, player->serial);
    out->branch = true;
    out->move = player->move;
    action->time = part->op == OP_SOURCE ? epoch_end(source_most(node, part) + 1) : part->done;
    if (part->cut != PST_MOVE_NEVER && (part->done == PST_MOVE_NEVER || part->cut > part->done))
        (void)out_frame(node, part, out, FRAME_CUT, part->cut);
    out->marked = part->op == OP_SOURCE ? epoch_begin(source_mark(node, part)) : part->done;
    (void)out_frame(node, part, out, FRAME_MARK, out->marked);
    out_flush(node, part, out);
}

static struct out *branch_of(struct node *node, const struct pst_move_player *player)
{
    struct part *part = part_of_player(node, player);
    struct out *out = part != NULL ? out_find(part, player->to, player->serial) : NULL;
    if (out == NULL)
        broken(in(node), "partition %u has no branch of move %llu", player->partition,
               (unsigned long long)player->move);
    return out;
}

void part_unbranch(struct node *node, struct pst_move_player *player)
{
    branch_of(node, player)->used = false;
    part_schedule(node, part_of_player(node, player));
}

void part_bind(struct node *node, struct pst_move_player *player)
{
    branch_of(node, player)->bound = true;
    part_schedule(node, part_of_player(node, player));
}

void part_route(struct node *node, struct pst_move_player *player)
{
    struct part *part = part_of_player(node, player);
    struct out *branch = branch_of(node, player);
    branch->branch = branch->bound = false;
    branch->move = 0;
    bool others = false;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        if (pst_move_set_has(&player->buckets, b))
            part->out_owner[b] = (uint8_t)player->to;
        others = others || part->out_owner[b] == player->from;
    }
    for (uint32_t i = 0; i < 12 && !others; i++)
        if (part->outs[i].used && part->outs[i].to == player->from && !part->outs[i].branch)
            part->outs[i].used = false;
    part_schedule(node, part);
}

static void waiting_drop(struct part *part, uint32_t b, int64_t below)
{
    struct pending lost = {0};
    for (uint32_t epoch = 0; epoch < EPOCHS_MAX && (int64_t)epoch * SPAN < below; epoch++) {
        struct pending *pending = &part->pending[b][epoch];
        if (pst_move_wanted(below, (int64_t)epoch * SPAN)) {
            lost.sum += pending->sum;
            lost.count += pending->count;
        } else {
            part->pending_rows -= pending->count;
        }
        *pending = (struct pending){0};
    }
    if (lost.count == 0)
        return;
    uint32_t to = below >= (int64_t)SPAN * EPOCHS_MAX ? EPOCHS_MAX : (uint32_t)(below / SPAN);
    part->pending[b][to].sum += lost.sum;
    part->pending[b][to].count += lost.count;
}

bool part_stage(struct node *node, struct pst_move_player *player, const struct pst_move_action *action)
{
    struct part *part = part_of_player(node, player);
    if (cluster_random(in(node), 300) == 0)
        return false; /* staging is full */
    memcpy(&part->staged, action->message->bytes, sizeof part->staged);
    if (action->time <= part->useless || MISTAKE(NO_VECTOR))
        return true;
    part->useless = action->time;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (has(part, b) && part->at[b] == PST_MOVE_NEVER)
            waiting_drop(part, b, action->time);
    return true;
}

void part_install(struct node *node, struct pst_move_player *player, const struct pst_move_action *action)
{
    struct part *part = part_of_player(node, player);
    part->buckets[action->bucket] = part->staged;
    part->at[action->bucket] = part->image_time[action->bucket] = action->time;
    waiting_drop(part, action->bucket, action->time);
    state_check(node, part, action->bucket);
    part->done = done_of(part);
    part_schedule(node, part);
}

/* Is there a downstream that lacks what the giver put out below `time`? Then it must still be kept. */
static void trim_check(struct node *node, const struct pst_move_player *player, int64_t time)
{
    for (uint32_t n = 0; n < in(node)->node_count; n++) {
        struct node *other = &in(node)->nodes[n];
        for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX && other->up && other->incarnation == node->incarnation; i++) {
            struct pst_move_player *down = &other->players.players[i];
            if (down->all == NULL || down->role != PST_MOVE_DOWNSTREAM || down->move != player->move)
                continue;
            const struct part *part = part_of_player(other, down);
            uint32_t b = pst_move_set_next(&down->buckets, 0);
            if (down->state != PST_DOWNSTREAM_SETTLED && in_mark(part, b) < time)
                broken(in(node),
                       "move %llu: what is kept below %lld is dropped, and partition %u has it below %lld only",
                       (unsigned long long)player->move, (long long)time, down->partition, (long long)in_mark(part, b));
        }
    }
}

static void kept_drop(struct part *part, int64_t below)
{
    uint32_t rest = 0;
    for (uint32_t i = 0; i < part->kept_count; i++)
        if (part->kept[i].time >= below)
            part->kept[rest++] = part->kept[i];
    part->kept_count = rest;
}

void part_trim(struct node *node, struct pst_move_player *player, int64_t time)
{
    struct part *part = part_of_player(node, player);
    trim_check(node, player, time);
    part->kept_from = time;
    kept_drop(part, time);
    part_schedule(node, part);
}

/* START, what is kept from there on, and how far it is; then as any partition. */
void part_put_out(struct node *node, struct pst_move_player *player, const struct pst_move_action *action)
{
    struct part *part = part_of_player(node, player);
    uint32_t rest = 0;
    part->speaks = true;
    part->put_from = action->time;
    told_all(node, part, FRAME_START, action->time, player->move, action->gone);
    if (part->cut != PST_MOVE_NEVER && part->cut > part->done)
        told_all(node, part, FRAME_CUT, part->cut, 0, false);
    for (uint32_t i = 0; i < part->kept_count; i++)
        if (part->kept[i].time >= action->time)
            row_put(node, part, &part->kept[i]);
        else
            part->kept[rest++] = part->kept[i];
    part->kept_count = rest;
    for (uint32_t i = 0; i < 12; i++)
        part->outs[i].marked = PST_MOVE_NEVER; /* START has put the mark back */
    marks_put(node, part, part->done);
    part_schedule(node, part);
}

void part_both(struct node *node, struct pst_move_player *player, const struct pst_move_action *action)
{
    struct part *part = part_of_player(node, player);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        if (!pst_move_set_has(&player->buckets, b))
            continue;
        part->in_started[b] = true;
        part->in_other[b] = (uint8_t)player->to;
        part->in_from[b] = action->time;
        pst_move_marks_open(&part->marks[b], player->epoch + 1, action->time);
    }
    part_schedule(node, part);
}

void part_settle(struct node *node, struct pst_move_player *player)
{
    struct part *part = part_of_player(node, player);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        if (!pst_move_set_has(&player->buckets, b))
            continue;
        part->in_owner[b] = (uint8_t)player->to;
        part->in_started[b] = false;
        part->in_stopped[b] = part->in_from[b] = PST_MOVE_NEVER;
        pst_move_marks_close(&part->marks[b]);
    }
    part_schedule(node, part);
}

int64_t part_have(struct node *node, const struct pst_move_player *player)
{
    const struct part *part = part_of_player(node, player);
    uint32_t b = pst_move_set_next(&player->buckets, 0);
    if (player->state == PST_DOWNSTREAM_SETTLED)
        return part->mark[player->to];
    int64_t giver = part->mark[player->from];
    return part->in_stopped[b] != PST_MOVE_NEVER && part->in_stopped[b] < giver ? part->in_stopped[b] : giver;
}
