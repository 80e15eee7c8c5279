/* test_scaler.c - operators that scale by themselves: a model of partitions whose load is a curve, and who decides; how buckets are spread
 * over nodes, and in how few moves. */
#include "engine/scaler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS UINT64_C(1000000000)

enum { BUCKETS = 256, NODES_MAX = 100, NODE_BUCKETS = 4096 };

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint32_t random_below(uint64_t *state, uint32_t below) { return (uint32_t)(random_next(state) % below); }
static double random_around(uint64_t *state)
{
    return (double)(random_next(state) >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

/* ---- an operator whose load comes by buckets; its moves take their time ---- */
struct model {
    struct pst_autoscale rule;
    struct scaler scaler;
    uint32_t of[BUCKETS], moved[BUCKETS];   /* moved: in the plan under way */
    double weight[BUCKETS];                 /* of all that there is to do */
    double piece[BUCKETS];                  /* as the plan takes it */
    double target;                          /* of the plan */
    double demand, noise;                   /* demand: in partitions that work all the time */
    uint64_t random, second, ends, settled; /* settled: when the last plan ended */
    uint32_t count, wanted, scalings, outs, ins, said_hot, said_max, reversals, moves, moves_max;
    enum scaler_reason last;
};

static void model_init(struct model *model, uint32_t count, uint64_t seed)
{
    *model = (struct model){.rule = {PST_AUTOSCALE_ON, 70, 10, 1, 16, 60 * SECOND_NS},
                            .random = seed,
                            .second = 1000,
                            .count = count,
                            .wanted = count,
                            .last = SCALER_STEADY};
    for (uint32_t b = 0; b < BUCKETS; b++) {
        model->of[b] = b * count / BUCKETS;
        model->weight[b] = 1.0 / BUCKETS;
    }
}

static uint32_t model_look(struct model *model, struct scaler_partition *partitions, bool plan)
{
    struct scaler_partition sums[BUCKETS] = {{0}};
    uint32_t count = 0;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        struct scaler_partition *sum = &sums[model->of[b]];
        sum->bucket_count++;
        sum->busy += plan ? model->piece[b] : model->demand * model->weight[b];
        sum->state_bytes += 1000;
    }
    for (uint32_t p = 0; p < BUCKETS; p++) {
        if (sums[p].bucket_count == 0)
            continue;
        partitions[count] = sums[p];
        partitions[count].number = p;
        if (!plan)
            partitions[count].busy *= 1 + model->noise * random_around(&model->random);
        if (!plan && partitions[count].busy > 1)
            partitions[count].busy = 1;
        count++;
    }
    return count;
}

/* One step of the plan, as orders.c does it. */
static bool model_move(struct model *model)
{
    struct scaler_partition partitions[BUCKETS];
    struct scaler_step step;
    uint32_t count = model_look(model, partitions, true), into = 0, gives = 0;
    if (model->moves == 2 * model->moves_max ||
        !pst_scaler_step(partitions, count, model->wanted, model->target, &step))
        return false;
    assert_true(step.count > 0 && step.count <= partitions[step.from].bucket_count && step.from != step.into);
    for (uint32_t i = 0; step.into == SCALER_NONE && i < count; i++) /* the lowest number that is free */
        for (uint32_t k = 0; k < count; k++)
            into += partitions[k].number == into;
    if (step.into != SCALER_NONE)
        into = partitions[step.into].number;
    for (uint32_t b = BUCKETS; b-- > 0 && gives < step.count;) {
        if (model->of[b] != partitions[step.from].number)
            continue;
        assert_true(model->moved[b]++ == 0);
        model->of[b] = into;
        gives++;
    }
    model->moves++;
    model->ends = model->second + 5;
    return true;
}

static void model_plan(struct model *model, const struct scaler_partition *partitions, uint32_t count, uint32_t wanted)
{
    memset(model->moved, 0, sizeof model->moved);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t b = 0; b < BUCKETS; b++)
            if (model->of[b] == partitions[i].number)
                model->piece[b] = partitions[i].busy / partitions[i].bucket_count;
    model->wanted = wanted;
    model->target = wanted > count ? model->rule.target / 100.0 : 2;
    model->moves = 0;
    model->moves_max = count > wanted ? count : wanted;
    model->ends = model->second;
}

