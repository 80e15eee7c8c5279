/* tools/gen.c - `penstock gen`: writes a meter stream (debs14/debs14.h), as fast as it can or at a pace.
 *
 * Bytes never depend on the pace. The pace is a schedule of absolute times on a clock that never goes back, from the
 * start of the stream: a row that was written late does not make the next ones late. */
#include "tools/cli.h"

#include "debs14/debs14.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    BUFFER_BYTES = 256 * 1024,           /* large writes that stay in the cache */
    SECOND_BYTES_MAX = 64 * 1024 * 1024, /* --speed: a second of event time is spread, if it is not larger */
    VISIT_BYTES = 4 * 64,                /* of a plug in a second */
    TICK_NS = 1000000,                   /* paced rows are written once in a millisecond */
    DURATION_STANDARD_S = 3600,
    SPEED_DECIMALS = 3,
};

enum pace { PACE_NONE, PACE_SPEED, PACE_RATE };

struct gen {
    const struct pst_call *call;
    struct pst_meters_options options;
    enum pace pace;
    double pace_value;    /* event seconds, or rows, per second */
    const char *output;   /* NULL: standard output */
    struct pst_text part; /* what is written and then renamed to `output`; empty: `output` itself */

    struct pst_world *world;
    struct pst_file *file;
    struct pst_file *alone; /* `part`, locked until it has its name; NULL: there is none */
    void *memory;           /* of the generator */
    struct pst_meters *meters;
    char *buffer;
    size_t capacity;
    uint64_t start_ns;
    uint64_t rows, bytes; /* written, whole buffers */
    uint32_t first_timestamp, last_timestamp;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* ---- the command line ---- */
/* "90", "90s", "15m", "1h", "2d" */
static bool duration_parse(const char *text, uint64_t *ret_s)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char digits[24];
    uint64_t value, unit_s = 1;
    size_t count = strlen(text);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (count != 0 && text[count - 1] == units[i].letter) {
            unit_s = units[i].seconds;
            count--;
            break;
        }
    }
    if (count >= sizeof digits)
        return false;
    memcpy(digits, text, count);
    digits[count] = '\0';
    if (pst_parse_u64(digits, &value) != PST_OK || value == 0 || value > UINT32_MAX)
        return false;
    *ret_s = value * unit_s;
    return true;
}

/* "max" is 0; "60x", "60", "0.5x": up to three decimals */
static bool speed_parse(const char *text, double *ret_speed)
{
    char digits[24] = {0};
    size_t count = strlen(text), digit_count = 0;
    double unit = 1;
    uint64_t value;
    bool point = false;
    if (strcmp(text, "max") == 0) {
        *ret_speed = 0;
        return true;
    }
    if (count != 0 && text[count - 1] == 'x')
        count--;
    for (size_t i = 0; i < count; i++) {
        if (text[i] == '.' && !point && i != 0 && i + 1 < count && count - i - 1 <= SPEED_DECIMALS) {
            point = true;
            continue;
        }
        if (digit_count + 1 == sizeof digits)
            return false;
        digits[digit_count++] = text[i];
        if (point)
            unit /= 10;
    }
    if (pst_parse_u64(digits, &value) != PST_OK || value == 0 || value > 1000000000)
        return false;
    *ret_speed = (double)value * unit;
    return true;
}

static bool usage_error(const struct gen *gen, const char *text, const char *value)
{
    if (value == NULL)
        pst_complain(gen->call, PST_EXIT_USAGE, "%s", text);
    else
        pst_complain(gen->call, PST_EXIT_USAGE, "%s, not `%s`", text, value);
    return false;
}

static bool pace_read(struct gen *gen)
{
    const char *speed = pst_call_flag(gen->call, "speed");
    uint64_t rate;
    if (speed != NULL && pst_call_flag(gen->call, "rate") != NULL)
        return usage_error(gen, "--speed and --rate are two paces: give one of them", NULL);
    if (speed != NULL) {
        if (!speed_parse(speed, &gen->pace_value))
            return usage_error(gen, "--speed wants a factor of event time like 60x, or max", speed);
        gen->pace = gen->pace_value > 0 ? PACE_SPEED : PACE_NONE;
    }
    if (!pst_call_number(gen->call, "rate", 1, 1000000000, 0, &rate))
        return false;
    if (rate != 0) {
        gen->pace = PACE_RATE;
        gen->pace_value = (double)rate;
    }
    return true;
}

