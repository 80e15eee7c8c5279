/* cluster_keeper.c - keepers: who coordinates, who is there, what is started, and the seams of players and coordinators. See
 * cluster.h. */
#include "tests/migration/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_US = 40000, GONE_US = 400000 };
static const char term_path[] = "term";

static bool answered(const struct node *node) { return node->keeper.asked && node->keeper.request.rc != PST_EAGAIN; }

/* ---- players ---- */
static uint32_t index_of(const struct node *node, const struct pst_move_player *player)
{
    return (uint32_t)(player - node->players.players);
}

static void player_send(void *self, const struct pst_move_message *message)
{
    struct node *node = self;
    struct control control = {.kind = CONTROL_MOVE, .message = *message};
    uint32_t to = message->kind == PST_MOVE_REPORT  ? node->coordinator
                  : message->kind == PST_MOVE_CHUNK ? message->to_node
                                                    : message->from_node;
    if (message->kind == PST_MOVE_CHUNK)
        memcpy(control.chunk, message->bytes, sizeof control.chunk);
    net_control(node->cluster, node->index, to, &control);
}

static void lane_open(struct node *node, const struct pst_move_player *player)
{
    struct part *part = part_new(node, player->partition, player->op, player->serial, &node->order_routes);
    part->lane = true;
    part->move = player->move;
    for (uint32_t b = 0; b < BUCKETS; b++)
        if (pst_move_set_has(&player->buckets, b)) {
            part->mine |= 1u << b;
            part->out_epoch[b] = player->epoch + 1;
        }
    part_outs(node, part, &node->order_routes);
}

static void chunk_send(struct node *node, struct pst_move_player *player, uint32_t chunk)
{
    struct pst_move_message message;
    pst_move_chunk(player, chunk, &message);
    message.bytes = &node->wishes[index_of(node, player)].taken;
    message.byte_count = sizeof(struct bucket);
    player_send(node, &message);
}

static void lane_serve(struct node *node, struct pst_move_player *player)
{
    struct part *part = part_of_player(node, player);
    part->lane = false;
    part->kept_count = 0;
}

static void player_act(void *self, struct pst_move_player *player, struct pst_move_action *action)
{
    struct node *node = self;
    struct wish *wish = &node->wishes[index_of(node, player)];
    struct part *part = part_of_player(node, player);
    traced(node->cluster, "node %u, partition %u, move %llu: %s %lld", node->index, player->partition,
           (unsigned long long)player->move, pst_move_act_name(action->act), (long long)action->time);
    switch (action->act) {
    case PST_MOVE_DO_IMAGE:
        wish->image = true;
        wish->since = action->time;
        wish->left = *action->left;
        break;
    case PST_MOVE_DO_CHUNK:
        chunk_send(node, player, action->chunk);
        break;
    case PST_MOVE_DO_DIGEST:
        wish->digest = true;
        wish->digest_at = action->time;
        break;
    case PST_MOVE_DO_LEAVE:
        wish->leave = true;
        wish->leave_at = action->time;
        break;
    case PST_MOVE_DO_STAY:
        wish->image = wish->digest = false;
        break;
    case PST_MOVE_DO_CHECK:
        action->refused = cluster_random(node->cluster, 30) == 0 || (part != NULL && part->mine != 0);
        break;
    case PST_MOVE_DO_OPEN:
        *wish = (struct wish){0};
        lane_open(node, player);
        break;
    case PST_MOVE_DO_STAGE:
        action->refused = !part_stage(node, player, action);
        break;
    case PST_MOVE_DO_INSTALL:
        part_install(node, player, action);
        break;
    case PST_MOVE_DO_TRIM:
        part_trim(node, player, action->time);
        break;
    case PST_MOVE_DO_PUT_OUT:
        part_put_out(node, player, action);
        break;
    case PST_MOVE_DO_SERVE:
        lane_serve(node, player);
        break;
    case PST_MOVE_DO_CLOSE:
        part_free(node, part);
        return;
    case PST_MOVE_DO_BRANCH:
        part_branch(node, player, action);
        break;
    case PST_MOVE_DO_BIND:
        part_bind(node, player);
        break;
    case PST_MOVE_DO_UNBRANCH:
        part_unbranch(node, player);
        break;
    case PST_MOVE_DO_ROUTE:
        part_route(node, player);
        break;
    case PST_MOVE_DO_BOTH:
        part_both(node, player, action);
        break;
    case PST_MOVE_DO_SETTLE:
        part_settle(node, player);
        break;
    case PST_MOVE_DO_DROP:
    case PST_MOVE_DO_WATCH:
    case PST_MOVE_DO_UNWATCH:
    case PST_MOVE_ACT_COUNT:
        break;
    }
    part = part_of_player(node, player);
    if (part != NULL)
        part_schedule(node, part);
}

