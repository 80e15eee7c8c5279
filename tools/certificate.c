/* tools/certificate.c - X.509 for the nodes of a cluster (tools/certificate.h).
 *
 * Keys and serial numbers are made of the world's randomness; the days of a certificate are those of the system's calendar, which
 * struct pst_world does not know and no run depends on.
 */
#include "tools/certificate.h"

#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    SECRET_BYTES = 32, /* of Ed25519 */
    SERIAL_BYTES = 16,
    AUTHORITY_DAYS = 3650,
    DAY_S = 24 * 60 * 60,
    EARLY_S = 5 * 60, /* another node's clock may be so much behind */
    NAME_BYTES_MAX = 63,
};

struct extension {
    int nid;
    const char *value;
};
static const struct extension authority_extensions[] = {
    {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
    {NID_key_usage, "critical,keyCertSign"},
    {NID_subject_key_identifier, "hash"},
    {NID_undef, NULL},
};
static const struct extension node_extensions[] = {
    {NID_basic_constraints, "critical,CA:FALSE"},
    {NID_key_usage, "critical,digitalSignature"},
    {NID_ext_key_usage, "serverAuth,clientAuth"},
    {NID_authority_key_identifier, "keyid:always"},
    {NID_undef, NULL},
};

void pst_pair_fini(struct pst_pair *pair)
{
    X509_free(pair->certificate);
    EVP_PKEY_free(pair->key);
    *pair = (struct pst_pair){0};
}

static int key_make(struct pst_world *world, EVP_PKEY **ret_key)
{
    uint8_t secret[SECRET_BYTES];
    if (world->random(world->self, secret, sizeof secret) != PST_OK)
        return PST_EIO;
    *ret_key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, sizeof secret);
    OPENSSL_cleanse(secret, sizeof secret);
    return *ret_key != NULL ? PST_OK : PST_ENOMEM;
}

/* Random, so that it tells nothing and meets no other; positive and of full length. */
static int serial_set(X509 *certificate, const uint8_t random[SERIAL_BYTES])
{
    uint8_t bytes[SERIAL_BYTES];
    memcpy(bytes, random, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return good ? PST_OK : PST_ENOMEM;
}

static int extensions_add(X509 *certificate, X509 *issuer, const struct extension *extensions)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    for (; extensions->value != NULL; extensions++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, extensions->nid, extensions->value);
        bool good = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
        X509_EXTENSION_free(extension);
        if (!good)
            return PST_ENOMEM;
    }
    return PST_OK;
}

/* Days from now on, and not beyond `limit`. */
static int days_set(X509 *certificate, uint32_t days, const ASN1_TIME *limit)
{
    time_t now = time(NULL);
    ASN1_TIME *end = X509_getm_notAfter(certificate);
    if (X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -EARLY_S, &now) == NULL ||
        X509_time_adj_ex(end, (int)days, 0, &now) == NULL)
        return PST_ENOMEM;
    if (limit != NULL && ASN1_TIME_compare(end, limit) > 0 && X509_set1_notAfter(certificate, limit) != 1)
        return PST_ENOMEM;
    return PST_OK;
}

static int certificate_name(X509 *certificate, const char *name)
{
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                      (const unsigned char *)name, -1, -1, 0) == 1
               ? PST_OK
               : PST_ENOMEM;
}

