/* graph.c - the way from a file to a planned graph, stage by stage, and the calls that look at a finished one. */
#include "engine/carry.h"
#include "engine/graph_build.h"

#include "enclave_shim/enclave_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

enum { GRAPH_VERSION = 1 };

/* ---- the top of the file ---- */
struct top {
    const struct pst_yaml *version, *name, *parameters, *libraries, *operators;
};

static void top_take(struct pst_build *b, struct top *top)
{
    const struct pst_build_key keys[] = {
        {"penstock", true, &top->version},       {"name", true, &top->name},
        {"parameters", false, &top->parameters}, {"libraries", false, &top->libraries},
        {"operators", true, &top->operators},
    };
    struct pst_place start = {b->source, 1, 1, 1};
    if (b->tree->kind != PST_YAML_MAP) {
        pst_build_error(b, &b->tree->place, "it begins with `penstock: 1`", "a graph is a mapping of keys to values");
        return;
    }
    (void)pst_build_keys(b, b->tree, &start, "the graph", keys, sizeof keys / sizeof keys[0]);
}

static void top_check(struct pst_build *b, const struct top *top)
{
    int64_t version = 0;
    if (top->version != NULL && pst_build_number(b, top->version, "`penstock`", INT64_MIN, INT64_MAX, &version) &&
        version != GRAPH_VERSION)
        pst_build_error(b, &top->version->place, NULL, "this penstock reads version %d of the graph file, not %lld",
                        GRAPH_VERSION, (long long)version);
    const char *name = top->name != NULL ? pst_build_name(b, top->name, "the name of the graph") : NULL;
    b->graph->name = name != NULL ? name : "";
}

/* ---- libraries ---- */
/* Two shared objects, or one and the built-in operators, may not both have a type: which one is meant? */
static const struct pst_operator *type_find(const struct pst_build *b, const char *type, uint32_t library_count)
{
    uint32_t list_count = b->registry->list_count + library_count;
    for (uint32_t i = 0; i < list_count; i++) {
        const struct pst_operator *const *list =
            i < b->registry->list_count ? b->registry->lists[i] : b->plugins.lists[i - b->registry->list_count];
        for (; *list != NULL; list++)
            if (strcmp((*list)->name, type) == 0)
                return *list;
    }
    return NULL;
}

static void library_open(struct pst_build *b, const struct pst_yaml *item, const char *graph_file)
{
    const char *text = pst_build_text(b, item, "each item of `libraries`");
    if (text == NULL)
        return;
    const char *slash = strrchr(graph_file, '/'), *why = "";
    const char *path = text[0] == '/' || slash == NULL
                           ? text
                           : pst_build_printf(b, "%.*s/%s", (int)(slash - graph_file), graph_file, text);
    int rc = b->rc != PST_OK ? b->rc : pst_plugins_open(&b->plugins, path, &b->graph->arena, &why);
    b->graph->library_count = b->plugins.count;
    if (rc == PST_ENOMEM)
        b->rc = rc;
    if (rc != PST_OK) {
        if (rc != PST_ENOMEM)
            pst_build_error(b, &item->place,
                            rc == PST_EABI     ? "build it again with this penstock's operators/operator.h"
                            : rc == PST_ENOENT ? "a path is relative to the folder of the graph file"
                                               : NULL,
                            "`%s` is refused: %s", pst_build_shown(b, text), why);
        return;
    }
    uint32_t index = b->plugins.count - 1;
    for (const struct pst_operator *const *op = b->plugins.lists[index]; *op != NULL; op++)
        if (type_find(b, (*op)->name, index) != NULL)
            pst_build_error(b, &item->place, NULL, "`%s` has an operator type `%s`, which there is already",
                            pst_build_shown(b, text), pst_build_shown(b, (*op)->name));
}

