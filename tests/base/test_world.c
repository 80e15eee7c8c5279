/* test_world.c - the real world: files and folders, and workers that wake each other. */
#include "base/base.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct pst_world *world;
static char folder[64];

static int begin(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/penstock-test-XXXXXX");
    world = pst_world_uv();
    return world != NULL && mkdtemp(folder) != NULL ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    pst_world_uv_free(world);
    return system(command);
}

static const char *path(const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *to = paths[next++ % 4];
    (void)snprintf(to, sizeof paths[0], "%s/%s", folder, name);
    return to;
}

static void put(const char *name, const char *bytes)
{
    struct pst_file *file;
    assert_int_equal(world->file_open(world->self, path(name), PST_OPEN_CREATE, &file), PST_OK);
    assert_int_equal(world->file_write(world->self, file, bytes, strlen(bytes)), PST_OK);
    assert_int_equal(world->file_sync(world->self, file), PST_OK);
    assert_int_equal(world->file_close(world->self, file), PST_OK);
}

static void files_are_written_and_read_back(void **state)
{
    (void)state;
    struct pst_file *file;
    char bytes[20];
    uint64_t size = 0;
    put("a", "first contents");
    put("a", "second");
    assert_int_equal(world->file_open(world->self, path("a"), PST_OPEN_READ, &file), PST_OK);
    assert_int_equal(world->file_size(world->self, file, &size), PST_OK);
    assert_int_equal(size, 6);
    assert_int_equal(world->file_read(world->self, file, bytes, 4), 4);
    assert_int_equal(world->file_read(world->self, file, bytes + 4, 16), 2);
    assert_memory_equal(bytes, "second", 6);
    assert_int_equal(world->file_read(world->self, file, bytes, 16), 0);
    assert_int_equal(world->file_close(world->self, file), PST_OK);
}

static void what_cannot_be_opened_says_why(void **state)
{
    (void)state;
    struct pst_file *file = NULL;
    assert_int_equal(world->file_open(world->self, path("none"), PST_OPEN_READ, &file), PST_ENOENT);
    assert_string_equal(pst_system_error(), "No such file or directory");
    assert_int_equal(world->file_open(world->self, folder, PST_OPEN_READ, &file), PST_EIO);
    assert_string_equal(pst_system_error(), "Is a directory");
    assert_int_equal(world->file_open(world->self, folder, PST_OPEN_CREATE, &file), PST_EIO);
    assert_int_equal(world->file_open(world->self, path("none/x"), PST_OPEN_CREATE, &file), PST_ENOENT);
    put("plain", "x");
    assert_int_equal(world->file_open(world->self, path("plain/x"), PST_OPEN_READ, &file), PST_ENOENT);
    if (geteuid() != 0) {
        assert_int_equal(chmod(path("plain"), 0), 0);
        assert_int_equal(world->file_open(world->self, path("plain"), PST_OPEN_READ, &file), PST_EREFUSED);
        assert_string_equal(pst_system_error(), "Permission denied");
    }
    pst_malloc_fail_at(1);
    assert_int_equal(world->file_open(world->self, path("a"), PST_OPEN_READ, &file), PST_ENOMEM);
    assert_null(file);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    struct pst_file *file;
    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_int_equal(world->file_open(world->self, "/dev/full", PST_OPEN_CREATE, &file), PST_OK);
    assert_int_equal(world->file_write(world->self, file, "x", 1), PST_EIO);
    assert_string_equal(pst_system_error(), "No space left on device");
    assert_int_equal(world->file_close(world->self, file), PST_OK);
}

