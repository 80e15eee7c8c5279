/* test_tsm.c - evidence of this machine: a world that serves the kernel's folder as its ABI says it does. */
#include "tests/attestation/made.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A folder of configfs: attributes are there as soon as it is, and reading `outblob` signs what `inblob` holds. */
struct kernel {
    struct made_snp *snp;
    char folder[PST_TSM_PATH_BYTES]; /* "": none */
    uint64_t generation, calls, fail_at, interfere_at;
    bool no_certificates, empty;
};
struct pst_file {
    struct kernel *kernel;
    char text[4096];
    size_t count, at;
    bool input;
};

static bool fails(struct kernel *kernel)
{
    kernel->calls++;
    if (kernel->calls == kernel->interfere_at)
        kernel->generation++;
    if (kernel->calls != kernel->fail_at)
        return false;
    pst_system_error_set(EIO);
    return true;
}

static int serve_random(void *self, void *bytes, size_t byte_count)
{
    memset(bytes, 0xa5, byte_count);
    return fails(self) ? PST_EIO : PST_OK;
}

static int serve_look(void *self, const char *path, uint64_t ret_id[2])
{
    (void)self, (void)ret_id;
    return strcmp(path, "/tsm") == 0 ? 2 : 0;
}

static int serve_mkdir(void *self, const char *path)
{
    struct kernel *kernel = self;
    if (fails(kernel))
        return PST_EREFUSED;
    assert_string_equal(kernel->folder, "");
    (void)snprintf(kernel->folder, sizeof kernel->folder, "%s", path);
    return PST_OK;
}

static int serve_rmdir(void *self, const char *path)
{
    struct kernel *kernel = self;
    assert_string_equal(kernel->folder, path);
    kernel->folder[0] = '\0';
    return fails(kernel) ? PST_EIO : PST_OK;
}

static void table_of(const struct made_snp *snp, struct pst_file *file)
{
    X509 *const certificates[] = {snp->leaf, snp->ask, snp->ark};
    size_t at = 4 * 24;
    memset(file->text, 0, at);
    for (size_t i = 0; i < 3; i++) {
        unsigned char *der = NULL;
        int count = i2d_X509(certificates[i], &der);
        uint8_t *entry = (uint8_t *)file->text + 24 * i;
        memset(entry, 0x60 + (int)i, 16);
        for (int k = 0; k < 4; k++) {
            entry[16 + k] = (uint8_t)(at >> (8 * k));
            entry[20 + k] = (uint8_t)((size_t)count >> (8 * k));
        }
        assert_true(at + (size_t)count <= sizeof file->text);
        memcpy(file->text + at, der, (size_t)count);
        at += (size_t)count;
        OPENSSL_free(der);
    }
    file->count = at;
}

static int serve_open(void *self, const char *path, pst_open_mode mode, struct pst_file **ret_file)
{
    struct kernel *kernel = self;
    size_t folder_bytes = strlen(kernel->folder);
    assert_true(folder_bytes != 0 && strncmp(path, kernel->folder, folder_bytes) == 0);
    const char *name = path + folder_bytes + 1;
    if (fails(kernel))
        return PST_EIO;
    if (strcmp(name, "auxblob") == 0 && kernel->no_certificates)
        return PST_ENOENT;
    struct pst_file *file = calloc(1, sizeof *file);
    file->kernel = kernel;
    file->input = strcmp(name, "inblob") == 0;
    assert_int_equal(mode, file->input ? PST_OPEN_CREATE : PST_OPEN_READ);
    if (strcmp(name, "generation") == 0) {
        file->count = (size_t)snprintf(file->text, sizeof file->text, "%llu\n", (unsigned long long)kernel->generation);
    } else if (strcmp(name, "provider") == 0) {
        file->count = (size_t)snprintf(file->text, sizeof file->text, "sev_guest\n");
    } else if (strcmp(name, "outblob") == 0 && !kernel->empty) {
        made_snp_sign(kernel->snp);
        memcpy(file->text, kernel->snp->report, PST_SNP_REPORT_BYTES);
        file->count = PST_SNP_REPORT_BYTES;
    } else if (strcmp(name, "auxblob") == 0) {
        table_of(kernel->snp, file);
    }
    *ret_file = file;
    return PST_OK;
}

