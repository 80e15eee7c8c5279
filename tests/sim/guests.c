/* guests.c - see guests.h.
 *
 *   join      two inputs, epoch order: counts and sums of both for each key and epoch
 *   sequence  total order: a running number and a chained digest of all rows before it, so that any other order shows
 *   twist     epoch order: puts its keys out in the order in which they came, with a field that nobody reads left as it is
 *   echo      total order, two outputs, rows put out in on_frame() and in on_time()
 *   seen      stateless: forwards the rows whose event time and `ts` field agree
 *   trip      fails at its n-th row
 *   garble    puts out a text that is longer than its cell, which no operator may
 *   skim      total order: keeps every row in a log, reads some of them again when they are old, and trims the others unread */
#include "tests/sim/guests.h"

#include <string.h>

enum { RESERVE = 1 };

static int use_u32(struct pst_plan *plan, uint32_t input, const char *param)
{
    return pst_plan_use(plan, input, pst_plan_text(plan, param), param, 0) < 0 ? PST_EGRAPH : PST_OK;
}

static uint32_t bucket_of(const struct pst_rows *rows, uint32_t i)
{
    return rows->bucket != NULL ? rows->bucket[i] : 0;
}
static uint64_t hash_of(const struct pst_rows *rows, uint32_t i) { return rows->hash != NULL ? rows->hash[i] : 0; }

static int table_open(struct pst_ctx *ctx, uint32_t record_bytes)
{
    struct pst_table *table = pst_table_open(ctx, "keys", 4, record_bytes);
    pst_set_user(ctx, table);
    return table != NULL ? PST_OK : PST_ENOMEM;
}

static int record_of(struct pst_ctx *ctx, const struct pst_rows *rows, uint32_t i, uint32_t key, void *ret_record)
{
    uint32_t bucket = bucket_of(rows, i);
    uint64_t hash = hash_of(rows, i);
    return pst_table_upsert(ctx, pst_user(ctx), 1, &bucket, &hash, &key, NULL, ret_record);
}

/* ---- join ---- */
struct joined {
    uint64_t count[2];
    int64_t sum[2];
};

static int join_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0},    {"key", PST_U32, 0},     {"count_a", PST_U64, 0},
                                              {"sum_a", PST_I64, 0}, {"count_b", PST_U64, 0}, {"sum_b", PST_I64, 0}};
    int rc = PST_OK;
    for (uint32_t input = 0; input < 2; input++)
        if (use_u32(plan, input, "key_field") != PST_OK ||
            use_u32(plan, input, input == 0 ? "left" : "right") != PST_OK)
            rc = PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_EPOCH, pst_plan_int(plan, "epoch"));
    return rc == PST_OK ? pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0) : rc;
}

static int join_open(struct pst_ctx *ctx) { return table_open(ctx, sizeof(struct joined)); }

static int join_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *key = rows->columns[0];
    const int64_t *value = rows->columns[1];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        struct joined *joined;
        int rc = record_of(ctx, rows, i, key[i], &joined);
        if (rc != PST_OK)
            return rc;
        joined->count[rows->input]++;
        joined->sum[rows->input] += value[i];
    }
    return PST_OK;
}

static int join_put(struct pst_ctx *ctx, int64_t t, uint32_t bucket)
{
    struct pst_table *table = pst_user(ctx);
    for (uint32_t i = 0; i < pst_table_count(ctx, table, bucket); i++) {
        struct joined *joined = pst_table_record(ctx, table, bucket, i);
        if (joined->count[0] + joined->count[1] == 0)
            continue;
        struct pst_out *out = pst_out_reserve(ctx, 0, RESERVE);
        if (out == NULL)
            return PST_ENOMEM;
        uint32_t row = out->row_count++;
        ((int64_t *)out->columns[0])[row] = t;
        memcpy((uint32_t *)out->columns[1] + row, pst_table_key(ctx, table, bucket, i), 4);
        ((uint64_t *)out->columns[2])[row] = joined->count[0];
        ((int64_t *)out->columns[3])[row] = joined->sum[0];
        ((uint64_t *)out->columns[4])[row] = joined->count[1];
        ((int64_t *)out->columns[5])[row] = joined->sum[1];
        out->bucket[row] = bucket;
        *joined = (struct joined){0};
    }
    return PST_OK;
}

