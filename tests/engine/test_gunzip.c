/* test_gunzip.c - compressed inputs: whole, in members, cut short, damaged, empty, in reads of any size. */
#include "engine/runtime.h"
#include "tests/sim/graphs.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

static const char *const graph = SOURCE SINK("out", "rows", "ts, k, v");

/* Appends a gzip member. */
static void pack(struct pst_text *to, const void *bytes, size_t count)
{
    z_stream stream = {0};
    size_t room = compressBound(count) + 64;
    unsigned char *packed = malloc(room);
    assert_non_null(packed);
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)bytes;
    stream.avail_in = (uInt)count;
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(pst_text_add(to, (const char *)packed, stream.total_out), PST_OK);
    assert_int_equal(deflateEnd(&stream), Z_OK);
    free(packed);
}

/* Everything that comes out, in reads of `piece`; returns the last read's result. */
static int64_t unpack(const struct pst_text *packed, size_t piece, uint32_t read_max, uint32_t again,
                      struct pst_text *ret_text)
{
    struct sim sim;
    struct pst_file *file;
    char buffer[4096];
    sim_init(&sim, 3);
    sim_put(&sim, "x.gz", packed->bytes, packed->count);
    sim.read_bytes_max = read_max;
    sim.again_percent = again;
    assert_int_equal(sim.world.file_open(&sim, "x.gz", PST_OPEN_READ, &file), PST_OK);
    struct gunzip *gunzip = pst_gunzip_new(&sim.world, file);
    assert_non_null(gunzip);
    int64_t count;
    while ((count = pst_gunzip_read(gunzip, buffer, piece)) > 0 || count == PST_EAGAIN)
        if (count > 0)
            assert_int_equal(pst_text_add(ret_text, buffer, (size_t)count), PST_OK);
    if (count == 0)
        assert_int_equal(pst_gunzip_read(gunzip, buffer, piece), 0); /* an end stays one */
    pst_gunzip_free(gunzip);
    (void)sim.world.file_close(&sim, file);
    sim_fini(&sim);
    return count;
}

static void text_fill(struct pst_text *text, uint32_t lines)
{
    for (uint32_t i = 0; i < lines; i++)
        (void)pst_text_printf(text, "%u,%u,%u\n", i / 3, i * 2654435761u >> 20, i % 97);
}

static void whole_files_in_one_or_several_members(void **state)
{
    (void)state;
    struct pst_text plain = {0}, packed = {0};
    text_fill(&plain, 5000);
    for (uint32_t members = 1; members <= 4; members++) {
        packed.count = 0;
        for (uint32_t m = 0; m < members; m++) {
            size_t from = plain.count * m / members, end = plain.count * (m + 1) / members;
            pack(&packed, plain.bytes + from, end - from);
            if (members == 4)
                pack(&packed, "", 0); /* one with nothing in it */
        }
        static const size_t pieces[] = {1, 7, 4096};
        static const uint32_t reads[] = {1, 100, 0};
        for (int p = 0; p < 3; p++) {
            for (int r = 0; r < 3; r++) {
                struct pst_text found = {0};
                assert_int_equal(unpack(&packed, pieces[p], reads[r], r == 1 ? 30 : 0, &found), 0);
                assert_int_equal(found.count, plain.count);
                assert_memory_equal(found.bytes, plain.bytes, plain.count);
                pst_text_fini(&found);
            }
        }
    }
    pst_text_fini(&plain);
    pst_text_fini(&packed);
}

static void an_empty_file_has_no_rows(void **state)
{
    (void)state;
    struct pst_text packed = {0}, found = {0};
    assert_int_equal(unpack(&packed, 100, 0, 0, &found), 0);
    pack(&packed, "", 0);
    assert_int_equal(unpack(&packed, 100, 0, 0, &found), 0);
    assert_int_equal(found.count, 0);
    pst_text_fini(&packed);
    pst_text_fini(&found);
}

