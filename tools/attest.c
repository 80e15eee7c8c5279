/* tools/attest.c - `penstock attest`: is this evidence of a trusted execution environment genuine, and what a policy wants? */
#include "tools/inside.h"

#include "enclave_shim/attestation/evidence.h"
#include "engine/policy.h"
#include "tools/evidence_files.h"
#include "tools/keyfile.h"
#include "tools/witness.h"

#include <string.h>

enum { NONCE_BYTES_MAX = 64, COLUMN_MAX = 34, DAY_S = 86400 };

struct attest { /* one call */
    const struct pst_call *call;
    struct pst_world *world;
    struct pst_evidence_files files;
    struct pst_policy_file policy;
    uint8_t nonce[NONCE_BYTES_MAX];
    struct pst_evidence_request request;
    struct pst_evidence_report report;
};

/* ---- reading ---- */
static int policy_complain(const struct pst_call *call, const char *path, const struct pst_diagnostics *d)
{
    struct pst_text text = {0}, json = {0};
    uint32_t count = d->item_count + d->left_out_count;
    (void)pst_diagnostics_print(d, call->colour_err, &text);
    (void)fwrite(text.bytes != NULL ? text.bytes : "", 1, text.count, stderr);
    pst_text_fini(&text);
    (void)pst_text_printf(&text, "%s has %u error%s", path, count, count == 1 ? "" : "s");
    const char *sentence = text.bytes != NULL ? text.bytes : pst_error_sentence(PST_ENOMEM);
    pst_complain_text(call, PST_EXIT_CONFIG, sentence);
    if (call->json) {
        pst_text_printf(&json, "{\"schema_version\":%d,", PST_JSON_SCHEMA_VERSION);
        pst_json_diagnostics(&json, d);
        pst_text_printf(&json, ",");
        pst_json_error(&json, PST_EXIT_CONFIG, sentence);
        pst_text_printf(&json, "}\n");
        (void)pst_text_show(call, &json);
    }
    pst_text_fini(&text);
    return PST_EXIT_CONFIG;
}

static int policy_read(struct attest *attest)
{
    const char *path = pst_call_flag(attest->call, "policy");
    struct pst_bytes file;
    if (path == NULL)
        return PST_EXIT_OK;
    int exit_code = pst_evidence_file_read(&attest->files, path, &file);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    struct pst_diagnostics d;
    pst_diagnostics_init(&d);
    int rc = pst_policy_parse(path, (const char *)file.bytes, file.count, &d, &attest->policy);
    exit_code = pst_exit_of_error(rc);
    if (rc == PST_EGRAPH)
        exit_code = policy_complain(attest->call, path, &d);
    else if (rc != PST_OK)
        pst_complain(attest->call, exit_code, "%s", pst_error_sentence(rc));
    pst_diagnostics_fini(&d);
    attest->request.policy = &attest->policy.policy;
    return exit_code;
}

/* ---- the flags ---- */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int nonce_take(struct attest *attest)
{
    const char *text = pst_call_flag(attest->call, "nonce");
    if (text == NULL)
        return PST_EXIT_OK;
    size_t digits = strlen(text), i = 0;
    bool good = digits % 2 == 0 && digits <= (size_t)2 * NONCE_BYTES_MAX;
    for (; good && i < digits; i += 2) {
        int high = digit_value(text[i]), low = digit_value(text[i + 1]);
        good = high >= 0 && low >= 0;
        attest->nonce[i / 2] = (uint8_t)(good ? high * 16 + low : 0);
    }
    if (!good) {
        pst_complain(attest->call, PST_EXIT_USAGE,
                     "--nonce `%s`: an even number of hexadecimal digits, 128 at most, is wanted", text);
        return PST_EXIT_USAGE;
    }
    attest->request.nonce = attest->nonce;
    attest->request.nonce_bytes = digits / 2;
    return PST_EXIT_OK;
}