static int join_on_time(struct pst_ctx *ctx, int64_t t)
{
    uint32_t count = 0;
    const uint32_t *due = pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = join_put(ctx, t, due[i]);
    return rc;
}

static const struct pst_param join_params[] = {
    {.name = "key_field", .kind = PST_PARAM_TEXT, .required = true, .help = "a u32 of both inputs"},
    {.name = "left", .kind = PST_PARAM_TEXT, .required = true, .help = "an i64 of the first"},
    {.name = "right", .kind = PST_PARAM_TEXT, .required = true, .help = "an i64 of the second"},
    {.name = "epoch", .kind = PST_PARAM_INT, .standard = "1", .value_min = 1, .value_max = 1000000, .help = "epoch"},
};

static const struct pst_operator join = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof join,
    .name = "join",
    .summary = "Counts and sums two streams.",
    .input_count = 2,
    .output_count = 1,
    .param_count = sizeof join_params / sizeof join_params[0],
    .params = join_params,
    .plan = join_plan,
    .open = join_open,
    .on_frame = join_on_frame,
    .on_time = join_on_time,
    .on_end = join_on_time,
};

/* ---- sequence ---- */
struct chain {
    uint64_t number, digest;
};

static int sequence_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {
        {"at", PST_I64, 0}, {"key", PST_U32, 0}, {"number", PST_U64, 0}, {"digest", PST_U64, 0}, {"value", PST_I64, 0}};
    int rc = PST_OK;
    if (use_u32(plan, 0, "key_field") != PST_OK || use_u32(plan, 0, "value") != PST_OK)
        rc = PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_TOTAL, pst_plan_int(plan, "epoch"));
    return rc == PST_OK ? pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0) : rc;
}

static int sequence_open(struct pst_ctx *ctx) { return table_open(ctx, sizeof(struct chain)); }

static int sequence_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *key = rows->columns[0];
    const int64_t *value = rows->columns[1];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        struct chain *chain;
        uint32_t chained = rows->bucket != NULL ? key[i] : 0;
        int rc = record_of(ctx, rows, i, chained, &chain);
        struct pst_out *out = rc == PST_OK ? pst_out_reserve(ctx, 0, RESERVE) : NULL;
        if (out == NULL)
            return rc != PST_OK ? rc : PST_ENOMEM;
        chain->digest =
            (chain->digest ^ (uint64_t)value[i] ^ (uint64_t)rows->time[i] << 32 ^ key[i]) * 0x100000001b3u + 1;
        uint32_t row = out->row_count++;
        ((int64_t *)out->columns[0])[row] = rows->time[i];
        ((uint32_t *)out->columns[1])[row] = key[i];
        ((uint64_t *)out->columns[2])[row] = chain->number++;
        ((uint64_t *)out->columns[3])[row] = chain->digest;
        ((int64_t *)out->columns[4])[row] = value[i];
        out->bucket[row] = bucket_of(rows, i);
    }
    return PST_OK;
}

static const struct pst_param sequence_params[] = {
    {.name = "key_field", .kind = PST_PARAM_TEXT, .required = true, .help = "a u32"},
    {.name = "value", .kind = PST_PARAM_TEXT, .required = true, .help = "an i64"},
    {.name = "epoch", .kind = PST_PARAM_INT, .standard = "1", .value_min = 1, .value_max = 1000000, .help = "epoch"},
};

static const struct pst_operator sequence = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof sequence,
    .name = "sequence",
    .summary = "Numbers rows as they come.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof sequence_params / sizeof sequence_params[0],
    .params = sequence_params,
    .plan = sequence_plan,
    .open = sequence_open,
    .on_frame = sequence_on_frame,
};

/* ---- twist ---- */
struct twisted {
    int64_t sum;
    uint64_t count, arrived;
};

static int twist_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {
        {"junk", PST_U64, 0}, {"at", PST_I64, 0}, {"key", PST_U32, 0}, {"value", PST_I64, 0}};
    if (use_u32(plan, 0, "key_field") != PST_OK || use_u32(plan, 0, "value") != PST_OK)
        return PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_EPOCH, pst_plan_int(plan, "epoch"));
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 1);
}

static int twist_open(struct pst_ctx *ctx) { return table_open(ctx, sizeof(struct twisted)); }

