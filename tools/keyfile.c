/* tools/keyfile.c - files of master keys (tools/keyfile.h).
 *
 * This asks the system for files itself: who owns a file, who may read it, and making one that nobody else can have made or can
 * open are questions that struct pst_world does not know, and no other file of penstock has to ask. Randomness comes from the
 * world. Every buffer that has held digits of a key is wiped. */
#include "tools/keyfile.h"
#include "tools/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BEGIN "penstock-key "
#define LINE_VERSION "1 "
#define PEM_BEGIN "-----BEGIN "

enum {
    KEY_DIGITS = 2 * PST_SECRET_BYTES,
    PEM_BEGIN_BYTES = sizeof PEM_BEGIN - 1,
    LINE_BYTES = sizeof LINE_BEGIN - 1 + sizeof LINE_VERSION - 1 + KEY_DIGITS + 1,
};

/* ---- digits ---- */
/* 0..15, or -1. No table: where in memory it looked would depend on the key. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex_read(const char *text, uint8_t *bytes, size_t byte_count)
{
    for (size_t i = 0; i < byte_count; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static char digit_of(uint32_t value) { return (char)(value < 10 ? '0' + value : 'a' + value - 10); }

static void hex_write(const uint8_t *bytes, size_t byte_count, char *text)
{
    for (size_t i = 0; i < byte_count; i++) {
        text[2 * i] = digit_of(bytes[i] >> 4);
        text[2 * i + 1] = digit_of(bytes[i] & 15);
    }
}

/* ---- keys ---- */
void pst_keyring_keys_fini(struct pst_keyring_keys *keys)
{
    for (uint32_t i = 0; i < keys->count; i++)
        pst_secret_free(keys->secrets[i]);
    *keys = (struct pst_keyring_keys){0};
}

static int id_fill(struct pst_keyring_keys *keys, uint32_t index)
{
    uint8_t id[PST_SECRET_ID_BYTES];
    int rc = pst_secret_id(keys->secrets[index], id);
    if (rc != PST_OK)
        return rc;
    hex_write(id, sizeof id, keys->ids[index]);
    keys->ids[index][PST_KEY_ID_TEXT_BYTES - 1] = '\0';
    keys->locked = (index == 0 || keys->locked) && pst_secret_locked(keys->secrets[index]);
    return PST_OK;
}

/* ---- text to keys ---- */
/* What is wrong with a line, or NULL; *ret_digits: where its digits stand. */
static const char *line_wrong(const char *line, size_t bytes, const char **ret_digits)
{
    const size_t begin = sizeof LINE_BEGIN - 1, version = sizeof LINE_VERSION - 1;
    if (bytes < begin || memcmp(line, LINE_BEGIN, begin) != 0)
        return "a line of a key file is `penstock-key 1` and 64 hexadecimal digits";
    if (bytes < begin + version || memcmp(line + begin, LINE_VERSION, version) != 0)
        return "the version of the line is not 1: the file may come from a newer penstock";
    if (bytes != begin + version + KEY_DIGITS)
        return "a key has 64 hexadecimal digits, and nothing follows them";
    *ret_digits = line + begin + version;
    return NULL;
}

/* Adds the key of a line. *ret_why: what is wrong with it, for PST_EDATA. */
static int line_take(struct pst_keyring_keys *keys, const char *line, size_t bytes, const char **ret_why)
{
    const char *digits = NULL;
    *ret_why = line_wrong(line, bytes, &digits);
    if (*ret_why == NULL && keys->count == PST_KEYS_MAX)
        *ret_why = "there are more than 16 keys";
    if (*ret_why != NULL)
        return PST_EDATA;
    int rc = pst_secret_new(&keys->secrets[keys->count]);
    if (rc != PST_OK)
        return rc;
    uint32_t index = keys->count++;
    if (!hex_read(digits, pst_secret_bytes(keys->secrets[index]), PST_SECRET_BYTES)) {
        *ret_why = "a key is made of the digits 0-9 and a-f";
        return PST_EDATA;
    }
    rc = id_fill(keys, index);
    for (uint32_t i = 0; i < index && rc == PST_OK; i++) {
        if (strcmp(keys->ids[i], keys->ids[index]) == 0) {
            *ret_why = "this key stands in the file twice";
            return PST_EDATA;
        }
    }
    return rc;
}

