/* world_sim.c - see world_sim.h. */
#include "world_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBER_LEAVE(keep, to) __sanitizer_start_switch_fiber(&(keep)->fake, (to)->stack, (to)->stack_bytes)
#define FIBER_ENTER(keep) __sanitizer_finish_switch_fiber((keep)->fake, NULL, NULL)
#else
#define FIBER_LEAVE(keep, to) ((void)(keep), (void)(to))
#define FIBER_ENTER(keep) ((void)(keep))
#endif

enum { FIBER_STACK_BYTES = 256 * 1024 };

enum { SLEEPS_MAX = 10000 }; /* ticks of worker 0 in a row that wake nobody: stuck */

struct pst_file {
    struct sim_file *file;
    size_t at;
    bool scratch;
};

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t sim_random(struct sim *sim, uint64_t below)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void trace(struct sim *sim, uint64_t event, uint64_t value)
{
    sim->trace = (sim->trace ^ event) * 0x100000001b3u;
    sim->trace = (sim->trace ^ value) * 0x100000001b3u;
}

static const char shared_prefix[] = "shared/";

static bool is_shared(const struct sim *sim, const char *path)
{
    return sim->shared != NULL && strncmp(path, shared_prefix, sizeof shared_prefix - 1) == 0;
}

/* The files of a path are this one's. */
static const struct sim *disk_of(const struct sim *sim, const char *path)
{
    return is_shared(sim, path) ? sim->shared : sim;
}

static struct sim_file *find(const struct sim *sim, const char *name)
{
    sim = disk_of(sim, name);
    for (uint32_t i = 0; i < sim->file_count; i++)
        if (sim->files[i].there && strcmp(sim->files[i].name, name) == 0)
            return (struct sim_file *)&sim->files[i];
    return NULL;
}

/* The world's own memory is libc's: allocations that a test makes fail are those of the engine. Freed by pst_text_fini(). */
static void append(struct pst_text *text, const void *bytes, size_t byte_count)
{
    if (text->count + byte_count + 1 > text->capacity) {
        text->capacity = 2 * (text->count + byte_count) + 64;
        text->bytes = realloc(text->bytes, text->capacity);
        PST_ASSERT(text->bytes != NULL);
    }
    if (byte_count != 0)
        memcpy(text->bytes + text->count, bytes, byte_count);
    text->count += byte_count;
    text->bytes[text->count] = '\0';
}

static void bytes_set(struct pst_text *text, const void *bytes, size_t byte_count)
{
    text->count = 0;
    append(text, bytes, byte_count);
}

/* One that nobody can see any more makes room for another. */
static struct sim_file *file_new(struct sim *sim)
{
    uint32_t i = 0;
    if (sim->file_count < SIM_FILES_MAX)
        return &sim->files[sim->file_count++];
    while (i < sim->file_count &&
           (sim->files[i].there || sim->files[i].name_synced != NULL || sim->files[i].handles != 0))
        i++;
    PST_ASSERT(i < sim->file_count);
    free(sim->files[i].name);
    pst_text_fini(&sim->files[i].bytes);
    pst_text_fini(&sim->files[i].bytes_synced);
    sim->files[i] = (struct sim_file){0};
    return &sim->files[i];
}

static struct sim_file *create(struct sim *sim, const char *name)
{
    struct sim_file *file = find(sim, name);
    if (file == NULL) {
        file = file_new(is_shared(sim, name) ? sim->shared : sim);
        file->name = strdup(name);
        PST_ASSERT(file->name != NULL);
        file->there = true;
    }
    file->writer = sim->node;
    file->bytes.count = 0;
    return file;
}

void sim_put(struct sim *sim, const char *name, const void *bytes, size_t byte_count)
{
    struct sim_file *file = create(sim, name);
    append(&file->bytes, bytes, byte_count);
    bytes_set(&file->bytes_synced, bytes, byte_count);
    free(file->name_synced);
    file->name_synced = strdup(name);
}

void sim_put_growing(struct sim *sim, const char *name, const void *bytes, size_t byte_count, uint64_t grow_ns)
{
    sim_put(sim, name, bytes, byte_count);
    struct sim_file *file = find(sim, name);
    file->grow_ns = grow_ns;
    file->grown_ns = sim->now_ns;
}

