/* node.c - see node.h: a node's life, its workers, the runs that it hosts. */
#include "engine/carry.h"
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/loads.h"
#include "engine/metrics.h"
#include "engine/mover.h"
#include "engine/planted.h"

#include <string.h>

enum { DEAD_SECONDS = 2, LOG_BYTES_MAX = 500, JOB_NS = 10 * 1000 * 1000 };

void pst_node_log(struct pst_node *node, const char *format, ...)
{
    char line[LOG_BYTES_MAX];
    va_list arguments;
    if (node->options.log == NULL)
        return;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c != '\0'; c++) /* it stays one line, whoever has chosen the words */
        *c = (unsigned char)*c < ' ' ? ' ' : *c;
    node->options.log(node->options.log_argument, line);
}

/* ---- workers ---- */

/* What came in the mail, and what is still to be done. */
static pst_step worker_step(struct pst_node *node, uint32_t worker)
{
    struct attachment *own = &node->attachments[worker];
    struct hosted *mail = atomic_load_explicit(&own->mail, memory_order_acquire);
    bool any = mail != NULL;
    if (mail != NULL) {
        atomic_store_explicit(&own->mail, NULL, memory_order_release); /* the keeper puts nothing on top of it */
        own->runs[own->run_count++] = mail;
        node->world->wake(node->world->self, 0); /* there may be more mail */
    }
    for (uint32_t i = 0; i < own->run_count; i++) {
        struct hosted *hosted = own->runs[i];
        pst_step step = pst_run_step(&hosted->run, worker);
        any |= step != PST_STEP_IDLE;
        if (pst_checkpoint_has_part(&hosted->run))
            node->world->wake(node->world->self, 0);
        if (step != PST_STEP_DONE)
            continue;
        own->runs[i--] = own->runs[--own->run_count];
        atomic_fetch_sub_explicit(&hosted->workers_left, 1, memory_order_acq_rel); /* K1: the last touch */
        node->world->wake(node->world->self, 0);
    }
    if (any)
        return PST_STEP_MORE;
    return own->run_count == 0 && atomic_load(&node->stopping) ? PST_STEP_DONE : PST_STEP_IDLE;
}

/* ---- runs ---- */

static struct hosted *hosted_find(const struct pst_node *node, const char *graph_name)
{
    for (uint32_t i = 0; i < node->hosted_count; i++)
        if (strcmp(node->hosted[i]->graph_name, graph_name) == 0)
            return node->hosted[i];
    return NULL;
}

static void hosted_free(struct hosted *hosted)
{
    pst_graph_free(hosted->graph);
    pst_mover_free(hosted->mover);
    pst_dealings_free(hosted->dealings);
    pst_arena_fini(&hosted->start_arena);
    pst_text_fini(&hosted->begin_why);
    pst_text_fini(&hosted->notes);
    pst_run_report_fini(&hosted->report);
    pst_arena_fini(&hosted->arena);
    pst_free(hosted);
}

static uint32_t place_of(const Pst__Control *message) { return message->start->this_node + 1; }

/* It is told by pst_tidings_step(), on this connection or another. place: as Running.place. */
static int ended_tell(struct pst_node *node, const char *graph_name, uint64_t incarnation, uint32_t place, int rc,
                      const char *sentence, const struct pst_run_report *report)
{
    struct ending *ending = pst_tidings_ending(node, graph_name, incarnation);
    ending->place = place;
    pst_text_plain(ending->sentence, sizeof ending->sentence - 1, sentence != NULL ? sentence : "");
    pst_node_log(node, "graph %s, incarnation %llu: the run has ended here%s%s", graph_name,
                 (unsigned long long)incarnation, rc != PST_OK ? ": " : "", rc != PST_OK ? ending->sentence : "");
    ending->error = rc;
    if (report != NULL) {
        ending->rows = report->rows;
        ending->rows_out = report->rows_out;
        ending->watermark = report->watermark;
        ending->lost = report->enclave_lost;
    }
    node->any = true;
    return rc;
}

/* Who owns what of an operator with state, as the site wants it. */
static int site_layout(struct hosted *hosted, const Pst__Start *start, uint32_t n, struct layout *layout, uint16_t *to)
{
    struct pst_arena *arena = &hosted->arena;
    const struct pst_graph_node *op = &hosted->graph->nodes[n];
    uint16_t *of = pst_arena_alloc(arena, op->bucket_count * sizeof *of);
    uint32_t numbers = pst_partition_numbers(op);
    uint32_t *born = pst_arena_alloc(arena, numbers * sizeof *born);
    int rc = of != NULL && born != NULL ? pst_layout_read(start, op, layout) : PST_ENOMEM;
    if (rc != PST_OK)
        return rc;
    memcpy(of, layout->of, op->bucket_count * sizeof *of);
    memcpy(born, layout->born, numbers * sizeof *born);
    memcpy(to, layout->node_of, numbers * sizeof *to);
    for (uint32_t b = 0; b < op->bucket_count; b++)
        if (to[of[b]] == UINT16_MAX)
            return PST_EINVAL;
    hosted->partition_of_bucket[n] = of;
    hosted->born[n] = born;
    if (op->replicas > 1) {
        hosted->twin[n] = pst_arena_alloc(arena, numbers * sizeof **hosted->twin);
        if (hosted->twin[n] == NULL)
            return PST_ENOMEM;
        memcpy(hosted->twin[n], layout->twin, numbers * sizeof **hosted->twin);
    }
    hosted->partition_count[n] = layout->partition_count;
    return PST_OK;
}

