/* debs14/meters_dirt.c - malformed lines: well-formed ones with one thing wrong, each kind of wrong in turn. */
#include "debs14/meters_inside.h"

#include <string.h>

enum { FIELDS = 7 };

struct piece {
    const char *text;
    uint32_t count;
};
#define PIECE(literal)               \
    {                                \
        literal, sizeof(literal) - 1 \
    }

/* One field of the line is replaced by a text that it must not have. */
static const struct {
    uint32_t field;
    struct piece piece;
} replacements[] = {
    {0, PIECE("")},
    {0, PIECE("-1")},
    {0, PIECE("+7")},
    {0, PIECE("18446744073709551616")},
    {0, PIECE("0x1F")},
    {0, PIECE(" 5")},
    {0, PIECE("id")},
    {1, PIECE("")},
    {1, PIECE("4294967296")},
    {1, PIECE("now")},
    {1, PIECE("1e9")},
    {1, PIECE("1377986401.5")},
    {1, PIECE("-1")},
    {2, PIECE("")},
    {2, PIECE("1e3")},
    {2, PIECE("2.5E-1")},
    {2, PIECE("nan")},
    {2, PIECE("inf")},
    {2, PIECE(".")},
    {2, PIECE("5.")},
    {2, PIECE(".5")},
    {2, PIECE("-")},
    {2, PIECE("--1")},
    {2, PIECE("+1")},
    {2, PIECE("1.2.3")},
    {2, PIECE("12,5")},
    {2, PIECE("10000000")},
    {2, PIECE("\"3.2\"")},
    {2, PIECE("1 ")},
    {2, PIECE("0\0")},
    {3, PIECE("")},
    {3, PIECE("2")},
    {3, PIECE("true")},
    {3, PIECE("-0")},
    {4, PIECE("-3")},
    {4, PIECE("1.0")},
    {4, PIECE("4294967296")},
    {4, PIECE("\xff\xfe")},
    {5, PIECE("+2")},
    {5, PIECE("1\r2")},
    {5, PIECE("\xc3\xa4")},
    {6, PIECE("")},
    {6, PIECE("one")},
    {6, PIECE("3 ")},
    {6, PIECE("3\0")},
    {6, PIECE("0,0")},
    {6, PIECE("99999999999")},
};
enum { REPLACEMENTS = sizeof replacements / sizeof replacements[0] };

static const struct piece lines[] = {
    PIECE("id,timestamp,value,property,plug_id,household_id,house_id"),
    PIECE("# a remark"),
    PIECE(",,,,,,"),
    PIECE("1;1377986401;68.451;0;11;0;0"),
    PIECE(" "),
    PIECE("\0"),
};
enum { LINES = sizeof lines / sizeof lines[0] };

static uint32_t piece_put(char *out, const char *text, uint32_t count)
{
    memcpy(out, text, count);
    return count;
}

static void line_split(const char *line, uint32_t line_bytes, struct piece fields[FIELDS])
{
    uint32_t field = 0, from = 0;
    for (uint32_t i = 0; i < FIELDS; i++)
        fields[i] = (struct piece){"", 0};
    for (uint32_t i = 0; i < line_bytes && field < FIELDS; i++) {
        if (line[i] == ',' || line[i] == '\n') {
            fields[field++] = (struct piece){line + from, i - from};
            from = i + 1;
        }
    }
}

static uint32_t line_join(char *out, const struct piece *fields, uint32_t field_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < field_count; i++) {
        if (i != 0)
            out[count++] = ',';
        count += piece_put(out + count, fields[i].text, fields[i].count);
    }
    out[count++] = '\n';
    return count;
}

/* Right but for its length, over 4096 bytes: a value with far too many decimals. */
static uint32_t line_overlong(char *out, const struct piece fields[FIELDS], uint64_t draw)
{
    uint32_t count = line_join(out, fields, 2) - 1, zeros = 4150 + (uint32_t)(draw % 400);
    count += piece_put(out + count, ",0.", 3);
    memset(out + count, '0', zeros);
    count += zeros;
    out[count++] = ',';
    return count + line_join(out + count, fields + 3, FIELDS - 3);
}

uint32_t pst_meters_malformed_put(char *out, const char *line, uint32_t line_bytes, uint64_t draw, bool may_be_empty)
{
    struct piece fields[FIELDS + 1];
    uint32_t kind = (uint32_t)(draw % (REPLACEMENTS + LINES + 5));
    draw >>= 32;
    line_split(line, line_bytes, fields);
    if (kind < REPLACEMENTS) {
        fields[replacements[kind].field] = replacements[kind].piece;
        return line_join(out, fields, FIELDS);
    }
    kind -= REPLACEMENTS;
    if (kind < LINES)
        return line_join(out, &lines[kind], 1);
    switch (kind - LINES) {
    case 0: /* too few */
        return line_join(out, fields, 1 + (uint32_t)(draw % (FIELDS - 1)));
    case 1: /* too many */
        fields[FIELDS] = fields[draw % FIELDS];
        return line_join(out, fields, FIELDS + 1);
    case 2:
        fields[FIELDS] = (struct piece){"", 0};
        return line_join(out, fields, FIELDS + 1);
    case 3:
        return line_overlong(out, fields, draw);
    default:
        if (may_be_empty)
            return line_join(out, NULL, 0);
        return line_join(out, fields, FIELDS - 1);
    }
}
