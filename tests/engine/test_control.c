/* test_control.c - control messages: what is packed is unpacked; what breaks a bound is refused, and none takes more memory than it
 * may. */
#include "engine/control.h"

#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY_FIRST = PST__CONTROL__BODY_HELLO, BODY_END = PST__CONTROL__BODY_CHECKPOINTED + 1, ITEMS = 70000 };

/* ---- one message of each kind ---- */
static struct sample {
    Pst__Control control;
    Pst__Hello hello;
    Pst__Running running;
    Pst__Welcome welcome;
    Pst__Refused refused;
    Pst__Beat beat;
    Pst__Dealt dealt;
    uint32_t dealt_rows[PST_BUCKETS_MAX + 1];
    Pst__PartitionLoad load;
    Pst__EdgeLoad edge;
    Pst__Read read;
    Pst__Piece piece;
    Pst__BeatAck beat_ack;
    Pst__Start start;
    Pst__Setting setting;
    Pst__Place place;
    Pst__Replaced replaced;
    Pst__Started started;
    Pst__Ended ended;
    Pst__Stop stop;
    Pst__Cut cut;
    Pst__CutAnswer cut_answer;
    Pst__Image image;
    Pst__MoveStep step;
    Pst__BucketDigest digest;
    Pst__Admin admin;
    Pst__AdminReply reply;
    Pst__Checkpointed checkpointed;
    Pst__Probe probe;
    Pst__OrderRecord order;
} * s;
/* Lists of one thing, as long as a test wants. */
static void *items[ITEMS], *texts[ITEMS], *more_texts[ITEMS];
static void *edges[ITEMS], *dealts[ITEMS];
static uint32_t buckets[ITEMS];
static uint64_t numbers[ITEMS];
static char long_text[PST_CONTROL_TEXT_BYTES_MAX + 2], long_name[PST_CONTROL_NAME_BYTES_MAX + 2];

