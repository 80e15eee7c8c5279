/* counter.c - the highest checkpoint that was finished, in a file of its own. */
#include "engine/engine.h"
#include "engine/files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char line_begin[] = "penstock-counter 1 ";
enum { LINE_BYTES_MAX = 64 };

static int file_read(void *self, struct pst_world *world, uint64_t *ret_value)
{
    char line[LINE_BYTES_MAX + 1];
    size_t used = 0;
    struct pst_file *file = NULL;
    int rc = world->file_open(world->self, self, PST_OPEN_READ, &file);
    *ret_value = 0;
    if (rc == PST_ENOENT)
        return PST_OK;
    while (rc == PST_OK && used < LINE_BYTES_MAX) {
        int64_t count = world->file_read(world->self, file, line + used, LINE_BYTES_MAX - used);
        if (count == PST_EAGAIN)
            continue;
        if (count <= 0) {
            rc = (int)count;
            break;
        }
        used += (size_t)count;
    }
    if (file != NULL)
        (void)world->file_close(world->self, file);
    if (rc != PST_OK)
        return rc;
    line[used] = '\0';
    bool whole =
        used > sizeof line_begin && memcmp(line, line_begin, sizeof line_begin - 1) == 0 && line[used - 1] == '\n';
    if (!whole)
        return PST_EDATA;
    line[used - 1] = '\0';
    return pst_parse_u64(line + sizeof line_begin - 1, ret_value) == PST_OK ? PST_OK : PST_EDATA;
}

static int file_raise(void *self, struct pst_world *world, uint64_t value)
{
    const char *path = self;
    char line[LINE_BYTES_MAX];
    int bytes = snprintf(line, sizeof line, "%s%" PRIu64 "\n", line_begin, value);
    struct pst_text part = {0}, folder = {0};
    const char *slash = strrchr(path, '/');
    (void)pst_text_printf(&part, "%s.part", path);
    (void)pst_text_add(&folder, slash == NULL ? "." : path,
                       slash == NULL || slash == path ? 1 : (size_t)(slash - path));
    int rc = part.failed || folder.failed ? PST_ENOMEM : pst_file_write_all(world, part.bytes, line, (size_t)bytes);
    if (rc == PST_OK)
        rc = world->rename(world->self, part.bytes, path);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, folder.bytes);
    pst_text_fini(&part);
    pst_text_fini(&folder);
    return rc;
}

struct pst_counter pst_counter_file(const char *path)
{
    return (struct pst_counter){.self = (void *)(uintptr_t)path, .name = path, .read = file_read, .raise = file_raise};
}
