/* store_log.c - the embedded store's file: the map as it was when the file was made, and every commit since.
 *
 * The file's header, 64 bytes, little endian:
 *    0 u32 magic "PSTL"    4 u16 version 1    6 u16 zero
 *    8 8 bytes: whose key (pst_secret_id())   16 32 bytes: the incarnation   48 16 bytes of zero
 * Behind it entries, each a sealed piece as state/seal.h lays it out: kind = pst_store_log_kind; number = 0, 1, 2 ... in the file;
 * page version = how many bytes of the file were on the disk for certain before the entry was written. In clear an entry is the
 * tag of the entry before it (zeros for the first), then its changes:
 *    0 u64 version that results, 0: removed    8 u32 bytes    12 u16 bytes of the path    14 u16 flags: bit 0 bound, no other
 *   16 path, bytes
 *
 * Key and nonce. An incarnation is drawn for one file, by the process that makes it, and a file that is found is only read: who
 * opens a store makes a new file. So what seal.c says of sealers holds for files, and nothing is kept that a restart would forget.
 *
 * Order. Number and kind are associated data, and the tag of the entry before is inside the seal. So an entry that is dropped,
 * swapped, repeated, or put back after its number was given to another, is noticed at the next one. What nobody can notice from
 * the file alone: that its end, or all of it, was put back to an earlier day.
 *
 * The end. What is written and not synced yet, a crash may leave whole, in part, or with holes: one batch at most, and the mark
 * before it. So bytes that are no entry are the torn end, and are cut off, unless an entry stands behind them that was written when
 * they were on the disk already: then somebody has damaged them. So that the last commits have such an entry behind them too,
 * a mark follows each sync, which no sync waits for. Damage to it costs nothing. */
#include "migration/store_inside.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOG_MAGIC 0x4c545350u /* "PSTL" */

enum {
    LOG_VERSION = 1,
    CHANGE_BYTES = 16,
    FLAG_BOUND = 1,
    MAP_ENTRY_BYTES = 256 * 1024, /* an entry of the map is closed when it has so many */
    WINDOW_BYTES = 64 * 1024,
    CLEAR_BYTES_MAX = PST_STORE_LOG_TAG_BYTES +
                      PST_STORE_CHANGES_MAX * (CHANGE_BYTES + PST_STORE_PATH_BYTES + PST_STORE_RECORD_BYTES_MAX),
    TAIL_BYTES_MAX = 64 * 1024 * 1024, /* more than a batch and its marks can be */
};

struct log_header {
    uint32_t magic;
    uint16_t version, zero;
    uint8_t key_id[PST_SECRET_ID_BYTES];
    uint8_t incarnation[PST_INCARNATION_BYTES];
    uint64_t zero2[2];
};
static_assert(sizeof(struct log_header) == 64, "file layout");
static_assert(offsetof(struct log_header, incarnation) == 16, "file layout");
static_assert(offsetof(struct log_header, zero2) == 48, "file layout");

struct change_header {
    uint64_t version;
    uint32_t byte_count;
    uint16_t path_bytes, flags;
};
static_assert(sizeof(struct change_header) == CHANGE_BYTES, "file layout");
static_assert(offsetof(struct change_header, path_bytes) == 12, "file layout");

/* Of all stores' logs: where a sealer asks for a graph's digest and an operator, these stand, which no graph has. */
static const uint8_t log_digest[PST_GRAPH_DIGEST_BYTES] = "penstock store log 1";
static const char *const log_ids[] = {"store"};
static const uint32_t log_buckets[] = {1};

/* ---- what an entry says ---- */
int pst_store_log_begin(struct pst_text *clear)
{
    static const char zeros[PST_STORE_LOG_TAG_BYTES];
    return pst_text_add(clear, zeros, sizeof zeros);
}

int pst_store_log_encode(struct pst_text *clear, const char *path, uint64_t version, const void *bytes,
                         uint32_t byte_count, bool bound)
{
    struct change_header header = {.version = version,
                                   .byte_count = byte_count,
                                   .path_bytes = (uint16_t)strlen(path),
                                   .flags = bound ? FLAG_BOUND : 0};
    (void)pst_text_add(clear, (const char *)&header, sizeof header);
    (void)pst_text_add(clear, path, header.path_bytes);
    (void)pst_text_add(clear, bytes, byte_count);
    return clear->failed ? PST_ENOMEM : PST_OK;
}

