/* migration/move.h - moving buckets from one owner to another while the stream runs on: the protocol alone (docs/cluster.md).
 *
 * Holds:    one machine for each role of a move, and the coordinator, which decides and writes down. Each has one table of
 *           states and events, from which names, log lines and the tests' walk come.
 * Refuses:  sockets, files, clocks, threads, rows, state. It is given messages and facts and gives messages and actions; what
 *           a bucket holds goes by as bytes.
 * Thread:   a set of players, or a coordinator, belongs to one thread.
 * Holds true:
 *   M1  a bucket is in one move at most; the commit of INTENT locks it, and it is locked until every player has said that
 *       nothing is left of the move with it
 *   M2  a move ends as DONE or as ABORTED; after COMMITTED never as ABORTED
 *   M3  who owns a bucket changes by a commit that names the version of the owners' record, and the owner epoch grows with it
 *   M4  the coordinator holds nothing that it cannot read or ask for again: orders are what the record says, reports are facts
 *       that stay true, both may come twice, late or not at all
 *   M5  a move that ended does not begin again at a player, whatever comes late: its serial is closed there
 *
 * Times are event times at which an epoch ends. PST_MOVE_NEVER is before all, PST_MOVE_END behind the last row.
 */
#ifndef PST_MOVE_H
#define PST_MOVE_H

#include "migration/store.h"

enum {
    PST_MOVE_BUCKETS_MAX = 4096, /* of an operator */
    PST_MOVE_OPERATORS_MAX = 64,
    PST_MOVE_INPUTS_MAX = 8, /* of an operator */
    PST_MOVE_PARTITIONS_MAX = 256,
    PST_MOVE_OWNERS_MAX = 8192, /* buckets of all operators of a graph: their record must fit the store */
    PST_MOVE_NODES_MAX = 32,
    PST_MOVE_PEERS_MAX = 64,   /* upstreams and downstreams of one move, each */
    PST_MOVE_PLAYERS_MAX = 64, /* of one node */
    PST_MOVES_MAX = 32,        /* records that are kept, ended ones included */
    PST_MOVES_NODE_MAX = 4,    /* that run at a time with a node as giver or taker */
    PST_MOVE_SERIALS = 64,     /* a move is refused when one that many before it still runs (M5) */
    PST_MOVE_CHUNKS_MAX = 4    /* on their way */
};
#define PST_MOVE_NEVER INT64_MIN
#define PST_MOVE_END INT64_MAX

/* The states of a move's record, in their order. */
#define PST_MOVE_STEPS(X) \
    X(INTENT)             \
    X(PREPARED)           \
    X(DUPLICATING)        \
    X(COPYING)            \
    X(READY)              \
    X(COMMITTED)          \
    X(DONE)               \
    X(ABORTED)
#define PST_MOVE_X(name) PST_MOVE_##name,
typedef enum pst_move_step { PST_MOVE_STEPS(PST_MOVE_X) PST_MOVE_STEP_COUNT } pst_move_step;
#undef PST_MOVE_X

/* Why a move was aborted. */
#define PST_MOVE_REASONS(X)                                                \
    X(NONE, "it was not")                                                  \
    X(CANCELLED, "it was cancelled")                                       \
    X(LATE, "its deadline passed")                                         \
    X(REFUSED, "the taker has no room, or other keys, or another version") \
    X(FULL, "a bound was reached: rows that wait, or output kept")         \
    X(DIFFERENT, "giver and taker came to different states")               \
    X(LOST, "a node that takes part has lost what it had of it")           \
    X(RECOVERY, "the graph was started again from its last checkpoint")
#define PST_MOVE_X(name, sentence) PST_MOVE_WHY_##name,
typedef enum pst_move_why { PST_MOVE_REASONS(PST_MOVE_X) PST_MOVE_WHY_COUNT } pst_move_why;
#undef PST_MOVE_X

const char *pst_move_step_name(pst_move_step step);
const char *pst_move_why_name(pst_move_why why);

/* ---- sets of buckets ---- */
struct pst_move_set {
    uint64_t bits[PST_MOVE_BUCKETS_MAX / 64];
};
bool pst_move_set_has(const struct pst_move_set *set, uint32_t bucket);
void pst_move_set_add(struct pst_move_set *set, uint32_t bucket);
void pst_move_set_remove(struct pst_move_set *set, uint32_t bucket);
bool pst_move_set_equal(const struct pst_move_set *one, const struct pst_move_set *other);
/* The first bucket from `bucket` on; PST_MOVE_BUCKETS_MAX: none. */
uint32_t pst_move_set_next(const struct pst_move_set *set, uint32_t bucket);

