/* engine/engine.h - graphs of operators, checked, and run on workers of this process or on the nodes of a cluster.
 *
 * Holds:    the graph (YAML -> operators, edges, parameters), frames, channels, watermarks, partitions, workers; nodes, the links between
 *           them, the coordinator, and lanes, by which partitions move while the stream runs.
 * Refuses:  what rows mean; the command line; printing. It fills structs and diagnostics, its caller shows them.
 * Thread:   all calls of this door from one thread; pst_run() starts the workers and returns when they are done.
 *           The count behind `interrupts` alone may be raised by a signal handler.
 */
#ifndef PST_ENGINE_H
#define PST_ENGINE_H

#include "base/base.h"

#include <stdatomic.h>

enum { PST_BUCKETS_STANDARD = 256, PST_BUCKETS_MAX = 4096, PST_WORKERS_MAX = 64, PST_DIAGNOSTICS_MAX = 100 };

/* ---- diagnostics: every error of a graph at once, each with its place ---- */
struct pst_diagnostic {
    const char *file;        /* as the user named it; "--set" for a parameter given on the command line */
    uint32_t line, column;   /* from 1; 0: no place */
    uint32_t width;          /* characters to underline, at least 1 */
    const char *source_line; /* the text of that line, without its end; NULL: none */
    const char *text;        /* the sentence */
    const char *hint;        /* "did you mean `partitions`?"; NULL: none */
};
struct pst_diagnostics {
    struct pst_arena arena;
    struct pst_diagnostic *items;
    uint32_t item_count, item_capacity;
    uint32_t left_out_count; /* beyond PST_DIAGNOSTICS_MAX */
};
void pst_diagnostics_init(struct pst_diagnostics *d);
void pst_diagnostics_fini(struct pst_diagnostics *d);
/* file:line:column: error: text, the source line, a caret, the hint: as a compiler does. `colour`: with ANSI colours. */
int pst_diagnostics_print(const struct pst_diagnostics *d, bool colour, struct pst_text *ret_text);

/* ---- graphs ---- */
struct pst_setting { /* --set NAME=VALUE */
    const char *name, *value;
};
struct pst_registry { /* where `type:` is looked up: lists ended by NULL */
    const struct pst_operator *const *const *lists;
    uint32_t list_count;
};
struct pst_graph;

/* Reads, substitutes, validates and plans a graph: all that can be known before a row is read. On PST_EGRAPH every error is in
 * `d`; on PST_ENOENT, PST_EIO, PST_EREFUSED the file could not be read (pst_system_error()). *ret_graph on success only. */
int pst_graph_load(const char *path, const struct pst_setting *settings, uint32_t setting_count,
                   const struct pst_registry *registry, struct pst_diagnostics *d, struct pst_graph **ret_graph);
/* The same for text in memory; `name` stands for the file in diagnostics. Fuzzed. */
int pst_graph_parse(const char *name, const char *text, size_t text_bytes, const struct pst_setting *settings,
                    uint32_t setting_count, const struct pst_registry *registry, struct pst_diagnostics *d,
                    struct pst_graph **ret_graph);
void pst_graph_free(struct pst_graph *graph);

const char *pst_graph_name(const struct pst_graph *graph);
uint32_t pst_graph_operator_count(const struct pst_graph *graph);
struct pst_operator_view { /* borrowed from the graph */
    const char *id, *type;
    pst_role role;
    uint32_t partition_count, bucket_count;
    const char *file; /* of a source or sink; NULL: none */
    bool enclave;
    uint64_t epc_bytes; /* of each of its enclaves; 0: it has none */
};
/* Before it runs: an operator runs in enclaves though the graph does not say so; "all": each that can. PST_ENOENT: there is none of
 * that id, or none that can. PST_EGRAPH: it cannot, *ret_why is the end of a sentence. own_program: workers are not made from the
 * program that comes with penstock, but from one that may have operators of shared objects, too. */
