/* engine/request.h - what a request to the metrics' port asks for (metrics.h). Inside the room: nobody else includes it. */
#ifndef PST_REQUEST_H
#define PST_REQUEST_H

#include <stddef.h>

/* The head of an HTTP request: the status of its answer. 200, 400 (it is none), 404, 405. Fuzzed. Thread: any. */
int pst_metrics_request(const char *head, size_t head_bytes);

#endif
