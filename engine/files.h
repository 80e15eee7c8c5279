/* engine/files.h - whole files, by the world's calls: read, written, copied. No call waits for a reader or a writer, all wait for the disk. */
#ifndef PST_ENGINE_FILES_H
#define PST_ENGINE_FILES_H

#include "base/base.h"

#include <stdatomic.h>

/* To be read. PST_EDATA: a pipe that nobody may write to, or a device, or a folder; else as the world's file_open(). */
int pst_file_open_regular(const struct pst_world *world, const char *path, struct pst_file **ret_file);
/* All bytes of a regular file; freed by pst_free(). PST_EDATA: more than bytes_max, or no regular file; PST_ENOENT, PST_EIO, PST_ENOMEM. */
int pst_file_read_all(const struct pst_world *world, const char *path, uint64_t bytes_max, uint8_t **ret_bytes,
                      uint64_t *ret_count);
/* How many it has; 0: it is not there, or cannot be looked at. */
uint64_t pst_file_bytes(const struct pst_world *world, const char *path);
/* A file with these bytes, which are on the disk; its name is not yet. */
int pst_file_write_all(const struct pst_world *world, const char *path, const void *bytes, size_t byte_count);
/* The first so many bytes of `from`, behind what `to` holds; UINT64_MAX: all. They are not synced. PST_EDATA: it has fewer;
 * PST_ESTOPPED: `halted` (NULL: nobody does) became true; PST_EIO, PST_ENOMEM. */
int pst_file_copy(const struct pst_world *world, struct pst_file *from, struct pst_file *to, uint64_t byte_count,
                  const atomic_bool *halted);

#endif
