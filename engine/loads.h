/* engine/loads.h - how busy the runs of a cluster are: a node tells the coordinator once a second, which keeps what it was told last
 * and what before, and shows both (top.c). Inside the room: nobody else includes it.
 *
 * Whose rows each bucket gets is told beside that (dealt.c), an operator's input a second, one after the other.
 *
 * Bounded: LOADS_MAX figures of a graph, LOADS_A_MESSAGE in a message, DEALT_BYTES_MAX of rows by bucket; what is beyond is not kept. A figure of which nothing was heard for
 * LOAD_STALE_NS is not shown.
 *
 * Thread:   the keeper.
 */
#ifndef PST_LOADS_H
#define PST_LOADS_H

#include "engine/node.h"

enum { LOADS_MAX = 16384, LOADS_A_MESSAGE = 200 };
#define DEALT_BYTES_MAX (UINT64_C(16) << 20)
#define LOAD_STALE_NS (UINT64_C(5) * 1000 * 1000 * 1000)

/* ---- a node's ---- */
void pst_loads_tell(struct pst_node *node);
/* dealt.c: of a run, what its producers here have dealt to the buckets of one operator's input; the next one in turn. several: of as many as
 * PST_BUCKETS_MAX buckets are, of one at least. */
void pst_dealt_tell(struct pst_node *node, struct hosted *hosted, bool several, uint64_t now_ns);
void pst_dealings_free(struct dealings *dealings);
/* Of a run, as a message has it; an operator that is no partition of its own stands once, as partition 0. Lies in `arena`; false: no memory. */
struct load_lists {
    Pst__PartitionLoad **partitions;
    Pst__EdgeLoad **edges;
    uint32_t partition_count, edge_count;
    int64_t newest; /* the highest event time that any of them has heard of; INT64_MIN: none */
};
bool pst_loads_look(const struct hosted *hosted, uint64_t now_ns, struct pst_arena *arena,
                    struct load_lists *ret_lists);

/* ---- the coordinator's ---- */
/* From the graph's node of this index. */
void pst_loads_take(struct pst_node *node, struct graph_record *record, uint32_t index, const Pst__Beat *beat);
void pst_loads_free(struct loads *loads);
/* Of the graph's node of this index: it is dead. */
void pst_loads_forget(struct loads *loads, uint32_t index);
/* How busy partitions are counts from the next look on: what they have, they have not had before. */
void pst_loads_anew(struct loads *loads);
const struct load *pst_load_find(const struct loads *loads, bool edge, uint32_t index, uint32_t operator_index,
                                 uint32_t number);

/* Of the time between the last two looks the share in which a partition worked: its thread did, or the worker of its enclave, which works
 * beside that; whichever did more, for that one has the less to give: 0..1. False: there were not two. */
bool pst_load_share(const struct load *load, double *ret_share);
/* How many processors a partition takes, over some seconds: both together, 0..2. False: nobody knows, or not any more. */
bool pst_load_busy(const struct load *load, uint64_t now_ns, double *ret_busy);

/* dealt.c: the same of the rows that buckets get. From the graph's node of this index; NULL: it has not said. */
void pst_dealt_take(struct graph_record *record, uint32_t index, const Pst__Dealt *dealt);
const struct dealt_told *pst_dealt_find(const struct loads *loads, uint32_t index, uint32_t operator_index,
                                        uint32_t input);
void pst_dealt_forget(struct loads *loads, uint32_t index);
void pst_dealt_free(struct loads *loads);

/* top.c: what the command of this name prints. */
int pst_top(struct pst_node *node, bool json, struct pst_text *out);

#endif
