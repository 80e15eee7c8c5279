/* debs14/meters.c - the meter stream: from options to bytes, second by second.
 *
 * Each second is a set of bits over the meters in string order: those of the sources that report in it, less the
 * unplugged. A visit to a meter makes its one or two readings, two rows each, and writes them as text from tables.
 * Measured, 50 million rows of the standard stream into a buffer of 256 KiB on one EPYC core: 213 million rows/s with
 * gcc 12, 185 with clang 14; 60 with dirt, which goes line by line.
 *
 * There is no floating point, and nothing depends on the order of bytes in a word: it is the same everywhere. */
#include "debs14/meters_inside.h"

#include <string.h>

enum {
    VISIT_ROWS_MAX = 4,
    VISIT_BYTES_MAX = VISIT_ROWS_MAX * 64 + 64, /* rows are below 64 bytes; a copy may end 64 behind the last */
    CAPACITY_MIN = 8192,
    PER_MILLION = 1000000,
    WORK_MWS = 3600000, /* one step of work, 0.001 kWh */
};
_Static_assert(METERS_PENDING_BYTES >= 3 * VISIT_ROWS_MAX * METERS_LINE_MAX, "a visit's lines and their dirt fit");
_Static_assert(METERS_LINE_MAX < (int)CAPACITY_MIN, "every line fits into the smallest buffer");

static const char header[] = "id,timestamp,value,property,plug_id,household_id,house_id\n";

void pst_meters_options_standard(struct pst_meters_options *options)
{
    *options = (struct pst_meters_options){
        .seed = 1,
        .house_count = 40,
        .plug_count = 2125,
        .start_s = 1377986401,
        .duration_s = 2591999, /* the challenge's month ends with 1380578399 */
        .outages = true,
        .header = true,
    };
}

/* ---- memory ---- */
static const char *options_fault(const struct pst_meters_options *options)
{
    if (options->house_count == 0 || options->house_count > METERS_HOUSES_MAX)
        return "there are 1 to 100000 houses";
    if (options->plug_count < options->house_count)
        return "each house needs a plug at least";
    if (options->plug_count > METERS_PLUGS_MAX)
        return "there are at most 1000000 plugs";
    if (options->start_s == 0)
        return "the first timestamp is at least 1";
    if (options->duration_s == 0)
        return "the stream lasts at least one second";
    if (options->duration_s > (UINT64_C(1) << 32) - options->start_s)
        return "the last timestamp must not be above 4294967295";
    if (options->late_ppm > PER_MILLION || options->malformed_ppm > PER_MILLION || options->missing_ppm > PER_MILLION)
        return "late, malformed and missing are at most 1000000 in a million";
    return NULL;
}

/* Where the parts lie behind the struct, each on a cache line; with no memory, only how many bytes there are. */
static size_t parts_place(struct pst_meters *meters, const struct pst_meters_options *options)
{
    const size_t plug_count = options->plug_count, word_count = (plug_count + 63) / 64;
    const size_t set_bytes = (word_count * 8 + 63) / 64 * 64;
    size_t at = (sizeof *meters + 63) / 64 * 64;
    if (meters != NULL) {
        char *memory = (char *)meters;
        meters->word_count = (uint32_t)word_count;
        meters->meters = (struct meter *)(void *)(memory + at);
        char *sets = memory + at + plug_count * sizeof(struct meter);
        meters->due = (uint64_t *)(void *)sets;
        meters->present = (uint64_t *)(void *)(sets + set_bytes);
        for (uint32_t i = 0; i < METERS_SOURCES; i++)
            meters->of_source[i] = (uint64_t *)(void *)(sets + (2 + i) * set_bytes);
        meters->household_sizes = (uint8_t *)(sets + (2 + METERS_SOURCES) * set_bytes);
    }
    return at + plug_count * sizeof(struct meter) + (2 + METERS_SOURCES) * set_bytes + plug_count;
}

size_t pst_meters_bytes(const struct pst_meters_options *options, const char **ret_why)
{
    const char *why = options_fault(options);
    if (why != NULL) {
        if (ret_why != NULL)
            *ret_why = why;
        return 0;
    }
    return parts_place(NULL, options) + 63; /* the memory may start anywhere */
}

