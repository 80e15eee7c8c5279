/* store_map.c - records by path, in one sorted array: a search is a few comparisons, a list is a piece of the array, and writing all
 * of it out needs no sorting. A record that is new moves those behind it: 100,000 of them are 800 KB, and a sync costs more. */
#include "migration/store_inside.h"

#include <string.h>

enum { RECORD_COST = 32 }; /* beside path and bytes, so that many empty records are not free */

struct pst_store_record *pst_store_record_new(const char *path, uint64_t version, const void *bytes,
                                              uint32_t byte_count, bool bound)
{
    size_t path_bytes = strlen(path) + 1;
    struct pst_store_record *record = pst_malloc(sizeof *record + path_bytes + byte_count);
    if (record == NULL)
        return NULL;
    *record = (struct pst_store_record){.version = version, .byte_count = byte_count, .bound = bound};
    memcpy(record->path, path, path_bytes);
    if (byte_count != 0)
        memcpy(record->path + path_bytes, bytes, byte_count);
    record->bytes = record->path + path_bytes;
    return record;
}

uint64_t pst_store_record_cost(const char *path, uint32_t byte_count)
{
    return RECORD_COST + strlen(path) + byte_count;
}

static uint64_t cost(const struct pst_store_record *record)
{
    return pst_store_record_cost(record->path, record->byte_count);
}

void pst_store_map_fini(struct pst_store_map *map)
{
    for (uint32_t i = 0; i < map->count; i++)
        pst_free(map->records[i]);
    pst_free(map->records);
    *map = (struct pst_store_map){0};
}

/* Of the first record that does not lie before `path`. */
static uint32_t place_of(const struct pst_store_map *map, const char *path)
{
    uint32_t low = 0, high = map->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(map->records[middle]->path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct pst_store_map *map, uint32_t place, const char *path)
{
    return place < map->count && strcmp(map->records[place]->path, path) == 0;
}

struct pst_store_record *pst_store_map_find(const struct pst_store_map *map, const char *path)
{
    uint32_t place = place_of(map, path);
    return is_at(map, place, path) ? map->records[place] : NULL;
}

int pst_store_map_reserve(struct pst_store_map *map, uint32_t more)
{
    if (map->capacity - map->count >= more)
        return PST_OK;
    uint32_t capacity = map->capacity * 2 > map->count + more ? map->capacity * 2 : map->count + more;
    struct pst_store_record **records = pst_realloc(map->records, capacity * sizeof(struct pst_store_record *));
    if (records == NULL)
        return PST_ENOMEM;
    map->records = records;
    map->capacity = capacity;
    return PST_OK;
}

void pst_store_map_put(struct pst_store_map *map, struct pst_store_record *record)
{
    uint32_t place = place_of(map, record->path);
    map->bytes += cost(record);
    if (is_at(map, place, record->path)) {
        map->bytes -= cost(map->records[place]);
        pst_free(map->records[place]);
    } else {
        PST_ASSERT(map->count < map->capacity);
        memmove(map->records + place + 1, map->records + place,
                (map->count - place) * sizeof(struct pst_store_record *));
        map->count++;
    }
    map->records[place] = record;
}

void pst_store_map_remove(struct pst_store_map *map, const char *path)
{
    uint32_t place = place_of(map, path);
    PST_ASSERT(is_at(map, place, path));
    map->bytes -= cost(map->records[place]);
    pst_free(map->records[place]);
    map->count--;
    memmove(map->records + place, map->records + place + 1, (map->count - place) * sizeof(struct pst_store_record *));
}

int pst_store_map_list(const struct pst_store_map *map, const char *prefix, struct pst_text *ret_paths)
{
    size_t prefix_bytes = strlen(prefix);
    for (uint32_t i = place_of(map, prefix); i < map->count; i++) {
        const char *path = map->records[i]->path;
        if (strncmp(path, prefix, prefix_bytes) != 0)
            break;
        (void)pst_text_add(ret_paths, path, strlen(path));
        (void)pst_text_add(ret_paths, "\n", 1);
    }
    return ret_paths->failed ? PST_ENOMEM : PST_OK;
}
