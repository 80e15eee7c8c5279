/* Units of the CSV parser and of `csv_source`. Each text goes through the plain parser and every kernel of this machine. */
#include "tests/csv/differ.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* Behind the operator header: it defines `fail` as a macro. */
#include <cmocka.h>

extern const struct pst_operator pst_csv_source;

static const char *const meters[] = {"id:u64",      "timestamp:u32",    "value:decimal3", "property:bit",
                                     "plug_id:u32", "household_id:u32", "house_id:u32"};

static void expect_bytes_of(const struct differ *d, const char *text, size_t bytes, const char *rows,
                            const char *rejects, uint64_t line_count)
{
    static struct pst_ctx c;
    for (int level = -1; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = level < 0 ? NULL : pst_csv_kernel_at((pst_csv_level)level);
        if (level >= 0 && kernel == NULL)
            continue;
        differ_run(d, &c, kernel, text, bytes, 0);
        assert_string_equal(c.rows != NULL ? c.rows : "", rows);
        assert_string_equal(c.rejects != NULL ? c.rejects : "", rejects);
        assert_int_equal(c.line_count, line_count);
        fake_fini(&c);
    }
}

static void expect_of(const struct differ *d, const char *text, const char *rows, const char *rejects,
                      uint64_t line_count)
{
    expect_bytes_of(d, text, strlen(text), rows, rejects, line_count);
}

static void expect(const char *text, const char *rows, const char *rejects, uint64_t line_count)
{
    struct differ d;
    differ_init(&d, meters, 7, 1, 0);
    expect_of(&d, text, rows, rejects, line_count);
}

/* One field of a type: the cell, or NULL for a reject. It stands between two others and alone. */
static void expect_cell(const char *type, const char *text, const char *cell)
{
    char item[32], line[300], rows[128] = "", rejects[320] = "";
    struct differ d;
    snprintf(item, sizeof item, "x:%s", type);
    differ_init(&d, (const char *const[]){"a:u32", item, "b:u32"}, 3, -1, 0);
    snprintf(line, sizeof line, "7,%s,9\n", text);
    if (cell != NULL)
        snprintf(rows, sizeof rows, "7 %s 9\n", cell);
    else
        snprintf(rejects, sizeof rejects, "0:2:7,%s,9\n|", text);
    expect_of(&d, line, rows, rejects, 1);
    differ_init(&d, (const char *const[]){item}, 1, -1, 0);
    snprintf(line, sizeof line, "%s\r\n%s", text, text);
    if (cell != NULL)
        snprintf(rows, sizeof rows, "%s\n%s\n", cell, cell);
    else
        snprintf(rejects, sizeof rejects, "0:2:%s\r\n|1:2:%s|", text, text);
    if (text[0] != 0)
        expect_of(&d, line, rows, rejects, 2);
}

/* ---- lines ---- */

static void a_row_of_the_challenge_becomes_a_row(void **state)
{
    (void)state;
    expect("2967740693,1377986401,68.451,0,11,3,39\n", "2967740693 1377986401 68451 0 11 3 39\n", "", 1);
}

static void a_last_line_without_a_newline_counts(void **state)
{
    (void)state;
    expect("1,2,3,1,4,5,6\n2,2,3.5,1,4,5,6", "1 2 3000 1 4 5 6\n2 2 3500 1 4 5 6\n", "", 2);
    expect("1,2,3,1,4,5", "", "0:1:1,2,3,1,4,5|", 1);
}

static void lines_may_end_with_carriage_return_and_newline(void **state)
{
    (void)state;
    expect("id,x\r\n1,2,3,1,4,5,6\r\n2,2,3.5,1,4,5,6\n3,2,3,0,4,5,66\r\n",
           "1 2 3000 1 4 5 6\n2 2 3500 1 4 5 6\n3 2 3000 0 4 5 66\n", "", 4);
    expect("1,2,3,1,4,5,6\r\r\n1,2,3,1,4,5,\r6\r\n", "", "0:2:1,2,3,1,4,5,6\r\r\n|1:2:1,2,3,1,4,5,\r6\r\n|", 2);
}

static void a_carriage_return_without_a_newline_belongs_to_the_last_line(void **state)
{
    (void)state;
    expect("1,2,3,1,4,5,6\r", "", "0:2:1,2,3,1,4,5,6\r|", 1);
}

