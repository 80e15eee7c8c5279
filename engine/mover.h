/* engine/mover.h - moves of buckets between the nodes of a running graph: what a node does when it is told (mover.c), and what the
 * coordinator tells when (moves.c). Inside the room: nobody else includes it.
 *
 * The coordinator takes one step after the other, each on all nodes that have a part in the move, and goes on when all have said that it
 * is done. These are its owners, who sends rows to the operator or gets some of it, and who reads the input. All others learn of it when
 * they are to have a part in another one:
 *
 *   KNOW      of whoever has had no part in what moved before: who owns what by now, and which nodes there are
 *   ADMIT     a node that the graph did not run on is known; then it is started, with nothing
 *   REST      no checkpoint is under way, and none begins
 *   ALONE     copies that would be in its way are no more: on all nodes
 *   LEVEL     what they had brought has come from their originals, too
 *   PREPARE   branches, lane, channels on standby are made      DUPLICATED: from which time on rows go both ways
 *   ATTEST    of operators in enclaves: workers of giver and lane are shown to each other, and look (docs/enclaves.md)
 *   COPY      the giver hands buckets over, one by one           PROGRESS: of the giver, now and then. CAUGHT_UP: of the taker alone,
 *                                                               when all are in, worked off, and compared
 *   LISTEN    downstreams hear the lane from the cut on         } decided: the store has it; from here it only goes forward
 *   SPEAK     the lane puts out from the cut on                 }
 *   LEAVE     the giver stops at the cut                        STOPPED: where it did, and up to which numbers it has put out. Not where the
 *                                                               lane becomes a replica: both go on
 *   RELEASE   upstreams send one way
 *   SETTLE    what comes twice has come; it is forgotten        how many rows were lost: none, or something is wrong
 *   JOIN      the lane becomes a part of another partition      } where it is to
 *   REROUTE   upstreams send there by themselves                }
 *   DRAIN     all that was sent before has come                 }
 *   RETIRE    what owns nothing any more is forgotten; checkpoints go on
 *   DROP      instead of LISTEN: all of it goes again; checkpoints go on
 *
 * The last two are told to those that read when all others have done them: a cut that is chosen then finds no lane on its way, and no partition
 * that is about to go.
 *
 * An answer bears the step that it answers. REFUSED comes unasked, and ends in DROP. Another coordinator, who does not know how far this has
 * come, says DROP, or, where it was decided, all steps from LISTEN on once more: whoever has taken one answers as it did then. A node of which
 * replicas have all is taken out: before the decision when that was dropped, else between two steps, and a step looks at what is left of giver,
 * lane and replica. Whatever kills a node or a run that is needed ends the incarnation, and with it all of this: the next one begins with the owners that the store has,
 * and without lanes.
 *
 *   orders.c     what a command wants: which move comes next
 *   portions.c   a large one of these as several moves
 *   kept.c       an order as the store has it, for whoever coordinates next
 *   moves.c      one move, from step to step, and its record in the store
 *   mover.c      a node's part of it
 *   replicas.c   a partition that is to have a replica, and has none: a move in which nothing is handed over
 *   autoscale.c  orders that nobody gave: figures in, what scaler.h decides out
 *
 * Thread:   the keeper.
 */
#ifndef PST_MOVER_H
#define PST_MOVER_H

#include "engine/enclave.h"
#include "engine/lane.h"
#include "engine/node.h"
#include "engine/scaler.h"
#include "migration/move.h"