static int site_places(struct hosted *hosted, const Pst__Start *start, uint32_t n, struct layout *layout, bool *reads,
                       uint16_t **ret_nodes)
{
    const struct pst_graph_node *op = &hosted->graph->nodes[n];
    uint16_t *to = *ret_nodes = pst_arena_alloc(&hosted->arena, pst_partition_numbers(op) * sizeof *to);
    if (to == NULL)
        return PST_ENOMEM;
    if (op->op->role == PST_ROLE_PLAIN)
        return site_layout(hosted, start, n, layout, to);
    bool placed = op->op->role != PST_ROLE_SINK;
    to[0] = UINT16_MAX;
    for (size_t i = 0; i < start->n_places; i++) {
        const Pst__Place *place = start->places[i];
        if (strcmp(place->operator_id, op->id) != 0)
            continue;
        if (op->op->role == PST_ROLE_SOURCE)
            reads[place->node] = true;
        else
            to[0] = (uint16_t)place->node; /* a sink has one partition */
        placed = true;
    }
    return placed ? PST_OK : PST_EINVAL;
}

/* The whole list of arguments of a Start as the site of this run. PST_EINVAL: it does not fit the graph. There is room for nodes that
 * are added later. */
static int site_build(struct hosted *hosted, const Pst__Start *start)
{
    struct pst_arena *arena = &hosted->arena;
    const struct pst_graph *graph = hosted->graph;
    size_t nodes = start->n_nodes;
    uint32_t *workers = pst_arena_alloc(arena, NODE_MEMBERS_MAX * sizeof *workers);
    bool *reads = pst_arena_alloc(arena, NODE_MEMBERS_MAX * sizeof *reads);
    const char **names = pst_arena_alloc(arena, NODE_MEMBERS_MAX * sizeof *names);
    const char **addresses = pst_arena_alloc(arena, NODE_MEMBERS_MAX * sizeof *addresses);
    uint16_t **of = pst_arena_alloc(arena, graph->node_count * sizeof *of);
    hosted->partition_of_bucket = pst_arena_alloc(arena, graph->node_count * sizeof *hosted->partition_of_bucket);
    hosted->born = pst_arena_alloc(arena, graph->node_count * sizeof *hosted->born);
    hosted->twin = pst_arena_alloc(arena, graph->node_count * sizeof *hosted->twin);
    hosted->partition_count = pst_arena_alloc(arena, graph->node_count * sizeof *hosted->partition_count);
    if (workers == NULL || reads == NULL || names == NULL || addresses == NULL || of == NULL ||
        hosted->partition_of_bucket == NULL || hosted->born == NULL || hosted->twin == NULL ||
        hosted->partition_count == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < start->n_left_nodes && nodes <= NODE_MEMBERS_MAX; i++)
        hosted->peer_left[start->left_nodes[i]] = true;
    if (nodes == 0 || nodes > NODE_MEMBERS_MAX || start->n_node_workers != nodes || start->n_addresses != nodes ||
        start->this_node >= nodes)
        return PST_EINVAL;
    for (uint32_t i = 0; i < nodes; i++) {
        workers[i] = start->node_workers[i];
        names[i] = pst_arena_strdup(arena, start->nodes[i]);
        addresses[i] = pst_arena_strdup(arena, start->addresses[i]);
        if (names[i] == NULL || addresses[i] == NULL)
            return PST_ENOMEM;
        if (workers[i] == 0 || workers[i] > PST_WORKERS_MAX)
            return PST_EINVAL;
    }
    struct layout *layout = pst_malloc(sizeof *layout);
    int rc = layout != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++)
        rc = site_places(hosted, start, n, layout, reads, &of[n]);
    pst_free(layout);
    hosted->site = (struct site){.node_count = (uint32_t)nodes,
                                 .this_node = start->this_node,
                                 .node_capacity = NODE_MEMBERS_MAX,
                                 .incarnation = hosted->incarnation,
                                 .takeover = (uint32_t)start->n_replaced_nodes,
                                 .replaced = (uint32_t)start->n_replaced_partitions,
                                 .worker_count = workers,
                                 .reads = reads,
                                 .node_of_partition = of,
                                 .partition_of_bucket = (const uint16_t *const *)hosted->partition_of_bucket,
                                 .partition_count = hosted->partition_count,
                                 .born = (const uint32_t *const *)hosted->born,
                                 .twin = (const uint16_t *const *)hosted->twin,
                                 .address = addresses,
                                 .name = names};
    return rc;
}

static int graph_parse(struct pst_node *node, struct hosted *hosted, const Pst__Start *start, struct pst_text *why)
{
    struct pst_diagnostics d;
    pst_diagnostics_init(&d);
    struct pst_setting *settings = pst_arena_alloc(&hosted->arena, (start->n_settings + 1) * sizeof *settings);
    if (settings == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < start->n_settings; i++)
        settings[i] = (struct pst_setting){start->settings[i]->name, start->settings[i]->value};
    int rc = pst_graph_parse(start->file, (const char *)start->text.data, start->text.len, settings,
                             (uint32_t)start->n_settings, &node->options.registry, &d, &hosted->graph);
    if (rc == PST_EGRAPH)
        (void)pst_diagnostics_print(&d, false, why);
    pst_diagnostics_fini(&d);
    return rc == PST_OK && start->keys[0] != '\0' ? pst_graph_carry(hosted->graph, why) : rc;
}

#define KEYS_NS (UINT64_C(30) * 1000 * 1000 * 1000) /* for an answer of whoever keeps the key */

/* Where rows are sealed: its workers are shown to whoever keeps the key, by a key of this node. */
static int sealed_options(const struct pst_node *node, struct hosted *hosted, const Pst__Start *start,
                          struct pst_text *why)
{
    const char *keys = pst_arena_strdup(&hosted->arena, start->keys);
    if (start->keys[0] == '\0')
        return PST_OK;
    if (node->options.node_key == NULL) {
        (void)pst_text_printf(why,
                              "its rows are sealed, and node %s has no key to sign its workers' evidence with: "
                              "start it with --node-key FILE",
                              node->options.name);
        return PST_EINVAL;
    }
    hosted->sealed = (struct pst_sealed_options){
        .keys = keys, .node_key = node->options.node_key, .patience_ns = KEYS_NS, .tsm = node->options.tsm};
    hosted->options.sealed = &hosted->sealed;
    return keys != NULL ? PST_OK : PST_ENOMEM;
}

