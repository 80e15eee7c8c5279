/* fuzz_tpm.c - what a TPM makes, and a node's envelope of it. The first byte says which: e, p or s; the quote itself is in fuzz_vtpm.c. An
 * envelope that is taken apart is put together again as the same bytes. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int envelope(const uint8_t *bytes, size_t count, const char **why)
{
    struct pst_tpm_evidence evidence;
    uint8_t again[PST_TPM_EVIDENCE_BYTES_MAX];
    size_t again_count = 0;
    int rc = pst_tpm_evidence_parse(bytes, count, &evidence, why);
    if (rc == PST_OK && (pst_tpm_evidence_put(&evidence, again, &again_count) != PST_OK || again_count != count ||
                         memcmp(again, bytes, count) != 0))
        abort();
    return rc;
}

static int public_key(const uint8_t *bytes, size_t count, const char **why)
{
    struct pst_tpm_public public;
    uint8_t name[PST_TPM_NAME_BYTES];
    char pem[PST_TPM_PEM_BYTES_MAX];
    int rc = pst_tpm_public_parse(bytes, count, &public, why);
    if (rc != PST_OK)
        return rc;
    if (public.scheme == PST_TPM_RSASSA ? public.modulus_bytes < 256 || public.modulus_bytes > count
                                        : public.scheme != PST_TPM_ECDSA)
        abort();
    if (pst_tpm_key_show(bytes, count, name, pem, why) == PST_OK && strstr(pem, "PUBLIC KEY") == NULL)
        abort();
    return PST_OK;
}

static int signature(const uint8_t *bytes, size_t count, const char **why)
{
    struct pst_tpm_signature taken;
    int rc = pst_tpm_signature_parse(bytes, count, &taken, why);
    if (rc == PST_OK && taken.scheme == PST_TPM_RSASSA && taken.rsa_bytes > count)
        abort();
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    if (size == 0)
        return 0;
    int rc = data[0] == 'e'   ? envelope(data + 1, size - 1, &why)
             : data[0] == 'p' ? public_key(data + 1, size - 1, &why)
                              : signature(data + 1, size - 1, &why);
    if (rc != PST_OK && (rc != PST_EDATA || why == NULL))
        abort();
    return 0;
}
