/* test_seal.c - sealed pieces: what opens, what is refused, and that no nonce is used twice. */
#include "state/seal_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 16 * 1024, BUCKETS = 4, ROOM = 2 * PAGE };

static const char *const ids[] = {"meters", "by_house"};
static const uint32_t bucket_counts[] = {BUCKETS, BUCKETS};
static const struct pst_seal_place place = {
    .bucket = 3, .structure = 2, .kind = 1, .number = 0x0102030405060708u, .version = 9};

/* ---- what the tests share ---- */
static uint64_t random_state = 1;
static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void random_fill(uint8_t *bytes, uint32_t byte_count)
{
    for (uint32_t i = 0; i < byte_count; i++)
        bytes[i] = (uint8_t)random_next();
}

static void count_up(uint8_t bytes[32], uint8_t first)
{
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(first + i);
}

static struct pst_secret *master_new(uint8_t first)
{
    struct pst_secret *master;
    assert_int_equal(pst_secret_new(&master), PST_OK);
    count_up(pst_secret_bytes(master), first);
    return master;
}

/* A sealer of the standard graph, or of one whose parts begin with other bytes. */
static struct pst_sealer *sealer_of(uint8_t master_first, uint8_t graph_first, pst_seal_purpose purpose,
                                    uint8_t incarnation_first)
{
    uint8_t graph[32], incarnation[32];
    struct pst_sealer *sealer;
    struct pst_secret *master = master_new(master_first);
    count_up(graph, graph_first);
    count_up(incarnation, incarnation_first);
    assert_int_equal(pst_sealer_new(master, graph, purpose, incarnation, 2, ids, bucket_counts, &sealer), PST_OK);
    pst_secret_free(master);
    return sealer;
}

static struct pst_sealer *standard(void) { return sealer_of(0, 32, PST_SEAL_CHECKPOINT, 64); }

/* A piece in memory of exactly its size, so that a sanitizer sees a read behind it. */
struct piece {
    uint8_t *bytes;
    size_t count;
};

static struct piece seal(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *where,
                         bool compress, const void *clear, uint32_t clear_bytes)
{
    struct piece piece;
    size_t bound = pst_seal_bound(clear_bytes);
    piece.bytes = malloc(bound);
    assert_non_null(piece.bytes);
    assert_int_equal(
        pst_seal(sealer, operator_index, where, compress, clear, clear_bytes, piece.bytes, bound, &piece.count),
        PST_OK);
    assert_true(piece.count <= bound);
    piece.bytes = realloc(piece.bytes, piece.count);
    assert_non_null(piece.bytes);
    return piece;
}

static int unseal_bytes(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *where,
                        const uint8_t *bytes, size_t count, uint8_t *clear, uint32_t capacity, uint32_t *ret_bytes)
{
    uint8_t *copy = malloc(count != 0 ? count : 1);
    assert_non_null(copy);
    if (count != 0)
        memcpy(copy, bytes, count);
    int rc = pst_unseal(sealer, operator_index, where, copy, count, clear, capacity, ret_bytes);
    free(copy);
    return rc;
}

static void opens(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *where,
                  struct piece piece, const void *clear, uint32_t clear_bytes)
{
    uint8_t *seen = malloc(clear_bytes + 1);
    uint32_t seen_bytes = UINT32_MAX;
    assert_non_null(seen);
    seen[clear_bytes] = 0xA5;
    assert_int_equal(
        pst_unseal(sealer, operator_index, where, piece.bytes, piece.count, seen, clear_bytes, &seen_bytes), PST_OK);
    assert_int_equal(seen_bytes, clear_bytes);
    assert_memory_equal(seen, clear, clear_bytes);
    assert_int_equal(seen[clear_bytes], 0xA5);
    free(seen);
}

/* Refused, and nothing of the secret text "ssss..." is left. */
static void is_refused(struct pst_sealer *sealer, uint32_t operator_index, const struct pst_seal_place *where,
                       struct piece piece, int error)
{
    static uint8_t seen[ROOM];
    uint32_t seen_bytes = 77;
    memset(seen, 0, sizeof seen);
    int rc = unseal_bytes(sealer, operator_index, where, piece.bytes, piece.count, seen, sizeof seen, &seen_bytes);
    if (rc != error)
        fail_msg("%s where %s is wanted", pst_error_name(rc), pst_error_name(error));
    assert_int_equal(seen_bytes, 77);
    assert_null(memmem(seen, sizeof seen, "ssss", 4));
}

static void piece_free(struct piece *piece) { free(piece->bytes); }

static struct pst_seal_header header_of(struct piece piece)
{
    struct pst_seal_header header;
    assert_int_equal(pst_seal_header_read(piece.bytes, piece.count, &header), PST_OK);
    return header;
}

