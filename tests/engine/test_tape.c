/* test_tape.c - recorded streams: whole and in ranges, plain and gzip, from any place on, in pieces of any size, at their time; against a
 * model that reads the file line by line. */
#include "engine/tape.h"
#include "tests/sim/world_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const struct tape_lines shape = {.column = 1, .column_count = 3, .time_min = 0, .time_max = UINT32_MAX};

static void pack(struct pst_text *to, const struct pst_text *from)
{
    z_stream stream = {0};
    size_t room = compressBound(from->count) + 64;
    unsigned char *packed = malloc(room);
    assert_non_null(packed);
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)from->bytes;
    stream.avail_in = (uInt)from->count;
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(pst_text_add(to, (const char *)packed, stream.total_out), PST_OK);
    assert_int_equal(deflateEnd(&stream), Z_OK);
    free(packed);
}

/* Lines whose times grow, some of them late, some that are none; with or without an end of the last one. */
static void lines_make(struct sim *random, uint32_t count, bool wild, struct pst_text *text)
{
    int64_t time = 1000;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t kind = sim_random(random, 40);
        time += (int64_t)sim_random(random, 3);
        if (kind == 0)
            (void)pst_text_printf(text, "what is this\n");
        else if (kind == 1)
            (void)pst_text_printf(text, "%u,%lld,late\r\n", i, (long long)(time - 5));
        else if (kind == 2)
            (void)pst_text_printf(text, "%u,%lld,too,many\n", i, (long long)(time + 1000000));
        else if (kind == 3 && wild)
            (void)pst_text_printf(text, "%u,4000000000,wild\n", i);
        else if (kind == 4)
            (void)pst_text_printf(text, "%u,99999999999,too late for any column\n", i);
        else
            (void)pst_text_printf(text, "%u,%lld,%*s\n", i, (long long)time, (int)sim_random(random, 60), "");
    }
    if (sim_random(random, 2) == 0 && text->count != 0)
        text->count--;
}

struct range {
    size_t begin, end; /* in the file */
};

