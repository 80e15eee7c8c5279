/* image.c - see image.h. */
#include "enclave_shim/inside/image.h"

#include "enclave_shim/sealed.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define INDEX_MAGIC UINT32_C(0x49545350) /* "PSTI" */
enum {
    INDEX_VERSION = 1,
    INDEX_STRUCTURE = PST_PLACE_INDEX & 0xffff,
    INDEX_KIND = PST_PLACE_INDEX >> 16,
    PAGES_FIRST = 64, /* room for so many at first */
    EXTRA_BYTES = PST_PAGE_BYTES - 1024,
};

struct place { /* that has come back, of one worker */
    uint8_t incarnation[PST_INCARNATION_BYTES];
    uint32_t version, piece_count, bucket_count; /* bucket_count: that came back, and it has sealed */
    struct pst_text bytes;
};

struct pst_images {
    const struct pst_inside_settings *settings;
    struct pst_sealer *sealer, *opener;
    uint64_t move; /* 0: of checkpoints */
    uint8_t opener_incarnation[PST_INCARNATION_BYTES];
    uint32_t opener_key; /* which of restore_keys */
    bool opened;         /* it has, by that one */
    uint64_t checkpoint; /* sealed last, or gone on from; 0: none */
    uint8_t shape[PST_INDEX_SHAPE_BYTES];
    bool shaped;
    /* of the bucket at hand, out or back */
    struct pst_index_page *pages;
    uint32_t page_count, page_capacity;
    /* back */
    bool begun, whole; /* something was given back; all was */
    bool open;         /* a bucket is not whole yet */
    uint32_t bucket;   /* it */
    uint32_t part, part_count, compared;
    uint64_t of_checkpoint; /* that all of them are of, from the first index on; 0: none was read yet */
    int64_t of_cut;
    const struct pst_text *extra; /* what goes out beside the state; NULL: nothing */
    uint32_t extra_version;
    struct place *places; /* what came back of that */
    uint32_t place_count;
    uint8_t *place_of; /* by bucket that came back: whose; NULL: there are no places */
    uint32_t changed_max;
    uint8_t done[PST_BOOT_BUCKETS_MAX / 8];
    uint8_t arriving[PST_BOOT_BUCKETS_MAX / 8]; /* of a move: done, of of_cut, and nobody's yet */
    uint32_t arriving_count;
    _Alignas(8) uint8_t clear[PST_PAGE_BYTES];
    uint8_t sealed[PST_PIECE_BYTES_MAX];
};

/* ---- layout ---- */

static void put_bytes(uint8_t **at, const void *value, size_t byte_count)
{
    memcpy(*at, value, byte_count);
    *at += byte_count;
}

#define PUT(at, type, value)                 \
    do {                                     \
        type put_ = (value);                 \
        put_bytes((at), &put_, sizeof put_); \
    } while (0)

int pst_index_read(const uint8_t *clear, uint32_t byte_count, struct pst_index *ret)
{
    if (byte_count < PST_INDEX_HEADER_BYTES || pst_get_u32(clear) != INDEX_MAGIC ||
        pst_get_u16(clear + 4) != INDEX_VERSION || pst_get_u16(clear + 6) != 0)
        return PST_EDATA;
    *ret = (struct pst_index){.checkpoint = pst_get_u64(clear + 8),
                              .cut = (int64_t)pst_get_u64(clear + 16),
                              .timer = (int64_t)pst_get_u64(clear + 24),
                              .part = pst_get_u32(clear + 32),
                              .part_count = pst_get_u32(clear + 36),
                              .log_count = pst_get_u32(clear + 40),
                              .page_count = pst_get_u32(clear + 44),
                              .shape = clear + 48,
                              .logs = clear + PST_INDEX_HEADER_BYTES};
    uint64_t lists = (uint64_t)ret->log_count * PST_INDEX_LOG_BYTES + (uint64_t)ret->page_count * PST_INDEX_PAGE_BYTES;
    if (ret->checkpoint == 0 || ret->part >= ret->part_count || ret->log_count > PST_STRUCTURES_MAX ||
        (ret->part != 0 && ret->log_count != 0) || lists != byte_count - PST_INDEX_HEADER_BYTES)
        return PST_EDATA;
    ret->pages = ret->logs + (size_t)ret->log_count * PST_INDEX_LOG_BYTES;
    for (uint32_t i = 0; i < ret->log_count; i++) {
        const uint8_t *at = ret->logs + (size_t)i * PST_INDEX_LOG_BYTES;
        if (pst_get_u16(at + 2) != 0 || pst_get_u32(at + 4) != 0)
            return PST_EDATA;
    }
    return PST_OK;
}

