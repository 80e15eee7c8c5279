/* test_pager.c - a state within a budget, one promise of state/pager.h at a time: what leaves, what comes back, what is refused, and
 * what a callback may rely on. The outside is an array that checks what it is told, and does harm where a test says so. */
#include "base/base.h"
#include "state/image.h"
#include "state/internal.h"
#include "state/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    BUCKETS = 64,
    RECORD_BYTES = 2000,
    RECORD_WORDS = RECORD_BYTES / 8,
    PER_PAGE = 8, /* records */
    ENTRY_BYTES = 4000,
    ENTRIES_PER_PAGE = 4,
    PAGE_ENTRY_BYTES = 16000, /* an entry that has a page for itself */
    SLOTS_MAX = 1024,
    STATES_MAX = 3,
    PAGES_MIN = 16, /* of a state */
};
static_assert((PST_PAGE_BYTES - PST_PAGE_HEADER_BYTES) / (8 + RECORD_BYTES) == PER_PAGE, "records of a page");

static struct pst_secret *secret;

static int secret_make(void **unused)
{
    (void)unused;
    return pst_secret_new(&secret);
}

static int secret_drop(void **unused)
{
    (void)unused;
    pst_secret_free(secret);
    return 0;
}

static uint32_t random_below(uint64_t *random, uint32_t n)
{
    uint64_t z = *random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % n;
}

/* ---- an outside that is an array ---- */

struct piece {
    uint8_t *bytes;   /* NULL: never put */
    uint64_t version; /* that was put last */
    uint32_t byte_count;
    bool ahead;
};

struct outside {
    struct piece pieces[SLOTS_MAX];
    uint32_t slot_count; /* that were ever put */
    uint32_t ahead_count, ahead_count_max;
    uint64_t version; /* of the page that was put last */
    uint64_t puts, gets, looks;
    uint64_t put_fails_at, get_fails_at, look_fails_at; /* the n-th; 0: none */
    int error;
    const void *marker; /* must not be found in what is put */
    size_t marker_bytes;
};

static struct piece *piece_of(struct outside *outside, uint32_t slot)
{
    assert_true(slot < SLOTS_MAX);
    return &outside->pieces[slot];
}

static int outside_put(void *self, uint32_t slot, const void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    struct piece *piece = piece_of(outside, slot);
    struct pst_seal_header header = {0};
    assert_false(piece->ahead);
    assert_true(slot <= outside->slot_count && byte_count <= pst_seal_bound(PST_PAGE_BYTES));
    assert_int_equal(pst_seal_header_read(sealed, byte_count, &header), PST_OK);
    assert_true(header.page_version > outside->version); /* G2: never used again */
    outside->version = header.page_version;
    if (outside->marker != NULL)
        assert_null(memmem(sealed, byte_count, outside->marker, outside->marker_bytes));
    if (++outside->puts == outside->put_fails_at)
        return outside->error;
    free(piece->bytes);
    piece->bytes = malloc(byte_count);
    memcpy(piece->bytes, sealed, byte_count);
    piece->byte_count = byte_count;
    piece->version = header.page_version;
    outside->slot_count += slot == outside->slot_count;
    return PST_OK;
}

static void outside_forget(void *self, uint32_t slot)
{
    struct outside *outside = self;
    assert_true(piece_of(outside, slot)->ahead);
    piece_of(outside, slot)->ahead = false;
    outside->ahead_count--;
}

static void outside_ahead(void *self, uint32_t slot, uint32_t byte_count)
{
    struct outside *outside = self;
    struct piece *piece = piece_of(outside, slot);
    assert_true(piece->bytes != NULL && piece->byte_count == byte_count && !piece->ahead);
    piece->ahead = true;
    if (++outside->ahead_count > outside->ahead_count_max)
        outside->ahead_count_max = outside->ahead_count;
    assert_true(outside->ahead_count <= PST_AHEAD_MAX);
}

static void piece_read(struct outside *outside, uint32_t slot, void *sealed, uint32_t byte_count)
{
    const struct piece *piece = piece_of(outside, slot);
    assert_true(piece->bytes != NULL && piece->byte_count == byte_count);
    memcpy(sealed, piece->bytes, byte_count);
}

static int outside_get(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    if (++outside->gets == outside->get_fails_at)
        return outside->error;
    piece_read(outside, slot, sealed, byte_count);
    if (piece_of(outside, slot)->ahead)
        outside_forget(outside, slot);
    return PST_OK;
}

static int outside_look(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    if (++outside->looks == outside->look_fails_at)
        return outside->error;
    piece_read(outside, slot, sealed, byte_count);
    return PST_OK;
}

static void outside_free(struct outside *outside)
{
    for (uint32_t i = 0; i < SLOTS_MAX; i++)
        free(outside->pieces[i].bytes);
    free(outside);
}

/* ---- a state with a pool ---- */

struct paged {
    struct outside *outside;
    struct pst_sealer *sealer, *opener;
    struct pst_state *state;
    struct pst_table *table;
    struct pst_log *log;
};

static struct pst_pool *pool_new(uint64_t pages) { return pst_pool_new(pages * PST_PAGE_BYTES); }

/* After all its states, which have left nothing. */
static void pool_free(struct pst_pool *pool)
{
    if (pool != NULL)
        assert_int_equal(atomic_load(&pool->pages_used), 0);
    pst_pool_free(pool);
}

/* An outside and the keys. Nothing here is counted among the allocations that fail. */
static void paged_init(struct paged *p)
{
    static const char *const ids[] = {"operator"};
    static const uint32_t bucket_counts[] = {BUCKETS};
    static uint64_t incarnations;
    const uint8_t graph[PST_GRAPH_DIGEST_BYTES] = {0};
    uint8_t incarnation[PST_INCARNATION_BYTES] = {0};
    incarnations++;
    memcpy(incarnation, &incarnations, sizeof incarnations);
    *p = (struct paged){.outside = calloc(1, sizeof *p->outside)};
    assert_int_equal(pst_sealer_new(secret, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts, &p->sealer),
                     PST_OK);
    assert_int_equal(
        pst_sealer_new_to_open(secret, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts, &p->opener), PST_OK);
}

static struct pst_paging paging_of(const struct paged *p, struct pst_pool *pool, pst_evict evict, bool ahead)
{
    return (struct pst_paging){
        .pool = pool,
        .sealer = p->sealer,
        .opener = p->opener,
        .pages_min = PAGES_MIN,
        .outside = {p->outside, outside_put, outside_get, outside_ahead, outside_forget, outside_look},
        .evict = evict,
        .ahead = ahead,
    };
}

static void paged_open_with(struct paged *p, const struct pst_paging *paging)
{
    p->state = pst_state_new(BUCKETS, UINT64_MAX);
    assert_int_equal(pst_state_page(p->state, paging), PST_OK);
    p->table = pst_state_table_open(p->state, "t", 4, RECORD_BYTES);
    p->log = pst_state_log_open(p->state, "l");
    assert_non_null(p->table);
    assert_non_null(p->log);
}

static void paged_open(struct paged *p, struct pst_pool *pool, pst_evict evict, bool ahead)
{
    paged_init(p);
    struct pst_paging paging = paging_of(p, pool, evict, ahead);
    paged_open_with(p, &paging);
}

static void paged_close(struct paged *p)
{
    pst_state_free(p->state);
    pst_sealer_free(p->sealer);
    pst_sealer_free(p->opener);
    outside_free(p->outside);
}

static struct pst_paging_counts counts_of(const struct paged *p)
{
    struct pst_paging_counts counts;
    pst_state_paging_counts(p->state, &counts);
    return counts;
}

/* ---- where pages are, by the lists that hold them and by nobody's counters ---- */

struct find {
    uint16_t structure;
    uint64_t number;
    uint32_t inside, outside; /* of all */
    uint8_t *word;            /* of that one */
};

static int find_visit(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t *word)
{
    (void)bucket;
    struct find *find = argument;
    find->inside += !pst_is_outside(word);
    find->outside += pst_is_outside(word);
    if (structure->number == find->structure && number == find->number)
        find->word = word;
    return PST_OK;
}

static struct find pages_find(struct paged *p)
{
    struct find find = {0};
    for (uint32_t b = 0; b < BUCKETS; b++)
        assert_int_equal(pst_state_words(p->state, b, find_visit, &find), PST_OK);
    return find;
}

static uint32_t pages_inside(struct paged *p) { return pages_find(p).inside; }

static uint8_t *page_word(struct paged *p, const struct pst_seal_place *place)
{
    struct find find = {.structure = place->structure, .number = place->number};
    assert_int_equal(pst_state_words(p->state, place->bucket, find_visit, &find), PST_OK);
    assert_non_null(find.word);
    return find.word;
}

static bool page_is_outside(struct paged *p, const struct pst_seal_place *place)
{
    return pst_is_outside(page_word(p, place));
}

/* ---- records and entries whose bytes say which they are ---- */

static uint64_t word_of(uint32_t key, uint32_t round, uint32_t i)
{
    return ((uint64_t)key << 32 | round) * 0x9E3779B97F4A7C15u + i;
}

static void words_fill(void *words, uint32_t count, uint32_t key, uint32_t round)
{
    for (uint32_t i = 0; i < count; i++)
        ((uint64_t *)words)[i] = word_of(key, round, i);
}

static bool words_are(const void *words, uint32_t count, uint32_t key, uint32_t round)
{
    bool same = true;
    for (uint32_t i = 0; same && i < count; i++)
        same = ((const uint64_t *)words)[i] == word_of(key, round, i);
    return same;
}

static bool is_zero(const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    size_t i = 0;
    while (i < count && at[i] == 0)
        i++;
    return i == count;
}

/* Round 0: the record has not been written yet. */
static bool record_is(const void *record, uint32_t key, uint32_t round)
{
    return round == 0 ? is_zero(record, RECORD_BYTES) : words_are(record, RECORD_WORDS, key, round);
}

/* Keys go to buckets as `spread` says: key % spread. */
static int upsert(struct paged *p, uint32_t key, uint32_t n, uint32_t spread, void **ret_records)
{
    enum { N_MAX = 512 };
    uint32_t keys[N_MAX], bucket[N_MAX];
    uint64_t hash[N_MAX];
    assert_true(n <= N_MAX && spread <= BUCKETS);
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = key + i;
        bucket[i] = keys[i] % spread;
        hash[i] = pst_hash(&(struct pst_hash_key){0, 0}, &keys[i], sizeof keys[i]);
    }
    return pst_state_table_upsert(p->table, n, bucket, hash, keys, NULL, ret_records);
}

/* A callback that finds a record as it was and leaves it as it will be. */
static int change(struct paged *p, uint32_t key, uint32_t spread, uint32_t round_before, uint32_t round)
{
    void *record = NULL;
    int rc = upsert(p, key, 1, spread, &record);
    if (rc == PST_OK) {
        assert_true(record_is(record, key, round_before));
        words_fill(record, RECORD_WORDS, key, round);
    }
    int ended = pst_state_end(p->state);
    return rc != PST_OK ? rc : ended;
}

/* Keys 0..n-1 over `spread` buckets, in round 1, a callback each: the index of a key in its bucket is key / spread. */
static void fill(struct paged *p, uint32_t n, uint32_t spread)
{
    for (uint32_t key = 0; key < n; key++)
        assert_int_equal(change(p, key, spread, 0, 1), PST_OK);
}

