/* tests/migration/cluster.h - an abstract cluster in one thread, on simulated time, from a seed: sources, two layers of operators, a
 * sink, links, keepers, coordinators, a store with faults. Nothing of the engine is in it but the protocol of moves.
 *
 * What is true without any cluster is known beforehand (model): each bucket's state at each epoch's end, and the sink's bytes.
 * So a row that is lost, counted twice or in the wrong place is seen where it happens, and not at the end.
 */
#ifndef PST_TEST_CLUSTER_H
#define PST_TEST_CLUSTER_H

#include "migration/move_inside.h"
#include "tests/sim/store_sim.h"

#include <setjmp.h>

enum {
    NODES_MAX = 5,
    OPS = 4, /* sources, two layers, a sink */
    BUCKETS = 8,
    SPAN = 10,
    EPOCHS_MAX = 160,
    SOURCES_MAX = 2,
    SOURCE_ROWS_MAX = 220,
    PARTITIONS = 64,
    NODE_PARTS_MAX = 24,
    ROWS_MAX = 4, /* of a frame */
    RING = 256,
    CREDITS = 6,        /* frames of a channel on their way */
    QUEUE_BLOCKED = 6,  /* frames that wait for credit: the partition makes no more */
    LANE_ROWS_MAX = 90, /* that wait */
    KEPT_MAX = 90,
    MOVES_MAX = 14, /* commanded */
    TRACE_LINES = 60,
    TRACE_BYTES = 200
};

enum { OP_SOURCE, OP_A, OP_B, OP_SINK };

/* ---- what is known beforehand ---- */
struct row {
    int64_t time;
    uint64_t value, epoch; /* epoch: of the owner who put it out */
    uint32_t key, number;
    uint8_t op, bucket; /* that put it out */
};
struct bucket {
    uint64_t chain;
    uint32_t counter;
};
struct model {
    uint32_t source_count;
    uint32_t row_count[SOURCES_MAX];
    struct row rows[SOURCES_MAX][SOURCE_ROWS_MAX];
    int64_t least_after[SOURCES_MAX][SOURCE_ROWS_MAX + 1]; /* of the rows from here on; PST_MOVE_END: none */
    int64_t most_before[SOURCES_MAX][SOURCE_ROWS_MAX + 1]; /* of the rows before; -1: none */
    struct bucket buckets[OPS][BUCKETS][EPOCHS_MAX + 1];   /* at the beginning of that epoch */
    uint32_t sink_bytes_at[EPOCHS_MAX + 1];
    char *sink;
    uint32_t sink_bytes;
};
struct pending {
    uint64_t sum;
    uint32_t count;
};
void model_init(struct model *model, uint64_t seed);
void model_fini(struct model *model);
uint32_t bucket_count(const struct model *model, uint32_t op);
uint64_t mix(uint64_t value);
uint64_t row_digest(const struct row *row);
/* One epoch of one bucket: what both the model and the partitions run. */
uint32_t bucket_apply(struct bucket *bucket, uint32_t op, uint32_t index, const struct pending *rows, int64_t end,
                      struct row ret_rows[3]);
int row_compare(const void *one, const void *other);
int row_line(const struct row *row, char ret_line[64]);
int64_t epoch_end(int64_t time);   /* the first that is not below */
int64_t epoch_begin(int64_t time); /* the last that is not above */

/* ---- messages ---- */
enum frame_kind { FRAME_ROWS = 1, FRAME_MARK, FRAME_START, FRAME_STOP, FRAME_CUT, FRAME_GRANT };
struct frame {
    enum frame_kind kind;
    uint64_t incarnation, number; /* number: of the link */
    uint32_t from, to, from_node; /* from, to: partitions */
    uint64_t from_serial, to_serial;
    int64_t mark; /* ROWS, MARK: no row below will follow; START, STOP, CUT: the time */
    uint64_t move;
    bool gone;
    uint32_t count; /* rows; GRANT: frames */
    struct row rows[ROWS_MAX];
};
enum control_kind { CONTROL_MOVE = 1, CONTROL_BEAT, CONTROL_BEGIN, CONTROL_GO, CONTROL_CUT };
struct routes { /* of the owners' record, as much as a partition has to know */
    uint64_t incarnation, serial;
    int64_t checkpoint;
    uint8_t partition[OPS][BUCKETS];
    uint64_t epoch[OPS][BUCKETS];
    uint8_t node[PARTITIONS];
    uint64_t serials[PARTITIONS];
};
struct control {
    enum control_kind kind;
    uint32_t from; /* node */
    uint64_t life, beat, incarnation;
    pst_move_health health;
    bool coordinates; /* BEAT: reports are for it */
    int64_t time;
    struct routes routes;
    struct pst_move_message message;
    uint8_t chunk[sizeof(struct bucket)];
};