/* ---- records ---- */
/* `moves/ID`. The id is chosen by who commands; the serial grows by one from move to move of a graph. */
struct pst_move_record {
    uint64_t id, serial;
    pst_move_step step;
    pst_move_why why;
    uint64_t incarnation;
    uint32_t op, from, to, from_node, to_node; /* from, to: partitions */
    uint64_t epoch;                            /* the highest owner epoch of its buckets; the taker's is one higher */
    uint64_t deadline_ns;
    int64_t since;  /* s: from here on every upstream sends both ways; from DUPLICATING on */
    int64_t latest; /* of the times of the images; from READY on */
    int64_t cut;    /* c; from COMMITTED on */
    bool gone;      /* the giver is dead: the taker puts out all that it has kept */
    struct pst_move_set buckets;
};

struct pst_owner {
    uint32_t partition;
    uint64_t epoch, locked; /* by the move with this id; 0: by none */
};
/* Numbers are used again; with the serial a partition is known apart from all others of an incarnation. */
struct pst_owner_partition {
    bool used;
    uint32_t op, node;
    uint64_t serial; /* of the move whose lane it was; 0: there since the incarnation began */
};
/* `owners/GRAPH`. */
struct pst_owners {
    uint64_t incarnation;
    bool running;       /* no: nodes load the checkpoint, and nothing flows */
    int64_t checkpoint; /* the last complete one; PST_MOVE_NEVER: none, from the beginning */
    uint64_t serial;    /* of the last move */
    uint32_t op_count;
    uint32_t
        first[PST_MOVE_OPERATORS_MAX + 1]; /* of an operator's buckets in `buckets`; the last: how many there are */
    struct pst_owner_partition partitions[PST_MOVE_PARTITIONS_MAX];
    struct pst_owner buckets[PST_MOVE_OWNERS_MAX]; /* last: what is not in use is not copied */
};

/* Text, one line a field, in one form only: whatever is read is written as the very same bytes.
 * Errors: PST_EDATA not a record of this version, or one that cannot be; PST_ENOMEM. */
int pst_move_record_write(const struct pst_move_record *record, struct pst_text *text);
int pst_move_record_read(const char *bytes, size_t byte_count, struct pst_move_record *ret_record);
int pst_owners_write(const struct pst_owners *owners, struct pst_text *text);
int pst_owners_read(const char *bytes, size_t byte_count, struct pst_owners *ret_owners);

/* No buckets owned yet: give them with pst_owners_give(). */
void pst_owners_init(struct pst_owners *owners, uint32_t op_count, const uint32_t *bucket_counts);
struct pst_owner *pst_owners_at(struct pst_owners *owners, uint32_t op, uint32_t bucket);
uint32_t pst_owners_bucket_count(const struct pst_owners *owners, uint32_t op);
/* Partition of `op` on `node`: the first there is, or a free one. PST_EFULL. */
int pst_owners_partition(struct pst_owners *owners, uint32_t op, uint32_t node, uint32_t *ret_partition);
/* A partition that nobody uses, for the lane of the move `serial`. PST_EFULL. */
int pst_owners_free(struct pst_owners *owners, uint32_t op, uint32_t node, uint64_t serial, uint32_t *ret_partition);
void pst_owners_copy(struct pst_owners *to, const struct pst_owners *from);
/* Owns any bucket? */
bool pst_owners_serves(const struct pst_owners *owners, uint32_t node);
void pst_owners_lock(struct pst_owners *owners, uint32_t op, const struct pst_move_set *buckets, uint64_t move);
/* `move` has its end: its locks are taken back, and of its two partitions goes what owns nothing; the giver's not where it is another
 * move's too. */
void pst_owners_unlock(struct pst_owners *owners, const struct pst_move_record *move, bool from_stays);
void pst_owners_give(struct pst_owners *owners, const struct pst_move_record *move);
/* A new incarnation: what `gone` nodes have goes to `there` nodes in turn, what an operator has on a node becomes one partition, no
 * bucket stays locked. PST_EFULL: nobody is there. */
int pst_owners_recover(struct pst_owners *owners, uint32_t gone, uint32_t there);

