/* checkpoint_file.c - checkpoints as files: the job that writes one, and the way back. See checkpoint.h.
 *
 * ID.pages holds sealed pages one after the other, ID.manifest says what the checkpoint is made of. Sealed under an incarnation of
 * their own each: nothing of an earlier checkpoint's keys is used again. */
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/checkpoint_file.h"
#include "engine/disk.h"
#include "engine/files.h"
#include "engine/spill.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WRITE_BYTES = 1 << 20, MANIFEST_BYTES_MAX = 1 << 30, OPEN_FILES_MAX = 64 };

static const char suffix_pages[] = ".pages", suffix_manifest[] = ".manifest", suffix_part[] = ".manifest.part",
                  suffix_aside[] = ".manifest.passed-over";

static char *path_of(const char *directory, uint64_t id, const char *suffix)
{
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "%s/%016" PRIx64 "%s", directory, id, suffix);
    if (text.failed)
        pst_text_fini(&text);
    return text.bytes;
}

/* The id of a name that path_of() makes; false: of another name. */
static bool id_of(const char *name, size_t name_bytes, const char *suffix, uint64_t *ret_id)
{
    uint64_t id = 0;
    if (name_bytes != 16 + strlen(suffix) || memcmp(name + 16, suffix, strlen(suffix)) != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        bool digit = name[i] >= '0' && name[i] <= '9', letter = name[i] >= 'a' && name[i] <= 'f';
        if (!digit && !letter)
            return false;
        id = id << 4 | (uint64_t)(digit ? name[i] - '0' : name[i] - 'a' + 10);
    }
    *ret_id = id;
    return true;
}

static int ids_visit(const struct pst_world *world, const char *directory, const char *suffix,
                     int (*visit)(void *argument, uint64_t id), void *argument)
{
    struct pst_text names = {0};
    int rc = world->folder_list(world->self, directory, &names);
    for (const char *at = names.bytes; rc == PST_OK && at != NULL && *at != '\0';) {
        const char *end = strchr(at, '\n');
        uint64_t id;
        if (id_of(at, (size_t)(end - at), suffix, &id))
            rc = visit(argument, id);
        at = end + 1;
    }
    pst_text_fini(&names);
    return rc;
}

int pst_checkpoint_ids(const struct pst_world *world, const char *directory, bool manifests,
                       int (*visit)(void *argument, uint64_t id), void *argument)
{
    return ids_visit(world, directory, manifests ? suffix_manifest : suffix_pages, visit, argument);
}

struct files_visit {
    const char *directory, *suffix;
    int (*visit)(void *argument, uint64_t id, const char *path);
    void *argument;
};

static int file_visit(void *argument, uint64_t id)
{
    const struct files_visit *files = argument;
    char *path = path_of(files->directory, id, files->suffix);
    int rc = path != NULL ? files->visit(files->argument, id, path) : PST_ENOMEM;
    pst_free(path);
    return rc;
}

int pst_checkpoint_files(const struct pst_world *world, const char *directory,
                         int (*visit)(void *argument, uint64_t id, const char *path), void *argument)
{
    static const char *const suffixes[] = {suffix_manifest, suffix_part, suffix_aside, suffix_pages};
    int rc = PST_OK;
    for (uint32_t s = 0; s < sizeof suffixes / sizeof *suffixes && rc == PST_OK; s++) {
        struct files_visit files = {directory, suffixes[s], visit, argument};
        rc = ids_visit(world, directory, suffixes[s], file_visit, &files);
    }
    return rc;
}

int pst_checkpoint_set_aside(const struct pst_world *world, const char *directory, uint64_t id)
{
    char *from = path_of(directory, id, suffix_manifest), *to = path_of(directory, id, suffix_aside);
    int rc = from != NULL && to != NULL ? world->rename(world->self, from, to) : PST_ENOMEM;
    pst_free(from);
    pst_free(to);
    return rc;
}

/* ---- writing ---- */

struct writer {
    struct checkpoint *checkpoint;
    const struct pst_world *world;
    struct pst_manifest manifest;
    struct pst_sealer *sealer;
    struct pst_file *file;
    char *path;
    uint8_t *buffer, *page; /* page: what lies outside, opened */
    size_t used;
    uint64_t offset; /* of the buffer's first byte in the file */
    uint64_t taken;  /* bytes of the node's disk, for what it writes */
    uint64_t manifest_bytes;
    bool cleared;     /* what nobody wants any more has gone */
    const char *what; /* was tried last, for the sentence */
    char why[240];    /* it could not be done, where neither the system nor the error says it */
};

static void make_room(struct writer *writer);

/* Room on the node's disk. PST_EFULL: there is none, as on a disk that is full. */
static int writer_take(struct writer *writer, uint64_t bytes)
{
    const struct checkpoint *checkpoint = writer->checkpoint;
    struct pst_disk *disk = checkpoint->run->options.disk;
    int rc = pst_disk_take(disk, checkpoint->directory, bytes);
    if (rc == PST_EFULL && !writer->cleared) {
        make_room(writer);
        rc = pst_disk_take(disk, checkpoint->directory, bytes);
    }
    if (rc == PST_EFULL)
        pst_disk_why(disk, writer->why);
    writer->taken += rc == PST_OK ? bytes : 0;
    return rc;
}