/* ---- partitions ---- */
struct out {
    bool used, branch, bound;
    uint32_t to, node;
    uint64_t serial, move;
    int64_t marked; /* the last mark sent */
    uint32_t credits, count;
    struct frame queue[64];
};
struct part {
    bool used, scheduled, lane, speaks;
    uint32_t id, op;
    uint64_t serial, move, life;
    uint32_t mine; /* buckets, bits */
    struct bucket buckets[BUCKETS];
    int64_t at[BUCKETS];                  /* every row below is in; PST_MOVE_NEVER: the image is not there */
    int64_t image_time[BUCKETS], useless; /* useless: rows below, of buckets that are not there */
    uint64_t out_epoch[BUCKETS];          /* of the owner, as which it puts out */
    struct bucket staged;
    struct pending pending[BUCKETS][EPOCHS_MAX + 1];
    uint32_t pending_rows;
    int64_t now, done, begun_at;
    /* in */
    uint8_t in_owner[BUCKETS], in_other[BUCKETS];
    bool in_started[BUCKETS];
    int64_t in_from[BUCKETS], in_stopped[BUCKETS];
    struct pst_move_marks marks[BUCKETS];
    int64_t mark[PARTITIONS];
    uint64_t mark_serial[PARTITIONS];
    uint64_t accepted[BUCKETS][16]; /* numbers, bits */
    uint32_t frame_first, frame_count;
    struct frame frames[RING];
    /* out */
    uint8_t out_owner[BUCKETS];
    struct out outs[12];
    int64_t cut;                 /* a checkpoint's; PST_MOVE_NEVER */
    int64_t put_from, kept_from; /* of a lane */
    uint32_t kept_count;
    struct row kept[KEPT_MAX + 80];
    /* sources */
    uint32_t position[SOURCES_MAX];
    /* sink */
    uint32_t line_count;
    struct row lines[256];
};
struct wish { /* of a player */
    int64_t digest_at, leave_at;
    bool digest, leave, image;
    int64_t since;
    struct pst_move_set left;
    struct bucket taken;
};

/* ---- nodes ---- */
struct heard {
    uint64_t at_us, life, beat, incarnation;
    pst_move_health health;
    bool ever;
};
struct keeper {
    struct pst_store *store;
    struct pst_store_request request;
    struct pst_store_change change;
    bool asked, rogue; /* rogue: coordinates without having the term */
    char name[32];
    uint64_t wait_until_us, began_us, ticks;
    struct pst_move_coordinator *coordinator; /* NULL: it does not coordinate */
    struct heard heard[NODES_MAX];
    int64_t cut;
    uint64_t cut_until_us;
};
struct node {
    struct cluster *cluster;
    uint32_t index;
    bool up, runs;
    uint64_t life, beat, incarnation;
    uint32_t coordinator; /* who gave the last order, or said that it coordinates */
    uint32_t step_us_max;
    struct pst_move_players players;
    struct wish wishes[PST_MOVE_PLAYERS_MAX];
    struct part *parts[NODE_PARTS_MAX];
    struct routes order_routes; /* with the last order to a taker */
    uint64_t cut_off_us;        /* when last a link of it was cut */
    struct keeper keeper;
};

/* ---- network ---- */
struct link {
    uint64_t conn, sent, got; /* numbers */
    uint64_t data_at_us, control_at_us, ack_at_us;
    bool cut, conn_keeps; /* keeps: what was on its way still comes, late */
    uint64_t kept_first;
    uint32_t kept_count, kept_capacity;
    struct frame *kept;
};

enum event_kind { EVENT_DATA = 1, EVENT_ACK, EVENT_CONTROL, EVENT_TICK, EVENT_STEP, EVENT_FAULT, EVENT_CLIENT };
struct event {
    uint64_t at_us, order;
    enum event_kind kind;
    uint32_t a, b;
    uint64_t conn, life, number;
    void *bytes;
};

enum fault_kind { FAULT_CRASH = 1, FAULT_CUT, FAULT_STORE_CUT, FAULT_EXPIRE, FAULT_SLOW, FAULT_ROGUE };
struct fault {
    enum fault_kind kind;
    uint64_t at_us, for_us;
    uint32_t a, b;
    bool both, forever;
};
/* A crash when a player comes to a state, or a record to a step: of the player's node, or the coordinator's, giver's, taker's. */
enum { CRASH_STEP = PST_MOVE_ROLE_COUNT, CRASH_STEP_GIVER, CRASH_STEP_TAKER, CRASH_COUNT };
struct crash_script {
    bool set, done;
    uint32_t role; /* of players; or one of the above */
    uint32_t state;
    bool cut; /* what it sends from then on until it dies is lost */
    uint64_t after_us;
    uint32_t down_ms; /* 0: it does not come back */
};
struct command {
    struct pst_move_command command;
    uint64_t at_us, cancel_at_us;
    bool placed, ended, cancelled;
    uint32_t from_node, tries;
    uint32_t kind; /* 0: some buckets; 1: all of a node; 2: those of a running move; 3: the way back of one */
};

