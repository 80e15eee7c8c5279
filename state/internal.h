/* internal.h - what the files of the state room share; nobody outside includes it. */
#ifndef PST_STATE_INTERNAL_H
#define PST_STATE_INTERNAL_H

#include "state/pager.h"

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
struct pst_pager;
struct pst_page_free {
    struct pst_page_free *next;
};

/* Stands before each page, in a line of cache of its own. Means something where the state has a pager. */
struct pst_frame {
    uint64_t touched; /* stamp of the callback; of a table's first page in a bucket: see pst_table_bucket */
    uint64_t rank;    /* in the heap: the lowest leaves first. In the clock: `touched` when the hand came by */
    int64_t seen;     /* in the clock: event time when the hand came by */
    int64_t time_first, time_last; /* of appends, pages of logs; INT64_MIN: not known */
    uint32_t at;                   /* in its list */
    uint32_t slot;                 /* that holds it outside as it was when it came in; PST_SLOT_NONE */
    uint32_t changed;              /* its `changed` up to then: 0 stands in the header while it is clean */
    bool in_heap;
};
enum { PST_FRAME_BYTES = 64 };
#define PST_SLOT_NONE UINT32_MAX
static_assert(sizeof(struct pst_frame) <= PST_FRAME_BYTES, "one line");
static inline struct pst_frame *pst_frame_of(uint8_t *page)
{
    return (struct pst_frame *)(void *)(page - PST_FRAME_BYTES);
}

/* Where a list of pages says that one lies outside, it says in which slot. */
static inline bool pst_is_outside(const uint8_t *page) { return ((uintptr_t)page & 1) != 0; }
static inline uint32_t pst_slot_of(const uint8_t *page) { return (uint32_t)((uintptr_t)page >> 1); }
static inline uint8_t *pst_outside_word(uint32_t slot) { return (uint8_t *)((uintptr_t)slot << 1 | 1); }

/* What tables and logs have in common: the first member of both. */
struct pst_structure {
    struct pst_state *state;
    char *name;
    uint16_t number; /* of the structure in its state, in order of opening */
    uint16_t kind;   /* pst_page_kind of its pages */
};

struct pst_slabs { /* memory for pages */
    struct pst_slab *all;
    uint8_t *next; /* pages of the newest one that were never used */
    uint32_t left;
    bool mapped;                 /* slabs are the system's pages; a pool's are not, for it may lie in an enclave */
    bool wipes;                  /* a bucket is being dropped */
    struct pst_page_free *free;  /* given back, all zero but for the link */
    struct pst_page_free *wiped; /* of dropped buckets, as they were but for the link: about to go back to the system */
    /* Given back, all zero, and their memory is the system's again: taken when there are no others. Their slabs know which. */
    uint64_t cold_count;
    struct pst_slab **sorted; /* by address */
    uint32_t slab_count, slab_capacity, cold_at;
};

struct pst_state {
    uint32_t bucket_count, structure_count;
    uint32_t generation; /* grows by one with every image */
    uint32_t shown_first,
        shown_span; /* from the lowest bucket that there is a snapshot of to the highest; span 0: none */
    uint64_t bytes_max;
    uint64_t page_count;  /* in use */
    uint64_t bytes_live;  /* of pages in use */
    uint64_t bytes_index; /* what stands outside pages: directories, indices, lists of pages */
    uint64_t bytes_max_seen;
    struct pst_slabs slabs;
    uint64_t stamp;   /* of the callback; 1 for good where there is no pager */
    uint64_t touched; /* pages of tables touched since it began */
    uint64_t lookups;
    struct pst_pager *pager;        /* NULL: all pages stay in memory */
    struct pst_snapshot *snapshots; /* of different buckets */
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
    uint64_t touched_first; /* `touched` of pages[0] */
    uint32_t number;        /* of the bucket */
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
    uint8_t *held; /* the page touched last: G3 */
    int64_t after[PST_LOG_READERS_MAX], period;
    uint32_t after_count; /* 0: due times are not known */
};

