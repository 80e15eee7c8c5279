/* partition.c - event time in one partition: which rows may be delivered, when on_time() is due, when the end has come.
 *
 * Time is cut into epochs [k*e, (k+1)*e). `now` is the beginning of the open epoch: every producer has promised that no row
 * below it follows, and on_time(now) has been called if anything was due. Rows of the open epoch are delivered as they come,
 * from any channel; rows above it wait in their channel. When the lowest watermark reaches the epoch's end, on_time(end) follows
 * (if there were rows or a timer is due), and `now` moves to the next epoch in which there is anything to do: a jump of time
 * costs nothing for the epochs it skips.
 *
 * Sinks (PST_ORDER_ANY) take all rows below the watermark at once. Total order takes them merged by (time, producer, number),
 * one call for each time. */
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/enclave.h"
#include "engine/lane.h"
#include "engine/spill.h"

#include <stdlib.h>
#include <string.h>

static int64_t ceil_to(int64_t t, int64_t step)
{
    int64_t low = pst_floor_to(t, step);
    return low == t ? t : low > INT64_MAX - step ? INT64_MAX : low + step;
}

static int64_t add_time(int64_t t, int64_t span) { return t > INT64_MAX - span ? INT64_MAX : t + span; }

/* ---- due buckets ---- */
void pst_ctx_timer_set(struct pst_ctx *ctx, uint32_t bucket, int64_t t)
{
    PST_ASSERT(bucket < ctx->node->bucket_count);
    ctx->timers[bucket] = t;
    if (t < ctx->timer_min)
        ctx->timer_min = t;
}

static bool timer_due(const struct pst_ctx *ctx, int64_t t)
{
    return ctx->timer_min <= (t < ctx->timer_limit ? t : ctx->timer_limit);
}

static void find_due(struct pst_ctx *ctx, int64_t t)
{
    int64_t timer_min = INT64_MAX;
    ctx->due_count = 0;
    t = t < ctx->timer_limit ? t : ctx->timer_limit;
    for (uint32_t i = 0; i < ctx->owned_count; i++) {
        uint32_t bucket = ctx->buckets[i];
        if (ctx->marked[bucket] != 0 || ctx->timers[bucket] <= t) {
            ctx->due[ctx->due_count++] = bucket;
            ctx->marked[bucket] = 0;
            if (ctx->timers[bucket] <= t)
                ctx->timers[bucket] = INT64_MAX;
        }
        if (ctx->timers[bucket] < timer_min)
            timer_min = ctx->timers[bucket];
    }
    ctx->timer_min = timer_min;
}

static void mark(struct pst_ctx *ctx, const struct edge *edge, const struct pst_rows *rows)
{
    if (edge->broadcast)
        return;
    if (!edge->keyed)
        ctx->marked[0] = 1;
    for (uint32_t i = 0; edge->keyed && i < rows->row_count; i++)
        ctx->marked[rows->bucket[i]] = 1;
}

/* ---- delivery ---- */
/* Names the rows: the operator may say more, by pst_fail(). */
static int frame_failed(struct pst_ctx *ctx, int rc, const struct pst_rows *rows)
{
    char place[96];
    (void)snprintf(place, sizeof place, "on_frame, %u rows from event time %lld on", rows->row_count,
                   (long long)rows->time[0]);
    return pst_ctx_failed(ctx, rc, place);
}

/* Rows that come in an epoch come in any order, and have no event time to be put out with before its end: what was put out would hang on
 * how they were cut into frames. Operators of penstock's own are tested for it. */
static int silence_check(struct pst_ctx *ctx)
{
    if (!ctx->node->plugin || ctx->node->order != PST_ORDER_EPOCH)
        return PST_OK;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < ctx->node->output_count; i++)
        rows += ctx->outputs[i].batch.out.row_count;
    return rows == 0
               ? PST_OK
               : pst_ctx_fail(ctx, PST_EINVAL,
                              "operator %s (%s), partition %u, has put out rows in on_frame(): in epoch order that is "
                              "for on_time() and on_end(); in plan() it may ask for PST_ORDER_TOTAL",
                              ctx->node->id, ctx->node->op->name, ctx->partition);
}

