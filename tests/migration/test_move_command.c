/* test_move_command.c - a coordinator over a store, without anybody to order: what it answers to commands, and what it reads again. */
#include "migration/move.h"
#include "tests/sim/store_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OPS = 3, NODES = 3 };
static struct store_sim store;
static struct pst_store *session;
static struct pst_move_coordinator *coordinator;
static struct pst_owners *owners;
static uint32_t orders[PST_MOVE_STEP_COUNT];

static const struct pst_move_graph graph = {
    .name = "g",
    .op_count = OPS,
    .ops = {{.bucket_count = 1, .span = 10},
            {.bucket_count = 8, .input_count = 1, .inputs = {0}, .span = 10},
            {.bucket_count = 8, .input_count = 1, .inputs = {1}, .span = 10}},
    .lag_epochs = 2,
    .margin_epochs = 2,
};

static void changed(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count)
{
    (void)self;
    (void)path;
    (void)version;
    (void)bytes;
    (void)byte_count;
}
static void send(void *self, uint32_t node, const struct pst_move_message *order)
{
    (void)self;
    assert_true(node < NODES);
    orders[order->step]++;
}
static void trace(void *self, const struct pst_move_record *record, pst_move_step from, pst_move_cause cause)
{
    (void)self;
    (void)record;
    (void)from;
    (void)cause;
}

static void go_on(void)
{
    for (uint32_t i = 0; i < 40; i++) {
        store_sim_run(&store, store.now_us + 5000);
        session->step(session->self);
        assert_int_equal(pst_move_coordinator_step(coordinator, store.now_us * 1000), PST_OK);
    }
}

static void coordinate(void)
{
    const struct pst_move_coordinator_seam seam = {NULL, send, trace};
    assert_int_equal(store_sim_open(&store, &session), PST_OK);
    pst_move_coordinator_init(coordinator, session, &graph, &seam);
    for (uint32_t n = 0; n < NODES; n++)
        pst_move_coordinator_node(coordinator, n, PST_MOVE_NODE_RUNS, 1);
    memset(orders, 0, sizeof orders);
    go_on();
}

static void put(const char *path, struct pst_text *text)
{
    assert_int_equal(store_sim_put(&store, path, text->bytes, text->count), PST_OK);
    pst_text_fini(text);
}

/* Node 0 has everything. */
static int set_up(void **state)
{
    (void)state;
    const uint32_t counts[OPS] = {1, 8, 8};
    struct pst_text text = {0};
    store_sim_init(&store, 1);
    store.changed = changed;
    pst_owners_init(owners, OPS, counts);
    owners->running = true;
    for (uint32_t op = 0; op < OPS; op++)
        for (uint32_t b = 0; b < counts[op]; b++) {
            uint32_t partition;
            assert_int_equal(pst_owners_partition(owners, op, 0, &partition), PST_OK);
            *pst_owners_at(owners, op, b) = (struct pst_owner){partition, 1, 0};
        }
    assert_int_equal(pst_owners_write(owners, &text), PST_OK);
    put("owners/g", &text);
    coordinate();
    return 0;
}

static void leave(void)
{
    session->close(session->self);
    pst_move_coordinator_fini(coordinator);
}

static int tear_down(void **state)
{
    (void)state;
    leave();
    store_sim_fini(&store);
    return 0;
}

static struct pst_move_command command_of(uint64_t id, uint32_t op, uint32_t first, uint32_t last, uint32_t to_node)
{
    struct pst_move_command command = {.id = id, .op = op, .from = op, .to_node = to_node, .deadline_ns = UINT64_MAX};
    for (uint32_t b = first; b <= last; b++)
        pst_move_set_add(&command.buckets, b);
    return command;
}

static int ask(const struct pst_move_command *command, struct pst_move_status *status)
{
    int rc = pst_move_coordinator_move(coordinator, command, status);
    go_on();
    return rc;
}

static void begun(const struct pst_move_command *command)
{
    struct pst_move_status status;
    assert_int_equal(ask(command, &status), PST_EAGAIN);
    assert_int_equal(ask(command, &status), PST_OK);
    assert_int_equal(status.step, PST_MOVE_INTENT);
}

static void the_same_id_again_says_how_it_stands(void **state)
{
    (void)state;
    struct pst_move_command command = command_of(5, 1, 0, 3, 1);
    begun(&command);
    assert_true(orders[PST_MOVE_INTENT] != 0);
    assert_int_equal(pst_move_coordinator_owners(coordinator)->serial, 1);
}

static void another_command_for_a_locked_bucket_is_refused_with_the_holders_name(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_move_command first = command_of(5, 1, 0, 3, 1), other = command_of(6, 1, 3, 4, 2);
    begun(&first);
    assert_int_equal(ask(&other, &status), PST_EREFUSED);
    assert_int_equal(status.holder, 5);
    other = command_of(7, 1, 4, 7, 2);
    begun(&other);
}

static void the_operator_next_to_a_moving_one_does_not_move(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_move_command first = command_of(5, 1, 0, 3, 1), other = command_of(6, 2, 0, 3, 1);
    begun(&first);
    assert_int_equal(ask(&other, &status), PST_EREFUSED);
    assert_int_equal(status.holder, 5);
}

