/* sink.c - output files: written as NAME.part, renamed when it is known how the run ended. A file under its final name is whole. */
#include "engine/checkpoint.h"

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

/* Resumed: where the file is, and whether all that was committed is in it. A run that was stopped or failed gave it another name,
 * one that was killed between two renames its final one. Nothing is changed yet: the checkpoint may still turn out not to fit. */
static int find_file(struct run *run, const char *directory, const char *file, struct sink *sink)
{
    const struct pst_world *world = run->world;
    static const char *const suffixes[] = {".part", ".partial", ".failed", ""};
    uint64_t size = 0, id[2];
    struct pst_file *found = NULL;
    for (uint32_t i = 0; i < sizeof suffixes / sizeof *suffixes && sink->path_found == NULL; i++) {
        char *path = path_of(directory, file, suffixes[i]);
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
    int rc = world->file_open(world->self, sink->path_found, PST_OPEN_READ, &found);
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

int pst_sink_continue(struct run *run, struct sink *sink)
{
    const struct pst_world *world = run->world;
    if (sink->path_found == NULL)
        return PST_OK;
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
    sink->path_part = path_of(directory, file, ".part");
    sink->path_final = path_of(directory, file, "");
    sink->buffer = pst_malloc(SINK_BUFFER_BYTES);
    int rc = sink->path_part != NULL && sink->path_final != NULL && sink->buffer != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK)
        rc = target_check(run, sink->path_final, sink->path_part);
    sink->name = name;
    if (rc == PST_OK && pst_checkpoint_resumes(run)) {
        rc = pst_checkpoint_sink(run, name, &sink->bytes_total, &sink->rows) ? find_file(run, directory, file, sink)
                                                                             : PST_EREFUSED;
        if (rc == PST_EREFUSED)
            pst_run_fail(run, rc, "the run that is resumed did not write %s: it would lack what came before", file);
    } else if (rc == PST_OK) {
        rc = run->world->file_open(run->world->self, sink->path_part, PST_OPEN_CREATE, &sink->file);
        if (rc != PST_OK)
            pst_run_fail(run, rc == PST_ENOENT ? PST_EIO : rc, "cannot create %s: %s", sink->path_part,
                         pst_system_error());
    }
    if (rc != PST_OK) {
        pst_sink_free(sink);
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
    }
}

void pst_sink_free(struct sink *sink)
{
    if (sink == NULL)
        return;
    pst_free(sink->path_part);
    pst_free(sink->path_final);
    pst_free(sink->path_found);
    pst_free(sink->buffer);
    pst_free(sink);
}
