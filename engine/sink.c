/* sink.c - output files: written as NAME.part, renamed when it is known how the run ended. A file under its final name is whole. */
#include "engine/checkpoint.h"
#include "engine/files.h"

#include <stdlib.h>
#include <string.h>

static char *path_of(const char *directory, const char *file, const char *suffix)
{
    struct pst_text text = {0};
    if (directory != NULL && strcmp(directory, ".") != 0 && directory[0] != '\0')
        (void)pst_text_printf(&text, "%s%s", directory, directory[strlen(directory) - 1] == '/' ? "" : "/");
    (void)pst_text_printf(&text, "%s%s", file, suffix);
    if (text.failed)
        pst_text_fini(&text);
    return text.bytes;
}

/* What stands under the final name will be replaced: it must not be the input, another output, or no file at all. */
static int target_check(struct run *run, const char *path, const char *path_part)
{
    const struct pst_world *world = run->world;
    uint64_t id[2], other[2];
    for (uint32_t i = 0; i < run->sink_count; i++) {
        /* By name, and by what the name leads to: that of an output is open already. */
        bool same = world->look(world->self, path_part, id) == 1 &&
                    world->look(world->self, run->sinks[i]->path_part, other) == 1 && id[0] == other[0] &&
                    id[1] == other[1];
        if (same || strcmp(run->sinks[i]->path_final, path) == 0) {
            pst_run_fail(run, PST_EGRAPH, "%s would be written twice: give the outputs other names", path);
            return PST_EGRAPH;
        }
    }
    int kind = world->look(world->self, path, id);
    if (kind == 2) {
        pst_run_fail(run, PST_EIO, "%s is no regular file: it cannot be replaced by an output", path);
        return PST_EIO;
    }
    if (kind == 1 && world->look(world->self, run->input.path, other) == 1 && id[0] == other[0] && id[1] == other[1]) {
        pst_run_fail(run, PST_EIO, "%s is the input itself: an output would replace it", path);
        return PST_EIO;
    }
    return PST_OK;
}

/* What it is called while it is written. In a folder that several nodes reach, another name for each incarnation: the one before may
 * still be written to by a node that was taken for dead. */
static char *part_of(const struct run *run, const char *directory, const char *file, uint64_t incarnation)
{
    char suffix[32] = ".part";
    if (pst_checkpoint_shared(run))
        (void)snprintf(suffix, sizeof suffix, ".%08llx.part", (unsigned long long)incarnation);
    return path_of(directory, file, suffix);
}

/* Of this run, or of the one that it goes on from. */
static uint64_t incarnation_of(const struct run *run, bool before)
{
    return !pst_checkpoint_shared(run) ? 0
           : before                    ? pst_checkpoint_incarnation(run->site->checkpoint)
                                       : run->site->incarnation;
}

/* Who writes it is alone until it has its name: of two that write one file, the first one that ends would give the name to what is of both.
 * On a node the folder is its process's, and what is no regular file, as a device, holds nothing. Nothing of what is there is touched. */
static int alone_take(struct run *run, struct sink *sink, const char *path)
{
    const struct pst_world *world = run->world;
    uint64_t id[2];
    if (run->site != NULL || world->look(world->self, path, id) == 2)
        return PST_OK;
    int rc = world->file_open(world->self, path, PST_OPEN_ALONE, &sink->alone);
    if (rc == PST_EAGAIN) {
        rc = PST_EREFUSED;
        pst_run_fail(run, rc, "another process is writing %s: wait for its end, or name another folder", path);
    } else if (rc != PST_OK) {
        rc = rc == PST_ENOENT ? PST_EIO : rc;
        pst_run_fail(run, rc, "cannot create %s: %s", path, pst_system_error());
    }
    return rc;
}

