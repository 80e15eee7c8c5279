/* table.c - key -> record of fixed size: records packed in pages by bucket, found through an index by bucket.
 *
 * The index is derived: it can be rebuilt from the pages, so it stands outside them. Each bucket has its own, small enough
 * that the bits a slot need not spend on the record's number serve as a tag of the hash. */
#include "state/internal.h"

#include <string.h>

enum {
    INDEX_SLOTS_FIRST = 8,
    RECORDS_MAX = 1 << 30, /* of a bucket, so that number + 1 fits below the mask of 2^31 slots */
};

static uint32_t round_up_8(uint32_t bytes) { return (bytes + 7u) & ~7u; }

/* The 32 bits of a hash that the index lives on. The bucket is made of the lowest bits of many hashes, which within a bucket
 * are then all the same; the multiplication (2^64 over the golden ratio) brings all others to bear. */
static inline uint32_t tag_of_hash(uint64_t hash) { return (uint32_t)((hash * 0x9E3779B97F4A7C15u) >> 32); }

static __attribute__((noinline)) uint8_t *page_in(const struct pst_table *table, struct pst_table_bucket *bucket,
                                                  uint32_t page_index)
{
    struct pst_state *state = table->structure.state;
    uint8_t *page = pst_pager_in(state->structures[table->structure.number], bucket->number,
                                 (uint64_t)page_index * table->records_per_page, bucket->pages[page_index]);
    return page != NULL ? page : pst_pager_zeros(state);
}

/* A page to be looked at before the next one is. */
static inline uint8_t *page_read(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t page_index)
{
    uint8_t *page = bucket->pages[page_index];
    return __builtin_expect(pst_is_outside(page), 0) ? page_in(table, bucket, page_index) : page;
}

static inline uint8_t *slot_read(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t number)
{
    uint32_t per_page = table->records_per_page;
    PST_ASSERT(per_page != 0);
    return page_read(table, bucket, number / per_page) + PST_PAGE_HEADER_BYTES +
           (size_t)(number % per_page) * table->slot_bytes;
}

/* The page of a record, which does not leave before the callback ends: G3. */
static inline uint8_t *page_of(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t page_index)
{
    struct pst_state *state = table->structure.state;
    if (__builtin_expect(page_index == 0, 1)) {
        if (bucket->touched_first != state->stamp) {
            bucket->touched_first = state->stamp;
            state->touched++;
        }
        uint8_t *page = bucket->page_first;
        return __builtin_expect(pst_is_outside(page), 0) ? page_in(table, bucket, 0) : page;
    }
    uint8_t *page = bucket->pages[page_index];
    if (__builtin_expect(state->pager == NULL, 1))
        return page;
    if (pst_is_outside(page))
        page = page_in(table, bucket, page_index);
    if (pst_frame_of(page)->touched != state->stamp) {
        pst_frame_of(page)->touched = state->stamp;
        state->touched++;
    }
    return page;
}

static inline uint8_t *slot_at(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t number)
{
    uint32_t per_page = table->records_per_page;
    if (__builtin_expect(number < per_page, 1)) /* spares the division where a bucket has one page, the usual */
        return page_of(table, bucket, 0) + PST_PAGE_HEADER_BYTES + (size_t)number * table->slot_bytes;
    PST_ASSERT(per_page != 0);
    return page_of(table, bucket, number / per_page) + PST_PAGE_HEADER_BYTES +
           (size_t)(number % per_page) * table->slot_bytes;
}

/* There is a snapshot of the bucket. */
static __attribute__((noinline)) void page_keep(const struct pst_table *table, const struct pst_table_bucket *bucket,
                                                uint32_t number)
{
    PST_ASSERT(table->records_per_page != 0);
    pst_snapshot_keep(table->structure.state->structures[table->structure.number], bucket->number,
                      number / table->records_per_page);
}

/* A record is about to be written, or may be: S5. Its page has been touched in this callback, or the mark may be taken for one of
 * what was there before. */
static inline void page_changes(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t number)
{
    uint32_t per_page = table->records_per_page, generation = table->structure.state->generation;
    if (pst_is_shown(table->structure.state, bucket->number))
        page_keep(table, bucket, number);
    if (__builtin_expect(number < per_page, 1)) {
        bucket->changed_first = generation;
        return;
    }
    PST_ASSERT(per_page != 0);
    pst_page_header(page_of(table, bucket, number / per_page))->changed = generation;
}

