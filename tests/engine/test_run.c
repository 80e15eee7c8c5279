/* test_run.c - runs in the real world: names and folders of outputs, and whole graphs on real threads, whose outputs are those of
 * one worker. Under the thread sanitizer this is the test of the hand-over between workers. */
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "operators/builtin.h"
#include "tests/sim/guests.h"

static char folder[64];

static int begin(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/penstock-run-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *path(const char *name)
{
    static char paths[8][200];
    static unsigned next;
    char *to = paths[next++ % 8];
    (void)snprintf(to, sizeof paths[0], "%s/%s", folder, name);
    return to;
}

static struct pst_text slurp(const char *name)
{
    struct pst_text text = {0};
    char buffer[4096];
    FILE *file = fopen(path(name), "rb");
    if (file == NULL)
        print_error("no file %s\n", name);
    assert_non_null(file);
    for (size_t count; (count = fread(buffer, 1, sizeof buffer, file)) != 0;)
        assert_int_equal(pst_text_add(&text, buffer, count), PST_OK);
    (void)fclose(file);
    return text;
}

/* The scene's input in a real file. */
static void spill(const struct scene *scene, const char *name)
{
    const struct pst_text *text = sim_get(&scene->sim, "in.csv");
    FILE *file = fopen(path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text->bytes, 1, text->count, file), text->count);
    assert_int_equal(fclose(file), 0);
}

static struct pst_graph *load(const char *graph, const struct pst_setting *settings, uint32_t setting_count)
{
    const struct pst_operator *const *lists[] = {pst_builtin_operators, pst_debs14_operators, pst_sim_guests};
    struct pst_registry registry = {lists, 3};
    struct pst_diagnostics d;
    struct pst_graph *loaded = NULL;
    pst_diagnostics_init(&d);
    int rc = strchr(graph, '\n') != NULL
                 ? pst_graph_parse("graph", graph, strlen(graph), settings, setting_count, &registry, &d, &loaded)
                 : pst_graph_load(graph, settings, setting_count, &registry, &d, &loaded);
    pst_diagnostics_fini(&d);
    assert_int_equal(rc, PST_OK);
    return loaded;
}

static int run(const char *graph, const struct scene *scene, const struct pst_run_options *options,
               struct pst_run_report *report)
{
    struct pst_graph *loaded = load(graph, scene->settings, scene->setting_count);
    int rc = pst_run(loaded, options, NULL, report);
    pst_graph_free(loaded);
    return rc;
}

/* One worker in the simulated world against many in the real one. */
static void threads_agree(const char *graph, struct scene *scene, int rounds)
{
    assert_int_equal(scene_run(scene, graph), PST_OK);
    assert_true(scene->sim.file_count >= 3);
    spill(scene, "in.csv");
    for (int i = 0; i < rounds; i++) {
        struct pst_run_report report;
        struct pst_run_options options = {.input = path("in.csv"),
                                          .output_dir = path("out"),
                                          .dead_letter = path("dead"),
                                          .worker_count = i % 2 == 0 ? 4 : 2 + (uint32_t)i % 7,
                                          .frame_rows = i % 3 == 0   ? 1
                                                        : i % 3 == 1 ? 50
                                                                     : 0,
                                          .channel_frames = 1 + (uint32_t)i % 3,
                                          .block_bytes = i % 4 == 3 ? 0 : 400 + (uint32_t)i * 500};
        assert_int_equal(run(graph, scene, &options, &report), PST_OK);
        assert_int_equal(report.rows, scene->report.rows);
        assert_int_equal(report.rows_late, scene->report.rows_late);
        assert_int_equal(report.lines_malformed, scene->report.lines_malformed);
        for (uint32_t f = 0; f < scene->sim.file_count; f++) {
            const struct sim_file *file = &scene->sim.files[f];
            if (strcmp(file->name, "in.csv") == 0)
                continue;
            struct pst_text found = slurp(file->name);
            assert_int_equal(found.count, file->bytes.count);
            assert_true(found.count == 0 || memcmp(found.bytes, file->bytes.bytes, found.count) == 0);
            pst_text_fini(&found);
        }
        pst_run_report_fini(&report);
    }
    scene_fini(scene);
}

static void query_1_on_threads(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 1);
    scene_query(&scene, LOAD);
    scene_set(&scene, "partitions", "5");
    scene_put_meters(&scene, &scene_small);
    threads_agree(LOAD, &scene, (int)scene_seeds(12));
}

