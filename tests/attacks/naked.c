/* naked.c - instead of state/seal.c, in a worker that the attacks are tried on first: pages leave it as they are, and whatever is in their
 * place is taken for them. What does nothing here shows nothing there. */
#include "state/seal_inside.h"

#include <string.h>

struct pst_sealer {
    int unused;
};

int pst_secret_id(const struct pst_secret *secret, uint8_t ret_id[PST_SECRET_ID_BYTES])
{
    (void)secret;
    memset(ret_id, 0, PST_SECRET_ID_BYTES);
    return PST_OK;
}

int pst_sealer_new(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                   pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES], uint32_t operator_count,
                   const char *const *operator_ids, const uint32_t *bucket_counts, struct pst_sealer **ret_sealer)
{
    (void)master, (void)graph, (void)purpose, (void)incarnation, (void)operator_count, (void)operator_ids,
        (void)bucket_counts;
    *ret_sealer = pst_calloc(1, sizeof **ret_sealer);
    return *ret_sealer != NULL ? PST_OK : PST_ENOMEM;
}

int pst_sealer_new_to_open(const struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                           pst_seal_purpose purpose, const uint8_t incarnation[PST_INCARNATION_BYTES],
                           uint32_t operator_count, const char *const *operator_ids, const uint32_t *bucket_counts,
                           struct pst_sealer **ret_sealer)
{
    return pst_sealer_new(master, graph, purpose, incarnation, operator_count, operator_ids, bucket_counts, ret_sealer);
}

void pst_sealer_free(struct pst_sealer *sealer) { pst_free(sealer); }
void pst_sealer_forget(struct pst_sealer *sealer) { (void)sealer; }

uint32_t pst_seal_class(uint32_t packed_bytes) { return packed_bytes; }
size_t pst_seal_bound(uint32_t clear_bytes) { return PST_SEAL_HEADER_BYTES + (size_t)clear_bytes + PST_SEAL_TAG_BYTES; }

int pst_seal_header_read(const void *sealed, size_t sealed_bytes, struct pst_seal_header *ret_header)
{
    if (sealed_bytes < sizeof *ret_header)
        return PST_EDATA;
    memcpy(ret_header, sealed, sizeof *ret_header);
    return PST_OK;
}

int pst_seal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *place, bool compress,
             const void *clear, uint32_t clear_bytes, void *out, size_t out_capacity, size_t *ret_bytes)
{
    struct pst_seal_header header = {.clear_bytes = clear_bytes};
    (void)sealer, (void)operator_index, (void)place, (void)compress;
    PST_ASSERT(out_capacity >= sizeof header + clear_bytes);
    memcpy(out, &header, sizeof header);
    if (clear_bytes != 0)
        memcpy((uint8_t *)out + sizeof header, clear, clear_bytes);
    *ret_bytes = sizeof header + clear_bytes;
    return PST_OK;
}

int pst_unseal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *expected,
               const void *sealed, size_t sealed_bytes, void *clear, uint32_t clear_capacity, uint32_t *ret_clear_bytes)
{
    size_t bytes = sealed_bytes - sizeof(struct pst_seal_header);
    (void)sealer, (void)operator_index, (void)expected;
    PST_ASSERT(sealed_bytes >= sizeof(struct pst_seal_header) && bytes <= clear_capacity);
    memcpy(clear, (const uint8_t *)sealed + sizeof(struct pst_seal_header), bytes);
    *ret_clear_bytes = (uint32_t)bytes;
    return PST_OK;
}