struct cluster {
    uint64_t seed, random, now_us, order, events, trace;
    struct model model;
    struct pst_move_graph graph;
    struct store_sim store;
    uint32_t node_count;
    struct node nodes[NODES_MAX];
    struct link links[NODES_MAX][NODES_MAX];
    struct event *heap;
    uint32_t heap_count, heap_capacity;
    struct fault faults[16];
    uint32_t fault_count;
    struct crash_script crash;
    struct command commands[MOVES_MAX];
    uint32_t command_count;
    uint64_t quiet_us;                                                 /* from then on no faults */
    uint32_t control_us_max, data_us_max, repeat_per_1000, branch_max; /* branch: frames that wait */
    bool lies;                                                         /* takers say wrong digests */
    /* the shared folder */
    uint32_t sink_bytes;
    uint64_t sink_incarnation;
    uint16_t images[OPS][EPOCHS_MAX + 1];
    uint64_t owner_of[OPS][BUCKETS][64]; /* by owner epoch: partition and incarnation, or 0 */
    uint64_t epoch_most[OPS][BUCKETS], incarnation_most;
    struct pst_owners *owners; /* as committed */
    struct {
        uint64_t id, version;
        pst_move_step step;
    } moves[64]; /* as committed */
    uint32_t move_count;
    uint64_t owners_version, command_id;
    struct pst_move_coordinator *spare; /* coordinators are large: one is kept */
    /* what has happened */
    uint64_t whys[PST_MOVE_WHY_COUNT], done, aborted, takeovers, recoveries, cuts_done, rows_repeated;
    uint32_t seen[PST_MOVE_ROLE_COUNT][16]; /* events by state, bits: what was visited */
    char lines[TRACE_LINES][TRACE_BYTES];
    uint64_t line_count;
    void *event_bytes; /* of the event that is being done */
    bool prints, over; /* over: no faults any more */
    jmp_buf failed;
    char why[300];
};

/* `crash`: this one, and no other fault. */
void cluster_init(struct cluster *cluster, uint64_t seed, bool faults, bool moves, const struct crash_script *crash);
void cluster_fini(struct cluster *cluster);
/* False: `why`. */
bool cluster_run(struct cluster *cluster);
void cluster_explain(const struct cluster *cluster);

uint64_t cluster_random(struct cluster *cluster, uint64_t below);
_Noreturn void broken(struct cluster *cluster, const char *format, ...) __attribute__((format(printf, 2, 3)));
void traced(struct cluster *cluster, const char *format, ...) __attribute__((format(printf, 2, 3)));
void event_add(struct cluster *cluster, const struct event *event);

/* ---- net ---- */
void net_frame(struct cluster *cluster, uint32_t from, uint32_t to, const struct frame *frame);
void net_control(struct cluster *cluster, uint32_t from, uint32_t to, const struct control *control);
void net_data_arrived(struct cluster *cluster, const struct event *event);
void net_ack_arrived(struct cluster *cluster, const struct event *event);
void net_control_arrived(struct cluster *cluster, const struct event *event);
void net_cut(struct cluster *cluster, uint32_t from, uint32_t to, bool cut);
void cluster_crash(struct cluster *cluster, uint32_t node, uint64_t for_us);
void cluster_crash_soon(struct cluster *cluster, uint32_t node);
void net_crashed(struct cluster *cluster, uint32_t node);
void net_restarted(struct cluster *cluster, uint32_t node);

/* ---- parts ---- */
struct part *part_find(struct node *node, uint32_t id, uint64_t serial);
struct part *part_new(struct node *node, uint32_t id, uint32_t op, uint64_t serial, const struct routes *routes);
void part_free(struct node *node, struct part *part);
void part_schedule(struct node *node, struct part *part);
void part_step(struct node *node, struct part *part);
void part_frame(struct node *node, const struct frame *frame);
void part_cut(struct node *node, int64_t time);
void part_outs(struct node *node, struct part *part, const struct routes *routes);
/* the actions of players */
void part_branch(struct node *node, struct pst_move_player *player, struct pst_move_action *action);
void part_unbranch(struct node *node, struct pst_move_player *player);
void part_route(struct node *node, struct pst_move_player *player);
void part_bind(struct node *node, struct pst_move_player *player);
void part_install(struct node *node, struct pst_move_player *player, const struct pst_move_action *action);
bool part_stage(struct node *node, struct pst_move_player *player, const struct pst_move_action *action);
void part_trim(struct node *node, struct pst_move_player *player, int64_t time);
void part_put_out(struct node *node, struct pst_move_player *player, const struct pst_move_action *action);
void part_both(struct node *node, struct pst_move_player *player, const struct pst_move_action *action);
void part_settle(struct node *node, struct pst_move_player *player);
int64_t part_have(struct node *node, const struct pst_move_player *player);
struct part *part_of_player(struct node *node, const struct pst_move_player *player);

/* ---- keepers ---- */
void keeper_begin(struct node *node);
void keeper_fini(struct node *node);
void keeper_tick(struct node *node);
void keeper_control(struct node *node, struct control *control);
void keeper_store(struct node *node);
void keeper_lost(struct node *node);
struct pst_move_coordinator *cluster_coordinator(struct cluster *cluster, uint32_t *ret_node);

/* ---- checks ---- */
void check_all(struct cluster *cluster);
const char *check_rest(struct cluster *cluster); /* what is left at the end; NULL: nothing */
void check_store(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count);

#endif
