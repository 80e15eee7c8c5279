/* state/state.h - the keyed state of one partition: tables and logs in pages, by bucket.
 *
 * Holds:    table: key -> record of fixed size; log: entries appended at the head and expired from the tail. Both live in
 *           pages of 16 KiB, each page of exactly one bucket and one structure, shared by that bucket's keys: a bucket is a
 *           set of pages, so that to snapshot, seal, move and evict it is the same walk (pst_state_pages()).
 * Refuses:  sockets, timers, threads, files, graphs, enclaves.
 * Thread:   a state belongs to one thread at a time.
 * Holds true (pst_state_check() asserts S1 to S4; the random model of the tests shows S5):
 *   S1  bytes_live is the number of pages times PST_PAGE_BYTES
 *   S2  a page belongs to one bucket and one structure, and its header says which
 *   S3  the records of a bucket are numbered 0..count-1 without holes, and each is found by its key
 *   S4  a log's entries lie in order of position, none straddles a page
 *   S5  a page that changed since generation g has a `changed` above g (image.h)
 * Records are reached by (bucket, number), never kept as pointers over a callback: a page may leave (pager.h).
 */
#ifndef PST_STATE_H
#define PST_STATE_H

#include "base/base.h"

enum { PST_PAGE_BYTES = 16 * 1024, PST_PAGE_HEADER_BYTES = 32, PST_STRUCTURES_MAX = 32 };

struct pst_state;
struct pst_table;
struct pst_log;

/* Page header, 32 bytes, little endian. A reader refuses a version it does not know.
 *    0 u32 magic "PSTP"   4 u16 version 1    6 u16 kind (pst_page_kind)   8 u32 bucket   12 u16 structure   14 u16 zero
 *   16 u64 number: table: index of the page's first record or slot; log: position of its first byte
 *   24 u32 used bytes behind the header      28 u32 changed: the state's generation when it was changed last */
struct pst_page_header {
    uint32_t magic;
    uint16_t version, kind;
    uint32_t bucket;
    uint16_t structure, zero;
    uint64_t number;
    uint32_t used_bytes, changed;
};
typedef enum pst_page_kind { PST_PAGE_RECORDS = 1, PST_PAGE_LOG = 2 } pst_page_kind;

/* bucket_count: of the operator; buckets not owned stay empty and cost nothing but a directory word.
 * bytes_max: bound on pages, PST_EFULL beyond. NULL: out of memory. */
struct pst_state *pst_state_new(uint32_t bucket_count, uint64_t bytes_max);
void pst_state_free(struct pst_state *state);
uint64_t pst_state_bytes(const struct pst_state *state); /* pages, in and outside (pager.h), and indices held now */
uint64_t pst_state_bytes_max_seen(const struct pst_state *state);
int pst_state_check(struct pst_state *state); /* PST_OK, or asserts; for tests */

/* Calls `visit` for every page of a bucket, in order of structure and number; stops at its first error. */
typedef int (*pst_page_visit)(void *argument, const struct pst_page_header *page);
int pst_state_pages(struct pst_state *state, uint32_t bucket, pst_page_visit visit, void *argument);

/* Headers and used bytes of a bucket's pages: what an image of it takes, and what to drop it costs. Cost: a look at each page. */
uint64_t pst_state_bucket_bytes(struct pst_state *state, uint32_t bucket);

/* Everything of a bucket goes, page by page. */
void pst_state_drop(struct pst_state *state, uint32_t bucket);
/* Gives memory back to the system, about so many bytes of it: of pages that are free, but for a few, most of it; all of it where no
 * page is in use any more. False: there is none left to be given back. */
bool pst_state_shrink(struct pst_state *state, uint64_t bytes_max);

/* A digest of the bucket's logical contents (records in order of key, log entries in order), whatever its pages: XXH3-128 low. */
uint64_t pst_state_digest(struct pst_state *state, uint32_t bucket);

/* Tables and logs: the calls of operators/operator.h with the same meaning. */
struct pst_table *pst_state_table_open(struct pst_state *state, const char *name, uint32_t key_bytes,
                                       uint32_t record_bytes);
int pst_state_table_upsert(struct pst_table *, uint32_t n, const uint32_t *bucket, const uint64_t *hash,
                           const void *keys, uint32_t *ret_index, void **ret_record);
int64_t pst_state_table_find(struct pst_table *, uint32_t bucket, uint64_t hash, const void *key);
uint32_t pst_state_table_count(struct pst_table *, uint32_t bucket);
void *pst_state_table_record(struct pst_table *, uint32_t bucket, uint32_t index);
const void *pst_state_table_key(struct pst_table *, uint32_t bucket, uint32_t index);
int pst_state_table_remove(struct pst_table *, uint32_t bucket, uint32_t index);
struct pst_log *pst_state_log_open(struct pst_state *state, const char *name);
int pst_state_log_append(struct pst_log *, uint32_t bucket, uint32_t bytes, void **ret_space, uint64_t *ret_position);
const void *pst_state_log_read(struct pst_log *, uint32_t bucket, uint64_t *position, uint32_t *ret_bytes);
uint64_t pst_state_log_tail(struct pst_log *, uint32_t bucket);
uint64_t pst_state_log_head(struct pst_log *, uint32_t bucket);
int pst_state_log_trim(struct pst_log *, uint32_t bucket, uint64_t position);
/* Entries of a log are read again when event time is after[i] beyond the time of their callback of append, after[] ascending, and
 * then every `period` after the last; period 0: never again. Without it the log's pages have no due time. `after` is copied;
 * PST_EINVAL: not ascending from 0 or more, none, or more than PST_LOG_READERS_MAX. */
enum { PST_LOG_READERS_MAX = 16 };
int pst_state_log_wanted(struct pst_log *log, const int64_t *after, uint32_t count, int64_t period);

#endif
