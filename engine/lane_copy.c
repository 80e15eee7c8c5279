/* lane_copy.c - see lane.h: buckets on their way from the giver to the lane, one after the other, while both work.
 *
 * The giver puts the images of some buckets into a parcel, each at the end of an epoch; at last, at a later one, digests of all. The lane
 * takes one parcel in, works up to its time, lets its buckets join or compares the digests, and takes the next one. So all that it
 * does at a time it does with the buckets whose state it has at that time; rows of the others are in what is still to come: M2.
 *
 * A bucket that is larger than a parcel goes in parts, each in a parcel, while rows are served between. All parts are of one time: a page
 * that a row changes before it was packed is copied first (pst_state_snapshot()). The lane begins with none of it before the last part is in.
 *
 * Parcel, little endian, all at multiples of 8:
 *    0 u32 magic "PSTB"    4 u32 version 2, or 3 where its first or last bucket is there in part    8 u32 digest_count    12 u32 bucket_count
 *   16 u32 1 the last one, else 0    20 u32 zero
 *   24 digests: 0 u32 bucket    4 u32 zero    8 u64 digest
 *      buckets: 0 u32 bucket    4 u32 page_count    8 u32 log_count    12 u32 1: the next parcel begins with more of it, else 0
 *              16 i64 timer    24 u64 number; then
 *        pages: 0 u32 byte_count    4 u32 zero    8 header and used bytes, zeros to a multiple of 8
 *        logs, in its last part: 0 u32 structure    4 u32 zero    8 u64 tail    16 u64 head */
#include "engine/enclave.h"
#include "engine/lane.h"
#include "engine/planted.h"
#include "state/image.h"

#include <string.h>

enum { PARCEL_MAGIC = 0x42545350, VERSION_WHOLE = 2, VERSION_PARTS = 3 };

/* ---- the way ---- */

/* Of those that are kept one that is large enough, and not much too large: the one that was used last, if a cache has it still. */
static struct blob *blob_kept(struct blobs *blobs, size_t byte_count)
{
    struct blob *blob = NULL;
    pst_lock_take(&blobs->lock);
    for (uint32_t i = blobs->count; i != 0 && blob == NULL; i--) {
        size_t capacity = blobs->kept[i - 1]->bytes.capacity;
        if (capacity < byte_count || capacity / 4 > byte_count)
            continue;
        blob = blobs->kept[i - 1];
        memmove(&blobs->kept[i - 1], &blobs->kept[i], (--blobs->count - (i - 1)) * sizeof(struct blob *));
        blobs->bytes -= capacity;
    }
    pst_lock_give(&blobs->lock);
    return blob;
}

static void blob_end(struct blob *blob)
{
    pst_text_fini(&blob->bytes);
    pst_free(blob);
}

struct blob *pst_blob_new(struct run *run, size_t byte_count)
{
    struct blob *blob = blob_kept(&run->blobs, byte_count + 1);
    if (blob != NULL)
        return blob;
    blob = pst_calloc(1, sizeof *blob);
    if (blob == NULL)
        return NULL;
    blob->bytes.bytes = pst_malloc(byte_count + 1); /* as texts end */
    blob->bytes.capacity = byte_count + 1;
    if (blob->bytes.bytes != NULL)
        return blob;
    pst_free(blob);
    return NULL;
}

void pst_blob_free(struct run *run, struct blob *blob)
{
    struct blobs *blobs = &run->blobs;
    if (blob == NULL)
        return;
    blob->bytes.count = 0;
    pst_lock_take(&blobs->lock);
    bool keeps = !blob->bytes.failed && blobs->count < BLOBS_KEPT && blobs->bytes <= WAY_BYTES_MAX &&
                 blob->bytes.capacity <= WAY_BYTES_MAX * 2 - blobs->bytes;
    if (keeps) {
        blobs->kept[blobs->count++] = blob;
        blobs->bytes += blob->bytes.capacity;
    }
    pst_lock_give(&blobs->lock);
    if (!keeps)
        blob_end(blob);
}

void pst_blobs_forget(struct run *run)
{
    struct blobs *blobs = &run->blobs;
    struct blob *kept[BLOBS_KEPT];
    pst_lock_take(&blobs->lock);
    uint32_t count = blobs->count;
    memcpy(kept, blobs->kept, count * sizeof(struct blob *));
    blobs->count = 0;
    blobs->bytes = 0;
    pst_lock_give(&blobs->lock);
    for (uint32_t i = 0; i < count; i++) /* the system takes its time to have them back */
        blob_end(kept[i]);
}

void pst_way_init(struct way *way, uint64_t move, uint32_t giver_worker, uint32_t taker_worker)
{
    *way = (struct way){.move = move, .giver_worker = giver_worker, .taker_worker = taker_worker};
    ck_ring_init(&way->ring, WAY_PARCELS);
    atomic_init(&way->arrived, 0);
    atomic_init(&way->bytes_arrived, 0);
    atomic_init(&way->cost, 0);
}

bool pst_way_put(struct run *run, struct way *way, struct blob *blob)
{
    atomic_thread_fence(memory_order_release);
    if (!ck_ring_enqueue_spsc(&way->ring, way->buffer, blob))
        return false;
    pst_run_wake(run, way->taker_worker);
    return true;
}

