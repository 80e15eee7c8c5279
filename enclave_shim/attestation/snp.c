/* snp.c - attestation reports of AMD SEV-SNP, and the certificates of the keys that sign them.
 *
 * Sources: AMD 56860, "SEV Secure Nested Paging Firmware ABI Specification", ATTESTATION_REPORT and TCB_VERSION; AMD 57230, "Versioned
 * Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", extensions of a VCEK. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

/* name, offset, bytes, kind */
#define SNP_FIELDS(X)                                               \
    X(VERSION, "report.version", 0x000, 4, NUMBER)                  \
    X(GUEST_SVN, "report.guest_svn", 0x004, 4, NUMBER)              \
    X(POLICY, "report.policy", 0x008, 8, BITS)                      \
    X(FAMILY_ID, "report.family_id", 0x010, 16, BYTES)              \
    X(IMAGE_ID, "report.image_id", 0x020, 16, BYTES)                \
    X(VMPL, "report.vmpl", PST_SNP_VMPL_OFFSET, 4, NUMBER)          \
    X(ALGORITHM, "report.signature_algo", 0x034, 4, NUMBER)         \
    X(CURRENT_TCB, "report.current_tcb", 0x038, 8, BITS)            \
    X(PLATFORM, "report.platform_info", 0x040, 8, BITS)             \
    X(KEY_INFO, "report.key_info", 0x048, 4, BITS)                  \
    X(REPORT_DATA, "report.report_data", 0x050, 64, BYTES)          \
    X(MEASUREMENT, "report.measurement", 0x090, 48, BYTES)          \
    X(HOST_DATA, "report.host_data", 0x0c0, 32, BYTES)              \
    X(ID_KEY, "report.id_key_digest", 0x0e0, 48, BYTES)             \
    X(AUTHOR_KEY, "report.author_key_digest", 0x110, 48, BYTES)     \
    X(REPORT_ID, "report.report_id", 0x140, 32, BYTES)              \
    X(REPORT_ID_MA, "report.report_id_ma", 0x160, 32, BYTES)        \
    X(REPORTED_TCB, "report.reported_tcb", 0x180, 8, BITS)          \
    X(CPUID, "report.cpuid", 0x188, 3, BYTES)                       \
    X(CHIP_ID, "report.chip_id", 0x1a0, 64, BYTES)                  \
    X(COMMITTED_TCB, "report.committed_tcb", 0x1e0, 8, BITS)        \
    X(CURRENT_BUILD, "report.current_version", 0x1e8, 3, BYTES)     \
    X(COMMITTED_BUILD, "report.committed_version", 0x1ec, 3, BYTES) \
    X(LAUNCH_TCB, "report.launch_tcb", 0x1f0, 8, BITS)
enum field {
#define X(id, name, offset, bytes, kind) id,
    SNP_FIELDS(X)
#undef X
};
const struct pst_layout_field pst_snp_fields[] = {
#define X(id, name, offset, bytes, kind) {name, offset, bytes, PST_LAYOUT_##kind},
    SNP_FIELDS(X)
#undef X
};
const uint32_t pst_snp_field_count = sizeof pst_snp_fields / sizeof *pst_snp_fields;

enum {
    VERSION_MIN = 2,
    VERSION_MAX = 5,
    VERSION_CPUID = 3, /* from it on the report names the processor */
    ECDSA_P384_SHA384 = 1,
    POLICY_MIGRATE_MA = 18, /* bits */
    POLICY_DEBUG = 19,
    KEY_VCEK = 0,
    KEY_VLEK = 1,
    HALF_BYTES = 48, /* of a signature; 72 are reserved for each, then zeros up to the end */
    S_OFFSET = PST_SNP_SIGNED_BYTES + 72,
    CHIP_TURIN_BYTES = 8,
};

static const uint8_t *bytes_of(const uint8_t *report, enum field field)
{
    return report + pst_snp_fields[field].offset;
}
static uint64_t number_of(const uint8_t *report, enum field field)
{
    return pst_le(bytes_of(report, field), pst_snp_fields[field].bytes);
}

/* ---- generations ---- */
/* By family and models of the processor (CPUID); where in TCB_VERSION each part stands, -1: nowhere. */
static const struct generation {
    const char *name;
    uint8_t family, model_min, model_max;
    int8_t part[PST_TCB_PART_COUNT];
} generations[] = {
    {"Milan", 0x19, 0x00, 0x0f, {0, 1, 6, 7, -1}},
    {"Genoa", 0x19, 0x10, 0x1f, {0, 1, 6, 7, -1}},
    {"Genoa", 0x19, 0xa0, 0xaf, {0, 1, 6, 7, -1}}, /* Bergamo and Siena: with Genoa's keys */
    {"Turin", 0x1a, 0x00, 0x1f, {1, 2, 3, 7, 0}},
};