static void list(void **of, void *item)
{
    for (uint32_t i = 0; i < ITEMS; i++)
        of[i] = item;
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void sample_connections(void)
{
    pst__hello__init(&s->hello);
    pst__running__init(&s->running);
    pst__welcome__init(&s->welcome);
    pst__refused__init(&s->refused);
    pst__beat__init(&s->beat);
    pst__partition_load__init(&s->load);
    pst__beat_ack__init(&s->beat_ack);
    s->running.graph = "meters";
    s->running.incarnation = 4;
    s->hello.node = "north";
    s->hello.cluster = bytes_of("0123456789abcdef");
    s->hello.product = "0.1.0";
    s->hello.role = PST__ROLE__NODE;
    s->hello.address = "unix:/run/penstock/nördlich";
    s->hello.n_running = 2;
    s->hello.running = (Pst__Running **)(void *)items;
    s->welcome.cluster = s->hello.cluster;
    s->welcome.node = "south";
    s->welcome.coordinator = "east";
    s->welcome.coordinator_address = "10.0.0.3:7400";
    s->refused.error = PST_EREFUSED;
    s->refused.sentence = "bucket 7 is moving already: move 12";
    s->load.operator_id = "by_house";
    s->load.partition = 3;
    s->load.rows = s->load.busy_ns = s->load.queue_bytes = UINT64_MAX;
    s->load.watermark = INT64_MIN;
    s->beat.n_partitions = 3;
    s->beat.partitions = (Pst__PartitionLoad **)(void *)items;
    s->beat.memory_bytes = 1 << 30;
    pst__edge_load__init(&s->edge);
    s->edge.operator_id = "by_house";
    s->edge.from = "meters";
    s->edge.rows = s->edge.queue_bytes_max = UINT64_MAX;
    s->beat.n_edges = 2;
    s->beat.edges = (Pst__EdgeLoad **)(void *)edges;
    pst__dealt__init(&s->dealt);
    s->dealt.operator_id = "by_house";
    s->dealt.input = 1;
    for (uint32_t b = 0; b < PST_BUCKETS_MAX; b++)
        s->dealt_rows[b] = UINT32_MAX - b;
    s->dealt.rows = s->dealt_rows;
    s->dealt.n_rows = 256;
    s->dealt.along = 12;
    s->beat.n_dealt = 2;
    s->beat.dealt = (Pst__Dealt **)(void *)dealts;
    list(dealts, &s->dealt);
    list(edges, &s->edge);
}

static void sample_runs(void)
{
    pst__start__init(&s->start);
    pst__setting__init(&s->setting);
    pst__place__init(&s->place);
    pst__started__init(&s->started);
    pst__ended__init(&s->ended);
    pst__stop__init(&s->stop);
    s->setting.name = "window";
    s->setting.value = "60\n\t30";
    s->place.operator_id = "by_house";
    s->place.partition = 2;
    s->place.node = 1;
    s->start.text = bytes_of("penstock: 1\nname: meters\n");
    s->start.file = "meters.yaml";
    s->start.n_settings = 1;
    static Pst__Setting *settings[PST_CONTROL_SETTINGS_MAX + 1];
    list(items, &s->place);
    for (uint32_t i = 0; i <= PST_CONTROL_SETTINGS_MAX; i++)
        settings[i] = &s->setting;
    s->start.settings = settings;
    static Pst__Replaced *replaced[3];
    pst__replaced__init(&s->replaced);
    s->replaced.operator_id = "by_house";
    s->replaced.partition = 2;
    s->replaced.born = 7;
    s->replaced.node = 1;
    for (uint32_t i = 0; i < 3; i++)
        replaced[i] = &s->replaced;
    s->start.n_replaced_partitions = 3;
    s->start.replaced_partitions = replaced;
    s->start.n_places = 4;
    s->start.places = (Pst__Place **)(void *)items;
    s->start.n_nodes = s->start.n_addresses = 2;
    s->start.nodes = (char **)(void *)texts;
    s->start.addresses = (char **)(void *)more_texts;
    list(texts, "north");
    list(more_texts, "10.0.0.3:7400");
    s->start.n_node_workers = 2;
    s->start.node_workers = buckets; /* any numbers */
    s->start.this_node = 1;
    s->start.workers = PST_WORKERS_MAX;
    s->start.checkpoint = 5;
    s->start.n_checkpoint_nodes = 2;
    s->start.checkpoint_nodes = (char **)(void *)texts;
    s->start.n_saved_sources = 2;
    s->start.saved_sources = (char **)(void *)texts;
    s->start.checkpoint_every_ns = UINT64_MAX;
    s->ended.error = PST_EDATA;
    s->ended.sentence = "line 7 is not well-formed";
    s->ended.watermark = -1;
    s->ended.operator_id = "by_house";
    s->ended.partition = 2;
    s->ended.born = 7;
    s->ended.replaced = 1;
    s->stop.drain = true;
}

static void sample_moves(void)
{
    pst__cut__init(&s->cut);
    pst__cut_answer__init(&s->cut_answer);
    pst__image__init(&s->image);
    pst__move_step__init(&s->step);
    pst__bucket_digest__init(&s->digest);
    pst__admin__init(&s->admin);
    pst__admin_reply__init(&s->reply);
    pst__checkpointed__init(&s->checkpointed);
    pst__probe__init(&s->probe);
    s->probe.keys = "unix:/run/keys";
    s->probe.sentence = "it does not answer";
    s->checkpointed.checkpoint = 7;
    s->checkpointed.error = PST_EIO;
    s->checkpointed.sentence = "no space left on the device";
    s->cut.kind = PST__CUT_KIND__TELL;
    s->cut.time = -60;
    s->cut.checkpoint = s->cut_answer.checkpoint = (uint64_t)3 << 32 | 2;
    s->cut.complete = s->cut_answer.last = (uint64_t)3 << 32 | 1;
    s->cut_answer.position = bytes_of("position");
    s->cut_answer.under_way = s->cut_answer.ended = true;
    s->image.operator_id = "by_house";
    s->image.piece = 1;
    s->image.piece_count = 2;
    s->image.payload = bytes_of("sealed");
    s->digest.bucket = PST_BUCKETS_MAX - 1;
    s->digest.digest = UINT64_MAX;
    s->step.step = PST__STEP__DIGEST;
    s->step.operator_id = "by_house";
    s->step.from_node = "north";
    s->step.to_node = "south";
    s->step.n_buckets = s->step.n_digests = 3;
    s->step.buckets = buckets;
    s->step.digests = (Pst__BucketDigest **)(void *)items;
    s->step.n_numbers = 3;
    s->step.numbers = numbers;
    s->step.rows_lost = 1;
    s->step.lag_ns = -5;
    s->step.why = "über dem Maß";
    pst__order_record__init(&s->order);
    s->order.kind = 2;
    s->order.operator_id = "by_house";
    s->order.count = 4;
    s->order.deadline_ns = 1;
    s->order.n_buckets = 3;
    s->order.buckets = buckets;
    s->order.to_node = "n2";
    s->order.into = 1;
    s->admin.n_arguments = 2;
    s->admin.arguments = (char **)(void *)texts;
    s->admin.body = bytes_of("penstock: 1");
    s->admin.json = true;
    s->reply.error = -2;
    s->reply.out = bytes_of("one\x1b[0m\n");
    s->reply.last = true;
}

static void *body_of(int body)
{
    void *bodies[] = {&s->hello,   &s->welcome, &s->refused, &s->beat,        &s->beat_ack,   &s->start,
                      &s->started, &s->ended,   &s->stop,    &s->cut,         &s->cut_answer, &s->image,
                      &s->step,    &s->admin,   &s->reply,   &s->checkpointed};
    return body == PST__CONTROL__BODY_PROBE          ? (void *)&s->probe
           : body == PST__CONTROL__BODY_ORDER_RECORD ? (void *)&s->order
                                                     : bodies[body - BODY_FIRST];
}

static void sample(int body)
{
    sample_connections();
    sample_runs();
    sample_moves();
    if (body == PST__CONTROL__BODY_HELLO)
        list(items, &s->running);
    if (body == PST__CONTROL__BODY_BEAT)
        list(items, &s->load);
    if (body == PST__CONTROL__BODY_MOVE_STEP)
        list(items, &s->digest);
    for (uint32_t i = 0; i < ITEMS; i++)
        buckets[i] = i % PST_BUCKETS_MAX;
    for (uint32_t i = 0; i < ITEMS; i++)
        numbers[i] = UINT64_MAX - i;
    pst__control__init(&s->control);
    s->control.version = PST_CONTROL_VERSION;
    s->control.request = 77;
    s->control.term = 3;
    s->control.graph = "meters";
    s->control.incarnation = 4;
    s->control.move = 12;
    s->control.owner_epoch = 2;
    s->control.body_case = (Pst__Control__BodyCase)body;
    s->control.hello = body_of(body); /* one pointer of a union */
}

static int begin(void **state)
{
    (void)state;
    memset(long_text, 'a', sizeof long_text - 1);
    memset(long_name, 'a', sizeof long_name - 1);
    s = calloc(1, sizeof *s);
    return s != NULL ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    free(s);
    return 0;
}

/* By protobuf-c alone, bounds or not. To be freed. */
static uint8_t *packed_anyway(size_t *ret_count)
{
    *ret_count = protobuf_c_message_get_packed_size(&s->control.base);
    uint8_t *bytes = malloc(*ret_count + 64);
    assert_non_null(bytes);
    assert_int_equal(protobuf_c_message_pack(&s->control.base, bytes), *ret_count);
    return bytes;
}

/* From memory of exactly that size, so that a sanitizer sees a read behind it. What is accepted can be packed, and then is the same
 * for whoever unpacks it. */
static int unpack_limited(const void *bytes, size_t count, size_t limit)
{
    struct pst_arena arena, again_arena;
    struct pst_text again = {0}, once_more = {0};
    Pst__Control *message;
    uint8_t *copy = malloc(count != 0 ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    pst_arena_init(&arena);
    int rc = pst_control_unpack(copy, count, limit, &arena, &message);
    free(copy); /* nothing is borrowed */
    if (rc == PST_OK) {
        pst_arena_init(&again_arena);
        assert_int_equal(pst_control_pack(message, &again), PST_OK);
        assert_int_equal(pst_control_unpack(again.bytes, again.count, SIZE_MAX, &again_arena, &message), PST_OK);
        assert_int_equal(pst_control_pack(message, &once_more), PST_OK);
        assert_int_equal(again.count, once_more.count);
        assert_memory_equal(again.bytes, once_more.bytes, again.count);
        pst_arena_fini(&again_arena);
    }
    pst_text_fini(&again);
    pst_text_fini(&once_more);
    pst_arena_fini(&arena);
    return rc;
}
static int unpack(const void *bytes, size_t count) { return unpack_limited(bytes, count, SIZE_MAX); }

static int unpack_anyway(void)
{
    size_t count;
    uint8_t *bytes = packed_anyway(&count);
    int rc = unpack(bytes, count);
    free(bytes);
    return rc;
}

/* ---- what holds ---- */
static void what_is_packed_is_unpacked(void **state)
{
    (void)state;
    for (int body = BODY_FIRST; body < BODY_END; body++) {
        struct pst_text text = {0};
        size_t count;
        sample(body);
        uint8_t *bytes = packed_anyway(&count);
        assert_int_equal(pst_control_pack(&s->control, &text), PST_OK);
        assert_int_equal(text.count, count);
        assert_memory_equal(text.bytes, bytes, count);
        assert_int_equal(unpack(bytes, count), PST_OK);
        free(bytes);
        pst_text_fini(&text);
    }
}

static void fields_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct pst_text text = {0};
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    sample(PST__CONTROL__BODY_MOVE_STEP);
    s->control.version = 9; /* is put in by who packs */
    assert_int_equal(pst_control_pack(&s->control, &text), PST_OK);
    assert_int_equal(pst_control_unpack(text.bytes, text.count, PST_CONTROL_BYTES_MAX, &arena, &message), PST_OK);
    assert_int_equal(message->version, PST_CONTROL_VERSION);
    assert_int_equal(message->request, 77);
    assert_int_equal(message->term, 3);
    assert_string_equal(message->graph, "meters");
    assert_int_equal(message->incarnation, 4);
    assert_int_equal(message->move, 12);
    assert_int_equal(message->owner_epoch, 2);
    const Pst__MoveStep *step = message->move_step;
    assert_int_equal(step->step, PST__STEP__DIGEST);
    assert_string_equal(step->to_node, "south");
    assert_int_equal(step->lag_ns, -5);
    assert_int_equal(step->n_buckets, 3);
    assert_int_equal(step->buckets[2], 2);
    assert_int_equal(step->n_numbers, 3);
    assert_int_equal(step->numbers[2], UINT64_MAX - 2);
    assert_int_equal(step->rows_lost, 1);
    assert_int_equal(step->n_digests, 3);
    assert_int_equal(step->digests[1]->bucket, PST_BUCKETS_MAX - 1);
    assert_int_equal(step->digests[1]->digest, UINT64_MAX);
    assert_string_equal(step->why, "über dem Maß");
    pst_text_fini(&text);
    pst_arena_fini(&arena);
}

static uint64_t random_state;
static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static uint32_t random_below(uint32_t n) { return (uint32_t)(random_next() % n); }

static void messages_of_any_size_come_out_as_they_went_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_state = seed;
        sample(BODY_FIRST + (int)random_below(BODY_END - BODY_FIRST));
        s->control.request = random_next() >> random_below(64);
        s->hello.n_running = random_below(50);
        s->beat.n_partitions = random_below(800);
        s->load.rows = random_next() >> random_below(64);
        s->load.watermark = (int64_t)random_next();
        s->start.n_places = random_below(3000);
        s->start.n_settings = random_below(PST_CONTROL_SETTINGS_MAX + 1);
        s->start.n_nodes = s->start.n_addresses = s->start.n_node_workers = 2 + random_below(PST_CONTROL_NODES_MAX - 1);
        s->step.n_buckets = random_below(PST_BUCKETS_MAX + 1);
        s->step.n_digests = random_below(3000);
        s->step.step = (Pst__Step)(1 + random_below(PST__STEP__DROPPED));
        s->admin.n_arguments = random_below(PST_CONTROL_ARGUMENTS_MAX + 1);
        s->image.payload.data = (uint8_t *)long_text;
        s->image.payload.len = random_below(sizeof long_text);
        size_t count;
        uint8_t *bytes = packed_anyway(&count);
        struct pst_text text = {0};
        if (unpack(bytes, count) != PST_OK || pst_control_pack(&s->control, &text) != PST_OK)
            fail_msg("seed %llu", (unsigned long long)seed);
        assert_int_equal(text.count, count);
        assert_memory_equal(text.bytes, bytes, count);
        pst_text_fini(&text);
        free(bytes);
    }
}

