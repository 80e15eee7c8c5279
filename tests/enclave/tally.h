/* tally.h - an operator for these tests: sums of `v` by `k`, put out when their bucket is due; a timer a bucket. Its parameter `call` names
 * what it tries besides, in on_time(): what an operator may not do (tests/attacks); or "total": rows in total order, and each is put out
 * by on_frame() too, with its value below zero. */
#ifndef TALLY_H
#define TALLY_H

#include "enclave_shim/common/config.h"

extern const struct pst_operator tally;

enum { TALLY_BUCKETS = 16, TALLY_EPOCH = 10 };
/* Its configuration; `call` is borrowed. */
void tally_config(struct pst_enclave_operator *ret, struct pst_enclave_param *ret_param, const char *call);

/* What an operator may not do, by name; in a program that has none it does nothing. NULL, or what is to be told of it: then the operator
 * fails with that sentence. */
const char *tally_try(const char *call);

#endif
