/* store_embedded.c - the store in one process: a map in memory, and a log that says how it came to be (store_log.c).
 *
 * One job is on its way at a time, off the worker's thread: it writes and syncs a batch of commits, or writes the map to a new file
 * when the log has become long. Until it is done nobody commits, so it may read the map and use the sealer. A batch is what waited
 * when it began; its changes are a second map that hides the first, and become part of it when they are on the disk.
 *
 * Files: store-NUMBER.log, of which the highest counts; store.new, that is not whole yet; store.lock. A new file gets a name that was
 * never there, so that no crash can leave neither of two: the one before it is removed when the folder has been synced. */
#include "migration/store_inside.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    BATCH_COMMITS_MAX = 64,
    BATCH_BYTES = 1 << 20,     /* a batch that has so many takes no further commit */
    LOG_LIVE_FACTOR = 4,       /* the log is written anew when it has so many times the live bytes, */
    LOG_BYTES_MORE = 1 << 20,  /* and so many more; */
    LOG_BYTES_AGAIN = 1 << 24, /* tried again after so many more where that failed */
};

/* Commits that one write and one sync bring to the disk: the first ones of the queue. */
struct batch {
    uint32_t count;
    int verdicts[BATCH_COMMITS_MAX];          /* PST_OK: it is written */
    struct pst_text clear[BATCH_COMMITS_MAX]; /* its entry */
    size_t bytes;
    struct pst_store_map changes;   /* of all that are written; version 0: removed */
    int64_t count_more, bytes_more; /* what they do to the map */
};

typedef enum job_kind { JOB_NONE, JOB_COMMIT, JOB_COMPACT } job_kind;
/* Whoever comes second, of the job's end and close(), frees the store. */
typedef enum job_state { JOB_RUNNING = 1, JOB_DONE, JOB_ABANDONED } job_state;

struct embedded {
    struct pst_store store;
    struct pst_world *world;
    uint32_t worker_index;
    char *folder, *path_new;
    uint64_t number; /* of the file that counts; 0: none yet */
    struct pst_secret *key;
    struct pst_file *lock;
    struct pst_store_map map;
    struct pst_store_log log;
    struct pst_store_queue queue;
    struct batch batch;
    uint64_t session, news;
    uint64_t compact_above; /* bytes of the log; 0: by the live bytes alone */
    bool broken;            /* what is on the disk is not known: no commit before the store is opened anew */
    job_kind job;
    _Atomic int job_state;
    int job_rc; /* these two the job's, until it is done */
    bool job_usable;
};

static void embedded_free(struct embedded *store)
{
    if (store == NULL)
        return;
    for (uint32_t i = 0; i < BATCH_COMMITS_MAX; i++)
        pst_text_fini(&store->batch.clear[i]);
    pst_store_map_fini(&store->batch.changes);
    pst_store_map_fini(&store->map);
    pst_store_log_fini(&store->log);
    pst_secret_free(store->key);
    if (store->lock != NULL)
        (void)store->world->file_close(store->world->self, store->lock);
    pst_free(store->folder);
    pst_free(store->path_new);
    pst_free(store);
}

/* ---- a commit, into the batch ---- */
static const struct pst_store_record *find(const struct embedded *store, const char *path)
{
    const struct pst_store_record *record = pst_store_map_find(&store->batch.changes, path);
    if (record == NULL)
        record = pst_store_map_find(&store->map, path);
    return record != NULL && record->version != 0 ? record : NULL;
}

/* PST_EINVAL: a version is another. PST_EFULL. What the changes do to the bounds is added up. */
static int commit_check(const struct embedded *store, const struct pst_store_request *request, int64_t *count,
                        int64_t *bytes)
{
    *count = store->batch.count_more;
    *bytes = store->batch.bytes_more;
    for (uint32_t i = 0; i < request->change_count; i++) {
        const struct pst_store_change *change = &request->changes[i];
        const struct pst_store_record *before = find(store, change->path);
        if (change->expected != (before != NULL ? before->version : 0))
            return PST_EINVAL;
        if (before != NULL) {
            *count -= 1;
            *bytes -= (int64_t)pst_store_record_cost(change->path, before->byte_count);
        }
        if (change->bytes != NULL) {
            *count += 1;
            *bytes += (int64_t)pst_store_record_cost(change->path, change->byte_count);
        }
    }
    bool fits = (int64_t)store->map.count + *count <= PST_STORE_RECORDS_MAX &&
                (int64_t)store->map.bytes + *bytes <= PST_STORE_LIVE_BYTES_MAX;
    return fits ? PST_OK : PST_EFULL;
}