static void files_are_renamed_and_removed(void **state)
{
    (void)state;
    put("from", "x");
    put("to", "old");
    assert_int_equal(world->rename(world->self, path("from"), path("to")), PST_OK);
    assert_int_equal(access(path("from"), F_OK), -1);
    assert_int_equal(world->rename(world->self, path("from"), path("to")), PST_ENOENT);
    assert_int_equal(world->rename(world->self, path("to"), path("none/to")), PST_ENOENT);
    assert_int_equal(world->unlink(world->self, path("to")), PST_OK);
    assert_int_equal(world->unlink(world->self, path("to")), PST_ENOENT);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(world->mkdir(world->self, path("x/y/z")), PST_OK);
    assert_int_equal(stat(path("x/y/z"), &status), 0);
    assert_true(S_ISDIR(status.st_mode));
    assert_int_equal(world->mkdir(world->self, path("x/y/z")), PST_OK);
    assert_int_equal(world->mkdir(world->self, path("x/y//w/")), PST_OK);
    assert_int_equal(stat(path("x/y/w"), &status), 0);
    put("file", "x");
    assert_true(world->mkdir(world->self, path("file")) < 0);
    assert_true(world->mkdir(world->self, path("file/y")) < 0);
    assert_int_equal(world->mkdir(world->self, "/"), PST_OK);
    assert_true(world->mkdir(world->self, "") < 0);
    pst_malloc_fail_at(1);
    assert_int_equal(world->mkdir(world->self, path("q")), PST_ENOMEM);
}

