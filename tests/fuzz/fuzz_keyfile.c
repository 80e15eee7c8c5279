/* fuzz_keyfile.c - key files: whatever the bytes, keys or a line and a reason. */
#include "tools/keyfile.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const struct pst_verb *const pst_verbs[] = {NULL}; /* the command line is not looked at here */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_keyring_keys keys;
    uint32_t line = 0;
    const char *why = NULL;
    int rc = pst_keyfile_parse((const char *)data, size, &keys, &line, &why);
    if (rc != PST_OK && rc != PST_EDATA)
        abort();
    if ((rc == PST_OK) != (keys.count != 0) || keys.count > PST_KEYS_MAX)
        abort();
    if (rc == PST_EDATA && (why == NULL || line < 1 || line > PST_KEYS_MAX + 1))
        abort();
    for (uint32_t i = 0; i < keys.count; i++) {
        if (keys.secrets[i] == NULL || strlen(keys.ids[i]) != PST_KEY_ID_TEXT_BYTES - 1)
            abort();
    }
    pst_keyring_keys_fini(&keys);
    return 0;
}
