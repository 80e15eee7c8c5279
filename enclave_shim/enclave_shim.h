/* enclave_shim/enclave_shim.h - running an operator where its host cannot look (P4, P8; docs/enclaves.md).
 *
 * Holds:    the border (rings in shared memory that sealed frames and times cross), the worker inside it, and the backends behind
 *           one interface, each with a truthful word on what it protects from.
 * Refuses:  graphs, files, the network. Nothing simulated is ever reported as protection.
 * Folders:  common/ what both sides know: layout, messages, configuration. host/ what starts and feeds a worker. inside/ the
 *           worker, a program of its own: operators, the state room and crypto, and nothing else of penstock.
 * Thread:   an enclave belongs to one thread at a time, and is made and freed by the thread that made the first one.
 * Holds true:
 *   N1  geometry is made of constants; the other side's indices are read once, and what cannot be poisons the border
 *   N2  what comes is copied before it is checked, and checked before it is used
 *   N3  a message opens once, in its place in the order, and only in its direction
 *   N4  a worker's state, keys, stack and scratch lie in its pool, and all of them fit its EPC
 *   N5  what is measured is what runs
 */
#ifndef PST_ENCLAVE_SHIM_H
#define PST_ENCLAVE_SHIM_H

#include "base/base.h"

/* ---- what protects ---- */
/* Facts of one worker as it runs, or of a machine. A fact that is not there is not claimed. */
#define PST_ENCLAVE_FACT_MAP(X)                                                                                       \
    X(PST_FACT_SECRET_MEMORY, 0, "secret-memory", "its pool is memory that the kernel itself has no mapping of")      \
    X(PST_FACT_LOCKED_MEMORY, 1, "locked-memory", "its pool is never written to swap")                                \
    X(PST_FACT_SECCOMP, 2, "seccomp", "its process may wait on its ring and exit, and no other system call")          \
    X(PST_FACT_LANDLOCK, 3, "landlock", "no file and no port may be opened")                                          \
    X(PST_FACT_NAMESPACES, 4, "namespaces", "it has a user, network and other namespaces of its own")                 \
    X(PST_FACT_MSEAL, 5, "mseal", "its code's mappings cannot be changed by itself")                                  \
    X(PST_FACT_NO_DUMP, 6, "no-dump", "no core file, and no tracing by processes without CAP_SYS_PTRACE")             \
    X(PST_FACT_MEASURED, 7, "code-measured", "what runs was hashed before, and runs from the memory that was hashed") \
    X(PST_FACT_SEALED_BORDER, 8, "sealed-border", "what lies in the shared rings and outside is sealed")
typedef enum pst_enclave_fact {
#define X(name, bit, word, sentence) name = 1 << (bit),
    PST_ENCLAVE_FACT_MAP(X)
#undef X
} pst_enclave_fact;
const char *pst_enclave_fact_word(uint32_t bit);     /* NULL beyond the last one */
const char *pst_enclave_fact_sentence(uint32_t bit); /* the same */

/* From whom a backend protects what lies in a worker, where all of its facts hold. */
typedef enum pst_enclave_guard {
    PST_GUARD_USERS = 1 << 0,      /* other processes and users, also root without CAP_SYS_PTRACE and CAP_SYS_ADMIN */
    PST_GUARD_ROOT = 1 << 1,       /* root with all capabilities */
    PST_GUARD_HYPERVISOR = 1 << 2, /* whoever runs the virtual machine */
    PST_GUARD_HARDWARE = 1 << 3,   /* evidence by hardware that this is so */
} pst_enclave_guard;

enum {
    PST_ENCLAVE_WHY_BYTES = 640,
    PST_MEASUREMENT_BYTES = 32,
    PST_EPC_BYTES_STANDARD = 98041856, /* 93.5 MiB: of the 128 MiB of SGX 1 what is usable */
    PST_EPC_BYTES_MIN = 1 << 20,
};
#define PST_EPC_BYTES_MAX (UINT64_C(1) << 40)

/* What is known of a worker that runs, and claimed by nobody else than this process: there is no hardware behind it. */
struct pst_enclave_report {
    const char *backend;
    uint32_t facts;                             /* pst_enclave_fact */
    uint32_t guards;                            /* pst_enclave_guard: what these facts make */
    uint8_t measurement[PST_MEASUREMENT_BYTES]; /* SHA-256 over the worker's program and its configuration */
};

/* ---- what runs ---- */
struct pst_enclave_param {
    const char *name;
    pst_param_kind kind;
    bool given;
    int64_t number;
    const char *text;
    const int64_t *numbers;
    const char *const *texts;
    uint32_t count; /* of numbers or texts */
};
struct pst_enclave_input {
    struct pst_schema schema; /* of the producer's output */
    bool broadcast, keyed;
    uint32_t used_count;
    uint32_t used[PST_FIELDS_MAX]; /* as plan() asked for them; of a frame the columns */
};
struct pst_enclave_output {
    struct pst_schema schema;
    bool wanted[PST_FIELDS_MAX];
};
/* All that a planned operator's results depend on: the configuration that is measured. */
struct pst_enclave_operator {
    const char *type, *id;
    uint32_t bucket_count;
    int64_t epoch;
    uint32_t param_count, input_count, output_count;
    struct pst_enclave_param *params;
    struct pst_enclave_input inputs[PST_INPUTS_MAX];
    struct pst_enclave_output outputs[PST_OUTPUTS_MAX];
};

/* ---- backends ---- */
struct pst_enclave;

