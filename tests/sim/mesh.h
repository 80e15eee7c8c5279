/* tests/sim/mesh.h - a graph on two to four nodes of the simulated network, without keepers of their own: what joins them is the
 * test. */
#ifndef PST_SIM_MESH_H
#define PST_SIM_MESH_H

#include "engine/lane.h"
#include "engine/link.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/scene.h"

enum { MESH_NODES_MAX = 4 };

struct mesh;

struct mesh_node {
    struct mesh *mesh;
    struct scene scene; /* its world, and what its run left */
    struct pst_graph *graph;
    struct run run;
    struct site site;
    uint16_t **node_of_partition; /* its own: the run changes it */
    struct pst_listener *listener;
    struct pst_conn *unknown[16]; /* accepted, not introduced yet */
    bool worker_done[PST_WORKERS_MAX];
};

struct mesh {
    struct sim_net net;
    struct mesh_node *nodes[MESH_NODES_MAX];
    uint32_t node_count;
    uint32_t worker_count[MESH_NODES_MAX];
    bool reads[MESH_NODES_MAX];
    uint16_t **node_of_partition, **partition_of_bucket; /* as each node's run begins */
    uint32_t *partition_count;
    uint32_t operator_count;
    bool busy; /* partitions may still come: no run is to finish */
};

/* The graph on 2 to 4 nodes; the first of them reads the input that `input` has put into its world. */
void mesh_init(struct mesh *mesh, uint64_t seed, const char *graph,
               void (*input)(struct scene *scene, const char *graph));
void mesh_fini(struct mesh *mesh);
bool mesh_done(const struct mesh *mesh);
/* To the end. `turn`: NULL, or called before each turn of the network. */
void mesh_run(struct mesh *mesh, void (*turn)(struct mesh *mesh, void *argument), void *argument, const char *what);
/* Every file of `wanted` is on one node, with the same bytes. Ends the runs. */
void mesh_same(const struct scene *wanted, struct mesh *mesh, const char *what);

/* Inputs. */
void mesh_query_input(struct scene *scene, const char *graph);
void mesh_rows_input(struct scene *scene, const char *graph);

#endif
