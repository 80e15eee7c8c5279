/* test_base.c - errors, memory, text and numbers. */
#include "base/base.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void every_error_has_a_name_and_a_sentence(void **state)
{
    (void)state;
#define X(name, number, sentence)                     \
    assert_string_equal(pst_error_name(name), #name); \
    assert_string_equal(pst_error_sentence(number), sentence);
    PST_ERROR_MAP(X)
#undef X
    assert_string_equal(pst_error_name(-999), "unknown");
    assert_non_null(pst_error_sentence(1));
    pst_system_error_set(ENOSPC);
    assert_string_equal(pst_system_error(), "No space left on device");
}

/* ---- memory ---- */
static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        uint64_t before = pst_malloc_count();
        pst_malloc_fail_at(2);
        void *first = pst_malloc(10);
        void *second = kind == 0   ? pst_malloc(1)
                       : kind == 1 ? pst_calloc(1, 1)
                       : kind == 2 ? pst_realloc(NULL, 1)
                       : kind == 3 ? pst_aligned(64, 64)
                                   : (void *)pst_strdup("x");
        void *third = pst_malloc(10);
        assert_non_null(first);
        assert_null(second);
        assert_non_null(third);
        assert_int_equal(pst_malloc_count() - before, 3);
        pst_free(first);
        pst_free(third);
    }
    pst_malloc_fail_at(1);
    pst_malloc_fail_at(0);
    void *memory = pst_malloc(0);
    assert_non_null(memory);
    pst_free(memory);
}

static void sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct pst_arena arena;
    volatile size_t most = SIZE_MAX;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they end the program there */
    assert_null(pst_calloc(most, 2));
#endif
    pst_arena_init(&arena);
    assert_null(pst_arena_alloc(&arena, most));
    assert_null(pst_arena_alloc(&arena, most - 8));
    pst_arena_fini(&arena);
    void *aligned = pst_aligned(64, 1);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    pst_free(aligned);
    pst_free(NULL);
}

static void an_arena_gives_zeroed_aligned_memory_that_stays(void **state)
{
    (void)state;
    struct pst_arena arena;
    unsigned char *pieces[300];
    size_t total = 0;
    pst_arena_init(&arena);
    for (size_t i = 0; i < 300; i++) {
        size_t bytes = i % 7 == 0 ? 20000 + i : i;
        pieces[i] = pst_arena_alloc(&arena, bytes);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(1 + i % 200), bytes);
        total += bytes;
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < (i % 7 == 0 ? 20000 + i : i); k++)
            assert_int_equal(pieces[i][k], 1 + i % 200);
    assert_true(arena.bytes_total >= total);
    assert_string_equal(pst_arena_strdup(&arena, "words"), "words");
    assert_string_equal(pst_arena_printf(&arena, "%s %d", "words", 7), "words 7");
    pst_malloc_fail_at(1);
    assert_null(pst_arena_alloc(&arena, 100000));
    assert_non_null(pst_arena_alloc(&arena, 100000));
    pst_arena_fini(&arena);
    assert_null(arena.chunk);
}

/* ---- text ---- */
static void text_grows_and_is_always_ended(void **state)
{
    (void)state;
    struct pst_text text = {0};
    size_t count = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pst_text_add(&text, "abc", (size_t)(i % 4)), PST_OK);
        count += (size_t)(i % 4);
        assert_int_equal(text.count, count);
        assert_int_equal(strlen(text.bytes), count);
    }
    assert_int_equal(pst_text_printf(&text, "%05d", 42), PST_OK);
    assert_string_equal(text.bytes + count, "00042");
    pst_text_fini(&text);
    assert_null(text.bytes);
}

static void text_that_lost_something_says_so(void **state)
{
    (void)state;
    struct pst_text text = {0};
    pst_malloc_fail_at(1);
    assert_int_equal(pst_text_add(&text, "a", 1), PST_ENOMEM);
    assert_true(text.failed);
    assert_int_equal(pst_text_printf(&text, "b"), PST_ENOMEM);
    assert_null(text.bytes);
    pst_text_fini(&text);
}

static void json_is(const char *string, const char *wanted)
{
    struct pst_text text = {0};
    assert_int_equal(pst_text_json(&text, string), PST_OK);
    assert_string_equal(text.bytes, wanted);
    pst_text_fini(&text);
}

static void plain_is(const char *string, size_t bytes_max, const char *wanted)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s", string);
    pst_text_plain(text, bytes_max, text);
    assert_string_equal(text, wanted);
}

static void words_move_no_cursor_and_are_cut_between_characters(void **state)
{
    (void)state;
    plain_is("", 60, "");
    plain_is("as it is, \xc3\xa4 \xe2\x82\xac too", 60, "as it is, \xc3\xa4 \xe2\x82\xac too");
    plain_is("a\033[2Jb\rc\nd\te\x7f", 60, "a?[2Jb?c d e?");
    plain_is("\xc2\x9b"
             "31m",
             60, "??31m"); /* one byte's worth of the same, as a character */
    plain_is("\xff \xc3", 60, "? ?");
    plain_is("\xed\xa0\x80", 60, "???");
    plain_is("12345", 4, "1234");
    plain_is("123\xc3\xa4", 4, "123");
    plain_is("123\xc3\xa4", 5, "123\xc3\xa4");
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    json_is(NULL, "null");
    json_is("", "\"\"");
    json_is("plain", "\"plain\"");
    json_is("a\"b\\c/", "\"a\\\"b\\\\c/\"");
    json_is("\n\t\r\x01\x1f\x7f", "\"\\u000a\\u0009\\u000d\\u0001\\u001f\\u007f\"");
}

