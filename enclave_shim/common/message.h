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
 * READY    out   first timer     -              -        -      -      SHA-256 of the configuration it has; facts: what holds
 * ROWS     out   -               -              output   1..    -      rows: bucket, columns that are wanted
 * DONE     out   first timer     -              -        -      -      counts (struct pst_border_counts); answers TIME and END
 * FAILED   out   -               -              -        -      code   a sentence; the last message
 * A field without a meaning is zero. Rows lie column by column, each column padded with zeros to a multiple of 8 bytes. */
#ifndef PST_ENCLAVE_MESSAGE_H
#define PST_ENCLAVE_MESSAGE_H

#include "enclave_shim/common/layout.h"

#include "base/base.h"

typedef enum pst_message_kind {
    PST_MESSAGE_FRAME = 1,
    PST_MESSAGE_TIME,
    PST_MESSAGE_END,
    PST_MESSAGE_STOP,
    PST_MESSAGE_READY = 17,
    PST_MESSAGE_ROWS,
    PST_MESSAGE_DONE,
    PST_MESSAGE_FAILED,
} pst_message_kind;

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

/* Of DONE, all since the start. */
struct pst_border_counts {
    uint64_t lookups, page_ins, page_outs, page_outs_clean, bytes_sealed, bytes_opened, pages_in_max, need_pages;
    uint64_t epc_used_max; /* bytes of the pool */
};

/* What a row is made of: bytes of each part, in the order of the body. */
struct pst_shape {
    uint32_t part_count;
    uint32_t part_bytes[PST_FIELDS_MAX + 2];
};
void pst_shape_add(struct pst_shape *shape, uint32_t bytes);
/* Bytes of a body with so many rows; and how many rows a message holds at most, at least 1. */
uint64_t pst_shape_body_bytes(const struct pst_shape *shape, uint32_t row_count);
uint32_t pst_shape_rows_max(const struct pst_shape *shape);
/* Where each part begins in a body that has been checked. */
void pst_shape_parts(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, void **ret_parts);

/* Who may send what, and whether the header fits its kind: PST_OK or PST_EDATA. shapes: of inputs, or of outputs. */
int pst_message_check_in(const struct pst_message *message, const struct pst_shape *shapes, uint32_t shape_count);
int pst_message_check_out(const struct pst_message *message, const struct pst_shape *shapes, uint32_t shape_count);

enum { PST_SENTENCE_BYTES_MAX = 480, PST_CONFIG_DIGEST_BYTES = 32 };

#endif