struct pst_image_log pst_index_log(const struct pst_index *index, uint32_t i, uint32_t bucket)
{
    const uint8_t *at = index->logs + (size_t)i * PST_INDEX_LOG_BYTES;
    return (struct pst_image_log){bucket, pst_get_u16(at), pst_get_u64(at + 8), pst_get_u64(at + 16)};
}

/* ---- what its tables and logs are ---- */

static bool digest_text(EVP_MD_CTX *digest, const char *text)
{
    uint32_t byte_count = (uint32_t)strlen(text);
    return EVP_DigestUpdate(digest, &byte_count, sizeof byte_count) == 1 &&
           EVP_DigestUpdate(digest, text, byte_count) == 1;
}

/* Structures are opened with the operator, and none later. */
static int shape_make(struct pst_images *im, const struct pst_state *state)
{
    struct pst_structure_view views[PST_STRUCTURES_MAX];
    uint32_t count = state != NULL ? pst_state_structures(state, views) : 0;
    EVP_MD_CTX *digest = im->shaped ? NULL : EVP_MD_CTX_new();
    if (im->shaped)
        return PST_OK;
    bool good = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                digest_text(digest, "penstock index 1") && digest_text(digest, im->settings->config->type);
    for (uint32_t i = 0; good && i < count; i++) {
        uint32_t widths[] = {(uint32_t)views[i].kind, views[i].key_bytes, views[i].record_bytes};
        good = digest_text(digest, views[i].name) && EVP_DigestUpdate(digest, widths, sizeof widths) == 1;
    }
    im->shaped = good && EVP_DigestFinal_ex(digest, im->shape, NULL) == 1;
    EVP_MD_CTX_free(digest);
    return im->shaped ? PST_OK : PST_ENOMEM;
}

static int page_note(struct pst_images *im, const struct pst_index_page *page)
{
    if (im->page_count == im->page_capacity) {
        uint32_t capacity = im->page_capacity == 0 ? PAGES_FIRST : im->page_capacity * 2;
        struct pst_index_page *pages = pst_realloc(im->pages, capacity * sizeof *pages);
        if (pages == NULL)
            return PST_ENOMEM;
        im->pages = pages;
        im->page_capacity = capacity;
    }
    im->pages[im->page_count++] = *page;
    return PST_OK;
}

/* ---- life ---- */

int pst_images_new(const struct pst_inside_settings *settings, struct pst_images **ret_images)
{
    struct pst_images *im = pst_aligned(8, sizeof *im);
    if (im == NULL)
        return PST_ENOMEM;
    memset(im, 0, sizeof *im);
    im->settings = settings;
    int rc = pst_sealer_new(settings->image_key, settings->graph, PST_SEAL_CHECKPOINT, settings->image_incarnation, 1,
                            &settings->config->id, &settings->config->bucket_count, &im->sealer);
    if (rc != PST_OK) {
        pst_images_free(im);
        return rc;
    }
    *ret_images = im;
    return PST_OK;
}

void pst_images_places_forget(struct pst_images *im)
{
    for (uint32_t i = 0; i < im->place_count; i++)
        pst_text_fini(&im->places[i].bytes);
    pst_free(im->places);
    pst_free(im->place_of);
    im->places = NULL;
    im->place_of = NULL;
    im->place_count = 0;
}

void pst_images_free(struct pst_images *im)
{
    if (im == NULL)
        return;
    pst_sealer_free(im->sealer);
    pst_sealer_free(im->opener);
    pst_images_places_forget(im);
    pst_free(im->pages);
    pst_free(im);
}

bool pst_images_serve(const struct pst_images *im)
{
    return im == NULL || im->whole || (!im->begun && im->settings->restore_least == 0);
}

/* ---- out ---- */