static bool model_time(const char *line, size_t bytes, long long *ret_time)
{
    char copy[200], *rest;
    size_t commas = 0;
    while (bytes != 0 && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r'))
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        commas += line[i] == ',';
    if (commas != 2 || bytes >= sizeof copy)
        return false;
    memcpy(copy, line, bytes);
    copy[bytes] = '\0';
    *ret_time = strtoll(strchr(copy, ',') + 1, &rest, 10);
    return *rest == ',' && *ret_time <= UINT32_MAX;
}

static struct range model_range(const struct pst_text *text, int64_t from, int64_t until)
{
    struct range range = {text->count, text->count};
    bool inside = from == INT64_MIN;
    if (inside)
        range.begin = 0;
    for (size_t at = 0, end; at < text->count; at = end) {
        const char *newline = memchr(text->bytes + at, '\n', text->count - at);
        long long time;
        end = newline != NULL ? (size_t)(newline - text->bytes) + 1 : text->count;
        if (!model_time(text->bytes + at, end - at, &time))
            continue;
        if (!inside && time >= from) {
            range.begin = at;
            inside = true;
        }
        if (inside && time >= until) {
            range.end = at;
            break;
        }
    }
    return range;
}

static struct tape *tape_of(struct sim *sim, const char *name, int64_t from, int64_t until)
{
    struct tape *tape = NULL;
    assert_int_equal(pst_tape_open(&sim->world, name, from, until, &tape), PST_OK);
    pst_tape_lines(tape, &shape);
    return tape;
}

static void reach(struct tape *tape, uint64_t offset)
{
    int rc;
    pst_tape_seek(tape, offset);
    while ((rc = pst_tape_reach(tape)) == PST_EAGAIN)
        continue;
    assert_int_equal(rc, PST_OK);
    assert_int_equal(pst_tape_offset(tape), offset);
}

/* From here to the end of the stream, or a part of it. */
static bool play(struct sim *random, struct tape *tape, const char *wanted, size_t count, uint32_t pieces)
{
    uint64_t rows = 0, rows_wanted = 0, begin = pst_tape_offset(tape);
    for (; pieces != 0; pieces--) {
        struct piece piece;
        int rc = pst_tape_next(tape, 1 + sim_random(random, 5000), INT64_MAX, &piece);
        uint64_t at = pst_tape_offset(tape);
        if (rc == PST_ESTOPPED) {
            assert_int_equal(at, count);
            for (size_t i = begin; i < count; i++)
                rows_wanted += wanted[i] == '\n';
            assert_int_equal(rows, rows_wanted);
            return true;
        }
        assert_int_equal(rc, PST_OK);
        assert_true(piece.byte_count != 0 && at + piece.byte_count <= count);
        assert_memory_equal(piece.bytes, wanted + at, piece.byte_count);
        rows += piece.rows;
        if (sim_random(random, 10) != 0)
            pst_tape_took(tape, &piece);
        else
            rows -= piece.rows; /* the same comes again */
    }
    return false;
}

static void one_range(uint64_t seed, const char *name)
{
    struct sim sim;
    struct pst_text text = {0}, packed = {0};
    sim_init(&sim, seed);
    sim.read_bytes_max = 1 + (uint32_t)sim_random(&sim, 100000);
    lines_make(&sim, (uint32_t)sim_random(&sim, seed % 5 == 0 ? 20000 : 300), true, &text);
    pack(&packed, &text);
    sim_put(&sim, "plain.csv", text.bytes, text.count);
    sim_put(&sim, "packed.gz", packed.bytes, packed.count);
    int64_t from = sim_random(&sim, 2) == 0 ? INT64_MIN : 900 + (int64_t)sim_random(&sim, 700);
    int64_t until = sim_random(&sim, 2) == 0 ? INT64_MAX : 950 + (int64_t)sim_random(&sim, 900);
    struct range range = model_range(&text, from, until);
    if (range.end < range.begin)
        range.end = range.begin;
    struct tape *tape = tape_of(&sim, name, from, until);
    const char *wanted = text.bytes + range.begin;
    size_t count = range.end - range.begin;
    reach(tape, 0);
    for (uint32_t i = 0; i < 5; i++) {
        (void)play(&sim, tape, wanted, count, 1 + (uint32_t)sim_random(&sim, 20)); /* to its end, or not */
        reach(tape, sim_random(&sim, count + 1));
    }
    reach(tape, 0);
    assert_true(play(&sim, tape, wanted, count, UINT32_MAX));
    pst_tape_close(tape);
    pst_text_fini(&text);
    pst_text_fini(&packed);
    sim_fini(&sim);
}

static void a_range_is_that_of_the_model_wherever_it_is_begun(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        one_range(seed, seed % 2 == 0 ? "plain.csv" : "packed.gz");
}

/* Whatever is given below a time is due, and what is held back is not: but for a line that is alone above it. */
static void lines_come_when_they_are_due(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct sim sim;
        struct pst_text text = {0}, got = {0};
        struct piece piece;
        sim_init(&sim, seed);
        lines_make(&sim, 500, true, &text);
        sim_put(&sim, "plain.csv", text.bytes, text.count);
        struct tape *tape = tape_of(&sim, "plain.csv", INT64_MIN, INT64_MAX);
        int64_t due = INT64_MIN;
        int rc;
        reach(tape, 0);
        while ((rc = pst_tape_next(tape, 1 + sim_random(&sim, 400), due, &piece)) != PST_ESTOPPED) {
            if (rc == PST_EAGAIN) {
                assert_true(piece.next > due);
                due = piece.next; /* time goes on to there */
                continue;
            }
            assert_int_equal(rc, PST_OK);
            assert_true(piece.newest == INT64_MIN || piece.newest <= due + 10 || piece.newest == 4000000000);
            assert_int_equal(pst_text_add(&got, piece.bytes, piece.byte_count), PST_OK);
            pst_tape_took(tape, &piece);
        }
        assert_int_equal(got.count, text.count);
        assert_memory_equal(got.bytes, text.bytes, text.count);
        assert_true(due < 3000 || due == 4000000000); /* that one at the very end, at most */
        pst_tape_close(tape);
        pst_text_fini(&text);
        pst_text_fini(&got);
        sim_fini(&sim);
    }
}