const struct pst_text *sim_get(const struct sim *sim, const char *name)
{
    const struct sim_file *file = find(sim, name);
    return file != NULL ? &file->bytes : NULL;
}

/* ---- power ---- */

/* Before each step of the disk. PST_EIO: the power is gone, and the step did not happen. */
static int disk_step(struct sim *sim)
{
    if (sim->cut) {
        pst_system_error_set(EIO);
        return PST_EIO;
    }
    if (++sim->disk_steps != sim->cut_step)
        return PST_OK;
    sim->cut = true;
    if (sim_random(sim, 2) == 0)
        return PST_OK; /* this one step still happened */
    pst_system_error_set(EIO);
    return PST_EIO;
}

/* Synced bytes stay. What was written since is there or not, or a piece of it with a hole of zeros before it. */
static void bytes_after_cut(struct sim *sim, struct sim_file *file)
{
    size_t synced = file->bytes_synced.count, now = file->bytes.count;
    bool grew = now > synced && (synced == 0 || memcmp(file->bytes.bytes, file->bytes_synced.bytes, synced) == 0);
    uint64_t fate = sim_random(sim, 4);
    if (fate == 0)
        return; /* all of it */
    if (fate == 1 || !grew) {
        if (synced == 0)
            file->bytes.count = 0;
        else
            bytes_set(&file->bytes, file->bytes_synced.bytes, synced);
        return;
    }
    file->bytes.count = synced + sim_random(sim, now - synced + 1);
    if (fate == 3) {
        size_t hole = sim_random(sim, file->bytes.count - synced + 1);
        memset(file->bytes.bytes + synced, 0, hole);
    }
}

static void synced_now(struct sim_file *file)
{
    bytes_set(&file->bytes_synced, file->bytes.bytes, file->bytes.count);
    free(file->name_synced);
    file->name_synced = file->there ? strdup(file->name) : NULL;
}

void sim_revive(struct sim *sim)
{
    sim->cut = false;
    sim->cut_step = sim->job_count = 0;
    atomic_store(&sim->interrupts, 0);
}

/* writer: UINT32_MAX: of all files. */
static void after_cut(struct sim *sim, uint32_t writer)
{
    for (uint32_t i = 0; i < sim->file_count; i++) {
        struct sim_file *file = &sim->files[i];
        if (writer != UINT32_MAX && file->writer != writer)
            continue;
        bytes_after_cut(sim, file);
        bool same = file->there ? file->name_synced != NULL && strcmp(file->name, file->name_synced) == 0
                                : file->name_synced == NULL;
        if (same || sim_random(sim, 2) == 0)
            continue;
        file->there = file->name_synced != NULL; /* as of the last sync of the folder */
        if (file->there) {
            free(file->name);
            file->name = strdup(file->name_synced);
        }
    }
    for (uint32_t i = 0; i < sim->file_count; i++) {
        struct sim_file *file = &sim->files[i];
        if (file->there || !file->replaced || file->name_synced == NULL || find(sim, file->name_synced) != NULL)
            continue;
        file->there = true; /* the rename over it was lost */
        free(file->name);
        file->name = strdup(file->name_synced);
    }
    for (uint32_t i = 0; i < sim->file_count;
         i++) { /* two files of one name: the rename over it was lost, or was not */
        for (uint32_t k = i + 1; k < sim->file_count; k++) {
            if (!sim->files[i].there || !sim->files[k].there || strcmp(sim->files[i].name, sim->files[k].name) != 0)
                continue;
            sim->files[sim_random(sim, 2) == 0 ? i : k].there = false;
        }
    }
    for (uint32_t i = 0; i < sim->file_count; i++)
        if (writer == UINT32_MAX || sim->files[i].writer == writer)
            synced_now(&sim->files[i]);
}

void sim_restart(struct sim *sim)
{
    sim_revive(sim);
    after_cut(sim, UINT32_MAX);
}

void sim_shared_crash(struct sim *shared, uint32_t node) { after_cut(shared, node); }

/* ---- the table ---- */
static uint64_t sim_now(void *self) { return ((struct sim *)self)->now_ns; }

/* Simulated time begins in 2026. */
static int64_t sim_wall(void *self) { return 1767225600 + (int64_t)(((struct sim *)self)->now_ns / 1000000000); }