int pst_keyfile_parse(const char *text, size_t byte_count, struct pst_keyring_keys *ret_keys, uint32_t *ret_line,
                      const char **ret_why)
{
    const char *at = text, *end = text + byte_count;
    int rc = PST_OK;
    *ret_keys = (struct pst_keyring_keys){0};
    *ret_line = 1;
    *ret_why = "the file is empty: `penstock key init` makes a new one";
    if (byte_count == 0)
        return PST_EDATA;
    while (rc == PST_OK && at != end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        rc = line_take(ret_keys, at, (size_t)(line_end - at), ret_why);
        at = newline != NULL ? newline + 1 : end;
        *ret_line += rc == PST_OK;
    }
    if (rc != PST_OK)
        pst_keyring_keys_fini(ret_keys);
    return rc;
}

/* ---- reading ---- */
static int complain_of(const struct pst_call *call, int error)
{
    pst_complain(call, pst_exit_of_error(error), "%s", pst_error_sentence(error));
    return pst_exit_of_error(error);
}

/* The exit code of a system error, told. */
static int complain_errno(const struct pst_call *call, const char *path, const char *what, int reason)
{
    int exit_code = reason == EACCES || reason == EPERM || reason == ELOOP ? PST_EXIT_REFUSED : PST_EXIT_IO;
    pst_complain(call, exit_code, "the key file `%s` cannot be %s: %s", path, what, strerror(reason));
    return exit_code;
}

