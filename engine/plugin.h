/* plugin.h - operators from shared objects. Inside the room.
 *
 * Thread: the thread that makes graphs; handles are closed with the graph that opened them.
 * A shared object is trusted code: opening it runs its constructors. What is checked is that it fits, not that it is
 * good.
 */
#ifndef PST_ENGINE_PLUGIN_H
#define PST_ENGINE_PLUGIN_H

#include "base/base.h"

struct pst_plugins {
    void **handles;
    const struct pst_operator *const **lists; /* lists[i]: of handles[i], ended by NULL */
    uint32_t count, capacity;
};

/* Opens one more shared object and checks each of its descriptors.
 * Errors: PST_ENOENT, PST_EABI, PST_EINVAL with a sentence in *ret_why (in `arena`); PST_ENOMEM. Nothing stays open
 * then. Room for it must be there: count < capacity. */
int pst_plugins_open(struct pst_plugins *plugins, const char *path, struct pst_arena *arena, const char **ret_why);
void pst_plugins_close(void **handles, uint32_t count);

/* What is wrong with a descriptor of the right version, as the end of a sentence: "has no name"; NULL: nothing. */
const char *pst_plugin_fault(const struct pst_operator *op);

#endif
