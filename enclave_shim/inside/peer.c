/* peer.c - see peer.h. */
#include "enclave_shim/inside/peer.h"

#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/common/capsule.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define KEYS_LABEL "penstock transfer keys 1"

static_assert((int)PST_PEER_EVIDENCE_BYTES == PST_PROCESS_EVIDENCE_BYTES, "the same bytes");

static bool same(const uint8_t *a, const uint8_t *b, size_t byte_count) { return CRYPTO_memcmp(a, b, byte_count) == 0; }

static bool fits_meeting(const struct pst_peer_self *self, const struct pst_process_evidence *evidence, bool gives)
{
    uint8_t digest[PST_PEER_DIGEST_BYTES];
    return pst_peer_meeting_digest(self->meeting, gives, self->config, digest) == PST_OK &&
           same(evidence->nonce + PST_PEER_DIGEST_BYTES, digest, sizeof digest);
}

/* What the host says of this worker is what the other one's is compared with. There is one flag, for debugging, and whatever others come: a
 * host that could set them for its own worker would have the other one's allowed. */
static const char *own_fault(const struct pst_peer_self *self, const uint8_t *bytes, struct pst_process_evidence *own)
{
    const char *why;
    if (pst_process_evidence_parse(bytes, PST_PEER_EVIDENCE_BYTES, own, &why) != PST_OK)
        return "its own evidence is none";
    if (!pst_process_evidence_signed(bytes))
        return "its own evidence is not signed by the node that it names";
    if (!same(own->channel_key, self->channel_key, sizeof own->channel_key))
        return "its own evidence is of another key";
    if (own->flags != 0)
        return "its own evidence is of a worker that can be debugged";
    return fits_meeting(self, own, self->meeting->gives) ? NULL : "its own evidence is for another move";
}

static const char *others_fault(const struct pst_peer_self *self, const uint8_t *body, size_t byte_count,
                                const struct pst_process_evidence *own, struct pst_process_evidence *others)
{
    const uint8_t *bytes = body + PST_PEER_EVIDENCE_BYTES, *certificate = body + PST_PEER_HEADS_BYTES;
    uint8_t node_key[PST_PEER_KEY_BYTES];
    const char *why;
    if (pst_process_evidence_parse(bytes, PST_PEER_EVIDENCE_BYTES, others, &why) != PST_OK)
        return "the other worker's evidence is none of the backend `process`";
    int rc = pst_certificate_key(certificate, byte_count - PST_PEER_HEADS_BYTES, self->authority, node_key);
    if (rc == PST_EREFUSED)
        return "the other worker's node has no certificate of the authority";
    if (rc != PST_OK)
        return "the other worker's node has no certificate for an Ed25519 key";
    if (!same(others->node_key, node_key, sizeof node_key))
        return "the other worker's evidence is signed by another node than the certificate's";
    if (!pst_process_evidence_signed(bytes))
        return "the other worker's evidence is not what its node has signed";
    if (!same(others->nonce, self->nonce, PST_PEER_DIGEST_BYTES))
        return "the other worker's evidence is for another nonce";
    if (!fits_meeting(self, others, !self->meeting->gives))
        return "the other worker's evidence is for another move, or for another side of it";
    if (!same(others->measurement, own->measurement, sizeof own->measurement))
        return "the other worker is of another measurement";
    if (others->flags != 0)
        return "the other worker can be debugged";
    if ((others->capabilities & own->capabilities) != own->capabilities)
        return "the other worker protects from less than this one";
    return same(others->channel_key, own->channel_key, sizeof own->channel_key) ? "the other worker is this one" : NULL;
}

static int keys_make(const struct pst_peer_self *self, const uint8_t *body, const uint8_t others_key[32],
                     struct pst_peer_keys *ret_keys)
{
    enum { LABEL = sizeof KEYS_LABEL - 1, EVIDENCE = PST_PEER_EVIDENCE_BYTES };
    const struct pst_enclave_meeting *meeting = self->meeting;
    uint8_t both[PST_PEER_HEADS_BYTES], salt[32], shared[32], info[LABEL + 16 + PST_CONFIG_DIGEST_BYTES];
    memcpy(both, body + (meeting->gives ? 0 : EVIDENCE), EVIDENCE); /* the giver's first */
    memcpy(both + EVIDENCE, body + (meeting->gives ? EVIDENCE : 0), EVIDENCE);
    memcpy(info, KEYS_LABEL, LABEL);
    memcpy(info + LABEL, &meeting->incarnation, 8);
    memcpy(info + LABEL + 8, &meeting->move, 8);
    memcpy(info + LABEL + 16, self->config, PST_CONFIG_DIGEST_BYTES);
    int rc = EVP_Digest(both, sizeof both, salt, NULL, EVP_sha256(), NULL) == 1 ? PST_OK : PST_EINTERNAL;
    if (rc == PST_OK)
        rc = pst_channel_secret(self->secret, others_key, shared);
    if (rc == PST_OK)
        rc = pst_hkdf(shared, salt, sizeof salt, info, sizeof info, (uint8_t *)ret_keys, sizeof *ret_keys);
    OPENSSL_cleanse(shared, sizeof shared);
    return rc;
}

int pst_peer_meet(const struct pst_peer_self *self, const uint8_t *body, size_t byte_count,
                  struct pst_peer_keys *ret_keys, const char **ret_why)
{
    struct pst_process_evidence own, others;
    if (byte_count <= PST_PEER_HEADS_BYTES || byte_count > PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX) {
        *ret_why = "what was shown of the other worker is too little or too much";
        return PST_EREFUSED;
    }
    const char *fault = own_fault(self, body, &own);
    if (fault == NULL)
        fault = others_fault(self, body, byte_count, &own, &others);
    int rc = fault == NULL ? keys_make(self, body, others.channel_key, ret_keys) : PST_EREFUSED;
    if (rc == PST_EDATA) {
        fault = "the other worker's key is none";
        rc = PST_EREFUSED;
    }
    *ret_why = fault != NULL ? fault : pst_error_sentence(rc);
    return rc;
}
