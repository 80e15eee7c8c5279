/* metrics.c - see metrics.h. */
#include "engine/metrics.h"

#include "engine/loads.h"
#include "engine/mover.h"
#include "engine/request.h"

#include <string.h>

#define METRICS_NS (UINT64_C(5) * 1000 * 1000 * 1000)
#define METRICS_END_NS (UINT64_C(1) * 1000 * 1000 * 1000)
#define METRICS_FRESH_NS (UINT64_C(200) * 1000 * 1000)

/* ---- the text ---- */

struct scraped { /* one run, looked at once */
    const struct hosted *hosted;
    struct load_lists lists;
};

struct text {
    struct pst_text *out;
    struct scraped *runs;
    uint32_t run_count;
};

static void family(struct pst_text *out, const char *name, const char *type, const char *help)
{
    (void)pst_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* In quotes, with what ends them, lines and escapes escaped. */
static void label(struct pst_text *out, const char *name, const char *value)
{
    (void)pst_text_printf(out, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            (void)pst_text_add(out, "\\n", 2);
        else if (*value == '"' || *value == '\\')
            (void)pst_text_printf(out, "\\%c", *value);
        else
            (void)pst_text_add(out, value, 1);
    }
    (void)pst_text_add(out, "\"", 1);
}

static void one(struct pst_text *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    (void)pst_text_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

/* Figures of partitions: where each stands in its load, and how it is written. */
enum kind { COUNT, SECONDS, EVENT_TIME, LAG };
static const struct metric {
    const char *name, *type, *help;
    size_t offset;
    enum kind kind;
} partition_metrics[] = {
#define AT(field) offsetof(Pst__PartitionLoad, field)
    {"penstock_rows_total", "counter", "Rows taken in by a partition of an operator.", AT(rows), COUNT},
    {"penstock_rows_out_total", "counter", "Rows put out, on all outputs.", AT(rows_out), COUNT},
    {"penstock_busy_seconds_total", "counter", "Time in which it did something.", AT(busy_ns), SECONDS},
    {"penstock_blocked_seconds_total", "counter", "Time in which what follows it took no more.", AT(blocked_ns),
     SECONDS},
    {"penstock_enclave_seconds_total", "counter",
     "Processor time of the worker that its operator runs in, where that is in an enclave; beside the others.",
     AT(worker_ns), SECONDS},
    {"penstock_idle_seconds_total", "counter", "Time in which there was nothing to do for it.", AT(idle_ns), SECONDS},
    {"penstock_queue_bytes", "gauge", "Bytes of frames that wait for it.", AT(queue_bytes), COUNT},
    {"penstock_state_bytes", "gauge", "Bytes of its state, inside and outside of memory.", AT(state_bytes), COUNT},
    {"penstock_watermark_event_time", "gauge", "Event time it has reached.", AT(watermark), EVENT_TIME},
    {"penstock_watermark_lag_event_time", "gauge",
     "How far it is behind the newest event time that any partition of the graph here has heard of.", AT(watermark),
     LAG},
#undef AT
};
static const struct metric edge_metrics[] = {
#define AT(field) offsetof(Pst__EdgeLoad, field)
    {"penstock_edge_rows_total", "counter", "Rows from one operator to another, of producers on this node.", AT(rows),
     COUNT},
    {"penstock_edge_bytes_total", "counter", "Bytes of these rows, as frames have them.", AT(bytes), COUNT},
    {"penstock_edge_queue_bytes", "gauge", "Bytes of frames that wait on this node.", AT(queue_bytes), COUNT},
    {"penstock_edge_queue_limit_bytes", "gauge", "Bytes that may wait in queues on this node.", AT(queue_bytes_max),
     COUNT},
#undef AT
};

static void value_print(struct pst_text *out, const struct metric *metric, const void *load, int64_t newest)
{
    const char *at = (const char *)load + metric->offset;
    uint64_t value;
    int64_t time;
    memcpy(&value, at, sizeof value);
    memcpy(&time, at, sizeof time);
    if (metric->kind == SECONDS)
        (void)pst_text_printf(out, "} %llu.%09llu\n", (unsigned long long)(value / 1000000000),
                              (unsigned long long)(value % 1000000000));
    else if (metric->kind == COUNT)
        (void)pst_text_printf(out, "} %llu\n", (unsigned long long)value);
    else if (metric->kind == EVENT_TIME)
        (void)pst_text_printf(out, "} %lld\n", (long long)time);
    else
        (void)pst_text_printf(out, "} %.0f\n", newest > time ? (double)newest - (double)time : 0.0);
}

/* A time that is not known yet is left out. */
static bool is_known(const struct metric *metric, const Pst__PartitionLoad *load)
{
    return (metric->kind != EVENT_TIME && metric->kind != LAG) || load->watermark != INT64_MIN;
}

static void partitions_print(const struct text *text, const struct metric *metric)
{
    struct pst_text *out = text->out;
    family(out, metric->name, metric->type, metric->help);
    for (uint32_t r = 0; r < text->run_count; r++) {
        const struct scraped *run = &text->runs[r];
        for (uint32_t i = 0; i < run->lists.partition_count && out->count < METRICS_BYTES_MAX; i++) {
            const Pst__PartitionLoad *load = run->lists.partitions[i];
            if (!is_known(metric, load))
                continue;
            (void)pst_text_printf(out, "%s{", metric->name);
            label(out, "graph", run->hosted->graph_name);
            label(out, ",operator", load->operator_id);
            (void)pst_text_printf(out, ",partition=\"%u\"", load->partition);
            value_print(out, metric, load, run->lists.newest);
        }
    }
}

static void edges_print(const struct text *text, const struct metric *metric)
{
    struct pst_text *out = text->out;
    family(out, metric->name, metric->type, metric->help);
    for (uint32_t r = 0; r < text->run_count; r++) {
        const struct scraped *run = &text->runs[r];
        for (uint32_t i = 0; i < run->lists.edge_count && out->count < METRICS_BYTES_MAX; i++) {
            const Pst__EdgeLoad *load = run->lists.edges[i];
            (void)pst_text_printf(out, "%s{", metric->name);
            label(out, "graph", run->hosted->graph_name);
            label(out, ",from", load->from);
            label(out, ",to", load->operator_id);
            (void)pst_text_printf(out, ",input=\"%u\"", load->input);
            value_print(out, metric, load, 0);
        }
    }
}

static void node_print(struct pst_node *node, struct pst_text *out)
{
    uint64_t sent, received;
    family(out, "penstock_build_info", "gauge", "The program, its version in a label.");
    (void)pst_text_printf(out, "penstock_build_info{");
    label(out, "version", node->options.version != NULL ? node->options.version : "");
    label(out, ",node", node->options.name);
    (void)pst_text_printf(out, "} 1\n");
    pst_node_link_bytes(node, &sent, &received);
    if (node->options.memory != NULL)
        one(out, "process_resident_memory_bytes", "gauge", "Memory of the process.", node->options.memory());
    one(out, "penstock_disk_bytes", "gauge", "Bytes that this node's checkpoints and spilled pages take.",
        pst_disk_used(&node->disk));
    one(out, "penstock_disk_limit_bytes", "gauge", "Bytes that they may take; 0: as many as there are.",
        node->disk.bytes_max);
    one(out, "penstock_workers", "gauge", "Threads that run graphs.", node->worker_count);
    one(out, "penstock_link_sent_bytes_total", "counter", "Bytes sent to other nodes for graphs.", sent);
    one(out, "penstock_link_received_bytes_total", "counter", "Bytes received from other nodes for graphs.", received);
    bool connected = node->duty != NULL || (node->upstream != NULL && node->upstream->state == PEER_UP);
    one(out, "penstock_coordinator", "gauge", "1: this node coordinates.", node->duty != NULL);
    one(out, "penstock_coordinator_connected", "gauge", "1: it is the coordinator, or connected to it.", connected);
}

/* What the coordinator alone knows. */
static void cluster_print(const struct coordinator *duty, struct pst_text *out)
{
    uint32_t alive = 0, silent = 0, dead = 0;
    for (uint32_t i = 0; i < duty->member_count; i++) {
        const struct member *member = &duty->members[i];
        *(!member->alive ? &dead : member->lost_ns != 0 ? &silent : &alive) += 1;
    }
    family(out, "penstock_cluster_nodes", "gauge", "Nodes of the cluster, as its coordinator sees them.");
    (void)pst_text_printf(out,
                          "penstock_cluster_nodes{state=\"alive\"} %u\npenstock_cluster_nodes{state=\"silent\"} %u\n"
                          "penstock_cluster_nodes{state=\"dead\"} %u\n",
                          alive, silent, dead);
    family(out, "penstock_graph_state", "gauge", "1 for the state that a graph is in.");
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        (void)pst_text_printf(out, "penstock_graph_state{");
        label(out, "graph", duty->graphs[i]->start->graph);
        label(out, ",state", pst_graph_state_names[duty->graphs[i]->state]);
        (void)pst_text_printf(out, "} 1\n");
    }
    family(out, "penstock_moves_running", "gauge", "Moves of a graph's buckets that are under way.");
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        (void)pst_text_printf(out, "penstock_moves_running{");
        label(out, "graph", duty->graphs[i]->start->graph);
        (void)pst_text_printf(out, "} %d\n", pst_moves_under_way(duty->graphs[i]));
    }
}

