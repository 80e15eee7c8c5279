/* fuzz_csv - any bytes as CSV: the fast parser, by each kernel, must give the rows and rejects of the plain one.
 *
 * The first byte chooses a schema, the second how the text is cut into blocks; the rest is the text. */
#include "tests/csv/differ.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    uint32_t count;
    int time_index;
    uint64_t unwanted;
    const char *items[8];
} schemas[] = {
    {7,
     1,
     1,
     {"id:u64", "timestamp:u32", "value:decimal3", "property:bit", "plug_id:u32", "household_id:u32", "house_id:u32"}},
    {7, 1, 0, {"id:u64", "timestamp:u64", "value:decimal9", "text:text", "a:i64", "b:u32", "house_id:decimal0"}},
    {1, -1, 0, {"x:text"}},
    {1, -1, 0, {"x:decimal1"}},
    {2, 0, 2, {"t:i64", "v:text"}},
    {3, 2, 3, {"a:decimal3", "b:bit", "t:u64"}},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pst_ctx plain, fast;
    struct differ d;
    if (size < 2)
        return 0;
    uint32_t which = data[0] % (sizeof schemas / sizeof schemas[0]);
    const char *text = (const char *)data + 2;
    differ_init(&d, schemas[which].items, schemas[which].count, schemas[which].time_index, schemas[which].unwanted);
    differ_run(&d, &plain, NULL, text, size - 2, 0);
    for (int level = 0; level < PST_CSV_LEVEL_COUNT; level++) {
        const struct pst_csv_kernel *kernel = pst_csv_kernel_at((pst_csv_level)level);
        if (kernel == NULL)
            continue;
        differ_run(&d, &fast, kernel, text, size - 2, data[1]);
        if (!differ_same(&plain, &fast))
            abort();
        fake_fini(&fast);
    }
    fake_fini(&plain);
    return 0;
}