static int sim_bytes(void *self, void *bytes, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)sim_random(self, 256);
    return PST_OK;
}

static uint32_t sim_cores(void *self)
{
    (void)self;
    return 2;
}

static bool ends_in(const char *path, const char *end)
{
    size_t path_bytes = strlen(path), end_bytes = strlen(end);
    return path_bytes >= end_bytes && strcmp(path + path_bytes - end_bytes, end) == 0;
}

static int sim_open(void *self, const char *path, pst_open_mode mode, struct pst_file **ret_file)
{
    struct sim *sim = self;
    bool makes = mode == PST_OPEN_CREATE || (mode == PST_OPEN_ALONE && find(sim, path) == NULL);
    int rc = makes ? disk_step(sim) : sim->cut ? PST_EIO : PST_OK;
    if (rc != PST_OK)
        return rc;
    if (sim->create_percent != 0 && mode == PST_OPEN_CREATE &&
        (ends_in(path, ".pages") || ends_in(path, ".manifest.part")) && sim_random(sim, 100) < sim->create_percent) {
        pst_system_error_set(EIO);
        return PST_EIO;
    }
    struct sim_file *file = makes ? create(sim, path) : find(sim, path);
    if (file == NULL) {
        pst_system_error_set(ENOENT);
        return PST_ENOENT;
    }
    *ret_file = pst_calloc(1, sizeof **ret_file);
    if (*ret_file == NULL)
        return PST_ENOMEM;
    (*ret_file)->file = file;
    file->handles++;
    return PST_OK;
}

enum { GROW_BYTES = 500 }; /* at a time */

/* Behind `at`; SIZE_MAX: nothing yet of what will be there. */
static size_t rest_of(struct sim *sim, const struct pst_file *file)
{
    const struct sim_file *of = file->file;
    size_t there = of->bytes.count;
    if (of->grow_ns == 0 || of->grown_ns + there * of->grow_ns <= sim->now_ns)
        return there - file->at;
    size_t grown = (size_t)((sim->now_ns - of->grown_ns) / of->grow_ns);
    if (grown > file->at)
        return grown - file->at;
    size_t next = there - file->at > GROW_BYTES ? file->at + GROW_BYTES : there;
    sim->watched_ns = of->grown_ns + next * of->grow_ns;
    return SIZE_MAX;
}

static int64_t sim_read(void *self, struct pst_file *file, void *bytes, size_t byte_count)
{
    struct sim *sim = self;
    if (sim_random(sim, 100) < sim->again_percent)
        return PST_EAGAIN;
    size_t rest = rest_of(sim, file);
    if (rest == SIZE_MAX)
        return PST_EAGAIN;
    size_t count = rest < byte_count ? rest : byte_count;
    if (count > 1 && sim->read_bytes_max != 0) {
        size_t most = count < sim->read_bytes_max ? count : sim->read_bytes_max;
        count = 1 + sim_random(sim, most);
    }
    if (count > rest)
        count = rest;
    if (count != 0)
        memcpy(bytes, file->file->bytes.bytes + file->at, count);
    file->at += count;
    file->file->read_bytes += count;
    trace(sim, 'r', count);
    return (int64_t)count;
}

static int sim_watch(void *self, struct pst_file *file, uint32_t worker_index)
{
    (void)file;
    ((struct sim *)self)->watching[worker_index] = true;
    return PST_OK;
}

static int sim_write(void *self, struct pst_file *file, const void *bytes, size_t byte_count)
{
    struct sim *sim = self;
    trace(sim, 'w', byte_count);
    sim->writes++;
    sim->write_bytes += byte_count;
    int rc = disk_step(sim);
    if (rc != PST_OK)
        return rc;
    if (byte_count > sim->write_bytes_left) {
        pst_system_error_set(ENOSPC);
        return PST_EIO;
    }
    if (sim->write_bytes_left != UINT64_MAX)
        sim->write_bytes_left -= byte_count;
    append(&file->file->bytes, bytes, byte_count);
    file->file->writer = sim->node;
    return PST_OK;
}

static int sim_sync(void *self, struct pst_file *file)
{
    int rc = disk_step(self);
    if (rc == PST_OK)
        bytes_set(&file->file->bytes_synced, file->file->bytes.bytes, file->file->bytes.count);
    return rc;
}

