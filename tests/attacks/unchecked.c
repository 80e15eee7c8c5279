/* unchecked.c - linked into a worker that believes its host: there are no seals, and nothing that stands in the ring is looked at,
 * neither its indices, nor lengths, nor counts, nor whether a message fits its kind. The linker puts the functions below in the place of
 * those that they are named after (--wrap). */
#include "base/narrow.h"
#include "tests/attacks/unsealed.h"

#include <string.h>

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body);
uint8_t *__wrap_pst_ring_slot(struct pst_ring *ring);
int __wrap_pst_message_check_in(const struct pst_message *m, const struct pst_shape *shapes, uint32_t shape_count);
int __wrap_pst_shape_read(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                          uint8_t *room, void **ret_parts);
int __wrap_pst_shape_read_behind(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                                 uint32_t from, void *const *columns);

uint8_t *__wrap_pst_ring_slot(struct pst_ring *ring)
{
    ring->seen = atomic_load_explicit(ring->others, memory_order_acquire);
    bool none = ring->produces ? ring->mine - ring->seen >= PST_SLOTS : ring->mine == ring->seen;
    return none ? NULL : ring->slots + (ring->mine & (PST_SLOTS - 1)) * PST_SLOT_BYTES;
}

int __wrap_pst_border_receive(struct pst_border *border, struct pst_message *ret_message, uint8_t **ret_body)
{
    const uint8_t *slot = pst_ring_slot(&border->in);
    if (slot == NULL)
        return PST_EAGAIN;
    memcpy(ret_message, slot, sizeof *ret_message);
    memcpy(border->room, slot + sizeof *ret_message, ret_message->body_bytes);
    pst_ring_advance(&border->in);
    *ret_body = border->room;
    return PST_OK;
}

int __wrap_pst_message_check_in(const struct pst_message *m, const struct pst_shape *shapes, uint32_t shape_count)
{
    (void)m, (void)shapes, (void)shape_count;
    return PST_OK;
}

int __wrap_pst_shape_read_behind(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                                 uint32_t from, void *const *columns)
{
    (void)body_bytes;
    for (uint32_t p = 0; p < shape->part_count; p++) {
        struct {
            int64_t base;
            uint32_t width, zero;
        } head;
        memcpy(&head, body, sizeof head);
        uint8_t *cells = body + sizeof head, *to = (uint8_t *)columns[p] + (size_t)from * shape->part_bytes[p];
        struct pst_narrow narrow = {head.base, head.width};
        if (head.width == shape->part_bytes[p])
            memcpy(to, cells, (size_t)row_count * head.width);
        else
            pst_narrow_get(&narrow, cells, row_count, to, shape->part_bytes[p]);
        body = cells + (((uint64_t)head.width * row_count + 7) & ~UINT64_C(7));
    }
    return PST_OK;
}
int __wrap_pst_shape_read(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                          uint8_t *room, void **ret_parts)
{
    (void)body_bytes;
    for (uint32_t p = 0; p < shape->part_count; p++) {
        struct {
            int64_t base;
            uint32_t width, zero;
        } head;
        memcpy(&head, body, sizeof head);
        uint8_t *cells = body + sizeof head;
        struct pst_narrow narrow = {head.base, head.width};
        ret_parts[p] = head.width == shape->part_bytes[p] ? cells : room;
        if (ret_parts[p] == room)
            pst_narrow_get(&narrow, cells, row_count, room, shape->part_bytes[p]);
        room += ((uint64_t)shape->part_bytes[p] * row_count + 7) & ~UINT64_C(7);
        body = cells + (((uint64_t)head.width * row_count + 7) & ~UINT64_C(7));
    }
    return PST_OK;
}
// NOLINTEND(bugprone-reserved-identifier)
