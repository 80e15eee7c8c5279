/* engine/mover.h - moves of buckets between the nodes of a running graph: what a node does when it is told (mover.c), and what the
 * coordinator tells when (moves.c). Inside the room: nobody else includes it.
 *
 * The coordinator takes one step after the other, each on all nodes of the graph, and goes on when all have said that it is done:
 *
 *   PREPARE   branches, lane, channels on standby are made      DUPLICATED: from which time on rows go both ways
 *   COPY      the giver takes the image, and sends it           CAUGHT_UP: of the taker alone, when it is in and worked off
 *   LISTEN    downstreams hear the lane from the cut on         } the decision: from LISTEN on it only goes forward
 *   SPEAK     the lane puts out from the cut on                 }
 *   LEAVE     the giver stops at the cut                        STOPPED: where it did
 *   RELEASE   upstreams send one way
 *   SETTLE    what comes twice has come; it is forgotten
 *   DROP      instead of LISTEN: all of it goes again
 *
 * An answer bears the step that it answers. REFUSED comes unasked, and ends in DROP. Whatever kills a node or a run ends the
 * incarnation, and with it all of this: the next one begins without lanes.
 *
 * Thread:   the keeper.
 */
#ifndef PST_MOVER_H
#define PST_MOVER_H

#include "engine/lane.h"
#include "engine/node.h"

struct mover { /* of a hosted run: the move that it takes part in */
    struct move move;
    uint32_t buckets[PST_BUCKETS_MAX];
    bool open;
    Pst__Step told;    /* and still to be done; 0: nothing is */
    int64_t time;      /* of it */
    uint64_t waits_ns; /* SETTLE: when it is looked at again */
    bool handed, caught_up, left, refused;
};

/* From the coordinator. */
void pst_mover_on(struct pst_node *node, const Pst__Control *message);
/* Of every hosted run, in each step of the keeper. */
void pst_mover_step(struct pst_node *node, struct hosted *hosted);
/* The run is not to finish yet. */
static inline bool pst_mover_busy(const struct mover *mover) { return mover != NULL && mover->open; }
void pst_mover_free(struct mover *mover);

/* ---- the coordinator's ---- */
/* From a node of the graph. */
void pst_moves_on(struct pst_node *node, struct graph_record *record, const char *member, const Pst__Control *message);
void pst_moves_step(struct pst_node *node);
bool pst_moves_under_way(const struct graph_record *record);
void pst_moves_over(struct pst_node *node, struct graph_record *record, const char *why); /* whoever waits is told */
/* Partition `partition` of an operator goes to a node; scale: the largest partitions are halved until there are so many. Answered later
 * where PST_OK. */
int pst_moves_move(struct pst_node *node, const struct submission *asked, const char *what, const char *to,
                   struct pst_text *why);
int pst_moves_scale(struct pst_node *node, const struct submission *asked, const char *what, uint32_t count,
                    struct pst_text *why);
/* What is where now, where moves have changed it; false: nothing has. */
bool pst_moves_knows(const struct graph_record *record, const char *operator_id); /* of this operator, too */
bool pst_moves_layout(const struct graph_record *record, bool json, struct pst_text *out);

#endif