/* ---- what opens ---- */
static void what_was_sealed_opens_at_every_size(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    static uint8_t noise[PAGE], text[PAGE];
    random_fill(noise, PAGE);
    for (uint32_t i = 0; i < PAGE; i++)
        text[i] = (uint8_t)("load "[i % 5] + (i / 999));
    for (uint32_t size = 0; size <= PAGE; size += size < 600 ? 1 : size < PAGE - 3 && size > PAGE - 40 ? 1 : 37) {
        for (int compress = 0; compress < 2; compress++) {
            const uint8_t *clear[] = {noise, text};
            for (int i = 0; i < 2; i++) {
                struct piece piece = seal(sealer, 1, &place, compress != 0, clear[i], size);
                opens(sealer, 1, &place, piece, clear[i], size);
                piece_free(&piece);
            }
        }
    }
    struct piece piece = seal(sealer, 1, &place, true, text, PAGE);
    opens(sealer, 1, &place, piece, text, PAGE);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void large_pieces_open_too(void **unused)
{
    (void)unused;
    enum { LARGE = 5 * 1024 * 1024 + 3 };
    struct pst_sealer *sealer = standard();
    uint8_t *clear = calloc(1, LARGE);
    assert_non_null(clear);
    random_fill(clear, LARGE / 3);
    for (int compress = 0; compress < 2; compress++) {
        struct piece piece = seal(sealer, 0, &place, compress != 0, clear, LARGE);
        opens(sealer, 0, &place, piece, clear, LARGE);
        piece_free(&piece);
    }
    free(clear);
    pst_sealer_free(sealer);
}

static void an_opener_opens_and_does_not_seal(void **unused)
{
    (void)unused;
    uint8_t graph[32], incarnation[32], out[1024];
    size_t out_bytes;
    struct pst_sealer *sealer = standard(), *opener;
    struct pst_secret *master = master_new(0);
    struct piece piece = seal(sealer, 1, &place, false, "text", 4);
    count_up(graph, 32);
    count_up(incarnation, 64);
    assert_int_equal(
        pst_sealer_new_to_open(master, graph, PST_SEAL_CHECKPOINT, incarnation, 2, ids, bucket_counts, &opener),
        PST_OK);
    opens(opener, 1, &place, piece, "text", 4);
    assert_int_equal(pst_seal(opener, 1, &place, false, "text", 4, out, sizeof out, &out_bytes), PST_EREFUSED);
    piece_free(&piece);
    pst_secret_free(master);
    pst_sealer_free(opener);
    pst_sealer_free(sealer);
}

static void keys_depend_on_the_id_and_not_on_its_place(void **unused)
{
    (void)unused;
    static const char *const turned[] = {"other", "by_house", "meters"};
    static const uint32_t counts[] = {7, BUCKETS, BUCKETS};
    uint8_t graph[32], incarnation[32];
    struct pst_sealer *sealer = standard(), *opener;
    struct pst_secret *master = master_new(0);
    struct piece piece = seal(sealer, 0, &place, false, "text", 4);
    count_up(graph, 32);
    count_up(incarnation, 64);
    assert_int_equal(
        pst_sealer_new_to_open(master, graph, PST_SEAL_CHECKPOINT, incarnation, 3, turned, counts, &opener), PST_OK);
    opens(opener, 2, &place, piece, "text", 4);
    is_refused(opener, 1, &place, piece, PST_EREFUSED);
    piece_free(&piece);
    pst_secret_free(master);
    pst_sealer_free(opener);
    pst_sealer_free(sealer);
}

static void more_keys_than_contexts_do_no_harm(void **unused)
{
    (void)unused;
    enum { MANY = 2 * PST_SEAL_CONTEXTS_MAX + 5 };
    static const char *const id[] = {"wide"};
    static const uint32_t count[] = {MANY};
    uint8_t graph[32] = {1}, incarnation[32] = {2}, seen[8];
    uint32_t seen_bytes;
    struct pst_secret *master = master_new(0);
    struct pst_sealer *sealer;
    struct piece first[3];
    assert_int_equal(pst_sealer_new(master, graph, PST_SEAL_SPILL, incarnation, 1, id, count, &sealer), PST_OK);
    /* Three buckets of one slot, in turn: their keys push one another out, their counters stay. */
    for (uint32_t turn = 0; turn < 4; turn++) {
        for (uint32_t i = 0; i < 3; i++) {
            const struct pst_seal_place where = {.bucket = i * PST_SEAL_CONTEXTS_MAX};
            struct piece piece = seal(sealer, 0, &where, false, &i, sizeof i);
            assert_int_equal(header_of(piece).counter, turn);
            if (turn == 0)
                first[i] = piece;
            else
                piece_free(&piece);
            assert_int_equal(
                pst_unseal(sealer, 0, &where, first[i].bytes, first[i].count, seen, sizeof seen, &seen_bytes), PST_OK);
        }
    }
    for (int i = 0; i < 3; i++)
        piece_free(&first[i]);
    pst_secret_free(master);
    pst_sealer_free(sealer);
}

/* ---- sizes ---- */
static void a_class_is_a_quarter_of_a_power_of_two(void **unused)
{
    (void)unused;
    static const uint32_t pairs[][2] = {
        {0, 256},       {1, 256},       {256, 256},     {257, 320},     {320, 320},        {321, 384},
        {448, 448},     {449, 512},     {512, 512},     {513, 640},     {9000, 10240},     {16384, 16384},
        {16383, 16384}, {14336, 14336}, {14337, 16384}, {16385, 20480}, {1 << 30, 1 << 30}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_int_equal(pst_seal_class(pairs[i][0]), pairs[i][1]);
    for (uint32_t n = 0; n < 70000; n++) {
        uint32_t class_bytes = pst_seal_class(n);
        assert_true(class_bytes >= n && pst_seal_class(class_bytes) == class_bytes);
        assert_true(n < 256 || class_bytes <= n + n / 4);
        assert_int_equal(pst_seal_bound(n), 64 + class_bytes + 16);
    }
}

static void lz4_is_used_where_it_saves_a_class(void **unused)
{
    (void)unused;
    static uint8_t clear[PAGE];
    struct pst_sealer *sealer = standard();
    struct piece piece = seal(sealer, 0, &place, true, clear, PAGE);
    assert_int_equal(header_of(piece).flags, PST_SEAL_FLAG_LZ4);
    assert_int_equal(piece.count, 64 + 256 + 16);
    piece_free(&piece);
    piece = seal(sealer, 0, &place, false, clear, PAGE);
    assert_int_equal(header_of(piece).flags, 0);
    piece_free(&piece);
    piece = seal(sealer, 0, &place, true, clear, 256); /* there is no smaller class */
    assert_int_equal(header_of(piece).flags, 0);
    piece_free(&piece);
    uint32_t packed_count = 0;
    for (uint32_t noise = PAGE - 4096; noise <= PAGE; noise += 64) {
        random_fill(clear, noise);
        piece = seal(sealer, 0, &place, true, clear, PAGE);
        struct pst_seal_header header = header_of(piece);
        assert_int_equal(header.sealed_bytes, pst_seal_class(header.packed_bytes));
        assert_true((header.flags != 0) == (header.sealed_bytes < PAGE));
        packed_count += header.flags;
        opens(sealer, 0, &place, piece, clear, PAGE);
        piece_free(&piece);
    }
    assert_in_range(packed_count, 20, 40);
    pst_sealer_free(sealer);
}

static void too_little_room_is_said_before_anything_is_written(void **unused)
{
    (void)unused;
    uint8_t out[400] = {0}, zeros[400] = {0};
    size_t out_bytes;
    struct pst_sealer *sealer = standard();
    assert_int_equal(pst_seal(sealer, 0, &place, false, "text", 4, out, 64 + 256 + 15, &out_bytes), PST_EFULL);
    assert_memory_equal(out, zeros, sizeof out);
    struct piece piece = seal(sealer, 0, &place, false, "ssssssss", 8);
    uint32_t seen_bytes;
    assert_int_equal(header_of(piece).counter, 0);
    assert_int_equal(pst_unseal(sealer, 0, &place, piece.bytes, piece.count, out, 7, &seen_bytes), PST_EREFUSED);
    assert_memory_equal(out, zeros, sizeof out);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

/* ---- what is refused ---- */
static void every_flipped_bit_is_refused(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    static uint8_t clear[1200];
    memset(clear, 's', sizeof clear);
    for (int compress = 0; compress < 2; compress++) {
        struct piece piece = seal(sealer, 1, &place, compress != 0, clear, compress != 0 ? sizeof clear : 300);
        assert_int_equal(header_of(piece).flags, compress);
        for (size_t bit = 0; bit < piece.count * 8; bit++) {
            piece.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            /* A version of 1 with one more bit is a newer format; with bit 0 gone it is none. */
            bool newer = bit / 8 == 4 || bit / 8 == 5;
            is_refused(sealer, 1, &place, piece, newer && bit != 32 ? PST_EABI : PST_EREFUSED);
            piece.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        opens(sealer, 1, &place, piece, clear, compress != 0 ? sizeof clear : 300);
        piece_free(&piece);
    }
    pst_sealer_free(sealer);
}

static void another_length_is_refused(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    static uint8_t clear[300], longer[2000];
    memset(clear, 's', sizeof clear);
    struct piece piece = seal(sealer, 1, &place, false, clear, sizeof clear);
    for (size_t count = 0; count < piece.count; count++)
        is_refused(sealer, 1, &place, (struct piece){piece.bytes, count}, PST_EREFUSED);
    memcpy(longer, piece.bytes, piece.count);
    for (size_t count = piece.count + 1; count < sizeof longer; count += 17)
        is_refused(sealer, 1, &place, (struct piece){longer, count}, PST_EREFUSED);
    /* A piece cut by one class, with a header that says so. */
    struct pst_seal_header header = header_of(piece);
    header.clear_bytes = header.packed_bytes = header.sealed_bytes = 256;
    memcpy(longer, &header, sizeof header);
    is_refused(sealer, 1, &place, (struct piece){longer, 64 + 256 + 16}, PST_EREFUSED);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void a_piece_opens_at_its_own_place_alone(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    struct piece piece = seal(sealer, 1, &place, false, "ssssssss", 8);
    struct pst_seal_place others[] = {place, place, place, place, place, place};
    others[0].bucket = 2;
    others[1].structure = 3;
    others[2].kind = 2;
    others[3].number++;
    others[4].version--;
    others[5].bucket = BUCKETS; /* there is no such */
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        is_refused(sealer, 1, &others[i], piece, PST_EREFUSED);
        /* The header made to fit, too: then it is the tag that refuses. */
        struct piece forged = {malloc(piece.count), piece.count};
        assert_non_null(forged.bytes);
        struct pst_seal_header header = header_of(piece);
        header.bucket = others[i].bucket;
        header.structure = others[i].structure;
        header.kind = others[i].kind;
        header.number = others[i].number;
        header.page_version = others[i].version;
        memcpy(forged.bytes, piece.bytes, piece.count);
        memcpy(forged.bytes, &header, sizeof header);
        is_refused(sealer, 1, &others[i], forged, PST_EREFUSED);
        piece_free(&forged);
    }
    is_refused(sealer, 0, &place, piece, PST_EREFUSED);
    opens(sealer, 1, &place, piece, "ssssssss", 8);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void another_key_graph_purpose_or_incarnation_is_refused(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    struct piece piece = seal(sealer, 1, &place, false, "ssssssss", 8);
    struct pst_sealer *others[] = {
        sealer_of(1, 32, PST_SEAL_CHECKPOINT, 64), sealer_of(0, 33, PST_SEAL_CHECKPOINT, 64),
        sealer_of(0, 32, PST_SEAL_SPILL, 64),      sealer_of(0, 32, PST_SEAL_TRANSFER, 64),
        sealer_of(0, 32, PST_SEAL_MANIFEST, 64),   sealer_of(0, 32, PST_SEAL_CHECKPOINT, 65),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        is_refused(others[i], 1, &place, piece, PST_EREFUSED);
        pst_sealer_free(others[i]);
    }
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void two_halves_of_two_pieces_are_no_piece(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    static uint8_t clear[300];
    memset(clear, 's', sizeof clear);
    struct piece a = seal(sealer, 1, &place, false, clear, sizeof clear);
    struct piece b = seal(sealer, 1, &place, false, clear, sizeof clear);
    assert_int_equal(a.count, b.count);
    assert_memory_not_equal(a.bytes + 64, b.bytes + 64, 256);
    memcpy(b.bytes, a.bytes, 64);
    is_refused(sealer, 1, &place, b, PST_EREFUSED);
    memcpy(a.bytes + a.count - 16, b.bytes + b.count - 16, 16);
    is_refused(sealer, 1, &place, a, PST_EREFUSED);
    piece_free(&a);
    piece_free(&b);
    pst_sealer_free(sealer);
}

static void wrong_arguments_of_a_sealer_are_refused(void **unused)
{
    (void)unused;
    char longest[PST_SEAL_ID_BYTES_MAX + 2];
    const uint8_t zeros[32] = {0};
    struct pst_secret *master = master_new(0);
    struct pst_sealer *sealer = NULL;
    memset(longest, 'x', sizeof longest);
    longest[PST_SEAL_ID_BYTES_MAX + 1] = '\0';
    const char *id[2] = {"a", "a"};
    uint32_t count[2] = {1, 1};
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 2, id, count, &sealer), PST_EINVAL);
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 0, id, count, &sealer), PST_EINVAL);
    assert_int_equal(pst_sealer_new(master, zeros, (pst_seal_purpose)5, zeros, 1, id, count, &sealer), PST_EINVAL);
    assert_int_equal(pst_sealer_new(master, zeros, (pst_seal_purpose)0, zeros, 1, id, count, &sealer), PST_EINVAL);
    count[0] = 0;
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 1, id, count, &sealer), PST_EINVAL);
    count[0] = UINT32_MAX;
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 1, id, count, &sealer), PST_EINVAL);
    count[0] = 1;
    id[0] = "";
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 1, id, count, &sealer), PST_EINVAL);
    id[0] = longest;
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 1, id, count, &sealer), PST_EINVAL);
    assert_null(sealer);
    id[0] = longest + 1;
    assert_int_equal(pst_sealer_new(master, zeros, PST_SEAL_SPILL, zeros, 1, id, count, &sealer), PST_OK);
    struct pst_seal_place first = {0};
    struct piece piece = seal(sealer, 0, &first, false, "text", 4);
    opens(sealer, 0, &first, piece, "text", 4);
    piece_free(&piece);
    pst_sealer_free(sealer);
    pst_secret_free(master);
}