enum { MOVER_DECIDED_MAX = 9 }; /* steps from LISTEN to RETIRE */
struct mover {                  /* of a hosted run: the move that it takes part in */
    struct move move;
    uint32_t buckets[PST_BUCKETS_MAX];
    bool rested;                /* it has answered REST */
    bool open, prepared, alone; /* alone: ALONE was told, and then DROP before it was done */
    Pst__Step told;             /* and still to be done; 0: nothing is */
    int64_t time;               /* of it */
    uint64_t waits_ns;          /* SETTLE, DRAIN: when it is looked at again */
    uint64_t progress_ns;       /* COPY: when it was told last */
    bool handed, caught_up, left, joins, refused;
    uint64_t
        numbers[PST_BUCKETS_MAX]; /* LEAVE, of the giver, and SETTLE, of whoever was told: up to where it has put out */
    bool numbered;                /* they were said */
    /* What it has answered since the decision, for a coordinator that asks again: kept until the next move. */
    uint32_t acted; /* steps, in their order (mover.c), up to the last one that was acted on */
    struct {
        bool said;
        int64_t time;
    } answers[MOVER_DECIDED_MAX];
    bool gave;          /* it was the giver, and has left: `numbers` are its own */
    uint64_t rows_lost; /* 1 + so many; 0: not counted */
    char name[PST_CONTROL_NAME_BYTES_MAX + 1], address[PST_CONTROL_NAME_BYTES_MAX + 1]; /* ADMIT */
    uint32_t workers;
    /* ATTEST and COPY, of operators in enclaves: what the giver's side says, and the taker's */
    uint8_t words[2][ENCLAVE_WORDS_BYTES_MAX];
    size_t word_bytes[2];
    struct pst_enclave *enclave; /* the lane's, until there is a lane */
    bool starting;               /* PREPARE: a job starts it, and nothing is done for the move before that has ended */
    atomic_bool start_done;      /* by the job, behind what follows */
    int start_rc;
    char start_why[PST_ENCLAVE_WHY_BYTES];
    Pst__Control *know; /* KNOW: in the arena. NULL: there is none */
    struct pst_arena know_arena;
};

/* From the coordinator: a step; a Start of the run that goes on, KNOW. */
void pst_mover_on(struct pst_node *node, const Pst__Control *message);
void pst_mover_know(struct pst_node *node, const Pst__Control *message);
/* Of every hosted run, in each step of the keeper. */
void pst_mover_step(struct pst_node *node, struct hosted *hosted);
/* It was told so, or has done some of what follows from it. */
static inline bool pst_mover_decided(const struct mover *mover)
{
    return mover->acted != 0 || mover->told == PST__STEP__LISTEN;
}
/* The run is not to finish yet. */
static inline bool pst_mover_busy(const struct mover *mover) { return mover->open; }
/* The last move that the run has heard of; 0: of none. */
static inline uint64_t pst_mover_last(const struct mover *mover) { return mover->move.id; }
/* A job has the run and the mover: neither may go before it. */
static inline bool pst_mover_starting(const struct mover *mover)
{
    return mover->starting && !atomic_load_explicit(&mover->start_done, memory_order_acquire);
}
void pst_mover_free(struct mover *mover);

/* ---- moves.c: the coordinator's ---- */
enum { NO_STAGE = UINT32_MAX };

/* `count` of the partition's buckets go to a node: to a partition of their own, or into one that is there. */
struct wish {
    uint32_t operator_index, from, count, into; /* into: NO_PARTITION: none */
    const char *to_node;
    const uint8_t *marked; /* by bucket: those that go. NULL: from the partition's last on */
    bool copies;           /* nothing goes: a replica of the whole partition is made there */
};

