/* spike.c - an operator outside penstock's tree: puts out a row when a plug's load jumps against its reading before.
 *
 * In:   load readings, with the key [house_id, household_id, plug_id].
 * Out:  timestamp, the plug, its reading before the jump and the one after. The first reading of a plug is no jump.
 * It includes one header and links against nothing. */
#include "operators/operator.h"

#include <string.h>

/* The fields that are used, in the order in which plan() asks for them: their columns are 0, 1, 2, 3. */
enum { HOUSE, HOUSEHOLD, PLUG, VALUE, USED_COUNT };
static const char *const used_names[USED_COUNT] = {"house_id", "household_id", "plug_id", "value"};
static const pst_type used_types[USED_COUNT] = {PST_U32, PST_U32, PST_U32, PST_I64};

struct spike_plan {     /* what all partitions read */
    uint64_t threshold; /* at the scale of `value` */
};

struct spike { /* one partition; scratch only, the readings are in the table */
    struct pst_table *last;
};

struct last { /* a record of the table: 0 in every byte when it is made */
    int64_t value;
    int64_t known; /* 0: the plug has had no reading yet */
};

/* Asks for the i-th field and finds it in the input's schema. NULL: reported. */
static const struct pst_field *use(struct pst_plan *plan, uint32_t i)
{
    if (pst_plan_use(plan, 0, used_names[i], NULL, 0) < 0)
        return NULL;
    const struct pst_field *field = pst_plan_input(plan, 0)->fields;
    while (strcmp(field->name, used_names[i]) != 0)
        field++;
    if (field->type == used_types[i])
        return field;
    pst_plan_error(plan, NULL, 0, "spike needs house_id, household_id and plug_id as u32, value as i64 or decimal");
    return NULL;
}

static int plan_spike(struct pst_plan *plan)
{
    struct spike_plan *shared = pst_plan_alloc(plan, sizeof *shared);
    if (shared == NULL)
        return PST_ENOMEM;
    const struct pst_field *used[USED_COUNT];
    for (uint32_t i = 0; i < USED_COUNT; i++)
        if ((used[i] = use(plan, i)) == NULL)
            return PST_EGRAPH;

    uint8_t scale = used[VALUE]->scale;
    shared->threshold = (uint64_t)pst_plan_int(plan, "threshold");
    for (uint8_t i = 0; i < scale; i++)
        shared->threshold *= 10;
    pst_plan_set_user(plan, shared);

    /* What the reading before a row was depends on the order of rows, even of those of one second. */
    pst_plan_order(plan, PST_ORDER_TOTAL, 1);
    const struct pst_field fields[] = {
        {"timestamp", PST_I64, 0}, *used[HOUSE], *used[HOUSEHOLD], *used[PLUG], {"before", PST_I64, scale},
        {"after", PST_I64, scale},
    };
    return pst_plan_output(plan, 0, fields, sizeof fields / sizeof fields[0], 0);
}

static int open_spike(struct pst_ctx *ctx)
{
    struct spike *spike = pst_alloc(ctx, sizeof *spike);
    if (spike == NULL)
        return PST_ENOMEM;
    spike->last = pst_table_open(ctx, "last", 3 * sizeof(uint32_t), sizeof(struct last));
    pst_set_user(ctx, spike);
    return spike->last == NULL ? PST_ENOMEM : PST_OK;
}

static int put_jump(struct pst_ctx *ctx, const struct pst_rows *rows, uint32_t i, const uint32_t plug[3],
                    int64_t before, int64_t after)
{
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    uint32_t row = out->row_count;
    for (uint32_t field = 0; field < 6; field++) {
        if (!pst_wanted(ctx, 0, field))
            continue; /* nobody reads it */
        if (field >= 1 && field <= 3)
            ((uint32_t *)out->columns[field])[row] = plug[field - 1];
        else
            ((int64_t *)out->columns[field])[row] = field == 0 ? rows->time[i] : field == 4 ? before : after;
    }
    out->bucket[row] = rows->bucket[i];
    out->row_count++;
    return PST_OK;
}

static int take_row(struct pst_ctx *ctx, const struct pst_rows *rows, uint32_t i)
{
    const struct spike_plan *shared = pst_planned(ctx);
    struct spike *spike = pst_user(ctx);
    uint32_t plug[3];
    for (uint32_t k = HOUSE; k <= PLUG; k++)
        plug[k] = ((const uint32_t *)rows->columns[k])[i];
    int64_t after = ((const int64_t *)rows->columns[VALUE])[i];

    void *record;
    int rc = pst_table_upsert(ctx, spike->last, 1, &rows->bucket[i], &rows->hash[i], plug, NULL, &record);
    if (rc != PST_OK)
        return rc;
    struct last before = *(struct last *)record;
    *(struct last *)record = (struct last){after, 1};

    /* Unsigned, so that the difference of any two values has room. */
    uint64_t jump =
        after > before.value ? (uint64_t)after - (uint64_t)before.value : (uint64_t)before.value - (uint64_t)after;
    if (before.known == 0 || jump <= shared->threshold)
        return PST_OK;
    return put_jump(ctx, rows, i, plug, before.value, after);
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    if (rows->bucket == NULL) {
        pst_fail(ctx, "spike needs `key: [house_id, household_id, plug_id]` in the graph");
        return PST_EINVAL;
    }
    int rc = PST_OK;
    for (uint32_t i = 0; rc == PST_OK && i < rows->row_count; i++)
        rc = take_row(ctx, rows, i);
    return rc;
}

static const struct pst_param params[] = {
    {.name = "threshold",
     .kind = PST_PARAM_INT,
     .required = true,
     .value_min = 0,
     .value_max = 1000000000,
     .help = "a change by more than this many watts is a jump"},
};

static const struct pst_operator spike = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "spike",
    .summary = "Puts out a row when a plug's load jumps against its reading before.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof params / sizeof params[0],
    .params = params,
    .plan = plan_spike,
    .open = open_spike,
    .on_frame = on_frame,
};

/* The one symbol that penstock looks for. */
__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&spike, NULL};
