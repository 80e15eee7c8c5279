/* savepoint.c - see node.h: a graph that is stopped for good, with all that it, or one like it, can be gone on from.
 *
 * NAME below the folder of the checkpoints, or a path of its own. Nobody writes there but jobs that make it, and nobody removes it:
 *   NAME/parts/NODE/    the node's part of the last checkpoint: its manifest, and the files of pages that this one names
 *   NAME/outputs/FILE   of each sink what was committed, and no byte more
 *   NAME/savepoint      the graph's record as the store has it, sealed: with this name it is one, and not before
 *   NAME/NODE.part      what a job of this node writes at the moment: on its way to one of the names above
 * All of it is on the disk, and was opened from there, before the name `savepoint` is.
 *
 * The store says of which checkpoint it is before a job begins, and whoever coordinates begins one. So there may be two at a time, one of them
 * of a node that coordinates no longer. Both write the same bytes under the same names, each file whole by its rename, and so they do each other
 * no harm; a folder that a savepoint of anything else was begun in is not taken.
 *
 * A record is a header, and the packed message as a sealed piece of the operator "savepoint", number 1. Little endian:
 *    0 u32 magic "PSTV"   4 u16 version 1   6 u16 zero   8 the graph's digest, 32 bytes   40 the incarnation that it is sealed under
 *   72 u32 sealed bytes, all that follows   76 u32 zero */
#include "engine/checkpoint_file.h"
#include "engine/files.h"
#include "engine/mover.h"

#include <inttypes.h>
#include <string.h>

enum { RECORD_MAGIC = 0x56545350 /* "PSTV" */, RECORD_VERSION = 1 };
enum { RECORD_BYTES_MAX = 2 * PST_CONTROL_LONG_BYTES_MAX };

struct record_header {
    uint32_t magic;
    uint16_t version, zero;
    uint8_t graph[PST_GRAPH_DIGEST_BYTES], incarnation[PST_INCARNATION_BYTES];
    uint32_t sealed_bytes, zero2;
};
static_assert(sizeof(struct record_header) == 80, "layout of a savepoint's record");
static_assert(offsetof(struct record_header, sealed_bytes) == 72, "layout of a savepoint's record");

struct pst_save { /* one that a job writes */
    struct pst_world *world;
    struct pst_secret *const *keys;
    uint32_t key_count;
    struct pst_arena arena;
    const char *graph_name, *from, *to; /* from: the graph's folder below the checkpoints'; to: the savepoint's */
    const char *part;                   /* of `to`: the file that is written at the moment */
    const char **nodes;                 /* that have a part */
    size_t node_count;
    uint64_t id, incarnation;
    struct pst_text bytes; /* of the record, in clear */
    atomic_bool halted;    /* the node ends, or coordinates no longer */
    /* the job's */
    char why[400];
    int rc;
    atomic_bool done;
};

/* ---- the record's bytes ---- */

static int record_sealer(struct pst_secret *master, const struct record_header *header, bool to_open,
                         struct pst_sealer **ret_sealer)
{
    static const char *const ids[] = {"savepoint"};
    static const uint32_t buckets[] = {1};
    return to_open ? pst_sealer_new_to_open(master, header->graph, PST_SEAL_MANIFEST, header->incarnation, 1, ids,
                                            buckets, ret_sealer)
                   : pst_sealer_new(master, header->graph, PST_SEAL_MANIFEST, header->incarnation, 1, ids, buckets,
                                    ret_sealer);
}

static const struct pst_seal_place record_place = {.number = 1};

