/* move.c - what the roles of a move share: names, sets of buckets, the players of a node, and the step through a table. The
 * rules by which rows are counted in stand here, too: they are the same for every engine. */
#include "migration/move_inside.h"

#include <assert.h>
#include <string.h>

#define NAME(name, ...) #name,
static const char *const step_names[] = {PST_MOVE_STEPS(NAME)};
static const char *const why_names[] = {PST_MOVE_REASONS(NAME)};
static const char *const act_names[] = {PST_MOVE_ACTIONS(NAME)};
static const char *const event_names[] = {PST_MOVE_STEPS(NAME) PST_MOVE_EVENTS(NAME)};
#undef NAME
static_assert(PST_MOVE_EVENT_COUNT == TABLE_COUNT(event_names), "the first events are the orders");

const char *pst_move_step_name(pst_move_step step) { return step < PST_MOVE_STEP_COUNT ? step_names[step] : "unknown"; }
const char *pst_move_why_name(pst_move_why why) { return why < PST_MOVE_WHY_COUNT ? why_names[why] : "unknown"; }
const char *pst_move_act_name(pst_move_act act) { return act < PST_MOVE_ACT_COUNT ? act_names[act] : "unknown"; }
const char *pst_move_event_name(uint32_t event)
{
    return event < PST_MOVE_EVENT_COUNT ? event_names[event] : "unknown";
}

/* ---- sets ---- */
bool pst_move_set_has(const struct pst_move_set *set, uint32_t bucket)
{
    return bucket < PST_MOVE_BUCKETS_MAX && (set->bits[bucket / 64] >> (bucket % 64) & 1) != 0;
}

void pst_move_set_add(struct pst_move_set *set, uint32_t bucket)
{
    PST_ASSERT(bucket < PST_MOVE_BUCKETS_MAX);
    set->bits[bucket / 64] |= (uint64_t)1 << (bucket % 64);
}

void pst_move_set_remove(struct pst_move_set *set, uint32_t bucket)
{
    PST_ASSERT(bucket < PST_MOVE_BUCKETS_MAX);
    set->bits[bucket / 64] &= ~((uint64_t)1 << (bucket % 64));
}

bool pst_move_set_equal(const struct pst_move_set *one, const struct pst_move_set *other)
{
    return memcmp(one, other, sizeof *one) == 0;
}

uint32_t pst_move_set_next(const struct pst_move_set *set, uint32_t bucket)
{
    while (bucket < PST_MOVE_BUCKETS_MAX) {
        uint64_t rest = set->bits[bucket / 64] >> (bucket % 64);
        if (rest != 0)
            return bucket + (uint32_t)__builtin_ctzll(rest);
        bucket = (bucket / 64 + 1) * 64;
    }
    return PST_MOVE_BUCKETS_MAX;
}

/* ---- tables ---- */
const struct pst_move_table *pst_move_table(pst_move_role role)
{
    static const struct pst_move_table *const tables[] = {&pst_giver_table, &pst_taker_table, &pst_upstream_table,
                                                          &pst_downstream_table};
    PST_ASSERT(role < PST_MOVE_ROLE_COUNT);
    return tables[role];
}

const struct pst_move_row *pst_move_row(const struct pst_move_table *table, uint32_t state, uint32_t event)
{
    for (uint32_t i = 0; i < table->row_count; i++)
        if ((table->rows[i].states & BIT(state)) != 0 && (table->rows[i].events & BIT(event)) != 0)
            return &table->rows[i];
    return NULL;
}

int pst_move_line(const struct pst_move_player *player, uint32_t event, uint32_t from, uint32_t to,
                  struct pst_text *text)
{
    const struct pst_move_table *table = pst_move_table(player->role);
    return pst_text_printf(text, "move %llu, %s %u: %s, %s%s, %s", (unsigned long long)player->move, table->role,
                           player->partition, table->states[from],
                           event <= PST_MOVE_ON_LAST_ORDER ? "ordered " : "told ", pst_move_event_name(event),
                           table->states[to]);
}

/* ---- players ---- */
static bool closed(const struct pst_move_players *all, uint64_t serial)
{
    return serial <= all->closed ||
           (serial - all->closed <= PST_MOVE_SERIALS && (all->closed_bits >> (serial - all->closed - 1) & 1) != 0);
}

/* The coordinator does not begin a move while one runs whose serial is PST_MOVE_SERIALS or more below. */
static void close_serial(struct pst_move_players *all, uint64_t serial)
{
    if (closed(all, serial))
        return;
    if (serial - all->closed > PST_MOVE_SERIALS) {
        uint64_t up = serial - all->closed - PST_MOVE_SERIALS;
        all->closed_bits = up < 64 ? all->closed_bits >> up : 0;
        all->closed += up;
    }
    all->closed_bits |= (uint64_t)1 << (serial - all->closed - 1);
}

void pst_move_players_init(struct pst_move_players *all, const struct pst_move_seam *seam, uint64_t incarnation,
                           uint64_t serial)
{
    *all = (struct pst_move_players){.seam = *seam, .incarnation = incarnation, .closed = serial};
}

