/* store_fenced.c - a store whose commits happen only while their holder is who holds the fence, and whose outcomes are always learned.
 *
 * The fence is a record like any other. Each commit expects its version and writes it anew, so whoever has taken it over has ended
 * what the holder before him has on its way, wherever that is. It counts its holder's commits: one whose outcome was not learned has
 * happened if the fence counts it. If not, it may still come (T2); the same is committed again, expecting the same version, so one of
 * the two happens. Requests are done one after the other. */
#include "migration/store_inside.h"

#include <stdio.h>
#include <string.h>

#define AGAIN_NS (UINT64_C(100) * 1000 * 1000)

struct fenced {
    struct pst_store store;
    struct pst_store *below;
    struct pst_world *world;
    uint32_t worker_index;
    char path[PST_STORE_PATH_BYTES];
    struct pst_store_fence fence; /* as it was read or written last, and its version */
    uint64_t version;
    struct pst_store_queue waiting;
    struct pst_store_request *caller; /* the one that is being done; NULL: none */
    struct pst_store_request own;     /* what the store below is asked for it */
    struct pst_store_change changes[PST_STORE_CHANGES_MAX];
    uint8_t bytes[PST_STORE_FENCE_BYTES];
    bool begun, looks; /* looks: `own` reads the fence, to see what became of a commit */
    int why;           /* what the commit had said */
    uint64_t again_ns; /* not before; 0: at once */
    bool over;
};

/* ---- the record: u64 term, u64 session, u64 commits, little endian ---- */
void pst_store_fence_encode(const struct pst_store_fence *fence, uint8_t ret_bytes[PST_STORE_FENCE_BYTES])
{
    memcpy(ret_bytes, &fence->term, 8);
    memcpy(ret_bytes + 8, &fence->session, 8);
    memcpy(ret_bytes + 16, &fence->commits, 8);
}

int pst_store_fence_decode(const void *bytes, size_t byte_count, struct pst_store_fence *ret_fence)
{
    if (byte_count != PST_STORE_FENCE_BYTES)
        return PST_EDATA;
    memcpy(&ret_fence->term, bytes, 8);
    memcpy(&ret_fence->session, (const uint8_t *)bytes + 8, 8);
    memcpy(&ret_fence->commits, (const uint8_t *)bytes + 16, 8);
    return PST_OK;
}

/* ---- one request ---- */
static void own_begin(struct fenced *fenced)
{
    const struct pst_store_request *caller = fenced->caller;
    bool commit = caller->kind == PST_STORE_COMMIT && !fenced->looks;
    fenced->own = (struct pst_store_request){.kind = fenced->looks ? PST_STORE_READ : caller->kind,
                                             .path = fenced->looks ? fenced->path : caller->path,
                                             .rc = PST_EAGAIN};
    if (commit) {
        struct pst_store_fence next = fenced->fence;
        next.commits++;
        pst_store_fence_encode(&next, fenced->bytes);
        memcpy(fenced->changes, caller->changes, caller->change_count * sizeof *fenced->changes);
        fenced->changes[caller->change_count] = (struct pst_store_change){.path = fenced->path,
                                                                          .expected = fenced->version,
                                                                          .bytes = fenced->bytes,
                                                                          .byte_count = PST_STORE_FENCE_BYTES};
        fenced->own.changes = fenced->changes;
        fenced->own.change_count = caller->change_count + 1;
    }
    fenced->begun = true;
    fenced->below->begin(fenced->below->self, &fenced->own);
}

static void caller_answer(struct fenced *fenced, int rc)
{
    struct pst_store_request *caller = fenced->caller;
    fenced->caller = NULL;
    caller->version = fenced->own.version;
    caller->text = fenced->own.text;
    fenced->own.text = (struct pst_text){0};
    caller->rc = rc;
}

static void again(struct fenced *fenced)
{
    const struct pst_world *world = fenced->world;
    fenced->again_ns = world->now_ns(world->self) + AGAIN_NS;
}