static const struct generation *generation_of_name(const char *name)
{
    for (size_t i = 0; i < sizeof generations / sizeof *generations; i++)
        if (strcmp(generations[i].name, name) == 0)
            return &generations[i];
    return NULL;
}

static const struct generation *generation_of_cpuid(uint8_t family, uint8_t model)
{
    for (size_t i = 0; i < sizeof generations / sizeof *generations; i++)
        if (generations[i].family == family && model >= generations[i].model_min && model <= generations[i].model_max)
            return &generations[i];
    return NULL;
}

static struct pst_snp_tcb tcb_of(const struct generation *generation, const uint8_t *bytes)
{
    struct pst_snp_tcb tcb = {{0}};
    for (int i = 0; i < PST_TCB_PART_COUNT; i++)
        tcb.parts[i] = generation->part[i] >= 0 ? bytes[generation->part[i]] : 0;
    return tcb;
}

/* ---- certificates ---- */
/* A DER INTEGER of 0 to 255, all of the bytes. */
static bool small_integer(const uint8_t *bytes, size_t byte_count, uint8_t *ret_value)
{
    bool one = byte_count == 3 && bytes[0] == 0x02 && bytes[1] == 1 && bytes[2] < 0x80;
    bool two = byte_count == 4 && bytes[0] == 0x02 && bytes[1] == 2 && bytes[2] == 0 && bytes[3] >= 0x80;
    if (one || two)
        *ret_value = bytes[byte_count - 1];
    return one || two;
}

/* "Milan-B0": the generation, and the stepping of a VCEK's. */
static bool product_take(X509 *certificate, char ret_product[32])
{
    size_t byte_count = 0, name_bytes = 0;
    const uint8_t *bytes = pst_certificate_extension(certificate, "1.3.6.1.4.1.3704.1.2", &byte_count);
    if (bytes == NULL || byte_count < 3 || byte_count > 32 || bytes[0] != 0x16 || bytes[1] != byte_count - 2)
        return false;
    while (name_bytes < byte_count - 2 && bytes[2 + name_bytes] != '-')
        name_bytes++;
    memcpy(ret_product, bytes + 2, name_bytes);
    ret_product[name_bytes] = '\0';
    return name_bytes != 0 && strlen(ret_product) == name_bytes;
}

int pst_snp_certificate_parse(X509 *certificate, struct pst_snp_certificate *ret, const char **ret_why)
{
    static const char *const oids[PST_TCB_PART_COUNT] = {"1.3.6.1.4.1.3704.1.3.1", "1.3.6.1.4.1.3704.1.3.2",
                                                         "1.3.6.1.4.1.3704.1.3.3", "1.3.6.1.4.1.3704.1.3.8",
                                                         "1.3.6.1.4.1.3704.1.3.9"};
    memset(ret, 0, sizeof *ret);
    *ret_why = "its extension for the product is missing or malformed";
    if (!product_take(certificate, ret->product))
        return PST_EDATA;
    for (int i = 0; i < PST_TCB_PART_COUNT; i++) {
        size_t byte_count = 0;
        const uint8_t *bytes = pst_certificate_extension(certificate, oids[i], &byte_count);
        *ret_why = "an extension for the TCB is missing or malformed";
        if (bytes == NULL && i == PST_TCB_PART_FMC)
            continue; /* Milan and Genoa have none */
        if (bytes == NULL || !small_integer(bytes, byte_count, &ret->tcb.parts[i]))
            return PST_EDATA;
    }
    size_t chip_bytes = 0;
    const uint8_t *chip = pst_certificate_extension(certificate, "1.3.6.1.4.1.3704.1.4", &chip_bytes);
    if (chip != NULL && chip_bytes >= 2 && chip[0] == 0x04 && chip[1] == chip_bytes - 2 && chip_bytes != 64) {
        chip += 2; /* some are an OCTET STRING within the extension's own */
        chip_bytes -= 2;
    }
    *ret_why = "its extension for the chip is malformed";
    if (chip != NULL && chip_bytes != 64 && chip_bytes != CHIP_TURIN_BYTES)
        return PST_EDATA;
    ret->chip_given = chip != NULL;
    if (chip != NULL)
        memcpy(ret->chip_id, chip, chip_bytes);
    return PST_OK;
}

