/* plugin.c - opens shared objects with operators and checks that they fit before anything of them is called. */
#include "engine/plugin.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#define STRING_OF(name) #name
#define SYMBOL_NAME(name) STRING_OF(name)

static const char *params_fault(const struct pst_operator *op)
{
    if (op->param_count != 0 && op->params == NULL)
        return "has parameters without a list of them";
    for (uint32_t i = 0; i < op->param_count; i++) {
        const struct pst_param *param = &op->params[i];
        if (param->name == NULL || param->name[0] == '\0')
            return "has a parameter without a name";
        if (param->kind < PST_PARAM_INT || param->kind > PST_PARAM_TEXTS)
            return "has a parameter of unknown kind";
    }
    return NULL;
}

static const char *counts_fault(const struct pst_operator *op)
{
    bool source = op->role == PST_ROLE_SOURCE, sink = op->role == PST_ROLE_SINK;
    if (op->role < PST_ROLE_PLAIN || op->role > PST_ROLE_STATELESS)
        return "has an unknown role";
    if (op->input_count > PST_INPUTS_MAX || (op->input_count == 0) != source)
        return "has a wrong number of inputs for its role";
    if (op->output_count > PST_OUTPUTS_MAX || (op->output_count == 0) != sink)
        return "has a wrong number of outputs for its role";
    if (op->role == PST_ROLE_STATELESS && op->input_count != 1)
        return "is stateless and has more than one input";
    if (op->broadcast_inputs >> op->input_count != 0 || (op->role != PST_ROLE_PLAIN && op->broadcast_inputs != 0))
        return "declares a broadcast input that it cannot have";
    if (op->output_count > 1 && op->output_names == NULL)
        return "has several outputs without names";
    for (uint32_t i = 0; op->output_names != NULL && i < op->output_count; i++)
        if (op->output_names[i] == NULL || op->output_names[i][0] == '\0')
            return "has an output without a name";
    return NULL;
}

const char *pst_plugin_fault(const struct pst_operator *op)
{
    if (op->name == NULL || op->name[0] == '\0')
        return "has no name";
    const char *fault = counts_fault(op);
    if (fault == NULL)
        fault = params_fault(op);
    if (fault != NULL)
        return fault;
    if (op->plan == NULL)
        return "has no plan()";
    if (op->role == PST_ROLE_SOURCE ? op->on_block == NULL : op->on_frame == NULL)
        return op->role == PST_ROLE_SOURCE ? "is a source without on_block()" : "has no on_frame()";
    return NULL;
}

/* abi and struct_bytes stand first in every version of the descriptor; nothing else is touched until they fit. */
static int descriptors_check(const struct pst_operator *const *list, struct pst_arena *arena, const char **ret_why)
{
    for (uint32_t i = 0; list[i] != NULL; i++) {
        const struct pst_operator *op = list[i];
        if (op->abi != PST_OPERATOR_ABI || op->struct_bytes != sizeof *op) {
            *ret_why =
                pst_arena_printf(arena,
                                 "it was built for version %u of the operator interface (%u bytes), this penstock "
                                 "has version %u (%zu bytes)",
                                 op->abi, op->struct_bytes, PST_OPERATOR_ABI, sizeof *op);
            return *ret_why != NULL ? PST_EABI : PST_ENOMEM;
        }
        const char *fault = pst_plugin_fault(op);
        if (fault != NULL) {
            *ret_why = op->name != NULL ? pst_arena_printf(arena, "its operator `%.64s` %s", op->name, fault)
                                        : pst_arena_printf(arena, "its operator number %u %s", i + 1, fault);
            return *ret_why != NULL ? PST_EINVAL : PST_ENOMEM;
        }
    }
    if (list[0] != NULL)
        return PST_OK;
    *ret_why = "it has no operators";
    return PST_EINVAL;
}

static int open_handle(const char *path, struct pst_arena *arena, void **ret_handle, const char **ret_why)
{
    /* dlopen() searches the system for a name without a slash; a graph means the file beside it. */
    const char *exact = strchr(path, '/') != NULL ? path : pst_arena_printf(arena, "./%s", path);
    if (exact == NULL)
        return PST_ENOMEM;
    if (access(exact, F_OK) != 0) {
        *ret_why = "no such file";
        return PST_ENOENT;
    }
    void *handle = dlopen(exact, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL) {
        *ret_handle = handle;
        return PST_OK;
    }
    const char *reason = dlerror();
    size_t path_count = strlen(exact);
    if (reason != NULL && strncmp(reason, exact, path_count) == 0 && strncmp(reason + path_count, ": ", 2) == 0)
        reason += path_count + 2; /* the sentence names the file already */
    *ret_why = pst_arena_printf(arena, "it is not a shared object that can be loaded (%.300s)",
                                reason != NULL ? reason : "no reason given");
    return *ret_why != NULL ? PST_EINVAL : PST_ENOMEM;
}

int pst_plugins_open(struct pst_plugins *plugins, const char *path, struct pst_arena *arena, const char **ret_why)
{
    PST_ASSERT(plugins->count < plugins->capacity);
    void *handle = NULL;
    int rc = open_handle(path, arena, &handle, ret_why);
    if (rc != PST_OK)
        return rc;
    const struct pst_operator *const *list = dlsym(handle, SYMBOL_NAME(PST_OPERATOR_SYMBOL));
    if (list == NULL) {
        *ret_why = "it has no list of operators: the symbol `" SYMBOL_NAME(PST_OPERATOR_SYMBOL) "` is missing";
        rc = PST_EINVAL;
    } else {
        rc = descriptors_check(list, arena, ret_why);
    }
    if (rc != PST_OK) {
        (void)dlclose(handle);
        return rc;
    }
    plugins->handles[plugins->count] = handle;
    plugins->lists[plugins->count] = list;
    plugins->count++;
    return PST_OK;
}

void pst_plugins_close(void **handles, uint32_t count)
{
    while (count > 0)
        (void)dlclose(handles[--count]);
}
