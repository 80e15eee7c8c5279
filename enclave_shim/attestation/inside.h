/* inside.h - what the files of attestation share: the report while it is made, certificates, and the parsers of each format.
 *
 * A parser takes bytes apart and says PST_EDATA with a sentence's end, or fills a struct that borrows from the bytes; it never looks
 * at a signature. A verifier (`_verify`) adds checks to the report. Each parser has its fuzz target.
 */
#ifndef PST_ATTESTATION_INSIDE_H
#define PST_ATTESTATION_INSIDE_H

#include "enclave_shim/attestation/evidence.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    PST_EVIDENCE_BYTES_MAX = 1 << 20, /* of each input */
    PST_CERTIFICATES_MAX = 64,
    PST_SHA256_BYTES = 32,
};

/* ---- the report while it is made (checking.c) ---- */
struct pst_checking {
    const struct pst_evidence_request *request;
    const struct pst_attestation_policy *policy;
    struct pst_evidence_report *report;
    STACK_OF(X509) * certificates, *roots; /* of the request; roots may be empty */
    STACK_OF(X509_CRL) * crls;
    uint32_t signatures_good; /* of the evidence itself, for A1 */
    bool root_good;
    int rc; /* PST_ENOMEM, PST_EDATA stick */
};
/* The file is no evidence: a sentence's end behind its name. */
void pst_checking_fault(struct pst_checking *c, const char *name, const char *why);
void *pst_checking_alloc(struct pst_checking *c, size_t bytes); /* zeroed; NULL sets rc */
/* In the report's arena; never NULL: "" where memory ran out, which rc says. */
const char *pst_checking_printf(struct pst_checking *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *pst_checking_hex(struct pst_checking *c, const void *bytes, size_t byte_count);
/* Texts are copied. */
void pst_checking_add(struct pst_checking *c, const char *name, pst_check_result result, const char *expected,
                      const char *actual);
static inline void pst_checking_that(struct pst_checking *c, const char *name, bool good, const char *expected,
                                     const char *actual)
{
    pst_checking_add(c, name, good ? PST_CHECK_PASSED : PST_CHECK_FAILED, expected, actual);
}
/* In constant time. */
void pst_checking_equal(struct pst_checking *c, const char *name, const void *expected, const void *actual,
                        size_t byte_count);
/* Of a row that is there already. */
void pst_checking_expect(struct pst_checking *c, const char *name, bool good, const char *expected);
void pst_checking_digests(struct pst_checking *c, const char *name, const struct pst_digests *digests,
                          const uint8_t *actual, uint32_t byte_count);
void pst_checking_number_min(struct pst_checking *c, const char *name, int64_t min, uint64_t actual);
/* Where nonce is asked for: the row `name`, which is there already and shows `actual`. */
void pst_checking_nonce(struct pst_checking *c, const char *name, const uint8_t *actual, size_t actual_bytes);
void pst_checking_debug(struct pst_checking *c, const char *name, bool debug);

/* ---- layouts: one table for each, from which rows, tests and documents derive ---- */
typedef enum pst_layout_kind {
    PST_LAYOUT_NUMBER = 1, /* little endian, shown in decimal digits */
    PST_LAYOUT_BITS,       /* the same, in hexadecimal */
    PST_LAYOUT_BYTES
} pst_layout_kind;
struct pst_layout_field {
    const char *name;
    uint32_t offset, bytes;
    pst_layout_kind kind;
};
void pst_checking_fields(struct pst_checking *c, const struct pst_layout_field *fields, uint32_t field_count,
                         const uint8_t *bytes);
static inline uint64_t pst_le(const uint8_t *bytes, uint32_t byte_count)
{
    uint64_t value = 0;
    for (uint32_t i = byte_count; i > 0; i--)
        value = value << 8 | bytes[i - 1];
    return value;
}
static inline uint64_t pst_be(const uint8_t *bytes, uint32_t byte_count)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < byte_count; i++)
        value = value << 8 | bytes[i];
    return value;
}
bool pst_all_zero(const uint8_t *bytes, size_t byte_count);
/* `digits` hexadecimal digits, exactly; false: it is something else. */
bool pst_hex_parse(const char *text, size_t digits, uint8_t *ret_bytes);

/* ---- keys and certificates (certificates.c) ---- */
/* PEM, DER, or the certificate table of an SNP guest; anything else in them is refused, and lists too where `crls`
 * is NULL: what comes with evidence says nothing of what is revoked. PST_EDATA: *ret_why. */
int pst_certificates_parse(const uint8_t *bytes, size_t byte_count, STACK_OF(X509) * certificates,
                           STACK_OF(X509_CRL) * crls, const char **ret_why);
