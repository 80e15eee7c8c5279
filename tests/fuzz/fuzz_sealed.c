/* fuzz_sealed.c - a sealed stream, whatever its host makes of it: an answer. First byte 0: the bytes as they are, as a stream that a worker
 * is handed; 1: a key's release and the messages that ask for one; 2: what
 * a reader has saved; 3: rows of a carrier, as another node may send them; 4: the places of two workers in their stream, as they were but for
 * changes of 4 bytes each, sealed with the right key, and buckets of both for a third; else: commands of 8 bytes, each of which becomes a
 * capsule that is sealed with the right key, so that what is behind the seal is reached, too. */
#include "base/gcm.h"
#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/image.h"
#include "enclave_shim/inside/inside.h"
#include "engine/carry.h"
#include "engine/release.h"
#include "tests/enclave/tally.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *tally_try(const char *call)
{
    (void)call;
    return NULL;
}

enum { SESSIONS = 4, COMMAND_BYTES = 8, PRODUCER_BUCKETS = 3, PIECES_MAX = 64, CHANGE_BYTES = 4 };

struct piece {
    struct pst_message message;
    uint8_t bytes[PST_PIECE_INCARNATION_BYTES + PST_PIECE_BYTES_MAX];
};
struct image {
    struct piece pieces[PIECES_MAX];
    uint32_t count;
};

struct scene {
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_enclave_sealing sealing;
    struct pst_enclave_sealed_output out;
    uint8_t owned[PST_BOOT_BUCKETS_MAX / 8];
    uint8_t salts[1][32];
    struct pst_inside *inside;
    struct pst_inside_sealed *sealed;
    struct pst_sealed_keys keys;
    struct pst_sealed_edge edge;
    struct pst_gcm *ciphers[SESSIONS];
    uint64_t sequence[SESSIONS], marks[SESSIONS], sent[SESSIONS][TALLY_BUCKETS];
    int64_t time[SESSIONS];
    uint64_t sum;
    struct pst_secret *room; /* with images */
    struct image *image;     /* that is being made */
};

static void must(bool good)
{
    if (!good)
        abort();
}

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *scene = emitter;
    struct image *image = scene->image;
    if (image != NULL && message->kind == PST_MESSAGE_PIECE) {
        struct piece *piece = &image->pieces[image->count++];
        if (image->count > PIECES_MAX)
            abort();
        piece->message = *message;
        piece->message.kind = PST_MESSAGE_RESTORE;
        piece->message.body_bytes = PST_PIECE_INCARNATION_BYTES +
                                    pst_pieces_write(pieces, piece_count, piece->bytes + PST_PIECE_INCARNATION_BYTES);
    } else if (image != NULL && message->kind == PST_MESSAGE_IMAGED) {
        for (uint32_t i = 0; i < image->count; i++)
            memcpy(image->pieces[i].bytes, pieces[0].bytes, PST_PIECE_INCARNATION_BYTES);
    }
    for (uint32_t i = 0; i < piece_count; i++)
        for (uint32_t k = 0; k < pieces[i].byte_count; k++)
            scene->sum += ((const uint8_t *)pieces[i].bytes)[k]; /* all of it may be read */
    scene->sum += message->kind;
    return PST_OK;
}

static int give(struct scene *scene, uint32_t kind, const void *bytes, size_t count)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8 + 1];
    struct pst_message message = {.kind = kind, .body_bytes = (uint32_t)count};
    memcpy(body, bytes, count);
    return pst_inside_sealed_take(scene->sealed, &message, (uint8_t *)body);
}

