/* test_chaos.c - chaos (chaos.h) for many seeds, each on both queries; by PST_TEST_SEEDS and PST_TEST_SEED, or as arguments say:
 * test_sim_chaos [SEEDS [FIRST]]. */
#include "tests/sim/scene.h"
#include "tests/sim/seeds.h"

#include <stdio.h>
#include <stdlib.h>

/* A seed is some hundred thousand steps: under a sanitizer few have to do. */
#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 40 };
#else
enum { SEEDS = 1000 };
#endif

static uint64_t number_of(const char *text)
{
    uint64_t number;
    if (pst_parse_u64(text, &number) == PST_OK && number != 0)
        return number;
    (void)fprintf(stderr, "usage: test_sim_chaos [SEEDS [FIRST]]\n");
    exit(2);
}

static void print(const char *what, uint64_t number) { printf("  %8llu %s\n", (unsigned long long)number, what); }

static void sums_print(const struct chaos_sums *sums)
{
    print("clusters", sums->clusters);
    print("of them with two moves and two faults at least", sums->busy);
    print("orders", sums->asked);
    print("moves DONE", sums->done);
    print("moves ABORTED", sums->aborted);
    print("times nodes were looked at when a move had just ended", sums->looked);
    print("moves given up before all who take part knew of those before", sums->early);
    print("faults", sums->faults);
    print("of them nodes killed", sums->kills);
    print("nodes or ways cut off", sums->cuts);
    print("connections broken", sums->breaks);
    print("stores that do not answer, and sessions that end", sums->stores);
    print("players killed", sums->players);
    print("commits whose outcome was not learned", sums->lost);
    print("times a graph was started again", sums->restarts);
    print("checkpoints complete", sums->completed);
    print("times a graph was stopped with a savepoint", sums->stopped);
    print("times it went on from there", sums->submitted_from);
    print("clusters in which several nodes read", sums->several);
    print("of these, such as read streams", sums->several_fed);
    print("streams that another node reads at the end", sums->read_elsewhere);
    print("checkpoints complete there", sums->several_completed);
    print("runs that went on from one of those", sums->several_resumed);
    print("times it is said that a cut was heard of too late", sums->passed);
    print("nodes whose replicas took over", sums->replaced);
    print("replicas made while a graph ran", sums->copies);
    print("coordinators", sums->terms);
    print("turns", sums->turns);
    print("simulated milliseconds", sums->milliseconds);
}

/* Else it is no chaos, and all of the above shows nothing. */
static bool is_chaos(const struct chaos_sums *sums)
{
    return sums->busy >= sums->clusters * 7 / 10 && sums->done >= 2 * sums->clusters &&
           sums->aborted >= sums->clusters / 2 && sums->looked >= sums->clusters && sums->kills >= sums->clusters &&
           sums->cuts >= sums->clusters / 4 && sums->breaks >= sums->clusters / 4 &&
           sums->stores >= sums->clusters / 16 && sums->lost >= sums->clusters / 4 &&
           sums->restarts >= sums->clusters / 2 && sums->completed >= sums->clusters &&
           sums->several_completed >= sums->several / 3 && sums->several_resumed >= sums->several / 4 &&
           sums->several_fed >= sums->several / 8 && sums->read_elsewhere >= sums->several_fed / 16 &&
           sums->stopped >= sums->clusters / 20 && sums->submitted_from >= sums->clusters / 20 &&
           sums->passed >= sums->several / 50 && sums->replaced >= sums->clusters / 50 &&
           sums->copies >= sums->clusters / 100;
}

int main(int argc, char **argv)
{
    struct seeds seeds = {.first = argc > 2 ? number_of(argv[2]) : scene_seed_first(),
                          .count = argc > 1 ? number_of(argv[1]) : scene_seeds(SEEDS),
                          .failed_max = SEEDS_FAILED_MAX};
    uint64_t failed;
    seeds_run(&seeds);
    for (uint32_t i = 0; i < seeds.failed_count; i++)
        printf("seed %llu: %s\n%s\n", (unsigned long long)seeds.failed[i].seed, seeds.failed[i].why,
               seeds.failed[i].says);
    sums_print(&seeds.sums);
    failed = seeds.failed_count;
    if (failed == 0 && seeds.count >= 100 && !is_chaos(&seeds.sums)) {
        printf("there was too little chaos\n");
        failed = 1;
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)(seeds.count - failed), (unsigned long long)failed);
    seeds_fini(&seeds);
    return failed != 0;
}