static int piece_out(struct pst_images *im, const struct pst_seal_place *place, const void *bytes, uint32_t byte_count)
{
    size_t sealed_bytes = 0;
    struct pst_message message = {.kind = PST_MESSAGE_PIECE,
                                  .limit = (int64_t)place->number,
                                  .port = place->bucket,
                                  .row_count = place->structure | (uint32_t)place->kind << 16};
    if (place->structure != INDEX_STRUCTURE)
        message.facts = (uint32_t)place->version;
    int rc = PST_OK;
    if (bytes != NULL) /* not packed: who sees sizes would learn what is in it */
        rc = pst_seal(im->sealer, 0, place, false, bytes, byte_count, im->sealed, sizeof im->sealed, &sealed_bytes);
    struct pst_piece piece = {im->sealed, (uint32_t)sealed_bytes, 0, false};
    if (rc == PST_EREFUSED)
        rc = PST_ERANGE; /* the key has sealed all that it may */
    return rc == PST_OK ? im->settings->emit(im->settings->emitter, &message, &piece, bytes != NULL) : rc;
}

static int page_out(void *argument, const struct pst_image_page *page)
{
    struct pst_images *im = argument;
    struct pst_seal_place place = {page->bucket, page->structure, page->kind, page->number, page->changed};
    int rc = page_note(im, &(struct pst_index_page){page->structure, page->kind, page->changed, page->number});
    return rc == PST_OK ? piece_out(im, &place, page->bytes, PST_PAGE_HEADER_BYTES + page->used_bytes) : rc;
}

static uint32_t index_fill(struct pst_images *im, const struct pst_index *index, const struct pst_image_log *logs,
                           uint32_t page_first)
{
    uint8_t *at = im->clear;
    PUT(&at, uint32_t, INDEX_MAGIC);
    PUT(&at, uint16_t, INDEX_VERSION);
    PUT(&at, uint16_t, 0);
    PUT(&at, uint64_t, index->checkpoint);
    PUT(&at, int64_t, index->cut);
    PUT(&at, int64_t, index->timer);
    PUT(&at, uint32_t, index->part);
    PUT(&at, uint32_t, index->part_count);
    PUT(&at, uint32_t, index->log_count);
    PUT(&at, uint32_t, index->page_count);
    put_bytes(&at, im->shape, sizeof im->shape);
    for (uint32_t i = 0; i < index->log_count; i++) {
        PUT(&at, uint16_t, logs[i].structure);
        PUT(&at, uint16_t, 0);
        PUT(&at, uint32_t, 0);
        PUT(&at, uint64_t, logs[i].tail);
        PUT(&at, uint64_t, logs[i].head);
    }
    if (index->page_count != 0)
        put_bytes(&at, im->pages + page_first, index->page_count * sizeof *im->pages);
    return (uint32_t)(at - im->clear);
}

static int index_out(struct pst_images *im, const struct pst_images_of *of, uint32_t bucket,
                     const struct pst_message *asked)
{
    enum { LISTS_BYTES = PST_PAGE_BYTES - PST_INDEX_HEADER_BYTES };
    const uint32_t pages_max = (LISTS_BYTES - PST_STRUCTURES_MAX * PST_INDEX_LOG_BYTES) / PST_INDEX_PAGE_BYTES;
    struct pst_image_log logs[PST_STRUCTURES_MAX];
    struct pst_index index = {.checkpoint = (uint64_t)asked->limit, .cut = asked->time, .timer = of->timers[bucket]};
    uint32_t log_count = of->state != NULL ? pst_state_logs(of->state, bucket, logs) : 0, first = 0;
    int rc = PST_OK;
    index.part_count = im->page_count == 0 ? 1 : (im->page_count + pages_max - 1) / pages_max;
    for (; index.part < index.part_count && rc == PST_OK; index.part++) {
        index.log_count = index.part == 0 ? log_count : 0;
        index.page_count = im->page_count - first < pages_max ? im->page_count - first : pages_max;
        uint32_t byte_count = index_fill(im, &index, logs, first);
        struct pst_seal_place place = {bucket, INDEX_STRUCTURE, INDEX_KIND, index.part, index.checkpoint};
        rc = piece_out(im, &place, im->clear, byte_count);
        first += index.page_count;
    }
    return rc;
}

static int imaged(struct pst_images *im, uint64_t checkpoint, int error, uint32_t generation)
{
    struct pst_message message = {
        .kind = PST_MESSAGE_IMAGED, .limit = (int64_t)checkpoint, .error = error, .facts = generation};
    struct pst_piece piece = {im->settings->image_incarnation, PST_INCARNATION_BYTES, 0, false};
    return im->settings->emit(im->settings->emitter, &message, &piece, 1);
}

