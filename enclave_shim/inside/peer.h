/* inside/peer.h - is the other one a worker as this one is? What its host shows of it is looked at here, and by nobody else (common/peer.h
 * has what is shown). Inside the room.
 *
 * Holds true:
 *   R1  keys come of a meeting only where the other one's evidence is signed by a node of the authority that the configuration names, is of
 *       the same measurement, protects from no less, can be debugged no more than its own, which is not at all, and was made for this offer,
 *       this move and its side of it
 *   R2  the keys are of both keys, both pieces of evidence, the move and the configuration: where the two do not have all of these alike,
 *       what one has sealed does not open at the other
 * With evidence of software that is as much as the nodes' word is worth: whoever has a node's key can have it say anything. */
#ifndef PST_ENCLAVE_INSIDE_PEER_H
#define PST_ENCLAVE_INSIDE_PEER_H

#include "enclave_shim/common/peer.h"

enum { PST_PEER_KEY_BYTES = PST_ENCLAVE_AUTHORITY_BYTES };

/* The key of a certificate. PST_EDATA: it is none, or none for Ed25519; PST_EREFUSED: the authority has not signed it. */
int pst_certificate_key(const uint8_t *bytes, size_t byte_count, const uint8_t authority[PST_PEER_KEY_BYTES],
                        uint8_t ret_key[PST_PEER_KEY_BYTES]);

struct pst_peer_self { /* borrowed */
    const struct pst_enclave_meeting *meeting;
    const uint8_t *authority;                    /* PST_PEER_KEY_BYTES */
    const uint8_t *config;                       /* its digest */
    const uint8_t *secret, *channel_key, *nonce; /* of the offer; 32 bytes each */
};
struct pst_peer_keys {
    uint8_t transfer[32], incarnation[32], digests[32];
};
/* A body of PEER, of whatever bytes. PST_EREFUSED: *ret_why is a sentence. PST_EINTERNAL. */
int pst_peer_meet(const struct pst_peer_self *self, const uint8_t *body, size_t byte_count,
                  struct pst_peer_keys *ret_keys, const char **ret_why);

#endif