/* drawn: by the worker, with whom there are images then; 0: there are none, and nobody tells it times. */
static void scene_with(struct scene *scene, uint8_t drawn, uint8_t owned)
{
    static const uint8_t digest[PST_CONFIG_DIGEST_BYTES] = {5};
    const uint8_t root[32] = {1}, own[32] = {2}, evidence[32] = {3};
    uint8_t secret[32] = {4}, public[32], release[PST_RELEASE_BYTES];
    char why[PST_SENTENCE_BYTES_MAX];
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, "");
    memset(scene->owned, owned, sizeof scene->owned);
    scene->salts[0][1] = drawn;
    must(drawn == 0 || pst_secret_new(&scene->room) == PST_OK);
    scene->out = (struct pst_enclave_sealed_output){
        .name = "sums.0>next.0", .number = 1, .bucket_count = 4, .key_count = 1, .used_count = 2, .used = {0, 1}};
    scene->sealing = (struct pst_enclave_sealing){
        .inputs = {{"rows.0>sums.0", 0, PRODUCER_BUCKETS}}, .edge_count = 1, .edges = &scene->out};
    scene->config.sealing = &scene->sealing;
    struct pst_inside_sealed_settings settings = {.config = &scene->config,
                                                  .config_digest = digest,
                                                  .owned = scene->owned,
                                                  .salts = scene->salts,
                                                  .held_bytes_max = 64 * 1024,
                                                  .paced = drawn != 0,
                                                  .emit = emit,
                                                  .emitter = scene};
    memcpy(settings.channel_secret, secret, sizeof secret);
    must(pst_inside_sealed_new(&settings, &scene->sealed) == PST_OK);
    struct pst_inside_settings inside = {.op = &tally,
                                         .config = &scene->config,
                                         .owned = scene->owned,
                                         .image_room = scene->room,
                                         .image_incarnation = {drawn},
                                         .emit = pst_inside_sealed_emit,
                                         .emitter = scene->sealed};
    must(pst_inside_new(&inside, &scene->inside, why) == PST_OK);
    pst_inside_sealed_serve(scene->sealed, scene->inside);
    must(pst_channel_key_public(secret, public) == PST_OK);
    must(pst_release_seal(root, scene->config.sealing->graph, own, public, evidence, release) == PST_OK);
    must(give(scene, PST_MESSAGE_RELEASE, release, sizeof release) == PST_OK);
    must(pst_sealed_keys_init(&scene->keys, root) == PST_OK);
    scene->edge = (struct pst_sealed_edge){.name = "rows.0>sums.0",
                                           .producer_bucket_count = PRODUCER_BUCKETS,
                                           .bucket_count = TALLY_BUCKETS,
                                           .keyed = true,
                                           .part_count = 4,
                                           .part_bytes = {8, 8, 4, 8}};
    for (uint8_t s = 0; s < SESSIONS; s++) {
        const uint8_t salt[PST_CAPSULE_SALT_BYTES] = {s};
        must(pst_capsule_cipher(&scene->keys, &scene->edge, salt, &scene->ciphers[s]) == PST_OK);
    }
}

static void scene_init(struct scene *scene) { scene_with(scene, 0, 0x5f); }

static void scene_fini(struct scene *scene)
{
    pst_inside_sealed_free(scene->sealed);
    pst_inside_free(scene->inside);
    pst_secret_free(scene->room);
    for (uint32_t s = 0; s < SESSIONS; s++)
        pst_gcm_free(scene->ciphers[s]);
}

/* Of command c: 0 session, and whether it is a mark; 1 bucket; 2 and 3 what is wrong about sequence and number; 4 time; 5 rows; 6 flags of a
 * mark, and for which buckets of the producer it stands; 7 what is wrong about the counts, or which sessions it goes on from. */
