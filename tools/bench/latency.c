/* latency - stands in a pipe of meter rows and keeps count: how long after the row that lets a result out is it
 * written?
 *
 * usage: penstock gen --rate N | latency load DIR REPORT SKIP_MS | penstock run debs14/load.yaml --input - --output DIR
 *        ... | latency outliers DIR REPORT SKIP_MS | ...          ... | latency readings - REPORT 0 | ...
 *        ... | latency load DIR REPORT SKIP_MS sealed | penstock seal ... -o - | penstock run ... --sealed --input - --output DIR
 *
 * Copies standard input to standard output. The thread that copies remembers for every new event second when its first
 * row went into the pipe (just before the write, so that a full pipe counts against penstock). A second thread is woken
 * by inotify for every write to the results in DIR and notes when the last row of each tick was there. For `load` a
 * tick is a value of `at`, let out by the first row with timestamp >= at, and it is there when it is in both files; for
 * `outliers` a tick is a value of `ts_stop`, let out by the first row with timestamp > ts_stop. Ticks let out in the
 * first SKIP_MS after the first row (processes start, files are made) and those that the end of the input lets out are
 * left out. `readings` counts the load readings of the last 24 hours instead. The report is one JSON object, written to
 * REPORT.
 *
 * `sealed`: results are sealed, so what is watched are the headers of capsules (enclave_shim/sealed.h), which are in the clear. A tick is
 * there when a mark says that nothing of its time follows. Which ticks there are is in the results that `penstock open` makes of them,
 * in DIR, when the run is over. Of one partition: whose marks count where there are several is for whoever has the key.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 * 1024, LINE_BYTES_MAX = 4096, FILES = 2, DAY_S = 86400, QUIET_MS_MAX = 60000 };

struct mode {
    const char *name;
    const char *file[FILES];
    unsigned tick_column; /* of the result's fields */
    uint32_t release_add; /* the tick is let out by a row with timestamp >= tick + release_add */
};
static const struct mode modes[] = {
    {"load", {"load_plug.csv", "load_house.csv"}, 0, 0},
    {"outliers", {"outliers.csv", NULL}, 2, 1},
    {"readings", {NULL, NULL}, 0, 0},
};

struct moment {
    uint32_t key; /* an event second, or a tick */
    uint64_t ns;
};
struct moments {
    struct moment *items;
    size_t count, capacity;
};

/* A piece of a stream of lines: what is left of the last line of the piece before, then the new bytes. */
struct lines {
    char rest[LINE_BYTES_MAX];
    size_t rest_bytes;
    bool overlong;
};
enum {
    HEADER_BYTES = 96,
    TAG_BYTES = 16,
    SALT_BYTES = 32,
    KIND_MARK = 2,
    KIND_AT = 6,
    TIME_AT = 32,
    BODY_BYTES_AT = 44,
    SALT_AT = 56
};
struct capsules { /* a stream of them: what is known of the one at hand */
    uint8_t header[HEADER_BYTES], salt[SALT_BYTES];
    size_t header_bytes;
    uint64_t rest_bytes; /* of its body and tag */
    bool begun;
};
struct follower {
    int fd; /* -1: not there yet */
    bool complete;
    struct lines lines;
    struct capsules capsules;
    struct moments marks; /* sealed: when each time was marked */
    struct moments ticks; /* when the last row of each tick was seen */
};

static const struct mode *mode;
static const char *folder;
static bool sealed;
static struct moments seconds; /* written by the copying thread, read after it is joined */
static uint64_t first_ns, last_ns, rows;
static struct {
    uint32_t *of_second; /* load readings of each of the last DAY_S seconds */
    uint32_t newest;
} readings;
static struct follower followers[FILES];
static atomic_bool copied;