/* A second look at it, to be written and closed: what is locked stays so until it has its name. */
static int part_begin(struct run *run, struct sink *sink)
{
    const struct pst_world *world = run->world;
    uint64_t bytes = 0;
    int rc = alone_take(run, sink, sink->path_part);
    if (rc != PST_OK)
        return rc;
    rc = world->file_open(world->self, sink->path_part, sink->alone != NULL ? PST_OPEN_CONTINUE : PST_OPEN_CREATE,
                          &sink->file);
    /* Left by a run before this one. */
    if (rc == PST_OK && sink->alone != NULL && world->file_size(world->self, sink->file, &bytes) == PST_OK &&
        bytes != 0)
        rc = world->file_cut(world->self, sink->file, 0);
    if (rc != PST_OK)
        pst_run_fail(run, rc == PST_ENOENT ? PST_EIO : rc, "cannot create %s: %s", sink->path_part, pst_system_error());
    if (rc != PST_OK && sink->alone != NULL && world->file_size(world->self, sink->alone, &bytes) == PST_OK &&
        bytes == 0)
        (void)world->unlink(world->self, sink->path_part); /* made a moment ago, and locked still */
    return rc;
}

/* Resumed: where the file is, and whether all that was committed is in it. A run that was stopped or failed gave it another name,
 * one that was killed between two renames its final one. Nothing is changed yet: the checkpoint may still turn out not to fit. */
static int find_file(struct run *run, const char *directory, const char *file, struct sink *sink)
{
    const struct pst_world *world = run->world;
    static const char *const suffixes[] = {".part", ".partial", ".failed", ""};
    uint64_t size = 0, id[2];
    struct pst_file *found = NULL;
    directory = pst_checkpoint_shared(run) && run->site->saved != NULL ? run->site->saved : directory;
    for (uint32_t i = 0; i < sizeof suffixes / sizeof *suffixes && sink->path_found == NULL; i++) {
        if (pst_checkpoint_shared(run) && suffixes[i][0] == '.' && i != 0)
            continue; /* of a run that is not gone on from */
        char *path =
            i == 0 ? part_of(run, directory, file, incarnation_of(run, true)) : path_of(directory, file, suffixes[i]);
        if (path == NULL)
            return PST_ENOMEM;
        if (world->look(world->self, path, id) == 1)
            sink->path_found = path;
        else
            pst_free(path);
    }
    if (sink->path_found == NULL) {
        pst_run_fail(run, PST_EIO, "%s is not there, but %llu bytes of it were committed: what was written is lost",
                     sink->path_part, (unsigned long long)sink->bytes_total);
        return PST_EIO;
    }
    int rc = alone_take(run, sink, sink->path_found);
    if (rc != PST_OK)
        return rc;
    rc = world->file_open(world->self, sink->path_found, PST_OPEN_READ, &found);
    if (rc == PST_OK) {
        rc = world->file_size(world->self, found, &size);
        (void)world->file_close(world->self, found);
    }
    if (rc != PST_OK)
        pst_run_fail(run, PST_EIO, "cannot go on with %s: %s", sink->path_found, pst_system_error());
    else if (size < sink->bytes_total)
        pst_run_fail(run, PST_EIO, "%s has %llu bytes, but %llu were committed: what was written is lost",
                     sink->path_found, (unsigned long long)size, (unsigned long long)sink->bytes_total);
    return rc == PST_OK && size >= sink->bytes_total ? PST_OK : PST_EIO;
}

/* What was committed, as a file of this incarnation's own. */
static int sink_copy(struct run *run, struct sink *sink)
{
    const struct pst_world *world = run->world;
    struct pst_file *from = NULL;
    int rc = world->file_open(world->self, sink->path_found, PST_OPEN_READ, &from);
    if (rc == PST_OK)
        rc = world->file_open(world->self, sink->path_part, PST_OPEN_CREATE, &sink->file);
    if (rc == PST_OK)
        rc = pst_file_copy(world, from, sink->file, sink->bytes_total, NULL);
    if (from != NULL)
        (void)world->file_close(world->self, from);
    if (rc != PST_OK)
        pst_run_fail(run, PST_EIO, "cannot go on with %s as %s: %s", sink->path_found, sink->path_part,
                     pst_checkpoint_reason(rc));
    return rc == PST_OK ? PST_OK : PST_EIO;
}

