/* ring.c - see ring.h. */
#include "enclave_shim/common/ring.h"

void pst_ring_init(struct pst_ring *ring, uint8_t *slots, _Atomic uint64_t *own, _Atomic uint64_t *others,
                   bool produces)
{
    *ring = (struct pst_ring){.slots = slots, .own = own, .others = others, .produces = produces};
}

/* Slots that are this side's, if the other side has come to `others`. A consumer is never ahead of its producer, and a producer at
 * most PST_SLOTS ahead of its consumer. */
static bool index_fits(const struct pst_ring *ring, uint64_t others)
{
    if (others < ring->seen)
        return false;
    return ring->produces ? others <= ring->mine : others - ring->mine <= PST_SLOTS;
}

static uint64_t slots_ready(const struct pst_ring *ring)
{
    return ring->produces ? PST_SLOTS - (ring->mine - ring->seen) : ring->seen - ring->mine;
}

bool pst_ring_is_half_full(const struct pst_ring *ring)
{
    uint64_t full = ring->produces ? ring->mine - ring->seen : ring->seen - ring->mine;
    return full >= PST_SLOTS / 2;
}

uint8_t *pst_ring_slot(struct pst_ring *ring)
{
    if (ring->poisoned)
        return NULL;
    if (slots_ready(ring) == 0 || (ring->produces && pst_ring_is_half_full(ring))) {
        uint64_t others = atomic_load_explicit(ring->others, memory_order_acquire);
        ring->poisoned = !index_fits(ring, others);
        if (ring->poisoned)
            return NULL;
        ring->seen = others;
    }
    if (slots_ready(ring) == 0)
        return NULL;
    return ring->slots + (ring->mine & (PST_SLOTS - 1)) * PST_SLOT_BYTES;
}

void pst_ring_advance(struct pst_ring *ring)
{
    ring->mine++;
    atomic_store_explicit(ring->own, ring->mine, memory_order_release);
}

bool pst_ring_moved(const struct pst_ring *ring)
{
    return ring->poisoned || slots_ready(ring) != 0 ||
           atomic_load_explicit(ring->others, memory_order_acquire) != ring->seen;
}
