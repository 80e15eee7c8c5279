/* test_move_table.c - the tables of the roles and of the record, each pair of state and event; the records' text; the marks. */
#include "migration/move_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a player by itself ---- */
static struct pst_move_players players;
static struct pst_move_message said;
static uint32_t acts, says;

static void send(void *self, const struct pst_move_message *message)
{
    (void)self;
    said = *message;
    says++;
}
static void act(void *self, struct pst_move_player *player, struct pst_move_action *action)
{
    (void)self;
    (void)player;
    (void)action;
    acts++;
}
static void look(void *self, const struct pst_move_player *player, struct pst_move_message *report)
{
    (void)self;
    (void)player;
    report->now = 100;
}
static void trace(void *self, const struct pst_move_player *player, uint32_t event, uint32_t from, uint32_t to)
{
    (void)self;
    struct pst_text text = {0};
    assert_int_equal(pst_move_line(player, event, from, to, &text), PST_OK);
    assert_non_null(strstr(text.bytes, "move "));
    pst_text_fini(&text);
}

/* A player of two buckets that has come to `state` somehow. */
static struct pst_move_player *put(pst_move_role role, uint32_t state)
{
    const struct pst_move_seam seam = {NULL, send, act, look, trace};
    pst_move_players_init(&players, &seam, 3, 0);
    struct pst_move_player *player = &players.players[0];
    *player = (struct pst_move_player){.all = &players,
                                       .role = role,
                                       .state = (uint8_t)state,
                                       .partition = 5,
                                       .from = 4,
                                       .to = 5,
                                       .move = 17,
                                       .serial = 2,
                                       .epoch = 1,
                                       .since = 50,
                                       .image_time = 60,
                                       .bucket = 1,
                                       .chunk_count = 2,
                                       .chunk_sent = 2};
    pst_move_set_add(&player->buckets, 1);
    pst_move_set_add(&player->buckets, 6);
    player->left = player->buckets;
    acts = says = 0;
    return player;
}

static struct pst_move_message order_of(pst_move_role role, uint32_t step)
{
    struct pst_move_message order = {.kind = PST_MOVE_ORDER,
                                     .role = role,
                                     .step = (pst_move_step)step,
                                     .partition = 5,
                                     .from = 4,
                                     .to = 5,
                                     .move = 17,
                                     .serial = 2,
                                     .incarnation = 3,
                                     .epoch = 1,
                                     .time = 80,
                                     .have = 70,
                                     .digest_at = 120};
    pst_move_set_add(&order.buckets, 1);
    pst_move_set_add(&order.buckets, 6);
    return order;
}

static void event_give(pst_move_role role, struct pst_move_player *player, uint32_t event)
{
    struct pst_move_message message = order_of(role, event <= PST_MOVE_ON_LAST_ORDER ? event : 0);
    if (event <= PST_MOVE_ON_LAST_ORDER) {
        pst_move_receive(&players, &message);
        return;
    }
    message.kind = event == PST_MOVE_ON_CHUNK ? PST_MOVE_CHUNK : PST_MOVE_TAKEN;
    message.bucket = 1;
    message.time = 60;
    message.chunk = event == PST_MOVE_ON_TAKEN ? 2 : 0;
    message.chunk_count = 2;
    bool by_message = event == PST_MOVE_ON_CHUNK || event == PST_MOVE_ON_TAKEN;
    pst_move_tell(player, (pst_move_event)event,
                  &(struct pst_move_fact){
                      .message = by_message ? &message : NULL, .time = 90, .bucket = 1, .count = 2, .digest = 7});
}

static void walk(pst_move_role role)
{
    const struct pst_move_table *table = pst_move_table(role);
    for (uint32_t state = 0; state < table->state_count; state++)
        for (uint32_t event = 0; event < PST_MOVE_EVENT_COUNT; event++) {
            uint32_t rows = 0;
            for (uint32_t i = 0; i < table->row_count; i++)
                rows += (table->rows[i].states >> state & 1) != 0 && (table->rows[i].events >> event & 1) != 0;
            if (rows != (table->events >> event & 1))
                fail_msg("%s: %u rows for %s in %s", table->role, rows, pst_move_event_name(event),
                         table->states[state]);
            if (rows == 0)
                continue;
            const struct pst_move_row *row = pst_move_row(table, state, event);
            assert_true(strlen(row->what) > 3);
            struct pst_move_player *player = put(role, state);
            if (state == 0) /* who knows nothing is made by the order itself */
                player->all = NULL;
            if (row->run == NULL && event > PST_MOVE_ON_LAST_ORDER)
                continue; /* a broken promise of the caller's: an assertion stops it */
            if (state == 0 && event > PST_MOVE_ON_LAST_ORDER)
                fail_msg("%s: %s can be told to nobody", table->role, pst_move_event_name(event));
            event_give(role, player, event);
            if (row->run == NULL) {
                assert_int_equal(acts, 0);
                assert_true(state == 0 || player->state == state);
            } else {
                assert_true(player->state == state || (row->to >> player->state & 1) != 0);
            }
        }
}

