/* gcm.c - see gcm.h. Which of the two fillings a key has is settled when it is made. */
#include "base/gcm.h"

#include "base/base.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#ifdef PST_IPSEC
#include <cpuid.h>
#include <intel-ipsec-mb.h>

/* What the library's manager points to on such processors. Its header declares these for older ones alone; through the manager all of its
 * ciphers and hashes would be in the program that is measured, 13 MB of them. */
extern void aes_gcm_pre_256_vaes_avx512(const void *key, struct gcm_key_data *ret_key);
extern void aes_gcm_enc_256_vaes_avx512(const struct gcm_key_data *key, struct gcm_context_data *context, uint8_t *out,
                                        const uint8_t *in, uint64_t byte_count, const uint8_t *nonce,
                                        const uint8_t *data, uint64_t data_bytes, uint8_t *ret_tag, uint64_t tag_bytes);
extern void aes_gcm_dec_256_vaes_avx512(const struct gcm_key_data *key, struct gcm_context_data *context, uint8_t *out,
                                        const uint8_t *in, uint64_t byte_count, const uint8_t *nonce,
                                        const uint8_t *data, uint64_t data_bytes, uint8_t *ret_tag, uint64_t tag_bytes);
#endif

struct pst_gcm {
    EVP_CIPHER_CTX *context; /* of both directions, for GCM runs AES forward in either; NULL: `key` counts */
#ifdef PST_IPSEC
    _Alignas(64) struct gcm_key_data key;     /* which the header aligns where a macro of its own build is set */
    _Alignas(64) struct gcm_context_data one; /* of the message that is under way */
#endif
};

#ifdef PST_IPSEC
/* What the library asks of a processor for these three. Compilers have no word for the last two; whether the system keeps vectors of 64 bytes
 * is asked with avx512f. */
static bool vectors_found(void)
{
    uint32_t a, b, c = 0, d;
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_VAES) != 0 &&
           (c & bit_VPCLMULQDQ) != 0;
}

/* Looked up once: a virtual machine's host answers CPUID, which takes longer than all that a key needs. */
static bool vectors_work(void)
{
    static atomic_int known; /* 0: not looked up yet */
    int seen = atomic_load_explicit(&known, memory_order_relaxed);
    if (seen == 0)
        atomic_store_explicit(&known, seen = vectors_found() ? 1 : -1, memory_order_relaxed);
    return seen > 0;
}

static void vectors_init(struct pst_gcm *gcm, const uint8_t *key) { aes_gcm_pre_256_vaes_avx512(key, &gcm->key); }

static void vectors_seal(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                         uint8_t *out, uint8_t *ret_tag)
{
    aes_gcm_enc_256_vaes_avx512(&gcm->key, &gcm->one, out, in, byte_count, head->nonce, head->data, head->data_bytes,
                                ret_tag, PST_GCM_TAG_BYTES);
}

/* ret_tag: what it would have to be. */
static void vectors_open(struct pst_gcm *gcm, const struct pst_gcm_head *head, uint32_t byte_count, uint8_t *bytes,
                         uint8_t *ret_tag)
{
    aes_gcm_dec_256_vaes_avx512(&gcm->key, &gcm->one, bytes, bytes, byte_count, head->nonce, head->data,
                                head->data_bytes, ret_tag, PST_GCM_TAG_BYTES);
}
#else
static bool vectors_work(void) { return false; }
static void vectors_init(struct pst_gcm *gcm, const uint8_t *key) { (void)gcm, (void)key; }
static void vectors_seal(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                         uint8_t *out, uint8_t *ret_tag)
{
    (void)gcm, (void)head, (void)in, (void)byte_count, (void)out, (void)ret_tag;
}
static void vectors_open(struct pst_gcm *gcm, const struct pst_gcm_head *head, uint32_t byte_count, uint8_t *bytes,
                         uint8_t *ret_tag)
{
    (void)gcm, (void)head, (void)byte_count, (void)bytes, (void)ret_tag;
}
#endif

static int context_new(struct pst_gcm *gcm, const uint8_t *key)
{
    gcm->context = EVP_CIPHER_CTX_new();
    if (gcm->context == NULL)
        return PST_ENOMEM;
    return EVP_EncryptInit_ex(gcm->context, EVP_aes_256_gcm(), NULL, key, NULL) == 1 ? PST_OK : PST_EINTERNAL;
}

static int make(const uint8_t *key, bool vectors, struct pst_gcm **ret_gcm)
{
    struct pst_gcm *gcm = pst_aligned(_Alignof(struct pst_gcm), sizeof *gcm);
    int rc = PST_OK;
    if (gcm == NULL)
        return PST_ENOMEM;
    gcm->context = NULL;
    if (vectors)
        vectors_init(gcm, key);
    else
        rc = context_new(gcm, key);
    if (rc == PST_OK)
        *ret_gcm = gcm;
    else
        pst_gcm_free(gcm);
    return rc;
}

