/* tests/sim/guests.h - operators for the tests of the runtime: each shows by its output what order its rows came in, or that
 * it does not matter. */
#ifndef PST_SIM_GUESTS_H
#define PST_SIM_GUESTS_H

#include "operators/operator.h"

extern const struct pst_operator *const pst_sim_guests[]; /* ended by NULL */

#endif
