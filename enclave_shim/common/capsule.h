/* common/capsule.h - what writers and readers of capsules share: the cipher of a session, the shape of a body. Inside the room. */
#ifndef PST_ENCLAVE_CAPSULE_H
#define PST_ENCLAVE_CAPSULE_H

#include "enclave_shim/common/message.h"
#include "enclave_shim/sealed.h"

struct pst_gcm; /* base/gcm.h */

/* HKDF-SHA256, extract and expand. PST_ENOMEM, PST_EINTERNAL. */
int pst_hkdf(const uint8_t key[PST_SEALED_KEY_BYTES], const uint8_t *salt, size_t salt_bytes, const void *info,
             size_t info_bytes, uint8_t *ret_bytes, size_t byte_count);
/* X25519 of a secret and another one's public key. PST_EDATA: that is none. */
int pst_channel_secret(const uint8_t own[PST_CHANNEL_KEY_BYTES], const uint8_t others[PST_CHANNEL_KEY_BYTES],
                       uint8_t ret_secret[PST_SEALED_KEY_BYTES]);
/* Of one session of one edge, to seal or to open with; to be freed by pst_gcm_free(). */
int pst_capsule_cipher(const struct pst_sealed_keys *keys, const struct pst_sealed_edge *edge,
                       const uint8_t salt[PST_CAPSULE_SALT_BYTES], struct pst_gcm **ret_cipher);
/* In place: header, body, room for the tag behind it. */
int pst_capsule_seal(struct pst_gcm *cipher, uint8_t *capsule);
/* clear: the body's bytes. PST_EREFUSED, and nothing of it is left there. */
int pst_capsule_open(struct pst_gcm *cipher, const uint8_t *capsule, uint8_t *clear);

/* Of a mark's body. */
struct pst_mark {
    uint64_t rows;
    int64_t input_end;
    uint64_t sequence;
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    uint8_t stream[PST_STREAM_ID_BYTES];
};
static_assert(sizeof(struct pst_mark) == 72, "mark layout");
static inline uint32_t pst_cover_words(uint32_t producer_bucket_count) { return (producer_bucket_count + 63) / 64; }
static inline uint32_t pst_mark_bytes(const struct pst_sealed_edge *edge)
{
    return (uint32_t)(sizeof(struct pst_mark) +
                      ((size_t)pst_cover_words(edge->producer_bucket_count) + edge->bucket_count) * sizeof(uint64_t));
}
enum {
    PST_ORIGIN_BYTES = 8 + PST_CAPSULE_SALT_BYTES
}; /* behind it, of each session that it goes on from, but of the first */
static_assert(sizeof(struct pst_mark) + (PST_SEALED_COVER_WORDS + PST_SEALED_BUCKETS_MAX) * sizeof(uint64_t) +
                      (PST_SEALED_ORIGINS_MAX - 1) * (size_t)PST_ORIGIN_BYTES <=
                  PST_CAPSULE_BODY_BYTES_MAX,
              "a mark fits");

/* Buckets 1 to PST_SEALED_BUCKETS_MAX, the reader's a power of two; parts as pst_shape_add() takes them. */
bool pst_sealed_edge_valid(const struct pst_sealed_edge *edge);
void pst_sealed_edge_shape(const struct pst_sealed_edge *edge, struct pst_shape *ret_shape);

#endif
