/* tools/node.c - `penstock node`: one node of a cluster, in the foreground. */
#include "tools/evidence_files.h"
#include "tools/inside.h"
#include "tools/keyfile.h"
#include "tools/witness.h"

#include "migration/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As soon as the servers allow, so that another node coordinates soon: they want two ticks at least, of two seconds where nothing is said. */
enum { SESSION_MS = 4000 };
enum { PATIENCE_SECONDS = 30, PATIENCE_SECONDS_MAX = 1000 * 1000, EVERY_SECONDS = 10, EVERY_SECONDS_MAX = 86400 };
enum { DRAIN_SECONDS = 30, DRAIN_SECONDS_MAX = 86400 }; /* tools/penstock-node.service gives a little more */

struct parts { /* what a node stands on */
    const struct pst_call *call;
    const char *name;
    struct pst_node *node;
    struct pst_file *lock;
    uint64_t watchdog_ns, watchdog_told_ns;
    bool listens, stops; /* it was said that it does */
    struct pst_world *world;
    struct pst_store *stored, *store;          /* store: what is stored, authenticated */
    const char *zookeeper;                     /* its servers; NULL: the store is embedded, or another node's */
    struct pst_keyring_keys keys, shared_keys; /* shared: with all nodes */
    struct pst_keyring_keys evidence_keys;     /* what evidence is signed with */
    struct pst_text directory_store, key_path, admin, store_name;
    struct pst_tls_identity tls;        /* its key is wiped: */
    struct pst_secret *node_key;        /* here it is */
    struct pst_policy_file peer_policy; /* and what others have to show, with these files: */
    struct pst_evidence_files peer_files;
    struct pst_evidence_request peers; /* of both */
    struct pst_identity identity;      /* of these */
};

static void parts_fini(struct parts *parts)
{
    if (parts->lock != NULL)
        (void)parts->world->file_close(parts->world->self, parts->lock);
    if (parts->store != NULL)
        parts->store->close(parts->store->self);
    else if (parts->stored != NULL)
        parts->stored->close(parts->stored->self);
    pst_keyring_keys_fini(&parts->keys);
    pst_keyring_keys_fini(&parts->shared_keys);
    pst_keyring_keys_fini(&parts->evidence_keys);
    pst_secret_free(parts->node_key);
    pst_evidence_files_fini(&parts->peer_files);
    pst_policy_file_fini(&parts->peer_policy);
    pst_text_fini(&parts->directory_store);
    pst_text_fini(&parts->key_path);
    pst_text_fini(&parts->admin);
    pst_text_fini(&parts->store_name);
    pst_world_uv_free(parts->world);
}

static void log_line(void *argument, const char *line)
{
    const struct parts *parts = argument;
    if (!parts->call->quiet)
        fprintf(stderr, "penstock: %s\n", line);
}

static void listens(void *argument, const char *address)
{
    struct parts *parts = argument;
    struct pst_text text = {0};
    if (parts->call->json) {
        pst_text_printf(&text, "{\"schema_version\":%d,\"node\":", PST_JSON_SCHEMA_VERSION);
        pst_text_json(&text, parts->name);
        pst_text_printf(&text, ",\"listens_on\":");
        pst_text_json(&text, address);
        pst_text_printf(&text, ",\"error\":null}\n");
    } else {
        pst_text_printf(&text, "listens on %s\n", address);
    }
    (void)pst_text_show(parts->call, &text);
    (void)fflush(stdout); /* whoever waits for it reads this line */
    parts->listens = true;
    pst_notify("READY=1");
}

/* With --json there is one object on standard output: where it listens, or why it does not. */
static void complain(const struct parts *parts, int exit_code, const char *text)
{
    if (parts->listens)
        pst_complain_text(parts->call, exit_code, text);
    else
        pst_complain(parts->call, exit_code, "%s", text);
}