static int writer_flush(struct writer *writer)
{
    int rc = writer->used != 0 ? writer_take(writer, writer->used) : PST_OK;
    if (rc == PST_OK && writer->used != 0)
        rc = writer->world->file_write(writer->world->self, writer->file, writer->buffer, writer->used);
    writer->offset += writer->used;
    writer->used = 0;
    return rc;
}

static bool plain(const struct pst_graph_node *node) { return node->op->role == PST_ROLE_PLAIN; }

/* The node's place in a manifest: operators with state in the order of the graph. */
static uint32_t manifest_node(const struct pst_graph *graph, uint32_t node)
{
    uint32_t place = 0;
    for (uint32_t n = 0; n < node; n++)
        place += plain(&graph->nodes[n]);
    return place;
}

static int node_describe(struct run *run, uint32_t n, struct pst_manifest *manifest, struct pst_manifest_node *out)
{
    const struct pst_graph_node *node = &run->graph->nodes[n];
    struct pst_structure_view views[PST_STRUCTURES_MAX];
    const struct pst_state *state = pst_checkpoint_state(run, n);
    *out = (struct pst_manifest_node){.id = (char *)node->id,
                                      .type = (char *)node->op->name,
                                      .params = (char *)node->params,
                                      .inside = node->enclave,
                                      .bucket_count = node->bucket_count};
    if (state == NULL)
        return PST_OK;
    out->structure_count = pst_state_structures(state, views);
    out->structures = pst_arena_alloc(&manifest->arena, (out->structure_count + 1) * sizeof *out->structures);
    if (out->structures == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < out->structure_count; i++)
        out->structures[i] = (struct pst_manifest_structure){(char *)views[i].name, (uint32_t)views[i].kind,
                                                             views[i].key_bytes, views[i].record_bytes};
    return PST_OK;
}

static int sinks_describe(struct checkpoint *checkpoint, struct pst_manifest *manifest)
{
    struct run *run = checkpoint->run;
    manifest->sinks = pst_arena_alloc(&manifest->arena, (run->sink_count + 1) * sizeof *manifest->sinks);
    if (manifest->sinks == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < run->instance_count; i++) {
        const struct pst_ctx *ctx = run->instances[i];
        if (ctx->sink != NULL)
            manifest->sinks[manifest->sink_count++] = (struct pst_manifest_sink){
                (char *)ctx->node->file, checkpoint->parts[i].sink_bytes, checkpoint->parts[i].sink_rows};
    }
    if (run->input.dead_letter != NULL)
        manifest->sinks[manifest->sink_count++] =
            (struct pst_manifest_sink){PST_DEAD_LETTER_NAME, checkpoint->dead_letter_bytes, 0};
    return PST_OK;
}

/* Rooms for all lists, as long as they can become. */
static int manifest_begin(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    struct run *run = checkpoint->run;
    struct pst_manifest *manifest = &writer->manifest;
    uint32_t before = checkpoint->previous != NULL ? checkpoint->previous->file_count : 0;
    uint64_t pages = 0, logs = 0, buckets = 0;
    for (uint32_t i = 0; i < run->instance_count; i++) {
        pages += checkpoint->parts[i].imaged ? checkpoint->parts[i].image.page_count : 0;
        pages += checkpoint->parts[i].is_sealed ? checkpoint->parts[i].sealed.count : 0;
        logs += checkpoint->parts[i].imaged ? checkpoint->parts[i].image.log_count : 0;
        buckets += plain(run->instances[i]->node) ? run->instances[i]->owned_count : 0; /* of one that is no more: 0 */
    }
    manifest->id = checkpoint->id;
    memcpy(manifest->graph, checkpoint->graph, sizeof manifest->graph);
    manifest->graph_name = (char *)run->graph->name;
    manifest->cut = checkpoint->cut;
    manifest->hash_key[0] = run->graph->hash_key.k0;
    manifest->hash_key[1] = run->graph->hash_key.k1;
    manifest->source = checkpoint->source;
    manifest->nodes = pst_arena_alloc(&manifest->arena, (run->graph->node_count + 1) * sizeof *manifest->nodes);
    manifest->files = pst_arena_alloc(&manifest->arena, (before + run->instance_count + 2) * sizeof *manifest->files);
    manifest->buckets = pst_arena_alloc(&manifest->arena, (buckets + 1) * sizeof *manifest->buckets);
    manifest->logs = pst_arena_alloc(&manifest->arena, (logs + 1) * sizeof *manifest->logs);
    manifest->pages = pst_arena_alloc(&manifest->arena, (pages + 1) * sizeof *manifest->pages);
    if (pages > UINT32_MAX / 2 || manifest->nodes == NULL || manifest->files == NULL || manifest->buckets == NULL ||
        manifest->logs == NULL || manifest->pages == NULL)
        return PST_ENOMEM;
    int rc = sinks_describe(checkpoint, manifest);
    for (uint32_t n = 0; n < run->graph->node_count && rc == PST_OK; n++)
        if (plain(&run->graph->nodes[n]))
            rc = node_describe(run, n, manifest, &manifest->nodes[manifest->node_count++]);
    return rc;
}