/* As pages of a structure that no operator has. No index names them: they say themselves of which checkpoint they are. */
static int extra_out(struct pst_images *im, uint32_t bucket, uint32_t version)
{
    int rc = PST_OK;
    for (size_t at = 0, n; at < im->extra->count && rc == PST_OK; at += n) {
        struct pst_seal_place place = {bucket, PST_EXTRA_STRUCTURE, PST_PAGE_LOG, at / EXTRA_BYTES, version};
        n = im->extra->count - at < EXTRA_BYTES ? im->extra->count - at : EXTRA_BYTES;
        rc = piece_out(im, &place, im->extra->bytes + at, (uint32_t)n);
    }
    return rc;
}

void pst_images_extra(struct pst_images *im, const struct pst_text *extra) { im->extra = extra; }
uint32_t pst_images_place_count(const struct pst_images *im) { return im->place_count; }
const struct pst_text *pst_images_place(const struct pst_images *im, uint32_t i) { return &im->places[i].bytes; }

static bool has_bit(const uint8_t *bits, uint32_t bucket) { return (bits[bucket / 8] >> bucket % 8 & 1) != 0; }

bool pst_images_place_has(const struct pst_images *im, uint32_t i, uint32_t bucket)
{
    return has_bit(im->done, bucket) && im->place_of != NULL && im->place_of[bucket] == i;
}

int pst_images_late(struct pst_images *im, const struct pst_message *message)
{
    uint64_t checkpoint = (uint64_t)message->limit;
    if (checkpoint == 0 || checkpoint <= im->checkpoint)
        return PST_EDATA;
    im->checkpoint = checkpoint;
    return imaged(im, checkpoint, PST_EAGAIN, im->extra_version);
}

int pst_images_out(struct pst_images *im, const struct pst_images_of *of, const struct pst_message *message)
{
    uint64_t checkpoint = (uint64_t)message->limit;
    uint32_t generation = ++im->extra_version;
    if (checkpoint == 0 || checkpoint <= im->checkpoint)
        return PST_EDATA;
    im->checkpoint = checkpoint; /* whatever becomes of it: D3 */
    int rc = shape_make(im, of->state);
    if (rc == PST_OK && of->owned_count != 0 && im->extra != NULL)
        rc = extra_out(im, of->buckets[0], of->state != NULL ? pst_state_generation(of->state) : im->extra_version);
    for (uint32_t i = 0; i < of->owned_count && rc == PST_OK; i++) {
        im->page_count = 0;
        if (of->state != NULL)
            rc = pst_state_image_bucket(of->state, of->buckets[i], message->facts, im->clear, page_out, im);
        if (rc == PST_OK)
            rc = index_out(im, of, of->buckets[i], message);
        pst_sealer_forget(im->sealer);
    }
    if (rc != PST_OK && rc != PST_ENOMEM)
        return rc;
    /* After half an image, too: what changes from now on is another version (D1). */
    int ended = of->state != NULL ? pst_state_image_end(of->state, &generation) : PST_OK;
    return ended == PST_OK ? imaged(im, checkpoint, rc, generation) : ended;
}

/* ---- back ---- */

static int refuse(const struct pst_images *im, char *why, uint32_t bucket, const char *what)
{
    (void)snprintf(why, PST_SENTENCE_BYTES_MAX, "%s: bucket %u: %s",
                   im->move != 0 ? "what comes of another worker is refused" : "a checkpoint cannot be put back",
                   bucket, what);
    return PST_EREFUSED;
}

static bool is_owned(const struct pst_images *im, uint32_t bucket)
{
    return bucket < im->settings->config->bucket_count && has_bit(im->settings->owned, bucket);
}

/* Rows for a bucket that is nobody's here, or a timer, would be mixed with what comes. */
static bool is_empty(const struct pst_images_of *of, uint32_t bucket)
{
    return of->timers[bucket] == INT64_MAX && (of->state == NULL || pst_state_bucket_bytes(of->state, bucket) == 0);
}

