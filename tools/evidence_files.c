/* tools/evidence_files.c - see evidence_files.h. */
#include "tools/evidence_files.h"

#include "tools/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 20, POLICY_BYTES_MAX = 1 << 20 };

/* Up to FILE_BYTES_MAX and one byte more; pipes are waited for. False: errno. */
static bool bytes_read(const char *path, uint8_t *bytes, size_t *ret_count)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t count = 0;
    ssize_t got = fd >= 0 ? 1 : -1;
    while (got > 0 && count <= FILE_BYTES_MAX) {
        do
            got = read(fd, bytes + count, FILE_BYTES_MAX + 1 - count);
        while (got < 0 && errno == EINTR);
        count += got > 0 ? (size_t)got : 0;
    }
    int reason = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = reason;
    *ret_count = count;
    return got >= 0;
}

int pst_evidence_file_read(struct pst_evidence_files *files, const char *path, struct pst_bytes *ret_bytes)
{
    const struct pst_call *call = files->call;
    if (files->count == PST_EVIDENCE_FILES_MAX) {
        pst_complain(call, PST_EXIT_USAGE, "%d files are the most", PST_EVIDENCE_FILES_MAX);
        return PST_EXIT_USAGE;
    }
    uint8_t *bytes = pst_malloc(FILE_BYTES_MAX + 1);
    size_t count = 0;
    int exit_code = PST_EXIT_OK;
    if (bytes == NULL) {
        exit_code = PST_EXIT_FAILED;
        pst_complain(call, exit_code, "%s", pst_error_sentence(PST_ENOMEM));
    } else if (!bytes_read(path, bytes, &count)) {
        exit_code = errno == EACCES || errno == EPERM ? PST_EXIT_REFUSED : PST_EXIT_IO;
        pst_complain(call, exit_code, "`%s` cannot be read: %s", path, strerror(errno));
    } else if (count > FILE_BYTES_MAX) {
        exit_code = PST_EXIT_DATA;
        pst_complain(call, exit_code, "`%s` has more than 1 MiB: it is nothing that belongs to evidence", path);
    }
    if (exit_code != PST_EXIT_OK) {
        pst_free(bytes);
        return exit_code;
    }
    *ret_bytes = files->files[files->count++] = (struct pst_bytes){bytes, count, path};
    return PST_EXIT_OK;
}

/* All files of one flag; they stand side by side in `files`. */
static int each_read(struct pst_evidence_files *files, const char *flag, const struct pst_bytes **ret_files,
                     uint32_t *ret_count)
{
    const struct pst_call *call = files->call;
    *ret_files = files->files + files->count;
    for (uint32_t i = 0; i < call->flag_count; i++) {
        struct pst_bytes bytes;
        if (strcmp(call->flags[i].flag->name, flag) != 0)
            continue;
        int exit_code = pst_evidence_file_read(files, call->flags[i].value, &bytes);
        if (exit_code != PST_EXIT_OK)
            return exit_code;
        ++*ret_count;
    }
    return PST_EXIT_OK;
}

int pst_evidence_files_read(struct pst_evidence_files *files, struct pst_evidence_request *request)
{
    const char *collateral = pst_call_flag(files->call, "collateral");
    int exit_code = each_read(files, "certificates", &request->certificates, &request->certificate_count);
    if (exit_code == PST_EXIT_OK)
        exit_code = each_read(files, "roots", &request->roots, &request->root_count);
    if (exit_code == PST_EXIT_OK)
        exit_code = each_read(files, "crl", &request->crls, &request->crl_count);
    if (exit_code == PST_EXIT_OK && collateral != NULL)
        exit_code = pst_evidence_file_read(files, collateral, &request->collateral);
    return exit_code;
}

int pst_evidence_files_take(struct pst_evidence_files *files, struct pst_evidence_request *request)
{
    struct pst_evidence_report report;
    int exit_code = pst_evidence_files_read(files, request);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    int rc = pst_evidence_request_check(request, &report);
    exit_code = pst_exit_of_error(rc);
    if (rc != PST_OK)
        pst_complain(files->call, exit_code, "%s", rc == PST_EDATA ? report.why : pst_error_sentence(rc));
    pst_evidence_report_fini(&report);
    return exit_code;
}

int pst_evidence_policy_read(const struct pst_call *call, const char *flag, struct pst_policy_file *policy)
{
    const char *path = pst_call_flag(call, flag);
    struct pst_diagnostics d;
    struct pst_text shown = {0};
    char *bytes = pst_malloc(POLICY_BYTES_MAX + 1);
    size_t count = 0;
    FILE *file = path != NULL ? fopen(path, "rbe") : NULL;
    if (bytes != NULL && file != NULL)
        count = fread(bytes, 1, POLICY_BYTES_MAX + 1, file);
    bool good = bytes != NULL && file != NULL && ferror(file) == 0 && count <= POLICY_BYTES_MAX;
    if (file != NULL)
        (void)fclose(file);
    if (!good) {
        pst_complain(call, PST_EXIT_IO, "the policy `%s` cannot be read", path);
        pst_free(bytes);
        return PST_EXIT_IO;
    }
    pst_diagnostics_init(&d);
    int rc = pst_policy_parse(path, bytes, count, &d, policy);
    if (rc == PST_EGRAPH)
        (void)pst_diagnostics_print(&d, call->colour_err, &shown);
    if (shown.bytes != NULL)
        (void)fwrite(shown.bytes, 1, shown.count, stderr);
    if (rc == PST_EGRAPH)
        pst_complain(call, PST_EXIT_CONFIG, "the policy %s has %u error%s", path, d.item_count + d.left_out_count,
                     d.item_count + d.left_out_count == 1 ? "" : "s");
    else if (rc != PST_OK)
        pst_complain(call, pst_exit_of_error(rc), "%s", pst_error_sentence(rc));
    pst_text_fini(&shown);
    pst_diagnostics_fini(&d);
    pst_free(bytes);
    return pst_exit_of_error(rc);
}

void pst_evidence_files_fini(struct pst_evidence_files *files)
{
    for (uint32_t i = 0; i < files->count; i++)
        pst_free((void *)(uintptr_t)files->files[i].bytes);
    files->count = 0;
}