/* Opens ID.pages under a new incarnation, as file 0 of the manifest. */
static int pages_begin(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    struct pst_manifest_file *file = &writer->manifest.files[writer->manifest.file_count++];
    file->id = checkpoint->id;
    writer->what = "drawing random bytes";
    int rc = writer->world->random(writer->world->self, file->incarnation, sizeof file->incarnation);
    if (rc == PST_OK && writer->manifest.node_count != 0) /* a graph may have no operator with state */
        rc = pst_manifest_sealer(&writer->manifest, checkpoint->master, file->incarnation, false, &writer->sealer);
    writer->path = path_of(checkpoint->directory, checkpoint->id, suffix_pages);
    writer->buffer = pst_malloc(WRITE_BYTES);
    writer->page = pst_malloc(PST_PAGE_BYTES);
    if (rc == PST_OK && (writer->path == NULL || writer->buffer == NULL || writer->page == NULL))
        rc = PST_ENOMEM;
    if (rc != PST_OK)
        return rc;
    writer->what = "creating a file of pages";
    rc = writer->world->file_open(writer->world->self, writer->path, PST_OPEN_CREATE, &writer->file);
    if (rc == PST_OK)
        writer->what = "writing pages";
    return rc;
}

/* The run is not to go on beside it. ctx->sentence is the worker's. */
static void page_refused(struct writer *writer, const struct pst_ctx *ctx, const struct pst_image_page *page)
{
    struct pst_seal_place place = {page->bucket, page->structure, page->kind, page->number, page->version};
    pst_paging_refused(ctx, &place, writer->why, sizeof writer->why);
    pst_run_fail(ctx->run, PST_EREFUSED, "operator %s (%s), partition %u, its state: %s", ctx->node->id,
                 ctx->node->op->name, ctx->partition, writer->why);
}

static int page_seal(struct writer *writer, const struct pst_ctx *ctx, uint32_t index, struct pst_manifest_page *out)
{
    const struct pst_image *image = &writer->checkpoint->parts[ctx->index].image;
    const struct pst_image_page *page = &image->pages[index];
    const struct pst_page_header *bytes;
    size_t sealed_bytes;
    int got = pst_image_page_bytes(image, index, writer->page, &bytes);
    if (got == PST_EREFUSED)
        page_refused(writer, ctx, page);
    else if (got == PST_EIO)
        writer->what = "reading the spill file";
    if (got != PST_OK)
        return got;
    uint32_t clear_bytes = PST_PAGE_HEADER_BYTES + bytes->used_bytes;
    if (WRITE_BYTES - writer->used < pst_seal_bound(clear_bytes)) {
        int rc = writer_flush(writer);
        if (rc != PST_OK)
            return rc;
    }
    struct pst_seal_place place = {page->bucket, page->structure, page->kind, page->number, page->changed};
    uint8_t *to = writer->buffer + writer->used;
    int rc = pst_seal(writer->sealer, out->node, &place, true, bytes, clear_bytes, to, WRITE_BYTES - writer->used,
                      &sealed_bytes);
    if (rc != PST_OK)
        return rc == PST_EREFUSED ? PST_EFULL : rc; /* the key is used up: no error of the system's */
    out->file = 0;
    out->offset = writer->offset + writer->used;
    out->sealed_bytes = (uint32_t)sealed_bytes;
    memcpy(out->digest, to + sealed_bytes - sizeof out->digest, sizeof out->digest);
    writer->used += sealed_bytes;
    writer->checkpoint->report.pages_written++;
    return PST_OK;
}

static int page_order(const void *a, const void *b) { return pst_manifest_page_order(a, b); }

/* Where a page that did not change lies. */
static int page_keep(struct writer *writer, struct pst_manifest_page *out)
{
    const struct pst_manifest *previous = writer->checkpoint->previous;
    struct pst_manifest *manifest = &writer->manifest;
    const struct pst_manifest_page *before =
        previous != NULL ? bsearch(out, previous->pages, previous->page_count, sizeof *out, page_order) : NULL;
    if (before == NULL || before->changed != out->changed)
        return PST_EINTERNAL;
    const struct pst_manifest_file *file = &previous->files[before->file];
    uint32_t f = 1;
    while (f < manifest->file_count &&
           (manifest->files[f].id != file->id ||
            memcmp(manifest->files[f].incarnation, file->incarnation, sizeof file->incarnation) != 0))
        f++;
    if (f == manifest->file_count)
        manifest->files[manifest->file_count++] = *file;
    out->file = f;
    out->offset = before->offset;
    out->sealed_bytes = before->sealed_bytes;
    memcpy(out->digest, before->digest, sizeof out->digest);
    return PST_OK;
}

static int piece_write(struct writer *writer, const struct sealed_image *sealed, const struct sealed_piece *piece,
                       struct pst_manifest_page *out)
{
    int rc = WRITE_BYTES - writer->used < piece->sealed_bytes ? writer_flush(writer) : PST_OK;
    if (rc == PST_OK)
        rc = pst_manifest_digest(sealed->bytes + piece->at, piece->sealed_bytes, out->digest);
    if (rc != PST_OK)
        return rc;
    memcpy(writer->buffer + writer->used, sealed->bytes + piece->at, piece->sealed_bytes);
    out->offset = writer->offset + writer->used;
    out->sealed_bytes = piece->sealed_bytes;
    writer->used += piece->sealed_bytes;
    writer->checkpoint->report.pages_written++;
    return PST_OK;
}

