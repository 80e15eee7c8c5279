/* engine/wire.h - the messages of a data connection, as bytes: what links of channels and moves of buckets say to each other.
 *
 * Holds:    the layout of every message, its writer, its reader.
 * Refuses:  connections, credits, order, repetition: who calls knows what it may send, and whether it wants what it has read.
 * Thread:   any; nothing is kept between two calls, nothing is allocated.
 * Holds true:
 *   W1  a reader takes any bytes; what it gives back with PST_OK a writer can have written
 *   W2  but for LZ4 and narrow frames a message has one form: what was read is written again as the same bytes
 *   W3  a frame that was read is safe for operators: its rows are in order of time, each bucket is its hash's, each text ends in
 *       its cell
 *
 * A message: a head, then the body of its kind to the message's end. Little endian. What is reserved is zero.
 *
 *    0 u8 kind     1 u8 version 1; 2: a narrow frame     2 u16 flags: bit 0 LZ4, of frames of version 1 alone
 *    4 u32 channel                    8 u64 number of the message on its channel, from 1: FRAME, WATERMARK, END; others 0
 *   16 u64 incarnation of the graph's run
 *   24 u32 owner epoch               28 u32 reserved
 *   32 u64 move, 0: none; of RESUME the newest version of frames that its sender reads, 0: 1; of WATERMARK and END of an operator that has
 *      heard the ends of all inputs i64 the highest event time of them + 1, 0: it does not say
 *
 *   kind           body from 40 on
 *   1 HELLO        0 u32 sender's node    4 u32 its worker    8 u32 name_bytes, 1..255    12 the graph's name, visible ASCII
 *   2 FRAME        0 u32 row_count, from 1    4 u32 clear_bytes    8 i64 watermark after this frame, INT64_MIN: none
 *                  16 u32 column_count    20 u32 offsets[column_count + 1]    then the columns: clear_bytes, or one LZ4 block
 *   3 WATERMARK    0 i64 watermark
 *   4 END          0 u8 1 the input is at its end, 2 cut
 *   5 GRANT        0 u64 number of the last message that the receiver has taken for good    8 u32 frames that may be on the way
 *   6 RESUME       0 u64 number of the last message received in order, 0: none
 *   7 CHUNK        0 i64 t    8 u32 parcel of the move, from 1    12 u32 index    16 u32 count of the parcel's chunks    20 bytes, from 1
 *   8 CHUNK_ACK    0 u32 the parcel that the lane has taken in last    4 u32 what joining costs there, microseconds a MiB, + 1; 0: not known
 *   9 CUT          0 u64 checkpoint, from 1    8 i64 event time of its cut    16 u64 the last complete one, below it; 0: none
 *
 * A frame's columns: time i64; if keyed hash u64, bucket u32; if numbered producer u32, number u64; then the edge's own. Each
 * starts at a multiple of 8 behind the one before it, with zeros between; offsets say where, the last is clear_bytes. LZ4 stands
 * only where it saves an eighth or more.
 *
 * A narrow frame, which only whoever has said so in RESUME is sent, has the body
 *                  0 u32 row_count, from 1    4 u32 column_count    8 i64 watermark after this frame, INT64_MIN: none
 *                  16 of each column: i64 base, u32 width    then the columns, width * row_count bytes each, one behind the other
 * A cell is the base and, above it, an unsigned number of `width` bytes: 0 to those of the cell. A text has width PST_TEXT_BYTES, base 0
 * and stands as it is. Buckets are left out, and so are hashes where all fields of the key are columns: the reader makes them.
 */
#ifndef PST_WIRE_H
#define PST_WIRE_H

#include "base/base.h"

enum {
    PST_WIRE_VERSION = 2, /* of frames: that of all others is 1 */
    PST_WIRE_HEAD_BYTES = 40,
    PST_WIRE_MESSAGE_BYTES_MAX = 4 * 1024 * 1024,
    PST_WIRE_NAME_BYTES_MAX = 255,
    PST_WIRE_CHUNK_BYTES_MAX = 256 * 1024 + 80,                                    /* 256 KiB as one sealed piece */
    PST_WIRE_SMALL_BYTES_MAX = PST_WIRE_HEAD_BYTES + 12 + PST_WIRE_NAME_BYTES_MAX, /* any but FRAME and CHUNK */
};