/* What is wanted at once, in moves of so much state that none of them lasts long (portions.c). */
#define PORTION_BYTES (UINT64_C(64) << 20)
/* Of operators in enclaves: a join copies a portion once more, and both partitions stand still for as long. */
#define PORTION_BYTES_INSIDE (UINT64_C(16) << 20)
struct portions {
    struct wish rest; /* count 0: nothing more is to move */
    char node[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint32_t origin;                  /* the node that had it, of the graph's */
    uint64_t deadline_ns, each_bytes; /* each: of state, of a bucket; 0: not known */
    uint64_t standard_bytes;          /* of one, where nobody has said another */
    uint8_t wanted[PST_BUCKETS_MAX];  /* by bucket: is to move, or has */
    uint8_t gone[PST_BUCKETS_MAX];    /* by bucket: has moved */
    uint32_t gone_count;
    bool back; /* that goes back where it was */
    int error; /* why */
    char why[400];
    /* what was done, back included */
    uint32_t moves;
    uint64_t buckets, bytes, longest_pause_ns, rows_lost;
    bool uncounted; /* of one of them it is not known how many rows were lost */
    bool relocated; /* it was stop and go: longest_pause_ns is for how long the graph stood still */
};

struct moving { /* of a graph that runs */
    uint64_t incarnation;
    struct layout **layouts; /* by operator; NULL: it has none */
    uint32_t layout_count;
    uint64_t known[NODE_MEMBERS_MAX]; /* by node: the last move after which it knew who owns what */
    /* the move */
    struct past *now; /* its record; NULL: nothing moves */
    uint32_t operator_index, from, from_node, to, to_node, into, stage;
    char admitted[PST_CONTROL_NAME_BYTES_MAX + 1];                 /* the node that is new to the graph; "": none is */
    bool acked[NODE_MEMBERS_MAX], part[NODE_MEMBERS_MAX], refused; /* part: it has one in the move */
    bool copies_end;                                               /* for it: ALONE */
    enum replica_then replica;                                     /* the giver's */
    bool copies_ended;                                             /* they have, as the store has it or is about to */
    bool away;                                                     /* one that takes part was, amid it */
    bool rolls_back;        /* DROP of what another coordinator began: who was told how much of it is not known */
    bool waits_cut;         /* the next step is REST, and a checkpoint is cut first */
    bool readers;           /* RETIRE, DROP: all others have done it, and who reads is told */
    bool writes, written;   /* writes: its record is to be stored; written: it is on its way */
    int64_t time, taken_at; /* time: of the step */
    /* relocate.c. goes: the next incarnation has it where it is to be; goes_back: where it was; went_back: that was, or is being begun */
    bool relocates, relocated, goes, goes_back,
        went_back;                 /* relocates: `now` does; relocated: the order has had that */
    bool probed[NODE_MEMBERS_MAX]; /* by member: it is asked whether it could get keys, and has not answered */
    uint64_t ask_ns,
        stands_ns; /* when a cut is asked for again; since when the graph stands still, 0: it does not, or not known */
    uint64_t begun_ns, deadline_ns;
    uint64_t bytes, bytes_total, longest_pause_ns; /* of its copy, as the giver said last */
    uint64_t *numbers;                             /* as the giver has left; NULL: it has not, or did not say */
    size_t number_count;
    uint64_t rows_lost;
    uint32_t counted_on; /* nodes that have said how many */
    /* of an operator in enclaves: what the giver's side and the taker's have said last */
    uint8_t words[2][ENCLAVE_WORDS_BYTES_MAX];
    size_t word_bytes[2];
    char why[400];
    pst_move_cause refusal;  /* what `refused` stands for */
    struct order *order;     /* the command that it is of; NULL: of none any more */
    struct balance *balance; /* of `rebalance --by-load` or --by-source; NULL: no such order */
    uint32_t order_index;    /* among its moves, from 1 */
    uint64_t said_ns;        /* when whoever gave the order was told last how far it is, and what */
    const char *said_phase;  /* NULL: nothing yet */
    struct portions portions;
};
/* PST_ENOMEM; PST_EFULL: no number is free, or no room for one more node. Then nothing has begun. */
int pst_moves_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish, uint64_t deadline_ns);
/* What moves is a replica that is being made: whoever wants anything else to move may have that given up. */
bool pst_moves_copies(const struct moving *moving);
/* As it is at the beginning of the incarnation, and as moves have changed it. NULL: no memory. */
struct moving *pst_moves_of(struct graph_record *record);
int pst_moves_cancel(struct pst_node *node, struct graph_record *record, uint64_t id, struct pst_text *why);
/* From a node of the graph. */
void pst_moves_on(struct pst_node *node, struct graph_record *record, const char *member, const Pst__Control *message);
void pst_moves_started(struct pst_node *node, struct graph_record *record, const char *member);
/* Its run has begun: what it was told before that it has not heard. It may be told twice. */
void pst_moves_begun(struct pst_node *node, struct graph_record *record, uint32_t index);
void pst_moves_step(struct pst_node *node);
bool pst_moves_under_way(const struct graph_record *record);
bool pst_moves_rest(const struct graph_record *record);    /* one is, and no checkpoint may be begun for it any more */
bool pst_moves_decided(const struct graph_record *record); /* one is under way, and only goes forward */
bool pst_moves_open(const struct graph_record *record);    /* one is, by the records in the store alone */
/* Of a graph that another coordinator had, and whose nodes have all said what they have of it. False: that does not fit together, or there is
 * no memory: the graph has to be started again. True: what had begun to move stands here as the store has it; then, when the graph is taken
 * as it is, it is resumed: what was decided goes on, all else is given up. */
