/* policy.c - policy files (engine/policy.h): the table of keys against a tree of values. */
#include "engine/policy.h"
#include "engine/graph_build.h"

#include <string.h>

#define VERSION_KEY "penstock_policy"

enum { NAMES_MAX = 24, KEYS_MAX = 31 };

static const struct pst_words words = {.one = "policy", .many = "policies", .first_line = VERSION_KEY ": 1"};

/* ---- values ---- */
/* The index of one of the names; reported: -1. */
static int name_find(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *item)
{
    const char *text = pst_build_text(b, item, pst_build_printf(b, "each item of `%s`", key->name));
    uint32_t count = 0;
    for (; key->names[count] != NULL; count++)
        if (text != NULL && strcmp(key->names[count], text) == 0)
            return (int)count;
    if (text != NULL)
        pst_build_error(b, &item->place, pst_build_suggest(b, text, key->names, count, "there are"),
                        "`%s` is none of `%s`", pst_build_shown(b, text), key->name);
    return -1;
}

static void names_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                       uint32_t *ret_bits)
{
    if (!pst_build_list(b, value, pst_build_printf(b, "`%s`", key->name)))
        return;
    uint32_t bits = 0;
    for (const struct pst_yaml *item = value->first; item != NULL; item = item->next) {
        int index = name_find(b, key, item);
        bits |= index >= 0 ? 1u << index : 0;
    }
    if (value->count == 0)
        pst_build_error(b, &value->place, "leave the key out for the standard", "an empty `%s` accepts nothing",
                        key->name);
    *ret_bits = bits;
}

static bool digit_is(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static uint8_t digit_of(char c) { return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10); }

static void digest_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *item,
                        struct pst_digest *ret_digest)
{
    const char *text = pst_build_text(b, item, pst_build_printf(b, "each item of `%s`", key->name));
    if (text == NULL)
        return;
    size_t digits = 0, bytes = strlen(text) / 2;
    while (digit_is(text[digits]))
        digits++;
    const char *sizes = key->min == key->max ? pst_build_printf(b, "%d", 2 * (int)key->max)
                                             : pst_build_printf(b, "%d or %d", 2 * (int)key->min, 2 * (int)key->max);
    if (text[digits] != '\0' || digits % 2 != 0 || (bytes != (size_t)key->min && bytes != (size_t)key->max)) {
        const char *hint = text[digits] == '\0' ? pst_build_printf(b, "these are %zu digits", digits) : NULL;
        pst_build_error(b, &item->place, hint, "an item of `%s` is %s hexadecimal digits, not `%s`", key->name, sizes,
                        pst_build_shown(b, text));
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        ret_digest->bytes[i] = (uint8_t)(digit_of(text[2 * i]) * 16 + digit_of(text[2 * i + 1]));
    ret_digest->byte_count = (uint32_t)bytes;
}

static void digests_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                         struct pst_digests *ret_digests)
{
    if (!pst_build_list(b, value, pst_build_printf(b, "`%s`", key->name)))
        return;
    if (value->count == 0)
        pst_build_error(b, &value->place, "leave the key out where any will do", "an empty `%s` accepts nothing",
                        key->name);
    ret_digests->items = pst_build_alloc(b, (value->count + 1) * sizeof *ret_digests->items);
    for (const struct pst_yaml *item = value->first; item != NULL && ret_digests->items != NULL; item = item->next)
        digest_take(b, key, item, &ret_digests->items[ret_digests->count++]);
}

static void switch_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                        bool *ret_on)
{
    const char *text = pst_build_text(b, value, pst_build_printf(b, "`%s`", key->name));
    if (text == NULL)
        return;
    *ret_on = strcmp(text, "true") == 0;
    if (!value->plain || (!*ret_on && strcmp(text, "false") != 0))
        pst_build_error(b, &value->place, NULL, "`%s` must be true or false, not `%s`", key->name,
                        pst_build_shown(b, text));
}

/* The values of a mapping by `names`, those that are there; how many names there are. 0: it is none. */
static uint32_t named_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                           const struct pst_yaml *ret_values[NAMES_MAX])
{
    struct pst_build_key keys[NAMES_MAX];
    uint32_t count = 0;
    const char *what = pst_build_printf(b, "`%s`", key->name);
    memset(ret_values, 0, NAMES_MAX * sizeof *ret_values);
    if (!pst_build_map(b, value, what))
        return 0;
    for (; key->names[count] != NULL; count++) {
        PST_ASSERT(count < NAMES_MAX);
        keys[count] = (struct pst_build_key){key->names[count], false, &ret_values[count]};
    }
    (void)pst_build_keys(b, value, &value->place, what, keys, count);
    return count;
}

