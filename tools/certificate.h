/* tools/certificate.h - an authority of a cluster, and certificates of nodes, in memory: X.509 with Ed25519 keys.
 *
 * Refuses:  files, and messages to people; that is tools/tls.c.
 * Thread:   the main thread.
 */
#ifndef PST_CERTIFICATE_H
#define PST_CERTIFICATE_H

#include "base/base.h"

#include <openssl/x509.h>

/* A certificate and its key. */
struct pst_pair {
    X509 *certificate;
    EVP_PKEY *key;
};
void pst_pair_fini(struct pst_pair *pair);

/* All return PST_OK, PST_ENOMEM, or PST_EIO where there is no randomness. */
int pst_pair_authority(struct pst_world *world, struct pst_pair *ret_pair);
/* For a node, for so many days, though not longer than the authority itself. */
int pst_pair_issue(struct pst_world *world, const struct pst_pair *authority, const char *name, uint32_t days,
                   struct pst_pair *ret_pair);
/* From the text of two files. PST_EDATA: *ret_why, a sentence's end. */
int pst_pair_read(BIO *certificate, BIO *key, struct pst_pair *ret_pair, const char **ret_why);

bool pst_pair_over(const struct pst_pair *pair);                  /* its last day has passed */
void pst_pair_end(const struct pst_pair *pair, char ret_day[16]); /* "2027-11-21" */
/* Letters, digits, `.`, `_` and `-`, 1 to 63 of them, and not a folder's own name or its parent's. */
bool pst_node_name_good(const char *name);

/* PEM; ended by BIO_free(), that of a key wiped. NULL: out of memory. */
BIO *pst_pem_of_certificate(X509 *certificate);
BIO *pst_pem_of_key(EVP_PKEY *key);

#endif
