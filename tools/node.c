/* tools/node.c - `penstock node`: one node of a cluster, in the foreground. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include "migration/store.h"

#include <string.h>

struct parts { /* what a node stands on */
    struct pst_world *world;
    struct pst_store *stored, *store; /* store: what is stored, authenticated */
    struct pst_keyring_keys keys;
    struct pst_text directory_store, key_path, admin;
};

static void parts_fini(struct parts *parts)
{
    if (parts->store != NULL)
        parts->store->close(parts->store->self);
    else if (parts->stored != NULL)
        parts->stored->close(parts->stored->self);
    pst_keyring_keys_fini(&parts->keys);
    pst_text_fini(&parts->directory_store);
    pst_text_fini(&parts->key_path);
    pst_text_fini(&parts->admin);
    pst_world_uv_free(parts->world);
}

static void log_line(void *argument, const char *line)
{
    (void)argument;
    fprintf(stderr, "penstock: %s\n", line);
}

static void listens(void *argument, const char *address)
{
    (void)argument;
    printf("listens on %s\n", address);
    (void)fflush(stdout); /* whoever waits for it reads this line */
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]:", 6) == 0 ||
           strncmp(address, "localhost:", 10) == 0;
}

/* TLS, or the one address where it may be left away, and that said aloud. */
static int protection(const struct pst_call *call, struct parts *parts, const char *listen)
{
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
    if (insecure && !is_loopback(listen)) {
        pst_complain(call, PST_EXIT_REFUSED, "%s is no loopback address: without TLS nobody is listened to there",
                     listen);
        return PST_EXIT_REFUSED;
    }
    int rc = folder != NULL ? pst_world_uv_tls(parts->world, folder, why) : PST_OK;
    if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
        return pst_exit_of_error(rc);
    }
    return PST_EXIT_OK;
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
    int rc = pst_store_embedded(parts->world, 0, parts->directory_store.bytes, parts->keys.secrets[0], why,
                                &parts->stored);
    if (rc == PST_OK)
        rc = pst_store_sealed(parts->stored, parts->keys.secrets[0], &parts->store);
    if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
    return pst_exit_of_error(rc);
}

static int node_serve(const struct pst_call *call, struct parts *parts, const struct pst_node_options *options)
{
    char why[240] = "";
    struct pst_node *node = NULL;
    int rc = pst_node_new(parts->world, options, &node);
    if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "%s", pst_error_sentence(rc));
        return pst_exit_of_error(rc);
    }
    rc = parts->world->run(parts->world->self, pst_node_workers(node), pst_node_step, node);
    int ended = pst_node_free(node, why);
    rc = rc == PST_OK ? ended : rc;
    if (rc == PST_OK || rc == PST_ESTOPPED) /* it was told to */
        return PST_EXIT_OK;
    pst_complain(call, pst_exit_of_error(rc), "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
    return pst_exit_of_error(rc);
}

static bool name_is_good(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes < PST_PEER_BYTES && strspn(name, letters) == bytes && name[0] != '.';
}

static int options_read(const struct pst_call *call, struct pst_node_options *options)
{
    uint64_t workers;
    options->name = pst_call_flag(call, "name");
    options->directory = pst_call_flag(call, "dir");
    options->listen = pst_call_flag(call, "listen");
    options->join = pst_call_flag(call, "join");
    const char *missing = options->name == NULL        ? "--name"
                          : options->directory == NULL ? "--dir"
                          : options->listen == NULL    ? "--listen"
                                                       : NULL;
    if (missing != NULL) {
        pst_complain(call, PST_EXIT_USAGE, "%s is missing: a node has a name, a folder and an address", missing);
        return PST_EXIT_USAGE;
    }
    if (!name_is_good(options->name)) {
        pst_complain(call, PST_EXIT_USAGE, "--name `%s`: 1 to 63 letters, digits, `.`, `_` and `-` are wanted",
                     options->name);
        return PST_EXIT_USAGE;
    }
    if (!pst_call_number(call, "workers", 1, PST_WORKERS_MAX - 1, 0, &workers))
        return PST_EXIT_USAGE;
    options->worker_count = (uint32_t)workers;
    options->registry = pst_registry_all;
    options->listens = listens;
    options->log = log_line;
    options->interrupts = pst_interrupts();
    return PST_EXIT_OK;
}

static int node_run(const struct pst_call *call)
{
    struct parts parts = {0};
    struct pst_node_options options = {0};
    int exit_code = options_read(call, &options);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    parts.world = pst_world_uv();
    if (parts.world == NULL)
        return PST_EXIT_FAILED;
    pst_signals_take();
    exit_code = protection(call, &parts, options.listen);
    if (exit_code == PST_EXIT_OK && parts.world->mkdir(parts.world->self, options.directory) != PST_OK) {
        pst_complain(call, PST_EXIT_IO, "cannot make the folder %s: %s", options.directory, pst_system_error());
        exit_code = PST_EXIT_IO;
    }
    if (exit_code == PST_EXIT_OK && options.join == NULL)
        exit_code = store_open(call, &parts, options.directory);
    if (exit_code == PST_EXIT_OK) {
        pst_text_printf(&parts.admin, "unix:%s/admin.sock", options.directory);
        options.admin = parts.admin.bytes;
        options.store = parts.store;
        exit_code = node_serve(call, &parts, &options);
    }
    parts_fini(&parts);
    return exit_code;
}

static const struct pst_flag node_flags[] = {
    {"name", 'n', "NAME", false, "What the node is called in its cluster; with TLS, the name in its certificate.", NULL},
    {"listen", 'l', "HOST:PORT", false, "Where other nodes and commands reach it; port 0: any that is free.", NULL},
    {"dir", 'd', "DIR", false, "The node's folder: results, and on the first node what the cluster decides.", "dir"},
    {"join", 'j', "HOST:PORT", false, "A node of the cluster that this one joins; without it, it is the first one.",
     NULL},
    {"tls", 0, "FOLDER", false, "Certificates, as `penstock tls issue` makes them.", "dir"},
    {"insecure-loopback", 0, NULL, false, "No TLS, for measurements and trials on 127.0.0.1 alone.", NULL},
    {"workers", 'w', "N", false, "Threads that run graphs; one a core where nothing is said.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_node = {
    .name = "node",
    .operands = "",
    .summary = "Run a node of a cluster.",
    .text =
        "A node hosts partitions of the graphs that are submitted to its cluster. It runs in the foreground, prints where "
        "it listens, and ends when it is told to by SIGTERM or SIGINT. The first node of a cluster is started without "
        "--join, and coordinates; the others join it.\n\n"
        "When a node dies, its partitions are started again on others, and the graphs' results are as if nothing had "
        "happened. The first node's folder holds what the cluster has decided, sealed under DIR/store.key.\n\n"
        "Commands reach a node at its address, or on its own machine at `unix:DIR/admin.sock`.",
    .examples = "penstock node --name n1 --listen 127.0.0.1:7001 --dir n1 --tls authority/n1\n"
                "penstock node --name n2 --listen 127.0.0.1:7002 --dir n2 --tls authority/n2 --join 127.0.0.1:7001",
    .flags = node_flags,
    .run = node_run,
};
