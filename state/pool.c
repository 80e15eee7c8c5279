/* pool.c - the page frames that the states of a run share. See pager.h.
 *
 * The lock is held for some instructions, and for a call of the allocator where memory is taken for the first time. */
#include "state/pool.h"

#include <string.h>

struct pst_pool *pst_pool_new(uint64_t budget_bytes)
{
    struct pst_pool *pool = pst_calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    atomic_flag_clear(&pool->lock);
    pool->pages_max = budget_bytes / PST_PAGE_BYTES;
    pool->cushion = pool->pages_max / 16;
    return pool;
}

void pst_pool_free(struct pst_pool *pool)
{
    if (pool == NULL)
        return;
    pst_slabs_free(&pool->slabs);
    pst_free(pool);
}

static void lock(struct pst_pool *pool)
{
    while (atomic_flag_test_and_set_explicit(&pool->lock, memory_order_acquire))
        ;
}

static void unlock(struct pst_pool *pool) { atomic_flag_clear_explicit(&pool->lock, memory_order_release); }

void pst_pool_join(struct pst_pool *pool)
{
    lock(pool);
    pool->kept += PST_POOL_PAGES_MIN;
    unlock(pool);
    atomic_fetch_add_explicit(&pool->pages_need, PST_POOL_PAGES_MIN, memory_order_relaxed);
}

uint8_t *pst_pool_take(struct pst_pool *pool, uint64_t resident, uint64_t left, bool over, bool *ret_none)
{
    uint8_t *page = NULL;
    bool own = resident < PST_POOL_PAGES_MIN;
    lock(pool);
    uint64_t used = atomic_load_explicit(&pool->pages_used, memory_order_relaxed);
    *ret_none = !over && used + (own ? 0 : left + pool->kept) >= pool->pages_max;
    if (!*ret_none)
        page = pst_slabs_take(&pool->slabs);
    if (page != NULL) {
        pool->kept -= own;
        if (over)
            atomic_store_explicit(&pool->pages_short, used + 1 + pool->kept - pool->pages_max, memory_order_relaxed);
        atomic_store_explicit(&pool->pages_used, used + 1, memory_order_relaxed);
    }
    unlock(pool);
    return page;
}

void pst_pool_give(struct pst_pool *pool, uint64_t resident, uint8_t *page)
{
    lock(pool);
    pool->kept += resident < PST_POOL_PAGES_MIN;
    pst_slabs_give(&pool->slabs, page);
    atomic_fetch_sub_explicit(&pool->pages_used, 1, memory_order_relaxed);
    unlock(pool);
}

void pst_pool_leave(struct pst_pool *pool)
{
    lock(pool);
    pool->kept -= PST_POOL_PAGES_MIN;
    unlock(pool);
}

uint64_t pst_pool_least(const struct pst_pool *pool)
{
    uint64_t need = atomic_load_explicit(&pool->pages_need, memory_order_relaxed);
    uint64_t short_of = atomic_load_explicit(&pool->pages_short, memory_order_relaxed);
    uint64_t more =
        short_of == 0 ? 0 : (pool->pages_max + short_of) * 5 / 4; /* it may not be the last one that is short */
    need += need / 8 + 1;                                         /* room for the cushion */
    return (need > more ? need : more) * PST_PAGE_BYTES;
}
