/* test_results.c - what is committed of a sink, as a command reads or follows it while nodes die and another one coordinates: each byte once, in
 * order, and what was shown once is shown again. */
#include "engine/node.h"
#include "tests/sim/cluster.h"
#include "tests/sim/graphs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECONDS UINT64_C(1000000000)

struct reader { /* one more world: `penstock results` */
    struct sim sim;
    struct cluster *cluster;
    struct pst_question question;
    struct pst_reading reading;
    struct pst_answer answer;
    struct pst_asking *asking;
    struct pst_text taken;
    uint32_t node; /* that it asks */
    char address[8];
    bool added, done; /* done: it would end */
    int rc;
    uint32_t asked;
};

static int take(void *argument, const void *bytes, size_t byte_count)
{
    struct reader *reader = argument;
    return pst_text_add(&reader->taken, bytes, byte_count);
}

static void reader_init(struct reader *reader, struct cluster *cluster, uint64_t seed, const char *sink, uint32_t node,
                        bool follow)
{
    *reader = (struct reader){.cluster = cluster, .node = node};
    sim_init(&reader->sim, seed);
    (void)snprintf(reader->address, sizeof reader->address, "n%u:1", node);
    reader->reading =
        (struct pst_reading){.graph = "load", .sink = sink, .follow = follow, .take = take, .argument = reader};
    reader->question =
        (struct pst_question){.address = reader->address, .reading = &reader->reading, .timeout_ns = 30 * SECONDS};
}

static void reader_begin(struct reader *reader)
{
    if (!reader->added) {
        sim_net_add(&reader->cluster->net, &reader->sim);
        reader->reading.heard_ns = reader->sim.now_ns;
    }
    reader->added = true;
    reader->answer = (struct pst_answer){0};
    assert_int_equal(pst_asking_new(&reader->sim.world, &reader->question, &reader->answer, &reader->asking), PST_OK);
    reader->asked++;
    sim_begin(&reader->sim, 1, pst_asking_step, reader->asking);
}

/* As tools/results.c does it: again for as long as it is of use. */
static void reader_look(struct reader *reader)
{
    if (reader->done || (reader->asking != NULL && reader->sim.workers_left != 0))
        return;
    if (reader->asking != NULL) {
        reader->rc = pst_asking_free(reader->asking);
        reader->asking = NULL;
        sim_end(&reader->sim);
        reader->done = !pst_reading_again(&reader->reading, reader->rc, &reader->answer, reader->sim.now_ns);
        reader->rc = reader->rc == PST_OK ? reader->answer.error : reader->rc;
        if (reader->done)
            return;
        pst_answer_fini(&reader->answer);
        reader->question.after_ns = SECONDS / 2;
    }
    reader_begin(reader);
}

/* From the beginning. */
static void reader_again(struct reader *reader)
{
    reader->taken.count = 0;
    reader->reading.offset = 0;
    reader->reading.ended = reader->done = false;
    reader->question.after_ns = SECONDS / 50;
    pst_answer_fini(&reader->answer);
    reader_begin(reader);
}

static void reader_fini(struct reader *reader)
{
    if (reader->asking != NULL) {
        (void)pst_asking_free(reader->asking);
        sim_end(&reader->sim);
    }
    pst_answer_fini(&reader->answer);
    pst_text_fini(&reader->taken);
    sim_fini(&reader->sim);
}

static void input(struct scene *scene)
{
    scene_query(scene, LOAD);
    scene_put_meters(scene, &scene_small);
}

static struct cluster *cluster_of(uint64_t seed, const struct pst_text *text)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    assert_non_null(cluster);
    cluster_init_many(cluster, seed, 3, text, input);
    cluster->source = 1;
    cluster->every_ns = SECONDS / 5;
    cluster->grow_ns = 20000 + seed % 7 * 40000;
    cluster->client.graph_name = "load";
    return cluster;
}

static void same(const struct scene *wanted, const struct reader *reader, const char *file, const char *what)
{
    const struct pst_text *bytes = scene_file(wanted, file);
    if (reader->rc != PST_OK || !reader->reading.ended)
        fail_msg("%s: it ends with %s: %s", what, pst_error_sentence(reader->rc),
                 reader->answer.err.bytes != NULL ? reader->answer.err.bytes : "");
    if (reader->taken.count != bytes->count || memcmp(reader->taken.bytes, bytes->bytes, bytes->count) != 0)
        fail_msg("%s: %zu bytes of %s are not the %zu that there are", what, reader->taken.count, file, bytes->count);
}

