/* state/seal_inside.h - what the tests of seals need beyond the door; nobody else includes it. */
#ifndef PST_SEAL_INSIDE_H
#define PST_SEAL_INSIDE_H

#include "state/seal.h"

enum { PST_SEAL_KEY_ID_BYTES = 32, PST_SEAL_CONTEXTS_MAX = 1024 };

/* Which key it is, and nothing about it: SHA-256 of a label and the key. */
int pst_sealer_key_id(struct pst_sealer *sealer, uint32_t operator_index, uint32_t bucket,
                      uint8_t ret_id[PST_SEAL_KEY_ID_BYTES]);
/* As if the key of this bucket had sealed so many pieces; only ever more than it has. */
void pst_sealer_seals_skip(struct pst_sealer *sealer, uint32_t operator_index, uint32_t bucket, uint64_t seal_count);

#endif
