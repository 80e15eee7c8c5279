/* test_channel.c - what waits in a channel takes the room of its rows, within a factor of two, however few of them come at a time. */
#include "engine/lane.h"
#include "tests/sim/world_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { FRAME = 100, ROWS = 20000 };

static const uint32_t columns[] = {0};
static uint32_t column_bytes[] = {8};
static struct edge edge = {
    .column_count = 1, .columns = columns, .column_bytes = column_bytes, .keyed = true, .total = true};
static struct worker workers[2];
static struct run run;
static struct pst_ctx consumer;
static struct lane lane;

static struct channel *channel_make(bool to_lane)
{
    run = (struct run){.workers = workers, .worker_count = 2};
    run.options.frame_rows = FRAME;
    run.options.channel_frames = 4;
    struct channel *channel = pst_channel_new(&run, &edge, 0, 1);
    assert_non_null(channel);
    consumer = (struct pst_ctx){.run = &run, .lane = to_lane ? &lane : NULL};
    atomic_init(&lane.state, LANE_WAITING);
    channel->consumer = &consumer;
    return channel;
}

static void put(struct channel *channel, uint64_t row)
{
    struct frame *frame = pst_channel_open_frame(channel);
    assert_non_null(frame);
    uint32_t at = frame->row_count++;
    frame->time[at] = (int64_t)row;
    frame->hash[at] = row * 3;
    frame->bucket[at] = (uint32_t)row % 16;
    frame->producer[at] = (uint32_t)row % 5;
    frame->number[at] = row;
    ((uint64_t *)frame->columns[0])[at] = row * 7;
}

/* The frame's next rows are those from `row` on; how many. */
static uint32_t expect(const struct frame *frame, uint64_t row)
{
    for (uint32_t i = frame->cursor; i < frame->row_count; i++, row++) {
        assert_int_equal(frame->time[i], row);
        assert_int_equal(frame->hash[i], row * 3);
        assert_int_equal(frame->bucket[i], row % 16);
        assert_int_equal(frame->producer[i], row % 5);
        assert_int_equal(frame->number[i], row);
        assert_int_equal(((const uint64_t *)frame->columns[0])[i], row * 7);
    }
    return frame->row_count - frame->cursor;
}

static void rows_that_find_no_room_fill_their_frames(void **state)
{
    (void)state;
    struct channel *channel = channel_make(false);
    uint64_t row = 0;
    for (; row < ROWS; row++) {
        put(channel, row);
        if (row % 3 == 2)
            pst_channel_flush(channel);
    }
    assert_in_range(channel->pending_count, 1, ROWS / FRAME + 1);
    assert_int_equal(pst_channel_ready(channel), ck_ring_capacity(&channel->ring) - 1);
    uint64_t seen = 0;
    for (bool more = true; more;) {
        struct frame *frame = pst_channel_head(channel);
        if (frame != NULL) {
            seen += expect(frame, seen);
            pst_channel_pop(channel);
        }
        pst_channel_flush(channel);
        more = frame != NULL || pst_channel_pending(channel);
    }
    assert_int_equal(seen, ROWS);
    pst_channel_free(channel);
}

static void rows_that_wait_for_a_lane_stand_side_by_side(void **state)
{
    (void)state;
    struct sim random;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct channel *channel = channel_make(true);
        uint64_t row = 0, seen = 0;
        sim_init(&random, seed);
        while (row < ROWS / 10) {
            uint64_t most = 1 + sim_random(&random, seed % 2 == 0 ? FRAME : 4);
            for (uint64_t i = 0; i < most; i++)
                put(channel, row++);
            pst_channel_flush(channel);
            (void)pst_channel_hold(channel);
            if (sim_random(&random, 20) == 0) /* some are delivered */
                seen += expect(channel->held_first, seen), channel->held_first->cursor = channel->held_first->row_count;
            if (channel->held_first->cursor == channel->held_first->row_count)
                pst_channel_pop(channel);
            assert_in_range(channel->held_count * FRAME, 0, 2 * (row - seen) + 2 * FRAME);
        }
        for (struct frame *frame; (frame = pst_channel_head(channel)) != NULL; pst_channel_pop(channel))
            seen += expect(frame, seen);
        assert_int_equal(seen, row);
        pst_channel_free(channel);
        sim_fini(&random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_find_no_room_fill_their_frames),
        cmocka_unit_test(rows_that_wait_for_a_lane_stand_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