/* ---- no nonce twice ---- */
struct use {
    uint8_t key[PST_SEAL_KEY_ID_BYTES];
    uint64_t counter;
};
static struct use uses[4096];
static uint32_t use_count;

/* Seals a page and notes key and nonce as the sealed bytes show it. */
static void seal_noted(struct pst_sealer *sealer, uint32_t operator_index, uint32_t bucket)
{
    struct pst_seal_place where = place;
    where.bucket = bucket;
    struct piece piece = seal(sealer, operator_index, &where, use_count % 2 != 0, "page", 4);
    assert_true(use_count < sizeof uses / sizeof uses[0]);
    assert_int_equal(pst_sealer_key_id(sealer, operator_index, bucket, uses[use_count].key), PST_OK);
    uses[use_count++].counter = header_of(piece).counter;
    piece_free(&piece);
}

static void seal_everything(struct pst_sealer *sealer)
{
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
            seal_noted(sealer, 0, bucket);
            seal_noted(sealer, 1, bucket);
        }
    }
}

static int use_compare(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    int keys = memcmp(x->key, y->key, sizeof x->key);
    return keys != 0 ? keys : (x->counter > y->counter) - (x->counter < y->counter);
}

static uint32_t uses_shared(void)
{
    uint32_t shared = 0;
    qsort(uses, use_count, sizeof uses[0], use_compare);
    for (uint32_t i = 1; i < use_count; i++)
        shared += use_compare(&uses[i - 1], &uses[i]) == 0;
    return shared;
}