/* What an enclave's worker has sealed goes into the same file, as what another sealer has put there. */
static int sealed_write(struct writer *writer, const struct sealed_image *sealed, uint32_t node)
{
    struct pst_manifest *manifest = &writer->manifest;
    uint32_t f = manifest->file_count++;
    int rc = PST_OK;
    manifest->files[f].id = writer->checkpoint->id;
    memcpy(manifest->files[f].incarnation, sealed->incarnation, sizeof sealed->incarnation);
    for (uint32_t i = 0; i < sealed->count && rc == PST_OK; i++) {
        const struct sealed_piece *piece = &sealed->pieces[i];
        struct pst_manifest_page *out = &manifest->pages[manifest->page_count++];
        *out = (struct pst_manifest_page){.node = node,
                                          .bucket = piece->bucket,
                                          .structure = piece->structure,
                                          .kind = piece->kind,
                                          .number = piece->number,
                                          .changed = piece->changed,
                                          .file = f};
        rc = piece->sealed_bytes != 0 ? piece_write(writer, sealed, piece, out) : page_keep(writer, out);
    }
    return rc;
}

static int part_write(struct writer *writer, const struct pst_ctx *ctx)
{
    struct pst_manifest *manifest = &writer->manifest;
    const struct part *part = &writer->checkpoint->parts[ctx->index];
    uint32_t node = manifest_node(ctx->run->graph, ctx->node_index);
    int rc = PST_OK;
    for (uint32_t i = 0; i < ctx->owned_count && part->brought; i++) {
        uint32_t bucket = ctx->buckets[i];
        if (part->timers[bucket] != INT64_MAX || part->numbers[bucket] != 0)
            manifest->buckets[manifest->bucket_count++] =
                (struct pst_manifest_bucket){node, bucket, part->timers[bucket], part->numbers[bucket]};
    }
    if (!part->imaged)
        return PST_OK;
    struct pst_manifest_node *described = &manifest->nodes[node];
    if (part->image.generation > described->generation)
        described->generation = part->image.generation;
    if (part->is_sealed)
        return sealed_write(writer, &part->sealed, node);
    for (uint32_t i = 0; i < part->image.log_count; i++)
        manifest->logs[manifest->log_count++] = (struct pst_manifest_log){node, part->image.logs[i]};
    for (uint32_t i = 0; i < part->image.page_count && rc == PST_OK; i++) {
        const struct pst_image_page *page = &part->image.pages[i];
        struct pst_manifest_page *out = &manifest->pages[manifest->page_count++];
        *out = (struct pst_manifest_page){.node = node,
                                          .bucket = page->bucket,
                                          .structure = page->structure,
                                          .kind = page->kind,
                                          .number = page->number,
                                          .changed = page->changed};
        rc = page->changed_since ? page_seal(writer, ctx, i, out) : page_keep(writer, out);
    }
    return rc;
}

static int pages_write(struct writer *writer)
{
    struct run *run = writer->checkpoint->run;
    struct pst_manifest *manifest = &writer->manifest;
    int rc = PST_OK;
    for (uint32_t i = 0; i < run->instance_count && rc == PST_OK; i++)
        if (plain(run->instances[i]->node) && !run->instances[i]->retired)
            rc = part_write(writer, run->instances[i]);
    if (rc == PST_OK && manifest->page_count != 0)
        qsort(manifest->pages, manifest->page_count, sizeof *manifest->pages, page_order); /* M1 */
    if (rc == PST_OK)
        rc = writer_flush(writer);
    if (rc == PST_OK)
        rc = writer->world->file_sync(writer->world->self, writer->file);
    for (uint32_t f = 0; f < manifest->file_count; f++)
        if (manifest->files[f].id == manifest->id)
            manifest->files[f].bytes = writer->offset;
    int closed = writer->world->file_close(writer->world->self, writer->file);
    writer->file = NULL;
    return rc == PST_OK ? closed : rc;
}

static int folder_of_sync(const struct pst_world *world, const char *path)
{
    char *folder = pst_strdup(path);
    if (folder == NULL)
        return PST_ENOMEM;
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    int rc = world->folder_sync(world->self, slash != NULL ? folder : ".");
    pst_free(folder);
    return rc;
}

/* What the manifest says of the sinks' files must be on the disk before the manifest is: their bytes each time, their names once. */
static int sinks_sync(struct writer *writer)
{
    struct run *run = writer->checkpoint->run;
    int rc = PST_OK;
    writer->what = "syncing the output files";
    for (uint32_t i = 0; i < run->sink_count && rc == PST_OK; i++) {
        rc = writer->world->file_sync(writer->world->self, run->sinks[i]->file);
        if (rc != PST_OK) /* asked again, the system would say yes: what it could not write it has forgotten */
            pst_run_fail(run, PST_EIO, "cannot write %s: %s", run->sinks[i]->path_part, pst_system_error());
        if (rc == PST_OK && !writer->checkpoint->folders_synced)
            rc = folder_of_sync(writer->world, run->sinks[i]->path_part);
    }
    writer->checkpoint->folders_synced |= rc == PST_OK;
    return rc;
}

