/* fuzz_peer.c - what hosts show a worker of another one, and bring it: whatever the bytes, an answer. First byte, modulo four: 0 a
 * certificate; 1 digests, as they are when they have been opened; 2 a parcel of sealed pieces, as a node gets it; 3 what a worker is shown,
 * good but for what the rest changes: an offset of two bytes, and what is put there. */
#include "engine/enclave.h"
#include "enclave_shim/inside/move.h"
#include "enclave_shim/sealed.h"
#include "tests/enclave/meeting.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AUTHORITY = 7 };

static void certificate(const uint8_t *data, size_t size)
{
    uint8_t authority[32], key[32];
    meeting_authority(AUTHORITY, authority);
    (void)pst_certificate_key(data, size, authority, key);
}

static void digests(const uint8_t *data, size_t size)
{
    struct pst_digest_list list;
    uint64_t sum = 0;
    if (size > PST_PAGE_BYTES || pst_digests_read(data, (uint32_t)size, &list) != PST_OK)
        return;
    for (uint32_t i = 0; i < list.count; i++)
        sum += pst_digests_bucket(&list, i) + pst_digests_value(&list, i);
    if (list.entries + (size_t)list.count * PST_DIGESTS_ENTRY_BYTES != data + size || (sum != 0 && list.count == 0))
        abort();
}

static void parcel(const uint8_t *data, size_t size)
{
    struct sealed_parcel parcel;
    struct pst_enclave_piece piece;
    uint32_t bucket;
    uint64_t number, sum = 0;
    if (pst_sealed_parcel_read(data, size, &parcel) != PST_OK)
        return;
    for (uint32_t i = 0; i < parcel.digest_count; i++)
        if (pst_sealed_parcel_entry(parcel.digests, i, &bucket, &number) == PST_OK)
            sum += bucket + number;
    for (uint32_t i = 0; i < parcel.bucket_count; i++)
        if (pst_sealed_parcel_entry(parcel.buckets, i, &bucket, &number) == PST_OK)
            sum += bucket + number;
    for (uint32_t i = 0; i < parcel.piece_count && pst_sealed_parcel_piece(&parcel, &piece) == PST_OK; i++)
        for (uint32_t k = 0; k < piece.sealed_bytes; k++)
            sum += ((const uint8_t *)piece.sealed)[k]; /* all of it may be read */
    if (parcel.at > parcel.end || (sum != 0 && size == 0))
        abort();
}

static void shown(const uint8_t *data, size_t size)
{
    static const uint8_t config[32] = {9}, secret[32] = {1, 2}, others_secret[32] = {3, 4}, nonce[32] = {5};
    static struct meeting_node nodes[2];
    static uint8_t authority[32], good[PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX], key[32];
    static size_t good_bytes;
    const struct pst_enclave_meeting meeting = {1, 2, true};
    const struct pst_peer_self self = {&meeting, authority, config, secret, key, nonce};
    if (good_bytes == 0) {
        struct pst_process_evidence own = {.capabilities = PST_CONF_USER}, others = {.capabilities = PST_CONF_USER};
        meeting_authority(AUTHORITY, authority);
        for (uint8_t i = 0; i < 2; i++)
            meeting_node_make(&nodes[i], i + 1, AUTHORITY);
        memcpy(others.nonce, nonce, 32);
        if (pst_channel_key_public(secret, key) != PST_OK ||
            pst_channel_key_public(others_secret, others.channel_key) != PST_OK ||
            pst_peer_meeting_digest(&meeting, true, config, own.nonce + 32) != PST_OK ||
            pst_peer_meeting_digest(&meeting, false, config, others.nonce + 32) != PST_OK)
            abort();
        memcpy(own.channel_key, key, 32);
        meeting_evidence(&nodes[0], &own, good);
        meeting_evidence(&nodes[1], &others, good + PST_PEER_EVIDENCE_BYTES);
        memcpy(good + PST_PEER_HEADS_BYTES, nodes[1].certificate, nodes[1].certificate_bytes);
        good_bytes = PST_PEER_HEADS_BYTES + nodes[1].certificate_bytes;
    }
    uint8_t body[sizeof good];
    struct pst_peer_keys keys;
    const char *why;
    memcpy(body, good, good_bytes);
    for (; size >= 3; data += 3, size -= 3)
        body[((size_t)data[0] << 8 | data[1]) % good_bytes] = data[2];
    bool changed = memcmp(body, good, good_bytes) != 0;
    /* a certificate's bytes are all signed, and so is evidence but for which node has signed it */
    if ((pst_peer_meet(&self, body, good_bytes, &keys, &why) == PST_OK) == changed)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parts[])(const uint8_t *, size_t) = {certificate, digests, parcel, shown};
    if (size != 0)
        parts[data[0] % 4](data + 1, size - 1);
    return 0;
}