struct blob *pst_way_take(struct way *way)
{
    void *blob = NULL;
    if (!ck_ring_dequeue_spsc(&way->ring, way->buffer, &blob))
        return NULL;
    atomic_thread_fence(memory_order_acquire);
    return blob;
}

void pst_way_arrived(struct run *run, struct way *way, const struct blob *blob)
{
    atomic_fetch_add_explicit(&way->bytes_arrived, blob->bytes.count, memory_order_relaxed);
    atomic_store_explicit(&way->arrived, blob->number, memory_order_release);
    pst_run_wake(run, way->giver_worker);
}

void pst_way_empty(struct run *run, struct way *way)
{
    for (struct blob *blob; way != NULL && (blob = pst_way_take(way)) != NULL;)
        pst_blob_free(run, blob);
}

/* ---- a parcel is made ---- */

static void put_u32(struct pst_text *bytes, uint32_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}
static void put_u64(struct pst_text *bytes, uint64_t value)
{
    (void)pst_text_add(bytes, (const char *)&value, sizeof value);
}

int pst_packing_begin(struct pst_ctx *ctx, uint32_t bucket, uint64_t bytes, struct packings *packings)
{
    struct pst_image_log logs[PST_STRUCTURES_MAX];
    struct packing packing = {
        .bucket = bucket, .t = ctx->now, .timer = ctx->timers[bucket], .number = ctx->numbers[bucket], .bytes = bytes};
    PST_ASSERT(packings->count < AHEAD_BUCKETS_MAX);
    packing.log_count = ctx->state != NULL ? pst_state_logs(ctx->state, bucket, logs) : 0;
    if (packing.log_count != 0) {
        packing.logs = pst_malloc(packing.log_count * sizeof *packing.logs);
        if (packing.logs == NULL)
            return PST_ENOMEM;
        memcpy(packing.logs, logs, packing.log_count * sizeof *packing.logs);
    }
    int rc = ctx->state != NULL ? pst_state_snapshot(ctx->state, bucket, &packing.snapshot) : PST_OK;
    if (rc != PST_OK) {
        pst_free(packing.logs);
        return rc;
    }
    packings->of[(packings->first + packings->count++) % AHEAD_BUCKETS_MAX] = packing;
    packings->bytes += bytes;
    return PST_OK;
}

/* The first one is packed, or given up. */
static void packing_end(struct packings *packings)
{
    struct packing *packing = &packings->of[packings->first];
    pst_snapshot_free(packing->snapshot);
    pst_free(packing->logs);
    packings->bytes -= packing->bytes;
    *packing = (struct packing){0};
    packings->first = (packings->first + 1) % AHEAD_BUCKETS_MAX;
    packings->count--;
}

void pst_packings_free(struct packings *packings)
{
    while (packings->count != 0)
        packing_end(packings);
}

/* All that a bucket still has, or pages until there are so many bytes, but one at least; *ret_bytes more of them. */
static int pages_put(struct packing *packing, uint64_t bytes_max, struct pst_text *bytes, uint32_t *ret_page_count,
                     uint64_t *ret_bytes)
{
    static const char zeros[8];
    uint32_t left = packing->snapshot != NULL ? pst_snapshot_left(packing->snapshot) : 0;
    *ret_page_count = 0;
    while (left != 0 && (*ret_page_count == 0 || bytes->count < bytes_max) && !bytes->failed) {
        const struct pst_page_header *page;
        int rc = pst_snapshot_next(packing->snapshot, &page);
        if (rc != PST_OK)
            return rc;
        uint32_t byte_count = PST_PAGE_HEADER_BYTES + page->used_bytes;
        put_u32(bytes, byte_count);
        put_u32(bytes, 0);
        (void)pst_text_add(bytes, (const char *)page, byte_count);
        (void)pst_text_add(bytes, zeros, -byte_count & 7);
        *ret_bytes += byte_count;
        ++*ret_page_count;
        left--;
    }
    packing->parts = left != 0;
    return bytes->failed ? PST_ENOMEM : PST_OK;
}

/* The first of them; what was begun of it goes on. */
static int bucket_put(struct packings *packings, uint64_t bytes_max, struct pst_text *bytes, uint64_t *ret_bytes)
{
    struct packing *packing = &packings->of[packings->first];
    size_t head = bytes->count;
    uint64_t put = 0;
    uint32_t page_count;
    put_u32(bytes, packing->bucket);
    put_u32(bytes, 0);
    put_u32(bytes, 0);
    put_u32(bytes, 0);
    put_u64(bytes, (uint64_t)packing->timer);
    put_u64(bytes, packing->number);
    int rc = pages_put(packing, bytes_max, bytes, &page_count, &put);
    const bool goes_on = packing->parts;
    const uint32_t log_count = goes_on ? 0 : packing->log_count;
    for (uint32_t i = 0; i < log_count; i++) {
        put_u32(bytes, packing->logs[i].structure);
        put_u32(bytes, 0);
        put_u64(bytes, packing->logs[i].tail);
        put_u64(bytes, packing->logs[i].head);
    }
    const uint32_t counts[3] = {page_count, log_count, goes_on};
    if (rc == PST_OK && !bytes->failed)
        memcpy(bytes->bytes + head + 4, counts, sizeof counts);
    *ret_bytes += put;
    put = put < packing->bytes ? put : packing->bytes;
    packing->bytes -= put;
    packings->bytes -= put;
    if (!goes_on)
        packing_end(packings);
    return rc != PST_OK ? rc : bytes->failed ? PST_ENOMEM : PST_OK;
}