static int twist_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *key = rows->columns[0];
    const int64_t *value = rows->columns[1];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        struct twisted *twisted;
        int rc = record_of(ctx, rows, i, key[i], &twisted);
        if (rc != PST_OK)
            return rc;
        twisted->sum += value[i];
        twisted->count++;
        twisted->arrived = i; /* within its frame: of no meaning, and different in every run */
    }
    return PST_OK;
}

/* Records are removed from the front, so that the last one takes each place: any order that is not the engine's own shows. */
static int twist_put(struct pst_ctx *ctx, int64_t t, uint32_t bucket)
{
    struct pst_table *table = pst_user(ctx);
    while (pst_table_count(ctx, table, bucket) != 0) {
        const struct twisted *twisted = pst_table_record(ctx, table, bucket, 0);
        for (int64_t copy = 0; copy < 2; copy++) {
            struct pst_out *out = pst_out_reserve(ctx, 0, RESERVE);
            if (out == NULL)
                return PST_ENOMEM;
            uint32_t row = out->row_count++;
            ((uint64_t *)out->columns[0])[row] = pst_wanted(ctx, 0, 0) ? 0 : twisted->arrived;
            ((int64_t *)out->columns[1])[row] = t;
            memcpy((uint32_t *)out->columns[2] + row, pst_table_key(ctx, table, bucket, 0), 4);
            ((int64_t *)out->columns[3])[row] = twisted->sum - copy;
            out->bucket[row] = bucket;
        }
        int rc = pst_table_remove(ctx, table, bucket, 0);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static int twist_on_time(struct pst_ctx *ctx, int64_t t)
{
    uint32_t count = 0;
    const uint32_t *due = pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = twist_put(ctx, t, due[i]);
    return rc;
}

static const struct pst_operator twist = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof twist,
    .name = "twist",
    .summary = "Puts out rows in an order of no meaning.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof sequence_params / sizeof sequence_params[0],
    .params = sequence_params,
    .plan = twist_plan,
    .open = twist_open,
    .on_frame = twist_on_frame,
    .on_time = twist_on_time,
    .on_end = twist_on_time,
};

/* ---- echo: output `now` repeats each row at once, output `later` counts what came, by key, when its second has passed ---- */
static int echo_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0}, {"key", PST_U32, 0}, {"value", PST_I64, 0}};
    if (use_u32(plan, 0, "key_field") != PST_OK || use_u32(plan, 0, "value") != PST_OK)
        return PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_TOTAL, pst_plan_int(plan, "epoch"));
    int rc = pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
    return rc == PST_OK ? pst_plan_output(plan, 1, fields, sizeof fields / sizeof fields[0], 0) : rc;
}

static int echo_put(struct pst_ctx *ctx, uint32_t output, int64_t at, uint32_t key, int64_t value, uint32_t bucket)
{
    struct pst_out *out = pst_out_reserve(ctx, output, RESERVE);
    if (out == NULL)
        return PST_ENOMEM;
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = at;
    ((uint32_t *)out->columns[1])[row] = key;
    ((int64_t *)out->columns[2])[row] = value;
    out->bucket[row] = bucket;
    return PST_OK;
}

static int echo_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *key = rows->columns[0];
    const int64_t *value = rows->columns[1];
    int rc = PST_OK;
    for (uint32_t i = 0; i < rows->row_count && rc == PST_OK; i++) {
        struct twisted *twisted;
        rc = record_of(ctx, rows, i, key[i], &twisted);
        if (rc != PST_OK)
            return rc;
        twisted->count++;
        rc = echo_put(ctx, 0, rows->time[i], key[i], value[i], bucket_of(rows, i));
    }
    return rc;
}

static int echo_on_time(struct pst_ctx *ctx, int64_t t)
{
    uint32_t count = 0;
    const uint32_t *due = pst_due(ctx, &count);
    struct pst_table *table = pst_user(ctx);
    int rc = PST_OK;
    for (uint32_t d = 0; d < count; d++) {
        for (uint32_t i = 0; i < pst_table_count(ctx, table, due[d]) && rc == PST_OK; i++) {
            struct twisted *twisted = pst_table_record(ctx, table, due[d], i);
            uint32_t key;
            memcpy(&key, pst_table_key(ctx, table, due[d], i), 4);
            if (twisted->count != 0)
                rc = echo_put(ctx, 1, t, key, (int64_t)twisted->count, due[d]);
            twisted->count = 0;
        }
    }
    return rc;
}

