/* engine/enclave.h - operators that run in enclaves (docs/enclaves.md): what a partition of one is in the engine. Inside the room.
 *
 * Channels, watermarks and epochs stay here; rows, times and the end go to the partition's worker, which has the state, the timers and
 * which buckets are due. Rows that come back are put out as if the operator had put them out here.
 *
 * A partition does not wait for an epoch's answer where the next epoch has rows: what is asked for is answered in its order, so rows come
 * out as they would, and there is no timer to be jumped over. Everything that looks at the state, or changes who owns it, waits.
 * Thread:  the partition's worker; starting is done by the thread that begins the run.
 */
#ifndef PST_ENGINE_ENCLAVE_H
#define PST_ENGINE_ENCLAVE_H

#include "enclave_shim/enclave_shim.h"
#include "engine/runtime.h"
#include "state/manifest.h"

struct sealed_image;
struct part;
struct move;
struct parcel;
struct blob;

/* Starts the worker of an instance instead of calling its operator's open(); and waits until that is open, when all are started: they make
 * themselves ready side by side. An error has ended the run, and says why. */
int pst_ctx_enclose(struct pst_ctx *ctx);
int pst_ctx_enclosed(struct pst_ctx *ctx);
uint32_t pst_enclave_worker_count(const struct run *run); /* of all its graph, on whatever node */
/* How much of the pool of each worker of an operator is touched before the first row of an input of so many bytes; 0: nobody knows. */
uint64_t pst_enclave_touch_bytes(const struct run *run, const struct pst_graph_node *node, uint64_t input_bytes);
void pst_ctx_disclose(struct pst_ctx *ctx);
/* The same for the lane of a move: its worker is started beforehand, while nobody waits for it (some tens of milliseconds), and is the
 * lane's later. By the keeper. An error's sentence is in ret_why, PST_ENCLAVE_WHY_BYTES of it, and nothing else has changed. */
int pst_lane_enclave(struct run *run, const struct move *move, struct pst_enclave **ret_enclave, char *ret_why);
int pst_lane_enclose(struct pst_ctx *ctx, struct pst_enclave *enclave); /* whatever it returns: it is the lane's */
/* The callbacks, for an instance that has a worker. Of time and end PST_EAGAIN: it works on it, and the same call is to be made again.
 * runs_ahead: of a time that is answered later. PST_ESTOPPED: the run has been stopped meanwhile. Rows go out at ctx->emit_time as it was
 * at the call. */
int pst_ctx_enclave_frame(struct pst_ctx *ctx, const struct pst_rows *rows);
int pst_ctx_enclave_time(struct pst_ctx *ctx, int64_t t, bool runs_ahead);
int pst_ctx_enclave_end(struct pst_ctx *ctx, int64_t t);
/* Takes answers that have come, as long as there is room behind. *ret_any: there was one. */
int pst_ctx_enclave_collect(struct pst_ctx *ctx, bool *ret_any);
uint32_t pst_ctx_enclave_asked(const struct pst_ctx *ctx); /* how much is not answered */
bool pst_ctx_enclave_ends(
    const struct pst_ctx *ctx); /* it was told that the input is at its end, be it answered or not */
/* The least event time of rows that may still come of that; INT64_MAX: none. */
int64_t pst_ctx_enclave_time_min(const struct pst_ctx *ctx);
/* The beginning of the first epoch that is not answered, of those that were asked for and the open one; of any other instance the open one's. */
int64_t pst_ctx_enclave_epoch_min(const struct pst_ctx *ctx);
/* Where there is nothing else to do: true: there are workers that answers are waited for from, and there may be one now. */
bool pst_enclaves_wait(const struct worker *worker);
uint64_t pst_ctx_enclave_bytes(const struct pst_ctx *ctx);
int pst_enclaves_report(struct run *run, struct pst_run_report *report);
/* rc; an error has ended the run, and says why. */
int pst_ctx_enclave_said(struct pst_ctx *ctx, int rc);

/* enclave_image.c. Keys for images of an operator's state, of which whoever has them learns nothing of the run's. */
struct pst_enclave_keys {
    struct pst_secret *seals; /* NULL: there are no checkpoints */
    struct pst_secret *opens[PST_IMAGE_KEYS_MAX];
    const uint8_t *open_bytes[PST_IMAGE_KEYS_MAX]; /* theirs */
    uint32_t open_count;
    const uint8_t *graph;
    uint64_t least; /* below this checkpoint nothing is opened */
};
int pst_enclave_keys_init(struct pst_enclave_keys *keys, const struct run *run, const struct pst_graph_node *node);
void pst_enclave_keys_fini(struct pst_enclave_keys *keys); /* after an error, too */
/* At the cut of the checkpoint under way: PST_EAGAIN: its worker seals, and the same call is to be made again. */
int pst_ctx_enclave_image(struct pst_ctx *ctx, int64_t cut);
/* Then: all of it is the part's. An error: there is no image, and it goes on. */
int pst_ctx_enclave_imaged(const struct pst_ctx *ctx, struct part *part);
int pst_ctx_enclave_take_piece(void *taker, const struct pst_enclave_piece *piece);
void pst_sealed_drop(struct sealed_image *sealed);
/* Pieces go back, and when all have, each worker looks whether it has all of its own. */
int pst_ctx_enclave_piece_back(struct pst_ctx *ctx, const uint8_t incarnation[PST_INCARNATION_BYTES],
                               const struct pst_manifest_page *page, const void *sealed);
