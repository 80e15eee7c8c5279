/* sealed_reader.c - see sealed.h: the other end of an edge. What is kept of each session: which buckets of the producer it stands for, how
 * far it is, how many capsules each bucket has been sent. What a host can do to a stream, and what comes of it:
 *
 *    it changes a capsule, or moves it to another edge       the capsule does not open
 *    it repeats one, or sends one later than others         its sequence is not above the last one, or its number is not the next
 *    it drops one                                           the next of its bucket, or the next mark, counts one more
 *    it moves one to another bucket                         the header does not open; a bucket that is not read here is refused
 *    it brings a capsule of another session, of before       a session that has not begun with a mark is refused, and so is one that
 *                                                           stands for buckets that another stands for
 *    it runs an edge on another stream than the others      marks say which stream it is; who reads several compares
 *    it goes back to where a stream was cut                 a session goes on from the last mark of the one before, and from no other
 *    it lets others go on with some of its buckets           each bucket is gone on with once, by a session that stands for it; of the one
 *                                                           before nothing is taken any more, and what is left of it holds time back
 *    it drops a mark                                        the next one counts one more
 *    it holds back everything                               nothing happens: the watermark stands
 *    it ends the stream                                     it cannot: the end is a mark */
#include "enclave_shim/common/capsule.h"

#include "base/gcm.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

/* Beside those that stand for buckets: that are over, and of which capsules may come again behind a cut, where a stream was cut often. */
enum { SESSIONS_BESIDES = 14, WAITING_FIRST = 64, ROWS_MANY = 512 };

struct session {
    uint8_t salt[PST_CAPSULE_SALT_BYTES];
    struct pst_gcm *cipher; /* NULL, as `taken`: it is closed */
    uint64_t sequence;      /* of the last capsule */
    uint64_t marks, marked_sequence;
    uint64_t cover[PST_SEALED_COVER_WORDS];
    uint64_t *taken; /* [bucket_count] */
    int64_t watermark, input_end;
    /* closed: another session has gone on from it, with some of its buckets at least, and it stands for the others as it was; over: with all */
    bool ended, closed, over;
    uint64_t
        restored; /* one above the last capsule that was had before it was loaded: up to there they may come again. 0: none */
};

struct held {                            /* rows of one capsule */
    uint32_t session, row_count, cursor; /* cursor: rows that were given; of those that are not sorted, in this call */
    uint64_t sequence;
    bool sorted; /* by event time, as a rule; else those that were given lie among the others */
    size_t bytes;
    _Alignas(8) uint8_t body[];
};

struct waiting {      /* beside each other, for each epoch looks at all of them */
    int64_t min, max; /* event times of the rows that were not given */
    struct held *held;
};

struct pst_sealed_reader {
    const struct pst_sealed_edge *edge;
    struct pst_sealed_keys keys;
    struct pst_shape shape;
    uint8_t *owned; /* [bucket_count / 8 + 1] */
    uint64_t held_bytes, held_bytes_max;
    struct session *sessions;
    uint32_t session_count, session_capacity, session_marked;
    struct waiting *waiting; /* as they came */
    uint32_t waiting_count, waiting_capacity;
    int64_t waiting_min; /* INT64_MAX: none */
    uint8_t stream[PST_STREAM_ID_BYTES];
    bool stream_known;
    int64_t floor; /* rows below it were given */
    uint32_t frame_rows;
    uint8_t *frame[PST_FIELDS_MAX + 2];
    uint8_t *mark; /* of a mark's body */
    uint32_t origins_max;
    bool loaded; /* others have been, that were at the same cut */
};

int pst_sealed_reader_new(const struct pst_sealed_reader_settings *settings, struct pst_sealed_reader **ret_reader)
{
    const struct pst_sealed_edge *edge = settings->edge;
    if (!pst_sealed_edge_valid(edge) || settings->frame_rows == 0)
        return PST_EINVAL;
    struct pst_sealed_reader *r = pst_calloc(1, sizeof *r);
    if (r == NULL)
        return PST_ENOMEM;
    r->edge = edge;
    r->keys = *settings->keys;
    r->held_bytes_max = settings->held_bytes_max;
    r->frame_rows = settings->frame_rows;
    r->session_capacity = 2 * edge->producer_bucket_count + SESSIONS_BESIDES;
    r->floor = INT64_MIN;
    r->waiting_min = INT64_MAX;
    pst_sealed_edge_shape(edge, &r->shape);
    r->owned = pst_calloc(1, edge->bucket_count / 8 + 1);
    r->sessions = pst_calloc(r->session_capacity, sizeof *r->sessions);
    r->origins_max =
        edge->producer_bucket_count < PST_SEALED_ORIGINS_MAX ? edge->producer_bucket_count : PST_SEALED_ORIGINS_MAX;
    r->mark = pst_malloc(pst_mark_bytes(edge) + (r->origins_max - 1) * (size_t)PST_ORIGIN_BYTES);
    bool good = r->owned != NULL && r->sessions != NULL && r->mark != NULL;
    for (uint32_t p = 0; p < r->shape.part_count && good; p++)
        good = (r->frame[p] = pst_malloc((size_t)r->frame_rows * r->shape.part_bytes[p])) != NULL;
    if (!good) {
        pst_sealed_reader_free(r);
        return PST_ENOMEM;
    }
    for (uint32_t b = 0; b < edge->bucket_count; b++)
        if (settings->owned == NULL || (settings->owned[b / 8] >> b % 8 & 1) != 0)
            r->owned[b / 8] |= (uint8_t)(1 << b % 8);
    *ret_reader = r;
    return PST_OK;
}