static void json_keeps_utf_8_and_replaces_what_is_none(void **state)
{
    (void)state;
    json_is("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    json_is("\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf",
            "\"\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf\"");
    json_is("\xff", "\"\\ufffd\"");
    json_is("a\x80z", "\"a\\ufffdz\"");
    json_is("\xc3", "\"\\ufffd\""); /* cut short by the end */
    json_is("\xe2\x82", "\"\\ufffd\\ufffd\"");
    json_is("\xf0\x9f\x98", "\"\\ufffd\\ufffd\\ufffd\"");
    json_is("\xe2\x82"
            "a",
            "\"\\ufffd\\ufffda\"");            /* and by a letter */
    json_is("\xc0\xaf", "\"\\ufffd\\ufffd\""); /* longer than need be */
    json_is("\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\"");
    json_is("\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    json_is("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
    json_is("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    json_is("\xf8\x88\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"");
    json_is("\xff\"", "\"\\ufffd\\\"\"");
}

static void the_nearest_name_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"partitions", "buckets", "inputs", "params", "key", "id"};
    enum { NAMES = sizeof names / sizeof names[0] };
    assert_string_equal(pst_nearest("partition", names, NAMES), "partitions");
    assert_string_equal(pst_nearest("partitoins", names, NAMES), "partitions"); /* two neighbours changed places */
    assert_string_equal(pst_nearest("bucket", names, NAMES), "buckets");
    assert_string_equal(pst_nearest("keys", names, NAMES), "key");
    assert_string_equal(pst_nearest("inptus", names, NAMES), "inputs");
    assert_string_equal(pst_nearest("key", names, NAMES), "key");
    assert_null(pst_nearest("colour", names, NAMES));
    assert_null(pst_nearest("", names, NAMES));
    assert_null(pst_nearest("id", names, 0));
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const long_names[] = {longest, "aaa"};
    assert_null(pst_nearest(longest, long_names, 2));
    assert_string_equal(pst_nearest("aa", long_names, 2), "aaa");
}

/* ---- numbers ---- */
static void numbers_are_read_whole_or_not_at_all(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "1x", "x", "0x1", "--1", "1.0"};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        assert_int_equal(pst_parse_u64(bad[n], &u), PST_EINVAL);
        assert_int_equal(pst_parse_i64(bad[n], &i), PST_EINVAL);
    }
    assert_int_equal(pst_parse_u64("-1", &u), PST_EINVAL);
    assert_int_equal(u, 7);
    assert_int_equal(i, 7);
    assert_int_equal(pst_parse_u64("18446744073709551615", &u), PST_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(pst_parse_u64("18446744073709551616", &u), PST_ERANGE);
    assert_int_equal(pst_parse_u64("99999999999999999999999", &u), PST_ERANGE);
    assert_int_equal(pst_parse_u64("007", &u), PST_OK);
    assert_int_equal(u, 7);
    assert_int_equal(pst_parse_i64("9223372036854775807", &i), PST_OK);
    assert_true(i == INT64_MAX);
    assert_int_equal(pst_parse_i64("-9223372036854775808", &i), PST_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(pst_parse_i64("9223372036854775808", &i), PST_ERANGE);
    assert_int_equal(pst_parse_i64("-9223372036854775809", &i), PST_ERANGE);
    assert_int_equal(pst_parse_i64("-0", &i), PST_OK);
    assert_int_equal(i, 0);
}

static void sizes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        uint64_t bytes;
    } sizes[] = {{"0", PST_OK, 0},
                 {"4096", PST_OK, 4096},
                 {"10B", PST_OK, 10},
                 {"1k", PST_OK, 1000},
                 {"2kB", PST_OK, 2000},
                 {"3M", PST_OK, 3000000},
                 {"1G", PST_OK, 1000000000},
                 {"1Ki", PST_OK, 1024},
                 {"64MiB", PST_OK, 64u << 20},
                 {"2GiB", PST_OK, (uint64_t)2 << 30},
                 {"1K", PST_EINVAL, 0},
                 {"1 k", PST_EINVAL, 0},
                 {"k", PST_EINVAL, 0},
                 {"1.5k", PST_OK, 1500},
                 {"93.5MiB", PST_OK, 98041856},
                 {"0.0000005M", PST_EINVAL, 0},
                 {"1.5", PST_EINVAL, 0},
                 {"1.k", PST_EINVAL, 0},
                 {"-1k", PST_EINVAL, 0},
                 {"1kib", PST_EINVAL, 0},
                 {"99999999999GiB", PST_ERANGE, 0},
                 {"18446744073709551616", PST_ERANGE, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes = 0;
        assert_int_equal(pst_parse_bytes(sizes[i].text, &bytes), sizes[i].rc);
        if (sizes[i].rc == PST_OK)
            assert_true(bytes == sizes[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_name_and_a_sentence),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_that_stays),
        cmocka_unit_test(text_grows_and_is_always_ended),
        cmocka_unit_test(text_that_lost_something_says_so),
        cmocka_unit_test(words_move_no_cursor_and_are_cut_between_characters),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(json_keeps_utf_8_and_replaces_what_is_none),
        cmocka_unit_test(the_nearest_name_is_found),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(sizes_have_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
