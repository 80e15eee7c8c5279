/* quote.c - quotes of Intel SGX (version 3) and TDX (versions 4 and 5) taken apart.
 *
 * Sources: Intel, "SGX ECDSA QuoteGenReference" (quote v3, appendix A), "TDX DCAP Quoting Library API" (v4 and v5, appendix A); TDX
 * module base specification, TDREPORT_STRUCT. Sizes are little endian, and each is checked before it is used. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

/* name, offset, bytes, kind */
const struct pst_layout_field pst_quote_fields[] = {
    {"quote.version", 0, 2, PST_LAYOUT_NUMBER},    {"quote.key_type", 2, 2, PST_LAYOUT_NUMBER},
    {"quote.tee_type", 4, 4, PST_LAYOUT_BITS},     {"quote.qe_svn", 8, 2, PST_LAYOUT_NUMBER},
    {"quote.pce_svn", 10, 2, PST_LAYOUT_NUMBER},   {"quote.qe_vendor", 12, 16, PST_LAYOUT_BYTES},
    {"quote.user_data", 28, 20, PST_LAYOUT_BYTES},
};
const uint32_t pst_quote_field_count = sizeof pst_quote_fields / sizeof *pst_quote_fields;

/* sgx_report_body_t */
const struct pst_layout_field pst_enclave_fields[] = {
    {"enclave.cpu_svn", 0, 16, PST_LAYOUT_BYTES},     {"enclave.miscselect", 16, 4, PST_LAYOUT_BITS},
    {"enclave.attributes", 48, 16, PST_LAYOUT_BYTES}, {"enclave.mr_enclave", 64, 32, PST_LAYOUT_BYTES},
    {"enclave.mr_signer", 128, 32, PST_LAYOUT_BYTES}, {"enclave.isv_prod_id", 256, 2, PST_LAYOUT_NUMBER},
    {"enclave.isv_svn", 258, 2, PST_LAYOUT_NUMBER},   {"enclave.report_data", 320, 64, PST_LAYOUT_BYTES},
};
const uint32_t pst_enclave_field_count = sizeof pst_enclave_fields / sizeof *pst_enclave_fields;

/* TD report body 1.0; from TEE_TCB_SVN_2 on what 1.5 adds. */
const struct pst_layout_field pst_td_fields[] = {
    {"td.tee_tcb_svn", 0, 16, PST_LAYOUT_BYTES},     {"td.mr_seam", 16, 48, PST_LAYOUT_BYTES},
    {"td.mr_signer_seam", 64, 48, PST_LAYOUT_BYTES}, {"td.seam_attributes", 112, 8, PST_LAYOUT_BITS},
    {"td.td_attributes", 120, 8, PST_LAYOUT_BITS},   {"td.xfam", 128, 8, PST_LAYOUT_BITS},
    {"td.mr_td", 136, 48, PST_LAYOUT_BYTES},         {"td.mr_config_id", 184, 48, PST_LAYOUT_BYTES},
    {"td.mr_owner", 232, 48, PST_LAYOUT_BYTES},      {"td.mr_owner_config", 280, 48, PST_LAYOUT_BYTES},
    {"td.rtmr0", 328, 48, PST_LAYOUT_BYTES},         {"td.rtmr1", 376, 48, PST_LAYOUT_BYTES},
    {"td.rtmr2", 424, 48, PST_LAYOUT_BYTES},         {"td.rtmr3", 472, 48, PST_LAYOUT_BYTES},
    {"td.report_data", 520, 64, PST_LAYOUT_BYTES},   {"td.tee_tcb_svn_2", 584, 16, PST_LAYOUT_BYTES},
    {"td.mr_service_td", 600, 48, PST_LAYOUT_BYTES},
};
const uint32_t pst_td15_field_count = sizeof pst_td_fields / sizeof *pst_td_fields;
const uint32_t pst_td_field_count = sizeof pst_td_fields / sizeof *pst_td_fields - 2;

enum {
    SGX_VERSION = 3,
    TDX_VERSION = 4,
    TDX_VERSION_TYPED = 5, /* says which body it has */
    TEE_TDX = 0x81,
    BODY_TD10 = 2,
    BODY_TD15 = 3,
    KEY_P256 = 2,
    DATA_PCK_CHAIN = 5, /* PEM, the leaf first */
    DATA_QE_REPORT = 6, /* wraps what a version 3 has in the open */
};

struct reader { /* of what is left */
    const uint8_t *at;
    size_t left;
    const char *why; /* the first fault */
};

