/* capsule.c - see sealed.h: headers, keys, the cipher of a session, the key's release. */
#include "enclave_shim/common/capsule.h"

#include "base/gcm.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define CAPSULE_MAGIC UINT32_C(0x46545350) /* "PSTF" */
#define RELEASE_MAGIC UINT32_C(0x52545350) /* "PSTR" */
#define ROOT_LABEL "penstock sealed root 1"
#define BUCKETS_LABEL "penstock sealed buckets 1"
#define SESSION_LABEL "penstock sealed session 1 "
#define RELEASE_LABEL "penstock key release 2"

enum {
    CAPSULE_VERSION = 1,
    RELEASE_VERSION = 2,
    SEQUENCE_OFFSET = 4, /* in the nonce */
    INFO_BYTES_MAX = 256,
    RELEASE_HEADER_BYTES = 72,
};

static_assert(sizeof(struct pst_capsule) == PST_CAPSULE_HEADER_BYTES, "capsule layout");
static_assert(offsetof(struct pst_capsule, edge) == 8, "capsule layout");
static_assert(offsetof(struct pst_capsule, sequence) == 16, "capsule layout");
static_assert(offsetof(struct pst_capsule, time) == 32, "capsule layout");
static_assert(offsetof(struct pst_capsule, row_count) == 40, "capsule layout");
static_assert(offsetof(struct pst_capsule, salt) == 56, "capsule layout");
static_assert(offsetof(struct pst_capsule, zero2) == 88, "capsule layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "capsules are written as they lie in memory");

/* ---- headers ---- */

int pst_capsule_read(const void *bytes, size_t byte_count, struct pst_capsule *ret_capsule)
{
    struct pst_capsule p;
    if (byte_count < sizeof p)
        return PST_EAGAIN;
    memcpy(&p, bytes, sizeof p);
    if (p.magic != CAPSULE_MAGIC)
        return PST_EDATA;
    if (p.version != CAPSULE_VERSION)
        return PST_EABI;
    bool rows = p.kind == PST_CAPSULE_ROWS, mark = p.kind == PST_CAPSULE_MARK;
    bool fits = p.body_bytes >= 1 && p.body_bytes <= PST_CAPSULE_BODY_BYTES_MAX && p.edge < PST_SEALED_EDGES_MAX &&
                p.bucket < PST_SEALED_BUCKETS_MAX && p.sequence < PST_CAPSULES_MAX && p.zero == 0 && p.zero2 == 0;
    bool flags = (p.flags & ~(uint32_t)(PST_CAPSULE_ENDS | PST_CAPSULE_CONTINUES | PST_CAPSULE_SEVERAL)) == 0 &&
                 ((p.flags & PST_CAPSULE_SEVERAL) == 0 || (p.flags & PST_CAPSULE_CONTINUES) != 0);
    bool fields = rows ? p.row_count >= 1 && p.flags == 0 : mark && p.row_count == 0 && p.bucket == 0 && flags;
    if (!fits || !fields)
        return PST_EDATA;
    *ret_capsule = p;
    return byte_count < pst_capsule_bytes(&p) ? PST_EAGAIN : PST_OK;
}

bool pst_sealed_edge_valid(const struct pst_sealed_edge *edge)
{
    bool good = edge->producer_bucket_count >= 1 && edge->producer_bucket_count <= PST_SEALED_BUCKETS_MAX &&
                edge->bucket_count >= 1 && edge->bucket_count <= PST_SEALED_BUCKETS_MAX &&
                (edge->bucket_count & (edge->bucket_count - 1)) == 0 && edge->number < PST_SEALED_EDGES_MAX &&
                edge->part_count >= (edge->keyed ? 2 : 1) && edge->part_count <= PST_FIELDS_MAX + 2;
    for (uint32_t p = 0; good && p < edge->part_count; p++)
        good = edge->part_bytes[p] >= 1 && edge->part_bytes[p] <= PST_TEXT_BYTES;
    good = good && edge->part_bytes[0] == sizeof(int64_t);
    return good && (!edge->keyed || edge->part_bytes[1] == sizeof(uint64_t));
}

void pst_sealed_edge_shape(const struct pst_sealed_edge *edge, struct pst_shape *ret_shape)
{
    *ret_shape = (struct pst_shape){0};
    for (uint32_t p = 0; p < edge->part_count; p++)
        pst_shape_add(ret_shape, edge->part_bytes[p]);
}

uint32_t pst_sealed_row_bytes(const struct pst_sealed_edge *edge)
{
    uint32_t bytes = 0;
    for (uint32_t p = 0; p < edge->part_count; p++)
        bytes += edge->part_bytes[p];
    return bytes;
}

static_assert(PST_CAPSULE_BODY_BYTES_MAX / ((PST_FIELDS_MAX + 2) * PST_TEXT_BYTES + 8) >= 1, "a row fits");

/* ---- keys ---- */

int pst_hkdf(const uint8_t key[PST_SEALED_KEY_BYTES], const uint8_t *salt, size_t salt_bytes, const void *info,
             size_t info_bytes, uint8_t *ret_bytes, size_t byte_count)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, PST_SEALED_KEY_BYTES),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, salt_bytes),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, info_bytes),
        OSSL_PARAM_construct_end(),
    };
    int rc = context == NULL                                               ? PST_ENOMEM
             : EVP_KDF_derive(context, ret_bytes, byte_count, params) == 1 ? PST_OK
                                                                           : PST_EINTERNAL;
    EVP_KDF_CTX_free(context); /* wipes its copy */
    EVP_KDF_free(kdf);
    return rc;
}

