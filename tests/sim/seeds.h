/* tests/sim/seeds.h - many seeds on all cores, in processes of their own: one that fails, whichever way, is told and ends no other. */
#ifndef PST_SIM_SEEDS_H
#define PST_SIM_SEEDS_H

#include "tests/sim/chaos.h"

enum { SEEDS_FAILED_MAX = 8 };

struct seeds {
    uint64_t first, count;
    uint32_t failed_max; /* no more are begun when so many have failed; 1 .. SEEDS_FAILED_MAX */
    /* what came of it */
    struct chaos_sums sums;
    uint32_t failed_count;
    struct {
        uint64_t seed;
        char why[400], *says; /* says: all that it has written. Freed by seeds_fini() */
    } failed[SEEDS_FAILED_MAX];
};

void seeds_run(struct seeds *seeds);
void seeds_fini(struct seeds *seeds);

#endif