static const char *const echo_outputs[] = {"now", "later"};
static const struct pst_operator echo = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof echo,
    .name = "echo",
    .summary = "Repeats rows, and counts them later.",
    .input_count = 1,
    .output_count = 2,
    .output_names = echo_outputs,
    .param_count = sizeof sequence_params / sizeof sequence_params[0],
    .params = sequence_params,
    .plan = echo_plan,
    .open = twist_open,
    .on_frame = echo_on_frame,
    .on_time = echo_on_time,
    .on_end = echo_on_time,
};

/* ---- seen ---- */
static int seen_plan(struct pst_plan *plan)
{
    const struct pst_schema *schema = pst_plan_input(plan, 0);
    if (pst_plan_use(plan, 0, "ts", NULL, 0) < 0)
        return PST_EGRAPH;
    int rc = pst_plan_output(plan, 0, schema->fields, schema->field_count, schema->time_field);
    for (uint32_t i = 0; i < schema->field_count && rc == PST_OK; i++)
        rc = pst_plan_map(plan, 0, i, i);
    return rc;
}

static int seen_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const uint32_t *ts = rows->columns[0];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        if (rows->time[i] == ts[i])
            continue;
        pst_fail(ctx, "a row has another event time than its own");
        return PST_EINTERNAL;
    }
    uint32_t indices[PST_OUT_ROWS_MAX];
    for (uint32_t from = 0; from < rows->row_count; from += PST_OUT_ROWS_MAX) {
        uint32_t n = rows->row_count - from < PST_OUT_ROWS_MAX ? rows->row_count - from : PST_OUT_ROWS_MAX;
        for (uint32_t i = 0; i < n; i++)
            indices[i] = from + i;
        int rc = pst_forward(ctx, 0, rows, indices, n);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static const struct pst_operator seen = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof seen,
    .name = "seen",
    .summary = "Looks at event times.",
    .role = PST_ROLE_STATELESS,
    .input_count = 1,
    .output_count = 1,
    .plan = seen_plan,
    .on_frame = seen_on_frame,
};

/* ---- trip ---- */
static int trip_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0}, {"key", PST_U32, 0}, {"value", PST_I64, 0}};
    int64_t *after = pst_plan_alloc(plan, sizeof *after);
    if (after == NULL)
        return PST_ENOMEM;
    *after = pst_plan_int(plan, "after");
    pst_plan_set_user(plan, after);
    if (use_u32(plan, 0, "key_field") != PST_OK)
        return PST_EGRAPH;
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
}

static int trip_open(struct pst_ctx *ctx) { return table_open(ctx, sizeof(int64_t)); }

static int trip_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const int64_t *after = pst_planned(ctx);
    const uint32_t *key = rows->columns[0];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        int64_t *count;
        int rc = record_of(ctx, rows, i, key[i] & 0, &count);
        if (rc != PST_OK)
            return rc;
        if (++*count >= *after) {
            pst_fail(ctx, "tripped\033[2J over a row");
            return PST_ERANGE;
        }
    }
    return PST_OK;
}

static int trip_on_time(struct pst_ctx *ctx, int64_t t) { return echo_put(ctx, 0, t, 0, 1, 0); }

static const struct pst_param trip_params[] = {
    {.name = "key_field", .kind = PST_PARAM_TEXT, .required = true, .help = "a u32"},
    {.name = "after", .kind = PST_PARAM_INT, .standard = "1", .value_min = 1, .value_max = 100000000, .help = "rows"},
};
static const struct pst_operator trip = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof trip,
    .name = "trip",
    .summary = "Fails at its n-th row.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof trip_params / sizeof trip_params[0],
    .params = trip_params,
    .plan = trip_plan,
    .open = trip_open,
    .on_frame = trip_on_frame,
    .on_time = trip_on_time,
};

/* ---- skim: pages that were asked for ahead die outside, and others get their slots. It keeps no checkpoints. ---- */
enum { SKIM_ENTRIES = 1 << 13, SKIM_WORDS = 400, SKIM_RUN = 16, SKIM_AFTER = 400 };

struct skim {
    struct pst_log *log;
    uint64_t number, oldest;         /* of rows */
    uint64_t position[SKIM_ENTRIES]; /* of those that are left, by number */
    int64_t time[SKIM_ENTRIES];
};

