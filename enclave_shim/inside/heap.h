/* inside/heap.h - malloc() and its siblings over one region of memory, the pool: there is no other memory in a worker.
 *
 * Thread: one. What was asked for before heap_init(), while the program starts, lies in a small area of its own.
 */
#ifndef PST_ENCLAVE_HEAP_H
#define PST_ENCLAVE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* The region is zero, aligned to 16 bytes, and stays. */
void pst_heap_init(void *memory, size_t bytes);
/* The first so many bytes of it, a write to each page, so that the system has found them; returns how many of those were never used
 * before, so are not dear to whoever comes first. */
uint64_t pst_heap_touch(uint64_t bytes);
uint64_t pst_heap_used(void);    /* bytes that were ever in use at one time, heads included */
uint64_t pst_heap_left(void);    /* bytes beyond what was ever used */
uint64_t pst_heap_refused(void); /* the last request that there was no room for; 0: none */

#endif