static void held_free(struct pst_sealed_reader *r, struct held *held)
{
    r->held_bytes -= held->bytes;
    pst_free(held);
}

static bool waiting_ready(struct pst_sealed_reader *r)
{
    if (r->waiting_count < r->waiting_capacity)
        return true;
    uint32_t capacity = r->waiting_capacity == 0 ? WAITING_FIRST : 2 * r->waiting_capacity;
    struct waiting *waiting = pst_realloc(r->waiting, capacity * sizeof *waiting);
    if (waiting == NULL)
        return false;
    r->waiting = waiting;
    r->waiting_capacity = capacity;
    return true;
}

static void waiting_add(struct pst_sealed_reader *r, const struct waiting *one) /* waiting_ready() */
{
    r->waiting[r->waiting_count++] = *one;
    r->waiting_min = one->min < r->waiting_min ? one->min : r->waiting_min;
}

/* Of those that stay, one after the other: the first `count` of the list are what has stayed so far. */
static void waiting_stays(struct pst_sealed_reader *r, uint32_t *count, const struct waiting *one)
{
    r->waiting_min = one->min < r->waiting_min ? one->min : r->waiting_min;
    r->waiting[(*count)++] = *one;
}

void pst_sealed_reader_free(struct pst_sealed_reader *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->waiting_count; i++)
        held_free(r, r->waiting[i].held);
    pst_free(r->waiting);
    for (uint32_t s = 0; r->sessions != NULL && s < r->session_count; s++) {
        pst_gcm_free(r->sessions[s].cipher);
        pst_free(r->sessions[s].taken);
    }
    for (uint32_t p = 0; p < r->shape.part_count; p++) {
        if (r->frame[p] != NULL)
            OPENSSL_cleanse(r->frame[p], (size_t)r->frame_rows * r->shape.part_bytes[p]);
        pst_free(r->frame[p]);
    }
    pst_sealed_keys_fini(&r->keys);
    pst_free(r->sessions);
    pst_free(r->owned);
    pst_free(r->mark);
    pst_free(r);
}

static bool is_owned(const struct pst_sealed_reader *r, uint32_t bucket)
{
    return (r->owned[bucket / 8] >> bucket % 8 & 1) != 0;
}

static int refuse(const struct pst_sealed_reader *r, const struct pst_capsule *p, char *ret_why, const char *what)
{
    (void)snprintf(ret_why, PST_SEALED_WHY_BYTES, "the sealed stream %s is not what was sealed: capsule %" PRIu64 " %s",
                   r->edge->name, p->sequence, what);
    return PST_EREFUSED;
}

/* ---- marks ---- */

/* What a mark's body says, once it has been opened. */
struct marked {
    struct pst_mark mark;
    uint64_t cover[PST_SEALED_COVER_WORDS];
    const uint8_t *sent;
    const uint8_t *origins; /* that it goes on from, but the first */
    uint32_t origin_count;
};

/* What is behind the counts; false: it is none. */
static bool origins_read(const struct pst_sealed_reader *r, const struct pst_capsule *p, struct marked *m)
{
    uint32_t before = pst_mark_bytes(r->edge), beyond = p->body_bytes - before;
    m->origin_count = (p->flags & PST_CAPSULE_CONTINUES) != 0;
    m->origins = r->mark + before;
    if (p->body_bytes < before || beyond % PST_ORIGIN_BYTES != 0 ||
        (beyond != 0) != ((p->flags & PST_CAPSULE_SEVERAL) != 0))
        return false;
    m->origin_count += beyond / PST_ORIGIN_BYTES;
    return m->origin_count <= r->origins_max;
}

static int mark_open(struct pst_sealed_reader *r, struct session *s, const uint8_t *bytes, const struct pst_capsule *p,
                     struct marked *ret_marked, char *ret_why)
{
    uint32_t words = pst_cover_words(r->edge->producer_bucket_count);
    memset(ret_marked, 0, sizeof *ret_marked);
    if (!origins_read(r, p, ret_marked))
        return refuse(r, p, ret_why, "is a mark of another graph");
    if (pst_capsule_open(s->cipher, bytes, r->mark) != PST_OK)
        return refuse(r, p, ret_why,
                      "does not open: it was changed, is of another edge, or was sealed with another key");
    memcpy(&ret_marked->mark, r->mark, sizeof ret_marked->mark);
    memcpy(ret_marked->cover, r->mark + sizeof ret_marked->mark, words * sizeof(uint64_t));
    ret_marked->sent = r->mark + sizeof ret_marked->mark + words * sizeof(uint64_t);
    return PST_OK;
}

static bool counts_agree(const struct pst_sealed_reader *r, const struct session *s, const struct marked *m)
{
    for (uint32_t b = 0; b < r->edge->bucket_count; b++) {
        uint64_t sent;
        memcpy(&sent, m->sent + b * sizeof sent, sizeof sent);
        if (is_owned(r, b) && sent != s->taken[b])
            return false;
    }
    return true;
}

