/* test_store.c - the coordination store: one suite over every filling, then what only the embedded one has: power cuts, damage,
 * full disks, failing syncs, bounds.
 *
 * The ZooKeeper filling takes part where PST_TEST_ZOOKEEPER names servers (tests/migration/zookeeper.py starts some). */
#include "migration/store.h"
#include "migration/store_inside.h"
#include "tests/sim/world_sim.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a store, and how it is asked ---- */
struct filling {
    const char *name;
    bool simulated, sealed, zookeeper;
};
static struct filling fillings[] = {
    {"embedded_simulated", .simulated = true},
    {"embedded_simulated_sealed", .simulated = true, .sealed = true},
    {.name = "embedded_real"},
    {"embedded_real_sealed", .sealed = true},
    {"zookeeper", .zookeeper = true},
    {"zookeeper_sealed", .zookeeper = true, .sealed = true},
};

struct bench {
    const struct filling *filling;
    struct sim sim;
    struct pst_world *uv;
    struct pst_world without_run; /* the real one, woken by a semaphore */
    struct pst_world *world;
    char place[200]; /* folder, or servers with a folder of its own */
    struct pst_store *store;
    char why[200];
};

static struct pst_secret *key, *other_key;
static struct bench bench; /* large */
static sem_t woken;        /* of a store that has no run around it */
static uint64_t look_ns;   /* it is stepped then in any case; 0: it is not */

static void wake_by_semaphore(void *self, uint32_t worker_index)
{
    (void)self;
    (void)worker_index;
    (void)sem_post(&woken);
}

static int alarm_by_semaphore(void *self, uint32_t worker_index, uint64_t ns)
{
    (void)self;
    (void)worker_index;
    look_ns = ns;
    return PST_OK;
}

static void wait_woken(void)
{
    const struct timespec until = {.tv_sec = (time_t)(look_ns / 1000000000), .tv_nsec = (long)(look_ns % 1000000000)};
    if (look_ns == 0)
        (void)sem_wait(&woken);
    else
        (void)sem_clockwait(&woken, CLOCK_MONOTONIC, &until); /* the clock of now_ns() */
    look_ns = 0;
}

static int bench_open(struct bench *b)
{
    struct pst_store *store;
    int rc = b->filling->zookeeper ? pst_store_zookeeper(b->world, 0, b->place, 10000, b->why, &store)
                                   : pst_store_embedded(b->world, 0, b->place, key, b->why, &store);
    if (rc != PST_OK)
        return rc;
    b->store = store;
    if (b->filling->sealed && pst_store_sealed(store, key, &b->store) != PST_OK) {
        store->close(store->self);
        b->store = NULL;
        return PST_ENOMEM;
    }
    return PST_OK;
}

static void bench_close(struct bench *b)
{
    if (b->store != NULL)
        b->store->close(b->store->self);
    b->store = NULL;
}

static void bench_init(struct bench *b, const struct filling *filling, uint64_t seed)
{
    b->filling = filling;
    b->store = NULL;
    b->uv = NULL;
    (void)snprintf(b->place, sizeof b->place, "store");
    sim_init(&b->sim, seed);
    b->world = &b->sim.world;
    if (filling->simulated)
        return;
    if (filling->zookeeper) {
        static unsigned folders;
        (void)snprintf(b->place, sizeof b->place, "%s/test-store-%ld/%u", getenv("PST_TEST_ZOOKEEPER"), (long)getpid(),
                       folders++);
    } else {
        (void)snprintf(b->place, sizeof b->place, "%s/store-XXXXXX", PST_TEST_BINARY_DIR);
        assert_non_null(mkdtemp(b->place));
    }
    assert_non_null(b->uv = pst_world_uv());
    b->without_run = *b->uv;
    b->without_run.wake = wake_by_semaphore;
    b->without_run.alarm = alarm_by_semaphore;
    b->world = filling->zookeeper ? &b->without_run : b->uv;
}

static void bench_fini(struct bench *b)
{
    bench_close(b);
    if (b->uv != NULL && !b->filling->zookeeper) {
        char command[300];
        (void)snprintf(command, sizeof command, "rm -rf '%s'", b->place);
        assert_int_equal(system(command), 0);
    }
    pst_world_uv_free(b->uv);
    sim_fini(&b->sim);
}

struct round { /* some requests, begun at once */
    struct bench *bench;
    struct pst_store_request *requests;
    uint32_t count;
    bool begun;
};

static bool round_done(const struct round *round)
{
    for (uint32_t i = 0; i < round->count; i++)
        if (round->requests[i].rc == PST_EAGAIN)
            return false;
    return true;
}

static pst_step round_step(void *argument, uint32_t worker_index)
{
    struct round *round = argument;
    struct pst_store *store = round->bench->store;
    assert_int_equal(worker_index, 0);
    for (uint32_t i = 0; i < round->count && !round->begun; i++)
        store->begin(store->self, &round->requests[i]);
    round->begun = true;
    store->step(store->self);
    return round_done(round) ? PST_STEP_DONE : PST_STEP_IDLE;
}

/* Of a server on a busy machine PST_EIO may come at any time, and says that nothing has happened: asked again. */
static void ask_servers(struct bench *b, struct pst_store_request *requests, uint32_t count)
{
    struct pst_store_request read = {.kind = PST_STORE_READ, .path = "is-there-a-connection", .rc = PST_EIO};
    do {
        struct round look = {b, &read, 1, false}, round = {b, requests, count, false};
        for (; read.rc == PST_EIO; look.begun = false)
            while (round_step(&look, 0) != PST_STEP_DONE)
                wait_woken();
        while (round_step(&round, 0) != PST_STEP_DONE)
            wait_woken();
        read.rc = PST_EIO;
    } while (count == 1 && requests[0].rc == PST_EIO);
}

static void ask(struct bench *b, struct pst_store_request *requests, uint32_t count)
{
    struct round round = {b, requests, count, false};
    if (b->filling->zookeeper)
        ask_servers(b, requests, count);
    else
        assert_int_equal(b->world->run(b->world->self, 1, round_step, &round), PST_OK);
}

static struct pst_store_request commit_of(const struct pst_store_change *changes, uint32_t count)
{
    return (struct pst_store_request){.kind = PST_STORE_COMMIT, .changes = changes, .change_count = count};
}

static int commit(struct bench *b, const struct pst_store_change *changes, uint32_t count)
{
    struct pst_store_request request = commit_of(changes, count);
    ask(b, &request, 1);
    return request.rc;
}

static struct pst_store_change put_of(const char *path, uint64_t expected, const char *text)
{
    return (struct pst_store_change){path, expected, text, (uint32_t)strlen(text), false};
}