/* Signed by `authority`; NULL: by itself. */
static int pair_make(struct pst_world *world, const struct pst_pair *authority, const char *name, uint32_t days,
                     struct pst_pair *ret_pair)
{
    uint8_t serial[SERIAL_BYTES];
    struct pst_pair pair = {.certificate = X509_new()};
    int rc = pair.certificate == NULL ? PST_ENOMEM : key_make(world, &pair.key);
    if (rc == PST_OK)
        rc = world->random(world->self, serial, sizeof serial) == PST_OK ? PST_OK : PST_EIO;
    if (rc == PST_OK)
        rc = serial_set(pair.certificate, serial);
    if (rc == PST_OK)
        rc = certificate_name(pair.certificate, name);
    const struct pst_pair *issuer = authority != NULL ? authority : &pair;
    if (rc == PST_OK)
        rc = days_set(pair.certificate, days, authority != NULL ? X509_get0_notAfter(authority->certificate) : NULL);
    if (rc == PST_OK && (X509_set_version(pair.certificate, X509_VERSION_3) != 1 ||
                         X509_set_issuer_name(pair.certificate, X509_get_subject_name(issuer->certificate)) != 1 ||
                         X509_set_pubkey(pair.certificate, pair.key) != 1))
        rc = PST_ENOMEM;
    if (rc == PST_OK)
        rc = extensions_add(pair.certificate, issuer->certificate,
                            authority != NULL ? node_extensions : authority_extensions);
    if (rc == PST_OK && X509_sign(pair.certificate, issuer->key, NULL) == 0)
        rc = PST_ENOMEM;
    if (rc == PST_OK)
        *ret_pair = pair;
    else
        pst_pair_fini(&pair);
    return rc;
}

/* Two authorities have two names, so that a certificate of the other one is told from a forged one. */
int pst_pair_authority(struct pst_world *world, struct pst_pair *ret_pair)
{
    uint64_t id;
    char name[NAME_BYTES_MAX + 1];
    if (world->random(world->self, &id, sizeof id) != PST_OK)
        return PST_EIO;
    (void)snprintf(name, sizeof name, "penstock authority %016llx", (unsigned long long)id);
    return pair_make(world, NULL, name, AUTHORITY_DAYS, ret_pair);
}

int pst_pair_issue(struct pst_world *world, const struct pst_pair *authority, const char *name, uint32_t days,
                   struct pst_pair *ret_pair)
{
    PST_ASSERT(pst_node_name_good(name));
    return pair_make(world, authority, name, days, ret_pair);
}

/* Without it OpenSSL would ask the terminal. */
static int no_password(char *buffer, int capacity, int writing, void *argument)
{
    (void)buffer;
    (void)capacity;
    (void)writing;
    (void)argument;
    return -1;
}

int pst_pair_read(BIO *certificate, BIO *key, struct pst_pair *ret_pair, const char **ret_why)
{
    struct pst_pair pair = {.certificate = PEM_read_bio_X509(certificate, NULL, no_password, NULL),
                            .key = PEM_read_bio_PrivateKey(key, NULL, no_password, NULL)};
    *ret_why = NULL;
    if (pair.certificate == NULL)
        *ret_why = "`ca.pem` is no certificate";
    else if (pair.key == NULL)
        *ret_why = "`ca.key` is no private key";
    else if (X509_check_ca(pair.certificate) != 1)
        *ret_why = "`ca.pem` is not the certificate of an authority";
    else if (X509_check_private_key(pair.certificate, pair.key) != 1)
        *ret_why = "`ca.key` is not the key of `ca.pem`";
    if (*ret_why != NULL) {
        pst_pair_fini(&pair);
        return PST_EDATA;
    }
    *ret_pair = pair;
    return PST_OK;
}

bool pst_pair_over(const struct pst_pair *pair)
{
    return X509_cmp_current_time(X509_get0_notAfter(pair->certificate)) < 0;
}

void pst_pair_end(const struct pst_pair *pair, char ret_day[16])
{
    struct tm day = {0};
    (void)ASN1_TIME_to_tm(X509_get0_notAfter(pair->certificate), &day);
    if (strftime(ret_day, 16, "%Y-%m-%d", &day) == 0)
        ret_day[0] = '\0';
}

bool pst_node_name_good(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes <= NAME_BYTES_MAX && strspn(name, letters) == bytes && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

BIO *pst_pem_of_certificate(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL && PEM_write_bio_X509(bio, certificate) == 1)
        return bio;
    BIO_free(bio);
    return NULL;
}

BIO *pst_pem_of_key(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    if (bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
        return bio;
    BIO_free(bio);
    return NULL;
}
