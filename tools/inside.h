/* tools/inside.h - what the files of this room share with each other; a verb needs tools/cli.h alone.
 *
 * Thread:   the main thread.
 */
#ifndef PST_INSIDE_H
#define PST_INSIDE_H

#include "tools/cli.h"

#include <stdarg.h>
#include <stdatomic.h>

/* ---- the table of verbs and flags (cli.c) ---- */
extern const struct pst_flag pst_flags_common[]; /* every verb has these, too; ended by a NULL name */
/* The verb's own flags, then the common ones; NULL behind the last. */
const struct pst_flag *pst_verb_flag(const struct pst_verb *verb, uint32_t index);
const struct pst_flag *pst_verb_flag_find(const struct pst_verb *verb, const char *name, size_t name_bytes);
const struct pst_verb *pst_verb_find(const char *name);

/* Parses the words behind the verb. A usage error has been printed where it returns false. *ret_help: --help was among
 * them. The call is to be given to pst_call_fini() in either case. */
bool pst_call_init(struct pst_call *call, const struct pst_verb *verb, uint32_t word_count, const char **words,
                   bool *ret_help);
void pst_call_fini(struct pst_call *call);

/* The half of pst_complain() that goes to stderr: for verbs whose --json object carries its errors itself. */
void pst_complain_text(const struct pst_call *call, int exit_code, const char *text);
/* "error":null or "error":{"exit_code":1,"text":"..."}, as in every object of --json. */
void pst_json_error(struct pst_text *json, int exit_code, const char *text);
/* Writes to stdout; main() tells the reason of the first failure at the end. */
void pst_print(const char *bytes, size_t count);
int pst_print_errno(void); /* 0: nothing failed */
/* All of it, or false: errno says why. */
bool pst_fd_write(int fd, const char *bytes, size_t count);
/* Prints `text` on stdout and frees it. PST_EXIT_OK, or PST_EXIT_FAILED where memory ran out while it was made. */
int pst_text_show(const struct pst_call *call, struct pst_text *text);

enum { PST_ENCLAVE_PATIENCE_MAX = 86400 }; /* seconds, of run and node */
/* --state-budget and --evict, of run and node; what is not said stays as it is. False: it is no good, and that was said. */
bool pst_budget_read(const struct pst_call *call, uint64_t *ret_bytes);
bool pst_evict_read(const struct pst_call *call, uint32_t *ret_evict);

/* ---- help, man page, completion (help.c, manual.c) ---- */
int pst_help_show(const struct pst_call *call, const struct pst_verb *verb); /* `penstock VERB --help` */
void pst_manual_page(struct pst_text *roff);
void pst_bash_completion(struct pst_text *bash);
struct pst_topic {
    const char *name, *title, *text;
};
extern const struct pst_topic pst_topics[]; /* ended by a NULL name */
/* Paragraphs are parted by "\n\n"; one whose first character is a space is shown as it is. NULL behind the last. */
const char *pst_paragraph_next(const char *text, size_t *ret_bytes, bool *ret_literal);
struct pst_policy_key; /* enclave_shim/attestation/evidence.h */
void pst_policy_key_meaning(const struct pst_policy_key *key, struct pst_text *text); /* and what holds without it */
/* Fills words into lines. The cursor stands at `column`; further lines begin at `indent`. */
void pst_words_fill(struct pst_text *text, size_t column, size_t indent, const char *words, size_t bytes);
void pst_flag_spelling(const struct pst_flag *flag, struct pst_text *text); /* "-o, --output DIR" */
const char *pst_param_kind_name(pst_param_kind kind);
const char *pst_role_name(pst_role role);

/* What a backend (pst_backend) protects from, from whom it does not, what root can still do: three terms, in lines (attest.c). */
void pst_protection_print(struct pst_text *text, uint32_t backend);

/* ---- what enclaves would cost elsewhere (epc_model.c) ---- */
struct pst_epc_model; /* enclave_shim/enclave_shim.h */
/* *ret_model NULL: nobody has asked for one. False: there is none of this name, and that was said. */
bool pst_epc_model_read(const struct pst_call *call, const struct pst_epc_model **ret_model);
void pst_epc_model_print(struct pst_text *text, const struct pst_epc_model *model,
                         const struct pst_enclave_run_report *enclave);
void pst_epc_model_json(struct pst_text *json, const struct pst_epc_model *model,
                        const struct pst_enclave_run_report *enclave);

/* ---- signals (signals.c) ---- */
void pst_signals_take(void);
atomic_int *pst_interrupts(void); /* how many there were: 1 drains, 2 stops at once */

/* ---- the service manager that has started this process, if one has (notify.c) ---- */
void pst_notify(const char *state); /* "READY=1"; lines of NAME=VALUE. Nothing happens where nobody listens */
/* It wants to hear "WATCHDOG=1" at least this often; 0: it does not. */
uint64_t pst_notify_watchdog_ns(void);