static int put(struct bench *b, const char *path, uint64_t expected, const char *text)
{
    struct pst_store_change change = put_of(path, expected, text);
    return commit(b, &change, 1);
}

static int put_bound(struct bench *b, const char *path, const char *text)
{
    struct pst_store_change change = put_of(path, 0, text);
    change.bound = true;
    return commit(b, &change, 1);
}

static int take(struct bench *b, const char *path, uint64_t expected)
{
    struct pst_store_change change = {path, expected, NULL, 0, false};
    return commit(b, &change, 1);
}

static void expect(struct bench *b, const char *path, uint64_t version, const char *text)
{
    struct pst_store_request request = {.kind = PST_STORE_READ, .path = path};
    ask(b, &request, 1);
    assert_int_equal(request.rc, PST_OK);
    assert_int_equal(request.version, version);
    assert_int_equal(request.text.count, strlen(text));
    assert_memory_equal(request.text.bytes, text, strlen(text));
    pst_text_fini(&request.text);
}

static void expect_none(struct bench *b, const char *path)
{
    struct pst_store_request request = {.kind = PST_STORE_READ, .path = path};
    ask(b, &request, 1);
    assert_int_equal(request.rc, PST_ENOENT);
    assert_null(request.text.bytes);
}

static void expect_list(struct bench *b, const char *prefix, const char *paths)
{
    struct pst_store_request request = {.kind = PST_STORE_LIST, .path = prefix};
    ask(b, &request, 1);
    assert_int_equal(request.rc, PST_OK);
    assert_string_equal(request.text.bytes != NULL ? request.text.bytes : "", paths);
    pst_text_fini(&request.text);
}

static bool absent(const struct filling *filling) { return filling->zookeeper && getenv("PST_TEST_ZOOKEEPER") == NULL; }

static int begin(void **state)
{
    const struct filling *filling = *state;
    if (absent(filling))
        return 0;
    bench_init(&bench, filling, 1);
    return bench_open(&bench) == PST_OK ? 0 : -1;
}

static int finish(void **state)
{
    const struct filling *filling = *state;
    if (!absent(filling))
        bench_fini(&bench);
    return 0;
}

/* The bench that begin() has made. */
static struct bench *given(void **state)
{
    const struct filling *filling = *state;
    if (absent(filling))
        skip();
    return &bench;
}

static void again(struct bench *b)
{
    bench_close(b);
    assert_int_equal(bench_open(b), PST_OK);
}

/* ---- the suite ---- */
static void versions_start_at_1_and_grow_by_one(void **state)
{
    struct bench *b = given(state);
    expect_none(b, "term");
    assert_int_equal(put(b, "term", 0, "one"), PST_OK);
    expect(b, "term", 1, "one");
    assert_int_equal(put(b, "term", 1, "two"), PST_OK);
    assert_int_equal(put(b, "term", 2, ""), PST_OK);
    expect(b, "term", 3, "");
    assert_int_equal(take(b, "term", 3), PST_OK);
    expect_none(b, "term");
    assert_int_equal(put(b, "term", 0, "anew"), PST_OK);
    expect(b, "term", 1, "anew");
}

static void another_version_refuses_the_commit(void **state)
{
    struct bench *b = given(state);
    assert_int_equal(put(b, "a/b", 1, "no"), PST_EINVAL);
    assert_int_equal(take(b, "a/b", 1), PST_EINVAL);
    assert_int_equal(put(b, "a/b", 0, "yes"), PST_OK);
    assert_int_equal(put(b, "a/b", 0, "no"), PST_EINVAL);
    assert_int_equal(put(b, "a/b", 2, "no"), PST_EINVAL);
    assert_int_equal(put(b, "a/b", UINT64_C(1) << 40, "no"), PST_EINVAL);
    assert_int_equal(take(b, "a/b", 2), PST_EINVAL);
    expect(b, "a/b", 1, "yes");
}

static void a_commit_happens_wholly_or_not_at_all(void **state)
{
    struct bench *b = given(state);
    struct pst_store_change first[] = {put_of("m", 0, "m1"), put_of("o", 0, "o1"), put_of("p", 0, "p1")};
    struct pst_store_change wrong[] = {put_of("m", 1, "m2"), {"p", 1, NULL, 0, false}, put_of("o", 2, "o2")};
    struct pst_store_change right[] = {put_of("m", 1, "m2"), {"p", 1, NULL, 0, false}, put_of("o", 1, "o2")};
    assert_int_equal(commit(b, first, 3), PST_OK);
    assert_int_equal(commit(b, wrong, 3), PST_EINVAL);
    expect(b, "m", 1, "m1");
    expect(b, "o", 1, "o1");
    expect(b, "p", 1, "p1");
    assert_int_equal(commit(b, right, 3), PST_OK);
    expect(b, "m", 2, "m2");
    expect(b, "o", 2, "o2");
    expect_none(b, "p");
}

static void a_list_is_sorted_and_of_its_prefix(void **state)
{
    struct bench *b = given(state);
    static const char *const paths[] = {"moves/2", "moves/10", "move", "moves-x", "nodes/a", "moves/2/a", "moves.y"};
    expect_list(b, "", "");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(put(b, paths[i], 0, "x"), PST_OK);
    expect_list(b, "moves/", "moves/10\nmoves/2\nmoves/2/a\n");
    expect_list(b, "move", "move\nmoves-x\nmoves.y\nmoves/10\nmoves/2\nmoves/2/a\n");
    expect_list(b, "o", "");
    expect_list(b, "moves/2", "moves/2\nmoves/2/a\n");
    assert_int_equal(take(b, "moves/2", 1), PST_OK);
    expect_list(b, "moves/2", "moves/2/a\n");
}

static void a_bound_record_goes_with_its_session(void **state)
{
    struct bench *b = given(state);
    uint64_t session = b->store->session(b->store->self);
    assert_true(session != 0);
    assert_int_equal(put_bound(b, "term", "me"), PST_OK);
    assert_int_equal(put(b, "term", 1, "still me"), PST_OK);
    assert_int_equal(put(b, "nodes/me", 0, "here"), PST_OK);
    assert_int_equal(put_bound(b, "nodes/me/now", "up"), PST_OK);
    expect(b, "term", 2, "still me");
    again(b);
    expect_list(b, "", "nodes/me\n");
    assert_true(b->store->session(b->store->self) != 0 && b->store->session(b->store->self) != session);
    assert_int_equal(put_bound(b, "term", "me again"), PST_OK);
    expect(b, "term", 1, "me again");
}

