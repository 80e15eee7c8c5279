/* move_upstream.c - a partition whose rows go to the buckets of a move: sends them both ways until the giver has stopped. */
#include "migration/move_inside.h"

static uint8_t branch(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    struct pst_move_action action = {.act = PST_MOVE_DO_BRANCH, .time = PST_MOVE_NEVER};
    (void)pst_move_do_asked(player, &action);
    player->time = action.time;
    return PST_UPSTREAM_BOTH;
}

/* It must not drop the rows: the commit may be under way. It must not send on to the giver alone either. So it waits, with both
 * branches, for the answer, which is an abort or a commit. */
static uint8_t full(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    player->full = true;
    return PST_UPSTREAM_HELD;
}

static uint8_t committed(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    if (player->state == PST_UPSTREAM_BOTH || player->state == PST_UPSTREAM_HELD)
        pst_move_do(player, PST_MOVE_DO_BIND, PST_MOVE_NEVER);
    if ((fact->message->flags & (PST_MOVE_SAYS_LEFT | PST_MOVE_SAYS_GONE)) == 0)
        return PST_UPSTREAM_BOUND;
    pst_move_do(player, PST_MOVE_DO_ROUTE, PST_MOVE_NEVER);
    return PST_UPSTREAM_ONE_WAY;
}

static uint8_t aborted(struct pst_move_player *player, const struct pst_move_fact *fact)
{
    (void)fact;
    pst_move_do(player, PST_MOVE_DO_UNBRANCH, PST_MOVE_NEVER);
    return PST_UPSTREAM_NONE;
}

#define S(name) BIT(PST_UPSTREAM_##name)
#define ALL_STATES (BIT(PST_UPSTREAM_COUNT) - 1)
static const struct pst_move_row rows[] = {
    {ALL_STATES, ON(INTENT), 0, NULL, PST_NOT_ASKED},
    {S(NONE), ON(PREPARED), S(BOTH), branch, "both ways from s_u on"},
    {S(NONE), ON(DUPLICATING) | ON(COPYING) | ON(READY) | ON(COMMITTED), 0, pst_move_stay,
     "it has lost what it knew, and says so"},
    {S(NONE), ON(DONE) | ON(ABORTED), 0, NULL, "answered without a player"},
    {S(BOTH) | S(HELD), ON_OPEN, 0, pst_move_stay, "both ways"},
    {S(BOTH) | S(HELD), ON(COMMITTED), S(BOUND) | S(ONE_WAY), committed, "the branch is an ordinary channel"},
    {S(BOTH) | S(HELD) | S(BOUND), ON(DONE), 0, NULL, "DONE waits for its report that it sends one way"},
    {S(BOTH) | S(HELD), ON(ABORTED), S(NONE), aborted, "to the giver alone"},
    {S(BOUND) | S(ONE_WAY), ON_OPEN, 0, NULL, PST_HEARD_MORE},
    {S(BOUND), ON(COMMITTED), S(ONE_WAY), committed, "when the giver has stopped: to the taker alone"},
    {S(ONE_WAY), ON(COMMITTED), 0, pst_move_stay, "the order once more"},
    {S(ONE_WAY), ON(DONE), S(NONE), pst_move_forget, "the end"},
    {S(BOUND) | S(ONE_WAY), ON(ABORTED), 0, NULL, PST_FORWARD},

    {S(NONE), TOLD(FULL), 0, NULL, "there is no player"},
    {S(BOTH), TOLD(FULL), S(HELD), full, "reads no more until it hears an end or a commit"},
    {S(HELD), TOLD(FULL), 0, pst_move_stay, "held already"},
    {S(BOUND) | S(ONE_WAY), TOLD(FULL), 0, pst_move_stay, "back-pressure, as on every channel"},
};

#define NAME(name) #name,
static const char *const states[] = {PST_MOVE_UPSTREAM_STATES(NAME)};
#undef NAME
const struct pst_move_table pst_upstream_table = {
    .role = "upstream",
    .states = states,
    .state_count = PST_UPSTREAM_COUNT,
    .events = ON_ALL | TOLD(FULL),
    .row_count = TABLE_COUNT(rows),
    .rows = rows,
};
