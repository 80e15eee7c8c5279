/* test_meters.c - the meter stream: that it is what the options say, the same bytes everywhere, and like the genuine
 * data.
 *
 * Lines are read by a parser of its own, written from the definition of a row and not from the generator. */
#include "debs14/debs14.h" /* before cmocka.h, whose fail() is a macro */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { LINE_BYTES_MAX = 4096, FIELDS = 7, PLUGS_MAX = 65536, START_S = 1377986401 };

/* ---- setup ---- */
static struct pst_meters_options standard_for(uint64_t duration_s)
{
    struct pst_meters_options options;
    pst_meters_options_standard(&options);
    options.duration_s = duration_s;
    options.header = false;
    return options;
}

struct source {
    void *memory;
    struct pst_meters *meters;
    char *buffer;
    size_t capacity;
};

static struct source source_open(const struct pst_meters_options *options, size_t capacity)
{
    const char *why = NULL;
    size_t bytes = pst_meters_bytes(options, &why);
    struct source source = {.capacity = capacity};
    assert_null(why);
    if (bytes == 0)
        fail_msg("no bytes and no reason");
    source.memory = malloc(bytes);
    source.buffer = malloc(capacity); /* exactly: a sanitizer sees every byte beyond */
    assert_non_null(source.memory);
    assert_non_null(source.buffer);
    memset(source.memory, 0xa5, bytes);
    source.meters = pst_meters_init(source.memory, options);
    return source;
}

static void source_close(struct source *source)
{
    free(source->memory);
    free(source->buffer);
}

struct whole {
    char *bytes;
    size_t count;
    uint64_t rows;
    uint32_t timestamp;
};

static struct whole stream_of(const struct pst_meters_options *options, size_t capacity, bool by_second)
{
    struct source source = source_open(options, capacity);
    struct whole whole = {0};
    size_t room = 0, count;
    uint64_t rows;
    while ((count = pst_meters_next(source.meters, source.buffer, capacity, by_second, &rows, &whole.timestamp)) != 0) {
        assert_true(count <= capacity);
        assert_int_equal(source.buffer[count - 1], '\n');
        if (whole.count + count > room) {
            room = 2 * (whole.count + count);
            whole.bytes = realloc(whole.bytes, room);
            assert_non_null(whole.bytes);
        }
        memcpy(whole.bytes + whole.count, source.buffer, count);
        whole.count += count;
        whole.rows += rows;
    }
    assert_int_equal(rows, 0);
    assert_int_equal(pst_meters_next(source.meters, source.buffer, capacity, by_second, &rows, &whole.timestamp), 0);
    source_close(&source);
    return whole;
}

static uint64_t digest_of(const struct pst_meters_options *options, size_t capacity, bool by_second)
{
    struct source source = source_open(options, capacity);
    XXH3_state_t *state = XXH3_createState();
    uint64_t rows, rows_sum = 0;
    uint32_t timestamp;
    size_t count;
    XXH3_64bits_reset(state);
    while ((count = pst_meters_next(source.meters, source.buffer, capacity, by_second, &rows, &timestamp)) != 0) {
        XXH3_64bits_update(state, source.buffer, count);
        rows_sum += rows;
    }
    uint64_t digest = XXH3_64bits_digest(state);
    if (options->row_count_max != 0)
        assert_int_equal(rows_sum, options->row_count_max);
    XXH3_freeState(state);
    source_close(&source);
    return digest;
}

/* ---- rows ---- */
struct row {
    uint64_t id;
    uint32_t timestamp, property, plug, household, house;
    int64_t value; /* thousandths */
    const char *value_text;
    size_t value_text_count;
    const char *key_text; /* "plug,household,house" */
    size_t key_text_count;
};