static int bucket_begin(struct pst_images *im, const struct pst_images_of *of, uint32_t bucket, char *why)
{
    bool moves = im->move != 0;
    if (im->open && im->bucket == bucket)
        return PST_OK;
    if (im->open)
        return refuse(im, why, im->bucket, "something of it is missing");
    if (!moves && !is_owned(im, bucket))
        return refuse(im, why, bucket, "it is not this worker's");
    if (moves && (bucket >= im->settings->config->bucket_count || has_bit(of->owns, bucket)))
        return refuse(im, why, bucket, "it is this worker's already");
    if (has_bit(im->done, bucket))
        return refuse(im, why, bucket, moves ? "it has come twice" : "it was given back twice");
    if (moves && !is_empty(of, bucket))
        return refuse(im, why, bucket, "something of it is here already");
    im->open = true;
    im->bucket = bucket;
    im->page_count = im->part = im->compared = 0;
    return PST_OK;
}

static int opener_make(struct pst_images *im, uint32_t key)
{
    const struct pst_inside_settings *s = im->settings;
    pst_sealer_free(im->opener);
    im->opener = NULL;
    im->opener_key = key;
    return pst_sealer_new_to_open(s->restore_keys[key], s->graph, PST_SEAL_CHECKPOINT, im->opener_incarnation, 1,
                                  &s->config->id, &s->config->bucket_count, &im->opener);
}

static bool sealed_rows(const struct pst_images *im) { return im->settings->config->sealing != NULL; }

/* place_count: it has not come. */
static uint32_t place_find(const struct pst_images *im, const uint8_t *incarnation)
{
    uint32_t i = 0;
    while (i < im->place_count && memcmp(im->places[i].incarnation, incarnation, PST_INCARNATION_BYTES) != 0)
        i++;
    return i;
}

/* All of a bucket is of the worker that has sealed its index: versions of another one mean something else. */
static int opener_for(struct pst_images *im, const uint8_t *incarnation, bool first, char *why)
{
    if (im->opener != NULL && memcmp(im->opener_incarnation, incarnation, PST_INCARNATION_BYTES) == 0)
        return PST_OK;
    if (!first)
        return refuse(im, why, im->bucket, "its pieces were sealed by more than one worker");
    memcpy(im->opener_incarnation, incarnation, PST_INCARNATION_BYTES);
    im->opened = false;
    return im->settings->restore_key_count != 0 ? opener_make(im, 0) : PST_EDATA;
}

/* By the key that has opened something of this incarnation before; the first time, by each. */
static int open_piece(struct pst_images *im, const struct pst_seal_place *place, const uint8_t *sealed,
                      size_t sealed_bytes, uint32_t *ret_bytes)
{
    for (;;) {
        int rc = pst_unseal(im->opener, 0, place, sealed, sealed_bytes, im->clear, sizeof im->clear, ret_bytes);
        im->opened |= rc == PST_OK;
        if (rc != PST_EREFUSED || im->opened || im->opener_key + 1 >= im->settings->restore_key_count)
            return rc;
        rc = opener_make(im, im->opener_key + 1);
        if (rc != PST_OK)
            return rc;
    }
}

static int page_back(struct pst_images *im, const struct pst_images_of *of, const struct pst_seal_place *place,
                     uint32_t byte_count, char *why)
{
    struct pst_page_header *page = (struct pst_page_header *)(void *)im->clear;
    if (im->part != 0)
        return refuse(im, why, place->bucket, "a page came after its index");
    if (of->state == NULL || byte_count < PST_PAGE_HEADER_BYTES || page->bucket != place->bucket ||
        page->structure != place->structure || page->kind != place->kind || page->number != place->number ||
        page->changed != place->version)
        return refuse(im, why, place->bucket, "a page is none of its state");
    im->changed_max = page->changed > im->changed_max ? page->changed : im->changed_max;
    int rc =
        page_note(im, &(struct pst_index_page){place->structure, place->kind, (uint32_t)place->version, place->number});
    if (im->move != 0) /* it has come here now */
        page->changed = pst_state_generation(of->state);
    if (rc == PST_OK)
        rc = pst_state_restore_page(of->state, page, byte_count);
    return rc == PST_EDATA ? refuse(im, why, place->bucket, "a page is none of its state") : rc;
}