static void what_is_cut_short_is_refused(void **state)
{
    (void)state;
    for (int body = BODY_FIRST; body < BODY_END; body++) {
        size_t whole;
        sample(body);
        uint8_t *bytes = packed_anyway(&whole);
        for (size_t count = 0; count < whole; count++)
            assert_int_equal(unpack(bytes, count), PST_EDATA);
        free(bytes);
    }
}

static void a_changed_bit_is_refused_or_means_what_it_says(void **state)
{
    (void)state;
    for (int body = BODY_FIRST; body < BODY_END; body++) {
        size_t count, refused = 0;
        sample(body);
        uint8_t *bytes = packed_anyway(&count);
        for (size_t bit = 0; bit < count * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int rc = unpack(bytes, count);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (rc != PST_OK && rc != PST_EDATA && rc != PST_EABI && rc != PST_EFULL)
                fail_msg("body %d, bit %zu: %d", body, bit, rc);
            refused += rc != PST_OK;
        }
        assert_true(refused > 16);
        assert_int_equal(unpack(bytes, count), PST_OK);
        free(bytes);
    }
}

static void noise_is_refused(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        size_t count;
        random_state = seed;
        sample(BODY_FIRST + (int)random_below(BODY_END - BODY_FIRST));
        uint8_t *bytes = packed_anyway(&count);
        for (uint32_t n = 1 + random_below(6); n != 0; n--)
            bytes[random_below((uint32_t)count)] = (uint8_t)random_next();
        (void)unpack(bytes, count); /* it compares what it accepts */
        free(bytes);
    }
}

