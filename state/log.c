/* log.c - entries appended at the head and expired from the tail, in pages by bucket (internal.h says where they stand). */
#include "state/internal.h"

#include <string.h>

enum { RING_FIRST = 2, PREFIX_BYTES = sizeof(uint32_t) };

static_assert(PST_PAGE_HEADER_BYTES + PST_LOG_ENTRY_BYTES_MAX + 2 * 8 <= PST_PAGE_BYTES,
              "the largest entry fits a page");

static inline uint64_t position_page(uint64_t position) { return position / PST_PAGE_BYTES; }
static inline uint32_t position_offset(uint64_t position) { return (uint32_t)(position % PST_PAGE_BYTES); }
static inline uint64_t position_of_page(uint64_t page) { return page * PST_PAGE_BYTES + PST_PAGE_HEADER_BYTES; }

static inline uint32_t entry_stride(uint32_t bytes) { return (bytes + PREFIX_BYTES + 7u) & ~7u; }

/* The used bytes of a page end with the 4 bytes before its next entry's prefix: the last entry may reach into them. */
static inline uint32_t end_offset(uint32_t used_bytes) { return used_bytes + PST_PAGE_HEADER_BYTES - PREFIX_BYTES; }

/* The page, or the word that says where it lies. */
static inline uint8_t *word_of(const struct pst_log_bucket *entries, uint64_t sequence)
{
    return entries->ring[sequence & entries->ring_mask];
}

/* The page, which does not leave before the next one of this log is asked for (G3). NULL: it cannot be had. */
static inline uint8_t *page_of(struct pst_log *log, uint32_t bucket, const struct pst_log_bucket *entries,
                               uint64_t sequence)
{
    struct pst_state *state = log->structure.state;
    uint8_t *page = word_of(entries, sequence);
    if (__builtin_expect(state->pager == NULL, 1))
        return page;
    if (pst_is_outside(page))
        page = pst_pager_in(&log->structure, bucket, sequence * PST_PAGE_BYTES, page);
    log->held = page;
    if (page != NULL)
        pst_frame_of(page)->touched = state->stamp;
    return page;
}

/* ---- life ---- */

struct pst_log *pst_state_log_open(struct pst_state *state, const char *name)
{
    bool taken;
    struct pst_log *log = (struct pst_log *)pst_structure_find(state, name, PST_PAGE_LOG, &taken);
    if (log != NULL || taken)
        return log;
    log = pst_calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->buckets = pst_calloc(state->bucket_count, sizeof *log->buckets);
    if (log->buckets == NULL)
        goto undo_log;
    if (pst_structure_init(&log->structure, state, name, PST_PAGE_LOG) != PST_OK)
        goto undo_buckets;
    pst_state_account(state, (int64_t)(sizeof *log + state->bucket_count * sizeof *log->buckets));
    return log;
undo_buckets:
    pst_free(log->buckets);
undo_log:
    pst_free(log);
    return NULL;
}

void pst_log_free(struct pst_log *log)
{
    for (uint32_t i = 0; i < log->structure.state->bucket_count; i++) {
        if (log->buckets[i] == NULL)
            continue;
        pst_free(log->buckets[i]->ring);
        pst_free(log->buckets[i]);
    }
    pst_free(log->buckets);
    pst_free(log->structure.name);
    pst_free(log);
}

static struct pst_log_bucket *bucket_new(struct pst_log *log, uint32_t number)
{
    struct pst_log_bucket *entries = pst_aligned(PST_CACHE_LINE_BYTES, PST_CACHE_LINE_BYTES);
    if (entries == NULL)
        return NULL;
    uint8_t **ring = pst_calloc(RING_FIRST, sizeof *ring);
    if (ring == NULL) {
        pst_free(entries);
        return NULL;
    }
    uint64_t first = position_of_page(0);
    *entries = (struct pst_log_bucket){.ring = ring, .ring_mask = RING_FIRST - 1, .tail = first, .head = first};
    pst_state_account(log->structure.state, (int64_t)(PST_CACHE_LINE_BYTES + RING_FIRST * sizeof *ring));
    log->buckets[number] = entries;
    return entries;
}

static inline struct pst_log_bucket *bucket_of(const struct pst_log *log, uint32_t bucket)
{
    PST_ASSERT(bucket < log->structure.state->bucket_count);
    return log->buckets[bucket];
}

/* ---- append ---- */

