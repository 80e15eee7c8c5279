/* test_state.c - tables, logs and pages, one promise at a time. */
#include "base/base.h"
#include "state/image.h"
#include "state/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BUCKETS = 4 };

static uint64_t hash_of(const void *key, uint32_t bytes) { return pst_hash(&(struct pst_hash_key){0, 0}, key, bytes); }

/* Finds or makes the record of a u32 key in a bucket. */
static void *put(struct pst_table *table, uint32_t bucket, uint32_t key)
{
    uint64_t hash = hash_of(&key, sizeof key);
    void *record = NULL;
    assert_int_equal(pst_state_table_upsert(table, 1, &bucket, &hash, &key, NULL, &record), PST_OK);
    return record;
}

static int64_t find(struct pst_table *table, uint32_t bucket, uint32_t key)
{
    return pst_state_table_find(table, bucket, hash_of(&key, sizeof key), &key);
}

static uint64_t append(struct pst_log *log, uint32_t bucket, const char *text)
{
    void *space;
    uint64_t position;
    assert_int_equal(pst_state_log_append(log, bucket, (uint32_t)strlen(text), &space, &position), PST_OK);
    memcpy(space, text, strlen(text));
    return position;
}

static uint64_t append_bytes(struct pst_log *log, uint32_t bucket, uint32_t bytes, uint8_t fill)
{
    void *space;
    uint64_t position;
    assert_int_equal(pst_state_log_append(log, bucket, bytes, &space, &position), PST_OK);
    memset(space, fill, bytes);
    return position;
}

/* ---- tables ---- */

static void a_new_record_is_zero_and_found_again(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 12);
    uint64_t *record = put(table, 1, 77);
    assert_int_equal(record[0], 0);
    assert_int_equal((uintptr_t)record % 8, 0);
    record[0] = 5;
    assert_ptr_equal(put(table, 1, 77), record);
    assert_int_equal(find(table, 1, 77), 0);
    assert_int_equal(find(table, 1, 78), -1);
    assert_int_equal(find(table, 2, 77), -1);
    assert_int_equal(pst_state_table_count(table, 1), 1);
    assert_int_equal(pst_state_table_count(table, 2), 0);
    assert_ptr_equal(pst_state_table_record(table, 1, 0), record);
    assert_int_equal(*(const uint32_t *)pst_state_table_key(table, 1, 0), 77);
    pst_state_check(state);
    pst_state_free(state);
}

static void pointers_of_one_upsert_are_valid_together(void **unused)
{
    (void)unused;
    enum { N = 5000, KEY = 12, RECORD = 100 };
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", KEY, RECORD);
    uint8_t(*keys)[KEY] = calloc(N, KEY);
    uint64_t *hash = calloc(N, sizeof *hash);
    uint32_t *bucket = calloc(N, sizeof *bucket), *index = calloc(N, sizeof *index);
    void **record = calloc(N, sizeof *record);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t number = i / 2; /* each key twice */
        memcpy(keys[i], &number, sizeof number);
        hash[i] = hash_of(keys[i], KEY);
        bucket[i] = number % BUCKETS;
    }
    assert_int_equal(pst_state_table_upsert(table, N, bucket, hash, keys, index, record), PST_OK);
    for (uint32_t i = 0; i < N; i++)
        *(uint32_t *)record[i] += 1;
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(*(uint32_t *)record[i], 2);
        assert_int_equal(index[i], i / 2 / BUCKETS);
        assert_ptr_equal(pst_state_table_record(table, bucket[i], index[i]), record[i]);
    }
    pst_state_check(state);
    pst_state_free(state);
    free(keys), free(hash), free(bucket), free(index), free(record);
}

static void without_buckets_all_keys_are_bucket_0s(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(1, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 8, 0);
    uint64_t keys[2] = {1, 2}, hash[2] = {1, 2};
    assert_int_equal(pst_state_table_upsert(table, 2, NULL, hash, keys, NULL, NULL), PST_OK);
    assert_int_equal(pst_state_table_count(table, 0), 2);
    pst_state_check(state);
    pst_state_free(state);
}