static void what_is_committed_is_there_when_the_store_is_opened_anew(void **state)
{
    struct bench *b = given(state);
    assert_int_equal(put(b, "a", 0, "1"), PST_OK);
    assert_int_equal(put(b, "b", 0, "2"), PST_OK);
    assert_int_equal(put(b, "a", 1, "3"), PST_OK);
    assert_int_equal(take(b, "b", 1), PST_OK);
    for (int i = 0; i < 3; i++) {
        again(b);
        expect_list(b, "", "a\n");
        expect(b, "a", 2, "3");
    }
    assert_int_equal(put(b, "a", 2, "4"), PST_OK);
    again(b);
    expect(b, "a", 3, "4");
}

static void requests_that_are_not_well_formed_are_refused(void **state)
{
    struct bench *b = given(state);
    static const char *const bad[] = {"",    "/", "/a", "a/",     "a//b",     "a b",
                                      "a:b", ".", "..", "a/../b", "\xc3\xa4", "a\n"};
    char longest[PST_STORE_PATH_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    longest[PST_STORE_PATH_BYTES] = '\0';
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = bad[i]};
        assert_int_equal(put(b, bad[i], 0, "x"), PST_EINVAL);
        ask(b, &read, 1);
        assert_int_equal(read.rc, PST_EINVAL);
    }
    assert_int_equal(put(b, longest, 0, "x"), PST_EINVAL);
    longest[PST_STORE_PATH_BYTES - 1] = '\0';
    assert_int_equal(put(b, longest, 0, "x"), PST_OK);
    expect(b, longest, 1, "x");
    assert_int_equal(take(b, longest, 0), PST_EINVAL);
    struct pst_store_change twice[] = {put_of("a", 0, "1"), put_of("a", 0, "2")};
    assert_int_equal(commit(b, twice, 2), PST_EINVAL);
    assert_int_equal(commit(b, twice, 0), PST_EINVAL);
    struct pst_store_change bound = {longest, 1, "x", 1, true};
    assert_int_equal(commit(b, &bound, 1), PST_EINVAL);
    struct pst_store_request none = {.kind = (pst_store_kind)9, .path = "a"};
    ask(b, &none, 1);
    assert_int_equal(none.rc, PST_EINVAL);
}

static void records_and_commits_have_their_bounds(void **state)
{
    struct bench *b = given(state);
    static char large[PST_STORE_RECORD_BYTES_MAX + 1], names[PST_STORE_CHANGES_MAX + 1][16];
    struct pst_store_change changes[PST_STORE_CHANGES_MAX + 1];
    uint32_t most = PST_STORE_RECORD_BYTES_MAX - (b->filling->sealed ? PST_STORE_MAC_BYTES : 0);
    memset(large, 'y', sizeof large);
    struct pst_store_change change = {"large", 0, large, most + 1, false};
    assert_int_equal(commit(b, &change, 1), PST_EINVAL);
    change.byte_count = most;
    assert_int_equal(commit(b, &change, 1), PST_OK);
    for (uint32_t i = 0; i <= PST_STORE_CHANGES_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "many/%02u", i);
        changes[i] = put_of(names[i], 0, "x");
    }
    assert_int_equal(commit(b, changes, PST_STORE_CHANGES_MAX + 1), PST_EINVAL);
    assert_int_equal(commit(b, changes, PST_STORE_CHANGES_MAX), PST_OK);
    expect(b, "many/63", 1, "x");
}

static void requests_are_answered_in_their_order(void **state)
{
    struct bench *b = given(state);
    struct pst_store_change changes[] = {
        put_of("n", 0, "1"), put_of("n", 1, "2"), put_of("n", 1, "no"), {"n", 2, NULL, 0, false}, put_of("n", 0, "3")};
    struct pst_store_request requests[] = {{.kind = PST_STORE_READ, .path = "n"},
                                           commit_of(&changes[0], 1),
                                           {.kind = PST_STORE_READ, .path = "n"},
                                           commit_of(&changes[1], 1),
                                           commit_of(&changes[2], 1),
                                           {.kind = PST_STORE_READ, .path = "n"},
                                           commit_of(&changes[3], 1),
                                           commit_of(&changes[4], 1),
                                           {.kind = PST_STORE_READ, .path = "n"}};
    static const int wanted[] = {PST_ENOENT, PST_OK, PST_OK, PST_OK, PST_EINVAL, PST_OK, PST_OK, PST_OK, PST_OK};
    static const uint64_t versions[] = {0, 0, 1, 0, 0, 2, 0, 0, 1};
    enum { COUNT = sizeof requests / sizeof *requests };
    ask(b, requests, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(requests[i].rc, wanted[i]);
        if (requests[i].kind == PST_STORE_READ && requests[i].rc == PST_OK)
            assert_int_equal(requests[i].version, versions[i]);
        pst_text_fini(&requests[i].text);
    }
    expect(b, "n", 1, "3");
}

static void a_commit_is_news(void **state)
{
    struct bench *b = given(state);
    uint64_t before = b->store->news(b->store->self);
    assert_int_equal(put(b, "a", 0, "1"), PST_OK);
    for (int i = 0; i < 1000 && b->store->news(b->store->self) == before; i++)
        expect(b, "a", 1, "1"); /* it may come late */
    assert_true(b->store->news(b->store->self) > before);
}

/* What a store of at most a few records should say, in the plainest form. */
enum { MODEL_RECORDS = 12 };
struct model {
    uint64_t version[MODEL_RECORDS]; /* 0: none */
    char text[MODEL_RECORDS][24];
    bool bound[MODEL_RECORDS];
};
static const char *const model_paths[MODEL_RECORDS] = {"a",   "a/a", "a/b", "a.b", "b",    "b/1",
                                                       "b/2", "c-",  "c/a", "c/b", "c/bb", "d"};

static int model_commit(struct model *model, const uint32_t *records, const struct pst_store_change *changes,
                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (model->version[records[i]] != changes[i].expected)
            return PST_EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t r = records[i];
        model->bound[r] =
            changes[i].bytes != NULL && (changes[i].bound || (changes[i].expected != 0 && model->bound[r]));
        model->version[r] = changes[i].bytes != NULL ? changes[i].expected + 1 : 0;
        if (changes[i].bytes != NULL)
            (void)snprintf(model->text[r], sizeof model->text[r], "%s", (const char *)changes[i].bytes);
    }
    return PST_OK;
}

static void model_same(struct bench *b, const struct model *model)
{
    struct pst_text paths = {0};
    for (uint32_t r = 0; r < MODEL_RECORDS; r++) {
        if (model->version[r] == 0)
            expect_none(b, model_paths[r]);
        else
            expect(b, model_paths[r], model->version[r], model->text[r]);
    }
    static const uint32_t sorted[MODEL_RECORDS] = {0, 3, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11}; /* '.' is before '/' */
    for (uint32_t r = 0; r < MODEL_RECORDS; r++)
        if (model->version[sorted[r]] != 0)
            (void)pst_text_printf(&paths, "%s\n", model_paths[sorted[r]]);
    expect_list(b, "", paths.bytes != NULL ? paths.bytes : "");
    pst_text_fini(&paths);
}