int pst_sealed_root(const uint8_t user_key[PST_SEALED_KEY_BYTES], const uint8_t graph[32],
                    uint8_t ret_root[PST_SEALED_KEY_BYTES])
{
    return pst_hkdf(user_key, graph, 32, ROOT_LABEL, sizeof ROOT_LABEL - 1, ret_root, PST_SEALED_KEY_BYTES);
}

int pst_sealed_digest(const void *bytes, size_t byte_count, uint8_t ret_digest[32])
{
    return EVP_Digest(bytes, byte_count, ret_digest, NULL, EVP_sha256(), NULL) == 1 ? PST_OK : PST_EINTERNAL;
}

int pst_sealed_keys_init(struct pst_sealed_keys *keys, const uint8_t root[PST_SEALED_KEY_BYTES])
{
    static const uint8_t salt[PST_SEALED_KEY_BYTES];
    memcpy(keys->root, root, sizeof keys->root);
    return pst_hkdf(root, salt, sizeof salt, BUCKETS_LABEL, sizeof BUCKETS_LABEL - 1, (uint8_t *)&keys->hash,
                    sizeof keys->hash);
}

void pst_sealed_keys_fini(struct pst_sealed_keys *keys) { OPENSSL_cleanse(keys, sizeof *keys); }

int pst_capsule_cipher(const struct pst_sealed_keys *keys, const struct pst_sealed_edge *edge,
                       const uint8_t salt[PST_CAPSULE_SALT_BYTES], struct pst_gcm **ret_cipher)
{
    uint8_t info[INFO_BYTES_MAX], key[PST_SEALED_KEY_BYTES];
    size_t label_bytes = sizeof SESSION_LABEL - 1, name_bytes = strlen(edge->name);
    if (label_bytes + name_bytes > sizeof info)
        return PST_EINVAL;
    memcpy(info, SESSION_LABEL, label_bytes);
    memcpy(info + label_bytes, edge->name, name_bytes);
    int rc = pst_hkdf(keys->root, salt, PST_CAPSULE_SALT_BYTES, info, label_bytes + name_bytes, key, sizeof key);
    if (rc == PST_OK)
        rc = pst_gcm_new(key, ret_cipher);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

static void nonce_fill(uint8_t nonce[PST_GCM_NONCE_BYTES], uint64_t sequence)
{
    memset(nonce, 0, PST_GCM_NONCE_BYTES);
    memcpy(nonce + SEQUENCE_OFFSET, &sequence, sizeof sequence);
}

int pst_capsule_seal(struct pst_gcm *cipher, uint8_t *capsule)
{
    struct pst_capsule header;
    uint8_t nonce[PST_GCM_NONCE_BYTES], *body = capsule + sizeof header;
    const struct pst_gcm_head head = {nonce, capsule, sizeof header};
    memcpy(&header, capsule, sizeof header);
    header.magic = CAPSULE_MAGIC;
    header.version = CAPSULE_VERSION;
    memcpy(capsule, &header, sizeof header);
    nonce_fill(nonce, header.sequence);
    return pst_gcm_seal(cipher, &head, body, header.body_bytes, body, body + header.body_bytes);
}

int pst_capsule_open(struct pst_gcm *cipher, const uint8_t *capsule, uint8_t *clear)
{
    struct pst_capsule header;
    uint8_t nonce[PST_GCM_NONCE_BYTES];
    const uint8_t *body = capsule + sizeof header;
    const struct pst_gcm_head head = {nonce, capsule, sizeof header};
    memcpy(&header, capsule, sizeof header);
    nonce_fill(nonce, header.sequence);
    int rc = pst_gcm_open(cipher, &head, body, header.body_bytes, body + header.body_bytes, clear);
    return rc == PST_OK ? PST_OK : PST_EREFUSED;
}

/* ---- the key's release ---- */

int pst_channel_key_public(const uint8_t secret[PST_CHANNEL_KEY_BYTES], uint8_t ret_public[PST_CHANNEL_KEY_BYTES])
{
    size_t bytes = PST_CHANNEL_KEY_BYTES;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, PST_CHANNEL_KEY_BYTES);
    bool good =
        key != NULL && EVP_PKEY_get_raw_public_key(key, ret_public, &bytes) == 1 && bytes == PST_CHANNEL_KEY_BYTES;
    EVP_PKEY_free(key);
    return good ? PST_OK : PST_EINTERNAL;
}

