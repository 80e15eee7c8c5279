/* test_input.c - how the input is cut, counted and judged: for all sizes of blocks and reads, and any number of workers, lines,
 * late rows and dead letters are those that a plain reader of the whole text finds. */
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const graph = SOURCE SINK("out", "rows", "ts, k, v");
static const char *const graph_ordered = SOURCE SINGLE("chain", "sequence", "rows", "key_field: k, value: v")
    SINK("out", "chain", "number, digest, key, value");

/* ---- the plain reader ---- */
struct wanted {
    uint64_t rows, late, malformed;
    uint64_t lines[PST_BAD_LINES_KEPT];
    struct pst_text dead, out;
};

static bool is_number(const char *text, size_t count, bool sign)
{
    if (sign && count > 1 && text[0] == '-')
        text++, count--;
    for (size_t i = 0; i < count; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return count != 0 && count < 10;
}

/* `ts,k,v`, numbers of up to nine digits. */
static bool is_row(const char *line, size_t count, uint64_t *ret_ts)
{
    const char *first = memchr(line, ',', count), *end = line + count;
    const char *second = first != NULL ? memchr(first + 1, ',', (size_t)(end - first - 1)) : NULL;
    if (second == NULL || count > 4096 || !is_number(line, (size_t)(first - line), false) ||
        !is_number(first + 1, (size_t)(second - first - 1), false) ||
        !is_number(second + 1, (size_t)(end - second - 1), true))
        return false;
    *ret_ts = strtoull(line, NULL, 10);
    return true;
}

static void read_plainly(const char *text, size_t bytes, struct wanted *w)
{
    uint64_t newest = 0, ts = 0, number = 0;
    *w = (struct wanted){0};
    (void)pst_text_add(&w->out, "ts,k,v\n", 7);
    size_t at = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < bytes) {
        const char *line = text + at, *newline = memchr(line, '\n', bytes - at);
        size_t whole = newline != NULL ? (size_t)(newline - line) + 1 : bytes - at, count = whole - (newline != NULL);
        count -= count != 0 && line[count - 1] == '\r';
        at += whole;
        number++;
        if (count == 0 && at == bytes)
            continue; /* an empty line at the very end */
        bool row = is_row(line, count, &ts);
        if (!row && w->malformed++ < PST_BAD_LINES_KEPT)
            w->lines[w->malformed - 1] = number;
        w->rows += row;
        w->late += row && ts < newest;
        if (!row || ts < newest)
            (void)pst_text_add(&w->dead, line, whole);
        else
            newest = ts, (void)pst_text_printf(&w->out, "%.*s\n", (int)count, line);
    }
}

static void wanted_fini(struct wanted *w)
{
    pst_text_fini(&w->dead);
    pst_text_fini(&w->out);
}

static void same_text(const struct pst_text *found, const struct pst_text *wanted)
{
    if (found->count != wanted->count || (found->count != 0 && memcmp(found->bytes, wanted->bytes, found->count) != 0))
        print_error("wanted %zu bytes: %.300s\nfound %zu bytes: %.300s\n", wanted->count,
                    wanted->count != 0 ? wanted->bytes : "", found->count, found->count != 0 ? found->bytes : "");
    assert_int_equal(found->count, wanted->count);
    assert_true(found->count == 0 || memcmp(found->bytes, wanted->bytes, found->count) == 0);
}

struct sizes {
    uint32_t workers, block_bytes, read_bytes, again_percent;
};

static void check_one(const char *text, size_t bytes, const struct wanted *w, const struct sizes *sizes)
{
    struct scene scene;
    scene_init(&scene, sizes->block_bytes + sizes->read_bytes * 7);
    sim_put(&scene.sim, "in.csv", text, bytes);
    scene.options.worker_count = sizes->workers;
    scene.options.block_bytes = sizes->block_bytes;
    scene.sim.read_bytes_max = sizes->read_bytes;
    scene.sim.again_percent = sizes->again_percent;
    assert_int_equal(scene_run(&scene, graph), PST_OK);
    assert_int_equal(scene.report.rows, w->rows);
    assert_int_equal(scene.report.rows_late, w->late);
    assert_int_equal(scene.report.lines_malformed, w->malformed);
    assert_memory_equal(scene.report.malformed_line, w->lines, sizeof w->lines);
    assert_int_equal(scene.report.input_bytes, bytes);
    same_text(scene_file(&scene, "dead"), &w->dead);
    same_text(scene_file(&scene, "out/out.csv"), &w->out);
    scene_fini(&scene);
}