static bool length_read(struct gen *gen)
{
    struct pst_meters_options *options = &gen->options;
    const char *duration = pst_call_flag(gen->call, "duration");
    uint64_t start_s, longest_s;
    if (!pst_call_number(gen->call, "start", 1, UINT32_MAX, options->start_s, &start_s) ||
        !pst_call_number(gen->call, "rows", 1, UINT64_C(1000000000000000), 0, &options->row_count_max))
        return false;
    options->start_s = (uint32_t)start_s;
    longest_s = (UINT64_C(1) << 32) - start_s;
    if (duration != NULL) {
        if (!duration_parse(duration, &options->duration_s))
            return usage_error(gen, "--duration wants a time above 0 like 90, 90s, 15m, 1h or 2d", duration);
    } else {
        options->duration_s =
            options->row_count_max != 0 || longest_s < DURATION_STANDARD_S ? longest_s : DURATION_STANDARD_S;
    }
    return true;
}

static bool options_read(struct gen *gen)
{
    const struct pst_call *call = gen->call;
    struct pst_meters_options *options = &gen->options;
    uint64_t houses, plugs, late, malformed, missing;
    const char *why = NULL;
    pst_meters_options_standard(options);
    if (!pst_call_number(call, "houses", 1, 100000, options->house_count, &houses) ||
        !pst_call_number(call, "plugs", 1, 1000000, 0, &plugs) ||
        !pst_call_number(call, "seed", 0, UINT64_MAX, options->seed, &options->seed) ||
        !pst_call_number(call, "late", 0, 1000000, 0, &late) ||
        !pst_call_number(call, "malformed", 0, 1000000, 0, &malformed) ||
        !pst_call_number(call, "missing", 0, 1000000, 0, &missing) || !length_read(gen) || !pace_read(gen))
        return false;
    if (plugs == 0) { /* as many a house as in the standard stream */
        plugs = houses * options->plug_count / options->house_count;
        plugs = plugs > 1000000 ? 1000000 : plugs;
    }
    options->house_count = (uint32_t)houses;
    options->plug_count = (uint32_t)plugs;
    options->late_ppm = (uint32_t)late;
    options->malformed_ppm = (uint32_t)malformed;
    options->missing_ppm = (uint32_t)missing;
    if (missing == 1000000 && options->row_count_max != 0 && pst_call_flag(gen->call, "duration") == NULL) {
        pst_complain(gen->call, PST_EXIT_USAGE,
                     "--missing 1000000 leaves no row that --rows could count: give a --duration");
        return false;
    }
    options->outages = pst_call_flag(call, "no-outages") == NULL;
    options->header = pst_call_flag(call, "no-header") == NULL;
    if (pst_meters_bytes(options, &why) == 0)
        return usage_error(gen, why, NULL);
    gen->output = pst_call_flag(call, "output");
    if (gen->output != NULL && strcmp(gen->output, "-") == 0)
        gen->output = NULL;
    if (gen->output != NULL && gen->output[0] == '\0')
        return usage_error(gen, "--output wants the name of a file", NULL);
    if (call->json && gen->output == NULL)
        return usage_error(gen, "--json needs --output FILE: the rows and the report would both be on standard output",
                           NULL);
    return true;
}

/* ---- writing ---- */
static bool out_of_memory(const struct gen *gen)
{
    pst_complain(gen->call, PST_EXIT_FAILED, "out of memory");
    return false;
}

static const char *destination(const struct gen *gen) { return gen->output != NULL ? gen->output : "standard output"; }

/* Of two that write one file, the first one that ends would give the name to what is of both. */
static int part_take(struct gen *gen, const char *path)
{
    uint64_t id[2];
    if (gen->world->look(gen->world->self, path, id) == 2)
        return PST_EXIT_OK; /* no regular file: it holds nothing */
    int rc = gen->world->file_open(gen->world->self, path, PST_OPEN_ALONE, &gen->alone);
    if (rc == PST_EAGAIN)
        pst_complain(gen->call, PST_EXIT_REFUSED,
                     "another process is writing `%s`: wait for its end, or name another file", path);
    else if (rc != PST_OK)
        pst_complain(gen->call, PST_EXIT_IO, "`%s` could not be opened for writing: %s", path, pst_system_error());
    return rc == PST_OK ? PST_EXIT_OK : rc == PST_EAGAIN ? PST_EXIT_REFUSED : PST_EXIT_IO;
}