static int record_seal(const struct pst_save *save, struct pst_text *ret_bytes)
{
    struct record_header header = {.magic = RECORD_MAGIC, .version = RECORD_VERSION};
    struct pst_sealer *sealer = NULL;
    size_t room = pst_seal_bound((uint32_t)save->bytes.count), sealed_bytes = 0;
    uint8_t *sealed = pst_malloc(room);
    int rc = sealed != NULL ? pst_manifest_graph(save->graph_name, header.graph) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = save->world->random(save->world->self, header.incarnation, sizeof header.incarnation);
    if (rc == PST_OK)
        rc = record_sealer(save->keys[0], &header, false, &sealer);
    if (rc == PST_OK)
        rc = pst_seal(sealer, 0, &record_place, true, save->bytes.bytes, (uint32_t)save->bytes.count, sealed, room,
                      &sealed_bytes);
    header.sealed_bytes = (uint32_t)sealed_bytes;
    if (rc == PST_OK)
        rc = pst_text_add(ret_bytes, (const char *)&header, sizeof header);
    if (rc == PST_OK)
        rc = pst_text_add(ret_bytes, (const char *)sealed, sealed_bytes);
    pst_sealer_free(sealer);
    pst_free(sealed);
    return rc;
}

/* PST_EREFUSED: it does not open with this key, or was changed. */
static int record_unseal(const uint8_t *bytes, uint64_t byte_count, struct pst_secret *key, struct pst_arena *arena,
                         Pst__Control **ret_message)
{
    struct record_header header;
    struct pst_seal_header piece;
    struct pst_sealer *sealer = NULL;
    uint32_t clear_bytes = 0;
    if (byte_count < sizeof header)
        return PST_EREFUSED;
    memcpy(&header, bytes, sizeof header);
    if (header.magic != RECORD_MAGIC || header.zero != 0 || header.zero2 != 0 ||
        header.sealed_bytes != byte_count - sizeof header)
        return PST_EREFUSED;
    if (header.version != RECORD_VERSION)
        return header.version > RECORD_VERSION ? PST_EABI : PST_EREFUSED;
    int rc = pst_seal_header_read(bytes + sizeof header, header.sealed_bytes, &piece);
    if (rc == PST_OK && piece.clear_bytes > PST_CONTROL_LONG_BYTES_MAX)
        rc = PST_EREFUSED;
    uint8_t *clear = rc == PST_OK ? pst_malloc((size_t)piece.clear_bytes + 1) : NULL;
    if (rc == PST_OK)
        rc = clear != NULL ? record_sealer(key, &header, true, &sealer) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pst_unseal(sealer, 0, &record_place, bytes + sizeof header, header.sealed_bytes, clear, piece.clear_bytes,
                        &clear_bytes);
    if (rc == PST_OK)
        rc = pst_control_unpack(clear, clear_bytes, PST_CONTROL_LONG_BYTES_MAX, arena, ret_message);
    if (rc == PST_OK &&
        ((*ret_message)->body_case != PST__CONTROL__BODY_START || (*ret_message)->start->checkpoint == 0))
        rc = PST_EDATA;
    pst_sealer_free(sealer);
    pst_free(clear);
    return rc;
}

/* ---- the job ---- */

static int failed(struct pst_save *save, int rc, const char *what, const char *path)
{
    bool system = rc == PST_EIO || rc == PST_ENOENT || rc == PST_EREFUSED;
    if (save->why[0] == '\0')
        (void)snprintf(save->why, sizeof save->why, "%s %.200s: %.100s", what, path,
                       system ? pst_system_error() : pst_error_sentence(rc));
    return rc;
}

/* What is in `part` gets its name. */
static int part_name(struct pst_save *save, const char *path)
{
    if (atomic_load_explicit(&save->halted, memory_order_relaxed))
        return failed(save, PST_ESTOPPED, "cannot write", path);
    int rc = save->world->rename(save->world->self, save->part, path);
    return rc == PST_OK ? PST_OK : failed(save, rc, "cannot write", path);
}