static void keys_of_one_hash_are_told_apart(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 20, 8);
    uint32_t bucket = 3;
    uint64_t hash = 12345;
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t key[20] = {(uint8_t)i, (uint8_t)(i >> 8)};
        uint32_t index;
        assert_int_equal(pst_state_table_upsert(table, 1, &bucket, &hash, key, &index, NULL), PST_OK);
        assert_int_equal(index, i);
    }
    pst_state_check(state);
    assert_int_equal(pst_state_table_remove(table, bucket, 7), PST_OK);
    uint8_t last[20] = {299 & 255, 299 >> 8}, gone[20] = {7};
    assert_int_equal(pst_state_table_find(table, bucket, hash, last), 7);
    assert_int_equal(pst_state_table_find(table, bucket, hash, gone), -1);
    pst_state_check(state);
    pst_state_free(state);
}

static void keys_that_differ_in_one_byte_are_told_apart_at_every_size(void **unused)
{
    (void)unused;
    for (uint32_t bytes = 1; bytes <= PST_KEY_BYTES_MAX; bytes++) {
        struct pst_state *state = pst_state_new(1, UINT64_MAX);
        struct pst_table *table = pst_state_table_open(state, "t", bytes, 8);
        uint8_t key[PST_KEY_BYTES_MAX] = {0};
        uint64_t hash = 1; /* of all of them */
        for (uint32_t i = 0; i < bytes; i++) {
            key[i] = 0x80;
            assert_int_equal(pst_state_table_upsert(table, 1, NULL, &hash, key, NULL, NULL), PST_OK);
            assert_int_equal(pst_state_table_find(table, 0, hash, key), i);
            key[i] = 0;
        }
        assert_int_equal(pst_state_table_count(table, 0), bytes);
        pst_state_free(state);
    }
}

static void the_last_record_takes_the_number_of_a_removed_one(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 4);
    for (uint32_t key = 10; key < 15; key++)
        *(uint32_t *)put(table, 0, key) = key;
    assert_int_equal(pst_state_table_remove(table, 0, 1), PST_OK);
    assert_int_equal(*(uint32_t *)pst_state_table_record(table, 0, 1), 14);
    assert_int_equal(find(table, 0, 14), 1);
    assert_int_equal(find(table, 0, 11), -1);
    assert_int_equal(pst_state_table_remove(table, 0, 4), PST_EINVAL);
    assert_int_equal(pst_state_table_remove(table, 1, 0), PST_EINVAL);
    assert_int_equal(*(uint32_t *)put(table, 0, 11), 0); /* made again, zero again */
    pst_state_check(state);
    pst_state_free(state);
}

static void an_emptied_table_gives_its_pages_back(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 8000);
    uint64_t empty_bytes = pst_state_bytes(state);
    for (uint32_t key = 0; key < 9; key++)
        memset(put(table, 0, key), 0xFF, 8000);
    assert_true(pst_state_bytes(state) >= empty_bytes + 5 * PST_PAGE_BYTES);
    uint64_t most = pst_state_bytes(state);
    for (uint32_t left = 9; left > 0; left--) {
        assert_int_equal(pst_state_table_remove(table, 0, left / 2), PST_OK);
        pst_state_check(state);
    }
    assert_true(pst_state_bytes(state) < empty_bytes + PST_PAGE_BYTES);
    assert_int_equal(pst_state_bytes_max_seen(state), most);
    pst_state_free(state);
}

static void what_does_not_fit_is_refused(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    assert_null(pst_state_table_open(state, "a", 0, 8));
    assert_null(pst_state_table_open(state, "a", PST_KEY_BYTES_MAX + 1, 8));
    assert_null(pst_state_table_open(state, "a", 8, PST_RECORD_BYTES_MAX + 1));
    struct pst_table *largest = pst_state_table_open(state, "a", PST_KEY_BYTES_MAX, PST_RECORD_BYTES_MAX);
    uint8_t key[PST_KEY_BYTES_MAX] = {0};
    uint64_t hash = 0;
    for (; key[0] < 3; key[0]++)
        assert_int_equal(pst_state_table_upsert(largest, 1, NULL, &hash, key, NULL, NULL), PST_OK);
    pst_state_check(state);
    struct pst_log *log = pst_state_log_open(state, "l");
    void *space;
    uint64_t position;
    assert_int_equal(pst_state_log_append(log, 0, 0, &space, &position), PST_EINVAL);
    assert_int_equal(pst_state_log_append(log, 0, PST_LOG_ENTRY_BYTES_MAX + 1, &space, &position), PST_EINVAL);
    pst_state_free(state);
}