bool pst_certificate_name_is(X509 *certificate, const char *common_name);
/* The common name, printable; "" where there is none. */
const char *pst_certificate_name(struct pst_checking *c, X509 *certificate);
/* The octets of the extension `oid` (dotted), borrowed. NULL: there is none, or several. */
const uint8_t *pst_certificate_extension(X509 *certificate, const char *oid, size_t *ret_bytes);

typedef enum pst_vendor {
    PST_VENDOR_AMD = 1,
    PST_VENDOR_INTEL,
    PST_VENDOR_TPM, /* of which none is built in */
} pst_vendor;
struct pst_chain {
    const char *name;         /* rows are chain.NAME, chain.NAME.issuer, ... */
    const char *const *roles; /* of the certificates from the leaf up: exactly so many; ended by NULL */
    pst_vendor vendor;
    X509 *leaf;
    STACK_OF(X509) * others; /* that are not trusted by themselves */
    STACK_OF(X509_CRL) * crls;
    bool crls_wanted; /* of each issuer there has to be one */
};
/* *ret_root is borrowed from the certificates; NULL: there is no whole chain. True: all of it is good. */
bool pst_chain_verify(struct pst_checking *c, const struct pst_chain *chain, X509 **ret_root);

/* An ECDSA signature: r and s big endian, `half` bytes each. False also where the key is on another curve than `curve`. */
bool pst_ecdsa_verify(EVP_PKEY *key, const char *curve, const EVP_MD *digest, const uint8_t *bytes, size_t byte_count,
                      const uint8_t *r, const uint8_t *s, uint32_t half);
EVP_PKEY *pst_p256_key(const uint8_t point[64]); /* x and y, big endian; NULL: no such point, or out of memory */
/* Modulus and exponent big endian; NULL: out of memory, or nothing of RSA. */
EVP_PKEY *pst_rsa_key(const uint8_t *modulus, uint32_t modulus_bytes, const uint8_t *exponent, uint32_t exponent_bytes);
/* RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2). False also where there is no key, or one of another kind. */
bool pst_rsassa_verify(EVP_PKEY *key, const uint8_t *bytes, size_t byte_count, const uint8_t *signature,
                       size_t signature_bytes);
bool pst_sha256(const void *bytes, size_t byte_count, uint8_t ret_digest[PST_SHA256_BYTES]);

/* ---- JSON (json.c) ---- */
typedef enum pst_json_kind {
    PST_JSON_NULL = 1,
    PST_JSON_BOOL,
    PST_JSON_NUMBER,
    PST_JSON_TEXT,
    PST_JSON_LIST,
    PST_JSON_MAP
} pst_json_kind;
struct pst_json {
    pst_json_kind kind;
    const char *text; /* of a text, decoded and ended by a NUL; of a number or bool as it stands, not ended */
    size_t text_bytes;
    const char *key; /* of a value in a mapping */
    const struct pst_json *first, *next;
    uint32_t count;
};
/* RFC 8259, in `arena`. PST_EDATA: *ret_why, "at byte N ...", in the arena; PST_ENOMEM. */
int pst_json_parse(struct pst_arena *arena, const char *bytes, size_t byte_count, const struct pst_json **ret_json,
                   const char **ret_why);
const struct pst_json *pst_json_at(const struct pst_json *map, const char *key, pst_json_kind kind); /* NULL: none */
bool pst_json_number(const struct pst_json *value, uint64_t max, uint64_t *ret_number);
bool pst_json_hex(const struct pst_json *map, const char *key, uint8_t *ret_bytes, size_t byte_count);

/* ---- SEV-SNP (snp.c) ---- */
enum { PST_SNP_REPORT_BYTES = 1184, PST_SNP_SIGNED_BYTES = 0x2a0, PST_SNP_VMPL_OFFSET = 0x030 };
extern const struct pst_layout_field pst_snp_fields[];
extern const uint32_t pst_snp_field_count;
struct pst_snp_tcb {
    uint8_t parts[PST_TCB_PART_COUNT];
};
struct pst_snp_certificate { /* the extensions of a VCEK or VLEK (AMD 57230) */
    char product[32];        /* "Milan" */
    struct pst_snp_tcb tcb;
    bool chip_given;
    uint8_t chip_id[64];
};
int pst_snp_certificate_parse(X509 *certificate, struct pst_snp_certificate *ret, const char **ret_why);
/* `nonce`: report data is what the verifier has asked for, and else somebody else's to check. */
void pst_snp_verify(struct pst_checking *c, const uint8_t *report, STACK_OF(X509) * certificates, bool nonce);

