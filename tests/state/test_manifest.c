/* test_manifest.c - manifests: what is written is read again; nothing else is. */
#include "state/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pst_secret *master, *other;
static const uint8_t incarnation[PST_INCARNATION_BYTES] = {7, 8, 9};

static int begin(void **state)
{
    (void)state;
    if (pst_secret_new(&master) != PST_OK || pst_secret_new(&other) != PST_OK)
        return -1;
    pst_secret_bytes(other)[0] = 1;
    return 0;
}

static int finish(void **state)
{
    (void)state;
    pst_secret_free(master);
    pst_secret_free(other);
    return 0;
}

/* ---- a small one ---- */
struct sample { /* lists in here, so that a test changes one and writes it */
    struct pst_manifest manifest;
    struct pst_manifest_structure structures[2];
    struct pst_manifest_node nodes[2];
    struct pst_manifest_file files[2];
    struct pst_manifest_sink sinks[2];
    struct pst_manifest_bucket buckets[2];
    struct pst_manifest_log logs[2];
    struct pst_manifest_page pages[4];
};

static char name_graph[] = "meters", name_a[] = "by_house", name_b[] = "by_plug", type[] = "aggregate",
            params[] = "window=60;group=house", none[] = "", table[] = "groups", entries[] = "history",
            out_a[] = "a.csv", out_b[] = "b.csv";

static void sample_init(struct sample *s)
{
    enum { PIECE = 336 };
    memset(s, 0, sizeof *s);
    s->structures[0] = (struct pst_manifest_structure){table, PST_PAGE_RECORDS, 8, 24};
    s->structures[1] = (struct pst_manifest_structure){entries, PST_PAGE_LOG, 0, 0};
    s->nodes[0] = (struct pst_manifest_node){name_a, type, params, false, 4, 9, 2, s->structures};
    s->nodes[1] = (struct pst_manifest_node){name_b, type, none, false, 2, 3, 1, s->structures};
    s->files[0] = (struct pst_manifest_file){12, 3 * PIECE, {1}};
    s->files[1] = (struct pst_manifest_file){11, PIECE, {2}};
    s->sinks[0] = (struct pst_manifest_sink){out_a, 1000, 50};
    s->sinks[1] = (struct pst_manifest_sink){out_b, 0, 0};
    s->buckets[0] = (struct pst_manifest_bucket){0, 3, 120, 5};
    s->buckets[1] = (struct pst_manifest_bucket){1, 1, INT64_MAX, 1};
    s->logs[0] = (struct pst_manifest_log){0, {0, 1, 32, 32}};
    s->logs[1] = (struct pst_manifest_log){0, {3, 1, 48, 96}};
    s->pages[0] = (struct pst_manifest_page){0, 0, 0, PST_PAGE_RECORDS, 0, 9, 0, 0, PIECE, {3}};
    s->pages[1] = (struct pst_manifest_page){0, 3, 0, PST_PAGE_RECORDS, 0, 2, 1, 0, PIECE, {4}};
    s->pages[2] = (struct pst_manifest_page){0, 3, 1, PST_PAGE_LOG, 0, 9, 0, PIECE, PIECE, {5}};
    s->pages[3] = (struct pst_manifest_page){1, 1, 0, PST_PAGE_RECORDS, 0, 3, 0, 2 * PIECE, PIECE, {6}};
    s->manifest = (struct pst_manifest){.id = 12,
                                        .graph_name = name_graph,
                                        .cut = -60,
                                        .hash_key = {1, UINT64_MAX},
                                        .source = {.offset = 4096,
                                                   .lines = 100,
                                                   .rows = 97,
                                                   .rows_late = 1,
                                                   .lines_malformed = 2,
                                                   .newest = -61,
                                                   .bad_line_count = 2,
                                                   .bad_line = {3, 77},
                                                   .bad_reason = {1, 2}},
                                        .sink_count = 2,
                                        .node_count = 2,
                                        .file_count = 2,
                                        .bucket_count = 2,
                                        .log_count = 2,
                                        .page_count = 4,
                                        .sinks = s->sinks,
                                        .nodes = s->nodes,
                                        .files = s->files,
                                        .buckets = s->buckets,
                                        .logs = s->logs,
                                        .pages = s->pages};
    assert_int_equal(pst_manifest_graph(name_graph, s->manifest.graph), PST_OK);
}

