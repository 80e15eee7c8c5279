/* base/world_uv.h - what the files of the real world share with each other, behind the door of base/base.h.
 *
 * Thread:   a worker's loop, and all that is on it, is touched by that worker's thread alone; before and after the run by the
 *           thread that runs it. Exceptions name themselves.
 */
#ifndef PST_WORLD_UV_H
#define PST_WORLD_UV_H

#include "base/base.h"

#include <stdatomic.h>
#include <uv.h>

enum { WORKERS_MAX = 64 };

struct watch;
struct pst_tls;

/* The network of one worker. */
struct net_worker {
    struct watch *watches;   /* all of this loop, so that they can be closed with the run */
    uint32_t unproven_count; /* accepted here, and not known yet who it is */
    uint32_t farewell_count; /* closed by their owner, with something still to be sent */
    uv_mutex_t arrivals_lock;
    struct pst_conn *arrivals; /* given by other workers, under the lock */
    struct pst_conn *unsent; /* what this step has sent goes when it ends: many messages with one call of the system */
};

struct worker {
    struct uv_world *world;
    uint32_t index;
    uv_thread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    uv_idle_t idle;
    uv_timer_t tick, alarm;
    uint64_t alarm_ns;
    bool loop_ready, done;
    struct net_worker net;
    _Alignas(64) atomic_bool sleeping;
    atomic_bool notified;
    _Atomic(struct file_poll *) closing; /* of files that somebody has closed meanwhile */
};

struct uv_world {
    struct pst_world world;
    struct worker *workers;
    uint32_t worker_count;
    pst_step_fn step;
    void *argument;
    uv_sem_t start;
    bool cancelled;
    struct pst_tls *tls; /* NULL: TCP is plain */
    uint64_t handshake_ns;
};

int pst_uv_failed(int system_errno); /* sets the reason; the error that it is */
void pst_uv_awake(struct worker *worker);

/* ---- net_uv.c ---- */
void pst_net_fill(struct pst_world *world);
int pst_net_worker_init(struct worker *worker);
bool pst_net_flush(struct worker *worker);  /* at the end of a step; true: the worker has to look at one that broke */
void pst_net_arrive(struct worker *worker); /* takes in what other workers have given */
/* Of a worker that is done: forgets the closed connections that have nothing more to send; those that have leave by themselves. */
void pst_net_hurry(struct worker *worker);
void pst_net_worker_drain(struct worker *worker);
void pst_net_worker_fini(struct worker *worker);
/* Tests: a handshake that takes longer is dropped. */
void pst_world_uv_handshake_ns(struct pst_world *world, uint64_t ns);

/* ---- net_frame.c: a message on the wire is its length, u32 little endian, and then so many bytes ---- */
enum { PST_FRAME_HEAD_BYTES = 4 };
/* What stands at the beginning of `bytes`. PST_OK: a whole message of *ret_bytes behind the head. PST_EAGAIN: head and message take
 * *ret_bytes, of which not all are there (the head's where it is not whole itself). PST_EREFUSED: a length of 0, or above the
 * limit. */
int pst_frame_parse(const uint8_t *bytes, size_t byte_count, uint32_t message_bytes_max, size_t *ret_bytes);
/* Of "http:": the head of a request, *ret_bytes of it with its empty line. PST_EAGAIN, PST_EREFUSED as above; ret_bytes as above. */
int pst_request_parse(const uint8_t *bytes, size_t byte_count, uint32_t head_bytes_max, size_t *ret_bytes);
void pst_frame_head(uint8_t head[PST_FRAME_HEAD_BYTES], uint32_t message_bytes);

/* ---- net_tls.c: TLS 1.3 on a descriptor that does not block ---- */
struct pst_tls_conn;
void pst_tls_free(struct pst_tls *tls);
/* `fd` stays the caller's, and is closed after the connection. NULL: out of memory. */
struct pst_tls_conn *pst_tls_conn_new(struct pst_tls *tls, int fd, bool accepted);
void pst_tls_conn_free(struct pst_tls_conn *conn);
/* All return PST_EAGAIN with *ret_events, UV_READABLE or UV_WRITABLE, for what they wait; else their errors with a reason. */
int pst_tls_handshake(struct pst_tls_conn *conn, char ret_peer[PST_PEER_BYTES], int *ret_events);
int64_t pst_tls_read(struct pst_tls_conn *conn, void *bytes, size_t byte_count,
                     int *ret_events); /* 0: closed in order */
/* After PST_EAGAIN it is called again with at least the same bytes, wherever they lie now. */
int64_t pst_tls_write(struct pst_tls_conn *conn, const void *bytes, size_t byte_count, int *ret_events);
int pst_tls_goodbye(struct pst_tls_conn *conn, int *ret_events);

#endif