static void model_second(struct model *model)
{
    struct scaler_partition partitions[BUCKETS];
    model->second++;
    if (model->ends != 0 && model->second >= model->ends && !model_move(model)) {
        model->ends = 0;
        model->settled = model->second;
        model->count = model_look(model, partitions, true);
        assert_int_equal(model->count, model->wanted);
    }
    struct scaler_view view = {
        .now_ns = model->second * SECOND_NS, .moving = model->ends != 0, .partitions = partitions};
    view.count = model_look(model, partitions, false);
    struct scaler_decision decision = pst_scaler_look(&model->scaler, &model->rule, &view);
    model->said_hot += decision.reason == SCALER_HOT && decision.news;
    model->said_max += decision.reason == SCALER_AT_MAX && decision.news;
    bool out = decision.reason == SCALER_OUT || decision.reason == SCALER_SPLIT;
    if ((!out && decision.reason != SCALER_IN) || !decision.news)
        return;
    char why[240];
    pst_scaler_sentence(&decision, &model->rule, why, sizeof why);
    assert_true(why[0] != '\0');
    assert_false(view.moving);
    assert_true(out ? decision.count > view.count : decision.count < view.count);
    enum scaler_reason way = out ? SCALER_OUT : SCALER_IN;
    model->reversals += model->last != SCALER_STEADY && model->last != way;
    model->last = way;
    model->scalings++;
    model->outs += out;
    model->ins += !out;
    if (model->rule.mode == PST_AUTOSCALE_ON) {
        assert_true(model->settled == 0 || (model->second - model->settled) * SECOND_NS >= model->rule.grace_ns);
        model_plan(model, partitions, view.count, decision.count);
    }
}

static void model_seconds(struct model *model, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++)
        model_second(model);
}

/* ---- the curve of a day: a wave, and a peak in the morning and one in the evening ---- */
static double hump(double hour, double at, double width)
{
    double off = (hour - at) / width, under = 1 - off * off;
    return under > 0 ? under * under : 0;
}

static double day(double hour)
{
    double wave = hump(hour, 14, 14); /* low at night, as a sine is */
    return 0.6 + 2.2 * wave + 2.6 * hump(hour, 8.5, 2.5) + 3.6 * hump(hour, 19, 3);
}

static uint32_t needed(double demand, double share)
{
    double count = demand / share;
    return (uint32_t)count + ((double)(uint32_t)count < count);
}

/* Out while it rises, in while it falls, and never more often than the number that is needed changes. */
static void a_day_is_followed_without_going_to_and_fro(void **state)
{
    (void)state;
    uint32_t scalings = 0, changes = 0, most = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct model model;
        uint32_t before = needed(day(0), 0.7), changes_now = 0;
        model_init(&model, before, seed);
        model.noise = 0.08;
        uint64_t outside = 0, begun = model.second;
        for (uint32_t s = 0; s < 86400; s++) {
            model.demand = day(s / 3600.0);
            changes_now += needed(model.demand, 0.7) != before;
            before = needed(model.demand, 0.7);
            model_second(&model);
            bool waits = model.ends != 0 || model.second < model.settled + 60 + 2 * SCALER_LOOKS_MIN ||
                         model.second < begun + 60;
            double mean = model.demand / model.count;
            bool much = mean > 0.8 * 1.03,
                 little = model.count > 1 && mean < 0.6 * 0.97 && model.demand / (model.count - 1) < 0.7 * 0.97;
            outside = !waits && (much || little) ? outside + 1 : 0;
            assert_true(outside < 120); /* it is about to be seen */
            most = model.count > most ? model.count : most;
        }
        assert_true(model.reversals <= 3);
        assert_true(model.scalings <= changes_now);
        assert_true(model.outs >= 2 && model.ins >= 2);
        assert_int_equal(model.said_hot + model.said_max, 0);
        scalings += model.scalings;
        changes += changes_now;
    }
    print_message("10 days: %u scalings, %u times another number was needed, %u partitions at most\n", scalings,
                  changes, most);
}