/* A file is written beside its name first. What is no regular file (a device, a named pipe) cannot be replaced. Exit code. */
static int destination_open(struct gen *gen)
{
    struct stat status;
    const char *path = "-";
    int exit_code = PST_EXIT_OK;
    if (gen->output != NULL) {
        path = gen->output;
        bool there = stat(path, &status) == 0;
        if (there && S_ISDIR(status.st_mode)) {
            pst_complain(gen->call, PST_EXIT_IO, "`%s` is a directory: name a file in it", path);
            return PST_EXIT_IO;
        }
        if (!there || S_ISREG(status.st_mode)) {
            if (pst_text_printf(&gen->part, "%s.part", path) != PST_OK)
                return out_of_memory(gen) ? PST_EXIT_OK : PST_EXIT_FAILED;
            path = gen->part.bytes;
            exit_code = part_take(gen, path);
        }
    }
    if (exit_code == PST_EXIT_OK &&
        gen->world->file_open(gen->world->self, path, PST_OPEN_CREATE, &gen->file) != PST_OK) {
        pst_complain(gen->call, PST_EXIT_IO, "`%s` could not be opened for writing: %s", path, pst_system_error());
        exit_code = PST_EXIT_IO;
    }
    return exit_code;
}

/* Whether the last write failed because nobody reads any more: no fault of ours. */
static bool reader_is_gone(void) { return strcmp(pst_system_error(), strerror(EPIPE)) == 0; }

/* Exit code; PST_EXIT_OK too where the reader left, which *ret_stop tells. */
static int bytes_write(struct gen *gen, const char *bytes, size_t count, bool *ret_stop)
{
    *ret_stop = true;
    if (gen->world->file_write(gen->world->self, gen->file, bytes, count) != PST_OK) {
        if (reader_is_gone())
            return PST_EXIT_OK;
        pst_complain(gen->call, PST_EXIT_IO, "%s could not be written: %s", destination(gen), pst_system_error());
        return PST_EXIT_IO;
    }
    if (interrupted) {
        pst_complain(gen->call, PST_EXIT_FAILED, "interrupted: %s was not made", destination(gen));
        return PST_EXIT_FAILED;
    }
    *ret_stop = false;
    return PST_EXIT_OK;
}

/* ---- the pace ---- */
struct chunk { /* what one call of pst_meters_next() made */
    const char *at, *end;
    uint64_t row_count, sent;
    uint32_t timestamp;
};

/* When row n of the chunk (1: the first) is due, in seconds since the start. */
static double row_due_s(const struct gen *gen, const struct chunk *chunk, uint64_t n)
{
    if (gen->pace == PACE_RATE)
        return (double)(gen->rows + n) / gen->pace_value;
    double second = (double)(chunk->timestamp - gen->options.start_s);
    return (second + (double)n / (double)chunk->row_count) / gen->pace_value;
}

static uint64_t rows_due(const struct gen *gen, const struct chunk *chunk, double elapsed_s)
{
    double due;
    if (gen->pace == PACE_RATE) {
        due = elapsed_s * gen->pace_value - (double)gen->rows;
    } else {
        double second = (double)(chunk->timestamp - gen->options.start_s);
        due = (elapsed_s * gen->pace_value - second) * (double)chunk->row_count;
    }
    return due <= 0 ? 0 : due >= (double)chunk->row_count ? chunk->row_count : (uint64_t)due;
}

/* Behind n lines. */
static const char *lines_skip(const char *at, const char *end, uint64_t n)
{
    for (; n != 0 && at != end; n--)
        at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
    return at;
}

static void sleep_until(uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal: the loop looks at it */
}

/* The next tick at which the next row is due. */
static void row_await(const struct gen *gen, const struct chunk *chunk, uint64_t now_ns)
{
    uint64_t tick_ns = ((now_ns - gen->start_ns) / TICK_NS + 1) * TICK_NS;
    double due_ns = row_due_s(gen, chunk, chunk->sent + 1) * 1e9;
    uint64_t wake_ns = due_ns > (double)tick_ns ? (uint64_t)due_ns + 1 : tick_ns;
    sleep_until(gen->start_ns + wake_ns);
}

static int chunk_write_paced(struct gen *gen, struct chunk *chunk, bool *ret_stop)
{
    int rc = PST_EXIT_OK;
    *ret_stop = false;
    while (chunk->at != chunk->end && !*ret_stop) {
        uint64_t now_ns = gen->world->now_ns(gen->world->self);
        uint64_t due = rows_due(gen, chunk, (double)(now_ns - gen->start_ns) * 1e-9);
        if (due <= chunk->sent) {
            row_await(gen, chunk, now_ns);
            if (interrupted)
                rc = bytes_write(gen, chunk->at, 0, ret_stop);
            continue;
        }
        const char *to = due == chunk->row_count ? chunk->end : lines_skip(chunk->at, chunk->end, due - chunk->sent);
        rc = bytes_write(gen, chunk->at, (size_t)(to - chunk->at), ret_stop);
        chunk->at = to;
        chunk->sent = due;
    }
    return rc;
}