/* One commit of one to four records, with a version that is mostly right. */
static uint32_t change_draw(struct sim *random, const struct model *model, char texts[4][24], uint32_t records[4],
                            struct pst_store_change changes[4])
{
    uint32_t count = 1 + (uint32_t)sim_random(random, 4), first = (uint32_t)sim_random(random, MODEL_RECORDS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t r = records[i] = (first + 5 * i) % MODEL_RECORDS;
        uint64_t version = model->version[r] + (sim_random(random, 12) == 0);
        bool remove = version != 0 && sim_random(random, 4) == 0;
        (void)snprintf(texts[i], 24, "%llu", (unsigned long long)sim_random(random, UINT64_MAX));
        changes[i] = put_of(model_paths[r], version, texts[i]);
        changes[i].bound = version == 0 && sim_random(random, 4) == 0;
        if (remove)
            changes[i] = (struct pst_store_change){model_paths[r], version, NULL, 0, false};
    }
    return count;
}

static void random_commits_leave_what_the_model_says(void **state)
{
    struct bench *b = given(state);
    struct model model = {0};
    static struct sim random;
    sim_init(&random, 77);
    for (int turn = 0; turn < 60; turn++) {
        enum { AT_ONCE = 5 };
        static char texts[AT_ONCE][4][24];
        static struct pst_store_change changes[AT_ONCE][4];
        struct pst_store_request requests[AT_ONCE];
        int wanted[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            uint32_t records[4];
            uint32_t count = change_draw(&random, &model, texts[i], records, changes[i]);
            requests[i] = commit_of(changes[i], count);
            wanted[i] = model_commit(&model, records, changes[i], count);
        }
        ask(b, requests, AT_ONCE);
        for (int i = 0; i < AT_ONCE; i++)
            assert_int_equal(requests[i].rc, wanted[i]);
        if (turn % 20 == 19) {
            again(b);
            for (uint32_t r = 0; r < MODEL_RECORDS; r++)
                if (model.bound[r])
                    model.version[r] = 0, model.bound[r] = false;
        }
        if (turn % 5 == 4)
            model_same(b, &model);
    }
    sim_fini(&random);
}

/* ---- sealing ---- */
static void what_was_not_sealed_there_is_refused(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct pst_store *plain, *sealed;
    bench_init(b, &fillings[0], 1);
    assert_int_equal(bench_open(b), PST_OK);
    plain = b->store;
    assert_int_equal(pst_store_sealed(plain, key, &sealed), PST_OK);
    b->store = sealed;
    assert_int_equal(put(b, "a", 0, "first"), PST_OK);
    assert_int_equal(put(b, "a", 1, "second"), PST_OK);
    assert_int_equal(put(b, "b", 0, "other"), PST_OK);
    b->store = plain;
    struct pst_store_request found = {.kind = PST_STORE_READ, .path = "a"};
    ask(b, &found, 1);
    assert_int_equal(found.rc, PST_OK);
    assert_int_equal(found.text.count, 6 + PST_STORE_MAC_BYTES);
    for (uint32_t i = 0; i < found.text.count; i++) { /* one bit of it; version 3 and on */
        struct pst_store_change change = {"a", 2 + i, found.text.bytes, (uint32_t)found.text.count, false};
        found.text.bytes[i] ^= 4;
        assert_int_equal(commit(b, &change, 1), PST_OK);
        found.text.bytes[i] ^= 4;
        b->store = sealed;
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = "a"};
        ask(b, &read, 1);
        assert_int_equal(read.rc, PST_EREFUSED);
        assert_null(read.text.bytes);
        b->store = plain;
    }
    struct pst_store_change moved[] = {{"b", 1, found.text.bytes, (uint32_t)found.text.count, false},
                                       {"c", 0, found.text.bytes, (uint32_t)found.text.count, false},
                                       {"short", 0, "x", 1, false}};
    assert_int_equal(commit(b, moved, 3), PST_OK);
    b->store = sealed;
    static const char *const paths[] = {"a", "b", "c", "short"}; /* another version, another path, both, no code */
    for (int i = 0; i < 4; i++) {
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = paths[i]};
        ask(b, &read, 1);
        assert_int_equal(read.rc, PST_EREFUSED);
    }
    pst_text_fini(&found.text);
    bench_fini(b);
}

/* ---- the embedded one alone ---- */
static void bench_embedded(struct bench *b, uint64_t seed)
{
    bench_init(b, &fillings[0], seed);
    assert_int_equal(bench_open(b), PST_OK);
}

/* Commit i of a history: "n" grows by one, "r/i" comes, "r/(i-2)" goes. So "n" says which records have to be there. */
enum { HISTORY_PATHS = 3 };
struct history_commit {
    char made[16], gone[16], *bytes;
    struct pst_store_change changes[HISTORY_PATHS];
};

static struct pst_store_request history_commit(struct history_commit *c, uint64_t i, uint32_t byte_count)
{
    (void)snprintf(c->made, sizeof c->made, "r/%llu", (unsigned long long)i);
    (void)snprintf(c->gone, sizeof c->gone, "r/%llu", (unsigned long long)(i - 2));
    c->bytes = malloc(byte_count + 1);
    assert_non_null(c->bytes);
    memset(c->bytes, (int)('a' + i % 26), byte_count);
    c->changes[0] = (struct pst_store_change){"n", i - 1, c->bytes, byte_count, false};
    c->changes[1] = put_of(c->made, 0, "made");
    c->changes[2] = (struct pst_store_change){c->gone, 1, NULL, 0, false};
    return commit_of(c->changes, i > 2 ? 3 : 2);
}

/* The number of the last commit that is there; all of it and nothing else must be. */
static uint64_t history_check(struct bench *b)
{
    char paths[64] = "";
    struct pst_store_request read = {.kind = PST_STORE_READ, .path = "n"};
    ask(b, &read, 1);
    uint64_t n = read.rc == PST_OK ? read.version : 0;
    if (n == 1)
        (void)snprintf(paths, sizeof paths, "n\nr/1\n");
    else if (n > 1 && n != 10)
        (void)snprintf(paths, sizeof paths, "n\nr/%llu\nr/%llu\n", (unsigned long long)(n - 1), (unsigned long long)n);
    else if (n == 10)
        (void)snprintf(paths, sizeof paths, "n\nr/10\nr/9\n");
    expect_list(b, "", paths);
    for (size_t i = 0; i < read.text.count; i++)
        assert_int_equal(read.text.bytes[i], 'a' + n % 26);
    pst_text_fini(&read.text);
    return n;
}