static void libraries_open(struct pst_build *b, const struct pst_yaml *libraries, const char *graph_file)
{
    if (libraries == NULL || !pst_build_list(b, libraries, "`libraries`"))
        return;
    uint32_t count = libraries->count;
    if (count > PST_GRAPH_LIBRARIES_MAX) {
        pst_build_error(b, &libraries->place, NULL, "a graph may name %d libraries at most", PST_GRAPH_LIBRARIES_MAX);
        return;
    }
    b->plugins.handles = pst_build_alloc(b, count * sizeof *b->plugins.handles);
    b->plugins.lists = pst_build_alloc(b, count * sizeof *b->plugins.lists);
    if (b->rc != PST_OK)
        return;
    b->plugins.capacity = count;
    b->graph->libraries = b->plugins.handles;
    for (const struct pst_yaml *item = libraries->first; item != NULL && b->rc == PST_OK; item = item->next)
        library_open(b, item, graph_file);
}

/* ---- one operator of the file ---- */
static void type_unknown(struct pst_build *b, const struct pst_yaml *value, const char *type)
{
    uint32_t count = 0, list_count = b->registry->list_count + b->plugins.count;
    const char *names[256];
    for (uint32_t i = 0; i < list_count; i++) {
        const struct pst_operator *const *list =
            i < b->registry->list_count ? b->registry->lists[i] : b->plugins.lists[i - b->registry->list_count];
        for (; *list != NULL && count < sizeof names / sizeof names[0]; list++)
            names[count++] = (*list)->name;
    }
    const char *hint = pst_build_suggest(b, type, names, count, "the types are");
    pst_build_error(b, &value->place, hint != NULL ? hint : "`penstock help operators` lists them",
                    "no operator type is called `%s`", pst_build_shown(b, type));
}

static void node_type(struct pst_build *b, struct pst_build_node *node)
{
    const char *type = node->type_value != NULL ? pst_build_text(b, node->type_value, "`type`") : NULL;
    if (type == NULL)
        return;
    const struct pst_operator *op = type_find(b, type, b->plugins.count);
    if (op == NULL) {
        type_unknown(b, node->type_value, type);
        return;
    }
    const char *fault = pst_plugin_fault(op);
    if (fault != NULL)
        pst_build_error(b, &node->type_value->place, "this is a mistake in the operator, not in the graph",
                        "operator type `%s` %s", type, fault);
    else
        node->op = op;
    for (uint32_t i = 0; i < b->plugins.count; i++)
        for (const struct pst_operator *const *one = b->plugins.lists[i]; *one != NULL; one++)
            node->plugin |= *one == op;
}

/* What is wrong with keys, partitions and buckets keeps nobody from planning: plan() sees none of them, and may have more
 * to say. */
static void not_for_this(struct pst_build *b, const struct pst_build_node *node, const struct pst_yaml *value,
                         const char *why)
{
    if (value != NULL)
        pst_build_error(b, &value->key->place, "take it out", "operator `%s` (%s) takes no `%s`: %s", node->id,
                        node->op->name, value->key->text, why);
}

static void node_buckets(struct pst_build *b, struct pst_build_node *node)
{
    int64_t count = PST_BUCKETS_STANDARD, below = 1;
    const struct pst_yaml *value = node->buckets_value;
    node->bucket_count = PST_BUCKETS_MAX; /* where it is wrong: no second error for too many partitions */
    if (value != NULL && !pst_build_number(b, value, "`buckets`", 1, PST_BUCKETS_MAX, &count))
        return;
    while (below * 2 < count)
        below *= 2;
    if ((count & (count - 1)) == 0)
        node->bucket_count = (uint32_t)count;
    else
        pst_build_error(b, &value->place,
                        pst_build_printf(b, "%lld and %lld are", (long long)below, (long long)below * 2),
                        "`buckets` must be a power of two, not %lld", (long long)count);
}

static void node_partitions(struct pst_build *b, struct pst_build_node *node)
{
    int64_t count = 1, wanted = node->bucket_count;
    const struct pst_yaml *value = node->partitions_value;
    if (value != NULL && !pst_build_number(b, value, "`partitions`", 1, PST_BUCKETS_MAX, &count))
        return;
    while (wanted < count)
        wanted *= 2;
    if (count > node->bucket_count)
        pst_build_error(b, &value->place, pst_build_printf(b, "with `buckets: %lld` it can be", (long long)wanted),
                        "`partitions` (%lld) cannot be more than `buckets` (%u)", (long long)count, node->bucket_count);
    node->partition_count = (uint32_t)count;
}

