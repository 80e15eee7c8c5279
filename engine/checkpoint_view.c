/* checkpoint_view.c - checkpoints in a folder, looked at from outside a run: what there is, whether it opens, what is in it. */
#include "engine/checkpoint_file.h"
#include "engine/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_BYTES = 200 };

struct entry { /* one checkpoint */
    uint64_t id, bytes;
    bool opened;
    char why[WHY_BYTES];
    struct pst_manifest manifest;
};

struct pst_checkpoint_folder {
    struct pst_world *world;
    const char *directory;
    struct pst_secret *const *keys;
    uint32_t key_count;
    struct entry *entries;
    uint32_t entry_count, entry_capacity;
    char why[WHY_BYTES];
};

/* ---- the list ---- */

static int entry_add(void *argument, uint64_t id)
{
    struct pst_checkpoint_folder *folder = argument;
    if (folder->entry_count == folder->entry_capacity) {
        uint32_t capacity = folder->entry_capacity == 0 ? 4 : folder->entry_capacity * 2;
        struct entry *more = pst_realloc(folder->entries, capacity * sizeof *more);
        if (more == NULL)
            return PST_ENOMEM;
        folder->entries = more;
        folder->entry_capacity = capacity;
    }
    memset(&folder->entries[folder->entry_count], 0, sizeof *folder->entries);
    folder->entries[folder->entry_count++].id = id;
    return PST_OK;
}

static int oldest_first(const void *a, const void *b)
{
    uint64_t x = ((const struct entry *)a)->id, y = ((const struct entry *)b)->id;
    return x < y ? -1 : x > y;
}

/* 0 where there is no such file: what is missing is told when it is to be opened. */
static uint64_t file_bytes(const struct pst_checkpoint_folder *folder, uint64_t id, const char *suffix)
{
    const struct pst_world *world = folder->world;
    struct pst_text path = {0};
    struct pst_file *file = NULL;
    uint64_t bytes = 0;
    (void)pst_text_printf(&path, "%s/%016" PRIx64 "%s", folder->directory, id, suffix);
    uint64_t id_of_file[2];
    if (!path.failed && world->look(world->self, path.bytes, id_of_file) == 1 &&
        world->file_open(world->self, path.bytes, PST_OPEN_READ, &file) == PST_OK) {
        if (world->file_size(world->self, file, &bytes) != PST_OK)
            bytes = 0;
        (void)world->file_close(world->self, file);
    }
    pst_text_fini(&path);
    return bytes;
}

static struct checkpoint_reader reader_of(struct pst_checkpoint_folder *folder, char why[WHY_BYTES])
{
    return (struct checkpoint_reader){.world = folder->world,
                                      .directory = folder->directory,
                                      .keys = folder->keys,
                                      .key_count = folder->key_count,
                                      .why = why,
                                      .why_bytes = WHY_BYTES};
}

static int entry_open(struct pst_checkpoint_folder *folder, struct entry *entry)
{
    entry->bytes = file_bytes(folder, entry->id, ".manifest") + file_bytes(folder, entry->id, ".pages");
    if (folder->key_count == 0) {
        (void)snprintf(entry->why, sizeof entry->why, "there is no key to open it");
        return PST_OK;
    }
    struct checkpoint_reader reader = reader_of(folder, entry->why);
    int rc = pst_checkpoint_read(&reader, entry->id, &entry->manifest);
    entry->opened = rc == PST_OK;
    return rc == PST_ENOMEM ? rc : PST_OK;
}

int pst_checkpoint_folder_open(struct pst_world *world, const char *directory, struct pst_secret *const *keys,
                               uint32_t key_count, struct pst_checkpoint_folder **ret_folder)
{
    struct pst_checkpoint_folder *folder = pst_calloc(1, sizeof *folder);
    if (folder == NULL)
        return PST_ENOMEM;
    folder->world = world;
    folder->directory = directory;
    folder->keys = keys;
    folder->key_count = key_count;
    int rc = pst_checkpoint_ids(world, directory, true, entry_add, folder);
    if (rc == PST_OK && folder->entry_count != 0)
        qsort(folder->entries, folder->entry_count, sizeof *folder->entries, oldest_first);
    for (uint32_t i = 0; i < folder->entry_count && rc == PST_OK; i++)
        rc = entry_open(folder, &folder->entries[i]);
    if (rc != PST_OK) {
        pst_checkpoint_folder_close(folder);
        return rc;
    }
    *ret_folder = folder;
    return PST_OK;
}