static int sim_lock(void *self, struct pst_file *file)
{
    (void)self; /* one process is all there is */
    (void)file;
    return PST_OK;
}

static int sim_seek(void *self, struct pst_file *file, uint64_t offset)
{
    (void)self;
    file->at = offset < file->file->bytes.count ? offset : file->file->bytes.count;
    return PST_OK;
}

static int sim_cut(void *self, struct pst_file *file, uint64_t byte_count)
{
    int rc = disk_step(self);
    if (rc == PST_OK && byte_count < file->file->bytes.count)
        file->file->bytes.count = byte_count;
    return rc;
}

static int sim_folder_sync(void *self, const char *path)
{
    size_t bytes = strlen(path);
    int rc = disk_step(self);
    struct sim *sim = is_shared(self, path) ? ((struct sim *)self)->shared : self;
    for (uint32_t i = 0; i < sim->file_count && rc == PST_OK; i++) {
        struct sim_file *file = &sim->files[i];
        const char *name = file->there ? file->name : file->name_synced;
        bool here = strcmp(path, ".") == 0 && name != NULL && strchr(name, '/') == NULL;
        bool inside = here || (name != NULL && strncmp(name, path, bytes) == 0 && name[bytes] == '/');
        if (!inside)
            continue;
        free(file->name_synced);
        file->name_synced = file->there ? strdup(file->name) : NULL;
    }
    return rc;
}

static int sim_folder_list(void *self, const char *path, struct pst_text *ret_names)
{
    const struct sim *sim = disk_of(self, path);
    size_t bytes = strlen(path);
    for (uint32_t i = 0; i < sim->file_count; i++) {
        const struct sim_file *file = &sim->files[i];
        if (file->there && strncmp(file->name, path, bytes) == 0 && file->name[bytes] == '/' &&
            strchr(file->name + bytes + 1, '/') == NULL)
            (void)pst_text_printf(ret_names, "%s\n", file->name + bytes + 1);
    }
    return ret_names->failed ? PST_ENOMEM : PST_OK;
}

static int sim_close(void *self, struct pst_file *file)
{
    (void)self;
    if (file->scratch)
        file->file->bytes.count = 0;
    file->file->handles--;
    pst_free(file);
    return PST_OK;
}

static int sim_size(void *self, struct pst_file *file, uint64_t *ret_bytes)
{
    (void)self;
    *ret_bytes = file->file->bytes.count;
    return PST_OK;
}

static int sim_scratch(void *self, const char *folder, struct pst_file **ret_file)
{
    struct sim *sim = self;
    (void)folder;
    int rc = disk_step(sim);
    if (rc != PST_OK)
        return rc;
    PST_ASSERT(sim->file_count < SIM_FILES_MAX);
    *ret_file = pst_calloc(1, sizeof **ret_file);
    if (*ret_file == NULL)
        return PST_ENOMEM;
    struct sim_file *file = &sim->files[sim->file_count++]; /* it is not there: it has no name */
    file->name = strdup("");
    (*ret_file)->file = file;
    file->handles++;
    (*ret_file)->scratch = true;
    return PST_OK;
}

static int sim_read_at(void *self, struct pst_file *file, uint64_t offset, void *bytes, size_t byte_count)
{
    struct sim *sim = self;
    bool fails = sim->read_at_fails != 0 && --sim->read_at_fails == 0;
    if (fails || sim->cut || offset + byte_count > file->file->bytes.count) {
        pst_system_error_set(EIO);
        return PST_EIO;
    }
    memcpy(bytes, file->file->bytes.bytes + offset, byte_count);
    trace(sim, 'R', offset);
    return PST_OK;
}

static int sim_write_at(void *self, struct pst_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    struct sim *sim = self;
    struct pst_text *text = &file->file->bytes;
    static const char zeros[4096];
    trace(sim, 'W', offset);
    sim->scratch_writes += file->scratch;
    int rc = disk_step(sim);
    if (rc != PST_OK)
        return rc;
    uint64_t grows = offset + byte_count > text->count ? offset + byte_count - text->count : 0;
    if (grows > sim->write_bytes_left) {
        pst_system_error_set(ENOSPC);
        return PST_EIO;
    }
    if (sim->write_bytes_left != UINT64_MAX)
        sim->write_bytes_left -= grows;
    while (text->count < offset + byte_count) {
        uint64_t rest = offset + byte_count - text->count;
        append(text, zeros, rest < sizeof zeros ? rest : sizeof zeros);
    }
    memcpy(text->bytes + offset, bytes, byte_count);
    return PST_OK;
}