/* ---- messages ---- */
#define PST_MOVE_ROLES(X) X(GIVER) X(TAKER) X(UPSTREAM) X(DOWNSTREAM)
#define PST_MOVE_X(name) PST_MOVE_##name,
typedef enum pst_move_role { PST_MOVE_ROLES(PST_MOVE_X) PST_MOVE_ROLE_COUNT } pst_move_role;
#undef PST_MOVE_X

/* ORDER: coordinator to player: what the record says. REPORT: player to coordinator: where it is. CHUNK, TAKEN: giver, taker. */
typedef enum pst_move_kind { PST_MOVE_ORDER = 1, PST_MOVE_REPORT, PST_MOVE_CHUNK, PST_MOVE_TAKEN } pst_move_kind;

enum {
    PST_MOVE_SAYS_GONE = 1,     /* ORDER: the giver is dead */
    PST_MOVE_SAYS_LEFT = 2,     /* ORDER: the giver has stopped */
    PST_MOVE_SAYS_SETTLED = 4,  /* ORDER: every downstream hears the taker alone */
    PST_MOVE_SAYS_REFUSED = 8,  /* REPORT */
    PST_MOVE_SAYS_FULL = 16,    /* REPORT: a bound is reached */
    PST_MOVE_SAYS_DIGEST = 32,  /* REPORT: `digest` is that of all buckets at `digest_at` */
    PST_MOVE_SAYS_UNKNOWN = 64, /* REPORT: nothing is known of this move, and nothing will be */
};

struct pst_move_message {
    pst_move_kind kind;
    pst_move_role role; /* of the player, to or from which it is; CHUNK: TAKER, TAKEN: GIVER */
    pst_move_step step; /* of the record; REPORT: as far as the player has heard */
    uint8_t state;      /* REPORT: of the player's table */
    uint32_t flags;
    uint32_t partition; /* the player's */
    uint32_t op, from, to, from_node, to_node;
    uint64_t move, serial, incarnation, epoch;
    int64_t
        time; /* ORDER: s, from COMMITTED on c. REPORT: s_u; where the giver stopped; the latest image. CHUNK, TAKEN: the image's */
    int64_t now;  /* REPORT: of the partition */
    int64_t have; /* REPORT: below it a downstream has all of the giver's; ORDER to the taker: every downstream has */
    int64_t digest_at;
    uint64_t digest;
    uint32_t bucket, chunk, chunk_count; /* CHUNK: the chunk-th of chunk_count; TAKEN: so many are there */
    const void *bytes;                   /* CHUNK: borrowed for the call */
    uint32_t byte_count;
    struct pst_move_set buckets; /* ORDER */
};

/* ---- players ---- */
/* What happens to a player. The first are the orders, one for each step. */
#define PST_MOVE_EVENTS(X)                                                                        \
    X(IMAGE, "the image of a bucket at an epoch's end has been taken: `bucket`, `time`, `count`") \
    X(TAKEN, "message of the taker")                                                              \
    X(LEFT, "the giver has put out all below `time`, and said so in its channels")                \
    X(DIGEST, "the digest of all buckets at `time`: `digest`")                                    \
    X(AGAIN, "the connection to the other side was made again")                                   \
    X(CHUNK, "message of the giver")                                                              \
    X(FULL, "a bound is reached")                                                                 \
    X(START, "in a channel: the taker puts out everything from `time` on; `gone`")                \
    X(STOP, "in a channel: the giver has put out everything below `time`, and no more follows")   \
    X(COVERED, "in a channel: the taker has put out everything below `time`")
#define PST_MOVE_X(name, what) PST_MOVE_ON_##name,
typedef enum pst_move_event {
    PST_MOVE_ON_ORDER = 0, /* + step */
    PST_MOVE_ON_LAST_ORDER = PST_MOVE_STEP_COUNT - 1,
    PST_MOVE_EVENTS(PST_MOVE_X) PST_MOVE_EVENT_COUNT
} pst_move_event;
#undef PST_MOVE_X

struct pst_move_fact {
    const struct pst_move_message *message; /* orders, TAKEN, CHUNK */
    int64_t time;
    uint64_t digest;
    uint32_t bucket, count;
    bool gone;
};