static void query_2_on_threads(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 1);
    scene_query(&scene, OUTLIERS);
    scene_set(&scene, "partitions", "5");
    scene_put_meters(&scene, &scene_small);
    threads_agree(OUTLIERS, &scene, (int)scene_seeds(12));
}

static void diamonds_on_threads(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 1);
    scene_set(&scene, "partitions", "6");
    scene_put_rows(&scene, 4, 3000, 40, 20);
    threads_agree(diamonds, &scene, (int)scene_seeds(12));
}

static void total_order_on_threads(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 1);
    scene_set(&scene, "partitions", "6");
    scene_put_rows(&scene, 4, 3000, 40, 20);
    threads_agree(totals, &scene, (int)scene_seeds(12));
}

/* ---- names ---- */
static void folders_of_outputs_are_made(void **state)
{
    (void)state;
    struct scene scene;
    struct pst_run_report report;
    scene_init(&scene, 1);
    scene_put_rows(&scene, 4, 100, 4, 2);
    spill(&scene, "rows.csv");
    static const char *const graph = SOURCE SINK("out", "rows", "ts, k, v");
    struct pst_run_options options = {.input = path("rows.csv"), .output_dir = path("a/b//c/"), .worker_count = 2};
    assert_int_equal(run(graph, &scene, &options, &report), PST_OK);
    assert_int_equal(report.output_count, 1);
    assert_string_equal(report.outputs[0], path("a/b//c/out.csv"));
    assert_int_equal(access(path("a/b/c/out.csv"), F_OK), 0);
    assert_int_equal(access(path("a/b/c/out.csv.part"), F_OK), -1);
    pst_run_report_fini(&report);
    options.output_dir = path("rows.csv"); /* a file is in the way */
    assert_int_equal(run(graph, &scene, &options, &report), PST_EIO);
    assert_non_null(strstr(report.error, "cannot make the output folder"));
    pst_run_report_fini(&report);
    options.output_dir = path("ok");
    options.dead_letter = path("none/dead");
    assert_int_equal(run(graph, &scene, &options, &report), PST_EIO);
    assert_non_null(strstr(report.error, "none/dead"));
    assert_int_equal(access(path("ok/out.csv"), F_OK), -1);
    pst_run_report_fini(&report);
    options.dead_letter = NULL;
    options.input = folder;
    assert_int_equal(run(graph, &scene, &options, &report), PST_EIO);
    assert_non_null(strstr(report.error, "Is a directory"));
    pst_run_report_fini(&report);
    scene_fini(&scene);
}

static void names_of_sinks_are_plain_and_different(void **state)
{
    (void)state;
    static const char *const bad[] = {
        SOURCE "  - {id: a, type: csv_sink, inputs: [rows], params: {file: \"x/a.csv\"}}\n",
        SOURCE "  - {id: a, type: csv_sink, inputs: [rows], params: {file: \"../a.csv\"}}\n",
        SOURCE "  - {id: a, type: csv_sink, inputs: [rows], params: {file: a.csv}}\n"
               "  - {id: b, type: csv_sink, inputs: [rows], params: {file: a.csv}}\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct scene scene;
        scene_init(&scene, 1);
        scene_put_rows(&scene, 4, 100, 4, 2);
        assert_int_equal(scene_try(&scene, bad[i]), PST_EGRAPH);
        assert_int_equal(scene.sim.file_count, 1);
        scene_fini(&scene);
    }
}

static void an_old_result_stays_until_the_new_one_is_whole(void **state)
{
    (void)state;
    static const char *const graph = SOURCE SINK("out", "rows", "ts, k, v");
    struct scene scene;
    scene_init(&scene, 1);
    scene_put_rows(&scene, 4, 2000, 4, 2);
    sim_put(&scene.sim, "out/out.csv", "old\n", 4);
    scene.sim.write_bytes_left = 5000;
    assert_int_equal(scene_run(&scene, graph), PST_EIO);
    assert_string_equal(scene_file(&scene, "out/out.csv")->bytes, "old\n");
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_1_on_threads),
        cmocka_unit_test(query_2_on_threads),
        cmocka_unit_test(diamonds_on_threads),
        cmocka_unit_test(total_order_on_threads),
        cmocka_unit_test(folders_of_outputs_are_made),
        cmocka_unit_test(names_of_sinks_are_plain_and_different),
        cmocka_unit_test(an_old_result_stays_until_the_new_one_is_whole),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
