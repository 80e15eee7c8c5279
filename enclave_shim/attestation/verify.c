/* verify.c - what the bytes are, and the way from them to a verdict. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

/* ---- what the request brings along ---- */
static void set_read(struct pst_checking *c, const struct pst_bytes *files, uint32_t file_count,
                     STACK_OF(X509) * certificates)
{
    for (uint32_t i = 0; i < file_count && c->rc == PST_OK; i++) {
        const char *why = NULL;
        int rc = pst_certificates_parse(files[i].bytes, files[i].count, certificates, c->crls, &why);
        if (rc == PST_EDATA)
            pst_checking_fault(c, files[i].name, why);
        else if (rc != PST_OK)
            c->rc = rc;
    }
}

static void certificates_read(struct pst_checking *c)
{
    const struct pst_evidence_request *request = c->request;
    c->certificates = sk_X509_new_null();
    c->roots = sk_X509_new_null();
    c->crls = sk_X509_CRL_new_null();
    if (c->certificates == NULL || c->roots == NULL || c->crls == NULL) {
        c->rc = PST_ENOMEM;
        return;
    }
    set_read(c, request->certificates, request->certificate_count, c->certificates);
    set_read(c, request->roots, request->root_count, c->roots);
    set_read(c, request->crls, request->crl_count, c->certificates);
    if (c->rc == PST_OK && request->root_count != 0 && sk_X509_num(c->roots) == 0)
        pst_checking_fault(c, request->roots[0].name, "holds no root certificate");
}

/* ---- what kind of evidence it is ---- */
static bool kind_is(struct pst_checking *c, pst_backend kind)
{
    const struct pst_evidence_request *request = c->request;
    if (!request->kind_given || request->kind == kind)
        return true;
    pst_checking_fault(c, request->evidence.name,
                       pst_checking_printf(c, "is %s (%s), not %s (%s)", pst_backend_sentence(kind),
                                           pst_backend_names[kind], pst_backend_sentence(request->kind),
                                           pst_backend_names[request->kind]));
    return false;
}

/* The first rows: what it is, and whether that may be. */
static void backend_check(struct pst_checking *c, pst_backend backend)
{
    const char *expected = "";
    c->report->backend = backend;
    for (uint32_t i = 0; i < PST_BACKEND_COUNT; i++)
        if ((c->policy->backends >> i & 1) != 0)
            expected = pst_checking_printf(c, "%s%s%s", expected, *expected == '\0' ? "" : ", ", pst_backend_names[i]);
    pst_checking_that(c, "backend", (c->policy->backends >> backend & 1) != 0, expected, pst_backend_names[backend]);
    if (!pst_backend_hardware(backend))
        pst_checking_that(c, "hardware", c->request->allow_software,
                          c->request->allow_software ? "hardware or software" : "hardware",
                          backend == PST_BACKEND_TPM
                              ? "software with a TPM: which machine, and what it booted, nothing of a worker's memory"
                              : "software: nothing of it comes from the processor");
}

static void report_verify(struct pst_checking *c, const uint8_t *bytes)
{
    if (!kind_is(c, PST_BACKEND_SNP))
        return;
    backend_check(c, PST_BACKEND_SNP);
    pst_snp_verify(c, bytes, c->certificates, true);
}

static void quote_verify(struct pst_checking *c, const uint8_t *bytes, size_t byte_count)
{
    struct pst_quote quote;
    const char *why = NULL;
    if (pst_quote_parse(bytes, byte_count, &quote, &why) != PST_OK) {
        pst_checking_fault(c, c->request->evidence.name, why);
        return;
    }
    const pst_backend backend = quote.tdx ? PST_BACKEND_TDX : PST_BACKEND_SGX;
    if (!kind_is(c, backend))
        return;
    backend_check(c, backend);
    pst_quote_verify(c, &quote, true);
    if (quote.left_bytes != 0)
        pst_checking_add(c, "quote.left", PST_CHECK_OPEN, "-",
                         pst_checking_printf(c, "%zu bytes behind the quote, signed by nobody", quote.left_bytes));
}

/* ---- what a worker shows ---- */
struct worker_evidence { /* borrows from the bytes */
    struct pst_process_evidence process;
    bool on_machine, quoted; /* what of the following there is */
    struct pst_machine_evidence machine;
    struct pst_quote quote; /* of the machine, where that is TDX's */
    struct pst_tpm_evidence tpm;
    pst_backend backend;
};

