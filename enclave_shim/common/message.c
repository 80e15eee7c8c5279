/* message.c - see message.h. */
#include "enclave_shim/common/message.h"

#include "base/narrow.h"
#include "enclave_shim/common/peer.h"
#include "enclave_shim/sealed.h"

#include <string.h>

struct head { /* of a part */
    int64_t base;
    uint32_t width, zero;
};
static_assert(sizeof(struct head) == 16, "message layout");
enum { PART_BYTES_MORE = sizeof(struct head) + 8 }; /* than cells, at most: padding */

static uint64_t padded(uint64_t bytes) { return (bytes + 7) & ~UINT64_C(7); }

/* ---- writing ---- */

static bool is_number(uint32_t cell_bytes) { return cell_bytes == 4 || cell_bytes == 8; }

/* Widths for which there are loops over vectors: what an odd one saves costs as much. */
static uint32_t usual_width(uint32_t width) { return width == 3 ? 4 : width > 4 ? 8 : width; }

static uint32_t column_write(const struct pst_piece *piece, uint8_t *to)
{
    uint32_t row_count = piece->byte_count / piece->cell_bytes;
    struct pst_narrow narrow = {0, piece->cell_bytes};
    if (!piece->is_wide && is_number(piece->cell_bytes) && row_count != 0)
        narrow = pst_narrow_find(piece->bytes, piece->cell_bytes, row_count);
    narrow.width = piece->cell_bytes > 8 ? narrow.width : usual_width(narrow.width);
    if (narrow.width == piece->cell_bytes) /* as they are */
        narrow.base = 0;
    struct head head = {narrow.base, narrow.width, 0};
    memcpy(to, &head, sizeof head);
    uint32_t bytes = row_count * narrow.width, end = (uint32_t)padded(bytes);
    if (narrow.width == piece->cell_bytes)
        memcpy(to + sizeof head, piece->bytes, bytes);
    else
        pst_narrow_put(&narrow, piece->bytes, piece->cell_bytes, row_count, to + sizeof head);
    memset(to + sizeof head + bytes, 0, end - bytes);
    return (uint32_t)sizeof head + end;
}

uint32_t pst_pieces_write(const struct pst_piece *pieces, uint32_t piece_count, uint8_t *body)
{
    uint64_t most = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < piece_count; i++)
        most += pieces[i].byte_count + (pieces[i].cell_bytes != 0 ? (uint64_t)PART_BYTES_MORE : 0);
    PST_ASSERT(most <= PST_BODY_BYTES_MAX);
    for (uint32_t i = 0; i < piece_count; i++) {
        if (pieces[i].cell_bytes != 0) {
            at += column_write(&pieces[i], body + at);
        } else if (pieces[i].byte_count != 0) {
            memcpy(body + at, pieces[i].bytes, pieces[i].byte_count);
            at += pieces[i].byte_count;
        }
    }
    return at;
}

/* ---- reading ---- */

void pst_shape_add(struct pst_shape *shape, uint32_t bytes)
{
    PST_ASSERT(shape->part_count < PST_FIELDS_MAX + 2 && bytes >= 1 && bytes <= PST_TEXT_BYTES);
    shape->part_bytes[shape->part_count++] = bytes;
}

uint32_t pst_shape_rows_max(const struct pst_shape *shape)
{
    uint32_t row_bytes = 0;
    for (uint32_t p = 0; p < shape->part_count; p++)
        row_bytes += shape->part_bytes[p];
    PST_ASSERT(row_bytes != 0);
    return (PST_BODY_BYTES_MAX - PART_BYTES_MORE * shape->part_count) / row_bytes;
}
static_assert((PST_BODY_BYTES_MAX - PART_BYTES_MORE * (PST_FIELDS_MAX + 2)) / ((PST_FIELDS_MAX + 2) * PST_TEXT_BYTES) >=
                  1,
              "a row fits");

uint32_t pst_shape_rows_each(const struct pst_shape *shape, uint32_t row_count)
{
    uint32_t most = pst_shape_rows_max(shape), messages = row_count / most + (row_count % most != 0);
    return messages <= 1 ? row_count : row_count / messages + (row_count % messages != 0);
}

static bool width_fits(uint32_t width, uint32_t cell_bytes)
{
    if (width == cell_bytes)
        return true;
    return is_number(cell_bytes) && width < cell_bytes && (width == 0 || width == 1 || width == 2 || width == 4);
}

