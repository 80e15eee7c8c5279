/* scene.c - see scene.h. */
#include "tests/sim/scene.h"

#include "operators/builtin.h"
#include "tests/sim/guests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void scene_init(struct scene *scene, uint64_t seed)
{
    memset(scene, 0, sizeof *scene);
    sim_init(&scene->sim, seed);
    scene->options = (struct pst_run_options){.input = "in.csv",
                                              .output_dir = "out",
                                              .dead_letter = "dead",
                                              .worker_count = 1,
                                              .interrupts = &scene->sim.interrupts};
}

void scene_fini(struct scene *scene)
{
    pst_run_report_fini(&scene->report);
    sim_fini(&scene->sim);
}

void scene_set(struct scene *scene, const char *name, const char *value)
{
    assert_true(scene->setting_count < SCENE_SETTINGS_MAX);
    scene->settings[scene->setting_count++] = (struct pst_setting){name, value};
}

static int graph_load(const struct scene *scene, const char *graph, struct pst_diagnostics *d,
                      struct pst_graph **ret_graph)
{
    const struct pst_operator *const *lists[] = {pst_builtin_operators, pst_debs14_operators, pst_sim_guests};
    struct pst_registry registry = {lists, 3};
    return strchr(graph, '\n') != NULL
               ? pst_graph_parse("graph", graph, strlen(graph), scene->settings, scene->setting_count, &registry, d,
                                 ret_graph)
               : pst_graph_load(graph, scene->settings, scene->setting_count, &registry, d, ret_graph);
}

int scene_load(const struct scene *scene, const char *graph, struct pst_graph **ret_graph)
{
    struct pst_diagnostics d;
    pst_diagnostics_init(&d);
    int rc = graph_load(scene, graph, &d, ret_graph);
    if (rc == PST_EGRAPH) {
        struct pst_text text = {0};
        (void)pst_diagnostics_print(&d, false, &text);
        print_error("%s\n", text.bytes);
        pst_text_fini(&text);
    }
    pst_diagnostics_fini(&d);
    return rc;
}

int scene_try(struct scene *scene, const char *graph)
{
    struct pst_graph *loaded = NULL;
    scene->rc = scene_load(scene, graph, &loaded);
    if (scene->rc == PST_OK) {
        uint64_t before = pst_malloc_count();
        pst_malloc_fail_at(scene->fail_at);
        scene->rc = pst_run(loaded, &scene->options, &scene->sim.world, &scene->report);
        pst_malloc_fail_at(0);
        scene->allocations = pst_malloc_count() - before;
    }
    pst_graph_free(loaded);
    return scene->rc;
}

int scene_run(struct scene *scene, const char *graph)
{
    int rc = scene_try(scene, graph);
    assert_int_not_equal(rc, PST_EGRAPH);
    assert_false(scene->sim.stuck);
    assert_int_equal(scene->sim.wakes_lost, 0);
    return rc;
}

void scene_shake(struct scene *scene, bool partitions)
{
    static const char *const counts[] = {"1", "2",  "3",  "4",  "5",  "6",  "7",  "8",
                                         "9", "10", "11", "12", "13", "14", "15", "16"};
    struct sim *sim = &scene->sim;
    scene->options.worker_count = 1 + (uint32_t)sim_random(sim, 5);
    scene->options.frame_rows = 1 + (uint32_t)sim_random(sim, sim_random(sim, 3) == 0 ? 3 : 100);
    scene->options.channel_frames = 1 + (uint32_t)sim_random(sim, 4);
    scene->options.block_bytes = 256 + (uint32_t)sim_random(sim, sim_random(sim, 2) == 0 ? 256 : 8192);
    sim->read_bytes_max = (uint32_t)sim_random(sim, 3) == 0 ? 0 : 1 + (uint32_t)sim_random(sim, 4000);
    sim->again_percent = (uint32_t)sim_random(sim, 3) == 0 ? 0 : (uint32_t)sim_random(sim, 60);
    if (partitions)
        scene->settings[scene->setting_count++] = (struct pst_setting){"partitions", counts[sim_random(sim, 16)]};
}

/* ---- looking ---- */
const struct pst_text *scene_file(const struct scene *scene, const char *name) { return sim_get(&scene->sim, name); }
bool scene_there(const struct scene *scene, const char *name) { return scene_file(scene, name) != NULL; }

bool scene_prefix(const struct pst_text *whole, const struct pst_text *part)
{
    return part->count <= whole->count && (part->count == 0 || memcmp(whole->bytes, part->bytes, part->count) == 0) &&
           (part->count == 0 || part->bytes[part->count - 1] == '\n');
}

static void show_difference(const char *name, const struct pst_text *wanted, const struct pst_text *found,
                            const char *what)
{
    size_t at = 0, line = 1, begin = 0;
    while (at < wanted->count && at < found->count && wanted->bytes[at] == found->bytes[at])
        if (wanted->bytes[at++] == '\n')
            line++, begin = at;
    print_error(
        "%s: %s: %zu bytes wanted, %zu found, first difference in line %zu\n  wanted: %.100s\n  found:  %.100s\n", what,
        name, wanted->count, found->count, line, wanted->count > begin ? wanted->bytes + begin : "",
        found->count > begin ? found->bytes + begin : "");
}