static void runs_print(const struct text *text)
{
    struct pst_text *out = text->out;
    family(out, "penstock_run_incarnation", "gauge",
           "How often a graph that runs here was started; its counters begin anew with each.");
    for (uint32_t r = 0; r < text->run_count; r++) {
        (void)pst_text_printf(out, "penstock_run_incarnation{");
        label(out, "graph", text->runs[r].hosted->graph_name);
        (void)pst_text_printf(out, "} %llu\n", (unsigned long long)text->runs[r].hosted->incarnation);
    }
    for (size_t i = 0; i < sizeof partition_metrics / sizeof *partition_metrics; i++)
        partitions_print(text, &partition_metrics[i]);
    for (size_t i = 0; i < sizeof edge_metrics / sizeof *edge_metrics; i++)
        edges_print(text, &edge_metrics[i]);
}

int pst_metrics_text(struct pst_node *node, struct pst_text *out)
{
    struct scraped runs[NODE_GRAPHS_MAX];
    struct text text = {.out = out, .runs = runs};
    struct pst_arena arena;
    uint64_t now_ns = node->world->now_ns(node->world->self);
    pst_arena_init(&arena);
    int rc = PST_OK;
    for (uint32_t i = 0; i < node->hosted_count && rc == PST_OK; i++) {
        struct scraped *run = &runs[text.run_count];
        if (node->hosted[i]->superseded)
            continue;
        run->hosted = node->hosted[i];
        rc = pst_loads_look(run->hosted, now_ns, &arena, &run->lists) ? PST_OK : PST_ENOMEM;
        text.run_count += rc == PST_OK;
    }
    node_print(node, out);
    if (node->duty != NULL)
        cluster_print(node->duty, out);
    runs_print(&text);
    pst_arena_fini(&arena);
    bool full = out->count >= METRICS_BYTES_MAX;
    one(out, "penstock_metrics_truncated", "gauge", "1: there are more figures than fit here.", full);
    return out->failed ? PST_ENOMEM : full ? PST_EFULL : rc;
}

