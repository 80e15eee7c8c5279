/* state.c - the pages of one partition's state, and what concerns tables and logs alike. */
#include "state/image.h"
#include "state/internal.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Pages are cut from slabs that come zeroed from the system and are touched page by page, so that in a small state the untouched tail of
 * a page costs address space and no memory. Before each stands a line of cache, struct pst_frame: for what a pager has to know, and
 * because a bucket of few keys fills only the first lines of its page, and pages at multiples of 16 KiB would all want the same
 * sets of the cache (Query 1: a third of the time of an upsert). */
enum {
    PAGE_STRIDE_BYTES = PST_FRAME_BYTES + PST_PAGE_BYTES,
    SLAB_PAGES_FIRST = 16,
    SLAB_PAGES = 64,
    SLABS_LAZY = 8,  /* so many are touched page by page; of a state that is larger a slab's memory comes in one call */
    WARM_PAGES = 64, /* free ones that keep their memory: a state that goes on takes and gives all the time */
};

struct pst_slab {
    struct pst_slab *next;
    uint64_t cold; /* a bit for each page */
    size_t bytes;
};
static_assert((int)SLAB_PAGES <= 64, "a bit for each");

struct pst_state *pst_state_new(uint32_t bucket_count, uint64_t bytes_max)
{
    PST_ASSERT(bucket_count > 0);
    struct pst_state *state = pst_calloc(1, sizeof *state);
    if (state == NULL)
        return NULL;
    state->bucket_count = bucket_count;
    state->bytes_max = bytes_max;
    state->generation = 1;
    state->stamp = 1;
    state->slabs.mapped = true;
    return state;
}

void pst_state_free(struct pst_state *state)
{
    if (state == NULL)
        return;
    while (state->snapshots != NULL)
        pst_snapshot_free(state->snapshots);
    if (state->pager != NULL)
        pst_pager_free(state);
    for (uint32_t i = 0; i < state->structure_count; i++) {
        struct pst_structure *structure = state->structures[i];
        if (structure->kind == PST_PAGE_RECORDS)
            pst_table_free((struct pst_table *)structure);
        else
            pst_log_free((struct pst_log *)structure);
    }
    pst_slabs_free(&state->slabs);
    pst_free(state);
}

uint64_t pst_state_bytes(const struct pst_state *state) { return state->bytes_live + state->bytes_index; }
uint64_t pst_state_bytes_max_seen(const struct pst_state *state) { return state->bytes_max_seen; }

static void bytes_seen(struct pst_state *state)
{
    if (pst_state_bytes(state) > state->bytes_max_seen)
        state->bytes_max_seen = pst_state_bytes(state);
}

void pst_state_account(struct pst_state *state, int64_t index_bytes)
{
    state->bytes_index += (uint64_t)index_bytes;
    bytes_seen(state);
}

/* ---- pages ---- */

static uint8_t *slab_page(struct pst_slab *slab, uint32_t number)
{
    uintptr_t first = (uintptr_t)(slab + 1);
    uintptr_t padding = -first & (PST_CACHE_LINE_BYTES - 1);
    return (uint8_t *)(slab + 1) + padding + PST_FRAME_BYTES + (size_t)number * PAGE_STRIDE_BYTES;
}