static inline uint32_t slot_tag(const struct pst_table *table, const uint8_t *slot)
{
    uint32_t tag;
    memcpy(&tag, slot + table->record_offset - sizeof tag, sizeof tag);
    return tag;
}

/* ---- life ---- */

static bool table_fits(uint32_t key_bytes, uint32_t record_bytes)
{
    return key_bytes >= 1 && key_bytes <= PST_KEY_BYTES_MAX && record_bytes <= PST_RECORD_BYTES_MAX;
}

struct pst_table *pst_state_table_open(struct pst_state *state, const char *name, uint32_t key_bytes,
                                       uint32_t record_bytes)
{
    if (!table_fits(key_bytes, record_bytes))
        return NULL;
    bool taken;
    struct pst_table *table = (struct pst_table *)pst_structure_find(state, name, PST_PAGE_RECORDS, &taken);
    if (table != NULL)
        return table->key_bytes == key_bytes && table->record_bytes == record_bytes ? table : NULL;
    if (taken)
        return NULL;
    table = pst_calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    table->key_bytes = key_bytes;
    table->record_bytes = record_bytes;
    table->record_offset = round_up_8(key_bytes + (uint32_t)sizeof(uint32_t));
    table->slot_bytes = table->record_offset + round_up_8(record_bytes);
    table->records_per_page = PST_PAGE_DATA_BYTES / table->slot_bytes;
    table->buckets = pst_calloc(state->bucket_count, sizeof *table->buckets);
    if (table->buckets == NULL)
        goto undo_table;
    if (pst_structure_init(&table->structure, state, name, PST_PAGE_RECORDS) != PST_OK)
        goto undo_buckets;
    pst_state_account(state, (int64_t)(sizeof *table + state->bucket_count * sizeof *table->buckets));
    return table;
undo_buckets:
    pst_free(table->buckets);
undo_table:
    pst_free(table);
    return NULL;
}

static void bucket_free(struct pst_table_bucket *bucket)
{
    if (bucket->pages != &bucket->page_first)
        pst_free(bucket->pages);
    pst_free(bucket->slots);
    pst_free(bucket);
}

void pst_table_free(struct pst_table *table)
{
    for (uint32_t i = 0; i < table->structure.state->bucket_count; i++) {
        struct pst_table_bucket *bucket = table->buckets[i];
        if (bucket != NULL)
            bucket_free(bucket);
    }
    pst_free(table->buckets);
    pst_free(table->structure.name);
    pst_free(table);
}

static struct pst_table_bucket *bucket_new(struct pst_table *table, uint32_t number)
{
    struct pst_table_bucket *bucket = pst_aligned(PST_CACHE_LINE_BYTES, PST_CACHE_LINE_BYTES);
    if (bucket == NULL)
        return NULL;
    *bucket = (struct pst_table_bucket){
        .mask = INDEX_SLOTS_FIRST - 1, .count_max = INDEX_SLOTS_FIRST / 4, .page_capacity = 1, .number = number};
    bucket->pages = &bucket->page_first;
    bucket->slots = pst_calloc(INDEX_SLOTS_FIRST, sizeof *bucket->slots);
    if (bucket->slots == NULL) {
        pst_free(bucket);
        return NULL;
    }
    pst_state_account(table->structure.state, PST_CACHE_LINE_BYTES + INDEX_SLOTS_FIRST * sizeof *bucket->slots);
    table->buckets[number] = bucket;
    return bucket;
}

/* Page by page: record by record each page would be written again and again, and the index probed for each. */
void pst_table_drop(struct pst_table *table, uint32_t number)
{
    struct pst_table_bucket *bucket = table->buckets[number];
    if (bucket == NULL)
        return;
    bool inside = bucket->pages == &bucket->page_first;
    uint64_t index_bytes = PST_CACHE_LINE_BYTES + ((uint64_t)bucket->mask + 1) * sizeof *bucket->slots +
                           (inside ? 0 : bucket->page_capacity * sizeof *bucket->pages);
    while (bucket->page_count != 0)
        pst_page_give(table->structure.state, bucket->pages[--bucket->page_count]);
    table->record_count -= bucket->count;
    table->buckets[number] = NULL;
    pst_state_account(table->structure.state, -(int64_t)index_bytes);
    bucket_free(bucket);
}

