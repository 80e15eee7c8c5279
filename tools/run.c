/* tools/run.c - `penstock run`: one graph in this process, to the end of its input. */
#include "tools/inside.h"
#include "tools/keyfile.h"
#include "tools/witness.h"

#include <stdatomic.h>
#include <string.h>

enum {
    FRAME_ROWS_MAX = 1 << 20,
    CHANNEL_FRAMES_MAX = 1 << 16,
    BLOCK_BYTES_MIN = 64,
    BLOCK_BYTES_MAX = 1 << 30,
};

/* ---- options ---- */

static bool block_bytes_read(const struct pst_call *call, uint32_t *ret_bytes)
{
    const char *word = pst_call_flag(call, "block-bytes");
    uint64_t bytes = 0;
    if (word != NULL &&
        (pst_parse_bytes(word, &bytes) != PST_OK || bytes < BLOCK_BYTES_MIN || bytes > BLOCK_BYTES_MAX)) {
        pst_complain(call, PST_EXIT_USAGE, "--block-bytes `%s`: a size from 64 to 1GiB is wanted, as 64KiB", word);
        return false;
    }
    *ret_bytes = (uint32_t)bytes;
    return true;
}

bool pst_evict_read(const struct pst_call *call, uint32_t *ret_evict)
{
    const char *word = pst_call_flag(call, "evict");
    uint32_t count = 0;
    for (; pst_run_evict_names[count] != NULL; count++) {
        if (word != NULL && strcmp(word, pst_run_evict_names[count]) == 0) {
            *ret_evict = count;
            return true;
        }
    }
    if (word == NULL)
        return true;
    const char *nearest = pst_nearest(word, pst_run_evict_names, count);
    pst_complain(call, PST_EXIT_USAGE, "--evict `%s`: event-time, lru, clock or random is wanted%s%s%s", word,
                 nearest != NULL ? "; did you mean `" : "", nearest != NULL ? nearest : "",
                 nearest != NULL ? "`?" : "");
    return false;
}

bool pst_budget_read(const struct pst_call *call, uint64_t *ret_bytes)
{
    const char *size = pst_call_flag(call, "state-budget");
    if (size == NULL || (pst_parse_bytes(size, ret_bytes) == PST_OK && *ret_bytes != 0))
        return true;
    pst_complain(call, PST_EXIT_USAGE, "--state-budget `%s`: a size is wanted, as 64MiB", size);
    return false;
}

static bool budget_read(const struct pst_call *call, struct pst_run_options *options)
{
    const char *size = pst_call_flag(call, "state-budget");
    options->spill_dir = pst_call_flag(call, "spill");
    options->no_prefetch = pst_call_flag(call, "no-prefetch") != NULL;
    if (!pst_budget_read(call, &options->state_budget))
        return false;
    if (size == NULL && (options->no_prefetch || options->spill_dir != NULL)) {
        pst_complain(call, PST_EXIT_USAGE, "--spill and --no-prefetch mean something with --state-budget");
        return false;
    }
    if (size == NULL && pst_call_flag(call, "evict") != NULL && pst_call_flag(call, "epc") == NULL &&
        pst_call_flag(call, "enclave") == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--evict means something with --state-budget, --enclave or --epc");
        return false;
    }
    return pst_evict_read(call, &options->evict);
}

static bool options_read(const struct pst_call *call, struct pst_run_options *options)
{
    uint64_t worker_count = 0, frame_rows = 0, channel_frames = 0, patience = 0;
    const struct pst_epc_model *model;
    if (!pst_call_number(call, "workers", 1, PST_WORKERS_MAX, 0, &worker_count) ||
        !pst_call_number(call, "enclave-patience", 1, PST_ENCLAVE_PATIENCE_MAX, 0, &patience) ||
        !pst_call_number(call, "frame-rows", 1, FRAME_ROWS_MAX, 0, &frame_rows) ||
        !pst_call_number(call, "channel-frames", 1, CHANNEL_FRAMES_MAX, 0, &channel_frames) ||
        !block_bytes_read(call, &options->block_bytes) || !budget_read(call, options) ||
        !pst_epc_model_read(call, &model))
        return false;
    options->input = pst_call_flag(call, "input");
    options->output_dir = pst_call_flag(call, "output");
    options->dead_letter = pst_call_flag(call, "dead-letter");
    options->strict = pst_call_flag(call, "strict") != NULL;
    options->worker_count = (uint32_t)worker_count;
    options->enclave_patience_s = (uint32_t)patience;
    options->enclave_program = pst_call_flag(call, "enclave-program");
    options->preheat = pst_call_flag(call, "preheat") != NULL;
    options->cheap = model != NULL;
    options->frame_rows = (uint32_t)frame_rows;
    options->channel_frames = (uint32_t)channel_frames;
    options->interrupts = pst_interrupts();
    return true;
}

