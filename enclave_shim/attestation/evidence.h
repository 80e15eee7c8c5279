/* enclave_shim/attestation/evidence.h - is this evidence of a trusted execution environment genuine, and is it what a policy wants?
 *
 * Holds:    what backends there are, policies as one table of keys, verification of evidence to a report of checks, and evidence of
 *           the backend `process`, which is made here, too.
 * Refuses:  files, the network, the clock: bytes and a time come in, a report goes out. All of it works offline.
 * Thread:   any; what is borrowed stays as it is meanwhile.
 * Holds true:
 *   A1  a report is accepted only where every check that was made has passed, and one was made of the signature, its keys and their root
 *   A2  software evidence is accepted only where allow_software says so
 *   A3  the same bytes, policy and time give the same report
 */
#ifndef PST_EVIDENCE_H
#define PST_EVIDENCE_H

#include "base/base.h"

/* ---- backends ---- */
/* Names as in Trustee (confidential-containers), but for `process`. */
#define PST_BACKEND_MAP(X)                                                                                          \
    X(PST_BACKEND_SNP, "snp", true, "an attestation report of AMD SEV-SNP")                                         \
    X(PST_BACKEND_TDX, "tdx", true, "a quote of Intel TDX")                                                         \
    X(PST_BACKEND_SGX, "sgx", true, "a quote of Intel SGX")                                                         \
    X(PST_BACKEND_AZ_SNP_VTPM, "az-snp-vtpm", true, "SEV-SNP on Azure: a report within that of a virtual TPM")      \
    X(PST_BACKEND_AZ_TDX_VTPM, "az-tdx-vtpm", true, "TDX on Azure: a quote bound to a virtual TPM")                 \
    X(PST_BACKEND_PROCESS, "process", false, "software: a worker's report, signed by the key of its node")          \
    X(PST_BACKEND_TPM, "tpm", false, "a TPM's quote of a node's key: which machine and what it booted, no enclave") \
    X(PST_BACKEND_PROCESS_SNP, "process-snp", true,                                                                 \
      "a worker's report, signed by the key of its node, and a report of AMD SEV-SNP over it")                      \
    X(PST_BACKEND_PROCESS_TDX, "process-tdx", true,                                                                 \
      "a worker's report, signed by the key of its node, and a quote of Intel TDX over it")
typedef enum pst_backend {
#define X(name, text, hardware, sentence) name,
    PST_BACKEND_MAP(X)
#undef X
        PST_BACKEND_COUNT
} pst_backend;
extern const char *const pst_backend_names[]; /* by pst_backend; ended by NULL */
const char *pst_backend_sentence(pst_backend backend);
bool pst_backend_hardware(pst_backend backend);
/* What a worker or machine with such evidence protects from, from whom it does not, and what root can still do: ends of sentences. Whatever
 * tells people of it takes it from here. */
struct pst_backend_words {
    const char *protects_from; /* "protects from ..." */
    const char *not_from;      /* "not from ..." */
    const char *root_can;      /* "root can still: ..." */
};
const struct pst_backend_words *pst_backend_words(pst_backend backend);

/* ---- policies ---- */
/* Parts of the version of an SEV-SNP platform's trusted computing base (AMD 56860, TCB_VERSION). */
#define PST_TCB_PART_MAP(X)                  \
    X(PST_TCB_PART_BOOTLOADER, "bootloader") \
    X(PST_TCB_PART_TEE, "tee")               \
    X(PST_TCB_PART_SNP, "snp")               \
    X(PST_TCB_PART_MICROCODE, "microcode")   \
    X(PST_TCB_PART_FMC, "fmc") /* from Turin on */
typedef enum pst_tcb_part {
#define X(name, text) name,
    PST_TCB_PART_MAP(X)
#undef X
        PST_TCB_PART_COUNT
} pst_tcb_part;
extern const char *const pst_tcb_part_names[];
extern const char *const pst_pcr_names[];        /* "0" to "23"; ended by NULL */
extern const char *const pst_capability_names[]; /* by their bits; ended by NULL */

/* Of an Intel platform, as in its TCB info. The last two can never be accepted, and have no name in a policy. */
#define PST_TCB_STATUS_MAP(X)                                                             \
    X(PST_TCB_UP_TO_DATE, "UpToDate")                                                     \
    X(PST_TCB_SW_HARDENING_NEEDED, "SWHardeningNeeded")                                   \
    X(PST_TCB_CONFIGURATION_NEEDED, "ConfigurationNeeded")                                \
    X(PST_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED, "ConfigurationAndSWHardeningNeeded") \
    X(PST_TCB_OUT_OF_DATE, "OutOfDate")                                                   \
    X(PST_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED, "OutOfDateConfigurationNeeded")           \
    X(PST_TCB_NO_COLLATERAL, "NoCollateral") /* ours: none was given, so nothing is known */
