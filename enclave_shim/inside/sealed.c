/* sealed.c - see inside.h: a partition whose rows come and go sealed. Its host hands over capsules and sees capsules; event time, epochs
 * and the end are what the marks say that it opens, so a host that says otherwise is not asked. Epochs are those of engine/partition.c. */
#include "enclave_shim/inside/inside.h"

#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/image.h"
#include "enclave_shim/sealed.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum {
    ROWS_KEPT_MAX = 4096,
    OUT_BYTES = PST_ENCLAVE_CAPSULES_BYTES_MAX,
    PST_IMAGE_ID_BYTES_MAX = 255,
    MARK_EVERY_BYTES = 256 * 1024, /* of rows on an edge, by all of an operator's partitions together */
    MESSAGES_TOGETHER = 16,        /* are taken before what they allow is done */
};

struct way_out { /* an edge that leads away */
    struct pst_sealed_edge edge;
    const struct pst_enclave_sealed_output *plan;
    struct pst_sealed_writer *writer;
    uint32_t row_bytes;
    uint64_t unmarked_bytes; /* of rows since the last mark */
};

struct pst_inside_sealed {
    struct pst_inside_sealed_settings settings;
    const struct pst_enclave_sealing *sealing;
    struct pst_inside *inside;
    struct pst_sealed_edge edges_in[PST_INPUTS_MAX];
    struct pst_sealed_reader *readers[PST_INPUTS_MAX];
    struct way_out *ways;
    bool released, begun, ended; /* begun: it knows of which stream what it puts out comes */
    bool goes_on;                /* from a checkpoint: what it puts out begins with the next time */
    bool marked;                 /* marks have come that nothing was done about yet, */
    uint32_t put_off;            /* for so many messages */
    bool answers;                /* what was asked for is done */
    int64_t told;                /* the last time that it was told, where it is paced */
    struct pst_sealed_keys keys;
    /* event time, as in a partition of the engine */
    int64_t now, timer_min, timer_limit, emit_time, watermark_out;
    bool now_known, had_rows;
    uint32_t port; /* of the rows that a reader gives */
    /* what goes out */
    uint64_t mark_bytes; /* this partition's share of MARK_EVERY_BYTES */
    uint8_t *out;
    uint32_t out_bytes;
    int64_t time[PST_OUT_ROWS_MAX];
    uint64_t hash[PST_OUT_ROWS_MAX];
    uint8_t packed[PST_OUT_ROWS_MAX * PST_KEY_BYTES_MAX];
    char why[PST_SENTENCE_BYTES_MAX];
};

int64_t pst_inside_floor_to(int64_t t, int64_t step)
{
    int64_t rest = t % step;
    return rest < 0 ? t - rest - step : t - rest;
}

static int64_t add_time(int64_t t, int64_t span) { return t > INT64_MAX - span ? INT64_MAX : t + span; }

/* ---- edges, as the configuration has them ---- */

static void edge_in(const struct pst_enclave_operator *config, uint32_t i, struct pst_sealed_edge *ret_edge)
{
    const struct pst_enclave_input *input = &config->inputs[i];
    const struct pst_enclave_sealed_input *sealed = &config->sealing->inputs[i];
    struct pst_shape shapes[PST_INPUTS_MAX], outputs[PST_OUTPUTS_MAX];
    pst_config_shapes(config, shapes, outputs);
    *ret_edge = (struct pst_sealed_edge){.name = sealed->name,
                                         .number = sealed->number,
                                         .producer_bucket_count = sealed->producer_bucket_count,
                                         .bucket_count = input->keyed ? config->bucket_count : 1,
                                         .keyed = input->keyed,
                                         .part_count = shapes[i].part_count};
    memcpy(ret_edge->part_bytes, shapes[i].part_bytes, shapes[i].part_count * sizeof *ret_edge->part_bytes);
}

static bool edge_out(const struct pst_enclave_operator *config, struct way_out *way)
{
    const struct pst_enclave_sealed_output *plan = way->plan;
    const struct pst_enclave_output *output = &config->outputs[plan->output];
    struct pst_sealed_edge *edge = &way->edge;
    uint32_t key_bytes = 0;
    *edge = (struct pst_sealed_edge){.name = plan->name,
                                     .number = plan->number,
                                     .producer_bucket_count = config->bucket_count,
                                     .bucket_count = plan->bucket_count,
                                     .keyed = plan->key_count != 0};
    edge->part_bytes[edge->part_count++] = sizeof(int64_t);
    if (edge->keyed)
        edge->part_bytes[edge->part_count++] = sizeof(uint64_t);
    for (uint32_t i = 0; i < plan->used_count; i++) {
        edge->part_bytes[edge->part_count++] = pst_type_bytes(output->schema.fields[plan->used[i]].type);
        if (!output->wanted[plan->used[i]])
            return false;
    }
    for (uint32_t i = 0; i < plan->key_count; i++) {
        key_bytes += pst_type_bytes(output->schema.fields[plan->key[i]].type);
        if (!output->wanted[plan->key[i]])
            return false;
    }
    for (uint32_t p = 0; p < edge->part_count; p++)
        way->row_bytes += edge->part_bytes[p];
    return key_bytes <= PST_KEY_BYTES_MAX;
}

