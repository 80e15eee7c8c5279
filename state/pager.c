/* pager.c - which pages lie outside, who leaves next, and who comes back before he is asked for. See pager.h.
 *
 * Every page in clear is in one of two lists. The heap has those of which something is known that orders them: by when they will
 * be wanted (event time), or by when they were last (LRU). The clock has the others: a hand goes round, and who was touched since
 * it came by last gets another round. Event time uses both: the page that is wanted last of all leaves if that is farther away
 * than the hand's candidate has been left alone; who mixes the two kinds in one order evicts what it needs next.
 *
 * LRU's ranks in the heap may be too low, never too high: pages are touched on the way of a row, where nothing is to be sorted.
 * Whoever comes to the top is looked at again. Due times change when a page is left, and then it moves; and a few are looked at in every
 * callback once half of the pool is full, for who reads by position does not leave pages by their end. */
#include "state/image.h"
#include "state/pool.h"

#include <string.h>

enum { GIVE_BACK_MAX = 8, LIST_FIRST = 64, CLOCK_LOOKS = 8, DUE_LOOKS = 2 };
#define NEVER INT64_MAX
#define NOT_KNOWN INT64_MIN

const char *const pst_evict_names[] = {"event-time", "lru", "clock", "random", NULL};

struct outside_page { /* by slot */
    uint64_t version; /* that it was sealed under (G2) */
    int64_t due, time_first, time_last;
    uint32_t sealed_bytes, used_bytes, changed;
    uint16_t structure;
    bool owned, in, ahead, imaged; /* by a page; which is in; asked for; an image may read it */
    uint32_t at;                   /* in the heap of due ones, if it is not in and not ahead; next of the free ones */
};

struct list { /* of pages in clear */
    uint8_t **pages;
    uint32_t count, capacity;
};

struct hold { /* slots that an image names, until it is done with */
    atomic_bool done;
    uint32_t *slots;
    uint32_t count;
};

struct pst_pager {
    struct pst_paging with;
    int error;
    bool over;                   /* the callback has got more than there is */
    struct pst_seal_place place; /* of the error */
    int64_t now;
    uint64_t version, random;
    uint64_t pages_told; /* to the pool */
    uint64_t
        own; /* pages of the pool that are kept for this state: pages_min, or what a callback has touched at most */
    struct list heap, clock;
    uint32_t hand, looked; /* looked: at the heap's due times */
    struct outside_page *slots;
    uint32_t slot_count, slot_capacity, slot_free;
    uint32_t *due; /* slots by due, the earliest first */
    uint32_t due_count;
    uint32_t ahead[PST_AHEAD_MAX], ahead_count, ahead_looked;
    struct hold *hold;
    uint8_t *sealed, *zeros_memory;
    struct pst_paging_counts counts;
};

static uint64_t resident(const struct pst_pager *pager) { return (uint64_t)pager->heap.count + pager->clock.count; }
/* Is the next page that comes, or the one that has just left its list, one of the state's own? */
static bool is_own(const struct pst_pager *pager) { return resident(pager) < pager->own; }

/* ---- life ---- */

int pst_state_page(struct pst_state *state, const struct pst_paging *paging)
{
    PST_ASSERT(state->page_count == 0 && state->pager == NULL);
    struct pst_pager *pager = pst_calloc(1, sizeof *pager);
    if (pager == NULL)
        return PST_ENOMEM;
    *pager = (struct pst_pager){.with = *paging, .now = NOT_KNOWN, .slot_free = PST_SLOT_NONE, .random = 1};
    pager->sealed = pst_malloc(pst_seal_bound(PST_PAGE_BYTES));
    pager->zeros_memory = pst_calloc(1, PST_FRAME_BYTES + PST_PAGE_BYTES);
    if (pager->sealed == NULL || pager->zeros_memory == NULL) {
        pst_free(pager->sealed);
        pst_free(pager->zeros_memory);
        pst_free(pager);
        return PST_ENOMEM;
    }
    pager->own = paging->pages_min;
    pst_pool_own(pager->with.pool, 0, 0, pager->own);
    state->pager = pager;
    return PST_OK;
}

static void hold_free(struct pst_pager *pager)
{
    if (pager->hold != NULL)
        pst_free(pager->hold->slots);
    pst_free(pager->hold);
    pager->hold = NULL;
}

void pst_pager_free(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    while (resident(pager) != 0) {
        struct list *list = pager->heap.count != 0 ? &pager->heap : &pager->clock;
        uint8_t *page = list->pages[--list->count];
        pst_pool_give(pager->with.pool, is_own(pager), page);
    }
    pst_pool_own(pager->with.pool, 0, pager->own, 0);
    atomic_fetch_sub_explicit(&pager->with.pool->pages_total, pager->pages_told, memory_order_relaxed);
    hold_free(pager);
    pst_free(pager->heap.pages);
    pst_free(pager->clock.pages);
    pst_free(pager->slots);
    pst_free(pager->due);
    pst_free(pager->sealed);
    pst_free(pager->zeros_memory);
    pst_free(pager);
    state->pager = NULL;
}