static void a_structure_keeps_its_name_and_shape(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 8);
    struct pst_log *log = pst_state_log_open(state, "l");
    assert_ptr_equal(pst_state_table_open(state, "t", 4, 8), table);
    assert_null(pst_state_table_open(state, "t", 4, 9));
    assert_null(pst_state_table_open(state, "l", 4, 8));
    assert_ptr_equal(pst_state_log_open(state, "l"), log);
    assert_null(pst_state_log_open(state, "t"));
    char name[] = "A";
    for (int i = 2; i < PST_STRUCTURES_MAX; i++, name[0]++)
        assert_non_null(pst_state_log_open(state, name));
    assert_null(pst_state_log_open(state, "one too many"));
    pst_state_free(state);
}

/* ---- logs ---- */

static void entries_are_read_in_order_from_any_position(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    uint64_t position = pst_state_log_tail(log, 2);
    uint32_t bytes;
    assert_null(pst_state_log_read(log, 2, &position, &bytes));
    uint64_t first = append(log, 2, "one"), second = append(log, 2, "second");
    assert_int_equal(first, position);
    assert_memory_equal(pst_state_log_read(log, 2, &position, &bytes), "one", 3);
    assert_int_equal(bytes, 3);
    assert_int_equal(position, second);
    const void *entry = pst_state_log_read(log, 2, &position, &bytes);
    assert_memory_equal(entry, "second", 6);
    assert_int_equal((uintptr_t)entry % 8, 0);
    assert_int_equal(position, pst_state_log_head(log, 2));
    assert_null(pst_state_log_read(log, 2, &position, &bytes));
    assert_memory_equal(pst_state_log_read(log, 2, &first, &bytes), "one", 3);
    pst_state_check(state);
    pst_state_free(state);
}

static void a_position_at_a_pages_end_leads_to_the_next_page(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    (void)append_bytes(log, 0, 16000, 1);
    uint64_t end = pst_state_log_head(log, 0), position = end;
    uint32_t bytes;
    assert_null(pst_state_log_read(log, 0, &position, &bytes));
    uint64_t next = append_bytes(log, 0, 1000, 2);
    assert_true(next > end);
    assert_int_equal(*(const uint8_t *)pst_state_log_read(log, 0, &position, &bytes), 2);
    assert_int_equal(bytes, 1000);
    pst_state_check(state);
    assert_int_equal(pst_state_log_trim(log, 0, end), PST_OK); /* the first page goes, the position stays good */
    pst_state_check(state);
    assert_int_equal(pst_state_log_tail(log, 0), end);
    assert_int_equal(*(const uint8_t *)pst_state_log_read(log, 0, &end, &bytes), 2);
    pst_state_free(state);
}

static void entries_of_every_size_fit_and_none_straddles_a_page(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    for (uint32_t bytes = PST_LOG_ENTRY_BYTES_MAX; bytes > PST_LOG_ENTRY_BYTES_MAX - 40; bytes--)
        (void)append_bytes(log, 0, bytes, 3);
    for (uint32_t bytes = 1; bytes < 3000; bytes++)
        (void)append_bytes(log, bytes % BUCKETS, bytes, (uint8_t)bytes);
    for (uint32_t second = 1; second < 64; second++) { /* every way to fill a page to its last bytes */
        (void)append_bytes(log, 1, 16200, 4);
        (void)append_bytes(log, 1, 64 + second, 5);
        (void)append_bytes(log, 1, second, 6);
    }
    pst_state_check(state);
    uint64_t position = pst_state_log_tail(log, 0);
    uint32_t bytes, count = 0;
    while (pst_state_log_read(log, 0, &position, &bytes) != NULL)
        count++;
    assert_int_equal(count, 40 + 2999 / BUCKETS);
    pst_state_free(state);
}

static void trimming_gives_pages_back_and_positions_go_on(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    (void)append(log, 0, "x");
    uint64_t few = pst_state_bytes(state);
    for (int i = 0; i < 1000; i++)
        (void)append_bytes(log, 0, 200, 7);
    uint64_t head = pst_state_log_head(log, 0);
    assert_true(pst_state_bytes(state) > few + 10 * PST_PAGE_BYTES);
    assert_int_equal(pst_state_log_trim(log, 0, head + 8), PST_EINVAL);
    assert_int_equal(pst_state_log_trim(log, 0, head), PST_OK);
    assert_int_equal(pst_state_log_tail(log, 0), head);
    assert_int_equal(pst_state_log_head(log, 0), head);
    assert_int_equal(pst_state_log_trim(log, 0, 0), PST_OK); /* long gone: nothing to do */
    assert_true(pst_state_bytes(state) < few + PST_PAGE_BYTES);
    pst_state_check(state);
    assert_true(append(log, 0, "after") >= head);
    uint32_t bytes;
    assert_memory_equal(pst_state_log_read(log, 0, &head, &bytes), "after", 5);
    pst_state_check(state);
    pst_state_free(state);
}