int pst_parcel_write(struct pst_ctx *ctx, const struct parcel *parcel, uint64_t bytes_max, struct packings *packings,
                     struct pst_text *bytes, uint64_t *ret_bytes)
{
    int rc = PST_OK;
    bool parts = packings->count != 0 && pst_packing(packings, 0)->parts;
    size_t head = bytes->count;
    *ret_bytes = 0;
    put_u32(bytes, PARCEL_MAGIC);
    put_u32(bytes, VERSION_WHOLE);
    put_u32(bytes, parcel->digest_count);
    put_u32(bytes, parcel->bucket_count);
    put_u32(bytes, parcel->last);
    put_u32(bytes, 0);
    for (uint32_t i = 0; i < parcel->digest_count; i++) {
        put_u32(bytes, parcel->digests[i]);
        put_u32(bytes, 0);
        put_u64(bytes, parcel->values != NULL ? parcel->values[i] : pst_bucket_digest(ctx, parcel->digests[i]));
    }
    for (uint32_t i = 0; i < parcel->bucket_count && rc == PST_OK; i++) {
        PST_ASSERT(packings->count != 0 && pst_packing(packings, 0)->bucket == parcel->buckets[i]);
        rc = bucket_put(packings, i + 1 == parcel->bucket_count ? bytes_max : UINT64_MAX, bytes, ret_bytes);
    }
    parts |= parcel->bucket_count != 0 && packings->count != 0 && pst_packing(packings, 0)->parts;
    if (rc == PST_OK && parts && !bytes->failed)
        memcpy(bytes->bytes + head + 4, &(uint32_t){VERSION_PARTS}, sizeof(uint32_t));
    return bytes->failed ? PST_ENOMEM : rc;
}

/* ---- a parcel is read ---- */

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
    uint32_t byte_count = get_u32(reader), zero = get_u32(reader);
    bool good = zero == 0 && byte_count >= PST_PAGE_HEADER_BYTES && byte_count <= PST_PAGE_BYTES;
    const void *bytes = good ? get(reader, (byte_count + 7) & ~7u) : NULL;
    if (bytes == NULL || ctx->state == NULL)
        return PST_EDATA;
    struct pst_page_header *header = (void *)(uintptr_t)bytes; /* aligned: all before it is, and memory is */
    header->changed = pst_state_generation(ctx->state);        /* it has come here now; the bytes are ours */
    return header->bucket == bucket ? pst_state_restore_page(ctx->state, header, byte_count) : PST_EDATA;
}

static int get_log(struct pst_ctx *ctx, struct reader *reader, uint32_t bucket)
{
    uint32_t structure = get_u32(reader), zero = get_u32(reader);
    struct pst_image_log log = {.bucket = bucket, .structure = (uint16_t)structure};
    log.tail = get_u64(reader);
    log.head = get_u64(reader);
    bool good = !reader->failed && zero == 0 && structure <= UINT16_MAX && ctx->state != NULL;
    return good ? pst_state_restore_log(ctx->state, &log) : PST_EDATA;
}

/* ends: it is the parcel's last; parts: it may go on then. */
static int get_bucket(struct pst_ctx *ctx, struct reader *reader, bool ends, bool parts)
{
    struct lane *lane = ctx->lane;
    uint32_t bucket = get_u32(reader), page_count = get_u32(reader), log_count = get_u32(reader);
    uint32_t goes_on = get_u32(reader);
    int64_t timer = (int64_t)get_u64(reader);
    uint64_t number = get_u64(reader);
    if (reader->failed || bucket >= ctx->node->bucket_count || lane->of[bucket] != LANE_WANTS ||
        (lane->goes_on && bucket != lane->open) ||
        (goes_on != 0 && (goes_on != 1 || !ends || !parts || log_count != 0 || page_count == 0)))
        return PST_EDATA;
    int rc = PST_OK;
    for (uint32_t i = 0; i < page_count && rc == PST_OK; i++)
        rc = get_page(ctx, reader, bucket);
    for (uint32_t i = 0; i < log_count && rc == PST_OK; i++)
        rc = get_log(ctx, reader, bucket);
    ctx->timers[bucket] = timer;
    ctx->numbers[bucket] = number;
    lane->goes_on = goes_on == 1;
    lane->open = bucket;
    if (lane->goes_on)
        return rc;
    lane->of[bucket] = LANE_HAS;
    lane->joining[lane->joining_count++] = bucket;
    return rc;
}

