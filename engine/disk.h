/* engine/disk.h - what a node keeps on its disk for all of its graphs, parts of checkpoints and pages that were spilled, and the bound of
 * both together. Inside the room: nobody else includes it.
 *
 * Who is about to write takes the bytes first; what he cannot take he does not write. So the bound is like a disk of the node's own that
 * is full: whoever writes has one way for both.
 *
 * Thread:   any. The lock is never held over a call of the file.
 * Holds true:
 *   D1  what is on the disk was taken before it was written, or was found there
 *   D2  of a folder whose graph runs here, that run alone writes to it, and says what is in it
 */
#ifndef PST_DISK_H
#define PST_DISK_H

#include "base/base.h"

#include <stdatomic.h>

struct disk_folder { /* of one graph's parts, this node's own */
    char *path;
    uint64_t bytes;
    uint64_t
        ended; /* nobody goes on from what it holds of this incarnation, and of those before it; 0: of none is that known */
    bool looked, clearing; /* looked: it is known what is in it */
};

struct pst_disk {
    uint64_t bytes_max; /* 0: none */
    atomic_flag lock;
    uint64_t kept_bytes, spilled_bytes; /* kept: of all folders */
    struct disk_folder *folders;
    uint32_t folder_count, folder_capacity;
};

enum { PST_DISK_WHY_BYTES = 160 };

void pst_disk_init(struct pst_disk *disk, uint64_t bytes_max);
void pst_disk_fini(struct pst_disk *disk);

/* Below, disk NULL: nothing is counted, and there is no bound. `folder` NULL: spilled pages. */
/* PST_EFULL: it does not fit, and is not taken. PST_ENOMEM: a folder that was not known yet. */
int pst_disk_take(struct pst_disk *disk, const char *folder, uint64_t bytes);
void pst_disk_give(struct pst_disk *disk, const char *folder, uint64_t bytes);
/* It is known what is in the folder. */
void pst_disk_set(struct pst_disk *disk, const char *folder, uint64_t bytes);
uint64_t pst_disk_used(struct pst_disk *disk);
/* What may still be taken; UINT64_MAX: there is no bound. */
uint64_t pst_disk_room(struct pst_disk *disk);
void pst_disk_why(struct pst_disk *disk, char ret_why[PST_DISK_WHY_BYTES]); /* the sentence of PST_EFULL */

/* The graph has ended, and the store says so. What it has left is removed when there is no room otherwise. */
void pst_disk_ended(struct pst_disk *disk, const char *folder, uint64_t incarnation);

/* ---- by a job: these look at the disk, and remove from it ---- */
/* The folder's files of checkpoints are what counts from now on, whatever was known. Where `only_new`, one that is known stays as it is. */
void pst_disk_look(struct pst_disk *disk, const struct pst_world *world, const char *folder, bool only_new);
/* What graphs have left that have ended. */
void pst_disk_clear(struct pst_disk *disk, const struct pst_world *world);

#endif