bool pst_moves_stand(struct graph_record *record);
void pst_moves_resume(struct pst_node *node, struct graph_record *record);
/* Another node coordinates from now on: whoever gave an order is told. */
void pst_moves_resign(struct pst_node *node, struct graph_record *record, const char *why);
/* A node of the graph is back, and runs it. False: that is too late, or too early, for the move that is under way. */
bool pst_moves_again(struct pst_node *node, struct graph_record *record, uint32_t index);
/* A node of the graph is gone, and why: so what moves is given up for that. */
void pst_moves_refuse(struct graph_record *record, const char *why);
/* The node is being added to the graph, and has not said that its run has begun. */
bool pst_moves_begins_at(const struct graph_record *record, uint32_t index);
/* The graph can do without this node, for replicas have what it has, or it has nothing: once what moves is given up, or, where that was
 * decided, between two of its steps. */
bool pst_moves_can_lose(const struct pst_node *node, struct graph_record *record, uint32_t index);
/* The graph is started again: what moves is over, but for what goes stop and go and has begun to. */
void pst_moves_restart(struct pst_node *node, struct graph_record *record);
/* The graph is started again, or has ended: so has the move, in one way or the other; its record goes with the graph's commit. */
void pst_moves_over(struct pst_node *node, struct graph_record *record, const char *why);
void pst_moves_end(struct graph_record *record); /* of this incarnation nothing moves any more */
/* A replica elsewhere has all that is at this place. */
bool pst_moves_replaces(struct graph_record *record, const Pst__Place *place);
/* The node's replicas elsewhere are owners, as the graph's record has it from now on. Where pst_moves_replaces() said so of all its places. */
int pst_moves_take_over(struct graph_record *record, uint32_t index);
/* A partition, whose worker is gone though its node lives: the record has it there; a replica has all of it, and all nodes know that this may be;
 * that one is the owner, as the graph's record has it from now on: PST_ENOMEM. any_dead: one was said to be, and nothing
 * could be decided about it yet. */
bool pst_moves_has(struct graph_record *record, const Pst__Ended *ended, uint32_t index);
bool pst_moves_may_replace(const struct pst_node *node, struct graph_record *record, const Pst__Ended *ended,
                           uint32_t index);
bool pst_moves_touches(const struct graph_record *record,
                       const Pst__Ended *ended); /* it gives or takes in a move that was decided, or is joined */
int pst_moves_replace(struct graph_record *record, const Pst__Ended *ended);
bool pst_moves_any_dead(const struct pst_node *node,
                        const struct graph_record *record); /* it was said, and could not be decided yet */
bool pst_moves_any_ended(const struct graph_record *record);
/* What goes into the store with the graph's record, `changes` has room for two; PST_OK. Then, with what became of it. */
int pst_moves_changes(struct graph_record *record, struct pst_store_change *changes, uint32_t *ret_count);
void pst_moves_committed(struct pst_node *node, struct graph_record *record, int rc);
int pst_moves_restore(struct graph_record *record, const char *path, uint64_t version, const struct pst_text *bytes);
void pst_moves_forget(struct graph_record *record); /* with it */

