/* migration/migration.h - moving buckets from one owner to another while the stream runs on (P6).
 *
 * The room has three doors: migration/store.h, the coordination store, which the engine uses; migration/move.h, the protocol that survives
 * deaths, proven alone, one table of states for each role; and this one, empty until the engine is driven by it (docs/cluster.md).
 *
 * Refuses:    sockets, files, graphs, and what rows mean. It is given messages and gives messages back; state it sees as the
 *             pages of a bucket (pst_state_pages()).
 * Thread:     one loop owns a move at a time.
 * What the other rooms hold ready for it: a bucket is a set of pages that say whose they are (state/state.h), operators keep state
 * nowhere else (O1), and what a bucket puts out in an epoch is in one canonical order, so that two replicas number alike.
 */
#ifndef PST_MIGRATION_H
#define PST_MIGRATION_H

#include "base/base.h"

#endif
