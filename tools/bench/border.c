/* border.c - what a worker's border costs by itself: usage: border SECONDS. Prints one JSON object.
 *
 * The operator is the emptiest there can be (echo.c): rows per second through it and back, and the round trip of a frame of one row while
 * both sides are awake. Rows are those of a meter: a key of some thousand plugs, a value in milliwatts, and the hash of the key. */
#include "tools/bench/border.h"

#include "enclave_shim/enclave_shim.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_ROWS = 2048, TRIPS = 100000, WAIT_US = 1000 };

struct bench {
    struct pst_enclave_operator config;
    struct pst_enclave *enclave;
    uint64_t rows_back, sum_back, asked, answered;
    int64_t time[FRAME_ROWS], value[FRAME_ROWS];
    uint64_t hash[FRAME_ROWS];
    uint32_t key[FRAME_ROWS];
};

static void fail(const char *what)
{
    (void)fprintf(stderr, "border: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int draw(void *argument, void *bytes, size_t byte_count)
{
    (void)argument;
    return getrandom(bytes, byte_count, 0) == (ssize_t)byte_count ? PST_OK : PST_EIO;
}

static int take(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns)
{
    struct bench *bench = taker;
    (void)output, (void)bucket;
    bench->rows_back += row_count;
    bench->sum_back += ((const uint32_t *)columns[0])[row_count - 1];
    return PST_OK;
}

static int answered(void *taker)
{
    ((struct bench *)taker)->answered++;
    return PST_OK;
}

static void bench_start(struct bench *bench)
{
    static uint32_t buckets[ECHO_BUCKETS];
    static char own[PATH_MAX], program[PATH_MAX + 32];
    char why[PST_ENCLAVE_WHY_BYTES];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n <= 0)
        fail("where is this program?");
    (void)snprintf(program, sizeof program, "%s/penstock-enclave-echo", dirname(own));
    for (uint32_t b = 0; b < ECHO_BUCKETS; b++)
        buckets[b] = b;
    for (uint32_t i = 0; i < FRAME_ROWS; i++) {
        bench->key[i] = i * 7919 % 2125;
        bench->value[i] = (int64_t)i * 104729 % 3000000;
        bench->hash[i] = bench->key[i] * UINT64_C(0x9e3779b97f4a7c15);
    }
    bench->config = (struct pst_enclave_operator){
        .type = "echo", .id = "echo", .bucket_count = ECHO_BUCKETS, .epoch = 1, .input_count = 1, .output_count = 1};
    bench->config.inputs[0] =
        (struct pst_enclave_input){.schema = {2, echo_fields, -1}, .keyed = true, .used_count = 2, .used = {0, 1}};
    bench->config.outputs[0] = (struct pst_enclave_output){.schema = {2, echo_fields, -1}, .wanted = {true, true}};
    struct pst_enclave_settings settings = {.operator= & bench->config,
                                            .buckets = buckets,
                                            .bucket_count = ECHO_BUCKETS,
                                            .epc_bytes = 16 << 20,
                                            .outside_bytes = 1 << 20,
                                            .program = program,
                                            .random = draw,
                                            .take = take,
                                            .answered = answered,
                                            .spare_processors = sysconf(_SC_NPROCESSORS_ONLN) >= 2,
                                            .taker = bench};
    if (pst_enclave_start(&pst_enclave_process, &settings, &bench->enclave, why) != PST_OK)
        fail(why);
}

static void check(const struct bench *bench, int rc)
{
    if (rc != PST_OK)
        fail(pst_enclave_why(bench->enclave));
}

/* One epoch: a frame, and its end asked for. */
static void send(struct bench *bench, uint32_t row_count, int64_t t)
{
    const void *columns[] = {bench->key, bench->value};
    for (uint32_t i = 0; i < row_count; i++)
        bench->time[i] = t;
    check(bench,
          pst_enclave_frame(bench->enclave,
                            &(struct pst_rows){
                                .row_count = row_count, .columns = columns, .time = bench->time, .hash = bench->hash}));
    check(bench, pst_enclave_ask_time(bench->enclave, t + 1, t + 1));
    bench->asked++;
}

static void wait_for(struct bench *bench, uint64_t open_max)
{
    while (bench->asked - bench->answered > open_max) {
        int rc = pst_enclave_answered(bench->enclave);
        if (rc == PST_EAGAIN)
            rc = pst_enclave_wait(bench->enclave, WAIT_US);
        check(bench, rc);
    }
}

static double rows_per_second(struct bench *bench, double seconds, int64_t *t)
{
    uint64_t begun = now_ns(), rows = 0, before = bench->rows_back;
    while ((double)(now_ns() - begun) < seconds * 1e9) {
        for (int i = 0; i < 64; i++, rows += FRAME_ROWS) {
            send(bench, FRAME_ROWS, (*t)++);
            wait_for(bench, PST_ENCLAVE_ASKED_MAX - 1);
        }
    }
    wait_for(bench, 0);
    uint64_t spent = now_ns() - begun;
    if (bench->rows_back - before != rows)
        fail("not all rows have come back");
    return (double)rows * 1e9 / (double)spent;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Round trips in which neither side slept: whoever is woken is woken by a system call of the worker, or is the worker, and it counts both.
 * Returns how many; *ret_p50 and *ret_p99 are of these. */
static uint32_t round_trips(struct bench *bench, int64_t *t, uint64_t *ret_p50, uint64_t *ret_p99)
{
    static uint64_t trips[TRIPS];
    struct pst_enclave_counts counts;
    uint32_t awake = 0;
    uint64_t before = UINT64_MAX;
    for (int i = 0; i < TRIPS; i++) {
        uint64_t from = now_ns();
        send(bench, 1, (*t)++);
        wait_for(bench, 0);
        uint64_t spent = now_ns() - from;
        pst_enclave_counts(bench->enclave, &counts);
        if (counts.leaves == before)
            trips[awake++] = spent;
        before = counts.leaves;
    }
    if (awake == 0)
        fail("one side slept in each round trip: this machine has no two processors to spare");
    qsort(trips, awake, sizeof trips[0], compare);
    *ret_p50 = trips[awake / 2];
    *ret_p99 = trips[(uint64_t)awake * 99 / 100];
    return awake;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    double seconds = argc == 2 ? atof(argv[1]) : 0;
    int64_t t = 0;
    uint64_t p50, p99;
    if (seconds <= 0 || seconds > 600)
        fail("usage: border SECONDS");
    uint64_t begun = now_ns();
    bench_start(&bench);
    double start_ms = (double)(now_ns() - begun) / 1e6;
    (void)rows_per_second(&bench, seconds / 10, &t); /* not counted: memory is touched for the first time */
    double rate = rows_per_second(&bench, seconds, &t);
    uint32_t awake = round_trips(&bench, &t, &p50, &p99);
    printf("{\"rows_per_second\":%.0f,\"frame_rows\":%d,\"round_trip_ns_p50\":%llu,\"round_trip_ns_p99\":%llu,"
           "\"round_trips\":%d,\"round_trips_awake\":%u,\"start_ms\":%.1f}\n",
           rate, FRAME_ROWS, (unsigned long long)p50, (unsigned long long)p99, TRIPS, awake, start_ms);
    pst_enclave_free(bench.enclave);
    return 0;
}
