/* migration/store.h - the coordination store: what a cluster has decided, in one interface with several fillings (P7).
 *
 * Holds:    records by path, each with a version that starts at 1 and grows by one with every change.
 * Refuses:  what records mean.
 * Thread:   a store belongs to one worker, which is woken when a request is done or there is news.
 * Holds true:
 *   T1  a commit happens wholly or not at all, and only if every version is the one it expects
 *   T2  PST_ETIMEOUT: it is not known whether it happened, or will. Whoever gets it reads, and never simply commits again. What is
 *       read then settles it if the change is there; if not, it may still come, until another commit of the same records has
 *       happened (it expects the same versions, so one of the two fails)
 *   T3  what a read gives was committed at some time, and no later read of the same session gives anything older
 *   T4  a bound record goes when the session that made it ends, and not before; the session's holder may learn of it late
 *   T5  news() is a hint: changes may be seen as one, or late, and must be found by reading
 */
#ifndef PST_STORE_H
#define PST_STORE_H

#include "base/base.h"

enum { PST_STORE_PATH_BYTES = 256, PST_STORE_RECORD_BYTES_MAX = 512 * 1024, PST_STORE_CHANGES_MAX = 64 };

/* One record. Each path is there once in a commit. */
struct pst_store_change {
    const char *path;    /* "moves/17": parts of [A-Za-z0-9._-], none "." or "..", a slash between them */
    uint64_t expected;   /* version; 0: it must not be there */
    const void *bytes;   /* NULL: remove it (expected is not 0) */
    uint32_t byte_count; /* PST_STORE_RECORD_BYTES_MAX at most */
    bool bound;          /* to this session; of new records only */
};

typedef enum pst_store_kind { PST_STORE_READ = 1, PST_STORE_LIST, PST_STORE_COMMIT } pst_store_kind;

/* The caller's memory, from begin() until `rc` is not PST_EAGAIN any more; what it points to as well. */
struct pst_store_request {
    pst_store_kind kind;
    const char *path; /* READ: of the record; LIST: all records whose path begins with it */
    const struct pst_store_change *changes;
    uint32_t change_count;
    /* The answer. PST_EAGAIN: not yet. READ: PST_OK, PST_ENOENT. COMMIT: PST_OK; PST_EINVAL a version was another, or the request is
     * not well formed; PST_ETIMEOUT (T2). All: PST_EIO the store cannot be reached, nothing has happened; PST_ESTOPPED the session has
     * ended; PST_EREFUSED a record is not what was stored there; PST_ENOMEM; PST_EFULL. */
    int rc;
    uint64_t version;     /* READ */
    struct pst_text text; /* READ: the bytes; LIST: the paths, sorted, each ended by a newline. Freed by the caller */
    struct pst_store_request *next; /* the filling's, while it waits: a queue that needs no memory */
};

struct pst_store {
    void *self;
    /* In order: what a later one finds is not older than what an earlier one found or did. The answer may be there when it
     * returns (nothing happened, then); nobody is woken for that. */
    void (*begin)(void *self, struct pst_store_request *request);
    void (*step)(void *self);     /* the worker's step: finishes what can be finished */
    uint64_t (*news)(void *self); /* grows when something may have changed */
    /* Its number, never 0; 0: it has ended, every request says PST_ESTOPPED, close it. */
    uint64_t (*session)(void *self);
    void (*close)(void *self); /* ends the session; requests that are not done are never touched again */
};

/* Every record with 32 bytes behind it: HMAC-SHA256 under `key` over path, version and bytes. A record that was changed, moved to
 * another path or put back from an older version is PST_EREFUSED. (Not seen: records that are hidden, or put back with the version that
 * they had, be it one or the whole store.) `below` is closed with it; `key` is copied. A record may have PST_STORE_MAC_BYTES fewer. */
enum { PST_STORE_MAC_BYTES = 32 };
struct pst_secret;
int pst_store_sealed(struct pst_store *below, const struct pst_secret *key, struct pst_store **ret_store);

/* Embedded: `directory` holds a log of commits, each sealed under `key` and on the disk before it is answered; one process at a time has it.
 * Its only session lasts as long as it is open: bound records of an earlier one are gone. PST_EREFUSED: another process has it, or
 * it is not what this key has sealed; `ret_why` says it, as of every error. `worker_index` is woken when its jobs are done. `key` is
 * copied. A commit whose sync fails is PST_ETIMEOUT, and every later one PST_EIO until it is opened anew; reads go on.
 * Bounds: PST_STORE_RECORDS_MAX records, of PST_STORE_LIVE_BYTES_MAX in all (paths, bytes, 32 for each): PST_EFULL beyond.
 * Cost: opening reads the log and writes it anew; a commit is one write and one sync, several that wait share them. close()
 * while a commit is under way lets go of the folder when that has ended. */
enum { PST_STORE_RECORDS_MAX = 100000, PST_STORE_LIVE_BYTES_MAX = 64 * 1024 * 1024 };
int pst_store_embedded(struct pst_world *world, uint32_t worker_index, const char *directory,
                       const struct pst_secret *key, char ret_why[200], struct pst_store **ret_store);

/* ZooKeeper: `hosts` is "HOST:PORT,..." and may end in "/FOLDER"; records lie below FOLDER/penstock. The first step() connects, and
 * its thread wakes `worker_index`, also when the servers are back: so it is opened and closed within one run. While no server
 * answers, requests say PST_EIO when a try to connect has failed, and a commit that was on its way PST_ETIMEOUT. session(): drawn
 * at random, 0 when the servers have let the session go. A commit of more than PST_STORE_ZOOKEEPER_BYTES_MAX in all (with paths, and
 * 100 for each change) is PST_EFULL: what servers refuse by breaking the connection is not sent.
 * Errors: PST_EINVAL `hosts`; PST_ENOMEM. close() may wait for a server, `session_ms` at most. */
enum { PST_STORE_ZOOKEEPER_BYTES_MAX = 1000000 };
int pst_store_zookeeper(struct pst_world *world, uint32_t worker_index, const char *hosts, uint32_t session_ms,
                        char ret_why[200], struct pst_store **ret_store);

/* Fenced: each commit also expects the version of the record at `path` and writes it anew, so of several who have held that record only
 * the last one's commits can happen. The record says who holds it, and counts his commits: so the outcome of each is learned in the
 * end, and requests wait while the store cannot be reached. No PST_ETIMEOUT, PST_EIO or PST_ESTOPPED comes from it; once another has
 * the record, or the session has ended, session() is 0 and nothing is answered any more. A commit may have one change fewer.
 * fence, version: the record as its holder has just written it. Several layers may use `below` at once; its steps are done here,
 * too. close() leaves it open; it is closed first when requests may be on their way. `worker_index` gets alarms. */
enum { PST_STORE_FENCE_BYTES = 24 };
struct pst_store_fence {
    uint64_t term, session, commits; /* session: the holder's, pst_store.session(); commits: since he took it */
};
void pst_store_fence_encode(const struct pst_store_fence *fence, uint8_t ret_bytes[PST_STORE_FENCE_BYTES]);
int pst_store_fence_decode(const void *bytes, size_t byte_count, struct pst_store_fence *ret_fence); /* PST_EDATA */
int pst_store_fenced(struct pst_store *below, struct pst_world *world, uint32_t worker_index, const char *path,
                     const struct pst_store_fence *fence, uint64_t version, struct pst_store **ret_store);

#endif
