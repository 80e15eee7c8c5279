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
 *   N6  state leaves a worker sealed by itself, and a worker serves with none but what one of its operator has sealed
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
    PST_ENCLAVE_ASKED_MAX = 16,                 /* a power of two */
    PST_ENCLAVE_CAPSULES_BYTES_MAX = 60 * 1024, /* that cross at once */
    PST_ENCLAVE_AUTHORITY_BYTES = 32,
    PST_OFFER_BYTES = 64,          /* a key for one meeting, and a nonce */
    PST_PEER_EVIDENCE_BYTES = 256, /* of the backend `process` */
    PST_PEER_CERTIFICATE_BYTES_MAX = 4096,
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
/* Where rows come and go sealed for the worker, past a host that has no key (sealed.h). */
struct pst_enclave_sealed_input {
    const char *name; /* of the edge */
    uint32_t number, producer_bucket_count;
};
struct pst_enclave_sealed_output { /* an edge that leads away: to another operator, or to a sink */
    const char *name;
    uint32_t number, output, bucket_count;
    uint32_t key_count, used_count; /* fields of the output's schema: of the reader's key, 0: none; that it reads */
    uint32_t lead_count;            /* of the key's fields, the first ones that alone decide on the bucket; 0: all do */
    uint32_t key[PST_FIELDS_MAX], used[PST_FIELDS_MAX];
};
struct pst_enclave_sealing {
    uint8_t graph[32]; /* which keys are wanted */
    struct pst_enclave_sealed_input inputs[PST_INPUTS_MAX];
    uint32_t edge_count;
    struct pst_enclave_sealed_output *edges;
};
/* All that a planned operator's results depend on: the configuration that is measured. */
struct pst_enclave_operator {
    const char *type, *id;
    uint32_t bucket_count;
    int64_t epoch;
    bool total; /* it takes its rows in total order; then they are not sealed */
    uint32_t param_count, input_count, output_count;
    struct pst_enclave_param *params;
    struct pst_enclave_input inputs[PST_INPUTS_MAX];
    struct pst_enclave_output outputs[PST_OUTPUTS_MAX];
    struct pst_enclave_sealing *sealing; /* NULL: its host hands it rows */
    /* Whose certificates nodes have that its buckets may go to while it runs: an Ed25519 key, PST_ENCLAVE_AUTHORITY_BYTES. NULL: they stay. */
    const uint8_t *authority;
};

/* Two workers of one operator, of which one hands buckets to the other. */
struct pst_enclave_meeting {
    uint64_t incarnation, move; /* move: above 0 */
    bool gives;                 /* this one does */
};

/* ---- backends ---- */
struct pst_enclave;

/* Of a worker's state, sealed by it: a page, or an index of a bucket; where rows are sealed a piece of its place in the stream, too. Borrowed
 * until the call returns. */
enum {
    PST_IMAGE_KEY_BYTES = 32,
    PST_IMAGE_KEYS_MAX = 16, /* as a key file has at most */
    PST_IMAGE_GRAPH_BYTES = 32,
    PST_IMAGE_INCARNATION_BYTES = 32,
    PST_IMAGE_INDEX_STRUCTURE = 0xffff, /* with PST_IMAGE_INDEX_KIND */
    PST_IMAGE_INDEX_KIND = 3,
    PST_IMAGE_PLACE_STRUCTURE = 31, /* of the place */
};
struct pst_enclave_piece {
    uint32_t bucket;
    uint16_t structure, kind;
    uint64_t number;
    uint32_t changed;      /* its version; of an index 0 */
    uint32_t sealed_bytes; /* 0: as it was in the image before */
    const void *sealed;
};

