/* state/seal.h - state outside the memory that works on it: sealed, bound to its place, refused when anything about it changed.
 *
 * Holds:    keys in memory that is neither swapped nor dumped (struct pst_secret), the keys and counters of one incarnation
 *           (struct pst_sealer), the bytes of a sealed piece.
 * Refuses:  files, sockets, randomness: the caller draws incarnations and master keys from its world, and carries bytes.
 * Thread:   a sealer belongs to one thread at a time, a secret may be read by several.
 * Holds true:
 *   L1  no two seals share key and nonce: the argument stands in seal.c
 *   L2  a piece opens for the graph, operator, bucket, structure, kind, number and version it was sealed for, and no other
 *   L3  nothing of the clear text is left in the caller's buffer when a piece does not open
 *
 * A sealed piece: header, cipher text, 16 bytes tag. AES-256-GCM; the associated data are the graph's digest, the length (u32)
 * and bytes of the operator's id, and the header. Little endian; a reader refuses a version it does not know.
 *
 *    0 u32 magic "PSTS"    4 u16 version 1    6 u16 flags: bit 0 LZ4, no other
 *    8 u32 bucket         12 u16 structure   14 u16 kind, of the caller's choice: pst_page_kind for pages
 *   16 u64 number         24 u64 version of the page, as the caller counts
 *   32 u64 counter of seals under this key: the nonce is 4 bytes of zero and then this
 *   40 u32 clear bytes    44 u32 packed bytes: of the LZ4 block; without LZ4 the clear bytes
 *   48 u32 sealed bytes: the packed bytes with zeros up to a size class     52 u32 zero     56 u64 zero
 *   64 cipher text, as many bytes as offset 48 says; then the tag
 *
 * Who holds a sealed piece without its key sees its header: its place, and how large it is in clear. With LZ4 also the class of
 * the packed size (pst_seal_class(): four to a power of two), so how well the content packs, to a quarter. Where
 * somebody else chooses part of the content and sees many sizes, that can tell about the rest: do not compress there.
 */
#ifndef PST_SEAL_H
#define PST_SEAL_H

#include "base/base.h"

enum {
    PST_SECRET_BYTES = 32,
    PST_SECRET_ID_BYTES = 8,
    PST_GRAPH_DIGEST_BYTES = 32,
    PST_INCARNATION_BYTES = 32,
    PST_SEAL_HEADER_BYTES = 64,
    PST_SEAL_TAG_BYTES = 16,
    PST_SEAL_CLASS_BYTES_MIN = 256,
    PST_SEAL_CLEAR_BYTES_MAX = 1 << 30,
    PST_SEAL_ID_BYTES_MAX = 255, /* of an operator */
};
#define PST_SEALS_MAX (UINT64_C(1) << 31) /* under one key */

/* ---- secrets ---- */
/* 32 bytes in pages of their own: locked, left out of core dumps, zero in a child process, wiped when freed. */
struct pst_secret;
int pst_secret_new(struct pst_secret **ret_secret); /* zeros, for the caller to fill. PST_ENOMEM */
void pst_secret_free(struct pst_secret *secret);
uint8_t *pst_secret_bytes(const struct pst_secret *secret); /* PST_SECRET_BYTES of them, until it is freed */
/* False: the system did not lock the pages (RLIMIT_MEMLOCK), so they may reach swap. For the caller to say, once. */
bool pst_secret_locked(const struct pst_secret *secret);
bool pst_secret_is_ours(const struct pst_secret *secret); /* false: a child has inherited it, and its bytes are gone */
/* Names a key and tells nothing about it: the first bytes of SHA-256("penstock key id 1" || key). PST_ENOMEM. */
int pst_secret_id(const struct pst_secret *secret, uint8_t ret_id[PST_SECRET_ID_BYTES]);
/* Another secret, of one operator of a graph for one use, by HKDF: whoever has it learns nothing of `from`. label: of the use.
 * Errors: PST_EINVAL the id is empty or too long, PST_ENOMEM, PST_EINTERNAL. */
int pst_secret_derive(const struct pst_secret *from, const char *label, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                      const char *operator_id, struct pst_secret **ret_secret);

