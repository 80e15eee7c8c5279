/* enclave_shim/enclave_shim.h - running an operator where its host cannot look (P4, P8).
 *
 * Will hold:  the border (rings in shared memory that only sealed frames, watermarks and sealed pages cross), the
 * worker inside it, and attestation: one interface (create, measure, attest, rings, run, stop) with several backends,
 *             each with a truthful word on what it protects from.
 * Refuses:    graphs, files, the network. Nothing simulated is ever reported as verified.
 * Thread:     the border has one side for each process; inside, an operator is called as it is outside.
 * What the other rooms hold ready for it: an operator knows one header, operators/operator.h, and makes no system call,
 * so the same code runs behind the border with another filling of struct pst_host; pages are the unit of sealing
 * (state/state.h).
 */
#ifndef PST_ENCLAVE_SHIM_H
#define PST_ENCLAVE_SHIM_H

#include "base/base.h"

#endif
