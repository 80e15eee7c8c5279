/* model.c - see enclave_shim.h. The one table of what hardware that is not here is said to cost. */
#include "enclave_shim/enclave_shim.h"

#include <string.h>

const struct pst_epc_model pst_epc_models[] = {
    {"sgx1", "SGX 1, an EPC of 128 MiB of which 93.5 MiB can be used", 17000,
     "HotCalls, ISCA 2017: 8,200 (warm) to 17,000 (cold) cycles of a call through the SDK; who has slept is cold",
     40000, "VAULT, ASPLOS 2018: about 40,000 cycles of a page out and in, the fault included"},
    {"sgx2", "SGX 2, an EPC of up to a terabyte", 20000,
     "Gramine's manual, performance: 8,000 to 12,000 cycles of each EENTER and EEXIT; twice the middle", 40000,
     "VAULT, ASPLOS 2018, measured with SGX 1: the instructions are the same; no figure of SGX 2's own was found"},
    {"snp", "SEV-SNP, the worker in a confidential virtual machine", 2530,
     "Linux kernel mailing list, December 2020, vmload timing: an exit to user space and back on bare metal; without "
     "what "
     "SNP adds, for which no figure was found: a lower bound",
     0, "none: all memory of the machine is encrypted where it lies, and there is no EPC"},
    {NULL, NULL, 0, NULL, 0, NULL},
};

const struct pst_epc_model *pst_epc_model_find(const char *name)
{
    for (const struct pst_epc_model *model = pst_epc_models; model->name != NULL; model++)
        if (strcmp(model->name, name) == 0)
            return model;
    return NULL;
}

struct pst_epc_costs pst_epc_model_costs(const struct pst_epc_model *model, uint64_t leaves, uint64_t messages,
                                         uint64_t page_ins)
{
    const double page_cycles = (double)model->page_cycles * (PST_EPC_PAGES_IN_A_PAGE);
    return (struct pst_epc_costs){.leave_seconds = (double)leaves * (double)model->leave_cycles / PST_EPC_MODEL_HZ,
                                  .call_seconds = (double)messages * (double)model->leave_cycles / PST_EPC_MODEL_HZ,
                                  .page_seconds = (double)page_ins * page_cycles / PST_EPC_MODEL_HZ};
}
