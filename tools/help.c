/* tools/help.c - `penstock help`: verbs, operators and topics as text for a terminal, and the table as JSON. */
#include "tools/inside.h"

#include "enclave_shim/attestation/evidence.h"

#include <string.h>

enum { HELP_WIDTH = 80, FLAG_COLUMN = 28, TOPIC_NAMES_MAX = 256 };

const struct pst_topic pst_topics[] = {
    {"operators", "the operators that a graph can use, with their parameters", NULL},
    {"graphs", "the graph file",
     "A graph is a YAML file (JSON is YAML, too) that names operators and says who reads whom. One operator is the "
     "source; "
     "sinks write files.\n\n"
     "    penstock: 1\n"
     "    name: warm\n"
     "    parameters: {watts: 100, partitions: 2}\n"
     "    operators:\n"
     "      - id: meters\n"
     "        type: csv_source\n"
     "        params: {file: meters.csv}\n"
     "      - id: loads\n"
     "        type: filter\n"
     "        inputs: [meters]\n"
     "        params: {where: [\"property == 1\", \"value > ${watts}\"]}\n"
     "      - id: by_house\n"
     "        type: aggregate\n"
     "        inputs: [loads]\n"
     "        key: [house_id]\n"
     "        partitions: ${partitions}\n"
     "        params: {window: 60, group: [house_id], aggregates: [\"avg(value) as load\"]}\n"
     "      - id: out\n"
     "        type: csv_sink\n"
     "        inputs: [by_house]\n"
     "        params: {file: warm.csv}\n\n"
     "`penstock: 1` is the version of the format. `inputs` names operators, or `id.output` where an operator has "
     "several "
     "outputs. `key` names the fields whose values decide which partition takes a row: rows of one key meet in one "
     "partition. "
     "`partitions` says how many instances of an operator work side by side (1 where nothing is said), `buckets` into "
     "how many "
     "pieces its keys and its state are divided (a power of two, 256 where nothing is said). `libraries` names shared "
     "objects "
     "with operators of your own. Results never depend on the number of partitions or workers.\n\n"
     "`bucket_by: [house_id]` names the first fields of a longer `key` that alone decide on the bucket, and so on the "
     "partition: all keys "
     "that agree in them stay together. Where operators that read from each other are divided by the same fields into "
     "as many buckets, rows between them need not leave their node, and `penstock rebalance --by-source` finds the "
     "node for each bucket where most of its rows come from.\n\n"
     "`autoscale: {target: 70, max: 8}` of an operator with a key lets a cluster change its number of partitions: "
     "`target` "
     "percent of their time they shall be busy, give or take `band` (10), with `min` (1) to `max` of them, and no "
     "change "
     "for `grace` seconds (60) after the last move ended. `mode` is `on`, `off`, or `dry-run`: then the coordinator's "
     "log "
     "says what would be done. Without `autoscale` nothing scales by itself, and `penstock run` never does.\n\n"
     "`replicas: 2` of an operator with state keeps on a cluster a copy of each partition on another node, which goes "
     "on when that node, "
     "or the worker of an enclave there, dies, without anything being started again. It stays while the whole "
     "partition moves; where a part of one moves, "
     "or partitions are joined, "
     "it goes, and is made anew when nothing is left to move.\n\n"
     "`enclave: true` of an operator that is no source and no sink runs it in enclaves, one for each partition, with "
     "`epc` (93.5MiB) of "
     "locked "
     "memory each; results are the same bytes. `penstock run --enclave` and `--epc` say it for one run, `penstock "
     "doctor` "
     "what this machine has for it.\n\n"
     "`${name}` stands for a value from `parameters`, where its standard value is given; `--set name=value` gives "
     "another one. "
     "A list is given with commas: `--set windows=3600,86400`.\n\n"
     "`penstock check` names every error of a graph with its place. `penstock help operators` lists what `type` can "
     "be."},
    {"policy", "the policy file of penstock attest",
     "A policy is a YAML file that says which evidence `penstock attest verify` accepts. Whatever it says, evidence is "
     "genuine "
     "first: signatures, chains of certificates and what is revoked are no matters of policy.\n\n"
     "    penstock_policy: 1\n"
     "    backends: [snp, tdx]\n"
     "    measurements: # the old and the new one, while an update is under way\n"
     "      - 3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c\n"
     "      - 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n"
     "    minimum_tcb: {bootloader: 4, snp: 22, microcode: 213}\n"
     "    tcb_statuses: [UpToDate, SWHardeningNeeded]\n\n"
     "`penstock_policy: 1` is the version of the format, and the only key that has to be there."},
    {"exit-codes", "the exit codes and what they mean", NULL},
    {NULL, NULL, NULL},
};

