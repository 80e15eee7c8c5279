/* lane_turn.c - see lane.h: what a partition does for a move at the end of an epoch, and what it does not want of what comes. */
#include "engine/lane.h"
#include "state/image.h"

#include <string.h>

/* ---- buckets as bytes ----
 * Little endian: u32 magic "PSTB", u32 version 1, u32 bucket_count, u32 zero; for each bucket: u32 bucket, u32 page_count, u32 log_count,
 * u32 zero, i64 timer, u64 number; for each page u32 byte_count, then header and used bytes; for each log u32 structure, u32 zero, u64 tail,
 * u64 head. */
enum { BLOB_MAGIC = 0x42545350, BLOB_VERSION = 1 };

static void put_u32(struct pst_text *bytes, uint32_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}
static void put_u64(struct pst_text *bytes, uint64_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}

static int put_bucket(struct pst_ctx *ctx, uint32_t bucket, struct pst_text *bytes)
{
    struct pst_image image = {0};
    int rc = ctx->state != NULL ? pst_state_image_bucket(ctx->state, bucket, &image) : PST_OK;
    if (rc != PST_OK)
        return rc;
    put_u32(bytes, bucket);
    put_u32(bytes, image.page_count);
    put_u32(bytes, image.log_count);
    put_u32(bytes, 0);
    put_u64(bytes, (uint64_t)ctx->timers[bucket]);
    put_u64(bytes, ctx->numbers[bucket]);
    for (uint32_t i = 0; i < image.page_count; i++) {
        const struct pst_page_header *page = image.pages[i].bytes;
        put_u32(bytes, PST_PAGE_HEADER_BYTES + page->used_bytes);
        (void)pst_text_add(bytes, (const char *)page, PST_PAGE_HEADER_BYTES + (size_t)page->used_bytes);
    }
    for (uint32_t i = 0; i < image.log_count; i++) {
        put_u32(bytes, image.logs[i].structure);
        put_u32(bytes, 0);
        put_u64(bytes, image.logs[i].tail);
        put_u64(bytes, image.logs[i].head);
    }
    pst_image_fini(&image);
    return bytes->failed ? PST_ENOMEM : PST_OK;
}

int pst_lane_image(struct pst_ctx *ctx, const struct move *move, struct blob *blob)
{
    int rc = PST_OK;
    blob->t = ctx->now;
    put_u32(&blob->bytes, BLOB_MAGIC);
    put_u32(&blob->bytes, BLOB_VERSION);
    put_u32(&blob->bytes, move->bucket_count);
    put_u32(&blob->bytes, 0);
    for (uint32_t i = 0; i < move->bucket_count && rc == PST_OK; i++)
        rc = put_bucket(ctx, move->buckets[i], &blob->bytes);
    return rc;
}

struct reader {
    const char *at, *end;
    bool failed;
};

static const void *get(struct reader *reader, size_t byte_count)
{
    if (reader->failed || (size_t)(reader->end - reader->at) < byte_count) {
        reader->failed = true;
        return NULL;
    }
    const void *here = reader->at;
    reader->at += byte_count;
    return here;
}

static uint32_t get_u32(struct reader *reader)
{
    uint32_t value = 0;
    const void *from = get(reader, sizeof value);
    if (from != NULL)
        memcpy(&value, from, sizeof value);
    return value;
}

static uint64_t get_u64(struct reader *reader)
{
    uint64_t value = 0;
    const void *from = get(reader, sizeof value);
    if (from != NULL)
        memcpy(&value, from, sizeof value);
    return value;
}

static int get_page(struct pst_ctx *ctx, struct reader *reader, uint32_t bucket)
{
    _Alignas(8) char page[PST_PAGE_BYTES];
    uint32_t byte_count = get_u32(reader);
    const void *bytes =
        byte_count >= PST_PAGE_HEADER_BYTES && byte_count <= PST_PAGE_BYTES ? get(reader, byte_count) : NULL;
    if (bytes == NULL || ctx->state == NULL)
        return PST_EDATA;
    memcpy(page, bytes, byte_count);
    struct pst_page_header *header = (struct pst_page_header *)(void *)page;
    header->changed = pst_state_generation(ctx->state); /* here it has come now */
    return header->bucket == bucket ? pst_state_restore_page(ctx->state, header, byte_count) : PST_EDATA;
}

