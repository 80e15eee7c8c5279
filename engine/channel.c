/* channel.c - frames from one instance to one partition: a single-producer ring, a ring back for used frames, a watermark.
 *
 * The ring's size is the credit: a frame that finds no room stays pending with its producer, and the one behind it stays open until it is
 * full, so that what waits is rows and not room for them. Of a lane's input the same is true on the other side. Watermarks and ends need no room,
 * they stand in cells of their own (E2). A producer that waits says so in `blocked`, then tries once more; a consumer that made
 * room looks at it afterwards: both sequentially consistent, so that no wake-up is lost. */
#include "engine/lane.h"

#include <string.h>

/* ck_ring orders memory with its own instructions, which the thread sanitizer does not know: it is told of the hand-over. */
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define HANDED_OVER(address) __tsan_release(address)
#define TAKEN_OVER(address) __tsan_acquire(address)
#else
#define HANDED_OVER(address) ((void)(address))
#define TAKEN_OVER(address) ((void)(address))
#endif

static bool ring_put(ck_ring_t *ring, ck_ring_buffer_t *buffer, struct frame *frame)
{
    HANDED_OVER(ring);
    return ck_ring_enqueue_spsc(ring, buffer, frame);
}

static struct frame *ring_take(ck_ring_t *ring, ck_ring_buffer_t *buffer)
{
    void *frame = NULL;
    if (!ck_ring_dequeue_spsc(ring, buffer, &frame))
        return NULL;
    TAKEN_OVER(ring);
    return frame;
}

static size_t align64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static uint32_t power_of_two_above(uint32_t n)
{
    uint32_t size = 2;
    while (size <= n)
        size *= 2;
    return size;
}

struct channel *pst_channel_new(struct run *run, const struct edge *edge, uint32_t producer_worker,
                                uint32_t consumer_worker)
{
    struct channel *channel = pst_aligned(64, sizeof *channel);
    if (channel == NULL)
        return NULL;
    memset(channel, 0, sizeof *channel);
    uint32_t size = power_of_two_above(run->options.channel_frames);
    channel->edge = edge;
    channel->run = run;
    channel->producer_worker = producer_worker;
    channel->consumer_worker = consumer_worker;
    channel->frame_rows = run->options.frame_rows;
    atomic_init(&channel->watermark, INT64_MIN);
    channel->newest = INT64_MIN;
    channel->ring_buffer = pst_calloc(size, sizeof *channel->ring_buffer);
    channel->recycled_buffer = pst_calloc(size * 2, sizeof *channel->recycled_buffer);
    if (channel->ring_buffer == NULL || channel->recycled_buffer == NULL) {
        pst_free(channel->ring_buffer);
        pst_free(channel->recycled_buffer);
        pst_free(channel);
        return NULL;
    }
    ck_ring_init(&channel->ring, size);
    ck_ring_init(&channel->recycled, size * 2);
    return channel;
}

static void frames_free(struct frame *frame)
{
    while (frame != NULL) {
        struct frame *next = frame->next;
        pst_free(frame);
        frame = next;
    }
}

void pst_channel_free(struct channel *channel)
{
    struct frame *frame;
    while ((frame = ring_take(&channel->ring, channel->ring_buffer)) != NULL)
        pst_free(frame);
    while ((frame = ring_take(&channel->recycled, channel->recycled_buffer)) != NULL)
        pst_free(frame);
    frames_free(channel->pending_first);
    frames_free(channel->held_first);
    frames_free(channel->used);
    pst_free(channel->open);
    pst_free(channel->ring_buffer);
    pst_free(channel->recycled_buffer);
    pst_free(channel);
}

/* ---- producer ---- */
static char *place(char **at, size_t bytes)
{
    char *here = *at;
    *at += align64(bytes);
    return here;
}

/* One allocation: the header, then each column on its own cache line. */
static struct frame *frame_new(const struct channel *channel)
{
    const struct edge *edge = channel->edge;
    size_t rows = channel->frame_rows;
    size_t header = align64(sizeof(struct frame) + edge->column_count * sizeof(void *));
    size_t bytes = header + align64(rows * 8) + (edge->keyed ? align64(rows * 8) + align64(rows * 4) : 0) +
                   (edge->total ? align64(rows * 4) + align64(rows * 8) : 0);
    for (uint32_t i = 0; i < edge->column_count; i++)
        bytes += align64(rows * edge->column_bytes[i]);
    struct frame *frame = pst_aligned(64, bytes);
    if (frame == NULL)
        return NULL;
    memset(frame, 0, header);
    char *at = (char *)frame + header;
    frame->time = (int64_t *)(void *)place(&at, rows * 8);
    if (edge->keyed) {
        frame->hash = (uint64_t *)(void *)place(&at, rows * 8);
        frame->bucket = (uint32_t *)(void *)place(&at, rows * 4);
    }
    if (edge->total) {
        frame->producer = (uint32_t *)(void *)place(&at, rows * 4);
        frame->number = (uint64_t *)(void *)place(&at, rows * 8);
    }
    for (uint32_t i = 0; i < edge->column_count; i++)
        frame->columns[i] = place(&at, rows * edge->column_bytes[i]);
    PST_ASSERT(at == (char *)frame + bytes);
    return frame;
}