static void every_pair_of_the_givers_table_is_as_it_says(void **state)
{
    (void)state;
    walk(PST_MOVE_GIVER);
}
static void every_pair_of_the_takers_table_is_as_it_says(void **state)
{
    (void)state;
    walk(PST_MOVE_TAKER);
}
static void every_pair_of_the_upstreams_table_is_as_it_says(void **state)
{
    (void)state;
    walk(PST_MOVE_UPSTREAM);
}
static void every_pair_of_the_downstreams_table_is_as_it_says(void **state)
{
    (void)state;
    walk(PST_MOVE_DOWNSTREAM);
}

static void a_record_moves_as_its_table_says_and_never_back(void **state)
{
    (void)state;
    for (uint32_t step = 0; step < PST_MOVE_STEP_COUNT; step++)
        for (uint32_t cause = 0; cause < PST_MOVE_CAUSE_COUNT; cause++) {
            const struct pst_move_rule *rule = pst_move_rule((pst_move_step)step, (pst_move_cause)cause);
            if (rule == NULL)
                fail_msg("%s, %s: no rule", pst_move_step_name((pst_move_step)step),
                         pst_move_cause_name((pst_move_cause)cause));
            if (rule->to == PST_MOVE_STEP_COUNT)
                continue;
            assert_true(step < PST_MOVE_DONE);
            assert_true(rule->to >= (int)step);
            assert_false(step == PST_MOVE_COMMITTED && rule->to == PST_MOVE_ABORTED);
        }
}

/* ---- what is old is not played ---- */
static void a_move_that_ended_does_not_begin_again(void **state)
{
    (void)state;
    struct pst_move_message order = order_of(PST_MOVE_UPSTREAM, PST_MOVE_ABORTED);
    (void)put(PST_MOVE_UPSTREAM, PST_UPSTREAM_BOTH);
    pst_move_receive(&players, &order);
    assert_null(players.players[0].all);
    order = order_of(PST_MOVE_UPSTREAM, PST_MOVE_PREPARED);
    acts = 0;
    pst_move_receive(&players, &order);
    assert_int_equal(acts, 0);
    assert_true(said.flags == PST_MOVE_SAYS_UNKNOWN);
}

static void serials_stay_closed_when_many_follow(void **state)
{
    (void)state;
    (void)put(PST_MOVE_UPSTREAM, 0);
    players.players[0].all = NULL;
    for (uint64_t serial = 1; serial <= 300; serial += 1 + serial % 3) {
        struct pst_move_message order = order_of(PST_MOVE_UPSTREAM, PST_MOVE_ABORTED);
        order.serial = serial;
        pst_move_receive(&players, &order);
        order.step = PST_MOVE_PREPARED;
        acts = 0;
        pst_move_receive(&players, &order);
        assert_int_equal(acts, 0);
    }
    struct pst_move_message order = order_of(PST_MOVE_UPSTREAM, PST_MOVE_PREPARED);
    order.serial = 302;
    pst_move_receive(&players, &order);
    assert_int_equal(acts, 1);
}

static void an_order_of_another_incarnation_is_not_heard(void **state)
{
    (void)state;
    struct pst_move_message order = order_of(PST_MOVE_UPSTREAM, PST_MOVE_ABORTED);
    struct pst_move_player *player = put(PST_MOVE_UPSTREAM, PST_UPSTREAM_BOTH);
    order.incarnation = 2;
    pst_move_receive(&players, &order);
    assert_int_equal(player->state, PST_UPSTREAM_BOTH);
    assert_int_equal(says, 0);
}

static void a_taker_with_something_of_an_older_move_refuses(void **state)
{
    (void)state;
    struct pst_move_message order = order_of(PST_MOVE_TAKER, PST_MOVE_INTENT);
    (void)put(PST_MOVE_TAKER, PST_TAKER_CAUGHT);
    order.move = 18;
    order.serial = 3;
    order.partition = order.to = 9;
    pst_move_receive(&players, &order);
    assert_true((said.flags & PST_MOVE_SAYS_REFUSED) != 0);
}

