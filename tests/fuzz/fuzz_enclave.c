/* fuzz_enclave.c - what a worker is told by its host, once it has been opened: whatever the bytes, an answer. Odd first byte: a
 * configuration, which is written again as it was read. Even: messages, each a header and its body; bit 1: the header's lengths are made
 * right, so that what is behind the checks is reached. The way back, host's side, is checked with the same bytes. */
#include "enclave_shim/inside/inside.h"
#include "tests/enclave/tally.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void tally_try(const char *call) { (void)call; }

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    uint64_t *sum = emitter;
    for (uint32_t i = 0; i < piece_count; i++)
        for (uint32_t k = 0; k < pieces[i].byte_count; k++)
            *sum += ((const uint8_t *)pieces[i].bytes)[k]; /* all of it may be read */
    *sum += message->kind;
    return PST_OK;
}

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

static void messages(const uint8_t *data, size_t size, bool lengths_right)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8];
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_inside *inside;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    char why[PST_SENTENCE_BYTES_MAX];
    uint64_t sum = 0;
    struct pst_shape inputs[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    tally_config(&config, &param, "");
    memset(owned, 0x55, sizeof owned);
    pst_config_shapes(&config, inputs, outputs);
    struct pst_inside_settings settings = {
        .op = &tally, .config = &config, .owned = owned, .emit = emit, .emitter = &sum};
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
            message.body_bytes = (uint32_t)pst_shape_body_bytes(&inputs[0], message.row_count);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if ((data[0] & 1) != 0)
        configuration(data + 1, size - 1);
    else
        messages(data + 1, size - 1, (data[0] & 2) != 0);
    return 0;
}
