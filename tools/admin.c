/* tools/admin.c - the commands that ask a node: `penstock submit`, `status`, `ls`, `cancel`. */
#include "tools/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MAX = 80, ANSWER_SECONDS = 30, DEADLINE_SECONDS_MAX = 24 * 60 * 60, GRAPH_BYTES_MAX = 1024 * 1024 };

struct asked {
    const char *arguments[ARGUMENTS_MAX];
    struct pst_question question;
    void (*ended)(void *argument); /* of the question, which has its answer; NULL: nobody minds */
};

int pst_answer_show(const struct pst_call *call, int rc, const struct pst_answer *answer)
{
    const char *why = answer->err.bytes != NULL ? answer->err.bytes
                      : rc == PST_ESTOPPED      ? "interrupted before there was an answer; what was asked for may go on"
                                                : pst_error_sentence(rc);
    if (rc != PST_OK) {
        int exit_code = rc == PST_EIO ? PST_EXIT_UNREACHABLE : pst_exit_of_error(rc);
        pst_complain(call, exit_code, "%s", why);
        return exit_code;
    }
    if (answer->out.count != 0)
        pst_print(answer->out.bytes, answer->out.count);
    if (answer->error == PST_OK)
        return PST_EXIT_OK;
    int exit_code = pst_exit_of_error(answer->error);
    size_t bytes = strlen(why);
    while (bytes != 0 && why[bytes - 1] == '\n')
        bytes--;
    pst_complain(call, exit_code, "%s%.*s", answer->error == PST_EGRAPH ? "the graph is not valid:\n" : "", (int)bytes,
                 why);
    return exit_code;
}

int pst_asker_init(struct pst_asker *asker, const struct pst_call *call)
{
    const char *folder = pst_call_flag(call, "tls"), *address = pst_call_flag(call, "node");
    char why[200] = "";
    *asker = (struct pst_asker){.call = call, .address = address != NULL ? address : getenv("PENSTOCK_NODE")};
    if (asker->address == NULL || asker->address[0] == '\0') {
        pst_complain(call, PST_EXIT_USAGE, "--node ADDRESS is missing, and PENSTOCK_NODE is not set");
        return PST_EXIT_USAGE;
    }
    asker->world = pst_world_uv();
    if (asker->world == NULL)
        return PST_EXIT_FAILED;
    int rc = folder != NULL ? pst_world_uv_tls(asker->world, folder, why) : PST_OK;
    if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "--tls %s: %s", folder, why);
        return pst_exit_of_error(rc);
    }
    pst_signals_take();
    return PST_EXIT_OK;
}

void pst_asker_fini(struct pst_asker *asker) { pst_world_uv_free(asker->world); }

/* A node that wants certificates closes a connection without TLS, and says nothing to a stranger. */
static void tls_hint(const struct pst_asker *asker, struct pst_answer *answer)
{
    if (answer->unanswered && pst_call_flag(asker->call, "tls") == NULL && strncmp(asker->address, "unix:", 5) != 0)
        (void)pst_text_printf(&answer->err, "; a node that has certificates is asked with --tls FOLDER");
}

int pst_asker_ask(struct pst_asker *asker, struct pst_question *question, struct pst_answer *ret_answer)
{
    question->address = asker->address;
    question->json = asker->call->json;
    question->interrupts = pst_interrupts();
    if (question->timeout_ns == 0)
        question->timeout_ns = (uint64_t)ANSWER_SECONDS * 1000 * 1000 * 1000;
    int rc = pst_ask(asker->world, question, ret_answer);
    tls_hint(asker, ret_answer);
    return rc;
}

static int ask(const struct pst_call *call, struct asked *asked)
{
    struct pst_asker asker;
    int exit_code = pst_asker_init(&asker, call);
    if (exit_code == PST_EXIT_OK) {
        struct pst_answer answer;
        asked->question.arguments = asked->arguments;
        int rc = pst_asker_ask(&asker, &asked->question, &answer);
        if (asked->ended != NULL)
            asked->ended(asked->question.argument);
        exit_code = pst_answer_show(call, rc, &answer);
        pst_answer_fini(&answer);
    }
    pst_asker_fini(&asker);
    return exit_code;
}

