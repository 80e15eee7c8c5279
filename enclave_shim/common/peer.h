/* common/peer.h - two workers of one operator meet, so that buckets can go from the one to the other: what both sides of the border know
 * of it. Inside the room.
 *
 * Each worker offers a key and a nonce (OFFER). Its host makes evidence of it (`process` in evidence.h) in which stand
 *     channel_key   the key that it offers
 *     nonce         0 u8[32] the nonce that the other one offers    32 u8[32] what the meeting is: pst_peer_meeting_digest()
 * and the hosts bring each other's to their workers (PEER). A worker looks at both, and takes from X25519 of the two keys, with both pieces
 * of evidence hashed in, what the buckets are sealed with. An offer is good for one meeting, whatever becomes of it.
 *
 * Body of PEER: 0 u8[256] the worker's own evidence    256 u8[256] the other one's    512 certificate of the other one's node, DER */
#ifndef PST_ENCLAVE_PEER_H
#define PST_ENCLAVE_PEER_H

#include "enclave_shim/common/message.h"
#include "enclave_shim/enclave_shim.h"

enum { PST_PEER_DIGEST_BYTES = 32, PST_PEER_HEADS_BYTES = 2 * PST_PEER_EVIDENCE_BYTES };

/* Of the evidence of the one that gives buckets away, or that takes them: so neither can be shown as the other's. `config`: SHA-256 of the
 * configuration. PST_EINTERNAL. */
int pst_peer_meeting_digest(const struct pst_enclave_meeting *meeting, bool gives,
                            const uint8_t config[PST_CONFIG_DIGEST_BYTES], uint8_t ret_digest[PST_PEER_DIGEST_BYTES]);

#endif
