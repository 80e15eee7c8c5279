/* test_pages.c - P1 to P5: a host that changes, replays, exchanges and drops pages that lie outside a real worker. Each is tried first on a
 * worker whose pages are not sealed (naked.c), where it has to work: then the worker goes on with what the host wants it to believe.
 * Takes the programs of the two workers. */
#include "tests/attacks/scene.h"

#include "state/pager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FRAMES = 40, ALL_ROWS = FRAMES * SCENE_ROWS, PLACES_MAX = ALL_ROWS };
static const char *sealed_program, *naked_program;

struct pages { /* what a host sees of the memory outside */
    uint8_t *bytes;
    size_t byte_count; /* from its beginning, up to the last page */
};

static size_t slot_bytes(void) { return pst_seal_bound(PST_PAGE_BYTES); }

/* A worker with more state than fits its EPC, and its pages outside. */
static void pages_init(struct scene *scene, struct pages *pages, const char *program)
{
    struct pst_enclave_counts counts;
    char why[PST_ENCLAVE_WHY_BYTES];
    scene_program = program;
    assert_int_equal(scene_start(scene, "", SCENE_EPC_BYTES, why), PST_OK);
    assert_int_equal(scene_frames(scene, FRAMES), PST_OK);
    assert_int_equal(scene_time(scene, 10), PST_OK);
    assert_int_equal(scene->rows, ALL_ROWS);
    assert_int_equal(scene->sum, ALL_ROWS);
    pst_enclave_counts(scene->enclave, &counts);
    assert_true(counts.page_outs > 0 && counts.epc_used_max <= SCENE_EPC_BYTES);
    pages->bytes = mmap(NULL, SCENE_OUTSIDE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, scene->outside, 0);
    assert_true(pages->bytes != MAP_FAILED);
    off_t hole = lseek(scene->outside, 0, SEEK_HOLE);
    assert_true(hole > (off_t)(16 * slot_bytes()) && hole < SCENE_OUTSIDE_BYTES);
    pages->byte_count = (size_t)hole;
}

static void pages_fini(struct scene *scene, struct pages *pages)
{
    (void)munmap(pages->bytes, SCENE_OUTSIDE_BYTES);
    pst_enclave_free(scene->enclave);
}

static uint8_t *copy_of(const struct pages *pages)
{
    uint8_t *copy = malloc(pages->byte_count);
    assert_non_null(copy);
    memcpy(copy, pages->bytes, pages->byte_count);
    return copy;
}

/* All state is looked at, after one more row for each key; every page comes in. */
static int all_looked_at(struct scene *scene)
{
    int rc = scene_frames(scene, FRAMES);
    return rc == PST_OK ? scene_time(scene, 20) : rc;
}

static void is_refused(struct scene *scene, struct pages *pages)
{
    scene->sum = 0;
    assert_int_equal(all_looked_at(scene), PST_EREFUSED);
    assert_non_null(strstr(pst_enclave_why(scene->enclave), "is not what was put there"));
    assert_int_equal(scene->sum, 0); /* nothing of it has come out */
    pages_fini(scene, pages);
}

/* The control of the harness itself: pages that are written once more as they are. */
static void pages_that_are_as_they_were_are_taken(void **state)
{
    (void)state;
    struct scene scene;
    struct pages pages;
    pages_init(&scene, &pages, sealed_program);
    uint8_t *copy = copy_of(&pages);
    memset(pages.bytes, 0, pages.byte_count);
    memcpy(pages.bytes, copy, pages.byte_count);
    free(copy);
    assert_int_equal(all_looked_at(&scene), PST_OK);
    assert_int_equal(scene.sum, 2 * ALL_ROWS);
    pages_fini(&scene, &pages);
}

/* Where a naked page says what the sum of a key is. */
static uint32_t sums_find(const struct pages *pages, size_t *ret_places)
{
    uint32_t count = 0;
    for (size_t at = 0; at + 16 <= pages->byte_count; at += 8) {
        struct {
            uint32_t key, zero;
            uint64_t value;
        } record;
        memcpy(&record, pages->bytes + at, sizeof record);
        if (record.key > 0 && record.key < ALL_ROWS && record.zero == 0 && record.value == 1 && count < PLACES_MAX) {
            ret_places[count++] = at + 8;
            at += 8;
        }
    }
    return count;
}

static void p1_a_page_that_is_changed_is_refused(void **state)
{
    (void)state;
    static size_t places[PLACES_MAX];
    struct scene scene;
    struct pages pages;
    pages_init(&scene, &pages, naked_program);
    uint32_t count = sums_find(&pages, places);
    assert_true(count > 1000);
    for (uint32_t i = 0; i < count; i++)
        pages.bytes[places[i]] ^= 64;
    assert_int_equal(all_looked_at(&scene), PST_OK);
    assert_true(scene.sum >= 2 * ALL_ROWS + 64 * 1000); /* it believes them */
    pages_fini(&scene, &pages);
    for (int bits = 0; bits < 4; bits++) { /* in the body, in the header, in a tag's place, everywhere */
        pages_init(&scene, &pages, sealed_program);
        for (size_t slot = 0; slot + slot_bytes() <= pages.byte_count; slot += slot_bytes()) {
            size_t from = bits == 0 ? 1000 : bits == 1 ? 20 : bits == 2 ? slot_bytes() - 5 : 0;
            for (size_t at = from; at < (bits == 3 ? slot_bytes() : from + 1); at++)
                pages.bytes[slot + at] ^= 64;
        }
        is_refused(&scene, &pages);
    }
}