static void versions_one_apart_understand_each_other(void **state)
{
    (void)state;
    sample(PST__CONTROL__BODY_STOP);
    s->control.version = 0;
    assert_int_equal(unpack_anyway(), PST_EDATA);
    s->control.version = PST_CONTROL_VERSION + 1;
    assert_int_equal(unpack_anyway(), PST_OK);
    s->control.version = PST_CONTROL_VERSION + 2;
    assert_int_equal(unpack_anyway(), PST_EABI);
    s->control.version = UINT32_MAX;
    assert_int_equal(unpack_anyway(), PST_EABI);
}

/* A sample with bytes behind its last field. */
static int unpack_with(const void *more, size_t more_count)
{
    size_t count;
    uint8_t *bytes = packed_anyway(&count);
    memcpy(bytes + count, more, more_count);
    int rc = unpack(bytes, count + more_count);
    free(bytes);
    return rc;
}

static void fields_that_are_not_known_are_passed_over(void **state)
{
    (void)state;
    sample(PST__CONTROL__BODY_STOP);
    assert_int_equal(unpack_with("\x78\x05", 2), PST_OK);     /* 15: a varint */
    assert_int_equal(unpack_with("\x79ofeight.", 9), PST_OK); /* 15: 8 bytes */
    assert_int_equal(unpack_with("\x7a\x03txt", 5), PST_OK);  /* 15: bytes */
    assert_int_equal(unpack_with("\x7d"
                                 "four",
                                 5),
                     PST_OK);                                             /* 15: 4 bytes */
    assert_int_equal(unpack_with("\xf8\xff\xff\xff\x0f\x05", 6), PST_OK); /* the last number there is */
    assert_int_equal(unpack_with("\x7b\x7c", 2), PST_EDATA);              /* 15: a group, of old */
    assert_int_equal(unpack_with("\x7a\x04txt", 5), PST_EDATA);           /* longer than what there is */
    assert_int_equal(unpack_with("\x78", 1), PST_EDATA);                  /* cut short */
    assert_int_equal(unpack_with("\x78\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12), PST_EDATA); /* no end */
    assert_int_equal(unpack_with("\x00\x05", 2), PST_EDATA);                                          /* no number */
    assert_int_equal(unpack_with("\x81\x00of eight", 10), PST_EDATA);                                 /* the same */
    /* In a body: Stop, with a field 9. */
    assert_int_equal(unpack("\x08\x01\xc2\x01\x04\x08\x01\x48\x07", 9), PST_OK);
}

static void fields_that_are_not_known_are_not_handed_on(void **state)
{
    (void)state;
    static const char stop[] = "\x08\x01\xc2\x01\x04\x08\x01\x48\x07\x78\x05"; /* 9 in the body, 15 beside it */
    /* A Beat of one load with a field 15. */
    static const char beat[] = "\x08\x01\x9a\x01\x06\x0a\x04\x10\x02\x78\x05";
    static const struct {
        const char *bytes;
        size_t count, known_count;
    } messages[] = {{stop, sizeof stop - 1, 7}, {beat, sizeof beat - 1, 9}};
    for (size_t i = 0; i < 2; i++) {
        struct pst_arena arena;
        struct pst_text text = {0};
        Pst__Control *message;
        pst_arena_init(&arena);
        assert_int_equal(pst_control_unpack(messages[i].bytes, messages[i].count, SIZE_MAX, &arena, &message), PST_OK);
        assert_int_equal(pst_control_pack(message, &text), PST_OK);
        assert_int_equal(text.count, messages[i].known_count);
        pst_text_fini(&text);
        pst_arena_fini(&arena);
    }
}

static int term_pack(uint64_t term, const char *node, const char *address, uint64_t session, struct pst_text *bytes)
{
    Pst__Term body = PST__TERM__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.node = (char *)(uintptr_t)node;
    body.address = (char *)(uintptr_t)address;
    body.session = session;
    message.term = term;
    message.body_case = PST__CONTROL__BODY_TERM_OF;
    message.term_of = &body;
    return pst_control_pack(&message, bytes);
}

static void a_term_says_who_and_where_and_since_when(void **state)
{
    (void)state;
    struct pst_text text = {0};
    assert_int_equal(term_pack(3, "n1", "127.0.0.1:7001", 9, &text), PST_OK);
    assert_int_equal(unpack(text.bytes, text.count), PST_OK);
    pst_text_fini(&text);
    assert_int_equal(term_pack(0, "n1", "127.0.0.1:7001", 9, &text), PST_EINVAL);
    assert_int_equal(term_pack(3, "", "127.0.0.1:7001", 9, &text), PST_EINVAL);
    assert_int_equal(term_pack(3, "n 1", "127.0.0.1:7001", 9, &text), PST_EINVAL);
    assert_int_equal(term_pack(3, "n1", "", 9, &text), PST_EINVAL);
    assert_int_equal(term_pack(3, "n1", "127.0.0.1:7001", 0, &text), PST_EINVAL);
    pst_text_fini(&text);
}

static void one_body_and_no_more_is_accepted(void **state)
{
    (void)state;
    struct pst_text text = {0};
    sample(PST__CONTROL__BODY_STOP);
    s->control.body_case = PST__CONTROL__BODY__NOT_SET;
    assert_int_equal(pst_control_pack(&s->control, &text), PST_EINVAL);
    sample(PST__CONTROL__BODY_STOP);
    assert_int_equal(unpack_with("\xc2\x01\x00", 3), PST_EDATA); /* 24, Stop, again */
    assert_int_equal(unpack_with("\xa2\x01\x00", 3), PST_EDATA); /* 20, BeatAck, too */
    assert_int_equal(unpack_with("\xfa\x03\x00", 3), PST_EDATA); /* 63, not known, too */
    assert_int_equal(unpack("\x08\x01", 2), PST_EDATA);
    assert_int_equal(unpack("\x08\x01\xa2\x01\x00", 5), PST_OK);
    assert_int_equal(unpack("\x08\x01\xfa\x03\x00", 5), PST_EABI); /* 63 alone: a newer one */
    assert_int_equal(unpack("\x08\x02\xfa\x03\x00", 5), PST_EABI);
    assert_int_equal(unpack("\x08\x01\xa0\x01\x05", 5), PST_EDATA); /* 20 as a varint */
}

static void values_that_are_not_known_are_of_a_newer_version(void **state)
{
    (void)state;
    sample(PST__CONTROL__BODY_HELLO);
    s->hello.role = (Pst__Role)4;
    assert_int_equal(unpack_anyway(), PST_EABI);
    sample(PST__CONTROL__BODY_CUT);
    s->cut.kind = (Pst__CutKind)5;
    assert_int_equal(unpack_anyway(), PST_EABI);
    sample(PST__CONTROL__BODY_MOVE_STEP);
    s->step.step = (Pst__Step)99;
    assert_int_equal(unpack_anyway(), PST_EABI);
}

#define WRONG(X)                                                                                                   \
    X("a graph's name", HELLO, s->control.graph = "a graph")                                                       \
    X("a name too long", HELLO, s->hello.node = long_name)                                                         \
    X("a name beyond ASCII", HELLO, s->hello.node = "nördlich")                                                    \
    X("a cluster's id too long", HELLO, s->hello.cluster = bytes_of(long_name))                                    \
    X("a product that moves the cursor", HELLO, s->hello.product = "0.1\x1b[2J")                                   \
    X("an address too long", HELLO, s->hello.address = long_name)                                                  \
    X("a role that says nothing", HELLO, s->hello.role = PST__ROLE__ROLE_UNSAID)                                   \
    X("too many graphs", HELLO, s->hello.n_running = PST_CONTROL_GRAPHS_MAX + 1)                                   \
    X("a graph that runs", HELLO, s->running.graph = "\n")                                                         \
    X("whom it meets", WELCOME, s->welcome.node = "a b")                                                           \
    X("a cluster met", WELCOME, s->welcome.cluster = bytes_of(long_name))                                          \
    X("who coordinates", WELCOME, s->welcome.coordinator = "\x7f")                                                 \
    X("where", WELCOME, s->welcome.coordinator_address = "\t")                                                     \
    X("a cut to wait for without a number", CUT, (s->cut.kind = PST__CUT_KIND__WAIT, s->cut.checkpoint = 0))       \
    X("an answer to nothing", CUT_ANSWER, s->cut_answer.checkpoint = 0)                                            \
    X("a load of nobody", BEAT, s->load.operator_id = " ")                                                         \
    X("a load of no partition", BEAT, s->load.partition = PST_BUCKETS_MAX + 1)                                     \
    X("too many loads", BEAT,                                                                                      \
      (s->load.rows = s->load.busy_ns = s->load.queue_bytes = 0, s->load.watermark = 0,                            \
       s->beat.n_partitions = PST_CONTROL_PARTITIONS_MAX + 1))                                                     \
    X("rows dealt to nobody", BEAT, s->dealt.operator_id = "a b")                                                  \
    X("rows dealt to too many buckets", BEAT, (s->beat.n_dealt = 1, s->dealt.n_rows = PST_BUCKETS_MAX + 1))        \
    X("too many of them", BEAT,                                                                                    \
      (s->beat.n_partitions = s->beat.n_edges = 0, s->dealt.n_rows = 0, s->dealt.input = s->dealt.along = 0,       \
       s->beat.n_dealt = PST_CONTROL_PARTITIONS_MAX + 1))                                                          \
    X("a file's name", START, s->start.file = "a\nb")                                                              \
    X("too many settings", START, s->start.n_settings = PST_CONTROL_SETTINGS_MAX + 1)                              \
    X("a setting's name", START, s->setting.name = "a\tb")                                                         \
    X("a setting's value", START, s->setting.value = "a\x08")                                                      \
    X("too many places", START, s->start.n_places = PST_CONTROL_PLACES_MAX + 1)                                    \
    X("a place's operator", START, s->place.operator_id = "a b")                                                   \
    X("a place's partition", START, s->place.partition = PST_BUCKETS_MAX + 1)                                      \
    X("a place's node", START, s->place.node = 2)                                                                  \
    X("too many nodes", START,                                                                                     \
      s->start.n_nodes = s->start.n_addresses = s->start.n_node_workers = PST_CONTROL_NODES_MAX + 1)               \
    X("a node without an address", START, s->start.n_addresses = 1)                                                \
    X("a node without its workers", START, s->start.n_node_workers = 1)                                            \
    X("no node", START, s->start.n_nodes = s->start.n_addresses = s->start.n_node_workers = s->start.n_places = 0) \
    X("a node that is none of them", START, s->start.this_node = 2)                                                \
    X("a node's name", START, texts[1] = "a b")                                                                    \
    X("a node's address", START, more_texts[1] = "a\nb")                                                           \
    X("parts of no checkpoint", START, s->start.checkpoint = 0)                                                    \
    X("a checkpoint without parts", START, s->start.n_checkpoint_nodes = 0)                                        \
    X("too many parts of a checkpoint", START, s->start.n_checkpoint_nodes = PST_CONTROL_NODES_MAX + 1)            \
    X("a replaced partition's operator", START, s->replaced.operator_id = "a b")                                   \
    X("a replaced partition", START, s->replaced.partition = PST_BUCKETS_MAX + 1)                                  \
    X("where a replaced partition was", START, s->replaced.node = 2)                                               \
    X("a dead partition's operator", ENDED, s->ended.operator_id = "a b")                                          \
    X("a dead partition", ENDED, s->ended.partition = PST_BUCKETS_MAX + 1)                                         \
    X("a keeper's address", PROBE, s->probe.keys = long_name)                                                      \
    X("an order for nothing", ORDER_RECORD, s->order.kind = 0)                                                     \
    X("an order's operator", ORDER_RECORD, s->order.operator_id = "a b")                                           \
    X("an order's node", ORDER_RECORD, s->order.to_node = "a b")                                                   \
    X("an order of too many partitions", ORDER_RECORD, s->order.count = PST_BUCKETS_MAX + 1)                       \
    X("an order into no bucket's partition", ORDER_RECORD, s->order.into = PST_BUCKETS_MAX + 1)                    \
    X("an order of too many buckets", ORDER_RECORD, s->order.n_buckets = PST_BUCKETS_MAX + 1)                      \
    X("an order's bucket", ORDER_RECORD, buckets[2] = PST_BUCKETS_MAX)                                             \
    X("an order's bucket twice", ORDER_RECORD, buckets[2] = buckets[1])                                            \
    X("an order that lasts too long", ORDER_RECORD, s->order.deadline_ns = PST_CONTROL_DEADLINE_NS_MAX + 1)        \
    X("no checkpoint", CHECKPOINTED, s->checkpointed.checkpoint = 0)                                               \
    X("too many readers of a savepoint", START, s->start.n_saved_sources = PST_CONTROL_NODES_MAX + 1)              \
    X("too many workers", START, s->start.workers = PST_WORKERS_MAX + 1)                                           \
    X("a cut that says nothing", CUT, s->cut.kind = PST__CUT_KIND__CUT_UNSAID)                                     \
    X("an image's operator", IMAGE, s->image.operator_id = "\n")                                                   \
    X("an image's partition", IMAGE, s->image.partition = PST_BUCKETS_MAX)                                         \
    X("an image's piece", IMAGE, s->image.piece = 2)                                                               \
    X("a step that says nothing", MOVE_STEP, s->step.step = PST__STEP__STEP_UNSAID)                                \
    X("a step's operator", MOVE_STEP, s->step.operator_id = "a b")                                                 \
    X("a giver", MOVE_STEP, s->step.from_node = "a b")                                                             \
    X("a taker", MOVE_STEP, s->step.to_node = "a b")                                                               \
    X("a giver's partition", MOVE_STEP, s->step.from_partition = PST_BUCKETS_MAX + 1)                              \
    X("a taker's partition", MOVE_STEP, s->step.to_partition = PST_BUCKETS_MAX + 1)                                \
    X("too many buckets", MOVE_STEP, s->step.n_buckets = PST_BUCKETS_MAX + 1)                                      \
    X("too many numbers", MOVE_STEP, s->step.n_numbers = PST_BUCKETS_MAX + 1)                                      \
    X("a bucket", MOVE_STEP, buckets[2] = PST_BUCKETS_MAX)                                                         \
    X("too many digests", MOVE_STEP, (s->step.n_digests = PST_BUCKETS_MAX + 1, s->digest.bucket = 0))              \
    X("a digest's bucket", MOVE_STEP, s->digest.bucket = PST_BUCKETS_MAX)                                          \
    X("too many arguments", ADMIN, s->admin.n_arguments = PST_CONTROL_ARGUMENTS_MAX + 1)                           \
    X("an argument", ADMIN, texts[1] = "\x1b")

static void what_breaks_a_bound_is_neither_packed_nor_unpacked(void **state)
{
    (void)state;
#define X(what, body, change)                                                               \
    {                                                                                       \
        struct pst_text text = {0};                                                         \
        sample(PST__CONTROL__BODY_##body);                                                  \
        (void)(change);                                                                     \
        int packed = pst_control_pack(&s->control, &text), unpacked = unpack_anyway();      \
        if (packed != PST_EINVAL || unpacked != PST_EDATA)                                  \
            fail_msg("%s: %s, %s", what, pst_error_name(packed), pst_error_name(unpacked)); \
        pst_text_fini(&text);                                                               \
    }
    WRONG(X)
#undef X
}

/* What stands in a sentence decides nothing, and must not end a connection: neither who sends it nor who reads it refuses the message. */
static const char *words_of(const Pst__Control *message)
{
    return message->body_case == PST__CONTROL__BODY_REFUSED     ? message->refused->sentence
           : message->body_case == PST__CONTROL__BODY_ENDED     ? message->ended->sentence
           : message->body_case == PST__CONTROL__BODY_MOVE_STEP ? message->move_step->why
           : message->body_case == PST__CONTROL__BODY_PROBE     ? message->probe->sentence
                                                                : message->checkpointed->sentence;
}

static void expect_words(const void *bytes, size_t count, const char *wanted)
{
    struct pst_arena arena;
    Pst__Control *message;
    pst_arena_init(&arena);
    assert_int_equal(pst_control_unpack(bytes, count, SIZE_MAX, &arena, &message), PST_OK);
    assert_string_equal(words_of(message), wanted);
    pst_arena_fini(&arena);
}

static void words_that_are_not_plain_are_made_so(void **state)
{
    (void)state;
    static char cut[PST_CONTROL_TEXT_BYTES_MAX + 2], cut_plain[PST_CONTROL_TEXT_BYTES_MAX + 1];
    static const int bodies[] = {PST__CONTROL__BODY_REFUSED, PST__CONTROL__BODY_ENDED, PST__CONTROL__BODY_MOVE_STEP,
                                 PST__CONTROL__BODY_CHECKPOINTED, PST__CONTROL__BODY_PROBE};
    const struct {
        const char *words, *plain;
    } cases[] = {{"no\nyes\tno", "no yes no"}, {"\x1b[2J\x7f\rgone", "?[2J??gone"},
                 {"\xff\xc3", "??"},           {"\xc2\x80 bad, ü good", "?? bad, ü good"},
                 {long_text, cut_plain},       {cut, cut_plain}};
    memset(cut, 'a', sizeof cut - 1);
    memset(cut_plain, 'a', sizeof cut_plain - 1);
    memcpy(cut + PST_CONTROL_TEXT_BYTES_MAX - 1, "ü", 2); /* across the end */
    for (size_t b = 0; b < sizeof bodies / sizeof bodies[0]; b++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct pst_text text = {0};
            size_t count;
            cut_plain[PST_CONTROL_TEXT_BYTES_MAX - (cases[i].words == cut)] = '\0';
            sample(bodies[b]);
            char *words = (char *)(uintptr_t)cases[i].words;
            s->refused.sentence = s->ended.sentence = s->step.why = s->checkpointed.sentence = s->probe.sentence =
                words;
            uint8_t *anyway = packed_anyway(&count);
            expect_words(anyway, count, cases[i].plain);
            assert_int_equal(unpack(anyway, count), PST_OK);
            free(anyway);
            assert_int_equal(pst_control_pack(&s->control, &text), PST_OK);
            expect_words(text.bytes, text.count, cases[i].plain);
            assert_ptr_equal(words_of(&s->control), words); /* nothing of the caller's was changed */
            pst_text_fini(&text);
            cut_plain[PST_CONTROL_TEXT_BYTES_MAX - 1] = 'a';
        }
    }
}

static void texts_are_what_rfc_3629_says(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a~",
                                       "\xc2\xa0",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x1f",
                                      "\x7f",
                                      "\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2 ",
                                      "\xc2\x9f",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe0\xa0",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        sample(PST__CONTROL__BODY_START);
        s->start.file = (char *)(uintptr_t)good[i];
        if (unpack_anyway() != PST_OK)
            fail_msg("good[%zu]", i);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sample(PST__CONTROL__BODY_START);
        s->start.file = (char *)(uintptr_t)bad[i];
        if (unpack_anyway() != PST_EDATA)
            fail_msg("bad[%zu]", i);
    }
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    static uint8_t payload[PST_CONTROL_LONG_BYTES_MAX];
    struct pst_text text = {0};
    size_t count;
    sample(PST__CONTROL__BODY_STOP);
    uint8_t *bytes = packed_anyway(&count);
    assert_int_equal(unpack_limited(bytes, count, count), PST_OK);
    assert_int_equal(unpack_limited(bytes, count, count - 1), PST_EFULL);
    free(bytes);
    sample(PST__CONTROL__BODY_IMAGE);
    s->image.payload = (ProtobufCBinaryData){PST_CONTROL_BYTES_MAX, payload};
    assert_int_equal(unpack_anyway(), PST_EFULL);
    assert_int_equal(pst_control_pack(&s->control, &text), PST_EFULL);
    sample(PST__CONTROL__BODY_START);
    s->start.text = (ProtobufCBinaryData){PST_CONTROL_LONG_BYTES_MAX - 320, payload};
    assert_int_equal(unpack_anyway(), PST_OK);
    s->start.text.len = PST_CONTROL_LONG_BYTES_MAX;
    assert_int_equal(unpack_anyway(), PST_EFULL);
    assert_int_equal(pst_control_pack(&s->control, &text), PST_EFULL);
    pst_text_fini(&text);
}

/* Of another number than those above, and sampled alone. */
static void as_body(int body, void *message)
{
    sample(PST__CONTROL__BODY_STOP);
    s->control.body_case = (Pst__Control__BodyCase)body;
    s->control.hello = message; /* one pointer of a union */
}

static void pieces_of_results_are_within_their_bounds(void **state)
{
    (void)state;
    static uint8_t rows[PST_CONTROL_PIECE_BYTES_MAX + 1];
    struct pst_text text = {0};
    pst__read__init(&s->read);
    pst__piece__init(&s->piece);
    s->read.sink = "plugs";
    s->read.file = "plugs 1.csv";
    s->read.bytes_max = PST_CONTROL_PIECE_BYTES_MAX;
    as_body(PST__CONTROL__BODY_READ, &s->read);
    assert_int_equal(unpack_anyway(), PST_OK);
    s->read.bytes_max++;
    assert_int_equal(unpack_anyway(), PST_EDATA);
    assert_int_equal(pst_control_pack(&s->control, &text), PST_EINVAL);
    s->read.bytes_max = 0;
    s->read.sink = "two words";
    assert_int_equal(unpack_anyway(), PST_EDATA);
    s->piece.bytes = (ProtobufCBinaryData){PST_CONTROL_PIECE_BYTES_MAX, rows};
    s->piece.sentence = "nothing";
    as_body(PST__CONTROL__BODY_PIECE, &s->piece);
    assert_int_equal(unpack_anyway(), PST_OK);
    s->piece.bytes.len++;
    assert_int_equal(unpack_anyway(), PST_EDATA);
    s->piece.bytes.len = 0;
    s->piece.sentence = "a\x1b[0m"; /* words */
    assert_int_equal(unpack_anyway(), PST_OK);
    char sink[PST_CONTROL_NAME_BYTES_MAX + 2];
    memset(sink, 'a', sizeof sink);
    sink[sizeof sink - 1] = '\0';
    s->piece.sink = sink;
    assert_int_equal(unpack_anyway(), PST_EDATA);
    s->piece.sink = "plugs";
    assert_int_equal(unpack_anyway(), PST_OK);
    pst_text_fini(&text);
}

/* The longest lists there may be, of things as small as they come: the most memory for a byte. */
static void the_longest_lists_have_room(void **state)
{
    (void)state;
    sample(PST__CONTROL__BODY_BEAT);
    pst__partition_load__init(&s->load);
    s->load.operator_id = "a";
    s->beat.n_partitions = PST_CONTROL_PARTITIONS_MAX;
    s->beat.n_edges = 0;
    assert_int_equal(unpack_anyway(), PST_OK);
    s->beat.n_partitions = 0;
    pst__edge_load__init(&s->edge);
    s->edge.operator_id = "a";
    s->beat.n_edges = PST_CONTROL_PARTITIONS_MAX;
    assert_int_equal(unpack_anyway(), PST_OK);
    s->beat.n_edges++;
    assert_int_not_equal(unpack_anyway(), PST_OK);
    s->beat.n_edges = 0;
    s->beat.n_dealt = 1;
    s->dealt.n_rows = PST_BUCKETS_MAX; /* five bytes each: an operator's input fits */
    assert_int_equal(unpack_anyway(), PST_OK);
    sample(PST__CONTROL__BODY_MOVE_STEP);
    s->step.n_digests = PST_BUCKETS_MAX;
    s->step.n_buckets = s->step.n_numbers = 0;
    assert_int_equal(unpack_anyway(), PST_OK);
    sample(PST__CONTROL__BODY_MOVE_STEP);
    s->step.n_numbers = PST_BUCKETS_MAX;
    assert_int_equal(unpack_anyway(), PST_OK);
    sample(PST__CONTROL__BODY_START);
    s->place.operator_id = "a";
    s->start.n_places = PST_CONTROL_PLACES_MAX;
    s->start.n_nodes = s->start.n_addresses = s->start.n_node_workers = PST_CONTROL_NODES_MAX;
    assert_int_equal(unpack_anyway(), PST_OK);
}

/* Two bytes for each load: as many as there is room for would be a hundredfold. */
static void a_message_takes_no_more_memory_than_it_may(void **state)
{
    (void)state;
    enum { ARENA_ROUNDS = 64 * 1024 };
    for (uint32_t load_count = 1000; load_count < 32000; load_count += 1000) {
        struct pst_arena arena;
        Pst__Control *message;
        size_t count;
        sample(PST__CONTROL__BODY_BEAT);
        pst__partition_load__init(&s->load);
        s->beat.n_partitions = load_count;
        uint8_t *bytes = packed_anyway(&count);
        pst_arena_init(&arena);
        int rc = pst_control_unpack(bytes, count, SIZE_MAX, &arena, &message);
        assert_int_equal(rc, load_count <= PST_CONTROL_PARTITIONS_MAX ? PST_OK : load_count < 9000 ? PST_EDATA : rc);
        assert_true(rc == PST_OK || rc == PST_EDATA || rc == PST_EFULL);
        assert_true(load_count < 31000 || rc == PST_EFULL);
        assert_true(arena.bytes_total <= pst_control_memory_max(count) + ARENA_ROUNDS);
        pst_arena_fini(&arena);
        free(bytes);
    }
}

static void failing_allocations_leave_nothing(void **state)
{
    (void)state;
    struct pst_text text = {0};
    uint64_t n = 1;
    sample(PST__CONTROL__BODY_START);
    s->start.n_places = 2000;
    for (;; n++) {
        pst_malloc_fail_at(n);
        int rc = pst_control_pack(&s->control, &text);
        pst_malloc_fail_at(0);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
        pst_text_fini(&text);
    }
    assert_true(n > 3);
    for (n = 1;; n++) {
        struct pst_arena arena;
        Pst__Control *message;
        pst_arena_init(&arena);
        pst_malloc_fail_at(n);
        int rc = pst_control_unpack(text.bytes, text.count, SIZE_MAX, &arena, &message);
        pst_malloc_fail_at(0);
        pst_arena_fini(&arena);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
    }
    assert_true(n > 3);
    pst_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_is_unpacked),
        cmocka_unit_test(fields_come_out_as_they_went_in),
        cmocka_unit_test(messages_of_any_size_come_out_as_they_went_in),
        cmocka_unit_test(what_is_cut_short_is_refused),
        cmocka_unit_test(a_changed_bit_is_refused_or_means_what_it_says),
        cmocka_unit_test(noise_is_refused),
        cmocka_unit_test(versions_one_apart_understand_each_other),
        cmocka_unit_test(fields_that_are_not_known_are_passed_over),
        cmocka_unit_test(fields_that_are_not_known_are_not_handed_on),
        cmocka_unit_test(a_term_says_who_and_where_and_since_when),
        cmocka_unit_test(one_body_and_no_more_is_accepted),
        cmocka_unit_test(values_that_are_not_known_are_of_a_newer_version),
        cmocka_unit_test(what_breaks_a_bound_is_neither_packed_nor_unpacked),
        cmocka_unit_test(words_that_are_not_plain_are_made_so),
        cmocka_unit_test(texts_are_what_rfc_3629_says),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(pieces_of_results_are_within_their_bounds),
        cmocka_unit_test(the_longest_lists_have_room),
        cmocka_unit_test(a_message_takes_no_more_memory_than_it_may),
        cmocka_unit_test(failing_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
