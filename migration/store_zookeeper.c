/* store_zookeeper.c - the store in ZooKeeper.
 *
 * Nodes: FOLDER/penstock/records/PATH, with ':' for '/' in PATH, so that a record is no other's parent: ephemeral nodes can have no
 * children, and a node that is there for its children's sake would look like a record. FOLDER/penstock/changes is set by every
 * commit, so that two watches (on it, and on the list of records for those that went with their session) tell of everything.
 * ZooKeeper counts versions from 0, we from 1.
 *
 * Threads. The library calls back on a thread of its own. An operation is filled there and marked done; the worker's step takes it
 * from the list, in the order in which they were begun, which is the order in which the library answers.
 *
 * The gate. A request that is handed to the library while there is no connection would be kept by it, and could not be told from
 * one that was sent. So requests wait here until a probe has come back; when it fails they are PST_EIO, and nothing has happened.
 * The gate closes when the connection is lost. A commit that the library has and does not answer for is PST_ETIMEOUT. A probe that has
 * failed will fail again where nothing has changed (nobody may make the folders, or read them): the next one waits for a while, with the
 * requests that have come since. Whatever the library says of its session ends the wait.
 *
 * Stale reads. A server may lag behind the others, and after a lost connection we may be with one that does not know yet what became of
 * our own commit. So a sync goes before every read: the server has then seen all that was committed before it. */
#include "migration/store_inside.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zookeeper/zookeeper.h>

#define PROBE_NS (UINT64_C(500) * 1000 * 1000) /* from one that has failed to the next */
enum { ROOT_BYTES_MAX = 256, CHANGE_COST = 100, FIRED_CHANGES = 1, FIRED_RECORDS = 2 };

/* Something that the library was asked for. */
struct operation {
    struct operation *next;
    struct remote *store;
    struct pst_store_request *request; /* NULL: the probe */
    const char *prefix; /* of a list; the request's, which stays until it is answered or the store closed */
    uint64_t losses;    /* of a probe: connections lost when it began, */
    uint64_t turns;     /* and what the session had said */
    int rc;             /* these four filled by the library's thread, until `done` */
    uint64_t version;
    struct pst_text text;
    atomic_bool done;
    zoo_op_result_t results[]; /* of a commit */
};

struct remote {
    struct pst_store store;
    struct pst_world *world;
    uint32_t worker_index;
    char *hosts;
    char records[ROOT_BYTES_MAX + 16], changes[ROOT_BYTES_MAX + 16];
    uint32_t session_ms;
    zhandle_t *handle; /* NULL before the first step */
    struct pst_store_queue waiting;
    struct operation *first, **end; /* begun and not answered, in order */
    bool probing, gate;
    uint64_t gate_losses; /* the gate is open while no connection was lost since */
    uint64_t probe_ns;    /* no probe before, while the session says nothing; */
    uint64_t probe_turns; /* it had said so much when the last one that failed began */
    uint64_t session, news;
    _Atomic uint64_t losses, turns; /* turns: all that was said of the session */
    atomic_bool expired;
    atomic_int fired; /* watches */
};

/* ---- on the library's thread ---- */
static void silent(const char *message) { (void)message; }

static void wake(struct remote *remote) { remote->world->wake(remote->world->self, remote->worker_index); }

static void on_session(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct remote *remote = context;
    (void)handle;
    (void)path;
    if (type != ZOO_SESSION_EVENT)
        return;
    if (state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE)
        atomic_store(&remote->expired, true);
    else if (state != ZOO_CONNECTED_STATE)
        (void)atomic_fetch_add(&remote->losses, 1);
    (void)atomic_fetch_add(&remote->turns, 1);
    wake(remote);
}

static void on_watch(zhandle_t *handle, int type, const char *path, void *context, int which)
{
    struct remote *remote = context;
    (void)handle;
    (void)path;
    if (type == ZOO_SESSION_EVENT) /* on_session() has it, too */
        return;
    (void)atomic_fetch_or(&remote->fired, which);
    wake(remote);
}

static void on_changes(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    (void)state;
    on_watch(handle, type, path, context, FIRED_CHANGES);
}

static void on_records(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    (void)state;
    on_watch(handle, type, path, context, FIRED_RECORDS);
}

static void on_string_ignored(int rc, const char *value, const void *data)
{
    (void)rc;
    (void)value;
    (void)data;
}

