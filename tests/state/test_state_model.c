/* test_state_model.c - random calls of the state room against a model that is too simple to be wrong: arrays searched from the
 * front. Now and then the state is written down, as far as it changed, and a new one made of all that was ever written goes on in
 * its place. Half of the runs have a budget far below what they hold, so that pages come and go; the outside is an array, which now
 * and then changes a bit, and then the page must be refused. A failure prints its seed; PST_SEED runs that one alone. */
#include "base/base.h"
#include "state/image.h"
#include "state/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 60, STEPS = 4000, BUCKETS = 4, BATCH = 16, KEY_MAX = 40, RECORD_MAX = 3000, ENTRIES_MAX = STEPS * 2 };

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % n;
}

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition))                                                      \
            fail_msg("PST_SEED=%lu: %s", (unsigned long)seed_now, #condition); \
    } while (0)
static uint64_t seed_now;
static bool paged;

/* ---- the model ---- */

struct model_record {
    uint8_t key[KEY_MAX], record[RECORD_MAX];
};
struct model_entry {
    uint64_t position;
    uint32_t bytes;
    uint8_t fill;
};
struct model {
    uint32_t key_bytes, record_bytes, key_count;
    uint64_t hash_mask; /* few bits: many keys of one hash */
    struct model_record *records[BUCKETS];
    uint32_t count[BUCKETS];
    struct model_entry *entries[BUCKETS];
    uint32_t first[BUCKETS], end[BUCKETS];
    uint64_t last_position[BUCKETS];
};

static int64_t model_find(const struct model *model, uint32_t bucket, const uint8_t *key)
{
    for (uint32_t i = 0; i < model->count[bucket]; i++)
        if (memcmp(model->records[bucket][i].key, key, model->key_bytes) == 0)
            return i;
    return -1;
}