/* NULL: no memory. */
static char *parts_folder(const struct pst_node *node, struct pst_arena *arena, const char *graph_name)
{
    return pst_arena_printf(arena, "%s/%s/nodes/%s", node->options.checkpoints, graph_name, node->options.name);
}

/* Where several nodes read, up to the checkpoint others may have: before a savepoint, or of streams. */
static bool others_read(const Pst__Start *start)
{
    return start->n_source_nodes > 1 && start->checkpoint != 0 &&
           (start->savepoint[0] != '\0' || start->n_streams != 0);
}

/* Where several nodes read, the one whose part has the position of this node's input: it has read it, or read it before the savepoint.
 * NULL: one node reads, or this one does not. */
static const char *position_node(const struct hosted *hosted, const Pst__Start *start)
{
    if (start->n_source_nodes < 2 || start->checkpoint == 0 || !hosted->site.reads[start->this_node])
        return NULL;
    return (others_read(start) ? start->saved_sources : start->source_nodes)[hosted->site.input_index];
}

/* What this node writes, and what all have written of the checkpoint that is gone on from, in the folder that all of them reach. */
static int checkpoint_options(struct pst_node *node, struct hosted *hosted, const Pst__Start *start,
                              struct pst_text *why)
{
    const struct pst_node_options *options = &node->options;
    struct pst_checkpoint_options *checkpoint = &hosted->options.checkpoint;
    struct pst_arena *arena = &hosted->arena;
    const char **folders = pst_arena_alloc(arena, (start->n_checkpoint_nodes + 1) * sizeof *folders);
    if (options->checkpoints == NULL || options->key_count == 0) {
        (void)pst_text_printf(
            why, "graphs of this cluster have checkpoints, and this node has no folder and no key for them");
        return PST_EINVAL;
    }
    *checkpoint = (struct pst_checkpoint_options){.directory = parts_folder(node, arena, hosted->graph_name),
                                                  .every_ns = start->checkpoint_every_ns,
                                                  .keys = options->keys,
                                                  .key_count = options->key_count};
    hosted->options.output_dir = pst_arena_printf(arena, "%s/%s/results", options->checkpoints, hosted->graph_name);
    hosted->site.checkpoint = start->checkpoint;
    hosted->site.folders = folders;
    bool room = folders != NULL && checkpoint->directory != NULL && hosted->options.output_dir != NULL;
    const char *from = pst_arena_printf(arena, "%s/%s/nodes", options->checkpoints, hosted->graph_name);
    if (start->savepoint[0] != '\0')
        from = pst_savepoint_folder(arena, options->checkpoints, start->savepoint, &hosted->site.saved);
    if (others_read(start) && start->n_saved_sources != start->n_source_nodes) {
        (void)pst_text_printf(why,
                              "which input of the checkpoint is whose was not said: the coordinator is of an earlier "
                              "version");
        return PST_EINVAL;
    }
    const char *reader = position_node(hosted, start);
    for (size_t i = 0; room && i < start->n_checkpoint_nodes; i++) {
        folders[i] = from != NULL ? pst_arena_printf(arena, "%s/%s", from, start->checkpoint_nodes[i]) : NULL;
        room = folders[i] != NULL;
        hosted->site.folder_count++;
    }
    if (room && reader != NULL) {
        hosted->site.position = from != NULL ? pst_arena_printf(arena, "%s/%s", from, reader) : NULL;
        room = hosted->site.position != NULL;
    }
    return room ? PST_OK : PST_ENOMEM;
}

/* What this node reads: the one input, or its own of several. PST_ENOMEM. */
static int input_choose(struct hosted *hosted, const Pst__Start *start)
{
    const char *input = start->input;
    for (size_t i = 0; i < start->n_source_nodes; i++) {
        if (strcmp(start->source_nodes[i], start->nodes[start->this_node]) != 0)
            continue;
        input = start->source_inputs[i];
        hosted->site.input_index = (uint32_t)i;
    }
    hosted->options.input = input[0] != '\0' ? pst_arena_strdup(&hosted->arena, input) : NULL;
    return input[0] == '\0' || hosted->options.input != NULL ? PST_OK : PST_ENOMEM;
}

/* By the job; the keeper logs it. */
static void note(void *argument, const char *sentence) { (void)pst_text_printf(argument, "%s\n", sentence); }

static int hosted_begin(struct pst_node *node, struct hosted *hosted, const Pst__Start *start, struct pst_text *why)
{
    int rc = graph_parse(node, hosted, start, why);
    if (rc == PST_OK)
        rc = site_build(hosted, start);
    if (rc == PST_OK && hosted->site.worker_count[start->this_node] != node->worker_count)
        rc = PST_EINVAL;
    if (rc != PST_OK)
        return rc;
    hosted->by_source = start->by_source;
    hosted->options = (struct pst_run_options){
        .output_dir = pst_arena_printf(&hosted->arena, "%s/results/%s", node->options.directory, hosted->graph_name),
        .fed = start->fed,
        .again = start->again,
        .strict = start->strict,
        .frame_rows = start->frame_rows != 0 ? start->frame_rows : node->options.frame_rows,
        .channel_frames = start->channel_frames != 0 ? start->channel_frames : node->options.channel_frames,
        .block_bytes = node->options.block_bytes,
        .stop_and_copy = node->options.stop_and_copy,
        .state_budget = node->options.state_budget,
        .evict = node->options.evict,
        .spill_dir = node->options.directory,
        .disk = &node->disk,
        .enclave_patience_s = node->options.enclave_patience_s,
        .enclave_program = node->options.enclave_program,
        .identity = node->options.identity,
        .tsm = node->options.tsm,
        .peers = node->options.peers,
        .note = note,
        .note_argument = &hosted->notes,
        .interrupts = &hosted->interrupts};
    rc = input_choose(hosted, start);
    if (rc == PST_OK)
        rc = sealed_options(node, hosted, start, why);
    if (rc == PST_OK && start->checkpoint_every_ns != 0)
        rc = checkpoint_options(node, hosted, start, why);
    if (rc != PST_OK)
        return rc;
    if (hosted->options.output_dir == NULL)
        return PST_ENOMEM;
    atomic_init(&hosted->workers_left, node->worker_count);
    rc = pst_run_begin(&hosted->run, hosted->graph, &hosted->options, node->world, &hosted->site, 1, &hosted->report);
    hosted->begun = rc == PST_OK;
    if (rc != PST_OK) {
        rc = pst_run_end(&hosted->run);
        if (hosted->report.error != NULL)
            (void)pst_text_printf(why, "%s", hosted->report.error);
    }
    return rc;
}

