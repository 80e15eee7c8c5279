/* fuzz_policy.c - policy files: whatever the bytes, a policy or errors with their places. */
#include "engine/policy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_diagnostics d;
    struct pst_policy_file file = {0};
    struct pst_text text = {0};
    pst_diagnostics_init(&d);
    int rc = pst_policy_parse("policy.yaml", (const char *)data, size, &d, &file);
    if ((rc == PST_OK) != (d.item_count == 0) || (rc != PST_OK && rc != PST_EGRAPH))
        abort();
    if (rc == PST_OK && (file.policy.backends == 0 || file.policy.tcb_statuses == 0 ||
                         file.policy.tcb_statuses >> PST_TCB_STATUS_COUNT != 0 || file.policy.vmpl_max > 3))
        abort();
    if (pst_diagnostics_print(&d, false, &text) != PST_OK)
        abort();
    pst_text_fini(&text);
    pst_policy_file_fini(&file);
    pst_diagnostics_fini(&d);
    return 0;
}
