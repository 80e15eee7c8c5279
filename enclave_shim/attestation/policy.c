/* policy.c - backends, and the table of what a policy may say. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

#define UPTODATE_ALONE (1 << PST_TCB_UP_TO_DATE)
#define FIRMWARE_AND_BOOT 0xff /* PCRs 0 to 7: TCG PC Client Platform Firmware Profile, section 3.3.4 */

const char *const pst_backend_names[] = {
#define X(name, text, hardware, sentence) text,
    PST_BACKEND_MAP(X)
#undef X
        NULL};
const char *const pst_tcb_part_names[] = {
#define X(name, text) text,
    PST_TCB_PART_MAP(X)
#undef X
        NULL};
const char *const pst_tcb_status_names[] = {
#define X(name, text) text,
    PST_TCB_STATUS_MAP(X)
#undef X
        NULL};

const char *const pst_capability_names[] = {
#define X(name, bit, text, sentence) [bit] = (text),
    PST_CAPABILITY_MAP(X)
#undef X
        NULL};
const char *const pst_pcr_names[PST_PCR_COUNT + 1] = {"0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",
                                                      "9",  "10", "11", "12", "13", "14", "15", "16", "17",
                                                      "18", "19", "20", "21", "22", "23", NULL};

const char *pst_backend_sentence(pst_backend backend)
{
    static const char *const sentences[] = {
#define X(name, text, hardware, sentence) sentence,
        PST_BACKEND_MAP(X)
#undef X
    };
    return sentences[backend];
}

bool pst_backend_hardware(pst_backend backend)
{
    static const bool hardwares[] = {
#define X(name, text, hardware, sentence) hardware,
        PST_BACKEND_MAP(X)
#undef X
    };
    return hardwares[backend];
}

const char *pst_tcb_status_name(pst_tcb_status status)
{
    if (status < PST_TCB_STATUS_COUNT)
        return pst_tcb_status_names[status];
    return status == PST_TCB_REVOKED ? "Revoked" : "NotSupported";
}