static int sim_look(void *self, const char *path, uint64_t ret_id[2])
{
    const struct sim_file *file = find(self, path);
    ret_id[0] = 0;
    ret_id[1] = (uint64_t)(uintptr_t)file;
    return file != NULL ? 1 : 0;
}

static int sim_unlink(void *self, const char *path)
{
    struct sim_file *file = find(self, path);
    if (file == NULL) {
        pst_system_error_set(ENOENT);
        return PST_ENOENT;
    }
    int rc = disk_step(self);
    if (rc != PST_OK)
        return rc;
    file->there = false;
    file->writer = ((const struct sim *)self)->node;
    return PST_OK;
}

static int sim_rename(void *self, const char *from, const char *to)
{
    struct sim_file *file = find(self, from);
    if (file == NULL) {
        pst_system_error_set(ENOENT);
        return PST_ENOENT;
    }
    int rc = disk_step(self);
    if (rc != PST_OK)
        return rc;
    struct sim_file *over = find(self, to);
    file->writer = ((const struct sim *)self)->node;
    if (over != NULL && over != file) {
        over->there = false;
        over->replaced = true;
        over->writer = file->writer;
    }
    char *name = strdup(to);
    PST_ASSERT(name != NULL);
    free(file->name);
    file->name = name;
    return PST_OK;
}

static int sim_mkdir(void *self, const char *path)
{
    (void)self;
    (void)path;
    return PST_OK;
}

static int sim_rmdir(void *self, const char *path)
{
    (void)self;
    (void)path;
    return PST_OK;
}

/* ---- workers ---- */
void sim_yield(void);
void sim_spin(void);

static void sim_wake(void *self, uint32_t worker_index)
{
    struct sim *sim = self;
    sim_yield();
    trace(sim, 'k', worker_index);
    sim->notified[worker_index] = true;
}

static int sim_work(void *self, uint32_t worker_index, void (*run)(void *argument), void *argument)
{
    struct sim *sim = self;
    PST_ASSERT(sim->job_count < SIM_JOBS_MAX);
    sim->jobs[sim->job_count++] = (struct sim_job){worker_index, run, argument};
    return PST_OK;
}

static int sim_alarm(void *self, uint32_t worker_index, uint64_t ns)
{
    uint64_t *at_ns = &((struct sim *)self)->alarm_ns[worker_index];
    *at_ns = *at_ns == 0 || ns < *at_ns ? ns : *at_ns;
    return PST_OK;
}

/* A job of the pool gets its turn, whole. */
static void job_run(struct sim *sim)
{
    uint32_t i = (uint32_t)sim_random(sim, sim->job_count);
    struct sim_job job = sim->jobs[i];
    sim->jobs[i] = sim->jobs[--sim->job_count];
    job.run(job.argument);
    trace(sim, 'j', job.worker);
    sim->notified[job.worker] = true;
}

/* A worker that may step: awake, or asleep with a wake-up that happens to arrive now. UINT32_MAX: none. */
static uint32_t choose(struct sim *sim)
{
    uint32_t able[SIM_WORKERS_MAX], count = 0;
    for (uint32_t w = 0; w < sim->worker_count; w++)
        if (!sim->done[w] && (!sim->asleep[w] || sim->notified[w] || sim->amid[w]))
            able[count++] = w;
    return count == 0 ? UINT32_MAX : able[sim_random(sim, count)];
}

/* What a reader waits for may arrive while others work; alarms go off. */
static void data_arrives(struct sim *sim)
{
    for (uint32_t w = 0; w < sim->worker_count; w++) {
        if (sim->alarm_ns[w] != 0 && sim->alarm_ns[w] <= sim->now_ns) {
            sim->alarm_ns[w] = 0;
            sim->notified[w] = true;
        }
        if (sim->watching[w] && sim->now_ns >= sim->watched_ns && sim_random(sim, 8) == 0) {
            sim->watching[w] = false;
            sim->notified[w] = true;
        }
    }
}