static int ring_grow(struct pst_log *log, struct pst_log_bucket *entries)
{
    uint64_t count = (entries->ring_mask + 1) * 2;
    uint8_t **ring = pst_calloc(count, sizeof *ring);
    if (ring == NULL)
        return PST_ENOMEM;
    for (uint64_t s = entries->page_first; s < entries->page_end; s++)
        ring[s & (count - 1)] = word_of(entries, s);
    pst_free(entries->ring);
    entries->ring = ring;
    entries->ring_mask = count - 1;
    pst_state_account(log->structure.state, (int64_t)(count / 2 * sizeof *ring));
    return PST_OK;
}

static __attribute__((noinline)) int page_add(struct pst_log *log, struct pst_log_bucket *entries, uint32_t bucket)
{
    if (entries->page_end - entries->page_first > entries->ring_mask) {
        int rc = ring_grow(log, entries);
        if (rc != PST_OK)
            return rc;
    }
    uint64_t sequence = entries->page_end;
    uint8_t *page;
    int rc = pst_page_take(&log->structure, bucket, sequence * PST_PAGE_BYTES, &page);
    if (rc != PST_OK)
        return rc;
    entries->ring[sequence & entries->ring_mask] = page;
    entries->page_end = sequence + 1;
    entries->head = position_of_page(sequence);
    if (log->structure.state->pager != NULL && sequence > entries->page_first)
        pst_pager_left(log, word_of(entries, sequence - 1));
    return PST_OK;
}

/* The head stands in the last page, unless there is none (all was trimmed). It never comes to stand behind a page's last byte,
 * where its position would be one of the next page. */
static inline bool head_has_room(const struct pst_log_bucket *entries, uint32_t bytes)
{
    return entries->page_first < entries->page_end &&
           position_offset(entries->head) + entry_stride(bytes) + PREFIX_BYTES <= PST_PAGE_BYTES;
}

int pst_state_log_append(struct pst_log *log, uint32_t bucket, uint32_t bytes, void **ret_space, uint64_t *ret_position)
{
    if (bytes < 1 || bytes > PST_LOG_ENTRY_BYTES_MAX)
        return PST_EINVAL;
    struct pst_log_bucket *entries = bucket_of(log, bucket);
    if (__builtin_expect(entries == NULL, 0)) {
        entries = bucket_new(log, bucket);
        if (entries == NULL)
            return PST_ENOMEM;
    }
    if (__builtin_expect(!head_has_room(entries, bytes), 0)) {
        int rc = page_add(log, entries, bucket);
        if (rc != PST_OK)
            return rc;
    }
    if (pst_is_shown(log->structure.state, bucket))
        pst_snapshot_keep(&log->structure, bucket, entries->page_end - 1);
    uint8_t *page = page_of(log, bucket, entries, entries->page_end - 1);
    if (page == NULL)
        return pst_state_error(log->structure.state, NULL);
    uint32_t offset = position_offset(entries->head);
    memcpy(page + offset + PREFIX_BYTES, &bytes, PREFIX_BYTES);
    *ret_space = page + offset + 2 * PREFIX_BYTES;
    if (ret_position != NULL)
        *ret_position = entries->head;
    entries->head += entry_stride(bytes);
    pst_page_header(page)->used_bytes = offset + entry_stride(bytes) + PREFIX_BYTES - PST_PAGE_HEADER_BYTES;
    pst_page_header(page)->changed = log->structure.state->generation; /* S5 */
    if (log->structure.state->pager != NULL)
        pst_pager_appended(log, page);
    return PST_OK;
}

/* ---- read and trim ---- */

const void *pst_state_log_read(struct pst_log *log, uint32_t bucket, uint64_t *position, uint32_t *ret_bytes)
{
    const struct pst_log_bucket *entries = bucket_of(log, bucket);
    if (entries == NULL || *position >= entries->head)
        return NULL;
    PST_ASSERT(*position >= entries->tail); /* what was trimmed is not wanted again */
    struct pst_state *state = log->structure.state;
    uint64_t sequence = position_page(*position);
    uint32_t offset = position_offset(*position);
    /* Where the page ends, or is gone, the entry is the first of the next one: below the head there is one. */
    bool ended =
        sequence < entries->page_first || offset == end_offset(pst_used_bytes(state, word_of(entries, sequence)));
    if (__builtin_expect(ended, 0)) {
        if (state->pager != NULL && sequence >= entries->page_first)
            pst_pager_left(log, word_of(entries, sequence));
        sequence = sequence < entries->page_first ? entries->page_first : sequence + 1;
        offset = PST_PAGE_HEADER_BYTES;
    }
    uint8_t *page = page_of(log, bucket, entries, sequence);
    state->lookups++;
    if (__builtin_expect(page == NULL, 0))
        return NULL;
    uint32_t bytes;
    memcpy(&bytes, page + offset + PREFIX_BYTES, PREFIX_BYTES);
    *ret_bytes = bytes;
    *position = sequence * PST_PAGE_BYTES + offset + entry_stride(bytes);
    return page + offset + 2 * PREFIX_BYTES;
}

