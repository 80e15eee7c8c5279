/* collateral.c - Intel's collateral taken apart: the file, the TCB info (version 3) and the QE identity (version 2) in it.
 *
 * Sources: sgx_ql_qve_collateral_t of Intel's quote verification library, whose fields the file has as JSON texts (binary ones in
 * hexadecimal digits), as dcap-qvl and Phala's and Google's services give it out; Intel PCS API v4, "TCB info" and "Enclave identity".
 * The two inner texts are signed as they stand, so they are kept as bytes and taken apart only when the signature is known. */
#include "enclave_shim/attestation/inside.h"

#include <string.h>

struct reader { /* the first thing that is missing */
    struct pst_arena *arena;
    const char *missing;
    int rc;
};

static void missing(struct reader *r, const char *what)
{
    if (r->rc == PST_OK) {
        r->rc = PST_EDATA;
        r->missing = what;
    }
}

static void *take_memory(struct reader *r, size_t bytes)
{
    void *memory = pst_arena_alloc(r->arena, bytes);
    if (memory == NULL)
        r->rc = PST_ENOMEM;
    return memory;
}

static int finish(struct reader *r, const char *what, const char **ret_why)
{
    if (r->rc == PST_EDATA) {
        *ret_why = pst_arena_printf(r->arena, "is no %s: `%s` is missing, or is something else than it should be", what,
                                    r->missing);
        return *ret_why != NULL ? PST_EDATA : PST_ENOMEM;
    }
    return r->rc;
}

/* ---- the file ---- */
static const struct pst_json *text_at(struct reader *r, const struct pst_json *map, const char *key)
{
    const struct pst_json *text = pst_json_at(map, key, PST_JSON_TEXT);
    if (text == NULL)
        missing(r, key);
    return text;
}

static void crl_take(struct reader *r, const struct pst_json *map, const char *key, struct pst_bytes *ret_crl)
{
    const struct pst_json *text = text_at(r, map, key);
    uint8_t *bytes = text != NULL ? take_memory(r, text->text_bytes / 2 + 1) : NULL;
    if (bytes == NULL)
        return;
    if (!pst_hex_parse(text->text, text->text_bytes, bytes))
        missing(r, key);
    *ret_crl = (struct pst_bytes){bytes, text->text_bytes / 2, key};
}

static void signed_take(struct reader *r, const struct pst_json *map, const char *key, const char *signature,
                        const char *chain, struct pst_signed_text *ret_text)
{
    const struct pst_json *text = text_at(r, map, key);
    ret_text->chain = text_at(r, map, chain);
    if (!pst_json_hex(map, signature, ret_text->signature, sizeof ret_text->signature))
        missing(r, signature);
    if (text == NULL)
        return;
    ret_text->text = text->text;
    ret_text->text_bytes = text->text_bytes;
}

int pst_collateral_parse(struct pst_arena *arena, const uint8_t *bytes, size_t byte_count,
                         struct pst_collateral *ret_collateral, const char **ret_why)
{
    struct reader r = {.arena = arena};
    const struct pst_json *json = NULL;
    int rc = pst_json_parse(arena, (const char *)bytes, byte_count, &json, ret_why);
    if (rc != PST_OK)
        return rc;
    memset(ret_collateral, 0, sizeof *ret_collateral);
    crl_take(&r, json, "root_ca_crl", &ret_collateral->crls[0]);
    crl_take(&r, json, "pck_crl", &ret_collateral->crls[1]);
    signed_take(&r, json, "tcb_info", "tcb_info_signature", "tcb_info_issuer_chain", &ret_collateral->tcb_info);
    signed_take(&r, json, "qe_identity", "qe_identity_signature", "qe_identity_issuer_chain",
                &ret_collateral->qe_identity);
    return finish(&r, "collateral", ret_why);
}

/* ---- what both inner texts have ---- */
static void time_take(struct reader *r, const struct pst_json *map, const char *key, int64_t *ret_s)
{
    const struct pst_json *text = text_at(r, map, key);
    if (text != NULL && pst_time_parse(text->text, ret_s) != PST_OK)
        missing(r, key);
}

