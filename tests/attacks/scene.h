/* scene.h - a real worker with the operator `tally`, driven by a test that is its host, and that may be a hostile one. */
#ifndef SCENE_H
#define SCENE_H

#include "tests/enclave/tally.h"

/* SCENE_PATIENCE_SECONDS: a worker that touches much memory on a machine that does much else takes seconds. */
enum { SCENE_ROWS = 1000, SCENE_PATIENCE_SECONDS = 60, SCENE_EPC_BYTES = 8 << 20, SCENE_OUTSIDE_BYTES = 64 << 20 };
extern const char *scene_program;       /* of the worker */
extern uint32_t scene_patience_seconds; /* of scenes that are started from now on; 1 where one is to hang */

struct scene {
    struct pst_enclave_operator config;
    struct pst_enclave_param param;
    struct pst_enclave *enclave;
    uint32_t rows; /* that came out */
    int64_t sum;   /* of what they say */
    /* What the host has of it: the shared memory, the memory outside by its descriptor, the process. */
    uint8_t *border;
    int outside, worker;
};

/* call: what the operator tries, see tally.h. A worker that does not move for a second is taken for hung. */
int scene_start(struct scene *scene, const char *call, uint64_t epc_bytes, char *ret_why);
/* One whose rows are sealed from end to end. image_key: it is to have images of its state, too; NULL: it is not. */
int scene_start_sealed(struct scene *scene, const uint8_t *image_key, char *ret_why);
/* One whose buckets, 0 to TALLY_BUCKETS - 1, may move, where anybody had a certificate of its authority. */
int scene_start_moving(struct scene *scene, char *ret_why);
/* Rows with SCENE_ROWS keys from `first` on, each with the value 1. */
int scene_frame(struct scene *scene, uint32_t first);
/* `count` of them, one behind the other. */
int scene_frames(struct scene *scene, uint32_t count);
int scene_time(struct scene *scene, int64_t t); /* rows and sum are then those that this has put out */
int scene_status(int pid, const char *field);   /* KiB, of /proc/PID/status; -1: it is not there */

#endif