/* The verb and its operands as they are. */
static int plain_ask(const struct pst_call *call, struct asked *asked)
{
    asked->arguments[asked->question.argument_count++] = call->verb->name;
    for (uint32_t i = 0; i < call->operand_count; i++)
        asked->arguments[asked->question.argument_count++] = call->operands[i];
    return ask(call, asked);
}

static int plain_run(const struct pst_call *call)
{
    struct asked asked = {0};
    return plain_ask(call, &asked);
}

/* ---- submit ---- */

static int file_read(const struct pst_call *call, const char *path, struct pst_text *ret_text)
{
    char buffer[16 * 1024];
    FILE *file = fopen(path, "rb");
    size_t count = 0;
    int rc = file != NULL ? PST_OK : PST_EIO, reason = errno;
    while (rc == PST_OK && ret_text->count <= GRAPH_BYTES_MAX && (count = fread(buffer, 1, sizeof buffer, file)) != 0)
        rc = pst_text_add(ret_text, buffer, count);
    if (file != NULL && ferror(file)) {
        reason = errno;
        rc = PST_EIO;
    }
    if (rc == PST_OK && ret_text->count > GRAPH_BYTES_MAX) {
        rc = PST_EGRAPH;
        pst_complain(call, pst_exit_of_error(rc), "the graph `%s` is larger than 1 MiB, the most there may be", path);
    } else if (rc != PST_OK) {
        pst_complain(call, pst_exit_of_error(rc), "the graph `%s` cannot be read: %s", path,
                     rc == PST_EIO ? strerror(reason) : pst_error_sentence(rc));
    }
    if (file != NULL)
        (void)fclose(file);
    return pst_exit_of_error(rc);
}

static int submit_run(const struct pst_call *call)
{
    struct asked asked = {0};
    struct pst_text text = {0};
    const char *input = pst_call_flag(call, "input");
    if (input != NULL && pst_call_flag(call, "listen") != NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--input names a file, and with --listen none is read");
        return PST_EXIT_USAGE;
    }
    bool sealed = pst_call_flag(call, "sealed") != NULL;
    if (sealed != (pst_call_flag(call, "keys") != NULL)) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--sealed and --keys ADDRESS, of `penstock key serve`, belong together: one is missing");
        return PST_EXIT_USAGE;
    }
    asked.arguments[asked.question.argument_count++] = "submit";
    asked.arguments[asked.question.argument_count++] = call->operands[0];
    for (uint32_t i = 0; i < call->flag_count; i++) {
        bool source = strcmp(call->flags[i].flag->name, "source") == 0;
        if (!source && strcmp(call->flags[i].flag->name, "set") != 0)
            continue;
        if (asked.question.argument_count + 12 > ARGUMENTS_MAX) {
            pst_complain(call, PST_EXIT_USAGE, "too many --set or --source");
            return PST_EXIT_USAGE;
        }
        if (source)
            asked.arguments[asked.question.argument_count++] = "--source";
        asked.arguments[asked.question.argument_count++] = call->flags[i].value;
    }
    if (input != NULL) {
        asked.arguments[asked.question.argument_count++] = "--input";
        asked.arguments[asked.question.argument_count++] = input;
    }
    if (pst_call_flag(call, "from") != NULL) {
        asked.arguments[asked.question.argument_count++] = "--from";
        asked.arguments[asked.question.argument_count++] = pst_call_flag(call, "from");
    }
    if (sealed) {
        asked.arguments[asked.question.argument_count++] = "--keys";
        asked.arguments[asked.question.argument_count++] = pst_call_flag(call, "keys");
    }
    if (pst_call_flag(call, "listen") != NULL)
        asked.arguments[asked.question.argument_count++] = "--listen";
    if (pst_call_flag(call, "strict") != NULL)
        asked.arguments[asked.question.argument_count++] = "--strict";
    if (pst_call_flag(call, "by-source") != NULL)
        asked.arguments[asked.question.argument_count++] = "--by-source";
    if (pst_call_flag(call, "wait") != NULL)
        asked.arguments[asked.question.argument_count++] = "--wait";
    int exit_code = file_read(call, call->operands[0], &text);
    if (exit_code == PST_EXIT_OK) {
        asked.question.body = text.bytes;
        asked.question.body_bytes = text.count;
        exit_code = ask(call, &asked);
    }
    pst_text_fini(&text);
    return exit_code;
}

