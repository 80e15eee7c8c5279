/* fuzz_evidence.c - evidence of every kind, verified whole: whatever the bytes, a report or a reason, and nothing is accepted, for no root
 * is trusted that could have signed it. */
#include "enclave_shim/attestation/evidence.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pst_evidence_request request = {
        .evidence = {data, size, "evidence"}, .at_s = 1751328000, .allow_debug = true, .allow_software = true};
    struct pst_evidence_report report;
    int rc = pst_evidence_verify(&request, &report);
    if (rc != PST_OK && rc != PST_EDATA)
        abort();
    if (rc == PST_EDATA && (report.why == NULL || strstr(report.why, "evidence") == NULL))
        abort();
    if (rc == PST_OK && (report.accepted || pst_evidence_report_failed(&report) == NULL))
        abort();
    for (uint32_t i = 0; i < report.check_count; i++) {
        const struct pst_check *check = &report.checks[i];
        for (const char *at = check->actual; *at != '\0'; at++)
            if (*at < ' ' || *at > '~')
                abort();
    }
    pst_evidence_report_fini(&report);
    return 0;
}
