/* store_sealed.c - records with a code behind them, so that who holds the store can delay the cluster and cannot make up what it decided.
 *
 * The code is HMAC-SHA256(key, domain || u32 bytes of the path || path || u64 version || u32 bytes || bytes), little endian. The
 * domain has a fixed length and every part says its own, so no two records give the same text. The version is the one that the
 * store will give it, expected + 1: a commit that happens has been told the truth. A removed record has no code. */
#include "migration/store_inside.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

static const char mac_domain[] = "penstock store record 1";

/* A request of the caller's, and what became of it for the store below. */
struct sealed_request {
    struct sealed_request *next;
    struct pst_store_request *caller;
    struct pst_store_request below;
    struct pst_store_change changes[]; /* of a commit; their bytes behind them */
};

struct sealed {
    struct pst_store store;
    struct pst_store *below;
    struct pst_secret *key;
    EVP_MAC *mac;
    struct sealed_request *first, **end; /* in the order of begin() */
};

static bool mac_part(EVP_MAC_CTX *context, const void *bytes, size_t byte_count)
{
    return byte_count == 0 || EVP_MAC_update(context, bytes, byte_count) == 1;
}

static int mac_make(const struct sealed *sealed, const char *path, uint64_t version, const void *bytes,
                    uint32_t byte_count, uint8_t ret_mac[PST_STORE_MAC_BYTES])
{
    uint32_t path_bytes = (uint32_t)strlen(path);
    char digest[] = "SHA256";
    size_t mac_bytes;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(sealed->mac);
    if (context == NULL)
        return PST_ENOMEM;
    bool good = EVP_MAC_init(context, pst_secret_bytes(sealed->key), PST_SECRET_BYTES, params) == 1 &&
                mac_part(context, mac_domain, sizeof mac_domain) && mac_part(context, &path_bytes, sizeof path_bytes) &&
                mac_part(context, path, path_bytes) && mac_part(context, &version, sizeof version) &&
                mac_part(context, &byte_count, sizeof byte_count) && mac_part(context, bytes, byte_count) &&
                EVP_MAC_final(context, ret_mac, &mac_bytes, PST_STORE_MAC_BYTES) == 1;
    EVP_MAC_CTX_free(context); /* wipes its copy of the key */
    return good ? PST_OK : PST_EINTERNAL;
}

/* ---- on the way down ---- */
static int change_seal(const struct sealed *sealed, const struct pst_store_change *change,
                       struct pst_store_change *ret_change, uint8_t **at)
{
    uint8_t *bytes = *at;
    *ret_change = *change;
    if (change->bytes == NULL)
        return PST_OK;
    if (change->byte_count != 0)
        memcpy(bytes, change->bytes, change->byte_count);
    ret_change->bytes = bytes;
    ret_change->byte_count = change->byte_count + PST_STORE_MAC_BYTES;
    *at += ret_change->byte_count;
    return mac_make(sealed, change->path, change->expected + 1, change->bytes, change->byte_count,
                    bytes + change->byte_count);
}

static int commit_check(const struct pst_store_request *request)
{
    int rc = pst_store_request_check(request);
    for (uint32_t i = 0; i < request->change_count && rc == PST_OK; i++)
        if (request->changes[i].byte_count > PST_STORE_RECORD_BYTES_MAX - PST_STORE_MAC_BYTES)
            rc = PST_EINVAL;
    return rc;
}

static int request_make(const struct sealed *sealed, struct pst_store_request *caller,
                        struct sealed_request **ret_request)
{
    bool commit = caller->kind == PST_STORE_COMMIT;
    int rc = commit ? commit_check(caller) : pst_store_request_check(caller);
    if (rc != PST_OK)
        return rc;
    uint32_t count = commit ? caller->change_count : 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += caller->changes[i].byte_count + PST_STORE_MAC_BYTES;
    struct sealed_request *request = pst_malloc(sizeof *request + count * sizeof(struct pst_store_change) + bytes);
    if (request == NULL)
        return PST_ENOMEM;
    *request = (struct sealed_request){.caller = caller};
    request->below = (struct pst_store_request){
        .kind = caller->kind, .path = caller->path, .changes = request->changes, .change_count = count};
    uint8_t *at = (uint8_t *)(request->changes + count);
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = change_seal(sealed, &caller->changes[i], &request->changes[i], &at);
    if (rc != PST_OK) {
        pst_free(request);
        return rc;
    }
    *ret_request = request;
    return PST_OK;
}