static void model_init(struct model *model)
{
    static const uint32_t key_bytes[] = {1, 4, 5, 8, 12, 16, 20, KEY_MAX}, record_bytes[] = {0, 4, 24, 100, RECORD_MAX};
    static const uint64_t hash_mask[] = {0, 7, 0xFF, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    *model = (struct model){.key_bytes = key_bytes[random_below(8)],
                            .record_bytes = record_bytes[random_below(5)],
                            .key_count = 1 + random_below(paged ? 200 : 400), /* a bucket's pages must fit the pool */
                            .hash_mask = hash_mask[random_below(6)]};
    for (int b = 0; b < BUCKETS; b++) {
        model->records[b] = calloc(model->key_count, sizeof *model->records[b]);
        model->entries[b] = calloc(ENTRIES_MAX, sizeof *model->entries[b]);
    }
}

static void model_fini(struct model *model)
{
    for (int b = 0; b < BUCKETS; b++) {
        free(model->records[b]);
        free(model->entries[b]);
    }
}

/* ---- steps ---- */

static uint32_t key_draw(const struct model *model, uint8_t *key, uint64_t *ret_hash)
{
    uint32_t number = random_below(model->key_count);
    memset(key, 0, KEY_MAX);
    memcpy(key, &number, model->key_bytes < 4 ? model->key_bytes : 4);
    if (model->key_bytes > 4)
        key[model->key_bytes - 1] = (uint8_t)(number / 3);
    uint64_t hash = pst_hash(&(struct pst_hash_key){0, 0}, key, model->key_bytes);
    *ret_hash = hash & model->hash_mask;
    return (uint32_t)hash % BUCKETS;
}

static void step_upsert(struct model *model, struct pst_table *table)
{
    uint8_t keys[BATCH * KEY_MAX], key[BATCH][KEY_MAX];
    uint32_t bucket[BATCH], index[BATCH], n = 1 + random_below(BATCH);
    uint64_t hash[BATCH];
    void *record[BATCH];
    for (uint32_t i = 0; i < n; i++) {
        bucket[i] = key_draw(model, key[i], &hash[i]);
        memcpy(keys + i * model->key_bytes, key[i], model->key_bytes);
    }
    CHECK(pst_state_table_upsert(table, n, bucket, hash, keys, index, record) == PST_OK);
    for (uint32_t i = 0; i < n; i++) {
        int64_t found = model_find(model, bucket[i], key[i]);
        if (found < 0) {
            found = model->count[bucket[i]]++;
            memset(&model->records[bucket[i]][found], 0, sizeof(struct model_record));
            memcpy(model->records[bucket[i]][found].key, key[i], KEY_MAX);
        }
        struct model_record *expected = &model->records[bucket[i]][found];
        CHECK(index[i] == found && memcmp(record[i], expected->record, model->record_bytes) == 0);
        memset(record[i], (int)random_state, model->record_bytes);
        memset(expected->record, (int)random_state, model->record_bytes);
    }
}

static void step_find(struct model *model, struct pst_table *table)
{
    uint8_t key[KEY_MAX];
    uint64_t hash;
    uint32_t bucket = key_draw(model, key, &hash);
    CHECK(pst_state_table_find(table, bucket, hash, key) == model_find(model, bucket, key));
}

static void step_remove(struct model *model, struct pst_table *table)
{
    uint32_t bucket = random_below(BUCKETS), count = model->count[bucket];
    if (count == 0) {
        CHECK(pst_state_table_remove(table, bucket, 0) == PST_EINVAL);
        return;
    }
    uint32_t index = random_below(count);
    CHECK(pst_state_table_remove(table, bucket, index) == PST_OK);
    model->records[bucket][index] = model->records[bucket][count - 1];
    model->count[bucket]--;
}

static void step_append(struct model *model, struct pst_log *log)
{
    uint32_t bucket = random_below(BUCKETS);
    uint32_t bytes = 1 + random_below(random_below(8) == 0 ? PST_LOG_ENTRY_BYTES_MAX : 300);
    struct model_entry *entry = &model->entries[bucket][model->end[bucket]++];
    void *space;
    uint64_t position;
    CHECK(pst_state_log_append(log, bucket, bytes, &space, &position) == PST_OK);
    CHECK((uintptr_t)space % 8 == 0 && position >= model->last_position[bucket]);
    *entry = (struct model_entry){position, bytes, (uint8_t)random_state};
    model->last_position[bucket] = position + 1;
    memset(space, entry->fill, bytes);
}

static bool entry_equal(const struct model_entry *entry, const uint8_t *bytes, uint32_t count)
{
    bool same = count == entry->bytes;
    for (uint32_t i = 0; same && i < count; i++)
        same = bytes[i] == entry->fill;
    return same;
}

/* From a position that append() or the tail gave, on to the head by the positions that read() gives. */
static void step_read(struct model *model, struct pst_log *log)
{
    uint32_t bucket = random_below(BUCKETS), bytes, held = model->end[bucket] - model->first[bucket];
    uint32_t from = held == 0 ? 0 : random_below(held);
    uint64_t position = pst_state_log_tail(log, bucket);
    if (from != 0)
        position = model->entries[bucket][model->first[bucket] + from].position;
    for (uint32_t i = model->first[bucket] + from; i < model->end[bucket]; i++) {
        const void *entry = pst_state_log_read(log, bucket, &position, &bytes);
        CHECK(entry != NULL && entry_equal(&model->entries[bucket][i], entry, bytes));
    }
    CHECK(pst_state_log_read(log, bucket, &position, &bytes) == NULL);
    CHECK(position == pst_state_log_head(log, bucket));
}

static void step_trim(struct model *model, struct pst_log *log)
{
    uint32_t bucket = random_below(BUCKETS), bytes, held = model->end[bucket] - model->first[bucket];
    uint32_t count = random_below(held + 1);
    uint64_t position = pst_state_log_tail(log, bucket);
    for (uint32_t i = 0; i < count; i++)
        CHECK(pst_state_log_read(log, bucket, &position, &bytes) != NULL);
    if (count < held && random_below(2) == 0) /* the next entry's own position, perhaps on another page */
        position = model->entries[bucket][model->first[bucket] + count].position;
    CHECK(pst_state_log_trim(log, bucket, position) == PST_OK);
    CHECK(pst_state_log_tail(log, bucket) == position);
    model->first[bucket] += count;
}

/* ---- an outside that is an array ---- */

enum { SLOTS_MAX = 4096, POOL_PAGES = 24, POOL_PAGES_WIDE = 64 };

struct outside {
    uint8_t *bytes[SLOTS_MAX];
    uint32_t byte_count[SLOTS_MAX];
    bool ahead[SLOTS_MAX];
    uint32_t ahead_count;
};
static struct pst_secret *secret;
static pst_evict evict_now;

static int outside_put(void *self, uint32_t slot, const void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    CHECK(slot < SLOTS_MAX && !outside->ahead[slot]);
    free(outside->bytes[slot]);
    outside->bytes[slot] = malloc(byte_count);
    memcpy(outside->bytes[slot], sealed, byte_count);
    outside->byte_count[slot] = byte_count;
    return PST_OK;
}

static void outside_forget(void *self, uint32_t slot)
{
    struct outside *outside = self;
    CHECK(outside->ahead[slot]);
    outside->ahead[slot] = false;
    outside->ahead_count--;
}

static int outside_get(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    CHECK(slot < SLOTS_MAX && outside->byte_count[slot] == byte_count);
    memcpy(sealed, outside->bytes[slot], byte_count);
    if (outside->ahead[slot])
        outside_forget(self, slot);
    return PST_OK;
}

static int outside_look(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct outside *outside = self;
    CHECK(slot < SLOTS_MAX && outside->byte_count[slot] == byte_count);
    memcpy(sealed, outside->bytes[slot], byte_count);
    return PST_OK;
}

static void outside_ahead(void *self, uint32_t slot, uint32_t byte_count)
{
    struct outside *outside = self;
    CHECK(outside->byte_count[slot] == byte_count && !outside->ahead[slot]);
    outside->ahead[slot] = true;
    CHECK(++outside->ahead_count <= PST_AHEAD_MAX);
}

static void outside_free(struct outside *outside)
{
    for (uint32_t i = 0; i < SLOTS_MAX; i++)
        free(outside->bytes[i]);
    free(outside);
}

/* ---- written down and made again ---- */

struct written { /* the newest bytes of a page */
    struct pst_image_page place;
    uint8_t bytes[PST_PAGE_BYTES];
};

struct subject {
    struct pst_sealer *sealers[2];
    struct outside *outside;
    struct pst_pool *pool;
    int64_t now;
    struct pst_state *state;
    struct pst_table *table;
    struct pst_log *log;
    uint32_t generation; /* of the last image */
    struct written *written;
    uint32_t written_count;
};

static void subject_open(struct subject *subject, const struct model *model)
{
    subject->state = pst_state_new(BUCKETS, UINT64_MAX);
    if (paged) {
        subject->pool = pst_pool_new((model->record_bytes > 100 ? POOL_PAGES_WIDE : POOL_PAGES) * PST_PAGE_BYTES);
        subject->outside = calloc(1, sizeof *subject->outside);
        static const char *const ids[] = {"o"};
        static const uint32_t bucket_counts[] = {BUCKETS};
        static uint64_t opened;
        uint8_t graph[PST_GRAPH_DIGEST_BYTES] = {0}, incarnation[PST_INCARNATION_BYTES] = {0};
        memcpy(incarnation, &(uint64_t){++opened}, 8);
        CHECK(pst_sealer_new(secret, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts, &subject->sealers[0]) ==
              PST_OK);
        CHECK(pst_sealer_new_to_open(secret, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts,
                                     &subject->sealers[1]) == PST_OK);
        struct pst_paging paging = {
            .pool = subject->pool,
            .sealer = subject->sealers[0],
            .opener = subject->sealers[1],
            .outside = {subject->outside, outside_put, outside_get, outside_ahead, outside_forget, outside_look},
            .evict = evict_now,
            .ahead = random_below(4) != 0};
        CHECK(pst_state_page(subject->state, &paging) == PST_OK);
    }
    subject->table = pst_state_table_open(subject->state, "t", model->key_bytes, model->record_bytes);
    subject->log = pst_state_log_open(subject->state, "l");
    int64_t after[] = {random_below(50), 50 + random_below(500)};
    if (random_below(3) != 0)
        CHECK(pst_state_log_wanted(subject->log, after, 1 + random_below(2), random_below(2) * 1000) == PST_OK);
}

static void subject_close(struct subject *subject)
{
    pst_state_free(subject->state);
    pst_sealer_free(subject->sealers[0]);
    pst_sealer_free(subject->sealers[1]);
    pst_pool_free(subject->pool);
    if (subject->outside != NULL)
        outside_free(subject->outside);
}

static struct written *written_find(const struct subject *subject, const struct pst_image_page *page)
{
    for (uint32_t i = 0; i < subject->written_count; i++) {
        const struct pst_image_page *place = &subject->written[i].place;
        if (place->bucket == page->bucket && place->structure == page->structure && place->number == page->number)
            return &subject->written[i];
    }
    return NULL;
}

/* What the image lists, with bytes from it or from before: those of a page that it says did not change must be there. */
static void written_update(struct subject *subject, const struct pst_image *image)
{
    struct written *now = calloc(image->page_count + 1, sizeof *now);
    for (uint32_t i = 0; i < image->page_count; i++) {
        const struct pst_image_page *page = &image->pages[i];
        now[i].place = *page;
        if (page->changed_since) {
            _Alignas(8) uint8_t buffer[PST_PAGE_BYTES];
            const struct pst_page_header *bytes;
            CHECK(pst_image_page_bytes(image, i, buffer, &bytes) == PST_OK && bytes->changed == page->changed);
            memcpy(now[i].bytes, bytes, PST_PAGE_HEADER_BYTES + bytes->used_bytes);
            continue;
        }
        const struct written *before = written_find(subject, page);
        CHECK(before != NULL && before->place.changed == page->changed);
        memcpy(now[i].bytes, before->bytes, PST_PAGE_BYTES);
    }
    free(subject->written);
    subject->written = now;
    subject->written_count = image->page_count;
}

/* Others get on while somebody reads what the image says. */
static void steps_meanwhile(struct subject *subject, struct model *model)
{
    for (uint32_t i = random_below(20); i > 0 && paged; i--) {
        pst_state_begin(subject->state, subject->now);
        step_append(model, subject->log);
        step_upsert(model, subject->table);
        CHECK(pst_state_end(subject->state) == PST_OK);
    }
}

static void step_image(struct subject *subject, struct model *model)
{
    struct pst_image image;
    uint32_t since = random_below(4) == 0 ? 0 : subject->generation;
    CHECK(pst_state_image(subject->state, since, &image) == PST_OK);
    steps_meanwhile(subject, model);
    written_update(subject, &image);
    subject->generation = image.generation;
    pst_image_fini(&image);
}

static void step_revive(struct subject *subject, const struct model *model)
{
    struct pst_image image;
    struct subject next = *subject;
    uint32_t since = random_below(4) == 0 ? 0 : subject->generation;
    CHECK(pst_state_image(subject->state, since, &image) == PST_OK);
    written_update(subject, &image);
    subject_open(&next, model);
    for (uint32_t i = 0; i < image.page_count; i++) {
        const struct pst_page_header *page = (const struct pst_page_header *)(const void *)subject->written[i].bytes;
        CHECK(pst_state_restore_page(next.state, page, PST_PAGE_HEADER_BYTES + page->used_bytes) == PST_OK);
    }
    for (uint32_t i = 0; i < image.log_count; i++)
        CHECK(pst_state_restore_log(next.state, &image.logs[i]) == PST_OK);
    pst_state_restore_end(next.state, image.generation + 1);
    CHECK(pst_state_end(next.state) == PST_OK);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        uint64_t digest = pst_state_digest(next.state, b);
        CHECK(pst_state_end(next.state) == PST_OK);
        CHECK(digest == pst_state_digest(subject->state, b));
        CHECK(pst_state_end(subject->state) == PST_OK);
    }
    CHECK(pst_state_check(next.state) == PST_OK);
    next.written = subject->written;
    next.written_count = subject->written_count;
    next.generation = image.generation;
    pst_image_fini(&image);
    subject_close(subject);
    *subject = next;
}