static void die(const char *what)
{
    fprintf(stderr, "latency: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void remember(struct moments *moments, uint32_t key, uint64_t ns)
{
    if (moments->count > 0 && moments->items[moments->count - 1].key == key) {
        moments->items[moments->count - 1].ns = ns;
        return;
    }
    if (moments->count == moments->capacity) {
        moments->capacity = moments->capacity ? 2 * moments->capacity : 4096;
        moments->items = realloc(moments->items, moments->capacity * sizeof *moments->items);
        if (moments->items == NULL)
            die("memory");
    }
    moments->items[moments->count++] = (struct moment){key, ns};
}

/* The field-th field of a line as a number; false: it is none (a header, a broken row). */
static bool field_of(const char *line, size_t bytes, unsigned field, uint32_t *ret_value)
{
    const char *at = line, *end = line + bytes;
    for (; field > 0; field--) {
        at = memchr(at, ',', (size_t)(end - at));
        if (at++ == NULL)
            return false;
    }
    uint64_t value = 0;
    const char *from = at;
    for (; at < end && *at >= '0' && *at <= '9' && value <= UINT32_MAX; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    *ret_value = (uint32_t)value;
    return at > from && at < end && *at == ',' && value <= UINT32_MAX;
}

typedef void (*line_fn)(void *argument, const char *line, size_t bytes, uint64_t ns);

/* Calls `take` for every whole line; keeps what is behind the last newline. */
static void lines_add(struct lines *lines, const char *bytes, size_t count, uint64_t ns, line_fn take, void *argument)
{
    const char *end = bytes + count;
    while (bytes < end) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        size_t length = (size_t)((newline ? newline : end) - bytes);
        bool joins = lines->rest_bytes > 0 || lines->overlong || newline == NULL;
        if (!joins) {
            take(argument, bytes, length, ns);
        } else if (lines->rest_bytes + length > sizeof lines->rest) {
            lines->overlong = true;
        } else {
            memcpy(lines->rest + lines->rest_bytes, bytes, length);
            lines->rest_bytes += length;
        }
        if (newline == NULL)
            return;
        if (joins && !lines->overlong)
            take(argument, lines->rest, lines->rest_bytes, ns);
        lines->rest_bytes = 0;
        lines->overlong = false;
        bytes = newline + 1;
    }
}

/* ---- the way in ---- */
static void reading_count(const char *line, size_t bytes, uint32_t timestamp)
{
    uint32_t property;
    if (!field_of(line, bytes, 3, &property))
        return;
    if (timestamp > readings.newest) {
        uint32_t gap = timestamp - readings.newest < DAY_S ? timestamp - readings.newest : DAY_S;
        for (uint32_t i = 0; i < gap; i++)
            readings.of_second[(timestamp - i) % DAY_S] = 0;
        readings.newest = timestamp;
    }
    readings.of_second[timestamp % DAY_S] += property == 1;
}

static void row_take(void *argument, const char *line, size_t bytes, uint64_t ns)
{
    (void)argument;
    uint32_t timestamp;
    if (!field_of(line, bytes, 1, &timestamp))
        return;
    rows++;
    if (readings.of_second != NULL)
        reading_count(line, bytes, timestamp);
    else if (seconds.count == 0 || timestamp > seconds.items[seconds.count - 1].key)
        remember(&seconds, timestamp, ns);
}

static void write_all(const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, count);
        if (written < 0 && errno != EINTR)
            die("writing");
        if (written > 0) {
            bytes += written;
            count -= (size_t)written;
        }
    }
}

static void copy(void)
{
    static char chunk[CHUNK_BYTES];
    static struct lines lines;
    ssize_t count;
    while ((count = read(STDIN_FILENO, chunk, sizeof chunk)) != 0) {
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            die("reading");
        last_ns = now_ns();
        if (first_ns == 0)
            first_ns = last_ns;
        write_all(chunk, (size_t)count);
        lines_add(&lines, chunk, (size_t)count, last_ns, row_take, NULL);
    }
    close(STDOUT_FILENO);
}

/* ---- the way out ---- */
static void result_take(void *argument, const char *line, size_t bytes, uint64_t ns)
{
    struct follower *follower = argument;
    uint32_t tick;
    if (field_of(line, bytes, mode->tick_column, &tick))
        remember(&follower->ticks, tick, ns);
}