/* Rows are shorter than 64 bytes, so that they fit every block; malformed lines may be longer than any. */
static void check_text(const char *text, size_t bytes)
{
    static const uint32_t blocks[] = {64, 65, 66, 67, 100, 127, 128, 1000, 4096, 5000, 0};
    static const uint32_t reads[] = {1, 2, 3, 64, 0};
    struct wanted w;
    read_plainly(text, bytes, &w);
    for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++)
        for (size_t r = bytes > 20000 ? 3 : 0; r < sizeof reads / sizeof reads[0]; r++)
            check_one(text, bytes, &w,
                      &(struct sizes){1 + (uint32_t)(b + r) % 4, blocks[b], reads[r], (uint32_t)r * 10});
    wanted_fini(&w);
}

static void check_line(const char *text) { check_text(text, strlen(text)); }

static void small_texts(void **state)
{
    (void)state;
    check_line("");
    check_line("\n");
    check_line("\r\n");
    check_line("\n\n");
    check_line("\n\n\n5,1,1\n\n\n");
    check_line("5,1,1");
    check_line("5,1,1\n");
    check_line("5,1,1\r\n6,1,-1\r\n");
    check_line("5,1,1\r\n6,1,-1\r\n\r\n");
    check_line("5,1,1\n\n6,1,1\n");
    check_line("5,1,1\n6,1,1\n\n");
    check_line("5,1,1\n6,1,1\n\n\n");
    check_line("x");
    check_line("x\ny\nz");
    check_line("\xef\xbb\xbf");
    check_line("\xef\xbb\xbf\n");
    check_line("\xef\xbb\xbf\r\n");
    check_line("\xef\xbb\xbf"
               "5,1,1\n6,2,2\n");
    check_line("\xef\xbb\xbf"
               "5,1,1");
    check_line("5,1,1\n\xef\xbb\xbf"
               "6,1,1\n");
    check_line("5,1,1\n4,1,1\n5,2,2\n4,9,9\n6,1,1\nx\n5,5,5");
    check_line("5,1,1\n4,1,1"); /* the last line is late and without its newline */
}

static void a_line_is_cut_at_every_position(void **state)
{
    (void)state;
    char text[400];
    for (uint32_t pad = 0; pad < 80; pad++) { /* the block's end falls on every byte of a line */
        struct pst_text made = {0};
        (void)pst_text_printf(&made, "1,%0*d,5\n", 1 + (int)pad % 9, 7);
        for (uint32_t i = 0; i < pad / 9; i++)
            (void)pst_text_printf(&made, "2,2,2\n");
        (void)snprintf(text, sizeof text, "%s1000,23,-45\r\n999,1,1\n1001,2\n1002,3,4\n\n1002,3,5", made.bytes);
        /* leading zeros do not come back in the output, so the plain reader's own text is not compared here */
        char *zeros = strstr(text, "\n");
        assert_non_null(zeros);
        struct pst_text plain = {0};
        (void)pst_text_printf(&plain, "1,7,5%s", zeros);
        check_line(plain.bytes);
        pst_text_fini(&plain);
        pst_text_fini(&made);
    }
}

static void nul_bytes_are_malformed(void **state)
{
    (void)state;
    static const char text[] = "5,1,1\n\0\n6,1,\0001\n7,1,1\0\n8,1,1\n\0";
    check_text(text, sizeof text - 1);
}

static void long_lines(void **state)
{
    (void)state;
    static const size_t lengths[] = {63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 5000, 9000, 200000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int form = 0; form < 4; form++) {
            struct pst_text text = {0};
            if (form != 1)
                (void)pst_text_printf(&text, "5,1,1\nx\n");
            for (size_t k = 0; k < lengths[i]; k++)
                (void)pst_text_add(&text, "z", 1);
            if (form != 2)
                (void)pst_text_printf(&text, "\n6,2,2\ny\n4,4,4\n7,7,7\n");
            if (form == 3)
                for (size_t k = 0; k < 2 * lengths[i]; k++)
                    (void)pst_text_add(&text, k == lengths[i] ? "\n" : "q", 1);
            check_text(text.bytes, text.count);
            pst_text_fini(&text);
        }
    }
}

/* Rows, late ones and malformed ones at random; the late ones known exactly. */
static void random_text(struct pst_text *text, uint64_t seed, uint32_t lines)
{
    struct sim random = {.random = seed};
    uint64_t ts = 1000;
    for (uint32_t i = 0; i < lines; i++) {
        uint64_t draw = sim_random(&random, 40);
        ts += sim_random(&random, 3);
        if (draw == 0)
            (void)pst_text_printf(text, "%s\n", i % 2 == 0 ? "" : "bad");
        else if (draw == 1)
            (void)pst_text_printf(text, "%llu,%u,1,4\n", (unsigned long long)ts, i);
        else
            (void)pst_text_printf(text, "%llu,%u,%d%s\n", (unsigned long long)(draw < 8 ? ts - draw : ts), i,
                                  7 - (int)draw, i % 3 == 0 ? "\r" : "");
    }
}

