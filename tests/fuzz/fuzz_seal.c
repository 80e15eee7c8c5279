/* fuzz_seal.c - sealed pieces: whatever the bytes, an answer; and what was sealed opens, unless a bit of it was changed.
 *
 * The first byte chooses how the bytes behind it are used: 'p' as a piece, 'c' as a clear text to be sealed and opened, anything
 * else as a change of a piece. */
#include "state/seal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLEAR_MAX = 64 * 1024 };

/* The sealer of tests/golden/seal-v1.hex: its pieces open here. */
static struct pst_sealer *sealer_new(void)
{
    static const char *const ids[] = {"by_house"};
    static const uint32_t bucket_counts[] = {4};
    uint8_t graph[32], incarnation[32];
    struct pst_secret *master;
    struct pst_sealer *sealer;
    if (pst_secret_new(&master) != PST_OK)
        abort();
    for (uint8_t i = 0; i < 32; i++) {
        pst_secret_bytes(master)[i] = i;
        graph[i] = (uint8_t)(32 + i);
        incarnation[i] = (uint8_t)(64 + i);
    }
    if (pst_sealer_new(master, graph, PST_SEAL_CHECKPOINT, incarnation, 1, ids, bucket_counts, &sealer) != PST_OK)
        abort();
    pst_secret_free(master);
    return sealer;
}

static struct pst_seal_place place_of(const struct pst_seal_header *header)
{
    return (struct pst_seal_place){.bucket = header->bucket,
                                   .structure = header->structure,
                                   .kind = header->kind,
                                   .number = header->number,
                                   .version = header->page_version};
}

/* Opens a piece where it says it belongs. */
static int open_piece(struct pst_sealer *sealer, const uint8_t *piece, size_t bytes, uint8_t *clear,
                      uint32_t *ret_bytes)
{
    struct pst_seal_header header;
    struct pst_seal_place place = {0};
    int rc = pst_seal_header_read(piece, bytes, &header);
    if (rc == PST_OK) {
        if (header.sealed_bytes + PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES != bytes ||
            header.packed_bytes > header.sealed_bytes || header.packed_bytes > header.clear_bytes)
            abort();
        place = place_of(&header);
    }
    int opened = pst_unseal(sealer, 0, &place, piece, bytes, clear, CLEAR_MAX, ret_bytes);
    if (rc != PST_OK && opened != rc)
        abort();
    if (opened == PST_OK && (*ret_bytes != header.clear_bytes || *ret_bytes > CLEAR_MAX))
        abort();
    return opened;
}

static void seal_and_open(struct pst_sealer *sealer, const uint8_t *data, size_t size, bool change)
{
    static const uint8_t text[600];
    static uint8_t piece[CLEAR_MAX * 2], clear[CLEAR_MAX];
    const struct pst_seal_place place = {.bucket = 1, .structure = 2, .kind = 1, .number = size, .version = 3};
    const uint8_t *from = change ? text : data;
    uint32_t from_bytes = change ? sizeof text : (uint32_t)size, clear_bytes;
    size_t bytes;
    bool changed = false;
    if (size > CLEAR_MAX ||
        pst_seal(sealer, 0, &place, size % 2 == 0, from, from_bytes, piece, sizeof piece, &bytes) != PST_OK)
        return;
    for (size_t i = 0; change && i < size && i < bytes; i++) {
        piece[i] ^= data[i];
        changed = changed || data[i] != 0;
    }
    int rc = open_piece(sealer, piece, bytes, clear, &clear_bytes);
    if ((rc == PST_OK) == changed)
        abort();
    if (rc == PST_OK && (clear_bytes != from_bytes || memcmp(clear, from, clear_bytes) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pst_sealer *sealer;
    static uint8_t clear[CLEAR_MAX];
    uint32_t clear_bytes;
    if (sealer == NULL)
        sealer = sealer_new();
    if (size == 0)
        return 0;
    if (data[0] == 'p')
        (void)open_piece(sealer, data + 1, size - 1, clear, &clear_bytes);
    else
        seal_and_open(sealer, data + 1, size - 1, data[0] != 'c');
    return 0;
}