static void a_byte_order_mark_at_the_beginning_is_skipped(void **state)
{
    (void)state;
    expect("\xef\xbb\xbf"
           "1,2,3,1,4,5,6\n",
           "1 2 3000 1 4 5 6\n", "", 1);
    expect("\xef\xbb\xbfid,timestamp\n1,2,3,1,4,5,6\n", "1 2 3000 1 4 5 6\n", "", 2);
    expect("\xef\xbb\xbf", "", "", 0);
    expect("\xef\xbb\xbfx\n", "", "0:1:x\n|", 1);
    expect("1,2,3,1,4,5,6\n\xef\xbb\xbf"
           "1,2,3,1,4,5,6\n",
           "1 2 3000 1 4 5 6\n",
           "1:2:\xef\xbb\xbf"
           "1,2,3,1,4,5,6\n|",
           2);
}

static void a_header_is_skipped_on_the_first_line_alone(void **state)
{
    (void)state;
    expect("id,timestamp,value,property,plug_id,household_id,house_id\n1,2,3,1,4,5,6\n", "1 2 3000 1 4 5 6\n", "", 2);
    expect("id,\n", "", "", 1);
    expect("id,", "", "", 1);
    expect("id\n", "", "0:1:id\n|", 1);
    expect("idx,2,3,1,4,5,6\n", "", "0:2:idx,2,3,1,4,5,6\n|", 1);
    expect("1,2,3,1,4,5,6\nid,b,c,d,e,f,g\n", "1 2 3000 1 4 5 6\n", "1:2:id,b,c,d,e,f,g\n|", 2);
    expect("id,b,c,d,e,f,g\nid,b,c,d,e,f,g\n", "", "1:2:id,b,c,d,e,f,g\n|", 2);
}

static void a_header_is_a_matter_of_the_first_block(void **state)
{
    struct differ d;
    static struct pst_ctx c;
    (void)state;
    differ_init(&d, meters, 7, 1, 0);
    fake_init(&c, d.fields, 7);
    struct pst_csv_parser parser;
    assert_int_equal(pst_csv_parser_init(&c, &parser, &d.schema, NULL), PST_OK);
    char *base;
    struct pst_block block = fake_block("\xef\xbb\xbfid,b\nid,b,c,d,e,f,g\n", 23, &base);
    assert_int_equal(pst_csv_parse(&c, &parser, &block), PST_OK);
    assert_string_equal(c.rejects, "0:1:\xef\xbb\xbfid,b\n|1:2:id,b,c,d,e,f,g\n|");
    free(base);
    fake_fini(&c);
}

static void an_empty_input_has_no_lines(void **state)
{
    (void)state;
    expect("", "", "", 0);
}

static void an_empty_line_is_malformed_but_for_one_at_the_very_end(void **state)
{
    (void)state;
    expect("1,2,3,1,4,5,6\n\n", "1 2 3000 1 4 5 6\n", "", 2);
    expect("1,2,3,1,4,5,6\n\r\n", "1 2 3000 1 4 5 6\n", "", 2);
    expect("1,2,3,1,4,5,6\n\n\n", "1 2 3000 1 4 5 6\n", "1:5:\n|", 3);
    expect("\n1,2,3,1,4,5,6\n", "1 2 3000 1 4 5 6\n", "0:5:\n|", 2);
    expect("\r\n1,2,3,1,4,5,6\n", "1 2 3000 1 4 5 6\n", "0:5:\r\n|", 2);
    expect("\n", "", "", 1);
}

static void an_empty_line_is_malformed_where_a_line_is_one_field_too(void **state)
{
    struct differ d;
    (void)state;
    differ_init(&d, (const char *const[]){"x:text"}, 1, -1, 0);
    expect_of(&d, "a\n\nb\n\r\n\n", "a\nb\n", "1:5:\n|3:5:\r\n|", 5);
    differ_init(&d, (const char *const[]){"x:u32"}, 1, -1, 0);
    expect_of(&d, "1\n\n2\n\n", "1\n2\n", "1:5:\n|", 4);
}

