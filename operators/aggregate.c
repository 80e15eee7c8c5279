/* operators/aggregate.c - runs an aggregate: rows into panes, panes into windows.
 *
 * State, by bucket:
 *   table "groups"    packed group -> struct group: the pane that is filling, and where the chain of its closed panes
 * begins log "panes"       closed panes: struct piece, each naming the one of the same group before it log "arrivals"
 * only with medians: the values of the panes that are filling, as they come; emptied when panes close At the end of an
 * epoch (a pane) the groups that had rows close their pane: in order of their packed bytes and with the values sorted,
 * so that the log is the same whatever the order of the rows was. At the end of a window each group walks its chain
 * back to the window's start. Pieces are trimmed from the tail once no window to come holds them, and a group that has
 * no piece left is removed.
 *
 * A group lives in one bucket only if `group` names all fields of the graph's key: the plan refuses others.
 */
#include "operators/aggregate.h"
#include "operators/rank.h"
#include "operators/sentence.h"

#include <string.h>

enum { ROWS_A_STEP = 256 };
/* Event times and windows stay below it, so that sums of two of them cannot overflow. */
#define TIME_LIMIT (INT64_MAX / 4)

struct fold { /* of the values of one slot */
    struct pst_sum sum;
    int64_t min, max;
};

struct group {
    int64_t filling;     /* start of the pane that is filling, if count > 0 */
    uint64_t count;      /* rows in it */
    uint64_t newest;     /* 1 + position of the newest closed piece; 0: there is none */
    int64_t newest_pane; /* its start */
    struct fold folds[]; /* slot_count */
};

struct piece { /* of a closed pane; a pane with more values than one entry holds has several, count in the first alone
                */
    uint64_t before;     /* 1 + position of the piece before it, 0: none */
    int64_t before_pane; /* its start */
    int64_t pane;
    uint64_t count;
    uint32_t median_index, value_count; /* values of that median's field, sorted, behind the folds */
    struct fold folds[];
};

struct arrival {
    uint32_t group; /* number of its record: none is removed before the pane closes */
    uint32_t reserved;
    int64_t values[]; /* median_count */
};

struct scratch_array { /* grows by doubling; what it leaves is freed after close() */
    void *items;
    size_t bytes;
};

struct run {
    const struct aggregate_plan *plan;
    struct pst_table *groups;
    struct pst_log *panes, *arrivals;
    uint32_t record_bytes, piece_bytes; /* without values */
    bool wanted[PST_FIELDS_MAX];        /* fields of the output */
    /* of one step of on_frame() */
    uint32_t indices[ROWS_A_STEP];
    int64_t panes_of[ROWS_A_STEP];
    uint64_t hashes[ROWS_A_STEP];
    void *records[ROWS_A_STEP];
    uint8_t *keys;       /* ROWS_A_STEP packed groups */
    int64_t *values;     /* [slot][ROWS_A_STEP] */
    struct group *total; /* folds of one window */
    struct scratch_array order, spare, offsets, sorted, window_values;
};

static void *array_of(struct pst_ctx *ctx, struct scratch_array *array, size_t bytes)
{
    if (array->bytes < bytes) {
        size_t doubled = array->bytes * 2 < 4096 ? 4096 : array->bytes * 2;
        size_t grown = doubled < bytes ? bytes : doubled;
        void *items = pst_alloc(ctx, grown);
        if (items == NULL)
            return NULL;
        array->items = items;
        array->bytes = grown;
    }
    return array->items;
}

/* ---- folds ---- */

static void folds_clear(struct fold *folds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        folds[i] = (struct fold){.min = INT64_MAX, .max = INT64_MIN};
}

static void fold_add(struct fold *fold, int64_t value)
{
    pst_sum_add(&fold->sum, value);
    fold->min = value < fold->min ? value : fold->min;
    fold->max = value > fold->max ? value : fold->max;
}

