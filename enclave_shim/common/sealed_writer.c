/* sealed_writer.c - see sealed.h: one end of an edge. Rows are kept in columns until there are enough, dealt to the reader's buckets by
 * counting, and sealed, a capsule or some for each bucket that has any. */
#include "enclave_shim/common/capsule.h"

#include "base/gcm.h"

#include <openssl/crypto.h>
#include <string.h>

struct pst_sealed_writer {
    const struct pst_sealed_edge *edge;
    struct pst_shape shape;
    struct pst_gcm *cipher;
    int (*emit)(void *emitter, const void *bytes, size_t byte_count);
    void *emitter;
    uint64_t cover[PST_SEALED_COVER_WORDS];
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    struct pst_mark mark;
    uint8_t *origins; /* origin_count - 1 of them: the first stands in `mark` */
    uint32_t origin_count;
    bool begun, ended;
    uint64_t sequence, marks, marked; /* marked: sequence of the last mark */
    int64_t watermark;
    uint64_t *sent; /* [bucket_count] */
    /* rows that are kept */
    uint32_t row_count, rows_max, capsule_rows_max;
    uint8_t *columns[PST_FIELDS_MAX + 2];
    uint32_t *order, *first; /* [rows_max], [bucket_count + 1] */
    uint8_t *capsule;        /* PST_CAPSULE_BYTES_MAX */
};

static int memory_take(struct pst_sealed_writer *w)
{
    for (uint32_t p = 0; p < w->shape.part_count; p++) {
        w->columns[p] = pst_malloc((size_t)w->rows_max * w->shape.part_bytes[p]);
        if (w->columns[p] == NULL)
            return PST_ENOMEM;
    }
    w->sent = pst_calloc(w->edge->bucket_count, sizeof *w->sent);
    w->order = pst_malloc(w->rows_max * sizeof *w->order);
    w->first = pst_malloc((w->edge->bucket_count + (size_t)1) * sizeof *w->first);
    w->capsule = pst_calloc(1, PST_CAPSULE_BYTES_MAX);
    return w->sent != NULL && w->order != NULL && w->first != NULL && w->capsule != NULL ? PST_OK : PST_ENOMEM;
}

static void cover_fill(struct pst_sealed_writer *w, const uint64_t *cover)
{
    for (uint32_t b = 0; b < w->edge->producer_bucket_count; b++)
        if (cover == NULL || (cover[b / 64] >> b % 64 & 1) != 0)
            w->cover[b / 64] |= UINT64_C(1) << b % 64;
}

int pst_sealed_writer_new(const struct pst_sealed_writer_settings *settings, struct pst_sealed_writer **ret_writer)
{
    if (!pst_sealed_edge_valid(settings->edge) || settings->rows_max == 0)
        return PST_EINVAL;
    struct pst_sealed_writer *w = pst_calloc(1, sizeof *w);
    if (w == NULL)
        return PST_ENOMEM;
    w->edge = settings->edge;
    w->emit = settings->emit;
    w->emitter = settings->emitter;
    w->rows_max = settings->rows_max;
    w->watermark = INT64_MIN;
    memcpy(w->salt, settings->salt, sizeof w->salt);
    memcpy(w->mark.stream, settings->stream, sizeof w->mark.stream);
    pst_sealed_edge_shape(w->edge, &w->shape);
    w->capsule_rows_max = pst_shape_wide_rows_max(&w->shape, PST_CAPSULE_BODY_BYTES_MAX);
    cover_fill(w, settings->cover);
    int rc = memory_take(w);
    if (rc == PST_OK)
        rc = pst_capsule_cipher(settings->keys, w->edge, w->salt, &w->cipher);
    if (rc != PST_OK) {
        pst_sealed_writer_free(w);
        return rc;
    }
    *ret_writer = w;
    return PST_OK;
}

void pst_sealed_writer_free(struct pst_sealed_writer *w)
{
    if (w == NULL)
        return;
    for (uint32_t p = 0; p < w->shape.part_count; p++) {
        if (w->columns[p] != NULL)
            OPENSSL_cleanse(w->columns[p], (size_t)w->rows_max * w->shape.part_bytes[p]);
        pst_free(w->columns[p]);
    }
    if (w->capsule != NULL)
        OPENSSL_cleanse(w->capsule, PST_CAPSULE_BYTES_MAX);
    pst_gcm_free(w->cipher);
    pst_free(w->sent);
    pst_free(w->order);
    pst_free(w->first);
    pst_free(w->capsule);
    pst_free(w->origins);
    pst_free(w);
}