/* ---- small parts, used by the man page too ---- */

const char *pst_paragraph_next(const char *text, size_t *ret_bytes, bool *ret_literal)
{
    while (*text == '\n')
        text++;
    if (*text == '\0')
        return NULL;
    const char *end = strstr(text, "\n\n");
    *ret_bytes = end != NULL ? (size_t)(end - text) : strlen(text);
    *ret_literal = *text == ' ';
    return text;
}

void pst_flag_spelling(const struct pst_flag *flag, struct pst_text *text)
{
    if (flag->letter != 0)
        pst_text_printf(text, "-%c, ", flag->letter);
    pst_text_printf(text, "--%s", flag->name);
    if (flag->value != NULL)
        pst_text_printf(text, " %s", flag->value);
}

const char *pst_param_kind_name(pst_param_kind kind)
{
    switch (kind) {
    case PST_PARAM_INT:
        return "a whole number";
    case PST_PARAM_INTS:
        return "a list of whole numbers";
    case PST_PARAM_TEXT:
        return "a text";
    case PST_PARAM_TEXTS:
        return "a list of texts";
    }
    return "a value";
}

const char *pst_role_name(pst_role role)
{
    switch (role) {
    case PST_ROLE_PLAIN:
        return "plain";
    case PST_ROLE_SOURCE:
        return "source";
    case PST_ROLE_SINK:
        return "sink";
    case PST_ROLE_STATELESS:
        return "stateless";
    }
    return "unknown";
}

/* ---- text for a terminal ---- */

struct page {
    struct pst_text text;
    bool colour;
};

static void heading(struct page *page, const char *title)
{
    pst_text_printf(&page->text, "%s%s%s%s\n", page->text.count > 0 ? "\n" : "", page->colour ? "\033[1m" : "", title,
                    page->colour ? "\033[0m" : "");
}

/* Characters, not bytes: texts of operators may be UTF-8. */
static size_t characters(const char *word, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)word[i] & 0xc0) != 0x80;
    return count;
}

void pst_words_fill(struct pst_text *text, size_t column, size_t indent, const char *words, size_t bytes)
{
    bool begun = false;
    for (size_t i = 0; i < bytes;) {
        size_t word_bytes = 0;
        while (i + word_bytes < bytes && strchr(" \n", words[i + word_bytes]) == NULL)
            word_bytes++;
        if (word_bytes == 0) {
            i++;
            continue;
        }
        const size_t width = characters(words + i, word_bytes);
        if (begun && column + 1 + width > HELP_WIDTH) {
            pst_text_printf(text, "\n%*s", (int)indent, "");
            column = indent;
        } else if (begun) {
            pst_text_add(text, " ", 1);
            column++;
        }
        pst_text_add(text, words + i, word_bytes);
        column += width;
        i += word_bytes;
        begun = true;
    }
    pst_text_add(text, "\n", 1);
}

static void paragraphs(struct page *page, const char *text)
{
    size_t bytes = 0;
    bool literal = false;
    for (bool first = true; (text = pst_paragraph_next(text, &bytes, &literal)) != NULL; text += bytes, first = false) {
        if (!first)
            pst_text_add(&page->text, "\n", 1);
        if (literal)
            pst_text_printf(&page->text, "%.*s\n", (int)bytes, text);
        else
            pst_words_fill(&page->text, 0, 0, text, bytes);
    }
}

/* Two columns: a term, and what it means. A term that is too long has a line of its own. */
static void term(struct page *page, const char *word, const char *meaning)
{
    const size_t used = 2 + strlen(word);
    pst_text_printf(&page->text, "  %s", word);
    if (used + 2 > FLAG_COLUMN)
        pst_text_printf(&page->text, "\n%*s", FLAG_COLUMN, "");
    else
        pst_text_printf(&page->text, "%*s", (int)(FLAG_COLUMN - used), "");
    pst_words_fill(&page->text, FLAG_COLUMN, FLAG_COLUMN, meaning, strlen(meaning));
}

