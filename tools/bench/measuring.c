/* measuring.c - two operators for measurements, as a shared object: one whose state is as large as it is wanted to be, and a sink that
 * says how late each row was. The sink reads a clock and maps a file, which no operator of a product may: its outputs are figures. */
#include "operators/operator.h"

#include "tools/bench/stamps.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- held: a record for each key, touched by each of its rows; each row goes on at the end of its epoch ---- */

enum { AT, KEY, HELD_USED };
enum { OUT_AT, OUT_KEY, OUT_BUCKET, OUT_COUNT, OUT_FIELDS };

struct held_row {
    uint32_t at, key, bucket;
    uint64_t count;
};

struct held { /* of a partition; `rows` are those of the open epoch, none between two */
    struct pst_table *table;
    struct held_row *rows;
    uint32_t row_count, row_capacity;
    uint32_t record_bytes;
};

static int held_plan(struct pst_plan *plan)
{
    static const char *const names[HELD_USED] = {"at", "key"};
    int64_t *record_bytes = pst_plan_alloc(plan, sizeof *record_bytes);
    if (record_bytes == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < HELD_USED; i++)
        if (pst_plan_use(plan, 0, names[i], NULL, 0) < 0)
            return PST_EGRAPH;
    *record_bytes = pst_plan_int(plan, "record");
    pst_plan_set_user(plan, record_bytes);
    pst_plan_order(plan, PST_ORDER_EPOCH, pst_plan_int(plan, "epoch"));
    const struct pst_field fields[OUT_FIELDS] = {
        {"at", PST_U32, 0}, {"key", PST_U32, 0}, {"bucket", PST_U32, 0}, {"count", PST_U64, 0}};
    return pst_plan_output(plan, 0, fields, OUT_FIELDS, -1);
}

static int held_open(struct pst_ctx *ctx)
{
    struct held *held = pst_alloc(ctx, sizeof *held);
    if (held == NULL)
        return PST_ENOMEM;
    held->record_bytes = (uint32_t) * (const int64_t *)pst_planned(ctx);
    held->table = pst_table_open(ctx, "held", sizeof(uint32_t), held->record_bytes);
    pst_set_user(ctx, held);
    return held->table != NULL ? PST_OK : PST_ENOMEM;
}

static int held_room(struct pst_ctx *ctx, struct held *held, uint32_t row_count)
{
    if (held->row_count + row_count <= held->row_capacity)
        return PST_OK;
    uint32_t capacity = held->row_capacity == 0 ? 4096 : held->row_capacity;
    while (capacity < held->row_count + row_count)
        capacity *= 2;
    struct held_row *rows = pst_alloc(ctx, capacity * sizeof *rows);
    if (rows == NULL)
        return PST_ENOMEM;
    if (held->row_count != 0)
        memcpy(rows, held->rows, held->row_count * sizeof *rows);
    held->rows = rows; /* the older one goes with the partition */
    held->row_capacity = capacity;
    return PST_OK;
}

/* A new record is filled, so that nothing of it packs well. */
static void touch(const struct held *held, uint64_t *record, uint32_t key)
{
    if (record[0] == 0) {
        uint64_t z = key + 1;
        for (uint32_t i = 1; i < held->record_bytes / sizeof *record; i++) {
            z = z * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            record[i] = z ^ (z >> 29);
        }
    }
    record[0]++;
}

static int held_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct held *held = pst_user(ctx);
    const uint32_t *at = rows->columns[AT], *key = rows->columns[KEY];
    int rc = rows->bucket != NULL ? held_room(ctx, held, rows->row_count) : PST_EINVAL;
    for (uint32_t i = 0; i < rows->row_count && rc == PST_OK; i++) {
        void *record;
        rc = pst_table_upsert(ctx, held->table, 1, &rows->bucket[i], &rows->hash[i], &key[i], NULL, &record);
        if (rc != PST_OK)
            break;
        touch(held, record, key[i]);
        held->rows[held->row_count++] = (struct held_row){at[i], key[i], rows->bucket[i], *(uint64_t *)record};
    }
    return rc;
}

static int held_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct held *held = pst_user(ctx);
    (void)t;
    for (uint32_t done = 0; done < held->row_count;) {
        uint32_t n = held->row_count - done < PST_OUT_ROWS_MAX ? held->row_count - done : PST_OUT_ROWS_MAX;
        struct pst_out *out = pst_out_reserve(ctx, 0, n);
        if (out == NULL)
            return PST_ENOMEM;
        for (uint32_t i = 0; i < n; i++, done++) {
            const struct held_row *row = &held->rows[done];
            uint32_t to = out->row_count++;
            ((uint32_t *)out->columns[OUT_AT])[to] = row->at;
            ((uint32_t *)out->columns[OUT_KEY])[to] = row->key;
            ((uint32_t *)out->columns[OUT_BUCKET])[to] = row->bucket;
            ((uint64_t *)out->columns[OUT_COUNT])[to] = row->count;
            out->bucket[to] = row->bucket;
        }
    }
    held->row_count = 0;
    return PST_OK;
}

static int held_on_end(struct pst_ctx *ctx, int64_t t) { return held_on_time(ctx, t); }

