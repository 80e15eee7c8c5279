/* graph_parameters.c - `parameters:` of a graph, --set on top of them, and ${placeholders} put in their place. */
#include "engine/graph_build.h"

#include <string.h>

static const struct pst_yaml *parameter_find(const struct pst_build *b, const char *name)
{
    if (b->parameters == NULL)
        return NULL;
    for (const struct pst_yaml *value = b->parameters->first; value != NULL; value = value->next)
        if (strcmp(value->key->text, name) == 0)
            return value;
    return NULL;
}

static const char *parameter_hint(struct pst_build *b, const char *name)
{
    if (b->parameters == NULL || b->parameters->count == 0)
        return "the graph declares no `parameters:`";
    const char *names[PST_YAML_KEYS_MAX];
    uint32_t count = 0;
    for (const struct pst_yaml *value = b->parameters->first; value != NULL; value = value->next)
        names[count++] = value->key->text;
    return pst_build_suggest(b, name, names, count, "the graph's parameters are");
}

/* ---- --set ---- */
static bool is_number(const struct pst_yaml *value)
{
    int64_t number = 0;
    return value->kind == PST_YAML_SCALAR && value->plain && pst_parse_i64(value->text, &number) != PST_EINVAL;
}

static struct pst_yaml *setting_scalar(struct pst_build *b, const struct pst_source *source, const char *text,
                                       size_t from, size_t to)
{
    while (from < to && text[from] == ' ')
        from++;
    while (to > from && text[to - 1] == ' ')
        to--;
    struct pst_yaml *node = pst_build_alloc(b, sizeof *node);
    char *copy = pst_build_alloc(b, to - from + 1);
    if (node == NULL || copy == NULL)
        return NULL;
    memcpy(copy, text + from, to - from);
    uint32_t column = 1;
    for (size_t i = 0; i < from; i++)
        column += ((unsigned char)text[i] & 0xc0) != 0x80;
    *node = (struct pst_yaml){
        .kind = PST_YAML_SCALAR,
        .plain = true,
        .text = copy,
        .place = {source, 1, column + source->column_offset, to > from ? (uint32_t)(to - from) : 1},
    };
    return node;
}

/* "60,300": a list, cut at its commas. */
static struct pst_yaml *setting_list(struct pst_build *b, const struct pst_source *source, const char *text)
{
    struct pst_yaml *list = pst_build_alloc(b, sizeof *list), **link = list != NULL ? &list->first : NULL;
    if (list == NULL)
        return NULL;
    list->kind = PST_YAML_LIST;
    list->text = "";
    list->place = (struct pst_place){source, 1, 1 + source->column_offset, (uint32_t)strlen(text)};
    for (size_t from = 0; text[0] != '\0'; from++) {
        size_t to = from + strcspn(text + from, ",");
        *link = setting_scalar(b, source, text, from, to);
        if (*link == NULL)
            return NULL;
        link = &(*link)->next;
        list->count++;
        from = to;
        if (text[to] == '\0')
            break;
    }
    return list;
}

/* The declared value says which shape is meant: a list is cut at commas or read as `[60, 300]`; so is a number that
 * gets commas; anything else is a text as it stands. */
static struct pst_yaml *setting_value(struct pst_build *b, const struct pst_source *source, const char *text,
                                      const struct pst_yaml *declared)
{
    bool list = declared->kind == PST_YAML_LIST || (is_number(declared) && strchr(text, ',') != NULL);
    if (list && text[0] == '[')
        return pst_yaml_parse(b, source, text, strlen(text));
    return list ? setting_list(b, source, text) : setting_scalar(b, source, text, 0, strlen(text));
}

static struct pst_source *setting_source(struct pst_build *b, const struct pst_setting *setting)
{
    const char *line = pst_build_printf(b, "%s=%s", setting->name, setting->value);
    struct pst_source *source = b->rc == PST_OK ? pst_source_new(b, "--set", line, strlen(line)) : NULL;
    if (source == NULL)
        return NULL;
    source->unnumbered = true;
    return source;
}