/* Of relocate.c, too. The record of a move that is begun; which number it has. Its message and path are filled. */
uint64_t pst_moves_append(struct graph_record *record, struct past *past);
/* What happened goes into the record by the protocol's table; false: it changes nothing. */
bool pst_moves_caused(struct pst_node *node, struct graph_record *record, pst_move_cause cause, const char *why);

/* ---- relocate.c: partitions that go stop and go ---- */
/* The graph's do so: where rows are sealed. */
bool pst_relocates(const struct pst_node *node, const struct graph_record *record);
/* The graph has something on this node that could go. */
bool pst_relocation_left(const struct pst_node *node, const struct graph_record *record, const char *name);
/* One partition, or all from a node (wish NULL); partition_count: not 0: the wish's operator gets so many partitions, and nothing else of the
 * wish counts. Errors: PST_ENOMEM; PST_EFULL: it says more than a record holds. Then nothing has begun. */
int pst_relocation_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish,
                         uint32_t partition_count, const char *from, uint64_t deadline_ns);
void pst_relocation_step(struct pst_node *node, struct graph_record *record);
void pst_relocation_committed(struct pst_node *node, struct graph_record *record);
/* It is given up: the graph stays, or goes back, where it was. */
void pst_relocation_drop(struct pst_node *node, struct graph_record *record, pst_move_cause cause, const char *why);
/* A run of the graph has failed on a node: true: so it goes back, and does not fail. */
bool pst_relocation_failed(struct pst_node *node, struct graph_record *record, const char *name, const char *why);
/* From a node: it could get keys, or not (Probe). */
void pst_relocation_probed(struct pst_node *node, struct graph_record *record, const char *name,
                           const Pst__Control *message);
/* It waits for a checkpoint; that is complete, and in the store: true: the next incarnation has it elsewhere. */
bool pst_relocation_waits(const struct pst_node *node, const struct graph_record *record);
bool pst_relocation_may(struct pst_node *node, struct graph_record *record);
/* Of a restart, in this order: what is under way goes on, and is no move that is over; it goes back; where all was, as far as places are
 * chosen by that: in `arena`; where all is, compared with the Start before; nodes are told. */
bool pst_relocation_goes_on(struct pst_node *node, struct graph_record *record);
bool pst_relocation_goes_back(const struct graph_record *record);
int pst_relocation_wish(const struct graph_record *record, struct pst_arena *arena, Pst__Start *start);
int pst_relocation_placed(struct pst_node *node, struct graph_record *record, const Pst__Start *original);
void pst_relocation_begins(struct pst_node *node, struct graph_record *record);
/* The graph ends, or is stopped: true: the relocation was done by then, and so it is said. `open`: the record that has not ended; or NULL. */
bool pst_relocation_over(struct pst_node *node, struct graph_record *record, struct past *open);
/* As pst_moves_stand(), pst_moves_resume(), pst_moves_view(). */
bool pst_relocation_stand(struct graph_record *record, struct past *last);
void pst_relocation_resume(struct pst_node *node, struct graph_record *record);
struct move_view;
void pst_relocation_view(const struct pst_node *node, const struct graph_record *record, struct move_view *ret_view);

/* ---- portions.c ---- */
/* As pst_moves_begin(), for all of it; pst_order_on() hears when all has moved, or what had is back. */
int pst_portions_begin(struct pst_node *node, struct graph_record *record, const struct wish *wish,
                       uint64_t deadline_ns);
/* The graph's move has ended. */
void pst_portions_on(struct pst_node *node, struct graph_record *record, int error, const char *why);

/* ---- kept.c ---- */
/* As pst_moves_changes(), with room for one more. */
int pst_kept_changes(struct graph_record *record, struct pst_store_change *change, uint32_t *ret_count);
void pst_kept_committed(struct graph_record *record, int rc);
/* As it was read. PST_EDATA, PST_ENOMEM. */
int pst_kept_restore(struct graph_record *record, uint64_t version, const struct pst_text *bytes);
/* The graph is about to be started again: true: its order goes on then. */
bool pst_kept_waits(struct graph_record *record);
/* What another coordinator was given goes on when the graph runs and nothing of it moves; what has ended is forgotten there. */
void pst_kept_step(struct pst_node *node, struct graph_record *record);
void pst_kept_free(struct kept *kept);