int pst_store_log_decode(const uint8_t **at, const uint8_t *end, struct pst_store_log_change *ret_change)
{
    struct change_header header;
    size_t rest = (size_t)(end - *at);
    if (rest == 0)
        return PST_ENOENT;
    if (rest < sizeof header)
        return PST_EDATA;
    memcpy(&header, *at, sizeof header);
    rest -= sizeof header;
    bool removed = header.version == 0;
    if (header.path_bytes >= PST_STORE_PATH_BYTES || header.byte_count > PST_STORE_RECORD_BYTES_MAX ||
        (uint64_t)header.path_bytes + header.byte_count > rest || (header.flags & ~FLAG_BOUND) != 0 ||
        (removed && (header.byte_count != 0 || header.flags != 0)))
        return PST_EDATA;
    const uint8_t *path = *at + sizeof header;
    memcpy(ret_change->path, path, header.path_bytes);
    ret_change->path[header.path_bytes] = '\0';
    if (strlen(ret_change->path) != header.path_bytes || !pst_store_path_valid(ret_change->path))
        return PST_EDATA;
    ret_change->version = header.version;
    ret_change->bytes = path + header.path_bytes;
    ret_change->byte_count = header.byte_count;
    ret_change->bound = header.flags == FLAG_BOUND;
    *at = ret_change->bytes + header.byte_count;
    return PST_OK;
}

/* ---- writing ---- */
static int bytes_write(struct pst_store_log *log, const void *bytes, size_t byte_count)
{
    int rc = log->world->file_write(log->world->self, log->file, bytes, byte_count);
    if (rc == PST_OK)
        log->bytes += byte_count;
    return rc;
}

/* Draws the incarnation, and the sealer that is its only one. */
static int header_make(struct pst_store_log *log, const struct pst_secret *key, struct log_header *header)
{
    *header = (struct log_header){.magic = LOG_MAGIC, .version = LOG_VERSION};
    int rc = log->world->random(log->world->self, header->incarnation, sizeof header->incarnation);
    if (rc == PST_OK)
        rc = pst_secret_id(key, header->key_id);
    if (rc == PST_OK)
        rc = pst_sealer_new(key, log_digest, PST_SEAL_MANIFEST, header->incarnation, 1, log_ids, log_buckets,
                            &log->sealer);
    return rc;
}

/* A file that was created is written on wherever its writer stands, one that is continued at its end: only there can it be cut. */
static int file_make(struct pst_store_log *log, const char *path, const struct log_header *header)
{
    const struct pst_world *world = log->world;
    int rc = world->file_open(world->self, path, PST_OPEN_CREATE, &log->file);
    if (rc == PST_OK)
        rc = bytes_write(log, header, sizeof *header);
    if (rc != PST_OK)
        return rc;
    rc = world->file_close(world->self, log->file);
    log->file = NULL;
    return rc == PST_OK ? world->file_open(world->self, path, PST_OPEN_CONTINUE, &log->file) : rc;
}

static int waiting_write(struct pst_store_log *log)
{
    int rc = bytes_write(log, log->sealed.bytes, log->sealed.count);
    log->sealed.count = 0;
    return rc;
}

static int entry_write(struct pst_store_log *log, pst_store_log_kind kind, struct pst_text *clear)
{
    int rc = pst_store_log_add(log, kind, clear);
    if (rc == PST_OK)
        rc = waiting_write(log);
    clear->count = 0;
    return rc;
}

static int map_write(struct pst_store_log *log, const struct pst_store_map *map)
{
    struct pst_text clear = {0};
    int rc = PST_OK;
    for (uint32_t i = 0; i < map->count && rc == PST_OK; i++) {
        const struct pst_store_record *record = map->records[i];
        if (clear.count == 0)
            rc = pst_store_log_begin(&clear);
        if (rc == PST_OK)
            rc = pst_store_log_encode(&clear, record->path, record->version, record->bytes, record->byte_count,
                                      record->bound);
        if (rc == PST_OK && (clear.count >= MAP_ENTRY_BYTES || i == map->count - 1))
            rc = entry_write(log, PST_STORE_LOG_RECORDS, &clear);
    }
    log->synced_bytes = log->bytes; /* nobody reads the file by its name before it is */
    if (rc == PST_OK)
        rc = pst_store_log_begin(&clear);
    if (rc == PST_OK)
        rc = entry_write(log, PST_STORE_LOG_MARK, &clear);
    pst_text_fini(&clear);
    return rc;
}

int pst_store_log_create(struct pst_store_log *log, struct pst_world *world, const char *path,
                         const struct pst_secret *key, const struct pst_store_map *map)
{
    struct log_header header;
    *log = (struct pst_store_log){.world = world};
    int rc = header_make(log, key, &header);
    if (rc == PST_OK)
        rc = file_make(log, path, &header);
    if (rc == PST_OK)
        rc = map_write(log, map);
    if (rc == PST_OK)
        rc = world->file_sync(world->self, log->file);
    if (rc != PST_OK) {
        pst_store_log_fini(log);
        return rc;
    }
    log->synced_bytes = log->bytes;
    return PST_OK;
}