struct pst_move_player *pst_move_find(struct pst_move_players *all, uint64_t move, pst_move_role role,
                                      uint32_t partition)
{
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++) {
        struct pst_move_player *player = &all->players[i];
        if (player->all != NULL && player->move == move && player->role == role && player->partition == partition)
            return player;
    }
    return NULL;
}

static struct pst_move_player *player_new(struct pst_move_players *all, const struct pst_move_message *order)
{
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++) {
        struct pst_move_player *player = &all->players[i];
        if (player->all != NULL)
            continue;
        *player = (struct pst_move_player){.all = all,
                                           .role = order->role,
                                           .partition = order->partition,
                                           .op = order->op,
                                           .from = order->from,
                                           .to = order->to,
                                           .from_node = order->from_node,
                                           .to_node = order->to_node,
                                           .move = order->move,
                                           .serial = order->serial,
                                           .epoch = order->epoch,
                                           .buckets = order->buckets,
                                           .left = order->buckets,
                                           .time = PST_MOVE_NEVER,
                                           .since = PST_MOVE_NEVER,
                                           .cut = PST_MOVE_NEVER,
                                           .digest_at = PST_MOVE_NEVER,
                                           .digest_said_at = PST_MOVE_NEVER,
                                           .stopped = PST_MOVE_NEVER,
                                           .covered = PST_MOVE_NEVER,
                                           .image_time = PST_MOVE_NEVER,
                                           .kept_from = PST_MOVE_NEVER};
        return player;
    }
    return NULL;
}

void pst_move_message_init(const struct pst_move_player *player, pst_move_kind kind,
                           struct pst_move_message *ret_message)
{
    *ret_message = (struct pst_move_message){.kind = kind,
                                             .role = player->role,
                                             .step = player->heard,
                                             .state = player->state,
                                             .partition = player->partition,
                                             .op = player->op,
                                             .from = player->from,
                                             .to = player->to,
                                             .from_node = player->from_node,
                                             .to_node = player->to_node,
                                             .move = player->move,
                                             .serial = player->serial,
                                             .incarnation = player->all->incarnation,
                                             .epoch = player->epoch,
                                             .time = player->time,
                                             .now = PST_MOVE_NEVER,
                                             .have = PST_MOVE_NEVER,
                                             .digest_at = player->digest_said_at,
                                             .digest = player->digest};
}

void pst_move_say(struct pst_move_player *player, const struct pst_move_message *message)
{
    player->all->seam.send(player->all->seam.self, message);
}

static void say_where(struct pst_move_player *player)
{
    struct pst_move_message report;
    pst_move_message_init(player, PST_MOVE_REPORT, &report);
    report.flags = (player->full ? PST_MOVE_SAYS_FULL : 0u) | (player->refused ? PST_MOVE_SAYS_REFUSED : 0u) |
                   (player->digest_said_at != PST_MOVE_NEVER ? PST_MOVE_SAYS_DIGEST : 0u) |
                   (player->state == 0 ? PST_MOVE_SAYS_UNKNOWN : 0u);
    if (player->state != 0)
        player->all->seam.look(player->all->seam.self, player, &report);
    pst_move_say(player, &report);
}

/* To an order for which there is no player and will be none. */
static void say_unknown(struct pst_move_players *all, const struct pst_move_message *order)
{
    struct pst_move_message report = *order;
    report.kind = PST_MOVE_REPORT;
    report.state = 0;
    report.flags = PST_MOVE_SAYS_UNKNOWN;
    report.time = report.now = report.have = report.digest_at = PST_MOVE_NEVER;
    all->seam.send(all->seam.self, &report);
}

/* False: the event cannot be in this state, and nothing was done. */
static bool play(struct pst_move_player *player, uint32_t event, const struct pst_move_fact *fact)
{
    const struct pst_move_table *table = pst_move_table(player->role);
    const struct pst_move_row *row = pst_move_row(table, player->state, event);
    if (row == NULL || row->run == NULL)
        return false;
    uint8_t from = player->state, to = row->run(player, fact);
    PST_ASSERT(to == from || (row->to & BIT(to)) != 0);
    player->state = to;
    player->all->seam.trace(player->all->seam.self, player, event, from, to);
    return true;
}

/* A player that knows nothing any more makes room. What it has ended does not begin again. */
static void player_end(struct pst_move_player *player)
{
    close_serial(player->all, player->serial);
    player->all = NULL;
}

static void order_note(struct pst_move_player *player, const struct pst_move_message *order)
{
    player->heard = order->step;
    player->gone = player->gone || (order->flags & PST_MOVE_SAYS_GONE) != 0;
    if (order->step >= PST_MOVE_DUPLICATING && order->step < PST_MOVE_COMMITTED)
        player->since = order->time;
    if (order->step == PST_MOVE_COMMITTED)
        player->cut = order->time;
    if (order->step == PST_MOVE_READY)
        player->digest_at = order->digest_at;
}

