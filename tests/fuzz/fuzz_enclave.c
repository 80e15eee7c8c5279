/* fuzz_enclave.c - what a worker is told by its host, once it has been opened: whatever the bytes, an answer. Odd first byte: a
 * configuration, which is written again as it was read. Even: messages, each a header and its body; bit 1: the header's lengths are made
 * right, so that what is behind the checks is reached. Bit 2: an index, as it is when it has been opened. The way back, host's side, is checked with the same bytes. */
#include "enclave_shim/inside/image.h"
#include "tests/enclave/tally.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *tally_try(const char *call)
{
    (void)call;
    return NULL;
}

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    uint64_t *sum = emitter;
    for (uint32_t i = 0; i < piece_count; i++)
        for (uint32_t k = 0; k < pieces[i].byte_count; k++)
            *sum += ((const uint8_t *)pieces[i].bytes)[k]; /* all of it may be read */
    *sum += message->kind;
    return PST_OK;
}

/* Now and then, so that frames are joined with those behind them, or not. */
static bool more(void *emitter) { return ++*(uint64_t *)emitter % 3 != 0; }

static void configuration(const uint8_t *data, size_t size)
{
    struct pst_enclave_operator operator;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    struct pst_text again = {0};
    struct pst_arena arena;
    pst_arena_init(&arena);
    if (pst_config_decode(data, size, &arena, &operator) == PST_OK) {
        pst_config_shapes(&operator, inputs, outputs);
        if (pst_config_encode(&operator, & again) != PST_OK || again.count != size ||
            memcmp(again.bytes, data, size) != 0)
            abort();
    }
    pst_text_fini(&again);
    pst_arena_fini(&arena);
}

/* A frame whose cells are the input's bytes, again and again. */
static uint32_t frame_write(const uint8_t *data, size_t size, uint32_t row_count, uint8_t *body)
{
    static _Alignas(8) uint8_t cells[64 * 8];
    for (size_t i = 0; i < sizeof cells; i++)
        cells[i] = size != 0 ? data[i % size] : 0;
    const struct pst_piece pieces[] = {{cells, row_count * 8, 8, false},
                                       {cells, row_count * 8, 8, true},
                                       {cells, row_count * 4, 4, false},
                                       {cells, row_count * 8, 8, false}};
    return pst_pieces_write(pieces, 4, body);
}

static void messages(const uint8_t *data, size_t size, bool lengths_right)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8];
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_inside *inside;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8], offer_seed[PST_OFFER_SEED_BYTES] = {0};
    char why[PST_SENTENCE_BYTES_MAX];
    uint64_t sum = 0;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    static const uint8_t authority[PST_ENCLAVE_AUTHORITY_BYTES] = {1}, digest[PST_CONFIG_DIGEST_BYTES] = {2};
    tally_config(&config, &param, "");
    config.authority = authority;
    memset(owned, 0x55, sizeof owned);
    pst_config_shapes(&config, inputs, outputs);
    static struct pst_secret *key;
    if (key == NULL && pst_secret_new(&key) != PST_OK)
        abort();
    struct pst_inside_settings settings = {.op = &tally,
                                           .config = &config,
                                           .owned = owned,
                                           .emit = emit,
                                           .emitter = &sum,
                                           .more = more,
                                           .image_key = key,
                                           .offer_seed = offer_seed,
                                           .config_digest = digest,
                                           .restore_keys = {key},
                                           .restore_key_count = 1};
    if (pst_inside_new(&settings, &inside, why) != PST_OK)
        abort();
    int rc = PST_OK;
    while (size >= sizeof(struct pst_message) && (rc == PST_OK || rc == PST_EDATA)) {
        struct pst_message message;
        memcpy(&message, data, sizeof message);
        data += sizeof message;
        size -= sizeof message;
        if (lengths_right && message.kind == PST_MESSAGE_FRAME) {
            message = (struct pst_message){.kind = PST_MESSAGE_FRAME, .row_count = message.row_count % 64 + 1};
            message.body_bytes = frame_write(data, size, message.row_count, (uint8_t *)body);
            (void)pst_message_check_out(&message, outputs, 1);
            rc = pst_inside_take(inside, &message, (uint8_t *)body);
            size_t used = size < 64 ? size : 64;
            data += used;
            size -= used;
            continue;
        }
        size_t count = message.body_bytes < sizeof body ? message.body_bytes : sizeof body;
        count = count < size ? count : size;
        memset(body, 0, sizeof body);
        memcpy(body, data, count);
        data += count;
        size -= count;
        (void)pst_message_check_out(&message, outputs, 1);
        rc = pst_inside_take(inside, &message, (uint8_t *)body);
    }
    pst_inside_free(inside);
}

static void an_index(const uint8_t *data, size_t size)
{
    struct pst_index index;
    uint64_t sum = 0;
    if (size > PST_PAGE_BYTES || pst_index_read(data, (uint32_t)size, &index) != PST_OK)
        return;
    for (uint32_t i = 0; i < index.log_count; i++)
        sum += pst_index_log(&index, i, 0).head;
    for (uint32_t i = 0; i < index.page_count * PST_INDEX_PAGE_BYTES; i++)
        sum += index.pages[i]; /* all of it may be read */
    for (uint32_t i = 0; i < PST_INDEX_SHAPE_BYTES; i++)
        sum += index.shape[i];
    if (index.pages + (size_t)index.page_count * PST_INDEX_PAGE_BYTES != data + size || (sum == 0 && size == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if ((data[0] & 1) != 0)
        configuration(data + 1, size - 1);
    else if ((data[0] & 4) != 0)
        an_index(data + 1, size - 1);
    else
        messages(data + 1, size - 1, (data[0] & 2) != 0);
    return 0;
}
