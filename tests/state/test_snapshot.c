/* test_snapshot.c - buckets as they were, each at its moment, while the state goes on: with all pages in memory, and with most of them outside. */
#include "base/base.h"
#include "state/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    BUCKETS = 4,
    SHOWN = 2, /* the bucket */
    KEYS = 1200,
    RECORD_BYTES = 1000, /* 16 a page */
    NARROW_BYTES = 40,
    ENTRY_BYTES = 3000,
    PAGES_MIN = 12, /* of the pool, where there is one */
    SLOTS = 4096,
    PAGES_MAX = 512,
    STEPS = 4000,
};

static uint32_t random_below(uint64_t *random, uint32_t n)
{
    uint64_t z = *random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % n;
}

/* ---- an outside ---- */

struct outside {
    uint8_t *pieces[SLOTS];
    bool fails;
};

static int outside_put(void *self, uint32_t slot, const void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    assert_true(slot < SLOTS);
    free(outside->pieces[slot]);
    outside->pieces[slot] = malloc(byte_count);
    memcpy(outside->pieces[slot], sealed, byte_count);
    return PST_OK;
}

static int outside_get(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    const struct outside *outside = self;
    if (outside->fails)
        return PST_EIO;
    memcpy(sealed, outside->pieces[slot], byte_count);
    return PST_OK;
}

static void outside_nothing(void *self, uint32_t slot)
{
    (void)self;
    (void)slot;
}
static void outside_ahead(void *self, uint32_t slot, uint32_t byte_count)
{
    (void)byte_count;
    outside_nothing(self, slot);
}

/* ---- a state ---- */

struct side {
    struct pst_state *state;
    struct pst_table *wide, *narrow;
    struct pst_log *log;
    struct pst_pool *pool; /* NULL: all is in memory */
    struct pst_secret *secret;
    struct pst_sealer *sealer;
    struct outside outside;
    uint64_t random;
    int64_t now;
};

static struct side *side_new(bool paged, uint64_t seed)
{
    static const char *const ids[] = {"operator"};
    static const uint32_t bucket_counts[] = {BUCKETS};
    static uint64_t incarnations;
    const uint8_t graph[PST_GRAPH_DIGEST_BYTES] = {0};
    uint8_t incarnation[PST_INCARNATION_BYTES] = {0};
    struct side *side = calloc(1, sizeof *side);
    side->random = seed;
    side->state = pst_state_new(BUCKETS, UINT64_MAX);
    if (paged) {
        incarnations++;
        memcpy(incarnation, &incarnations, sizeof incarnations);
        assert_int_equal(pst_secret_new(&side->secret), PST_OK);
        assert_int_equal(
            pst_sealer_new(side->secret, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts, &side->sealer),
            PST_OK);
        side->pool = pst_pool_new((uint64_t)4 * PAGES_MIN * PST_PAGE_BYTES);
        const struct pst_paging paging = {
            .pool = side->pool,
            .sealer = side->sealer,
            .opener = side->sealer,
            .pages_min = PAGES_MIN,
            .outside = {&side->outside, outside_put, outside_get, outside_ahead, outside_nothing, outside_get}};
        assert_int_equal(pst_state_page(side->state, &paging), PST_OK);
    }
    side->wide = pst_state_table_open(side->state, "wide", 4, RECORD_BYTES);
    side->log = pst_state_log_open(side->state, "log");
    side->narrow = pst_state_table_open(side->state, "narrow", 4, NARROW_BYTES);
    return side;
}

static void side_free(struct side *side)
{
    pst_state_free(side->state);
    pst_sealer_free(side->sealer);
    pst_secret_free(side->secret);
    pst_pool_free(side->pool);
    for (uint32_t i = 0; i < SLOTS; i++)
        free(side->outside.pieces[i]);
    free(side);
}

static int put(struct side *side, struct pst_table *table, uint32_t bucket, uint32_t key, uint32_t bytes)
{
    uint64_t hash = pst_hash(&(struct pst_hash_key){0, 0}, &key, sizeof key);
    void *record;
    int rc = pst_state_table_upsert(table, 1, &bucket, &hash, &key, NULL, &record);
    if (rc == PST_OK)
        memset(record, (int)random_below(&side->random, 256), bytes);
    return rc;
}