/* What an enclave is made of. Borrowed until it has started. */
struct pst_enclave_settings {
    const struct pst_enclave_operator *operator;
    const uint32_t *buckets; /* that the partition owns, ascending */
    uint32_t bucket_count;
    uint64_t epc_bytes, outside_bytes; /* of the pool; of sealed pages that may lie outside at most */
    uint32_t evict;                    /* pst_evict */
    const char *program;               /* of the worker; NULL: found beside this program, or where it is installed */
    int (*random)(void *argument, void *bytes, size_t byte_count);
    void *argument;
    /* Rows that come out, while the calls below wait: columns by field of the output, NULL where nobody wants it. An error ends the
     * call with it. */
    int (*take)(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns);
    void *taker;
    uint32_t quiet_seconds_max; /* it is taken for hung when it has not moved for so long; 0: 60 */
    const atomic_bool *stopped; /* NULL, or: waiting ends with PST_ESTOPPED when it is set */
};

/* One way to keep a worker apart. The border's memory is made by the backend, and is all that both sides see. */
struct pst_enclave_box;
struct pst_enclave_backend {
    const char *name;
    uint32_t guards; /* from whom it protects at best */
    /* Takes the worker's code in and hashes it; nothing runs. ret_why of an error is a sentence. */
    int (*create)(const struct pst_enclave_settings *settings, struct pst_enclave_box **ret_box, char *ret_why);
    /* SHA-256 over the code that run() will run, and `config`. */
    int (*measure)(const struct pst_enclave_box *box, const void *config, size_t config_bytes,
                   uint8_t ret_measurement[PST_MEASUREMENT_BYTES]);
    void *(*rings)(const struct pst_enclave_box *box); /* PST_BORDER_BYTES of memory, zeroed */
    /* Starts the worker and hands `boot` over, of which nothing is kept. *ret_facts: what holds. */
    int (*run)(struct pst_enclave_box *box, const void *boot, size_t boot_bytes, uint32_t *ret_facts, char *ret_why);
    /* PST_OK: it runs. Else it has ended, and ret_why says how. */
    int (*look)(struct pst_enclave_box *box, char *ret_why);
    void (*attest)(const struct pst_enclave_box *box, uint32_t facts, struct pst_enclave_report *ret_report);
    void (*stop)(struct pst_enclave_box *box); /* at once, and waits for its end */
    void (*destroy)(struct pst_enclave_box *box);
};
/* A child process. */
extern const struct pst_enclave_backend pst_enclave_process;

/* ---- an enclave ---- */
/* Starts a worker, and returns when its operator is open.
 * Errors:  PST_EREFUSED the system does not allow it, PST_ENOENT no worker program, PST_EGRAPH the EPC is too small, or what the
 *          operator's open() returned; ret_why says what and what to do. Cost: some milliseconds. */
int pst_enclave_start(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                      struct pst_enclave **ret_enclave, char ret_why[PST_ENCLAVE_WHY_BYTES]);
void pst_enclave_free(struct pst_enclave *enclave); /* whatever it does at the moment */
/* on_frame(): returns when the rows are in the ring. on_time(), on_end(): when the worker has answered and its rows are taken; asked for,
 * when that is in the ring, and then nothing else is to be sent before answered() says something else than PST_EAGAIN. due: timers
 * up to it fire. Errors: the operator's, PST_ETIMEOUT it does not move, PST_EIO it has ended, PST_EREFUSED it wrote
 * into the border what it must not, PST_ESTOPPED; nothing can be done with it any more, and pst_enclave_why() says why. */
int pst_enclave_frame(struct pst_enclave *enclave, const struct pst_rows *rows);
int pst_enclave_time(struct pst_enclave *enclave, int64_t t, int64_t due);
int pst_enclave_end(struct pst_enclave *enclave, int64_t t);
int pst_enclave_ask_time(struct pst_enclave *enclave, int64_t t, int64_t due);
int pst_enclave_ask_end(struct pst_enclave *enclave, int64_t t);
int pst_enclave_answered(struct pst_enclave *enclave); /* takes the rows that have come */
bool pst_enclave_has_news(const struct pst_enclave *enclave);
/* Waits until there are news, or some time has passed; PST_OK either way. */
int pst_enclave_wait(struct pst_enclave *enclave, uint32_t timeout_us);
int64_t pst_enclave_timer_min(const struct pst_enclave *enclave); /* the first timer; INT64_MAX: none */
uint64_t pst_enclave_state_bytes(const struct pst_enclave *enclave);
const char *pst_enclave_why(const struct pst_enclave *enclave); /* until it is freed */
void pst_enclave_report(const struct pst_enclave *enclave, struct pst_enclave_report *ret_report);

struct pst_enclave_counts { /* of pages of 16 KiB, since the start */
    uint64_t lookups, page_ins, page_outs, page_outs_clean, bytes_sealed, bytes_opened, pages_in_max, need_pages;
    uint64_t epc_used_max;
};
void pst_enclave_counts(const struct pst_enclave *enclave, struct pst_enclave_counts *ret_counts);

/* ---- what this machine can do ---- */
typedef enum pst_doctor_grade {
    PST_DOCTOR_GOOD,
    PST_DOCTOR_PARTLY,
    PST_DOCTOR_MISSING,
    PST_DOCTOR_NOTE
} pst_doctor_grade;
struct pst_doctor_finding {
    const char *name; /* "memfd-secret" */
    pst_doctor_grade grade;
    char text[240];   /* what was found */
    char remedy[200]; /* empty: none is needed, or known */
};
enum { PST_DOCTOR_FINDINGS_MAX = 16 };
/* Asks the system and changes nothing; epc_bytes: what a worker will want. Returns how many findings. */
uint32_t pst_doctor_look(uint64_t epc_bytes, struct pst_doctor_finding ret_findings[PST_DOCTOR_FINDINGS_MAX]);

#endif