int pst_graph_enclave(struct pst_graph *graph, const char *id, bool own_program, const char **ret_why);
/* Whether workers made from that program (NULL: the one that comes with penstock) can have this graph's operators in enclaves, as far
 * as that is known without running it. PST_EGRAPH, and ret_why is a sentence. */
int pst_graph_enclave_check(const struct pst_graph *graph, const char *program, char ret_why[640]);
/* The same by running it: a worker for each operator, which makes its plan and ends. PST_EGRAPH: it has no such operator; PST_EDATA: it
 * plans it otherwise than its shared object does; PST_ENOENT, PST_EIO: it is no such program; as a worker's start. */
int pst_graph_enclave_try(const struct pst_graph *graph, const char *program, char ret_why[640]);
bool pst_epc_fits(uint64_t bytes);                           /* it is a size that an EPC can have */
void pst_graph_epc(struct pst_graph *graph, uint64_t bytes); /* of every enclave, instead of what the graph says */
bool pst_graph_has_enclaves(const struct pst_graph *graph);
void pst_graph_operator(const struct pst_graph *graph, uint32_t index, struct pst_operator_view *ret_view);

/* ---- checkpoints ---- */
struct pst_secret; /* state/seal.h */
/* Remembers, in a place that whoever could put an old checkpoint folder back cannot put back with it, the highest checkpoint that
 * was ever finished. A file, a command; a coordination store or a TPM's counter fit behind it, too. */
struct pst_counter {
    void *self;
    const char *name;                                                      /* for sentences */
    int (*read)(void *self, struct pst_world *world, uint64_t *ret_value); /* 0: nothing was recorded yet */
    int (*raise)(void *self, struct pst_world *world, uint64_t value);     /* PST_OK: it is recorded for good */
};
/* A file of one line, written anew by rename. `path` is borrowed. */
struct pst_counter pst_counter_file(const char *path);

struct pst_checkpoint_options {
    const char *directory;         /* NULL: none are made, none is resumed */
    uint64_t every_rows, every_ns; /* due when either is reached; 0: that one never */
    bool resume; /* goes on from the newest whole one; from the beginning where there is none at all */
    struct pst_secret *const *keys; /* the first one seals, all of them open */
    uint32_t key_count;
    const struct pst_counter *counter; /* NULL: an old folder that was put back is not noticed */
    const char *const *drop_state;     /* operators whose state may be lost because it does not fit them any more */
    uint32_t drop_state_count;
};
struct pst_checkpoint_report {
    uint64_t written,
        dropped; /* dropped: could not be written; the run goes on from the guarantees of the last good one */
    uint64_t counter_behind; /* checkpoints for which the counter could not be raised */
    uint64_t bytes_written, pages_written, pages_live;
    uint64_t nanoseconds;                        /* of writing, beside the stream */
    uint64_t resumed_id;                         /* 0: from the beginning */
    uint64_t resumed_offset;                     /* in the input */
    uint64_t resumed_rows;                       /* read before it, by runs before this one */
    bool found_none;                             /* it was to go on, and there was nothing to go on from */
    uint64_t resumed_pages, resumed_state_bytes; /* bytes: of the pages in clear */
    char why_dropped[320];                       /* the last one; empty: none was */
    char passed_over[400];                       /* newer ones that do not open, and why; empty: none */
};

/* ---- checkpoints that lie in a folder, for tools that look at them; nothing there is changed ---- */
struct pst_checkpoint_folder;
struct pst_checkpoint_view { /* borrowed from the folder */
    uint64_t id;
    uint64_t bytes;  /* of its manifest, and of the pages' file that was written with it, if that is there */
    const char *why; /* why it was not opened, a part of a sentence; NULL: it was, and what follows is known */
    const char *graph;
    int64_t cut;           /* event time */
    uint64_t rows, offset; /* of the input */
    uint32_t page_count, operator_count;
    uint32_t sealed_count;          /* of page_count, what enclaves have sealed: compared, and not opened */
    uint64_t bytes_live, bytes_new; /* of sealed pages: all that it names, and those that were written with it */
};
struct pst_checkpoint_structure { /* a table or log of an operator; borrowed from the folder */
    const char *operator_id, *name;
    bool log;
    uint32_t key_bytes, record_bytes; /* tables */
    uint64_t page_count, entry_count;
};
struct pst_checkpoint_entry { /* borrowed until the visit returns */
    uint32_t bucket;
    uint64_t number; /* table: in its bucket; log: position */
    const void *key; /* NULL: of a log */
    const void *record;
    uint32_t key_bytes, record_bytes;
};

