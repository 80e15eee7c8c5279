/* engine/release.h - the messages by which a host asks for a worker's key, and the side that asks (docs/sealing.md). Inside the room.
 *
 * Message: u32 magic "PSTK", u32 kind, then what the kind has. Little endian.
 *   1 ASK       to the keeper     u8[32] which graph, its worker comes next
 *   2 NONCE     from it           u8[32] drawn for this worker
 *   3 EVIDENCE  to it             evidence that holds the nonce, and the worker's key (evidence.h)
 *   4 RELEASE   from it           a release (sealed.h)
 *   5 REFUSED   from it           a sentence
 */
#ifndef PST_ENGINE_RELEASE_H
#define PST_ENGINE_RELEASE_H

#include "enclave_shim/enclave_shim.h"
#include "enclave_shim/sealed.h"
#include "engine/engine.h"

#define RELEASE_MAGIC UINT32_C(0x4b545350) /* "PSTK" */
enum {
    RELEASE_HEAD_BYTES = 8,
    RELEASE_NONCE_BYTES = 32,
    RELEASE_EVIDENCE_BYTES_MAX = 40 * 1024, /* a worker's report, what stands behind it of machine and TPM */
    RELEASE_SENTENCE_BYTES_MAX = 400,
    RELEASE_MESSAGE_BYTES_MAX = RELEASE_HEAD_BYTES + RELEASE_EVIDENCE_BYTES_MAX,
};
typedef enum release_kind {
    RELEASE_ASK = 1,
    RELEASE_NONCE,
    RELEASE_EVIDENCE,
    RELEASE_RELEASE,
    RELEASE_REFUSED,
} release_kind;
/* What a message says, if it is one: PST_EDATA otherwise. The body is borrowed from the message. */
int pst_release_read(const void *bytes, size_t byte_count, release_kind *ret_kind, const uint8_t **ret_body,
                     size_t *ret_count);
int pst_release_send(struct pst_world *world, struct pst_conn *conn, release_kind kind, const void *body,
                     size_t byte_count); /* as net_send() */

/* ---- the side that asks, for one worker after the other ---- */
struct release_asker { /* embedded */
    struct pst_world *world;
    const struct pst_sealed_options *options;
    const uint8_t *graph;
    uint32_t worker;       /* of the world: whose step it is */
    struct pst_conn *conn; /* NULL: to be opened again, for a while: a keeper may be about to listen */
    uint64_t since_ns;     /* of what it waits for */
    enum { ASKER_CONNECTING, ASKER_IDLE, ASKER_ASKED, ASKER_SHOWN } state;
    int error; /* it stays; PST_OK: none */
    char why[640];
};
void pst_release_begin(struct release_asker *asker, struct pst_world *world, const struct pst_sealed_options *options,
                       const uint8_t graph[32]);
void pst_release_end(struct release_asker *asker);
/* PST_OK: the worker has the key. PST_EAGAIN: call again when woken. Else asker->why says why not, and nothing else comes of it any more. */
int pst_release_step(struct release_asker *asker, struct pst_enclave *enclave, uint64_t epc_bytes);

#endif