/* ---- connections ---- */

static void scrape_close(struct pst_node *node, struct scrape *scrape)
{
    node->world->net_close(node->world->self, scrape->conn);
    *scrape = (struct scrape){0};
    node->any = true;
}

static const char *sentence_of(int status)
{
    return status == 200   ? "OK"
           : status == 404 ? "Not Found"
           : status == 405 ? "Method Not Allowed"
           : status == 500 ? "Internal Server Error"
                           : "Bad Request";
}

/* Made anew when it is too old: who asks all the time costs no more than who asks now and then. */
static int text_fresh(struct pst_node *node, uint64_t now_ns)
{
    struct pst_text *text = &node->metrics_text;
    if (text->count != 0 && now_ns < node->metrics_ns + METRICS_FRESH_NS)
        return PST_OK;
    pst_text_fini(text);
    node->metrics_ns = now_ns;
    int rc = pst_metrics_text(node, text);
    if (rc == PST_ENOMEM)
        pst_text_fini(text);
    return rc == PST_ENOMEM ? rc : PST_OK;
}

static int answer(struct pst_node *node, struct scrape *scrape, int status, uint64_t now_ns)
{
    struct pst_text reply = {0};
    if (status == 200 && text_fresh(node, now_ns) != PST_OK)
        status = 500;
    const char *said = sentence_of(status);
    size_t body_bytes = status == 200 ? node->metrics_text.count : strlen(said) + 1;
    (void)pst_text_printf(&reply,
                          "HTTP/1.0 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
                          status, said, body_bytes, status == 405 ? "Allow: GET\r\n" : "");
    if (status == 200)
        (void)pst_text_add(&reply, node->metrics_text.bytes, node->metrics_text.count);
    else
        (void)pst_text_printf(&reply, "%s\n", said);
    int rc =
        reply.failed ? PST_ENOMEM : node->world->net_send(node->world->self, scrape->conn, reply.bytes, reply.count);
    pst_text_fini(&reply);
    return rc;
}

