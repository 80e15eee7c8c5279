/* tools/manual.c - the table of verbs as a man page (man(7) source) and as a completion of bash. */
#include "tools/inside.h"

#include "enclave_shim/attestation/evidence.h"

#include <string.h>

/* ---- man page ---- */

/* Text for roff: nothing in it is a request, an escape or a quote; `code` becomes bold. Newlines stay in literal text
 * only. */
static void roff_add(struct pst_text *roff, const char *text, size_t bytes, bool literal)
{
    bool line_begins = true, bold = false;
    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        if (line_begins && (c == '.' || c == '\''))
            pst_text_printf(roff, "\\&");
        line_begins = c == '\n';
        if (c == '`' && !literal) {
            bold = !bold;
            pst_text_printf(roff, "%s", bold ? "\\fB" : "\\fR");
        } else if (c == '\n' && !literal) {
            pst_text_add(roff, " ", 1);
        } else if (c == '\\') {
            pst_text_printf(roff, "\\e");
        } else if (c == '-') {
            pst_text_printf(roff, "\\-");
        } else if (c == '\'') {
            pst_text_printf(roff, "\\(aq");
        } else if (c == '"') {
            pst_text_printf(roff, "\\(dq");
        } else if (c == '`') {
            pst_text_printf(roff, "\\(ga");
        } else if (c == '^') {
            pst_text_printf(roff, "\\(ha");
        } else if (c == '~') {
            pst_text_printf(roff, "\\(ti");
        } else {
            pst_text_add(roff, &c, 1);
        }
    }
}

static void roff_text(struct pst_text *roff, const char *text) { roff_add(roff, text, strlen(text), false); }

static void roff_paragraphs(struct pst_text *roff, const char *text)
{
    size_t bytes = 0;
    bool literal = false;
    for (; (text = pst_paragraph_next(text, &bytes, &literal)) != NULL; text += bytes) {
        pst_text_printf(roff, literal ? ".PP\n.nf\n" : ".PP\n");
        roff_add(roff, text, bytes, literal);
        pst_text_printf(roff, literal ? "\n.fi\n" : "\n");
    }
}

static void roff_flag(struct pst_text *roff, const struct pst_flag *flag)
{
    pst_text_printf(roff, ".TP\n");
    if (flag->letter != 0)
        pst_text_printf(roff, "\\fB\\-%c\\fR, ", flag->letter);
    pst_text_printf(roff, "\\fB\\-\\-");
    roff_text(roff, flag->name);
    pst_text_printf(roff, "\\fR");
    if (flag->value != NULL) {
        pst_text_printf(roff, " \\fI");
        roff_text(roff, flag->value);
        pst_text_printf(roff, "\\fR");
    }
    pst_text_printf(roff, "\n");
    roff_text(roff, flag->help);
    pst_text_printf(roff, "%s\n", flag->many ? " May be given again." : "");
}

static void roff_verb(struct pst_text *roff, const struct pst_verb *verb)
{
    pst_text_printf(roff, ".SS penstock %s", verb->name);
    if (verb->operands[0] != '\0') {
        pst_text_printf(roff, " ");
        roff_text(roff, verb->operands);
    }
    pst_text_printf(roff, "\n");
    roff_text(roff, verb->summary);
    pst_text_printf(roff, "\n");
    roff_paragraphs(roff, verb->text);
    for (const struct pst_flag *flag = verb->flags; flag != NULL && flag->name != NULL; flag++)
        roff_flag(roff, flag);
}

static void roff_policy_key(struct pst_text *roff, const struct pst_policy_key *key)
{
    struct pst_text meaning = {0};
    pst_policy_key_meaning(key, &meaning);
    pst_text_printf(roff, ".TP\n\\fB");
    roff_text(roff, key->name);
    pst_text_printf(roff, "\\fR\n");
    roff_text(roff, meaning.bytes != NULL ? meaning.bytes : "");
    pst_text_printf(roff, "\n");
    pst_text_fini(&meaning);
}

