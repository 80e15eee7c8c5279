/* unsealed.c - see unsealed.h: what is sent. The linker puts the function below in the place of the one that it is named after (--wrap). */
#include "tests/attacks/unsealed.h"

#include <string.h>

bool unsealed = true;

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
int __real_pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                           uint32_t piece_count);
int __wrap_pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                           uint32_t piece_count);

int __wrap_pst_border_send(struct pst_border *border, struct pst_message *message, const struct pst_piece *pieces,
                           uint32_t piece_count)
{
    if (!unsealed)
        return __real_pst_border_send(border, message, pieces, piece_count);
    uint8_t *slot = pst_ring_slot(&border->out);
    if (slot == NULL)
        return border->out.poisoned ? PST_EREFUSED : PST_EAGAIN;
    message->body_bytes = pst_pieces_write(pieces, piece_count, border->room + PST_SLOT_BYTES);
    message->sequence = border->sent++;
    memcpy(slot, message, sizeof *message);
    memcpy(slot + sizeof *message, border->room + PST_SLOT_BYTES, message->body_bytes);
    pst_ring_advance(&border->out);
    border->owes_wake = true;
    return PST_OK;
}

// NOLINTEND(bugprone-reserved-identifier)
