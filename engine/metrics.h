/* engine/metrics.h - what a node counts, in the text format of Prometheus, for whoever asks GET /metrics of the address that
 * --metrics names. Inside the room: nobody else includes it.
 *
 * Bounded: METRICS_CONNS_MAX connections, each with METRICS_NS to ask and METRICS_END_NS to take the answer; a request of
 * METRICS_REQUEST_BYTES_MAX; a text of METRICS_BYTES_MAX, made five times a second at most. Who asks can change nothing, and sees names of
 * graphs and operators, and numbers.
 *
 * Thread:   the keeper.
 */
#ifndef PST_METRICS_H
#define PST_METRICS_H

#include "engine/node.h"

enum { METRICS_REQUEST_BYTES_MAX = 8 * 1024, METRICS_BYTES_MAX = 2 * 1024 * 1024 };

/* The whole text. PST_EFULL: it ends where its bound was; PST_ENOMEM. */
int pst_metrics_text(struct pst_node *node, struct pst_text *out);

int pst_metrics_listen(struct pst_node *node); /* where the options say; errors as of net_listen */
void pst_metrics_step(struct pst_node *node);
void pst_metrics_fini(struct pst_node *node);

#endif