/* The first so many bytes; UINT64_MAX: all. They are on the disk then, the name is not yet. */
static int file_copy(struct pst_save *save, const char *path, const char *to_path, uint64_t byte_count)
{
    const struct pst_world *world = save->world;
    struct pst_file *from = NULL, *to = NULL;
    if (path == NULL || to_path == NULL)
        return PST_ENOMEM;
    int rc = pst_file_open_regular(world, path, &from);
    if (rc != PST_OK)
        return failed(save, rc, "cannot read", path);
    rc = world->file_open(world->self, save->part, PST_OPEN_CREATE, &to);
    if (rc == PST_OK)
        rc = pst_file_copy(world, from, to, byte_count, &save->halted);
    if (rc == PST_OK)
        rc = world->file_sync(world->self, to);
    if (rc != PST_OK)
        rc = failed(save, rc, "cannot write", to_path);
    (void)world->file_close(world->self, from);
    int closed = to != NULL ? world->file_close(world->self, to) : PST_OK;
    if (rc == PST_OK && closed != PST_OK)
        rc = failed(save, closed, "cannot write", to_path);
    return rc == PST_OK ? part_name(save, to_path) : rc;
}

/* Under the name that it has while it is written; or its run has ended in this moment, and it has its own. */
static int output_copy(struct pst_save *save, const struct pst_manifest_sink *sink)
{
    uint64_t id[2];
    const char *path =
        pst_arena_printf(&save->arena, "%s/results/%s.%08" PRIx64 ".part", save->from, sink->file, save->id >> 32);
    const char *to = pst_arena_printf(&save->arena, "%s/outputs/%s", save->to, sink->file);
    if (path != NULL && save->world->look(save->world->self, path, id) == 0)
        path = pst_arena_printf(&save->arena, "%s/results/%s", save->from, sink->file);
    return file_copy(save, path, to, sink->bytes);
}

static int part_copy(struct pst_save *save, const char *from, const char *to)
{
    const struct pst_world *world = save->world;
    struct pst_manifest manifest;
    char why[160] = "";
    struct checkpoint_reader reader = {save->world, from, save->keys, save->key_count, why, sizeof why, 0};
    int rc = pst_checkpoint_read(&reader, save->id, &manifest);
    if (rc != PST_OK) {
        (void)snprintf(save->why, sizeof save->why, "the checkpoint in %.200s: %s", from, why);
        return rc;
    }
    if (world->mkdir(world->self, to) != PST_OK)
        rc = failed(save, PST_EIO, "cannot make the folder", to);
    for (uint32_t f = 0; f < manifest.file_count && rc == PST_OK; f++)
        if (pst_manifest_is_first(&manifest, f))
            rc = file_copy(save, pst_arena_printf(&save->arena, "%s/%016" PRIx64 ".pages", from, manifest.files[f].id),
                           pst_arena_printf(&save->arena, "%s/%016" PRIx64 ".pages", to, manifest.files[f].id),
                           UINT64_MAX);
    for (uint32_t i = 0; i < manifest.sink_count && rc == PST_OK; i++)
        rc = output_copy(save, &manifest.sinks[i]);
    if (rc == PST_OK)
        rc = file_copy(save, pst_arena_printf(&save->arena, "%s/%016" PRIx64 ".manifest", from, save->id),
                       pst_arena_printf(&save->arena, "%s/%016" PRIx64 ".manifest", to, save->id), UINT64_MAX);
    if (rc == PST_OK && world->folder_sync(world->self, to) != PST_OK)
        rc = failed(save, PST_EIO, "cannot write", to);
    pst_manifest_fini(&manifest);
    return rc;
}

/* What was copied opens wholly, or it is no savepoint. */
static int part_open(struct pst_save *save, const char *to)
{
    struct pst_manifest manifest;
    char why[160] = "";
    struct checkpoint_reader reader = {save->world, to, save->keys, save->key_count, why, sizeof why, 0};
    int rc = pst_checkpoint_read(&reader, save->id, &manifest);
    if (rc == PST_OK) {
        rc = pst_checkpoint_pages(&reader, &manifest, NULL, NULL);
        pst_manifest_fini(&manifest);
    }
    if (rc != PST_OK)
        (void)snprintf(save->why, sizeof save->why, "%.200s does not open: %s", to, why);
    return rc;
}