/* The header comes first, at once, and is no row. */
static int header_write(struct gen *gen, struct chunk *chunk, bool *ret_stop)
{
    const char *first = chunk->at;
    *ret_stop = false;
    if (gen->options.header)
        chunk->at = lines_skip(chunk->at, chunk->end, 1);
    const char *comma = chunk->at != chunk->end ? memchr(chunk->at, ',', (size_t)(chunk->end - chunk->at)) : NULL;
    for (const char *digit = comma; comma != NULL && *++digit >= '0' && *digit <= '9';)
        gen->first_timestamp = gen->first_timestamp * 10 + (uint32_t)(*digit - '0');
    return chunk->at == first ? PST_EXIT_OK : bytes_write(gen, first, (size_t)(chunk->at - first), ret_stop);
}

static int stream_write(struct gen *gen)
{
    size_t count;
    bool stop = false;
    int rc = PST_EXIT_OK;
    gen->start_ns = gen->world->now_ns(gen->world->self);
    while (!stop && rc == PST_EXIT_OK) {
        struct chunk chunk = {.at = gen->buffer};
        count = pst_meters_next(gen->meters, gen->buffer, gen->capacity, gen->pace == PACE_SPEED, &chunk.row_count,
                                &chunk.timestamp);
        if (count == 0)
            break;
        chunk.end = chunk.at + count;
        if (gen->bytes == 0)
            rc = header_write(gen, &chunk, &stop);
        if (!stop && gen->pace == PACE_NONE)
            rc = bytes_write(gen, chunk.at, (size_t)(chunk.end - chunk.at), &stop);
        else if (!stop)
            rc = chunk_write_paced(gen, &chunk, &stop);
        gen->rows += chunk.row_count;
        gen->bytes += count;
        gen->last_timestamp = chunk.timestamp;
    }
    return rc;
}

/* ---- the end ---- */
static int destination_close(struct gen *gen, int rc)
{
    struct pst_world *world = gen->world;
    const char *part = gen->part.bytes;
    if (world->file_close(world->self, gen->file) != PST_OK && rc == PST_EXIT_OK) {
        pst_complain(gen->call, PST_EXIT_IO, "%s could not be written: %s", destination(gen), pst_system_error());
        rc = PST_EXIT_IO;
    }
    if (part != NULL && rc == PST_EXIT_OK && world->rename(world->self, part, gen->output) != PST_OK) {
        pst_complain(gen->call, PST_EXIT_IO, "`%s` could not be renamed to `%s`: %s", part, gen->output,
                     pst_system_error());
        rc = PST_EXIT_IO;
    }
    if (part != NULL && rc != PST_EXIT_OK)
        (void)world->unlink(world->self, part);
    return rc;
}

