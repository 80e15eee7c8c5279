/* state/manifest.h - what a checkpoint is made of: the list of everything, written last, sealed as one piece.
 *
 * Holds:    the positions of source and sinks, the operators with their structures, every page with its version and where it
 *           lies; and the bytes that say so.
 * Refuses:  files. Whoever has bytes brings them here.
 * Holds true (pst_manifest_read() refuses what it does not hold for):
 *   M1  every index is in range; pages are in order of node, bucket, structure, number, each once
 *   M2  every page lies within the bytes of the file that it names
 *
 * Of an operator that runs in enclaves the pieces are its workers': pages, and an index of each bucket, sealed by keys that whoever writes
 * or reads a manifest does not use. Of them a manifest knows the place, and a digest by which damage is told from what was written.
 *
 * File: u32 magic "PSTM", u16 version 1, of one with operators in enclaves 2, u16 zero, u64 id, 32 bytes graph, 32 bytes incarnation, u32 sealed bytes, u32 zero; then
 * a sealed piece (seal.h, purpose MANIFEST, operator "manifest", number and version the id) whose clear text is the fields
 * below in the order of codec() in manifest.c, little endian, texts and lists with a u32 length before them.
 */
#ifndef PST_MANIFEST_H
#define PST_MANIFEST_H

#include "state/image.h"
#include "state/seal.h"

enum { PST_MANIFEST_HEADER_BYTES = 88, PST_MANIFEST_BAD_LINES_MAX = 16, PST_PAGE_DIGEST_BYTES = PST_SEAL_TAG_BYTES };

struct pst_manifest_structure {
    char *name;
    uint32_t kind, key_bytes, record_bytes;
};

struct pst_manifest_node {             /* an operator with state */
    char *id, *type, *params;          /* params: as the graph had them, "name=value;..." */
    bool inside;                       /* it runs in enclaves; structures are not known then */
    uint32_t bucket_count, generation; /* generation: the highest of its pages */
    uint32_t structure_count;
    struct pst_manifest_structure *structures;
};

/* What one sealer has put into ID.pages. Entries of one id are of one file, and have its bytes. */
struct pst_manifest_file {
    uint64_t id, bytes;
    uint8_t incarnation[PST_INCARNATION_BYTES];
};

struct pst_manifest_sink {
    char *file;
    uint64_t bytes, rows;
};

struct pst_manifest_source { /* the first row at or above the cut, and what was counted before it */
    uint64_t offset, lines, rows, rows_late, lines_malformed;
    int64_t newest;
    uint32_t bad_line_count;
    uint64_t bad_line[PST_MANIFEST_BAD_LINES_MAX];
    uint32_t bad_reason[PST_MANIFEST_BAD_LINES_MAX];
};

struct pst_manifest_bucket { /* of a bucket in which one of the two is not what it is at the start */
    uint32_t node, bucket;
    int64_t timer;
    uint64_t number;
};

struct pst_manifest_log {
    uint32_t node;
    struct pst_image_log log;
};

struct pst_manifest_page {
    uint32_t node, bucket;
    uint16_t structure, kind;
    uint64_t number;
    uint32_t changed;
    uint32_t file; /* index */
    uint64_t offset;
    uint32_t sealed_bytes;
    uint8_t digest[PST_PAGE_DIGEST_BYTES]; /* the piece's tag; inside: the beginning of the piece's SHA-256 */
};
/* The piece of an enclave that is no page: part `number` of its bucket's index. */
enum { PST_MANIFEST_INDEX_STRUCTURE = 0xffff, PST_MANIFEST_INDEX_KIND = 3 };

struct pst_manifest {
    struct pst_arena arena; /* what is read lives here; a writer may use it, too */
    uint64_t id;
    uint8_t graph[PST_GRAPH_DIGEST_BYTES];
    char *graph_name;
    int64_t cut;
    uint64_t hash_key[2];
    struct pst_manifest_source source;
    uint32_t sink_count, node_count, file_count, bucket_count, log_count, page_count;
    struct pst_manifest_sink *sinks;
    struct pst_manifest_node *nodes;
    struct pst_manifest_file *files;
    struct pst_manifest_bucket *buckets;
    struct pst_manifest_log *logs;
    struct pst_manifest_page *pages;
};

/* Of a piece that a worker has sealed. PST_ENOMEM. */
int pst_manifest_digest(const void *sealed, size_t byte_count, uint8_t ret_digest[PST_PAGE_DIGEST_BYTES]);
/* The first entry of its file: of several one is counted, copied, synced. */
bool pst_manifest_is_first(const struct pst_manifest *manifest, uint32_t file);
/* The order of M1: below 0, 0, above 0. */
int pst_manifest_page_order(const struct pst_manifest_page *a, const struct pst_manifest_page *b);

void pst_manifest_fini(struct pst_manifest *manifest);

/* The digest that keys are bound to: SHA-256 of a label and the graph's name. */
int pst_manifest_graph(const char *graph_name, uint8_t ret_graph[PST_GRAPH_DIGEST_BYTES]);

/* The bytes of the file; freed by pst_free(). incarnation: drawn for this manifest alone. PST_ENOMEM. */
int pst_manifest_write(const struct pst_manifest *manifest, struct pst_secret *master,
                       const uint8_t incarnation[PST_INCARNATION_BYTES], uint8_t **ret_bytes, size_t *ret_byte_count);
/* PST_EREFUSED: it does not open with this key, or was changed; PST_EABI: a newer format; PST_EDATA: it opens, and breaks M1 or
 * M2; PST_ENOMEM. */
int pst_manifest_read(const uint8_t *bytes, size_t byte_count, struct pst_secret *master,
                      struct pst_manifest *ret_manifest);
/* The clear text alone: what the fuzzer tries. */
int pst_manifest_decode(const uint8_t *clear, size_t byte_count, struct pst_manifest *ret_manifest);

/* A sealer for what ID.pages holds, of the nodes of a manifest. to_open: it refuses to seal. */
int pst_manifest_sealer(const struct pst_manifest *manifest, struct pst_secret *master,
                        const uint8_t incarnation[PST_INCARNATION_BYTES], bool to_open, struct pst_sealer **ret_sealer);

#endif
