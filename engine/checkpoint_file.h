/* engine/checkpoint_file.h - checkpoints as files, for whoever reads them: a run that resumes, and the tools that look at them. */
#ifndef PST_ENGINE_CHECKPOINT_FILE_H
#define PST_ENGINE_CHECKPOINT_FILE_H

#include "base/base.h"
#include "state/manifest.h"

struct checkpoint_reader {
    struct pst_world *world;
    const char *directory;
    struct pst_secret *const *keys; /* each is tried */
    uint32_t key_count;
    char *why; /* after an error: a part of a sentence that says what is wrong, naming the page */
    size_t why_bytes;
    uint32_t key_found; /* which of them opened the last manifest that was read */
};

/* Calls visit(argument, id) for every manifest, or file of pages, in the folder; in any order; stops at its first error. */
int pst_checkpoint_ids(const struct pst_world *world, const char *directory, bool manifests,
                       int (*visit)(void *argument, uint64_t id), void *argument);

/* Of all that checkpoints leave in a folder, manifests before the pages that they name. Else as above. */
int pst_checkpoint_files(const struct pst_world *world, const char *directory,
                         int (*visit)(void *argument, uint64_t id, const char *path), void *argument);

/* A manifest that was passed over gets a name that nobody looks for: once the outputs are cut back to an older checkpoint, the
 * newer one fits them no more. */
int pst_checkpoint_set_aside(const struct pst_world *world, const char *directory, uint64_t id);

/* PST_EREFUSED, PST_EABI, PST_EDATA: as pst_manifest_read(); PST_ENOENT, PST_EIO, PST_ENOMEM. */
int pst_checkpoint_read(struct checkpoint_reader *reader, uint64_t id, struct pst_manifest *ret_manifest);

/* Opens every page of a manifest in its order, and calls visit() (NULL: not) with its header and used bytes, 8-byte aligned. Of an operator
 * in enclaves nothing is opened: visit() gets the sealed piece, when it is what was written. PST_EREFUSED: one does not open, or
 * is not; visit()'s errors. */
typedef int (*pst_checkpoint_visit)(void *argument, const struct pst_manifest_page *page, const void *bytes,
                                    uint32_t byte_count);
int pst_checkpoint_pages(const struct checkpoint_reader *reader, const struct pst_manifest *manifest,
                         pst_checkpoint_visit visit, void *argument);

#endif
