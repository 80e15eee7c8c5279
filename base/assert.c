/* assert.c - the end of a broken promise. In an enclave another file stands in its place: there nothing can be printed. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

void pst_assert_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "penstock: a promise is broken: %s (%s:%d). Please report it.\n", condition, file, line);
    abort();
}
