/* history.c - see history.h. */
#include "debs14/history.h"

#include <string.h>

enum { END_COUNT = 64, ENTRY_MEMBERS_MAX = (PST_LOG_ENTRY_BYTES_MAX - 24) / 12 };
#define NOWHERE UINT64_MAX

struct ends_key {
    uint32_t slice, group; /* group: time of day / END_COUNT */
};

struct ends {
    uint64_t position[END_COUNT]; /* 0: none, else the position + 1 */
};

/* Entry: u64 position before (NOWHERE: none), i64 slice index, u32 slice number, u32 count, i64 averages[count], u32 members[count] */
struct entry {
    uint64_t before;
    int64_t index;
    uint32_t slice, count;
    int64_t averages[];
};

/* What was appended when slice j ended is read when slice j - 2 of a day after begins. Said of the shortest slices alone, whose
 * entries are nearly all: with those of two hours every page would be wanted six hours long. */
static int wanted(struct pst_ctx *ctx, const struct load_plan *plan, struct pst_log *log)
{
    int64_t shortest = plan->slice_s[0];
    for (uint32_t s = 1; s < plan->slice_count; s++)
        shortest = plan->slice_s[s] < shortest ? plan->slice_s[s] : shortest;
    return pst_log_wanted(ctx, log, &(int64_t){DAY_S - 3 * shortest}, 1, DAY_S);
}

int history_open(struct history *history, struct pst_ctx *ctx, const struct load_plan *plan)
{
    uint32_t owned_count;
    const uint32_t *owned = pst_buckets(ctx, &owned_count);
    uint32_t bucket_count = owned_count == 0 ? 1 : owned[owned_count - 1] + 1;
    *history = (struct history){.plan = plan};
    history->ends = pst_table_open(ctx, "ends", sizeof(struct ends_key), sizeof(struct ends));
    history->log = pst_log_open(ctx, "history");
    history->loaded = pst_alloc(ctx, (size_t)bucket_count * plan->slice_count * sizeof *history->loaded);
    if (history->ends == NULL || history->log == NULL || history->loaded == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < (size_t)bucket_count * plan->slice_count; i++)
        history->loaded[i] = INT64_MIN;
    return wanted(ctx, plan, history->log);
}

int closing_add(struct closing *closing, struct pst_ctx *ctx, uint32_t member, int64_t average)
{
    if (closing->count == closing->capacity) { /* scratch: doubled, the old half is given up until close() */
        uint32_t capacity = closing->capacity == 0 ? 64 : closing->capacity * 2;
        uint32_t *members = pst_alloc(ctx, capacity * sizeof *members);
        int64_t *averages = pst_alloc(ctx, capacity * sizeof *averages);
        if (members == NULL || averages == NULL)
            return PST_ENOMEM;
        if (closing->count != 0) {
            memcpy(members, closing->member, closing->count * sizeof *members);
            memcpy(averages, closing->average_uw, closing->count * sizeof *averages);
        }
        closing->member = members;
        closing->average_uw = averages;
        closing->capacity = capacity;
    }
    closing->member[closing->count] = member;
    closing->average_uw[closing->count++] = average;
    return PST_OK;
}

static uint64_t hash_of(const struct ends_key *key)
{
    uint64_t x = ((uint64_t)key->slice << 32 | key->group) * 0x9e3779b97f4a7c15u;
    return x ^ (x >> 29);
}

static uint32_t time_of_day(const struct history *history, uint32_t s, int64_t index)
{
    int64_t slices = DAY_S / history->plan->slice_s[s];
    return (uint32_t)(index - floor_div(index, slices) * slices);
}

static int append_entry(struct history *history, struct pst_ctx *ctx, uint32_t bucket, uint32_t s, int64_t index,
                        const struct closing *closing, uint32_t from, uint32_t count)
{
    uint32_t slot = time_of_day(history, s, index);
    struct ends_key key = {s, slot / END_COUNT};
    uint64_t hash = hash_of(&key), position;
    void *record, *space;
    int rc = pst_table_upsert(ctx, history->ends, 1, &bucket, &hash, &key, NULL, &record);
    if (rc != PST_OK)
        return rc;
    struct ends *ends = record;
    uint32_t bytes = (uint32_t)(sizeof(struct entry) + count * (sizeof(int64_t) + sizeof(uint32_t)));
    rc = pst_log_append(ctx, history->log, bucket, bytes, &space, &position);
    if (rc != PST_OK)
        return rc;
    struct entry *entry = space;
    *entry = (struct entry){ends->position[slot % END_COUNT] == 0 ? NOWHERE : ends->position[slot % END_COUNT] - 1,
                            index, s, count};
    memcpy(entry->averages, closing->average_uw + from, count * sizeof(int64_t));
    memcpy(entry->averages + count, closing->member + from, count * sizeof(uint32_t));
    ends->position[slot % END_COUNT] = position + 1;
    return PST_OK;
}

