/* files.c - see files.h. */
#include "engine/files.h"

enum { COPY_BYTES = 1 << 20 };

int pst_file_open_regular(const struct pst_world *world, const char *path, struct pst_file **ret_file)
{
    uint64_t id[2];
    if (world->look(world->self, path, id) == 2)
        return PST_EDATA;
    return world->file_open(world->self, path, PST_OPEN_READ, ret_file);
}

uint64_t pst_file_bytes(const struct pst_world *world, const char *path)
{
    struct pst_file *file = NULL;
    uint64_t bytes = 0;
    if (pst_file_open_regular(world, path, &file) != PST_OK)
        return 0;
    if (world->file_size(world->self, file, &bytes) != PST_OK)
        bytes = 0;
    (void)world->file_close(world->self, file);
    return bytes;
}

int pst_file_read_all(const struct pst_world *world, const char *path, uint64_t bytes_max, uint8_t **ret_bytes,
                      uint64_t *ret_count)
{
    struct pst_file *file = NULL;
    uint64_t size = 0, count = 0;
    uint8_t *bytes = NULL;
    int rc = pst_file_open_regular(world, path, &file);
    if (rc != PST_OK)
        return rc;
    rc = world->file_size(world->self, file, &size);
    if (rc == PST_OK && size > bytes_max)
        rc = PST_EDATA;
    if (rc == PST_OK && (bytes = pst_malloc(size + 1)) == NULL)
        rc = PST_ENOMEM;
    while (rc == PST_OK && count < size) {
        int64_t n = world->file_read(world->self, file, bytes + count, size - count);
        if (n == PST_EAGAIN)
            continue;
        if (n <= 0)
            rc = n == 0 ? PST_EDATA : (int)n;
        else
            count += (uint64_t)n;
    }
    (void)world->file_close(world->self, file);
    if (rc != PST_OK) {
        pst_free(bytes);
        return rc;
    }
    *ret_bytes = bytes;
    *ret_count = count;
    return PST_OK;
}

int pst_file_write_all(const struct pst_world *world, const char *path, const void *bytes, size_t byte_count)
{
    struct pst_file *file = NULL;
    int rc = world->file_open(world->self, path, PST_OPEN_CREATE, &file);
    if (rc != PST_OK)
        return rc;
    rc = world->file_write(world->self, file, bytes, byte_count);
    if (rc == PST_OK)
        rc = world->file_sync(world->self, file);
    int closed = world->file_close(world->self, file);
    return rc == PST_OK ? closed : rc;
}

int pst_file_copy(const struct pst_world *world, struct pst_file *from, struct pst_file *to, uint64_t byte_count,
                  const atomic_bool *halted)
{
    char *buffer = pst_malloc(COPY_BYTES);
    int rc = buffer != NULL ? PST_OK : PST_ENOMEM;
    for (uint64_t at = 0; at < byte_count && rc == PST_OK;) {
        uint64_t rest = byte_count - at;
        if (halted != NULL && atomic_load_explicit(halted, memory_order_relaxed)) {
            rc = PST_ESTOPPED;
            break;
        }
        int64_t count = world->file_read(world->self, from, buffer, rest < COPY_BYTES ? rest : COPY_BYTES);
        if (count == PST_EAGAIN)
            continue;
        if (count == 0 && byte_count == UINT64_MAX)
            break;
        rc = count < 0 ? (int)count : count == 0 ? PST_EDATA : PST_OK;
        if (rc == PST_OK)
            rc = world->file_write(world->self, to, buffer, (size_t)count);
        at += rc == PST_OK ? (uint64_t)count : 0;
    }
    pst_free(buffer);
    return rc;
}