int pst_inside_sealed_new(const struct pst_inside_sealed_settings *settings, struct pst_inside_sealed **ret_sealed)
{
    struct pst_inside_sealed *s = pst_calloc(1, sizeof *s);
    if (s == NULL)
        return PST_ENOMEM;
    *ret_sealed = s;
    s->settings = *settings;
    s->sealing = settings->config->sealing;
    s->timer_min = s->timer_limit = INT64_MAX;
    s->watermark_out = s->told = INT64_MIN;
    s->out = pst_malloc(OUT_BYTES);
    s->ways = pst_calloc(s->sealing->edge_count + (size_t)1, sizeof *s->ways);
    if (s->out == NULL || s->ways == NULL)
        return PST_ENOMEM;
    for (uint32_t i = 0; i < settings->config->input_count; i++)
        edge_in(settings->config, i, &s->edges_in[i]);
    for (uint32_t i = 0; i < s->sealing->edge_count; i++) {
        s->ways[i].plan = &s->sealing->edges[i];
        if (!edge_out(settings->config, &s->ways[i]))
            return PST_EDATA;
    }
    return PST_OK;
}

void pst_inside_sealed_free(struct pst_inside_sealed *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < PST_INPUTS_MAX; i++)
        pst_sealed_reader_free(s->readers[i]);
    for (uint32_t i = 0; s->ways != NULL && i < s->sealing->edge_count; i++)
        pst_sealed_writer_free(s->ways[i].writer);
    if (s->out != NULL)
        OPENSSL_cleanse(s->out, OUT_BYTES);
    pst_free(s->out);
    pst_free(s->ways);
    OPENSSL_cleanse(s, sizeof *s);
    pst_free(s);
}

void pst_inside_sealed_serve(struct pst_inside_sealed *s, struct pst_inside *inside) { s->inside = inside; }
const char *pst_inside_sealed_why(const struct pst_inside_sealed *s) { return s->why; }

static int because(struct pst_inside_sealed *s, int rc, const char *sentence)
{
    if (s->why[0] == '\0')
        (void)snprintf(s->why, sizeof s->why, "%s", sentence);
    return rc;
}

/* ---- what goes out ---- */

static int out_send(struct pst_inside_sealed *s)
{
    struct pst_message message = {.kind = PST_MESSAGE_CAPSULES};
    struct pst_piece piece = {s->out, s->out_bytes, 0, false};
    int rc = s->out_bytes != 0 ? s->settings.emit(s->settings.emitter, &message, &piece, 1) : PST_OK;
    s->out_bytes = 0;
    return rc;
}

static int capsule_out(void *self, const void *bytes, size_t byte_count)
{
    struct pst_inside_sealed *s = self;
    int rc = s->out_bytes + byte_count > OUT_BYTES ? out_send(s) : PST_OK;
    memcpy(s->out + s->out_bytes, bytes, byte_count);
    s->out_bytes += (uint32_t)byte_count;
    return rc;
}
static_assert((int)PST_CAPSULE_BYTES_MAX <= (int)OUT_BYTES, "a capsule fits");
static_assert((int)OUT_BYTES <= (int)PST_BODY_BYTES_MAX, "a message takes it");

int pst_inside_sealed_channel(struct pst_inside_sealed *s)
{
    uint8_t public[PST_CHANNEL_KEY_BYTES];
    struct pst_message message = {.kind = PST_MESSAGE_CHANNEL};
    struct pst_piece piece = {public, sizeof public, 0, false};
    int rc = pst_channel_key_public(s->settings.channel_secret, public);
    return rc == PST_OK ? s->settings.emit(s->settings.emitter, &message, &piece, 1) : rc;
}

/* Keys are packed as the engine packs them: field after field, little endian. */
static void hash_rows(struct pst_inside_sealed *s, const struct way_out *way, uint32_t n, const void *const *fields)
{
    const struct pst_schema *schema = &s->settings.config->outputs[way->plan->output].schema;
    uint32_t key_bytes = 0, lead_bytes = 0, at = 0;
    for (uint32_t k = 0; k < way->plan->key_count; k++) {
        uint32_t bytes = pst_type_bytes(schema->fields[way->plan->key[k]].type);
        key_bytes += bytes;
        lead_bytes += k < way->plan->lead_count ? bytes : 0;
    }
    for (uint32_t k = 0; k < way->plan->key_count; k++) {
        uint32_t bytes = pst_type_bytes(schema->fields[way->plan->key[k]].type);
        const uint8_t *column = fields[way->plan->key[k]];
        for (uint32_t i = 0; i < n; i++)
            memcpy(s->packed + (size_t)i * key_bytes + at, column + (size_t)i * bytes, bytes);
        at += bytes;
    }
    pst_hash_led(&s->keys.hash, s->packed, key_bytes, lead_bytes, n, s->hash);
}