/* What became of the commit, by the fence as it is now. */
static void looked(struct fenced *fenced)
{
    struct pst_store_fence found = {0};
    bool good = pst_store_fence_decode(fenced->own.text.bytes, fenced->own.text.count, &found) == PST_OK &&
                found.term == fenced->fence.term && found.session == fenced->fence.session;
    uint64_t version = fenced->own.version;
    pst_text_fini(&fenced->own.text);
    fenced->looks = false;
    if (good && version == fenced->version + 1 && found.commits == fenced->fence.commits + 1) {
        fenced->version++;
        fenced->fence.commits++;
        caller_answer(fenced, PST_OK);
    } else if (!good || version != fenced->version) {
        fenced->over = true; /* somebody else has the fence */
    } else if (fenced->why == PST_EINVAL) {
        caller_answer(fenced, PST_EINVAL); /* one of the caller's own records is of another version */
    }
}

static void committed(struct fenced *fenced, int rc)
{
    if (rc == PST_OK) {
        fenced->version++;
        fenced->fence.commits++;
        caller_answer(fenced, PST_OK);
    } else if (rc == PST_EINVAL || rc == PST_ETIMEOUT) {
        fenced->why = rc;
        fenced->looks = true;
    } else {
        caller_answer(fenced, rc);
    }
}

static void own_answered(struct fenced *fenced)
{
    int rc = fenced->own.rc;
    fenced->begun = false;
    if (rc == PST_ESTOPPED || (fenced->looks && rc == PST_ENOENT))
        fenced->over = true;
    else if (rc == PST_EIO || rc == PST_ENOMEM || (rc != PST_OK && fenced->looks))
        again(fenced);
    else if (fenced->looks)
        looked(fenced);
    else if (fenced->caller->kind == PST_STORE_COMMIT)
        committed(fenced, rc);
    else
        caller_answer(fenced, rc);
}

/* ---- the interface ---- */
static bool fits(const struct pst_store_request *request)
{
    return pst_store_request_check(request) == PST_OK &&
           (request->kind != PST_STORE_COMMIT || request->change_count < PST_STORE_CHANGES_MAX);
}

static void fenced_step(void *self)
{
    struct fenced *fenced = self;
    const struct pst_world *world = fenced->world;
    fenced->below->step(fenced->below->self);
    while (!fenced->over) {
        if (fenced->caller == NULL) {
            fenced->caller = pst_store_queue_take(&fenced->waiting);
            fenced->again_ns = 0;
        }
        if (fenced->caller == NULL)
            return;
        if (fenced->again_ns != 0 && world->now_ns(world->self) < fenced->again_ns) {
            (void)world->alarm(world->self, fenced->worker_index, fenced->again_ns);
            return;
        }
        fenced->again_ns = 0;
        if (!fenced->begun)
            own_begin(fenced);
        if (fenced->own.rc == PST_EAGAIN)
            return;
        own_answered(fenced);
    }
}

static void fenced_begin(void *self, struct pst_store_request *request)
{
    struct fenced *fenced = self;
    request->rc = fits(request) ? PST_EAGAIN : PST_EINVAL;
    if (request->rc != PST_EAGAIN)
        return;
    pst_store_queue_add(&fenced->waiting, request);
    fenced->world->wake(fenced->world->self, fenced->worker_index); /* the worker's own step does it */
}

static uint64_t fenced_news(void *self)
{
    const struct fenced *fenced = self;
    return fenced->below->news(fenced->below->self);
}

static uint64_t fenced_session(void *self)
{
    const struct fenced *fenced = self;
    return fenced->over ? 0 : fenced->below->session(fenced->below->self);
}

static void fenced_close(void *self)
{
    struct fenced *fenced = self;
    pst_text_fini(&fenced->own.text);
    pst_free(fenced);
}

int pst_store_fenced(struct pst_store *below, struct pst_world *world, uint32_t worker_index, const char *path,
                     const struct pst_store_fence *fence, uint64_t version, struct pst_store **ret_store)
{
    struct fenced *fenced = pst_store_path_valid(path) ? pst_calloc(1, sizeof *fenced) : NULL;
    if (fenced == NULL)
        return pst_store_path_valid(path) ? PST_ENOMEM : PST_EINVAL;
    fenced->below = below;
    fenced->world = world;
    fenced->worker_index = worker_index;
    fenced->fence = *fence;
    fenced->version = version;
    (void)snprintf(fenced->path, sizeof fenced->path, "%s", path);
    fenced->store = (struct pst_store){.self = fenced,
                                       .begin = fenced_begin,
                                       .step = fenced_step,
                                       .news = fenced_news,
                                       .session = fenced_session,
                                       .close = fenced_close};
    *ret_store = &fenced->store;
    return PST_OK;
}