int pst_state_error(const struct pst_state *state, struct pst_seal_place *ret_place)
{
    if (state->pager == NULL)
        return PST_OK;
    if (ret_place != NULL)
        *ret_place = state->pager->place;
    return state->pager->error;
}

static void fail(struct pst_pager *pager, int error, const struct pst_seal_place *place)
{
    if (pager->error != PST_OK)
        return; /* the first one counts */
    pager->error = error;
    pager->place = place != NULL ? *place : (struct pst_seal_place){0};
}

uint8_t *pst_pager_zeros(struct pst_state *state)
{
    uint8_t *page = state->pager->zeros_memory + PST_FRAME_BYTES;
    memset(page, 0, PST_PAGE_BYTES); /* somebody may have written there */
    return page;
}

void pst_state_paging_counts(const struct pst_state *state, struct pst_paging_counts *ret_counts)
{
    *ret_counts = (struct pst_paging_counts){0};
    if (state->pager != NULL)
        *ret_counts = state->pager->counts;
    ret_counts->lookups = state->lookups;
    ret_counts->pages = state->page_count;
}

/* ---- when a page will be wanted ---- */
/* A page is read from the time of its first entry on and a span beyond, until that of its last: at `now` all that is due at `now` is
 * still to be read. */

static int64_t add_time(int64_t t, int64_t span) { return t > NEVER - span ? NEVER : t + span; }

static int64_t due_of(const struct pst_log *log, int64_t first, int64_t last, int64_t now)
{
    for (uint32_t i = 0; i < log->after_count; i++)
        if (now <= add_time(last, log->after[i]))
            return add_time(first, log->after[i]);
    if (log->period == 0)
        return NEVER;
    int64_t after = log->after[log->after_count - 1];
    uint64_t gone = (uint64_t)now - (uint64_t)add_time(last, after), period = (uint64_t)log->period; /* above 0 */
    uint64_t periods = gone / period + (gone % period != 0);
    return periods > (uint64_t)(NEVER - after) / period ? NEVER : add_time(first, after + (int64_t)(periods * period));
}

/* The page that is appended to is wanted now. */
static int64_t page_due(const struct pst_log *log, uint8_t *page, int64_t now)
{
    const struct pst_page_header *header = pst_page_header(page);
    const struct pst_frame *frame = pst_frame_of(page);
    bool head = header->number / PST_PAGE_BYTES + 1 >= log->buckets[header->bucket]->page_end;
    return head ? frame->time_first : due_of(log, frame->time_first, frame->time_last, now);
}

static struct pst_log *log_of(const struct pst_state *state, uint16_t structure)
{
    return state->structures[structure]->kind == PST_PAGE_LOG ? (struct pst_log *)state->structures[structure] : NULL;
}

/* The log whose due times order this page among others, or NULL. */
static const struct pst_log *due_log(const struct pst_state *state, uint16_t structure, int64_t time_first)
{
    const struct pst_log *log = log_of(state, structure);
    bool known = log != NULL && log->after_count != 0 && time_first != NOT_KNOWN;
    return known && state->pager->with.evict == PST_EVICT_EVENT_TIME ? log : NULL;
}

/* ---- the lists of pages in clear ---- */

static bool list_ready(struct list *list)
{
    if (list->count < list->capacity)
        return true;
    uint32_t capacity = list->capacity == 0 ? LIST_FIRST : list->capacity * 2;
    uint8_t **pages = pst_realloc(list->pages, capacity * sizeof *pages);
    if (pages == NULL)
        return false;
    list->pages = pages;
    list->capacity = capacity;
    return true;
}

static void heap_put(struct list *heap, uint32_t at, uint8_t *page)
{
    heap->pages[at] = page;
    pst_frame_of(page)->at = at;
}

/* Moves a page to where its rank belongs. */
static void heap_settle(struct list *heap, uint8_t *page)
{
    uint64_t rank = pst_frame_of(page)->rank;
    uint32_t at = pst_frame_of(page)->at;
    for (uint32_t above; at > 0 && pst_frame_of(heap->pages[above = (at - 1) / 2])->rank > rank; at = above)
        heap_put(heap, at, heap->pages[above]);
    for (uint32_t below; (below = 2 * at + 1) < heap->count; at = below) {
        if (below + 1 < heap->count &&
            pst_frame_of(heap->pages[below + 1])->rank < pst_frame_of(heap->pages[below])->rank)
            below++;
        if (pst_frame_of(heap->pages[below])->rank >= rank)
            break;
        heap_put(heap, at, heap->pages[below]);
    }
    heap_put(heap, at, page);
}

/* The same, for one whose rank is another from now on. */
static void heap_move(struct list *heap, uint8_t *page, uint64_t rank)
{
    pst_frame_of(page)->rank = rank;
    heap_settle(heap, page);
}

