/* text.c - text that grows, numbers from text, and the nearest name for "did you mean". */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

static void left_behind(struct pst_text *text)
{
    if (text->secret && text->bytes != NULL)
        explicit_bzero(text->bytes, text->capacity);
    pst_free(text->bytes);
}

void pst_text_fini(struct pst_text *text)
{
    left_behind(text);
    *text = (struct pst_text){0};
}

static int text_room(struct pst_text *text, size_t more)
{
    if (text->failed || more > SIZE_MAX / 4 - text->count)
        return PST_ENOMEM;
    size_t want = text->count + more + 1;
    if (want <= text->capacity)
        return PST_OK;
    size_t capacity = text->capacity * 2 > want ? text->capacity * 2 : want + 64;
    char *bytes = text->secret ? pst_malloc(capacity) : pst_realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->failed = true;
        return PST_ENOMEM;
    }
    if (text->secret) {
        if (text->bytes != NULL)
            memcpy(bytes, text->bytes, text->count + 1);
        left_behind(text);
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return PST_OK;
}

int pst_text_add(struct pst_text *text, const char *bytes, size_t count)
{
    int rc = text_room(text, count);
    if (rc != PST_OK)
        return rc;
    if (count != 0)
        memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
    return PST_OK;
}

int pst_text_vprintf(struct pst_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int count = vsnprintf(NULL, 0, format, arguments);
    int rc = count < 0 ? PST_EINVAL : text_room(text, (size_t)count);
    if (rc == PST_OK) {
        (void)vsnprintf(text->bytes + text->count, (size_t)count + 1, format, again);
        text->count += (size_t)count;
    }
    va_end(again);
    return rc;
}

int pst_text_printf(struct pst_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int rc = pst_text_vprintf(text, format, arguments);
    va_end(arguments);
    return rc;
}

size_t pst_text_character(const char *text, uint32_t *ret_character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *c = (const unsigned char *)text;
    if (c[0] < 0x80) {
        *ret_character = c[0];
        return 1;
    }
    size_t count = c[0] >= 0xf8 ? 0 : c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : c[0] >= 0xc0 ? 2 : 0;
    uint32_t character = count == 0 ? 0 : c[0] & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) { /* a NUL is no continuation: nothing behind it is read */
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (c[i] & 0x3f);
    }
    if (character < least[count] || character > 0x10ffff || (character >= 0xd800 && character <= 0xdfff))
        return 0;
    *ret_character = character;
    return count;
}

void pst_text_plain(char *to, size_t bytes_max, const char *from)
{
    size_t at = 0;
    while (from[at] != '\0') {
        uint32_t character = 0;
        size_t count = pst_text_character(from + at, &character);
        bool good = count != 0 && character >= 0x20 && (character < 0x7f || character >= 0xa0);
        size_t taken = count != 0 ? count : 1;
        if (at + taken > bytes_max)
            break;
        if (good)
            memmove(to + at, from + at, taken);
        else
            memset(to + at, character == '\n' || character == '\t' ? ' ' : '?', taken);
        at += taken;
    }
    to[at] = '\0';
}

