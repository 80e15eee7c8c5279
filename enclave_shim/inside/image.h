/* inside/image.h - a worker's state as checkpoints have it: sealed pieces that go out, and the way back. Inside the room.
 *
 * Of each bucket the pages that have changed go out, each sealed for its place, and then the bucket's index: all of its pages with their
 * versions, the ends of its logs, its timer, the checkpoint and its cut, sealed too. The host keeps them and can read none; it gives
 * them back bucket by bucket, pages first, to whatever worker has the bucket then.
 *
 * Holds true:
 *   D1  a sealer of one incarnation seals one content at most for one place: of a page its `changed` is the version, of an index the
 *       checkpoint. So what an index names opens only as it was at its cut
 *   D2  a worker serves after all of its buckets were given back whole, all as of one checkpoint, and that not below the least one
 *   D3  checkpoints grow: a worker seals no image of one that it has sealed or gone on from
 * Buckets that move to another worker (move.h) go in the same form, under a key of that one move, whose number stands where a checkpoint's
 * does, with the time of the hand-over as the cut:
 *   D4  each is sealed once at most, whole, and taken in once at most: so there is one content for a place again (D1)
 * Where rows are sealed from end to end, an image has the worker's place in the stream besides, in front of all buckets:
 *   D5  of each worker that has sealed a bucket that is given back its place is given back first, whole and of the same checkpoint and cut, and
 *       no place of any other. So what a bucket was is known with where its worker was: one incarnation seals one image of a checkpoint (D3)
 *
 * Index of a bucket, in parts that fit a page; little endian, 80 bytes and two lists:
 *    0 u32 magic "PSTI"    4 u16 version 1    6 u16 zero     8 u64 checkpoint
 *   16 i64 cut            24 i64 timer       32 u32 part    36 u32 parts      40 u32 logs    44 u32 pages, of this part
 *   48 32 bytes: SHA-256 of the operator's type and its tables and logs
 *   80 logs, in part 0: u16 structure, u16 zero, u32 zero, u64 tail, u64 head
 *      pages: u16 structure, u16 kind, u32 changed, u64 number
 */
#ifndef PST_ENCLAVE_IMAGE_H
#define PST_ENCLAVE_IMAGE_H

#include "enclave_shim/inside/inside.h"
#include "state/image.h"

enum { PST_INDEX_HEADER_BYTES = 80, PST_INDEX_LOG_BYTES = 24, PST_INDEX_PAGE_BYTES = 16, PST_INDEX_SHAPE_BYTES = 32 };

struct pst_index_page {
    uint16_t structure, kind;
    uint32_t changed;
    uint64_t number;
};
static_assert(sizeof(struct pst_index_page) == PST_INDEX_PAGE_BYTES, "layout of an index");

struct pst_index { /* one part, read; lists are where they were read */
    uint64_t checkpoint;
    int64_t cut, timer;
    uint32_t part, part_count, log_count, page_count;
    const uint8_t *shape, *logs, *pages;
};
/* PST_EDATA: it is no such part. */
int pst_index_read(const uint8_t *clear, uint32_t byte_count, struct pst_index *ret_index);
struct pst_image_log pst_index_log(const struct pst_index *index, uint32_t i, uint32_t bucket);

/* Where rows are sealed: pieces of what its readers and writers know (sealed.c), numbered from 0, by the name of the first of its buckets. No
 * operator may have so many structures. */
enum { PST_EXTRA_STRUCTURE = PST_STRUCTURES_MAX - 1 };
static_assert((int)PST_EXTRA_STRUCTURE == (int)PST_IMAGE_PLACE_STRUCTURE, "as its host knows it");
#define PST_PLACE_MAGIC UINT32_C(0x4c545350) /* "PSTL": that it begins with */

