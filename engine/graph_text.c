/* graph_text.c - the bytes of a graph file before YAML sees them: UTF-8 or not, and lines to show in diagnostics. */
#include "engine/graph_build.h"

#include <string.h>

/* The bytes of the character at `s`, its code in *ret_code; 0: not UTF-8 (overlong forms and surrogates are not). */
static uint32_t character(const unsigned char *s, size_t left, uint32_t *ret_code)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t bytes = s[0] < 0x80 ? 1 : s[0] >> 5 == 0x6 ? 2 : s[0] >> 4 == 0xe ? 3 : s[0] >> 3 == 0x1e ? 4 : 0;
    if (bytes == 0 || bytes > left)
        return 0;
    uint32_t code = bytes == 1 ? s[0] : s[0] & (0x7fu >> bytes);
    for (uint32_t i = 1; i < bytes; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if (code < smallest[bytes] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return bytes;
}

static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t' && code != '\n' && code != '\r') || (code >= 0x7f && code < 0xa0);
}

/* A terminal is to show the lines: what could move its cursor, or is no text, becomes '?'. */
static void make_showable(char *text, size_t text_bytes)
{
    for (size_t i = 0; i < text_bytes;) {
        uint32_t code = 0, bytes = character((unsigned char *)text + i, text_bytes - i, &code);
        if (bytes == 0 || is_control(code)) {
            memset(text + i, '?', bytes != 0 ? bytes : 1);
            bytes = bytes != 0 ? bytes : 1;
        }
        i += bytes;
    }
}

static size_t line_end(const char *text, size_t text_bytes, size_t i)
{
    while (i < text_bytes && text[i] != '\n' && text[i] != '\r')
        i++;
    return i;
}

static size_t line_next(const char *text, size_t text_bytes, size_t end)
{
    return end + 1 < text_bytes && text[end] == '\r' && text[end + 1] == '\n' ? end + 2 : end + 1;
}

struct pst_source *pst_source_new(struct pst_build *b, const char *file, const char *text, size_t text_bytes)
{
    struct pst_arena *arena = &b->d->arena;
    struct pst_source *source = pst_arena_alloc(arena, sizeof *source);
    char *copy = pst_arena_alloc(arena, text_bytes + 1);
    uint32_t line_count = 0;
    for (size_t i = 0; i <= text_bytes; i = line_next(text, text_bytes, line_end(text, text_bytes, i)))
        line_count++;
    const char **lines = pst_arena_alloc(arena, (size_t)line_count * sizeof *lines);
    const char *name = pst_arena_strdup(arena, file);
    if (source == NULL || copy == NULL || lines == NULL || name == NULL) {
        b->rc = PST_ENOMEM;
        return NULL;
    }
    if (text_bytes != 0)
        memcpy(copy, text, text_bytes);
    make_showable(copy, text_bytes);
    uint32_t line = 0;
    for (size_t i = 0; i <= text_bytes;) {
        size_t end = line_end(text, text_bytes, i);
        lines[line++] = copy + i;
        copy[end] = '\0';
        i = line_next(text, text_bytes, end);
    }
    *source = (struct pst_source){.file = name, .lines = lines, .line_count = line_count};
    return source;
}

/* U+E000 and U+E001 stand for the braces of placeholders inside the reader. */
static const char *character_fault(struct pst_build *b, uint32_t bytes, uint32_t code, unsigned char byte)
{
    if (bytes == 0)
        return pst_build_printf(b, "the byte 0x%02x is not UTF-8 here", byte);
    if (code == 0)
        return "a NUL byte stands here: this is not a text file";
    if (is_control(code))
        return pst_build_printf(b, "the control character U+%04X stands here", code);
    if (code == 0xe000 || code == 0xe001 || code == 0xfffe || code == 0xffff || code == 0xfeff)
        return pst_build_printf(b, "the character U+%04X may not be used here", code);
    return NULL;
}

bool pst_source_check(struct pst_build *b, const struct pst_source *source, const char *text, size_t text_bytes)
{
    struct pst_place place = {.source = source, .line = 1, .column = 1 + source->column_offset, .width = 1};
    for (size_t i = 0; i < text_bytes;) {
        uint32_t code = 0, bytes = character((const unsigned char *)text + i, text_bytes - i, &code);
        if (bytes == 1 && (code == '\n' || code == '\r')) {
            i = line_next(text, text_bytes, i);
            place.line++;
            place.column = 1 + source->column_offset;
            continue;
        }
        const char *fault = character_fault(b, bytes, code, (unsigned char)text[i]);
        if (b->rc != PST_OK)
            return false;
        if (fault != NULL) {
            pst_build_error(b, &place, bytes == 0 ? "save the file as UTF-8" : NULL, "%s", fault);
            return false;
        }
        i += bytes;
        place.column++;
    }
    return true;
}