/* ---- orders.c ---- */
/* In the store, too. BY_SOURCE: there alone; a coordinator of an earlier version does not know it, and so takes it for no other. */
enum order_kind { ORDER_MOVE = 1, ORDER_SCALE, ORDER_DRAIN, ORDER_REBALANCE, ORDER_BY_SOURCE };
enum rebalance { REBALANCE_EVEN, REBALANCE_BY_LOAD, REBALANCE_BY_SOURCE };
struct order_wanted {
    enum order_kind kind;
    uint32_t operator_index, count; /* SCALE */
    enum rebalance by;              /* REBALANCE */
    uint64_t deadline_ns;
    bool first; /* REBALANCE: nothing of it was under way before */
};
/* False: none of the graph's orders is one that another coordinator would go on with, or it is given up. */
bool pst_order_wanted(const struct graph_record *record, struct order_wanted *ret_wanted);
/* It goes on. left: first of all; NULL: nothing is. PST_ETIMEOUT: how busy partitions are is not known yet; PST_EREFUSED; PST_ENOMEM. */
int pst_order_again(struct pst_node *node, struct graph_record *record, const struct order_wanted *wanted,
                    const struct wish *left, struct pst_text *why);
/* Answered later where PST_OK. */
int pst_order_move(struct pst_node *node, const struct submission *asked, const char *what, const char *to,
                   struct pst_text *why);
int pst_order_scale(struct pst_node *node, const struct submission *asked, const char *what, uint32_t count,
                    struct pst_text *why);
/* Of its own accord, by figures of all partitions that own buckets; the log says what has become of it. PST_EREFUSED: something moves, or
 * the graph is at its end; PST_ENOMEM. */
int pst_order_autoscale(struct pst_node *node, struct graph_record *record, uint32_t n, uint32_t count,
                        const struct scaler_partition *partitions, uint32_t partition_count);
/* Everything that can move goes from this node, which gets nothing any more: so it is written down. PST_ENOMEM. */
int pst_order_drain(struct pst_node *node, const struct submission *asked, const char *name);
bool pst_order_may_drain(struct pst_node *node, struct pst_text *why);
/* Of a node that is drained already: nothing is left there, and whoever asks has been told so. */
bool pst_order_drained(struct pst_node *node, const struct submission *asked, const char *name);
/* What this graph has on a node that leaves goes elsewhere. False: not now; how it ends, `undrained` says. */
bool pst_order_leave(struct pst_node *node, struct graph_record *record, const char *name);
bool pst_order_under_way(const struct graph_record *record); /* something moves, or is about to */
bool pst_order_stays(const struct pst_node *node, const struct graph_record *record,
                     const Pst__Place *place); /* it cannot move: an input, or a sink, whose files are there */
/* BY_LOAD: each graph's nodes are to be as busy as each other, whatever it is with; BY_SOURCE: and each bucket where most of its rows come
 * from; EVEN: each operator's buckets are evened out. PST_ETIMEOUT: how busy they are, or where rows come from, is not known yet. */
int pst_order_rebalance(struct pst_node *node, const struct submission *asked, enum rebalance by, struct pst_text *why);
/* Workers in enclaves know each other's nodes by their certificates: without them their buckets stay. */
bool pst_order_can_move(const struct pst_node *node, const struct graph_record *record, uint32_t n);
/* balance.c: how busy the buckets and nodes of a graph are, and where they are to be by their rows' sources. PST_ETIMEOUT: not all that may
 * move has told yet, or not all of whom its rows are of; PST_ENOMEM. */
struct balance;
int pst_balance_new(const struct pst_node *node, const struct graph_record *record, bool by_source,
                    struct balance **ret_balance);