static void the_clock_never_goes_back_and_bytes_are_random(void **state)
{
    (void)state;
    uint64_t before = world->now_ns(world->self);
    unsigned char a[32] = {0}, b[32] = {0};
    for (int i = 0; i < 1000; i++) {
        uint64_t now = world->now_ns(world->self);
        assert_true(now >= before);
        before = now;
    }
    assert_int_equal(world->random(world->self, a, sizeof a), PST_OK);
    assert_int_equal(world->random(world->self, b, sizeof b), PST_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

/* ---- workers ---- */
enum { ROUNDS = 10000 };

struct ring {
    uint32_t worker_count;
    atomic_uint token; /* of worker token % worker_count; at ROUNDS all may go */
};

/* Whoever has the token gives it to the next and wakes it; without it a worker sleeps. One lost wake-up and all sleep for ever,
 * or, where it was worker 0's, until its timer goes off: 10000 of those would take 1000 s. */
static pst_step pass_on(void *argument, uint32_t worker)
{
    struct ring *ring = argument;
    unsigned token = atomic_load(&ring->token);
    if (token >= ROUNDS)
        return PST_STEP_DONE;
    if (token % ring->worker_count != worker)
        return PST_STEP_IDLE;
    atomic_store(&ring->token, token + 1);
    for (uint32_t w = 0; w < ring->worker_count; w++)
        if (w == (token + 1) % ring->worker_count || token + 1 >= ROUNDS)
            world->wake(world->self, w);
    return token % 3 == 0 ? PST_STEP_MORE : PST_STEP_IDLE;
}

static void workers_wake_each_other_in_a_ring(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 4; workers++) {
        struct ring ring = {.worker_count = workers};
        uint64_t begun = world->now_ns(world->self);
        assert_int_equal(world->run(world->self, workers, pass_on, &ring), PST_OK);
        assert_int_equal(atomic_load(&ring.token), ROUNDS);
        assert_true(world->now_ns(world->self) - begun < (uint64_t)60 * 1000 * 1000 * 1000);
    }
}

struct pipe_case {
    int ends[2];
    struct pst_file *file;
    uint32_t reader;
    unsigned bytes, waits;
};

/* Worker 0 writes a byte whenever it is woken by its timer, the reader watches. */
static pst_step read_pipe(void *argument, uint32_t worker)
{
    struct pipe_case *c = argument;
    if (worker != c->reader) {
        if (c->ends[1] >= 0 && write(c->ends[1], "x", 1) == 1 && ++c->waits == 3) {
            (void)close(c->ends[1]);
            c->ends[1] = -1;
            return PST_STEP_DONE;
        }
        return PST_STEP_IDLE;
    }
    char bytes[10];
    int64_t count = world->file_read(world->self, c->file, bytes, sizeof bytes);
    if (count == PST_EAGAIN)
        return world->file_watch(world->self, c->file, worker) == PST_OK ? PST_STEP_IDLE : PST_STEP_DONE;
    if (count <= 0)
        return PST_STEP_DONE;
    c->bytes += (unsigned)count;
    return PST_STEP_MORE;
}

static void a_watched_pipe_wakes_its_reader(void **state)
{
    (void)state;
    struct pipe_case c = {.reader = 1};
    char name[40];
    assert_int_equal(pipe(c.ends), 0);
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", c.ends[0]);
    assert_int_equal(world->file_open(world->self, name, PST_OPEN_READ, &c.file), PST_OK);
    uint64_t size;
    assert_int_equal(world->file_size(world->self, c.file, &size), PST_EINVAL);
    assert_int_equal(world->run(world->self, 2, read_pipe, &c), PST_OK);
    assert_int_equal(c.bytes, 3);
    assert_int_equal(world->file_close(world->self, c.file), PST_OK);
    (void)close(c.ends[0]);
}

struct awaited {
    struct pst_file *file;
    int writer;
    uint32_t read_count, bytes;
    bool writes, ended;
};

/* Worker 1 reads a named pipe that nobody has opened to write; when it waits, worker 0 opens it, then writes a byte, then closes it. */
static pst_step await_writer(void *argument, uint32_t worker)
{
    struct awaited *a = argument;
    char bytes[10];
    if (worker == 0) {
        if (a->writer < 0)
            a->writer = open(path("awaited"), O_WRONLY | O_CLOEXEC);
        else if (a->writes && !a->ended)
            a->ended = write(a->writer, "x", 1) == 1 && close(a->writer) == 0;
        a->writes = true;
        return a->ended || a->writer < 0 ? PST_STEP_DONE : PST_STEP_IDLE;
    }
    int64_t count = world->file_read(world->self, a->file, bytes, sizeof bytes);
    a->read_count++;
    if (count == PST_EAGAIN)
        return world->file_watch(world->self, a->file, worker) == PST_OK ? PST_STEP_IDLE : PST_STEP_DONE;
    if (count <= 0)
        return PST_STEP_DONE;
    a->bytes += (uint32_t)count;
    return PST_STEP_MORE;
}

static void a_named_pipe_is_opened_before_it_has_a_writer(void **state)
{
    (void)state;
    struct awaited a = {.writer = -1};
    char byte;
    (void)alarm(60); /* a reader that waits in open() would wait for ever */
    assert_int_equal(mkfifo(path("awaited"), 0600), 0);
    assert_int_equal(world->file_open(world->self, path("awaited"), PST_OPEN_AWAIT, &a.file), PST_OK);
    assert_int_equal(world->file_read(world->self, a.file, &byte, 1), PST_EAGAIN);
    assert_int_equal(world->file_read(world->self, a.file, &byte, 1), PST_EAGAIN);
    int writer = open(path("awaited"), O_WRONLY | O_CLOEXEC);
    assert_true(writer >= 0);
    assert_int_equal(world->file_read(world->self, a.file, &byte, 1), PST_EAGAIN);
    assert_int_equal(close(writer), 0);
    assert_int_equal(world->file_read(world->self, a.file, &byte, 1), 0); /* he has written nothing */
    assert_int_equal(world->file_close(world->self, a.file), PST_OK);

    assert_int_equal(world->file_open(world->self, path("awaited"), PST_OPEN_AWAIT, &a.file), PST_OK);
    assert_int_equal(world->run(world->self, 2, await_writer, &a), PST_OK);
    assert_int_equal(a.bytes, 1);
    assert_true(a.ended && a.read_count < 20); /* it slept meanwhile */
    assert_int_equal(world->file_close(world->self, a.file), PST_OK);
    (void)alarm(0);
}

struct watched_again {
    int ends[2];
    struct pst_file *file;
    enum { TO_WATCH, WATCHED, OVER } _Atomic phase;
    unsigned rounds;
    int error;
};

static void pipe_open(struct watched_again *w)
{
    char name[40];
    assert_int_equal(pipe(w->ends), 0);
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", w->ends[0]);
    assert_int_equal(world->file_open(world->self, name, PST_OPEN_READ, &w->file), PST_OK);
    (void)close(w->ends[0]);
}

static void pipe_close(struct watched_again *w)
{
    assert_int_equal(world->file_close(world->self, w->file), PST_OK);
    (void)close(w->ends[1]);
}

/* Worker 1 watches a pipe, worker 0 closes it and opens the next one, whose descriptor may have the same number. */
static pst_step watch_again(void *argument, uint32_t worker)
{
    struct watched_again *w = argument;
    int phase = atomic_load(&w->phase);
    if (phase == TO_WATCH && worker == 1) {
        w->error = world->file_watch(world->self, w->file, worker);
        atomic_store(&w->phase, w->error == PST_OK ? WATCHED : OVER);
        world->wake(world->self, 0);
    } else if (phase == WATCHED && worker == 0) {
        pipe_close(w);
        pipe_open(w);
        atomic_store(&w->phase, ++w->rounds == 200 ? OVER : TO_WATCH);
        world->wake(world->self, 1);
    }
    return atomic_load(&w->phase) == OVER ? PST_STEP_DONE : PST_STEP_IDLE;
}

static void a_descriptor_that_was_watched_may_be_another_files(void **state)
{
    (void)state;
    struct watched_again w = {.phase = TO_WATCH};
    pipe_open(&w);
    assert_int_equal(world->run(world->self, 2, watch_again, &w), PST_OK);
    assert_int_equal(w.error, PST_OK);
    assert_int_equal(w.rounds, 200);
    pipe_close(&w);
}

/* ---- jobs ---- */
struct late_job {
    atomic_bool started, ended;
    uint32_t pauses;
};

static void late_job_run(void *argument)
{
    struct late_job *job = argument;
    atomic_store(&job->started, true);
    for (uint32_t i = 0; i < job->pauses; i++)
        (void)world->now_ns(world->self);
    atomic_store(&job->ended, true);
}

static pst_step job_and_done(void *argument, uint32_t index)
{
    struct late_job *job = argument;
    assert_int_equal(world->work(world->self, index, late_job_run, job), PST_OK);
    while (!atomic_load(&job->started))
        continue;
    return PST_STEP_DONE;
}

/* Of any length, so that some end just when the worker's loop is taken down. */
static void a_run_ends_after_its_last_job(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        struct late_job job = {.pauses = round % 700 * 2};
        assert_int_equal(world->run(world->self, 1, job_and_done, &job), PST_OK);
        assert_true(atomic_load(&job.ended));
    }
}