/* Bytes that this process has in memory (proc(5)); 0: that is not known here. */
static uint64_t memory(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    (void)fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 127.0.0.1, and not 127.0.0.1.example.com. */
static bool is_loopback(const char *address)
{
    size_t count = strcspn(address, ":");
    return (strncmp(address, "127.", 4) == 0 && strspn(address, "0123456789.") == count) ||
           strncmp(address, "[::1]:", 6) == 0 || strncmp(address, "localhost:", 10) == 0;
}

/* By which workers in enclaves know each other's nodes. Of another kind of certificate there is none, and their buckets stay. */
static int identity_read(const struct pst_call *call, struct parts *parts, struct pst_node_options *options,
                         const char *folder)
{
    struct pst_tls_identity *tls = &parts->tls;
    char why[PST_TLS_WHY_BYTES] = "";
    int rc = pst_secret_new(&parts->node_key);
    if (rc == PST_OK)
        rc = pst_tls_identity_read(folder, tls, why);
    if (rc == PST_OK) {
        memcpy(pst_secret_bytes(parts->node_key), tls->key, sizeof tls->key);
        parts->identity = (struct pst_identity){.authority = tls->authority,
                                                .key = pst_secret_bytes(parts->node_key),
                                                .certificate = tls->certificate,
                                                .certificate_bytes = tls->certificate_bytes};
        options->identity = &parts->identity;
    }
    explicit_bzero(tls->key, sizeof tls->key);
    if (rc == PST_OK || rc == PST_EINVAL)
        return PST_EXIT_OK;
    pst_complain(call, pst_exit_of_error(rc), "--tls %s: %s", folder, why[0] != '\0' ? why : pst_error_sentence(rc));
    return pst_exit_of_error(rc);
}

/* TLS, or the one address where it may be left away, and that said aloud. */
static int protection(const struct pst_call *call, struct parts *parts, struct pst_node_options *options)
{
    const char *listen = options->listen, *advertise = options->advertise;
    const char *folder = pst_call_flag(call, "tls");
    bool insecure = pst_call_flag(call, "insecure-loopback") != NULL;
    char why[200] = "";
    if (folder != NULL && insecure) {
        pst_complain(call, PST_EXIT_USAGE, "--tls and --insecure-loopback exclude each other");
        return PST_EXIT_USAGE;
    }
    if (folder == NULL && !insecure) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--tls FOLDER is missing, as `penstock tls issue` makes it; for a trial on this machine alone "
                     "there is --insecure-loopback");
        return PST_EXIT_USAGE;
    }
    if (insecure && (!is_loopback(listen) || (advertise != NULL && !is_loopback(advertise)))) {
        pst_complain(call, PST_EXIT_REFUSED, "%s is no loopback address: without TLS nobody is listened to there",
                     is_loopback(listen) ? advertise : listen);
        return PST_EXIT_REFUSED;
    }
    if (insecure && options->join != NULL && !is_loopback(options->join)) {
        pst_complain(call, PST_EXIT_REFUSED, "%s is no loopback address: without TLS nobody is joined there",
                     options->join);
        return PST_EXIT_REFUSED;
    }
    int rc = folder != NULL ? pst_world_uv_tls(parts->world, folder, why) : PST_OK;
    if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "--tls %s: %s", folder,
                     why[0] != '\0' ? why : pst_error_sentence(rc));
        return pst_exit_of_error(rc);
    }
    return folder != NULL ? identity_read(call, parts, options, folder) : PST_EXIT_OK;
}

/* Of the first node: what the cluster decides is kept below its folder, under a key that is made with it. */
static int store_open(const struct pst_call *call, struct parts *parts, const char *directory)
{
    char why[200] = "";
    uint64_t id[2];
    pst_text_printf(&parts->directory_store, "%s/store", directory);
    pst_text_printf(&parts->key_path, "%s/store.key", directory);
    if (parts->directory_store.failed || parts->key_path.failed)
        return PST_EXIT_FAILED;
    bool there = parts->world->look(parts->world->self, parts->key_path.bytes, id) != 0;
    int exit_code = there ? pst_keyfile_read(call, parts->key_path.bytes, &parts->keys)
                          : pst_keyfile_make(call, parts->world, parts->key_path.bytes, &parts->keys);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    int rc =
        pst_store_embedded(parts->world, 0, parts->directory_store.bytes, parts->keys.secrets[0], why, &parts->stored);
    if (rc == PST_OK)
        rc = pst_store_sealed(parts->stored, parts->keys.secrets[0], &parts->store);
    if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
    return pst_exit_of_error(rc);
}

/* A session with ZooKeeper's servers. Records are under the oldest key, which stays when newer ones are put in front of it. */
static int zookeeper_open(void *argument, struct pst_store **ret_store)
{
    struct parts *parts = argument;
    struct pst_store *below;
    char why[200];
    int rc = pst_store_zookeeper(parts->world, 0, parts->zookeeper, SESSION_MS, why, &below);
    if (rc != PST_OK)
        return rc;
    rc = pst_store_sealed(below, parts->shared_keys.secrets[parts->shared_keys.count - 1], ret_store);
    if (rc != PST_OK)
        below->close(below->self);
    return rc;
}