static int get_digest(const struct pst_ctx *ctx, struct reader *reader)
{
    struct lane *lane = ctx->lane;
    uint32_t bucket = get_u32(reader), zero = get_u32(reader);
    uint64_t digest = get_u64(reader);
    if (reader->failed || zero != 0 || bucket >= ctx->node->bucket_count || lane->of[bucket] != LANE_JOINED ||
        lane->digest_count == lane->wanted_count)
        return PST_EDATA;
    lane->digests[lane->digest_count++] = (struct lane_digest){bucket, digest};
    return PST_OK;
}

int pst_parcel_read(struct pst_ctx *ctx, const struct blob *blob)
{
    struct lane *lane = ctx->lane;
    struct reader reader = {blob->bytes.bytes, blob->bytes.bytes + blob->bytes.count, false};
    uint32_t magic = get_u32(&reader), version = get_u32(&reader);
    uint32_t digest_count = get_u32(&reader), bucket_count = get_u32(&reader);
    uint32_t last = get_u32(&reader), zero = get_u32(&reader);
    int rc = !reader.failed && magic == PARCEL_MAGIC && zero == 0 && last <= 1 ? PST_OK : PST_EDATA;
    if (rc == PST_OK && version != VERSION_WHOLE && version != VERSION_PARTS)
        rc = PST_EABI;
    bool parts = version == VERSION_PARTS && last == 0, went_on = lane->goes_on;
    if (rc == PST_OK && went_on && (!parts || digest_count != 0 || bucket_count == 0))
        rc = PST_EDATA;
    lane->joining_count = went_on ? lane->joining_count : 0;
    lane->digest_count = 0;
    lane->last = last == 1;
    for (uint32_t i = 0; i < digest_count && rc == PST_OK; i++)
        rc = get_digest(ctx, &reader);
    for (uint32_t i = 0; i < bucket_count && rc == PST_OK; i++)
        rc = get_bucket(ctx, &reader, i + 1 == bucket_count, parts);
    if (rc == PST_OK && (reader.failed || reader.at != reader.end))
        rc = PST_EDATA;
    return rc;
}

/* ---- when ---- */

static uint64_t now_ns(const struct run *run) { return run->world->now_ns(run->world->self); }

/* While rows wait, it is not the move's turn. */
static bool may_work(struct pst_ctx *ctx, const struct pace *pace)
{
    struct worker *worker = &ctx->run->workers[ctx->worker];
    if (worker->rests != pace->rests || ctx->run->options.stop_and_copy || now_ns(ctx->run) >= pace->rest_ns)
        return true;
    worker->rest_is_used = true;
    return false;
}

/* It has worked since begun_ns. */
static void pace_on(const struct pst_ctx *ctx, struct pace *pace, uint64_t begun_ns)
{
    struct worker *worker = &ctx->run->workers[ctx->worker];
    uint64_t ended_ns = now_ns(ctx->run);
    worker->moved_ns += ended_ns - begun_ns;
    pace->rests = worker->rests;
    pace->rest_ns = ended_ns + BUSY_TIMES * (ended_ns - begun_ns);
}

/* ---- the lane ---- */

void pst_lane_fail(struct pst_ctx *ctx, int error, const char *why)
{
    struct lane *lane = ctx->lane;
    if (lane->state == LANE_FAILED)
        return;
    lane->stops = false;
    lane->error = error;
    (void)snprintf(lane->why, sizeof lane->why, "%s", why);
    atomic_store_explicit(&lane->state, LANE_FAILED, memory_order_release);
    ctx->run->world->wake(ctx->run->world->self, 0);
}

/* It is the lane's from now on, at the place where buckets ascend. */
static void join(struct pst_ctx *ctx, uint32_t bucket)
{
    uint32_t at = ctx->owned_count++;
    for (; at != 0 && ctx->buckets[at - 1] > bucket; at--)
        ctx->buckets[at] = ctx->buckets[at - 1];
    ctx->buckets[at] = bucket;
    ctx->lane->of[bucket] = LANE_JOINED;
    if (ctx->sums != NULL)
        pst_sums_join(ctx->sums, bucket);
    if (ctx->timers[bucket] < ctx->timer_min)
        ctx->timer_min = ctx->timers[bucket];
}

void pst_lane_arrived(struct pst_ctx *ctx, int error, const char *why)
{
    struct lane *lane = ctx->lane;
    lane->stops = false;
    if (error != PST_OK) {
        pst_lane_fail(ctx, error, why);
        return;
    }
    for (uint32_t i = 0; i < lane->joining_count; i++)
        join(ctx, lane->joining[i]);
    if (!lane->last)
        return;
    if (ctx->owned_count != lane->wanted_count) {
        pst_lane_fail(ctx, PST_EDATA, pst_error_sentence(PST_EDATA));
        return;
    }
    lane->from = ctx->now;
    memcpy(lane->first, ctx->numbers, ctx->node->bucket_count * sizeof *lane->first);
    ctx->sums = NULL;
    atomic_store_explicit(&lane->state, LANE_INSTALLED, memory_order_release);
    ctx->run->world->wake(ctx->run->world->self, 0);
}

