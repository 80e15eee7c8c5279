/* twice.c - linked into a worker that reads a length in the shared memory once to check it, and once more to use it. In between it is as
 * slow as it takes somebody to change it, within bounds, for how long a worker is kept from its processor is its host's affair. Nor is
 * anything sealed. The linker puts the function below in the place of the one that it is named after (--wrap). */
#include "tests/attacks/unsealed.h"

#include <string.h>

enum { LOOKS_MAX = 20000000 };

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);

int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body)
{
    const uint8_t *slot = pst_ring_slot(&border->in);
    if (slot == NULL)
        return border->in.poisoned ? PST_EREFUSED : PST_EAGAIN;
    const volatile uint32_t *bytes =
        (const volatile uint32_t *)(const void *)(slot + offsetof(struct pst_message, body_bytes));
    if (*bytes > PST_BODY_BYTES_MAX) {
        border->in.poisoned = true;
        return PST_EREFUSED;
    }
    memcpy(ret_message, slot, sizeof *ret_message);
    uint32_t seen = ret_message->body_bytes;
    for (uint32_t look = 0; look < LOOKS_MAX && seen == ret_message->body_bytes; look++)
        seen = *bytes;
    ret_message->body_bytes = seen;
    memcpy(border->room, slot + sizeof *ret_message, ret_message->body_bytes);
    pst_ring_advance(&border->in);
    *ret_body = border->room;
    return PST_OK;
}
// NOLINTEND(bugprone-reserved-identifier)