static void folds_merge(struct fold *to, const struct fold *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        pst_sum_add(&to[i].sum, pst_sum_get(&from[i].sum));
        to[i].min = from[i].min < to[i].min ? from[i].min : to[i].min;
        to[i].max = from[i].max > to[i].max ? from[i].max : to[i].max;
    }
}

/* ---- opening ---- */

static int open_state(struct pst_ctx *ctx, struct run *run)
{
    const struct aggregate_plan *plan = run->plan;
    run->record_bytes = (uint32_t)(sizeof(struct group) + plan->slot_count * sizeof(struct fold));
    run->piece_bytes = (uint32_t)(sizeof(struct piece) + plan->slot_count * sizeof(struct fold));
    run->groups = pst_table_open(ctx, "groups", plan->group_bytes, run->record_bytes);
    run->panes = pst_log_open(ctx, "panes");
    run->arrivals = plan->median_count == 0 ? NULL : pst_log_open(ctx, "arrivals");
    bool all = run->groups != NULL && run->panes != NULL && (plan->median_count == 0 || run->arrivals != NULL);
    return all ? PST_OK : PST_ENOMEM;
}

static int aggregate_open(struct pst_ctx *ctx)
{
    struct run *run = pst_alloc(ctx, sizeof *run);
    if (run == NULL)
        return PST_ENOMEM;
    const struct aggregate_plan *plan = run->plan = pst_planned(ctx);
    pst_set_user(ctx, run);
    for (uint32_t i = 0; i < AGGREGATE_FIXED_FIELDS + plan->group_count + plan->result_count; i++)
        run->wanted[i] = pst_wanted(ctx, 0, i);
    run->keys = pst_alloc(ctx, (size_t)ROWS_A_STEP * plan->group_bytes);
    run->values = pst_alloc(ctx, (size_t)ROWS_A_STEP * (plan->slot_count + 1) * sizeof(int64_t));
    run->total = pst_alloc(ctx, sizeof *run->total + plan->slot_count * sizeof(struct fold));
    if (run->keys == NULL || run->values == NULL || run->total == NULL)
        return PST_ENOMEM;
    return open_state(ctx, run);
}

/* ---- rows in ---- */

/* The pane of each row. Rows of one pane mostly come together: few divisions. A row between two windows (slide > window) has
 * one, too; it is forgotten as soon as it closes. */
static void find_panes(const struct aggregate_plan *plan, const int64_t *times, uint32_t count, int64_t *panes)
{
    int64_t pane = pst_floor_div(times[0], plan->pane) * plan->pane;
    for (uint32_t k = 0; k < count; k++) {
        if (times[k] < pane || times[k] - pane >= plan->pane)
            pane = pst_floor_div(times[k], plan->pane) * plan->pane;
        panes[k] = pane;
    }
}

static int check_times(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    uint64_t beyond = 0;
    for (uint32_t i = 0; i < rows->row_count; i++)
        beyond |= (uint64_t)rows->time[i] + TIME_LIMIT > 2 * (uint64_t)TIME_LIMIT;
    if (!beyond)
        return PST_OK;
    pst_fail(ctx, "an event time is too far from zero to make windows of");
    return PST_ERANGE;
}

static void pack_group(uint8_t *key, const struct aggregate_plan *plan, const struct pst_rows *rows, uint32_t row)
{
    for (uint32_t i = 0; i < plan->group_count; i++) {
        const struct aggregate_group *group = &plan->groups[i];
        const uint8_t *column = rows->columns[group->column];
        if (group->field.type == PST_U32)
            memcpy(key + group->offset, column + (size_t)row * 4, 4);
        else if (group->field.type == PST_TEXT)
            memcpy(key + group->offset, column + (size_t)row * PST_TEXT_BYTES, PST_TEXT_BYTES);
        else
            memcpy(key + group->offset, column + (size_t)row * 8, 8);
    }
}

/* Of the packed group, not of the graph's key: a group may be finer than the key. Only spreads records inside a bucket.
 */