static void a_step_up_is_one_scaling_and_a_step_down_another(void **state)
{
    (void)state;
    struct model model;
    model_init(&model, 2, 1);
    model.noise = 0.05;
    model.demand = 1.3;
    model_seconds(&model, 1000);
    assert_int_equal(model.scalings, 0);
    model.demand = 1.9;
    model_seconds(&model, 2000);
    assert_int_equal(model.scalings, 1);
    assert_int_equal(model.count, 3);
    struct scaler_partition partitions[BUCKETS];
    uint32_t count = model_look(&model, partitions, false);
    for (uint32_t i = 0; i < count; i++) /* each of them has as much as it can bear */
        assert_true(partitions[i].busy < 0.75);
    model.demand = 0.6;
    model_seconds(&model, 2000);
    assert_int_equal(model.scalings, 2);
    assert_int_equal(model.count, 1);
}

/* Nobody can see how much more there is to do than can be done; each look behind a grace period knows better. */
static void more_than_can_be_done_is_caught_up_with(void **state)
{
    (void)state;
    struct model model;
    model_init(&model, 1, 1);
    model.noise = 0.05;
    model.demand = 4;
    model_seconds(&model, 3000);
    assert_true(model.count >= 5 && model.count <= 8);
    assert_int_equal(model.reversals, 0);
    assert_true(model.scalings <= 5);
    uint32_t before = model.scalings;
    model_seconds(&model, 10000);
    assert_int_equal(model.scalings, before);
    model.demand = 40; /* and more than there may ever be is said once */
    model_seconds(&model, 10000);
    assert_int_equal(model.count, 16);
    assert_int_equal(model.said_max, 1);
}

static void noise_around_the_target_decides_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model model;
        model_init(&model, 1 + (uint32_t)seed % 8, seed);
        model.noise = 0.2;
        model.demand = 0.7 * model.count;
        model_seconds(&model, 20000);
        assert_int_equal(model.scalings, 0);
    }
}

static void a_hot_bucket_is_said_once_and_not_scaled_for_ever(void **state)
{
    (void)state;
    uint32_t scalings_max = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model model;
        uint64_t random = seed;
        uint32_t hot = random_below(&random, BUCKETS);
        model_init(&model, 1 + (uint32_t)seed % 4, seed);
        model.noise = 0.05;
        model.demand = 1.6;
        for (uint32_t b = 0; b < BUCKETS; b++)
            model.weight[b] = b == hot ? 0.8 : 0.2 / (BUCKETS - 1);
        model_seconds(&model, 20000);
        assert_int_equal(model.said_hot, 1);
        assert_true(model.scalings <= 6);
        uint32_t before = model.scalings;
        scalings_max = before > scalings_max ? before : scalings_max;
        model_seconds(&model, 20000);
        assert_int_equal(model.said_hot, 1);
        assert_int_equal(model.scalings, before);
        model.demand = 0.4; /* it is over; when it comes again it is news */
        model_seconds(&model, 2000);
        model.demand = 1.6;
        model_seconds(&model, 20000);
        assert_int_equal(model.said_hot, 2);
    }
    print_message("scalings for the sake of a hot bucket, at most: %u\n", scalings_max);
}