static bool digits_parse(const char *text, size_t count, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (digit > 9 || digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return count != 0;
}

static bool value_parse(const char *text, size_t count, int64_t *ret_value)
{
    const char *point = memchr(text, '.', count);
    size_t sign = count != 0 && text[0] == '-', whole_count = (point != NULL ? (size_t)(point - text) : count) - sign;
    uint64_t whole, decimals, thousandths = 0;
    if (!digits_parse(text + sign, whole_count, 9999999, &whole))
        return false;
    if (point != NULL) {
        size_t decimal_count = count - sign - whole_count - 1;
        if (decimal_count > 15 || !digits_parse(point + 1, decimal_count, UINT64_MAX, &decimals))
            return false;
        assert_true(decimal_count <= 3); /* the generator writes no more */
        thousandths = decimals * (decimal_count == 1 ? 100 : decimal_count == 2 ? 10 : 1);
    }
    *ret_value = (int64_t)(whole * 1000 + thousandths);
    return true;
}

static bool row_parse(const char *line, size_t count, struct row *ret_row)
{
    const char *fields[FIELDS + 1];
    size_t counts[FIELDS + 1], field_count = 0;
    uint64_t numbers[FIELDS];
    if (count > LINE_BYTES_MAX || memchr(line, '\0', count) != NULL)
        return false;
    for (const char *at = line; field_count <= FIELDS; field_count++) {
        const char *comma = memchr(at, ',', (size_t)(line + count - at));
        fields[field_count] = at;
        counts[field_count] = (size_t)((comma != NULL ? comma : line + count) - at);
        if (comma == NULL) {
            field_count++;
            break;
        }
        at = comma + 1;
    }
    if (field_count != FIELDS || !value_parse(fields[2], counts[2], &ret_row->value))
        return false;
    for (size_t i = 0; i < FIELDS; i++) {
        uint64_t max = i == 0 ? UINT64_MAX : i == 3 ? 1 : UINT32_MAX;
        if (i != 2 && !digits_parse(fields[i], counts[i], max, &numbers[i]))
            return false;
    }
    ret_row->id = numbers[0];
    ret_row->timestamp = (uint32_t)numbers[1];
    ret_row->property = (uint32_t)numbers[3];
    ret_row->plug = (uint32_t)numbers[4];
    ret_row->household = (uint32_t)numbers[5];
    ret_row->house = (uint32_t)numbers[6];
    ret_row->value_text = fields[2];
    ret_row->value_text_count = counts[2];
    ret_row->key_text = fields[4];
    ret_row->key_text_count = (size_t)(line + count - fields[4]);
    return true;
}

struct reader { /* over a whole stream */
    const char *at, *end;
    const char *line;
    size_t line_count;
};

static struct reader reader_of(const struct whole *whole)
{
    return (struct reader){.at = whole->bytes, .end = whole->bytes + whole->count};
}

static bool line_next(struct reader *reader)
{
    if (reader->at == reader->end)
        return false;
    const char *newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
    assert_non_null(newline);
    reader->line = reader->at;
    reader->line_count = (size_t)(newline - reader->at);
    reader->at = newline + 1;
    return true;
}

static bool row_next(struct reader *reader, struct row *ret_row)
{
    if (!line_next(reader))
        return false;
    assert_true(row_parse(reader->line, reader->line_count, ret_row));
    return true;
}

static int ids_compare_as_text(uint32_t a, uint32_t b)
{
    char texts[2][16];
    (void)snprintf(texts[0], sizeof texts[0], "%u", a);
    (void)snprintf(texts[1], sizeof texts[1], "%u", b);
    return strcmp(texts[0], texts[1]);
}

static int keys_compare_as_text(const struct row *a, const struct row *b)
{
    int order = ids_compare_as_text(a->house, b->house);
    if (order == 0)
        order = ids_compare_as_text(a->household, b->household);
    return order != 0 ? order : ids_compare_as_text(a->plug, b->plug);
}

static uint32_t plug_slot(const struct row *row)
{
    assert_true(row->house < 40 && row->household < 32 && row->plug < 16);
    return (row->house * 32 + row->household) * 16 + row->plug;
}

static void assert_share(double count, double of, double low, double high, const char *what)
{
    if (count < low * of || count > high * of)
        fail_msg("%s: %.4f is not in %.4f .. %.4f", what, count / of, low, high);
}

/* ---- the form of a stream ---- */
static void ids_count_the_rows_from_one_and_time_never_goes_back(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(600);
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row row = {0};
    uint64_t id = 0;
    uint32_t timestamp = START_S;
    while (row_next(&reader, &row)) {
        assert_int_equal(row.id, ++id);
        assert_true(row.timestamp >= timestamp);
        assert_true(id != 1 || row.timestamp == START_S);
        timestamp = row.timestamp;
    }
    assert_int_equal(id, whole.rows);
    assert_int_equal(timestamp, whole.timestamp);
    assert_true(timestamp < START_S + 600);
    free(whole.bytes);
}

static void numbers_have_no_zeros_that_say_nothing(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(300);
    options.start_s = START_S + 13 * 3600; /* large loads, too */
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row row = {0};
    int64_t load_max = 0;
    while (row_next(&reader, &row)) {
        const char *text = row.value_text;
        size_t count = row.value_text_count;
        assert_false(count > 1 && text[0] == '0' && text[1] != '.');
        assert_false(memchr(text, '.', count) != NULL && text[count - 1] == '0');
        load_max = row.property == 1 && row.value > load_max ? row.value : load_max;
    }
    assert_true(load_max > 1000000);
    free(whole.bytes);
}

static void rows_of_a_second_stand_in_string_order_load_beside_work(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(600);
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row first = {0}, second = {0}, before = {0};
    uint64_t readings = 0, reversed = 0, repeated = 0;
    while (row_next(&reader, &first)) {
        assert_true(row_next(&reader, &second));
        assert_int_equal(first.timestamp, second.timestamp);
        assert_int_equal(keys_compare_as_text(&first, &second), 0);
        assert_int_equal(first.property + second.property, 1);
        int order = before.id != 0 && before.timestamp == first.timestamp ? keys_compare_as_text(&before, &first) : -1;
        assert_true(order <= 0);
        readings++;
        repeated += order == 0;
        reversed += first.property == 0;
        before = first;
    }
    assert_share((double)reversed, (double)readings, 0.035, 0.045, "work before load");
    assert_share((double)repeated, (double)readings, 0.021, 0.033, "readings that repeat within a second");
    free(whole.bytes);
}

static void the_header_is_written_once_and_is_no_row(void **state)
{
    (void)state;
    static const char header[] = "id,timestamp,value,property,plug_id,household_id,house_id\n";
    struct pst_meters_options options = standard_for(100);
    options.row_count_max = 1000;
    struct whole bare = stream_of(&options, 8192, false);
    options.header = true;
    struct whole headed = stream_of(&options, 8192, false);
    assert_int_equal(headed.rows, 1000);
    assert_int_equal(headed.count, bare.count + sizeof header - 1);
    assert_memory_equal(headed.bytes, header, sizeof header - 1);
    assert_memory_equal(headed.bytes + sizeof header - 1, bare.bytes, bare.count);
    free(bare.bytes);
    free(headed.bytes);
}

/* ---- like the genuine data ---- */
struct figures {
    double rows, readings, zeros;
    uint32_t intervals[8];
    uint32_t interval_count, plug_count, slow_count, work_backs;
    double load_sum_w;
    uint32_t loads[20000]; /* that are not zero, by watts */
    double load_count;
    uint32_t house_plugs[40];
};

struct plug_seen {
    bool seen, worked;
    uint32_t timestamp, readings, first_timestamp;
    int64_t work;
    uint32_t work_timestamp;
};

static void load_count(struct figures *figures, struct plug_seen *plug, const struct row *row)
{
    figures->readings++;
    figures->zeros += row->value == 0;
    figures->load_sum_w += (double)row->value / 1000;
    if (row->value != 0) {
        figures->loads[row->value / 1000]++;
        figures->load_count++;
    }
    if (plug->seen) {
        uint32_t interval = row->timestamp - plug->timestamp;
        figures->intervals[interval < 7 ? interval : 7]++;
        figures->interval_count++;
    } else {
        figures->plug_count++;
        figures->house_plugs[row->house]++;
        plug->first_timestamp = row->timestamp;
    }
    plug->seen = true;
    plug->timestamp = row->timestamp;
    plug->readings++;
}

static void work_count(struct figures *figures, struct plug_seen *plug, const struct row *row)
{
    if (plug->worked && row->value < plug->work) {
        assert_int_equal(row->value, plug->work - 1);
        assert_int_equal(row->timestamp, plug->work_timestamp);
        figures->work_backs++;
    }
    plug->worked = true;
    plug->work = row->value;
    plug->work_timestamp = row->timestamp;
}

static struct figures *figures_of(const struct pst_meters_options *options)
{
    struct source source = source_open(options, 1 << 20);
    struct figures *figures = calloc(1, sizeof *figures);
    struct plug_seen *plugs = calloc(PLUGS_MAX, sizeof *plugs);
    struct whole piece = {.bytes = source.buffer};
    struct row row = {0};
    assert_non_null(figures);
    assert_non_null(plugs);
    while ((piece.count = pst_meters_next(source.meters, source.buffer, source.capacity, false, &piece.rows,
                                          &piece.timestamp)) != 0) {
        struct reader reader = reader_of(&piece);
        while (row_next(&reader, &row)) {
            struct plug_seen *plug = &plugs[plug_slot(&row)];
            figures->rows++;
            if (row.property == 1)
                load_count(figures, plug, &row);
            else
                work_count(figures, plug, &row);
        }
    }
    for (uint32_t i = 0; i < PLUGS_MAX; i++) {
        uint32_t span = plugs[i].timestamp - plugs[i].first_timestamp;
        figures->slow_count += plugs[i].readings > 1 && span > 4 * (plugs[i].readings - 1);
    }
    free(plugs);
    source_close(&source);
    return figures;
}

static double load_quantile_w(const struct figures *figures, double share)
{
    double below = 0;
    uint32_t watts = 0;
    while (watts < 20000 && (below += figures->loads[watts]) < share * figures->load_count)
        watts++;
    return watts;
}

static void ten_minutes_have_the_figures_of_the_genuine_data(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct pst_meters_options options = standard_for(600);
        options.seed = seed;
        struct figures *figures = figures_of(&options);
        const uint32_t *intervals = figures->intervals;
        const double count = figures->interval_count;
        assert_share(figures->rows, 600, 1565 * 0.96, 1565 * 1.04, "rows a second");
        assert_share(figures->zeros, figures->readings, 0.605, 0.655, "zeros");
        assert_share(figures->plug_count, 1, 1800, 2000, "plugs in the first minutes");
        assert_share(figures->slow_count, figures->plug_count, 0.21, 0.25, "plugs that report every 5.4 s");
        assert_share(intervals[0], count, 0.021, 0.033, "intervals of 0 s");
        assert_share(intervals[1], count, 0.08, 0.14, "intervals of 1 s");
        assert_share(intervals[2], count, 0.60, 0.68, "intervals of 2 s");
        assert_share(intervals[3], count, 0.08, 0.12, "intervals of 3 s");
        assert_share(intervals[4], count, 0.02, 0.05, "intervals of 4 s");
        assert_share(intervals[5], count, 0.045, 0.07, "intervals of 5 s");
        assert_share(intervals[6], count, 0.025, 0.05, "intervals of 6 s");
        assert_share(load_quantile_w(figures, 0.5), 1, 17, 32, "median of loads in W");
        assert_share(load_quantile_w(figures, 0.95), 1, 250, 500, "95th percentile of loads in W");
        assert_true(figures->work_backs > 0);
        free(figures);
    }
}