/* Commits from `done` + 1 on, a few at once, until `last`, or the power goes. What became of them: at least, at most so many are there. */
static void history_go_on(struct bench *b, uint64_t last, uint32_t bytes_max, uint64_t *at_least, uint64_t *at_most)
{
    enum { AT_ONCE_MAX = 4 };
    while (*at_most < last && !b->sim.cut) {
        struct history_commit commits[AT_ONCE_MAX];
        struct pst_store_request requests[AT_ONCE_MAX];
        uint32_t count = 1 + (uint32_t)sim_random(&b->sim, AT_ONCE_MAX);
        for (uint32_t i = 0; i < count; i++)
            requests[i] = history_commit(&commits[i], *at_least + 1 + i, (uint32_t)sim_random(&b->sim, bytes_max));
        ask(b, requests, count);
        for (uint32_t i = 0; i < count; i++) {
            int rc = requests[i].rc;
            assert_true(rc == PST_OK || rc == PST_EIO || rc == PST_ETIMEOUT);
            assert_true(rc != PST_OK || *at_least == *at_most); /* nothing is certain behind what is not */
            *at_most += rc != PST_EIO;
            *at_least += rc == PST_OK;
            free(commits[i].bytes);
        }
        assert_true(b->sim.cut || *at_least == *at_most);
    }
}

/* Two lives of a store, the power going at a step of each; then a third that must find what the answers said. */
static uint64_t lives(uint64_t seed, const uint64_t cuts[2], uint32_t bytes_max, bool lost)
{
    enum { COMMITS = 14 };
    struct bench *b = &bench;
    uint64_t at_least = 0, at_most = 0, steps = 0;
    bench_init(b, &fillings[0], seed);
    for (int life = 0; life < 3; life++) {
        uint64_t before = b->sim.disk_steps;
        b->sim.cut_step = life < 2 && cuts[life] != 0 ? before + cuts[life] : 0;
        int rc = bench_open(b);
        assert_true(rc == PST_OK || (b->sim.cut && rc == PST_EIO));
        if (rc == PST_OK) {
            if (!b->sim.cut) {
                uint64_t n = history_check(b);
                if (n < at_least || n > at_most)
                    print_error("seed %llu, cuts %llu %llu: commit %llu, not %llu to %llu\n", (unsigned long long)seed,
                                (unsigned long long)cuts[0], (unsigned long long)cuts[1], (unsigned long long)n,
                                (unsigned long long)at_least, (unsigned long long)at_most);
                assert_true(n >= at_least && n <= at_most);
                at_least = at_most = n;
            }
            history_go_on(b, at_least + COMMITS, bytes_max, &at_least, &at_most);
        }
        bench_close(b);
        steps = life == 0 ? b->sim.disk_steps - before : steps;
        lost ? sim_restart(&b->sim) : sim_revive(&b->sim);
    }
    bench_fini(b);
    return steps;
}

static void power_goes(uint32_t bytes_max, bool lost, uint64_t seeds)
{
#if defined(__SANITIZE_ADDRESS__)
    seeds = (seeds + 3) / 4;
#endif
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        const uint64_t never[2] = {0, 0};
        uint64_t steps = lives(seed, never, bytes_max, lost);
        for (uint64_t cut = 1; cut <= steps; cut++) {
            const uint64_t cuts[2] = {cut, 1 + (cut * 7 + seed) % steps};
            (void)lives(seed, cuts, bytes_max, lost);
        }
    }
}

static void power_cuts_lose_nothing_that_was_answered(void **state)
{
    (void)state;
    power_goes(2000, true, 60);
}

static void power_cuts_amid_compactions_lose_nothing(void **state)
{
    (void)state;
    power_goes(500000, true, 3);
}

static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    power_goes(2000, false, 10);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (uint64_t n = 1;; n++) {
        struct history_commit commits[3];
        struct pst_store_request requests[5];
        uint64_t at_least = 0, at_most = 0;
        bench_init(b, &fillings[1], n);
        for (uint32_t i = 0; i < 3; i++)
            requests[i] = history_commit(&commits[i], i + 1, 100);
        requests[3] = (struct pst_store_request){.kind = PST_STORE_READ, .path = "n"};
        requests[4] = (struct pst_store_request){.kind = PST_STORE_LIST, .path = ""};
        pst_malloc_fail_at(n);
        uint64_t count = pst_malloc_count();
        int rc = bench_open(b);
        if (rc == PST_OK)
            ask(b, requests, 5);
        count = pst_malloc_count() - count;
        pst_malloc_fail_at(0);
        assert_true(rc == PST_OK || rc == PST_ENOMEM);
        for (uint32_t i = 0; i < 3 && rc == PST_OK; i++) {
            assert_true(requests[i].rc == PST_OK || requests[i].rc == PST_ENOMEM ||
                        (i > 0 && (requests[i].rc == PST_EINVAL || requests[i].rc == PST_EIO)));
            at_least += requests[i].rc == PST_OK;
        }
        for (uint32_t i = 0; i < 3; i++)
            free(commits[i].bytes);
        pst_text_fini(&requests[3].text);
        pst_text_fini(&requests[4].text);
        bench_close(b);
        at_most = at_least;
        assert_int_equal(bench_open(b), PST_OK);
        uint64_t found = history_check(b);
        assert_true(found >= at_least && found <= at_most);
        bench_fini(b);
        if (n > count)
            break;
    }
}

static void a_full_disk_fails_a_commit_and_not_the_next(void **state)
{
    (void)state;
    struct bench *b = &bench;
    char bytes[3000];
    memset(bytes, 'b', sizeof bytes);
    bench_embedded(b, 3);
    assert_int_equal(put(b, "a", 0, "1"), PST_OK);
    for (int turn = 0; turn < 4; turn++) {
        struct pst_store_change change = {"large", (uint64_t)turn, bytes, sizeof bytes, false};
        struct pst_store_change behind = {"large", (uint64_t)turn + 1, bytes, sizeof bytes, false};
        struct pst_store_request both[] = {commit_of(&change, 1), commit_of(&behind, 1)};
        b->sim.write_bytes_left = 1000;
        ask(b, both, 2);
        assert_int_equal(both[0].rc, PST_EIO);
        assert_int_equal(both[1].rc, PST_EIO);
        expect(b, "a", 1, "1");
        if (turn == 0)
            expect_none(b, "large");
        b->sim.write_bytes_left = turn % 2 == 0 ? UINT64_MAX : 4200; /* 4200: for the entry, not for its mark */
        assert_int_equal(commit(b, &change, 1), PST_OK);
        b->sim.write_bytes_left = UINT64_MAX;
    }
    again(b);
    expect_list(b, "", "a\nlarge\n");
    bench_fini(b);
}

static int sync_fails(void *self, struct pst_file *file)
{
    (void)self;
    (void)file;
    pst_system_error_set(5);
    return PST_EIO;
}

