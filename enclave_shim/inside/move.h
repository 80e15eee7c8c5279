/* inside/move.h - buckets that go from this worker to another one of its operator, or come from one, while the stream runs. Inside the
 * room.
 *
 * A meeting (peer.h) comes first; what follows is sealed by its keys. The one that gives seals each bucket once, at an end of an epoch, as
 * it does for a checkpoint (image.h), and later digests of what these buckets have taken and put out since. The other one takes the pieces
 * in, owns a bucket from the time on at which it was sealed, and compares.
 *
 * Holds true:
 *   V1  an offer is good for one meeting, and its secret is gone after it; what comes later tells nothing of it
 *   V2  one meeting at a time; nothing is sealed or taken in without
 *   V3  a bucket is owned from the time on for which it was sealed, and from no other
 *
 * Digests: u32 magic "PSTG", u32 version 1, i64 t, u32 count, u32 zero; then u32 bucket, u32 zero, u64 digest. */
#ifndef PST_ENCLAVE_MOVE_H
#define PST_ENCLAVE_MOVE_H

#include "enclave_shim/inside/image.h"

enum { PST_DIGESTS_HEADER_BYTES = 24, PST_DIGESTS_ENTRY_BYTES = 16, PST_DIGESTS_MAX = 1000 };
struct pst_digest_list { /* read; entries are where they were read */
    int64_t t;
    uint32_t count;
    const uint8_t *entries;
};
/* PST_EDATA: it is no such list. */
int pst_digests_read(const uint8_t *bytes, uint32_t byte_count, struct pst_digest_list *ret_list);
uint32_t pst_digests_bucket(const struct pst_digest_list *list, uint32_t i);
uint64_t pst_digests_value(const struct pst_digest_list *list, uint32_t i);

struct pst_transfer;
/* Of a worker whose configuration names an authority. PST_ENOMEM, PST_EINTERNAL. */
int pst_transfer_new(const struct pst_inside_settings *settings, struct pst_transfer **ret_transfer);
void pst_transfer_free(struct pst_transfer *transfer);
int pst_transfer_offer(struct pst_transfer *transfer); /* OFFER */
/* PEER: OFFER goes out, the next one. PST_EREFUSED: no meeting, *why is a sentence, and all else goes on. */
int pst_transfer_meet(struct pst_transfer *transfer, const struct pst_message *message, const uint8_t *body,
                      char why[PST_SENTENCE_BYTES_MAX]);
/* HAND, between two epochs: pieces go out. PST_EDATA: it may not come now. Else as pst_images_out(). */
int pst_transfer_hand(struct pst_transfer *transfer, const struct pst_images_of *of, const struct pst_message *message,
                      const uint8_t *body);
/* TAKE. As pst_images_back(). */
int pst_transfer_take(struct pst_transfer *transfer, const struct pst_images_of *of, const struct pst_message *message,
                      const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX]);
/* ARRIVE, between two epochs, before the caller owns the buckets that it names. PST_EREFUSED: *why says what is not the same, or not
 * of this time; the worker is to end, for what it has taken in is nobody's. */
int pst_transfer_arrive(struct pst_transfer *transfer, const struct pst_images_of *of,
                        const struct pst_message *message, const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX]);
void pst_transfer_end(struct pst_transfer *transfer);          /* of the meeting, if there is one */
uint32_t pst_transfer_bucket(const uint8_t *body, uint32_t i); /* of a list */

/* What is counted while buckets move: rows that come, and rows that go out. Whatever their order, the same. */
bool pst_transfer_count(const struct pst_transfer *transfer); /* NULL: false */
void pst_transfer_row_in(struct pst_transfer *transfer, uint32_t port, const struct pst_rows *rows);
void pst_transfer_rows_out(struct pst_transfer *transfer, uint32_t output, int64_t t, const struct pst_out *out);

#endif