static int deliver_slice(struct pst_ctx *ctx, const struct edge *edge, const struct frame *frame, uint32_t from,
                         uint32_t n)
{
    const void *columns[PST_FIELDS_MAX];
    for (uint32_t c = 0; c < edge->column_count; c++)
        columns[c] = (const char *)frame->columns[c] + (size_t)from * edge->column_bytes[c];
    struct pst_rows rows = {.row_count = n,
                            .input = edge->input,
                            .columns = columns,
                            .time = frame->time + from,
                            .hash = edge->keyed ? frame->hash + from : NULL,
                            .bucket = edge->keyed ? frame->bucket + from : NULL};
    if (ctx->enclave == NULL)
        mark(ctx, edge, &rows);
    if (ctx->sums != NULL)
        pst_sums_in(ctx->sums, edge, &rows);
    ctx->had_rows = true;
    if (ctx->carried != NULL) {
        int rc = pst_carry_take(ctx, &rows);
        return rc != PST_EDATA ? rc : frame_failed(ctx, rc, &rows);
    }
    pst_count(&ctx->gauge.rows_in, n);
    if (ctx->sink != NULL)
        ctx->sink->rows += n;
    if (ctx->enclave != NULL)
        return pst_ctx_enclave_frame(ctx, &rows);
    pst_paging_begins(ctx, rows.time[0]);
    int rc = ctx->node->op->on_frame(ctx, &rows);
    int ended = pst_paging_ends(ctx, PST_OK); /* why it could not go on, where that is the reason */
    if (ended != PST_OK)
        return ended;
    return rc == PST_OK ? silence_check(ctx) : frame_failed(ctx, rc, &rows);
}

