/* enclave_shim/sealed.h - rows that are sealed from the user's side to the user's side: the format, who seals, who opens (docs/sealing.md).
 *
 * Holds:    the keys of one graph, the capsules that its edges carry, a writer and a reader of one edge, the key's release to a worker
 *           that has been attested.
 * Refuses:  files, the network, randomness, graphs: its caller draws salts, carries bytes, and knows who may have the key.
 * Thread:   a writer and a reader belong to one thread at a time.
 * Holds true:
 *   X1  no two capsules share key and nonce: a key is of one salt, a salt of one writer, and a writer counts
 *   X2  rows leave a reader once each, and only when a mark behind them has said that none of its buckets' is missing
 *   X3  who has no key learns of a capsule what its header says, and its length
 *
 * Two sides seal: the user's, rows of the source; an operator in its enclave, rows of its outputs. Two open: an operator, what it reads;
 * the user's, what a sink was given. An edge leads from an operator's output to another's input, and has a name of both:
 * "plug_load.1>house_load.0". A session is what one writer puts on one edge. Its first capsule is a mark, its last one a mark that ends it.
 *
 * A capsule: header, cipher text, 16 bytes tag; AES-256-GCM, the header is the associated data. The key is HKDF-SHA256(root of the
 * graph, salt, label and name of the edge), the nonce 4 bytes of zero and then the sequence. Little endian; a reader refuses a version it
 * does not know.
 *
 *    0 u32 magic "PSTF"      4 u16 version 1     6 u16 kind: 1 rows, 2 a mark
 *    8 u32 edge, its place among the graph's     12 u32 bucket of the reader; of a mark 0
 *   16 u64 sequence, from 0, of the session      24 u64 number: of this bucket's capsules, or of the marks, from 0
 *   32 i64 time: no row of it is below; of a mark: no row of the session that follows is below
 *   40 u32 rows             44 u32 body bytes    48 u32 flags of a mark: 1 the end, 2 it goes on from another session, 4 from several
 *   52 u32 zero             56 u8[32] salt       88 u64 zero
 *   96 cipher text, as many bytes as offset 44 says; then the tag
 *
 * Rows: event times, hashes (of keyed inputs), the columns in use, one after the other, each padded with zeros to a multiple of 8 bytes.
 * Mark: u64 rows so far, i64 end of the input (0 before the end), u64 sequence and u8[32] salt of the session that it goes on from
 * (else 0), u8[16] which stream of the user's it is or comes from, then a bit for each bucket of the producer that the session stands for
 * in words of 8 bytes, then for each bucket of the reader how many capsules it has been sent, u64; then, where it goes on from several, of
 * each but the first u64 sequence and u8[32] salt.
 *
 * Behind a cut the buckets of one session may be another's, or several others', each of which may go on from several: so each bucket is gone on
 * with once. From the first of them on nothing of the session before is taken; for buckets that nobody has gone on with it stands as it was. */
#ifndef PST_SEALED_H
#define PST_SEALED_H

#include "base/base.h"

enum {
    PST_CAPSULE_HEADER_BYTES = 96,
    PST_CAPSULE_TAG_BYTES = 16,
    PST_CAPSULE_BODY_BYTES_MAX = 48 * 1024,
    PST_CAPSULE_BYTES_MAX = PST_CAPSULE_HEADER_BYTES + PST_CAPSULE_BODY_BYTES_MAX + PST_CAPSULE_TAG_BYTES,
    PST_CAPSULE_SALT_BYTES = 32,
    PST_STREAM_ID_BYTES = 16,
    PST_SEALED_KEY_BYTES = 32,
    PST_SEALED_BUCKETS_MAX = 4096, /* PST_BUCKETS_MAX of the engine */
    PST_SEALED_COVER_WORDS = PST_SEALED_BUCKETS_MAX / 64,
    PST_SEALED_WHY_BYTES = 240,
    PST_SEALED_EDGES_MAX = 1024,
    PST_SEALED_ORIGINS_MAX = 256, /* sessions that one goes on from */
};
#define PST_CAPSULES_MAX (UINT64_C(1) << 31) /* of a session: under one key */

/* ---- capsules ---- */
typedef enum pst_capsule_kind { PST_CAPSULE_ROWS = 1, PST_CAPSULE_MARK = 2 } pst_capsule_kind;
enum { PST_CAPSULE_ENDS = 1, PST_CAPSULE_CONTINUES = 2, PST_CAPSULE_SEVERAL = 4 }; /* SEVERAL: with CONTINUES */
struct pst_capsule {
    uint32_t magic;
    uint16_t version, kind;
    uint32_t edge, bucket;
    uint64_t sequence, number;
    int64_t time;
    uint32_t row_count, body_bytes, flags, zero;
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    uint64_t zero2;
};
/* Reads the header at the beginning of so many bytes. It proves nothing about who wrote it.
 * PST_EAGAIN: the capsule goes on behind them. PST_EDATA: there is none; PST_EABI: of a newer version. */
