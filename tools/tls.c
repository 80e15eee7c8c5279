/* tools/tls.c - `penstock tls`: makes the authority of a cluster, and certificates of its nodes.
 *
 * As in tools/keyfile.c the system is asked for files by this itself: their modes matter, and struct pst_world does not know them.
 */
#include "tools/certificate.h"
#include "tools/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILES_MAX = 3,
    DAYS = 365,
    DAYS_MAX = 3650,
    KEY_MODE = S_IRUSR | S_IWUSR,
    OPEN_MODE = KEY_MODE | S_IRGRP | S_IROTH
};

/* A file about to be made: it is written as FILE.part, and gets its name when all of them are. */
struct made {
    const char *name;
    BIO *bytes;
    mode_t mode;
    struct pst_text path, part;
    const char *part_there, *there; /* their paths, once they are, to be taken away again */
};
struct making {
    const struct pst_call *call;
    const char *folder;
    struct made files[FILES_MAX];
    uint32_t file_count;
};

static int complain_of(const struct pst_call *call, int error)
{
    pst_complain(call, pst_exit_of_error(error), "%s",
                 error == PST_EIO ? "the system gives no randomness for a key" : pst_error_sentence(error));
    return pst_exit_of_error(error);
}

/* The exit code of a system error, told. */
static int complain_errno(const struct pst_call *call, const char *path, const char *what, int reason)
{
    int exit_code = reason == EACCES || reason == EPERM || reason == ELOOP ? PST_EXIT_REFUSED : PST_EXIT_IO;
    pst_complain(call, exit_code, "`%s` cannot be %s: %s", path, what, strerror(reason));
    return exit_code;
}

static int complain_there(const struct pst_call *call, const char *path)
{
    pst_complain(call, PST_EXIT_REFUSED, "`%s` is there already, and is not overwritten: name another folder", path);
    return PST_EXIT_REFUSED;
}

/* ---- making files ---- */
/* Takes `bytes`, NULL where memory ran out. */
static void making_add(struct making *making, const char *name, BIO *bytes, mode_t mode)
{
    PST_ASSERT(making->file_count < FILES_MAX);
    making->files[making->file_count++] = (struct made){.name = name, .bytes = bytes, .mode = mode};
}

/* Has the part to itself, so that of two commands one is refused; what has the name already is seen after that. */
static int part_open(struct making *making, struct made *file, int *ret_fd)
{
    struct stat status;
    if (pst_text_printf(&file->path, "%s/%s", making->folder, file->name) != PST_OK ||
        pst_text_printf(&file->part, "%s.part", file->path.bytes) != PST_OK)
        return complain_of(making->call, PST_ENOMEM);
    const char *part = file->part.bytes;
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, KEY_MODE);
    if (fd < 0 && errno == EEXIST) {
        pst_complain(making->call, PST_EXIT_IO,
                     "`%s` is there: another `penstock tls` is at work, or one was interrupted; remove it if none is",
                     part);
        return PST_EXIT_IO;
    }
    if (fd < 0)
        return complain_errno(making->call, part, "made", errno);
    file->part_there = part;
    if (lstat(file->path.bytes, &status) == 0) {
        (void)close(fd);
        return complain_there(making->call, file->path.bytes);
    }
    *ret_fd = fd;
    return PST_EXIT_OK;
}

static int part_write(struct making *making, struct made *file)
{
    char *bytes;
    int fd = -1;
    long count = file->bytes != NULL ? BIO_get_mem_data(file->bytes, &bytes) : 0;
    if (count <= 0)
        return complain_of(making->call, PST_ENOMEM);
    int exit_code = part_open(making, file, &fd);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    /* The mode once more, for a umask may have taken bits away. */
    bool good = pst_fd_write(fd, bytes, (size_t)count) && fchmod(fd, file->mode) == 0 && fsync(fd) == 0;
    int reason = errno;
    (void)close(fd);
    return good ? PST_EXIT_OK : complain_errno(making->call, file->part.bytes, "written", reason);
}