static int manifest_finish(struct writer *writer)
{
    const struct pst_world *world = writer->world;
    struct checkpoint *checkpoint = writer->checkpoint;
    uint8_t incarnation[PST_INCARNATION_BYTES], *bytes = NULL;
    size_t byte_count = 0;
    char *part = path_of(checkpoint->directory, checkpoint->id, suffix_part);
    char *path = path_of(checkpoint->directory, checkpoint->id, suffix_manifest);
    writer->what = "writing the manifest";
    int rc = part != NULL && path != NULL ? world->random(world->self, incarnation, sizeof incarnation) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pst_manifest_write(&writer->manifest, checkpoint->master, incarnation, &bytes, &byte_count);
    if (rc == PST_OK)
        rc = writer_take(writer, byte_count);
    if (rc == PST_OK)
        rc = pst_file_write_all(world, part, bytes, byte_count);
    /* The folder first: the pages' name must be there when the manifest's is. */
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, checkpoint->directory);
    if (rc == PST_OK)
        rc = world->rename(world->self, part, path);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, checkpoint->directory);
    if (rc != PST_OK && part != NULL)
        (void)world->unlink(world->self, part);
    writer->manifest_bytes = byte_count;
    checkpoint->report.bytes_written += writer->offset + byte_count;
    pst_free(bytes);
    pst_free(part);
    pst_free(path);
    return rc;
}

/* ---- what is kept ---- */

struct sweep {
    struct writer *writer;
    const char *suffix;
    const struct pst_manifest *previous;
    const char *directory; /* of a node that writes no more */
    uint64_t wanted; /* nothing goes up to this one: who goes on from it may want a part that this run does not know */
};

static bool names_file(const struct pst_manifest *manifest, uint64_t id)
{
    for (uint32_t f = 0; manifest != NULL && f < manifest->file_count; f++)
        if (manifest->files[f].id == id)
            return true;
    return false;
}

static int sweep_visit(void *argument, uint64_t id)
{
    const struct sweep *sweep = argument;
    struct writer *writer = sweep->writer;
    const struct checkpoint *checkpoint = writer->checkpoint;
    const struct pst_manifest *previous = sweep->previous;
    bool kept = checkpoint->run->site != NULL && id > checkpoint->id; /* of a later process of this node's name */
    kept |= id <= sweep->wanted;
    if (sweep->suffix == suffix_manifest)
        kept |= id == checkpoint->id || (previous != NULL && id == previous->id);
    else if (sweep->suffix == suffix_pages)
        kept |= names_file(&writer->manifest, id) || names_file(previous, id);
    char *path = kept ? NULL : path_of(checkpoint->directory, id, sweep->suffix);
    if (path != NULL)
        (void)writer->world->unlink(writer->world->self, path); /* what stays behind is tried again next time */
    pst_free(path);
    return PST_OK;
}

/* This folder's part of the last checkpoint that is known to be complete (C4): until there is one of this incarnation, the part of the
 * one that was gone on from. NULL: it has none. */
static const struct pst_manifest *last_complete(const struct checkpoint *checkpoint)
{
    bool found = checkpoint->previous == NULL && checkpoint->run->site != NULL;
    for (uint32_t i = 0; found && i < checkpoint->found_count; i++)
        if (strcmp(checkpoint->found[i].directory, checkpoint->directory) == 0)
            return &checkpoint->found[i].manifest;
    return checkpoint->previous;
}

/* A node that writes no parts any more, of all that the run was gone on from: nobody clears its folder but whoever reads the input. */
static bool is_left(const struct run *run, const char *directory)
{
    const char *slash = strrchr(directory, '/'), *name = slash != NULL ? slash + 1 : directory;
    const struct site *site = run->site;
    for (uint32_t k = 0; k < site->node_count; k++)
        if (strcmp(site->name[k], name) == 0 && pst_node_has_place(run, k))
            return false;
    return true;
}

static int left_visit(void *argument, uint64_t id)
{
    const struct sweep *sweep = argument;
    char *path = id < sweep->previous->id ? path_of(sweep->directory, id, sweep->suffix) : NULL;
    if (path != NULL)
        (void)sweep->writer->world->unlink(sweep->writer->world->self, path);
    pst_free(path);
    return PST_OK;
}

/* Nothing is wanted any more of nodes that have no part of the last complete checkpoint. Who has gone since then may have one, which names files
 * of those before it. A savepoint stays. */
static void sweep_left(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    const struct pst_manifest *previous = checkpoint->previous;
    static const char *const suffixes[] = {suffix_manifest, suffix_part, suffix_pages};
    for (uint32_t i = 0; i < checkpoint->found_count; i++) {
        struct found *found = &checkpoint->found[i];
        if (!is_left(checkpoint->run, found->directory))
            found->left_at = 0;
        else if (found->left_at == 0)
            found->left_at = checkpoint->id;
        for (uint32_t s = 0; s < 3 && found->left_at != 0 && previous != NULL && previous->id >= found->left_at; s++) {
            struct sweep left = {writer, suffixes[s], previous, found->directory, 0};
            (void)ids_visit(writer->world, found->directory, suffixes[s], left_visit, &left);
        }
    }
}

static uint64_t complete_id(struct checkpoint *checkpoint)
{
    pst_lock_take(&checkpoint->lock);
    uint64_t id = checkpoint->complete;
    pst_lock_give(&checkpoint->lock);
    return id;
}

static uint64_t manifest_bytes(const struct writer *writer, const struct pst_manifest *manifest)
{
    const struct pst_world *world = writer->world;
    char *path = path_of(writer->checkpoint->directory, manifest->id, suffix_manifest);
    uint64_t bytes = path != NULL ? pst_file_bytes(world, path) : 0;
    pst_free(path);
    return bytes;
}

