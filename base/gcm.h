/* base/gcm.h - AES-256-GCM of one key, for messages that may lie where somebody else writes.
 * A header of its own beside base.h: who seals what others carry opens it.
 *
 * Two fillings, which come to the same bytes: Intel's library for IPsec where the processor has AVX-512 and VAES, else OpenSSL. The first takes
 * 50 ns for 88 bytes and 1.3 us for 16 KiB, where OpenSSL 3.0 takes 300 ns and 3.7 us (Sapphire Rapids).
 * Holds true:
 *   G1  a byte of `in` is read once when it is opened: what comes out is what the tag was made for, or nothing, whoever writes there meanwhile
 *   G2  nothing of what pst_gcm_seal_out() has written is read by it
 *   G3  time and the places that are touched depend on numbers of bytes alone
 */
#ifndef PST_GCM_H
#define PST_GCM_H

#include "operators/operator.h"

#include <stdint.h>

enum { PST_GCM_KEY_BYTES = 32, PST_GCM_NONCE_BYTES = 12, PST_GCM_TAG_BYTES = 16 };
#define PST_GCM_BYTES_MAX (UINT32_C(1) << 30) /* of a message */

struct pst_gcm;
/* The key is copied; freeing wipes it. PST_ENOMEM; PST_EINTERNAL. Thread: one at a time. */
int pst_gcm_new(const uint8_t key[PST_GCM_KEY_BYTES], struct pst_gcm **ret_gcm);
/* The same by OpenSSL, for tests. */
int pst_gcm_new_plain(const uint8_t key[PST_GCM_KEY_BYTES], struct pst_gcm **ret_gcm);
void pst_gcm_free(struct pst_gcm *gcm);

/* What stands beside a message, and is authenticated with it. All of it is borrowed, and nobody else's to write. */
struct pst_gcm_head {
    const uint8_t *nonce; /* PST_GCM_NONCE_BYTES */
    const void *data;
    uint32_t data_bytes;
};
/* out, ret_tag: this side's own; out may be `in`. PST_EINTERNAL. */
int pst_gcm_seal(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                 uint8_t *out, uint8_t *ret_tag);
/* The same where out and ret_tag are others' to write and read (G2); `in` is used up: it holds anything afterwards. */
int pst_gcm_seal_out(struct pst_gcm *gcm, const struct pst_gcm_head *head, uint8_t *in, uint32_t byte_count,
                     uint8_t *out, uint8_t *ret_tag);
/* in, tag: may be anybody's. out: this side's own; it may be `in`. PST_EREFUSED: it does not open, and `out` is zero; PST_EINTERNAL. */
int pst_gcm_open(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                 const uint8_t *tag, uint8_t *out);

#endif