static size_t capsule_make(struct scene *scene, const uint8_t c[COMMAND_BYTES], uint8_t *at)
{
    uint32_t s = c[0] % SESSIONS;
    bool mark = (c[0] & 0x80) != 0;
    struct pst_capsule capsule = {.kind = mark ? PST_CAPSULE_MARK : PST_CAPSULE_ROWS,
                                  .bucket = mark ? 0 : c[1] % (TALLY_BUCKETS + 2),
                                  .sequence = scene->sequence[s]++ + c[2] % 3,
                                  .time = scene->time[s] + (mark ? (int8_t)c[4] : 0),
                                  .salt = {(uint8_t)s}};
    uint8_t *body = at + sizeof capsule;
    if (mark) {
        struct pst_mark of = {
            .input_end = c[4], .sequence = scene->sequence[c[7] % SESSIONS], .salt = {c[7] % SESSIONS}};
        uint64_t cover = c[6] >> 4;
        capsule.number = scene->marks[s]++ + c[3] % 2;
        bool several = (c[6] & PST_CAPSULE_CONTINUES) != 0 && (c[6] & PST_CAPSULE_SEVERAL) != 0;
        uint32_t other = c[7] >> 2 & 3, others = several ? 1 + (c[7] >> 4 & 3) : 0;
        capsule.flags = (c[6] & (PST_CAPSULE_ENDS | PST_CAPSULE_CONTINUES)) | (several ? PST_CAPSULE_SEVERAL : 0);
        capsule.body_bytes = pst_mark_bytes(&scene->edge) + others * PST_ORIGIN_BYTES;
        for (uint32_t i = 0; i < others; i++) {
            uint8_t *origin = body + pst_mark_bytes(&scene->edge) + i * PST_ORIGIN_BYTES;
            uint32_t from = (other + i) % SESSIONS;
            memset(origin, 0, PST_ORIGIN_BYTES);
            memcpy(origin, &scene->sequence[from], sizeof scene->sequence[from]);
            origin[8] = (uint8_t)from;
        }
        memcpy(body, &of, sizeof of);
        memcpy(body + sizeof of, &cover, sizeof cover);
        memcpy(body + sizeof of + sizeof cover, scene->sent[s], sizeof scene->sent[s]);
        body[sizeof of + sizeof cover] ^= c[7] >> 7;
        scene->time[s] = capsule.time;
    } else {
        uint32_t n = c[5] % 100 + 1;
        uint64_t row[4][128];
        capsule.number = capsule.bucket < TALLY_BUCKETS ? scene->sent[s][capsule.bucket]++ + c[3] % 2 : 0;
        capsule.row_count = n;
        capsule.body_bytes = 16 * n + (4 * n + 7) / 8 * 8 + 8 * n;
        for (uint32_t i = 0; i < n; i++) {
            row[0][i] = (uint64_t)(scene->time[s] + (int64_t)(i % (c[4] + 1u)));
            row[1][i] = capsule.bucket;
            row[2][i] = row[3][i] = i;
        }
        memset(body, 0, capsule.body_bytes);
        memcpy(body, row[0], 8 * n);
        memcpy(body + 8 * n, row[1], 8 * n);
        memcpy(body + 16 * n, row[2], 4 * n);
    }
    memcpy(at, &capsule, sizeof capsule);
    must(pst_capsule_seal(scene->ciphers[s], at) == PST_OK);
    return pst_capsule_bytes(&capsule);
}

static void commands(struct scene *scene, const uint8_t *data, size_t size)
{
    static uint8_t bytes[2 * PST_CAPSULE_BYTES_MAX];
    int rc = PST_OK;
    while (size >= COMMAND_BYTES && rc == PST_OK) {
        size_t count = capsule_make(scene, data, bytes);
        rc = give(scene, PST_MESSAGE_SEALED, bytes, count);
        data += COMMAND_BYTES;
        size -= COMMAND_BYTES;
    }
    if (rc != PST_OK && pst_inside_sealed_why(scene->sealed)[0] == '\0')
        abort(); /* of a stream that is refused it is said why */
}

static void release(const uint8_t *data, size_t size)
{
    const uint8_t secret[32] = {4};
    uint8_t root[32];
    release_kind kind;
    const uint8_t *body;
    size_t count;
    if (pst_release_open(data, size, (const uint8_t[32]){0}, secret, root) == PST_OK)
        abort(); /* nobody has made one for this worker */
    if (pst_release_read(data, size, &kind, &body, &count) == PST_OK && count != 0 && body + count != data + size)
        abort();
}

/* What a reader has saved, with whatever has become of it: loaded wholly, or refused. */
static void saved(struct scene *scene, const uint8_t *data, size_t size)
{
    struct pst_sealed_reader *reader;
    size_t used = 0;
    must(pst_sealed_reader_new(
             &(struct pst_sealed_reader_settings){
                 .keys = &scene->keys, .edge = &scene->edge, .held_bytes_max = 64 * 1024, .frame_rows = 16},
             &reader) == PST_OK);
    int rc = pst_sealed_reader_load(reader, data, size, NULL, &used);
    if (rc == PST_OK) {
        struct pst_text again = {0};
        must(used <= size && pst_sealed_reader_save(reader, &again) == PST_OK && again.count == used);
        pst_text_fini(&again);
    }
    (void)pst_sealed_reader_watermark(reader);
    (void)pst_sealed_reader_first(reader);
    pst_sealed_reader_free(reader);
}