/* What an enclave is made of. Borrowed until it has started. */
struct pst_enclave_settings {
    const struct pst_enclave_operator *operator;
    const uint32_t *buckets; /* that the partition owns, ascending */
    uint32_t bucket_count;
    bool lane; /* it owns none of them yet: they will come from another worker, and no checkpoint does */
    uint64_t epc_bytes, outside_bytes; /* of the pool; of sealed pages that may lie outside at most */
    uint32_t evict;                    /* pst_evict */
    uint64_t
        touch_bytes; /* of the pool, touched before it is ready: some 25 us a page of secret memory. UINT64_MAX: all */
    uint32_t
        starting_count; /* workers that start at the same time, itself among them: it has so much longer for that. 0: it alone */
    bool later; /* pst_enclave_start() returns while it makes itself ready: pst_enclave_await() before anything else */
    bool cheap; /* pages leave for want of room alone, and not as well because memory that was never touched is dear */
    const char *program; /* of the worker; NULL: found beside this program, or where it is installed */
    int (*random)(void *argument, void *bytes, size_t byte_count);
    void *argument;
    /* Rows that come out, while the calls below wait: columns by field of the output, NULL where nobody wants it. An error ends the
     * call with it. */
    int (*take)(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns);
    int (*answered)(
        void *taker); /* the first of what was asked for is answered, and its rows are taken; NULL: nobody asks */
    void *taker;
    int (*take_at)(void *taker,
                   int64_t t); /* of total order, before take(): its rows are of event time t, and nothing is asked */
    int (*take_capsules)(void *taker, const void *bytes, size_t byte_count); /* the same, where they are sealed */
    /* Where rows are sealed: it is told times and the end, and answers, as if it were handed rows; it takes no time that its marks do not
     * bear out. Else it goes by the marks alone. */
    bool paced;
    /* Of images of its state; NULL: there are none, as where rows are sealed (PST_EGRAPH). The key is the operator's, of the graph,
     * whatever worker it runs in; below restore_least it opens no checkpoint, and does nothing before it was given one back; 0: it may
     * begin with nothing. */
    const uint8_t *image_key, *graph;   /* PST_IMAGE_KEY_BYTES, PST_IMAGE_GRAPH_BYTES */
    const uint8_t *const *restore_keys; /* of what is given back: each is tried; at most PST_IMAGE_KEYS_MAX */
    uint32_t restore_key_count;
    uint64_t restore_least;
    /* Pieces that come out while an image is waited for. An error makes it one that cannot be used, and no more than that. */
    int (*take_piece)(void *taker, const struct pst_enclave_piece *piece);
    bool spare_processors;      /* there is one for each worker and each thread: who waits need not give it up soon */
    uint32_t quiet_seconds_max; /* it is taken for hung when it has not moved for so long; 0: 60 */
    bool *ret_lost; /* NULL, or: of a start that failed, as pst_enclave_is_lost() says it of one that runs */
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
    /* Starts the worker and hands `boot` over, of which nothing is kept. *ret_facts: what holds. PST_ESTOPPED: something has ended it. */
    int (*run)(struct pst_enclave_box *box, const void *boot, size_t boot_bytes, uint32_t *ret_facts, char *ret_why);
    /* PST_OK: it runs. PST_ESTOPPED: something has ended it, PST_EIO: it has ended itself; ret_why says how. */
    int (*look)(struct pst_enclave_box *box, char *ret_why);
    uint64_t (*worked_ns)(const struct pst_enclave_box *box); /* processor time of the worker so far; 0: not known */
    void (*attest)(const struct pst_enclave_box *box, uint32_t facts, struct pst_enclave_report *ret_report);
    void (*stop)(struct pst_enclave_box *box); /* at once, and waits for its end */
    void (*destroy)(struct pst_enclave_box *box);
};
/* A child process. */
extern const struct pst_enclave_backend pst_enclave_process;

/* ---- an enclave ---- */
/* Starts a worker, and returns when its operator is open; of several that are to start side by side, when it runs, and await() returns
 * when its operator is open, with the same errors: pst_enclave_why(), pst_enclave_is_lost().
 * Errors:  PST_EREFUSED the system does not allow it, PST_ENOENT no worker program, PST_EGRAPH the EPC is too small, or what the
 *          operator's open() returned; ret_why says what and what to do. Cost: some milliseconds. */
int pst_enclave_start(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                      struct pst_enclave **ret_enclave, char ret_why[PST_ENCLAVE_WHY_BYTES]);
int pst_enclave_await(struct pst_enclave *enclave);
/* Whether the program has the operator, and plans it as its host does: a worker is started, gets no secret and no rows, and ends. Errors:
 * PST_EGRAPH it does not have it, or for another version of its header; PST_EDATA the plans differ; else as pst_enclave_start(). */
int pst_enclave_try(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                    char ret_why[PST_ENCLAVE_WHY_BYTES]);
/* What an enclave of these settings will be measured as; nothing runs. As pst_enclave_start(). */
int pst_enclave_measure(const struct pst_enclave_backend *backend, const struct pst_enclave_settings *settings,
                        uint8_t ret_measurement[PST_MEASUREMENT_BYTES], char ret_why[PST_ENCLAVE_WHY_BYTES]);
