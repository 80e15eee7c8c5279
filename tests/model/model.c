/* model - the two DEBS'14 queries by their definitions, to compare the product with.
 *
 * It includes nothing of the product and has none of its ideas: the whole input is read into memory, time does not
 * flow, and each result is computed from the stored readings. What is exact in the definitions is exact here: sums and
 * averages are 128-bit integers, medians are kept as twice their value.
 *
 * usage: model q1|q2|both INPUT OUTDIR [--slices 60,300] [--every 30] [--windows 3600,86400] [--dead-letter FILE]
 *
 * Writes load_plug.csv and load_house.csv (q1), outliers.csv (q2), and prints {"rows":..,"late":..,"malformed":..,
 * "malformed_lines":[..]} (rows: well-formed ones, late ones included; the first ten line numbers, from 1).
 *
 * Where the definitions leave a choice, it reads them so:
 *   - a line is what stands before `\n`, without one `\r` at its end; at the end of the input a `\r` is just a byte;
 *   - the 4096 bytes of a line do not count its end, and the byte order mark is no part of the first line;
 *   - one empty line as the last line of the input is no malformed line; an empty line before it is;
 *   - a number may have leading zeros (01 is a property), and its magnitude is judged before it is rounded;
 *   - a dead letter keeps its line end, and has none where the input had none.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

__extension__ typedef __int128 wide;

enum { LINE_BYTES_MAX = 4096, BAD_LINES_KEPT = 10, LIST_MAX = 64 };
static const int64_t DAY = 86400, SLICE_MAX = 28800;

static void die(const char *why)
{
    fprintf(stderr, "model: %s\n", why);
    exit(2);
}

static void *room(size_t count, size_t bytes)
{
    void *p = calloc(count ? count : 1, bytes);
    if (!p)
        die("out of memory");
    return p;
}

static void *more(void *p, size_t count, size_t *capacity, size_t bytes)
{
    if (count < *capacity)
        return p;
    *capacity = *capacity ? 2 * *capacity : 16;
    p = realloc(p, *capacity * bytes);
    if (!p)
        die("out of memory");
    return p;
}

/* ---- arithmetic ---- */

static wide floor_div(wide a, wide b)
{
    wide q = a / b;
    return q - (a % b < 0);
}

/* a / b to the nearest whole number, halves toward +infinity */
static wide round_div(wide a, wide b) { return floor_div(2 * a + b, 2 * b); }

static void print_whole(FILE *f, wide v)
{
    if (v < 0) {
        fputc('-', f);
        v = -v;
    }
    if (v >= 10)
        print_whole(f, v / 10);
    fputc('0' + (int)(v % 10), f);
}

/* thousandths as a number with three decimals */
static void print_thousandths(FILE *f, wide v)
{
    if (v < 0)
        fputc('-', f);
    wide magnitude = v < 0 ? -v : v;
    print_whole(f, magnitude / 1000);
    fprintf(f, ".%03d", (int)(magnitude % 1000));
}

/* ---- the input ---- */

struct plug {
    uint32_t house, household, plug;
};

struct row {
    int64_t ts, milli;
    uint64_t property;
    struct plug plug;
};

struct reading { /* a load reading that is not late */
    int64_t ts, milli;
    struct plug plug;
    size_t plug_index; /* into the sorted plugs */
};

static struct reading *readings; /* in the order of time */
static size_t reading_count, reading_capacity;
static struct plug *plugs; /* ascending */
static size_t plug_count;
static int64_t ts_max = -1; /* of all well-formed rows; -1: there was none */
static uint64_t rows, rows_late, lines_malformed, malformed_line[BAD_LINES_KEPT];
static FILE *dead_letter;

struct text {
    const char *at;
    size_t bytes;
};

static bool is_digits(struct text t)
{
    for (size_t i = 0; i < t.bytes; i++)
        if (t.at[i] < '0' || t.at[i] > '9')
            return false;
    return t.bytes > 0;
}

