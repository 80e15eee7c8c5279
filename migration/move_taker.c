/* move_taker.c - the taker of a move: a lane for the buckets, filled image by image, muted until the commit. */
#include "migration/move_inside.h"

/* A node that was thought gone may still have something of a move whose end it has not heard: under the partition's number, which
 * is given again, or for the same buckets. */
static bool stands_in_the_way(const struct pst_move_player *player, const struct pst_move_player *other)
{
    if (other->all == NULL || other == player)
        return false;
    if (other->partition == player->partition)
        return true;
    for (uint32_t i = 0; other->role == PST_MOVE_TAKER && other->op == player->op && i < PST_MOVE_BUCKETS_MAX / 64; i++)
        if ((other->buckets.bits[i] & player->buckets.bits[i]) != 0)
            return true;
    return false;
}

static uint8_t check(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    struct pst_move_action action = {.act = PST_MOVE_DO_CHECK};
    player->refused = !pst_move_do_asked(player, &action);
    for (uint32_t i = 0; i < PST_MOVE_PLAYERS_MAX; i++)
        player->refused = player->refused || stands_in_the_way(player, &player->all->players[i]);
    return player->refused ? PST_TAKER_NONE : PST_TAKER_ASKED;
}

static uint8_t lane_open(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    pst_move_do(player, PST_MOVE_DO_OPEN, PST_MOVE_NEVER);
    return PST_TAKER_OPEN;
}

static void taken_say(struct pst_move_player *player, const struct pst_move_message *chunk, uint32_t count)
{
    struct pst_move_message taken;
    pst_move_message_init(player, PST_MOVE_TAKEN, &taken);
    taken.role = PST_MOVE_GIVER;
    taken.partition = player->from;
    taken.time = chunk->time;
    taken.bucket = chunk->bucket;
    taken.chunk = count;
    taken.chunk_count = chunk->chunk_count;
    pst_move_say(player, &taken);
}

static bool all_in(const struct pst_move_player *player)
{
    return pst_move_set_next(&player->left, 0) == PST_MOVE_BUCKETS_MAX;
}

/* Is the chunk kept? The giver sends images one after the other, and the chunks of one in their order. */
static bool stage(struct pst_move_player *player, const struct pst_move_message *chunk)
{
    if (chunk->chunk == 0 && player->chunk_taken == 0 && chunk->time >= player->image_time) {
        player->bucket = chunk->bucket;
        player->image_time = chunk->time;
        player->chunk_count = chunk->chunk_count;
    }
    if (chunk->bucket != player->bucket || chunk->time != player->image_time || chunk->chunk != player->chunk_taken ||
        chunk->chunk_count != player->chunk_count)
        return false;
    struct pst_move_action action = {
        .act = PST_MOVE_DO_STAGE, .time = chunk->time, .bucket = chunk->bucket, .message = chunk};
    if (!pst_move_do_asked(player, &action)) {
        player->full = true;
        return false;
    }
    player->chunk_taken++;
    return true;
}

static void install(struct pst_move_player *player)
{
    struct pst_move_action action = {.act = PST_MOVE_DO_INSTALL, .time = player->image_time, .bucket = player->bucket};
    (void)pst_move_do_asked(player, &action);
    pst_move_set_remove(&player->left, player->bucket);
    player->time = player->image_time;
    player->kept_from = player->kept_from > player->time ? player->kept_from : player->time;
    player->chunk_taken = player->chunk_count = 0;
}

static uint8_t chunk_take(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    const struct pst_move_message *chunk = fact->message;
    if (!pst_move_set_has(&player->left, chunk->bucket)) {
        taken_say(player, chunk, chunk->chunk_count); /* it is in: what was said of that has been lost */
        return player->state;
    }
    (void)stage(player, chunk);
    if (chunk->bucket != player->bucket || chunk->time != player->image_time)
        return player->state;
    bool whole = player->chunk_taken != 0 && player->chunk_taken == player->chunk_count;
    taken_say(player, chunk, player->chunk_taken);
    if (whole)
        install(player);
    return all_in(player) ? PST_TAKER_CAUGHT : PST_TAKER_COPIES;
}

static uint8_t chunk_again(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    taken_say(player, fact->message, fact->message->chunk_count);
    return player->state;
}

/* What every downstream has got from the giver need not be kept. */
static void trim(struct pst_move_player *player, const struct pst_move_message *order)
{
    if (order->have == PST_MOVE_NEVER || order->have <= player->kept_from)
        return;
    player->kept_from = order->have;
    pst_move_do(player, PST_MOVE_DO_TRIM, order->have);
}

static uint8_t copying(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    trim(player, fact->message);
    return player->state;
}

static uint8_t ready(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    trim(player, fact->message);
    pst_move_digest_ask(player);
    return player->state;
}

/* Where the giver is dead nobody else has what is kept. Otherwise the giver puts out what is below the cut; what is above it and has come
 * everywhere already is not kept any more, so that the cut is where the kept begins. */
