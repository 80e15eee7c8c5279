/* tools/replay.c - `penstock replay`: a recorded stream into a graph that runs on a cluster. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID_ENDS_BYTES = 64 * 1024,
    ID_BYTES = 16,
    ID_TEXT_MAX = 128,
    PATIENCE_SECONDS = 60,
    PATIENCE_SECONDS_MAX = 1000000
};

struct player { /* what the command has been told, and shows */
    const struct pst_call *call;
    struct pst_replay_options options;
    char graph[256];
    char stream[256];
    bool progress, shown;
    uint64_t progress_ns;
};

/* ---- what is wanted ---- */

/* HOST:PORT or unix:PATH: any node, the graph is the only one that takes a stream. Else GRAPH/SOURCE or GRAPH, and --node. */
static bool to_read(struct player *player)
{
    const struct pst_call *call = player->call;
    const char *to = pst_call_flag(call, "to"), *node = pst_call_flag(call, "node");
    node = node != NULL ? node : getenv("PENSTOCK_NODE");
    player->options.graph = player->options.source = "";
    player->options.reader = pst_call_flag(call, "reader");
    if (player->options.reader != NULL && !pst_node_name_is_good(player->options.reader)) {
        pst_complain(call, PST_EXIT_USAGE, "--reader `%s`: the name of a node is wanted", player->options.reader);
        return false;
    }
    if (to == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--to HOST:PORT or --to GRAPH/SOURCE is missing");
        return false;
    }
    if (strchr(to, ':') != NULL) {
        player->options.address = to;
        player->options.here = true;
        return true;
    }
    const char *slash = strchr(to, '/');
    size_t bytes = slash != NULL ? (size_t)(slash - to) : strlen(to);
    if (bytes == 0 || bytes >= sizeof player->graph || (slash != NULL && slash[1] == '\0')) {
        pst_complain(call, PST_EXIT_USAGE, "--to `%s`: HOST:PORT of a node, or GRAPH/SOURCE, is wanted", to);
        return false;
    }
    if (node == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--to GRAPH/SOURCE wants --node ADDRESS, and PENSTOCK_NODE is not set");
        return false;
    }
    memcpy(player->graph, to, bytes);
    player->options.graph = player->graph;
    player->options.source = slash != NULL ? slash + 1 : "";
    player->options.address = node;
    return true;
}

static bool speed_read(struct player *player)
{
    const char *word = pst_call_flag(player->call, "speed");
    char *end = NULL;
    if (word == NULL || strcmp(word, "max") == 0)
        return true;
    bool digits = word[0] >= '0' && word[0] <= '9' && word[strspn(word, "0123456789.")] == 'x';
    player->options.speed = digits ? strtod(word, &end) : 0;
    if (digits && strcmp(end, "x") == 0 && player->options.speed > 1e-9 && player->options.speed < 1e12)
        return true;
    pst_complain(player->call, PST_EXIT_USAGE,
                 "--speed `%s`: seconds of event time in a second are wanted, as 60x or 0.5x, or max", word);
    return false;
}

static bool unit_read(struct player *player)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"s", 1000 * 1000 * 1000}, {"ms", 1000 * 1000}, {"us", 1000}, {"ns", 1}};
    const char *word = pst_call_flag(player->call, "time-unit");
    player->options.time_unit_ns = units[0].ns;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (word != NULL && strcmp(word, units[i].name) != 0)
            continue;
        player->options.time_unit_ns = units[i].ns;
        return true;
    }
    pst_complain(player->call, PST_EXIT_USAGE, "--time-unit `%s`: s, ms, us or ns is wanted", word);
    return false;
}

static bool time_read(const struct player *player, const char *flag, int64_t fallback, int64_t *ret_time)
{
    const char *word = pst_call_flag(player->call, flag);
    *ret_time = fallback;
    if (word == NULL || (pst_parse_i64(word, ret_time) == PST_OK && *ret_time != INT64_MIN && *ret_time != INT64_MAX))
        return true;
    pst_complain(player->call, PST_EXIT_USAGE, "--%s `%s`: an event time is wanted, a whole number", flag, word);
    return false;
}

