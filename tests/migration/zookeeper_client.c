/* zookeeper_client.c - asks the store in ZooKeeper from within a run of the real world, for tests/migration/zookeeper.py.
 *
 *   history HOSTS COUNT   COUNT commits, each of which counts "n" up and makes "r/NUMBER"; outcomes that are not known are read
 *                         (T2). A line for each change of what is answered; it ends with "whole", or with 1 and what is wrong.
 *   hold HOSTS            makes "held", bound; a line on standard input reads it once more, until the session has ended
 *   gone HOSTS PATH       waits until PATH is not there
 */
#include "migration/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct client {
    struct pst_world *world;
    const char *hosts;
    uint32_t session_ms;
    struct pst_store *store;
    _Atomic(struct pst_store_request *) asked; /* the main thread's, for the worker */
    struct pst_store_request *begun;
    sem_t there, answered; /* there: in its first step */
    atomic_bool leave;
    _Atomic uint64_t session;
};

static struct client client;

static void fail(const char *what, uint64_t number)
{
    printf("FAILED: %s, at %" PRIu64 "\n", what, number);
    exit(1);
}

static pst_step client_step(void *argument, uint32_t worker_index)
{
    struct client *c = argument;
    char why[200];
    if (c->store == NULL &&
        pst_store_zookeeper(c->world, worker_index, c->hosts, c->session_ms, why, &c->store) != PST_OK)
        fail(why, 0);
    if (atomic_exchange(&c->session, c->store->session(c->store->self)) == 0)
        (void)sem_post(&c->there);
    if (c->begun == NULL) {
        c->begun = atomic_exchange(&c->asked, NULL);
        if (c->begun != NULL)
            c->store->begin(c->store->self, c->begun);
    }
    c->store->step(c->store->self);
    atomic_store(&c->session, c->store->session(c->store->self));
    if (c->begun != NULL && c->begun->rc != PST_EAGAIN) {
        c->begun = NULL;
        (void)sem_post(&c->answered);
    }
    if (!atomic_load(&c->leave))
        return PST_STEP_IDLE;
    c->store->close(c->store->self);
    return PST_STEP_DONE;
}

static void *client_main(void *argument)
{
    struct client *c = argument;
    if (c->world->run(c->world->self, 1, client_step, c) != PST_OK)
        fail("the run", 0);
    return NULL;
}

static int ask(struct pst_store_request *request)
{
    request->rc = PST_EAGAIN;
    atomic_store(&client.asked, request);
    client.world->wake(client.world->self, 0);
    while (sem_wait(&client.answered) != 0)
        continue;
    return request->rc;
}

/* Until a server answers. The version, 0: not there. */
static uint64_t version_of(const char *path)
{
    for (bool told = false;;) {
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = path};
        int rc = ask(&read);
        pst_text_fini(&read.text);
        if (rc == PST_OK)
            return read.version;
        if (rc == PST_ENOENT)
            return 0;
        if (rc != PST_EIO)
            fail(pst_error_name(rc), 0);
        if (!told)
            printf("read PST_EIO\n");
        told = true;
    }
}

/* Commits number i. True: it is known to be there.
 * An outcome that is not known stays so until the number is there: the request may be on its way through another server while this one
 * is asked, whatever became of those that came after it. */
static bool count_up(uint64_t i)
{
    char path[32];
    (void)snprintf(path, sizeof path, "r/%" PRIu64, i);
    struct pst_store_change changes[] = {{"n", i - 1, path, (uint32_t)strlen(path), false},
                                         {path, 0, "made", 4, false}};
    struct pst_store_request request = {.kind = PST_STORE_COMMIT, .changes = changes, .change_count = 2};
    static int before = PST_OK;
    static uint64_t unknown; /* the number of the last such */
    bool open = unknown == i;
    int rc = ask(&request);
    if (rc != before || rc == PST_ETIMEOUT)
        printf("%" PRIu64 " %s\n", i, rc == PST_OK ? "PST_OK" : pst_error_name(rc));
    if (rc == PST_ETIMEOUT)
        unknown = i;
    before = rc;
    if (rc == PST_OK)
        return true;
    if (rc == PST_EINVAL && !open)
        fail("a version is another that nobody has changed", i);
    if (rc != PST_EIO && rc != PST_ETIMEOUT && rc != PST_EINVAL)
        fail(pst_error_name(rc), i);
    uint64_t n = version_of("n"), made = version_of(path);
    if (n != i - 1 && n != i)
        fail("n is neither before nor behind the commit", i);
    if (rc == PST_EIO && !open && n == i)
        fail("a commit happened of which was said that it did not", i);
    if (made != (n == i) && version_of("n") == n)
        fail("half of a commit is there", i);
    return n == i;
}

static int history(uint64_t count)
{
    for (uint64_t i = 1; i <= count;) {
        i += count_up(i);
        if (i == 101)
            printf("100 commits\n");
    }
    for (uint64_t i = 1; i <= count; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "r/%" PRIu64, i);
        if (version_of(path) != 1)
            fail("a commit is not there that was answered", i);
    }
    if (version_of("n") != count)
        fail("n", count);
    printf("whole\n");
    return 0;
}

static int hold(void)
{
    char line[16];
    struct pst_store_change change = {"held", 0, "me", 2, true};
    struct pst_store_request request = {.kind = PST_STORE_COMMIT, .changes = &change, .change_count = 1};
    for (int rc; (rc = ask(&request)) != PST_OK;)
        if (rc != PST_EIO)
            fail(pst_error_name(rc), 0);
    printf("held\n");
    if (fgets(line, sizeof line, stdin) == NULL)
        return 1;
    int rc = PST_EIO;
    while (rc == PST_EIO) { /* a read that finds it is right too, until the client has been told */
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = "held"};
        rc = ask(&read);
        pst_text_fini(&read.text);
        if (rc == PST_OK)
            fail("a bound record outlived its session", 0);
    }
    printf("%s %s\n", pst_error_name(rc), atomic_load(&client.session) == 0 ? "ended" : "goes on");
    return 0;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc < 3 || sem_init(&client.answered, 0, 0) != 0 || sem_init(&client.there, 0, 0) != 0 ||
        (client.world = pst_world_uv()) == NULL)
        return 2;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    client.hosts = argv[2];
    /* The servers' longest, where none is to end: a busy machine takes seconds to start them. */
    client.session_ms = strcmp(argv[1], "history") == 0 ? 10000 : 4000;
    if (pthread_create(&thread, NULL, client_main, &client) != 0)
        return 2;
    while (sem_wait(&client.there) != 0)
        continue;
    int rc = 2;
    if (strcmp(argv[1], "history") == 0 && argc == 4)
        rc = history(strtoull(argv[3], NULL, 10));
    else if (strcmp(argv[1], "hold") == 0)
        rc = hold();
    else if (strcmp(argv[1], "gone") == 0 && argc == 4) {
        while (version_of(argv[3]) != 0)
            continue;
        printf("gone\n");
        rc = 0;
    }
    atomic_store(&client.leave, true); /* worker 0 looks around by itself */
    (void)pthread_join(thread, NULL);
    pst_world_uv_free(client.world);
    return rc;
}