struct bytes {
    uint8_t *at;
    size_t count;
};

static struct bytes written(const struct sample *s)
{
    struct bytes bytes;
    assert_int_equal(pst_manifest_write(&s->manifest, master, incarnation, &bytes.at, &bytes.count), PST_OK);
    return bytes;
}

/* From memory of exactly that size, so that a sanitizer sees a read behind it. */
static int read_copy(const uint8_t *at, size_t count, struct pst_secret *key, struct pst_manifest *ret)
{
    uint8_t *copy = malloc(count != 0 ? count : 1);
    assert_non_null(copy);
    if (count != 0)
        memcpy(copy, at, count);
    int rc = pst_manifest_read(copy, count, key, ret);
    free(copy);
    return rc;
}

static void same_nodes(const struct pst_manifest *a, const struct pst_manifest *b)
{
    assert_int_equal(a->node_count, b->node_count);
    for (uint32_t i = 0; i < a->node_count; i++) {
        const struct pst_manifest_node *x = &a->nodes[i], *y = &b->nodes[i];
        assert_string_equal(x->id, y->id);
        assert_string_equal(x->type, y->type);
        assert_string_equal(x->params, y->params);
        assert_int_equal(x->bucket_count, y->bucket_count);
        assert_int_equal(x->generation, y->generation);
        assert_int_equal(x->structure_count, y->structure_count);
        for (uint32_t s = 0; s < x->structure_count; s++) {
            assert_string_equal(x->structures[s].name, y->structures[s].name);
            assert_int_equal(x->structures[s].kind, y->structures[s].kind);
            assert_int_equal(x->structures[s].key_bytes, y->structures[s].key_bytes);
            assert_int_equal(x->structures[s].record_bytes, y->structures[s].record_bytes);
        }
    }
}

static void same_places(const struct pst_manifest *a, const struct pst_manifest *b)
{
    assert_int_equal(a->file_count, b->file_count);
    assert_memory_equal(a->files, b->files, a->file_count * sizeof *a->files);
    assert_int_equal(a->bucket_count, b->bucket_count);
    assert_memory_equal(a->buckets, b->buckets, a->bucket_count * sizeof *a->buckets);
    assert_int_equal(a->log_count, b->log_count);
    for (uint32_t i = 0; i < a->log_count; i++) {
        assert_int_equal(a->logs[i].node, b->logs[i].node);
        assert_int_equal(a->logs[i].log.bucket, b->logs[i].log.bucket);
        assert_int_equal(a->logs[i].log.structure, b->logs[i].log.structure);
        assert_int_equal(a->logs[i].log.tail, b->logs[i].log.tail);
        assert_int_equal(a->logs[i].log.head, b->logs[i].log.head);
    }
    assert_int_equal(a->page_count, b->page_count);
    for (uint32_t i = 0; i < a->page_count; i++) {
        const struct pst_manifest_page *x = &a->pages[i], *y = &b->pages[i];
        assert_int_equal(x->node, y->node);
        assert_int_equal(x->bucket, y->bucket);
        assert_int_equal(x->structure, y->structure);
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->number, y->number);
        assert_int_equal(x->changed, y->changed);
        assert_int_equal(x->file, y->file);
        assert_int_equal(x->offset, y->offset);
        assert_int_equal(x->sealed_bytes, y->sealed_bytes);
        assert_memory_equal(x->digest, y->digest, sizeof x->digest);
    }
}