static uint64_t number_take(struct reader *r, const struct pst_json *map, const char *key, uint64_t max)
{
    uint64_t number = 0;
    if (!pst_json_number(pst_json_at(map, key, PST_JSON_NUMBER), max, &number))
        missing(r, key);
    return number;
}

static void hex_take(struct reader *r, const struct pst_json *map, const char *key, uint8_t *ret_bytes, size_t count)
{
    if (!pst_json_hex(map, key, ret_bytes, count))
        missing(r, key);
}

static pst_tcb_status status_take(struct reader *r, const struct pst_json *level)
{
    const struct pst_json *text = text_at(r, level, "tcbStatus");
    for (int status = 0; text != NULL && status <= PST_TCB_REVOKED; status++)
        if (status != PST_TCB_NO_COLLATERAL && strcmp(pst_tcb_status_name((pst_tcb_status)status), text->text) == 0)
            return (pst_tcb_status)status;
    missing(r, "tcbStatus");
    return PST_TCB_NOT_SUPPORTED;
}

static void components_take(struct reader *r, const struct pst_json *tcb, const char *key, uint8_t ret_svn[16])
{
    const struct pst_json *list = pst_json_at(tcb, key, PST_JSON_LIST);
    uint32_t i = 0;
    if (list == NULL || list->count != 16) {
        missing(r, key);
        return;
    }
    for (const struct pst_json *item = list->first; item != NULL; item = item->next)
        ret_svn[i++] = (uint8_t)number_take(r, item, "svn", UINT8_MAX);
}

/* `platform`: levels have components; else a version alone. */
static void levels_take(struct reader *r, const struct pst_json *map, bool platform, bool tdx,
                        struct pst_tcb_levels *ret_levels)
{
    const struct pst_json *list = pst_json_at(map, "tcbLevels", PST_JSON_LIST);
    if (list == NULL || list->count == 0 || list->count > PST_TCB_LEVELS_MAX) {
        missing(r, "tcbLevels");
        return;
    }
    ret_levels->levels = take_memory(r, list->count * sizeof *ret_levels->levels);
    for (const struct pst_json *item = list->first; item != NULL && r->rc == PST_OK; item = item->next) {
        struct pst_tcb_level *level = &ret_levels->levels[ret_levels->count++];
        const struct pst_json *tcb = pst_json_at(item, "tcb", PST_JSON_MAP);
        level->status = status_take(r, item);
        level->svn = (uint32_t)number_take(r, tcb, platform ? "pcesvn" : "isvsvn", UINT16_MAX);
        if (platform)
            components_take(r, tcb, "sgxtcbcomponents", level->sgx);
        if (platform && tdx)
            components_take(r, tcb, "tdxtcbcomponents", level->tdx);
    }
}

/* ---- TCB info ---- */
static void module_take(struct reader *r, const struct pst_json *map, uint32_t version, struct pst_tcb_info *info)
{
    struct pst_tdx_module *module = &info->modules[info->module_count++];
    module->version = version;
    hex_take(r, map, "mrsigner", module->signer, sizeof module->signer);
    hex_take(r, map, "attributes", module->attributes, sizeof module->attributes);
    hex_take(r, map, "attributesMask", module->attributes_mask, sizeof module->attributes_mask);
    if (version != 0)
        levels_take(r, map, false, false, &module->levels);
}