/* ---- the run ---- */

/* Why it did not end well, and where what was written so far is. */
static void error_say(struct pst_text *error, int rc, const struct pst_run_report *report)
{
    pst_text_printf(error, "%s", report->error != NULL ? report->error : pst_error_sentence(rc));
    bool first = true;
    for (uint32_t i = 0; i < report->output_count; i++) {
        if (report->error != NULL && strstr(report->error, report->outputs[i]) != NULL)
            continue; /* the sentence says so already */
        pst_text_printf(error, "%s%s", first ? "; what was written so far is in " : ", ", report->outputs[i]);
        first = false;
    }
}

/* Shows how it ended; returns the exit code. */
static int outcome_show(const struct pst_call *call, const struct pst_loaded *loaded,
                        const struct pst_run_report *report, int exit_code, const char *error)
{
    const struct pst_outcome outcome = {
        .call = call, .loaded = loaded, .report = report, .exit_code = exit_code, .error = error};
    const int shown = call->json ? pst_outcome_json(&outcome) : PST_EXIT_OK;
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

enum { KEYS_SECONDS = 30 };

/* On a sealed stream. An error that has no sentence of its own has been put into the report. */
static int sealed_run(const struct pst_call *call, const struct pst_loaded *loaded,
                      const struct pst_run_options *options, struct pst_run_report *report)
{
    const char *tls = pst_call_flag(call, "tls");
    char why[PST_TLS_WHY_BYTES] = "";
    struct pst_keyring_keys node = {0};
    struct pst_witness witness;
    char tpm_why[PST_TPM_WHY_BYTES] = "";
    struct pst_sealed_options sealed = {.keys = pst_call_flag(call, "keys"),
                                        .tsm = pst_tsm_directory(call),
                                        .patience_ns = (uint64_t)KEYS_SECONDS * 1000 * 1000 * 1000};
    struct pst_world *world = pst_world_uv();
    int rc = world != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK && pst_node_key_read(call, pst_call_flag(call, "node-key"), &node) != PST_EXIT_OK) {
        rc = PST_EREFUSED;
        report->error = pst_strdup("the node's key cannot be used");
    }
    if (rc == PST_OK && tls != NULL) {
        rc = pst_world_uv_tls(world, tls, why);
        if (rc != PST_OK)
            report->error = pst_strdup(why);
    }
    if (pst_witness_read(call, &witness) != PST_EXIT_OK)
        rc = PST_EINVAL; /* sealed_check() has looked at it */
    if (rc == PST_OK) {
        sealed.node_key = pst_secret_bytes(node.secrets[0]);
        rc = pst_witness_open(&witness, sealed.node_key, false, tpm_why);
        if (rc != PST_OK)
            report->error = pst_strdup(tpm_why);
    }
    if (rc == PST_OK) {
        sealed.witness = witness.tpm != NULL ? pst_witness_quote : NULL;
        sealed.witness_argument = &witness;
        rc = pst_sealed_run(loaded->graph, options, world, &sealed, report);
    }
    pst_witness_close(&witness);
    pst_keyring_keys_fini(&node);
    pst_world_uv_free(world);
    return rc;
}