/* What is in the folder, when what is not wanted has gone: `own` of what is being written besides. */
static void disk_tell(const struct writer *writer, uint64_t own)
{
    const struct pst_manifest *previous = last_complete(writer->checkpoint), *manifest = &writer->manifest;
    struct run *run = writer->checkpoint->run;
    if (previous == NULL && run->site != NULL) { /* what others go on from is in no manifest of this run */
        pst_disk_look(run->options.disk, writer->world, writer->checkpoint->directory, false);
        return;
    }
    uint64_t bytes = own + (previous != NULL ? manifest_bytes(writer, previous) : 0);
    for (uint32_t f = 0; previous != NULL && f < previous->file_count; f++)
        bytes += pst_manifest_is_first(previous, f) ? previous->files[f].bytes : 0;
    for (uint32_t f = 1; f < manifest->file_count; f++) /* 0: its own */
        if (pst_manifest_is_first(manifest, f))
            bytes += names_file(previous, manifest->files[f].id) ? 0 : manifest->files[f].bytes;
    pst_disk_set(run->options.disk, writer->checkpoint->directory, bytes);
}

/* The newest manifest and the one before it stay, with all they name; manifests go before the pages that they name. */
static void sweep_own(struct writer *writer)
{
    const struct pst_manifest *previous = last_complete(writer->checkpoint);
    uint64_t wanted = previous == NULL && writer->checkpoint->run->site != NULL ? complete_id(writer->checkpoint) : 0;
    struct sweep manifests = {writer, suffix_manifest, previous, NULL, wanted},
                 parts = {writer, suffix_part, previous, NULL, 0}, /* nobody goes on from one that has no name yet */
        pages = {writer, suffix_pages, previous, NULL, wanted};
    const char *directory = writer->checkpoint->directory;
    (void)ids_visit(writer->world, directory, suffix_manifest, sweep_visit, &manifests);
    (void)ids_visit(writer->world, directory, suffix_part, sweep_visit, &parts);
    (void)writer->world->folder_sync(writer->world->self, directory);
    (void)ids_visit(writer->world, directory, suffix_pages, sweep_visit, &pages);
}

/* Of this graph what no record names, then what graphs have left that have ended. */
static void make_room(struct writer *writer)
{
    writer->cleared = true;
    sweep_own(writer);
    disk_tell(writer, writer->taken);
    pst_disk_clear(writer->checkpoint->run->options.disk, writer->world);
}

static void sweep(struct writer *writer)
{
    sweep_own(writer);
    disk_tell(writer, writer->manifest.files[0].bytes + writer->manifest_bytes);
    struct run *run = writer->checkpoint->run;
    if (run->site == NULL)
        return;
    for (uint32_t i = 0; i < run->sink_count && writer->checkpoint->previous != NULL; i++)
        pst_sink_clear(run, run->sinks[i]);
    if (pst_reads(run) && run->site->input_index == 0 && run->site->saved == NULL) /* one does so */
        sweep_left(writer);
}

void pst_checkpoint_count(struct checkpoint *checkpoint)
{
    const struct pst_manifest *manifest = checkpoint->previous;
    checkpoint->bytes_live = checkpoint->bytes_files = 0;
    for (uint32_t f = 0; f < manifest->file_count; f++)
        checkpoint->bytes_files += pst_manifest_is_first(manifest, f) ? manifest->files[f].bytes : 0;
    for (uint32_t p = 0; p < manifest->page_count; p++)
        checkpoint->bytes_live += manifest->pages[p].sealed_bytes;
    checkpoint->report.pages_live = manifest->page_count;
}

/* The new one becomes what the next is built on. Names and lists of the graph are borrowed from the run, which is longer there. */
static int become_previous(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    struct run *run = checkpoint->run;
    if (checkpoint->previous == NULL)
        checkpoint->previous = pst_calloc(1, sizeof *checkpoint->previous);
    else
        pst_manifest_fini(checkpoint->previous);
    if (checkpoint->previous == NULL)
        return PST_ENOMEM; /* then the next one is whole again */
    checkpoint->changes_previous = checkpoint->changes_begun;
    *checkpoint->previous = writer->manifest;
    writer->manifest = (struct pst_manifest){0};
    pst_checkpoint_count(checkpoint);
    for (uint32_t i = 0; i < run->instance_count; i++)
        if (checkpoint->parts[i].imaged)
            checkpoint->parts[i].since = checkpoint->parts[i].image.generation;
    return PST_OK;
}

/* It may do so later, when it is settled. */
static void become_written(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    struct run *run = checkpoint->run;
    *checkpoint->written = writer->manifest;
    writer->manifest = (struct pst_manifest){0};
    for (uint32_t i = 0; i < run->instance_count; i++)
        if (checkpoint->parts[i].imaged)
            checkpoint->parts[i].since_written = checkpoint->parts[i].image.generation;
}

const char *pst_checkpoint_reason(int error)
{
    bool system = error == PST_EIO || error == PST_ENOENT || error == PST_EREFUSED;
    return system ? pst_system_error() : pst_error_sentence(error);
}

static void dropped(struct writer *writer, int rc)
{
    struct pst_checkpoint_report *report = &writer->checkpoint->report;
    (void)snprintf(report->why_dropped, sizeof report->why_dropped, "%s: %s", writer->what,
                   writer->why[0] != '\0' ? writer->why : pst_checkpoint_reason(rc));
    report->dropped++;
    if (writer->path != NULL)
        (void)writer->world->unlink(writer->world->self, writer->path);
    pst_disk_give(writer->checkpoint->run->options.disk, writer->checkpoint->directory, writer->taken);
}

