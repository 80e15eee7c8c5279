/* json.c - JSON (RFC 8259) to a tree, in bounds: for what vendors and clouds wrap evidence and collateral in.
 *
 * A signature in Intel's collateral is over text that stands in it as a string, so texts are kept to the byte. Numbers stay as they
 * stand. A key that stands twice is refused: two readers could take different ones. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

enum { JSON_DEPTH_MAX = 16, JSON_NODES_MAX = 1 << 16 };

struct reader {
    struct pst_arena *arena;
    const char *bytes;
    size_t byte_count, at;
    uint32_t node_count, depth;
    int rc;
    const char *why; /* the first fault, a sentence's end */
};

static bool fault(struct reader *r, const char *why)
{
    if (r->rc == PST_OK) {
        r->rc = PST_EDATA;
        r->why = why;
    }
    return false;
}

static void *take_memory(struct reader *r, size_t bytes)
{
    void *memory = pst_arena_alloc(r->arena, bytes);
    if (memory == NULL)
        r->rc = PST_ENOMEM;
    return memory;
}

static char peek(const struct reader *r) { return r->at < r->byte_count ? r->bytes[r->at] : '\0'; }

static void space_skip(struct reader *r)
{
    while (r->at < r->byte_count && memchr(" \t\r\n", r->bytes[r->at], 4) != NULL)
        r->at++;
}

static bool sign_take(struct reader *r, char sign)
{
    if (r->at >= r->byte_count || r->bytes[r->at] != sign)
        return false;
    r->at++;
    return true;
}

/* ---- texts ---- */
static bool code_unit(struct reader *r, uint32_t *ret_unit)
{
    uint8_t bytes[2];
    if (r->byte_count - r->at < 4 || !pst_hex_parse(r->bytes + r->at, 4, bytes))
        return fault(r, "`\\u` wants four hexadecimal digits");
    r->at += 4;
    *ret_unit = (uint32_t)bytes[0] << 8 | bytes[1];
    return true;
}

