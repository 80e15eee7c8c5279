/* words.c - what each kind of evidence stands for, in plain words: one table, which the command, its manual page and the end of a run show. */
#include "enclave_shim/attestation/evidence.h"

#include <assert.h>

#define OF_SNP_AND_TDX                                                                                              \
    "physical attacks on memory buses, which have taken attestation keys of these platforms; side channels of the " \
    "processor"
#define GUEST_AND_HOST(memory)                                                                                    \
    {                                                                                                             \
        "the host, its root and its hypervisor: the guest's memory is encrypted, and " memory,                    \
            "all that runs in the guest itself, its root and its kernel included; " OF_SNP_AND_TDX,               \
            "of the guest: read and change everything in it. Of the host: stop, starve and kill the guest, keep " \
            "back what goes in and out, and see how much it is and when"                                          \
    }
#define PROCESS_AND_HOST                                                                                               \
    {                                                                                                                  \
        "within the guest other processes and users, and root without CAP_SYS_PTRACE and CAP_SYS_ADMIN; from outside " \
        "the host, its root and its hypervisor",                                                                       \
            "root of the guest with these, and the guest's kernel, of which the evidence says which they were when "   \
            "the guest was started, and no more; " OF_SNP_AND_TDX,                                                     \
            "of the guest: all that it can with `process` alone, and have the hardware sign for any worker. Of the "   \
            "host: stop, starve and kill the guest, and see how much goes in and out and when"                         \
    }
#define IN_AZURE                                                                                                     \
    {                                                                                                                \
        "the host and its root, as far as Azure's firmware in the guest keeps to what was measured of it: that has " \
        "the virtual TPM",                                                                                           \
            "all that runs in the guest itself, and that firmware; " OF_SNP_AND_TDX,                                 \
            "of the guest: read and change everything in it, and have the virtual TPM quote what it likes. Of the "  \
            "host: stop, starve and kill the guest, and see how much goes in and out and when"                       \
    }

static const struct pst_backend_words words[] = {
    [PST_BACKEND_SNP] = GUEST_AND_HOST("cannot be changed by the host, nor put back to what it was"),
    [PST_BACKEND_TDX] = GUEST_AND_HOST("what the host changes in it is noticed"),
    [PST_BACKEND_SGX] = {"all other software of the machine: other processes, root, the kernel, the hypervisor",
                         "physical attacks on memory buses; side channels of the processor, of which page faults are "
                         "one; what the enclave's own code gives away",
                         "stop, starve and kill the enclave, give it old files again, and see which pages it uses, how "
                         "much goes in and out and when"},
    [PST_BACKEND_AZ_SNP_VTPM] = IN_AZURE,
    [PST_BACKEND_AZ_TDX_VTPM] = IN_AZURE,
    [PST_BACKEND_PROCESS] = {"other processes and users, and from root without CAP_SYS_PTRACE and CAP_SYS_ADMIN",
                             "root with these, nor from who runs the machine: no hardware vouches for it",
                             "inject code into a worker, change the worker's own or place a probe, and so get "
                             "everything, keys included; sign for any worker with the node's key; stop, starve and "
                             "kill workers. What lies in memfd_secret it cannot read or dump without doing so"},
    [PST_BACKEND_TPM] = {"nobody: it says which machine this is and what that booted, where its key is known",
                         "whoever gets onto that machine; an emulated TPM is as good as who vouches for its key",
                         "change what runs after the boot without a trace in PCRs 0 to 7, and have the TPM quote any "
                         "node's key"},
    [PST_BACKEND_PROCESS_SNP] = PROCESS_AND_HOST,
    [PST_BACKEND_PROCESS_TDX] = PROCESS_AND_HOST,
};
static_assert(sizeof words / sizeof *words == PST_BACKEND_COUNT, "each has its words");

const struct pst_backend_words *pst_backend_words(pst_backend backend)
{
    PST_ASSERT((uint32_t)backend < PST_BACKEND_COUNT);
    return &words[backend];
}
