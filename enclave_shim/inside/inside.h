/* inside/inside.h - the worker behind the border: one partition of one operator, driven by messages. Inside the room.
 *
 * It plans the operator itself, from the configuration, and refuses one whose plan is another than the host's. Due buckets, timers
 * and state are its own; of the host's it takes rows and times, in their order.
 * Thread:   one. No system call is made here: memory comes from pst_malloc(), what goes out goes to `emit`.
 */
#ifndef PST_ENCLAVE_INSIDE_H
#define PST_ENCLAVE_INSIDE_H

#include "enclave_shim/common/config.h"
#include "state/pager.h"

struct pst_inside;

struct pst_inside_settings { /* borrowed until it is freed */
    const struct pst_operator *op;
    const struct pst_enclave_operator *config;
    const uint8_t *owned; /* bit b: bucket b is this partition's */
    /* Called with what goes out; an error ends the callback. pieces are borrowed. */
    int (*emit)(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count);
    void *emitter;
    /* The state's pages: how many bytes of them may lie in clear; 0: all, and nothing below counts. */
    uint64_t page_budget;
    uint32_t evict;
    uint8_t *outside; /* shared memory */
    uint64_t outside_bytes;
    const struct pst_secret *master;            /* drawn for this worker alone */
    uint8_t incarnation[PST_INCARNATION_BYTES]; /* the same */
    uint64_t (*memory_used_max)(void);          /* for counts; NULL: 0 */
};

/* Plans and opens it. Errors: PST_EDATA the plan differs from the host's; PST_EGRAPH the budget is below what it can begin with;
 * PST_ENOMEM; the operator's. `ret_why` is a sentence; *ret_inside is to be freed then, too, unless it is NULL. */
int pst_inside_new(const struct pst_inside_settings *settings, struct pst_inside **ret_inside,
                   char ret_why[PST_SENTENCE_BYTES_MAX]);
void pst_inside_free(struct pst_inside *inside);
/* READY. */
int pst_inside_ready(struct pst_inside *inside, uint32_t facts, const uint8_t config_digest[PST_CONFIG_DIGEST_BYTES]);
/* One message, whose header may say anything, and its body. Errors: PST_EDATA it fits nothing; PST_ESTOPPED it was STOP; emit's;
 * the operator's or the state's, and pst_inside_why() says what: FAILED is to be sent. */
int pst_inside_take(struct pst_inside *inside, const struct pst_message *message, uint8_t *body);
const char *pst_inside_why(const struct pst_inside *inside);
/* Pages that have to lie in clear at least, as far as that is known; 0: there is no budget. */
uint64_t pst_inside_page_bytes_least(const struct pst_inside *inside);

/* plan.c: *ret_planned is what plan() has kept, in `arena`. */
int pst_inside_plan(const struct pst_operator *op, const struct pst_enclave_operator *config, struct pst_arena *arena,
                    const void **ret_planned, char ret_why[PST_SENTENCE_BYTES_MAX]);
void pst_inside_plan_host(struct pst_host *host);

/* registry.c: operators that this program has; NULL: not this one. */
const struct pst_operator *pst_inside_operator(const char *type);

#endif
