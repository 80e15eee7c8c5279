/* registry.h - a small world of operators for the tests of graphs: they plan, and never run. Their names and parameters
 * are those of the two queries, so that the errors in tests/graph/errors read like real ones. */
#ifndef PST_TEST_GRAPH_REGISTRY_H
#define PST_TEST_GRAPH_REGISTRY_H
#include "engine/engine.h"
extern const struct pst_registry pst_test_registry;
#endif