int pst_gcm_new(const uint8_t key[PST_GCM_KEY_BYTES], struct pst_gcm **ret_gcm)
{
    return make(key, vectors_work(), ret_gcm);
}

int pst_gcm_new_plain(const uint8_t key[PST_GCM_KEY_BYTES], struct pst_gcm **ret_gcm)
{
    return make(key, false, ret_gcm);
}

void pst_gcm_free(struct pst_gcm *gcm)
{
    if (gcm == NULL)
        return;
    EVP_CIPHER_CTX_free(gcm->context); /* wipes the key's schedule */
    OPENSSL_cleanse(gcm, sizeof *gcm);
    pst_free(gcm);
}

/* ---- by OpenSSL ---- */

static int plain_seal(EVP_CIPHER_CTX *context, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                      uint8_t *out, uint8_t *ret_tag)
{
    int count;
    bool good = EVP_EncryptInit_ex(context, NULL, NULL, NULL, head->nonce) == 1;
    if (good && head->data_bytes != 0)
        good = EVP_EncryptUpdate(context, NULL, &count, head->data, (int)head->data_bytes) == 1;
    if (good && byte_count != 0)
        good = EVP_EncryptUpdate(context, out, &count, in, (int)byte_count) == 1;
    good = good && EVP_EncryptFinal_ex(context, ret_tag, &count) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, PST_GCM_TAG_BYTES, ret_tag) == 1;
    return good ? PST_OK : PST_EINTERNAL;
}

static int plain_open(EVP_CIPHER_CTX *context, const struct pst_gcm_head *head, uint32_t byte_count, uint8_t *tag,
                      uint8_t *bytes)
{
    int count;
    bool good = EVP_DecryptInit_ex(context, NULL, NULL, NULL, head->nonce) == 1;
    if (good && head->data_bytes != 0)
        good = EVP_DecryptUpdate(context, NULL, &count, head->data, (int)head->data_bytes) == 1;
    if (good && byte_count != 0)
        good = EVP_DecryptUpdate(context, bytes, &count, bytes, (int)byte_count) == 1;
    if (!good || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, PST_GCM_TAG_BYTES, tag) != 1)
        return PST_EINTERNAL;
    uint8_t none[PST_GCM_TAG_BYTES];
    if (EVP_DecryptFinal_ex(context, none, &count) == 1)
        return PST_OK;
    ERR_clear_error();
    return PST_EREFUSED;
}

/* ---- either: both may read what they open twice, and what they have sealed again, so that is done in memory of this side's own ---- */

/* Of memory that somebody else may write to meanwhile: what is copied is what is looked at from then on. */
static __attribute__((noinline)) void copy_in(void *to, const void *from, size_t byte_count)
{
    memcpy(to, from, byte_count);
    __asm__ volatile("" ::: "memory");
}

int pst_gcm_seal(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                 uint8_t *out, uint8_t *ret_tag)
{
    PST_ASSERT(byte_count <= PST_GCM_BYTES_MAX && head->data_bytes <= PST_GCM_BYTES_MAX);
    if (gcm->context != NULL)
        return plain_seal(gcm->context, head, in, byte_count, out, ret_tag);
    vectors_seal(gcm, head, in, byte_count, out, ret_tag);
    return PST_OK;
}

int pst_gcm_seal_out(struct pst_gcm *gcm, const struct pst_gcm_head *head, uint8_t *in, uint32_t byte_count,
                     uint8_t *out, uint8_t *ret_tag)
{
    uint8_t tag[PST_GCM_TAG_BYTES];
    int rc = pst_gcm_seal(gcm, head, in, byte_count, in, tag);
    if (rc != PST_OK)
        return rc;
    if (byte_count != 0)
        memcpy(out, in, byte_count);
    memcpy(ret_tag, tag, sizeof tag);
    return PST_OK;
}

int pst_gcm_open(struct pst_gcm *gcm, const struct pst_gcm_head *head, const uint8_t *in, uint32_t byte_count,
                 const uint8_t *tag, uint8_t *out)
{
    uint8_t theirs[PST_GCM_TAG_BYTES], wanted[PST_GCM_TAG_BYTES];
    int rc = PST_OK;
    PST_ASSERT(byte_count <= PST_GCM_BYTES_MAX && head->data_bytes <= PST_GCM_BYTES_MAX);
    copy_in(theirs, tag, sizeof theirs);
    if (out != in && byte_count != 0)
        copy_in(out, in, byte_count);
    if (gcm->context != NULL) {
        rc = plain_open(gcm->context, head, byte_count, theirs, out);
    } else {
        vectors_open(gcm, head, byte_count, out, wanted);
        if (CRYPTO_memcmp(theirs, wanted, sizeof wanted) != 0)
            rc = PST_EREFUSED;
        OPENSSL_cleanse(wanted, sizeof wanted); /* with it anything could be made to open */
    }
    if (rc != PST_OK && byte_count != 0)
        OPENSSL_cleanse(out, byte_count);
    return rc;
}