/* PST_EXIT_OK, or it has complained. */
static int sealed_check(const struct pst_call *call)
{
    static const char *const others[] = {"dead-letter", "strict",     "state-budget",
                                         "workers",     "frame-rows", "channel-frames"};
    static const char *const alone[] = {"tpm", "tpm-key", "pcrs", "tsm"};
    struct pst_witness witness;
    bool sealed = pst_call_flag(call, "sealed") != NULL;
    const char *keys = pst_call_flag(call, "keys"), *node_key = pst_call_flag(call, "node-key");
    for (uint32_t i = 0; sealed && i < sizeof others / sizeof others[0]; i++) {
        if (pst_call_flag(call, others[i]) == NULL)
            continue;
        pst_complain(call, PST_EXIT_USAGE,
                     "--%s means nothing with --sealed: the host only carries what it cannot read", others[i]);
        return PST_EXIT_USAGE;
    }
    for (uint32_t i = 0; !sealed && i < sizeof alone / sizeof alone[0]; i++) {
        if (pst_call_flag(call, alone[i]) == NULL)
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s means something with --sealed", alone[i]);
        return PST_EXIT_USAGE;
    }
    if (pst_witness_read(call, &witness) != PST_EXIT_OK)
        return PST_EXIT_USAGE;
    if (!sealed && (keys != NULL || node_key != NULL)) {
        pst_complain(call, PST_EXIT_USAGE, "--keys and --node-key mean something with --sealed");
        return PST_EXIT_USAGE;
    }
    if (sealed && (keys == NULL || node_key == NULL || pst_call_flag(call, "input") == NULL)) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--sealed needs --input FILE, of `penstock seal`, --keys ADDRESS, of `penstock key serve`, and "
                     "--node-key FILE");
        return PST_EXIT_USAGE;
    }
    if (sealed && strncmp(keys, "unix:", 5) != 0 && pst_call_flag(call, "tls") == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--keys %s needs --tls FOLDER; unix:PATH needs none", keys);
        return PST_EXIT_USAGE;
    }
    return PST_EXIT_OK;
}

static void note(void *argument, const char *sentence) { pst_note(argument, "penstock: warning: %s", sentence); }

static int graph_run(const struct pst_call *call, const struct pst_loaded *loaded, struct pst_run_options *options)
{
    struct pst_run_report report = {0};
    struct pst_progress progress = {.call = call, .interrupts = pst_interrupts()};
    options->progress = pst_progress_report;
    options->progress_argument = &progress;
    options->note = note;
    options->note_argument = (void *)(uintptr_t)call;
    pst_signals_take();
    const int rc = pst_call_flag(call, "sealed") != NULL ? sealed_run(call, loaded, options, &report)
                                                         : pst_run(loaded->graph, options, NULL, &report);
    pst_progress_clear(&progress);
    options->progress_argument = NULL;

    struct pst_text error = {0};
    const int exit_code = pst_exit_of_error(rc);
    if (rc != PST_OK)
        error_say(&error, rc, &report);
    const char *sentence = rc == PST_OK ? NULL : error.bytes != NULL ? error.bytes : pst_error_sentence(rc);
    if (!call->json)
        pst_outcome_note(&(struct pst_outcome){.call = call, .loaded = loaded, .report = &report, .error = sentence});
    if (sentence != NULL)
        pst_complain_text(call, exit_code, sentence);
    const int shown = outcome_show(call, loaded, &report, exit_code, sentence);
    pst_text_fini(&error);
    pst_run_report_fini(&report);
    return shown;
}

/* What the command line says of enclaves, over what the graph says. PST_EXIT_OK, or it has complained. */
int pst_enclaves_apply(const struct pst_call *call, struct pst_graph *graph, bool by_others)
{
    const char *size = pst_call_flag(call, "epc"), *program = pst_call_flag(call, "enclave-program"), *why;
    char sentence[640];
    uint64_t bytes = 0;
    if (size != NULL && (pst_parse_bytes(size, &bytes) != PST_OK || !pst_epc_fits(bytes))) {
        pst_complain(call, PST_EXIT_USAGE, "--epc `%s`: a size of 1MiB at least is wanted, as 93.5MiB", size);
        return PST_EXIT_USAGE;
    }
    if (size != NULL)
        pst_graph_epc(graph, bytes);
    for (uint32_t i = 0; i < call->flag_count; i++) {
        if (strcmp(call->flags[i].flag->name, "enclave") != 0)
            continue;
        const char *id = call->flags[i].value;
        int rc = pst_graph_enclave(graph, id, by_others || program != NULL, &why);
        if (rc == PST_OK)
            continue;
        if (rc == PST_EGRAPH)
            pst_complain(call, PST_EXIT_CONFIG, "--enclave `%s`: it cannot run in an enclave: %s", id, why);
        else if (rc == PST_ENOMEM)
            pst_complain(call, PST_EXIT_FAILED, "%s", why);
        else if (strcmp(id, "all") == 0)
            pst_complain(call, PST_EXIT_CONFIG, "--enclave all: no operator of this graph can run in an enclave");
        else
            pst_complain(call, PST_EXIT_CONFIG, "--enclave `%s`: the graph has no operator of this id", id);
        return rc == PST_ENOMEM ? PST_EXIT_FAILED : PST_EXIT_CONFIG;
    }
    if (by_others || pst_graph_enclave_check(graph, program, sentence) == PST_OK)
        return PST_EXIT_OK;
    pst_complain(call, PST_EXIT_CONFIG, "%s", sentence);
    return PST_EXIT_CONFIG;
}

