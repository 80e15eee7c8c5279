/* common/message.h - what crosses the border: kinds, headers, the shape of rows. Both sides check with these functions.
 *
 * Header, 64 bytes, little endian, in the clear and authenticated with the body:
 *    0 u32 kind (pst_message_kind)    4 u32 body bytes, at most PST_BODY_BYTES_MAX
 *    8 u64 sequence, of this direction, from 0: the nonce, too
 *   16 i64 time                      24 i64 limit
 *   32 u32 port                      36 u32 rows
 *   40 i32 error                     44 u32 facts
 *   48 u64 state bytes               56 u64 zero
 *
 * kind     way   time            limit          port     rows   error  body
 * FRAME    in    -               -              input    1..    -      rows: event time, hash (keyed inputs), columns in use
 * TIME     in    t of on_time()  timers due     -        -      -      -
 * END      in    t of on_end()   -              -        -      -      -
 * STOP     in    -               -              -        -      -      -
 * IMAGE    in    the cut         checkpoint     -        -      -      -; facts: the generation that pages have changed since
 * RESTORE  in    -               number         bucket   place  -      32 bytes incarnation, a sealed piece; facts: `changed`
 * RESTORED in    the cut         checkpoint     -        -      -      -; answered by DONE
 * PEER     in    incarnation     move           1: gives -      -      evidence of both, a certificate (peer.h); answered by MOVED
 * HAND     in    t, the time     -              -        1..    -      u32 buckets; facts 1: digests of them; pieces, then MOVED
 * TAKE     in    -               number         bucket   place  -      a sealed piece of another worker; facts: `changed`; not answered
 * ARRIVE   in    t, the time     -              -        0..    -      u32 buckets; facts: PST_ARRIVE_...; answered by MOVED
 * FORGET   in    -               -              -        0..    -      u32 buckets; facts: PST_ARRIVE_LAST; answered by MOVED
 * RELEASE  in    -               -              -        -      -      the key's release (sealed.h); not answered
 * SEALED   in    -               -              -        -      -      whole capsules, one behind the other; not answered
 * READY    out   first timer     -              -        -      -      SHA-256 of the configuration it has; facts: what holds
 * ROWS     out   theirs, or -    -              output   1..    -      rows: bucket, columns that are wanted; facts 1: of on_frame(), and
 *                                                                      of event time `time`; else of what is asked, and time is zero
 * DONE     out   first timer     -              -        -      -      counts (struct pst_border_counts); answers TIME and END
 * PIECE    out   -               number         bucket   place  -      a sealed piece, or nothing: it is as it was; facts: `changed`
 * IMAGED   out   -               checkpoint     -        -      code   32 bytes incarnation; facts: the image's generation; answers IMAGE
 * FAILED   out   -               -              -        -      code   a sentence; the last message
 * CHANNEL  out   -               -              -        -      -      X25519 key, 32 bytes; before READY, where rows are sealed
 * OFFER    out   -               -              -        -      -      X25519 key, nonce, 32 bytes each; before READY, where buckets may
 *                                                                      move, and before the MOVED that answers PEER
 * MOVED    out   first timer     -              -        -      code   a sentence, or nothing; answers PEER, HAND, ARRIVE and FORGET
 * CAPSULES out   -               -              -        -      -      whole capsules, one behind the other
 * A field without a meaning is zero. place: the structure's number, and in the upper half the kind of the piece (state/seal.h);
 * PST_PLACE_INDEX is a bucket's index, PST_PLACE_DIGESTS digests of some buckets.
 *
 * Rows lie column by column, each as narrow as its cells allow, for each byte is copied and sealed several times:
 *    0 i64 base    8 u32 width, in bytes: 0, 1, 2, 4 or 8, the cell's own at most    12 u32 zero
 *   16 cells: how far each is above base; padded with zeros to a multiple of 8 bytes
 * Of a text, and of hashes, the width is the cell's own and the base zero. */
#ifndef PST_ENCLAVE_MESSAGE_H
#define PST_ENCLAVE_MESSAGE_H

#include "enclave_shim/common/layout.h"

#include "base/base.h"

typedef enum pst_message_kind {
    PST_MESSAGE_FRAME = 1,
    PST_MESSAGE_TIME,
    PST_MESSAGE_END,
    PST_MESSAGE_STOP,
    PST_MESSAGE_PEER,
    PST_MESSAGE_HAND,
    PST_MESSAGE_TAKE,
    PST_MESSAGE_IMAGE,
    PST_MESSAGE_RESTORE,
    PST_MESSAGE_RESTORED,
    PST_MESSAGE_RELEASE,
    PST_MESSAGE_SEALED,
    PST_MESSAGE_ARRIVE,
    PST_MESSAGE_FORGET,
    PST_MESSAGE_READY = 17,
    PST_MESSAGE_ROWS,
    PST_MESSAGE_DONE,
    PST_MESSAGE_FAILED,
    PST_MESSAGE_PIECE = 24,
    PST_MESSAGE_IMAGED,
    PST_MESSAGE_CHANNEL,
    PST_MESSAGE_CAPSULES,
    PST_MESSAGE_OFFER,
    PST_MESSAGE_MOVED,
} pst_message_kind;
enum { PST_ROWS_TIMED = 1 }; /* facts of ROWS, where rows come in total order */
enum { PST_ARRIVE_LAST = 1, PST_ARRIVE_OPENS_AGAIN = 2 };