typedef enum pst_tcb_status {
#define X(name, text) name,
    PST_TCB_STATUS_MAP(X)
#undef X
        PST_TCB_STATUS_COUNT,
    PST_TCB_REVOKED = PST_TCB_STATUS_COUNT,
    PST_TCB_NOT_SUPPORTED, /* lower than every level of the TCB info */
} pst_tcb_status;
extern const char *const pst_tcb_status_names[]; /* ended by NULL, before the last two */

enum { PST_DIGEST_BYTES_MAX = 48, PST_PCR_COUNT = 24 };
struct pst_digest {
    uint8_t bytes[PST_DIGEST_BYTES_MAX];
    uint32_t byte_count;
};
struct pst_digests { /* any of these is accepted; none at all: it is not checked */
    struct pst_digest *items;
    uint32_t count;
};
struct pst_attestation_policy {
    uint32_t backends;      /* bit i: the pst_backend i */
    uint32_t tcb_statuses;  /* bit i: the pst_tcb_status i */
    uint32_t capabilities;  /* bits of PST_CAPABILITY_MAP: evidence of `process` has to have all of these */
    uint32_t pcr_selection; /* bit i: a quote of a node's TPM has to be of the PCR i */
    struct pst_digests measurements, signers, host_data, rtmr0, rtmr1, rtmr2, rtmr3, pcr_digests, roots, node_keys;
    struct pst_digests tpm_keys, tpm_firmware;
    struct pst_digests pcrs[PST_PCR_COUNT];
    bool debug, nonce;
    int64_t svn_min, vmpl_max, collateral_age_days_max, tcb_evaluation_min;
    int64_t tcb_min[PST_TCB_PART_COUNT];
};
/* What may be said of a policy, once: the parser of its file, help and documents follow this table. */
typedef enum pst_policy_kind {
    PST_POLICY_NAMES = 1, /* uint32_t, a bit for each of `names` */
    PST_POLICY_DIGESTS,   /* struct pst_digests: bytes in hexadecimal digits, of one of two sizes */
    PST_POLICY_SWITCH,    /* bool */
    PST_POLICY_NUMBER,    /* int64_t */
    PST_POLICY_NUMBERS,   /* an int64_t for each of `names` */
    PST_POLICY_DIGESTS_OF /* struct pst_digests for each of `names` */
} pst_policy_kind;
typedef enum pst_policy_absent { PST_POLICY_ANY = 0, PST_POLICY_BUILT_IN, PST_POLICY_NONE } pst_policy_absent;
struct pst_policy_key {
    const char *name;
    pst_policy_kind kind;
    size_t offset;            /* in struct pst_attestation_policy */
    const char *const *names; /* ended by NULL */
    int64_t min, max;         /* of a number; of digests their sizes in bytes, the small one and the large one */
    int64_t standard; /* of a bit set, switch or number; of digests, which need not be there, a pst_policy_absent */
    const char *help;
};
extern const struct pst_policy_key pst_policy_keys[]; /* ended by a NULL name */
enum { PST_POLICY_VERSION = 1 };
/* "UpToDate", "false", "30": what holds where a policy says nothing of it. PST_ENOMEM. */
int pst_policy_standard_print(const struct pst_policy_key *key, struct pst_text *text);
/* The standard one: genuine hardware that is not in debug mode, up to date, of any measurement. */
void pst_attestation_policy_init(struct pst_attestation_policy *policy);