static void flag_terms(struct page *page, const struct pst_verb *verb)
{
    const struct pst_flag *flag;
    for (uint32_t i = 0; (flag = pst_verb_flag(verb, i)) != NULL; i++) {
        struct pst_text spelling = {0};
        pst_flag_spelling(flag, &spelling);
        struct pst_text meaning = {0};
        pst_text_printf(&meaning, "%s%s", flag->help, flag->many ? " May be given again." : "");
        term(page, spelling.bytes != NULL ? spelling.bytes : "", meaning.bytes != NULL ? meaning.bytes : "");
        pst_text_fini(&spelling);
        pst_text_fini(&meaning);
    }
}

static void exit_code_terms(struct page *page)
{
#define X(name, number, sentence) term(page, #number, sentence);
    PST_EXIT_MAP(X)
#undef X
}

static void verb_page(struct page *page, const struct pst_verb *verb)
{
    pst_text_printf(&page->text, "%s\n", verb->summary);
    heading(page, "Usage:");
    pst_text_printf(&page->text, "  penstock %s%s%s [flags]\n", verb->name, verb->operands[0] != '\0' ? " " : "",
                    verb->operands);
    heading(page, "Examples:");
    for (const char *line = verb->examples; *line != '\0';) {
        const size_t bytes = strcspn(line, "\n");
        pst_text_printf(&page->text, "  %.*s\n", (int)bytes, line);
        line += bytes + (line[bytes] == '\n');
    }
    heading(page, "Flags:");
    flag_terms(page, verb);
    pst_text_add(&page->text, "\n", 1);
    paragraphs(page, verb->text);
    heading(page, "Exit codes:");
    exit_code_terms(page);
}

void pst_policy_key_meaning(const struct pst_policy_key *key, struct pst_text *text)
{
    pst_text_printf(text, "%s (", key->help);
    if (key->kind == PST_POLICY_NAMES)
        pst_text_printf(text, "a list of ");
    else if (key->kind == PST_POLICY_NUMBERS)
        pst_text_printf(text, "%lld to %lld for each of ", (long long)key->min, (long long)key->max);
    else if (key->kind == PST_POLICY_DIGESTS_OF)
        pst_text_printf(text, "a list of hexadecimal digits, of %d bytes, for each of ", (int)key->max);
    else if (key->kind == PST_POLICY_NUMBER)
        pst_text_printf(text, "%lld to %lld", (long long)key->min, (long long)key->max);
    else
        pst_text_printf(text, "%s", key->kind == PST_POLICY_SWITCH ? "true or false" : "a list of hexadecimal digits");
    if (key->kind == PST_POLICY_DIGESTS)
        pst_text_printf(text, key->min != key->max ? ", of %d or %d bytes" : ", of %d bytes", (int)key->min,
                        (int)key->max);
    for (uint32_t i = 0; key->names != NULL && key->names[i] != NULL; i++)
        pst_text_printf(text, "%s%s", i == 0 ? "" : ", ", key->names[i]);
    pst_text_printf(text, "; ");
    (void)pst_policy_standard_print(key, text);
    pst_text_printf(text, " where nothing is said)");
}

static void policy_page(struct page *page, const char *text)
{
    paragraphs(page, text);
    heading(page, "Keys:");
    for (const struct pst_policy_key *key = pst_policy_keys; key->name != NULL; key++) {
        struct pst_text meaning = {0};
        pst_policy_key_meaning(key, &meaning);
        term(page, key->name, meaning.bytes != NULL ? meaning.bytes : "");
        pst_text_fini(&meaning);
    }
}

static void overview_page(struct page *page)
{
    pst_text_printf(&page->text, "penstock runs graphs of stream operators over meter readings.\n");
    heading(page, "Usage:");
    pst_text_printf(&page->text, "  penstock VERB [operands and flags, in any order]\n");
    heading(page, "Examples:");
    pst_text_printf(&page->text, "  penstock check debs14/load.yaml\n"
                                 "  penstock run debs14/load.yaml --input meters.csv --output results\n");
    heading(page, "Verbs:");
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++)
        term(page, pst_verbs[i]->name, pst_verbs[i]->summary);
    heading(page, "Every verb has:");
    for (const struct pst_flag *flag = pst_flags_common; flag->name != NULL; flag++) {
        struct pst_text spelling = {0};
        pst_flag_spelling(flag, &spelling);
        term(page, spelling.bytes != NULL ? spelling.bytes : "", flag->help);
        pst_text_fini(&spelling);
    }
    heading(page, "More help:");
    term(page, "penstock help VERB", "usage, flags and examples of a verb");
    for (const struct pst_topic *topic = pst_topics; topic->name != NULL; topic++) {
        struct pst_text word = {0};
        pst_text_printf(&word, "penstock help %s", topic->name);
        term(page, word.bytes != NULL ? word.bytes : "", topic->title);
        pst_text_fini(&word);
    }
    term(page, "penstock help TYPE", "one operator");
}

