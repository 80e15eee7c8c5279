/* tests/sim/world_sim.h - the simulated filling of struct pst_world: one thread, simulated time, files in memory, and from one
 * seed which worker steps next, how much a read gives, and how late a wake-up comes. The same seed gives the same trace. */
#ifndef PST_WORLD_SIM_H
#define PST_WORLD_SIM_H

#include "base/base.h"

#include <stdatomic.h>

enum { SIM_FILES_MAX = 1024, SIM_WORKERS_MAX = 64, SIM_JOBS_MAX = 64 };

/* What a power cut may leave: of the bytes, what was synced and perhaps some of what was not; of the names, those as of the last
 * sync of the folder or those as of now, file by file. */
struct sim_file {
    char *name;
    struct pst_text bytes;
    bool there;
    struct pst_text bytes_synced;
    char *name_synced; /* NULL: none */
    uint32_t writer;   /* the node that has changed it last */
    uint32_t handles;  /* open ones */
    bool replaced;     /* another one was renamed over it: one of the two has the name, whatever is lost */
    uint64_t read_bytes;
    uint64_t grow_ns, grown_ns; /* it has a byte more each grow_ns, from grown_ns on; 0: all of it is there */
};

struct sim_job {
    uint32_t worker;
    void (*run)(void *argument);
    void *argument;
};

struct sim {
    struct pst_world world;
    uint64_t random, now_ns, trace; /* trace: a running digest of every event */
    uint32_t read_bytes_max;        /* a read gives 1 to this many bytes; 0: all that fits */
    uint32_t again_percent;         /* how many reads find nothing yet */
    uint32_t create_percent;        /* how many files of checkpoints cannot be created */
    uint64_t read_at_fails;         /* this file_read_at() finds an error of the disk; 0: none */
    uint64_t write_bytes_left;      /* the disk is full after so many; UINT64_MAX: never */
    uint32_t yield_permille; /* how many atomic operations let another worker go on (yield.h); 0: a step is one piece */
    uint64_t interrupt_step[2]; /* `interrupts` becomes 1, then 2, before these steps; 0: never */
    atomic_int interrupts;
    bool stuck;          /* every worker slept and nothing could wake them */
    uint64_t wakes_lost; /* worker 0's timer found work that somebody should have woken it for */
    uint64_t steps, writes, write_bytes;
    uint64_t scratch_writes; /* to files without a name */
    uint64_t disk_steps;     /* writes, syncs, cuts, renames and removals so far */
    uint64_t cut_step;       /* the power goes at this one, which then happens or not; 0: never */
    bool cut;                /* it has gone: nothing works any more */
    struct sim_job jobs[SIM_JOBS_MAX];
    uint32_t job_count;
    struct sim *
        shared; /* the disk of paths below "shared/": another world's files, that several nodes reach. NULL: there is none */
    struct sim_file files[SIM_FILES_MAX];
    uint32_t file_count;
    /* workers */
    uint32_t worker_count;
    pst_step_fn step;
    void *argument;
    uint32_t workers_left, sleeps;
    struct sim_fiber *fibers; /* NULL: steps are called plainly */
    uint32_t running;
    uint64_t alarm_ns[SIM_WORKERS_MAX]; /* 0: none */
    uint64_t watched_ns;                /* nothing arrives for those who watch a file before that */
    struct sim_net *net;                /* net_sim.h; NULL: no network */
    uint32_t node;                      /* of the network */
    bool amid[SIM_WORKERS_MAX];         /* its step is not finished */
    bool ticked, done[SIM_WORKERS_MAX], asleep[SIM_WORKERS_MAX], notified[SIM_WORKERS_MAX], watching[SIM_WORKERS_MAX];
};

void sim_init(struct sim *sim, uint64_t seed);
void sim_fini(struct sim *sim);
void sim_put(struct sim *sim, const char *name, const void *bytes, size_t byte_count);
/* The same, but it is a file that grows while it is read. */
void sim_put_growing(struct sim *sim, const char *name, const void *bytes, size_t byte_count, uint64_t grow_ns);
/* NULL: no such file. */
const struct pst_text *sim_get(const struct sim *sim, const char *name);
/* After a power cut, or at any moment: what the disk holds when the machine comes back. Power is there again. */
void sim_restart(struct sim *sim);
/* The same without loss: what a killed process leaves. */
void sim_revive(struct sim *sim);
/* Of a shared disk: a node crashes. What it has written and not synced may be lost; what others have is not. */
void sim_shared_crash(struct sim *shared, uint32_t node);
uint64_t sim_random(struct sim *sim, uint64_t below);

/* run() in pieces, for whoever lets several worlds take turns (net_sim.h). turn(): one step of one worker, or a job; false: nobody is
 * able. It is over when workers_left is 0. */
void sim_begin(struct sim *sim, uint32_t worker_count, pst_step_fn step, void *argument);
bool sim_turn(struct sim *sim);
void sim_end(struct sim *sim);

#endif