/* Reads all manifests; one that does not open is no error, its view says why. key_count 0: none is opened.
 * Owns:    the keys and the world are borrowed until the folder is closed.
 * Errors:  PST_ENOENT, PST_EIO, PST_EREFUSED (pst_system_error()); PST_ENOMEM. */
int pst_checkpoint_folder_open(struct pst_world *world, const char *directory, struct pst_secret *const *keys,
                               uint32_t key_count, struct pst_checkpoint_folder **ret_folder);
void pst_checkpoint_folder_close(struct pst_checkpoint_folder *folder);
uint32_t pst_checkpoint_folder_count(const struct pst_checkpoint_folder *folder);
/* The newest is the last one. */
void pst_checkpoint_folder_view(const struct pst_checkpoint_folder *folder, uint32_t index,
                                struct pst_checkpoint_view *ret_view);
const char *pst_checkpoint_folder_operator(const struct pst_checkpoint_folder *folder, uint32_t index,
                                           uint32_t operator_index);

/* Opens every page of one. PST_EREFUSED and other errors: *ret_why says which is not what it was, until the next call. */
int pst_checkpoint_folder_verify(struct pst_checkpoint_folder *folder, uint32_t index, const char **ret_why);
/* Calls visit() for each table and log of one that was opened, operators in the order of the graph; for each entry of one
 * table or log, by bucket and then in the order in it; *ret_log is set before the first. They stop at visit()'s first error; other
 * errors set *ret_why, as above; PST_ENOENT: there is no such operator or structure. */
int pst_checkpoint_folder_structures(struct pst_checkpoint_folder *folder, uint32_t index,
                                     int (*visit)(void *argument, const struct pst_checkpoint_structure *structure),
                                     void *argument, const char **ret_why);
int pst_checkpoint_folder_entries(struct pst_checkpoint_folder *folder, uint32_t index, const char *operator_id,
                                  const char *structure,
                                  int (*visit)(void *argument, const struct pst_checkpoint_entry *entry),
                                  void *argument, bool *ret_log, const char **ret_why);