/* The last step: it is a savepoint from here on. */
static int record_write(struct pst_save *save)
{
    const struct pst_world *world = save->world;
    struct pst_text bytes = {0};
    const char *parts = pst_arena_printf(&save->arena, "%s/parts", save->to);
    const char *outputs = pst_arena_printf(&save->arena, "%s/outputs", save->to);
    const char *path = pst_arena_printf(&save->arena, "%s/savepoint", save->to);
    int rc = parts != NULL && outputs != NULL && path != NULL ? record_seal(save, &bytes) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = pst_file_write_all(world, save->part, bytes.bytes, bytes.count);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, parts);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, outputs);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, save->to);
    if (rc == PST_OK)
        rc = part_name(save, path);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, save->to);
    pst_text_fini(&bytes);
    return rc == PST_OK ? PST_OK : failed(save, rc, "cannot write", save->to);
}

/* What a job was at when it ended, this one or that of a node that coordinated before: whoever still writes there has nothing to do any more. */
static void parts_clear(struct pst_save *save, bool others)
{
    const struct pst_world *world = save->world;
    struct pst_text names = {0};
    (void)world->unlink(world->self, save->part);
    if (others && world->folder_list(world->self, save->to, &names) == PST_OK)
        for (char *at = names.bytes, *end; at != NULL && (end = strchr(at, '\n')) != NULL; at = end + 1) {
            *end = '\0';
            size_t bytes = (size_t)(end - at);
            const char *path = bytes > 5 && strcmp(end - 5, ".part") == 0
                                   ? pst_arena_printf(&save->arena, "%s/%s", save->to, at)
                                   : NULL;
            if (path != NULL)
                (void)world->unlink(world->self, path);
        }
    (void)world->folder_sync(world->self, save->to); /* else the power's failure brings them back */
    pst_text_fini(&names);
}

static int save_write(struct pst_save *save)
{
    const struct pst_world *world = save->world;
    const char *outputs = pst_arena_printf(&save->arena, "%s/outputs", save->to);
    if (outputs == NULL)
        return PST_ENOMEM;
    if (world->mkdir(world->self, outputs) != PST_OK)
        return failed(save, PST_EIO, "cannot make the folder", outputs);
    int rc = PST_OK;
    for (size_t i = 0; i < save->node_count && rc == PST_OK; i++) {
        const char *from = pst_arena_printf(&save->arena, "%s/nodes/%s", save->from, save->nodes[i]);
        const char *to = pst_arena_printf(&save->arena, "%s/parts/%s", save->to, save->nodes[i]);
        rc = from != NULL && to != NULL ? part_copy(save, from, to) : PST_ENOMEM;
        if (rc == PST_OK)
            rc = part_open(save, to);
    }
    return rc == PST_OK ? record_write(save) : rc;
}

static void save_job(void *argument)
{
    struct pst_save *save = argument;
    save->rc = save_write(save);
    if (save->rc == PST_ENOENT) { /* the other one, which was done first, has cleared the folder: it does so once */
        save->why[0] = '\0';
        save->rc = save_write(save);
    }
    parts_clear(save, !atomic_load_explicit(&save->halted, memory_order_relaxed));
    atomic_store_explicit(&save->done, true, memory_order_release);
}

/* ---- where ---- */

/* `name`, or that below the folder of the checkpoints. */
static const char *folder_of(struct pst_arena *arena, const char *checkpoints, const char *name)
{
    return name[0] == '/' ? pst_arena_strdup(arena, name) : pst_arena_printf(arena, "%s/%s", checkpoints, name);
}