/* As a start, resume, owner or replica does it: the same master key and graph, an incarnation of its own. */
static struct pst_sealer *started(pst_seal_purpose purpose)
{
    uint8_t graph[32], incarnation[32];
    struct pst_sealer *sealer;
    struct pst_secret *master = master_new(0);
    count_up(graph, 32);
    random_fill(incarnation, sizeof incarnation);
    assert_int_equal(pst_sealer_new(master, graph, purpose, incarnation, 2, ids, bucket_counts, &sealer), PST_OK);
    pst_secret_free(master);
    return sealer;
}

static void scene(pst_seal_purpose first, pst_seal_purpose second, pst_seal_purpose third)
{
    struct pst_sealer *sealers[] = {started(first), started(second), started(third)};
    use_count = 0;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 3; i++)
            seal_everything(sealers[i]);
    }
    assert_int_equal(use_count, 2 * 3 * 3 * BUCKETS * 2);
    assert_int_equal(uses_shared(), 0);
    for (int i = 0; i < 3; i++)
        pst_sealer_free(sealers[i]);
}

static void a_run_and_two_resumes_of_one_copy_share_no_nonce(void **unused)
{
    (void)unused;
    scene(PST_SEAL_CHECKPOINT, PST_SEAL_CHECKPOINT, PST_SEAL_CHECKPOINT);
    scene(PST_SEAL_SPILL, PST_SEAL_SPILL, PST_SEAL_SPILL);
}