int pst_enclaves_restored(struct run *run);

/* enclave_move.c: buckets that go to another instance's worker, or come from one, while the stream runs (lane.h).
 *
 * Words, which the two hosts bring each other: what a worker offers, PST_OFFER_BYTES; then evidence for it, hardware's of its machine behind
 * that where there is any (evidence.h), and the node's certificate. The machine's is looked at by the other node, which takes it out, the
 * rest by the other worker. By the keeper, while workers stand still; *ret_bytes 0: that side is not here. PST_EREFUSED: it cannot be
 * attested, or is not what this node wants; PST_ENOMEM, and those of pst_tsm_report(). ret_why: a sentence, or "". */
enum {
    ENCLAVE_SHOWN_BYTES_MAX = PST_PEER_EVIDENCE_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX, /* to a worker */
    ENCLAVE_MACHINE_BYTES_MAX = 20000,
    ENCLAVE_WORDS_BYTES_MAX = ENCLAVE_SHOWN_BYTES_MAX + ENCLAVE_MACHINE_BYTES_MAX,
    ENCLAVE_MOVE_WHY_BYTES = 640,
};
int pst_moving_offer(const struct run *run, const struct move *move, bool gives, uint8_t *ret_words, size_t *ret_bytes);
int pst_moving_attest(struct run *run, const struct move *move, bool gives, const uint8_t *others_words,
                      size_t others_bytes, uint8_t *ret_words, size_t *ret_bytes, char ret_why[ENCLAVE_MOVE_WHY_BYTES]);
int pst_moving_show(struct run *run, const struct move *move, bool gives, const uint8_t *words, size_t word_bytes,
                    char ret_why[ENCLAVE_MOVE_WHY_BYTES]);
/* The move was given up: of a giver that goes on. */
void pst_moving_over(struct pst_ctx *ctx);
/* In the worker's step. busy: it was asked for something, and is given nothing until step() has the answer. meets: it has met the other
 * one; what it takes for that is asked for. */
bool pst_moving_busy(const struct pst_ctx *ctx);
bool pst_moving_step(struct pst_ctx *ctx); /* true: something has happened */
bool pst_moving_ends(
    const struct pst_ctx *ctx); /* its worker is to forget a meeting, where the open epoch has had no row */
bool pst_moving_meets(struct pst_ctx *ctx);
/* PST_EAGAIN: it is sealed, and pst_giver_handed() hears of it; PST_OK: there is nothing to be sealed. */
int pst_moving_hand(struct pst_ctx *ctx, const struct parcel *parcel, struct blob *blob);
int pst_moving_take(struct pst_ctx *ctx, const struct blob *blob);
int pst_moving_arrive(struct pst_ctx *ctx); /* pst_lane_arrived() hears of it */
int pst_moving_forget(struct pst_ctx *ctx, const struct move *move);
/* Of a lane that becomes a part of `into` (join.c), while both stand still; from JOIN_BEGINS on until PST_OK. PST_EAGAIN: it is worked on. */
enum join_phase { JOIN_BEGINS, JOIN_MEETS, JOIN_HANDS, JOIN_ARRIVES };
int pst_moving_join(struct pst_ctx *lane, struct pst_ctx *into, enum join_phase *phase);
int pst_moving_take_piece(struct pst_ctx *ctx, const struct pst_enclave_piece *piece);
void pst_moving_free(struct pst_ctx *ctx);

/* Fuzzed: a parcel comes from another node. PST_EDATA, PST_EABI. entry: of digests or buckets. piece: the next one. */
enum { SEALED_PIECE_BYTES_MIN = 64 + 16, SEALED_PIECE_BYTES_MAX = 64 + 16384 + 16 };
struct sealed_parcel {
    uint32_t digest_count, bucket_count, piece_count;
    bool last;
    const char *digests, *buckets, *at, *end;
};
int pst_sealed_parcel_read(const void *bytes, size_t byte_count, struct sealed_parcel *ret_parcel);
int pst_sealed_parcel_entry(const char *entries, uint32_t i, uint32_t *ret_bucket, uint64_t *ret_number);
int pst_sealed_parcel_piece(struct sealed_parcel *parcel, struct pst_enclave_piece *ret_piece);

/* Whoever starts workers says of each what it is, warns of one that has not all that its backend protects by, and counts what it did. */
struct pst_enclave_operator;
struct pst_enclave_param;
void pst_enclave_operator_fill(const struct pst_graph *graph, const struct pst_graph_node *node,
                               struct pst_enclave_operator *ret_operator, struct pst_enclave_param *ret_params);
void pst_enclave_warn(const struct pst_run_options *options, const struct pst_graph_node *node,
                      const struct pst_enclave *enclave);
int pst_enclave_count_in(struct pst_enclave_run_report *report, const struct pst_graph_node *node,
                         const struct pst_enclave *enclave);

#endif