static const struct pst_param held_params[] = {
    {.name = "record",
     .kind = PST_PARAM_INT,
     .standard = "1024",
     .value_min = 8,
     .value_max = 8192,
     .help = "bytes of state for each key, a multiple of 8"},
    {.name = "epoch",
     .kind = PST_PARAM_INT,
     .standard = "10",
     .value_min = 1,
     .value_max = 60000,
     .help = "milliseconds of an epoch"},
};
static const struct pst_operator held = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "held",
    .summary = "Keeps a record for each key, and puts out each row at the end of its epoch.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof held_params / sizeof held_params[0],
    .params = held_params,
    .plan = held_plan,
    .open = held_open,
    .on_frame = held_on_frame,
    .on_time = held_on_time,
    .on_end = held_on_end,
};

/* ---- seen: the sink ---- */

struct seen_plan {
    const char *stamps;
    uint32_t bucket_count, class_first;
};

struct seen {
    struct stamps *stamps;
    uint32_t bucket_count, class_first;
};

static int seen_plan(struct pst_plan *plan)
{
    struct seen_plan *shared = pst_plan_alloc(plan, sizeof *shared);
    if (shared == NULL)
        return PST_ENOMEM;
    if (pst_plan_use(plan, 0, "at", NULL, 0) < 0 || pst_plan_use(plan, 0, "bucket", NULL, 0) < 0)
        return PST_EGRAPH;
    *shared = (struct seen_plan){pst_plan_text(plan, "stamps"), (uint32_t)pst_plan_int(plan, "buckets"),
                                 (uint32_t)pst_plan_int(plan, "class")};
    pst_plan_set_user(plan, shared);
    pst_plan_order(plan, PST_ORDER_ANY, 1);
    return PST_OK;
}

static int seen_open(struct pst_ctx *ctx)
{
    const struct seen_plan *shared = pst_planned(ctx);
    struct seen *seen = pst_alloc(ctx, sizeof *seen);
    if (seen == NULL)
        return PST_ENOMEM;
    int fd = open(shared->stamps, O_RDWR | O_CLOEXEC);
    void *map = fd >= 0 ? mmap(NULL, sizeof(struct stamps), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        (void)close(fd);
    if (map == MAP_FAILED || ((struct stamps *)map)->magic != STAMPS_MAGIC) {
        pst_fail(ctx, "its file of stamps cannot be mapped, or is none");
        return PST_EIO;
    }
    seen->stamps = map;
    seen->bucket_count = shared->bucket_count;
    seen->class_first = shared->class_first;
    if (seen->class_first == 0)
        atomic_fetch_add(&seen->stamps->opened, 1);
    pst_set_user(ctx, seen);
    return PST_OK;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static int seen_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const struct seen *seen = pst_user(ctx);
    struct stamps *stamps = seen->stamps;
    const uint32_t *at = rows->columns[0], *bucket = rows->columns[1];
    uint64_t base_ns = atomic_load_explicit(&stamps->base_ns, memory_order_acquire);
    uint64_t base_ms = atomic_load_explicit(&stamps->base_ms, memory_order_relaxed);
    uint64_t now = now_ns(), newest = atomic_load_explicit(&stamps->newest, memory_order_relaxed);
    for (uint32_t i = 0; i < rows->row_count; i++) {
        newest = at[i] > newest ? at[i] : newest;
        if (base_ns == 0 || at[i] < base_ms)
            continue;
        uint64_t due_ms = at[i] - base_ms, due_ns = base_ns + due_ms * 1000000;
        uint64_t slot = due_ms / STAMPS_SLOT_MS;
        uint64_t us = now > due_ns ? (now - due_ns) / 1000 : 0;
        uint32_t of = seen->class_first + bucket[i] * 2 / seen->bucket_count;
        if (slot < STAMPS_SLOTS && of < STAMPS_CLASSES)
            stamps->cells[slot][of][stamps_cell(us)]++;
    }
    if (seen->class_first != 0)
        return PST_OK;
    atomic_store_explicit(&stamps->newest, newest, memory_order_relaxed);
    atomic_fetch_add_explicit(&stamps->rows, rows->row_count, memory_order_release);
    return PST_OK;
}

static void seen_close(struct pst_ctx *ctx)
{
    const struct seen *seen = pst_user(ctx);
    if (seen != NULL)
        (void)munmap(seen->stamps, sizeof *seen->stamps);
}

static const struct pst_param seen_params[] = {
    {.name = "file", .kind = PST_PARAM_TEXT, .required = true, .help = "its output, which stays empty"},
    {.name = "stamps", .kind = PST_PARAM_TEXT, .required = true, .help = "the file that the pacer has made"},
    {.name = "buckets",
     .kind = PST_PARAM_INT,
     .required = true,
     .value_min = 1,
     .value_max = 4096,
     .help = "of the operator before it"},
    {.name = "class",
     .kind = PST_PARAM_INT,
     .standard = "0",
     .value_min = 0,
     .value_max = STAMPS_CLASSES - 2,
     .help = "its lower half of buckets is this class; the first sink is 0"},
};
static const struct pst_operator seen = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "seen",
    .summary = "Says how late each row is seen.",
    .role = PST_ROLE_SINK,
    .input_count = 1,
    .param_count = sizeof seen_params / sizeof seen_params[0],
    .params = seen_params,
    .plan = seen_plan,
    .open = seen_open,
    .on_frame = seen_on_frame,
    .close = seen_close,
};

__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&held, &seen, NULL};