static const struct pst_flag submit_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    {"set", 's', "NAME=VALUE", true, "Give the graph's parameter NAME this value.", NULL},
    {"source", 0, "NODE[=FILE]", true,
     "The node that reads the input; the coordinator where nothing is said. Given again, each with a file, or with "
     "--listen: all of them read.",
     NULL},
    {"input", 'i', "FILE", false, "Read FILE, a path on that node, instead of the source's file.", NULL},
    {"from", 0, "FOLDER", false, "Go on from the savepoint that `penstock stop` has put there.", NULL},
    {"listen", 0, NULL, false, "Read no file, but what `penstock replay` sends.", NULL},
    {"sealed", 0, NULL, false,
     "The input, or what `penstock replay` sends, is what `penstock seal` made; results are NAME.sealed.", NULL},
    {"keys", 0, "ADDRESS", false,
     "With --sealed: where `penstock key serve` answers the nodes, HOST:PORT, or unix:PATH on each of them.", NULL},
    {"strict", 0, NULL, false, "Stop at the first malformed line.", NULL},
    {"by-source", 0, NULL, false,
     "As soon as it is known where rows come from, bring buckets there, as `penstock rebalance --by-source` does.",
     NULL},
    {"wait", 0, NULL, false, "End when the graph has ended, and not when it runs.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_submit = {
    .name = "submit",
    .operands = "GRAPH.yaml",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Run a graph on a cluster.",
    .text =
        "The graph is checked by the coordinator, which deals its partitions to the nodes and starts them; the command "
        "ends when all run. The source reads its file on the node that --source names; a path that does not begin with "
        "a slash is below the folder that node was started in. Several nodes read where --source is given for each, "
        "with "
        "a file of its own in order of time: a row is late by the rows before it in its own file. Each sink writes "
        "below its node's folder, "
        "DIR/results/GRAPH/: as NAME.part while it runs, as NAME when it is complete; `penstock status` says which "
        "node "
        "that is.\n\n"
        "With `--listen` the source reads no file: it waits for a stream that `penstock replay` sends. When the node "
        "that "
        "reads dies, another one goes on. With several `--source` each of these nodes reads a stream of its own.\n\n"
        "With `--by-source` buckets go to the node where most of their rows come from as soon as that is known, which "
        "is "
        "within a second where rows come by the million, as with `penstock rebalance --by-source`; it is looked at "
        "again one and four seconds later. The command does not wait for it.\n\n"
        "With `--from` the graph goes on where the savepoint ends: with its state, at its place in the input, behind "
        "what its sinks had written; the results of both together are those of one run. The graph may be another "
        "version of the one that was stopped, as with `penstock run --resume`: what would lose state is refused. Its "
        "partitions and nodes may be others. All else is said anew: its settings, and its input.\n\n"
        "With `--sealed` no node sees a row: each carries what `penstock seal` made to the operators, all of which are "
        "in enclaves, and their results to NAME.sealed, for `penstock open`. The workers get their keys from `penstock "
        "key serve`, once their nodes' evidence was checked: each node needs --node-key.\n\n"
        "A graph of a name that runs already is refused; one that has ended makes room.",
    .examples = "penstock submit load.yaml --node 127.0.0.1:7001 --tls authority/me --set partitions=4\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --source n2 --input /data/meters.csv\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --source n1=/data/a.csv --source n2=/data/b.csv\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --source n1=/data/a.csv --source n2=/data/b.csv "
                "--by-source\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --listen --source n1 --source n2\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --from before-upgrade\n"
                "penstock submit load.yaml --node unix:n1/admin.sock --sealed --keys keeper:7400 --input meters.sealed",
    .flags = submit_flags,
    .run = submit_run,
};