/* The record that a change makes; of a removed one, its version 0 alone. */
static struct pst_store_record *record_of(const struct embedded *store, const struct pst_store_change *change)
{
    const struct pst_store_record *before = find(store, change->path);
    bool bound = change->bound || (before != NULL && before->bound);
    if (change->bytes == NULL)
        return pst_store_record_new(change->path, 0, NULL, 0, false);
    return pst_store_record_new(change->path, change->expected + 1, change->bytes, change->byte_count, bound);
}

static int records_make(const struct embedded *store, const struct pst_store_request *request,
                        struct pst_store_record *records[PST_STORE_CHANGES_MAX], struct pst_text *clear)
{
    int rc = pst_store_log_begin(clear);
    for (uint32_t i = 0; i < request->change_count && rc == PST_OK; i++) {
        records[i] = record_of(store, &request->changes[i]);
        rc = records[i] == NULL ? PST_ENOMEM
                                : pst_store_log_encode(clear, records[i]->path, records[i]->version, records[i]->bytes,
                                                       records[i]->byte_count, records[i]->bound);
    }
    return rc;
}

/* PST_OK: it is in the batch. Else nothing has changed. */
static int commit_prepare(struct embedded *store, const struct pst_store_request *request, struct pst_text *clear)
{
    struct pst_store_record *records[PST_STORE_CHANGES_MAX] = {NULL};
    struct batch *batch = &store->batch;
    int64_t count, bytes;
    int rc = store->broken ? PST_EIO : commit_check(store, request, &count, &bytes);
    if (rc != PST_OK)
        return rc;
    rc = pst_store_map_reserve(&batch->changes, request->change_count);
    if (rc == PST_OK) /* all of it now: what is on the disk cannot be taken back for want of memory */
        rc = pst_store_map_reserve(&store->map, batch->changes.count + request->change_count);
    if (rc == PST_OK)
        rc = records_make(store, request, records, clear);
    if (rc != PST_OK) {
        for (uint32_t i = 0; i < request->change_count; i++)
            pst_free(records[i]);
        return rc;
    }
    for (uint32_t i = 0; i < request->change_count; i++)
        pst_store_map_put(&batch->changes, records[i]);
    batch->count_more = count;
    batch->bytes_more = bytes;
    batch->bytes += clear->count;
    return PST_OK;
}

/* Takes the commits that wait, up to the first read. */
static void batch_fill(struct embedded *store)
{
    struct batch *batch = &store->batch;
    const struct pst_store_request *request = store->queue.first;
    while (request != NULL && request->kind == PST_STORE_COMMIT && batch->count < BATCH_COMMITS_MAX &&
           batch->bytes < BATCH_BYTES) {
        batch->verdicts[batch->count] = commit_prepare(store, request, &batch->clear[batch->count]);
        batch->count++;
        request = request->next;
    }
}

/* Answers all of it. `rc`: of the write; where it is not PST_OK, nothing was found on a sound footing: what was refused because of
 * a commit before it that did not happen either is told the same. */
static void batch_answer(struct embedded *store, int rc)
{
    struct batch *batch = &store->batch;
    for (uint32_t i = 0; i < batch->count; i++) {
        int verdict = batch->verdicts[i];
        if (rc != PST_OK)
            verdict = verdict == PST_OK ? rc : PST_EIO;
        pst_store_queue_take(&store->queue)->rc = verdict;
        pst_text_fini(&batch->clear[i]);
    }
    pst_store_map_fini(&batch->changes);
    batch->count = 0;
    batch->bytes = 0;
    batch->count_more = batch->bytes_more = 0;
}