static void supersede(struct hosted *hosted)
{
    if (hosted->superseded)
        return;
    hosted->superseded = true;
    hosted->run.discard = true;
    pst_run_fail(&hosted->run, PST_ESTOPPED, "another incarnation of it was started");
}

static void begin_job(void *argument)
{
    struct hosted *hosted = argument;
    hosted->begin_rc = hosted_begin(hosted->node, hosted, hosted->start, &hosted->begin_why);
    atomic_store_explicit(&hosted->begin_done, true, memory_order_release);
}

/* Of a graph that nothing runs of any more. `arena` is handed over: the message is in it. */
static void start_now(struct pst_node *node, const Pst__Control *message, struct pst_arena *arena)
{
    bool room = node->hosted_count + node->beginning_count < NODE_GRAPHS_MAX;
    struct hosted *hosted = room ? pst_calloc(1, sizeof *hosted) : NULL;
    struct mover *mover = hosted != NULL ? pst_calloc(1, sizeof *mover) : NULL; /* so that each step finds it */
    node->any = true;
    if (mover == NULL) {
        pst_free(hosted);
        (void)ended_tell(node, message->graph, message->incarnation, place_of(message), PST_ENOMEM,
                         "no room for one more graph", NULL);
        pst_arena_fini(arena);
        return;
    }
    hosted->node = node;
    hosted->mover = mover;
    hosted->incarnation = message->incarnation;
    (void)snprintf(hosted->graph_name, sizeof hosted->graph_name, "%s", message->graph);
    hosted->place = place_of(message);
    hosted->start = message->start;
    hosted->start_arena = *arena;
    pst_arena_init(&hosted->arena);
    atomic_init(&hosted->interrupts, 0);
    atomic_init(&hosted->begin_done, false);
    node->beginning[node->beginning_count++] = hosted;
    if (node->world->work(node->world->self, 0, begin_job, hosted) != PST_OK)
        begin_job(hosted);
}

static bool is_ready(const struct hosted *hosted)
{
    return atomic_load_explicit(&hosted->run.keyless, memory_order_acquire) == 0;
}

static void started_say(struct pst_node *node, struct hosted *hosted)
{
    Pst__Started started = PST__STARTED__INIT;
    Pst__Control answer = PST__CONTROL__INIT;
    started.ready = is_ready(hosted);
    if (started.ready)
        hosted->ready_told = pst_tidings_to(node);
    answer.graph = hosted->graph_name;
    answer.incarnation = hosted->incarnation;
    answer.body_case = PST__CONTROL__BODY_STARTED;
    answer.started = &started;
    pst_node_tell(node, &answer);
}

static void started_tell(struct pst_node *node, struct hosted *hosted)
{
    char from[40] = "";
    for (char *at = hosted->notes.bytes, *end; at != NULL && (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = '\0';
        pst_node_log(node, "graph %s, incarnation %llu: warning: %s", hosted->graph_name,
                     (unsigned long long)hosted->incarnation, at);
    }
    if (hosted->site.checkpoint != 0)
        (void)snprintf(from, sizeof from, ", from checkpoint %016llx", (unsigned long long)hosted->site.checkpoint);
    pst_node_log(node, "graph %s, incarnation %llu: its run has begun here%s", hosted->graph_name,
                 (unsigned long long)hosted->incarnation, from);
    started_say(node, hosted);
}

/* Of sealed rows, whose workers need keys: on each connection once, for a coordinator may wait for it. Others are ready when they have begun, which a
 * hello says. */
static void ready_tell(struct pst_node *node, struct hosted *hosted)
{
    uint64_t to = pst_tidings_to(node);
    if (hosted->begun && hosted->graph->carry != NULL && to != 0 && to != hosted->ready_told && is_ready(hosted))
        started_say(node, hosted);
}

/* Its job is done. */
static void begin_ended(struct pst_node *node, uint32_t index)
{
    struct hosted *hosted = node->beginning[index];
    node->beginning[index] = node->beginning[--node->beginning_count];
    node->any = true;
    if (hosted->begin_rc != PST_OK) {
        const char *why =
            hosted->begin_why.bytes != NULL ? hosted->begin_why.bytes : pst_error_sentence(hosted->begin_rc);
        if (!hosted->superseded)
            (void)ended_tell(node, hosted->graph_name, hosted->incarnation, hosted->place, hosted->begin_rc, why,
                             &hosted->report);
        hosted_free(hosted);
        return;
    }
    node->hosted[node->hosted_count++] = hosted;
    if (hosted->superseded) {
        hosted->superseded = false;
        supersede(hosted);
    } else {
        started_tell(node, hosted);
    }
}

#define KEYS_NS (UINT64_C(30) * 1000 * 1000 * 1000) /* for an answer of who keeps the key */

struct hosted *pst_node_hosted(struct pst_node *node, const char *graph_name, uint64_t incarnation)
{
    struct hosted *hosted = hosted_find(node, graph_name);
    return hosted != NULL && hosted->incarnation == incarnation && !hosted->superseded ? hosted : NULL;
}

static struct hosted *beginning_find(const struct pst_node *node, const char *graph_name)
{
    for (uint32_t i = 0; i < node->beginning_count; i++)
        if (strcmp(node->beginning[i]->graph_name, graph_name) == 0)
            return node->beginning[i];
    return NULL;
}

/* What is to be begun later outlives the message that said so. */
static void start_later(struct pst_node *node, const Pst__Control *message)
{
    uint32_t i = 0;
    while (i < node->start_count && strcmp(node->start[i]->graph, message->graph) != 0)
        i++;
    if (i < node->start_count && node->start[i]->incarnation >= message->incarnation)
        return;
    struct pst_arena arena;
    Pst__Control *copy = NULL;
    pst_arena_init(&arena);
    int rc = i < NODE_GRAPHS_MAX ? pst_control_copy(message, &arena, &copy) : PST_EFULL;
    if (rc != PST_OK) {
        pst_arena_fini(&arena);
        (void)ended_tell(node, message->graph, message->incarnation, place_of(message), rc, pst_error_sentence(rc),
                         NULL);
        return;
    }
    if (i < node->start_count)
        pst_arena_fini(&node->start_arena[i]);
    else
        node->start_count++;
    node->start[i] = copy;
    node->start_arena[i] = arena;
}

/* K2; or it is said twice. One that was stopped may come again: the node had left the graph. */
static bool is_said(const struct hosted *hosted, uint64_t incarnation)
{
    return hosted != NULL &&
           (hosted->incarnation > incarnation || (hosted->incarnation == incarnation && !hosted->superseded));
}

void pst_node_on_start(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message->graph);
    if (message->move != 0) {
        pst_mover_know(node, message);
        return;
    }
    struct hosted *beginning = beginning_find(node, message->graph);
    if (is_said(hosted, message->incarnation) || is_said(beginning, message->incarnation))
        return;
    if (beginning != NULL)
        beginning->superseded = true;
    if (hosted != NULL)
        supersede(hosted);
    pst_tidings_forget(node, message->graph, message->incarnation - 1);
    pst_tidings_forget_former(node, message->graph, message->incarnation, place_of(message));
    start_later(node, message);
    node->any = true;
}