static void on_stat_ignored(int rc, const struct Stat *stat, const void *data)
{
    (void)rc;
    (void)stat;
    (void)data;
}

static void on_strings_ignored(int rc, const struct String_vector *strings, const void *data)
{
    (void)rc;
    (void)strings;
    (void)data;
}

static void done(struct operation *operation, int rc)
{
    struct remote *remote = operation->store;
    operation->rc = rc;
    atomic_store(&operation->done, true); /* from here on it is the worker's */
    wake(remote);
}

static int rc_of_read(int rc)
{
    switch (rc) {
    case ZOK:
        return PST_OK;
    case ZNONODE:
        return PST_ENOENT;
    case ZNOAUTH:
        return PST_EREFUSED;
    case ZSESSIONEXPIRED:
        return PST_ESTOPPED;
    default:
        return PST_EIO;
    }
}

/* What does not say for certain that nothing has happened is not known. */
static int rc_of_commit(int rc)
{
    switch (rc) {
    case ZOK:
        return PST_OK;
    case ZBADVERSION:
    case ZNONODE:
    case ZNODEEXISTS:
        return PST_EINVAL;
    case ZNOAUTH:
        return PST_EREFUSED;
    case ZSESSIONEXPIRED: /* what was sent before was answered when the connection was lost */
        return PST_ESTOPPED;
    case ZSESSIONMOVED:
    case ZTHROTTLEDOP:
        return PST_EIO;
    default:
        return PST_ETIMEOUT;
    }
}

static void on_probed(int rc, const struct Stat *stat, const void *data)
{
    (void)stat;
    done((struct operation *)(uintptr_t)data, rc_of_read(rc));
}

static void on_committed(int rc, const void *data) { done((struct operation *)(uintptr_t)data, rc_of_commit(rc)); }

static void on_read(int rc, const char *value, int value_len, const struct Stat *stat, const void *data)
{
    struct operation *operation = (struct operation *)(uintptr_t)data;
    int answer = rc_of_read(rc);
    if (answer == PST_OK) {
        operation->version = (uint64_t)(uint32_t)stat->version + 1;
        answer = pst_text_add(&operation->text, value, value_len > 0 ? (size_t)value_len : 0);
    }
    done(operation, answer);
}

static char path_char(char c) { return c == ':' ? '/' : c; }

static int paths_order(const void *a, const void *b)
{
    const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;
    while (*x != '\0' && *x == *y)
        x++, y++;
    return (unsigned char)path_char((char)*x) - (unsigned char)path_char((char)*y);
}

static bool has_prefix(const char *name, const char *prefix)
{
    while (*prefix != '\0' && path_char(*name) == *prefix)
        name++, prefix++;
    return *prefix == '\0';
}

static int names_list(const struct String_vector *names, const char *prefix, struct pst_text *ret_paths)
{
    uint32_t count = 0;
    const char **chosen = pst_malloc((size_t)names->count * sizeof *chosen + 1);
    if (chosen == NULL)
        return PST_ENOMEM;
    for (int32_t i = 0; i < names->count; i++)
        if (has_prefix(names->data[i], prefix))
            chosen[count++] = names->data[i];
    qsort(chosen, count, sizeof *chosen, paths_order);
    for (uint32_t i = 0; i < count; i++) {
        size_t before = ret_paths->count;
        (void)pst_text_add(ret_paths, chosen[i], strlen(chosen[i]));
        (void)pst_text_add(ret_paths, "\n", 1);
        for (size_t k = before; k < ret_paths->count; k++)
            ret_paths->bytes[k] = path_char(ret_paths->bytes[k]);
    }
    pst_free(chosen);
    return ret_paths->failed ? PST_ENOMEM : PST_OK;
}

static void on_listed(int rc, const struct String_vector *names, const void *data)
{
    struct operation *operation = (struct operation *)(uintptr_t)data;
    int answer = rc_of_read(rc);
    if (answer == PST_OK)
        answer = names_list(names, operation->prefix, &operation->text);
    done(operation, answer);
}

/* ---- on the worker: operations ---- */
static struct operation *operation_new(struct remote *remote, struct pst_store_request *request)
{
    uint32_t results = request != NULL && request->kind == PST_STORE_COMMIT ? request->change_count + 1 : 0;
    struct operation *operation = pst_calloc(1, sizeof *operation + results * sizeof(zoo_op_result_t));
    if (operation == NULL)
        return NULL;
    operation->store = remote;
    operation->request = request;
    *remote->end = operation;
    remote->end = &operation->next;
    return operation;
}