static void all_2125_plugs_of_40_houses_report_within_105_minutes(void **state)
{
    (void)state;
    static const uint32_t first_houses[10] = {107, 10, 47, 35, 102, 11, 26, 71, 26, 35};
    struct pst_meters_options options = standard_for(6300);
    struct figures *figures = figures_of(&options);
    assert_int_equal(figures->plug_count, 2125);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(figures->house_plugs[i], first_houses[i]);
    for (uint32_t i = 0; i < 40; i++)
        assert_true(figures->house_plugs[i] > 0);
    free(figures);
}

static void the_day_needs_more_than_the_night(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(600);
    options.start_s = START_S + 4 * 3600;
    struct figures *night = figures_of(&options);
    options.start_s = START_S + 12 * 3600;
    struct figures *day = figures_of(&options);
    assert_true(day->load_sum_w / day->readings > 4 * night->load_sum_w / night->readings);
    assert_true(day->load_sum_w / day->readings > 30);
    assert_share(night->zeros, night->readings, 0.65, 0.78, "zeros at night");
    free(night);
    free(day);
}

static void work_starts_from_twelve_values_and_grows_with_the_load(void **state)
{
    (void)state;
    static const int64_t starts[12] = {161, 355, 788, 962, 982, 2250, 3216, 3701, 11721, 35086, 68451, 173860};
    struct pst_meters_options options = standard_for(3600);
    options.missing_ppm = 0;
    options.house_count = 1;
    options.plug_count = 40;
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row row = {0};
    static struct plug_seen plugs[PLUGS_MAX];
    double joules = 0, work_wh = 0;
    memset(plugs, 0, sizeof plugs);
    while (row_next(&reader, &row)) {
        struct plug_seen *plug = &plugs[plug_slot(&row)];
        if (row.property == 1) {
            uint32_t since = plug->timestamp == 0 ? 2 : row.timestamp - plug->timestamp;
            joules += (double)row.value / 1000 * (since < 7 ? since : 2);
            plug->timestamp = row.timestamp;
            continue;
        }
        bool known = plug->worked;
        for (uint32_t i = 0; i < 12; i++)
            known = known || starts[i] == row.value;
        assert_true(known);
        if (plug->worked)
            work_wh += (double)(row.value - plug->work);
        plug->worked = true;
        plug->work = row.value;
    }
    assert_true(joules / 3600 > 100);
    assert_share(work_wh, joules / 3600, 0.7, 1.02, "Wh counted to Wh drawn");
    free(whole.bytes);
}