static int rows_out(struct pst_inside_sealed *s, const struct pst_message *message, const struct pst_piece *pieces)
{
    const struct pst_enclave_output *output = &s->settings.config->outputs[message->port];
    const void *fields[PST_FIELDS_MAX] = {0}, *columns[PST_FIELDS_MAX];
    uint32_t piece = 1; /* behind the buckets */
    for (uint32_t f = 0; f < output->schema.field_count; f++)
        if (output->wanted[f])
            fields[f] = pieces[piece++].bytes;
    for (uint32_t w = 0; w < s->sealing->edge_count; w++) {
        struct way_out *way = &s->ways[w];
        if (way->plan->output != message->port)
            continue;
        way->unmarked_bytes += (uint64_t)message->row_count * way->row_bytes;
        for (uint32_t from = 0, n; from < message->row_count; from += n) {
            const void *at[PST_FIELDS_MAX];
            n = message->row_count - from < PST_OUT_ROWS_MAX ? message->row_count - from : PST_OUT_ROWS_MAX;
            for (uint32_t f = 0; f < output->schema.field_count; f++)
                at[f] = fields[f] == NULL
                            ? NULL
                            : (const uint8_t *)fields[f] + (size_t)from * pst_type_bytes(output->schema.fields[f].type);
            for (uint32_t i = 0; i < n; i++)
                s->time[i] = s->emit_time;
            for (uint32_t c = 0; c < way->plan->used_count; c++)
                columns[c] = at[way->plan->used[c]];
            if (way->edge.keyed)
                hash_rows(s, way, n, at);
            int rc = pst_sealed_writer_add(way->writer, n, s->time, s->hash, columns);
            if (rc != PST_OK)
                return rc;
        }
    }
    return PST_OK;
}

int pst_inside_sealed_emit(void *self, struct pst_message *message, const struct pst_piece *pieces,
                           uint32_t piece_count)
{
    struct pst_inside_sealed *s = self;
    if (message->kind == PST_MESSAGE_ROWS)
        return rows_out(s, message, pieces);
    if (message->kind == PST_MESSAGE_DONE)
        s->timer_min = message->time;
    if (message->kind == PST_MESSAGE_DONE && s->settings.paced && !s->answers)
        return PST_OK; /* of one epoch among those that it was told of; its counts go to the host with the answer */
    return s->settings.emit(s->settings.emitter, message, pieces, piece_count);
}

static int mark_all(struct pst_inside_sealed *s, int64_t watermark, bool ends, int64_t input_end)
{
    int rc = PST_OK;
    s->watermark_out = watermark;
    for (uint32_t w = 0; w < s->sealing->edge_count && rc == PST_OK; w++) {
        s->ways[w].unmarked_bytes = 0;
        rc = pst_sealed_writer_mark(s->ways[w].writer, watermark, ends, input_end);
    }
    return rc == PST_OK ? PST_OK : because(s, rc, "what it puts out cannot be sealed");
}

/* ---- the key ---- */

/* Of its operator's images, whatever worker has them: the user's key gives it, and no host has it. One of another configuration has another:
 * a host cannot go on with other parameters from a state that these have made, though the policy may allow both. */
