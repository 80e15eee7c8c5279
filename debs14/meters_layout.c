/* debs14/meters_layout.c - who lives where: the houses, households and plugs of a meter stream.
 *
 * The counts per house are the challenge's: 40 houses, 287 households, 2125 plugs, those of houses 0 to 9 exact,
 * those of the others from the first three seconds of the data and topped up. Other sizes repeat the 40 houses and
 * scale their plugs. A household has 1 to 14 plugs with ids from 0 to 13; ids have holes. Meters are made in the
 * order of the decimal strings of house, household and plug, the order of the genuine data inside one second. */
#include "debs14/meters_inside.h"

#include <string.h>

enum { TEMPLATES = 40, SLOTS = 13, FACTORS = 64 };

static const struct {
    uint8_t household_count, plug_count;
} templates[TEMPLATES] = {
    {14, 107}, {3, 10},   {6, 47},   {4, 35},  {14, 102}, {2, 11}, {4, 26},  {11, 71}, {5, 26},   {4, 35},
    {5, 26},   {6, 40},   {4, 32},   {2, 15},  {18, 136}, {4, 40}, {11, 99}, {4, 20},  {5, 37},   {1, 9},
    {8, 73},   {14, 137}, {4, 35},   {4, 27},  {8, 56},   {6, 52}, {6, 56},  {10, 72}, {18, 155}, {3, 20},
    {2, 9},    {1, 9},    {13, 117}, {12, 77}, {6, 18},   {4, 28}, {7, 49},  {9, 64},  {11, 42},  {14, 105},
};

/* Thirteen equal shares, two of them the seventh source's. */
static const uint8_t slot_sources[SLOTS] = {0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11};

/* Quantiles i / 64 of a lognormal distribution with median 1 and sigma 0.46, cut to 0.35 .. 2.7, in 1/1024. */
static const uint16_t factors[FACTORS + 1] = {
    358,  380,  435,  474,  506,  533,  558,  582,  603,  624,  643,  662,  681,  699,  716,  734,  751,
    768,  785,  801,  818,  834,  851,  868,  884,  901,  918,  935,  953,  970,  988,  1006, 1024, 1043,
    1062, 1081, 1101, 1121, 1142, 1164, 1186, 1208, 1232, 1257, 1282, 1309, 1337, 1366, 1397, 1429, 1464,
    1500, 1540, 1583, 1630, 1681, 1738, 1803, 1878, 1966, 2074, 2214, 2412, 2758, 2765,
};

struct layout { /* where the walk is */
    struct pst_meters *meters;
    uint32_t meter_index;
    uint64_t draw_index;
};

static uint64_t layout_draw(struct layout *layout)
{
    return meters_key(layout->meters, METERS_FOR_LAYOUT, layout->draw_index++);
}

/* The number behind x among 0 .. n-1 in the order of their decimal strings (0, 1, 10, 11, .., 2, 20, ..); n: none. */
static uint32_t string_order_next(uint32_t x, uint32_t n)
{
    if (x != 0 && (uint64_t)x * 10 < n)
        return x * 10;
    do {
        if (x % 10 != 9 && x + 1 < n)
            return x + 1;
        x /= 10;
    } while (x != 0);
    return n;
}

/* Each house has a plug; the others are shared out in proportion to the templates, to the plug. */
static uint32_t house_plug_count(const struct pst_meters_options *options, uint32_t house)
{
    uint64_t before = 0, all = 0, own = templates[house % TEMPLATES].plug_count - 1u;
    for (uint32_t i = 0; i < TEMPLATES; i++) {
        uint64_t times = options->house_count / TEMPLATES + (i < options->house_count % TEMPLATES);
        uint64_t times_before = house / TEMPLATES + (i < house % TEMPLATES);
        all += (templates[i].plug_count - 1u) * times;
        before += (templates[i].plug_count - 1u) * times_before;
    }
    uint64_t extra = options->plug_count - options->house_count;
    return 1 + (uint32_t)(extra * (before + own) / all - extra * before / all);
}

static uint32_t house_household_count(uint32_t house, uint32_t plug_count)
{
    uint64_t plugs = templates[house % TEMPLATES].plug_count, households = templates[house % TEMPLATES].household_count;
    uint64_t count = (plug_count * households + plugs / 2) / plugs;
    uint64_t count_min = 1 + (plug_count - 1u) / METERS_PLUG_IDS;
    if (count < count_min)
        count = count_min;
    if (count > plug_count)
        count = plug_count;
    return count != 0 ? (uint32_t)count : 1;
}

