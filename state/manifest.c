/* manifest.c - see manifest.h. One function names the fields, and is run to write them and to read them. */
#include "state/manifest.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "state/internal.h"

static const char manifest_operator[] = "manifest";
enum {
    MANIFEST_MAGIC = 0x4d545350 /* "PSTM" */,
    MANIFEST_VERSION = 1,
    MANIFEST_VERSION_INSIDE = 2,
    LIST_MAX = 1 << 28,
    TEXT_MAX = 1 << 20
};

struct file_header {
    uint32_t magic;
    uint16_t version, zero;
    uint64_t id;
    uint8_t graph[PST_GRAPH_DIGEST_BYTES], incarnation[PST_INCARNATION_BYTES];
    uint32_t sealed_bytes, zero2;
};
static_assert(sizeof(struct file_header) == PST_MANIFEST_HEADER_BYTES, "layout of a manifest");
static_assert(offsetof(struct file_header, graph) == 16, "layout of a manifest");
static_assert(offsetof(struct file_header, sealed_bytes) == 80, "layout of a manifest");

void pst_manifest_fini(struct pst_manifest *manifest)
{
    pst_arena_fini(&manifest->arena);
    *manifest = (struct pst_manifest){0};
}

int pst_manifest_graph(const char *graph_name, uint8_t ret_graph[PST_GRAPH_DIGEST_BYTES])
{
    static const char label[] = "penstock graph 1";
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int rc = PST_ENOMEM;
    if (context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(context, label, sizeof label) == 1 &&
        EVP_DigestUpdate(context, graph_name, strlen(graph_name)) == 1 &&
        EVP_DigestFinal_ex(context, ret_graph, NULL) == 1)
        rc = PST_OK;
    EVP_MD_CTX_free(context);
    return rc;
}

/* ---- both ways ---- */
struct codec {
    struct pst_text *out; /* writing; NULL: reading */
    const uint8_t *at, *end;
    struct pst_arena *arena;
    int rc;
};

static void code_bytes(struct codec *codec, void *value, size_t byte_count)
{
    if (codec->rc != PST_OK)
        return;
    if (codec->out != NULL) {
        codec->rc = pst_text_add(codec->out, value, byte_count);
    } else if ((size_t)(codec->end - codec->at) < byte_count) {
        codec->rc = PST_EDATA;
    } else {
        memcpy(value, codec->at, byte_count);
        codec->at += byte_count;
    }
}

static void code_u16(struct codec *codec, uint16_t *value) { code_bytes(codec, value, sizeof *value); }
static void code_u32(struct codec *codec, uint32_t *value) { code_bytes(codec, value, sizeof *value); }
static void code_u64(struct codec *codec, uint64_t *value) { code_bytes(codec, value, sizeof *value); }
static void code_i64(struct codec *codec, int64_t *value) { code_bytes(codec, value, sizeof *value); }

static void code_text(struct codec *codec, char **text)
{
    uint32_t byte_count = codec->out != NULL ? (uint32_t)strnlen(*text, TEXT_MAX + 1) : 0;
    if (byte_count > TEXT_MAX && codec->rc == PST_OK)
        codec->rc = PST_EFULL;
    code_u32(codec, &byte_count);
    if (codec->out == NULL && codec->rc == PST_OK) {
        if (byte_count > TEXT_MAX || byte_count > (size_t)(codec->end - codec->at) ||
            memchr(codec->at, '\0', byte_count) != NULL) {
            codec->rc = PST_EDATA;
            return;
        }
        *text = pst_arena_alloc(codec->arena, (size_t)byte_count + 1);
        codec->rc = *text != NULL ? PST_OK : PST_ENOMEM;
    }
    if (codec->rc == PST_OK)
        code_bytes(codec, *text, byte_count);
}

/* A list's length, and room for it: each item takes a byte at least, so a length cannot be larger than what is there. */
static uint32_t code_list(struct codec *codec, uint32_t *count, void *list, size_t item_bytes)
{
    code_u32(codec, count);
    if (codec->out == NULL && codec->rc == PST_OK) {
        void *items = NULL;
        if (*count > LIST_MAX || *count > (size_t)(codec->end - codec->at))
            codec->rc = PST_EDATA;
        else if ((items = pst_arena_alloc(codec->arena, (*count + 1) * item_bytes)) == NULL)
            codec->rc = PST_ENOMEM;
        memcpy(list, &items, sizeof items);
    }
    if (codec->rc != PST_OK)
        *count = codec->out != NULL ? *count : 0;
    return codec->rc == PST_OK ? *count : 0;
}