static int mark_take(struct pst_sealed_reader *r, struct session *s, const struct pst_capsule *p,
                     const struct marked *m, char *ret_why)
{
    if (p->number != s->marks)
        return refuse(r, p, ret_why, "is a mark that is not the next one: one was left out");
    if (p->time < s->watermark)
        return refuse(r, p, ret_why, "lets event time go back");
    if (!counts_agree(r, s, m))
        return refuse(r, p, ret_why, "counts other capsules than have come: one was left out");
    s->marks++;
    s->marked_sequence = p->sequence;
    s->watermark = p->time;
    s->ended = (p->flags & PST_CAPSULE_ENDS) != 0;
    s->input_end = m->mark.input_end;
    r->session_marked = (uint32_t)(s - r->sessions);
    return PST_OK;
}

/* ---- sessions ---- */

static struct session *session_find(struct pst_sealed_reader *r, const uint8_t salt[PST_CAPSULE_SALT_BYTES])
{
    for (uint32_t s = 0; s < r->session_count; s++) /* they are in the clear */
        if (memcmp(r->sessions[s].salt, salt, PST_CAPSULE_SALT_BYTES) == 0)
            return &r->sessions[s];
    return NULL;
}

/* Rows of a session that came behind its last mark are sealed again by the one that goes on from there. */
static void held_drop(struct pst_sealed_reader *r, uint32_t session, uint64_t sequence)
{
    uint32_t stay = 0;
    r->waiting_min = INT64_MAX;
    for (uint32_t i = 0; i < r->waiting_count; i++) {
        struct waiting one = r->waiting[i];
        if (one.held->session == session && one.held->sequence > sequence)
            held_free(r, one.held);
        else
            waiting_stays(r, &stay, &one);
    }
    r->waiting_count = stay;
}

static bool any_bit(const uint64_t *cover)
{
    uint64_t any = 0;
    for (uint32_t w = 0; w < PST_SEALED_COVER_WORDS; w++)
        any |= cover[w];
    return any != 0;
}

static const char *cover_fault(const struct pst_sealed_reader *r, const struct marked *m)
{
    uint32_t count = r->edge->producer_bucket_count, words = pst_cover_words(count);
    uint64_t beyond = count % 64 != 0 ? m->cover[words - 1] >> count % 64 : 0;
    if (!any_bit(m->cover) || beyond != 0)
        return "begins a stream of nobody's";
    for (uint32_t i = 0; i < r->session_count && m->origin_count == 0; i++) {
        const struct session *other = &r->sessions[i];
        for (uint32_t w = 0; w < words && !other->over; w++)
            if ((other->cover[w] & m->cover[w]) != 0)
                return "begins a stream where another one stands already: one of them is of another time, or is there "
                       "twice";
    }
    return NULL;
}

static struct session *origin_of(struct pst_sealed_reader *r, const struct marked *m, uint32_t i, uint64_t *ret_marked)
{
    const uint8_t *at = i != 0 ? m->origins + (i - 1) * (size_t)PST_ORIGIN_BYTES : NULL;
    *ret_marked = at != NULL ? pst_get_u64(at) : m->mark.sequence;
    return session_find(r, at != NULL ? at + sizeof *ret_marked : m->mark.salt);
}

/* Each stands, at the mark that is named; what is left of their buckets and the new one's are the same, each of them once: those of sessions
 * that are not over have none in common. */
static const char *origins_fault(struct pst_sealed_reader *r, const struct pst_capsule *p, const struct marked *m)
{
    uint64_t left[PST_SEALED_COVER_WORDS], marked;
    memcpy(left, m->cover, sizeof left);
    for (uint32_t i = 0; i < m->origin_count; i++) {
        const struct session *before = origin_of(r, m, i, &marked);
        if (before == NULL || before->over || before->ended || before->marked_sequence != marked ||
            before->watermark != p->time)
            return "does not go on where the stream was cut";
        uint64_t any = 0;
        for (uint32_t w = 0; w < PST_SEALED_COVER_WORDS; w++) {
            any |= left[w] & before->cover[w];
            left[w] &= ~before->cover[w];
        }
        if (any == 0)
            return "begins a stream that goes on from another operator's";
    }
    return m->origin_count != 0 && any_bit(left) ? "begins a stream that goes on from another operator's" : NULL;
}

/* Another one has gone on from it, with these of its buckets: none of its capsules is opened any more. */
static void session_close(struct pst_sealed_reader *r, struct session *s, const uint64_t *cover)
{
    pst_gcm_free(s->cipher);
    pst_free(s->taken);
    s->cipher = NULL;
    s->taken = NULL;
    s->closed = true;
    for (uint32_t w = 0; w < PST_SEALED_COVER_WORDS; w++)
        s->cover[w] &= ~cover[w];
    s->over = !any_bit(s->cover);
    held_drop(r, (uint32_t)(s - r->sessions), s->marked_sequence);
}

static int session_join(struct pst_sealed_reader *r, struct session *s, const struct pst_capsule *p,
                        const struct marked *m, char *ret_why)
{
    uint64_t marked;
    const char *fault = p->number != 0 ? "does not go on where the stream was cut" : cover_fault(r, m);
    if (fault == NULL)
        fault = origins_fault(r, p, m);
    if (fault != NULL)
        return refuse(r, p, ret_why, fault);
    memcpy(s->cover, m->cover, sizeof s->cover);
    for (uint32_t i = 0; i < m->origin_count; i++)
        session_close(r, origin_of(r, m, i, &marked), m->cover);
    return mark_take(r, s, p, m, ret_why);
}