static void list_leave(struct pst_pager *pager, uint8_t *page)
{
    struct pst_frame *frame = pst_frame_of(page);
    struct list *list = frame->in_heap ? &pager->heap : &pager->clock;
    uint8_t *last = list->pages[--list->count];
    if (!frame->in_heap && frame->at == pager->hand)
        pager->hand++; /* who takes the place came last of all: not his turn yet */
    if (last == page)
        return;
    heap_put(list, frame->at, last);
    if (frame->in_heap)
        heap_settle(list, last);
}

/* Of a table's first page in a bucket the bucket knows. */
static uint64_t touched_of(const struct pst_state *state, uint8_t *page)
{
    const struct pst_page_header *header = pst_page_header(page);
    if (header->kind == PST_PAGE_RECORDS && header->number == 0)
        return ((const struct pst_table *)state->structures[header->structure])->buckets[header->bucket]->touched_first;
    return pst_frame_of(page)->touched;
}

static bool is_pinned(const struct pst_state *state, uint8_t *page)
{
    const struct pst_log *log = log_of(state, pst_page_header(page)->structure);
    return log != NULL ? log->held == page : touched_of(state, page) >= state->stamp;
}

/* The heap's order by due time: what is wanted last comes first. */
static uint64_t rank_of_due(int64_t due) { return ~((uint64_t)due ^ (UINT64_C(1) << 63)); }
static int64_t due_of_rank(uint64_t rank) { return (int64_t)(~rank ^ (UINT64_C(1) << 63)); }

static void list_enter(struct pst_state *state, uint8_t *page)
{
    struct pst_pager *pager = state->pager;
    struct pst_frame *frame = pst_frame_of(page);
    const struct pst_log *log = due_log(state, pst_page_header(page)->structure, frame->time_first);
    frame->in_heap = log != NULL || pager->with.evict == PST_EVICT_LRU;
    frame->rank = log != NULL ? rank_of_due(page_due(log, page, pager->now)) : state->stamp;
    frame->seen = pager->now;
    struct list *list = frame->in_heap ? &pager->heap : &pager->clock;
    heap_put(list, list->count++, page);
    if (frame->in_heap)
        heap_settle(list, page);
    if (resident(pager) > pager->counts.pages_in_max)
        pager->counts.pages_in_max = resident(pager);
}

void pst_pager_left(struct pst_log *log, uint8_t *page)
{
    struct pst_state *state = log->structure.state;
    if (pst_is_outside(page) || due_log(state, log->structure.number, pst_frame_of(page)->time_first) == NULL ||
        !pst_frame_of(page)->in_heap) /* it came before its log said when it is wanted */
        return;
    uint64_t rank = rank_of_due(page_due(log, page, add_time(state->pager->now, 1)));
    if (rank != pst_frame_of(page)->rank)
        heap_move(&state->pager->heap, page, rank);
}

void pst_pager_appended(struct pst_log *log, uint8_t *page)
{
    struct pst_frame *frame = pst_frame_of(page);
    if (frame->time_first != NOT_KNOWN)
        frame->time_last = log->structure.state->pager->now;
}

/* ---- slots ---- */

static void due_put(struct pst_pager *pager, uint32_t at, uint32_t slot)
{
    pager->due[at] = slot;
    pager->slots[slot].at = at;
}

static void due_settle(struct pst_pager *pager, uint32_t slot)
{
    int64_t due = pager->slots[slot].due;
    uint32_t at = pager->slots[slot].at;
    for (uint32_t above; at > 0 && pager->slots[pager->due[above = (at - 1) / 2]].due > due; at = above)
        due_put(pager, at, pager->due[above]);
    for (uint32_t below; (below = 2 * at + 1) < pager->due_count; at = below) {
        if (below + 1 < pager->due_count &&
            pager->slots[pager->due[below + 1]].due < pager->slots[pager->due[below]].due)
            below++;
        if (pager->slots[pager->due[below]].due >= due)
            break;
        due_put(pager, at, pager->due[below]);
    }
    due_put(pager, at, slot);
}

static void due_enter(struct pst_pager *pager, uint32_t slot) /* there is room: slot_new() */
{
    due_put(pager, pager->due_count++, slot);
    due_settle(pager, slot);
}

static void due_leave(struct pst_pager *pager, uint32_t slot)
{
    uint32_t last = pager->due[--pager->due_count];
    if (last == slot)
        return;
    due_put(pager, pager->slots[slot].at, last);
    due_settle(pager, last);
}

/* Is it one of those that are asked for by their due time? */
static bool slot_is_due(const struct pst_pager *pager, uint32_t slot)
{
    const struct outside_page *out = &pager->slots[slot];
    return pager->with.ahead && out->owned && !out->in && out->due != NEVER && out->due != NOT_KNOWN;
}

