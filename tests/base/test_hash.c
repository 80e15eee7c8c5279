/* test_hash.c - the key hash against SipHash-1-3's own vectors, and many keys at a time against one at a time. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Key bytes 0..15, message bytes 0..n-1: those that other implementations are tested with (Rust's SipHasher13), made again by a
 * plain program that gives the published SipHash-2-4 vectors, too. */
static const uint64_t vectors[64] = {
    0xabac0158050fc4dcu, 0xc9f49bf37d57ca93u, 0x82cb9b024dc7d44du, 0x8bf80ab8e7ddf7fbu, 0xcf75576088d38328u,
    0xdef9d52f49533b67u, 0xc50d2b50c59f22a7u, 0xd3927d989bb11140u, 0x369095118d299a8eu, 0x25a48eb36c063de4u,
    0x79de85ee92ff097fu, 0x70c118c1f94dc352u, 0x78a384b157b4d9a2u, 0x306f760c1229ffa7u, 0x605aa111c0f95d34u,
    0xd320d86d2a519956u, 0xcc4fdd1a7d908b66u, 0x9cf2689063dbd80cu, 0x8ffc389cb473e63eu, 0xf21f9de58d297d1cu,
    0xc0dc2f46a6cce040u, 0xb992abfe2b45f844u, 0x7ffe7b9ba320872eu, 0x525a0e7fdae6c123u, 0xf464aeb267349c8cu,
    0x45cd5928705b0979u, 0x3a3e35e3ca9913a5u, 0xa91dc74e4ade3b35u, 0xfb0bed02ef6cd00du, 0x88d93cb44ab1e1f4u,
    0x540f11d643c5e663u, 0x2370dd1f8c21d1bcu, 0x81157b6c16a7b60du, 0x4d54b9e57a8ff9bfu, 0x759f12781f2a753eu,
    0xcea1a3bebf186b91u, 0x2cf508d3ada26206u, 0xb6101c2da3c33057u, 0xb3f47496ae3a36a1u, 0x626b57547b108392u,
    0xc1d2363299e41531u, 0x667cc1923f1ad944u, 0x65704ffec8138825u, 0x24f280d1c28949a6u, 0xc2ca1cedfaf8876bu,
    0xc2164bfc9f042196u, 0xa16e9c9368b1d623u, 0x49fb169c8b5114fdu, 0x9f3143f8df074c46u, 0xc6fdaf2412cc86b3u,
    0x7eaf49d10a52098fu, 0x1cf313559d292f9au, 0xc44a30dda2f41f12u, 0x36fae98943a71ed0u, 0x318fb34c73f0bce6u,
    0xa27abf3670a7e980u, 0xb4bcc0db243c6d75u, 0x23f8d852fdb71513u, 0x8f035f4da67d8a08u, 0xd89cd0e5b7e8f148u,
    0xf6f4e6bcf7a644eeu, 0xaec59ad80f1837f2u, 0xc3b2f6154b6694e0u, 0x9d199062b7bbb3a8u,
};
static const struct pst_hash_key counting = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

static void published_vectors(void **state)
{
    (void)state;
    unsigned char message[64];
    for (unsigned i = 0; i < 64; i++) {
        message[i] = (unsigned char)i;
        assert_int_equal(pst_hash(&counting, message, i), vectors[i]);
    }
}

static void many_at_a_time_are_the_same_as_one_by_one(void **state)
{
    (void)state;
    enum { KEYS = 50 };
    static unsigned char keys[KEYS * PST_KEY_BYTES_MAX + 1];
    uint64_t hashes[KEYS + 1];
    uint32_t draw = 1;
    for (size_t i = 0; i < sizeof keys; i++)
        keys[i] = (unsigned char)((draw = draw * 1664525 + 1013904223) >> 24);
    for (size_t bytes = 1; bytes <= PST_KEY_BYTES_MAX; bytes++) {
        for (uint32_t n = 0; n <= KEYS; n++) {
            memset(hashes, 0xee, sizeof hashes);
            pst_hash_many(&counting, keys + n % 2, bytes, n, hashes); /* at an odd address as well */
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(hashes[i], pst_hash(&counting, keys + n % 2 + i * bytes, bytes));
            assert_int_equal(hashes[n], 0xeeeeeeeeeeeeeeeeu); /* nothing behind the last */
        }
    }
}

static void a_leading_part_of_the_key_gives_the_lowest_bits_and_the_whole_key_the_others(void **state)
{
    (void)state;
    enum { KEYS = 600, BYTES = 12 };
    static unsigned char keys[KEYS * BYTES];
    static uint64_t hashes[KEYS + 1];
    const uint64_t low = (UINT64_C(1) << PST_HASH_LEAD_BITS) - 1;
    uint32_t draw = 1;
    for (size_t i = 0; i < sizeof keys; i++)
        keys[i] = (unsigned char)((draw = draw * 1664525 + 1013904223) >> 24);
    for (size_t lead = 0; lead <= BYTES; lead++) {
        hashes[KEYS] = 0xeeeeeeeeeeeeeeeeu;
        pst_hash_led(&counting, keys, BYTES, lead, KEYS, hashes);
        for (uint32_t i = 0; i < KEYS; i++) {
            uint64_t whole = pst_hash(&counting, keys + i * BYTES, BYTES);
            uint64_t part = pst_hash(&counting, keys + i * BYTES, lead != 0 ? lead : BYTES);
            assert_int_equal(hashes[i] & ~low, whole & ~low);
            assert_int_equal(hashes[i] & low, part & low);
        }
        assert_int_equal(hashes[KEYS], 0xeeeeeeeeeeeeeeeeu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(many_at_a_time_are_the_same_as_one_by_one),
        cmocka_unit_test(a_leading_part_of_the_key_gives_the_lowest_bits_and_the_whole_key_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