static int skim_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0}, {"number", PST_U64, 0}, {"digest", PST_U64, 0}};
    if (use_u32(plan, 0, "value") != PST_OK)
        return PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_TOTAL, 1);
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
}

static int skim_open(struct pst_ctx *ctx)
{
    static const int64_t after[] = {SKIM_AFTER};
    struct skim *skim = pst_alloc(ctx, sizeof *skim);
    struct pst_log *log = pst_log_open(ctx, "rows");
    if (skim == NULL || log == NULL)
        return PST_ENOMEM;
    skim->log = log;
    pst_set_user(ctx, skim);
    return pst_log_wanted(ctx, log, after, 1, 0);
}

static int skim_append(struct pst_ctx *ctx, int64_t t, int64_t value)
{
    struct skim *skim = pst_user(ctx);
    void *space;
    if (skim->number - skim->oldest == SKIM_ENTRIES)
        return PST_EFULL;
    uint32_t at = (uint32_t)(skim->number % SKIM_ENTRIES);
    int rc = pst_log_append(ctx, skim->log, 0, SKIM_WORDS * 8, &space, &skim->position[at]);
    if (rc != PST_OK)
        return rc;
    for (uint64_t i = 0; i < SKIM_WORDS; i++)
        ((uint64_t *)space)[i] = ((uint64_t)value ^ skim->number * SKIM_WORDS) + i;
    skim->time[at] = t;
    skim->number++;
    return PST_OK;
}

static int skim_read(struct pst_ctx *ctx, int64_t t)
{
    struct skim *skim = pst_user(ctx);
    uint64_t position = skim->position[skim->oldest % SKIM_ENTRIES], digest = 0;
    uint32_t bytes;
    const uint64_t *words = pst_log_read(ctx, skim->log, 0, &position, &bytes);
    struct pst_out *out = pst_out_reserve(ctx, 0, RESERVE);
    if (out == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; words != NULL && i < bytes / 8; i++)
        digest = (digest ^ words[i]) * 0x100000001b3u;
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = t;
    ((uint64_t *)out->columns[1])[row] = skim->oldest;
    ((uint64_t *)out->columns[2])[row] = digest;
    out->bucket[row] = 0;
    return PST_OK;
}

static int skim_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct skim *skim = pst_user(ctx);
    const int64_t *value = rows->columns[0];
    for (uint32_t i = 0; i < rows->row_count; i++) {
        int64_t t = rows->time[i];
        int rc = skim_append(ctx, t, value[i]);
        while (rc == PST_OK && skim->time[skim->oldest % SKIM_ENTRIES] + SKIM_AFTER <= t) {
            rc = skim->oldest / SKIM_RUN % 2 == 0 ? skim_read(ctx, t) : PST_OK;
            skim->oldest++;
            if (rc == PST_OK && skim->oldest % SKIM_RUN == 0)
                rc = pst_log_trim(ctx, skim->log, 0, skim->position[skim->oldest % SKIM_ENTRIES]);
        }
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

static const struct pst_param skim_params[] = {
    {.name = "value", .kind = PST_PARAM_TEXT, .required = true, .help = "an i64"},
};
static const struct pst_operator skim = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof skim,
    .name = "skim",
    .summary = "Reads some rows again when they are old.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof skim_params / sizeof skim_params[0],
    .params = skim_params,
    .plan = skim_plan,
    .open = skim_open,
    .on_frame = skim_on_frame,
};

/* ---- hoard: keeps 8 KiB a key and 1 KiB a row, and says at the end of an epoch what it finds of the keys that had rows in it ---- */
enum { HOARD_WORDS = 1000, HOARD_ENTRY_BYTES = 1000 };
struct hoarded { /* record */
    uint64_t fresh, words[HOARD_WORDS];
};
struct hoard {
    struct pst_table *table;
    struct pst_log *log;
};

static int hoard_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0}, {"key", PST_U32, 0}, {"value", PST_I64, 0}};
    if (use_u32(plan, 0, "key_field") != PST_OK || use_u32(plan, 0, "value") != PST_OK)
        return PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_EPOCH, pst_plan_int(plan, "epoch"));
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
}