static void put_out(struct pst_move_player *player)
{
    bool from_kept = player->gone || player->cut < player->kept_from;
    if (player->gone && MISTAKE(NO_REPLAY))
        from_kept = player->cut < player->kept_from && player->cut != PST_MOVE_NEVER;
    int64_t from = from_kept ? player->kept_from : player->cut;
    if (from == PST_MOVE_NEVER) /* only where the mistake is planted */
        from = PST_MOVE_END;
    pst_move_do(player, PST_MOVE_DO_PUT_OUT, from);
    player->covered = player->gone ? PST_MOVE_END : PST_MOVE_NEVER;
}

static uint8_t committed(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    if (!player->gone)
        trim(player, fact->message);
    if (player->state == PST_TAKER_CAUGHT || (player->gone && player->covered != PST_MOVE_END))
        put_out(player);
    if ((fact->message->flags & PST_MOVE_SAYS_SETTLED) == 0)
        return PST_TAKER_SPEAKS;
    pst_move_do(player, PST_MOVE_DO_SERVE, PST_MOVE_NEVER);
    return PST_TAKER_SERVES;
}

static uint8_t aborted(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    if (player->state != PST_TAKER_ASKED)
        pst_move_do(player, PST_MOVE_DO_CLOSE, PST_MOVE_NEVER);
    return PST_TAKER_NONE;
}

static uint8_t full(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    player->full = true;
    return player->state;
}

#define S(name) BIT(PST_TAKER_##name)
#define ALL_STATES (BIT(PST_TAKER_COUNT) - 1)
#define LANE (S(OPEN) | S(COPIES) | S(CAUGHT))
#define OWNER (S(SPEAKS) | S(SERVES))
static const struct pst_move_row rows[] = {
    {S(NONE), ON(INTENT), S(ASKED), check, "accepts, or refuses"},
    {S(NONE), ON_OPEN | ON(COMMITTED), 0, pst_move_stay, "it has lost what it knew, and says so"},
    {S(NONE), ON(DONE) | ON(ABORTED), 0, NULL, "answered without a player"},
    {S(ASKED), ON(INTENT), 0, pst_move_stay, "the order once more"},
    {S(ASKED), ON(PREPARED), S(OPEN), lane_open, "a lane with nothing in it"},
    {S(ASKED), ON(DUPLICATING) | ON(COPYING) | ON(READY) | ON(COMMITTED) | ON(DONE), 0, NULL,
     "upstreams are ordered when it has said that its lane is open"},
    {LANE | OWNER, ON(INTENT), 0, NULL, PST_HEARD_MORE},
    {S(COPIES) | S(CAUGHT), ON(PREPARED), 0, NULL, PST_HEARD_MORE},
    {S(OPEN), ON(PREPARED), 0, pst_move_stay, "the order once more"},
    {LANE, ON(DUPLICATING) | ON(COPYING), 0, copying, "keeps what downstream has not got"},
    {S(OPEN) | S(COPIES), ON(READY) | ON(COMMITTED) | ON(DONE), 0, NULL, "READY waits for its report that all is in"},
    {S(CAUGHT), ON(READY), 0, ready, "says its digest at d"},
    {S(CAUGHT), ON(COMMITTED), S(SPEAKS) | S(SERVES), committed, "puts out what is from the cut on"},
    {S(CAUGHT), ON(DONE), 0, NULL, "DONE waits for its report that it serves"},
    {OWNER, ON_OPEN, 0, NULL, PST_HEARD_MORE},
    {S(SPEAKS), ON(COMMITTED), S(SERVES), committed, "keeps until every downstream hears it alone"},
    {S(SERVES), ON(COMMITTED), 0, pst_move_stay, "the order once more"},
    {S(SPEAKS), ON(DONE), 0, NULL, "DONE waits for its report that it serves"},
    {S(SERVES), ON(DONE), S(NONE), pst_move_forget, "the end"},
    {S(ASKED) | LANE, ON(ABORTED), S(NONE), aborted, "throws the lane away"},
    {OWNER, ON(ABORTED), 0, NULL, PST_FORWARD},

    {S(NONE), TOLD(CHUNK) | TOLD(FULL) | TOLD(DIGEST), 0, NULL, "there is no player"},
    {S(ASKED), TOLD(CHUNK) | TOLD(FULL) | TOLD(DIGEST), 0, NULL, "there is no lane"},
    {S(OPEN) | S(COPIES), TOLD(CHUNK), S(COPIES) | S(CAUGHT), chunk_take, "staged; a whole bucket is installed"},
    {S(CAUGHT) | OWNER, TOLD(CHUNK), 0, chunk_again, "what was said of it has been lost"},
    {LANE, TOLD(FULL), 0, full, "said in its next report; nothing is dropped before the end is heard"},
    {OWNER, TOLD(FULL), 0, pst_move_stay, "upstreams wait, as for every partition"},
    {S(OPEN) | S(COPIES), TOLD(DIGEST), 0, NULL, "none is asked for"},
    {S(CAUGHT) | OWNER, TOLD(DIGEST), 0, pst_move_digest_take, "said in its next report"},
};

#define NAME(name) #name,
static const char *const states[] = {PST_MOVE_TAKER_STATES(NAME)};
#undef NAME
const struct pst_move_table pst_taker_table = {
    .role = "taker",
    .states = states,
    .state_count = PST_TAKER_COUNT,
    .events = ON_ALL | TOLD(CHUNK) | TOLD(FULL) | TOLD(DIGEST),
    .row_count = TABLE_COUNT(rows),
    .rows = rows,
};