static int images_begin(struct pst_inside_sealed *s)
{
    static const char label[] = "penstock sealed image 2";
    static const uint8_t salt[PST_SEALED_KEY_BYTES];
    uint8_t info[sizeof label + PST_CONFIG_DIGEST_BYTES + PST_IMAGE_ID_BYTES_MAX], key[PST_SEALED_KEY_BYTES];
    size_t id_bytes = strlen(s->settings.config->id);
    if (id_bytes > PST_IMAGE_ID_BYTES_MAX)
        return PST_EGRAPH;
    memcpy(info, label, sizeof label);
    memcpy(info + sizeof label, s->settings.config_digest, PST_CONFIG_DIGEST_BYTES);
    memcpy(info + sizeof label + PST_CONFIG_DIGEST_BYTES, s->settings.config->id, id_bytes);
    int rc = pst_hkdf(s->keys.root, salt, sizeof salt, info, sizeof label + PST_CONFIG_DIGEST_BYTES + id_bytes, key,
                      sizeof key);
    if (rc == PST_OK)
        rc = pst_inside_images(s->inside, key);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

static int key_take(struct pst_inside_sealed *s, const uint8_t *body, uint32_t byte_count)
{
    const struct pst_enclave_operator *config = s->settings.config;
    uint8_t root[PST_SEALED_KEY_BYTES];
    if (s->released)
        return PST_EDATA;
    int rc = pst_release_open(body, byte_count, s->sealing->graph, s->settings.channel_secret, root);
    if (rc != PST_OK)
        return because(s, PST_EREFUSED,
                       "the key's release was not made for this worker, is of another graph, or was changed");
    rc = pst_sealed_keys_init(&s->keys, root);
    OPENSSL_cleanse(root, sizeof root);
    OPENSSL_cleanse(s->settings.channel_secret, sizeof s->settings.channel_secret);
    for (uint32_t i = 0; i < config->input_count && rc == PST_OK; i++)
        rc = pst_sealed_reader_new(
            &(struct pst_sealed_reader_settings){.keys = &s->keys,
                                                 .edge = &s->edges_in[i],
                                                 .owned = s->edges_in[i].keyed ? s->settings.owned : NULL,
                                                 .held_bytes_max = s->settings.held_bytes_max,
                                                 .frame_rows = PST_INSIDE_ROWS_MAX},
            &s->readers[i]);
    if (rc != PST_OK)
        return because(s, rc, rc == PST_ENOMEM ? "no room for what is sealed" : "the configuration's edges do not fit");
    if (rc == PST_OK)
        rc = images_begin(s);
    if (rc != PST_OK)
        return because(s, rc, "its state cannot be put into checkpoints");
    s->released = true;
    return PST_OK;
}

static int writers_open(struct pst_inside_sealed *s, const uint8_t *stream)
{
    const struct pst_enclave_operator *config = s->settings.config;
    uint64_t cover[PST_SEALED_COVER_WORDS] = {0};
    uint32_t owned = 0;
    int rc = PST_OK;
    PST_ASSERT(config->bucket_count != 0); /* pst_config_read() */
    for (uint32_t b = 0; b < config->bucket_count; b++) {
        uint64_t own = s->settings.owned[b / 8] >> b % 8 & 1;
        cover[b / 64] |= own << b % 64;
        owned += (uint32_t)own;
    }
    s->mark_bytes = (uint64_t)MARK_EVERY_BYTES * owned / config->bucket_count;
    for (uint32_t w = 0; w < s->sealing->edge_count && rc == PST_OK; w++) {
        struct pst_sealed_writer_settings settings = {.keys = &s->keys,
                                                      .edge = &s->ways[w].edge,
                                                      .cover = cover,
                                                      .rows_max = ROWS_KEPT_MAX,
                                                      .emit = capsule_out,
                                                      .emitter = s};
        memcpy(settings.stream, stream, sizeof settings.stream);
        memcpy(settings.salt, s->settings.salts[w], sizeof settings.salt);
        rc = pst_sealed_writer_new(&settings, &s->ways[w].writer);
    }
    if (rc != PST_OK)
        return because(s, rc, "no room for what is to be sealed");
    s->begun = true;
    return PST_OK;
}

/* All inputs come of one stream of the user's, which is known once each has begun. What is put out comes of it, too. */
static int begin(struct pst_inside_sealed *s)
{
    const uint8_t *stream = NULL;
    for (uint32_t i = 0; i < s->settings.config->input_count; i++) {
        const uint8_t *one = pst_sealed_reader_stream(s->readers[i]);
        if (one == NULL)
            return PST_EAGAIN;
        if (stream != NULL && memcmp(stream, one, PST_STREAM_ID_BYTES) != 0)
            return because(s, PST_EREFUSED,
                           "its inputs come of different streams of the user's: one of them is of another time");
        stream = one;
    }
    PST_ASSERT(stream != NULL); /* an operator has an input */
    int rc = writers_open(s, stream);
    return rc == PST_OK ? mark_all(s, INT64_MIN, false, 0) : rc;
}

/* ---- event time ---- */

static int rows_in(void *self, uint32_t row_count, void *const *parts)
{
    struct pst_inside_sealed *s = self;
    s->had_rows = true;
    return pst_inside_rows(s->inside, s->port, row_count, parts);
}

static int deliver(struct pst_inside_sealed *s, int64_t limit)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < s->settings.config->input_count && rc == PST_OK; i++) {
        int64_t known = pst_sealed_reader_watermark(s->readers[i]); /* nothing above it is complete */
        s->port = i;
        rc = pst_sealed_reader_rows(s->readers[i], limit < known ? limit : known, rows_in, s);
    }
    return rc;
}

static int64_t first_waiting(const struct pst_inside_sealed *s)
{
    int64_t first = INT64_MAX;
    for (uint32_t i = 0; i < s->settings.config->input_count; i++) {
        int64_t one = pst_sealed_reader_first(s->readers[i]);
        first = one < first ? one : first;
    }
    return first;
}

static int call(struct pst_inside_sealed *s, pst_message_kind kind, int64_t t, int64_t limit)
{
    struct pst_message message = {.kind = kind, .time = t, .limit = limit};
    return pst_inside_take(s->inside, &message, NULL);
}

/* The epoch to open next: the first in which a row waits or a timer is due, but none that the watermark has not reached. */
static int64_t next_epoch(const struct pst_inside_sealed *s, int64_t watermark, int64_t epoch)
{
    int64_t next = add_time(s->now, epoch), row = pst_inside_floor_to(first_waiting(s), epoch);
    int64_t jump = pst_inside_floor_to(watermark, epoch), timer = INT64_MAX;
    if (s->timer_min != INT64_MAX && s->timer_min <= s->timer_limit)
        timer = pst_inside_floor_to(s->timer_min - 1, epoch); /* the epoch at whose end it is due */
    jump = row < jump ? row : jump;
    jump = timer < jump ? timer : jump;
    return jump > next ? jump : next;
}

/* Where event time leaps, an operator puts out what it would have put out bit by bit, and so are its marks: readers hold rows until they
 * are marked. */
static int mark_if_much(struct pst_inside_sealed *s)
{
    int64_t promise = add_time(s->now, s->settings.config->epoch - 1);
    for (uint32_t w = 0; w < s->sealing->edge_count; w++)
        if (s->ways[w].unmarked_bytes > s->mark_bytes && promise > s->watermark_out)
            return mark_all(s, promise, false, 0);
    return PST_OK;
}

static void know_now(struct pst_inside_sealed *s, int64_t watermark)
{
    if (s->now_known || watermark == INT64_MIN)
        return;
    int64_t row = first_waiting(s);
    s->now = pst_inside_floor_to(row < watermark ? row : watermark, s->settings.config->epoch);
    s->now_known = true;
}

