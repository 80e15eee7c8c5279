/* base/gcm_vaes.h - the filling of gcm.h for processors with AVX-512, VAES and VPCLMULQDQ. Inside the room. */
#ifndef PST_GCM_VAES_H
#define PST_GCM_VAES_H

#include "base/gcm.h"

#include <stdbool.h>

enum {
    PST_GCM_ROUNDS = 15, /* keys of them: of AES-256 */
    PST_GCM_POWERS = 16, /* of the hash's key: so many blocks are hashed at once */
};
struct pst_gcm_vaes {
    _Alignas(64) uint8_t round[PST_GCM_ROUNDS][16];
    _Alignas(64) uint8_t power[PST_GCM_POWERS + 3][16]; /* the highest first; zeros behind the last */
};
bool pst_gcm_vaes_works(void); /* the others are for processors on which it does */
void pst_gcm_vaes_init(struct pst_gcm_vaes *key, const uint8_t bytes[PST_GCM_KEY_BYTES]);
void pst_gcm_vaes_seal(const struct pst_gcm_vaes *key, const struct pst_gcm_head *head, const uint8_t *in,
                       uint32_t byte_count, uint8_t *out, uint8_t ret_tag[PST_GCM_TAG_BYTES]);
/* ret_tag: what it would have to be. */
void pst_gcm_vaes_open(const struct pst_gcm_vaes *key, const struct pst_gcm_head *head, const uint8_t *in,
                       uint32_t byte_count, uint8_t *out, uint8_t ret_tag[PST_GCM_TAG_BYTES]);

#endif