static struct pst_table_bucket *bucket_of(const struct pst_table *table, uint32_t bucket)
{
    PST_ASSERT(bucket < table->structure.state->bucket_count);
    return table->buckets[bucket];
}

/* ---- the index ---- */

static void index_put(uint32_t *slots, uint32_t mask, uint32_t tag, uint32_t number)
{
    uint32_t at = tag & mask;
    while (slots[at] != 0)
        at = (at + 1) & mask;
    slots[at] = (tag & ~mask) | (number + 1);
}

static int index_grow(struct pst_table *table, struct pst_table_bucket *bucket)
{
    if (bucket->count >= RECORDS_MAX)
        return PST_EFULL;
    uint32_t slot_count = (bucket->mask + 1) * 2;
    uint32_t *slots = pst_calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return PST_ENOMEM;
    for (uint32_t number = 0; number < bucket->count; number++)
        index_put(slots, slot_count - 1, slot_tag(table, slot_read(table, bucket, number)), number);
    pst_free(bucket->slots);
    pst_state_account(table->structure.state, (int64_t)(slot_count / 2 * sizeof *slots));
    bucket->slots = slots;
    bucket->mask = slot_count - 1;
    bucket->count_max = slot_count / 4;
    return PST_OK;
}

/* Where the slot of a record stands; the record is there. */
static uint32_t index_place(const struct pst_table_bucket *bucket, uint32_t tag, uint32_t number)
{
    uint32_t at = tag & bucket->mask;
    while ((bucket->slots[at] & bucket->mask) != number + 1) {
        PST_ASSERT(bucket->slots[at] != 0);
        at = (at + 1) & bucket->mask;
    }
    return at;
}

/* Empties a place and moves the slots behind it up where they would not be found otherwise, so no tombstones are needed. */
static void index_erase(const struct pst_table *table, struct pst_table_bucket *bucket, uint32_t hole)
{
    uint32_t mask = bucket->mask;
    for (uint32_t at = (hole + 1) & mask; bucket->slots[at] != 0; at = (at + 1) & mask) {
        uint32_t number = (bucket->slots[at] & mask) - 1;
        uint32_t home = slot_tag(table, slot_read(table, bucket, number)) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            bucket->slots[hole] = bucket->slots[at];
            hole = at;
        }
    }
    bucket->slots[hole] = 0;
}

/* ---- find or make ---- */

/* 8 bytes or more, the last word overlapping the one before it. A call of memcmp() for so few costs more (bench_state, keys of
 * 20 bytes: 9.5 to 7.3 ns a row). */
static inline bool words_equal(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint64_t a0, b0, a1, b1;
    memcpy(&a1, a + bytes - 8, 8), memcpy(&b1, b + bytes - 8, 8);
    uint64_t differences = a1 ^ b1;
    for (uint32_t i = 0; i + 8 < bytes; i += 8) {
        memcpy(&a0, a + i, 8), memcpy(&b0, b + i, 8);
        differences |= a0 ^ b0;
    }
    return differences == 0;
}

/* With a constant for `bytes` the compiler makes one or two comparisons of it. */
static inline __attribute__((always_inline)) bool key_equal(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint64_t a0, b0, a1 = 0, b1 = 0;
    uint32_t a4, b4;
    switch (bytes) {
    case 4:
        memcpy(&a4, a, 4), memcpy(&b4, b, 4);
        return a4 == b4;
    case 8:
        memcpy(&a0, a, 8), memcpy(&b0, b, 8);
        return a0 == b0;
    case 12:
        memcpy(&a0, a, 8), memcpy(&b0, b, 8), memcpy(&a4, a + 8, 4), memcpy(&b4, b + 8, 4);
        return ((a0 ^ b0) | (a4 ^ b4)) == 0;
    case 16:
        memcpy(&a0, a, 8), memcpy(&b0, b, 8), memcpy(&a1, a + 8, 8), memcpy(&b1, b + 8, 8);
        return ((a0 ^ b0) | (a1 ^ b1)) == 0;
    default:
        return bytes < 8 ? memcmp(a, b, bytes) == 0 : words_equal(a, b, bytes);
    }
}