/* Nobody goes on from the checkpoints that it has left here. */
static void graph_forget(struct pst_node *node, const Pst__Control *message)
{
    struct pst_arena arena;
    pst_arena_init(&arena);
    const char *folder = node->options.checkpoints != NULL ? parts_folder(node, &arena, message->graph) : NULL;
    if (folder != NULL)
        pst_disk_ended(&node->disk, folder, message->incarnation);
    pst_arena_fini(&arena);
}

void pst_node_on_stop(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message->graph);
    pst_tidings_forget(node, message->graph, message->incarnation);
    if (message->stop->ended)
        graph_forget(node, message);
    for (uint32_t i = 0; i < node->start_count; i++) {
        if (strcmp(node->start[i]->graph, message->graph) != 0 || node->start[i]->incarnation > message->incarnation)
            continue;
        pst_arena_fini(&node->start_arena[i]);
        node->start[i] = node->start[--node->start_count];
        node->start_arena[i] = node->start_arena[node->start_count];
        break;
    }
    struct hosted *beginning = beginning_find(node, message->graph);
    if (beginning != NULL && beginning->incarnation <= message->incarnation)
        beginning->superseded = true;
    if (hosted == NULL || hosted->incarnation > message->incarnation)
        return;
    if (!message->stop->drain) {
        supersede(hosted);
        return;
    }
    atomic_store(&hosted->interrupts, 1);
    pst_run_wake(&hosted->run, 0);
}

void pst_node_on_checkpointed(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message->graph);
    const Pst__Checkpointed *body = message->checkpointed;
    if (hosted == NULL || hosted->incarnation != message->incarnation)
        return;
    pst_checkpoint_settled(&hosted->run, body->checkpoint, body->error == PST_OK);
    if (body->error != PST_OK && body->checkpoint == hosted->part && hosted->part_error == PST_OK) {
        hosted->part_error = PST_EAGAIN; /* told again, to one whom an earlier version has not left it in the store */
        (void)snprintf(hosted->part_why, sizeof hosted->part_why, "it was given up before");
    }
    if (body->error == PST_OK)
        pst_results_complete(hosted, body->checkpoint);
}

void pst_node_on_cut(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message->graph);
    const Pst__Cut *cut = message->cut;
    if (hosted == NULL || hosted->incarnation != message->incarnation || hosted->superseded)
        return;
    node->any = true;
    if (cut->kind == PST__CUT_KIND__ASK)
        pst_checkpoint_ask(&hosted->run);
    else if (cut->kind == PST__CUT_KIND__WAIT)
        pst_checkpoint_wait(&hosted->run, cut->checkpoint,
                            node->world->now_ns(node->world->self) + pst_cut_wait_ns(node));
    else if (cut->kind == PST__CUT_KIND__GO_ON)
        pst_checkpoint_wait_no_more(&hosted->run, cut->checkpoint);
    else
        pst_checkpoint_tell(&hosted->run, &(struct cut){cut->checkpoint, cut->complete, cut->time});
}

/* How far its input is, of a node that waits for a cut. Who is not connected lets it be: it is asked again. */
static void waiting_tell(struct pst_node *node, struct hosted *hosted)
{
    struct waiting waiting;
    uint64_t now_ns = node->world->now_ns(node->world->self);
    if (!hosted->begun || !pst_checkpoint_several(&hosted->run))
        return;
    bool asked = pst_checkpoint_waits(&hosted->run, now_ns, &waiting);
    if (atomic_load(&hosted->run.checkpoint->waits) != 0)
        (void)node->world->alarm(node->world->self, 0, hosted->run.checkpoint->waits_until_ns);
    if (!asked)
        return;
    Pst__CutAnswer body = PST__CUT_ANSWER__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.checkpoint = waiting.id;
    body.time = waiting.time;
    body.low = waiting.low;
    body.last = waiting.last;
    body.under_way = waiting.under_way;
    body.ended = waiting.ended;
    message.graph = hosted->graph_name;
    message.incarnation = hosted->incarnation;
    message.body_case = PST__CONTROL__BODY_CUT_ANSWER;
    message.cut_answer = &body;
    pst_node_tell(node, &message);
}