/* Looks at the open file, not at its name, so that nobody can put another one there in between. */
static int file_check(const struct pst_call *call, const char *path, int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return complain_errno(call, path, "read", errno);
    if (!S_ISREG(status.st_mode)) {
        pst_complain(call, PST_EXIT_REFUSED, "the key file `%s` is refused: it is not a regular file", path);
        return PST_EXIT_REFUSED;
    }
    if (status.st_uid != geteuid()) {
        pst_complain(call, PST_EXIT_REFUSED,
                     "the key file `%s` is refused: it belongs to user %u, not to user %u who runs this", path,
                     (unsigned)status.st_uid, (unsigned)geteuid());
        return PST_EXIT_REFUSED;
    }
    if ((status.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
        pst_complain(
            call, PST_EXIT_REFUSED,
            "the key file `%s` is refused: others may read or write it (mode %04o); if nobody has, `chmod 600` "
            "it, else make a new key",
            path, (unsigned)(status.st_mode & 07777));
        return PST_EXIT_REFUSED;
    }
    return PST_EXIT_OK;
}

/* All of a file that fits; one byte more than may be tells of a longer one. -1: errno. */
static ssize_t file_read(int fd, char *bytes, size_t capacity)
{
    size_t count = 0;
    while (count < capacity) {
        ssize_t got = read(fd, bytes + count, capacity - count);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        count += (size_t)got;
    }
    return (ssize_t)count;
}

/* Without it OpenSSL would ask the terminal. */
static int no_password(char *buffer, int capacity, int writing, void *argument)
{
    (void)buffer;
    (void)capacity;
    (void)writing;
    (void)argument;
    return -1;
}

/* An Ed25519 key in PEM, as of a certificate: its seed, as the only key. PST_EDATA: it is none. */
static int pem_parse(const char *text, size_t byte_count, struct pst_keyring_keys *ret_keys)
{
    BIO *bio = BIO_new_mem_buf(text, (int)byte_count);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    size_t bytes = PST_SECRET_BYTES;
    int rc = bio == NULL ? PST_ENOMEM : key != NULL && EVP_PKEY_is_a(key, "ED25519") ? PST_OK : PST_EDATA;
    if (rc == PST_OK)
        rc = pst_secret_new(&ret_keys->secrets[0]);
    if (rc == PST_OK) {
        ret_keys->count = 1;
        if (EVP_PKEY_get_raw_private_key(key, pst_secret_bytes(ret_keys->secrets[0]), &bytes) != 1)
            rc = PST_EDATA;
        ret_keys->locked = pst_secret_locked(ret_keys->secrets[0]);
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    if (rc != PST_OK)
        pst_keyring_keys_fini(ret_keys);
    return rc;
}

static int opened_read(const struct pst_call *call, const char *path, int fd, bool node,
                       struct pst_keyring_keys *ret_keys)
{
    char text[PST_KEYFILE_BYTES_MAX + 1];
    uint32_t line;
    const char *why;
    int exit_code = file_check(call, path, fd);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    ssize_t count = file_read(fd, text, sizeof text);
    if (count < 0) {
        exit_code = complain_errno(call, path, "read", errno);
    } else if (count > PST_KEYFILE_BYTES_MAX) {
        exit_code = PST_EXIT_DATA;
        pst_complain(call, exit_code, "`%s` is no key file: it is longer than %d bytes", path, PST_KEYFILE_BYTES_MAX);
    } else if (node && count > PEM_BEGIN_BYTES && memcmp(text, PEM_BEGIN, PEM_BEGIN_BYTES) == 0) {
        int rc = pem_parse(text, (size_t)count, ret_keys);
        if (rc == PST_EDATA) {
            exit_code = PST_EXIT_DATA;
            pst_complain(call, exit_code, "`%s` is no Ed25519 key: a node's is made by `penstock tls issue`", path);
        } else if (rc != PST_OK) {
            exit_code = complain_of(call, rc);
        }
    } else {
        int rc = pst_keyfile_parse(text, (size_t)count, ret_keys, &line, &why);
        if (rc == PST_EDATA) {
            exit_code = PST_EXIT_DATA;
            pst_complain(call, exit_code, "%s:%u: %s", path, line, why);
        } else if (rc != PST_OK) {
            exit_code = complain_of(call, rc);
        }
    }
    explicit_bzero(text, sizeof text);
    return exit_code;
}

static int any_read(const struct pst_call *call, const char *path, bool node, struct pst_keyring_keys *ret_keys)
{
    *ret_keys = (struct pst_keyring_keys){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a named pipe must not hold us up */
    if (fd < 0)
        return complain_errno(call, path, "read", errno);
    int exit_code = opened_read(call, path, fd, node, ret_keys);
    (void)close(fd);
    return exit_code;
}

int pst_keyfile_read(const struct pst_call *call, const char *path, struct pst_keyring_keys *ret_keys)
{
    return any_read(call, path, false, ret_keys);
}

int pst_node_key_read(const struct pst_call *call, const char *path, struct pst_keyring_keys *ret_keys)
{
    return any_read(call, path, true, ret_keys);
}

/* ---- writing ---- */
/* A file about to be written: it is made as FILE.part, which at once keeps two commands from changing one file together. */
struct change {
    const struct pst_call *call;
    const char *path;
    struct pst_text part;
    int fd;
};

static int change_init(struct change *change, const struct pst_call *call, const char *path)
{
    *change = (struct change){.call = call, .path = path, .fd = -1};
    if (pst_text_printf(&change->part, "%s.part", path) != PST_OK)
        return complain_of(call, PST_ENOMEM);
    const char *part = change->part.bytes;
    change->fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (change->fd < 0 && errno == EEXIST) {
        pst_complain(call, PST_EXIT_IO,
                     "`%s` is there: another `penstock key` is changing the file, or one was interrupted; remove it if "
                     "none is",
                     part);
        return PST_EXIT_IO;
    }
    return change->fd >= 0 ? PST_EXIT_OK : complain_errno(call, part, "made", errno);
}

/* Gives up what was not finished. */
static void change_fini(struct change *change)
{
    if (change->fd >= 0) {
        (void)close(change->fd);
        (void)unlink(change->part.bytes);
    }
    pst_text_fini(&change->part);
}

static bool keys_write(int fd, const struct pst_keyring_keys *keys)
{
    char line[LINE_BYTES];
    bool good = true;
    memcpy(line, LINE_BEGIN LINE_VERSION, sizeof line - KEY_DIGITS - 1);
    line[sizeof line - 1] = '\n';
    for (uint32_t i = 0; i < keys->count && good; i++) {
        hex_write(pst_secret_bytes(keys->secrets[i]), PST_SECRET_BYTES, line + sizeof line - KEY_DIGITS - 1);
        good = pst_fd_write(fd, line, sizeof line);
    }
    explicit_bzero(line, sizeof line);
    return good;
}

/* Some file systems cannot rename with a promise; there the look beforehand has to do. */
static int rename_new(const char *from, const char *to)
{
    struct stat status;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    if (lstat(to, &status) == 0)
        return EEXIST;
    return rename(from, to) == 0 ? 0 : errno;
}

/* A name is safe when its folder is. Folders that cannot be synchronised (some file systems) are no reason to fail. */
static void folder_sync(const char *path)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t bytes = slash != NULL ? (size_t)(slash - path) : 0;
    if (slash != NULL && bytes + 1 < sizeof folder) {
        memcpy(folder, bytes != 0 ? path : "/", bytes != 0 ? bytes : 1);
        folder[bytes != 0 ? bytes : 1] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* Writes the keys and gives the file its name; `fresh`: there must be none of that name. */
static int change_finish(struct change *change, const struct pst_keyring_keys *keys, bool fresh)
{
    /* The mode once more, for a umask may have taken bits away. */
    if (!keys_write(change->fd, keys) || fchmod(change->fd, S_IRUSR | S_IWUSR) != 0 || fsync(change->fd) != 0)
        return complain_errno(change->call, change->part.bytes, "written", errno);
    int reason = 0;
    if (fresh)
        reason = rename_new(change->part.bytes, change->path);
    else if (rename(change->part.bytes, change->path) != 0)
        reason = errno;
    if (reason == EEXIST) {
        pst_complain(change->call, PST_EXIT_REFUSED,
                     "`%s` is there already: a key file is never overwritten, for what it sealed could not be opened; "
                     "`penstock key rotate` adds a new key to it",
                     change->path);
        return PST_EXIT_REFUSED;
    }
    if (reason != 0)
        return complain_errno(change->call, change->path, "written", reason);
    (void)close(change->fd);
    change->fd = -1;
    folder_sync(change->path);
    return PST_EXIT_OK;
}

/* Puts a new key in front. */
static int key_add(const struct pst_call *call, struct pst_world *world, struct pst_keyring_keys *keys)
{
    struct pst_secret *secret;
    int rc = pst_secret_new(&secret);
    if (rc != PST_OK)
        return complain_of(call, rc);
    if (world->random(world->self, pst_secret_bytes(secret), PST_SECRET_BYTES) != PST_OK) {
        pst_secret_free(secret);
        pst_complain(call, PST_EXIT_FAILED, "the system gives no randomness for a key");
        return PST_EXIT_FAILED;
    }
    memmove(keys->secrets + 1, keys->secrets, keys->count * sizeof keys->secrets[0]);
    memmove(keys->ids + 1, keys->ids, keys->count * sizeof keys->ids[0]);
    bool locked = keys->count == 0 || keys->locked;
    keys->secrets[0] = secret;
    keys->count++;
    rc = id_fill(keys, 0);
    keys->locked = keys->locked && locked;
    return rc == PST_OK ? PST_EXIT_OK : complain_of(call, rc);
}

int pst_keyfile_make(const struct pst_call *call, struct pst_world *world, const char *path,
                     struct pst_keyring_keys *ret_keys)
{
    struct change change;
    *ret_keys = (struct pst_keyring_keys){0};
    int exit_code = change_init(&change, call, path);
    if (exit_code == PST_EXIT_OK)
        exit_code = key_add(call, world, ret_keys);
    if (exit_code == PST_EXIT_OK)
        exit_code = change_finish(&change, ret_keys, true);
    change_fini(&change);
    if (exit_code != PST_EXIT_OK)
        pst_keyring_keys_fini(ret_keys);
    return exit_code;
}

int pst_keyfile_rotate(const struct pst_call *call, struct pst_world *world, const char *path,
                       struct pst_keyring_keys *ret_keys)
{
    struct change change;
    char real[PATH_MAX]; /* a symbolic link stays one: what it leads to is replaced */
    *ret_keys = (struct pst_keyring_keys){0};
    if (realpath(path, real) == NULL)
        return complain_errno(call, path, "read", errno);
    int exit_code = change_init(&change, call, real);
    if (exit_code == PST_EXIT_OK)
        exit_code = pst_keyfile_read(call, path, ret_keys);
    if (exit_code == PST_EXIT_OK && ret_keys->count == PST_KEYS_MAX) {
        exit_code = PST_EXIT_REFUSED;
        pst_complain(call, exit_code,
                     "`%s` holds %d keys, and no more fit: remove the last lines that no checkpoint needs any more",
                     path, PST_KEYS_MAX);
    }
    if (exit_code == PST_EXIT_OK)
        exit_code = key_add(call, world, ret_keys);
    if (exit_code == PST_EXIT_OK)
        exit_code = change_finish(&change, ret_keys, false);
    change_fini(&change);
    if (exit_code != PST_EXIT_OK)
        pst_keyring_keys_fini(ret_keys);
    return exit_code;
}
