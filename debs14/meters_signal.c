/* debs14/meters_signal.c - what the twelve recorded plugs do, and what their copies make of it.
 *
 * A source fixes the seconds in which all its copies report, how much it draws, and a gain that its copies share. A
 * copy has plateaus of its own: at the end of each it draws whether it is on for the next one (by the hour of the
 * day), how much it draws, and for how long; now and then it is unplugged for a while instead. A wheel of seconds
 * says whose plateau ends. */
#include "debs14/meters_inside.h"

#include <string.h>

enum {
    GAIN_ONE = 65536,
    LEVEL_MW_MAX = 3600000, /* what a socket gives */
    LOCAL_TIME_S = 7200,    /* the recordings are from Germany in summer */
    AWAY_S_MIN = 1200,
    AWAY_S_MAX = 6000,
    AWAY_PERMILLE = 138, /* of the time: brings the full houses' 1816 rows a second down to the challenge's 1565 */
    PER_MILLION = 1000000,
};

typedef enum curve { CURVE_FLAT, CURVE_DAY, CURVE_EVENING, CURVE_COUNT } curve;
/* Per cent by local hour. Made from the sums over 40 houses of the challenge's first day: 40 kW at midnight, 12 kW
 * at night, up to 98 kW at noon. */
static const uint8_t curves[CURVE_COUNT][24] = {
    [CURVE_FLAT] = {100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100,
                    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100},
    [CURVE_DAY] = {3, 1, 1, 1, 1, 1, 2, 2, 12, 54, 46, 92, 100, 85, 43, 50, 80, 77, 90, 85, 62, 46, 28, 12},
    [CURVE_EVENING] = {80, 9, 7, 6, 6, 6, 6, 8, 30, 60, 60, 75, 80, 75, 60, 65, 80, 90, 95, 100, 103, 104, 104, 102},
};

static const struct source {
    uint32_t work_wh;  /* at the start, one of the twelve values of the genuine data */
    uint32_t level_mw; /* of the median copy */
    uint16_t on_permille, plateau_s_min, plateau_s_max;
    uint8_t curve, spread_percent; /* levels of plateaus differ by so much up and down */
    uint8_t phase;                 /* of a reading: in seconds (every 2 s), in fifths of a second (every 5.4 s) */
    bool slow, shared_noise;       /* every 5.4 s; copies' noise is partly the source's */
} sources[METERS_SOURCES] = {
    {161, 1900000, 55, 60, 300, CURVE_DAY, 30, 0, false, false},
    {355, 900000, 80, 600, 3000, CURVE_DAY, 60, 0, true, false},
    {788, 38000, 60, 900, 5400, CURVE_EVENING, 50, 0, false, false},
    {962, 90000, 150, 900, 5400, CURVE_DAY, 30, 1, false, false},
    {982, 1300000, 60, 300, 2400, CURVE_DAY, 40, 9, true, false},
    {2250, 1200000, 55, 300, 2400, CURVE_DAY, 40, 1, false, false},
    {3216, 11000, 220, 600, 3600, CURVE_FLAT, 50, 0, false, false},
    {3701, 1000000, 70, 600, 3000, CURVE_DAY, 60, 18, true, false},
    {11721, 14500, 960, 600, 3600, CURVE_FLAT, 5, 0, false, true},
    {35086, 7400, 960, 600, 3600, CURVE_FLAT, 5, 1, false, false},
    {68451, 36600, 960, 600, 3600, CURVE_FLAT, 5, 1, false, true},
    {173860, 244000, 960, 1200, 5400, CURVE_EVENING, 20, 1, false, false},
};

uint32_t pst_meters_source_work_wh(uint32_t source) { return sources[source].work_wh; }

/* ---- plateaus ---- */
static void wheel_add(struct pst_meters *meters, uint32_t meter_index, uint64_t second)
{
    uint32_t *head = &meters->wheel[second % METERS_WHEEL_S];
    meters->meters[meter_index].next = *head;
    *head = meter_index + 1;
}

/* Chance per million that a plateau is followed by an absence; an absence is always followed by a plateau. With
 * plateaus of L and absences of A seconds on average, a share a of the time is absence where the chance is
 * aL / ((1 - a)A). */