static void nothing_is_decided_while_something_moves_nor_soon_after(void **state)
{
    (void)state;
    struct scaler scaler = {0};
    struct pst_autoscale rule = {PST_AUTOSCALE_ON, 70, 10, 1, 8, 30 * SECOND_NS};
    struct scaler_partition one = {0, 64, 1, 1000};
    struct scaler_view view = {.moving = true, .partitions = &one, .count = 1};
    for (uint64_t s = 1; s <= 100; s++) {
        view.now_ns = s * SECOND_NS;
        assert_int_equal(pst_scaler_look(&scaler, &rule, &view).reason, SCALER_MOVING);
    }
    view.moving = false;
    for (uint64_t s = 101; s < 130; s++) {
        view.now_ns = s * SECOND_NS;
        assert_int_equal(pst_scaler_look(&scaler, &rule, &view).reason, SCALER_GRACE);
    }
    uint64_t s = 130;
    for (; s < 130 + SCALER_LOOKS_MIN - 1; s++) {
        view.now_ns = s * SECOND_NS;
        assert_int_equal(pst_scaler_look(&scaler, &rule, &view).reason, SCALER_UNKNOWN);
    }
    view.now_ns = s * SECOND_NS;
    struct scaler_decision decision = pst_scaler_look(&scaler, &rule, &view);
    assert_int_equal(decision.reason, SCALER_OUT);
    assert_int_equal(decision.count, 2);
    view.now_ns += SECOND_NS; /* whatever became of it */
    assert_int_equal(pst_scaler_look(&scaler, &rule, &view).reason, SCALER_GRACE);
}

static void a_dry_run_says_once_what_it_would_do(void **state)
{
    (void)state;
    struct model model;
    model_init(&model, 2, 1);
    model.rule.mode = PST_AUTOSCALE_DRY_RUN;
    model.demand = 1.9;
    model_seconds(&model, 5000);
    assert_int_equal(model.scalings, 1);
    assert_int_equal(model.count, 2);
    model.demand = 0.5;
    model_seconds(&model, 5000);
    assert_int_equal(model.scalings, 2);
}

static void the_least_state_moves(void **state)
{
    (void)state;
    struct scaler_partition partitions[] = {{0, 64, 0.2, 9000}, {1, 64, 0.2, 500}, {2, 64, 0.2, 7000}};
    struct scaler_step step;
    assert_true(pst_scaler_step(partitions, 3, 2, 0.7, &step));
    assert_int_equal(step.from, 1);
    for (uint32_t i = 0; i < 3; i++)
        partitions[i].busy = 0.9;
    assert_true(pst_scaler_step(partitions, 3, 4, 0.7, &step));
    assert_int_equal(step.from, 1);
    assert_int_equal(step.into, SCALER_NONE);
}

/* ---- nodes ---- */
struct spread {
    uint32_t moves, buckets;
};

static struct spread spread(struct scaler_share *shares, uint32_t count, uint32_t bucket_count)
{
    bool gave[NODES_MAX] = {false}, took[NODES_MAX] = {false};
    struct spread did = {0, 0};
    struct scaler_step step;
    while (pst_scaler_even(shares, count, bucket_count, &step)) {
        assert_true(step.count > 0 && step.count <= shares[step.from].of_operator && step.from != step.into);
        gave[step.from] = took[step.into] = true;
        assert_false(took[step.from] || gave[step.into]); /* so none of the buckets moves twice */
        shares[step.from].of_operator -= step.count;
        shares[step.into].of_operator += step.count;
        did.moves++;
        did.buckets += step.count;
        assert_true(did.moves < count);
    }
    for (uint32_t i = 0; i < count; i++) { /* to a tenth of the average, or the bucket that cannot be divided */
        double off = shares[i].of_operator - (double)bucket_count / count;
        double may = (double)bucket_count / count / 10;
        assert_true(off < may + 1 && -off < may + 1);
    }
    return did;
}

/* Up to a tenth of the average off it, in whole buckets. */
static bool is_even(const struct scaler_share *shares, uint32_t count, uint32_t bucket_count)
{
    uint32_t slack = bucket_count / (10 * count), low = bucket_count / count;
    uint32_t high = (bucket_count + count - 1) / count;
    for (uint32_t i = 0; i < count; i++)
        if (shares[i].of_operator + slack < low || shares[i].of_operator > high + slack)
            return false;
    return true;
}

