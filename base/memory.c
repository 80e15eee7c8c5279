/* memory.c - the allocator that can be told to fail, and arenas. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK_BYTES = 16 * 1024 };

static atomic_uint_fast64_t allocation_count;
static atomic_uint_fast64_t fail_at; /* the value of allocation_count that fails; 0: none */

/* Counting costs a locked add; allocations are rare by design, none is on the way of a row. */
static bool allocation_fails(void)
{
    uint64_t number = atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed) + 1;
    return number == atomic_load_explicit(&fail_at, memory_order_relaxed);
}

void pst_malloc_fail_at(uint64_t n) { atomic_store(&fail_at, n == 0 ? 0 : atomic_load(&allocation_count) + n); }
uint64_t pst_malloc_count(void) { return atomic_load(&allocation_count); }

void *pst_malloc(size_t bytes) { return allocation_fails() ? NULL : malloc(bytes != 0 ? bytes : 1); }

void *pst_calloc(size_t count, size_t bytes)
{
    if (allocation_fails())
        return NULL;
    return count == 0 || bytes == 0 ? calloc(1, 1) : calloc(count, bytes);
}

void *pst_realloc(void *old, size_t bytes) { return allocation_fails() ? NULL : realloc(old, bytes != 0 ? bytes : 1); }

void *pst_aligned(size_t alignment, size_t bytes)
{
    void *memory = NULL;
    if (allocation_fails() || posix_memalign(&memory, alignment, bytes != 0 ? bytes : 1) != 0)
        return NULL;
    return memory;
}

void pst_free(void *memory) { free(memory); }

void *pst_map(size_t bytes)
{
    if (allocation_fails())
        return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void pst_unmap(void *memory, size_t bytes) { PST_ASSERT(munmap(memory, bytes) == 0); }

char *pst_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = pst_malloc(bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

struct pst_arena_chunk {
    struct pst_arena_chunk *next;
    size_t used_bytes, capacity_bytes;
    _Alignas(16) unsigned char bytes[];
};

void pst_arena_init(struct pst_arena *arena) { *arena = (struct pst_arena){0}; }

void pst_arena_fini(struct pst_arena *arena)
{
    struct pst_arena_chunk *chunk = arena->chunk;
    while (chunk != NULL) {
        struct pst_arena_chunk *next = chunk->next;
        pst_free(chunk);
        chunk = next;
    }
    *arena = (struct pst_arena){0};
}

void *pst_arena_alloc(struct pst_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t rounded = (bytes + 15) & ~(size_t)15;
    struct pst_arena_chunk *chunk = arena->chunk;
    if (chunk == NULL || chunk->capacity_bytes - chunk->used_bytes < rounded) {
        size_t capacity = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
        chunk = pst_calloc(1, sizeof *chunk + capacity);
        if (chunk == NULL)
            return NULL;
        chunk->capacity_bytes = capacity;
        chunk->next = arena->chunk;
        arena->chunk = chunk;
        arena->bytes_total += capacity;
    }
    void *memory = chunk->bytes + chunk->used_bytes;
    chunk->used_bytes += rounded;
    return memory;
}

char *pst_arena_strdup(struct pst_arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = pst_arena_alloc(arena, bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

char *pst_arena_printf(struct pst_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int count = vsnprintf(NULL, 0, format, arguments);
    char *text = count < 0 ? NULL : pst_arena_alloc(arena, (size_t)count + 1);
    if (text != NULL)
        (void)vsnprintf(text, (size_t)count + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}
