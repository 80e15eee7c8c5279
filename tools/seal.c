/* tools/seal.c - `penstock seal` and `penstock open`: the user's side of rows that no host may read. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what both need ---- */
struct keyed { /* a graph whose operators are in enclaves, and a key */
    struct pst_loaded loaded;
    struct pst_keyring_keys keys;
    bool has_graph;
};

static int keyed_init(struct keyed *keyed, const struct pst_call *call, const char *graph)
{
    struct pst_call of = *call;
    const char *path = pst_call_flag(call, "key");
    *keyed = (struct keyed){0};
    if (path == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--key FILE is missing: `penstock key init FILE` makes one");
        return PST_EXIT_USAGE;
    }
    int exit_code = pst_keyfile_read(call, path, &keyed->keys);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    if (!keyed->keys.locked)
        pst_note(call, "note: keys could not be locked in memory, they may reach swap: `ulimit -l` is too low");
    of.operands = &graph;
    exit_code = pst_loaded_init(&keyed->loaded, &of);
    keyed->has_graph = true;
    return exit_code == PST_EXIT_OK ? pst_enclaves_apply(call, keyed->loaded.graph, true) : exit_code;
}

static void keyed_fini(struct keyed *keyed)
{
    if (keyed->has_graph)
        pst_loaded_fini(&keyed->loaded);
    pst_keyring_keys_fini(&keyed->keys);
}

static const char *output_of(const struct pst_call *call)
{
    const char *output = pst_call_flag(call, "output");
    if (output == NULL || output[0] == '\0')
        pst_complain(call, PST_EXIT_USAGE, "--output FILE is missing");
    return output != NULL && output[0] != '\0' ? output : NULL;
}

enum { STREAM_BYTES = 16 };

static void stream_print(struct pst_text *text, const uint8_t stream[STREAM_BYTES])
{
    for (uint32_t i = 0; i < STREAM_BYTES; i++)
        pst_text_printf(text, "%02x", stream[i]);
}

static bool stream_read(const struct pst_call *call, uint8_t ret_stream[STREAM_BYTES])
{
    const char *word = pst_call_flag(call, "stream");
    bool good =
        word == NULL || (strlen(word) == 2 * STREAM_BYTES && strspn(word, "0123456789abcdef") == 2 * STREAM_BYTES);
    for (uint32_t i = 0; word != NULL && good && i < STREAM_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";
        ret_stream[i] =
            (uint8_t)((strchr(digits, word[2 * i]) - digits) << 4 | (strchr(digits, word[2 * i + 1]) - digits));
    }
    if (!good)
        pst_complain(call, PST_EXIT_USAGE,
                     "--stream `%s`: 32 hexadecimal digits are wanted, as `penstock seal` says them", word);
    return good;
}

/* ---- seal ---- */

