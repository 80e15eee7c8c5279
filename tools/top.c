/* tools/top.c - `penstock top`: what a cluster does now, once or again and again. */
#include "tools/inside.h"

#include <string.h>
#include <unistd.h>

enum { EVERY_SECONDS = 2, EVERY_SECONDS_MAX = 3600 };

/* How many bytes of a line have so many characters at most. */
static size_t cut(const char *line, size_t bytes, size_t columns)
{
    size_t at = 0, taken = 0;
    while (at < bytes) {
        bool begins = ((unsigned char)line[at] & 0xc0) != 0x80; /* else it goes on with the character before */
        if (begins && taken++ == columns)
            break;
        at++;
    }
    return at;
}

static size_t lines_count(const struct pst_text *text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->count; i++)
        lines += text->bytes[i] == '\n' || i + 1 == text->count;
    return lines;
}

/* From the upper left corner, line by line, each to its end, and nothing below: nothing flickers. No line is left in the last column, nor
 * ended in the last row, so nothing scrolls; what there is no row for is counted there. */
static void screen_show(const struct pst_text *text)
{
    size_t rows, columns, lines = lines_count(text), row = 0;
    pst_terminal_size(STDOUT_FILENO, &rows, &columns);
    size_t shown = lines <= rows ? lines : rows - 1;
    pst_print("\033[H", 3);
    for (size_t at = 0; row < shown; row++) {
        const char *line = text->bytes + at, *end = memchr(line, '\n', text->count - at);
        size_t bytes = end != NULL ? (size_t)(end - line) : text->count - at;
        pst_print("\n", row != 0);
        pst_print(line, cut(line, bytes, columns - 1));
        pst_print("\033[K", 3);
        at += bytes + 1;
    }
    if (shown < lines) {
        char more[80];
        int bytes = snprintf(more, sizeof more, "... and %zu more lines: --once prints all", lines - shown);
        pst_print("\n", row != 0);
        pst_print(more, cut(more, (size_t)bytes, columns - 1));
        pst_print("\033[K", 3);
    }
    pst_print("\033[J", 3);
    (void)fflush(stdout);
}

static int once(const struct pst_call *call, struct pst_asker *asker, struct pst_question *question)
{
    struct pst_answer answer;
    int exit_code = pst_answer_show(call, pst_asker_ask(asker, question, &answer), &answer);
    pst_answer_fini(&answer);
    return exit_code;
}

/* Until an interrupt, which is how it ends well; or nobody answers any more. */
static int live(const struct pst_call *call, struct pst_asker *asker, struct pst_question *question, uint64_t every_ns)
{
    int exit_code = PST_EXIT_OK;
    pst_print("\033[2J", 4);
    while (exit_code == PST_EXIT_OK && atomic_load(pst_interrupts()) == 0) {
        struct pst_answer answer;
        int rc = pst_asker_ask(asker, question, &answer);
        if (rc == PST_OK && answer.error == PST_OK)
            screen_show(&answer.out);
        else if (rc != PST_ESTOPPED)
            exit_code = pst_answer_show(call, rc, &answer);
        pst_answer_fini(&answer);
        question->after_ns = every_ns;
    }
    pst_print("\n", 1);
    return exit_code;
}

static int top_run(const struct pst_call *call)
{
    static const char *const arguments[] = {"top"};
    struct pst_question question = {.arguments = arguments, .argument_count = 1};
    struct pst_asker asker;
    uint64_t seconds;
    if (!pst_call_number(call, "every", 1, EVERY_SECONDS_MAX, EVERY_SECONDS, &seconds))
        return PST_EXIT_USAGE;
    bool single = call->json || pst_call_flag(call, "once") != NULL || isatty(STDOUT_FILENO) == 0;
    int exit_code = pst_asker_init(&asker, call);
    if (exit_code == PST_EXIT_OK)
        exit_code =
            single ? once(call, &asker, &question) : live(call, &asker, &question, seconds * 1000 * 1000 * 1000);
    pst_asker_fini(&asker);
    return exit_code;
}

static const struct pst_flag top_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    {"once", 0, NULL, false, "One table, and the end; so it is where standard output is no terminal, too.", NULL},
    {"every", 0, "SECONDS", false, "How often the table is made anew; 2 where nothing is said.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_top = {
    .name = "top",
    .operands = "",
    .summary = "Watch what a cluster does.",
    .text =
        "Of each node memory, and bytes a second between nodes. Of each operator rows a second in and out; which share "
        "of "
        "its partitions' time it was busy, blocked (what follows it takes no more) and idle; bytes that wait in its "
        "queues; how far its event time is behind the newest one read; bytes of state. Of each edge rows and bytes a "
        "second, and how full its queues are. Of a move its step, the bytes that have come, how far they are behind, "
        "and "
        "when it would be given up.\n\n"
        "Nodes tell their figures once a second; rates are of the last two of them. The table is made anew until "
        "Ctrl-C, as much of it as the terminal has rows and columns for; "
        "with --json it is one object, once.",
    .examples = "penstock top --node unix:n1/admin.sock\n"
                "penstock top --node 127.0.0.1:7001 --tls authority/me --json",
    .flags = top_flags,
    .run = top_run,
};