static uint32_t rows_below(const struct frame *frame, int64_t limit)
{
    if (frame->time[frame->row_count - 1] < limit)
        return frame->row_count;
    uint32_t low = frame->cursor, high = frame->row_count - 1; /* the first row at or above limit is in low..high */
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (frame->time[middle] < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* All rows below `limit` that a channel has. */
static int deliver_below(struct pst_ctx *ctx, struct channel *channel, int64_t limit, bool *ret_any)
{
    struct frame *frame;
    while ((frame = pst_channel_head(channel)) != NULL && frame->time[frame->cursor] < limit) {
        uint32_t end = rows_below(frame, limit);
        int rc = PST_OK;
        if (pst_lane_waits(ctx))
            frame->cursor = pst_lane_skip(ctx, channel->edge, frame, end);
        if (frame->cursor < end)
            rc = deliver_slice(ctx, channel->edge, frame, frame->cursor, end - frame->cursor);
        *ret_any = true;
        if (rc != PST_OK)
            return rc;
        frame->cursor = end;
        if (end == frame->row_count)
            pst_channel_pop(channel);
    }
    return PST_OK;
}

/* ---- total order ---- */
struct ranked {
    int64_t time;
    uint32_t producer, row;
    uint64_t number;
    struct frame *frame;
    const struct edge *edge;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    if (x->edge->input != y->edge->input)
        return x->edge->input < y->edge->input ? -1 : 1;
    if (x->producer != y->producer)
        return x->producer < y->producer ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Of the frames that are held; counts alone where ret_ranked is NULL. */
static uint32_t rank_below(struct pst_ctx *ctx, int64_t limit, struct ranked *ret_ranked)
{
    uint32_t count = 0;
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        struct channel *channel = ctx->channels[c];
        for (struct frame *frame = channel->held_first; frame != NULL; frame = frame->next) {
            for (uint32_t row = frame->cursor; row < frame->row_count && frame->time[row] < limit; row++) {
                if (pst_lane_waits(ctx) && !pst_lane_wants_row(ctx, channel->edge, frame, row))
                    continue;
                if (ret_ranked != NULL)
                    ret_ranked[count] = (struct ranked){
                        frame->time[row], frame->producer[row], row, frame->number[row], frame, channel->edge};
                count++;
            }
        }
    }
    return count;
}

static int deliver_ranked(struct pst_ctx *ctx, const struct ranked *ranked, uint32_t count)
{
    for (uint32_t i = 0, n; i < count; i += n) {
        /* neighbours in one frame at one time go together */
        for (n = 1; i + n < count && ranked[i + n].frame == ranked[i].frame && ranked[i + n].row == ranked[i].row + n &&
                    ranked[i + n].time == ranked[i].time;)
            n++;
        ctx->emit_time = ranked[i].time;
        int rc = deliver_slice(ctx, ranked[i].edge, ranked[i].frame, ranked[i].row, n);
        if (rc == PST_OK)
            rc = pst_batches_flush(ctx);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int deliver_total(struct pst_ctx *ctx, int64_t limit, bool *ret_any)
{
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        (void)pst_channel_hold(ctx->channels[c]);
    uint32_t count = rank_below(ctx, limit, NULL);
    if (count == 0 && !pst_lane_waits(ctx))
        return PST_OK;
    struct ranked *ranked = pst_malloc((count + 1) * sizeof *ranked);
    if (ranked == NULL)
        return PST_ENOMEM;
    *ret_any |= count != 0;
    count = rank_below(ctx, limit, ranked);
    qsort(ranked, count, sizeof *ranked, compare_ranked);
    int rc = deliver_ranked(ctx, ranked, count);
    pst_free(ranked);
    for (uint32_t c = 0; c < ctx->channel_count && rc == PST_OK; c++) {
        struct frame *frame;
        while ((frame = ctx->channels[c]->held_first) != NULL && frame->time[frame->cursor] < limit) {
            frame->cursor = rows_below(frame, limit);
            if (frame->cursor < frame->row_count)
                break;
            pst_channel_pop(ctx->channels[c]);
        }
    }
    return rc;
}

/* ---- time ---- */

/* What a channel says of both; of two replicas' whichever is further counts, for each has all of it. The end first: what it says about the
 * watermark must be there when it is seen. */
static int64_t channel_time(const struct channel *channel, const struct input *input, enum end *ret_end)
{
    *ret_end = pst_channel_read_end(channel, input);
    int64_t watermark = pst_channel_read_watermark(channel, input);
    return watermark > channel->floor ? watermark : channel->floor;
}

static int64_t twins_time(const struct channel *channel, const struct input *input, enum end *ret_end)
{
    enum end other_end;
    int64_t watermark = channel_time(channel, input, ret_end), other = channel_time(channel->twin, input, &other_end);
    *ret_end = *ret_end != END_NOT ? *ret_end : other_end;
    return watermark > other ? watermark : other;
}

static int64_t watermark_in(const struct pst_ctx *ctx, enum end *ret_end)
{
    int64_t low = INT64_MAX, high = INT64_MIN, inputs_end = INT64_MIN;
    bool input_ended = false,
         input_lasts = false; /* where all have ended, time goes no further than the last of them */
    enum end end = END_INPUT;
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        const struct channel *channel = ctx->channels[c];
        if (channel->standby || (channel->twin != NULL && channel->twin->from < channel->from)) /* counted with it */
            continue;
        enum end this_end;
        int64_t watermark = (channel->twin != NULL ? twins_time : channel_time)(channel, &ctx->run->input, &this_end);
        high = watermark > high ? watermark : high;
        if (this_end == END_INPUT && ctx->channels[c]->reader != 0) { /* the inputs of other nodes may last longer */
            inputs_end = watermark > inputs_end ? watermark : inputs_end;
            input_ended = true;
            continue;
        }
        input_lasts |= ctx->channels[c]->reader != 0;
        low = watermark < low ? watermark : low;
        if (this_end == END_NOT)
            end = END_NOT;
        else if (this_end == END_CUT && end == END_INPUT)
            end = END_CUT;
    }
    if (input_ended && !input_lasts && inputs_end < low)
        low = inputs_end;
    *ret_end = end;
    return end == END_INPUT ? high
                            : low; /* at an end every producer is through with its last epoch, longer or shorter */
}

static int64_t first_waiting(struct pst_ctx *ctx)
{
    int64_t first = INT64_MAX;
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        struct frame *frame = pst_channel_head(ctx->channels[c]);
        if (frame != NULL && frame->time[frame->cursor] < first)
            first = frame->time[frame->cursor];
    }
    return first;
}

static uint64_t now_ns(const struct run *run) { return run->world->now_ns(run->world->self); }

/* It has given all of its buckets away. An operator of one bucket need not ask what is due. */
static bool has_left(const struct pst_ctx *ctx)
{
    return ctx->owned_count == 0 && ctx->filter != NULL && ctx->filter->gone != NULL;
}

/* Nothing but the rows of the next epoch counts for what is to come: where an enclave owes answers, it may go on. */
static bool may_run_ahead(const struct pst_ctx *ctx)
{
    return ctx->cut == CUT_NONE && ctx->giving == NULL && ctx->lane == NULL && ctx->join == NULL &&
           !pst_moving_ends(ctx);
}

static int call_on_time(struct pst_ctx *ctx, int64_t t)
{
    ctx->emit_time = t - 1;
    if (ctx->enclave != NULL) {
        bool followed = may_run_ahead(ctx) && first_waiting(ctx) < add_time(t, ctx->node->epoch);
        int rc = pst_ctx_enclave_time(ctx, t, followed);
        ctx->had_rows = rc == PST_EAGAIN; /* so that it is called again, though what was due is due no more */
        return rc;
    }
    ctx->had_rows = false;
    find_due(ctx, t);
    pst_paging_begins(ctx, t);
    uint64_t begun_ns = pst_lane_waits(ctx) ? now_ns(ctx->run) : 0;
    int rc = ctx->node->op->on_time != NULL && !has_left(ctx) ? ctx->node->op->on_time(ctx, t) : PST_OK;
    rc = pst_paging_ends(ctx, rc);
    if (pst_lane_waits(ctx))
        pst_lane_took(ctx, now_ns(ctx->run) - begun_ns);
    if (rc != PST_OK)
        return pst_ctx_failed(ctx, rc, "on_time");
    return pst_batches_flush(ctx);
}

static int call_on_end(struct pst_ctx *ctx, int64_t t, int64_t end)
{
    ctx->emit_time = end - 1;
    if (ctx->enclave != NULL) {
        return pst_ctx_enclave_end(ctx, t);
    }
    memcpy(ctx->due, ctx->buckets, ctx->owned_count * sizeof *ctx->due);
    ctx->due_count = ctx->owned_count;
    pst_paging_begins(ctx, t);
    int rc = ctx->node->op->on_end != NULL && !has_left(ctx) ? ctx->node->op->on_end(ctx, t) : PST_OK;
    rc = pst_paging_ends(ctx, rc);
    if (rc != PST_OK)
        return pst_ctx_failed(ctx, rc, "on_end");
    return pst_batches_flush(ctx);
}

/* The epoch to open next: the first in which a row waits or a timer is due, but none that the watermark has not reached. */
static int64_t next_epoch(struct pst_ctx *ctx, int64_t watermark, int64_t epoch)
{
    int64_t next = add_time(ctx->now, epoch);
    int64_t row = pst_floor_to(first_waiting(ctx), epoch);
    int64_t timer = ctx->timer_min == INT64_MAX || ctx->timer_min > ctx->timer_limit
                        ? INT64_MAX
                        : ceil_to(ctx->timer_min, epoch) - epoch;
    int64_t jump = pst_floor_to(watermark, epoch);
    jump = row < jump ? row : jump;
    jump = timer < jump ? timer : jump;
    jump = jump > next ? jump : next;
    int64_t limit = pst_join_limit(ctx);
    limit = ctx->cut < limit ? ctx->cut : limit;
    return jump > limit ? limit : jump; /* a cut is an epoch's end, and above the one that was open: C1 */
}

static bool know_now(struct pst_ctx *ctx, int64_t watermark, int64_t epoch)
{
    if (!ctx->now_known && watermark != INT64_MIN) {
        int64_t row = first_waiting(ctx);
        ctx->now = pst_floor_to(row < watermark ? row : watermark, epoch);
        ctx->now_known = true;
    }
    return ctx->now_known;
}

/* One epoch as far as it goes. *ret_more: it was closed, and the next one may have something. */
static int step_epoch(struct pst_ctx *ctx, int64_t watermark, bool *ret_any, bool *ret_more)
{
    int64_t epoch = ctx->node->epoch, end;
    *ret_more = false;
    if (!know_now(ctx, watermark, epoch))
        return PST_OK;
    end = add_time(ctx->now, epoch);
    int rc = PST_OK;
    for (uint32_t c = 0; c < ctx->channel_count && rc == PST_OK; c++)
        rc = deliver_below(ctx, ctx->channels[c], end, ret_any);
    if (rc != PST_OK || watermark < end)
        return rc;
    if (!ctx->had_rows && pst_ctx_enclave_asked(ctx) != 0) /* its first timer comes with the answer */
        return PST_EAGAIN;
    if (ctx->had_rows || timer_due(ctx, end)) {
        rc = call_on_time(ctx, end);
        if (rc == PST_EAGAIN) /* in its enclave; it goes on from here */
            return rc;
        *ret_any = true;
    }
    ctx->now = next_epoch(ctx, watermark, epoch);
    *ret_more = true;
    return rc;
}

/* The same where rows are sealed, and what is due only the worker knows: it is told each time that the marks which it has been given have
 * reached, for what it promises goes by its own marks; but no further than the watermark, which was read before the cut was, as marks are
 * not. One time is on its way at once, and nothing is given to it meanwhile. At a cut it has
 * all marks that reach it: they are in front of it, as what they count is. */
static int step_carried(struct pst_ctx *ctx, int64_t watermark, bool *ret_any, bool *ret_more)
{
    int64_t epoch = ctx->node->epoch;
    int rc = PST_OK;
    *ret_more = false;
    if (!know_now(ctx, watermark, epoch))
        return PST_OK;
    int64_t end = add_time(ctx->now, epoch);
    for (uint32_t c = 0; c < ctx->channel_count && rc == PST_OK && !pst_carried_asks(ctx); c++)
        rc = deliver_below(ctx, ctx->channels[c], end, ret_any);
    int64_t promised = pst_carried_promise(ctx);
    if (rc == PST_OK)
        rc = pst_carried_time(ctx, ctx->cut < watermark ? ctx->cut : watermark, ret_any);
    *ret_more = rc == PST_OK && pst_carried_promise(ctx) != promised; /* more may have come while it worked */
    if (rc != PST_OK || watermark < end || *ret_more)
        return rc;
    int64_t jump = pst_floor_to(watermark, epoch), row = pst_floor_to(first_waiting(ctx), epoch);
    jump = row < jump ? row : jump;
    jump = jump > end ? jump : end;
    ctx->now = ctx->cut > ctx->now && ctx->cut < jump ? ctx->cut : jump;
    ctx->had_rows = false;
    *ret_more = true;
    return PST_OK;
}

/* When the cut is seen for the first time: has it been passed? The rows of an open epoch have been delivered in part. */
static bool cut_is_passed(struct pst_ctx *ctx)
{
    if (ctx->cut == CUT_NONE || ctx->cut == ctx->cut_seen)
        return false;
    ctx->cut_seen = ctx->cut;
    return ctx->now_known && (ctx->now > ctx->cut || (ctx->now == ctx->cut && ctx->had_rows));
}

/* Where several nodes read: C6. */
static bool cut_let_pass(struct pst_ctx *ctx)
{
    if (!cut_is_passed(ctx))
        return false;
    pst_checkpoint_image_late(ctx);
    ctx->cut_done = ctx->cut;
    ctx->cut = CUT_NONE;
    return true;
}

/* At the cut, and not a row further: C2. */
static int bring_image(struct pst_ctx *ctx, bool *ret_any)
{
    while (pst_partition_wipe(ctx)) /* what has gone is in no image of this one */
        continue;
    int rc = ctx->carried != NULL && ctx->enclave != NULL ? pst_carried_cut(ctx, ctx->cut, ret_any) : PST_OK;
    if (rc == PST_OK && ctx->enclave != NULL)
        rc = pst_ctx_enclave_image(ctx, ctx->cut);
    if (rc != PST_OK) /* PST_EAGAIN: its enclave seals it */
        return rc;
    pst_checkpoint_image(ctx, ctx->cut);
    ctx->cut_done = ctx->cut;
    ctx->cut = CUT_NONE;
    *ret_any = true;
    return PST_OK;
}

static int step_any(struct pst_ctx *ctx, int64_t watermark, bool *ret_any)
{
    int rc = PST_OK;
    if (watermark > ctx->cut) {
        rc = step_any(ctx, ctx->cut, ret_any);
        if (rc != PST_OK)
            return rc;
    }
    for (uint32_t c = 0; c < ctx->channel_count && rc == PST_OK; c++)
        rc = deliver_below(ctx, ctx->channels[c], watermark, ret_any);
    if (rc == PST_OK && ctx->had_rows)
        rc = call_on_time(ctx, watermark);
    ctx->now = watermark;
    ctx->now_known = true;
    if (rc == PST_OK && watermark == ctx->cut)
        rc = bring_image(ctx, ret_any);
    return rc;
}

static int step_total(struct pst_ctx *ctx, int64_t watermark, bool *ret_any, bool *ret_more)
{
    int64_t epoch = ctx->node->epoch;
    *ret_more = false;
    if (!know_now(ctx, watermark, epoch))
        return PST_OK;
    int64_t end = add_time(ctx->now, epoch), limit = watermark < end ? watermark : end;
    int rc = deliver_total(ctx, limit, ret_any);
    if (rc != PST_OK || watermark < end)
        return rc;
    if (ctx->had_rows || timer_due(ctx, end)) {
        rc = call_on_time(ctx, end);
        *ret_any = true;
    }
    if (rc != PST_OK)
        return rc;
    ctx->now = next_epoch(ctx, watermark, epoch);
    *ret_more = true;
    return PST_OK;
}

/* ---- what others may rely on ---- */
static bool publish(struct pst_ctx *ctx, int64_t watermark, enum end end)
{
    bool news = false;
    if (pst_is_muted(ctx)) {
        ctx->watermark_out = watermark > ctx->watermark_out ? watermark : ctx->watermark_out;
        return false;
    }
    ctx->watermark_out = watermark > ctx->watermark_out ? watermark : ctx->watermark_out;
    for (uint32_t i = 0; i < ctx->channel_out_count; i++) {
        struct channel *channel = ctx->channels_out[i];
        if (pst_channel_pending(channel)) /* E2, and E4: the others' watermarks go out all the same */
            continue;
        if (atomic_load_explicit(&channel->watermark, memory_order_relaxed) < ctx->watermark_out) {
            pst_channel_watermark(channel, ctx->watermark_out);
            news = true;
        }
        if (end != END_NOT && atomic_load_explicit(&channel->ended, memory_order_relaxed) == END_NOT) {
            atomic_store_explicit(&channel->ended, end, memory_order_release);
            pst_wake_later(ctx->run, channel->producer_worker, channel->consumer_worker);
            news = true;
        }
    }
    return news;
}

/* Of the inputs that several nodes read, the one that is furthest behind, as `reader` of a channel; 0: they are one. */
static uint32_t reader_behind(const struct pst_ctx *ctx)
{
    int64_t low = INT64_MAX;
    uint32_t behind = 0, first = 0;
    bool several = false;
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        const struct channel *channel = ctx->channels[c];
        if (channel->reader == 0 || channel->standby)
            continue;
        several |= first != 0 && channel->reader != first;
        first = channel->reader;
        bool ended = pst_channel_read_end(channel, &ctx->run->input) != END_NOT;
        int64_t watermark = pst_channel_read_watermark(channel, &ctx->run->input);
        if (ended || watermark >= low)
            continue;
        low = watermark;
        behind = channel->reader;
    }
    return several ? behind : 0;
}

/* The rows of this channel that are held wait for another node's input, and there are more of them than of a block (a line has two
 * bytes at least): so each is ahead of the other's block that is under way, and of two inputs only one can be. */
static bool is_ahead(const struct channel *channel, uint32_t behind, int64_t limit)
{
    const struct frame *last = channel->held_last;
    return behind != 0 && channel->reader != 0 && channel->reader != behind && last != NULL &&
           last->time[last->row_count - 1] >= limit &&
           channel->held_count * channel->frame_rows > channel->run->options.block_bytes / 2;
}

/* E5: what cannot be delivered before the watermark rises is taken in, so that its producer, and whoever feeds both it and the
 * producer that is waited for, can go on. How far producers get ahead of each other is bounded by the rings of the slower one's
 * own inputs; HELD_BYTES_MAX ends a graph in which nothing else bounds it. */
static int hold_back(struct pst_ctx *ctx, bool *ret_any)
{
    uint64_t held = 0;
    uint32_t behind = pst_is_muted(ctx) ? 0 : reader_behind(ctx);
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        struct channel *channel = ctx->channels[c];
        if (!is_ahead(channel, behind, ctx->now) && pst_channel_hold(channel) != 0)
            *ret_any = true;
        held += channel->held_count * channel->edge->frame_bytes;
    }
    ctx->held_bytes = held;
    if (pst_is_muted(ctx) && held > ctx->run->lane_bytes_max)
        atomic_store_explicit(&ctx->lane->overflow, true, memory_order_release);
    if (held <= HELD_BYTES_MAX)
        return PST_OK;
    (void)snprintf(
        ctx->sentence, sizeof ctx->sentence,
        "more than %llu MiB of rows wait for another input of this operator, whose event time is far behind: give the "
        "inputs epochs of like length",
        (unsigned long long)(HELD_BYTES_MAX >> 20));
    return pst_ctx_failed(ctx, PST_EFULL, "its inputs");
}

