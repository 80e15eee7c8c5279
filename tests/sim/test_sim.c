/* test_sim.c - whole graphs in the simulated world: whatever the workers' turns, the sizes of blocks, frames and queues, and the
 * bytes of a read, the outputs are the same (P1), and nothing is ever stuck. */
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- the queries ---- */

static void queries_for_all_seeds(const char *graph, uint64_t seeds)
{
    struct scene wanted, found;
    scene_init(&wanted, 1);
    scene_query(&wanted, graph);
    scene_set(&wanted, "partitions", "1");
    scene_put_meters(&wanted, &scene_small);
    assert_int_equal(scene_run(&wanted, graph), PST_OK);
    assert_true(wanted.report.rows_late > 20 && wanted.report.lines_malformed > 20 && wanted.report.rows_out > 40);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        char what[80];
        scene_init(&found, seed);
        scene_query(&found, graph);
        scene_shake(&found, true);
        scene_put_meters(&found, &scene_small);
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        assert_int_equal(scene_run(&found, graph), PST_OK);
        scene_same(&wanted, &found, what);
        scene_fini(&found);
    }
    scene_fini(&wanted);
}

static void query_1_gives_the_same_bytes_for_every_interleaving(void **state)
{
    (void)state;
    queries_for_all_seeds(LOAD, scene_seeds(150));
}

static void query_2_gives_the_same_bytes_for_every_interleaving(void **state)
{
    (void)state;
    queries_for_all_seeds(OUTLIERS, scene_seeds(150));
}

static void the_same_seed_gives_the_same_trace(void **state)
{
    (void)state;
    uint64_t traces[3];
    for (int i = 0; i < 3; i++) {
        struct scene scene;
        scene_init(&scene, i == 2 ? 8 : 7);
        scene_put_meters(&scene, &scene_small);
        scene_query(&scene, OUTLIERS);
        scene_shake(&scene, true);
        scene.options.worker_count = 4;
        assert_int_equal(scene_run(&scene, OUTLIERS), PST_OK);
        traces[i] = scene.sim.trace;
        scene_fini(&scene);
    }
    assert_int_equal(traces[0], traces[1]);
    assert_int_not_equal(traces[0], traces[2]);
}

/* ---- graphs of the tests' own ---- */
static void graph_for_all_seeds(const char *graph, uint64_t seeds, bool narrow)
{
    struct scene wanted, found;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        char what[80];
        uint64_t input = seed % 5;
        scene_init(&wanted, 1);
        scene_put_rows(&wanted, input, 1500, 40, 20);
        assert_int_equal(scene_run(&wanted, graph), PST_OK);
        scene_init(&found, seed);
        scene_shake(&found, true);
        if (narrow)
            found.options.channel_frames = found.options.frame_rows = 1;
        scene_put_rows(&found, input, 1500, 40, 20);
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        assert_int_equal(scene_run(&found, graph), PST_OK);
        scene_same(&wanted, &found, what);
        scene_fini(&found);
        scene_fini(&wanted);
    }
}

static void graphs_with_diamonds_cannot_deadlock_even_with_queues_of_one_frame(void **state)
{
    (void)state;
    graph_for_all_seeds(diamonds, scene_seeds(60), true);
    for (uint64_t seed = 1; seed <= scene_seeds(30); seed++) {
        struct scene scene;
        scene_init(&scene, seed);
        scene_query(&scene, OUTLIERS);
        scene_shake(&scene, true);
        scene.options.channel_frames = scene.options.frame_rows = 1;
        scene_put_meters(&scene, &scene_small);
        assert_int_equal(scene_run(&scene, OUTLIERS), PST_OK);
        scene_fini(&scene);
    }
}

static void graphs_with_diamonds_give_the_same_bytes_for_all_sizes(void **state)
{
    (void)state;
    graph_for_all_seeds(diamonds, scene_seeds(100), false);
}

static void total_order_gives_the_same_bytes_for_every_interleaving(void **state)
{
    (void)state;
    graph_for_all_seeds(totals, scene_seeds(100), false);
}

/* ---- what the world may do ---- */
static const char *const outputs_of_diamonds[] = {"out/third_out.csv", "out/last_out.csv", "dead"};
enum { OUTPUTS_OF_DIAMONDS = 3 };

static void no_final_names(const struct scene *scene)
{
    for (int i = 0; i < OUTPUTS_OF_DIAMONDS; i++)
        assert_false(scene_there(scene, outputs_of_diamonds[i]));
}

static void a_full_disk_ends_the_run_and_leaves_no_file_under_its_final_name(void **state)
{
    (void)state;
    struct scene whole, scene;
    scene_init(&whole, 1);
    scene_put_rows(&whole, 3, 1500, 40, 20);
    assert_int_equal(scene_run(&whole, diamonds), PST_OK);
    for (uint64_t seed = 1; seed <= scene_seeds(100); seed++) {
        scene_init(&scene, seed);
        scene_put_rows(&scene, 3, 1500, 40, 20);
        scene_shake(&scene, true);
        scene.sim.write_bytes_left = sim_random(&scene.sim, seed % 4 == 0 ? 2000 : whole.sim.write_bytes);
        if (seed % 4 == 1) /* only the very last bytes find no room */
            scene.sim.write_bytes_left = whole.sim.write_bytes - 1 - sim_random(&scene.sim, 50);
        assert_int_equal(scene_run(&scene, diamonds), PST_EIO);
        assert_non_null(scene.report.error);
        assert_non_null(strstr(scene.report.error, "No space left on device"));
        no_final_names(&scene);
        for (uint32_t i = 0; i < scene.report.output_count; i++)
            assert_non_null(strstr(scene.report.outputs[i], ".failed"));
        scene_fini(&scene);
    }
    scene_fini(&whole);
}