/* Rows at or above the watermark stay where they are, though marks may bear them out: what is told comes first. */
static int work_off(struct pst_inside_sealed *s, int64_t watermark)
{
    int64_t epoch = s->settings.config->epoch;
    know_now(s, watermark);
    while (s->now_known) {
        int64_t end = add_time(s->now, epoch), due = end < s->timer_limit ? end : s->timer_limit;
        int rc = deliver(s, s->settings.paced && watermark < end ? watermark : end);
        if (rc != PST_OK || watermark < end)
            return rc;
        if (s->had_rows || s->timer_min <= due) {
            s->had_rows = false;
            s->emit_time = end - 1;
            rc = call(s, PST_MESSAGE_TIME, end, due);
            if (rc != PST_OK)
                return rc;
        }
        s->now = next_epoch(s, watermark, epoch);
        if ((rc = mark_if_much(s)) != PST_OK)
            return rc;
    }
    return PST_OK;
}

/* Rows of the open epoch that marks bear out, though it was not told that time goes on. Nothing comes out of it. */
static int deliver_ahead(struct pst_inside_sealed *s)
{
    int64_t epoch = s->settings.config->epoch, known = INT64_MAX;
    for (uint32_t i = 0; i < s->settings.config->input_count; i++) {
        int64_t one = pst_sealed_reader_watermark(s->readers[i]);
        known = one < known ? one : known;
    }
    know_now(s, known);
    return s->now_known ? deliver(s, add_time(s->now, epoch)) : PST_OK;
}

static int end_all(struct pst_inside_sealed *s, int64_t watermark)
{
    int64_t last = watermark;
    int rc = PST_OK;
    s->ended = true;
    if (s->now_known) {
        int64_t end = add_time(s->now, s->settings.config->epoch);
        last = end > watermark ? end : watermark;
        s->emit_time = last - 1;
        rc = call(s, PST_MESSAGE_END, watermark, 0);
    }
    last = last > s->watermark_out ? last : s->watermark_out;
    return rc == PST_OK ? mark_all(s, last, true, s->timer_limit == INT64_MAX ? INT64_MIN : s->timer_limit) : rc;
}

/* How far all inputs' marks allow; a timer beyond the end of the input is for on_end(). */
static int64_t known_time(struct pst_inside_sealed *s, bool *ret_ended)
{
    int64_t low = INT64_MAX, high = INT64_MIN, input_end = INT64_MIN;
    bool ended = true;
    for (uint32_t i = 0; i < s->settings.config->input_count; i++) {
        int64_t watermark = pst_sealed_reader_watermark(s->readers[i]);
        int64_t end = pst_sealed_reader_input_end(s->readers[i]);
        low = watermark < low ? watermark : low;
        high = watermark > high ? watermark : high;
        input_end = end > input_end ? end : input_end;
        ended &= pst_sealed_reader_ended(s->readers[i]);
    }
    if (ended && input_end != INT64_MIN)
        s->timer_limit = input_end;
    *ret_ended = ended;
    return ended ? high : low;
}

static int promise(struct pst_inside_sealed *s)
{
    int64_t t = s->now_known ? add_time(s->now, s->settings.config->epoch - 1) : INT64_MIN;
    return t > s->watermark_out ? mark_all(s, t, false, 0) : PST_OK;
}

static int advance(struct pst_inside_sealed *s)
{
    bool ended;
    int rc = s->begun ? PST_OK : begin(s);
    if (rc != PST_OK)
        return rc == PST_EAGAIN ? PST_OK : rc;
    int64_t watermark = known_time(s, &ended);
    rc = work_off(s, watermark);
    if (rc == PST_OK && ended)
        return end_all(s, watermark);
    return rc == PST_OK ? promise(s) : rc;
}

/* ---- where its host says how far ---- */

static int answer(struct pst_inside_sealed *s)
{
    int rc = out_send(s);
    s->answers = true;
    if (rc == PST_OK)
        rc = pst_inside_answer(s->inside);
    s->answers = false;
    return rc;
}

/* What it puts out from now on goes on from what it had put out at the checkpoint. */
static int go_on(struct pst_inside_sealed *s)
{
    if (!s->goes_on)
        return PST_OK;
    s->goes_on = false;
    return mark_all(s, s->watermark_out, false, 0);
}

static int time_take(struct pst_inside_sealed *s, int64_t t)
{
    bool ended = false;
    if (!s->released || s->ended || t <= s->told || t % s->settings.config->epoch != 0)
        return PST_EDATA;
    int rc = s->begun ? PST_OK : begin(s);
    if (rc != PST_OK && rc != PST_EAGAIN)
        return rc;
    if (rc == PST_EAGAIN || known_time(s, &ended) < t)
        return because(s, PST_EREFUSED,
                       "event time is said to be further than its sealed streams are: something of them "
                       "was left out");
    s->told = t;
    rc = go_on(s);
    if (rc == PST_OK)
        rc = work_off(s, t);
    if (rc == PST_OK)
        rc = promise(s);
    return rc == PST_OK ? answer(s) : rc;
}