static void setting_apply(struct pst_build *b, const struct pst_setting *setting)
{
    struct pst_source *source = setting_source(b, setting);
    if (source == NULL)
        return;
    size_t line_bytes = strlen(setting->name) + 1 + strlen(setting->value);
    uint32_t name_characters = 0;
    for (const char *c = setting->name; *c != '\0'; c++)
        name_characters += ((unsigned char)*c & 0xc0) != 0x80;
    struct pst_place place = {source, 1, 1, name_characters};
    struct pst_yaml *declared = (struct pst_yaml *)parameter_find(b, setting->name);
    if (declared == NULL) {
        pst_build_error(b, &place, parameter_hint(b, setting->name), "the graph has no parameter `%s`",
                        pst_build_shown(b, setting->name));
        return;
    }
    if (line_bytes > PST_GRAPH_TEXT_BYTES_MAX) {
        pst_build_error(b, &place, NULL, "the value has more than %d bytes", PST_GRAPH_TEXT_BYTES_MAX);
        return;
    }
    source->column_offset = name_characters + 1;
    if (!pst_source_check(b, source, setting->value, strlen(setting->value)))
        return;
    struct pst_yaml *value = setting_value(b, source, setting->value, declared);
    if (value == NULL)
        return;
    value->key = declared->key;
    value->next = declared->next;
    *declared = *value;
}

/* ---- `parameters:` ---- */
static bool has_placeholder(const struct pst_yaml *value)
{
    if (value->kind == PST_YAML_SCALAR)
        return strstr(value->text, "${") != NULL;
    for (const struct pst_yaml *item = value->first; item != NULL; item = item->next)
        if (has_placeholder(item))
            return true;
    return false;
}

void pst_build_parameters(struct pst_build *b, const struct pst_yaml *parameters)
{
    if (parameters != NULL && pst_build_map(b, parameters, "`parameters`"))
        b->parameters = parameters;
    else if (parameters != NULL)
        b->parameters_broken = true; /* every placeholder would be unknown: the one error is enough */
    if (b->parameters_broken)
        return;
    for (struct pst_yaml *value = b->parameters != NULL ? b->parameters->first : NULL; value != NULL;
         value = value->next) {
        if (value->key->kind != PST_YAML_BAD)
            (void)pst_build_name(b, value->key, "the name of a parameter");
        if (value->kind == PST_YAML_MAP) {
            pst_build_error(b, &value->place, NULL,
                            "the parameter `%s` must be a value or a list of values, not a mapping",
                            pst_build_shown(b, value->key->text));
            value->kind = PST_YAML_BAD;
        } else if (has_placeholder(value)) {
            pst_build_error(b, &value->place, NULL, "the parameter `%s` may not hold a placeholder itself",
                            pst_build_shown(b, value->key->text));
            value->kind = PST_YAML_BAD;
        }
    }
    for (uint32_t i = 0; i < b->setting_count && b->rc == PST_OK; i++)
        setting_apply(b, &b->settings[i]);
}

/* ---- placeholders ---- */
struct placeholder {
    size_t from, to; /* of "${name}" in the text */
    const char *name;
};

static struct pst_place place_inside(const struct pst_yaml *value, size_t from, size_t to)
{
    struct pst_place place = value->place;
    uint32_t characters_before = 0, width = 0;
    for (size_t i = 0; i < to; i++) {
        bool begins = ((unsigned char)value->text[i] & 0xc0) != 0x80;
        characters_before += begins && i < from;
        width += begins && i >= from;
    }
    uint32_t before = characters_before + (value->plain ? 0 : 1);
    if (before + width > place.width)
        return place; /* over several lines, or with escapes: the whole value */
    place.column += before;
    place.width = width;
    return place;
}

/* The parameter that "${name}" at `from` names; NULL: reported. */
static const struct pst_yaml *placeholder_find(struct pst_build *b, const struct pst_yaml *value, size_t from,
                                               size_t *ret_to)
{
    if (b->parameters_broken)
        return NULL;
    const char *open = value->text + from, *closed = strchr(open, '}');
    struct pst_place place = place_inside(value, from, closed != NULL ? (size_t)(closed - value->text) + 1 : from + 2);
    if (closed == NULL) {
        pst_build_error(b, &place, "a `${` that is meant so is written `$${`",
                        "a placeholder begins here and has no `}`");
        return NULL;
    }
    *ret_to = (size_t)(closed - value->text) + 1;
    char *name = pst_build_alloc(b, (size_t)(closed - open));
    if (name == NULL)
        return NULL;
    memcpy(name, open + 2, (size_t)(closed - open) - 2);
    const struct pst_yaml *parameter = parameter_find(b, name);
    if (parameter == NULL)
        pst_build_error(b, &place, parameter_hint(b, name), "the placeholder `${%s}` names no parameter of the graph",
                        pst_build_shown(b, name));
    return parameter;
}