static void roff_head(struct pst_text *roff)
{
    pst_text_printf(roff,
                    ".\\\" Made by `penstock help --man`.\n"
                    ".TH PENSTOCK 1 \"\" \"penstock %s\" \"User Commands\"\n"
                    ".SH NAME\npenstock \\- run graphs of stream operators over meter readings\n"
                    ".SH SYNOPSIS\n",
                    PST_VERSION);
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        const char *operands = pst_verbs[i]->operands;
        pst_text_printf(roff, "%s\\fBpenstock %s\\fR%s\\fI", i == 0 ? "" : ".br\n", pst_verbs[i]->name,
                        operands[0] != '\0' ? " " : "");
        roff_text(roff, operands);
        pst_text_printf(roff, "\\fR [\\fIflags\\fR]\n");
    }
    pst_text_printf(roff, ".br\n\\fBpenstock \\-\\-help\\fR | \\fB\\-\\-version\\fR\n");
}

static void roff_examples(struct pst_text *roff)
{
    pst_text_printf(roff, ".SH EXAMPLES\n.nf\n");
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        roff_add(roff, pst_verbs[i]->examples, strlen(pst_verbs[i]->examples), true);
        pst_text_printf(roff, "\n");
    }
    pst_text_printf(roff, ".fi\n");
}

void pst_manual_page(struct pst_text *roff)
{
    roff_head(roff);
    pst_text_printf(roff, ".SH DESCRIPTION\n");
    roff_text(
        roff,
        "Operands and flags stand behind the verb in any order. The value of a flag is the next word or stands behind "
        "`=`: `--flag value`, `--flag=value`. Behind `--` everything is an operand. Data goes to standard output, "
        "messages go to standard error.");
    pst_text_printf(roff, "\n.SH VERBS\n");
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++)
        roff_verb(roff, pst_verbs[i]);
    pst_text_printf(roff, ".SH FLAGS OF EVERY VERB\n");
    for (const struct pst_flag *flag = pst_flags_common; flag->name != NULL; flag++)
        roff_flag(roff, flag);
    for (const struct pst_topic *topic = pst_topics; topic->name != NULL; topic++) {
        if (topic->text == NULL)
            continue;
        const bool policy = strcmp(topic->name, "policy") == 0;
        pst_text_printf(roff, ".SH %s\n",
                        policy                               ? "POLICIES"
                        : strcmp(topic->name, "graphs") == 0 ? "GRAPHS"
                                                             : topic->name);
        roff_paragraphs(roff, topic->text);
        for (const struct pst_policy_key *key = pst_policy_keys; policy && key->name != NULL; key++)
            roff_policy_key(roff, key);
    }
    pst_text_printf(roff, ".SH EXIT STATUS\n");
#define X(name, number, sentence)               \
    pst_text_printf(roff, ".TP\n%d\n", number); \
    roff_text(roff, sentence);                  \
    pst_text_printf(roff, "\n");
    PST_EXIT_MAP(X)
#undef X
    pst_text_printf(roff, ".SH ENVIRONMENT\n.TP\nNO_COLOR\n");
    roff_text(roff, "Where it is set and not empty there are no colours, unless `--color always` is given.");
    pst_text_printf(roff, "\n.TP\nTERM\n");
    roff_text(roff, "Where it is `dumb` there are neither colours nor progress.");
    pst_text_printf(roff, "\n");
    roff_examples(roff);
}

/* ---- completion of bash ---- */

/* What this flag completes to, as shell code in a branch of `case`. */
static void bash_flag_branch(struct pst_text *bash, const char *verb, const struct pst_flag *flag)
{
    if (flag->value == NULL)
        return;
    pst_text_printf(bash, "    %s:--%s", verb, flag->name);
    if (flag->letter != 0)
        pst_text_printf(bash, " | %s:-%c", verb, flag->letter);
    if (flag->complete == NULL)
        pst_text_printf(bash, ") return ;;\n");
    else if (strcmp(flag->complete, "file") == 0)
        pst_text_printf(bash, ") _penstock_files -f ;;\n");
    else if (strcmp(flag->complete, "dir") == 0)
        pst_text_printf(bash, ") _penstock_files -d ;;\n");
    else
        pst_text_printf(bash, ") _penstock_words \"%s\" ;;\n", flag->complete);
}

static void bash_flag_values(struct pst_text *bash)
{
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        for (const struct pst_flag *flag = pst_verbs[i]->flags; flag != NULL && flag->name != NULL; flag++)
            bash_flag_branch(bash, pst_verbs[i]->name, flag);
    }
    for (const struct pst_flag *flag = pst_flags_common; flag->name != NULL; flag++)
        bash_flag_branch(bash, "*", flag);
}

