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
enum { PST_OFFER_SEED_BYTES = 32 };

struct pst_inside_settings { /* borrowed until it is freed */
    const struct pst_operator *op;
    const struct pst_enclave_operator *config;
    const uint8_t *owned; /* bit b: bucket b is this partition's */
    /* Called with what goes out; an error ends the callback. pieces are borrowed. */
    int (*emit)(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count);
    void *emitter;
    /* Whether more messages are there already: of frames that follow each other the operator gets one then. NULL: never. */
    bool (*more)(void *emitter);
    /* The state's pages: how many bytes of them may lie in clear; 0: all, and nothing below counts. */
    uint64_t page_budget;
    uint64_t
        dear_after; /* of pages that were never touched: beyond so many bytes they are dear (pst_pool_dear()); 0: never */
    uint32_t evict;
    uint8_t *outside; /* shared memory */
    uint64_t outside_bytes;
    const struct pst_secret *master;            /* drawn for this worker alone */
    uint8_t incarnation[PST_INCARNATION_BYTES]; /* the same */
    /* Images of its state (image.h). NULL: there are none. */
    const struct pst_secret *image_key; /* of this operator of this graph, whatever worker it runs in */
    struct pst_secret *
        image_room; /* where rows are sealed: room for that key, which comes with the user's; NULL: no images are wanted */
    const struct pst_secret *restore_keys[PST_IMAGE_KEYS_MAX]; /* of what is given back: each is tried */
    uint32_t restore_key_count;
    uint8_t graph[PST_GRAPH_DIGEST_BYTES];            /* that it is of */
    uint8_t image_incarnation[PST_INCARNATION_BYTES]; /* drawn for this worker alone */
    uint64_t
        restore_least; /* it does nothing before a checkpoint of this id or a higher one was given back; 0: it may */
    /* Of buckets that move (move.h), where the configuration names an authority. */
    /* PST_OFFER_SEED_BYTES, drawn for this worker alone; wiped when it is open. NULL where buckets stay. */
    uint8_t *offer_seed;
    const uint8_t *config_digest; /* PST_CONFIG_DIGEST_BYTES */
    bool lane;                    /* it owns nothing at first: all of `owned` may come from another worker */
    /* Adds what only the border and the pool know; NULL: nothing. */
    void (*counts)(void *counter, struct pst_border_counts *counts);
    void *counter;
};

/* Of a worker whose rows are sealed, and whose host gives it a key of images: it would have that key, too. */
#define PST_INSIDE_NO_KEY "where rows are sealed from end to end its host has no key of images"
/* Plans and opens it. Errors: PST_EDATA the plan differs from the host's; PST_EGRAPH the budget is below what it can begin with, or its
 * rows are sealed and there is a key of images; PST_ENOMEM; the operator's. `ret_why` is a sentence; *ret_inside is to be freed then, too,
 * unless it is NULL. */
int pst_inside_new(const struct pst_inside_settings *settings, struct pst_inside **ret_inside,
                   char ret_why[PST_SENTENCE_BYTES_MAX]);
void pst_inside_free(struct pst_inside *inside);
/* READY, and OFFER before it. */
int pst_inside_ready(struct pst_inside *inside, uint32_t facts, const uint8_t config_digest[PST_CONFIG_DIGEST_BYTES]);
/* One message, whose header may say anything, and its body. Errors: PST_EDATA it fits nothing; PST_ESTOPPED it was STOP; emit's;
 * the operator's or the state's, and pst_inside_why() says what: FAILED is to be sent. */
