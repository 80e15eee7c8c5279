/* cluster.c - time, faults and commands of the abstract cluster. See cluster.h. */
#include "tests/migration/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pst_move_mistake pst_move_mistake_planted;

uint64_t cluster_random(struct cluster *cluster, uint64_t below) { return mix(++cluster->random) % below; }

/* ---- trace and failure ---- */
void traced(struct cluster *cluster, const char *format, ...)
{
    char *line = cluster->lines[cluster->line_count++ % TRACE_LINES];
    int begun = snprintf(line, TRACE_BYTES, "%9.3f ms ", (double)cluster->now_us / 1000);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + begun, TRACE_BYTES - (size_t)begun, format, arguments);
    va_end(arguments);
    for (const char *at = line; *at != '\0'; at++)
        cluster->trace = (cluster->trace ^ (uint8_t)*at) * 0x100000001b3u;
    if (cluster->prints)
        (void)fprintf(stderr, "%s\n", line);
}

void broken(struct cluster *cluster, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(cluster->why, sizeof cluster->why, format, arguments);
    va_end(arguments);
    longjmp(cluster->failed, 1);
}

/* The product's own promises count as checks: the linker sends them here (--wrap). */
static struct cluster *running;
_Noreturn void __wrap_pst_assert_failed(const char *condition, const char *file, int line);
_Noreturn void __wrap_pst_assert_failed(const char *condition, const char *file, int line)
{
    if (running == NULL) {
        (void)fprintf(stderr, "%s:%d: %s\n", file, line, condition);
        abort();
    }
    broken(running, "%s:%d: %s", file, line, condition);
}

void cluster_explain(const struct cluster *cluster)
{
    uint64_t first = cluster->line_count > TRACE_LINES ? cluster->line_count - TRACE_LINES : 0;
    (void)fprintf(stderr, "seed %llu: %s\n", (unsigned long long)cluster->seed, cluster->why);
    for (uint64_t i = first; i < cluster->line_count; i++)
        (void)fprintf(stderr, "  %s\n", cluster->lines[i % TRACE_LINES]);
}

/* ---- events: a heap by time, then by order ---- */
static bool before(const struct event *one, const struct event *other)
{
    return one->at_us != other->at_us ? one->at_us < other->at_us : one->order < other->order;
}

void event_add(struct cluster *cluster, const struct event *event)
{
    if (cluster->heap_count == cluster->heap_capacity) {
        cluster->heap_capacity = cluster->heap_capacity * 2 + 256;
        cluster->heap = realloc(cluster->heap, cluster->heap_capacity * sizeof *cluster->heap);
        PST_ASSERT(cluster->heap != NULL);
    }
    uint32_t at = cluster->heap_count++;
    struct event new = *event;
    new.order = ++cluster->order;
    while (at != 0 && before(&new, &cluster->heap[(at - 1) / 2])) {
        cluster->heap[at] = cluster->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    cluster->heap[at] = new;
}

static struct event event_take(struct cluster *cluster)
{
    struct event first = cluster->heap[0], last = cluster->heap[--cluster->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= cluster->heap_count)
            break;
        if (child + 1 < cluster->heap_count && before(&cluster->heap[child + 1], &cluster->heap[child]))
            child++;
        if (!before(&cluster->heap[child], &last))
            break;
        cluster->heap[at] = cluster->heap[child];
        at = child;
    }
    if (cluster->heap_count != 0)
        cluster->heap[at] = last;
    return first;
}

/* ---- faults ---- */
/* What an event of a fault means, besides the faults' own numbers. */
#define NUMBER_CRASH UINT64_MAX
#define NUMBER_RESTART (UINT64_MAX - 1)
#define NUMBER_CUT (UINT64_MAX - 2)

static void restart(struct cluster *cluster, uint32_t n)
{
    struct node *node = &cluster->nodes[n];
    if (node->up)
        return;
    traced(cluster, "node %u is back", n);
    node->up = true;
    net_restarted(cluster, n);
    keeper_begin(node);
}

/* `for_us` 0: it never comes back. */
void cluster_crash(struct cluster *cluster, uint32_t n, uint64_t for_us)
{
    struct node *node = &cluster->nodes[n];
    if (!node->up)
        return;
    traced(cluster, "node %u dies", n);
    node->up = false;
    keeper_lost(node);
    node->life++;
    net_crashed(cluster, n);
    if (for_us != 0)
        event_add(
            cluster,
            &(struct event){.at_us = cluster->now_us + for_us, .kind = EVENT_FAULT, .a = n, .number = NUMBER_RESTART});
}

