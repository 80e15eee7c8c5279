/* fuzz_sealed.c - a sealed stream, whatever its host makes of it: an answer. First byte 0: the bytes as they are, as a stream that a worker
 * is handed; 1: a key's release and the messages that ask for one; 2: what
 * a reader has saved; 3: rows of a carrier, as another node may send them; else: commands of 8 bytes, each of which becomes a capsule that is
 * sealed with the right key, so that what is behind the seal is reached, too. */
#include "enclave_shim/common/capsule.h"
#include "enclave_shim/inside/inside.h"
#include "engine/carry.h"
#include "engine/release.h"
#include "tests/enclave/tally.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *tally_try(const char *call)
{
    (void)call;
    return NULL;
}

enum { SESSIONS = 4, COMMAND_BYTES = 8, PRODUCER_BUCKETS = 3 };

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
    EVP_CIPHER_CTX *ciphers[SESSIONS];
    uint64_t sequence[SESSIONS], marks[SESSIONS], sent[SESSIONS][TALLY_BUCKETS];
    int64_t time[SESSIONS];
    uint64_t sum;
};

static int emit(void *emitter, struct pst_message *message, const struct pst_piece *pieces, uint32_t piece_count)
{
    struct scene *scene = emitter;
    for (uint32_t i = 0; i < piece_count; i++)
        for (uint32_t k = 0; k < pieces[i].byte_count; k++)
            scene->sum += ((const uint8_t *)pieces[i].bytes)[k]; /* all of it may be read */
    scene->sum += message->kind;
    return PST_OK;
}

static void must(bool good)
{
    if (!good)
        abort();
}

static int give(struct scene *scene, uint32_t kind, const void *bytes, size_t count)
{
    static uint64_t body[PST_BODY_BYTES_MAX / 8 + 1];
    struct pst_message message = {.kind = kind, .body_bytes = (uint32_t)count};
    memcpy(body, bytes, count);
    return pst_inside_sealed_take(scene->sealed, &message, (uint8_t *)body);
}

static void scene_init(struct scene *scene)
{
    static const uint8_t digest[PST_CONFIG_DIGEST_BYTES] = {5};
    const uint8_t root[32] = {1}, own[32] = {2}, evidence[32] = {3};
    uint8_t secret[32] = {4}, public[32], release[PST_RELEASE_BYTES];
    char why[PST_SENTENCE_BYTES_MAX];
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, "");
    memset(scene->owned, 0x5f, sizeof scene->owned);
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
                                                  .emit = emit,
                                                  .emitter = scene};
    memcpy(settings.channel_secret, secret, sizeof secret);
    must(pst_inside_sealed_new(&settings, &scene->sealed) == PST_OK);
    struct pst_inside_settings inside = {.op = &tally,
                                         .config = &scene->config,
                                         .owned = scene->owned,
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
        must(pst_capsule_cipher(&scene->keys, &scene->edge, salt, true, &scene->ciphers[s]) == PST_OK);
    }
}

static void scene_fini(struct scene *scene)
{
    pst_inside_sealed_free(scene->sealed);
    pst_inside_free(scene->inside);
    for (uint32_t s = 0; s < SESSIONS; s++)
        EVP_CIPHER_CTX_free(scene->ciphers[s]);
}

/* Of command c: 0 session, and whether it is a mark; 1 bucket; 2 and 3 what is wrong about sequence and number; 4 time; 5 rows; 6 flags of a
 * mark, and for which buckets of the producer it stands; 7 what is wrong about the counts, or which session it goes on from. */
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
        capsule.flags = c[6] & (PST_CAPSULE_ENDS | PST_CAPSULE_CONTINUES);
        capsule.body_bytes = pst_mark_bytes(&scene->edge);
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
    int rc = pst_sealed_reader_load(reader, data, size, &used);
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
