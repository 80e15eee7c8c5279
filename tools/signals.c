/* tools/signals.c - SIGINT and SIGTERM, counted: once drains, twice stops at once, a third one ends the process as if there were no
 * handler. */
#include "tools/inside.h"

#include <signal.h>

enum { INTERRUPTS_PATIENCE = 2 };

static atomic_int interrupts; /* raised in whatever thread the signal meets, read by the workers */

static void on_interrupt(int signal_number)
{
    if (atomic_fetch_add_explicit(&interrupts, 1, memory_order_relaxed) < INTERRUPTS_PATIENCE)
        return;
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

void pst_signals_take(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = 0};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGXFSZ, SIG_IGN); /* so is a limit on the size of files */
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of the write, and has a sentence */
}

atomic_int *pst_interrupts(void) { return &interrupts; }
