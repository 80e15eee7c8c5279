/* fuzz_json.c - JSON: whatever the bytes, a tree in bounds, or a reason with its place. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct pst_json *value, uint32_t depth)
{
    uint32_t count = 0;
    if (depth > 17)
        abort();
    if (value->kind == PST_JSON_TEXT && strlen(value->text) != value->text_bytes)
        abort();
    for (const struct pst_json *item = value->first; item != NULL; item = item->next, count++) {
        if ((value->kind == PST_JSON_MAP) != (item->key != NULL))
            abort();
        if (item->key != NULL && pst_json_at(value, item->key, item->kind) != item)
            abort();
        look(item, depth + 1);
    }
    if (count != value->count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_arena arena;
    const struct pst_json *json = NULL;
    const char *why = NULL;
    pst_arena_init(&arena);
    int rc = pst_json_parse(&arena, (const char *)data, size, &json, &why);
    if (rc == PST_OK)
        look(json, 0);
    else if (rc != PST_EDATA || why == NULL)
        abort();
    pst_arena_fini(&arena);
    return 0;
}
