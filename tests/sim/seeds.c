/* seeds.c - see seeds.h. */
#include "tests/sim/seeds.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PROCESSES_MAX = 16, SEED_SECONDS_MAX = 120, SAYS_BYTES_MAX = 20000 };

struct process { /* in memory that both sides see */
    _Atomic uint64_t seed;
    struct chaos_sums sums; /* of the seeds before it */
    pid_t pid;              /* 0: there is none */
    int says;               /* a file without a name */
};

static struct shared {
    _Atomic uint64_t next; /* a seed that nobody has begun yet */
    uint64_t end;
    struct process processes[PROCESSES_MAX];
} * shared;
static struct process *own; /* of this process */

static void run(void **state)
{
    (void)state;
    for (uint64_t seed; (seed = atomic_fetch_add(&shared->next, 1)) < shared->end;) {
        own->seed = seed;
        (void)alarm(SEED_SECONDS_MAX);
        chaos_seed(seed, &own->sums);
    }
    (void)alarm(0);
}

static void process_main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(run)};
    if (getenv("PST_TEST_LOG") == NULL && (dup2(own->says, STDOUT_FILENO) < 0 || dup2(own->says, STDERR_FILENO) < 0))
        _exit(2);
    chaos_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    chaos_fini();
    exit(failed != 0);
}

static void process_begin(struct process *process)
{
    (void)fflush(NULL);
    process->says = memfd_create("says", 0);
    process->seed = 0;
    pid_t pid = fork();
    if (pid < 0 || process->says < 0) {
        perror("seeds");
        exit(2);
    }
    if (pid == 0) {
        own = process;
        process_main();
    }
    process->pid = pid;
}

static char *says_read(const struct process *process)
{
    char *text = calloc(1, SAYS_BYTES_MAX + 1);
    off_t bytes = lseek(process->says, 0, SEEK_END);
    off_t from = bytes > SAYS_BYTES_MAX ? bytes - SAYS_BYTES_MAX : 0;
    if (text != NULL && bytes > 0 && pread(process->says, text, (size_t)(bytes - from), from) < 0)
        perror("seeds");
    return text;
}

/* The line that says it: cmocka's, an assertion's, a sanitizer's. */
static void why_put(char why[400], const char *says, int status)
{
    static const char *const marks[] = {"ERROR: ", "assert", "Sanitizer: "};
    const char *line = NULL;
    for (uint32_t i = 0; i < sizeof marks / sizeof *marks && line == NULL && says != NULL; i++)
        line = strstr(says, marks[i]);
    while (line != NULL && line != says && line[-1] != '\n')
        line--;
    if (line != NULL)
        (void)snprintf(why, 400, "%.*s", (int)strcspn(line, "\n"), line);
    else if (WIFSIGNALED(status))
        (void)snprintf(why, 400, "%s", WTERMSIG(status) == SIGALRM ? "it does not end" : strsignal(WTERMSIG(status)));
    else
        (void)snprintf(why, 400, "exit status %d", WEXITSTATUS(status));
}

static void process_ended(struct seeds *seeds, struct process *process, int status)
{
    bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (failed && seeds->failed_count < SEEDS_FAILED_MAX) {
        char *says = says_read(process);
        seeds->failed[seeds->failed_count].seed = process->seed;
        seeds->failed[seeds->failed_count].says = says;
        why_put(seeds->failed[seeds->failed_count++].why, says, status);
    }
    (void)close(process->says);
    process->pid = 0;
    if (seeds->failed_count >= seeds->failed_max)
        atomic_store(&shared->next, shared->end); /* those that run end what they have begun */
    else if (failed)
        process_begin(process);
}

static uint32_t processes_wanted(uint64_t seeds)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = cores > PROCESSES_MAX ? PROCESSES_MAX : cores > 0 ? (uint32_t)cores : 1;
    return count > seeds ? (uint32_t)seeds : count;
}

static void sums_add(struct chaos_sums *sums, const struct chaos_sums *more)
{
    for (size_t i = 0; i < sizeof *sums / sizeof(uint64_t); i++)
        ((uint64_t *)sums)[i] += ((const uint64_t *)more)[i];
}

void seeds_run(struct seeds *seeds)
{
    uint32_t count = processes_wanted(seeds->count), running = count;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("seeds");
        exit(2);
    }
    atomic_init(&shared->next, seeds->first);
    shared->end = seeds->first + seeds->count;
    for (uint32_t i = 0; i < count; i++)
        process_begin(&shared->processes[i]);
    while (running != 0) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno != EINTR) {
            perror("seeds");
            exit(2);
        }
        for (uint32_t i = 0; i < count; i++)
            if (pid > 0 && shared->processes[i].pid == pid) {
                process_ended(seeds, &shared->processes[i], status);
                running -= shared->processes[i].pid == 0;
            }
    }
    for (uint32_t i = 0; i < count; i++)
        sums_add(&seeds->sums, &shared->processes[i].sums);
    (void)munmap(shared, sizeof *shared);
}

void seeds_fini(struct seeds *seeds)
{
    for (uint32_t i = 0; i < seeds->failed_count; i++)
        free(seeds->failed[i].says);
    *seeds = (struct seeds){0};
}