static int end_take(struct pst_inside_sealed *s)
{
    bool ended = false;
    if (!s->released || s->ended)
        return PST_EDATA;
    int rc = s->begun ? PST_OK : begin(s);
    if (rc != PST_OK && rc != PST_EAGAIN)
        return rc;
    int64_t watermark = rc == PST_OK ? known_time(s, &ended) : INT64_MIN;
    if (!ended)
        return because(s, PST_EREFUSED,
                       "the input is said to have ended, and its sealed streams have not: something of "
                       "them was left out");
    rc = go_on(s);
    if (rc == PST_OK)
        rc = work_off(s, watermark);
    if (rc == PST_OK)
        rc = end_all(s, watermark);
    return rc == PST_OK ? answer(s) : rc;
}

/* ---- checkpoints ----
 * Beside its state an image has where the worker is, its place. Little endian:
 *    0 u32 magic "PSTL"   4 u16 version 1   6 u16 zero   8 u32 inputs   12 u32 edges that lead away   16 u32 bytes of `owned`   20 u32 zero
 *   24 u64 checkpoint   32 i64 told, watermark of what it has put out, limit of timers   56 u8[16] the user's stream
 *   72 owned; for each edge that leads away u8[32] salt, u64 sequence of the last mark; for each input what its reader knows (sealed.h)
 * It may come back in several workers, and a worker may get several, with buckets of each: of one checkpoint and cut, of one stream, at the same
 * marks. */

enum { PLACE_VERSION = 1, PLACE_HEAD_BYTES = 72, PLACE_WAY_BYTES = PST_CAPSULE_SALT_BYTES + 8 };

struct place { /* as it was read */
    uint64_t checkpoint;
    int64_t told, watermark_out, timer_limit;
    const uint8_t *stream, *owned, *ways, *readers;
    size_t reader_bytes;
};

static uint32_t owned_bytes(const struct pst_inside_sealed *s) { return (s->settings.config->bucket_count + 7) / 8; }

static void put(struct pst_text *text, const void *bytes, size_t byte_count)
{
    (void)pst_text_add(text, bytes, byte_count);
}

static int place_save(struct pst_inside_sealed *s, uint64_t checkpoint, struct pst_text *text)
{
    const struct pst_enclave_operator *config = s->settings.config;
    const uint32_t head[6] = {PST_PLACE_MAGIC,        PLACE_VERSION,  config->input_count,
                              s->sealing->edge_count, owned_bytes(s), 0};
    const int64_t times[3] = {s->told, s->watermark_out, s->timer_limit};
    int rc = PST_OK;
    put(text, head, sizeof head);
    put(text, &checkpoint, sizeof checkpoint);
    put(text, times, sizeof times);
    put(text, pst_sealed_reader_stream(s->readers[0]), PST_STREAM_ID_BYTES);
    put(text, s->settings.owned, owned_bytes(s));
    for (uint32_t w = 0; w < s->sealing->edge_count; w++) {
        uint8_t salt[PST_CAPSULE_SALT_BYTES];
        uint64_t sequence;
        pst_sealed_writer_marked(s->ways[w].writer, salt, &sequence);
        put(text, salt, sizeof salt);
        put(text, &sequence, sizeof sequence);
    }
    for (uint32_t i = 0; i < config->input_count && rc == PST_OK; i++)
        rc = pst_sealed_reader_save(s->readers[i], text);
    return rc == PST_OK && text->failed ? PST_ENOMEM : rc;
}

static int place_read(const struct pst_inside_sealed *s, const struct pst_text *text, struct place *ret)
{
    const uint8_t *at = (const uint8_t *)text->bytes;
    const uint32_t head[6] = {PST_PLACE_MAGIC,        PLACE_VERSION,  s->settings.config->input_count,
                              s->sealing->edge_count, owned_bytes(s), 0};
    size_t fixed = PLACE_HEAD_BYTES + owned_bytes(s) + (size_t)s->sealing->edge_count * PLACE_WAY_BYTES;
    if (text->count < fixed || memcmp(at, head, sizeof head) != 0)
        return PST_EDATA;
    *ret = (struct place){.checkpoint = pst_get_u64(at + 24),
                          .told = (int64_t)pst_get_u64(at + 32),
                          .watermark_out = (int64_t)pst_get_u64(at + 40),
                          .timer_limit = (int64_t)pst_get_u64(at + 48),
                          .stream = at + 56,
                          .owned = at + PLACE_HEAD_BYTES,
                          .ways = at + PLACE_HEAD_BYTES + owned_bytes(s),
                          .readers = at + fixed,
                          .reader_bytes = text->count - fixed};
    return PST_OK;
}

/* Of two at one cut, that are to be put together. NULL: they fit. */
static const char *places_fault(const struct pst_inside_sealed *s, const struct place *first, const struct place *other)
{
    if (memcmp(other->stream, first->stream, PST_STREAM_ID_BYTES) != 0)
        return "its buckets are of different streams of the user's";
    for (uint32_t i = 0; i < owned_bytes(s); i++)
        if ((first->owned[i] & other->owned[i]) != 0)
            return "two workers have had a bucket that comes back: they were of different starts";
    return NULL;
}