static void a_window_that_moves_on_needs_no_new_memory(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, 3 * PST_PAGE_BYTES);
    struct pst_log *log = pst_state_log_open(state, "l");
    uint64_t tail = pst_state_log_tail(log, 0);
    for (uint32_t i = 0; i < 100000; i++) {
        (void)append_bytes(log, 0, 24 + i % 100, 1);
        uint32_t bytes;
        if (i >= 100)
            (void)pst_state_log_read(log, 0, &tail, &bytes);
        assert_int_equal(pst_state_log_trim(log, 0, tail), PST_OK);
    }
    pst_state_check(state);
    pst_state_free(state);
}

/* ---- bounds and failures ---- */

static void at_its_bound_the_state_says_full_and_stays_whole(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, 2 * PST_PAGE_BYTES);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 8000);
    struct pst_log *log = pst_state_log_open(state, "l");
    for (uint32_t key = 0; key < 4; key++)
        (void)put(table, 0, key);
    uint32_t key = 4, bucket = 0;
    uint64_t hash = hash_of(&key, sizeof key), position;
    void *space;
    assert_int_equal(pst_state_table_upsert(table, 1, &bucket, &hash, &key, NULL, NULL), PST_EFULL);
    assert_int_equal(pst_state_log_append(log, 1, 10, &space, &position), PST_EFULL);
    assert_int_equal(pst_state_table_count(table, 0), 4);
    pst_state_check(state);
    assert_int_equal(pst_state_table_remove(table, 0, 3), PST_OK);
    assert_int_equal(pst_state_table_remove(table, 0, 2), PST_OK);
    assert_int_equal(pst_state_log_append(log, 1, 10, &space, &position), PST_OK);
    pst_state_check(state);
    pst_state_free(state);
}

/* A little of everything. Each step is tried again after an error, as a caller would; the end is the same. */
static uint64_t script_run(uint64_t fail_at, bool *ret_failed)
{
    enum { STEPS = 700 };
    struct pst_state *state;
    struct pst_table *table, *large;
    struct pst_log *log;
    *ret_failed = false;
    pst_malloc_fail_at(fail_at);
    while ((state = pst_state_new(BUCKETS, UINT64_MAX)) == NULL)
        *ret_failed = true;
    while ((table = pst_state_table_open(state, "t", 4, 8)) == NULL)
        *ret_failed = true;
    while ((large = pst_state_table_open(state, "large", 8, 4000)) == NULL)
        *ret_failed = true;
    while ((log = pst_state_log_open(state, "l")) == NULL)
        *ret_failed = true;
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t bucket[3] = {i % BUCKETS, (i + 1) % BUCKETS, i % 2}, keys[3] = {i / 3, i, 1000 + i % 7};
        uint64_t hash[3] = {hash_of(&keys[0], 4), hash_of(&keys[1], 4), hash_of(&keys[2], 4)}, wide = i % 50, position;
        void *records[3], *space;
        int rc;
        while ((rc = pst_state_table_upsert(table, 3, bucket, hash, keys, NULL, records)) == PST_ENOMEM)
            *ret_failed = true, pst_state_check(state);
        assert_int_equal(rc, PST_OK);
        for (int k = 0; k < 3; k++)
            *(uint64_t *)records[k] += i;
        while ((rc = pst_state_table_upsert(large, 1, bucket, &wide, &wide, NULL, records)) == PST_ENOMEM)
            *ret_failed = true, pst_state_check(state);
        assert_int_equal(rc, PST_OK);
        while ((rc = pst_state_log_append(log, i % BUCKETS, 100 + i, &space, &position)) == PST_ENOMEM)
            *ret_failed = true, pst_state_check(state);
        assert_int_equal(rc, PST_OK);
        memset(space, (int)i, 100 + i);
    }
    uint64_t digest = 0;
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++)
        digest = digest * 31 + pst_state_digest(state, bucket);
    pst_malloc_fail_at(0);
    pst_state_check(state);
    pst_state_free(state);
    return digest;
}