static uint32_t longest_silence_s(uint32_t start_s, bool outages, uint32_t *ret_from)
{
    struct pst_meters_options options = standard_for(400);
    options.start_s = start_s;
    options.outages = outages;
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row row = {0};
    uint32_t timestamp = start_s, silence_s = 0;
    while (row_next(&reader, &row)) {
        if (row.timestamp - timestamp > silence_s) {
            silence_s = row.timestamp - timestamp;
            *ret_from = timestamp + 1;
        }
        timestamp = row.timestamp;
    }
    free(whole.bytes);
    return silence_s - 1;
}

static void all_houses_are_silent_for_two_minutes_in_the_first_night(void **state)
{
    (void)state;
    uint32_t from = 0;
    assert_in_range(longest_silence_s(1377997100, true, &from), 122, 123);
    assert_in_range(from, 1377997201, 1377997202);
    assert_in_range(longest_silence_s(1377997100, false, &from), 0, 1);
}

static void another_size_keeps_the_kind(void **state)
{
    (void)state;
    static bool seen[400];
    struct pst_meters_options options = standard_for(60);
    options.house_count = 400;
    options.plug_count = 21250;
    struct whole whole = stream_of(&options, 65536, false);
    struct reader reader = reader_of(&whole);
    struct row row = {0};
    uint32_t houses = 0;
    memset(seen, 0, sizeof seen);
    while (row_next(&reader, &row)) {
        assert_true(row.house < 400);
        houses += !seen[row.house];
        seen[row.house] = true;
    }
    assert_share((double)whole.rows, 60, 15650 * 0.93, 15650 * 1.07, "rows a second");
    assert_in_range(houses, 395, 400);
    free(whole.bytes);
    static const uint32_t sizes[][2] = {{1, 1},   {1, 14},   {1, 15},    {1, 5000},
                                        {40, 40}, {41, 100}, {500, 501}, {7, 98765}};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        options = standard_for(40);
        options.house_count = sizes[i][0];
        options.plug_count = sizes[i][1];
        whole = stream_of(&options, 8192, false);
        reader = reader_of(&whole);
        while (row_next(&reader, &row))
            assert_true(row.house < sizes[i][0] && row.plug < 14);
        free(whole.bytes);
    }
}