static uint32_t autoscale_number(struct pst_build *b, const struct pst_yaml *value, const char *what, int64_t min,
                                 int64_t max, uint32_t standard)
{
    int64_t number = standard;
    if (value != NULL)
        (void)pst_build_number(b, value, what, min, max, &number);
    return (uint32_t)number;
}

static void autoscale_mode(struct pst_build *b, const struct pst_yaml *value, struct pst_autoscale *rule)
{
    const char *text = value != NULL ? pst_build_text(b, value, "`mode` of `autoscale`") : "on";
    rule->mode = PST_AUTOSCALE_ON;
    if (text == NULL || strcmp(text, "on") == 0)
        return;
    if (strcmp(text, "off") == 0)
        rule->mode = PST_AUTOSCALE_OFF;
    else if (strcmp(text, "dry-run") == 0)
        rule->mode = PST_AUTOSCALE_DRY_RUN;
    else
        pst_build_error(b, &value->place, "`dry-run` says in the log what would be done",
                        "`mode` of `autoscale` can be `on`, `off` or `dry-run`, not `%s`", pst_build_shown(b, text));
}

static void node_autoscale(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_yaml *value = node->autoscale_value, *target = NULL, *band = NULL, *min = NULL, *max = NULL,
                          *grace = NULL, *mode = NULL;
    const struct pst_build_key keys[] = {{"target", true, &target}, {"band", false, &band},   {"min", false, &min},
                                         {"max", true, &max},       {"grace", false, &grace}, {"mode", false, &mode}};
    struct pst_autoscale *rule = &node->autoscale;
    if (value == NULL || !pst_build_map(b, value, "`autoscale`") ||
        !pst_build_keys(b, value, &value->key->place, "`autoscale`", keys, sizeof keys / sizeof keys[0]))
        return;
    rule->target = autoscale_number(b, target, "`target` of `autoscale`", 10, 95, 70);
    uint32_t least = rule->target - 1 < 100 - rule->target ? rule->target - 1 : 100 - rule->target;
    rule->band = autoscale_number(b, band, "`band` of `autoscale`", 1, least, least < 10 ? least : 10);
    rule->min = autoscale_number(b, min, "`min` of `autoscale`", 1, node->bucket_count, 1);
    rule->max = autoscale_number(b, max, "`max` of `autoscale`", 1,
                                 node->bucket_count < PST_AUTOSCALE_PARTITIONS_MAX ? node->bucket_count
                                                                                   : PST_AUTOSCALE_PARTITIONS_MAX,
                                 node->bucket_count);
    rule->grace_ns = autoscale_number(b, grace, "`grace` of `autoscale`", 1, 86400, 60) * UINT64_C(1000000000);
    autoscale_mode(b, mode, rule);
    if (rule->min > rule->max)
        pst_build_error(b, &min->place, NULL, "`min` of `autoscale` (%u) cannot be more than its `max` (%u)", rule->min,
                        rule->max);
}

static void node_enclave(struct pst_build *b, struct pst_build_node *node)
{
    const char *text = node->enclave_value != NULL ? pst_build_text(b, node->enclave_value, "`enclave`") : NULL;
    node->enclave = text != NULL && strcmp(text, "true") == 0;
    if (text != NULL && !node->enclave && strcmp(text, "false") != 0)
        pst_build_error(b, &node->enclave_value->place, NULL, "`enclave` can be true or false, not `%s`",
                        pst_build_shown(b, text));
    text = node->epc_value != NULL ? pst_build_text(b, node->epc_value, "`epc`") : NULL;
    if (text != NULL && (pst_parse_bytes(text, &node->epc_bytes) != PST_OK || !pst_epc_fits(node->epc_bytes)))
        pst_build_error(b, &node->epc_value->place, "93.5MiB is what SGX 1 had to offer",
                        "`epc` must be a size of 1MiB at least, not `%s`", pst_build_shown(b, text));
}

/* Without a key, too: what it has is in one partition, and that can die as well. */
static void node_replicas(struct pst_build *b, struct pst_build_node *node)
{
    int64_t count = 1;
    const struct pst_yaml *value = node->replicas_value;
    if (value != NULL && pst_build_number(b, value, "`replicas`", 1, PST_REPLICAS_MAX, &count))
        node->replicas = (uint32_t)count;
}