static void any_allocation_may_fail_and_a_retry_doubles_nothing(void **unused)
{
    (void)unused;
    bool failed;
    uint64_t digest = script_run(0, &failed);
    assert_false(failed);
    uint64_t before = pst_malloc_count();
    (void)script_run(0, &failed);
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        uint64_t same = script_run(n, &failed);
        /* the digest needs memory too, but does without */
        if (!failed && n + BUCKETS * 2 < count)
            fail_msg("allocation %lu of %lu failed unnoticed", (unsigned long)n, (unsigned long)count);
        if (same != digest)
            fail_msg("the end differs when allocation %lu fails", (unsigned long)n);
    }
    assert_true(count > 50);
}

/* ---- pages and digests ---- */

struct seen {
    uint32_t count;
    const struct pst_page_header *pages[16];
};

static int see(void *argument, const struct pst_page_header *page)
{
    struct seen *seen = argument;
    if (seen->count == 16)
        return PST_EFULL;
    seen->pages[seen->count++] = page;
    return PST_OK;
}

static void pages_come_by_structure_and_number(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 8000);
    struct pst_log *log = pst_state_log_open(state, "l");
    for (int i = 0; i < 3; i++)
        (void)append_bytes(log, 2, 16000, 1);
    for (uint32_t key = 0; key < 5; key++)
        (void)put(table, 2, key);
    (void)put(table, 1, 0);
    struct seen seen = {0};
    assert_int_equal(pst_state_pages(state, 2, see, &seen), PST_OK);
    assert_int_equal(seen.count, 6);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(seen.pages[i]->kind, PST_PAGE_RECORDS);
        assert_int_equal(seen.pages[i]->number, 2 * i);
        assert_int_equal(seen.pages[i]->bucket, 2);
        assert_int_equal(seen.pages[3 + i]->kind, PST_PAGE_LOG);
        assert_int_equal(seen.pages[3 + i]->structure, 1);
        assert_int_equal(seen.pages[3 + i]->number, i * PST_PAGE_BYTES);
    }
    seen.count = 14;
    assert_int_equal(pst_state_pages(state, 2, see, &seen), PST_EFULL);
    assert_int_equal(seen.count, 16);
    pst_state_free(state);
}

static void the_page_header_is_laid_out_as_written(void **unused)
{
    (void)unused;
    assert_int_equal(sizeof(struct pst_page_header), 32);
    assert_int_equal(offsetof(struct pst_page_header, magic), 0);
    assert_int_equal(offsetof(struct pst_page_header, version), 4);
    assert_int_equal(offsetof(struct pst_page_header, kind), 6);
    assert_int_equal(offsetof(struct pst_page_header, bucket), 8);
    assert_int_equal(offsetof(struct pst_page_header, structure), 12);
    assert_int_equal(offsetof(struct pst_page_header, zero), 14);
    assert_int_equal(offsetof(struct pst_page_header, number), 16);
    assert_int_equal(offsetof(struct pst_page_header, used_bytes), 24);
    assert_int_equal(offsetof(struct pst_page_header, changed), 28);
}

/* Bytes that later versions must be able to read. */
static void the_bytes_of_pages_are_pinned(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 6);
    struct pst_log *log = pst_state_log_open(state, "l");
    uint32_t bucket = 3, keys[2] = {0x0A0B0C0D, 2};
    uint64_t hash[2] = {0x1122334455667788, 7};
    void *records[2];
    assert_int_equal(pst_state_table_upsert(table, 1, &bucket, hash, keys, NULL, records), PST_OK);
    assert_int_equal(pst_state_table_upsert(table, 1, &bucket, hash + 1, keys + 1, NULL, records + 1), PST_OK);
    memcpy(records[0], "record", 6);
    memcpy(records[1], "2nd", 3);
    (void)append(log, 3, "twelve bytes");
    (void)append(log, 3, "abc");
    struct seen seen = {0};
    assert_int_equal(pst_state_pages(state, 3, see, &seen), PST_OK);
    assert_int_equal(seen.count, 2);
    static const uint8_t table_page[64] = {
        0x50, 0x53, 0x54, 0x50, 1,    0,    1,    0,
        3,    0,    0,    0,    0,    0,    0,    0, /* magic, version, kind, bucket, structure, zero */
        0,    0,    0,    0,    0,    0,    0,    0,
        32,   0,    0,    0,    1,    0,    0,    0, /* number, used, changed */
        0x0D, 0x0C, 0x0B, 0x0A, 0x2B, 0x7C, 0x85, 0x74,
        'r',  'e',  'c',  'o',  'r',  'd',  0,    0, /* key, tag, record */
        2,    0,    0,    0,    0x12, 0x54, 0x84, 0x53,
        '2',  'n',  'd',  0,    0,    0,    0,    0,
    };
    static const uint8_t log_page[64] =
        {
            0x50, 0x53, 0x54, 0x50, 1,  0, 2, 0, 3,   0,   0,   0,   1,   0,   0,   0,
            0,    0,    0,    0,    0,  0, 0, 0, 28,  0,   0,   0,   1,   0,   0,   0,
            0,    0,    0,    0,    12, 0, 0, 0, 't', 'w', 'e', 'l', 'v', 'e', ' ', 'b', /* nothing, size, bytes */
            'y',  't',  'e',  's',  3,  0, 0, 0, 'a', 'b', 'c', 0,   0,   0,   0,   0,
        };
    assert_memory_equal(seen.pages[0], table_page, sizeof table_page);
    assert_memory_equal(seen.pages[1], log_page, sizeof log_page);
    for (uint32_t i = sizeof table_page; i < PST_PAGE_BYTES; i++)
        assert_int_equal(((const uint8_t *)seen.pages[0])[i], 0);
    pst_state_free(state);
}

