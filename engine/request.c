/* request.c - see request.h. */
#include "engine/request.h"

#include <stdbool.h>
#include <string.h>

static bool starts(const char *at, size_t bytes, const char *with)
{
    size_t count = strlen(with);
    return bytes >= count && memcmp(at, with, count) == 0;
}

int pst_metrics_request(const char *head, size_t head_bytes)
{
    const char *end = memchr(head, '\n', head_bytes);
    size_t line = end != NULL ? (size_t)(end - head) : 0;
    line -= line != 0 && head[line - 1] == '\r';
    const char *space = memchr(head, ' ', line);
    if (space == NULL || space == head)
        return 400;
    const char *target = space + 1;
    size_t rest = line - (size_t)(target - head);
    const char *version = memchr(target, ' ', rest);
    if (version == NULL || version == target || target[0] != '/')
        return 400;
    size_t target_bytes = (size_t)(version - target), version_bytes = rest - target_bytes - 1;
    if (version_bytes != 8 || !starts(version + 1, version_bytes, "HTTP/1."))
        return 400;
    if (space - head != 3 || memcmp(head, "GET", 3) != 0)
        return 405;
    const char *query = memchr(target, '?', target_bytes);
    size_t path_bytes = query != NULL ? (size_t)(query - target) : target_bytes;
    return path_bytes == 8 && memcmp(target, "/metrics", 8) == 0 ? 200 : 404;
}