/* What a player wants done. */
#define PST_MOVE_ACTIONS(X)                                                                                           \
    X(IMAGE, "giver: take the image of one of `left` at the next epoch's end that is not before `time`")              \
    X(CHUNK, "giver: send `chunk` of the image taken: pst_move_chunk()")                                              \
    X(DROP, "giver: the image is not needed any more")                                                                \
    X(DIGEST, "giver, taker: say the digest of all buckets at `time`, if that is still to come")                      \
    X(LEAVE, "giver: at `time`, or at once where that has passed, put out no more, say STOP in the channels, forget " \
             "the buckets")                                                                                           \
    X(STAY, "giver: no image, no digest is wanted any more")                                                          \
    X(CHECK, "taker: is there room, and are keys and version the same? Answers in `refused`")                         \
    X(OPEN, "taker: a lane for the buckets, muted")                                                                   \
    X(STAGE, "taker: keep the chunk; `time` is the image's: waiting rows below it are of no use to any bucket that "  \
             "is not in. Answers in `refused`: no room")                                                              \
    X(INSTALL, "taker: all of `bucket` is there, at `time`; drop its rows below, work off the others")                \
    X(TRIM, "taker: kept output below `time` is needed by nobody")                                                    \
    X(PUT_OUT,                                                                                                        \
      "taker: say START from `time` on in the channels, put out what is kept from there, then what is made; `gone`")  \
    X(SERVE, "taker: nothing needs to be kept any more; the lane is a partition like any other")                      \
    X(CLOSE, "taker: throw the lane away")                                                                            \
    X(BRANCH, "upstream: send the buckets' rows both ways. Answers in `time` from when on")                           \
    X(BIND, "upstream: the branch is a channel like any other, and holds up as others do")                            \
    X(UNBRANCH, "upstream: to the giver alone, throw the branch away")                                                \
    X(ROUTE, "upstream: to the taker alone")                                                                          \
    X(WATCH, "downstream: take note how far the giver's channel is for these buckets")                                \
    X(BOTH, "downstream: pst_move_marks_open() for the buckets, from `time` on. Until SETTLE the giver is heard as "  \
            "well, and its promise "                                                                                  \
            "counts up to where it stops; the taker's counts where the giver's has come to `time`")                   \
    X(SETTLE, "downstream: pst_move_marks_close() for the buckets: the taker alone is heard")                         \
    X(UNWATCH, "downstream: forget the move")
#define PST_MOVE_X(name, what) PST_MOVE_DO_##name,
typedef enum pst_move_act { PST_MOVE_ACTIONS(PST_MOVE_X) PST_MOVE_ACT_COUNT } pst_move_act;
#undef PST_MOVE_X
const char *pst_move_act_name(pst_move_act act);

struct pst_move_player;
struct pst_move_action {
    pst_move_act act;
    int64_t time;
    uint32_t bucket, chunk;
    const struct pst_move_message *message; /* STAGE */
    const struct pst_move_set *left;        /* IMAGE */
    bool gone, refused;
};

/* A row of a table: what happens on these events in these states. */
struct pst_move_row {
    uint32_t states, events; /* bits */
    uint32_t to;             /* the states it may end in; 0: it stays, or cannot be */
    /* NULL: cannot be, and `what` says why. Gives the new state. */
    uint8_t (*run)(struct pst_move_player *player, const struct pst_move_fact *fact);
    const char *what;
};
struct pst_move_table {
    const char *role;
    const char *const *states;
    uint32_t state_count, events, row_count; /* events: bits: which there are for this role */
    const struct pst_move_row *rows;
};
const struct pst_move_table *pst_move_table(pst_move_role role);
const char *pst_move_event_name(uint32_t event);
/* NULL: there is none, which a test excludes. */
const struct pst_move_row *pst_move_row(const struct pst_move_table *table, uint32_t state, uint32_t event);