static uint64_t hash_group(const uint8_t *key, uint32_t byte_count)
{
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (uint32_t at = 0; at < byte_count; at += 4) { /* fields have a multiple of 4 bytes */
        uint32_t word;
        memcpy(&word, key + at, sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

static int load_values(struct pst_ctx *ctx, const struct aggregate_slot *slot, const struct pst_rows *rows,
                       uint32_t first, uint32_t count, int64_t *values)
{
    const void *column = rows->columns[slot->column];
    if (slot->field.type == PST_U32) {
        for (uint32_t k = 0; k < count; k++)
            values[k] = ((const uint32_t *)column)[first + k];
        return PST_OK;
    }
    int64_t together = 0;
    for (uint32_t k = 0; k < count; k++)
        together |= values[k] = ((const int64_t *)column)[first + k];
    if (slot->field.type == PST_I64 || together >= 0)
        return PST_OK;
    struct pst_sentence sentence = {.count = 0};
    pst_sentence_add(&sentence, "a value of `");
    pst_sentence_add(&sentence, slot->field.name);
    pst_sentence_add(&sentence, "` is 2^63 or more, too great to aggregate");
    pst_fail(ctx, sentence.bytes);
    return PST_ERANGE;
}

static int fold_rows(struct pst_ctx *ctx, struct run *run, uint32_t count)
{
    uint32_t slot_count = run->plan->slot_count;
    for (uint32_t k = 0; k < count; k++) {
        struct group *group = run->records[k];
        if (group->count == 0) {
            group->filling = run->panes_of[k];
            folds_clear(group->folds, slot_count);
        } else if (group->filling != run->panes_of[k]) {
            pst_fail(ctx, "a row came before the epoch before it was closed");
            return PST_EINTERNAL;
        }
        group->count++;
        for (uint32_t s = 0; s < slot_count; s++)
            fold_add(&group->folds[s], run->values[s * ROWS_A_STEP + k]);
    }
    return PST_OK;
}

static int keep_arrivals(struct pst_ctx *ctx, struct run *run, const uint32_t *buckets, uint32_t count)
{
    const struct aggregate_plan *plan = run->plan;
    uint32_t bytes = (uint32_t)(sizeof(struct arrival) + plan->median_count * sizeof(int64_t));
    for (uint32_t k = 0; k < count; k++) {
        void *space;
        uint64_t position;
        int rc = pst_log_append(ctx, run->arrivals, buckets == NULL ? 0 : buckets[k], bytes, &space, &position);
        if (rc != PST_OK)
            return rc;
        struct arrival *arrival = space;
        arrival->group = run->indices[k];
        arrival->reserved = 0;
        for (uint32_t m = 0; m < plan->median_count; m++)
            arrival->values[m] = run->values[plan->median_slots[m] * ROWS_A_STEP + k];
    }
    return PST_OK;
}

static int take_rows(struct pst_ctx *ctx, struct run *run, const struct pst_rows *rows, uint32_t first, uint32_t count)
{
    const struct aggregate_plan *plan = run->plan;
    const uint32_t *buckets = rows->bucket == NULL ? NULL : rows->bucket + first;
    find_panes(plan, rows->time + first, count, run->panes_of);
    for (uint32_t k = 0; k < count; k++) {
        uint8_t *key = run->keys + (size_t)k * plan->group_bytes;
        pack_group(key, plan, rows, first + k);
        run->hashes[k] = hash_group(key, plan->group_bytes);
    }
    for (uint32_t s = 0; s < plan->slot_count; s++) {
        int rc = load_values(ctx, &plan->slots[s], rows, first, count, run->values + s * ROWS_A_STEP);
        if (rc != PST_OK)
            return rc;
    }
    int rc = pst_table_upsert(ctx, run->groups, count, buckets, run->hashes, run->keys, run->indices, run->records);
    if (rc == PST_OK)
        rc = fold_rows(ctx, run, count);
    return rc != PST_OK || plan->median_count == 0 ? rc : keep_arrivals(ctx, run, buckets, count);
}

static int aggregate_on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    int rc = check_times(ctx, rows);
    for (uint32_t first = 0, count; rc == PST_OK && first < rows->row_count; first += count) {
        count = rows->row_count - first < ROWS_A_STEP ? rows->row_count - first : ROWS_A_STEP;
        rc = take_rows(ctx, pst_user(ctx), rows, first, count);
    }
    return rc;
}

/* ---- closing panes ---- */

static const uint8_t *key_of(struct pst_ctx *ctx, struct run *run, uint32_t bucket, uint32_t index)
{
    return pst_table_key(ctx, run->groups, bucket, index);
}

/* Sorts the numbers of groups by their packed bytes: merging runs of doubling length, between `order` and `spare`. */
static uint32_t *sort_groups(struct pst_ctx *ctx, struct run *run, uint32_t bucket, uint32_t *order, uint32_t *spare,
                             uint32_t count)
{
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t low = 0; low < count; low += 2 * width) {
            uint64_t middle = low + width < count ? low + width : count;
            uint64_t high = low + 2 * width < count ? low + 2 * width : count;
            for (uint64_t i = low, j = middle, to = low; to < high; to++) {
                bool left = i < middle &&
                            (j == high || memcmp(key_of(ctx, run, bucket, order[i]), key_of(ctx, run, bucket, order[j]),
                                                 run->plan->group_bytes) <= 0);
                spare[to] = left ? order[i++] : order[j++];
            }
        }
        uint32_t *swapped = order;
        order = spare;
        spare = swapped;
    }
    return order;
}