static void same(const struct pst_manifest *a, const struct pst_manifest *b)
{
    assert_int_equal(a->id, b->id);
    assert_memory_equal(a->graph, b->graph, sizeof a->graph);
    assert_string_equal(a->graph_name, b->graph_name);
    assert_int_equal(a->cut, b->cut);
    assert_memory_equal(a->hash_key, b->hash_key, sizeof a->hash_key);
    assert_int_equal(a->source.offset, b->source.offset);
    assert_int_equal(a->source.lines, b->source.lines);
    assert_int_equal(a->source.rows, b->source.rows);
    assert_int_equal(a->source.rows_late, b->source.rows_late);
    assert_int_equal(a->source.lines_malformed, b->source.lines_malformed);
    assert_int_equal(a->source.newest, b->source.newest);
    assert_int_equal(a->source.bad_line_count, b->source.bad_line_count);
    assert_memory_equal(a->source.bad_line, b->source.bad_line, sizeof a->source.bad_line);
    assert_memory_equal(a->source.bad_reason, b->source.bad_reason, sizeof a->source.bad_reason);
    assert_int_equal(a->sink_count, b->sink_count);
    for (uint32_t i = 0; i < a->sink_count; i++) {
        assert_string_equal(a->sinks[i].file, b->sinks[i].file);
        assert_int_equal(a->sinks[i].bytes, b->sinks[i].bytes);
        assert_int_equal(a->sinks[i].rows, b->sinks[i].rows);
    }
    same_nodes(a, b);
    same_places(a, b);
}

/* ---- what holds ---- */
static void what_is_written_is_read(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_OK);
    same(&s.manifest, &found);
    pst_manifest_fini(&found);
    pst_free(bytes.at);
    s.manifest.sink_count = s.manifest.node_count = s.manifest.file_count = 0;
    s.manifest.bucket_count = s.manifest.log_count = s.manifest.page_count = 0;
    s.manifest.source.bad_line_count = 0;
    memset(s.manifest.source.bad_line, 0, sizeof s.manifest.source.bad_line);
    memset(s.manifest.source.bad_reason, 0, sizeof s.manifest.source.bad_reason);
    bytes = written(&s);
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_OK);
    same(&s.manifest, &found);
    pst_manifest_fini(&found);
    pst_free(bytes.at);
}

static void another_key_opens_nothing(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    assert_int_equal(read_copy(bytes.at, bytes.count, other, &found), PST_EREFUSED);
    pst_free(bytes.at);
}

static void no_changed_bit_is_accepted(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    for (size_t bit = 0; bit < bytes.count * 8; bit++) {
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int rc = pst_manifest_read(bytes.at, bytes.count, master, &found);
        /* The two versions, of the file and of the piece, tell of a newer format where they are higher. */
        bool version = bit / 8 == 4 || bit / 8 == 5 || bit / 8 == PST_MANIFEST_HEADER_BYTES + 4 ||
                       bit / 8 == PST_MANIFEST_HEADER_BYTES + 5;
        if (rc != PST_EREFUSED && !(version && rc == PST_EABI))
            print_error("bit %zu: %d\n", bit, rc);
        assert_true(rc == PST_EREFUSED || (version && rc == PST_EABI));
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(pst_manifest_read(bytes.at, bytes.count, master, &found), PST_OK);
    pst_manifest_fini(&found);
    pst_free(bytes.at);
}

static void no_other_length_is_accepted(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    for (size_t count = 0; count < bytes.count; count++)
        assert_int_equal(read_copy(bytes.at, count, master, &found), PST_EREFUSED);
    uint8_t *longer = malloc(bytes.count + 1);
    assert_non_null(longer);
    memcpy(longer, bytes.at, bytes.count);
    longer[bytes.count] = 0;
    assert_int_equal(read_copy(longer, bytes.count + 1, master, &found), PST_EREFUSED);
    free(longer);
    pst_free(bytes.at);
}

static void a_newer_format_is_told_apart(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    bytes.at[4] = 3;
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_EABI);
    bytes.at[4] = 2; /* that of one with operators in enclaves */
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_EDATA);
    bytes.at[4] = 0;
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_EREFUSED);
    pst_free(bytes.at);
}

static void what_enclaves_have_sealed_is_named_by_its_place_alone(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    for (int i = 0; i < 6; i++) {
        sample_init(&s);
        s.nodes[1].inside = true;
        s.nodes[1].structure_count = i == 1;
        s.pages[3].structure = i == 2 ? PST_STRUCTURES_MAX : 7; /* nobody here knows how many there are */
        if (i >= 3)
            s.pages[3] = (struct pst_manifest_page){
                1, 1, PST_MANIFEST_INDEX_STRUCTURE, PST_MANIFEST_INDEX_KIND, 0, i == 4, 0, 0, 336, {6}};
        s.pages[3].node = i != 5; /* an index of an operator whose pages are known */
        struct bytes bytes = written(&s);
        assert_int_equal(bytes.at[4], 2);
        int rc = read_copy(bytes.at, bytes.count, master, &found);
        assert_int_equal(rc, i == 0 || i == 3 ? PST_OK : PST_EDATA);
        if (rc == PST_OK) {
            assert_true(found.nodes[1].inside && !found.nodes[0].inside);
            pst_manifest_fini(&found);
            bytes.at[4] = 1;
            assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_EDATA);
        }
        pst_free(bytes.at);
    }
}

