/* tests/sim/cluster.h - whole nodes of a simulated cluster, with keepers, a coordinator and a client that submits a graph; a store that
 * outlives them, and a disk that all of them reach. Nodes are killed and come back. */
#ifndef PST_SIM_CLUSTER_H
#define PST_SIM_CLUSTER_H

#include "engine/node.h"
#include "migration/store.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/scene.h"
#include "tests/sim/store_sim.h"

enum {
    CLUSTER_NODES_MAX = 100,
    CLUSTER_FEW_NODES = 4,
    CLUSTER_RECORDS_MAX = 512,
    CLUSTER_ASKED_MAX = 8,
    CLUSTER_TURNS_MAX = 3 * 1000 * 1000
};

struct cluster_store { /* in memory; it answers when it likes */
    struct pst_store store;
    struct sim *sim;
    struct {
        char path[PST_STORE_PATH_BYTES];
        uint64_t version;
        struct pst_text bytes;
    } records[CLUSTER_RECORDS_MAX];
    struct pst_store_request *waiting[CLUSTER_RECORDS_MAX];
    uint32_t waiting_count;
    bool refuses;      /* whatever names a checkpoint that is not there yet: nothing of it happens */
    bool refuses_ends; /* the same, of whatever says how a graph has ended */
};

struct cluster_session { /* of a node with the store that all reach */
    struct cluster_session *next;
    struct pst_store store, *below;
    struct cluster_node *node;
    uint64_t ends_ns,
        cut_ns; /* ends: its holder has died, and the store learns of it then; cut: it is reached again then. 0: not */
    bool closed;
};

struct cluster_node {
    struct sim sim;
    struct pst_node *node; /* NULL: it is dead */
    bool dies;             /* its sessions are not closed in order */
    atomic_int interrupts; /* it is told to end: cluster_stop() */
    /* Of an earlier version: the network's own net_send(). */
    int (*send)(void *self, struct pst_conn *conn, const void *bytes, size_t byte_count);
    uint32_t workers;
    struct cluster *cluster;
};

struct cluster_client { /* one more world: it submits a graph, and then asks how it is until it has ended */
    struct sim sim;
    struct pst_conn *conn;
    bool greeted, taken, answered, done; /* taken: the coordinator has the graph */
    /* It asks on without waiting for answers to what it orders, with pauses up to this long; 0: it waits, and then asks at once. */
    uint64_t pause_ns, next_ns;
    struct {
        uint64_t request;
        uint32_t moving; /* as below */
    } asked[CLUSTER_ASKED_MAX];
    uint32_t asked_count;
    int error;
    char says[2000];
    const char *const *movable; /* operators that it scales and moves while the graph runs; ended by NULL. NULL: none */
    const char *graph_name;     /* where there are some */
    const char *wish[3];        /* what it is to ask next, when it has the graph; wish[0] NULL: nothing */
    int wish_error;             /* the answer */
    bool refuses;               /* it was not taken because the node that reads is being drained: that is taken back */
    uint32_t scaled, moved, spread, cancelled, refused; /* spread: drained or rebalanced */
    bool progress;                                      /* it wants to hear how far some of that is */
    uint32_t told;                                      /* so often it was told */
    uint32_t counted, uncounted;                        /* answers that no row was lost; that it is not known */
    uint32_t lost;                                      /* answers that some were: then one was planted */
    uint64_t requests;
    uint32_t incarnation;
    const char *const
        *script; /* commands, each as words with spaces between, one after the other; ended by NULL. NULL: none */
    uint64_t done_moves, done_buckets; /* as the answers have it */
    uint64_t asks_ns;                  /* not before, but for what is wished for */
    uint32_t said_count;               /* of them, with an answer */
    uint32_t stops; /* so many times, at most, it stops `graph_name` with a savepoint, and submits it anew from there */
    uint32_t asked_to_stop, stopped, submitted_from; /* stopped: it was told that there is a savepoint */
    char from[40];                                   /* the savepoint that the graph is to go on from; "": none */
};

struct
    cluster_player { /* where the graph is fed: one more world, with the stream on its disk. Killed, it begins anew */
    struct sim sim;
    struct pst_replay *replay; /* NULL: it does not run */
    struct pst_replay_options options;
    struct pst_replay_report report; /* of the one that ended last */
    char stream[20];                 /* its id */
    uint32_t index;                  /* in the network */
    double speed;                    /* 0: as fast as it goes */
    bool held;                       /* it does not begin yet */
    bool added, ended;               /* ended: all of the stream was taken */
    uint32_t begun, killed, resumed; /* resumed: connections that did not begin with the first byte */
    uint64_t bytes_sent;
};