/* A copy has a number of its own among those of partitions, and there is one more of them than buckets. */
static void node_copies(struct pst_build *b, struct pst_build_node *node)
{
    if (node->replicas == 1)
        return;
    not_for_this(b, node, node->autoscale_value, "it has `replicas`, whose partitions stay as they are");
    if (node->partition_count * node->replicas > node->bucket_count + 1)
        pst_build_error(b, &node->replicas_value->place, "give it more `buckets`, or fewer partitions",
                        "`replicas: %u` of %u partitions are more than `buckets` (%u) and one", node->replicas,
                        node->partition_count, node->bucket_count);
}

/* An operator without a key may say `partitions: 1`, so that a graph can say it of all. */
static void node_unkeyed(struct pst_build *b, struct pst_build_node *node)
{
    const struct pst_yaml *values[] = {node->partitions_value, node->buckets_value};
    const char *hint = node->op->role == PST_ROLE_PLAIN ? "give it a `key`, or leave this out" : NULL;
    for (uint32_t i = 0; i < 2; i++) {
        int64_t count = 1;
        const char *what = i == 0 ? "`partitions`" : "`buckets`";
        if (values[i] != NULL && pst_build_number(b, values[i], what, 1, PST_BUCKETS_MAX, &count) && count != 1)
            pst_build_error(b, &values[i]->place, hint, "operator `%s` (%s) has no key: its %s can be 1 only", node->id,
                            node->op->name, what);
    }
    node->partition_count = node->bucket_count = 1;
}

static void node_division(struct pst_build *b, struct pst_build_node *node)
{
    node->replicas = 1;
    if (node->op->role == PST_ROLE_STATELESS) {
        const char *why = "it runs inside the partitions of the operator before it";
        not_for_this(b, node, node->key_value, why);
        not_for_this(b, node, node->bucket_by_value, why);
        not_for_this(b, node, node->partitions_value, why);
        not_for_this(b, node, node->buckets_value, why);
        not_for_this(b, node, node->autoscale_value, why);
        not_for_this(b, node, node->replicas_value, why);
        node->partition_count = node->bucket_count = 1;
        return;
    }
    if (node->op->role == PST_ROLE_PLAIN)
        node_replicas(b, node);
    else
        not_for_this(b, node, node->replicas_value,
                     node->op->role == PST_ROLE_SOURCE ? "it is a source" : "it is a sink, which has one partition");
    if (node->op->role != PST_ROLE_PLAIN)
        not_for_this(b, node, node->key_value,
                     node->op->role == PST_ROLE_SOURCE ? "it is a source" : "it is a sink, which has one partition");
    if (node->key_value != NULL && node->op->role == PST_ROLE_PLAIN) {
        node_buckets(b, node);
        node_partitions(b, node);
        node_autoscale(b, node);
        node_copies(b, node);
        return;
    }
    not_for_this(b, node, node->bucket_by_value, "it has no key, and so one bucket");
    not_for_this(b, node, node->autoscale_value, "it has no key, and so one partition");
    node_unkeyed(b, node);
}

static void node_id(struct pst_build *b, struct pst_build_node *node, uint32_t index)
{
    const char *id = node->id_value != NULL ? pst_build_name(b, node->id_value, "the id of an operator") : NULL;
    if (id == NULL) {
        b->readers_unknown = true;
        if (node->id_value != NULL && node->id_value->text[0] != '\0')
            node->id = pst_build_shown(b, node->id_value->text);
        return;
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(b->nodes[i].id, id) != 0)
            continue;
        pst_build_error(b, &node->id_value->place,
                        pst_build_printf(b, "the other one is at line %u", b->nodes[i].id_value->place.line),
                        "two operators have the id `%s`", id);
        node->outputs_read = UINT64_MAX;
        break;
    }
    node->id = id;
}