/* ---- verification ---- */
struct pst_bytes { /* borrowed */
    const uint8_t *bytes;
    size_t count;
    const char *name; /* for sentences: the file's */
};
enum { PST_EVIDENCE_CERTIFICATES_MAX = 64 }; /* files of them, for who adds one that came along */
struct pst_evidence_request {                /* all of it borrowed */
    struct pst_bytes evidence;
    bool kind_given; /* else it is found by the bytes */
    pst_backend kind;
    const struct pst_bytes *certificates; /* PEM, with many in a file, DER, or an SNP guest's table of them */
    const struct pst_bytes
        *roots; /* the same; none: fingerprints of the policy's `roots`, or those that are built in */
    const struct pst_bytes *crls;
    uint32_t certificate_count, root_count, crl_count;
    struct pst_bytes collateral;                 /* of Intel, JSON; bytes NULL: none */
    const struct pst_attestation_policy *policy; /* NULL: the standard one */
    const uint8_t *nonce; /* what the evidence has to hold as report data, followed by zeros; NULL: it is not checked */
    size_t nonce_bytes;
    int64_t at_s; /* seconds since 1970-01-01T00:00:00Z */
    bool allow_debug, allow_software;
};
typedef enum pst_check_result { PST_CHECK_OPEN = 0, PST_CHECK_PASSED, PST_CHECK_FAILED } pst_check_result;
struct pst_check {        /* printable ASCII */
    const char *name;     /* "report.measurement": of the evidence; "chain.vcek": of what it is checked with */
    const char *expected; /* "-": nothing was */
    const char *actual;
    pst_check_result result; /* OPEN: shown, and not checked */
};
struct pst_evidence_report { /* memory is the report's; ended by _fini() whatever pst_evidence_verify() returned */
    pst_backend backend;
    bool accepted;
    const struct pst_check *checks;
    uint32_t check_count;
    bool collateral; /* what follows is known */
    int64_t collateral_from_s,
        collateral_until_s; /* issued, the older of TCB info and QE identity; the first end of all parts */
    struct pst_digest measurement;
    uint8_t report_data[64]; /* as it stands in the evidence: of `process`, the verifier's nonce */
    uint8_t channel_key[32]; /* of `process` */
    const char *why;         /* PST_EDATA: a sentence that names the input */
    struct pst_arena arena;  /* private */
    struct pst_check *all;   /* private */
    uint32_t capacity;       /* private */
};
/* PST_OK: the report says whether it is accepted. PST_EDATA: the bytes are no evidence, or no certificates, collateral (`why`).
 * PST_ENOMEM. Cost: some milliseconds, for signatures. */
int pst_evidence_verify(const struct pst_evidence_request *request, struct pst_evidence_report *ret_report);
void pst_evidence_report_fini(struct pst_evidence_report *report);
/* Of a request without evidence, for who is about to ask again and again: are its certificates, roots, lists and collateral what they should
 * be? As pst_evidence_verify(); the report has no rows. */
int pst_evidence_request_check(const struct pst_evidence_request *request, struct pst_evidence_report *ret_report);
/* The first that failed, or NULL. */
const struct pst_check *pst_evidence_report_failed(const struct pst_evidence_report *report);

/* ---- the evidence of the machine that this runs on ---- */
#define PST_TSM_DIRECTORY "/sys/kernel/config/tsm/report"
enum {
    PST_TSM_INBLOB_BYTES_MAX = 64,
    PST_TSM_PROVIDER_BYTES = 64,
    PST_TSM_BLOB_BYTES_MAX = 1 << 20,
    PST_TSM_PATH_BYTES = 512
};
struct pst_tsm_report {               /* ended by _fini() */
    uint8_t *evidence, *certificates; /* a report or quote; what the host gave along with it, NULL: nothing */
    size_t evidence_bytes, certificate_bytes;
    char provider[PST_TSM_PROVIDER_BYTES]; /* "sev_guest", "tdx_guest" */
};
/* Asks the kernel, by a folder of its own in `directory` that is removed again (Linux, Documentation/ABI/testing/configfs-tsm).
 * `nonce`, 1 to PST_TSM_INBLOB_BYTES_MAX bytes, becomes the report data; it is padded with zeros to all of them. PST_EINVAL: it is longer.
 * PST_ENOENT, PST_EREFUSED, PST_EIO: pst_system_error(), and *ret_path is the file; PST_EDATA: somebody else has changed the request
 * meanwhile, or a part is too large; PST_ENOMEM. Thread: one that may wait for the firmware. */
int pst_tsm_report(struct pst_world *world, const char *directory, const uint8_t *nonce, size_t nonce_bytes,
                   struct pst_tsm_report *ret_report, char ret_path[PST_TSM_PATH_BYTES]);
void pst_tsm_report_fini(struct pst_tsm_report *report);

/* ---- time, as certificates and collateral have it ---- */
enum { PST_TIME_TEXT_BYTES = 80 };
int pst_time_parse(const char *text, int64_t *ret_s); /* "2025-07-01T00:00:00Z", "2025-07-01"; PST_EINVAL */
void pst_time_print(int64_t s, char ret_text[PST_TIME_TEXT_BYTES]); /* the first form */

