/* fuzz_metrics.c - what comes to the metrics' port, as a connection takes it in: in pieces, the first byte says of what size. A head is found
 * where a plain reading finds it, whatever the pieces, and what it asks for has an answer. */
#include "base/world_uv.h"
#include "engine/request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 200 };

/* The model: behind the first empty line; 0: there is none. */
static size_t model(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        if (bytes[i] != '\n')
            continue;
        if (bytes[i + 1] == '\n')
            return i + 2;
        if (bytes[i + 1] == '\r' && i + 2 < count && bytes[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

/* From memory of exactly that size, so that a sanitizer sees a read behind it. */
static int parse(const uint8_t *bytes, size_t count, size_t *ret_bytes)
{
    uint8_t *exact = malloc(count != 0 ? count : 1);
    if (exact == NULL)
        abort();
    memcpy(exact, bytes, count);
    int rc = pst_request_parse(exact, count, LIMIT, ret_bytes);
    if (rc == PST_OK) {
        char *head = malloc(*ret_bytes);
        if (head == NULL)
            abort();
        memcpy(head, exact, *ret_bytes);
        int status = pst_metrics_request(head, *ret_bytes);
        if (status != 200 && status != 400 && status != 404 && status != 405)
            abort();
        if (status == 200 && memcmp(head, "GET /metrics", 12) != 0)
            abort();
        free(head);
    }
    free(exact);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t piece = (size_t)data[0] + 1, head_bytes = 0;
    data++;
    size--;
    int rc = PST_EAGAIN;
    for (size_t there = 0; rc == PST_EAGAIN;) {
        rc = parse(data, there, &head_bytes);
        if (rc == PST_EAGAIN && head_bytes != there + 1)
            abort();
        if (there == size)
            break;
        there = there + piece < size ? there + piece : size;
    }
    size_t end = model(data, size);
    if (rc == PST_OK && (head_bytes != end || end > LIMIT))
        abort();
    if (rc == PST_EAGAIN && (end != 0 || size >= LIMIT))
        abort();
    if (rc == PST_EREFUSED && end != 0 && end <= LIMIT)
        abort();
    return 0;
}