/* ---- run ---- */
struct pst_run_report;
struct pst_disk;
/* A node's certificate, and what it signs with: Ed25519. With it buckets of operators in enclaves can go to nodes of the same authority. */
struct pst_identity {               /* all of it borrowed */
    const uint8_t *authority, *key; /* the authority's public key; the node's secret one; 32 bytes each */
    const uint8_t *certificate;     /* DER, 4096 bytes at most */
    size_t certificate_bytes;
};
struct pst_run_options {
    bool fed;                /* of a node: the source reads what a connection brings, and no file */
    bool again;              /* of a node: runs of the graph have begun before this one */
    const char *input;       /* the source's file instead of the graph's; NULL: the graph's; "-": standard input */
    const char *output_dir;  /* the sinks' folder; NULL: the current one. Made if it is not there */
    const char *dead_letter; /* file for late and malformed lines; NULL: none */
    uint32_t worker_count;   /* 0: one a core */
    bool strict;             /* the first malformed line ends the run with PST_EDATA */
    uint32_t frame_rows;     /* 0: the standard; tests use small ones */
    uint32_t channel_frames; /* frames a channel may hold, the bound of its queue; 0: the standard; 1 is legal */
    uint32_t block_bytes;    /* input is read and parsed in blocks of this size; 0: the standard */
    /* Called about four times a second by one of the workers with the counts so far; NULL: not. */
    void (*progress)(void *argument, const struct pst_run_report *report);
    void *progress_argument;
    /* What is to be known before the first row, a sentence; by the caller of pst_run(). NULL: not. */
    void (*note)(void *argument, const char *sentence);
    void *note_argument;
    struct pst_checkpoint_options checkpoint;
    uint64_t
        state_budget; /* bytes of state in clear, of all operators; beyond, it lies sealed in a file. 0: no bound */
    uint32_t evict;   /* which page leaves: an index of pst_run_evict_names */
    bool no_prefetch; /* pages come back when they are wanted, and not before */
    bool preheat;     /* memory of enclaves is touched before the first row is read */
    bool cheap;       /* their pages leave for want of room alone: what is counted is meant for other machines */
    const char *spill_dir;       /* where that file is made, without a name; NULL: output_dir */
    atomic_int *interrupts;      /* NULL, or a count that signal handlers raise: 1 drains, 2 stops at once */
    uint32_t enclave_patience_s; /* a worker that has not moved for so long is taken for hung; 0: 60 */
    const char *enclave_program; /* that workers are made from; NULL: the one that comes with penstock */
    bool stop_and_copy;          /* of a node: for comparison, what is moved away stands still while it is copied */
    struct pst_disk *disk;       /* of a node: what all of its runs keep there; NULL: it is not counted */
    const struct pst_sealed_options
        *sealed;                         /* of a graph on sealed rows: where its workers get their keys; else NULL */
    const struct pst_identity *identity; /* of a node; NULL: buckets of operators in enclaves stay where they are */
    const char *tsm;                     /* of a node: as of struct pst_sealed_options, for workers that meet others */
    /* Of a node: what the hardware's evidence of a machine has to be whose workers those here meet: all but evidence, nonce and time. NULL:
     * it is not looked at. */
    const struct pst_evidence_request *peers;
};
extern const char *const *const pst_run_evict_names; /* ended by NULL; the first is the standard */
struct pst_paging_report {                           /* of one operator, all its partitions; pages are of 16 KiB */
    char *operator_id;
    uint64_t lookups;                    /* of records and log entries: all that were no page_ins are hits */
    uint64_t page_ins, page_ins_ahead;   /* pages brought back; of them those that had been asked for ahead */
    uint64_t page_outs, page_outs_clean; /* evictions: sealed; not sealed, as what lay outside was still the same */
    uint64_t page_images;                /* sealed for checkpoints while they stayed in memory */
    uint64_t dead_inside, dead_outside; /* pages whose content nobody wants any more: dropped unsealed, never fetched */
    uint64_t bytes_sealed, bytes_opened, aheads;
    uint64_t bytes_in_max;   /* of pages in clear, the sum of what each partition had at most */
    uint64_t bytes_needed;   /* of pages touched in one callback, the same */
    uint64_t waits, wait_ns; /* for pages that were not in memory yet */
};
struct pst_enclave_run_report { /* of one operator, all its workers */
    char *operator_id;
    const char *backend;
    uint32_t workers, facts, guards; /* pst_enclave_fact, pst_enclave_guard: of all of them */
    uint8_t measurement[32];
    uint64_t epc_bytes, epc_used_max;              /* of one */
    uint64_t epc_touched_max;                      /* of one: memory of the machine, used or not */
    uint64_t page_ins, page_outs, page_outs_clean; /* to memory outside and back */
    uint64_t leaves, messages;                     /* system calls of the workers; across their borders */
};
enum { PST_BAD_LINES_KEPT = 10 };
struct pst_run_report {
    uint64_t rows, rows_late, lines_malformed, input_bytes; /* rows: well-formed, late ones included */
    uint64_t malformed_line[PST_BAD_LINES_KEPT];            /* line numbers from 1 */
    uint32_t malformed_reason[PST_BAD_LINES_KEPT];
    uint64_t input_bytes_total; /* 0: not known */
    uint64_t rows_out;          /* given to the sinks */
    int64_t watermark;          /* event time reached; INT64_MIN: none yet */
    uint64_t nanoseconds;
    uint64_t state_bytes_max;
    struct pst_checkpoint_report checkpoint;
    uint64_t state_budget_least; /* that this run would have done with */
    struct pst_paging_report *paging;
    uint32_t paging_count; /* 0: there was no budget */
    struct pst_enclave_run_report *enclaves;
    uint32_t enclave_count;
    bool enclave_lost; /* the error is that a worker has died or hung: another one may go on from a checkpoint */
    uint32_t enclave_restarts; /* after a worker that died or hung, from the last checkpoint */
    bool sealed;               /* no row was in the clear here */
    uint32_t worker_count;
    uint32_t output_count;
    char **outputs; /* the names of the files written, as they stand now; freed by pst_run_report_fini() */
    char *error;    /* why it did not end well, a sentence with the place; NULL: it did */
};
void pst_run_report_fini(struct pst_run_report *report);
const char *pst_reject_sentence(uint32_t reason);