void pst_checkpoint_folder_close(struct pst_checkpoint_folder *folder)
{
    if (folder == NULL)
        return;
    for (uint32_t i = 0; i < folder->entry_count; i++)
        if (folder->entries[i].opened)
            pst_manifest_fini(&folder->entries[i].manifest);
    pst_free(folder->entries);
    pst_free(folder);
}

uint32_t pst_checkpoint_folder_count(const struct pst_checkpoint_folder *folder) { return folder->entry_count; }

void pst_checkpoint_folder_view(const struct pst_checkpoint_folder *folder, uint32_t index,
                                struct pst_checkpoint_view *ret_view)
{
    PST_ASSERT(index < folder->entry_count);
    const struct entry *entry = &folder->entries[index];
    const struct pst_manifest *manifest = &entry->manifest;
    *ret_view = (struct pst_checkpoint_view){.id = entry->id, .bytes = entry->bytes, .why = entry->why};
    if (!entry->opened)
        return;
    ret_view->why = NULL;
    ret_view->graph = manifest->graph_name;
    ret_view->cut = manifest->cut;
    ret_view->rows = manifest->source.rows;
    ret_view->offset = manifest->source.offset;
    ret_view->page_count = manifest->page_count;
    ret_view->operator_count = manifest->node_count;
    for (uint32_t p = 0; p < manifest->page_count; p++) {
        const struct pst_manifest_page *page = &manifest->pages[p];
        ret_view->bytes_live += page->sealed_bytes;
        ret_view->sealed_count += manifest->nodes[page->node].inside;
        ret_view->bytes_new += manifest->files[page->file].id == manifest->id ? page->sealed_bytes : 0;
    }
}

const char *pst_checkpoint_folder_operator(const struct pst_checkpoint_folder *folder, uint32_t index,
                                           uint32_t operator_index)
{
    PST_ASSERT(index < folder->entry_count && operator_index < folder->entries[index].manifest.node_count);
    return folder->entries[index].manifest.nodes[operator_index].id;
}

static int why_of(struct pst_checkpoint_folder *folder, int rc, const char **ret_why)
{
    if (folder->why[0] == '\0')
        (void)snprintf(folder->why, sizeof folder->why, "%s", pst_error_sentence(rc));
    *ret_why = folder->why;
    return rc;
}

int pst_checkpoint_folder_verify(struct pst_checkpoint_folder *folder, uint32_t index, const char **ret_why)
{
    PST_ASSERT(index < folder->entry_count);
    const struct entry *entry = &folder->entries[index];
    if (!entry->opened) {
        *ret_why = entry->why;
        return PST_EREFUSED;
    }
    folder->why[0] = '\0';
    struct checkpoint_reader reader = reader_of(folder, folder->why);
    int rc = pst_checkpoint_pages(&reader, &entry->manifest, NULL, NULL);
    return rc == PST_OK ? PST_OK : why_of(folder, rc, ret_why);
}

/* ---- what is in it ---- */

struct rebuilt { /* one table or log of an operator, of all its buckets at once: a bucket does not know its partition */
    const struct pst_manifest_node *node;
    struct pst_state *state;
    struct pst_table *table; /* or */
    struct pst_log *log;
    uint32_t page_count;
};