/* The library has not taken it. */
static void operation_refused(struct operation *operation, int rc)
{
    operation->rc = rc == ZINVALIDSTATE ? PST_ESTOPPED : rc == ZBADARGUMENTS ? PST_EINVAL : PST_ENOMEM;
    atomic_store(&operation->done, true);
}

static void node_path(const struct remote *remote, const char *path, char *ret_node, size_t node_bytes)
{
    int root_bytes = snprintf(ret_node, node_bytes, "%s/", remote->records);
    (void)snprintf(ret_node + root_bytes, node_bytes - (size_t)root_bytes, "%s", path);
    for (char *at = ret_node + root_bytes; *at != '\0'; at++)
        *at = *at == '/' ? ':' : *at;
}

enum { NODE_BYTES = ROOT_BYTES_MAX + 16 + PST_STORE_PATH_BYTES + 1 };

static int read_submit(struct remote *remote, const struct pst_store_request *request, struct operation *operation)
{
    char node[NODE_BYTES];
    int rc = zoo_async(remote->handle, remote->records, on_string_ignored, NULL);
    if (rc != ZOK)
        return rc;
    if (request->kind == PST_STORE_LIST) {
        operation->prefix = request->path;
        return zoo_aget_children(remote->handle, remote->records, 0, on_listed, operation);
    }
    node_path(remote, request->path, node, sizeof node);
    return zoo_aget(remote->handle, node, 0, on_read, operation);
}

static void change_put(const struct pst_store_change *change, const char *node, zoo_op_t *op)
{
    const char *bytes = change->bytes;
    int byte_count = (int)change->byte_count;
    int version = (int)(change->expected - 1);
    if (bytes == NULL)
        zoo_delete_op_init(op, node, version);
    else if (change->expected != 0)
        zoo_set_op_init(op, node, bytes, byte_count, version, NULL);
    else
        zoo_create_op_init(op, node, bytes, byte_count, &ZOO_OPEN_ACL_UNSAFE,
                           change->bound ? ZOO_EPHEMERAL : ZOO_PERSISTENT, NULL, 0);
}

static int commit_submit(struct remote *remote, const struct pst_store_request *request, struct operation *operation)
{
    zoo_op_t ops[PST_STORE_CHANGES_MAX + 1];
    char(*nodes)[NODE_BYTES] = pst_malloc(request->change_count * sizeof *nodes);
    if (nodes == NULL)
        return ZMARSHALLINGERROR;
    for (uint32_t i = 0; i < request->change_count; i++) {
        node_path(remote, request->changes[i].path, nodes[i], sizeof nodes[i]);
        change_put(&request->changes[i], nodes[i], &ops[i]);
    }
    zoo_set_op_init(&ops[request->change_count], remote->changes, "", 0, -1, NULL); /* for the watches */
    int rc =
        zoo_amulti(remote->handle, (int)request->change_count + 1, ops, operation->results, on_committed, operation);
    pst_free(nodes); /* it has written out what it needs */
    return rc;
}

static void request_submit(struct remote *remote, struct pst_store_request *request)
{
    struct operation *operation = operation_new(remote, request);
    if (operation == NULL) {
        request->rc = PST_ENOMEM;
        return;
    }
    int rc = request->kind == PST_STORE_COMMIT ? commit_submit(remote, request, operation)
                                               : read_submit(remote, request, operation);
    if (rc != ZOK)
        operation_refused(operation, rc);
}

/* ---- the gate ---- */
static void waiting_answer(struct remote *remote, int rc)
{
    for (struct pst_store_request *request; (request = pst_store_queue_take(&remote->waiting)) != NULL;)
        request->rc = rc;
}