/* Runs the graph to the end of its input. PST_OK: complete, every output under its final name. PST_ESTOPPED: drained after an
 * interrupt, outputs are NAME.partial. Any other error: report->error says what and where; what was written is NAME.failed.
 * A graph runs once. `world` NULL: the real one. */
int pst_run(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
            struct pst_run_report *ret_report);

/* ---- rows that are sealed from the user's side to the user's side (docs/sealing.md) ---- */
struct pst_seal_options {
    const uint8_t *key;  /* the user's, 32 bytes */
    const char *output;  /* NAME.part until it is whole */
    bool resume;         /* goes on with NAME.part; the input is the same one */
    bool live;           /* to standard output instead, each mark as soon as it is made; without `resume` */
    bool *ret_stays;     /* an output that is there stays as it is, and this says so; NULL: it is written anew */
    uint8_t *ret_stream; /* 16 bytes, drawn for this stream: results that come of it say so */
};
/* Runs the source and the stateless operators behind it, and seals what they put out: the stream that the operators in enclaves take. As
 * pst_run(); of the options what concerns a source counts. PST_EGRAPH: the graph cannot be sealed, report->error names the operator;
 * PST_EREFUSED: another process is writing it. */
int pst_seal_run(const struct pst_graph *graph, const struct pst_run_options *options,
                 const struct pst_seal_options *seal, struct pst_run_report *ret_report);
/* Was the sealed stream that lies there sealed for this graph, with this key? By the beginnings of its edges alone; a file that is none passes.
 * PST_EREFUSED: it was not; else as file_open(). *ret_error is a sentence then, to be freed by pst_free(). */
int pst_seal_check(const struct pst_graph *graph, const uint8_t key[32], const char *path, char **ret_error);
struct pst_open_report {  /* freed by pst_free(report->error) */
    uint64_t rows, bytes; /* bytes: of the lines */
    uint8_t stream[16];   /* that they come of */
    char *error;
};
/* Opens what a sink was given, checks that nothing is missing, and writes what the sink would: to `output`, NAME.part until it is whole.
 * sink: its id or its file; NULL: the only one. stream: which one
 * they have to come of; NULL: any. PST_EREFUSED: it is not what was sealed. */
int pst_open_sealed(const struct pst_graph *graph, const char *sink, const uint8_t key[32], const uint8_t *stream,
                    const char *input, const char *output, struct pst_open_report *ret_report);
enum { PST_WITNESS_WHY_BYTES = 300 };
struct pst_sealed_options {
    const char *keys;        /* HOST:PORT or unix:PATH, where `penstock key serve` answers */
    const uint8_t *node_key; /* 32 bytes: what the node signs software evidence with */
    uint64_t patience_ns;    /* for an answer */
    const char *tsm;         /* where the kernel gives evidence of this machine, configfs-tsm; NULL: software alone */
    /* Adds to a worker's evidence what shows which machine its node is (docs/attestation.md), for the keeper's nonce: *ret_count of `room`
     * bytes. PST_OK, or an error with a sentence. NULL: nothing is added. Thread: the run's, which waits for it. */
    int (*witness)(void *argument, const uint8_t nonce[64], uint8_t *ret_bytes, size_t room, size_t *ret_count,
                   char ret_why[PST_WITNESS_WHY_BYTES]);
    void *witness_argument;
};
/* Runs a graph on a sealed stream: options->input. Its sinks' files are NAME.sealed. As pst_run(). */
int pst_sealed_run(struct pst_graph *graph, const struct pst_run_options *options, struct pst_world *world,
                   const struct pst_sealed_options *sealed, struct pst_run_report *ret_report);