static int kind_take(struct attest *attest)
{
    const char *text = pst_call_flag(attest->call, "kind");
    struct pst_evidence_request *request = &attest->request;
    for (uint32_t i = 0; text != NULL && i < PST_BACKEND_COUNT; i++) {
        if (strcmp(pst_backend_names[i], text) != 0)
            continue;
        request->kind_given = true;
        request->kind = (pst_backend)i;
    }
    if (text == NULL || request->kind_given)
        return PST_EXIT_OK;
    const char *nearest = pst_nearest(text, pst_backend_names, PST_BACKEND_COUNT);
    if (nearest != NULL) {
        pst_complain(attest->call, PST_EXIT_USAGE, "--kind `%s` is no kind of evidence: did you mean `%s`?", text,
                     nearest);
        return PST_EXIT_USAGE;
    }
    struct pst_text names = {0};
    for (uint32_t i = 0; i < PST_BACKEND_COUNT; i++)
        pst_text_printf(&names, "%s%s", i == 0 ? "" : ", ", pst_backend_names[i]);
    pst_complain(attest->call, PST_EXIT_USAGE, "--kind `%s` is no kind of evidence: there are %s", text,
                 names.bytes != NULL ? names.bytes : "");
    pst_text_fini(&names);
    return PST_EXIT_USAGE;
}

static int time_take(struct attest *attest)
{
    const char *text = pst_call_flag(attest->call, "at");
    attest->request.at_s = attest->world->wall_s(attest->world->self);
    if (text == NULL || pst_time_parse(text, &attest->request.at_s) == PST_OK)
        return PST_EXIT_OK;
    pst_complain(attest->call, PST_EXIT_USAGE, "--at `%s`: 2026-01-31 or 2026-01-31T12:00:00Z is wanted", text);
    return PST_EXIT_USAGE;
}

static int request_fill(struct attest *attest)
{
    const struct pst_call *call = attest->call;
    struct pst_evidence_request *request = &attest->request;
    request->allow_debug = pst_call_flag(call, "allow-debug") != NULL;
    request->allow_software = pst_call_flag(call, "allow-software") != NULL;
    int exit_code = kind_take(attest);
    if (exit_code == PST_EXIT_OK)
        exit_code = nonce_take(attest);
    if (exit_code == PST_EXIT_OK)
        exit_code = time_take(attest);
    if (exit_code == PST_EXIT_OK)
        exit_code = policy_read(attest);
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_evidence_file_read(&attest->files, call->operands[1], &request->evidence);
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_evidence_files_read(&attest->files, request);
    return exit_code;
}

/* ---- what it stands for, in plain words ---- */
enum { TERM_COLUMN = 18 };

static void term_print(struct pst_text *text, const char *term, const char *words)
{
    pst_text_printf(text, "  %-*s", TERM_COLUMN - 2, term);
    pst_words_fill(text, TERM_COLUMN, TERM_COLUMN, words, strlen(words));
}

void pst_protection_print(struct pst_text *text, uint32_t backend)
{
    const struct pst_backend_words *words = pst_backend_words((pst_backend)backend);
    term_print(text, "protects from", words->protects_from);
    term_print(text, "not from", words->not_from);
    term_print(text, "root can still", words->root_can);
}

/* Behind what was said of evidence of this kind. */
static void protection_note(const struct pst_call *call, pst_backend backend)
{
    struct pst_text text = {0};
    pst_protection_print(&text, backend);
    if (!text.failed && text.count > 0)
        pst_note(call, "%.*s", (int)text.count - 1, text.bytes);
    pst_text_fini(&text);
}

static void protection_json(struct pst_text *json, pst_backend backend)
{
    const struct pst_backend_words *words = pst_backend_words(backend);
    pst_text_printf(json, "\"protects_from\":");
    pst_text_json(json, words->protects_from);
    pst_text_printf(json, ",\"not_from\":");
    pst_text_json(json, words->not_from);
    pst_text_printf(json, ",\"root_can\":");
    pst_text_json(json, words->root_can);
}