/* Rows of a session that is forgotten, which is over: of it nothing is dropped any more, so it does not matter whose they are. 0 is below
 * every sequence. */
static void held_forget(struct pst_sealed_reader *r, uint32_t forgotten)
{
    for (uint32_t i = 0; i < r->waiting_count; i++) {
        struct held *held = r->waiting[i].held;
        if (held->session == forgotten)
            held->sequence = held->session = 0;
        else if (held->session > forgotten)
            held->session--;
    }
}

/* Of a stream that goes on and on the first sessions are forgotten: none comes back, for what goes on from it was refused already. */
static bool session_room(struct pst_sealed_reader *r)
{
    uint32_t s = 0;
    if (r->session_count < r->session_capacity)
        return true;
    while (s < r->session_count && !r->sessions[s].over)
        s++;
    if (s == r->session_count)
        return false;
    held_forget(r, s);
    r->session_count--;
    r->session_marked -= r->session_marked > s;
    memmove(r->sessions + s, r->sessions + s + 1, (r->session_count - s) * sizeof *r->sessions);
    r->sessions[r->session_count] = (struct session){0};
    return true;
}

static int session_begin(struct pst_sealed_reader *r, const uint8_t *bytes, const struct pst_capsule *p, char *ret_why)
{
    struct marked marked;
    if (p->kind != PST_CAPSULE_MARK)
        return refuse(r, p, ret_why, "is of a stream that has not begun here");
    if (!session_room(r))
        return refuse(r, p, ret_why, "begins one stream too many");
    struct session *s = &r->sessions[r->session_count];
    *s = (struct session){.watermark = INT64_MIN, .sequence = p->sequence};
    memcpy(s->salt, p->salt, sizeof s->salt);
    s->taken = pst_calloc(r->edge->bucket_count, sizeof *s->taken);
    int rc = s->taken != NULL ? pst_capsule_cipher(&r->keys, r->edge, s->salt, &s->cipher) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = mark_open(r, s, bytes, p, &marked, ret_why);
    if (rc == PST_OK && r->stream_known && memcmp(r->stream, marked.mark.stream, sizeof r->stream) != 0)
        rc = refuse(r, p, ret_why, "comes of another stream of the user's");
    if (rc == PST_OK)
        rc = session_join(r, s, p, &marked, ret_why);
    if (rc == PST_OK) {
        memcpy(r->stream, marked.mark.stream, sizeof r->stream);
        r->stream_known = true;
        r->session_count++;
        return PST_OK;
    }
    pst_gcm_free(s->cipher);
    pst_free(s->taken);
    *s = (struct session){0};
    return rc;
}

/* ---- rows ---- */

static struct waiting held_times(struct held *held)
{
    const int64_t *time = (const int64_t *)(const void *)held->body;
    struct waiting one = {time[0], time[0], held};
    held->sorted = true;
    for (uint32_t i = 1; i < held->row_count; i++) {
        held->sorted &= time[i] >= time[i - 1];
        one.min = time[i] < one.min ? time[i] : one.min;
        one.max = time[i] > one.max ? time[i] : one.max;
    }
    return one;
}

static int rows_take(struct pst_sealed_reader *r, struct session *s, const uint8_t *bytes, const struct pst_capsule *p,
                     char *ret_why)
{
    if (p->bucket >= r->edge->bucket_count || !is_owned(r, p->bucket))
        return refuse(r, p, ret_why, "is of a bucket that is not read here");
    if (p->row_count > PST_CAPSULE_BODY_BYTES_MAX || p->body_bytes != pst_shape_wide_bytes(&r->shape, p->row_count))
        return refuse(r, p, ret_why, "has rows of another shape");
    if (p->number != s->taken[p->bucket])
        return refuse(r, p, ret_why, "is not the next one of its bucket: one was left out, or repeated");
    if (p->time != s->watermark)
        return refuse(r, p, ret_why, "comes before a mark that belongs in front of it");
    if (r->held_bytes + p->body_bytes > r->held_bytes_max) {
        (void)snprintf(ret_why, PST_SEALED_WHY_BYTES,
                       "more than %" PRIu64 " KiB of rows of %s wait for event time to go on: give it a larger EPC",
                       r->held_bytes_max / 1024, r->edge->name);
        return PST_EFULL;
    }
    struct held *held = waiting_ready(r) ? pst_malloc(sizeof *held + p->body_bytes) : NULL;
    if (held == NULL)
        return PST_ENOMEM;
    *held = (struct held){.session = (uint32_t)(s - r->sessions),
                          .row_count = p->row_count,
                          .sequence = p->sequence,
                          .bytes = p->body_bytes};
    r->held_bytes += held->bytes;
    if (pst_capsule_open(s->cipher, bytes, held->body) != PST_OK) {
        held_free(r, held);
        return refuse(r, p, ret_why, "does not open: it was changed, or is of another edge");
    }
    s->taken[p->bucket]++;
    struct waiting one = held_times(held);
    waiting_add(r, &one);
    return PST_OK;
}