/* ---- evidence of `process` ----
 * 256 bytes, little endian. A reader refuses a version it does not know.
 *    0 u8[8] "pstproc", NUL    8 u32 version      12 u32 capabilities
 *   16 u64 EPC budget, bytes  24 u32 flags        28 u32 zero
 *   32 u8[32] measurement     64 u8[64] nonce    128 u8[32] channel key, X25519
 *  160 u8[32] node key, Ed25519                  192 u8[64] signature, Ed25519, over PST_PROCESS_LABEL and bytes 0 to 191
 * It proves that who holds the node's key has said so, and no more: nothing of it comes from the processor. */
#define PST_PROCESS_FIELDS(X)              \
    X(MAGIC, "magic", 0, 8)                \
    X(VERSION, "version", 8, 4)            \
    X(CAPABILITIES, "capabilities", 12, 4) \
    X(EPC, "epc_bytes", 16, 8)             \
    X(FLAGS, "flags", 24, 4)               \
    X(ZERO, "reserved", 28, 4)             \
    X(MEASUREMENT, "measurement", 32, 32)  \
    X(NONCE, "nonce", 64, 64)              \
    X(CHANNEL, "channel_key", 128, 32)     \
    X(NODE, "node_key", 160, 32)           \
    X(SIGNATURE, "signature", 192, 64)
#define PST_PROCESS_LABEL "penstock process evidence 1"
enum { PST_PROCESS_EVIDENCE_BYTES = 256, PST_PROCESS_VERSION = 1, PST_PROCESS_DEBUG = 1 };
/* What a backend protects from, or offers: bits of `capabilities`. */
#define PST_CAPABILITY_MAP(X)                                                      \
    X(PST_CONF_USER, 0, "conf_user", "other users of the machine cannot read it")  \
    X(PST_CONF_ROOT, 1, "conf_root", "nor can root")                               \
    X(PST_CONF_HYPERVISOR, 2, "conf_hypervisor", "nor can the hypervisor")         \
    X(PST_RAM_INTEGRITY, 3, "ram_integrity", "memory that was changed is noticed") \
    X(PST_RAM_REPLAY, 4, "ram_replay", "memory that was put back is noticed")      \
    X(PST_HW_ATTESTED, 5, "hw_attested", "hardware signs the evidence")            \
    X(PST_EXEC_MEASURED, 6, "exec_measured", "the code that runs is measured")
enum {
#define X(name, bit, text, sentence) name = 1 << (bit),
    PST_CAPABILITY_MAP(X)
#undef X
        PST_CAPABILITIES_OF_SOFTWARE = PST_CONF_USER | PST_EXEC_MEASURED, /* at most */
};
struct pst_process_evidence {
    uint32_t capabilities, flags;
    uint64_t epc_bytes;
    uint8_t measurement[32], nonce[64], channel_key[32];
    uint8_t node_key[32]; /* set by signing */
};
/* `node_key` is the seed of an Ed25519 key, borrowed and not kept. PST_EINVAL: capabilities that software cannot have, or unknown
 * flags; PST_ENOMEM. */
int pst_process_evidence_sign(const struct pst_process_evidence *evidence, const uint8_t node_key[32],
                              uint8_t ret_bytes[PST_PROCESS_EVIDENCE_BYTES]);
/* Takes the bytes apart; the signature is not looked at. PST_EDATA: *ret_why. */
int pst_process_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_process_evidence *ret_evidence,
                               const char **ret_why);
/* By the node key that it names, over what it says; whose key that is is another question. */
bool pst_process_evidence_signed(const uint8_t bytes[PST_PROCESS_EVIDENCE_BYTES]);
int pst_process_node_key(const uint8_t node_key[32], uint8_t ret_public[32]); /* PST_ENOMEM */

/* ---- hardware's evidence of a node's machine ----
 * Right behind the 256 bytes of `process`: then the kind is `process-snp` or `process-tdx`. Little endian; a reader refuses a version it does
 * not know.
 *    0 u8[8] "pstmach", NUL    8 u32 version       12 u32 zero         16 u32 bytes of the report    20 u32 bytes of certificates
 *   24 the report of SEV-SNP or the quote of TDX, as the kernel has given it; then certificates that it has given along, or none
 * The report data are SHA-512 of PST_MACHINE_LABEL and the 256 bytes. It proves that software of this confidential machine has named this
 * worker's report, key and nonce; which software that can be is what the machine's measurement says. */