/* ---- the same bytes ---- */
static void three_seeds_have_their_pinned_digests(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, digest, digest_dirty;
    } pinned[] = {
        {1, UINT64_C(0x0861839471f0a66e), UINT64_C(0x847086f6142241fb)},
        {2, UINT64_C(0xe28530455569ece8), UINT64_C(0x3947389b112920c9)},
        {UINT64_MAX, UINT64_C(0x7eeb1f830eca895f), UINT64_C(0x6ff883366b5d381b)},
    };
    bool same = true;
    for (uint32_t i = 0; i < 3; i++) {
        struct pst_meters_options options = standard_for(86400);
        options.seed = pinned[i].seed;
        options.row_count_max = 1000003;
        options.header = true;
        uint64_t digest = digest_of(&options, 262144, false);
        options.row_count_max = 300001;
        options.late_ppm = options.malformed_ppm = options.missing_ppm = 5000;
        uint64_t digest_dirty = digest_of(&options, 262144, false);
        if (digest != pinned[i].digest || digest_dirty != pinned[i].digest_dirty) {
            print_error("seed %llu: 0x%016llx 0x%016llx\n", (unsigned long long)pinned[i].seed,
                        (unsigned long long)digest, (unsigned long long)digest_dirty);
            same = false;
        }
    }
    assert_true(same);
}