int pst_sealed_writer_continue(struct pst_sealed_writer *w, const uint8_t salt[PST_CAPSULE_SALT_BYTES],
                               uint64_t sequence)
{
    PST_ASSERT(!w->begun);
    if (w->origin_count == PST_SEALED_ORIGINS_MAX)
        return PST_EFULL;
    if (w->origin_count == 0) {
        w->mark.sequence = sequence;
        memcpy(w->mark.salt, salt, sizeof w->mark.salt);
    } else {
        uint8_t *origins = pst_realloc(w->origins, w->origin_count * (size_t)PST_ORIGIN_BYTES);
        if (origins == NULL)
            return PST_ENOMEM;
        w->origins = origins;
        origins += (w->origin_count - 1) * (size_t)PST_ORIGIN_BYTES;
        memcpy(origins, &sequence, sizeof sequence);
        memcpy(origins + sizeof sequence, salt, PST_CAPSULE_SALT_BYTES);
    }
    w->origin_count++;
    return PST_OK;
}

/* Seals what stands behind the header in w->capsule. The sequence is used up whatever happens. */
static int capsule_send(struct pst_sealed_writer *w, struct pst_capsule *header)
{
    header->edge = w->edge->number;
    header->sequence = w->sequence;
    memcpy(header->salt, w->salt, sizeof header->salt);
    if (w->sequence >= PST_CAPSULES_MAX)
        return PST_ERANGE;
    w->sequence++;
    memcpy(w->capsule, header, sizeof *header);
    int rc = pst_capsule_seal(w->cipher, w->capsule);
    return rc == PST_OK ? w->emit(w->emitter, w->capsule, pst_capsule_bytes(header)) : rc;
}

/* ---- rows ---- */

static void part_gather(uint8_t *to, const uint8_t *from, uint32_t bytes, const uint32_t *rows, uint32_t n)
{
    switch (bytes) {
    case 4:
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * 4, from + (size_t)rows[i] * 4, 4);
        break;
    case 8:
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * 8, from + (size_t)rows[i] * 8, 8);
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * bytes, from + (size_t)rows[i] * bytes, bytes);
    }
}

/* Rows of one bucket, by their places among those that are kept. */
static int bucket_send(struct pst_sealed_writer *w, uint32_t bucket, const uint32_t *rows, uint32_t count)
{
    int rc = PST_OK;
    for (uint32_t from = 0, n; from < count && rc == PST_OK; from += n) {
        void *parts[PST_FIELDS_MAX + 2];
        n = count - from < w->capsule_rows_max ? count - from : w->capsule_rows_max;
        struct pst_capsule header = {.kind = PST_CAPSULE_ROWS,
                                     .bucket = bucket,
                                     .number = w->sent[bucket]++,
                                     .time = w->watermark,
                                     .row_count = n,
                                     .body_bytes = (uint32_t)pst_shape_wide_bytes(&w->shape, n)};
        uint8_t *body = w->capsule + sizeof header;
        pst_shape_wide_parts(&w->shape, n, body, parts);
        for (uint32_t p = 0; p < w->shape.part_count; p++) {
            uint32_t bytes = w->shape.part_bytes[p];
            part_gather(parts[p], w->columns[p], bytes, rows + from, n);
            memset((uint8_t *)parts[p] + (size_t)n * bytes, 0, (8 - (size_t)n * bytes % 8) % 8);
        }
        rc = capsule_send(w, &header);
    }
    return rc;
}