/* All structures, for their numbers are their order; *rebuilt gets the wanted one. */
static int structures_open(struct rebuilt *rebuilt, uint32_t wanted)
{
    for (uint32_t s = 0; s < rebuilt->node->structure_count; s++) {
        const struct pst_manifest_structure *structure = &rebuilt->node->structures[s];
        bool is_table = structure->kind == PST_PAGE_RECORDS;
        struct pst_table *table = is_table ? pst_state_table_open(rebuilt->state, structure->name, structure->key_bytes,
                                                                  structure->record_bytes)
                                           : NULL;
        struct pst_log *log =
            structure->kind == PST_PAGE_LOG ? pst_state_log_open(rebuilt->state, structure->name) : NULL;
        if (table == NULL && log == NULL)
            return PST_EDATA;
        if (s == wanted) {
            rebuilt->table = table;
            rebuilt->log = log;
        }
    }
    return PST_OK;
}

static int page_restore(void *argument, const struct pst_manifest_page *page, const void *bytes, uint32_t byte_count)
{
    (void)page;
    return pst_state_restore_page(((const struct rebuilt *)argument)->state, bytes, byte_count);
}

/* Reads the pages of one structure alone. */
static int pages_restore(struct pst_checkpoint_folder *folder, const struct pst_manifest *manifest, uint32_t node,
                         uint32_t structure, struct rebuilt *rebuilt)
{
    struct checkpoint_reader reader = reader_of(folder, folder->why);
    struct pst_manifest part = *manifest; /* borrows everything but the list of pages */
    part.page_count = 0;
    part.pages = pst_malloc((manifest->page_count + (size_t)1) * sizeof *part.pages);
    if (part.pages == NULL)
        return PST_ENOMEM;
    for (uint32_t p = 0; p < manifest->page_count; p++)
        if (manifest->pages[p].node == node && manifest->pages[p].structure == structure)
            part.pages[part.page_count++] = manifest->pages[p];
    rebuilt->page_count = part.page_count;
    int rc = pst_checkpoint_pages(&reader, &part, page_restore, rebuilt);
    pst_free(part.pages);
    if (rc == PST_ENOENT)
        rc = PST_EREFUSED; /* a file of pages is gone: not to be taken for a structure that is not there */
    for (uint32_t i = 0; i < manifest->log_count && rc == PST_OK; i++)
        if (manifest->logs[i].node == node && manifest->logs[i].log.structure == structure)
            rc = pst_state_restore_log(rebuilt->state, &manifest->logs[i].log);
    return rc;
}

static int rebuild(struct pst_checkpoint_folder *folder, const struct pst_manifest *manifest, uint32_t node,
                   uint32_t structure, struct rebuilt *ret_rebuilt)
{
    *ret_rebuilt = (struct rebuilt){.node = &manifest->nodes[node]};
    ret_rebuilt->state = pst_state_new(ret_rebuilt->node->bucket_count, UINT64_MAX);
    int rc = ret_rebuilt->state != NULL ? structures_open(ret_rebuilt, structure) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pages_restore(folder, manifest, node, structure, ret_rebuilt);
    if (rc != PST_OK)
        pst_state_free(ret_rebuilt->state);
    return rc;
}

typedef int (*entry_visit)(void *argument, const struct pst_checkpoint_entry *entry);

static int table_walk(const struct rebuilt *rebuilt, const struct pst_manifest_structure *structure, uint32_t bucket,
                      entry_visit visit, void *argument)
{
    uint32_t count = pst_state_table_count(rebuilt->table, bucket);
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = visit(argument, &(struct pst_checkpoint_entry){bucket, i, pst_state_table_key(rebuilt->table, bucket, i),
                                                            pst_state_table_record(rebuilt->table, bucket, i),
                                                            structure->key_bytes, structure->record_bytes});
    return rc;
}