/* A counter that stays behind protects less, and stops nothing: what was finished is above it. */
static void counter_raise(struct writer *writer)
{
    struct checkpoint *checkpoint = writer->checkpoint;
    const struct pst_counter *counter = checkpoint->run->options.checkpoint.counter;
    if (counter == NULL || counter->raise(counter->self, checkpoint->run->world, checkpoint->id) == PST_OK)
        return;
    checkpoint->report.counter_behind++;
    (void)snprintf(checkpoint->report.why_dropped, sizeof checkpoint->report.why_dropped,
                   "the counter %s could not be raised: %s", counter->name, pst_system_error());
}

int pst_checkpoint_write(struct checkpoint *checkpoint)
{
    const struct pst_world *world = checkpoint->run->world;
    struct writer writer = {.checkpoint = checkpoint, .world = world, .what = "getting memory"};
    uint64_t begun_ns = world->now_ns(world->self);
    pst_arena_init(&writer.manifest.arena);
    bool alone = checkpoint->run->site == NULL;
    if (!alone)
        checkpoint->written = pst_calloc(1, sizeof *checkpoint->written);
    int rc = alone || checkpoint->written != NULL ? manifest_begin(&writer) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pages_begin(&writer);
    if (rc == PST_OK)
        rc = pages_write(&writer);
    if (rc == PST_OK)
        rc = sinks_sync(&writer);
    if (rc == PST_OK)
        rc = manifest_finish(&writer);
    if (writer.file != NULL)
        (void)world->file_close(world->self, writer.file);
    if (rc != PST_OK) {
        dropped(&writer, rc);
        pst_checkpoint_drop(&checkpoint->written);
    } else {
        checkpoint->report.written++;
        counter_raise(&writer);
        sweep(&writer);
        if (alone)
            (void)become_previous(&writer);
        else
            become_written(&writer);
    }
    checkpoint->report.nanoseconds += world->now_ns(world->self) - begun_ns;
    pst_sealer_free(writer.sealer);
    pst_manifest_fini(&writer.manifest);
    pst_free(writer.buffer);
    pst_free(writer.page);
    pst_free(writer.path);
    return rc;
}

/* ---- reading ---- */

static int why_set(const struct checkpoint_reader *reader, int rc, const char *what, const char *why)
{
    (void)snprintf(reader->why, reader->why_bytes, "%s %s", what, why);
    return rc;
}

static const char *manifest_sentence(int rc)
{
    switch (rc) {
    case PST_EABI:
        return "was written by a newer version of penstock";
    case PST_EREFUSED:
        return "does not open with this key, or was changed";
    case PST_EDATA:
        return "is damaged";
    case PST_ENOENT:
    case PST_EIO:
        return "cannot be read";
    default:
        return pst_error_sentence(rc);
    }
}

int pst_checkpoint_read(struct checkpoint_reader *reader, uint64_t id, struct pst_manifest *ret_manifest)
{
    uint8_t *bytes = NULL;
    uint64_t byte_count = 0;
    char *path = path_of(reader->directory, id, suffix_manifest);
    int rc =
        path != NULL ? pst_file_read_all(reader->world, path, MANIFEST_BYTES_MAX, &bytes, &byte_count) : PST_ENOMEM;
    if (rc == PST_OK) {
        rc = PST_EREFUSED;
        for (uint32_t k = 0; k < reader->key_count && rc == PST_EREFUSED; k++) {
            rc = pst_manifest_read(bytes, byte_count, reader->keys[k], ret_manifest);
            reader->key_found = k;
        }
        if (rc == PST_OK && ret_manifest->id != id) {
            pst_manifest_fini(ret_manifest);
            rc = PST_EREFUSED;
        }
    }
    pst_free(bytes);
    pst_free(path);
    return rc == PST_OK ? PST_OK : why_set(reader, rc, "its manifest", manifest_sentence(rc));
}

struct pages_file { /* one of the files of pages, being read */
    struct pst_file *file;
    uint64_t at;
    struct pst_sealer *sealer; /* of the key that opens it */
    uint32_t key;
};

struct pages_reader {
    const struct checkpoint_reader *reader;
    const struct pst_manifest *manifest;
    struct pages_file *files;
    uint32_t open_count;
    _Alignas(8) uint8_t clear[PST_PAGE_BYTES];
    uint8_t sealed[PST_SEAL_HEADER_BYTES + 2 * PST_PAGE_BYTES];
};

static void files_close(struct pages_reader *pages)
{
    const struct pst_world *world = pages->reader->world;
    for (uint32_t f = 0; f < pages->manifest->file_count; f++) {
        if (pages->files[f].file != NULL)
            (void)world->file_close(world->self, pages->files[f].file);
        pages->files[f].file = NULL;
    }
    pages->open_count = 0;
}

static int file_ready(struct pages_reader *pages, uint32_t f)
{
    struct pages_file *file = &pages->files[f];
    const struct pst_world *world = pages->reader->world;
    if (file->file != NULL)
        return PST_OK;
    if (pages->open_count == OPEN_FILES_MAX)
        files_close(pages);
    char *path = path_of(pages->reader->directory, pages->manifest->files[f].id, suffix_pages);
    int rc = path != NULL ? pst_file_open_regular(world, path, &file->file) : PST_ENOMEM;
    pst_free(path);
    file->at = 0;
    pages->open_count += rc == PST_OK;
    return rc;
}