static bool options_read(struct player *player)
{
    struct pst_replay_options *options = &player->options;
    uint64_t column = UINT64_MAX, patience = 0;
    options->file = player->call->operands[0];
    if (!to_read(player) || !speed_read(player) || !unit_read(player) ||
        !time_read(player, "from", INT64_MIN, &options->from) ||
        !time_read(player, "until", INT64_MAX, &options->until) ||
        !pst_call_number(player->call, "time-column", 1, 1000, 0, &column) ||
        !pst_call_number(player->call, "patience", 1, PATIENCE_SECONDS_MAX, PATIENCE_SECONDS, &patience))
        return false;
    if (options->from > options->until) {
        pst_complain(player->call, PST_EXIT_USAGE, "--from is above --until: nothing is left");
        return false;
    }
    options->time_column = (int32_t)column - 1;
    options->patience_ns = patience * 1000 * 1000 * 1000;
    options->interrupts = pst_interrupts();
    return true;
}

/* ---- the stream's id ---- */

static bool digest_piece(EVP_MD_CTX *digest, FILE *file, long from)
{
    char buffer[16 * 1024];
    size_t left = ID_ENDS_BYTES, count = 1;
    if (fseek(file, from, SEEK_SET) != 0)
        return false;
    while (left != 0 && (count = fread(buffer, 1, left < sizeof buffer ? left : sizeof buffer, file)) != 0) {
        if (EVP_DigestUpdate(digest, buffer, count) != 1)
            return false;
        left -= count;
    }
    return !ferror(file);
}