int pst_sealed_reader_take(struct pst_sealed_reader *r, const void *bytes, size_t byte_count,
                           char ret_why[PST_SEALED_WHY_BYTES])
{
    struct pst_capsule p = {0};
    struct marked marked;
    int rc = pst_capsule_read(bytes, byte_count, &p);
    (void)snprintf(ret_why, PST_SEALED_WHY_BYTES, "%s", pst_error_sentence(PST_ENOMEM));
    if (rc == PST_EABI) {
        (void)snprintf(ret_why, PST_SEALED_WHY_BYTES, "the sealed stream is of a newer version");
        return rc;
    }
    if (rc != PST_OK || byte_count != pst_capsule_bytes(&p))
        return refuse(r, &p, ret_why, "is none");
    if (p.edge != r->edge->number)
        return refuse(r, &p, ret_why, "is of another edge");
    struct session *s = session_find(r, p.salt);
    if (s == NULL)
        return session_begin(r, bytes, &p, ret_why);
    if (p.sequence < s->restored && s->sequence < s->restored) /* a host that goes on from a cut sends it again */
        return PST_OK;
    if (s->closed || s->ended)
        return refuse(r, &p, ret_why, "is of a stream that is over");
    if (p.sequence <= s->sequence)
        return refuse(r, &p, ret_why, "comes a second time, or after later ones");
    if (p.kind == PST_CAPSULE_ROWS) {
        rc = rows_take(r, s, bytes, &p, ret_why);
    } else {
        rc = mark_open(r, s, bytes, &p, &marked, ret_why);
        if (rc == PST_OK && memcmp(marked.cover, s->cover, sizeof s->cover) != 0)
            rc = refuse(r, &p, ret_why, "is a mark of other buckets");
        if (rc == PST_OK)
            rc = mark_take(r, s, &p, &marked, ret_why);
    }
    if (rc == PST_OK)
        s->sequence = p.sequence;
    return rc;
}

/* ---- what is known ---- */

static bool covered(const struct pst_sealed_reader *r)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < r->session_count; s++)
        for (uint32_t w = 0; w < PST_SEALED_COVER_WORDS && !r->sessions[s].over; w++)
            count += (uint32_t)__builtin_popcountll(r->sessions[s].cover[w]);
    return count == r->edge->producer_bucket_count; /* no bucket is there twice */
}

int64_t pst_sealed_reader_watermark(const struct pst_sealed_reader *r)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool ended = true;
    if (!covered(r))
        return INT64_MIN;
    for (uint32_t i = 0; i < r->session_count; i++) {
        const struct session *s = &r->sessions[i];
        if (s->over)
            continue;
        low = s->watermark < low ? s->watermark : low;
        high = s->watermark > high ? s->watermark : high;
        ended &= s->ended;
    }
    return ended ? high : low; /* at the end every producer is through with its last epoch */
}

bool pst_sealed_reader_ended(const struct pst_sealed_reader *r)
{
    bool ended = covered(r);
    for (uint32_t s = 0; s < r->session_count; s++)
        ended &= r->sessions[s].over || r->sessions[s].ended;
    return ended;
}

const uint8_t *pst_sealed_reader_stream(const struct pst_sealed_reader *r)
{
    return r->stream_known ? r->stream : NULL;
}

int64_t pst_sealed_reader_input_end(const struct pst_sealed_reader *r)
{
    int64_t end = INT64_MIN;
    for (uint32_t s = 0; s < r->session_count; s++)
        if (!r->sessions[s].over && r->sessions[s].input_end > end)
            end = r->sessions[s].input_end;
    return end;
}

int64_t pst_sealed_reader_first(const struct pst_sealed_reader *r) { return r->waiting_min; }

bool pst_sealed_reader_position(const struct pst_sealed_reader *r, struct pst_sealed_position *ret_position)
{
    if (r->session_count == 0)
        return false;
    const struct session *s = &r->sessions[r->session_marked];
    *ret_position =
        (struct pst_sealed_position){.sequence = s->marked_sequence, .watermark = s->watermark, .ended = s->ended};
    memcpy(ret_position->salt, s->salt, sizeof ret_position->salt);
    memcpy(ret_position->stream, r->stream, sizeof ret_position->stream);
    return true;
}

/* ---- on in another process ---- */

#define SAVED_MAGIC UINT32_C(0x51545350) /* "PSTQ" */
enum { SAVED_HEAD_BYTES = 40, SAVED_SESSION_BYTES = 80, SAVED_HELD_BYTES = 24 };

static void save_u64(struct pst_text *text, uint64_t value)
{
    (void)pst_text_add(text, (const char *)&value, sizeof value);
}
static void save_u32(struct pst_text *text, uint32_t value)
{
    (void)pst_text_add(text, (const char *)&value, sizeof value);
}

static void session_save(const struct pst_sealed_reader *r, const struct session *s, struct pst_text *text)
{
    (void)pst_text_add(text, (const char *)s->salt, sizeof s->salt);
    save_u64(text, s->sequence);
    save_u64(text, s->marks);
    save_u64(text, s->marked_sequence);
    save_u64(text, (uint64_t)s->watermark);
    save_u64(text, (uint64_t)s->input_end);
    save_u32(text, (s->ended ? 1u : 0u) | (s->over ? 2u : 0u) | (s->closed ? 4u : 0u));
    save_u32(text, 0);
    (void)pst_text_add(text, (const char *)s->cover,
                       pst_cover_words(r->edge->producer_bucket_count) * sizeof *s->cover);
    for (uint32_t b = 0; b < r->edge->bucket_count; b++)
        save_u64(text, s->taken != NULL ? s->taken[b] : 0);
}