static void batch_apply(struct embedded *store)
{
    struct pst_store_map *changes = &store->batch.changes;
    for (uint32_t i = 0; i < changes->count; i++) {
        struct pst_store_record *record = changes->records[i];
        if (record->version != 0) {
            pst_store_map_put(&store->map, record);
            continue;
        }
        if (pst_store_map_find(&store->map, record->path) != NULL) /* else it came and went in this batch */
            pst_store_map_remove(&store->map, record->path);
        pst_free(record);
    }
    changes->count = 0;
    store->news++;
}

/* ---- jobs ---- */
static void job_commit(struct embedded *store)
{
    struct batch *batch = &store->batch;
    struct pst_store_log *log = &store->log;
    uint64_t number = log->number;
    uint8_t tag[PST_STORE_LOG_TAG_BYTES];
    memcpy(tag, log->tag, sizeof tag);
    int rc = PST_OK;
    for (uint32_t i = 0; i < batch->count && rc == PST_OK; i++)
        if (batch->verdicts[i] == PST_OK)
            rc = pst_store_log_add(log, PST_STORE_LOG_COMMIT, &batch->clear[i]);
    store->job_usable = true;
    if (rc == PST_OK)
        rc = pst_store_log_flush(log, &store->job_usable);
    else
        rc = rc == PST_ENOMEM ? PST_ENOMEM : PST_EIO;
    if (rc != PST_OK)
        pst_store_log_forget(log, number, tag);
    store->job_rc = rc;
}

static char *path_in(const char *folder, const char *name)
{
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "%s/%s", folder, name);
    if (text.failed)
        pst_text_fini(&text);
    return text.bytes;
}

static char *log_path(const struct embedded *store, uint64_t number)
{
    char name[48];
    (void)snprintf(name, sizeof name, "store-%016" PRIx64 ".log", number);
    return path_in(store->folder, name);
}

/* The number of a name that log_path() makes; 0: of another name. */
static uint64_t log_number(const char *name)
{
    char again[48];
    uint64_t number;
    if (strncmp(name, "store-", 6) != 0 || sscanf(name + 6, "%16" SCNx64, &number) != 1)
        return 0;
    int count = snprintf(again, sizeof again, "store-%016" PRIx64 ".log\n", number);
    return strncmp(name, again, (size_t)count) == 0 ? number : 0;
}

/* The highest number there is, 0: none. Files below `keep` are removed: what stays behind is tried again next time. */
static int logs_look(const struct embedded *store, uint64_t keep, uint64_t *ret_highest)
{
    struct pst_text names = {0};
    const struct pst_world *world = store->world;
    int rc = world->folder_list(world->self, store->folder, &names);
    *ret_highest = 0;
    for (const char *at = names.bytes; rc == PST_OK && at != NULL && *at != '\0'; at = strchr(at, '\n') + 1) {
        uint64_t number = log_number(at);
        char *path = number != 0 && number < keep ? log_path(store, number) : NULL;
        if (path != NULL)
            (void)world->unlink(world->self, path);
        pst_free(path);
        *ret_highest = number > *ret_highest ? number : *ret_highest;
    }
    pst_text_fini(&names);
    return rc;
}

/* store.new gets its name, for good. `ret_usable` false: which file counts after a crash is not known, so none may grow. */
static int fresh_name(const struct embedded *store, bool *ret_usable)
{
    const struct pst_world *world = store->world;
    char *path = log_path(store, store->number + 1);
    if (path == NULL)
        return PST_ENOMEM;
    *ret_usable = false;
    int rc = world->rename(world->self, store->path_new, path);
    pst_free(path);
    if (rc == PST_OK)
        rc = world->folder_sync(world->self, store->folder);
    *ret_usable = rc == PST_OK;
    return rc;
}

/* The map in a new file. Where it fails, the old file goes on if *ret_usable. */
static int compact(struct embedded *store, bool *ret_usable)
{
    struct pst_world *world = store->world;
    struct pst_store_log fresh;
    uint64_t highest;
    *ret_usable = true;
    int rc = pst_store_log_create(&fresh, world, store->path_new, store->key, &store->map);
    if (rc == PST_OK) {
        rc = fresh_name(store, ret_usable);
        if (rc != PST_OK)
            pst_store_log_fini(&fresh);
    }
    if (rc != PST_OK) {
        (void)world->unlink(world->self, store->path_new);
        return rc;
    }
    pst_store_log_fini(&store->log);
    store->log = fresh;
    store->number++;
    (void)logs_look(store, store->number, &highest);
    return PST_OK;
}

