/* bench_wire.c - GB/s and rows/s of writing and reading frames: as they are, with LZ4, and narrow. Not a test: it prints, medians of nine runs
 * each. GB are those of the columns in clear. */
#include "engine/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 2048, COLUMNS = 4, ROUNDS = 2000, REPEATS = 9, ROOM = 256 * 1024 };

static const uint32_t column_bytes[COLUMNS] = {8, 4, 4, 8};
static int64_t row_time[2][ROWS];
static uint64_t hash[2][ROWS], number[2][ROWS];
static uint32_t bucket[2][ROWS], producer[2][ROWS];
static uint64_t cells[2][COLUMNS][ROWS];
static uint8_t message[ROOM], scratch[ROOM];
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

static void check(int rc)
{
    if (rc != PST_OK) {
        printf("%s\n", pst_error_name(rc));
        exit(1);
    }
}

/* Rows as a source of meters has them: a growing id, small numbers of house and plug, a value with some noise. */
static void fill(void)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t house = (uint32_t)(random_next() % 40), plug = (uint32_t)(random_next() % 20);
        row_time[0][i] = 1378000000 + i / 100;
        hash[0][i] = (house * 20 + plug + 1) * UINT64_C(0x9E3779B97F4A7C15); /* one for each plug, as a key's is */
        bucket[0][i] = (uint32_t)hash[0][i] & 255;
        producer[0][i] = 0;
        number[0][i] = 1000000 + i;
        cells[0][0][i] = random_next() % 300000;
        memcpy((uint32_t *)cells[0][1] + i, &house, 4);
        memcpy((uint32_t *)cells[0][2] + i, &plug, 4);
        cells[0][3][i] = 7000000 + i;
    }
}

static void show(const char *what, double *values, size_t clear_bytes)
{
    qsort(values, REPEATS, sizeof *values, double_compare);
    double ns = values[REPEATS / 2] / ROUNDS;
    printf("  %s %7.0f ns %6.2f GB/s %6.0f M rows/s", what, ns, (double)clear_bytes / ns, ROWS / ns * 1e3);
}

enum how { CLEAR, LZ4, NARROW };

static int frame_write(const struct pst_wire_shape *shape, const struct pst_wire_columns *columns, enum how how,
                       size_t *ret_bytes)
{
    struct pst_wire_head head = {.number = 1};
    if (how == NARROW)
        return pst_wire_frame_narrow(&head, shape, columns, ROWS, 0, message, ROOM, ret_bytes);
    return pst_wire_frame_write(&head, shape, columns, ROWS, 0, how == LZ4 ? scratch : NULL, ROOM, message, ROOM,
                                ret_bytes);
}

static void bench(const char *what, bool keyed, bool numbered, enum how how)
{
    static const uint32_t key[] = {1, 2};
    static const struct pst_hash_key hash_key;
    struct pst_wire_shape shape = {.column_count = COLUMNS,
                                   .column_bytes = column_bytes,
                                   .bucket_mask = 255,
                                   .keyed = keyed,
                                   .numbered = numbered,
                                   .key_count = keyed ? 2 : 0,
                                   .key = key,
                                   .hash_key = &hash_key};
    struct pst_wire_columns columns[2];
    void *column[2][COLUMNS];
    double write_ns[REPEATS], read_ns[REPEATS];
    size_t bytes = 0, clear_bytes = pst_wire_frame_clear_bytes(&shape, ROWS);
    uint32_t rows;
    int64_t watermark;
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t c = 0; c < COLUMNS; c++)
            column[k][c] = cells[k][c];
        columns[k] = (struct pst_wire_columns){row_time[k], hash[k], bucket[k], producer[k], number[k], column[k]};
    }
    for (uint32_t r = 0; r < REPEATS; r++) {
        double start = now_ns();
        for (uint32_t i = 0; i < ROUNDS; i++)
            check(frame_write(&shape, &columns[0], how, &bytes));
        double middle = now_ns();
        for (uint32_t i = 0; i < ROUNDS; i++)
            check(pst_wire_frame_read(message, bytes, &shape, &columns[1], ROWS, scratch, ROOM, &rows, &watermark));
        write_ns[r] = middle - start;
        read_ns[r] = now_ns() - middle;
    }
    printf("%-24s", what);
    show("write", write_ns, clear_bytes);
    show("read", read_ns, clear_bytes);
    printf("  %6zu of %zu bytes\n", bytes, clear_bytes);
}

int main(void)
{
    static const struct {
        const char *what;
        bool keyed, numbered;
    } kinds[] = {{"plain", false, false}, {"keyed", true, false}, {"keyed, numbered", true, true}};
    static const char *const how[] = {[CLEAR] = "", [LZ4] = ", LZ4", [NARROW] = ", narrow"};
    fill();
    for (uint32_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (enum how h = CLEAR; h <= NARROW; h++) {
            char what[40];
            (void)snprintf(what, sizeof what, "%s%s", kinds[k].what, how[h]);
            bench(what, kinds[k].keyed, kinds[k].numbered, h);
        }
    return 0;
}