static inline __attribute__((always_inline)) uint8_t *slot_find(const struct pst_table *table,
                                                                struct pst_table_bucket *bucket, uint32_t tag,
                                                                const uint8_t *key, uint32_t key_bytes,
                                                                uint32_t *ret_number)
{
    uint32_t mask = bucket->mask;
    for (uint32_t at = tag & mask; bucket->slots[at] != 0; at = (at + 1) & mask) {
        uint32_t found = bucket->slots[at];
        if (((found ^ tag) & ~mask) != 0)
            continue;
        uint32_t number = (found & mask) - 1;
        uint8_t *slot = slot_at(table, bucket, number);
        if (__builtin_expect(key_equal(slot, key, key_bytes), 1)) {
            *ret_number = number;
            return slot;
        }
    }
    return NULL;
}

static int page_add(struct pst_table *table, struct pst_table_bucket *bucket, uint32_t number)
{
    if (bucket->page_count == bucket->page_capacity) {
        uint32_t capacity = bucket->page_capacity * 2;
        bool inside = bucket->pages == &bucket->page_first;
        uint8_t **pages = pst_realloc(inside ? NULL : bucket->pages, capacity * sizeof *pages);
        if (pages == NULL)
            return PST_ENOMEM;
        pages[0] = bucket->page_first;
        pst_state_account(table->structure.state, (int64_t)((capacity - (inside ? 0 : capacity / 2)) * sizeof *pages));
        bucket->pages = pages;
        bucket->page_capacity = capacity;
    }
    uint8_t *page;
    uint64_t first = (uint64_t)bucket->page_count * table->records_per_page;
    int rc = pst_page_take(&table->structure, number, first, &page);
    if (rc != PST_OK)
        return rc;
    bucket->pages[bucket->page_count++] = page;
    bucket->page_first = bucket->pages[0];
    return PST_OK;
}

/* Makes a record. All that can fail comes first, and what it leaves behind then is room, not a record. */
static __attribute__((noinline)) int slot_make(struct pst_table *table, uint32_t number, uint32_t tag,
                                               const uint8_t *key, uint32_t *ret_number, uint8_t **ret_slot)
{
    struct pst_table_bucket *bucket = table->buckets[number];
    if (bucket == NULL)
        bucket = bucket_new(table, number);
    if (bucket == NULL)
        return PST_ENOMEM;
    int rc = bucket->count < bucket->count_max ? PST_OK : index_grow(table, bucket);
    if (rc == PST_OK && bucket->count == (uint64_t)bucket->page_count * table->records_per_page)
        rc = page_add(table, bucket, number);
    if (rc != PST_OK)
        return rc;
    if (pst_is_shown(table->structure.state, number))
        page_keep(table, bucket, bucket->count);
    uint8_t *slot = slot_at(table, bucket, bucket->count);
    memcpy(slot, key, table->key_bytes);
    memcpy(slot + table->record_offset - sizeof tag, &tag, sizeof tag);
    pst_page_header(page_of(table, bucket, bucket->page_count - 1))->used_bytes += table->slot_bytes;
    index_put(bucket->slots, bucket->mask, tag, bucket->count);
    *ret_number = bucket->count++;
    *ret_slot = slot;
    table->record_count++;
    return PST_OK;
}

static inline int state_error(const struct pst_table *table)
{
    const struct pst_state *state = table->structure.state;
    return __builtin_expect(state->pager == NULL, 1) ? PST_OK : pst_state_error(state, NULL);
}

struct upsert {
    uint32_t row_count;
    const uint32_t *bucket;
    const uint64_t *hash;
    const uint8_t *keys;
    uint32_t *ret_index;
    void **ret_record;
};

/* No prefetching: the rows do not depend on each other, so the processor overlaps their look-ups by itself. Two passes of
 * prefetching over 32 rows cost 1.4 ns a row at 2,125 keys (5.7 to 7.1 ns) and gain only beyond a million (37 to 31 ns at two
 * million; bench_state, medians, EPYC). */