int pst_sealed_reader_save(const struct pst_sealed_reader *r, struct pst_text *text)
{
    save_u32(text, SAVED_MAGIC);
    save_u32(text, r->session_count);
    save_u32(text, r->waiting_count);
    save_u32(text, r->stream_known);
    (void)pst_text_add(text, (const char *)r->stream, sizeof r->stream);
    save_u64(text, (uint64_t)r->floor);
    for (uint32_t s = 0; s < r->session_count; s++)
        session_save(r, &r->sessions[s], text);
    for (uint32_t i = 0; i < r->waiting_count; i++) {
        const struct held *held = r->waiting[i].held;
        save_u32(text, held->session);
        save_u32(text, held->row_count);
        save_u32(text, held->sorted ? held->cursor : 0);
        save_u32(text, 0);
        save_u64(text, held->sequence);
        (void)pst_text_add(text, (const char *)held->body, held->bytes);
    }
    return text->failed ? PST_ENOMEM : PST_OK;
}

struct saved { /* what is left of it */
    const uint8_t *at, *end;
};

static const uint8_t *saved_take(struct saved *saved, size_t byte_count)
{
    const uint8_t *at = saved->at;
    if ((size_t)(saved->end - at) < byte_count)
        return NULL;
    saved->at += byte_count;
    return at;
}

/* One session of it, as it was. PST_EDATA. */
static int session_read(const struct pst_sealed_reader *r, struct saved *saved, struct session *ret,
                        const uint8_t **ret_taken)
{
    size_t cover_bytes = pst_cover_words(r->edge->producer_bucket_count) * sizeof *ret->cover;
    const uint8_t *at = saved_take(saved, SAVED_SESSION_BYTES), *cover = saved_take(saved, cover_bytes);
    *ret_taken = saved_take(saved, r->edge->bucket_count * sizeof(uint64_t));
    uint32_t flags = at != NULL ? pst_get_u32(at + 72) : 0;
    if (at == NULL || cover == NULL || *ret_taken == NULL || flags > 7 || pst_get_u32(at + 76) != 0)
        return PST_EDATA;
    *ret = (struct session){.sequence = pst_get_u64(at + 32),
                            .marks = pst_get_u64(at + 40),
                            .marked_sequence = pst_get_u64(at + 48),
                            .watermark = (int64_t)pst_get_u64(at + 56),
                            .input_end = (int64_t)pst_get_u64(at + 64),
                            .ended = (flags & 1) != 0,
                            .over = (flags & 2) != 0,
                            .closed = (flags & 6) != 0};
    if (ret->sequence >= PST_CAPSULES_MAX)
        return PST_EDATA;
    ret->restored = ret->sequence + 1;
    memcpy(ret->salt, at, sizeof ret->salt);
    memcpy(ret->cover, cover, cover_bytes);
    return PST_OK;
}

static bool counts_from(const uint8_t *from, uint32_t bucket)
{
    return from == NULL || (from[bucket / 8] >> bucket % 8 & 1) != 0;
}

/* How many capsules the buckets had been sent that count. Of an edge without a key all readers have been sent the same. */
static int taken_load(const struct pst_sealed_reader *r, struct session *s, const uint8_t *taken, const uint8_t *from)
{
    for (uint32_t b = 0; b < r->edge->bucket_count && s->taken != NULL; b++) {
        uint64_t count = pst_get_u64(taken + b * sizeof count);
        if (counts_from(from, b))
            s->taken[b] = count;
        else if (!r->edge->keyed && s->taken[b] != count)
            return PST_EREFUSED;
    }
    return PST_OK;
}

static int session_add(struct pst_sealed_reader *r, const struct session *one, struct session **ret_session)
{
    if (!session_room(r))
        return PST_EDATA;
    struct session *s = &r->sessions[r->session_count];
    *s = *one;
    if (!s->closed && (s->taken = pst_calloc(r->edge->bucket_count, sizeof *s->taken)) == NULL)
        return PST_ENOMEM;
    r->session_count++; /* freed with the reader */
    *ret_session = s;
    return s->closed ? PST_OK : pst_capsule_cipher(&r->keys, r->edge, s->salt, &s->cipher);
}

/* All that read an edge are at the same mark of each session when a time is cut, and behind it nothing has come. Of one that is over nothing
 * is taken any more, whatever its readers had had. */
static bool is_at(const struct session *s, const struct session *other)
{
    return s->over ? other->over
                   : s->sequence == other->sequence && s->sequence == s->marked_sequence && s->marks == other->marks &&
                         s->marked_sequence == other->marked_sequence && s->watermark == other->watermark &&
                         s->input_end == other->input_end && s->ended == other->ended && s->closed == other->closed &&
                         s->over == other->over && memcmp(s->cover, other->cover, sizeof s->cover) == 0;
}