static void header_take(struct follower *follower, uint64_t ns)
{
    struct capsules *capsules = &follower->capsules;
    uint16_t kind;
    uint32_t body_bytes;
    int64_t time;
    memcpy(&kind, capsules->header + KIND_AT, sizeof kind);
    memcpy(&time, capsules->header + TIME_AT, sizeof time);
    memcpy(&body_bytes, capsules->header + BODY_BYTES_AT, sizeof body_bytes);
    if (capsules->begun && memcmp(capsules->salt, capsules->header + SALT_AT, SALT_BYTES) != 0) {
        fprintf(stderr, "latency: results of several partitions\n");
        exit(1);
    }
    memcpy(capsules->salt, capsules->header + SALT_AT, SALT_BYTES);
    capsules->begun = true;
    capsules->rest_bytes = (uint64_t)body_bytes + TAG_BYTES;
    bool later = follower->marks.count == 0 || time > follower->marks.items[follower->marks.count - 1].key;
    if (kind == KIND_MARK && time >= 0 && time <= UINT32_MAX && later)
        remember(&follower->marks, (uint32_t)time, ns);
}

static void capsules_add(struct follower *follower, const char *bytes, size_t count, uint64_t ns)
{
    struct capsules *capsules = &follower->capsules;
    while (count > 0) {
        bool body = capsules->rest_bytes > 0;
        size_t wanted = body ? capsules->rest_bytes : HEADER_BYTES - capsules->header_bytes;
        size_t n = count < wanted ? count : wanted;
        if (body) {
            capsules->rest_bytes -= n;
        } else {
            memcpy(capsules->header + capsules->header_bytes, bytes, n);
            capsules->header_bytes = (capsules->header_bytes + n) % HEADER_BYTES;
            if (n == wanted)
                header_take(follower, ns);
        }
        bytes += n;
        count -= n;
    }
}

/* By the name that it has while it is written, then by that of a whole one. */
static int result_open(const char *name, bool whole)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s.part", folder, name);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 || !whole)
        return fd;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, O_RDONLY);
}

static void follower_read(struct follower *follower, const char *name)
{
    static char chunk[4 * CHUNK_BYTES];
    char sealed_name[256];
    if (follower->fd < 0) {
        (void)snprintf(sealed_name, sizeof sealed_name, "%s.sealed", name);
        follower->fd = sealed ? result_open(sealed_name, true) : result_open(name, follower->complete);
        if (follower->fd < 0)
            return;
    }
    ssize_t count;
    while ((count = read(follower->fd, chunk, sizeof chunk)) > 0) {
        if (sealed)
            capsules_add(follower, chunk, (size_t)count, now_ns());
        else
            lines_add(&follower->lines, chunk, (size_t)count, now_ns(), result_take, follower);
    }
}

