/* error.c - names and sentences of the error list, and the system's reason. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

static _Thread_local char system_reason[256];

const char *pst_error_name(int error)
{
    switch (error) {
#define X(name, number, sentence) \
    case number:                  \
        return #name;
        PST_ERROR_MAP(X)
#undef X
    default:
        return "unknown";
    }
}

const char *pst_error_sentence(int error)
{
    switch (error) {
#define X(name, number, sentence) \
    case number:                  \
        return sentence;
        PST_ERROR_MAP(X)
#undef X
    default:
        return "an unknown error";
    }
}

const char *pst_system_error(void) { return system_reason[0] != '\0' ? system_reason : "no reason given"; }

void pst_system_error_set(int system_errno)
{
    char buffer[sizeof system_reason];
    const char *text = strerror_r(system_errno, buffer, sizeof buffer); /* the GNU form, it may not use the buffer */
    (void)snprintf(system_reason, sizeof system_reason, "%s", text);
}

void pst_system_error_say(const char *sentence) { (void)snprintf(system_reason, sizeof system_reason, "%s", sentence); }