/* By trying all of them: can it be done in so many moves? */
static bool can(struct scaler_share *shares, uint32_t count, uint32_t bucket_count, uint32_t moves)
{
    if (is_even(shares, count, bucket_count))
        return true;
    for (uint32_t from = 0; from < count && moves != 0; from++)
        for (uint32_t into = 0; into < count; into++)
            for (uint32_t n = 1; from != into && n <= shares[from].of_operator; n++) {
                shares[from].of_operator -= n;
                shares[into].of_operator += n;
                bool done = can(shares, count, bucket_count, moves - 1);
                shares[from].of_operator += n;
                shares[into].of_operator -= n;
                if (done)
                    return true;
            }
    return false;
}

static void deal(struct scaler_share *shares, uint32_t count, uint32_t bucket_count, uint64_t *random)
{
    uint32_t of = 1 + random_below(random, count);
    memset(shares, 0, count * sizeof *shares);
    for (uint32_t b = 0; b < bucket_count; b++) { /* some have much more than others, some nothing */
        uint32_t one = random_below(random, of), other = random_below(random, of);
        shares[one < other ? one : other].of_operator++;
    }
}

static void buckets_spread_evenly_in_fewer_moves_than_nodes(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (uint32_t round = 0; round < 5000; round++) {
        struct scaler_share shares[NODES_MAX];
        uint32_t count = 2 + random_below(&random, NODES_MAX - 1), buckets = 64u << random_below(&random, 7);
        deal(shares, count, buckets, &random);
        (void)spread(shares, count, buckets);
    }
}

static void few_nodes_are_spread_in_the_fewest_moves_or_one_more(void **state)
{
    (void)state;
    uint64_t random = 7;
    uint32_t fewest = 0, more = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        struct scaler_share shares[4], copy[4];
        uint32_t count = 2 + random_below(&random, 3);
        deal(shares, count, 32, &random);
        memcpy(copy, shares, sizeof copy);
        uint32_t moves = spread(shares, count, 32).moves;
        if (moves == 0 || !can(copy, count, 32, moves - 1))
            fewest++;
        else
            more++;
        if (moves >= 2)
            assert_false(can(copy, count, 32, moves - 2));
    }
    print_message("%u of %u layouts in the fewest moves there are\n", fewest, fewest + more);
    assert_true(more < 2000 / 20);
}

/* By nodes, by those that are new. What is told for it: tests/sim/test_hundred.c. */
static void a_hundred_nodes_are_spread(void **state)
{
    (void)state;
    static const uint32_t counts[] = {10, 25, 50, 100}, fresh[] = {1, 5, 20, 50};
    print_message("nodes  new  moves  buckets moved\n");
    for (uint32_t c = 0; c < 4; c++)
        for (uint32_t f = 0; f < 4; f++) {
            struct scaler_share shares[NODES_MAX] = {{0}};
            uint32_t count = counts[c], old = count > fresh[f] ? count - fresh[f] : 0;
            for (uint32_t b = 0; b < NODE_BUCKETS && old != 0; b++)
                shares[b % old].of_operator++;
            if (old == 0)
                continue;
            struct spread did = spread(shares, count, NODE_BUCKETS);
            assert_true(did.moves < count);
            assert_true(did.buckets <= NODE_BUCKETS);
            print_message("%5u %4u %6u %14u\n", count, count - old, did.moves, did.buckets);
        }
}

/* ---- nodes, by what they do ---- */

enum { PIECES_MAX = 60 };
struct scene_of_nodes {
    struct scaler_node nodes[NODES_MAX];
    struct scaler_piece pieces[PIECES_MAX + NODES_MAX * 40];
    uint32_t node_count, piece_count;
};

static double most_off(const struct scene_of_nodes *scene, double *ret_each)
{
    double all = 0, most = 0, each = 0;
    for (uint32_t i = 0; i < scene->node_count; i++)
        all += scene->nodes[i].busy;
    for (uint32_t i = 0; i < scene->node_count; i++) {
        double part = all * scene->nodes[i].part, off = scene->nodes[i].busy - part;
        most = (off < 0 ? -off : off) / part > most ? (off < 0 ? -off : off) / part : most;
    }
    for (uint32_t p = 0; p < scene->piece_count; p++) {
        double one = scene->pieces[p].busy / scene->pieces[p].bucket_count;
        each = one > each ? one : each;
    }
    *ret_each = each * scene->node_count / all;
    return most;
}

