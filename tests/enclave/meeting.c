/* meeting.c - see meeting.h. */
#include "meeting.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static EVP_PKEY *key_of(uint8_t of)
{
    uint8_t secret[32];
    memset(secret, of, sizeof secret);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof secret);
    if (key == NULL)
        abort();
    return key;
}

void meeting_authority(uint8_t of, uint8_t ret_public[32])
{
    size_t bytes = 32;
    EVP_PKEY *key = key_of(of);
    if (EVP_PKEY_get_raw_public_key(key, ret_public, &bytes) != 1)
        abort();
    EVP_PKEY_free(key);
}

void meeting_node_make(struct meeting_node *node, uint8_t of, uint8_t authority)
{
    EVP_PKEY *key = key_of(of), *signs = key_of(authority);
    X509 *certificate = X509_new();
    uint8_t *at = node->certificate;
    memset(node->key, of, sizeof node->key);
    bool good = certificate != NULL && X509_set_version(certificate, 2) == 1 &&
                ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1000000) == 1 &&
                X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                           (const uint8_t *)"a node", -1, -1, 0) == 1 &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL &&
                X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL &&
                X509_set_pubkey(certificate, key) == 1 && X509_sign(certificate, signs, NULL) != 0;
    int bytes = good ? i2d_X509(certificate, NULL) : 0;
    if (bytes <= 0 || bytes > (int)sizeof node->certificate || i2d_X509(certificate, &at) != bytes)
        abort();
    node->certificate_bytes = (uint32_t)bytes;
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signs);
}

void meeting_evidence(const struct meeting_node *node, struct pst_process_evidence *evidence,
                      uint8_t ret_bytes[PST_PEER_EVIDENCE_BYTES])
{
    if (pst_process_evidence_sign(evidence, node->key, ret_bytes) != PST_OK)
        abort();
}