void pst_store_log_fini(struct pst_store_log *log)
{
    if (log->file != NULL) /* what had to be on the disk was synced */
        (void)log->world->file_close(log->world->self, log->file);
    pst_sealer_free(log->sealer);
    pst_text_fini(&log->sealed);
    *log = (struct pst_store_log){0};
}

static int sealed_reserve(struct pst_text *sealed, size_t more)
{
    if (sealed->capacity - sealed->count >= more)
        return PST_OK;
    char *bytes = pst_realloc(sealed->bytes, sealed->count + more);
    if (bytes == NULL)
        return PST_ENOMEM;
    sealed->bytes = bytes;
    sealed->capacity = sealed->count + more;
    return PST_OK;
}

int pst_store_log_add(struct pst_store_log *log, pst_store_log_kind kind, struct pst_text *clear)
{
    const struct pst_seal_place place = {.kind = (uint16_t)kind, .number = log->number, .version = log->synced_bytes};
    size_t bound = pst_seal_bound((uint32_t)clear->count), sealed_bytes;
    PST_ASSERT(clear->count >= PST_STORE_LOG_TAG_BYTES && clear->count <= CLEAR_BYTES_MAX);
    int rc = sealed_reserve(&log->sealed, bound);
    if (rc != PST_OK)
        return rc;
    memcpy(clear->bytes, log->tag, sizeof log->tag);
    char *to = log->sealed.bytes + log->sealed.count;
    rc = pst_seal(log->sealer, 0, &place, false, clear->bytes, (uint32_t)clear->count, to, bound, &sealed_bytes);
    if (rc != PST_OK)
        return rc;
    log->sealed.count += sealed_bytes;
    memcpy(log->tag, to + sealed_bytes - sizeof log->tag, sizeof log->tag);
    log->number++;
    return PST_OK;
}

void pst_store_log_forget(struct pst_store_log *log, uint64_t number, const uint8_t tag[PST_STORE_LOG_TAG_BYTES])
{
    log->sealed.count = 0;
    log->number = number;
    memcpy(log->tag, tag, sizeof log->tag);
}

/* Behind what was just synced. A mark that cannot be written is one that is missing; half of one must not stay before the next entry. */
static bool mark_write(struct pst_store_log *log)
{
    struct pst_text clear = {0};
    uint64_t number = log->number;
    uint8_t tag[PST_STORE_LOG_TAG_BYTES];
    memcpy(tag, log->tag, sizeof tag);
    int rc = pst_store_log_begin(&clear);
    if (rc == PST_OK)
        rc = entry_write(log, PST_STORE_LOG_MARK, &clear);
    pst_text_fini(&clear);
    if (rc == PST_OK)
        return true;
    pst_store_log_forget(log, number, tag);
    return log->world->file_cut(log->world->self, log->file, log->bytes) == PST_OK;
}

int pst_store_log_flush(struct pst_store_log *log, bool *ret_usable)
{
    const struct pst_world *world = log->world;
    int rc = waiting_write(log);
    *ret_usable = false;
    if (rc != PST_OK) {
        /* Entries of it may be whole in the file, and would count when it is read: not said to be gone before they are for certain. */
        bool gone = world->file_cut(world->self, log->file, log->bytes) == PST_OK &&
                    world->file_sync(world->self, log->file) == PST_OK;
        *ret_usable = gone;
        return gone ? rc : PST_ETIMEOUT;
    }
    if (world->file_sync(world->self, log->file) != PST_OK)
        return PST_ETIMEOUT; /* asked again, the system would say yes: what it could not write it has forgotten */
    log->synced_bytes = log->bytes;
    *ret_usable = mark_write(log);
    return PST_OK;
}

/* ---- reading ---- */
struct reader {
    struct pst_world *world;
    const char *path;
    struct pst_file *file;
    uint64_t size, at;
    struct pst_sealer *sealer;
    uint64_t number;
    uint8_t tag[PST_STORE_LOG_TAG_BYTES];
    bool whole; /* the map that the file begins with */
    uint8_t *piece, *clear;
    size_t piece_capacity, clear_capacity;
    struct pst_seal_header header; /* of the entry that was opened last, */
    size_t entry_bytes;            /* its bytes in the file, */
    uint32_t clear_bytes;          /* and in clear */
    char *why;
};