static int get_bucket(struct pst_ctx *ctx, struct reader *reader, uint32_t wanted)
{
    uint32_t bucket = get_u32(reader), page_count = get_u32(reader), log_count = get_u32(reader);
    uint32_t zero = get_u32(reader);
    int64_t timer = (int64_t)get_u64(reader);
    uint64_t number = get_u64(reader);
    if (reader->failed || zero != 0 || bucket != wanted)
        return PST_EDATA;
    int rc = PST_OK;
    for (uint32_t i = 0; i < page_count && rc == PST_OK; i++)
        rc = get_page(ctx, reader, bucket);
    for (uint32_t i = 0; i < log_count && rc == PST_OK; i++) {
        uint32_t structure = get_u32(reader);
        struct pst_image_log log = {.bucket = bucket, .structure = (uint16_t)structure};
        bool good = get_u32(reader) == 0 && structure <= UINT16_MAX && ctx->state != NULL;
        log.tail = get_u64(reader);
        log.head = get_u64(reader);
        rc = good && !reader->failed ? pst_state_restore_log(ctx->state, &log) : PST_EDATA;
    }
    ctx->timers[bucket] = timer;
    ctx->numbers[bucket] = number;
    ctx->timer_min = timer < ctx->timer_min ? timer : ctx->timer_min;
    return rc;
}

void pst_blob_free(struct blob *blob)
{
    if (blob != NULL)
        pst_text_fini(&blob->bytes);
    pst_free(blob);
}