int history_append(struct history *history, struct pst_ctx *ctx, uint32_t bucket, uint32_t s, int64_t index,
                   const struct closing *closing)
{
    for (uint32_t from = 0; from < closing->count; from += ENTRY_MEMBERS_MAX) {
        uint32_t rest = closing->count - from;
        int rc = append_entry(history, ctx, bucket, s, index, closing, from,
                              rest < ENTRY_MEMBERS_MAX ? rest : ENTRY_MEMBERS_MAX);
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- medians ---- */
static void insertion_sort(int64_t *values, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        int64_t v = values[i];
        uint32_t j = i;
        for (; j > 0 && values[j - 1] > v; j--)
            values[j] = values[j - 1];
        values[j] = v;
    }
}

static void sift(int64_t *values, uint32_t root, uint32_t count)
{
    for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && values[child + 1] > values[child])
            child++;
        if (values[root] >= values[child])
            return;
        int64_t v = values[root];
        values[root] = values[child];
        values[child] = v;
    }
}

static void sort(int64_t *values, uint32_t count)
{
    if (count <= 48) {
        insertion_sort(values, count);
        return;
    }
    for (uint32_t i = count / 2; i-- > 0;)
        sift(values, i, count);
    for (uint32_t end = count; end-- > 1;) {
        int64_t v = values[0];
        values[0] = values[end];
        values[end] = v;
        sift(values, 0, end);
    }
}

static uint64_t chain_end(struct history *history, struct pst_ctx *ctx, uint32_t bucket, uint32_t s, uint32_t slot)
{
    struct ends_key key = {s, slot / END_COUNT};
    int64_t index = pst_table_find(ctx, history->ends, bucket, hash_of(&key), &key);
    if (index < 0)
        return NOWHERE;
    const struct ends *ends = pst_table_record(ctx, history->ends, bucket, (uint32_t)index);
    return ends->position[slot % END_COUNT] == 0 ? NOWHERE : ends->position[slot % END_COUNT] - 1;
}

static int room(struct history *history, struct pst_ctx *ctx, uint32_t member_count, size_t value_count)
{
    if (member_count + 1 > history->member_capacity) {
        uint32_t capacity = (member_count + 1) * 2;
        history->first = pst_alloc(ctx, capacity * sizeof *history->first);
        history->member_capacity = history->first != NULL ? capacity : 0;
    }
    if (value_count > history->value_capacity) {
        size_t capacity = value_count * 2;
        history->values = pst_alloc(ctx, capacity * sizeof *history->values);
        history->value_capacity = history->values != NULL ? capacity : 0;
    }
    return history->first != NULL && (history->values != NULL || value_count == 0) ? PST_OK : PST_ENOMEM;
}

/* Puts the averages at the time of day of slice `index` side by side, member after member: history->first[m] is the end of member
 * m's values. Walks the chain twice: to count, then to place. */
static int gather(struct history *history, struct pst_ctx *ctx, uint32_t bucket, uint32_t s, int64_t index,
                  uint32_t member_count)
{
    uint64_t end = chain_end(history, ctx, bucket, s, time_of_day(history, s, index));
    const struct entry *entry;
    size_t value_count = 0;
    uint32_t bytes;
    int rc = room(history, ctx, member_count, 0);
    if (rc != PST_OK)
        return rc;
    memset(history->first, 0, (member_count + 1) * sizeof *history->first);
    for (uint64_t at = end; at != NOWHERE; at = entry->before) {
        uint64_t next = at;
        entry = pst_log_read(ctx, history->log, bucket, &next, &bytes);
        if (entry == NULL)
            return PST_EINTERNAL;
        const uint32_t *members = (const uint32_t *)(entry->averages + entry->count);
        for (uint32_t i = 0; i < entry->count; i++)
            history->first[members[i] + 1]++;
        value_count += entry->count;
    }
    rc = room(history, ctx, member_count, value_count);
    if (rc != PST_OK)
        return rc;
    for (uint32_t m = 0; m < member_count; m++)
        history->first[m + 1] += history->first[m];
    for (uint64_t at = end; at != NOWHERE; at = entry->before) {
        uint64_t next = at;
        entry = pst_log_read(ctx, history->log, bucket, &next, &bytes);
        if (entry == NULL) /* its page had left since, and cannot be had again */
            return PST_EINTERNAL;
        const uint32_t *members = (const uint32_t *)(entry->averages + entry->count);
        for (uint32_t i = 0; i < entry->count; i++)
            history->values[history->first[members[i]]++] = entry->averages[i];
    }
    return PST_OK;
}

int history_load(struct history *history, struct pst_ctx *ctx, struct pst_table *members, uint32_t bucket, uint32_t s,
                 int64_t index, history_set set)
{
    int64_t *loaded = &history->loaded[(size_t)bucket * history->plan->slice_count + s];
    if (*loaded == index)
        return PST_OK;
    *loaded = index;
    uint32_t member_count = pst_table_count(ctx, members, bucket);
    int rc = gather(history, ctx, bucket, s, index + 2, member_count);
    for (uint32_t m = 0, from = 0; m < member_count && rc == PST_OK; m++) {
        uint32_t count = history->first[m] - from;
        void *record = pst_table_record(ctx, members, bucket, m);
        if (count == 0) {
            set(record, s, false, 0, 0);
            continue;
        }
        int64_t *values = history->values + from;
        from = history->first[m];
        sort(values, count);
        set(record, s, true, values[(count - 1) / 2], values[count / 2]);
    }
    return rc;
}
