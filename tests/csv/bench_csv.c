/* tests/csv/bench_csv - what the CSV parser and the CSV sink cost, in memory, without an engine.
 *
 * Usage: bench_csv [ROUNDS]     prints nanoseconds per row, the median of ROUNDS (default 9) passes over 2 million rows.
 * The `limit` line is a plain scalar parser of one purpose, the yardstick's, on the same text. */
#include "operators/csv_parse.h"
#include "tests/csv/fake.h"

#include <time.h>

extern const struct pst_operator pst_csv_sink;

enum { ROW_COUNT = 1000000, BLOCK_BYTES = 256 * 1024, SINK_ROWS = 10625, ROUNDS_MAX = 99 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}
static uint64_t seed = 88172645463325252u;
static uint32_t next_random(void)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

/* Rows as in the challenge: load and work of a plug in turn, 63 % of loads 0, decimals without trailing zeros. */
static char *make_text(size_t *ret_bytes, bool negative)
{
    char *base = malloc((size_t)ROW_COUNT * 64 + 128), *at = base + 64;
    uint64_t id = 2967740000u;
    for (uint32_t row = 0; row < ROW_COUNT; row++) {
        uint32_t milli = row % 2 ? next_random() % 500000 : next_random() % 100 < 63 ? 0 : next_random() % 400000;
        uint32_t house = next_random() % 40, household = next_random() % 18, plug = next_random() % 15;
        at += sprintf(at, "%llu,%u,%s%u", (unsigned long long)id++, 1377986401 + row / 1565,
                      negative && row % 3 == 0 ? "-" : "", milli / 1000);
        if (milli % 1000 != 0) {
            at += sprintf(at, ".%03u", milli % 1000);
            while (at[-1] == '0')
                at--;
        }
        at += sprintf(at, ",%u,%u,%u,%u\n", (row + 1) % 2, plug, household, house);
    }
    *ret_bytes = (size_t)(at - base - 64);
    return base + 64;
}

static const char *const items[] = {"id:u64",      "timestamp:u32",    "value:decimal3", "property:bit",
                                    "plug_id:u32", "household_id:u32", "house_id:u32"};
static const struct pst_field fields[] = {
    {"id", PST_U64, 0},      {"timestamp", PST_U32, 0},    {"value", PST_I64, 3},   {"property", PST_U32, 0},
    {"plug_id", PST_U32, 0}, {"household_id", PST_U32, 0}, {"house_id", PST_U32, 0}};

static uint32_t block_end(const char *text, size_t left)
{
    if (left <= BLOCK_BYTES)
        return (uint32_t)left;
    uint32_t end = BLOCK_BYTES;
    while (text[end - 1] != '\n')
        end--;
    return end;
}

/* kernel NULL: the plain parser. `hot`: the same block again and again, from the second cache. */
static double parse_ns(const struct pst_csv_kernel *kernel, const char *text, size_t bytes, bool hot, int rounds)
{
    double ns[ROUNDS_MAX];
    struct pst_csv_schema schema = {.field_count = 7};
    static struct pst_ctx ctx;
    fake_init(&ctx, fields, 7);
    ctx.discard = true;
    ctx.unwanted = 1;
    for (int i = 0; i < 7; i++)
        pst_csv_field_read(items[i], &schema.fields[i]);
    schema.fields[0].wanted = false;
    pst_csv_field_time_set(&schema.fields[1]);
    struct pst_csv_parser parser;
    pst_csv_parser_init(&ctx, &parser, &schema, kernel);
    for (int round = 0; round < rounds; round++) {
        uint64_t rows = ctx.row_count;
        double start = now_ns();
        for (size_t at = 0; at < bytes;) {
            size_t from = hot ? 0 : at;
            struct pst_block block = {.text = text + from, .text_bytes = block_end(text + from, bytes - from)};
            if (kernel != NULL)
                pst_csv_parse(&ctx, &parser, &block);
            else
                pst_csv_plain_parse(&ctx, &schema, &block);
            at += block.text_bytes;
        }
        fake_flush(&ctx);
        ns[round] = (now_ns() - start) / (double)(ctx.row_count - rows);
    }
    if (ctx.reject_count != 0)
        printf("rejects: %llu\n", (unsigned long long)ctx.reject_count);
    fake_fini(&ctx);
    return median(ns, rounds);
}

/* ---- the yardstick's parser ---- */
struct row {
    int64_t ts, milli;
    uint32_t prop, plug, household, house;
};
static const char *parse_u(const char *p, uint64_t *v)
{
    uint64_t x = (uint64_t)(*p++ - '0');
    unsigned d;
    while ((d = (unsigned)(*p - '0')) < 10)
        x = x * 10 + d, p++;
    *v = x;
    return p + 1;
}
static const char *parse_row(const char *p, struct row *r)
{
    uint64_t id, ts, whole, v[4];
    p = parse_u(p, &id);
    p = parse_u(p, &ts);
    int negative = *p == '-';
    p = parse_u(p + negative, &whole);
    uint64_t milli = whole * 1000;
    if (p[-1] == '.') {
        uint64_t scale = 100;
        unsigned d;
        for (; (d = (unsigned)(*p - '0')) < 10; p++)
            milli += d * scale, scale /= 10;
        p++;
    }
    for (int i = 0; i < 4; i++)
        p = parse_u(p, &v[i]);
    *r = (struct row){(int64_t)ts,    negative ? -(int64_t)milli : (int64_t)milli,
                      (uint32_t)v[0], (uint32_t)v[1],
                      (uint32_t)v[2], (uint32_t)v[3]};
    return p;
}
static double limit_ns(const char *text, size_t bytes, bool hot, int rounds)
{
    double ns[ROUNDS_MAX];
    volatile int64_t kept = 0; /* or the compiler drops the work */
    for (int round = 0; round < rounds; round++) {
        int64_t sum = 0;
        uint64_t rows = 0;
        double start = now_ns();
        for (size_t at = 0; at < bytes;) {
            const char *p = text + (hot ? 0 : at), *end = p + block_end(p, hot ? bytes : bytes - at);
            at += (size_t)(end - p);
            struct row r;
            for (; p < end; rows++) {
                p = parse_row(p, &r);
                sum += r.milli + r.ts + r.prop + r.plug + r.household + r.house;
            }
        }
        kept += sum;
        ns[round] = (now_ns() - start) / (double)rows + (double)(kept & 0);
    }
    return median(ns, rounds);
}

