/* tools/epc_model.c - what a run's counts would cost on hardware that is not here: `--epc-model`. Computed, and said to be so: no figure
 * of a model is ever among the measured ones, and none of them changes what a run does. */
#include "enclave_shim/enclave_shim.h"
#include "tools/inside.h"

bool pst_epc_model_read(const struct pst_call *call, const struct pst_epc_model **ret_model)
{
    const char *name = pst_call_flag(call, "epc-model");
    *ret_model = name != NULL ? pst_epc_model_find(name) : NULL;
    if (name == NULL || *ret_model != NULL)
        return true;
    pst_complain(call, PST_EXIT_USAGE, "--epc-model `%s`: sgx1, sgx2 or snp is wanted", name);
    return false;
}

void pst_epc_model_print(struct pst_text *text, const struct pst_epc_model *model,
                         const struct pst_enclave_run_report *enclave)
{
    struct pst_epc_costs costs = pst_epc_model_costs(model, enclave->leaves, enclave->messages, enclave->page_ins);
    pst_text_printf(text, "             model %s, computed and not measured: ", model->name);
    pst_count_print(text, enclave->leaves);
    pst_text_printf(text, " times left, %.3f s; were each of ", costs.leave_seconds);
    pst_count_print(text, enclave->messages);
    pst_text_printf(text, " messages a call, %.3f s", costs.call_seconds);
    if (model->page_cycles != 0)
        pst_text_printf(text, "; its pages fetched by the hardware instead, %.3f s", costs.page_seconds);
    pst_text_printf(text, "\n");
}

void pst_epc_model_json(struct pst_text *json, const struct pst_epc_model *model,
                        const struct pst_enclave_run_report *enclave)
{
    struct pst_epc_costs costs = pst_epc_model_costs(model, enclave->leaves, enclave->messages, enclave->page_ins);
    pst_text_printf(json, ",\"model\":{\"measured\":false,\"name\":");
    pst_text_json(json, model->name);
    pst_text_printf(json, ",\"hertz\":%.0f,\"leave_cycles\":%llu,\"leave_source\":", PST_EPC_MODEL_HZ,
                    (unsigned long long)model->leave_cycles);
    pst_text_json(json, model->leave_source);
    pst_text_printf(json, ",\"page_cycles\":%llu,\"page_source\":", (unsigned long long)model->page_cycles);
    pst_text_json(json, model->page_source);
    pst_text_printf(json, ",\"leave_seconds\":%.6f,\"call_seconds\":%.6f,\"page_seconds\":%.6f}", costs.leave_seconds,
                    costs.call_seconds, costs.page_seconds);
}
