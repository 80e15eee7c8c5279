/* tsm.c - evidence of this machine from configfs-tsm, through the seam.
 *
 * Source: Linux, Documentation/ABI/testing/configfs-tsm. A folder is one request: what is written into `inblob` is signed when
 * `outblob` is read. `generation` counts the writes, so whoever reads the same number before and after has read what he asked for. */
#include "enclave_shim/attestation/inside.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 16, NUMBER_BYTES_MAX = 64 };

struct tsm {
    struct pst_world *world;
    const char *directory;
    char name[2 * NAME_BYTES + 1];
    char *path; /* the caller's: what was last worked with */
};

/* *path is that of an attribute, or of the folder for "". False: it is too long. */
static bool path_set(struct tsm *tsm, const char *attribute)
{
    int bytes = snprintf(tsm->path, PST_TSM_PATH_BYTES, "%s/penstock-%s%s%s", tsm->directory, tsm->name,
                         attribute[0] != '\0' ? "/" : "", attribute);
    return bytes > 0 && bytes < PST_TSM_PATH_BYTES;
}

static int name_make(struct tsm *tsm)
{
    uint8_t bytes[NAME_BYTES];
    int rc = tsm->world->random(tsm->world->self, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes && rc == PST_OK; i++)
        (void)snprintf(tsm->name + 2 * i, 3, "%02x", bytes[i]);
    return rc;
}

static int attribute_write(struct tsm *tsm, const char *attribute, const void *bytes, size_t byte_count)
{
    struct pst_file *file = NULL;
    const struct pst_world *world = tsm->world;
    if (!path_set(tsm, attribute))
        return PST_EINVAL;
    int rc = world->file_open(world->self, tsm->path, PST_OPEN_CREATE, &file);
    if (rc != PST_OK)
        return rc;
    rc = world->file_write(world->self, file, bytes, byte_count);
    int closed = world->file_close(world->self, file);
    return rc != PST_OK ? rc : closed;
}

/* Up to byte_count bytes; PST_EDATA: there are more. */
static int attribute_read(struct tsm *tsm, const char *attribute, uint8_t *bytes, size_t byte_count, size_t *ret_count)
{
    struct pst_file *file = NULL;
    const struct pst_world *world = tsm->world;
    size_t count = 0;
    if (!path_set(tsm, attribute))
        return PST_EINVAL;
    int rc = world->file_open(world->self, tsm->path, PST_OPEN_READ, &file);
    if (rc != PST_OK)
        return rc;
    int64_t got = 1;
    while (got > 0 && count < byte_count) {
        got = world->file_read(world->self, file, bytes + count, byte_count - count);
        count += got > 0 ? (size_t)got : 0;
    }
    rc = got < 0 ? (int)got : count == byte_count ? PST_EDATA : PST_OK;
    int closed = world->file_close(world->self, file);
    *ret_count = count;
    return rc != PST_OK ? rc : closed;
}

static int text_read(struct tsm *tsm, const char *attribute, char *text, size_t text_bytes)
{
    size_t count = 0;
    int rc = attribute_read(tsm, attribute, (uint8_t *)text, text_bytes, &count);
    while (rc == PST_OK && count != 0 && text[count - 1] == '\n')
        count--;
    if (rc == PST_OK)
        text[count] = '\0';
    return rc;
}

static int generation_read(struct tsm *tsm, uint64_t *ret_generation)
{
    char text[NUMBER_BYTES_MAX];
    int rc = text_read(tsm, "generation", text, sizeof text);
    return rc != PST_OK ? rc : pst_parse_u64(text, ret_generation) == PST_OK ? PST_OK : PST_EDATA;
}

static int blob_read(struct tsm *tsm, const char *attribute, uint8_t **ret_bytes, size_t *ret_count)
{
    uint8_t *bytes = pst_malloc(PST_TSM_BLOB_BYTES_MAX);
    size_t count = 0;
    int rc = bytes != NULL ? attribute_read(tsm, attribute, bytes, PST_TSM_BLOB_BYTES_MAX, &count) : PST_ENOMEM;
    if (rc != PST_OK || count == 0) {
        pst_free(bytes);
        return rc;
    }
    *ret_bytes = bytes;
    *ret_count = count;
    return PST_OK;
}

static int request(struct tsm *tsm, const uint8_t inblob[PST_TSM_INBLOB_BYTES_MAX], struct pst_tsm_report *report)
{
    uint64_t before = 0, after = 0;
    int rc = attribute_write(tsm, "inblob", inblob, PST_TSM_INBLOB_BYTES_MAX);
    if (rc == PST_OK)
        rc = generation_read(tsm, &before);
    if (rc == PST_OK)
        rc = blob_read(tsm, "outblob", &report->evidence, &report->evidence_bytes);
    if (rc == PST_OK)
        rc = text_read(tsm, "provider", report->provider, sizeof report->provider);
    if (rc == PST_OK) {
        rc = blob_read(tsm, "auxblob", &report->certificates, &report->certificate_bytes);
        rc = rc == PST_ENOENT ? PST_OK : rc; /* not every provider has one */
    }
    if (rc == PST_OK)
        rc = generation_read(tsm, &after);
    return rc != PST_OK ? rc : before == after && report->evidence != NULL ? PST_OK : PST_EDATA;
}

int pst_tsm_report(struct pst_world *world, const char *directory, const uint8_t *nonce, size_t nonce_bytes,
                   struct pst_tsm_report *ret_report, char ret_path[PST_TSM_PATH_BYTES])
{
    struct tsm tsm = {.world = world, .directory = directory, .path = ret_path};
    uint8_t inblob[PST_TSM_INBLOB_BYTES_MAX] = {0};
    uint64_t id[2];
    *ret_report = (struct pst_tsm_report){0};
    ret_path[0] = '\0';
    if (nonce_bytes > sizeof inblob)
        return PST_EINVAL;
    memcpy(inblob, nonce, nonce_bytes);
    int rc = name_make(&tsm);
    if (rc != PST_OK)
        return rc;
    if (snprintf(ret_path, PST_TSM_PATH_BYTES, "%s", directory) >= PST_TSM_PATH_BYTES)
        return PST_EINVAL;
    if (world->look(world->self, directory, id) != 2) { /* mkdir() would make it, where it means nothing */
        pst_system_error_say("there is no such folder: this kernel, or this machine, gives no evidence");
        return PST_ENOENT;
    }
    if (!path_set(&tsm, ""))
        return PST_EINVAL;
    rc = world->mkdir(world->self, ret_path);
    if (rc != PST_OK)
        return rc;
    rc = request(&tsm, inblob, ret_report);
    char folder[PST_TSM_PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/penstock-%s", directory, tsm.name);
    int removed = world->rmdir(world->self, folder);
    if (rc == PST_OK && removed != PST_OK) {
        (void)path_set(&tsm, "");
        rc = removed;
    }
    if (rc != PST_OK)
        pst_tsm_report_fini(ret_report);
    return rc;
}

void pst_tsm_report_fini(struct pst_tsm_report *report)
{
    pst_free(report->evidence);
    pst_free(report->certificates);
    *report = (struct pst_tsm_report){0};
}
