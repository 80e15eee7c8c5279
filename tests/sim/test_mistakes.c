/* test_mistakes.c - chaos (chaos.h) finds mistakes: each of engine/planted.h within a thousand seeds. Without one the same seeds pass. */
#include "engine/planted.h"
#include "tests/sim/scene.h"
#include "tests/sim/seeds.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEDS_MAX = 1000, CONTROL_SEEDS_MIN = 50 };

enum pst_mistake pst_mistake;

#define PLANTED(name, sentence) {#name, sentence},
static const struct {
    const char *name, *sentence;
} mistakes[] = {{"NONE", ""}, PST_MISTAKES(PLANTED)};

/* The first of its seeds that fails; 0: none does. */
static uint64_t caught(enum pst_mistake mistake, uint64_t count, char why[400])
{
    struct seeds seeds = {.first = scene_seed_first(), .count = count, .failed_max = 1};
    uint64_t seed = 0;
    pst_mistake = mistake;
    seeds_run(&seeds);
    for (uint32_t i = 0; i < seeds.failed_count; i++) {
        if (seed != 0 && seeds.failed[i].seed > seed)
            continue;
        seed = seeds.failed[i].seed;
        (void)snprintf(why, 400, "%s", seeds.failed[i].why);
    }
    seeds_fini(&seeds);
    return seed;
}

int main(void)
{
    uint32_t passed = 0, failed = 0;
    uint64_t latest = CONTROL_SEEDS_MIN;
    char why[400] = "";
    for (enum pst_mistake mistake = PST_MISTAKE_NONE + 1; mistake < PST_MISTAKE_COUNT; mistake++) {
        uint64_t seed = caught(mistake, scene_seeds(SEEDS_MAX), why);
        printf("%s: %s\n", mistakes[mistake].name, mistakes[mistake].sentence);
        if (seed != 0)
            printf("mistake %s: caught at seed %llu: %s\n", mistakes[mistake].name, (unsigned long long)seed, why);
        else
            printf("mistake %s: not caught\n", mistakes[mistake].name);
        passed += seed != 0;
        failed += seed == 0;
        latest = seed > latest ? seed : latest;
    }
    uint64_t seed = caught(PST_MISTAKE_NONE, latest - scene_seed_first() + 1, why);
    if (seed == 0)
        printf("no mistake: seeds up to %llu pass\n", (unsigned long long)latest);
    else
        printf("no mistake: seed %llu fails: %s\n", (unsigned long long)seed, why);
    passed += seed == 0;
    failed += seed != 0;
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