static int serve_write(void *self, struct pst_file *file, const void *bytes, size_t byte_count)
{
    struct kernel *kernel = self;
    assert_true(file->input);
    assert_int_equal(byte_count, 64);
    memcpy(kernel->snp->report + 0x050, bytes, 64);
    kernel->generation++;
    return fails(kernel) ? PST_EIO : PST_OK;
}

static int64_t serve_read(void *self, struct pst_file *file, void *bytes, size_t byte_count)
{
    if (fails(self))
        return PST_EIO;
    size_t left = file->count - file->at, count = left < byte_count ? left : byte_count;
    count = count > 1000 ? 1000 : count; /* in pieces */
    memcpy(bytes, file->text + file->at, count);
    file->at += count;
    return (int64_t)count;
}

static int serve_close(void *self, struct pst_file *file)
{
    free(file);
    return fails(self) ? PST_EIO : PST_OK;
}

static struct made_snp snp;
static struct kernel kernel;
static struct pst_world world;
static uint8_t nonce[32];
static struct pst_tsm_report report;
static char path[PST_TSM_PATH_BYTES];

static int begin(void **state)
{
    (void)state;
    made_snp_init(&snp, "Milan", false);
    kernel = (struct kernel){.snp = &snp, .generation = 41};
    world = (struct pst_world){.self = &kernel,
                               .random = serve_random,
                               .look = serve_look,
                               .mkdir = serve_mkdir,
                               .rmdir = serve_rmdir,
                               .file_open = serve_open,
                               .file_read = serve_read,
                               .file_write = serve_write,
                               .file_close = serve_close};
    memset(nonce, 0x99, sizeof nonce);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    made_snp_fini(&snp);
    return 0;
}

static void what_the_kernel_gives_is_verified_with_the_nonce(void **state)
{
    (void)state;
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_OK);
    assert_string_equal(report.provider, "sev_guest");
    assert_string_equal(kernel.folder, "");
    struct pst_bytes table = {report.certificates, report.certificate_bytes, "auxblob"};
    struct pst_evidence_request request = snp.request;
    request.evidence = (struct pst_bytes){report.evidence, report.evidence_bytes, "outblob"};
    request.certificates = &table;
    request.nonce = nonce;
    request.nonce_bytes = sizeof nonce;
    assert_string_equal(made_verdict(&request), "");
    nonce[0] ^= 1;
    assert_string_equal(made_verdict(&request), "report.report_data");
    report.certificates[16] ^= 0xff; /* an entry that leads out of the table, or to something else */
    assert_string_equal(made_verdict(&request), "no evidence");
    pst_tsm_report_fini(&report);
}