/* Seeds 106078 and 150135 of test_move.c, before this was so. */
static void a_giver_that_was_thought_dead_leaves_at_once(void **state)
{
    (void)state;
    struct pst_move_message order = order_of(PST_MOVE_GIVER, PST_MOVE_COMMITTED);
    struct pst_move_player *player = put(PST_MOVE_GIVER, PST_GIVER_LEAVES);
    pst_move_receive(&players, &order);
    assert_int_equal(acts, 0);
    order.flags = PST_MOVE_SAYS_GONE;
    pst_move_receive(&players, &order);
    assert_int_equal(acts, 1);
    assert_int_equal(player->state, PST_GIVER_LEAVES);
}

static void a_stop_before_the_cut_settles_nothing_until_the_taker_starts_again(void **state)
{
    (void)state;
    struct pst_move_player *player = put(PST_MOVE_DOWNSTREAM, PST_DOWNSTREAM_WATCHES);
    player->stopped = player->covered = player->time = PST_MOVE_NEVER;
    pst_move_tell(player, PST_MOVE_ON_START, &(struct pst_move_fact){.time = 100});
    pst_move_tell(player, PST_MOVE_ON_STOP, &(struct pst_move_fact){.time = 80});
    pst_move_tell(player, PST_MOVE_ON_COVERED, &(struct pst_move_fact){.time = 120});
    assert_int_equal(player->state, PST_DOWNSTREAM_STARTED);
    pst_move_tell(player, PST_MOVE_ON_START, &(struct pst_move_fact){.time = 70, .gone = true});
    assert_int_equal(player->state, PST_DOWNSTREAM_BOTH);
    pst_move_tell(player, PST_MOVE_ON_COVERED, &(struct pst_move_fact){.time = 90});
    assert_int_equal(player->state, PST_DOWNSTREAM_BOTH);
    pst_move_tell(player, PST_MOVE_ON_COVERED, &(struct pst_move_fact){.time = 100});
    assert_int_equal(player->state, PST_DOWNSTREAM_SETTLED);
}

/* ---- marks ---- */
static void the_takers_first_number_does_not_stand_for_those_below_the_cut(void **state)
{
    (void)state;
    struct pst_move_marks marks;
    pst_move_marks_init(&marks, 4);
    assert_true(pst_move_accept(&marks, 4, 10, 1));
    assert_false(pst_move_accept(&marks, 5, 10, 2));
    pst_move_marks_open(&marks, 5, 30);
    assert_true(pst_move_accept(&marks, 5, 30, 3));
    assert_true(pst_move_accept(&marks, 4, 20, 2));
    assert_false(pst_move_accept(&marks, 4, 30, 3));
    assert_false(pst_move_accept(&marks, 5, 20, 2));
    pst_move_marks_open(&marks, 5, 10);
    assert_false(pst_move_accept(&marks, 5, 20, 2));
    assert_true(pst_move_accept(&marks, 4, 35, 4));
    assert_false(pst_move_accept(&marks, 5, 35, 4));
    pst_move_marks_close(&marks);
    assert_false(pst_move_accept(&marks, 5, 35, 4));
    assert_true(pst_move_accept(&marks, 5, 40, 5));
    assert_false(pst_move_accept(&marks, 4, 40, 6));
}

/* ---- records ---- */
static struct pst_move_record record_any(void)
{
    struct pst_move_record record = {.id = 17,
                                     .serial = 9,
                                     .step = PST_MOVE_COMMITTED,
                                     .incarnation = 2,
                                     .op = 1,
                                     .from = 3,
                                     .to = 8,
                                     .from_node = 0,
                                     .to_node = 2,
                                     .epoch = 5,
                                     .deadline_ns = 123,
                                     .since = -40,
                                     .latest = PST_MOVE_END,
                                     .cut = PST_MOVE_NEVER,
                                     .gone = true};
    for (uint32_t b = 0; b < PST_MOVE_BUCKETS_MAX; b += b < 10 ? 1 : 700)
        pst_move_set_add(&record.buckets, b);
    pst_move_set_add(&record.buckets, PST_MOVE_BUCKETS_MAX - 1);
    return record;
}

static void a_move_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct pst_move_record record = record_any(), read;
    struct pst_text text = {0};
    assert_int_equal(pst_move_record_write(&record, &text), PST_OK);
    assert_int_equal(pst_move_record_read(text.bytes, text.count, &read), PST_OK);
    assert_memory_equal(&record.buckets, &read.buckets, sizeof read.buckets);
    assert_true(read.since == -40 && read.latest == PST_MOVE_END && read.cut == PST_MOVE_NEVER && read.gone);
    for (size_t count = 0; count < text.count; count++)
        assert_int_equal(pst_move_record_read(text.bytes, count, &read), PST_EDATA);
    pst_text_fini(&text);
}