static void code_source(struct codec *codec, struct pst_manifest_source *source)
{
    code_u64(codec, &source->offset);
    code_u64(codec, &source->lines);
    code_u64(codec, &source->rows);
    code_u64(codec, &source->rows_late);
    code_u64(codec, &source->lines_malformed);
    code_i64(codec, &source->newest);
    code_u32(codec, &source->bad_line_count);
    if (source->bad_line_count > PST_MANIFEST_BAD_LINES_MAX)
        codec->rc = codec->rc == PST_OK ? PST_EDATA : codec->rc;
    for (uint32_t i = 0; codec->rc == PST_OK && i < source->bad_line_count; i++) {
        code_u64(codec, &source->bad_line[i]);
        code_u32(codec, &source->bad_reason[i]);
    }
}

static void code_node(struct codec *codec, struct pst_manifest_node *node)
{
    if (codec->out == NULL)
        node->inside = false; /* until its end says so */
    code_text(codec, &node->id);
    code_text(codec, &node->type);
    code_text(codec, &node->params);
    code_u32(codec, &node->bucket_count);
    code_u32(codec, &node->generation);
    uint32_t count = code_list(codec, &node->structure_count, &node->structures, sizeof *node->structures);
    for (uint32_t i = 0; i < count; i++) {
        struct pst_manifest_structure *structure = &node->structures[i];
        code_text(codec, &structure->name);
        code_u32(codec, &structure->kind);
        code_u32(codec, &structure->key_bytes);
        code_u32(codec, &structure->record_bytes);
    }
}

static void code_log(struct codec *codec, struct pst_manifest_log *log)
{
    code_u32(codec, &log->node);
    code_u32(codec, &log->log.bucket);
    code_u16(codec, &log->log.structure);
    code_u64(codec, &log->log.tail);
    code_u64(codec, &log->log.head);
}

static void code_page(struct codec *codec, struct pst_manifest_page *page)
{
    code_u32(codec, &page->node);
    code_u32(codec, &page->bucket);
    code_u16(codec, &page->structure);
    code_u16(codec, &page->kind);
    code_u64(codec, &page->number);
    code_u32(codec, &page->changed);
    code_u32(codec, &page->file);
    code_u64(codec, &page->offset);
    code_u32(codec, &page->sealed_bytes);
    code_bytes(codec, page->digest, sizeof page->digest);
}

static bool any_inside(const struct pst_manifest *manifest)
{
    bool any = false;
    for (uint32_t i = 0; i < manifest->node_count; i++)
        any |= manifest->nodes[i].inside;
    return any;
}

/* At the end, and only where there are any: a byte for each node, so that others are written as they always were. */
static void code_inside(struct codec *codec, struct pst_manifest *manifest)
{
    bool there = codec->out != NULL ? any_inside(manifest) : codec->at != codec->end;
    for (uint32_t i = 0; codec->rc == PST_OK && there && i < manifest->node_count; i++) {
        uint8_t inside = manifest->nodes[i].inside;
        code_bytes(codec, &inside, sizeof inside);
        if (inside > 1)
            codec->rc = PST_EDATA;
        manifest->nodes[i].inside = inside == 1;
    }
    if (codec->rc == PST_OK && there && !any_inside(manifest))
        codec->rc = PST_EDATA;
}