/* ---- status, ls, cancel ---- */

static const struct pst_flag ask_flags[] = {PST_NODE_FLAG, PST_TLS_FLAG, {NULL, 0, NULL, false, NULL, NULL}};

const struct pst_verb pst_verb_status = {
    .name = "status",
    .operands = "[GRAPH]",
    .operand_count_max = 1,
    .summary = "Show the graphs of a cluster, and where their partitions are.",
    .text =
        "A graph is waiting (for a node that it cannot do without), starting, running, done, failed, cancelled or "
        "stopped. Its "
        "incarnation grows by one each time it is started again, as after the death of a node. Of one that has ended "
        "no partition is anywhere any more: it is said which nodes have what its sinks have written, where that is "
        "not in the folder that all reach.",
    .examples = "penstock status --node unix:n1/admin.sock\n"
                "penstock status load --node 127.0.0.1:7001 --tls authority/me --json",
    .flags = ask_flags,
    .run = plain_run,
};

const struct pst_verb pst_verb_ls = {
    .name = "ls",
    .operands = "",
    .summary = "List the nodes of a cluster.",
    .text =
        "A node is alive, silent (its connection is lost, and it may come back), or dead. One that is draining gets "
        "nothing until `drain --undo`; one that is leaving was told to end, and has its partitions moved first.",
    .examples = "penstock ls --node unix:n1/admin.sock",
    .flags = ask_flags,
    .run = plain_run,
};

/* ---- what moves partitions ---- */

struct moving {
    const struct pst_call *call;
    bool shown; /* a line stands on the terminal */
};

static void moving_clear(void *argument)
{
    struct moving *moving = argument;
    if (moving->shown)
        fprintf(stderr, "\r\033[K");
    moving->shown = false;
    (void)fflush(stderr);
}

/* Objects go where the last one goes. */
static void moving_show(void *argument, const char *text, size_t byte_count)
{
    struct moving *moving = argument;
    if (moving->call->json) {
        pst_print(text, byte_count);
        pst_print("\n", 1);
        (void)fflush(stdout);
    } else if (moving->call->terminal_err) {
        size_t columns = pst_terminal_columns() - 1;
        fprintf(stderr, "\r%.*s\033[K", (int)(byte_count < columns ? byte_count : columns), text);
        (void)fflush(stderr);
        moving->shown = true;
    } else {
        fprintf(stderr, "penstock: %.*s\n", (int)byte_count, text);
    }
}

/* What waits for moves to end: how far they are is shown. False: an option is wrong. */
static bool moving_read(const struct pst_call *call, struct moving *moving, struct asked *asked)
{
    uint64_t seconds;
    bool progress = pst_call_flag(call, "progress") != NULL, terminal = call->terminal_err && !call->json;
    if (!pst_call_number(call, "deadline", 1, DEADLINE_SECONDS_MAX, 0, &seconds))
        return false;
    *moving = (struct moving){.call = call};
    asked->question.deadline_ns = seconds * 1000 * 1000 * 1000;
    asked->question.argument = moving;
    if (!call->quiet && (progress || terminal))
        asked->question.progress = moving_show;
    asked->ended = moving_clear;
    return true;
}

static int moving_run(const struct pst_call *call)
{
    struct moving moving;
    struct asked asked = {0};
    return moving_read(call, &moving, &asked) ? plain_ask(call, &asked) : PST_EXIT_USAGE;
}

static bool is_number(const char *text)
{
    uint64_t value;
    return pst_parse_u64(text, &value) == PST_OK;
}

static int scale_run(const struct pst_call *call)
{
    if (is_number(call->operands[1]))
        return moving_run(call);
    pst_complain(call, PST_EXIT_USAGE, "`%s` is no number of partitions", call->operands[1]);
    return PST_EXIT_USAGE;
}

static int move_run(const struct pst_call *call)
{
    const char *slash = strrchr(call->operands[0], '/');
    if (slash != NULL && slash != call->operands[0] && is_number(slash + 1))
        return moving_run(call);
    pst_complain(call, PST_EXIT_USAGE, "`%s` is no partition: OPERATOR/NUMBER is wanted, as status shows them",
                 call->operands[0]);
    return PST_EXIT_USAGE;
}