static void param_term(struct page *page, const struct pst_param *param)
{
    struct pst_text meaning = {0};
    pst_text_printf(&meaning, "%s (%s", param->help != NULL ? param->help : "", pst_param_kind_name(param->kind));
    if (param->value_min != 0 || param->value_max != 0)
        pst_text_printf(&meaning, ", %lld to %lld", (long long)param->value_min, (long long)param->value_max);
    if (param->required)
        pst_text_printf(&meaning, "; must be given)");
    else if (param->standard != NULL && param->standard[0] != '\0')
        pst_text_printf(&meaning, "; %s where nothing is said)", param->standard);
    else
        pst_text_printf(&meaning, "; may be left out)");
    term(page, param->name, meaning.bytes != NULL ? meaning.bytes : "");
    pst_text_fini(&meaning);
}

static void operator_part(struct page *page, const struct pst_operator *op)
{
    heading(page, op->name);
    pst_text_printf(&page->text, "  ");
    pst_words_fill(&page->text, 2, 2, op->summary != NULL ? op->summary : "",
                   op->summary != NULL ? strlen(op->summary) : 0);
    pst_text_printf(&page->text, "  %s, %u input%s, ", pst_role_name(op->role), op->input_count,
                    op->input_count == 1 ? "" : "s");
    pst_text_printf(&page->text, "%u output%s", op->output_count, op->output_count == 1 ? "" : "s");
    for (uint32_t i = 0; op->output_names != NULL && i < op->output_count; i++)
        pst_text_printf(&page->text, "%s%s", i == 0 ? ": " : ", ", op->output_names[i]);
    pst_text_printf(&page->text, "\n");
    for (uint32_t i = 0; i < op->param_count; i++)
        param_term(page, &op->params[i]);
}

/* ---- what a topic names ---- */

struct selection {
    const char *topic; /* as asked for; NULL: all verbs */
    const struct pst_verb *verb;
    const struct pst_operator *op;
    bool verbs, operators, exit_codes;
};

static const struct pst_operator *operator_at(uint32_t index)
{
    uint32_t seen = 0;
    for (uint32_t l = 0; l < pst_registry_all.list_count; l++) {
        for (const struct pst_operator *const *op = pst_registry_all.lists[l]; *op != NULL; op++) {
            if (seen++ == index)
                return *op;
        }
    }
    return NULL;
}

static const struct pst_operator *operator_find(const char *name)
{
    const struct pst_operator *op;
    for (uint32_t i = 0; (op = operator_at(i)) != NULL; i++) {
        if (strcmp(op->name, name) == 0)
            return op;
    }
    return NULL;
}

static const struct pst_topic *topic_find(const char *name)
{
    for (const struct pst_topic *topic = pst_topics; topic->name != NULL; topic++) {
        if (strcmp(topic->name, name) == 0)
            return topic;
    }
    return NULL;
}

static void operators_page(struct page *page)
{
    const struct pst_operator *op;
    pst_text_printf(&page->text, "What `type` can be in a graph. A graph can name shared objects with more of them.\n");
    for (uint32_t i = 0; (op = operator_at(i)) != NULL; i++)
        operator_part(page, op);
}

static void topic_fill(struct page *page, const struct pst_topic *topic, struct selection *selection)
{
    selection->operators = strcmp(topic->name, "operators") == 0;
    selection->exit_codes = strcmp(topic->name, "exit-codes") == 0;
    if (selection->operators)
        operators_page(page);
    else if (selection->exit_codes)
        exit_code_terms(page);
    else if (strcmp(topic->name, "policy") == 0)
        policy_page(page, topic->text);
    else
        paragraphs(page, topic->text);
}