/* ---- on the way up ---- */
/* PST_OK: the record is what was sealed for this path and version; its code is cut off. */
static int record_open(const struct sealed *sealed, const char *path, uint64_t version, struct pst_text *text)
{
    uint8_t mac[PST_STORE_MAC_BYTES];
    if (text->count < PST_STORE_MAC_BYTES || text->count > PST_STORE_RECORD_BYTES_MAX)
        return PST_EREFUSED;
    uint32_t byte_count = (uint32_t)text->count - PST_STORE_MAC_BYTES;
    int rc = mac_make(sealed, path, version, text->bytes, byte_count, mac);
    if (rc == PST_OK && CRYPTO_memcmp(mac, text->bytes + byte_count, sizeof mac) != 0)
        rc = PST_EREFUSED;
    if (rc != PST_OK)
        return rc;
    text->count = byte_count;
    text->bytes[byte_count] = '\0';
    return PST_OK;
}

static void request_answer(const struct sealed *sealed, struct sealed_request *request)
{
    struct pst_store_request *below = &request->below, *caller = request->caller;
    int rc = below->rc;
    if (rc == PST_OK && below->kind == PST_STORE_READ)
        rc = record_open(sealed, below->path, below->version, &below->text);
    if (rc != PST_OK)
        pst_text_fini(&below->text);
    caller->version = below->version;
    caller->text = below->text;
    caller->rc = rc;
}

static void answers_take(struct sealed *sealed)
{
    while (sealed->first != NULL && sealed->first->below.rc != PST_EAGAIN) {
        struct sealed_request *request = sealed->first;
        sealed->first = request->next;
        if (sealed->first == NULL)
            sealed->end = &sealed->first;
        request_answer(sealed, request);
        pst_free(request);
    }
}

/* ---- the interface ---- */
static void sealed_begin(void *self, struct pst_store_request *caller)
{
    struct sealed *sealed = self;
    struct sealed_request *request;
    caller->rc = request_make(sealed, caller, &request);
    if (caller->rc != PST_OK)
        return;
    caller->rc = PST_EAGAIN;
    *sealed->end = request;
    sealed->end = &request->next;
    sealed->below->begin(sealed->below->self, &request->below);
    answers_take(sealed); /* nobody is woken for an answer that is there at once */
}

static void sealed_step(void *self)
{
    struct sealed *sealed = self;
    sealed->below->step(sealed->below->self);
    answers_take(sealed);
}

static uint64_t sealed_news(void *self)
{
    const struct sealed *sealed = self;
    return sealed->below->news(sealed->below->self);
}

static uint64_t sealed_session(void *self)
{
    const struct sealed *sealed = self;
    return sealed->below->session(sealed->below->self);
}

static void sealed_free(struct sealed *sealed)
{
    while (sealed->first != NULL) {
        struct sealed_request *request = sealed->first;
        sealed->first = request->next;
        pst_text_fini(&request->below.text); /* an answer that nobody has fetched */
        pst_free(request);
    }
    EVP_MAC_free(sealed->mac);
    pst_secret_free(sealed->key);
    pst_free(sealed);
}

static void sealed_close(void *self)
{
    struct sealed *sealed = self;
    sealed->below->close(sealed->below->self);
    sealed_free(sealed);
}

int pst_store_sealed(struct pst_store *below, const struct pst_secret *key, struct pst_store **ret_store)
{
    struct sealed *sealed = pst_calloc(1, sizeof *sealed);
    if (sealed == NULL)
        return PST_ENOMEM;
    sealed->end = &sealed->first;
    int rc = pst_secret_new(&sealed->key);
    sealed->mac = rc == PST_OK ? EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL) : NULL;
    if (sealed->mac == NULL) {
        sealed_free(sealed);
        return rc == PST_OK ? PST_EINTERNAL : rc;
    }
    memcpy(pst_secret_bytes(sealed->key), pst_secret_bytes(key), PST_SECRET_BYTES);
    sealed->below = below;
    sealed->store = (struct pst_store){.self = sealed,
                                       .begin = sealed_begin,
                                       .step = sealed_step,
                                       .news = sealed_news,
                                       .session = sealed_session,
                                       .close = sealed_close};
    *ret_store = &sealed->store;
    return PST_OK;
}