#define MOVING_FLAGS                                                                                                 \
    {"deadline",                                                                                                     \
     0,                                                                                                              \
     "SECONDS",                                                                                                      \
     false,                                                                                                          \
     "Give a move up, and leave its buckets where they are, when its new owner is not agreed upon so "               \
     "long after its beginning; 60 where nothing is said. A large partition goes in several moves, "                 \
     "each of which has so long. Buckets change their owner at the ends of epochs: a stream that "                   \
     "comes as slowly as it was recorded may need more.",                                                            \
     NULL},                                                                                                          \
    {                                                                                                                \
        "progress", 0, NULL, false,                                                                                  \
            "Tell how far it is on standard error, though that is no terminal; with --json as objects, one a line, " \
            "before the last one.",                                                                                  \
            NULL                                                                                                     \
    }
static const struct pst_flag moving_flags[] = {
    PST_NODE_FLAG, PST_TLS_FLAG, MOVING_FLAGS, {NULL, 0, NULL, false, NULL, NULL}};

const struct pst_verb pst_verb_scale = {
    .name = "scale",
    .operands = "OPERATOR N",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .summary = "Give an operator of a running graph more partitions, or fewer.",
    .text =
        "To have more, the largest partitions are halved, one after the other, until there are N: half of a "
        "partition's buckets go, with their state, to the node that has least to do, be it one that joined when the "
        "graph ran already. To have fewer, the smallest goes into another. The stream runs on meanwhile: both compute "
        "what the other does until the new owner has caught up; then results come from that one, each of them once. "
        "The command ends when all is done, with what was moved, how long it took, and how many rows were "
        "lost on the way, which is counted and is 0; on a terminal, or with `--progress`, it shows meanwhile how far "
        "it "
        "is. `penstock migration ls` does, too. Where there are N already there is nothing to do, which is no "
        "error.\n\n"
        "Graphs that were submitted with `--sealed` go stop and go, from a checkpoint, as with `move`, once for the "
        "whole order: shares are even then. Where a worker cannot go on in the other partitions the graph goes on in "
        "those that it had, and the exit code is 77.",
    .examples = "penstock scale plug_load 4 --node unix:n1/admin.sock",
    .flags = moving_flags,
    .run = scale_run,
};

const struct pst_verb pst_verb_move = {
    .name = "move",
    .operands = "OPERATOR/PARTITION NODE",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .summary = "Move a partition of a running graph to another node.",
    .text =
        "All buckets of the partition go to the node, with their state, while the stream runs on, as with `scale`. "
        "There "
        "they are a partition with a number of its own: `status` shows it.\n\n"
        "Of a graph that was submitted with `--sealed` the partition goes stop and go: a checkpoint is taken, and the "
        "graph is started from it with the partition on that node. Nothing is lost or comes twice; the command ends "
        "with how long the graph stood still. Where it cannot run there it goes on where it was, and the exit code "
        "is 77. Without checkpoints such partitions stay.",
    .examples = "penstock move plug_load/0 n2 --node unix:n1/admin.sock",
    .flags = moving_flags,
    .run = move_run,
};