static void node_take(struct pst_build *b, struct pst_build_node *node, const struct pst_yaml *map, uint32_t index)
{
    const struct pst_build_key keys[] = {
        {"id", true, &node->id_value},
        {"type", true, &node->type_value},
        {"inputs", false, &node->inputs_value},
        {"key", false, &node->key_value},
        {"bucket_by", false, &node->bucket_by_value},
        {"partitions", false, &node->partitions_value},
        {"buckets", false, &node->buckets_value},
        {"autoscale", false, &node->autoscale_value},
        {"replicas", false, &node->replicas_value},
        {"enclave", false, &node->enclave_value},
        {"epc", false, &node->epc_value},
        {"params", false, &node->params_value},
    };
    node->map = map;
    node->id = "?";
    if (!pst_build_map(b, map, "each item of `operators`")) {
        node->broken = true;
        b->readers_unknown = true;
        return;
    }
    const char *what = "this operator";
    for (const struct pst_yaml *value = map->first; value != NULL; value = value->next)
        if (strcmp(value->key->text, "id") == 0 && value->kind == PST_YAML_SCALAR && value->text[0] != '\0')
            what = pst_build_printf(b, "operator `%s`", pst_build_shown(b, value->text));
    node->broken |= !pst_build_keys(b, map, &map->place, what, keys, sizeof keys / sizeof keys[0]);
    node_id(b, node, index);
    node_type(b, node);
    if (node->id_value == NULL)
        node->id_value = map; /* a place to point at */
    node->broken |= node->op == NULL;
    if (node->op == NULL)
        return;
    node_division(b, node);
    node_enclave(b, node);
    node->broken |= !pst_build_params(b, node);
}

static const char *file_param(const struct pst_build_node *node, const struct pst_yaml **ret_value)
{
    bool edge = node->op != NULL && node->params != NULL &&
                (node->op->role == PST_ROLE_SOURCE || node->op->role == PST_ROLE_SINK);
    for (uint32_t i = 0; edge && i < node->op->param_count; i++) {
        const struct pst_build_param *p = &node->params[i];
        if (p->param == NULL || p->param->kind != PST_PARAM_TEXT || strcmp(p->param->name, "file") != 0)
            continue;
        *ret_value = p->value;
        return p->text != NULL && p->text[0] != '\0' ? p->text : NULL;
    }
    return NULL;
}

static void files_check(struct pst_build *b)
{
    for (uint32_t i = 0; i < b->node_count; i++) {
        const struct pst_yaml *value = NULL, *other_value = NULL;
        const struct pst_build_node *node = &b->nodes[i];
        const char *file = file_param(node, &value);
        for (uint32_t k = 0; k < i && file != NULL && node->op->role == PST_ROLE_SINK; k++) {
            const struct pst_build_node *other = &b->nodes[k];
            const char *other_file = file_param(other, &other_value);
            if (other_file != NULL && other->op->role == PST_ROLE_SINK && strcmp(file, other_file) == 0)
                pst_build_error(b, value != NULL ? &value->place : &node->id_value->place, NULL,
                                "`%s` and `%s` both write the file `%s`", other->id, node->id,
                                pst_build_shown(b, file));
        }
    }
}

static void operators_take(struct pst_build *b, const struct pst_yaml *operators)
{
    if (operators == NULL || !pst_build_list(b, operators, "`operators`"))
        return;
    if (operators->count == 0 || operators->count > PST_GRAPH_OPERATORS_MAX) {
        pst_build_error(b, &operators->place, NULL, "a graph has 1 to %d operators, not %u", PST_GRAPH_OPERATORS_MAX,
                        operators->count);
        return;
    }
    b->nodes = pst_build_alloc(b, operators->count * sizeof *b->nodes);
    if (b->nodes == NULL)
        return;
    for (const struct pst_yaml *map = operators->first; map != NULL && b->rc == PST_OK; map = map->next) {
        node_take(b, &b->nodes[b->node_count], map, b->node_count);
        b->node_count++;
    }
    if (b->rc == PST_OK)
        files_check(b);
}

/* ---- the whole ---- */
const struct pst_words pst_words_graph = {
    .one = "graph",
    .many = "graphs",
    .first_line = "penstock: 1",
    .twice = "use `parameters:` and `${name}` for a value that stands twice",
};

