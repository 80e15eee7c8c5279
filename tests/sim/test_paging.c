/* test_paging.c - a state larger than its budget in the simulated world: the same bytes whatever leaves, and whenever the jobs that
 * write and read its pages get their turn; and what happens when the disk is full, memory or power goes. */
#include "engine/disk.h"
#include "state/seal.h"
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pst_secret *secret;
static char *graph; /* Query 2 with one bucket, so that 9 pages are each operator's own */
static struct scene wanted;

enum { BUDGET_BYTES = 3 * 9 * 16 * 1024, EVERY_ROWS = 10000 };

static const struct scene_meters meters = {
    .houses = 2, .plugs = 40, .seed = 11, .seconds = 6000, .rows_max = 160000, .hour = 19};

static void begin(struct scene *scene, uint64_t seed)
{
    scene_init(scene, seed);
    scene_set(scene, "windows", "40,3000");
    scene_set(scene, "partitions", "1");
    scene_put_meters(scene, &meters);
}

static void paged(struct scene *scene)
{
    scene->options.state_budget = BUDGET_BYTES + sim_random(&scene->sim, 3) * 2 * 16 * 1024;
    scene->options.evict = sim_random(&scene->sim, 2) == 0 ? 0 : (uint32_t)sim_random(&scene->sim, 4);
    scene->options.no_prefetch = sim_random(&scene->sim, 4) == 0;
}

static uint64_t misses(const struct scene *scene)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < scene->report.paging_count; i++)
        count += scene->report.paging[i].page_ins;
    return count;
}

static void the_bytes_are_the_same_within_a_budget(void **state)
{
    (void)state;
    uint64_t fetched = 0, ahead = 0, seeds = scene_seeds(40);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct scene scene;
        char what[40];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        begin(&scene, seed);
        scene_shake(&scene, false);
        paged(&scene);
        if (scene_run(&scene, graph) != PST_OK)
            print_error("%s: %s\n", what, scene.report.error);
        scene_same(&wanted, &scene, what);
        assert_true(misses(&scene) > 0);
        fetched += misses(&scene);
        for (uint32_t i = 0; i < scene.report.paging_count; i++)
            ahead += scene.report.paging[i].page_ins_ahead;
        scene_fini(&scene);
    }
    assert_true(fetched > seeds * 10 && (ahead > seeds || seeds < 10));
}

static void checkpointed(struct scene *scene)
{
    scene->options.checkpoint = (struct pst_checkpoint_options){
        .directory = "points", .every_rows = EVERY_ROWS, .resume = true, .keys = &secret, .key_count = 1};
}

/* Another number of workers at each start, and now and then no budget. */
static void start_again(struct scene *scene)
{
    pst_run_report_fini(&scene->report);
    uint32_t settings = scene->setting_count;
    scene_shake(scene, false);
    scene->setting_count = settings;
    scene->options.state_budget = 0;
    if (sim_random(&scene->sim, 4) != 0)
        paged(scene);
}

static void power_goes_while_pages_come_and_go(void **state)
{
    (void)state;
    uint64_t steps = 0, resumed = 0, seeds = scene_seeds(25);
    for (uint64_t seed = 0; seed <= seeds; seed++) { /* seed 0 keeps its power, and tells how many steps there are */
        struct scene scene;
        char what[40];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        begin(&scene, seed);
        checkpointed(&scene);
        for (int cut = seed == 0 ? 3 : 0; cut <= 3; cut++) {
            start_again(&scene);
            scene.sim.cut_step = cut < 3 ? scene.sim.disk_steps + 1 + sim_random(&scene.sim, steps) : 0;
            (void)scene_try(&scene, graph);
            assert_false(scene.sim.stuck);
            resumed += scene.report.checkpoint.resumed_id != 0;
            if (scene.rc == PST_OK && !scene.sim.cut)
                break;
            if (cut < 3)
                sim_restart(&scene.sim);
        }
        if (scene.rc != PST_OK)
            print_error("%s: %s\n", what, scene.report.error);
        scene_same(&wanted, &scene, what);
        steps = seed == 0 ? scene.sim.disk_steps : steps;
        scene_fini(&scene);
    }
    assert_true(resumed > seeds / 2 || seeds < 10);
}

/* The spill file and the outputs share a disk: whichever finds it full, nothing has its final name that is not whole. */
static void a_full_disk_ends_the_run_with_a_sentence(void **state)
{
    (void)state;
    uint64_t spilled = 0, images = 0;
    for (uint64_t left = 2000; left < 4000000; left = left * 5 / 4) {
        struct scene scene;
        begin(&scene, left);
        paged(&scene);
        if (left % 2 == 0)
            checkpointed(&scene);
        scene.sim.write_bytes_left = left;
        int rc = scene_try(&scene, graph);
        assert_true(rc == PST_OK || rc == PST_EIO);
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a full disk");
        else
            assert_false(scene_there(&scene, "out/outliers.csv"));
        bool named = rc == PST_EIO && strstr(scene.report.error, "the spill file in out: ") != NULL;
        assert_true(!named || strstr(scene.report.error, "No space left on device") != NULL);
        spilled += named;
        const char *why = scene.report.checkpoint.why_dropped;
        assert_true(scene.report.checkpoint.dropped == 0 || strstr(why, "No space left on device") != NULL);
        images += strstr(why, ": the spill file in out: ") != NULL;
        scene_fini(&scene);
    }
    assert_true(spilled > 2 && images > 0);
}

