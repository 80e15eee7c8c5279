/* disk.c - see disk.h. */
#include "engine/disk.h"

#include "engine/checkpoint_file.h"
#include "engine/files.h"

#include <stdio.h>
#include <string.h>

void pst_disk_init(struct pst_disk *disk, uint64_t bytes_max)
{
    *disk = (struct pst_disk){.bytes_max = bytes_max};
    atomic_flag_clear(&disk->lock);
}

void pst_disk_fini(struct pst_disk *disk)
{
    for (uint32_t i = 0; i < disk->folder_count; i++)
        pst_free(disk->folders[i].path);
    pst_free(disk->folders);
    *disk = (struct pst_disk){0};
}

/* ---- what is counted; all under the lock ---- */

static struct disk_folder *folder_find(struct pst_disk *disk, const char *path)
{
    for (uint32_t i = 0; i < disk->folder_count; i++)
        if (strcmp(disk->folders[i].path, path) == 0)
            return &disk->folders[i];
    return NULL;
}

/* NULL: no memory. */
static struct disk_folder *folder_of(struct pst_disk *disk, const char *path)
{
    struct disk_folder *folder = folder_find(disk, path);
    if (folder != NULL)
        return folder;
    if (disk->folder_count == disk->folder_capacity) {
        uint32_t capacity = disk->folder_capacity == 0 ? 8 : 2 * disk->folder_capacity;
        struct disk_folder *folders = pst_realloc(disk->folders, capacity * sizeof *folders);
        if (folders == NULL)
            return NULL;
        disk->folders = folders;
        disk->folder_capacity = capacity;
    }
    char *copy = pst_strdup(path);
    if (copy == NULL)
        return NULL;
    folder = &disk->folders[disk->folder_count++];
    *folder = (struct disk_folder){.path = copy};
    return folder;
}

static void folder_set(struct pst_disk *disk, struct disk_folder *folder, uint64_t bytes)
{
    disk->kept_bytes += bytes - folder->bytes;
    folder->bytes = bytes;
    folder->looked = true;
}

static uint64_t room(const struct pst_disk *disk)
{
    uint64_t used = disk->kept_bytes + disk->spilled_bytes;
    return disk->bytes_max == 0 ? UINT64_MAX : disk->bytes_max > used ? disk->bytes_max - used : 0;
}

/* ---- for who writes ---- */

int pst_disk_take(struct pst_disk *disk, const char *folder, uint64_t bytes)
{
    if (disk == NULL)
        return PST_OK;
    pst_lock_take(&disk->lock);
    struct disk_folder *of = folder != NULL ? folder_of(disk, folder) : NULL;
    int rc = folder != NULL && of == NULL ? PST_ENOMEM : bytes > room(disk) ? PST_EFULL : PST_OK;
    if (rc == PST_OK && of != NULL)
        folder_set(disk, of, of->bytes + bytes);
    else if (rc == PST_OK)
        disk->spilled_bytes += bytes;
    pst_lock_give(&disk->lock);
    return rc;
}

void pst_disk_give(struct pst_disk *disk, const char *folder, uint64_t bytes)
{
    if (disk == NULL)
        return;
    pst_lock_take(&disk->lock);
    struct disk_folder *of = folder != NULL ? folder_find(disk, folder) : NULL;
    if (of != NULL)
        folder_set(disk, of, of->bytes > bytes ? of->bytes - bytes : 0);
    else if (folder == NULL)
        disk->spilled_bytes -= bytes;
    pst_lock_give(&disk->lock);
}

void pst_disk_set(struct pst_disk *disk, const char *folder, uint64_t bytes)
{
    if (disk == NULL)
        return;
    pst_lock_take(&disk->lock);
    struct disk_folder *of = folder_of(disk, folder);
    if (of != NULL)
        folder_set(disk, of, bytes);
    pst_lock_give(&disk->lock);
}

