/* peer.c - see peer.h. */
#include "enclave_shim/common/peer.h"

#include <openssl/evp.h>
#include <string.h>

#define MEETING_LABEL "penstock meeting 1"
enum { LABEL_BYTES = sizeof MEETING_LABEL - 1 };

int pst_peer_meeting_digest(const struct pst_enclave_meeting *meeting, bool gives,
                            const uint8_t config[PST_CONFIG_DIGEST_BYTES], uint8_t ret_digest[PST_PEER_DIGEST_BYTES])
{
    uint8_t bytes[LABEL_BYTES + 2 * sizeof(uint64_t) + 1 + PST_CONFIG_DIGEST_BYTES], *at = bytes;
    memcpy(at, MEETING_LABEL, LABEL_BYTES);
    memcpy(at += LABEL_BYTES, &meeting->incarnation, sizeof meeting->incarnation);
    memcpy(at += sizeof meeting->incarnation, &meeting->move, sizeof meeting->move);
    at += sizeof meeting->move;
    *at++ = gives ? 'g' : 't';
    memcpy(at, config, PST_CONFIG_DIGEST_BYTES);
    return EVP_Digest(bytes, sizeof bytes, ret_digest, NULL, EVP_sha256(), NULL) == 1 ? PST_OK : PST_EINTERNAL;
}
