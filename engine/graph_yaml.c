/* graph_yaml.c - text to a tree of scalars, lists and mappings, each with its place. The only file that knows libfyaml.
 *
 * The parser's events are taken one by one rather than a finished document of the library, so that depth and size are
 * bounded here, every node knows its place, and a key that stands twice is reported without ending the reading.
 * Of YAML, anchors, aliases, tags, folded texts and several documents are refused: a graph is to be read by eye.
 */
#include "engine/graph_build.h"

#include <libfyaml.h>
#include <string.h>

/* `${name}` cannot stand unquoted in a flow mapping, where braces have a meaning of their own, and it is wanted there:
 * `params: {every: ${every}}`. So its braces travel through the parser as these two private characters, each of them
 * one character as a brace is: columns stay true. */
static const char BRACE_OPEN[] = "\xee\x80\x80", BRACE_CLOSE[] = "\xee\x80\x81";
enum { BRACE_BYTES = 3 };

struct level { /* a list or mapping that is not closed yet */
    struct pst_yaml *node, *key, *last;
    bool flow;
};

struct reader {
    struct pst_build *b;
    const struct pst_source *source;
    const char *text; /* as the parser has it, braces hidden */
    size_t text_bytes;
    struct fy_parser *parser;
    struct level levels[PST_YAML_DEPTH_MAX];
    uint32_t depth, node_count;
    struct pst_yaml *root;
    bool stopped; /* an error that makes going on pointless, reported; or no memory */
};

static struct pst_place place_of(const struct reader *r, uint32_t line, uint32_t column, uint32_t width)
{
    return (struct pst_place){
        .source = r->source, .line = line, .column = column + r->source->column_offset, .width = width};
}

static struct pst_place place_of_token(const struct reader *r, struct fy_token *token,
                                       const struct pst_place *otherwise)
{
    const struct fy_mark *start = token != NULL ? fy_token_start_mark(token) : NULL,
                         *end = token != NULL ? fy_token_end_mark(token) : NULL;
    if (start == NULL || end == NULL || start->line < 0 || start->column < 0)
        return *otherwise;
    uint32_t column = (uint32_t)start->column + 1, width = 1;
    if (end->line == start->line && end->column > start->column)
        width = (uint32_t)(end->column - start->column);
    enum fy_scalar_style style = fy_token_scalar_style(token);
    if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && column > 1) {
        column--; /* the library's marks leave the quotes out */
        width += 2;
    }
    enum fy_token_type type = fy_token_get_type(token);
    if ((type == FYTT_ALIAS || type == FYTT_ANCHOR) && column > 1) {
        column--; /* and so do they the sign */
        width++;
    }
    return place_of(r, (uint32_t)start->line + 1, column, width);
}

/* ---- the braces ---- */
/* Bytes of a `${...}` at `s` that its braces may be hidden of, 0: none. What is inside is judged later. */
static size_t placeholder_bytes(const char *s, size_t left)
{
    if (left < 3 || s[0] != '$' || s[1] != '{')
        return 0;
    size_t inside = 2;
    while (inside < left && s[inside] != '\0' && strchr("{}[]\"',:#\n\r", s[inside]) == NULL)
        inside++;
    return inside < left && s[inside] == '}' ? inside + 1 : 0;
}

static char *braces_hide(const char *text, size_t text_bytes, size_t *ret_bytes)
{
    char *hidden = pst_malloc(text_bytes * BRACE_BYTES + 1), *to = hidden;
    for (size_t i = 0; hidden != NULL && i < text_bytes;) {
        size_t bytes = placeholder_bytes(text + i, text_bytes - i);
        if (bytes == 0) {
            *to++ = text[i++];
            continue;
        }
        *to++ = '$';
        memcpy(to, BRACE_OPEN, BRACE_BYTES);
        memcpy(to + BRACE_BYTES, text + i + 2, bytes - 3);
        memcpy(to + bytes, BRACE_CLOSE, BRACE_BYTES);
        to += bytes + BRACE_BYTES;
        i += bytes;
    }
    if (hidden != NULL) {
        *to = '\0';
        *ret_bytes = (size_t)(to - hidden);
    }
    return hidden;
}