/* The bound of what a node keeps: what the disk has is not looked at. */
static void a_bound_of_disk_is_as_a_full_one(void **state)
{
    (void)state;
    uint64_t spilled = 0, dropped = 0, whole = 0;
    for (uint64_t most = 200000; most < 8000000; most = most * 5 / 4) {
        struct scene scene;
        struct pst_disk disk;
        pst_disk_init(&disk, most);
        begin(&scene, most);
        paged(&scene);
        if (most % 2 == 0)
            checkpointed(&scene);
        scene.options.disk = &disk;
        int rc = scene_try(&scene, graph);
        assert_true(rc == PST_OK || rc == PST_EIO);
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "within a bound of disk");
        else
            assert_non_null(strstr(scene.report.error, "the spill file in out: it does not fit: "));
        assert_true(rc == PST_OK || strstr(scene.report.error, " and --disk allows ") != NULL);
        assert_true(scene.report.checkpoint.dropped == 0 ||
                    strstr(scene.report.checkpoint.why_dropped, " and --disk allows ") != NULL);
        assert_int_equal(disk.spilled_bytes, 0); /* the files have no names: they are gone */
        assert_true(disk.kept_bytes <= most);
        whole += rc == PST_OK;
        spilled += rc != PST_OK;
        dropped += scene.report.checkpoint.dropped;
        pst_disk_fini(&disk);
        scene_fini(&scene);
    }
    assert_true(whole > 2 && spilled > 2 && dropped > 0);
}

/* Any read: of a page that is wanted now, one read ahead (which is then read again), one for a checkpoint. */
static void any_read_may_fail(void **state)
{
    (void)state;
    uint64_t ended = 0, tries = scene_seeds(60);
    for (uint64_t try = 1; try <= tries; try++) {
        struct scene scene;
        begin(&scene, try);
        scene_shake(&scene, false);
        paged(&scene);
        if (try % 2 == 0)
            checkpointed(&scene);
        scene.sim.read_at_fails = try;
        int rc = scene_try(&scene, graph);
        assert_true(rc == PST_OK || rc == PST_EIO);
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a failed read");
        else
            assert_non_null(strstr(scene.report.error, "the spill file in out: "));
        assert_true(rc == PST_OK || !scene_there(&scene, "out/outliers.csv"));
        ended += rc == PST_EIO;
        scene_fini(&scene);
    }
    assert_true(ended > tries / 4);
}

static int (*read_at)(void *self, struct pst_file *file, uint64_t offset, void *bytes, size_t byte_count);
static uint64_t reads_before_change;

static int read_at_changed(void *self, struct pst_file *file, uint64_t offset, void *bytes, size_t byte_count)
{
    int rc = read_at(self, file, offset, bytes, byte_count);
    if (reads_before_change-- == 0)
        ((unsigned char *)bytes)[byte_count / 2] ^= 1;
    return rc;
}

/* The same, of what somebody has changed. Who reads ahead for nothing does not notice. */
static void any_page_may_have_been_changed(void **state)
{
    (void)state;
    uint64_t ended = 0, written_down = 0, tries = scene_seeds(60);
    for (uint64_t try = 1; try <= tries; try++) {
        struct scene scene;
        begin(&scene, try);
        scene_shake(&scene, false);
        paged(&scene);
        if (try % 4 != 0)
            checkpointed(&scene);
        read_at = scene.sim.world.file_read_at;
        reads_before_change = try;
        scene.sim.world.file_read_at = read_at_changed;
        int rc = scene_try(&scene, graph);
        assert_true(rc == PST_OK || rc == PST_EREFUSED);
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a changed page");
        else
            assert_non_null(strstr(scene.report.error,
                                   ", partition 0, its state: the spill file was changed by somebody "
                                   "else: page "));
        assert_true(rc == PST_OK || strstr(scene.report.error, " of `") != NULL);
        assert_true(rc == PST_OK || !scene_there(&scene, "out/outliers.csv"));
        ended += rc == PST_EREFUSED;
        written_down +=
            strncmp(scene.report.checkpoint.why_dropped, "writing pages: the spill file was changed ", 42) == 0;
        scene_fini(&scene);
    }
    assert_true(ended > tries / 4 && (written_down > 0 || tries < 10)); /* the latter found by a checkpoint's job */
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t allocations = 1, ended = 0, tries = scene_seeds(60);
    for (uint64_t try = 0; try <= tries; try++) {
        struct scene scene;
        begin(&scene, 4);
        paged(&scene);
        if (try % 2 == 0)
            checkpointed(&scene);
        scene.fail_at = try == 0 ? 0 : 1 + (try * 7919) % allocations;
        int rc = scene_try(&scene, graph);
        assert_true(rc == PST_OK || rc == PST_ENOMEM);
        allocations = try == 0 ? scene.allocations : allocations;
        ended += rc == PST_ENOMEM;
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a failed allocation");
        scene_fini(&scene);
    }
    assert_true(ended > 0);
}