/* Said once on each connection: what the coordinator has missed it is told again, and answers again. */
static void part_tell(struct pst_node *node, struct hosted *hosted)
{
    uint64_t to = pst_tidings_to(node);
    const char *why;
    if (pst_checkpoint_part(&hosted->run, &hosted->part, &hosted->part_error, &why)) {
        hosted->part_told = 0;
        hosted->part_takeover = hosted->run.checkpoint->takeover;
        hosted->part_replaced = hosted->run.checkpoint->replaced;
        pst_text_plain(hosted->part_why, sizeof hosted->part_why - 1, hosted->part_error != PST_OK ? why : "");
        if (hosted->part_error != PST_OK)
            pst_node_log(node, "graph %s, incarnation %llu: this node has no part of checkpoint %016llx: %s",
                         hosted->graph_name, (unsigned long long)hosted->incarnation, (unsigned long long)hosted->part,
                         hosted->part_why);
        pst_results_part(hosted);
    }
    if (hosted->part == 0 || to == 0 || to == hosted->part_told)
        return;
    Pst__Checkpointed body = PST__CHECKPOINTED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.checkpoint = hosted->part;
    body.error = hosted->part_error;
    body.sentence = hosted->part_why;
    body.takeover = hosted->part_takeover;
    body.replaced = hosted->part_replaced;
    body.rereads = hosted->run.input.rereads;
    if (hosted->graph->carry != NULL && !hosted->loads_told) { /* how much state it has, if it is to go elsewhere */
        node->loads_ns = 0;
        pst_loads_tell(node);
    }
    message.graph = hosted->graph_name;
    message.incarnation = hosted->incarnation;
    message.body_case = PST__CONTROL__BODY_CHECKPOINTED;
    message.checkpointed = &body;
    hosted->part_told = to;
    pst_node_tell(node, &message);
}

uint32_t pst_site_index(const struct site *site, const char *name)
{
    uint32_t i = site->node_count;
    while (i != 0 && strcmp(site->name[i - 1], name) != 0)
        i--;
    return i != 0 ? i - 1 : site->node_count;
}

void pst_node_on_ended(struct pst_node *node, const Pst__Control *message)
{
    struct hosted *hosted = hosted_find(node, message->graph);
    if (hosted == NULL || hosted->incarnation != message->incarnation || message->ended->error != PST_OK)
        return;
    if (message->ended->operator_id[0] != '\0') {
        pst_takeover_partition_told(hosted, message->ended);
        node->any = true;
        return;
    }
    uint32_t index = pst_site_index(&hosted->site, message->ended->node);
    if (index >= hosted->site.node_count || index == hosted->site.this_node)
        return;
    if (message->ended->takeover > atomic_load(&hosted->run.takeover)) {
        pst_takeover_told(hosted, index, message->ended->takeover);
        node->any = true;
        return;
    }
    *(message->ended->left ? &hosted->peer_left[index] : &hosted->peer_ended[index]) = true;
    node->any = true;
    if (hosted->run.links[index] != NULL)
        pst_link_peer_ended(&hosted->run, index);
}

/* What has nothing to do is finished when somebody is who has something: until then buckets may come to it, and from then on none do. Who
 * still has something, of all others, it may not know. */
static bool may_finish(const struct hosted *hosted)
{
    const struct run *run = &hosted->run;
    if (pst_mover_busy(hosted->mover) || hosted->any_lost || hosted->takes_hold || !pst_run_finished(run))
        return false; /* workers stand still, or will: one that has ended cannot */
    bool may = pst_node_has_place(run, hosted->site.this_node) && !pst_checkpoint_stays(run);
    for (uint32_t k = 0; k < hosted->site.node_count && !may; k++)
        may = hosted->peer_ended[k];
    return may;
}

bool pst_node_on_data(struct pst_node *node, const struct pst_wire_hello *hello, uint64_t incarnation,
                      struct peer *peer, bool *ret_stale)
{
    struct hosted *hosted = hosted_find(node, hello->graph_name);
    bool same = hosted != NULL && (hosted->incarnation == incarnation || PST_PLANTED(NO_EPOCH));
    *ret_stale = hosted != NULL && hosted->incarnation > incarnation;
    if (!same || hosted->superseded)
        return false;
    if (hello->node >= hosted->site.node_count)
        return false; /* it may be about to be added */
    if (peer->certificate[0] != '\0' && strcmp(peer->certificate, hosted->site.name[hello->node]) != 0) {
        *ret_stale = true; /* it will never be wanted */
        return false;
    }
    return pst_link_give(&hosted->run, hello->node, peer->conn);
}

void pst_node_tell(struct pst_node *node, Pst__Control *message)
{
    if (node->duty != NULL)
        pst_coordinator_on(node, node->options.name, message); /* K4 */
    else if (node->upstream != NULL && node->upstream->state >= PEER_GREETING)
        pst_peer_send(node, node->upstream, message); /* behind the hello, which has said that it runs here */
    /* else: what runs here is said when it is connected again (Hello) */
}

void pst_node_link_bytes(const struct pst_node *node, uint64_t *ret_sent, uint64_t *ret_received)
{
    *ret_sent = node->sent_bytes;
    *ret_received = node->received_bytes;
    for (uint32_t i = 0; i < node->hosted_count; i++)
        pst_links_bytes(&node->hosted[i]->run, ret_sent, ret_received);
}

/* ---- steps ---- */

