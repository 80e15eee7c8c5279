/* stamps.h - the page of memory that the pacer and the measuring sink share (a file that both map): when what was due, and how late its
 * result was seen. Layout of one machine and one build; nobody else reads it but tools/bench/cluster.py, by the offsets below.
 *
 * An event bears its event time in milliseconds. From `base_ns` on (the monotonic clock of the machine) event time base_ms + t is due
 * at base_ns + t: latency is counted from there, whenever the event could really be written. */
#ifndef PST_BENCH_STAMPS_H
#define PST_BENCH_STAMPS_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define STAMPS_MAGIC UINT64_C(0x31504d4154534250)
enum {
    STAMPS_CLASSES = 4,  /* two halves of the buckets of two operators */
    STAMPS_SLOTS = 3000, /* of SLOT_MS of due time */
    STAMPS_SLOT_MS = 100,
    STAMPS_STEPS = 16, /* cells of one power of two: 6 % wide at most */
    STAMPS_CELLS = 30 * STAMPS_STEPS,
};

struct stamps {
    uint64_t magic;           /*  0 */
    _Atomic uint64_t base_ns; /*  8  0: nothing is timed yet */
    _Atomic uint64_t base_ms; /* 16 */
    _Atomic uint64_t rows;    /* 24  seen by the first sink, all told */
    _Atomic uint64_t newest;  /* 32  event time of the newest one */
    _Atomic uint64_t opened;  /* 40  how often it has begun */
    uint64_t reserved[2];
    uint32_t cells[STAMPS_SLOTS][STAMPS_CLASSES][STAMPS_CELLS]; /* 64  each class one sink's alone */
};
static_assert(offsetof(struct stamps, cells) == 64, "read by cluster.py");

/* Of a latency in microseconds: below 16 exact, then 16 cells for each power of two. */
static inline uint32_t stamps_cell(uint64_t us)
{
    if (us < STAMPS_STEPS)
        return (uint32_t)us;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(us); /* 4.. */
    uint32_t cell = (power - 3) * STAMPS_STEPS + (uint32_t)(us >> (power - 4) & (STAMPS_STEPS - 1));
    return cell < STAMPS_CELLS ? cell : STAMPS_CELLS - 1;
}

#endif