static void p2_an_older_page_in_its_own_place_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct pages pages;
    for (int naked = 1; naked >= 0; naked--) {
        pages_init(&scene, &pages, naked != 0 ? naked_program : sealed_program);
        uint8_t *older = copy_of(&pages);
        assert_int_equal(scene_frames(&scene, FRAMES), PST_OK);
        assert_int_equal(scene_time(&scene, 15), PST_OK);
        assert_int_equal(scene.sum, 2 * ALL_ROWS);
        memcpy(pages.bytes, older, pages.byte_count);
        free(older);
        if (naked == 0) {
            is_refused(&scene, &pages);
            continue;
        }
        assert_int_equal(all_looked_at(&scene), PST_OK);
        assert_true(scene.sum < 3 * ALL_ROWS - 1000); /* it has forgotten some */
        pages_fini(&scene, &pages);
    }
}

static void p3_a_page_in_the_place_of_another_is_refused(void **state)
{
    (void)state;
    struct scene scene;
    struct pages pages;
    for (int naked = 1; naked >= 0; naked--) {
        pages_init(&scene, &pages, naked != 0 ? naked_program : sealed_program);
        uint8_t *swap = malloc(slot_bytes());
        assert_non_null(swap);
        for (size_t slot = 0; slot + 2 * slot_bytes() <= pages.byte_count; slot += 2 * slot_bytes()) {
            memcpy(swap, pages.bytes + slot, slot_bytes());
            memcpy(pages.bytes + slot, pages.bytes + slot + slot_bytes(), slot_bytes());
            memcpy(pages.bytes + slot + slot_bytes(), swap, slot_bytes());
        }
        free(swap);
        if (naked == 0) {
            is_refused(&scene, &pages);
            continue;
        }
        int rc =
            all_looked_at(&scene); /* it takes them; what it makes of records that are not there is its own affair */
        assert_true(rc != PST_EREFUSED && (rc != PST_OK || scene.sum != 2 * ALL_ROWS || scene.rows != ALL_ROWS));
        pages_fini(&scene, &pages);
    }
}

static void p3_a_page_of_another_worker_is_refused(void **state)
{
    (void)state;
    struct scene scene, other;
    struct pages pages, others;
    for (int naked = 1; naked >= 0; naked--) {
        pages_init(&scene, &pages, naked != 0 ? naked_program : sealed_program);
        pages_init(&other, &others, naked != 0 ? naked_program : sealed_program);
        assert_int_equal(scene_frames(&other, FRAMES), PST_OK); /* the same places, other sums */
        assert_int_equal(scene_time(&other, 15), PST_OK);
        memcpy(pages.bytes, others.bytes, pages.byte_count);
        pages_fini(&other, &others);
        if (naked == 0) {
            is_refused(&scene, &pages);
            continue;
        }
        assert_int_equal(all_looked_at(&scene), PST_OK);
        assert_true(scene.sum > 2 * ALL_ROWS + 1000); /* it counts what the other one has counted */
        pages_fini(&scene, &pages);
    }
}

static void p5_pages_that_are_dropped_are_refused_and_the_memory_is_not_cut(void **state)
{
    (void)state;
    struct scene scene;
    struct pages pages;
    pages_init(&scene, &pages, sealed_program);
    errno = 0;
    assert_int_equal(ftruncate(scene.outside, 4096), -1);
    assert_int_equal(errno, EPERM);
    int plain = memfd_create("plain", MFD_CLOEXEC); /* the control: memory that is not sealed against it is cut */
    assert_int_equal(ftruncate(plain, 8192), 0);
    assert_int_equal(ftruncate(plain, 4096), 0);
    (void)close(plain);
    assert_int_equal(fallocate(scene.outside, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)pages.byte_count),
                     0);
    assert_int_equal(lseek(scene.outside, 0, SEEK_DATA), -1); /* the control: all of it has gone */
    is_refused(&scene, &pages);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_that_are_as_they_were_are_taken),
        cmocka_unit_test(p1_a_page_that_is_changed_is_refused),
        cmocka_unit_test(p2_an_older_page_in_its_own_place_is_refused),
        cmocka_unit_test(p3_a_page_in_the_place_of_another_is_refused),
        cmocka_unit_test(p3_a_page_of_another_worker_is_refused),
        cmocka_unit_test(p5_pages_that_are_dropped_are_refused_and_the_memory_is_not_cut),
    };
    if (argc != 3)
        return 2;
    sealed_program = argv[1];
    naked_program = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