void scene_same(const struct scene *wanted, const struct scene *found, const char *what)
{
    assert_int_equal(found->rc, wanted->rc);
    for (uint32_t i = 0; i < wanted->sim.file_count; i++) {
        const struct sim_file *file = &wanted->sim.files[i];
        const struct pst_text *bytes = scene_file(found, file->name);
        if (bytes == NULL)
            print_error("%s: there is no %s\n", what, file->name);
        assert_non_null(bytes);
        bool same = bytes->count == file->bytes.count &&
                    (bytes->count == 0 || memcmp(bytes->bytes, file->bytes.bytes, bytes->count) == 0);
        if (!same)
            show_difference(file->name, &file->bytes, bytes, what);
        assert_true(same);
    }
    assert_int_equal(found->report.rows, wanted->report.rows);
    assert_int_equal(found->report.rows_late, wanted->report.rows_late);
    assert_int_equal(found->report.lines_malformed, wanted->report.lines_malformed);
    assert_int_equal(found->report.rows_out, wanted->report.rows_out);
    assert_int_equal(found->report.watermark, wanted->report.watermark);
    assert_memory_equal(found->report.malformed_line, wanted->report.malformed_line,
                        sizeof wanted->report.malformed_line);
    assert_memory_equal(found->report.malformed_reason, wanted->report.malformed_reason,
                        sizeof wanted->report.malformed_reason);
}

/* ---- inputs ---- */
const struct scene_meters scene_small = {
    .houses = 3, .plugs = 12, .seed = 5, .seconds = 420, .rows_max = 4000, .hour = 19, .dirt = true};

void scene_query(struct scene *scene, const char *graph)
{
    if (strstr(graph, "load.yaml") != NULL) {
        scene_set(scene, "slices", "60,300");
        scene_set(scene, "every", "30");
    } else {
        scene_set(scene, "windows", "3,60");
    }
}

void scene_put_meters(struct scene *scene, const struct scene_meters *meters)
{
    enum { BUFFER_BYTES = 64 * 1024 };
    struct pst_meters_options options;
    struct pst_text text = {0};
    const char *why = NULL;
    pst_meters_options_standard(&options);
    options.seed = meters->seed;
    options.house_count = meters->houses;
    options.plug_count = meters->plugs;
    options.start_s += meters->hour * 3600;
    options.duration_s = meters->seconds;
    options.row_count_max = meters->rows_max;
    options.outages = true;
    if (meters->dirt)
        options.late_ppm = 20000, options.malformed_ppm = 20000, options.missing_ppm = 20000;
    else if (meters->late)
        options.late_ppm = 20000;
    void *memory = malloc(pst_meters_bytes(&options, &why));
    char *buffer = malloc(BUFFER_BYTES);
    assert_null(why);
    struct pst_meters *generator = pst_meters_init(memory, &options);
    uint64_t rows;
    uint32_t timestamp;
    for (size_t bytes; (bytes = pst_meters_next(generator, buffer, BUFFER_BYTES, false, &rows, &timestamp)) != 0;)
        assert_int_equal(pst_text_add(&text, buffer, bytes), PST_OK);
    sim_put(&scene->sim, "in.csv", text.bytes, text.count);
    pst_text_fini(&text);
    free(memory);
    free(buffer);
}

void scene_put_rows(struct scene *scene, uint64_t seed, uint32_t rows, uint32_t keys, uint32_t step_max)
{
    struct sim random = {.random = seed};
    struct pst_text text = {0};
    uint64_t ts = 1000;
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t draw = sim_random(&random, 100);
        ts += sim_random(&random, 3) == 0 ? sim_random(&random, step_max + 1) : 0;
        if (sim_random(&random, rows) == 0)
            ts += 100000; /* now and then nothing for long */
        if (draw == 0)
            (void)pst_text_printf(&text, "%llu,x,1\n", (unsigned long long)ts);
        else
            (void)pst_text_printf(&text, "%llu,%llu,%lld\n", (unsigned long long)(draw < 4 ? ts - 1 : ts),
                                  (unsigned long long)sim_random(&random, keys),
                                  (long long)sim_random(&random, 1000) - 500);
    }
    sim_put(&scene->sim, "in.csv", text.bytes, text.count);
    pst_text_fini(&text);
}

uint64_t scene_seeds(uint64_t standard)
{
    const char *text = getenv("PST_TEST_SEEDS");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    standard = (standard + 15) /
               16; /* a step costs ten times as much, and what the sanitizers look for shows in any of them */
#endif
    uint64_t seeds = standard;
    if (text != NULL)
        (void)pst_parse_u64(text, &seeds);
    return seeds;
}

uint64_t scene_seed_first(void)
{
    const char *text = getenv("PST_TEST_SEED");
    uint64_t seed = 1;
    if (text != NULL)
        (void)pst_parse_u64(text, &seed);
    return seed;
}

void scene_text_of(const char *path, struct pst_text *ret_text)
{
    FILE *file = fopen(path, "rb");
    char buffer[4096];
    assert_non_null(file);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) != 0;)
        assert_int_equal(pst_text_add(ret_text, buffer, n), PST_OK);
    (void)fclose(file);
}

void scene_text_replicated(const char *path, const char *const *types, struct pst_text *ret_text)
{
    struct pst_text plain = {0};
    scene_text_of(path, &plain);
    for (const char *at = plain.bytes, *end; *at != '\0'; at = end) {
        char type[40] = "";
        end = at + strcspn(at, "\n") + 1;
        assert_int_equal(pst_text_add(ret_text, at, (size_t)(end - at)), PST_OK);
        (void)sscanf(at, "    type: %39s", type);
        for (const char *const *wanted = types; *wanted != NULL; wanted++)
            if (strcmp(type, *wanted) == 0)
                assert_int_equal(pst_text_printf(ret_text, "    replicas: 2\n"), PST_OK);
    }
    pst_text_fini(&plain);
}
