/* heap.c - see heap.h. Blocks with their size at both ends, free ones in lists by power of two; neighbours that are free are one.
 * Memory beyond `top` was never touched and is zero, so a large calloc() touches nothing.
 *
 * Compiled with -fno-builtin, and no function here calls malloc() or free() by these names: a compiler that knows what they do takes
 * writes to a block's head for writes that nobody reads. */
#include "enclave_shim/inside/heap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGN = 16, HEAD_BYTES = 16, BLOCK_BYTES_MIN = 48, BINS = 64, EARLY_BYTES = 64 * 1024, PAGE_BYTES = 4096 };

struct block {     /* 16 bytes of head, then what malloc() gives out; links where it is free */
    size_t before; /* bytes of the block before it, 0: it is the first */
    size_t bytes;  /* its own, head included; bit 0: in use */
    struct block *next, *previous;
};
_Static_assert(offsetof(struct block, next) == HEAD_BYTES, "head");

static struct {
    uint8_t *begin, *end, *top;
    size_t last_bytes; /* of the block below top; 0: none */
    struct block *bins[BINS];
    uint64_t refused;
} heap;

static _Alignas(ALIGN) uint8_t early[EARLY_BYTES];
static size_t early_used;

void pst_heap_init(void *memory, size_t bytes)
{
    heap.begin = heap.top = memory;
    heap.end = heap.begin + (bytes & ~(size_t)(ALIGN - 1));
}

uint64_t pst_heap_touch(uint64_t bytes)
{
    uint64_t all = (uint64_t)(heap.end - heap.begin),
             used = pst_heap_used(); /* what lies below top is in use, and touched */
    uint64_t end = bytes < all ? bytes : all;
    for (uint64_t at = used; at < end; at += PAGE_BYTES)
        *(volatile uint8_t *)(heap.begin + at) = 0;
    return end > used ? end - used : 0;
}

uint64_t pst_heap_used(void) { return (uint64_t)(heap.top - heap.begin); }
uint64_t pst_heap_left(void) { return (uint64_t)(heap.end - heap.top); }
uint64_t pst_heap_refused(void) { return heap.refused; }

static bool is_early(const void *memory)
{
    return (const uint8_t *)memory >= early && (const uint8_t *)memory < early + EARLY_BYTES;
}

static size_t size_of(const struct block *block) { return block->bytes & ~(size_t)1; }
static bool in_use(const struct block *block) { return (block->bytes & 1) != 0; }
static struct block *at(void *memory) { return memory; }
static struct block *after(struct block *block) { return at((uint8_t *)block + size_of(block)); }
static struct block *block_of(void *memory) { return at((uint8_t *)memory - HEAD_BYTES); }

static int bin_of(size_t bytes) { return 63 - __builtin_clzll(bytes); }

static void bin_add(struct block *block)
{
    struct block **bin = &heap.bins[bin_of(size_of(block))];
    block->next = *bin;
    block->previous = NULL;
    if (*bin != NULL)
        (*bin)->previous = block;
    *bin = block;
}

static void bin_drop(struct block *block)
{
    if (block->previous != NULL)
        block->previous->next = block->next;
    else
        heap.bins[bin_of(size_of(block))] = block->next;
    if (block->next != NULL)
        block->next->previous = block->previous;
}

/* The block has another size: who stands behind it is told. */
static void size_set(struct block *block, size_t bytes, bool used)
{
    block->bytes = bytes | used;
    if ((uint8_t *)block + bytes == heap.top)
        heap.last_bytes = bytes;
    else
        after(block)->before = bytes;
}

/* Cuts what is beyond `bytes` off a block that is in no list, where that is worth a block. */
static void trim(struct block *block, size_t bytes)
{
    size_t rest = size_of(block) - bytes;
    if (rest < BLOCK_BYTES_MIN) {
        block->bytes |= 1;
        return;
    }
    struct block *cut = at((uint8_t *)block + bytes);
    block->bytes = bytes | 1;
    cut->before = bytes;
    cut->bytes = rest;
    if ((uint8_t *)cut + rest != heap.top && !in_use(after(cut))) {
        bin_drop(after(cut));
        rest += size_of(after(cut));
    }
    size_set(cut, rest, false);
    bin_add(cut);
}

static struct block *from_bins(size_t bytes)
{
    for (int bin = bin_of(bytes); bin < BINS; bin++) {
        for (struct block *block = heap.bins[bin]; block != NULL; block = block->next) {
            if (size_of(block) < bytes)
                continue;
            bin_drop(block);
            trim(block, bytes);
            return block;
        }
    }
    return NULL;
}

