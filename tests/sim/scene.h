/* tests/sim/scene.h - one run of a graph in the simulated world: from a graph and a seed to files, counts and a trace. */
#ifndef PST_SIM_SCENE_H
#define PST_SIM_SCENE_H

#include "debs14/debs14.h"
#include "engine/engine.h"
#include "tests/sim/world_sim.h"

enum { SCENE_SETTINGS_MAX = 8 };

struct scene {
    struct sim sim;
    struct pst_run_options options; /* input `in.csv`, folder `out`, dead letters `dead`: scene_init() says so */
    struct pst_setting settings[SCENE_SETTINGS_MAX];
    uint32_t setting_count;
    uint64_t fail_at; /* this allocation of pst_run() fails; 0: none */
    uint64_t allocations;
    struct pst_run_report report;
    int rc;
};

void scene_init(struct scene *scene, uint64_t seed);
void scene_fini(struct scene *scene);
void scene_set(struct scene *scene, const char *name, const char *value);
/* The graph of a path, or of the text itself where it holds a newline; what is wrong with it is shown. */
int scene_load(const struct scene *scene, const char *graph, struct pst_graph **ret_graph);
/* Loads the graph (a path, or the text itself where it holds a newline) and runs it. Fails the test when the graph is not
 * valid, when the world got stuck, or when a worker had to be woken by the timer. */
int scene_run(struct scene *scene, const char *graph);
/* The same without judging; loading failures are returned too. */
int scene_try(struct scene *scene, const char *graph);
/* Sizes, partitions, workers and reads of a seed. `partitions`: by --set, in a buffer of the scene. */
void scene_shake(struct scene *scene, bool partitions);

/* Both runs have the same files with the same bytes, and the same counts. `what` is shown where they have not. */
void scene_same(const struct scene *wanted, const struct scene *found, const char *what);
const struct pst_text *scene_file(const struct scene *scene, const char *name);
/* Is there a file under this very name? */
bool scene_there(const struct scene *scene, const char *name);
/* `part` is the beginning of `whole` and ends with a line's end. */
bool scene_prefix(const struct pst_text *whole, const struct pst_text *part);

/* ---- inputs ---- */
struct scene_meters {
    uint32_t houses, plugs;
    uint64_t seed, seconds, rows_max;
    uint32_t hour;   /* of the first row */
    bool dirt, late; /* late: of the dirt only rows that are late */
};
extern const struct scene_meters scene_small; /* with dirt, enough for both queries with these settings: */
void scene_query(struct scene *scene, const char *graph);
void scene_put_meters(struct scene *scene, const struct scene_meters *meters);
/* Rows `ts,k,v` with late, malformed and repeated ones. */
void scene_put_rows(struct scene *scene, uint64_t seed, uint32_t rows, uint32_t keys, uint32_t step_max);

/* From the environment, so that a long run can do more: PST_TEST_SEEDS, or `standard`. */
uint64_t scene_seeds(uint64_t standard);
/* What many seeds show together, so that a test is known to have come to what it is about. Under a sanitizer there are few of them:
 * there it is the build without one that has shown it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define scene_shows(condition) ((void)(condition))
#else
#define scene_shows(condition) assert_true(condition)
#endif
/* PST_TEST_SEED, or 1. */
uint64_t scene_seed_first(void);
/* Adds all bytes of a file of this machine. */
void scene_text_of(const char *path, struct pst_text *ret_text);
/* The same, where operators of these types have two replicas. types: ended by NULL. */
void scene_text_replicated(const char *path, const char *const *types, struct pst_text *ret_text);

#endif