/* A role's states; 0 is "knows nothing" for each. */
#define PST_MOVE_GIVER_STATES(X) X(NONE) X(SERVES) X(IMAGES) X(SENDS) X(COPIED) X(LEAVES) X(STOPPED)
#define PST_MOVE_TAKER_STATES(X) X(NONE) X(ASKED) X(OPEN) X(COPIES) X(CAUGHT) X(SPEAKS) X(SERVES)
#define PST_MOVE_UPSTREAM_STATES(X) X(NONE) X(BOTH) X(HELD) X(BOUND) X(ONE_WAY)
#define PST_MOVE_DOWNSTREAM_STATES(X) X(NONE) X(WATCHES) X(STARTED) X(LEFT) X(BOTH) X(SETTLED)
#define PST_MOVE_X(name) PST_GIVER_##name,
enum { PST_MOVE_GIVER_STATES(PST_MOVE_X) PST_GIVER_COUNT };
#undef PST_MOVE_X
#define PST_MOVE_X(name) PST_TAKER_##name,
enum { PST_MOVE_TAKER_STATES(PST_MOVE_X) PST_TAKER_COUNT };
#undef PST_MOVE_X
#define PST_MOVE_X(name) PST_UPSTREAM_##name,
enum { PST_MOVE_UPSTREAM_STATES(PST_MOVE_X) PST_UPSTREAM_COUNT };
#undef PST_MOVE_X
#define PST_MOVE_X(name) PST_DOWNSTREAM_##name,
enum { PST_MOVE_DOWNSTREAM_STATES(PST_MOVE_X) PST_DOWNSTREAM_COUNT };
#undef PST_MOVE_X

struct pst_move_seam {
    void *self;
    /* REPORT: to the coordinator; CHUNK: to the node to_node; TAKEN: to from_node. May be lost. */
    void (*send)(void *self, const struct pst_move_message *message);
    void (*act)(void *self, struct pst_move_player *player, struct pst_move_action *action);
    /* Fills `now` and `have` of a report, as far as they are for that role. */
    void (*look)(void *self, const struct pst_move_player *player, struct pst_move_message *report);
    /* Every event, also one that changes nothing. pst_move_line() makes a line of it. */
    void (*trace)(void *self, const struct pst_move_player *player, uint32_t event, uint32_t from, uint32_t to);
};

struct pst_move_players;
struct pst_move_player {
    struct pst_move_players *all; /* NULL: not in use */
    pst_move_role role;
    uint8_t state;
    pst_move_step heard;
    uint32_t partition;
    uint32_t op, from, to, from_node, to_node;
    uint64_t move, serial, epoch;
    struct pst_move_set buckets;
    int64_t
        time; /* upstream: s_u; giver: where it stopped; taker: the latest image's; downstream: where START begins */
    int64_t since, cut, digest_at, digest_said_at;
    uint64_t digest;
    bool full, refused, gone;
    bool start_gone;          /* downstream: the taker has said in the channel that it puts out all that it has kept */
    int64_t stopped, covered; /* downstream: of the giver, of the taker; PST_MOVE_NEVER: not heard */
    struct pst_move_set left; /* giver: buckets still to be copied; taker: to be installed */
    uint32_t bucket, chunk_count, chunk_sent, chunk_taken;
    int64_t image_time;
    int64_t kept_from; /* taker: all that the buckets put out from here on is kept */
};
struct pst_move_players {
    struct pst_move_seam seam;
    uint64_t incarnation;
    uint64_t closed, closed_bits; /* M5: all serials up to `closed`, and those of the bits above it */
    struct pst_move_player players[PST_MOVE_PLAYERS_MAX];
};

/* A node's players of one graph in one incarnation: nothing of an earlier one is left. Serials up to `serial` are closed: those of
 * moves that began before the node joined. */
void pst_move_players_init(struct pst_move_players *all, const struct pst_move_seam *seam, uint64_t incarnation,
                           uint64_t serial);
/* ORDER, CHUNK, TAKEN. Whatever does not fit is dropped, and answered where that helps. */
void pst_move_receive(struct pst_move_players *all, const struct pst_move_message *message);
/* What the caller has to tell. The player may be gone afterwards. */
void pst_move_tell(struct pst_move_player *player, pst_move_event event, const struct pst_move_fact *fact);
/* NULL: there is none. */
struct pst_move_player *pst_move_find(struct pst_move_players *all, uint64_t move, pst_move_role role,
                                      uint32_t partition);
/* Each player says again where it is: now and then, so that one whose end was not heard learns of it. */
void pst_move_report(struct pst_move_players *all);
/* CHUNK's message, but for `bytes`. */
void pst_move_chunk(const struct pst_move_player *player, uint32_t chunk, struct pst_move_message *ret_message);
int pst_move_line(const struct pst_move_player *player, uint32_t event, uint32_t from, uint32_t to,
                  struct pst_text *text);

/* ---- downstream: the first of each (operator, bucket, number) ---- */
/* While two speak for a bucket, what they say is split at the cut: below it the giver's numbers go on, and the taker's begin at it. One
 * mark for both would take the taker's first number for a proof that all below it has come. */