/* ---- checks ---- */
static bool signature_good(const uint8_t *report, X509 *certificate)
{
    uint8_t r[HALF_BYTES], s[HALF_BYTES];
    for (int i = 0; i < HALF_BYTES; i++) { /* little endian there */
        r[i] = report[PST_SNP_SIGNED_BYTES + HALF_BYTES - 1 - i];
        s[i] = report[S_OFFSET + HALF_BYTES - 1 - i];
    }
    return pst_ecdsa_verify(X509_get0_pubkey(certificate), "P-384", EVP_sha384(), report, PST_SNP_SIGNED_BYTES, r, s,
                            HALF_BYTES);
}

/* Of the certificates with the right name the one whose key has signed; else the first of them. */
static X509 *leaf_find(const uint8_t *report, STACK_OF(X509) * certificates, const char *name)
{
    X509 *first = NULL;
    for (int i = 0; i < sk_X509_num(certificates); i++) {
        X509 *certificate = sk_X509_value(certificates, i);
        if (!pst_certificate_name_is(certificate, name))
            continue;
        if (signature_good(report, certificate))
            return certificate;
        first = first != NULL ? first : certificate;
    }
    return first;
}

static const char *tcb_shown(struct pst_checking *c, const struct generation *generation, const struct pst_snp_tcb *tcb)
{
    const char *text = "";
    for (int i = 0; i < PST_TCB_PART_COUNT; i++)
        if (generation->part[i] >= 0)
            text = pst_checking_printf(c, "%s%s%s %u", text, *text == '\0' ? "" : ", ", pst_tcb_part_names[i],
                                       tcb->parts[i]);
    return text;
}

static void product_check(struct pst_checking *c, const uint8_t *report, const struct pst_snp_certificate *key,
                          X509 *root)
{
    const char *root_name = root != NULL ? pst_certificate_name(c, root) : "?";
    bool good = strncmp(root_name, "ARK-", 4) == 0 && strcmp(root_name + 4, key->product) == 0;
    pst_checking_that(c, "certificate.product", good && generation_of_name(key->product) != NULL,
                      strncmp(root_name, "ARK-", 4) == 0 ? root_name + 4 : "that of the ARK", key->product);
    if (number_of(report, VERSION) < VERSION_CPUID)
        return;
    const uint8_t *cpuid = bytes_of(report, CPUID);
    const struct generation *generation = generation_of_cpuid(cpuid[0], cpuid[1]);
    pst_checking_expect(c, "report.cpuid", generation != NULL && strcmp(generation->name, key->product) == 0,
                        pst_checking_printf(c, "family, model and stepping of %s", key->product));
}

static void tcb_check(struct pst_checking *c, const uint8_t *report, const struct pst_snp_certificate *key,
                      const struct generation *generation)
{
    struct pst_snp_tcb reported = tcb_of(generation, bytes_of(report, REPORTED_TCB));
    pst_checking_that(c, "certificate.tcb", memcmp(&reported, &key->tcb, sizeof reported) == 0,
                      pst_checking_printf(c, "that of the report: %s", tcb_shown(c, generation, &reported)),
                      tcb_shown(c, generation, &key->tcb));
    for (int i = 0; i < PST_TCB_PART_COUNT; i++) {
        if (c->policy->tcb_min[i] > 0)
            pst_checking_that(c, pst_checking_printf(c, "tcb.%s", pst_tcb_part_names[i]),
                              generation->part[i] >= 0 && reported.parts[i] >= c->policy->tcb_min[i],
                              pst_checking_printf(c, "at least %lld", (long long)c->policy->tcb_min[i]),
                              generation->part[i] >= 0 ? pst_checking_printf(c, "%u", reported.parts[i])
                                                       : "this generation has none");
    }
}

static void certificate_check(struct pst_checking *c, const uint8_t *report, X509 *leaf, X509 *root, bool vlek)
{
    struct pst_snp_certificate key;
    const char *why = NULL;
    if (pst_snp_certificate_parse(leaf, &key, &why) != PST_OK) {
        pst_checking_that(c, "certificate.extensions", false, "those of AMD 57230", why);
        return;
    }
    product_check(c, report, &key, root);
    const struct generation *generation = generation_of_name(key.product);
    if (generation != NULL)
        tcb_check(c, report, &key, generation);
    if (vlek)
        return; /* such a key is a cloud's, for all of its chips */
    pst_checking_expect(c, "report.chip_id",
                        key.chip_given && memcmp(key.chip_id, bytes_of(report, CHIP_ID), sizeof key.chip_id) == 0,
                        key.chip_given ? pst_checking_hex(c, key.chip_id, sizeof key.chip_id)
                                       : "an extension for the chip in the VCEK");
}

