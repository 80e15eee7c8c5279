/* tests/sim/net_sim.h - several simulated worlds, each a node with a disk of its own, one time and one network between them, all
 * from one seed.
 *
 * A message arrives after a delay, in order on its connection, and in no order between connections. A connection that breaks loses
 * what is on its way, and the two sides learn of it at different times. A node that crashes leaves its disk. */
#ifndef PST_NET_SIM_H
#define PST_NET_SIM_H

#include "tests/sim/world_sim.h"

enum { SIM_NODES_MAX = 104, SIM_CONNS_MAX = 2048, SIM_LISTENERS_MAX = 128 };

struct sim_net {
    uint64_t random, now_ns, trace;
    struct sim *nodes[SIM_NODES_MAX]; /* NULL: there is none; not of this world while `down` */
    bool down[SIM_NODES_MAX];
    uint32_t node_count;
    uint64_t delay_ns_max;                  /* of a message: from a tenth of it on */
    uint64_t way_bytes_max;                 /* of a connection, one way; beyond it net_send() says PST_EAGAIN */
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX]; /* [from][to]: what is on its way stays there */
    uint32_t break_every;                   /* one message of so many breaks its connection; 0: none does */
    uint64_t messages, message_bytes, broken;
    void (*spy)(void *argument, uint32_t from, uint32_t to, const void *bytes,
                size_t byte_count); /* of every message. NULL: nobody */
    void *spy_argument;
    struct pst_conn *conns[SIM_CONNS_MAX];
    uint32_t conns_used; /* one above the highest place that ever had one */
    struct pst_listener *listeners[SIM_LISTENERS_MAX];
    uint32_t ports;
};

void sim_net_init(struct sim_net *net, uint64_t seed);
void sim_net_fini(struct sim_net *net); /* the worlds are their owner's */
/* The next node; `sim` has been initialised. */
void sim_net_add(struct sim_net *net, struct sim *sim);
/* One turn of one node, or time goes on to the next thing that happens. False: nothing ever will. */
bool sim_net_turn(struct sim_net *net);
/* One way, until it is said otherwise: then what is on its way arrives. */
void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut);
/* All connections between two nodes break. */
void sim_net_break(struct sim_net *net, uint32_t a, uint32_t b);
/* The node's connections and listeners are gone; whoever steps it has ended it. */
void sim_net_crash(struct sim_net *net, uint32_t node);

#endif