static int run_run(const struct pst_call *call)
{
    struct pst_run_options options = {0};
    struct pst_run_checkpoint checkpoint;
    if (!options_read(call, &options))
        return PST_EXIT_USAGE;
    int exit_code = sealed_check(call);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    exit_code = pst_run_checkpoint_init(&checkpoint, call);
    if (exit_code == PST_EXIT_OK) {
        struct pst_loaded loaded;
        options.checkpoint = checkpoint.options;
        exit_code = pst_loaded_init(&loaded, call);
        if (exit_code == PST_EXIT_OK) {
            exit_code = pst_enclaves_apply(call, loaded.graph, false);
            if (exit_code == PST_EXIT_OK && options.preheat && !pst_graph_has_enclaves(loaded.graph)) {
                exit_code = PST_EXIT_USAGE;
                pst_complain(call, exit_code, "--preheat means something where operators run in enclaves: --enclave");
            }
            if (exit_code == PST_EXIT_OK)
                exit_code = graph_run(call, &loaded, &options);
        } else {
            exit_code = outcome_show(call, &loaded, &(struct pst_run_report){0}, exit_code, loaded.error.bytes);
        }
        pst_loaded_fini(&loaded);
    }
    pst_run_checkpoint_fini(&checkpoint);
    return exit_code;
}