static void the_digest_knows_contents_and_not_their_places(void **unused)
{
    (void)unused;
    struct pst_state *states[2];
    struct pst_table *tables[2];
    struct pst_log *logs[2];
    for (int s = 0; s < 2; s++) {
        states[s] = pst_state_new(BUCKETS, UINT64_MAX);
        tables[s] = pst_state_table_open(states[s], "t", 4, 8);
        logs[s] = pst_state_log_open(states[s], "l");
    }
    assert_int_equal(pst_state_digest(states[0], 0), pst_state_digest(states[1], 0));
    for (uint32_t i = 0; i < 100; i++) {
        *(uint64_t *)put(tables[0], 0, i) = i;
        *(uint64_t *)put(tables[1], 0, 120 - i) = 120 - i; /* the other way round, and 20 too many */
    }
    (void)append_bytes(logs[1], 0, 16000, 1);
    assert_int_equal(pst_state_log_trim(logs[1], 0, pst_state_log_head(logs[1], 0)), PST_OK);
    for (uint32_t i = 0; i <= 20; i++) {
        *(uint64_t *)put(tables[1], 0, i) = i;
        assert_int_equal(pst_state_table_remove(tables[1], 0, (uint32_t)find(tables[1], 0, 100 + i)), PST_OK);
        (void)append(logs[0], 0, "entry");
        (void)append(logs[1], 0, "entry");
        if (i < 20)
            assert_int_not_equal(pst_state_digest(states[0], 0), pst_state_digest(states[1], 0));
    }
    assert_int_equal(pst_state_digest(states[0], 0), pst_state_digest(states[1], 0));
    (void)append(logs[0], 0, "entry");
    assert_int_not_equal(pst_state_digest(states[0], 0), pst_state_digest(states[1], 0));
    (void)append(logs[1], 0, "entrz");
    assert_int_not_equal(pst_state_digest(states[0], 0), pst_state_digest(states[1], 0));
    pst_state_free(states[0]);
    pst_state_free(states[1]);
}

/* Many pages of both kinds, of a bucket that others stand beside. */
static void a_dropped_bucket_leaves_nothing(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", 4, 4000);
    struct pst_log *log = pst_state_log_open(state, "l");
    struct pst_image_log logs[PST_STRUCTURES_MAX];
    uint64_t empty = pst_state_bytes(state);
    assert_int_equal(pst_state_bucket_bytes(state, 1), 0);
    assert_int_equal(pst_state_logs(state, 1, logs), 0);
    pst_state_drop(state, 1);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 500; i++) {
            *(uint32_t *)put(table, 1, i) = i;
            (void)append_bytes(log, 1, 3000, (uint8_t)i);
        }
        assert_int_equal(pst_state_bucket_bytes(state, 2), round == 0 ? 0 : PST_PAGE_HEADER_BYTES + 4008);
        (void)put(table, 2, 7);
        assert_true(pst_state_bucket_bytes(state, 1) > 500 * 7000 && pst_state_bucket_bytes(state, 1) < 500 * 7100);
        assert_int_equal(pst_state_logs(state, 1, logs), 1);
        assert_int_equal(logs[0].head, pst_state_log_head(log, 1));
        pst_state_check(state);
        pst_state_drop(state, 1);
        pst_state_check(state);
        assert_int_equal(pst_state_bucket_bytes(state, 1), 0);
        assert_int_equal(pst_state_logs(state, 1, logs), 0);
        assert_int_equal(pst_state_table_count(table, 1), 0);
        assert_int_equal(pst_state_table_count(table, 2), 1);
        assert_int_equal(find(table, 1, 7), -1);
        assert_int_equal(find(table, 2, 7), 0);
    }
    assert_false(pst_state_shrink(state, UINT64_MAX)); /* a page is in use */
    assert_int_equal(find(table, 2, 7), 0);
    pst_state_drop(state, 2);
    assert_int_equal(pst_state_bytes(state), empty);
    assert_true(pst_state_shrink(state, 1)); /* a slab, of several */
    (void)put(table, 3, 7);
    pst_state_check(state);
    pst_state_drop(state, 3);
    while (pst_state_shrink(state, 1))
        continue;
    (void)put(table, 3, 7);
    pst_state_check(state);
    pst_state_free(state);
}