static int zookeeper_check(const struct pst_call *call, struct parts *parts, struct pst_node_options *options)
{
    struct pst_store *store;
    char why[200];
    if (options->join != NULL) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--join and --zookeeper exclude each other: what --zookeeper names says where the cluster is");
        return PST_EXIT_USAGE;
    }
    int rc = pst_store_zookeeper(parts->world, 0, parts->zookeeper, SESSION_MS, why, &store);
    if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "--zookeeper: %s", why);
        return pst_exit_of_error(rc);
    }
    store->close(store->self); /* it has not connected yet */
    pst_text_printf(&parts->store_name, "ZooKeeper at %s", parts->zookeeper);
    options->store_name = parts->store_name.bytes;
    options->store_open = zookeeper_open;
    options->store_argument = parts;
    return parts->store_name.failed ? PST_EXIT_FAILED : PST_EXIT_OK;
}

/* A key that all nodes have: each opens what another has sealed. */
static int shared_read(const struct pst_call *call, struct parts *parts, struct pst_node_options *options)
{
    const char *key = pst_call_flag(call, "key");
    uint64_t seconds;
    options->checkpoints = pst_call_flag(call, "checkpoints");
    parts->zookeeper = pst_call_flag(call, "zookeeper");
    if (!pst_call_number(call, "every-seconds", 1, EVERY_SECONDS_MAX, EVERY_SECONDS, &seconds))
        return PST_EXIT_USAGE;
    if (parts->zookeeper != NULL && key == NULL) {
        pst_complain(
            call, PST_EXIT_USAGE,
            "--zookeeper HOSTS needs --key FILE, the same one for every node of the cluster: what is decided is "
            "authenticated with it. `penstock key init FILE` makes one");
        return PST_EXIT_USAGE;
    }
    if ((options->checkpoints == NULL) != (key == NULL) && parts->zookeeper == NULL) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--checkpoints DIR and --key FILE belong together, the same ones for every node of the cluster");
        return PST_EXIT_USAGE;
    }
    if (options->disk_bytes_max != 0 && options->checkpoints == NULL && options->state_budget == 0) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--disk says nothing without --checkpoints DIR or --state-budget: there is nothing to bound");
        return PST_EXIT_USAGE;
    }
    if (key == NULL)
        return PST_EXIT_OK;
    int exit_code = pst_keyfile_read(call, key, &parts->shared_keys);
    options->every_ns = seconds * 1000 * 1000 * 1000;
    options->keys = parts->shared_keys.secrets;
    options->key_count = parts->shared_keys.count;
    if (exit_code == PST_EXIT_OK && parts->zookeeper != NULL)
        exit_code = zookeeper_check(call, parts, options);
    return exit_code;
}

/* By which who keeps the key of sealed rows knows this node's word. */
static int node_key_read(const struct pst_call *call, struct parts *parts, struct pst_node_options *options)
{
    const char *path = pst_call_flag(call, "node-key");
    options->tsm = pst_tsm_directory(call);
    if (path == NULL)
        return PST_EXIT_OK;
    int exit_code = pst_keyfile_read(call, path, &parts->evidence_keys);
    if (exit_code == PST_EXIT_OK)
        options->node_key = pst_secret_bytes(parts->evidence_keys.secrets[0]);
    return exit_code;
}

/* What other nodes' machines have to be, where workers meet because buckets move. */
static int peers_read(const struct pst_call *call, struct parts *parts, struct pst_node_options *options)
{
    static const char *const with[] = {"certificates", "roots", "crl", "collateral"};
    for (uint32_t i = 0; i < sizeof with / sizeof *with && pst_call_flag(call, "peer-policy") == NULL; i++) {
        if (pst_call_flag(call, with[i]) == NULL)
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s means something with --peer-policy", with[i]);
        return PST_EXIT_USAGE;
    }
    if (pst_call_flag(call, "peer-policy") == NULL)
        return PST_EXIT_OK;
    int exit_code = pst_evidence_policy_read(call, "peer-policy", &parts->peer_policy);
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_evidence_files_take(&parts->peer_files, &parts->peers);
    if (exit_code == PST_EXIT_OK && parts->peer_policy.policy.measurements.count == 0) {
        exit_code = PST_EXIT_CONFIG;
        pst_complain(call, exit_code, "--peer-policy names no measurements: any machine would get buckets");
    }
    parts->peers.policy = &parts->peer_policy.policy;
    options->peers = &parts->peers;
    return exit_code;
}