static int append(struct paged *p, uint32_t bucket, uint32_t bytes, uint32_t number, uint64_t *ret_position)
{
    void *space = NULL;
    int rc = pst_state_log_append(p->log, bucket, bytes, &space, ret_position);
    if (rc == PST_OK)
        words_fill(space, bytes / 8, number, bytes);
    return rc;
}

static bool entry_is(const void *entry, uint32_t bytes, uint32_t number)
{
    return entry != NULL && words_are(entry, bytes / 8, number, bytes);
}

/* ---- G1 ---- */

enum { WALK_KEYS = 24 * BUCKETS, WALK_POOL = 20, WALK_STEPS = 500, WALK_BATCH = 6 };

struct walk {
    uint32_t round[WALK_KEYS];
    uint64_t position[WALK_STEPS]; /* of entries */
    uint32_t tail;                 /* the first entry that is left */
    uint64_t random;
};

static uint32_t walk_bucket(uint32_t step) { return step % 3; }

static void walk_records(struct paged *p, struct walk *walk)
{
    void *records[WALK_BATCH];
    uint32_t first = random_below(&walk->random, WALK_KEYS - WALK_BATCH);
    assert_int_equal(upsert(p, first, WALK_BATCH, BUCKETS, records), PST_OK);
    for (uint32_t i = 0, key = first; i < WALK_BATCH; i++, key++) {
        assert_true(record_is(records[i], key, walk->round[key]));
        words_fill(records[i], RECORD_WORDS, key, ++walk->round[key]);
    }
}

static void walk_entries(struct paged *p, struct walk *walk, uint32_t step)
{
    uint32_t bytes = 0, from = walk->tail + random_below(&walk->random, step + 1 - walk->tail);
    assert_int_equal(append(p, walk_bucket(step), ENTRY_BYTES, step, &walk->position[step]), PST_OK);
    uint64_t position = walk->position[from];
    assert_true(entry_is(pst_state_log_read(p->log, walk_bucket(from), &position, &bytes), ENTRY_BYTES, from));
    assert_int_equal(bytes, ENTRY_BYTES);
    if (step - walk->tail < 300)
        return;
    assert_int_equal(pst_state_log_trim(p->log, walk_bucket(walk->tail + 3), walk->position[walk->tail + 3]), PST_OK);
    walk->tail++; /* that of the next step's bucket */
}

static void walk_end(struct paged *p, const struct walk *walk)
{
    uint32_t bytes;
    for (uint32_t key = 0; key < WALK_KEYS; key++)
        if (walk->round[key] != 0)
            assert_int_equal(change(p, key, BUCKETS, walk->round[key], 1), PST_OK);
    for (uint32_t i = walk->tail; i < WALK_STEPS; i++) {
        uint64_t position = walk->position[i];
        assert_true(entry_is(pst_state_log_read(p->log, walk_bucket(i), &position, &bytes), ENTRY_BYTES, i));
    }
    assert_int_equal(pst_state_end(p->state), PST_OK);
}