/* The first moment with a key of at least `key`; NULL: there is none. */
static const struct moment *moment_from(const struct moments *moments, uint64_t key)
{
    size_t low = 0, high = moments->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (moments->items[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < moments->count ? &moments->items[low] : NULL;
}

/* Sealed: the ticks of results that have been opened, each at the mark behind which nothing of it follows. */
static void follower_opened(struct follower *follower, const char *name)
{
    static char chunk[4 * CHUNK_BYTES];
    int fd = result_open(name, true);
    ssize_t count;
    if (fd < 0)
        die(name);
    while ((count = read(fd, chunk, sizeof chunk)) > 0)
        lines_add(&follower->lines, chunk, (size_t)count, 0, result_take, follower);
    close(fd);
    size_t known = 0;
    for (size_t i = 0; i < follower->ticks.count; i++) {
        const struct moment *mark =
            moment_from(&follower->marks, (uint64_t)follower->ticks.items[i].key + mode->release_add);
        if (mark != NULL)
            follower->ticks.items[known++] = (struct moment){follower->ticks.items[i].key, mark->ns};
    }
    follower->ticks.count = known;
}

static bool followers_complete(void)
{
    for (size_t i = 0; i < FILES && mode->file[i] != NULL; i++) {
        if (!followers[i].complete)
            return false;
    }
    return true;
}

/* A file is complete when it has got its final name. */
static void event_take(const struct inotify_event *event)
{
    for (size_t i = 0; i < FILES && mode->file[i] != NULL; i++) {
        if ((event->mask & IN_MOVED_TO) && event->len > 0 && strcmp(event->name, mode->file[i]) == 0)
            followers[i].complete = true;
    }
}

static void *follow(void *argument)
{
    (void)argument;
    int watch = inotify_init1(IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, folder, IN_CREATE | IN_MODIFY | IN_MOVED_TO) < 0)
        die(folder);
    static char events[64 * 1024] __attribute__((aligned(8)));
    uint32_t quiet_ms = 0;
    while (!followers_complete() && quiet_ms < QUIET_MS_MAX) {
        struct pollfd ready = {.fd = watch, .events = POLLIN};
        if (poll(&ready, 1, 100) <= 0) {
            quiet_ms = atomic_load(&copied) ? quiet_ms + 100 : 0;
            continue;
        }
        quiet_ms = 0;
        ssize_t count = read(watch, events, sizeof events);
        for (ssize_t at = 0; at < count;) {
            const struct inotify_event *event = (const void *)(events + at);
            event_take(event);
            at += (ssize_t)(sizeof *event + event->len);
        }
        for (size_t i = 0; i < FILES && mode->file[i] != NULL; i++)
            follower_read(&followers[i], mode->file[i]);
    }
    close(watch);
    for (size_t i = 0; sealed && i < FILES && mode->file[i] != NULL && followers_complete(); i++)
        follower_opened(&followers[i], mode->file[i]);
    return NULL;
}

/* ---- the report ---- */
static int by_ns(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static size_t latencies(uint64_t skip_ns, uint64_t *ret_ns)
{
    size_t count = 0;
    const struct moments *ticks = &followers[0].ticks;
    for (size_t i = 0; i < ticks->count; i++) {
        const struct moment *tick = &ticks->items[i];
        const struct moment *other = moment_from(&followers[1].ticks, tick->key); /* none for outliers */
        const struct moment *in = moment_from(&seconds, (uint64_t)tick->key + mode->release_add);
        uint64_t out_ns = tick->ns;
        if (other != NULL && other->key == tick->key && other->ns > out_ns)
            out_ns = other->ns;
        if (in != NULL && in->ns >= first_ns + skip_ns)
            ret_ns[count++] = out_ns > in->ns ? out_ns - in->ns : 0;
    }
    qsort(ret_ns, count, sizeof *ret_ns, by_ns);
    return count;
}

static void report_write(FILE *file, uint64_t skip_ns)
{
    double elapsed_s = (double)(last_ns - first_ns) / 1e9;
    fprintf(file, "{\"rows\": %" PRIu64 ", \"seconds\": %.3f, \"rows_per_second\": %.0f", rows, elapsed_s,
            elapsed_s > 0 ? (double)rows / elapsed_s : 0);
    if (readings.of_second != NULL) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < DAY_S; i++)
            sum += readings.of_second[i];
        fprintf(file, ", \"readings_last_day\": %" PRIu64 "}\n", sum);
        return;
    }
    uint64_t *sorted = malloc((followers[0].ticks.count + 1) * sizeof *sorted);
    if (sorted == NULL)
        die("memory");
    size_t count = latencies(skip_ns, sorted);
    static const struct {
        const char *name;
        double share;
    } marks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    fprintf(file, ", \"ticks\": %zu, \"complete\": %s", count, followers_complete() ? "true" : "false");
    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && count > 0; i++)
        fprintf(file, ", \"%s_us\": %.1f", marks[i].name,
                (double)sorted[(size_t)(marks[i].share * (double)(count - 1) + 0.5)] / 1e3);
    fprintf(file, "}\n");
    free(sorted);
}

int main(int argc, char **argv)
{
    sealed = argc == 6 && strcmp(argv[5], "sealed") == 0;
    for (size_t i = 0; argc == (sealed ? 6 : 5) && i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(argv[1], modes[i].name) == 0)
            mode = &modes[i];
    }
    if (mode == NULL || (sealed && mode->file[0] == NULL)) {
        fprintf(stderr, "usage: latency load|outliers|readings DIR REPORT SKIP_MS [sealed]\n");
        return 2;
    }
    folder = argv[2];
    for (size_t i = 0; i < FILES; i++)
        followers[i].fd = -1;
    pthread_t thread;
    bool follows = mode->file[0] != NULL;
    if (follows && pthread_create(&thread, NULL, follow, NULL) != 0)
        die("starting a thread");
    if (!follows && (readings.of_second = calloc(DAY_S, sizeof *readings.of_second)) == NULL)
        die("memory");
    copy();
    atomic_store(&copied, true);
    if (follows)
        pthread_join(thread, NULL);
    FILE *file = fopen(argv[3], "w");
    if (file == NULL)
        die(argv[3]);
    report_write(file, strtoull(argv[4], NULL, 10) * 1000000u);
    return fclose(file) == 0 ? 0 : 1;
}