static int part_name(struct making *making, struct made *file)
{
    if (rename(file->part.bytes, file->path.bytes) != 0)
        return complain_errno(making->call, file->path.bytes, "made", errno);
    file->part_there = NULL;
    file->there = file->path.bytes;
    return PST_EXIT_OK;
}

static void folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd); /* file systems that cannot are no reason to fail */
    (void)close(fd);
}

/* All files or none. */
static int making_finish(struct making *making, struct pst_world *world)
{
    int rc = world->mkdir(world->self, making->folder), exit_code = pst_exit_of_error(rc);
    if (rc != PST_OK) {
        pst_complain(making->call, exit_code, "the folder `%s` cannot be made: %s", making->folder, pst_system_error());
        return exit_code;
    }
    for (uint32_t i = 0; i < making->file_count && exit_code == PST_EXIT_OK; i++)
        exit_code = part_write(making, &making->files[i]);
    for (uint32_t i = 0; i < making->file_count && exit_code == PST_EXIT_OK; i++)
        exit_code = part_name(making, &making->files[i]);
    for (uint32_t i = 0; i < making->file_count; i++) {
        const struct made *file = &making->files[i];
        if (file->part_there != NULL)
            (void)unlink(file->part_there);
        if (file->there != NULL && exit_code != PST_EXIT_OK)
            (void)unlink(file->there);
    }
    folder_sync(making->folder);
    return exit_code;
}

static void making_fini(struct making *making)
{
    for (uint32_t i = 0; i < making->file_count; i++) {
        BIO_free(making->files[i].bytes);
        pst_text_fini(&making->files[i].path);
        pst_text_fini(&making->files[i].part);
    }
}

/* ---- reading the authority ---- */
/* Looks at the open file, not at its name, so that nobody can put another one there in between. */
static int file_check(const struct pst_call *call, const char *path, int fd, bool secret)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return complain_errno(call, path, "read", errno);
    if (!S_ISREG(status.st_mode)) {
        pst_complain(call, PST_EXIT_REFUSED, "`%s` is refused: it is not a regular file", path);
        return PST_EXIT_REFUSED;
    }
    if (!secret)
        return PST_EXIT_OK;
    if (status.st_uid != geteuid()) {
        pst_complain(call, PST_EXIT_REFUSED, "`%s` is refused: it belongs to user %u, not to user %u who runs this",
                     path, (unsigned)status.st_uid, (unsigned)geteuid());
        return PST_EXIT_REFUSED;
    }
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        pst_complain(call, PST_EXIT_REFUSED,
                     "`%s` is refused: others may read or write it (mode %04o); if nobody has, `chmod 600` it, else "
                     "make a new authority",
                     path, (unsigned)(status.st_mode & 07777));
        return PST_EXIT_REFUSED;
    }
    return PST_EXIT_OK;
}