static int step_inputs(struct pst_ctx *ctx, int64_t watermark, enum end end, bool *ret_any)
{
    if (ctx->node->order == PST_ORDER_ANY)
        return step_any(ctx, watermark, ret_any);
    if (pst_ctx_enclave_asked(ctx) != 0 && (!may_run_ahead(ctx) || pst_ctx_enclave_ends(ctx)))
        return PST_EAGAIN;
    if (pst_ctx_enclave_ends(ctx))
        return PST_OK; /* it is asked for nothing more */
    for (bool more = true; more;) {
        if (pst_moving_ends(ctx) && pst_moving_step(ctx))
            return PST_EAGAIN;
        bool looks = ctx->giving != NULL || ctx->lane != NULL || ctx->join != NULL;
        if (looks && know_now(ctx, watermark, ctx->node->epoch)) {
            uint32_t inputs = ctx->channel_count;
            int rc = pst_partition_turn(ctx, ret_any);
            if (rc != PST_OK || pst_stands(ctx) || pst_is_joined(ctx) || (pst_lane_waits(ctx) && !ctx->lane->stops))
                return rc;
            if (pst_moving_busy(ctx))
                return PST_EAGAIN;
            if (ctx->channel_count != inputs) { /* it has some more since the watermark was read */
                *ret_any = true;
                return PST_EAGAIN;
            }
        }
        bool at_cut = watermark >= ctx->cut && know_now(ctx, watermark, ctx->node->epoch) && ctx->now >= ctx->cut;
        int rc = at_cut ? bring_image(ctx, ret_any) : PST_OK;
        if (rc != PST_OK)
            return rc;
        bool closed = watermark >= add_time(ctx->now, ctx->node->epoch) && !ctx->run->options.stop_and_copy;
        if (pst_giver_stands(ctx, end != END_NOT || closed))
            return PST_OK;
        rc = ctx->carried != NULL                  ? step_carried(ctx, watermark, ret_any, &more)
             : ctx->node->order == PST_ORDER_TOTAL ? step_total(ctx, watermark, ret_any, &more)
                                                   : step_epoch(ctx, watermark, ret_any, &more);
        if (rc != PST_OK)
            return rc;
        if (pst_any_pending(ctx) && !pst_flush_channels(ctx))
            return PST_EAGAIN; /* E3; frames that are not full wait for the end of the step */
    }
    return PST_OK;
}