static char *braces_show(struct pst_build *b, const char *text, size_t text_bytes)
{
    char *shown = pst_build_alloc(b, text_bytes + 1), *to = shown;
    for (size_t i = 0; shown != NULL && i < text_bytes;) {
        bool rest = text_bytes - i >= BRACE_BYTES;
        bool open = rest && memcmp(text + i, BRACE_OPEN, BRACE_BYTES) == 0,
             closed = rest && memcmp(text + i, BRACE_CLOSE, BRACE_BYTES) == 0;
        *to++ = open ? '{' : closed ? '}' : text[i];
        i += open || closed ? BRACE_BYTES : 1;
    }
    return shown;
}

/* ---- nodes ---- */
static void stop(struct reader *r, const struct pst_place *place, const char *hint, const char *sentence)
{
    pst_build_error(r->b, place, hint, "%s", sentence);
    r->stopped = true;
}

/* Nothing, as in `key:`, has no token: it is shown where its key is. */
static struct pst_place place_above(const struct reader *r)
{
    if (r->depth == 0)
        return place_of(r, 1, 1, 1);
    const struct level *level = &r->levels[r->depth - 1];
    return level->key != NULL ? level->key->place : level->node->place;
}

static struct pst_yaml *node_new(struct reader *r, pst_yaml_kind kind, struct fy_token *token)
{
    struct pst_place above = place_above(r), place = place_of_token(r, token, &above);
    if (++r->node_count > PST_YAML_NODES_MAX) {
        stop(r, &place, NULL, "the file holds more than 65536 values");
        return NULL;
    }
    struct pst_yaml *node = pst_build_alloc(r->b, sizeof *node);
    if (node == NULL) {
        r->stopped = true;
        return NULL;
    }
    *node = (struct pst_yaml){.kind = kind, .place = place, .text = ""};
    return node;
}

