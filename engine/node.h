/* engine/node.h - a node of a cluster: its keeper, the runs it hosts, and, on one of them, the coordinator (docs/cluster.md). Inside the
 * room: nobody else includes it.
 *
 * Worker 0 of a node's world is the keeper: it alone touches everything here but what says otherwise. Workers 1.. step the runs.
 *   node.c         life of a node, its workers, the runs that it hosts
 *   peers.c        control connections: who is at the other end, what waits to be sent
 *   coordinator.c  members, graphs, where partitions are, what happens when a node dies
 *   loads.c        how busy the runs are, told to the coordinator (loads.h); top.c shows it
 *   results.c      what is committed of a sink, read for a command
 *   savepoint.c    a graph that is stopped for good, with all that another one goes on from
 *   cuts.c         when and where a checkpoint is cut of a graph that several nodes read
 *   metrics.c      what the node counts, for Prometheus (metrics.h)
 *   election.c     who coordinates, where every node reaches the store
 *   relocate.c     partitions that go stop and go, from a checkpoint (mover.h)
 *   probe.c        whether a node could get keys for sealed rows
 *   drain.c        nodes that are to have nothing: because a command says so, or because they were told to end
 *   tidings.c      what is said to a coordinator that has not heard it
 *   admin.c        what commands ask, and what they are told
 *   disk.c         what checkpoints and spilled pages take, and the bound of that (disk.h)
 *   replays.c      streams that come by a connection: what the keeper does with whoever has one
 *   streams.c      the same, as far as the coordinator decides it: which ones a graph takes, and who reads each
 *
 * Thread:   the keeper's, unless said otherwise.
 * Holds true:
 *   K1  a run is begun by a job and ended by the keeper; between, a worker steps it from when it was attached until it has said DONE, and never
 *       touches it again
 *   K2  of one graph a node hosts one incarnation at a time, and never a lower one after a higher one
 *   K3  what the coordinator decides is in the store before anybody is told
 *   K4  a message to the node itself goes the same way as one to another, but for the connection
 */
#ifndef PST_NODE_H
#define PST_NODE_H

#include "engine/control.h"
#include "engine/disk.h"
#include "engine/link.h"
#include "engine/wire.h"
#include "migration/store.h"

enum {
    NODE_MEMBERS_MAX = 128,
    NODE_STRANGERS_MAX = 128, /* connections of somebody who has not said yet who he is */
    NODE_COMMANDS_MAX = 256,  /* connections of commands */
    NODE_PEERS_MAX = 1024,    /* connections: those, the members', and as many that are about to be dropped */
    NODE_GRAPHS_MAX = 64,
    HOSTED_GONE_MAX = 32, /* partitions that a run is told of and that are not replaced yet */
    NODE_PASSED_MAX = 64, /* commands that were passed on, and not answered yet */
    METRICS_CONNS_MAX = 8,
    NODE_SAVES_MAX = 4,  /* savepoints that are written at a time */
    MOVES_KEPT_MAX = 32, /* of a graph, ended ones */
    NODE_READS_MAX = 16, /* pieces of results that are read at a time */
    NODE_PROBES_MAX = 8, /* keepers of keys that are looked for at a time */
    KEPT_TRIES_MAX = 3,  /* incarnations that an order goes on in */
    PEER_WAITING_BYTES_MAX = 8 * 1024 * 1024,
    NODE_CLUSTER_BYTES = 33, /* a cluster's id as text, with its NUL */
};
static_assert(NODE_PEERS_MAX >= 2 * (NODE_MEMBERS_MAX + NODE_STRANGERS_MAX + NODE_COMMANDS_MAX), "nodes get in");
#define INTRODUCTION_NS (UINT64_C(5) * 1000 * 1000 * 1000)

struct pst_node;

/* ---- peers.c ---- */
enum peer_state { PEER_DIALING = 1, PEER_UNKNOWN, PEER_GREETING, PEER_UP };

struct message { /* packed, waiting to be sent */
    struct message *next;
    struct pst_text bytes;
};

struct peer {
    struct pst_conn *conn;
    uint64_t id; /* never given twice */
    enum peer_state state;
    uint32_t role; /* Pst__Role of the other side, once it is UP */
    char name[PST_CONTROL_NAME_BYTES_MAX + 1];
    char certificate[PST_PEER_BYTES]; /* the name there; "": there is none */
    uint64_t since_ns;                /* it was made; 0: both sides know each other */
    uint64_t heard_ns;
    struct message *first, *last;
    size_t waiting_bytes;
    uint32_t asked;                   /* of a command: what it was not answered yet */
    uint64_t asked_ns, asked_request; /* then: since when it waits; what it has asked last */
    bool closing;                     /* to be dropped when the keeper has seen all others */
    char why[200];                    /* "": there is nothing to say about it */
};

