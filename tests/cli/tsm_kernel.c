/* tsm_kernel.c - a folder that answers as the kernel's configfs-tsm does, for `penstock`, which is started with this as LD_PRELOAD. A request is
 * a folder made in $TSM_FOLDER: its files are there as soon as it is, and are gone with it. What is read of `outblob` is $TSM_MACHINE/report.bin; where a
 * key.pem lies beside that, with the request's data in it and signed anew, as SEV-SNP does. `auxblob` is $TSM_MACHINE/certificates, where that is there.
 *
 * Source: Linux, Documentation/ABI/testing/configfs-tsm; AMD 56860, table ATTESTATION_REPORT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096,
    BYTES_MAX = 65536,
    REPORT_BYTES = 1184,
    SIGNED_BYTES = 0x2a0,
    DATA_OFFSET = 0x50,
    DATA_BYTES = 64
};

static int (*mkdir_of)(const char *, mode_t);
static int (*rmdir_of)(const char *);
static int (*open_of)(const char *, int, ...);

__attribute__((constructor)) static void find(void)
{
    *(void **)&mkdir_of = dlsym(RTLD_NEXT, "mkdir");
    *(void **)&rmdir_of = dlsym(RTLD_NEXT, "rmdir");
    *(void **)&open_of = dlsym(RTLD_NEXT, "open");
}

/* What stands behind the folder's own path, "penstock-1234/inblob"; NULL: it is none of this. */
static const char *within(const char *path)
{
    const char *folder = getenv("TSM_FOLDER");
    size_t count = folder != NULL ? strlen(folder) : 0;
    return count != 0 && strncmp(path, folder, count) == 0 && path[count] == '/' ? path + count + 1 : NULL;
}

static void file_put(const char *folder, const char *name, const void *bytes, size_t count)
{
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open_of(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, bytes, count) != (ssize_t)count || close(fd) != 0)
        abort();
}

/* -1: there is none. */
static ssize_t file_get(const char *folder, const char *name, uint8_t bytes[BYTES_MAX])
{
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open_of(path, O_RDONLY);
    ssize_t count = fd >= 0 ? read(fd, bytes, BYTES_MAX) : -1;
    if (fd >= 0)
        (void)close(fd);
    return count;
}

static void report_sign(uint8_t *report, const uint8_t *data, FILE *file)
{
    unsigned char der[256];
    uint8_t half[48];
    size_t der_bytes = sizeof der;
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    memcpy(report + DATA_OFFSET, data, DATA_BYTES);
    if (key == NULL || EVP_DigestSignInit(context, NULL, EVP_sha384(), NULL, key) != 1 ||
        EVP_DigestSign(context, der, &der_bytes, report, SIGNED_BYTES) != 1)
        abort();
    const unsigned char *at = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_bytes);
    const BIGNUM *parts[] = {ECDSA_SIG_get0_r(signature), ECDSA_SIG_get0_s(signature)};
    memset(report + SIGNED_BYTES, 0, REPORT_BYTES - SIGNED_BYTES);
    for (int p = 0; p < 2; p++) {
        if (BN_bn2binpad(parts[p], half, sizeof half) != (int)sizeof half)
            abort();
        for (int i = 0; i < 48; i++) /* little endian, in 72 bytes each */
            report[SIGNED_BYTES + 72 * p + i] = half[47 - i];
    }
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
}

/* The folder of the request: `path` without its last part. */
static void answer(const char *path)
{
    static uint8_t report[BYTES_MAX], data[BYTES_MAX];
    char folder[PATH_BYTES], key[PATH_BYTES];
    const char *machine = getenv("TSM_MACHINE");
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    (void)snprintf(key, sizeof key, "%s/key.pem", machine);
    ssize_t count = file_get(machine, "report.bin", report);
    FILE *file = fopen(key, "re");
    if (count <= 0 || file_get(folder, "inblob", data) != DATA_BYTES)
        abort();
    if (file != NULL) {
        report_sign(report, data, file);
        (void)fclose(file);
    }
    file_put(folder, "outblob", report, (size_t)count);
}

int mkdir(const char *path, mode_t mode)
{
    static uint8_t bytes[BYTES_MAX];
    int rc = mkdir_of(path, mode);
    if (rc != 0 || within(path) == NULL)
        return rc;
    const char *provider = getenv("TSM_PROVIDER");
    ssize_t count = file_get(getenv("TSM_MACHINE"), "certificates", bytes);
    file_put(path, "inblob", "", 0);
    file_put(path, "outblob", "", 0);
    file_put(path, "generation", "0\n", 2);
    provider = provider != NULL ? provider : "sev_guest";
    file_put(path, "provider", provider, strlen(provider));
    if (count > 0)
        file_put(path, "auxblob", bytes, (size_t)count);
    return rc;
}

int rmdir(const char *path)
{
    static const char *const names[] = {"inblob", "outblob", "generation", "provider", "auxblob"};
    char file[PATH_BYTES];
    for (size_t i = 0; within(path) != NULL && i < sizeof names / sizeof *names; i++) {
        (void)snprintf(file, sizeof file, "%s/%s", path, names[i]);
        (void)unlink(file);
    }
    return rmdir_of(path);
}

static int opened(const char *path, int flags, mode_t mode)
{
    const char *name = within(path) != NULL ? strrchr(path, '/') + 1 : "";
    char folder[PATH_BYTES];
    if (strcmp(name, "outblob") == 0)
        answer(path);
    if (strcmp(name, "inblob") == 0) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(name - 1 - path), path);
        file_put(folder, "generation", "1\n", 2);
    }
    return open_of(path, flags, mode);
}

#define MODE_TAKE(mode, flags)                      \
    mode_t mode = 0;                                \
    if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) { \
        va_list more;                               \
        va_start(more, flags);                      \
        mode = va_arg(more, mode_t);                \
        va_end(more);                               \
    }

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the names there are reserved ones */
int open(const char *path, int flags, ...)
{
    MODE_TAKE(mode, flags)
    return opened(path, flags, mode);
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int open64(const char *path, int flags, ...)
{
    MODE_TAKE(mode, flags)
    return opened(path, flags | O_LARGEFILE, mode);
}