static void folders_are_listed_and_files_continued(void **state)
{
    (void)state;
    struct pst_file *file;
    struct pst_text names = {0};
    uint64_t size;
    assert_int_equal(world->mkdir(world->self, path("listed")), PST_OK);
    put("listed/one", "0123456789");
    assert_int_equal(world->folder_list(world->self, path("listed"), &names), PST_OK);
    assert_string_equal(names.bytes, "one\n");
    pst_text_fini(&names);
    assert_int_equal(world->folder_list(world->self, path("nowhere"), &names), PST_ENOENT);
    assert_int_equal(world->folder_sync(world->self, path("listed")), PST_OK);
    assert_int_equal(world->folder_sync(world->self, path("nowhere")), PST_ENOENT);
    assert_int_equal(world->file_open(world->self, path("listed/two"), PST_OPEN_CONTINUE, &file), PST_ENOENT);
    assert_int_equal(world->file_open(world->self, path("listed/one"), PST_OPEN_CONTINUE, &file), PST_OK);
    assert_int_equal(world->file_cut(world->self, file, 4), PST_OK);
    assert_int_equal(world->file_write(world->self, file, "xy", 2), PST_OK);
    assert_int_equal(world->file_size(world->self, file, &size), PST_OK);
    assert_int_equal(size, 6);
    assert_int_equal(world->file_close(world->self, file), PST_OK);
    char bytes[8] = {0};
    assert_int_equal(world->file_open(world->self, path("listed/one"), PST_OPEN_READ, &file), PST_OK);
    assert_int_equal(world->file_seek(world->self, file, 3), PST_OK);
    assert_int_equal(world->file_read(world->self, file, bytes, 8), 3);
    assert_string_equal(bytes, "3xy");
    assert_int_equal(world->file_close(world->self, file), PST_OK);
}