static void for_seeds(uint64_t seeds,
                      void (*one)(const struct scene *wanted, const struct pst_text *text, uint64_t seed))
{
    struct scene wanted;
    struct pst_text text = {0};
    scene_text_of(LOAD, &text);
    scene_init(&wanted, 1);
    input(&wanted);
    scene_set(&wanted, "partitions", "1");
    assert_int_equal(scene_run(&wanted, LOAD), PST_OK);
    for (uint64_t seed = scene_seed_first(), end = seed + seeds; seed < end; seed++)
        one(&wanted, &text, seed);
    scene_fini(&wanted);
    pst_text_fini(&text);
}

/* ---- following ---- */

/* Each node is killed in turn, and comes back. */
static void one_followed(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = cluster_of(seed, text);
    struct reader *reader = calloc(1, sizeof *reader);
    char what[40];
    uint32_t kills = 0;
    (void)snprintf(what, sizeof what, "followed, seed %llu", (unsigned long long)seed);
    cluster_begin(cluster);
    reader_init(reader, cluster, seed, "load_plug", (uint32_t)(seed % 3), true);
    while (!cluster->client.taken)
        cluster_turn(cluster, what);
    while (!reader->done) {
        cluster_turn(cluster, what);
        reader_look(reader);
        if (cluster->completed > 2 * (kills + 1) && kills < 4 && !cluster->client.done) {
            uint32_t node = (uint32_t)(seed + kills++) % 3;
            cluster_kill(cluster, node);
            cluster_up(cluster, node);
        }
    }
    same(wanted, reader, "out/load_plug.csv", what);
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%s: %u kills, asked %u times, %u complete, %llu s\n", what, kills, reader->asked,
                      cluster->completed, (unsigned long long)(cluster->net.now_ns / SECONDS));
    cluster_fini(cluster);
    reader_fini(reader);
    free(reader);
    free(cluster);
}

static void a_result_is_followed_whatever_dies(void **state)
{
    (void)state;
    for_seeds(scene_seeds(6), one_followed);
}

/* For more than a minute nothing is committed, for no stream has come yet; the coordinator says so. Then it is killed. */
static void one_idle(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = cluster_of(seed, text);
    struct reader *reader = calloc(1, sizeof *reader);
    char what[60];
    (void)snprintf(what, sizeof what, "followed in vain, seed %llu", (unsigned long long)seed);
    cluster->fed = cluster->player->held = true;
    cluster_begin(cluster);
    while (!cluster->client.taken)
        cluster_turn(cluster, what);
    reader_init(reader, cluster, seed, "load_plug", 0, true);
    for (uint64_t until = cluster->net.now_ns + 70 * SECONDS; cluster->net.now_ns < until;) {
        cluster_turn(cluster, what);
        reader_look(reader);
    }
    assert_int_equal(reader->asked, 1);
    cluster_kill(cluster, 0);
    cluster_up(cluster, 0);
    cluster->player->held = false;
    while (!reader->done) {
        cluster_turn(cluster, what);
        reader_look(reader);
        cluster_player_look(cluster, what);
    }
    same(wanted, reader, "out/load_plug.csv", what);
    cluster_fini(cluster);
    reader_fini(reader);
    free(reader);
    free(cluster);
}

static void a_result_that_is_long_in_coming_is_followed(void **state)
{
    (void)state;
    for_seeds(scene_seeds(2), one_idle);
}

/* What was read so far is of a graph that was there before, of the same name; meanwhile another one was submitted, and the coordinator started
 * again. */
static void one_submitted_anew(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = cluster_of(seed, text);
    struct reader *reader = calloc(1, sizeof *reader);
    char what[60];
    (void)wanted;
    (void)snprintf(what, sizeof what, "submitted anew, seed %llu", (unsigned long long)seed);
    cluster_begin(cluster);
    while (!cluster->client.done && cluster->completed < 4)
        cluster_turn(cluster, what);
    if (seed % 2 != 0) {
        cluster_kill(cluster, 0);
        cluster_up(cluster, 0);
    }
    reader_init(reader, cluster, seed, "load_plug", 0, true);
    reader->reading.offset = 10;
    reader->reading.since = cluster->client.incarnation + 5;
    while (!reader->done) {
        cluster_turn(cluster, what);
        reader_look(reader);
    }
    assert_int_equal(reader->rc, PST_EREFUSED);
    assert_non_null(strstr(reader->answer.err.bytes, "was submitted anew"));
    assert_int_equal(reader->taken.count, 0);
    cluster_fini(cluster);
    reader_fini(reader);
    free(reader);
    free(cluster);
}