/* Of each operator that may move and is given a source's rows, every node that reads has told where enough of them go; record->moving is
 * there. */
bool pst_balance_is_clear(const struct pst_node *node, const struct graph_record *record);
void pst_balance_free(struct balance *balance);
bool pst_balance_is_by_source(const struct balance *balance);
/* What is to move next; what the wish points to is good until the next call. False: nothing. */
bool pst_balance_next(const struct pst_node *node, const struct graph_record *record, struct balance *balance,
                      struct wish *ret_wish);
/* What was wanted last has been done, or given up. PST_OK: done. */
void pst_order_on(struct pst_node *node, struct graph_record *record, int error, const char *why);
/* What it has waited for has ended. */
void pst_order_resume(struct pst_node *node, struct graph_record *record);
/* Whoever waits is told how far it is. */
void pst_orders_step(struct pst_node *node);
/* The store has been silent for that long: whoever has given an order that waits for it is told, once, and the order goes on. */
void pst_orders_tell(struct pst_node *node, double silent_s);
/* A move of what was wanted last; `more` than one will be needed for it, as is known by now. */
void pst_order_begins(struct graph_record *record, uint32_t more);
/* What has moved of it stays where it is, though the rest could not: a node that is drained gets nothing back. */
bool pst_order_keeps(const struct graph_record *record);
bool pst_order_leaves(
    const struct graph_record *record); /* it is of its own accord, for a node that is to have nothing */
void pst_order_ends(struct pst_node *node, struct graph_record *record, bool done); /* of the move that still runs */
/* Nobody is told: the coordinator ends. */
void pst_order_forget(struct moving *moving);
/* Moves of all graphs, or one: which is `GRAPH/NUMBER`. */
int pst_order_list(const struct pst_node *node, const char *only, bool json, struct pst_text *out,
                   struct pst_text *why);
int pst_order_cancel(struct pst_node *node, const char *what, struct pst_text *why);

/* ---- autoscale.c: of all graphs, once a second ---- */
void pst_autoscale_step(struct pst_node *node);
void pst_autoscale_free(struct autoscale *autoscale);

/* ---- replicas.c: of all graphs ---- */
void pst_replicas_step(struct pst_node *node);
/* Operator `n` has replicas, and is the one that is to move or sends to it: what a consumer gets of two cannot be told apart where that is
 * joined to another one. */
bool pst_replicas_matter(const struct pst_graph *graph, uint32_t n, uint32_t moved);

/* The move that runs; false: none does. */
struct move_view {
    uint64_t id;
    const char *step, *phase; /* phase: in words, and in more than the record's steps */
    uint32_t operator_index, from, to, bucket_count;
    const char *to_node;  /* "": where there is room */
    uint32_t place_count; /* that go at once; above is the first of them */
    bool relocates;
    uint32_t partition_count; /* not 0: the operator gets so many */
    uint64_t bytes, bytes_total;
    double seconds;      /* since it began */
    double seconds_left; /* until it is given up; below 0: it is not any more */
};
bool pst_moves_view(const struct pst_node *node, const struct graph_record *record, struct move_view *ret_view);

/* takeover.c: a node is gone, all others of the graph have what it had. step(): true: workers stand still for that, or are about to. */
void pst_takeover_told(struct hosted *hosted, uint32_t index, uint32_t takeover);
bool pst_takeover_step(struct pst_node *node, struct hosted *hosted);
/* Partitions whose workers are gone: the coordinator is told, again and again; it has told that a replica has what one had. */
void pst_takeover_dead(struct pst_node *node, struct hosted *hosted);
void pst_takeover_partition_told(struct hosted *hosted, const Pst__Ended *ended);
/* While workers stand still: copies of what matters to moves of an operator are no more. Checkpoints rest. */
void pst_copies_end(struct run *run, uint32_t operator_index);
/* Then what comes twice is waited for, and not looked for any more. */
bool pst_copies_level(const struct run *run, uint32_t operator_index);
void pst_copies_forget(struct run *run, uint32_t operator_index);

#endif