static uint32_t away_ppm(const struct source *source)
{
    uint64_t twice_plateau_s = source->plateau_s_min + source->plateau_s_max, twice_away_s = AWAY_S_MIN + AWAY_S_MAX;
    return (uint32_t)(AWAY_PERMILLE * twice_plateau_s * PER_MILLION / ((1000 - AWAY_PERMILLE) * twice_away_s));
}

static uint32_t between(uint64_t draw, uint32_t min, uint32_t max) { return min + (uint32_t)(draw % (max - min + 1)); }

/* Draws what the meter does from `second` on; returns for how many seconds. */
static uint32_t plateau_draw(struct pst_meters *meters, uint32_t meter_index, uint64_t second, uint32_t chance_away_ppm)
{
    struct meter *meter = &meters->meters[meter_index];
    const struct source *source = &sources[meter->source];
    uint64_t key = meters_key(meters, METERS_FOR_PLATEAU, (uint64_t)meter_index << 34 | second);
    const uint64_t bit = UINT64_C(1) << meter_index % 64;
    meter->level_mw = 0;
    meter->away = !meter->away && meters_draw(key, 0) % PER_MILLION < chance_away_ppm;
    if (meter->away) {
        meters->present[meter_index / 64] &= ~bit;
        return between(meters_draw(key, 1), AWAY_S_MIN, AWAY_S_MAX);
    }
    meters->present[meter_index / 64] |= bit;
    uint64_t hour = (meters->options.start_s + second + LOCAL_TIME_S) / 3600 % 24;
    if (meters_draw(key, 2) % 100000 < source->on_permille * (uint32_t)curves[source->curve][hour]) {
        uint32_t percent = between(meters_draw(key, 3), 100u - source->spread_percent, 100u + source->spread_percent);
        uint64_t level_mw = (uint64_t)source->level_mw * percent / 100 * meter->factor / 1024;
        meter->level_mw = (uint32_t)(level_mw < LEVEL_MW_MAX ? level_mw : LEVEL_MW_MAX);
    }
    return between(meters_draw(key, 4), source->plateau_s_min, source->plateau_s_max);
}

static void plateaus_advance(struct pst_meters *meters, uint64_t second)
{
    uint32_t next = meters->wheel[second % METERS_WHEEL_S];
    meters->wheel[second % METERS_WHEEL_S] = 0;
    while (next != 0) {
        uint32_t index = next - 1;
        next = meters->meters[index].next;
        wheel_add(meters, index,
                  second + plateau_draw(meters, index, second, away_ppm(&sources[meters->meters[index].source])));
    }
}

/* ---- outages ---- */
/* Nobody is heard for two minutes in the first night, as in the genuine data, and for up to ten about one day in
 * eight. */
static void outage_draw(struct pst_meters *meters, uint64_t day)
{
    uint64_t midnight = day * 86400 - LOCAL_TIME_S, start = meters->options.start_s, from, duration;
    uint64_t key = meters_key(meters, METERS_FOR_OUTAGE, day);
    meters->outage_day = day;
    meters->outage = (struct meters_outage){0, 0};
    if (day == (start + LOCAL_TIME_S) / 86400) {
        from = 3 * 3600 + 2;
        duration = 122;
    } else if (meters_draw(key, 0) % 8 == 0) {
        from = between(meters_draw(key, 1), 0, 85000);
        duration = between(meters_draw(key, 2), 30, 600);
    } else {
        return;
    }
    if (midnight + from >= start)
        meters->outage = (struct meters_outage){midnight + from - start, midnight + from - start + duration};
}

static bool in_outage(struct pst_meters *meters, uint64_t second)
{
    uint64_t day = (meters->options.start_s + second + LOCAL_TIME_S) / 86400;
    if (!meters->options.outages)
        return false;
    if (day != meters->outage_day)
        outage_draw(meters, day);
    return second >= meters->outage.from && second < meters->outage.to;
}

/* ---- sources ---- */
/* A reading that is due every 2 s comes one second late now and then, or two: then the next one falls into the same
 * second. */
static uint32_t delay_s(const struct pst_meters *meters, uint32_t source, uint64_t n)
{
    uint64_t draw = meters_key(meters, METERS_FOR_JITTER, (uint64_t)source << 40 | n) % 1024;
    return draw < 37 ? 2 : draw < 165 ? 1 : 0;
}