static inline __attribute__((always_inline)) int upsert_rows(struct pst_table *table, const struct upsert *rows,
                                                             uint32_t key_bytes)
{
    uint32_t bucket_count = table->structure.state->bucket_count;
    const uint8_t *key = rows->keys;
    for (uint32_t i = 0; i < rows->row_count; i++, key += key_bytes) {
        uint32_t number = rows->bucket != NULL ? rows->bucket[i] : 0;
        PST_ASSERT(number < bucket_count);
        struct pst_table_bucket *bucket = table->buckets[number];
        uint32_t tag = tag_of_hash(rows->hash[i]), index = 0;
        uint8_t *slot = bucket != NULL ? slot_find(table, bucket, tag, key, key_bytes, &index) : NULL;
        if (__builtin_expect(slot == NULL, 0)) {
            int rc = slot_make(table, number, tag, key, &index, &slot);
            if (rc != PST_OK)
                return rc;
        }
        page_changes(table, table->buckets[number], index);
        if (rows->ret_index != NULL)
            rows->ret_index[i] = index;
        if (rows->ret_record != NULL)
            rows->ret_record[i] = slot + table->record_offset;
    }
    table->structure.state->lookups += rows->row_count;
    return state_error(table);
}

int pst_state_table_upsert(struct pst_table *table, uint32_t n, const uint32_t *bucket, const uint64_t *hash,
                           const void *keys, uint32_t *ret_index, void **ret_record)
{
    struct upsert rows = {n, bucket, hash, keys, ret_index, ret_record};
    switch (table->key_bytes) {
    case 4:
        return upsert_rows(table, &rows, 4);
    case 8:
        return upsert_rows(table, &rows, 8);
    case 12:
        return upsert_rows(table, &rows, 12);
    case 16:
        return upsert_rows(table, &rows, 16);
    default:
        return upsert_rows(table, &rows, table->key_bytes);
    }
}

int64_t pst_state_table_find(struct pst_table *table, uint32_t bucket, uint64_t hash, const void *key)
{
    struct pst_table_bucket *records = bucket_of(table, bucket);
    uint32_t number = 0;
    table->structure.state->lookups++;
    if (records == NULL || slot_find(table, records, tag_of_hash(hash), key, table->key_bytes, &number) == NULL)
        return -1;
    return number;
}

/* ---- by number ---- */

uint32_t pst_state_table_count(struct pst_table *table, uint32_t bucket)
{
    const struct pst_table_bucket *records = bucket_of(table, bucket);
    return records == NULL ? 0 : records->count;
}

const void *pst_table_peek(const struct pst_table *table, uint32_t bucket, uint32_t index)
{
    struct pst_table_bucket *records = bucket_of(table, bucket);
    PST_ASSERT(records != NULL && index < records->count);
    return slot_at(table, records, index) + table->record_offset;
}

void *pst_state_table_record(struct pst_table *table, uint32_t bucket, uint32_t index)
{
    struct pst_table_bucket *records = bucket_of(table, bucket);
    PST_ASSERT(records != NULL && index < records->count);
    table->structure.state->lookups++;
    uint8_t *slot = slot_at(table, records, index);
    page_changes(table, records, index);
    return slot + table->record_offset;
}

const void *pst_state_table_key(struct pst_table *table, uint32_t bucket, uint32_t index)
{
    struct pst_table_bucket *records = bucket_of(table, bucket);
    PST_ASSERT(records != NULL && index < records->count);
    return slot_at(table, records, index);
}

int pst_state_table_remove(struct pst_table *table, uint32_t bucket, uint32_t index)
{
    struct pst_table_bucket *records = bucket_of(table, bucket);
    if (records == NULL || index >= records->count)
        return PST_EINVAL;
    uint32_t last = records->count - 1;
    uint8_t *slot = slot_at(table, records, index), *slot_last = slot_at(table, records, last);
    int rc = state_error(table);
    if (rc != PST_OK)
        return rc;
    page_changes(table, records, index);
    page_changes(table, records, last);
    index_erase(table, records, index_place(records, slot_tag(table, slot), index));
    if (index != last) {
        uint32_t tag = slot_tag(table, slot_last);
        records->slots[index_place(records, tag, last)] = (tag & ~records->mask) | (index + 1);
        memcpy(slot, slot_last, table->slot_bytes);
    }
    memset(slot_last, 0, table->slot_bytes); /* a record is zero when it is made again */
    uint8_t *page = page_of(table, records, records->page_count - 1);
    pst_page_header(page)->used_bytes -= table->slot_bytes;
    if (pst_page_header(page)->used_bytes == 0) {
        pst_page_give(table->structure.state, page);
        records->page_count--;
    }
    records->count--;
    table->record_count--;
    return PST_OK;
}