int pst_inside_take(struct pst_inside *inside, const struct pst_message *message, uint8_t *body);
/* Rows of one input, parts as in a FRAME: PST_INSIDE_ROWS_MAX at most. */
enum { PST_INSIDE_ROWS_MAX = 2048 };
int pst_inside_rows(struct pst_inside *inside, uint32_t port, uint32_t row_count, void *const *parts);
const char *pst_inside_why(const struct pst_inside *inside);
/* Where rows are sealed: the key of images has come. PST_EGRAPH: the operator has too many tables; PST_ENOMEM, PST_EINTERNAL. */
int pst_inside_images(struct pst_inside *inside, const uint8_t key[PST_SECRET_BYTES]);
/* What goes into the next image beside the state, and what has come back of those that it goes on from (image.h). */
void pst_inside_extra(struct pst_inside *inside, const struct pst_text *extra);
uint32_t pst_inside_place_count(const struct pst_inside *inside); /* 0: there are no images, too */
const struct pst_text *pst_inside_place(const struct pst_inside *inside, uint32_t i);
bool pst_inside_place_has(const struct pst_inside *inside, uint32_t i, uint32_t bucket);
void pst_inside_places_forget(struct pst_inside *inside);
/* Where rows are sealed: IMAGED, that there is none of this cut. PST_EDATA: it must not be asked for; emit's. */
int pst_inside_image_late(struct pst_inside *inside, const struct pst_message *message);
int pst_inside_answer(struct pst_inside *inside); /* DONE, as it is now. emit's */
/* Pages that have to lie in clear at least, as far as that is known; 0: there is no budget. */
uint64_t pst_inside_page_bytes_least(const struct pst_inside *inside);

/* ---- sealed.c: rows that come and go sealed, past a host that has no key ---- */
enum { PST_SEALED_EPC_PARTS = 16 }; /* of an EPC; rows of one input that wait have one of them */
struct pst_inside_sealed;
struct pst_inside_sealed_settings {            /* borrowed until it is freed */
    const struct pst_enclave_operator *config; /* with its `sealing` */
    const uint8_t *config_digest;              /* PST_CONFIG_DIGEST_BYTES */
    const uint8_t *owned;
    uint8_t channel_secret[32]; /* drawn for this worker alone */
    uint8_t (*salts)[32];       /* for each edge that leads away one, drawn for this worker alone */
    uint64_t held_bytes_max;    /* of rows of one input that wait */
    bool
        paced; /* it works on what has come as far as it is told times: TIME, END, each answered. Else as far as marks allow, at once */
    int (*emit)(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count);
    /* Whether more messages are there already: what comes next is taken first then, and worked off together. NULL: never. */
    bool (*more)(void *emitter);
    void *emitter;
};
/* PST_EDATA: the configuration's edges do not fit; PST_ENOMEM. */
int pst_inside_sealed_new(const struct pst_inside_sealed_settings *settings, struct pst_inside_sealed **ret_sealed);
void pst_inside_sealed_free(struct pst_inside_sealed *sealed);
/* The operator's own `emit` and `emitter`: what it puts out is sealed. `inside` is set once it is open. */
int pst_inside_sealed_emit(void *self, struct pst_message *message, const struct pst_piece *pieces,
                           uint32_t piece_count);
void pst_inside_sealed_serve(struct pst_inside_sealed *sealed, struct pst_inside *inside);
int pst_inside_sealed_channel(struct pst_inside_sealed *sealed); /* CHANNEL */
/* As pst_inside_take(). PST_EREFUSED: what came is not what was sealed, and pst_inside_sealed_why() says what. */
int pst_inside_sealed_take(struct pst_inside_sealed *sealed, const struct pst_message *message, uint8_t *body);
const char *pst_inside_sealed_why(const struct pst_inside_sealed *sealed);
int64_t pst_inside_floor_to(int64_t t, int64_t step); /* the multiple of `step` at or below t */

/* Of a stateless operator: which column of the rows that come is each field of its outputs that is wanted. */
struct pst_inside_forward {
    uint8_t column[PST_OUTPUTS_MAX][PST_FIELDS_MAX];
};
/* plan.c: *ret_planned is what plan() has kept, in `arena`. */
int pst_inside_plan(const struct pst_operator *op, const struct pst_enclave_operator *config, struct pst_arena *arena,
                    const void **ret_planned, struct pst_inside_forward *ret_forward,
                    char ret_why[PST_SENTENCE_BYTES_MAX]);
void pst_inside_plan_host(struct pst_host *host);

/* registry.c: operators that this program has; NULL: not this one. */
const struct pst_operator *pst_inside_operator(const char *type);

#endif
