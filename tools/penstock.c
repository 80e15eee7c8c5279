/* tools/penstock.c - main(): finds the verb, runs it, and makes sure that what it printed was written. */
#include "tools/inside.h"

#include "debs14/debs14.h"
#include "operators/builtin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

const struct pst_verb *const pst_verbs[] = {
    &pst_verb_run,
    &pst_verb_check,
    &pst_verb_gen,
    &pst_verb_key,
    &pst_verb_checkpoint,
    &pst_verb_node,
    &pst_verb_tls,
    &pst_verb_attest,
    &pst_verb_submit,
    &pst_verb_ls,
    &pst_verb_status,
    &pst_verb_scale,
    &pst_verb_move,
    &pst_verb_drain,
    &pst_verb_rebalance,
    &pst_verb_migration,
    &pst_verb_top,
    &pst_verb_results,
    &pst_verb_cancel,
    &pst_verb_stop,
    &pst_verb_replay,
    &pst_verb_seal,
    &pst_verb_open,
    &pst_verb_measure,
    &pst_verb_doctor,
    &pst_verb_bench,
    &pst_verb_version,
    &pst_verb_help,
    NULL,
};

static const struct pst_operator *const *const registry_lists[] = {pst_builtin_operators, pst_debs14_operators};
const struct pst_registry pst_registry_all = {
    .lists = registry_lists,
    .list_count = sizeof(registry_lists) / sizeof(registry_lists[0]),
};

/* A caller may have closed 0, 1 or 2; a file opened later must not take its number and get our messages. What is put
 * there instead is open in the wrong direction, so that using it fails as on a closed one. */
static void standard_streams_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

/* What stdio still holds back is written here; a full disk or a reader that went away shows here at the latest. */
static int output_finish(int exit_code)
{
    const bool failed_before = ferror(stdout) != 0;
    errno = 0;
    const bool failed = fflush(stdout) != 0 || failed_before;
    if (!failed)
        return exit_code;
    const int reason = pst_print_errno() != 0 ? pst_print_errno() : errno;
    fprintf(stderr, "penstock: error: standard output could not be written: %s\n",
            reason != 0 ? strerror(reason) : "an earlier write failed");
    return exit_code == PST_EXIT_OK ? PST_EXIT_IO : exit_code;
}

static bool word_among(int argc, char **argv, const char *word)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], word) == 0)
            return true;
    }
    return false;
}

static const char *verb_nearest(const char *word)
{
    const char *names[32];
    size_t name_count = 0;
    for (; pst_verbs[name_count] != NULL && name_count < 32; name_count++)
        names[name_count] = pst_verbs[name_count]->name;
    return pst_nearest(word, names, name_count);
}

/* There is no verb: says so, and which there are. */
static int verb_missing(int argc, char **argv)
{
    const struct pst_call call = {.json = word_among(argc, argv, "--json")};
    const char *word = argc > 1 ? argv[1] : NULL;
    struct pst_text verbs = {0};
    for (uint32_t i = 0; pst_verbs[i] != NULL; i++)
        pst_text_printf(&verbs, "%s%s", i == 0 ? "" : pst_verbs[i + 1] == NULL ? " or " : ", ", pst_verbs[i]->name);
    const char *list = verbs.bytes != NULL ? verbs.bytes : "";
    if (word == NULL)
        pst_complain(&call, PST_EXIT_USAGE, "a verb is missing: %s", list);
    else if (word[0] == '-')
        pst_complain(&call, PST_EXIT_USAGE, "`%s` stands where the verb belongs: %s", word, list);
    else if (verb_nearest(word) != NULL)
        pst_complain(&call, PST_EXIT_USAGE, "unknown verb `%s`: did you mean `%s`?", word, verb_nearest(word));
    else
        pst_complain(&call, PST_EXIT_USAGE, "unknown verb `%s`: there are %s", word, list);
    pst_text_fini(&verbs);
    return PST_EXIT_USAGE;
}

static const struct pst_verb *verb_of(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return &pst_verb_help;
    if (strcmp(word, "--version") == 0)
        return &pst_verb_version;
    return pst_verb_find(word);
}

int main(int argc, char **argv)
{
    standard_streams_hold();
    const struct pst_verb *verb = argc > 1 ? verb_of(argv[1]) : NULL;
    if (verb == NULL)
        return output_finish(verb_missing(argc, argv));
    struct pst_call call;
    bool help = false;
    int exit_code = PST_EXIT_USAGE;
    if (pst_call_init(&call, verb, (uint32_t)(argc - 2), (const char **)(void *)(argv + 2), &help))
        exit_code = help ? pst_help_show(&call, verb) : verb->run(&call);
    pst_call_fini(&call);
    return output_finish(exit_code);
}
