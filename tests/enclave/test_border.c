/* test_border.c - rings, messages and sealing against a host, or a worker, that writes whatever it likes into the shared memory. */
#include "enclave_shim/common/border.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rings ---- */

struct memory {
    _Atomic uint64_t own, others;
    uint8_t *slots;
};

static void memory_init(struct memory *memory, struct pst_ring *ring, bool produces)
{
    memory->slots = malloc((size_t)PST_SLOTS * PST_SLOT_BYTES);
    assert_non_null(memory->slots);
    atomic_init(&memory->own, 0);
    atomic_init(&memory->others, 0);
    pst_ring_init(ring, memory->slots, &memory->own, &memory->others, produces);
}

static void a_consumer_takes_no_index_that_cannot_be(void **state)
{
    (void)state;
    /* the producer has put `good` in, all were taken, then it says `bad` */
    static const struct {
        uint64_t good, bad;
    } cases[] = {{0, UINT64_MAX},
                 {0, PST_SLOTS + 1},
                 {5, 4},
                 {5, 0},
                 {5, 5 + PST_SLOTS + 1},
                 {5, UINT64_MAX},
                 {5, (uint64_t)INT64_MAX + 1},
                 {8, 8 - PST_SLOTS},
                 {3, UINT64_C(1) << 32}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct memory memory;
        struct pst_ring ring;
        memory_init(&memory, &ring, false);
        atomic_store(&memory.others, cases[i].good);
        for (uint64_t n = 0; n < cases[i].good; n++) {
            uint8_t *slot = pst_ring_slot(&ring);
            assert_ptr_equal(slot, memory.slots + n % PST_SLOTS * PST_SLOT_BYTES);
            pst_ring_advance(&ring);
        }
        assert_int_equal(atomic_load(&memory.own), cases[i].good);
        assert_null(pst_ring_slot(&ring));
        assert_false(ring.poisoned);
        atomic_store(&memory.others, cases[i].bad);
        assert_true(pst_ring_moved(&ring));
        assert_null(pst_ring_slot(&ring));
        assert_true(ring.poisoned);
        atomic_store(&memory.others, cases[i].good + 1); /* and nothing makes it good again */
        assert_null(pst_ring_slot(&ring));
        free(memory.slots);
    }
}

static void a_consumer_takes_a_full_ring_and_no_more(void **state)
{
    (void)state;
    struct memory memory;
    struct pst_ring ring;
    memory_init(&memory, &ring, false);
    atomic_store(&memory.others, PST_SLOTS);
    for (int n = 0; n < PST_SLOTS; n++) {
        assert_non_null(pst_ring_slot(&ring));
        pst_ring_advance(&ring);
    }
    assert_null(pst_ring_slot(&ring));
    assert_false(ring.poisoned);
    free(memory.slots);
}

static void a_producer_takes_no_index_that_cannot_be(void **state)
{
    (void)state;
    static const uint64_t bad[] = {PST_SLOTS + 1, UINT64_MAX, (uint64_t)INT64_MAX, 2 /* it was at 3 */, 0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct memory memory;
        struct pst_ring ring;
        memory_init(&memory, &ring, true);
        for (int n = 0; n < PST_SLOTS; n++) {
            assert_non_null(pst_ring_slot(&ring));
            pst_ring_advance(&ring);
        }
        assert_null(pst_ring_slot(&ring)); /* full */
        atomic_store(&memory.others, 3);
        for (int n = 0; n < 3; n++) {
            assert_non_null(pst_ring_slot(&ring));
            pst_ring_advance(&ring);
        }
        atomic_store(&memory.others, bad[i] == PST_SLOTS + 1 ? PST_SLOTS + 4 : bad[i]);
        assert_null(pst_ring_slot(&ring));
        assert_true(ring.poisoned);
        free(memory.slots);
    }
}

/* ---- the border ---- */

struct sides {
    uint8_t *memory;
    struct pst_border host, inside;
};

static void sides_init(struct sides *sides)
{
    static const uint8_t key_in[PST_BORDER_KEY_BYTES] = {1}, key_out[PST_BORDER_KEY_BYTES] = {2};
    sides->memory = aligned_alloc(4096, PST_BORDER_BYTES);
    assert_non_null(sides->memory);
    memset(sides->memory, 0, PST_BORDER_BYTES);
    assert_int_equal(pst_border_init(&sides->host, sides->memory, false, key_in, key_out), PST_OK);
    assert_int_equal(pst_border_init(&sides->inside, sides->memory, true, key_in, key_out), PST_OK);
}