/* Mail for the workers that have not had it; K1. */
static void attach(struct pst_node *node, struct hosted *hosted)
{
    for (uint32_t w = 0; w < node->worker_count; w++) {
        struct hosted *none = NULL;
        if ((hosted->attached & (uint64_t)1 << w) != 0 ||
            !atomic_compare_exchange_strong(&node->attachments[w].mail, &none, hosted))
            continue;
        hosted->attached |= (uint64_t)1 << w;
        node->world->wake(node->world->self, 1 + w);
        node->any = true;
    }
}

static void run_ended(struct pst_node *node, uint32_t index)
{
    struct hosted *hosted = node->hosted[index];
    bool superseded = hosted->superseded;
    pst_links_bytes(&hosted->run, &node->sent_bytes, &node->received_bytes);
    int rc = pst_run_end(&hosted->run);
    node->hosted[index] = node->hosted[--node->hosted_count];
    if (!superseded)
        (void)ended_tell(node, hosted->graph_name, hosted->incarnation, hosted->place, rc, hosted->report.error,
                         &hosted->report);
    else
        pst_node_log(node, "graph %s, incarnation %llu: its run was stopped here", hosted->graph_name,
                     (unsigned long long)hosted->incarnation);
    hosted_free(hosted);
    node->any = true;
}

/* A node that the coordinator hears, and this one does not: its graphs stand still, and nobody else would say why. */
static void links_look(struct pst_node *node, struct hosted *hosted)
{
    uint64_t now_ns = node->world->now_ns(node->world->self);
    for (uint32_t k = 0; k < hosted->site.node_count; k++) {
        char why[120];
        bool silent = pst_link_silent(&hosted->run, k, now_ns, why);
        if (silent && !hosted->silent[k])
            pst_node_log(node,
                         "graph %s, incarnation %llu: no connection to node %s at %s can be made: %s; tries again",
                         hosted->graph_name, (unsigned long long)hosted->incarnation, hosted->site.name[k],
                         hosted->site.address[k], why[0] != '\0' ? why : "it does not answer");
        else if (!silent && hosted->silent[k])
            pst_node_log(node, "graph %s, incarnation %llu: there is a connection to node %s again", hosted->graph_name,
                         (unsigned long long)hosted->incarnation, hosted->site.name[k]);
        hosted->silent[k] = silent;
    }
}

static void runs_step(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->hosted_count; i++) {
        struct hosted *hosted = node->hosted[i];
        attach(node, hosted);
        if (!hosted->superseded) {
            ready_tell(node, hosted);
            part_tell(node, hosted);
            waiting_tell(node, hosted);
            links_look(node, hosted);
            pst_takeover_dead(node, hosted);
        }
        if (!pst_takeover_step(node, hosted))
            pst_mover_step(node, hosted);
        if (may_finish(hosted))
            pst_run_finish(&hosted->run);
        if (atomic_load_explicit(&hosted->workers_left, memory_order_acquire) != 0)
            continue;
        if (pst_checkpoint_busy(&hosted->run) ||
            pst_mover_starting(hosted->mover)) /* its job wakes a worker that has nothing to do with it any more */
            (void)node->world->alarm(node->world->self, 0, node->world->now_ns(node->world->self) + JOB_NS);
        else
            run_ended(node, i--);
    }
    for (uint32_t i = 0; i < node->beginning_count; i++)
        if (atomic_load_explicit(&node->beginning[i]->begin_done, memory_order_acquire))
            begin_ended(node, i--);
    pst_tidings_step(node);
    for (uint32_t i = 0; i < node->start_count; i++) {
        if (hosted_find(node, node->start[i]->graph) != NULL || beginning_find(node, node->start[i]->graph) != NULL)
            continue; /* K2: not yet */
        struct pst_arena arena = node->start_arena[i];
        Pst__Control *message = node->start[i];
        node->start[i] = node->start[--node->start_count];
        node->start_arena[i] = node->start_arena[node->start_count];
        i--;
        start_now(node, message, &arena);
    }
}

static bool must_stop(struct pst_node *node)
{
    int interrupts = node->options.interrupts != NULL ? atomic_load(node->options.interrupts) : 0;
    if (interrupts == 0 && node->error == PST_OK)
        return false;
    if (interrupts == 1 && node->error == PST_OK && !node->left && !pst_leave_step(node))
        return false;
    if (!node->left) { /* the others need not find out */
        Pst__Stop stop = PST__STOP__INIT;
        Pst__Control message = PST__CONTROL__INIT;
        message.body_case = PST__CONTROL__BODY_STOP;
        message.stop = &stop;
        node->left = true;
        pst_node_log(node, "stops: %s", node->error == PST_OK ? "it was told to" : node->why);
        if (node->duty == NULL)
            pst_node_tell(node, &message);
    }
    for (uint32_t i = 0; i < node->hosted_count; i++)
        supersede(node->hosted[i]);
    for (uint32_t i = 0; i < node->beginning_count; i++)
        node->beginning[i]->superseded = true;
    pst_savepoint_halt(node);
    while (node->start_count != 0)
        pst_arena_fini(&node->start_arena[--node->start_count]);
    return node->hosted_count == 0 && node->beginning_count == 0;
}

static void listen_on(struct pst_node *node, uint32_t index, const char *address)
{
    const struct pst_world *world = node->world;
    if (address == NULL || node->error != PST_OK)
        return;
    node->error = world->net_listen(world->self, 0, address, &node->listeners[index]);
    if (node->error != PST_OK)
        (void)snprintf(node->why, sizeof node->why, "cannot listen on %.100s: %s", address, pst_system_error());
}

/* Parts that this node has left there, of whatever graph. What runs meanwhile looks by itself. */
static void disk_job(void *argument)
{
    struct pst_node *node = argument;
    struct pst_text names = {0};
    struct pst_arena arena;
    pst_arena_init(&arena);
    if (node->world->folder_list(node->world->self, node->options.checkpoints, &names) != PST_OK)
        pst_text_fini(&names); /* it is not there yet */
    for (char *at = names.bytes, *end; at != NULL && *at != '\0'; at = end + 1) {
        end = strchr(at, '\n');
        *end = '\0';
        const char *folder = parts_folder(node, &arena, at);
        if (folder != NULL)
            pst_disk_look(&node->disk, node->world, folder, true);
    }
    pst_text_fini(&names);
    pst_arena_fini(&arena);
}