/* ret_salt: where its own stands; ret_live: one more if it is not over. */
static int session_load(struct pst_sealed_reader *r, struct saved *saved, const uint8_t *from, bool beside,
                        const uint8_t **ret_salt, uint32_t *ret_live)
{
    struct session one, *s;
    const uint8_t *taken;
    *ret_salt = saved->at; /* first of all */
    int rc = session_read(r, saved, &one, &taken);
    if (rc != PST_OK)
        return rc;
    *ret_live += !one.over;
    s = session_find(r, one.salt);
    if (s != NULL ? !beside : beside && !one.over)
        return beside ? PST_EREFUSED : PST_EDATA;
    if (s != NULL && !is_at(s, &one))
        return PST_EREFUSED;
    if (s == NULL)
        rc = session_add(r, &one, &s);
    else if (s->over && one.sequence > s->sequence)
        s->restored = (s->sequence = one.sequence) + 1;
    return rc == PST_OK ? taken_load(r, s, taken, from) : rc;
}

/* The least time of those that were not given. */
static int64_t held_first(const struct pst_sealed_reader *r, const struct held *held)
{
    const int64_t *time = (const int64_t *)(const void *)held->body;
    int64_t first = INT64_MAX;
    for (uint32_t i = held->sorted ? held->cursor : 0; i < held->row_count; i++)
        if ((held->sorted || time[i] >= r->floor) && time[i] < first)
            first = time[i];
    return first;
}

/* All rows of a capsule are of one bucket. */
static uint32_t held_bucket(const struct pst_sealed_reader *r, const uint8_t *body, uint32_t row_count)
{
    const uint8_t *hash = body + row_count * sizeof(int64_t); /* behind the event times */
    return r->edge->keyed ? (uint32_t)pst_get_u64(hash) & (r->edge->bucket_count - 1) : 0;
}

/* salts: of the sessions as they stand there. */
static int held_load(struct pst_sealed_reader *r, struct saved *saved, const uint8_t *from, const uint8_t *const *salts,
                     uint32_t salt_count)
{
    const uint8_t *at = saved_take(saved, SAVED_HELD_BYTES);
    uint32_t rows = at != NULL ? pst_get_u32(at + 4) : 0;
    if (rows == 0 || rows > PST_CAPSULE_BODY_BYTES_MAX || pst_get_u32(at) >= salt_count || pst_get_u32(at + 8) > rows ||
        pst_get_u32(at + 12) != 0)
        return PST_EDATA;
    size_t bytes = pst_shape_wide_bytes(&r->shape, rows);
    const uint8_t *body = bytes <= PST_CAPSULE_BODY_BYTES_MAX ? saved_take(saved, bytes) : NULL;
    if (body == NULL)
        return PST_EDATA;
    if (!counts_from(from, held_bucket(r, body, rows)))
        return PST_OK;
    if (r->held_bytes + bytes > r->held_bytes_max)
        return PST_EFULL;
    const struct session *session = session_find(r, salts[pst_get_u32(at)]);
    struct held *held = waiting_ready(r) ? pst_malloc(sizeof *held + bytes) : NULL;
    if (held == NULL)
        return PST_ENOMEM;
    /* Of a session that is forgotten nothing is dropped any more: held_forget(). */
    *held = (struct held){.session = session != NULL ? (uint32_t)(session - r->sessions) : 0,
                          .row_count = rows,
                          .cursor = pst_get_u32(at + 8),
                          .sequence = session != NULL ? pst_get_u64(at + 16) : 0,
                          .bytes = bytes};
    memcpy(held->body, body, bytes);
    struct waiting one = held_times(held);
    if (!held->sorted)
        held->cursor = 0;
    one.min = held_first(r, held);
    r->held_bytes += bytes;
    waiting_add(r, &one);
    return PST_OK;
}

static int head_load(struct pst_sealed_reader *r, const uint8_t *head)
{
    int64_t floor = (int64_t)pst_get_u64(head + 32);
    bool known = pst_get_u32(head + 12) == 1;
    if (r->loaded && (known != r->stream_known || memcmp(r->stream, head + 16, sizeof r->stream) != 0))
        return PST_EREFUSED;
    r->floor = !r->loaded || floor < r->floor ? floor : r->floor; /* between the two there is no row of either */
    r->stream_known = known;
    memcpy(r->stream, head + 16, sizeof r->stream);
    return PST_OK;
}

static uint32_t live_count(const struct pst_sealed_reader *r)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < r->session_count; s++)
        count += !r->sessions[s].over;
    return count;
}

int pst_sealed_reader_load(struct pst_sealed_reader *r, const uint8_t *bytes, size_t byte_count, const uint8_t *from,
                           size_t *ret_used)
{
    struct saved saved = {bytes, bytes + byte_count};
    const uint8_t *head = saved_take(&saved, SAVED_HEAD_BYTES);
    uint32_t count = head != NULL ? pst_get_u32(head + 4) : 0, live = 0;
    bool beside = r->loaded;
    if ((r->session_count != 0 && !beside) || head == NULL || pst_get_u32(head) != SAVED_MAGIC ||
        count > r->session_capacity || pst_get_u32(head + 12) > 1)
        return PST_EDATA;
    const uint8_t **salts = pst_calloc(count + (size_t)1, sizeof *salts);
    int rc = salts != NULL ? head_load(r, head) : PST_ENOMEM;
    for (uint32_t s = 0; s < count && rc == PST_OK; s++)
        rc = session_load(r, &saved, from, beside, &salts[s], &live);
    if (rc == PST_OK && live != live_count(r))
        rc = PST_EREFUSED;
    for (uint32_t h = 0; head != NULL && h < pst_get_u32(head + 8) && rc == PST_OK; h++)
        rc = held_load(r, &saved, from, salts, count);
    pst_free(salts);
    r->loaded = true;
    *ret_used = (size_t)(saved.at - bytes);
    return rc;
}