static struct block *from_top(size_t bytes)
{
    if ((size_t)(heap.end - heap.top) < bytes)
        return NULL;
    struct block *block = at(heap.top);
    block->before = heap.last_bytes;
    block->bytes = bytes | 1;
    heap.top += bytes;
    heap.last_bytes = bytes;
    return block;
}

static size_t rounded(size_t bytes)
{
    bytes = (bytes + HEAD_BYTES + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    return bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : bytes;
}

static void *early_take(size_t bytes)
{
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (EARLY_BYTES - early_used < bytes)
        return NULL;
    early_used += bytes;
    return early + early_used - bytes;
}

/* fresh: it comes from memory that was never touched. */
static void *take(size_t bytes, bool *ret_fresh)
{
    *ret_fresh = true;
    if (bytes > SIZE_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    if (heap.begin == NULL)
        return early_take(bytes);
    struct block *block = from_bins(rounded(bytes));
    *ret_fresh = block == NULL;
    if (block == NULL)
        block = from_top(rounded(bytes));
    if (block != NULL)
        return (uint8_t *)block + HEAD_BYTES;
    heap.refused = bytes;
    errno = ENOMEM;
    return NULL;
}

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library's have reserved ones
void *malloc(size_t bytes)
{
    bool fresh;
    return take(bytes, &fresh);
}

void *calloc(size_t count, size_t bytes)
{
    size_t all;
    bool fresh;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = take(all, &fresh);
    if (memory != NULL && !fresh)
        memset(memory, 0, all);
    return memory;
}

static void give(void *memory)
{
    if (memory == NULL || is_early(memory))
        return;
    struct block *block = block_of(memory);
    size_t bytes = size_of(block);
    if ((uint8_t *)block + bytes != heap.top && !in_use(after(block))) {
        struct block *behind = after(block);
        bin_drop(behind);
        bytes += size_of(behind);
    }
    if (block->before != 0 && !in_use(at((uint8_t *)block - block->before))) {
        block = at((uint8_t *)block - block->before);
        bin_drop(block);
        bytes += size_of(block);
    }
    size_set(block, bytes, false);
    bin_add(block);
}

void free(void *memory) { give(memory); }

void *realloc(void *old, size_t bytes)
{
    bool fresh;
    if (old == NULL)
        return take(bytes, &fresh);
    size_t had = is_early(old) ? bytes : size_of(block_of(old)) - HEAD_BYTES;
    if (is_early(old) && (size_t)(early + early_used - (uint8_t *)old) < had)
        had = (size_t)(early + early_used - (uint8_t *)old);
    if (!is_early(old) && bytes <= had && bytes >= had / 2)
        return old;
    void *memory = take(bytes, &fresh);
    if (memory == NULL)
        return NULL;
    memcpy(memory, old, had < bytes ? had : bytes);
    give(old);
    return memory;
}

/* A block that is large enough to hold the aligned one; what stands before and behind it is given back. */
int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
    bool fresh;
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    if (alignment <= ALIGN) {
        *ret_memory = take(bytes, &fresh);
        return *ret_memory != NULL ? 0 : ENOMEM;
    }
    if (bytes > SIZE_MAX / 4 || alignment > SIZE_MAX / 4 || heap.begin == NULL)
        return ENOMEM;
    uint8_t *memory =
        take(bytes + alignment + 2 * BLOCK_BYTES_MIN, &fresh); /* a block before it, one at least as large of it */
    if (memory == NULL)
        return ENOMEM;
    uint8_t *aligned = (uint8_t *)(((uintptr_t)memory + alignment - 1) & -alignment);
    while (aligned != memory && aligned - memory < BLOCK_BYTES_MIN)
        aligned += alignment;
    if (aligned != memory) {
        struct block *front = block_of(memory), *block = block_of(aligned);
        size_t front_bytes = (size_t)(aligned - memory), whole = size_of(front);
        block->before = front_bytes;
        size_set(block, whole - front_bytes, true);
        front->bytes = front_bytes | 1;
        give(memory);
    }
    trim(block_of(aligned), rounded(bytes));
    *ret_memory = aligned;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    return posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes) == 0 ? memory : NULL;
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes) { return aligned_alloc(alignment, bytes); }

size_t malloc_usable_size(void *memory);
size_t malloc_usable_size(void *memory)
{
    return memory == NULL || is_early(memory) ? 0 : size_of(block_of(memory)) - HEAD_BYTES;
}
// NOLINTEND(readability-inconsistent-declaration-parameter-name)