/* ---- back from a page ---- */

int pst_table_restore(struct pst_table *table, uint32_t number, const struct pst_page_header *page)
{
    struct pst_table_bucket *bucket = table->buckets[number];
    uint32_t count = page->used_bytes / table->slot_bytes;
    if (bucket == NULL)
        bucket = bucket_new(table, number);
    if (bucket == NULL)
        return PST_ENOMEM;
    bool whole = page->used_bytes % table->slot_bytes == 0 && count >= 1 && count <= table->records_per_page;
    /* The one before must be full, and this one be the next. */
    if (!whole || page->number != (uint64_t)bucket->page_count * table->records_per_page ||
        page->number != bucket->count)
        return PST_EDATA;
    int rc = page_add(table, bucket, number);
    if (rc != PST_OK)
        return rc;
    memcpy(bucket->pages[bucket->page_count - 1], page, PST_PAGE_HEADER_BYTES + (size_t)page->used_bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (bucket->count >= bucket->count_max && (rc = index_grow(table, bucket)) != PST_OK)
            return rc;
        const uint8_t *slot = (const uint8_t *)page + PST_PAGE_HEADER_BYTES + (size_t)i * table->slot_bytes;
        index_put(bucket->slots, bucket->mask, slot_tag(table, slot), bucket->count++);
        table->record_count++;
    }
    return PST_OK;
}

/* ---- walks ---- */

int pst_table_words(struct pst_table *table, uint32_t bucket, pst_word_visit visit, void *argument)
{
    struct pst_table_bucket *records = table->buckets[bucket];
    if (records != NULL && records->page_count > 0 && !pst_is_outside(records->page_first) &&
        pst_page_header(records->page_first)->changed < records->changed_first)
        pst_page_header(records->page_first)->changed = records->changed_first;
    for (uint32_t i = 0; records != NULL && i < records->page_count; i++) {
        int rc = visit(argument, &table->structure, bucket, (uint64_t)i * table->records_per_page, records->pages[i]);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

void pst_table_word_set(struct pst_table *table, uint32_t bucket, uint64_t number, uint8_t *word)
{
    struct pst_table_bucket *records = table->buckets[bucket];
    records->pages[number / table->records_per_page] = word;
    records->page_first = records->pages[0];
}

static void page_check(const struct pst_table *table, struct pst_table_bucket *records, uint32_t page_index)
{
    const struct pst_page_header *page = pst_page_header(page_read(table, records, page_index));
    uint32_t first = page_index * table->records_per_page;
    uint32_t left = records->count - first;
    uint32_t count = left < table->records_per_page ? left : table->records_per_page;
    PST_ASSERT(page->kind == PST_PAGE_RECORDS && page->structure == table->structure.number && page->number == first);
    PST_ASSERT(page->used_bytes == count * table->slot_bytes);
}

void pst_table_check(struct pst_table *table, uint32_t bucket)
{
    struct pst_table_bucket *records = table->buckets[bucket];
    if (records == NULL)
        return;
    PST_ASSERT(records->page_count == (records->count + table->records_per_page - 1) / table->records_per_page);
    for (uint32_t i = 0; i < records->page_count; i++)
        page_check(table, records, i);
    uint32_t slots_used = 0;
    for (uint32_t i = 0; i <= records->mask; i++)
        slots_used += records->slots[i] != 0;
    PST_ASSERT(slots_used == records->count && records->count <= records->count_max);
    for (uint32_t i = 0; i < records->count; i++) {
        const uint8_t *slot = slot_at(table, records, i);
        uint32_t number = 0;
        PST_ASSERT(slot_find(table, records, slot_tag(table, slot), slot, table->key_bytes, &number) == slot &&
                   number == i);
    }
}