/* It stands at the time of the parcel that is in. What only its enclave's worker can compare that does. */
static void arrive(struct pst_ctx *ctx)
{
    struct lane *lane = ctx->lane;
    for (uint32_t i = 0; i < lane->digest_count; i++) {
        char why[100];
        uint32_t bucket = lane->digests[i].bucket;
        lane->compared_count++;
        uint64_t here = ctx->enclave == NULL ? pst_bucket_digest(ctx, bucket) : ctx->numbers[bucket];
        if (here == lane->digests[i].digest)
            continue;
        (void)snprintf(why, sizeof why, "bucket %u is not the same on both sides at event time %lld", bucket,
                       (long long)ctx->now);
        pst_lane_fail(ctx, PST_EINTERNAL, why);
        return;
    }
    if (ctx->enclave == NULL)
        pst_lane_arrived(ctx, PST_OK, "");
    else
        (void)pst_moving_arrive(ctx);
}

bool pst_lane_take(struct pst_ctx *ctx)
{
    struct lane *lane = ctx->lane;
    bool knows = lane->state == LANE_WAITING && !lane->stops && (ctx->enclave == NULL || pst_moving_meets(ctx));
    bool wants = knows && ck_ring_size(&lane->way.ring) != 0;
    struct blob *blob = wants && may_work(ctx, &lane->pace) ? pst_way_take(&lane->way) : NULL;
    if (blob == NULL)
        return false;
    uint64_t begun_ns = now_ns(ctx->run);
    int64_t t = blob->t;
    bool went_on = lane->goes_on;
    int rc = ctx->enclave == NULL ? pst_parcel_read(ctx, blob) : pst_moving_take(ctx, blob);
    if (rc == PST_OK &&
        (t != pst_floor_to(t, ctx->node->epoch) || (ctx->now_known && t < ctx->now) || (went_on && t != lane->t)))
        rc = PST_EDATA;
    lane->joined_bytes += blob->bytes.count;
    pst_way_arrived(ctx->run, &lane->way, blob);
    pst_blob_free(ctx->run, blob);
    pace_on(ctx, &lane->pace, begun_ns);
    if (rc != PST_OK) {
        pst_lane_fail(ctx, rc, pst_error_sentence(rc));
        return true;
    }
    if (!ctx->now_known)
        pst_lane_begin(ctx, t);
    lane->t = t;
    lane->stops = !lane->goes_on;
    if (lane->stops && ctx->now == t)
        arrive(ctx);
    return true;
}

bool pst_lane_turn(struct pst_ctx *ctx)
{
    struct lane *lane = ctx->lane;
    if (!lane->stops || ctx->now != lane->t || pst_moving_busy(ctx))
        return false;
    arrive(ctx);
    return true;
}

void pst_lane_took(struct pst_ctx *ctx, uint64_t ns)
{
    struct lane *lane = ctx->lane;
    uint32_t before = atomic_load_explicit(&lane->way.cost, memory_order_relaxed);
    if (lane->joined_bytes == 0)
        return;
    uint32_t cost = pst_join_cost(before, ns, lane->joined_bytes);
    lane->joined_bytes = 0;
    atomic_store_explicit(&lane->way.cost, cost, memory_order_relaxed);
    pst_run_wake(ctx->run, lane->way.giver_worker);
}

bool pst_lane_wants_row(struct pst_ctx *ctx, const struct edge *edge, const struct frame *frame, uint32_t row)
{
    struct lane *lane = ctx->lane;
    uint8_t has = edge->broadcast ? LANE_JOINED : lane->of[edge->keyed ? frame->bucket[row] : 0];
    if (lane->mistake == LANE_TAKES_TWICE || PST_PLANTED(NO_VECTOR))
        return has >= LANE_HAS;
    if (lane->mistake == LANE_LOSES_ONE && has == LANE_JOINED && !edge->broadcast) {
        lane->mistake = LANE_LOST_ONE;
        return false;
    }
    return has == LANE_JOINED;
}

/* ---- the giver ---- */

static bool way_has_room(const struct run *run, const struct giving *giving)
{
    const struct way *way = giving->way;
    uint32_t parcels = giving->parcel_count - atomic_load_explicit(&way->arrived, memory_order_acquire);
    uint64_t bytes = giving->bytes_put - atomic_load_explicit(&way->bytes_arrived, memory_order_relaxed);
    return parcels < WAY_PARCELS - 1 && bytes < run->way_bytes_max;
}

/* As the lane says; until it has, as the one of the move before has said. 0: not known. */
static uint32_t cost_of(const struct giving *giving)
{
    uint32_t cost = atomic_load_explicit(&giving->way->cost, memory_order_relaxed);
    return cost != 0 ? cost : giving->cost_before;
}

/* What the lane will need at the next end of an epoch for what joins at this one, as far as that is known. */
static uint64_t join_ns_of(const struct giving *giving) { return pst_join_ns(cost_of(giving), giving->at_bytes); }

/* No image was taken at this end of an epoch. */
static bool ends_anew(const struct pst_ctx *ctx, const struct giving *giving)
{
    return giving->taken_count == 0 || ctx->now > giving->taken_at;
}