/* All input has been delivered and the input's end is known: the last words, then the end goes on. */
static int step_end(struct pst_ctx *ctx, int64_t watermark, enum end end)
{
    int64_t last = watermark;
    int rc = PST_OK;
    if (end == END_INPUT && ctx->now_known && watermark != INT64_MIN) {
        if (ctx->node->order != PST_ORDER_ANY)
            last = add_time(ctx->now, ctx->node->epoch);
        last = last > watermark ? last : watermark;
        rc = call_on_end(ctx, watermark, last);
    }
    if (rc == PST_EAGAIN)
        return rc;
    if (ctx->sink != NULL && rc == PST_OK)
        rc = pst_sink_flush(ctx->run, ctx->sink);
    ctx->ended = true;
    if (ctx->giving != NULL && !atomic_load_explicit(&ctx->giving->stopped, memory_order_relaxed))
        pst_giver_done(ctx);
    if (ctx->giving != NULL)
        atomic_store_explicit(&ctx->giving->ended, true, memory_order_release);
    pst_join_ended(ctx);
    ctx->watermark_out = end == END_INPUT && last > ctx->watermark_out ? last : ctx->watermark_out;
    return rc;
}

/* A lane takes in what comes while it has no time to work up to, and stands still at its bound: M5. */
static bool lane_stands(struct pst_ctx *ctx, bool *ret_any)
{
    if (pst_lane_waits(ctx))
        *ret_any |= pst_lane_take(ctx);
    if (pst_is_muted(ctx) && atomic_load_explicit(&ctx->lane->overflow, memory_order_relaxed))
        return true;
    bool stands = pst_lane_waits(ctx) && !ctx->lane->stops;
    if (stands)
        (void)hold_back(ctx, ret_any);
    return stands;
}

