/* graph_values.c - values with a kind, taken from the tree: numbers, texts, lists, mappings with known keys, and the
 * typed parameters of an operator. What is wrong is reported here, with its place and a remedy, and nowhere else. */
#include "engine/graph_build.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_BYTES = 60, NAMES_LISTED = 12 };

/* ---- memory and sentences ---- */
void *pst_build_alloc(struct pst_build *b, size_t bytes)
{
    void *memory = pst_arena_alloc(&b->graph->arena, bytes);
    if (memory == NULL)
        b->rc = PST_ENOMEM;
    return memory;
}

const char *pst_build_printf(struct pst_build *b, const char *format, ...)
{
    struct pst_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    int rc = pst_text_vprintf(&text, format, arguments);
    va_end(arguments);
    char *copy = rc == PST_OK ? pst_arena_strdup(&b->graph->arena, text.bytes) : NULL;
    pst_text_fini(&text);
    if (copy == NULL)
        b->rc = PST_ENOMEM;
    return copy != NULL ? copy : "";
}

void pst_build_error(struct pst_build *b, const struct pst_place *place, const char *hint, const char *format, ...)
{
    struct pst_place whole = {.source = b->source};
    struct pst_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    int rc = pst_text_vprintf(&text, format, arguments);
    va_end(arguments);
    if (rc == PST_OK)
        rc = pst_diagnostics_add(b->d, place != NULL ? place : &whole, text.bytes, hint);
    pst_text_fini(&text);
    if (rc != PST_OK)
        b->rc = rc;
}

const char *pst_build_shown(struct pst_build *b, const char *text)
{
    size_t bytes = strlen(text);
    bool cut = bytes > SHOWN_BYTES;
    if (cut)
        for (bytes = SHOWN_BYTES; bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80;)
            bytes--;
    char *shown = pst_build_alloc(b, bytes + 4);
    if (shown == NULL)
        return "";
    memcpy(shown, text, bytes);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)shown[i];
        bool c1 = byte == 0xc2 && i + 1 < bytes && (unsigned char)shown[i + 1] < 0xa0;
        if (byte < 0x20 || byte == 0x7f || c1)
            shown[i] = '?';
        if (c1)
            shown[++i] = '?';
    }
    memcpy(shown + bytes, "...", cut ? 4 : 0);
    return shown;
}

const char *pst_build_suggest(struct pst_build *b, const char *word, const char *const *names, size_t name_count,
                              const char *what)
{
    if (b->d->item_count == PST_DIAGNOSTICS_MAX)
        return NULL; /* nobody will see it, and a file of nothing but errors would take long */
    const char *nearest = pst_nearest(word, names, name_count);
    if (nearest != NULL)
        return pst_build_printf(b, "did you mean `%s`?", pst_build_shown(b, nearest));
    if (name_count == 0 || name_count > NAMES_LISTED)
        return NULL;
    const char *list = "";
    for (size_t i = 0; i < name_count; i++)
        list = pst_build_printf(b, "%s%s`%s`", list, i != 0 ? ", " : "", pst_build_shown(b, names[i]));
    return pst_build_printf(b, "%s: %s", what, list);
}

/* ---- kinds ---- */
static bool is_nothing(const struct pst_yaml *value)
{
    return value->kind == PST_YAML_SCALAR && value->plain && value->text[0] == '\0';
}

static const char *kind_name(const struct pst_yaml *value)
{
    if (value->kind == PST_YAML_LIST)
        return "a list";
    return value->kind == PST_YAML_MAP ? "a mapping" : "a text";
}

static void wrong_kind(struct pst_build *b, const struct pst_yaml *value, const char *what, const char *wanted,
                       const char *hint)
{
    if (is_nothing(value))
        pst_build_error(b, &value->place, NULL, "%s has no value", what);
    else if (value->kind != PST_YAML_BAD)
        pst_build_error(b, &value->place, hint, "%s must be %s, not %s", what, wanted, kind_name(value));
}

/* `4 `, `+4`, `0x10`, `1e3`, `1_000`, `4.0`: somebody means a number, but not one that every reader reads alike. */
static bool looks_like_number(const char *text)
{
    text += text[0] == '-' || text[0] == '+';
    return text[0] >= '0' && text[0] <= '9';
}

