/* engine/planted.h - mistakes that the tests plant in a build of their own (tests/sim/test_mistakes.c), to see that chaos finds them.
 * Inside the room: nobody else includes it. In the product none of them is there. */
#ifndef PST_PLANTED_H
#define PST_PLANTED_H

#define PST_MISTAKES(X)                                                                            \
    X(NO_VECTOR, "a lane takes rows of a bucket that are below its image")                         \
    X(NO_EPOCH, "a link takes what is of another incarnation, or of another move's channel")       \
    X(EARLY_TRIM, "a link forgets what it has sent before it is acknowledged")                     \
    X(NO_REPLAY, "a new owner does not put out what it has kept from the cut on")                  \
    X(NO_COMPARE, "a commit does not look at the versions that it expects; the simulated store's") \
    X(STEP_AGAIN, "a step of a move that a node has taken, and is told again, it takes again")     \
    X(ROWS_AGAIN, "an input that goes on below the cut does not drop the rows that were worked off")

#ifdef PST_PLANT
#define PST_PLANTED_X(name, sentence) PST_MISTAKE_##name,
enum pst_mistake { PST_MISTAKE_NONE, PST_MISTAKES(PST_PLANTED_X) PST_MISTAKE_COUNT };
#undef PST_PLANTED_X
extern enum pst_mistake pst_mistake; /* the tests' */
#define PST_PLANTED(name) (pst_mistake == PST_MISTAKE_##name)
#else
#define PST_PLANTED(name) false
#endif

#endif
