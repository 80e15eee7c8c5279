/* engine/enclave.h - operators that run in enclaves (docs/enclaves.md): what a partition of one is in the engine. Inside the room.
 *
 * Channels, watermarks and epochs stay here; rows, times and the end go to the partition's worker, which has the state, the timers and
 * which buckets are due. Rows that come back are put out as if the operator had put them out here.
 * Thread:  the partition's worker; starting is done by the thread that begins the run.
 */
#ifndef PST_ENGINE_ENCLAVE_H
#define PST_ENGINE_ENCLAVE_H

#include "engine/runtime.h"

struct pst_enclave;

/* Before instances are opened: whether this run can have enclaves at all. Says why not. */
int pst_enclaves_check(struct run *run);
/* Starts the worker of an instance instead of calling its operator's open(). An error has ended the run, and says why. */
int pst_ctx_enclose(struct pst_ctx *ctx);
void pst_ctx_disclose(struct pst_ctx *ctx);
/* The callbacks, for an instance that has a worker. Of time and end PST_EAGAIN: it works on it, and the same call is to be made again.
 * PST_ESTOPPED: the run has been stopped meanwhile. */
int pst_ctx_enclave_frame(struct pst_ctx *ctx, const struct pst_rows *rows);
int pst_ctx_enclave_time(struct pst_ctx *ctx, int64_t t);
int pst_ctx_enclave_end(struct pst_ctx *ctx, int64_t t);
/* Where there is nothing else to do: true: there are workers that answers are waited for from, and there may be one now. */
bool pst_enclaves_wait(const struct worker *worker);
uint64_t pst_ctx_enclave_bytes(const struct pst_ctx *ctx);
int pst_enclaves_report(struct run *run, struct pst_run_report *report);

#endif