static uint32_t source_reading_count(const struct pst_meters *meters, uint32_t source, uint64_t second)
{
    uint64_t phase = sources[source].phase;
    if (sources[source].slow) {
        if (5 * second + 4 < phase)
            return 0;
        uint64_t n = (5 * second + 4 - phase) / 27; /* the last one due by the end of this second */
        return 27 * n + phase >= 5 * second;
    }
    if (second < phase)
        return 0;
    uint64_t n = (second - phase) / 2;
    if ((second - phase) % 2 == 1)
        return delay_s(meters, source, n) == 1;
    return (delay_s(meters, source, n) == 0) + (n != 0 && delay_s(meters, source, n - 1) == 2);
}

/* Triangular in -1 .. 1 times 1024. */
static int32_t triangular(uint64_t draw) { return (int32_t)(draw & 1023) + (int32_t)(draw >> 10 & 1023) - 1023; }

/* The factor of all loads of one source in one reading, in 1/65536: a slow wave of the source, from its own quarter
 * of an hour to the next, and for some the noise that its copies share. */
static uint32_t source_gain(const struct pst_meters *meters, uint32_t source, uint64_t second, uint32_t reading)
{
    uint64_t wave = meters_key(meters, METERS_FOR_GAIN, (uint64_t)source << 34 | (second + 80u * source) / 900);
    int32_t gain = GAIN_ONE + triangular(wave) * 8;
    if (sources[source].shared_noise)
        gain += triangular(meters_draw(wave, second * 2 + reading)) * 12;
    return (uint32_t)gain;
}

static bool source_advance(struct pst_meters *meters, uint32_t source, uint64_t second)
{
    uint32_t count = source_reading_count(meters, source, second);
    if (count == 0)
        return false;
    meters->elapsed_s[0][source] = (uint32_t)(second - meters->source_second[source]);
    meters->source_second[source] = second;
    for (uint32_t i = 0; i < count; i++)
        meters->gain[i][source] = source_gain(meters, source, second, i);
    if (count == 2)
        meters->due_twice |= 1u << source;
    return true;
}

static void due_add(uint64_t *due, const uint64_t *of_source, uint32_t word_count)
{
    for (uint32_t i = 0; i < word_count; i++)
        due[i] |= of_source[i];
}

static void due_make(struct pst_meters *meters, uint64_t second)
{
    memset(meters->due, 0, meters->word_count * sizeof *meters->due);
    meters->due_twice = 0;
    for (uint32_t source = 0; source < METERS_SOURCES; source++) {
        if (source_advance(meters, source, second))
            due_add(meters->due, meters->of_source[source], meters->word_count);
    }
    for (uint32_t i = 0; i < meters->word_count; i++)
        meters->due[i] &= meters->present[i];
}

static void stamp_render(struct pst_meters *meters, uint64_t second)
{
    uint32_t count = 0;
    meters->stamp[count++] = ',';
    count += meters_number_put(meters->stamp + count, meters->options.start_s + second);
    meters->stamp[count++] = ',';
    meters->stamp_count = (uint8_t)count;
}

bool pst_meters_second_advance(struct pst_meters *meters)
{
    uint64_t second;
    do {
        second = meters->second_next;
        if (second == meters->options.duration_s)
            return false;
        meters->second_next++;
        plateaus_advance(meters, second);
    } while (in_outage(meters, second));
    due_make(meters, second);
    stamp_render(meters, second);
    meters->second = second;
    meters->key_second[0] = meters_key(meters, METERS_FOR_NOISE, second * 2);
    meters->key_second[1] = meters_key(meters, METERS_FOR_NOISE, second * 2 + 1);
    meters->word_index = 0;
    meters->due_left = meters->due[0];
    return true;
}

/* The first plateaus began before the stream. */
void pst_meters_signal_init(struct pst_meters *meters)
{
    meters->outage_day = UINT64_MAX;
    for (uint32_t i = 0; i < meters->options.plug_count; i++) {
        uint64_t draw = meters_key(meters, METERS_FOR_PLATEAU, UINT64_C(1) << 33 | (uint64_t)i << 34);
        uint32_t plateau_s = plateau_draw(meters, i, 0, AWAY_PERMILLE * (PER_MILLION / 1000));
        wheel_add(meters, i, 1 + draw % plateau_s);
    }
}
