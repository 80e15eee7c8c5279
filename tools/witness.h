/* tools/witness.h - the TPM that stands behind a node's word, as --tpm, --tpm-key and --pcrs say (enclave_shim/tpm/tpm.h).
 *
 * Thread:   the main thread, before others are there; quoting: one thread at a time.
 */
#ifndef PST_WITNESS_H
#define PST_WITNESS_H

#include "enclave_shim/attestation/evidence.h"
#include "enclave_shim/tpm/tpm.h"
#include "tools/cli.h"

struct pst_witness {
    struct pst_tpm *tpm; /* NULL: there is none */
    const char *address; /* NULL: the standard one */
    bool none;           /* --tpm none */
    pst_tpm_key kind;
    uint32_t pcrs;
    uint8_t node_key[32]; /* public */
};
#define PST_WITNESS_FLAGS                                                                                           \
    {"tpm",                                                                                                         \
     0,                                                                                                             \
     "ADDRESS",                                                                                                     \
     false,                                                                                                         \
     "The TPM that quotes the node's key, as device:/dev/tpmrm0 or swtpm:path=SOCKET, or none; " PST_TPM_DEVICE     \
     " where it is there and nothing is said.",                                                                     \
     NULL},                                                                                                         \
        {"tpm-key",  0, "KIND", false, "The TPM's attestation key: ecdsa (P-256; unless said) or rsa (2048 bits).", \
         "ecdsa rsa"},                                                                                              \
    {                                                                                                               \
        "pcrs", 0, "LIST", false, "PCRs that are quoted, as 0-7,11; 0-7 unless said.", NULL                         \
    }
#define PST_TSM_FLAG(where)                                                                               \
    {                                                                                                     \
        "tsm", 0, "DIR", false,                                                                           \
            where "the kernel's folder of hardware's evidence, configfs-tsm, or none; " PST_TSM_DIRECTORY \
                  " where that gives some and nothing is said.",                                          \
            "dir"                                                                                         \
    }
/* Where hardware is asked for evidence of this machine, as --tsm says; NULL: nowhere. */
const char *pst_tsm_directory(const struct pst_call *call);
/* What the flags say. PST_EXIT_OK, or PST_EXIT_USAGE and it has complained. */
int pst_witness_read(const struct pst_call *call, struct pst_witness *ret_witness);
/* Asks for the TPM, for the node whose key has this seed. Without `needed` there may be none where nothing was said. PST_OK, or an error
 * with a sentence. */
int pst_witness_open(struct pst_witness *witness, const uint8_t node_key[32], bool needed,
                     char ret_why[PST_TPM_WHY_BYTES]);
/* In the form of struct pst_sealed_options: witness; `argument` is a struct pst_witness. */
int pst_witness_quote(void *argument, const uint8_t nonce[64], uint8_t *ret_bytes, size_t room, size_t *ret_count,
                      char ret_why[PST_WITNESS_WHY_BYTES]);
void pst_witness_close(struct pst_witness *witness);

#endif