#define AT(field) offsetof(struct pst_attestation_policy, field)
const struct pst_policy_key pst_policy_keys[] = {
    {"backends", PST_POLICY_NAMES, AT(backends), pst_backend_names, 0, 0, (1 << PST_BACKEND_COUNT) - 1,
     "Kinds of evidence that are accepted; software evidence also needs --allow-software."},
    {"measurements", PST_POLICY_DIGESTS, AT(measurements), NULL, 32, 48, 0,
     "Measurements that are accepted, several while an update is under way: MEASUREMENT of SNP and MRTD of TDX (48 "
     "bytes), MRENCLAVE of SGX and the measurement of `process` (32 bytes). Of `process-snp` and `process-tdx` the "
     "machine's and the worker's have to be among them."},
    {"signers", PST_POLICY_DIGESTS, AT(signers), NULL, 32, 48, 0,
     "Who may have signed it: MRSIGNER of SGX (32 bytes), the ID key digest of SNP (48 bytes)."},
    {"host_data", PST_POLICY_DIGESTS, AT(host_data), NULL, 32, 48, 0,
     "HOST_DATA of SNP (32 bytes), MRCONFIGID of TDX (48 bytes)."},
    {"rtmr0", PST_POLICY_DIGESTS, AT(rtmr0), NULL, 48, 48, 0, "Run-time measurement register 0 of TDX."},
    {"rtmr1", PST_POLICY_DIGESTS, AT(rtmr1), NULL, 48, 48, 0, "Run-time measurement register 1 of TDX."},
    {"rtmr2", PST_POLICY_DIGESTS, AT(rtmr2), NULL, 48, 48, 0, "Run-time measurement register 2 of TDX."},
    {"rtmr3", PST_POLICY_DIGESTS, AT(rtmr3), NULL, 48, 48, 0, "Run-time measurement register 3 of TDX."},
    {"pcr_digests", PST_POLICY_DIGESTS, AT(pcr_digests), NULL, 32, 32, 0,
     "SHA-256 over the PCRs that a TPM has quoted, as in its quote."},
    {"pcrs", PST_POLICY_DIGESTS_OF, AT(pcrs), pst_pcr_names, 32, 32, 0,
     "Values that are accepted, by the number of a TPM's PCR, of the SHA-256 bank; one that is named has to be "
     "quoted."},
    {"pcr_selection", PST_POLICY_NAMES, AT(pcr_selection), pst_pcr_names, 0, 0, FIRMWARE_AND_BOOT,
     "PCRs that the quote of a node's TPM has to be of; it may be of more."},
    {"minimum_tcb", PST_POLICY_NUMBERS, AT(tcb_min), pst_tcb_part_names, 0, 255, 0,
     "The lowest versions of an SNP platform's parts, in its REPORTED_TCB."},
    {"minimum_svn", PST_POLICY_NUMBER, AT(svn_min), NULL, 0, UINT32_MAX, 0,
     "The lowest security version of the guest or enclave: GUEST_SVN of SNP, ISVSVN of SGX."},
    {"maximum_vmpl", PST_POLICY_NUMBER, AT(vmpl_max), NULL, 0, 3, 3,
     "The least privileged level of an SNP guest that may have asked for the report; 0 is the most privileged."},
    {"tcb_statuses", PST_POLICY_NAMES, AT(tcb_statuses), pst_tcb_status_names, 0, 0, UPTODATE_ALONE,
     "TCB statuses of Intel platforms that are accepted; NoCollateral: nothing is known of it."},
    {"minimum_tcb_evaluation", PST_POLICY_NUMBER, AT(tcb_evaluation_min), NULL, 0, UINT32_MAX, 0,
     "The lowest tcbEvaluationDataNumber of Intel's collateral."},
    {"maximum_collateral_age", PST_POLICY_NUMBER, AT(collateral_age_days_max), NULL, 0, 36500, 30,
     "Days since the collateral was issued; past its own end it is refused in any case."},
    {"debug", PST_POLICY_SWITCH, AT(debug), NULL, 0, 0, false,
     "Whether a guest or enclave may be in debug mode, in which its host reads its memory; --allow-debug says so, "
     "too."},
    {"nonce", PST_POLICY_SWITCH, AT(nonce), NULL, 0, 0, false,
     "Whether evidence is refused where no --nonce is given."},
    {"roots", PST_POLICY_DIGESTS, AT(roots), NULL, 32, 32, PST_POLICY_BUILT_IN,
     "SHA-256 fingerprints of root certificates, instead of those of AMD and Intel that are built in."},
    {"node_keys", PST_POLICY_DIGESTS, AT(node_keys), NULL, 32, 32, PST_POLICY_NONE,
     "Ed25519 keys of nodes whose word on their workers (`process`) is taken; of a `tpm` quote the key that it names."},
    {"capabilities", PST_POLICY_NAMES, AT(capabilities), pst_capability_names, 0, 0, 0,
     "What evidence of `process` has to say that its worker is protected from: conf_user, and with `measurements` "
     "exec_measured is wanted in any case; software can say no more."},
    {"tpm_keys", PST_POLICY_DIGESTS, AT(tpm_keys), NULL, 32, 34, PST_POLICY_NONE,
     "Attestation keys of TPMs: a key's name as TPMs have it (34 bytes), or SHA-256 of its public key in DER (32 "
     "bytes). "
     "With them, evidence of `process` has to bring a quote along."},
    {"tpm_firmware", PST_POLICY_DIGESTS, AT(tpm_firmware), NULL, 8, 8, 0,
     "Versions of a TPM's firmware, as in its quote."},
    {NULL, 0, 0, NULL, 0, 0, 0, NULL},
};
#undef AT

void pst_attestation_policy_init(struct pst_attestation_policy *policy)
{
    memset(policy, 0, sizeof *policy);
    for (const struct pst_policy_key *key = pst_policy_keys; key->name != NULL; key++) {
        char *at = (char *)policy + key->offset;
        if (key->kind == PST_POLICY_NAMES)
            *(uint32_t *)(void *)at = (uint32_t)key->standard;
        else if (key->kind == PST_POLICY_NUMBER)
            *(int64_t *)(void *)at = key->standard;
        else if (key->kind == PST_POLICY_SWITCH)
            *(bool *)at = key->standard != 0;
    }
}

int pst_policy_standard_print(const struct pst_policy_key *key, struct pst_text *text)
{
    switch (key->kind) {
    case PST_POLICY_NAMES: {
        const char *separator = "";
        for (uint32_t i = 0; key->names[i] != NULL; i++) {
            if ((key->standard >> i & 1) == 0)
                continue;
            (void)pst_text_printf(text, "%s%s", separator, key->names[i]);
            separator = ", ";
        }
        if (key->standard == 0)
            (void)pst_text_printf(text, "none");
        break;
    }
    case PST_POLICY_DIGESTS:
    case PST_POLICY_DIGESTS_OF:
        (void)pst_text_printf(text, "%s",
                              key->standard == PST_POLICY_BUILT_IN ? "those that are built in"
                              : key->standard == PST_POLICY_NONE   ? "none"
                                                                   : "any");
        break;
    case PST_POLICY_SWITCH:
        (void)pst_text_printf(text, "%s", key->standard != 0 ? "true" : "false");
        break;
    case PST_POLICY_NUMBER:
    case PST_POLICY_NUMBERS:
        (void)pst_text_printf(text, "%lld", (long long)key->standard);
        break;
    }
    return text->failed ? PST_ENOMEM : PST_OK;
}
