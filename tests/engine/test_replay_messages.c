/* test_replay_messages.c - the messages of a replay: what is packed is unpacked, what breaks a bound is neither. */
#include "engine/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static Pst__Control control;
static Pst__Replay replay;
static Pst__ReplayGo go;
static Pst__ReplayBytes bytes;
static Pst__ReplayGrant grant;
static Pst__ReplayEnd end;
static char long_name[PST_CONTROL_NAME_BYTES_MAX + 2];
static uint8_t payload[PST_CONTROL_BYTES_MAX];

static void sample(int body)
{
    pst__control__init(&control);
    pst__replay__init(&replay);
    pst__replay_go__init(&go);
    pst__replay_bytes__init(&bytes);
    pst__replay_grant__init(&grant);
    pst__replay_end__init(&end);
    memset(long_name, 'a', sizeof long_name - 1);
    replay.source = "meters";
    replay.stream = "0123456789abcdef@5..7";
    replay.client = UINT64_MAX;
    replay.beats = true;
    go.sentence = "graph `load` wartet";
    go.node = "north";
    go.address = "10.0.0.3:7400";
    go.open = true;
    go.offset = 5;
    go.limit = 5;
    go.client = 7;
    go.columns = 7;
    go.time_max = INT64_MAX;
    bytes.offset = UINT64_MAX - 3;
    bytes.payload = (ProtobufCBinaryData){3, payload};
    grant.limit = UINT64_MAX;
    end.length = UINT64_MAX;
    control.version = PST_CONTROL_VERSION;
    control.graph = "load";
    control.incarnation = 2;
    control.body_case = (Pst__Control__BodyCase)body;
    void *bodies[] = {&replay, &go, &bytes, &grant, &end};
    control.replay = bodies[body - PST__CONTROL__BODY_REPLAY]; /* one pointer of a union */
}

/* By protobuf-c alone, bounds or not. */
static int unpack_anyway(Pst__Control **ret_message, struct pst_arena *arena)
{
    size_t count = protobuf_c_message_get_packed_size(&control.base);
    uint8_t *packed = malloc(count);
    assert_non_null(packed);
    assert_int_equal(protobuf_c_message_pack(&control.base, packed), count);
    pst_arena_init(arena);
    int rc = pst_control_unpack(packed, count, SIZE_MAX, arena, ret_message);
    free(packed);
    return rc;
}

static void what_is_packed_is_unpacked(void **state)
{
    (void)state;
    for (int body = PST__CONTROL__BODY_REPLAY; body <= PST__CONTROL__BODY_REPLAY_END; body++) {
        struct pst_text text = {0}, again = {0};
        struct pst_arena arena;
        Pst__Control *message;
        sample(body);
        assert_int_equal(pst_control_pack(&control, &text), PST_OK);
        assert_int_equal(unpack_anyway(&message, &arena), PST_OK);
        assert_int_equal(message->body_case, body);
        assert_int_equal(pst_control_pack(message, &again), PST_OK);
        assert_int_equal(again.count, text.count);
        assert_memory_equal(again.bytes, text.bytes, text.count);
        pst_text_fini(&text);
        pst_text_fini(&again);
        pst_arena_fini(&arena);
    }
}

#define WRONG(X)                                           \
    X("a source", REPLAY, replay.source = "a b")           \
    X("a stream", REPLAY, replay.stream = "\n")            \
    X("a long stream", REPLAY, replay.stream = long_name)  \
    X("no stream", REPLAY, replay.stream = "")             \
    X("nobody", REPLAY, replay.client = 0)                 \
    X("a node", REPLAY_GO, go.node = "a b")                \
    X("an address", REPLAY_GO, go.address = long_name)     \
    X("a limit below the offset", REPLAY_GO, go.limit = 4) \
    X("no bytes", REPLAY_BYTES, bytes.payload.len = 0)     \
    X("bytes beyond the last offset", REPLAY_BYTES, bytes.offset = UINT64_MAX - 2)

static void what_breaks_a_bound_is_neither_packed_nor_unpacked(void **state)
{
    (void)state;
#define X(what, body, change)                                                               \
    {                                                                                       \
        struct pst_text text = {0};                                                         \
        struct pst_arena arena;                                                             \
        Pst__Control *message;                                                              \
        sample(PST__CONTROL__BODY_##body);                                                  \
        (void)(change);                                                                     \
        int packed = pst_control_pack(&control, &text);                                     \
        int unpacked = unpack_anyway(&message, &arena);                                     \
        if (packed != PST_EINVAL || unpacked != PST_EDATA)                                  \
            fail_msg("%s: %s, %s", what, pst_error_name(packed), pst_error_name(unpacked)); \
        pst_text_fini(&text);                                                               \
        pst_arena_fini(&arena);                                                             \
    }
    WRONG(X)
#undef X
}

static void more_bytes_than_a_message_may_have_are_refused(void **state)
{
    (void)state;
    struct pst_text text = {0};
    struct pst_arena arena;
    Pst__Control *message;
    sample(PST__CONTROL__BODY_REPLAY_BYTES);
    bytes.offset = 0;
    bytes.payload.len = sizeof payload;
    assert_int_equal(pst_control_pack(&control, &text), PST_EFULL);
    assert_int_equal(unpack_anyway(&message, &arena), PST_EFULL);
    pst_arena_fini(&arena);
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_is_unpacked),
        cmocka_unit_test(what_breaks_a_bound_is_neither_packed_nor_unpacked),
        cmocka_unit_test(more_bytes_than_a_message_may_have_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