static size_t line_breaks_skip(const char *raw, size_t raw_bytes, size_t i, size_t *ret_breaks)
{
    size_t breaks = 0;
    for (; i < raw_bytes && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\n' || raw[i] == '\r'); i++)
        breaks += raw[i] == '\n' || (raw[i] == '\r' && (i + 1 == raw_bytes || raw[i + 1] != '\n'));
    *ret_breaks = breaks;
    return i;
}

/* What stands between single quotes, YAML 1.2 section 7.3.2: two quotes are one, one line break is a space and
 * of more the first is dropped. Ours, as libfyaml 0.7.12 reads four quotes in a row as three, and loses the memory of a
 * text with many. */
static const char *single_quoted(struct reader *r, const char *raw, size_t raw_bytes, size_t *ret_bytes)
{
    char *text = pst_build_alloc(r->b, raw_bytes + 1);
    size_t count = 0;
    for (size_t i = 0; i < raw_bytes && text != NULL;) {
        if (raw[i] != '\n' && raw[i] != '\r') {
            text[count++] = raw[i];
            i += raw[i] == '\'' ? 2 : 1;
            continue;
        }
        while (count > 0 && (text[count - 1] == ' ' || text[count - 1] == '\t'))
            count--;
        size_t breaks = 0;
        i = line_breaks_skip(raw, raw_bytes, i, &breaks);
        if (breaks == 1)
            text[count++] = ' ';
        for (; breaks > 1; breaks--)
            text[count++] = '\n';
    }
    *ret_bytes = count;
    return text;
}

static const char *token_text(struct reader *r, struct fy_token *token, size_t *ret_bytes)
{
    if (fy_token_scalar_style(token) != FYSS_SINGLE_QUOTED)
        return fy_token_get_text(token, ret_bytes);
    const struct fy_mark *start = fy_token_start_mark(token), *end = fy_token_end_mark(token);
    PST_ASSERT(start != NULL && end != NULL && start->input_pos <= end->input_pos && end->input_pos <= r->text_bytes);
    return single_quoted(r, r->text + start->input_pos, end->input_pos - start->input_pos, ret_bytes);
}

static void scalar_fill(struct reader *r, struct pst_yaml *node, struct fy_token *token)
{
    size_t text_bytes = 0;
    const char *text = token != NULL ? token_text(r, token, &text_bytes) : NULL;
    node->plain = token == NULL || fy_token_scalar_style(token) == FYSS_PLAIN;
    r->stopped = r->b->rc != PST_OK;
    if (text == NULL)
        return;
    char *shown = braces_show(r->b, text, text_bytes);
    if (shown == NULL) {
        r->stopped = true;
        return;
    }
    node->text = shown;
    const char *fault = NULL;
    if (fy_token_scalar_style(token) == FYSS_FOLDED) /* libfyaml 0.7.12 folds indented lines wrongly */
        fault = "texts folded by `>` are not read: write it in quotes, or line by line with `|`";
    else if (memchr(text, '\0', text_bytes) != NULL)
        fault = "a value may not hold a NUL";
    else if (strlen(shown) > PST_GRAPH_TEXT_BYTES_MAX)
        fault = "a value may have 4096 bytes at most";
    if (fault == NULL)
        return;
    pst_build_error(r->b, &node->place, NULL, "%s", fault);
    node->kind = PST_YAML_BAD;
}

static bool key_is_new(struct reader *r, const struct pst_yaml *map, const struct pst_yaml *key)
{
    for (const struct pst_yaml *value = map->first; value != NULL; value = value->next) {
        if (strcmp(value->key->text, key->text) != 0)
            continue;
        const char *hint = pst_build_printf(r->b, "it stands at line %u too", value->key->place.line);
        pst_build_error(r->b, &key->place, hint, "the key `%s` stands here twice", pst_build_shown(r->b, key->text));
        return false;
    }
    return true;
}

static void value_add(struct reader *r, struct level *level, struct pst_yaml *value)
{
    struct pst_yaml *map = level->node;
    if (map->kind == PST_YAML_MAP) {
        value->key = level->key;
        level->key = NULL;
        if (!key_is_new(r, map, value->key))
            return;
        if (map->count == PST_YAML_KEYS_MAX) {
            stop(r, &value->key->place, NULL, "a mapping may have 256 keys at most");
            return;
        }
    }
    if (level->last == NULL)
        map->first = value;
    else
        level->last->next = value;
    level->last = value;
    map->count++;
}

/* Hangs a node where it belongs: as the root, an item of a list, a key or a value of a mapping. */
static void node_hang(struct reader *r, struct pst_yaml *node)
{
    if (r->depth == 0) {
        r->root = node;
        return;
    }
    struct level *level = &r->levels[r->depth - 1];
    if (level->node->kind != PST_YAML_MAP || level->key != NULL)
        value_add(r, level, node);
    else if (node->kind == PST_YAML_LIST || node->kind == PST_YAML_MAP)
        stop(r, &node->place, "did you mean a placeholder, `${name}`, or a `- ` before it?",
             "a key must be a name, not a list or a mapping");
    else
        level->key = node;
}

static void refuse_extras(struct reader *r, struct fy_event *event, struct pst_yaml *node)
{
    struct fy_token *anchor = fy_event_get_anchor_token(event), *tag = fy_event_get_tag_token(event);
    if (anchor == NULL && tag == NULL)
        return;
    struct pst_place place = place_of_token(r, anchor != NULL ? anchor : tag, &node->place);
    if (anchor != NULL)
        pst_build_error(r->b, &place, r->b->words->twice, "%s have no anchors (`&name`)", r->b->words->many);
    else
        pst_build_error(r->b, &place, "leave it out: the key says what kind of value it takes",
                        "%s have no tags (`!name`)", r->b->words->many);
    node->kind = PST_YAML_BAD;
}

/* ---- events ---- */
static void on_scalar(struct reader *r, struct fy_event *event)
{
    struct fy_token *token = fy_event_get_token(event);
    struct pst_yaml *node = node_new(r, PST_YAML_SCALAR, token);
    if (node == NULL)
        return;
    if (event->type == FYET_ALIAS) {
        pst_build_error(r->b, &node->place, r->b->words->twice, "%s have no aliases (`*name`)", r->b->words->many);
        node->kind = PST_YAML_BAD;
    } else {
        scalar_fill(r, node, token);
        refuse_extras(r, event, node);
    }
    if (!r->stopped)
        node_hang(r, node);
}

static void on_begin(struct reader *r, struct fy_event *event)
{
    struct fy_token *token = fy_event_get_token(event);
    struct pst_yaml *node = node_new(r, event->type == FYET_MAPPING_START ? PST_YAML_MAP : PST_YAML_LIST, token);
    if (node == NULL)
        return;
    if (r->depth == PST_YAML_DEPTH_MAX) {
        stop(r, &node->place, NULL, "lists and mappings stand more than 16 deep in each other here");
        return;
    }
    node_hang(r, node);
    if (r->stopped)
        return;
    r->levels[r->depth++] = (struct level){.node = node, .flow = fy_event_get_node_style(event) == FYNS_FLOW};
    struct pst_yaml extras = *node; /* a mapping with an anchor is read on, so that what is inside it is checked */
    refuse_extras(r, event, &extras);
}

static void on_event(struct reader *r, struct fy_event *event)
{
    switch (event->type) {
    case FYET_SCALAR:
    case FYET_ALIAS:
        on_scalar(r, event);
        break;
    case FYET_MAPPING_START:
    case FYET_SEQUENCE_START:
        on_begin(r, event);
        break;
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        PST_ASSERT(r->depth > 0);
        r->depth--;
        break;
    case FYET_DOCUMENT_START:
        if (r->root != NULL) {
            struct pst_place place = place_of_token(r, fy_event_get_token(event), &r->root->place);
            stop(r, &place, pst_build_printf(r->b, "one file holds one %s", r->b->words->one),
                 "a second document begins here");
        }
        break;
    default:
        break;
    }
}

/* The library's error in its own words. One at the end of the file is shown at the end of its last line with text. */
static void syntax_error(struct reader *r, const struct fy_diag_error *error)
{
    uint32_t line = error != NULL && error->line > 0 ? (uint32_t)error->line : 1,
             column = error != NULL && error->column > 0 ? (uint32_t)error->column : 1;
    const char *const *lines = r->source->lines;
    if (line > r->source->line_count || (line == r->source->line_count && lines[line - 1][0] == '\0')) {
        line = r->source->line_count;
        while (line > 1 && lines[line - 1][0] == '\0')
            line--;
        column = 1;
        for (const char *c = lines[line - 1]; *c != '\0'; c++)
            column += ((unsigned char)*c & 0xc0) != 0x80;
    }
    const char *sentence = error != NULL && error->msg != NULL ? error->msg : "it cannot be read", *hint = NULL;
    const struct level *open = r->depth != 0 ? &r->levels[r->depth - 1] : NULL;
    if (open != NULL && open->flow && (strstr(sentence, "closing") != NULL || open->node->place.line != line))
        hint = pst_build_printf(r->b, "the `%c` of line %u, column %u is still open",
                                open->node->kind == PST_YAML_MAP ? '{' : '[', open->node->place.line,
                                open->node->place.column);
    struct pst_place place = place_of(r, line, column, 1);
    pst_build_error(r->b, &place, hint, "not valid YAML: %s", pst_build_shown(r->b, sentence));
}

static void read_all(struct reader *r, struct fy_diag *diag)
{
    struct fy_event *event;
    while (!r->stopped && (event = fy_parser_parse(r->parser)) != NULL) {
        on_event(r, event);
        fy_parser_event_free(r->parser, event);
    }
    if (r->stopped || !fy_parser_get_stream_error(r->parser))
        return;
    void *cursor = NULL;
    syntax_error(r, fy_diag_errors_iterate(diag, &cursor));
    r->stopped = true;
}

static void discard(struct fy_diag *diag, void *user, const char *bytes, size_t byte_count)
{
    (void)diag, (void)user, (void)bytes, (void)byte_count; /* its errors are collected, not printed */
}

static struct fy_diag *diag_new(void)
{
    struct fy_diag_cfg config;
    fy_diag_cfg_default(&config);
    config.fp = NULL;
    config.output_fn = discard;
    config.level = FYET_ERROR;
    struct fy_diag *diag = fy_diag_create(&config);
    if (diag != NULL)
        fy_diag_set_collect_errors(diag, true);
    return diag;
}

struct pst_yaml *pst_yaml_parse(struct pst_build *b, const struct pst_source *source, const char *text,
                                size_t text_bytes)
{
    struct reader r = {.b = b, .source = source};
    size_t hidden_bytes = 0;
    char *hidden = braces_hide(text, text_bytes, &hidden_bytes);
    r.text = hidden;
    r.text_bytes = hidden_bytes;
    struct fy_diag *diag = diag_new();
    struct fy_parse_cfg config = {.flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = diag};
    r.parser = hidden != NULL && diag != NULL ? fy_parser_create(&config) : NULL;
    if (r.parser == NULL || fy_parser_set_string(r.parser, hidden, hidden_bytes) != 0)
        b->rc = PST_ENOMEM;
    else
        read_all(&r, diag);
    if (r.parser != NULL)
        fy_parser_destroy(r.parser);
    if (diag != NULL)
        fy_diag_destroy(diag);
    pst_free(hidden);
    if (b->rc != PST_OK || r.stopped)
        return NULL;
    if (r.root == NULL)
        pst_build_error(b, NULL, pst_build_printf(b, "it begins with `%s`", b->words->first_line), "the %s is empty",
                        b->words->one);
    return r.root;
}
