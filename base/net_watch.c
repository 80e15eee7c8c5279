/* net_watch.c - a descriptor and a timer of one owner, on a worker's loop. */
#include "base/net_uv.h"

enum { NS_A_MS = 1000 * 1000 };

struct watch *pst_watch_new(void) { return pst_calloc(1, sizeof(struct watch)); }

void pst_watch_begin(struct watch *watch, struct worker *worker, const struct watch_calls *calls, void *owner)
{
    *watch = (struct watch){.worker = worker, .calls = calls, .owner = owner, .handle_count = 1};
    (void)uv_timer_init(&worker->loop, &watch->timer);
    watch->timer.data = watch;
    watch->link = &worker->net.watches;
    watch->next = worker->net.watches;
    if (watch->next != NULL)
        watch->next->link = &watch->next;
    worker->net.watches = watch;
}

static void on_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    if (--watch->handle_count == 0)
        pst_free(watch);
}

void pst_watch_close(struct watch *watch)
{
    if (watch == NULL)
        return;
    *watch->link = watch->next;
    if (watch->next != NULL)
        watch->next->link = watch->link;
    if (watch->polls)
        uv_close((uv_handle_t *)&watch->poll, on_closed);
    uv_close((uv_handle_t *)&watch->timer, on_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    if (status < 0) { /* libuv has stopped it; the owner sees why at its next call for the descriptor */
        watch->events = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    watch->calls->event(watch->owner, events);
}

static int poll_begin(struct watch *watch, int fd)
{
    int rc = uv_poll_init(&watch->worker->loop, &watch->poll, fd);
    if (rc != 0)
        return rc;
    watch->poll.data = watch;
    watch->polls = true;
    watch->handle_count++;
    return 0;
}

int pst_watch_add(struct watch *watch, int fd, int events)
{
    if ((watch->events & events) == events)
        return PST_OK;
    int rc = watch->polls ? 0 : poll_begin(watch, fd);
    if (rc == 0)
        rc = uv_poll_start(&watch->poll, watch->events | events, on_poll);
    if (rc != 0)
        return pst_uv_failed(-rc);
    watch->events |= events;
    return PST_OK;
}

void pst_watch_remove(struct watch *watch, int events)
{
    int rest = watch->events & ~events;
    if (rest == watch->events)
        return;
    /* Neither can fail: the descriptor is watched already. */
    if (rest == 0)
        (void)uv_poll_stop(&watch->poll);
    else
        (void)uv_poll_start(&watch->poll, rest, on_poll);
    watch->events = rest;
}

static void on_timer(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    watch->calls->time(watch->owner);
}

void pst_watch_timer(struct watch *watch, uint64_t wait_ns)
{
    uv_update_time(&watch->worker->loop); /* else it would count from when the loop woke up */
    (void)uv_timer_start(&watch->timer, on_timer, wait_ns / NS_A_MS + 1, 0);
}

void pst_watch_timer_stop(struct watch *watch) { (void)uv_timer_stop(&watch->timer); }