static void walk_in(struct pst_pool *pool, pst_evict evict)
{
    struct walk *walk = calloc(1, sizeof *walk);
    const int64_t after[] = {20, 100};
    struct paged p;
    paged_open(&p, pool, evict, true);
    assert_int_equal(pst_state_log_wanted(p.log, after, 2, 0), PST_OK);
    for (uint32_t step = 0; step < WALK_STEPS; step++) {
        pst_state_begin(p.state, step);
        walk_records(&p, walk);
        assert_true(pages_inside(&p) <= WALK_POOL);
        walk_entries(&p, walk, step);
        assert_true(pages_inside(&p) <= WALK_POOL);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    walk_end(&p, walk);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    struct pst_paging_counts counts = counts_of(&p);
    assert_true(counts.pages_in_max == WALK_POOL && counts.pages > 5 * WALK_POOL);
    assert_true(counts.page_ins > WALK_STEPS && counts.page_outs > WALK_STEPS);
    assert_int_equal(pst_state_error(p.state, NULL), PST_OK);
    free(walk);
    paged_close(&p);
    pool_free(pool);
}

static void walk_with(pst_evict evict) { walk_in(pool_new(WALK_POOL), evict); }

static void by_event_time_a_state_stays_within_its_pool_and_loses_nothing(void **unused)
{
    (void)unused;
    walk_with(PST_EVICT_EVENT_TIME);
}

static void by_lru_a_state_stays_within_its_pool_and_loses_nothing(void **unused)
{
    (void)unused;
    walk_with(PST_EVICT_LRU);
}

static void by_clock_a_state_stays_within_its_pool_and_loses_nothing(void **unused)
{
    (void)unused;
    walk_with(PST_EVICT_CLOCK);
}

static void at_random_a_state_stays_within_its_pool_and_loses_nothing(void **unused)
{
    (void)unused;
    walk_with(PST_EVICT_RANDOM);
}

static void where_memory_is_dear_a_state_stays_within_its_pool_and_loses_nothing(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    pst_pool_dear(pool, 6 * PST_PAGE_BYTES);
    walk_in(pool, PST_EVICT_EVENT_TIME);
}

/* Pages leave before a pool is full where others have not got their own yet: by then it has to be known which ones. */
static void what_is_kept_for_others_counts_as_full(void **unused)
{
    (void)unused;
    enum { POOL = 16 };
    struct pst_pool *pool = pool_new(POOL);
    uint8_t *pages[POOL / 2];
    bool none;
    pst_pool_own(pool, 0, 0, POOL / 2 - 1);
    assert_false(pst_pool_is_half_full(pool));
    pst_pool_own(pool, 0, POOL / 2 - 1, POOL / 2);
    assert_true(pst_pool_is_half_full(pool));
    pst_pool_own(pool, 0, POOL / 2, 0);
    for (uint32_t i = 0; i < POOL / 2; i++) {
        assert_false(pst_pool_is_half_full(pool));
        assert_non_null(pages[i] = pst_pool_take(pool, false, 0, POOL_FAIR, &none));
    }
    assert_true(pst_pool_is_half_full(pool));
    for (uint32_t i = 0; i < POOL / 2; i++)
        pst_pool_give(pool, false, pages[i]);
    pst_pool_free(pool);
}

/* Pages of a table are wanted one after the other, round after round. */
static void dear_memory_is_taken_when_pages_have_come_back_for_what_it_costs(void **unused)
{
    (void)unused;
    enum { POOL = 64, FIRST = 12, PAGES = 40, ROUNDS = 32 };
    struct pst_pool *pool = pool_new(POOL);
    struct paged p;
    pst_pool_dear(pool, FIRST * PST_PAGE_BYTES);
    paged_open(&p, pool, PST_EVICT_EVENT_TIME, false);
    fill(&p, PAGES * PER_PAGE, 1);
    struct pst_paging_counts counts = counts_of(&p);
    assert_true(counts.pages == PAGES && counts.pages_in_max <= FIRST + counts.page_ins / PST_DEAR_PAGE_INS);
    for (uint32_t round = 1; round < ROUNDS; round++)
        for (uint32_t key = 0; key < PAGES * PER_PAGE; key++) {
            assert_int_equal(change(&p, key, 1, round, round + 1), PST_OK);
            counts = counts_of(&p);
            assert_true(counts.pages_in_max <= FIRST + counts.page_ins / PST_DEAR_PAGE_INS);
        }
    assert_int_equal(pages_inside(&p), PAGES); /* all of them in the end, and no dearer than twice what they cost */
    assert_in_range(counts.page_ins, (PAGES - FIRST) * PST_DEAR_PAGE_INS - PAGES,
                    (PAGES - FIRST) * PST_DEAR_PAGE_INS + PAGES);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

static void every_policy_has_a_name_and_the_list_ends(void **unused)
{
    (void)unused;
    for (int evict = PST_EVICT_EVENT_TIME; evict <= PST_EVICT_RANDOM; evict++)
        assert_non_null(pst_evict_names[evict]);
    assert_string_equal(pst_evict_names[PST_EVICT_EVENT_TIME], "event-time");
    assert_string_equal(pst_evict_names[PST_EVICT_RANDOM], "random");
    assert_null(pst_evict_names[PST_EVICT_RANDOM + 1]);
}

static void without_a_pool_there_is_no_error_and_nothing_is_counted(void **unused)
{
    (void)unused;
    struct paged p = {.state = pst_state_new(BUCKETS, UINT64_MAX)};
    p.table = pst_state_table_open(p.state, "t", 4, RECORD_BYTES);
    pst_state_begin(p.state, 1);
    fill(&p, 2 * BUCKETS, BUCKETS);
    struct pst_paging_counts counts = counts_of(&p), expected = {.pages = BUCKETS, .lookups = 2 * (uint64_t)BUCKETS};
    assert_int_equal(pst_state_error(p.state, NULL), PST_OK);
    assert_memory_equal(&counts, &expected, sizeof counts);
    pst_state_free(p.state);
}

static void look_ups_are_those_of_records_and_entries(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    uint32_t key = 3, bytes;
    uint64_t hash = pst_hash(&(struct pst_hash_key){0, 0}, &key, sizeof key), position;
    void *records[10];
    paged_open(&p, pool, PST_EVICT_LRU, false);
    assert_int_equal(upsert(&p, 0, 10, BUCKETS, records), PST_OK);
    assert_int_equal(counts_of(&p).lookups, 10);
    assert_int_equal(pst_state_table_find(p.table, key, hash, &key), 0);
    assert_non_null(pst_state_table_record(p.table, key, 0));
    assert_int_equal(append(&p, 0, ENTRY_BYTES, 0, &position), PST_OK);
    assert_non_null(pst_state_log_read(p.log, 0, &position, &bytes));
    assert_int_equal(counts_of(&p).lookups, 13);
    assert_int_equal(pst_state_end(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

/* ---- what lies outside ---- */

static void what_lies_outside_is_not_the_clear_text(void **unused)
{
    (void)unused;
    static const char marker[] = "this must stay inside";
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    uint64_t position;
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    p.outside->marker = marker;
    p.outside->marker_bytes = sizeof marker - 1;
    for (uint32_t i = 0; i < 500; i++) {
        void *record = NULL, *space = NULL;
        assert_int_equal(upsert(&p, i, 1, BUCKETS, &record), PST_OK);
        memcpy(record, marker, sizeof marker);
        assert_int_equal(pst_state_log_append(p.log, i % 2, ENTRY_BYTES, &space, &position), PST_OK);
        memcpy(space, marker, sizeof marker);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    struct pst_paging_counts counts = counts_of(&p);
    assert_true(counts.page_outs > 200 && counts.page_outs == p.outside->puts &&
                counts.bytes_sealed > 200 * RECORD_BYTES);
    assert_true(counts.page_ins == p.outside->gets && counts.bytes_opened > counts.page_ins * RECORD_BYTES);
    paged_close(&p);
    pool_free(pool);
}

/* ---- G2 ---- */

enum { VICTIM_BUCKET = 5, TAMPER_KEYS = 2 * PER_PAGE * BUCKETS / 2, TAMPER_SPREAD = BUCKETS / 2 };

static struct piece *piece_at(struct paged *p, const struct pst_seal_place *place)
{
    assert_true(page_is_outside(p, place));
    return piece_of(p->outside, pst_slot_of(page_word(p, place)));
}

/* Reads what is elsewhere until the page is outside. */
static void page_push_out(struct paged *p, const struct pst_seal_place *place)
{
    uint32_t key = 0;
    for (uint32_t i = 0; i < 4 * TAMPER_KEYS && !page_is_outside(p, place); i++, key = (key + 1) % TAMPER_KEYS)
        if (key % TAMPER_SPREAD != place->bucket)
            assert_int_equal(change(p, key, TAMPER_SPREAD, 1, 1), PST_OK);
    assert_true(page_is_outside(p, place));
}

/* Three kinds of pages: the first of a table's bucket, another one, and the last of a log's. */
enum { TAMPER_FIRST, TAMPER_NEXT, TAMPER_LOG, TAMPER_PAGES };

static struct pst_seal_place tamper_place(uint32_t page)
{
    struct pst_seal_place place = {.bucket = VICTIM_BUCKET, .structure = page == TAMPER_LOG};
    place.number = page == TAMPER_NEXT ? PER_PAGE : page == TAMPER_LOG ? PST_PAGE_BYTES : 0;
    return place;
}

/* Two pages in each bucket of the table, and two in two buckets of the log; all that is tampered with is outside. */
static void tamper_open(struct paged *p, struct pst_pool *pool)
{
    uint64_t position;
    paged_open(p, pool, PST_EVICT_CLOCK, false);
    for (uint32_t i = 0; i < 2 * ENTRIES_PER_PAGE; i++)
        for (uint32_t bucket = VICTIM_BUCKET; bucket < VICTIM_BUCKET + 2; bucket++)
            assert_int_equal(append(p, bucket, ENTRY_BYTES, i, &position), PST_OK);
    assert_int_equal(append(p, 0, ENTRY_BYTES, 0, &position), PST_OK); /* G3: of a log the last page stays */
    fill(p, TAMPER_KEYS, TAMPER_SPREAD);
    for (uint32_t page = 0; page < TAMPER_PAGES; page++) {
        struct pst_seal_place place = tamper_place(page);
        page_push_out(p, &place);
    }
}

/* The callback that meets it. */
static void tamper_meet(struct paged *p, uint32_t page)
{
    uint64_t position = 0;
    uint32_t bytes = 0;
    pst_state_begin(p->state, 1);
    if (page == TAMPER_LOG) {
        position = PST_PAGE_BYTES + PST_PAGE_HEADER_BYTES;
        assert_null(pst_state_log_read(p->log, VICTIM_BUCKET, &position, &bytes));
        return;
    }
    void *record = pst_state_table_record(p->table, VICTIM_BUCKET, page == TAMPER_NEXT ? PER_PAGE : 0);
    assert_true(is_zero(record, RECORD_BYTES));
    memset(record, 0xFF, RECORD_BYTES); /* a callback need not ask */
    record = pst_state_table_record(p->table, VICTIM_BUCKET, page == TAMPER_NEXT ? PER_PAGE : 0);
    assert_true(is_zero(record, RECORD_BYTES));
}

/* What a callback that does not ask goes on to do has no more meaning, but harms nobody. */
static void all_calls_go_on(struct paged *p)
{
    uint64_t position = pst_state_log_tail(p->log, VICTIM_BUCKET);
    uint32_t bytes;
    void *records[64];
    for (uint32_t key = 0; key < TAMPER_KEYS; key += 64)
        (void)upsert(p, key, 64, TAMPER_SPREAD, records);
    for (uint32_t key = TAMPER_KEYS; key < TAMPER_KEYS + 512; key += 64)
        (void)upsert(p, key, 64, TAMPER_SPREAD, records);
    for (uint32_t bucket = 0; bucket < TAMPER_SPREAD; bucket++) {
        if (pst_state_table_count(p->table, bucket) != 0)
            (void)pst_state_table_key(p->table, bucket, 0);
        (void)pst_state_table_remove(p->table, bucket, 0);
        (void)append(p, bucket, ENTRY_BYTES, 0, &position);
        position = pst_state_log_tail(p->log, bucket);
        (void)pst_state_log_read(p->log, bucket, &position, &bytes);
        (void)pst_state_digest(p->state, bucket);
        (void)pst_state_log_trim(p->log, bucket, pst_state_log_head(p->log, bucket));
    }
    pst_state_begin(p->state, 100);
}

static void error_stays(struct paged *p, int error)
{
    struct pst_image image;
    all_calls_go_on(p);
    assert_int_equal(pst_state_end(p->state), error);
    assert_int_equal(pst_state_image(p->state, 0, &image), error);
    assert_int_equal(pst_state_error(p->state, NULL), error);
}

static int page_seen(void *argument, const struct pst_page_header *page)
{
    (void)argument;
    assert_int_equal(page->magic, PST_PAGE_MAGIC);
    return PST_OK;
}

static void tamper_refused(struct paged *p, uint32_t page)
{
    struct pst_seal_place expected = tamper_place(page), place = {0};
    uint64_t position;
    void *record;
    expected.version = piece_at(p, &expected)->version;
    assert_int_equal(change(p, VICTIM_BUCKET + 2, TAMPER_SPREAD, 1, 1), PST_OK);
    tamper_meet(p, page);
    assert_int_equal(upsert(p, VICTIM_BUCKET + 2, 1, TAMPER_SPREAD, &record), PST_EREFUSED); /* though it is there */
    assert_int_equal(append(p, VICTIM_BUCKET, 8, 0, &position), PST_EREFUSED);
    assert_int_equal(pst_state_end(p->state), PST_EREFUSED);
    assert_int_equal(pst_state_error(p->state, &place), PST_EREFUSED);
    assert_int_equal(place.bucket, expected.bucket);
    assert_int_equal(place.structure, expected.structure);
    assert_int_equal(place.kind, page == TAMPER_LOG ? PST_PAGE_LOG : PST_PAGE_RECORDS);
    assert_int_equal(place.number, expected.number);
    assert_int_equal(place.version, expected.version);
    assert_int_equal(pst_state_pages(p->state, VICTIM_BUCKET, page_seen, NULL), PST_EREFUSED);
    error_stays(p, PST_EREFUSED);
}

typedef void (*tamper)(struct paged *p, uint32_t page, uint32_t variant);

static void tamper_all(tamper harm, uint32_t variants)
{
    for (uint32_t page = 0; page < TAMPER_PAGES; page++)
        for (uint32_t variant = 0; variant < variants; variant++) {
            struct pst_pool *pool = pool_new(PAGES_MIN);
            struct paged p;
            tamper_open(&p, pool);
            harm(&p, page, variant);
            tamper_refused(&p, page);
            paged_close(&p);
            pool_free(pool);
        }
}

/* A bit of the header's place, of its page's version, of the first and last cipher text, of the tag. */
static void harm_bit(struct paged *p, uint32_t page, uint32_t variant)
{
    struct pst_seal_place place = tamper_place(page);
    struct piece *piece = piece_at(p, &place);
    const uint32_t at[] = {16, 24, PST_SEAL_HEADER_BYTES, piece->byte_count - PST_SEAL_TAG_BYTES - 1,
                           piece->byte_count - 1};
    piece->bytes[at[variant]] ^= 0x10;
}

static void a_page_with_a_bit_changed_is_refused(void **unused)
{
    (void)unused;
    tamper_all(harm_bit, 5);
}

/* The page leaves twice; what was put there first is put back. */
static void harm_replay(struct paged *p, uint32_t page, uint32_t variant)
{
    (void)variant;
    uint64_t position;
    struct pst_seal_place place = tamper_place(page);
    struct piece *piece = piece_at(p, &place), old = *piece;
    old.bytes = malloc(old.byte_count);
    memcpy(old.bytes, piece->bytes, old.byte_count);
    if (page == TAMPER_LOG) {
        assert_int_equal(append(p, VICTIM_BUCKET, 8, 0, &position), PST_OK);
        assert_int_equal(append(p, 0, 8, 0, &position), PST_OK);
    } else {
        words_fill(pst_state_table_record(p->table, VICTIM_BUCKET, page == TAMPER_NEXT ? PER_PAGE : 0), RECORD_WORDS, 1,
                   1);
    }
    assert_int_equal(pst_state_end(p->state), PST_OK);
    page_push_out(p, &place);
    assert_ptr_equal(piece_at(p, &place), piece);
    assert_true(piece->version > old.version && piece->byte_count == old.byte_count); /* or its size alone would tell */
    memcpy(piece->bytes, old.bytes, old.byte_count);
    free(old.bytes);
}

static void an_older_version_of_a_page_is_refused(void **unused)
{
    (void)unused;
    tamper_all(harm_replay, 1);
}

/* With the other page of its bucket, with the like page of another bucket. */
static void harm_exchange(struct paged *p, uint32_t page, uint32_t variant)
{
    struct pst_seal_place place = tamper_place(page), other = place;
    other.bucket += variant == 1;
    if (variant == 0)
        other.number = page == TAMPER_FIRST ? PER_PAGE : 0;
    page_push_out(p, &other);
    struct piece *one = piece_at(p, &place), *two = piece_at(p, &other);
    assert_int_equal(one->byte_count, two->byte_count);
    uint8_t *bytes = one->bytes;
    one->bytes = two->bytes;
    two->bytes = bytes;
}

static void a_page_in_the_place_of_another_is_refused(void **unused)
{
    (void)unused;
    tamper_all(harm_exchange, 2);
}

/* The file ends too early: what is missing reads as zeros. */
static void harm_cut(struct paged *p, uint32_t page, uint32_t variant)
{
    struct pst_seal_place place = tamper_place(page);
    struct piece *piece = piece_at(p, &place);
    const uint32_t left[] = {0, PST_SEAL_HEADER_BYTES, piece->byte_count / 2, piece->byte_count - 4};
    memset(piece->bytes + left[variant], 0, piece->byte_count - left[variant]);
}

static void a_page_cut_short_is_refused(void **unused)
{
    (void)unused;
    tamper_all(harm_cut, 4);
}

/* Bytes 4 and 5 of a sealed piece are the version of its format. */
static void harm_format(struct paged *p, uint32_t page, uint32_t variant)
{
    struct pst_seal_place place = tamper_place(page);
    piece_at(p, &place)->bytes[4 + variant] ^= 0x10;
}

static void a_page_of_a_format_to_come_is_refused(void **unused)
{
    (void)unused;
    tamper_all(harm_format, 2);
}

/* ---- an outside that fails ---- */

/* Changes and reads everywhere, until something fails. */
static int work(struct paged *p, uint32_t steps)
{
    int rc = PST_OK;
    uint64_t position;
    for (uint32_t i = 0; i < steps && rc == PST_OK; i++) {
        pst_state_begin(p->state, i);
        rc = append(p, i % 3, PAGE_ENTRY_BYTES, i, &position);
        if (rc == PST_OK)
            rc = change(p, i * 7 % TAMPER_KEYS, TAMPER_SPREAD, i < TAMPER_KEYS ? 0 : 1, 1);
    }
    return rc;
}

static void outside_fails(int error, uint64_t put_fails_at, uint64_t get_fails_at)
{
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    paged_open(&p, pool, PST_EVICT_EVENT_TIME, true);
    p.outside->error = error;
    p.outside->put_fails_at = put_fails_at;
    p.outside->get_fails_at = get_fails_at;
    assert_int_equal(work(&p, TAMPER_KEYS + 100), error);
    assert_int_equal(pst_state_error(p.state, NULL), error);
    assert_int_equal(pst_state_end(p.state), error);
    error_stays(&p, error);
    paged_close(&p);
    pool_free(pool);
}

static void an_error_of_put_is_the_states(void **unused)
{
    (void)unused;
    static const int errors[] = {PST_EIO, PST_ENOMEM, PST_EFULL};
    static const uint64_t at[] = {1, 2, 40, 130};
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t k = 0; k < 4; k++)
            outside_fails(errors[i], at[k], 0);
}

static void an_error_of_get_is_the_states(void **unused)
{
    (void)unused;
    static const int errors[] = {PST_EIO, PST_ENOMEM, PST_EFULL};
    static const uint64_t at[] = {1, 2, 40, 130};
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t k = 0; k < 4; k++)
            outside_fails(errors[i], 0, at[k]);
}

static void the_first_error_is_the_one_that_counts(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct pst_seal_place place = {0};
    struct paged p;
    void *records[PAGES_MIN + 4];
    tamper_open(&p, pool);
    assert_int_equal(upsert(&p, TAMPER_SPREAD - PAGES_MIN - 4, PAGES_MIN + 4, TAMPER_SPREAD, records), PST_OK);
    assert_true(pages_inside(&p) > PAGES_MIN); /* this will be PST_EFULL, or would have been */
    p.outside->error = PST_EIO;
    p.outside->get_fails_at = p.outside->gets + 1;
    harm_bit(&p, TAMPER_FIRST, 0);
    tamper_meet(&p, TAMPER_NEXT);
    (void)pst_state_table_record(p.table, VICTIM_BUCKET, 0);
    assert_int_equal(pst_state_end(p.state), PST_EIO);
    assert_int_equal(pst_state_error(p.state, &place), PST_EIO);
    assert_int_equal(place.bucket, VICTIM_BUCKET);
    assert_int_equal(place.number, PER_PAGE);
    paged_close(&p);
    pool_free(pool);
}

/* ---- EFULL ---- */

enum { WIDE = 40 };

/* What one callback may want of a state that has been filled with fill(4 * PER_PAGE * WIDE, WIDE). Returns its own error. */
typedef int (*callback)(struct paged *p);

static int touch_many_buckets(struct paged *p)
{
    void *records[WIDE];
    return upsert(p, 0, WIDE, WIDE, records);
}

static int make_in_many_buckets(struct paged *p)
{
    void *records[WIDE];
    return upsert(p, 4 * PER_PAGE * WIDE, WIDE, WIDE, records);
}

static int touch_a_deep_bucket(struct paged *p)
{
    for (uint32_t b = 0; b < WIDE / 4; b++)
        for (uint32_t page = 0; page < 4; page++)
            (void)pst_state_table_record(p->table, b, page * PER_PAGE);
    return PST_OK;
}

/* Keys of one bucket alone, as many as fill that many pages. */
static int make_pages(struct paged *p, uint32_t pages)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < pages * PER_PAGE && rc == PST_OK; i++) {
        void *record;
        rc = upsert(p, 1000000 + i * WIDE, 1, WIDE, &record);
    }
    return rc;
}

static int make_a_deep_bucket(struct paged *p) { return make_pages(p, WIDE); }

static int touch_beside_a_log(struct paged *p)
{
    uint64_t position;
    uint32_t bytes;
    void *record;
    int rc = PST_OK;
    for (uint32_t i = 0; i < WIDE && rc == PST_OK; i++) {
        position = pst_state_log_tail(p->log, i % 4);
        assert_true(entry_is(pst_state_log_read(p->log, i % 4, &position, &bytes), PAGE_ENTRY_BYTES, i % 4));
        rc = upsert(p, i, 1, WIDE, &record);
    }
    return rc;
}

static int once(callback call, uint64_t pool_bytes, uint64_t *ret_least)
{
    struct pst_pool *pool = pst_pool_new(pool_bytes);
    struct paged p;
    uint64_t position;
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    fill(&p, 4 * PER_PAGE * WIDE, WIDE);
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(append(&p, i % 4, PAGE_ENTRY_BYTES, i, &position), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    assert_int_equal(call(&p), PST_OK); /* it goes on, so that it is known what it needs */
    int rc = pst_state_end(p.state);
    *ret_least = pst_pool_least(pool);
    assert_int_equal(pst_state_error(p.state, NULL), rc);
    if (rc == PST_OK)
        assert_true(pages_inside(&p) <= pool_bytes / PST_PAGE_BYTES);
    paged_close(&p);
    pool_free(pool);
    return rc;
}

static void full_and_then_enough(callback call)
{
    uint64_t least = 0, again = 0;
    assert_int_equal(once(call, PAGES_MIN * PST_PAGE_BYTES, &least), PST_EFULL);
    assert_true(least > WIDE * PST_PAGE_BYTES && least < 2 * WIDE * PST_PAGE_BYTES);
    assert_int_equal(once(call, least, &again), PST_OK);
    assert_true(again <= least);
}

static void where_one_call_needs_too_many_buckets_the_least_budget_is_named(void **unused)
{
    (void)unused;
    full_and_then_enough(touch_many_buckets);
    full_and_then_enough(make_in_many_buckets);
}

static void where_one_bucket_is_too_deep_the_least_budget_is_named(void **unused)
{
    (void)unused;
    full_and_then_enough(touch_a_deep_bucket);
}

static void where_one_callback_makes_too_many_pages_the_least_budget_is_named(void **unused)
{
    (void)unused;
    full_and_then_enough(make_a_deep_bucket);
}

static void where_a_log_is_read_beside_a_table_the_least_budget_is_named(void **unused)
{
    (void)unused;
    full_and_then_enough(touch_beside_a_log);
}

static void a_pool_of_the_least_a_state_needs_is_enough_for_fewer(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    void *records[PAGES_MIN];
    paged_open(&p, pool, PST_EVICT_LRU, false);
    fill(&p, 2 * PER_PAGE * WIDE, WIDE);
    assert_int_equal(upsert(&p, 3, PAGES_MIN, WIDE, records), PST_OK); /* every page there is */
    assert_int_equal(pst_state_end(p.state), PST_OK);
    assert_int_equal(upsert(&p, 4, PAGES_MIN, WIDE, records), PST_OK);
    assert_int_equal(pst_state_end(p.state), PST_OK);
    assert_int_equal(counts_of(&p).pages_in_max, PAGES_MIN);
    assert_int_equal(upsert(&p, 5, PAGES_MIN, WIDE, records), PST_OK);
    assert_int_equal(upsert(&p, 5 + PAGES_MIN, 1, WIDE, records), PST_OK); /* and one */
    assert_int_equal(pst_state_end(p.state), PST_EFULL);
    paged_close(&p);
    pool_free(pool);
}

/* ---- G3 ---- */

enum { HELD = 30 };

static void pointers_stay(pst_evict evict)
{
    struct pst_pool *pool = pool_new(HELD + 6);
    struct paged p;
    void *records[HELD], *space;
    uint64_t position;
    paged_open(&p, pool, evict, false);
    fill(&p, 3 * PER_PAGE * HELD, HELD);
    for (uint32_t round = 1, first = 0; round < 20; round++, first = (first + 7) % HELD) {
        const uint32_t number = 2 * PER_PAGE; /* the third page of each */
        pst_state_begin(p.state, round);
        assert_int_equal(upsert(&p, number * HELD, HELD, HELD, records), PST_OK);
        for (uint32_t i = 0; i < HELD; i++) {
            assert_true(record_is(records[i], number * HELD + i, round));
            assert_int_equal(append(&p, i % 4, PAGE_ENTRY_BYTES, i, &position), PST_OK); /* others come and go */
            words_fill(records[i], RECORD_WORDS, number * HELD + i, round + 1);
        }
        for (uint32_t i = 0; i < HELD; i++) {
            assert_true(record_is(records[i], number * HELD + i, round + 1));
            assert_ptr_equal(pst_state_table_record(p.table, i, number), records[i]);
        }
        assert_int_equal(pst_state_end(p.state), PST_OK);
        for (uint32_t i = 0; i < HELD; i++)
            assert_int_equal(change(&p, first * PER_PAGE + i, HELD, 1, 1), PST_OK);
    }
    assert_int_equal(pst_state_log_append(p.log, 0, 8, &space, &position), PST_OK);
    assert_true(counts_of(&p).page_outs > 20 * HELD);
    paged_close(&p);
    pool_free(pool);
}

static void pointers_of_one_upsert_stay_until_the_callback_ends(void **unused)
{
    (void)unused;
    for (int evict = PST_EVICT_EVENT_TIME; evict <= PST_EVICT_RANDOM; evict++)
        pointers_stay((pst_evict)evict);
}

static void first_pages_stay(pst_evict evict)
{
    struct pst_pool *pool = pool_new(HELD + 6);
    struct paged p;
    void *records[HELD], *other;
    paged_open(&p, pool, evict, false);
    fill(&p, 4 * PER_PAGE * HELD, HELD);
    for (uint32_t round = 1; round < 10; round++) {
        assert_int_equal(upsert(&p, 0, HELD, HELD, records), PST_OK);
        for (uint32_t i = 0; i < HELD; i++) {
            assert_true(record_is(records[i], i, round));
            words_fill(records[i], RECORD_WORDS, i, round + 1);
        }
        for (uint32_t page = 1; page < 4; page++)
            assert_int_equal(upsert(&p, page * PER_PAGE * HELD + round, 1, HELD, &other), PST_OK);
        for (uint32_t i = 0; i < HELD; i++)
            assert_ptr_equal(pst_state_table_record(p.table, i, 0), records[i]);
        assert_int_equal(pst_state_end(p.state), PST_OK);
        for (uint32_t i = 0; i < 2 * HELD; i++)
            assert_int_equal(change(&p, 2 * PER_PAGE * HELD + i, HELD, 1, 1), PST_OK);
    }
    paged_close(&p);
    pool_free(pool);
}

static void pointers_into_first_pages_stay_until_the_callback_ends(void **unused)
{
    (void)unused;
    for (int evict = PST_EVICT_EVENT_TIME; evict <= PST_EVICT_RANDOM; evict++)
        first_pages_stay((pst_evict)evict);
}

static void entry_stays(pst_evict evict)
{
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    const int64_t after[] = {10, 1000};
    uint64_t position[40];
    void *record;
    uint32_t bytes;
    paged_open(&p, pool, evict, false);
    assert_int_equal(pst_state_log_wanted(p.log, after, 2, 0), PST_OK);
    fill(&p, 2 * PER_PAGE * HELD, HELD);
    for (uint32_t i = 0; i < 40; i++) {
        pst_state_begin(p.state, i);
        assert_int_equal(append(&p, 0, PAGE_ENTRY_BYTES, i, &position[i]), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    for (uint32_t i = 0; i < 40; i++) {
        pst_state_begin(p.state, 100 + i);
        const void *entry = pst_state_log_read(p.log, 0, &position[i], &bytes);
        for (uint32_t key = 0; key < 14; key++) /* all frames but one and the last page's */
            assert_int_equal(upsert(&p, (i + key) % HELD, 1, HELD, &record), PST_OK);
        assert_true(entry_is(entry, PAGE_ENTRY_BYTES, i));
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    paged_close(&p);
    pool_free(pool);
}

static void an_entry_stays_until_the_next_one_of_its_log_is_asked_for(void **unused)
{
    (void)unused;
    for (int evict = PST_EVICT_EVENT_TIME; evict <= PST_EVICT_RANDOM; evict++)
        entry_stays((pst_evict)evict);
}

static void what_was_released_may_leave_before_the_callback_ends(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    void *records[PAGES_MIN - 2];
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    fill(&p, 2 * PER_PAGE * HELD, HELD);
    for (uint32_t i = 0; i < 30; i++) {
        uint32_t first = i * (PAGES_MIN - 2);
        assert_int_equal(upsert(&p, first, PAGES_MIN - 2, HELD, records), PST_OK);
        for (uint32_t k = 0; k < PAGES_MIN - 2; k++) {
            assert_true(record_is(records[k], first + k, 1));
            words_fill(records[k], RECORD_WORDS, first + k, 2);
        }
        assert_true(pages_inside(&p) <= PAGES_MIN);
        pst_state_release(p.state);
    }
    assert_int_equal(pst_state_end(p.state), PST_OK);
    assert_int_equal(counts_of(&p).need_pages, PAGES_MIN); /* and one for each structure */
    for (uint32_t key = 0; key < 30 * (PAGES_MIN - 2); key++)
        assert_int_equal(change(&p, key, HELD, 2, 3), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

/* ---- G4 ---- */

static void a_page_that_died_inside_is_not_sealed(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    uint64_t position[200];
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(append(&p, 0, PAGE_ENTRY_BYTES, i, &position[i]), PST_OK);
        if (i >= 10)
            assert_int_equal(pst_state_log_trim(p.log, 0, position[i - 9]), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    struct pst_paging_counts counts = counts_of(&p);
    assert_int_equal(counts.dead_inside, 190);
    assert_int_equal(counts.pages, 10);
    assert_int_equal(counts.page_outs + counts.page_outs_clean + counts.dead_outside + counts.page_ins, 0);
    assert_int_equal(p.outside->puts, 0);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

static void a_page_that_died_outside_is_not_fetched_and_its_slot_serves_another(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    uint64_t position;
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 100; i++) {
            assert_int_equal(append(&p, i % 2, PAGE_ENTRY_BYTES, i, &position), PST_OK);
            assert_int_equal(pst_state_end(p.state), PST_OK);
        }
        struct find find = pages_find(&p);
        struct pst_paging_counts before = counts_of(&p);
        assert_int_equal(find.outside, 100 - PAGES_MIN);
        for (uint32_t bucket = 0; bucket < 2; bucket++)
            assert_int_equal(pst_state_log_trim(p.log, bucket, pst_state_log_head(p.log, bucket)), PST_OK);
        struct pst_paging_counts counts = counts_of(&p);
        assert_int_equal(counts.dead_outside - before.dead_outside, find.outside);
        assert_int_equal(counts.dead_inside - before.dead_inside, find.inside);
        assert_int_equal(counts.pages, 0);
        assert_int_equal(pst_state_check(p.state), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    assert_int_equal(counts_of(&p).page_ins + p.outside->gets, 0);
    assert_true(p.outside->slot_count <= 100);
    paged_close(&p);
    pool_free(pool);
}

static void a_page_of_records_that_were_removed_is_dead(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    fill(&p, 2 * PER_PAGE * HELD, HELD);
    for (uint32_t bucket = 0; bucket < HELD; bucket++)
        for (uint32_t left = 2 * PER_PAGE; left > 0; left--) {
            assert_int_equal(pst_state_table_remove(p.table, bucket, 0), PST_OK);
            assert_int_equal(pst_state_end(p.state), PST_OK);
        }
    struct pst_paging_counts counts = counts_of(&p);
    assert_int_equal(counts.pages, 0);
    assert_int_equal(counts.dead_inside, 2 * HELD);
    fill(&p, 2 * PER_PAGE * HELD, HELD); /* in what they have left: records are zero when they are made again */
    assert_int_equal(pst_state_check(p.state), PST_OK);
    assert_true(p.outside->slot_count <= 2 * HELD);
    paged_close(&p);
    pool_free(pool);
}

/* ---- clean pages ---- */

/* Reads every record and changes none. */
static void read_all(struct paged *p, uint32_t keys, uint32_t spread, uint32_t changed, uint32_t round)
{
    for (uint32_t key = 0; key < keys; key++) {
        const void *record = pst_table_peek(p->table, key % spread, key / spread);
        assert_true(record_is(record, key, key == changed ? round : 1));
        assert_int_equal(*(const uint32_t *)pst_state_table_key(p->table, key % spread, key / spread), key);
        assert_int_equal(pst_state_end(p->state), PST_OK);
    }
}

static void clean_pages(pst_evict evict)
{
    enum { KEYS = 2 * PER_PAGE * HELD, NOBODY = KEYS };
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    paged_open(&p, pool, evict, false);
    fill(&p, KEYS, HELD);
    for (uint32_t i = 0; i < (evict == PST_EVICT_RANDOM ? 8 : 1); i++) /* all that changed has left */
        read_all(&p, KEYS, HELD, NOBODY, 1);
    struct pst_paging_counts before = counts_of(&p);
    read_all(&p, KEYS, HELD, NOBODY, 1);
    struct pst_paging_counts counts = counts_of(&p);
    assert_int_equal(counts.page_outs, before.page_outs);
    assert_int_equal(p.outside->puts, counts.page_outs);
    assert_int_equal(counts.bytes_sealed, before.bytes_sealed);
    assert_true(counts.page_outs_clean - before.page_outs_clean >= counts.page_ins - before.page_ins);
    assert_true(counts.page_ins - before.page_ins > 2 * HELD);
    for (uint32_t round = 1; round < 4; round++) { /* one change is one seal */
        uint32_t key = (round % 2) * PER_PAGE * HELD;
        assert_int_equal(change(&p, key, HELD, 1, 7), PST_OK);
        read_all(&p, KEYS, HELD, key, 7);
        assert_int_equal(change(&p, key, HELD, 7, 1), PST_OK);
        read_all(&p, KEYS, HELD, NOBODY, 1);
        assert_int_equal(counts_of(&p).page_outs, before.page_outs + 2 * (uint64_t)round);
    }
    paged_close(&p);
    pool_free(pool);
}

static void a_page_that_did_not_change_leaves_without_a_seal(void **unused)
{
    (void)unused;
    clean_pages(PST_EVICT_EVENT_TIME);
    clean_pages(PST_EVICT_LRU);
    clean_pages(PST_EVICT_CLOCK);
}

static void a_page_of_a_log_that_did_not_change_leaves_without_a_seal(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    struct paged p;
    uint64_t position[100], ends[] = {0, 0, 0};
    uint32_t bytes;
    paged_open(&p, pool, PST_EVICT_CLOCK, false);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(append(&p, 0, PAGE_ENTRY_BYTES, i, &position[i]), PST_OK);
    for (uint32_t pass = 0; pass < 3; pass++) {
        for (uint32_t i = 0; i < 100; i++) {
            uint64_t at = position[i];
            assert_true(entry_is(pst_state_log_read(p.log, 0, &at, &bytes), PAGE_ENTRY_BYTES, i));
            assert_int_equal(pst_state_end(p.state), PST_OK);
        }
        ends[pass] = counts_of(&p).page_outs;
    }
    assert_int_equal(ends[0], 100);
    assert_int_equal(ends[2], 100);
    assert_true(counts_of(&p).page_outs_clean >= 200 && counts_of(&p).page_ins >= 200);
    paged_close(&p);
    pool_free(pool);
}

/* ---- event time ---- */

enum { TICKS = 600, TICK_ENTRIES = 5, SHORT = 10, LONG = 100, WINDOW_POOL = 18 };

static void window_read(struct paged *p, uint64_t *at, uint32_t *number)
{
    uint32_t bytes;
    for (uint32_t i = 0; i < TICK_ENTRIES; i++)
        assert_true(entry_is(pst_state_log_read(p->log, 0, at, &bytes), ENTRY_BYTES, (*number)++));
}

/* Two sliding windows over one log: what was appended is read again when it leaves the short one, and when it leaves the long
 * one, and is then dead. The short window lies in 12 or 13 pages. */
static struct pst_paging_counts windows(pst_evict evict, bool ahead, uint32_t *ret_ahead_max)
{
    struct pst_pool *pool = pool_new(WINDOW_POOL);
    const int64_t after[] = {SHORT, LONG};
    struct paged p;
    uint64_t position, at_short = 0, at_long = 0;
    uint32_t appended = 0, read_short = 0, read_long = 0;
    paged_open(&p, pool, evict, ahead);
    at_short = at_long = pst_state_log_tail(p.log, 0);
    assert_int_equal(pst_state_log_wanted(p.log, after, 2, 0), PST_OK);
    for (int64_t now = 0; now < TICKS; now++) {
        pst_state_begin(p.state, now);
        for (uint32_t i = 0; i < TICK_ENTRIES; i++)
            assert_int_equal(append(&p, 0, ENTRY_BYTES, appended++, &position), PST_OK);
        if (now >= SHORT)
            window_read(&p, &at_short, &read_short);
        if (now >= LONG)
            window_read(&p, &at_long, &read_long);
        assert_int_equal(pst_state_log_trim(p.log, 0, at_long), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    struct pst_paging_counts counts = counts_of(&p);
    assert_int_equal(counts.page_ins, p.outside->gets);
    *ret_ahead_max = p.outside->ahead_count_max;
    assert_true((p.outside->ahead_count > 0) == ahead);
    assert_int_equal(pst_state_log_trim(p.log, 0, pst_state_log_head(p.log, 0)), PST_OK);
    assert_int_equal(p.outside->ahead_count, 0); /* what is dead was forgotten */
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
    return counts;
}

static void event_time_knows_who_is_wanted_last(void **unused)
{
    (void)unused;
    struct pst_paging_counts counts[PST_EVICT_RANDOM + 1];
    uint32_t ahead_max;
    for (int evict = PST_EVICT_EVENT_TIME; evict <= PST_EVICT_RANDOM; evict++) {
        counts[evict] = windows((pst_evict)evict, false, &ahead_max);
        print_message("%-10s %5lu page-ins, %5lu page-outs\n", pst_evict_names[evict],
                      (unsigned long)counts[evict].page_ins, (unsigned long)counts[evict].page_outs);
        assert_int_equal(counts[evict].aheads + counts[evict].page_ins_ahead + ahead_max, 0);
    }
    uint64_t pages = (TICKS - LONG) * (uint64_t)TICK_ENTRIES / ENTRIES_PER_PAGE; /* that left the long window */
    const struct pst_paging_counts *by_time = &counts[PST_EVICT_EVENT_TIME];
    assert_true(by_time->page_ins >= pages - pages / 10 && by_time->page_ins <= pages + pages / 10);
    for (int evict = PST_EVICT_LRU; evict <= PST_EVICT_RANDOM; evict++)
        assert_true(by_time->page_ins * 3 <= counts[evict].page_ins * 2);
}

static void pages_are_asked_for_before_they_are_wanted(void **unused)
{
    (void)unused;
    uint32_t ahead_max;
    struct pst_paging_counts counts = windows(PST_EVICT_EVENT_TIME, true, &ahead_max);
    print_message("%lu page-ins, %lu of them ahead, %lu asked for\n", (unsigned long)counts.page_ins,
                  (unsigned long)counts.page_ins_ahead, (unsigned long)counts.aheads);
    assert_int_equal(ahead_max, PST_AHEAD_MAX);
    assert_true(counts.page_ins_ahead * 20 >= counts.page_ins * 19);
    assert_true(counts.aheads >= counts.page_ins_ahead &&
                counts.aheads <= counts.page_ins_ahead + counts.page_ins_ahead / 5);
}

/* Read again each `period` after the last reader: what is due next is what is in. */
static void a_log_that_is_read_again_and_again_is_asked_for_each_time(void **unused)
{
    (void)unused;
    enum { PAGES = 24, PERIOD = 50, ROUNDS = 10 };
    struct pst_pool *pool = pool_new(PAGES_MIN);
    const int64_t after[] = {PERIOD};
    struct paged p;
    uint64_t position[PAGES];
    uint32_t bytes;
    paged_open(&p, pool, PST_EVICT_EVENT_TIME, true);
    assert_int_equal(pst_state_log_wanted(p.log, after, 1, PERIOD), PST_OK);
    for (uint32_t i = 0; i < PAGES; i++) {
        pst_state_begin(p.state, i);
        assert_int_equal(append(&p, 0, PAGE_ENTRY_BYTES, i, &position[i]), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    for (uint32_t round = 1; round <= ROUNDS; round++)
        for (uint32_t i = 0; i < PAGES; i++) {
            uint64_t at = position[i];
            pst_state_begin(p.state, (int64_t)round * PERIOD + i);
            assert_true(entry_is(pst_state_log_read(p.log, 0, &at, &bytes), PAGE_ENTRY_BYTES, i));
            assert_int_equal(pst_state_end(p.state), PST_OK);
        }
    struct pst_paging_counts counts = counts_of(&p);
    assert_true(counts.page_ins >= ROUNDS * (PAGES - PAGES_MIN) && counts.page_ins <= ROUNDS * PAGES / 2);
    assert_int_equal(counts.page_ins_ahead, counts.page_ins);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

static void a_list_of_readers_that_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    const int64_t twice[] = {10, 10}, down[] = {100, 10}, negative[] = {-1, 10}, down_late[] = {1, 2, 3, 2};
    int64_t good[PST_LOG_READERS_MAX + 1];
    for (int64_t i = 0; i <= PST_LOG_READERS_MAX; i++)
        good[i] = i;
    assert_int_equal(pst_state_log_wanted(log, good, 0, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, good, PST_LOG_READERS_MAX + 1, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, good, 2, -1), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, twice, 2, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, down, 2, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, down_late, 4, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, negative, 2, 0), PST_EINVAL);
    assert_int_equal(pst_state_log_wanted(log, good, PST_LOG_READERS_MAX, 0), PST_OK);
    assert_int_equal(pst_state_log_wanted(log, down, 1, 7), PST_OK);
    pst_state_free(state);
}

static void readers_may_be_named_when_there_are_pages_already(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    const int64_t after[] = {50, 60};
    struct paged p;
    uint64_t position = 0;
    uint32_t bytes;
    paged_open(&p, pool, PST_EVICT_EVENT_TIME, true);
    for (uint32_t i = 0; i < 40; i++) {
        pst_state_begin(p.state, i);
        assert_int_equal(append(&p, 0, PAGE_ENTRY_BYTES, i, &position), PST_OK);
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    assert_int_equal(pst_state_log_wanted(p.log, after, 2, 0), PST_OK);
    for (uint32_t first = 25; first != UINT32_MAX; first = first == 25 ? 0 : UINT32_MAX) { /* those inside, then all */
        position = pst_state_log_tail(p.log, 0) + (uint64_t)first * PST_PAGE_BYTES;
        for (uint32_t i = first; i < 40; i++) {
            pst_state_begin(p.state, 40 + i);
            assert_true(entry_is(pst_state_log_read(p.log, 0, &position, &bytes), PAGE_ENTRY_BYTES, i));
            assert_int_equal(pst_state_end(p.state), PST_OK);
        }
    }
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

static void append_far_apart(struct paged *p, struct pst_log *other, uint32_t entries)
{
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -5, 0, INT64_MAX - 1, INT64_MAX};
    uint64_t position;
    void *space;
    for (uint32_t i = 0; i < entries; i++) {
        pst_state_begin(p->state, times[i * 6 / entries]);
        assert_int_equal(append(p, 0, PAGE_ENTRY_BYTES, i, &position), PST_OK);
        assert_int_equal(pst_state_log_append(other, 0, PAGE_ENTRY_BYTES, &space, &position), PST_OK);
        assert_int_equal(pst_state_end(p->state), PST_OK);
    }
}

static void event_time_may_be_as_far_apart_as_there_are_numbers(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(PAGES_MIN);
    const int64_t after[] = {1, INT64_MAX};
    struct paged p;
    uint64_t position = 0;
    uint32_t bytes;
    paged_open(&p, pool, PST_EVICT_EVENT_TIME, true);
    assert_int_equal(pst_state_log_wanted(p.log, after, 1, 3), PST_OK);
    struct pst_log *other = pst_state_log_open(p.state, "other");
    assert_int_equal(pst_state_log_wanted(other, after, 2, 0), PST_OK);
    append_far_apart(&p, other, 60);
    position = pst_state_log_tail(p.log, 0);
    for (uint32_t i = 0; i < 60; i++) {
        assert_true(entry_is(pst_state_log_read(p.log, 0, &position, &bytes), PAGE_ENTRY_BYTES, i));
        assert_int_equal(pst_state_end(p.state), PST_OK);
    }
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

/* ---- one pool for several ---- */

struct shared {
    struct pst_pool *pool;
    uint64_t pages; /* of the pool */
    uint32_t count;
    struct paged p[STATES_MAX];
};

static void shared_join(struct shared *shared, uint32_t pages_min)
{
    struct paged *p = &shared->p[shared->count++];
    paged_init(p);
    struct pst_paging paging = paging_of(p, shared->pool, PST_EVICT_EVENT_TIME, false);
    paging.pages_min = pages_min;
    paged_open_with(p, &paging);
}

static void shared_open(struct shared *shared, uint64_t pages, uint32_t count, uint32_t pages_min)
{
    *shared = (struct shared){.pool = pool_new(pages), .pages = pages};
    for (uint32_t i = 0; i < count; i++)
        shared_join(shared, pages_min);
}

static void shared_close(struct shared *shared)
{
    for (uint32_t i = 0; i < shared->count; i++)
        paged_close(&shared->p[i]);
    pool_free(shared->pool);
}

static void shared_check(struct shared *shared)
{
    uint64_t inside = 0;
    for (uint32_t i = 0; i < shared->count; i++)
        inside += pages_inside(&shared->p[i]);
    assert_true(inside <= shared->pages);
    assert_int_equal(atomic_load(&shared->pool->pages_used), inside);
}

static void shared_fill(struct shared *shared, uint32_t which, uint32_t pages)
{
    for (uint32_t page = 0; page < pages; page += BUCKETS) {
        for (uint32_t i = 0; i < PER_PAGE * BUCKETS; i++)
            assert_int_equal(change(&shared->p[which], page * PER_PAGE + i, BUCKETS, 0, 1), PST_OK);
        shared_check(shared);
    }
}

/* A callback that changes a record in each of so many pages. */
static int shared_touch(struct shared *shared, uint32_t which, uint32_t pages, uint32_t first)
{
    struct paged *p = &shared->p[which];
    void *records[BUCKETS];
    int rc = upsert(p, first, pages, BUCKETS, records);
    for (uint32_t i = 0; i < pages && rc == PST_OK; i++)
        assert_true(record_is(records[i], first + i, 1));
    if (rc == PST_OK)
        assert_true(pages_inside(p) >= pages);
    int ended = pst_state_end(p->state);
    return rc != PST_OK ? rc : ended;
}

static void least_is_there(uint64_t pages, uint32_t count)
{
    enum { LEAST = PAGES_MIN - 1 };
    struct shared shared;
    shared_open(&shared, pages, count, PAGES_MIN);
    shared_fill(&shared, 0, 4 * BUCKETS);
    for (uint32_t i = 1; i < count; i++)
        shared_fill(&shared, i, BUCKETS);
    for (uint32_t round = 0; round < 10; round++)
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(shared_touch(&shared, i, LEAST, round * 4 % (BUCKETS - LEAST)), PST_OK);
            assert_true(pages_inside(&shared.p[i]) >= LEAST);
            shared_check(&shared);
        }
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(pst_state_check(shared.p[i].state), PST_OK);
    shared_close(&shared);
}

static void of_two_states_each_always_has_its_least(void **unused)
{
    (void)unused;
    least_is_there(2 * PAGES_MIN, 2);
    least_is_there(2 * PAGES_MIN + 7, 2);
}

static void of_three_states_each_always_has_its_least(void **unused)
{
    (void)unused;
    least_is_there(3 * PAGES_MIN, 3);
    least_is_there(3 * PAGES_MIN + 20, 3);
}

static void who_grows_late_gets_a_fair_share(void **unused)
{
    (void)unused;
    enum { POOL = 96, PAGES = 4 * BUCKETS };
    struct shared shared;
    shared_open(&shared, POOL, 2, PAGES_MIN);
    shared_fill(&shared, 0, PAGES);
    assert_true(pages_inside(&shared.p[0]) >= POOL - PAGES_MIN); /* all but what the other one is sure of */
    for (uint32_t key = 0; key < PAGES * PER_PAGE; key++) {
        assert_int_equal(change(&shared.p[1], key, BUCKETS, 0, 1), PST_OK);
        if (key % 8 == 0)
            assert_int_equal(shared_touch(&shared, 0, 2, key % PAGES), PST_OK);
        if (key % 64 == 0)
            shared_check(&shared);
    }
    uint32_t inside[] = {pages_inside(&shared.p[0]), pages_inside(&shared.p[1])};
    print_message("%u and %u of %u pages\n", inside[0], inside[1], POOL);
    assert_in_range(inside[0], POOL * 4 / 10, POOL * 6 / 10);
    assert_in_range(inside[1], POOL * 4 / 10, POOL * 6 / 10);
    shared_close(&shared);
}

static void who_joins_a_full_pool_gets_his_least_when_the_others_have_ended_some_callbacks(void **unused)
{
    (void)unused;
    enum { POOL = 64 };
    struct shared shared;
    shared_open(&shared, POOL, 1, PAGES_MIN);
    shared_fill(&shared, 0, 4 * BUCKETS);
    assert_int_equal(pages_inside(&shared.p[0]), POOL);
    shared_join(&shared, PAGES_MIN);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(shared_touch(&shared, 0, 2, i), PST_OK);
    shared_fill(&shared, 1, BUCKETS);
    assert_int_equal(shared_touch(&shared, 1, PAGES_MIN - 1, 0), PST_OK);
    shared_close(&shared);
}

/* Two states, of which one touches few of its pages in a callback and the other one many. */
struct two {
    uint32_t pages[2], touch[2];
};

static int two_once(const struct two *two, uint64_t pool_bytes, uint64_t *ret_least)
{
    struct shared shared;
    int rc = PST_OK;
    shared_open(&shared, pool_bytes / PST_PAGE_BYTES, 2, PAGES_MIN);
    for (uint32_t which = 0; which < 2; which++)
        shared_fill(&shared, which, two->pages[which]);
    for (uint32_t i = 0; i < 40 && rc == PST_OK; i++)
        rc = shared_touch(&shared, i % 2, two->touch[i % 2], i % 4);
    *ret_least = pst_pool_least(shared.pool);
    shared_close(&shared);
    return rc;
}

static void where_two_share_a_pool_the_least_budget_is_named(void **unused)
{
    (void)unused;
    static const struct two twos[] = {{{128, 128}, {10, 60}}, {{512, 64}, {4, 20}}};
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t least = 0, again = 0;
        assert_int_equal(two_once(&twos[i], 2 * PAGES_MIN * PST_PAGE_BYTES, &least), PST_EFULL);
        assert_true(least > twos[i].touch[1] * PST_PAGE_BYTES);
        assert_int_equal(two_once(&twos[i], least, &again), PST_OK);
    }
}

/* Touches all that are in and some more, when others have left some. */
static void who_takes_what_is_left_does_not_make_room_that_is_not_there(void **unused)
{
    (void)unused;
    struct shared shared;
    uint64_t position;
    shared_open(&shared, 4 * PAGES_MIN, 2, PAGES_MIN);
    shared_fill(&shared, 0, 2 * BUCKETS);
    shared_fill(&shared, 1, 2 * BUCKETS);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(shared_touch(&shared, i % 2, PAGES_MIN - 4, i / 2), PST_OK);
    for (uint32_t round = 0; round < 3; round++) {
        struct paged *p = &shared.p[1];
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(append(p, 0, PAGE_ENTRY_BYTES, i, &position), PST_OK);
        assert_int_equal(pst_state_log_trim(p->log, 0, pst_state_log_head(p->log, 0)), PST_OK);
        assert_int_equal(pst_state_end(p->state), PST_OK);
        assert_int_equal(shared_touch(&shared, 0, pages_inside(&shared.p[0]) + 3, 0), PST_OK);
        for (uint32_t i = 0; i < 8; i++) {
            assert_int_equal(shared_touch(&shared, 1, PAGES_MIN - 4, 5 * i), PST_OK);
            shared_check(&shared);
        }
    }
    shared_close(&shared);
}

static void shared_step(struct shared *shared, uint64_t *random)
{
    uint32_t which = random_below(random, shared->count), bucket = random_below(random, 4), bytes;
    struct paged *p = &shared->p[which];
    uint64_t position = pst_state_log_tail(p->log, bucket);
    uint32_t touch = random_below(random, PAGES_MIN - 2),
             first = random_below(random, 2 * PER_PAGE * BUCKETS - PAGES_MIN);
    for (uint32_t i = random_below(random, 6); i > 0; i--)
        assert_int_equal(append(p, bucket, PAGE_ENTRY_BYTES, i, &position), PST_OK);
    if (random_below(random, 4) == 0)
        assert_int_equal(pst_state_log_trim(p->log, bucket, pst_state_log_head(p->log, bucket)), PST_OK);
    position = pst_state_log_tail(p->log, bucket);
    (void)pst_state_log_read(p->log, bucket, &position, &bytes);
    shared_check(shared);
    assert_int_equal(shared_touch(shared, which, touch, first), PST_OK);
    shared_check(shared);
}

static void whatever_three_states_do_they_stay_within_their_pool(void **unused)
{
    (void)unused;
    for (uint32_t pages = 3 * PAGES_MIN; pages < 9 * PAGES_MIN; pages += 2 * PAGES_MIN - 1) {
        uint64_t random = pages;
        struct shared shared;
        shared_open(&shared, pages, 3, PAGES_MIN);
        for (uint32_t i = 0; i < 3; i++)
            shared_fill(&shared, i, 2 * BUCKETS);
        for (uint32_t step = 0; step < 400; step++)
            shared_step(&shared, &random);
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(pst_state_check(shared.p[i].state), PST_OK);
        shared_close(&shared);
    }
}

static void a_state_that_is_freed_leaves_its_pages_to_the_others(void **unused)
{
    (void)unused;
    struct shared shared;
    shared_open(&shared, 3 * PAGES_MIN, 2, PAGES_MIN);
    shared_fill(&shared, 0, 2 * BUCKETS);
    shared_fill(&shared, 1, 2 * BUCKETS);
    assert_true(pages_inside(&shared.p[1]) <= 2 * PAGES_MIN);
    paged_close(&shared.p[0]);
    shared.p[0] = shared.p[--shared.count];
    assert_int_equal(atomic_load(&shared.pool->pages_used), pages_inside(&shared.p[0]));
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(shared_touch(&shared, 0, 1, i), PST_OK);
    assert_int_equal(pages_inside(&shared.p[0]), 3 * PAGES_MIN);
    assert_int_equal(shared_touch(&shared, 0, 3 * PAGES_MIN - 2, 0), PST_OK);
    shared_check(&shared);
    shared_close(&shared);
    assert_int_equal(shared.count, 1);
}

/* ---- images ---- */

enum { IMAGE_KEYS = 2 * PER_PAGE * HELD, IMAGE_PAGES = 2 * HELD + 20 };

static void image_open(struct paged *p, struct pst_pool *pool)
{
    uint64_t position;
    paged_open(p, pool, PST_EVICT_CLOCK, false);
    fill(p, IMAGE_KEYS, HELD);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(append(p, i % 4, PAGE_ENTRY_BYTES, i, &position), PST_OK);
        assert_int_equal(pst_state_end(p->state), PST_OK);
    }
    assert_int_equal(counts_of(p).pages, IMAGE_PAGES);
}

static void digests_of(struct pst_state *state, uint64_t ret_digests[BUCKETS])
{
    for (uint32_t b = 0; b < BUCKETS; b++) {
        ret_digests[b] = pst_state_digest(state, b);
        assert_int_equal(pst_state_end(state), PST_OK);
    }
}

/* Every page of the table is changed, the log's are read past and trimmed, while the image is read. */
static void image_meanwhile(struct paged *p, uint32_t i)
{
    uint64_t position;
    uint32_t key = (i * 7 + 3) % IMAGE_KEYS;
    assert_int_equal(upsert(p, key, 1, HELD, (void *[]){NULL}), PST_OK);
    for (uint32_t k = 0; k < 2; k++, key = (key + 241) % IMAGE_KEYS)
        words_fill(pst_state_table_record(p->table, key % HELD, key / HELD), RECORD_WORDS, key, 100 + i);
    assert_int_equal(append(p, i % 4, ENTRY_BYTES, i, &position), PST_OK);
    position = pst_state_log_tail(p->log, i % 4) + PST_PAGE_BYTES;
    if (i < 12)
        assert_int_equal(pst_state_log_trim(p->log, i % 4, position), PST_OK);
    assert_int_equal(pst_state_end(p->state), PST_OK);
}

static struct pst_state *image_revive(struct paged *p, const struct pst_image *image)
{
    _Alignas(8) static uint8_t buffer[PST_PAGE_BYTES];
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    assert_non_null(pst_state_table_open(state, "t", 4, RECORD_BYTES));
    assert_non_null(pst_state_log_open(state, "l"));
    for (uint32_t i = 0; i < 40; i++)
        image_meanwhile(p, i);
    for (uint32_t i = 0; i < image->page_count; i++) {
        const struct pst_page_header *page = NULL;
        image_meanwhile(p, 40 + i);
        assert_true(image->pages[i].changed_since && image->pages[i].bytes == NULL);
        assert_int_equal(pst_image_page_bytes(image, i, buffer, &page), PST_OK);
        assert_int_equal(page->changed, image->pages[i].changed);
        assert_int_equal(pst_state_restore_page(state, page, PST_PAGE_HEADER_BYTES + page->used_bytes), PST_OK);
    }
    for (uint32_t i = 0; i < image->log_count; i++)
        assert_int_equal(pst_state_restore_log(state, &image->logs[i]), PST_OK);
    pst_state_restore_end(state, image->generation + 1);
    return state;
}

static void an_image_is_the_state_at_its_moment_whatever_happens_since(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    uint64_t then[BUCKETS], revived[BUCKETS], now[BUCKETS];
    image_open(&p, pool);
    digests_of(p.state, then);
    assert_int_equal(pst_state_image(p.state, 0, &image), PST_OK);
    assert_true(image.page_count == IMAGE_PAGES && image.bytes_copied == 0);
    struct pst_state *state = image_revive(&p, &image);
    digests_of(state, revived);
    digests_of(p.state, now);
    assert_memory_equal(revived, then, sizeof then);
    for (uint32_t b = 0; b < HELD; b++)
        assert_true(now[b] != then[b]);
    assert_int_equal(pst_state_check(state), PST_OK);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    pst_image_fini(&image);
    pst_state_free(state);
    paged_close(&p);
    pool_free(pool);
}

/* Changes a record in each of n pages from the first on, in order of bucket. */
static void pages_change(struct paged *p, uint32_t n, uint32_t round)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bucket = i / 2, number = i % 2 * PER_PAGE + round % PER_PAGE;
        words_fill(pst_state_table_record(p->table, bucket, number), RECORD_WORDS, number * HELD + bucket, round);
        assert_int_equal(pst_state_end(p->state), PST_OK);
    }
}

static void an_image_since_another_has_what_changed_and_no_more(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    uint32_t since = 0;
    image_open(&p, pool);
    for (uint32_t round = 1; round <= 10; round++) {
        uint32_t expected = since == 0 ? IMAGE_PAGES : round, changed = 0;
        pages_change(&p, round, round);
        for (uint32_t b = HELD / 2; b < HELD; b++) /* that is no change */
            assert_non_null(pst_table_peek(p.table, b, 0));
        assert_int_equal(pst_state_end(p.state), PST_OK);
        assert_int_equal(pst_state_image(p.state, since, &image), PST_OK);
        for (uint32_t i = 0; i < image.page_count; i++)
            if (image.pages[i].changed_since && ++changed && since != 0)
                assert_true(image.pages[i].bucket < HELD / 2 && image.pages[i].structure == 0);
        assert_int_equal(image.page_count, IMAGE_PAGES);
        assert_int_equal(changed, expected);
        since = image.generation;
        pst_image_fini(&image);
    }
    paged_close(&p);
    pool_free(pool);
}

static void slots_of_images_that_are_done_serve_again(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    uint32_t since = 0, slots = 0;
    image_open(&p, pool);
    assert_int_equal(pst_state_image(p.state, 0, &image), PST_OK);
    pst_image_fini(&image);
    assert_int_equal(pst_state_end(p.state), PST_OK);
    assert_int_equal(p.outside->slot_count, IMAGE_PAGES);
    pages_change(&p, 2 * HELD, 1);
    assert_int_equal(p.outside->slot_count, IMAGE_PAGES); /* not even until the next image */
    for (uint32_t round = 1; round <= 60; round++) {
        assert_int_equal(pst_state_image(p.state, since, &image), PST_OK);
        pages_change(&p, 2 * HELD, round); /* over what the image reads, if it may */
        since = image.generation;
        pst_image_fini(&image);
        assert_int_equal(pst_state_end(p.state), PST_OK);
        if (round == 3)
            slots = p.outside->slot_count;
    }
    assert_int_equal(p.outside->slot_count, slots);
    assert_true(slots <= 2 * IMAGE_PAGES);
    assert_int_equal(pst_state_check(p.state), PST_OK);
    paged_close(&p);
    pool_free(pool);
}

static void an_image_refuses_what_was_changed_outside(void **unused)
{
    (void)unused;
    _Alignas(8) static uint8_t buffer[PST_PAGE_BYTES];
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    const struct pst_page_header *page;
    image_open(&p, pool);
    assert_int_equal(pst_state_image(p.state, 0, &image), PST_OK);
    p.outside->pieces[image.pages[7].slot].bytes[PST_SEAL_HEADER_BYTES + 100] ^= 1;
    p.outside->pieces[image.pages[6].slot].bytes[5] ^= 1; /* of a format to come */
    assert_int_equal(pst_image_page_bytes(&image, 7, buffer, &page), PST_EREFUSED);
    assert_int_equal(pst_image_page_bytes(&image, 6, buffer, &page), PST_EREFUSED);
    p.outside->error = PST_EIO;
    p.outside->look_fails_at = p.outside->looks + 1;
    assert_int_equal(pst_image_page_bytes(&image, 8, buffer, &page), PST_EIO);
    assert_int_equal(pst_image_page_bytes(&image, 8, buffer, &page), PST_OK);
    pst_malloc_fail_at(1);
    assert_int_equal(pst_image_page_bytes(&image, 8, buffer, &page), PST_ENOMEM);
    assert_int_equal(pst_state_error(p.state, NULL), PST_OK); /* whose state it is has not noticed */
    pst_image_fini(&image);
    paged_close(&p);
    pool_free(pool);
}

static void what_is_sealed_for_an_image_has_not_left(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    image_open(&p, pool);
    struct pst_paging_counts before = counts_of(&p), counts;
    uint32_t inside = pages_inside(&p);
    assert_int_equal(before.page_images, 0);
    assert_int_equal(pst_state_image(p.state, 0, &image), PST_OK);
    pst_image_fini(&image);
    counts = counts_of(&p);
    assert_true(inside > 0 && counts.page_images > 0 && counts.page_images <= inside);
    assert_int_equal(counts.page_outs, before.page_outs);
    assert_int_equal(counts.page_outs + counts.page_images, p.outside->puts);
    assert_true(counts.bytes_sealed > before.bytes_sealed);
    read_all(&p, IMAGE_KEYS, HELD, IMAGE_KEYS, 1); /* then it leaves as any page that did not change */
    assert_int_equal(counts_of(&p).page_outs, before.page_outs);
    assert_true(counts_of(&p).page_outs_clean > counts.page_outs_clean + inside / 2);
    paged_close(&p);
    pool_free(pool);
}

static void an_image_for_which_put_fails_is_none(void **unused)
{
    (void)unused;
    struct pst_pool *pool = pool_new(WALK_POOL);
    struct pst_image image;
    struct paged p;
    image_open(&p, pool);
    p.outside->error = PST_EIO;
    p.outside->put_fails_at = p.outside->puts + 3;
    assert_int_equal(pst_state_image(p.state, 0, &image), PST_EIO);
    assert_int_equal(pst_state_error(p.state, NULL), PST_EIO);
    paged_close(&p);
    pool_free(pool);
}

/* ---- allocations that fail ---- */

struct script {
    struct pst_pool *pool;
    struct paged p;
    struct pst_image image;
    bool imaged;
    uint64_t digest;
};

static int script_image(struct script *script)
{
    _Alignas(8) static uint8_t buffer[PST_PAGE_BYTES];
    const struct pst_page_header *page;
    int rc = pst_state_image(script->p.state, 0, &script->image);
    script->imaged = rc == PST_OK;
    for (uint32_t i = 0; i < script->image.page_count && rc == PST_OK; i += 9)
        rc = pst_image_page_bytes(&script->image, i, buffer, &page);
    return rc;
}

static int script_steps(struct script *script, uint32_t steps, uint32_t round)
{
    struct paged *p = &script->p;
    uint64_t position;
    int rc = PST_OK;
    for (uint32_t i = 0; i < steps && rc == PST_OK; i++) {
        pst_state_begin(p->state, i);
        rc = append(p, i % 3, PAGE_ENTRY_BYTES, i, &position);
        if (rc == PST_OK && i >= 120)
            rc = pst_state_log_trim(p->log, i % 3, pst_state_log_tail(p->log, i % 3) + PST_PAGE_BYTES);
        if (rc == PST_OK)
            rc = change(p, i * 5, 4, round, round + 1);
    }
    return rc;
}

static int script_run(struct script *script)
{
    struct paged *p = &script->p;
    const int64_t after[] = {30, 100};
    script->pool = pool_new(PAGES_MIN);
    p->state = pst_state_new(BUCKETS, UINT64_MAX);
    if (script->pool == NULL || p->state == NULL)
        return PST_ENOMEM;
    struct pst_paging paging = paging_of(p, script->pool, PST_EVICT_EVENT_TIME, true);
    int rc = pst_state_page(p->state, &paging);
    p->table = rc == PST_OK ? pst_state_table_open(p->state, "t", 4, RECORD_BYTES) : NULL;
    p->log = p->table != NULL ? pst_state_log_open(p->state, "l") : NULL;
    if (p->log == NULL)
        return PST_ENOMEM;
    rc = pst_state_log_wanted(p->log, after, 2, 0);
    if (rc == PST_OK)
        rc = script_steps(script, 200, 0);
    if (rc == PST_OK)
        rc = script_image(script);
    if (rc == PST_OK)
        rc = script_steps(script, 40, 1);
    script->digest = rc == PST_OK ? pst_state_digest(p->state, 1) : 0;
    int ended = pst_state_end(p->state);
    return rc == PST_OK ? ended : rc;
}

/* After an error the script is ended. Where it is not the state's own, the state is whole. */
static int script_try(uint64_t fail_at, uint64_t *ret_digest)
{
    struct script script = {0};
    paged_init(&script.p);
    pst_malloc_fail_at(fail_at);
    int rc = script_run(&script);
    pst_malloc_fail_at(0);
    if (script.imaged)
        pst_image_fini(&script.image);
    if (script.p.state != NULL && script.p.log != NULL && pst_state_error(script.p.state, NULL) == PST_OK)
        assert_int_equal(pst_state_check(script.p.state), PST_OK);
    *ret_digest = script.digest;
    paged_close(&script.p);
    pool_free(script.pool);
    return rc;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    uint64_t expected = 0, digest = 0, failed = 0;
    assert_int_equal(script_try(0, &expected), PST_OK);
    uint64_t before = pst_malloc_count();
    assert_int_equal(script_try(0, &digest), PST_OK);
    uint64_t count = pst_malloc_count() - before;
    assert_int_equal(digest, expected);
    for (uint64_t n = 1; n <= count; n++) {
        int rc = script_try(n, &digest);
        failed += rc != PST_OK;
        if (rc != PST_ENOMEM && (rc != PST_OK || digest != expected))
            fail_msg("allocation %lu of %lu: %s", (unsigned long)n, (unsigned long)count, pst_error_name(rc));
    }
    assert_true(failed > 20);
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_event_time_a_state_stays_within_its_pool_and_loses_nothing),
        cmocka_unit_test(by_lru_a_state_stays_within_its_pool_and_loses_nothing),
        cmocka_unit_test(by_clock_a_state_stays_within_its_pool_and_loses_nothing),
        cmocka_unit_test(at_random_a_state_stays_within_its_pool_and_loses_nothing),
        cmocka_unit_test(where_memory_is_dear_a_state_stays_within_its_pool_and_loses_nothing),
        cmocka_unit_test(dear_memory_is_taken_when_pages_have_come_back_for_what_it_costs),
        cmocka_unit_test(every_policy_has_a_name_and_the_list_ends),
        cmocka_unit_test(without_a_pool_there_is_no_error_and_nothing_is_counted),
        cmocka_unit_test(look_ups_are_those_of_records_and_entries),
        cmocka_unit_test(what_lies_outside_is_not_the_clear_text),
        cmocka_unit_test(a_page_with_a_bit_changed_is_refused),
        cmocka_unit_test(an_older_version_of_a_page_is_refused),
        cmocka_unit_test(a_page_in_the_place_of_another_is_refused),
        cmocka_unit_test(a_page_cut_short_is_refused),
        cmocka_unit_test(a_page_of_a_format_to_come_is_refused),
        cmocka_unit_test(an_error_of_put_is_the_states),
        cmocka_unit_test(an_error_of_get_is_the_states),
        cmocka_unit_test(the_first_error_is_the_one_that_counts),
        cmocka_unit_test(where_one_call_needs_too_many_buckets_the_least_budget_is_named),
        cmocka_unit_test(where_one_bucket_is_too_deep_the_least_budget_is_named),
        cmocka_unit_test(where_one_callback_makes_too_many_pages_the_least_budget_is_named),
        cmocka_unit_test(where_a_log_is_read_beside_a_table_the_least_budget_is_named),
        cmocka_unit_test(a_pool_of_the_least_a_state_needs_is_enough_for_fewer),
        cmocka_unit_test(pointers_of_one_upsert_stay_until_the_callback_ends),
        cmocka_unit_test(pointers_into_first_pages_stay_until_the_callback_ends),
        cmocka_unit_test(an_entry_stays_until_the_next_one_of_its_log_is_asked_for),
        cmocka_unit_test(what_was_released_may_leave_before_the_callback_ends),
        cmocka_unit_test(a_page_that_died_inside_is_not_sealed),
        cmocka_unit_test(a_page_that_died_outside_is_not_fetched_and_its_slot_serves_another),
        cmocka_unit_test(a_page_of_records_that_were_removed_is_dead),
        cmocka_unit_test(a_page_that_did_not_change_leaves_without_a_seal),
        cmocka_unit_test(a_page_of_a_log_that_did_not_change_leaves_without_a_seal),
        cmocka_unit_test(event_time_knows_who_is_wanted_last),
        cmocka_unit_test(pages_are_asked_for_before_they_are_wanted),
        cmocka_unit_test(a_log_that_is_read_again_and_again_is_asked_for_each_time),
        cmocka_unit_test(a_list_of_readers_that_makes_no_sense_is_refused),
        cmocka_unit_test(readers_may_be_named_when_there_are_pages_already),
        cmocka_unit_test(event_time_may_be_as_far_apart_as_there_are_numbers),
        cmocka_unit_test(of_two_states_each_always_has_its_least),
        cmocka_unit_test(of_three_states_each_always_has_its_least),
        cmocka_unit_test(who_grows_late_gets_a_fair_share),
        cmocka_unit_test(who_joins_a_full_pool_gets_his_least_when_the_others_have_ended_some_callbacks),
        cmocka_unit_test(where_two_share_a_pool_the_least_budget_is_named),
        cmocka_unit_test(who_takes_what_is_left_does_not_make_room_that_is_not_there),
        cmocka_unit_test(whatever_three_states_do_they_stay_within_their_pool),
        cmocka_unit_test(a_state_that_is_freed_leaves_its_pages_to_the_others),
        cmocka_unit_test(an_image_is_the_state_at_its_moment_whatever_happens_since),
        cmocka_unit_test(an_image_since_another_has_what_changed_and_no_more),
        cmocka_unit_test(slots_of_images_that_are_done_serve_again),
        cmocka_unit_test(an_image_refuses_what_was_changed_outside),
        cmocka_unit_test(what_is_sealed_for_an_image_has_not_left),
        cmocka_unit_test(what_is_kept_for_others_counts_as_full),
        cmocka_unit_test(an_image_for_which_put_fails_is_none),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, secret_make, secret_drop);
}
