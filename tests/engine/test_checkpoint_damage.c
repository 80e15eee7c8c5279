/* test_checkpoint_damage.c - a checkpoint of which one bit was changed, at each place in turn: it is refused, or passed over for the
 * older one, and then the outputs are those of an undisturbed run. Never a crash, never other bytes. */
#include "state/seal.h"
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EVERY_ROWS = 30, KEPT_MAX = 32 };

/* One house and few plugs, so that each place can be tried; tables and logs of both operators are in it. */
static const struct scene_meters few = {
    .houses = 1, .plugs = 2, .seed = 5, .seconds = 1200, .rows_max = 1200, .hour = 19, .dirt = true};

static struct pst_secret *secret;
static struct scene wanted;
static struct kept { /* what a killed run has left */
    char *name;
    struct pst_text bytes;
} kept[KEPT_MAX];
static uint32_t kept_count;
static int kept_old, kept_new; /* manifests */

static void scene_few(struct scene *scene, uint64_t seed)
{
    scene_init(scene, seed);
    scene_query(scene, LOAD);
    scene->options.block_bytes = 256;
}

static void checkpointed(struct scene *scene, uint64_t every_rows)
{
    scene->options.checkpoint = (struct pst_checkpoint_options){
        .directory = "points", .every_rows = every_rows, .resume = true, .keys = &secret, .key_count = 1};
}

/* Runs with checkpoints until the power goes at a step of the disk; 0: to the end. */
static void killed_run(struct scene *scene, uint64_t cut_step)
{
    scene_few(scene, 21);
    scene_put_meters(scene, &few);
    checkpointed(scene, EVERY_ROWS);
    scene->sim.cut_step = cut_step;
    (void)scene_try(scene, LOAD);
    sim_revive(&scene->sim);
}

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(name + bytes - end_bytes, end) == 0;
}

static int begin(void **state)
{
    (void)state;
    struct scene scene;
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    scene_few(&wanted, 1);
    scene_put_meters(&wanted, &few);
    assert_int_equal(scene_run(&wanted, LOAD), PST_OK);
    killed_run(&scene, 0);
    scene_same(&wanted, &scene, "with checkpoints");
    assert_true(scene.report.checkpoint.written >= 4);
    uint64_t steps = scene.sim.disk_steps;
    scene_fini(&scene);
    killed_run(&scene, steps * 3 / 4);
    assert_int_not_equal(scene.rc, PST_OK);
    kept_old = kept_new = -1;
    for (uint32_t i = 0; i < scene.sim.file_count; i++) {
        const struct sim_file *file = &scene.sim.files[i];
        if (!file->there)
            continue;
        assert_true(kept_count < KEPT_MAX);
        struct kept *to = &kept[kept_count];
        to->name = strdup(file->name);
        assert_int_equal(pst_text_add(&to->bytes, file->bytes.bytes, file->bytes.count), PST_OK);
        if (ends_with(to->name, ".manifest")) {
            bool newer = kept_new < 0 || strcmp(to->name, kept[kept_new].name) > 0;
            kept_old = newer ? kept_new : (int)kept_count;
            kept_new = newer ? (int)kept_count : kept_new;
        }
        kept_count++;
    }
    scene_fini(&scene);
    assert_true(kept_old >= 0 && kept_new >= 0);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < kept_count; i++) {
        free(kept[i].name);
        pst_text_fini(&kept[i].bytes);
    }
    scene_fini(&wanted);
    pst_secret_free(secret);
    return 0;
}

/* The file of pages that was written with the newest manifest. */
static int pages_of_newest(void)
{
    char name[64];
    int found = -1;
    (void)snprintf(name, sizeof name, "%.*s.pages", (int)(strlen(kept[kept_new].name) - strlen(".manifest")),
                   kept[kept_new].name);
    for (uint32_t i = 0; i < kept_count; i++)
        if (strcmp(kept[i].name, name) == 0)
            found = (int)i;
    assert_true(found >= 0);
    return found;
}

struct damage {
    int file;       /* of `kept` */
    bool alone;     /* the older manifest is not there */
    uint64_t bit;   /* changed; UINT64_MAX: none */
    uint64_t count; /* bytes that are left; UINT64_MAX: all */
};