/* The groups that had rows in the pane that closes, in order. NULL: no memory. */
static uint32_t *groups_to_close(struct pst_ctx *ctx, struct run *run, uint32_t bucket, uint32_t *ret_count)
{
    uint32_t group_count = pst_table_count(ctx, run->groups, bucket), count = 0;
    uint32_t *order = array_of(ctx, &run->order, (group_count + (size_t)1) * sizeof *order);
    uint32_t *spare = array_of(ctx, &run->spare, (group_count + (size_t)1) * sizeof *spare);
    if (order == NULL || spare == NULL)
        return NULL;
    for (uint32_t i = 0; i < group_count; i++) {
        order[count] = i;
        count += ((const struct group *)pst_table_record(ctx, run->groups, bucket, i))->count != 0;
    }
    *ret_count = count;
    return sort_groups(ctx, run, bucket, order, spare, count);
}

struct closing { /* with medians: the bucket's arrivals, by median, then by group */
    int64_t *values;
    uint64_t value_count; /* of one median */
    uint64_t *offsets;    /* by number of the group: where its values begin */
};

/* Deals the arrivals out to their groups, sorts each group's values, and empties the log. */
static int sort_arrivals(struct pst_ctx *ctx, struct run *run, uint32_t bucket, const uint32_t *order, uint32_t count,
                         struct closing *closing)
{
    uint32_t median_count = run->plan->median_count;
    uint32_t group_count = pst_table_count(ctx, run->groups, bucket);
    closing->offsets = array_of(ctx, &run->offsets, (group_count + (size_t)1) * sizeof(uint64_t));
    if (closing->offsets == NULL)
        return PST_ENOMEM;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        closing->offsets[order[i]] = total;
        total += ((const struct group *)pst_table_record(ctx, run->groups, bucket, order[i]))->count;
    }
    closing->value_count = total;
    closing->values = array_of(ctx, &run->sorted, (total * median_count + 1) * sizeof(int64_t));
    if (closing->values == NULL)
        return PST_ENOMEM;
    uint64_t position = pst_log_tail(ctx, run->arrivals, bucket);
    const struct arrival *arrival;
    for (uint32_t bytes; (arrival = pst_log_read(ctx, run->arrivals, bucket, &position, &bytes)) != NULL;) {
        uint64_t at = closing->offsets[arrival->group]++;
        if (at >= total) /* the groups' page could not be had, and reads as zeros: the run is over */
            return PST_EINTERNAL;
        for (uint32_t m = 0; m < median_count; m++)
            closing->values[m * total + at] = arrival->values[m];
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t own = ((const struct group *)pst_table_record(ctx, run->groups, bucket, order[i]))->count;
        closing->offsets[order[i]] -= own;
        for (uint32_t m = 0; m < median_count; m++)
            pst_rank_sort(closing->values + m * total + closing->offsets[order[i]], own);
    }
    return pst_log_trim(ctx, run->arrivals, bucket, position);
}

