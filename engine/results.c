/* results.c - see node.h: what is committed of a sink, on its way from the node that can read it to whoever asked.
 *
 * A command's Read goes to the coordinator, which knows how far the graph is, and from there to the node that has the sink; a job reads one
 * piece, which goes the same way back, with all that it was asked for. Nothing is kept between two pieces: who reads says where it is.
 * What was committed once stays as it is (P1), so a piece of another incarnation follows the one before. */
#include "engine/checkpoint.h"
#include "engine/node.h"

#include <string.h>

enum { PIECE_BYTES = 64 * 1024 };
#define PIECE_NS (UINT64_C(30) * 1000 * 1000 * 1000)

struct pst_read { /* a piece that a job reads */
    struct pst_world *world;
    char *path;
    uint64_t request, incarnation, offset, limit; /* limit: what is committed; UINT64_MAX: the whole file */
    bool whole;
    char graph_name[PST_CONTROL_NAME_BYTES_MAX + 1], sink[PST_CONTROL_NAME_BYTES_MAX + 1];
    /* the job's */
    char *bytes;
    size_t byte_count, bytes_max;
    uint64_t committed;
    int rc;
    atomic_bool done;
};

static void piece_send(struct pst_node *node, struct peer *peer, uint64_t request, const Pst__Piece *piece)
{
    Pst__Control message = PST__CONTROL__INIT;
    message.request = request;
    message.body_case = PST__CONTROL__BODY_PIECE;
    message.piece = (Pst__Piece *)(uintptr_t)piece;
    pst_peer_send(node, peer, &message);
}

static void say(struct pst_node *node, struct peer *peer, uint64_t request, uint64_t since, int error,
                const char *sentence)
{
    Pst__Piece piece = PST__PIECE__INIT;
    piece.error = error;
    piece.sentence = (char *)(uintptr_t)sentence;
    piece.since = since;
    piece_send(node, peer, request, &piece);
}

/* ---- the node that reads ---- */

static int file_piece(struct pst_read *read)
{
    const struct pst_world *world = read->world;
    struct pst_file *file = NULL;
    uint64_t size = 0;
    int rc = world->file_open(world->self, read->path, PST_OPEN_READ, &file);
    if (rc != PST_OK)
        return rc;
    rc = world->file_size(world->self, file, &size);
    read->committed = read->whole ? size : read->limit;
    if (rc == PST_OK && size < read->committed)
        rc = PST_EDATA;
    uint64_t rest = rc == PST_OK && read->offset < read->committed ? read->committed - read->offset : 0;
    size_t wanted = rest < read->bytes_max ? (size_t)rest : read->bytes_max;
    if (wanted != 0) {
        read->bytes = pst_malloc(wanted);
        rc = read->bytes != NULL ? world->file_seek(world->self, file, read->offset) : PST_ENOMEM;
    }
    while (rc == PST_OK && read->byte_count < wanted) {
        int64_t count = world->file_read(world->self, file, read->bytes + read->byte_count, wanted - read->byte_count);
        rc = count > 0 ? PST_OK : count == 0 ? PST_EDATA : (int)count;
        read->byte_count += count > 0 ? (size_t)count : 0;
    }
    (void)world->file_close(world->self, file);
    return rc;
}

static void read_job(void *argument)
{
    struct pst_read *read = argument;
    read->rc = file_piece(read);
    atomic_store_explicit(&read->done, true, memory_order_release);
}

static void read_free(struct pst_read *read)
{
    pst_free(read->path);
    pst_free(read->bytes);
    pst_free(read);
}

/* With all that it was asked for: the coordinator may have another question of that number by now. */
static void tell_piece(struct pst_node *node, const struct pst_read *read, Pst__Piece *piece)
{
    Pst__Control message = PST__CONTROL__INIT;
    message.request = read->request;
    message.graph = (char *)(uintptr_t)read->graph_name;
    message.incarnation = read->incarnation;
    message.body_case = PST__CONTROL__BODY_PIECE;
    message.piece = piece;
    piece->sink = (char *)(uintptr_t)read->sink;
    piece->offset = read->offset;
    pst_node_tell(node, &message);
}

static void tell_error(struct pst_node *node, const struct pst_read *read, int error, const char *sentence)
{
    Pst__Piece piece = PST__PIECE__INIT;
    piece.error = error;
    piece.sentence = (char *)(uintptr_t)sentence;
    tell_piece(node, read, &piece);
}

