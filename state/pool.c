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

void pst_pool_dear(struct pst_pool *pool, uint64_t first_bytes)
{
    pool->dear = true;
    pool->fresh_left = first_bytes / PST_PAGE_BYTES;
}

void pst_pool_free(struct pst_pool *pool)
{
    if (pool == NULL)
        return;
    pst_slabs_free(&pool->slabs);
    pst_free(pool);
}

void pst_pool_own(struct pst_pool *pool, uint64_t resident, uint64_t own_before, uint64_t own)
{
    pst_lock_take(&pool->lock);
    pool->kept -= own_before > resident ? own_before - resident : 0;
    pool->kept += own > resident ? own - resident : 0;
    pst_lock_give(&pool->lock);
    atomic_fetch_add_explicit(&pool->pages_need, own - own_before, memory_order_relaxed);
}

bool pst_pool_is_short(const struct pst_pool *pool) /* as of some moment or other: it is asked after every callback */
{
    return atomic_load_explicit(&pool->pages_used, memory_order_relaxed) +
               atomic_load_explicit(&pool->kept, memory_order_relaxed) + pool->cushion >
           pool->pages_max;
}

/* Where memory is dear all states are of one thread: they are an enclave's. */
bool pst_pool_is_half_full(const struct pst_pool *pool)
{
    uint64_t used = atomic_load_explicit(&pool->pages_used, memory_order_relaxed) +
                    atomic_load_explicit(&pool->kept, memory_order_relaxed);
    uint64_t left = pool->pages_max > used ? pool->pages_max - used : 0;
    return used >= (pool->dear && pool->fresh_left < left ? pool->fresh_left : left);
}

void pst_pool_came(struct pst_pool *pool)
{
    if (!pool->dear)
        return;
    pst_lock_take(&pool->lock);
    if (++pool->came == PST_DEAR_PAGE_INS) {
        pool->came = 0;
        pool->fresh_left++;
    }
    pst_lock_give(&pool->lock);
}

/* Has a page that was used before, or memory that is not too dear. */
static bool has_page(const struct pst_pool *pool, pool_how how)
{
    return !pool->dear || how != POOL_FAIR || pool->fresh_left != 0 || pst_slabs_has_used(&pool->slabs);
}

uint8_t *pst_pool_take(struct pst_pool *pool, bool own, uint64_t left, pool_how how, bool *ret_none)
{
    uint8_t *page = NULL;
    pst_lock_take(&pool->lock);
    uint64_t used = atomic_load_explicit(&pool->pages_used, memory_order_relaxed);
    uint64_t others = own || how == POOL_LAST ? 0 : left + pool->kept;
    *ret_none = (how != POOL_OVER && used + others >= pool->pages_max) || !has_page(pool, how);
    if (!*ret_none) {
        pool->fresh_left -= pool->fresh_left != 0 && !pst_slabs_has_used(&pool->slabs);
        page = pst_slabs_take(&pool->slabs);
        *ret_none =
            page == NULL && how == POOL_FAIR; /* no memory for more pages: with those that there are it goes on */
    }
    if (page != NULL) {
        pool->kept -= own;
        atomic_store_explicit(&pool->pages_used, used + 1, memory_order_relaxed);
    }
    pst_lock_give(&pool->lock);
    return page;
}

void pst_pool_give(struct pst_pool *pool, bool own, uint8_t *page)
{
    pst_lock_take(&pool->lock);
    pool->kept += own;
    pst_slabs_give(&pool->slabs, page);
    atomic_fetch_sub_explicit(&pool->pages_used, 1, memory_order_relaxed);
    pst_lock_give(&pool->lock);
}

uint64_t pst_pool_least(const struct pst_pool *pool)
{
    uint64_t need = atomic_load_explicit(&pool->pages_need, memory_order_relaxed);
    return need * PST_PAGE_BYTES;
}
