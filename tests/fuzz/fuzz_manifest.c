/* fuzz_manifest.c - the clear text of manifests: whatever the bytes, an answer; what is read is written as the very same bytes, and
 * what was read holds what manifest.h says. */
#include "state/manifest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t incarnation[PST_INCARNATION_BYTES];

static void holds(const struct pst_manifest *manifest)
{
    for (uint32_t p = 0; p < manifest->page_count; p++) {
        const struct pst_manifest_page *page = &manifest->pages[p];
        if (page->node >= manifest->node_count || page->bucket >= manifest->nodes[page->node].bucket_count ||
            page->file >= manifest->file_count)
            abort();
        const struct pst_manifest_node *node = &manifest->nodes[page->node];
        bool index = page->structure == PST_MANIFEST_INDEX_STRUCTURE && page->kind == PST_MANIFEST_INDEX_KIND;
        uint32_t structure_count = node->inside ? PST_STRUCTURES_MAX : node->structure_count;
        if (page->structure >= structure_count && !(node->inside && index))
            abort();
        if (page->offset + page->sealed_bytes < page->offset ||
            page->offset + page->sealed_bytes > manifest->files[page->file].bytes)
            abort();
    }
    for (uint32_t i = 0; i < manifest->log_count; i++)
        if (manifest->logs[i].node >= manifest->node_count)
            abort();
    for (uint32_t i = 0; i < manifest->bucket_count; i++)
        if (manifest->buckets[i].node >= manifest->node_count)
            abort();
}

/* What was written is sealed: it is opened here by hand, as seal.h says, and compared with what it was read from. */
static void written_again(const struct pst_manifest *manifest, const uint8_t *data, size_t size)
{
    static struct pst_secret *master;
    static const char *const ids[] = {"manifest"};
    static const uint32_t bucket_counts[] = {1};
    const struct pst_seal_place place = {.number = manifest->id, .version = manifest->id};
    struct pst_sealer *sealer;
    uint8_t *bytes, *clear = malloc(size);
    size_t byte_count;
    uint32_t clear_bytes;
    if (clear == NULL || (master == NULL && pst_secret_new(&master) != PST_OK))
        abort();
    if (pst_manifest_write(manifest, master, incarnation, &bytes, &byte_count) != PST_OK ||
        pst_sealer_new_to_open(master, manifest->graph, PST_SEAL_MANIFEST, incarnation, 1, ids, bucket_counts,
                               &sealer) != PST_OK)
        abort();
    if (pst_unseal(sealer, 0, &place, bytes + PST_MANIFEST_HEADER_BYTES, byte_count - PST_MANIFEST_HEADER_BYTES, clear,
                   (uint32_t)size, &clear_bytes) != PST_OK ||
        clear_bytes != size || memcmp(clear, data, size) != 0)
        abort();
    pst_sealer_free(sealer);
    pst_free(bytes);
    free(clear);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pst_manifest manifest;
    if (pst_manifest_decode(data, size, &manifest) != PST_OK)
        return 0;
    holds(&manifest);
    written_again(&manifest, data, size);
    pst_manifest_fini(&manifest);
    return 0;
}