static void a_file_cut_short_anywhere_is_bad_data(void **state)
{
    (void)state;
    struct pst_text plain = {0}, packed = {0};
    text_fill(&plain, 40);
    pack(&packed, plain.bytes, plain.count);
    size_t whole = packed.count;
    for (size_t bytes = 1; bytes < whole; bytes++) {
        struct pst_text found = {0};
        packed.count = bytes;
        assert_int_equal(unpack(&packed, 50, 0, 0, &found), PST_EDATA);
        assert_true(found.count <= plain.count);
        assert_true(found.count == 0 || memcmp(found.bytes, plain.bytes, found.count) == 0);
        pst_text_fini(&found);
    }
    pst_text_fini(&plain);
    pst_text_fini(&packed);
}

static void a_damaged_byte_is_bad_data(void **state)
{
    (void)state;
    struct pst_text plain = {0}, packed = {0};
    text_fill(&plain, 40);
    pack(&packed, plain.bytes, plain.count);
    for (size_t at = 0; at < packed.count; at++) {
        struct pst_text found = {0};
        if (at >= 4 && at < 10)
            continue; /* time and system in the header: of no meaning */
        packed.bytes[at] ^= 0x55;
        int64_t last = unpack(&packed, 4096, 0, 0, &found);
        assert_true(last == PST_EDATA);
        packed.bytes[at] ^= 0x55;
        pst_text_fini(&found);
    }
    pst_text_fini(&plain);
    pst_text_fini(&packed);
}

static void what_is_not_gzip_is_bad_data(void **state)
{
    (void)state;
    struct pst_text plain = {0}, found = {0};
    text_fill(&plain, 100);
    assert_int_equal(unpack(&plain, 100, 0, 0, &found), PST_EDATA);
    pst_text_fini(&found);
    struct pst_text packed = {0};
    pack(&packed, plain.bytes, plain.count);
    (void)pst_text_printf(&packed, "something behind it");
    assert_int_equal(unpack(&packed, 4096, 0, 0, &found), PST_EDATA);
    pst_text_fini(&packed);
    pst_text_fini(&plain);
    pst_text_fini(&found);
}

static void a_run_reads_it_by_its_name(void **state)
{
    (void)state;
    struct pst_text plain = {0}, packed = {0};
    text_fill(&plain, 3000);
    pack(&packed, plain.bytes, plain.count);
    for (int form = 0; form < 3; form++) {
        struct scene scene, wanted;
        scene_init(&scene, 2);
        scene_init(&wanted, 2);
        scene.options.input = "in.csv.gz";
        scene.options.worker_count = 3;
        scene.options.block_bytes = 500;
        scene.sim.read_bytes_max = 99;
        scene.sim.again_percent = 20;
        if (form == 1)
            packed.count -= 9;
        if (form == 2)
            packed.bytes[0] = 'x';
        sim_put(&scene.sim, "in.csv.gz", packed.bytes, packed.count);
        sim_put(&wanted.sim, "in.csv", plain.bytes, plain.count);
        assert_int_equal(scene_run(&scene, graph), form == 0 ? PST_OK : PST_EDATA);
        assert_int_equal(scene_run(&wanted, graph), PST_OK);
        if (form == 0) {
            assert_memory_equal(scene_file(&scene, "out/out.csv")->bytes, scene_file(&wanted, "out/out.csv")->bytes,
                                scene_file(&wanted, "out/out.csv")->count);
        } else {
            assert_non_null(strstr(scene.report.error, "in.csv.gz is damaged or cut short"));
            assert_false(scene_there(&scene, "out/out.csv"));
        }
        scene_fini(&scene);
        scene_fini(&wanted);
    }
    pst_text_fini(&plain);
    pst_text_fini(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files_in_one_or_several_members), cmocka_unit_test(an_empty_file_has_no_rows),
        cmocka_unit_test(a_file_cut_short_anywhere_is_bad_data), cmocka_unit_test(a_damaged_byte_is_bad_data),
        cmocka_unit_test(what_is_not_gzip_is_bad_data),          cmocka_unit_test(a_run_reads_it_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
