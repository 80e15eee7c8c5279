/* migration/store_inside.h - what the fillings of store.h share, and their tests look at; nobody outside this room includes it. */
#ifndef PST_STORE_INSIDE_H
#define PST_STORE_INSIDE_H

#include "migration/store.h"
#include "state/seal.h"

/* ---- store_request.c: what a well-formed request is ---- */
bool pst_store_path_valid(const char *path);
/* PST_OK, PST_EINVAL. Says nothing about what is stored. */
int pst_store_request_check(const struct pst_store_request *request);

/* Requests in the order in which they came; the links are in them. */
struct pst_store_queue {
    struct pst_store_request *first, *last;
};
void pst_store_queue_add(struct pst_store_queue *queue, struct pst_store_request *request);
struct pst_store_request *pst_store_queue_take(struct pst_store_queue *queue); /* the first, or NULL */

/* ---- store_map.c: the records of the embedded store ---- */
struct pst_store_record {
    uint64_t version;  /* 0: it is to be removed (in a map of changes alone) */
    const void *bytes; /* behind the path, in the same piece of memory */
    uint32_t byte_count;
    bool bound;
    char path[];
};
/* `bytes` are copied. NULL: out of memory. Freed by pst_free(). */
struct pst_store_record *pst_store_record_new(const char *path, uint64_t version, const void *bytes,
                                              uint32_t byte_count, bool bound);
uint64_t pst_store_record_cost(const char *path, uint32_t byte_count); /* of PST_STORE_LIVE_BYTES_MAX */

struct pst_store_map {
    struct pst_store_record **records; /* in the order of their paths' bytes: a list is a piece of it */
    uint32_t count, capacity;
    uint64_t bytes; /* the sum of costs */
};
void pst_store_map_fini(struct pst_store_map *map);
struct pst_store_record *pst_store_map_find(const struct pst_store_map *map, const char *path);
int pst_store_map_reserve(struct pst_store_map *map, uint32_t more); /* so that so many puts cannot fail */
/* Takes `record`; one of the same path is freed. */
void pst_store_map_put(struct pst_store_map *map, struct pst_store_record *record);
void pst_store_map_remove(struct pst_store_map *map, const char *path);
int pst_store_map_list(const struct pst_store_map *map, const char *prefix, struct pst_text *ret_paths);

/* ---- store_log.c: the embedded store's file ---- */
enum { PST_STORE_LOG_TAG_BYTES = 16 };
typedef enum pst_store_log_kind {
    PST_STORE_LOG_RECORDS = 1, /* a piece of the map that the file begins with */
    PST_STORE_LOG_COMMIT,
    PST_STORE_LOG_MARK, /* the first: the map is whole. All: what stands before was on the disk */
} pst_store_log_kind;

struct pst_store_log { /* a file that is written */
    struct pst_world *world;
    struct pst_file *file;
    struct pst_sealer *sealer;
    uint64_t number;                      /* of the next entry */
    uint8_t tag[PST_STORE_LOG_TAG_BYTES]; /* of the last one */
    uint64_t bytes, synced_bytes;         /* of the file */
    struct pst_text sealed;               /* entries that are not written yet */
};
/* Makes `path` anew, with the whole of `map`, synced. On an error nothing is open; the file may be there. */
int pst_store_log_create(struct pst_store_log *log, struct pst_world *world, const char *path,
                         const struct pst_secret *key, const struct pst_store_map *map);
void pst_store_log_fini(struct pst_store_log *log);
/* Seals an entry behind those that wait. `clear`: begun with pst_store_log_begin(); it is changed. */
int pst_store_log_add(struct pst_store_log *log, pst_store_log_kind kind, struct pst_text *clear);
/* Writes and syncs what waits. PST_OK: it is on the disk. PST_ETIMEOUT: not known; write no more. Else nothing of it is there.
 * `ret_usable` false: write no more, whatever is returned. */
int pst_store_log_flush(struct pst_store_log *log, bool *ret_usable);
/* Forgets what waits. */
void pst_store_log_forget(struct pst_store_log *log, uint64_t number, const uint8_t tag[PST_STORE_LOG_TAG_BYTES]);

/* What an entry says in clear. */
int pst_store_log_begin(struct pst_text *clear);
int pst_store_log_encode(struct pst_text *clear, const char *path, uint64_t version, const void *bytes,
                         uint32_t byte_count, bool bound);
struct pst_store_log_change {
    char path[PST_STORE_PATH_BYTES];
    uint64_t version; /* 0: removed */
    const uint8_t *bytes;
    uint32_t byte_count;
    bool bound;
};
/* Reads the change at *at, and moves on. PST_ENOENT: the end. PST_EDATA: not a change. */
int pst_store_log_decode(const uint8_t **at, const uint8_t *end, struct pst_store_log_change *ret_change);

/* Fills an empty map from a file. PST_ENOENT: there is none. PST_EREFUSED: damaged, or of another key. */
int pst_store_log_load(struct pst_world *world, const char *path, const struct pst_secret *key,
                       struct pst_store_map *map, char ret_why[200]);

#endif