static void codec(struct codec *codec, struct pst_manifest *manifest)
{
    code_u64(codec, &manifest->id);
    code_bytes(codec, manifest->graph, sizeof manifest->graph);
    code_text(codec, &manifest->graph_name);
    code_i64(codec, &manifest->cut);
    code_u64(codec, &manifest->hash_key[0]);
    code_u64(codec, &manifest->hash_key[1]);
    code_source(codec, &manifest->source);
    uint32_t count = code_list(codec, &manifest->sink_count, &manifest->sinks, sizeof *manifest->sinks);
    for (uint32_t i = 0; i < count; i++) {
        code_text(codec, &manifest->sinks[i].file);
        code_u64(codec, &manifest->sinks[i].bytes);
        code_u64(codec, &manifest->sinks[i].rows);
    }
    count = code_list(codec, &manifest->node_count, &manifest->nodes, sizeof *manifest->nodes);
    for (uint32_t i = 0; i < count; i++)
        code_node(codec, &manifest->nodes[i]);
    count = code_list(codec, &manifest->file_count, &manifest->files, sizeof *manifest->files);
    for (uint32_t i = 0; i < count; i++) {
        code_u64(codec, &manifest->files[i].id);
        code_u64(codec, &manifest->files[i].bytes);
        code_bytes(codec, manifest->files[i].incarnation, PST_INCARNATION_BYTES);
    }
    count = code_list(codec, &manifest->bucket_count, &manifest->buckets, sizeof *manifest->buckets);
    for (uint32_t i = 0; i < count; i++) {
        code_u32(codec, &manifest->buckets[i].node);
        code_u32(codec, &manifest->buckets[i].bucket);
        code_i64(codec, &manifest->buckets[i].timer);
        code_u64(codec, &manifest->buckets[i].number);
    }
    count = code_list(codec, &manifest->log_count, &manifest->logs, sizeof *manifest->logs);
    for (uint32_t i = 0; i < count; i++)
        code_log(codec, &manifest->logs[i]);
    count = code_list(codec, &manifest->page_count, &manifest->pages, sizeof *manifest->pages);
    for (uint32_t i = 0; i < count; i++)
        code_page(codec, &manifest->pages[i]);
    code_inside(codec, manifest);
}

/* ---- what must hold ---- */
static const struct pst_manifest_structure *structure_of(const struct pst_manifest *manifest, uint32_t node,
                                                         uint32_t bucket, uint32_t structure)
{
    if (node >= manifest->node_count || bucket >= manifest->nodes[node].bucket_count ||
        structure >= manifest->nodes[node].structure_count)
        return NULL;
    return &manifest->nodes[node].structures[structure];
}

int pst_manifest_digest(const void *sealed, size_t byte_count, uint8_t ret_digest[PST_PAGE_DIGEST_BYTES])
{
    uint8_t digest[32];
    if (EVP_Digest(sealed, byte_count, digest, NULL, EVP_sha256(), NULL) != 1)
        return PST_ENOMEM;
    memcpy(ret_digest, digest, PST_PAGE_DIGEST_BYTES);
    return PST_OK;
}

bool pst_manifest_is_first(const struct pst_manifest *manifest, uint32_t file)
{
    for (uint32_t f = 0; f < file; f++)
        if (manifest->files[f].id == manifest->files[file].id)
            return false;
    return true;
}

