/* state/image.h - what a state is at one moment, for whoever writes it down or sends it away, and the way back.
 *
 * Holds:    copies of the pages that changed since an earlier moment, and a list of all pages and of the ends of all logs.
 * Thread:   taken by the thread of the state; from then on it stands alone and may go to another.
 * Holds true:
 *   I1  generations: an image's own is the state's when it was taken; what changes afterwards has a higher one
 *   I2  an image since g has, or knows where they lie sealed, the bytes of every page that changed above g; of the others it has the place alone
 *   I3  pages come in order of bucket, structure, number; a state made from all of them has the same digests
 */
#ifndef PST_STATE_IMAGE_H
#define PST_STATE_IMAGE_H

#include "state/pager.h"

#include <stdatomic.h>

struct pst_image_page {
    uint32_t bucket;
    uint16_t structure, kind;
    uint64_t number;
    uint32_t changed;                        /* its version */
    bool changed_since;                      /* false: as it was (I2) */
    const struct pst_page_header *bytes;     /* header and used bytes; NULL: as it was, or it lies outside */
    uint32_t slot, sealed_bytes, used_bytes; /* outside */
    uint64_t version;
};

struct pst_image_log {
    uint32_t bucket;
    uint16_t structure;
    uint64_t tail, head;
};

struct pst_image {
    uint32_t generation;
    uint32_t page_count, log_count;
    struct pst_image_page *pages;
    struct pst_image_log *logs; /* of buckets in which the log was ever used */
    uint64_t bytes_copied;
    char *copies; /* what pages[].bytes point into */
    /* of a state with a pager: nothing is copied, what changed is outside (pager.h) */
    struct pst_outside outside;
    struct pst_sealer *opener;
    uint32_t operator_index;
    atomic_bool *done; /* NULL: no pager */
};

/* What the tables and logs of a state are called and how wide they are: pages mean something only to a like state. */
struct pst_structure_view {
    const char *name;
    pst_page_kind kind;
    uint32_t key_bytes, record_bytes; /* tables */
};
uint32_t pst_state_structures(const struct pst_state *state, struct pst_structure_view ret[PST_STRUCTURES_MAX]);

/* since 0: everything. PST_ENOMEM: the state is as it was, its generation too. Errors of a pager (pst_state_error()) are the state's.
 * Of a state with a pager there is one image at a time, and pst_image_fini() comes before the state is freed. */
int pst_state_image(struct pst_state *state, uint32_t since, struct pst_image *ret_image);
/* The ends of one bucket's logs, in order of structure; how many. With pst_state_pages() it is all of a bucket, without a copy. */
uint32_t pst_state_logs(const struct pst_state *state, uint32_t bucket, struct pst_image_log ret[PST_STRUCTURES_MAX]);
void pst_image_fini(struct pst_image *image);

/* The same bucket by bucket, without lists or copies of more than a page: for a state that stands still until all of it was seen.
 * visit() gets the pages in order, `bytes` of those that changed above `since`, in `copy` (PST_PAGE_BYTES, 8-byte aligned), until it
 * returns; of others NULL. What is visited may leave right after. Errors: of the pager, and visit()'s. */
typedef int (*pst_image_visit)(void *argument, const struct pst_image_page *page);
int pst_state_image_bucket(struct pst_state *state, uint32_t bucket, uint32_t since, void *copy, pst_image_visit visit,
                           void *argument);
/* All buckets were seen: *ret_generation is the image's own (I1). PST_ERANGE: there have been too many. */
int pst_state_image_end(struct pst_state *state, uint32_t *ret_generation);

/* One bucket as it is now, for a state that goes on meanwhile: a page that is about to change, or to go, before it was seen is copied
 * first. So the copies take no more than the bucket does, and nothing where it stands still. One of a bucket at a time; it is not
 * dropped before that is freed. Each costs a writer of any bucket between the lowest and the highest shown a look: some tens, no more.
 * PST_ENOMEM: there is none, and nothing has changed. */
struct pst_snapshot;
int pst_state_snapshot(struct pst_state *state, uint32_t bucket, struct pst_snapshot **ret_snapshot);
uint32_t pst_snapshot_left(const struct pst_snapshot *snapshot); /* pages that were not seen yet */
/* The next of these, in order of structure and number, as it was. Borrowed until the next call, or the next change of the state. Errors: PST_ENOMEM a copy could not be made, of this page or a later one; the pager's. Then and from then on
 * the snapshot is of no use; the state is as good as before. */
int pst_snapshot_next(struct pst_snapshot *snapshot, const struct pst_page_header **ret_page);
void pst_snapshot_free(struct pst_snapshot *snapshot); /* NULL is nothing. A state that is freed frees its own */

/* Header and used bytes of a page that changed; in `buffer` (PST_PAGE_BYTES, 8-byte aligned) where it had to be opened. By whoever
 * has the image; before the state is freed. Errors: PST_EREFUSED it was changed outside, and those of outside. */
int pst_image_page_bytes(const struct pst_image *image, uint32_t index, void *buffer,
                         const struct pst_page_header **ret_bytes);

/* The way back, into a state whose structures are open and that is empty but for pages put back before: pages in the order of I3,
 * then the logs' ends, then the generation that the next changes get. PST_EDATA: not a page of such a state; PST_EFULL,
 * PST_ENOMEM. After an error the state is to be thrown away. */
int pst_state_restore_page(struct pst_state *state, const struct pst_page_header *page, uint32_t byte_count);
int pst_state_restore_log(struct pst_state *state, const struct pst_image_log *log);
void pst_state_restore_end(struct pst_state *state, uint32_t generation);
uint32_t pst_state_generation(const struct pst_state *state); /* that a change would get now */

#endif