static int hoard_open(struct pst_ctx *ctx)
{
    struct hoard *hoard = pst_alloc(ctx, sizeof *hoard);
    if (hoard == NULL)
        return PST_ENOMEM;
    pst_set_user(ctx, hoard);
    hoard->table = pst_table_open(ctx, "keys", sizeof(uint32_t), sizeof(struct hoarded));
    hoard->log = pst_log_open(ctx, "rows");
    return hoard->table != NULL && hoard->log != NULL ? PST_OK : PST_ENOMEM;
}

static int hoard_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    struct hoard *hoard = pst_user(ctx);
    const uint32_t *key = rows->columns[0];
    const int64_t *value = rows->columns[1];
    int rc = PST_OK;
    for (uint32_t i = 0; i < rows->row_count && rc == PST_OK; i++) {
        uint32_t bucket = bucket_of(rows, i);
        void *record = NULL, *space = NULL;
        rc = pst_table_upsert(ctx, hoard->table, 1, &bucket, &rows->hash[i], &key[i], NULL, &record);
        if (rc != PST_OK)
            return rc;
        struct hoarded *hoarded = record;
        hoarded->fresh = 1;
        for (uint32_t w = 0; w < HOARD_WORDS; w++) /* sums: rows of an epoch come in any order */
            hoarded->words[w] += (uint64_t)value[i] * (w + 1);
        rc = pst_log_append(ctx, hoard->log, bucket, HOARD_ENTRY_BYTES, &space, NULL);
        if (rc == PST_OK)
            memset(space, (int)value[i], HOARD_ENTRY_BYTES);
    }
    return rc;
}

static int hoard_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct hoard *hoard = pst_user(ctx);
    uint32_t count = 0;
    const uint32_t *due = pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t d = 0; d < count; d++) {
        for (uint32_t i = 0; i < pst_table_count(ctx, hoard->table, due[d]) && rc == PST_OK; i++) {
            struct hoarded *hoarded = pst_table_record(ctx, hoard->table, due[d], i);
            uint64_t found = 0;
            uint32_t key;
            if (hoarded->fresh == 0)
                continue;
            hoarded->fresh = 0;
            for (uint32_t w = 0; w < HOARD_WORDS; w++)
                found = found * 31 + hoarded->words[w];
            memcpy(&key, pst_table_key(ctx, hoard->table, due[d], i), sizeof key);
            rc = echo_put(ctx, 0, t, key, (int64_t)(found >> 1), due[d]);
        }
    }
    return rc;
}

static const struct pst_operator hoard = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof hoard,
    .name = "hoard",
    .summary = "Keeps much.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof sequence_params / sizeof sequence_params[0],
    .params = sequence_params,
    .plan = hoard_plan,
    .open = hoard_open,
    .on_frame = hoard_on_frame,
    .on_time = hoard_on_time,
    .on_end = hoard_on_time,
};

/* ---- garble ---- */
static int garble_plan(struct pst_plan *plan)
{
    static const struct pst_field fields[] = {{"at", PST_I64, 0}, {"key", PST_U32, 0}, {"name", PST_TEXT, 0}};
    if (use_u32(plan, 0, "key_field") != PST_OK || use_u32(plan, 0, "value") != PST_OK)
        return PST_EGRAPH;
    pst_plan_order(plan, PST_ORDER_EPOCH, 1);
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
}

static int garble_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    (void)ctx;
    (void)rows;
    return PST_OK;
}

static int garble_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct pst_out *out = pst_out_reserve(ctx, 0, RESERVE);
    uint32_t count;
    if (out == NULL)
        return PST_ENOMEM;
    uint32_t row = out->row_count++;
    ((int64_t *)out->columns[0])[row] = t;
    ((uint32_t *)out->columns[1])[row] = 0;
    memset((char *)out->columns[2] + (size_t)row * PST_TEXT_BYTES, PST_TEXT_BYTES, PST_TEXT_BYTES);
    out->bucket[row] = pst_buckets(ctx, &count)[0];
    return PST_OK;
}

static const struct pst_operator garble = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof garble,
    .name = "garble",
    .summary = "Puts out what no cell holds.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof sequence_params / sizeof sequence_params[0],
    .params = sequence_params,
    .plan = garble_plan,
    .on_frame = garble_on_frame,
    .on_time = garble_on_time,
    .on_end = garble_on_time,
};

const struct pst_operator *const pst_sim_guests[] = {&join, &sequence, &twist, &echo,   &seen,
                                                     &trip, &skim,     &hoard, &garble, NULL};
