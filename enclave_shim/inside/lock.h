/* inside/lock.h - what a worker gives up before it takes a row. Each step that the system has not is left out, and not claimed. */
#ifndef PST_ENCLAVE_LOCK_H
#define PST_ENCLAVE_LOCK_H

#include <stddef.h>
#include <stdint.h>

/* The pool: secret memory, or locked memory where the kernel has none. NULL: ret_why says what and what to do. Its lowest page is a
 * guard. *ret_facts gets what it is. */
void *pst_pool_map(size_t bytes, uint32_t *ret_facts, char *ret_why, size_t why_bytes);
/* Files, ports, other processes, dumps: all but system calls. Returns the facts that hold from now on. */
uint32_t pst_lock_in(void);
/* From now on: waiting on one word, waking the other, exit; anything else is death. 0, or -1. */
int pst_lock_calls(const void *wait_word, const void *wake_word);

#endif