static void a_line_longer_than_any_buffer_goes_in_parts(void **state)
{
    (void)state;
    struct sim sim;
    struct pst_text text = {0};
    sim_init(&sim, 1);
    (void)pst_text_printf(&text, "1,5,a\n%*s\n2,7,b\n", 700000, ",9,");
    sim_put(&sim, "long.csv", text.bytes, text.count);
    struct tape *tape = tape_of(&sim, "long.csv", INT64_MIN, 7);
    reach(tape, 0);
    assert_true(play(&sim, tape, text.bytes, text.count - 6, UINT32_MAX));
    reach(tape, 300000);
    assert_true(play(&sim, tape, text.bytes, text.count - 6, UINT32_MAX));
    pst_tape_close(tape);
    pst_text_fini(&text);
    sim_fini(&sim);
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    struct sim sim;
    struct tape *tape;
    sim_init(&sim, 1);
    sim_put(&sim, "short.csv", "1,5,a\n", 6);
    sim_put(&sim, "none.gz", "1,5,a\n", 6);
    assert_int_equal(pst_tape_open(&sim.world, "missing.csv", INT64_MIN, INT64_MAX, &tape), PST_ENOENT);
    tape = tape_of(&sim, "short.csv", INT64_MIN, INT64_MAX);
    pst_tape_seek(tape, 7);
    int rc;
    while ((rc = pst_tape_reach(tape)) == PST_EAGAIN)
        continue;
    assert_int_equal(rc, PST_EDATA);
    pst_tape_close(tape);
    tape = tape_of(&sim, "none.gz", INT64_MIN, INT64_MAX);
    struct piece piece;
    assert_int_equal(pst_tape_next(tape, 100, INT64_MAX, &piece), PST_EDATA);
    pst_tape_close(tape);
    sim_fini(&sim);
}

static void a_time_is_a_number_in_its_column(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int64_t time; /* -1: there is none */
    } cases[] = {{"1,5,a\n", 5},
                 {"1,5,a", 5},
                 {"1,5,a\r\n", 5},
                 {"1,5\n", -1},
                 {"1,5,a,b\n", -1},
                 {"1,,a\n", -1},
                 {"1,-1,a\n", -1},
                 {"1,+5,a\n", -1},
                 {"1, 5,a\n", -1},
                 {"1,5 ,a\n", -1},
                 {"1,4294967295,a\n", 4294967295},
                 {"1,4294967296,a", -1},
                 {"", -1},
                 {"1,99999999999999999999,a", -1},
                 {",007,", 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t time = -1;
        bool has = pst_tape_time(cases[i].line, strlen(cases[i].line), &shape, &time);
        if (has != (cases[i].time != -1) || (has && time != cases[i].time))
            fail_msg("`%s`: %d, %lld", cases[i].line, has, (long long)time);
    }
    const struct tape_lines any = {.column = 0, .time_min = INT64_MIN, .time_max = INT64_MAX};
    int64_t time;
    assert_true(pst_tape_time("-9223372036854775808", 20, &any, &time) && time == INT64_MIN);
    assert_true(pst_tape_time("9223372036854775807,x", 21, &any, &time) && time == INT64_MAX);
    assert_false(pst_tape_time("9223372036854775808", 19, &any, &time));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_that_of_the_model_wherever_it_is_begun),
        cmocka_unit_test(lines_come_when_they_are_due),
        cmocka_unit_test(a_line_longer_than_any_buffer_goes_in_parts),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(a_time_is_a_number_in_its_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