/* Resumes what the killed run has left. True: it came to its end, and the outputs are right; false: it was refused. */
static bool resumes(const struct damage *damage)
{
    struct scene scene;
    char what[120];
    bool damaged = damage->bit != UINT64_MAX || damage->count != UINT64_MAX;
    (void)snprintf(what, sizeof what, "%s%s: bit %lld, %lld bytes", kept[damage->file].name,
                   damage->alone ? " alone" : "", (long long)damage->bit, (long long)damage->count);
    scene_few(&scene, 7);
    checkpointed(&scene, 0); /* none is due any more */
    for (int i = 0; i < (int)kept_count; i++) {
        size_t count = kept[i].bytes.count;
        if (i == kept_old && damage->alone)
            continue;
        uint64_t at = damage->bit / 8;
        bool flipped = i == damage->file && damage->bit != UINT64_MAX;
        if (flipped)
            kept[i].bytes.bytes[at] ^= (char)(1 << damage->bit % 8);
        sim_put(&scene.sim, kept[i].name, kept[i].bytes.bytes,
                i == damage->file && damage->count < count ? damage->count : count);
        if (flipped)
            kept[i].bytes.bytes[at] ^= (char)(1 << damage->bit % 8);
    }
    (void)scene_try(&scene, LOAD);
    assert_false(scene.sim.stuck);
    bool ended = scene.rc == PST_OK;
    if (ended) {
        scene_same(&wanted, &scene, what);
        assert_true(scene.report.checkpoint.resumed_id != 0);
        assert_true(damaged == (scene.report.checkpoint.passed_over[0] != '\0'));
    } else {
        if (scene.rc != PST_EREFUSED)
            print_error("%s: %d: %s\n", what, scene.rc, scene.report.error);
        assert_int_equal(scene.rc, PST_EREFUSED);
        assert_non_null(scene.report.error);
    }
    scene_fini(&scene);
    return ended;
}

static void what_is_whole_is_resumed(void **state)
{
    (void)state;
    assert_true(resumes(&(struct damage){kept_new, false, UINT64_MAX, UINT64_MAX}));
    assert_true(resumes(&(struct damage){kept_new, true, UINT64_MAX, UINT64_MAX}));
}

/* Alone: each is refused. `step`: in bits. */
static void flip_all(int file, uint64_t step)
{
    for (uint64_t bit = 0; bit < kept[file].bytes.count * 8; bit += step)
        assert_false(resumes(&(struct damage){file, true, bit, UINT64_MAX}));
}

/* With the older one: that one is taken. Runs to the end cost more, so fewer are made. */
static void flip_some(int file, uint64_t step)
{
    for (uint64_t bit = 0; bit < kept[file].bytes.count * 8; bit += step)
        assert_true(resumes(&(struct damage){file, false, bit, UINT64_MAX}));
}

static void no_changed_bit_of_the_manifest_is_accepted(void **state)
{
    (void)state;
    flip_all(kept_new, 1);
    flip_some(kept_new, 31);
}

static void no_changed_byte_of_the_pages_is_accepted(void **state)
{
    (void)state;
    flip_all(pages_of_newest(), 7); /* each byte at least once, another bit of it each time */
    flip_some(pages_of_newest(), 67);
}

static void nothing_cut_short_is_accepted(void **state)
{
    (void)state;
    int pages = pages_of_newest();
    for (uint64_t count = 0; count < kept[kept_new].bytes.count; count++)
        assert_false(resumes(&(struct damage){kept_new, true, UINT64_MAX, count}));
    for (uint64_t count = 0; count < kept[pages].bytes.count; count += 13)
        assert_false(resumes(&(struct damage){pages, true, UINT64_MAX, count}));
    assert_true(resumes(&(struct damage){kept_new, false, UINT64_MAX, 0}));
    assert_true(resumes(&(struct damage){pages, false, UINT64_MAX, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_whole_is_resumed),
        cmocka_unit_test(no_changed_bit_of_the_manifest_is_accepted),
        cmocka_unit_test(no_changed_byte_of_the_pages_is_accepted),
        cmocka_unit_test(nothing_cut_short_is_accepted),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