static int report_print(const struct gen *gen)
{
    double seconds = (double)(gen->world->now_ns(gen->world->self) - gen->start_ns) * 1e-9;
    double rate = seconds > 0 ? (double)gen->rows / seconds : 0;
    if (gen->output == NULL)
        return PST_EXIT_OK;
    if (!gen->call->json) {
        pst_note(gen->call, "%llu rows in %.3f s written to %s", (unsigned long long)gen->rows, seconds, gen->output);
        return PST_EXIT_OK;
    }
    struct pst_text json = {0};
    pst_text_printf(&json, "{\"schema_version\":%d,\"output\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, gen->output);
    pst_text_printf(&json, ",\"rows\":%llu,\"bytes\":%llu", (unsigned long long)gen->rows,
                    (unsigned long long)gen->bytes);
    if (gen->rows != 0)
        pst_text_printf(&json, ",\"first_timestamp\":%u,\"last_timestamp\":%u", gen->first_timestamp,
                        gen->last_timestamp);
    else
        pst_text_printf(&json, ",\"first_timestamp\":null,\"last_timestamp\":null");
    pst_text_printf(&json, ",\"seconds\":%.6f,\"rows_per_second\":%.0f,\"error\":null}\n", seconds, rate);
    bool failed = json.failed;
    if (!failed)
        (void)fwrite(json.bytes, 1, json.count, stdout); /* main() looks whether it arrived */
    pst_text_fini(&json);
    return failed && !out_of_memory(gen) ? PST_EXIT_FAILED : PST_EXIT_OK;
}

static bool memory_get(struct gen *gen)
{
    gen->capacity = BUFFER_BYTES;
    if (gen->pace == PACE_SPEED && (size_t)gen->options.plug_count * VISIT_BYTES > gen->capacity)
        gen->capacity = (size_t)gen->options.plug_count * VISIT_BYTES;
    if (gen->capacity > SECOND_BYTES_MAX)
        gen->capacity = SECOND_BYTES_MAX;
    gen->memory = pst_malloc(pst_meters_bytes(&gen->options, NULL));
    gen->buffer = pst_malloc(gen->capacity);
    gen->world = pst_world_uv();
    if (gen->memory == NULL || gen->buffer == NULL || gen->world == NULL)
        return out_of_memory(gen);
    gen->meters = pst_meters_init(gen->memory, &gen->options);
    return true;
}

/* A reader that leaves shows as a failed write. A file that is being made is removed when the user gives up. */
static void signals_take(const struct gen *gen)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (gen->part.bytes == NULL)
        return;
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static int gen_run(const struct pst_call *call)
{
    struct gen gen = {.call = call};
    if (!options_read(&gen))
        return PST_EXIT_USAGE;
    int rc = PST_EXIT_FAILED;
    if (!memory_get(&gen))
        goto undo_memory;
    rc = destination_open(&gen);
    if (rc != PST_EXIT_OK)
        goto undo_destination;
    signals_take(&gen);
    rc = destination_close(&gen, stream_write(&gen));
    if (rc == PST_EXIT_OK)
        rc = report_print(&gen);
undo_destination:
    if (gen.alone != NULL)
        (void)gen.world->file_close(gen.world->self, gen.alone);
undo_memory:
    pst_text_fini(&gen.part);
    pst_free(gen.memory);
    pst_free(gen.buffer);
    if (gen.world != NULL)
        pst_world_uv_free(gen.world);
    return rc;
}

static const struct pst_flag gen_flags[] = {
    {"houses", 0, "N", false, "How many houses; 40 if not given.", NULL},
    {"plugs", 0, "N", false, "How many plugs in all of them; 2125 for 40 houses, as many a house for others.", NULL},
    {"duration", 'd', "TIME", false,
     "Event time from the first second on: 90, 90s, 15m, 1h, 2d; 1h if --rows is not given.", NULL},
    {"rows", 'n', "N", false, "Stop after exactly N rows (the header not counted).", NULL},
    {"seed", 0, "N", false, "Another seed gives another stream of the same kind; 1 if not given.", NULL},
    {"start", 0, "T", false, "First second, since 1970 UTC; 1377986401 if not given, as in the challenge.", NULL},
    {"speed", 0, "X", false, "Write at X times the pace of event time, as 60x or 0.5x; max: as fast as it goes.",
     "1x 60x 3600x max"},
    {"rate", 0, "N", false, "Write N rows a second.", NULL},
    {"late", 0, "PPM", false, "Add so many late rows to a million rows.", NULL},
    {"malformed", 0, "PPM", false, "Add so many malformed lines to a million rows.", NULL},
    {"missing", 0, "PPM", false, "Leave out so many readings of a million.", NULL},
    {"no-outages", 0, NULL, false, "No minutes in which all houses are silent.", NULL},
    {"no-header", 0, NULL, false, "No header line.", NULL},
    {"output", 'o', "FILE", false, "Write to FILE, which appears under this name when it is complete.", "file"},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_gen = {
    .name = "gen",
    .operands = "",
    .summary = "Write a meter stream in the schema of the DEBS 2014 challenge.",
    .text =
        "Writes smart-plug readings as CSV lines `id,timestamp,value,property,plug_id,household_id,house_id`, like "
        "those of "
        "the ACM DEBS 2014 Grand Challenge: 40 houses with 2125 plugs, about 1565 rows a second of event time, each "
        "reading "
        "a row for load (property 1, W) and one for work (property 0, kWh), plateaus that follow the hour of the day, "
        "repeated seconds, outages.\n\n"
        "The same options give the same bytes on every machine. --late and --malformed add lines to the stream and "
        "change "
        "no other line but for its id, which numbers all of them; --missing leaves readings out. So results over a "
        "stream "
        "with late and malformed lines equal those over the stream without.\n\n"
        "Rows go to standard output as fast as they are taken, or at a pace (--speed, --rate) by an absolute schedule "
        "that "
        "a slow reader does not shift. A reader that leaves early is no error.",
    .examples = "penstock gen --duration 10m --output meters.csv\n"
                "penstock gen --rows 50000000 --seed 7 | penstock run debs14/outliers.yaml --input - --output results\n"
                "penstock gen --duration 1d --speed 60x | penstock run debs14/load.yaml --input - --output results\n"
                "penstock gen --rows 1000 --malformed 20000 --late 20000",
    .flags = gen_flags,
    .run = gen_run,
};
