/* ranks.c - see ranks.h. */
#include "debs14/ranks.h"

#include <string.h>

int ranks_reserve(struct ranks *ranks, struct pst_ctx *ctx, uint32_t capacity)
{
    if (capacity <= ranks->entry_capacity)
        return PST_OK;
    struct ranked *entries = pst_alloc(ctx, capacity * sizeof *entries);
    if (entries == NULL)
        return PST_ENOMEM;
    if (ranks->entry_count != 0)
        memcpy(entries, ranks->entries, ranks->entry_count * sizeof *entries);
    ranks->entries = entries;
    ranks->entry_capacity = capacity;
    return PST_OK;
}

/* The first entry not below (value, owner). */
static uint32_t find(const struct ranks *ranks, int64_t value, uint32_t owner)
{
    uint32_t low = value < ranks->pivot ? 0 : ranks->at, high = value < ranks->pivot ? ranks->at : ranks->entry_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct ranked *entry = &ranks->entries[middle];
        if (entry->value < value || (entry->value == value && entry->owner < owner))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_range(struct ranks *ranks, uint32_t from, uint32_t to)
{
    memmove(ranks->entries + from, ranks->entries + to, (ranks->entry_count - to) * sizeof *ranks->entries);
    ranks->entry_count -= to - from;
}

/* Gives up a quarter of the entries, at the end that has more of them, whole values at a time. */
static void narrow(struct ranks *ranks)
{
    uint32_t below_count = ranks->at, above_count = ranks->entry_count - ranks->at;
    uint32_t quarter = ranks->entry_count / 4 + 1;
    if (below_count > above_count) {
        uint32_t cut = quarter < below_count ? quarter : below_count;
        int64_t value = ranks->entries[cut - 1].value;
        while (cut < below_count && ranks->entries[cut].value == value)
            cut++;
        remove_range(ranks, 0, cut);
        ranks->at -= cut;
        ranks->lo = value + 1;
    } else {
        uint32_t cut = ranks->entry_count - (quarter < above_count ? quarter : above_count);
        int64_t value = ranks->entries[cut].value;
        while (cut > ranks->at && ranks->entries[cut - 1].value == value)
            cut--;
        ranks->entry_count = cut;
        ranks->hi = value - 1;
    }
}

void ranks_add(struct ranks *ranks, int64_t value, uint32_t owner, uint32_t count)
{
    uint32_t i = find(ranks, value, owner);
    if (i < ranks->entry_count && ranks->entries[i].value == value && ranks->entries[i].owner == owner) {
        ranks->entries[i].count += count;
        return;
    }
    if (ranks->entry_count == ranks->entry_capacity) {
        narrow(ranks);
        if (!ranks_has(ranks, value))
            return;
        i = find(ranks, value, owner);
    }
    memmove(ranks->entries + i + 1, ranks->entries + i, (ranks->entry_count - i) * sizeof *ranks->entries);
    ranks->entries[i] = (struct ranked){value, owner, count};
    ranks->entry_count++;
    ranks->at += value < ranks->pivot;
}

int ranks_take(struct ranks *ranks, int64_t value, uint32_t owner)
{
    uint32_t i = find(ranks, value, owner);
    if (i == ranks->entry_count || ranks->entries[i].value != value || ranks->entries[i].owner != owner)
        return PST_EINTERNAL;
    if (--ranks->entries[i].count == 0) {
        remove_range(ranks, i, i + 1);
        ranks->at -= value < ranks->pivot;
    }
    return PST_OK;
}

void ranks_move(struct ranks *ranks, int64_t pivot, ranks_settle settle, void *argument)
{
    uint32_t from, to; /* entries at the new pivot */
    if (pivot > ranks->pivot) {
        for (from = ranks->at; from < ranks->entry_count && ranks->entries[from].value < pivot; from++)
            settle(argument, ranks->entries[from].owner, ranks->entries[from].count, 0);
        for (to = from; to < ranks->entry_count && ranks->entries[to].value == pivot; to++)
            settle(argument, ranks->entries[to].owner, 0, ranks->entries[to].count);
    } else {
        for (to = ranks->at; to > 0 && ranks->entries[to - 1].value > pivot; to--)
            settle(argument, ranks->entries[to - 1].owner, -(int64_t)ranks->entries[to - 1].count, 0);
        for (from = to; from > 0 && ranks->entries[from - 1].value == pivot; from--)
            settle(argument, ranks->entries[from - 1].owner, -(int64_t)ranks->entries[from - 1].count,
                   ranks->entries[from - 1].count);
    }
    remove_range(ranks, from, to);
    ranks->at = from;
    ranks->pivot = pivot;
}

bool ranks_nearest_below(const struct ranks *ranks, uint32_t owner, int64_t *ret_value)
{
    for (uint32_t i = ranks->at; i > 0; i--) {
        if (ranks->entries[i - 1].owner == owner) {
            *ret_value = ranks->entries[i - 1].value;
            return true;
        }
    }
    return false;
}

bool ranks_nearest_above(const struct ranks *ranks, uint32_t owner, int64_t *ret_value)
{
    for (uint32_t i = ranks->at; i < ranks->entry_count; i++) {
        if (ranks->entries[i].owner == owner) {
            *ret_value = ranks->entries[i].value;
            return true;
        }
    }
    return false;
}