static int refuse(struct reader *reader, const char *what)
{
    (void)snprintf(reader->why, 200, "%s, at byte %" PRIu64 ": %s", reader->path, reader->at, what);
    return PST_EREFUSED;
}

static int buffer_reserve(uint8_t **buffer, size_t *capacity, size_t bytes)
{
    if (*capacity >= bytes)
        return PST_OK;
    uint8_t *larger = pst_realloc(*buffer, bytes);
    if (larger == NULL)
        return PST_ENOMEM;
    *buffer = larger;
    *capacity = bytes;
    return PST_OK;
}

static int bytes_read(const struct reader *reader, uint64_t at, void *bytes, size_t byte_count)
{
    return reader->world->file_read_at(reader->world->self, reader->file, at, bytes, byte_count);
}

/* Opens the entry at `at`, whatever it says of itself. PST_EREFUSED: there is none. */
static int entry_open(struct reader *reader, uint64_t at)
{
    struct pst_seal_header *header = &reader->header;
    if (reader->size - at < PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES)
        return PST_EREFUSED;
    int rc = bytes_read(reader, at, header, sizeof *header);
    if (rc != PST_OK)
        return rc;
    reader->entry_bytes = PST_SEAL_HEADER_BYTES + (size_t)header->sealed_bytes + PST_SEAL_TAG_BYTES;
    if (reader->entry_bytes > reader->size - at || reader->entry_bytes > pst_seal_bound(CLEAR_BYTES_MAX) ||
        header->clear_bytes < PST_STORE_LOG_TAG_BYTES || header->clear_bytes > CLEAR_BYTES_MAX)
        return PST_EREFUSED;
    rc = buffer_reserve(&reader->piece, &reader->piece_capacity, reader->entry_bytes);
    if (rc == PST_OK)
        rc = buffer_reserve(&reader->clear, &reader->clear_capacity, header->clear_bytes);
    if (rc == PST_OK)
        rc = bytes_read(reader, at, reader->piece, reader->entry_bytes);
    if (rc != PST_OK)
        return rc;
    const struct pst_seal_place place = {
        .kind = header->kind, .number = header->number, .version = header->page_version};
    rc = pst_unseal(reader->sealer, 0, &place, reader->piece, reader->entry_bytes, reader->clear,
                    (uint32_t)reader->clear_capacity, &reader->clear_bytes);
    return rc == PST_EABI ? PST_EREFUSED : rc;
}

/* One change of a commit, or one record of the map. PST_EDATA: it does not follow from what is there. */
static int change_apply(struct reader *reader, struct pst_store_map *map, const struct pst_store_log_change *change)
{
    const struct pst_store_record *before = pst_store_map_find(map, change->path);
    uint64_t version = before != NULL ? before->version : 0;
    if (change->version == 0) {
        if (before == NULL || !reader->whole)
            return PST_EDATA;
        pst_store_map_remove(map, change->path);
        return PST_OK;
    }
    if (reader->whole ? change->version != version + 1 : before != NULL)
        return PST_EDATA;
    struct pst_store_record *record =
        pst_store_record_new(change->path, change->version, change->bytes, change->byte_count, change->bound);
    if (record == NULL || pst_store_map_reserve(map, 1) != PST_OK) {
        pst_free(record);
        return PST_ENOMEM;
    }
    pst_store_map_put(map, record);
    return PST_OK;
}

static int entry_apply(struct reader *reader, struct pst_store_map *map)
{
    const uint8_t *at = reader->clear + PST_STORE_LOG_TAG_BYTES, *end = reader->clear + reader->clear_bytes;
    pst_store_log_kind expected = reader->whole ? PST_STORE_LOG_COMMIT : PST_STORE_LOG_RECORDS;
    struct pst_store_log_change change;
    if (reader->header.number != reader->number || memcmp(reader->clear, reader->tag, sizeof reader->tag) != 0)
        return refuse(reader, "an entry does not follow the one before it: some were removed, moved or put back");
    bool mark = reader->header.kind == PST_STORE_LOG_MARK;
    bool can_be = mark ? at == end : reader->header.kind == expected;
    int rc = can_be ? PST_OK : PST_EDATA;
    reader->whole |= mark;
    while (rc == PST_OK) {
        rc = pst_store_log_decode(&at, end, &change);
        if (rc == PST_OK)
            rc = change_apply(reader, map, &change);
    }
    if (rc == PST_ENOMEM)
        return rc;
    if (rc != PST_ENOENT)
        return refuse(reader, "an entry says what cannot be");
    reader->number++;
    memcpy(reader->tag, reader->piece + reader->entry_bytes - sizeof reader->tag, sizeof reader->tag);
    reader->at += reader->entry_bytes;
    return PST_OK;
}