static void player_look(void *self, const struct pst_move_player *player, struct pst_move_message *report)
{
    struct node *node = self;
    const struct part *part = part_of_player(node, player);
    if (part == NULL)
        return;
    report->now = part->done;
    if (player->role == PST_MOVE_DOWNSTREAM)
        report->have = part_have(node, player);
}

static void player_trace(void *self, const struct pst_move_player *player, uint32_t event, uint32_t from, uint32_t to)
{
    struct node *node = self;
    struct cluster *cluster = node->cluster;
    cluster->seen[player->role][from] |= 1u << event;
    if (from == to)
        return;
    struct pst_text text = {0};
    (void)pst_move_line(player, event, from, to, &text);
    traced(cluster, "node %u: %s", node->index, text.bytes);
    pst_text_fini(&text);
    struct crash_script *crash = &cluster->crash;
    if (crash->set && !crash->done && crash->role == (uint32_t)player->role && crash->state == to &&
        cluster->now_us < cluster->quiet_us)
        cluster_crash_soon(cluster, node->index);
}

static void players_begin(struct node *node, uint64_t incarnation, uint64_t serial)
{
    struct pst_move_seam seam = {node, player_send, player_act, player_look, player_trace};
    pst_move_players_init(&node->players, &seam, incarnation, serial);
    memset(node->wishes, 0, sizeof node->wishes);
}

/* ---- an incarnation begins ---- */
static void parts_free(struct node *node)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++) {
        free(node->parts[i]);
        node->parts[i] = NULL;
    }
}

static void part_load(struct node *node, struct part *part, const struct routes *routes)
{
    struct cluster *cluster = node->cluster;
    int64_t at = routes->checkpoint == PST_MOVE_NEVER ? 0 : routes->checkpoint;
    part->begun_at = part->done = at;
    part->now = at;
    for (uint32_t b = 0; b < bucket_count(&cluster->model, part->op); b++) {
        if (routes->partition[part->op][b] != part->id)
            continue;
        part->mine |= 1u << b;
        part->at[b] = at;
        part->out_epoch[b] = routes->epoch[part->op][b];
        part->buckets[b] = cluster->model.buckets[part->op][b][at / SPAN];
        while (part->op == OP_SOURCE && part->position[b] < cluster->model.row_count[b] &&
               cluster->model.rows[b][part->position[b]].time < at)
            part->position[b]++;
    }
    part_outs(node, part, routes);
    if (part->op != OP_SINK || cluster->sink_incarnation >= node->incarnation)
        return;
    cluster->sink_incarnation = node->incarnation;
    if (cluster->sink_bytes < cluster->model.sink_bytes_at[at / SPAN])
        broken(cluster, "the sink is shorter than the checkpoint at %lld", (long long)at);
    cluster->sink_bytes = cluster->model.sink_bytes_at[at / SPAN];
}

