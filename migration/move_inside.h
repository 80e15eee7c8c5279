/* migration/move_inside.h - what the files of the move protocol share. */
#ifndef PST_MOVE_INSIDE_H
#define PST_MOVE_INSIDE_H

#include "migration/move.h"

#define BIT(n) (1u << (n))
#define ON(step) BIT(PST_MOVE_ON_ORDER + PST_MOVE_##step)
#define TOLD(event) BIT(PST_MOVE_ON_##event)
/* The orders after which a move may still be aborted. */
#define ON_OPEN (ON(PREPARED) | ON(DUPLICATING) | ON(COPYING) | ON(READY))
#define ON_ALL (ON(INTENT) | ON_OPEN | ON(COMMITTED) | ON(DONE) | ON(ABORTED))
#define TABLE_COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Reasons that several tables give. */
#define PST_NOT_ASKED "a plan is shown to the taker alone"
#define PST_HEARD_MORE "older than what was heard: answered before the table is asked"
#define PST_FORWARD "after the commit it only rolls forward (M2)"

extern const struct pst_move_table pst_giver_table, pst_taker_table, pst_upstream_table, pst_downstream_table;

/* An action without any of its arguments but the time. */
void pst_move_do(struct pst_move_player *player, pst_move_act act, int64_t time);
bool pst_move_do_asked(struct pst_move_player *player, struct pst_move_action *action); /* was it done? */
/* A message with who, whom and what filled in. */
void pst_move_message_init(const struct pst_move_player *player, pst_move_kind kind,
                           struct pst_move_message *ret_message);
void pst_move_say(struct pst_move_player *player, const struct pst_move_message *message);
/* Handlers of all tables. */
uint8_t pst_move_stay(struct pst_move_player *player, const struct pst_move_fact *fact);
uint8_t pst_move_forget(struct pst_move_player *player, const struct pst_move_fact *fact);
void pst_move_digest_ask(struct pst_move_player *player);
uint8_t pst_move_digest_take(struct pst_move_player *player, const struct pst_move_fact *fact);

/* ---- the coordinator's two halves: move_coordinator.c has the store, move_decide.c what follows from what is known ---- */
bool pst_move_locked(const struct pst_move_coordinator *c, const struct pst_move_run *run); /* holds it any bucket? */
bool pst_move_peers_fit(const struct pst_move_coordinator *c, uint32_t op); /* could such a move have its peers? */
void pst_move_peers(struct pst_move_coordinator *c, struct pst_move_run *run);
/* What holds for a move; PST_MOVE_CAUSE_COUNT: nothing that moves it on. */
pst_move_cause pst_move_cause_of(struct pst_move_coordinator *c, struct pst_move_run *run);
/* The record after that. */
void pst_move_record_next(const struct pst_move_coordinator *c, const struct pst_move_run *run, pst_move_cause cause,
                          struct pst_move_record *ret_record);
bool pst_move_all_forgot(const struct pst_move_coordinator *c, const struct pst_move_run *run);
void pst_move_orders(struct pst_move_coordinator *c, struct pst_move_run *run);
typedef enum pst_move_need { PST_MOVE_NEEDS_NOTHING, PST_MOVE_NEEDS_TAKEOVER, PST_MOVE_NEEDS_RECOVERY } pst_move_need;
/* What a node's death asks for. `ret_node`: whose. */
pst_move_need pst_move_need_of(const struct pst_move_coordinator *c, uint32_t *ret_node);
/* Nodes as bits; false: it is not known of every node that has anything. */
bool pst_move_nodes(const struct pst_move_coordinator *c, uint32_t *ret_gone, uint32_t *ret_there);
bool pst_move_all_loaded(const struct pst_move_coordinator *c);

/* Mistakes that the tests plant, in their own copy of these files, to see that they are found. */
#ifdef PST_MOVE_MISTAKES
typedef enum pst_move_mistake {
    PST_MISTAKE_NONE,
    PST_MISTAKE_NO_VECTOR,    /* rows below a bucket's image are counted in again */
    PST_MISTAKE_NO_EPOCH,     /* incarnation and owner epoch are not looked at */
    PST_MISTAKE_LINK_TRIMS,   /* a link forgets what it has sent before it is acknowledged */
    PST_MISTAKE_NO_REPLAY,    /* a taker of a dead giver's buckets does not put out what it has kept */
    PST_MISTAKE_NO_COMPARE,   /* a commit does not compare versions */
    PST_MISTAKE_ONE_MARK,     /* downstream has one mark for both sides of the cut */
    PST_MISTAKE_BRANCH_DROPS, /* an upstream at its bound drops the branch before it hears that the move is aborted */
    PST_MISTAKE_NO_SERIAL,    /* a player does not remember which moves have ended */
    PST_MISTAKE_EARLY_UNLOCK, /* an aborted move's locks go at once */
    PST_MISTAKE_COUNT
} pst_move_mistake;
extern pst_move_mistake pst_move_mistake_planted;
#define MISTAKE(name) (pst_move_mistake_planted == PST_MISTAKE_##name)
#else
#define MISTAKE(name) false
#endif

#endif