static void a_move_that_cannot_be_is_not_read(void **state)
{
    (void)state;
    struct pst_move_record wrong[6], read;
    for (uint32_t i = 0; i < 6; i++)
        wrong[i] = record_any();
    wrong[0].id = 0;
    wrong[1].to = wrong[1].from;
    wrong[2].buckets = (struct pst_move_set){0};
    wrong[3].step = PST_MOVE_ABORTED;
    wrong[4].step = PST_MOVE_READY;
    wrong[5].why = PST_MOVE_WHY_LATE;
    for (uint32_t i = 0; i < 6; i++) {
        struct pst_text text = {0};
        assert_int_equal(pst_move_record_write(&wrong[i], &text), PST_OK);
        assert_int_equal(pst_move_record_read(text.bytes, text.count, &read), PST_EDATA);
        pst_text_fini(&text);
    }
}

static struct pst_owners owners, owners_again;

static void owners_any(void)
{
    const uint32_t counts[] = {2, 4096, 3000};
    uint32_t partition;
    pst_owners_init(&owners, 3, counts);
    for (uint32_t op = 0; op < 3; op++)
        for (uint32_t b = 0; b < counts[op]; b++) {
            assert_int_equal(pst_owners_partition(&owners, op, b % 3, &partition), PST_OK);
            *pst_owners_at(&owners, op, b) = (struct pst_owner){partition, UINT64_MAX - 1 - b, UINT64_MAX - b};
        }
}

static void the_largest_owners_record_fits_the_store_and_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct pst_text text = {0};
    owners_any();
    assert_int_equal(pst_owners_write(&owners, &text), PST_OK);
    assert_true(text.count <= PST_STORE_RECORD_BYTES_MAX);
    assert_int_equal(pst_owners_read(text.bytes, text.count, &owners_again), PST_OK);
    for (uint32_t i = 0; i < owners.first[3]; i++)
        assert_true(owners.buckets[i].epoch == owners_again.buckets[i].epoch &&
                    owners.buckets[i].locked == owners_again.buckets[i].locked);
    for (size_t count = 0; count < text.count; count += 1 + count / 50)
        assert_int_equal(pst_owners_read(text.bytes, count, &owners_again), PST_EDATA);
    pst_text_fini(&text);
}

static void a_recovery_gives_what_the_gone_had_to_who_is_there_and_unlocks_all(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 8};
    uint32_t partition;
    pst_owners_init(&owners, 2, counts);
    for (uint32_t op = 0; op < 2; op++)
        for (uint32_t b = 0; b < counts[op]; b++) {
            assert_int_equal(pst_owners_partition(&owners, op, b % 3, &partition), PST_OK);
            *pst_owners_at(&owners, op, b) = (struct pst_owner){partition, 7, b};
        }
    assert_int_equal(pst_owners_recover(&owners, 1u << 1, 0), PST_EFULL);
    assert_int_equal(pst_owners_recover(&owners, 1u << 1, 1u << 0 | 1u << 2), PST_OK);
    assert_false(pst_owners_serves(&owners, 1));
    assert_true(owners.incarnation == 2 && !owners.running);
    for (uint32_t b = 0; b < 8; b++) {
        assert_int_equal(pst_owners_at(&owners, 1, b)->locked, 0);
        assert_int_equal(pst_owners_at(&owners, 1, b)->epoch, b % 3 == 1 ? 8 : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_the_givers_table_is_as_it_says),
        cmocka_unit_test(every_pair_of_the_takers_table_is_as_it_says),
        cmocka_unit_test(every_pair_of_the_upstreams_table_is_as_it_says),
        cmocka_unit_test(every_pair_of_the_downstreams_table_is_as_it_says),
        cmocka_unit_test(a_record_moves_as_its_table_says_and_never_back),
        cmocka_unit_test(a_move_that_ended_does_not_begin_again),
        cmocka_unit_test(serials_stay_closed_when_many_follow),
        cmocka_unit_test(an_order_of_another_incarnation_is_not_heard),
        cmocka_unit_test(a_taker_with_something_of_an_older_move_refuses),
        cmocka_unit_test(a_giver_that_was_thought_dead_leaves_at_once),
        cmocka_unit_test(a_stop_before_the_cut_settles_nothing_until_the_taker_starts_again),
        cmocka_unit_test(the_takers_first_number_does_not_stand_for_those_below_the_cut),
        cmocka_unit_test(a_move_is_read_as_it_was_written),
        cmocka_unit_test(a_move_that_cannot_be_is_not_read),
        cmocka_unit_test(the_largest_owners_record_fits_the_store_and_is_read_as_it_was_written),
        cmocka_unit_test(a_recovery_gives_what_the_gone_had_to_who_is_there_and_unlocks_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
