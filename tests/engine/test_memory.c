/* test_memory.c - a run in which the n-th allocation fails, for every n (or a spread of them): it says so, leaks nothing (the
 * address sanitizer looks), and leaves no file under its final name. */
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef void (*put_fn)(struct scene *scene);

static void put_rows(struct scene *scene)
{
    scene_put_rows(scene, 3, 300, 20, 20);
    scene->options.worker_count = 3;
    scene->options.frame_rows = 20;
    scene->options.block_bytes = 1000;
    scene_set(scene, "partitions", "3");
}

static void put_meters(struct scene *scene)
{
    struct scene_meters meters = scene_small;
    meters.rows_max = 800;
    scene_put_meters(scene, &meters);
    scene->options.worker_count = 2;
    scene->options.frame_rows = 50;
}

static void put_load(struct scene *scene)
{
    put_meters(scene);
    scene_query(scene, LOAD);
}

static void put_outliers(struct scene *scene)
{
    put_meters(scene);
    scene_query(scene, OUTLIERS);
}

static void no_final_file(const struct scene *scene)
{
    for (uint32_t i = 0; i < scene->sim.file_count; i++) {
        const char *name = scene->sim.files[i].name;
        bool final = scene->sim.files[i].there && strcmp(name, "in.csv") != 0 && strstr(name, ".failed") == NULL &&
                     strstr(name, ".part") == NULL;
        if (final)
            print_error("%s is under its final name\n", name);
        assert_false(final);
    }
}

static void fail_each(const char *graph, put_fn put, uint64_t tries)
{
    struct scene scene;
    scene_init(&scene, 1);
    put(&scene);
    assert_int_equal(scene_run(&scene, graph), PST_OK);
    uint64_t count = scene.allocations, step = count / tries + 1;
    scene_fini(&scene);
    for (uint64_t n = 1; n <= count; n += n < tries / 2 ? 1 : step) {
        scene_init(&scene, 1);
        put(&scene);
        scene.fail_at = n;
        int rc = scene_try(&scene, graph);
        if (rc != PST_ENOMEM)
            print_error("allocation %llu of %llu: %s, %s\n", (unsigned long long)n, (unsigned long long)count,
                        pst_error_name(rc), scene.report.error != NULL ? scene.report.error : "no sentence");
        assert_int_equal(rc, PST_ENOMEM);
        assert_false(scene.sim.stuck);
        no_final_file(&scene);
        scene_fini(&scene);
    }
}

static void diamonds_without_memory(void **state)
{
    (void)state;
    fail_each(diamonds, put_rows, 400);
}

static void total_order_without_memory(void **state)
{
    (void)state;
    fail_each(totals, put_rows, 400);
}

static void query_1_without_memory(void **state)
{
    (void)state;
    fail_each(LOAD, put_load, 300);
}

static void query_2_without_memory(void **state)
{
    (void)state;
    fail_each(OUTLIERS, put_outliers, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diamonds_without_memory),
        cmocka_unit_test(total_order_without_memory),
        cmocka_unit_test(query_1_without_memory),
        cmocka_unit_test(query_2_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