struct cluster {
    struct sim_net net;
    struct cluster_node *nodes;
    uint32_t node_count;
    struct cluster_store store;
    struct cluster_client client;
    uint32_t held_back; /* so many of the last nodes does the test bring up, when it likes to */
    bool fed;           /* the graph waits for a stream, which `player` has, and no node; or for one of each reader */
    struct cluster_player player[CLUSTER_FEW_NODES];
    struct scene like; /* its settings, and sizes of a seed */
    struct sim random;
    const struct pst_text *graph;
    /* checkpoints; `every_ns` 0: none */
    struct sim shared;
    struct pst_secret *key;
    uint64_t every_ns;
    uint64_t drain_ns;      /* as of pst_node_options */
    uint32_t left, late;    /* nodes that were told to end, and have; late: with something that had not moved in time */
    uint64_t dead_ns;       /* a node that is silent for so long is taken for dead; two beats where nothing is said */
    uint64_t portion_bytes; /* of a move; 0: as it is without */
    uint32_t portions;      /* that were begun with more to come */
    uint64_t state_budget;  /* as of pst_node_options */
    uint32_t earlier;       /* 1 + a node of an earlier version, as its hello has it: it says no `resumes`; 0: none */
    bool relocates;         /* the same, of each node */
    uint32_t poor;          /* 1 + the node that has no folder for checkpoints; 0: none */
    uint32_t source;        /* the node that reads the input */
    bool abreast;           /* readers' inputs grow alike; else each more slowly than the one before */
    bool by_source;         /* the graph is submitted with --by-source */
    uint32_t reader_count;  /* above 1: so many nodes from the first on read, each the houses that are its own */
    enum cluster_lack {
        LACKS_NOTHING,
        LACKS_END, /* the first of them reads rows from the first third alone, and the last of these without its newline */
        LACKS_BEGIN, /* from the last third */
        LACKS_ALL,
        LACKS_COUNT
    } lack;
    uint64_t disk_bytes_max;  /* of each node, which is held to it wherever nobody is killed; 0: no bound */
    uint64_t disk_bytes_seen; /* the most that a node had */
    bool killed;              /* a node was: what it had removed may be there again */
    uint64_t ends_ns;         /* the test fails where it has not ended by then; 0: whenever it likes */
    uint64_t grow_ns;         /* of a byte of the input: it grows while it is read; 0: all of it is there */
    /* Every node has a session with one store, and may coordinate. */
    bool elects;
    struct store_sim coordination;
    struct cluster_session *sessions;
    uint32_t store_faults;               /* that cluster_run() is to make */
    uint64_t store_fault_ns, cut_ns_max; /* cut: how long a node may not reach it */
    uint32_t terms, resigned, silences;  /* as the logs say */
    uint32_t listening, joined;
    uint32_t completed, given_up,
        resumed;                   /* checkpoints that were complete, or could not be; runs that went on from one */
    uint32_t passed;               /* lines that say so of a part that could not be had */
    uint32_t gone_on, rolled_back; /* moves that another coordinator found: decided, or not */
    uint64_t newest_move;
    uint32_t relocated, went_back; /* relocations that were done; those that ended where they had begun */
    uint64_t turns;
    void (*look)(struct cluster *cluster, const char *what); /* after each turn; NULL: nothing is looked at */
};

/* Whether the first reader has its row that stands at this byte of so many. */
bool cluster_has_row(enum cluster_lack lack, size_t at, size_t byte_count);
/* Not begun yet: what a test wants otherwise it says before cluster_begin(). */
void cluster_init(struct cluster *cluster, uint64_t seed, const struct pst_text *graph,
                  void (*input)(struct scene *scene));
/* The same with so many nodes, and not with a few as the seed has it. */
void cluster_init_many(struct cluster *cluster, uint64_t seed, uint32_t node_count, const struct pst_text *graph,
                       void (*input)(struct scene *scene));
void cluster_begin(struct cluster *cluster);
void cluster_fini(struct cluster *cluster);
void cluster_up(struct cluster *cluster, uint32_t node);
/* As kill -9 and a power cut leave it: connections break, what it had not synced may be gone. */
void cluster_kill(struct cluster *cluster, uint32_t node);
/* As SIGTERM: it ends when it likes to, and is down then. */
void cluster_stop(struct cluster *cluster, uint32_t node);
/* The node that coordinates; node_count: none does. */
uint32_t cluster_coordinator(const struct cluster *cluster);
/* The graph that was submitted, as the coordinator has it; NULL: it has none, or nobody coordinates. */
const struct graph_record *cluster_record(const struct cluster *cluster);
/* The last complete checkpoint of the graph, as the first node's store has it; 0: none. */
uint64_t cluster_checkpoint(const struct cluster *cluster, const char *graph_name);
/* How many of its places are on a node; fixed: those alone that cannot move. */
uint32_t cluster_places(const struct cluster *cluster, uint32_t node, bool fixed);
/* A turn. Fails the test where nothing goes on any more. */
void cluster_turn(struct cluster *cluster, const char *what);
/* To the graph's end, with up to so many kills of any node but the first, each with its return some time later. */
void cluster_run(struct cluster *cluster, uint32_t kills, bool first_too, const char *what);
/* Those die whose disk has gone: in the middle of writing a checkpoint, for one. */
void cluster_kill_amid(struct cluster *cluster);
/* What a node says and hears stays on its way: it works on, and is taken for dead. */
void cluster_cut_off(struct cluster *cluster, uint32_t node, bool off);
/* Each player begins when there is a graph, and anew when it found nobody. */
void cluster_player_look(struct cluster *cluster, const char *what);
/* One fault of the store that all reach: a session ends, or a node does not reach it for a while, or none does. */
void cluster_store_fault(struct cluster *cluster);
/* The session of this node alone. away: nor does it reach the store for a while, so that it learns of it late. */
void cluster_depose(struct cluster *cluster, uint32_t node, bool away);
/* A player, at any moment; it begins anew later. */
void cluster_player_kill(struct cluster *cluster);
/* All streams were taken, where there are any. */
bool cluster_players_ended(const struct cluster *cluster);
/* Every file of `wanted` is where the results are, with the same bytes. */
void cluster_same(const struct scene *wanted, struct cluster *cluster, const char *graph_name, const char *what);
/* How much of the input was read, by all incarnations. */
uint64_t cluster_bytes_read(const struct cluster *cluster);

#endif