static void a_line_with_another_number_of_fields_is_malformed(void **state)
{
    (void)state;
    expect("1,2,3,1,4,5\n1,2,3,1,4,5,6\n1,2,3,1,4,5,6,7\n,,,,,,,\nx\n", "1 2 3000 1 4 5 6\n",
           "0:1:1,2,3,1,4,5\n|2:1:1,2,3,1,4,5,6,7\n|3:1:,,,,,,,\n|4:1:x\n|", 5);
    /* As many separators as two rows have. */
    expect("1,2,3,1,4,5\n1,2,3,1,4,5,6,7\n", "", "0:1:1,2,3,1,4,5\n|1:1:1,2,3,1,4,5,6,7\n|", 2);
}

static void a_nul_is_malformed_wherever_it_stands(void **state)
{
    struct differ d;
    (void)state;
    differ_init(&d, (const char *const[]){"a:u32", "b:text"}, 2, -1, 0);
    static struct pst_ctx c;
    static const char text[] = "1,a\0b\n\0,x\n1,ab\n1,\0\n";
    for (int level = -1; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = level < 0 ? NULL : pst_csv_kernel_at((pst_csv_level)level);
        if (level >= 0 && kernel == NULL)
            continue;
        differ_run(&d, &c, kernel, text, sizeof text - 1, 0);
        assert_string_equal(c.rows, "1 ab\n");
        assert_memory_equal(c.rejects, "0:3:1,a\0b\n|1:3:\0,x\n|3:3:1,\0\n|", 29);
        fake_fini(&c);
    }
}

static void a_line_over_4096_bytes_is_malformed_even_as_a_header(void **state)
{
    static char text[20000], rejects[20000];
    struct differ d;
    (void)state;
    differ_init(&d, meters, 7, 1, 0);
    /* A value with so many decimals that the line has exactly 4096 bytes. */
    int n = snprintf(text, sizeof text, "1,2,3.%0*d,1,4,5,6\r\n5,2,3,1,4,5,6\n", 4096 - 14, 0);
    assert_int_equal(n, 4096 + 2 + 14);
    expect_of(&d, text, "1 2 3000 1 4 5 6\n5 2 3000 1 4 5 6\n", "", 2);
    snprintf(text, sizeof text, "1,2,3.%0*d,1,4,5,6\r\n5,2,3,1,4,5,6\n", 4096 - 13, 0);
    snprintf(rejects, sizeof rejects, "0:4:1,2,3.%0*d,1,4,5,6\r\n|", 4096 - 13, 0);
    expect_of(&d, text, "5 2 3000 1 4 5 6\n", rejects, 2);
    snprintf(text, sizeof text, "id,%0*d\n5,2,3,1,4,5,6\n", 4096 - 3, 0);
    expect_of(&d, text, "5 2 3000 1 4 5 6\n", "", 2);
    snprintf(text, sizeof text, "id,%0*d\n5,2,3,1,4,5,6\n", 4096 - 2, 0);
    snprintf(rejects, sizeof rejects, "0:4:id,%0*d\n|", 4096 - 2, 0);
    expect_of(&d, text, "5 2 3000 1 4 5 6\n", rejects, 2);
}

static void a_line_longer_than_a_window_is_one_reject(void **state)
{
    static char text[100100], rejects[100100];
    struct differ d;
    (void)state;
    differ_init(&d, meters, 7, 1, 0);
    snprintf(text, sizeof text, "1,2,3,1,4,5,6\n%0100000d\n5,2,3,1,4,5,6\n", 0);
    snprintf(rejects, sizeof rejects, "1:4:%0100000d\n|", 0);
    expect_of(&d, text, "1 2 3000 1 4 5 6\n5 2 3000 1 4 5 6\n", rejects, 3);
}

static void the_pieces_of_an_overlong_line_are_all_rejected_and_counted_once(void **state)
{
    struct differ d;
    static struct pst_ctx c;
    (void)state;
    differ_init(&d, meters, 7, 1, 0);
    fake_init(&c, d.fields, 7);
    struct pst_csv_parser parser;
    assert_int_equal(pst_csv_parser_init(&c, &parser, &d.schema, NULL), PST_OK);
    static const struct {
        const char *text;
        struct pst_block flags;
    } blocks[] = {{"1,2,3,1,4,5,6\n", {.first = true}},
                  {"aaa", {.overlong = true, .overlong_begins = true}},
                  {"b,b", {.overlong = true}},
                  {"c\n", {.overlong = true}},
                  {"2,2,3,1,4,5,6", {.last = true}}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        char *base;
        struct pst_block block = fake_block(blocks[i].text, strlen(blocks[i].text), &base), flags = blocks[i].flags;
        flags.text = block.text, flags.text_bytes = block.text_bytes;
        assert_int_equal(pst_csv_parse(&c, &parser, &flags), PST_OK);
        free(base);
    }
    fake_flush(&c);
    assert_string_equal(c.rows, "1 2 3000 1 4 5 6\n2 2 3000 1 4 5 6\n");
    assert_string_equal(c.rejects, "1:4:aaa|2:4:b,b|2:4:c\n|");
    assert_int_equal(c.line_count, 3);
    fake_fini(&c);
}

