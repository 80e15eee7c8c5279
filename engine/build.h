/* engine/build.h - the parts of a run, made (build.c). Inside the room: nobody else includes it. */
#ifndef PST_BUILD_H
#define PST_BUILD_H

#include "engine/runtime.h"

int pst_edges_build(struct run *run);
int pst_ownership_build(struct run *run);
int pst_instances_build(struct run *run);
int pst_channels_build(struct run *run);
bool pst_is_here(const struct run *run, uint32_t node_index, uint32_t partition);
bool pst_reads(const struct run *run); /* this node has a part of the input */

#endif
