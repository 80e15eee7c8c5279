/* tools/version.c - `penstock version`: what a bug report should name. */
#include "tools/inside.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "other"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZER "thread"
#else
#define SANITIZER NULL
#endif

static int version_run(const struct pst_call *call)
{
    struct pst_text text = {0};
    const char *sanitizer = SANITIZER;
    if (call->json) {
        pst_text_printf(&text, "{\"schema_version\":%d,\"version\":\"%s\",\"operator_abi\":%u,\"compiler\":",
                        PST_JSON_SCHEMA_VERSION, PST_VERSION, PST_OPERATOR_ABI);
        pst_text_json(&text, COMPILER);
        pst_text_printf(&text, ",\"machine\":\"%s\",\"sanitizer\":", MACHINE);
        pst_text_json(&text, sanitizer);
        pst_text_printf(&text, "}\n");
        return pst_text_show(call, &text);
    }
    pst_text_printf(&text, "penstock %s\n", PST_VERSION);
    if (!call->quiet)
        pst_text_printf(&text, "operators: interface %u\ncompiler: %s\nmachine: %s\n", PST_OPERATOR_ABI, COMPILER,
                        MACHINE);
    if (!call->quiet && sanitizer != NULL)
        pst_text_printf(&text, "sanitizer: %s\n", sanitizer);
    return pst_text_show(call, &text);
}

const struct pst_verb pst_verb_version = {
    .name = "version",
    .operands = "",
    .summary = "Print the version and how it was built.",
    .text = "The first line is `penstock` and the version; with `--quiet` it is the only one.",
    .examples = "penstock version\n"
                "penstock version --json",
    .run = version_run,
};
