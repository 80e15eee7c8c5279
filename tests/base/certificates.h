/* certificates.h - authorities and certificates for tests, good ones and bad ones, made without penstock's own code for it. */
#ifndef PST_TEST_CERTIFICATES_H
#define PST_TEST_CERTIFICATES_H

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct authority {
    X509 *certificate;
    EVP_PKEY *key;
};

static void certificates_need(int good, const char *what)
{
    if (good)
        return;
    (void)fprintf(stderr, "certificates.h: %s failed\n", what);
    abort();
}

static X509 *certificate_make(const char *name, EVP_PKEY *key, long begin_s, long end_s, const struct authority *issuer)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    certificates_need(certificate != NULL, "X509_new");
    X509_NAME *subject = X509_get_subject_name(certificate);
    certificates_need(X509_set_version(certificate, 2) &&
                          ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++),
                      "serial number");
    certificates_need(X509_gmtime_adj(X509_getm_notBefore(certificate), begin_s) != NULL, "notBefore");
    certificates_need(X509_gmtime_adj(X509_getm_notAfter(certificate), end_s) != NULL, "notAfter");
    certificates_need(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0),
                      "subject");
    certificates_need(X509_set_pubkey(certificate, key), "X509_set_pubkey");
    certificates_need(
        X509_set_issuer_name(certificate, issuer != NULL ? X509_get_subject_name(issuer->certificate) : subject),
        "issuer");
    if (issuer == NULL) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
        certificates_need(X509_add_ext(certificate, extension, -1), "X509_add_ext");
        X509_EXTENSION_free(extension);
    }
    certificates_need(X509_sign(certificate, issuer != NULL ? issuer->key : key, NULL), "X509_sign");
    return certificate;
}

static struct authority authority_make(const char *name)
{
    struct authority authority = {.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    authority.certificate = certificate_make(name, authority.key, 0, 86400, NULL);
    return authority;
}

static void authority_free(struct authority *authority)
{
    X509_free(authority->certificate);
    EVP_PKEY_free(authority->key);
}

static FILE *certificates_file(const char *folder, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    certificates_need(file != NULL, path);
    certificates_need(fchmod(fileno(file), 0600) == 0, "fchmod");
    return file;
}

/* ca.pem of `trusted`, node.pem of `issuer`, node.key: valid from `begin_s` to `end_s`, in seconds from now. */
static void node_make(const char *folder, const char *name, const struct authority *issuer,
                      const struct authority *trusted, long begin_s, long end_s)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *certificate = certificate_make(name, key, begin_s, end_s, issuer);
    certificates_need(mkdir(folder, 0700) == 0, "mkdir");
    FILE *file = certificates_file(folder, "ca.pem");
    certificates_need(PEM_write_X509(file, trusted->certificate), "ca.pem");
    (void)fclose(file);
    file = certificates_file(folder, "node.pem");
    certificates_need(PEM_write_X509(file, certificate), "node.pem");
    (void)fclose(file);
    file = certificates_file(folder, "node.key");
    certificates_need(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), "node.key");
    (void)fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

#endif