const char *pst_savepoint_folder(struct pst_arena *arena, const char *checkpoints, const char *name,
                                 const char **ret_saved)
{
    const char *folder = folder_of(arena, checkpoints, name);
    *ret_saved = folder != NULL ? pst_arena_printf(arena, "%s/outputs", folder) : NULL;
    return *ret_saved != NULL ? pst_arena_printf(arena, "%s/parts", folder) : NULL;
}

/* ---- the coordinator ---- */

static int has_folder(const struct pst_node *node, struct pst_text *why)
{
    if (node->options.checkpoints != NULL && node->options.key_count != 0)
        return PST_OK;
    (void)pst_text_printf(why, "this cluster has no checkpoints, and so no savepoints: its nodes were started without "
                               "--checkpoints and --key");
    return PST_EREFUSED;
}

static int name_good(const char *name, struct pst_text *why)
{
    size_t count = strlen(name);
    if (count == 0)
        (void)pst_text_printf(why, "--savepoint FOLDER is missing: `penstock cancel` stops a graph without one");
    else if (count > PST_CONTROL_NAME_BYTES_MAX)
        (void)pst_text_printf(why, "the name of a savepoint has %d bytes at most", PST_CONTROL_NAME_BYTES_MAX);
    for (size_t i = 0; i < count && why->count == 0; i++)
        if ((unsigned char)name[i] < ' ' || (unsigned char)name[i] > '~')
            (void)pst_text_printf(why, "the name of a savepoint has visible ASCII alone");
    for (const char *at = name, *end; why->count == 0 && at != NULL; at = *end == '/' ? end + 1 : NULL) {
        size_t bytes = (size_t)((end = at + strcspn(at, "/")) - at);
        bool root = bytes == 0 && at == name && *end == '/';
        if ((bytes == 0 && !root) || (bytes == 1 && at[0] == '.') || (bytes == 2 && at[0] == '.' && at[1] == '.'))
            (void)pst_text_printf(
                why, "the name of a savepoint has neither `.` nor `..`, nor two slashes or one at its end: "
                     "one folder has one name");
    }
    return why->count == 0 ? PST_OK : PST_EINVAL;
}

/* Whether a savepoint may come there. Where another one was begun, somebody may still be at it. */
static int place_free(struct pst_node *node, const char *name, struct pst_text *why)
{
    static const char *const made[] = {"savepoint", "outputs", "parts"};
    const struct pst_world *world = node->world;
    struct pst_arena arena;
    uint64_t id[2];
    pst_arena_init(&arena);
    const char *folder = folder_of(&arena, node->options.checkpoints, name);
    int rc = folder == NULL ? PST_ENOMEM : PST_OK;
    for (uint32_t i = 0; i < sizeof made / sizeof made[0] && rc == PST_OK; i++) {
        const char *path = pst_arena_printf(&arena, "%s/%s", folder, made[i]);
        rc = path == NULL ? PST_ENOMEM : world->look(world->self, path, id) == 0 ? PST_OK : PST_EREFUSED;
    }
    for (uint32_t i = 0; i < node->duty->graph_count && rc == PST_OK; i++) {
        const char *other = node->duty->graphs[i]->stop_to;
        if (other != NULL && (other = folder_of(&arena, node->options.checkpoints, other)) == NULL)
            rc = PST_ENOMEM;
        else if (other != NULL && strcmp(other, folder) == 0)
            rc = PST_EREFUSED;
    }
    for (uint32_t i = 0; i < NODE_SAVES_MAX && rc == PST_OK; i++)
        if (node->saves[i] != NULL && strcmp(node->saves[i]->to, folder) == 0)
            rc = PST_EREFUSED;
    if (rc == PST_EREFUSED)
        (void)pst_text_printf(why, "%s holds a savepoint already, or one was begun there: name another folder", folder);
    pst_arena_fini(&arena);
    return rc;
}

