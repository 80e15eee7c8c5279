/* tests/sim/moves.h - what has to hold of a cluster's moves, whatever has happened meanwhile: when one has just ended, and at the end. */
#ifndef PST_SIM_MOVES_H
#define PST_SIM_MOVES_H

#include "tests/sim/cluster.h"

struct moves_sums { /* of records, as the store has them */
    uint64_t done, aborted, copies;
};

/* A move has just ended, and its graph runs on: no node that runs it has a lane, a branch, a giver or a channel on standby. Fails the test. */
void moves_clear(const struct cluster *cluster, const struct graph_record *record, const char *what);
/* Every record is DONE or ABORTED, and none because its owners had come to something different. Adds to *sums. Fails the test. */
void moves_ended(const struct cluster *cluster, const char *what, struct moves_sums *sums);
/* Every bucket has an owner that there is. Fails the test. */
void moves_owners(const struct graph_record *record, const char *what);
/* Nothing of an order is in the store: all have ended. Fails the test. */
void moves_no_order(const struct cluster *cluster, const char *what);

#endif