int pst_capsule_read(const void *bytes, size_t byte_count, struct pst_capsule *ret_capsule);
static inline size_t pst_capsule_bytes(const struct pst_capsule *capsule)
{
    return (size_t)PST_CAPSULE_HEADER_BYTES + capsule->body_bytes + PST_CAPSULE_TAG_BYTES;
}

/* ---- keys ---- */
struct pst_sealed_keys { /* wiped by pst_sealed_keys_fini() */
    uint8_t root[PST_SEALED_KEY_BYTES];
    struct pst_hash_key hash; /* of keys to buckets */
};
/* What the user's key is for this graph: all that a worker is ever given. `graph` names what is sealed (32 bytes). PST_EINTERNAL. */
int pst_sealed_root(const uint8_t user_key[PST_SEALED_KEY_BYTES], const uint8_t graph[32],
                    uint8_t ret_root[PST_SEALED_KEY_BYTES]);
int pst_sealed_digest(const void *bytes, size_t byte_count, uint8_t ret_digest[32]); /* SHA-256. PST_EINTERNAL */
int pst_sealed_keys_init(struct pst_sealed_keys *keys, const uint8_t root[PST_SEALED_KEY_BYTES]);
void pst_sealed_keys_fini(struct pst_sealed_keys *keys);

/* ---- edges: the same for both ends. Borrowed by writers and readers until they are freed ---- */
struct pst_sealed_edge {
    const char *name;
    uint32_t number;
    uint32_t producer_bucket_count; /* of the operator that fills it; of a source 1 */
    uint32_t bucket_count;          /* of the reader; of a broadcast, a sink, an operator without a key 1 */
    bool keyed;
    uint32_t part_count; /* of a row: event time, hash where it is keyed, columns */
    uint32_t part_bytes[PST_FIELDS_MAX + 2];
};
uint32_t pst_sealed_row_bytes(const struct pst_sealed_edge *edge);

/* ---- a writer ---- */
struct pst_sealed_writer;
struct pst_sealed_writer_settings {
    const struct pst_sealed_keys *keys;
    const struct pst_sealed_edge *edge;
    const uint64_t *cover;                /* by bucket of the producer, a bit; NULL: all of them */
    uint8_t salt[PST_CAPSULE_SALT_BYTES]; /* drawn at random for this writer and for no other */
    uint8_t stream[PST_STREAM_ID_BYTES];  /* drawn by the user's side; the same on all edges that come of it */
    uint32_t rows_max;                    /* that are kept until they are sealed */
    /* Takes one capsule; an error ends the call. bytes are borrowed. */
    int (*emit)(void *emitter, const void *bytes, size_t byte_count);
    void *emitter;
};
int pst_sealed_writer_new(const struct pst_sealed_writer_settings *settings, struct pst_sealed_writer **ret_writer);
void pst_sealed_writer_free(struct pst_sealed_writer *writer);
/* Before the first mark: it goes on from the last mark of another session, and of each one that is said. PST_EFULL: they are more than
 * PST_SEALED_ORIGINS_MAX; PST_ENOMEM. */
int pst_sealed_writer_continue(struct pst_sealed_writer *writer, const uint8_t salt[PST_CAPSULE_SALT_BYTES],
                               uint64_t sequence);
/* Rows whose event times are not below the last mark. columns: as the edge's parts behind time and hash.
 * Errors: PST_EINVAL before the first mark; PST_ERANGE the key has sealed PST_CAPSULES_MAX; PST_EINTERNAL; emit's. */
int pst_sealed_writer_add(struct pst_sealed_writer *writer, uint32_t row_count, const int64_t *time,
                          const uint64_t *hash, const void *const *columns);
/* Seals what is kept, then says that no row below `watermark` follows; `ends`: none at all. input_end: of the end. */
int pst_sealed_writer_mark(struct pst_sealed_writer *writer, int64_t watermark, bool ends, int64_t input_end);

/* The session's salt, and which of its capsules was the last mark: what goes on from here goes on from that. */
void pst_sealed_writer_marked(const struct pst_sealed_writer *writer, uint8_t ret_salt[PST_CAPSULE_SALT_BYTES],
                              uint64_t *ret_sequence);

/* ---- a reader ---- */
struct pst_sealed_reader;
struct pst_sealed_reader_settings {
    const struct pst_sealed_keys *keys;
    const struct pst_sealed_edge *edge;
    const uint8_t *owned;    /* bit b: bucket b is read here; NULL: all are */
    uint64_t held_bytes_max; /* of rows that wait */
    uint32_t frame_rows;     /* that rows() gives at once, at most */
};
int pst_sealed_reader_new(const struct pst_sealed_reader_settings *settings, struct pst_sealed_reader **ret_reader);
void pst_sealed_reader_free(struct pst_sealed_reader *reader);
/* One whole capsule. PST_EREFUSED: it is not what comes next, or not what was sealed; PST_EFULL: more rows wait than may; PST_EABI;
 * PST_ENOMEM. `ret_why` is a sentence then, and nothing more is to be read. */
