/* tools/cli.c - the grammar of the command line: words to a struct pst_call, and the messages when they do not fit.
 *
 * Every message of a wrong command line names the word, says what was wanted, and proposes the nearest right word. The
 * whole line is parsed before the first error is shown, so that --json is obeyed wherever it stands. */
#include "tools/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_NAMES_MAX = 64 };

const struct pst_flag pst_flags_common[] = {
    {"json", 0, NULL, false, "Print the answer as one JSON object on standard output.", NULL},
    {"quiet", 'q', NULL, false, "Print errors alone: no progress, no summary.", NULL},
    {"color", 0, "WHEN", false, "Colours: auto (on a terminal, unless NO_COLOR is set), always or never.",
     "auto always never"},
    {"help", 'h', NULL, false, "Show this help.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

/* ---- the table ---- */

const struct pst_flag *pst_verb_flag(const struct pst_verb *verb, uint32_t index)
{
    uint32_t own_count = 0;
    while (verb->flags != NULL && verb->flags[own_count].name != NULL)
        own_count++;
    if (index < own_count)
        return &verb->flags[index];
    const struct pst_flag *common = pst_flags_common;
    for (uint32_t i = own_count; common->name != NULL; i++, common++) {
        if (i == index)
            return common;
    }
    return NULL;
}

const struct pst_flag *pst_verb_flag_find(const struct pst_verb *verb, const char *name, size_t name_bytes)
{
    const struct pst_flag *flag;
    for (uint32_t i = 0; (flag = pst_verb_flag(verb, i)) != NULL; i++) {
        if (strlen(flag->name) == name_bytes && memcmp(flag->name, name, name_bytes) == 0)
            return flag;
    }
    return NULL;
}

static const struct pst_flag *flag_by_letter(const struct pst_verb *verb, char letter)
{
    const struct pst_flag *flag;
    for (uint32_t i = 0; (flag = pst_verb_flag(verb, i)) != NULL; i++) {
        if (flag->letter == letter)
            return flag;
    }
    return NULL;
}

const struct pst_verb *pst_verb_find(const char *name)
{
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        if (strcmp(pst_verbs[i]->name, name) == 0)
            return pst_verbs[i];
    }
    return NULL;
}

/* ---- messages ---- */

void pst_json_error(struct pst_text *json, int exit_code, const char *text)
{
    if (text == NULL) {
        pst_text_printf(json, "\"error\":null");
        return;
    }
    pst_text_printf(json, "\"error\":{\"exit_code\":%d,\"text\":", exit_code);
    pst_text_json(json, text);
    pst_text_printf(json, "}");
}

static int print_errno;

void pst_print(const char *bytes, size_t count)
{
    errno = 0;
    if (fwrite(bytes, 1, count, stdout) != count && print_errno == 0)
        print_errno = errno;
}

int pst_print_errno(void) { return print_errno; }

bool pst_fd_write(int fd, const char *bytes, size_t count)
{
    while (count != 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

void pst_complain_text(const struct pst_call *call, int exit_code, const char *text)
{
    fflush(stdout);
    const bool colour = call != NULL && call->colour_err;
    fprintf(stderr, "penstock: %serror:%s %s\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "", text);
    if (exit_code != PST_EXIT_USAGE)
        return;
    if (call != NULL && call->verb != NULL)
        fprintf(stderr, "usage: penstock %s%s%s [flags]; `penstock help %s` says more\n", call->verb->name,
                call->verb->operands[0] != '\0' ? " " : "", call->verb->operands, call->verb->name);
    else
        fprintf(stderr, "usage: penstock VERB [operands and flags]; `penstock help` says more\n");
}

void pst_complain(const struct pst_call *call, int exit_code, const char *format, ...)
{
    struct pst_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    pst_text_vprintf(&text, format, arguments);
    va_end(arguments);
    const char *sentence = text.bytes != NULL ? text.bytes : "out of memory";
    pst_complain_text(call, exit_code, sentence);
    if (call != NULL && call->json) {
        struct pst_text json = {0};
        pst_text_printf(&json, "{\"schema_version\":%d,", PST_JSON_SCHEMA_VERSION);
        pst_json_error(&json, exit_code, sentence);
        pst_text_printf(&json, "}\n");
        if (!json.failed)
            pst_print(json.bytes, json.count);
        pst_text_fini(&json);
    }
    pst_text_fini(&text);
}

void pst_note(const struct pst_call *call, const char *format, ...)
{
    if (call->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int pst_text_show(const struct pst_call *call, struct pst_text *text)
{
    int exit_code = PST_EXIT_OK;
    if (text->failed) {
        pst_complain_text(call, PST_EXIT_FAILED, pst_error_sentence(PST_ENOMEM));
        exit_code = PST_EXIT_FAILED;
    } else if (text->count > 0) {
        pst_print(text->bytes, text->count);
    }
    pst_text_fini(text);
    return exit_code;
}

int pst_exit_of_error(int error)
{
    switch (error) {
    case PST_OK:
        return PST_EXIT_OK;
    case PST_EDATA:
    case PST_ERANGE: /* an operator's: numbers of the input that add up to more than it can hold */
        return PST_EXIT_DATA;
    case PST_EIO:
    case PST_ENOENT:
        return PST_EXIT_IO;
    case PST_ETIMEOUT:
        return PST_EXIT_TIMEOUT;
    case PST_EREFUSED:
        return PST_EXIT_REFUSED;
    case PST_EGRAPH:
    case PST_EINVAL:
    case PST_EABI:
        return PST_EXIT_CONFIG;
    default:
        return PST_EXIT_FAILED;
    }
}

/* ---- reading a parsed call ---- */

const char *pst_call_flag(const struct pst_call *call, const char *name)
{
    for (uint32_t i = call->flag_count; i > 0; i--) {
        if (strcmp(call->flags[i - 1].flag->name, name) == 0)
            return call->flags[i - 1].value;
    }
    return NULL;
}

bool pst_node_name_is_good(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes < PST_PEER_BYTES && strspn(name, letters) == bytes && name[0] != '.';
}

bool pst_call_number(const struct pst_call *call, const char *name, uint64_t min, uint64_t max, uint64_t fallback,
                     uint64_t *ret_value)
{
    const char *word = pst_call_flag(call, name);
    uint64_t value = fallback;
    if (word != NULL && (pst_parse_u64(word, &value) != PST_OK || value < min || value > max)) {
        if (max == UINT64_MAX)
            pst_complain(call, PST_EXIT_USAGE, "--%s `%s`: a whole number of at least %llu is wanted", name, word,
                         (unsigned long long)min);
        else
            pst_complain(call, PST_EXIT_USAGE, "--%s `%s`: a whole number from %llu to %llu is wanted", name, word,
                         (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *ret_value = value;
    return true;
}

/* ---- parsing ---- */

struct parser {
    struct pst_call *call;
    const char **words;
    uint32_t word_count, word_index;
    struct pst_text error; /* the first one */
    bool failed, flags_ended;
};

static void parser_fail(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void parser_fail(struct parser *p, const char *format, ...)
{
    if (p->failed)
        return;
    p->failed = true;
    va_list arguments;
    va_start(arguments, format);
    pst_text_vprintf(&p->error, format, arguments);
    va_end(arguments);
}

static const char *flag_nearest(const struct pst_verb *verb, const char *word)
{
    const char *names[FLAG_NAMES_MAX];
    uint32_t name_count = 0;
    const struct pst_flag *flag;
    while (name_count < FLAG_NAMES_MAX && (flag = pst_verb_flag(verb, name_count)) != NULL)
        names[name_count++] = flag->name;
    return pst_nearest(word, names, name_count);
}

static const struct pst_verb *verb_that_has(const char *name, size_t name_bytes)
{
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++) {
        if (pst_verb_flag_find(pst_verbs[i], name, name_bytes) != NULL)
            return pst_verbs[i];
    }
    return NULL;
}

/* `word` as the user wrote it, without its value; `name` the part behind the dashes. */
static void flag_unknown(struct parser *p, const char *word, int word_bytes, const char *name)
{
    const struct pst_verb *verb = p->call->verb;
    const struct pst_verb *other = verb_that_has(name, strlen(name));
    const char *nearest = other == NULL ? flag_nearest(verb, name) : NULL;
    if (pst_verb_flag_find(verb, name, strlen(name)) != NULL)
        parser_fail(p, "unknown flag `%.*s`: did you mean `--%s`?", word_bytes, word, name);
    else if (other != NULL)
        parser_fail(p, "unknown flag `%.*s`: it belongs to `penstock %s`, not to `penstock %s`", word_bytes, word,
                    other->name, verb->name);
    else if (nearest != NULL)
        parser_fail(p, "unknown flag `%.*s`: did you mean `--%s`?", word_bytes, word, nearest);
    else
        parser_fail(p, "unknown flag `%.*s`: `penstock help %s` lists those there are", word_bytes, word, verb->name);
}

/* Is `word` a flag of this verb? Then it is hardly meant as the value of the flag before it. */
static bool is_flag(const struct pst_verb *verb, const char *word)
{
    if (strcmp(word, "--") == 0)
        return true;
    if (word[0] == '-' && word[1] == '-')
        return pst_verb_flag_find(verb, word + 2, strcspn(word + 2, "=")) != NULL;
    return word[0] == '-' && word[1] != '\0' && word[2] == '\0' && flag_by_letter(verb, word[1]) != NULL;
}

/* The value of a flag that takes one, behind its '=' or in the next word. NULL: none, an error is noted. */
static const char *flag_value(struct parser *p, const struct pst_flag *flag, const char *attached)
{
    const char *value = attached;
    const char *next = p->word_index < p->word_count ? p->words[p->word_index] : NULL;
    if (value == NULL && next != NULL && is_flag(p->call->verb, next)) {
        parser_fail(p, "--%s needs a value (%s), but the flag `%s` follows", flag->name, flag->value, next);
        return NULL;
    }
    if (value == NULL && next != NULL) {
        value = next;
        p->word_index++;
    }
    if (value == NULL || value[0] == '\0') {
        parser_fail(p, "--%s needs a value: --%s %s", flag->name, flag->name, flag->value);
        return NULL;
    }
    return value;
}

static void flag_take(struct parser *p, const struct pst_flag *flag, const char *attached)
{
    struct pst_call *call = p->call;
    const char *value = "";
    if (flag->value != NULL) {
        value = flag_value(p, flag, attached);
        if (value == NULL)
            return;
    } else if (attached != NULL) {
        parser_fail(p, "--%s takes no value, but `%s` was given", flag->name, attached);
        return;
    }
    if (!flag->many && pst_call_flag(call, flag->name) != NULL) {
        parser_fail(p, "--%s is given twice", flag->name);
        return;
    }
    call->flags[call->flag_count].flag = flag;
    call->flags[call->flag_count].value = value;
    call->flag_count++;
}

static void long_flag_parse(struct parser *p, const char *word)
{
    const char *name = word + 2;
    const size_t name_bytes = strcspn(name, "=");
    const struct pst_flag *flag = pst_verb_flag_find(p->call->verb, name, name_bytes);
    if (flag != NULL) {
        flag_take(p, flag, name[name_bytes] == '=' ? name + name_bytes + 1 : NULL);
        return;
    }
    struct pst_text bare = {0};
    pst_text_add(&bare, name, name_bytes);
    flag_unknown(p, word, (int)name_bytes + 2, bare.bytes != NULL ? bare.bytes : "");
    pst_text_fini(&bare);
}

static void letter_flag_parse(struct parser *p, const char *word)
{
    const struct pst_flag *flag = flag_by_letter(p->call->verb, word[1]);
    if (flag != NULL && word[2] == '\0')
        flag_take(p, flag, NULL);
    else if (pst_verb_flag_find(p->call->verb, word + 1, strcspn(word + 1, "=")) != NULL)
        parser_fail(p, "unknown flag `%s`: did you mean `-%s`?", word, word);
    else if (flag != NULL && flag->value != NULL)
        parser_fail(p, "unknown flag `%s`: the value stands apart: `-%c %s`", word, word[1], word + 2);
    else if (flag != NULL)
        parser_fail(p, "unknown flag `%s`: each letter stands alone: `-%c`", word, word[1]);
    else
        flag_unknown(p, word, (int)strlen(word), word + 1);
}

static void words_parse(struct parser *p)
{
    struct pst_call *call = p->call;
    while (p->word_index < p->word_count) {
        const char *word = p->words[p->word_index++];
        if (!p->flags_ended && strcmp(word, "--") == 0)
            p->flags_ended = true;
        else if (!p->flags_ended && word[0] == '-' && word[1] == '-')
            long_flag_parse(p, word);
        else if (!p->flags_ended && word[0] == '-' && word[1] != '\0')
            letter_flag_parse(p, word);
        else
            call->operands[call->operand_count++] = word;
    }
}

static void operands_check(struct parser *p)
{
    const struct pst_call *call = p->call;
    const struct pst_verb *verb = call->verb;
    if (call->operand_count < verb->operand_count_min)
        parser_fail(p, "%s is missing", verb->operands);
    else if (call->operand_count > verb->operand_count_max && verb->operand_count_max == 0)
        parser_fail(p, "`penstock %s` takes no operand, but `%s` was given", verb->name, call->operands[0]);
    else if (call->operand_count > verb->operand_count_max)
        parser_fail(p, "`%s` is one operand too many: `penstock %s` takes %s", call->operands[verb->operand_count_max],
                    verb->name, verb->operands);
}

static bool is_terminal(int fd)
{
    const char *terminal = getenv("TERM");
    return isatty(fd) != 0 && (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

static void common_flags_apply(struct parser *p)
{
    struct pst_call *call = p->call;
    const char *when = pst_call_flag(call, "color");
    const char *no_color = getenv("NO_COLOR");
    const bool wanted = no_color == NULL || no_color[0] == '\0';
    call->json = pst_call_flag(call, "json") != NULL;
    call->quiet = pst_call_flag(call, "quiet") != NULL;
    call->terminal_err = is_terminal(STDERR_FILENO);
    call->colour_out = wanted && is_terminal(STDOUT_FILENO);
    call->colour_err = wanted && call->terminal_err;
    if (when == NULL || strcmp(when, "auto") == 0)
        return;
    if (strcmp(when, "always") != 0 && strcmp(when, "never") != 0)
        parser_fail(p, "--color `%s`: auto, always or never is wanted", when);
    call->colour_out = call->colour_err = strcmp(when, "always") == 0;
}

bool pst_call_init(struct pst_call *call, const struct pst_verb *verb, uint32_t word_count, const char **words,
                   bool *ret_help)
{
    *call = (struct pst_call){.verb = verb};
    struct parser p = {.call = call, .words = words, .word_count = word_count};
    call->operands = pst_calloc((size_t)word_count + 1, sizeof(*call->operands));
    call->flags = pst_calloc((size_t)word_count + 1, sizeof(*call->flags));
    if (call->operands == NULL || call->flags == NULL) {
        pst_complain(call, PST_EXIT_FAILED, "%s", pst_error_sentence(PST_ENOMEM));
        return false;
    }
    words_parse(&p);
    common_flags_apply(&p);
    *ret_help = pst_call_flag(call, "help") != NULL;
    if (!*ret_help)
        operands_check(&p);
    const bool failed = !*ret_help && p.failed;
    if (failed)
        pst_complain(call, PST_EXIT_USAGE, "%s",
                     p.error.bytes != NULL ? p.error.bytes : pst_error_sentence(PST_ENOMEM));
    pst_text_fini(&p.error);
    return !failed;
}

void pst_call_fini(struct pst_call *call)
{
    pst_free(call->operands);
    pst_free(call->flags);
}
