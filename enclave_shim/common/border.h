/* common/border.h - one side of the border: messages sealed into one ring and opened from the other.
 *
 * Sealing is AES-256-GCM under a key of the direction; the nonce is the message's sequence number, the associated data its header.
 * So a message that is changed, left out, sent twice or put elsewhere does not open. Of capsules (sealed.h) the header alone is
 * authenticated: they are sealed already, and their reader sees what is wrong with them. What comes is copied before it is checked and
 * checked before it is used: nothing in shared memory is read twice, and nothing that was written there is read at all. base/gcm.h
 * does so (G1 and G2).
 * Waking:   by futex; a side that sleeps says in its word what for. Who has sent something wakes the other side when half of the ring
 *           is full, when it has nothing to do itself, or by kick(): a wake-up costs as much as the sealing of a frame, so it is for several
 *           messages; a host does so with each time that it asks for. Who makes room wakes a side that waits for room when half of the ring is free.
 * Thread:   one.
 */
#ifndef PST_ENCLAVE_BORDER_H
#define PST_ENCLAVE_BORDER_H

#include "enclave_shim/common/message.h"
#include "enclave_shim/common/ring.h"

enum {
    PST_BORDER_KEY_BYTES = 32,
    /* How often a side looks before it sleeps, with a pause of some 40 ns between: where processors are short, for another process could
     * use this one meanwhile (200 took 2 to 3 hundredths of the rows/s of two workers with enclaves on two processors); and where there is
     * one for everybody: longer than a wake-up takes, else two sides that have once slept wake each other for ever. A round trip takes 3 us
     * then, and 17 us so (tools/bench/border.c, two processors). */
    PST_BORDER_SPINS_FEW = 10,
    PST_BORDER_SPINS_MAX = 2000,
};
#define PST_BORDER_MESSAGES_MAX (UINT64_C(1) << 40) /* under one key */

struct pst_border { /* embedded; all of it private */
    struct pst_control *control;
    struct pst_ring in, out; /* as this side sees it: what comes, what goes */
    _Atomic uint32_t *own_word, *others_word;
    struct pst_gcm *opens, *seals;
    uint8_t *room; /* of one slot, for what comes, and one for what goes */
    uint64_t taken, sent;
    uint64_t calls;         /* of the system */
    uint32_t spins;         /* PST_BORDER_SPINS_FEW unless somebody says more */
    bool inside, owes_wake; /* something was sent, and nobody was woken for it */
};

/* memory: PST_BORDER_BYTES of both, page-aligned; borrowed. key_in: of the way into the worker. Keys are copied.
 * Errors:  PST_ENOMEM, PST_EINTERNAL. */
int pst_border_init(struct pst_border *border, void *memory, bool inside, const uint8_t key_in[PST_BORDER_KEY_BYTES],
                    const uint8_t key_out[PST_BORDER_KEY_BYTES]);
void pst_border_fini(struct pst_border *border);

/* Where the body of a message with capsules goes that is sent next, without pieces and with its body_bytes: PST_BODY_BYTES_MAX of shared
 * memory, of which this side reads nothing again. NULL: as PST_EAGAIN or PST_EREFUSED of pst_border_send(). */
uint8_t *pst_border_room(struct pst_border *border);
/* Fills in the sequence number. The other side may not know of it before kick(), or wait(). Errors: PST_EAGAIN no room now, nothing was done; PST_EREFUSED the other side has written what it
 * must not, and nothing goes any more; PST_ERANGE a key has sealed PST_BORDER_MESSAGES_MAX; PST_EINTERNAL. */
int pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count);
/* The next message; its body, 8-byte aligned, is the caller's until the next call. The kind is not checked yet.
 * Errors: PST_EAGAIN there is none; PST_EREFUSED as above, or it does not open; PST_EINTERNAL. */
int pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);
/* Wakes the other side for what was sent, if it sleeps. Cost: nothing where nothing was. */
void pst_border_kick(struct pst_border *border);
/* Waits for a message, or for room (a host: or for a message): kicks, spins, then sleeps. timeout_us 0: for as long as it takes; false: the
 * time ran out. */
bool pst_border_wait(struct pst_border *border, bool for_room, uint32_t timeout_us);
bool pst_border_has_news(
    const struct pst_border *border); /* there is a message, or the other side has written what it must not */
bool pst_border_all_taken(const struct pst_border *border); /* the other side has taken all that was sent */
bool pst_border_other_waits(
    const struct pst_border
        *border); /* for a message, and it has taken all that was sent, and there is none of its own */

#endif
