/* fuzz_store.c - the embedded store's log: whatever the bytes, an answer; and a log that was changed is refused, or says what it once said.
 *
 * The first byte chooses how the bytes behind it are used: 'c' as the clear text of an entry, 'l' as a whole file, 'f' as a fence, anything
 * else as a change of a log that was written in order: two bytes say where. */
#include "migration/store_inside.h"

#include <stdlib.h>
#include <string.h>

/* The same of the fence. */
static void fence(const uint8_t *data, size_t size)
{
    struct pst_store_fence read;
    uint8_t again[PST_STORE_FENCE_BYTES];
    if (pst_store_fence_decode(data, size, &read) != PST_OK)
        return;
    pst_store_fence_encode(&read, again);
    if (size != sizeof again || memcmp(again, data, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 1 << 20 };

/* One file in memory is all there is. */
struct pst_file {
    int unused;
};
static struct pst_file file;
static uint8_t file_bytes[FILE_MAX];
static size_t file_count;

static int memory_random(void *self, void *bytes, size_t byte_count)
{
    (void)self;
    memset(bytes, 7, byte_count);
    return PST_OK;
}

static int memory_open(void *self, const char *path, pst_open_mode mode, struct pst_file **ret_file)
{
    (void)self;
    (void)path;
    if (mode == PST_OPEN_CREATE)
        file_count = 0;
    *ret_file = &file;
    return PST_OK;
}

static int memory_write(void *self, struct pst_file *to, const void *bytes, size_t byte_count)
{
    (void)self;
    (void)to;
    if (byte_count > FILE_MAX - file_count)
        abort();
    memcpy(file_bytes + file_count, bytes, byte_count);
    file_count += byte_count;
    return PST_OK;
}

static int memory_done(void *self, struct pst_file *of)
{
    (void)self;
    (void)of;
    return PST_OK;
}

static int memory_size(void *self, struct pst_file *of, uint64_t *ret_bytes)
{
    (void)self;
    (void)of;
    *ret_bytes = file_count;
    return PST_OK;
}

static int memory_read_at(void *self, struct pst_file *from, uint64_t offset, void *bytes, size_t byte_count)
{
    (void)self;
    (void)from;
    if (offset > file_count || byte_count > file_count - offset)
        abort(); /* the reader knows how long the file is */
    memcpy(bytes, file_bytes + offset, byte_count);
    return PST_OK;
}

static struct pst_world world = {.random = memory_random,
                                 .file_open = memory_open,
                                 .file_write = memory_write,
                                 .file_sync = memory_done,
                                 .file_close = memory_done,
                                 .file_size = memory_size,
                                 .file_read_at = memory_read_at};
static struct pst_secret *key;
static const char *const texts[] = {"", "first", "second", "third"}; /* of version 1, 2, 3 */

static void good(int rc)
{
    if (rc != PST_OK)
        abort();
}

/* A map with version 1 of "n", and two commits. */
static void log_write(void)
{
    struct pst_store_log log;
    struct pst_store_map map = {0};
    bool usable;
    good(pst_store_map_reserve(&map, 1));
    struct pst_store_record *record = pst_store_record_new("n", 1, texts[1], 5, false);
    if (record == NULL)
        abort();
    pst_store_map_put(&map, record);
    good(pst_store_log_create(&log, &world, "log", key, &map));
    for (uint64_t version = 2; version <= 3; version++) {
        struct pst_text clear = {0};
        good(pst_store_log_begin(&clear));
        good(pst_store_log_encode(&clear, "n", version, texts[version], (uint32_t)strlen(texts[version]), false));
        good(pst_store_log_add(&log, PST_STORE_LOG_COMMIT, &clear));
        good(pst_store_log_flush(&log, &usable));
        pst_text_fini(&clear);
    }
    pst_store_log_fini(&log);
    pst_store_map_fini(&map);
}

/* The version of "n" that the file holds, 0: it is refused. */
static uint64_t log_read(void)
{
    struct pst_store_map map = {0};
    char why[200];
    int rc = pst_store_log_load(&world, "log", key, &map, why);
    if (rc != PST_OK && (rc != PST_EREFUSED || why[0] == '\0' || map.count != 0))
        abort();
    const struct pst_store_record *record = pst_store_map_find(&map, "n");
    uint64_t version = record != NULL ? record->version : 0;
    if (rc == PST_OK &&
        (map.count != 1 || version == 0 || version > 3 || record->byte_count != strlen(texts[version]) ||
         memcmp(record->bytes, texts[version], record->byte_count) != 0))
        abort();
    pst_store_map_fini(&map);
    return version;
}

/* What is read is written as the very same bytes. */
static void decode(const uint8_t *data, size_t size)
{
    struct pst_store_log_change change;
    struct pst_text again = {0};
    const uint8_t *at = data;
    while (pst_store_log_decode(&at, data + size, &change) == PST_OK) {
        size_t before = again.count;
        good(pst_store_log_encode(&again, change.path, change.version, change.bytes, change.byte_count, change.bound));
        if (again.count != (size_t)(at - data) ||
            memcmp(again.bytes + before, data + before, again.count - before) != 0)
            abort();
    }
    pst_text_fini(&again);
}

static void change(const uint8_t *data, size_t size)
{
    bool changed = false;
    if (size < 2)
        return;
    size_t from = data[0] | (size_t)data[1] << 8;
    log_write();
    for (size_t i = 2; i < size && from + i - 2 < file_count; i++) {
        file_bytes[from + i - 2] ^= data[i];
        changed |= data[i] != 0;
    }
    uint64_t version = log_read();
    if (!changed && version != 3)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (key == NULL)
        good(pst_secret_new(&key));
    if (size == 0 || size > FILE_MAX)
        return 0;
    if (data[0] == 'c') {
        decode(data + 1, size - 1);
    } else if (data[0] == 'f') {
        fence(data + 1, size - 1);
    } else if (data[0] == 'l') {
        memcpy(file_bytes, data + 1, size - 1);
        file_count = size - 1;
        if (log_read() != 0 && file_count < 64)
            abort();
    } else {
        change(data + 1, size - 1);
    }
    return 0;
}