#ifndef NO_SINK
/* ---- the sink: a tick of load_plug.csv, from 16 partitions, each in order ---- */
static double sink_ns(int rounds, bool sorted, double *ret_row_bytes)
{
    static const struct pst_field in[] = {{"at", PST_I64, 0},
                                          {"slice", PST_U32, 0},
                                          {"ts", PST_I64, 0},
                                          {"house_id", PST_U32, 0},
                                          {"household_id", PST_U32, 0},
                                          {"plug_id", PST_U32, 0},
                                          {"predicted_load", PST_I64, 3}};
    static const uint32_t slices[] = {60, 300, 900, 3600, 7200};
    static struct pst_plan plan;
    static struct pst_ctx ctx;
    memset(&plan, 0, sizeof plan);
    plan = (struct pst_plan){
        .head.host = &fake_host,
        .input = {7, in, 0},
        .params = {{"file", 1, {"load_plug.csv"}},
                   {"columns", 7, {"at", "slice", "ts", "house_id", "household_id", "plug_id", "predicted_load"}},
                   {"order", 5, {"at", "slice", "house_id", "household_id", "plug_id"}}}};
    if (pst_csv_sink.plan(&plan) != PST_OK)
        return -1;
    fake_init(&ctx, NULL, 0);
    ctx.planned = plan.user;
    ctx.discard = true;
    if (pst_csv_sink.open(&ctx) != PST_OK)
        return -1;
    static int64_t at[SINK_ROWS], ts[SINK_ROWS], load[SINK_ROWS];
    static uint32_t slice[SINK_ROWS], house[SINK_ROWS], household[SINK_ROWS], plug[SINK_ROWS];
    uint32_t n = 0, parts = sorted ? 1 : 16;
    for (uint32_t part = 0; part < parts; part++)
        for (uint32_t s = 0; s < 5; s++)
            for (uint32_t p = 0; p < 2125; p++)
                if ((p / 53) % parts == part) {
                    at[n] = 1377986430, slice[n] = slices[s], ts[n] = 1377986400 + 2 * (int64_t)slices[s];
                    house[n] = p / 53, household[n] = p % 53 / 6 * 3 + 1, plug[n] = p % 53 % 6 * 2;
                    load[n++] = next_random() % 100 < 55 ? 0 : next_random() % 300000;
                }
    double ns[ROUNDS_MAX];
    for (int round = 0; round < rounds; round++) {
        double start = now_ns();
        for (int tick = 0; tick < 40; tick++) {
            for (uint32_t from = 0; from < n; from += 1024) {
                const void *all[] = {at + from,        slice + from, ts + from,  house + from,
                                     household + from, plug + from,  load + from};
                const void *columns[7];
                for (int i = 0; i < 7; i++)
                    columns[i] = all[plan.uses[i]];
                struct pst_rows rows = {
                    .row_count = n - from < 1024 ? n - from : 1024, .columns = columns, .time = at + from};
                pst_csv_sink.on_frame(&ctx, &rows);
            }
            pst_csv_sink.on_time(&ctx, 1377986431);
        }
        ns[round] = (now_ns() - start) / (40.0 * n);
    }
    *ret_row_bytes = (double)ctx.written_bytes / (40.0 * n * rounds);
    fake_fini(&ctx);
    fake_plan_fini(&plan);
    return median(ns, rounds);
}
#endif

int main(int argc, char **argv)
{
    size_t bytes, minus_bytes;
    int rounds = argc > 1 ? atoi(argv[1]) : 9;
    if (rounds < 1 || rounds > ROUNDS_MAX)
        return 2;
    char *text = make_text(&bytes, false), *minus = make_text(&minus_bytes, true);
    printf("%.1f bytes a row; ns a row: one block of %d KiB again and again, then %zu MB from memory, then with a "
           "third negative\n",
           (double)bytes / ROW_COUNT, BLOCK_BYTES / 1024, bytes >> 20);
    printf("limit     %6.1f %6.1f\n", limit_ns(text, bytes, true, rounds), limit_ns(text, bytes, false, rounds));
    printf("plain     %6.1f\n", parse_ns(NULL, text, bytes, true, rounds));
    for (int level = 0; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = pst_csv_kernel_at((pst_csv_level)level);
        static const char *const names[] = {"portable", "avx2", "avx512"};
        if (kernel != NULL)
            printf("%-9s %6.1f %6.1f %6.1f\n", names[level], parse_ns(kernel, text, bytes, true, rounds),
                   parse_ns(kernel, text, bytes, false, rounds), parse_ns(kernel, minus, minus_bytes, true, rounds));
    }
#ifndef NO_SINK
    double row_bytes;
    double unsorted = sink_ns(rounds, false, &row_bytes), sorted = sink_ns(rounds, true, &row_bytes);
    printf("sink      %6.1f from 16 partitions, %.1f in order; %.1f bytes a row\n", unsorted, sorted, row_bytes);
#endif
    free(text - 64);
    free(minus - 64);
    return 0;
}