/* More may join at this time. */
static bool may_join(const struct run *run, const struct giving *giving)
{
    bool known = cost_of(giving) != 0;
    return giving->at_bytes == 0 || run->options.stop_and_copy ||
           (known ? join_ns_of(giving) < JOIN_NS_MAX : giving->at_bytes < run->turn_bytes_max);
}

static uint64_t bucket_bytes(struct pst_ctx *ctx, uint32_t bucket)
{
    if (ctx->enclave != NULL) /* as much as each, as far as is known outside */
        return 1 + (ctx->owned_count != 0 ? pst_ctx_enclave_bytes(ctx) / ctx->owned_count : 0);
    return 1 + (ctx->state != NULL ? pst_state_bucket_bytes(ctx->state, bucket) : 0);
}

static uint64_t parcel_bytes_max(const struct pst_ctx *ctx)
{
    const uint64_t turn = ctx->run->turn_bytes_max,
                   most = ctx->enclave == NULL ? PARCEL_BYTES_MAX : PARCEL_BYTES_INSIDE;
    return turn < most ? turn : most;
}

/* The image of the next bucket, at this end of an epoch. */
static int image_take(struct pst_ctx *ctx, struct giving *giving)
{
    uint32_t bucket = giving->move->buckets[giving->taken_count];
    uint64_t bytes = bucket_bytes(ctx, bucket);
    if (ends_anew(ctx, giving)) {
        giving->taken_at = ctx->now;
        giving->at_bytes = 0;
    }
    int rc = pst_packing_begin(ctx, bucket, bytes, &giving->packings);
    if (rc != PST_OK)
        return rc;
    giving->taken_count++;
    giving->at_bytes += bytes;
    if (ctx->sums != NULL)
        pst_sums_begin(ctx->sums, bucket);
    return PST_OK;
}

/* Until there are so many bytes of them. */
static int images_take(struct pst_ctx *ctx, struct giving *giving, uint64_t bytes)
{
    const struct packings *packings = &giving->packings;
    int rc = PST_OK;
    while (rc == PST_OK && giving->taken_count < giving->move->bucket_count && packings->count < AHEAD_BUCKETS_MAX &&
           packings->bytes < bytes && (ends_anew(ctx, giving) || may_join(ctx->run, giving)))
        rc = image_take(ctx, giving);
    return rc;
}

/* At the first end of an epoch behind all images, be there some to be packed: they are not waited for then. */
static void digests_take(struct pst_ctx *ctx, struct giving *giving)
{
    const struct move *move = giving->move;
    if (giving->digested || ctx->had_rows || giving->taken_count < move->bucket_count || ctx->now <= giving->taken_at)
        return;
    for (uint32_t i = 0; i < move->bucket_count; i++)
        giving->digests[i] = pst_bucket_digest(ctx, move->buckets[i]);
    giving->digested = true;
    giving->digested_at = ctx->now;
}

/* Images that are taken, of one time. *ret_bytes: of them, as much as goes into a parcel. */
static void parcel_of_packings(const struct pst_ctx *ctx, const struct giving *giving, struct parcel *parcel,
                               uint64_t *ret_bytes)
{
    const struct packings *packings = &giving->packings;
    const struct packing *first = pst_packing(packings, 0);
    const uint64_t most = parcel_bytes_max(ctx);
    while (parcel->bucket_count < (first->parts ? 1 : packings->count) && *ret_bytes < most) {
        const struct packing *packing = pst_packing(packings, parcel->bucket_count);
        if (packing->t != first->t)
            return;
        *ret_bytes += packing->bytes;
        parcel->bucket_count++;
    }
}

/* Of what its enclave's worker has. */
static void parcel_inside(struct pst_ctx *ctx, const struct giving *giving, struct parcel *parcel, uint64_t *ret_bytes)
{
    const struct move *move = giving->move;
    const uint64_t most = parcel_bytes_max(ctx);
    for (uint32_t i = giving->imaged_count; i < move->bucket_count && *ret_bytes < most; i++, parcel->bucket_count++)
        *ret_bytes += bucket_bytes(ctx, move->buckets[i]);
}

/* What the next parcel holds at this time. *ret_bytes: of images. When all buckets are in, it is the digests of all, at a later time. */
static struct parcel parcel_choose(struct pst_ctx *ctx, const struct giving *giving, uint64_t *ret_bytes)
{
    const struct move *move = giving->move;
    struct parcel parcel = {
        .digests = move->buckets, .values = giving->digests, .buckets = move->buckets + giving->imaged_count};
    *ret_bytes = 0;
    if (ctx->enclave != NULL)
        parcel_inside(ctx, giving, &parcel, ret_bytes);
    else if (giving->packings.count != 0)
        parcel_of_packings(ctx, giving, &parcel, ret_bytes);
    if (giving->imaged_count < move->bucket_count)
        return parcel;
    bool later = ctx->enclave != NULL ? !ctx->had_rows && ctx->now > giving->taken_at : giving->digested;
    parcel.digest_count = later ? move->bucket_count : 0;
    parcel.last = later || now_ns(ctx->run) >= giving->late_ns;
    return parcel;
}

