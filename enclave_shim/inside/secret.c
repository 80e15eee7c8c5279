/* secret.c - secrets in a worker: all of its memory is the pool's, which is neither swapped nor dumped nor inherited. Stands where
 * state/secret.c does elsewhere. */
#include "state/seal.h"

#include <openssl/crypto.h>

struct pst_secret {
    uint8_t bytes[PST_SECRET_BYTES];
};

int pst_secret_new(struct pst_secret **ret_secret)
{
    struct pst_secret *secret = pst_calloc(1, sizeof *secret);
    if (secret == NULL)
        return PST_ENOMEM;
    *ret_secret = secret;
    return PST_OK;
}

void pst_secret_free(struct pst_secret *secret)
{
    if (secret == NULL)
        return;
    OPENSSL_cleanse(secret, sizeof *secret);
    pst_free(secret);
}

uint8_t *pst_secret_bytes(const struct pst_secret *secret) { return (uint8_t *)(uintptr_t)secret->bytes; }
bool pst_secret_locked(const struct pst_secret *secret) { return secret != NULL; }
bool pst_secret_is_ours(const struct pst_secret *secret) { return secret != NULL; }