/* Rows of a carrier: 8 bytes of place, then as many of a row as there are. */
static void carried(const uint8_t *data, size_t size)
{
    static uint8_t bytes[CARRY_GATHER_BYTES];
    struct carry_gather gather = {.bytes = bytes};
    struct pst_capsule capsule;
    uint64_t words[CARRY_WORDS];
    const void *columns[CARRY_WORDS];
    size_t whole = 0;
    if (pst_carry_whole((const char *)data, size, &whole) == PST_OK)
        must(whole <= size);
    for (uint32_t w = 0; w < CARRY_WORDS; w++)
        columns[w] = &words[w];
    while (size >= sizeof(uint64_t)) {
        struct carry_place place = {0};
        uint64_t word;
        memcpy(&word, data, sizeof word);
        data += sizeof word;
        size -= sizeof word;
        size_t n = size < sizeof words ? size : sizeof words;
        memset(words, 0, sizeof words);
        memcpy(words, data, n);
        data += n;
        size -= n;
        if (pst_carry_place_read(word, &place) != PST_OK)
            continue;
        int rc = pst_carry_gather(&gather, place.first, columns, 0, &capsule);
        must(rc == PST_EDATA || gather.count <= CARRY_GATHER_BYTES);
        must(rc != PST_OK || pst_capsule_bytes(&capsule) <= CARRY_GATHER_BYTES);
    }
}

/* ---- places ---- */

enum { CUT = 10, CHECKPOINT = 1 };

static int tell(struct scene *scene, uint32_t kind, int64_t t)
{
    struct pst_message message = {.kind = kind, .time = t, .limit = kind == PST_MESSAGE_TIME ? t : (int64_t)CHECKPOINT};
    return pst_inside_sealed_take(scene->sealed, &message, NULL);
}

/* What a worker of these buckets knows at the cut, with rows that wait. */
static void place_make(uint8_t drawn, uint8_t owned, struct pst_text *ret_place)
{
    static const uint8_t begins[COMMAND_BYTES] = {0x80, 0, 0, 0, 0, 0, 0x70, 0},
                         reaches[] = {0x80, 0, 0, 0, 100, 0, 0x70, 0};
    static uint8_t bytes[PST_CAPSULE_BYTES_MAX];
    static struct scene scene, again;
    static struct image image;
    image.count = 0;
    scene_with(&scene, drawn, owned);
    must(give(&scene, PST_MESSAGE_SEALED, bytes, capsule_make(&scene, begins, bytes)) == PST_OK);
    for (uint8_t b = 0; b < 8; b++) {
        const uint8_t rows[COMMAND_BYTES] = {0, b, 0, 0, 40, 60, 0, 0};
        size_t count = capsule_make(&scene, rows, bytes);
        if ((owned >> b & 1) != 0)
            must(give(&scene, PST_MESSAGE_SEALED, bytes, count) == PST_OK);
    }
    must(give(&scene, PST_MESSAGE_SEALED, bytes, capsule_make(&scene, reaches, bytes)) == PST_OK);
    must(tell(&scene, PST_MESSAGE_TIME, CUT) == PST_OK);
    scene.image = &image;
    must(tell(&scene, PST_MESSAGE_IMAGE, CUT) == PST_OK);
    scene_fini(&scene);
    scene_with(&again, (uint8_t)(drawn + 100), owned);
    for (uint32_t i = 0; i < image.count; i++)
        must(pst_inside_take(again.inside, &image.pieces[i].message, image.pieces[i].bytes) == PST_OK);
    must(pst_inside_place_count(again.inside) == 1);
    const struct pst_text *place = pst_inside_place(again.inside, 0);
    must(pst_text_add(ret_place, place->bytes, place->count) == PST_OK);
    scene_fini(&again);
}

