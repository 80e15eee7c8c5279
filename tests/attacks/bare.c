/* bare.c - linked into a worker that protects nothing, so that whoever looks finds: its heap, with all that lies on it, is memory as any
 * other, beside the pool; it may be traced and dumped; it gives up neither files nor ports; and signals end it. The linker puts the
 * functions below in the place of those that they are named after (--wrap). Its filter of system calls stands, and the shared memory is
 * sealed. */
#include "enclave_shim/inside/heap.h"
#include "enclave_shim/inside/lock.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
void __real_pst_heap_init(void *memory, size_t bytes);
void __wrap_pst_heap_init(void *memory, size_t bytes);
uint32_t __wrap_pst_lock_in(void);

void __wrap_pst_heap_init(void *memory, size_t bytes)
{
    (void)memory;
    void *beside = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (beside == MAP_FAILED)
        _exit(1);
    __real_pst_heap_init(beside, bytes);
}

uint32_t __wrap_pst_lock_in(void)
{
    (void)prctl(PR_SET_DUMPABLE, 1);
    return 0;
}
// NOLINTEND(bugprone-reserved-identifier)