static const struct sink *sink_of(const struct pst_node *node, const Pst__Control *message)
{
    for (uint32_t i = 0; i < node->hosted_count; i++) {
        const struct hosted *hosted = node->hosted[i];
        if (strcmp(hosted->graph_name, message->graph) != 0 || hosted->incarnation != message->incarnation ||
            !hosted->begun || hosted->superseded)
            continue;
        for (uint32_t s = 0; s < hosted->run.instance_count; s++)
            if (hosted->run.instances[s]->sink != NULL &&
                strcmp(hosted->run.instances[s]->node->id, message->read->sink) == 0)
                return hosted->run.instances[s]->sink;
    }
    return NULL;
}

static int saved_path(const struct pst_node *node, const Pst__Read *read, struct pst_text *path)
{
    struct pst_arena arena;
    const char *outputs = NULL;
    pst_arena_init(&arena);
    int rc = pst_savepoint_folder(&arena, node->options.checkpoints, read->saved, &outputs) != NULL
                 ? pst_text_printf(path, "%s/%s", outputs, read->file)
                 : PST_ENOMEM;
    pst_arena_fini(&arena);
    return rc;
}

static char *whole_path(const struct pst_node *node, const Pst__Control *message)
{
    struct pst_text path = {0};
    const struct pst_node_options *options = &node->options;
    const Pst__Read *read = message->read;
    int rc = read->saved[0] != '\0' ? saved_path(node, read, &path)
             : read->shared
                 ? pst_text_printf(&path, "%s/%s/results/%s", options->checkpoints, message->graph, read->file)
                 : pst_text_printf(&path, "%s/results/%s/%s", options->directory, message->graph, read->file);
    return rc == PST_OK ? path.bytes : (pst_text_fini(&path), NULL);
}

/* A plain name: it stands behind the folder's. */
static bool name_is_plain(const char *file)
{
    return file[0] != '\0' && strchr(file, '/') == NULL && strcmp(file, ".") != 0 && strcmp(file, "..") != 0;
}

static void read_fill(const struct pst_node *node, const Pst__Control *message, struct pst_read *read)
{
    const Pst__Read *body = message->read;
    *read = (struct pst_read){.world = node->world,
                              .request = message->request,
                              .incarnation = message->incarnation,
                              .offset = body->offset,
                              .whole = body->whole};
    read->bytes_max = body->bytes_max != 0 && body->bytes_max < PIECE_BYTES ? body->bytes_max : PIECE_BYTES;
    (void)snprintf(read->graph_name, sizeof read->graph_name, "%s", message->graph);
    (void)snprintf(read->sink, sizeof read->sink, "%s", body->sink);
}

void pst_results_read(struct pst_node *node, const Pst__Control *message)
{
    const Pst__Read *body = message->read;
    const struct sink *sink = body->whole ? NULL : sink_of(node, message);
    Pst__Piece nothing = PST__PIECE__INIT;
    struct pst_read asked;
    uint32_t slot = 0;
    read_fill(node, message, &asked);
    while (slot < NODE_READS_MAX && node->reads[slot] != NULL)
        slot++;
    bool fits = name_is_plain(body->file) && name_is_plain(message->graph) &&
                ((!body->shared && body->saved[0] == '\0') || node->options.checkpoints != NULL);
    if (!fits || slot == NODE_READS_MAX) {
        tell_error(node, &asked, fits ? PST_EFULL : PST_EINVAL,
                   fits ? "too many read results at once: try again" : "this node cannot read that file");
        return;
    }
    if (!body->whole && (sink == NULL || sink->committed_bytes <= body->offset)) {
        nothing.later = sink == NULL; /* its run has not begun here, or has ended and the others' have not */
        tell_piece(node, &asked, &nothing);
        return;
    }
    struct pst_read *read = pst_malloc(sizeof *read);
    char *path = body->whole ? whole_path(node, message) : pst_strdup(sink->path_part);
    if (read == NULL || path == NULL) {
        pst_free(read);
        pst_free(path);
        tell_error(node, &asked, PST_ENOMEM, pst_error_sentence(PST_ENOMEM));
        return;
    }
    *read = asked;
    read->path = path;
    read->limit = body->whole ? UINT64_MAX : sink->committed_bytes;
    atomic_init(&read->done, false);
    node->reads[slot] = read;
    if (node->world->work(node->world->self, 0, read_job, read) != PST_OK)
        read_job(read);
    node->any = true;
}

static void read_ended(struct pst_node *node, struct pst_read *read)
{
    char sentence[300] = "";
    Pst__Piece piece = PST__PIECE__INIT;
    bool renamed = read->rc == PST_ENOENT && !read->whole; /* its run has ended in this moment */
    if (read->rc != PST_OK && !renamed) {
        (void)snprintf(sentence, sizeof sentence,
                       "graph `%.100s`: what it has written cannot be read on node %.60s: %s", read->graph_name,
                       node->options.name, pst_error_sentence(read->rc));
        tell_error(node, read, read->rc == PST_EIO || read->rc == PST_ENOENT ? PST_EDATA : read->rc, sentence);
        return;
    }
    piece.later = renamed;
    piece.bytes = (ProtobufCBinaryData){read->byte_count, (uint8_t *)read->bytes};
    piece.committed = read->committed;
    piece.end = read->whole && read->offset + read->byte_count >= read->committed;
    tell_piece(node, read, &piece);
}