static void a_graph_submitted_anew_is_another_one(void **state)
{
    (void)state;
    for_seeds(scene_seeds(4), one_submitted_anew);
}

/* ---- reading what there is ---- */

/* At any moment: it is the beginning of the whole, and no less than what was there before. */
static void one_read(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = cluster_of(seed, text);
    struct reader *reader = calloc(1, sizeof *reader);
    const struct pst_text *whole = scene_file(wanted, "out/load_plug.csv");
    char what[60];
    uint32_t kills = 0, reads = 0, refused = 0;
    size_t shown = 0;
    (void)snprintf(what, sizeof what, "read, seed %llu", (unsigned long long)seed);
    cluster_begin(cluster);
    while (!cluster->client.taken)
        cluster_turn(cluster, what);
    reader_init(reader, cluster, seed, "load_plug", 0, false);
    while (!cluster->client.done) {
        cluster_turn(cluster, what);
        reader_look(reader);
        if (reader->done) {
            reads++;
            if (reader->rc == PST_OK && (reader->taken.count < shown || !scene_prefix(whole, &reader->taken)))
                fail_msg("%s: read %u shows %zu bytes, and %zu were there before", what, reads, reader->taken.count,
                         shown);
            shown = reader->rc == PST_OK ? reader->taken.count : shown;
            refused += reader->rc != PST_OK;
            if (reader->rc != PST_OK && getenv("PST_TEST_LOG") != NULL)
                print_message("%s: %s\n", what, reader->answer.err.bytes);
            reader_again(reader);
        }
        if (cluster->completed > 2 * (kills + 1) && kills < 6) {
            uint32_t node = 1 + (uint32_t)(seed + kills++) % 2;
            cluster_kill(cluster, node);
            cluster_up(cluster, node);
        }
    }
    if (getenv("PST_TEST_LOG") != NULL)
        print_message("%s: %u kills, %u reads, %u of them refused, %zu of %zu bytes\n", what, kills, reads, refused,
                      shown, whole->count);
    assert_true(shown > 0);
    cluster_fini(cluster);
    reader_fini(reader);
    free(reader);
    free(cluster);
}

static void what_was_shown_once_is_shown_again(void **state)
{
    (void)state;
    for_seeds(scene_seeds(4), one_read);
}

/* ---- answers of before ---- */

/* The coordinator before this one has asked a node for a piece of another sink. The answer comes when the one that coordinates now has asked
 * as many questions: it is nobody's. */
static void one_late(const struct scene *wanted, const struct pst_text *text, uint64_t seed)
{
    struct cluster *cluster = cluster_of(seed, text);
    struct reader *reader = calloc(1, sizeof *reader);
    char what[60];
    (void)snprintf(what, sizeof what, "a late answer, seed %llu", (unsigned long long)seed);
    cluster_begin(cluster);
    while (!cluster->client.done)
        cluster_turn(cluster, what);
    Pst__Read body = PST__READ__INIT;
    Pst__Control order = PST__CONTROL__INIT;
    body.sink = (char *)(uintptr_t) "load_house";
    body.file = (char *)(uintptr_t) "load_house.csv";
    body.whole = body.shared = true;
    order.graph = (char *)(uintptr_t) "load";
    order.incarnation = cluster_record(cluster)->start->incarnation;
    order.request = 1;
    order.body_case = PST__CONTROL__BODY_READ;
    order.read = &body;
    reader_init(reader, cluster, seed, "load_plug", 0, false);
    reader_begin(reader);
    while (cluster->nodes[0].node->duty->reading_requests == 0)
        cluster_turn(cluster, what);
    for (uint32_t i = 0; i < 3; i++) /* whichever has the sink answers that one, too */
        pst_results_read(cluster->nodes[i].node, &order);
    while (!reader->done) {
        cluster_turn(cluster, what);
        reader_look(reader);
    }
    same(wanted, reader, "out/load_plug.csv", what);
    cluster_fini(cluster);
    reader_fini(reader);
    free(reader);
    free(cluster);
}

static void an_answer_of_before_is_nobodys(void **state)
{
    (void)state;
    for_seeds(scene_seeds(3), one_late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_is_followed_whatever_dies),
        cmocka_unit_test(a_result_that_is_long_in_coming_is_followed),
        cmocka_unit_test(a_graph_submitted_anew_is_another_one),
        cmocka_unit_test(what_was_shown_once_is_shown_again),
        cmocka_unit_test(an_answer_of_before_is_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
