/* test_disk.c - what a node keeps on its disk, counted: it is taken before it is written, and what graphs have left that have ended goes
 * where there is no room otherwise. */
#include "engine/disk.h"
#include "tests/sim/world_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char a[] = "points/a/nodes/n1", b[] = "points/b/nodes/n1", c[] = "points/c/nodes/n1";

static void put(struct sim *sim, const char *folder, const char *name, size_t bytes)
{
    static char zeros[1000];
    char path[100];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    sim_put(sim, path, zeros, bytes);
}

static bool there(const struct sim *sim, const char *folder, const char *name)
{
    char path[100];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return sim_get(sim, path) != NULL;
}

static void what_does_not_fit_is_not_taken(void **state)
{
    (void)state;
    struct pst_disk disk;
    char why[PST_DISK_WHY_BYTES];
    pst_disk_init(&disk, 64 * 1024);
    assert_int_equal(pst_disk_take(&disk, a, 40 * 1024), PST_OK);
    assert_int_equal(pst_disk_take(&disk, NULL, 20 * 1024), PST_OK);
    assert_int_equal(pst_disk_room(&disk), 4 * 1024);
    assert_int_equal(pst_disk_take(&disk, b, 4 * 1024 + 1), PST_EFULL);
    assert_int_equal(pst_disk_take(&disk, NULL, 4 * 1024 + 1), PST_EFULL);
    assert_int_equal(pst_disk_used(&disk), 60 * 1024);
    pst_disk_why(&disk, why);
    assert_string_equal(
        why, "it does not fit: checkpoints and spilled pages of this node take 60 KiB, and --disk allows 64");
    pst_disk_give(&disk, NULL, 20 * 1024);
    pst_disk_give(&disk, a, 1024);
    assert_int_equal(pst_disk_take(&disk, b, 25 * 1024), PST_OK);
    assert_int_equal(pst_disk_room(&disk), 0);
    pst_disk_set(&disk, a, 100 * 1024); /* found there: more than there may be */
    assert_int_equal(pst_disk_room(&disk), 0);
    pst_disk_set(&disk, a, 0);
    assert_int_equal(pst_disk_room(&disk), 39 * 1024);
    pst_disk_fini(&disk);
}

static void without_a_bound_it_is_counted(void **state)
{
    (void)state;
    struct pst_disk disk;
    pst_disk_init(&disk, 0);
    assert_int_equal(pst_disk_take(&disk, a, UINT64_C(1) << 50), PST_OK);
    assert_int_equal(pst_disk_room(&disk), UINT64_MAX);
    assert_int_equal(pst_disk_used(&disk), UINT64_C(1) << 50);
    pst_disk_fini(&disk);
    assert_int_equal(pst_disk_take(NULL, a, 1), PST_OK);
    pst_disk_give(NULL, a, 1);
    assert_int_equal(pst_disk_room(NULL), UINT64_MAX);
}

static void what_is_found_counts(void **state)
{
    (void)state;
    static struct sim sim;
    struct pst_disk disk;
    sim_init(&sim, 1);
    pst_disk_init(&disk, 1000);
    put(&sim, a, "0000000100000001.pages", 300);
    put(&sim, a, "0000000100000001.manifest", 20);
    put(&sim, a, "0000000100000002.manifest.part", 3);
    put(&sim, a, "notes", 500); /* nobody's business */
    pst_disk_look(&disk, &sim.world, a, true);
    assert_int_equal(pst_disk_used(&disk), 323);
    put(&sim, a, "0000000100000002.pages", 100);
    pst_disk_look(&disk, &sim.world, a, true); /* whoever runs there knows better */
    assert_int_equal(pst_disk_used(&disk), 323);
    pst_disk_look(&disk, &sim.world, a, false);
    assert_int_equal(pst_disk_used(&disk), 423);
    put(&sim, b, "0000000100000001.pages", 7);
    pst_disk_ended(&disk, b, 1); /* which may be heard before */
    pst_disk_look(&disk, &sim.world, b, true);
    assert_int_equal(pst_disk_used(&disk), 430);
    pst_disk_clear(&disk, &sim.world);
    assert_int_equal(pst_disk_used(&disk), 423);
    pst_disk_fini(&disk);
    sim_fini(&sim);
}

static void what_ended_graphs_have_left_goes(void **state)
{
    (void)state;
    static struct sim sim;
    struct pst_disk disk;
    sim_init(&sim, 1);
    pst_disk_init(&disk, 1000);
    put(&sim, a, "0000000200000001.pages", 300);
    put(&sim, a, "0000000200000001.manifest", 20);
    put(&sim, a, "0000000300000001.pages", 50); /* of a later incarnation */
    put(&sim, b, "0000000100000001.pages", 400);
    put(&sim, c, "0000000100000001.pages", 30);
    pst_disk_look(&disk, &sim.world, a, true);
    pst_disk_look(&disk, &sim.world, b, true);
    pst_disk_look(&disk, &sim.world, c, true);
    pst_disk_ended(&disk, a, 2);
    pst_disk_ended(&disk, b, 1);
    pst_disk_look(&disk, &sim.world, b, false); /* a run has begun there: it sees to that */
    pst_disk_clear(&disk, &sim.world);
    assert_false(there(&sim, a, "0000000200000001.pages"));
    assert_false(there(&sim, a, "0000000200000001.manifest"));
    assert_true(there(&sim, a, "0000000300000001.pages"));
    assert_true(there(&sim, b, "0000000100000001.pages"));
    assert_true(there(&sim, c, "0000000100000001.pages"));
    assert_int_equal(pst_disk_used(&disk), 480);
    pst_disk_clear(&disk, &sim.world); /* there is nothing more */
    assert_int_equal(pst_disk_used(&disk), 480);
    pst_disk_fini(&disk);
    sim_fini(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_is_not_taken),
        cmocka_unit_test(without_a_bound_it_is_counted),
        cmocka_unit_test(what_is_found_counts),
        cmocka_unit_test(what_ended_graphs_have_left_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
