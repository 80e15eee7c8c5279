/* tidings.c - see node.h: what a node says to a coordinator that has not heard it, whether that is another one now, or was away.
 *
 * A hello says what runs here and what has ended here. How a run has ended is kept, and told on each connection once, until the graph is
 * started again or stopped: so a run may end while nobody coordinates. */
#include "engine/mover.h"

#include <string.h>

/* ---- hello ---- */

static Pst__Running *running_add(Pst__Running *item, Pst__Running **list, size_t *count, const char *graph,
                                 uint64_t incarnation)
{
    pst__running__init(item);
    item->graph = (char *)(uintptr_t)graph;
    item->incarnation = incarnation;
    list[(*count)++] = item;
    return item;
}

/* What is being stopped does not count: it will not be told how that ends. */
void pst_tidings_hello(struct pst_node *node, struct tidings_hello *hello)
{
    uint32_t used = 0;
    pst__hello__init(&hello->body);
    hello->body.node = (char *)(uintptr_t)node->options.name;
    hello->body.role = PST__ROLE__NODE;
    hello->body.address = node->address;
    hello->body.cluster = (ProtobufCBinaryData){strlen(node->cluster), (uint8_t *)node->cluster};
    hello->body.workers = node->worker_count;
    hello->body.waits = hello->body.resumes = hello->body.probes = hello->body.parts = true;
    hello->body.streams = true;
    hello->body.keeps = hello->body.outlives = true;
    hello->body.product = (char *)(uintptr_t) "penstock";
    hello->body.running = hello->running;
    hello->body.ended = hello->ended;
    hello->body.moves = hello->moves;
    for (uint32_t i = 0; i < node->hosted_count; i++) {
        const struct hosted *hosted = node->hosted[i];
        if (hosted->superseded)
            continue;
        Pst__Running *running = running_add(&hello->items[used++], hello->running, &hello->body.n_running,
                                            hosted->graph_name, hosted->incarnation);
        running->move = pst_mover_last(hosted->mover);
        running->place = hosted->place;
        if (pst_mover_busy(hosted->mover))
            running_add(&hello->items[used++], hello->moves, &hello->body.n_moves, hosted->graph_name,
                        hosted->incarnation)
                ->move = pst_mover_last(hosted->mover);
    }
    for (uint32_t i = 0; i < node->beginning_count; i++)
        if (!node->beginning[i]->superseded)
            running_add(&hello->items[used++], hello->running, &hello->body.n_running, node->beginning[i]->graph_name,
                        node->beginning[i]->incarnation)
                ->place = node->beginning[i]->place;
    for (uint32_t i = 0; i < node->start_count; i++)
        running_add(&hello->items[used++], hello->running, &hello->body.n_running, node->start[i]->graph,
                    node->start[i]->incarnation)
            ->place = node->start[i]->start->this_node + 1;
    for (uint32_t i = 0; i < node->ending_count; i++)
        running_add(&hello->items[used++], hello->ended, &hello->body.n_ended, node->endings[i].graph_name,
                    node->endings[i].incarnation)
            ->place = node->endings[i].place;
}

/* ---- what has ended ---- */

void pst_tidings_forget(struct pst_node *node, const char *graph, uint64_t incarnation)
{
    for (uint32_t i = 0; i < node->ending_count; i++)
        if (strcmp(node->endings[i].graph_name, graph) == 0 && node->endings[i].incarnation <= incarnation)
            node->endings[i--] = node->endings[--node->ending_count];
}

void pst_tidings_forget_former(struct pst_node *node, const char *graph, uint64_t incarnation, uint32_t place)
{
    for (uint32_t i = 0; i < node->ending_count; i++)
        if (strcmp(node->endings[i].graph_name, graph) == 0 && node->endings[i].incarnation == incarnation &&
            node->endings[i].place != place)
            node->endings[i--] = node->endings[--node->ending_count];
}

struct ending *pst_tidings_ending(struct pst_node *node, const char *graph, uint64_t incarnation)
{
    pst_tidings_forget(node, graph, incarnation);
    if (node->ending_count == NODE_GRAPHS_MAX) /* of a graph that no coordinator has asked about for long */
        memmove(node->endings, node->endings + 1, --node->ending_count * sizeof *node->endings);
    struct ending *ending = &node->endings[node->ending_count++];
    *ending = (struct ending){.incarnation = incarnation};
    (void)snprintf(ending->graph_name, sizeof ending->graph_name, "%s", graph);
    return ending;
}

/* The connection on which the coordinator hears of it: UINT64_MAX: it is this node; 0: there is none. */
uint64_t pst_tidings_to(const struct pst_node *node)
{
    bool up = node->upstream != NULL && node->upstream->state == PEER_UP && !node->upstream->closing;
    return node->duty != NULL ? UINT64_MAX : up ? node->upstream->id : 0;
}

void pst_tidings_begin(struct pst_node *node)
{
    for (uint32_t i = 0; i < node->ending_count; i++)
        node->endings[i].told = 0;
    for (uint32_t i = 0; i < node->hosted_count; i++)
        node->hosted[i]->part_told = node->hosted[i]->ready_told = 0;
}

static void ending_tell(struct pst_node *node, const struct ending *ending)
{
    Pst__Ended body = PST__ENDED__INIT;
    Pst__Control message = PST__CONTROL__INIT;
    body.error = ending->error;
    body.place = ending->place;
    body.lost = ending->lost;
    body.sentence = (char *)(uintptr_t)ending->sentence;
    body.node = (char *)(uintptr_t)node->options.name;
    body.rows = ending->rows;
    body.rows_out = ending->rows_out;
    body.watermark = ending->watermark;
    message.graph = (char *)(uintptr_t)ending->graph_name;
    message.incarnation = ending->incarnation;
    message.body_case = PST__CONTROL__BODY_ENDED;
    message.ended = &body;
    pst_node_tell(node, &message);
}

void pst_tidings_step(struct pst_node *node)
{
    uint64_t to = pst_tidings_to(node);
    for (uint32_t i = 0; to != 0 && i < node->ending_count; i++) {
        if (node->endings[i].told == to)
            continue;
        node->endings[i].told = to;
        struct ending ending = node->endings[i]; /* being told, it may be forgotten */
        ending_tell(node, &ending);
        node->any = true;
        i = UINT32_MAX; /* from the first one again: there may be others now */
    }
}