/* What is known of the i-th place counts for those of its buckets that have come back. Of inputs without a key all know the same. */
static int place_load(struct pst_inside_sealed *s, uint32_t i, const struct place *place,
                      char ret_why[PST_SEALED_WHY_BYTES])
{
    const struct pst_enclave_operator *config = s->settings.config;
    uint8_t from[PST_BOOT_BUCKETS_MAX / 8] = {0};
    const uint8_t alone[1] = {i == 0}, *way = place->ways;
    size_t at = 0, used = 0;
    int rc = PST_OK;
    for (uint32_t b = 0; b < config->bucket_count; b++)
        from[b / 8] |= (uint8_t)(pst_inside_place_has(s->inside, i, b) << b % 8);
    for (uint32_t w = 0; w < s->sealing->edge_count && rc == PST_OK; w++, way += PLACE_WAY_BYTES)
        rc = pst_sealed_writer_continue(s->ways[w].writer, way, pst_get_u64(way + PST_CAPSULE_SALT_BYTES));
    for (uint32_t k = 0; k < config->input_count && rc == PST_OK; k++, at += used) {
        rc = pst_sealed_reader_load(s->readers[k], place->readers + at, place->reader_bytes - at,
                                    s->edges_in[k].keyed ? from : alone, &used);
        if (rc == PST_EREFUSED)
            (void)snprintf(ret_why, PST_SEALED_WHY_BYTES,
                           "what several workers had read of %s ends at other marks: they were of different starts, or "
                           "of different streams",
                           s->edges_in[k].name);
    }
    return rc == PST_OK && at != place->reader_bytes ? PST_EDATA : rc;
}

/* Whether two of them have had the same bucket is seen of each pair. */
static int places_read(struct pst_inside_sealed *s, const struct pst_message *m, struct place *places, uint32_t count,
                       char ret_why[PST_SEALED_WHY_BYTES])
{
    const char *fault = NULL;
    int rc = count != 0 ? PST_OK : PST_EDATA;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = place_read(s, pst_inside_place(s->inside, i), &places[i]);
    for (uint32_t i = 0; i < count && rc == PST_OK && fault == NULL; i++) {
        if (places[i].checkpoint != (uint64_t)m->limit || places[i].told != m->time)
            fault = "buckets are said to be of another checkpoint than their places in the stream";
        for (uint32_t k = 0; k < i && fault == NULL; k++)
            fault = places_fault(s, &places[k], &places[i]);
    }
    if (fault != NULL)
        (void)snprintf(ret_why, PST_SEALED_WHY_BYTES, "%s", fault);
    return fault != NULL ? PST_EREFUSED : rc;
}

static int places_load(struct pst_inside_sealed *s, const struct pst_message *m, char ret_why[PST_SEALED_WHY_BYTES])
{
    uint32_t count = pst_inside_place_count(s->inside);
    struct place *places = pst_calloc(count + (size_t)1, sizeof *places);
    int rc = places != NULL ? places_read(s, m, places, count, ret_why) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = writers_open(s, places[0].stream);
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = place_load(s, i, &places[i], ret_why);
    if (rc == PST_OK) {
        s->told = s->now = places[0].told;
        s->watermark_out = places[0].watermark_out;
        s->timer_limit = places[0].timer_limit;
        s->now_known = s->goes_on = true;
    }
    pst_free(places);
    return rc;
}

/* At a cut that it was told: all below it is in its state, and nothing else. Rows above it may be where they came ahead before it was told
 * any time: then there is no image of this cut. */
static int image_take(struct pst_inside_sealed *s, const struct pst_message *m, uint8_t *body)
{
    struct pst_text place = {.secret = true};
    if (!s->released || !s->begun || s->goes_on || s->ended || m->time != s->told || s->now < s->told)
        return PST_EDATA;
    if (s->now > s->told || s->had_rows)
        return pst_inside_image_late(s->inside, m);
    int rc = place_save(s, (uint64_t)m->limit, &place);
    if (rc == PST_OK) {
        pst_inside_extra(s->inside, &place);
        rc = pst_inside_take(s->inside, m, body);
        pst_inside_extra(s->inside, NULL);
    } else if (rc == PST_ENOMEM) { /* the checkpoint does without, and the next one may have it */
        rc = pst_inside_image_late(s->inside, m);
    }
    pst_text_fini(&place);
    return rc;
}

static int restore_take(struct pst_inside_sealed *s, const struct pst_message *m, uint8_t *body)
{
    if (!s->released || s->begun)
        return PST_EDATA;
    int rc = pst_inside_take(s->inside, m, body);
    if (rc != PST_OK || m->kind != PST_MESSAGE_RESTORED)
        return rc;
    char what[PST_SEALED_WHY_BYTES] = "", why[PST_SEALED_WHY_BYTES + 64];
    rc = places_load(s, m, what);
    pst_inside_places_forget(s->inside);
    if (rc == PST_OK)
        return answer(s);
    if (rc == PST_EDATA)
        (void)snprintf(what, sizeof what, "its place in the stream is none of this operator's");
    else if (rc == PST_EFULL)
        (void)snprintf(what, sizeof what, "more rows wait than may: give it a larger EPC");
    (void)snprintf(why, sizeof why, "a checkpoint cannot be put back%s%s", what[0] != '\0' ? ": " : "", what);
    return because(s, rc == PST_EDATA ? PST_EREFUSED : rc == PST_EFULL ? PST_EGRAPH : rc, why);
}