void pst_channel_pend(struct channel *channel)
{
    struct frame *frame = channel->open;
    if (frame == NULL || frame->row_count == 0)
        return;
    channel->open = NULL;
    frame->next = NULL;
    if (channel->pending_last != NULL)
        channel->pending_last->next = frame;
    else
        channel->pending_first = frame;
    channel->pending_last = frame;
    channel->pending_count++;
    channel->sequence += frame->row_count;
    atomic_store_explicit(&channel->rows, channel->sequence, memory_order_relaxed);
}

/* A used frame, of several the one that was read last: its columns are in the processor's cache still. */
static struct frame *frame_used(struct channel *channel)
{
    struct frame *frame;
    while ((frame = ring_take(&channel->recycled, channel->recycled_buffer)) != NULL) {
        if (channel->used_count == ck_ring_capacity(&channel->recycled)) {
            pst_free(frame);
            continue;
        }
        frame->next = channel->used;
        channel->used = frame;
        channel->used_count++;
    }
    frame = channel->used;
    if (frame != NULL) {
        channel->used = frame->next;
        channel->used_count--;
    }
    return frame;
}

struct frame *pst_channel_open_frame(struct channel *channel)
{
    if (channel->open != NULL && channel->open->row_count < channel->frame_rows)
        return channel->open;
    pst_channel_pend(channel);
    struct frame *frame = frame_used(channel);
    if (frame == NULL)
        frame = frame_new(channel);
    if (frame == NULL)
        return NULL;
    frame->row_count = frame->cursor = 0;
    frame->sequence = channel->sequence;
    frame->next = NULL;
    return channel->open = frame;
}

static bool send_pending(struct channel *channel)
{
    bool sent = false;
    if (channel->pending_first == NULL)
        pst_channel_pend(channel);
    while (channel->pending_first != NULL) {
        struct frame *frame = channel->pending_first, *next = frame->next;
        frame->next = NULL; /* the ring's store publishes it: from here on the frame is the consumer's */
        if (!ring_put(&channel->ring, channel->ring_buffer, frame)) {
            frame->next = next;
            break;
        }
        channel->pending_first = next;
        channel->pending_count--;
        sent = true;
        if (next == NULL) {
            channel->pending_last = NULL;
            pst_channel_pend(channel);
        }
    }
    return sent;
}

void pst_channel_flush(struct channel *channel)
{
    bool sent = send_pending(channel);
    if (channel->pending_first != NULL) {
        atomic_store(&channel->blocked, true);
        sent |= send_pending(channel);
    }
    if (channel->pending_first == NULL)
        atomic_store_explicit(&channel->blocked, false, memory_order_relaxed);
    if (sent)
        pst_wake_later(channel->run, channel->producer_worker, channel->consumer_worker);
}

void pst_channel_watermark(struct channel *channel, int64_t watermark)
{
    if (atomic_load_explicit(&channel->watermark, memory_order_relaxed) >= watermark)
        return;
    atomic_store_explicit(&channel->watermark, watermark, memory_order_release);
    pst_wake_later(channel->run, channel->producer_worker, channel->consumer_worker);
}

/* ---- rows ---- */

void pst_frame_rows_move(const struct edge *edge, struct frame *to, uint32_t at, const struct frame *from,
                         uint32_t first, uint32_t n)
{
#define MOVE(column, bytes)                                                                            \
    memmove((char *)to->column + (size_t)at * (bytes), (char *)from->column + (size_t)first * (bytes), \
            (size_t)n * (bytes))
    MOVE(time, sizeof *to->time);
    if (edge->keyed) {
        MOVE(hash, sizeof *to->hash);
        MOVE(bucket, sizeof *to->bucket);
    }
    if (edge->total) {
        MOVE(producer, sizeof *to->producer);
        MOVE(number, sizeof *to->number);
    }
    for (uint32_t c = 0; c < edge->column_count; c++)
        MOVE(columns[c], edge->column_bytes[c]);
#undef MOVE
}

/* ---- consumer ---- */

