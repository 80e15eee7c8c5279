/* common/ring.h - one direction of the border: a single-producer, single-consumer ring of slots in shared memory.
 *
 * Each side keeps its own index in its own memory and publishes it; the other side's is read once, and must lie between what it was
 * and what it can be. A value that does not poisons the ring for good: the side that has seen it takes and gives nothing more.
 * Thread:   each end belongs to one thread.
 */
#ifndef PST_ENCLAVE_RING_H
#define PST_ENCLAVE_RING_H

#include "enclave_shim/common/layout.h"

#include <stdbool.h>

struct pst_ring {
    uint8_t *slots;
    _Atomic uint64_t *own, *others; /* the index that this side writes, and the one that it reads */
    uint64_t mine, seen;            /* what was written, and read, last */
    bool produces, poisoned;
};

/* Both indices are zero at the start of the border's life, whatever the shared memory says. */
void pst_ring_init(struct pst_ring *ring, uint8_t *slots, _Atomic uint64_t *own, _Atomic uint64_t *others,
                   bool produces);
/* Producer: the next slot to fill, consumer: the next one to empty; NULL: none now, or poisoned. The other side may write to it at
 * any time. */
uint8_t *pst_ring_slot(struct pst_ring *ring);
/* It has been filled, or emptied. */
void pst_ring_advance(struct pst_ring *ring);
/* There is a slot, or the other side has moved since it was looked at, be it to where it must not. */
bool pst_ring_moved(const struct pst_ring *ring);
/* Half of the slots or more are full, as far as is known without looking at the other side's index. */
bool pst_ring_is_half_full(const struct pst_ring *ring);

#endif