typedef enum pst_wire_kind {
    PST_WIRE_HELLO = 1,
    PST_WIRE_FRAME = 2,
    PST_WIRE_WATERMARK = 3,
    PST_WIRE_END = 4,
    PST_WIRE_GRANT = 5,
    PST_WIRE_RESUME = 6,
    PST_WIRE_CHUNK = 7,
    PST_WIRE_CHUNK_ACK = 8,
    PST_WIRE_CUT = 9,
} pst_wire_kind;
enum { PST_WIRE_FLAG_LZ4 = 1 };

/* The head as it lies in a message. A writer puts in kind, version, flags and zero by itself; the caller the rest. */
struct pst_wire_head {
    uint8_t kind, version;
    uint16_t flags;
    uint32_t channel;
    uint64_t number;
    uint64_t incarnation;
    uint32_t owner_epoch, zero;
    uint64_t move;
};

/* ---- writing: the head's number has to be what its kind wants ----
 * Errors of all:  PST_EFULL out_capacity is too small (PST_WIRE_SMALL_BYTES_MAX is enough but for frames and chunks), or the
 *                 message is longer than one may be; PST_EINVAL no reader would take it. Nothing of use is in `out` then. */
struct pst_wire_hello {
    uint32_t node, worker;
    char graph_name[PST_WIRE_NAME_BYTES_MAX + 1];
};
struct pst_wire_grant {
    uint64_t taken;
    uint32_t frame_count;
};
struct pst_wire_chunk {
    int64_t t;
    uint32_t parcel, index, count, byte_count;
    const void *bytes; /* read: within the message */
};
struct pst_wire_cut {
    uint64_t checkpoint, complete;
    int64_t time;
};

int pst_wire_hello_write(const struct pst_wire_head *head, const struct pst_wire_hello *hello, void *out,
                         size_t out_capacity, size_t *ret_bytes);
int pst_wire_watermark_write(const struct pst_wire_head *head, int64_t watermark, void *out, size_t out_capacity,
                             size_t *ret_bytes);
/* end: 1 the input's, 2 cut, as in enum end (runtime.h). */
int pst_wire_end_write(const struct pst_wire_head *head, uint8_t end, void *out, size_t out_capacity,
                       size_t *ret_bytes);
int pst_wire_grant_write(const struct pst_wire_head *head, const struct pst_wire_grant *grant, void *out,
                         size_t out_capacity, size_t *ret_bytes);
/* head->move: the version of frames that is read here. */
int pst_wire_resume_write(const struct pst_wire_head *head, uint64_t number, void *out, size_t out_capacity,
                          size_t *ret_bytes);
/* What stands before the bytes, which are sent from where they are. */
int pst_wire_chunk_head_write(const struct pst_wire_head *head, const struct pst_wire_chunk *chunk, void *out,
                              size_t out_capacity, size_t *ret_bytes);
int pst_wire_chunk_ack_write(const struct pst_wire_head *head, uint32_t parcel, uint32_t cost, void *out,
                             size_t out_capacity, size_t *ret_bytes);
int pst_wire_cut_write(const struct pst_wire_head *head, const struct pst_wire_cut *cut, void *out, size_t out_capacity,
                       size_t *ret_bytes);

/* ---- reading ----
 * Each takes a whole message of exactly byte_count bytes, of any alignment.
 * Errors of all:  PST_EDATA not well-formed, or not of this kind; PST_EABI of a newer version; PST_EFULL longer than
 *                 PST_WIRE_MESSAGE_BYTES_MAX. ret_... on PST_OK only. */