uint64_t pst_state_log_tail(struct pst_log *log, uint32_t bucket)
{
    const struct pst_log_bucket *entries = bucket_of(log, bucket);
    return entries == NULL ? position_of_page(0) : entries->tail;
}

uint64_t pst_state_log_head(struct pst_log *log, uint32_t bucket)
{
    const struct pst_log_bucket *entries = bucket_of(log, bucket);
    return entries == NULL ? position_of_page(0) : entries->head;
}

int pst_state_log_trim(struct pst_log *log, uint32_t bucket, uint64_t position)
{
    struct pst_log_bucket *entries = bucket_of(log, bucket);
    if (position > pst_state_log_head(log, bucket))
        return PST_EINVAL;
    if (entries == NULL || position <= entries->tail)
        return PST_OK;
    entries->tail = position;
    while (entries->page_first < entries->page_end) {
        uint8_t *page = word_of(entries, entries->page_first);
        uint64_t page_end =
            entries->page_first * PST_PAGE_BYTES + end_offset(pst_used_bytes(log->structure.state, page));
        if (position < page_end)
            break;
        if (pst_is_shown(log->structure.state, bucket)) {
            pst_snapshot_keep(&log->structure, bucket, entries->page_first);
            page = word_of(entries, entries->page_first); /* it may have come in */
        }
        if (log->held == page)
            log->held = NULL;
        pst_page_give(log->structure.state, page);
        entries->page_first++;
    }
    return PST_OK;
}

void pst_log_drop(struct pst_log *log, uint32_t number)
{
    struct pst_log_bucket *entries = log->buckets[number];
    if (entries == NULL)
        return;
    (void)pst_state_log_trim(log, number, entries->head); /* cannot fail: up to the head */
    pst_state_account(log->structure.state,
                      -(int64_t)(PST_CACHE_LINE_BYTES + (entries->ring_mask + 1) * sizeof *entries->ring));
    log->buckets[number] = NULL;
    pst_free(entries->ring);
    pst_free(entries);
}

/* ---- back from a page ---- */

/* Entries within the page's used bytes, one behind the other: what a position may point at. */
static bool entries_whole(const struct pst_page_header *page)
{
    uint32_t offset = PST_PAGE_HEADER_BYTES, end = end_offset(page->used_bytes);
    while (offset < end) {
        uint32_t bytes;
        memcpy(&bytes, (const uint8_t *)page + offset + PREFIX_BYTES, PREFIX_BYTES);
        if (bytes < 1 || bytes > PST_LOG_ENTRY_BYTES_MAX || offset + 2 * PREFIX_BYTES + bytes > PST_PAGE_BYTES)
            return false;
        offset += entry_stride(bytes);
    }
    return offset == end;
}

int pst_log_restore(struct pst_log *log, uint32_t bucket, const struct pst_page_header *page)
{
    struct pst_log_bucket *entries = log->buckets[bucket];
    uint64_t sequence = page->number / PST_PAGE_BYTES;
    if (entries == NULL)
        entries = bucket_new(log, bucket);
    if (entries == NULL)
        return PST_ENOMEM;
    if (entries->page_first == entries->page_end)
        entries->page_first = entries->page_end = sequence;
    if (page->number % PST_PAGE_BYTES != 0 || sequence != entries->page_end ||
        sequence > UINT64_MAX / PST_PAGE_BYTES / 2 || page->used_bytes <= PREFIX_BYTES || !entries_whole(page))
        return PST_EDATA;
    int rc = page_add(log, entries, bucket);
    if (rc != PST_OK)
        return rc;
    memcpy(word_of(entries, sequence), page, PST_PAGE_HEADER_BYTES + (size_t)page->used_bytes);
    entries->head = sequence * PST_PAGE_BYTES + end_offset(page->used_bytes);
    entries->tail = position_of_page(entries->page_first);
    return PST_OK;
}