static void the_kernel_signs_for_a_worker_and_both_are_verified(void **state)
{
    (void)state;
    static const uint8_t node_seed[32] = {4};
    struct pst_process_evidence worker = {.capabilities = PST_EXEC_MEASURED, .measurement = {7}};
    struct pst_attestation_policy policy;
    struct pst_digest node = {.byte_count = 32};
    uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES + PST_MACHINE_EVIDENCE_BYTES_MAX];
    size_t count = 0;
    memcpy(worker.nonce, nonce, sizeof nonce);
    assert_int_equal(pst_process_evidence_sign(&worker, node_seed, bytes), PST_OK);
    uint8_t *behind = bytes + PST_PROCESS_EVIDENCE_BYTES;
    const size_t room = sizeof bytes - PST_PROCESS_EVIDENCE_BYTES;
    assert_int_equal(pst_machine_evidence_ask(&world, "/tsm", bytes, behind, room, &count, path), PST_OK);
    pst_attestation_policy_init(&policy);
    assert_int_equal(pst_process_node_key(node_seed, node.bytes), PST_OK);
    policy.node_keys = (struct pst_digests){&node, 1};
    struct pst_evidence_request request = snp.request;
    request.evidence = (struct pst_bytes){bytes, PST_PROCESS_EVIDENCE_BYTES + count, "worker.evidence"};
    request.certificate_count = 0; /* the kernel has given them along */
    request.policy = &policy;
    request.nonce = nonce;
    request.nonce_bytes = sizeof nonce;
    assert_string_equal(made_verdict(&request), "");
    assert_int_equal(pst_machine_evidence_ask(&world, "/none", bytes, behind, room, &count, path), PST_ENOENT);
    assert_string_equal(path, "/none");
    assert_int_equal(pst_machine_evidence_ask(&world, "/tsm", bytes, behind, count - 1, &count, path), PST_EDATA);
    kernel.empty = true;
    assert_int_equal(pst_machine_evidence_ask(&world, "/tsm", bytes, behind, room, &count, path), PST_EDATA);
}

static void a_provider_without_certificates_will_do(void **state)
{
    (void)state;
    kernel.no_certificates = true;
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, 64 - 32, &report, path), PST_OK);
    assert_null(report.certificates);
    pst_tsm_report_fini(&report);
}

static void a_request_that_somebody_else_has_changed_is_given_up(void **state)
{
    (void)state;
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_OK);
    pst_tsm_report_fini(&report);
    uint64_t calls = kernel.calls, noticed = 0;
    for (uint64_t n = 1; n <= calls; n++) {
        kernel.calls = 0;
        kernel.interfere_at = n;
        int rc = pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path);
        assert_true(rc == PST_OK || rc == PST_EDATA);
        noticed += rc == PST_EDATA;
        pst_tsm_report_fini(&report);
    }
    assert_true(noticed > 5); /* from the first reading of the generation to the last */
}

static void each_call_may_fail_and_the_folder_is_gone(void **state)
{
    (void)state;
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_OK);
    pst_tsm_report_fini(&report);
    uint64_t calls = kernel.calls;
    assert_true(calls > 15);
    for (uint64_t n = 1; n <= calls; n++) {
        kernel.calls = 0;
        kernel.fail_at = n;
        int rc = pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path);
        assert_true(rc == PST_EIO || rc == PST_EREFUSED);
        assert_string_equal(kernel.folder, "");
        assert_null(report.evidence);
        kernel.folder[0] = '\0';
    }
    kernel.fail_at = 0;
    uint64_t before = pst_malloc_count();
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_OK);
    pst_tsm_report_fini(&report);
    uint64_t count = pst_malloc_count() - before;
    for (uint64_t n = 1; n <= count; n++) {
        pst_malloc_fail_at(n);
        assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_ENOMEM);
        assert_string_equal(kernel.folder, "");
    }
    pst_malloc_fail_at(0);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    uint8_t long_nonce[65] = {0};
    assert_int_equal(pst_tsm_report(&world, "/tsm", long_nonce, sizeof long_nonce, &report, path), PST_EINVAL);
    assert_int_equal(pst_tsm_report(&world, "/none", nonce, sizeof nonce, &report, path), PST_ENOENT);
    assert_string_equal(path, "/none");
    kernel.empty = true;
    assert_int_equal(pst_tsm_report(&world, "/tsm", nonce, sizeof nonce, &report, path), PST_EDATA);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        EACH(what_the_kernel_gives_is_verified_with_the_nonce),
        EACH(the_kernel_signs_for_a_worker_and_both_are_verified),
        EACH(a_provider_without_certificates_will_do),
        EACH(a_request_that_somebody_else_has_changed_is_given_up),
        EACH(each_call_may_fail_and_the_folder_is_gone),
        EACH(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