static int flush(struct pst_sealed_writer *w)
{
    uint32_t count = w->row_count, buckets = w->edge->bucket_count, mask = buckets - 1;
    const uint64_t *hash = w->edge->keyed ? (const uint64_t *)(const void *)w->columns[1] : NULL;
    w->row_count = 0;
    memset(w->first, 0, (buckets + (size_t)1) * sizeof *w->first);
    for (uint32_t i = 0; i < count; i++)
        w->first[(hash != NULL ? (uint32_t)hash[i] & mask : 0) + 1]++;
    for (uint32_t b = 0; b < buckets; b++)
        w->first[b + 1] += w->first[b];
    for (uint32_t i = 0; i < count; i++)
        w->order[w->first[hash != NULL ? (uint32_t)hash[i] & mask : 0]++] = i;
    int rc = PST_OK; /* first[b] is now where b's rows end */
    for (uint32_t b = 0, from = 0; b < buckets && rc == PST_OK; from = w->first[b++])
        if (w->first[b] != from)
            rc = bucket_send(w, b, w->order + from, w->first[b] - from);
    w->mark.rows += count;
    return rc;
}

int pst_sealed_writer_add(struct pst_sealed_writer *w, uint32_t row_count, const int64_t *time, const uint64_t *hash,
                          const void *const *columns)
{
    if (!w->begun || w->ended || (w->edge->keyed && hash == NULL))
        return PST_EINVAL;
    for (uint32_t from = 0, n; from < row_count; from += n) {
        uint32_t p = 0;
        n = row_count - from < w->rows_max - w->row_count ? row_count - from : w->rows_max - w->row_count;
        memcpy(w->columns[p++] + (size_t)w->row_count * sizeof *time, time + from, n * sizeof *time);
        if (w->edge->keyed)
            memcpy(w->columns[p++] + (size_t)w->row_count * sizeof *hash, hash + from, n * sizeof *hash);
        for (uint32_t c = 0; p < w->shape.part_count; p++, c++) {
            size_t bytes = w->shape.part_bytes[p];
            memcpy(w->columns[p] + w->row_count * bytes, (const uint8_t *)columns[c] + from * bytes, n * bytes);
        }
        w->row_count += n;
        int rc = w->row_count == w->rows_max ? flush(w) : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* ---- marks ---- */

int pst_sealed_writer_mark(struct pst_sealed_writer *w, int64_t watermark, bool ends, int64_t input_end)
{
    if (w->ended || watermark < w->watermark)
        return PST_EINVAL;
    int rc = w->row_count != 0 ? flush(w) : PST_OK;
    if (rc != PST_OK)
        return rc;
    uint32_t words = pst_cover_words(w->edge->producer_bucket_count), origins = w->begun ? 0 : w->origin_count;
    uint32_t flags = (ends ? PST_CAPSULE_ENDS : 0) | (origins != 0 ? PST_CAPSULE_CONTINUES : 0) |
                     (origins > 1 ? PST_CAPSULE_SEVERAL : 0);
    size_t origin_bytes = origins > 1 ? (origins - 1) * (size_t)PST_ORIGIN_BYTES : 0;
    struct pst_capsule header = {.kind = PST_CAPSULE_MARK,
                                 .number = w->marks++,
                                 .time = watermark,
                                 .flags = flags,
                                 .body_bytes = pst_mark_bytes(w->edge) + (uint32_t)origin_bytes};
    struct pst_mark mark = w->mark;
    uint8_t *body = w->capsule + sizeof header;
    mark.input_end = ends ? input_end : 0;
    if ((flags & PST_CAPSULE_CONTINUES) == 0) {
        mark.sequence = 0;
        memset(mark.salt, 0, sizeof mark.salt);
    }
    memcpy(body, &mark, sizeof mark);
    memcpy(body + sizeof mark, w->cover, words * sizeof *w->cover);
    memcpy(body + sizeof mark + words * sizeof *w->cover, w->sent, w->edge->bucket_count * sizeof *w->sent);
    if (origin_bytes != 0)
        memcpy(body + pst_mark_bytes(w->edge), w->origins, origin_bytes);
    w->begun = true;
    w->ended = ends;
    w->watermark = watermark;
    w->marked = w->sequence;
    return capsule_send(w, &header);
}

void pst_sealed_writer_marked(const struct pst_sealed_writer *w, uint8_t ret_salt[PST_CAPSULE_SALT_BYTES],
                              uint64_t *ret_sequence)
{
    memcpy(ret_salt, w->salt, sizeof w->salt);
    *ret_sequence = w->marked;
}