static uint32_t level(struct scene_of_nodes *scene)
{
    struct scaler_step step;
    uint32_t moves = 0;
    while (pst_scaler_balance(scene->nodes, scene->node_count, scene->pieces, scene->piece_count, &step)) {
        struct scaler_piece *piece = &scene->pieces[step.from], *new = &scene->pieces[scene->piece_count];
        assert_true(step.count > 0 && step.count <= piece->bucket_count && step.into != piece->node);
        double part = (double)step.count / piece->bucket_count;
        *new = (struct scaler_piece){step.into, step.count, piece->busy * part, piece->state_bytes * part};
        scene->nodes[step.into].busy += new->busy;
        scene->nodes[piece->node].busy -= new->busy;
        piece->bucket_count -= step.count;
        piece->busy -= new->busy;
        piece->state_bytes -= new->state_bytes;
        if (piece->bucket_count == 0)
            *piece = *new;
        else
            scene->piece_count++;
        assert_true(++moves <= PIECES_MAX + scene->node_count);
    }
    return moves;
}

/* Workers differ, and so do operators, and what nodes have that does not move; but that never is more than a node's part. */
static void nodes_come_within_a_tenth_of_their_part(void **state)
{
    (void)state;
    static struct scene_of_nodes scene;
    uint64_t random = 11;
    uint32_t all_moves = 0, all_nodes = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        double workers[NODES_MAX], sum = 0, each;
        memset(&scene, 0, sizeof scene);
        scene.node_count = 2 + random_below(&random, 20);
        for (uint32_t i = 0; i < scene.node_count; i++)
            sum += workers[i] = 1 + random_below(&random, 4);
        for (uint32_t i = 0; i < scene.node_count; i++) {
            scene.nodes[i].part = workers[i] / sum;
            scene.nodes[i].busy = workers[i] * random_below(&random, 100) / 200;
        }
        for (uint32_t p = 0; p < PIECES_MAX; p++) {
            uint32_t on = random_below(&random, scene.node_count), buckets = 64;
            double busy = sum * (1 + random_below(&random, 40)) / 20 / PIECES_MAX;
            scene.pieces[scene.piece_count++] = (struct scaler_piece){on, buckets, busy, 1e6};
            scene.nodes[on].busy += busy;
        }
        uint32_t moves = level(&scene);
        double off = most_off(&scene, &each);
        assert_true(off <= 0.1 + each);
        all_moves += moves;
        all_nodes += scene.node_count;
    }
    print_message("%u moves for %u nodes\n", all_moves, all_nodes);
    assert_true(2 * all_moves < 3 * all_nodes);
}

static void of_what_does_as_much_the_least_state_goes(void **state)
{
    (void)state;
    struct scaler_node nodes[] = {{1.0, 0.5}, {0.2, 0.5}};
    struct scaler_piece pieces[] = {{0, 32, 0.4, 8e6}, {0, 32, 0.4, 2e6}, {0, 32, 0.1, 1}, {1, 32, 0.2, 1}};
    struct scaler_step step;
    assert_true(pst_scaler_balance(nodes, 2, pieces, 4, &step));
    assert_int_equal(step.from, 1);
    assert_int_equal(step.into, 1);
    assert_int_equal(step.count, 32);
    nodes[0].busy = 0.6, nodes[1].busy = 0.6;
    assert_false(pst_scaler_balance(nodes, 2, pieces, 4, &step));
    nodes[0].busy = nodes[1].busy = 0; /* nobody does anything */
    assert_false(pst_scaler_balance(nodes, 2, pieces, 4, &step));
    assert_false(pst_scaler_balance(nodes, 2, pieces, 0, &step));
}