int pst_lane_install(struct pst_ctx *ctx, const struct blob *blob)
{
    struct reader reader = {blob->bytes.bytes, blob->bytes.bytes + blob->bytes.count, false};
    uint32_t magic = get_u32(&reader), version = get_u32(&reader), count = get_u32(&reader), zero = get_u32(&reader);
    int rc = magic == BLOB_MAGIC && zero == 0 ? version == BLOB_VERSION ? PST_OK : PST_EABI : PST_EDATA;
    if (rc == PST_OK && count != ctx->owned_count)
        rc = PST_EDATA;
    for (uint32_t i = 0; i < ctx->owned_count && rc == PST_OK; i++)
        rc = get_bucket(ctx, &reader, ctx->buckets[i]);
    if (rc == PST_OK && (reader.failed || reader.at != reader.end))
        rc = PST_EDATA;
    return rc;
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

bool pst_lane_waits(struct pst_ctx *ctx)
{
    struct lane *lane = ctx->lane;
    if (lane == NULL || lane->state > LANE_FAILED)
        return false;
    struct blob *blob = atomic_exchange_explicit(&lane->blob, NULL, memory_order_acq_rel);
    if (blob == NULL)
        return true;
    lane->error = pst_lane_install(ctx, blob);
    int64_t t = blob->t;
    pst_blob_free(blob);
    ctx->run->world->wake(ctx->run->world->self, 0);
    if (lane->error != PST_OK) {
        atomic_store_explicit(&lane->state, LANE_FAILED, memory_order_release);
        return true;
    }
    lane->from = ctx->filter->from = ctx->now = t; /* M2 */
    ctx->now_known = true;
    held_filter(ctx);
    atomic_store_explicit(&lane->state, LANE_INSTALLED, memory_order_release);
    return false;
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

static int giver_stop(struct pst_ctx *ctx, struct giving *giving)
{
    const struct move *move = giving->move;
    struct filter *filter = ctx->filter;
    if (filter == NULL) {
        filter = ctx->filter = pst_arena_alloc(&ctx->arena, sizeof *filter);
        if (filter == NULL)
            return PST_ENOMEM;
        filter->from = INT64_MIN;
    }
    if (filter->gone == NULL)
        filter->gone = pst_arena_alloc(&ctx->arena, ctx->node->bucket_count);
    if (filter->gone == NULL)
        return PST_ENOMEM;
    int rc = PST_OK;
    for (uint32_t i = 0; i < move->bucket_count && rc == PST_OK; i++) {
        filter->gone[move->buckets[i]] = 1;
        owned_drop(ctx, move->buckets[i]);
        rc = ctx->state != NULL ? pst_state_drop(ctx->state, move->buckets[i]) : PST_OK;
    }
    held_filter(ctx);
    giving->stopped_at = ctx->now;
    atomic_store_explicit(&giving->stopped, true, memory_order_release);
    return rc;
}

void pst_filter_tidy(struct pst_ctx *ctx)
{
    const struct filter *filter = ctx->filter;
    if (filter != NULL && filter->from == INT64_MIN && filter->gone == NULL && filter->taken == NULL)
        ctx->filter = NULL;
}

int pst_partition_turn(struct pst_ctx *ctx)
{
    struct giving *giving = ctx->giving;
    int rc = ctx->join != NULL ? pst_join_turn(ctx) : PST_OK;
    if (rc != PST_OK)
        return rc;
    if (ctx->filter != NULL && ctx->now > ctx->filter->from) { /* every producer is past it */
        ctx->filter->from = INT64_MIN;
        pst_filter_tidy(ctx);
    }
    if (giving == NULL || ctx->had_rows)
        return PST_OK;
    if (!giving->imaged && ctx->now >= giving->after) {
        giving->blob = pst_calloc(1, sizeof *giving->blob);
        giving->error = giving->blob != NULL ? pst_lane_image(ctx, giving->move, giving->blob) : PST_ENOMEM;
        atomic_store_explicit(&giving->imaged, true, memory_order_release);
        ctx->run->world->wake(ctx->run->world->self, 0);
    }
    if (giving->stop && !giving->stopped && ctx->now >= giving->cut) {
        rc = giver_stop(ctx, giving);
        ctx->run->world->wake(ctx->run->world->self, 0);
    }
    return rc;
}

/* ---- what is not wanted ---- */

static void rows_move(const struct edge *edge, struct frame *frame, uint32_t to, uint32_t from, uint32_t n)
{
#define MOVE(column, bytes) \
    memmove((char *)(column) + (size_t)to * (bytes), (char *)(column) + (size_t)from * (bytes), (size_t)n * (bytes))
    MOVE(frame->time, sizeof *frame->time);
    if (edge->keyed) {
        MOVE(frame->hash, sizeof *frame->hash);
        MOVE(frame->bucket, sizeof *frame->bucket);
    }
    if (edge->total) {
        MOVE(frame->producer, sizeof *frame->producer);
        MOVE(frame->number, sizeof *frame->number);
    }
    for (uint32_t c = 0; c < edge->column_count; c++)
        MOVE(frame->columns[c], edge->column_bytes[c]);
#undef MOVE
}

void pst_frame_keep(const struct edge *edge, struct frame *frame, uint32_t first)
{
    if (first != 0)
        rows_move(edge, frame, 0, first, frame->row_count - first);
    frame->row_count -= first;
}

static bool wanted(struct filter *filter, const struct edge *edge, const struct frame *frame, uint32_t row)
{
    if (frame->time[row] < filter->from)
        return false;
    if (filter->gone != NULL && !edge->broadcast && filter->gone[edge->keyed ? frame->bucket[row] : 0] != 0)
        return false;
    if (filter->taken == NULL || !edge->total || frame->producer[row] == 0)
        return true;
    struct taken *taken = &filter->taken[edge->input][frame->producer[row] - 1];
    if (frame->time[row] < taken->cut)
        return true;
    if (frame->number[row] < taken->next)
        return false; /* M4 */
    taken->next = frame->number[row] + 1;
    return true;
}

void pst_frame_filter(struct pst_ctx *ctx, const struct channel *channel, struct frame *frame)
{
    uint32_t to = frame->cursor, row_count = frame->row_count, from = to;
    for (uint32_t row = to; row <= row_count; row++) {
        if (row < row_count && wanted(ctx->filter, channel->edge, frame, row)) /* asked once a row: it counts */
            continue;
        if (from != to)
            rows_move(channel->edge, frame, to, from, row - from);
        to += row - from;
        from = row + 1;
    }
    frame->row_count = to;
}