void pst_build_tree(struct pst_build *b, const char *file, const char *text, size_t text_bytes)
{
    if (text_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark is no part of the text */
        text += 3;
        text_bytes -= 3;
    }
    bool large = text_bytes > PST_GRAPH_BYTES_MAX;
    b->source = pst_source_new(b, file, text, large ? 0 : text_bytes);
    if (b->source == NULL)
        return;
    if (large) {
        pst_build_error(b, NULL, NULL, "the %s is larger than 1 MiB, the most there may be", b->words->one);
        return;
    }
    if (pst_source_check(b, b->source, text, text_bytes))
        b->tree = pst_yaml_parse(b, b->source, text, text_bytes);
}

static void build_all(struct pst_build *b, const char *file, const char *text, size_t text_bytes)
{
    pst_build_tree(b, file, text, text_bytes);
    if (b->tree == NULL)
        return;
    struct top top = {0};
    top_take(b, &top);
    pst_build_parameters(b, top.parameters);
    pst_build_substitute(b, b->tree);
    if (b->rc != PST_OK)
        return;
    top_check(b, &top);
    libraries_open(b, top.libraries, file);
    if (b->rc == PST_OK)
        operators_take(b, top.operators);
    if (b->rc == PST_OK)
        pst_build_wire(b);
    if (b->rc == PST_OK)
        pst_build_plan(b);
    if (b->rc == PST_OK && pst_build_error_count(b) == 0)
        pst_build_finish(b);
}

int pst_graph_parse(const char *name, const char *text, size_t text_bytes, const struct pst_setting *settings,
                    uint32_t setting_count, const struct pst_registry *registry, struct pst_diagnostics *d,
                    struct pst_graph **ret_graph)
{
    struct pst_graph *graph = pst_calloc(1, sizeof *graph);
    if (graph == NULL)
        return PST_ENOMEM;
    pst_arena_init(&graph->arena);
    struct pst_build b = {
        .graph = graph,
        .words = &pst_words_graph,
        .d = d,
        .settings = settings,
        .setting_count = setting_count,
        .registry = registry,
        .errors_before = d->item_count + d->left_out_count,
    };
    build_all(&b, name, text, text_bytes);
    pst_diagnostics_sort(d);
    int rc = b.rc != PST_OK ? b.rc : pst_build_error_count(&b) != 0 ? PST_EGRAPH : PST_OK;
    if (rc == PST_OK)
        *ret_graph = graph;
    else
        pst_graph_free(graph);
    return rc;
}

static int file_error(void)
{
    int system_errno = errno;
    pst_system_error_set(system_errno);
    return system_errno == ENOENT || system_errno == ENOTDIR ? PST_ENOENT
           : system_errno == EACCES || system_errno == EPERM ? PST_EREFUSED
                                                             : PST_EIO;
}

