/* test_interleave.c - whole graphs with workers that are interrupted between any two atomic operations (yield.h): the promises of
 * watermarks, ends and wake-ups are made of the order of such operations, and here that order is played through. */
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

typedef void (*put_fn)(struct scene *scene, const char *graph, uint64_t seed);

static void put_query(struct scene *scene, const char *graph, uint64_t seed)
{
    (void)seed;
    struct scene_meters meters = scene_small;
    meters.rows_max = 1500;
    scene_query(scene, graph);
    scene_put_meters(scene, &meters);
}

static void put_rows(struct scene *scene, const char *graph, uint64_t seed)
{
    (void)graph;
    scene_put_rows(scene, seed % 3, 600, 20, 20);
}

/* An input that ends before the frames are full, the queues have filled and the workers have all woken up: the end overtakes
 * whatever it can. */
static uint32_t few(uint64_t seed) { return 1 + (uint32_t)(seed % 60); }

/* A last line without its end comes with the block that says that it is the last; else that block is empty. */
static void leave_open(struct scene *scene, uint64_t seed)
{
    if (seed / 3 % 2 == 0)
        scene->sim.files[0].bytes.count--;
}

static void put_short_query(struct scene *scene, const char *graph, uint64_t seed)
{
    struct scene_meters meters = scene_small;
    meters.rows_max = few(seed);
    scene_query(scene, graph);
    scene_put_meters(scene, &meters);
    leave_open(scene, seed);
}

static void put_few_rows(struct scene *scene, const char *graph, uint64_t seed)
{
    (void)graph;
    scene_put_rows(scene, seed, few(seed), 1 + (uint32_t)(seed % 7), 20);
    leave_open(scene, seed);
}

static void narrow(struct scene *scene)
{
    scene->options.worker_count = 1 + (uint32_t)sim_random(&scene->sim, 6);
    scene->options.frame_rows = 1 + (uint32_t)sim_random(&scene->sim, 3);
    scene->options.channel_frames = 1 + (uint32_t)sim_random(&scene->sim, 2);
    scene->sim.read_bytes_max = 1 + (uint32_t)sim_random(&scene->sim, 300); /* a read is a block */
}

static void interleave(const char *graph, put_fn put, bool narrowed, uint64_t seeds)
{
    struct scene wanted, found;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        char what[80];
        scene_init(&wanted, 1);
        put(&wanted, graph, seed);
        assert_int_equal(scene_run(&wanted, graph), PST_OK);
        scene_init(&found, seed);
        put(&found, graph, seed);
        scene_shake(&found, true);
        if (narrowed)
            narrow(&found);
        found.sim.yield_permille =
            (uint32_t)sim_random(&found.sim, 3) == 0 ? 300 : 1 + (uint32_t)sim_random(&found.sim, 60);
        (void)snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        assert_int_equal(scene_run(&found, graph), PST_OK);
        scene_same(&wanted, &found, what);
        scene_fini(&found);
        scene_fini(&wanted);
    }
}

static void query_1_gives_the_same_bytes(void **state)
{
    (void)state;
    interleave(LOAD, put_query, false, scene_seeds(60));
}

static void query_2_gives_the_same_bytes(void **state)
{
    (void)state;
    interleave(OUTLIERS, put_query, false, scene_seeds(60));
}

static void diamonds_give_the_same_bytes(void **state)
{
    (void)state;
    interleave(diamonds, put_rows, false, scene_seeds(100));
}

static void total_order_gives_the_same_bytes(void **state)
{
    (void)state;
    interleave(totals, put_rows, false, scene_seeds(60));
}

static void short_inputs_end_well(void **state)
{
    (void)state;
    interleave(diamonds, put_few_rows, true, scene_seeds(300));
    interleave(totals, put_few_rows, true, scene_seeds(300));
    interleave(LOAD, put_short_query, true, scene_seeds(120));
    interleave(OUTLIERS, put_short_query, true, scene_seeds(120));
}

static void an_interrupt_comes_at_any_time(void **state)
{
    (void)state;
    struct scene whole, scene;
    for (uint64_t seed = 1; seed <= scene_seeds(100); seed++) {
        scene_init(&whole, 1);
        put_rows(&whole, diamonds, 1);
        assert_int_equal(scene_run(&whole, diamonds), PST_OK);
        scene_init(&scene, seed);
        put_rows(&scene, diamonds, 1);
        scene_shake(&scene, true);
        scene.sim.yield_permille = 1 + (uint32_t)sim_random(&scene.sim, 60);
        scene.sim.interrupt_step[0] = 1 + sim_random(&scene.sim, 600);
        int rc = scene_run(&scene, diamonds);
        assert_true(rc == PST_OK || rc == PST_ESTOPPED);
        if (rc == PST_ESTOPPED)
            assert_true(
                scene_prefix(scene_file(&whole, "out/last_out.csv"), scene_file(&scene, "out/last_out.csv.partial")));
        scene_fini(&scene);
        scene_fini(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_gives_the_same_bytes), cmocka_unit_test(query_2_gives_the_same_bytes),
        cmocka_unit_test(diamonds_give_the_same_bytes), cmocka_unit_test(total_order_gives_the_same_bytes),
        cmocka_unit_test(short_inputs_end_well),        cmocka_unit_test(an_interrupt_comes_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
