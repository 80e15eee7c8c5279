/* unsealed.h - borders without seals, for controls: what lies in a ring is taken, whoever has put it there, in whatever order. */
#ifndef UNSEALED_H
#define UNSEALED_H

#include "enclave_shim/common/border.h"

extern bool unsealed; /* of a test that is a host: its borders from now on; a worker's are always so */

#endif