static void incarnation_begin(struct node *node, const struct control *control)
{
    const struct routes *routes = &control->routes;
    if (control->incarnation <= node->incarnation)
        return;
    parts_free(node);
    node->incarnation = control->incarnation;
    node->runs = false;
    players_begin(node, node->incarnation, routes->serial);
    traced(node->cluster, "node %u loads incarnation %llu", node->index, (unsigned long long)node->incarnation);
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < bucket_count(&node->cluster->model, op); b++) {
            uint32_t id = routes->partition[op][b];
            if (routes->node[id] == node->index && part_find(node, id, routes->serials[id]) == NULL)
                part_load(node, part_new(node, id, op, routes->serials[id], routes), routes);
        }
}

static void go(struct node *node, uint64_t incarnation)
{
    if (incarnation != node->incarnation || node->runs)
        return;
    node->runs = true;
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++)
        if (node->parts[i] != NULL)
            part_schedule(node, node->parts[i]);
}

/* ---- the coordinator ---- */
static void routes_make(const struct pst_owners *owners, struct routes *routes)
{
    *routes =
        (struct routes){.incarnation = owners->incarnation, .serial = owners->serial, .checkpoint = owners->checkpoint};
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < pst_owners_bucket_count(owners, op); b++) {
            routes->partition[op][b] = (uint8_t)owners->buckets[owners->first[op] + b].partition;
            routes->epoch[op][b] = owners->buckets[owners->first[op] + b].epoch;
        }
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        routes->node[i] = (uint8_t)owners->partitions[i].node;
        routes->serials[i] = owners->partitions[i].serial;
    }
}

static void coordinator_send(void *self, uint32_t to, const struct pst_move_message *order)
{
    struct node *node = self;
    struct control control = {.kind = CONTROL_MOVE, .message = *order};
    if (order->role == PST_MOVE_TAKER)
        routes_make(pst_move_coordinator_owners(node->keeper.coordinator), &control.routes);
    net_control(node->cluster, node->index, to, &control);
}

static void coordinator_trace(void *self, const struct pst_move_record *record, pst_move_step from,
                              pst_move_cause cause)
{
    struct node *node = self;
    struct cluster *cluster = node->cluster;
    traced(cluster, "node %u coordinates: move %llu, %s by %s, %s", node->index, (unsigned long long)record->id,
           pst_move_step_name(from), pst_move_cause_name(cause), pst_move_step_name(record->step));
    cluster->takeovers += cause == PST_MOVE_BY_TAKEN_OVER;
    struct crash_script *crash = &cluster->crash;
    if (crash->set && !crash->done && crash->role >= CRASH_STEP && crash->state == record->step &&
        cluster->now_us < cluster->quiet_us)
        cluster_crash_soon(cluster, crash->role == CRASH_STEP         ? node->index
                                    : crash->role == CRASH_STEP_GIVER ? record->from_node
                                                                      : record->to_node);
}

static void coordinator_begin(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    struct pst_move_coordinator_seam seam = {node, coordinator_send, coordinator_trace};
    keeper->coordinator = node->cluster->spare != NULL ? node->cluster->spare : malloc(sizeof *keeper->coordinator);
    node->cluster->spare = NULL;
    PST_ASSERT(keeper->coordinator != NULL);
    pst_move_coordinator_init(keeper->coordinator, keeper->store, &node->cluster->graph, &seam);
    keeper->began_us = node->cluster->now_us;
    keeper->cut = PST_MOVE_NEVER;
    traced(node->cluster, "node %u begins to coordinate", node->index);
}

static void coordinator_end(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    if (keeper->coordinator == NULL)
        return;
    pst_move_coordinator_fini(keeper->coordinator);
    free(node->cluster->spare);
    node->cluster->spare = keeper->coordinator;
    keeper->coordinator = NULL;
}

static void coordinator_step(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    if (keeper->coordinator == NULL)
        return;
    int rc = pst_move_coordinator_step(keeper->coordinator, node->cluster->now_us * 1000);
    if (rc == PST_EDATA || rc == PST_EFULL)
        broken(node->cluster, "a coordinator finds a record that cannot be: %s", pst_error_name(rc));
}

