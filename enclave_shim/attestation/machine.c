/* machine.c - hardware's evidence of a node's machine, behind a worker's report: made, taken apart, and against a policy (evidence.h). The
 * node's key is software's, and could be anywhere; that the hardware has signed the hash of what it says binds that to one machine. */
#include "enclave_shim/attestation/inside.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

static const uint8_t magic[8] = "pstmach";

/* ---- making ---- */
static void put_u32(uint8_t *to, uint32_t value)
{
    for (uint32_t i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

int pst_machine_evidence_put(const struct pst_machine_evidence *evidence, uint8_t *ret_bytes, size_t room,
                             size_t *ret_count)
{
    const struct pst_bytes *report = &evidence->report, *along = &evidence->certificates;
    if (report->count == 0 || report->count > PST_MACHINE_PART_BYTES_MAX || along->count > PST_MACHINE_PART_BYTES_MAX)
        return PST_EINVAL;
    const size_t count = PST_MACHINE_HEAD_BYTES + report->count + along->count;
    if (count > room)
        return PST_EFULL;
    memcpy(ret_bytes, magic, sizeof magic);
    put_u32(ret_bytes + 8, PST_MACHINE_VERSION);
    put_u32(ret_bytes + 12, 0);
    put_u32(ret_bytes + 16, (uint32_t)report->count);
    put_u32(ret_bytes + 20, (uint32_t)along->count);
    memcpy(ret_bytes + PST_MACHINE_HEAD_BYTES, report->bytes, report->count);
    if (along->count != 0)
        memcpy(ret_bytes + PST_MACHINE_HEAD_BYTES + report->count, along->bytes, along->count);
    *ret_count = count;
    return PST_OK;
}

int pst_machine_report_data(const uint8_t process[PST_PROCESS_EVIDENCE_BYTES], uint8_t ret_data[64])
{
    enum { LABEL_BYTES = sizeof PST_MACHINE_LABEL - 1 };
    uint8_t hashed[LABEL_BYTES + PST_PROCESS_EVIDENCE_BYTES];
    memcpy(hashed, PST_MACHINE_LABEL, LABEL_BYTES);
    memcpy(hashed + LABEL_BYTES, process, PST_PROCESS_EVIDENCE_BYTES);
    return EVP_Digest(hashed, sizeof hashed, ret_data, NULL, EVP_sha512(), NULL) == 1 ? PST_OK : PST_ENOMEM;
}

int pst_machine_evidence_ask(struct pst_world *world, const char *directory,
                             const uint8_t process[PST_PROCESS_EVIDENCE_BYTES], uint8_t *ret_bytes, size_t room,
                             size_t *ret_count, char ret_path[PST_TSM_PATH_BYTES])
{
    struct pst_tsm_report report;
    uint8_t data[64];
    ret_path[0] = '\0';
    int rc = pst_machine_report_data(process, data);
    if (rc == PST_OK)
        rc = pst_tsm_report(world, directory, data, sizeof data, &report, ret_path);
    if (rc != PST_OK)
        return rc;
    const struct pst_machine_evidence evidence = {{report.evidence, report.evidence_bytes, NULL},
                                                  {report.certificates, report.certificate_bytes, NULL}};
    rc = pst_machine_evidence_put(&evidence, ret_bytes, room, ret_count);
    pst_tsm_report_fini(&report);
    return rc == PST_OK ? PST_OK : PST_EDATA; /* of all that the kernel gives one part is too large */
}

/* ---- taking apart ---- */
bool pst_machine_evidence_begins(const uint8_t *bytes, size_t byte_count)
{
    return byte_count >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

int pst_machine_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_machine_evidence *ret_evidence,
                               size_t *ret_taken, const char **ret_why)
{
    if (byte_count < PST_MACHINE_HEAD_BYTES || !pst_machine_evidence_begins(bytes, byte_count)) {
        *ret_why = "has no hardware's evidence of a machine where it should begin, with `pstmach`";
        return PST_EDATA;
    }
    const uint64_t version = pst_le(bytes + 8, 4), zero = pst_le(bytes + 12, 4), report_bytes = pst_le(bytes + 16, 4),
                   along_bytes = pst_le(bytes + 20, 4);
    if (version != PST_MACHINE_VERSION || zero != 0) {
        *ret_why = "has hardware's evidence of a machine of a version that this penstock does not know";
        return PST_EDATA;
    }
    if (report_bytes == 0 || report_bytes > PST_MACHINE_PART_BYTES_MAX || along_bytes > PST_MACHINE_PART_BYTES_MAX ||
        report_bytes + along_bytes > byte_count - PST_MACHINE_HEAD_BYTES) {
        *ret_why = "has hardware's evidence of a machine that is cut short, empty or too large";
        return PST_EDATA;
    }
    const uint8_t *report = bytes + PST_MACHINE_HEAD_BYTES;
    *ret_evidence = (struct pst_machine_evidence){{report, (size_t)report_bytes, NULL},
                                                  {report + report_bytes, (size_t)along_bytes, NULL}};
    *ret_taken = PST_MACHINE_HEAD_BYTES + (size_t)(report_bytes + along_bytes);
    return PST_OK;
}

int pst_machine_kind(const struct pst_machine_evidence *evidence, struct pst_quote *ret_quote, pst_backend *ret_backend,
                     const char **ret_why)
{
    const char *why;
    *ret_backend = PST_BACKEND_PROCESS_SNP;
    if (evidence->report.count == PST_SNP_REPORT_BYTES)
        return PST_OK;
    *ret_backend = PST_BACKEND_PROCESS_TDX;
    if (pst_quote_parse(evidence->report.bytes, evidence->report.count, ret_quote, &why) == PST_OK && ret_quote->tdx)
        return PST_OK;
    *ret_why = "has hardware's evidence of a machine that is neither a report of SEV-SNP nor a quote of TDX";
    return PST_EDATA;
}

/* ---- against a policy ---- */
void pst_machine_verify(struct pst_checking *c, const struct pst_machine_evidence *evidence,
                        const struct pst_quote *quote, const uint8_t process[PST_PROCESS_EVIDENCE_BYTES])
{
    const struct pst_bytes *along = &evidence->certificates;
    const char *why = NULL;
    uint8_t data[64];
    int rc = pst_machine_report_data(process, data);
    if (rc == PST_OK && along->count != 0)
        rc = pst_certificates_parse(along->bytes, along->count, c->certificates, NULL, &why);
    if (rc == PST_EDATA)
        pst_checking_fault(c, c->request->evidence.name, pst_checking_printf(c, "has certificates along that %s", why));
    else if (rc != PST_OK)
        c->rc = rc;
    if (rc != PST_OK)
        return;
    if (quote == NULL)
        pst_snp_verify(c, evidence->report.bytes, c->certificates, false);
    else
        pst_quote_verify(c, quote, false);
    if (c->rc != PST_OK)
        return;
    pst_checking_expect(
        c, quote == NULL ? "report.report_data" : "td.report_data",
        CRYPTO_memcmp(c->report->report_data, data, sizeof data) == 0,
        pst_checking_printf(c, "SHA-512 of the worker's report: %s", pst_checking_hex(c, data, sizeof data)));
}