/* ---- rows that go on ---- */

static void rows_copy(struct pst_sealed_reader *r, void *const *parts, uint32_t row, uint32_t at, uint32_t n)
{
    for (uint32_t p = 0; p < r->shape.part_count; p++) {
        size_t bytes = r->shape.part_bytes[p];
        memcpy(r->frame[p] + at * bytes, (const uint8_t *)parts[p] + row * bytes, n * bytes);
    }
}

/* The first of sorted rows at or above `limit`. */
static uint32_t row_at(const struct held *held, const int64_t *time, int64_t limit)
{
    uint32_t low = held->cursor, high = held->row_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (time[middle] < limit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Of a sorted one, how many below `limit` were not given yet. */
static uint32_t sorted_below(const struct waiting *one, const int64_t *time, int64_t limit)
{
    return (one->max < limit ? one->held->row_count : row_at(one->held, time, limit)) - one->held->cursor;
}

static void sorted_given(struct waiting *one, const int64_t *time, uint32_t n)
{
    one->held->cursor += n;
    one->min = one->held->cursor < one->held->row_count ? time[one->held->cursor] : INT64_MAX;
}

/* Many rows of one capsule need not be copied: they are given where they lie. 0: there are few, or they lie among others. */
static uint32_t many_find(const struct pst_sealed_reader *r, const struct waiting *one, int64_t limit,
                          void *ret_parts[PST_FIELDS_MAX + 2])
{
    struct held *held = one->held;
    if (!held->sorted)
        return 0;
    pst_shape_wide_parts(&r->shape, held->row_count, held->body, ret_parts);
    uint32_t n = sorted_below(one, ret_parts[0], limit);
    for (uint32_t p = 0; p < r->shape.part_count; p++)
        ret_parts[p] = (uint8_t *)ret_parts[p] + (size_t)held->cursor * r->shape.part_bytes[p];
    return n < ROWS_MANY ? 0 : n < r->frame_rows ? n : r->frame_rows;
}

/* Rows of one capsule below `limit` that were not given yet, into the frame behind *at. True: those were all of them. */
static bool gather(struct pst_sealed_reader *r, struct waiting *one, int64_t limit, uint32_t *at)
{
    struct held *held = one->held;
    void *parts[PST_FIELDS_MAX + 2];
    pst_shape_wide_parts(&r->shape, held->row_count, held->body, parts);
    const int64_t *time = parts[0];
    if (held->sorted) {
        uint32_t below = sorted_below(one, time, limit), room = r->frame_rows - *at;
        uint32_t n = below < room ? below : room;
        rows_copy(r, parts, held->cursor, *at, n);
        *at += n;
        sorted_given(one, time, n);
        return n == below;
    }
    for (; held->cursor < held->row_count && *at < r->frame_rows; held->cursor++)
        if (time[held->cursor] >= r->floor && time[held->cursor] < limit)
            rows_copy(r, parts, held->cursor, (*at)++, 1);
    if (held->cursor < held->row_count)
        return false;
    held->cursor = 0;
    one->min = INT64_MAX;
    for (uint32_t i = 0; i < held->row_count; i++)
        one->min = time[i] >= limit && time[i] < one->min ? time[i] : one->min;
    return true;
}

int pst_sealed_reader_rows(struct pst_sealed_reader *r, int64_t limit,
                           int (*take)(void *taker, uint32_t row_count, void *const *parts), void *taker)
{
    uint32_t count = 0, stay = 0;
    int rc = PST_OK;
    limit = limit > r->floor ? limit : r->floor; /* what is below that was given */
    if (r->waiting_min >= limit) {
        r->floor = limit;
        return PST_OK;
    }
    r->waiting_min = INT64_MAX;
    for (uint32_t i = 0; i < r->waiting_count; i++) {
        struct waiting one = r->waiting[i];
        void *many[PST_FIELDS_MAX + 2];
        for (bool done = one.min >= limit; !done && rc == PST_OK;) {
            uint32_t n = count == 0 ? many_find(r, &one, limit, many) : 0;
            if (n != 0) {
                rc = take(taker, n, many);
                sorted_given(&one, (const int64_t *)(const void *)one.held->body, n);
                done = one.min >= limit;
                continue;
            }
            done = gather(r, &one, limit, &count);
            if (count == r->frame_rows) {
                rc = take(taker, count, (void *const *)r->frame);
                count = 0;
            }
        }
        if (rc != PST_OK || one.max >= limit)
            waiting_stays(r, &stay, &one);
        else
            held_free(r, one.held);
    }
    r->waiting_count = stay;
    if (rc == PST_OK && count != 0)
        rc = take(taker, count, (void *const *)r->frame);
    r->floor = limit;
    return rc;
}
