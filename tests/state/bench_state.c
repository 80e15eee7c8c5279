/* bench_state.c - nanoseconds per upsert, append and read, and the memory of small buckets. Not a test: it prints, medians of
 * nine runs each. */
#include "state/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 2048, REPEATS = 9, BUCKETS = 256 };

static uint64_t random_state = 1;

static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, REPEATS, sizeof *values, double_compare);
    return values[REPEATS / 2];
}

static long resident_bytes(void)
{
    long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%ld %ld", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * 4096;
}

struct rows {
    uint32_t *bucket;
    uint64_t *hash;
    uint8_t *keys;
    uint32_t n;
};

/* n rows of keys drawn from key_count; a key of key_bytes begins with its number. */
static struct rows rows_new(uint32_t n, uint32_t key_count, uint32_t key_bytes)
{
    struct rows rows = {malloc(n * 4), malloc(n * 8), calloc(n, key_bytes), n};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = (uint32_t)(random_next() % key_count);
        memcpy(rows.keys + (size_t)i * key_bytes, &number, 4);
        rows.hash[i] = pst_hash(&(struct pst_hash_key){0, 0}, rows.keys + (size_t)i * key_bytes, key_bytes);
        rows.bucket[i] = (uint32_t)rows.hash[i] & (BUCKETS - 1);
    }
    return rows;
}

static void rows_free(struct rows *rows) { free(rows->bucket), free(rows->hash), free(rows->keys); }

static void upsert_all(struct pst_table *table, const struct rows *rows, uint32_t key_bytes)
{
    static void *records[BATCH];
    static uint32_t indices[BATCH];
    for (uint32_t i = 0; i < rows->n; i += BATCH) {
        if (pst_state_table_upsert(table, BATCH, rows->bucket + i, rows->hash + i, rows->keys + (size_t)i * key_bytes,
                                   indices, records) != PST_OK)
            abort();
    }
}

static void bench_upsert(uint32_t key_count, uint32_t key_bytes, uint32_t record_bytes)
{
    struct rows rows = rows_new(1u << 20, key_count, key_bytes);
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", key_bytes, record_bytes);
    upsert_all(table, &rows, key_bytes);
    double ns[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double start = now_ns();
        upsert_all(table, &rows, key_bytes);
        ns[i] = (now_ns() - start) / rows.n;
    }
    printf("upsert  %8u keys of %2u bytes, records of %3u: %6.2f ns/row\n", key_count, key_bytes, record_bytes,
           median(ns));
    pst_state_free(state);
    rows_free(&rows);
}

/* Windows: each bucket keeps its last 64 entries. */
static void bench_log(uint32_t entry_bytes)
{
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    double append_ns[REPEATS], read_ns[REPEATS];
    uint64_t sum = 0;
    const uint32_t n = 1u << 15; /* some MB: in the third cache */
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = now_ns();
        for (uint32_t i = 0; i < n; i++) {
            void *space;
            uint64_t position;
            if (pst_state_log_append(log, i * 97 % BUCKETS, entry_bytes, &space, &position) != PST_OK)
                abort();
            memcpy(space, &i, 4);
        }
        append_ns[repeat] = (now_ns() - start) / n;
        start = now_ns();
        for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
            uint64_t position = pst_state_log_tail(log, bucket);
            uint32_t bytes;
            for (const void *entry; (entry = pst_state_log_read(log, bucket, &position, &bytes)) != NULL;)
                sum += *(const uint8_t *)entry + bytes;
        }
        read_ns[repeat] = (now_ns() - start) / n;
        for (uint32_t bucket = 0; bucket < BUCKETS; bucket++)
            (void)pst_state_log_trim(log, bucket, pst_state_log_head(log, bucket));
    }
    printf("log     entries of %3u bytes: append %5.2f ns, read %5.2f ns (%u)\n", entry_bytes, median(append_ns),
           median(read_ns), (unsigned)(sum & 1));
    pst_state_free(state);
}

/* A window: one entry in, one read at the tail and trimmed away. */
static void bench_window(uint32_t entry_bytes)
{
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_log *log = pst_state_log_open(state, "l");
    static uint64_t tails[BUCKETS];
    uint64_t sum = 0;
    const uint32_t n = 1u << 20, behind = BUCKETS * 64;
    double ns[REPEATS];
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = now_ns();
        for (uint32_t i = 0; i < n; i++) {
            uint32_t bucket = i % BUCKETS, bytes;
            void *space;
            uint64_t position;
            if (pst_state_log_append(log, bucket, entry_bytes, &space, &position) != PST_OK)
                abort();
            memcpy(space, &i, 4);
            if (i < behind)
                continue;
            tails[bucket] = repeat == 0 && i < behind + BUCKETS ? pst_state_log_tail(log, bucket) : tails[bucket];
            const void *entry = pst_state_log_read(log, bucket, &tails[bucket], &bytes);
            sum += *(const uint8_t *)entry;
            (void)pst_state_log_trim(log, bucket, tails[bucket]);
        }
        ns[repeat] = (now_ns() - start) / n;
    }
    printf("window  entries of %3u bytes: append, read and trim %5.2f ns (%u)\n", entry_bytes, median(ns),
           (unsigned)(sum & 1));
    pst_state_free(state);
}

static void bench_memory(uint32_t key_bytes, uint32_t record_bytes)
{
    struct rows rows = rows_new(1u << 16, 8 * BUCKETS, key_bytes);
    long before = resident_bytes();
    struct pst_state *state = pst_state_new(BUCKETS, UINT64_MAX);
    struct pst_table *table = pst_state_table_open(state, "t", key_bytes, record_bytes);
    upsert_all(table, &rows, key_bytes);
    printf("memory  256 buckets x 8 keys of %u, records of %3u: %ld KiB resident, %lu KiB counted, %u KiB of rows\n",
           key_bytes, record_bytes, (resident_bytes() - before) / 1024, (unsigned long)(pst_state_bytes(state) / 1024),
           8 * BUCKETS * (key_bytes + record_bytes) / 1024);
    pst_state_free(state);
    rows_free(&rows);
}

int main(void)
{
    bench_memory(12, 40);
    bench_memory(12, 200);
    static const uint32_t key_bytes[] = {4, 8, 12, 16, 20, 36};
    for (size_t i = 0; i < sizeof key_bytes / sizeof key_bytes[0]; i++)
        bench_upsert(2125, key_bytes[i], 40);
    static const uint32_t key_count[] = {2125, 8000, 21250, 212500, 2000000};
    for (size_t i = 0; i < sizeof key_count / sizeof key_count[0]; i++)
        bench_upsert(key_count[i], 12, i < 3 ? 200 : 40);
    static const uint32_t entry_bytes[] = {24, 100, 200};
    for (size_t i = 0; i < sizeof entry_bytes / sizeof entry_bytes[0]; i++) {
        bench_log(entry_bytes[i]);
        bench_window(entry_bytes[i]);
    }
    return 0;
}