static int seal_show(const struct pst_call *call, const struct pst_run_report *report, const char *output,
                     const uint8_t stream[STREAM_BYTES], int exit_code)
{
    struct pst_text json = {0};
    if (!call->json)
        return exit_code;
    pst_text_printf(&json,
                    "{\"schema_version\":%d,\"rows\":%llu,\"rows_late\":%llu,\"lines_malformed\":%llu,\"output\":",
                    PST_JSON_SCHEMA_VERSION, (unsigned long long)report->rows, (unsigned long long)report->rows_late,
                    (unsigned long long)report->lines_malformed);
    pst_text_json(&json, output);
    pst_text_printf(&json, ",\"stream\":\"");
    stream_print(&json, stream);
    pst_text_printf(&json, "\"");
    pst_text_printf(&json, ",\"seconds\":%.3f,", (double)report->nanoseconds / 1e9);
    pst_json_error(&json, exit_code, report->error);
    pst_text_printf(&json, "}\n");
    int shown = pst_text_show(call, &json);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

static bool is_standard(const char *output) { return strcmp(output, "-") == 0; }

static int graph_seal(const struct pst_call *call, const struct keyed *keyed, const char *input, const char *output,
                      bool resume, bool *ret_stays)
{
    uint64_t workers = 0;
    if (!pst_call_number(call, "workers", 1, PST_WORKERS_MAX, 0, &workers))
        return PST_EXIT_USAGE;
    struct pst_progress progress = {.call = call, .interrupts = pst_interrupts()};
    struct pst_run_report report = {0};
    struct pst_run_options options = {.input = input,
                                      .dead_letter = pst_call_flag(call, "dead-letter"),
                                      .strict = pst_call_flag(call, "strict") != NULL,
                                      .worker_count = (uint32_t)workers,
                                      .interrupts = pst_interrupts(),
                                      .progress = pst_progress_report,
                                      .progress_argument = &progress};
    uint8_t stream[STREAM_BYTES] = {0};
    struct pst_text id = {0};
    struct pst_seal_options seal = {.ret_stream = stream,
                                    .key = pst_secret_bytes(keyed->keys.secrets[0]),
                                    .output = output,
                                    .resume = resume,
                                    .live = ret_stays == NULL && is_standard(output),
                                    .ret_stays = ret_stays};
    pst_signals_take();
    int rc = pst_seal_run(keyed->loaded.graph, &options, &seal, &report);
    pst_progress_clear(&progress);
    int exit_code = pst_exit_of_error(rc);
    if (rc != PST_OK)
        pst_complain_text(call, exit_code, report.error != NULL ? report.error : pst_error_sentence(rc));
    if (rc == PST_ESTOPPED && !seal.live)
        pst_note(call, "penstock: what was sealed so far is in %s.part: the same again with --resume goes on", output);
    stream_print(&id, stream);
    if (rc == PST_OK && (ret_stays == NULL || !*ret_stays))
        pst_note(call, "%s: stream %s, %llu rows read, %llu late, %llu lines malformed",
                 seal.live ? "standard output" : output, id.bytes, (unsigned long long)report.rows,
                 (unsigned long long)report.rows_late, (unsigned long long)report.lines_malformed);
    if (ret_stays == NULL)
        exit_code = seal_show(call, &report, output, stream, exit_code);
    pst_text_fini(&id);
    pst_run_report_fini(&report);
    return exit_code;
}

static int seal_run(const struct pst_call *call)
{
    const char *output = output_of(call);
    struct keyed keyed;
    if (output == NULL)
        return PST_EXIT_USAGE;
    if (is_standard(output) && (call->json || pst_call_flag(call, "resume") != NULL)) {
        pst_complain(call, PST_EXIT_USAGE,
                     call->json
                         ? "--json needs --output FILE: the stream and the report would both be on standard output"
                         : "--resume needs --output FILE: what went to standard output cannot be gone on with");
        return PST_EXIT_USAGE;
    }
    int exit_code = keyed_init(&keyed, call, call->operands[0]);
    if (exit_code == PST_EXIT_OK)
        exit_code =
            graph_seal(call, &keyed, pst_call_flag(call, "input"), output, pst_call_flag(call, "resume") != NULL, NULL);
    keyed_fini(&keyed);
    return exit_code;
}

/* What cannot be opened is there, too: nothing is made in its place. */
static bool is_there(const char *path)
{
    FILE *file = fopen(path, "rb");
    bool there = file != NULL || errno != ENOENT;
    if (file != NULL)
        (void)fclose(file);
    return there;
}

static int spool_check(const struct pst_call *call, const struct keyed *keyed, const char *spool)
{
    char *error;
    int rc = pst_seal_check(keyed->loaded.graph, pst_secret_bytes(keyed->keys.secrets[0]), spool, &error);
    if (rc != PST_OK)
        pst_complain_text(call, pst_exit_of_error(rc), error != NULL ? error : pst_error_sentence(rc));
    pst_free(error);
    return pst_exit_of_error(rc);
}

int pst_seal_spool(const struct pst_call *call, const char *graph, const char *name, const char *input,
                   const char *spool)
{
    struct pst_text part = {0};
    struct keyed keyed;
    bool stays = is_there(spool); /* it has this name when it is whole */
    int exit_code = keyed_init(&keyed, call, graph);
    if (exit_code == PST_EXIT_OK && name[0] != '\0' && strcmp(name, pst_graph_name(keyed.loaded.graph)) != 0) {
        pst_complain(call, PST_EXIT_CONFIG, "--seal %s is graph `%s`, and --to names graph `%s`", graph,
                     pst_graph_name(keyed.loaded.graph), name);
        exit_code = PST_EXIT_CONFIG;
    }
    if (exit_code == PST_EXIT_OK && pst_text_printf(&part, "%s.part", spool) != PST_OK)
        exit_code = PST_EXIT_FAILED;
    if (exit_code == PST_EXIT_OK && !stays) /* another one may be faster */
        exit_code = graph_seal(call, &keyed, input, spool, is_there(part.bytes), &stays);
    if (exit_code == PST_EXIT_OK && stays)
        exit_code = spool_check(call, &keyed, spool);
    keyed_fini(&keyed);
    pst_text_fini(&part);
    return exit_code;
}

static const struct pst_flag seal_flags[] = {
    {"key", 'k', "FILE", false, "The user's key, made by `penstock key init FILE`; the newest of the file seals.",
     "file"},
    {"input", 'i', "FILE", false, "Read FILE instead of the source's file; `-` is standard input.", "file"},
    {"output", 'o', "FILE", false, "Write the sealed stream to FILE; `-` is standard output, as rows come.", "file"},
    {"resume", 0, NULL, false, "Go on with FILE.part, which was cut; the input is the same from its beginning.", NULL},
    {"enclave", 0, "OPERATOR", true,
     "As for `run`: `all` where the graph does not say which operators are in enclaves.", NULL},
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {"workers", 'w', "N", false, "Work with N threads; without it one for each core.", NULL},
    {"dead-letter", 0, "FILE", false, "Write late and malformed lines, unchanged and in clear, to FILE.", "file"},
    {"strict", 0, NULL, false, "Stop at the first malformed line, with exit code 65.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_seal = {
    .name = "seal",
    .operands = "GRAPH.yaml",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Seal the rows of an input for a graph's enclaves.",
    .text =
        "Reads and parses the input, runs the stateless operators behind the source, and seals each row for the "
        "operator "
        "that takes it. The file that comes of it is what `penstock run --sealed` reads: a host sees which "
        "operator and "
        "bucket a piece is for, how many rows it has and up to what time the stream is complete, and no row.\n\n"
        "The stream is written to FILE.part, and gets its name when it is complete. Where it was cut, `--resume` "
        "goes on "
        "behind its last mark, under new keys: nothing is sealed twice under one key and number.\n\n"
        "With `-o -` it goes to standard output while rows come, for a `penstock run --sealed --input -` that works on "
        "them at once: as far as each mark, of which there is one for every 8192 rows. There is nothing to go on with "
        "where that was cut.",
    .examples = "penstock seal debs14/load.yaml --enclave all --key user.key -i meters.csv -o meters.sealed\n"
                "penstock seal debs14/load.yaml --enclave all --key user.key -i meters.csv -o meters.sealed --resume\n"
                "penstock seal debs14/load.yaml --enclave all --key user.key -i - -o - --quiet",
    .flags = seal_flags,
    .run = seal_run,
};

/* ---- open ---- */

static int open_run(const struct pst_call *call)
{
    const char *output = output_of(call);
    struct keyed keyed;
    struct pst_open_report report = {0};
    struct pst_text json = {0};
    uint8_t stream[STREAM_BYTES];
    if (output == NULL || !stream_read(call, stream))
        return PST_EXIT_USAGE;
    int exit_code = keyed_init(&keyed, call, call->operands[0]);
    if (exit_code == PST_EXIT_OK) {
        int rc =
            pst_open_sealed(keyed.loaded.graph, pst_call_flag(call, "sink"), pst_secret_bytes(keyed.keys.secrets[0]),
                            pst_call_flag(call, "stream") != NULL ? stream : NULL, call->operands[1], output, &report);
        const char *error = report.error != NULL ? report.error : pst_error_sentence(rc);
        exit_code = pst_exit_of_error(rc);
        if (rc != PST_OK)
            pst_complain_text(call, exit_code, error);
        else
            pst_note(call, "%s: %llu rows, all that were sealed", output, (unsigned long long)report.rows);
        if (call->json) {
            pst_text_printf(&json, "{\"schema_version\":%d,\"rows\":%llu,\"bytes\":%llu,", PST_JSON_SCHEMA_VERSION,
                            (unsigned long long)report.rows, (unsigned long long)report.bytes);
            pst_text_printf(&json, "\"stream\":\"");
            stream_print(&json, report.stream);
            pst_text_printf(&json, "\",");
            pst_json_error(&json, exit_code, rc != PST_OK ? error : NULL);
            pst_text_printf(&json, "}\n");
            int shown = pst_text_show(call, &json);
            exit_code = exit_code != PST_EXIT_OK ? exit_code : shown;
        }
        pst_free(report.error);
    }
    keyed_fini(&keyed);
    return exit_code;
}

static const struct pst_flag open_flags[] = {
    {"key", 'k', "FILE", false, "The user's key; the newest of the file opens.", "file"},
    {"output", 'o', "FILE", false, "Write what the sink would have written to FILE.", "file"},
    {"stream", 0, "ID", false, "Refuse results of another stream: ID is what `penstock seal` said.", NULL},
    {"sink", 0, "OPERATOR", false, "Whose results these are; needed where the graph has several sinks.", NULL},
    {"enclave", 0, "OPERATOR", true,
     "As for `run`: `all` where the graph does not say which operators are in enclaves.", NULL},
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_open = {
    .name = "open",
    .operands = "GRAPH.yaml RESULTS.sealed",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .summary = "Open sealed results.",
    .text = "Opens what `penstock run --sealed` wrote for a sink, and runs the sink on it: the file is the same, byte "
            "for byte, "
            "as that of a run in the clear. A piece that was changed, dropped, repeated, put elsewhere or of another "
            "run is "
            "refused with exit code 77, and so is a file whose end is missing; nothing is written then. A host that "
            "runs a whole "
            "stream of another day gives whole results of that day: `--stream` says which one is wanted.",
    .examples =
        "penstock open debs14/load.yaml results/load_plug.csv.sealed --enclave all --key user.key --sink load_plug "
        "-o load_plug.csv",
    .flags = open_flags,
    .run = open_run,
};