static void bytes_do_not_depend_on_how_they_are_fetched(void **state)
{
    (void)state;
    static const size_t capacities[] = {8192, 8193, 10007, 65536, 1 << 20, 4 << 20};
    for (uint32_t dirty = 0; dirty < 2; dirty++) {
        struct pst_meters_options options = standard_for(120);
        options.late_ppm = options.malformed_ppm = options.missing_ppm = dirty * 100000;
        uint64_t digest = digest_of(&options, 262144, false);
        for (uint32_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
            assert_int_equal(digest_of(&options, capacities[i], false), digest);
            assert_int_equal(digest_of(&options, capacities[i], true), digest);
        }
    }
}

static void a_generator_starts_again_in_any_memory(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(60);
    uint64_t digest = digest_of(&options, 65536, false);
    size_t bytes = pst_meters_bytes(&options, NULL);
    char *memory = malloc(bytes + 64), *buffer = malloc(65536);
    assert_non_null(memory);
    assert_non_null(buffer);
    for (size_t offset = 0; offset < 64; offset += 9) {
        XXH3_state_t *hash = XXH3_createState();
        struct pst_meters *meters = pst_meters_init(memory + offset, &options);
        uint64_t rows;
        uint32_t timestamp;
        size_t count;
        XXH3_64bits_reset(hash);
        while ((count = pst_meters_next(meters, buffer, 65536, false, &rows, &timestamp)) != 0)
            XXH3_64bits_update(hash, buffer, count);
        assert_int_equal(XXH3_64bits_digest(hash), digest);
        XXH3_freeState(hash);
    }
    free(memory);
    free(buffer);
}

static void another_seed_gives_another_stream(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(60);
    uint64_t digest = digest_of(&options, 65536, false);
    options.seed = 2;
    assert_int_not_equal(digest_of(&options, 65536, false), digest);
}

/* ---- the ends ---- */
static void a_count_of_rows_is_exact_and_cuts_a_longer_stream(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(100);
    for (uint32_t dirty = 0; dirty < 2; dirty++) {
        options.late_ppm = options.malformed_ppm = dirty * 300000;
        options.row_count_max = 6000;
        struct whole longer = stream_of(&options, 65536, false);
        for (uint64_t rows = 1; rows < 6000; rows = rows < 40 ? rows + 1 : rows + 731) {
            options.row_count_max = rows;
            struct whole whole = stream_of(&options, 8192, false);
            assert_int_equal(whole.rows, rows);
            /* The last line of a stream is never an empty one, so there the two may differ. */
            struct reader reader = reader_of(&whole);
            size_t last_count = 0;
            while (line_next(&reader))
                last_count = reader.line_count;
            assert_true(last_count != 0);
            size_t same = dirty != 0 ? whole.count - last_count - 1 : whole.count;
            assert_memory_equal(whole.bytes, longer.bytes, same);
            free(whole.bytes);
        }
        free(longer.bytes);
    }
}

static void a_call_by_second_gives_one_second_whole(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(100);
    options.start_s = 1377997150; /* the outage is among them */
    struct source source = source_open(&options, 1 << 20);
    uint32_t timestamp, before = 0;
    uint64_t rows;
    size_t count;
    while ((count = pst_meters_next(source.meters, source.buffer, source.capacity, true, &rows, &timestamp)) != 0) {
        struct whole piece = {.bytes = source.buffer, .count = count};
        struct reader reader = reader_of(&piece);
        struct row row = {0};
        uint64_t seen = 0;
        while (row_next(&reader, &row)) {
            assert_int_equal(row.timestamp, timestamp);
            seen++;
        }
        assert_int_equal(seen, rows);
        assert_true(timestamp > before);
        before = timestamp;
    }
    source_close(&source);
}