static int file_open(const struct pst_call *call, const char *folder, const char *name, bool secret, BIO **ret_bio)
{
    struct pst_text path = {0};
    if (pst_text_printf(&path, "%s/%s", folder, name) != PST_OK)
        return complain_of(call, PST_ENOMEM);
    int fd = open(path.bytes, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a named pipe must not hold us up */
    int exit_code = fd < 0 ? complain_errno(call, path.bytes, "read", errno) : file_check(call, path.bytes, fd, secret);
    if (exit_code == PST_EXIT_OK) {
        *ret_bio = BIO_new_fd(fd, BIO_CLOSE);
        if (*ret_bio == NULL)
            exit_code = complain_of(call, PST_ENOMEM);
    }
    if (exit_code != PST_EXIT_OK && fd >= 0)
        (void)close(fd);
    pst_text_fini(&path);
    return exit_code;
}

static int authority_read(const struct pst_call *call, const char *folder, struct pst_pair *ret_authority)
{
    BIO *certificate = NULL, *key = NULL;
    const char *why;
    int exit_code = file_open(call, folder, "ca.pem", false, &certificate);
    if (exit_code == PST_EXIT_OK)
        exit_code = file_open(call, folder, "ca.key", true, &key);
    if (exit_code == PST_EXIT_OK && pst_pair_read(certificate, key, ret_authority, &why) != PST_OK) {
        exit_code = PST_EXIT_DATA;
        pst_complain(call, exit_code, "the authority in `%s` cannot be used: %s", folder, why);
    }
    BIO_free(certificate);
    BIO_free(key);
    if (exit_code == PST_EXIT_OK && pst_pair_over(ret_authority)) {
        exit_code = PST_EXIT_REFUSED;
        pst_complain(call, exit_code,
                     "the authority in `%s` has expired: make a new one with `penstock tls init`, in another folder",
                     folder);
    }
    return exit_code;
}

/* ---- the verb ---- */
static int told(const struct pst_call *call, const struct making *making, const struct pst_pair *pair, const char *name)
{
    char day[16];
    struct pst_text text = {0};
    pst_pair_end(pair, day);
    if (name == NULL)
        pst_note(call, "%s: an authority until %s; who has `ca.key` can make nodes of the cluster", making->folder,
                 day);
    else
        pst_note(call, "%s: the node `%s` until %s", making->folder, name, day);
    if (!call->json)
        return PST_EXIT_OK;
    pst_text_printf(&text, "{\"schema_version\":%d,\"folder\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&text, making->folder);
    pst_text_printf(&text, ",\"node\":");
    pst_text_json(&text, name);
    pst_text_printf(&text, ",\"until\":\"%s\",\"error\":null}\n", day);
    return pst_text_show(call, &text);
}

static int init(const struct pst_call *call, struct pst_world *world)
{
    struct pst_pair authority = {0};
    struct making making = {.call = call, .folder = call->operands[1]};
    int rc = pst_pair_authority(world, &authority);
    if (rc != PST_OK)
        return complain_of(call, rc);
    making_add(&making, "ca.key", pst_pem_of_key(authority.key), KEY_MODE);
    making_add(&making, "ca.pem", pst_pem_of_certificate(authority.certificate), OPEN_MODE);
    int exit_code = making_finish(&making, world);
    if (exit_code == PST_EXIT_OK)
        exit_code = told(call, &making, &authority, NULL);
    making_fini(&making);
    pst_pair_fini(&authority);
    return exit_code;
}

/* With an authority that is there. */
static int issue_by(const struct pst_call *call, struct pst_world *world, const struct pst_pair *authority,
                    const char *folder, uint32_t days)
{
    struct pst_pair node = {0};
    struct making making = {.call = call, .folder = folder};
    int rc = pst_pair_issue(world, authority, call->operands[2], days, &node);
    if (rc != PST_OK)
        return complain_of(call, rc);
    making_add(&making, "node.key", pst_pem_of_key(node.key), KEY_MODE);
    making_add(&making, "node.pem", pst_pem_of_certificate(node.certificate), OPEN_MODE);
    making_add(&making, "ca.pem", pst_pem_of_certificate(authority->certificate), OPEN_MODE);
    int exit_code = making_finish(&making, world);
    if (exit_code == PST_EXIT_OK)
        exit_code = told(call, &making, &node, call->operands[2]);
    making_fini(&making);
    pst_pair_fini(&node);
    return exit_code;
}

static int issue(const struct pst_call *call, struct pst_world *world)
{
    const char *name = call->operand_count > 2 ? call->operands[2] : "", *out = pst_call_flag(call, "out");
    uint64_t days;
    if (call->operand_count < 3) {
        pst_complain(call, PST_EXIT_USAGE, "the NAME of the node is missing: penstock tls issue DIR NAME");
        return PST_EXIT_USAGE;
    }
    if (!pst_node_name_good(name)) {
        pst_complain(call, PST_EXIT_USAGE, "`%s` is no name of a node: it has 1 to 63 letters, digits, `.`, `_` or `-`",
                     name);
        return PST_EXIT_USAGE;
    }
    if (!pst_call_number(call, "days", 1, DAYS_MAX, DAYS, &days))
        return PST_EXIT_USAGE;
    struct pst_pair authority = {0};
    struct pst_text folder = {0};
    int exit_code = PST_EXIT_OK;
    if ((out != NULL ? pst_text_printf(&folder, "%s", out)
                     : pst_text_printf(&folder, "%s/%s", call->operands[1], name)) != PST_OK)
        exit_code = complain_of(call, PST_ENOMEM);
    if (exit_code == PST_EXIT_OK)
        exit_code = authority_read(call, call->operands[1], &authority);
    if (exit_code == PST_EXIT_OK)
        exit_code = issue_by(call, world, &authority, folder.bytes, (uint32_t)days);
    pst_pair_fini(&authority);
    pst_text_fini(&folder);
    return exit_code;
}

static int action_unknown(const struct pst_call *call, const char *action)
{
    static const char *const actions[] = {"init", "issue"};
    const char *nearest = pst_nearest(action, actions, 2);
    if (nearest != NULL)
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with certificates: did you mean `%s`?", action,
                     nearest);
    else
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with certificates: there are init and issue", action);
    return PST_EXIT_USAGE;
}

/* What belongs to `issue` alone. */
static int surplus_refuse(const struct pst_call *call)
{
    const char *what = call->operand_count > 2               ? call->operands[2]
                       : pst_call_flag(call, "out") != NULL  ? "--out"
                       : pst_call_flag(call, "days") != NULL ? "--days"
                                                             : NULL;
    if (what == NULL)
        return PST_EXIT_OK;
    pst_complain(call, PST_EXIT_USAGE, "`%s` is too much: `penstock tls init` takes a folder alone", what);
    return PST_EXIT_USAGE;
}

static int tls_run(const struct pst_call *call)
{
    const char *action = call->operands[0];
    bool is_init = strcmp(action, "init") == 0;
    if (!is_init && strcmp(action, "issue") != 0)
        return action_unknown(call, action);
    if (is_init && surplus_refuse(call) != PST_EXIT_OK)
        return PST_EXIT_USAGE;
    struct pst_world *world = pst_world_uv(); /* for its randomness */
    if (world == NULL)
        return complain_of(call, PST_ENOMEM);
    int exit_code = is_init ? init(call, world) : issue(call, world);
    pst_world_uv_free(world);
    return exit_code;
}

static const struct pst_flag tls_flags[] = {
    {"out", 'o', "FOLDER", false, "issue: where the node's files are put; DIR/NAME where nothing is said.", "dir"},
    {"days", 0, "N", false, "issue: for how many days the certificate is good, 1 to 3650; 365 where nothing is said.",
     NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_tls = {
    .name = "tls",
    .operands = "init|issue DIR [NAME]",
    .operand_count_min = 2,
    .operand_count_max = 3,
    .summary = "Make the authority of a cluster, and the certificates of its nodes.",
    .text =
        "The nodes of a cluster, and the commands that ask them, speak TLS 1.3 with each other, and each shows a "
        "certificate of the cluster's authority: that alone makes it one of them.\n\n"
        "`init` makes the authority in the folder DIR: `ca.pem`, its certificate, and `ca.key`, which signs. `issue` "
        "makes a folder for one node, or for a person who administers the cluster: `ca.pem`, `node.pem`, which says "
        "NAME, and `node.key`. The folder is brought to the node in a safe way, and `ca.key` stays behind: who has it "
        "can make nodes of the cluster. A NAME has 1 to 63 letters, digits, `.`, `_` and `-`.\n\n"
        "Nothing that is there is overwritten. Keys are files that only their owner may read; one that others may read "
        "is refused. When a certificate has expired its node is refused by the others: `issue` makes a new one for the "
        "same NAME, in another folder.",
    .examples = "penstock tls init authority\n"
                "penstock tls issue authority node-1\n"
                "penstock tls issue authority node-2 --out /etc/penstock --days 90",
    .flags = tls_flags,
    .run = tls_run,
};
