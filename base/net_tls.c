/* net_tls.c - TLS 1.3 with certificates of one authority on both sides, on descriptors that do not block.
 *
 * There are no session tickets: every connection shows its certificate anew, and a server has nothing to send at the end of a
 * handshake that a client which only writes would leave unread. Records go through a BIO of ours: OpenSSL's own calls
 * write(), and a peer that has gone would kill the process with SIGPIPE.
 */
#include "base/world_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_AHEAD_BYTES = 64 * 1024 };

struct pst_tls {
    SSL_CTX *context;
    BIO_METHOD *method;
};

struct pst_tls_conn {
    SSL *ssl;
    int fd;
    int reason; /* the errno of the socket, where it failed */
    bool ended; /* the socket is at its end */
};

/* ---- records and the socket ---- */
static int bio_read(BIO *bio, char *bytes, int byte_count)
{
    struct pst_tls_conn *conn = BIO_get_data(bio);
    ssize_t count;
    BIO_clear_retry_flags(bio);
    do
        count = recv(conn->fd, bytes, (size_t)byte_count, 0);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    else if (count < 0)
        conn->reason = errno;
    conn->ended = conn->ended || count == 0;
    return (int)count;
}

static int bio_write(BIO *bio, const char *bytes, int byte_count)
{
    struct pst_tls_conn *conn = BIO_get_data(bio);
    ssize_t count;
    BIO_clear_retry_flags(bio);
    do
        count = send(conn->fd, bytes, (size_t)byte_count, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(bio);
    else if (count < 0)
        conn->reason = errno;
    return (int)count;
}

static long bio_control(BIO *bio, int command, long number, void *argument)
{
    (void)number;
    (void)argument;
    const struct pst_tls_conn *conn = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF)
        return conn->ended;
    return command == BIO_CTRL_FLUSH; /* nothing is held back; no other command is for us */
}