/* Reads one byte more than a graph may have, so that a larger one is seen to be so. Pipes can be read too. */
static int file_read(const char *path, char *buffer, size_t capacity, size_t *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error();
    size_t bytes = 0;
    int rc = PST_OK;
    while (bytes < capacity) {
        ssize_t got = read(fd, buffer + bytes, capacity - bytes);
        if (got > 0) {
            bytes += (size_t)got;
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        rc = got < 0 ? file_error() : PST_OK;
        break;
    }
    (void)close(fd);
    *ret_bytes = bytes;
    return rc;
}

int pst_graph_load(const char *path, const struct pst_setting *settings, uint32_t setting_count,
                   const struct pst_registry *registry, struct pst_diagnostics *d, struct pst_graph **ret_graph)
{
    size_t capacity = PST_GRAPH_BYTES_MAX + 4, bytes = 0; /* a byte order mark and one byte too many */
    char *buffer = pst_malloc(capacity);
    if (buffer == NULL)
        return PST_ENOMEM;
    int rc = file_read(path, buffer, capacity, &bytes);
    if (rc == PST_OK)
        rc = pst_graph_parse(path, buffer, bytes, settings, setting_count, registry, d, ret_graph);
    pst_free(buffer);
    return rc;
}

void pst_graph_free(struct pst_graph *graph)
{
    if (graph == NULL)
        return;
    pst_carry_free(graph->carry);
    pst_plugins_close(graph->libraries, graph->library_count);
    pst_arena_fini(&graph->arena);
    pst_free(graph);
}

/* ---- a finished graph ---- */
const char *pst_graph_name(const struct pst_graph *graph) { return graph->name; }
uint32_t pst_graph_operator_count(const struct pst_graph *graph) { return graph->node_count; }

uint32_t pst_graph_find(const struct pst_graph *graph, const char *id)
{
    uint32_t n = 0;
    while (n < graph->node_count && strcmp(graph->nodes[n].id, id) != 0)
        n++;
    return n;
}

void pst_graph_operator(const struct pst_graph *graph, uint32_t index, struct pst_operator_view *ret_view)
{
    PST_ASSERT(index < graph->node_count);
    const struct pst_graph_node *node = &graph->nodes[index];
    *ret_view = (struct pst_operator_view){
        .id = node->id,
        .type = node->op->name,
        .role = node->op->role,
        .partition_count = node->partition_count,
        .bucket_count = node->bucket_count,
        .file = node->file,
        .enclave = node->enclave,
        .epc_bytes = !node->enclave         ? 0
                     : node->epc_bytes != 0 ? node->epc_bytes
                                            : PST_EPC_BYTES_STANDARD,
    };
}

/* ---- enclaves ---- */
bool pst_epc_fits(uint64_t bytes) { return bytes >= PST_EPC_BYTES_MIN && bytes <= PST_EPC_BYTES_MAX; }

const char *pst_enclave_fault(const struct pst_graph_node *node)
{
    switch (node->op->role) {
    case PST_ROLE_SOURCE:
        return "it is a source, and reads a file";
    case PST_ROLE_SINK:
        return "it is a sink, and writes a file";
    case PST_ROLE_STATELESS:
    case PST_ROLE_PLAIN:
        break;
    }
    return node->order == PST_ORDER_ANY ? "it takes its rows in no order, as sinks alone do" : NULL;
}

#define PLUGIN_FAULT                                                                                           \
    "its type comes from a shared object, which the worker of penstock has not: link it into one of your own " \
    "and name that with --enclave-program"

int pst_graph_enclave_check(const struct pst_graph *graph, const char *program, char ret_why[640])
{
    for (uint32_t n = 0; n < graph->node_count && program == NULL; n++) {
        const struct pst_graph_node *node = &graph->nodes[n];
        if (!node->enclave || !node->plugin)
            continue;
        (void)snprintf(ret_why, 640, "operator `%.200s` (%.64s) cannot run in an enclave: " PLUGIN_FAULT, node->id,
                       node->op->name);
        return PST_EGRAPH;
    }
    return PST_OK;
}

int pst_graph_enclave(struct pst_graph *graph, const char *id, bool own_program, const char **ret_why)
{
    bool all = strcmp(id, "all") == 0, any = false;
    *ret_why = NULL;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        struct pst_graph_node *node = &graph->nodes[n];
        if (all ? node->op->role == PST_ROLE_STATELESS : strcmp(node->id, id) != 0)
            continue;
        const char *fault = pst_enclave_fault(node);
        if (fault == NULL && node->plugin && !own_program)
            fault = PLUGIN_FAULT;
        if (fault != NULL && !all) {
            *ret_why = fault;
            return PST_EGRAPH;
        }
        node->enclave |= fault == NULL;
        any |= fault == NULL;
    }
    int rc = any ? pst_graph_enclose(graph) : PST_ENOENT;
    if (rc == PST_ENOMEM)
        *ret_why = pst_error_sentence(rc);
    return rc;
}

bool pst_graph_has_enclaves(const struct pst_graph *graph)
{
    bool has = false;
    for (uint32_t n = 0; n < graph->node_count; n++)
        has |= graph->nodes[n].enclave;
    return has;
}

void pst_graph_epc(struct pst_graph *graph, uint64_t bytes)
{
    for (uint32_t n = 0; n < graph->node_count; n++)
        graph->nodes[n].epc_bytes = bytes;
}

void pst_graph_field_origin(const struct pst_graph *graph, uint32_t *node, uint32_t *output, uint32_t *field)
{
    while (graph->nodes[*node].op->role == PST_ROLE_STATELESS) {
        const struct pst_graph_node *at = &graph->nodes[*node];
        *field = at->outputs[*output].map[*field];
        *output = at->inputs[0].producer_output;
        *node = at->inputs[0].producer;
    }
}