static void step_any(struct model *model, struct subject *subject)
{
    uint32_t die = random_below(100);
    if (die < 25)
        step_upsert(model, subject->table);
    else if (die < 35)
        step_find(model, subject->table);
    else if (die < 60)
        step_remove(model, subject->table);
    else if (die < 90)
        step_append(model, subject->log);
    else if (die < 95)
        step_read(model, subject->log);
    else if (die < (paged ? 96 : 99)) /* much is held there */
        step_trim(model, subject->log);
    else if (random_below(4) == 0)
        step_revive(subject, model);
    else if (random_below(2) == 0)
        step_image(subject, model);
    else
        CHECK(pst_state_check(subject->state) == PST_OK);
}

static void tables_compare(const struct model *model, struct pst_state *state, struct pst_table *table)
{
    for (uint32_t b = 0; b < BUCKETS; b++) {
        CHECK(pst_state_end(state) == PST_OK);
        CHECK(pst_state_table_count(table, b) == model->count[b]);
        for (uint32_t i = 0; i < model->count[b]; i++) {
            CHECK(memcmp(pst_state_table_key(table, b, i), model->records[b][i].key, model->key_bytes) == 0);
            CHECK(memcmp(pst_state_table_record(table, b, i), model->records[b][i].record, model->record_bytes) == 0);
        }
    }
}