/* How many of the sorted ones begin below this address. */
static uint32_t slabs_below(const struct pst_slabs *slabs, uintptr_t address)
{
    uint32_t low = 0, high = slabs->slab_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uintptr_t)slabs->sorted[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int slabs_room(struct pst_slabs *slabs)
{
    uint32_t capacity = slabs->slab_capacity != 0 ? 2 * slabs->slab_capacity : 8;
    if (slabs->slab_count < slabs->slab_capacity)
        return PST_OK;
    struct pst_slab **larger = pst_realloc(slabs->sorted, capacity * sizeof(struct pst_slab *));
    if (larger == NULL)
        return PST_ENOMEM;
    slabs->sorted = larger;
    slabs->slab_capacity = capacity;
    return PST_OK;
}

static int slab_add(struct pst_slabs *slabs)
{
    uint32_t pages = slabs->all == NULL ? SLAB_PAGES_FIRST : SLAB_PAGES;
    size_t bytes = sizeof(struct pst_slab) + PST_CACHE_LINE_BYTES + (size_t)pages * PAGE_STRIDE_BYTES;
    struct pst_slab *slab = NULL;
    if (slabs_room(slabs) == PST_OK)
        slab = slabs->mapped ? pst_map(bytes) : pst_calloc(1, bytes);
    if (slab == NULL)
        return PST_ENOMEM;
    slab->bytes = bytes;
    if (slabs->mapped && slabs->slab_count >= SLABS_LAZY) /* else it comes page by page */
        (void)madvise(slab, bytes, MADV_POPULATE_WRITE);
    uint32_t at = slabs_below(slabs, (uintptr_t)slab);
    memmove(&slabs->sorted[at + 1], &slabs->sorted[at], (slabs->slab_count++ - at) * sizeof(struct pst_slab *));
    slabs->sorted[at] = slab;
    slab->next = slabs->all;
    slabs->all = slab;
    slabs->next = slab_page(slab, 0);
    slabs->left = pages;
    return PST_OK;
}

static uint8_t *cold_take(struct pst_slabs *slabs)
{
    while (slabs->sorted[slabs->cold_at % slabs->slab_count]->cold == 0)
        slabs->cold_at++;
    struct pst_slab *slab = slabs->sorted[slabs->cold_at % slabs->slab_count];
    uint32_t number = (uint32_t)__builtin_ctzll(slab->cold);
    slab->cold &= slab->cold - 1;
    slabs->cold_count--;
    return slab_page(slab, number);
}

/* The used bytes are known, and beyond them a page is zero. */
static void page_zero(uint8_t *page)
{
    memset(page, 0, PST_PAGE_HEADER_BYTES + (size_t)pst_page_header(page)->used_bytes);
}

static uint8_t *unlink_first(struct pst_page_free **list)
{
    struct pst_page_free *page = *list;
    *list = page->next;
    page->next = NULL;
    return (uint8_t *)page;
}

static void link_first(struct pst_page_free **list, uint8_t *page)
{
    struct pst_page_free *freed = (struct pst_page_free *)(void *)page;
    freed->next = *list;
    *list = freed;
}

uint8_t *pst_slabs_take(struct pst_slabs *slabs)
{
    if (slabs->free != NULL)
        return unlink_first(&slabs->free);
    if (slabs->wiped != NULL) {
        uint8_t *page = unlink_first(&slabs->wiped);
        page_zero(page);
        return page;
    }
    if (slabs->left == 0 && slabs->cold_count != 0)
        return cold_take(slabs);
    if (slabs->left == 0 && slab_add(slabs) != PST_OK)
        return NULL;
    uint8_t *fresh = slabs->next;
    slabs->next += PAGE_STRIDE_BYTES;
    slabs->left--;
    return fresh;
}

void pst_slabs_give(struct pst_slabs *slabs, uint8_t *page)
{
    if (slabs->wipes) {
        link_first(&slabs->wiped, page);
        return;
    }
    page_zero(page); /* here and not when it is taken again: no bucket's rows outlive it */
    link_first(&slabs->free, page);
}

static void slab_free(const struct pst_slabs *slabs, struct pst_slab *slab)
{
    if (slabs->mapped)
        pst_unmap(slab, slab->bytes);
    else
        pst_free(slab);
}

void pst_slabs_free(struct pst_slabs *slabs)
{
    for (struct pst_slab *slab = slabs->all, *next; slab != NULL; slab = next) {
        next = slab->next;
        slab_free(slabs, slab);
    }
    pst_free(slabs->sorted);
    *slabs = (struct pst_slabs){.mapped = slabs->mapped};
}

int pst_page_take(struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t **ret_page)
{
    struct pst_state *state = structure->state;
    if (state->bytes_live + PST_PAGE_BYTES > state->bytes_max)
        return PST_EFULL;
    uint8_t *page = state->pager == NULL ? pst_slabs_take(&state->slabs) : pst_pager_frame(state);
    if (page == NULL)
        return state->pager == NULL ? PST_ENOMEM : pst_state_error(state, NULL);
    *pst_page_header(page) = (struct pst_page_header){
        .magic = PST_PAGE_MAGIC,
        .version = PST_PAGE_VERSION,
        .kind = structure->kind,
        .bucket = bucket,
        .structure = structure->number,
        .number = number,
        .changed = state->generation,
    };
    state->page_count++;
    state->bytes_live += PST_PAGE_BYTES;
    bytes_seen(state);
    *ret_page = page;
    if (state->pager != NULL)
        pst_pager_enter(state, page);
    return PST_OK;
}

void pst_page_give(struct pst_state *state, uint8_t *page)
{
    if (state->pager == NULL)
        pst_slabs_give(&state->slabs, page);
    else
        pst_pager_dead(state, page);
    state->page_count--;
    state->bytes_live -= PST_PAGE_BYTES;
}

/* ---- structures ---- */

struct pst_structure *pst_structure_find(struct pst_state *state, const char *name, pst_page_kind kind, bool *ret_taken)
{
    *ret_taken = false;
    for (uint32_t i = 0; i < state->structure_count; i++) {
        struct pst_structure *structure = state->structures[i];
        if (strcmp(structure->name, name) != 0)
            continue;
        *ret_taken = structure->kind != (uint16_t)kind;
        return *ret_taken ? NULL : structure;
    }
    return NULL;
}

int pst_structure_init(struct pst_structure *structure, struct pst_state *state, const char *name, pst_page_kind kind)
{
    if (state->structure_count == PST_STRUCTURES_MAX)
        return PST_EFULL;
    structure->name = pst_strdup(name);
    if (structure->name == NULL)
        return PST_ENOMEM;
    structure->state = state;
    structure->kind = (uint16_t)kind;
    structure->number = (uint16_t)state->structure_count;
    state->structures[state->structure_count++] = structure;
    return PST_OK;
}

/* ---- walks ---- */

int pst_state_words(struct pst_state *state, uint32_t bucket, pst_word_visit visit, void *argument)
{
    PST_ASSERT(bucket < state->bucket_count);
    for (uint32_t i = 0; i < state->structure_count; i++) {
        struct pst_structure *structure = state->structures[i];
        int rc = structure->kind == PST_PAGE_RECORDS
                     ? pst_table_words((struct pst_table *)structure, bucket, visit, argument)
                     : pst_log_words((struct pst_log *)structure, bucket, visit, argument);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

struct pages_walk {
    pst_page_visit visit;
    void *argument;
};

static int page_visit(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t *page)
{
    const struct pages_walk *walk = argument;
    if (pst_is_outside(page))
        page = pst_pager_in(structure, bucket, number, page);
    return page != NULL ? walk->visit(walk->argument, pst_page_header(page)) : pst_state_error(structure->state, NULL);
}

int pst_state_pages(struct pst_state *state, uint32_t bucket, pst_page_visit visit, void *argument)
{
    struct pages_walk walk = {visit, argument};
    return pst_state_words(state, bucket, page_visit, &walk);
}

struct page_check {
    uint32_t bucket;
    uint16_t structure_before;
    uint64_t number_before, page_count;
};

static int page_check(void *argument, const struct pst_page_header *page)
{
    struct page_check *check = argument;
    PST_ASSERT(page->magic == PST_PAGE_MAGIC && page->version == PST_PAGE_VERSION && page->bucket == check->bucket);
    PST_ASSERT(page->zero == 0 && page->used_bytes <= PST_PAGE_DATA_BYTES && page->used_bytes > 0);
    bool first = check->page_count == 0 || page->structure > check->structure_before;
    PST_ASSERT(first || (page->structure == check->structure_before && page->number > check->number_before));
    check->structure_before = page->structure;
    check->number_before = page->number;
    check->page_count++;
    return PST_OK;
}

static void free_pages_check(const struct pst_page_free *page)
{
    for (; page != NULL; page = page->next) {
        const uint8_t *bytes = (const uint8_t *)page;
        for (size_t i = sizeof *page; i < PST_PAGE_BYTES; i++)
            PST_ASSERT(bytes[i] == 0);
    }
}

static void cold_pages_check(const struct pst_slabs *slabs)
{
    uint64_t count = 0;
    for (uint32_t s = 0; s < slabs->slab_count; s++) {
        PST_ASSERT(s == 0 || slabs->sorted[s - 1] < slabs->sorted[s]);
        for (uint64_t cold = slabs->sorted[s]->cold; cold != 0; cold &= cold - 1, count++) {
            const uint8_t *page = slab_page(slabs->sorted[s], (uint32_t)__builtin_ctzll(cold));
            for (size_t i = 0; i < PST_PAGE_BYTES; i++)
                PST_ASSERT(page[i] == 0);
        }
    }
    PST_ASSERT(count == slabs->cold_count);
}

int pst_state_check(struct pst_state *state)
{
    uint64_t page_count = 0;
    for (uint32_t bucket = 0; bucket < state->bucket_count; bucket++) {
        struct page_check check = {.bucket = bucket};
        pst_state_release(state); /* nothing of the bucket before is held any more */
        (void)pst_state_pages(state, bucket, page_check, &check);
        page_count += check.page_count;
        for (uint32_t i = 0; i < state->structure_count; i++) {
            if (state->structures[i]->kind == PST_PAGE_RECORDS)
                pst_table_check((struct pst_table *)state->structures[i], bucket);
            else
                pst_log_check((struct pst_log *)state->structures[i], bucket);
        }
    }
    PST_ASSERT(page_count == state->page_count && state->bytes_live == page_count * PST_PAGE_BYTES);
    PST_ASSERT(state->bytes_live <= state->bytes_max && pst_state_bytes(state) <= state->bytes_max_seen);
    free_pages_check(state->slabs.free);
    cold_pages_check(&state->slabs);
    if (state->pager != NULL)
        pst_pager_check(state);
    return PST_OK;
}

static int bytes_visit(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t *word)
{
    (void)bucket;
    (void)number;
    *(uint64_t *)argument += PST_PAGE_HEADER_BYTES + (uint64_t)pst_used_bytes(structure->state, word);
    return PST_OK;
}

uint64_t pst_state_bucket_bytes(struct pst_state *state, uint32_t bucket)
{
    uint64_t bytes = 0;
    (void)pst_state_words(state, bucket, bytes_visit, &bytes); /* cannot fail: bytes_visit() does not */
    return bytes;
}

void pst_state_drop(struct pst_state *state, uint32_t bucket)
{
    PST_ASSERT(!pst_snapshot_is_of(state, bucket));
    state->slabs.wipes = state->slabs.mapped;
    for (uint32_t i = 0; i < state->structure_count; i++) {
        if (state->structures[i]->kind == PST_PAGE_LOG)
            pst_log_drop((struct pst_log *)state->structures[i], bucket);
        else
            pst_table_drop((struct pst_table *)state->structures[i], bucket);
    }
    state->slabs.wipes = false;
}

struct cold_run { /* free pages that lie one behind the other in a slab */
    struct pst_slab *slab;
    uint32_t first, count;
};

/* What lies wholly within pages of the system goes back to it, and what it shares with cold ones beside it, frames in between
 * included: that is zero afterwards, and the rest is made so. In one call for all of them. */
static void run_cool(struct pst_slabs *slabs, struct cold_run *run, uintptr_t unit)
{
    struct pst_slab *slab = run->slab;
    const uint32_t last_number = run->first + run->count - 1;
    if (run->count == 0)
        return;
    bool before = run->first != 0 && (slab->cold >> (run->first - 1) & 1) != 0;
    bool behind = last_number < SLAB_PAGES - 1 && (slab->cold >> (last_number + 1) & 1) != 0;
    uint8_t *page = slab_page(slab, run->first);
    for (uint32_t i = run->first; i <= last_number; i++)
        slab->cold |= UINT64_C(1) << i;
    slabs->cold_count += run->count;
    uintptr_t first = (uintptr_t)page, last = (uintptr_t)slab_page(slab, last_number) + PST_PAGE_BYTES;
    uintptr_t begin = before ? (first - PST_FRAME_BYTES) & -unit : (first + unit - 1) & -unit;
    uintptr_t end = behind ? (last + PST_FRAME_BYTES + unit - 1) & -unit : last & -unit;
    if (unit > PST_PAGE_BYTES) /* a neighbour that is cold does not reach as far as the system's page */
        begin = end;
    if (begin >= end || madvise(page + (ptrdiff_t)(begin - first), end - begin, MADV_DONTNEED) != 0)
        begin = end = last;
    if (begin > first)
        memset(page, 0, begin - first);
    if (end < last)
        memset(page + (end - first), 0, last - end);
    run->count = 0;
}

static void page_cool(struct pst_slabs *slabs, struct cold_run *run, uint8_t *page, uintptr_t unit)
{
    struct pst_slab *slab = slabs->sorted[slabs_below(slabs, (uintptr_t)page) - 1];
    uint32_t number = (uint32_t)((size_t)(page - slab_page(slab, 0)) / PAGE_STRIDE_BYTES);
    if (run->count != 0 && slab == run->slab && number + 1 == run->first) {
        run->first--;
        run->count++;
    } else if (run->count != 0 && slab == run->slab && number == run->first + run->count) {
        run->count++;
    } else {
        run_cool(slabs, run, unit);
        *run = (struct cold_run){slab, number, 1};
    }
}

static bool pages_cool(struct pst_slabs *slabs, uint64_t bytes_max)
{
    struct pst_page_free **link = &slabs->free;
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct cold_run run = {0};
    for (uint32_t i = 0; i < WARM_PAGES && *link != NULL; i++)
        link = &(*link)->next;
    uint64_t bytes = 0;
    for (; slabs->wiped != NULL && bytes < bytes_max; bytes += PST_PAGE_BYTES)
        page_cool(slabs, &run, unlink_first(&slabs->wiped), unit);
    for (; *link != NULL && bytes < bytes_max; bytes += PST_PAGE_BYTES)
        page_cool(slabs, &run, unlink_first(link), unit);
    run_cool(slabs, &run, unit);
    return *link != NULL || slabs->wiped != NULL;
}

bool pst_state_shrink(struct pst_state *state, uint64_t bytes_max)
{
    struct pst_slabs *slabs = &state->slabs;
    if (state->pager != NULL)
        return false;
    if (state->page_count != 0)
        return pages_cool(slabs, bytes_max);
    slabs->free = slabs->wiped = NULL; /* pages of slabs that go; what is left of the newest one, too */
    slabs->next = NULL;
    slabs->left = slabs->slab_count = 0;
    slabs->cold_count = 0;
    for (uint64_t bytes = 0; slabs->all != NULL && bytes < bytes_max; bytes += SLAB_PAGES * PAGE_STRIDE_BYTES) {
        struct pst_slab *slab = slabs->all;
        slabs->all = slab->next;
        slab_free(slabs, slab);
    }
    return slabs->all != NULL;
}
