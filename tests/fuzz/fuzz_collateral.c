/* fuzz_collateral.c - Intel's collateral, and the two texts in it. The first byte says which: c, t or q. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void levels_look(const struct pst_tcb_levels *levels)
{
    if (levels->count == 0 || levels->count > PST_TCB_LEVELS_MAX)
        abort();
    for (uint32_t i = 0; i < levels->count; i++)
        if (levels->levels[i].status > PST_TCB_REVOKED || levels->levels[i].status == PST_TCB_NO_COLLATERAL)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_arena arena;
    struct pst_collateral collateral;
    struct pst_tcb_info info;
    struct pst_qe_identity identity;
    const char *why = NULL;
    int rc = PST_EDATA;
    if (size == 0)
        return 0;
    pst_arena_init(&arena);
    if (data[0] == 'c') {
        rc = pst_collateral_parse(&arena, data + 1, size - 1, &collateral, &why);
        if (rc == PST_OK && (collateral.tcb_info.chain == NULL || collateral.qe_identity.text == NULL))
            abort();
    } else if (data[0] == 't') {
        rc = pst_tcb_info_parse(&arena, (const char *)data + 1, size - 1, &info, &why);
        if (rc == PST_OK)
            levels_look(&info.levels);
        if (rc == PST_OK && (info.module_count > PST_TDX_MODULES_MAX || info.tdx != (info.module_count != 0)))
            abort();
    } else {
        rc = pst_qe_identity_parse(&arena, (const char *)data + 1, size - 1, &identity, &why);
        if (rc == PST_OK)
            levels_look(&identity.levels);
    }
    if (rc != PST_OK && (rc != PST_EDATA || why == NULL))
        abort();
    pst_arena_fini(&arena);
    return 0;
}
