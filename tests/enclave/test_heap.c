/* test_heap.c - the worker's allocator against a list of what was asked for. Its names are others here, as the program has a malloc(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define malloc heap_malloc
#define calloc heap_calloc
#define realloc heap_realloc
#define free heap_free
#define posix_memalign heap_memalign
#define aligned_alloc heap_aligned
#define memalign heap_memalign_old
#define malloc_usable_size heap_usable
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *old, size_t bytes);
void free(void *memory);
int posix_memalign(void **ret_memory, size_t alignment, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes);
#include "enclave_shim/inside/heap.c" // NOLINT(bugprone-suspicious-include)

enum { BYTES = 4 << 20, HELD = 400, STEPS = 200000 };
static _Alignas(16) uint8_t region[BYTES];

static uint64_t seed = 7;
static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

struct held {
    uint8_t *memory;
    size_t bytes;
    uint8_t mark;
};

static void whole(const struct held *held)
{
    for (size_t i = 0; i < held->bytes; i++)
        assert_int_equal(held->memory[i], held->mark);
}

static size_t size_drawn(void) { return draw(20) == 0 ? draw(200000) : draw(3) == 0 ? draw(5000) : draw(100); }

/* Blocks follow one another without a gap, and each knows the size of the one before it. */
static void heap_check(void)
{
    size_t before = 0;
    for (uint8_t *at_byte = heap.begin; at_byte < heap.top; at_byte += before) {
        const struct block *block = at(at_byte);
        assert_int_equal(block->before, before);
        before = size_of(block);
        assert_true(before >= BLOCK_BYTES_MIN && before % ALIGN == 0 && before <= (size_t)(heap.top - at_byte));
    }
    assert_int_equal(heap.last_bytes, before);
}

static uint64_t resident_pages(uint8_t *memory, uint64_t bytes)
{
    static unsigned char pages[256];
    uint64_t count = 0;
    assert_true(bytes <= sizeof pages * PAGE_BYTES);
    assert_int_equal(mincore(memory, bytes, pages), 0);
    for (uint64_t i = 0; i < bytes / PAGE_BYTES; i++)
        count += pages[i] & 1;
    return count;
}

static void what_is_touched_ahead_is_the_first_of_the_region_and_no_more(void **state)
{
    (void)state;
    const uint64_t bytes = UINT64_C(256) * PAGE_BYTES, used = UINT64_C(16) * PAGE_BYTES;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(madvise(memory, bytes, MADV_NOHUGEPAGE), 0);
    pst_heap_init(memory, bytes);
    heap.top = memory + used; /* as if it had given so much out */
    assert_int_equal(pst_heap_touch(used), 0);
    assert_int_equal(resident_pages(memory, bytes), 0);
    assert_int_equal(pst_heap_touch(4 * used), 3 * used);
    assert_int_equal(resident_pages(memory + used, 3 * used), 3 * used / PAGE_BYTES);
    assert_int_equal(resident_pages(memory, bytes), 3 * used / PAGE_BYTES);
    assert_int_equal(pst_heap_used(), used); /* what is touched is not used */
    assert_int_equal(pst_heap_touch(UINT64_MAX), bytes - used);
    assert_int_equal(resident_pages(memory + used, bytes - used), (bytes - used) / PAGE_BYTES);
    assert_int_equal(munmap(memory, bytes), 0);
}

static void what_is_held_stays_as_it_was_and_lies_in_the_region(void **state)
{
    (void)state;
    static struct held held[HELD];
    uint32_t refused = 0;
    pst_heap_init(region, sizeof region);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct held *one = &held[draw(HELD)];
        if (step % 100 == 0)
            heap_check();
        if (one->memory != NULL)
            whole(one);
        size_t bytes = size_drawn();
        uint8_t *memory = NULL;
        size_t alignment = (size_t)16 << draw(9);
        switch (draw(5)) {
        case 0:
            memory = one->memory != NULL ? heap_realloc(one->memory, bytes) : heap_malloc(bytes);
            if (memory == NULL) {
                refused++;
                continue;
            }
            for (size_t i = 0; one->memory != NULL && i < one->bytes && i < bytes; i++)
                assert_int_equal(memory[i], one->mark);
            break;
        case 1:
            heap_free(one->memory);
            one->memory = NULL;
            memory = heap_calloc(1, bytes);
            for (size_t i = 0; memory != NULL && i < bytes; i++)
                assert_int_equal(memory[i], 0);
            break;
        case 2:
            heap_free(one->memory);
            one->memory = NULL;
            if (heap_memalign((void **)&memory, alignment, bytes) != 0)
                memory = NULL;
            assert_int_equal((uintptr_t)memory % alignment, 0);
            break;
        default:
            heap_free(one->memory);
            one->memory = NULL;
            memory = heap_malloc(bytes);
        }
        refused += memory == NULL;
        if (memory == NULL)
            continue;
        assert_int_equal((uintptr_t)memory % 16, 0);
        assert_true(memory >= region && memory + bytes <= region + sizeof region);
        *one = (struct held){memory, bytes, (uint8_t)draw(256)};
        memset(memory, one->mark, bytes);
    }
    for (uint32_t i = 0; i < HELD; i++) {
        if (held[i].memory != NULL)
            whole(&held[i]);
        heap_free(held[i].memory);
    }
    print_message("%u requests of %u refused, %llu bytes used at most\n", refused, (unsigned)STEPS,
                  (unsigned long long)pst_heap_used());
    assert_true(refused > 0);                         /* the region is small enough for that to happen */
    uint8_t *all = heap_malloc(pst_heap_used() - 64); /* all neighbours have become one again */
    assert_non_null(all);
    heap_free(all);
}

static void what_there_is_no_room_for_is_refused(void **state)
{
    (void)state;
    assert_null(heap_malloc(BYTES));
    assert_int_equal(pst_heap_refused(), BYTES);
    assert_null(heap_malloc(SIZE_MAX));
    assert_null(heap_malloc(SIZE_MAX - 8));
    assert_null(heap_calloc(SIZE_MAX / 2, 4));
    assert_null(heap_aligned(4096, SIZE_MAX - 4096));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_touched_ahead_is_the_first_of_the_region_and_no_more),
        cmocka_unit_test(what_is_held_stays_as_it_was_and_lies_in_the_region),
        cmocka_unit_test(what_there_is_no_room_for_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