static void healths_say(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    const struct pst_owners *owners = pst_move_coordinator_owners(keeper->coordinator);
    uint64_t now = node->cluster->now_us;
    for (uint32_t n = 0; n < node->cluster->node_count && owners != NULL; n++) {
        const struct heard *heard = &keeper->heard[n];
        pst_move_health health = heard->health;
        if (!heard->ever || now - heard->at_us > GONE_US)
            health = now - keeper->began_us > GONE_US ? PST_MOVE_NODE_GONE : PST_MOVE_NODE_ABSENT;
        else if (heard->incarnation != owners->incarnation)
            health = PST_MOVE_NODE_EMPTY;
        pst_move_coordinator_node(keeper->coordinator, n, health, heard->incarnation);
        struct control control = {.incarnation = owners->incarnation};
        routes_make(owners, &control.routes);
        if (health == PST_MOVE_NODE_EMPTY && (!owners->running || !pst_owners_serves(owners, n)))
            control.kind = CONTROL_BEGIN;
        else if (health == PST_MOVE_NODE_LOADED && owners->running)
            control.kind = CONTROL_GO;
        if (control.kind != 0)
            net_control(node->cluster, node->index, n, &control);
    }
}

/* ---- checkpoints: as simple as can be ---- */
static bool cut_complete(const struct cluster *cluster, int64_t time, uint64_t incarnation)
{
    bool all =
        cluster->sink_incarnation == incarnation && cluster->sink_bytes >= cluster->model.sink_bytes_at[time / SPAN];
    for (uint32_t op = 0; op < OPS; op++)
        all = all && cluster->images[op][time / SPAN] == (1u << bucket_count(&cluster->model, op)) - 1;
    return all;
}

static int64_t cut_choose(const struct cluster *cluster)
{
    int64_t most = 0;
    for (uint32_t n = 0; n < cluster->node_count; n++)
        for (uint32_t i = 0; i < NODE_PARTS_MAX; i++) {
            const struct part *part = cluster->nodes[n].parts[i];
            for (uint32_t s = 0; s < SOURCES_MAX && part != NULL && part->op == OP_SOURCE; s++)
                if (cluster->model.most_before[s][part->position[s]] > most)
                    most = cluster->model.most_before[s][part->position[s]];
        }
    return epoch_end(most + 1) + 2 * SPAN;
}

static void checkpoint_tick(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    struct cluster *cluster = node->cluster;
    const struct pst_owners *owners = pst_move_coordinator_owners(keeper->coordinator);
    if (owners == NULL || !owners->running)
        return;
    if (keeper->cut != PST_MOVE_NEVER && cut_complete(cluster, keeper->cut, owners->incarnation)) {
        int rc = pst_move_coordinator_checkpoint(keeper->coordinator, owners->incarnation, keeper->cut);
        if (rc == PST_EAGAIN)
            return;
        cluster->cuts_done += rc == PST_OK;
        keeper->cut = PST_MOVE_NEVER;
        keeper->cut_until_us = cluster->now_us + 150000;
    }
    if (cluster->now_us < keeper->cut_until_us)
        return;
    keeper->cut = cut_choose(cluster);
    keeper->cut_until_us = cluster->now_us + 600000;
    if (keeper->cut >= (int64_t)SPAN * EPOCHS_MAX) {
        keeper->cut = PST_MOVE_NEVER;
        return;
    }
    struct control control = {.kind = CONTROL_CUT, .incarnation = owners->incarnation, .time = keeper->cut};
    for (uint32_t n = 0; n < cluster->node_count; n++)
        net_control(cluster, node->index, n, &control);
}

/* ---- who coordinates: whoever has written `term`, for as long as its session lasts ---- */
static void term_ask(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    (void)snprintf(keeper->name, sizeof keeper->name, "node %u, session %llu", node->index,
                   (unsigned long long)keeper->store->session(keeper->store->self));
    keeper->change = (struct pst_store_change){
        .path = term_path, .bytes = keeper->name, .byte_count = (uint32_t)strlen(keeper->name), .bound = true};
    keeper->request = (struct pst_store_request){
        .kind = PST_STORE_COMMIT, .changes = &keeper->change, .change_count = 1, .rc = PST_EAGAIN};
    keeper->asked = true;
    keeper->store->begin(keeper->store->self, &keeper->request);
}