/* Behind those that wait for a lane, where there is room: of two neighbours one is more than half full, then. */
static bool append(struct channel *channel, struct frame *frame)
{
    struct frame *last = channel->held_last;
    uint32_t n = frame->row_count - frame->cursor;
    if (last == NULL || channel->consumer == NULL || !pst_is_muted(channel->consumer) ||
        n > channel->frame_rows - last->row_count)
        return false;
    pst_frame_rows_move(channel->edge, last, last->row_count, frame, frame->cursor, n);
    last->row_count += n;
    pst_channel_recycle(channel, frame);
    return true;
}

static void hold(struct channel *channel, struct frame *frame)
{
    int64_t newest = frame->time[frame->row_count - 1];
    PST_ASSERT(frame->next == NULL);
    channel->newest = newest > channel->newest ? newest : channel->newest;
    if (append(channel, frame))
        return;
    if (channel->held_last != NULL)
        channel->held_last->next = frame;
    else
        channel->held_first = frame;
    channel->held_last = frame;
    channel->held_count++;
}

/* What is wanted of it. */
static void take_in(struct channel *channel, struct frame *frame)
{
    if (channel->consumer != NULL && channel->consumer->filter != NULL)
        pst_frame_filter(channel->consumer, channel, frame);
    if (frame->row_count != 0)
        hold(channel, frame);
    else
        pst_channel_recycle(channel, frame);
}

static void wake_producer(struct channel *channel)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&channel->blocked, memory_order_relaxed))
        pst_wake_later(channel->run, channel->consumer_worker, channel->producer_worker);
}

struct frame *pst_channel_head(struct channel *channel)
{
    if (channel->held_first != NULL)
        return channel->held_first;
    while (channel->held_first == NULL) {
        struct frame *frame = ring_take(&channel->ring, channel->ring_buffer);
        if (frame == NULL)
            return NULL;
        take_in(channel, frame);
        wake_producer(channel);
    }
    return channel->held_first;
}

struct frame *pst_channel_take(struct channel *channel)
{
    struct frame *frame = channel->held_first;
    channel->held_first = frame->next;
    if (channel->held_first == NULL)
        channel->held_last = NULL;
    channel->held_count--;
    frame->next = NULL;
    return frame;
}

void pst_channel_recycle(struct channel *channel, struct frame *frame)
{
    if (!ring_put(&channel->recycled, channel->recycled_buffer, frame))
        pst_free(frame);
}

/* Returns how many are left. */
static uint32_t list_tidy(struct frame **first, struct frame **last)
{
    uint32_t count = 0;
    *last = NULL;
    for (struct frame **at = first; *at != NULL;) {
        struct frame *frame = *at;
        if (frame->cursor == frame->row_count) {
            *at = frame->next;
            pst_free(frame);
            continue;
        }
        count++;
        *last = frame;
        at = &frame->next;
    }
    return count;
}

void pst_channel_tidy_out(struct channel *channel)
{
    channel->pending_count = list_tidy(&channel->pending_first, &channel->pending_last);
    if (channel->open != NULL && channel->open->row_count == 0) {
        pst_free(channel->open);
        channel->open = NULL;
    }
}

void pst_channel_tidy_in(struct channel *channel)
{
    channel->held_count = list_tidy(&channel->held_first, &channel->held_last);
}

void pst_channel_pop(struct channel *channel) { pst_channel_recycle(channel, pst_channel_take(channel)); }

uint32_t pst_channel_hold(struct channel *channel)
{
    uint32_t count = 0;
    struct frame *frame;
    for (; (frame = ring_take(&channel->ring, channel->ring_buffer)) != NULL; count++)
        take_in(channel, frame);
    if (count != 0)
        wake_producer(channel);
    return count;
}

uint64_t pst_channel_ready(const struct channel *channel) { return channel->held_count + ck_ring_size(&channel->ring); }

/* A source on a worker without rows in flight promises what the whole input promises, without having to be woken for it.
 * M is read before `busy`: whoever raised M to a value set `busy` on the channels of every block below it first. */
int64_t pst_channel_read_watermark(const struct channel *channel, const struct input *input)
{
    if (!channel->from_source)
        return atomic_load_explicit(&channel->watermark, memory_order_acquire);
    int64_t max = atomic_load_explicit(&input->max, memory_order_acquire);
    if (!atomic_load_explicit(&channel->busy, memory_order_acquire))
        return max;
    return atomic_load_explicit(&channel->watermark, memory_order_acquire);
}

enum end pst_channel_read_end(const struct channel *channel, const struct input *input)
{
    if (!channel->from_source)
        return (enum end)atomic_load_explicit(&channel->ended, memory_order_acquire);
    enum end end = (enum end)atomic_load_explicit(&input->end, memory_order_acquire);
    return atomic_load_explicit(&channel->busy, memory_order_acquire) ? END_NOT : end;
}