static void numbers_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                         int64_t *ret_numbers)
{
    const struct pst_yaml *values[NAMES_MAX];
    uint32_t count = named_take(b, key, value, values);
    for (uint32_t i = 0; i < count; i++)
        if (values[i] != NULL)
            (void)pst_build_number(b, values[i], pst_build_printf(b, "`%s` of `%s`", key->names[i], key->name),
                                   key->min, key->max, &ret_numbers[i]);
}

static void digests_of_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                            struct pst_digests *ret_digests)
{
    const struct pst_yaml *values[NAMES_MAX];
    uint32_t count = named_take(b, key, value, values);
    for (uint32_t i = 0; i < count; i++)
        if (values[i] != NULL)
            digests_take(b, key, values[i], &ret_digests[i]);
}

static void value_take(struct pst_build *b, const struct pst_policy_key *key, const struct pst_yaml *value,
                       struct pst_attestation_policy *policy)
{
    void *at = (char *)policy + key->offset;
    switch (key->kind) {
    case PST_POLICY_NAMES:
        names_take(b, key, value, at);
        break;
    case PST_POLICY_DIGESTS:
        digests_take(b, key, value, at);
        break;
    case PST_POLICY_SWITCH:
        switch_take(b, key, value, at);
        break;
    case PST_POLICY_NUMBER:
        (void)pst_build_number(b, value, pst_build_printf(b, "`%s`", key->name), key->min, key->max, at);
        break;
    case PST_POLICY_NUMBERS:
        numbers_take(b, key, value, at);
        break;
    case PST_POLICY_DIGESTS_OF:
        digests_of_take(b, key, value, at);
        break;
    }
}

/* ---- the whole ---- */
static void policy_take(struct pst_build *b, struct pst_attestation_policy *policy)
{
    struct pst_build_key keys[KEYS_MAX + 1];
    const struct pst_yaml *values[KEYS_MAX + 1] = {NULL};
    struct pst_place start = {b->source, 1, 1, 1};
    uint32_t count = 0;
    int64_t version = 0;
    if (b->tree->kind != PST_YAML_MAP) {
        pst_build_error(b, &b->tree->place, "it begins with `" VERSION_KEY ": 1`",
                        "a policy is a mapping of keys to values");
        return;
    }
    for (; pst_policy_keys[count].name != NULL; count++) {
        PST_ASSERT(count < KEYS_MAX);
        keys[count] = (struct pst_build_key){pst_policy_keys[count].name, false, &values[count]};
    }
    keys[count] = (struct pst_build_key){VERSION_KEY, true, &values[count]};
    (void)pst_build_keys(b, b->tree, &start, "the policy", keys, count + 1);
    if (values[count] != NULL &&
        pst_build_number(b, values[count], "`" VERSION_KEY "`", INT64_MIN, INT64_MAX, &version) &&
        version != PST_POLICY_VERSION)
        pst_build_error(b, &values[count]->place, NULL, "this penstock reads version %d of the policy file, not %lld",
                        PST_POLICY_VERSION, (long long)version);
    for (uint32_t i = 0; i < count && b->rc == PST_OK; i++)
        if (values[i] != NULL)
            value_take(b, &pst_policy_keys[i], values[i], policy);
}

int pst_policy_parse(const char *name, const char *text, size_t text_bytes, struct pst_diagnostics *d,
                     struct pst_policy_file *ret_file)
{
    struct pst_graph scratch = {0}; /* for its arena: what is built lies in there */
    pst_arena_init(&scratch.arena);
    struct pst_build b = {
        .graph = &scratch, .words = &words, .d = d, .errors_before = d->item_count + d->left_out_count};
    pst_attestation_policy_init(&ret_file->policy);
    pst_build_tree(&b, name, text, text_bytes);
    if (b.tree != NULL)
        policy_take(&b, &ret_file->policy);
    pst_diagnostics_sort(d);
    ret_file->arena = scratch.arena;
    return b.rc != PST_OK ? b.rc : pst_build_error_count(&b) != 0 ? PST_EGRAPH : PST_OK;
}

void pst_policy_file_fini(struct pst_policy_file *file)
{
    pst_arena_fini(&file->arena);
    memset(file, 0, sizeof *file);
}