static void cut(struct cluster *cluster, const struct fault *fault, bool cuts)
{
    traced(cluster, "link %u to %u%s is %s", fault->a, fault->b, fault->both ? ", both ways," : "",
           cuts ? "cut" : "whole");
    net_cut(cluster, fault->a, fault->b, cuts);
    if (fault->both)
        net_cut(cluster, fault->b, fault->a, cuts);
    cluster->nodes[fault->a].cut_off_us = cluster->nodes[fault->b].cut_off_us = cluster->now_us;
}

static void fault_do(struct cluster *cluster, uint32_t index, bool begins)
{
    const struct fault *fault = &cluster->faults[index];
    struct node *node = &cluster->nodes[fault->a];
    struct pst_store *store = node->keeper.store;
    switch (fault->kind) {
    case FAULT_CRASH:
        if (begins)
            cluster_crash(cluster, fault->a, fault->forever ? 0 : fault->for_us);
        break;
    case FAULT_CUT:
        cut(cluster, fault, begins);
        break;
    case FAULT_STORE_CUT:
        if (store != NULL)
            store_sim_cut(&cluster->store, store, begins);
        break;
    case FAULT_EXPIRE:
        if (begins && store != NULL)
            store_sim_expire(&cluster->store, store);
        break;
    case FAULT_SLOW:
        node->step_us_max = begins ? 12000 : 600;
        break;
    case FAULT_ROGUE:
        node->keeper.rogue = begins;
        break;
    }
    if (begins && fault->kind != FAULT_CRASH)
        event_add(cluster, &(struct event){
                               .at_us = cluster->now_us + fault->for_us, .kind = EVENT_FAULT, .a = 1, .number = index});
}

static void fault_event(struct cluster *cluster, const struct event *event)
{
    if (event->number == NUMBER_CRASH) {
        cluster_crash(cluster, event->a, (uint64_t)event->b * 1000);
    } else if (event->number == NUMBER_RESTART) {
        restart(cluster, event->a);
    } else if (event->number == NUMBER_CUT) {
        net_cut(cluster, event->a, event->b, event->life != 0);
        cluster->nodes[event->a].cut_off_us = cluster->now_us;
        if (event->life != 0)
            event_add(cluster, &(struct event){.at_us = cluster->now_us + event->life,
                                               .kind = EVENT_FAULT,
                                               .a = event->a,
                                               .b = event->b,
                                               .number = NUMBER_CUT});
    } else {
        fault_do(cluster, (uint32_t)event->number, event->a == 0);
    }
}

/* Somebody dies as soon as it has come to a state. */
static void crash_make(struct cluster *cluster)
{
    struct crash_script *crash = &cluster->crash;
    crash->set = true;
    crash->role = (uint32_t)cluster_random(cluster, CRASH_COUNT);
    if (cluster_random(cluster, 2) == 0)
        crash->role = CRASH_STEP_GIVER;
    crash->state = crash->role < PST_MOVE_ROLE_COUNT
                       ? (uint32_t)cluster_random(cluster, pst_move_table((pst_move_role)crash->role)->state_count)
                       : (uint32_t)cluster_random(cluster, PST_MOVE_STEP_COUNT);
    if (crash->role == CRASH_STEP_GIVER)
        crash->state = PST_MOVE_READY + (uint32_t)cluster_random(cluster, 2);
    crash->after_us = 1 + cluster_random(cluster, 2) * cluster_random(cluster, 80000);
    crash->cut = cluster_random(cluster, 2) == 0;
    crash->down_ms = cluster_random(cluster, 2) == 0 ? 0 : 1 + (uint32_t)cluster_random(cluster, 1500);
}

/* With `cut` what it sends until then does not arrive any more. */
void cluster_crash_soon(struct cluster *cluster, uint32_t node)
{
    struct crash_script *crash = &cluster->crash;
    crash->done = true;
    for (uint32_t n = 0; n < cluster->node_count && crash->cut; n++)
        if (n != node && !cluster->links[node][n].cut)
            event_add(cluster, &(struct event){.at_us = cluster->now_us + 1,
                                               .kind = EVENT_FAULT,
                                               .a = node,
                                               .b = n,
                                               .life = crash->after_us + 2,
                                               .number = NUMBER_CUT});
    event_add(cluster, &(struct event){.at_us = cluster->now_us + crash->after_us + 1,
                                       .kind = EVENT_FAULT,
                                       .a = node,
                                       .b = crash->down_ms,
                                       .number = NUMBER_CRASH});
}