/* The first step: from now on it can be reached. */
static void open_up(struct pst_node *node)
{
    const struct pst_world *world = node->world;
    int rc = node->folder_read ? PST_OK : pst_identity_read(node);
    node->folder_read = true;
    if (rc == PST_OK && node->duty != NULL)
        rc = pst_coordinator_restore(node);
    if (rc == PST_EAGAIN)
        return;
    node->opened = true;
    node->opened_ns = world->now_ns(world->self);
    node->error = rc;
    listen_on(node, 0, node->options.listen);
    listen_on(node, 1, node->options.admin);
    if (node->error == PST_OK && (node->error = pst_metrics_listen(node)) != PST_OK)
        (void)snprintf(node->why, sizeof node->why, "cannot listen on %.100s for metrics: %s", node->options.metrics,
                       pst_system_error());
    if (node->error != PST_OK)
        return;
    if (node->options.checkpoints != NULL && world->work(world->self, 0, disk_job, node) != PST_OK)
        disk_job(node);
    const char *address = world->net_address(world->self, node->listeners[0]);
    (void)snprintf(node->address, sizeof node->address, "%s",
                   node->options.advertise != NULL ? node->options.advertise : address);
    pst_node_log(node, "node %s listens on %s%s", node->options.name, address,
                 node->options.insecure ? ", without TLS: whoever reaches this machine's loopback may do anything"
                                        : "");
    if (node->duty != NULL)
        pst_coordinator_opens(node);
    if (node->options.listens != NULL)
        node->options.listens(node->options.log_argument, address);
}

static pst_step keeper_step(struct pst_node *node)
{
    node->any = false;
    if (!node->opened)
        open_up(node);
    if (node->opened) {
        if (node->options.store_open != NULL)
            pst_election_step(node);
        pst_peers_step(node);
        pst_leave_look(node);
        if (node->duty != NULL)
            pst_coordinator_step(node);
        runs_step(node);
        pst_probes_step(node);
        pst_loads_tell(node);
        pst_results_step(node);
        pst_savepoint_step(node);
        pst_metrics_step(node);
    }
    if (must_stop(node)) {
        atomic_store(&node->stopping, true);
        for (uint32_t w = 0; w < node->worker_count; w++)
            node->world->wake(node->world->self, 1 + w);
        pst_metrics_fini(node);
        pst_election_end(node); /* by the worker whose they are */
        pst_probes_fini(node);
        pst_peers_fini(node);
        return PST_STEP_DONE;
    }
    return node->any ? PST_STEP_MORE : PST_STEP_IDLE;
}

pst_step pst_node_step(void *argument, uint32_t worker)
{
    struct pst_node *node = argument;
    return worker == 0 ? keeper_step(node) : worker_step(node, worker - 1);
}

/* ---- life ---- */

int pst_node_new(struct pst_world *world, const struct pst_node_options *options, struct pst_node **ret_node)
{
    struct pst_node *node = pst_calloc(1, sizeof *node);
    if (node == NULL)
        return PST_ENOMEM;
    node->world = world;
    node->options = *options;
    pst_disk_init(&node->disk, options->disk_bytes_max);
    (void)pst_engine_host(); /* filled before there are threads */
    if (node->options.dead_ns == 0)
        node->options.dead_ns = (uint64_t)DEAD_SECONDS * 1000 * 1000 * 1000;
    node->worker_count = options->worker_count != 0 ? options->worker_count : world->cores(world->self);
    if (node->worker_count > PST_WORKERS_MAX - 1)
        node->worker_count = PST_WORKERS_MAX - 1;
    node->attachments = pst_calloc(node->worker_count, sizeof *node->attachments);
    int rc = node->attachments != NULL ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK && options->store_open == NULL && options->join == NULL)
        rc = pst_coordinator_new(node, options->store);
    else if (rc == PST_OK && options->store_open == NULL)
        (void)snprintf(node->coordinator_address, sizeof node->coordinator_address, "%s", options->join);
    if (rc != PST_OK) {
        (void)pst_node_free(node, node->why);
        return rc;
    }
    *ret_node = node;
    return PST_OK;
}

uint32_t pst_node_workers(const struct pst_node *node) { return 1 + node->worker_count; }

int pst_node_free(struct pst_node *node, char ret_why[240])
{
    int interrupts = node->options.interrupts != NULL ? atomic_load(node->options.interrupts) : 0;
    int rc = node->error != PST_OK ? node->error : interrupts != 0 ? PST_ESTOPPED : PST_OK;
    if (ret_why != node->why)
        (void)snprintf(ret_why, sizeof node->why, "%s", node->why);
    for (uint32_t i = 0; i < node->hosted_count; i++) { /* its workers were stopped before they were done */
        node->hosted[i]->run.discard = false;
        (void)pst_run_end(&node->hosted[i]->run);
        hosted_free(node->hosted[i]);
    }
    for (uint32_t i = 0; i < node->beginning_count; i++) {
        struct hosted *hosted = node->beginning[i];
        if (atomic_load(&hosted->begin_done) && hosted->begin_rc == PST_OK)
            (void)pst_run_end(&hosted->run);
        hosted_free(hosted);
    }
    while (node->start_count != 0)
        pst_arena_fini(&node->start_arena[--node->start_count]);
    pst_metrics_fini(node);
    pst_election_end(node);
    pst_probes_fini(node);
    pst_peers_fini(node);
    pst_results_fini(node);
    pst_savepoint_fini(node);
    pst_coordinator_free(node->duty);
    pst_disk_fini(&node->disk);
    pst_free(node->attachments);
    pst_free(node);
    return rc;
}