/* ---- commands that ask a node (admin.c) ---- */
struct pst_asker { /* what a question goes over: --node and --tls of the call */
    const struct pst_call *call;
    struct pst_world *world;
    const char *address;
};
struct pst_question;
struct pst_answer;
/* An exit code; a complaint has been printed unless it is PST_EXIT_OK. Ended by pst_asker_fini() in any case. */
int pst_asker_init(struct pst_asker *asker, const struct pst_call *call);
void pst_asker_fini(struct pst_asker *asker);
/* Fills in the address, --json, the interrupts and, where none is set, the time to wait for an answer. */
int pst_asker_ask(struct pst_asker *asker, struct pst_question *question, struct pst_answer *ret_answer);
/* Prints it, and complains: the exit code. */
int pst_answer_show(const struct pst_call *call, int rc, const struct pst_answer *answer);
#define PST_NODE_FLAG                                                                                        \
    {                                                                                                        \
        "node", 0, "ADDRESS", false, "HOST:PORT or unix:PATH of a node; else what PENSTOCK_NODE says.", NULL \
    }
#define PST_TLS_FLAG                                                                                         \
    {                                                                                                        \
        "tls", 0, "FOLDER", false, "Certificates, as `penstock tls issue` makes them; for HOST:PORT.", "dir" \
    }

/* ---- graphs for `run` and `check` (load.c) ---- */
struct pst_loaded {
    struct pst_diagnostics diagnostics;
    struct pst_graph *graph; /* NULL: it did not load */
    struct pst_text error;   /* why not, one sentence */
    int exit_code;
};
/* Loads operand 0 with --set, and prints on stderr what is wrong with it. */
int pst_loaded_init(struct pst_loaded *loaded, const struct pst_call *call);
void pst_loaded_fini(struct pst_loaded *loaded);
void pst_json_diagnostics(struct pst_text *json, const struct pst_diagnostics *diagnostics);

/* run.c: --enclave, --epc and --enclave-program. by_others: this command starts no workers, so whether there is a program for them is
 * not its concern. PST_EXIT_OK, or it has complained. */
int pst_enclaves_apply(const struct pst_call *call, struct pst_graph *graph, bool by_others);
struct pst_keyring_keys;
int pst_key_serve(const struct pst_call *call, const struct pst_keyring_keys *keys); /* key_serve.c */

/* ---- the line that tells how far a run is (progress.c) ---- */
struct pst_progress {
    const struct pst_call *call;
    atomic_int *interrupts;
    bool shown;                               /* the line stands on the terminal now */
    bool told_drain;                          /* the note about the first interrupt is out */
    uint64_t rows_before, nanoseconds_before; /* at the last line, for the rate of the moment */
};
/* For pst_run_options. Thread: one of the workers, never two at once. `argument` is a struct pst_progress. */
void pst_progress_report(void *argument, const struct pst_run_report *report);
void pst_progress_clear(struct pst_progress *progress);                /* after the run */
size_t pst_terminal_columns(void);                                     /* of standard error; at least 2 */
void pst_terminal_size(int fd, size_t *ret_rows, size_t *ret_columns); /* each at least 1; SIZE_MAX: nobody knows */

/* ---- what `run` tells (report.c) ---- */
struct pst_outcome {
    const struct pst_call *call;
    const struct pst_loaded *loaded;
    const struct pst_run_report *report;
    int exit_code;
    const char *error; /* NULL: complete */
};
void pst_outcome_note(const struct pst_outcome *outcome);      /* the summary on stderr */
int pst_outcome_json(const struct pst_outcome *outcome);       /* the object on stdout */
void pst_count_print(struct pst_text *text, uint64_t count);   /* 50,000,000 */
void pst_rate_print(struct pst_text *text, double per_second); /* 11.9 M */

/* run_checkpoint.c: an exit code; a complaint has been printed unless it is PST_EXIT_OK. To be ended by _fini() either way. */
struct pst_keyring_keys;
struct pst_run_checkpoint {
    struct pst_checkpoint_options options;
    struct pst_counter counter;
    struct pst_keyring_keys *keys;
    const char **drops;
};
int pst_run_checkpoint_init(struct pst_run_checkpoint *checkpoint, const struct pst_call *call);
void pst_run_checkpoint_fini(struct pst_run_checkpoint *checkpoint);
void pst_checkpoint_print(struct pst_text *text, const struct pst_checkpoint_report *report);
void pst_checkpoint_json(struct pst_text *json, const struct pst_checkpoint_report *report);
struct pst_counter pst_counter_command(const char *command); /* counter.c; `command` is borrowed */
void pst_bytes_print(struct pst_text *text, uint64_t bytes); /* report.c */

#endif
