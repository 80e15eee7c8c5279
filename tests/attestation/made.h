/* made.h - evidence that the tests make themselves, with roots and keys of their own, so that every path of a verifier is walked
 * without a recording. What is wrong with a piece is changed by the test before it is signed, or after. */
#ifndef PST_TEST_MADE_H
#define PST_TEST_MADE_H

#include "enclave_shim/attestation/inside.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/* Between two bytes that are changed. Under the sanitizer a look takes ten times as long, and all of them go the same ways. */
#if defined(__SANITIZE_ADDRESS__)
enum { MADE_STEP = 5 };
#else
enum { MADE_STEP = 1 };
#endif

#define MADE_FROM "20250101000000Z"
#define MADE_UNTIL "20300101000000Z"
enum { MADE_TEXT_BYTES = 1 << 16, MADE_EXTENSIONS_MAX = 16 };
extern const int64_t made_at_s; /* 2025-07-01 */

/* ---- certificates ---- */
struct made_extension {
    const char *oid;
    uint8_t bytes[512];
    size_t count;
};
struct made_certificate {
    const char *name;
    EVP_PKEY *key;
    X509 *issuer; /* NULL: itself */
    EVP_PKEY *issuer_key;
    const char *from, *until; /* NULL: MADE_FROM, MADE_UNTIL */
    long serial;
    bool authority;
    struct made_extension extensions[MADE_EXTENSIONS_MAX];
    uint32_t extension_count;
};
EVP_PKEY *made_key(const char *curve);
X509 *made_certificate(const struct made_certificate *certificate);
X509_CRL *made_crl(X509 *issuer, EVP_PKEY *key, const char *until, long revoked); /* revoked: a serial, or 0 */
void made_extension(struct made_certificate *to, const char *oid, const void *bytes, size_t count);
size_t made_pem(X509 *const *certificates, uint32_t count, char *ret_text);
struct pst_bytes made_crl_der(X509_CRL *crl); /* freed by OPENSSL_free */

/* ---- SEV-SNP ---- */
struct made_snp {
    EVP_PKEY *ark_key, *ask_key, *key;
    char ark_name[32], ask_name[32];
    struct made_certificate ark_parts, ask_parts, parts; /* to be changed, then made_snp_issue() again */
    X509 *ark, *ask, *leaf;
    uint8_t report[PST_SNP_REPORT_BYTES];
    char pem[MADE_TEXT_BYTES], root_pem[MADE_TEXT_BYTES];
    struct pst_bytes certificates, roots, crl;
    struct pst_evidence_request request; /* of all that */
};
void made_snp_init(struct made_snp *made, const char *product, bool vlek);
void made_snp_issue(struct made_snp *made); /* the certificates anew */
void made_snp_sign(struct made_snp *made);  /* the report anew */
void made_snp_fini(struct made_snp *made);

/* ---- SGX and TDX ---- */
enum { MADE_QUOTE_BYTES_MAX = 16384 };
struct made_quote {
    uint16_t version; /* 3: SGX; 4, 5: TDX */
    EVP_PKEY *root_key, *ca_key, *pck_key, *tcb_key, *key;
    struct made_certificate root_parts, ca_parts, pck_parts, tcb_parts;
    X509 *root, *ca, *pck, *tcb;
    long revoked_ca, revoked_pck;
    const char *crl_until;
    uint8_t header[PST_QUOTE_HEADER_BYTES], body[PST_TD_REPORT15_BYTES], qe_report[PST_ENCLAVE_REPORT_BYTES], auth[32];
    uint32_t body_bytes;
    char tcb_info[8192], qe_identity[4096]; /* texts, to be changed, then made_quote_collateral() again */
    bool other_pck_key;                     /* the QE's report is signed by another key than the PCK's */
    uint8_t bytes[MADE_QUOTE_BYTES_MAX];
    size_t count;
    char collateral[MADE_TEXT_BYTES], root_pem[MADE_TEXT_BYTES];
    struct pst_bytes roots;
    struct pst_evidence_request request;
};
void made_quote_init(struct made_quote *made, uint16_t version, bool td15);
void made_quote_issue(struct made_quote *made);
void made_quote_sign(struct made_quote *made);
void made_quote_collateral(struct made_quote *made);
void made_quote_fini(struct made_quote *made);
/* Replaces the first `from` in a text of `room` bytes. */
void made_replace(char *text, size_t room, const char *from, const char *to);

/* ---- Azure ---- */
struct made_az {
    EVP_PKEY *key;
    uint8_t hcl[2600], message[256], signature[256], pcrs[PST_PCR_COUNT][PST_SHA256_BYTES], nonce[32];
    size_t hcl_bytes, message_bytes;
    char json[MADE_TEXT_BYTES];
    struct pst_evidence_request request;
};
/* The runtime data, whose hash the hardware is to sign. `report` as the hardware would give it. */
void made_az_init(struct made_az *made, bool tdx);
void made_az_runtime_hash(const struct made_az *made, uint8_t ret_data[64]);
void made_az_quote(struct made_az *made); /* signs what `pcrs` and `nonce` are now */
void made_az_wrap(struct made_az *made, const uint8_t *report, size_t report_bytes, const struct made_quote *quote);
void made_az_fini(struct made_az *made);

/* ---- what came of it ---- */
/* The first field that failed; "": accepted; "no evidence", "no memory". */
const char *made_verdict(const struct pst_evidence_request *request);
/* Did this field fail? Whatever else did. */
bool made_fails(const struct pst_evidence_request *request, const char *name);

#endif