static bool is_entry(struct pst_log *log, uint32_t bucket, uint64_t position)
{
    const uint8_t *page = page_of(log, bucket, log->buckets[bucket], position_page(position));
    uint32_t offset = PST_PAGE_HEADER_BYTES;
    while (page != NULL && offset < position_offset(position)) {
        uint32_t bytes;
        memcpy(&bytes, page + offset + PREFIX_BYTES, PREFIX_BYTES);
        offset += entry_stride(bytes);
    }
    return page != NULL && offset == position_offset(position);
}

int pst_log_restore_ends(struct pst_log *log, uint32_t bucket, uint64_t tail, uint64_t head)
{
    struct pst_log_bucket *entries = log->buckets[bucket];
    if (entries == NULL)
        entries = bucket_new(log, bucket);
    if (entries == NULL)
        return PST_ENOMEM;
    if (entries->page_first == entries->page_end) { /* all was trimmed: positions go on behind it */
        if (tail != head || head < position_of_page(0) || head > UINT64_MAX / 2)
            return PST_EDATA;
        entries->page_first = entries->page_end = head == position_of_page(0) ? 0 : position_page(head) + 1;
        entries->tail = entries->head = head;
        return PST_OK;
    }
    bool whole = head == entries->head && tail < head && tail >= position_of_page(0);
    /* A tail below the first page stood at the end of one that is gone. */
    bool inside = whole && position_page(tail) >= entries->page_first;
    if (!whole || (inside && !is_entry(log, bucket, tail))) {
        int rc = pst_state_error(log->structure.state, NULL); /* it could not be looked at */
        return rc != PST_OK ? rc : PST_EDATA;
    }
    entries->tail = tail;
    return PST_OK;
}

/* ---- walks ---- */

int pst_log_words(struct pst_log *log, uint32_t bucket, pst_word_visit visit, void *argument)
{
    const struct pst_log_bucket *entries = log->buckets[bucket];
    for (uint64_t s = entries == NULL ? 0 : entries->page_first; entries != NULL && s < entries->page_end; s++) {
        int rc = visit(argument, &log->structure, bucket, s * PST_PAGE_BYTES, word_of(entries, s));
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

void pst_log_word_set(struct pst_log *log, uint32_t bucket, uint64_t number, uint8_t *word)
{
    struct pst_log_bucket *entries = log->buckets[bucket];
    entries->ring[position_page(number) & entries->ring_mask] = word;
}

int pst_state_log_wanted(struct pst_log *log, const int64_t *after, uint32_t count, int64_t period)
{
    if (count < 1 || count > PST_LOG_READERS_MAX || period < 0 || after[0] < 0)
        return PST_EINVAL;
    for (uint32_t i = 1; i < count; i++)
        if (after[i] <= after[i - 1])
            return PST_EINVAL;
    memcpy(log->after, after, count * sizeof *after);
    log->after_count = count;
    log->period = period;
    return PST_OK;
}

/* Returns where the last entry of the page ends. */
static uint64_t page_check(struct pst_log *log, uint32_t bucket, const struct pst_log_bucket *entries,
                           uint64_t sequence)
{
    uint8_t *page = page_of(log, bucket, entries, sequence);
    PST_ASSERT(page != NULL);
    const struct pst_page_header *header = pst_page_header(page);
    PST_ASSERT(header->kind == PST_PAGE_LOG && header->structure == log->structure.number);
    PST_ASSERT(header->number == sequence * PST_PAGE_BYTES);
    uint32_t offset = PST_PAGE_HEADER_BYTES, end = end_offset(header->used_bytes);
    bool tail_seen = position_page(entries->tail) != sequence;
    while (offset < end) {
        uint32_t bytes;
        tail_seen |= position_offset(entries->tail) == offset;
        memcpy(&bytes, page + offset + PREFIX_BYTES, PREFIX_BYTES);
        PST_ASSERT(bytes >= 1 && offset + 2 * PREFIX_BYTES + bytes <= PST_PAGE_BYTES);
        offset += entry_stride(bytes);
    }
    PST_ASSERT(offset == end && tail_seen);
    return sequence * PST_PAGE_BYTES + end;
}

void pst_log_check(struct pst_log *log, uint32_t bucket)
{
    const struct pst_log_bucket *entries = log->buckets[bucket];
    if (entries == NULL)
        return;
    PST_ASSERT(entries->page_first <= entries->page_end && entries->tail <= entries->head);
    uint64_t end = entries->head;
    for (uint64_t s = entries->page_first; s < entries->page_end; s++)
        end = page_check(log, bucket, entries, s);
    PST_ASSERT(end == entries->head);
    PST_ASSERT((entries->page_first == entries->page_end) == (entries->tail == entries->head));
}