static const uint8_t *take(struct reader *r, size_t bytes, const char *why)
{
    const uint8_t *at = r->at;
    if (r->why != NULL || bytes > r->left) {
        r->why = r->why != NULL ? r->why : why;
        return NULL;
    }
    r->at += bytes;
    r->left -= bytes;
    return at;
}

static uint32_t number_take(struct reader *r, uint32_t bytes, const char *why)
{
    const uint8_t *at = take(r, bytes, why);
    return at != NULL ? (uint32_t)pst_le(at, bytes) : 0;
}

static void wanted(struct reader *r, bool good, const char *why)
{
    if (!good && r->why == NULL)
        r->why = why;
}

static void body_take(struct reader *r, struct pst_quote *quote)
{
    quote->body_bytes = quote->tdx ? PST_TD_REPORT_BYTES : PST_ENCLAVE_REPORT_BYTES;
    if (quote->version == TDX_VERSION_TYPED) {
        uint32_t type = number_take(r, 2, "ends within the quote's body"),
                 bytes = number_take(r, 4, "ends within the quote's body");
        quote->body_bytes = type == BODY_TD15 ? PST_TD_REPORT15_BYTES : PST_TD_REPORT_BYTES;
        wanted(r, type == BODY_TD10 || type == BODY_TD15, "is a quote with a body that is no TD report");
        wanted(r, bytes == quote->body_bytes, "is a quote whose body has another size than its type");
    }
    quote->body = take(r, quote->body_bytes, "ends within the quote's body");
}

/* The QE's report, who signed it, and the PCK's chain. */
static void certification_take(struct reader *r, struct pst_quote *quote)
{
    static const char cut[] = "ends within the quote's certification data";
    struct reader inner = *r;
    if (quote->tdx) {
        wanted(r, number_take(r, 2, cut) == DATA_QE_REPORT, "is a quote whose certification data hold no QE report");
        uint32_t bytes = number_take(r, 4, cut);
        inner = (struct reader){.at = take(r, bytes, cut), .left = bytes};
        inner.why = r->why; /* as of then: what stands in one initializer has no order */
    }
    quote->qe_report = take(&inner, PST_ENCLAVE_REPORT_BYTES, cut);
    quote->qe_signature = take(&inner, 64, cut);
    quote->auth_bytes = number_take(&inner, 2, cut);
    quote->auth = take(&inner, quote->auth_bytes, cut);
    wanted(&inner, number_take(&inner, 2, cut) == DATA_PCK_CHAIN,
           "is a quote that does not bring its PCK's certificates");
    quote->chain_bytes = number_take(&inner, 4, cut);
    quote->chain = take(&inner, quote->chain_bytes, cut);
    wanted(&inner, inner.left == 0, "is a quote with something behind its certificates");
    r->why = r->why != NULL ? r->why : inner.why;
}

static void signature_take(struct reader *r, struct pst_quote *quote)
{
    uint32_t bytes = number_take(r, 4, "ends before the quote's signature");
    struct reader inner = {.left = bytes};
    inner.at = take(r, bytes, "ends within the quote's signature");
    inner.why = r->why;
    quote->signature = take(&inner, 64, "ends within the quote's signature");
    quote->key = take(&inner, 64, "ends within the quote's signature");
    certification_take(&inner, quote);
    wanted(&inner, !quote->tdx || inner.left == 0, "is a quote with something behind its certification data");
    r->why = inner.why;
}

int pst_quote_parse(const uint8_t *bytes, size_t byte_count, struct pst_quote *ret_quote, const char **ret_why)
{
    struct reader r = {.at = bytes, .left = byte_count};
    struct pst_quote quote = {.bytes = bytes};
    quote.version = (uint16_t)number_take(&r, 2, "is too short for a quote");
    uint32_t key = number_take(&r, 2, "is too short for a quote"), tee = number_take(&r, 4, "is too short for a quote");
    (void)take(&r, PST_QUOTE_HEADER_BYTES - 8, "is too short for a quote");
    quote.tdx = quote.version >= TDX_VERSION;
    wanted(&r, quote.version >= SGX_VERSION && quote.version <= TDX_VERSION_TYPED,
           "is no quote of version 3 (SGX), 4 or 5 (TDX)");
    wanted(&r, key == KEY_P256, "is a quote whose key is not ECDSA P-256");
    wanted(&r, tee == (quote.tdx ? TEE_TDX : 0), "is a quote of another TEE than its version is for");
    body_take(&r, &quote);
    quote.signed_bytes = (uint32_t)(byte_count - r.left);
    signature_take(&r, &quote);
    if (r.why != NULL) {
        *ret_why = r.why;
        return PST_EDATA;
    }
    quote.left_bytes = r.left;
    *ret_quote = quote;
    return PST_OK;
}