/* A public key of small order gives a shared secret of zeros, which OpenSSL refuses. */
int pst_channel_secret(const uint8_t own[PST_CHANNEL_KEY_BYTES], const uint8_t others[PST_CHANNEL_KEY_BYTES],
                       uint8_t ret_secret[PST_SEALED_KEY_BYTES])
{
    size_t bytes = PST_SEALED_KEY_BYTES;
    EVP_PKEY *secret = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, own, PST_CHANNEL_KEY_BYTES);
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, others, PST_CHANNEL_KEY_BYTES);
    EVP_PKEY_CTX *context = secret != NULL ? EVP_PKEY_CTX_new(secret, NULL) : NULL;
    bool good = context != NULL && public != NULL && EVP_PKEY_derive_init(context) == 1 &&
                EVP_PKEY_derive_set_peer(context, public) == 1 && EVP_PKEY_derive(context, ret_secret, &bytes) == 1 &&
                bytes == PST_SEALED_KEY_BYTES;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
    EVP_PKEY_free(secret);
    ERR_clear_error();
    return good ? PST_OK : PST_EDATA;
}

/* The cipher of one release, whose header is in its place. Which graph's root it is both sides know, and the host between them, who has
 * asked for it, is not believed. */
static int release_cipher(const uint8_t *release, const uint8_t own[PST_CHANNEL_KEY_BYTES],
                          const uint8_t others[PST_CHANNEL_KEY_BYTES],
                          const uint8_t worker_public[PST_CHANNEL_KEY_BYTES], const uint8_t graph[32],
                          struct pst_gcm **ret_cipher)
{
    uint8_t shared[PST_SEALED_KEY_BYTES], key[PST_SEALED_KEY_BYTES];
    uint8_t info[sizeof RELEASE_LABEL - 1 + 2 * PST_CHANNEL_KEY_BYTES + 32], *at = info;
    memcpy(at, RELEASE_LABEL, sizeof RELEASE_LABEL - 1);
    memcpy(at += sizeof RELEASE_LABEL - 1, release + 8, PST_CHANNEL_KEY_BYTES);
    memcpy(at += PST_CHANNEL_KEY_BYTES, worker_public, PST_CHANNEL_KEY_BYTES);
    memcpy(at + PST_CHANNEL_KEY_BYTES, graph, 32);
    int rc = pst_channel_secret(own, others, shared);
    if (rc == PST_OK)
        rc = pst_hkdf(shared, release + 40, 32, info, sizeof info, key, sizeof key);
    if (rc == PST_OK)
        rc = pst_gcm_new(key, ret_cipher);
    OPENSSL_cleanse(shared, sizeof shared);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

int pst_release_seal(const uint8_t root[PST_SEALED_KEY_BYTES], const uint8_t graph[32],
                     const uint8_t own[PST_CHANNEL_KEY_BYTES], const uint8_t worker_public[PST_CHANNEL_KEY_BYTES],
                     const uint8_t evidence_digest[32], uint8_t ret_release[PST_RELEASE_BYTES])
{
    const uint32_t magic = RELEASE_MAGIC, version = RELEASE_VERSION;
    const uint8_t nonce[PST_GCM_NONCE_BYTES] = {0};
    uint8_t *release = ret_release, *sealed = release + RELEASE_HEADER_BYTES;
    const struct pst_gcm_head head = {nonce, release, RELEASE_HEADER_BYTES};
    struct pst_gcm *cipher = NULL;
    memcpy(release, &magic, sizeof magic);
    memcpy(release + 4, &version, sizeof version);
    memcpy(release + 40, evidence_digest, 32);
    int rc = pst_channel_key_public(own, release + 8);
    if (rc == PST_OK)
        rc = release_cipher(release, own, worker_public, worker_public, graph, &cipher);
    if (rc != PST_OK)
        return rc;
    rc = pst_gcm_seal(cipher, &head, root, PST_SEALED_KEY_BYTES, sealed, sealed + PST_SEALED_KEY_BYTES);
    pst_gcm_free(cipher);
    return rc;
}

int pst_release_open(const uint8_t *bytes, size_t byte_count, const uint8_t graph[32],
                     const uint8_t secret[PST_CHANNEL_KEY_BYTES], uint8_t ret_root[PST_SEALED_KEY_BYTES])
{
    uint32_t magic, version;
    uint8_t public[PST_CHANNEL_KEY_BYTES];
    const uint8_t nonce[PST_GCM_NONCE_BYTES] = {0}, *sealed = bytes + RELEASE_HEADER_BYTES;
    const struct pst_gcm_head head = {nonce, bytes, RELEASE_HEADER_BYTES};
    struct pst_gcm *cipher = NULL;
    if (byte_count != PST_RELEASE_BYTES)
        return PST_EREFUSED;
    memcpy(&magic, bytes, sizeof magic);
    memcpy(&version, bytes + 4, sizeof version);
    if (magic != RELEASE_MAGIC || version != RELEASE_VERSION || pst_channel_key_public(secret, public) != PST_OK ||
        release_cipher(bytes, secret, bytes + 8, public, graph, &cipher) != PST_OK)
        return PST_EREFUSED;
    int rc = pst_gcm_open(cipher, &head, sealed, PST_SEALED_KEY_BYTES, sealed + PST_SEALED_KEY_BYTES, ret_root);
    pst_gcm_free(cipher);
    ERR_clear_error();
    return rc == PST_OK ? PST_OK : PST_EREFUSED;
}