int pst_manifest_page_order(const struct pst_manifest_page *a, const struct pst_manifest_page *b)
{
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    if (a->bucket != b->bucket)
        return a->bucket < b->bucket ? -1 : 1;
    if (a->structure != b->structure)
        return a->structure < b->structure ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* Of a page, or an index, that a worker has sealed. */
static bool piece_fits(const struct pst_manifest *manifest, const struct pst_manifest_page *page)
{
    if (page->bucket >= manifest->nodes[page->node].bucket_count)
        return false;
    if (page->structure == PST_MANIFEST_INDEX_STRUCTURE)
        return page->kind == PST_MANIFEST_INDEX_KIND && page->changed == 0;
    return page->structure < PST_STRUCTURES_MAX && (page->kind == PST_PAGE_RECORDS || page->kind == PST_PAGE_LOG);
}

static bool page_fits(const struct pst_manifest *manifest, const struct pst_manifest_page *page)
{
    if (page->node < manifest->node_count && manifest->nodes[page->node].inside)
        return piece_fits(manifest, page);
    const struct pst_manifest_structure *structure = structure_of(manifest, page->node, page->bucket, page->structure);
    return structure != NULL && structure->kind == page->kind;
}

static bool page_holds(const struct pst_manifest *manifest, uint32_t i)
{
    const struct pst_manifest_page *page = &manifest->pages[i];
    if (!page_fits(manifest, page) || page->file >= manifest->file_count)
        return false;
    const struct pst_manifest_file *file = &manifest->files[page->file];
    if (page->sealed_bytes < PST_SEAL_HEADER_BYTES + PST_SEAL_TAG_BYTES || page->sealed_bytes > file->bytes ||
        page->sealed_bytes > pst_seal_bound(PST_PAGE_BYTES) || page->offset > file->bytes - page->sealed_bytes)
        return false;
    if (page->changed > manifest->nodes[page->node].generation)
        return false;
    return i == 0 || pst_manifest_page_order(&manifest->pages[i - 1], page) < 0;
}

static bool holds(const struct pst_manifest *manifest)
{
    bool whole = true;
    for (uint32_t i = 0; whole && i < manifest->node_count; i++) {
        const struct pst_manifest_node *node = &manifest->nodes[i];
        whole = node->id[0] != '\0' && strlen(node->id) <= PST_SEAL_ID_BYTES_MAX && node->bucket_count >= 1 &&
                node->bucket_count <= UINT16_MAX + 1u && node->structure_count <= PST_STRUCTURES_MAX &&
                node->generation < UINT32_MAX - 1 && (!node->inside || node->structure_count == 0);
    }
    for (uint32_t i = 0; whole && i < manifest->bucket_count; i++)
        whole = manifest->buckets[i].node < manifest->node_count &&
                manifest->buckets[i].bucket < manifest->nodes[manifest->buckets[i].node].bucket_count;
    for (uint32_t i = 0; whole && i < manifest->log_count; i++) {
        const struct pst_manifest_log *log = &manifest->logs[i];
        const struct pst_manifest_structure *structure =
            structure_of(manifest, log->node, log->log.bucket, log->log.structure);
        whole = structure != NULL && structure->kind == PST_PAGE_LOG;
    }
    for (uint32_t i = 0; whole && i < manifest->page_count; i++)
        whole = page_holds(manifest, i);
    return whole;
}

int pst_manifest_decode(const uint8_t *clear, size_t byte_count, struct pst_manifest *ret_manifest)
{
    *ret_manifest = (struct pst_manifest){0};
    pst_arena_init(&ret_manifest->arena);
    struct codec reader = {.at = clear, .end = clear + byte_count, .arena = &ret_manifest->arena};
    codec(&reader, ret_manifest);
    if (reader.rc == PST_OK && (reader.at != reader.end || !holds(ret_manifest)))
        reader.rc = PST_EDATA;
    if (reader.rc != PST_OK)
        pst_manifest_fini(ret_manifest);
    return reader.rc;
}

/* ---- sealed ---- */
static int sealer_own(struct pst_secret *master, const uint8_t graph[PST_GRAPH_DIGEST_BYTES],
                      const uint8_t incarnation[PST_INCARNATION_BYTES], bool to_open, struct pst_sealer **ret_sealer)
{
    const char *const ids[] = {manifest_operator};
    const uint32_t buckets[] = {1};
    return to_open ? pst_sealer_new_to_open(master, graph, PST_SEAL_MANIFEST, incarnation, 1, ids, buckets, ret_sealer)
                   : pst_sealer_new(master, graph, PST_SEAL_MANIFEST, incarnation, 1, ids, buckets, ret_sealer);
}

static int write_sealed(const struct pst_manifest *manifest, const struct pst_text *clear, struct pst_secret *master,
                        const uint8_t incarnation[PST_INCARNATION_BYTES], uint8_t **ret_bytes, size_t *ret_byte_count)
{
    struct pst_sealer *sealer = NULL;
    if (clear->count > PST_SEAL_CLEAR_BYTES_MAX)
        return PST_EFULL;
    size_t room = pst_seal_bound((uint32_t)clear->count), sealed_bytes = 0;
    uint8_t *bytes = pst_malloc(PST_MANIFEST_HEADER_BYTES + room);
    int rc = bytes != NULL ? sealer_own(master, manifest->graph, incarnation, false, &sealer) : PST_ENOMEM;
    struct pst_seal_place place = {.number = manifest->id, .version = manifest->id};
    if (rc == PST_OK)
        rc = pst_seal(sealer, 0, &place, true, clear->bytes, (uint32_t)clear->count, bytes + PST_MANIFEST_HEADER_BYTES,
                      room, &sealed_bytes);
    pst_sealer_free(sealer);
    if (rc != PST_OK) {
        pst_free(bytes);
        return rc;
    }
    struct file_header header = {.magic = MANIFEST_MAGIC,
                                 .version = any_inside(manifest) ? MANIFEST_VERSION_INSIDE : MANIFEST_VERSION,
                                 .id = manifest->id,
                                 .sealed_bytes = (uint32_t)sealed_bytes};
    memcpy(header.graph, manifest->graph, sizeof header.graph);
    memcpy(header.incarnation, incarnation, sizeof header.incarnation);
    memcpy(bytes, &header, sizeof header);
    *ret_bytes = bytes;
    *ret_byte_count = PST_MANIFEST_HEADER_BYTES + sealed_bytes;
    return PST_OK;
}

int pst_manifest_write(const struct pst_manifest *manifest, struct pst_secret *master,
                       const uint8_t incarnation[PST_INCARNATION_BYTES], uint8_t **ret_bytes, size_t *ret_byte_count)
{
    struct pst_text clear = {0};
    struct codec writer = {.out = &clear};
    struct pst_manifest copy = *manifest; /* codec() runs both ways, so it takes what could be written to */
    codec(&writer, &copy);
    int rc = writer.rc == PST_OK ? write_sealed(manifest, &clear, master, incarnation, ret_bytes, ret_byte_count)
                                 : writer.rc;
    pst_text_fini(&clear);
    return rc;
}

int pst_manifest_read(const uint8_t *bytes, size_t byte_count, struct pst_secret *master,
                      struct pst_manifest *ret_manifest)
{
    struct file_header header;
    struct pst_seal_header piece;
    struct pst_sealer *sealer = NULL;
    *ret_manifest = (struct pst_manifest){0};
    if (byte_count < sizeof header)
        return PST_EREFUSED;
    memcpy(&header, bytes, sizeof header);
    if (header.magic != MANIFEST_MAGIC)
        return PST_EREFUSED;
    if (header.version != MANIFEST_VERSION && header.version != MANIFEST_VERSION_INSIDE)
        return header.version > MANIFEST_VERSION_INSIDE ? PST_EABI : PST_EREFUSED;
    bytes += sizeof header;
    byte_count -= sizeof header;
    if (header.zero != 0 || header.zero2 != 0 || header.sealed_bytes != byte_count)
        return PST_EREFUSED;
    int rc = pst_seal_header_read(bytes, byte_count, &piece);
    if (rc != PST_OK)
        return rc;
    uint32_t clear_bytes = 0;
    uint8_t *clear = pst_malloc((size_t)piece.clear_bytes + 1);
    rc = clear != NULL ? sealer_own(master, header.graph, header.incarnation, true, &sealer) : PST_ENOMEM;
    struct pst_seal_place place = {.number = header.id, .version = header.id};
    if (rc == PST_OK)
        rc = pst_unseal(sealer, 0, &place, bytes, byte_count, clear, piece.clear_bytes, &clear_bytes);
    pst_sealer_free(sealer);
    if (rc == PST_OK)
        rc = pst_manifest_decode(clear, clear_bytes, ret_manifest);
    pst_free(clear);
    if (rc == PST_OK &&
        (ret_manifest->id != header.id || memcmp(ret_manifest->graph, header.graph, sizeof header.graph) != 0 ||
         any_inside(ret_manifest) != (header.version == MANIFEST_VERSION_INSIDE))) {
        pst_manifest_fini(ret_manifest);
        rc = PST_EDATA;
    }
    return rc;
}

int pst_manifest_sealer(const struct pst_manifest *manifest, struct pst_secret *master,
                        const uint8_t incarnation[PST_INCARNATION_BYTES], bool to_open, struct pst_sealer **ret_sealer)
{
    const char **ids = pst_malloc((manifest->node_count + 1) * sizeof *ids);
    uint32_t *buckets = pst_malloc((manifest->node_count + 1) * sizeof *buckets);
    int rc = ids != NULL && buckets != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t i = 0; rc == PST_OK && i < manifest->node_count; i++) {
        ids[i] = manifest->nodes[i].id;
        buckets[i] = manifest->nodes[i].bucket_count;
    }
    if (rc == PST_OK)
        rc = (to_open ? pst_sealer_new_to_open : pst_sealer_new)(
            master, manifest->graph, PST_SEAL_CHECKPOINT, incarnation, manifest->node_count, ids, buckets, ret_sealer);
    pst_free(ids);
    pst_free(buckets);
    return rc;
}
