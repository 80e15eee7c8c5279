/* wrong_abi.c - a shared object of a later version: all but its first two members would be a crash to touch. */
#include "operators/operator.h"

static const struct {
    uint32_t abi, struct_bytes;
    const char *name;
} later = {PST_OPERATOR_ABI + 1, 999, (const char *)8};

__attribute__((visibility("default"))) const void *const PST_OPERATOR_SYMBOL[] = {&later, NULL};