static void faults_make(struct cluster *cluster)
{
    cluster->fault_count = (uint32_t)cluster_random(cluster, 6);
    bool forever = false;
    for (uint32_t i = 0; i < cluster->fault_count; i++) {
        static const enum fault_kind kinds[] = {FAULT_CRASH,     FAULT_CRASH,  FAULT_CUT,  FAULT_CUT,
                                                FAULT_STORE_CUT, FAULT_EXPIRE, FAULT_SLOW, FAULT_ROGUE};
        struct fault *fault = &cluster->faults[i];
        fault->kind = kinds[cluster_random(cluster, 8)];
        fault->at_us = 150000 + cluster_random(cluster, 2500000);
        fault->for_us = cluster_random(cluster, 2) == 0 ? 1000 + cluster_random(cluster, 200000)
                                                        : 300000 + cluster_random(cluster, 900000);
        fault->a = (uint32_t)cluster_random(cluster, cluster->node_count);
        fault->b = (fault->a + 1 + (uint32_t)cluster_random(cluster, cluster->node_count - 1)) % cluster->node_count;
        fault->both = cluster_random(cluster, 2) == 0;
        fault->forever = fault->kind == FAULT_CRASH && !forever && cluster_random(cluster, 4) == 0;
        forever = forever || fault->forever;
        event_add(cluster, &(struct event){.at_us = fault->at_us, .kind = EVENT_FAULT, .number = i});
    }
    if (cluster_random(cluster, 3) == 0)
        crash_make(cluster);
    cluster->repeat_per_1000 = cluster_random(cluster, 2) == 0 ? 0 : 30;
    cluster->store.unknown_per_1000 = cluster_random(cluster, 3) == 0 ? 150 : 0;
    cluster->store.delay_us_max = cluster_random(cluster, 4) == 0 ? 60000 : 4000;
}

/* ---- commands ---- */
static bool alive(const struct cluster *cluster, uint32_t node) { return cluster->nodes[node].up; }

static bool buckets_choose(struct cluster *cluster, struct command *command, const struct pst_owners *owners,
                           uint32_t op, uint32_t partition)
{
    struct pst_move_command *to = &command->command;
    bool all = command->kind == 1 || cluster_random(cluster, 3) == 0;
    to->op = op;
    to->from = partition;
    to->buckets = (struct pst_move_set){0};
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (owners->buckets[owners->first[op] + b].partition == partition && (all || cluster_random(cluster, 2) == 0))
            pst_move_set_add(&to->buckets, b);
    return pst_move_set_next(&to->buckets, 0) != PST_MOVE_BUCKETS_MAX;
}

static bool place_other(struct cluster *cluster, struct command *command)
{
    const struct command *other = &cluster->commands[cluster_random(cluster, cluster->command_count)];
    if (!other->placed || other->ended || other == command)
        return false;
    uint64_t id = command->command.id;
    command->command = other->command;
    command->command.id = id;
    command->from_node = other->from_node;
    if (command->kind == 3)
        command->command.to_node = other->from_node;
    else
        command->command.to_node = (uint32_t)cluster_random(cluster, cluster->node_count);
    return true;
}

/* Chooses what to move, of what there is now. */
static bool place(struct cluster *cluster, struct command *command, const struct pst_owners *owners)
{
    command->command.id = ++cluster->command_id;
    command->command.deadline_ns = (cluster->now_us + 1200000 + cluster_random(cluster, 3000000)) * 1000;
    if (command->kind >= 2)
        return place_other(cluster, command);
    for (uint32_t n = 0; n < 20; n++) {
        uint32_t op = OP_A + (uint32_t)cluster_random(cluster, 2), b = (uint32_t)cluster_random(cluster, BUCKETS);
        uint32_t partition = owners->buckets[owners->first[op] + b].partition;
        uint32_t node = owners->partitions[partition].node, to = (uint32_t)cluster_random(cluster, cluster->node_count);
        if (command->kind == 1 && command->tries != 0 && node != command->from_node)
            continue;
        if (to == node || !alive(cluster, to) || !buckets_choose(cluster, command, owners, op, partition))
            continue;
        command->command.to_node = to;
        command->from_node = node;
        return true;
    }
    return false;
}

static bool holds_any(const struct pst_owners *owners, uint32_t node)
{
    for (uint32_t op = OP_A; op <= OP_B; op++)
        for (uint32_t b = 0; b < BUCKETS; b++)
            if (owners->partitions[owners->buckets[owners->first[op] + b].partition].node == node)
                return true;
    return false;
}

static void command_again(struct command *command, bool again)
{
    command->ended = !again || ++command->tries > 6;
    command->placed = false;
}

