/* tools/counter.c - a counter against rollback that a command keeps: --counter-command.
 *
 *   sh -c 'CMD "$@"' sh read        prints the highest number recorded, 0 at first
 *   sh -c 'CMD "$@"' sh raise N     records N for good; N grows by every call
 * Any exit status but 0 is a failure. So a TPM's counter, a coordination store or another machine can stand behind it. */
#include "tools/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 64 };

static int failed(int reason)
{
    pst_system_error_set(reason);
    return PST_EIO;
}

/* What the command printed, up to `room`. The file that is read is the only one that it inherits beside the standard ones. */
static int spawn(const char *command, const char *word, const char *value, int output, pid_t *ret_pid)
{
    char script[] = "-c", shell[] = "sh";
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "%s \"$@\"", command);
    char *arguments[] = {shell, script, text.bytes, shell, (char *)(uintptr_t)word, (char *)(uintptr_t)value, NULL};
    posix_spawn_file_actions_t actions;
    int reason = text.failed ? ENOMEM : posix_spawn_file_actions_init(&actions);
    if (reason == 0) {
        /* Not our standard input: that may be the stream. */
        reason = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (reason == 0)
            reason = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
        if (reason == 0)
            reason = posix_spawn(ret_pid, "/bin/sh", &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    pst_text_fini(&text);
    return reason == 0 ? PST_OK : failed(reason);
}

static int ask(const char *command, const char *word, const char *value, char answer[ANSWER_BYTES_MAX + 1])
{
    int ends[2], status = 0;
    pid_t pid;
    size_t used = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return failed(errno);
    int rc = spawn(command, word, value, ends[1], &pid);
    (void)close(ends[1]);
    while (rc == PST_OK && used < ANSWER_BYTES_MAX) {
        ssize_t count = read(ends[0], answer + used, ANSWER_BYTES_MAX - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        used += (size_t)count;
    }
    (void)close(ends[0]);
    if (rc != PST_OK)
        return rc;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return failed(errno);
    while (used > 0 && answer[used - 1] == '\n')
        used--;
    answer[used] = '\0';
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? PST_OK : failed(ECANCELED);
}

static int command_read(void *self, struct pst_world *world, uint64_t *ret_value)
{
    char answer[ANSWER_BYTES_MAX + 1];
    (void)world;
    int rc = ask(self, "read", NULL, answer);
    if (rc != PST_OK)
        return rc;
    return pst_parse_u64(answer, ret_value) == PST_OK ? PST_OK : PST_EDATA;
}

static int command_raise(void *self, struct pst_world *world, uint64_t value)
{
    char answer[ANSWER_BYTES_MAX + 1], digits[24];
    (void)world;
    (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    return ask(self, "raise", digits, answer);
}

struct pst_counter pst_counter_command(const char *command)
{
    return (struct pst_counter){
        .self = (void *)(uintptr_t)command, .name = command, .read = command_read, .raise = command_raise};
}