static bool code_point(struct reader *r, uint32_t *ret_code)
{
    uint32_t low = 0;
    if (!code_unit(r, ret_code))
        return false;
    if (*ret_code == 0 || (*ret_code >= 0xdc00 && *ret_code < 0xe000))
        return fault(r, "a NUL, or half a character");
    if (*ret_code < 0xd800 || *ret_code >= 0xe000)
        return true;
    if (!sign_take(r, '\\') || !sign_take(r, 'u') || !code_unit(r, &low) || low < 0xdc00 || low >= 0xe000)
        return fault(r, "half a character");
    *ret_code = 0x10000 + ((*ret_code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* UTF-8: never more bytes than the escape had. */
static char *code_write(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    uint32_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *to++ = (char)((0xff00u >> (more + 1) & 0xff) | code >> (6 * more));
    while (more > 0)
        *to++ = (char)(0x80 | (code >> (6 * --more) & 0x3f));
    return to;
}

static bool escape_take(struct reader *r, char **to)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char sign = peek(r);
    const char *found = sign != '\0' ? strchr(escapes, sign) : NULL;
    uint32_t code = 0;
    if (found == NULL && sign != 'u')
        return fault(r, "an unknown escape");
    r->at++;
    if (found != NULL) {
        *(*to)++ = meant[found - escapes];
        return true;
    }
    if (!code_point(r, &code))
        return false;
    *to = code_write(*to, code);
    return true;
}

/* The bytes up to the closing quote, which has to be there. */
static size_t text_span(const struct reader *r)
{
    size_t at = r->at;
    while (at < r->byte_count && r->bytes[at] != '"')
        at += r->bytes[at] == '\\' ? 2 : 1;
    return at < r->byte_count ? at - r->at : SIZE_MAX;
}

static const char *text_take(struct reader *r, size_t *ret_bytes)
{
    if (!sign_take(r, '"')) {
        (void)fault(r, "a text in quotes is missing");
        return NULL;
    }
    size_t span = text_span(r);
    if (span == SIZE_MAX) {
        (void)fault(r, "a text has no end");
        return NULL;
    }
    char *text = take_memory(r, span + 1), *to = text;
    while (text != NULL && !sign_take(r, '"')) {
        unsigned char byte = (unsigned char)r->bytes[r->at++];
        if (byte < 0x20) {
            (void)fault(r, "a control character within a text");
            return NULL;
        }
        if (byte != '\\')
            *to++ = (char)byte;
        else if (!escape_take(r, &to))
            return NULL;
    }
    *ret_bytes = text != NULL ? (size_t)(to - text) : 0;
    return text;
}

/* ---- values ---- */
static struct pst_json *value_take(struct reader *r);

static bool key_twice(const struct pst_json *map, const char *key)
{
    for (const struct pst_json *value = map->first; value != NULL; value = value->next)
        if (strcmp(value->key, key) == 0)
            return true;
    return false;
}

static const char *key_take(struct reader *r, const struct pst_json *map)
{
    size_t bytes = 0;
    space_skip(r);
    const char *key = text_take(r, &bytes);
    space_skip(r);
    if (key == NULL)
        return NULL;
    if (map->count >= 256)
        (void)fault(r, "more than 256 keys in an object");
    else if (key_twice(map, key))
        (void)fault(r, "a key that stands twice");
    else if (!sign_take(r, ':'))
        (void)fault(r, "a `:` is missing");
    return r->rc == PST_OK ? key : NULL;
}

static void items_take(struct reader *r, struct pst_json *node)
{
    const bool map = node->kind == PST_JSON_MAP;
    const char end = map ? '}' : ']';
    const struct pst_json **next = &node->first;
    if (++r->depth > JSON_DEPTH_MAX)
        (void)fault(r, "more than 16 levels");
    space_skip(r);
    while (r->rc == PST_OK && !(node->count == 0 && sign_take(r, end))) {
        const char *key = map ? key_take(r, node) : NULL;
        struct pst_json *item = r->rc == PST_OK ? value_take(r) : NULL;
        if (item == NULL)
            return;
        item->key = key;
        *next = item;
        next = &item->next;
        node->count++;
        space_skip(r);
        if (sign_take(r, end))
            break;
        if (!sign_take(r, ','))
            (void)fault(r, "a `,` or a closing bracket is missing");
    }
    r->depth--;
}

static bool digits_take(struct reader *r)
{
    size_t from = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > from;
}

static void number_take(struct reader *r, struct pst_json *node)
{
    size_t from = r->at;
    (void)sign_take(r, '-');
    bool zero = peek(r) == '0', good = digits_take(r) && !(zero && r->at - from > (r->bytes[from] == '-' ? 2u : 1u));
    if (good && sign_take(r, '.'))
        good = digits_take(r);
    if (good && (sign_take(r, 'e') || sign_take(r, 'E'))) {
        if (!sign_take(r, '+'))
            (void)sign_take(r, '-');
        good = digits_take(r);
    }
    if (!good)
        (void)fault(r, "something that is no value");
    node->kind = PST_JSON_NUMBER;
    node->text = r->bytes + from;
    node->text_bytes = r->at - from;
}

static bool word_take(struct reader *r, struct pst_json *node, const char *word, pst_json_kind kind)
{
    size_t bytes = strlen(word);
    if (r->byte_count - r->at < bytes || memcmp(r->bytes + r->at, word, bytes) != 0)
        return false;
    *node = (struct pst_json){.kind = kind, .text = r->bytes + r->at, .text_bytes = bytes};
    r->at += bytes;
    return true;
}

static struct pst_json *value_take(struct reader *r)
{
    space_skip(r);
    struct pst_json *node = take_memory(r, sizeof *node);
    if (node == NULL)
        return NULL;
    if (++r->node_count > JSON_NODES_MAX)
        (void)fault(r, "more than 65536 values");
    else if (peek(r) == '"') {
        node->kind = PST_JSON_TEXT;
        node->text = text_take(r, &node->text_bytes);
    } else if (peek(r) == '{' || peek(r) == '[') {
        node->kind = r->bytes[r->at++] == '{' ? PST_JSON_MAP : PST_JSON_LIST;
        items_take(r, node);
    } else if (!word_take(r, node, "true", PST_JSON_BOOL) && !word_take(r, node, "false", PST_JSON_BOOL) &&
               !word_take(r, node, "null", PST_JSON_NULL)) {
        number_take(r, node);
    }
    return r->rc == PST_OK ? node : NULL;
}

int pst_json_parse(struct pst_arena *arena, const char *bytes, size_t byte_count, const struct pst_json **ret_json,
                   const char **ret_why)
{
    struct reader r = {.arena = arena, .bytes = bytes, .byte_count = byte_count};
    struct pst_json *json = byte_count <= PST_EVIDENCE_BYTES_MAX ? value_take(&r) : NULL;
    if (byte_count > PST_EVIDENCE_BYTES_MAX)
        (void)fault(&r, "more than 1 MiB");
    space_skip(&r);
    if (r.rc == PST_OK && r.at != byte_count)
        (void)fault(&r, "something behind the value");
    if (r.rc == PST_OK) {
        *ret_json = json;
        return PST_OK;
    }
    if (r.rc == PST_EDATA) {
        *ret_why = pst_arena_printf(arena, "is no JSON: at byte %zu there is %s", r.at, r.why);
        if (*ret_why == NULL)
            return PST_ENOMEM;
    }
    return r.rc;
}

/* ---- looking into it ---- */
const struct pst_json *pst_json_at(const struct pst_json *map, const char *key, pst_json_kind kind)
{
    if (map == NULL || map->kind != PST_JSON_MAP)
        return NULL;
    for (const struct pst_json *value = map->first; value != NULL; value = value->next)
        if (strcmp(value->key, key) == 0)
            return value->kind == kind ? value : NULL;
    return NULL;
}

bool pst_json_number(const struct pst_json *value, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (value == NULL || value->kind != PST_JSON_NUMBER)
        return false;
    for (size_t i = 0; i < value->text_bytes; i++) {
        char digit = value->text[i];
        if (digit < '0' || digit > '9' || number > (UINT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(digit - '0');
    }
    *ret_number = number;
    return number <= max;
}

bool pst_json_hex(const struct pst_json *map, const char *key, uint8_t *ret_bytes, size_t byte_count)
{
    const struct pst_json *value = pst_json_at(map, key, PST_JSON_TEXT);
    return value != NULL && value->text_bytes == 2 * byte_count &&
           pst_hex_parse(value->text, 2 * byte_count, ret_bytes);
}