/* One piece behind the group's chain, with the folds if it is the pane's first. */
static int append_piece(struct pst_ctx *ctx, struct run *run, uint32_t bucket, struct group *group, bool first,
                        uint32_t median_index, const int64_t *values, uint32_t value_count)
{
    uint32_t slot_count = run->plan->slot_count;
    void *space;
    uint64_t position;
    int rc = pst_log_append(ctx, run->panes, bucket, run->piece_bytes + value_count * (uint32_t)sizeof(int64_t), &space,
                            &position);
    if (rc != PST_OK)
        return rc;
    struct piece *piece = space;
    *piece = (struct piece){.before = group->newest,
                            .before_pane = group->newest_pane,
                            .pane = group->filling,
                            .count = first ? group->count : 0,
                            .median_index = median_index,
                            .value_count = value_count};
    if (first)
        memcpy(piece->folds, group->folds, slot_count * sizeof(struct fold));
    else
        folds_clear(piece->folds, slot_count);
    if (value_count != 0)
        memcpy(piece->folds + slot_count, values, value_count * sizeof(int64_t));
    group->newest = position + 1;
    group->newest_pane = group->filling;
    return PST_OK;
}

static int close_group(struct pst_ctx *ctx, struct run *run, uint32_t bucket, uint32_t index,
                       const struct closing *closing)
{
    struct group *group = pst_table_record(ctx, run->groups, bucket, index);
    uint32_t median_count = run->plan->median_count;
    uint64_t piece_values_max = (PST_LOG_ENTRY_BYTES_MAX - run->piece_bytes) / sizeof(int64_t);
    int rc = median_count == 0 ? append_piece(ctx, run, bucket, group, true, 0, NULL, 0) : PST_OK;
    bool first = true;
    for (uint32_t m = 0; m < median_count; m++) {
        const int64_t *values = closing->values + m * closing->value_count + closing->offsets[index];
        for (uint64_t done = 0, some; rc == PST_OK && done < group->count; done += some) {
            some = group->count - done < piece_values_max ? group->count - done : piece_values_max;
            rc = append_piece(ctx, run, bucket, group, first, m, values + done, (uint32_t)some);
            first = false;
        }
    }
    group->count = 0;
    folds_clear(group->folds, run->plan->slot_count);
    return rc;
}

static int close_panes(struct pst_ctx *ctx, struct run *run, uint32_t bucket)
{
    uint32_t count = 0;
    const uint32_t *order = groups_to_close(ctx, run, bucket, &count);
    if (order == NULL)
        return PST_ENOMEM;
    struct closing closing = {0};
    int rc =
        count == 0 || run->plan->median_count == 0 ? PST_OK : sort_arrivals(ctx, run, bucket, order, count, &closing);
    for (uint32_t i = 0; rc == PST_OK && i < count; i++)
        rc = close_group(ctx, run, bucket, order[i], &closing);
    return rc;
}

/* ---- windows out ---- */

struct window {
    uint32_t bucket;
    int64_t start, end;
};