/* One capsule, and what to do where there is no room for it. What a mark allows need not wait; where the host paces, none but what is of
 * the open epoch, for that may come to the operator in any order, and on_time() comes to none of it before it was told. */
static int capsule_take(struct pst_inside_sealed *s, uint32_t input, const uint8_t *bytes, size_t byte_count)
{
    char why[PST_SEALED_WHY_BYTES];
    int rc = pst_sealed_reader_take(s->readers[input], bytes, byte_count, why);
    if (rc == PST_EFULL && (s->marked || s->settings.paced)) {
        rc = s->settings.paced ? deliver_ahead(s) : advance(s);
        s->marked = false;
        if (rc != PST_OK)
            return rc;
        rc = pst_sealed_reader_take(s->readers[input], bytes, byte_count, why);
    }
    if (rc != PST_EFULL)
        return rc == PST_OK ? rc : because(s, rc, why);
    uint64_t epc_bytes = UINT64_C(2) * PST_SEALED_EPC_PARTS * s->settings.held_bytes_max;
    if (s->why[0] == '\0')
        (void)snprintf(s->why, sizeof s->why, "%s; with one of %llu MiB twice as many may", why,
                       (unsigned long long)((epc_bytes + 1048575) / 1048576));
    return PST_EGRAPH; /* its bound is the configuration's */
}

/* What marks allow is done when nothing more is there, or much has come: the rows of several marks are put out together then, in fewer and
 * larger capsules. A host that says more than there is gets it later, and nothing else. */
static int advance_in_time(struct pst_inside_sealed *s)
{
    bool more = s->settings.more != NULL && s->settings.more(s->settings.emitter);
    if (!s->marked || s->ended || (more && ++s->put_off < MESSAGES_TOGETHER))
        return PST_OK;
    s->marked = false;
    s->put_off = 0;
    return advance(s);
}

static int capsules_take(struct pst_inside_sealed *s, const uint8_t *bytes, uint32_t byte_count)
{
    struct pst_capsule capsule;
    if (!s->released)
        return PST_EDATA;
    for (uint32_t at = 0; at < byte_count; at += (uint32_t)pst_capsule_bytes(&capsule)) {
        uint32_t i = 0;
        if (pst_capsule_read(bytes + at, byte_count - at, &capsule) != PST_OK)
            return because(s, PST_EREFUSED, "the sealed stream is cut, or is none");
        while (i < s->settings.config->input_count && s->edges_in[i].number != capsule.edge)
            i++;
        if (i == s->settings.config->input_count)
            return because(s, PST_EREFUSED, "the sealed stream has a capsule of another operator's");
        if (s->ended)
            return because(s, PST_EREFUSED, "the sealed stream goes on behind its end");
        int rc = capsule_take(s, i, bytes + at, pst_capsule_bytes(&capsule));
        if (rc != PST_OK)
            return rc;
        if (s->settings.paced)
            continue;
        s->marked |= capsule.kind == PST_CAPSULE_MARK;
        rc = capsule.kind == PST_CAPSULE_MARK && (capsule.flags & PST_CAPSULE_ENDS) != 0 ? advance(s) : PST_OK;
        if (rc != PST_OK)
            return rc;
    }
    int rc = advance_in_time(s);
    return rc == PST_OK ? out_send(s) : rc;
}

static int paced_take(struct pst_inside_sealed *s, const struct pst_message *m, uint8_t *body)
{
    if (pst_message_check_in(m, NULL, 0) != PST_OK)
        return PST_EDATA;
    switch (m->kind) {
    case PST_MESSAGE_TIME:
        return time_take(s, m->time);
    case PST_MESSAGE_END:
        return end_take(s);
    case PST_MESSAGE_IMAGE:
        return image_take(s, m, body);
    case PST_MESSAGE_RESTORE:
    case PST_MESSAGE_RESTORED:
        return restore_take(s, m, body);
    default:
        return PST_EDATA;
    }
}

int pst_inside_sealed_take(struct pst_inside_sealed *s, const struct pst_message *message, uint8_t *body)
{
    const struct pst_message *m = message;
    bool bare = m->zero == 0 && m->time == 0 && m->limit == 0 && m->port == 0 && m->row_count == 0 && m->error == 0 &&
                m->facts == 0 && m->state_bytes == 0;
    if (m->kind == PST_MESSAGE_STOP && bare && m->body_bytes == 0)
        return PST_ESTOPPED;
    if (s->settings.paced && m->kind != PST_MESSAGE_RELEASE && m->kind != PST_MESSAGE_SEALED) {
        int rc = paced_take(s, m, body);
        if (rc != PST_OK && rc != PST_EDATA && s->why[0] == '\0')
            (void)snprintf(s->why, sizeof s->why, "%s", pst_inside_why(s->inside));
        return rc;
    }
    if (!bare || m->body_bytes == 0)
        return PST_EDATA;
    int rc = m->kind == PST_MESSAGE_RELEASE  ? key_take(s, body, m->body_bytes)
             : m->kind == PST_MESSAGE_SEALED ? capsules_take(s, body, m->body_bytes)
                                             : PST_EDATA;
    if (rc != PST_OK && rc != PST_EDATA && s->why[0] == '\0')
        (void)snprintf(s->why, sizeof s->why, "%s", pst_inside_why(s->inside));
    return rc;
}
