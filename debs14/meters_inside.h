/* debs14/meters_inside.h - what the files of the meter generator share. */
#ifndef PST_METERS_INSIDE_H
#define PST_METERS_INSIDE_H

#include "debs14/debs14.h"

enum {
    METERS_SOURCES = 12,
    METERS_HOUSES_MAX = 100000, /* a house id has at most 5 digits, a household's at most 6, a plug's 2: see row_work */
    METERS_PLUGS_MAX = 1000000,
    METERS_PLUG_IDS = 14,   /* of one household: 0 .. 13 */
    METERS_WHEEL_S = 8192,  /* above the longest plateau and the longest absence */
    METERS_LINE_MAX = 4800, /* of the longest malformed line; any other line is far shorter */
    METERS_PENDING_BYTES = 12 * METERS_LINE_MAX,
};

/* One plug in one cache line. Its work row, behind "id,timestamp,", is kept as text, for it seldom changes; the load
 * row ends in the same text from suffix_at on. */
struct meter {
    uint32_t level_mw;   /* what it draws on this plateau, noise apart; 0: off */
    uint32_t energy_mws; /* since the last whole Wh */
    uint32_t work_wh;
    uint32_t next;   /* in the wheel: 1 + the index of the next meter of the same second; 0: none */
    uint16_t factor; /* its loads are its source's times factor / 1024 */
    uint8_t source;
    bool away; /* unplugged for this plateau: no readings */
    uint8_t row_count, suffix_at;
    char row_work[42]; /* "68.451,0,11,0,0\n": at most 11 + 2 + 18 bytes; read up to byte 13 + 24 */
};
_Static_assert(sizeof(struct meter) == 64, "a meter is one cache line");

struct meters_text { /* up to seven bytes and how many of them count: a short text that is copied as one word */
    char bytes[7];
    uint8_t count;
};

struct meters_outage { /* in seconds since the start; from == to: none */
    uint64_t from, to;
};

struct pst_meters {
    struct pst_meters_options options;
    uint64_t key; /* the seed, mixed */
    bool dirty;   /* any dirt asked for */
    bool header_due, done;
    bool second_open; /* the second has meters left to visit */

    /* ids: the next row's is id_high * 1000 + id_low */
    uint64_t id_high;
    uint32_t id_low;
    uint8_t id_high_count;
    char id_high_text[16];
    uint64_t rows_made, rows_written;

    /* the second at hand */
    uint64_t second, second_next; /* since the start */
    uint64_t key_second[2];       /* of the noise of its first and second readings */
    uint32_t due_twice;           /* bits of sources that have two readings in it */
    uint32_t gain[2][METERS_SOURCES], elapsed_s[2][METERS_SOURCES];
    uint64_t source_second[METERS_SOURCES]; /* of each source's last reading */
    char stamp[16];                         /* ",1377986401," */
    uint8_t stamp_count;
    uint32_t timestamp_written;
    uint32_t word_index; /* the visit goes on with due_left, then with due[word_index + 1] */
    uint64_t due_left;
    uint64_t outage_day;
    struct meters_outage outage;

    /* memory behind this struct */
    uint32_t word_count;
    struct meter *meters;                /* in string order of house, household, plug */
    uint64_t *due, *present;             /* a bit a meter */
    uint64_t *of_source[METERS_SOURCES]; /* the same */
    uint8_t *household_sizes;            /* of one house, while meters are made */
    uint32_t wheel[METERS_WHEEL_S];      /* by second of the next plateau: 1 + index of a meter; 0: none */

    struct meters_text plain[1000];  /* "7" */
    struct meters_text padded[1000]; /* "007" */
    struct meters_text
        fraction[1000]; /* ".5,1": three decimals without the zeros at the end, and the property of a load */

    uint32_t pending_at, pending_count; /* lines made but not yet handed out, where there is dirt */
    char pending[METERS_PENDING_BYTES];
};

/* The finaliser of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): every
 * draw is a pure function of what it is for, so that dirt and the size of a chunk change no other draw. */
#define METERS_GOLDEN UINT64_C(0x9e3779b97f4a7c15)
static inline uint64_t meters_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}
static inline uint64_t meters_draw(uint64_t key, uint64_t n) { return meters_mix(key + (n + 1) * METERS_GOLDEN); }
enum meters_purpose { /* meters_draw(key, PURPOSE << 56 | ...) */
                      METERS_FOR_LAYOUT = 1,
                      METERS_FOR_COPY,
                      METERS_FOR_PLATEAU,
                      METERS_FOR_JITTER,
                      METERS_FOR_GAIN,
                      METERS_FOR_NOISE,
                      METERS_FOR_OUTAGE,
};
static inline uint64_t meters_key(const struct pst_meters *meters, enum meters_purpose purpose, uint64_t n)
{
    return meters_draw(meters->key, (uint64_t)purpose << 56 | n);
}

/* Writes a number without leading zeros; bytes written, at most 20. */
static inline uint32_t meters_number_put(char *out, uint64_t number)
{
    char digits[20];
    uint32_t count = 0, left = 20;
    do {
        digits[--left] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (left < 20)
        out[count++] = digits[left++];
    return count;
}

/* meters_layout.c: houses, households and plugs. Fills ids, source and factor of every meter. */
void pst_meters_layout(struct pst_meters *meters);
void pst_meters_work_render(struct meter *meter);
/* meters_signal.c: what the appliances behind the plugs do. */
void pst_meters_signal_init(struct pst_meters *meters);
bool pst_meters_second_advance(struct pst_meters *meters); /* to the next second that has readings; false: at the end */
uint32_t pst_meters_source_work_wh(uint32_t source);
/* meters_dirt.c: a malformed variant of a well-formed line (both end in a newline); its bytes, at most
 * METERS_LINE_MAX. */
uint32_t pst_meters_malformed_put(char *out, const char *line, uint32_t line_bytes, uint64_t draw, bool may_be_empty);

#endif