struct pst_move_marks {
    uint64_t epoch, epoch_next; /* of the owner; next: of the taker, while two speak, else the same */
    int64_t cut;
    uint64_t low, high; /* the last number below the cut, and from it on */
};
void pst_move_marks_init(struct pst_move_marks *marks, uint64_t epoch);
void pst_move_marks_open(struct pst_move_marks *marks, uint64_t epoch_next, int64_t cut);
void pst_move_marks_close(struct pst_move_marks *marks);
/* Is the row taken? Then it is noted. */
bool pst_move_accept(struct pst_move_marks *marks, uint64_t epoch, int64_t time, uint64_t number);
/* Is a row in the taker's lane still to be counted in, for a bucket whose image is of `image_time`? */
bool pst_move_wanted(int64_t image_time, int64_t time);
/* Is what carries `incarnation` for one that is at `mine`? */
bool pst_move_fresh(uint64_t mine, uint64_t incarnation);

/* ---- coordinator ---- */
/* What moves a record on. The order is that of their weight: the first that holds is the one that counts. */
#define PST_MOVE_CAUSES(X)                                                                              \
    X(RECOVERY, "the graph is started again")                                                           \
    X(TAKEN_OVER, "the giver's node is dead, and all that it had is with takers that are ready")        \
    X(CANCEL, "commanded")                                                                              \
    X(LATE, "the deadline has passed")                                                                  \
    X(REFUSED, "by the taker")                                                                          \
    X(FULL, "a player has reached a bound")                                                             \
    X(LOST, "a player does not know the move any more, or its node is gone")                            \
    X(DIFFERENT, "digests at the same time")                                                            \
    X(ACCEPTED, "by the taker")                                                                         \
    X(BRANCHED, "every upstream sends both ways, every downstream watches")                             \
    X(BEGUN, "the giver takes images")                                                                  \
    X(CAUGHT_UP, "every bucket is in, the lane is near, downstreams have what the giver put out below") \
    X(AGREED, "digests at the same time are the same")                                                  \
    X(FINISHED, "every player is where it stays")
#define PST_MOVE_X(name, what) PST_MOVE_BY_##name,
typedef enum pst_move_cause { PST_MOVE_CAUSES(PST_MOVE_X) PST_MOVE_CAUSE_COUNT } pst_move_cause;
#undef PST_MOVE_X
const char *pst_move_cause_name(pst_move_cause cause);

struct pst_move_rule {
    uint32_t steps, causes; /* bits */
    int to;                 /* a step; PST_MOVE_STEP_COUNT: it stays */
    const char *what;
};
/* The rule for a record at `step`; each pair has exactly one. */
const struct pst_move_rule *pst_move_rule(pst_move_step step, pst_move_cause cause);
/* What a record that is ABORTED for this cause says. */
pst_move_why pst_move_why_of(pst_move_cause cause);

/* How far a node is, as its keeper says it. */
typedef enum pst_move_health {
    PST_MOVE_NODE_ABSENT = 0, /* not heard of since this coordinator began */
    PST_MOVE_NODE_GONE,       /* not heard of for too long */
    PST_MOVE_NODE_EMPTY,      /* there, with nothing of the incarnation */
    PST_MOVE_NODE_LOADED,
    PST_MOVE_NODE_RUNS
} pst_move_health;

struct pst_move_op {
    uint32_t bucket_count, input_count;
    uint32_t inputs[PST_MOVE_INPUTS_MAX]; /* operators whose rows it takes */
    int64_t span;                         /* of its epochs */
};
struct pst_move_graph {
    const char *name;
    uint32_t op_count;
    struct pst_move_op ops[PST_MOVE_OPERATORS_MAX];
    uint32_t lag_epochs;    /* READY: the lane is no more behind than this */
    uint32_t margin_epochs; /* how far ahead of both a digest or a cut is agreed on */
};

struct pst_move_command {
    uint64_t id; /* not 0 */
    uint32_t op, from, to_node;
    struct pst_move_set buckets;
    uint64_t deadline_ns;
};
struct pst_move_status {
    pst_move_step step;
    pst_move_why why;
    uint64_t holder; /* PST_EREFUSED: the move that has what was asked for; 0: it is not that */
};

struct pst_move_coordinator_seam {
    void *self;
    void (*send)(void *self, uint32_t node, const struct pst_move_message *order);
    /* A record's step changed, by a commit whose outcome is known. */
    void (*trace)(void *self, const struct pst_move_record *record, pst_move_step from, pst_move_cause cause);
};

