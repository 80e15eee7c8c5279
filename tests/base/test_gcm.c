/* test_gcm.c - both fillings of base/gcm.h against published vectors and each other, and on memory that somebody else writes to. */
#include "base/gcm.h"

#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int (*const fillings[])(const uint8_t *, struct pst_gcm **) = {pst_gcm_new, pst_gcm_new_plain};
enum { FILLINGS = 2, LARGE = 64 * 1024 };

static uint32_t bytes_of(const char *hex, uint8_t *ret)
{
    uint32_t count = (uint32_t)strlen(hex) / 2;
    for (uint32_t i = 0; i < count; i++) {
        const char two[] = {hex[2 * i], hex[2 * i + 1], '\0'};
        ret[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return count;
}

static void draw(uint32_t *seed, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((*seed = *seed * 1664525 + 1013904223) >> 24);
}

/* ---- what comes out ---- */

/* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 13 to 16. */
static const struct {
    const char *key, *nonce, *data, *clear, *sealed, *tag;
} vectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f662898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static void published_vectors(void **state)
{
    (void)state;
    for (size_t v = 0; v < FILLINGS * sizeof vectors / sizeof vectors[0]; v++) {
        uint8_t key[32], nonce[12], data[32], clear[64], sealed[64], wanted[64], tag[16], wanted_tag[16];
        struct pst_gcm *gcm;
        (void)bytes_of(vectors[v / FILLINGS].key, key);
        (void)bytes_of(vectors[v / FILLINGS].nonce, nonce);
        const struct pst_gcm_head head = {nonce, data, bytes_of(vectors[v / FILLINGS].data, data)};
        uint32_t count = bytes_of(vectors[v / FILLINGS].clear, clear);
        (void)bytes_of(vectors[v / FILLINGS].sealed, wanted);
        (void)bytes_of(vectors[v / FILLINGS].tag, wanted_tag);
        assert_int_equal(fillings[v % FILLINGS](key, &gcm), PST_OK);
        assert_int_equal(pst_gcm_seal(gcm, &head, clear, count, sealed, tag), PST_OK);
        assert_memory_equal(sealed, wanted, count);
        assert_memory_equal(tag, wanted_tag, sizeof tag);
        pst_gcm_free(gcm);
    }
}

struct pair {
    struct pst_gcm *gcm[FILLINGS];
    uint8_t key[32], nonce[12];
};

static void pair_init(struct pair *pair, uint32_t *seed)
{
    draw(seed, pair->key, sizeof pair->key);
    draw(seed, pair->nonce, sizeof pair->nonce);
    for (int f = 0; f < FILLINGS; f++)
        assert_int_equal(fillings[f](pair->key, &pair->gcm[f]), PST_OK);
}

static void pair_fini(struct pair *pair)
{
    for (int f = 0; f < FILLINGS; f++)
        pst_gcm_free(pair->gcm[f]);
}

/* Sealed by both, from where `shift` says on; opened by the other one, elsewhere and in its place. Nothing behind the end is touched. */
static void both_ways(struct pair *pair, uint32_t *seed, uint32_t data_bytes, uint32_t byte_count, uint32_t shift)
{
    enum { ROOM = LARGE + 128 };
    static uint8_t clear[ROOM], used[ROOM], sealed[FILLINGS][ROOM], opened[ROOM], data[ROOM], tag[FILLINGS][16];
    draw(seed, data, data_bytes);
    draw(seed, clear, byte_count);
    draw(seed, pair->nonce, sizeof pair->nonce);
    const struct pst_gcm_head head = {pair->nonce, data, data_bytes};
    for (int f = 0; f < FILLINGS; f++) {
        memcpy(used + shift, clear, byte_count);
        memset(sealed[f], 0xee, byte_count + 128);
        assert_int_equal(pst_gcm_seal_out(pair->gcm[f], &head, used + shift, byte_count, sealed[f] + shift, tag[f]),
                         PST_OK);
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(sealed[f][shift + byte_count + i], 0xee);
    }
    assert_memory_equal(sealed[0] + shift, sealed[1] + shift, byte_count);
    assert_memory_equal(tag[0], tag[1], 16);
    for (int f = 0; f < FILLINGS; f++) {
        memset(opened, 0xee, byte_count + 128);
        assert_int_equal(pst_gcm_open(pair->gcm[f], &head, sealed[!f] + shift, byte_count, tag[!f], opened + shift),
                         PST_OK);
        assert_memory_equal(opened + shift, clear, byte_count);
        assert_int_equal(opened[shift + byte_count], 0xee);
        assert_int_equal(pst_gcm_open(pair->gcm[f], &head, sealed[f] + shift, byte_count, tag[f], sealed[f] + shift),
                         PST_OK);
        assert_memory_equal(sealed[f] + shift, clear, byte_count);
        assert_int_equal(pst_gcm_seal(pair->gcm[f], &head, sealed[f] + shift, byte_count, sealed[f] + shift, tag[f]),
                         PST_OK);
    }
    assert_memory_equal(sealed[0] + shift, sealed[1] + shift, byte_count);
}

static void both_fillings_seal_alike_whatever_the_sizes(void **state)
{
    (void)state;
    static const uint32_t large[] = {4096, 16 * 1024, 65456, 65457, LARGE - 1, LARGE};
    struct pair pair;
    uint32_t seed = 1;
    pair_init(&pair, &seed);
    for (uint32_t bytes = 0; bytes <= 1100; bytes++)
        both_ways(&pair, &seed, 64, bytes, bytes % 64);
    for (uint32_t bytes = 0; bytes <= 600; bytes++)
        both_ways(&pair, &seed, bytes, bytes % 97, 0);
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        both_ways(&pair, &seed, 64, large[i], (uint32_t)i);
    pair_fini(&pair);
    for (uint32_t key = 0; key < 200; key++) { /* a carry in half of the hashes' keys */
        pair_init(&pair, &seed);
        both_ways(&pair, &seed, 20, 300, 0);
        pair_fini(&pair);
    }
}

static void whatever_bit_is_changed_nothing_opens_and_nothing_is_left(void **state)
{
    (void)state;
    enum { BYTES = 300, DATA = 20 };
    static const uint8_t zeros[BYTES];
    uint8_t clear[BYTES], sealed[BYTES], opened[BYTES], data[DATA], tag[16];
    struct pair pair;
    uint32_t seed = 2;
    pair_init(&pair, &seed);
    draw(&seed, clear, sizeof clear);
    draw(&seed, data, sizeof data);
    const struct pst_gcm_head head = {pair.nonce, data, sizeof data};
    uint8_t *const places[] = {sealed, data, tag, pair.nonce};
    const uint32_t sizes[] = {sizeof sealed, sizeof data, sizeof tag, sizeof pair.nonce};
    assert_int_equal(pst_gcm_seal(pair.gcm[0], &head, clear, sizeof clear, sealed, tag), PST_OK);
    for (int f = 0; f < FILLINGS; f++)
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
            for (uint32_t bit = 0; bit < 8 * sizes[p]; bit++) {
                places[p][bit / 8] ^= (uint8_t)(1 << bit % 8);
                assert_int_equal(pst_gcm_open(pair.gcm[f], &head, sealed, sizeof sealed, tag, opened), PST_EREFUSED);
                assert_memory_equal(opened, zeros, sizeof opened);
                places[p][bit / 8] ^= (uint8_t)(1 << bit % 8);
            }
    assert_int_equal(pst_gcm_open(pair.gcm[1], &head, sealed, sizeof sealed - 1, tag, opened), PST_EREFUSED);
    pair_fini(&pair);
}

/* ---- memory that somebody else writes to ---- */

static atomic_bool writing;
static atomic_uint written;

/* Changes each byte in turn, and changes it back. */
static void *flicker(void *argument)
{
    uint8_t *bytes = argument;
    for (uint32_t i = 0; atomic_load(&writing); i += 61) {
        __atomic_fetch_xor(bytes + i % LARGE, 0xff, __ATOMIC_RELAXED);
        __atomic_fetch_xor(bytes + i % LARGE, 0xff, __ATOMIC_RELAXED);
        atomic_fetch_add(&written, 1);
    }
    return NULL;
}

/* What others write to meanwhile is a race, and meant: the thread sanitizer looks away, and is spared most of the rounds. */
#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 200 };
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
static int race_begin(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    return 0;
}
static int race_end(int rc)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    return rc;
}
#define RACE_MEANT(call) (race_begin(), race_end(call))
#else
enum { ROUNDS = 4000 };
#define RACE_MEANT(call) (call)
#endif

static void others_write(pthread_t *thread, uint8_t *bytes)
{
    atomic_store(&writing, true);
    assert_int_equal(pthread_create(thread, NULL, flicker, bytes), 0);
    for (uint32_t seen = atomic_load(&written); atomic_load(&written) == seen;)
        continue;
}

static void others_stop(pthread_t thread)
{
    atomic_store(&writing, false);
    (void)pthread_join(thread, NULL);
}

static void what_opens_is_what_was_sealed_though_others_write_there(void **state)
{
    (void)state;
    static uint8_t clear[LARGE], used[LARGE], sealed[LARGE], opened[LARGE];
    uint8_t tag[16];
    struct pair pair;
    uint32_t seed = 3, good = 0, bad = 0;
    pair_init(&pair, &seed);
    draw(&seed, clear, sizeof clear);
    memcpy(used, clear, sizeof used);
    const struct pst_gcm_head head = {pair.nonce, NULL, 0};
    assert_int_equal(pst_gcm_seal(pair.gcm[0], &head, used, LARGE, sealed, tag), PST_OK);
    for (int f = 0; f < FILLINGS; f++) {
        pthread_t thread;
        others_write(&thread, sealed);
        for (int i = 0; i < ROUNDS; i++) {
            int rc = RACE_MEANT(pst_gcm_open(pair.gcm[f], &head, sealed, LARGE, tag, opened));
            if (rc == PST_OK)
                assert_memory_equal(opened, clear, LARGE);
            good += rc == PST_OK;
            bad += rc == PST_EREFUSED;
        }
        others_stop(thread);
    }
    print_message("opened %u, refused %u\n", good, bad);
    assert_int_equal(good + bad, FILLINGS * ROUNDS);
    pair_fini(&pair);
}

static void what_is_sealed_is_right_though_others_write_where_it_goes(void **state)
{
    (void)state;
    static uint8_t clear[LARGE], used[LARGE], sealed[LARGE];
    uint8_t tag[16], wanted[16];
    struct pair pair;
    uint32_t seed = 4;
    pair_init(&pair, &seed);
    draw(&seed, clear, sizeof clear);
    const struct pst_gcm_head head = {pair.nonce, NULL, 0};
    memcpy(used, clear, sizeof used);
    assert_int_equal(pst_gcm_seal(pair.gcm[0], &head, used, LARGE, sealed, wanted), PST_OK);
    for (int f = 0; f < FILLINGS; f++) {
        pthread_t thread;
        others_write(&thread, sealed);
        for (int i = 0; i < ROUNDS / 2; i++) {
            memcpy(used, clear, sizeof used);
            assert_int_equal(RACE_MEANT(pst_gcm_seal_out(pair.gcm[f], &head, used, LARGE, sealed, tag)), PST_OK);
            assert_memory_equal(tag, wanted, sizeof tag);
        }
        others_stop(thread);
    }
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(both_fillings_seal_alike_whatever_the_sizes),
        cmocka_unit_test(whatever_bit_is_changed_nothing_opens_and_nothing_is_left),
        cmocka_unit_test(what_opens_is_what_was_sealed_though_others_write_there),
        cmocka_unit_test(what_is_sealed_is_right_though_others_write_where_it_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