void pst_enclave_free(struct pst_enclave *enclave); /* whatever it does at the moment */
/* Who takes what comes out from now on, by the functions of its settings: of one that was started before there was anybody. */
void pst_enclave_take_for(struct pst_enclave *enclave, void *taker);
/* on_frame(): returns when the rows are in the ring; the worker may sleep until kick(), or until something is waited for. on_time(),
 * on_end(): when the worker has answered and its rows are taken; asked for, when that is in the ring: frames and further times may follow
 * at once, PST_ENCLAVE_ASKED_MAX of them before the first is answered, and nothing behind the end. due: timers
 * up to it fire. Answers come in the order of what was asked, in any of these calls. Errors: the operator's, PST_ETIMEOUT it does not move, PST_EIO it has ended, PST_EREFUSED it wrote
 * into the border what it must not, PST_ESTOPPED; nothing can be done with it any more, and pst_enclave_why() says why. */
int pst_enclave_frame(struct pst_enclave *enclave, const struct pst_rows *rows);
int pst_enclave_time(struct pst_enclave *enclave, int64_t t, int64_t due);
int pst_enclave_end(struct pst_enclave *enclave, int64_t t);
int pst_enclave_ask_time(struct pst_enclave *enclave, int64_t t, int64_t due);
int pst_enclave_ask_end(struct pst_enclave *enclave, int64_t t);
/* Takes rows that have come, up to an answer: PST_OK: it came, or nothing is asked for; PST_EAGAIN: not yet. */
int pst_enclave_answered(struct pst_enclave *enclave);
void pst_enclave_kick(
    struct pst_enclave *enclave); /* to be called before its thread turns to something else for long */
bool pst_enclave_has_news(const struct pst_enclave *enclave);
/* Where rows are sealed, instead of all these: the worker goes by what it opens. The public half of its key; whoever has seen it in
 * evidence may send a release (sealed.h), before the first capsule. The
 * worker may sleep until kick(), or until something is waited for. */
const uint8_t *pst_enclave_channel_key(const struct pst_enclave *enclave);
int pst_enclave_release(struct pst_enclave *enclave, const void *release, size_t byte_count);
/* Whole capsules, PST_ENCLAVE_CAPSULES_BYTES_MAX at most. PST_EAGAIN: there is no room now; where it is paced, room is waited for. */
int pst_enclave_capsules(struct pst_enclave *enclave, const void *bytes, size_t byte_count);
/* The same in two steps, where it is not paced: where they are to be written, which nothing reads again but the worker; then that they are
 * there. PST_EAGAIN of the first: there is no room now. Between the two nothing else is sent. */
int pst_enclave_capsules_room(struct pst_enclave *enclave, uint8_t **ret_room);
int pst_enclave_capsules_put(struct pst_enclave *enclave, size_t byte_count);
int pst_enclave_poll(struct pst_enclave *enclave); /* takes the capsules that have come */
bool pst_enclave_took_all(const struct pst_enclave *enclave);
bool pst_enclave_is_idle(
    const struct pst_enclave *enclave); /* it has done all that it took, what came of it is taken, and it sleeps */
/* Waits until there are news, or some time has passed; PST_OK either way. */
int pst_enclave_wait(struct pst_enclave *enclave, uint32_t timeout_us);
/* The first timer as of the last answer; INT64_MAX: none. */
int64_t pst_enclave_timer_min(const struct pst_enclave *enclave);
uint64_t pst_enclave_state_bytes(const struct pst_enclave *enclave);
/* An image of its state, at `cut`, for a checkpoint whose id is above all that it has known: what has changed since the image of that
 * generation (0: all) comes to take_piece(). Answered as a time is; then its generation and the incarnation that its pieces were
 * sealed under. PST_ENOMEM is no error of the enclave's: there is no image, and it goes on. */
int pst_enclave_ask_image(struct pst_enclave *enclave, uint64_t checkpoint, int64_t cut, uint32_t since);
int pst_enclave_image_error(const struct pst_enclave *enclave); /* of the last one; PST_OK: it is whole */
uint32_t pst_enclave_image_generation(const struct pst_enclave *enclave);
void pst_enclave_image_incarnation(const struct pst_enclave *enclave,
                                   uint8_t ret_incarnation[PST_IMAGE_INCARNATION_BYTES]);
/* The way back, before anything else: pieces bucket by bucket, in the order in which they came out, then the end, which says of which
 * checkpoint they are, and waits for the answer. Buckets may be of several workers of the operator; where rows are sealed, the place of each
 * of these comes first, in its order, and no other. Errors as above; PST_EREFUSED: they are not what was sealed there. */
int pst_enclave_restore(struct pst_enclave *enclave, const uint8_t incarnation[PST_IMAGE_INCARNATION_BYTES],
                        const struct pst_enclave_piece *piece);