/* ---- the coordinator ---- */

static struct reading *reading_find(struct coordinator *duty, uint64_t request)
{
    for (uint32_t i = 0; i < NODE_PASSED_MAX; i++)
        if (duty->readings[i].request == request)
            return &duty->readings[i];
    return NULL;
}

static const struct pst_graph_node *sink_find(const struct pst_graph *graph, const char *sink)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct pst_graph_node *op = &graph->nodes[n];
        if (op->op->role == PST_ROLE_SINK && (strcmp(op->id, sink) == 0 || strcmp(op->file, sink) == 0))
            return op;
    }
    return NULL;
}

static const char *place_of(const struct graph_record *record, const char *operator_id)
{
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < start->n_places; i++)
        if (strcmp(start->places[i]->operator_id, operator_id) == 0)
            return start->nodes[start->places[i]->node];
    return "";
}

static bool is_reached(struct pst_node *node, const char *name)
{
    return strcmp(name, node->options.name) == 0 || pst_peer_find(node, name) != NULL;
}

/* The Read goes to the node that has it. */
static void reading_begin(struct pst_node *node, struct peer *peer, const Pst__Control *message,
                          struct graph_record *record, const struct pst_graph_node *sink)
{
    struct coordinator *duty = node->duty;
    struct reading *reading = reading_find(duty, 0);
    const Pst__Start *start = record->start->start;
    bool stopped = record->state == GRAPH_STOPPED, whole = record->state == GRAPH_DONE || stopped;
    bool shared = start->checkpoint_every_ns != 0;
    const char *at = place_of(record, sink->id);
    char sentence[300];
    if (stopped || (whole && shared && !is_reached(node, at)))
        at = node->options.name; /* all reach the folder */
    if (reading == NULL || !is_reached(node, at)) {
        (void)snprintf(sentence, sizeof sentence, "node %.100s, which has what %.100s has written, is not connected",
                       at, sink->id);
        say(node, peer, message->request, record->since, PST_ETIMEOUT,
            reading == NULL ? "too many read results at once: try again" : sentence);
        return;
    }
    Pst__Read body = *message->read;
    Pst__Control order = PST__CONTROL__INIT;
    body.sink = (char *)(uintptr_t)sink->id;
    body.file = (char *)(uintptr_t)sink->file;
    body.whole = whole;
    body.shared = shared;
    body.saved = stopped ? start->saved : (char *)(uintptr_t) "";
    order.request = ++duty->reading_requests;
    order.graph = record->start->graph;
    order.incarnation = record->start->incarnation;
    order.body_case = PST__CONTROL__BODY_READ;
    order.read = &body;
    *reading = (struct reading){.request = order.request,
                                .peer = peer->id,
                                .peer_request = message->request,
                                .since = record->since,
                                .incarnation = record->start->incarnation,
                                .offset = body.offset,
                                .begun_ns = node->world->now_ns(node->world->self)};
    (void)snprintf(reading->node, sizeof reading->node, "%s", at);
    (void)snprintf(reading->graph, sizeof reading->graph, "%s", order.graph);
    (void)snprintf(reading->sink, sizeof reading->sink, "%s", sink->id);
    pst_coordinator_tell(node, at, &order);
}

/* What is committed is where nobody has it open: whoever does not follow waits until the graph runs again. */
static void nothing_say(struct pst_node *node, struct peer *peer, uint64_t request, const struct graph_record *record)
{
    char sentence[700];
    Pst__Piece piece = PST__PIECE__INIT;
    (void)snprintf(sentence, sizeof sentence,
                   "graph `%.250s` is %s%s%.300s: what is committed can be read when it runs", record->start->graph,
                   pst_graph_state_names[record->state], record->why[0] != '\0' ? ": " : "", record->why);
    piece.later = record->complete != 0;
    piece.since = record->since;
    piece.sentence =
        piece.later ? sentence : (char *)(uintptr_t) "nothing is committed yet: there was no checkpoint so far";
    piece_send(node, peer, request, &piece);
}