/* ---- SGX and TDX (quote.c parses, intel.c verifies) ---- */
enum {
    PST_QUOTE_HEADER_BYTES = 48,
    PST_ENCLAVE_REPORT_BYTES = 384,
    PST_TD_REPORT_BYTES = 584,
    PST_TD_REPORT15_BYTES = 648
};
extern const struct pst_layout_field pst_quote_fields[], pst_enclave_fields[], pst_td_fields[];
extern const uint32_t pst_quote_field_count, pst_enclave_field_count, pst_td_field_count, pst_td15_field_count;
struct pst_quote { /* borrows from the bytes */
    bool tdx;
    uint16_t version;
    const uint8_t *bytes, *body; /* the header stands at `bytes` */
    uint32_t body_bytes, signed_bytes;
    const uint8_t *signature, *key, *qe_report, *qe_signature, *auth, *chain;
    uint32_t auth_bytes, chain_bytes;
    size_t left_bytes; /* behind it */
};
int pst_quote_parse(const uint8_t *bytes, size_t byte_count, struct pst_quote *ret_quote, const char **ret_why);
void pst_quote_verify(struct pst_checking *c, const struct pst_quote *quote, bool nonce);

struct pst_pck { /* the SGX extension of a PCK certificate (Intel SGX PCK certificate specification) */
    uint8_t components[16], fmspc[6], pce_id[2];
    uint16_t pce_svn;
};
int pst_pck_parse(X509 *certificate, struct pst_pck *ret_pck, const char **ret_why);

/* ---- collateral (collateral.c) ---- */
struct pst_signed_text { /* the very bytes that were signed */
    const char *text;
    size_t text_bytes;
    uint8_t signature[64];
    const struct pst_json *chain; /* PEM */
};
struct pst_collateral {
    struct pst_signed_text tcb_info, qe_identity;
    struct pst_bytes crls[2]; /* of the root, of the PCK CA: DER; who issued them stands in the quote */
};
int pst_collateral_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count,
                         struct pst_collateral *ret_collateral, const char **ret_why);
enum { PST_TCB_LEVELS_MAX = 64, PST_TDX_MODULES_MAX = 16 };
struct pst_tcb_level {
    uint8_t sgx[16], tdx[16];
    uint32_t svn; /* the PCE's, or of an enclave or module its own */
    pst_tcb_status status;
};
struct pst_tcb_levels {
    struct pst_tcb_level *levels;
    uint32_t count;
};
struct pst_tdx_module {
    uint32_t version; /* the number in "TDX_03"; that of old modules is 0 */
    uint8_t signer[48], attributes[8], attributes_mask[8];
    struct pst_tcb_levels levels;
};
struct pst_tcb_info {
    bool tdx;
    int64_t from_s, until_s;
    uint64_t evaluation;
    uint8_t fmspc[6], pce_id[2];
    struct pst_tdx_module modules[PST_TDX_MODULES_MAX];
    uint32_t module_count;
    struct pst_tcb_levels levels;
};
struct pst_qe_identity {
    bool tdx;
    int64_t from_s, until_s;
    uint64_t evaluation;
    uint8_t miscselect[4], miscselect_mask[4], attributes[16], attributes_mask[16], signer[32];
    uint32_t product;
    struct pst_tcb_levels levels;
};
int pst_tcb_info_parse(struct pst_arena *arena, const char *text, size_t text_bytes, struct pst_tcb_info *ret_info,
                       const char **ret_why);
int pst_qe_identity_parse(struct pst_arena *arena, const char *text, size_t text_bytes,
                          struct pst_qe_identity *ret_identity, const char **ret_why);
const char *pst_tcb_status_name(pst_tcb_status status);

/* ---- the virtual TPM of Azure (vtpm.c) ---- */
enum { PST_HCL_REPORT_OFFSET = 32, PST_HCL_DATA_OFFSET = 1216, PST_HCL_RUNTIME_OFFSET = 1236 };
struct pst_hcl { /* borrows from the bytes */
    bool tdx;
    const uint8_t *report; /* an SEV-SNP report, or a TDREPORT and zeros */
    const uint8_t *runtime;
    uint32_t runtime_bytes, hash;      /* 1: SHA-256, 2: SHA-384, 3: SHA-512 */
    uint8_t modulus[512], exponent[8]; /* of HCLAkPub, big endian */
    uint32_t modulus_bytes, exponent_bytes;
};
int pst_hcl_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count, struct pst_hcl *ret_hcl,
                  const char **ret_why);
