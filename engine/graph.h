/* engine/graph.h - a planned graph, as the rest of the engine sees it. Inside the room: nobody else includes it.
 *
 * Holds:    nodes in topological order, each with its operator, partitions, what its inputs read, who reads its outputs.
 * Refuses:  rows, workers, state. Nothing here changes once pst_graph_parse() has returned it.
 * Holds true:
 *   G1  nodes[i] reads from nodes below i only; exactly one node is the source, and every node is reached from it
 *   G2  every input is resolved and planned, every index below is in range, every schema has 1..PST_FIELDS_MAX fields
 *   G3  bucket_count is a power of two, 1 <= partition_count <= bucket_count <= PST_BUCKETS_MAX
 *   G4  all non-broadcast inputs of a keyed node have the same types at the same places of the key
 *   G5  a stateless node has one input, no key, and the partitions and buckets of the node it runs inside; none is in an enclave
 */
#ifndef PST_ENGINE_GRAPH_H
#define PST_ENGINE_GRAPH_H

#include "engine/engine.h"

enum {
    PST_GRAPH_BYTES_MAX = 1024 * 1024, /* of a graph file */
    PST_GRAPH_OPERATORS_MAX = 1024,
    PST_GRAPH_LIBRARIES_MAX = 64,
    PST_AUTOSCALE_PARTITIONS_MAX = 256,
    PST_REPLICAS_MAX = 2,
};

struct pst_graph_consumer { /* who reads an output: nodes[node].inputs[input] */
    uint32_t node, input;
};

struct pst_graph_output {
    const char *name;         /* NULL: the only one, and it has no name */
    struct pst_schema schema; /* the graph's own copy, names included */
    /* Field f is read by someone, through stateless nodes too, be it as a key. A source's time field always is. */
    const bool *wanted;
    /* Stateless nodes, and those that were so until they went into an enclave: output field -> field of the input's schema; NULL: others */
    const uint32_t *map;
    const struct pst_graph_consumer *consumers;
    uint32_t consumer_count; /* 0 only where the node has several outputs */
};

struct pst_graph_input {
    uint32_t producer, producer_output; /* nodes[producer].outputs[producer_output] */
    bool broadcast;
    uint32_t used_count;
    const uint32_t *used; /* columns[i] of pst_rows is field used[i] of the producer's output: plan_use() gave i */
    /* The key's fields in the producer's output, in the order of the graph's `key`; NULL where the node has no key or
     * the input is broadcast. Types and packed size are the node's key_types and key_bytes. */
    const uint32_t *key;
};

/* When the number of partitions changes by itself (scaler.h). Shares of time are in percent. */
typedef enum pst_autoscale_mode { PST_AUTOSCALE_OFF = 0, PST_AUTOSCALE_ON, PST_AUTOSCALE_DRY_RUN } pst_autoscale_mode;
struct pst_autoscale {
    pst_autoscale_mode mode; /* OFF: nothing below counts */
    uint32_t target, band;   /* band < target, target + band <= 100 */
    uint32_t min, max;       /* partitions: 1 <= min <= max <= buckets */
    uint64_t grace_ns;       /* from the end of the last move on */
};

struct pst_graph_node {
    const char *id;
    const struct pst_operator *op;
    uint32_t line; /* of its `id:` in the graph file */
    uint32_t partition_count, bucket_count;
    struct pst_autoscale autoscale;
    uint32_t replicas;  /* of each partition, each on a node of its own: 1 or 2. One process has one */
    bool enclave;       /* it runs in enclaves, one for each partition */
    uint64_t epc_bytes; /* of each of them; 0: the standard */
    bool plugin;        /* its type comes from a shared object */
    uint32_t key_count; /* fields of the key; 0: no key */
    const pst_type *key_types;
    uint32_t key_bytes; /* packed one after the other, 1..PST_KEY_BYTES_MAX; 0: no key */
    /* So many of the key's first fields, and their bytes, alone decide on the bucket; 0: all do */
    uint32_t lead_count, lead_bytes;
    pst_order order;
    int64_t epoch;                        /* 1 or more */
    const void *user;                     /* what plan_set_user() got */
    const char *params;                   /* "name=value;...", as they are after --set; standard ones too */
    const struct pst_build_param *values; /* the same, typed: graph_build.h; op->param_count of them */
    const char *file;                     /* the parameter `file` of a source or sink; NULL: it has none */
    uint32_t input_count, output_count;   /* the operator's */
    struct pst_graph_input *inputs;
    struct pst_graph_output *outputs;
    uint32_t host; /* stateless: the nearest node before it that is not; others: their own index */
};

struct carry;
struct pst_graph {
    struct pst_arena arena; /* everything below lives here */
    const char *name;
    uint32_t node_count;
    struct pst_graph_node *nodes;
    uint32_t source;              /* index of the one source: 0, as it comes first */
    struct pst_hash_key hash_key; /* zero: nothing is secret yet */
    uint32_t library_count;
    void **libraries;    /* handles of dlopen(), closed last */
    struct carry *carry; /* its rows are sealed from end to end (carry.h); NULL: they are not */
};

/* Where a field comes from: walks back through stateless nodes to the node, output and field that a plain one or the
 * source has filled. In and out by the same pointers. */
void pst_graph_field_origin(const struct pst_graph *graph, uint32_t *node, uint32_t *output, uint32_t *field);

/* Why an operator cannot run in an enclave, as the end of a sentence; NULL: it can. */
const char *pst_enclave_fault(const struct pst_graph_node *node);

/* Stateless nodes that are to be in enclaves become nodes of their own: plain ones in total order, without a key, which read what they pass
 * on, too. To be called when all that is wanted is known; again where more go into enclaves. PST_ENOMEM. */
int pst_graph_enclose(struct pst_graph *graph);

/* Sets the plan_* entries of a host table; leaves the others. */
void pst_plan_host_fill(struct pst_host *host);

/* The index of the operator of this id; node_count: there is none. */
uint32_t pst_graph_find(const struct pst_graph *graph, const char *id);

/* Numbers of partitions: one more than buckets, so that buckets can always go to one that is not in use. */
static inline uint32_t pst_partition_numbers(const struct pst_graph_node *node) { return node->bucket_count + 1; }

#endif