int pst_wire_head_read(const void *bytes, size_t byte_count, struct pst_wire_head *ret_head);
int pst_wire_hello_read(const void *bytes, size_t byte_count, struct pst_wire_hello *ret_hello);
int pst_wire_watermark_read(const void *bytes, size_t byte_count, int64_t *ret_watermark);
int pst_wire_end_read(const void *bytes, size_t byte_count, uint8_t *ret_end);
int pst_wire_grant_read(const void *bytes, size_t byte_count, struct pst_wire_grant *ret_grant);
int pst_wire_resume_read(const void *bytes, size_t byte_count, uint64_t *ret_number);
/* What is in the piece is for the lane to judge (lane.h); its bytes are borrowed from the message. */
int pst_wire_chunk_read(const void *bytes, size_t byte_count, struct pst_wire_chunk *ret_chunk);
int pst_wire_chunk_ack_read(const void *bytes, size_t byte_count, uint32_t *ret_parcel, uint32_t *ret_cost);
int pst_wire_cut_read(const void *bytes, size_t byte_count, struct pst_wire_cut *ret_cut);

/* ---- frames ---- */
/* What an edge's frames look like (struct edge). A column is a PST_TEXT where it has PST_TEXT_BYTES. */
struct pst_wire_shape {
    uint32_t column_count;
    const uint32_t *column_bytes; /* 4, 8 or PST_TEXT_BYTES */
    uint32_t bucket_mask;         /* keyed */
    bool keyed, numbered;
    /* keyed: which columns are the key's fields, in order, and what it is hashed with; 0: they are not all there */
    uint32_t key_count;
    uint32_t lead_bytes; /* of the key, that alone decide on the bucket; 0: all do */
    const uint32_t *key;
    const struct pst_hash_key *hash_key;
};
/* The columns of a frame (struct frame); what the shape has not is not looked at. */
struct pst_wire_columns {
    int64_t *time;
    uint64_t *hash;
    uint32_t *bucket;
    uint32_t *producer;
    uint64_t *number;
    void *const *columns;
};

/* Bytes of the columns in clear: what `scratch` has to have room for. */
size_t pst_wire_frame_clear_bytes(const struct pst_wire_shape *shape, uint32_t row_count);
/* The most that a frame of so many rows takes as a message, narrow or not; over PST_WIRE_MESSAGE_BYTES_MAX it cannot be written. */
size_t pst_wire_frame_bound(const struct pst_wire_shape *shape, uint32_t row_count);

/* scratch: NULL, or what LZ4 is tried with. `out` and `scratch` do not overlap.
 * Errors:  PST_EFULL out_capacity is below pst_wire_frame_bound(), scratch_bytes below pst_wire_frame_clear_bytes(); PST_EINVAL no
 *          row, or rows that break W3: they are found here, beside the operator that made them, not by the other node.
 * Cost:    one pass over the columns and one memcpy of each; with LZ4 that of packing, whether it saves anything or not. */
int pst_wire_frame_write(const struct pst_wire_head *head, const struct pst_wire_shape *shape,
                         const struct pst_wire_columns *columns, uint32_t row_count, int64_t watermark, void *scratch,
                         size_t scratch_bytes, void *out, size_t out_capacity, size_t *ret_bytes);

/* The same as a narrow frame. Hashes and buckets are those of the keys: they are not looked at.
 * Cost:    two passes over each column. Of a meter's row, keyed: 1.7 ns, and 4.7 ns for its reader, most of it for the hash; 8 bytes are
 *          sent of 44, and a byte takes two ns on its way through TLS and TCP (bench_wire, Zen 4 with AVX-512). */
int pst_wire_frame_narrow(const struct pst_wire_head *head, const struct pst_wire_shape *shape,
                          const struct pst_wire_columns *columns, uint32_t row_count, int64_t watermark, void *out,
                          size_t out_capacity, size_t *ret_bytes);

/* Reads a frame of either version into `columns`, each with room for rows_max rows. On an error they hold anything.
 * Errors:  PST_EFULL more rows than rows_max, or packed and scratch_bytes below its clear bytes. */
int pst_wire_frame_read(const void *bytes, size_t byte_count, const struct pst_wire_shape *shape,
                        const struct pst_wire_columns *columns, uint32_t rows_max, void *scratch, size_t scratch_bytes,
                        uint32_t *ret_row_count, int64_t *ret_watermark);

#endif
