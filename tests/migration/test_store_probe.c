/* test_store_probe.c - how often the store in ZooKeeper asks whether it may go on, with a library that does as it is told and counts. The real
 * servers are test_store.c's. */
#include "migration/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zookeeper/zookeeper.h>

#define NS_A_MS (UINT64_C(1000) * 1000)
enum { PENDING_MAX = 64 };

/* ---- the library, in place of the real one ---- */
static struct {
    watcher_fn session;
    void *context;
    uint32_t probes, reads;
    int probe_rc; /* of all probes */
    struct {
        stat_completion_t probed;
        data_completion_t read;
        const void *data;
    } pending[PENDING_MAX];
    uint32_t pending_count;
} library;

static void put(stat_completion_t probed, data_completion_t read, const void *data)
{
    assert_true(library.pending_count < PENDING_MAX);
    library.pending[library.pending_count].probed = probed;
    library.pending[library.pending_count].read = read;
    library.pending[library.pending_count++].data = data;
}

static void library_answers(void)
{
    static const struct Stat stat;
    for (uint32_t i = 0; i < library.pending_count; i++)
        if (library.pending[i].probed != NULL)
            library.pending[i].probed(library.probe_rc, NULL, library.pending[i].data);
        else
            library.pending[i].read(ZOK, "", 0, &stat, library.pending[i].data);
    library.pending_count = 0;
}

zhandle_t *zookeeper_init2(const char *host, watcher_fn fn, int recv_timeout, const clientid_t *clientid, void *context,
                           int flags, log_callback_fn log_callback)
{
    (void)host, (void)recv_timeout, (void)clientid, (void)flags, (void)log_callback;
    library.session = fn;
    library.context = context;
    return (zhandle_t *)(void *)&library;
}

int zookeeper_close(zhandle_t *zh)
{
    (void)zh;
    return ZOK;
}

int zoo_state(zhandle_t *zh)
{
    (void)zh;
    return ZOO_CONNECTED_STATE;
}

int zoo_acreate(zhandle_t *zh, const char *path, const char *value, int valuelen, const struct ACL_vector *acl,
                int mode, string_completion_t completion, const void *data)
{
    (void)zh, (void)path, (void)value, (void)valuelen, (void)acl, (void)mode, (void)completion, (void)data;
    return ZOK;
}

int zoo_async(zhandle_t *zh, const char *path, string_completion_t completion, const void *data)
{
    (void)zh, (void)path, (void)completion, (void)data;
    return ZOK;
}

int zoo_aexists(zhandle_t *zh, const char *path, int watch, stat_completion_t completion, const void *data)
{
    (void)zh, (void)path, (void)watch;
    library.probes++;
    put(completion, NULL, data);
    return ZOK;
}

int zoo_aget(zhandle_t *zh, const char *path, int watch, data_completion_t completion, const void *data)
{
    (void)zh, (void)path, (void)watch;
    library.reads++;
    put(NULL, completion, data);
    return ZOK;
}

int zoo_awexists(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx, stat_completion_t completion,
                 const void *data)
{
    (void)zh, (void)path, (void)watcher, (void)watcherCtx, (void)completion, (void)data;
    return ZOK;
}

int zoo_awget_children(zhandle_t *zh, const char *path, watcher_fn watcher, void *watcherCtx,
                       strings_completion_t completion, const void *data)
{
    (void)zh, (void)path, (void)watcher, (void)watcherCtx, (void)completion, (void)data;
    return ZOK;
}

/* ---- the world ---- */
static uint64_t clock_ns, alarm_ns;
static bool awake;

static uint64_t now_ns(void *self)
{
    (void)self;
    return clock_ns;
}

static int draw(void *self, void *bytes, size_t byte_count)
{
    (void)self;
    memset(bytes, 7, byte_count);
    return PST_OK;
}

static void wake(void *self, uint32_t worker_index)
{
    (void)self, (void)worker_index;
    awake = true;
}

