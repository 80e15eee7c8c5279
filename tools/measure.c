/* tools/measure.c - `penstock measure`: what the enclaves of a graph will be measured as, in the form of a policy. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include "enclave_shim/attestation/evidence.h"

struct measuring {
    const struct pst_call *call;
    struct pst_text text;
    uint32_t count;
};

static void measured(void *argument, const char *id, const uint8_t measurement[32])
{
    struct measuring *m = argument;
    if (m->call->json) {
        pst_text_printf(&m->text, "%s{\"operator\":", m->count == 0 ? "" : ",");
        pst_text_json(&m->text, id);
        pst_text_printf(&m->text, ",\"measurement\":\"");
    } else {
        pst_text_printf(&m->text, "  - ");
    }
    for (uint32_t i = 0; i < 32; i++)
        pst_text_printf(&m->text, "%02x", measurement[i]);
    if (m->call->json)
        pst_text_printf(&m->text, "\"}");
    else
        pst_text_printf(&m->text, " # %s\n", id);
    m->count++;
}

/* Of the node that will run it: the public half of what it signs software evidence with. */
static int node_key_print(const struct pst_call *call, struct pst_text *text)
{
    const char *path = pst_call_flag(call, "node-key");
    struct pst_keyring_keys keys = {0};
    uint8_t public[32];
    if (path == NULL)
        return PST_EXIT_OK;
    int exit_code = pst_node_key_read(call, path, &keys);
    if (exit_code == PST_EXIT_OK && pst_process_node_key(pst_secret_bytes(keys.secrets[0]), public) != PST_OK)
        exit_code = PST_EXIT_FAILED;
    if (exit_code == PST_EXIT_OK) {
        pst_text_printf(text, call->json ? ",\"node_key\":\"" : "node_keys:\n  - ");
        for (uint32_t i = 0; i < sizeof public; i++)
            pst_text_printf(text, "%02x", public[i]);
        pst_text_printf(text, call->json ? "\"" : "\n");
    }
    pst_keyring_keys_fini(&keys);
    return exit_code;
}

static int measure_run(const struct pst_call *call)
{
    struct pst_loaded loaded;
    struct measuring m = {.call = call};
    char why[640] = "";
    int exit_code = pst_loaded_init(&loaded, call);
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_enclaves_apply(call, loaded.graph, false);
    if (exit_code == PST_EXIT_OK) {
        if (call->json)
            pst_text_printf(&m.text, "{\"schema_version\":%d,\"enclaves\":[", PST_JSON_SCHEMA_VERSION);
        else
            pst_text_printf(&m.text, "penstock_policy: 1\nbackends: [process]\nnonce: true\nmeasurements:\n");
        int rc = pst_sealed_measure(loaded.graph, pst_call_flag(call, "enclave-program"), measured, &m, why);
        exit_code = pst_exit_of_error(rc);
        if (rc != PST_OK)
            pst_complain(call, exit_code, "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
        if (call->json)
            pst_text_printf(&m.text, "]");
    }
    if (exit_code == PST_EXIT_OK)
        exit_code = node_key_print(call, &m.text);
    if (exit_code == PST_EXIT_OK && call->json)
        pst_text_printf(&m.text, ",\"error\":null}\n");
    pst_loaded_fini(&loaded);
    if (exit_code == PST_EXIT_OK)
        return pst_text_show(call, &m.text);
    pst_text_fini(&m.text);
    return exit_code;
}

static const struct pst_flag measure_flags[] = {
    {"enclave", 0, "OPERATOR", true,
     "As for `run`: `all` where the graph does not say which operators are in enclaves.", NULL},
    {"enclave-program", 0, "FILE", false, "As for `run`: the program that workers are made from.", "file"},
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {"node-key", 0, "FILE", false,
     "The node's key, a key file or node.key of `tls issue`: its public half is a line of the policy.", "file"},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_measure = {
    .name = "measure",
    .operands = "GRAPH.yaml",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Print what a graph's enclaves are measured as, for sealed runs.",
    .text = "A measurement is of the worker's program and of all of the configuration that results depend on, and is "
            "the same on "
            "every machine with this build. What is printed is a policy for `penstock key serve`: run it where the "
            "program can "
            "be trusted. Partitions and workers do not change it, parameters do.",
    .examples = "penstock measure debs14/load.yaml --enclave all --node-key node.key",
    .flags = measure_flags,
    .run = measure_run,
};