/* ---- buckets by where their rows come from ---- */

enum { PLACED = 400, PLACED_NODES = 8 };
struct scene_of_sources {
    struct scaler_node nodes[PLACED_NODES];
    struct scaler_bucket buckets[PLACED];
    float rows[PLACED * PLACED_NODES];
    uint32_t node_count, bucket_count;
};

static int place(struct scene_of_sources *scene)
{
    return pst_scaler_place(scene->nodes, scene->node_count, scene->buckets, scene->bucket_count, scene->rows);
}

/* Of all rows those that come from another node than their bucket is on. */
static double crossing(const struct scene_of_sources *scene)
{
    double all = 0, crosses = 0;
    for (uint32_t b = 0; b < scene->bucket_count; b++)
        for (uint32_t n = 0; n < scene->node_count; n++) {
            double rows = (double)scene->rows[b * scene->node_count + n];
            all += rows;
            crosses += n != scene->buckets[b].node ? rows : 0;
        }
    return crosses / all;
}

static double placed_off(const struct scene_of_sources *scene, double *ret_each)
{
    double busy[PLACED_NODES] = {0}, all = 0, most = 0;
    *ret_each = 0;
    for (uint32_t n = 0; n < scene->node_count; n++)
        busy[n] = scene->nodes[n].busy;
    for (uint32_t b = 0; b < scene->bucket_count; b++) {
        busy[scene->buckets[b].node] += scene->buckets[b].busy;
        *ret_each = scene->buckets[b].busy > *ret_each ? scene->buckets[b].busy : *ret_each;
    }
    for (uint32_t n = 0; n < scene->node_count; n++)
        all += busy[n];
    for (uint32_t n = 0; n < scene->node_count; n++) {
        double part = all * scene->nodes[n].part, off = busy[n] < part ? part - busy[n] : busy[n] - part;
        most = off / part > most ? off / part : most;
    }
    *ret_each = *ret_each * scene->node_count / all;
    return most;
}

static uint32_t moved_count(const struct scene_of_sources *scene, const struct scaler_bucket *before)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < scene->bucket_count; b++)
        count += scene->buckets[b].node != before[b].node;
    return count;
}

/* Houses, which one node each reads; some buckets have two. Nodes read about as much; one has something that does not move. */
static void buckets_go_where_their_rows_come_from(void **state)
{
    (void)state;
    static struct scene_of_sources scene;
    static struct scaler_bucket before[PLACED];
    uint64_t random = 7;
    uint32_t again = 0, all = 0, rounds = 2000;
    double crossed = 0, crosses = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        double each;
        memset(&scene, 0, sizeof scene);
        scene.node_count = 2 + random_below(&random, PLACED_NODES - 1);
        scene.bucket_count = 40 * scene.node_count;
        for (uint32_t n = 0; n < scene.node_count; n++)
            scene.nodes[n].part = 1.0 / scene.node_count;
        scene.nodes[random_below(&random, scene.node_count)].busy = 10.0 * random_below(&random, 3);
        for (uint32_t b = 0; b < scene.bucket_count; b++) {
            uint32_t houses = 1 + (random_below(&random, 20) == 0);
            scene.buckets[b].node = random_below(&random, scene.node_count);
            for (uint32_t h = 0; h < houses; h++) {
                uint32_t of = h == 0 ? b % scene.node_count : random_below(&random, scene.node_count);
                uint32_t rows = 50 + random_below(&random, 100);
                scene.rows[b * scene.node_count + of] += (float)rows;
                scene.buckets[b].busy += rows / 100.0;
            }
        }
        crossed += crossing(&scene);
        assert_int_equal(place(&scene), PST_OK);
        crosses += crossing(&scene);
        assert_true(placed_off(&scene, &each) <= 0.1 + each);
        memcpy(before, scene.buckets, sizeof before);
        assert_int_equal(place(&scene), PST_OK);
        again += moved_count(&scene, before);
        all += scene.bucket_count;
    }
    print_message("%.1f %% of rows cross, %.1f %% before; %u of %u buckets have moved again\n", 100 * crosses / rounds,
                  100 * crossed / rounds, again, all);
    assert_true(crosses < 0.1 * crossed);
    assert_true(again <= all / 200);
}