static void rejects_between_thousands_of_rows_keep_their_line_and_their_neighbours(void **state)
{
    enum { ROWS = 5000 };
    static char text[ROWS * 40], rows[ROWS * 40], rejects[ROWS * 40];
    char *t = text, *r = rows, *j = rejects;
    struct differ d;
    (void)state;
    differ_init(&d, meters, 7, 1, 0);
    for (int i = 0; i < ROWS; i++)
        if (i % 37 == 5) {
            t += sprintf(t, "%d,2,x,1,4,5,6\n", i);
            j += sprintf(j, "%d:2:%d,2,x,1,4,5,6\n|", i, i);
        } else if (i % 501 == 7) {
            t += sprintf(t, "%d,2\n", i);
            j += sprintf(j, "%d:1:%d,2\n|", i, i);
        } else {
            t += sprintf(t, "%d,2,%d.0005,1,4,5,6\n", i, i);
            r += sprintf(r, "%d 2 %d 1 4 5 6\n", i, i * 1000 + 1);
        }
    expect_of(&d, text, rows, rejects, ROWS);
}

/* ---- fields ---- */

static void unsigned_numbers_are_digits_alone_and_in_range(void **state)
{
    (void)state;
    expect_cell("u32", "0", "0");
    expect_cell("u32", "12345678", "12345678");
    expect_cell("u32", "123456789", "123456789");
    expect_cell("u32", "4294967295", "4294967295");
    expect_cell("u32", "4294967296", NULL);
    expect_cell("u32", "0000000000000000000000000004294967295", "4294967295");
    expect_cell("u32", "99999999999999999999999", NULL);
    expect_cell("u64", "18446744073709551615", "18446744073709551615");
    expect_cell("u64", "18446744073709551616", NULL);
    expect_cell("u64", "1234567890123456", "1234567890123456");
    expect_cell("u64", "12345678901234567", "12345678901234567");
    expect_cell("u64", "9999999999999999", "9999999999999999");
    static const char *const wrong[] = {"",   "-1",       "+1",        " 1", "1 ", "1.0",  "0x1",  "1e3",
                                        "a",  "1a345678", "12345678:", "/",  ":",  "\x80", "\xb1", "1234567890123a",
                                        "\r1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        expect_cell("u32", wrong[i], NULL);
        expect_cell("u64", wrong[i], NULL);
    }
}

static void a_bit_is_0_or_1(void **state)
{
    (void)state;
    expect_cell("bit", "0", "0");
    expect_cell("bit", "1", "1");
    expect_cell("bit", "00000000000000000001", "1");
    expect_cell("bit", "2", NULL);
    expect_cell("bit", "10", NULL);
    expect_cell("bit", "100000001", NULL);
    expect_cell("bit", "", NULL);
    expect_cell("bit", "-0", NULL);
}