static void order_receive(struct pst_move_players *all, const struct pst_move_message *order)
{
    struct pst_move_player *player = pst_move_find(all, order->move, order->role, order->partition);
    if (order->step == PST_MOVE_INTENT && order->role != PST_MOVE_TAKER)
        return;
    if (player == NULL) {
        if (order->step >= PST_MOVE_DONE)
            close_serial(all, order->serial);
        if (closed(all, order->serial) && (order->step >= PST_MOVE_DONE || !MISTAKE(NO_SERIAL))) {
            say_unknown(all, order);
            return;
        }
        player = player_new(all, order);
        if (player == NULL)
            return; /* asked again until the deadline */
    } else if (order->step < player->heard) {
        say_where(player);
        return;
    }
    order_note(player, order);
    bool played = play(player, PST_MOVE_ON_ORDER + order->step, &(struct pst_move_fact){.message = order});
    if (played)
        say_where(player);
    if (player->state == 0)
        player_end(player);
}

void pst_move_receive(struct pst_move_players *all, const struct pst_move_message *message)
{
    struct pst_move_player *player;
    if (!pst_move_fresh(all->incarnation, message->incarnation) || message->role >= PST_MOVE_ROLE_COUNT ||
        message->step >= PST_MOVE_STEP_COUNT)
        return;
    switch (message->kind) {
    case PST_MOVE_ORDER:
        order_receive(all, message);
        return;
    case PST_MOVE_CHUNK:
    case PST_MOVE_TAKEN:
        player = pst_move_find(all, message->move, message->role, message->partition);
        if (player != NULL)
            pst_move_tell(player, message->kind == PST_MOVE_CHUNK ? PST_MOVE_ON_CHUNK : PST_MOVE_ON_TAKEN,
                          &(struct pst_move_fact){.message = message});
        return;
    case PST_MOVE_REPORT:
        return; /* the coordinator's */
    }
}

void pst_move_tell(struct pst_move_player *player, pst_move_event event, const struct pst_move_fact *fact)
{
    uint8_t from = player->state;
    bool played = play(player, event, fact);
    /* What came by a message may be of any time; what the caller itself says is true now. */
    PST_ASSERT(played || fact->message != NULL);
    if (played && (player->state != from || event == PST_MOVE_ON_FULL || event == PST_MOVE_ON_DIGEST))
        say_where(player);
    if (player->state == 0)
        player_end(player);
}

void pst_move_report(struct pst_move_players *all)
{
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++)
        if (all->players[i].all != NULL)
            say_where(&all->players[i]);
}

/* ---- what handlers share ---- */
bool pst_move_do_asked(struct pst_move_player *player, struct pst_move_action *action)
{
    player->all->seam.act(player->all->seam.self, player, action);
    return !action->refused;
}

void pst_move_do(struct pst_move_player *player, pst_move_act act, int64_t time)
{
    (void)pst_move_do_asked(player, &(struct pst_move_action){.act = act, .time = time, .gone = player->gone});
}

uint8_t pst_move_stay(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    return player->state;
}

uint8_t pst_move_forget(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)player;
    (void)fact;
    return 0;
}

void pst_move_digest_ask(struct pst_move_player *player)
{
    if (player->digest_at != PST_MOVE_NEVER && player->digest_at != player->digest_said_at)
        pst_move_do(player, PST_MOVE_DO_DIGEST, player->digest_at);
}

uint8_t pst_move_digest_take(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    player->digest_said_at = fact->time;
    player->digest = fact->digest;
    return player->state;
}

/* ---- the rules by which rows are counted in ---- */
bool pst_move_fresh(uint64_t mine, uint64_t incarnation) { return mine == incarnation || MISTAKE(NO_EPOCH); }

bool pst_move_wanted(int64_t image_time, int64_t time) { return time >= image_time || MISTAKE(NO_VECTOR); }

void pst_move_marks_init(struct pst_move_marks *marks, uint64_t epoch)
{
    *marks = (struct pst_move_marks){.epoch = epoch, .epoch_next = epoch, .cut = PST_MOVE_NEVER};
}

/* Again, for a giver that died when two had spoken: the cut between them stays, the taker says again what is below it. The giver's epoch is
 * taken until the end: it may be alive, and its promise of time would not be true without its rows. */
void pst_move_marks_open(struct pst_move_marks *marks, uint64_t epoch_next, int64_t cut)
{
    if (marks->epoch_next == epoch_next)
        return;
    marks->low = marks->high; /* what the giver has put out beyond the cut already counts on both sides */
    marks->cut = cut;
    marks->epoch_next = epoch_next;
}

void pst_move_marks_close(struct pst_move_marks *marks)
{
    marks->high = marks->low > marks->high ? marks->low : marks->high;
    marks->cut = PST_MOVE_NEVER;
    marks->epoch = marks->epoch_next;
}

bool pst_move_accept(struct pst_move_marks *marks, uint64_t epoch, int64_t time, uint64_t number)
{
    if (epoch != marks->epoch && epoch != marks->epoch_next && !MISTAKE(NO_EPOCH))
        return false;
    uint64_t *mark = time < marks->cut && !MISTAKE(ONE_MARK) ? &marks->low : &marks->high;
    if (number <= *mark)
        return false;
    *mark = number;
    return true;
}