static void sides_fini(struct sides *sides)
{
    pst_border_fini(&sides->host);
    pst_border_fini(&sides->inside);
    free(sides->memory);
}

static uint8_t *slot_in(struct sides *sides, uint32_t i)
{
    return sides->memory + PST_CONTROL_BYTES + (size_t)(i % PST_SLOTS) * PST_SLOT_BYTES;
}
static struct pst_control *control(struct sides *sides) { return (struct pst_control *)(void *)sides->memory; }

static int send_text(struct pst_border *border, const char *text)
{
    struct pst_message message = {.kind = PST_MESSAGE_TIME, .time = 42};
    struct pst_piece piece = {text, (uint32_t)strlen(text), true};
    return pst_border_send(border, &message, &piece, 1);
}

static void messages_come_in_order_with_their_bodies_both_ways(void **state)
{
    (void)state;
    struct sides sides;
    struct pst_message message;
    uint8_t *body;
    sides_init(&sides);
    for (int way = 0; way < 2; way++) {
        struct pst_border *from = way == 0 ? &sides.host : &sides.inside, *to = way == 0 ? &sides.inside : &sides.host;
        for (uint64_t n = 0; n < 100; n++) {
            char text[32];
            (void)snprintf(text, sizeof text, "message %llu", (unsigned long long)n);
            assert_int_equal(pst_border_receive(to, &message, &body), PST_EAGAIN);
            assert_int_equal(send_text(from, text), PST_OK);
            assert_int_equal(pst_border_receive(to, &message, &body), PST_OK);
            assert_int_equal(message.sequence, n);
            assert_int_equal(message.time, 42);
            assert_int_equal(message.body_bytes, (strlen(text) + 7) / 8 * 8);
            assert_memory_equal(body, text, strlen(text));
        }
    }
    for (int n = 0; n < PST_SLOTS; n++)
        assert_int_equal(send_text(&sides.host, "x"), PST_OK);
    assert_int_equal(send_text(&sides.host, "x"), PST_EAGAIN);
    sides_fini(&sides);
}

static void nothing_in_the_clear_lies_in_shared_memory(void **state)
{
    (void)state;
    static const char secret[] = "0123456789abcdef0123456789abcdef";
    struct sides sides;
    sides_init(&sides);
    assert_int_equal(send_text(&sides.host, secret), PST_OK);
    assert_int_equal(send_text(&sides.inside, secret), PST_OK);
    assert_null(memmem(sides.memory, PST_BORDER_BYTES, secret, 8));
    sides_fini(&sides);
}

static void a_message_with_any_bit_changed_does_not_open(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < PST_MESSAGE_HEADER_BYTES + 24 + PST_MESSAGE_TAG_BYTES; at++) {
        struct sides sides;
        struct pst_message message;
        uint8_t *body;
        sides_init(&sides);
        assert_int_equal(send_text(&sides.host, "twenty-four bytes it has"), PST_OK);
        slot_in(&sides, 0)[at] ^= (uint8_t)(1 << at % 8);
        assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_EREFUSED);
        slot_in(&sides, 0)[at] ^= (uint8_t)(1 << at % 8); /* it was told once, and that is for good */
        assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_EREFUSED);
        sides_fini(&sides);
    }
}

static void lengths_that_lie_are_refused_before_anything_is_copied(void **state)
{
    (void)state;
    static const uint32_t bytes[] = {PST_BODY_BYTES_MAX + 1, UINT32_MAX,         INT32_MAX,
                                     UINT32_MAX - 79,        PST_BODY_BYTES_MAX, 0};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        struct sides sides;
        struct pst_message message;
        uint8_t *body;
        sides_init(&sides);
        assert_int_equal(send_text(&sides.host, "some text"), PST_OK);
        memcpy(slot_in(&sides, 0) + offsetof(struct pst_message, body_bytes), &bytes[i], sizeof bytes[i]);
        assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_EREFUSED);
        sides_fini(&sides);
    }
}