/* Walks a group's pieces inside a window, newest first. NULL: no more. */
struct walk {
    uint64_t next; /* 1 + position */
    int64_t next_pane;
};
static const struct piece *walk_on(struct pst_ctx *ctx, struct run *run, const struct window *window, struct walk *walk)
{
    if (walk->next == 0 || walk->next_pane < window->start)
        return NULL; /* what lies before may be trimmed: it is not read */
    uint64_t position = walk->next - 1;
    uint32_t bytes;
    const struct piece *piece = pst_log_read(ctx, run->panes, window->bucket, &position, &bytes);
    if (piece != NULL)
        *walk = (struct walk){piece->before, piece->before_pane};
    return piece;
}

/* Folds a window into run->total; its count may be 0. */
static void total_window(struct pst_ctx *ctx, struct run *run, const struct window *window, const struct group *group)
{
    run->total->count = 0;
    folds_clear(run->total->folds, run->plan->slot_count);
    struct walk walk = {group->newest, group->newest_pane};
    for (const struct piece *piece; (piece = walk_on(ctx, run, window, &walk)) != NULL;) {
        run->total->count += piece->count;
        folds_merge(run->total->folds, piece->folds, run->plan->slot_count);
    }
}

/* Twice the median of a window's values of one field. */
static int median_twice(struct pst_ctx *ctx, struct run *run, const struct window *window, const struct group *group,
                        uint32_t median_index, pst_i128 *ret_twice)
{
    uint64_t count = run->total->count, filled = 0;
    int64_t *values = array_of(ctx, &run->window_values, count * sizeof *values);
    if (values == NULL)
        return PST_ENOMEM;
    struct walk walk = {group->newest, group->newest_pane};
    for (const struct piece *piece; (piece = walk_on(ctx, run, window, &walk)) != NULL;) {
        if (piece->median_index != median_index)
            continue;
        memcpy(values + filled, piece->folds + run->plan->slot_count, piece->value_count * sizeof *values);
        filled += piece->value_count;
    }
    pst_rank_select(values, count, count / 2);
    int64_t upper = values[count / 2], lower = upper;
    if (count % 2 == 0) { /* the greatest of those before it */
        lower = values[0];
        for (uint64_t i = 1; i < count / 2; i++)
            lower = values[i] > lower ? values[i] : lower;
    }
    *ret_twice = (pst_i128)lower + upper;
    return PST_OK;
}

static void add_group(struct pst_sentence *sentence, const struct aggregate_plan *plan, const uint8_t *key)
{
    for (uint32_t i = 0; i < plan->group_count; i++) {
        const struct pst_field *field = &plan->groups[i].field;
        const uint8_t *cell = key + plan->groups[i].offset;
        pst_sentence_add(sentence, i == 0 ? "" : ", ");
        pst_sentence_add(sentence, field->name);
        pst_sentence_add(sentence, " ");
        uint64_t number = 0;
        memcpy(&number, cell, field->type == PST_U32 ? 4 : 8);
        if (field->type == PST_TEXT)
            pst_sentence_add_bytes(sentence, (const char *)cell + 1, cell[0]);
        else if (field->type == PST_I64)
            pst_sentence_add_i64(sentence, (int64_t)number);
        else
            pst_sentence_add_u64(sentence, number);
    }
}

static int complain_of_range(struct pst_ctx *ctx, struct run *run, const struct window *window, const uint8_t *key,
                             const struct aggregate_result *result)
{
    struct pst_sentence sentence = {.count = 0};
    pst_sentence_add(&sentence, result->name);
    pst_sentence_add(&sentence, "(");
    pst_sentence_add(&sentence, run->plan->slots[result->slot].field.name);
    pst_sentence_add(&sentence, ") of ");
    add_group(&sentence, run->plan, key);
    pst_sentence_add(&sentence, " in the window from ");
    pst_sentence_add_i64(&sentence, window->start);
    pst_sentence_add(&sentence, " to ");
    pst_sentence_add_i64(&sentence, window->end);
    pst_sentence_add(&sentence, " does not fit into 64 bits");
    pst_fail(ctx, sentence.bytes);
    return PST_ERANGE;
}

