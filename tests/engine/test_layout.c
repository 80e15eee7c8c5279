/* test_layout.c - which partition has a bucket when an operator gets more partitions or fewer, stop and go: about even shares, and no bucket goes
 * elsewhere that need not. */
#include "engine/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 64, NODE = 3 };

/* As a graph that has begun in `count` partitions has them. */
static void begin(struct layout *layout, uint32_t bucket_count, uint32_t count)
{
    memset(layout, 0, sizeof *layout);
    for (uint32_t b = 0; b < bucket_count; b++)
        layout->of[b] = (uint16_t)(b * count / bucket_count);
    for (uint32_t p = 0; p < count; p++)
        layout->node_of[p] = NODE;
    layout->partition_count = count;
}

static uint32_t gone(const struct layout *before, const struct layout *after, uint32_t bucket_count)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < bucket_count; b++)
        count += before->of[b] != after->of[b];
    return count;
}

static void shares_are_even_and_few_buckets_go(void **state)
{
    (void)state;
    struct layout *before = malloc(sizeof *before), *after = malloc(sizeof *after);
    assert_true(before != NULL && after != NULL);
    for (uint32_t from = 1; from <= BUCKETS; from++) {
        for (uint32_t to = 1; to <= BUCKETS; to++) {
            uint32_t least = BUCKETS, most = 0, fresh = 0;
            begin(before, BUCKETS, from);
            *after = *before;
            pst_layout_rescale(after, BUCKETS, to);
            assert_int_equal(pst_layout_serving(after, BUCKETS), to);
            for (uint32_t p = 0; p < after->partition_count; p++) {
                uint32_t owned = pst_layout_owned(after, BUCKETS, p);
                least = owned != 0 && owned < least ? owned : least;
                most = owned > most ? owned : most;
                fresh += owned != 0 && after->node_of[p] == UINT16_MAX;
            }
            assert_in_range(least, BUCKETS / to, BUCKETS);
            if (to >= from || most > 1) /* those that were there are within one of each other, and stay so */
                assert_in_range(most - least, 0, 1);
            assert_int_equal(fresh, to > from ? to - from : 0);
            if (to >= from)
                assert_in_range(gone(before, after, BUCKETS), (to - from) * (BUCKETS / to),
                                (to - from) * (BUCKETS / to + 1));
            else
                assert_in_range(gone(before, after, BUCKETS), 1, BUCKETS - to * (BUCKETS / from));
        }
    }
    free(before);
    free(after);
}

static void a_number_that_is_free_is_taken(void **state)
{
    (void)state;
    struct layout *layout = malloc(sizeof *layout);
    assert_non_null(layout);
    begin(layout, BUCKETS, 3);
    for (uint32_t b = 0; b < BUCKETS; b++)
        layout->of[b] = layout->of[b] == 1 ? 2 : layout->of[b]; /* 1 has given all away */
    pst_layout_rescale(layout, BUCKETS, 3);
    assert_int_equal(layout->partition_count, 3);
    assert_int_equal(pst_layout_owned(layout, BUCKETS, 1), BUCKETS / 3);
    assert_int_equal(layout->node_of[1], UINT16_MAX);
    assert_int_equal(layout->node_of[2], NODE);
    free(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_even_and_few_buckets_go),
        cmocka_unit_test(a_number_that_is_free_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
