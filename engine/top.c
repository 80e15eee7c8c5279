/* top.c - see loads.h: what the coordinator knows of the runs, as a table or as one object.
 *
 * A rate is of the time between the two last messages of a node; a share is of all partitions' time in it. What was not heard of for some
 * seconds is left out. */
#include "engine/loads.h"
#include "engine/mover.h"

#include <string.h>

enum { TOP_BYTES_MAX = 1024 * 1024, TOP_PARTITIONS_MAX = 1024 };

struct figures { /* of some loads together */
    uint32_t count;
    double rows, rows_out, rows_left, bytes; /* a second; left: to other nodes */
    double busy, blocked, idle;              /* shares */
    uint64_t queue_bytes, queue_bytes_max, state_bytes, rows_total, bytes_total;
    int64_t watermark; /* the lowest; INT64_MIN: one has none yet */
};

struct shown { /* what is shown of one graph */
    struct pst_node *node;
    const struct graph_record *record;
    int64_t newest; /* the highest watermark of its source; INT64_MIN: none */
    bool json;
    struct pst_text *out;
};

/* ---- figures ---- */

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return seconds > 0 && now > before ? (double)(now - before) / seconds : 0;
}

static void add(struct figures *figures, const struct load *load)
{
    const struct load_sample *now = &load->now, *before = &load->before;
    bool two = before->time_ns != 0 && now->time_ns > before->time_ns;
    double seconds = two ? (double)(now->time_ns - before->time_ns) / 1e9 : 0;
    figures->rows += rate(now->rows, before->rows, seconds);
    figures->rows_out += rate(now->rows_out, before->rows_out, seconds);
    figures->bytes += rate(now->bytes, before->bytes, seconds);
    figures->rows_left += rate(now->rows_left, before->rows_left, seconds);
    /* Where its worker in an enclave did more than its thread, the thread had to wait for that. */
    double thread = rate(now->busy_ns, before->busy_ns, seconds) / 1e9,
           idle = rate(now->idle_ns, before->idle_ns, seconds) / 1e9;
    double worker = rate(now->worker_ns, before->worker_ns, seconds) / 1e9,
           more = worker > thread ? worker - thread : 0;
    figures->busy += thread + (more < idle ? more : idle);
    figures->blocked += rate(now->blocked_ns, before->blocked_ns, seconds) / 1e9;
    figures->idle += more < idle ? idle - more : 0;
    figures->queue_bytes += now->queue_bytes;
    figures->queue_bytes_max += now->queue_bytes_max;
    figures->state_bytes += now->state_bytes;
    figures->rows_total += now->rows;
    figures->bytes_total += now->bytes;
    figures->watermark =
        figures->count == 0 || now->watermark < figures->watermark ? now->watermark : figures->watermark;
    figures->count++;
}

/* Each a part of 1, whatever they were parts of. */
static void shares(struct figures *figures)
{
    double all = figures->busy + figures->blocked + figures->idle;
    if (all <= 0)
        return;
    figures->busy /= all;
    figures->blocked /= all;
    figures->idle /= all;
}

static bool is_fresh(const struct shown *view, const struct load *load)
{
    const struct pst_world *world = view->node->world;
    return load->taken && load->now.time_ns != 0 && world->now_ns(world->self) - load->heard_ns < LOAD_STALE_NS;
}

static struct figures sum(const struct shown *view, bool edge, uint32_t operator_index, uint32_t number)
{
    const struct loads *loads = &view->record->loads;
    struct figures figures = {.watermark = INT64_MIN};
    for (uint32_t i = 0; loads->incarnation == view->record->start->incarnation && i < loads->capacity; i++) {
        const struct load *load = &loads->items[i];
        if (is_fresh(view, load) && load->edge == edge && load->operator_index == operator_index &&
            (number == UINT32_MAX || load->number == number))
            add(&figures, load);
    }
    shares(&figures);
    return figures;
}

static int64_t newest_of(const struct shown *view)
{
    const struct loads *loads = &view->record->loads;
    int64_t newest = INT64_MIN;
    for (uint32_t i = 0; loads->incarnation == view->record->start->incarnation && i < loads->capacity; i++) {
        const struct load *load = &loads->items[i];
        if (load->taken && !load->edge && load->operator_index == view->record->graph->source &&
            load->now.watermark > newest)
            newest = load->now.watermark;
    }
    return newest;
}

/* False: it is not known. */
static bool lag_of(const struct shown *view, const struct figures *figures, int64_t *ret_lag)
{
    bool known = view->newest != INT64_MIN && figures->watermark != INT64_MIN;
    if (known && __builtin_sub_overflow(view->newest, figures->watermark, ret_lag))
        known = false;
    if (known && *ret_lag < 0)
        *ret_lag = 0;
    return known;
}

/* ---- words ---- */