/* The cells of a part, from *at on, which goes behind them; NULL: there are none. */
static uint8_t *column_find(uint32_t cell_bytes, uint32_t row_count, uint8_t *end, uint8_t **at,
                            struct pst_narrow *ret_narrow)
{
    struct head head;
    if ((size_t)(end - *at) < sizeof head)
        return NULL;
    memcpy(&head, *at, sizeof head);
    *at += sizeof head;
    if (head.zero != 0 || !width_fits(head.width, cell_bytes))
        return NULL;
    uint64_t bytes = padded((uint64_t)head.width * row_count);
    if (bytes > (uint64_t)(end - *at) || (head.width == cell_bytes && head.base != 0))
        return NULL;
    *ret_narrow = (struct pst_narrow){head.base, head.width};
    *at += bytes;
    return *at - bytes;
}

/* Nothing is written over a part before it is read: parts take less than their full width where they need room, so what is left of
 * PST_BODY_BYTES_MAX is enough. */
int pst_shape_read(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes, uint8_t *room,
                   void **ret_parts)
{
    uint8_t *at = body;
    PST_ASSERT(row_count >= 1 && row_count <= pst_shape_rows_max(shape) && body_bytes <= PST_BODY_BYTES_MAX);
    for (uint32_t p = 0; p < shape->part_count; p++) {
        uint32_t cell_bytes = shape->part_bytes[p];
        struct pst_narrow narrow;
        uint8_t *cells = column_find(cell_bytes, row_count, body + body_bytes, &at, &narrow);
        if (cells == NULL)
            return PST_EDATA;
        ret_parts[p] = cells;
        if (narrow.width == cell_bytes)
            continue;
        pst_narrow_get(&narrow, cells, row_count, room, cell_bytes);
        ret_parts[p] = room;
        room += padded((uint64_t)cell_bytes * row_count);
    }
    return at == body + body_bytes ? PST_OK : PST_EDATA;
}

int pst_shape_read_behind(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, uint32_t body_bytes,
                          uint32_t from, void *const *columns)
{
    uint8_t *at = body;
    PST_ASSERT(row_count >= 1 && row_count <= pst_shape_rows_max(shape) && body_bytes <= PST_BODY_BYTES_MAX);
    for (uint32_t p = 0; p < shape->part_count; p++) {
        uint32_t cell_bytes = shape->part_bytes[p];
        uint8_t *to = (uint8_t *)columns[p] + (size_t)from * cell_bytes;
        struct pst_narrow narrow;
        const uint8_t *cells = column_find(cell_bytes, row_count, body + body_bytes, &at, &narrow);
        if (cells == NULL)
            return PST_EDATA;
        if (narrow.width == cell_bytes)
            memcpy(to, cells, (size_t)row_count * cell_bytes);
        else
            pst_narrow_get(&narrow, cells, row_count, to, cell_bytes);
    }
    return at == body + body_bytes ? PST_OK : PST_EDATA;
}

/* ---- bodies of capsules ---- */

uint64_t pst_shape_wide_bytes(const struct pst_shape *shape, uint32_t row_count)
{
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < shape->part_count; p++)
        bytes += padded((uint64_t)shape->part_bytes[p] * row_count);
    return bytes;
}

uint32_t pst_shape_wide_rows_max(const struct pst_shape *shape, uint32_t body_bytes_max)
{
    uint32_t row_bytes = 0;
    for (uint32_t p = 0; p < shape->part_count; p++)
        row_bytes += shape->part_bytes[p];
    PST_ASSERT(row_bytes != 0);
    return (body_bytes_max - 8 * shape->part_count) / row_bytes;
}

void pst_shape_wide_parts(const struct pst_shape *shape, uint32_t row_count, uint8_t *body, void **ret_parts)
{
    uint64_t at = 0;
    for (uint32_t p = 0; p < shape->part_count; p++) {
        ret_parts[p] = body + at;
        at += padded((uint64_t)shape->part_bytes[p] * row_count);
    }
}

/* ---- headers ---- */

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
    return m->port < shape_count && m->row_count >= 1 && m->row_count <= pst_shape_rows_max(&shapes[m->port]) &&
           m->body_bytes <= PST_BODY_BYTES_MAX;
}

static bool is_piece(const struct pst_message *m, uint32_t before_bytes, bool or_nothing)
{
    if (or_nothing && m->body_bytes == 0)
        return true;
    return m->body_bytes >= before_bytes + PST_PIECE_BYTES_MIN && m->body_bytes <= before_bytes + PST_PIECE_BYTES_MAX;
}

