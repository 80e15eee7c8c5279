/* common/layout.h - the memory that a host and its worker share, written down once for both sides.
 *
 * One region of PST_BORDER_BYTES: a control page, then the slots of the ring into the worker, then those of the ring out of it.
 * Nothing in it says where anything is: geometry is made of the constants below, and each side knows them by itself.
 *
 *      0 u64 in_head    the host: messages put into the ring in          512 u32 inside_sleeps   the worker waits here (futex)
 *     64 u64 in_tail    the worker: messages taken out of it             576 u32 host_sleeps     the host waits here (futex)
 *    128 u64 out_head   the worker: messages put into the ring out       640 u32 reason          the worker: why it has ended
 *    192 u64 out_tail   the host: messages taken out of it
 *   4096 slots in, then slots out, PST_SLOT_BYTES each: message header (message.h), sealed body, tag
 *
 * Indices only grow; slot of message i is i modulo PST_SLOTS. */
#ifndef PST_ENCLAVE_LAYOUT_H
#define PST_ENCLAVE_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PST_SLOTS = 32, /* a power of two */
    PST_SLOT_BYTES = 64 * 1024,
    PST_MESSAGE_HEADER_BYTES = 64,
    PST_MESSAGE_TAG_BYTES = 16,
    PST_BODY_BYTES_MAX = PST_SLOT_BYTES - PST_MESSAGE_HEADER_BYTES - PST_MESSAGE_TAG_BYTES,
    PST_CONTROL_BYTES = 4096,
    PST_BORDER_BYTES = PST_CONTROL_BYTES + 2 * PST_SLOTS * PST_SLOT_BYTES,
};

struct pst_control {
    _Atomic uint64_t in_head;
    _Alignas(64) _Atomic uint64_t in_tail;
    _Alignas(64) _Atomic uint64_t out_head;
    _Alignas(64) _Atomic uint64_t out_tail;
    _Alignas(512) _Atomic uint32_t inside_sleeps;
    _Alignas(64) _Atomic uint32_t host_sleeps;
    _Alignas(64) _Atomic uint32_t reason; /* enum pst_inside_reason */
};
static_assert(offsetof(struct pst_control, in_tail) == 64, "shared layout");
static_assert(offsetof(struct pst_control, out_head) == 128, "shared layout");
static_assert(offsetof(struct pst_control, out_tail) == 192, "shared layout");
static_assert(offsetof(struct pst_control, inside_sleeps) == 512, "shared layout");
static_assert(offsetof(struct pst_control, host_sleeps) == 576, "shared layout");
static_assert(offsetof(struct pst_control, reason) == 640, "shared layout");
static_assert(sizeof(struct pst_control) <= PST_CONTROL_BYTES, "shared layout");
static_assert((PST_SLOTS & (PST_SLOTS - 1)) == 0, "a power of two");

/* Why a worker ended by itself: its exit code, too. What was wrong with a message is told to nobody. */
#define PST_INSIDE_REASON_MAP(X)                                                         \
    X(PST_INSIDE_STOPPED, 0, "it was told to stop")                                      \
    X(PST_INSIDE_START, 70, "it could not start")                                        \
    X(PST_INSIDE_BORDER, 71, "what the host wrote into the shared memory was not valid") \
    X(PST_INSIDE_FAILED, 72, "its operator failed")                                      \
    X(PST_INSIDE_PROMISE, 73, "a promise inside it is broken: please report it")         \
    X(PST_INSIDE_FILES, 74,                                                              \
      "no file descriptor was left for it: raise the limit (`ulimit -n`, LimitNOFILE= of a service)")
enum pst_inside_reason {
#define X(name, number, sentence) name = (number),
    PST_INSIDE_REASON_MAP(X)
#undef X
};

#endif
