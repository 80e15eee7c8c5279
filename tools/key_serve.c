/* tools/key_serve.c - `penstock key serve`: the user's key goes to workers whose evidence is what the policy wants. */
#include "tools/evidence_files.h"
#include "tools/inside.h"
#include "tools/keyfile.h"

#include "enclave_shim/attestation/evidence.h"
#include "engine/policy.h"

#include <string.h>

enum { POLICY_BYTES_MAX = 1 << 20 };

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

static int policy_read(const struct pst_call *call, struct pst_policy_file *policy)
{
    const char *path = pst_call_flag(call, "policy");
    struct pst_diagnostics d;
    struct pst_text shown = {0};
    char *bytes = pst_malloc(POLICY_BYTES_MAX + 1);
    size_t count = 0;
    FILE *file = path != NULL ? fopen(path, "rbe") : NULL;
    if (bytes != NULL && file != NULL)
        count = fread(bytes, 1, POLICY_BYTES_MAX + 1, file);
    bool good = bytes != NULL && file != NULL && ferror(file) == 0 && count <= POLICY_BYTES_MAX;
    if (file != NULL)
        (void)fclose(file);
    if (!good) {
        pst_complain(call, PST_EXIT_IO, "the policy `%s` cannot be read", path);
        pst_free(bytes);
        return PST_EXIT_IO;
    }
    pst_diagnostics_init(&d);
    int rc = pst_policy_parse(path, bytes, count, &d, policy);
    if (rc == PST_EGRAPH)
        (void)pst_diagnostics_print(&d, call->colour_err, &shown);
    if (shown.bytes != NULL)
        (void)fwrite(shown.bytes, 1, shown.count, stderr);
    if (rc == PST_EGRAPH)
        pst_complain(call, PST_EXIT_CONFIG, "the policy %s has %u error%s", path, d.item_count + d.left_out_count,
                     d.item_count + d.left_out_count == 1 ? "" : "s");
    else if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "%s", pst_error_sentence(rc));
    pst_text_fini(&shown);
    pst_diagnostics_fini(&d);
    pst_free(bytes);
    return pst_exit_of_error(rc);
}

/* What machines' evidence will be checked with: wrong files are told now, and not to each worker that asks. */
static int files_read(struct pst_evidence_files *files, struct pst_evidence_request *request)
{
    struct pst_evidence_report report;
    int exit_code = pst_evidence_files_read(files, request);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    int rc = pst_evidence_request_check(request, &report);
    exit_code = pst_exit_of_error(rc);
    if (rc != PST_OK)
        pst_complain(files->call, exit_code, "%s", rc == PST_EDATA ? report.why : pst_error_sentence(rc));
    pst_evidence_report_fini(&report);
    return exit_code;
}

int pst_key_serve(const struct pst_call *call, const struct pst_keyring_keys *keys)
{
    struct pst_policy_file policy = {0};
    struct pst_evidence_files files = {.call = call};
    if (pst_call_flag(call, "listen") == NULL || pst_call_flag(call, "policy") == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "`key serve` needs --listen ADDRESS and --policy FILE");
        return PST_EXIT_USAGE;
    }
    int exit_code = policy_read(call, &policy);
    if (exit_code == PST_EXIT_OK) {
        struct pst_evidence_request request = {.policy = &policy.policy,
                                               .allow_software = pst_call_flag(call, "allow-software") != NULL};
        exit_code = files_read(&files, &request);
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
