/* lane_turn.c - see lane.h: what a partition does for a move at the end of an epoch, and what it does not want of what comes. */
#include "engine/enclave.h"
#include "engine/lane.h"
#include "engine/planted.h"

#include <string.h>

struct filter *pst_filter_of(struct pst_ctx *ctx)
{
    if (ctx->filter == NULL && (ctx->filter = pst_arena_alloc(&ctx->arena, sizeof *ctx->filter)) != NULL)
        ctx->filter->from = ctx->filter->level = INT64_MIN;
    return ctx->filter;
}

/* ---- the lane ---- */

/* What has been taken in stays counted. */
static void held_filter(struct pst_ctx *ctx)
{
    struct taken **taken = ctx->filter->taken;
    ctx->filter->taken = NULL;
    for (uint32_t c = 0; c < ctx->channel_count; c++) {
        struct channel *channel = ctx->channels[c];
        for (struct frame *frame = channel->held_first; frame != NULL; frame = frame->next)
            pst_frame_filter(ctx, channel, frame);
        pst_channel_tidy_in(channel);
    }
    ctx->filter->taken = taken;
}

void pst_lane_begin(struct pst_ctx *ctx, int64_t t)
{
    ctx->now = t;
    ctx->filter->from = PST_PLANTED(NO_VECTOR) ? INT64_MIN : t; /* M2 */
    ctx->now_known = true;
    held_filter(ctx);
}

/* ---- the giver ---- */

static void owned_drop(struct pst_ctx *ctx, uint32_t bucket)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ctx->owned_count; i++)
        if (ctx->buckets[i] != bucket)
            ctx->buckets[kept++] = ctx->buckets[i];
    ctx->owned_count = kept;
    ctx->timers[bucket] = INT64_MAX;
    ctx->marked[bucket] = 0;
}

void pst_giver_done(struct pst_ctx *ctx)
{
    struct giving *giving = ctx->giving;
    for (uint32_t i = 0; i < giving->move->bucket_count; i++)
        giving->numbers[i] = ctx->numbers[giving->move->buckets[i]];
}

static int giver_stop(struct pst_ctx *ctx, struct giving *giving)
{
    const struct move *move = giving->move;
    struct filter *filter = pst_filter_of(ctx);
    if (filter == NULL)
        return PST_ENOMEM;
    if (filter->gone == NULL)
        filter->gone = pst_arena_alloc(&ctx->arena, ctx->node->bucket_count);
    if (filter->gone == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < move->bucket_count; i++) {
        filter->gone[move->buckets[i]] = 1;
        owned_drop(ctx, move->buckets[i]);
    }
    ctx->timer_min = INT64_MAX; /* of what is left: nothing is due for what has gone */
    for (uint32_t i = 0; i < ctx->owned_count; i++)
        if (ctx->timers[ctx->buckets[i]] < ctx->timer_min)
            ctx->timer_min = ctx->timers[ctx->buckets[i]];
    held_filter(ctx);
    ctx->wipes = ctx->enclave == NULL;
    ctx->wipe_next = 0;
    pst_giver_done(ctx);
    giving->stopped_at = ctx->now;
    atomic_store_explicit(&giving->stopped, true, memory_order_release);
    return ctx->enclave != NULL ? pst_moving_forget(ctx, move) : PST_OK;
}

bool pst_partition_wipe(struct pst_ctx *ctx)
{
    const struct filter *filter = ctx->filter;
    uint64_t bytes = 0, most = ctx->run->turn_bytes_max;
    if (!ctx->wipes)
        return false;
    for (; ctx->wipe_next < ctx->node->bucket_count && ctx->state != NULL && bytes < most; ctx->wipe_next++) {
        if (filter->gone[ctx->wipe_next] == 0)
            continue;
        bytes += pst_state_bucket_bytes(ctx->state, ctx->wipe_next);
        pst_state_drop(ctx->state, ctx->wipe_next);
    }
    if (bytes < most)
        ctx->wipes = ctx->state != NULL && pst_state_shrink(ctx->state, most - bytes);
    return true;
}

void pst_filter_tidy(struct pst_ctx *ctx)
{
    const struct filter *filter = ctx->filter;
    if (filter != NULL && filter->from == INT64_MIN && filter->gone == NULL && filter->taken_room == NULL)
        ctx->filter = NULL;
}

