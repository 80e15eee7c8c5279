/* digest.c - one number for what a bucket holds, whatever its pages: for comparing two copies of it. */
#define XXH_STATIC_LINKING_ONLY /* the hash's own state on our stack, for its allocator is not ours */
#include <xxhash.h>

#include "state/internal.h"

#include <stdlib.h>
#include <string.h>

struct digest {
    XXH3_state_t hash;
};

static void digest_u64(struct digest *digest, uint64_t value)
{
    XXH3_128bits_update(&digest->hash, &value, sizeof value);
}

static void digest_record(struct digest *digest, struct pst_table *table, uint32_t bucket, uint32_t index)
{
    XXH3_128bits_update(&digest->hash, pst_state_table_key(table, bucket, index), table->key_bytes);
    XXH3_128bits_update(&digest->hash, pst_table_peek(table, bucket, index), table->record_bytes);
}

struct order {
    struct pst_table *table;
    uint32_t bucket;
};

static int key_compare(const void *a, const void *b, void *argument)
{
    const struct order *order = argument;
    return memcmp(pst_state_table_key(order->table, order->bucket, *(const uint32_t *)a),
                  pst_state_table_key(order->table, order->bucket, *(const uint32_t *)b), order->table->key_bytes);
}

/* Without memory for a sorted list: looks for the next greater key each time. Slow, and the same digest. */
static void digest_records_slowly(struct digest *digest, struct order *order, uint32_t count)
{
    uint32_t before = UINT32_MAX;
    for (uint32_t done = 0; done < count; done++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++) {
            bool above = before == UINT32_MAX || key_compare(&i, &before, order) > 0;
            if (above && (best == UINT32_MAX || key_compare(&i, &best, order) < 0))
                best = i;
        }
        digest_record(digest, order->table, order->bucket, best);
        before = best;
    }
}

static void digest_table(struct digest *digest, struct pst_table *table, uint32_t bucket)
{
    struct order order = {table, bucket};
    uint32_t count = pst_state_table_count(table, bucket);
    digest_u64(digest, count);
    uint32_t *numbers = pst_malloc(count * sizeof *numbers);
    if (numbers == NULL) {
        digest_records_slowly(digest, &order, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = i;
    qsort_r(numbers, count, sizeof *numbers, key_compare, &order);
    for (uint32_t i = 0; i < count; i++)
        digest_record(digest, table, bucket, numbers[i]);
    pst_free(numbers);
}

static void digest_log(struct digest *digest, struct pst_log *log, uint32_t bucket)
{
    uint64_t position = pst_state_log_tail(log, bucket), count = 0;
    uint32_t bytes;
    for (const void *entry; (entry = pst_state_log_read(log, bucket, &position, &bytes)) != NULL; count++) {
        digest_u64(digest, bytes);
        XXH3_128bits_update(&digest->hash, entry, bytes);
    }
    digest_u64(digest, count);
}

uint64_t pst_state_digest(struct pst_state *state, uint32_t bucket)
{
    PST_ASSERT(bucket < state->bucket_count);
    struct digest digest;
    XXH3_128bits_reset(&digest.hash);
    for (uint32_t i = 0; i < state->structure_count; i++) {
        struct pst_structure *structure = state->structures[i];
        XXH3_128bits_update(&digest.hash, structure->name, strlen(structure->name) + 1);
        if (structure->kind == PST_PAGE_RECORDS)
            digest_table(&digest, (struct pst_table *)structure, bucket);
        else
            digest_log(&digest, (struct pst_log *)structure, bucket);
    }
    return XXH3_128bits_digest(&digest.hash).low64;
}
