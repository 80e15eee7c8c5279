/* move_giver.c - the giver of a move: serves on, hands over an image of each bucket, and stops where the commit says. */
#include "migration/move_inside.h"

static uint8_t serve(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)player;
    (void)fact;
    return PST_GIVER_SERVES;
}

static void image_ask(struct pst_move_player *player)
{
    struct pst_move_action action = {.act = PST_MOVE_DO_IMAGE, .time = player->since, .left = &player->left};
    (void)pst_move_do_asked(player, &action);
}

static uint8_t images_begin(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    image_ask(player);
    return PST_GIVER_IMAGES;
}

static void chunks_send(struct pst_move_player *player)
{
    while (player->chunk_sent < player->chunk_count && player->chunk_sent - player->chunk_taken < PST_MOVE_CHUNKS_MAX) {
        struct pst_move_action action = {.act = PST_MOVE_DO_CHUNK, .chunk = player->chunk_sent++};
        (void)pst_move_do_asked(player, &action);
    }
}

void pst_move_chunk(const struct pst_move_player *player, uint32_t chunk, struct pst_move_message *ret_message)
{
    pst_move_message_init(player, PST_MOVE_CHUNK, ret_message);
    ret_message->role = PST_MOVE_TAKER;
    ret_message->partition = player->to;
    ret_message->time = player->image_time;
    ret_message->bucket = player->bucket;
    ret_message->chunk = chunk;
    ret_message->chunk_count = player->chunk_count;
}

static uint8_t image_take(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    PST_ASSERT(fact->count != 0 && fact->time >= player->since && fact->time >= player->image_time);
    PST_ASSERT(pst_move_set_has(&player->left, fact->bucket));
    player->bucket = fact->bucket;
    player->image_time = fact->time;
    player->chunk_count = fact->count;
    player->chunk_sent = player->chunk_taken = 0;
    chunks_send(player);
    return PST_GIVER_SENDS;
}

static uint8_t chunks_taken(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    const struct pst_move_message *taken = fact->message;
    if (taken->bucket != player->bucket || taken->time != player->image_time || taken->chunk <= player->chunk_taken ||
        taken->chunk > player->chunk_count)
        return PST_GIVER_SENDS;
    player->chunk_taken = taken->chunk;
    if (player->chunk_sent < player->chunk_taken)
        player->chunk_sent = player->chunk_taken;
    if (player->chunk_taken < player->chunk_count) {
        chunks_send(player);
        return PST_GIVER_SENDS;
    }
    pst_move_do(player, PST_MOVE_DO_DROP, PST_MOVE_NEVER);
    pst_move_set_remove(&player->left, player->bucket);
    if (pst_move_set_next(&player->left, 0) == PST_MOVE_BUCKETS_MAX)
        return PST_GIVER_COPIED;
    image_ask(player);
    return PST_GIVER_IMAGES;
}

static uint8_t chunks_again(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    player->chunk_sent = player->chunk_taken;
    chunks_send(player);
    return PST_GIVER_SENDS;
}

/* The taker has everything; its last word of that may have been lost. */
static uint8_t ready(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    if (player->state == PST_GIVER_SENDS)
        pst_move_do(player, PST_MOVE_DO_DROP, PST_MOVE_NEVER);
    pst_move_digest_ask(player);
    return PST_GIVER_COPIED;
}

/* One that was thought dead, and lives, leaves where it is: its upstreams may send to the taker alone by now, and it would never come to the
 * cut. Hears of it as late as with DONE. */
static uint8_t leave(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    bool at_once = player->gone || fact->message->step == PST_MOVE_DONE;
    if (player->state == PST_GIVER_SENDS)
        pst_move_do(player, PST_MOVE_DO_DROP, PST_MOVE_NEVER);
    if (player->state != PST_GIVER_LEAVES)
        pst_move_do(player, PST_MOVE_DO_STAY, PST_MOVE_NEVER);
    if (player->state != PST_GIVER_LEAVES || at_once)
        pst_move_do(player, PST_MOVE_DO_LEAVE, at_once ? PST_MOVE_NEVER : player->cut);
    return PST_GIVER_LEAVES;
}

static uint8_t left(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    player->time = fact->time;
    return player->heard == PST_MOVE_DONE ? PST_GIVER_NONE : PST_GIVER_STOPPED;
}

static uint8_t aborted(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    if (player->state == PST_GIVER_SENDS)
        pst_move_do(player, PST_MOVE_DO_DROP, PST_MOVE_NEVER);
    pst_move_do(player, PST_MOVE_DO_STAY, PST_MOVE_NEVER);
    return PST_GIVER_NONE;
}