/* ---- sealers ---- */
typedef enum pst_seal_purpose {
    PST_SEAL_SPILL = 1,
    PST_SEAL_CHECKPOINT = 2,
    PST_SEAL_TRANSFER = 3,
    PST_SEAL_MANIFEST = 4,
} pst_seal_purpose;

struct pst_seal_place {
    uint32_t bucket;
    uint16_t structure, kind;
    uint64_t number, version;
};

struct pst_sealer;

/* One incarnation of one purpose of one graph. `incarnation`: 256 bits that the caller has drawn at random for this very sealer
 * and for no other, and stores in clear beside what it seals. operator_ids[i] has bucket_counts[i] buckets, at least 1; its place
 * in the list means nothing: keys depend on the id. Nothing is borrowed; `master` may be freed when this returns.
 * Errors:  PST_EINVAL an id empty, too long or there twice, no bucket, an unknown purpose; PST_ENOMEM; PST_EINTERNAL the
 *          library does not do what it has to.
 * Cost:    4 bytes a bucket and two locked pages; a key takes some microseconds at its first use, and the contexts of at most
 *          1024 keys are kept. */
int pst_sealer_new(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                   pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES], uint32_t operator_count,
                   const char *const *operator_ids, const uint32_t *bucket_counts, struct pst_sealer **ret_sealer);
/* The same for what an earlier incarnation has sealed: it opens, and refuses to seal. */
int pst_sealer_new_to_open(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                           pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES],
                           uint32_t operator_count, const char *const *operator_ids, const uint32_t *bucket_counts,
                           struct pst_sealer **ret_sealer);
void pst_sealer_free(struct pst_sealer *sealer);
/* Gives back the memory of keys in use; they are derived again when they are wanted. Their counters stay (L1). */
void pst_sealer_forget(struct pst_sealer *sealer);

/* Bytes of cipher text that n bytes of packed text become: n rounded up to a quarter of the power of two at or below it. */
uint32_t pst_seal_class(uint32_t packed_bytes);
/* The most that pst_seal() writes: header, class and tag. */
size_t pst_seal_bound(uint32_t clear_bytes);

/* Seals clear_bytes (0..PST_SEAL_CLEAR_BYTES_MAX) into `out`. compress: LZ4, where that saves a class.
 * `clear` and `out` do not overlap. A seal that fails has used up its nonce: sealing again is always right.
 * Errors:  PST_EFULL out_capacity is below pst_seal_bound(clear_bytes); PST_ENOMEM; PST_EREFUSED this key has sealed
 *          PST_SEALS_MAX pieces (go on with a new sealer of a new incarnation), the sealer is one to open, or this process is a
 *          child that has inherited it. */
int pst_seal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *place, bool compress,
             const void *clear, uint32_t clear_bytes, void *out, size_t out_capacity, size_t *ret_bytes);

/* Opens a piece of exactly sealed_bytes that must have been sealed for `expected`. `sealed` and `clear` do not overlap.
 * Errors:  PST_EREFUSED it is not what was sealed there, or is more than clear_capacity; PST_EABI a newer format; PST_ENOMEM;
 *          PST_EINTERNAL. */
int pst_unseal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *expected,
               const void *sealed, size_t sealed_bytes, void *clear, uint32_t clear_capacity,
               uint32_t *ret_clear_bytes);

/* ---- the header ---- */
enum { PST_SEAL_FLAG_LZ4 = 1 };
struct pst_seal_header {
    uint32_t magic;
    uint16_t version, flags;
    uint32_t bucket;
    uint16_t structure, kind;
    uint64_t number, page_version;
    uint64_t counter;
    uint32_t clear_bytes, packed_bytes;
    uint32_t sealed_bytes, zero;
    uint64_t zero2;
};

/* Reads the header of a piece of exactly sealed_bytes, and checks that it is one that pst_seal() can have written: all sizes
 * agree. It proves nothing about who wrote it. PST_EREFUSED, PST_EABI. */
int pst_seal_header_read(const void *sealed, size_t sealed_bytes, struct pst_seal_header *ret_header);

#endif