static void compare_partial(const struct scene *whole, const struct scene *scene, const char *name)
{
    char partial[80];
    (void)snprintf(partial, sizeof partial, "%s.partial", name);
    assert_false(scene_there(scene, name));
    assert_true(scene_there(scene, partial));
    if (!scene_prefix(scene_file(whole, name), scene_file(scene, partial)))
        print_error("%s is no prefix\n", partial);
    assert_true(scene_prefix(scene_file(whole, name), scene_file(scene, partial)));
}

static void interrupted_runs(int interrupts)
{
    struct scene whole, scene;
    uint64_t stopped = 0;
    scene_init(&whole, 1);
    scene_put_rows(&whole, 3, 1500, 40, 20);
    assert_int_equal(scene_run(&whole, diamonds), PST_OK);
    for (uint64_t seed = 1; seed <= scene_seeds(100); seed++) {
        scene_init(&scene, seed);
        scene_put_rows(&scene, 3, 1500, 40, 20);
        scene_shake(&scene, true);
        scene.sim.interrupt_step[0] = 1 + sim_random(&scene.sim, seed % 3 == 0 ? 20 : 2000);
        if (interrupts == 2)
            scene.sim.interrupt_step[1] = scene.sim.interrupt_step[0] + sim_random(&scene.sim, 30);
        int rc = scene_run(&scene, diamonds);
        assert_true(rc == PST_ESTOPPED || rc == PST_OK);
        stopped += rc == PST_ESTOPPED;
        for (int i = 0; i < OUTPUTS_OF_DIAMONDS && rc == PST_ESTOPPED; i++)
            compare_partial(&whole, &scene, outputs_of_diamonds[i]);
        if (rc == PST_OK)
            scene_same(&whole, &scene, "interrupted too late");
        scene_fini(&scene);
    }
    scene_shows(stopped > scene_seeds(100) / 3);
    scene_fini(&whole);
}

static void an_interrupt_drains_and_leaves_whole_rows_under_a_name_that_says_so(void **state)
{
    (void)state;
    interrupted_runs(1);
}

static void a_second_interrupt_stops_at_once(void **state)
{
    (void)state;
    interrupted_runs(2);
}

static void an_operator_that_fails_stops_the_run_and_is_named(void **state)
{
    (void)state;
    static const char *const graph =
        SOURCE SINGLE("kept", "filter", "rows",
                      "where: [\"v > -400\"]") "  - {id: faulty, type: trip, inputs: [kept], key: [k], "
                                               "partitions: \"${partitions}\", params: {key_field: k, after: "
                                               "\"${after}\"}}\n" SINK("out", "faulty", "at, key, value");
    char text[2000], after[20];
    (void)snprintf(text, sizeof text, "%s", graph);
    char *brace = strstr(text, "{partitions: 1}");
    memmove(brace + 25, brace + 15, strlen(brace + 15) + 1);
    memcpy(brace, "{partitions: 1, after: 1}", 25);
    for (uint64_t seed = 1; seed <= scene_seeds(50); seed++) {
        struct scene scene;
        scene_init(&scene, seed);
        scene_put_rows(&scene, 3, 1500, 40, 20);
        scene_shake(&scene, true);
        (void)snprintf(after, sizeof after, "%u", 1 + (unsigned)sim_random(&scene.sim, 30));
        scene_set(&scene, "after", after);
        assert_int_equal(scene_run(&scene, text), PST_ERANGE);
        assert_non_null(strstr(scene.report.error, "faulty"));
        assert_non_null(strstr(scene.report.error, "tripped?[2J over a row"));
        assert_false(scene_there(&scene, "out/out.csv"));
        scene_fini(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_gives_the_same_bytes_for_every_interleaving),
        cmocka_unit_test(query_2_gives_the_same_bytes_for_every_interleaving),
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
        cmocka_unit_test(graphs_with_diamonds_cannot_deadlock_even_with_queues_of_one_frame),
        cmocka_unit_test(graphs_with_diamonds_give_the_same_bytes_for_all_sizes),
        cmocka_unit_test(total_order_gives_the_same_bytes_for_every_interleaving),
        cmocka_unit_test(a_full_disk_ends_the_run_and_leaves_no_file_under_its_final_name),
        cmocka_unit_test(an_interrupt_drains_and_leaves_whole_rows_under_a_name_that_says_so),
        cmocka_unit_test(a_second_interrupt_stops_at_once),
        cmocka_unit_test(an_operator_that_fails_stops_the_run_and_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
