/* tools/evidence_files.h - what evidence is checked with, from files: certificates, roots, lists of revoked ones, collateral.
 *
 * Thread:   the main thread.
 */
#ifndef PST_EVIDENCE_FILES_H
#define PST_EVIDENCE_FILES_H

#include "enclave_shim/attestation/evidence.h"
#include "engine/policy.h"
#include "tools/cli.h"

enum { PST_EVIDENCE_FILES_MAX = PST_EVIDENCE_CERTIFICATES_MAX };
struct pst_evidence_files { /* begins zeroed, but for its call; ended by _fini() */
    const struct pst_call *call;
    struct pst_bytes files[PST_EVIDENCE_FILES_MAX]; /* all that were read; those of one flag stand side by side */
    uint32_t count;
};
#define PST_EVIDENCE_FLAGS(where)                                                                                      \
    {"certificates", 'c', "FILE", true, where "Certificates of the signing key and its issuers, PEM or DER.", "file"}, \
        {"roots",                                                                                                      \
         0,                                                                                                            \
         "FILE",                                                                                                       \
         true,                                                                                                         \
         where "Certificates of roots that are trusted, and no others; else those of AMD and Intel, by built-in "      \
               "fingerprints.",                                                                                        \
         "file"},                                                                                                      \
        {"crl", 0, "FILE", true, where "Lists of revoked certificates, PEM or DER.", "file"},                          \
    {                                                                                                                  \
        "collateral", 0, "FILE", false,                                                                                \
            where "Intel's collateral for the platform: TCB info, QE identity, CRLs, as JSON.", "file"                 \
    }
/* One file, up to 1 MiB; a pipe is waited for. An exit code; a complaint has been printed unless it is PST_EXIT_OK. */
int pst_evidence_file_read(struct pst_evidence_files *files, const char *path, struct pst_bytes *ret_bytes);
/* What the flags name, into the request, which borrows it. As above. */
int pst_evidence_files_read(struct pst_evidence_files *files, struct pst_evidence_request *request);
/* The same for who is about to ask again and again: wrong files are told now, and not when there is something to check. */
int pst_evidence_files_take(struct pst_evidence_files *files, struct pst_evidence_request *request);
/* The policy that `flag` names. An exit code, as above; ended by pst_policy_file_fini(). */
int pst_evidence_policy_read(const struct pst_call *call, const char *flag, struct pst_policy_file *policy);
void pst_evidence_files_fini(struct pst_evidence_files *files);

#endif
