/* fuzz_process.c - evidence of `process`: what is taken apart is made again as the same bytes, but for key and signature. */
#include "enclave_shim/attestation/evidence.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t node_key[32] = {1};
    struct pst_process_evidence evidence;
    uint8_t again[PST_PROCESS_EVIDENCE_BYTES];
    const char *why = NULL;
    int rc = pst_process_evidence_parse(data, size, &evidence, &why);
    if (rc == PST_EDATA && why != NULL)
        return 0;
    if (rc != PST_OK)
        abort();
    rc = pst_process_evidence_sign(&evidence, node_key, again);
    if (rc == PST_EINVAL && (evidence.capabilities & ~(uint32_t)(PST_CONF_USER | PST_EXEC_MEASURED)) != 0)
        return 0;
    if (rc != PST_OK || memcmp(again, data, 160) != 0)
        abort();
    return 0;
}
