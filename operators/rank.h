/* operators/rank.h - sorting and selection in arrays of numbers. Neither is ever worse than n log n. */
#ifndef PST_RANK_H
#define PST_RANK_H

#include <stddef.h>
#include <stdint.h>

/* Moves values[root] down to its place in the heap of the greatest. */
static inline void pst_rank_sift(int64_t *values, size_t root, size_t count)
{
    int64_t value = values[root];
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        child += child + 1 < count && values[child] < values[child + 1];
        if (values[child] <= value)
            break;
        values[root] = values[child];
    }
    values[root] = value;
}

static inline void pst_rank_sort(int64_t *values, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        pst_rank_sift(values, i, count);
    for (size_t end = count; end-- > 1;) {
        int64_t greatest = values[0];
        values[0] = values[end];
        values[end] = greatest;
        pst_rank_sift(values, 0, end);
    }
}

/* Puts the value of rank `rank` (from 0) at values[rank], nothing greater before it and nothing smaller behind it.
 * Hoare's selection ("Algorithm 65: find", 1961) as Wirth writes it; where it goes badly too often, the rest is sorted.
 */
static inline void pst_rank_select(int64_t *values, size_t count, size_t rank)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)count - 1, wanted = (ptrdiff_t)rank;
    for (uint32_t step = 0; low < high; step++) {
        if (step == 96) {
            pst_rank_sort(values + low, (size_t)(high - low + 1));
            return;
        }
        int64_t pivot = values[low + (high - low) / 2];
        ptrdiff_t i = low, j = high;
        do {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i <= j) {
                int64_t held = values[i];
                values[i++] = values[j];
                values[j--] = held;
            }
        } while (i <= j);
        /* low..j is at most the pivot, i..high at least, what lies between them equal to it. */
        if (wanted <= j)
            high = j;
        else if (wanted >= i)
            low = i;
        else
            return;
    }
}

#endif