static void asks(struct graph_record *record, const struct submission *asked)
{
    record->asked_by = asked->asked_by;
    record->request = asked->request;
    record->asked_json = asked->json;
    record->asked_wait = true; /* told when it has ended */
}

/* The same once more, as of whoever has lost the coordinator that he gave it to: he waits for it, or is told that it is so. */
static bool is_again(struct pst_node *node, struct graph_record *record, const struct submission *asked,
                     const char *name)
{
    bool stopped = record->state == GRAPH_STOPPED && strcmp(record->start->start->saved, name) == 0;
    if (!stopped && (record->stop_to == NULL || strcmp(record->stop_to, name) != 0))
        return false;
    pst_coordinator_answer(node, record, PST_ETIMEOUT, "another command waits for that now");
    asks(record, asked);
    if (stopped && !record->committing)
        pst_coordinator_answer(node, record, PST_OK, "");
    return true;
}

int pst_savepoint_stop(struct pst_node *node, const struct submission *asked, const char *graph, const char *name,
                       struct pst_text *why)
{
    struct graph_record *record = pst_coordinator_graph(node->duty, graph);
    int rc = name_good(name, why);
    if (rc != PST_OK)
        return rc;
    if (record == NULL) {
        (void)pst_text_printf(why, "there is no graph `%s`", graph);
        return PST_EREFUSED;
    }
    if (is_again(node, record, asked, name))
        return PST_OK;
    if (!pst_coordinator_goes_on(record) || record->stop_to != NULL || record->restored) {
        (void)pst_text_printf(why, "graph `%s` is %s", graph,
                              record->stop_to != NULL ? "being stopped already"
                              : record->restored      ? "waiting for its nodes: try again"
                                                      : pst_graph_state_names[record->state]);
        return PST_EREFUSED;
    }
    rc = has_folder(node, why);
    if (rc == PST_OK && record->start->start->checkpoint_every_ns == 0) {
        (void)pst_text_printf(why, "graph `%s` has no checkpoints, and so no savepoint", graph);
        return PST_EREFUSED;
    }
    const char *stranger = pst_cuts_stranger(node, record);
    if (rc == PST_OK && stranger != NULL) {
        (void)pst_text_printf(why,
                              "graph `%s` can have no savepoint as long as node `%s` has a part of it: that is of an "
                              "earlier version, which has no checkpoints where several nodes read",
                              graph, stranger);
        return PST_EREFUSED;
    }
    if (rc == PST_OK)
        rc = place_free(node, name, why);
    char *copy = rc == PST_OK ? pst_strdup(name) : NULL;
    if (rc != PST_OK || copy == NULL)
        return rc != PST_OK ? rc : PST_ENOMEM;
    pst_coordinator_answer(node, record, PST_ESTOPPED, "it is being stopped");
    record->stop_to = copy;
    record->stop_stored = false;
    record->ask_ns = 0;
    asks(record, asked);
    pst_node_log(node, "graph %s, incarnation %llu: is to be stopped at its next checkpoint, with the savepoint %s",
                 graph, (unsigned long long)record->start->incarnation, copy);
    pst_coordinator_commit(node, record); /* K3: then it is asked for */
    return PST_OK;
}

void pst_savepoint_ask(struct pst_node *node, struct graph_record *record)
{
    const Pst__Start *start = record->start->start;
    if (pst_cuts_wanted(record)) {
        pst_cuts_ask(record);
        node->any = true;
        return;
    }
    Pst__Cut cut = PST__CUT__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    cut.kind = PST__CUT_KIND__ASK;
    message.graph = record->start->graph;
    message.incarnation = record->start->incarnation;
    message.body_case = PST__CONTROL__BODY_CUT;
    message.cut = &cut;
    for (size_t i = 0; i < start->n_nodes; i++) /* who reads nothing, chooses nothing */
        if (!record->left[i])
            pst_coordinator_tell(node, start->nodes[i], &message);
    record->ask_ns = node->world->now_ns(node->world->self) + pst_cut_again_ns(node);
}