uint64_t pst_disk_used(struct pst_disk *disk)
{
    pst_lock_take(&disk->lock);
    uint64_t bytes = disk->kept_bytes + disk->spilled_bytes;
    pst_lock_give(&disk->lock);
    return bytes;
}

uint64_t pst_disk_room(struct pst_disk *disk)
{
    if (disk == NULL)
        return UINT64_MAX;
    pst_lock_take(&disk->lock);
    uint64_t bytes = room(disk);
    pst_lock_give(&disk->lock);
    return bytes;
}

void pst_disk_why(struct pst_disk *disk, char ret_why[PST_DISK_WHY_BYTES])
{
    (void)snprintf(ret_why, PST_DISK_WHY_BYTES,
                   "it does not fit: checkpoints and spilled pages of this node take %llu KiB, and --disk allows %llu",
                   (unsigned long long)(pst_disk_used(disk) / 1024), (unsigned long long)(disk->bytes_max / 1024));
}

void pst_disk_ended(struct pst_disk *disk, const char *folder, uint64_t incarnation)
{
    pst_lock_take(&disk->lock);
    struct disk_folder *of = folder_of(disk, folder);
    if (of != NULL && of->ended < incarnation)
        of->ended = incarnation;
    pst_lock_give(&disk->lock);
}

/* ---- what lies there ---- */

struct looking {
    const struct pst_world *world;
    uint64_t ended; /* up to this incarnation files are removed; 0: none */
    uint64_t bytes; /* that are there, or were removed */
};

static int look_visit(void *argument, uint64_t id, const char *path)
{
    struct looking *looking = argument;
    if (looking->ended != 0 && id >> 32 > looking->ended)
        return PST_OK;
    uint64_t bytes = pst_file_bytes(looking->world, path);
    if (looking->ended == 0 || looking->world->unlink(looking->world->self, path) == PST_OK)
        looking->bytes += bytes;
    return PST_OK;
}

void pst_disk_look(struct pst_disk *disk, const struct pst_world *world, const char *folder, bool only_new)
{
    struct looking looking = {.world = world};
    if (disk == NULL || pst_checkpoint_files(world, folder, look_visit, &looking) != PST_OK)
        return; /* there is no such folder yet, or what was known stays */
    pst_lock_take(&disk->lock);
    struct disk_folder *of = folder_of(disk, folder);
    if (of != NULL && !(only_new && of->looked))
        folder_set(disk, of, looking.bytes);
    if (of != NULL && !only_new)
        of->ended = 0;
    pst_lock_give(&disk->lock);
}

/* One that nobody else is at; its path is the caller's. NULL: there is none, or no memory. */
static char *ended_take(struct pst_disk *disk, uint64_t *ret_ended)
{
    char *path = NULL;
    pst_lock_take(&disk->lock);
    for (uint32_t i = 0; i < disk->folder_count && path == NULL; i++) {
        struct disk_folder *folder = &disk->folders[i];
        if (folder->ended == 0 || !folder->looked || folder->clearing)
            continue;
        path = pst_strdup(folder->path);
        folder->clearing = path != NULL;
        *ret_ended = folder->ended;
    }
    pst_lock_give(&disk->lock);
    return path;
}

void pst_disk_clear(struct pst_disk *disk, const struct pst_world *world)
{
    struct looking looking = {.world = world};
    for (char *path; disk != NULL && (path = ended_take(disk, &looking.ended)) != NULL; pst_free(path)) {
        looking.bytes = 0;
        (void)pst_checkpoint_files(world, path, look_visit, &looking);
        pst_lock_take(&disk->lock);
        struct disk_folder *folder = folder_find(disk, path);
        folder->clearing = false;
        if (folder->ended != 0) /* else a run has begun there meanwhile: D2 */
            folder_set(disk, folder, folder->bytes > looking.bytes ? folder->bytes - looking.bytes : 0);
        folder->ended = folder->ended == looking.ended ? 0 : folder->ended;
        pst_lock_give(&disk->lock);
    }
}