static void a_message_that_is_repeated_left_out_moved_or_sent_back_does_not_open(void **state)
{
    (void)state;
    for (int attack = 0; attack < 4; attack++) {
        struct sides sides;
        struct pst_message message;
        uint8_t *body;
        sides_init(&sides);
        assert_int_equal(send_text(&sides.host, "first"), PST_OK);
        assert_int_equal(send_text(&sides.host, "second"), PST_OK);
        assert_int_equal(send_text(&sides.host, "third!"), PST_OK);
        assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_OK);
        if (attack == 0) /* repeated */
            memcpy(slot_in(&sides, 1), slot_in(&sides, 0), PST_SLOT_BYTES);
        else if (attack == 1) /* the second is left out */
            memcpy(slot_in(&sides, 1), slot_in(&sides, 2), PST_SLOT_BYTES);
        else if (attack == 2) { /* the third with the second's number */
            uint64_t one = 1;
            memcpy(slot_in(&sides, 1), slot_in(&sides, 2), PST_SLOT_BYTES);
            memcpy(slot_in(&sides, 1) + offsetof(struct pst_message, sequence), &one, sizeof one);
        } else { /* to the host, as if the worker had said it */
            memcpy(sides.memory + PST_CONTROL_BYTES + (size_t)PST_SLOTS * PST_SLOT_BYTES, slot_in(&sides, 0),
                   PST_SLOT_BYTES);
            atomic_store(&control(&sides)->out_head, 1);
            assert_int_equal(pst_border_receive(&sides.host, &message, &body), PST_EREFUSED);
            sides_fini(&sides);
            continue;
        }
        assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_EREFUSED);
        sides_fini(&sides);
    }
}

static void a_poisoned_ring_gives_and_takes_nothing(void **state)
{
    (void)state;
    struct sides sides;
    struct pst_message message;
    uint8_t *body;
    sides_init(&sides);
    atomic_store(&control(&sides)->in_head, UINT64_MAX);
    assert_int_equal(pst_border_receive(&sides.inside, &message, &body), PST_EREFUSED);
    for (int n = 0; n < PST_SLOTS; n++)
        assert_int_equal(send_text(&sides.inside, "x"), PST_OK);
    atomic_store(&control(&sides)->out_tail, UINT64_MAX);
    assert_int_equal(send_text(&sides.inside, "x"), PST_EREFUSED);
    assert_true(pst_border_wait(&sides.inside, false, 1)); /* nobody sleeps over it */
    sides_fini(&sides);
}

/* A host that changes header and body while they are looked at: what opens is what was sealed, or nothing does. */
static atomic_bool changing;
static atomic_uint changes;
static void *change(void *argument)
{
    uint8_t *slot = argument;
    uint32_t lengths[] = {0, 8, PST_BODY_BYTES_MAX, UINT32_MAX, 1 << 20};
    for (uint32_t i = 0; atomic_load(&changing); i++) {
        __atomic_store_n((uint32_t *)(void *)(slot + offsetof(struct pst_message, body_bytes)), lengths[i % 5],
                         __ATOMIC_RELAXED);
        __atomic_fetch_xor(slot + PST_MESSAGE_HEADER_BYTES + i % 64, 1, __ATOMIC_RELAXED);
        __atomic_store_n((uint32_t *)(void *)(slot + offsetof(struct pst_message, body_bytes)), 64, __ATOMIC_RELAXED);
        __atomic_fetch_xor(slot + PST_MESSAGE_HEADER_BYTES + i % 64, 1, __ATOMIC_RELAXED);
        atomic_fetch_add(&changes, 1);
    }
    return NULL;
}

static void what_is_changed_between_check_and_use_does_not_open_as_anything_else(void **state)
{
    (void)state;
    uint32_t opened = 0, refused = 0;
    for (int round = 0; round < 400; round++) {
        struct sides sides;
        struct pst_message message;
        uint8_t *body;
        pthread_t thread;
        char text[65];
        sides_init(&sides);
        memset(text, 'a' + round % 26, 64);
        text[64] = '\0';
        assert_int_equal(send_text(&sides.host, text), PST_OK);
        atomic_store(&changing, true);
        assert_int_equal(pthread_create(&thread, NULL, change, slot_in(&sides, 0)), 0);
        for (uint32_t seen = atomic_load(&changes); atomic_load(&changes) - seen <= (uint32_t)round % 8;)
            continue;
        int rc = pst_border_receive(&sides.inside, &message, &body);
        if (rc == PST_OK) {
            assert_int_equal(message.body_bytes, 64);
            assert_memory_equal(body, text, 64);
            opened++;
        } else {
            assert_int_equal(rc, PST_EREFUSED);
            refused++;
        }
        atomic_store(&changing, false);
        (void)pthread_join(thread, NULL);
        sides_fini(&sides);
    }
    print_message("opened %u, refused %u\n", opened, refused);
    assert_true(refused > 0);
}