/* T2: an outcome that is not known is read. So is who has the term, where it is somebody's: it may be our own, from a commit that came
 * through after it had been read. */
static void term_answer(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    struct pst_store_request *request = &keeper->request;
    keeper->asked = false;
    bool mine = request->kind == PST_STORE_COMMIT
                    ? request->rc == PST_OK
                    : request->rc == PST_OK && request->text.count == strlen(keeper->name) &&
                          memcmp(request->text.bytes, keeper->name, request->text.count) == 0;
    pst_text_fini(&request->text);
    if (mine && keeper->coordinator == NULL)
        coordinator_begin(node);
    if (request->kind != PST_STORE_COMMIT || (request->rc != PST_ETIMEOUT && request->rc != PST_EINVAL))
        return;
    *request = (struct pst_store_request){.kind = PST_STORE_READ, .path = term_path, .rc = PST_EAGAIN};
    keeper->asked = true;
    keeper->store->begin(keeper->store->self, request);
}

static void session_end(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    if (keeper->store != NULL)
        keeper->store->close(keeper->store->self);
    keeper->store = NULL;
    coordinator_end(node);
    keeper->asked = false;
    keeper->rogue = false;
    pst_text_fini(&keeper->request.text);
}

static void term_tick(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    struct cluster *cluster = node->cluster;
    if (keeper->store != NULL && keeper->store->session(keeper->store->self) == 0)
        session_end(node);
    if (keeper->store == NULL && store_sim_open(&cluster->store, &keeper->store) != PST_OK)
        return;
    if (keeper->coordinator == NULL && !keeper->asked && cluster->now_us >= keeper->wait_until_us) {
        keeper->wait_until_us = cluster->now_us + 100000 + cluster_random(cluster, 100000);
        if (keeper->rogue)
            coordinator_begin(node);
        else
            term_ask(node);
    }
}

void keeper_store(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    if (!node->up || keeper->store == NULL)
        return;
    keeper->store->step(keeper->store->self);
    if (answered(node))
        term_answer(node);
    coordinator_step(node);
}

/* ---- the tick ---- */
static void beats_send(struct node *node)
{
    struct control control = {.kind = CONTROL_BEAT,
                              .life = node->life,
                              .beat = ++node->beat,
                              .incarnation = node->incarnation,
                              .coordinates = node->keeper.coordinator != NULL,
                              .health = node->incarnation == 0 ? PST_MOVE_NODE_EMPTY
                                        : node->runs           ? PST_MOVE_NODE_RUNS
                                                               : PST_MOVE_NODE_LOADED};
    for (uint32_t n = 0; n < node->cluster->node_count; n++)
        net_control(node->cluster, node->index, n, &control);
}

/* A partition that has given everything away goes when what it has put out is on its way. */
static void parts_clean(struct node *node)
{
    for (uint32_t i = 0; i < NODE_PARTS_MAX; i++) {
        struct part *part = node->parts[i];
        if (part == NULL || part->mine != 0)
            continue;
        bool used = part->frame_count != 0;
        for (uint32_t n = 0; n < 12; n++)
            used = used || (part->outs[n].used && part->outs[n].count != 0);
        for (uint32_t n = 0; n < PST_MOVE_PLAYERS_MAX; n++)
            used = used || (node->players.players[n].all != NULL && node->players.players[n].partition == part->id);
        if (!used)
            part_free(node, part);
    }
}

static void players_tick(struct node *node)
{
    if (node->keeper.ticks % 4 == 0)
        pst_move_report(&node->players);
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX && node->keeper.ticks % 3 == 0; i++)
        if (node->players.players[i].all != NULL && node->players.players[i].role == PST_MOVE_GIVER)
            pst_move_tell(&node->players.players[i], PST_MOVE_ON_AGAIN, &(struct pst_move_fact){0});
}