/* ---- node.c ---- */
struct hosted {                       /* a graph's run, or one that is to be begun */
    struct pst_sealed_options sealed; /* where its rows are */
    struct pst_node *node;
    char graph_name[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    uint32_t place; /* Running.place */
    struct pst_graph *graph;
    struct pst_arena arena; /* the site, and what the options point to */
    struct site site;
    uint16_t **partition_of_bucket; /* the site's, by operator */
    uint32_t **born, *partition_count;
    uint16_t **twin;
    struct pst_run_options options;
    struct pst_run_report report;
    struct run run;
    atomic_int interrupts;
    atomic_uint workers_left;          /* the last touch of each worker is to count itself out */
    uint64_t attached;                 /* workers that have got it */
    struct mover *mover;               /* mover.h */
    bool peer_ended[NODE_MEMBERS_MAX]; /* by index of the site */
    bool peer_left[NODE_MEMBERS_MAX];  /* the same: the graph goes on without it */
    uint32_t lost[NODE_MEMBERS_MAX]; /* the same: it is gone, others have what it had; Ended.takeover, 0: no, or done */
    bool any_lost;
    struct
        gone { /* a partition whose replica has what it had, though its node lives (takeover.c): told, and not done yet */
        uint32_t operator_index, partition, born, replaced;
    } gone[HOSTED_GONE_MAX];
    uint32_t gone_count;
    bool takes_hold; /* workers were told to stand still for that, or for what is lost */
    uint64_t retires_ns,
        dead_ns; /* when partitions that were replaced amid a checkpoint are looked at again, 0: there are none; when partitions whose workers are gone are told again, 0: there are none */
    bool silent[NODE_MEMBERS_MAX]; /* the same: it was logged that no connection to it can be made */
    bool begun, superseded;
    /* while it is begun, by a job: a state is read back, and that takes its time */
    struct pst_arena start_arena;
    const Pst__Start *start; /* in it */
    int begin_rc;
    struct pst_text begin_why, notes; /* notes: what it has to say before its first row, a line each */
    atomic_bool begin_done;           /* the job's last touch */
    uint64_t part;                    /* the last checkpoint that this node has a part of, or failed to; 0: none */
    int part_error;
    char part_why[300];
    uint32_t part_takeover, part_replaced;
    uint64_t part_told; /* the id of the connection on which the coordinator was told; UINT64_MAX: it is this node */
    bool by_source;     /* Start.by_source */
    bool loads_told;    /* how busy it is, once at least (loads.h) */
    struct dealings *dealings; /* whom its rows go to, as it was told last (loads.h); NULL: it never was */
    uint64_t ready_told;       /* the same: that its workers have their keys (Started.ready) */
};

struct ending { /* how a run has ended here */
    char graph_name[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    uint32_t place; /* Running.place */
    int error;
    bool lost; /* Ended.lost */
    char sentence[400];
    uint64_t rows, rows_out;
    int64_t watermark;
    uint64_t told; /* as `part_told` */
};

/* election.c. Of a node whose options have store_open. */
struct election {
    struct pst_store *store, *fenced; /* fenced: the coordinator's; NULL: the term is not ours */
    struct coordinator *rising;       /* it reads back what was decided; `duty` when it has */
    enum election_step { ELECTION_TERM, ELECTION_FENCE, ELECTION_STAND } step;
    bool asked, ours; /* asked: `request` is on its way; ours: the term that was read last */
    struct pst_store_request request;
    struct pst_store_change changes[2];
    struct pst_text bytes;
    uint8_t fence_bytes[PST_STORE_FENCE_BYTES];
    struct pst_store_fence fence;
    uint64_t fence_version;
    uint64_t term; /* that is followed, or ours; 0: none is known */
    uint64_t news; /* as of the last look */
    uint64_t look_ns, asked_ns, open_ns;
    uint64_t told_term; /* by a member, and where; 0: nothing was */
    char told_name[PST_CONTROL_NAME_BYTES_MAX + 1], told_address[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint64_t silent_ns; /* since when the store does not answer; 0: it does */
    char why[240];      /* as it was logged last */
};

struct passed {       /* a command that the coordinator has been given, for a peer that waits */
    uint64_t request; /* ours; 0: none */
    uint64_t peer, peer_request;
    bool replay; /* and not a command: whoever waits replays a stream */
};

struct attachment { /* a worker's own; `mail` is the keeper's way in */
    struct hosted *_Atomic mail;
    struct hosted *runs[NODE_GRAPHS_MAX];
    uint32_t run_count;
};

struct pst_node {
    struct pst_world *world;
    struct pst_node_options options;
    struct pst_listener *listeners[2]; /* the nodes' and, where there is one, the commands' unix socket */
    char address[PST_CONTROL_NAME_BYTES_MAX + 1];
    char cluster[NODE_CLUSTER_BYTES]; /* the id of the one that its folder belongs to; "": none yet */
    uint32_t worker_count;            /* that step runs */
    struct attachment *attachments;
    struct pst_disk disk;
    atomic_bool stopping;
    struct peer *peers[NODE_PEERS_MAX];
    uint32_t peer_count;
    uint64_t peer_ids;
    struct peer *upstream; /* the coordinator's; NULL: this node is it, or it is not connected */
    char coordinator[PST_CONTROL_NAME_BYTES_MAX + 1], coordinator_address[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint64_t dial_ns, beat_ns, loads_ns;
    uint64_t sent_bytes, received_bytes; /* over the links of runs that have ended */
    uint64_t opened_ns;
    bool joined;            /* it was connected to the coordinator, once at least */
    char upstream_why[200]; /* why it is not connected, as it was logged last */
    struct passed passed[NODE_PASSED_MAX];
    uint64_t passed_requests;
    uint64_t refusal_ns; /* of the last line about somebody who was not let in */
    uint32_t refusals;   /* since then, without a line; of the last one */
    char refusal_why[200];
    struct hosted *hosted[NODE_GRAPHS_MAX];
    uint32_t hosted_count;
    struct hosted *beginning[NODE_GRAPHS_MAX]; /* not in `hosted` yet */
    uint32_t beginning_count;
    Pst__Control *start[NODE_GRAPHS_MAX]; /* to be begun when the graph's run of before has ended; in start_arena */
    struct pst_arena start_arena[NODE_GRAPHS_MAX];
    uint32_t start_count;
    struct pst_listener *metrics_listener; /* metrics.c; NULL: there is none */
    struct scrape {
        struct pst_conn *conn; /* NULL: free */
        uint64_t deadline_ns;
        bool answered;
    } scrapes[METRICS_CONNS_MAX];
    struct pst_text metrics_text;           /* as it was made last */
    uint64_t metrics_ns;                    /* then */
    struct pst_read *reads[NODE_READS_MAX]; /* results.c; NULL: free */
    struct pst_save *saves[NODE_SAVES_MAX]; /* savepoint.c; NULL: free */
    struct probe {                          /* probe.c */
        bool used, asked;
        struct pst_conn *conn;
        char keys[PST_CONTROL_NAME_BYTES_MAX + 1], graph_name[PST_CONTROL_NAME_BYTES_MAX + 1];
        uint64_t incarnation, move, until_ns;
    } probes[NODE_PROBES_MAX];
    struct ending endings[NODE_GRAPHS_MAX];
    uint32_t ending_count;
    struct election election;
    struct coordinator *duty; /* coordinator.c; NULL: another node has it */
    char why[240];
    int error;
    bool folder_read, opened, left;
    bool any; /* something was done in this step */
    /* drain.c: it was told to end, and stays until what it has is elsewhere. */
    uint64_t leave_ns;   /* since when; 0: it was not told to */
    uint64_t leave_told; /* as `part_told` */
    uint64_t alone_ns;   /* since when it knows no coordinator; 0: it does */
    bool may_leave;      /* the coordinator says so */
};

/* peers.c */
void pst_peers_step(struct pst_node *node);
void pst_peers_fini(struct pst_node *node);
/* Packs and sends, or lets it wait. A peer that does not take what it is sent is closed. */
void pst_peer_send(struct pst_node *node, struct peer *peer, Pst__Control *body);
void pst_peer_refuse(struct pst_node *node, struct peer *peer, uint64_t request, int error, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
struct peer *pst_peer_find(const struct pst_node *node, const char *name); /* a node's, that is up */
struct peer *pst_peer_by_id(const struct pst_node *node, uint64_t id);
/* It is dropped at the end of this step; the log says why. */
void pst_peer_close(struct pst_node *node, struct peer *peer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* node.c: one line of the log, for one thing that has happened. Names and reasons, never a secret. */
void pst_node_log(struct pst_node *node, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What the coordinator says, and what it is told. */
void pst_node_on_start(struct pst_node *node, const Pst__Control *message);
void pst_node_on_stop(struct pst_node *node, const Pst__Control *message);
void pst_node_on_ended(struct pst_node *node, const Pst__Control *message); /* another node's run */
void pst_node_on_checkpointed(struct pst_node *node, const Pst__Control *message);
void pst_node_on_cut(struct pst_node *node, const Pst__Control *message);
/* A data connection whose hello has been read. False: it is not wanted now, but may be in a moment. */
bool pst_node_on_data(struct pst_node *node, const struct pst_wire_hello *hello, uint64_t incarnation,
                      struct peer *peer, bool *ret_stale);
void pst_node_tell(struct pst_node *node, Pst__Control *message); /* the coordinator, wherever it is */
/* Over links, since its start. */
void pst_node_link_bytes(const struct pst_node *node, uint64_t *ret_sent, uint64_t *ret_received);

/* layout.c: of an operator with state. */
struct layout {
    uint16_t of[PST_BUCKETS_MAX];          /* by bucket: its partition */
    uint32_t epoch[PST_BUCKETS_MAX];       /* by bucket: its owner epoch */
    uint16_t node_of[PST_BUCKETS_MAX + 1]; /* by partition: index of Start.nodes; UINT16_MAX: there is none */
    uint32_t born[PST_BUCKETS_MAX + 1];    /* by partition: the move that it came with; 0: with the incarnation */
    /* By partition: the other of two replicas, one of which owns what both have; UINT16_MAX: it is alone. */
    uint16_t twin[PST_BUCKETS_MAX + 1];
    uint32_t partition_count; /* one above the highest */
};
/* PST_EINVAL: what is said does not fit the operator. */
int pst_layout_read(const Pst__Start *start, const struct pst_graph_node *op, struct layout *ret_layout);
uint32_t pst_layout_owned(const struct layout *layout, uint32_t bucket_count, uint32_t partition);
/* One of two replicas, and the other one is the owner. */
bool pst_layout_is_copy(const struct layout *layout, uint32_t bucket_count, uint32_t partition);
uint32_t pst_layout_serving(const struct layout *layout, uint32_t bucket_count);
/* Partitions that own nothing go, copies too, the others are numbered anew. */
void pst_layout_compact(struct layout *layout, uint32_t bucket_count);
/* So many partitions own buckets then, 1 to bucket_count, in about even shares; as few buckets as that takes go elsewhere. A new one is on no
 * node yet. */
void pst_layout_rescale(struct layout *layout, uint32_t bucket_count, uint32_t count);
/* The Start says so of this operator, and of others what it has said; in `arena`. PST_ENOMEM. */
int pst_layout_put(const struct layout *layout, const struct pst_graph_node *op, struct pst_arena *arena,
                   Pst__Start *start);
/* layouts: by operator, NULL: it has no state, and its places stay. In `arena`, which the Start's places are in from now on. PST_ENOMEM:
 * the Start is of no use. */
int pst_layouts_write(struct layout *const *layouts, const struct pst_graph *graph, struct pst_arena *arena,
                      Pst__Start *start);

/* tidings.c */
struct tidings_hello { /* what a Hello points to; graphs' names are the node's */
    Pst__Hello body;
    Pst__Running items[5 * NODE_GRAPHS_MAX];
    Pst__Running *running[3 * NODE_GRAPHS_MAX], *ended[NODE_GRAPHS_MAX], *moves[NODE_GRAPHS_MAX];
};
void pst_tidings_hello(struct pst_node *node, struct tidings_hello *hello);
struct ending *pst_tidings_ending(struct pst_node *node, const char *graph, uint64_t incarnation); /* to be filled */
void pst_tidings_forget(struct pst_node *node, const char *graph, uint64_t incarnation); /* and those before it */
/* Of this incarnation, what was at another place: the graph has gone on without it. */
void pst_tidings_forget_former(struct pst_node *node, const char *graph, uint64_t incarnation, uint32_t place);
uint64_t pst_tidings_to(const struct pst_node *node);
void pst_tidings_begin(struct pst_node *node); /* another one is to hear all of it, this node itself */
void pst_tidings_step(struct pst_node *node);

/* election.c */
void pst_election_step(struct pst_node *node);
void pst_election_look(struct pst_node *node); /* at once: something has happened */
void pst_election_end(struct pst_node *node);
/* A member says that another node coordinates. */
void pst_election_on_term(struct pst_node *node, const Pst__Control *message);
/* For how long the store has not answered; 0: it does, or it is this node's own. */
uint64_t pst_election_silent_ns(const struct pst_node *node);

/* coordinator.c */
struct member { /* a node that was seen */
    char name[PST_CONTROL_NAME_BYTES_MAX + 1], address[PST_CONTROL_NAME_BYTES_MAX + 1];
    uint32_t workers;
    bool alive;
    bool draining; /* it gets nothing any more, as nodes/NAME says */
    bool waits;    /* it knows cuts of inputs that several nodes read: Hello.waits */
    bool probes;   /* Hello.probes */
    bool parts;    /* Hello.parts */
    bool streams;  /* Hello.streams */
    bool keeps;    /* Hello.keeps */
    bool outlives; /* Hello.outlives */
    bool leaving; /* the same, but until it joins again: it was told to end, and stays until what it has is elsewhere */
    bool let_go;  /* it was told that it may */
    uint64_t lost_ns;           /* since when it has no connection; 0: it has one */
    struct node_record *record; /* drain.c; NULL: it was never drained, as far as this coordinator knows */
    struct member_load {
        uint64_t time_ns, memory_bytes, sent_bytes,
            received_bytes; /* time_ns: on its own clock; 0: it has told nothing */
        uint64_t disk_bytes, disk_bytes_max;
    } load, load_before;
};

/* ---- loads.h: figures of a run, as they were told ---- */
struct load_sample {
    uint64_t time_ns; /* on the node's clock; 0: there is none */
    uint64_t rows, rows_out, rows_left, bytes, busy_ns, idle_ns, blocked_ns, worker_ns;
    uint64_t queue_bytes, queue_bytes_max, state_bytes;
    int64_t watermark; /* INT64_MIN: none yet */
};
struct load {                              /* of a partition, or of the part of an edge that is on a node */
    uint32_t node, operator_index, number; /* node: of the graph's; number: of the partition, of the input */
    bool edge, taken;
    uint64_t heard_ns; /* on the coordinator's clock */
    struct load_sample now, before;
    double busy;   /* how many processors it takes, over the last seconds: its thread, and its worker in an enclave */
    double over_s; /* that `busy` is of; 0: it is not known */
};
struct dealt_told { /* what a node has said that it deals to an operator's buckets, of its last seconds */
    uint32_t node, operator_index, input, bucket_count;
    uint32_t *rows; /* by bucket: one of some (runtime.h) */
    uint64_t all, along;
    uint32_t over_ms, looks; /* over: the time that they are of; looks: how often it was told, 2 at most */
};
struct fed_told { /* where the stream is that a node reads */
    bool told, here, ended;
    int64_t time; /* INT64_MIN: no row was read */
    uint64_t offset;
};
struct loads { /* of one incarnation; open addressing, at most half full */
    uint64_t incarnation;
    uint32_t count, capacity;
    struct load *items;
    struct dealt_told *dealt;
    uint32_t dealt_count, dealt_capacity;
    uint64_t dealt_bytes;
    struct fed_told fed[NODE_MEMBERS_MAX]; /* by index of start->nodes */
};

enum graph_state {
    GRAPH_WAITING = 1,
    GRAPH_STARTING,
    GRAPH_RUNNING,
    GRAPH_DONE,
    GRAPH_FAILED,
    GRAPH_CANCELLED,
    GRAPH_STOPPED
};

struct graph_record {
    struct pst_arena arena; /* of `start`, as it was submitted or read back: it does not grow any more */
    Pst__Control *start;    /* as it is in the store, and sent but for this_node */
    struct pst_graph *graph;
    enum graph_state state;
    bool begins; /* its members are to be told as soon as the store has it */
    bool begun;  /* some were told so, of this incarnation or one before; of one that was read back, perhaps */
    bool started[NODE_MEMBERS_MAX], ended[NODE_MEMBERS_MAX]; /* by index of start->nodes */
    bool unfit
        [NODE_MEMBERS_MAX]; /* by member: its run failed, and the graph went back: without it, until it joins anew */
    bool ready[NODE_MEMBERS_MAX];   /* by index of start->nodes: Started.ready */
    bool rereads[NODE_MEMBERS_MAX]; /* the same: Checkpointed.rereads, as it was said last */
    bool told[NODE_MEMBERS_MAX];    /* the Start was sent: whether it was heard is not known before it is answered */
    bool left[NODE_MEMBERS_MAX];    /* of start->left_nodes, those that the store has; `ended`, too */
    bool gone[NODE_MEMBERS_MAX];    /* they are to leave when what moves was given up: nobody waits for them */
    struct heard {                  /* by index of start->nodes: what its last hello has said */
        uint64_t move;              /* the last one that it knew of in this incarnation; 0: none */
        bool runs, open, over;      /* open: it takes part in that move; over: the run had ended */
        bool resumes;               /* Hello.resumes */
    } heard[NODE_MEMBERS_MAX];
    bool drains;        /* another coordinator had it: what is left on nodes that are drained goes on its way */
    size_t left_packed; /* of start->left_nodes, those that are on their way to the store */
    size_t replaced_packed,
        replaced_stored; /* of start->replaced_partitions, likewise; that the store has, and all were told */
    uint64_t undrained;  /* the incarnation in which a node that leaves cannot be emptied; 0: none */
    uint64_t unmoved_ns; /* when a move was given up, or refused, last; 0: none was */
    uint64_t rows, rows_out;
    char why[400];
    uint64_t since;              /* the incarnation that it was submitted with; 0: not known any more */
    uint64_t asked_by, request;  /* the peer that submitted it and waits for an answer; 0: nobody does */
    bool asked_json, asked_wait; /* wait: it is answered when the graph has ended, and not when it runs */
    bool restored;               /* of the store: its nodes are waited for, as long as they are not dead */
    int error;                   /* of one that has failed */
    /* Checkpoints. The store has the last complete one in the record's Start; `start` has the one that this incarnation goes on from. */
    uint64_t complete;
    uint64_t complete_packed, complete_stored; /* of it, in the commit that was begun last; what the store has */
    uint64_t
        dead_ns; /* when it was said last that a partition's worker is gone, and that could not be looked at then; 0: it was */
    uint64_t lost_at; /* `complete` when an enclave's worker was lost last; how often so, in a row */
    uint32_t lost_in_row;
    char **
        complete_nodes; /* in complete_arena; of the one that the graph was submitted with, or read back with, in `arena` */
    size_t complete_node_count;
    char **complete_readers; /* likewise: of each of several inputs, whose part has its position */
    size_t complete_reader_count;
    uint64_t part;                /* the one whose parts are counted; 0: none */
    bool parts[NODE_MEMBERS_MAX]; /* by index of start->nodes */
    int part_error;
    char part_why[400];
    char given_up[400]; /* why the last checkpoint was; "": it was not */
    char *stop_to;      /* its next complete checkpoint is to be its last, and a savepoint there; NULL: not */
    uint64_t stop_at;   /* that one, in the commit that says so and from then on; 0: it has not come yet */
    bool stop_packed, stop_stored; /* stop_to: in the commit that was begun last; the store has it */
    char *stopped_to;              /* what start->saved is, where it was stopped by this coordinator */
    uint64_t ask_ns;               /* of such a one, where one node reads: when that is told again to choose a cut */
    bool
        saving; /* the store has stop_at: nodes are told to stop, and a job writes it. Nothing else is decided about it */
    struct {    /* a stop that came to nothing: who waited for it is told when the store has that */
        uint64_t asked_by, request; /* 0: nobody */
        int error;
        char why[500];
    } unstopped;
    /* settling: what has become of it is on its way to the store; settled: the store has it, and the nodes were told. Errors: PST_OK: it is
     * complete. */
    uint64_t settling, settled;
    int settling_error, settled_error;
    char settling_why[400];
    struct cutting { /* cuts.c; of one incarnation */
        uint64_t incarnation;
        uint64_t id;   /* that readers wait for; 0: none */
        uint64_t last; /* the highest id that was told, or heard of */
        int64_t low,
            least; /* the highest that a reader can take; the least that is above what one has sequenced, which goes on */
        bool answered[NODE_MEMBERS_MAX]; /* by index of start->source_nodes */
        uint64_t due_ns, until_ns;
    } cutting;
    /* The commit on its way: graphs/NAME, and of one that has ended the Ended that says how, ended/NAME. */
    struct pst_store_request commit;
    struct pst_store_change changes[5];
    struct pst_text bytes, ended_bytes;
    char path[PST_STORE_PATH_BYTES], ended_path[PST_STORE_PATH_BYTES];
    uint64_t version, ended_version;
    bool committing, again, ended_written;
    bool claimed;                      /* the store does not have the id of a stream yet: nobody is told to send it */
    struct moving *moving;             /* moves.c; NULL: nothing has moved in this incarnation */
    struct kept {                      /* kept.c: its order, as the store has it */
        uint64_t version;              /* 0: it has none */
        struct pst_arena arena;        /* of `found` */
        Pst__Control *found;           /* of another coordinator: it goes on when the graph runs. NULL: there is none */
        struct pst_text bytes, stored; /* bytes: on their way there */
        enum { KEPT_AS_IT_IS, KEPT_WRITTEN, KEPT_REMOVED } change; /* of it, in the commit that is on its way */
        char path[PST_STORE_PATH_BYTES];
        uint32_t tries; /* incarnations that have ended amid it */
    } kept;
    struct {                            /* of one that was submitted with --by-source (orders.c) */
        uint64_t incarnation, since_ns; /* since nothing of it moves; 0: something does */
        uint32_t looks;
    } by_source;
    struct past *past[MOVES_KEPT_MAX]; /* its moves, the newest last */
    uint32_t past_count;
    struct pst_arena places_arena; /* of start's places and layouts */
    /* Of start's nodes, those that have left, and those that have the checkpoint it goes on from: made anew with each incarnation, in which
     * no more than NODE_MEMBERS_MAX are added or leave. */
    struct pst_arena nodes_arena, complete_arena;
    struct loads loads;
    struct autoscale *autoscale; /* autoscale.c; NULL: no operator has one, or it was not looked at yet */
};

struct past { /* a move, as the store has it or is about to have it */
    struct pst_arena arena;
    Pst__Control *message; /* with a MoveRecord */
    uint64_t version;
    uint32_t packed_step, stored_step; /* as it is on its way to the store; as the store has it */
    char path[PST_STORE_PATH_BYTES];
    struct pst_text bytes;
};

/* identity.c */
/* The cluster that the node's folder belongs to. Errors: PST_EIO, PST_EREFUSED, with node->why. */
int pst_identity_read(struct pst_node *node);
/* The node has been let in: what its folder does not say yet is written there. */
void pst_identity_keep(struct pst_node *node, const void *id, size_t byte_count);
/* One request for the id's record in the store, as duty->reading; then its answer: PST_EAGAIN: another request is wanted. */
void pst_identity_ask(struct pst_node *node);
int pst_identity_answered(struct pst_node *node);

struct coordinator {
    struct pst_store *store;
    /* What was decided before is read back before anybody is listened to. */
    enum restore {
        RESTORE_CLUSTER = 1,
        RESTORE_LIST,
        RESTORE_GRAPH,
        RESTORE_ENDED,
        RESTORE_MOVE,
        RESTORE_NODE,
        RESTORE_ORDER,
        RESTORE_DONE
    } restore;
    struct pst_store_request reading;
    bool begun; /* `reading` is on its way */
    enum restore listed;
    struct pst_text paths;
    size_t paths_at;
    char path[PST_STORE_PATH_BYTES];
    char cluster[NODE_CLUSTER_BYTES]; /* its id; "": it was not read yet */
    struct pst_store_change cluster_change;
    struct member members[NODE_MEMBERS_MAX];
    uint32_t member_count;
    struct graph_record *graphs[NODE_GRAPHS_MAX];
    uint32_t graph_count;
    struct reading {      /* of a piece that a node was asked for */
        uint64_t request; /* ours; 0: none */
        uint64_t peer, peer_request, since, incarnation, offset, begun_ns;
        char node[PST_CONTROL_NAME_BYTES_MAX + 1], graph[PST_CONTROL_NAME_BYTES_MAX + 1],
            sink[PST_CONTROL_NAME_BYTES_MAX + 1];
    } readings[NODE_PASSED_MAX];
    uint64_t reading_requests;
};

int pst_coordinator_new(struct pst_node *node, struct pst_store *store);
void pst_coordinator_free(struct coordinator *duty);
/* Before anything else, again while it is PST_EAGAIN. Errors: node->why says it. */
int pst_coordinator_restore(struct pst_node *node);
void pst_coordinator_opens(struct pst_node *node); /* the node's own address is known */
void pst_coordinator_step(struct pst_node *node);
/* It is another node's from now on: whoever waits is told, members are let go. The duty is freed by the caller. */
void pst_coordinator_resign(struct pst_node *node);
/* From a member, the node itself too. */
void pst_coordinator_on(struct pst_node *node, const char *name, const Pst__Control *message);
/* Whether a node of this name may come in; else it has been told why not. */
bool pst_coordinator_admits(struct pst_node *node, struct peer *peer, const Pst__Hello *hello);
void pst_coordinator_up(struct pst_node *node, struct peer *peer, const Pst__Hello *hello);
void pst_coordinator_down(struct pst_node *node, const char *name, const char *why);
/* A graph's text is to be run. Borrows nothing. Errors: *why says it; PST_EGRAPH with the diagnostics. */
struct submission {
    const char *file;
    const void *text;
    size_t text_bytes;
    const struct pst_setting *settings;
    uint32_t setting_count;
    const char *source; /* the node that reads the input; NULL: this one */
    const char *input;  /* its file; NULL: the graph's own */
    /* Where several nodes read: node and file of each, instead of the two above; NULL for a file: none was said. */
    const struct pst_setting *sources;
    uint32_t source_count;
    bool fed;         /* it reads what a connection brings */
    const char *keys; /* its rows are sealed: where its workers get their keys; NULL: they are not */
    bool strict;
    bool by_source;   /* its buckets go to where their rows come from, as soon as that is known */
    const char *from; /* a savepoint to go on from; NULL: it begins at the beginning */
    uint64_t asked_by, request;
    uint64_t deadline_ns; /* of each move that was asked for; 0: nothing was said */
    bool json, wait;
    bool progress; /* whoever asks wants to hear how far it is */
};
/* Both are answered later, with PST_OK, when it has happened: it runs (`wait`: it has ended), it is cancelled. */
int pst_coordinator_submit(struct pst_node *node, const struct submission *submission, struct pst_text *why);
int pst_coordinator_cancel(struct pst_node *node, const struct submission *asked, const char *graph,
                           struct pst_text *why);
extern const char *const pst_graph_state_names[];                                       /* by enum graph_state */
struct graph_record *pst_coordinator_graph(struct coordinator *duty, const char *name); /* NULL: there is none */
/* It lives, and can do what a graph wants of a node that reads. */
bool pst_coordinator_may_read(struct coordinator *duty, const struct graph_record *record, const char *name);
/* Who reads the input; of several inputs: the node of one that cannot be read, or else of any. "": nobody. */
const char *pst_coordinator_source(struct coordinator *duty, const struct graph_record *record);

/* To a member, the node itself too; who has no connection is told nothing. */
void pst_coordinator_tell(struct pst_node *node, const char *name, Pst__Control *message);
/* The graph's record as it is now, and the move's beside it where that has changed. */
void pst_coordinator_commit(struct pst_node *node, struct graph_record *record);
/* Index of a node in a Start: of several of one name the last one, as the others have left. start->n_nodes: it is not there. */
uint32_t pst_start_index(const Pst__Start *start, const char *name);
bool pst_start_has_place(const Pst__Start *start, uint32_t index); /* the node by itself has something of the graph */
/* The graph goes on without this node of it, which has nothing to do there: false: it has, or may have. */
bool pst_coordinator_release(struct pst_node *node, struct graph_record *record, uint32_t index);
/* It is dead: the graph goes on without it, at once or when what moves was given up, or is started again. */
void pst_coordinator_lost(struct pst_node *node, struct graph_record *record, uint32_t index);
/* Another incarnation, on the nodes that live. */
void pst_coordinator_restart(struct pst_node *node, struct graph_record *record);
/* Says the Start to one node of it. */
void pst_coordinator_start(struct pst_node *node, struct graph_record *record, const char *name);
struct member *pst_coordinator_member(struct coordinator *duty, const char *name); /* NULL: it was never seen */

/* The record as a savepoint has it: whoever reads it goes on from the last complete checkpoint. Added to `bytes`. */
int pst_coordinator_record(const struct graph_record *record, struct pst_text *bytes);
/* What savepoint.c has found out: it is complete, and the graph is stopped; or it cannot be, and the graph is started again. */
void pst_coordinator_saved(struct pst_node *node, struct graph_record *record);
void pst_coordinator_not_saved(struct pst_node *node, struct graph_record *record, int error, const char *why);
/* A stop that was asked for will not come to its savepoint: the graph goes on, and whoever waits is told when the store has that. None
 * was: nothing. */
void pst_coordinator_stop_forget(struct pst_node *node, struct graph_record *record, int error, const char *why);
bool pst_coordinator_goes_on(const struct graph_record *record);
/* Whoever waits is told, once. */
void pst_coordinator_answer(struct pst_node *node, struct graph_record *record, int error, const char *why);

/* cuts.c: where several nodes read and there are checkpoints; elsewhere all of it does nothing */
/* How long readers wait for a cut, at most: each of them, and whoever has asked them. */
static inline uint64_t pst_cut_wait_ns(const struct pst_node *node) { return node->options.dead_ns / 2; }
/* A cut that a stop waits for is asked for again so much later: nobody may have heard it, or the checkpoint was given up. */
static inline uint64_t pst_cut_again_ns(const struct pst_node *node) { return node->options.dead_ns / 8; }
bool pst_cuts_wanted(const struct graph_record *record); /* the graph is such a one */
/* A node that has a place in such a graph, and does not know what it would hear: as long there is no checkpoint. NULL: all do, or it is
 * no such graph. */
const char *pst_cuts_stranger(struct pst_node *node, const struct graph_record *record);
void pst_cuts_step(struct pst_node *node);
void pst_cuts_ask(struct graph_record *record); /* one is wanted now */
/* Checkpoints are about to rest: true: not yet, one is being cut, or is due. */
bool pst_cuts_first(struct pst_node *node, struct graph_record *record);
void pst_cuts_on(struct pst_node *node, struct graph_record *record, const char *name, const Pst__CutAnswer *answer);

/* savepoint.c */
/* DIR/parts of a savepoint, as `checkpoints` and its name say, and in *ret_saved DIR/results. NULL: no memory. */
const char *pst_savepoint_folder(struct pst_arena *arena, const char *checkpoints, const char *name,
                                 const char **ret_saved);
/* stop GRAPH --savepoint NAME: answered later, when it is stopped, or goes on after all. Errors: *why says it. */
int pst_savepoint_stop(struct pst_node *node, const struct submission *asked, const char *graph, const char *name,
                       struct pst_text *why);
/* Whoever reads the graph's input is to choose a cut; pst_savepoint_step() asks again. */
void pst_savepoint_ask(struct pst_node *node, struct graph_record *record);
/* The Start of a savepoint, as its graph had it when it was stopped. Errors: *why says it; PST_EREFUSED, PST_EIO, PST_ENOMEM. */
int pst_savepoint_open(struct pst_node *node, const char *name, struct pst_arena *arena, Pst__Control **ret_message,
                       struct pst_text *why);
void pst_savepoint_step(struct pst_node *node);
/* The node ends, or coordinates no longer: what is being written is left as it is, unfinished. */
void pst_savepoint_halt(struct pst_node *node);
void pst_savepoint_fini(struct pst_node *node);

/* probe.c */
void pst_probe_on(struct pst_node *node, const Pst__Control *message); /* of the coordinator */
void pst_probes_step(struct pst_node *node);
void pst_probes_fini(struct pst_node *node);

/* results.c */
void pst_results_on(struct pst_node *node, struct peer *peer,
                    const Pst__Control *message);                          /* a Read, of whoever wants it */
void pst_results_read(struct pst_node *node, const Pst__Control *message); /* of the coordinator */
void pst_results_back(struct pst_node *node, const char *name,
                      const Pst__Control *message); /* a Piece, for the coordinator */
void pst_results_step(struct pst_node *node);
void pst_results_fini(struct pst_node *node);
void pst_results_part(struct hosted *hosted); /* its part was written, and nothing follows before that was told */
void pst_results_complete(struct hosted *hosted, uint64_t id);
/* streams.c */
/* The graph takes several streams, each of them read by a node. */
bool pst_streams_any(const Pst__Start *start);
/* Of a graph that is submitted: start->streams, of its readers and with no ids yet; those of a savepoint; what nodes cannot. */
int pst_streams_fill(struct pst_arena *arena, Pst__Start *start);
void pst_streams_take(Pst__Start *start, const Pst__Start *saved);
void pst_streams_good(const struct coordinator *duty, struct pst_text *why);
/* Who reads each of its several streams next, borrowed from the record and the members; back: who is to have nothing keeps what it has. The
 * first of them that cannot; NULL: all can. */
const char *pst_streams_place(struct coordinator *duty, const struct graph_record *record, bool back,
                              char **ret_readers);
/* Whether a stream may come now, and to whom: fills in `go`, whose texts live until the graphs change, and `sentence`. The
 * graph that is meant is returned; NULL: there is none. */
const struct graph_record *pst_streams_replay(struct pst_node *node, const Pst__Control *message, Pst__ReplayGo *go,
                                              char sentence[400]);
/* Of its several streams: who reads each, how far it is, which one is waited for. In JSON a field, with a comma before it. */
void pst_streams_print(const struct graph_record *record, bool json, struct pst_text *out);
/* replays.c */
/* Somebody has a stream for a graph. From whoever has it, or from a node that hands it on. */
void pst_replays_on(struct pst_node *node, struct peer *peer, const Pst__Control *message);
/* What the coordinator says to that. */
void pst_replays_back(struct pst_node *node, const Pst__Control *message);
/* It will say nothing: `request` of the peer is answered that it may ask again. */
void pst_replays_lost(struct pst_node *node, struct peer *peer, uint64_t request);
/* A graph's run that this node has begun, of this incarnation and no other; NULL: it has none. */
struct hosted *pst_node_hosted(struct pst_node *node, const char *graph_name, uint64_t incarnation);
/* As pst_start_index(), of a run. */
uint32_t pst_site_index(const struct site *site, const char *name);

/* drain.c */
/* May it get something? That it lives is another question. */
static inline bool pst_member_takes(const struct member *member) { return !member->draining && !member->leaving; }
/* drain NODE, drain NODE --undo: answered later where PST_OK. */
int pst_drain(struct pst_node *node, const struct submission *asked, const char *name, bool undo, struct pst_text *why);
int pst_drain_restore(struct coordinator *duty); /* of duty->path, as it was read */
void pst_drain_step(struct pst_node *node);
void pst_drain_resign(struct pst_node *node, const char *why); /* whoever waits for the store is told */
void pst_drain_free(struct coordinator *duty);
/* A node's own part. True: it may end now. */
bool pst_leave_step(struct pst_node *node);
void pst_leave_look(struct pst_node *node); /* whether it knows a coordinator */

/* admin.c */
/* Hands it on to the coordinator; an answer to it finds its way back by taken(). Errors: *why says it. */
int pst_admin_pass_on(struct pst_node *node, struct peer *peer, const Pst__Control *message, struct pst_text *why);
/* Who is to have the answer; NULL: nobody waits any more. */
struct peer *pst_admin_taken(struct pst_node *node, const Pst__Control *message, uint64_t *ret_request);
void pst_admin_reply(struct pst_node *node, struct peer *peer, uint64_t request, int error, const char *out,
                     const char *err);
/* Not its answer yet, but how far it is; whoever does not read, or has gone, is told nothing. */
void pst_admin_progress(struct pst_node *node, uint64_t asked_by, uint64_t request, const struct pst_text *text);
void pst_admin_on(struct pst_node *node, struct peer *peer, const Pst__Control *message);
/* The coordinator has answered what was passed on to it. */
void pst_admin_back(struct pst_node *node, const Pst__Control *message);
/* The connection to the coordinator is lost: whoever waits is told. */
void pst_admin_lost(struct pst_node *node);
/* The answer to whoever asked for what has become of a graph. PST_OK: its state; else why not. */
void pst_admin_answer(struct pst_node *node, const struct graph_record *record, int error, const char *why);

#endif