static void given(struct pst_ctx *ctx, int error)
{
    ctx->sums = NULL;
    ctx->join_cost = cost_of(ctx->giving);
    pst_packings_free(&ctx->giving->packings);
    ctx->giving->error = error;
    atomic_store_explicit(&ctx->giving->given, true, memory_order_release);
    ctx->run->world->wake(ctx->run->world->self, 0);
}

void pst_giver_fail(struct pst_ctx *ctx, int error, const char *why)
{
    (void)snprintf(ctx->giving->why, sizeof ctx->giving->why, "%s", why);
    given(ctx, error);
}

static void parcel_done(struct pst_ctx *ctx, struct giving *giving, const struct parcel *parcel, uint64_t bytes)
{
    struct run *run = ctx->run;
    const struct packings *packings = &giving->packings;
    bool goes_on = packings->count != 0 && pst_packing(packings, 0)->parts;
    giving->imaged_count += parcel->bucket_count - (parcel->bucket_count != 0 && goes_on);
    atomic_fetch_add_explicit(&giving->bytes_done, bytes, memory_order_relaxed);
    if (parcel->bucket_count != 0 && giving->imaged_count == giving->move->bucket_count) {
        giving->late_ns = now_ns(run) + run->digest_wait_ns;
        (void)run->world->alarm(run->world->self, run->worker_base + ctx->worker, giving->late_ns);
    }
    giving->compared = parcel->digest_count != 0;
    if (parcel->last)
        given(ctx, PST_OK);
    else if (giving->parcel_count % 16 == 0)
        run->world->wake(run->world->self, 0); /* it tells how far it is */
}

static void parcel_put(struct pst_ctx *ctx, struct giving *giving, const struct parcel *parcel, struct blob *blob,
                       uint64_t bytes)
{
    giving->parcel_count++;
    giving->bytes_put += blob->bytes.count;
    parcel_done(ctx, giving, parcel, bytes);
    bool put = pst_way_put(ctx->run, giving->way, blob);
    PST_ASSERT(put); /* way_has_room() */
}

static void paused(struct giving *giving, uint64_t pause_ns)
{
    if (pause_ns > atomic_load_explicit(&giving->pause_ns_max, memory_order_relaxed))
        atomic_store_explicit(&giving->pause_ns_max, pause_ns, memory_order_relaxed);
}

/* Something was handed over: others have their turn. */
static void rest(const struct pst_ctx *ctx, struct giving *giving, uint64_t begun_ns)
{
    pace_on(ctx, &giving->pace, begun_ns);
    giving->handed_ns = now_ns(ctx->run);
}

void pst_giver_handed(struct pst_ctx *ctx, struct blob *blob, int error, const char *why)
{
    struct giving *giving = ctx->giving;
    if (error != PST_OK) {
        pst_blob_free(ctx->run, blob);
        pst_giver_fail(ctx, error, why);
        return;
    }
    if (ends_anew(ctx, giving))
        giving->at_bytes = 0;
    giving->taken_at = ctx->now;
    giving->taken_count += giving->parcel.bucket_count;
    giving->at_bytes += blob->bytes.count;
    parcel_put(ctx, giving, &giving->parcel, blob, giving->parcel_bytes);
    rest(ctx, giving, giving->parcel_ns);
    paused(giving, now_ns(ctx->run) - giving->parcel_ns);
}

/* Buckets of which no parcel has had a part. */
static uint32_t parcel_begins(const struct giving *giving, const struct parcel *parcel)
{
    const bool goes_on = giving->packings.count != 0 && pst_packing(&giving->packings, 0)->parts;
    return parcel->bucket_count - (parcel->bucket_count != 0 && goes_on);
}

/* PST_EAGAIN: there is nothing to be put in at this time, or it is being sealed. */
static int parcel_give(struct pst_ctx *ctx, struct giving *giving, uint64_t *work_bytes)
{
    uint64_t bytes, most = giving->whole ? UINT64_MAX : parcel_bytes_max(ctx);
    struct parcel parcel = parcel_choose(ctx, giving, &bytes);
    if (parcel.bucket_count == 0 && !parcel.last)
        return PST_EAGAIN;
    if (ctx->enclave == NULL && bytes > most)
        bytes = most;
    uint64_t enough = bytes + (uint64_t)parcel.bucket_count * 1024 + 128 * 1024; /* mostly */
    struct blob *blob = pst_blob_new(ctx->run, enough);
    if (blob == NULL)
        return PST_ENOMEM;
    const uint64_t begun = parcel_begins(giving, &parcel);
    blob->t = giving->packings.count != 0                        ? pst_packing(&giving->packings, 0)->t
              : ctx->enclave == NULL && parcel.digest_count != 0 ? giving->digested_at
                                                                 : ctx->now;
    blob->number = giving->parcel_count + 1;
    giving->parcel = parcel;
    giving->parcel_bytes = bytes;
    giving->parcel_ns = now_ns(ctx->run);
    int rc = ctx->enclave == NULL ? pst_parcel_write(ctx, &parcel, most, &giving->packings, &blob->bytes, &bytes)
                                  : pst_moving_hand(ctx, &parcel, blob);
    if (rc == PST_EAGAIN) /* its enclave's worker seals it */
        return rc;
    if (rc != PST_OK) {
        pst_blob_free(ctx->run, blob);
        return rc;
    }
    bytes += ctx->enclave == NULL ? begun : 0; /* as bucket_bytes() counts them: an empty one is work, too */
    *work_bytes += bytes;
    parcel_put(ctx, giving, &parcel, blob, bytes);
    return PST_OK;
}

