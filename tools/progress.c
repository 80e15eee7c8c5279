/* tools/progress.c - one line on the terminal, written again and again while a graph runs. */
#include "tools/inside.h"

#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Event times in this span are taken for seconds since 1970 (years 1973 to 5138); others are shown as the numbers they
 * are. */
#define SECONDS_MIN INT64_C(100000000)
#define SECONDS_MAX INT64_C(100000000000)

enum { TERMINAL_COLUMNS_STANDARD = 80 };

size_t pst_terminal_columns(void)
{
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
        return TERMINAL_COLUMNS_STANDARD;
    return size.ws_col;
}

void pst_terminal_size(int fd, size_t *ret_rows, size_t *ret_columns)
{
    struct winsize size = {0};
    bool known = ioctl(fd, TIOCGWINSZ, &size) == 0;
    *ret_rows = known && size.ws_row != 0 ? size.ws_row : SIZE_MAX;
    *ret_columns = known && size.ws_col != 0 ? size.ws_col : SIZE_MAX;
}

static void event_time_print(struct pst_text *line, int64_t watermark)
{
    char shown[32];
    struct tm parts;
    const time_t seconds = (time_t)watermark;
    if (watermark == INT64_MIN || watermark == INT64_MAX)
        return;
    if (watermark < SECONDS_MIN || watermark > SECONDS_MAX || gmtime_r(&seconds, &parts) == NULL ||
        strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        pst_text_printf(line, "  time %lld", (long long)watermark);
    else
        pst_text_printf(line, "  %s", shown);
}

static void line_make(struct pst_text *line, struct pst_progress *progress, const struct pst_run_report *report)
{
    pst_count_print(line, report->rows);
    pst_text_printf(line, " rows");
    if (report->nanoseconds > progress->nanoseconds_before && report->rows >= progress->rows_before) {
        const double seconds = (double)(report->nanoseconds - progress->nanoseconds_before) / 1e9;
        pst_text_printf(line, "  ");
        pst_rate_print(line, (double)(report->rows - progress->rows_before) / seconds);
        pst_text_printf(line, " rows/s");
    }
    event_time_print(line, report->watermark);
    if (report->input_bytes_total > 0) {
        const double share = (double)report->input_bytes / (double)report->input_bytes_total;
        pst_text_printf(line, "  %.0f %%", (share < 1.0 ? share : 1.0) * 100.0);
    }
}

void pst_progress_report(void *argument, const struct pst_run_report *report)
{
    struct pst_progress *progress = argument;
    if (atomic_load_explicit(progress->interrupts, memory_order_relaxed) > 0 && !progress->told_drain) {
        progress->told_drain = true;
        pst_progress_clear(progress);
        pst_note(progress->call, "penstock: stopping: finishing what is in flight; a second signal stops at once");
    }
    if (progress->call->quiet || !progress->call->terminal_err)
        return;
    struct pst_text line = {0};
    line_make(&line, progress, report);
    if (!line.failed && line.count > 0) {
        const size_t columns = pst_terminal_columns() - 1;
        fprintf(stderr, "\r%.*s\033[K", (int)(line.count < columns ? line.count : columns), line.bytes);
        fflush(stderr);
        progress->shown = true;
    }
    pst_text_fini(&line);
    progress->rows_before = report->rows;
    progress->nanoseconds_before = report->nanoseconds;
}

void pst_progress_clear(struct pst_progress *progress)
{
    if (!progress->shown)
        return;
    fprintf(stderr, "\r\033[K");
    fflush(stderr);
    progress->shown = false;
}
