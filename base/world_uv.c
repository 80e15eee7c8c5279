/* world_uv.c - the real filling of the seam: a thread and a libuv loop for each worker, POSIX files, the system's clock.
 *
 * A worker's loop has an idle handle that calls its step while there is work. Without work it spins for a moment (a sleep and
 * a wake-up cost 50 us here), then stops the idle handle, and the loop waits in epoll for an async, a readable input or, for
 * worker 0, a timer of 100 ms. The order of `sleeping` and `notified` is Dekker's: each side writes its own flag, then reads the
 * other's, both sequentially consistent, so that a wake-up is never lost.
 */
#include "base/world_uv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_PAUSES = 400, STEPS_A_TURN = 16, TICK_MS = 100 };

/* A pipe or terminal is watched by the loops of the workers that found it empty, each with a handle of its own. Whoever closes the file
 * may be another one: each loop closes its handle itself, and the last of them the descriptor, which is nobody else's before that. */
struct file_poll {
    uv_poll_t handle;
    struct worker *worker;
    struct pst_file *file;
    struct file_poll *next; /* among those that are to be closed */
};
struct pst_file {
    int fd;
    bool regular, standard, flags_changed;
    bool awaits; /* a named pipe that nobody has opened to write yet */
    int flags_before;
    struct file_poll *polls[WORKERS_MAX];
    atomic_uint holders; /* once it is closed: handles that are still open, and whoever closes it */
};

static uint64_t world_now_ns(void *self)
{
    (void)self;
    return uv_hrtime();
}

static int64_t world_wall_s(void *self)
{
    (void)self;
    return (int64_t)time(NULL);
}

static int world_random(void *self, void *bytes, size_t byte_count)
{
    (void)self;
    return uv_random(NULL, NULL, bytes, byte_count, 0, NULL) == 0 ? PST_OK : PST_EIO;
}

static uint32_t world_cores(void *self)
{
    (void)self;
    return uv_available_parallelism();
}

/* ---- files ---- */
int pst_uv_failed(int system_errno)
{
    pst_system_error_set(system_errno);
    if (system_errno == ENOENT || system_errno == ENOTDIR)
        return PST_ENOENT;
    if (system_errno == EACCES || system_errno == EPERM || system_errno == EROFS)
        return PST_EREFUSED;
    return system_errno == ENOMEM ? PST_ENOMEM : PST_EIO;
}

/* Reads of pipes and terminals must not block the loop; the flag is shared with other processes, so it is put back. */
static void file_unblock(struct pst_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK) != 0)
        return;
    file->flags_before = flags;
    file->flags_changed = fcntl(file->fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static const int open_flags[] = {
    [PST_OPEN_READ] = O_RDONLY,
    [PST_OPEN_AWAIT] = O_RDONLY | O_NONBLOCK,
    [PST_OPEN_CREATE] = O_WRONLY | O_CREAT | O_TRUNC,
    [PST_OPEN_CONTINUE] = O_WRONLY | O_APPEND,
    [PST_OPEN_ALONE] = O_WRONLY | O_CREAT | O_APPEND,
};

/* Between opening and locking whoever had it may have named it otherwise, or removed it: then it is another file that is wanted. */
static int open_alone(const char *path, int *ret_fd)
{
    struct stat ours, named;
    for (;;) {
        int fd = open(path, open_flags[PST_OPEN_ALONE] | O_CLOEXEC, 0666);
        if (fd < 0)
            return pst_uv_failed(errno);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &ours) != 0) {
            int reason = errno, rc = pst_uv_failed(reason);
            (void)close(fd);
            return reason == EWOULDBLOCK ? PST_EAGAIN : rc;
        }
        *ret_fd = fd;
        if (stat(path, &named) == 0 && named.st_dev == ours.st_dev && named.st_ino == ours.st_ino)
            return PST_OK;
        (void)close(fd);
    }
}

