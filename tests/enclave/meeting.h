/* meeting.h - nodes of an authority, as workers that meet are shown them: keys, certificates, evidence. For tests. */
#ifndef PST_TEST_MEETING_H
#define PST_TEST_MEETING_H

#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/inside/peer.h"

struct meeting_node {
    uint8_t key[32]; /* of Ed25519, the secret one */
    uint8_t certificate[PST_PEER_CERTIFICATE_BYTES_MAX];
    uint32_t certificate_bytes;
};
void meeting_authority(uint8_t of, uint8_t ret_public[32]); /* `of`: its secret key is so many times this byte */
void meeting_node_make(struct meeting_node *node, uint8_t of, uint8_t authority); /* the same */
/* A body of PEER. Evidence as evidence.h has it, each signed by its node; NULL: what is there already is left. */
void meeting_evidence(const struct meeting_node *node, struct pst_process_evidence *evidence,
                      uint8_t ret_bytes[PST_PEER_EVIDENCE_BYTES]);

#endif