static void asked(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    struct graph_record *record = pst_coordinator_graph(node->duty, message->graph);
    const struct pst_graph_node *sink =
        record != NULL && record->graph != NULL ? sink_find(record->graph, message->read->sink) : NULL;
    char sentence[700];
    if (sink == NULL) {
        (void)snprintf(sentence, sizeof sentence,
                       record != NULL ? "graph `%.250s` has no sink `%.250s`" : "there is no graph `%.250s`",
                       message->graph, message->read->sink);
        say(node, peer, message->request, 0, PST_EREFUSED, sentence);
        return;
    }
    bool goes_on = record->state == GRAPH_WAITING || record->state == GRAPH_STARTING || record->state == GRAPH_RUNNING;
    if (!goes_on && record->state != GRAPH_DONE && record->state != GRAPH_STOPPED) {
        (void)snprintf(sentence, sizeof sentence, "graph `%.250s` is %s%s%.400s: nothing more will be committed",
                       message->graph, pst_graph_state_names[record->state], record->why[0] != '\0' ? ": " : "",
                       record->why);
        say(node, peer, message->request, record->since, PST_EREFUSED, sentence);
    } else if (goes_on && record->start->start->checkpoint_every_ns == 0) {
        say(node, peer, message->request, record->since, PST_OK,
            "nothing is committed yet: a graph without checkpoints commits all when it has ended");
    } else if (goes_on && (record->complete == 0 || record->state != GRAPH_RUNNING)) {
        nothing_say(node, peer, message->request, record);
    } else {
        reading_begin(node, peer, message, record, sink);
    }
}

void pst_results_on(struct pst_node *node, struct peer *peer, const Pst__Control *message)
{
    struct pst_text why = {0};
    if (node->duty != NULL)
        asked(node, peer, message);
    else if (pst_admin_pass_on(node, peer, message, &why) != PST_OK)
        say(node, peer, message->request, 0, PST_ETIMEOUT, why.bytes != NULL ? why.bytes : "");
    pst_text_fini(&why);
}

/* Of this question; a node of an earlier version does not say of which it is. */
static bool is_of(const struct reading *reading, const char *name, const Pst__Control *message)
{
    const Pst__Piece *piece = message->piece;
    bool same = strcmp(message->graph, reading->graph) == 0 && message->incarnation == reading->incarnation &&
                strcmp(piece->sink, reading->sink) == 0 && piece->offset == reading->offset;
    return strcmp(name, reading->node) == 0 && (same || (message->graph[0] == '\0' && piece->sink[0] == '\0'));
}

void pst_results_back(struct pst_node *node, const char *name, const Pst__Control *message)
{
    struct reading *reading = message->request != 0 ? reading_find(node->duty, message->request) : NULL;
    if (reading == NULL || !is_of(reading, name, message))
        return; /* the coordinator before this one has asked, or nobody waits any more */
    struct peer *peer = pst_peer_by_id(node, reading->peer);
    Pst__Piece piece = *message->piece;
    piece.since = reading->since;
    reading->request = 0;
    if (peer != NULL)
        piece_send(node, peer, reading->peer_request, &piece);
}

/* ---- steps ---- */

void pst_results_step(struct pst_node *node)
{
    uint64_t now_ns = node->world->now_ns(node->world->self);
    for (uint32_t i = 0; i < NODE_READS_MAX; i++) {
        struct pst_read *read = node->reads[i];
        if (read == NULL || !atomic_load_explicit(&read->done, memory_order_acquire))
            continue;
        node->reads[i] = NULL;
        read_ended(node, read);
        read_free(read);
        node->any = true;
    }
    for (uint32_t i = 0; node->duty != NULL && i < NODE_PASSED_MAX; i++) {
        struct reading *reading = &node->duty->readings[i];
        if (reading->request == 0 || (is_reached(node, reading->node) && now_ns < reading->begun_ns + PIECE_NS))
            continue;
        struct peer *peer = pst_peer_by_id(node, reading->peer);
        reading->request = 0;
        if (peer != NULL)
            say(node, peer, reading->peer_request, reading->since, PST_ETIMEOUT, "the node that reads it was lost");
    }
}

void pst_results_fini(struct pst_node *node)
{
    for (uint32_t i = 0; i < NODE_READS_MAX; i++)
        if (node->reads[i] != NULL)
            read_free(node->reads[i]);
}

void pst_results_part(struct hosted *hosted)
{
    struct run *run = &hosted->run;
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct sink *sink = run->instances[i]->sink;
        if (sink == NULL)
            continue;
        sink->written_id = hosted->part;
        sink->written_bytes = run->checkpoint->parts[i].sink_bytes;
    }
}

void pst_results_complete(struct hosted *hosted, uint64_t id)
{
    for (uint32_t i = 0; i < hosted->run.instance_count; i++) {
        struct sink *sink = hosted->run.instances[i]->sink;
        if (sink != NULL && sink->written_id == id)
            sink->committed_bytes = sink->written_bytes;
    }
}
