/* snapshot.c - buckets, each as it was at one moment, seen page by page while the state goes on (image.h).
 *
 * Pages are seen in their order, so those before `next` may change as they like. Whoever is about to change another one, or to give it
 * back, says so (pst_snapshot_keep()), and it is copied then. On the way of a row stands one comparison: the span from the lowest bucket
 * that there is a snapshot of to the highest. Within it the snapshots are gone through; they are few. */
#include "state/image.h"

#include "state/internal.h"

#include <string.h>

struct shown {      /* a structure's pages in the bucket, as they were */
    uint64_t first; /* index of the first one, as pst_snapshot_keep() has it */
    uint32_t count;
    uint32_t base; /* place of the first one among all */
};

struct pst_snapshot {
    struct pst_state *state;
    struct pst_snapshot *next_one; /* of the state's */
    uint32_t bucket, page_count, next;
    uint32_t structure, structure_count; /* structure: of the page seen last, or before it */
    int error;
    uint8_t **copies; /* by place; NULL: the page stands as it was, or was seen */
    uint8_t *given;   /* the copy that was given out last */
    struct shown of[PST_STRUCTURES_MAX];
};

static struct shown shown_now(const struct pst_structure *structure, uint32_t bucket, uint32_t base)
{
    struct shown shown = {.base = base};
    if (structure->kind == PST_PAGE_RECORDS) {
        const struct pst_table_bucket *records = ((const struct pst_table *)structure)->buckets[bucket];
        shown.count = records != NULL ? records->page_count : 0;
        return shown;
    }
    const struct pst_log_bucket *entries = ((const struct pst_log *)structure)->buckets[bucket];
    if (entries == NULL)
        return shown;
    PST_ASSERT(entries->page_end - entries->page_first <= UINT32_MAX - base);
    shown.first = entries->page_first;
    shown.count = (uint32_t)(entries->page_end - entries->page_first);
    return shown;
}

/* NULL: there is none. */
static struct pst_snapshot *snapshot_of(const struct pst_state *state, uint32_t bucket)
{
    struct pst_snapshot *snapshot = state->snapshots;
    while (snapshot != NULL && snapshot->bucket != bucket)
        snapshot = snapshot->next_one;
    return snapshot;
}

bool pst_snapshot_is_of(const struct pst_state *state, uint32_t bucket) { return snapshot_of(state, bucket) != NULL; }

static void span(struct pst_state *state)
{
    uint32_t first = UINT32_MAX, last = 0;
    for (const struct pst_snapshot *one = state->snapshots; one != NULL; one = one->next_one) {
        first = one->bucket < first ? one->bucket : first;
        last = one->bucket > last ? one->bucket : last;
    }
    state->shown_first = first;
    state->shown_span = state->snapshots != NULL ? last - first + 1 : 0;
}

int pst_state_snapshot(struct pst_state *state, uint32_t bucket, struct pst_snapshot **ret_snapshot)
{
    PST_ASSERT(bucket < state->bucket_count && snapshot_of(state, bucket) == NULL);
    struct pst_snapshot *snapshot = pst_calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return PST_ENOMEM;
    snapshot->state = state;
    snapshot->bucket = bucket;
    snapshot->structure_count = state->structure_count;
    for (uint32_t i = 0; i < state->structure_count; i++) {
        snapshot->of[i] = shown_now(state->structures[i], bucket, snapshot->page_count);
        snapshot->page_count += snapshot->of[i].count;
    }
    snapshot->copies = pst_calloc((size_t)snapshot->page_count + 1, sizeof *snapshot->copies);
    if (snapshot->copies == NULL) {
        pst_free(snapshot);
        return PST_ENOMEM;
    }
    snapshot->next_one = state->snapshots;
    state->snapshots = *ret_snapshot = snapshot;
    span(state);
    return PST_OK;
}

void pst_snapshot_free(struct pst_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    struct pst_snapshot **at = &snapshot->state->snapshots;
    while (*at != snapshot)
        at = &(*at)->next_one;
    *at = snapshot->next_one;
    span(snapshot->state);
    for (uint32_t i = snapshot->next; i < snapshot->page_count; i++)
        pst_free(snapshot->copies[i]);
    pst_free(snapshot->given);
    pst_free(snapshot->copies);
    pst_free(snapshot);
}

/* The page in memory. NULL: it cannot be had. */
static uint8_t *page_here(struct pst_structure *structure, uint32_t bucket, uint64_t index)
{
    uint8_t *word;
    uint64_t number;
    if (structure->kind == PST_PAGE_RECORDS) {
        const struct pst_table *table = (const struct pst_table *)structure;
        word = table->buckets[bucket]->pages[index];
        number = index * table->records_per_page;
    } else {
        const struct pst_log_bucket *entries = ((const struct pst_log *)structure)->buckets[bucket];
        word = entries->ring[index & entries->ring_mask];
        number = index * PST_PAGE_BYTES;
    }
    return pst_is_outside(word) ? pst_pager_in(structure, bucket, number, word) : word;
}

void pst_snapshot_keep(struct pst_structure *structure, uint32_t bucket, uint64_t index)
{
    struct pst_snapshot *snapshot = snapshot_of(structure->state, bucket);
    if (snapshot == NULL)
        return;
    const struct shown *shown = &snapshot->of[structure->number];
    if (structure->number >= snapshot->structure_count || index - shown->first >= shown->count) /* it has come since */
        return;
    uint32_t place = shown->base + (uint32_t)(index - shown->first);
    if (place < snapshot->next || snapshot->copies[place] != NULL || snapshot->error != PST_OK)
        return;
    const uint8_t *page = page_here(structure, bucket, index);
    if (page == NULL) {
        snapshot->error = pst_state_error(structure->state, NULL);
        return;
    }
    size_t bytes = PST_PAGE_HEADER_BYTES + (size_t)((const struct pst_page_header *)(const void *)page)->used_bytes;
    uint8_t *copy = pst_malloc(bytes);
    if (copy == NULL) {
        snapshot->error = PST_ENOMEM;
        return;
    }
    memcpy(copy, page, bytes);
    snapshot->copies[place] = copy;
}

uint32_t pst_snapshot_left(const struct pst_snapshot *snapshot) { return snapshot->page_count - snapshot->next; }

int pst_snapshot_next(struct pst_snapshot *snapshot, const struct pst_page_header **ret_page)
{
    pst_free(snapshot->given);
    snapshot->given = NULL;
    PST_ASSERT(snapshot->next < snapshot->page_count);
    if (snapshot->error != PST_OK)
        return snapshot->error;
    uint32_t place = snapshot->next;
    while (place - snapshot->of[snapshot->structure].base >= snapshot->of[snapshot->structure].count)
        snapshot->structure++;
    const struct shown *shown = &snapshot->of[snapshot->structure];
    uint8_t *page = snapshot->given = snapshot->copies[place];
    if (page == NULL)
        page = page_here(snapshot->state->structures[snapshot->structure], snapshot->bucket,
                         shown->first + (place - shown->base));
    if (page == NULL)
        return snapshot->error = pst_state_error(snapshot->state, NULL);
    snapshot->next++;
    *ret_page = pst_page_header(page);
    return PST_OK;
}
