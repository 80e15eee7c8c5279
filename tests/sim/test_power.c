/* test_power.c - checkpoints in a world that loses its power: at any step of the disk, with bytes and names that were not synced
 * lost, kept or torn, a run that goes on leaves what an undisturbed one leaves. */
#include "state/seal.h"
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CUTS_MAX = 3 };

static struct pst_secret *secret;
static struct pst_counter counter; /* whatever is lost, what it records can be resumed */

static bool is_query(const char *graph) { return strchr(graph, '\n') == NULL; }

/* Rows far enough apart that there are cuts between them: one of the tests' graphs has epochs of 7 and of 3600. */
static void input_put(struct scene *scene, const char *graph)
{
    if (is_query(graph))
        scene_put_meters(scene, &scene_small);
    else
        scene_put_rows(scene, 3, 1500, 40, 400);
}

static void settings_put(struct scene *scene, const char *graph)
{
    if (is_query(graph))
        scene_query(scene, graph);
}

static void wanted_make(struct scene *wanted, const char *graph)
{
    scene_init(wanted, 1);
    settings_put(wanted, graph);
    input_put(wanted, graph);
    assert_int_equal(scene_run(wanted, graph), PST_OK);
}

static void checkpointed(struct scene *scene, uint64_t every_rows)
{
    scene->options.checkpoint = (struct pst_checkpoint_options){.directory = "points",
                                                                .every_rows = every_rows,
                                                                .resume = true,
                                                                .keys = &secret,
                                                                .key_count = 1,
                                                                .counter = &counter};
}

/* Another number of workers, of partitions, and other sizes at each start. */
static void start_again(struct scene *scene, const char *graph)
{
    pst_run_report_fini(&scene->report);
    scene->setting_count = 0;
    settings_put(scene, graph);
    scene_shake(scene, true);
}

/* How many steps the disk makes in a run that keeps its power. */
static uint64_t disk_steps_of(const char *graph, uint64_t every_rows, const struct scene *wanted)
{
    struct scene scene;
    scene_init(&scene, 3);
    input_put(&scene, graph);
    settings_put(&scene, graph);
    checkpointed(&scene, every_rows);
    scene.options.block_bytes = 512;
    assert_int_equal(scene_run(&scene, graph), PST_OK);
    scene_same(wanted, &scene, "with checkpoints");
    assert_true(scene.report.checkpoint.written > 1 && scene.report.checkpoint.dropped == 0);
    uint64_t steps = scene.sim.disk_steps;
    scene_fini(&scene);
    return steps;
}

/* The checkpoint that is resumed is the last one written, or the one that was being written: never an older one. */
static void resumed_well(const struct pst_checkpoint_report *before, uint64_t started_from, const struct scene *scene,
                         const char *what)
{
    uint64_t last = started_from + before->written;
    uint64_t resumed = scene->report.checkpoint.resumed_id;
    if (before->dropped > 1 || scene->rc != PST_OK)
        return;
    if (before->written != 0 && resumed < last)
        print_error("%s: checkpoint %llu was whole, %llu is resumed: %s\n", what, (unsigned long long)last,
                    (unsigned long long)resumed, scene->report.checkpoint.passed_over);
    assert_true(before->written == 0 || resumed >= last);
}

/* What stands under a final name is whole, whatever was lost. */
static void final_names_hold(const struct scene *wanted, const struct scene *scene, const char *what)
{
    for (uint32_t i = 0; i < wanted->sim.file_count; i++) {
        const struct sim_file *file = &wanted->sim.files[i];
        const struct pst_text *found = scene_file(scene, file->name);
        if (!file->there || found == NULL)
            continue;
        bool same = found->count == file->bytes.count && memcmp(found->bytes, file->bytes.bytes, found->count) == 0;
        if (!same)
            print_error("%s: %s has %zu bytes of %zu\n", what, file->name, found->count, file->bytes.count);
        assert_true(same);
    }
}