/* Calls take() for each operator in enclaves with what its workers will be measured as (SHA-256). As pst_sealed_run(); `ret_why` is a
 * sentence on an error. */
int pst_sealed_measure(const struct pst_graph *graph, const char *program,
                       void (*take)(void *argument, const char *id, const uint8_t measurement[32]), void *argument,
                       char ret_why[640]);

struct pst_evidence_request;    /* enclave_shim/attestation/evidence.h */
struct pst_key_server_options { /* borrowed until it is freed */
    const char *listen;         /* HOST:PORT or unix:PATH */
    const uint8_t *key;         /* the user's, 32 bytes: nobody is sent it */
    const struct pst_evidence_request
        *request;   /* policy, certificates, what is allowed; evidence, nonce and time come later */
    uint64_t count; /* it ends after so many releases; 0: when it is told to */
    atomic_int *interrupts;
    void (*log)(void *argument, const char *line); /* a line for each thing that happens; no secret is in it */
    void *argument;
};
struct pst_key_server;
/* Releases what the user's key is for a graph to workers whose evidence is what the policy wants, and to nobody else. PST_ENOMEM. */
int pst_key_server_new(struct pst_world *world, const struct pst_key_server_options *options,
                       struct pst_key_server **ret_server);
pst_step pst_key_server_step(void *argument, uint32_t worker);             /* for world->run() with one worker */
int pst_key_server_free(struct pst_key_server *server, char ret_why[240]); /* why it could not be reached */