static void a_stream_may_end_with_the_last_second_of_32_bits(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(10);
    options.start_s = UINT32_MAX - 9;
    struct whole whole = stream_of(&options, 65536, true);
    assert_int_equal(whole.timestamp, UINT32_MAX);
    free(whole.bytes);
}

/* ---- dirt ---- */
struct dirt {
    uint64_t rows, late, malformed, empty, nul, overlong, few, many;
};

/* Whether the well-formed rows of `dirty` that are not late are the rows of `clean`, but for their ids. */
static struct dirt dirt_of(const struct whole *dirty, const struct whole *clean)
{
    struct reader reader = reader_of(dirty), clean_reader = reader_of(clean);
    struct dirt dirt = {0};
    uint32_t highest = 0;
    uint64_t line_number = 0;
    while (line_next(&reader)) {
        struct row row = {0}, clean_row = {0};
        size_t commas = 0;
        line_number++;
        if (row_parse(reader.line, reader.line_count, &row)) {
            assert_int_equal(row.id, line_number);
            if (row.timestamp < highest) {
                dirt.late++;
                continue;
            }
            highest = row.timestamp;
            dirt.rows++;
            assert_true(row_next(&clean_reader, &clean_row));
            assert_int_equal(row.timestamp, clean_row.timestamp);
            size_t rest = (size_t)(reader.line + reader.line_count - row.value_text);
            assert_int_equal(rest, clean_reader.line + clean_reader.line_count - clean_row.value_text);
            assert_memory_equal(row.value_text, clean_row.value_text, rest);
            continue;
        }
        dirt.malformed++;
        for (size_t i = 0; i < reader.line_count; i++)
            commas += reader.line[i] == ',';
        dirt.empty += reader.line_count == 0;
        dirt.overlong += reader.line_count > LINE_BYTES_MAX;
        dirt.nul += memchr(reader.line, '\0', reader.line_count) != NULL;
        dirt.few += commas < FIELDS - 1;
        dirt.many += commas > FIELDS - 1;
    }
    assert_int_equal(dirt.rows, clean->rows);
    assert_int_equal(line_number, dirty->rows);
    return dirt;
}

static void dirt_comes_on_top_of_the_clean_stream_as_often_as_asked(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(300);
    struct whole clean = stream_of(&options, 65536, false);
    options.late_ppm = 20000;
    options.malformed_ppm = 50000;
    struct whole dirty = stream_of(&options, 65536, false);
    struct dirt dirt = dirt_of(&dirty, &clean);
    assert_share((double)dirt.late, (double)dirt.rows, 0.019, 0.021, "late rows");
    assert_share((double)dirt.malformed, (double)dirt.rows, 0.048, 0.052, "malformed lines");
    assert_true(dirt.empty > 50 && dirt.overlong > 50 && dirt.nul > 50 && dirt.few > 50 && dirt.many > 50);
    assert_true(dirt.malformed > 3 * (dirt.empty + dirt.overlong + dirt.nul));
    free(clean.bytes);
    free(dirty.bytes);
}

static void even_full_dirt_is_only_on_top(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(20);
    struct whole clean = stream_of(&options, 65536, false);
    options.late_ppm = options.malformed_ppm = 1000000;
    struct whole dirty = stream_of(&options, 8192, false);
    struct dirt dirt = dirt_of(&dirty, &clean);
    assert_int_equal(dirt.late, dirt.rows);
    assert_int_equal(dirt.malformed, dirt.rows);
    free(clean.bytes);
    free(dirty.bytes);
}

static void missing_readings_are_left_out_with_both_their_rows(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(300);
    struct whole clean = stream_of(&options, 65536, false);
    options.missing_ppm = 100000;
    struct whole holed = stream_of(&options, 65536, false);
    assert_share((double)holed.rows, (double)clean.rows, 0.895, 0.905, "rows that are left");
    assert_int_equal(holed.rows % 2, 0);
    struct reader reader = reader_of(&holed), clean_reader = reader_of(&clean);
    struct row row = {0}, clean_row = {0};
    while (row_next(&reader, &row)) { /* each is found further on in the clean stream */
        size_t rest = (size_t)(reader.line + reader.line_count - row.value_text);
        do {
            assert_true(row_next(&clean_reader, &clean_row));
        } while (row.timestamp != clean_row.timestamp ||
                 rest != (size_t)(clean_reader.line + clean_reader.line_count - clean_row.value_text) ||
                 memcmp(row.value_text, clean_row.value_text, rest) != 0);
    }
    free(clean.bytes);
    free(holed.bytes);
    options.missing_ppm = 1000000;
    struct whole nothing = stream_of(&options, 65536, false);
    assert_int_equal(nothing.count, 0);
}