static void who_writes_alone_touches_nothing_before_it_is(void **state)
{
    (void)state;
    struct pst_file *first, *second;
    uint64_t size;
    char named[200];
    assert_int_equal(world->mkdir(world->self, path("alone")), PST_OK);
    assert_int_equal(world->file_open(world->self, path("alone/part"), PST_OPEN_ALONE, &first),
                     PST_OK); /* it is made */
    assert_int_equal(world->file_write(world->self, first, "0123", 4), PST_OK);
    assert_int_equal(world->file_open(world->self, path("alone/part"), PST_OPEN_ALONE, &second), PST_EAGAIN);
    assert_int_equal(world->file_size(world->self, first, &size), PST_OK);
    assert_int_equal(size, 4);
    (void)snprintf(named, sizeof named, "%s", path("alone/whole"));
    assert_int_equal(world->rename(world->self, path("alone/part"), named), PST_OK);
    assert_int_equal(world->file_open(world->self, path("alone/part"), PST_OPEN_ALONE, &second),
                     PST_OK); /* another one */
    assert_int_equal(world->file_cut(world->self, second, 0), PST_OK);
    assert_int_equal(world->file_close(world->self, second), PST_OK);
    assert_int_equal(world->file_open(world->self, named, PST_OPEN_ALONE, &second), PST_EAGAIN);
    assert_int_equal(world->file_close(world->self, first), PST_OK);
    assert_int_equal(world->file_open(world->self, named, PST_OPEN_ALONE, &second), PST_OK);
    assert_int_equal(world->file_write(world->self, second, "45", 2), PST_OK);
    assert_int_equal(world->file_size(world->self, second, &size), PST_OK);
    assert_int_equal(size, 6);
    assert_int_equal(world->file_close(world->self, second), PST_OK);
    assert_int_equal(world->file_open(world->self, path("alone"), PST_OPEN_ALONE, &second), PST_EIO);
    assert_int_equal(world->file_open(world->self, path("none/x"), PST_OPEN_ALONE, &second), PST_ENOENT);
}

static void a_run_without_memory_has_no_workers(void **state)
{
    (void)state;
    struct ring ring = {.worker_count = 2, .token = ROUNDS};
    pst_malloc_fail_at(1);
    assert_int_equal(world->run(world->self, 2, pass_on, &ring), PST_ENOMEM);
    pst_malloc_fail_at(1);
    assert_null(pst_world_uv());
    assert_int_equal(world->run(world->self, 2, pass_on, &ring), PST_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_written_and_read_back),
        cmocka_unit_test(what_cannot_be_opened_says_why),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(files_are_renamed_and_removed),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(the_clock_never_goes_back_and_bytes_are_random),
        cmocka_unit_test(workers_wake_each_other_in_a_ring),
        cmocka_unit_test(a_watched_pipe_wakes_its_reader),
        cmocka_unit_test(a_named_pipe_is_opened_before_it_has_a_writer),
        cmocka_unit_test(a_descriptor_that_was_watched_may_be_another_files),
        cmocka_unit_test(a_run_ends_after_its_last_job),
        cmocka_unit_test(folders_are_listed_and_files_continued),
        cmocka_unit_test(who_writes_alone_touches_nothing_before_it_is),
        cmocka_unit_test(a_run_without_memory_has_no_workers),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