/* Behind the end there is nothing but what came from another owner before: M4. */
static bool discard(struct pst_ctx *ctx)
{
    bool any = false;
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        for (; pst_channel_head(ctx->channels[c]) != NULL; any = true)
            pst_channel_pop(ctx->channels[c]);
    return any;
}

/* It has become a part of another, whose promises are its own. */
static bool step_joined(struct pst_ctx *ctx)
{
    const struct pst_ctx *into = ctx->join->into;
    bool flushed = pst_flush_channels(ctx);
    enum end end = END_NOT;
    (void)discard(ctx);
    if (into->ended)
        (void)watermark_in(into, &end);
    ctx->ended = into->ended;
    return publish(ctx, into->watermark_out, into->ended && flushed ? end : END_NOT);
}

/* The end of the input bounds timers as soon as anybody has said a time beyond it: the end itself may come later than that. Whoever has all
 * ends says it first. Call it after the watermark was read. */
static int64_t timer_limit(const struct pst_ctx *ctx, enum end end)
{
    struct run *run = ctx->run;
    int64_t whole_end = atomic_load_explicit(&run->whole_end, memory_order_relaxed);
    if (end == END_INPUT && whole_end == INT64_MIN)
        pst_raise(&run->whole_end, whole_end = pst_input_end(run));
    return whole_end != INT64_MIN ? whole_end : ctx->timer_limit;
}