static int world_file_open(void *self, const char *path, pst_open_mode mode, struct pst_file **ret_file)
{
    (void)self;
    struct stat status;
    struct pst_file *file = pst_calloc(1, sizeof *file);
    if (file == NULL)
        return PST_ENOMEM;
    file->standard = strcmp(path, "-") == 0;
    int rc = mode == PST_OPEN_ALONE && !file->standard ? open_alone(path, &file->fd) : PST_OK;
    if (rc != PST_OK) {
        pst_free(file);
        return rc;
    }
    if (file->standard)
        file->fd = mode == PST_OPEN_READ || mode == PST_OPEN_AWAIT ? STDIN_FILENO : STDOUT_FILENO;
    else if (mode != PST_OPEN_ALONE)
        file->fd = open(path, open_flags[mode] | O_CLOEXEC, 0666);
    if (file->fd < 0 || fstat(file->fd, &status) != 0) {
        rc = pst_uv_failed(errno);
        if (file->fd >= 0 && !file->standard)
            (void)close(file->fd);
        pst_free(file);
        return rc;
    }
    if (S_ISDIR(status.st_mode)) {
        if (!file->standard)
            (void)close(file->fd);
        pst_free(file);
        return pst_uv_failed(EISDIR);
    }
    file->regular = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
    file->awaits = mode == PST_OPEN_AWAIT && S_ISFIFO(status.st_mode) && !file->standard;
    if ((mode == PST_OPEN_READ || mode == PST_OPEN_AWAIT) && !file->regular)
        file_unblock(file);
    *ret_file = file;
    return PST_OK;
}

/* A read of a named pipe that nobody has open to write is at its end, whether somebody has had or not. But a poll tells of an end only
 * where there was a writer since it was opened. PST_EAGAIN: there was none. */
static int writer_await(struct pst_file *file)
{
    struct pollfd look = {.fd = file->fd, .events = POLLIN};
    int found;
    do
        found = poll(&look, 1, 0);
    while (found < 0 && errno == EINTR);
    if (found < 0)
        return pst_uv_failed(errno);
    file->awaits = found == 0;
    return found == 0 ? PST_EAGAIN : PST_OK;
}

static int64_t world_file_read(void *self, struct pst_file *file, void *bytes, size_t byte_count)
{
    (void)self;
    for (;;) {
        ssize_t count = read(file->fd, bytes, byte_count);
        if (count == 0 && file->awaits) {
            int rc = writer_await(file);
            if (rc != PST_OK)
                return rc;
            continue; /* what he has written before he was gone */
        }
        file->awaits = file->awaits && count <= 0;
        if (count >= 0)
            return count;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return PST_EAGAIN;
        if (errno != EINTR)
            return pst_uv_failed(errno);
    }
}

static int world_file_write(void *self, struct pst_file *file, const void *bytes, size_t byte_count)
{
    (void)self;
    const char *at = bytes;
    while (byte_count != 0) {
        ssize_t count = write(file->fd, at, byte_count);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return pst_uv_failed(count == 0 ? EIO : errno);
        at += count;
        byte_count -= (size_t)count;
    }
    return PST_OK;
}

static int world_file_sync(void *self, struct pst_file *file)
{
    (void)self;
    return fdatasync(file->fd) == 0 || errno == EINVAL || errno == EROFS ? PST_OK : pst_uv_failed(errno);
}

static int world_file_lock(void *self, struct pst_file *file)
{
    (void)self;
    if (flock(file->fd, LOCK_EX | LOCK_NB) == 0)
        return PST_OK;
    int reason = errno, rc = pst_uv_failed(reason);
    return reason == EWOULDBLOCK ? PST_EREFUSED : rc;
}

static int world_file_seek(void *self, struct pst_file *file, uint64_t offset)
{
    (void)self;
    if (offset > INT64_MAX)
        return pst_uv_failed(EINVAL);
    return lseek(file->fd, (off_t)offset, SEEK_SET) >= 0 ? PST_OK : pst_uv_failed(errno);
}

static int world_file_cut(void *self, struct pst_file *file, uint64_t byte_count)
{
    (void)self;
    if (byte_count > INT64_MAX)
        return pst_uv_failed(EINVAL);
    return ftruncate(file->fd, (off_t)byte_count) == 0 ? PST_OK : pst_uv_failed(errno);
}

static int file_release(struct pst_file *file)
{
    if (atomic_fetch_sub_explicit(&file->holders, 1, memory_order_acq_rel) != 1)
        return PST_OK;
    int rc = file->standard || close(file->fd) == 0 ? PST_OK : pst_uv_failed(errno);
    pst_free(file);
    return rc;
}

static void on_poll_closed(uv_handle_t *handle) { pst_free(handle); /* the first in its struct file_poll */ }

/* The worker's: what others have closed. */
static void polls_close(struct worker *worker)
{
    struct file_poll *poll = atomic_exchange_explicit(&worker->closing, NULL, memory_order_acquire);
    for (struct file_poll *next; poll != NULL; poll = next) {
        struct pst_file *file = poll->file;
        next = poll->next;
        uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
        (void)file_release(file); /* it is not looked at any more */
    }
}