static int machine_parse(const uint8_t *bytes, size_t byte_count, struct worker_evidence *worker, size_t *ret_taken,
                         const char **ret_why)
{
    *ret_taken = 0;
    worker->on_machine = pst_machine_evidence_begins(bytes, byte_count);
    if (!worker->on_machine)
        return PST_OK;
    int rc = pst_machine_evidence_parse(bytes, byte_count, &worker->machine, ret_taken, ret_why);
    return rc == PST_OK ? pst_machine_kind(&worker->machine, &worker->quote, &worker->backend, ret_why) : rc;
}

/* 256 bytes; behind them the machine's, and behind that a quote of the node's TPM, or either, or nothing. */
static int worker_parse(const uint8_t *bytes, size_t byte_count, struct worker_evidence *worker, const char **ret_why)
{
    size_t at = byte_count < PST_PROCESS_EVIDENCE_BYTES ? byte_count : PST_PROCESS_EVIDENCE_BYTES, taken = 0;
    *worker = (struct worker_evidence){.backend = PST_BACKEND_PROCESS};
    int rc = pst_process_evidence_parse(bytes, at, &worker->process, ret_why);
    if (rc == PST_OK)
        rc = machine_parse(bytes + at, byte_count - at, worker, &taken, ret_why);
    at += taken;
    worker->quoted = at < byte_count;
    if (rc == PST_OK && worker->quoted)
        rc = pst_tpm_evidence_parse(bytes + at, byte_count - at, &worker->tpm, ret_why);
    return rc;
}

static void process_verify(struct pst_checking *c, const uint8_t *bytes, size_t byte_count)
{
    struct worker_evidence worker;
    const char *why = NULL;
    if (worker_parse(bytes, byte_count, &worker, &why) != PST_OK) {
        pst_checking_fault(c, c->request->evidence.name, why);
        return;
    }
    if (!kind_is(c, worker.backend))
        return;
    backend_check(c, worker.backend);
    bool machine_good = true;
    if (worker.on_machine) {
        pst_machine_verify(c, &worker.machine, worker.backend == PST_BACKEND_PROCESS_TDX ? &worker.quote : NULL, bytes);
        machine_good = c->root_good && c->signatures_good != 0;
        c->signatures_good = 0;
    }
    if (c->rc != PST_OK)
        return;
    pst_process_verify(c, bytes, &worker.process);
    c->root_good &= machine_good;
    pst_tpm_verify(c, worker.quoted ? &worker.tpm : NULL, &worker.process);
}

static void tpm_verify(struct pst_checking *c, const uint8_t *bytes, size_t byte_count)
{
    struct pst_tpm_evidence evidence;
    const char *why = NULL;
    if (pst_tpm_evidence_parse(bytes, byte_count, &evidence, &why) != PST_OK) {
        pst_checking_fault(c, c->request->evidence.name, why);
        return;
    }
    if (!kind_is(c, PST_BACKEND_TPM))
        return;
    backend_check(c, PST_BACKEND_TPM);
    pst_tpm_verify(c, &evidence, NULL);
}

static void az_verify(struct pst_checking *c, const struct pst_az_evidence *evidence)
{
    struct pst_hcl hcl;
    const char *why = NULL;
    int rc = pst_hcl_parse(&c->report->arena, evidence->hcl.bytes, evidence->hcl.count, &hcl, &why);
    if (rc == PST_EDATA)
        pst_checking_fault(c, c->request->evidence.name, why);
    else if (rc != PST_OK)
        c->rc = rc;
    const pst_backend backend = rc == PST_OK && hcl.tdx ? PST_BACKEND_AZ_TDX_VTPM : PST_BACKEND_AZ_SNP_VTPM;
    if (rc != PST_OK || !kind_is(c, backend))
        return;
    backend_check(c, backend);
    pst_az_verify(c, evidence, &hcl);
}

static void json_verify(struct pst_checking *c, const uint8_t *bytes, size_t byte_count)
{
    struct pst_az_evidence evidence;
    const char *why = NULL;
    int rc = pst_az_evidence_parse(&c->report->arena, bytes, byte_count, &evidence, &why);
    if (rc == PST_OK)
        az_verify(c, &evidence);
    else if (rc == PST_EDATA)
        pst_checking_fault(c, c->request->evidence.name, why);
    else
        c->rc = rc;
}