void keeper_tick(struct node *node)
{
    node->keeper.ticks++;
    beats_send(node);
    if (node->incarnation != 0) {
        players_tick(node);
        parts_clean(node);
    }
    term_tick(node);
    keeper_store(node);
    if (node->keeper.coordinator != NULL) {
        healths_say(node);
        pst_move_coordinator_tick(node->keeper.coordinator);
        checkpoint_tick(node);
        coordinator_step(node);
    }
    event_add(node->cluster,
              &(struct event){
                  .at_us = node->cluster->now_us + TICK_US, .kind = EVENT_TICK, .a = node->index, .life = node->life});
}

static void beat_take(struct node *node, const struct control *control)
{
    struct heard *heard = &node->keeper.heard[control->from];
    if (heard->ever && (control->life < heard->life || (control->life == heard->life && control->beat <= heard->beat)))
        return;
    /* Without that a player whose move ended when its coordinator died would report to nobody for ever. */
    if (control->coordinates)
        node->coordinator = control->from;
    *heard = (struct heard){node->cluster->now_us, control->life,   control->beat,
                            control->incarnation,  control->health, true};
}

void keeper_control(struct node *node, struct control *control)
{
    struct pst_move_message *message = &control->message;
    switch (control->kind) {
    case CONTROL_BEAT:
        beat_take(node, control);
        return;
    case CONTROL_BEGIN:
        incarnation_begin(node, control);
        return;
    case CONTROL_GO:
        go(node, control->incarnation);
        return;
    case CONTROL_CUT:
        if (node->runs && control->incarnation == node->incarnation)
            part_cut(node, control->time);
        return;
    case CONTROL_MOVE:
        break;
    }
    message->bytes = control->chunk;
    if (message->kind == PST_MOVE_REPORT) {
        if (node->keeper.coordinator != NULL) {
            pst_move_coordinator_report(node->keeper.coordinator, message);
            coordinator_step(node);
        }
        return;
    }
    if (message->kind == PST_MOVE_ORDER)
        node->coordinator = control->from;
    if (message->kind == PST_MOVE_ORDER && message->role == PST_MOVE_TAKER)
        node->order_routes = control->routes;
    if (node->incarnation != 0)
        pst_move_receive(&node->players, message);
}

void keeper_begin(struct node *node)
{
    struct keeper *keeper = &node->keeper;
    memset(keeper, 0, sizeof *keeper);
    keeper->cut = PST_MOVE_NEVER;
    node->incarnation = 0;
    node->runs = false;
    node->beat = 0;
    keeper->wait_until_us = node->cluster->now_us + cluster_random(node->cluster, 150000);
    event_add(node->cluster, &(struct event){.at_us = node->cluster->now_us + cluster_random(node->cluster, TICK_US),
                                             .kind = EVENT_TICK,
                                             .a = node->index,
                                             .life = node->life});
}

void keeper_lost(struct node *node)
{
    if (node->keeper.store != NULL)
        store_sim_crash(&node->cluster->store, node->keeper.store);
    node->keeper.store = NULL;
    coordinator_end(node);
    pst_text_fini(&node->keeper.request.text);
    parts_free(node);
    players_begin(node, 0, 0);
    node->incarnation = 0;
}

void keeper_fini(struct node *node)
{
    session_end(node);
    parts_free(node);
}

struct pst_move_coordinator *cluster_coordinator(struct cluster *cluster, uint32_t *ret_node)
{
    uint32_t first = (uint32_t)cluster_random(cluster, cluster->node_count);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        uint32_t n = (first + i) % cluster->node_count;
        if (cluster->nodes[n].up && cluster->nodes[n].keeper.coordinator != NULL &&
            pst_move_coordinator_owners(cluster->nodes[n].keeper.coordinator) != NULL) {
            *ret_node = n;
            return cluster->nodes[n].keeper.coordinator;
        }
    }
    return NULL;
}
