/* move_downstream.c - a partition that takes what the buckets of a move put out: hears both until the giver has stopped and the
 * taker has come as far. */
#include "migration/move_inside.h"

static uint8_t watch(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    pst_move_do(player, PST_MOVE_DO_WATCH, PST_MOVE_NEVER);
    return PST_DOWNSTREAM_WATCHES;
}

/* The taker alone is heard when it has put out all that the giver has, and all below the cut: only then one mark is enough. A giver that was
 * thought dead stops before the cut; what is missing comes with the START that says so. */
static uint8_t settle(struct pst_move_player *player)
{
    if (!player->start_gone && player->stopped < player->time)
        return PST_DOWNSTREAM_STARTED;
    if (player->covered < player->time || player->covered < player->stopped)
        return PST_DOWNSTREAM_BOTH;
    pst_move_do(player, PST_MOVE_DO_SETTLE, PST_MOVE_NEVER);
    return PST_DOWNSTREAM_SETTLED;
}

static uint8_t start(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    /* The cut of the first START stays: the marks are split there. */
    player->time = player->time > fact->time ? player->time : fact->time;
    player->covered = fact->time;
    player->start_gone = fact->gone;
    struct pst_move_action action = {.act = PST_MOVE_DO_BOTH, .time = fact->time, .gone = fact->gone};
    (void)pst_move_do_asked(player, &action);
    return settle(player);
}

static uint8_t stop(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    player->stopped = fact->time;
    return player->state == PST_DOWNSTREAM_WATCHES ? PST_DOWNSTREAM_LEFT : settle(player);
}

static uint8_t covered(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    player->covered = player->covered > fact->time ? player->covered : fact->time;
    return player->state == PST_DOWNSTREAM_BOTH ? settle(player) : player->state;
}

static uint8_t aborted(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    pst_move_do(player, PST_MOVE_DO_UNWATCH, PST_MOVE_NEVER);
    return PST_DOWNSTREAM_NONE;
}

static uint8_t done(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    pst_move_do(player, PST_MOVE_DO_UNWATCH, PST_MOVE_NEVER);
    return PST_DOWNSTREAM_NONE;
}

#define S(name) BIT(PST_DOWNSTREAM_##name)
#define ALL_STATES (BIT(PST_DOWNSTREAM_COUNT) - 1)
#define SPOKEN (S(STARTED) | S(LEFT) | S(BOTH) | S(SETTLED))
static const struct pst_move_row rows[] = {
    {ALL_STATES, ON(INTENT), 0, NULL, PST_NOT_ASKED},
    {S(NONE), ON(PREPARED), S(WATCHES), watch, "says below which time it has the giver's"},
    {S(NONE), ON(DUPLICATING) | ON(COPYING) | ON(READY) | ON(COMMITTED), 0, pst_move_stay,
     "it has lost what it knew, and says so"},
    {S(NONE), ON(DONE) | ON(ABORTED), 0, NULL, "answered without a player"},
    {S(WATCHES) | SPOKEN, ON_OPEN | ON(COMMITTED), 0, pst_move_stay, "channels say more than orders do"},
    {S(WATCHES) | S(STARTED) | S(LEFT) | S(BOTH), ON(DONE), 0, NULL, "DONE waits for its report that it has settled"},
    {S(SETTLED), ON(DONE), S(NONE), done, "the end"},
    {S(WATCHES), ON(ABORTED), S(NONE), aborted, "the giver alone, as before"},
    {SPOKEN, ON(ABORTED), 0, NULL, PST_FORWARD},

    {S(NONE), TOLD(START) | TOLD(STOP) | TOLD(COVERED), 0, NULL, "there is no player"},
    {S(WATCHES) | S(STARTED) | S(LEFT) | S(BOTH), TOLD(START), S(STARTED) | S(BOTH) | S(SETTLED), start,
     "hears both: the first of each number counts, on either side of the cut"},
    {S(SETTLED), TOLD(START), 0, pst_move_stay, "the giver died later; all it says again has been heard"},
    {S(WATCHES) | S(STARTED), TOLD(STOP), S(LEFT) | S(BOTH) | S(SETTLED), stop,
     "the giver's promise ends where it says"},
    {S(BOTH), TOLD(STOP), 0, pst_move_stay, "from a giver that was thought dead"},
    {S(SETTLED), TOLD(STOP), 0, pst_move_stay, "from a giver that was thought dead"},
    {S(LEFT), TOLD(STOP), 0, NULL, "it stops once"},
    {S(STARTED) | S(BOTH), TOLD(COVERED), S(SETTLED), covered, "settles where the taker has come far enough"},
    {S(WATCHES) | S(LEFT), TOLD(COVERED), 0, NULL, "START comes first in the taker's channel"},
    {S(SETTLED), TOLD(COVERED), 0, pst_move_stay, "the taker alone is heard"},
};

#define NAME(name) #name,
static const char *const states[] = {PST_MOVE_DOWNSTREAM_STATES(NAME)};
#undef NAME
const struct pst_move_table pst_downstream_table = {
    .role = "downstream",
    .states = states,
    .state_count = PST_DOWNSTREAM_COUNT,
    .events = ON_ALL | TOLD(START) | TOLD(STOP) | TOLD(COVERED),
    .row_count = TABLE_COUNT(rows),
    .rows = rows,
};