/* Changes: a length that is cut off, or 2 bytes of where, a byte, and whether it is put there or added. */
static void place_seal(uint8_t drawn, uint8_t owned, const struct pst_text *as_it_was, const uint8_t *data, size_t size,
                       struct image *ret_image)
{
    static struct scene scene;
    struct pst_message message = {.kind = PST_MESSAGE_IMAGE, .time = CUT, .limit = CHECKPOINT};
    struct pst_text place = {0};
    must(pst_text_add(&place, as_it_was->bytes, as_it_was->count) == PST_OK);
    for (; size >= CHANGE_BYTES; data += CHANGE_BYTES, size -= CHANGE_BYTES) {
        size_t at = (size_t)data[0] | (size_t)data[1] << 8;
        if (at >= place.count)
            continue;
        if (data[3] == 0xff && at > 4)
            place.count = at;
        else
            place.bytes[at] = (char)((data[3] & 1) != 0 ? data[2] : (uint8_t)place.bytes[at] + data[2]);
    }
    ret_image->count = 0;
    scene_with(&scene, drawn, owned);
    scene.image = ret_image;
    pst_inside_extra(scene.inside, &place);
    must(pst_inside_take(scene.inside, &message, NULL) == PST_OK);
    scene_fini(&scene);
    pst_text_fini(&place);
}

/* All of one image, or the half that the worker has. */
static int image_give(struct scene *scene, const struct image *image, bool places)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8 + 1];
    int rc = PST_OK;
    for (uint32_t i = 0; i < image->count && rc == PST_OK; i++) {
        struct pst_message message = image->pieces[i].message;
        bool is_place = (uint16_t)message.row_count == PST_EXTRA_STRUCTURE;
        if (is_place != places || (!places && (scene->owned[message.port / 8] >> message.port % 8 & 1) == 0))
            continue;
        memcpy(body, image->pieces[i].bytes, message.body_bytes);
        rc = pst_inside_sealed_take(scene->sealed, &message, (uint8_t *)body);
    }
    return rc;
}

static void places(const uint8_t *data, size_t size)
{
    static const uint8_t halves[2] = {0x0f, 0xf0};
    static struct pst_text as_it_was[2];
    static struct image images[2];
    static struct scene scene;
    size_t half = size / 2;
    for (uint8_t i = 0; i < 2; i++) {
        if (as_it_was[i].count == 0)
            place_make((uint8_t)(1 + i), halves[i], &as_it_was[i]);
        place_seal((uint8_t)(11 + i), halves[i], &as_it_was[i], i == 0 ? data : data + half, half, &images[i]);
    }
    scene_with(&scene, 21, 0x3c);
    int rc = PST_OK;
    for (uint32_t i = 0; i < 4 && rc == PST_OK; i++)
        rc = image_give(&scene, &images[i % 2], i < 2);
    if (rc == PST_OK)
        rc = tell(&scene, PST_MESSAGE_RESTORED, CUT);
    must(rc == PST_OK ||
         pst_inside_sealed_why(scene.sealed)[0] != '\0'); /* of a place that is refused it is said why */
    must(rc == PST_OK || half >= CHANGE_BYTES);           /* without changes it is taken */
    if (rc == PST_OK)
        (void)tell(&scene, PST_MESSAGE_TIME, 2 * CUT);
    scene_fini(&scene);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scene scene;
    if (size < 2 || size > PST_ENCLAVE_CAPSULES_BYTES_MAX)
        return 0;
    if (data[0] == 1) {
        release(data + 1, size - 1);
        return 0;
    }
    if (data[0] == 3) {
        carried(data + 1, size - 1);
        return 0;
    }
    if (data[0] == 4) {
        places(data + 1, size - 1);
        return 0;
    }
    scene_init(&scene);
    if (data[0] == 2)
        saved(&scene, data + 1, size - 1);
    else if (data[0] == 0)
        (void)give(&scene, data[1] == 0 ? PST_MESSAGE_RELEASE : PST_MESSAGE_SEALED, data + 1, size - 1);
    else
        commands(&scene, data + 1, size - 1);
    scene_fini(&scene);
    return 0;
}
