/* certificate.c - see peer.h: of a certificate (X.509, DER) the key that it is for, where the authority has signed it. Ed25519 on both
 * sides, as `penstock tls` makes them. No more of it is looked at: dates need a clock, and a worker has none.
 *
 *   Certificate  SEQUENCE { TBSCertificate, SEQUENCE { OID Ed25519 }, BIT STRING signature }
 *   TBS          SEQUENCE { [0] version?, INTEGER serial, SEQUENCE { OID }, SEQUENCE issuer, SEQUENCE validity, SEQUENCE subject,
 *                           SEQUENCE { SEQUENCE { OID Ed25519 }, BIT STRING key }, more } */
#include "enclave_shim/inside/peer.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

enum { SEQUENCE = 0x30, INTEGER = 0x02, BITS = 0x03, VERSION = 0xa0, SIGNATURE_BYTES = 64 };

struct der { /* what is left of it */
    const uint8_t *at, *end;
};

/* The next value, if it is of this tag; *ret_whole: with tag and length. Lengths are written in one way alone. */
static bool der_next(struct der *der, uint8_t tag, struct der *ret_value, struct der *ret_whole)
{
    const uint8_t *at = der->at;
    size_t left = (size_t)(der->end - at), count, head = 2;
    if (left < 2 || at[0] != tag)
        return false;
    count = at[1];
    if (count == 0x81 && left >= 3 && at[2] >= 0x80) {
        count = at[2];
        head = 3;
    } else if (count == 0x82 && left >= 4 && at[2] != 0) {
        count = (size_t)at[2] << 8 | at[3];
        head = 4;
    } else if (count >= 0x80) {
        return false;
    }
    if (count > left - head)
        return false;
    *ret_value = (struct der){at + head, at + head + count};
    *ret_whole = (struct der){at, at + head + count};
    der->at = at + head + count;
    return true;
}

static bool der_skip(struct der *der, uint8_t tag)
{
    struct der value, whole;
    return der_next(der, tag, &value, &whole);
}

/* Exactly these bytes. */
static bool der_is(struct der *der, const uint8_t *bytes, size_t count)
{
    if ((size_t)(der->end - der->at) < count || memcmp(der->at, bytes, count) != 0)
        return false;
    der->at += count;
    return true;
}

static const uint8_t ed25519[] = {SEQUENCE, 5, 6, 3, 0x2b, 0x65, 0x70};

/* NULL: it is of another kind. */
static const uint8_t *subject_key(struct der tbs)
{
    struct der info, whole;
    static const uint8_t bits[] = {BITS, 1 + PST_PEER_KEY_BYTES, 0};
    if (tbs.at != tbs.end && *tbs.at == VERSION && !der_skip(&tbs, VERSION))
        return NULL;
    if (!der_skip(&tbs, INTEGER))
        return NULL;
    for (int i = 0; i < 4; i++) /* algorithm, issuer, validity, subject */
        if (!der_skip(&tbs, SEQUENCE))
            return NULL;
    if (!der_next(&tbs, SEQUENCE, &info, &whole) || !der_is(&info, ed25519, sizeof ed25519) ||
        !der_is(&info, bits, sizeof bits) || (size_t)(info.end - info.at) != PST_PEER_KEY_BYTES)
        return NULL;
    return info.at;
}

static bool is_signed(const struct der *bytes, const uint8_t signature[SIGNATURE_BYTES],
                      const uint8_t key[PST_PEER_KEY_BYTES])
{
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, PST_PEER_KEY_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = public != NULL && context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, public) == 1 &&
                EVP_DigestVerify(context, signature, SIGNATURE_BYTES, bytes->at, (size_t)(bytes->end - bytes->at)) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(public);
    ERR_clear_error();
    return good;
}

int pst_certificate_key(const uint8_t *bytes, size_t byte_count, const uint8_t authority[PST_PEER_KEY_BYTES],
                        uint8_t ret_key[PST_PEER_KEY_BYTES])
{
    struct der all = {bytes, bytes + byte_count}, certificate, tbs, whole;
    static const uint8_t bits[] = {BITS, 1 + SIGNATURE_BYTES, 0};
    if (!der_next(&all, SEQUENCE, &certificate, &whole) || all.at != all.end ||
        !der_next(&certificate, SEQUENCE, &tbs, &whole) || !der_is(&certificate, ed25519, sizeof ed25519) ||
        !der_is(&certificate, bits, sizeof bits) || (size_t)(certificate.end - certificate.at) != SIGNATURE_BYTES)
        return PST_EDATA;
    const uint8_t *key = subject_key(tbs);
    if (key == NULL)
        return PST_EDATA;
    if (!is_signed(&whole, certificate.at, authority))
        return PST_EREFUSED;
    memcpy(ret_key, key, PST_PEER_KEY_BYTES);
    return PST_OK;
}