/* ---- nodes ---- */
struct pst_store; /* migration/store.h */
struct pst_node;
struct pst_node_options {    /* borrowed until the node is freed */
    const char *name;        /* of the node, in its cluster; visible ASCII without a slash */
    const char *listen;      /* HOST:PORT */
    const char *advertise;   /* HOST:PORT where others reach it; NULL: where it listens */
    const char *admin;       /* "unix:PATH" where commands may connect, too; NULL: none */
    const char *directory;   /* what the node keeps lies below it: results/GRAPH/ */
    const char *join;        /* HOST:PORT of any node of the cluster; NULL: it is the first one, and coordinates */
    struct pst_store *store; /* of the first one: what it decides is there. Closed by the caller, after the node */
    /* Instead of `join` and `store`: a store that every node reaches, so that any of them may coordinate. Called by worker 0
     * whenever a session is wanted; the node closes what it is given, by worker 0 too. PST_OK or an error: it tries again. */
    int (*store_open)(void *argument, struct pst_store **ret_store);
    void *store_argument;
    const char
        *store_name; /* what `status` calls the store, this node's own or not: "ZooKeeper at HOSTS". NULL: a test's */
    uint32_t worker_count; /* workers that step graphs; 0: one a core */
    uint64_t dead_ns;      /* a node that is silent for so long is taken for dead; 0: two seconds */
    uint64_t tell_ns;      /* how often it tells how busy it is; 0: once a second */
    uint64_t drain_ns;     /* told to end, it stays so long at most for its partitions to move; 0: it ends at once */
    uint32_t enclave_patience_s;         /* as of a run */
    const char *enclave_program;         /* the same */
    const struct pst_identity *identity; /* NULL: it has none, or one of another kind */
    const uint8_t
        *node_key;   /* 32 bytes: what evidence of workers for sealed rows is signed with; NULL: there are none here */
    const char *tsm; /* as of struct pst_sealed_options */
    const struct pst_evidence_request *peers; /* as of a run */
    uint64_t join_ns;   /* PST_ETIMEOUT when it has not joined so long after its start; 0: it tries for ever */
    bool insecure;      /* its connections are not protected: `status` says so */
    bool stop_and_copy; /* as of a run */
    bool relocates;     /* of a coordinator, a test's: what moves goes stop and go, of every graph (docs/cluster.md) */
    uint64_t state_budget; /* of each of its runs; 0: no bound. What does not fit lies sealed below `directory` */
    uint32_t evict;
    uint64_t
        portion_bytes; /* of a coordinator: what moves at once is at most this much state, or a bucket; 0: 64 MiB */
    struct pst_registry registry;
    uint32_t frame_rows, channel_frames, block_bytes; /* as of a run */
    /* A folder that all nodes reach: GRAPH/nodes/NAME/ holds a node's parts of checkpoints, GRAPH/results/ the outputs. NULL: none. Of
     * the first node it says whether graphs have checkpoints; then all others must have it, and the key. */
    const char *checkpoints;
    struct pst_secret *const *keys; /* the first one seals, all of them open */
    uint32_t key_count;
    uint64_t every_ns;        /* of the first node: how often */
    uint64_t disk_bytes_max;  /* of its checkpoints and spilled pages, over all graphs; 0: no bound */
    const char *metrics;      /* HOST:PORT where GET /metrics is answered, to anybody and in clear; NULL: nowhere */
    const char *version;      /* of the program, to be shown there */
    uint64_t (*memory)(void); /* bytes that the process takes; NULL: it is not known */
    atomic_int *interrupts;   /* 1: it leaves when its partitions are elsewhere, 2: at once */
    void (*listens)(void *argument,
                    const char *address);          /* it can be reached; with the port that was chosen. NULL: not */
    void (*log)(void *argument, const char *line); /* one line for each thing that happens, by worker 0; NULL: none */
    void *log_argument;
};
/* Owns:    the world is borrowed. Errors: PST_ENOMEM. */
int pst_node_new(struct pst_world *world, const struct pst_node_options *options, struct pst_node **ret_node);
/* For world->run() with pst_node_workers() workers. */
uint32_t pst_node_workers(const struct pst_node *node);
pst_step pst_node_step(void *argument, uint32_t worker); /* argument: the node */
/* When its workers are done. PST_OK, PST_ESTOPPED after an interrupt, or why it gave up: ret_why. */
int pst_node_free(struct pst_node *node, char ret_why[240]);

/* What is committed of a sink, read piece by piece. */
struct pst_reading {
    const char *graph, *sink; /* sink: the operator, or its file */
    bool follow;              /* to the graph's end; else to what is committed now */
    /* Each byte once, in order. An error ends it. */
    int (*take)(void *argument, const void *bytes, size_t byte_count);
    void *argument;
    /* How far it is: zero at first, kept between two questions, so that the second one goes on. */
    uint64_t offset, since;
    uint64_t heard_ns; /* of the world's clock: when it was answered last; at first when it began */
    bool ended;        /* there will be no more */
    char said[200];    /* why there is nothing yet; "": there is nothing to say */
};
struct pst_replay_report;

/* What a command asks a node, and what it is told. */
struct pst_question {
    const char *address; /* HOST:PORT or unix:PATH */
    const char *const *arguments;
    uint32_t argument_count;
    const void *body; /* a graph's text; NULL: none */
    size_t body_bytes;
    bool json;
    uint64_t deadline_ns;        /* of each move that is asked for, a day at most; 0: the coordinator's own */
    struct pst_reading *reading; /* instead of arguments; NULL: none */
    uint64_t after_ns;           /* it is asked when so much time has passed */
    uint64_t timeout_ns;         /* without any answer; 0: it waits as long as the connection stands */
    atomic_int *interrupts;
    /* NULL, or called when the node says how far it is: once in a while, perhaps never; by the step. */
    void (*progress)(void *argument, const char *text, size_t byte_count);
    void *argument;
};
struct pst_answer {
    int error;       /* of what was asked */
    bool unanswered; /* the other side has closed the connection instead of an answer */
    struct pst_text out, err;
};
/* Runs the world with one worker. PST_OK: `ret_answer` is the node's; else nobody has answered, and its `err` says why: PST_EIO not
 * reached or lost, PST_EREFUSED, PST_ETIMEOUT, PST_ESTOPPED. Freed by pst_answer_fini() in any case. */