static int giver_turn(struct pst_ctx *ctx, bool *ret_any)
{
    struct giving *giving = ctx->giving;
    int rc = PST_OK;
    *ret_any |= pst_giver_copy(ctx);
    if (pst_moving_busy(ctx))
        return PST_OK;
    if (giving->stop && !giving->stopped && !ctx->had_rows && ctx->now >= giving->cut) {
        rc = giver_stop(ctx, giving);
        ctx->run->world->wake(ctx->run->world->self, 0);
    }
    return rc;
}

int pst_partition_turn(struct pst_ctx *ctx, bool *ret_any)
{
    int rc = ctx->join != NULL ? pst_join_turn(ctx) : PST_OK;
    if (rc != PST_OK)
        return rc;
    if (ctx->filter != NULL && ctx->filter->replicas == 0 &&
        ctx->now > ctx->filter->from) { /* every producer is past it */
        ctx->filter->from = INT64_MIN;
        pst_filter_tidy(ctx);
    }
    if (pst_lane_waits(ctx))
        *ret_any |= pst_lane_turn(ctx);
    return ctx->giving != NULL ? giver_turn(ctx, ret_any) : PST_OK;
}

/* ---- what is not wanted ---- */

void pst_frame_keep(const struct edge *edge, struct frame *frame, uint32_t first)
{
    if (first != 0)
        pst_frame_rows_move(edge, frame, 0, frame, first, frame->row_count - first);
    frame->row_count -= first;
}

static void came(struct taken *taken, bool of_lane, uint64_t number, bool is_new)
{
    bool of_lane_before = number >= taken->lane_first && number < taken->lane_next;
    bool before = number < taken->giver_next || (!of_lane && of_lane_before); /* giver: or its replica */
    uint64_t *next = of_lane ? &taken->lane_next : &taken->giver_next;
    taken->lost += !is_new && !before;
    if (of_lane && number < taken->lane_first)
        taken->lane_first = number;
    if (number >= *next)
        *next = number + 1;
}

static bool wanted(struct filter *filter, const struct channel *channel, const struct frame *frame, uint32_t row)
{
    const struct edge *edge = channel->edge;
    if (frame->time[row] < filter->from)
        return false;
    if (filter->gone != NULL && !edge->broadcast && filter->gone[edge->keyed ? frame->bucket[row] : 0] != 0)
        return false;
    if (filter->taken == NULL || !edge->total || frame->producer[row] == 0 ||
        (filter->open_moves == 0 && (filter->replicas >> edge->input & 1) == 0))
        return true;
    struct taken *taken = &filter->taken[edge->input][frame->producer[row] - 1];
    if (frame->time[row] < taken->cut) {
        bool twice = (filter->replicas >> edge->input & 1) != 0 && frame->number[row] < taken->below;
        if (!twice)
            taken->below = frame->number[row] + 1;
        return !twice;
    }
    bool is_new = frame->number[row] >= taken->next; /* M4 */
    if (taken->cut != INT64_MIN)
        came(taken, channel->from == taken->lane, frame->number[row], is_new);
    if (is_new)
        taken->next = frame->number[row] + 1;
    return is_new;
}

void pst_frame_filter(struct pst_ctx *ctx, const struct channel *channel, struct frame *frame)
{
    uint32_t to = frame->cursor, row_count = frame->row_count, from = to;
    for (uint32_t row = to; row <= row_count; row++) {
        if (row < row_count && wanted(ctx->filter, channel, frame, row)) /* asked once a row: it counts */
            continue;
        if (from != to)
            pst_frame_rows_move(channel->edge, frame, to, frame, from, row - from);
        to += row - from;
        from = row + 1;
    }
    frame->row_count = to;
}

uint32_t pst_lane_skip(struct pst_ctx *ctx, const struct edge *edge, struct frame *frame, uint32_t end)
{
    uint32_t to = end;
    for (uint32_t row = end; row > frame->cursor; row--) {
        if (!pst_lane_wants_row(ctx, edge, frame, row - 1))
            continue;
        if (--to != row - 1)
            pst_frame_rows_move(edge, frame, to, frame, row - 1, 1);
    }
    return to;
}
