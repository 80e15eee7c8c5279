/* engine/policy.h - the file in which a user says which evidence is good enough: YAML, read as a graph file is.
 *
 * A door of the engine's room beside engine/engine.h, which has the reader of such files and its diagnostics.
 * Thread:   any.
 */
#ifndef PST_POLICY_H
#define PST_POLICY_H

#include "enclave_shim/attestation/evidence.h"
#include "engine/engine.h"

struct pst_policy_file { /* lists of the policy live in the arena */
    struct pst_attestation_policy policy;
    struct pst_arena arena;
};
/* Keys are those of pst_policy_keys[], and `penstock_policy: 1`. PST_EGRAPH: every error is in `d`, each with its place; PST_ENOMEM.
 * Ended by _fini() in any case. Fuzzed. */
int pst_policy_parse(const char *name, const char *text, size_t text_bytes, struct pst_diagnostics *d,
                     struct pst_policy_file *ret_file);
void pst_policy_file_fini(struct pst_policy_file *file);

#endif