static void poll_leave(struct file_poll *poll)
{
    struct worker *worker = poll->worker;
    struct file_poll *first = atomic_load_explicit(&worker->closing, memory_order_relaxed);
    do
        poll->next = first;
    while (!atomic_compare_exchange_weak_explicit(&worker->closing, &first, poll, memory_order_release,
                                                  memory_order_relaxed));
    (void)uv_async_send(&worker->async);
}

/* Where the loops are no more, their handles are not either. */
static int world_file_close(void *self, struct pst_file *file)
{
    const struct uv_world *world = self;
    if (file->flags_changed)
        (void)fcntl(file->fd, F_SETFL, file->flags_before);
    uint32_t poll_count = 0;
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        poll_count += world->workers != NULL && file->polls[i] != NULL;
    atomic_store_explicit(&file->holders, poll_count + 1, memory_order_relaxed);
    for (uint32_t i = 0; i < WORKERS_MAX && poll_count != 0; i++)
        if (file->polls[i] != NULL)
            poll_leave(file->polls[i]);
    return file_release(file);
}

static int world_file_size(void *self, struct pst_file *file, uint64_t *ret_bytes)
{
    (void)self;
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return pst_uv_failed(errno);
    if (!S_ISREG(status.st_mode))
        return PST_EINVAL;
    *ret_bytes = (uint64_t)status.st_size;
    return PST_OK;
}

/* O_TMPFILE where the file system has it, else a name for a moment. */
static int scratch_open(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    struct pst_text path = {0};
    if (pst_text_printf(&path, "%s/.penstock-spill-XXXXXX", folder) != PST_OK) {
        errno = ENOMEM;
        return -1;
    }
    fd = mkostemp(path.bytes, O_CLOEXEC);
    int reason = errno;
    if (fd >= 0)
        (void)unlink(path.bytes);
    pst_text_fini(&path);
    errno = reason;
    return fd;
}

static int world_file_scratch(void *self, const char *folder, struct pst_file **ret_file)
{
    (void)self;
    struct pst_file *file = pst_calloc(1, sizeof *file);
    if (file == NULL)
        return PST_ENOMEM;
    file->fd = scratch_open(folder);
    if (file->fd < 0) {
        int rc = pst_uv_failed(errno);
        pst_free(file);
        return rc;
    }
    file->regular = true;
    *ret_file = file;
    return PST_OK;
}