/* Makes the text of what `name` names; false: nothing does. */
static bool page_fill(struct page *page, const char *name, struct selection *selection)
{
    *selection = (struct selection){.topic = name, .verbs = name == NULL};
    const struct pst_topic *topic = name != NULL ? topic_find(name) : NULL;
    selection->verb = name != NULL ? pst_verb_find(name) : NULL;
    selection->op = name != NULL && selection->verb == NULL && topic == NULL ? operator_find(name) : NULL;
    if (name == NULL)
        overview_page(page);
    else if (selection->verb != NULL)
        verb_page(page, selection->verb);
    else if (topic != NULL)
        topic_fill(page, topic, selection);
    else if (selection->op != NULL)
        operator_part(page, selection->op);
    else
        return false;
    return true;
}

static int topic_unknown(const struct pst_call *call, const char *name)
{
    const char *names[TOPIC_NAMES_MAX];
    size_t count = 0;
    for (uint32_t i = 0; pst_verbs[i] != NULL && count < TOPIC_NAMES_MAX; i++)
        names[count++] = pst_verbs[i]->name;
    for (uint32_t i = 0; pst_topics[i].name != NULL && count < TOPIC_NAMES_MAX; i++)
        names[count++] = pst_topics[i].name;
    const struct pst_operator *op;
    for (uint32_t i = 0; (op = operator_at(i)) != NULL && count < TOPIC_NAMES_MAX; i++)
        names[count++] = op->name;
    const char *nearest = pst_nearest(name, names, count);
    if (nearest != NULL)
        pst_complain(call, PST_EXIT_USAGE, "no help on `%s`: did you mean `%s`?", name, nearest);
    else
        pst_complain(call, PST_EXIT_USAGE,
                     "no help on `%s`: there is help on verbs, operators, graphs, policy and exit-codes", name);
    return PST_EXIT_USAGE;
}

/* ---- JSON ---- */

static void flag_json(struct pst_text *json, const struct pst_flag *flag)
{
    const char letter[2] = {flag->letter, '\0'};
    pst_text_printf(json, "{\"name\":");
    pst_text_json(json, flag->name);
    pst_text_printf(json, ",\"letter\":");
    pst_text_json(json, flag->letter != 0 ? letter : NULL);
    pst_text_printf(json, ",\"value\":");
    pst_text_json(json, flag->value);
    pst_text_printf(json, ",\"many\":%s,\"help\":", flag->many ? "true" : "false");
    pst_text_json(json, flag->help);
    pst_text_printf(json, "}");
}

static void verb_json(struct pst_text *json, const struct pst_verb *verb)
{
    const struct pst_flag *flag;
    pst_text_printf(json, "{\"name\":");
    pst_text_json(json, verb->name);
    pst_text_printf(json, ",\"operands\":");
    pst_text_json(json, verb->operands);
    pst_text_printf(json, ",\"summary\":");
    pst_text_json(json, verb->summary);
    pst_text_printf(json, ",\"flags\":[");
    for (uint32_t i = 0; (flag = pst_verb_flag(verb, i)) != NULL; i++) {
        pst_text_printf(json, "%s", i == 0 ? "" : ",");
        flag_json(json, flag);
    }
    pst_text_printf(json, "]}");
}

static void param_json(struct pst_text *json, const struct pst_param *param)
{
    pst_text_printf(json, "{\"name\":");
    pst_text_json(json, param->name);
    pst_text_printf(json, ",\"kind\":");
    pst_text_json(json, pst_param_kind_name(param->kind));
    pst_text_printf(json, ",\"required\":%s,\"standard\":", param->required ? "true" : "false");
    pst_text_json(json, param->standard);
    const bool bounded = param->value_min != 0 || param->value_max != 0;
    if (bounded)
        pst_text_printf(json, ",\"min\":%lld,\"max\":%lld", (long long)param->value_min, (long long)param->value_max);
    else
        pst_text_printf(json, ",\"min\":null,\"max\":null");
    pst_text_printf(json, ",\"help\":");
    pst_text_json(json, param->help);
    pst_text_printf(json, "}");
}