/* Where several nodes read the next cut is tried by itself (cuts.c). Elsewhere who reads may not have heard that there is to be one, and has
 * forgotten it when the checkpoint was given up. Told twice, it is the same. */
static void ask_again(struct pst_node *node, struct graph_record *record)
{
    if (!record->stop_stored || record->state != GRAPH_RUNNING || record->restored || record->settling != 0 ||
        pst_cuts_wanted(record))
        return;
    if (node->world->now_ns(node->world->self) >= record->ask_ns)
        pst_savepoint_ask(node, record);
    (void)node->world->alarm(node->world->self, 0, record->ask_ns);
}

static void save_free(struct pst_save *save)
{
    pst_text_fini(&save->bytes);
    pst_arena_fini(&save->arena);
    pst_free(save);
}

/* What the job needs, as its own: the record may be gone before it is done. */
static int save_fill(struct pst_node *node, const struct graph_record *record, struct pst_save *save)
{
    const struct pst_node_options *options = &node->options;
    struct pst_arena *arena = &save->arena;
    save->world = node->world;
    save->keys = options->keys;
    save->key_count = options->key_count;
    save->id = record->stop_at;
    save->incarnation = record->start->incarnation;
    save->graph_name = pst_arena_strdup(arena, record->start->graph);
    save->from = pst_arena_printf(arena, "%s/%s", options->checkpoints, record->start->graph);
    save->to = folder_of(arena, options->checkpoints, record->stop_to);
    save->part = pst_arena_printf(arena, "%s/%s.part", save->to != NULL ? save->to : "", options->name);
    save->nodes = pst_arena_alloc(arena, (record->complete_node_count + 1) * sizeof *save->nodes);
    if (save->graph_name == NULL || save->from == NULL || save->to == NULL || save->part == NULL || save->nodes == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < record->complete_node_count; i++) {
        save->nodes[save->node_count++] = pst_arena_strdup(arena, record->complete_nodes[i]);
        if (save->nodes[i] == NULL)
            return PST_ENOMEM;
    }
    return pst_coordinator_record(record, &save->bytes);
}

static int begin(struct pst_node *node, const struct graph_record *record, uint32_t slot)
{
    struct pst_save *save = pst_calloc(1, sizeof *save);
    if (save == NULL)
        return PST_ENOMEM;
    pst_arena_init(&save->arena);
    atomic_init(&save->halted, false);
    atomic_init(&save->done, false);
    int rc = save_fill(node, record, save);
    if (rc == PST_OK)
        rc = node->world->work(node->world->self, 0, save_job, save);
    if (rc != PST_OK) {
        save_free(save);
        return rc;
    }
    node->saves[slot] = save;
    return PST_OK;
}

/* It is written by nobody here, nor can be at this moment: other than what it fails by. */
static void begin_step(struct pst_node *node, struct graph_record *record)
{
    struct pst_text text = {0};
    char why[sizeof record->why];
    uint32_t slot = NODE_SAVES_MAX;
    if (!record->saving || record->committing || !pst_coordinator_goes_on(record))
        return;
    for (uint32_t i = 0; i < NODE_SAVES_MAX; i++) {
        if (node->saves[i] != NULL && strcmp(node->saves[i]->graph_name, record->start->graph) == 0)
            return;
        slot = node->saves[i] == NULL ? i : slot;
    }
    if (slot == NODE_SAVES_MAX)
        return;
    int rc = has_folder(node, &text);
    if (rc == PST_OK)
        rc = begin(node, record, slot);
    if (rc != PST_OK) {
        (void)snprintf(why, sizeof why, "there is no savepoint, and the graph goes on: %s",
                       text.bytes != NULL ? text.bytes : pst_error_sentence(rc));
        pst_coordinator_not_saved(node, record, rc, why);
    }
    pst_text_fini(&text);
}