/* Makes what is missing of the folders, and asks for the last one. */
static void probe_begin(struct remote *remote)
{
    char folder[sizeof remote->records];
    struct operation *operation = operation_new(remote, NULL);
    if (operation == NULL) {
        waiting_answer(remote, PST_ENOMEM);
        return;
    }
    remote->probing = true;
    operation->losses = atomic_load(&remote->losses);
    operation->turns = atomic_load(&remote->turns);
    (void)snprintf(folder, sizeof folder, "%s", remote->records);
    int rc = ZOK;
    for (char *slash = strchr(folder + 1, '/'); slash != NULL && rc == ZOK; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        rc = zoo_acreate(remote->handle, folder, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, on_string_ignored, NULL);
        *slash = '/';
    }
    if (rc == ZOK)
        rc = zoo_acreate(remote->handle, remote->changes, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT,
                         on_string_ignored, NULL);
    if (rc == ZOK)
        rc = zoo_acreate(remote->handle, folder, "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, on_string_ignored, NULL);
    if (rc == ZOK)
        rc = zoo_aexists(remote->handle, folder, 0, on_probed, operation);
    if (rc != ZOK)
        operation_refused(operation, rc);
}

/* A watch fires once. One that cannot be set now is set when the gate opens again. */
static void watches_set(struct remote *remote, int which)
{
    if (which & FIRED_CHANGES)
        (void)zoo_awexists(remote->handle, remote->changes, on_changes, remote, on_stat_ignored, NULL);
    if (which & FIRED_RECORDS)
        (void)zoo_awget_children(remote->handle, remote->records, on_records, remote, on_strings_ignored, NULL);
    if (which != 0)
        remote->news++;
}

static void probe_end(struct remote *remote, const struct operation *probe)
{
    remote->probing = false;
    remote->gate = probe->rc == PST_OK;
    remote->gate_losses = probe->losses;
    if (remote->gate) {
        watches_set(remote, FIRED_CHANGES | FIRED_RECORDS);
        return;
    }
    remote->probe_ns = remote->world->now_ns(remote->world->self) + PROBE_NS;
    remote->probe_turns = probe->turns;
    waiting_answer(remote, probe->rc == PST_ENOENT ? PST_EIO : probe->rc); /* ENOENT: nobody may make the folders */
}

/* Is it time for one? If not, it says when the worker is to look again. */
static bool probe_due(struct remote *remote)
{
    const struct pst_world *world = remote->world;
    if (remote->probe_turns != atomic_load(&remote->turns) || world->now_ns(world->self) >= remote->probe_ns)
        return true;
    (void)world->alarm(world->self, remote->worker_index, remote->probe_ns);
    return false;
}

/* ---- the interface ---- */
static void operations_finish(struct remote *remote)
{
    while (remote->first != NULL && atomic_load(&remote->first->done)) {
        struct operation *operation = remote->first;
        struct pst_store_request *request = operation->request;
        remote->first = operation->next;
        if (remote->first == NULL)
            remote->end = &remote->first;
        if (operation->rc != PST_OK)
            pst_text_fini(&operation->text);
        if (request == NULL) {
            probe_end(remote, operation);
        } else {
            request->version = operation->version;
            request->text = operation->text;
            request->rc = operation->rc;
        }
        pst_free(operation);
    }
}

static void remote_begin(void *self, struct pst_store_request *request)
{
    struct remote *remote = self;
    uint64_t bytes = 0;
    int rc = pst_store_request_check(request);
    for (uint32_t i = 0; rc == PST_OK && request->kind == PST_STORE_COMMIT && i < request->change_count; i++) {
        const struct pst_store_change *change = &request->changes[i];
        bytes += strlen(remote->records) + strlen(change->path) + change->byte_count + CHANGE_COST;
        if (change->expected > INT32_MAX) /* no node has that version */
            rc = PST_EINVAL;
    }
    if (rc == PST_OK && bytes > PST_STORE_ZOOKEEPER_BYTES_MAX)
        rc = PST_EFULL;
    request->rc = rc == PST_OK ? PST_EAGAIN : rc;
    if (rc != PST_OK)
        return;
    pst_store_queue_add(&remote->waiting, request);
    wake(remote); /* the worker's own step finds it */
}

/* Not before the first step: its threads wake the worker, which has to be there. */
static bool connected_once(struct remote *remote)
{
    if (remote->handle == NULL)
        remote->handle = zookeeper_init2(remote->hosts, on_session, (int)remote->session_ms, NULL, remote,
                                         ZOO_NO_LOG_CLIENTENV, silent);
    return remote->handle != NULL;
}

static void remote_step(void *self)
{
    struct remote *remote = self;
    if (!connected_once(remote)) {
        waiting_answer(remote, PST_EIO);
        return;
    }
    operations_finish(remote);
    if (atomic_load(&remote->expired)) {
        waiting_answer(remote, PST_ESTOPPED);
        return;
    }
    bool lost = atomic_load(&remote->losses) != remote->gate_losses;
    if (remote->gate && !lost) {
        watches_set(remote, atomic_exchange(&remote->fired, 0));
        for (struct pst_store_request *request; (request = pst_store_queue_take(&remote->waiting)) != NULL;)
            request_submit(remote, request);
        return;
    }
    remote->gate = false;
    bool worth_it = remote->waiting.first != NULL || zoo_state(remote->handle) == ZOO_CONNECTED_STATE;
    if (worth_it && !remote->probing && probe_due(remote))
        probe_begin(remote);
}

static uint64_t remote_news(void *self) { return ((struct remote *)self)->news; }

static uint64_t remote_session(void *self)
{
    struct remote *remote = self;
    return atomic_load(&remote->expired) ? 0 : remote->session;
}

static void remote_close(void *self)
{
    struct remote *remote = self;
    if (remote->handle != NULL)
        (void)zookeeper_close(remote->handle); /* its threads are gone when it returns, whatever it returns */
    while (remote->first != NULL) {
        struct operation *operation = remote->first;
        remote->first = operation->next;
        pst_text_fini(&operation->text);
        pst_free(operation);
    }
    pst_free(remote->hosts);
    pst_free(remote);
}

/* "HOST:PORT,HOST:PORT/FOLDER": the library is told the servers alone, for it could not make FOLDER from within it. */
/* HOST:PORT, and others behind commas: the library says of no other that it is none, and asks nobody. */
static bool hosts_valid(const char *hosts)
{
    for (const char *at = hosts;; at++) {
        size_t bytes = strcspn(at, ",");
        char port[6] = "";
        uint64_t number = 0;
        const char *colon = memrchr(at, ':', bytes);
        size_t port_bytes = colon != NULL ? bytes - (size_t)(colon - at) - 1 : 0;
        if (colon == NULL || colon == at || port_bytes == 0 || port_bytes >= sizeof port)
            return false;
        memcpy(port, colon + 1, port_bytes);
        if (pst_parse_u64(port, &number) != PST_OK || number == 0 || number > UINT16_MAX)
            return false;
        at += bytes;
        if (*at == '\0')
            return true;
    }
}

static int hosts_split(struct remote *remote, const char *hosts, char ret_why[200])
{
    remote->hosts = pst_strdup(hosts);
    if (remote->hosts == NULL)
        return PST_ENOMEM;
    char *slash = strchr(remote->hosts, '/');
    const char *folder = slash != NULL ? slash + 1 : "";
    bool good = slash != remote->hosts && hosts[0] != '\0' && strlen(folder) + sizeof "//penstock" <= ROOT_BYTES_MAX &&
                (slash == NULL || pst_store_path_valid(folder));
    if (slash != NULL)
        *slash = '\0';
    if (!good || !hosts_valid(remote->hosts)) {
        (void)snprintf(ret_why, 200, "\"%s\" is not HOST:PORT,HOST:PORT or that with /FOLDER behind it", hosts);
        return PST_EINVAL;
    }
    const char *before = slash != NULL ? "/" : "";
    (void)snprintf(remote->records, sizeof remote->records, "%s%s/penstock/records", before, folder);
    (void)snprintf(remote->changes, sizeof remote->changes, "%s%s/penstock/changes", before, folder);
    return PST_OK;
}

int pst_store_zookeeper(struct pst_world *world, uint32_t worker_index, const char *hosts, uint32_t session_ms,
                        char ret_why[200], struct pst_store **ret_store)
{
    struct remote *remote = pst_calloc(1, sizeof *remote);
    (void)snprintf(ret_why, 200, "%s", pst_error_sentence(PST_ENOMEM));
    if (remote == NULL)
        return PST_ENOMEM;
    remote->world = world;
    remote->worker_index = worker_index;
    remote->session_ms = session_ms;
    remote->end = &remote->first;
    int rc = hosts_split(remote, hosts, ret_why);
    if (rc == PST_OK)
        rc = world->random(world->self, &remote->session, sizeof remote->session);
    if (rc != PST_OK) {
        pst_free(remote->hosts);
        pst_free(remote);
        return rc;
    }
    remote->session |= 1; /* never 0 */
    remote->store = (struct pst_store){.self = remote,
                                       .begin = remote_begin,
                                       .step = remote_step,
                                       .news = remote_news,
                                       .session = remote_session,
                                       .close = remote_close};
    *ret_store = &remote->store;
    return PST_OK;
}