/* ---- headers ---- */

static const struct pst_shape shapes[] = {{3, {8, 8, 4}}, {1, {4}}};

static void a_header_fits_its_kind_or_is_refused(void **state)
{
    (void)state;
    struct pst_message frame = {.kind = PST_MESSAGE_FRAME, .row_count = 3, .body_bytes = 24 + 24 + 16};
    struct pst_message bad;
    assert_int_equal(pst_message_check_in(&frame, shapes, 2), PST_OK);
    assert_int_equal(pst_message_check_out(&frame, shapes, 2), PST_EDATA);
#define REFUSED(field, value) \
    bad = frame;              \
    bad.field = (value);      \
    assert_int_equal(pst_message_check_in(&bad, shapes, 2), PST_EDATA)
    REFUSED(kind, 0);
    REFUSED(kind, PST_MESSAGE_ROWS);
    REFUSED(kind, UINT32_MAX);
    REFUSED(port, 2);
    REFUSED(port, UINT32_MAX);
    REFUSED(port, 1); /* of another shape */
    REFUSED(row_count, 0);
    REFUSED(row_count, 4);
    REFUSED(row_count, UINT32_MAX);
    REFUSED(row_count, UINT32_MAX / 20 + 4); /* times 20 it is small again in 32 bits */
    REFUSED(body_bytes, 63);
    REFUSED(body_bytes, 0);
    REFUSED(time, 1);
    REFUSED(limit, 1);
    REFUSED(error, -1);
    REFUSED(facts, 1);
    REFUSED(state_bytes, 1);
    REFUSED(zero, 1);
#undef REFUSED
    struct pst_message failed = {.kind = PST_MESSAGE_FAILED, .error = PST_EDATA, .body_bytes = PST_SENTENCE_BYTES_MAX};
    assert_int_equal(pst_message_check_out(&failed, shapes, 2), PST_OK);
    failed.body_bytes++;
    assert_int_equal(pst_message_check_out(&failed, shapes, 2), PST_EDATA);
    failed.body_bytes = 0;
    failed.error = PST_OK;
    assert_int_equal(pst_message_check_out(&failed, shapes, 2), PST_EDATA);
}

static void as_many_rows_as_a_message_holds_fit_it(void **state)
{
    (void)state;
    struct pst_shape widest = {0};
    for (uint32_t i = 0; i < PST_FIELDS_MAX + 2; i++)
        pst_shape_add(&widest, PST_TEXT_BYTES);
    const struct pst_shape *all[] = {&shapes[0], &shapes[1], &widest};
    for (int i = 0; i < 3; i++) {
        uint32_t rows = pst_shape_rows_max(all[i]);
        assert_true(rows >= 1);
        assert_true(pst_shape_body_bytes(all[i], rows) <= PST_BODY_BYTES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_consumer_takes_no_index_that_cannot_be),
        cmocka_unit_test(a_consumer_takes_a_full_ring_and_no_more),
        cmocka_unit_test(a_producer_takes_no_index_that_cannot_be),
        cmocka_unit_test(messages_come_in_order_with_their_bodies_both_ways),
        cmocka_unit_test(nothing_in_the_clear_lies_in_shared_memory),
        cmocka_unit_test(a_message_with_any_bit_changed_does_not_open),
        cmocka_unit_test(lengths_that_lie_are_refused_before_anything_is_copied),
        cmocka_unit_test(a_message_that_is_repeated_left_out_moved_or_sent_back_does_not_open),
        cmocka_unit_test(a_poisoned_ring_gives_and_takes_nothing),
        cmocka_unit_test(what_is_changed_between_check_and_use_does_not_open_as_anything_else),
        cmocka_unit_test(a_header_fits_its_kind_or_is_refused),
        cmocka_unit_test(as_many_rows_as_a_message_holds_fit_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