/* Its worker is gone: until others know it stands, holds nobody up, for its replica gets all of that too, and brings nothing to a checkpoint. */
static bool step_dead(struct pst_ctx *ctx)
{
    bool any = discard(ctx);
    ctx->cut = pst_checkpoint_cut(ctx);
    if (ctx->cut == CUT_NONE)
        return any;
    pst_checkpoint_image_none(ctx);
    ctx->cut_done = ctx->cut;
    ctx->cut = CUT_NONE;
    return true;
}

bool pst_partition_step(struct pst_ctx *ctx)
{
    enum end end;
    if (pst_is_dead(ctx))
        return step_dead(ctx);
    bool any = pst_partition_wipe(ctx);
    ctx->held_up = false;
    if (ctx->enclave_moving != NULL) {
        any |= pst_moving_step(ctx);
        if (pst_moving_busy(ctx)) { /* it is given nothing meanwhile */
            (void)pst_flush_channels(ctx);
            return any;
        }
    }
    if (lane_stands(ctx, &any))
        return any;
    if (pst_is_joined(ctx))
        return step_joined(ctx);
    if (!pst_flush_channels(ctx)) {
        ctx->held_up = true;
        (void)publish(ctx, ctx->watermark_out, END_NOT);
        return false;
    }
    if (ctx->carried != NULL && ctx->enclave != NULL && pst_carried_key(ctx) != PST_OK)
        return false;
    if (ctx->enclave != NULL && pst_ctx_enclave_collect(ctx, &any) != PST_OK)
        return false;
    int64_t watermark = watermark_in(ctx, &end); /* before the rings are looked at (E2) */
    if (ctx->ended) {
        (void)discard(ctx);
        return publish(ctx, ctx->watermark_out, end);
    }
    /* A timer beyond the end of the input is for on_end(), though rows put out at the end come later. A lane that waits may come
     * to times beyond it too, as its giver has. */
    ctx->timer_limit = timer_limit(ctx, end);
    if (pst_lane_waits(ctx)) {
        watermark = watermark < ctx->lane->t ? watermark : ctx->lane->t;
        end = END_NOT;
    }
    ctx->cut = pst_checkpoint_cut(ctx);
    any |= cut_let_pass(ctx);
    int rc = watermark == INT64_MIN && end == END_NOT ? PST_OK : step_inputs(ctx, watermark, end, &any);
    if (rc == PST_OK && pst_is_joined(ctx))
        return true;
    bool blocked = rc == PST_EAGAIN;
    if (rc == PST_OK && end != END_NOT && (!pst_stands(ctx) || pst_ctx_enclave_ends(ctx))) {
        rc = step_end(ctx, watermark, end);
        blocked = rc == PST_EAGAIN;
    } else if (rc == PST_OK) {
        rc = hold_back(ctx, &any);
    }
    if (rc != PST_OK && !blocked && pst_is_muted(ctx) && ctx->lane->state == LANE_FAILED)
        return true; /* the move is given up; nobody needs it yet */
    if (rc != PST_OK && !blocked && pst_is_dead(ctx))
        return true;
    if (rc != PST_OK && !blocked) {
        pst_run_fail(ctx->run, rc, "%s: %s", ctx->node->id, pst_error_sentence(rc));
        return false;
    }
    bool flushed = pst_flush_channels(ctx);
    ctx->held_up = !flushed;
    /* nothing comes out before the open epoch's end, at the time just below it */
    if (!ctx->ended && ctx->now_known && ctx->node->order == PST_ORDER_EPOCH) {
        int64_t owed = pst_ctx_enclave_time_min(ctx), below = add_time(ctx->now, ctx->node->epoch - 1);
        if (ctx->carried != NULL) /* it goes by what was sealed */
            below = pst_carried_promise(ctx);
        ctx->watermark_out = owed < below ? owed : below;
    } else if (!ctx->ended && ctx->now_known) {
        int64_t begins = pst_ctx_enclave_epoch_min(ctx);
        ctx->watermark_out = begins > ctx->watermark_out ? begins : ctx->watermark_out;
    }
    any |= publish(ctx, ctx->watermark_out, ctx->ended && flushed ? end : END_NOT);
    return any || ctx->ended;
}
