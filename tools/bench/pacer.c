/* pacer - writes events into a pipe or file: as many as fit, or, open loop, each when it is due, whether the reader keeps up or not.
 *
 * usage: pacer STAMPS OUTPUT KEYS, then lines on standard input, each answered by one on standard output:
 *
 *   fill N        N rows, keys 0.. in turn, as fast as they are taken; answered when the sink has seen them: rows a second
 *   flood SECONDS random keys, as fast as they are taken; the same answer
 *   lay N         N rows, keys 0.. in turn; and then
 *   strew N       N rows, random keys of the lower 64th: into a file, nothing is waited for; the rows that are in it
 *   pace RATE     from 200 ms from now on RATE rows a second are due, a thousandth of them each millisecond; answered at once, with the
 *                 monotonic clock in ns at which the first is due. Goes on beside the next commands
 *   stop          ends that; answered with the rows that were written, and the most milliseconds that writing was behind what was due
 *   quit
 *
 * A row is `at,key`, `at` the event time in milliseconds. Of paced rows it is when they are due: what could be written later only,
 * because the pipe was full, counts from then (no coordinated omission). */
#include "tools/bench/stamps.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ROWS_A_MS = 1000, BUFFER_BYTES = 1 << 20, LINE_BYTES_MAX = 24, HEAD_START_MS = 200, GAP_MS = 1000 };

struct pacer {
    struct stamps *stamps;
    int output;
    uint32_t keys;
    uint64_t at, last; /* event time now, and of the last row */
    uint64_t random;
    char buffer[BUFFER_BYTES];
    size_t used;
    /* while it paces */
    uint64_t rate, base_ns, behind_ms_max, paced;
    atomic_bool stop;
    pthread_t thread;
    bool paces;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "pacer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

static void flush(struct pacer *pacer)
{
    for (size_t at = 0; at < pacer->used;) {
        ssize_t count = write(pacer->output, pacer->buffer + at, pacer->used - at);
        if (count < 0 && errno != EINTR)
            die("cannot write");
        at += count > 0 ? (size_t)count : 0;
    }
    pacer->used = 0;
}

static char *number_put(char *to, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count != 0)
        *to++ = digits[--count];
    return to;
}

static void row_put(struct pacer *pacer, uint32_t key)
{
    if (pacer->used + LINE_BYTES_MAX > BUFFER_BYTES)
        flush(pacer);
    char *to = number_put(pacer->buffer + pacer->used, pacer->at);
    *to++ = ',';
    to = number_put(to, key);
    *to++ = '\n';
    pacer->used = (size_t)(to - pacer->buffer);
    pacer->last = pacer->at;
}

static uint32_t key_next(struct pacer *pacer)
{
    pacer->random = pacer->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((pacer->random >> 32) * pacer->keys >> 32);
}

/* What was written is seen when time has gone on; then the clock of the stream stands at `at`. */
static void seen_wait(struct pacer *pacer)
{
    uint64_t last = pacer->last;
    pacer->at += GAP_MS;
    row_put(pacer, 0);
    flush(pacer);
    while (atomic_load(&pacer->stamps->newest) < last)
        sleep_until(now_ns() + 1000000);
}

static void burst(struct pacer *pacer, uint64_t rows, double seconds)
{
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9), count = 0;
    pacer->at += GAP_MS;
    for (; rows != 0 ? count < rows : now_ns() < end;) {
        for (uint32_t i = 0; i < ROWS_A_MS && (rows == 0 || count < rows); i++, count++)
            row_put(pacer, rows != 0 ? (uint32_t)(count % pacer->keys) : key_next(pacer));
        flush(pacer);
        pacer->at++;
    }
    seen_wait(pacer);
    printf("%.0f\n", (double)count / ((double)(now_ns() - begun) / 1e9));
}