/* ---- short texts ---- */
static void tables_fill(struct pst_meters *meters)
{
    for (uint32_t i = 0; i < 1000; i++) {
        const char digits[3] = {(char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10)};
        uint8_t zeros_before = i >= 100 ? 0 : i >= 10 ? 1 : 2;
        memcpy(meters->padded[i].bytes, digits, 3);
        meters->padded[i].count = 3;
        meters->plain[i].count = (uint8_t)(3 - zeros_before);
        memcpy(meters->plain[i].bytes, digits + zeros_before, 3u - zeros_before);

        uint8_t decimals = i == 0 ? 0 : i % 10 != 0 ? 3 : i % 100 != 0 ? 2 : 1;
        struct meters_text *fraction = &meters->fraction[i];
        if (decimals != 0) {
            fraction->bytes[fraction->count++] = '.';
            memcpy(fraction->bytes + 1, digits, decimals);
            fraction->count = (uint8_t)(1 + decimals);
        }
        memcpy(fraction->bytes + fraction->count, ",1", 2);
        fraction->count = (uint8_t)(fraction->count + 2);
    }
}

/* Copies all of it, as one word; what lies beyond its end is overwritten by what follows. */
static inline char *text_put(char *out, const struct meters_text *text)
{
    memcpy(out, text, sizeof *text);
    return out + text->count;
}

struct pst_meters *pst_meters_init(void *memory, const struct pst_meters_options *options)
{
    struct pst_meters *meters = (struct pst_meters *)(void *)((char *)memory + (64 - (uintptr_t)memory % 64) % 64);
    memset(meters, 0, parts_place(NULL, options));
    parts_place(meters, options);
    meters->options = *options;
    meters->key = meters_mix(options->seed + METERS_GOLDEN);
    meters->dirty = options->late_ppm != 0 || options->malformed_ppm != 0 || options->missing_ppm != 0;
    meters->header_due = options->header;
    meters->id_low = 1;
    meters->timestamp_written = options->start_s;
    tables_fill(meters);
    pst_meters_layout(meters);
    pst_meters_signal_init(meters);
    return meters;
}

/* ---- one reading ---- */
struct reading {
    uint32_t load_mw;
    bool work_first, work_back; /* the work stands one step lower than before */
};

/* Moves the meter on to its next reading. `draw` is the reading's own. */
static inline struct reading reading_take(const struct pst_meters *meters, struct meter *meter, uint64_t draw,
                                          uint32_t repeated)
{
    /* Noise of its own, triangular, 3 %. */
    uint32_t noise = 5 * ((uint32_t)(draw & 1023) + (uint32_t)(draw >> 10 & 1023));
    uint32_t gain = meters->gain[repeated][meter->source] + noise - 5 * 1023;
    struct reading reading = {
        .load_mw = (uint32_t)((uint64_t)meter->level_mw * gain >> 16),
        .work_first = (draw >> 20 & 1023) < 41,
        .work_back = repeated != 0 && meter->level_mw != 0 && (draw >> 30 & 7) == 0,
    };
    uint64_t energy_mws = meter->energy_mws;
    if (repeated == 0)
        energy_mws += (uint64_t)reading.load_mw * meters->elapsed_s[0][meter->source];
    if (energy_mws >= WORK_MWS) {
        meter->work_wh += (uint32_t)(energy_mws / WORK_MWS);
        energy_mws %= WORK_MWS;
        pst_meters_work_render(meter);
    }
    meter->energy_mws = (uint32_t)energy_mws;
    return reading;
}

/* The part of a row behind "id,timestamp,". */
static inline char *load_put(const struct pst_meters *meters, const struct meter *meter, uint32_t load_mw, char *out)
{
    uint32_t watts = load_mw / 1000;
    if (watts >= 1000) {
        out = text_put(out, &meters->plain[watts / 1000]);
        out = text_put(out, &meters->padded[watts % 1000]);
    } else {
        out = text_put(out, &meters->plain[watts]);
    }
    out = text_put(out, &meters->fraction[load_mw % 1000]);
    memcpy(out, meter->row_work + meter->suffix_at, 24);
    return out + (meter->row_count - meter->suffix_at);
}

static char *work_back_put(const struct meter *meter, char *out)
{
    struct meter before = *meter;
    before.work_wh--;
    pst_meters_work_render(&before);
    memcpy(out, before.row_work, before.row_count);
    return out + before.row_count;
}

static inline char *work_put(const struct meter *meter, const struct reading *reading, char *out)
{
    if (reading->work_back)
        return work_back_put(meter, out);
    memcpy(out, meter->row_work, 32);
    return out + meter->row_count;
}

