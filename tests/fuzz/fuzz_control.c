/* fuzz_control.c - control messages: whatever the bytes, an answer, in bounded memory; what is unpacked holds what control.h says,
 * and is the same when it was packed again. */
#include "engine/control.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* protobuf-c alone, each allocation from the system: in an arena a sanitizer does not see a byte too many. */
static void library_alone(const uint8_t *data, size_t size)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(&pst__control__descriptor, NULL, size, data);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void texts_hold(const Pst__Control *message)
{
    const char *shown = "";
    if (message->body_case == PST__CONTROL__BODY_REFUSED)
        shown = message->refused->sentence;
    if (message->body_case == PST__CONTROL__BODY_ENDED)
        shown = message->ended->sentence;
    if (message->body_case == PST__CONTROL__BODY_MOVE_STEP)
        shown = message->move_step->why;
    if (message->body_case == PST__CONTROL__BODY_HELLO)
        shown = message->hello->product;
    if (strlen(shown) > PST_CONTROL_TEXT_BYTES_MAX)
        abort();
    for (; *shown != '\0'; shown++)
        if ((unsigned char)*shown < ' ' || *shown == 0x7f)
            abort();
}

static void lists_hold(const Pst__Control *message)
{
    if (message->body_case == PST__CONTROL__BODY_START) {
        const Pst__Start *start = message->start;
        if (start->n_nodes > PST_CONTROL_NODES_MAX || start->n_addresses != start->n_nodes ||
            start->n_settings > PST_CONTROL_SETTINGS_MAX || start->this_node >= start->n_nodes)
            abort();
        for (size_t i = 0; i < start->n_places; i++)
            if (start->places[i]->node >= start->n_nodes || start->places[i]->partition >= PST_BUCKETS_MAX)
                abort();
    }
    if (message->body_case == PST__CONTROL__BODY_MOVE_STEP)
        for (size_t i = 0; i < message->move_step->n_buckets; i++)
            if (message->move_step->buckets[i] >= PST_BUCKETS_MAX)
                abort();
}

static void packed_again(const Pst__Control *message)
{
    struct pst_text first = {0}, second = {0};
    struct pst_arena arena;
    Pst__Control *again;
    pst_arena_init(&arena);
    if (pst_control_pack(message, &first) != PST_OK ||
        pst_control_unpack(first.bytes, first.count, SIZE_MAX, &arena, &again) != PST_OK ||
        again->body_case != message->body_case || pst_control_pack(again, &second) != PST_OK ||
        second.count != first.count || memcmp(second.bytes, first.bytes, first.count) != 0)
        abort();
    pst_text_fini(&first);
    pst_text_fini(&second);
    pst_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { ARENA_ROUNDS = 64 * 1024 };
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    int rc = pst_control_unpack(data, size, SIZE_MAX, &arena, &message);
    if (arena.bytes_total > pst_control_memory_max(size) + ARENA_ROUNDS)
        abort();
    if (rc == PST_OK) {
        if (message->version == 0 || message->version > PST_CONTROL_VERSION + 1)
            abort();
        texts_hold(message);
        lists_hold(message);
        packed_again(message);
    } else if (rc != PST_EDATA && rc != PST_EABI && rc != PST_EFULL) {
        abort();
    }
    pst_arena_fini(&arena);
    library_alone(data, size);
    return 0;
}
