/* tests/sim/store_sim.h - struct pst_store on simulated time, with faults from a seed: answers that come late, outcomes that are never
 * learned (the commit happens, happens later, or does not), news that is lost or comes as one, sessions that end, a store that
 * cannot be reached. */
#ifndef PST_STORE_SIM_H
#define PST_STORE_SIM_H

#include "migration/store.h"

enum { STORE_SIM_RECORDS_MAX = 128, STORE_SIM_SESSIONS_MAX = 64, STORE_SIM_REQUESTS_MAX = 4, STORE_SIM_LATE_MAX = 16 };

struct store_sim_record {
    char *path;
    uint64_t version; /* 0: not in use */
    char *bytes;
    uint32_t byte_count;
    uint64_t session; /* it is bound to; 0: none */
};
struct store_sim;
struct store_sim_session {
    struct store_sim *sim;
    struct pst_store store;
    uint64_t number, news;
    bool open, expired, cut; /* cut: its holder cannot reach the store */
    struct {
        struct pst_store_request *request;
        uint64_t due_us;
    } queue[STORE_SIM_REQUESTS_MAX];
    uint32_t queue_count;
};
/* A commit whose holder was told that the outcome is not known, and that happens later. */
struct store_sim_late {
    uint64_t due_us; /* 0: not in use */
    struct pst_store_change changes[PST_STORE_CHANGES_MAX];
    uint32_t change_count;
    uint64_t session;
};
struct store_sim {
    uint64_t random, now_us;
    uint32_t delay_us_max;
    uint32_t unknown_per_1000; /* commits whose outcome is not learned */
    bool compares;             /* no: a planted mistake, versions are not looked at */
    struct store_sim_record records[STORE_SIM_RECORDS_MAX];
    struct store_sim_session sessions[STORE_SIM_SESSIONS_MAX];
    uint64_t session_count;
    struct store_sim_late late[STORE_SIM_LATE_MAX];
    uint64_t commits, unknown; /* unknown: commits whose outcome was not learned */
    void *self;
    void (*changed)(void *self, const char *path, uint64_t version, const char *bytes, uint32_t byte_count);
};

void store_sim_init(struct store_sim *sim, uint64_t seed);
void store_sim_fini(struct store_sim *sim);
/* A session; PST_EIO where there are too many. */
int store_sim_open(struct store_sim *sim, struct pst_store **ret_store);
void store_sim_expire(struct store_sim *sim, struct pst_store *store); /* by the store */
void store_sim_crash(struct store_sim *sim, struct pst_store *store);  /* its holder has died; closes it */
/* The same, but the store does not know it yet: what was asked is not answered any more; store_sim_crash() when it does. */
void store_sim_lose(struct store_sim *sim, struct pst_store *store);
void store_sim_cut(struct store_sim *sim, struct pst_store *store, bool cut);
/* The next time at which something happens without being asked; UINT64_MAX: never. */
uint64_t store_sim_next_us(const struct store_sim *sim);
void store_sim_run(struct store_sim *sim, uint64_t now_us); /* time goes on; nothing is finished before step() */
/* Without delay and faults, for the scene itself. NULL: there is none. */
const struct store_sim_record *store_sim_get(const struct store_sim *sim, const char *path);
int store_sim_put(struct store_sim *sim, const char *path, const void *bytes, size_t byte_count);

#endif