static void the_way_back_cancels_the_move_and_is_itself_refused(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_move_command first = command_of(5, 1, 0, 3, 1), back = command_of(6, 1, 0, 3, 0);
    begun(&first);
    assert_int_equal(ask(&back, &status), PST_EREFUSED);
    assert_int_equal(status.holder, 5);
    assert_int_equal(ask(&first, &status), PST_OK);
    assert_int_equal(status.step, PST_MOVE_ABORTED);
    assert_int_equal(status.why, PST_MOVE_WHY_CANCELLED);
}

static void a_move_is_cancelled_until_it_is_committed(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_move_command command = command_of(5, 1, 0, 3, 1);
    assert_int_equal(pst_move_coordinator_cancel(coordinator, 5, &status), PST_ENOENT);
    begun(&command);
    assert_int_equal(pst_move_coordinator_cancel(coordinator, 5, &status), PST_EAGAIN);
    go_on();
    assert_int_equal(pst_move_coordinator_cancel(coordinator, 5, &status), PST_OK);
    assert_int_equal(status.why, PST_MOVE_WHY_CANCELLED);
}

static void a_committed_move_is_not_cancelled_and_goes_on_with_a_new_coordinator(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_text text = {0};
    struct pst_move_record record = {.id = 5,
                                     .serial = 1,
                                     .step = PST_MOVE_COMMITTED,
                                     .incarnation = 1,
                                     .op = 1,
                                     .from = 1,
                                     .to_node = 1,
                                     .epoch = 1,
                                     .deadline_ns = 1,
                                     .cut = 100};
    leave();
    owners->serial = 1;
    assert_int_equal(pst_owners_free(owners, 1, 1, 1, &record.to), PST_OK);
    for (uint32_t b = 0; b < 4; b++)
        pst_move_set_add(&record.buckets, b);
    pst_owners_lock(owners, 1, &record.buckets, 5);
    pst_owners_give(owners, &record);
    store_sim_fini(&store);
    store_sim_init(&store, 2);
    store.changed = changed;
    assert_int_equal(pst_owners_write(owners, &text), PST_OK);
    put("owners/g", &text);
    text = (struct pst_text){0};
    assert_int_equal(pst_move_record_write(&record, &text), PST_OK);
    put("moves/g/5", &text);
    coordinate();
    assert_true(orders[PST_MOVE_COMMITTED] >= 3);
    assert_int_equal(pst_move_coordinator_cancel(coordinator, 5, &status), PST_EREFUSED);
    assert_int_equal(status.step, PST_MOVE_COMMITTED);
}

static void what_cannot_move_is_refused_before_anything_is_written(void **state)
{
    (void)state;
    struct pst_move_status status;
    struct pst_move_command wrong[] = {
        command_of(0, 1, 0, 0, 1), command_of(5, 1, 8, 8, 1), command_of(5, 9, 0, 0, 1),  command_of(5, 0, 0, 0, 1),
        command_of(5, 1, 0, 0, 0), command_of(5, 1, 1, 0, 1), command_of(5, 1, 0, 0, 32),
    };
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(ask(&wrong[i], &status), PST_EINVAL);
    assert_int_equal(pst_move_coordinator_owners(coordinator)->serial, 0);
}

static void records_of_ended_moves_make_room(void **state)
{
    (void)state;
    struct pst_move_status status;
    uint32_t count = 0;
    for (uint64_t id = 1; id <= 2 * PST_MOVES_MAX; id++) {
        struct pst_move_command command = command_of(id, 1, 0, 3, 1);
        begun(&command);
        (void)pst_move_coordinator_cancel(coordinator, id, &status);
        go_on();
        /* Everybody who takes part has lost it, and so forgotten it. */
        for (uint32_t n = 0; n < NODES; n++)
            pst_move_coordinator_node(coordinator, n, PST_MOVE_NODE_RUNS, 1);
        static const pst_move_role roles[] = {PST_MOVE_GIVER, PST_MOVE_TAKER, PST_MOVE_UPSTREAM, PST_MOVE_DOWNSTREAM};
        static const uint32_t partitions[] = {1, 3, 0, 2};
        for (uint32_t i = 0; i < 4; i++)
            pst_move_coordinator_report(coordinator, &(struct pst_move_message){.kind = PST_MOVE_REPORT,
                                                                                .role = roles[i],
                                                                                .flags = PST_MOVE_SAYS_UNKNOWN,
                                                                                .partition = partitions[i],
                                                                                .move = id,
                                                                                .serial = id,
                                                                                .incarnation = 1});
        go_on();
    }
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        count += store.records[i].version != 0 && strncmp(store.records[i].path, "moves/", 6) == 0;
    assert_true(count < PST_MOVES_MAX);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH(the_same_id_again_says_how_it_stands),
        WITH(another_command_for_a_locked_bucket_is_refused_with_the_holders_name),
        WITH(the_operator_next_to_a_moving_one_does_not_move),
        WITH(the_way_back_cancels_the_move_and_is_itself_refused),
        WITH(a_move_is_cancelled_until_it_is_committed),
        WITH(a_committed_move_is_not_cancelled_and_goes_on_with_a_new_coordinator),
        WITH(what_cannot_move_is_refused_before_anything_is_written),
        WITH(records_of_ended_moves_make_room),
    };
    coordinator = malloc(sizeof *coordinator);
    owners = malloc(sizeof *owners);
    int failed = coordinator == NULL || owners == NULL ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
    free(coordinator);
    free(owners);
    return failed;
}
