/* tools/doctor.c - `penstock doctor`: what this machine has for enclaves, and what to do about what it has not. */
#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/enclave_shim.h"
#include "enclave_shim/tpm/tpm.h"
#include "tools/inside.h"

#include <string.h>
#include <unistd.h>

static const char *const grade_names[] = {
    [PST_DOCTOR_GOOD] = "yes", [PST_DOCTOR_PARTLY] = "partly", [PST_DOCTOR_MISSING] = "no", [PST_DOCTOR_NOTE] = "-"};

static bool is_missing(const struct pst_doctor_finding *findings, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (findings[i].grade == PST_DOCTOR_MISSING)
            return true;
    return false;
}

static int json_show(const struct pst_call *call, const struct pst_doctor_finding *findings, uint32_t count)
{
    struct pst_text json = {0};
    pst_text_printf(&json, "{\"schema_version\":%d,\"enclaves_can_run\":%s,\"findings\":[", PST_JSON_SCHEMA_VERSION,
                    is_missing(findings, count) ? "false" : "true");
    for (uint32_t i = 0; i < count; i++) {
        pst_text_printf(&json, "%s{\"name\":", i == 0 ? "" : ",");
        pst_text_json(&json, findings[i].name);
        pst_text_printf(&json, ",\"there\":");
        pst_text_json(&json, grade_names[findings[i].grade]);
        pst_text_printf(&json, ",\"text\":");
        pst_text_json(&json, findings[i].text);
        pst_text_printf(&json, ",\"remedy\":");
        pst_text_json(&json, findings[i].remedy[0] != '\0' ? findings[i].remedy : NULL);
        pst_text_printf(&json, "}");
    }
    pst_text_printf(&json, "]}\n");
    return pst_text_show(call, &json);
}

static int text_show(const struct pst_call *call, const struct pst_doctor_finding *findings, uint32_t count)
{
    struct pst_text text = {0};
    for (uint32_t i = 0; i < count; i++) {
        pst_text_printf(&text, "  %-13s %-7s %s\n", findings[i].name, grade_names[findings[i].grade], findings[i].text);
        if (findings[i].remedy[0] != '\0')
            pst_text_printf(&text, "  %-13s %-7s -> %s\n", "", "", findings[i].remedy);
    }
    if (is_missing(findings, count)) {
        pst_text_printf(&text, "Enclaves cannot run here.\n");
    } else {
        pst_text_printf(&text, "Enclaves can run here, as processes.\n");
        pst_protection_print(&text, PST_BACKEND_PROCESS);
    }
    return pst_text_show(call, &text);
}

/* Does one answer? Not needed for enclaves: it tells others which machine this is. */
static void tpm_look(const char *address, struct pst_doctor_finding *ret_finding)
{
    struct pst_tpm *tpm = NULL;
    char text[PST_TPM_TEXT_BYTES] = "", why[PST_TPM_WHY_BYTES] = "";
    int rc = pst_tpm_open(address, &tpm, why);
    if (rc == PST_OK)
        rc = pst_tpm_describe(tpm, text, why);
    pst_tpm_close(tpm);
    *ret_finding =
        (struct pst_doctor_finding){.name = "tpm", .grade = rc == PST_OK ? PST_DOCTOR_GOOD : PST_DOCTOR_NOTE};
    (void)snprintf(ret_finding->text, sizeof ret_finding->text, "%.230s", rc == PST_OK ? text : why);
    if (rc != PST_OK && address == NULL && access(PST_TPM_DEVICE, F_OK) == 0)
        (void)snprintf(ret_finding->remedy, sizeof ret_finding->remedy,
                       "the group of " PST_TPM_DEVICE " for this user; a TPM that is switched on in the firmware");
}

static int doctor_run(const struct pst_call *call)
{
    struct pst_doctor_finding findings[PST_DOCTOR_FINDINGS_MAX];
    const char *size = pst_call_flag(call, "epc");
    uint64_t bytes = PST_EPC_BYTES_STANDARD;
    if (size != NULL && (pst_parse_bytes(size, &bytes) != PST_OK || !pst_epc_fits(bytes))) {
        pst_complain(call, PST_EXIT_USAGE, "--epc `%s`: a size of 1MiB at least is wanted, as 93.5MiB", size);
        return PST_EXIT_USAGE;
    }
    uint32_t count = pst_doctor_look(bytes, findings);
    PST_ASSERT(count < PST_DOCTOR_FINDINGS_MAX);
    tpm_look(pst_call_flag(call, "tpm"), &findings[count++]);
    int shown = call->json ? json_show(call, findings, count) : text_show(call, findings, count);
    return shown != PST_EXIT_OK ? shown : is_missing(findings, count) ? PST_EXIT_CONFIG : PST_EXIT_OK;
}

static const struct pst_flag doctor_flags[] = {
    {"epc", 0, "SIZE", false, "Memory that each enclave is to have; 93.5MiB unless said.", NULL},
    {"tpm", 0, "ADDRESS", false, "The TPM that is asked, as swtpm:path=SOCKET; device:" PST_TPM_DEVICE " unless said.",
     NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_doctor = {
    .name = "doctor",
    .operands = "",
    .summary = "Tell what this machine has for enclaves.",
    .text = "Asks the system for each thing that a worker in an enclave gives up or needs, as the worker would, and "
            "changes "
            "nothing. Where something is missing it says what to do.\n\n"
            "The exit code is 78 where no enclave can run here, else 0.",
    .examples = "penstock doctor\n"
                "penstock doctor --epc 32MiB --json",
    .flags = doctor_flags,
    .run = doctor_run,
};