/* Whatever an operator may do, mostly to the bucket that is shown. */
static void change(struct side *side)
{
    uint32_t bucket = random_below(&side->random, 3) == 0 ? random_below(&side->random, BUCKETS) : SHOWN;
    uint32_t key = random_below(&side->random, KEYS), count;
    uint64_t position, head;
    void *space;
    pst_state_begin(side->state, ++side->now);
    switch (random_below(&side->random, 8)) {
    case 0:
    case 1:
    case 2:
        assert_int_equal(put(side, side->wide, bucket, key, RECORD_BYTES), PST_OK);
        break;
    case 3:
        assert_int_equal(put(side, side->narrow, bucket, key, NARROW_BYTES), PST_OK);
        break;
    case 4:
        count = pst_state_table_count(side->wide, bucket);
        if (count != 0)
            memset(pst_state_table_record(side->wide, bucket, random_below(&side->random, count)), 0x5a, RECORD_BYTES);
        break;
    case 5:
        count = pst_state_table_count(side->wide, bucket);
        if (count > KEYS / 3)
            assert_int_equal(pst_state_table_remove(side->wide, bucket, random_below(&side->random, count)), PST_OK);
        break;
    case 6:
        assert_int_equal(pst_state_log_append(side->log, bucket, ENTRY_BYTES, &space, &position), PST_OK);
        memset(space, (int)key, ENTRY_BYTES);
        break;
    case 7:
        position = pst_state_log_tail(side->log, bucket);
        head = pst_state_log_head(side->log, bucket);
        for (uint32_t i = 0, bytes; i < 2 && position < head; i++)
            assert_non_null(pst_state_log_read(side->log, bucket, &position, &bytes));
        assert_int_equal(pst_state_log_trim(side->log, bucket, position), PST_OK);
        break;
    }
    assert_int_equal(pst_state_end(side->state), PST_OK);
}

/* ---- what it was ---- */

struct kept {
    uint32_t count;
    struct pst_page_header *pages[PAGES_MAX];
};

static int keep(void *argument, const struct pst_page_header *page)
{
    struct kept *kept = argument;
    size_t bytes = PST_PAGE_HEADER_BYTES + (size_t)page->used_bytes;
    assert_true(kept->count < PAGES_MAX);
    kept->pages[kept->count] = malloc(bytes);
    memcpy(kept->pages[kept->count++], page, bytes);
    return PST_OK;
}

static void kept_free(struct kept *kept)
{
    for (uint32_t i = 0; i < kept->count; i++)
        free(kept->pages[i]);
    free(kept);
}

/* But for `changed`, which says when: its reader says so anew. */
static void same(const struct pst_page_header *seen, const struct pst_page_header *kept)
{
    struct pst_page_header a = *seen, b = *kept;
    a.changed = b.changed = 0;
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(seen + 1, kept + 1, kept->used_bytes);
}

static void shows_what_was(bool paged)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct side *side = side_new(paged, seed);
        for (uint32_t i = 0; i < STEPS; i++)
            change(side);
        for (uint32_t round = 0; round < 4; round++) {
            struct kept *kept = calloc(1, sizeof *kept);
            struct pst_snapshot *snapshot;
            uint32_t pace = 1 + random_below(&side->random, 20), copied_at_once = round == 3 ? STEPS : 0;
            uint64_t digest = paged ? 0 : pst_state_digest(side->state, SHOWN); /* it needs all pages at once */
            assert_int_equal(pst_state_pages(side->state, SHOWN, keep, kept), PST_OK);
            assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
            assert_int_equal(pst_snapshot_left(snapshot), kept->count);
            for (uint32_t i = 0; i < copied_at_once; i++)
                change(side);
            for (uint32_t i = 0; i < kept->count; i++) {
                const struct pst_page_header *page = NULL;
                for (uint32_t k = random_below(&side->random, 2 * pace); k != 0; k--)
                    change(side);
                assert_int_equal(pst_snapshot_next(snapshot, &page), PST_OK);
                same(page, kept->pages[i]);
            }
            assert_int_equal(pst_snapshot_left(snapshot), 0);
            change(side);
            pst_snapshot_free(snapshot);
            assert_true(kept->count > 8);
            assert_true(paged || digest != pst_state_digest(side->state, SHOWN));
            if (!paged || round == 3)
                pst_state_check(side->state);
            kept_free(kept);
        }
        side_free(side);
    }
}

static void pages_are_those_of_its_moment_whatever_changes(void **unused)
{
    (void)unused;
    shows_what_was(false);
}

static void and_so_they_are_where_most_lie_outside(void **unused)
{
    (void)unused;
    shows_what_was(true);
}

