/* base/net_uv.h - what the files of the real network share: handles on a worker's loop, and addresses. */
#ifndef PST_NET_UV_H
#define PST_NET_UV_H

#include "base/world_uv.h"

#include <sys/socket.h>
#include <sys/un.h>

/* ---- net_watch.c: a descriptor and a timer of one owner, on the loop of one worker ---- */
struct watch_calls {
    void (*event)(void *owner, int events); /* after an error both events are told; none is watched then */
    void (*time)(void *owner);
    void (*over)(void *owner); /* the run is over: the owner forgets its worker, and closes the watch */
};
/* Its memory outlives watch_close() until libuv has let go of the handles. */
struct watch {
    uv_poll_t poll;
    uv_timer_t timer;
    struct worker *worker;
    struct watch *next, **link;
    const struct watch_calls *calls;
    void *owner;
    int events; /* that are watched */
    uint32_t handle_count;
    bool polls;
};
struct watch *pst_watch_new(void); /* on no loop yet; ended by pst_free() until it is, by pst_watch_close() then */
void pst_watch_begin(struct watch *watch, struct worker *worker, const struct watch_calls *calls, void *owner);
void pst_watch_close(struct watch *watch); /* before the descriptor is closed; NULL is nothing */
int pst_watch_add(struct watch *watch, int fd, int events);
void pst_watch_remove(struct watch *watch, int events);
void pst_watch_timer(struct watch *watch, uint64_t wait_ns); /* replaces an earlier one */
void pst_watch_timer_stop(struct watch *watch);

/* ---- net_address.c ---- */
struct address {
    bool local;          /* unix:PATH */
    char host[256];      /* a path, where it is local */
    char port[8];        /* "7000" */
    const char *written; /* borrowed: as it was given */
};
/* Where to connect to, or to listen: one after the other is tried. */
enum { TARGETS_MAX = 8 };
struct targets {
    uint32_t count, next;
    struct target {
        struct sockaddr_storage address;
        socklen_t address_bytes;
    } at[TARGETS_MAX];
};
int pst_address_parse(const char *text, struct address *ret_address); /* PST_EINVAL, with a sentence */
/* Without asking anybody: PST_ENOENT, where the host is a name. */
int pst_targets_numeric(const struct address *address, struct targets *ret_targets);
void pst_targets_take(const struct addrinfo *found, struct targets *ret_targets);
/* A socket that listens. PST_EREFUSED: another process listens there, or something that is no socket has the path. */
int pst_socket_listen(const struct address *address, int *ret_fd);
int pst_socket_name(int fd, char *ret_text, size_t capacity); /* "127.0.0.1:7000" */

#endif