/* Workers run as `process`; what stands before its name says whose evidence is put over theirs. */
static bool runs_workers(pst_backend backend)
{
    return backend == PST_BACKEND_PROCESS || backend == PST_BACKEND_PROCESS_SNP || backend == PST_BACKEND_PROCESS_TDX;
}

static int backends_json(const struct pst_call *call)
{
    struct pst_text json = {0};
    pst_text_printf(&json, "{\"schema_version\":%d,\"backends\":[", PST_JSON_SCHEMA_VERSION);
    for (uint32_t i = 0; i < PST_BACKEND_COUNT; i++) {
        pst_text_printf(&json, "%s{\"name\":\"%s\",\"evidence\":", i == 0 ? "" : ",", pst_backend_names[i]);
        pst_text_json(&json, pst_backend_sentence((pst_backend)i));
        pst_text_printf(&json, ",\"hardware\":%s,\"runs_workers\":%s,",
                        pst_backend_hardware((pst_backend)i) ? "true" : "false",
                        runs_workers((pst_backend)i) ? "true" : "false");
        protection_json(&json, (pst_backend)i);
        pst_text_printf(&json, "}");
    }
    pst_text_printf(&json, "],");
    pst_json_error(&json, PST_EXIT_OK, NULL);
    pst_text_printf(&json, "}\n");
    return pst_text_show(call, &json);
}

static int backends(const struct pst_call *call)
{
    struct pst_text text = {0};
    if (call->json)
        return backends_json(call);
    for (uint32_t i = 0; i < PST_BACKEND_COUNT; i++) {
        pst_text_printf(&text, "%s%s: ", i == 0 ? "" : "\n", pst_backend_names[i]);
        pst_words_fill(&text, strlen(pst_backend_names[i]) + 2, 2, pst_backend_sentence((pst_backend)i),
                       strlen(pst_backend_sentence((pst_backend)i)));
        pst_protection_print(&text, i);
    }
    static const char where[] =
        "Workers of penstock run as `process`, which is `process-snp` or `process-tdx` where their node is a "
        "confidential machine and has its hardware sign for them. Of the others evidence is verified, and nothing of "
        "penstock's runs in them.";
    pst_text_printf(&text, "\n");
    pst_words_fill(&text, 0, 0, where, sizeof where - 1);
    return pst_text_show(call, &text);
}

/* ---- showing ---- */
static const char *result_name(pst_check_result result)
{
    return result == PST_CHECK_PASSED ? "passed" : result == PST_CHECK_FAILED ? "FAILED" : "-";
}

static void row_show(const struct attest *attest, const struct pst_check *check, struct pst_text *text)
{
    const bool red = attest->call->colour_out && check->result == PST_CHECK_FAILED;
    pst_text_printf(text, "%s%-6s  %-28s  ", red ? "\033[1;31m" : "", result_name(check->result), check->name);
    if (strlen(check->expected) <= COLUMN_MAX && strlen(check->actual) <= COLUMN_MAX)
        pst_text_printf(text, "%-*s  %s", COLUMN_MAX, check->expected, check->actual);
    else if (check->result == PST_CHECK_OPEN)
        pst_text_printf(text, "%-*s  %s", COLUMN_MAX, "", check->actual);
    else
        pst_text_printf(text, "\n          expected  %s\n          actual    %s", check->expected, check->actual);
    pst_text_printf(text, "%s\n", red ? "\033[0m" : "");
}

static int64_t age_days(const struct attest *attest)
{
    return (attest->request.at_s - attest->report.collateral_from_s) / DAY_S;
}

static int report_text(const struct attest *attest)
{
    const struct pst_evidence_report *report = &attest->report;
    struct pst_text text = {0};
    char from[PST_TIME_TEXT_BYTES], until[PST_TIME_TEXT_BYTES];
    pst_text_printf(&text, "%-6s  %-28s  %-*s  %s\n", "", "field", COLUMN_MAX, "expected", "actual");
    for (uint32_t i = 0; i < report->check_count; i++)
        row_show(attest, &report->checks[i], &text);
    if (report->collateral) {
        pst_time_print(report->collateral_from_s, from);
        pst_time_print(report->collateral_until_s, until);
        pst_text_printf(&text, "collateral of %s, %lld days old, good until %s\n", from, (long long)age_days(attest),
                        until);
    }
    return pst_text_show(attest->call, &text);
}