static int log_walk(const struct rebuilt *rebuilt, uint32_t bucket, entry_visit visit, void *argument)
{
    uint64_t before = pst_state_log_tail(rebuilt->log, bucket), position = before;
    uint32_t bytes;
    const void *entry;
    int rc = PST_OK;
    while (rc == PST_OK && (entry = pst_state_log_read(rebuilt->log, bucket, &position, &bytes)) != NULL) {
        /* A position at the end of a page stands for the first one of the next. */
        if (position / PST_PAGE_BYTES != before / PST_PAGE_BYTES)
            before = position / PST_PAGE_BYTES * PST_PAGE_BYTES + PST_PAGE_HEADER_BYTES;
        rc = visit(argument, &(struct pst_checkpoint_entry){bucket, before, NULL, entry, 0, bytes});
        before = position;
    }
    return rc;
}

static int entries_walk(const struct rebuilt *rebuilt, const struct pst_manifest_structure *structure,
                        entry_visit visit, void *argument)
{
    int rc = PST_OK;
    for (uint32_t bucket = 0; bucket < rebuilt->node->bucket_count && rc == PST_OK; bucket++)
        rc = rebuilt->table != NULL ? table_walk(rebuilt, structure, bucket, visit, argument)
                                    : log_walk(rebuilt, bucket, visit, argument);
    return rc;
}

static int count_one(void *argument, const struct pst_checkpoint_entry *entry)
{
    (void)entry;
    ++*(uint64_t *)argument;
    return PST_OK;
}

int pst_checkpoint_folder_structures(struct pst_checkpoint_folder *folder, uint32_t index,
                                     int (*visit)(void *argument, const struct pst_checkpoint_structure *structure),
                                     void *argument, const char **ret_why)
{
    PST_ASSERT(index < folder->entry_count && folder->entries[index].opened);
    const struct pst_manifest *manifest = &folder->entries[index].manifest;
    folder->why[0] = '\0';
    for (uint32_t n = 0; n < manifest->node_count; n++) {
        const struct pst_manifest_node *node = &manifest->nodes[n];
        for (uint32_t s = 0; s < node->structure_count; s++) {
            const struct pst_manifest_structure *structure = &node->structures[s];
            struct pst_checkpoint_structure out = {node->id,
                                                   structure->name,
                                                   structure->kind == PST_PAGE_LOG,
                                                   structure->key_bytes,
                                                   structure->record_bytes,
                                                   0,
                                                   0};
            struct rebuilt rebuilt;
            int rc = rebuild(folder, manifest, n, s, &rebuilt);
            if (rc != PST_OK)
                return why_of(folder, rc, ret_why);
            (void)entries_walk(&rebuilt, structure, count_one, &out.entry_count);
            out.page_count = rebuilt.page_count;
            pst_state_free(rebuilt.state);
            rc = visit(argument, &out);
            if (rc != PST_OK)
                return why_of(folder, rc, ret_why);
        }
    }
    return PST_OK;
}

int pst_checkpoint_folder_entries(struct pst_checkpoint_folder *folder, uint32_t index, const char *operator_id,
                                  const char *structure,
                                  int (*visit)(void *argument, const struct pst_checkpoint_entry *entry),
                                  void *argument, bool *ret_log, const char **ret_why)
{
    PST_ASSERT(index < folder->entry_count && folder->entries[index].opened);
    const struct pst_manifest *manifest = &folder->entries[index].manifest;
    uint32_t n = 0, s = 0;
    folder->why[0] = '\0';
    while (n < manifest->node_count && strcmp(manifest->nodes[n].id, operator_id) != 0)
        n++;
    while (n < manifest->node_count && s < manifest->nodes[n].structure_count &&
           strcmp(manifest->nodes[n].structures[s].name, structure) != 0)
        s++;
    if (n == manifest->node_count || s == manifest->nodes[n].structure_count)
        return why_of(folder, PST_ENOENT, ret_why);
    *ret_log = manifest->nodes[n].structures[s].kind == PST_PAGE_LOG;
    struct rebuilt rebuilt;
    int rc = rebuild(folder, manifest, n, s, &rebuilt);
    if (rc == PST_OK) {
        rc = entries_walk(&rebuilt, &manifest->nodes[n].structures[s], visit, argument);
        pst_state_free(rebuilt.state);
    }
    return rc == PST_OK ? PST_OK : why_of(folder, rc, ret_why);
}