static const struct pst_flag drain_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    MOVING_FLAGS,
    {"undo", 0, NULL, false, "Take it back: the node may get partitions again.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

static int drain_run(const struct pst_call *call)
{
    struct moving moving;
    struct asked asked = {0};
    asked.arguments[asked.question.argument_count++] = "drain";
    asked.arguments[asked.question.argument_count++] = call->operands[0];
    if (pst_call_flag(call, "undo") != NULL)
        asked.arguments[asked.question.argument_count++] = "--undo";
    return moving_read(call, &moving, &asked) ? ask(call, &asked) : PST_EXIT_USAGE;
}

const struct pst_verb pst_verb_drain = {
    .name = "drain",
    .operands = "NODE",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Move everything that can move from a node.",
    .text =
        "From now on the node gets nothing: that is written down, and holds until `--undo`, whatever is started again "
        "meanwhile, the node itself too. Its partitions of all graphs go to the other nodes, as with `move`; then it "
        "can "
        "be switched off, and no graph notices. Inputs and sinks of graphs that run do not move: where there are some "
        "the rest goes, the answer says what has stayed, and the exit code is 77. Given again, the command moves what "
        "is "
        "still there; where nothing is, there is nothing to do, which is no error, as with `--undo` of a node that is "
        "not drained.\n\n"
        "Graphs that were submitted with `--sealed` go stop and go, from a checkpoint, as with `move`, and with their "
        "sinks and the source of a stream: of each the command says how long it stood still.\n\n"
        "`--undo` takes it back; nothing moves to the node by that: `penstock rebalance` does.",
    .examples = "penstock drain n2 --node unix:n1/admin.sock\n"
                "penstock drain n2 --undo --node unix:n1/admin.sock",
    .flags = drain_flags,
    .run = drain_run,
};

static const struct pst_flag rebalance_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    MOVING_FLAGS,
    {"by-load", 0, NULL, false,
     "Even out how busy the nodes of each graph are, as `penstock top` shows it, instead of buckets.", NULL},
    {"by-source", 0, NULL, false,
     "Give each bucket to the node where most of its rows come from, as long as every node of a graph keeps its part "
     "of "
     "what there is to do.",
     NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

static int rebalance_run(const struct pst_call *call)
{
    struct moving moving;
    struct asked asked = {0};
    bool by_load = pst_call_flag(call, "by-load") != NULL, by_source = pst_call_flag(call, "by-source") != NULL;
    if (by_load && by_source) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--by-load and --by-source do not go together: --by-source heeds the load, too");
        return PST_EXIT_USAGE;
    }
    asked.arguments[asked.question.argument_count++] = "rebalance";
    if (by_load || by_source)
        asked.arguments[asked.question.argument_count++] = by_load ? "--by-load" : "--by-source";
    return moving_read(call, &moving, &asked) ? ask(call, &asked) : PST_EXIT_USAGE;
}

const struct pst_verb pst_verb_rebalance = {
    .name = "rebalance",
    .operands = "",
    .summary = "Spread buckets, or what there is to do, evenly over the nodes.",
    .text =
        "For each operator buckets go from the node with the most to the one with the fewest, as with `move`, until "
        "all are within a tenth of the average: fewer moves than there are nodes.\n\n"
        "With `--by-load` nodes are to be as busy as each other for each graph, within a tenth, whatever with: a node "
        "that has an input or a sink gets fewer buckets, one with more workers gets more. How busy partitions are is "
        "looked at once, over the last half minute; of moves that do as much the one with the least state is taken.\n\n"
        "With `--by-source` buckets go to the node where most of their rows come from, so that few rows cross from "
        "node "
        "to node: where several nodes read, as `penstock submit --source` has it, each what it reads itself. Every "
        "node "
        "keeps its part of what there is to do, within 4 in 100: beyond that it gives the buckets away that are missed "
        "least there. All buckets that go from one partition to one node are one move. What helps it is `bucket_by` of "
        "a "
        "graph's operators (`penstock help graphs`).\n\n"
        "Graphs that were submitted with `--sealed` are passed over: they would have to stand still for it. `penstock "
        "move` says where their partitions are to be.",
    .examples = "penstock rebalance --node unix:n1/admin.sock\n"
                "penstock rebalance --by-load --node unix:n1/admin.sock\n"
                "penstock rebalance --by-source --node unix:n1/admin.sock",
    .flags = rebalance_flags,
    .run = rebalance_run,
};

static int migration_run(const struct pst_call *call)
{
    bool lists = strcmp(call->operands[0], "ls") == 0;
    bool one = strcmp(call->operands[0], "show") == 0 || strcmp(call->operands[0], "cancel") == 0;
    if ((lists && call->operand_count == 1) || (one && call->operand_count == 2))
        return plain_run(call);
    pst_complain(call, PST_EXIT_USAGE, "`migration` has ls, show GRAPH/NUMBER and cancel GRAPH/NUMBER");
    return PST_EXIT_USAGE;
}

const struct pst_verb pst_verb_migration = {
    .name = "migration",
    .operands = "ls | show GRAPH/NUMBER | cancel GRAPH/NUMBER",
    .operand_count_min = 1,
    .operand_count_max = 2,
    .summary = "List the moves of graphs, show one, or give one up.",
    .text =
        "A move goes from INTENT (its buckets are locked) to COPYING (rows go to both owners, state is handed over), "
        "READY (the new owner has caught up, and both have come to the same), COMMITTED (the store says who the owner "
        "is), and DONE; or it is ABORTED before it is COMMITTED, and the old owner goes on as if it had not been. A "
        "move can be cancelled until it is COMMITTED. What goes stop and go waits for a checkpoint (INTENT), is "
        "started "
        "where it is to be (READY; cancelled, it goes back) and runs there (DONE). The last 32 moves of a graph are "
        "kept.\n\n"
        "`ls` also says which order is under way, if any: `scale`, `move` and `rebalance` go on when another node "
        "coordinates, and whoever gave them may not hear of their end. An order ends with a move of it that is "
        "cancelled.",
    .examples = "penstock migration ls --node unix:n1/admin.sock\n"
                "penstock migration cancel load/7 --node unix:n1/admin.sock",
    .flags = ask_flags,
    .run = migration_run,
};

/* ---- stop ---- */

static int stop_run(const struct pst_call *call)
{
    const char *savepoint = pst_call_flag(call, "savepoint");
    struct asked asked = {0};
    if (savepoint == NULL) {
        pst_complain(call, PST_EXIT_USAGE,
                     "--savepoint FOLDER is missing: `penstock cancel` stops a graph without one");
        return PST_EXIT_USAGE;
    }
    asked.arguments[asked.question.argument_count++] = "stop";
    asked.arguments[asked.question.argument_count++] = call->operands[0];
    asked.arguments[asked.question.argument_count++] = "--savepoint";
    asked.arguments[asked.question.argument_count++] = savepoint;
    return ask(call, &asked);
}

static const struct pst_flag stop_flags[] = {
    PST_NODE_FLAG,
    PST_TLS_FLAG,
    {"savepoint", 0, "FOLDER", false,
     "Where it is put: a name below the nodes' --checkpoints folder, or a path that begins with a slash and leads all "
     "nodes to the same place.",
     NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_stop = {
    .name = "stop",
    .operands = "GRAPH",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Stop a graph on a cluster, with a savepoint to go on from.",
    .text =
        "The graph takes one more checkpoint, as soon as its stream comes to the end of an epoch; then it is stopped "
        "on "
        "all nodes, and the checkpoint is copied to the folder, with what its sinks have committed. Nothing that is "
        "done "
        "with the graph later changes or removes it; `penstock submit --from` goes on from it, as often as is wanted. "
        "It is sealed with the nodes' key.\n\n"
        "Either the savepoint is complete when the command ends, or the graph goes on and the command says why; where "
        "the input ends before, the graph is done, and there is no savepoint. Nodes that were started without "
        "`--checkpoints` have none.\n\n"
        "The stop is written down before anything follows from it, so it outlives the coordinator: the next one goes "
        "on "
        "with it, and the command ends with 75. Given again with the same folder it waits for the stop that is under "
        "way, or says that the graph is stopped so.",
    .examples = "penstock stop load --savepoint before-upgrade --node unix:n1/admin.sock\n"
                "penstock submit load.yaml --from before-upgrade --node unix:n1/admin.sock",
    .flags = stop_flags,
    .run = stop_run,
};

const struct pst_verb pst_verb_cancel = {
    .name = "cancel",
    .operands = "GRAPH",
    .operand_count_min = 1,
    .operand_count_max = 1,
    .summary = "Stop a graph on a cluster.",
    .text = "Its partitions are stopped on all nodes, and what it has written is removed.",
    .examples = "penstock cancel load --node unix:n1/admin.sock",
    .flags = ask_flags,
    .run = plain_run,
};