static void signed_numbers_have_a_minus_at_most(void **state)
{
    (void)state;
    expect_cell("i64", "-0", "0");
    expect_cell("i64", "-12345678", "-12345678");
    expect_cell("i64", "-123456789012", "-123456789012");
    expect_cell("i64", "9223372036854775807", "9223372036854775807");
    expect_cell("i64", "9223372036854775808", NULL);
    expect_cell("i64", "-9223372036854775808", "-9223372036854775808");
    expect_cell("i64", "-9223372036854775809", NULL);
    static const char *const wrong[] = {"", "-", "--1", "+1", "1-", "1.0", "-.5", "- 1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_cell("i64", wrong[i], NULL);
}

static void decimals_beyond_the_scale_are_rounded_with_halves_toward_plus_infinity(void **state)
{
    (void)state;
    static const struct {
        const char *text, *cell;
    } cases[] = {
        {"0.0005", "1"},
        {"-0.0005", "0"},
        {"-0.00050", "0"},
        {"-0.00051", "-1"},
        {"0.00049", "0"},
        {"1.9995", "2000"},
        {"-1.9995", "-1999"},
        {"-1.99950000001", "-2000"},
        {"1.99949999", "1999"},
        {"-0.0015", "-1"},
        {"0.0015", "2"},
        {"2.0004999999999999999999", "2000"},
        {"-0.0004", "0"},
        {"-0.0006", "-1"},
        {"12345.6785", "12345679"},
        {"-12345.6785", "-12345678"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_cell("decimal3", cases[i].text, cases[i].cell);
    expect_cell("decimal0", "2.5", "3");
    expect_cell("decimal0", "-2.5", "-2");
    expect_cell("decimal0", "-2.50", "-2");
    expect_cell("decimal0", "-2.501", "-3");
    expect_cell("decimal9", "0.0000000005", "1");
    expect_cell("decimal9", "1.5", "1500000000");
    expect_cell("decimal9", "-9999999.999999999", "-9999999999999999");
    expect_cell("decimal8", "1.25", "125000000");
}

static void a_decimal_is_below_ten_million_before_rounding(void **state)
{
    (void)state;
    expect_cell("decimal3", "9999999", "9999999000");
    expect_cell("decimal3", "9999999.999", "9999999999");
    expect_cell("decimal3", "-9999999.999", "-9999999999");
    expect_cell("decimal3", "9999999.9996", "10000000000");
    expect_cell("decimal3", "10000000", NULL);
    expect_cell("decimal3", "-10000000", NULL);
    expect_cell("decimal3", "10000000.0", NULL);
    expect_cell("decimal3", "99999999", NULL);
    expect_cell("decimal3", "99999999.5", NULL);
    expect_cell("decimal3", "00000000000000009999999.5", "9999999500");
    expect_cell("decimal3", "123456789012345678901234567890", NULL);
    expect_cell("decimal0", "9999999", "9999999");
    expect_cell("decimal0", "10000000", NULL);
}

static void a_decimal_has_digits_on_both_sides_of_its_dot(void **state)
{
    (void)state;
    expect_cell("decimal3", "0", "0");
    expect_cell("decimal3", "-0", "0");
    expect_cell("decimal3", "0.5", "500");
    expect_cell("decimal3", "-0.5", "-500");
    expect_cell("decimal3", "1234.567", "1234567");
    expect_cell("decimal3", "-1234.567", "-1234567");
    expect_cell("decimal3", "123456.789", "123456789");
    expect_cell("decimal3", "0000.001", "1");
    expect_cell("decimal3", "00000000.001", "1");
    static const char *const wrong[] = {"",          ".",          "-",         "1.",      ".5",   "-.5", "1..5",
                                        "1.2.3",     "--1",        "+1",        "1-",      "1e3",  " 1",  "1 ",
                                        "12345678.", "123456789.", ".12345678", "1,5",     "1.-5", "nan", "0x1.8",
                                        "-1.",       "1.5.",       ".1.5",      "1.2345.6"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (strchr(wrong[i], ',') == NULL)
            expect_cell("decimal3", wrong[i], NULL);
}

static void a_text_has_up_to_31_bytes_of_any_kind(void **state)
{
    (void)state;
    struct differ d;
    expect_cell("text", "abc", "abc");
    expect_cell("text", "\"quoted\" \xc3\xa9", "\"quoted\" \xc3\xa9");
    expect_cell("text", "0123456789012345678901234567890", "0123456789012345678901234567890");
    expect_cell("text", "01234567890123456789012345678901", NULL);
    differ_init(&d, (const char *const[]){"a:text", "b:text"}, 2, -1, 0);
    expect_of(&d, ",\n,x\nx,\r\nx,a\r\r\n", " \n x\nx \nx a\r\n", "", 4);
}

static void the_event_time_repeats_and_changes(void **state)
{
    (void)state;
    expect("1,1377986401,0,1,1,1,1\n2,1377986401,0,1,1,1,1\n3,1377986402,0,1,1,1,1\n4,137798640x,0,1,1,1,1\n"
           "5,137798640x,0,1,1,1,1\n6,,0,1,1,1,1\n7,,0,1,1,1,1\n8,1377986402,0,1,1,1,1\n9,4294967295,0,1,1,1,1\n"
           "10,4294967296,0,1,1,1,1\n11,5,0,1,1,1,1\n12,5,0,1,1,1,1\n",
           "1 1377986401 0 1 1 1 1\n2 1377986401 0 1 1 1 1\n3 1377986402 0 1 1 1 1\n8 1377986402 0 1 1 1 1\n"
           "9 4294967295 0 1 1 1 1\n11 5 0 1 1 1 1\n12 5 0 1 1 1 1\n",
           "3:2:4,137798640x,0,1,1,1,1\n|4:2:5,137798640x,0,1,1,1,1\n|5:2:6,,0,1,1,1,1\n|6:2:7,,0,1,1,1,1\n|"
           "9:2:10,4294967296,0,1,1,1,1\n|",
           12);
}

static void an_event_time_near_the_ends_of_i64_is_malformed(void **state)
{
    struct differ d;
    (void)state;
    differ_init(&d, (const char *const[]){"t:i64"}, 1, 0, 0);
    expect_of(&d, "1152921504606846976\n1152921504606846977\n-1152921504606846976\n-1152921504606846977\n",
              "1152921504606846976\n-1152921504606846976\n", "1:2:1152921504606846977\n|3:2:-1152921504606846977\n|",
              4);
    differ_init(&d, (const char *const[]){"t:u64"}, 1, 0, 0);
    expect_of(&d, "1152921504606846976\n18446744073709551615\n", "1152921504606846976\n", "1:2:18446744073709551615\n|",
              2);
}

static void fields_that_nobody_reads_are_checked_all_the_same(void **state)
{
    struct differ d;
    (void)state;
    differ_init(&d, meters, 7, 1, ~UINT64_C(0));
    expect_of(&d, "1,2,3,1,4,5,6\nx,2,3,1,4,5,6\n1,2,3,2,4,5,6\n1,2,3,1,4,5,6666666666\n1,2,3..3,1,4,5,6\n",
              "- 2 - - - - -\n",
              "1:2:x,2,3,1,4,5,6\n|2:2:1,2,3,2,4,5,6\n|3:2:1,2,3,1,4,5,6666666666\n|4:2:1,2,3..3,1,4,5,6\n|", 5);
}

/* ---- the descriptor ---- */

static int plan_of(struct pst_plan *plan, const char *time, uint32_t count, const char *const *items)
{
    memset(plan, 0, sizeof *plan);
    plan->head.host = &fake_host;
    plan->params[0] = (struct fake_param){"file", 1, {"meters.csv"}};
    plan->params[1] = (struct fake_param){.name = "schema", .count = count};
    plan->params[2] = (struct fake_param){"time", 1, {time}};
    for (uint32_t i = 0; i < count && i < 80; i++)
        plan->params[1].texts[i] = items[i];
    return pst_csv_source.plan(plan);
}

static void the_source_puts_out_its_schema(void **state)
{
    static struct pst_plan plan;
    (void)state;
    assert_int_equal(plan_of(&plan, "timestamp", 7, meters), PST_OK);
    assert_int_equal(plan.output_count, 7);
    assert_int_equal(plan.time_field, 1);
    assert_string_equal(plan.output[2].name, "value");
    assert_int_equal(plan.output[2].type, PST_I64);
    assert_int_equal(plan.output[2].scale, 3);
    assert_int_equal(plan.output[3].type, PST_U32);
    fake_plan_fini(&plan);
}

static void the_source_reports_a_bad_schema_at_its_item(void **state)
{
    static struct pst_plan plan;
    (void)state;
    static const char *const bad[] = {"x",           "x:",         ":u32",    "1x:u32", "x:u16",  "x:decimal",
                                      "x:decimal10", "x:decimala", "x y:u32", "x:u32 ", "x:  u32"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(plan_of(&plan, "t", 2, (const char *const[]){"t:u32", bad[i]}), PST_EGRAPH);
        assert_int_equal(plan.error_count, 1);
        assert_string_equal(plan.error_param, "schema");
        assert_int_equal(plan.error_index, 1);
        fake_plan_fini(&plan);
    }
    assert_int_equal(plan_of(&plan, "t", 2, (const char *const[]){"t:u32", "t:u64"}), PST_EGRAPH);
    assert_string_equal(plan.error, "another field has this name");
    fake_plan_fini(&plan);
    assert_int_equal(plan_of(&plan, "t", 0, NULL), PST_EGRAPH);
    fake_plan_fini(&plan);
}

static void the_source_wants_a_whole_number_for_its_time(void **state)
{
    static struct pst_plan plan;
    (void)state;
    static const char *const items[] = {"a:text", "b:decimal3", "c:bit", "d:i64"};
    static const char *const times[] = {"a", "b", "c", "x"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(plan_of(&plan, times[i], 4, items), PST_EGRAPH);
        assert_string_equal(plan.error_param, "time");
        fake_plan_fini(&plan);
    }
    assert_int_equal(plan_of(&plan, "d", 4, items), PST_OK);
    fake_plan_fini(&plan);
}

static void the_source_parses_blocks_and_leaves_out_what_nobody_reads(void **state)
{
    static struct pst_plan plan;
    static struct pst_ctx c;
    (void)state;
    assert_int_equal(plan_of(&plan, "timestamp", 7, meters), PST_OK);
    fake_init(&c, plan.output, plan.output_count);
    c.planned = plan.user;
    c.unwanted = 1;
    assert_int_equal(pst_csv_source.open(&c), PST_OK);
    char *base;
    struct pst_block block = fake_block("1,2,3,1,4,5,6\n", 14, &base);
    block.first = block.last = true;
    assert_int_equal(pst_csv_source.on_block(&c, &block), PST_OK);
    fake_flush(&c);
    assert_string_equal(c.rows, "- 2 3000 1 4 5 6\n");
    free(base);
    fake_fini(&c);
    for (uint64_t n = 1; n <= 3; n++) {
        fake_init(&c, plan.output, plan.output_count);
        c.planned = plan.user;
        c.allocation_fails_at = n;
        assert_int_equal(pst_csv_source.open(&c), PST_ENOMEM);
        fake_fini(&c);
    }
    fake_plan_fini(&plan);
}

/* ---- one odd field in a run that is otherwise plain ---- */

/* The short loops say only that something was wrong: each of these must be noticed among fields that are right. */
static const char *const oddities[] = {
    "0",
    "9",
    "00000000",
    "99999999",
    "100000000",
    "000000001",
    "-1",
    "-0",
    "-",
    "--1",
    "-9999999",
    "-99999999",
    "1.5",
    "1.",
    ".5",
    ".",
    "-.5",
    "-1.",
    "1..5",
    "1.2.3",
    "0.001",
    "0.0005",
    "-0.0005",
    "0.0000",
    "9999999",
    "10000000",
    "9999999.9",
    "1234567.8",
    "123456.789",
    "1234567.",
    ".1234567",
    "",
    "/",
    ":",
    "1:",
    "/1",
    "1 ",
    " 1",
    "1\xff",
    "\x80",
    "\r1",
    "1\r",
    "1\r2",
    "4294967295",
    "4294967296",
    "1234567890123456",
    "-1234567890123456",
    "12345678901234567",
    "123456789.012345",
    "9999999.99999999",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "12345678.",
    "-12345678",
    "-1234567.8",
    "+1",
};

static void odd_field_compare(const struct differ *d, uint32_t odd_column, const char *odd, uint32_t odd_row,
                              uint32_t row_count, bool returns)
{
    static struct pst_ctx plain, fast;
    static char text[16384];
    size_t bytes = 0;
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t i = 0; i < d->schema.field_count; i++) {
            const char *end = i + 1 < d->schema.field_count ? "," : returns ? "\r\n" : "\n";
            bool is_odd = i == odd_column && row == odd_row;
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s%s", is_odd ? odd : "1", end);
        }
    differ_run(d, &plain, NULL, text, bytes, 0);
    for (int level = 0; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = pst_csv_kernel_at((pst_csv_level)level);
        if (kernel == NULL)
            continue;
        differ_run(d, &fast, kernel, text, bytes, 0);
        if (!differ_same(&plain, &fast)) {
            print_error("level %d: \"%s\" as %s in row %u of %u\n", level, odd, d->schema.fields[odd_column].name,
                        odd_row, row_count);
            fail();
        }
        fake_fini(&fast);
    }
    fake_fini(&plain);
}

static void one_odd_field_is_noticed_in_any_row_of_a_plain_run(void **state)
{
    static const char *const kinds[] = {"u32", "u64", "bit", "i64", "decimal0", "decimal3", "decimal6", "decimal9"};
    static const uint32_t field_counts[] = {1, 3, 8, 9}, row_counts[] = {7, 8, 9, 16, 21};
    (void)state;
    for (uint32_t shape = 0; shape < 4 * 8 * 2 * 2; shape++) {
        struct differ d;
        char names[9][16];
        const char *items[9];
        uint32_t field_count = field_counts[shape % 4], kind = shape / 4 % 8;
        bool stored = shape / 32 % 2 != 0, returns = shape / 64 != 0;
        for (uint32_t i = 0; i < field_count; i++) {
            snprintf(names[i], sizeof names[i], "f%u:%s", i, kinds[kind]);
            items[i] = names[i];
        }
        /* An integer in the first place is an event time too. */
        differ_init(&d, items, field_count, kind == 0 || kind == 1 || kind == 3 ? 0 : -1, stored ? 0 : ~UINT64_C(0));
        for (uint32_t n = 0; n < 5; n++)
            for (uint32_t odd = 0; odd < sizeof oddities / sizeof oddities[0]; odd++) {
                uint32_t row = (odd + shape + n) % row_counts[n];
                odd_field_compare(&d, 0, oddities[odd], row, row_counts[n], returns);
                odd_field_compare(&d, field_count - 1, oddities[odd], row, row_counts[n], returns);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_of_the_challenge_becomes_a_row),
        cmocka_unit_test(a_last_line_without_a_newline_counts),
        cmocka_unit_test(lines_may_end_with_carriage_return_and_newline),
        cmocka_unit_test(a_carriage_return_without_a_newline_belongs_to_the_last_line),
        cmocka_unit_test(a_byte_order_mark_at_the_beginning_is_skipped),
        cmocka_unit_test(a_header_is_skipped_on_the_first_line_alone),
        cmocka_unit_test(a_header_is_a_matter_of_the_first_block),
        cmocka_unit_test(an_empty_input_has_no_lines),
        cmocka_unit_test(an_empty_line_is_malformed_but_for_one_at_the_very_end),
        cmocka_unit_test(an_empty_line_is_malformed_where_a_line_is_one_field_too),
        cmocka_unit_test(a_line_with_another_number_of_fields_is_malformed),
        cmocka_unit_test(a_nul_is_malformed_wherever_it_stands),
        cmocka_unit_test(a_line_over_4096_bytes_is_malformed_even_as_a_header),
        cmocka_unit_test(a_line_longer_than_a_window_is_one_reject),
        cmocka_unit_test(the_pieces_of_an_overlong_line_are_all_rejected_and_counted_once),
        cmocka_unit_test(rejects_between_thousands_of_rows_keep_their_line_and_their_neighbours),
        cmocka_unit_test(unsigned_numbers_are_digits_alone_and_in_range),
        cmocka_unit_test(a_bit_is_0_or_1),
        cmocka_unit_test(signed_numbers_have_a_minus_at_most),
        cmocka_unit_test(decimals_beyond_the_scale_are_rounded_with_halves_toward_plus_infinity),
        cmocka_unit_test(a_decimal_is_below_ten_million_before_rounding),
        cmocka_unit_test(a_decimal_has_digits_on_both_sides_of_its_dot),
        cmocka_unit_test(a_text_has_up_to_31_bytes_of_any_kind),
        cmocka_unit_test(the_event_time_repeats_and_changes),
        cmocka_unit_test(an_event_time_near_the_ends_of_i64_is_malformed),
        cmocka_unit_test(fields_that_nobody_reads_are_checked_all_the_same),
        cmocka_unit_test(the_source_puts_out_its_schema),
        cmocka_unit_test(the_source_reports_a_bad_schema_at_its_item),
        cmocka_unit_test(the_source_wants_a_whole_number_for_its_time),
        cmocka_unit_test(the_source_parses_blocks_and_leaves_out_what_nobody_reads),
        cmocka_unit_test(one_odd_field_is_noticed_in_any_row_of_a_plain_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
