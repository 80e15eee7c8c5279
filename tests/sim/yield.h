/* tests/sim/yield.h - forced into every file of the engine for test_interleave (-include): each atomic operation, and each use
 * of a ring, becomes a place where the simulated world may let another worker go on. Interleavings, that is, not the reorderings
 * of a weak memory: those are the thread sanitizer's. GNU C alone. */
#ifndef PST_SIM_YIELD_H
#define PST_SIM_YIELD_H

#include <ck_ring.h>
#include <stdatomic.h>

void sim_yield(void); /* perhaps another worker, now */
void sim_spin(void);  /* another worker for certain: this one waits for it */

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_compare_exchange_strong
#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_clear_explicit

#define SIM_LOAD(pointer, order)                              \
    __extension__({                                           \
        __auto_type sim_pointer = (pointer);                  \
        __typeof__((void)0, *sim_pointer) sim_value;          \
        sim_yield();                                          \
        __atomic_load(sim_pointer, &sim_value, (int)(order)); \
        sim_value;                                            \
    })
#define SIM_STORE(pointer, value, order)                       \
    __extension__({                                            \
        __auto_type sim_pointer = (pointer);                   \
        __typeof__((void)0, *sim_pointer) sim_value = (value); \
        sim_yield();                                           \
        __atomic_store(sim_pointer, &sim_value, (int)(order)); \
    })
#define atomic_load(pointer) SIM_LOAD(pointer, memory_order_seq_cst)
#define atomic_load_explicit(pointer, order) SIM_LOAD(pointer, order)
#define atomic_store(pointer, value) SIM_STORE(pointer, value, memory_order_seq_cst)
#define atomic_store_explicit(pointer, value, order) SIM_STORE(pointer, value, order)
#define atomic_fetch_add_explicit(pointer, value, order) (sim_yield(), __atomic_fetch_add(pointer, value, (int)(order)))
#define atomic_compare_exchange_strong(pointer, expected, value)                                             \
    __extension__({                                                                                          \
        __auto_type sim_pointer = (pointer);                                                                 \
        __typeof__((void)0, *sim_pointer) sim_value = (value);                                               \
        sim_yield();                                                                                         \
        __atomic_compare_exchange(sim_pointer, expected, &sim_value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    })
#define atomic_flag_test_and_set_explicit(pointer, order)              \
    __extension__({                                                    \
        sim_yield();                                                   \
        bool sim_taken = __atomic_test_and_set(pointer, (int)(order)); \
        if (sim_taken)                                                 \
            sim_spin();                                                \
        sim_taken;                                                     \
    })
#define atomic_flag_clear_explicit(pointer, order) (sim_yield(), __atomic_clear(pointer, (int)(order)))
#define ck_ring_enqueue_spsc(ring, buffer, entry) (sim_yield(), (ck_ring_enqueue_spsc)(ring, buffer, entry))
#define ck_ring_dequeue_spsc(ring, buffer, entry) (sim_yield(), (ck_ring_dequeue_spsc)(ring, buffer, entry))

#endif