static void out_of_range(struct pst_build *b, const struct pst_yaml *value, const char *what, int64_t min, int64_t max)
{
    const char *text = pst_build_shown(b, value->text);
    if (max == INT64_MAX)
        pst_build_error(b, &value->place, NULL, "%s must be at least %lld, not %s", what, (long long)min, text);
    else if (min == INT64_MIN)
        pst_build_error(b, &value->place, NULL, "%s must be at most %lld, not %s", what, (long long)max, text);
    else if (min == max)
        pst_build_error(b, &value->place, NULL, "%s must be %lld, not %s", what, (long long)min, text);
    else
        pst_build_error(b, &value->place, NULL, "%s must be from %lld to %lld, not %s", what, (long long)min,
                        (long long)max, text);
}

bool pst_build_number(struct pst_build *b, const struct pst_yaml *value, const char *what, int64_t min, int64_t max,
                      int64_t *ret_number)
{
    if (value->kind != PST_YAML_SCALAR || is_nothing(value)) {
        wrong_kind(b, value, what, "a whole number", NULL);
        return false;
    }
    int64_t number = 0;
    int rc = pst_parse_i64(value->text, &number);
    if (!value->plain) {
        const char *hint =
            rc == PST_OK ? pst_build_printf(b, "without the quotes it is a number: %s", value->text) : NULL;
        wrong_kind(b, value, what, "a whole number", hint);
        return false;
    }
    if (rc == PST_EINVAL) {
        const char *hint =
            looks_like_number(value->text) ? "a number is decimal digits alone, with a `-` before them or not" : NULL;
        pst_build_error(b, &value->place, hint, "%s must be a whole number, not `%s`", what,
                        pst_build_shown(b, value->text));
        return false;
    }
    if (rc != PST_OK || number < min || number > max) {
        out_of_range(b, value, what, min, max);
        return false;
    }
    *ret_number = number;
    return true;
}

const char *pst_build_text(struct pst_build *b, const struct pst_yaml *value, const char *what)
{
    if (value->kind == PST_YAML_SCALAR && !is_nothing(value))
        return value->text;
    wrong_kind(b, value, what, "a text", NULL);
    return NULL;
}

bool pst_build_list(struct pst_build *b, const struct pst_yaml *value, const char *what)
{
    if (value->kind == PST_YAML_LIST && value->count <= PST_GRAPH_LIST_MAX)
        return true;
    if (value->kind == PST_YAML_LIST)
        pst_build_error(b, &value->place, NULL, "%s has %u items, %d is the most", what, value->count,
                        PST_GRAPH_LIST_MAX);
    else if (value->kind == PST_YAML_SCALAR && !is_nothing(value))
        wrong_kind(b, value, what, "a list",
                   pst_build_printf(b, value->plain ? "a list of one is `[%s]`" : "a list of one is `[\"%s\"]`",
                                    pst_build_shown(b, value->text)));
    else
        wrong_kind(b, value, what, "a list", NULL);
    return false;
}