static void job_run(void *argument)
{
    struct embedded *store = argument;
    if (store->job == JOB_COMMIT)
        job_commit(store);
    else
        store->job_rc = compact(store, &store->job_usable);
    if (atomic_exchange(&store->job_state, JOB_DONE) == JOB_ABANDONED)
        embedded_free(store);
}

static int job_start(struct embedded *store, job_kind kind)
{
    store->job = kind;
    atomic_store(&store->job_state, JOB_RUNNING);
    int rc = store->world->work(store->world->self, store->worker_index, job_run, store);
    if (rc != PST_OK)
        store->job = JOB_NONE;
    return rc;
}

static void job_finish(struct embedded *store)
{
    job_kind kind = store->job;
    store->job = JOB_NONE;
    store->broken |= !store->job_usable;
    if (kind == JOB_COMPACT) {
        store->compact_above = store->job_rc == PST_OK ? 0 : store->log.bytes + LOG_BYTES_AGAIN;
        return;
    }
    if (store->job_rc == PST_OK)
        batch_apply(store);
    batch_answer(store, store->job_rc);
}

static bool compact_is_due(const struct embedded *store)
{
    return !store->broken && store->log.bytes > store->compact_above &&
           store->log.bytes > LOG_LIVE_FACTOR * store->map.bytes + LOG_BYTES_MORE;
}

/* ---- the interface ---- */
static void read_answer(const struct embedded *store, struct pst_store_request *request)
{
    const struct pst_store_record *record;
    request->text = (struct pst_text){0};
    if (request->kind == PST_STORE_LIST) {
        request->rc = pst_store_map_list(&store->map, request->path, &request->text);
    } else if ((record = pst_store_map_find(&store->map, request->path)) == NULL) {
        request->rc = PST_ENOENT;
    } else {
        request->rc = pst_text_add(&request->text, record->bytes, record->byte_count);
        request->version = record->version;
    }
    if (request->rc != PST_OK)
        pst_text_fini(&request->text);
}

/* Reads that have come to the front. */
static void reads_answer(struct embedded *store)
{
    while (store->queue.first != NULL && store->queue.first->kind != PST_STORE_COMMIT)
        read_answer(store, pst_store_queue_take(&store->queue));
}

static void embedded_step(void *self)
{
    struct embedded *store = self;
    for (;;) {
        if (store->job != JOB_NONE && atomic_load(&store->job_state) == JOB_DONE)
            job_finish(store);
        reads_answer(store);
        if (store->job != JOB_NONE)
            return;
        if (compact_is_due(store)) {
            if (job_start(store, JOB_COMPACT) == PST_OK)
                return;
            store->compact_above = store->log.bytes + LOG_BYTES_AGAIN;
        }
        if (store->queue.first == NULL)
            return;
        batch_fill(store);
        if (store->batch.changes.count == 0) { /* nothing to write */
            batch_answer(store, PST_OK);
            continue;
        }
        int rc = job_start(store, JOB_COMMIT);
        if (rc == PST_OK)
            return;
        batch_answer(store, rc == PST_ENOMEM ? PST_ENOMEM : PST_EIO);
    }
}

static void embedded_begin(void *self, struct pst_store_request *request)
{
    struct embedded *store = self;
    int rc = pst_store_request_check(request);
    request->rc = rc == PST_OK ? PST_EAGAIN : rc;
    if (rc != PST_OK)
        return;
    pst_store_queue_add(&store->queue, request);
    store->world->wake(store->world->self, store->worker_index); /* the worker's own step finds it */
}

static uint64_t embedded_news(void *self) { return ((struct embedded *)self)->news; }
static uint64_t embedded_session(void *self) { return ((struct embedded *)self)->session; }

static void embedded_close(void *self)
{
    struct embedded *store = self;
    if (store->job != JOB_NONE && atomic_exchange(&store->job_state, JOB_ABANDONED) == JOB_RUNNING)
        return;
    embedded_free(store);
}