static int place_new(struct pst_images *im, struct place **ret_place)
{
    struct place *places = pst_realloc(im->places, (im->place_count + (size_t)1) * sizeof *places);
    if (places == NULL)
        return PST_ENOMEM;
    im->places = places;
    if (im->place_of == NULL)
        im->place_of = pst_calloc(1, PST_BOOT_BUCKETS_MAX);
    if (im->place_of == NULL)
        return PST_ENOMEM;
    *ret_place = &places[im->place_count++];
    **ret_place = (struct place){.bytes.secret = true};
    return PST_OK;
}
static_assert((int)PST_SEALED_ORIGINS_MAX <= 1 << 8, "whose a bucket was is a byte");

/* A piece of a place, opened: the next one of it, and of the same image. */
static int place_back(struct pst_images *im, const struct pst_seal_place *of, uint32_t byte_count, char *why)
{
    static const char broken[] = "the place in the stream that is said of it is not whole, or not of one image";
    uint32_t i = place_find(im, im->opener_incarnation);
    struct place *place = i < im->place_count ? &im->places[i] : NULL;
    bool first = place == NULL;
    if (first && of->number == 0 && (byte_count < 4 || pst_get_u32(im->clear) != PST_PLACE_MAGIC))
        return refuse(im, why, of->bucket, "it was made by an earlier version, whose images are not gone on from");
    if (first && im->place_count == PST_SEALED_ORIGINS_MAX)
        return refuse(im, why, of->bucket, "it would go on from more workers than one can go on from");
    int rc = first ? place_new(im, &place) : PST_OK;
    if (rc != PST_OK)
        return rc;
    if (first) {
        memcpy(place->incarnation, im->opener_incarnation, sizeof place->incarnation);
        place->version = (uint32_t)of->version;
    }
    if (of->number != place->piece_count || of->version != place->version)
        return refuse(im, why, of->bucket, broken);
    place->piece_count++;
    return pst_text_add(&place->bytes, (const char *)im->clear, byte_count);
}

/* All of a bucket is there. */
static int bucket_end(struct pst_images *im, const struct pst_images_of *of, const struct pst_index *index)
{
    if (im->compared != im->page_count)
        return PST_EREFUSED;
    uint8_t bit = (uint8_t)(1 << im->bucket % 8);
    of->timers[im->bucket] = index->timer;
    im->done[im->bucket / 8] |= bit;
    if (im->place_of != NULL) {
        uint32_t i = place_find(im, im->opener_incarnation);
        im->place_of[im->bucket] = (uint8_t)i;
        im->places[i].bucket_count++;
    }
    if (im->move != 0) {
        im->arriving[im->bucket / 8] |= bit;
        im->arriving_count++;
    }
    im->open = false;
    pst_sealer_forget(im->opener);
    return PST_OK;
}

static int index_back(struct pst_images *im, const struct pst_images_of *of, uint32_t byte_count, char *why)
{
    struct pst_index index;
    uint32_t bucket = im->bucket;
    int rc = shape_make(im, of->state);
    if (rc != PST_OK)
        return rc;
    if (pst_index_read(im->clear, byte_count, &index) != PST_OK || index.part != im->part ||
        (im->part != 0 && index.part_count != im->part_count))
        return refuse(im, why, bucket, "its index is damaged");
    if (memcmp(index.shape, im->shape, sizeof im->shape) != 0)
        return refuse(im, why, bucket, "its tables or logs are others than this operator's");
    if (im->of_checkpoint != 0 && (index.checkpoint != im->of_checkpoint || index.cut != im->of_cut))
        return refuse(im, why, bucket,
                      im->move != 0 ? "it is of another time than others" : "it is of another checkpoint than others");
    if (im->move != 0 && index.checkpoint != im->move)
        return refuse(im, why, bucket, "it is of another move");
    if (im->move == 0 && index.checkpoint < im->settings->restore_least)
        return refuse(im, why, bucket, "it is older than the checkpoint that its key was given for");
    im->of_checkpoint = index.checkpoint;
    im->of_cut = index.cut;
    im->part_count = index.part_count;
    if (index.page_count > im->page_count - im->compared ||
        (index.page_count != 0 &&
         memcmp(index.pages, im->pages + im->compared, index.page_count * sizeof *im->pages) != 0))
        return refuse(im, why, bucket, "its pages are not those that its index names");
    im->compared += index.page_count;
    for (uint32_t i = 0; i < index.log_count && rc == PST_OK; i++) {
        struct pst_image_log log = pst_index_log(&index, i, bucket);
        rc = of->state != NULL ? pst_state_restore_log(of->state, &log) : PST_EDATA;
    }
    if (rc != PST_OK)
        return rc == PST_EDATA ? refuse(im, why, bucket, "its index is damaged") : rc;
    if (++im->part == im->part_count && bucket_end(im, of, &index) != PST_OK)
        return refuse(im, why, bucket, "its pages are not those that its index names");
    return PST_OK;
}

