/* fuzz_certificates.c - files of certificates, and the extensions of AMD and Intel in them. */
#include "enclave_shim/attestation/inside.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    const char *why = NULL;
    int rc = pst_certificates_parse(data, size, certificates, crls, &why);
    if (rc != PST_OK && (rc != PST_EDATA || why == NULL))
        abort();
    if (sk_X509_num(certificates) + sk_X509_CRL_num(crls) > PST_CERTIFICATES_MAX)
        abort();
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        struct pst_snp_certificate snp;
        struct pst_pck pck;
        X509 *certificate = sk_X509_value(certificates, i);
        if (pst_snp_certificate_parse(certificate, &snp, &why) == PST_OK && strlen(snp.product) >= sizeof snp.product)
            abort();
        (void)pst_pck_parse(certificate, &pck, &why);
        (void)pst_certificate_name_is(certificate, "SEV-VCEK");
    }
    sk_X509_pop_free(certificates, X509_free);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return 0;
}
