/* release.c - see release.h. */
#include "engine/release.h"

#include "enclave_shim/attestation/evidence.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert((int)PST_PROCESS_EVIDENCE_BYTES + PST_MACHINE_EVIDENCE_BYTES_MAX + PST_TPM_EVIDENCE_BYTES_MAX <=
                  RELEASE_EVIDENCE_BYTES_MAX,
              "all that a worker may show has room");

#define CONNECT_NS (UINT64_C(5) * 1000 * 1000 * 1000)

/* ---- messages ---- */

int pst_release_read(const void *bytes, size_t byte_count, release_kind *ret_kind, const uint8_t **ret_body,
                     size_t *ret_count)
{
    uint32_t head[2];
    if (byte_count < sizeof head)
        return PST_EDATA;
    memcpy(head, bytes, sizeof head);
    size_t count = byte_count - sizeof head;
    bool fits = false;
    switch (head[1]) {
    case RELEASE_ASK:
        fits = count == 32;
        break;
    case RELEASE_NONCE:
        fits = count == RELEASE_NONCE_BYTES;
        break;
    case RELEASE_EVIDENCE:
        fits = count >= 1 && count <= RELEASE_EVIDENCE_BYTES_MAX;
        break;
    case RELEASE_RELEASE:
        fits = count == PST_RELEASE_BYTES;
        break;
    case RELEASE_REFUSED:
        fits = count <= RELEASE_SENTENCE_BYTES_MAX;
        break;
    default:
        break;
    }
    if (head[0] != RELEASE_MAGIC || !fits)
        return PST_EDATA;
    *ret_kind = (release_kind)head[1];
    *ret_body = (const uint8_t *)bytes + sizeof head;
    *ret_count = count;
    return PST_OK;
}

int pst_release_send(struct pst_world *world, struct pst_conn *conn, release_kind kind, const void *body,
                     size_t byte_count)
{
    uint8_t message[RELEASE_MESSAGE_BYTES_MAX];
    const uint32_t head[2] = {RELEASE_MAGIC, kind};
    PST_ASSERT(byte_count <= sizeof message - sizeof head);
    memcpy(message, head, sizeof head);
    memcpy(message + sizeof head, body, byte_count);
    return world->net_send(world->self, conn, message, sizeof head + byte_count);
}

/* ---- asking ---- */

static int failed(struct release_asker *a, int rc, const char *what)
{
    (void)snprintf(a->why, sizeof a->why, "the keeper of the key, %s: %s", a->options->keys, what);
    return rc;
}

static void hang_up(struct release_asker *a)
{
    if (a->conn != NULL)
        a->world->net_close(a->world->self, a->conn);
    a->conn = NULL;
}

void pst_release_begin(struct release_asker *a, struct pst_world *world, const struct pst_sealed_options *options,
                       const uint8_t graph[32])
{
    *a = (struct release_asker){.world = world, .options = options, .graph = graph};
    a->since_ns = world->now_ns(world->self);
}

void pst_release_end(struct release_asker *a) { hang_up(a); }

/* What the hardware of this machine says of the worker's report, if it is asked. An error has its sentence in a->why. */
static int machine_add(struct release_asker *a, const uint8_t process[PST_PROCESS_EVIDENCE_BYTES], uint8_t *bytes,
                       size_t room, size_t *ret_count)
{
    const char *directory = a->options->tsm;
    char path[PST_TSM_PATH_BYTES];
    *ret_count = 0;
    if (directory == NULL)
        return PST_OK;
    int rc = pst_machine_evidence_ask(a->world, directory, process, bytes, room, ret_count, path);
    if (rc != PST_OK)
        (void)snprintf(a->why, sizeof a->why, "no hardware's evidence of this machine: `%s`: %s", path,
                       rc == PST_EDATA                        ? "it was changed meanwhile, is empty or too large"
                       : rc == PST_ENOMEM || rc == PST_EINVAL ? pst_error_sentence(rc)
                                                              : pst_system_error());
    return rc;
}

/* What stands behind the node's word, if anything does. An error has its sentence in a->why, and nothing else has. */
static int witness_add(struct release_asker *a, const uint8_t nonce[64], uint8_t *bytes, size_t room, size_t *ret_count)
{
    const struct pst_sealed_options *options = a->options;
    char why[PST_WITNESS_WHY_BYTES] = "";
    *ret_count = 0;
    if (options->witness == NULL)
        return PST_OK;
    int rc = options->witness(options->witness_argument, nonce, bytes, room, ret_count, why);
    if (rc != PST_OK)
        (void)snprintf(a->why, sizeof a->why, "%s", why[0] != '\0' ? why : pst_error_sentence(rc));
    PST_ASSERT(rc != PST_OK || *ret_count <= room);
    return rc;
}