static int piece_back(struct pst_images *im, const struct pst_images_of *of, struct pst_seal_place *place,
                      const uint8_t *sealed, size_t sealed_bytes, char *why)
{
    bool index = place->structure == INDEX_STRUCTURE && place->kind == INDEX_KIND;
    uint32_t byte_count = 0;
    char what[64];
    struct pst_seal_header header;
    /* What an index is of it says itself, and nobody else could have sealed that. */
    if (index && pst_seal_header_read(sealed, sealed_bytes, &header) == PST_OK)
        place->version = header.page_version;
    int rc = open_piece(im, place, sealed, sealed_bytes, &byte_count);
    if (rc == PST_EREFUSED || rc == PST_EABI) {
        (void)snprintf(what, sizeof what, "%s %" PRIu64 " is not what was sealed there", index ? "index" : "page",
                       place->number);
        return refuse(im, why, place->bucket, what);
    }
    if (rc != PST_OK)
        return rc;
    if (place->structure == PST_EXTRA_STRUCTURE && sealed_rows(im) && im->move == 0)
        return place_back(im, place, byte_count, why);
    return index ? index_back(im, of, byte_count, why) : page_back(im, of, place, byte_count, why);
}

int pst_images_back(struct pst_images *im, const struct pst_images_of *of, const struct pst_message *message,
                    const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX])
{
    struct pst_seal_place place = {message->port, (uint16_t)message->row_count, (uint16_t)(message->row_count >> 16),
                                   (uint64_t)message->limit, message->facts};
    if (im->whole)
        return PST_EDATA;
    im->begun = true;
    bool first = !im->open, of_stream = sealed_rows(im) && place.structure == PST_EXTRA_STRUCTURE;
    if (of_stream && im->open)
        return refuse(im, why, im->bucket, "something of it is missing");
    if (of_stream && place.bucket >= im->settings->config->bucket_count)
        return refuse(im, why, place.bucket, "it is not this operator's");
    int rc = of_stream ? PST_OK : bucket_begin(im, of, place.bucket, why);
    if (rc == PST_OK && sealed_rows(im) && !of_stream && place_find(im, body) == im->place_count)
        rc = refuse(im, why, place.bucket, "the place in the stream of the worker that has sealed it is not there");
    if (rc == PST_OK)
        rc = opener_for(im, body, first, why);
    return rc == PST_OK ? piece_back(im, of, &place, body + PST_INCARNATION_BYTES,
                                     message->body_bytes - PST_INCARNATION_BYTES, why)
                        : rc;
}
int pst_images_end(struct pst_images *im, const struct pst_images_of *of, const struct pst_message *message,
                   char why[PST_SENTENCE_BYTES_MAX])
{
    if (im->whole)
        return PST_EDATA;
    im->begun = true;
    if (im->open)
        return refuse(im, why, im->bucket, "something of it is missing");
    for (uint32_t i = 0; i < of->owned_count; i++)
        if ((im->done[of->buckets[i] / 8] >> of->buckets[i] % 8 & 1) == 0)
            return refuse(im, why, of->buckets[i], "it was not given back");
    if (of->owned_count != 0 && (im->of_checkpoint != (uint64_t)message->limit || im->of_cut != message->time)) {
        (void)snprintf(why, PST_SENTENCE_BYTES_MAX, "what was given back is of checkpoint %" PRIu64 ", not of %" PRIu64,
                       im->of_checkpoint, (uint64_t)message->limit);
        return PST_EREFUSED;
    }
    for (uint32_t i = 0; i < im->place_count; i++)
        if (im->places[i].bucket_count == 0)
            return refuse(im, why, 0, "the place in the stream is there of a worker that has sealed nothing of it");
    if (of->state != NULL)
        pst_state_restore_end(of->state, im->changed_max + 1);
    im->checkpoint = (uint64_t)message->limit;
    im->whole = true;
    pst_sealer_free(im->opener);
    im->opener = NULL;
    return PST_OK;
}