int pst_sink_continue(struct run *run, struct sink *sink)
{
    const struct pst_world *world = run->world;
    if (sink->path_found == NULL)
        return PST_OK;
    if (pst_checkpoint_shared(run))
        return sink_copy(run, sink);
    int rc = strcmp(sink->path_found, sink->path_part) == 0
                 ? PST_OK
                 : world->rename(world->self, sink->path_found, sink->path_part);
    if (rc == PST_OK)
        rc = world->file_open(world->self, sink->path_part, PST_OPEN_CONTINUE, &sink->file);
    if (rc == PST_OK)
        rc = world->file_cut(world->self, sink->file, sink->bytes_total);
    if (rc != PST_OK)
        pst_run_fail(run, PST_EIO, "cannot go on with %s: %s", sink->path_part, pst_system_error());
    return rc == PST_OK ? PST_OK : PST_EIO;
}

int pst_sink_open(struct run *run, const char *directory, const char *file, const char *name, struct sink **ret_sink)
{
    struct sink *sink = pst_calloc(1, sizeof *sink);
    if (sink == NULL)
        return PST_ENOMEM;
    sink->path_part = part_of(run, directory, file, incarnation_of(run, false));
    sink->path_final = path_of(directory, file, "");
    sink->buffer = pst_malloc(SINK_BUFFER_BYTES);
    int rc = sink->path_part != NULL && sink->path_final != NULL && sink->buffer != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK)
        rc = target_check(run, sink->path_final, sink->path_part);
    sink->name = name;
    if (rc == PST_OK && pst_checkpoint_resumes(run)) {
        rc = pst_checkpoint_sink(run, name, &sink->bytes_total, &sink->rows) ? find_file(run, directory, file, sink)
                                                                             : PST_EREFUSED;
        sink->committed_bytes = sink->bytes_total;
        if (rc == PST_EREFUSED)
            pst_run_fail(run, rc, "the run that is resumed did not write %s: it would lack what came before", file);
    } else if (rc == PST_OK) {
        rc = part_begin(run, sink);
    }
    if (rc != PST_OK) {
        pst_sink_free(run, sink);
        return rc;
    }
    *ret_sink = sink;
    return PST_OK;
}

static int write_out(struct run *run, struct sink *sink, const void *bytes, size_t byte_count)
{
    int rc = run->world->file_write(run->world->self, sink->file, bytes, byte_count);
    if (rc != PST_OK)
        pst_run_fail(run, PST_EIO, "cannot write %s: %s", sink->path_part, pst_system_error());
    sink->bytes_total += byte_count;
    return rc;
}

int pst_sink_flush(struct run *run, struct sink *sink)
{
    if (sink->used_bytes == 0)
        return PST_OK;
    size_t byte_count = sink->used_bytes;
    sink->used_bytes = 0;
    return write_out(run, sink, sink->buffer, byte_count);
}

int pst_sink_write(struct run *run, struct sink *sink, const void *bytes, size_t byte_count)
{
    if (byte_count > SINK_BUFFER_BYTES - sink->used_bytes) {
        int rc = pst_sink_flush(run, sink);
        if (rc != PST_OK)
            return rc;
    }
    if (byte_count >= SINK_BUFFER_BYTES)
        return write_out(run, sink, bytes, byte_count);
    memcpy(sink->buffer + sink->used_bytes, bytes, byte_count);
    sink->used_bytes += byte_count;
    return PST_OK;
}

/* The last bytes. Every sink is closed before the first one gets its name, so that a disk that is full here costs all of them. */
void pst_sink_close(struct run *run, struct sink *sink, int outcome)
{
    const struct pst_world *world = run->world;
    if (sink->file == NULL)
        return;
    int rc = outcome == PST_OK || outcome == PST_ESTOPPED ? pst_sink_flush(run, sink) : PST_OK;
    /* Who asks for checkpoints may lose power: a final name must not be on the disk before the bytes are. */
    if (rc == PST_OK && outcome == PST_OK && run->checkpoint != NULL) {
        rc = world->file_sync(world->self, sink->file);
        if (rc != PST_OK)
            pst_run_fail(run, PST_EIO, "cannot write %s: %s", sink->path_part, pst_system_error());
    }
    int closed = world->file_close(world->self, sink->file);
    sink->file = NULL;
    if (rc == PST_OK && closed != PST_OK)
        pst_run_fail(run, PST_EIO, "cannot write %s: %s", sink->path_part, pst_system_error());
}