static void operator_json(struct pst_text *json, const struct pst_operator *op)
{
    pst_text_printf(json, "{\"type\":");
    pst_text_json(json, op->name);
    pst_text_printf(json, ",\"summary\":");
    pst_text_json(json, op->summary);
    pst_text_printf(json, ",\"role\":\"%s\",\"inputs\":%u,\"outputs\":%u,\"params\":[", pst_role_name(op->role),
                    op->input_count, op->output_count);
    for (uint32_t i = 0; i < op->param_count; i++) {
        pst_text_printf(json, "%s", i == 0 ? "" : ",");
        param_json(json, &op->params[i]);
    }
    pst_text_printf(json, "]}");
}

static void operators_json(struct pst_text *json, const struct selection *selection)
{
    const struct pst_operator *op;
    bool first = true;
    for (uint32_t i = 0; (op = operator_at(i)) != NULL; i++) {
        if (!selection->operators && op != selection->op)
            continue;
        pst_text_printf(json, "%s", first ? "" : ",");
        operator_json(json, op);
        first = false;
    }
}

/* One shape whatever is asked for: the text, and of each table what belongs to the topic. */
static void help_json(struct pst_text *json, const struct selection *selection, const char *text)
{
    pst_text_printf(json, "{\"schema_version\":%d,\"topic\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(json, selection->topic);
    pst_text_printf(json, ",\"text\":");
    pst_text_json(json, text);
    pst_text_printf(json, ",\"verbs\":[");
    bool first = true;
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        if (!selection->verbs && pst_verbs[i] != selection->verb)
            continue;
        pst_text_printf(json, "%s", first ? "" : ",");
        verb_json(json, pst_verbs[i]);
        first = false;
    }
    pst_text_printf(json, "],\"operators\":[");
    operators_json(json, selection);
    pst_text_printf(json, "],\"exit_codes\":[");
    if (selection->exit_codes) {
        first = true;
#define X(name, number, sentence)                                                                    \
    pst_text_printf(json, "%s{\"code\":%d,\"meaning\":\"%s\"}", first ? "" : ",", number, sentence); \
    first = false;
        PST_EXIT_MAP(X)
#undef X
    }
    pst_text_printf(json, "]}\n");
}

/* ---- the verb ---- */

static int page_show(const struct pst_call *call, struct page *page, const struct selection *selection)
{
    if (!call->json)
        return pst_text_show(call, &page->text);
    struct pst_text json = {0};
    help_json(&json, selection, page->text.bytes);
    json.failed |= page->text.failed;
    pst_text_fini(&page->text);
    return pst_text_show(call, &json);
}

int pst_help_show(const struct pst_call *call, const struct pst_verb *verb)
{
    struct page page = {.colour = call->colour_out && !call->json};
    struct selection selection;
    (void)page_fill(&page, verb->name, &selection);
    return page_show(call, &page, &selection);
}

static int help_run(const struct pst_call *call)
{
    struct page page = {.colour = call->colour_out && !call->json};
    struct selection selection = {0};
    const char *topic = call->operand_count > 0 ? call->operands[0] : NULL;
    const bool man = pst_call_flag(call, "man") != NULL, bash = pst_call_flag(call, "bash") != NULL;
    if ((man && bash) || ((man || bash) && topic != NULL)) {
        pst_complain(call, PST_EXIT_USAGE, "--man, --bash and %s exclude one another",
                     topic != NULL ? topic : "a topic");
        return PST_EXIT_USAGE;
    }
    if (man)
        pst_manual_page(&page.text);
    else if (bash)
        pst_bash_completion(&page.text);
    else if (!page_fill(&page, topic, &selection))
        return topic_unknown(call, topic);
    return page_show(call, &page, &selection);
}

static const struct pst_flag help_flags[] = {
    {"man", 0, NULL, false, "Print the man page, in man(7) source, for penstock.1.", NULL},
    {"bash", 0, NULL, false, "Print the completion of bash.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_help = {
    .name = "help",
    .operands = "[TOPIC]",
    .operand_count_max = 1,
    .summary = "Explain a verb, an operator, graphs, policies or exit codes.",
    .text = "TOPIC is a verb, the type of an operator, or one of `operators`, `graphs`, `policy` and `exit-codes`. "
            "Without it "
            "the verbs "
            "are listed. Help, man page and completion come from the same table that the command line is parsed by.",
    .examples = "penstock help run\n"
                "penstock help operators\n"
                "penstock help --man >penstock.1\n"
                "source <(penstock help --bash)",
    .flags = help_flags,
    .run = help_run,
};