static int world_file_read_at(void *self, struct pst_file *file, uint64_t offset, void *bytes, size_t byte_count)
{
    (void)self;
    for (char *at = bytes; byte_count != 0;) {
        ssize_t count = pread(file->fd, at, byte_count, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return pst_uv_failed(count == 0 ? EIO : errno);
        at += count;
        offset += (uint64_t)count;
        byte_count -= (size_t)count;
    }
    return PST_OK;
}

static int world_file_write_at(void *self, struct pst_file *file, uint64_t offset, const void *bytes, size_t byte_count)
{
    (void)self;
    for (const char *at = bytes; byte_count != 0;) {
        ssize_t count = pwrite(file->fd, at, byte_count, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return pst_uv_failed(count == 0 ? EIO : errno);
        at += count;
        offset += (uint64_t)count;
        byte_count -= (size_t)count;
    }
    return PST_OK;
}

static int world_look(void *self, const char *path, uint64_t ret_id[2])
{
    (void)self;
    struct stat status;
    if (stat(path, &status) != 0)
        return 0;
    ret_id[0] = (uint64_t)status.st_dev;
    ret_id[1] = (uint64_t)status.st_ino;
    return S_ISREG(status.st_mode) ? 1 : 2;
}

static int world_rename(void *self, const char *from, const char *to)
{
    (void)self;
    return rename(from, to) == 0 ? PST_OK : pst_uv_failed(errno);
}

static int world_unlink(void *self, const char *path)
{
    (void)self;
    return unlink(path) == 0 ? PST_OK : pst_uv_failed(errno);
}

static int world_folder_sync(void *self, const char *path)
{
    (void)self;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return pst_uv_failed(errno);
    /* EINVAL: a file system that has nothing to sync for a folder */
    int rc = fsync(fd) == 0 || errno == EINVAL ? PST_OK : pst_uv_failed(errno);
    (void)close(fd);
    return rc;
}

static int world_folder_list(void *self, const char *path, struct pst_text *ret_names)
{
    (void)self;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return pst_uv_failed(errno);
    const struct dirent *entry;
    errno = 0;
    while (!ret_names->failed && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strchr(entry->d_name, '\n') == NULL)
            (void)pst_text_printf(ret_names, "%s\n", entry->d_name);
        errno = 0;
    }
    int rc = ret_names->failed ? PST_ENOMEM : errno != 0 ? pst_uv_failed(errno) : PST_OK;
    (void)closedir(folder);
    return rc;
}

/* A folder that was just made is as lasting as what will be synced inside it. */
static int parent_sync(const char *path)
{
    char *parent = pst_strdup(path);
    if (parent == NULL)
        return PST_ENOMEM;
    char *slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = '\0';
    int rc = world_folder_sync(NULL, slash != NULL ? parent : ".");
    pst_free(parent);
    return rc;
}

static int mkdir_one(const char *path)
{
    struct stat status;
    if (mkdir(path, 0777) == 0)
        return parent_sync(path);
    int reason = errno;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return PST_OK;
    return pst_uv_failed(reason);
}

static int world_rmdir(void *self, const char *path)
{
    (void)self;
    return rmdir(path) == 0 ? PST_OK : pst_uv_failed(errno);
}

static int world_mkdir(void *self, const char *path)
{
    (void)self;
    char *part = pst_strdup(path);
    if (part == NULL)
        return PST_ENOMEM;
    int rc = PST_OK;
    for (char *slash = strchr(part + (part[0] != '\0'), '/'); slash != NULL && rc == PST_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = mkdir_one(part);
        *slash = '/';
    }
    if (rc == PST_OK)
        rc = mkdir_one(part);
    pst_free(part);
    return rc;
}

/* ---- workers ---- */
static void on_idle(uv_idle_t *idle);

void pst_uv_awake(struct worker *worker)
{
    if (worker->done) /* its handles are closed next, and one that is started again would never be */
        return;
    atomic_store_explicit(&worker->sleeping, false, memory_order_relaxed);
    (void)uv_idle_start(&worker->idle, on_idle);
}

static bool notified_after_spin(struct worker *worker)
{
    for (int i = 0; i < SPIN_PAUSES; i++) {
        if (atomic_load_explicit(&worker->notified, memory_order_relaxed))
            return true;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    return false;
}

static void worker_turn(uv_idle_t *idle)
{
    struct worker *worker = idle->data;
    for (int i = 0; i < STEPS_A_TURN; i++) {
        (void)atomic_exchange(&worker->notified, false); /* what was written before the wake-up is seen by the step */
        pst_step step = worker->world->step(worker->world->argument, worker->index);
        if (pst_net_flush(worker) && step == PST_STEP_IDLE)
            step = PST_STEP_MORE;
        if (step == PST_STEP_DONE) {
            worker->done = true;
            (void)uv_idle_stop(&worker->idle);
            return;
        }
        if (step == PST_STEP_MORE || notified_after_spin(worker))
            continue;
        atomic_store(&worker->sleeping, true);
        if (!atomic_load(&worker->notified)) {
            (void)uv_idle_stop(&worker->idle);
            return;
        }
        atomic_store(&worker->sleeping, false);
    }
}

static void on_idle(uv_idle_t *idle) { worker_turn(idle); }
static void on_tick(uv_timer_t *timer) { pst_uv_awake(timer->data); }

static void on_async(uv_async_t *async)
{
    polls_close(async->data);
    pst_net_arrive(async->data);
    pst_uv_awake(async->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error shows at the next read */
    (void)events;
    (void)uv_poll_stop(poll);
    pst_uv_awake(poll->data);
}

static int world_file_watch(void *self, struct pst_file *file, uint32_t worker_index)
{
    struct uv_world *world = self;
    struct worker *worker = &world->workers[worker_index];
    PST_ASSERT(worker_index < world->worker_count);
    if (file->polls[worker_index] == NULL) {
        struct file_poll *poll = pst_calloc(1, sizeof *poll);
        if (poll == NULL)
            return PST_ENOMEM;
        int rc = uv_poll_init(&worker->loop, &poll->handle, file->fd);
        if (rc != 0) {
            pst_free(poll);
            return pst_uv_failed(-rc);
        }
        poll->handle.data = poll->worker = worker;
        poll->file = file;
        file->polls[worker_index] = poll;
    }
    int rc = uv_poll_start(&file->polls[worker_index]->handle, UV_READABLE | UV_DISCONNECT, on_readable);
    return rc == 0 ? PST_OK : pst_uv_failed(-rc);
}

/* ---- alarm: libuv's timers count whole milliseconds ---- */
enum { NS_A_MS = 1000 * 1000 };

static void on_alarm(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    if (uv_hrtime() < worker->alarm_ns)
        (void)uv_timer_start(timer, on_alarm, 1, 0);
    else
        pst_uv_awake(worker);
}

static int world_alarm(void *self, uint32_t worker_index, uint64_t ns)
{
    struct uv_world *world = self;
    struct worker *worker = &world->workers[worker_index];
    PST_ASSERT(worker_index < world->worker_count);
    if (ns == 0)
        return uv_timer_stop(&worker->alarm) == 0 ? PST_OK : PST_EIO;
    uint64_t now = uv_hrtime();
    worker->alarm_ns = ns;
    uv_update_time(&worker->loop); /* else it would count from when the loop woke up */
    uint64_t wait_ns = ns > now ? ns - now : 0;
    int rc = uv_timer_start(&worker->alarm, on_alarm, wait_ns / NS_A_MS + (wait_ns % NS_A_MS != 0), 0);
    return rc == 0 ? PST_OK : pst_uv_failed(-rc);
}

/* What a first loop takes. libuv ends the process where it cannot have the pipe for its signals; we want a sentence. */
static int descriptors_probe(void)
{
    int ends[4];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    int reason = pipe2(ends + 2, O_CLOEXEC) != 0 ? errno : 0;
    for (int i = 0; i < (reason == 0 ? 4 : 2); i++)
        (void)close(ends[i]);
    return reason;
}

static int worker_init(struct worker *worker)
{
    int rc = -descriptors_probe();
    if (rc == 0)
        rc = uv_loop_init(&worker->loop);
    if (rc != 0)
        return pst_uv_failed(-rc);
    if (pst_net_worker_init(worker) != PST_OK) {
        (void)uv_loop_close(&worker->loop);
        return PST_ENOMEM;
    }
    worker->loop_ready = true;
    worker->async.data = worker->idle.data = worker->tick.data = worker->alarm.data = worker;
    rc = uv_async_init(&worker->loop, &worker->async, on_async);
    if (rc != 0)
        return pst_uv_failed(-rc);
    (void)uv_idle_init(&worker->loop, &worker->idle);
    (void)uv_timer_init(&worker->loop, &worker->tick);
    (void)uv_timer_init(&worker->loop, &worker->alarm);
    (void)uv_idle_start(&worker->idle, on_idle);
    if (worker->index == 0)
        (void)uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
    return PST_OK;
}

static void close_any(uv_handle_t *handle, void *argument)
{
    (void)argument;
    if (!uv_is_closing(handle))
        uv_close(handle, handle->type == UV_POLL ? on_poll_closed : NULL);
}

/* Closes all handles, and waits for the jobs. */
static void worker_drain(struct worker *worker)
{
    if (!worker->loop_ready)
        return;
    pst_net_worker_drain(worker);
    polls_close(worker);
    uv_walk(&worker->loop, close_any, NULL);
    while (uv_run(&worker->loop, UV_RUN_DEFAULT) != 0)
        continue;
}

static void worker_fini(struct worker *worker)
{
    if (!worker->loop_ready)
        return;
    PST_ASSERT(uv_loop_close(&worker->loop) == 0);
    pst_net_worker_fini(worker);
}

static void worker_main(void *argument)
{
    struct worker *worker = argument;
    while (!worker->done)
        (void)uv_run(&worker->loop, UV_RUN_ONCE);
    pst_net_hurry(worker);
    while (worker->net.farewell_count != 0)
        (void)uv_run(&worker->loop, UV_RUN_ONCE);
}

/* Threads wait here until all of them are there: a run has all its workers or none. */
static void thread_main(void *argument)
{
    struct worker *worker = argument;
    uv_sem_wait(&worker->world->start);
    if (!worker->world->cancelled)
        worker_main(worker);
}

/* Starts the threads of workers 1.. and runs worker 0 here; when a thread cannot be had, those that started leave at once. */
static int threads_run(struct uv_world *world)
{
    uint32_t thread_count = 1;
    int error = uv_sem_init(&world->start, 0);
    if (error != 0)
        return pst_uv_failed(-error);
    world->cancelled = false;
    for (; thread_count < world->worker_count && error == 0; thread_count += error == 0)
        error = uv_thread_create(&world->workers[thread_count].thread, thread_main, &world->workers[thread_count]);
    world->cancelled = error != 0;
    for (uint32_t i = 1; i < thread_count; i++)
        uv_sem_post(&world->start);
    if (error == 0)
        worker_main(&world->workers[0]);
    for (uint32_t i = 1; i < thread_count; i++)
        (void)uv_thread_join(&world->workers[i].thread);
    uv_sem_destroy(&world->start);
    return error == 0 ? PST_OK : pst_uv_failed(-error);
}

static int world_run(void *self, uint32_t worker_count, pst_step_fn step, void *argument)
{
    struct uv_world *world = self;
    PST_ASSERT(worker_count >= 1 && worker_count <= WORKERS_MAX && world->workers == NULL);
    world->workers = pst_aligned(64, worker_count * sizeof *world->workers);
    if (world->workers == NULL)
        return PST_ENOMEM;
    memset(world->workers, 0, worker_count * sizeof *world->workers);
    world->worker_count = worker_count;
    world->step = step;
    world->argument = argument;
    int rc = PST_OK;
    for (uint32_t i = 0; i < worker_count && rc == PST_OK; i++) {
        world->workers[i].world = world;
        world->workers[i].index = i;
        rc = worker_init(&world->workers[i]);
    }
    if (rc == PST_OK)
        rc = threads_run(world);
    for (uint32_t i = 0; i < worker_count; i++)
        worker_drain(&world->workers[i]);
    for (uint32_t i = 0; i < worker_count;
         i++) /* when no job is left that could be given one of these descriptors again */
        worker_fini(&world->workers[i]);
    pst_free(world->workers);
    world->workers = NULL;
    return rc;
}

/* ---- jobs: libuv's pool ---- */
struct job {
    uv_work_t request;
    struct worker *worker;
    void (*run)(void *argument);
    void *argument;
};

static void on_job(uv_work_t *request)
{
    struct job *job = request->data;
    job->run(job->argument);
}

static void on_job_done(uv_work_t *request, int status)
{
    struct job *job = request->data;
    PST_ASSERT(status == 0); /* nobody cancels */
    pst_uv_awake(job->worker);
    pst_free(job);
}

static int world_work(void *self, uint32_t worker_index, void (*run)(void *argument), void *argument)
{
    struct uv_world *world = self;
    struct worker *worker = &world->workers[worker_index];
    struct job *job = pst_calloc(1, sizeof *job);
    if (job == NULL)
        return PST_ENOMEM;
    *job = (struct job){.worker = worker, .run = run, .argument = argument};
    job->request.data = job;
    int rc = uv_queue_work(&worker->loop, &job->request, on_job, on_job_done);
    if (rc == 0)
        return PST_OK;
    pst_free(job);
    return pst_uv_failed(-rc);
}

static void world_wake(void *self, uint32_t worker_index)
{
    struct uv_world *world = self;
    if (world->workers == NULL)
        return; /* no run is on */
    struct worker *worker = &world->workers[worker_index];
    if (!atomic_exchange(&worker->notified, true) && atomic_load(&worker->sleeping))
        (void)uv_async_send(&worker->async);
}

struct pst_world *pst_world_uv(void)
{
    struct uv_world *world = pst_calloc(1, sizeof *world);
    if (world == NULL)
        return NULL;
    world->world = (struct pst_world){
        .self = world,
        .now_ns = world_now_ns,
        .wall_s = world_wall_s,
        .random = world_random,
        .cores = world_cores,
        .file_open = world_file_open,
        .file_read = world_file_read,
        .file_watch = world_file_watch,
        .file_write = world_file_write,
        .file_sync = world_file_sync,
        .file_lock = world_file_lock,
        .file_seek = world_file_seek,
        .file_cut = world_file_cut,
        .file_close = world_file_close,
        .file_size = world_file_size,
        .file_scratch = world_file_scratch,
        .file_read_at = world_file_read_at,
        .file_write_at = world_file_write_at,
        .look = world_look,
        .rename = world_rename,
        .unlink = world_unlink,
        .folder_sync = world_folder_sync,
        .folder_list = world_folder_list,
        .mkdir = world_mkdir,
        .rmdir = world_rmdir,
        .run = world_run,
        .work = world_work,
        .wake = world_wake,
        .alarm = world_alarm,
    };
    pst_net_fill(&world->world);
    return &world->world;
}

void pst_world_uv_free(struct pst_world *world)
{
    if (world == NULL)
        return;
    struct uv_world *uv = world->self;
    pst_tls_free(uv->tls);
    pst_free(uv);
}
