/* tools/check.c - `penstock check`: the errors of a graph, or what its operators are. */
#include "tools/inside.h"

#include <string.h>

static void operators_json(struct pst_text *json, const struct pst_graph *graph)
{
    const uint32_t count = graph != NULL ? pst_graph_operator_count(graph) : 0;
    pst_text_printf(json, "\"operators\":[");
    for (uint32_t i = 0; i < count; i++) {
        struct pst_operator_view view;
        pst_graph_operator(graph, i, &view);
        pst_text_printf(json, "%s{\"id\":", i == 0 ? "" : ",");
        pst_text_json(json, view.id);
        pst_text_printf(json, ",\"type\":");
        pst_text_json(json, view.type);
        pst_text_printf(json, ",\"role\":\"%s\",\"partitions\":%u,\"buckets\":%u,\"file\":", pst_role_name(view.role),
                        view.partition_count, view.bucket_count);
        pst_text_json(json, view.file);
        pst_text_printf(json, ",\"enclave\":%s,\"epc_bytes\":%llu}", view.enclave ? "true" : "false",
                        (unsigned long long)view.epc_bytes);
    }
    pst_text_printf(json, "]");
}

static int json_show(const struct pst_call *call, const struct pst_loaded *loaded)
{
    struct pst_text json = {0};
    pst_text_printf(&json, "{\"schema_version\":%d,\"file\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, call->operands[0]);
    pst_text_printf(&json, ",\"name\":");
    pst_text_json(&json, loaded->graph != NULL ? pst_graph_name(loaded->graph) : NULL);
    pst_text_printf(&json, ",\"ok\":%s,", loaded->graph != NULL ? "true" : "false");
    pst_json_diagnostics(&json, &loaded->diagnostics);
    pst_text_printf(&json, ",");
    operators_json(&json, loaded->graph);
    pst_text_printf(&json, ",");
    pst_json_error(&json, loaded->exit_code, loaded->graph != NULL ? NULL : loaded->error.bytes);
    pst_text_printf(&json, "}\n");
    return pst_text_show(call, &json);
}

static size_t wider(size_t width, const char *word) { return strlen(word) > width ? strlen(word) : width; }

static void table_print(struct pst_text *text, const struct pst_graph *graph)
{
    const uint32_t count = pst_graph_operator_count(graph);
    struct pst_operator_view view;
    size_t id_width = strlen("id"), type_width = strlen("type");
    for (uint32_t i = 0; i < count; i++) {
        pst_graph_operator(graph, i, &view);
        id_width = wider(id_width, view.id);
        type_width = wider(type_width, view.type);
    }
    pst_text_printf(text, "  %-*s  %-*s  %10s  %7s  %s\n", (int)id_width, "id", (int)type_width, "type", "partitions",
                    "buckets", "file");
    for (uint32_t i = 0; i < count; i++) {
        pst_graph_operator(graph, i, &view);
        pst_text_printf(text, "  %-*s  %-*s  %10u  %7u  %s\n", (int)id_width, view.id, (int)type_width, view.type,
                        view.partition_count, view.bucket_count, view.file != NULL ? view.file : "-");
    }
}

static int text_show(const struct pst_call *call, const struct pst_graph *graph)
{
    struct pst_text text = {0};
    struct pst_operator_view view;
    const uint32_t count = pst_graph_operator_count(graph);
    uint32_t source_count = 0, sink_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        pst_graph_operator(graph, i, &view);
        source_count += view.role == PST_ROLE_SOURCE;
        sink_count += view.role == PST_ROLE_SINK;
    }
    pst_text_printf(&text, "%s: ok: %u operator%s, %u source%s, %u sink%s\n", call->operands[0], count,
                    count == 1 ? "" : "s", source_count, source_count == 1 ? "" : "s", sink_count,
                    sink_count == 1 ? "" : "s");
    table_print(&text, graph);
    for (uint32_t i = 0; i < count; i++) {
        pst_graph_operator(graph, i, &view);
        if (view.enclave)
            pst_text_printf(&text, "  %s runs in enclaves with an EPC of %llu KiB each\n", view.id,
                            (unsigned long long)view.epc_bytes / 1024);
    }
    return pst_text_show(call, &text);
}

/* Operators of shared objects take a program that has them: that, too, is known before a row is read. */
static int enclaves_check(const struct pst_call *call, struct pst_loaded *loaded)
{
    const char *program = pst_call_flag(call, "enclave-program");
    char why[640];
    int exit_code = pst_enclaves_apply(call, loaded->graph, false);
    if (exit_code != PST_EXIT_OK || program == NULL)
        return exit_code;
    int rc = pst_graph_enclave_try(loaded->graph, program, why);
    exit_code = rc == PST_EDATA ? PST_EXIT_CONFIG : pst_exit_of_error(rc);
    if (rc != PST_OK)
        pst_complain(call, exit_code, "%s", why);
    return exit_code;
}

static int check_run(const struct pst_call *call)
{
    struct pst_loaded loaded;
    int exit_code = pst_loaded_init(&loaded, call);
    if (exit_code == PST_EXIT_OK && (exit_code = enclaves_check(call, &loaded)) != PST_EXIT_OK) {
        pst_loaded_fini(&loaded);
        return exit_code; /* said, as an object where one was asked for */
    }
    int shown = PST_EXIT_OK;
    if (call->json)
        shown = json_show(call, &loaded);
    else if (exit_code == PST_EXIT_OK && !call->quiet)
        shown = text_show(call, loaded.graph);
    pst_loaded_fini(&loaded);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

static const struct pst_flag check_flags[] = {
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {"enclave", 0, "OPERATOR", true, "As for `run`: look at the graph as if OPERATOR were in enclaves.", NULL},
    {"enclave-program", 0, "FILE", false,
     "As for `run`; whether a worker of it has the operators, and plans them alike, is tried.", "file"},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_check = {
    .name = "check",
    .operands = "GRAPH.yaml",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Find every error of a graph without running it.",
    .text =
        "Reads the graph, fills in its parameters, and checks all that can be known before a row is read, just as "
        "`run` does. "
        "Every error is told at once, with file, line and column. A graph without errors is shown as a table of its "
        "operators.",
    .examples = "penstock check debs14/load.yaml\n"
                "penstock check debs14/outliers.yaml --set partitions=8 --set windows=3600\n"
                "penstock check debs14/load.yaml --json",
    .flags = check_flags,
    .run = check_run,
};