static void save_ended(struct pst_node *node, const struct pst_save *save)
{
    struct graph_record *record = node->duty != NULL ? pst_coordinator_graph(node->duty, save->graph_name) : NULL;
    bool halted = save->rc == PST_ESTOPPED; /* this node had coordinated no longer */
    bool wanted =
        !halted && record != NULL && record->saving && record->stop_at == save->id && pst_coordinator_goes_on(record);
    pst_node_log(node, "graph %s, incarnation %llu: the savepoint in %s %s%s", save->graph_name,
                 (unsigned long long)save->incarnation, save->to,
                 save->rc == PST_OK ? "is complete"
                 : halted           ? "is written by the node that coordinates now"
                                    : "cannot be written: ",
                 save->rc == PST_OK || halted ? "" : save->why);
    if (!wanted) /* another node coordinates, and writes it, too */
        return;
    char why[sizeof save->why + 60];
    (void)snprintf(why, sizeof why, "there is no savepoint, and the graph goes on: %s",
                   save->why[0] != '\0' ? save->why : pst_error_sentence(save->rc));
    if (save->rc == PST_OK)
        pst_coordinator_saved(node, record);
    else
        pst_coordinator_not_saved(node, record, save->rc == PST_ENOENT ? PST_EIO : save->rc, why);
}

void pst_savepoint_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_SAVES_MAX; i++) {
        struct pst_save *save = node->saves[i];
        if (save == NULL || !atomic_load_explicit(&save->done, memory_order_acquire))
            continue;
        node->saves[i] = NULL;
        save_ended(node, save);
        save_free(save);
        node->any = true;
    }
    for (uint32_t i = 0; node->duty != NULL && node->duty->restore == RESTORE_DONE && i < node->duty->graph_count;
         i++) {
        ask_again(node, node->duty->graphs[i]);
        begin_step(node, node->duty->graphs[i]);
    }
}

void pst_savepoint_halt(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_SAVES_MAX; i++)
        if (node->saves[i] != NULL)
            atomic_store_explicit(&node->saves[i]->halted, true, memory_order_relaxed);
}

void pst_savepoint_fini(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_SAVES_MAX; i++)
        if (node->saves[i] != NULL)
            save_free(node->saves[i]);
}

/* ---- the way back ---- */

int pst_savepoint_open(struct pst_node *node, const char *name, struct pst_arena *arena, Pst__Control **ret_message,
                       struct pst_text *why)
{
    uint8_t *bytes = NULL;
    uint64_t byte_count = 0;
    int rc = has_folder(node, why);
    if (rc == PST_OK)
        rc = name_good(name, why);
    if (rc != PST_OK)
        return rc;
    const char *folder = folder_of(arena, node->options.checkpoints, name);
    const char *path = folder != NULL ? pst_arena_printf(arena, "%s/savepoint", folder) : NULL;
    rc = path != NULL ? pst_file_read_all(node->world, path, RECORD_BYTES_MAX, &bytes, &byte_count) : PST_ENOMEM;
    if (rc == PST_ENOENT) {
        (void)pst_text_printf(why, "there is no savepoint in %s", folder);
        return PST_EREFUSED;
    }
    if (rc == PST_OK) {
        rc = PST_EREFUSED;
        for (uint32_t k = 0; k < node->options.key_count && rc == PST_EREFUSED; k++)
            rc = record_unseal(bytes, byte_count, node->options.keys[k], arena, ret_message);
    }
    pst_free(bytes);
    if (rc != PST_OK)
        (void)pst_text_printf(why, "the savepoint in %s %s", folder,
                              rc == PST_EREFUSED ? "does not open with this key, or was changed"
                              : rc == PST_EABI   ? "was written by a newer version of penstock"
                              : rc == PST_EDATA  ? "is damaged"
                                                 : "cannot be read");
    return rc == PST_EDATA || rc == PST_EABI ? PST_EREFUSED : rc;
}