static int alarm_set(void *self, uint32_t worker_index, uint64_t ns)
{
    (void)self, (void)worker_index;
    alarm_ns = alarm_ns == 0 || ns < alarm_ns ? ns : alarm_ns;
    return PST_OK;
}

/* So much time goes by; a step is taken whenever one is asked for. */
static void run(struct pst_store *store, uint64_t ns)
{
    uint64_t until_ns = clock_ns + ns;
    for (uint32_t steps = 0;; steps++) {
        assert_true(steps < 10000);
        if (!awake && (alarm_ns == 0 || alarm_ns > until_ns))
            break;
        if (!awake && alarm_ns > clock_ns)
            clock_ns = alarm_ns;
        awake = false;
        alarm_ns = 0;
        clock_ns += NS_A_MS; /* there and back */
        store->step(store->self);
        library_answers();
    }
    clock_ns = until_ns > clock_ns ? until_ns : clock_ns;
}

static void session_says(int state) { library.session(NULL, ZOO_SESSION_EVENT, state, "", library.context); }

static struct pst_store *opened(int probe_rc)
{
    static struct pst_world world = {.now_ns = now_ns, .random = draw, .wake = wake, .alarm = alarm_set};
    struct pst_store *store;
    char why[200];
    memset(&library, 0, sizeof library);
    library.probe_rc = probe_rc;
    clock_ns = 1;
    alarm_ns = 0;
    assert_int_equal(pst_store_zookeeper(&world, 0, "here:1", 4000, why, &store), PST_OK);
    store->step(store->self);
    session_says(ZOO_CONNECTED_STATE);
    return store;
}

/* ---- what holds ---- */

static void a_probe_that_fails_is_repeated_twice_a_second(void **state)
{
    (void)state;
    static const int reasons[] = {ZNOAUTH, ZNONODE, ZCONNECTIONLOSS};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct pst_store *store = opened(reasons[i]);
        run(store, 10000 * NS_A_MS);
        assert_in_range(library.probes, 15, 25);
        store->close(store->self);
    }
}

static void what_comes_meanwhile_is_answered_by_the_next_one(void **state)
{
    (void)state;
    struct pst_store *store = opened(ZNOAUTH);
    run(store, 100 * NS_A_MS);
    struct pst_store_request request = {.kind = PST_STORE_READ, .path = "graphs/a"};
    store->begin(store->self, &request);
    run(store, 100 * NS_A_MS);
    assert_int_equal(request.rc, PST_EAGAIN);
    run(store, 500 * NS_A_MS);
    assert_int_equal(request.rc, PST_EREFUSED);
    library.probe_rc = ZOK; /* somebody has given the right */
    store->begin(store->self, &request);
    run(store, 600 * NS_A_MS);
    assert_int_equal(request.rc, PST_OK);
    assert_int_equal(library.reads, 1);
    pst_text_fini(&request.text);
    store->close(store->self);
}

static void a_connection_that_is_made_anew_is_probed_at_once(void **state)
{
    (void)state;
    struct pst_store *store = opened(ZNOAUTH);
    run(store, 100 * NS_A_MS);
    uint32_t probes = library.probes;
    library.probe_rc = ZOK;
    session_says(ZOO_CONNECTING_STATE);
    session_says(ZOO_CONNECTED_STATE);
    struct pst_store_request request = {.kind = PST_STORE_READ, .path = "graphs/a"};
    store->begin(store->self, &request);
    run(store, 20 * NS_A_MS);
    assert_int_equal(library.probes, probes + 1);
    assert_int_equal(request.rc, PST_OK);
    pst_text_fini(&request.text);
    store->close(store->self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_probe_that_fails_is_repeated_twice_a_second),
        cmocka_unit_test(what_comes_meanwhile_is_answered_by_the_next_one),
        cmocka_unit_test(a_connection_that_is_made_anew_is_probed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