static int page_read(struct pages_reader *pages, const struct pst_manifest_page *page)
{
    const struct pst_world *world = pages->reader->world;
    int rc = file_ready(pages, page->file);
    struct pages_file *file = &pages->files[page->file];
    if (rc == PST_OK && file->at != page->offset)
        rc = world->file_seek(world->self, file->file, page->offset);
    if (rc != PST_OK)
        return rc;
    for (uint32_t count = 0; count < page->sealed_bytes;) {
        int64_t n = world->file_read(world->self, file->file, pages->sealed + count, page->sealed_bytes - count);
        if (n == PST_EAGAIN)
            continue;
        if (n <= 0)
            return n == 0 ? PST_EDATA : (int)n;
        count += (uint32_t)n;
    }
    file->at = page->offset + page->sealed_bytes;
    return PST_OK;
}

/* Of what an enclave's worker has sealed: what it is nobody here can tell, but whether it is what was written. */
static int piece_look(const struct pages_reader *pages, const struct pst_manifest_page *page)
{
    uint8_t digest[PST_PAGE_DIGEST_BYTES];
    int rc = pst_manifest_digest(pages->sealed, page->sealed_bytes, digest);
    return rc != PST_OK ? rc : memcmp(digest, page->digest, sizeof digest) == 0 ? PST_OK : PST_EREFUSED;
}

/* With the key that opened the file's pages before; the first time, with each. */
static int page_open(struct pages_reader *pages, const struct pst_manifest_page *page, uint32_t *ret_bytes)
{
    const struct checkpoint_reader *reader = pages->reader;
    struct pages_file *file = &pages->files[page->file];
    struct pst_seal_place place = {page->bucket, page->structure, page->kind, page->number, page->changed};
    bool known = file->sealer != NULL;
    int rc = PST_EREFUSED;
    if (memcmp(pages->sealed + page->sealed_bytes - PST_PAGE_DIGEST_BYTES, page->digest, PST_PAGE_DIGEST_BYTES) != 0)
        return PST_EREFUSED; /* not a secret: it lies in the file */
    for (uint32_t k = known ? file->key : 0; k < reader->key_count && rc == PST_EREFUSED; k++) {
        if (!known) {
            pst_sealer_free(file->sealer);
            file->sealer = NULL;
            rc = pst_manifest_sealer(pages->manifest, reader->keys[k], pages->manifest->files[page->file].incarnation,
                                     true, &file->sealer);
            if (rc != PST_OK)
                return rc;
            file->key = k;
        }
        rc = pst_unseal(file->sealer, page->node, &place, pages->sealed, page->sealed_bytes, pages->clear,
                        sizeof pages->clear, ret_bytes);
        if (known)
            break;
    }
    return rc;
}

static int page_why(const struct checkpoint_reader *reader, const struct pst_manifest *manifest,
                    const struct pst_manifest_page *page, int rc)
{
    const struct pst_manifest_node *node = &manifest->nodes[page->node];
    char what[120];
    if (node->inside)
        (void)snprintf(what, sizeof what, "%s %" PRIu64 " of bucket %u of `%s`",
                       page->structure == PST_MANIFEST_INDEX_STRUCTURE ? "index" : "page", page->number, page->bucket,
                       node->id);
    else
        (void)snprintf(what, sizeof what, "page %" PRIu64 " of bucket %u of `%s.%s`", page->number, page->bucket,
                       node->id, node->structures[page->structure].name);
    return why_set(reader, rc, what,
                   rc == PST_EREFUSED || rc == PST_EDATA ? "is not what was sealed there" : manifest_sentence(rc));
}

int pst_checkpoint_pages(const struct checkpoint_reader *reader, const struct pst_manifest *manifest,
                         pst_checkpoint_visit visit, void *argument)
{
    struct pages_reader *pages = pst_aligned(8, sizeof *pages);
    int rc = pages != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK) {
        pages->reader = reader;
        pages->manifest = manifest;
        pages->open_count = 0;
        pages->files = pst_calloc(manifest->file_count + 1, sizeof *pages->files);
        rc = pages->files != NULL ? PST_OK : PST_ENOMEM;
    }
    for (uint32_t i = 0; i < manifest->page_count && rc == PST_OK; i++) {
        const struct pst_manifest_page *page = &manifest->pages[i];
        bool inside = manifest->nodes[page->node].inside;
        uint32_t byte_count = page->sealed_bytes;
        rc = page_read(pages, page);
        if (rc == PST_OK)
            rc = inside ? piece_look(pages, page) : page_open(pages, page, &byte_count);
        if (rc == PST_OK && visit != NULL)
            rc = visit(argument, page, inside ? pages->sealed : pages->clear, byte_count);
        if (rc != PST_OK)
            (void)page_why(reader, manifest, page, rc);
    }
    if (pages != NULL && pages->files != NULL) {
        files_close(pages);
        for (uint32_t f = 0; f < manifest->file_count; f++)
            pst_sealer_free(pages->files[f].sealer);
        pst_free(pages->files);
    }
    pst_free(pages);
    return rc;
}