enum { MOST_OF_A_PAGE = PST_PAGE_BYTES - 200 };

static uint64_t resident_bytes(void)
{
    unsigned long long pages[2] = {0};
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu %llu", &pages[0], &pages[1]), 2);
    (void)fclose(file);
    return pages[1] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int zero_behind(void *argument, const struct pst_page_header *page)
{
    const uint8_t *bytes = (const uint8_t *)page;
    for (uint32_t i = PST_PAGE_HEADER_BYTES + page->used_bytes; i < PST_PAGE_BYTES; i++)
        *(bool *)argument &= bytes[i] == 0;
    return PST_OK;
}

static bool pages_are_zero_behind(struct pst_state *state, uint32_t bucket)
{
    bool zero = true;
    assert_int_equal(pst_state_pages(state, bucket, zero_behind, &zero), PST_OK);
    return zero && pst_state_bucket_bytes(state, bucket) != 0;
}

/* A bucket that goes from amid others, whose pages stand between its own. */
static void memory_of_dropped_pages_goes_back_to_the_system(void **unused)
{
    (void)unused;
    enum { PAGES = 4000 };
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    for (uint32_t i = 0; i < PAGES; i++)
        (void)append_bytes(log, 1 + i % 2, MOST_OF_A_PAGE, (uint8_t)i);
    (void)append_bytes(log, 0, MOST_OF_A_PAGE, 1); /* what is left of the state at last */
    uint64_t before = resident_bytes();
    pst_state_drop(state, 1);
    for (uint32_t i = 0; i < PAGES / 4; i++) /* pages of what was dropped, before their memory has gone back */
        (void)append_bytes(log, 3, 1, (uint8_t)i);
    assert_true(pages_are_zero_behind(state, 3));
    pst_state_drop(state, 3);
    uint32_t turns = 1;
    while (pst_state_shrink(state, 50 * PST_PAGE_BYTES))
        turns++;
    uint64_t given = before - resident_bytes();
    assert_true(turns > PAGES / 2 / 50 - 5 && turns < PAGES / 2 / 50 + 5);
    assert_true(given > (uint64_t)PAGES / 2 * PST_PAGE_BYTES * 6 / 10);
    pst_state_check(state);   /* all of them are zero */
    pst_state_drop(state, 2); /* those in between, too: what pages share goes with the second of them */
    while (pst_state_shrink(state, 50 * PST_PAGE_BYTES))
        continue;
    given = before - resident_bytes();
    assert_true(given > (uint64_t)PAGES * PST_PAGE_BYTES * 95 / 100);
    pst_state_check(state);
    for (uint32_t i = 0; i < PAGES; i++)
        (void)append_bytes(log, 3, MOST_OF_A_PAGE, (uint8_t)i);
    pst_state_check(state);
    pst_state_free(state);
}

struct images { /* copies of pages, in their order */
    uint8_t *bytes;
    uint32_t count;
};

static int image_add(void *argument, const struct pst_page_header *page)
{
    struct images *images = argument;
    memcpy(images->bytes + (size_t)images->count++ * PST_PAGE_BYTES, page, PST_PAGE_HEADER_BYTES + page->used_bytes);
    return PST_OK;
}

/* Of a state that is put back, bucket by bucket, and goes again so: pages that lie one behind the other go in one call. */
static void memory_of_what_was_put_back_goes_as_it_came(void **unused)
{
    (void)unused;
    enum { PAGES = 4000, OF_EACH = PAGES / 2 };
    struct pst_state *from = pst_state_new(BUCKETS, UINT64_MAX), *to = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(from, "l"), *other = pst_state_log_open(to, "l");
    struct images images = {.bytes = malloc((size_t)PAGES * PST_PAGE_BYTES)};
    assert_non_null(images.bytes);
    for (uint32_t i = 0; i < PAGES; i++)
        (void)append_bytes(log, 1 + i % 2, MOST_OF_A_PAGE, (uint8_t)i);
    for (uint32_t bucket = 1; bucket <= 2; bucket++)
        assert_int_equal(pst_state_pages(from, bucket, image_add, &images), PST_OK);
    assert_int_equal(images.count, PAGES);
    uint64_t before = resident_bytes();
    for (uint32_t i = 0; i < PAGES; i++) {
        const struct pst_page_header *page = (const void *)(images.bytes + (size_t)i * PST_PAGE_BYTES);
        assert_int_equal(pst_state_restore_page(to, page, PST_PAGE_HEADER_BYTES + page->used_bytes), PST_OK);
    }
    for (uint32_t bucket = 1; bucket <= 2; bucket++) {
        struct pst_image_log logs[PST_STRUCTURES_MAX];
        assert_int_equal(pst_state_logs(from, bucket, logs), 1);
        assert_int_equal(pst_state_restore_log(to, &logs[0]), PST_OK);
        assert_true(pst_state_digest(to, bucket) == pst_state_digest(from, bucket));
    }
    pst_state_check(to);
    uint64_t whole = resident_bytes() - before;
    assert_true(whole < (uint64_t)(PAGES + PAGES / 10) * PST_PAGE_BYTES);
    (void)append_bytes(other, 0, MOST_OF_A_PAGE, 1); /* what is left of the state at last */
    pst_state_drop(to, 1);
    while (pst_state_shrink(to, 50 * PST_PAGE_BYTES))
        continue;
    assert_true(resident_bytes() - before < whole - (uint64_t)OF_EACH * PST_PAGE_BYTES * 9 / 10);
    pst_state_check(to);
    assert_true(pst_state_digest(to, 2) == pst_state_digest(from, 2));
    for (uint32_t i = 0; i < OF_EACH / 2; i++) /* cold ones are taken again */
        (void)append_bytes(other, 3, MOST_OF_A_PAGE, (uint8_t)i);
    assert_true(pages_are_zero_behind(to, 3));
    pst_state_check(to);
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++)
        pst_state_drop(to, bucket);
    while (pst_state_shrink(to, 50 * PST_PAGE_BYTES))
        continue;
    assert_true(resident_bytes() < before + (uint64_t)PAGES * PST_PAGE_BYTES / 10);
    (void)append_bytes(other, 3, MOST_OF_A_PAGE, 1);
    pst_state_check(to);
    pst_state_free(to);
    pst_state_free(from);
    free(images.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_record_is_zero_and_found_again),
        cmocka_unit_test(pointers_of_one_upsert_are_valid_together),
        cmocka_unit_test(without_buckets_all_keys_are_bucket_0s),
        cmocka_unit_test(keys_of_one_hash_are_told_apart),
        cmocka_unit_test(keys_that_differ_in_one_byte_are_told_apart_at_every_size),
        cmocka_unit_test(the_last_record_takes_the_number_of_a_removed_one),
        cmocka_unit_test(an_emptied_table_gives_its_pages_back),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_structure_keeps_its_name_and_shape),
        cmocka_unit_test(entries_are_read_in_order_from_any_position),
        cmocka_unit_test(a_position_at_a_pages_end_leads_to_the_next_page),
        cmocka_unit_test(entries_of_every_size_fit_and_none_straddles_a_page),
        cmocka_unit_test(trimming_gives_pages_back_and_positions_go_on),
        cmocka_unit_test(a_window_that_moves_on_needs_no_new_memory),
        cmocka_unit_test(at_its_bound_the_state_says_full_and_stays_whole),
        cmocka_unit_test(any_allocation_may_fail_and_a_retry_doubles_nothing),
        cmocka_unit_test(pages_come_by_structure_and_number),
        cmocka_unit_test(the_page_header_is_laid_out_as_written),
        cmocka_unit_test(the_bytes_of_pages_are_pinned),
        cmocka_unit_test(the_digest_knows_contents_and_not_their_places),
        cmocka_unit_test(a_dropped_bucket_leaves_nothing),
        cmocka_unit_test(memory_of_what_was_put_back_goes_as_it_came),
        cmocka_unit_test(memory_of_dropped_pages_goes_back_to_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