/* Changes the sample into one that must not be; all of these have a right seal. */
#define WRONG(X)                                                                                              \
    X("a page's node", s->pages[3].node = 2)                                                                  \
    X("a page's bucket", s->pages[2].bucket = 4)                                                              \
    X("a page's structure", s->pages[2].structure = 2)                                                        \
    X("a page's kind", s->pages[2].kind = PST_PAGE_RECORDS)                                                   \
    X("a page's file", s->pages[3].file = 2)                                                                  \
    X("a page newer than all of its operator's", s->pages[3].changed = 4)                                     \
    X("a page there twice", s->pages[1] = s->pages[0])                                                        \
    X("pages out of order of number", (s->pages[0].bucket = 3, s->pages[0].number = 1))                       \
    X("pages out of order of structure", (s->pages[1].structure = 1, s->pages[1].kind = PST_PAGE_LOG,         \
                                          s->pages[2].structure = 0, s->pages[2].kind = PST_PAGE_RECORDS))    \
    X("pages out of order of bucket", (s->pages[0].bucket = 3, s->pages[1].bucket = 0))                       \
    X("pages out of order of node", (s->pages[2] = s->pages[3], s->pages[3] = s->pages[1]))                   \
    X("a page that ends behind its file", s->pages[3].offset++)                                               \
    X("a page that begins behind its file", s->pages[3].offset = UINT64_MAX)                                  \
    X("a page larger than its file", s->pages[1].sealed_bytes++)                                              \
    X("a page smaller than a sealed piece", s->pages[1].sealed_bytes = PST_SEAL_HEADER_BYTES)                 \
    X("a page larger than any",                                                                               \
      (s->files[0].bytes = 1 << 20, s->pages[0].sealed_bytes = (uint32_t)pst_seal_bound(PST_PAGE_BYTES) + 1)) \
    X("a log's node", s->logs[1].node = 2)                                                                    \
    X("a log's bucket", s->logs[1].log.bucket = 4)                                                            \
    X("a log's structure", s->logs[1].log.structure = 2)                                                      \
    X("a log that is a table", s->logs[1].log.structure = 0)                                                  \
    X("a bucket's node", s->buckets[1].node = 2)                                                              \
    X("a bucket's number", s->buckets[1].bucket = 2)                                                          \
    X("an operator without buckets", s->nodes[1].bucket_count = 0)                                            \
    X("an operator without an id", s->nodes[1].id = none)                                                     \
    X("an operator with more structures than there can be", s->nodes[0].structure_count = 33)                 \
    X("a generation behind which none comes", s->nodes[0].generation = UINT32_MAX)                            \
    X("more bad lines than there can be", s->manifest.source.bad_line_count = PST_MANIFEST_BAD_LINES_MAX + 1)

static struct pst_manifest_structure many[33];

static int wrong_one(uint32_t index, const char **ret_what)
{
    struct sample sample, *s = &sample;
    struct pst_manifest found;
    struct bytes bytes;
    uint32_t at = 0;
    sample_init(s);
    *ret_what = NULL;
#define X(what, change)     \
    if (at++ == index) {    \
        *ret_what = (what); \
        (void)(change);     \
    }
    WRONG(X)
#undef X
    if (*ret_what == NULL)
        return PST_OK;
    if (s->nodes[0].structure_count == 33)
        s->nodes[0].structures = many;
    /* A writer may refuse what a reader would. */
    int rc = pst_manifest_write(&s->manifest, master, incarnation, &bytes.at, &bytes.count);
    if (rc != PST_OK)
        return rc;
    rc = read_copy(bytes.at, bytes.count, master, &found);
    pst_free(bytes.at);
    if (rc == PST_OK)
        pst_manifest_fini(&found);
    return rc;
}

