/* fuzz_quote.c - quotes of SGX and TDX: whatever the bytes, parts that lie within them, or a reason. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const uint8_t *data, size_t size, const uint8_t *part, size_t part_bytes)
{
    if (part < data || part_bytes > size || (size_t)(part - data) > size - part_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_quote quote;
    const char *why = NULL;
    int rc = pst_quote_parse(data, size, &quote, &why);
    if (rc == PST_EDATA && why != NULL)
        return 0;
    if (rc != PST_OK || quote.left_bytes >= size || quote.signed_bytes >= size)
        abort();
    within(data, size, quote.body, quote.body_bytes);
    within(data, size, quote.signature, 64);
    within(data, size, quote.key, 64);
    within(data, size, quote.qe_report, PST_ENCLAVE_REPORT_BYTES);
    within(data, size, quote.qe_signature, 64);
    within(data, size, quote.auth, quote.auth_bytes);
    within(data, size, quote.chain, quote.chain_bytes);
    return 0;
}
