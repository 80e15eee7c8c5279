/* taken.c - see unsealed.h: what is received. Of a message its length is looked at, as it is copied; what it says is checked behind that,
 * as ever. The linker puts the function below in the place of the one that it is named after (--wrap). */
#include "tests/attacks/unsealed.h"

#include <string.h>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
int __real_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);
int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);

int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body)
{
    if (!unsealed)
        return __real_pst_border_receive(border, ret_message, ret_body);
    const uint8_t *slot = pst_ring_slot(&border->in);
    if (slot == NULL)
        return border->in.poisoned ? PST_EREFUSED : PST_EAGAIN;
    memcpy(ret_message, slot, sizeof *ret_message);
    if (ret_message->body_bytes > PST_BODY_BYTES_MAX) {
        border->in.poisoned = true;
        return PST_EREFUSED;
    }
    memcpy(border->room, slot + sizeof *ret_message, ret_message->body_bytes);
    pst_ring_advance(&border->in);
    *ret_body = border->room;
    return PST_OK;
}
// NOLINTEND(bugprone-reserved-identifier)
