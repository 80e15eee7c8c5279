/* tests/sim/chaos.h - a cluster of a seed in which nothing is spared: while both queries run, one after the other, partitions are scaled,
 * moved, drained, rebalanced and moves cancelled, and nodes are killed and cut off, ways break, the store does not answer or its answers
 * are lost. Of five seeds one has replicas of some operators, one of all; of three one has its input in a file for each of several nodes, or
 * in a stream.
 * Whatever happens, at the end
 *   - the outputs are those of one process, byte for byte
 *   - every move's record is DONE or ABORTED, and none was given up because its two owners had come to something different
 *   - every bucket has one owner that there is; nothing of a graph or a move is left on any node, nothing is begun or unwritten
 *   - no file is left that was on its way to another name
 * and, as soon as a move has ended, no node that runs the graph on has a lane, a branch, a giver, or a channel on standby. */
#ifndef PST_SIM_CHAOS_H
#define PST_SIM_CHAOS_H

#include <stdbool.h>
#include <stdint.h>

struct chaos_sums {                /* over all clusters; all of one type: they are added up as an array */
    uint64_t clusters, busy;       /* busy: with at least two moves that ended and two faults */
    uint64_t done, aborted, asked; /* moves; asked: orders that were given */
    uint64_t faults, kills, cuts, breaks, stores, players;
    uint64_t lost; /* commits whose outcome was not learned */
    uint64_t restarts, completed, terms;
    uint64_t stopped, submitted_from; /* graphs that were stopped with a savepoint; that went on from one */
    uint64_t several_fed,
        read_elsewhere; /* clusters in which each of them reads a stream; streams that went to another node */
    uint64_t several, several_completed,
        several_resumed;          /* clusters in which several nodes read; their checkpoints; runs from these */
    uint64_t passed;              /* lines of theirs that a cut was passed when it was heard of */
    uint64_t replaced, copies;    /* nodes whose replicas took over; replicas that were made while the graph ran */
    uint64_t looked;              /* how often a move had just ended */
    uint64_t early;               /* moves given up before all who take part knew of those before */
    uint64_t turns, milliseconds; /* simulated */
};

void chaos_init(void);
void chaos_fini(void);
/* Fails the test where anything above is not so. */
void chaos_seed(uint64_t seed, struct chaos_sums *sums);

#endif