static bool parse_whole(struct text t, uint64_t max, uint64_t *ret)
{
    wide v = 0;
    if (!is_digits(t))
        return false;
    for (size_t i = 0; i < t.bytes; i++) {
        v = v * 10 + (t.at[i] - '0');
        if (v > max)
            return false;
    }
    *ret = (uint64_t)v;
    return true;
}

static bool parse_u32(struct text t, uint32_t *ret)
{
    uint64_t v;
    if (!parse_whole(t, UINT32_MAX, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* Does magnitude .000ddd.. of a value round its thousandths away from zero? `rest` are the digits behind the third. */
static bool rounds_away(struct text rest, bool negative)
{
    if (rest.bytes == 0 || rest.at[0] < '5')
        return false;
    if (rest.at[0] > '5' || !negative)
        return true;
    for (size_t i = 1; i < rest.bytes; i++)
        if (rest.at[i] != '0')
            return true;
    return false; /* exactly a half below zero goes up, toward zero */
}

/* -?[0-9]+(\.[0-9]+)? */
static bool parse_value(struct text t, int64_t *ret_milli)
{
    bool negative = t.bytes > 0 && t.at[0] == '-';
    if (negative)
        t = (struct text){t.at + 1, t.bytes - 1};
    const char *point = memchr(t.at, '.', t.bytes);
    struct text whole = {t.at, point ? (size_t)(point - t.at) : t.bytes}, decimals = {"0", 1};
    if (point)
        decimals = (struct text){point + 1, t.bytes - whole.bytes - 1};
    uint64_t watts;
    if (!parse_whole(whole, 9999999, &watts) || !is_digits(decimals))
        return false;
    int64_t milli = (int64_t)watts;
    for (size_t i = 0; i < 3; i++)
        milli = milli * 10 + (i < decimals.bytes ? decimals.at[i] - '0' : 0);
    if (decimals.bytes > 3)
        milli += rounds_away((struct text){decimals.at + 3, decimals.bytes - 3}, negative);
    *ret_milli = negative ? -milli : milli;
    return true;
}

static bool parse_row(struct text line, struct row *r)
{
    struct text field[7];
    size_t count = 0;
    for (const char *p = line.at, *end = line.at + line.bytes;; p++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (count == 7)
            return false;
        field[count++] = (struct text){p, (size_t)((comma ? comma : end) - p)};
        if (!comma)
            break;
        p = comma;
    }
    uint64_t id;
    uint32_t ts;
    if (count != 7 || line.bytes > LINE_BYTES_MAX || !parse_whole(field[0], UINT64_MAX, &id) ||
        !parse_u32(field[1], &ts) || !parse_value(field[2], &r->milli) || !parse_whole(field[3], 1, &r->property) ||
        !parse_u32(field[4], &r->plug.plug) || !parse_u32(field[5], &r->plug.household) ||
        !parse_u32(field[6], &r->plug.house))
        return false;
    r->ts = ts;
    return true;
}

static void add_reading(const struct row *r)
{
    readings = more(readings, reading_count, &reading_capacity, sizeof *readings);
    readings[reading_count++] = (struct reading){.ts = r->ts, .milli = r->milli, .plug = r->plug};
}

/* `whole` is the line with its end */
static void take_line(struct text line, struct text whole, uint64_t number)
{
    struct row r;
    bool bad = !parse_row(line, &r);
    if (bad) {
        if (lines_malformed < BAD_LINES_KEPT)
            malformed_line[lines_malformed] = number;
        lines_malformed++;
    } else {
        rows++;
        if (r.ts < ts_max) {
            bad = true;
            rows_late++;
        } else {
            ts_max = r.ts;
            if (r.property == 1)
                add_reading(&r);
        }
    }
    if (bad && dead_letter)
        fwrite(whole.at, 1, whole.bytes, dead_letter);
}

static void take_input(struct text input)
{
    const char *p = input.at, *end = input.at + input.bytes;
    if (input.bytes >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    for (uint64_t number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
        struct text line = {p, (size_t)((newline ? newline : end) - p)}, whole = {p, (size_t)(next - p)};
        if (newline && line.bytes && line.at[line.bytes - 1] == '\r')
            line.bytes--;
        bool is_header = number == 1 && line.bytes >= 3 && memcmp(line.at, "id,", 3) == 0;
        bool is_empty_end = line.bytes == 0 && next == end;
        if (!is_header && !is_empty_end)
            take_line(line, whole, number);
        p = next;
    }
}

static struct text read_file(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f)
        die("cannot open the input");
    size_t bytes = 0, capacity = 1 << 20, n;
    char *at = room(capacity, 1);
    while ((n = fread(at + bytes, 1, capacity - bytes, f)) > 0) {
        bytes += n;
        at = more(at, bytes, &capacity, 1);
    }
    if (ferror(f))
        die("cannot read the input");
    fclose(f);
    return (struct text){at, bytes};
}

static int by_plug(const void *a, const void *b)
{
    const struct plug *x = a, *y = b;
    if (x->house != y->house)
        return x->house < y->house ? -1 : 1;
    if (x->household != y->household)
        return x->household < y->household ? -1 : 1;
    return x->plug < y->plug ? -1 : x->plug > y->plug;
}

/* Names the plugs 0, 1, .. in ascending order, so that loops over them are in the order of the output. */
static void number_plugs(void)
{
    plugs = room(reading_count, sizeof *plugs);
    for (size_t i = 0; i < reading_count; i++)
        plugs[i] = readings[i].plug;
    qsort(plugs, reading_count, sizeof *plugs, by_plug);
    for (size_t i = 0; i < reading_count; i++)
        if (plug_count == 0 || by_plug(&plugs[plug_count - 1], &plugs[i]) != 0)
            plugs[plug_count++] = plugs[i];
    for (size_t i = 0; i < reading_count; i++) {
        const struct plug *p = bsearch(&readings[i].plug, plugs, plug_count, sizeof *plugs, by_plug);
        readings[i].plug_index = (size_t)(p - plugs);
    }
}

/* the first plug behind the house of plugs[first] */
static size_t house_end(size_t first)
{
    size_t p = first;
    while (p < plug_count && plugs[p].house == plugs[first].house)
        p++;
    return p;
}

/* ---- parameters and files ---- */

struct list {
    size_t count;
    int64_t v[LIST_MAX];
};

static struct list slices = {5, {60, 300, 900, 3600, 7200}}, windows = {2, {3600, 86400}};
static int64_t every = 30;

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t parse_parameter(struct text t)
{
    uint64_t v;
    if (!parse_whole(t, INT64_MAX / 4, &v) || v == 0)
        die("a parameter is not a number of at least 1");
    return (int64_t)v;
}

static void parse_list(const char *s, struct list *l)
{
    l->count = 0;
    for (;;) {
        size_t n = strcspn(s, ",");
        if (l->count == LIST_MAX)
            die("a list is too long");
        l->v[l->count++] = parse_parameter((struct text){s, n});
        if (!s[n])
            break;
        s += n + 1;
    }
    qsort(l->v, l->count, sizeof *l->v, by_number); /* the outputs are in ascending order of it */
    for (size_t i = 1; i < l->count; i++)
        if (l->v[i] == l->v[i - 1])
            die("a list names a number twice");
}

static FILE *create(const char *dir, const char *name, const char *header)
{
    size_t bytes = strlen(dir) + strlen(name) + 2;
    char *path = room(bytes, 1);
    snprintf(path, bytes, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f)
        die("cannot write an output");
    free(path);
    fprintf(f, "%s\n", header);
    return f;
}

static void finish(FILE *f)
{
    if (ferror(f) || fclose(f) != 0)
        die("cannot write an output");
}

/* ---- query 1 ---- */

struct average { /* avgL(slice) in microwatts */
    int64_t slice;
    wide micro;
};

struct averages {
    struct average *v;
    size_t count, capacity;
};

static void averages_add(struct averages *a, int64_t slice, wide micro)
{
    a->v = more(a->v, a->count, &a->capacity, sizeof *a->v);
    a->v[a->count++] = (struct average){slice, micro};
}

static struct {
    int64_t *ts, *milli; /* all load readings, plug after plug, each in the order of time */
    size_t *first;       /* plug p has first[p] .. first[p + 1] - 1 */
} by_plugs;

struct history {            /* of one slice length: every defined average of the input, over whole slices */
    struct averages *plug;  /* [plug] */
    struct averages *house; /* [first plug of the house] */
};

static FILE *load_plug, *load_house;

static void group_by_plug(void)
{
    by_plugs.ts = room(reading_count, sizeof *by_plugs.ts);
    by_plugs.milli = room(reading_count, sizeof *by_plugs.milli);
    by_plugs.first = room(plug_count + 2, sizeof *by_plugs.first);
    for (size_t i = 0; i < reading_count; i++)
        by_plugs.first[readings[i].plug_index + 2]++;
    for (size_t p = 0; p < plug_count; p++)
        by_plugs.first[p + 2] += by_plugs.first[p + 1];
    for (size_t i = 0; i < reading_count; i++) { /* first[p + 1] is where the next reading of plug p goes */
        size_t at = by_plugs.first[readings[i].plug_index + 1]++;
        by_plugs.ts[at] = readings[i].ts;
        by_plugs.milli[at] = readings[i].milli;
    }
}

/* The average of a plug's readings with from <= timestamp < until; false where there are none. */
static bool plug_average(size_t p, int64_t from, int64_t until, wide *ret_micro)
{
    size_t low = by_plugs.first[p], high = by_plugs.first[p + 1], end = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_plugs.ts[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    wide sum = 0, count = 0;
    for (size_t i = low; i < end && by_plugs.ts[i] < until; i++) {
        sum += by_plugs.milli[i];
        count++;
    }
    if (count)
        *ret_micro = round_div(sum * 1000, count);
    return count > 0;
}

static int by_slice(const void *a, const void *b)
{
    const struct average *x = a, *y = b;
    return x->slice < y->slice ? -1 : x->slice > y->slice;
}

static void plug_history(size_t p, int64_t s, struct averages *ret)
{
    for (size_t i = by_plugs.first[p]; i < by_plugs.first[p + 1];) {
        int64_t slice = by_plugs.ts[i] / s;
        wide micro = 0;
        plug_average(p, slice * s, (slice + 1) * s, &micro);
        averages_add(ret, slice, micro);
        while (i < by_plugs.first[p + 1] && by_plugs.ts[i] / s == slice)
            i++;
    }
}

/* The house's average of a slice is the sum of those of its plugs that have one. */
static void house_history(const struct averages *plug, size_t from, size_t until, struct averages *ret)
{
    struct averages all = {0};
    for (size_t p = from; p < until; p++)
        for (size_t i = 0; i < plug[p].count; i++)
            averages_add(&all, plug[p].v[i].slice, plug[p].v[i].micro);
    if (all.count)
        qsort(all.v, all.count, sizeof *all.v, by_slice);
    for (size_t i = 0; i < all.count; i++) {
        if (i && all.v[i].slice == all.v[i - 1].slice)
            ret->v[ret->count - 1].micro += all.v[i].micro;
        else
            averages_add(ret, all.v[i].slice, all.v[i].micro);
    }
    free(all.v);
}

static void make_history(int64_t s, struct history *h)
{
    h->plug = room(plug_count, sizeof *h->plug);
    h->house = room(plug_count, sizeof *h->house);
    for (size_t p = 0; p < plug_count; p++)
        plug_history(p, s, &h->plug[p]);
    for (size_t p = 0; p < plug_count; p = house_end(p))
        house_history(h->plug, p, house_end(p), &h->house[p]);
}

static int by_size(const void *a, const void *b)
{
    const wide *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* L(i + 2) in microwatts. Slice i + 2 - k is before slice i, since k is at least 3: all of the history is whole. */
static wide predict(wide average, const struct averages *past, int64_t i, int64_t k)
{
    static wide *v;
    static size_t capacity;
    size_t count = 0;
    for (size_t j = 0; j < past->count && past->v[j].slice <= i + 2 - k; j++)
        if ((i + 2 - past->v[j].slice) % k == 0) {
            v = more(v, count, &capacity, sizeof *v);
            v[count++] = past->v[j].micro;
        }
    if (count == 0)
        return average;
    qsort(v, count, sizeof *v, by_size);
    return round_div(2 * average + v[(count - 1) / 2] + v[count / 2], 4); /* (average + median) / 2 */
}

/* microwatts as watts with three decimals */
static void print_load(FILE *f, wide micro)
{
    fputc(',', f);
    print_thousandths(f, round_div(micro, 1000));
    fputc('\n', f);
}

/* One house at one update; `any` is set where there was a row. */
static void update_house(int64_t t, int64_t s, const struct history *h, size_t from, size_t until, bool *any)
{
    int64_t i = (t - 1) / s, k = DAY / s, ts = (i + 2) * s;
    wide house = 0, micro = 0;
    bool defined = false;
    for (size_t p = from; p < until; p++) {
        if (!plug_average(p, i * s, t, &micro))
            continue;
        fprintf(load_plug, "%lld,%lld,%lld,%u,%u,%u", (long long)t, (long long)s, (long long)ts, plugs[p].house,
                plugs[p].household, plugs[p].plug);
        print_load(load_plug, predict(micro, &h->plug[p], i, k));
        house += micro;
        defined = true;
    }
    if (!defined)
        return;
    *any = true;
    fprintf(load_house, "%lld,%lld,%lld,%u", (long long)t, (long long)s, (long long)ts, plugs[from].house);
    print_load(load_house, predict(house, &h->house[from], i, k));
}

static void query_1(const char *dir)
{
    load_plug = create(dir, "load_plug.csv", "at,slice,ts,house_id,household_id,plug_id,predicted_load");
    load_house = create(dir, "load_house.csv", "at,slice,ts,house_id,predicted_load");
    group_by_plug();
    struct history *h = room(slices.count, sizeof *h);
    for (size_t s = 0; s < slices.count; s++)
        make_history(slices.v[s], &h[s]);
    /* The last update is the first one above the highest timestamp; after one without a row, the next that can have
     * one is the first above the next reading. */
    size_t next = 0;
    int64_t last = (ts_max / every + 1) * every, t = reading_count ? (readings[0].ts / every + 1) * every : last + 1;
    while (t <= last) {
        bool any = false;
        for (size_t s = 0; s < slices.count; s++)
            for (size_t p = 0; p < plug_count; p = house_end(p))
                update_house(t, slices.v[s], &h[s], p, house_end(p), &any);
        while (next < reading_count && readings[next].ts < t)
            next++;
        if (any)
            t += every;
        else if (next < reading_count)
            t = (readings[next].ts / every + 1) * every;
        else
            break;
    }
    finish(load_plug);
    finish(load_house);
}

/* ---- query 2 ---- */

/* A multiset of numbers that are all known beforehand: how many there are of each, as sums over ranges of them (a
 * Fenwick tree), so that the n-th smallest is found without sorting anew each second. */
struct bag {
    int64_t *value; /* distinct, ascending */
    uint32_t *tree; /* [1 .. value_count] */
    size_t value_count, step, total;
};

static void bag_init(struct bag *b, const int64_t *values, size_t count)
{
    b->value = room(count, sizeof *b->value);
    if (count)
        memcpy(b->value, values, count * sizeof *values);
    qsort(b->value, count, sizeof *b->value, by_number);
    b->value_count = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || b->value[i] != b->value[i - 1])
            b->value[b->value_count++] = b->value[i];
    b->tree = room(b->value_count + 1, sizeof *b->tree);
    for (b->step = 1; b->step * 2 <= b->value_count;)
        b->step *= 2;
    b->total = 0;
}

static void bag_change(struct bag *b, int64_t value, int by)
{
    int64_t *at = bsearch(&value, b->value, b->value_count, sizeof *b->value, by_number);
    for (size_t i = (size_t)(at - b->value) + 1; i <= b->value_count; i += i & -i)
        b->tree[i] += (uint32_t)by;
    b->total += (size_t)by;
}

/* the n-th smallest, n from 0 */
static int64_t bag_nth(const struct bag *b, size_t n)
{
    size_t at = 0;
    for (size_t step = b->step; step; step /= 2)
        if (at + step <= b->value_count && b->tree[at + step] <= n) {
            at += step;
            n -= b->tree[at];
        }
    return b->value[at];
}

static int64_t bag_median_twice(const struct bag *b)
{
    return bag_nth(b, (b->total - 1) / 2) + bag_nth(b, b->total / 2);
}

struct window {
    int64_t w;
    size_t oldest, next;        /* it holds readings[oldest .. next - 1] */
    struct bag all, *plug;      /* plug[p] */
    bool *touched;              /* [plug]: median to be found anew */
    int64_t *plug_median_twice; /* [plug] */
    wide *written;              /* [first plug of the house]: the percentage last written, in thousandths; -1: none */
};

static FILE *outliers;

static void window_init(struct window *v, int64_t w)
{
    *v = (struct window){.w = w};
    int64_t *values = room(reading_count, sizeof *values);
    for (size_t i = 0; i < reading_count; i++)
        values[i] = readings[i].milli;
    bag_init(&v->all, values, reading_count);
    free(values);
    v->plug = room(plug_count, sizeof *v->plug);
    for (size_t p = 0; p < plug_count; p++)
        bag_init(&v->plug[p], by_plugs.milli + by_plugs.first[p], by_plugs.first[p + 1] - by_plugs.first[p]);
    v->touched = room(plug_count, sizeof *v->touched);
    v->plug_median_twice = room(plug_count, sizeof *v->plug_median_twice);
    v->written = room(plug_count, sizeof *v->written);
    for (size_t p = 0; p < plug_count; p++)
        v->written[p] = -1;
}

/* The next second at which the window holds something else; INT64_MAX: never. */
static int64_t window_next(const struct window *v)
{
    int64_t comes = v->next < reading_count ? readings[v->next].ts : INT64_MAX;
    int64_t goes = v->oldest < v->next ? readings[v->oldest].ts + v->w : INT64_MAX;
    return comes < goes ? comes : goes;
}

static void window_change(struct window *v, const struct reading *r, int by)
{
    bag_change(&v->all, r->milli, by);
    bag_change(&v->plug[r->plug_index], r->milli, by);
    v->touched[r->plug_index] = true;
}

/* Makes it hold the readings with t - w < timestamp <= t. */
static void window_move(struct window *v, int64_t t)
{
    for (; v->next < reading_count && readings[v->next].ts <= t; v->next++)
        window_change(v, &readings[v->next], 1);
    for (; v->oldest < v->next && readings[v->oldest].ts <= t - v->w; v->oldest++)
        window_change(v, &readings[v->oldest], -1);
    for (size_t p = 0; p < plug_count; p++) {
        if (v->touched[p] && v->plug[p].total)
            v->plug_median_twice[p] = bag_median_twice(&v->plug[p]);
        v->touched[p] = false;
    }
}

static void window_write(struct window *v, int64_t t)
{
    int64_t median_twice = v->all.total ? bag_median_twice(&v->all) : 0;
    for (size_t first = 0, end; first < plug_count; first = end) {
        wide above = 0, seen = 0;
        end = house_end(first);
        for (size_t p = first; p < end; p++) {
            above += v->plug[p].total && v->plug_median_twice[p] > median_twice;
            seen += v->plug[p].total > 0;
        }
        if (seen == 0)
            continue;
        wide percentage = round_div(above * 100 * 1000, seen);
        if (percentage == v->written[first])
            continue;
        v->written[first] = percentage;
        fprintf(outliers, "%lld,%lld,%lld,%u,", (long long)v->w, (long long)(t - v->w), (long long)t,
                plugs[first].house);
        print_thousandths(outliers, percentage);
        fputc('\n', outliers);
    }
}

static void query_2(const char *dir)
{
    outliers = create(dir, "outliers.csv", "window,ts_start,ts_stop,house_id,percentage");
    if (!by_plugs.ts)
        group_by_plug();
    struct window *v = room(windows.count, sizeof *v);
    for (size_t i = 0; i < windows.count; i++)
        window_init(&v[i], windows.v[i]);
    /* Between two changes of a window's content its percentages stay, and nothing is written. */
    for (;;) {
        int64_t t = INT64_MAX;
        for (size_t i = 0; i < windows.count; i++)
            if (window_next(&v[i]) < t)
                t = window_next(&v[i]);
        if (t > ts_max) /* the last second is that of the last row; INT64_MAX: nothing left */
            break;
        for (size_t i = 0; i < windows.count; i++)
            if (window_next(&v[i]) == t) {
                window_move(&v[i], t);
                window_write(&v[i], t);
            }
    }
    finish(outliers);
}

/* ---- the command line ---- */

static void parse_flags(int argc, char **argv)
{
    for (int i = 4; i < argc; i += 2) {
        if (i + 1 == argc)
            die("a flag without its value");
        if (strcmp(argv[i], "--slices") == 0)
            parse_list(argv[i + 1], &slices);
        else if (strcmp(argv[i], "--windows") == 0)
            parse_list(argv[i + 1], &windows);
        else if (strcmp(argv[i], "--every") == 0)
            every = parse_parameter((struct text){argv[i + 1], strlen(argv[i + 1])});
        else if (strcmp(argv[i], "--dead-letter") == 0 && !(dead_letter = fopen(argv[i + 1], "wb")))
            die("cannot write the dead-letter file");
        else if (strcmp(argv[i], "--dead-letter") != 0)
            die("unknown flag");
    }
    for (size_t i = 0; i < slices.count; i++)
        if (DAY % slices.v[i] != 0 || slices.v[i] > SLICE_MAX)
            die("a slice length must divide 86400 and be at most 28800");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("usage: model q1|q2|both INPUT OUTDIR [--slices 60,300] [--every 30] [--windows 3600,86400] "
            "[--dead-letter FILE]");
    bool both = strcmp(argv[1], "both") == 0, first = both || strcmp(argv[1], "q1") == 0,
         second = both || strcmp(argv[1], "q2") == 0;
    if (!first && !second)
        die("the query is q1, q2 or both");
    parse_flags(argc, argv);
    mkdir(argv[3], 0777);
    take_input(read_file(argv[2]));
    if (dead_letter)
        finish(dead_letter);
    number_plugs();
    if (first)
        query_1(argv[3]);
    if (second)
        query_2(argv[3]);
    printf("{\"rows\":%llu,\"late\":%llu,\"malformed\":%llu,\"malformed_lines\":[", (unsigned long long)rows,
           (unsigned long long)rows_late, (unsigned long long)lines_malformed);
    for (uint64_t i = 0; i < lines_malformed && i < BAD_LINES_KEPT; i++)
        printf("%s%llu", i ? "," : "", (unsigned long long)malformed_line[i]);
    printf("]}\n");
    return 0;
}