static const struct pst_flag run_flags[] = {
    {"input", 'i', "FILE", false, "Read FILE instead of the source's file; `-` is standard input.", "file"},
    {"output", 'o', "DIR", false, "Write results into the folder DIR; it is made where it is missing.", "dir"},
    {"workers", 'w', "N", false, "Work with N threads; without it one for each core.", NULL},
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {"dead-letter", 0, "FILE", false, "Write late and malformed lines, unchanged, to FILE.", "file"},
    {"strict", 0, NULL, false, "Stop at the first malformed line, with exit code 65.", NULL},
    {"checkpoint", 0, "DIR", false, "Write sealed checkpoints into the folder DIR while the stream runs.", "dir"},
    {"every-seconds", 0, "N", false, "A checkpoint every N seconds; 10 where nothing is said.", NULL},
    {"every-rows", 0, "N", false, "A checkpoint every N rows of input.", NULL},
    {"resume", 0, NULL, false, "Go on from the newest whole checkpoint in DIR.", NULL},
    {"key", 0, "FILE", false, "Seal and open with the keys of FILE, made by `penstock key init FILE`.", "file"},
    {"counter", 0, "FILE", false, "Record the newest checkpoint in FILE, kept elsewhere; refuse an older folder.",
     "file"},
    {"counter-command", 0, "CMD", false, "The same by a command: `CMD read` prints a number, `CMD raise N` records.",
     NULL},
    {"drop-state", 0, "ID", true, "Resume without the state of operator ID, which does not fit it any more.", NULL},
    {"state-budget", 0, "SIZE", false,
     "Keep at most SIZE of state in memory, as 64MiB; the rest lies sealed in a file.", NULL},
    {"evict", 0, "POLICY", false, "Which pages leave: event-time (unless said), lru, clock, random.", NULL},
    {"spill", 0, "DIR", false, "Put that file into DIR and not into the output folder; it has no name.", "dir"},
    {"no-prefetch", 0, NULL, false, "Fetch pages when they are wanted, and not before.", NULL},
    {"enclave", 0, "OPERATOR", true,
     "Run OPERATOR in enclaves, one for each partition; `all`: every operator that has state.", NULL},
    {"enclave-program", 0, "FILE", false,
     "Make workers from FILE, your own with your own operators, and not from penstock's.", "file"},
    {"epc", 0, "SIZE", false, "Memory of each enclave, locked; 93.5MiB unless said.", NULL},
    {"preheat", 0, NULL, false,
     "Touch all memory of enclaves before the first row: they start later, and rows never wait for the system to find "
     "it.",
     NULL},
    {"enclave-patience", 0, "N", false, "Take an enclave for hung that has not moved for N seconds; 60 unless said.",
     NULL},
    {"epc-model", 0, "MODEL", false,
     "Compute what enclaves would cost on sgx1, sgx2 or snp, and say so beside what was measured.", NULL},
    {"sealed", 0, NULL, false, "The input is what `penstock seal` made; results are NAME.sealed, for `penstock open`.",
     NULL},
    {"keys", 0, "ADDRESS", false, "With --sealed: where `penstock key serve` answers, unix:PATH or HOST:PORT.", NULL},
    {"node-key", 0, "FILE", false,
     "With --sealed: the key by which this node signs its workers' evidence: a key file, or node.key of `tls issue`.",
     "file"},
    PST_WITNESS_FLAGS,
    PST_TSM_FLAG("With --sealed: "),
    PST_TLS_FLAG,
    {"frame-rows", 0, "N", false, "For tests and tuning: rows of a frame.", NULL},
    {"channel-frames", 0, "N", false, "For tests and tuning: frames that a channel may hold.", NULL},
    {"block-bytes", 0, "SIZE", false, "For tests and tuning: read the input in blocks of SIZE, as 64KiB.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_run = {
    .name = "run",
    .operands = "GRAPH.yaml",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Run a graph to the end of its input.",
    .text =
        "Results are written to NAME.part and get their NAME when they are complete: a file with its final name is "
        "a whole "
        "one. They are the same bytes for any number of workers and partitions.\n\n"
        "Malformed and late lines are counted and told at the end; they end the run only with `--strict`.\n\n"
        "The first SIGINT or SIGTERM ends the reading and finishes what is in flight: results so far are in "
        "NAME.partial, and "
        "the exit code is 1. A second one stops at once. After an error they are in NAME.failed.\n\n"
        "With `--sealed` this process never sees a row: it carries what `penstock seal` made to the operators, all of "
        "which "
        "are in enclaves, and their results to NAME.sealed. A worker gets its key from `penstock key serve`, once its "
        "evidence has been checked there; behind that stands what the hardware of a confidential machine says of it "
        "(`--tsm`), and a quote of this machine's TPM (`--tpm`), where there are any.\n\n"
        "With `--checkpoint` a run that was killed goes on with `--resume` as if nothing had happened: the same "
        "bytes, none twice, none missing. Workers and partitions may be others. An input that cannot be read again "
        "(standard input, a pipe) cannot be resumed. An enclave that dies or hangs is started again from the last "
        "checkpoint, three times at most from the same one. One run "
        "at a "
        "time writes into a file, or has a folder of checkpoints: another one is refused, 77.",
    .examples =
        "penstock run debs14/load.yaml --input meters.csv --output results\n"
        "penstock run debs14/outliers.yaml --input meters.csv.gz --set partitions=8 --workers 4\n"
        "penstock gen --rows 1000000 | penstock run debs14/load.yaml --input - --json\n"
        "penstock run debs14/load.yaml -i meters.csv -o results --checkpoint points --key meters.key --resume\n"
        "penstock run debs14/outliers.yaml -i meters.csv -o results --state-budget 64MiB\n"
        "penstock run debs14/load.yaml -i meters.csv -o results --enclave all --epc 32MiB\n"
        "penstock run debs14/load.yaml -i meters.sealed -o results --enclave all --sealed --keys unix:keys.sock "
        "--node-key node.key",
    .flags = run_flags,
    .run = run_run,
};