static void a_budget_too_small_is_named(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, 3);
    scene.options.state_budget = BUDGET_BYTES - 1024;
    assert_int_equal(scene_try(&scene, graph), PST_EGRAPH);
    assert_non_null(strstr(scene.report.error, "need 432 KiB to begin with: --state-budget 432KiB"));
    assert_false(scene_there(&scene, "out/outliers.csv"));
    scene_fini(&scene);
}

/* Of the run's key, which is drawn first, and of what each instance's pages are sealed under. */
static uint64_t randoms_before_failure;

static int random_fails(void *self, void *bytes, size_t byte_count)
{
    if (randoms_before_failure-- == 0) {
        pst_system_error_set(ENOSYS);
        return PST_EIO;
    }
    for (size_t i = 0; i < byte_count; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)sim_random(self, 256);
    return PST_OK;
}

static void a_state_that_cannot_be_sealed_says_whose_it_is_and_why(void **state)
{
    (void)state;
    static const char *const ids[] = {"median_all", "plug_above", "house_share"};
    for (uint64_t i = 0; i < 3; i++) {
        struct scene scene;
        begin(&scene, 5);
        scene.options.state_budget = BUDGET_BYTES;
        scene.sim.world.random = random_fails;
        randoms_before_failure = 1 + i;
        assert_int_equal(scene_try(&scene, graph), PST_EIO);
        assert_non_null(strstr(scene.report.error, ids[i]));
        assert_non_null(strstr(scene.report.error, ", partition 0, its state: Function not implemented"));
        scene_fini(&scene);
    }
}

static const char *const skimmed =
    SOURCE SINGLE("old", "skim", "rows", "value: v") SINK("skimmed", "old", "at, number, digest");

/* What was read ahead for a page that is dead must not be taken for the page that has its slot now. */
static void pages_read_ahead_may_die_and_leave_their_slots_to_others(void **state)
{
    (void)state;
    struct scene without;
    uint64_t seeds = scene_seeds(20);
    scene_init(&without, 1);
    scene_put_rows(&without, 9, 6000, 5, 6);
    assert_int_equal(scene_run(&without, skimmed), PST_OK);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct scene scene;
        char what[40];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        scene_init(&scene, seed);
        scene_shake(&scene, false);
        scene_put_rows(&scene, 9, 6000, 5, 6);
        scene.options.state_budget = BUDGET_BYTES / 3;
        if (scene_run(&scene, skimmed) != PST_OK)
            print_error("%s: %s\n", what, scene.report.error);
        scene_same(&without, &scene, what);
        const struct pst_paging_report *paging = scene.report.paging;
        assert_true(paging->dead_outside > 100 && paging->page_ins_ahead > 100 &&
                    paging->aheads > paging->page_ins_ahead);
        scene_fini(&scene);
    }
    scene_fini(&without);
}

/* ---- the graph ---- */

static int scenery_make(void **state)
{
    (void)state;
    static const char from[] = "buckets: 64", to[] = "buckets: 1 ";
    FILE *file = fopen(PST_TEST_DEBS14_DIR "/outliers.yaml", "r");
    assert_non_null(file);
    graph = calloc(1, 1 << 16);
    assert_true(fread(graph, 1, (1 << 16) - 1, file) > 0);
    (void)fclose(file);
    uint32_t replaced = 0;
    for (char *at = graph; (at = strstr(at, from)) != NULL; replaced++)
        memcpy(at, to, sizeof to - 1);
    assert_int_equal(replaced, 1); /* the parameter, which all operators have */
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    memset(pst_secret_bytes(secret), 7, PST_SECRET_BYTES);
    begin(&wanted, 1);
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    return 0;
}

static int scenery_free(void **state)
{
    (void)state;
    scene_fini(&wanted);
    pst_secret_free(secret);
    free(graph);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_same_within_a_budget),
        cmocka_unit_test(power_goes_while_pages_come_and_go),
        cmocka_unit_test(a_full_disk_ends_the_run_with_a_sentence),
        cmocka_unit_test(a_bound_of_disk_is_as_a_full_one),
        cmocka_unit_test(pages_read_ahead_may_die_and_leave_their_slots_to_others),
        cmocka_unit_test(any_read_may_fail),
        cmocka_unit_test(any_page_may_have_been_changed),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(a_budget_too_small_is_named),
        cmocka_unit_test(a_state_that_cannot_be_sealed_says_whose_it_is_and_why),
    };
    return cmocka_run_group_tests(tests, scenery_make, scenery_free);
}