static void interrupt(struct sim *sim)
{
    for (int i = 0; i < 2; i++)
        if (sim->interrupt_step[i] != 0 && sim->steps >= sim->interrupt_step[i] && sim->interrupts < i + 1)
            sim->interrupts = i + 1;
}

/* Nobody is able: what a reader waits for arrives, or worker 0's timer goes off. */
static void idle_time(struct sim *sim)
{
    bool any = false;
    sim->now_ns += 1000000;
    for (uint32_t w = 0; w < sim->worker_count; w++) {
        if (sim->watching[w] && !sim->done[w]) {
            sim->watching[w] = false;
            sim->notified[w] = any = true;
        }
    }
    if (!any)
        sim->notified[0] = sim->ticked = true;
}

/* The timer is there for interrupts and progress alone: if its step finds work, somebody forgot to wake worker 0. Interrupts
 * are the one thing that it may find. */
static void look_for_lost_wake(struct sim *sim, uint32_t w, pst_step result)
{
    bool news = result == PST_STEP_MORE;
    for (uint32_t i = 0; i < sim->worker_count; i++)
        news |= sim->notified[i];
    if (sim->ticked && w == 0 && news && sim->interrupts == 0)
        sim->wakes_lost++;
    sim->ticked = false;
}

/* ---- steps that are interrupted: each worker on a stack of its own, one of them running ---- */
struct sim_fiber {
    ucontext_t context;
    struct sim *sim;
    pst_step_fn step;
    void *argument;
    uint32_t index;
    pst_step result;
    void *stack, *fake;
    size_t stack_bytes;
};

static struct sim *sim_of_fibers; /* whose worker runs now; NULL: none does */

/* From one stack to another; the scheduler's is the last of the fibers. */
static void fiber_switch(struct sim_fiber *from, struct sim_fiber *to)
{
    FIBER_LEAVE(from, to);
    (void)swapcontext(&from->context, &to->context);
    FIBER_ENTER(from);
}

static void to_scheduler(struct sim *sim)
{
    sim_of_fibers = NULL;
    fiber_switch(&sim->fibers[sim->running], &sim->fibers[sim->worker_count]);
}

static void fiber_main(unsigned high, unsigned low)
{
    struct sim_fiber *fiber = (struct sim_fiber *)((uintptr_t)high << 32 | (uintptr_t)low);
    struct sim *sim = fiber->sim;
    FIBER_ENTER(fiber);
    for (;;) {
        fiber->result = fiber->step(fiber->argument, fiber->index);
        sim->amid[fiber->index] = false;
        to_scheduler(sim);
    }
}

void sim_spin(void)
{
    if (sim_of_fibers != NULL)
        to_scheduler(sim_of_fibers);
}

void sim_yield(void)
{
    if (sim_of_fibers != NULL && sim_random(sim_of_fibers, 1000) < sim_of_fibers->yield_permille)
        to_scheduler(sim_of_fibers);
}

static void fibers_init(struct sim *sim, pst_step_fn step, void *argument)
{
    sim->fibers = calloc(sim->worker_count + 1, sizeof *sim->fibers);
    PST_ASSERT(sim->fibers != NULL);
    for (uint32_t w = 0; w < sim->worker_count; w++) {
        struct sim_fiber *fiber = &sim->fibers[w];
        *fiber = (struct sim_fiber){
            .sim = sim, .step = step, .argument = argument, .index = w, .stack_bytes = FIBER_STACK_BYTES};
        fiber->stack = malloc(FIBER_STACK_BYTES);
        PST_ASSERT(fiber->stack != NULL && getcontext(&fiber->context) == 0);
        fiber->context.uc_stack.ss_sp = fiber->stack;
        fiber->context.uc_stack.ss_size = FIBER_STACK_BYTES;
        makecontext(&fiber->context, (void (*)(void))fiber_main, 2, (unsigned)((uintptr_t)fiber >> 32),
                    (unsigned)(uintptr_t)fiber);
    }
}

static void fibers_fini(struct sim *sim)
{
    for (uint32_t w = 0; sim->fibers != NULL && w < sim->worker_count; w++)
        free(sim->fibers[w].stack);
    free(sim->fibers);
    sim->fibers = NULL;
}