/* "1.2M": at most five characters. */
static void short_number(char text[16], double value)
{
    static const char units[] = " kMGTP";
    uint32_t unit = 0;
    for (; value >= 999.5 && unit < 5; unit++)
        value /= 1000;
    if (unit == 0)
        (void)snprintf(text, 16, "%.0f", value);
    else
        (void)snprintf(text, 16, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

static void lag_text(char text[16], bool known, int64_t lag)
{
    if (known)
        short_number(text, (double)lag);
    else
        (void)snprintf(text, 16, "-");
}

static void signed_json(struct pst_text *out, const char *name, bool known, int64_t value)
{
    if (known)
        (void)pst_text_printf(out, ",\"%s\":%lld", name, (long long)value);
    else
        (void)pst_text_printf(out, ",\"%s\":null", name);
}

/* ---- operators ---- */

static void figures_json(const struct shown *view, const struct figures *figures)
{
    int64_t lag = 0;
    bool known = lag_of(view, figures, &lag);
    (void)pst_text_printf(view->out,
                          ",\"rows_per_s\":%.1f,\"rows_out_per_s\":%.1f,\"rows\":%llu,\"busy\":%.4f,\"blocked\":%.4f,"
                          "\"idle\":%.4f,\"queue_bytes\":%llu,\"state_bytes\":%llu",
                          figures->rows, figures->rows_out, (unsigned long long)figures->rows_total, figures->busy,
                          figures->blocked, figures->idle, (unsigned long long)figures->queue_bytes,
                          (unsigned long long)figures->state_bytes);
    signed_json(view->out, "watermark", figures->watermark != INT64_MIN, figures->watermark);
    signed_json(view->out, "lag", known, lag);
}

static void partitions_json(const struct shown *view, uint32_t n)
{
    const struct loads *loads = &view->record->loads;
    (void)pst_text_printf(view->out, ",\"partitions\":[");
    for (uint32_t i = 0, shown = 0; i < loads->capacity && shown < TOP_PARTITIONS_MAX; i++) {
        const struct load *load = &loads->items[i];
        if (!is_fresh(view, load) || load->edge || load->operator_index != n)
            continue;
        struct figures figures = {.watermark = INT64_MIN};
        add(&figures, load);
        shares(&figures);
        (void)pst_text_printf(view->out, "%s{\"partition\":%u,\"node\":", shown++ != 0 ? "," : "", load->number);
        (void)pst_text_json(view->out, view->record->start->start->nodes[load->node]);
        figures_json(view, &figures);
        (void)pst_text_printf(view->out, "}");
    }
    (void)pst_text_printf(view->out, "]");
}

static void operator_print(const struct shown *view, uint32_t n, bool first)
{
    const struct pst_graph_node *op = &view->record->graph->nodes[n];
    struct figures figures = sum(view, false, n, UINT32_MAX);
    char in[16], out[16], queue[16], lag_word[16], state[16];
    int64_t lag = 0;
    bool known = lag_of(view, &figures, &lag), stage = op->op->role == PST_ROLE_STATELESS;
    if (view->json) {
        (void)pst_text_printf(view->out, "%s{\"operator\":", first ? "" : ",");
        (void)pst_text_json(view->out, op->id);
        (void)pst_text_printf(view->out, ",\"inside\":");
        (void)pst_text_json(view->out, stage ? view->record->graph->nodes[op->host].id : NULL);
        figures_json(view, &figures);
        partitions_json(view, n);
        (void)pst_text_printf(view->out, "}");
        return;
    }
    short_number(in, figures.rows);
    short_number(out, figures.rows_out);
    short_number(queue, (double)figures.queue_bytes);
    short_number(state, (double)figures.state_bytes);
    lag_text(lag_word, known, lag);
    if (stage) /* its time is that of whom it runs in */
        (void)pst_text_printf(view->out, "  %-24.24s %5s %8s %8s   in %s\n", op->id, "", in, out,
                              view->record->graph->nodes[op->host].id);
    else
        (void)pst_text_printf(view->out, "  %-24.24s %5u %8s %8s %4.0f%% %6.0f%% %4.0f%% %7s %7s %7s\n", op->id,
                              figures.count, in, out, 100 * figures.busy, 100 * figures.blocked, 100 * figures.idle,
                              queue, lag_word, state);
}

/* ---- edges ---- */

static void edge_print(const struct shown *view, uint32_t n, uint32_t input, bool first)
{
    const struct pst_graph *graph = view->record->graph;
    const char *from = graph->nodes[graph->nodes[n].inputs[input].producer].id, *to = graph->nodes[n].id;
    struct figures figures = sum(view, true, n, input);
    double fill = figures.queue_bytes_max != 0 ? (double)figures.queue_bytes / (double)figures.queue_bytes_max : 0;
    char rows[16], bytes[16], name[80];
    if (view->json) {
        (void)pst_text_printf(view->out, "%s{\"from\":", first ? "" : ",");
        (void)pst_text_json(view->out, from);
        (void)pst_text_printf(view->out, ",\"to\":");
        (void)pst_text_json(view->out, to);
        (void)pst_text_printf(
            view->out,
            ",\"input\":%u,\"rows_per_s\":%.1f,\"rows_left_per_s\":%.1f,\"bytes_per_s\":%.1f,\"rows\":%llu,"
            "\"bytes\":%llu,"
            "\"queue_bytes\":%llu,\"queue_fill\":%.4f}",
            input, figures.rows, figures.rows_left, figures.bytes, (unsigned long long)figures.rows_total,
            (unsigned long long)figures.bytes_total, (unsigned long long)figures.queue_bytes, fill);
        return;
    }
    short_number(rows, figures.rows);
    short_number(bytes, figures.bytes);
    (void)snprintf(name, sizeof name, "%.32s -> %.32s", from, to);
    (void)pst_text_printf(view->out, "  %-48s %8s %8s %5.0f%%\n", name, rows, bytes, 100 * fill);
}

static void edges_print(const struct shown *view)
{
    const struct pst_graph *graph = view->record->graph;
    bool first = true;
    if (view->json)
        (void)pst_text_printf(view->out, "],\"edges\":[");
    else
        (void)pst_text_printf(view->out, "  %-48s %8s %8s %6s\n", "EDGE", "ROWS/S", "BYTES/S", "QUEUE");
    for (uint32_t n = 0; n < graph->node_count; n++)
        for (uint32_t i = 0; graph->nodes[n].op->role != PST_ROLE_STATELESS && i < graph->nodes[n].input_count; i++) {
            edge_print(view, n, i, first);
            first = false;
        }
}

/* ---- moves ---- */

/* Bytes: of the state, that are handed over. Lag: how far the new owner is behind the input. */
static void move_print(const struct shown *view)
{
    struct move_view move;
    bool runs = pst_moves_view(view->node, view->record, &move);
    if (view->json)
        (void)pst_text_printf(view->out, "],\"moves\":[");
    if (!runs)
        return;
    struct figures to = sum(view, false, move.operator_index, move.to),
                   from = sum(view, false, move.operator_index, move.from);
    const char *id = view->record->graph->nodes[move.operator_index].id;
    const char *node = move.to_node[0] != '\0' ? move.to_node : "other nodes";
    char bytes[16], lag_word[16];
    int64_t lag = 0;
    bool known = lag_of(view, &to, &lag);
    if (view->json) {
        (void)pst_text_printf(view->out, "{\"move\":%llu,\"step\":\"%s\",\"operator\":", (unsigned long long)move.id,
                              move.step);
        (void)pst_text_json(view->out, id);
        (void)pst_text_printf(view->out, ",\"from\":%u,\"to\":%u,\"node\":", move.from, move.to);
        (void)pst_text_json(view->out, move.to_node[0] != '\0' ? move.to_node : NULL);
        (void)pst_text_printf(view->out, ",\"relocates\":%s,\"places\":%u", move.relocates ? "true" : "false",
                              move.place_count);
        (void)pst_text_printf(view->out, ",\"buckets\":%u,\"bytes\":%llu,\"giver_bytes\":%llu,\"seconds\":%.3f",
                              move.bucket_count, (unsigned long long)move.bytes, (unsigned long long)from.state_bytes,
                              move.seconds);
        signed_json(view->out, "lag", known, lag);
        (void)pst_text_printf(view->out, ",\"seconds_left_max\":");
        (void)pst_text_printf(view->out, move.seconds_left >= 0 ? "%.3f}" : "null}", move.seconds_left);
        return;
    }
    short_number(bytes, (double)move.bytes);
    lag_text(lag_word, known, lag);
    (void)pst_text_printf(view->out, "  move %llu: ", (unsigned long long)move.id);
    if (move.partition_count != 0)
        (void)pst_text_printf(view->out, "%s in %u partitions", id, move.partition_count);
    else
        (void)pst_text_printf(view->out, "%s/%u to %s/%u on %s", id, move.from, id, move.to, node);
    if (move.place_count > 1 && move.partition_count == 0)
        (void)pst_text_printf(view->out, " and %u more", move.place_count - 1);
    (void)pst_text_printf(view->out, ", %u buckets: %s%s, %s bytes, lag %s, for %.1f s", move.bucket_count,
                          move.relocates ? "stop and go, " : "", move.step, bytes, lag_word, move.seconds);
    if (move.seconds_left >= 0)
        (void)pst_text_printf(view->out, ", given up in %.0f s", move.seconds_left);
    (void)pst_text_printf(view->out, "\n");
}

/* ---- graphs, nodes ---- */

static void graph_print(struct shown *view, bool first)
{
    const struct graph_record *record = view->record;
    const char *state = pst_graph_state_names[record->state];
    view->newest = newest_of(view);
    if (view->json) {
        (void)pst_text_printf(view->out, "%s{\"graph\":", first ? "" : ",");
        (void)pst_text_json(view->out, record->start->graph);
        (void)pst_text_printf(view->out, ",\"state\":\"%s\",\"incarnation\":%llu,\"operators\":[", state,
                              (unsigned long long)record->start->incarnation);
    } else {
        (void)pst_text_printf(view->out, "%s: %s, incarnation %llu\n", record->start->graph, state,
                              (unsigned long long)record->start->incarnation);
        (void)pst_text_printf(view->out, "  %-24s %5s %8s %8s %5s %7s %5s %7s %7s %7s\n", "OPERATOR", "PARTS", "ROWS/S",
                              "OUT/S", "BUSY", "BLOCKED", "IDLE", "QUEUE", "LAG", "STATE");
    }
    for (uint32_t n = 0; n < record->graph->node_count; n++)
        operator_print(view, n, n == 0);
    edges_print(view);
    move_print(view);
    if (view->json)
        (void)pst_text_printf(view->out, "]");
    pst_streams_print(record, view->json, view->out);
    if (view->json)
        (void)pst_text_printf(view->out, "}");
}

/* What was not heard of, or is dead, has no figures. */
static void member_print(const struct member *member, bool json, bool first, struct pst_text *out)
{
    const struct member_load *now = &member->load, *before = &member->load_before;
    bool two = before->time_ns != 0 && now->time_ns > before->time_ns;
    double seconds = two ? (double)(now->time_ns - before->time_ns) / 1e9 : 0;
    double sent = rate(now->sent_bytes, before->sent_bytes, seconds);
    double received = rate(now->received_bytes, before->received_bytes, seconds);
    const char *state = !member->alive ? "dead" : member->lost_ns != 0 ? "silent" : "alive";
    char memory[16] = "-", sent_word[16] = "-", received_word[16] = "-", disk[16] = "-", disk_max[16] = "";
    bool known = now->time_ns != 0;
    if (json) {
        (void)pst_text_printf(out, "%s{\"node\":", first ? "" : ",");
        (void)pst_text_json(out, member->name);
        (void)pst_text_printf(out, ",\"state\":\"%s\"", state);
        (void)pst_text_printf(out,
                              known ? ",\"memory_bytes\":%llu,\"sent_bytes_per_s\":%.1f,\"received_bytes_per_s\":%.1f"
                                      ",\"disk_bytes\":%llu"
                                    : ",\"memory_bytes\":null,\"sent_bytes_per_s\":null,\"received_bytes_per_s\":null"
                                      ",\"disk_bytes\":null",
                              (unsigned long long)now->memory_bytes, sent, received,
                              (unsigned long long)now->disk_bytes);
        (void)pst_text_printf(
            out, known && now->disk_bytes_max != 0 ? ",\"disk_bytes_max\":%llu}" : ",\"disk_bytes_max\":null}",
            (unsigned long long)now->disk_bytes_max);
        return;
    }
    if (known) {
        short_number(memory, (double)now->memory_bytes);
        short_number(disk, (double)now->disk_bytes);
        short_number(disk_max, (double)now->disk_bytes_max);
        short_number(sent_word, sent);
        short_number(received_word, received);
    }
    (void)pst_text_printf(out, "%-26.26s %6s %8s %8s %8s %7s%s%s\n", member->name, state, memory, sent_word,
                          received_word, disk, known && now->disk_bytes_max != 0 ? " of " : "",
                          known && now->disk_bytes_max != 0 ? disk_max : "");
}

int pst_top(struct pst_node *node, bool json, struct pst_text *out)
{
    const struct coordinator *duty = node->duty;
    bool cut = false;
    (void)pst_text_printf(out, json ? "\"nodes\":[" : "%-26s %6s %8s %8s %8s %7s\n", "NODE", "STATE", "MEMORY",
                          "SENT/S", "RECVD/S", "DISK");
    for (uint32_t i = 0; i < duty->member_count; i++)
        member_print(&duty->members[i], json, i == 0, out);
    if (json)
        (void)pst_text_printf(out, "],\"graphs\":[");
    for (uint32_t i = 0; i < duty->graph_count && !cut; i++) {
        struct shown view = {.node = node, .record = duty->graphs[i], .json = json, .out = out};
        graph_print(&view, i == 0);
        cut = out->count > TOP_BYTES_MAX;
    }
    if (json)
        (void)pst_text_printf(out, "],\"cut\":%s", cut ? "true" : "false");
    else if (cut)
        (void)pst_text_printf(out, "there are more graphs than fit here\n");
    return out->failed ? PST_ENOMEM : PST_OK;
}
