/* process_verify.c - evidence of the backend `process` against a policy: rows of a report. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

static const char *capabilities_shown(struct pst_checking *c, uint32_t capabilities)
{
    const char *text = "";
#define X(name, bit, word, sentence)  \
    if ((capabilities & (name)) != 0) \
        text = pst_checking_printf(c, "%s%s%s", text, *text == '\0' ? "" : ", ", word);
    PST_CAPABILITY_MAP(X)
#undef X
    return *text != '\0' ? text : "none";
}

void pst_process_verify(struct pst_checking *c, const uint8_t *bytes, const struct pst_process_evidence *evidence)
{
    const struct pst_attestation_policy *policy = c->policy;
    bool good = pst_process_evidence_signed(bytes);
    pst_checking_that(c, "process.signature", good, "Ed25519 by the node's key",
                      good ? "good" : "not by that key, or over other bytes");
    c->signatures_good += good;
    pst_checking_add(c, "process.node_key", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->node_key, 32));
    if (policy->node_keys.count != 0)
        pst_checking_digests(c, "process.node_key", &policy->node_keys, evidence->node_key, 32);
    else
        pst_checking_expect(c, "process.node_key", false, "one of the policy's node_keys, which has none");
    c->root_good = policy->node_keys.count != 0; /* that it is one of them is a row */
    pst_checking_that(c, "process.capabilities",
                      (evidence->capabilities & ~(uint32_t)PST_CAPABILITIES_OF_SOFTWARE) == 0,
                      pst_checking_printf(c, "%s at most", capabilities_shown(c, PST_CAPABILITIES_OF_SOFTWARE)),
                      capabilities_shown(c, evidence->capabilities));
    /* A measurement of what does not run is none. */
    const uint32_t wanted = policy->capabilities | (policy->measurements.count != 0 ? PST_EXEC_MEASURED : 0u);
    if ((wanted & ~evidence->capabilities) != 0)
        pst_checking_expect(c, "process.capabilities", false,
                            pst_checking_printf(c, "%s at least", capabilities_shown(c, wanted)));
    pst_checking_debug(c, "process.debug", (evidence->flags & PST_PROCESS_DEBUG) != 0);
    pst_checking_add(c, "process.epc_bytes", PST_CHECK_OPEN, "-",
                     pst_checking_printf(c, "%llu", (unsigned long long)evidence->epc_bytes));
    pst_checking_add(c, "process.measurement", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->measurement, 32));
    pst_checking_digests(c, "process.measurement", &policy->measurements, evidence->measurement, 32);
    pst_checking_add(c, "process.nonce", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->nonce, 64));
    pst_checking_nonce(c, "process.nonce", evidence->nonce, 64);
    pst_checking_add(c, "process.channel_key", PST_CHECK_OPEN, "-", pst_checking_hex(c, evidence->channel_key, 32));
    c->report->measurement.byte_count = 32;
    memcpy(c->report->measurement.bytes, evidence->measurement, 32);
    memcpy(c->report->report_data, evidence->nonce, 64);
    memcpy(c->report->channel_key, evidence->channel_key, 32);
}
