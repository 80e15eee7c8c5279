/* fuzz_move.c - the records of moves and of owners: whatever the bytes, an answer; what is read is written as the very same bytes. */
#include "migration/move.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct pst_text *text, const uint8_t *data, size_t size)
{
    if (text->count != size || memcmp(text->bytes, data, size) != 0)
        abort();
}

static void holds(const struct pst_owners *owners)
{
    for (uint32_t op = 0; op < owners->op_count; op++)
        for (uint32_t i = owners->first[op]; i < owners->first[op + 1]; i++)
            if (!owners->partitions[owners->buckets[i].partition].used ||
                owners->partitions[owners->buckets[i].partition].op != op)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pst_owners owners;
    struct pst_move_record record;
    struct pst_text text = {0};
    if (pst_move_record_read((const char *)data, size, &record) == PST_OK) {
        if (pst_move_record_write(&record, &text) != PST_OK)
            abort();
        same(&text, data, size);
    } else if (pst_owners_read((const char *)data, size, &owners) == PST_OK) {
        holds(&owners);
        if (pst_owners_write(&owners, &text) != PST_OK)
            abort();
        same(&text, data, size);
    }
    pst_text_fini(&text);
    return 0;
}