/* ---- which it is ---- */
static bool begins(const uint8_t *bytes, size_t byte_count, const char *with)
{
    return byte_count >= strlen(with) && memcmp(bytes, with, strlen(with)) == 0;
}

static bool space_is(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

static void bytes_verify(struct pst_checking *c, const uint8_t *bytes, size_t byte_count)
{
    size_t first = 0;
    while (first + 1 < byte_count && space_is(bytes[first]))
        first++;
    const bool quote = byte_count >= 2 && bytes[0] >= 3 && bytes[0] <= 5 && bytes[1] == 0;
    if (byte_count == PST_SNP_REPORT_BYTES)
        report_verify(c, bytes);
    else if (begins(bytes, byte_count, "HCLA"))
        az_verify(c, &(struct pst_az_evidence){.hcl = {bytes, byte_count, NULL}});
    else if (begins(bytes, byte_count, "pstproc"))
        process_verify(c, bytes, byte_count);
    else if (begins(bytes, byte_count, "psttpmq"))
        tpm_verify(c, bytes, byte_count);
    else if (first < byte_count && bytes[first] == '{')
        json_verify(c, bytes, byte_count);
    else if (quote)
        quote_verify(c, bytes, byte_count);
    else
        pst_checking_fault(
            c, c->request->evidence.name,
            "is no evidence that is known: an SEV-SNP report (1184 bytes), a quote of TDX or SGX, an HCL "
            "report, Trustee's JSON of one, evidence of `process` or a quote of a node's TPM, as they are or in "
            "hexadecimal digits");
}

/* Evidence is often handed round as text. */
static void evidence_verify(struct pst_checking *c)
{
    const uint8_t *bytes = c->request->evidence.bytes;
    size_t byte_count = c->request->evidence.count;
    while (byte_count != 0 && space_is(bytes[byte_count - 1]))
        byte_count--;
    size_t prefix = begins(bytes, byte_count, "0x") ? 2 : 0;
    uint8_t *decoded = pst_checking_alloc(c, byte_count / 2 + 1);
    if (decoded == NULL)
        return;
    if (byte_count > prefix && pst_hex_parse((const char *)bytes + prefix, byte_count - prefix, decoded))
        bytes_verify(c, decoded, (byte_count - prefix) / 2);
    else
        bytes_verify(c, bytes, c->request->evidence.count);
}

/* ---- the verdict ---- */
static void verdict(struct pst_checking *c)
{
    /* A1: where a verifier has forgotten something, it is not for the better. */
    bool complete = c->signatures_good != 0 && c->root_good;
    c->report->accepted = complete && pst_evidence_report_failed(c->report) == NULL;
    PST_ASSERT(c->rc != PST_OK || complete || pst_evidence_report_failed(c->report) != NULL);
}

static void checking_end(struct pst_checking *c)
{
    sk_X509_pop_free(c->certificates, X509_free);
    sk_X509_pop_free(c->roots, X509_free);
    sk_X509_CRL_pop_free(c->crls, X509_CRL_free);
}

int pst_evidence_request_check(const struct pst_evidence_request *request, struct pst_evidence_report *ret_report)
{
    struct pst_collateral collateral;
    const char *why = NULL;
    *ret_report = (struct pst_evidence_report){0};
    pst_arena_init(&ret_report->arena);
    struct pst_checking c = {.request = request, .report = ret_report};
    certificates_read(&c);
    if (c.rc == PST_OK && request->collateral.bytes != NULL) {
        int rc = pst_collateral_parse(&ret_report->arena, request->collateral.bytes, request->collateral.count,
                                      &collateral, &why);
        if (rc == PST_EDATA)
            pst_checking_fault(&c, request->collateral.name, why);
        else
            c.rc = rc;
    }
    checking_end(&c);
    return c.rc;
}

int pst_evidence_verify(const struct pst_evidence_request *request, struct pst_evidence_report *ret_report)
{
    struct pst_attestation_policy standard;
    pst_attestation_policy_init(&standard);
    *ret_report = (struct pst_evidence_report){0};
    pst_arena_init(&ret_report->arena);
    struct pst_checking c = {
        .request = request, .policy = request->policy != NULL ? request->policy : &standard, .report = ret_report};
    certificates_read(&c);
    if (c.rc == PST_OK)
        evidence_verify(&c);
    if (c.rc == PST_OK)
        verdict(&c);
    checking_end(&c);
    return c.rc;
}