bool pst_build_map(struct pst_build *b, const struct pst_yaml *value, const char *what)
{
    if (value->kind == PST_YAML_MAP)
        return true;
    wrong_kind(b, value, what, "a mapping of names to values", NULL);
    return false;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

const char *pst_build_name(struct pst_build *b, const struct pst_yaml *value, const char *what)
{
    const char *text = pst_build_text(b, value, what);
    if (text == NULL)
        return NULL;
    const char *c = text;
    if (is_letter(*c))
        while (is_letter(*c) || (*c >= '0' && *c <= '9') || *c == '-')
            c++;
    if (*c == '\0' && c - text <= PST_GRAPH_NAME_BYTES_MAX)
        return text;
    pst_build_error(b, &value->place, "a name is a letter, then letters, digits, `_` and `-`, 63 at most",
                    "%s cannot be `%s`", what, pst_build_shown(b, text));
    return NULL;
}

/* ---- mappings with known keys ---- */
/* Reports a name that is none of `names`; returns the index of the one that was probably meant, -1: none. Its value is
 * then taken for that one's: it is checked too, and nobody is told that it is missing. One slip, one error. */
static int name_unknown(struct pst_build *b, const struct pst_yaml *key, const char *sentence, const char *what,
                        const char *const *names, uint32_t name_count, const char *list)
{
    pst_build_error(b, &key->place, pst_build_suggest(b, key->text, names, name_count, list), "%s `%s`%s", sentence,
                    pst_build_shown(b, key->text), what);
    const char *meant = b->d->item_count < PST_DIAGNOSTICS_MAX ? pst_nearest(key->text, names, name_count) : NULL;
    for (uint32_t i = 0; i < name_count && meant != NULL; i++)
        if (names[i] == meant)
            return (int)i;
    return -1;
}

bool pst_build_keys(struct pst_build *b, const struct pst_yaml *map, const struct pst_place *place, const char *what,
                    const struct pst_build_key *keys, uint32_t key_count)
{
    const char *names[32];
    const struct pst_yaml *meant[32] = {NULL};
    PST_ASSERT(key_count <= sizeof names / sizeof names[0]);
    for (uint32_t i = 0; i < key_count; i++)
        names[i] = keys[i].name;
    const char *where = pst_build_printf(b, " in %s", what);
    for (const struct pst_yaml *value = map->first; value != NULL; value = value->next) {
        uint32_t i = 0;
        while (i < key_count && strcmp(names[i], value->key->text) != 0)
            i++;
        if (i < key_count) {
            *keys[i].ret_value = value;
        } else if (value->key->kind != PST_YAML_BAD) {
            int index = name_unknown(b, value->key, "unknown key", where, names, key_count, "the keys are");
            if (index >= 0)
                meant[index] = value;
        }
    }
    bool complete = true;
    for (uint32_t i = 0; i < key_count; i++) {
        if (*keys[i].ret_value == NULL)
            *keys[i].ret_value = meant[i];
        if (!keys[i].required || *keys[i].ret_value != NULL)
            continue;
        pst_build_error(b, place, NULL, "%s has no `%s`", what, names[i]);
        complete = false;
    }
    return complete;
}

/* ---- parameters of an operator ---- */
static bool numbers_fill(struct pst_build *b, struct pst_build_param *p, const struct pst_yaml *value, const char *what,
                         int64_t min, int64_t max)
{
    int64_t *numbers = pst_build_alloc(b, value->count * sizeof *numbers);
    bool fine = numbers != NULL;
    uint32_t i = 0;
    for (const struct pst_yaml *item = value->first; item != NULL && numbers != NULL; item = item->next)
        fine &= pst_build_number(b, item, what, min, max, &numbers[i++]);
    p->numbers = numbers;
    p->count = value->count;
    return fine;
}

static bool texts_fill(struct pst_build *b, struct pst_build_param *p, const struct pst_yaml *value, const char *what)
{
    const char **texts = pst_build_alloc(b, value->count * sizeof *texts);
    bool fine = texts != NULL;
    uint32_t i = 0;
    for (const struct pst_yaml *item = value->first; item != NULL && texts != NULL; item = item->next) {
        texts[i] = pst_build_text(b, item, what);
        fine &= texts[i++] != NULL;
    }
    p->texts = texts;
    p->count = value->count;
    return fine;
}

static bool param_fill(struct pst_build *b, struct pst_build_param *p, const struct pst_yaml *value, const char *id)
{
    const struct pst_param *param = p->param;
    bool any = param->value_min == 0 && param->value_max == 0;
    int64_t min = any ? INT64_MIN : param->value_min, max = any ? INT64_MAX : param->value_max;
    bool many = param->kind == PST_PARAM_INTS || param->kind == PST_PARAM_TEXTS;
    const char *what = pst_build_printf(b, "`%s` of `%s`", param->name, id);
    if (many && !pst_build_list(b, value, what))
        return false;
    const char *item = many ? pst_build_printf(b, "each item of `%s` of `%s`", param->name, id) : what;
    switch (param->kind) {
    case PST_PARAM_INT:
        return pst_build_number(b, value, what, min, max, &p->number);
    case PST_PARAM_INTS:
        return numbers_fill(b, p, value, item, min, max);
    case PST_PARAM_TEXT:
        p->text = pst_build_text(b, value, what);
        return p->text != NULL;
    case PST_PARAM_TEXTS:
        return texts_fill(b, p, value, item);
    }
    return false;
}

/* A standard value is YAML text in the descriptor, read by the same code as the file: its faults are the author's. */
static bool standard_fill(struct pst_build *b, struct pst_build_param *p, const struct pst_build_node *node)
{
    const char *standard = p->param->standard;
    struct pst_diagnostics *d = b->d, scratch;
    pst_diagnostics_init(&scratch);
    b->d = &scratch;
    struct pst_source *source = pst_source_new(b, "", standard, strlen(standard));
    struct pst_yaml *value = NULL;
    if (source != NULL && pst_source_check(b, source, standard, strlen(standard)))
        value = pst_yaml_parse(b, source, standard, strlen(standard));
    bool fine = value != NULL && param_fill(b, p, value, node->id);
    const char *why = scratch.item_count != 0 ? pst_build_shown(b, scratch.items[0].text) : "it is empty";
    b->d = d;
    if (!fine && b->rc == PST_OK)
        pst_build_error(b, &node->type_value->place, "this is a mistake in the operator, not in the graph",
                        "the standard value of `%s` of operator type `%s` is not valid: %s", p->param->name,
                        node->op->name, why);
    pst_diagnostics_fini(&scratch);
    return fine;
}

static bool param_absent(struct pst_build *b, struct pst_build_param *p, const struct pst_build_node *node)
{
    p->text = "";
    if (!p->param->required)
        return p->param->standard == NULL || p->param->standard[0] == '\0' || standard_fill(b, p, node);
    const struct pst_place *place = &node->id_value->place;
    if (node->params_value != NULL && node->params_value->key != NULL)
        place = &node->params_value->key->place;
    pst_build_error(b, place, p->param->help, "operator `%s` (%s) has no parameter `%s`, which it needs", node->id,
                    node->op->name, p->param->name);
    return false;
}

static bool unknown_params(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_operator *op = node->op;
    const char **names = pst_build_alloc(b, (op->param_count + 1) * sizeof *names);
    const char *sentence = pst_build_printf(b, "operator type `%s` has no parameter", op->name);
    bool fine = names != NULL;
    for (uint32_t i = 0; i < op->param_count && names != NULL; i++)
        names[i] = op->params[i].name;
    for (const struct pst_yaml *value = node->params_value->first; value != NULL && names != NULL;
         value = value->next) {
        uint32_t i = 0;
        while (i < op->param_count && strcmp(names[i], value->key->text) != 0)
            i++;
        if (i < op->param_count || value->key->kind == PST_YAML_BAD)
            continue;
        int meant = name_unknown(b, value->key, sentence, "", names, op->param_count, "its parameters are");
        if (meant >= 0)
            node->params[meant].value = value;
        fine = false;
    }
    return fine;
}

static const struct pst_yaml *param_value(const struct pst_build_node *node, const char *name)
{
    if (node->params_value == NULL)
        return NULL;
    for (const struct pst_yaml *value = node->params_value->first; value != NULL; value = value->next)
        if (strcmp(value->key->text, name) == 0)
            return value;
    return NULL;
}

bool pst_build_params(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_operator *op = node->op;
    node->params = pst_build_alloc(b, op->param_count * sizeof *node->params);
    if (node->params == NULL)
        return false;
    bool fine = true;
    if (node->params_value != NULL && !pst_build_map(b, node->params_value, "`params`")) {
        node->params_value = NULL;
        fine = false;
    }
    if (node->params_value != NULL)
        fine &= unknown_params(b, node);
    for (uint32_t i = 0; i < op->param_count && b->rc == PST_OK; i++) {
        struct pst_build_param *p = &node->params[i];
        p->param = &op->params[i];
        const struct pst_yaml *given = param_value(node, p->param->name);
        p->value = given != NULL ? given : p->value;
        fine &= p->value != NULL ? param_fill(b, p, p->value, node->id) : param_absent(b, p, node);
    }
    return fine && b->rc == PST_OK;
}
