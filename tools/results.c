/* tools/results.c - `penstock results`: what is committed of a sink, to standard output. */
#include "tools/inside.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_MS = 500 };

struct taking {
    const struct pst_call *call;
    int error; /* why standard output took no more; 0: it takes all */
};

static int take(void *argument, const void *bytes, size_t byte_count)
{
    struct taking *taking = argument;
    if (taking->call->json || pst_fd_write(STDOUT_FILENO, bytes, byte_count))
        return PST_OK;
    taking->error = errno;
    return PST_EREFUSED; /* no use in trying again */
}

/* Asks; following, again and again while it is of use, until nothing has come for too long. */
static int read_all(const struct pst_call *call, struct pst_asker *asker, struct pst_reading *reading)
{
    struct pst_question question = {.reading = reading};
    reading->heard_ns = asker->world->now_ns(asker->world->self);
    for (;;) {
        struct pst_answer answer;
        int rc = pst_asker_ask(asker, &question, &answer);
        uint64_t now_ns = asker->world->now_ns(asker->world->self);
        bool stopped = rc == PST_ESTOPPED || atomic_load(pst_interrupts()) != 0;
        const struct taking *taking = reading->argument;
        bool again = !stopped && taking->error == 0 && pst_reading_again(reading, rc, &answer, now_ns);
        int exit_code = PST_EXIT_OK;
        if (taking->error != 0) {
            exit_code = PST_EXIT_IO;
            pst_complain(call, exit_code, "standard output could not be written: %s", strerror(taking->error));
        } else if (!again) {
            exit_code = pst_answer_show(call, rc, &answer);
        }
        pst_answer_fini(&answer);
        if (!again)
            return exit_code;
        question.after_ns = (uint64_t)RETRY_MS * 1000 * 1000;
    }
}

static int told(const struct pst_call *call, const struct pst_reading *reading)
{
    struct pst_text json = {0};
    if (reading->offset == 0 && !reading->ended && reading->said[0] != '\0')
        pst_note(call, "%s", reading->said);
    if (!call->json)
        return PST_EXIT_OK;
    pst_text_printf(&json, "{\"schema_version\":%d,\"graph\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&json, reading->graph);
    pst_text_printf(&json, ",\"sink\":");
    pst_text_json(&json, reading->sink);
    pst_text_printf(&json, ",\"bytes\":%llu,\"ended\":%s,\"error\":null}\n", (unsigned long long)reading->offset,
                    reading->ended ? "true" : "false");
    return pst_text_show(call, &json);
}

static int results_run(const struct pst_call *call)
{
    const char *slash = strchr(call->operands[0], '/');
    struct pst_asker asker;
    char graph[256];
    if (slash == NULL || slash == call->operands[0] || slash[1] == '\0' ||
        (size_t)(slash - call->operands[0]) >= sizeof graph) {
        pst_complain(call, PST_EXIT_USAGE, "`%s` is no sink: GRAPH/SINK is wanted", call->operands[0]);
        return PST_EXIT_USAGE;
    }
    (void)snprintf(graph, sizeof graph, "%.*s", (int)(slash - call->operands[0]), call->operands[0]);
    struct taking taking = {.call = call};
    struct pst_reading reading = {.graph = graph,
                                  .sink = slash + 1,
                                  .follow = pst_call_flag(call, "follow") != NULL,
                                  .take = take,
                                  .argument = &taking};
    int exit_code = pst_asker_init(&asker, call);
    if (exit_code == PST_EXIT_OK)
        exit_code = read_all(call, &asker, &reading);
    if (exit_code == PST_EXIT_OK)
        exit_code = told(call, &reading);
    pst_asker_fini(&asker);
    return exit_code;
}

static const struct pst_flag results_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    {"follow", 'f', NULL, false, "Go on with what comes, to the end of the graph.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_results = {
    .name = "results",
    .operands = "GRAPH/SINK",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Read or follow what a sink has written for good.",
    .text =
        "Prints what is committed: of a graph with checkpoints what the last complete one has, of one without nothing "
        "before it has ended, and then all, and of one that was stopped what its savepoint has. SINK is the operator, "
        "or the name of its file. With --follow it goes on "
        "until "
        "the graph has ended, whatever dies meanwhile, each byte once; it gives up when nobody has answered for a "
        "minute.\n\n"
        "With --json the bytes are counted and not printed.",
    .examples = "penstock results load/load_plug --node unix:n1/admin.sock >plugs.csv\n"
                "penstock results load/load_plug --follow --node 127.0.0.1:7001 --tls authority/me",
    .flags = results_flags,
    .run = results_run,
};