int pst_ask(struct pst_world *world, const struct pst_question *question, struct pst_answer *ret_answer);
/* The same by steps, for world->run() with one worker. `answer` is zero at first and the caller's; all is borrowed until the end, which gives
 * what pst_ask() would. Errors of new(): PST_ENOMEM. */
struct pst_asking;
int pst_asking_new(struct pst_world *world, const struct pst_question *question, struct pst_answer *answer,
                   struct pst_asking **ret_asking);
pst_step pst_asking_step(void *argument, uint32_t worker);
int pst_asking_free(struct pst_asking *asking);
void pst_answer_fini(struct pst_answer *answer);
/* What a question with this reading came to: is it worth asking again? A node is gone, and the cluster will find out; but not once nobody
 * has answered for a minute. */
bool pst_reading_again(const struct pst_reading *reading, int rc, const struct pst_answer *answer, uint64_t now_ns);

/* ---- replay: a recorded stream into a running graph ---- */
struct pst_replay_options {     /* borrowed until the replay is freed */
    const char *file;           /* one that can be read again; NAME.gz is unpacked */
    bool sealed;                /* nothing but a sealed stream is sent */
    const char *address;        /* HOST:PORT or unix:PATH of any node */
    const char *graph, *source; /* "": the only one that takes a stream; its source */
    const char *stream;         /* its id; visible ASCII */
    /* Of a graph that takes several, whose it is: that of the node of this name; NULL or "": not said. here: then that of the one at
     * `address`. */
    const char *reader;
    bool here;
    /* Of the lines' event time: the stream begins with the first line at or above `from`, and ends before the first one at or above
     * `until`. INT64_MIN and INT64_MAX: it is the whole file. */
    int64_t from, until;
    int32_t time_column;   /* of a line, from 0; -1: as the graph's source has it */
    double speed;          /* event time of a second of the clock, in seconds; 0: as fast as it is taken */
    uint64_t time_unit_ns; /* of event time */
    uint64_t patience_ns;  /* it gives up when no node answers for so long */
    atomic_int *interrupts;
    /* About four times a second, and for each thing that happens; by the step. NULL: not. */
    void (*progress)(void *argument, const struct pst_replay_report *report);
    void (*log)(void *argument, const char *line);
    void *argument;
};
struct pst_replay_report {
    uint64_t rows, bytes;          /* sent, what was sent again among them */
    uint64_t offset;               /* of the stream: what comes next */
    uint64_t length;               /* of the stream; UINT64_MAX: not known yet */
    uint64_t bytes_total;          /* of the file, where its end is the stream's; 0: not known */
    int64_t time_first, time_last; /* event time that was sent first, and last; INT64_MIN: none yet */
    uint64_t nanoseconds;          /* since the first byte was sent */
    uint32_t connections;          /* that bytes were sent on */
    bool before;                   /* all of it had been taken before */
    char graph[256];
    char why[400]; /* it did not end well */
};
struct pst_replay;
/* Errors:  PST_ENOENT, PST_EIO, PST_EREFUSED (pst_system_error()): the file; PST_EINVAL: it cannot be read again; PST_ENOMEM. */
/* PST_EDATA: it is to be a sealed stream, and is none. PST_ERANGE: a sealed stream at a speed, or a range of one: no event time of it is known. */
int pst_replay_new(struct pst_world *world, const struct pst_replay_options *options, struct pst_replay **ret_replay);
/* For world->run() with one worker. */
pst_step pst_replay_step(void *argument, uint32_t worker);
/* PST_OK: the graph is done, with all of the stream. PST_ESTOPPED: interrupted; the same again goes on. Else ret_report->why. */
int pst_replay_free(struct pst_replay *replay, struct pst_replay_report *ret_report);

#endif
