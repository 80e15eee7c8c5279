/* tools/bench.c - `penstock bench`: starts the program that measures, which is no part of this one: what is measured are whole processes. */
#include "tools/inside.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* In a clone, of which this is build/PRESET/penstock; and where it is installed. */
static const char *const places[] = {"../../tools/bench/bench", "../libexec/penstock/bench/bench"};
static const char *const passed_on[] = {"rows", "runs", "rate", "seconds", "dir"};
enum { WORDS_MAX = 24 };

/* The program, and this one; false: it is not there. */
static bool paths_find(char *ret_program, char *ret_own)
{
    ssize_t count = readlink("/proc/self/exe", ret_own, PATH_MAX - 1);
    if (count <= 0)
        return false;
    ret_own[count] = '\0';
    int folder = (int)(strrchr(ret_own, '/') - ret_own);
    for (uint32_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int bytes = snprintf(ret_program, PATH_MAX, "%.*s/%s", folder, ret_own, places[i]);
        if (bytes < PATH_MAX && access(ret_program, X_OK) == 0)
            return true;
    }
    return false;
}

static int bench_run(const struct pst_call *call)
{
    static char program[PATH_MAX], own[PATH_MAX];
    static char names[sizeof passed_on / sizeof passed_on[0]][32];
    const char *words[WORDS_MAX] = {program, call->operands[0], "--penstock", own};
    uint32_t count = 4;
    if (!paths_find(program, own)) {
        pst_complain(call, PST_EXIT_IO,
                     "there is no tools/bench/bench: it is in a clone of penstock, and installed with it");
        return PST_EXIT_IO;
    }
    for (uint32_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        const char *value = pst_call_flag(call, passed_on[i]);
        if (value == NULL)
            continue;
        (void)snprintf(names[i], sizeof names[i], "--%s", passed_on[i]);
        words[count++] = names[i];
        words[count++] = value;
    }
    if (pst_call_flag(call, "quick") != NULL)
        words[count++] = "--quick";
    if (call->json)
        words[count++] = "--json";
    PST_ASSERT(count < WORDS_MAX);
    (void)execv(program, (char *const *)(uintptr_t)words); /* it ends with an exit code of its own */
    pst_complain(call, PST_EXIT_IO, "cannot start %s: %s%s", program, strerror(errno),
                 errno == ENOENT ? " (it needs python3)" : "");
    return PST_EXIT_IO;
}

static const struct pst_flag bench_flags[] = {
    {"rows", 0, "N", false, "Length of the stream; 20 million for `tee`.", NULL},
    {"runs", 0, "N", false, "Turns, of which the median counts; 5 unless said.", NULL},
    {"rate", 0, "N", false, "For latency: rows a second; a million unless said.", NULL},
    {"seconds", 0, "N", false, "For latency: for how long; 30 unless said.", NULL},
    {"dir", 0, "DIR", false, "Make streams and results in a folder in DIR, which is removed again.", "dir"},
    {"quick", 0, NULL, false, "As short as a test: no figures to rely on.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_bench = {
    .name = "bench",
    .operands = "tee|sealed|border|epc|WHAT",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Measure what enclaves cost on this machine.",
    .text =
        "`tee` runs both queries with all operators in enclaves of each backend against none, in turn, on rows in the "
        "clear and on rows that are sealed from end to end, and shows rows a second, p50 and p99 of the latency, peak "
        "memory, loading time, and whether results are identical, of sealed ones once they are opened. Of these the "
        "rows "
        "a second are those of the host's part, `run --sealed`; `seal` and `open` have figures of their own, and the "
        "latency has sealing in it. With one worker a run with enclaves has more processes than one without; so there "
        "are also figures with all processes on one core, and with two workers; and what a stream of four times as "
        "many rows "
        "costs behind the first ones, with nothing of a start in it. `sealed` is the part of this that is "
        "about sealed rows, `border` measures an empty operator, `epc` Query 2's whole window in 93.5 "
        "MiB by each policy of the pager. What else can be measured `tools/bench/bench --help` says.\n\n"
        "It takes some minutes. Nothing else should run meanwhile.",
    .examples = "penstock bench tee\n"
                "penstock bench tee --rows 5000000 --runs 3 --json\n"
                "penstock bench border",
    .flags = bench_flags,
    .run = bench_run,
};