static void lay(struct pacer *pacer, uint64_t rows, bool strewn)
{
    uint32_t keys = pacer->keys;
    pacer->keys = strewn ? keys / 64 + 1 : keys;
    for (uint64_t i = 0; i < rows; i++) {
        row_put(pacer, strewn ? key_next(pacer) : (uint32_t)(i % keys));
        pacer->at += i % ROWS_A_MS == ROWS_A_MS - 1;
    }
    pacer->keys = keys;
    flush(pacer);
    printf("%" PRIu64 "\n", rows);
}

static void *pace(void *argument)
{
    struct pacer *pacer = argument;
    uint64_t base_at = pacer->at;
    for (uint64_t ms = 0; !atomic_load(&pacer->stop); ms++) {
        uint64_t due = pacer->base_ns + ms * 1000000, rows = pacer->rate * (ms + 1) / 1000, now = now_ns();
        if (now < due)
            sleep_until(due);
        uint64_t behind = now > due ? (now - due) / 1000000 : 0;
        pacer->behind_ms_max = behind > pacer->behind_ms_max ? behind : pacer->behind_ms_max;
        pacer->at = base_at + ms;
        for (; pacer->paced < rows; pacer->paced++)
            row_put(pacer, key_next(pacer));
        flush(pacer);
    }
    return NULL;
}

static void pace_begin(struct pacer *pacer, uint64_t rate)
{
    struct stamps *stamps = pacer->stamps;
    pacer->at += GAP_MS;
    pacer->rate = rate;
    pacer->paced = pacer->behind_ms_max = 0;
    pacer->base_ns = now_ns() + UINT64_C(1000000) * HEAD_START_MS;
    memset(stamps->cells, 0, sizeof stamps->cells);
    atomic_store(&stamps->base_ms, pacer->at);
    atomic_store(&stamps->base_ns, pacer->base_ns);
    atomic_store(&pacer->stop, false);
    if (pthread_create(&pacer->thread, NULL, pace, pacer) != 0)
        die("no thread");
    pacer->paces = true;
    printf("%" PRIu64 "\n", pacer->base_ns);
}

static void pace_end(struct pacer *pacer)
{
    if (!pacer->paces)
        return;
    atomic_store(&pacer->stop, true);
    (void)pthread_join(pacer->thread, NULL);
    pacer->paces = false;
    seen_wait(pacer);
    printf("%" PRIu64 " %" PRIu64 "\n", pacer->paced, pacer->behind_ms_max);
}

static struct stamps *stamps_make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct stamps)) != 0)
        die(path);
    struct stamps *stamps = mmap(NULL, sizeof *stamps, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (stamps == MAP_FAILED)
        die(path);
    (void)close(fd);
    stamps->magic = STAMPS_MAGIC;
    return stamps;
}

int main(int argc, char **argv)
{
    static struct pacer pacer;
    char line[100], word[20];
    if (argc != 4) {
        fprintf(stderr, "usage: pacer STAMPS OUTPUT KEYS\n");
        return 2;
    }
    pacer.stamps = stamps_make(argv[1]);
    pacer.keys = (uint32_t)strtoul(argv[3], NULL, 10);
    pacer.random = 1;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n"); /* the stamps are there; opening a pipe waits for its reader */
    pacer.output = open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (pacer.output < 0)
        die(argv[2]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        double value = 0;
        if (sscanf(line, "%19s %lf", word, &value) < 1 || strcmp(word, "quit") == 0)
            break;
        if (strcmp(word, "fill") == 0)
            burst(&pacer, (uint64_t)value, 0);
        else if (strcmp(word, "flood") == 0)
            burst(&pacer, 0, value);
        else if (strcmp(word, "lay") == 0 || strcmp(word, "strew") == 0)
            lay(&pacer, (uint64_t)value, word[0] == 's');
        else if (strcmp(word, "pace") == 0)
            pace_begin(&pacer, (uint64_t)value);
        else if (strcmp(word, "stop") == 0)
            pace_end(&pacer);
    }
    pace_end(&pacer);
    return close(pacer.output) == 0 ? 0 : 1;
}
