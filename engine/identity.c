/* identity.c - see node.h: which cluster a node belongs to. Its id is drawn at random when a cluster begins, and is the record `cluster` of its
 * store. A node that is let in writes it to the file `cluster` of its folder, and says it from then on: another cluster refuses it, and
 * a node that would coordinate with another cluster's folder does not begin. */
#include "engine/files.h"
#include "engine/node.h"

#include <string.h>

enum { ID_BYTES = NODE_CLUSTER_BYTES - 1 };

static bool is_id(const char *text, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++)
        if (text[i] == '\0' || strchr("0123456789abcdef", text[i]) == NULL)
            return false;
    return byte_count == ID_BYTES;
}

static int path_of(const struct pst_node *node, const char *suffix, struct pst_text *path)
{
    return pst_text_printf(path, "%s/cluster%s", node->options.directory, suffix);
}

int pst_identity_read(struct pst_node *node)
{
    struct pst_text path = {0};
    uint8_t *bytes = NULL;
    uint64_t count = 0;
    int rc = path_of(node, "", &path);
    if (rc == PST_OK)
        rc = pst_file_read_all(node->world, path.bytes, ID_BYTES + 1, &bytes, &count); /* with a newline */
    if (rc == PST_OK && count == ID_BYTES + 1 && bytes[ID_BYTES] == '\n' && is_id((const char *)bytes, ID_BYTES)) {
        memcpy(node->cluster, bytes, ID_BYTES);
    } else if (rc == PST_OK || rc == PST_EDATA) {
        pst_node_log(node, "%s is not what a node writes there: it is written anew", path.bytes);
        rc = PST_OK;
    } else if (rc == PST_ENOENT) {
        rc = PST_OK;
    } else {
        (void)snprintf(node->why, sizeof node->why, "%.150s cannot be read: %s", path.bytes != NULL ? path.bytes : "",
                       pst_error_sentence(rc));
    }
    pst_free(bytes);
    pst_text_fini(&path);
    return rc;
}

static int write_down(const struct pst_node *node, const char *path, const char *final_path)
{
    const struct pst_world *world = node->world;
    char line[ID_BYTES + 1];
    memcpy(line, node->cluster, ID_BYTES);
    line[ID_BYTES] = '\n';
    int rc = world->mkdir(world->self, node->options.directory);
    if (rc == PST_OK)
        rc = pst_file_write_all(world, path, line, sizeof line);
    return rc == PST_OK ? world->rename(world->self, path, final_path) : rc;
}

void pst_identity_keep(struct pst_node *node, const void *id, size_t byte_count)
{
    char text[NODE_CLUSTER_BYTES] = "";
    struct pst_text path = {0}, final_path = {0};
    if (node->cluster[0] != '\0' || byte_count != ID_BYTES) /* a node of before has none to tell */
        return;
    memcpy(text, id, ID_BYTES);
    if (!is_id(text, byte_count))
        return;
    memcpy(node->cluster, text, sizeof text);
    int rc = path_of(node, ".new", &path);
    if (rc == PST_OK)
        rc = path_of(node, "", &final_path);
    if (rc == PST_OK)
        rc = write_down(node, path.bytes, final_path.bytes);
    if (rc != PST_OK) /* that costs a check at its next start, and nothing more */
        pst_node_log(node, "which cluster its folder belongs to cannot be written there: %s", pst_error_sentence(rc));
    pst_text_fini(&path);
    pst_text_fini(&final_path);
}

/* ---- of the coordinator ---- */

void pst_identity_ask(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    (void)snprintf(duty->path, sizeof duty->path, "cluster");
    duty->cluster_change =
        (struct pst_store_change){.path = duty->path, .bytes = duty->cluster, .byte_count = ID_BYTES};
    duty->reading = (struct pst_store_request){.kind = duty->cluster[0] != '\0' ? PST_STORE_COMMIT : PST_STORE_READ,
                                               .path = duty->path,
                                               .changes = &duty->cluster_change,
                                               .change_count = 1,
                                               .rc = PST_EAGAIN};
    duty->begun = true;
    duty->store->begin(duty->store->self, &duty->reading);
}

static int draw(const struct pst_node *node, char ret_id[NODE_CLUSTER_BYTES])
{
    uint8_t bytes[ID_BYTES / 2];
    int rc = node->world->random(node->world->self, bytes, sizeof bytes);
    for (size_t i = 0; rc == PST_OK && i < sizeof bytes; i++)
        (void)snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
    return rc;
}

int pst_identity_answered(struct pst_node *node)
{
    struct coordinator *duty = node->duty;
    const struct pst_store_request *reading = &duty->reading;
    int rc = reading->rc;
    if (reading->kind == PST_STORE_COMMIT &&
        (rc == PST_EINVAL || rc == PST_ETIMEOUT)) { /* it may be there, or another (T2) */
        duty->cluster[0] = '\0';
        return PST_EAGAIN;
    }
    if (reading->kind == PST_STORE_READ && rc == PST_ENOENT) {
        rc = draw(node, duty->cluster);
        return rc == PST_OK ? PST_EAGAIN : rc;
    }
    if (rc == PST_OK && reading->kind == PST_STORE_READ) {
        const char *id = reading->text.bytes;
        if (id == NULL || !is_id(id, reading->text.count))
            return PST_EDATA;
        memcpy(duty->cluster, id, ID_BYTES);
    }
    if (rc == PST_OK && node->cluster[0] != '\0' && strcmp(node->cluster, duty->cluster) != 0) {
        (void)snprintf(node->why, sizeof node->why,
                       "the folder %.100s belongs to another cluster than the coordination store: --dir is to name "
                       "one of its own for each",
                       node->options.directory);
        return PST_EREFUSED;
    }
    if (rc == PST_OK)
        pst_identity_keep(node, duty->cluster, ID_BYTES);
    return rc;
}