/* One process at a time: two would write the same results. */
static int folder_take(const struct pst_call *call, struct parts *parts, const char *directory)
{
    const struct pst_world *world = parts->world;
    struct pst_text path = {0};
    if (world->mkdir(world->self, directory) != PST_OK) {
        pst_complain(call, PST_EXIT_IO, "cannot make the folder %s: %s", directory, pst_system_error());
        return PST_EXIT_IO;
    }
    int rc = pst_text_printf(&path, "%s/node.lock", directory);
    if (rc == PST_OK)
        rc = world->file_open(world->self, path.bytes, PST_OPEN_CREATE, &parts->lock);
    bool opened = rc == PST_OK;
    if (opened)
        rc = world->file_lock(world->self, parts->lock);
    if (opened && rc == PST_EREFUSED)
        pst_complain(call, PST_EXIT_REFUSED, "another process has the folder %s", directory);
    else if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "cannot write into the folder %s: %s", directory, pst_system_error());
    pst_text_fini(&path);
    return pst_exit_of_error(rc);
}

/* The keeper's steps are what a watchdog watches: a node whose keeper does not step is no use to anybody. */
static pst_step serve_step(void *argument, uint32_t worker)
{
    struct parts *parts = argument;
    if (worker != 0)
        return pst_node_step(parts->node, worker);
    uint64_t now_ns = parts->world->now_ns(parts->world->self);
    if (parts->watchdog_ns != 0 && now_ns >= parts->watchdog_told_ns + parts->watchdog_ns / 4) {
        parts->watchdog_told_ns = now_ns;
        pst_notify("WATCHDOG=1");
    }
    if (!parts->stops && atomic_load(pst_interrupts()) != 0) {
        parts->stops = true;
        pst_notify("STOPPING=1");
    }
    return pst_node_step(parts->node, worker);
}

static int node_serve(struct parts *parts, const struct pst_node_options *options)
{
    char why[240] = "";
    int rc = pst_node_new(parts->world, options, &parts->node);
    if (rc == PST_OK) {
        rc = parts->world->run(parts->world->self, pst_node_workers(parts->node), serve_step, parts);
        int ended = pst_node_free(parts->node, why);
        rc = rc == PST_OK ? ended : rc;
        if (!parts->stops && atomic_load(pst_interrupts()) != 0) /* it came between a step's look and the node's own */
            pst_notify("STOPPING=1");
    }
    if (rc == PST_OK || rc == PST_ESTOPPED) /* it was told to */
        return PST_EXIT_OK;
    int exit_code = rc == PST_ETIMEOUT ? PST_EXIT_UNREACHABLE : pst_exit_of_error(rc);
    complain(parts, exit_code, why[0] != '\0' ? why : pst_error_sentence(rc));
    return exit_code;
}

