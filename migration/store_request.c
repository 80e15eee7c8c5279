/* store_request.c - what every filling of store.h asks of a request before it looks at it, and the queue in which requests wait. */
#include "migration/store_inside.h"

#include <string.h>

static bool part_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

static bool part_valid(const char *part, size_t bytes)
{
    bool dots = (bytes == 1 && part[0] == '.') || (bytes == 2 && part[0] == '.' && part[1] == '.');
    for (size_t i = 0; i < bytes; i++)
        if (!part_char(part[i]))
            return false;
    return bytes != 0 && !dots;
}

bool pst_store_path_valid(const char *path)
{
    if (path == NULL || strnlen(path, PST_STORE_PATH_BYTES) == PST_STORE_PATH_BYTES)
        return false;
    for (const char *part = path;;) {
        size_t bytes = strcspn(part, "/");
        if (!part_valid(part, bytes))
            return false;
        if (part[bytes] == '\0')
            return true;
        part += bytes + 1;
    }
}

/* A prefix may end anywhere: "", "mo", "moves/". */
static bool prefix_valid(const char *prefix)
{
    if (prefix == NULL || strnlen(prefix, PST_STORE_PATH_BYTES) == PST_STORE_PATH_BYTES)
        return false;
    for (const char *at = prefix; *at != '\0'; at++)
        if (!part_char(*at) && *at != '/')
            return false;
    return true;
}

static bool change_valid(const struct pst_store_change *change)
{
    if (!pst_store_path_valid(change->path) || change->expected == UINT64_MAX)
        return false;
    if (change->bytes == NULL)
        return change->expected != 0 && change->byte_count == 0 && !change->bound;
    return change->byte_count <= PST_STORE_RECORD_BYTES_MAX && (!change->bound || change->expected == 0);
}

/* A path twice: which of the two holds would be a matter of taste. */
static bool paths_differ(const struct pst_store_change *changes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(changes[i].path, changes[k].path) == 0)
                return false;
    return true;
}

int pst_store_request_check(const struct pst_store_request *request)
{
    if (request->kind == PST_STORE_READ)
        return pst_store_path_valid(request->path) ? PST_OK : PST_EINVAL;
    if (request->kind == PST_STORE_LIST)
        return prefix_valid(request->path) ? PST_OK : PST_EINVAL;
    if (request->kind != PST_STORE_COMMIT || request->changes == NULL || request->change_count == 0 ||
        request->change_count > PST_STORE_CHANGES_MAX)
        return PST_EINVAL;
    for (uint32_t i = 0; i < request->change_count; i++)
        if (!change_valid(&request->changes[i]))
            return PST_EINVAL;
    return paths_differ(request->changes, request->change_count) ? PST_OK : PST_EINVAL;
}

void pst_store_queue_add(struct pst_store_queue *queue, struct pst_store_request *request)
{
    request->next = NULL;
    if (queue->first == NULL)
        queue->first = request;
    else
        queue->last->next = request;
    queue->last = request;
}

struct pst_store_request *pst_store_queue_take(struct pst_store_queue *queue)
{
    struct pst_store_request *first = queue->first;
    if (first != NULL)
        queue->first = first->next;
    return first;
}
