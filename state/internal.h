/* internal.h - what the files of the state room share; nobody outside includes it. */
#ifndef PST_STATE_INTERNAL_H
#define PST_STATE_INTERNAL_H

#include "state/state.h"

#include <assert.h>

#define PST_PAGE_MAGIC 0x50545350u /* "PSTP" */
enum { PST_PAGE_VERSION = 1, PST_PAGE_DATA_BYTES = PST_PAGE_BYTES - PST_PAGE_HEADER_BYTES, PST_CACHE_LINE_BYTES = 64 };

static_assert(sizeof(struct pst_page_header) == PST_PAGE_HEADER_BYTES, "page layout");
static_assert(offsetof(struct pst_page_header, kind) == 6, "page layout");
static_assert(offsetof(struct pst_page_header, bucket) == 8, "page layout");
static_assert(offsetof(struct pst_page_header, structure) == 12, "page layout");
static_assert(offsetof(struct pst_page_header, number) == 16, "page layout");
static_assert(offsetof(struct pst_page_header, used_bytes) == 24, "page layout");
static_assert(offsetof(struct pst_page_header, changed) == 28, "page layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pages are little endian, written as they lie in memory");

struct pst_slab;
struct pst_page_free;

/* What tables and logs have in common: the first member of both. */
struct pst_structure {
    struct pst_state *state;
    char *name;
    uint16_t number; /* of the structure in its state, in order of opening */
    uint16_t kind;   /* pst_page_kind of its pages */
};

struct pst_state {
    uint32_t bucket_count, structure_count;
    uint32_t generation; /* grows by one with every image */
    uint64_t bytes_max;
    uint64_t page_count;  /* in use */
    uint64_t bytes_live;  /* of pages in use */
    uint64_t bytes_index; /* what stands outside pages: directories, indices, lists of pages */
    uint64_t bytes_max_seen;
    struct pst_slab *slabs;
    uint8_t *slab_next; /* pages of the newest slab that were never used */
    uint32_t slab_left;
    struct pst_page_free *pages_free; /* given back, all zero but for the link */
    struct pst_structure *structures[PST_STRUCTURES_MAX];
};

/* The records of one bucket. One cache line, for it is on the way of every row. */
struct pst_table_bucket {
    uint32_t *slots;    /* open addressing, linear: 0 empty, else (tag & ~mask) | (number + 1) */
    uint32_t mask;      /* slots - 1 */
    uint32_t count;     /* records */
    uint32_t count_max; /* at which the slots are doubled: a quarter; most keys stand where they belong */
    uint32_t page_count, page_capacity;
    uint32_t
        changed_first; /* `changed` of pages[0] if above what its header says: spares a row the header's line of cache */
    uint8_t *page_first; /* pages[0]; `pages` points here while there is room for one alone */
    uint8_t **pages;
};
static_assert(sizeof(struct pst_table_bucket) <= PST_CACHE_LINE_BYTES, "one line");

/* A slot of a page: key, padding, u32 tag, then the record at a multiple of 8. The tag makes the index something that can be
 * rebuilt from pages alone, for the hash is the operator's own business. Where the key leaves 4 bytes to the next multiple
 * of 8 it costs nothing. */
struct pst_table {
    struct pst_structure structure;
    uint32_t key_bytes, record_bytes;
    uint32_t record_offset;    /* within a slot */
    uint32_t slot_bytes;       /* multiple of 8 */
    uint32_t records_per_page; /* PST_PAGE_DATA_BYTES / slot_bytes */
    uint64_t record_count;     /* of all buckets */
    struct pst_table_bucket **buckets;
};

/* The log of one bucket. A position is page sequence * PST_PAGE_BYTES + offset within the page, so that positions grow and the
 * page of one is found without a search. Entries stand at offsets o = 32 + 8 k: 4 bytes of nothing or of the entry before, u32
 * size at o + 4, the bytes at o + 8; the next one stands at o + round_up(size + 4, 8). */
struct pst_log_bucket {
    uint8_t **ring; /* page of sequence s at ring[s & ring_mask] */
    uint64_t ring_mask;
    uint64_t page_first, page_end; /* sequences held: page_first <= s < page_end */
    uint64_t tail;
    uint64_t head; /* where the next entry stands if its page has room */
};

struct pst_log {
    struct pst_structure structure;
    struct pst_log_bucket **buckets;
};

/* state.c */
/* A zeroed page with its header filled. PST_EFULL, PST_ENOMEM. */
int pst_page_take(struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t **ret_page);
void pst_page_give(struct pst_state *state,
                   uint8_t *page); /* only header and used bytes of it may be other than zero */
void pst_state_account(struct pst_state *state, int64_t index_bytes);
/* The structure of that name, or NULL; *ret_taken: there is one, but of another kind. */
struct pst_structure *pst_structure_find(struct pst_state *state, const char *name, pst_page_kind kind,
                                         bool *ret_taken);
int pst_structure_init(struct pst_structure *structure, struct pst_state *state, const char *name, pst_page_kind kind);

/* table.c, log.c */
const void *pst_table_peek(const struct pst_table *table, uint32_t bucket,
                           uint32_t index); /* a record, to be read alone */
/* Takes a page back, in order of number; `page` is what it was, header included, and has been checked to be of this structure. */
int pst_table_restore(struct pst_table *table, uint32_t number, const struct pst_page_header *page);
int pst_log_restore(struct pst_log *log, uint32_t bucket, const struct pst_page_header *page);
/* Where an empty or restored log goes on. The pages between have been restored before. */
int pst_log_restore_ends(struct pst_log *log, uint32_t bucket, uint64_t tail, uint64_t head);
void pst_table_free(struct pst_table *table);
void pst_table_check(struct pst_table *table, uint32_t bucket);
int pst_table_pages(struct pst_table *table, uint32_t bucket, pst_page_visit visit, void *argument);
void pst_log_free(struct pst_log *log);
void pst_log_check(struct pst_log *log, uint32_t bucket);
int pst_log_pages(struct pst_log *log, uint32_t bucket, pst_page_visit visit, void *argument);

static inline struct pst_page_header *pst_page_header(uint8_t *page) { return (struct pst_page_header *)(void *)page; }

#endif