/* ---- ids ---- */
static void id_carry(struct pst_meters *meters)
{
    meters->id_low = 0;
    meters->id_high++;
    meters->id_high_count = (uint8_t)meters_number_put(meters->id_high_text, meters->id_high);
}

static inline uint64_t id_next(const struct pst_meters *meters) { return meters->id_high * 1000 + meters->id_low; }

/* How many more rows may be made; ids number them from 1. */
static uint64_t rows_left(const struct pst_meters *meters)
{
    uint64_t made = id_next(meters) - 1,
             wanted = meters->options.row_count_max != 0 ? meters->options.row_count_max : UINT64_MAX;
    return made < wanted ? wanted - made : 0;
}

/* "id,timestamp," of the next row. */
static inline char *prefix_put(struct pst_meters *meters, char *out)
{
    memcpy(out, meters->id_high_text, sizeof meters->id_high_text);
    out += meters->id_high_count;
    out = text_put(out, (meters->id_high_count == 0 ? meters->plain : meters->padded) + meters->id_low);
    memcpy(out, meters->stamp, sizeof meters->stamp);
    out += meters->stamp_count;
    if (++meters->id_low == 1000)
        id_carry(meters);
    return out;
}

/* ---- visits ---- */
static inline char *reading_put(struct pst_meters *meters, const struct meter *meter, const struct reading *reading,
                                char *out)
{
    if (reading->work_first)
        out = work_put(meter, reading, prefix_put(meters, out));
    out = load_put(meters, meter, reading->load_mw, prefix_put(meters, out));
    if (!reading->work_first)
        out = work_put(meter, reading, prefix_put(meters, out));
    return out;
}

static inline uint32_t reading_count(const struct pst_meters *meters, const struct meter *meter)
{
    return 1 + (meters->due_twice >> meter->source & 1);
}

static inline uint32_t meter_due_next(struct pst_meters *meters)
{
    uint32_t index = meters->word_index * 64 + (uint32_t)__builtin_ctzll(meters->due_left);
    meters->due_left &= meters->due_left - 1;
    return index;
}

/* Whether a meter is due in the second; moves on over empty words. */
static inline bool meter_is_due(struct pst_meters *meters)
{
    while (meters->due_left == 0) {
        if (meters->word_index + 1 >= meters->word_count)
            return false;
        meters->due_left = meters->due[++meters->word_index];
    }
    return true;
}

/* All that is due in the second, as far as the buffer and the rows that are wanted allow. */
static char *visits_clean(struct pst_meters *meters, char *out, const char *end)
{
    uint64_t visits_left = rows_left(meters) / VISIT_ROWS_MAX;
    while (end - out >= VISIT_BYTES_MAX && visits_left != 0 && meter_is_due(meters)) {
        uint32_t index = meter_due_next(meters);
        struct meter *meter = &meters->meters[index];
        uint32_t count = reading_count(meters, meter);
        for (uint32_t i = 0; i < count; i++) {
            struct reading reading = reading_take(meters, meter, meters_draw(meters->key_second[i], index), i);
            out = reading_put(meters, meter, &reading, out);
        }
        visits_left--;
    }
    return out;
}

/* ---- the careful way: with dirt, and for the last rows of a count. Lines are made in `pending` first. ---- */
static bool hits(uint64_t draw, uint32_t ppm) { return (uint32_t)(draw >> 24) % PER_MILLION < ppm; }

static char *late_put(struct pst_meters *meters, const char *rest, size_t rest_count, uint64_t draw, char *out)
{
    uint64_t now = meters->options.start_s + meters->second;
    char ignored[128];
    uint64_t id = id_next(meters);
    prefix_put(meters, ignored); /* takes the id */
    out += meters_number_put(out, id);
    *out++ = ',';
    out += meters_number_put(out, now - 1 - draw % (now < 60 ? now : 60));
    *out++ = ',';
    memcpy(out, rest, rest_count);
    return out + rest_count;
}

static char *malformed_put(struct pst_meters *meters, const char *rest, size_t rest_count, uint64_t draw,
                           bool may_be_empty, char *out)
{
    char line[256];
    char *line_end = prefix_put(meters, line);
    memcpy(line_end, rest, rest_count);
    line_end += rest_count;
    /* An empty line at the very end of a stream is not malformed, so the last line must not be one. */
    may_be_empty = may_be_empty && rows_left(meters) != 0;
    return out + pst_meters_malformed_put(out, line, (uint32_t)(line_end - line), draw, may_be_empty);
}

