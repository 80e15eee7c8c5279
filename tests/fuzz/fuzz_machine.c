/* fuzz_machine.c - the envelope of hardware's evidence behind a worker's report: what is taken apart is put together again as the same bytes,
 * and no part of it lies outside of them. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[PST_MACHINE_EVIDENCE_BYTES_MAX];
    struct pst_machine_evidence evidence;
    struct pst_quote quote;
    pst_backend backend;
    size_t taken = 0, count = 0;
    const char *why = NULL;
    int rc = pst_machine_evidence_parse(data, size, &evidence, &taken, &why);
    if (rc == PST_EDATA && why != NULL)
        return 0;
    if (rc != PST_OK || taken > size || pst_machine_evidence_put(&evidence, again, sizeof again, &count) != PST_OK ||
        count != taken || memcmp(again, data, count) != 0)
        abort();
    why = NULL;
    rc = pst_machine_kind(&evidence, &quote, &backend, &why);
    if (rc != PST_OK && (rc != PST_EDATA || why == NULL))
        abort();
    return 0;
}