static void both_owners_of_a_moving_bucket_share_no_nonce(void **unused)
{
    (void)unused;
    scene(PST_SEAL_TRANSFER, PST_SEAL_TRANSFER, PST_SEAL_CHECKPOINT);
}

static void spill_checkpoint_and_transfer_of_a_page_share_no_nonce(void **unused)
{
    (void)unused;
    scene(PST_SEAL_SPILL, PST_SEAL_CHECKPOINT, PST_SEAL_TRANSFER);
}

/* Even where one incarnation served several purposes, which it must not, the purpose alone keeps the keys apart. */
static void purposes_graphs_operators_and_buckets_have_keys_of_their_own(void **unused)
{
    (void)unused;
    uint8_t keys[64][PST_SEAL_KEY_ID_BYTES];
    uint32_t key_count = 0;
    struct pst_sealer *sealers[] = {sealer_of(0, 32, PST_SEAL_SPILL, 64),    sealer_of(0, 32, PST_SEAL_CHECKPOINT, 64),
                                    sealer_of(0, 32, PST_SEAL_TRANSFER, 64), sealer_of(0, 32, PST_SEAL_MANIFEST, 64),
                                    sealer_of(0, 33, PST_SEAL_SPILL, 64),    sealer_of(0, 32, PST_SEAL_SPILL, 65),
                                    sealer_of(1, 32, PST_SEAL_SPILL, 64)};
    for (size_t s = 0; s < sizeof sealers / sizeof sealers[0]; s++) {
        for (uint32_t i = 0; i < 2 * BUCKETS; i++)
            assert_int_equal(pst_sealer_key_id(sealers[s], i % 2, i / 2, keys[key_count++]), PST_OK);
    }
    assert_int_equal(key_count, 56);
    for (uint32_t i = 0; i < key_count; i++) {
        for (uint32_t k = 0; k < i; k++)
            assert_memory_not_equal(keys[i], keys[k], sizeof keys[i]);
    }
    for (size_t s = 0; s < sizeof sealers / sizeof sealers[0]; s++)
        pst_sealer_free(sealers[s]);
}