/* A list of buckets; which, is for whoever reads it. */
static bool is_list(const struct pst_message *m, uint32_t facts_max, bool or_none)
{
    return m->port == 0 && m->facts <= facts_max && (or_none || m->row_count != 0) &&
           m->body_bytes == m->row_count * (uint64_t)sizeof(uint32_t) && m->body_bytes <= PST_BODY_BYTES_MAX;
}

static bool of_moves_in(const struct pst_message *m)
{
    const struct fields list = {.time = m->kind != PST_MESSAGE_FORGET, .rows = true, .facts = true};
    switch (m->kind) {
    case PST_MESSAGE_PEER:
        return fits(m, &(struct fields){.time = true, .limit = true, .rows = true}) && m->limit > 0 && m->port <= 1 &&
               m->row_count == 0 && m->body_bytes > PST_PEER_HEADS_BYTES &&
               m->body_bytes <= PST_PEER_HEADS_BYTES + PST_PEER_CERTIFICATE_BYTES_MAX;
    case PST_MESSAGE_HAND:
        return fits(m, &list) && is_list(m, 1, false);
    case PST_MESSAGE_TAKE:
        return fits(m, &(struct fields){.limit = true, .rows = true, .facts = true}) && is_piece(m, 0, false);
    case PST_MESSAGE_ARRIVE:
        return fits(m, &list) && is_list(m, PST_ARRIVE_LAST | PST_ARRIVE_OPENS_AGAIN, true);
    default:
        return fits(m, &list) && is_list(m, PST_ARRIVE_LAST, true);
    }
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
    case PST_MESSAGE_IMAGE:
        fine = fits(m, &(struct fields){.time = true, .limit = true, .facts = true}) && m->body_bytes == 0;
        break;
    case PST_MESSAGE_RESTORE:
        fine = fits(m, &(struct fields){.limit = true, .rows = true, .facts = true}) &&
               is_piece(m, PST_PIECE_INCARNATION_BYTES, false);
        break;
    case PST_MESSAGE_RESTORED:
        fine = fits(m, &(struct fields){.time = true, .limit = true}) && m->body_bytes == 0;
        break;
    case PST_MESSAGE_PEER:
    case PST_MESSAGE_HAND:
    case PST_MESSAGE_TAKE:
    case PST_MESSAGE_ARRIVE:
    case PST_MESSAGE_FORGET:
        fine = of_moves_in(m);
        break;
    case PST_MESSAGE_RELEASE:
    case PST_MESSAGE_SEALED:
        fine = fits(m, &(struct fields){0}) && m->body_bytes != 0;
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
        fine = fits(m, &(struct fields){.time = true, .rows = true, .facts = true}) && m->facts <= PST_ROWS_TIMED &&
               (m->facts == PST_ROWS_TIMED || m->time == 0) && rows_fit(m, shapes, shape_count);
        break;
    case PST_MESSAGE_DONE:
        fine = fits(m, &(struct fields){.time = true, .state_bytes = true}) &&
               m->body_bytes == sizeof(struct pst_border_counts);
        break;
    case PST_MESSAGE_PIECE:
        fine = fits(m, &(struct fields){.limit = true, .rows = true, .facts = true}) && is_piece(m, 0, true);
        break;
    case PST_MESSAGE_IMAGED:
        fine = fits(m, &(struct fields){.limit = true, .error = true, .facts = true}) && m->error <= 0 &&
               m->body_bytes == PST_PIECE_INCARNATION_BYTES;
        break;
    case PST_MESSAGE_FAILED:
        fine = fits(m, &(struct fields){.error = true}) && m->error < 0 && m->body_bytes <= PST_SENTENCE_BYTES_MAX;
        break;
    case PST_MESSAGE_CHANNEL:
        fine = fits(m, &(struct fields){0}) && m->body_bytes == PST_CHANNEL_KEY_BYTES;
        break;
    case PST_MESSAGE_CAPSULES:
        fine = fits(m, &(struct fields){0}) && m->body_bytes != 0;
        break;
    case PST_MESSAGE_OFFER:
        fine = fits(m, &(struct fields){0}) && m->body_bytes == PST_OFFER_BYTES;
        break;
    case PST_MESSAGE_MOVED:
        fine = fits(m, &(struct fields){.time = true, .error = true}) && m->error <= 0 &&
               m->body_bytes <= PST_SENTENCE_BYTES_MAX;
        break;
    default:
        break;
    }
    return fine ? PST_OK : PST_EDATA;
}