/* SHA-256 of the file's size (64 bits, little endian), its first 64 KiB and its last 64 KiB, as the file lies there; 16 bytes of it. */
static bool id_of_file(FILE *file, char ret_id[2 * ID_BYTES + 1])
{
    uint8_t size_bytes[8], hash[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    for (int i = 0; i < 8; i++)
        size_bytes[i] = (uint8_t)((uint64_t)size >> 8 * i);
    bool good = digest != NULL && size >= 0 && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(digest, size_bytes, sizeof size_bytes) == 1 && digest_piece(digest, file, 0) &&
                digest_piece(digest, file, size > ID_ENDS_BYTES ? size - ID_ENDS_BYTES : 0) &&
                EVP_DigestFinal_ex(digest, hash, NULL) == 1;
    for (int i = 0; good && i < ID_BYTES; i++)
        (void)snprintf(ret_id + 2 * i, 3, "%02x", hash[i]);
    EVP_MD_CTX_free(digest);
    return good;
}

/* Its range is a part of it: another range is another stream. */
static int stream_name(struct player *player)
{
    const struct pst_replay_options *options = &player->options;
    const char *id = pst_call_flag(player->call, "id");
    char own[2 * ID_BYTES + 1], from[24] = "", until[24] = "";
    for (const char *c = id != NULL ? id : "x"; *c != '\0'; c++) {
        if (*c > ' ' && *c <= '~' && *c != '@' && strlen(id != NULL ? id : "") <= ID_TEXT_MAX)
            continue;
        pst_complain(player->call, PST_EXIT_USAGE, "--id `%s`: up to %d visible characters without @ are wanted", id,
                     ID_TEXT_MAX);
        return PST_EXIT_USAGE;
    }
    FILE *file = id == NULL ? fopen(options->file, "rb") : NULL;
    if (id == NULL && file == NULL) {
        pst_complain(player->call, PST_EXIT_IO, "%s cannot be read: %s", options->file, strerror(errno));
        return PST_EXIT_IO;
    }
    bool good = file == NULL || id_of_file(file, own);
    if (file != NULL)
        (void)fclose(file);
    if (!good) {
        pst_complain(
            player->call, PST_EXIT_IO,
            "%s cannot be read twice: a stream that is replayed must be a file, for the graph may want it again",
            options->file);
        return PST_EXIT_IO;
    }
    if (options->from != INT64_MIN)
        (void)snprintf(from, sizeof from, "%lld", (long long)options->from);
    if (options->until != INT64_MAX)
        (void)snprintf(until, sizeof until, "%lld", (long long)options->until);
    bool ranged = from[0] != '\0' || until[0] != '\0';
    (void)snprintf(player->stream, sizeof player->stream, "%.*s%s%s%s%s", ID_TEXT_MAX,
                   id != NULL && id[0] != '\0' ? id : own, ranged ? "@" : "", from, ranged ? ".." : "", until);
    player->options.stream = player->stream;
    return PST_EXIT_OK;
}

/* ---- what is shown ---- */

/* Seconds of event time in a second of the clock. */
static double speed_of(const struct player *player, const struct pst_replay_report *report)
{
    if (report->time_first == INT64_MIN || report->nanoseconds == 0 || report->time_last <= report->time_first)
        return 0;
    return ((double)report->time_last - (double)report->time_first) * (double)player->options.time_unit_ns /
           (double)report->nanoseconds;
}

static void counts_print(struct pst_text *text, const struct player *player, const struct pst_replay_report *report)
{
    pst_count_print(text, report->rows);
    pst_text_printf(text, " rows, ");
    pst_bytes_print(text, report->bytes);
    if (report->time_last != INT64_MIN)
        pst_text_printf(text, ", time %lld, speed %.4gx", (long long)report->time_last, speed_of(player, report));
}

static void clear(struct player *player)
{
    if (player->shown)
        fprintf(stderr, "\r\033[K");
    player->shown = false;
}

static void progress(void *argument, const struct pst_replay_report *report)
{
    struct player *player = argument;
    struct pst_text line = {0};
    if (player->call->quiet || (!player->call->terminal_err && !player->progress))
        return;
    counts_print(&line, player, report);
    if (report->bytes_total != 0)
        pst_text_printf(&line, ", %.0f %%", 100.0 * (double)report->offset / (double)report->bytes_total);
    if (!line.failed)
        fprintf(stderr, player->call->terminal_err ? "\r%.100s\033[K" : "penstock: %s\n", line.bytes);
    (void)fflush(stderr);
    player->shown = player->call->terminal_err;
    pst_text_fini(&line);
}

static void log_line(void *argument, const char *line)
{
    struct player *player = argument;
    clear(player);
    pst_note(player->call, "penstock: %s", line);
}

static void json_print(struct pst_text *json, const struct player *player, const struct pst_replay_report *report,
                       int exit_code)
{
    pst_text_printf(json, "{\"schema_version\":%d,\"graph\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(json, report->graph[0] != '\0' ? report->graph : NULL);
    pst_text_printf(json, ",\"stream\":");
    pst_text_json(json, player->stream);
    pst_text_printf(json,
                    ",\"taken_before\":%s,\"rows\":%llu,\"bytes\":%llu,\"length\":", report->before ? "true" : "false",
                    (unsigned long long)report->rows, (unsigned long long)report->bytes);
    pst_text_printf(json, report->length != UINT64_MAX ? "%llu" : "null", (unsigned long long)report->length);
    pst_text_printf(json, ",\"connections\":%u,\"seconds\":%.6f,\"time_first\":", report->connections,
                    (double)report->nanoseconds / 1e9);
    pst_text_printf(json, report->time_first != INT64_MIN ? "%lld" : "null", (long long)report->time_first);
    pst_text_printf(json, ",\"time_last\":");
    pst_text_printf(json, report->time_last != INT64_MIN ? "%lld" : "null", (long long)report->time_last);
    pst_text_printf(json, ",\"speed\":%.6g,", speed_of(player, report));
    pst_json_error(json, exit_code, exit_code != PST_EXIT_OK ? report->why : NULL);
    pst_text_printf(json, "}\n");
}

static int outcome_show(struct player *player, int rc, const struct pst_replay_report *report)
{
    const struct pst_call *call = player->call;
    int exit_code = rc == PST_EIO && report->connections == 0 ? PST_EXIT_UNREACHABLE : pst_exit_of_error(rc);
    struct pst_text text = {0};
    clear(player);
    if (rc != PST_OK)
        pst_complain_text(call, exit_code, report->why[0] != '\0' ? report->why : pst_error_sentence(rc));
    if (call->json)
        json_print(&text, player, report, exit_code);
    else if (rc == PST_OK && report->before)
        pst_text_printf(&text, "%s: all of this stream was taken before, nothing was added\n", report->graph);
    else if (rc == PST_OK) {
        pst_text_printf(&text, "%s: done, ", report->graph);
        counts_print(&text, player, report);
        pst_text_printf(&text, " in %.3f s\n", (double)report->nanoseconds / 1e9);
    }
    int shown = pst_text_show(call, &text);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

/* ---- the replay ---- */

static int play(struct player *player, struct pst_world *world)
{
    const char *folder = pst_call_flag(player->call, "tls"), *file = player->options.file;
    struct pst_replay *replay = NULL;
    struct pst_replay_report report = {0};
    char why[PST_TLS_WHY_BYTES] = "";
    int rc = folder != NULL ? pst_world_uv_tls(world, folder, why) : PST_OK;
    if (rc != PST_OK) {
        pst_complain(player->call, pst_exit_of_error(rc), "--tls %s: %s", folder, why);
        return pst_exit_of_error(rc);
    }
    rc = pst_replay_new(world, &player->options, &replay);
    if (rc != PST_OK) {
        pst_complain(player->call, rc == PST_ERANGE ? PST_EXIT_USAGE : pst_exit_of_error(rc), "cannot read %s: %s",
                     file,
                     rc == PST_ERANGE  ? "it is sealed, so --speed, --from and --until mean nothing: nobody here knows "
                                         "when its rows are due"
                     : rc == PST_EDATA ? "it is no sealed stream, and with --seal nothing goes in clear"
                     : rc == PST_EINVAL ? "it is no file that can be read again"
                                        : pst_system_error());
        return rc == PST_ERANGE ? PST_EXIT_USAGE : pst_exit_of_error(rc);
    }
    pst_signals_take();
    int ran = world->run(world->self, 1, pst_replay_step, replay);
    rc = pst_replay_free(replay, &report);
    return outcome_show(player, ran != PST_OK ? ran : rc, &report);
}

/* With --seal: what is sent is the file that is sealed first, so that the same rows are the same bytes whenever they are sent again. */
static int sealed_make(struct player *player)
{
    const struct pst_call *call = player->call;
    const char *graph = pst_call_flag(call, "seal"), *spool = pst_call_flag(call, "spool");
    bool key = pst_call_flag(call, "key") != NULL;
    if (graph == NULL && spool == NULL && !key && pst_call_flag(call, "set") == NULL &&
        pst_call_flag(call, "enclave") == NULL)
        return PST_EXIT_OK;
    if (graph == NULL || spool == NULL || !key) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--seal GRAPH.yaml, --key FILE and --spool FILE belong together, with --set and --enclave as for "
                     "`penstock seal`: one is missing");
        return PST_EXIT_USAGE;
    }
    player->options.file = spool;
    player->options.sealed = true;
    return pst_seal_spool(call, graph, player->options.graph, call->operands[0], spool);
}

static int replay_run(const struct pst_call *call)
{
    struct player player = {.call = call, .progress = pst_call_flag(call, "progress") != NULL};
    player.options.progress = progress;
    player.options.log = log_line;
    player.options.argument = &player;
    if (!options_read(&player))
        return PST_EXIT_USAGE;
    int exit_code = sealed_make(&player);
    if (exit_code == PST_EXIT_OK)
        exit_code = stream_name(&player);
    struct pst_world *world = exit_code == PST_EXIT_OK ? pst_world_uv() : NULL;
    if (exit_code == PST_EXIT_OK)
        exit_code = world != NULL ? play(&player, world) : PST_EXIT_FAILED;
    pst_world_uv_free(world);
    return exit_code;
}

static const struct pst_flag replay_flags[] = {
    {"to", 0, "WHERE", false,
     "HOST:PORT or unix:PATH of a node, where one graph takes a stream; else GRAPH/SOURCE, and --node.", NULL},
    {"node", 0, "ADDRESS", false, "HOST:PORT or unix:PATH of a node; else what PENSTOCK_NODE says.", NULL},
    {"reader", 0, "NODE", false,
     "Of a graph that takes several streams: this is the one of NODE; else, with --to HOST:PORT, that node's.", NULL},
    {"tls", 0, "FOLDER", false, "Certificates, as `penstock tls issue` makes them; for HOST:PORT.", "dir"},
    {"speed", 0, "SPEED", false,
     "Seconds of event time in a second, as 60x or 0.5x; max, the standard: as fast as it goes.", NULL},
    {"from", 0, "T", false, "Begin with the first line whose event time is T or above.", NULL},
    {"until", 0, "T", false, "End before the next line whose event time is T or above.", NULL},
    {"seal", 0, "GRAPH", false,
     "Seal FILE's rows for this graph first, as `penstock seal` does, and send what was sealed; with --key and "
     "--spool.",
     "file"},
    {"key", 'k', "FILE", false, "With --seal: the user's key, made by `penstock key init FILE`.", "file"},
    {"spool", 0, "FILE", false,
     "With --seal: where what is sealed lies. If it is there already, it is sent, if it was sealed for GRAPH with this "
     "key; FILE.part is gone "
     "on with.",
     "file"},
    {"enclave", 0, "OPERATOR", true, "With --seal: as for `penstock seal`.", NULL},
    {"set", 's', "NAME=VALUE", true, "With --seal: give the graph's parameter NAME this value.", NULL},
    {"id", 0, "ID", false, "The stream's id; without it one is made from the file's size and its two ends.", NULL},
    {"time-unit", 0, "UNIT", false, "Of event time: s (unless said), ms, us, ns.", "s ms us ns"},
    {"time-column", 0, "N", false, "The column of the event time, from 1; without it as the graph's source has it.",
     NULL},
    {"patience", 0, "N", false, "Give up when no node has answered for N seconds; 60 where nothing is said.", NULL},
    {"progress", 0, NULL, false, "Tell how far it is on standard error, though that is no terminal.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_replay = {
    .name = "replay",
    .operands = "FILE",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Send a recorded stream into a graph on a cluster.",
    .text =
        "The graph was submitted with `--listen`. It takes one stream: the first one that is replayed into it. The "
        "same "
        "one again, after an end of this command or of a node, goes on where the graph has it safe; when the graph is "
        "done, it adds nothing and says so. Another stream is refused. The command ends when the graph is done, for "
        "until "
        "then it may want the stream again, from its last checkpoint or, where it has none, from the beginning; a "
        "connection that breaks is made again, and a node that dies is waited for, or another one takes its place.\n\n"
        "A graph that was submitted with `--listen` and several `--source` takes a stream for each of these nodes, and "
        "is done when all have ended. Whose this one is `--reader` says, or `--to HOST:PORT` of that node. Once it was "
        "taken it is known by its id, whichever node reads it by then.\n\n"
        "The stream is the lines of FILE (NAME.gz is unpacked), or with `--from` and `--until` a range of them. Its id "
        "is "
        "that of `--id` or 16 bytes of the SHA-256 of the file's size, its first 64 KiB and its last 64 KiB; the range "
        "is a "
        "part of it.\n\n"
        "A sealed stream, of `penstock seal`, is sent as it is, into a graph that was submitted with `--sealed`. With "
        "`--seal` it is made first: all of FILE is sealed into the file of `--spool`, and then that is sent. So "
        "nothing "
        "is ever sealed again that may have been sent: the same command after an end of this one sends the same "
        "bytes.\n\n"
        "With `--speed` a line is sent when its time has come by this machine's clock, whatever the graph does "
        "meanwhile; "
        "who is late catches up. A graph that takes less than it is sent slows the replay: nothing is lost.",
    .examples = "penstock submit debs14/load.yaml --listen\n"
                "penstock replay meters.csv --to load/meters --node unix:n1/admin.sock\n"
                "penstock replay meters.csv.gz --to 127.0.0.1:7001 --tls authority/me --speed 60x\n"
                "penstock replay even.csv --to load/meters --reader n1 --node unix:n1/admin.sock\n"
                "penstock replay meters.csv --to load/meters --from 1377986400 --until 1378072800 --json\n"
                "penstock replay meters.csv --to load/meters --seal load.yaml --key user.key --spool meters.sealed",
    .flags = replay_flags,
    .run = replay_run,
};