static int compute(struct pst_ctx *ctx, struct run *run, const struct window *window, const struct group *group,
                   const struct aggregate_result *result, pst_i128 *ret_value)
{
    const struct fold *fold = &run->total->folds[result->slot];
    int rc = PST_OK;
    pst_i128 value = 0, twice = 0;
    switch (result->function) {
    case AGGREGATE_COUNT:
        value = run->total->count;
        break;
    case AGGREGATE_SUM:
        value = pst_sum_get(&fold->sum);
        break;
    case AGGREGATE_MIN:
        value = fold->min;
        break;
    case AGGREGATE_MAX:
        value = fold->max;
        break;
    case AGGREGATE_AVG:
        value = pst_decimal_round(pst_sum_get(&fold->sum) * result->multiplier, run->total->count);
        break;
    case AGGREGATE_MEDIAN:
        rc = median_twice(ctx, run, window, group, (uint32_t)run->plan->slots[result->slot].median_index, &twice);
        value = pst_decimal_round(twice * result->multiplier, 2);
        break;
    }
    *ret_value = value;
    return rc;
}

static void put_group(struct run *run, struct pst_out *out, const uint8_t *key)
{
    for (uint32_t i = 0; i < run->plan->group_count; i++) {
        const struct aggregate_group *group = &run->plan->groups[i];
        uint32_t bytes = pst_type_bytes(group->field.type), field = AGGREGATE_FIXED_FIELDS + i;
        if (run->wanted[field])
            memcpy((uint8_t *)out->columns[field] + (size_t)out->row_count * bytes, key + group->offset, bytes);
    }
}

/* The result row of a group whose window is in run->total. */
static int put_row(struct pst_ctx *ctx, struct run *run, const struct window *window, const struct group *group,
                   const uint8_t *key)
{
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    const struct aggregate_plan *plan = run->plan;
    uint32_t row = out->row_count;
    if (run->wanted[0])
        ((int64_t *)out->columns[0])[row] = window->start;
    if (run->wanted[1])
        ((int64_t *)out->columns[1])[row] = window->end;
    put_group(run, out, key);
    for (uint32_t i = 0, field = AGGREGATE_FIXED_FIELDS + plan->group_count; i < plan->result_count; i++, field++) {
        pst_i128 value;
        if (!run->wanted[field])
            continue;
        int rc = compute(ctx, run, window, group, &plan->results[i], &value);
        if (rc != PST_OK)
            return rc;
        if (!pst_decimal_fits(value))
            return complain_of_range(ctx, run, window, key, &plan->results[i]);
        ((int64_t *)out->columns[field])[row] = (int64_t)value; /* a count is a u64 of the same bytes */
    }
    out->bucket[row] = window->bucket;
    out->row_count++;
    return PST_OK;
}