static uint32_t slot_new(struct pst_pager *pager)
{
    uint32_t slot = pager->slot_free;
    if (slot != PST_SLOT_NONE) {
        pager->slot_free = pager->slots[slot].at;
        return slot;
    }
    if (pager->slot_count == pager->slot_capacity) {
        uint32_t capacity = pager->slot_capacity == 0 ? LIST_FIRST : pager->slot_capacity * 2;
        struct outside_page *slots = pst_realloc(pager->slots, capacity * sizeof *slots);
        if (slots != NULL)
            pager->slots = slots;
        uint32_t *due = slots != NULL ? pst_realloc(pager->due, capacity * sizeof *due) : NULL;
        if (due == NULL)
            return PST_SLOT_NONE;
        pager->due = due;
        pager->slot_capacity = capacity;
    }
    return pager->slot_count++;
}

static void slot_end(struct pst_pager *pager, uint32_t slot)
{
    struct outside_page *out = &pager->slots[slot];
    if (out->owned || out->imaged)
        return;
    *out = (struct outside_page){.at = pager->slot_free};
    pager->slot_free = slot;
}

static void ahead_leave(struct pst_pager *pager, uint32_t slot)
{
    for (uint32_t i = 0; i < pager->ahead_count; i++)
        if (pager->ahead[i] == slot)
            pager->ahead[i] = pager->ahead[--pager->ahead_count];
    pager->slots[slot].ahead = false;
}

/* It is not waited for any more, whether in the heap or asked for. */
static void slot_unwait(struct pst_pager *pager, uint32_t slot)
{
    if (!slot_is_due(pager, slot))
        return;
    if (pager->slots[slot].ahead)
        ahead_leave(pager, slot);
    else
        due_leave(pager, slot);
}

/* The page that owned it has changed, or is dead. */
static void slot_disown(struct pst_pager *pager, uint32_t slot)
{
    if (pager->slots[slot].ahead)
        pager->with.outside.forget(pager->with.outside.self, slot);
    slot_unwait(pager, slot);
    pager->slots[slot].owned = pager->slots[slot].in = false;
    slot_end(pager, slot);
}

uint32_t pst_pager_used_bytes(const struct pst_state *state, uint32_t slot)
{
    return state->pager->slots[slot].used_bytes;
}

/* ---- out ---- */

static uint32_t *first_changed(const struct pst_state *state, uint8_t *page)
{
    const struct pst_page_header *header = pst_page_header(page);
    if (header->kind != PST_PAGE_RECORDS || header->number != 0)
        return NULL;
    return &((const struct pst_table *)state->structures[header->structure])->buckets[header->bucket]->changed_first;
}

/* Where a page goes: its own slot, but another one where an image may read that. PST_SLOT_NONE: no memory. */
static uint32_t page_slot(struct pst_pager *pager, struct pst_frame *frame)
{
    if (frame->slot != PST_SLOT_NONE && pager->slots[frame->slot].imaged) {
        slot_disown(pager, frame->slot);
        frame->slot = PST_SLOT_NONE;
    }
    return frame->slot != PST_SLOT_NONE ? frame->slot : slot_new(pager);
}

static int page_seal(struct pst_pager *pager, uint32_t slot, const struct pst_seal_place *place, uint8_t *page,
                     size_t *ret_sealed_bytes)
{
    uint32_t clear_bytes = PST_PAGE_HEADER_BYTES + pst_page_header(page)->used_bytes;
    int rc = pst_seal(pager->with.sealer, pager->with.operator_index, place, false, page, clear_bytes, pager->sealed,
                      pst_seal_bound(PST_PAGE_BYTES), ret_sealed_bytes);
    if (rc != PST_OK)
        return rc == PST_EREFUSED ? PST_ERANGE : rc; /* the key has sealed all that it may */
    rc = pager->with.outside.put(pager->with.outside.self, slot, pager->sealed, (uint32_t)*ret_sealed_bytes);
    pager->counts.bytes_sealed += rc == PST_OK ? clear_bytes : 0;
    return rc;
}

/* Seals a page that changed since it was outside last, and puts it there; *count of what has been. */
static int page_put(struct pst_state *state, uint8_t *page, uint64_t *count)
{
    struct pst_pager *pager = state->pager;
    struct pst_frame *frame = pst_frame_of(page);
    struct pst_page_header *header = pst_page_header(page);
    uint32_t *first = first_changed(state, page);
    uint32_t changed = first != NULL && *first > header->changed ? *first : header->changed;
    if (changed == 0 && frame->slot != PST_SLOT_NONE)
        return PST_OK;
    changed = changed > frame->changed ? changed : frame->changed;
    struct pst_seal_place place = {header->bucket, header->structure, header->kind, header->number, ++pager->version};
    uint32_t slot = page_slot(pager, frame);
    size_t sealed_bytes = 0;
    header->changed = changed; /* as it will be read by others */
    int rc = slot != PST_SLOT_NONE ? page_seal(pager, slot, &place, page, &sealed_bytes) : PST_ENOMEM;
    if (rc != PST_OK) {
        if (slot != PST_SLOT_NONE && frame->slot == PST_SLOT_NONE) {
            pager->slots[slot] = (struct outside_page){0};
            slot_end(pager, slot);
        }
        fail(pager, rc, &place);
        return rc;
    }
    pager->slots[slot] = (struct outside_page){.version = place.version,
                                               .due = NOT_KNOWN,
                                               .sealed_bytes = (uint32_t)sealed_bytes,
                                               .used_bytes = header->used_bytes,
                                               .changed = changed,
                                               .structure = header->structure,
                                               .owned = true,
                                               .in = true};
    frame->slot = slot;
    frame->changed = changed;
    header->changed = 0;
    if (first != NULL)
        *first = 0;
    ++*count;
    return PST_OK;
}

