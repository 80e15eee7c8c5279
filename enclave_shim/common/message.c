/* message.c - see message.h. */
#include "enclave_shim/common/message.h"

static uint64_t padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

void pst_shape_add(struct pst_shape *shape, uint32_t bytes)
{
    PST_ASSERT(shape->part_count < PST_FIELDS_MAX + 2 && bytes >= 1 && bytes <= PST_TEXT_BYTES);
    shape->part_bytes[shape->part_count++] = bytes;
}

uint64_t pst_shape_body_bytes(const struct pst_shape *shape, uint32_t row_count)
{
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < shape->part_count; p++)
        bytes += padded((uint64_t)shape->part_bytes[p] * row_count);
    return bytes;
}

uint32_t pst_shape_rows_max(const struct pst_shape *shape)
{
    uint32_t row_bytes = 0;
    for (uint32_t p = 0; p < shape->part_count; p++)
        row_bytes += shape->part_bytes[p];
    PST_ASSERT(row_bytes != 0);
    return (PST_BODY_BYTES_MAX - 8 * shape->part_count) / row_bytes;
}
static_assert(PST_BODY_BYTES_MAX / ((PST_FIELDS_MAX + 2) * PST_TEXT_BYTES + 8) >= 1, "a row fits");

void pst_shape_parts(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, void **ret_parts)
{
    uint64_t at = 0;
    for (uint32_t p = 0; p < shape->part_count; p++) {
        ret_parts[p] = body + at;
        at += padded((uint64_t)shape->part_bytes[p] * row_count);
    }
}

/* Of a field that is the kind's it does not look at the value. */
struct fields {
    bool time, limit, rows, error, facts, state_bytes;
};

static bool fits(const struct pst_message *m, const struct fields *has)
{
    return m->zero == 0 && (has->time || m->time == 0) && (has->limit || m->limit == 0) &&
           (has->rows || (m->port == 0 && m->row_count == 0)) && (has->error || m->error == 0) &&
           (has->facts || m->facts == 0) && (has->state_bytes || m->state_bytes == 0);
}

static bool rows_fit(const struct pst_message *m, const struct pst_shape *shapes, uint32_t shape_count)
{
    if (m->port >= shape_count || m->row_count == 0 || m->row_count > pst_shape_rows_max(&shapes[m->port]))
        return false;
    return m->body_bytes == pst_shape_body_bytes(&shapes[m->port], m->row_count);
}

int pst_message_check_in(const struct pst_message *m, const struct pst_shape *shapes, uint32_t shape_count)
{
    bool fine = false;
    switch (m->kind) {
    case PST_MESSAGE_FRAME:
        fine = fits(m, &(struct fields){.rows = true}) && rows_fit(m, shapes, shape_count);
        break;
    case PST_MESSAGE_TIME:
        fine = fits(m, &(struct fields){.time = true, .limit = true}) && m->body_bytes == 0;
        break;
    case PST_MESSAGE_END:
        fine = fits(m, &(struct fields){.time = true}) && m->body_bytes == 0;
        break;
    case PST_MESSAGE_STOP:
        fine = fits(m, &(struct fields){0}) && m->body_bytes == 0;
        break;
    default:
        break;
    }
    return fine ? PST_OK : PST_EDATA;
}

int pst_message_check_out(const struct pst_message *m, const struct pst_shape *shapes, uint32_t shape_count)
{
    bool fine = false;
    switch (m->kind) {
    case PST_MESSAGE_READY:
        fine = fits(m, &(struct fields){.time = true, .facts = true, .state_bytes = true}) &&
               m->body_bytes == PST_CONFIG_DIGEST_BYTES;
        break;
    case PST_MESSAGE_ROWS:
        fine = fits(m, &(struct fields){.rows = true}) && rows_fit(m, shapes, shape_count);
        break;
    case PST_MESSAGE_DONE:
        fine = fits(m, &(struct fields){.time = true, .state_bytes = true}) &&
               m->body_bytes == sizeof(struct pst_border_counts);
        break;
    case PST_MESSAGE_FAILED:
        fine = fits(m, &(struct fields){.error = true}) && m->error < 0 && m->body_bytes <= PST_SENTENCE_BYTES_MAX;
        break;
    default:
        break;
    }
    return fine ? PST_OK : PST_EDATA;
}