struct pst_move_peer {
    uint32_t partition, node;
    bool heard;
    uint8_t state;
    pst_move_step step;
    uint32_t flags;
    int64_t time, now, have, digest_at;
    uint64_t digest;
};
struct pst_move_run { /* private: a move, as the coordinator knows it */
    bool used, listed, cancel;
    struct pst_move_record record;
    uint64_t version;
    struct pst_move_peer giver, taker;
    uint32_t upstream_count, downstream_count;
    struct pst_move_peer upstreams[PST_MOVE_PEERS_MAX], downstreams[PST_MOVE_PEERS_MAX];
    int64_t digest_at;
    uint32_t digest_tries;
};

struct pst_move_coordinator { /* private */
    struct pst_store *store;
    const struct pst_move_graph *graph;
    struct pst_move_coordinator_seam seam;
    struct pst_store_request request;
    int phase;
    bool waits, stale;
    uint64_t news, ticks;
    char owners_path[PST_STORE_PATH_BYTES], path[PST_STORE_PATH_BYTES];
    struct pst_owners owners, owners_next;
    uint64_t owners_version;
    struct pst_text list;
    size_t list_at;
    struct pst_move_run moves[PST_MOVES_MAX];
    uint64_t now_ns;
    struct {
        pst_move_health health;
        uint64_t incarnation;
    } nodes[PST_MOVE_NODES_MAX];
    /* The commit under way: what it would change in `moves`. */
    struct pst_store_change changes[1 + PST_MOVES_MAX];
    char change_paths[1 + PST_MOVES_MAX][PST_STORE_PATH_BYTES];
    struct pst_text change_texts[1 + PST_MOVES_MAX];
    struct pst_move_record change_records[1 + PST_MOVES_MAX];
    pst_move_cause change_causes[1 + PST_MOVES_MAX];
    uint32_t change_count;
};

/* In the caller's memory, which is large. Borrows store and graph. */
void pst_move_coordinator_init(struct pst_move_coordinator *coordinator, struct pst_store *store,
                               const struct pst_move_graph *graph, const struct pst_move_coordinator_seam *seam);
void pst_move_coordinator_fini(struct pst_move_coordinator *coordinator);
/* Goes on with the store, and decides what there is to decide. Call when the store was stepped, and after what follows here.
 * PST_ESTOPPED: the session has ended: fini(). PST_EDATA: a record cannot be. Other errors pass: call again. */
int pst_move_coordinator_step(struct pst_move_coordinator *coordinator, uint64_t now_ns);
/* Says the orders again, and now and then has everything read again. To be called several times a second. */
void pst_move_coordinator_tick(struct pst_move_coordinator *coordinator);
void pst_move_coordinator_report(struct pst_move_coordinator *coordinator, const struct pst_move_message *report);
/* What a node's keeper says: `incarnation` is the one that it has loaded or runs. */
void pst_move_coordinator_node(struct pst_move_coordinator *coordinator, uint32_t node, pst_move_health health,
                               uint64_t incarnation);
/* Begins a move, or says how it stands where the id is known: ask until it is. PST_OK: ret_status. PST_EAGAIN: ask again.
 * PST_EREFUSED: locked or next to what is locked (by ret_status->holder), or too many. PST_EINVAL: no such buckets there.
 * The reverse of a move that runs cancels that one, and is itself refused with its name. */
int pst_move_coordinator_move(struct pst_move_coordinator *coordinator, const struct pst_move_command *command,
                              struct pst_move_status *ret_status);
/* PST_OK: it is aborted. PST_EAGAIN: ask again. PST_EREFUSED: too late. PST_ENOENT. */
int pst_move_coordinator_cancel(struct pst_move_coordinator *coordinator, uint64_t id,
                                struct pst_move_status *ret_status);
/* The checkpoint at `time` of this incarnation is complete. PST_OK: it is written down; PST_EAGAIN: ask again. PST_EREFUSED: not of
 * this incarnation, or older than what there is. */
int pst_move_coordinator_checkpoint(struct pst_move_coordinator *coordinator, uint64_t incarnation, int64_t time);
/* As last read or written; NULL: not yet read. */
const struct pst_owners *pst_move_coordinator_owners(const struct pst_move_coordinator *coordinator);

#endif