static int options_read(const struct pst_call *call, struct pst_node_options *options)
{
    uint64_t workers, patience, drain, enclave_patience;
    const char *disk = pst_call_flag(call, "disk");
    options->name = pst_call_flag(call, "name");
    options->directory = pst_call_flag(call, "dir");
    options->listen = pst_call_flag(call, "listen");
    options->join = pst_call_flag(call, "join");
    options->advertise = pst_call_flag(call, "advertise");
    options->insecure = pst_call_flag(call, "insecure-loopback") != NULL;
    options->stop_and_copy = pst_call_flag(call, "stop-and-copy") != NULL;
    const char *missing = options->name == NULL        ? "--name"
                          : options->directory == NULL ? "--dir"
                          : options->listen == NULL    ? "--listen"
                                                       : NULL;
    if (missing != NULL) {
        pst_complain(call, PST_EXIT_USAGE, "%s is missing: a node has a name, a folder and an address", missing);
        return PST_EXIT_USAGE;
    }
    if (!pst_node_name_is_good(options->name)) {
        pst_complain(call, PST_EXIT_USAGE, "--name `%s`: 1 to 63 letters, digits, `.`, `_` and `-` are wanted",
                     options->name);
        return PST_EXIT_USAGE;
    }
    if (!pst_call_number(call, "workers", 1, PST_WORKERS_MAX - 1, 0, &workers) ||
        !pst_call_number(call, "patience", 0, PATIENCE_SECONDS_MAX, PATIENCE_SECONDS, &patience) ||
        !pst_call_number(call, "enclave-patience", 1, PST_ENCLAVE_PATIENCE_MAX, 0, &enclave_patience) ||
        !pst_call_number(call, "drain-timeout", 0, DRAIN_SECONDS_MAX, DRAIN_SECONDS, &drain) ||
        !pst_budget_read(call, &options->state_budget) || !pst_evict_read(call, &options->evict))
        return PST_EXIT_USAGE;
    if (disk != NULL && (pst_parse_bytes(disk, &options->disk_bytes_max) != PST_OK || options->disk_bytes_max == 0)) {
        pst_complain(call, PST_EXIT_USAGE, "--disk `%s`: a size is wanted, as 64GiB", disk);
        return PST_EXIT_USAGE;
    }
    options->worker_count = (uint32_t)workers;
    options->join_ns = patience * 1000 * 1000 * 1000;
    options->drain_ns = drain * 1000 * 1000 * 1000;
    options->enclave_patience_s = (uint32_t)enclave_patience;
    options->enclave_program = pst_call_flag(call, "enclave-program");
    options->registry = pst_registry_all;
    options->listens = listens;
    options->log = log_line;
    options->memory = memory;
    options->version = PST_VERSION;
    options->metrics = pst_call_flag(call, "metrics");
    if (options->metrics == NULL && pst_call_flag(call, "metrics-anyone") != NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--metrics-anyone says nothing without --metrics HOST:PORT");
        return PST_EXIT_USAGE;
    }
    if (options->metrics != NULL && !is_loopback(options->metrics) && pst_call_flag(call, "metrics-anyone") == NULL) {
        pst_complain(call, PST_EXIT_REFUSED,
                     "--metrics %s is no loopback address: whoever reaches it could read the names of graphs and "
                     "operators, and figures; --metrics-anyone allows that",
                     options->metrics);
        return PST_EXIT_REFUSED;
    }
    options->interrupts = pst_interrupts();
    return PST_EXIT_OK;
}

static int node_run(const struct pst_call *call)
{
    struct parts parts = {.call = call, .peer_files.call = call, .watchdog_ns = pst_notify_watchdog_ns()};
    struct pst_node_options options = {.log_argument = &parts};
    int exit_code = options_read(call, &options);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    parts.name = options.name;
    parts.world = pst_world_uv();
    if (parts.world == NULL)
        return PST_EXIT_FAILED;
    pst_signals_take();
    exit_code = protection(call, &parts, &options);
    if (exit_code == PST_EXIT_OK)
        exit_code = shared_read(call, &parts, &options);
    if (exit_code == PST_EXIT_OK)
        exit_code = node_key_read(call, &parts, &options);
    if (exit_code == PST_EXIT_OK)
        exit_code = peers_read(call, &parts, &options);
    if (exit_code == PST_EXIT_OK)
        exit_code = folder_take(call, &parts, options.directory);
    if (exit_code == PST_EXIT_OK && options.join == NULL && parts.zookeeper == NULL)
        exit_code = store_open(call, &parts, options.directory);
    if (exit_code == PST_EXIT_OK) {
        pst_text_printf(&parts.admin, "unix:%s/admin.sock", options.directory);
        options.admin = parts.admin.bytes;
        options.store = parts.store;
        if (parts.store != NULL)
            options.store_name = parts.directory_store.bytes;
        exit_code = node_serve(&parts, &options);
    }
    parts_fini(&parts);
    return exit_code;
}

