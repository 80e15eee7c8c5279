/* image.c - see image.h. */
#include "state/image.h"

#include "state/internal.h"

#include <string.h>

uint32_t pst_state_structures(const struct pst_state *state, struct pst_structure_view ret[PST_STRUCTURES_MAX])
{
    for (uint32_t i = 0; i < state->structure_count; i++) {
        const struct pst_structure *structure = state->structures[i];
        ret[i] = (struct pst_structure_view){.name = structure->name, .kind = (pst_page_kind)structure->kind};
        if (structure->kind != PST_PAGE_RECORDS)
            continue;
        ret[i].key_bytes = ((const struct pst_table *)structure)->key_bytes;
        ret[i].record_bytes = ((const struct pst_table *)structure)->record_bytes;
    }
    return state->structure_count;
}

/* ---- out ---- */

struct walk { /* first counts, then fills */
    uint32_t since;
    struct pst_image *image;
    bool fill;
};

static size_t copy_bytes(const struct pst_page_header *page)
{
    return (PST_PAGE_HEADER_BYTES + (size_t)page->used_bytes + 7) & ~(size_t)7;
}

static int visit(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t *word)
{
    struct walk *walk = argument;
    struct pst_image *image = walk->image;
    struct pst_image_page page = {
        .bucket = bucket, .structure = structure->number, .kind = structure->kind, .number = number};
    bool copied = structure->state->pager == NULL;
    if (copied)
        page.changed = pst_page_header(word)->changed;
    else
        pst_pager_image_page(structure->state, word, &page);
    page.changed_since = page.changed > walk->since;
    copied = copied && page.changed_since;
    if (walk->fill && copied) {
        char *to = image->copies + image->bytes_copied;
        memcpy(to, word, PST_PAGE_HEADER_BYTES + (size_t)pst_page_header(word)->used_bytes);
        page.bytes = (const struct pst_page_header *)(const void *)to;
    }
    if (walk->fill)
        image->pages[image->page_count] = page;
    image->page_count++;
    image->bytes_copied += copied ? copy_bytes(pst_page_header(word)) : 0;
    return PST_OK;
}

uint32_t pst_state_logs(const struct pst_state *state, uint32_t bucket, struct pst_image_log ret[PST_STRUCTURES_MAX])
{
    uint32_t count = 0;
    PST_ASSERT(bucket < state->bucket_count);
    for (uint32_t i = 0; i < state->structure_count; i++) {
        const struct pst_log *log = (const struct pst_log *)state->structures[i];
        if (state->structures[i]->kind == PST_PAGE_LOG && log->buckets[bucket] != NULL)
            ret[count++] =
                (struct pst_image_log){bucket, (uint16_t)i, log->buckets[bucket]->tail, log->buckets[bucket]->head};
    }
    return count;
}

static void logs_visit(const struct pst_state *state, uint32_t bucket, struct walk *walk)
{
    struct pst_image_log logs[PST_STRUCTURES_MAX];
    uint32_t count = pst_state_logs(state, bucket, logs);
    if (walk->fill && count != 0)
        memcpy(&walk->image->logs[walk->image->log_count], logs, count * sizeof *logs);
    walk->image->log_count += count;
}

static void walk_buckets(struct pst_state *state, struct walk *walk)
{
    walk->image->page_count = walk->image->log_count = 0;
    walk->image->bytes_copied = 0;
    for (uint32_t bucket = 0; bucket < state->bucket_count; bucket++) {
        (void)pst_state_words(state, bucket, visit, walk); /* cannot fail: visit() does not */
        logs_visit(state, bucket, walk);
    }
}

static int image_fill(struct pst_state *state, struct walk *walk)
{
    struct pst_image *image = walk->image;
    walk_buckets(state, walk);
    image->pages = pst_malloc((image->page_count + 1) * sizeof *image->pages);
    image->logs = pst_malloc((image->log_count + 1) * sizeof *image->logs);
    image->copies = pst_malloc(image->bytes_copied + 1);
    if (image->pages == NULL || image->logs == NULL || image->copies == NULL) {
        pst_image_fini(image);
        return PST_ENOMEM;
    }
    walk->fill = true;
    walk_buckets(state, walk);
    return PST_OK;
}

int pst_state_image(struct pst_state *state, uint32_t since, struct pst_image *ret_image)
{
    *ret_image = (struct pst_image){.generation = state->generation};
    struct walk walk = {since, ret_image, false};
    int rc = state->pager != NULL ? pst_pager_flush(state) : PST_OK;
    if (rc != PST_OK)
        return rc;
    rc = image_fill(state, &walk);
    if (rc == PST_OK && state->generation == UINT32_MAX) {
        pst_image_fini(ret_image);
        rc = PST_ENOMEM;
    }
    if (rc != PST_OK)
        return rc;
    if (state->pager != NULL)
        rc = pst_pager_image(state, ret_image);
    if (rc != PST_OK)
        pst_image_fini(ret_image);
    else
        state->generation++;
    return rc;
}