static void count_total(struct pst_ctx *ctx, struct giving *giving)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < giving->move->bucket_count; i++)
        bytes += bucket_bytes(ctx, giving->move->buckets[i]);
    atomic_store_explicit(&giving->bytes_total, bytes, memory_order_relaxed);
}

/* A bucket's image may be taken here, or the digests. */
static bool may_begin(const struct pst_ctx *ctx, const struct giving *giving, uint64_t time_ns)
{
    bool late = giving->imaged_count == giving->move->bucket_count && time_ns >= giving->late_ns;
    if (ctx->had_rows && !late)
        return false;
    if (ends_anew(ctx, giving)) /* by what the lane says now: it may have learnt better since */
        return time_ns - giving->handed_ns >= pst_join_rest_ns(cost_of(giving), giving->at_bytes);
    return ctx->run->stand_rows_max != 0; /* the former: once, then */
}

/* Images are taken as soon as they may be, enough to be packed until the next end of an epoch: where the worker has time to spare. */
static bool looks_ahead(const struct pst_ctx *ctx)
{
    const struct run *run = ctx->run;
    return ctx->enclave == NULL && !run->workers[ctx->worker].loaded && !run->options.stop_and_copy &&
           !ctx->giving->whole;
}

/* Of a worker in an enclave, which takes an image when it is asked for it, and seals it. */
static bool may_ask(const struct pst_ctx *ctx, const struct giving *giving)
{
    return giving->imaged_count == giving->move->bucket_count || ends_anew(ctx, giving) || may_join(ctx->run, giving);
}

static int parcels_give(struct pst_ctx *ctx, struct giving *giving, bool begins)
{
    const struct run *run = ctx->run;
    uint64_t work_bytes = 0;
    int rc = PST_OK;
    while (rc == PST_OK && !giving->given && work_bytes < run->turn_bytes_max && way_has_room(run, giving)) {
        if (ctx->enclave == NULL && begins)
            rc = images_take(ctx, giving, parcel_bytes_max(ctx));
        else if (ctx->enclave != NULL && !may_ask(ctx, giving))
            rc = PST_EAGAIN;
        if (rc == PST_OK)
            rc = parcel_give(ctx, giving, &work_bytes);
    }
    return rc;
}

bool pst_giver_copy(struct pst_ctx *ctx)
{
    struct giving *giving = ctx->giving;
    struct run *run = ctx->run;
    uint64_t begun_ns = now_ns(run);
    uint32_t before = giving->parcel_count;
    if (giving->given || ctx->now < giving->after)
        return false;
    if (ctx->enclave == NULL)
        digests_take(ctx, giving);
    bool begins = may_begin(ctx, giving, begun_ns);
    if (!begins && giving->packings.count == 0 && !giving->digested)
        return false;
    if (giving->taken_count == 0)
        count_total(ctx, giving);
    int rc = begins && looks_ahead(ctx) ? images_take(ctx, giving, run->ahead_bytes_max) : PST_OK;
    if (rc != PST_OK)
        given(ctx, rc);
    if (rc != PST_OK || (ctx->enclave != NULL && !pst_moving_meets(ctx)) || !may_work(ctx, &giving->pace))
        return false;
    rc = parcels_give(ctx, giving, begins);
    if (rc != PST_OK && rc != PST_EAGAIN)
        given(ctx, rc);
    if (giving->parcel_count != before)
        rest(ctx, giving, begun_ns);
    paused(giving, now_ns(run) - begun_ns);
    return giving->parcel_count != before;
}

static uint64_t rows_waiting(const struct pst_ctx *ctx)
{
    uint64_t rows = 0;
    for (uint32_t c = 0; c < ctx->channel_count; c++)
        for (const struct frame *frame = ctx->channels[c]->held_first; frame != NULL && rows <= STAND_ROWS_MAX;
             frame = frame->next)
            rows += frame->row_count - frame->cursor;
    return rows;
}

/* What it would do with the rows shows at the epoch's end: until that has come they can as well wait, if they are few. In total order
 * they show at once. With stop_and_copy they wait for as long as the copy takes, whatever has come. */
bool pst_giver_stands(const struct pst_ctx *ctx, bool closed)
{
    const struct giving *giving = ctx->giving;
    if (giving == NULL)
        return false;
    uint32_t done = ctx->run->options.stop_and_copy ? giving->imaged_count : giving->taken_count;
    bool copies = ctx->node->order == PST_ORDER_EPOCH && !ctx->had_rows && ctx->now >= giving->after &&
                  giving->taken_count != 0 && ctx->now == giving->taken_at && !giving->given &&
                  done < giving->move->bucket_count && !closed;
    return copies && (ctx->run->options.stop_and_copy ||
                      (may_join(ctx->run, giving) && rows_waiting(ctx) < ctx->run->stand_rows_max));
}