static void a_failed_sync_stops_commits_and_not_reads(void **state)
{
    (void)state;
    struct bench *b = &bench;
    for (int lost = 0; lost < 2; lost++) {
        bench_embedded(b, 4 + (uint64_t)lost);
        int (*sync)(void *self, struct pst_file *file) = b->sim.world.file_sync;
        assert_int_equal(put(b, "a", 0, "1"), PST_OK);
        b->sim.world.file_sync = sync_fails;
        assert_int_equal(put(b, "a", 1, "2"), PST_ETIMEOUT);
        b->sim.world.file_sync = sync;
        expect(b, "a", 1, "1");
        assert_int_equal(put(b, "b", 0, "1"), PST_EIO);
        assert_int_equal(put(b, "a", 1, "3"), PST_EIO);
        expect_list(b, "", "a\n");
        bench_close(b);
        if (lost == 1)
            sim_restart(&b->sim);
        assert_int_equal(bench_open(b), PST_OK);
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = "a"};
        ask(b, &read, 1);
        assert_true(read.rc == PST_OK && (read.version == 1 || read.version == 2));
        assert_int_equal(put(b, "a", read.version, "4"), PST_OK);
        pst_text_fini(&read.text);
        bench_fini(b);
    }
}

/* The file that counts. */
static const struct pst_text *log_of(const struct bench *b)
{
    const struct sim_file *last = NULL;
    for (uint32_t i = 0; i < b->sim.file_count; i++) {
        const struct sim_file *file = &b->sim.files[i];
        if (file->there && strstr(file->name, "/store-") != NULL &&
            (last == NULL || strcmp(file->name, last->name) > 0))
            last = file;
    }
    assert_non_null(last);
    return &last->bytes;
}

/* Made in one life with several commits; `marked`: with the mark behind the last. */
static struct pst_text log_made(bool marked)
{
    struct bench *b = &bench;
    struct pst_text log = {0};
    bench_embedded(b, 9);
    assert_int_equal(put(b, "kept", 0, "from an earlier life"), PST_OK);
    again(b);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(put(b, "n", i, "0123456789"), PST_OK);
    const struct pst_text *found = log_of(b);
    assert_non_null(found);
    assert_int_equal(pst_text_add(&log, found->bytes, found->count - (marked ? 0 : 336)), PST_OK);
    bench_fini(b);
    return log;
}

/* Opens a store of these bytes. Version of "n" in it; PST_EREFUSED as it is. */
static int64_t log_opens(const char *bytes, size_t byte_count, const char **ret_why)
{
    static char why[200];
    struct bench *b = &bench;
    bench_init(b, &fillings[0], 11);
    sim_put(&b->sim, "store/store-0000000000000009.log", bytes, byte_count);
    int64_t answer = bench_open(b);
    if (answer == PST_OK) {
        struct pst_store_request read = {.kind = PST_STORE_READ, .path = "n"};
        ask(b, &read, 1);
        answer = read.rc == PST_OK ? (int64_t)read.version : 0;
        pst_text_fini(&read.text);
        expect(b, "kept", 1, "from an earlier life");
    }
    (void)snprintf(why, sizeof why, "%s", b->why);
    if (ret_why != NULL)
        *ret_why = why;
    bench_fini(b);
    return answer;
}

static void no_changed_byte_of_a_log_is_accepted(void **state)
{
    (void)state;
    struct pst_text marked = log_made(true), torn = log_made(false);
    const char *why;
    assert_int_equal(log_opens(marked.bytes, marked.count, NULL), 3);
    assert_int_equal(log_opens(torn.bytes, torn.count, NULL), 3);
    for (size_t i = 0; i < marked.count; i++) {
        marked.bytes[i] ^= (char)(1 << i % 8);
        int64_t answer = log_opens(marked.bytes, marked.count, &why);
        assert_true(i < torn.count ? answer == PST_EREFUSED && why[0] != '\0' : answer == 3);
        marked.bytes[i] ^= (char)(1 << i % 8);
    }
    size_t last = torn.count - 2 * 336; /* the last commit, and the mark before it, that no sync was waited for */
    for (size_t i = 0; i < torn.count; i++) {
        torn.bytes[i] ^= (char)(1 << i % 8);
        assert_int_equal(log_opens(torn.bytes, torn.count, NULL), i < last ? PST_EREFUSED : 2);
        torn.bytes[i] ^= (char)(1 << i % 8);
    }
    pst_text_fini(&marked);
    pst_text_fini(&torn);
}

static size_t entries_of(const struct pst_text *log, size_t offsets[32])
{
    size_t count = 0, at = 64;
    for (uint32_t sealed_bytes; at < log->count; at += PST_SEAL_HEADER_BYTES + sealed_bytes + PST_SEAL_TAG_BYTES) {
        offsets[count++] = at;
        memcpy(&sealed_bytes, log->bytes + at + 48, sizeof sealed_bytes);
    }
    offsets[count] = at;
    assert_int_equal(at, log->count);
    return count;
}

static void a_log_cut_short_holds_what_came_before(void **state)
{
    (void)state;
    struct pst_text log = log_made(true);
    size_t offsets[32], count = entries_of(&log, offsets);
    assert_int_equal(count, 2 + 3 * 2);
    for (size_t bytes = 0; bytes < log.count; bytes++) {
        int64_t wanted = PST_EREFUSED;
        for (size_t e = 2; e <= count; e++) /* a commit is there when all of its bytes are */
            if (bytes >= offsets[e])
                wanted = (int64_t)(e - 2 + 1) / 2;
        assert_int_equal(log_opens(log.bytes, bytes, NULL), wanted);
    }
    pst_text_fini(&log);
}

/* Takes entries by number, as an attacker could. */
static int64_t log_of_entries(const struct pst_text *log, const size_t *order, size_t count)
{
    struct pst_text made = {0};
    size_t offsets[32];
    (void)entries_of(log, offsets);
    (void)pst_text_add(&made, log->bytes, 64);
    for (size_t i = 0; i < count; i++)
        (void)pst_text_add(&made, log->bytes + offsets[order[i]], offsets[order[i] + 1] - offsets[order[i]]);
    int64_t answer = log_opens(made.bytes, made.count, NULL);
    pst_text_fini(&made);
    return answer;
}

