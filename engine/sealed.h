/* engine/sealed.h - graphs whose rows are sealed from the source to the sinks (docs/sealing.md): which edges there are. Inside the room.
 *
 * The stateless operators behind the source run on the user's side, before rows are sealed; the sinks run there, too, once they are opened.
 * Between the two every operator is in enclaves, or the graph is refused. */
#ifndef PST_ENGINE_SEALED_H
#define PST_ENGINE_SEALED_H

#include "enclave_shim/enclave_shim.h"
#include "enclave_shim/sealed.h"
#include "engine/graph.h"

struct sealed_edge {
    struct pst_sealed_edge edge;
    uint32_t producer, producer_output; /* an operator in enclaves, or the source or a stateless one behind it */
    bool from_user;                     /* the second: rows are sealed on the user's side */
    uint32_t node, input;               /* who reads it */
};

struct sealed_plan {
    struct pst_arena arena;
    uint8_t digest[32]; /* of all edges: which keys are meant */
    struct sealed_edge *edges;
    uint32_t edge_count;
};

/* PST_EGRAPH: the graph cannot be sealed, and `why` is a sentence that names the operator; PST_ENOMEM. Ended by _fini() either way. */
int pst_sealed_plan_init(struct sealed_plan *plan, const struct pst_graph *graph, struct pst_text *why);
void pst_sealed_plan_fini(struct sealed_plan *plan);
/* What a worker of the operator is told of them. NULL: no memory. */
struct pst_enclave_sealing *pst_sealed_plan_of(struct sealed_plan *plan, const struct pst_graph *graph, uint32_t node);

/* ---- reading a stream of capsules from a file or pipe ---- */
struct pst_capsules {
    struct pst_world *world;
    struct pst_file *file;
    uint8_t *bytes;
    size_t count, at;
    uint64_t offset; /* of what is at `at` in the file */
    bool at_end;
};
int pst_capsules_open(struct pst_capsules *capsules, struct pst_world *world, const char *path);
void pst_capsules_close(struct pst_capsules *capsules);
/* The next whole capsule, borrowed until the next call. PST_EAGAIN: none yet. PST_ESTOPPED: the file ends here; PST_EDATA: it ends within one,
 * or there is something else; PST_EABI; else as file_read(). */
int pst_capsules_next(struct pst_capsules *p, struct pst_capsule *ret_capsule, const uint8_t **ret_bytes);

#endif