struct bucket_walk {
    uint32_t since;
    uint8_t *copy;
    pst_image_visit visit;
    void *argument;
};

static int bucket_visit(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number,
                        uint8_t *word)
{
    const struct bucket_walk *walk = argument;
    struct pst_state *state = structure->state;
    struct pst_image_page page = {
        .bucket = bucket, .structure = structure->number, .kind = structure->kind, .number = number};
    page.changed = state->pager != NULL ? pst_pager_changed(state, word) : pst_page_header(word)->changed;
    page.changed_since = page.changed > walk->since;
    if (page.changed_since && pst_is_outside(word))
        word = pst_pager_in(structure, bucket, number, word);
    if (word == NULL)
        return pst_state_error(state, NULL);
    if (page.changed_since) {
        page.used_bytes = pst_page_header(word)->used_bytes;
        memcpy(walk->copy, word, PST_PAGE_HEADER_BYTES + (size_t)page.used_bytes);
        pst_page_header(walk->copy)->changed = page.changed;
        page.bytes = pst_page_header(walk->copy);
    }
    pst_state_release(state);
    return walk->visit(walk->argument, &page);
}

int pst_state_image_bucket(struct pst_state *state, uint32_t bucket, uint32_t since, void *copy,
                           pst_image_visit visit_page, void *argument)
{
    struct bucket_walk walk = {since, copy, visit_page, argument};
    return pst_state_words(state, bucket, bucket_visit, &walk);
}

int pst_state_image_end(struct pst_state *state, uint32_t *ret_generation)
{
    if (state->generation == UINT32_MAX)
        return PST_ERANGE;
    *ret_generation = state->generation++;
    return PST_OK;
}

int pst_image_page_bytes(const struct pst_image *image, uint32_t index, void *buffer,
                         const struct pst_page_header **ret_bytes)
{
    const struct pst_image_page *page = &image->pages[index];
    *ret_bytes = page->bytes;
    if (page->bytes != NULL)
        return PST_OK;
    uint8_t *sealed = pst_malloc(page->sealed_bytes);
    if (sealed == NULL)
        return PST_ENOMEM;
    struct pst_seal_place place = {page->bucket, page->structure, page->kind, page->number, page->version};
    uint32_t clear_bytes = 0;
    int rc = image->outside.look(image->outside.self, page->slot, sealed, page->sealed_bytes);
    if (rc == PST_OK)
        rc = pst_unseal(image->opener, image->operator_index, &place, sealed, page->sealed_bytes, buffer,
                        PST_PAGE_BYTES, &clear_bytes);
    if (rc == PST_OK && clear_bytes != PST_PAGE_HEADER_BYTES + page->used_bytes)
        rc = PST_EINTERNAL;
    *ret_bytes = buffer;
    pst_free(sealed);
    return rc == PST_EABI ? PST_EREFUSED : rc; /* no newer program has been there */
}

void pst_image_fini(struct pst_image *image)
{
    if (image->done != NULL)
        atomic_store_explicit(image->done, true, memory_order_release);
    pst_free(image->pages);
    pst_free(image->logs);
    pst_free(image->copies);
    *image = (struct pst_image){0};
}

/* ---- back ---- */

int pst_state_restore_page(struct pst_state *state, const struct pst_page_header *page, uint32_t byte_count)
{
    int ended = pst_state_end(state); /* what was put back before may leave */
    if (ended != PST_OK)
        return ended;
    if (byte_count < PST_PAGE_HEADER_BYTES || byte_count > PST_PAGE_BYTES ||
        page->used_bytes != byte_count - PST_PAGE_HEADER_BYTES || page->used_bytes == 0)
        return PST_EDATA;
    if (page->magic != PST_PAGE_MAGIC || page->version != PST_PAGE_VERSION || page->zero != 0 ||
        page->bucket >= state->bucket_count || page->structure >= state->structure_count ||
        page->kind != state->structures[page->structure]->kind)
        return PST_EDATA;
    struct pst_structure *structure = state->structures[page->structure];
    return page->kind == PST_PAGE_RECORDS ? pst_table_restore((struct pst_table *)structure, page->bucket, page)
                                          : pst_log_restore((struct pst_log *)structure, page->bucket, page);
}

int pst_state_restore_log(struct pst_state *state, const struct pst_image_log *log)
{
    if (log->bucket >= state->bucket_count || log->structure >= state->structure_count ||
        state->structures[log->structure]->kind != PST_PAGE_LOG)
        return PST_EDATA;
    return pst_log_restore_ends((struct pst_log *)state->structures[log->structure], log->bucket, log->tail, log->head);
}

uint32_t pst_state_generation(const struct pst_state *state) { return state->generation; }

void pst_state_restore_end(struct pst_state *state, uint32_t generation)
{
    PST_ASSERT(generation >= 1);
    state->generation = generation;
}
