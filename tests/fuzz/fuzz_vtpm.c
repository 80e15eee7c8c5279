/* fuzz_vtpm.c - HCL reports, quotes of a TPM, and the JSON around both. The first byte says which: h, t or j. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_arena arena;
    struct pst_hcl hcl;
    struct pst_tpm_quote quote;
    struct pst_az_evidence evidence;
    const char *why = NULL;
    int rc = PST_EDATA;
    if (size == 0)
        return 0;
    pst_arena_init(&arena);
    if (data[0] == 'h') {
        rc = pst_hcl_parse(&arena, data + 1, size - 1, &hcl, &why);
        if (rc == PST_OK && (hcl.modulus_bytes > sizeof hcl.modulus || hcl.exponent_bytes > sizeof hcl.exponent ||
                             hcl.runtime_bytes > size))
            abort();
    } else if (data[0] == 't') {
        rc = pst_tpm_quote_parse(data + 1, size - 1, &quote, &why);
        if (rc == PST_OK &&
            (quote.digest_bytes != PST_SHA256_BYTES || quote.nonce_bytes > size || quote.pcrs >> 24 != 0))
            abort();
    } else {
        rc = pst_az_evidence_parse(&arena, data + 1, size - 1, &evidence, &why);
        if (rc == PST_OK && (evidence.pcr_count > PST_PCR_COUNT || evidence.hcl.count > size))
            abort();
    }
    if (rc != PST_OK && (rc != PST_EDATA || why == NULL))
        abort();
    pst_arena_fini(&arena);
    return 0;
}