/* The recorder itself would see it: two sealers of one incarnation, the mistake that the header forbids. */
static void the_recorder_sees_a_shared_nonce(void **unused)
{
    (void)unused;
    struct pst_sealer *one = standard(), *same = standard();
    use_count = 0;
    seal_noted(one, 0, 0);
    seal_noted(same, 0, 0);
    assert_int_equal(uses_shared(), 1);
    pst_sealer_free(one);
    pst_sealer_free(same);
}

static void a_seal_that_is_tried_again_takes_the_next_counter(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    uint8_t out[336];
    size_t out_bytes;
    for (uint32_t i = 0; i < 5; i++) {
        struct piece piece = seal(sealer, 1, &place, false, "text", 4);
        assert_int_equal(header_of(piece).counter, i);
        piece_free(&piece);
        pst_sealer_forget(sealer); /* the key, and not its counter */
    }
    /* Other buckets and operators count for themselves. */
    assert_int_equal(pst_seal(sealer, 0, &place, false, "text", 4, out, sizeof out, &out_bytes), PST_OK);
    assert_int_equal(header_of((struct piece){out, out_bytes}).counter, 0);
    pst_sealer_free(sealer);
}

static void the_last_counter_is_used_once_and_then_it_ends(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    uint8_t out[336];
    size_t out_bytes;
    pst_sealer_seals_skip(sealer, 1, place.bucket, PST_SEALS_MAX - 1);
    struct piece piece = seal(sealer, 1, &place, false, "text", 4);
    assert_true(header_of(piece).counter == PST_SEALS_MAX - 1);
    opens(sealer, 1, &place, piece, "text", 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pst_seal(sealer, 1, &place, false, "text", 4, out, sizeof out, &out_bytes), PST_EREFUSED);
    opens(sealer, 1, &place, piece, "text", 4);
    assert_int_equal(pst_seal(sealer, 0, &place, false, "text", 4, out, sizeof out, &out_bytes), PST_OK);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void a_child_process_cannot_seal_with_what_it_inherits(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    struct piece piece = seal(sealer, 1, &place, false, "text", 4);
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static uint8_t out[336];
        size_t out_bytes;
        _exit(pst_seal(sealer, 1, &place, false, "text", 4, out, sizeof out, &out_bytes) == PST_EREFUSED ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    /* Where the system can only take the page away, the child dies of it: a sanitizer makes an exit code of that. */
    assert_true(status == 0 || WIFSIGNALED(status) || WEXITSTATUS(status) > 1);
    piece_free(&piece);
    piece = seal(sealer, 1, &place, false, "text", 4);
    assert_int_equal(header_of(piece).counter, 1);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

/* ---- golden bytes ---- */
/* The next piece of the file: lines of hexadecimal digits between empty ones; `#` begins a remark. */
static struct piece golden_next(FILE *file)
{
    struct piece piece = {malloc(4096), 0};
    char line[256];
    assert_non_null(piece.bytes);
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#')
            continue;
        if (line[0] == '\n' && piece.count != 0)
            break;
        for (const char *at = line; at[0] != '\n' && at[0] != '\0'; at += 2) {
            unsigned byte;
            assert_int_equal(sscanf(at, "%2x", &byte), 1);
            piece.bytes[piece.count++] = (uint8_t)byte;
        }
    }
    return piece;
}

static void the_golden_pieces_open_and_are_made_again(void **unused)
{
    (void)unused;
    FILE *file = fopen(PST_TEST_SOURCE_DIR "/tests/golden/seal-v1.hex", "r");
    assert_non_null(file);
    struct pst_sealer *sealer = standard();
    uint8_t clear[1000], letters[1000];
    for (uint32_t i = 0; i < sizeof clear; i++)
        clear[i] = (uint8_t)(i % 251);
    memset(letters, 'a', sizeof letters);
    const uint32_t sizes[] = {sizeof clear, 0};
    for (int i = 0; i < 2; i++) {
        struct piece golden = golden_next(file), made = seal(sealer, 1, &place, false, clear, sizes[i]);
        opens(sealer, 1, &place, golden, clear, sizes[i]);
        assert_int_equal(made.count, golden.count);
        assert_memory_equal(made.bytes, golden.bytes, golden.count);
        piece_free(&golden);
        piece_free(&made);
    }
    /* How well LZ4 packs is its own business: such a piece has to open. */
    struct piece packed = golden_next(file);
    assert_int_equal(header_of(packed).flags, PST_SEAL_FLAG_LZ4);
    opens(sealer, 1, &place, packed, letters, sizeof letters);
    piece_free(&packed);
    fclose(file);
    pst_sealer_free(sealer);
}

static void the_header_stands_in_its_bytes(void **unused)
{
    (void)unused;
    static const uint8_t wanted[64] = {'P', 'S', 'T', 'S', 1,    0, 0, 0, 3, 0, 0, 0, 2, 0, 1, 0, 8, 7, 6, 5, 4, 3,
                                       2,   1,   9,   0,   0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0,
                                       4,   1,   0,   0,   0x40, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static uint8_t clear[260];
    struct pst_sealer *sealer = standard();
    struct piece piece = seal(sealer, 1, &place, false, clear, sizeof clear);
    assert_memory_equal(piece.bytes, wanted, sizeof wanted);
    struct pst_seal_header header = header_of(piece);
    assert_int_equal(header.bucket, 3);
    assert_int_equal(header.structure, 2);
    assert_int_equal(header.kind, 1);
    assert_true(header.number == place.number && header.page_version == 9);
    assert_int_equal(header.clear_bytes, 260);
    assert_int_equal(header.sealed_bytes, 320);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

static void headers_whose_sizes_disagree_are_refused(void **unused)
{
    (void)unused;
    struct pst_sealer *sealer = standard();
    static uint8_t clear[1000];
    struct piece piece = seal(sealer, 1, &place, false, clear, sizeof clear);
    const struct pst_seal_header good = header_of(piece);
    struct pst_seal_header bad[9], read;
    for (int i = 0; i < 9; i++)
        bad[i] = good;
    bad[0].packed_bytes = 999;
    bad[1].clear_bytes = UINT32_MAX;
    bad[2].packed_bytes = bad[2].clear_bytes = UINT32_MAX;
    bad[3].flags = PST_SEAL_FLAG_LZ4; /* that would save nothing */
    bad[4].flags = 2;
    bad[5].sealed_bytes = 1000;
    bad[6].counter = PST_SEALS_MAX;
    bad[7].flags = PST_SEAL_FLAG_LZ4, bad[7].packed_bytes = 0, bad[7].sealed_bytes = 256;
    bad[8].version = 0;
    for (int i = 0; i < 9; i++) {
        memcpy(piece.bytes, &bad[i], sizeof bad[i]);
        assert_int_equal(pst_seal_header_read(piece.bytes, piece.count, &read), PST_EREFUSED);
        assert_int_equal(pst_seal_header_read(piece.bytes, 64 + 256 + 16, &read), PST_EREFUSED);
    }
    memcpy(piece.bytes, &good, sizeof good);
    assert_int_equal(pst_seal_header_read(piece.bytes, piece.count, &read), PST_OK);
    piece_free(&piece);
    pst_sealer_free(sealer);
}

/* ---- secrets and memory ---- */
static void a_secret_begins_as_zeros_and_has_a_name(void **unused)
{
    (void)unused;
    struct pst_secret *secret;
    uint8_t zeros[32] = {0}, id[8], again[8];
    /* SHA-256("penstock key id 1" || 00 01 .. 1f), from sha256sum */
    static const uint8_t wanted[8] = {0x93, 0xa6, 0x13, 0xae, 0xba, 0xb1, 0x93, 0x25};
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    assert_memory_equal(pst_secret_bytes(secret), zeros, 32);
    count_up(pst_secret_bytes(secret), 0);
    assert_int_equal(pst_secret_id(secret, id), PST_OK);
    assert_memory_equal(id, wanted, sizeof id);
    pst_secret_bytes(secret)[31] ^= 1;
    assert_int_equal(pst_secret_id(secret, again), PST_OK);
    assert_memory_not_equal(id, again, sizeof id);
    pst_secret_free(secret);
    pst_secret_free(NULL);
    pst_sealer_free(NULL);
}

static void a_derived_secret_is_one_operators_for_one_use(void **unused)
{
    (void)unused;
    /* HKDF-SHA256 of 00 01 .. 1f without salt, info "penstock enclave image 1" || 20 .. 3f || 9 || "plug_load": by RFC 5869 in Python */
    static const uint8_t wanted[8] = {0x4a, 0x09, 0xb1, 0x11, 0xec, 0x49, 0x90, 0xfc};
    static const char label[] = "penstock enclave image 1";
    struct pst_secret *master = master_new(0), *one, *other;
    uint8_t graph[32];
    char long_id[PST_SEAL_ID_BYTES_MAX + 2];
    count_up(graph, 32);
    assert_int_equal(pst_secret_derive(master, label, graph, "plug_load", &one), PST_OK);
    assert_memory_equal(pst_secret_bytes(one), wanted, sizeof wanted);
    assert_int_equal(pst_secret_derive(master, label, graph, "house_load", &other), PST_OK);
    assert_memory_not_equal(pst_secret_bytes(one), pst_secret_bytes(other), 32);
    pst_secret_free(other);
    graph[0] ^= 1;
    assert_int_equal(pst_secret_derive(master, label, graph, "plug_load", &other), PST_OK);
    assert_memory_not_equal(pst_secret_bytes(one), pst_secret_bytes(other), 32);
    pst_secret_free(other);
    memset(long_id, 'x', sizeof long_id);
    long_id[sizeof long_id - 1] = '\0';
    assert_int_equal(pst_secret_derive(master, label, graph, long_id, &other), PST_EINVAL);
    assert_int_equal(pst_secret_derive(master, label, graph, "", &other), PST_EINVAL);
    pst_secret_free(one);
    pst_secret_free(master);
}

static void a_secret_that_cannot_be_locked_says_so(void **unused)
{
    (void)unused;
    struct rlimit before, none;
    struct pst_secret *secret;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    assert_int_equal(pst_secret_new(&secret), PST_OK);
    /* Root may lock in spite of the limit, and a sanitizer locks nothing at all and says it did. */
    if (geteuid() != 0 && getenv("ASAN_OPTIONS") == NULL)
        assert_false(pst_secret_locked(secret));
    memset(pst_secret_bytes(secret), 1, PST_SECRET_BYTES);
    pst_secret_free(secret);
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

/* Makes a sealer, seals and opens; each step is tried again where memory was short. False: none was. */
static bool script(uint64_t fail_at)
{
    bool failed = false;
    int rc;
    uint8_t graph[32] = {1}, incarnation[32] = {2};
    static uint8_t clear[PAGE], seen[PAGE], out[ROOM];
    uint32_t seen_bytes;
    size_t out_bytes;
    struct pst_secret *master;
    struct pst_sealer *sealer;
    pst_malloc_fail_at(fail_at);
    while ((rc = pst_secret_new(&master)) == PST_ENOMEM)
        failed = true;
    assert_int_equal(rc, PST_OK);
    while ((rc = pst_sealer_new(master, graph, PST_SEAL_SPILL, incarnation, 2, ids, bucket_counts, &sealer)) ==
           PST_ENOMEM)
        failed = true;
    assert_int_equal(rc, PST_OK);
    while ((rc = pst_seal(sealer, 1, &place, true, clear, PAGE, out, ROOM, &out_bytes)) == PST_ENOMEM)
        failed = true;
    assert_int_equal(rc, PST_OK);
    while ((rc = pst_unseal(sealer, 1, &place, out, out_bytes, seen, PAGE, &seen_bytes)) == PST_ENOMEM)
        failed = true;
    assert_int_equal(rc, PST_OK);
    pst_malloc_fail_at(0);
    pst_sealer_free(sealer);
    pst_secret_free(master);
    return failed;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    uint64_t before = pst_malloc_count();
    assert_false(script(0));
    uint64_t count = pst_malloc_count() - before;
    assert_true(count >= 8);
    for (uint64_t n = 1; n <= count; n++)
        assert_true(script(n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens_at_every_size),
        cmocka_unit_test(large_pieces_open_too),
        cmocka_unit_test(an_opener_opens_and_does_not_seal),
        cmocka_unit_test(keys_depend_on_the_id_and_not_on_its_place),
        cmocka_unit_test(more_keys_than_contexts_do_no_harm),
        cmocka_unit_test(a_class_is_a_quarter_of_a_power_of_two),
        cmocka_unit_test(lz4_is_used_where_it_saves_a_class),
        cmocka_unit_test(too_little_room_is_said_before_anything_is_written),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(another_length_is_refused),
        cmocka_unit_test(a_piece_opens_at_its_own_place_alone),
        cmocka_unit_test(another_key_graph_purpose_or_incarnation_is_refused),
        cmocka_unit_test(two_halves_of_two_pieces_are_no_piece),
        cmocka_unit_test(wrong_arguments_of_a_sealer_are_refused),
        cmocka_unit_test(a_run_and_two_resumes_of_one_copy_share_no_nonce),
        cmocka_unit_test(both_owners_of_a_moving_bucket_share_no_nonce),
        cmocka_unit_test(spill_checkpoint_and_transfer_of_a_page_share_no_nonce),
        cmocka_unit_test(purposes_graphs_operators_and_buckets_have_keys_of_their_own),
        cmocka_unit_test(the_recorder_sees_a_shared_nonce),
        cmocka_unit_test(a_seal_that_is_tried_again_takes_the_next_counter),
        cmocka_unit_test(the_last_counter_is_used_once_and_then_it_ends),
        cmocka_unit_test(a_child_process_cannot_seal_with_what_it_inherits),
        cmocka_unit_test(the_golden_pieces_open_and_are_made_again),
        cmocka_unit_test(the_header_stands_in_its_bytes),
        cmocka_unit_test(headers_whose_sizes_disagree_are_refused),
        cmocka_unit_test(a_secret_begins_as_zeros_and_has_a_name),
        cmocka_unit_test(a_derived_secret_is_one_operators_for_one_use),
        cmocka_unit_test(a_secret_that_cannot_be_locked_says_so),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