static void command_ask(struct cluster *cluster, struct command *command)
{
    uint32_t node;
    struct pst_move_status status;
    struct pst_move_coordinator *coordinator = cluster_coordinator(cluster, &node);
    if (coordinator == NULL)
        return;
    const struct pst_owners *owners = pst_move_coordinator_owners(coordinator);
    if (!command->placed && !place(cluster, command, owners)) {
        command_again(command, true);
        return;
    }
    command->placed = true;
    if (command->cancel_at_us != 0 && cluster->now_us > command->cancel_at_us && !command->cancelled) {
        int rc = pst_move_coordinator_cancel(coordinator, command->command.id, &status);
        command->cancelled = rc == PST_OK || rc == PST_EREFUSED;
    }
    int rc = pst_move_coordinator_move(coordinator, &command->command, &status);
    if (rc == PST_OK && status.step >= PST_MOVE_DONE)
        command_again(command,
                      command->kind == 1 && status.step == PST_MOVE_DONE && holds_any(owners, command->from_node));
    else if (rc == PST_EREFUSED || rc == PST_EINVAL)
        command_again(command, command->kind < 2);
    if (rc == PST_EREFUSED && status.holder == command->command.id)
        broken(cluster, "move %llu is refused for itself", (unsigned long long)status.holder);
    keeper_store(&cluster->nodes[node]);
}

static void client_event(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->command_count; i++)
        if (!cluster->commands[i].ended && cluster->now_us >= cluster->commands[i].at_us)
            command_ask(cluster, &cluster->commands[i]);
    event_add(cluster,
              &(struct event){.at_us = cluster->now_us + 25000 + cluster_random(cluster, 10000), .kind = EVENT_CLIENT});
}

static void commands_make(struct cluster *cluster)
{
    cluster->command_count = 2 + (uint32_t)cluster_random(cluster, 7);
    for (uint32_t i = 0; i < cluster->command_count; i++) {
        struct command *command = &cluster->commands[i];
        static const uint32_t kinds[] = {0, 0, 0, 0, 1, 1, 2, 3};
        command->kind = cluster->crash.role == CRASH_STEP_GIVER && i < 2 ? 1 : kinds[cluster_random(cluster, 8)];
        command->at_us = 100000 + cluster_random(cluster, 2000000);
        if (cluster_random(cluster, 5) == 0)
            command->cancel_at_us = command->at_us + cluster_random(cluster, 600000);
    }
}

/* ---- beginning and end ---- */
static void owners_make(struct cluster *cluster)
{
    uint32_t counts[OPS], partition;
    struct pst_text text = {0};
    for (uint32_t op = 0; op < OPS; op++)
        counts[op] = bucket_count(&cluster->model, op);
    struct pst_owners *owners = malloc(sizeof *owners);
    PST_ASSERT(owners != NULL && cluster->owners != NULL);
    pst_owners_init(owners, OPS, counts);
    /* Some nodes begin with one layer only, or with nothing. */
    uint32_t of_a = 1 + (uint32_t)cluster_random(cluster, cluster->node_count - 1);
    uint32_t of_b = 1 + (uint32_t)cluster_random(cluster, cluster->node_count - 1);
    uint32_t shift = (uint32_t)cluster_random(cluster, cluster->node_count);
    bool apart =
        cluster->crash.role == CRASH_STEP_GIVER ||
        cluster_random(cluster, 3) == 0; /* the first layer alone on the last node, everything else on the first */
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < counts[op]; b++) {
            uint32_t node = apart        ? (op == OP_A ? cluster->node_count - 1 : 0)
                            : op == OP_A ? (b % of_a + shift) % cluster->node_count
                            : op == OP_B ? b % of_b
                                         : 0;
            PST_ASSERT(pst_owners_partition(owners, op, node, &partition) == PST_OK);
            pst_owners_at(owners, op, b)->partition = partition;
            pst_owners_at(owners, op, b)->epoch = 1;
        }
    PST_ASSERT(pst_owners_write(owners, &text) == PST_OK &&
               store_sim_put(&cluster->store, "owners/g", text.bytes, text.count) == PST_OK);
    pst_text_fini(&text);
    free(owners);
}