/* ---- buckets that move ---- */

int pst_images_new_of_move(const struct pst_inside_settings *settings, const uint8_t key[PST_SECRET_BYTES],
                           const uint8_t incarnation[PST_INCARNATION_BYTES], uint64_t move, bool gives,
                           struct pst_images **ret_images)
{
    struct pst_secret *secret = NULL;
    struct pst_images *im = pst_aligned(8, sizeof *im);
    int rc = im != NULL ? pst_secret_new(&secret) : PST_ENOMEM;
    if (rc != PST_OK) {
        pst_free(im);
        return rc;
    }
    memset(im, 0, sizeof *im);
    memcpy(pst_secret_bytes(secret), key, PST_SECRET_BYTES);
    im->settings = settings;
    im->move = im->checkpoint = move;
    im->opened = true; /* there is one key */
    rc = (gives ? pst_sealer_new : pst_sealer_new_to_open)(secret, settings->graph, PST_SEAL_TRANSFER, incarnation, 1,
                                                           &settings->config->id, &settings->config->bucket_count,
                                                           gives ? &im->sealer : &im->opener);
    pst_secret_free(secret);
    if (rc == PST_OK)
        *ret_images = im;
    else
        pst_images_free(im);
    return rc;
}

int pst_images_bucket_out(struct pst_images *im, const struct pst_images_of *of, uint32_t bucket, int64_t cut)
{
    const struct pst_message asked = {.limit = (int64_t)im->move, .time = cut};
    if (has_bit(im->done, bucket))
        return PST_EDATA;
    im->done[bucket / 8] |= (uint8_t)(1 << bucket % 8); /* whatever becomes of it: D4 */
    im->page_count = 0;
    int rc = shape_make(im, of->state);
    if (rc == PST_OK && of->state != NULL)
        rc = pst_state_image_bucket(of->state, bucket, 0, im->clear, page_out, im);
    if (rc == PST_OK)
        rc = index_out(im, of, bucket, &asked);
    pst_sealer_forget(im->sealer);
    return rc;
}

int pst_images_bucket_back(struct pst_images *im, const struct pst_images_of *of, const struct pst_message *message,
                           const uint8_t *body, char why[PST_SENTENCE_BYTES_MAX])
{
    struct pst_seal_place place = {message->port, (uint16_t)message->row_count, (uint16_t)(message->row_count >> 16),
                                   (uint64_t)message->limit, message->facts};
    int rc = bucket_begin(im, of, place.bucket, why);
    return rc == PST_OK ? piece_back(im, of, &place, body, message->body_bytes, why) : rc;
}

bool pst_images_has(const struct pst_images *im, uint32_t bucket) { return has_bit(im->done, bucket); }
bool pst_images_arrives(const struct pst_images *im, uint32_t bucket) { return has_bit(im->arriving, bucket); }

bool pst_images_arriving(const struct pst_images *im, uint32_t count, int64_t cut)
{
    return !im->open && count == im->arriving_count && (count == 0 || cut == im->of_cut);
}

void pst_images_arrived(struct pst_images *im)
{
    memset(im->arriving, 0, sizeof im->arriving);
    im->arriving_count = 0;
    im->of_checkpoint = 0;
}

static struct pst_seal_place other_place(const struct pst_images *im, uint64_t number)
{
    return (struct pst_seal_place){0, PST_PLACE_DIGESTS & 0xffff, PST_PLACE_DIGESTS >> 16, number, im->move};
}

int pst_images_piece_out(struct pst_images *im, uint64_t number, const void *bytes, uint32_t byte_count)
{
    struct pst_seal_place place = other_place(im, number);
    return piece_out(im, &place, bytes, byte_count);
}

int pst_images_piece_back(struct pst_images *im, const struct pst_message *message, const uint8_t *body,
                          const uint8_t **ret_bytes, uint32_t *ret_count)
{
    struct pst_seal_place place = other_place(im, (uint64_t)message->limit);
    *ret_bytes = im->clear;
    int rc = pst_unseal(im->opener, 0, &place, body, message->body_bytes, im->clear, sizeof im->clear, ret_count);
    return rc == PST_EABI ? PST_EREFUSED : rc;
}