static void late_rows_are_counted_exactly_across_blocks_and_workers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= scene_seeds(20); seed++) {
        struct pst_text text = {0};
        struct wanted w;
        random_text(&text, seed, 400);
        read_plainly(text.bytes, text.count, &w);
        assert_true(w.late > 10 && w.malformed > 5);
        for (uint32_t workers = 1; workers <= 5; workers++)
            check_one(text.bytes, text.count, &w, &(struct sizes){workers, 64 + (uint32_t)seed * 13, 0, 20});
        wanted_fini(&w);
        pst_text_fini(&text);
    }
}

static void rows_keep_the_order_of_the_input(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= scene_seeds(20); seed++) {
        struct pst_text text = {0};
        struct scene one, many;
        random_text(&text, seed, 400);
        scene_init(&one, 1);
        sim_put(&one.sim, "in.csv", text.bytes, text.count);
        assert_int_equal(scene_run(&one, graph_ordered), PST_OK);
        scene_init(&many, seed);
        scene_shake(&many, false);
        sim_put(&many.sim, "in.csv", text.bytes, text.count);
        assert_int_equal(scene_run(&many, graph_ordered), PST_OK);
        scene_same(&one, &many, "order");
        scene_fini(&one);
        scene_fini(&many);
        pst_text_fini(&text);
    }
}

static void reasons_are_kept_with_the_first_ten_lines(void **state)
{
    (void)state;
    struct scene scene;
    static const char text[] = "5,1,1\n5,1\n\n5,1,x\n5,\0,1\n";
    struct pst_text whole = {0};
    (void)pst_text_add(&whole, text, sizeof text - 1);
    for (int i = 0; i < 5000; i++)
        (void)pst_text_add(&whole, "9", 1);
    for (int i = 0; i < 12; i++)
        (void)pst_text_printf(&whole, "\n5,1");
    scene_init(&scene, 1);
    sim_put(&scene.sim, "in.csv", whole.bytes, whole.count);
    assert_int_equal(scene_run(&scene, graph), PST_OK);
    static const uint32_t reasons[] = {PST_REJECT_FIELDS, PST_REJECT_EMPTY, PST_REJECT_FIELD, PST_REJECT_NUL,
                                       PST_REJECT_LONG};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(scene.report.malformed_line[i], 2 + i);
        assert_int_equal(scene.report.malformed_reason[i], reasons[i]);
        assert_non_null(pst_reject_sentence(reasons[i]));
    }
    assert_int_equal(scene.report.lines_malformed, 17);
    assert_int_equal(scene.report.malformed_line[9], 11);
    scene_fini(&scene);
    pst_text_fini(&whole);
}

static void strict_ends_the_run_at_the_first_malformed_line(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 4; workers++) {
        struct pst_text text = {0};
        struct scene scene;
        for (int i = 0; i < 300; i++)
            (void)pst_text_printf(&text, i >= 200 && i % 7 == 0 ? "bad\n" : "%d,1,1\n", i);
        scene_init(&scene, workers);
        sim_put(&scene.sim, "in.csv", text.bytes, text.count);
        scene.options.strict = true;
        scene.options.worker_count = workers;
        scene.options.block_bytes = 64;
        assert_int_equal(scene_run(&scene, graph), PST_EDATA);
        assert_non_null(strstr(scene.report.error, "in.csv:204: malformed line: not the number of fields"));
        assert_false(scene_there(&scene, "out/out.csv"));
        assert_true(scene_there(&scene, "out/out.csv.failed"));
        assert_int_equal(scene.report.output_count, 2);
        assert_string_equal(scene.report.outputs[0], "out/out.csv.failed");
        scene_fini(&scene);
        pst_text_fini(&text);
    }
}

static void an_input_that_is_not_there_leaves_nothing(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene, 1);
    assert_int_equal(scene_run(&scene, graph), PST_ENOENT);
    assert_non_null(strstr(scene.report.error, "in.csv"));
    assert_int_equal(scene.sim.file_count, 0);
    assert_int_equal(scene.report.output_count, 0);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_texts),
        cmocka_unit_test(a_line_is_cut_at_every_position),
        cmocka_unit_test(nul_bytes_are_malformed),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(late_rows_are_counted_exactly_across_blocks_and_workers),
        cmocka_unit_test(rows_keep_the_order_of_the_input),
        cmocka_unit_test(reasons_are_kept_with_the_first_ten_lines),
        cmocka_unit_test(strict_ends_the_run_at_the_first_malformed_line),
        cmocka_unit_test(an_input_that_is_not_there_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