#define S(name) BIT(PST_GIVER_##name)
#define ALL_STATES (BIT(PST_GIVER_COUNT) - 1)
static const struct pst_move_row rows[] = {
    {ALL_STATES, ON(INTENT), 0, NULL, PST_NOT_ASKED},
    {S(NONE), ON(PREPARED), S(SERVES), serve, "serves, and knows that a move is coming"},
    {S(NONE) | S(SERVES), ON(DUPLICATING) | ON(COPYING), S(IMAGES), images_begin, "the time s is known"},
    {S(NONE), ON(READY) | ON(COMMITTED), 0, pst_move_stay, "it has lost what it knew, and says so"},
    {S(NONE), ON(DONE) | ON(ABORTED), 0, NULL, "answered without a player"},
    {S(SERVES), ON(READY) | ON(COMMITTED) | ON(DONE), 0, NULL, "COPYING waits for its report that it takes images"},
    {S(SERVES), ON(PREPARED), 0, pst_move_stay, "the order once more"},
    {S(IMAGES) | S(SENDS) | S(COPIED), ON(DUPLICATING) | ON(COPYING), 0, pst_move_stay, "the order once more"},
    {S(IMAGES), ON(READY), 0, NULL, "a bucket is left that the taker cannot have"},
    {S(SENDS) | S(COPIED), ON(READY), S(COPIED), ready, "says its digest at d"},
    {S(IMAGES), ON(COMMITTED) | ON(DONE), 0, NULL, "a bucket is left that the taker cannot have"},
    {S(SENDS) | S(COPIED), ON(COMMITTED) | ON(DONE), S(LEAVES), leave, "serves up to the cut"},
    {S(IMAGES) | S(SENDS) | S(COPIED) | S(LEAVES) | S(STOPPED), ON(PREPARED), 0, NULL, PST_HEARD_MORE},
    {S(LEAVES) | S(STOPPED), ON(DUPLICATING) | ON(COPYING) | ON(READY), 0, NULL, PST_HEARD_MORE},
    {S(LEAVES), ON(COMMITTED) | ON(DONE), 0, leave, "serves up to the cut; thought dead: leaves at once"},
    {S(STOPPED), ON(COMMITTED), 0, pst_move_stay, "the order once more"},
    {S(STOPPED), ON(DONE), S(NONE), pst_move_forget, "the end"},
    {S(SERVES) | S(IMAGES) | S(SENDS) | S(COPIED), ON(ABORTED), S(NONE), aborted, "serves, as if nothing had been"},
    {S(LEAVES) | S(STOPPED), ON(ABORTED), 0, NULL, PST_FORWARD},

    {S(IMAGES), TOLD(IMAGE), S(SENDS), image_take, "the first chunks are on their way"},
    {ALL_STATES & ~S(IMAGES), TOLD(IMAGE), 0, NULL, "none is asked for"},
    {S(SENDS), TOLD(TAKEN), S(IMAGES) | S(COPIED), chunks_taken, "the next chunks, the next bucket, or all is copied"},
    {ALL_STATES & ~(S(SENDS) | S(NONE)), TOLD(TAKEN), 0, pst_move_stay, "late"},
    {S(NONE), TOLD(TAKEN) | TOLD(AGAIN) | TOLD(DIGEST) | TOLD(LEFT), 0, NULL, "there is no player"},
    {S(SENDS), TOLD(AGAIN), 0, chunks_again, "what is not taken is sent again"},
    {ALL_STATES & ~(S(SENDS) | S(NONE)), TOLD(AGAIN), 0, pst_move_stay, "nothing is on its way"},
    {S(COPIED) | S(LEAVES), TOLD(DIGEST), 0, pst_move_digest_take, "said in its next report"},
    {S(SERVES) | S(IMAGES) | S(SENDS) | S(STOPPED), TOLD(DIGEST), 0, NULL, "none is asked for"},
    {S(LEAVES), TOLD(LEFT), S(STOPPED) | S(NONE), left, "from here on the taker alone puts out"},
    {ALL_STATES & ~(S(LEAVES) | S(NONE)), TOLD(LEFT), 0, NULL, "it was not asked to"},
};

#define NAME(name) #name,
static const char *const states[] = {PST_MOVE_GIVER_STATES(NAME)};
#undef NAME
const struct pst_move_table pst_giver_table = {
    .role = "giver",
    .states = states,
    .state_count = PST_GIVER_COUNT,
    .events = ON_ALL | TOLD(IMAGE) | TOLD(TAKEN) | TOLD(AGAIN) | TOLD(DIGEST) | TOLD(LEFT),
    .row_count = TABLE_COUNT(rows),
    .rows = rows,
};