/* One after the other is taken, and seen, and freed, in another order: each is as its own bucket was at its own moment. */
static void several_show_each_its_own_moment(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct side *side = side_new(seed % 2 == 0, 100 + seed);
        struct kept *kept[BUCKETS] = {0};
        struct pst_snapshot *snapshots[BUCKETS] = {0};
        uint32_t seen[BUCKETS] = {0}, whole = 0;
        for (uint32_t i = 0; i < 2 * STEPS; i++)
            change(side);
        while (whole < 24) {
            uint32_t bucket = random_below(&side->random, BUCKETS);
            for (uint32_t k = random_below(&side->random, 60); k != 0; k--)
                change(side);
            if (kept[bucket] == NULL) {
                kept[bucket] = calloc(1, sizeof *kept[bucket]);
                assert_int_equal(pst_state_pages(side->state, bucket, keep, kept[bucket]), PST_OK);
                assert_int_equal(pst_state_snapshot(side->state, bucket, &snapshots[bucket]), PST_OK);
            }
            const struct pst_page_header *page = NULL;
            for (uint32_t k = random_below(&side->random, 6); k != 0 && seen[bucket] < kept[bucket]->count; k--) {
                assert_int_equal(pst_snapshot_next(snapshots[bucket], &page), PST_OK);
                same(page, kept[bucket]->pages[seen[bucket]++]);
            }
            assert_int_equal(pst_snapshot_left(snapshots[bucket]), kept[bucket]->count - seen[bucket]);
            if (seen[bucket] < kept[bucket]->count && random_below(&side->random, 40) != 0) /* else it is given up */
                continue;
            whole += seen[bucket] == kept[bucket]->count;
            pst_snapshot_free(snapshots[bucket]);
            kept_free(kept[bucket]);
            kept[bucket] = NULL;
            seen[bucket] = 0;
        }
        for (uint32_t i = 0; i < BUCKETS; i++)
            if (kept[i] != NULL)
                kept_free(kept[i]);
        side_free(side); /* with those that are left */
    }
}

static void one_that_is_given_up_leaves_nothing(void **unused)
{
    (void)unused;
    struct side *side = side_new(false, 7);
    struct pst_snapshot *snapshot;
    for (uint32_t i = 0; i < STEPS; i++)
        change(side);
    for (uint32_t round = 0; round < 3; round++) {
        const struct pst_page_header *page;
        assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
        for (uint32_t i = 0; i < STEPS / 2; i++)
            change(side);
        assert_int_equal(pst_snapshot_next(snapshot, &page), PST_OK);
        if (round < 2)
            pst_snapshot_free(snapshot);
    }
    pst_state_drop(side->state, SHOWN + 1);
    side_free(side); /* the last one goes with its state; sanitizers look */
}

static void an_empty_bucket_has_no_page(void **unused)
{
    (void)unused;
    struct side *side = side_new(false, 1);
    struct pst_snapshot *snapshot;
    assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
    assert_int_equal(pst_snapshot_left(snapshot), 0);
    for (uint32_t i = 0; i < STEPS; i++)
        change(side); /* what comes is not of it */
    assert_int_equal(pst_snapshot_left(snapshot), 0);
    pst_snapshot_free(snapshot);
    side_free(side);
}

/* The row that made the copy necessary is none the worse. */
static void without_memory_for_a_copy_the_state_goes_on(void **unused)
{
    (void)unused;
    struct side *side = side_new(false, 3);
    struct pst_snapshot *snapshot;
    const struct pst_page_header *page;
    for (uint32_t key = 0; key < 64; key++)
        assert_int_equal(put(side, side->wide, SHOWN, key, RECORD_BYTES), PST_OK);
    for (uint64_t n = 1; n <= 2; n++) {
        pst_malloc_fail_at(n);
        assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_ENOMEM);
        pst_malloc_fail_at(0);
    }
    assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
    assert_int_equal(pst_snapshot_next(snapshot, &page), PST_OK);
    pst_malloc_fail_at(1);
    assert_int_equal(put(side, side->wide, SHOWN, 63, RECORD_BYTES), PST_OK);
    pst_malloc_fail_at(0);
    assert_int_equal(put(side, side->wide, SHOWN, 62, RECORD_BYTES), PST_OK);
    assert_int_equal(pst_snapshot_next(snapshot, &page), PST_ENOMEM);
    assert_int_equal(pst_snapshot_next(snapshot, &page), PST_ENOMEM);
    pst_snapshot_free(snapshot);
    pst_state_check(side->state);
    assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
    assert_int_equal(pst_snapshot_next(snapshot, &page), PST_OK);
    side_free(side);
}

static void a_page_that_cannot_be_had_ends_it(void **unused)
{
    (void)unused;
    struct side *side = side_new(true, 5);
    struct pst_snapshot *snapshot;
    const struct pst_page_header *page;
    int rc = PST_OK;
    for (uint32_t i = 0; i < STEPS; i++)
        change(side);
    assert_int_equal(pst_state_snapshot(side->state, SHOWN, &snapshot), PST_OK);
    side->outside.fails = true;
    while (rc == PST_OK && pst_snapshot_left(snapshot) != 0)
        rc = pst_snapshot_next(snapshot, &page);
    assert_int_equal(rc, PST_EIO);
    assert_int_equal(pst_state_error(side->state, NULL), PST_EIO);
    side_free(side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_those_of_its_moment_whatever_changes),
        cmocka_unit_test(and_so_they_are_where_most_lie_outside),
        cmocka_unit_test(several_show_each_its_own_moment),
        cmocka_unit_test(one_that_is_given_up_leaves_nothing),
        cmocka_unit_test(an_empty_bucket_has_no_page),
        cmocka_unit_test(without_memory_for_a_copy_the_state_goes_on),
        cmocka_unit_test(a_page_that_cannot_be_had_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