void cluster_init(struct cluster *cluster, uint64_t seed, bool faults, bool moves, const struct crash_script *crash)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->seed = seed;
    cluster->random = mix(seed) ^ 0x5bd1e995;
    cluster->trace = 0xcbf29ce484222325u;
    model_init(&cluster->model, seed);
    store_sim_init(&cluster->store, mix(seed + 1));
    cluster->store.compares = !MISTAKE(NO_COMPARE);
    cluster->store.self = cluster;
    cluster->store.changed = check_store;
    cluster->owners = calloc(1, sizeof *cluster->owners);
    cluster->node_count = 3 + (uint32_t)cluster_random(cluster, NODES_MAX - 2);
    cluster->control_us_max = cluster_random(cluster, 3) == 0 ? 20000 : 2000;
    cluster->data_us_max = cluster_random(cluster, 3) == 0 ? 20000 : 2000;
    cluster->graph = (struct pst_move_graph){.name = "g", .op_count = OPS, .lag_epochs = 2, .margin_epochs = 2};
    for (uint32_t op = 0; op < OPS; op++)
        cluster->graph.ops[op] = (struct pst_move_op){.bucket_count = bucket_count(&cluster->model, op),
                                                      .input_count = op != OP_SOURCE,
                                                      .inputs = {op - 1},
                                                      .span = SPAN};
    cluster->quiet_us = 3500000;
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        struct node *node = &cluster->nodes[n];
        node->cluster = cluster;
        node->index = n;
        node->up = true;
        node->step_us_max = 600;
        keeper_begin(node);
    }
    cluster->branch_max = cluster_random(cluster, 3) == 0 ? 5 : 24;
    if (crash != NULL)
        cluster->crash = *crash;
    if (faults)
        faults_make(cluster);
    owners_make(cluster);
    if (moves)
        commands_make(cluster);
    event_add(cluster, &(struct event){.at_us = 50000, .kind = EVENT_CLIENT});
}

void cluster_fini(struct cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->node_count; n++) {
        keeper_fini(&cluster->nodes[n]);
        for (uint32_t i = 0; i < cluster->node_count; i++)
            free(cluster->links[n][i].kept);
    }
    for (uint32_t i = 0; i < cluster->heap_count; i++)
        free(cluster->heap[i].bytes);
    free(cluster->heap);
    free(cluster->owners);
    free(cluster->spare);
    model_fini(&cluster->model);
    store_sim_fini(&cluster->store);
}

static void step_event(struct cluster *cluster, const struct event *event)
{
    struct node *node = &cluster->nodes[event->a];
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL && node->parts[i]->id == event->b && node->parts[i]->life == event->life) {
            part_step(node, node->parts[i]);
            return;
        }
}

static void event_do(struct cluster *cluster, struct event *event)
{
    switch (event->kind) {
    case EVENT_DATA:
        net_data_arrived(cluster, event);
        break;
    case EVENT_ACK:
        net_ack_arrived(cluster, event);
        break;
    case EVENT_CONTROL:
        net_control_arrived(cluster, event);
        break;
    case EVENT_TICK:
        if (cluster->nodes[event->a].up && cluster->nodes[event->a].life == event->life)
            keeper_tick(&cluster->nodes[event->a]);
        break;
    case EVENT_STEP:
        step_event(cluster, event);
        break;
    case EVENT_FAULT:
        fault_event(cluster, event);
        break;
    case EVENT_CLIENT:
        client_event(cluster);
        break;
    }
}

static void faults_end(struct cluster *cluster)
{
    cluster->over = true;
    cluster->store.unknown_per_1000 = 0;
    traced(cluster, "no more faults");
}

static void run(struct cluster *cluster)
{
    while (cluster->now_us < 60000000) {
        uint64_t store_us = store_sim_next_us(&cluster->store);
        if (store_us <= cluster->heap[0].at_us) {
            cluster->now_us = store_us > cluster->now_us ? store_us : cluster->now_us;
            store_sim_run(&cluster->store, cluster->now_us);
            for (uint32_t n = 0; n < cluster->node_count; n++)
                keeper_store(&cluster->nodes[n]);
        } else {
            struct event event = event_take(cluster);
            cluster->now_us = event.at_us;
            store_sim_run(&cluster->store, cluster->now_us);
            cluster->event_bytes = event.bytes;
            event_do(cluster, &event);
            free(event.bytes);
            cluster->event_bytes = NULL;
        }
        cluster->events++;
        check_all(cluster);
        if (!cluster->over && cluster->now_us >= cluster->quiet_us)
            faults_end(cluster);
        if (cluster->over && cluster->events % 64 == 0 && check_rest(cluster) == NULL)
            return;
    }
    broken(cluster, "after %llu s: %s", (unsigned long long)cluster->now_us / 1000000, check_rest(cluster));
}

bool cluster_run(struct cluster *cluster)
{
    running = cluster;
    bool failed = setjmp(cluster->failed) != 0;
    if (!failed)
        run(cluster);
    free(cluster->event_bytes);
    cluster->event_bytes = NULL;
    running = NULL;
    return !failed;
}