static uint64_t page_ins;

static void random_run(uint64_t seed)
{
    struct model model;
    seed_now = random_state = seed;
    paged = seed % 2 != 0;
    model_init(&model);
    struct subject subject = {0};
    evict_now = (pst_evict)(seed / 2 % 4);
    subject_open(&subject, &model);
    for (uint32_t i = 0; i < STEPS; i++) {
        subject.now += random_below(4) == 0;
        pst_state_begin(subject.state, subject.now);
        step_any(&model, &subject);
        CHECK(pst_state_end(subject.state) == PST_OK);
    }
    tables_compare(&model, subject.state, subject.table);
    CHECK(pst_state_check(subject.state) == PST_OK);
    struct pst_paging_counts counts;
    pst_state_paging_counts(subject.state, &counts);
    page_ins += counts.page_ins;
    subject_close(&subject);
    free(subject.written);
    model_fini(&model);
}

static void random_calls_do_what_the_model_does(void **unused)
{
    (void)unused;
    const char *seed = getenv("PST_SEED");
    CHECK(pst_secret_new(&secret) == PST_OK);
    if (seed != NULL)
        random_run(strtoull(seed, NULL, 10));
    for (uint64_t i = 1; seed == NULL && i <= SEEDS; i++)
        random_run(i);
    CHECK(seed != NULL || page_ins > SEEDS * 30);
    pst_secret_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_calls_do_what_the_model_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