static void word_set(struct pst_state *state, uint16_t structure, uint32_t bucket, uint64_t number, uint8_t *word)
{
    struct pst_log *log = log_of(state, structure);
    if (log != NULL)
        pst_log_word_set(log, bucket, number, word);
    else
        pst_table_word_set((struct pst_table *)state->structures[structure], bucket, number, word);
}

/* What is left is memory that its caller wipes or uses. */
static int page_leave(struct pst_state *state, uint8_t *page)
{
    struct pst_pager *pager = state->pager;
    uint64_t puts = pager->counts.page_outs;
    int rc = page_put(state, page, &pager->counts.page_outs);
    if (rc != PST_OK)
        return rc;
    pager->counts.page_outs_clean += puts == pager->counts.page_outs;
    struct pst_frame *frame = pst_frame_of(page);
    const struct pst_page_header *header = pst_page_header(page);
    struct outside_page *out = &pager->slots[frame->slot];
    /* As it was ordered, whatever the time is: whoever has left it in this very callback has left it. */
    bool known = due_log(state, header->structure, frame->time_first) != NULL && frame->in_heap;
    out->time_first = frame->time_first;
    out->time_last = frame->time_last;
    out->due = known ? due_of_rank(frame->rank) : NOT_KNOWN;
    out->in = false;
    if (slot_is_due(pager, frame->slot))
        due_enter(pager, frame->slot);
    word_set(state, header->structure, header->bucket, header->number, pst_outside_word(frame->slot));
    list_leave(pager, page);
    return PST_OK;
}

/* ---- who leaves ---- */