static int evidence_send(struct release_asker *a, const struct pst_enclave *enclave, uint64_t epc_bytes,
                         const uint8_t nonce[RELEASE_NONCE_BYTES])
{
    struct pst_enclave_report report;
    uint8_t bytes[RELEASE_EVIDENCE_BYTES_MAX];
    size_t byte_count = PST_PROCESS_EVIDENCE_BYTES, more = 0;
    pst_enclave_report(enclave, &report);
    struct pst_process_evidence evidence = {.epc_bytes = epc_bytes};
    evidence.capabilities = ((report.guards & PST_GUARD_USERS) != 0 ? PST_CONF_USER : 0u) |
                            ((report.facts & PST_FACT_MEASURED) != 0 ? PST_EXEC_MEASURED : 0u);
    memcpy(evidence.measurement, report.measurement, sizeof evidence.measurement);
    memcpy(evidence.nonce, nonce, RELEASE_NONCE_BYTES);
    memcpy(evidence.channel_key, pst_enclave_channel_key(enclave), sizeof evidence.channel_key);
    int rc = pst_process_evidence_sign(&evidence, a->options->node_key, bytes);
    if (rc != PST_OK)
        return failed(a, rc, "the evidence for it cannot be signed");
    rc = machine_add(a, bytes, bytes + byte_count, sizeof bytes - byte_count, &more);
    byte_count += more;
    more = 0;
    if (rc == PST_OK)
        rc = witness_add(a, evidence.nonce, bytes + byte_count, sizeof bytes - byte_count, &more);
    if (rc != PST_OK)
        return rc;
    return pst_release_send(a->world, a->conn, RELEASE_EVIDENCE, bytes, byte_count + more);
}

static int answer_take(struct release_asker *a, struct pst_enclave *enclave, uint64_t epc_bytes, const void *bytes,
                       size_t byte_count)
{
    release_kind kind;
    const uint8_t *body;
    size_t count;
    if (pst_release_read(bytes, byte_count, &kind, &body, &count) != PST_OK)
        return failed(a, PST_EREFUSED, "it says something else than a keeper does");
    if (kind == RELEASE_REFUSED) {
        char sentence[RELEASE_SENTENCE_BYTES_MAX + 1] = "";
        memcpy(sentence, body, count);
        for (char *at = sentence; *at != '\0'; at++) /* nothing for terminals comes from it */
            *at = (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
        return failed(a, PST_EREFUSED, sentence);
    }
    if (kind == RELEASE_NONCE && a->state == ASKER_ASKED) {
        int rc = evidence_send(a, enclave, epc_bytes, body);
        a->state = ASKER_SHOWN;
        return rc == PST_OK ? PST_EAGAIN : rc == PST_EAGAIN ? failed(a, PST_EIO, "it does not read") : rc;
    }
    if (kind != RELEASE_RELEASE || a->state != ASKER_SHOWN)
        return failed(a, PST_EREFUSED, "it answers what was not asked");
    a->state = ASKER_IDLE;
    int rc = pst_enclave_release(enclave, body, count);
    return rc == PST_OK ? PST_OK : failed(a, rc, pst_enclave_why(enclave));
}

static int connect_step(struct release_asker *a)
{
    const struct pst_world *world = a->world;
    char peer[PST_PEER_BYTES];
    int rc = a->conn == NULL ? world->net_connect(world->self, a->worker, a->options->keys, &a->conn) : PST_OK;
    if (rc == PST_EINVAL)
        return failed(a, PST_EGRAPH, "HOST:PORT or unix:PATH is wanted");
    if (rc == PST_OK)
        rc = world->net_peer(world->self, a->conn, peer);
    if (rc == PST_OK)
        a->state = ASKER_IDLE;
    if (rc == PST_OK || rc == PST_EAGAIN)
        return rc;
    if (rc == PST_EREFUSED || world->now_ns(world->self) - a->since_ns > CONNECT_NS)
        return failed(a, rc == PST_EREFUSED ? rc : PST_EIO, pst_system_error());
    hang_up(a);
    return PST_EAGAIN; /* the next look is a tenth of a second later */
}

static int step(struct release_asker *a, struct pst_enclave *enclave, uint64_t epc_bytes)
{
    const struct pst_world *world = a->world;
    const void *bytes;
    size_t byte_count;
    int rc = a->state == ASKER_CONNECTING ? connect_step(a) : PST_OK;
    if (a->why[0] != '\0')
        return rc;
    if (rc == PST_OK && a->state == ASKER_IDLE) {
        rc = pst_release_send(a->world, a->conn, RELEASE_ASK, a->graph, 32);
        a->since_ns = world->now_ns(world->self);
        if (rc == PST_OK)
            a->state = ASKER_ASKED;
    }
    while (rc == PST_OK) {
        rc = world->net_receive(world->self, a->conn, &bytes, &byte_count);
        if (rc != PST_OK)
            break;
        rc = answer_take(a, enclave, epc_bytes, bytes, byte_count);
        if (rc == PST_OK || a->why[0] != '\0')
            return rc;
        rc = rc == PST_EAGAIN ? PST_OK : rc;
    }
    if (rc == PST_EAGAIN && world->now_ns(world->self) - a->since_ns > a->options->patience_ns)
        return failed(a, PST_ETIMEOUT, "it does not answer");
    if (rc == PST_EAGAIN)
        return rc;
    return failed(a, rc == PST_ESTOPPED ? PST_EIO : rc, rc == PST_ESTOPPED ? "it has hung up" : pst_system_error());
}

int pst_release_step(struct release_asker *a, struct pst_enclave *enclave, uint64_t epc_bytes)
{
    if (a->error != PST_OK)
        return a->error;
    int rc = step(a, enclave, epc_bytes);
    a->error = rc != PST_EAGAIN ? rc : PST_OK;
    return rc;
}