static void entries_cannot_be_dropped_swapped_or_repeated(void **state)
{
    (void)state;
    struct pst_text log = log_made(true);
    size_t order[10];
    for (size_t a = 0; a < 8; a++) {
        size_t count = 0;
        for (size_t e = 0; e < 8; e++)
            if (e != a)
                order[count++] = e;
        assert_int_equal(log_of_entries(&log, order, count), a == 7 ? 3 : PST_EREFUSED); /* the last one is an end */
        for (size_t c = a + 1; c < 8; c++) {
            for (size_t e = 0; e < 8; e++)
                order[e] = e == a ? c : e == c ? a : e;
            assert_int_equal(log_of_entries(&log, order, 8), PST_EREFUSED);
        }
        count = 0;
        for (size_t e = 0; e < 8; e++) {
            order[count++] = e;
            if (e == a)
                order[count++] = e;
        }
        assert_int_equal(log_of_entries(&log, order, count), PST_EREFUSED);
    }
    pst_text_fini(&log);
}

static char failed_entry[336];

static int write_fails(void *self, struct pst_file *file, const void *bytes, size_t byte_count)
{
    (void)self;
    (void)file;
    assert_int_equal(byte_count, sizeof failed_entry);
    memcpy(failed_entry, bytes, byte_count);
    return PST_EIO;
}

/* An entry that could not be written, kept by somebody and put in the place of the one that got its number. */
static void an_entry_that_never_counted_cannot_come_back(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct pst_text made = {0};
    bench_embedded(b, 12);
    assert_int_equal(put(b, "kept", 0, "from an earlier life"), PST_OK);
    again(b);
    size_t at = log_of(b)->count;
    int (*write)(void *self, struct pst_file *file, const void *bytes, size_t byte_count) = b->sim.world.file_write;
    b->sim.world.file_write = write_fails;
    assert_int_equal(put(b, "n", 0, "never"), PST_EIO);
    b->sim.world.file_write = write;
    assert_int_equal(put(b, "n", 0, "in its stead"), PST_OK);
    (void)pst_text_add(&made, log_of(b)->bytes, log_of(b)->count);
    bench_fini(b);
    assert_int_equal(log_opens(made.bytes, made.count, NULL), 1);
    assert_memory_equal(made.bytes + at + 16, failed_entry + 16, 8); /* their number */
    memcpy(made.bytes + at, failed_entry, sizeof failed_entry);
    assert_int_equal(log_opens(made.bytes, made.count, NULL), PST_EREFUSED);
    pst_text_fini(&made);
}

static void another_key_is_told(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct pst_store *store;
    bench_embedded(b, 13);
    assert_int_equal(put(b, "a", 0, "1"), PST_OK);
    bench_close(b);
    assert_int_equal(pst_store_embedded(b->world, 0, b->place, other_key, b->why, &store), PST_EREFUSED);
    assert_non_null(strstr(b->why, "another key"));
    sim_put(&b->sim, "store/store-0000000000000009.log",
            "something else, and long enough to be a header of sixty-four bytes", 66);
    assert_int_equal(bench_open(b), PST_EREFUSED);
    assert_non_null(strstr(b->why, "not a penstock store"));
    bench_fini(b);
}

/* A log is written anew when it is long, and its keys with it. */
static void a_long_log_is_written_anew(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static char bytes[100000];
    static uint8_t before[48], after[48];
    bench_embedded(b, 14);
    size_t longest = 0;
    assert_int_equal(put_bound(b, "bound", "stays while the session does"), PST_OK);
    memcpy(before, log_of(b)->bytes, sizeof before);
    for (uint64_t i = 0; i < 60; i++) {
        struct pst_store_change change = {"n", i, bytes, sizeof bytes, false};
        memset(bytes, (int)i, sizeof bytes);
        assert_int_equal(commit(b, &change, 1), PST_OK);
        size_t count = log_of(b)->count;
        longest = count > longest ? count : longest;
    }
    assert_in_range(longest, 1024 * 1024, 4 * 100200 + 1024 * 1024 + 130000);
    memcpy(after, log_of(b)->bytes, sizeof after);
    assert_memory_equal(before, after, 16);
    assert_memory_not_equal(before + 16, after + 16, 32);
    expect(b, "bound", 1, "stays while the session does");
    again(b);
    memcpy(before, log_of(b)->bytes, sizeof before);
    assert_memory_not_equal(before + 16, after + 16, 32);
    expect_list(b, "", "n\n");
    bench_fini(b);
}

/* Whatever number of commits: four times what is live, a MiB, and the commit that goes beyond it; while it is written anew, that besides. */
static void the_log_is_bounded_by_what_is_live(void **state)
{
    (void)state;
    struct bench *b = &bench;
    enum {
        COMMITS = 6000,
        RECORDS = 7,
        RECORD_BYTES = 3000,
        BYTES_MAX = 4 * RECORDS * (RECORD_BYTES + 200) + (1 << 20) + 8192
    };
    static char bytes[RECORD_BYTES], names[RECORDS][8];
    size_t most = 0, files_most = 0;
    uint32_t compactions = 0;
    bench_embedded(b, 17);
    for (uint64_t i = 0; i < COMMITS; i++) {
        size_t before = log_of(b)->count, files = 0;
        (void)snprintf(names[i % RECORDS], sizeof *names, "n%u", (unsigned)(i % RECORDS));
        struct pst_store_change change = {names[i % RECORDS], i / RECORDS, bytes, sizeof bytes, false};
        assert_int_equal(commit(b, &change, 1), PST_OK);
        for (uint32_t f = 0; f < b->sim.file_count; f++)
            files += b->sim.files[f].there ? b->sim.files[f].bytes.count : 0;
        compactions += log_of(b)->count < before;
        most = log_of(b)->count > most ? log_of(b)->count : most;
        files_most = files > files_most ? files : files_most;
    }
    assert_true(compactions >= (uint64_t)COMMITS * RECORD_BYTES / BYTES_MAX - 1 && compactions > 10);
    assert_true(most <= BYTES_MAX && files_most <= BYTES_MAX + 2 * RECORDS * (RECORD_BYTES + 200));
    bench_fini(b);
}

static void a_compaction_that_fails_costs_nothing(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static char bytes[100000];
    bench_embedded(b, 15);
    for (uint64_t i = 0; i < 40; i++) {
        struct pst_store_change change = {"n", i, bytes, sizeof bytes, false};
        size_t count = log_of(b)->count;
        b->sim.write_bytes_left = count > 1024 * 1024 ? 150000 : UINT64_MAX; /* a commit; not the map besides */
        assert_int_equal(commit(b, &change, 1), PST_OK);
    }
    assert_null(sim_get(&b->sim, "store/store.new"));
    assert_true(log_of(b)->count > 4 * 1000 * 1000);
    b->sim.write_bytes_left = UINT64_MAX;
    again(b);
    expect_list(b, "", "n\n");
    bench_fini(b);
}