struct pst_az_evidence {
    struct pst_bytes hcl, message, signature, vcek, td_quote;
    uint8_t pcrs[PST_PCR_COUNT][PST_SHA256_BYTES];
    uint32_t pcr_count;
};
int pst_az_evidence_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count,
                          struct pst_az_evidence *ret_evidence, const char **ret_why);
void pst_az_verify(struct pst_checking *c, const struct pst_az_evidence *evidence, const struct pst_hcl *hcl);

/* ---- what a TPM 2.0 makes (tpm.c), and a node's evidence of its own (tpm_verify.c) ---- */
enum { PST_TPM_MAGIC = (int)0xff544347, PST_TPM_QUOTE = 0x8018, PST_TPM_SHA256 = 0x000b, PST_TPM_HEAD = 6 };
struct pst_tpm_quote { /* TPMS_ATTEST of TPM 2.0 part 2, section 10.12.12; borrows from the bytes */
    const uint8_t *nonce, *digest, *signer;
    uint32_t nonce_bytes, digest_bytes, signer_bytes, pcrs; /* bit i: the PCR i of the SHA-256 bank */
    uint64_t clock_ms;
    uint32_t resets, restarts;
    bool safe;
    const uint8_t *firmware; /* 8 bytes, big endian */
};
int pst_tpm_quote_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_quote *ret_quote, const char **ret_why);
/* TPMA_OBJECT (part 2, section 8.3): those of a key that signs nothing but what its TPM has made. */
enum {
    PST_TPM_FIXED_TPM = 1 << 1,
    PST_TPM_FIXED_PARENT = 1 << 4,
    PST_TPM_SENSITIVE_DATA_ORIGIN = 1 << 5,
    PST_TPM_RESTRICTED = 1 << 16,
    PST_TPM_DECRYPT = 1 << 17,
    PST_TPM_SIGN = 1 << 18,
    PST_TPM_ATTESTING =
        PST_TPM_FIXED_TPM | PST_TPM_FIXED_PARENT | PST_TPM_SENSITIVE_DATA_ORIGIN | PST_TPM_RESTRICTED | PST_TPM_SIGN,
};
typedef enum pst_tpm_scheme { PST_TPM_RSASSA = 0x0014, PST_TPM_ECDSA = 0x0018 } pst_tpm_scheme;
struct pst_tpm_public { /* TPMT_PUBLIC (part 2, section 12.2.4), of a key of RSA or P-256; borrows from the bytes */
    pst_tpm_scheme scheme;
    uint32_t attributes;
    const uint8_t *modulus; /* of RSA: big endian */
    uint32_t modulus_bytes, exponent;
    uint8_t point[64];
    uint8_t name[PST_TPM_NAME_BYTES];
};
int pst_tpm_public_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_public *ret_public,
                         const char **ret_why);
EVP_PKEY *pst_tpm_public_key(const struct pst_tpm_public *public); /* NULL: no such key, or out of memory */
struct pst_tpm_signature { /* TPMT_SIGNATURE (part 2, section 11.3.4), by SHA-256 */
    pst_tpm_scheme scheme;
    const uint8_t *rsa; /* borrowed */
    uint32_t rsa_bytes;
    uint8_t r[32], s[32]; /* big endian */
};
int pst_tpm_signature_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_signature *ret_signature,
                            const char **ret_why);
/* Rows of PCRs: `values` of those in `there` by their number, against the quote and the policy. */
void pst_tpm_pcrs_verify(struct pst_checking *c, const struct pst_tpm_quote *quote,
                         uint8_t values[PST_PCR_COUNT][PST_SHA256_BYTES], uint32_t there);
bool pst_tpm_pcrs_wanted(
    const struct pst_attestation_policy *policy); /* by value or digest: then a quote has to be there */
/* `process`: what it stands behind, NULL: it is by itself. */
void pst_tpm_verify(struct pst_checking *c, const struct pst_tpm_evidence *evidence,
                    const struct pst_process_evidence *process);

/* ---- the machine behind a worker's report (machine.c) ---- */
/* Which of the two it is; *ret_quote is set for TDX. PST_EDATA: *ret_why. */
int pst_machine_kind(const struct pst_machine_evidence *evidence, struct pst_quote *ret_quote, pst_backend *ret_backend,
                     const char **ret_why);
/* quote NULL: it is a report of SEV-SNP. */
void pst_machine_verify(struct pst_checking *c, const struct pst_machine_evidence *evidence,
                        const struct pst_quote *quote, const uint8_t process[PST_PROCESS_EVIDENCE_BYTES]);

/* ---- process (process.c) ---- */
void pst_process_verify(struct pst_checking *c, const uint8_t *bytes, const struct pst_process_evidence *evidence);

#endif