/* Whether an entry stands at `at` that was written when the bytes at reader->at were on the disk. */
static int is_later_entry(struct reader *reader, uint64_t at, bool *ret_is)
{
    struct pst_seal_header header;
    *ret_is = false;
    if (reader->size - at < PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES)
        return PST_OK;
    int rc = bytes_read(reader, at, &header, sizeof header);
    if (rc != PST_OK || header.page_version <= reader->at || header.page_version > at ||
        header.number <= reader->number)
        return rc;
    rc = entry_open(reader, at);
    *ret_is = rc == PST_OK;
    return rc == PST_EREFUSED ? PST_OK : rc;
}

static int window_look(struct reader *reader, uint64_t from, const uint8_t *window, size_t bytes)
{
    bool later = false;
    int rc = PST_OK;
    for (size_t i = 0; i + 4 <= bytes && rc == PST_OK && !later; i++)
        if (memcmp(window + i, "PSTS", 4) == 0) /* as every sealed piece begins */
            rc = is_later_entry(reader, from + i, &later);
    return later ? refuse(reader, "bytes were damaged that later entries found in order; restore the folder") : rc;
}

/* The bytes from reader->at on begin with no entry: the torn end, or damage? */
static int end_check(struct reader *reader)
{
    if (reader->size - reader->at > TAIL_BYTES_MAX)
        return refuse(reader, "bytes were damaged; what follows is longer than an end that a crash leaves");
    uint8_t *window = pst_malloc(WINDOW_BYTES);
    int rc = window != NULL ? PST_OK : PST_ENOMEM;
    for (uint64_t from = reader->at + 1; from < reader->size && rc == PST_OK; from += WINDOW_BYTES - 3) {
        uint64_t rest = reader->size - from;
        size_t bytes = rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
        rc = bytes_read(reader, from, window, bytes);
        if (rc == PST_OK)
            rc = window_look(reader, from, window, bytes);
    }
    pst_free(window);
    return rc;
}

static int header_read(struct reader *reader, const struct pst_secret *key)
{
    struct log_header header;
    uint8_t key_id[PST_SECRET_ID_BYTES];
    if (reader->size < sizeof header)
        return refuse(reader, "the file is too short to be a store");
    int rc = bytes_read(reader, 0, &header, sizeof header);
    if (rc == PST_OK)
        rc = pst_secret_id(key, key_id);
    if (rc != PST_OK)
        return rc;
    if (header.magic != LOG_MAGIC)
        return refuse(reader, "not a penstock store");
    if (header.version != LOG_VERSION || header.zero != 0 || header.zero2[0] != 0 || header.zero2[1] != 0)
        return refuse(reader, "another version of the format, or damaged");
    if (memcmp(header.key_id, key_id, sizeof key_id) != 0)
        return refuse(reader, "sealed under another key");
    reader->at = sizeof header;
    return pst_sealer_new_to_open(key, log_digest, PST_SEAL_MANIFEST, header.incarnation, 1, log_ids, log_buckets,
                                  &reader->sealer);
}

static int entries_read(struct reader *reader, struct pst_store_map *map)
{
    int rc = PST_OK;
    while (rc == PST_OK && reader->at < reader->size) {
        rc = entry_open(reader, reader->at);
        if (rc == PST_OK)
            rc = entry_apply(reader, map);
        else if (rc == PST_EREFUSED)
            break;
    }
    if (rc == PST_EREFUSED && reader->why[0] != '\0')
        return rc;
    if (rc != PST_OK && rc != PST_EREFUSED)
        return rc;
    /* The file got its name when it was whole up to here, and synced. */
    if (!reader->whole)
        return refuse(reader, "damaged, or cut short; restore the folder");
    return reader->at < reader->size ? end_check(reader) : PST_OK;
}

int pst_store_log_load(struct pst_world *world, const char *path, const struct pst_secret *key,
                       struct pst_store_map *map, char ret_why[200])
{
    struct reader reader = {.world = world, .path = path, .why = ret_why};
    ret_why[0] = '\0';
    int rc = world->file_open(world->self, path, PST_OPEN_READ, &reader.file);
    if (rc != PST_OK)
        return rc;
    rc = world->file_size(world->self, reader.file, &reader.size);
    if (rc == PST_OK)
        rc = header_read(&reader, key);
    if (rc == PST_OK)
        rc = entries_read(&reader, map);
    (void)world->file_close(world->self, reader.file);
    pst_sealer_free(reader.sealer);
    pst_free(reader.clear);
    pst_free(reader.piece);
    if (rc != PST_OK)
        pst_store_map_fini(map);
    return rc;
}
