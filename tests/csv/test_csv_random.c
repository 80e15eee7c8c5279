/* The property of the CSV parsers: for any text, schema, kernel and cut into blocks, the fast parser's rows, rejects and line
 * count are those of the plain one on the whole text. A failure prints the seed; `test_csv_random SEED` repeats it. */
#include "tests/csv/differ.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* Behind the operator header: it defines `fail` as a macro. */
#include <cmocka.h>

enum { ROUNDS = 400, TEXT_BYTES = 60000 };

static uint64_t seed_first = 1, seed_count = ROUNDS, random_state;
static uint32_t pick(uint32_t count)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % count);
}
static bool one_in(uint32_t n) { return pick(n) == 0; }

static uint32_t digits_put(char *at, uint32_t count_max)
{
    uint32_t count = 1 + pick(count_max);
    for (uint32_t i = 0; i < count; i++)
        at[i] = (char)('0' + pick(10));
    return count;
}

static uint32_t field_put(char *at, const struct pst_csv_field *field, uint32_t dirt)
{
    static const char odd[] = ".-+ \r,\n:/\"a\x80\xff";
    uint32_t n = 0, lengths = one_in(20) ? 24 : one_in(3) ? 11 : 3;
    switch (field->kind) {
    case PST_CSV_BIT:
        at[n++] = (char)('0' + pick(2));
        break;
    case PST_CSV_TEXT:
        for (uint32_t i = pick(one_in(10) ? 40 : 12); i > 0; i--)
            at[n++] = (char)('a' + pick(26));
        break;
    case PST_CSV_DECIMAL:
    case PST_CSV_I64:
        if (one_in(6))
            at[n++] = '-';
        n += digits_put(at + n, lengths);
        if (field->kind == PST_CSV_DECIMAL && !one_in(3)) {
            at[n++] = '.';
            n += digits_put(at + n, one_in(8) ? 12 : field->scale > 0 ? field->scale : 1);
        }
        break;
    default:
        n += digits_put(at, lengths);
    }
    if (one_in(dirt))
        at[pick(n + 1)] = one_in(12) ? 0 : odd[pick(sizeof odd - 1)], n += n == 0;
    return n;
}

static size_t text_make(char *text, const struct pst_csv_schema *schema, uint32_t dirt)
{
    size_t at = 0;
    bool returns = one_in(4);
    uint32_t row_count = one_in(2) ? pick(40) : pick(900);
    if (one_in(5))
        memcpy(text, "\xef\xbb\xbf", 3), at = 3;
    if (one_in(3))
        at += (size_t)sprintf(text + at, "%s,rest\n", schema->fields[0].name);
    char time[32];
    uint32_t time_bytes = digits_put(time, 12);
    for (uint32_t row = 0; row < row_count && at < TEXT_BYTES - 6000; row++) {
        for (uint32_t i = 0; i < schema->field_count; i++) {
            if (schema->fields[i].time && !one_in(30)) {
                memcpy(text + at, time, time_bytes);
                at += time_bytes;
            } else {
                uint32_t n = field_put(text + at, &schema->fields[i], dirt);
                if (schema->fields[i].time && n < sizeof time)
                    memcpy(time, text + at, n), time_bytes = n;
                at += n;
            }
            if (i + 1 < schema->field_count && !one_in(dirt * 4))
                text[at++] = ',';
        }
        if (one_in(dirt * 20)) {
            memset(text + at, '0' + (int)pick(10), 5000);
            at += 4080 + pick(40);
        }
        if (returns || one_in(dirt * 2))
            text[at++] = '\r';
        text[at++] = '\n';
        while (one_in(dirt * 2))
            text[at++] = '\n';
    }
    return at - (at > 0 && one_in(3));
}

static void schema_make(struct differ *d)
{
    static const char *const types[] = {"u32",      "u64",      "bit",      "i64",      "text",
                                        "decimal0", "decimal1", "decimal3", "decimal6", "decimal9"};
    static const char *const meters[] = {"id:u64",      "timestamp:u32",    "value:decimal3", "property:bit",
                                         "plug_id:u32", "household_id:u32", "house_id:u32"};
    char names[64][24];
    const char *items[64];
    uint64_t unwanted = one_in(2) ? 0 : (uint64_t)pick(1 << 30) << 32 | pick(1 << 30);
    if (one_in(2)) {
        differ_init(d, meters, 7, 1, unwanted);
        return;
    }
    uint32_t count = one_in(8) ? 1 + pick(64) : 1 + pick(9);
    int time_index = -1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t type = pick(10);
        snprintf(names[i], sizeof names[i], "f%u:%s", i, types[type]);
        items[i] = names[i];
        if (type < 4 && type != 2 && one_in(2))
            time_index = (int)i;
    }
    differ_init(d, items, count, time_index, unwanted);
}

static void round_run(uint64_t seed)
{
    static char text[TEXT_BYTES];
    static struct pst_ctx plain, fast;
    struct differ d;
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15);
    pick(2);
    schema_make(&d);
    size_t bytes = text_make(text, &d.schema, one_in(3) ? 1000000 : 2u << pick(10));
    differ_run(&d, &plain, NULL, text, bytes, 0);
    for (int level = 0; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = pst_csv_kernel_at((pst_csv_level)level);
        if (kernel == NULL)
            continue;
        size_t cut = one_in(3) ? 0 : one_in(3) ? 1 : 1 + pick(5000);
        differ_run(&d, &fast, kernel, text, bytes, cut);
        if (!differ_same(&plain, &fast)) {
            print_error("seed %llu, level %d, cut %zu\n", (unsigned long long)seed, level, cut);
            fail();
        }
        fake_fini(&fast);
    }
    fake_fini(&plain);
}

static void the_fast_parser_equals_the_plain_one_on_random_dirty_text(void **state)
{
    (void)state;
    for (uint64_t seed = seed_first; seed < seed_first + seed_count; seed++)
        round_run(seed);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed_first = strtoull(argv[1], NULL, 10), seed_count = 1;
    if (argc > 2)
        seed_count = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fast_parser_equals_the_plain_one_on_random_dirty_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