/* "FILE.0000000a.part" for a file and an incarnation; 0: it is none of these names. */
static uint64_t incarnation_named(const char *name, size_t name_bytes, const char *file)
{
    char hex[9] = "";
    size_t file_bytes = strlen(file);
    if (name_bytes != file_bytes + 14 || memcmp(name, file, file_bytes) != 0 || name[file_bytes] != '.' ||
        memcmp(name + file_bytes + 9, ".part", 5) != 0)
        return 0;
    memcpy(hex, name + file_bytes + 1, 8);
    return strspn(hex, "0123456789abcdef") == 8 ? strtoull(hex, NULL, 16) : 0;
}

void pst_sink_clear(struct run *run, const struct sink *sink)
{
    const struct pst_world *world = run->world;
    struct pst_text names = {0};
    const char *slash = strrchr(sink->path_final, '/'), *file = slash != NULL ? slash + 1 : sink->path_final;
    char *folder = pst_strdup(sink->path_final);
    if (folder != NULL && slash != NULL)
        folder[slash - sink->path_final] = '\0';
    int rc = folder != NULL ? world->folder_list(world->self, slash != NULL ? folder : ".", &names) : PST_ENOMEM;
    for (const char *at = names.bytes, *end; rc == PST_OK && at != NULL && *at != '\0'; at = end + 1) {
        end = strchr(at, '\n');
        uint64_t incarnation = incarnation_named(at, (size_t)(end - at), file);
        char *path = incarnation != 0 && incarnation < run->site->incarnation
                         ? part_of(run, slash != NULL ? folder : NULL, file, incarnation)
                         : NULL;
        if (path != NULL)
            (void)world->unlink(world->self, path);
        pst_free(path);
    }
    pst_text_fini(&names);
    pst_free(folder);
}

static int folder_sync(const struct run *run, const struct sink *sink)
{
    const struct pst_world *world = run->world;
    char *slash = strrchr(sink->path_final, '/');
    if (slash != NULL)
        *slash = '\0';
    int rc = world->folder_sync(world->self, slash != NULL ? sink->path_final : ".");
    if (slash != NULL)
        *slash = '/';
    return rc;
}

/* The name is on the disk before what would be gone on from without it is gone. */
static void name_stays(struct run *run, struct sink *sink)
{
    if (folder_sync(run, sink) != PST_OK) {
        pst_run_fail(run, PST_EIO, "cannot rename %s to %s: %s", sink->path_part, sink->path_final, pst_system_error());
        return;
    }
    pst_sink_clear(run, sink);
    (void)folder_sync(run, sink); /* nobody clears here again; the results are right, whatever is left beside them */
}

/* A finished file gets its name, one that is not a name that says so. */
void pst_sink_name(struct run *run, struct sink *sink, int outcome)
{
    const struct pst_world *world = run->world;
    if (outcome != PST_OK) {
        char *final = sink->path_final;
        sink->path_final = path_of(NULL, final, outcome == PST_ESTOPPED ? ".partial" : ".failed");
        pst_free(final);
    }
    sink->path_now = sink->path_part;
    if (sink->path_final == NULL) {
        pst_run_fail(run, PST_ENOMEM, "no memory to name %s", sink->path_part);
    } else if (world->rename(world->self, sink->path_part, sink->path_final) != PST_OK) {
        pst_run_fail(run, PST_EIO, "cannot rename %s to %s: %s", sink->path_part, sink->path_final, pst_system_error());
    } else {
        sink->path_now = sink->path_final;
        if (outcome == PST_OK && pst_checkpoint_shared(run))
            name_stays(run, sink);
    }
}

void pst_sink_free(struct run *run, struct sink *sink)
{
    if (sink == NULL)
        return;
    if (sink->file != NULL)
        (void)run->world->file_close(run->world->self, sink->file);
    if (sink->alone != NULL)
        (void)run->world->file_close(run->world->self, sink->alone);
    pst_free(sink->path_part);
    pst_free(sink->path_final);
    pst_free(sink->path_found);
    pst_free(sink->buffer);
    pst_free(sink);
}