/* state.c */
/* A zeroed page with its header filled. PST_EFULL, PST_ENOMEM, and with a pager what pst_state_error() says. */
int pst_page_take(struct pst_structure *structure, uint32_t bucket, uint64_t number, uint8_t **ret_page);
/* A page or what says where it lies; it is dead. Only header and used bytes of it may be other than zero. */
void pst_page_give(struct pst_state *state, uint8_t *page);
void pst_state_account(struct pst_state *state, int64_t index_bytes);
/* Memory for a page, all zero; NULL: none. And back again, its header and used bytes are wiped. */
uint8_t *pst_slabs_take(struct pst_slabs *slabs);
/* Is the page that it gives next one that was used before? */
static inline bool pst_slabs_has_used(const struct pst_slabs *slabs)
{
    return slabs->free != NULL || slabs->wiped != NULL;
}
void pst_slabs_give(struct pst_slabs *slabs, uint8_t *page);
void pst_slabs_free(struct pst_slabs *slabs);

/* snapshot.c: the page of a structure is about to change, or to go, and there may be a snapshot of its bucket. index: of a table's page its
 * place among the bucket's, of a log's its sequence. */
void pst_snapshot_keep(struct pst_structure *structure, uint32_t bucket, uint64_t index);
bool pst_snapshot_is_of(const struct pst_state *state, uint32_t bucket); /* there is one */
static inline bool pst_is_shown(const struct pst_state *state, uint32_t bucket)
{
    return __builtin_expect(bucket - state->shown_first < state->shown_span, 0);
}

/* pager.c; state->pager is there for all of these */
void pst_pager_free(struct pst_state *state);
uint8_t *pst_pager_frame(struct pst_state *state); /* memory for a page; NULL: the state's error says why */
/* A page that was just taken goes into a list. */
void pst_pager_enter(struct pst_state *state, uint8_t *page);
void pst_pager_dead(struct pst_state *state, uint8_t *page); /* in or outside */
/* Brings a page in, and puts it where `word`, which says where it lies, has stood. NULL: the state's error says why. */
uint8_t *pst_pager_in(struct pst_structure *structure, uint32_t bucket, uint64_t number, const uint8_t *word);
uint8_t *pst_pager_zeros(struct pst_state *state); /* what is given out in place of a page that cannot be had */
uint32_t pst_pager_used_bytes(const struct pst_state *state, uint32_t slot); /* of a page outside */
void pst_pager_appended(struct pst_log *log, uint8_t *page);
void pst_pager_left(struct pst_log *log,
                    uint8_t *page); /* a reader, or the writer, goes on to the next one; in or outside */
struct pst_image;
struct pst_image_page;
int pst_pager_flush(struct pst_state *state);                             /* all pages lie outside as they are, too */
uint32_t pst_pager_changed(const struct pst_state *state, uint8_t *word); /* of a page, in or outside */
/* Fills in where it lies outside. */
void pst_pager_image_page(struct pst_state *state, uint8_t *word, struct pst_image_page *page);
/* What the image's pages name stays there until the image is done with. PST_ENOMEM */
int pst_pager_image(struct pst_state *state, struct pst_image *image);
void pst_pager_check(struct pst_state *state);

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
void pst_table_drop(struct pst_table *table, uint32_t number); /* all records of a bucket, and their index */
void pst_table_free(struct pst_table *table);
void pst_table_check(struct pst_table *table, uint32_t bucket);
/* Where the pages of a bucket stand, in order of number. */
typedef int (*pst_word_visit)(void *argument, struct pst_structure *structure, uint32_t bucket, uint64_t number,
                              uint8_t *word);
int pst_table_words(struct pst_table *table, uint32_t bucket, pst_word_visit visit, void *argument);
void pst_table_word_set(struct pst_table *table, uint32_t bucket, uint64_t number, uint8_t *word);
void pst_log_drop(struct pst_log *log, uint32_t number);
void pst_log_free(struct pst_log *log);
void pst_log_check(struct pst_log *log, uint32_t bucket);
int pst_log_words(struct pst_log *log, uint32_t bucket, pst_word_visit visit, void *argument);
void pst_log_word_set(struct pst_log *log, uint32_t bucket, uint64_t number, uint8_t *word);
int pst_state_words(struct pst_state *state, uint32_t bucket, pst_word_visit visit, void *argument);

static inline uint32_t pst_used_bytes(const struct pst_state *state, const uint8_t *word)
{
    return pst_is_outside(word) ? pst_pager_used_bytes(state, pst_slot_of(word))
                                : ((const struct pst_page_header *)(const void *)word)->used_bytes;
}

static inline struct pst_page_header *pst_page_header(uint8_t *page) { return (struct pst_page_header *)(void *)page; }

#endif