int pst_sealed_reader_take(struct pst_sealed_reader *reader, const void *bytes, size_t byte_count,
                           char ret_why[PST_SEALED_WHY_BYTES]);
int64_t pst_sealed_reader_watermark(const struct pst_sealed_reader *reader);     /* INT64_MIN: not known yet */
const uint8_t *pst_sealed_reader_stream(const struct pst_sealed_reader *reader); /* NULL: nothing has come yet */
bool pst_sealed_reader_ended(const struct pst_sealed_reader *reader);
int64_t pst_sealed_reader_input_end(const struct pst_sealed_reader *reader); /* of one that has ended */
int64_t pst_sealed_reader_first(const struct pst_sealed_reader *reader);     /* of rows that wait; INT64_MAX: none */
/* All rows below `limit` that were not given yet, in frames: parts as of the edge. `limit` is not above the watermark. */
int pst_sealed_reader_rows(struct pst_sealed_reader *reader, int64_t limit,
                           int (*take)(void *taker, uint32_t row_count, void *const *parts), void *taker);
/* How far a stream that lies in a file is, for whoever goes on with it: of the session that was marked last. */
struct pst_sealed_position {
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    uint8_t stream[PST_STREAM_ID_BYTES];
    uint64_t sequence;
    int64_t watermark;
    bool ended;
};
/* All that a reader knows, for one of the same edge that goes on in its place: rows are among it, so it is as secret as they are. Little
 * endian:
 *    0 u32 magic "PSTQ"   4 u32 sessions   8 u32 capsules whose rows wait   12 u32 1, a stream is known   16 u8[16] which   32 i64 floor
 * Session: u8[32] salt, u64 sequence, marks, sequence of the last mark, i64 watermark, end of the input, u32 1 ended | 2 over | 4 closed,
 * u32 zero, u64 words of the cover, u64 capsules by bucket. Capsule: u32 session, rows, rows given, zero, u64 sequence, body as it was. */
int pst_sealed_reader_save(const struct pst_sealed_reader *reader, struct pst_text *text); /* PST_ENOMEM */
/* Into a new one, or beside what other readers of the edge have saved at the same cut; *ret_used: how many of the bytes. from: bit b: of
 * bucket b what this one had counts; NULL: of all of them. What it has had is then left out when it comes again, and no more is said.
 * PST_EDATA: it is nothing of this edge's; PST_EREFUSED: it was not where the others were; PST_EFULL: more rows wait than may;
 * PST_ENOMEM. */
int pst_sealed_reader_load(struct pst_sealed_reader *reader, const uint8_t *bytes, size_t byte_count,
                           const uint8_t *from, size_t *ret_used);
bool pst_sealed_reader_position(const struct pst_sealed_reader *reader, struct pst_sealed_position *ret_position);

/* ---- the key's release ----
 * A worker draws an X25519 key, whose public half is in its evidence. Who has the user's key checks the evidence (evidence.h), then
 * seals the graph's root for that half alone. A release, 120 bytes:
 *    0 u32 magic "PSTR"     4 u32 version 2     8 u8[32] X25519 key of the releasing side, drawn for this release
 *   40 u8[32] SHA-256 of the evidence
 *   72 u8[32] the root, sealed                104 u8[16] tag
 * AES-256-GCM under HKDF-SHA256(shared secret, salt: the evidence's hash, info: a label, both public keys and which graph the root is of),
 * nonce zero: a key seals once. The header is the associated data. The worker takes the graph from its configuration, so from what was
 * measured: a host that asks in the name of another graph gets a release that does not open. */
enum { PST_RELEASE_BYTES = 120, PST_CHANNEL_KEY_BYTES = 32 };
int pst_channel_key_public(const uint8_t secret[PST_CHANNEL_KEY_BYTES], uint8_t ret_public[PST_CHANNEL_KEY_BYTES]);
/* own: a secret drawn for this release and for no other. PST_EDATA: the worker's key is none; PST_EINTERNAL. */
int pst_release_seal(const uint8_t root[PST_SEALED_KEY_BYTES], const uint8_t graph[32],
                     const uint8_t own[PST_CHANNEL_KEY_BYTES], const uint8_t worker_public[PST_CHANNEL_KEY_BYTES],
                     const uint8_t evidence_digest[32], uint8_t ret_release[PST_RELEASE_BYTES]);
/* The worker's side. PST_EREFUSED: it is none for this worker, or of another graph. */
int pst_release_open(const uint8_t *bytes, size_t byte_count, const uint8_t graph[32],
                     const uint8_t secret[PST_CHANNEL_KEY_BYTES], uint8_t ret_root[PST_SEALED_KEY_BYTES]);

#endif
