/* tools/witness.c - see witness.h. */
#include "tools/witness.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert((int)PST_WITNESS_WHY_BYTES == (int)PST_TPM_WHY_BYTES, "one sentence");

/* The folder is there on hosts too, and gives nothing then; nor does it to who may make no folder in it. */
static bool tsm_gives(const char *directory)
{
    char path[PST_TSM_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/penstock-look-%ld", directory, (long)getpid());
    return mkdir(path, 0700) == 0 && rmdir(path) == 0;
}

const char *pst_tsm_directory(const struct pst_call *call)
{
    const char *said = pst_call_flag(call, "tsm");
    if (said != NULL)
        return strcmp(said, "none") != 0 ? said : NULL;
    return tsm_gives(PST_TSM_DIRECTORY) ? PST_TSM_DIRECTORY : NULL;
}

/* A number below PST_PCR_COUNT at *at, which is moved behind it; -1: there is none. */
static int pcr_take(const char **at)
{
    int value = -1;
    for (uint32_t i = 0; i < 2 && **at >= '0' && **at <= '9'; i++, (*at)++)
        value = (value < 0 ? 0 : value * 10) + (**at - '0');
    return value < PST_PCR_COUNT ? value : -1;
}

/* "0-7,11" as bits; 0: it is something else. */
static uint32_t pcrs_parse(const char *text)
{
    uint32_t pcrs = 0;
    for (const char *at = text;; at++) {
        int first = pcr_take(&at), last = first;
        if (first >= 0 && *at == '-') {
            at++;
            last = pcr_take(&at);
        }
        if (first < 0 || last < first)
            return 0;
        for (int i = first; i <= last; i++)
            pcrs |= 1u << i;
        if (*at == '\0')
            return pcrs;
        if (*at != ',')
            return 0;
    }
}

int pst_witness_read(const struct pst_call *call, struct pst_witness *ret_witness)
{
    const char *address = pst_call_flag(call, "tpm"), *kind = pst_call_flag(call, "tpm-key"),
               *pcrs = pst_call_flag(call, "pcrs");
    *ret_witness = (struct pst_witness){.none = address != NULL && strcmp(address, "none") == 0,
                                        .kind = PST_TPM_KEY_ECDSA,
                                        .pcrs = PST_TPM_PCRS_STANDARD};
    ret_witness->address = ret_witness->none ? NULL : address;
    if (kind != NULL && strcmp(kind, "rsa") == 0) {
        ret_witness->kind = PST_TPM_KEY_RSA;
    } else if (kind != NULL && strcmp(kind, "ecdsa") != 0) {
        pst_complain(call, PST_EXIT_USAGE, "--tpm-key `%s`: ecdsa or rsa is wanted", kind);
        return PST_EXIT_USAGE;
    }
    if (pcrs != NULL)
        ret_witness->pcrs = pcrs_parse(pcrs);
    if (ret_witness->pcrs == 0) {
        pst_complain(call, PST_EXIT_USAGE, "--pcrs `%s`: numbers from 0 to 23 are wanted, as 0-7,11", pcrs);
        return PST_EXIT_USAGE;
    }
    return PST_EXIT_OK;
}

int pst_witness_open(struct pst_witness *witness, const uint8_t node_key[32], bool needed,
                     char ret_why[PST_TPM_WHY_BYTES])
{
    if (witness->none || (!needed && witness->address == NULL && !pst_tpm_standard()))
        return PST_OK;
    int rc = pst_process_node_key(node_key, witness->node_key);
    if (rc == PST_OK)
        return pst_tpm_open(witness->address, &witness->tpm, ret_why);
    (void)snprintf(ret_why, PST_TPM_WHY_BYTES, "%s", pst_error_sentence(rc));
    return rc;
}

int pst_witness_quote(void *argument, const uint8_t nonce[64], uint8_t *ret_bytes, size_t room, size_t *ret_count,
                      char ret_why[PST_WITNESS_WHY_BYTES])
{
    const struct pst_witness *witness = argument;
    uint8_t bytes[PST_TPM_EVIDENCE_BYTES_MAX];
    int rc =
        pst_tpm_quote(witness->tpm, witness->kind, witness->pcrs, witness->node_key, nonce, bytes, ret_count, ret_why);
    PST_ASSERT(rc != PST_OK || *ret_count <= room);
    if (rc == PST_OK)
        memcpy(ret_bytes, bytes, *ret_count);
    return rc;
}

void pst_witness_close(struct pst_witness *witness)
{
    pst_tpm_close(witness->tpm);
    witness->tpm = NULL;
}