static uint64_t key_kind(const uint8_t *report) { return number_of(report, KEY_INFO) >> 2 & 7; }

/* *ret_root is NULL where there is no whole chain. NULL: there is not even a leaf. */
static X509 *key_check(struct pst_checking *c, const uint8_t *report, STACK_OF(X509) * certificates, X509 **ret_root)
{
    static const char *const vcek_roles[] = {"vcek", "ask", "ark", NULL}, *const vlek_roles[] = {"vlek", "asvk", "ark",
                                                                                                 NULL};
    const bool vlek = key_kind(report) == KEY_VLEK;
    X509 *leaf = leaf_find(report, certificates, vlek ? "SEV-VLEK" : "SEV-VCEK");
    if (leaf == NULL) {
        pst_checking_that(c, vlek ? "chain.snp.vlek" : "chain.snp.vcek", false,
                          vlek ? "a certificate of the VLEK" : "a certificate of the VCEK", "none was given");
        return NULL;
    }
    struct pst_chain chain = {.name = "snp",
                              .roles = vlek ? vlek_roles : vcek_roles,
                              .vendor = PST_VENDOR_AMD,
                              .leaf = leaf,
                              .others = certificates,
                              .crls = c->crls};
    c->root_good = pst_chain_verify(c, &chain, ret_root);
    bool good = signature_good(report, leaf);
    pst_checking_that(c, "report.signature", good, "ECDSA P-384 with SHA-384 by that key",
                      good ? "good" : "not by that key, or over other bytes");
    c->signatures_good += good;
    return leaf;
}

void pst_snp_verify(struct pst_checking *c, const uint8_t *report, STACK_OF(X509) * certificates, bool nonce)
{
    const struct pst_attestation_policy *policy = c->policy;
    uint64_t version = number_of(report, VERSION), key = key_kind(report);
    X509 *root = NULL, *leaf = key_check(c, report, certificates, &root);
    pst_checking_fields(c, pst_snp_fields, pst_snp_field_count, report);
    pst_checking_expect(c, "report.version", version >= VERSION_MIN && version <= VERSION_MAX,
                        pst_checking_printf(c, "%d to %d", VERSION_MIN, VERSION_MAX));
    pst_checking_expect(c, "report.signature_algo", number_of(report, ALGORITHM) == ECDSA_P384_SHA384,
                        "1: ECDSA P-384 with SHA-384");
    pst_checking_expect(c, "report.key_info", key == KEY_VCEK || key == KEY_VLEK, "signed by a VCEK or a VLEK");
    if (leaf != NULL)
        certificate_check(c, report, leaf, root, key == KEY_VLEK);
    bool zero = pst_all_zero(report + PST_SNP_SIGNED_BYTES + HALF_BYTES, 72 - HALF_BYTES) &&
                pst_all_zero(report + S_OFFSET + HALF_BYTES, PST_SNP_REPORT_BYTES - S_OFFSET - HALF_BYTES);
    pst_checking_that(c, "report.signature_padding", zero, "zeros", zero ? "zeros" : "something else");
    pst_checking_debug(c, "report.policy.debug", (number_of(report, POLICY) >> POLICY_DEBUG & 1) != 0);
    const bool moves = (number_of(report, POLICY) >> POLICY_MIGRATE_MA & 1) != 0;
    pst_checking_that(c, "report.policy.migrate_ma", !moves, "off: no other guest gets its memory's keys",
                      moves ? "on" : "off");
    pst_checking_digests(c, "report.measurement", &policy->measurements, bytes_of(report, MEASUREMENT), 48);
    pst_checking_digests(c, "report.id_key_digest", &policy->signers, bytes_of(report, ID_KEY), 48);
    pst_checking_digests(c, "report.host_data", &policy->host_data, bytes_of(report, HOST_DATA), 32);
    pst_checking_expect(c, "report.vmpl", number_of(report, VMPL) <= (uint64_t)policy->vmpl_max,
                        pst_checking_printf(c, "%lld at most", (long long)policy->vmpl_max));
    pst_checking_number_min(c, "report.guest_svn", policy->svn_min, number_of(report, GUEST_SVN));
    if (nonce)
        pst_checking_nonce(c, "report.report_data", bytes_of(report, REPORT_DATA), 64);
    c->report->measurement.byte_count = 48;
    memcpy(c->report->measurement.bytes, bytes_of(report, MEASUREMENT), 48);
    memcpy(c->report->report_data, bytes_of(report, REPORT_DATA), 64);
}