static int put_window(struct pst_ctx *ctx, struct run *run, const struct window *window)
{
    uint32_t count = pst_table_count(ctx, run->groups, window->bucket);
    for (uint32_t i = 0; i < count; i++) {
        const struct group *group = pst_table_record(ctx, run->groups, window->bucket, i);
        total_window(ctx, run, window, group);
        if (run->total->count == 0)
            continue;
        int rc = put_row(ctx, run, window, group, key_of(ctx, run, window->bucket, i));
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* The first end of a window above t. */
static int64_t next_end(const struct aggregate_plan *plan, int64_t t)
{
    return (pst_floor_div(t - plan->window, plan->slide) + 1) * plan->slide + plan->window;
}

/* Drops what no window from `start` on holds. */
static int forget(struct pst_ctx *ctx, struct run *run, uint32_t bucket, int64_t start)
{
    uint64_t position = pst_log_tail(ctx, run->panes, bucket), kept = position;
    const struct piece *piece;
    for (uint32_t bytes; (piece = pst_log_read(ctx, run->panes, bucket, &position, &bytes)) != NULL;) {
        if (piece->pane >= start)
            break;
        kept = position;
    }
    int rc = pst_log_trim(ctx, run->panes, bucket, kept);
    for (uint32_t i = pst_table_count(ctx, run->groups, bucket); rc == PST_OK && i-- > 0;) {
        const struct group *group = pst_table_record(ctx, run->groups, bucket, i);
        if (group->newest_pane < start)
            rc = pst_table_remove(ctx, run->groups, bucket, i);
    }
    return rc;
}

static int end_epoch(struct pst_ctx *ctx, struct run *run, uint32_t bucket, int64_t t)
{
    const struct aggregate_plan *plan = run->plan;
    int rc = close_panes(ctx, run, bucket);
    if (rc == PST_OK && next_end(plan, t - 1) == t)
        rc = put_window(ctx, run, &(struct window){bucket, t - plan->window, t});
    int64_t next = next_end(plan, t);
    if (rc == PST_OK)
        rc = forget(ctx, run, bucket, next - plan->window);
    /* Whoever is left has rows in the next window: it must close though no row may follow. */
    pst_timer_set(ctx, bucket, pst_table_count(ctx, run->groups, bucket) == 0 ? INT64_MAX : next);
    return rc;
}

static int aggregate_on_time(struct pst_ctx *ctx, int64_t t)
{
    struct run *run = pst_user(ctx);
    uint32_t count;
    const uint32_t *due = pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t i = 0; rc == PST_OK && i < count; i++, pst_release(ctx))
        rc = end_epoch(ctx, run, due[i], t);
    return rc;
}

/* Windows that are still open are put out: nothing more will fall into them. */
static int aggregate_on_end(struct pst_ctx *ctx, int64_t t)
{
    struct run *run = pst_user(ctx);
    const struct aggregate_plan *plan = run->plan;
    uint32_t count;
    const uint32_t *due = pst_due(ctx, &count);
    int rc = PST_OK;
    for (uint32_t i = 0; rc == PST_OK && i < count; i++, pst_release(ctx)) {
        rc = close_panes(ctx, run, due[i]);
        for (int64_t end = next_end(plan, t); rc == PST_OK && pst_table_count(ctx, run->groups, due[i]) != 0;
             end += plan->slide) {
            rc = put_window(ctx, run, &(struct window){due[i], end - plan->window, end});
            if (rc == PST_OK)
                rc = forget(ctx, run, due[i], end + plan->slide - plan->window);
        }
    }
    return rc;
}

static const struct pst_param aggregate_params[] = {
    {.name = "window",
     .kind = PST_PARAM_INT,
     .required = true,
     .value_min = 1,
     .value_max = (int64_t)1 << 40,
     .help = "length of a window, in the unit of the event time (seconds)"},
    {.name = "slide",
     .kind = PST_PARAM_INT,
     .standard = "0",
     .value_min = 0,
     .value_max = (int64_t)1 << 40,
     .help = "a window begins at every multiple of this; 0: of the window's length, so that windows tumble"},
    {.name = "group",
     .kind = PST_PARAM_TEXTS,
     .required = true,
     .help = "the fields that make a group: all of the operator's `key`, and others if wanted"},
    {.name = "aggregates",
     .kind = PST_PARAM_TEXTS,
     .required = true,
     .help = "what to put out: count, sum(FIELD), min(FIELD), max(FIELD), avg(FIELD), median(FIELD), each `as NAME` if "
             "wanted"},
};

const struct pst_operator pst_aggregate = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "aggregate",
    .summary = "Counts, sums, least, greatest, averages and medians of groups in tumbling or sliding windows.",
    .role = PST_ROLE_PLAIN,
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof aggregate_params / sizeof aggregate_params[0],
    .params = aggregate_params,
    .plan = pst_aggregate_plan,
    .open = aggregate_open,
    .on_frame = aggregate_on_frame,
    .on_time = aggregate_on_time,
    .on_end = aggregate_on_end,
};