/* Replaces a value by a parameter's, which keeps the place where it was given: an error in it is shown there. */
static void value_replace(struct pst_yaml *value, const struct pst_yaml *parameter)
{
    const struct pst_yaml *key = value->key;
    struct pst_yaml *next = value->next;
    *value = *parameter;
    value->key = key;
    value->next = next;
}

static bool piece_add(struct pst_build *b, struct pst_yaml *value, struct pst_text *text, const char *bytes,
                      size_t count)
{
    if (pst_text_add(text, bytes, count) != PST_OK) {
        b->rc = PST_ENOMEM;
        return false;
    }
    if (text->count <= PST_GRAPH_TEXT_BYTES_MAX)
        return true;
    pst_build_error(b, &value->place, NULL, "with its placeholders filled the value has more than %d bytes",
                    PST_GRAPH_TEXT_BYTES_MAX);
    return false;
}

/* One placeholder inside a text: its parameter must be a single value. */
static bool placeholder_add(struct pst_build *b, struct pst_yaml *value, struct pst_text *text, size_t from,
                            size_t *ret_to)
{
    const struct pst_yaml *parameter = placeholder_find(b, value, from, ret_to);
    if (parameter == NULL || parameter->kind == PST_YAML_BAD)
        return false;
    if (parameter->kind == PST_YAML_SCALAR)
        return piece_add(b, value, text, parameter->text, strlen(parameter->text));
    struct pst_place place = place_inside(value, from, *ret_to);
    pst_build_error(b, &place, NULL, "the parameter `%s` is a list and cannot stand inside a text",
                    pst_build_shown(b, parameter->key->text));
    return false;
}

/* `a ${b} c`: texts put together. `$${` stands for a plain `${`. */
static bool text_fill(struct pst_build *b, struct pst_yaml *value, struct pst_text *text)
{
    const char *from = value->text;
    bool fine = true;
    for (size_t i = 0; from[i] != '\0' && b->rc == PST_OK;) {
        if (strncmp(from + i, "$${", 3) == 0) {
            fine &= piece_add(b, value, text, "${", 2);
            i += 3;
        } else if (strncmp(from + i, "${", 2) == 0) {
            size_t to = i + 2; /* where it has no end: go on behind the `${` */
            fine &= placeholder_add(b, value, text, i, &to);
            i = to;
        } else {
            fine &= piece_add(b, value, text, from + i, 1);
            i++;
        }
        if (text->count > PST_GRAPH_TEXT_BYTES_MAX)
            return false;
    }
    return fine && b->rc == PST_OK;
}

static void scalar_substitute(struct pst_build *b, struct pst_yaml *value)
{
    if (strncmp(value->text, "${", 2) == 0) {
        const char *closed = strchr(value->text, '}');
        if (closed != NULL && closed[1] == '\0') { /* nothing but a placeholder: any kind of value */
            size_t to = 0;
            const struct pst_yaml *parameter = placeholder_find(b, value, 0, &to);
            if (parameter != NULL)
                value_replace(value, parameter);
            else
                value->kind = PST_YAML_BAD;
            return;
        }
    }
    struct pst_text text = {0};
    if (text_fill(b, value, &text)) {
        char *copy = pst_arena_strdup(&b->graph->arena, text.bytes != NULL ? text.bytes : "");
        if (copy == NULL)
            b->rc = PST_ENOMEM;
        else
            value->text = copy;
    } else {
        value->kind = PST_YAML_BAD;
    }
    pst_text_fini(&text);
}

void pst_build_substitute(struct pst_build *b, struct pst_yaml *tree)
{
    for (struct pst_yaml *value = tree->first; value != NULL && b->rc == PST_OK; value = value->next) {
        if (value == b->parameters)
            continue; /* values as they stand; --set may have put a `${` there */
        if (value->kind == PST_YAML_SCALAR && strstr(value->text, "${") != NULL)
            scalar_substitute(b, value);
        else if (value->kind == PST_YAML_LIST || value->kind == PST_YAML_MAP)
            pst_build_substitute(b, value);
    }
}