static void power_goes(const char *graph, bool lost, uint64_t seeds)
{
    enum { EVERY_ROWS = 150 };
    struct scene wanted, scene;
    wanted_make(&wanted, graph);
    uint64_t steps = disk_steps_of(graph, EVERY_ROWS, &wanted), cuts = 0, resumed = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        char what[80];
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        scene_init(&scene, seed);
        input_put(&scene, graph);
        checkpointed(&scene, EVERY_ROWS);
        struct pst_checkpoint_report before = {0};
        uint64_t started_from = 0;
        for (int cut = 0; cut <= CUTS_MAX; cut++) {
            start_again(&scene, graph);
            scene.sim.cut_step = cut < CUTS_MAX ? scene.sim.disk_steps + 1 + sim_random(&scene.sim, steps) : 0;
            (void)scene_try(&scene, graph);
            assert_false(scene.sim.stuck);
            resumed += scene.report.checkpoint.resumed_id != 0;
            if (cut > 0)
                resumed_well(&before, started_from, &scene, what);
            if (scene.rc == PST_OK && !scene.sim.cut)
                break;
            cuts++;
            before = scene.report.checkpoint;
            started_from = before.resumed_id;
            lost ? sim_restart(&scene.sim) : sim_revive(&scene.sim);
            final_names_hold(&wanted, &scene, what);
        }
        if (scene.rc != PST_OK)
            print_error("%s: %s\n", what, scene.report.error);
        scene_same(&wanted, &scene, what);
        scene_fini(&scene);
    }
    scene_shows(cuts > seeds / 2 && resumed > seeds / 4); /* else nothing is shown */
    scene_fini(&wanted);
}

static void query_1_survives_power_cuts(void **state)
{
    (void)state;
    power_goes(LOAD, true, scene_seeds(150));
}

static void query_2_survives_power_cuts(void **state)
{
    (void)state;
    power_goes(OUTLIERS, true, scene_seeds(150));
}

/* Total order, several outputs, diamonds, operators that speak seldom: their numbers and timers go on where they were. */
static void other_graphs_survive_power_cuts(void **state)
{
    (void)state;
    power_goes(diamonds, true, scene_seeds(40));
    power_goes(totals, true, scene_seeds(40));
}

static void a_killed_process_loses_nothing(void **state)
{
    (void)state;
    power_goes(LOAD, false, scene_seeds(60));
    power_goes(OUTLIERS, false, scene_seeds(60));
}

/* A whole older folder in the place of a newer one: refused where the newer was recorded, taken where it was not. */
static void an_old_folder_is_noticed(void **state)
{
    (void)state;
    for (int counted = 0; counted < 2; counted++) {
        struct scene old, new;
        scene_init(&old, 5);
        scene_init(&new, 6);
        scene_put_meters(&old, &scene_small);
        scene_query(&old, LOAD);
        checkpointed(&old, 150);
        old.options.block_bytes = 512;
        old.options.checkpoint.counter = NULL;
        old.sim.cut_step = 60; /* a checkpoint or two */
        (void)scene_try(&old, LOAD);
        assert_true(old.report.checkpoint.written > 0);
        for (uint32_t i = 0; i < old.sim.file_count; i++)
            if (old.sim.files[i].there)
                sim_put(&new.sim, old.sim.files[i].name, old.sim.files[i].bytes.bytes, old.sim.files[i].bytes.count);
        sim_put(&new.sim, "elsewhere/counter", "penstock-counter 1 99\n", 22);
        scene_query(&new, LOAD);
        checkpointed(&new, 150);
        if (counted == 0)
            new.options.checkpoint.counter = NULL;
        (void)scene_try(&new, LOAD);
        assert_int_equal(new.rc, counted == 0 ? PST_OK : PST_EREFUSED);
        assert_true(counted == 0 || strstr(new.report.error, "an older folder was put back") != NULL);
        scene_fini(&old);
        scene_fini(&new);
    }
}

/* A checkpoint that is due in the first turn after a resume must not be cut where the last one was: nobody stops there again. */
static void checkpoints_go_on_after_a_resume(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 12);
    input_put(&scene, LOAD);
    settings_put(&scene, LOAD);
    checkpointed(&scene, 150);
    scene.options.block_bytes = 512;
    scene.sim.cut_step = 100;
    (void)scene_try(&scene, LOAD);
    uint64_t before = scene.report.checkpoint.written;
    assert_true(scene.sim.cut && before > 0);
    sim_revive(&scene.sim);
    pst_run_report_fini(&scene.report);
    scene.options.checkpoint.every_rows = 0;
    scene.options.checkpoint.every_ns = 1;
    assert_int_equal(scene_try(&scene, LOAD), PST_OK);
    assert_true(scene.report.checkpoint.resumed_id >= before && scene.report.checkpoint.written > 0);
    scene_fini(&scene);
}