#define PST_MACHINE_LABEL "penstock machine evidence 1"
enum {
    PST_MACHINE_VERSION = 1,
    PST_MACHINE_HEAD_BYTES = 24,
    PST_MACHINE_PART_BYTES_MAX = 16 * 1024, /* of the report, and of the certificates */
    PST_MACHINE_EVIDENCE_BYTES_MAX = PST_MACHINE_HEAD_BYTES + 2 * PST_MACHINE_PART_BYTES_MAX,
};
struct pst_machine_evidence { /* parts are borrowed */
    struct pst_bytes report, certificates;
};
/* PST_EINVAL: a part is too large, or there is no report; PST_EFULL: no room. */
int pst_machine_evidence_put(const struct pst_machine_evidence *evidence, uint8_t *ret_bytes, size_t room,
                             size_t *ret_count);
bool pst_machine_evidence_begins(const uint8_t *bytes, size_t byte_count);
/* Takes the envelope apart; of what the hardware has signed nothing is looked at. *ret_taken bytes are its own. PST_EDATA: *ret_why. */
int pst_machine_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_machine_evidence *ret_evidence,
                               size_t *ret_taken, const char **ret_why);
int pst_machine_report_data(const uint8_t process[PST_PROCESS_EVIDENCE_BYTES], uint8_t ret_data[64]); /* PST_ENOMEM */
/* Has the hardware sign for a worker's report: as pst_tsm_report(), and PST_EDATA also where what comes has no room. */
int pst_machine_evidence_ask(struct pst_world *world, const char *directory,
                             const uint8_t process[PST_PROCESS_EVIDENCE_BYTES], uint8_t *ret_bytes, size_t room,
                             size_t *ret_count, char ret_path[PST_TSM_PATH_BYTES]);

/* ---- a TPM's quote of a node's key ----
 * By itself, or behind the 256 bytes of `process` and the machine's evidence, where that is there; of the same key and nonce. Little endian; a reader refuses a version it does not know.
 *    0 u8[8] "psttpmq", NUL    8 u32 version       12 u32 zero
 *   16 u8[32] node key        48 u8[64] nonce     112 u32 bytes of public  116 of attest  120 of signature  124 u32 PCRs
 *  128 public: TPMT_PUBLIC, attest: TPMS_ATTEST, signature: TPMT_SIGNATURE, as the TPM has made them (big endian);
 *      then 32 bytes for each PCR that is quoted, the lowest number first
 * The quote's qualifying data are SHA-256 of PST_TPM_LABEL, node key and nonce. It proves that software of the machine which has this TPM
 * has named this key for this nonce, and what was booted there; nothing of it speaks of a worker's memory. */
#define PST_TPM_LABEL "penstock tpm evidence 1"
enum {
    PST_TPM_VERSION = 1,
    PST_TPM_HEAD_BYTES = 128,
    PST_TPM_PART_BYTES_MAX = 1024, /* of public, attest and signature each */
    PST_TPM_EVIDENCE_BYTES_MAX = PST_TPM_HEAD_BYTES + 3 * PST_TPM_PART_BYTES_MAX + 32 * PST_PCR_COUNT,
};
struct pst_tpm_evidence { /* parts are borrowed */
    uint8_t node_key[32], nonce[64];
    struct pst_bytes public, attest, signature;
    const uint8_t *pcrs;
    uint32_t pcr_count;
};
/* PST_EINVAL: a part is empty or too large. */
int pst_tpm_evidence_put(const struct pst_tpm_evidence *evidence, uint8_t ret_bytes[PST_TPM_EVIDENCE_BYTES_MAX],
                         size_t *ret_count);
/* Takes the envelope apart; of what the TPM made nothing is looked at. PST_EDATA: *ret_why. */
int pst_tpm_evidence_parse(const uint8_t *bytes, size_t byte_count, struct pst_tpm_evidence *ret_evidence,
                           const char **ret_why);
int pst_tpm_qualifying_data(const uint8_t node_key[32], const uint8_t nonce[64], uint8_t ret_data[32]); /* PST_ENOMEM */
/* What a TPMT_PUBLIC of a signing key says: its name as a TPM has it, and the key in PEM, which is text and NUL. PST_EDATA: *ret_why;
 * PST_ENOMEM. */
enum { PST_TPM_NAME_BYTES = 34, PST_TPM_PEM_BYTES_MAX = 2048 };
int pst_tpm_key_show(const uint8_t *bytes, size_t byte_count, uint8_t ret_name[PST_TPM_NAME_BYTES],
                     char ret_pem[PST_TPM_PEM_BYTES_MAX], const char **ret_why);

#endif
