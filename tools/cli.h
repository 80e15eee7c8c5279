/* tools/cli.h - the command line as one table: verbs, flags, help, man page and completion are derived from it.
 *
 * Holds:    the grammar (penstock VERB [operands and flags in any order]), messages, colours, exit codes.
 * Thread:   the main thread.
 */
#ifndef PST_CLI_H
#define PST_CLI_H

#include "base/base.h"
#include "engine/engine.h"

#include <stdio.h>

#define PST_VERSION "0.1.0"
enum { PST_JSON_SCHEMA_VERSION = 1 };

/* Exit codes, after sysexits.h where it has one. */
#define PST_EXIT_MAP(X)                                                     \
    X(PST_EXIT_OK, 0, "success")                                            \
    X(PST_EXIT_FAILED, 1, "failed, or stopped before the end of the input") \
    X(PST_EXIT_USAGE, 2, "wrong usage: unknown verb, flag or value")        \
    X(PST_EXIT_DATA, 65, "bad data in the input")                           \
    X(PST_EXIT_UNREACHABLE, 69, "a peer could not be reached")              \
    X(PST_EXIT_IO, 74, "reading or writing failed")                         \
    X(PST_EXIT_TIMEOUT, 75, "the time ran out; trying again may help")      \
    X(PST_EXIT_REFUSED, 77, "refused: permission, key or attestation")      \
    X(PST_EXIT_CONFIG, 78, "bad graph or configuration")
enum pst_exit {
#define X(name, number, sentence) name = (number),
    PST_EXIT_MAP(X)
#undef X
};
int pst_exit_of_error(
    int error); /* PST_EDATA and PST_ERANGE -> 65, PST_EIO and PST_ENOENT -> 74, PST_EGRAPH -> 78, PST_EREFUSED -> 77, ... */

struct pst_flag {
    const char *name;     /* "workers" */
    char letter;          /* 'w'; 0: none */
    const char *value;    /* "N": takes a value, shown so in help; NULL: it is a switch */
    bool many;            /* may be given again; else a second one is a usage error */
    const char *help;     /* one sentence */
    const char *complete; /* "file", "dir" or words separated by spaces; NULL: nothing */
};

/* 1 to 63 letters, digits, `.`, `_` and `-`, and not `.` first. */
bool pst_node_name_is_good(const char *name);

struct pst_call { /* one parsed command line; strings borrowed from argv */
    const struct pst_verb *verb;
    const char **operands;
    uint32_t operand_count;
    struct {
        const struct pst_flag *flag;
        const char *value;
    } * flags;
    uint32_t flag_count;
    bool json, quiet;
    bool colour_out, colour_err,
        terminal_err; /* stdout or stderr is a terminal and NO_COLOR is not set, --color considered */
};
const char *pst_call_flag(const struct pst_call *call,
                          const char *name); /* its (last) value, "" for a switch, NULL: not given */
/* A number flag: fallback where it is not given; a usage error printed and false where it is no number in min..max. */
bool pst_call_number(const struct pst_call *call, const char *name, uint64_t min, uint64_t max, uint64_t fallback,
                     uint64_t *ret_value);

struct pst_verb {
    const char *name;
    const char *operands; /* "GRAPH.yaml", "[VERB]", "" */
    uint32_t operand_count_min, operand_count_max;
    const char *summary;          /* one line */
    const char *text;             /* paragraphs for `help VERB` and the man page */
    const char *examples;         /* lines, each starting with "penstock" */
    const struct pst_flag *flags; /* ended by a NULL name; --json, --quiet, --color and --help are every verb's */
    int (*run)(const struct pst_call *call); /* returns a pst_exit */
};
/* "penstock: error: ..." on stderr; with --json as {"schema_version":1,"error":{...}} on stdout. Ends with a newline. */
void pst_complain(const struct pst_call *call, int exit_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void pst_note(const struct pst_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* unless --quiet */

extern const struct pst_verb *const pst_verbs[]; /* in the order of help, ended by NULL */
extern const struct pst_verb pst_verb_run, pst_verb_check, pst_verb_gen, pst_verb_key, pst_verb_checkpoint,
    pst_verb_node, pst_verb_tls, pst_verb_attest, pst_verb_submit, pst_verb_ls, pst_verb_status, pst_verb_scale,
    pst_verb_move, pst_verb_drain, pst_verb_rebalance, pst_verb_migration, pst_verb_top, pst_verb_results,
    pst_verb_cancel, pst_verb_stop, pst_verb_seal, pst_verb_open, pst_verb_measure, pst_verb_replay, pst_verb_doctor,
    pst_verb_bench, pst_verb_version, pst_verb_help;
extern const struct pst_registry pst_registry_all; /* operators/ and debs14/ */

#endif