/* A graph without state: where the input and the outputs stand is all there is. */
static void a_graph_without_state_is_checkpointed(void **state)
{
    (void)state;
    static const char *const graph =
        SOURCE SINGLE("kept", "filter", "rows", "where: [\"v > -400\"]") SINK("kept_out", "kept", "ts, k, v");
    power_goes(graph, true, scene_seeds(20));
}

/* One allocation fails: the run ends with that sentence, or a checkpoint is dropped; the next start goes on from what there is. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    struct scene wanted, scene;
    wanted_make(&wanted, OUTLIERS);
    uint64_t allocations = 1, tries = scene_seeds(150), dropped = 0, ended = 0;
    for (uint64_t try = 0; try <= tries; try++) {
        scene_init(&scene, 4);
        input_put(&scene, OUTLIERS);
        settings_put(&scene, OUTLIERS);
        checkpointed(&scene, 150);
        scene.options.block_bytes = 512;
        scene.fail_at = try == 0 ? 0 : 1 + (try - 1) * allocations / tries; /* of the first ones, too, however few */
        int rc = scene_try(&scene, OUTLIERS);
        assert_true(rc == PST_OK || rc == PST_ENOMEM);
        allocations = try == 0 ? scene.allocations : allocations;
        dropped += scene.report.checkpoint.dropped;
        ended += rc == PST_ENOMEM;
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a failed allocation");
        scene.fail_at = 0;
        start_again(&scene, OUTLIERS);
        if (scene_try(&scene, OUTLIERS) != PST_OK)
            print_error("allocation %llu of %llu: %s\n", (unsigned long long)(1 + (try - 1) * allocations / tries),
                        (unsigned long long)allocations, scene.report.error);
        scene_same(&wanted, &scene, "after it");
        scene_fini(&scene);
    }
    assert_true(dropped > 0 && ended > 0);
    scene_fini(&wanted);
}

/* A disk that is full for the checkpoints alone: they are dropped, said so, and the outputs are whole. */
static void a_full_disk_drops_checkpoints_and_not_rows(void **state)
{
    (void)state;
    struct scene wanted, scene;
    wanted_make(&wanted, LOAD);
    for (uint64_t left = 1000; left < 400000; left = left * 5 / 4) {
        scene_init(&scene, left);
        scene_put_meters(&scene, &scene_small);
        scene_query(&scene, LOAD);
        checkpointed(&scene, 150);
        scene.sim.write_bytes_left = left;
        int rc = scene_try(&scene, LOAD);
        assert_true(rc == PST_OK || rc == PST_EIO);
        if (rc == PST_OK)
            scene_same(&wanted, &scene, "with a full disk");
        else
            assert_false(scene_there(&scene, "out/load_plug.csv"));
        scene.sim.write_bytes_left = UINT64_MAX;
        start_again(&scene, LOAD);
        assert_int_equal(scene_run(&scene, LOAD), PST_OK);
        scene_same(&wanted, &scene, "when there is room again");
        scene_fini(&scene);
    }
    scene_fini(&wanted);
}

static int secret_make(void **state)
{
    (void)state;
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    memset(pst_secret_bytes(secret), 7, PST_SECRET_BYTES);
    counter = pst_counter_file("elsewhere/counter");
    return 0;
}

static int secret_free(void **state)
{
    (void)state;
    pst_secret_free(secret);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_survives_power_cuts),
        cmocka_unit_test(query_2_survives_power_cuts),
        cmocka_unit_test(other_graphs_survive_power_cuts),
        cmocka_unit_test(a_killed_process_loses_nothing),
        cmocka_unit_test(an_old_folder_is_noticed),
        cmocka_unit_test(checkpoints_go_on_after_a_resume),
        cmocka_unit_test(a_graph_without_state_is_checkpointed),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(a_full_disk_drops_checkpoints_and_not_rows),
    };
    return cmocka_run_group_tests(tests, secret_make, secret_free);
}