int pst_text_json(struct pst_text *text, const char *string)
{
    if (string == NULL)
        return pst_text_add(text, "null", 4);
    int rc = pst_text_add(text, "\"", 1);
    for (size_t count, i = 0; string[i] != '\0' && rc == PST_OK; i += count != 0 ? count : 1) {
        unsigned char byte = (unsigned char)string[i];
        uint32_t character = 0;
        count = pst_text_character(string + i, &character);
        if (byte == '"' || byte == '\\')
            rc = pst_text_printf(text, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            rc = pst_text_printf(text, "\\u%04x", byte);
        else if (count == 0)
            rc = pst_text_add(text, "\\ufffd", 6);
        else
            rc = pst_text_add(text, string + i, count);
    }
    return rc == PST_OK ? pst_text_add(text, "\"", 1) : rc;
}

/* ---- the nearest name: Damerau-Levenshtein distance in its plain form, names of at most 63 bytes ---- */
enum { NAME_MAX_BYTES = 63 };

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t distance(const char *a, size_t a_count, const char *b, size_t b_count)
{
    uint32_t rows[3][NAME_MAX_BYTES + 1];
    for (uint32_t j = 0; j <= b_count; j++)
        rows[0][j] = j;
    for (uint32_t i = 1; i <= a_count; i++) {
        uint32_t *now = rows[i % 3], *up = rows[(i - 1) % 3], *upper = rows[(i + 1) % 3];
        now[0] = i;
        for (uint32_t j = 1; j <= b_count; j++) {
            uint32_t change = a[i - 1] != b[j - 1];
            now[j] = smaller(smaller(now[j - 1] + 1, up[j] + 1), up[j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], upper[j - 2] + 1);
        }
    }
    return rows[a_count % 3][b_count];
}

const char *pst_nearest(const char *word, const char *const *names, size_t name_count)
{
    size_t word_count = strlen(word);
    if (word_count == 0 || word_count > NAME_MAX_BYTES)
        return NULL;
    uint32_t best_distance = (uint32_t)(word_count <= 3 ? 1 : word_count <= 8 ? 2 : 3);
    const char *best = NULL;
    for (size_t i = 0; i < name_count; i++) {
        size_t count = strlen(names[i]);
        if (count > NAME_MAX_BYTES)
            continue;
        uint32_t d = distance(word, word_count, names[i], count);
        if (d < best_distance || (d == best_distance && best == NULL)) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

/* ---- numbers ---- */
static int digits(const char *text, size_t *ret_count, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9'; i++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return PST_ERANGE;
    if (i == 0)
        return PST_EINVAL;
    *ret_count = i;
    *ret_value = value;
    return PST_OK;
}

int pst_parse_u64(const char *text, uint64_t *ret_value)
{
    size_t count = 0;
    uint64_t value = 0;
    int rc = digits(text, &count, &value);
    if (rc != PST_OK)
        return rc;
    if (text[count] != '\0')
        return PST_EINVAL;
    *ret_value = value;
    return PST_OK;
}

int pst_parse_i64(const char *text, int64_t *ret_value)
{
    bool negative = text[0] == '-';
    uint64_t value = 0;
    int rc = pst_parse_u64(text + negative, &value);
    if (rc != PST_OK)
        return rc;
    if (value > (uint64_t)INT64_MAX + (negative ? 1u : 0u))
        return PST_ERANGE;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return PST_OK;
}

enum { FRACTION_DIGITS_MAX = 6 };

int pst_parse_bytes(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1},          {"B", 1},          {"k", 1000},        {"kB", 1000},     {"M", 1000000},
                 {"MB", 1000000},  {"G", 1000000000}, {"GB", 1000000000}, {"Ki", 1u << 10}, {"KiB", 1u << 10},
                 {"Mi", 1u << 20}, {"MiB", 1u << 20}, {"Gi", 1u << 30},   {"GiB", 1u << 30}};
    size_t count = 0;
    uint64_t value = 0;
    int rc = digits(text, &count, &value);
    if (rc != PST_OK)
        return rc;
    uint64_t part = 0, scale = 1, bytes;
    size_t part_count = 0;
    if (text[count] == '.') {
        rc = digits(text + count + 1, &part_count, &part);
        if (rc != PST_OK || part_count > FRACTION_DIGITS_MAX)
            return PST_EINVAL;
        count += 1 + part_count;
        for (size_t i = 0; i < part_count; i++)
            scale *= 10;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + count, units[i].name) != 0)
            continue;
        if (part_count != 0 && units[i].factor == 1)
            return PST_EINVAL;
        if (__builtin_mul_overflow(value, units[i].factor, &bytes) ||
            __builtin_add_overflow(bytes, part * units[i].factor / scale, ret_bytes))
            return PST_ERANGE;
        return PST_OK;
    }
    return PST_EINVAL;
}