/* One row, and behind it the dirt that its draw brings. Dirt is added, never put in a row's place: the stream
 * without it is the clean stream, but for the ids, which number all lines. */
static char *row_put_dirty(struct pst_meters *meters, const char *rest, size_t rest_count, uint64_t draw, bool followed,
                           char *out)
{
    out = prefix_put(meters, out);
    memcpy(out, rest, rest_count);
    out += rest_count;
    if (hits(meters_draw(draw, 1), meters->options.late_ppm))
        out = late_put(meters, rest, rest_count, meters_draw(draw, 2), out);
    if (hits(meters_draw(draw, 3), meters->options.malformed_ppm))
        out = malformed_put(meters, rest, rest_count, meters_draw(draw, 4), followed, out);
    return out;
}

static void visit_careful(struct pst_meters *meters)
{
    uint32_t index = meter_due_next(meters);
    struct meter *meter = &meters->meters[index];
    uint32_t count = reading_count(meters, meter);
    char *out = meters->pending;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t draw = meters_draw(meters->key_second[i], index);
        struct reading reading = reading_take(meters, meter, draw, i);
        if (hits(meters_draw(draw, 0), meters->options.missing_ppm))
            continue;
        char load[96], work[96];
        size_t load_count = (size_t)(load_put(meters, meter, reading.load_mw, load) - load);
        size_t work_count = (size_t)(work_put(meter, &reading, work) - work);
        for (uint32_t row = 0; row < 2; row++) {
            bool is_work = reading.work_first == (row == 0);
            out = row_put_dirty(meters, is_work ? work : load, is_work ? work_count : load_count,
                                meters_draw(draw, 8 + row), row == 0, out);
        }
    }
    meters->pending_at = 0;
    meters->pending_count = (uint32_t)(out - meters->pending);
}

/* Hands out whole lines of `pending`; false: the buffer is full, or the last row that is wanted is out. */
static bool pending_flush(struct pst_meters *meters, char **out, const char *end)
{
    const uint64_t wanted = meters->options.row_count_max;
    while (meters->pending_at != meters->pending_count) {
        const char *line = meters->pending + meters->pending_at;
        size_t line_bytes =
            1 + (size_t)((const char *)memchr(line, '\n', meters->pending_count - meters->pending_at) - line);
        if ((size_t)(end - *out) < line_bytes || (wanted != 0 && meters->rows_written == wanted))
            return false;
        memcpy(*out, line, line_bytes);
        *out += line_bytes;
        meters->pending_at += (uint32_t)line_bytes;
        meters->rows_written++;
        meters->timestamp_written = (uint32_t)(meters->options.start_s + meters->second);
    }
    return wanted == 0 || meters->rows_written != wanted;
}

/* Goes on with the second until it or the buffer ends; false: the buffer is full, or the stream has ended. */
static bool second_go_on(struct pst_meters *meters, char **out, const char *end)
{
    while (pending_flush(meters, out, end) && meter_is_due(meters)) {
        if (meters->dirty || rows_left(meters) < VISIT_ROWS_MAX) {
            visit_careful(meters);
            continue;
        }
        uint64_t id_before = id_next(meters);
        *out = visits_clean(meters, *out, end);
        if (id_next(meters) == id_before)
            return false;
        meters->rows_written = id_next(meters) - 1;
        meters->timestamp_written = (uint32_t)(meters->options.start_s + meters->second);
    }
    return meters->pending_at == meters->pending_count && !meter_is_due(meters);
}

size_t pst_meters_next(struct pst_meters *meters, char *buffer, size_t capacity, bool by_second, uint64_t *ret_rows,
                       uint32_t *ret_timestamp)
{
    const uint64_t rows_before = meters->rows_written;
    char *out = buffer;
    const char *end = buffer + capacity;
    if (meters->header_due && capacity >= sizeof header - 1) {
        memcpy(out, header, sizeof header - 1);
        out += sizeof header - 1;
        meters->header_due = false;
    }
    while (second_go_on(meters, &out, end)) {
        if (by_second && meters->rows_written != rows_before)
            break;
        if (!pst_meters_second_advance(meters))
            break;
    }
    *ret_rows = meters->rows_written - rows_before;
    *ret_timestamp = meters->timestamp_written;
    return (size_t)(out - buffer);
}