/* Then it is the cheapest to leave where they are those that are elsewhere already. */
static void what_one_node_reads_is_divided_all_the_same_and_stays_so(void **state)
{
    (void)state;
    static struct scene_of_sources scene = {.node_count = 2, .bucket_count = 64, .nodes = {{1, 0.5}, {0, 0.5}}};
    struct scaler_bucket before[PLACED];
    double each;
    for (uint32_t b = 0; b < 64; b++) {
        scene.buckets[b] = (struct scaler_bucket){1, b >= 32 ? 1 : 0};
        scene.rows[2 * b] = 100;
    }
    memcpy(before, scene.buckets, sizeof before);
    assert_int_equal(place(&scene), PST_OK);
    assert_int_equal(moved_count(&scene, before), 0); /* it is even enough: 1.5 in 100 off */
    scene.nodes[0].busy = 3;
    assert_int_equal(place(&scene), PST_OK);
    assert_int_equal(moved_count(&scene, before), 1); /* 4.5 in 100 */
    scene.nodes[0].busy = 20;
    assert_int_equal(place(&scene), PST_OK);
    uint32_t moved = moved_count(&scene, before);
    for (uint32_t b = 32; b < 64; b++)
        assert_int_equal(scene.buckets[b].node, 1);
    assert_in_range(moved, 8, 10);
    assert_true(placed_off(&scene, &each) <= 0.04);
}

/* What does most for its rows goes, as it is missed least; what is on a node that is none of these stays. */
static void those_that_are_missed_least_are_given_away(void **state)
{
    (void)state;
    struct scene_of_sources scene = {.node_count = 2, .bucket_count = 4, .nodes = {{0, 0.5}, {0, 0.5}}};
    memcpy(scene.buckets, (struct scaler_bucket[]){{1, 0}, {1, 0}, {1, 0}, {1, SCALER_NONE}},
           4 * sizeof scene.buckets[0]);
    memcpy(scene.rows, (float[]){100, 0, 100, 60, 100, 0, 0, 100}, 8 * sizeof scene.rows[0]);
    assert_int_equal(place(&scene), PST_OK);
    assert_int_equal(scene.buckets[0].node, 0);
    assert_int_equal(scene.buckets[1].node, 1);
    assert_int_equal(scene.buckets[2].node, 0);
    assert_int_equal(scene.buckets[3].node, SCALER_NONE);
    scene.node_count = 1;
    assert_int_equal(place(&scene), PST_OK);
    assert_int_equal(scene.buckets[1].node, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_go_where_their_rows_come_from),
        cmocka_unit_test(what_one_node_reads_is_divided_all_the_same_and_stays_so),
        cmocka_unit_test(those_that_are_missed_least_are_given_away),
        cmocka_unit_test(nodes_come_within_a_tenth_of_their_part),
        cmocka_unit_test(of_what_does_as_much_the_least_state_goes),
        cmocka_unit_test(a_day_is_followed_without_going_to_and_fro),
        cmocka_unit_test(a_step_up_is_one_scaling_and_a_step_down_another),
        cmocka_unit_test(more_than_can_be_done_is_caught_up_with),
        cmocka_unit_test(noise_around_the_target_decides_nothing),
        cmocka_unit_test(a_hot_bucket_is_said_once_and_not_scaled_for_ever),
        cmocka_unit_test(nothing_is_decided_while_something_moves_nor_soon_after),
        cmocka_unit_test(a_dry_run_says_once_what_it_would_do),
        cmocka_unit_test(the_least_state_moves),
        cmocka_unit_test(buckets_spread_evenly_in_fewer_moves_than_nodes),
        cmocka_unit_test(few_nodes_are_spread_in_the_fewest_moves_or_one_more),
        cmocka_unit_test(a_hundred_nodes_are_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