static const struct pst_flag node_flags[] = {
    {"name", 'n', "NAME", false, "What the node is called in its cluster; with TLS, the name in its certificate.",
     NULL},
    {"listen", 'l', "HOST:PORT", false, "Where other nodes and commands reach it; port 0: any that is free.", NULL},
    {"dir", 'd', "DIR", false, "The node's folder: results, and on the first node what the cluster decides.", "dir"},
    {"join", 'j', "HOST:PORT", false, "A node of the cluster that this one joins; without it, it is the first one.",
     NULL},
    {"zookeeper", 'z', "HOSTS", false,
     "HOST:PORT,HOST:PORT,.. of ZooKeeper's servers, with /FOLDER behind them where they serve more than one cluster. "
     "Instead of --join, of every node; needs --key.",
     NULL},
    {"advertise", 0, "HOST:PORT", false, "Where others reach it, when that is not where it listens.", NULL},
    {"patience", 0, "SECONDS", false, "Give up when it has not joined after so long; 30, and 0 is never.", NULL},
    {"drain-timeout", 0, "SECONDS", false,
     "Told to end, stay so long at most until the node's partitions are elsewhere; 30, and 0 is not at all.", NULL},
    {"tls", 0, "FOLDER", false, "Certificates, as `penstock tls issue` makes them.", "dir"},
    {"insecure-loopback", 0, NULL, false, "No TLS, for measurements and trials on 127.0.0.1 alone.", NULL},
    {"node-key", 0, "FILE", false,
     "Sign evidence of workers that get keys for sealed rows with the newest key of FILE.", "file"},
    PST_TSM_FLAG("Of operators in enclaves: "),
    {"peer-policy", 0, "FILE", false,
     "Let buckets move only from and to nodes on machines of SEV-SNP or TDX whose evidence is what FILE says, as "
     "`penstock help policy` has it.",
     "file"},
    PST_EVIDENCE_FLAGS("With --peer-policy: "),
    {"enclave-patience", 0, "N", false, "Take an enclave for hung that has not moved for N seconds; 60 unless said.",
     NULL},
    {"enclave-program", 0, "FILE", false,
     "Make workers from FILE, your own with your own operators, and not from penstock's.", "file"},
    {"stop-and-copy", 0, NULL, false,
     "For comparison alone: a partition that moves away from this node stands still while its state is copied.", NULL},
    {"checkpoints", 0, "DIR", false, "A folder that all nodes reach: their checkpoints and the results are there.",
     "dir"},
    {"key", 0, "FILE", false,
     "What checkpoints are sealed with, and what is in ZooKeeper is authenticated with, as `penstock key init` makes "
     "it.",
     "file"},
    {"every-seconds", 0, "N", false, "Of the coordinator: how often graphs are checkpointed; 10 where nothing is said.",
     NULL},
    {"state-budget", 0, "SIZE", false,
     "Keep at most SIZE of each graph's state in memory, as 512MiB; the rest lies sealed in files without a name in "
     "the node's folder.",
     NULL},
    {"evict", 0, "POLICY", false,
     "Which pages leave memory, or enclaves: event-time (unless said), lru, clock, random.", NULL},
    {"disk", 0, "SIZE", false,
     "Keep no more than this, as 64GiB, in checkpoints and spilled pages of all graphs; a checkpoint that does not fit "
     "is given up, and tried again.",
     NULL},
    {"metrics", 0, "HOST:PORT", false, "Answer GET /metrics there, as Prometheus asks; a loopback address.", NULL},
    {"metrics-anyone", 0, NULL, false, "Let --metrics be an address that others reach: it is not protected.", NULL},
    {"workers", 'w', "N", false, "Threads that run graphs; one a core where nothing is said.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_node = {
    .name = "node",
    .operands = "",
    .summary = "Run a node of a cluster.",
    .text =
        "A node hosts partitions of the graphs that are submitted to its cluster. It runs in the foreground, prints "
        "where "
        "it listens, and ends when it is told to by SIGTERM or SIGINT. The first node of a cluster is started without "
        "--join, and coordinates; the others join it.\n\n"
        "Told to end, a node first has its partitions moved to other nodes while the streams run on, so that no graph "
        "is "
        "started again; then it leaves. That takes as long as --drain-timeout allows. It leaves at once where no other "
        "node could take anything, where it has the input or a sink of the graph, and at a second signal. Started "
        "again, it is a node like any other.\n\n"
        "When a node dies, its partitions are started again on others, and the graphs' results are as if nothing had "
        "happened: they go on from the last checkpoint that all nodes have completed, or, without --checkpoints, from "
        "the beginning of their input. The first node's folder holds what the cluster has decided, sealed under "
        "DIR/store.key.\n\n"
        "With --zookeeper HOSTS what the cluster decides is in ZooKeeper, under the key that all nodes have, and there "
        "is "
        "no first node: one of them coordinates, and when it dies another takes over by itself. Graphs go on "
        "meanwhile, and "
        "while ZooKeeper is away.\n\n"
        "Commands reach a node at its address, or on its own machine at `unix:DIR/admin.sock`.",
    .examples = "penstock node --name n1 --listen 127.0.0.1:7001 --dir n1 --tls authority/n1\n"
                "penstock node --name n2 --listen 127.0.0.1:7002 --dir n2 --tls authority/n2 --join 127.0.0.1:7001\n"
                "penstock node --name n3 --listen 10.0.0.3:7000 --dir n3 --tls n3.tls --zookeeper zk1:2181,zk2:2181 "
                "--key cluster.key",
    .flags = node_flags,
    .run = node_run,
};