static void bash_verb_names(struct pst_text *bash)
{
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++)
        pst_text_printf(bash, "%s%s", i == 0 ? "" : " ", pst_verbs[i]->name);
}

/* Every word that `help` takes: verbs, topics, the types of operators. */
static void bash_topics(struct pst_text *bash)
{
    bash_verb_names(bash);
    for (const struct pst_topic *topic = pst_topics; topic->name != NULL; topic++)
        pst_text_printf(bash, " %s", topic->name);
    for (uint32_t l = 0; l < pst_registry_all.list_count; l++) {
        for (const struct pst_operator *const *op = pst_registry_all.lists[l]; *op != NULL; op++)
            pst_text_printf(bash, " %s", (*op)->name);
    }
}

static void bash_flag_names(struct pst_text *bash, const struct pst_verb *verb)
{
    const struct pst_flag *flag;
    for (uint32_t i = 0; (flag = pst_verb_flag(verb, i)) != NULL; i++) {
        pst_text_printf(bash, "%s--%s", i == 0 ? "" : " ", flag->name);
        if (flag->letter != 0)
            pst_text_printf(bash, " -%c", flag->letter);
    }
}

static void bash_verbs(struct pst_text *bash)
{
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        const struct pst_verb *verb = pst_verbs[i];
        pst_text_printf(bash, "    %s)\n        flags=\"", verb->name);
        bash_flag_names(bash, verb);
        pst_text_printf(bash, "\"\n");
        if (strstr(verb->operands, "GRAPH") != NULL)
            pst_text_printf(bash, "        operands=graph\n");
        if (strstr(verb->operands, "TOPIC") != NULL) {
            pst_text_printf(bash, "        operands=\"");
            bash_topics(bash);
            pst_text_printf(bash, "\"\n");
        }
        pst_text_printf(bash, "        ;;\n");
    }
}

void pst_bash_completion(struct pst_text *bash)
{
    pst_text_printf(
        bash,
        "# Completion of bash for penstock, made by `penstock help --bash`: source it, or put it as `penstock` into\n"
        "# the folder that `pkg-config --variable=completionsdir bash-completion` prints.\n"
        "_penstock_words()\n"
        "{\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\")\n"
        "}\n"
        "_penstock_files()\n"
        "{\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$cur\")\n"
        "}\n"
        "_penstock_graphs()\n"
        "{\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    mapfile -t COMPREPLY < <(compgen -f -X '!*.yaml' -- \"$cur\"; compgen -f -X '!*.yml' -- \"$cur\"\n"
        "        compgen -d -- \"$cur\")\n"
        "}\n"
        "_penstock()\n"
        "{\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}\n"
        "    local flags='' operands='' i\n"
        "    COMPREPLY=()\n"
        "    if ((COMP_CWORD == 1)); then\n"
        "        _penstock_words \"");
    bash_verb_names(bash);
    pst_text_printf(bash, " --help --version\"\n"
                          "        return\n"
                          "    fi\n"
                          "    # bash makes three words of --flag=value\n"
                          "    if [[ $cur == = ]]; then\n"
                          "        cur=''\n"
                          "    elif [[ $prev == = ]]; then\n"
                          "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
                          "    fi\n"
                          "    case $verb in\n"
                          "    --help | -h) verb=help ;;\n"
                          "    --version) verb=version ;;\n"
                          "    esac\n"
                          "    case $verb in\n");
    bash_verbs(bash);
    pst_text_printf(bash, "    esac\n"
                          "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
                          "        if [[ ${COMP_WORDS[i]} == -- ]]; then\n"
                          "            flags='' prev=''\n"
                          "        fi\n"
                          "    done\n"
                          "    case $verb:$prev in\n");
    bash_flag_values(bash);
    pst_text_printf(bash, "    *)\n"
                          "        if [[ $cur == -* ]]; then\n"
                          "            _penstock_words \"$flags\"\n"
                          "        elif [[ $operands == graph ]]; then\n"
                          "            _penstock_graphs\n"
                          "        else\n"
                          "            _penstock_words \"$operands\"\n"
                          "        fi\n"
                          "        ;;\n"
                          "    esac\n"
                          "}\n"
                          "complete -F _penstock penstock\n");
}
