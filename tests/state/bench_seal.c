/* bench_seal.c - nanoseconds and MB/s of sealing and opening pages, with and without LZ4. Not a test: it prints, medians of nine
 * runs each. */
#include "state/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 16 * 1024, PAGES = 256, BUCKETS = 256, REPEATS = 9, ROOM = PAGE + 128 };

static uint8_t clear[PAGES][PAGE], opened[PAGE], sealed[PAGES][ROOM];
static size_t sealed_bytes[PAGES];
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

/* Records of 40 bytes as a table of plugs has them: small numbers, a slowly growing time, a value with some noise. */
static void fill_records(void)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        for (uint32_t at = 0; at + 40 <= PAGE; at += 40) {
            uint64_t record[5] = {page * 7 + at / 40, 1378000000 + at / 40, random_next() % 3000, random_next() % 1000,
                                  1};
            memcpy(clear[page] + at, record, sizeof record);
        }
    }
}

static void fill_noise(void)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        for (uint32_t at = 0; at < PAGE; at += 8)
            memcpy(clear[page] + at, &(uint64_t){random_next()}, 8);
    }
}

static void check(int rc)
{
    if (rc != PST_OK) {
        printf("%s\n", pst_error_name(rc));
        exit(1);
    }
}

static void show(const char *what, double *values)
{
    qsort(values, REPEATS, sizeof *values, double_compare);
    double ns = values[REPEATS / 2] / PAGES;
    printf("  %-7s %8.0f ns  %7.0f MB/s", what, ns, PAGE / ns * 1e3);
}

static void bench(const char *what, bool compress)
{
    static const char *const ids[] = {"bench"};
    static const uint32_t bucket_counts[] = {BUCKETS};
    const uint8_t graph[32] = {1}, incarnation[32] = {2};
    double seal_ns[REPEATS], open_ns[REPEATS], total_bytes = 0;
    struct pst_secret *master;
    struct pst_sealer *sealer;
    check(pst_secret_new(&master));
    check(pst_sealer_new(master, graph, PST_SEAL_SPILL, incarnation, 1, ids, bucket_counts, &sealer));
    double first_ns = 0;
    for (int r = -1; r < REPEATS; r++) { /* the first time derives the keys */
        uint32_t bytes;
        double start = now_ns();
        for (uint32_t i = 0; i < PAGES; i++) {
            struct pst_seal_place place = {.bucket = i % BUCKETS, .number = i};
            check(pst_seal(sealer, 0, &place, compress, clear[i], PAGE, sealed[i], ROOM, &sealed_bytes[i]));
        }
        double middle = now_ns();
        for (uint32_t i = 0; i < PAGES; i++) {
            struct pst_seal_place place = {.bucket = i % BUCKETS, .number = i};
            check(pst_unseal(sealer, 0, &place, sealed[i], sealed_bytes[i], opened, PAGE, &bytes));
        }
        double end = now_ns();
        if (r < 0)
            first_ns = (middle - start) / PAGES;
        else
            seal_ns[r] = middle - start, open_ns[r] = end - middle;
    }
    for (uint32_t i = 0; i < PAGES; i++)
        total_bytes += (double)sealed_bytes[i];
    printf("%-24s", what);
    show("seal", seal_ns);
    show("open", open_ns);
    printf("  %6.0f bytes a page  first seal of a key %5.0f ns\n", total_bytes / PAGES, first_ns);
    pst_sealer_free(sealer);
    pst_secret_free(master);
}

int main(void)
{
    fill_records();
    bench("16 KiB of records", false);
    bench("16 KiB of records, LZ4", true);
    fill_noise();
    bench("16 KiB of noise", false);
    bench("16 KiB of noise, LZ4", true);
    return 0;
}