static void row_json(const struct pst_check *check, bool first, struct pst_text *json)
{
    static const char *const results[] = {"not_checked", "passed", "failed"};
    pst_text_printf(json, "%s{\"name\":", first ? "" : ",");
    pst_text_json(json, check->name);
    pst_text_printf(json, ",\"expected\":");
    pst_text_json(json, check->result == PST_CHECK_OPEN ? NULL : check->expected);
    pst_text_printf(json, ",\"actual\":");
    pst_text_json(json, check->actual);
    pst_text_printf(json, ",\"result\":\"%s\"}", results[check->result]);
}

static int report_json(const struct attest *attest, int exit_code, const char *error)
{
    const struct pst_evidence_report *report = &attest->report;
    struct pst_text json = {0};
    char at[PST_TIME_TEXT_BYTES], from[PST_TIME_TEXT_BYTES], until[PST_TIME_TEXT_BYTES];
    pst_time_print(attest->request.at_s, at);
    pst_text_printf(&json, "{\"schema_version\":%d,\"evidence\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, attest->request.evidence.name);
    pst_text_printf(&json, ",\"backend\":\"%s\",\"hardware\":%s,\"accepted\":%s,\"at\":\"%s\",\"collateral\":",
                    pst_backend_names[report->backend], pst_backend_hardware(report->backend) ? "true" : "false",
                    report->accepted ? "true" : "false", at);
    if (report->collateral) {
        pst_time_print(report->collateral_from_s, from);
        pst_time_print(report->collateral_until_s, until);
        pst_text_printf(&json, "{\"from\":\"%s\",\"until\":\"%s\",\"age_days\":%lld}", from, until,
                        (long long)age_days(attest));
    } else {
        pst_text_printf(&json, "null");
    }
    pst_text_printf(&json, ",\"checks\":[");
    for (uint32_t i = 0; i < report->check_count; i++)
        row_json(&report->checks[i], i == 0, &json);
    pst_text_printf(&json, "],");
    protection_json(&json, report->backend);
    pst_text_printf(&json, ",");
    pst_json_error(&json, exit_code, error);
    pst_text_printf(&json, "}\n");
    return pst_text_show(attest->call, &json);
}

static int report_show(const struct attest *attest)
{
    const struct pst_evidence_report *report = &attest->report;
    const struct pst_check *failed = pst_evidence_report_failed(report);
    struct pst_text error = {0};
    uint32_t more = 0;
    for (uint32_t i = 0; i < report->check_count; i++)
        more += report->checks[i].result == PST_CHECK_FAILED && &report->checks[i] != failed;
    int exit_code = report->accepted ? PST_EXIT_OK : PST_EXIT_REFUSED;
    if (failed != NULL) {
        pst_text_printf(&error, "`%s` is refused: %s: expected %s, but it is %s", attest->request.evidence.name,
                        failed->name, failed->expected, failed->actual);
        if (more != 0)
            pst_text_printf(&error, "; %u more field%s failed", more, more == 1 ? "" : "s");
    }
    int shown = attest->call->json ? report_json(attest, exit_code, error.bytes) : report_text(attest);
    if (exit_code != PST_EXIT_OK) {
        pst_complain_text(attest->call, exit_code, error.bytes != NULL ? error.bytes : "the evidence is refused");
    } else {
        pst_note(attest->call, "%s: %s, accepted", attest->request.evidence.name,
                 pst_backend_sentence(report->backend));
        protection_note(attest->call, report->backend);
    }
    pst_text_fini(&error);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

/* ---- this machine's own evidence ---- */
static int blob_write(struct attest *attest, const char *path, const uint8_t *bytes, size_t count)
{
    struct pst_world *world = attest->world;
    struct pst_file *file = NULL;
    int rc = world->file_open(world->self, path, PST_OPEN_CREATE, &file);
    if (rc == PST_OK) {
        rc = world->file_write(world->self, file, bytes, count);
        int closed = world->file_close(world->self, file);
        rc = rc != PST_OK ? rc : closed;
    }
    if (rc != PST_OK)
        pst_complain(attest->call, pst_exit_of_error(rc), "`%s` cannot be written: %s", path, pst_system_error());
    return pst_exit_of_error(rc);
}

/* The kernel's names of its providers (drivers/virt/coco). */
static void provider_note(const struct pst_call *call, const char *provider)
{
    if (strcmp(provider, "sev_guest") == 0)
        protection_note(call, PST_BACKEND_SNP);
    else if (strcmp(provider, "tdx_guest") == 0)
        protection_note(call, PST_BACKEND_TDX);
}

static int report_told(const struct attest *attest, const struct pst_tsm_report *report, const char *path,
                       const char *certificates)
{
    const char *along = report->certificates != NULL ? certificates : NULL;
    struct pst_text json = {0};
    pst_note(attest->call, "%s: %zu bytes of evidence by %s%s%s", path, report->evidence_bytes, report->provider,
             along != NULL ? ", certificates in " : "", along != NULL ? along : "");
    provider_note(attest->call, report->provider);
    if (!attest->call->json)
        return PST_EXIT_OK;
    pst_text_printf(&json, "{\"schema_version\":%d,\"evidence\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, path);
    pst_text_printf(&json, ",\"provider\":");
    pst_text_json(&json, report->provider);
    pst_text_printf(&json, ",\"certificates\":");
    pst_text_json(&json, along);
    pst_text_printf(&json, ",\"error\":null}\n");
    return pst_text_show(attest->call, &json);
}

static int report_write(struct attest *attest, const struct pst_tsm_report *report)
{
    const char *path = attest->call->operands[1];
    struct pst_text certificates = {0};
    if (pst_text_printf(&certificates, "%s.certificates", path) != PST_OK) {
        pst_complain(attest->call, PST_EXIT_FAILED, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_EXIT_FAILED;
    }
    int exit_code = blob_write(attest, path, report->evidence, report->evidence_bytes);
    if (exit_code == PST_EXIT_OK && report->certificates != NULL)
        exit_code = blob_write(attest, certificates.bytes, report->certificates, report->certificate_bytes);
    if (exit_code == PST_EXIT_OK)
        exit_code = report_told(attest, report, path, certificates.bytes);
    pst_text_fini(&certificates);
    return exit_code;
}

/* ---- a quote of this machine's TPM ---- */
static void hex_add(struct pst_text *text, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        pst_text_printf(text, "%02x", bytes[i]);
}

/* What a policy will want to name. */
static int quote_told(const struct attest *attest, const struct pst_witness *witness, const uint8_t *bytes,
                      size_t count)
{
    const char *path = attest->call->operands[1], *why = NULL;
    struct pst_tpm_evidence evidence;
    struct pst_text json = {0}, name = {0};
    uint8_t key_name[PST_TPM_NAME_BYTES];
    char pem[PST_TPM_PEM_BYTES_MAX];
    int rc = pst_tpm_evidence_parse(bytes, count, &evidence, &why);
    if (rc == PST_OK)
        rc = pst_tpm_key_show(evidence.public.bytes, evidence.public.count, key_name, pem, &why);
    if (rc != PST_OK) {
        pst_complain(attest->call, pst_exit_of_error(rc), "the TPM's answer %s",
                     why != NULL ? why : pst_error_sentence(rc));
        return pst_exit_of_error(rc);
    }
    hex_add(&name, key_name, sizeof key_name);
    pst_note(attest->call, "%s: a TPM's quote of the node's key; the name of its attestation key is %s", path,
             name.bytes != NULL ? name.bytes : "");
    protection_note(attest->call, PST_BACKEND_TPM);
    if (attest->call->json) {
        pst_text_printf(&json, "{\"schema_version\":%d,\"evidence\":", PST_JSON_SCHEMA_VERSION);
        pst_text_json(&json, path);
        pst_text_printf(&json, ",\"node_key\":\"");
        hex_add(&json, witness->node_key, sizeof witness->node_key);
        pst_text_printf(&json, "\",\"tpm_key_name\":");
        pst_text_json(&json, name.bytes);
        pst_text_printf(&json, ",\"tpm_key\":");
        pst_text_json(&json, pem);
        pst_text_printf(&json, ",\"error\":null}\n");
    }
    pst_text_fini(&name);
    return attest->call->json ? pst_text_show(attest->call, &json) : PST_EXIT_OK;
}

static int quote_make(struct attest *attest, struct pst_witness *witness, const uint8_t node_key[32])
{
    uint8_t bytes[PST_TPM_EVIDENCE_BYTES_MAX], nonce[NONCE_BYTES_MAX] = {0};
    char why[PST_TPM_WHY_BYTES] = "";
    size_t count = 0;
    memcpy(nonce, attest->nonce, attest->request.nonce_bytes);
    int rc = pst_witness_open(witness, node_key, true, why);
    if (rc == PST_OK)
        rc = pst_witness_quote(witness, nonce, bytes, sizeof bytes, &count, why);
    if (rc != PST_OK) {
        int exit_code = pst_exit_of_error(rc);
        pst_complain(attest->call, exit_code, "no evidence of this machine: %s", why);
        return exit_code;
    }
    int exit_code = blob_write(attest, attest->call->operands[1], bytes, count);
    return exit_code == PST_EXIT_OK ? quote_told(attest, witness, bytes, count) : exit_code;
}

static int quote(struct attest *attest)
{
    const char *path = pst_call_flag(attest->call, "node-key");
    struct pst_keyring_keys keys = {0};
    struct pst_witness witness;
    int exit_code = pst_witness_read(attest->call, &witness);
    if (exit_code == PST_EXIT_OK && (path == NULL || witness.none || pst_call_flag(attest->call, "tsm") != NULL)) {
        exit_code = PST_EXIT_USAGE;
        pst_complain(attest->call, exit_code,
                     "a TPM's quote needs --node-key FILE and a TPM, and is asked for without --tsm");
    }
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_node_key_read(attest->call, path, &keys);
    if (exit_code == PST_EXIT_OK)
        exit_code = quote_make(attest, &witness, pst_secret_bytes(keys.secrets[0]));
    pst_witness_close(&witness);
    pst_keyring_keys_fini(&keys);
    return exit_code;
}

static bool quote_asked(const struct pst_call *call)
{
    static const char *const flags[] = {"node-key", "tpm", "tpm-key", "pcrs"};
    bool asked = false;
    for (uint32_t i = 0; i < sizeof flags / sizeof *flags; i++)
        asked |= pst_call_flag(call, flags[i]) != NULL;
    return asked;
}

static int report(struct attest *attest)
{
    const char *directory = pst_call_flag(attest->call, "tsm");
    struct pst_tsm_report made;
    char path[PST_TSM_PATH_BYTES];
    int exit_code = nonce_take(attest);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    if (quote_asked(attest->call))
        return quote(attest);
    int rc = pst_tsm_report(attest->world, directory != NULL ? directory : PST_TSM_DIRECTORY, attest->nonce,
                            attest->request.nonce_bytes, &made, path);
    if (rc == PST_OK) {
        exit_code = report_write(attest, &made);
        pst_tsm_report_fini(&made);
        return exit_code;
    }
    exit_code = pst_exit_of_error(rc);
    if (rc == PST_EDATA)
        pst_complain(attest->call, exit_code,
                     "the kernel's evidence is not usable: `%s` was changed meanwhile, is empty or too large", path);
    else if (rc == PST_ENOMEM || rc == PST_EINVAL)
        pst_complain(attest->call, exit_code, "%s", pst_error_sentence(rc));
    else
        pst_complain(attest->call, exit_code, "no evidence of this machine: `%s`: %s", path, pst_system_error());
    return exit_code;
}

/* ---- the verb ---- */
static int action_unknown(const struct pst_call *call, const char *action)
{
    static const char *const actions[] = {"verify", "report", "backends"};
    const char *nearest = pst_nearest(action, actions, 3);
    if (nearest != NULL)
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with evidence: did you mean `%s`?", action, nearest);
    else
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with evidence: there are verify, report and backends",
                     action);
    return PST_EXIT_USAGE;
}

static bool flag_is_common(const char *name)
{
    bool common = false;
    for (const struct pst_flag *flag = pst_flags_common; flag->name != NULL; flag++)
        common |= strcmp(flag->name, name) == 0;
    return common;
}

/* What belongs to the other of the two. */
static int surplus_refuse(const struct pst_call *call, bool is_report)
{
    static const char *const of_report[] = {"tsm", "node-key", "tpm", "tpm-key", "pcrs"};
    for (uint32_t i = 0; i < call->flag_count; i++) {
        const char *name = call->flags[i].flag->name;
        bool common = strcmp(name, "nonce") == 0 || flag_is_common(name);
        bool reports = false;
        for (uint32_t of = 0; of < sizeof of_report / sizeof *of_report; of++)
            reports |= strcmp(name, of_report[of]) == 0;
        if (common || is_report == reports)
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s belongs to `penstock attest %s`", name,
                     is_report ? "verify" : "report");
        return PST_EXIT_USAGE;
    }
    return PST_EXIT_OK;
}

static int verify(struct attest *attest)
{
    int exit_code = request_fill(attest);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    int rc = pst_evidence_verify(&attest->request, &attest->report);
    exit_code = pst_exit_of_error(rc);
    if (rc == PST_OK)
        exit_code = report_show(attest);
    else
        pst_complain(attest->call, exit_code, "%s", rc == PST_EDATA ? attest->report.why : pst_error_sentence(rc));
    pst_evidence_report_fini(&attest->report);
    return exit_code;
}

/* By name, or where nothing is said. */
static int backends_run(const struct pst_call *call)
{
    if (call->operand_count == 2) {
        pst_complain(call, PST_EXIT_USAGE, "`penstock attest backends` takes no more, but `%s` was given",
                     call->operands[1]);
        return PST_EXIT_USAGE;
    }
    for (uint32_t i = 0; i < call->flag_count; i++) {
        if (flag_is_common(call->flags[i].flag->name))
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s belongs to `penstock attest verify` or `report`",
                     call->flags[i].flag->name);
        return PST_EXIT_USAGE;
    }
    return backends(call);
}

static int attest_run(const struct pst_call *call)
{
    if (call->operand_count == 0 || strcmp(call->operands[0], "backends") == 0)
        return backends_run(call);
    const bool is_report = strcmp(call->operands[0], "report") == 0;
    if (!is_report && strcmp(call->operands[0], "verify") != 0)
        return action_unknown(call, call->operands[0]);
    if (call->operand_count == 1) {
        pst_complain(call, PST_EXIT_USAGE, "EVIDENCE is missing: `penstock attest %s EVIDENCE`", call->operands[0]);
        return PST_EXIT_USAGE;
    }
    if (surplus_refuse(call, is_report) != PST_EXIT_OK)
        return PST_EXIT_USAGE;
    struct attest attest = {.call = call, .world = pst_world_uv(), .files.call = call};
    if (attest.world == NULL) {
        pst_complain(call, PST_EXIT_FAILED, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_EXIT_FAILED;
    }
    int exit_code = is_report ? report(&attest) : verify(&attest);
    pst_evidence_files_fini(&attest.files);
    pst_policy_file_fini(&attest.policy);
    pst_world_uv_free(attest.world);
    return exit_code;
}

static const struct pst_flag attest_flags[] = {
    {"kind", 'k', "KIND", false, "What EVIDENCE is; else found by its bytes.",
#define X(name, text, hardware, sentence) " " text
     PST_BACKEND_MAP(X)
#undef X
    },
    PST_EVIDENCE_FLAGS(""),
    {"policy", 'p', "FILE", false, "What is accepted, YAML: see `penstock help policy`.", "file"},
    {"nonce", 0, "HEX", false,
     "What the evidence has to hold: report data, filled up with zeros, or the nonce of a TPM's quote.", NULL},
    {"at", 0, "TIME", false, "Verify as of 2026-01-31 or 2026-01-31T12:00:00Z; now where nothing is said.", NULL},
    {"tsm", 0, "DIR", false, "report: the kernel's folder; " PST_TSM_DIRECTORY " where nothing is said.", "dir"},
    {"node-key", 0, "FILE", false,
     "report: ask the TPM for a quote of this node's key, a key file or node.key of `tls issue`.", "file"},
    PST_WITNESS_FLAGS,
    {"allow-debug", 0, NULL, false, "Accept a guest or enclave in debug mode, whose memory its host can read.", NULL},
    {"allow-software", 0, NULL, false, "Accept evidence that no hardware has signed.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_attest = {
    .name = "attest",
    .operands = "[backends] | verify|report EVIDENCE",
    .operand_count_max = 2,
    .summary = "Verify evidence of enclaves and machines; tell what it protects from.",
    .text =
        "Without more, or as `backends`, it tells of each kind of evidence in plain words what it protects from, from "
        "whom it does "
        "not, and what root can still do; `verify` and `report` tell it of the evidence at hand.\n\n"
        "`verify` checks attestation evidence of a confidential virtual machine or an enclave: reports of AMD SEV-SNP, "
        "quotes of Intel TDX and SGX, the forms in which Azure wraps the first two with a virtual TPM, and software "
        "evidence of penstock's own, with a quote of the node's TPM or without. The signature of the evidence, the "
        "certificates of the key that made it up to a "
        "pinned root, and what stands in the evidence are shown field by field, what was expected beside what there "
        "is.\n\n"
        "The exit code is 0 only for hardware evidence that is genuine and meets the policy; 77 for what is refused, "
        "and the message names the field. Software evidence, that with a TPM's quote too, is refused unless "
        "--allow-software is "
        "given: a TPM tells which machine a node is and what it booted, not that a worker's memory cannot be read. 78 "
        "is a "
        "policy file that is wrong, 65 are files that hold something else than they should, 74 files that cannot be "
        "read.\n\n"
        "Nothing is fetched: certificates of AMD are at kdsintf.amd.com, collateral of Intel at "
        "api.trustedservices.intel.com, in the form that Intel's quote verification library and dcap-qvl take. "
        "Without --nonce nobody knows when the evidence was made: a verifier that asks for it sends a fresh nonce and "
        "gives it here.\n\n"
        "`report` writes the evidence of the machine that it runs on, a confidential virtual machine, into the file "
        "EVIDENCE, with --nonce in it, and what certificates the host has given along into EVIDENCE.certificates, "
        "which "
        "`verify` takes as they are. It asks the kernel by configfs-tsm, Linux 6.7 or newer. With --node-key it is a "
        "quote "
        "of this machine's TPM 2.0 for that key and --nonce, and the attestation key's name is told, for `tpm_keys` of "
        "a "
        "policy: take it over where the machine can be trusted.",
    .examples = "penstock attest\n"
                "penstock attest verify report.bin --certificates vcek.der --certificates ask_ark.pem\n"
                "penstock attest verify quote.bin --collateral collateral.json --policy policy.yaml --nonce 00c0ffee\n"
                "penstock attest verify report.bin --certificates chain.pem --at 2025-06-30 --json\n"
                "penstock attest report report.bin --nonce 00c0ffee\n"
                "penstock attest report node.quote --node-key node.key --nonce 00c0ffee\n"
                "penstock attest verify node.quote --policy policy.yaml --nonce 00c0ffee --allow-software",
    .flags = attest_flags,
    .run = attest_run,
};