struct pst_images;
struct pst_images_of {       /* what an image is of; borrowed for a call */
    struct pst_state *state; /* NULL: the operator has none */
    const uint32_t *buckets; /* that are its own, ascending */
    uint32_t owned_count;
    int64_t *timers;     /* by bucket */
    const uint8_t *owns; /* the same, bit by bit */
};
/* Of a worker that has a key for images. PST_ENOMEM, PST_EINTERNAL. */
int pst_images_new(const struct pst_inside_settings *settings, struct pst_images **ret_images);
void pst_images_free(struct pst_images *images);
/* May it do anything else? (D2) */
bool pst_images_serve(const struct pst_images *images);
/* IMAGE: all pieces go out, then IMAGED. Errors: PST_EDATA it must not be asked for that (D3); the pager's; the way out's. That there
 * is no memory for it is no error, but what IMAGED says. */
int pst_images_out(struct pst_images *images, const struct pst_images_of *of, const struct pst_message *message);
/* IMAGE, where there is none of this cut: IMAGED, which says so. As pst_images_out(). */
int pst_images_late(struct pst_images *images, const struct pst_message *message);
/* RESTORE and RESTORED. Errors: PST_EREFUSED, PST_EDATA, and others: *why says what is wrong. PST_EDATA without a sentence: it may
 * not come now. */
int pst_images_back(struct pst_images *images, const struct pst_images_of *of, const struct pst_message *message,
                    const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX]);
int pst_images_end(struct pst_images *images, const struct pst_images_of *of, const struct pst_message *message,
                   char why[PST_SENTENCE_BYTES_MAX]);

/* What is to be in the next image beside the state, borrowed until that is out; and what has come back, once all has, of each worker that has
 * sealed any of it. has: the i-th has sealed this bucket. */
void pst_images_extra(struct pst_images *images, const struct pst_text *extra);
uint32_t pst_images_place_count(const struct pst_images *images);
const struct pst_text *pst_images_place(const struct pst_images *images, uint32_t i);
bool pst_images_place_has(const struct pst_images *images, uint32_t i, uint32_t bucket);
void pst_images_places_forget(struct pst_images *images);

/* ---- buckets that move ---- */
/* Of one move, by the keys of its meeting; gives: they are sealed, else opened. settings->image_key is not looked at. */
int pst_images_new_of_move(const struct pst_inside_settings *settings, const uint8_t key[PST_SECRET_BYTES],
                           const uint8_t incarnation[PST_INCARNATION_BYTES], uint64_t move, bool gives,
                           struct pst_images **ret_images);
/* All of a bucket, at `cut`. PST_EDATA: it has been before. Others as pst_images_out(). */
int pst_images_bucket_out(struct pst_images *images, const struct pst_images_of *of, uint32_t bucket, int64_t cut);
/* TAKE of a page or an index, into a state that has other buckets, and works on them. As pst_images_back(). */
int pst_images_bucket_back(struct pst_images *images, const struct pst_images_of *of, const struct pst_message *message,
                           const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX]);
bool pst_images_has(const struct pst_images *images, uint32_t bucket); /* it was sealed, or has come whole */
/* It has come whole, and has not arrived. All of these are of one cut. */
bool pst_images_arrives(const struct pst_images *images, uint32_t bucket);
/* So many are these, and sealed at `cut`; and nothing has come by halves. Where there are none any time is theirs. */
bool pst_images_arriving(const struct pst_images *images, uint32_t count, int64_t cut);
void pst_images_arrived(struct pst_images *images); /* all of these have: what comes next may be of another cut */
/* A piece of any content, of this move. `number`: another one each time. */
int pst_images_piece_out(struct pst_images *images, uint64_t number, const void *bytes, uint32_t byte_count);
/* TAKE of such a piece; what it was is there until the next call. PST_EREFUSED. */
int pst_images_piece_back(struct pst_images *images, const struct pst_message *message, const uint8_t *body,
                          const uint8_t **ret_bytes, uint32_t *ret_count);

#endif