static uint64_t random_next(struct pst_pager *pager)
{
    uint64_t z = pager->random += 0x9E3779B97F4A7C15u; /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Whether it was due at another time than it is ordered by: who reads by position leaves no page by its end. */
static bool due_moves(struct pst_state *state, uint8_t *page)
{
    struct pst_frame *frame = pst_frame_of(page);
    const struct pst_log *log = due_log(state, pst_page_header(page)->structure, frame->time_first);
    uint64_t rank = log != NULL ? rank_of_due(page_due(log, page, state->pager->now)) : frame->rank;
    /* Left in this very callback, it is due at its next time already. */
    if (rank == frame->rank || (due_of_rank(rank) <= state->pager->now && due_of_rank(frame->rank) > state->pager->now))
        return false;
    heap_move(&state->pager->heap, page, rank);
    return true;
}

/* The top of the heap that may leave, its rank set right; NULL: none may. */
static uint8_t *heap_candidate(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    struct list *heap = &pager->heap;
    bool lru = pager->with.evict == PST_EVICT_LRU;
    uint8_t *aside[PST_STRUCTURES_MAX], *found = NULL;
    uint32_t aside_count = 0;
    while (heap->count != 0 && found == NULL) {
        uint8_t *page = heap->pages[0];
        struct pst_frame *frame = pst_frame_of(page);
        if (lru && is_pinned(state, page)) {
            if (frame->rank > state->stamp)
                break; /* so are all others */
            heap_move(heap, page, state->stamp + 1);
        } else if (lru && touched_of(state, page) > frame->rank) {
            heap_move(heap, page, touched_of(state, page));
        } else if (!lru && is_pinned(state, page)) { /* at most one of each log */
            list_leave(pager, page);
            aside[aside_count++] = page;
        } else if (lru || !due_moves(state, page)) {
            found = page;
        }
    }
    for (uint32_t i = 0; i < aside_count; i++) {
        heap_put(heap, heap->count++, aside[i]);
        heap_settle(heap, aside[i]);
    }
    return found;
}

static uint8_t *clock_candidate(struct pst_state *state, uint32_t looks_max)
{
    struct pst_pager *pager = state->pager;
    for (uint32_t i = 0; i < looks_max && pager->clock.count != 0; i++) {
        uint8_t *page = pager->clock.pages[pager->hand %= pager->clock.count];
        struct pst_frame *frame = pst_frame_of(page);
        uint64_t touched = touched_of(state, page);
        if (!is_pinned(state, page) && touched <= frame->rank)
            return page; /* the hand stays: next time, unless it was touched, it is the one again */
        if (touched > frame->rank) {
            frame->rank = touched;
            frame->seen = pager->now;
        }
        pager->hand++;
    }
    return NULL;
}

static uint8_t *random_candidate(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    for (uint32_t i = 0; i < pager->clock.count; i++) {
        uint8_t *page = pager->clock.pages[random_next(pager) % pager->clock.count];
        if (!is_pinned(state, page))
            return page;
    }
    for (uint32_t i = 0; i < pager->clock.count; i++)
        if (!is_pinned(state, pager->clock.pages[i]))
            return pager->clock.pages[i];
    return NULL;
}

static uint8_t *candidate(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    if (pager->with.evict == PST_EVICT_RANDOM)
        return random_candidate(state);
    uint8_t *known = heap_candidate(state);
    uint8_t *unknown = clock_candidate(state, known != NULL ? CLOCK_LOOKS : 2 * pager->clock.count + 1);
    if (known == NULL || unknown == NULL)
        return known != NULL ? known : unknown;
    int64_t due = due_of_rank(pst_frame_of(known)->rank);
    uint64_t away = due > pager->now ? (uint64_t)due - (uint64_t)pager->now : 0;
    uint64_t left_alone = (uint64_t)pager->now - (uint64_t)pst_frame_of(unknown)->seen;
    return away > left_alone ? known : unknown;
}

/* NULL: none may leave, or the error says why. */
static uint8_t *evict(struct pst_state *state)
{
    uint8_t *page = candidate(state);
    if (page == NULL || page_leave(state, page) != PST_OK)
        return NULL;
    return page;
}

/* ---- the state's part of the pool ---- */

static uint64_t share_of(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    struct pst_pool *pool = pager->with.pool;
    uint64_t own = state->page_count + 1;
    uint64_t total = atomic_fetch_add_explicit(&pool->pages_total, own - pager->pages_told, memory_order_relaxed) +
                     own - pager->pages_told;
    pager->pages_told = own;
    uint64_t need = atomic_load_explicit(&pool->pages_need, memory_order_relaxed); /* what is kept for each, of all */
    uint64_t more = need < pool->pages_max ? pool->pages_max - need : 0;
    return pager->own + (uint64_t)((double)more * (double)own / (double)total);
}

uint8_t *pst_pager_frame(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    struct pst_pool *pool = pager->with.pool;
    if (pager->error != PST_OK)
        return NULL;
    if (!list_ready(&pager->heap) || !list_ready(&pager->clock)) {
        fail(pager, PST_ENOMEM, NULL);
        return NULL;
    }
    bool none;
    uint8_t *page =
        pst_pool_take(pool, is_own(pager), resident(pager) < share_of(state) ? 0 : pool->cushion, POOL_FAIR, &none);
    if (page == NULL && none) {
        page = evict(state);
        if (page != NULL) {
            memset(page, 0, PST_PAGE_HEADER_BYTES + (size_t)pst_page_header(page)->used_bytes);
        } else if (pager->error == PST_OK) { /* all is held: what others have left, and then more than there is */
            page = pst_pool_take(pool, is_own(pager), 0, POOL_LAST, &none);
            if (page == NULL && none) {
                page = pst_pool_take(pool, is_own(pager), 0, POOL_OVER, &none);
                pager->over = true; /* the callback goes on to its end, so that what it needs is known */
            }
        }
    }
    if (page == NULL && pager->error == PST_OK)
        fail(pager, PST_ENOMEM, NULL);
    return page;
}

void pst_pager_enter(struct pst_state *state, uint8_t *page)
{
    struct pst_pager *pager = state->pager;
    bool log = pst_page_header(page)->kind == PST_PAGE_LOG;
    *pst_frame_of(page) = (struct pst_frame){.touched = state->stamp,
                                             .time_first = log ? pager->now : NOT_KNOWN,
                                             .time_last = log ? pager->now : NOT_KNOWN,
                                             .slot = PST_SLOT_NONE};
    state->touched += !log && pst_page_header(page)->number != 0; /* page_of() counts the first one of a bucket alone */
    list_enter(state, page);
}

void pst_pager_dead(struct pst_state *state, uint8_t *page)
{
    struct pst_pager *pager = state->pager;
    if (pst_is_outside(page)) {
        slot_disown(pager, pst_slot_of(page));
        pager->counts.dead_outside++;
        return;
    }
    if (pst_frame_of(page)->slot != PST_SLOT_NONE)
        slot_disown(pager, pst_frame_of(page)->slot);
    list_leave(pager, page);
    pager->counts.dead_inside++;
    pst_pool_give(pager->with.pool, is_own(pager), page);
}

/* ---- in ---- */

uint8_t *pst_pager_in(struct pst_structure *structure, uint32_t bucket, uint64_t number, const uint8_t *word)
{
    struct pst_state *state = structure->state;
    struct pst_pager *pager = state->pager;
    uint32_t slot = pst_slot_of(word), clear_bytes = 0;
    uint8_t *page = pst_pager_frame(state); /* moves the slots */
    if (page == NULL)
        return NULL;
    struct outside_page *out = &pager->slots[slot];
    struct pst_seal_place place = {bucket, structure->number, structure->kind, number, out->version};
    bool ahead = out->ahead;
    int rc = pager->with.outside.get(pager->with.outside.self, slot, pager->sealed, out->sealed_bytes);
    if (rc == PST_OK)
        rc = pst_unseal(pager->with.sealer, pager->with.operator_index, &place, pager->sealed, out->sealed_bytes, page,
                        PST_PAGE_BYTES, &clear_bytes);
    if (rc == PST_OK && clear_bytes != PST_PAGE_HEADER_BYTES + pst_page_header(page)->used_bytes)
        rc = PST_EINTERNAL;
    rc = rc == PST_EABI ? PST_EREFUSED : rc; /* no newer program has been here */
    if (rc != PST_OK) {
        fail(pager, rc, &place);
        *pst_page_header(page) = (struct pst_page_header){.used_bytes = PST_PAGE_DATA_BYTES};
        pst_pool_give(pager->with.pool, is_own(pager), page);
        return NULL;
    }
    slot_unwait(pager, slot);
    out->in = true;
    *pst_frame_of(page) = (struct pst_frame){.touched = 0,
                                             .time_first = out->time_first,
                                             .time_last = out->time_last,
                                             .slot = slot,
                                             .changed = out->changed};
    pst_page_header(page)->changed = 0;
    word_set(state, structure->number, bucket, number, page);
    list_enter(state, page);
    pst_pool_came(pager->with.pool);
    pager->counts.page_ins++;
    pager->counts.page_ins_ahead += ahead;
    pager->counts.bytes_opened += clear_bytes;
    return page;
}

/* ---- callbacks ---- */

/* Keeps those that are due next asked for. */
static void ahead_look(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    const struct pst_outside *outside = &pager->with.outside;
    if (pager->ahead_count == PST_AHEAD_MAX) { /* one of them a callback: it may not have been wanted after all */
        uint32_t slot = pager->ahead[pager->ahead_looked++ % PST_AHEAD_MAX];
        struct outside_page *out = &pager->slots[slot];
        const struct pst_log *log = log_of(state, out->structure);
        int64_t due = due_of(log, out->time_first, out->time_last, pager->now);
        if (due != out->due) {
            outside->forget(outside->self, slot);
            slot_unwait(pager, slot);
            out->due = due;
            if (slot_is_due(pager, slot))
                due_enter(pager, slot);
        }
    }
    while (pager->due_count != 0) {
        uint32_t slot = pager->due[0];
        if (pager->ahead_count == PST_AHEAD_MAX) {
            uint32_t last = 0;
            for (uint32_t i = 1; i < PST_AHEAD_MAX; i++)
                if (pager->slots[pager->ahead[i]].due > pager->slots[pager->ahead[last]].due)
                    last = i;
            last = pager->ahead[last];
            if (pager->slots[last].due <= pager->slots[slot].due)
                return;
            outside->forget(outside->self, last);
            ahead_leave(pager, last);
            due_enter(pager, last);
        }
        due_leave(pager, slot);
        pager->slots[slot].ahead = true;
        pager->ahead[pager->ahead_count++] = slot;
        outside->ahead(outside->self, slot, pager->slots[slot].sealed_bytes);
        pager->counts.aheads++;
    }
}

static void hold_look(struct pst_pager *pager)
{
    if (pager->hold == NULL || !atomic_load_explicit(&pager->hold->done, memory_order_acquire))
        return;
    for (uint32_t i = 0; i < pager->hold->count; i++) {
        pager->slots[pager->hold->slots[i]].imaged = false;
        slot_end(pager, pager->hold->slots[i]);
    }
    hold_free(pager);
}

static void need_look(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    uint64_t need = state->touched + state->structure_count; /* each log holds a page */
    if (need > pager->counts.need_pages) {
        pager->counts.need_pages = need;
        if (need > pager->own) {
            pst_pool_own(pager->with.pool, resident(pager), pager->own, need);
            pager->own = need;
        }
    }
    state->touched = 0;
}

void pst_state_begin(struct pst_state *state, int64_t now)
{
    struct pst_pager *pager = state->pager;
    if (pager == NULL || pager->error != PST_OK)
        return;
    pager->now = now > pager->now ? now : pager->now;
    bool looks = pager->with.evict == PST_EVICT_EVENT_TIME && pst_pool_is_half_full(pager->with.pool);
    for (uint32_t i = 0; i < DUE_LOOKS && looks && pager->heap.count != 0; i++)
        (void)due_moves(state, pager->heap.pages[pager->looked++ % pager->heap.count]);
    if (pager->with.ahead)
        ahead_look(state);
}

void pst_state_release(struct pst_state *state)
{
    if (state->pager == NULL)
        return;
    need_look(state);
    state->stamp++;
}

int pst_state_end(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    if (pager == NULL)
        return PST_OK;
    need_look(state);
    state->stamp++;
    struct pst_pool *pool = pager->with.pool;
    /* Where it is others who have more than their share, they will give it back. */
    if (pager->over && atomic_load_explicit(&pool->pages_need, memory_order_relaxed) > pool->pages_max)
        fail(pager, PST_EFULL, NULL);
    hold_look(pager);
    for (uint32_t i = 0; (i < GIVE_BACK_MAX || pager->over) && pager->error == PST_OK; i++) {
        bool above = atomic_load_explicit(&pool->pages_used, memory_order_relaxed) > pool->pages_max;
        if (!above && (!pst_pool_is_short(pool) || resident(pager) <= share_of(state)))
            break;
        uint8_t *page = evict(state);
        if (page == NULL)
            break;
        pst_pool_give(pool, is_own(pager), page);
    }
    pager->over = false;
    return pager->error;
}

/* ---- images ---- */

int pst_pager_flush(struct pst_state *state)
{
    struct pst_pager *pager = state->pager;
    int rc = pager->error;
    for (uint32_t i = 0; i < pager->heap.count && rc == PST_OK; i++)
        rc = page_put(state, pager->heap.pages[i], &pager->counts.page_images);
    for (uint32_t i = 0; i < pager->clock.count && rc == PST_OK; i++)
        rc = page_put(state, pager->clock.pages[i], &pager->counts.page_images);
    return rc;
}

uint32_t pst_pager_changed(const struct pst_state *state, uint8_t *word)
{
    if (pst_is_outside(word))
        return state->pager->slots[pst_slot_of(word)].changed;
    uint32_t changed = pst_page_header(word)->changed, before = pst_frame_of(word)->changed;
    return changed > before ? changed : before;
}

void pst_pager_image_page(struct pst_state *state, uint8_t *word, struct pst_image_page *page)
{
    const struct pst_pager *pager = state->pager;
    page->slot = pst_is_outside(word) ? pst_slot_of(word) : pst_frame_of(word)->slot;
    const struct outside_page *out = &pager->slots[page->slot];
    page->changed = out->changed;
    page->version = out->version;
    page->sealed_bytes = out->sealed_bytes;
    page->used_bytes = out->used_bytes;
}

int pst_pager_image(struct pst_state *state, struct pst_image *image)
{
    struct pst_pager *pager = state->pager;
    hold_look(pager);
    PST_ASSERT(pager->hold == NULL); /* one image at a time */
    struct hold *hold = pst_calloc(1, sizeof *hold);
    uint32_t *slots = pst_malloc((image->page_count + 1) * sizeof *slots);
    if (hold == NULL || slots == NULL) {
        pst_free(hold);
        pst_free(slots);
        return PST_ENOMEM;
    }
    hold->slots = slots;
    for (uint32_t i = 0; i < image->page_count; i++) {
        if (!image->pages[i].changed_since)
            continue;
        slots[hold->count++] = image->pages[i].slot;
        pager->slots[image->pages[i].slot].imaged = true;
    }
    pager->hold = hold;
    image->outside = pager->with.outside;
    image->opener = pager->with.opener;
    image->operator_index = pager->with.operator_index;
    image->done = &hold->done;
    return PST_OK;
}

/* ---- tests ---- */

static void list_check(const struct pst_pager *pager, const struct list *list, bool heap)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct pst_frame *frame = pst_frame_of(list->pages[i]);
        PST_ASSERT(frame->at == i && frame->in_heap == heap);
        PST_ASSERT(!heap || i == 0 || pst_frame_of(list->pages[(i - 1) / 2])->rank <= frame->rank);
        PST_ASSERT(frame->slot == PST_SLOT_NONE || (pager->slots[frame->slot].owned && pager->slots[frame->slot].in));
    }
}

void pst_pager_check(struct pst_state *state)
{
    const struct pst_pager *pager = state->pager;
    uint64_t outside = 0;
    list_check(pager, &pager->heap, true);
    list_check(pager, &pager->clock, false);
    for (uint32_t i = 0; i < pager->slot_count; i++) {
        PST_ASSERT(!pager->slots[i].in || pager->slots[i].owned);
        PST_ASSERT(!pager->slots[i].ahead || slot_is_due(pager, i));
        outside += pager->slots[i].owned && !pager->slots[i].in;
    }
    for (uint32_t i = 0; i < pager->due_count; i++) {
        const struct outside_page *out = &pager->slots[pager->due[i]];
        PST_ASSERT(out->at == i && !out->ahead && slot_is_due(pager, pager->due[i]));
        PST_ASSERT(i == 0 || pager->slots[pager->due[(i - 1) / 2]].due <= out->due);
    }
    PST_ASSERT(outside + resident(pager) == state->page_count);
    PST_ASSERT(pager->over || pager->error != PST_OK ||
               atomic_load_explicit(&pager->with.pool->pages_used, memory_order_relaxed) <=
                   pager->with.pool->pages_max);
}