/* How many plugs each household has: near uniform from 1 to 14, then moved up or down until the sum is right. */
static void household_sizes(struct layout *layout, uint8_t *sizes, uint32_t household_count, uint32_t plug_count)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < household_count; i++) {
        sizes[i] = (uint8_t)(1 + layout_draw(layout) % METERS_PLUG_IDS);
        sum += sizes[i];
    }
    while (sum != plug_count) {
        uint8_t *size = &sizes[layout_draw(layout) % household_count];
        if (sum < plug_count && *size < METERS_PLUG_IDS) {
            (*size)++;
            sum++;
        } else if (sum > plug_count && *size > 1) {
            (*size)--;
            sum--;
        }
    }
}

/* A set of `size` plug ids out of the first size + 0..3. */
static uint32_t household_plug_ids(struct layout *layout, uint32_t size)
{
    uint32_t range = size + (uint32_t)(layout_draw(layout) % 4);
    if (range > METERS_PLUG_IDS)
        range = METERS_PLUG_IDS;
    uint32_t ids = (1u << range) - 1;
    for (uint32_t holes = range - size; holes != 0;) {
        uint32_t bit = 1u << layout_draw(layout) % range;
        holes -= (ids & bit) != 0;
        ids &= ~bit;
    }
    return ids;
}

/* Every 13 meters in a row are copies of the 13 slots in some order, so that any size has the same mixture. */
static uint8_t copy_source(const struct pst_meters *meters, uint32_t meter_index)
{
    uint64_t draw = meters_key(meters, METERS_FOR_COPY, meter_index / SLOTS);
    return slot_sources[(meter_index % SLOTS * (1 + draw % (SLOTS - 1)) + (draw >> 32) % SLOTS) % SLOTS];
}

static uint16_t copy_factor(const struct pst_meters *meters, uint32_t meter_index)
{
    uint64_t draw = meters_key(meters, METERS_FOR_COPY, UINT64_C(1) << 32 | meter_index);
    uint32_t quantile = (uint32_t)(draw % FACTORS), between = (uint32_t)(draw >> 32) % 64;
    return (uint16_t)((factors[quantile] * (64 - between) + factors[quantile + 1] * between) / 64);
}

void pst_meters_work_render(struct meter *meter)
{
    char row[64];
    uint32_t count = meters_number_put(row, meter->work_wh / 1000), decimals = meter->work_wh % 1000;
    if (decimals != 0) {
        row[count++] = '.';
        for (uint32_t unit = 100; decimals != 0; decimals %= unit, unit /= 10)
            row[count++] = (char)('0' + decimals / unit);
    }
    memcpy(row + count, ",0", 2);
    count += 2;
    uint32_t suffix_count = meter->row_count - (uint32_t)meter->suffix_at;
    memcpy(row + count, meter->row_work + meter->suffix_at, suffix_count);
    meter->suffix_at = (uint8_t)count;
    meter->row_count = (uint8_t)(count + suffix_count);
    memcpy(meter->row_work, row, meter->row_count);
}

static void meter_add(struct layout *layout, uint32_t house, uint32_t household, uint32_t plug)
{
    uint32_t index = layout->meter_index++;
    struct meter *meter = &layout->meters->meters[index];
    const uint32_t ids[3] = {plug, household, house};
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++) {
        meter->row_work[count++] = ',';
        count += meters_number_put(meter->row_work + count, ids[i]);
    }
    meter->row_work[count++] = '\n';
    meter->row_count = (uint8_t)count;
    meter->source = copy_source(layout->meters, index);
    meter->factor = copy_factor(layout->meters, index);
    meter->work_wh = pst_meters_source_work_wh(meter->source);
    layout->meters->of_source[meter->source][index / 64] |= UINT64_C(1) << index % 64;
    pst_meters_work_render(meter);
}

static void house_add(struct layout *layout, uint32_t house)
{
    uint8_t *sizes = layout->meters->household_sizes;
    uint32_t plug_count = house_plug_count(&layout->meters->options, house);
    uint32_t household_count = house_household_count(house, plug_count);
    layout->draw_index = (uint64_t)house << 32;
    household_sizes(layout, sizes, household_count, plug_count);
    /* One id is left out in some of the larger houses. */
    uint32_t hole = household_count + 1;
    if (household_count >= 4)
        hole = (uint32_t)(layout_draw(layout) % (household_count + 4));
    uint32_t id_count = household_count + (hole < household_count);
    for (uint32_t id = 0; id < id_count; id = string_order_next(id, id_count)) {
        if (id == hole)
            continue;
        uint32_t plug_ids = household_plug_ids(layout, sizes[id - (id > hole)]);
        for (uint32_t plug = 0; plug < METERS_PLUG_IDS; plug = string_order_next(plug, METERS_PLUG_IDS)) {
            if ((plug_ids >> plug & 1) != 0)
                meter_add(layout, house, id, plug);
        }
    }
}

void pst_meters_layout(struct pst_meters *meters)
{
    struct layout layout = {.meters = meters};
    uint32_t house_count = meters->options.house_count;
    for (uint32_t house = 0; house < house_count; house = string_order_next(house, house_count))
        house_add(&layout, house);
}
