/* engine/build.h - the parts of a run, made (build.c). Inside the room: nobody else includes it.
 *
 * Thread:   before the workers run, or while they stand still (lane.h).
 */
#ifndef PST_BUILD_H
#define PST_BUILD_H

#include "engine/link.h"
#include "engine/runtime.h"

int pst_edges_build(struct run *run);
int pst_ownership_build(struct run *run);
int pst_instances_build(struct run *run);
int pst_channels_build(struct run *run);
bool pst_is_here(const struct run *run, uint32_t node_index, uint32_t partition);
bool pst_reads(const struct run *run); /* this node has a part of the input */
bool pst_several_read(const struct run *run);
bool pst_only_reads(const struct run *run); /* this node has a part of the input, and nothing else */
/* A node reads, or has a partition: of one that has not nobody waits for a part of a checkpoint, and it reads none. */
bool pst_node_has_place(const struct run *run, uint32_t node);

/* ---- what comes later ---- */
/* An instance of an operator that has no bucket yet, on this worker, its outputs without channels. */
int pst_instance_later(struct run *run, uint32_t node_index, uint32_t partition, uint32_t worker,
                       struct pst_ctx **ret_ctx);
/* Makes the channels of its outputs. */
int pst_channels_later(struct run *run, struct pst_ctx *ctx);
int pst_channel_out_build(struct run *run, struct pst_ctx *owner, const struct edge *edge, uint32_t partition,
                          uint64_t number, struct channel **ret_channel);
struct origin { /* an instance on another node, from which a channel comes */
    uint32_t far_node;
    pst_link_end end;
    uint32_t operator_index, slot; /* slot: its partition; of a source the node and its worker */
};
int pst_channel_in_build(struct run *run, const struct origin *from, const struct edge *edge, struct pst_ctx *target,
                         uint64_t number, struct channel **ret_channel);
/* One more input. PST_ENOMEM. */
int pst_channel_into(struct pst_ctx *consumer, struct channel *channel);
/* Calls visit() for each route from an operator, through its stages, to a node that is none; with the number of the channel from its
 * slot to partition 0 there. Stops at the first error. */
typedef int (*pst_route_visit)(void *argument, uint32_t consumer, uint32_t input, uint64_t number);
int pst_routes_visit(const struct run *run, uint32_t node_index, uint32_t slot, pst_route_visit visit, void *argument);
void pst_channel_drop(struct run *run, struct channel *channel); /* out of its instances' lists, and freed */
/* Its producer is no more; what has come to its consumer stays there. */
void pst_channel_orphan(struct run *run, struct channel *channel);
void pst_instance_free(struct pst_ctx *ctx); /* all but the struct */
/* It is no partition any more, and has no channel. What numbers instances (checkpoints) goes on doing so. */
void pst_instance_retire(struct run *run, struct pst_ctx *ctx);

#endif