enum {
    PST_PIECE_BYTES_MIN = 64 + 16,         /* of a sealed piece: header and tag */
    PST_PIECE_BYTES_MAX = 64 + 16384 + 16, /* of a whole page */
    PST_PIECE_INCARNATION_BYTES = 32,
};
#define PST_PLACE_INDEX UINT32_C(0x0003ffff)
#define PST_PLACE_DIGESTS UINT32_C(0x0004ffff)

struct pst_message {
    uint32_t kind, body_bytes;
    uint64_t sequence;
    int64_t time, limit;
    uint32_t port, row_count;
    int32_t error;
    uint32_t facts;
    uint64_t state_bytes, zero;
};
static_assert(sizeof(struct pst_message) == PST_MESSAGE_HEADER_BYTES, "message layout");
static_assert(offsetof(struct pst_message, sequence) == 8, "message layout");
static_assert(offsetof(struct pst_message, time) == 16, "message layout");
static_assert(offsetof(struct pst_message, limit) == 24, "message layout");
static_assert(offsetof(struct pst_message, port) == 32, "message layout");
static_assert(offsetof(struct pst_message, row_count) == 36, "message layout");
static_assert(offsetof(struct pst_message, error) == 40, "message layout");
static_assert(offsetof(struct pst_message, facts) == 44, "message layout");
static_assert(offsetof(struct pst_message, state_bytes) == 48, "message layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are written as they lie in memory");

static inline bool pst_message_has_capsules(const struct pst_message *message)
{
    return message->kind == PST_MESSAGE_SEALED || message->kind == PST_MESSAGE_CAPSULES;
}

/* Of DONE, all since the start. */
struct pst_border_counts {
    uint64_t lookups, page_ins, page_outs, page_outs_clean, bytes_sealed, bytes_opened, pages_in_max, need_pages;
    uint64_t epc_used_max; /* bytes of the pool */
    uint64_t leaves;       /* system calls: it slept, or woke its host */
};

/* What a body is made of. */
struct pst_piece {
    const void *bytes;
    uint32_t byte_count;
    uint32_t cell_bytes; /* 0: no column, but bytes as they are, without padding */
    bool is_wide;        /* cells are not looked at: they are known to take all of their width */
};
/* Writes it, PST_BODY_BYTES_MAX bytes at most; returns how many. */
uint32_t pst_pieces_write(const struct pst_piece *pieces, uint32_t piece_count, uint8_t *body);

/* What a row is made of: bytes of each part, in the order of the body. */
struct pst_shape {
    uint32_t part_count;
    uint32_t part_bytes[PST_FIELDS_MAX + 2];
};
void pst_shape_add(struct pst_shape *shape, uint32_t bytes);
/* How many rows a message holds at most, at least 1; and of so many rows, how many each of the messages takes that are needed. */
uint32_t pst_shape_rows_max(const struct pst_shape *shape);
uint32_t pst_shape_rows_each(const struct pst_shape *shape, uint32_t row_count);
/* Reads a body of so many rows, whatever it is. ret_parts: columns of cells, in `body` or in `room` (PST_BODY_BYTES_MAX bytes), both aligned
 * to 8 bytes. PST_EDATA: it is none. */
int pst_shape_read(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes, uint8_t *room,
                   void **ret_parts);
/* The same, all of its columns behind `from` rows that are in `columns` already, which have room for them. PST_EDATA: there may be some of
 * it behind these all the same. */
int pst_shape_read_behind(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                          uint32_t from, void *const *columns);
/* Rows in a capsule have no heads: cells of their own width, each column padded with zeros to a multiple of 8 bytes, so that what a size
 * tells is how many rows there are, and nothing of what is in them. Bytes of so many rows; how many rows so many bytes hold; where each part
 * begins in a body that has been checked. */
uint64_t pst_shape_wide_bytes(const struct pst_shape *shape, uint32_t row_count);
uint32_t pst_shape_wide_rows_max(const struct pst_shape *shape, uint32_t body_bytes_max);
void pst_shape_wide_parts(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, void **ret_parts);

/* Who may send what, and whether the header fits its kind: PST_OK or PST_EDATA. shapes: of inputs, or of outputs. What a body of rows
 * holds is for pst_shape_read(). */
int pst_message_check_in(const struct pst_message *message, const struct pst_shape *shapes, uint32_t shape_count);
int pst_message_check_out(const struct pst_message *message, const struct pst_shape *shapes, uint32_t shape_count);

enum { PST_SENTENCE_BYTES_MAX = 480, PST_CONFIG_DIGEST_BYTES = 32 };

#endif
