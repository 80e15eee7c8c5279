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
#include <sys/mman.h>

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
    sides->memory = mmap(NULL, PST_BORDER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(sides->memory != MAP_FAILED);
    assert_int_equal(pst_border_init(&sides->host, sides->memory, false, key_in, key_out), PST_OK);
    assert_int_equal(pst_border_init(&sides->inside, sides->memory, true, key_in, key_out), PST_OK);
}

static void sides_fini(struct sides *sides)
{
    pst_border_fini(&sides->host);
    pst_border_fini(&sides->inside);
    (void)munmap(sides->memory, PST_BORDER_BYTES);
}

static uint8_t *slot_in(struct sides *sides, uint32_t i)
{
    return sides->memory + PST_CONTROL_BYTES + (size_t)(i % PST_SLOTS) * PST_SLOT_BYTES;
}
static struct pst_control *control(struct sides *sides) { return (struct pst_control *)(void *)sides->memory; }

static int send_text(struct pst_border *border, const char *text)
{
    struct pst_message message = {.kind = PST_MESSAGE_TIME, .time = 42};
    struct pst_piece piece = {text, (uint32_t)strlen(text), 0, false};
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
            assert_int_equal(message.body_bytes, strlen(text));
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
    REFUSED(row_count, 0);
    REFUSED(row_count, UINT32_MAX);
    REFUSED(row_count, UINT32_MAX / 20 + 4); /* times 20 it is small again in 32 bits */
    REFUSED(row_count, pst_shape_rows_max(&shapes[0]) + 1);
    REFUSED(body_bytes, PST_BODY_BYTES_MAX + 1);
    REFUSED(time, 1);
    REFUSED(limit, 1);
    REFUSED(error, -1);
    REFUSED(facts, 1);
    REFUSED(state_bytes, 1);
    REFUSED(zero, 1);
#undef REFUSED
    struct pst_message rows = {.kind = PST_MESSAGE_ROWS, .row_count = 3, .body_bytes = 24 + 24 + 16};
    assert_int_equal(pst_message_check_out(&rows, shapes, 2), PST_OK);
    rows.time = 5; /* a time, and it does not say that it has one */
    assert_int_equal(pst_message_check_out(&rows, shapes, 2), PST_EDATA);
    rows.facts = PST_ROWS_TIMED;
    assert_int_equal(pst_message_check_out(&rows, shapes, 2), PST_OK);
    rows.facts = PST_ROWS_TIMED + 1;
    assert_int_equal(pst_message_check_out(&rows, shapes, 2), PST_EDATA);
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
        static uint8_t cells[PST_BODY_BYTES_MAX], body[PST_BODY_BYTES_MAX];
        struct pst_piece pieces[PST_FIELDS_MAX + 2];
        for (uint32_t p = 0; p < all[i]->part_count; p++)
            pieces[p] = (struct pst_piece){cells, rows * all[i]->part_bytes[p], all[i]->part_bytes[p], true};
        assert_true(pst_pieces_write(pieces, all[i]->part_count, body) <= PST_BODY_BYTES_MAX);
        assert_int_equal(pst_shape_rows_each(all[i], rows), rows);
        for (uint32_t more = rows + 1; more < 4 * rows; more += rows / 3 + 1) {
            uint32_t each = pst_shape_rows_each(all[i], more);
            assert_true(each >= 1 && each <= rows);
        }
    }
}

/* ---- rows ---- */

enum { CELLS = 100 };
static const struct pst_shape numbers = {3, {8, 4, PST_TEXT_BYTES}};
static _Alignas(8) uint8_t written[PST_BODY_BYTES_MAX], room[PST_BODY_BYTES_MAX];

static uint32_t numbers_write(const int64_t *longs, const uint32_t *shorts, const uint8_t *texts)
{
    const struct pst_piece pieces[] = {{longs, CELLS * 8, 8, false},
                                       {shorts, CELLS * 4, 4, false},
                                       {texts, CELLS * PST_TEXT_BYTES, PST_TEXT_BYTES, false}};
    return pst_pieces_write(pieces, 3, written);
}

static void columns_come_out_as_they_went_in_however_wide_they_are(void **state)
{
    (void)state;
    static const uint64_t spans[] = {0, 1, 255, 256, 65535, 65536, 16777216, UINT32_MAX, UINT64_C(1) << 40, UINT64_MAX};
    static const int64_t bases[] = {0, -1, 1377986401, INT64_MIN, INT64_MAX};
    for (size_t s = 0; s < sizeof spans / sizeof spans[0]; s++) {
        for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++) {
            int64_t longs[CELLS];
            uint32_t shorts[CELLS];
            uint8_t texts[CELLS * PST_TEXT_BYTES];
            void *parts[3];
            for (uint32_t i = 0; i < CELLS; i++) {
                uint64_t above = i == 7 ? spans[s] : spans[s] / CELLS * i;
                longs[i] = (int64_t)((uint64_t)bases[b] + above);
                shorts[i] = (uint32_t)longs[i];
            }
            memset(texts, (int)s + 1, sizeof texts);
            uint32_t bytes = numbers_write(longs, shorts, texts);
            if (spans[s] <= 255 && b < 3)
                assert_true(bytes < CELLS * (1 + 4 + PST_TEXT_BYTES) + 3 * 24);
            assert_int_equal(pst_shape_read(&numbers, CELLS, written, bytes, room, parts), PST_OK);
            assert_memory_equal(parts[0], longs, sizeof longs);
            assert_memory_equal(parts[1], shorts, sizeof shorts);
            assert_memory_equal(parts[2], texts, sizeof texts);
        }
    }
}

static void a_body_that_is_none_is_refused(void **state)
{
    (void)state;
    int64_t longs[CELLS] = {5, 900};
    uint32_t shorts[CELLS] = {1, 2}, at[] = {0, 16 + 200, 16 + 200 + 16 + 104};
    uint8_t texts[CELLS * PST_TEXT_BYTES] = {0}, copy[sizeof written];
    void *parts[3];
    uint32_t bytes = numbers_write(longs, shorts, texts);
    memcpy(copy, written, bytes);
    for (uint32_t cut = 0; cut < bytes; cut++)
        assert_int_equal(pst_shape_read(&numbers, CELLS, written, cut, room, parts), PST_EDATA);
    assert_int_equal(pst_shape_read(&numbers, CELLS, written, bytes + 8, room, parts), PST_EDATA);
    assert_int_equal(pst_shape_read(&numbers, CELLS + 9, written, bytes, room, parts), PST_EDATA);
    static const uint32_t widths[] = {3, 5, 6, 7, 9, 16, 32, 33, UINT32_MAX, 1 << 31};
    for (uint32_t p = 0; p < 3; p++) {
        for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
            if (p == 2 && widths[i] == PST_TEXT_BYTES)
                continue;
            memcpy(written + at[p] + 8, &widths[i], 4);
            assert_int_equal(pst_shape_read(&numbers, CELLS, written, bytes, room, parts), PST_EDATA);
            memcpy(written, copy, bytes);
        }
        written[at[p] + 12] = 1; /* what is zero is zero */
        assert_int_equal(pst_shape_read(&numbers, CELLS, written, bytes, room, parts), PST_EDATA);
        memcpy(written, copy, bytes);
        assert_int_equal(pst_shape_read(&numbers, CELLS, written, bytes, room, parts), PST_OK);
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
        cmocka_unit_test(columns_come_out_as_they_went_in_however_wide_they_are),
        cmocka_unit_test(a_body_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