static void modules_take(struct reader *r, const struct pst_json *json, struct pst_tcb_info *info)
{
    const struct pst_json *list = pst_json_at(json, "tdxModuleIdentities", PST_JSON_LIST);
    module_take(r, pst_json_at(json, "tdxModule", PST_JSON_MAP), 0, info);
    if (list == NULL)
        return; /* an older text knows old modules alone */
    if (list->count >= PST_TDX_MODULES_MAX)
        missing(r, "tdxModuleIdentities");
    for (const struct pst_json *item = list->first; item != NULL && r->rc == PST_OK; item = item->next) {
        const struct pst_json *id = text_at(r, item, "id");
        uint8_t version = 0;
        if (id != NULL && (id->text_bytes != 6 || memcmp(id->text, "TDX_", 4) != 0 ||
                           !pst_hex_parse(id->text + 4, 2, &version) || version == 0))
            missing(r, "id");
        if (r->rc == PST_OK)
            module_take(r, item, version, info);
    }
}

int pst_tcb_info_parse(struct pst_arena *arena, const char *text, size_t text_bytes, struct pst_tcb_info *ret_info,
                       const char **ret_why)
{
    struct reader r = {.arena = arena};
    const struct pst_json *json = NULL;
    int rc = pst_json_parse(arena, text, text_bytes, &json, ret_why);
    if (rc != PST_OK)
        return rc;
    memset(ret_info, 0, sizeof *ret_info);
    const struct pst_json *id = text_at(&r, json, "id");
    ret_info->tdx = id != NULL && strcmp(id->text, "TDX") == 0;
    if (id != NULL && !ret_info->tdx && strcmp(id->text, "SGX") != 0)
        missing(&r, "id");
    if (number_take(&r, json, "version", UINT32_MAX) != 3)
        missing(&r, "version");
    if (number_take(&r, json, "tcbType", UINT32_MAX) != 0)
        missing(&r, "tcbType");
    time_take(&r, json, "issueDate", &ret_info->from_s);
    time_take(&r, json, "nextUpdate", &ret_info->until_s);
    ret_info->evaluation = number_take(&r, json, "tcbEvaluationDataNumber", UINT32_MAX);
    hex_take(&r, json, "fmspc", ret_info->fmspc, sizeof ret_info->fmspc);
    hex_take(&r, json, "pceId", ret_info->pce_id, sizeof ret_info->pce_id);
    if (ret_info->tdx)
        modules_take(&r, json, ret_info);
    if (r.rc == PST_OK)
        levels_take(&r, json, true, ret_info->tdx, &ret_info->levels);
    return finish(&r, "TCB info", ret_why);
}

/* ---- QE identity ---- */
int pst_qe_identity_parse(struct pst_arena *arena, const char *text, size_t text_bytes,
                          struct pst_qe_identity *ret_identity, const char **ret_why)
{
    struct reader r = {.arena = arena};
    const struct pst_json *json = NULL;
    int rc = pst_json_parse(arena, text, text_bytes, &json, ret_why);
    if (rc != PST_OK)
        return rc;
    struct pst_qe_identity *to = ret_identity;
    memset(to, 0, sizeof *to);
    const struct pst_json *id = text_at(&r, json, "id");
    to->tdx = id != NULL && strcmp(id->text, "TD_QE") == 0;
    if (id != NULL && !to->tdx && strcmp(id->text, "QE") != 0)
        missing(&r, "id");
    if (number_take(&r, json, "version", UINT32_MAX) != 2)
        missing(&r, "version");
    time_take(&r, json, "issueDate", &to->from_s);
    time_take(&r, json, "nextUpdate", &to->until_s);
    to->evaluation = number_take(&r, json, "tcbEvaluationDataNumber", UINT32_MAX);
    hex_take(&r, json, "miscselect", to->miscselect, sizeof to->miscselect);
    hex_take(&r, json, "miscselectMask", to->miscselect_mask, sizeof to->miscselect_mask);
    hex_take(&r, json, "attributes", to->attributes, sizeof to->attributes);
    hex_take(&r, json, "attributesMask", to->attributes_mask, sizeof to->attributes_mask);
    hex_take(&r, json, "mrsigner", to->signer, sizeof to->signer);
    to->product = (uint32_t)number_take(&r, json, "isvprodid", UINT16_MAX);
    if (r.rc == PST_OK)
        levels_take(&r, json, false, false, &to->levels);
    return finish(&r, "QE identity", ret_why);
}
