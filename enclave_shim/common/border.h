/* common/border.h - one side of the border: messages sealed into one ring and opened from the other.
 *
 * Sealing is AES-256-GCM under a key of the direction; the nonce is the message's sequence number, the associated data its header.
 * So a message that is changed, left out, sent twice or put elsewhere does not open. What comes is copied before it is checked and
 * checked before it is used: nothing in shared memory is read twice. What goes is sealed in memory of one's own and copied then.
 * Thread:   one. Sleeping is by futex on this side's word; whoever moves an index wakes the other side if it sleeps.
 */
#ifndef PST_ENCLAVE_BORDER_H
#define PST_ENCLAVE_BORDER_H

#include "enclave_shim/common/message.h"
#include "enclave_shim/common/ring.h"

enum { PST_BORDER_KEY_BYTES = 32 };
#define PST_BORDER_MESSAGES_MAX (UINT64_C(1) << 40) /* under one key */

struct pst_border { /* embedded; all of it private */
    struct pst_control *control;
    struct pst_ring in, out; /* as this side sees it: what comes, what goes */
    _Atomic uint32_t *own_word, *others_word;
    struct evp_cipher_ctx_st *opens, *seals;
    uint8_t *room; /* of one slot, for what comes, and one for what goes */
    uint64_t taken, sent;
    bool inside;
};

struct pst_piece { /* of a body; padded with zeros to a multiple of 8 bytes if `padded` */
    const void *bytes;
    uint32_t byte_count;
    bool padded;
};

/* memory: PST_BORDER_BYTES of both, page-aligned; borrowed. key_in: of the way into the worker. Keys are copied.
 * Errors:  PST_ENOMEM, PST_EINTERNAL. */
int pst_border_init(struct pst_border *border, void *memory, bool inside, const uint8_t key_in[PST_BORDER_KEY_BYTES],
                    const uint8_t key_out[PST_BORDER_KEY_BYTES]);
void pst_border_fini(struct pst_border *border);

/* Fills in the sequence number. Errors: PST_EAGAIN no room now, nothing was done; PST_EREFUSED the other side has written what it
 * must not, and nothing goes any more; PST_ERANGE a key has sealed PST_BORDER_MESSAGES_MAX; PST_EINTERNAL. */
int pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                    uint32_t piece_count);
/* The next message; its body, 8-byte aligned, is the caller's until the next call. The kind is not checked yet.
 * Errors: PST_EAGAIN there is none; PST_EREFUSED as above, or it does not open; PST_EINTERNAL. */
int pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);
/* Waits for a message, or for room (a host: or for a message): spins, then sleeps. timeout_us 0: for as long as it takes; false: the
 * time ran out. */
bool pst_border_wait(struct pst_border *border, bool for_room, uint32_t timeout_us);
bool pst_border_has_news(
    const struct pst_border *border); /* the other side has put something in since receive() found nothing */

#endif