/* ---- options ---- */
static void the_standard_is_the_challenge(void **state)
{
    (void)state;
    struct pst_meters_options options;
    pst_meters_options_standard(&options);
    assert_int_equal(options.house_count, 40);
    assert_int_equal(options.plug_count, 2125);
    assert_int_equal(options.start_s, START_S);
    assert_int_equal(options.start_s + options.duration_s - 1, 1380578399);
    assert_int_equal(options.row_count_max, 0);
    assert_int_equal(options.late_ppm + options.malformed_ppm + options.missing_ppm, 0);
    assert_true(options.outages);
    assert_true(options.header);
    const char *why = NULL;
    assert_in_range(pst_meters_bytes(&options, &why), 2125 * 64, 1 << 20);
    assert_null(why);
}

static void assert_refused(const struct pst_meters_options *options)
{
    const char *why = NULL;
    assert_int_equal(pst_meters_bytes(options, &why), 0);
    assert_non_null(why);
    assert_int_equal(pst_meters_bytes(options, NULL), 0);
}

static void options_that_make_no_stream_are_refused_with_a_sentence(void **state)
{
    (void)state;
    struct pst_meters_options options = standard_for(60);
#define REFUSED(change)                              \
    do {                                             \
        struct pst_meters_options changed = options; \
        changed.change;                              \
        assert_refused(&changed);                    \
    } while (0)
    REFUSED(house_count = 0);
    REFUSED(house_count = 100001);
    REFUSED(plug_count = 39);
    REFUSED(plug_count = 1000001);
    REFUSED(start_s = 0);
    REFUSED(duration_s = 0);
    REFUSED(duration_s = UINT64_MAX);
    REFUSED(duration_s = (UINT64_C(1) << 32) - START_S + 1);
    REFUSED(late_ppm = 1000001);
    REFUSED(malformed_ppm = 1000001);
    REFUSED(missing_ppm = UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_count_the_rows_from_one_and_time_never_goes_back),
        cmocka_unit_test(numbers_have_no_zeros_that_say_nothing),
        cmocka_unit_test(rows_of_a_second_stand_in_string_order_load_beside_work),
        cmocka_unit_test(the_header_is_written_once_and_is_no_row),
        cmocka_unit_test(ten_minutes_have_the_figures_of_the_genuine_data),
        cmocka_unit_test(all_2125_plugs_of_40_houses_report_within_105_minutes),
        cmocka_unit_test(the_day_needs_more_than_the_night),
        cmocka_unit_test(work_starts_from_twelve_values_and_grows_with_the_load),
        cmocka_unit_test(all_houses_are_silent_for_two_minutes_in_the_first_night),
        cmocka_unit_test(another_size_keeps_the_kind),
        cmocka_unit_test(three_seeds_have_their_pinned_digests),
        cmocka_unit_test(bytes_do_not_depend_on_how_they_are_fetched),
        cmocka_unit_test(a_generator_starts_again_in_any_memory),
        cmocka_unit_test(another_seed_gives_another_stream),
        cmocka_unit_test(a_count_of_rows_is_exact_and_cuts_a_longer_stream),
        cmocka_unit_test(a_call_by_second_gives_one_second_whole),
        cmocka_unit_test(a_stream_may_end_with_the_last_second_of_32_bits),
        cmocka_unit_test(dirt_comes_on_top_of_the_clean_stream_as_often_as_asked),
        cmocka_unit_test(even_full_dirt_is_only_on_top),
        cmocka_unit_test(missing_readings_are_left_out_with_both_their_rows),
        cmocka_unit_test(the_standard_is_the_challenge),
        cmocka_unit_test(options_that_make_no_stream_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
