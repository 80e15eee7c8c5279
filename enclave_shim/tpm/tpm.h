/* enclave_shim/tpm/tpm.h - the TPM 2.0 of this machine: asked for a quote of a node's key, and what it is (docs/attestation.md).
 *
 * Holds:    tpm2-tss, the connection, the attestation key while a quote is made. The key is a primary one of the endorsement hierarchy by a
 *           fixed template: a TPM makes the same one each time, so nothing is kept, and its name can be in a policy.
 * Refuses:  verifying (attestation), files, the network. It asks the system by tpm2-tss, and not by the seam: it is in the command
 *           alone, never in a worker or a simulated cluster.
 * Thread:   one at a time, which waits for the TPM: tens of milliseconds for an emulated one, a second for some chips.
 */
#ifndef PST_TPM_H
#define PST_TPM_H

#include "enclave_shim/attestation/evidence.h"

#define PST_TPM_DEVICE "/dev/tpmrm0"
enum { PST_TPM_WHY_BYTES = 300, PST_TPM_TEXT_BYTES = 128, PST_TPM_PCRS_STANDARD = 0xff };
typedef enum pst_tpm_key { PST_TPM_KEY_ECDSA = 1, PST_TPM_KEY_RSA } pst_tpm_key; /* P-256; 2048 bits */

struct pst_tpm;
/* `address` in the form of TCTI: "device:/dev/tpmrm0", "swtpm:path=/run/tpm.sock". NULL: PST_TPM_DEVICE. PST_EIO: none answers, ret_why is a
 * sentence; PST_ENOMEM. Before other threads are there: it sets TSS2_LOG, unless that is set, so that nobody else's lines come out. */
int pst_tpm_open(const char *address, struct pst_tpm **ret_tpm, char ret_why[PST_TPM_WHY_BYTES]);
void pst_tpm_close(struct pst_tpm *tpm);
bool pst_tpm_standard(void); /* PST_TPM_DEVICE is there, and this user may open it */
/* "IBM, SW TPM, firmware 20191023.00163636". PST_EIO. */
int pst_tpm_describe(struct pst_tpm *tpm, char ret_text[PST_TPM_TEXT_BYTES], char ret_why[PST_TPM_WHY_BYTES]);
/* Evidence of `tpm` (evidence.h) for the public half of a node's key and a verifier's nonce; pcrs: bit i is the PCR i. PST_EIO, PST_ENOMEM;
 * PST_ETIMEOUT: PCRs were extended again and again while they were read. */
int pst_tpm_quote(struct pst_tpm *tpm, pst_tpm_key kind, uint32_t pcrs, const uint8_t node_key[32],
                  const uint8_t nonce[64], uint8_t ret_bytes[PST_TPM_EVIDENCE_BYTES_MAX], size_t *ret_count,
                  char ret_why[PST_TPM_WHY_BYTES]);

#endif