static BIO_METHOD *method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penstock");
    if (method != NULL && BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_write(method, bio_write) == 1 &&
        BIO_meth_set_ctrl(method, bio_control) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* ---- a connection ---- */
struct pst_tls_conn *pst_tls_conn_new(struct pst_tls *tls, int fd, bool accepted)
{
    struct pst_tls_conn *conn = pst_calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    conn->fd = fd;
    conn->ssl = SSL_new(tls->context);
    BIO *bio = BIO_new(tls->method);
    if (conn->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        pst_tls_conn_free(conn);
        return NULL;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    if (accepted)
        SSL_set_accept_state(conn->ssl);
    else
        SSL_set_connect_state(conn->ssl);
    return conn;
}

void pst_tls_conn_free(struct pst_tls_conn *conn)
{
    if (conn == NULL)
        return;
    SSL_free(conn->ssl);
    pst_free(conn);
}

/* Why OpenSSL will not go on, from its queue of errors. */
static int refused(const struct pst_tls_conn *conn)
{
    char sentence[PST_TLS_WHY_BYTES];
    unsigned long error = ERR_peek_error();
    long verdict = SSL_get_verify_result(conn->ssl);
    const char *why = ERR_reason_error_string(error);
    why = why != NULL ? why : "no reason given";
    if (verdict != X509_V_OK)
        (void)snprintf(sentence, sizeof sentence, "the certificate of the other side is refused: %s",
                       X509_verify_cert_error_string(verdict));
    else if (ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        (void)snprintf(sentence, sizeof sentence, "the other side has shown no certificate");
    else if (ERR_GET_REASON(error) >= SSL_AD_REASON_OFFSET)
        (void)snprintf(sentence, sizeof sentence, "the other side refuses us: %s", why);
    else
        (void)snprintf(sentence, sizeof sentence, "the other side does not speak TLS 1.3 as a node does: %s", why);
    pst_system_error_say(sentence);
    return PST_EREFUSED;
}

/* What a call that did not succeed means. */
static int outcome(struct pst_tls_conn *conn, int result, int *ret_events)
{
    int error = SSL_get_error(conn->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        *ret_events = error == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE;
        return PST_EAGAIN;
    }
    if (conn->reason != 0)
        return pst_uv_failed(conn->reason) == PST_ENOMEM ? PST_ENOMEM : PST_EIO;
    if (!conn->ended)
        return refused(conn);
    pst_system_error_say("the other side has cut the connection");
    return PST_EIO;
}

/* Names of nodes are short and plain, for they stand in paths, records and messages. */
static bool name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

static int peer_name(const SSL *ssl, char ret_peer[PST_PEER_BYTES])
{
    const X509_NAME *subject = X509_get_subject_name(SSL_get0_peer_certificate(ssl));
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const ASN1_STRING *name = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;
    int length = name != NULL ? ASN1_STRING_length(name) : 0;
    bool plain = length > 0 && length < PST_PEER_BYTES && X509_NAME_get_index_by_NID(subject, NID_commonName, at) < 0;
    for (int i = 0; i < length && plain; i++)
        plain = name_char(ASN1_STRING_get0_data(name)[i]);
    if (!plain) {
        pst_system_error_say("the certificate of the other side does not name a node");
        return PST_EREFUSED;
    }
    memcpy(ret_peer, ASN1_STRING_get0_data(name), (size_t)length);
    ret_peer[length] = '\0';
    return PST_OK;
}

int pst_tls_handshake(struct pst_tls_conn *conn, char ret_peer[PST_PEER_BYTES], int *ret_events)
{
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    if (result == 1)
        return peer_name(conn->ssl, ret_peer);
    return outcome(conn, result, ret_events);
}

int64_t pst_tls_read(struct pst_tls_conn *conn, void *bytes, size_t byte_count, int *ret_events)
{
    ERR_clear_error();
    int result = SSL_read(conn->ssl, bytes, byte_count < INT_MAX ? (int)byte_count : INT_MAX);
    if (result > 0)
        return result;
    return SSL_get_error(conn->ssl, result) == SSL_ERROR_ZERO_RETURN ? 0 : outcome(conn, result, ret_events);
}

/* Who refuses our certificate says so and hangs up, when for us the handshake is over: a write fails then, and its reason, "reset by
 * peer", is not the one to tell. The alert may still lie unread. */
static int refusal_behind(struct pst_tls_conn *conn, int error)
{
    char byte;
    int reason = conn->reason, events;
    conn->reason = 0;
    ERR_clear_error();
    int result = SSL_read(conn->ssl, &byte, 1);
    if (result <= 0 && SSL_get_error(conn->ssl, result) == SSL_ERROR_SSL && !conn->ended && conn->reason == 0)
        return outcome(conn, result, &events);
    conn->reason = reason;
    pst_system_error_set(reason);
    return error;
}

int64_t pst_tls_write(struct pst_tls_conn *conn, const void *bytes, size_t byte_count, int *ret_events)
{
    ERR_clear_error();
    int result = SSL_write(conn->ssl, bytes, byte_count < INT_MAX ? (int)byte_count : INT_MAX);
    if (result > 0)
        return result;
    int rc = outcome(conn, result, ret_events);
    return rc == PST_EIO && conn->reason != 0 ? refusal_behind(conn, rc) : rc;
}

int pst_tls_goodbye(struct pst_tls_conn *conn, int *ret_events)
{
    ERR_clear_error();
    int result = SSL_shutdown(conn->ssl);
    return result >= 0 ? PST_OK : outcome(conn, result, ret_events);
}

/* ---- certificates ---- */
/* A file of the folder that is being loaded. */
struct pem {
    const char *name;
    char *why;
};

__attribute__((format(printf, 3, 4))) static int complain(struct pem *pem, int error, const char *format, ...)
{
    va_list arguments;
    int count = snprintf(pem->why, PST_TLS_WHY_BYTES, "`%s` ", pem->name);
    va_start(arguments, format);
    (void)vsnprintf(pem->why + count, (size_t)(PST_TLS_WHY_BYTES - count), format, arguments);
    va_end(arguments);
    return error;
}

static int complain_openssl(struct pem *pem, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return complain(pem, PST_EDATA, "%s: %s", what, reason != NULL ? reason : "no reason given");
}

/* Opens a file for OpenSSL; `secret`: nobody else may have been able to read it. */
static int pem_open(struct pem *pem, const char *folder, const char *name, bool secret, BIO **ret_bio)
{
    char path[PATH_MAX];
    struct stat status;
    pem->name = name;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return complain(pem, PST_ENOENT, "cannot be read: the path of the folder is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a named pipe must not hold us up */
    if (fd < 0 || fstat(fd, &status) != 0) {
        int rc = pst_uv_failed(errno);
        if (fd >= 0)
            (void)close(fd);
        return complain(pem, rc, "cannot be read: %s", pst_system_error());
    }
    int rc = PST_OK;
    if (!S_ISREG(status.st_mode))
        rc = complain(pem, PST_EREFUSED, "is refused: it is not a regular file");
    else if (secret && status.st_uid != geteuid())
        rc = complain(pem, PST_EREFUSED, "is refused: it does not belong to the user who runs this");
    else if (secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        rc = complain(pem, PST_EREFUSED, "is refused: others may read or write it; if nobody has, `chmod 600` it");
    *ret_bio = rc == PST_OK ? BIO_new_fd(fd, BIO_CLOSE) : NULL;
    if (*ret_bio == NULL)
        (void)close(fd);
    return rc == PST_OK && *ret_bio == NULL ? complain(pem, PST_ENOMEM, "cannot be read: out of memory") : rc;
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

static int authority_load(SSL_CTX *context, const char *folder, struct pem *pem)
{
    BIO *bio = NULL;
    int rc = pem_open(pem, folder, "ca.pem", false, &bio);
    if (rc != PST_OK)
        return rc;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    if (certificate == NULL || X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) != 1)
        rc = complain_openssl(pem, "is no certificate of an authority");
    X509_free(certificate);
    BIO_free(bio);
    return rc;
}

/* Today, by the authority: a node that others will refuse shall say so at its start. */
static int certificate_check(SSL_CTX *context, X509 *certificate, struct pem *pem)
{
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    int rc = PST_OK;
    if (check == NULL || X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), certificate, NULL) != 1)
        rc = complain(pem, PST_ENOMEM, "cannot be checked: out of memory");
    else if (X509_verify_cert(check) != 1)
        rc = complain(pem, PST_EDATA, "is refused: %s; `penstock tls issue` makes a new one",
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
    X509_STORE_CTX_free(check);
    return rc;
}

static int certificate_load(SSL_CTX *context, const char *folder, struct pem *pem)
{
    BIO *bio = NULL;
    int rc = pem_open(pem, folder, "node.pem", false, &bio);
    if (rc != PST_OK)
        return rc;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    if (certificate == NULL || SSL_CTX_use_certificate(context, certificate) != 1)
        rc = complain_openssl(pem, "is no certificate");
    else
        rc = certificate_check(context, certificate, pem);
    X509_free(certificate);
    BIO_free(bio);
    return rc;
}

static int key_load(SSL_CTX *context, const char *folder, struct pem *pem)
{
    BIO *bio = NULL;
    int rc = pem_open(pem, folder, "node.key", true, &bio);
    if (rc != PST_OK)
        return rc;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (key == NULL)
        rc = complain_openssl(pem, "is no private key");
    else if (SSL_CTX_use_PrivateKey(context, key) != 1)
        rc = complain_openssl(pem, "is not the key of node.pem");
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

static SSL_CTX *context_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context == NULL)
        return NULL;
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_read_ahead(context, 1); /* else two system calls for each record of 16 KiB */
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

void pst_tls_free(struct pst_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->method);
    pst_free(tls);
}

int pst_world_uv_tls(struct pst_world *world, const char *folder, char ret_why[PST_TLS_WHY_BYTES])
{
    struct uv_world *uv = world->self;
    struct pem pem = {.why = ret_why};
    PST_ASSERT(uv->workers == NULL);
    ERR_clear_error();
    struct pst_tls *tls = pst_calloc(1, sizeof *tls);
    if (tls != NULL) {
        tls->context = context_new();
        tls->method = method_new();
    }
    int rc = PST_OK;
    if (tls == NULL || tls->context == NULL || tls->method == NULL) {
        (void)snprintf(ret_why, PST_TLS_WHY_BYTES, "out of memory");
        rc = PST_ENOMEM;
    }
    if (rc == PST_OK)
        rc = authority_load(tls->context, folder, &pem);
    if (rc == PST_OK)
        rc = certificate_load(tls->context, folder, &pem);
    if (rc == PST_OK)
        rc = key_load(tls->context, folder, &pem);
    if (rc != PST_OK) {
        pst_tls_free(tls);
        return rc;
    }
    pst_tls_free(uv->tls);
    uv->tls = tls;
    return PST_OK;
}

/* ---- the keys themselves, for whoever signs with them ---- */

static int certificate_read(const char *folder, const char *name, struct pem *pem, X509 **ret_certificate)
{
    BIO *bio = NULL;
    int rc = pem_open(pem, folder, name, false, &bio);
    if (rc != PST_OK)
        return rc;
    *ret_certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    BIO_free(bio);
    return *ret_certificate != NULL ? PST_OK : complain_openssl(pem, "is no certificate");
}

static int authority_key(const char *folder, struct pem *pem, uint8_t ret_key[32])
{
    X509 *certificate = NULL;
    size_t bytes = 32;
    int rc = certificate_read(folder, "ca.pem", pem, &certificate);
    EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    if (rc == PST_OK && (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519 ||
                         EVP_PKEY_get_raw_public_key(key, ret_key, &bytes) != 1))
        rc = complain(pem, PST_EINVAL, "is not of an Ed25519 key");
    X509_free(certificate);
    return rc;
}

static int certificate_der(const char *folder, struct pem *pem, struct pst_tls_identity *ret)
{
    X509 *certificate = NULL;
    int rc = certificate_read(folder, "node.pem", pem, &certificate);
    int bytes = certificate != NULL ? i2d_X509(certificate, NULL) : 0;
    uint8_t *at = ret->certificate;
    if (rc == PST_OK && (bytes <= 0 || bytes > PST_TLS_CERTIFICATE_BYTES_MAX))
        rc = complain(pem, PST_EINVAL, "has more than %d bytes", (int)PST_TLS_CERTIFICATE_BYTES_MAX);
    if (rc == PST_OK)
        ret->certificate_bytes = (size_t)i2d_X509(certificate, &at);
    X509_free(certificate);
    return rc;
}

static int secret_key(const char *folder, struct pem *pem, uint8_t ret_key[32])
{
    BIO *bio = NULL;
    size_t bytes = 32;
    int rc = pem_open(pem, folder, "node.key", true, &bio);
    if (rc != PST_OK)
        return rc;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519 ||
        EVP_PKEY_get_raw_private_key(key, ret_key, &bytes) != 1)
        rc = complain(pem, PST_EINVAL, "is no Ed25519 key");
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

int pst_tls_identity_read(const char *folder, struct pst_tls_identity *ret_identity, char ret_why[PST_TLS_WHY_BYTES])
{
    struct pem pem = {.why = ret_why};
    ERR_clear_error();
    int rc = authority_key(folder, &pem, ret_identity->authority);
    if (rc == PST_OK)
        rc = certificate_der(folder, &pem, ret_identity);
    if (rc == PST_OK)
        rc = secret_key(folder, &pem, ret_identity->key);
    return rc;
}