static void what_cannot_be_is_refused_whoever_sealed_it(void **state)
{
    (void)state;
    const char *what;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 33; i++)
        many[i] = (struct pst_manifest_structure){table, PST_PAGE_RECORDS, 8, 24};
    for (;; count++) {
        int rc = wrong_one(count, &what);
        if (what == NULL)
            break;
        if (rc != PST_EDATA)
            print_error("%s: %d\n", what, rc);
        assert_int_equal(rc, PST_EDATA);
    }
    assert_true(count > 20);
}

static void a_manifest_of_another_name_is_refused(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    sample_init(&s);
    struct bytes bytes = written(&s);
    bytes.at[8]++; /* the id in clear */
    assert_int_equal(read_copy(bytes.at, bytes.count, master, &found), PST_EREFUSED);
    pst_free(bytes.at);
}

static void failing_allocations_leave_nothing(void **state)
{
    (void)state;
    struct sample s;
    struct pst_manifest found;
    struct bytes bytes;
    uint64_t n = 1;
    sample_init(&s);
    for (;; n++) {
        pst_malloc_fail_at(n);
        int rc = pst_manifest_write(&s.manifest, master, incarnation, &bytes.at, &bytes.count);
        pst_malloc_fail_at(0);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
    }
    assert_true(n > 3);
    for (n = 1;; n++) {
        pst_malloc_fail_at(n);
        int rc = read_copy(bytes.at, bytes.count, master, &found);
        pst_malloc_fail_at(0);
        if (rc == PST_OK)
            break;
        assert_int_equal(rc, PST_ENOMEM);
    }
    assert_true(n > 3);
    same(&s.manifest, &found);
    pst_manifest_fini(&found);
    pst_free(bytes.at);
}

static void pages_open_under_the_manifest_s_sealer_alone(void **state)
{
    (void)state;
    struct sample s;
    struct pst_sealer *sealer, *opener;
    const struct pst_seal_place place = {.bucket = 3, .structure = 1, .kind = PST_PAGE_LOG, .number = 5, .version = 9};
    uint8_t clear[100] = {1, 2, 3}, piece[1024], found[100];
    size_t count;
    uint32_t found_bytes;
    sample_init(&s);
    assert_int_equal(pst_manifest_sealer(&s.manifest, master, s.files[0].incarnation, false, &sealer), PST_OK);
    assert_int_equal(pst_seal(sealer, 0, &place, true, clear, sizeof clear, piece, sizeof piece, &count), PST_OK);
    pst_sealer_free(sealer);
    assert_int_equal(pst_manifest_sealer(&s.manifest, master, s.files[0].incarnation, true, &opener), PST_OK);
    assert_int_equal(pst_unseal(opener, 0, &place, piece, count, found, sizeof found, &found_bytes), PST_OK);
    assert_memory_equal(found, clear, sizeof clear);
    assert_int_equal(pst_unseal(opener, 1, &place, piece, count, found, sizeof found, &found_bytes), PST_EREFUSED);
    assert_int_equal(pst_seal(opener, 0, &place, true, clear, sizeof clear, piece, sizeof piece, &count), PST_EREFUSED);
    pst_sealer_free(opener);
    assert_int_equal(pst_manifest_sealer(&s.manifest, master, s.files[1].incarnation, true, &opener), PST_OK);
    assert_int_equal(pst_unseal(opener, 0, &place, piece, count, found, sizeof found, &found_bytes), PST_EREFUSED);
    pst_sealer_free(opener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(another_key_opens_nothing),
        cmocka_unit_test(no_changed_bit_is_accepted),
        cmocka_unit_test(no_other_length_is_accepted),
        cmocka_unit_test(a_newer_format_is_told_apart),
        cmocka_unit_test(what_enclaves_have_sealed_is_named_by_its_place_alone),
        cmocka_unit_test(what_cannot_be_is_refused_whoever_sealed_it),
        cmocka_unit_test(a_manifest_of_another_name_is_refused),
        cmocka_unit_test(failing_allocations_leave_nothing),
        cmocka_unit_test(pages_open_under_the_manifest_s_sealer_alone),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