/* A step, or what is left of one. false: it is not finished yet. */
static bool step_some(struct sim *sim, uint32_t w, pst_step_fn step, void *argument, pst_step *ret_result)
{
    if (sim->fibers == NULL) {
        *ret_result = step(argument, w);
        return true;
    }
    sim->amid[w] = true;
    sim->running = w;
    sim_of_fibers = sim;
    fiber_switch(&sim->fibers[sim->worker_count], &sim->fibers[w]);
    *ret_result = sim->fibers[w].result;
    return !sim->amid[w];
}

void sim_begin(struct sim *sim, uint32_t worker_count, pst_step_fn step, void *argument)
{
    PST_ASSERT(worker_count <= SIM_WORKERS_MAX);
    sim->worker_count = sim->workers_left = worker_count;
    sim->step = step;
    sim->argument = argument;
    for (uint32_t w = 0; w < worker_count; w++) {
        sim->done[w] = sim->asleep[w] = sim->notified[w] = sim->watching[w] = sim->amid[w] = false;
        sim->alarm_ns[w] = 0;
    }
    if (sim->yield_permille != 0)
        fibers_init(sim, step, argument);
    sim->ticked = false;
    sim->sleeps = 0;
}

bool sim_turn(struct sim *sim)
{
    data_arrives(sim);
    interrupt(sim);
    if (sim->job_count != 0 && sim_random(sim, 8) == 0)
        job_run(sim);
    uint32_t w = choose(sim);
    if (w == UINT32_MAX && sim->job_count == 0)
        return false;
    if (w == UINT32_MAX) {
        job_run(sim);
        return true;
    }
    pst_step result;
    if (!sim->amid[w]) {
        sim->asleep[w] = sim->notified[w] = false;
        sim->steps++;
    }
    sim->now_ns += 1 + sim_random(sim, 100000);
    bool finished = step_some(sim, w, sim->step, sim->argument, &result);
    trace(sim, 's', (uint64_t)w << 8 | (uint64_t)(finished ? result : 0));
    if (!finished)
        return true;
    look_for_lost_wake(sim, w, result);
    sim->asleep[w] = result == PST_STEP_IDLE;
    sim->done[w] = result == PST_STEP_DONE;
    sim->workers_left -= sim->done[w];
    sim->sleeps = result == PST_STEP_MORE ? 0 : sim->sleeps;
    return true;
}

void sim_end(struct sim *sim)
{
    while (sim->job_count != 0)
        job_run(sim);
    fibers_fini(sim);
    sim->worker_count = 0;
}

static int sim_run(void *self, uint32_t worker_count, pst_step_fn step, void *argument)
{
    struct sim *sim = self;
    sim_begin(sim, worker_count, step, argument);
    while (sim->workers_left != 0) {
        if (sim_turn(sim))
            continue;
        if (sim->done[0] || ++sim->sleeps > SLEEPS_MAX) {
            sim->stuck = true;
            break;
        }
        idle_time(sim);
    }
    sim_end(sim);
    return sim->stuck ? PST_EINTERNAL : PST_OK;
}

void sim_init(struct sim *sim, uint64_t seed)
{
    *sim = (struct sim){.random = seed, .write_bytes_left = UINT64_MAX};
    sim->world = (struct pst_world){
        .self = sim,
        .now_ns = sim_now,
        .wall_s = sim_wall,
        .random = sim_bytes,
        .cores = sim_cores,
        .file_open = sim_open,
        .file_read = sim_read,
        .file_watch = sim_watch,
        .file_write = sim_write,
        .file_sync = sim_sync,
        .file_lock = sim_lock,
        .file_seek = sim_seek,
        .file_cut = sim_cut,
        .file_close = sim_close,
        .file_size = sim_size,
        .file_scratch = sim_scratch,
        .file_read_at = sim_read_at,
        .file_write_at = sim_write_at,
        .look = sim_look,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .folder_sync = sim_folder_sync,
        .folder_list = sim_folder_list,
        .mkdir = sim_mkdir,
        .rmdir = sim_rmdir,
        .run = sim_run,
        .work = sim_work,
        .wake = sim_wake,
        .alarm = sim_alarm,
    };
}

void sim_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->file_count; i++) {
        free(sim->files[i].name);
        free(sim->files[i].name_synced);
        pst_text_fini(&sim->files[i].bytes);
        pst_text_fini(&sim->files[i].bytes_synced);
    }
    *sim = (struct sim){0};
}