static void scrape_step(struct pst_node *node, struct scrape *scrape)
{
    const struct pst_world *world = node->world;
    uint64_t now_ns = world->now_ns(world->self);
    const void *head;
    size_t head_bytes;
    int rc = world->net_receive(world->self, scrape->conn, &head, &head_bytes);
    if (rc == PST_OK && !scrape->answered) {
        rc = answer(node, scrape, pst_metrics_request(head, head_bytes), now_ns);
        scrape->answered = true;
        scrape->deadline_ns = now_ns + METRICS_END_NS; /* it closes when it has all, or is closed then */
        node->any = true;
    }
    if ((rc != PST_OK && rc != PST_EAGAIN) || now_ns >= scrape->deadline_ns)
        scrape_close(node, scrape);
    else
        (void)world->alarm(world->self, 0, scrape->deadline_ns);
}

static bool scrape_take(struct pst_node *node)
{
    const struct pst_world *world = node->world;
    char peer[PST_PEER_BYTES];
    uint32_t i = 0;
    while (i < METRICS_CONNS_MAX && node->scrapes[i].conn != NULL)
        i++;
    struct scrape *scrape = &node->scrapes[i];
    if (i == METRICS_CONNS_MAX || world->net_accept(world->self, node->metrics_listener, &scrape->conn) != PST_OK)
        return false; /* who comes now waits to be accepted */
    scrape->deadline_ns = world->now_ns(world->self) + METRICS_NS;
    if (world->net_peer(world->self, scrape->conn, peer) != PST_OK) {
        scrape_close(node, scrape);
        return true;
    }
    world->net_limit(world->self, scrape->conn, METRICS_REQUEST_BYTES_MAX);
    return true;
}

int pst_metrics_listen(struct pst_node *node)
{
    const struct pst_world *world = node->world;
    struct pst_text address = {0};
    if (node->options.metrics == NULL)
        return PST_OK;
    int rc = pst_text_printf(&address, "http:%s", node->options.metrics);
    if (rc == PST_OK)
        rc = world->net_listen(world->self, 0, address.bytes, &node->metrics_listener);
    pst_text_fini(&address);
    if (rc == PST_OK)
        pst_node_log(node, "metrics at http://%s/metrics", world->net_address(world->self, node->metrics_listener));
    return rc;
}

void pst_metrics_step(struct pst_node *node)
{
    if (node->metrics_listener == NULL)
        return;
    for (uint32_t i = 0; i < METRICS_CONNS_MAX; i++)
        if (node->scrapes[i].conn != NULL)
            scrape_step(node, &node->scrapes[i]);
    for (uint32_t i = 0; i < METRICS_CONNS_MAX && scrape_take(node); i++)
        node->any = true; /* and is looked at in the next step */
}

void pst_metrics_fini(struct pst_node *node)
{
    for (uint32_t i = 0; i < METRICS_CONNS_MAX; i++)
        if (node->scrapes[i].conn != NULL)
            scrape_close(node, &node->scrapes[i]);
    if (node->metrics_listener != NULL)
        node->world->net_unlisten(node->world->self, node->metrics_listener);
    node->metrics_listener = NULL;
    pst_text_fini(&node->metrics_text);
}