int pst_enclave_restored(struct pst_enclave *enclave, uint64_t checkpoint, int64_t cut);
/* Buckets that go from one worker to another while the stream runs (docs/enclaves.md), of operators with an authority. What is asked is
 * answered as a time is, by pst_enclave_answered(), while nothing else is; then pst_enclave_move_error() says what came of it. An error
 * there is none of the enclave's: it goes on, without a meeting.
 * offer: what is shown of it to the other worker's host; NULL: it makes none. nonce: what stands in the evidence of this one, by the other
 * one's offer. meet: with the evidence of both, and the certificate of the other one's node (DER); the next offer is another one.
 * hand: each bucket once, between two epochs: pieces come to take_piece(). Or, later, digests of such buckets, as pieces too.
 * take: such a piece, on the other side; what is wrong with it ends the worker. arrive: buckets that are whole are its own from event
 * time t on, and digests that came before are compared. forget: they are not its own any more. Both end the meeting where they say `last`.
 * opens_again: the operator looks again at which buckets there are. */
const uint8_t *pst_enclave_offer(const struct pst_enclave *enclave);
int pst_enclave_meeting_nonce(const struct pst_enclave *enclave, const struct pst_enclave_meeting *meeting,
                              const uint8_t others_offer[PST_OFFER_BYTES], uint8_t ret_nonce[64]);
int pst_enclave_ask_meet(struct pst_enclave *enclave, const struct pst_enclave_meeting *meeting,
                         const uint8_t own[PST_PEER_EVIDENCE_BYTES], const uint8_t others[PST_PEER_EVIDENCE_BYTES],
                         const uint8_t *certificate, size_t certificate_bytes);
int pst_enclave_ask_hand(struct pst_enclave *enclave, int64_t t, const uint32_t *buckets, uint32_t bucket_count,
                         bool digests);
int pst_enclave_take(struct pst_enclave *enclave, const struct pst_enclave_piece *piece);
int pst_enclave_ask_arrive(struct pst_enclave *enclave, int64_t t, const uint32_t *buckets, uint32_t bucket_count,
                           bool last, bool opens_again);
int pst_enclave_ask_forget(struct pst_enclave *enclave, const uint32_t *buckets, uint32_t bucket_count, bool last);
int pst_enclave_move_error(const struct pst_enclave *enclave);
const char *pst_enclave_move_why(const struct pst_enclave *enclave);
/* Processor time that its worker has used since its start, all of it; 0: it is not known, or the worker has ended. Cost: a call of the
 * system. */
uint64_t pst_enclave_worked_ns(const struct pst_enclave *enclave);
/* It has ended or hung by no message of its own: another one may take its place. */
bool pst_enclave_is_lost(const struct pst_enclave *enclave);
const char *pst_enclave_why(const struct pst_enclave *enclave); /* until it is freed */
void pst_enclave_report(const struct pst_enclave *enclave, struct pst_enclave_report *ret_report);

struct pst_enclave_counts { /* of pages of 16 KiB, since the start */
    uint64_t lookups, page_ins, page_outs, page_outs_clean, bytes_sealed, bytes_opened, pages_in_max, need_pages;
    uint64_t epc_used_max, epc_touched; /* touched: what the machine has given for it, used or not */
    uint64_t leaves;                    /* system calls of the worker: it slept, or woke its host */
    uint64_t messages;                  /* both ways */
};
void pst_enclave_counts(const struct pst_enclave *enclave, struct pst_enclave_counts *ret_counts);

/* ---- what it would cost on hardware that is not here: computed, never measured ---- */
struct pst_epc_model {
    const char *name, *sentence;
    uint64_t leave_cycles; /* to leave an enclave and be back */
    const char *leave_source;
    uint64_t page_cycles; /* to put a page of 4 KiB out and get it back; 0: there is no such thing */
    const char *page_source;
};
extern const struct pst_epc_model pst_epc_models[]; /* ended by a NULL name */
const struct pst_epc_model *pst_epc_model_find(const char *name);
enum { PST_EPC_PAGES_IN_A_PAGE = 4 };
#define PST_EPC_MODEL_HZ 3e9 /* cycles are made seconds by: a round figure, and no machine's */
struct pst_epc_costs {
    double leave_seconds, call_seconds,
        page_seconds; /* as it ran; were each message a call; were its pages fetched by the hardware */
};
struct pst_epc_costs pst_epc_model_costs(const struct pst_epc_model *model, uint64_t leaves, uint64_t messages,
                                         uint64_t page_ins);

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