/* ---- opening ---- */
static int failed(char ret_why[200], int rc, const char *what, const char *path)
{
    (void)snprintf(ret_why, 200, "%s %s: %s", what, path,
                   rc == PST_EIO || rc == PST_ENOENT || rc == PST_EREFUSED ? pst_system_error()
                                                                           : pst_error_sentence(rc));
    return rc;
}

static int lock_take(struct embedded *store, char ret_why[200])
{
    struct pst_world *world = store->world;
    char *path = path_in(store->folder, "store.lock");
    if (path == NULL)
        return failed(ret_why, PST_ENOMEM, "opening", store->folder);
    int rc = world->file_open(world->self, path, PST_OPEN_CREATE, &store->lock);
    pst_free(path);
    if (rc != PST_OK)
        return failed(ret_why, rc, "opening the lock of", store->folder);
    rc = world->file_lock(world->self, store->lock);
    if (rc == PST_EREFUSED)
        (void)snprintf(ret_why, 200, "%s: another process has this store open", store->folder);
    return rc == PST_OK || rc == PST_EREFUSED ? rc : failed(ret_why, rc, "locking", store->folder);
}

/* Their session has ended, or nobody would open the store. */
static void bound_drop(struct pst_store_map *map)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        struct pst_store_record *record = map->records[i];
        if (!record->bound) {
            map->records[kept++] = record;
            continue;
        }
        map->bytes -= pst_store_record_cost(record->path, record->byte_count);
        pst_free(record);
    }
    map->count = kept;
}

static int embedded_init(struct embedded *store, const char *directory, const struct pst_secret *key)
{
    store->folder = pst_strdup(directory);
    store->path_new = path_in(directory, "store.new");
    if (store->folder == NULL || store->path_new == NULL)
        return PST_ENOMEM;
    int rc = pst_secret_new(&store->key);
    if (rc != PST_OK)
        return rc;
    memcpy(pst_secret_bytes(store->key), pst_secret_bytes(key), PST_SECRET_BYTES);
    rc = store->world->random(store->world->self, &store->session, sizeof store->session);
    store->session |= 1; /* never 0 */
    return rc;
}

static int log_load(struct embedded *store, char ret_why[200])
{
    char *path = log_path(store, store->number);
    int rc = path != NULL ? pst_store_log_load(store->world, path, store->key, &store->map, ret_why) : PST_ENOMEM;
    pst_free(path);
    return rc;
}

/* What the folder holds, in a new file: what is appended from now on has keys of its own, and no torn end before it. */
static int embedded_open(struct embedded *store, char ret_why[200])
{
    struct pst_world *world = store->world;
    bool usable;
    ret_why[0] = '\0';
    int rc = world->mkdir(world->self, store->folder);
    if (rc != PST_OK)
        return failed(ret_why, rc, "making the folder", store->folder);
    rc = lock_take(store, ret_why);
    if (rc != PST_OK)
        return rc;
    rc = logs_look(store, 0, &store->number);
    if (rc == PST_OK && store->number != 0)
        rc = log_load(store, ret_why);
    if (rc != PST_OK)
        return ret_why[0] != '\0' ? rc : failed(ret_why, rc, "reading", store->folder);
    bound_drop(&store->map);
    rc = compact(store, &usable);
    return rc == PST_OK ? PST_OK : failed(ret_why, rc, "writing", store->path_new);
}

int pst_store_embedded(struct pst_world *world, uint32_t worker_index, const char *directory,
                       const struct pst_secret *key, char ret_why[200], struct pst_store **ret_store)
{
    struct embedded *store = pst_calloc(1, sizeof *store);
    if (store == NULL)
        return failed(ret_why, PST_ENOMEM, "opening", directory);
    store->world = world;
    store->worker_index = worker_index;
    store->store = (struct pst_store){.self = store,
                                      .begin = embedded_begin,
                                      .step = embedded_step,
                                      .news = embedded_news,
                                      .session = embedded_session,
                                      .close = embedded_close};
    int rc = embedded_init(store, directory, key);
    if (rc != PST_OK)
        (void)failed(ret_why, rc, "opening", directory);
    else
        rc = embedded_open(store, ret_why);
    if (rc != PST_OK) {
        embedded_free(store);
        return rc;
    }
    *ret_store = &store->store;
    return PST_OK;
}
