/* tools/key_serve.c - `penstock key serve`: the user's key goes to workers whose evidence is what the policy wants. */
#include "tools/evidence_files.h"
#include "tools/inside.h"
#include "tools/keyfile.h"

#include "enclave_shim/attestation/evidence.h"
#include "engine/policy.h"

#include <string.h>

static void log_line(void *argument, const char *line) { pst_note(argument, "penstock: %s", line); }

static int serve(const struct pst_call *call, const struct pst_keyring_keys *keys,
                 const struct pst_evidence_request *request)
{
    struct pst_key_server_options options = {.listen = pst_call_flag(call, "listen"),
                                             .key = pst_secret_bytes(keys->secrets[0]),
                                             .request = request,
                                             .interrupts = pst_interrupts(),
                                             .log = log_line,
                                             .argument = (void *)(uintptr_t)call};
    struct pst_key_server *server = NULL;
    char why[240] = "", tls_why[PST_TLS_WHY_BYTES];
    const char *tls = pst_call_flag(call, "tls");
    if (!pst_call_number(call, "count", 1, UINT64_MAX, 0, &options.count))
        return PST_EXIT_USAGE;
    if (tls == NULL && strncmp(options.listen, "unix:", 5) != 0) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--listen %s needs --tls FOLDER: what goes over a network is protected by certificates; "
                     "unix:PATH needs none",
                     options.listen);
        return PST_EXIT_USAGE;
    }
    struct pst_world *world = pst_world_uv();
    int rc = world != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK && tls != NULL) {
        rc = pst_world_uv_tls(world, tls, tls_why);
        if (rc != PST_OK)
            pst_complain(call, pst_exit_of_error(rc), "%s", tls_why);
    }
    if (rc != PST_OK) {
        pst_world_uv_free(world);
        return pst_exit_of_error(rc);
    }
    pst_signals_take();
    rc = pst_key_server_new(world, &options, &server);
    if (rc == PST_OK)
        rc = world->run(world->self, 1, pst_key_server_step, server);
    if (server != NULL) {
        int ended = pst_key_server_free(server, why);
        rc = rc == PST_OK ? ended : rc;
    }
    pst_world_uv_free(world);
    if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
    return pst_exit_of_error(rc);
}

int pst_key_serve(const struct pst_call *call, const struct pst_keyring_keys *keys)
{
    struct pst_policy_file policy = {0};
    struct pst_evidence_files files = {.call = call};
    if (pst_call_flag(call, "listen") == NULL || pst_call_flag(call, "policy") == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "`key serve` needs --listen ADDRESS and --policy FILE");
        return PST_EXIT_USAGE;
    }
    int exit_code = pst_evidence_policy_read(call, "policy", &policy);
    if (exit_code == PST_EXIT_OK) {
        struct pst_evidence_request request = {.policy = &policy.policy,
                                               .allow_software = pst_call_flag(call, "allow-software") != NULL};
        exit_code = pst_evidence_files_take(&files, &request);
        if (exit_code == PST_EXIT_OK && policy.policy.measurements.count == 0) {
            exit_code = PST_EXIT_CONFIG;
            pst_complain(call, exit_code,
                         "the policy names no measurements: any program would get the key; "
                         "`penstock measure GRAPH` prints those of a graph");
        } else if (exit_code == PST_EXIT_OK) {
            exit_code = serve(call, keys, &request);
        }
    }
    pst_evidence_files_fini(&files);
    pst_policy_file_fini(&policy);
    return exit_code;
}