static void the_store_is_full_at_its_bounds(void **state)
{
    (void)state;
    struct bench *b = &bench;
    static char large[PST_STORE_RECORD_BYTES_MAX], names[PST_STORE_CHANGES_MAX][16];
    struct pst_store_change changes[PST_STORE_CHANGES_MAX];
    bench_embedded(b, 16);
    for (uint32_t i = 0; i < PST_STORE_RECORDS_MAX / 50; i++) {
        for (uint32_t k = 0; k < 50; k++) {
            (void)snprintf(names[k], sizeof names[k], "%06u", (i * 50 + k) * 7919 % PST_STORE_RECORDS_MAX);
            changes[k] = put_of(names[k], 0, "");
        }
        assert_int_equal(commit(b, changes, 50), PST_OK);
    }
    assert_int_equal(put(b, "more", 0, ""), PST_EFULL);
    struct pst_store_change swap[] = {{"000000", 1, NULL, 0, false}, put_of("more", 0, "")};
    assert_int_equal(commit(b, swap, 2), PST_OK);
    again(b);
    assert_int_equal(put(b, "000000", 0, ""), PST_EFULL);
    uint32_t count = 0;
    for (int rc = PST_OK; rc == PST_OK; count += rc == PST_OK) {
        (void)snprintf(names[0], sizeof names[0], "%06u", count + 1);
        struct pst_store_change change = {names[0], 1, large, sizeof large, false};
        rc = commit(b, &change, 1);
        assert_true(rc == PST_OK || rc == PST_EFULL);
    }
    assert_in_range(count, 110, 128); /* 64 MiB, less what 100,000 paths take */
    again(b);
    expect(b, "more", 1, "");
    bench_fini(b);
}

static pst_step close_at_once(void *argument, uint32_t worker_index)
{
    struct round *round = argument;
    struct pst_store *store = round->bench->store;
    (void)worker_index;
    store->begin(store->self, &round->requests[0]);
    store->step(store->self);
    round->bench->store = NULL;
    store->close(store->self);
    memset(round->requests, 0x55, sizeof *round->requests);
    return PST_STEP_DONE;
}

static void closing_leaves_requests_alone(void **state)
{
    (void)state;
    for (size_t f = 0; f < 4; f++) {
        struct bench *b = &bench;
        struct pst_store_change change = put_of("a", 0, "1");
        struct pst_store_request request = commit_of(&change, 1), untouched;
        struct round round = {b, &request, 1, false};
        bench_init(b, &fillings[f], 17);
        assert_int_equal(bench_open(b), PST_OK);
        assert_int_equal(b->world->run(b->world->self, 1, close_at_once, &round), PST_OK);
        memset(&untouched, 0x55, sizeof untouched);
        assert_memory_equal(&request, &untouched, sizeof request);
        assert_int_equal(bench_open(b), PST_OK); /* the job has let go of the folder */
        expect(b, "a", 1, "1");
        bench_fini(b);
    }
}

static void one_process_at_a_time_has_the_folder(void **state)
{
    (void)state;
    struct bench *b = &bench;
    struct pst_store *second;
    bench_init(b, &fillings[2], 18);
    assert_int_equal(bench_open(b), PST_OK);
    assert_int_equal(pst_store_embedded(b->world, 0, b->place, key, b->why, &second), PST_EREFUSED);
    assert_non_null(strstr(b->why, "another process"));
    assert_int_equal(put(b, "a", 0, "1"), PST_OK);
    again(b);
    expect(b, "a", 1, "1");
    bench_fini(b);
}

static int secrets_make(void **state)
{
    (void)state;
    if (pst_secret_new(&key) != PST_OK || pst_secret_new(&other_key) != PST_OK || sem_init(&woken, 0, 0) != 0)
        return -1;
    memset(pst_secret_bytes(key), 7, PST_SECRET_BYTES);
    return 0;
}

static int secrets_free(void **state)
{
    (void)state;
    pst_secret_free(key);
    pst_secret_free(other_key);
    return 0;
}

#define SUITE(X)                                                \
    X(versions_start_at_1_and_grow_by_one)                      \
    X(another_version_refuses_the_commit)                       \
    X(a_commit_happens_wholly_or_not_at_all)                    \
    X(a_list_is_sorted_and_of_its_prefix)                       \
    X(a_bound_record_goes_with_its_session)                     \
    X(what_is_committed_is_there_when_the_store_is_opened_anew) \
    X(requests_that_are_not_well_formed_are_refused)            \
    X(records_and_commits_have_their_bounds)                    \
    X(requests_are_answered_in_their_order)                     \
    X(a_commit_is_news)                                         \
    X(random_commits_leave_what_the_model_says)

/* With a name: the suite alone, over the fillings whose name begins so. */
int main(int argc, char **argv)
{
#define TEST(f) {#f, f, begin, finish, NULL},
    static const struct CMUnitTest suite[] = {SUITE(TEST)};
    enum { COUNT = sizeof suite / sizeof *suite };
    int failed = 0;
    for (size_t f = 0; f < sizeof fillings / sizeof *fillings; f++) {
        if (argc > 1 && strncmp(fillings[f].name, argv[1], strlen(argv[1])) != 0)
            continue;
        static char names[COUNT][120];
        struct CMUnitTest tests[COUNT];
        for (size_t i = 0; i < COUNT; i++) {
            (void)snprintf(names[i], sizeof names[i], "%s: %s", fillings[f].name, suite[i].name);
            tests[i] = suite[i];
            tests[i].name = names[i];
            tests[i].initial_state = &fillings[f];
        }
        failed += cmocka_run_group_tests_name(fillings[f].name, tests, secrets_make, secrets_free);
    }
    if (argc > 1)
        return failed;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_sealed_there_is_refused),
        cmocka_unit_test(power_cuts_lose_nothing_that_was_answered),
        cmocka_unit_test(power_cuts_amid_compactions_lose_nothing),
        cmocka_unit_test(a_killed_process_loses_nothing),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(a_full_disk_fails_a_commit_and_not_the_next),
        cmocka_unit_test(a_failed_sync_stops_commits_and_not_reads),
        cmocka_unit_test(no_changed_byte_of_a_log_is_accepted),
        cmocka_unit_test(a_log_cut_short_holds_what_came_before),
        cmocka_unit_test(entries_cannot_be_dropped_swapped_or_repeated),
        cmocka_unit_test(an_entry_that_never_counted_cannot_come_back),
        cmocka_unit_test(another_key_is_told),
        cmocka_unit_test(a_long_log_is_written_anew),
        cmocka_unit_test(the_log_is_bounded_by_what_is_live),
        cmocka_unit_test(a_compaction_that_fails_costs_nothing),
        cmocka_unit_test(the_store_is_full_at_its_bounds),
        cmocka_unit_test(closing_leaves_requests_alone),
        cmocka_unit_test(one_process_at_a_time_has_the_folder),
    };
    return failed + cmocka_run_group_tests(tests, secrets_make, secrets_free);
}
