/* test_graph.c - what a good graph becomes, how parameters get into it, and how it ends when memory does. */
#include "registry.h" /* before cmocka, whose macro fail() would change a member of struct pst_host */

#include "engine/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The operators stand in no order: the graph finds its own. */
static const char query[] =
    "penstock: 1\n"
    "name: load\n"
    "parameters: {partitions: 2, slices: [60, 300], every: 30, prefix: out}\n"
    "operators:\n"
    "  - {id: plugs, type: csv_sink, inputs: [plug_load.predictions],\n"
    "     params: {file: '${prefix}_plug.csv', columns: [at, plug_id, at]}}\n"
    "  - id: plug_load\n"
    "    type: plug_load\n"
    "    inputs: [loads]\n"
    "    key: [house_id, household_id, plug_id]\n"
    "    partitions: ${partitions}\n"
    "    buckets: 64\n"
    "    params: {slices: ${slices}, every: ${every}}\n"
    "  - {id: loads, type: filter, inputs: [meters], params: {where: [\"property == 1\"]}}\n"
    "  - {id: meters, type: csv_source}\n"
    "  - {id: median, type: median_all, inputs: [loads]}\n"
    "  - {id: above, type: plug_above, inputs: [loads, median], key: [plug_id]}\n"
    "  - {id: house, type: filter, inputs: [above], params: {where: [\"house_id == 1\"]}}\n"
    "  - {id: outliers, type: csv_sink, inputs: [house], params: {file: outliers.csv, columns: [ts]}}\n";

struct made {
    struct pst_diagnostics d;
    struct pst_graph *graph;
    struct pst_text told;
    int rc;
};

static struct made make_with(const char *name, const char *text, size_t bytes, const struct pst_setting *settings,
                             uint32_t count)
{
    struct made made = {.graph = NULL};
    pst_diagnostics_init(&made.d);
    made.rc = pst_graph_parse(name, text, bytes, settings, count, &pst_test_registry, &made.d, &made.graph);
    (void)pst_diagnostics_print(&made.d, false, &made.told);
    return made;
}

static struct made make(const char *text) { return make_with("graph.yaml", text, strlen(text), NULL, 0); }

static void unmake(struct made *made)
{
    pst_text_fini(&made->told);
    pst_diagnostics_fini(&made->d);
    pst_graph_free(made->graph);
}

static struct made make_good(const char *text)
{
    struct made made = make(text);
    if (made.rc != PST_OK)
        fail_msg("%s", made.told.bytes);
    return made;
}

static const struct pst_graph_node *node(const struct made *made, const char *id)
{
    for (uint32_t i = 0; i < made->graph->node_count; i++)
        if (strcmp(made->graph->nodes[i].id, id) == 0)
            return &made->graph->nodes[i];
    fail_msg("no node %s", id);
    return NULL;
}

static uint32_t index_of(const struct made *made, const char *id)
{
    return (uint32_t)(node(made, id) - made->graph->nodes);
}

/* ---- the finished graph ---- */
static void operators_stand_in_topological_order_with_the_source_first(void **state)
{
    (void)state;
    struct made made = make_good(query);
    static const char *const order[] = {"meters", "loads", "plug_load", "plugs",
                                        "median", "above", "house",     "outliers"};
    assert_string_equal(pst_graph_name(made.graph), "load");
    assert_int_equal(pst_graph_operator_count(made.graph), 8);
    for (uint32_t i = 0; i < made.graph->node_count; i++)
        for (uint32_t k = 0; k < made.graph->nodes[i].input_count; k++)
            assert_true(made.graph->nodes[i].inputs[k].producer < i);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(index_of(&made, order[i]) < 8);
    assert_int_equal(index_of(&made, "meters"), made.graph->source);
    assert_int_equal(node(&made, "above")->line, 17);
    unmake(&made);
}

static void partitions_buckets_order_and_epoch_are_as_the_graph_says(void **state)
{
    (void)state;
    struct made made = make_good(query);
    const struct pst_graph_node *plug_load = node(&made, "plug_load"), *above = node(&made, "above");
    assert_int_equal(plug_load->partition_count, 2);
    assert_int_equal(plug_load->bucket_count, 64);
    assert_int_equal(plug_load->order, PST_ORDER_EPOCH);
    assert_int_equal(plug_load->epoch, 30);
    assert_int_equal(above->partition_count, 1);
    assert_int_equal(above->bucket_count, PST_BUCKETS_STANDARD);
    assert_int_equal(above->epoch, 1);
    assert_int_equal(node(&made, "plugs")->order, PST_ORDER_ANY);
    assert_int_equal(node(&made, "median")->bucket_count, 1);
    struct pst_operator_view view;
    pst_graph_operator(made.graph, index_of(&made, "plugs"), &view);
    assert_string_equal(view.file, "out_plug.csv");
    assert_string_equal(view.type, "csv_sink");
    pst_graph_operator(made.graph, index_of(&made, "meters"), &view);
    assert_string_equal(view.file, "meters.csv");
    unmake(&made);
}

static void keys_are_fields_of_each_input_that_is_no_broadcast(void **state)
{
    (void)state;
    struct made made = make_good(query);
    const struct pst_graph_node *plug_load = node(&made, "plug_load"), *above = node(&made, "above");
    assert_int_equal(plug_load->key_count, 3);
    assert_int_equal(plug_load->key_bytes, 12);
    assert_int_equal(plug_load->inputs[0].key[0], 6);
    assert_int_equal(plug_load->inputs[0].key[1], 5);
    assert_int_equal(plug_load->inputs[0].key[2], 4);
    assert_int_equal(above->key_types[0], PST_U32);
    assert_false(above->inputs[0].broadcast);
    assert_int_equal(above->inputs[0].key[0], 4);
    assert_true(above->inputs[1].broadcast);
    assert_null(above->inputs[1].key);
    assert_null(node(&made, "median")->inputs[0].key);
    unmake(&made);
}

static void used_fields_stand_in_the_order_of_their_first_use(void **state)
{
    (void)state;
    struct made made = make_good(query);
    const struct pst_graph_input *input = &node(&made, "plugs")->inputs[0];
    assert_int_equal(input->producer, index_of(&made, "plug_load"));
    assert_int_equal(input->producer_output, 0);
    assert_int_equal(input->used_count, 2); /* `at` twice is one column */
    assert_int_equal(input->used[0], 0);
    assert_int_equal(input->used[1], 5);
    unmake(&made);
}

static void a_field_is_wanted_where_someone_reads_it_even_through_stateless_operators(void **state)
{
    (void)state;
    struct made made = make_good(query);
    const struct pst_graph_output *rows = &node(&made, "meters")->outputs[0];
    static const bool wanted[7] = {false, true, true, true, true, true, true}; /* id alone is nobody's */
    for (uint32_t f = 0; f < 7; f++)
        assert_int_equal(rows->wanted[f], wanted[f]);
    const struct pst_graph_output *above = &node(&made, "above")->outputs[0];
    assert_true(above->wanted[2]);  /* ts: the sink, through the filter */
    assert_true(above->wanted[3]);  /* house_id: the filter itself */
    assert_false(above->wanted[6]); /* load */
    unmake(&made);
}

static void every_output_lists_its_consumers(void **state)
{
    (void)state;
    struct made made = make_good(query);
    const struct pst_graph_output *loads = &node(&made, "loads")->outputs[0];
    assert_int_equal(loads->consumer_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct pst_graph_consumer *consumer = &loads->consumers[i];
        assert_int_equal(made.graph->nodes[consumer->node].inputs[consumer->input].producer, index_of(&made, "loads"));
    }
    assert_int_equal(node(&made, "plug_load")->outputs[1].consumer_count, 0);
    assert_string_equal(node(&made, "plug_load")->outputs[1].name, "averages");
    unmake(&made);
}

static void stateless_operators_live_inside_the_one_before_them(void **state)
{
    (void)state;
    struct made made = make_good(query);
    assert_int_equal(node(&made, "loads")->host, index_of(&made, "meters"));
    assert_int_equal(node(&made, "house")->host, index_of(&made, "above"));
    assert_int_equal(node(&made, "house")->bucket_count, 256);
    assert_int_equal(node(&made, "above")->host, index_of(&made, "above"));
    uint32_t at = index_of(&made, "house"), output = 0, field = 6;
    pst_graph_field_origin(made.graph, &at, &output, &field);
    assert_int_equal(at, index_of(&made, "above"));
    assert_int_equal(field, 6);
    unmake(&made);
}

/* ---- parameters ---- */
static void settings_replace_declared_values(void **state)
{
    (void)state;
    const struct pst_setting settings[] = {
        {"partitions", "4"}, {"every", "7"}, {"every", "60"}, {"prefix", "a,b"}, {"slices", " 60 , 900"}};
    struct made made = make_with("graph.yaml", query, strlen(query), settings, 5);
    assert_int_equal(made.rc, PST_OK);
    assert_int_equal(node(&made, "plug_load")->partition_count, 4);
    assert_int_equal(node(&made, "plug_load")->epoch, 60); /* the last one counts */
    assert_string_equal(node(&made, "plugs")->file, "a,b_plug.csv");
    unmake(&made);
}

static void a_setting_may_be_a_list_in_brackets_or_of_one_item(void **state)
{
    (void)state;
    static const char *const good[] = {"60", "60,300", "[60, 300]", "[]"}, *const bad[] = {"60,", "60;300", "[60", "",
                                                                                           "[x]"};
    for (uint32_t i = 0; i < 4; i++) {
        const struct pst_setting setting = {"slices", good[i]};
        struct made made = make_with("graph.yaml", query, strlen(query), &setting, 1);
        if (i < 3 || made.rc == PST_OK)
            assert_int_equal(made.rc, PST_OK);
        unmake(&made);
    }
    for (uint32_t i = 0; i < 5; i++) {
        const struct pst_setting setting = {"slices", bad[i]};
        struct made made = make_with("graph.yaml", query, strlen(query), &setting, 1);
        if (strcmp(bad[i], "") != 0)
            assert_int_equal(made.rc, PST_EGRAPH);
        unmake(&made);
    }
}

static void a_dollar_twice_is_no_placeholder(void **state)
{
    (void)state;
    struct made made = make_good("penstock: 1\nname: a\noperators:\n  - {id: m, type: csv_source}\n"
                                 "  - {id: o, type: csv_sink, inputs: [m], params: {file: \"$${x}.csv\"}}\n");
    assert_string_equal(node(&made, "o")->file, "${x}.csv");
    unmake(&made);
}

/* ---- forms of the file ---- */
static void quoted_texts_are_read_as_yaml_says(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *text;
    } cases[] = {
        {"'a''''b'", "a''b"},    {"''''''''''''''''''''''''''''''''", "'''''''''''''''"},
        {"'a  \n   b'", "a b"},  {"'a\n\n\n   ''b'", "a\n\n'b"},
        {"'\n   a '", " a "},    {"\"a\\u00e9\\n\\\"\"", "a\xc3\xa9\n\""},
        {"\"a\\\n   b\"", "ab"}, {"a b#c", "a b#c"},
        {"'${x}''${x}'", "1'1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       "penstock: 1\nname: a\nparameters: {x: 1}\noperators:\n  - {id: m, type: csv_source}\n"
                       "  - {id: o, type: csv_sink, inputs: [m], params: {file: %s}}\n",
                       cases[i].yaml);
        struct made made = make_good(text);
        assert_string_equal(node(&made, "o")->file, cases[i].text);
        unmake(&made);
    }
}

static void json_crlf_and_a_byte_order_mark_are_read_alike(void **state)
{
    (void)state;
    static const char json[] =
        "{\"penstock\": 1, \"name\": \"a\", \"parameters\": {\"n\": 1},\n\t\"operators\": [\n"
        "\t{\"id\": \"m\", \"type\": \"csv_source\"},\n"
        "\t{\"id\": \"p\", \"type\": \"plug_load\", \"inputs\": [\"m\"], \"key\": [\"id\"], "
        "\"partitions\": \"${n}\"},\n"
        "\t{\"id\": \"o\", \"type\": \"csv_sink\", \"inputs\": [\"p.averages\"], \"params\": {\"file\": "
        "\"o.csv\"}}]}\n";
    struct made made = make_good(json);
    assert_int_equal(made.graph->node_count, 3);
    unmake(&made);
    made = make_good("\xef\xbb\xbfpenstock: 1\r\nname: a\r\noperators:\r\n  - {id: m, type: csv_source}\r\n"
                     "  - {id: o, type: csv_sink, inputs: [m], params: {file: o.csv}}\r\n");
    assert_string_equal(node(&made, "o")->file, "o.csv");
    unmake(&made);
}

static void a_graph_beyond_its_bounds_is_refused(void **state)
{
    (void)state;
    size_t bytes = PST_GRAPH_BYTES_MAX + 1;
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, ' ', bytes);
    struct made made = make_with("graph.yaml", text, bytes, NULL, 0);
    assert_int_equal(made.rc, PST_EGRAPH);
    assert_non_null(strstr(made.told.bytes, "1 MiB"));
    unmake(&made);
    memset(text, '[', bytes);
    made = make_with("graph.yaml", text, bytes - 1, NULL, 0);
    assert_non_null(strstr(made.told.bytes, "16 deep"));
    unmake(&made);
    for (size_t i = 0; i + 1 < bytes; i += 2)
        memcpy(text + i, "a,", 2);
    memcpy(text, "[ ", 2);
    made = make_with("graph.yaml", text, bytes - 1, NULL, 0);
    assert_non_null(strstr(made.told.bytes, "65536"));
    unmake(&made);
    free(text);
}

static void beyond_a_hundred_errors_are_counted_only(void **state)
{
    (void)state;
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "penstock: 1\nname: a\noperators:\n");
    for (uint32_t i = 0; i < 150; i++)
        (void)pst_text_printf(&text, "  - {id: n%u, type: nothing%u}\n", i, i);
    struct made made = make(text.bytes);
    assert_int_equal(made.d.item_count, PST_DIAGNOSTICS_MAX);
    assert_int_equal(made.d.left_out_count, 50);
    assert_non_null(strstr(made.told.bytes, "and 50 more"));
    unmake(&made);
    pst_text_fini(&text);
}

static void a_graph_of_the_largest_size_is_made_in_no_time(void **state)
{
    (void)state;
    struct pst_text text = {0};
    (void)pst_text_printf(&text, "penstock: 1\nname: a\noperators:\n  - {id: n0, type: csv_source}\n");
    for (uint32_t i = 1; i < PST_GRAPH_OPERATORS_MAX - 1; i++)
        (void)pst_text_printf(&text, "  - {id: n%u, type: filter, inputs: [n%u], params: {where: []}}\n", i, i - 1);
    (void)pst_text_printf(&text, "  - {id: o, type: csv_sink, inputs: [n%d], params: {file: o.csv}}\n",
                          PST_GRAPH_OPERATORS_MAX - 2);
    struct made made = make_good(text.bytes);
    assert_int_equal(made.graph->node_count, PST_GRAPH_OPERATORS_MAX);
    assert_int_equal(made.graph->nodes[PST_GRAPH_OPERATORS_MAX - 2].host, 0);
    unmake(&made);
    pst_text_fini(&text);
}

/* ---- diagnostics ---- */
static void a_caret_stands_below_its_character_in_long_and_in_foreign_lines(void **state)
{
    (void)state;
    struct made made = make("penstock: 1\nname: a\n# \xc3\xa9\noperators: [{id: \"\xc3\xa9\", type: csv_source}]\n");
    assert_non_null(strstr(made.told.bytes, "graph.yaml:4:18: error"));
    assert_non_null(strstr(made.told.bytes, "      |                  ^~~\n"));
    unmake(&made);
    char line[1000];
    (void)snprintf(line, sizeof line, "{penstock: 1, name: a, %400s operators: [], shape: 1, %400s z: 1}", "", "");
    made = make(line);
    assert_non_null(strstr(made.told.bytes, "shape: 1"));
    for (const char *c = made.told.bytes; c != NULL; c = strchr(c + 1, '\n'))
        assert_true(strcspn(c + 1, "\n") < 160);
    unmake(&made);
}

static void colours_are_there_when_asked_for(void **state)
{
    (void)state;
    struct made made = make("penstock: 2\n");
    struct pst_text coloured = {0};
    assert_null(strchr(made.told.bytes, '\033'));
    assert_int_equal(pst_diagnostics_print(&made.d, true, &coloured), PST_OK);
    assert_non_null(strchr(coloured.bytes, '\033'));
    pst_text_fini(&coloured);
    unmake(&made);
}

static void no_text_of_a_user_moves_the_cursor_of_a_terminal(void **state)
{
    (void)state;
    struct made made = make("penstock: 1\nname: \"\\e[2J\\x9b\"\n\"k\\ney\": 1\n");
    assert_null(strchr(made.told.bytes, '\033'));
    assert_null(strstr(made.told.bytes, "\xc2\x9b"));
    assert_non_null(strstr(made.told.bytes, "unknown key `k?ey`"));
    unmake(&made);
}

/* ---- files ---- */
static void a_file_that_cannot_be_read_is_an_error_of_the_system(void **state)
{
    (void)state;
    struct pst_diagnostics d;
    struct pst_graph *graph = NULL;
    pst_diagnostics_init(&d);
    assert_int_equal(pst_graph_load("/no/such/file", NULL, 0, &pst_test_registry, &d, &graph), PST_ENOENT);
    assert_string_equal(pst_system_error(), "No such file or directory");
    assert_int_equal(pst_graph_load("/", NULL, 0, &pst_test_registry, &d, &graph), PST_EIO);
    assert_string_equal(pst_system_error(), "Is a directory");
    assert_int_equal(pst_graph_load("/dev/zero", NULL, 0, &pst_test_registry, &d, &graph), PST_EGRAPH);
    assert_int_equal(d.item_count, 1);
    assert_null(graph);
    pst_diagnostics_fini(&d);
}

/* ---- shared objects ---- */
static struct made make_library(const char *library, const char *type)
{
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "penstock: 1\nname: a\nlibraries: [%s]\noperators:\n  - {id: m, type: csv_source}\n"
                   "  - {id: p, type: %s, inputs: [m]}\n"
                   "  - {id: o, type: csv_sink, inputs: [p], params: {file: o.csv}}\n",
                   library, type);
    return make_with(PST_TEST_PLUGINS "/graph.yaml", text, strlen(text), NULL, 0);
}

static void an_operator_of_a_shared_object_is_used_like_any_other(void **state)
{
    (void)state;
    struct made made = make_library("./good.so", "pass");
    if (made.rc != PST_OK)
        fail_msg("%s", made.told.bytes);
    assert_string_equal(node(&made, "p")->op->name, "pass");
    assert_int_equal(made.graph->library_count, 1);
    unmake(&made);
    made = make_library("good.so", "pas");
    assert_non_null(strstr(made.told.bytes, "did you mean `pass`?"));
    unmake(&made);
}

static void a_shared_object_that_does_not_fit_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *library, *sentence;
    } cases[] = {
        {"./missing.so", "graph.yaml:3:13: error: `./missing.so` is refused: no such file"},
        {"./wrong_abi.so",
         "`./wrong_abi.so` is refused: it was built for version 3 of the operator interface (999 bytes), this "
         "penstock has version 2 ("},
        {"./no_symbol.so", "it has no list of operators: the symbol `penstock_operators` is missing"},
        {"./no_operators.so", "it has no operators"},
        {"./incomplete.so", "its operator `incomplete` has no plan()"},
        {"./clash.so", "`./clash.so` has an operator type `filter`, which there is already"},
        {"/etc/passwd", "it is not a shared object that can be loaded"},
        {"/", "it is not a shared object that can be loaded"},
        {"./good.so, ./good.so", "`./good.so` has an operator type `pass`, which there is already"},
        {"[good.so]", "each item of `libraries` must be a text, not a list"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made made = make_library(cases[i].library, "pass");
        assert_int_equal(made.rc, PST_EGRAPH);
        if (strstr(made.told.bytes, cases[i].sentence) == NULL)
            fail_msg("expected \"%s\", got\n%s", cases[i].sentence, made.told.bytes);
        unmake(&made);
    }
}

/* ---- want of memory ---- */
static void fail_at_every_allocation(const char *text, const struct pst_setting *settings, uint32_t count, int expected)
{
    for (uint64_t n = 1;; n++) {
        struct pst_diagnostics d;
        struct pst_graph *graph = NULL;
        pst_diagnostics_init(&d);
        pst_malloc_fail_at(n);
        uint64_t before = pst_malloc_count();
        int rc = pst_graph_parse(PST_TEST_PLUGINS "/graph.yaml", text, strlen(text), settings, count,
                                 &pst_test_registry, &d, &graph);
        bool reached = pst_malloc_count() - before >= n;
        pst_malloc_fail_at(0);
        assert_int_equal(rc, reached ? PST_ENOMEM : expected);
        assert_int_equal(graph != NULL, rc == PST_OK);
        pst_graph_free(graph);
        pst_diagnostics_fini(&d);
        if (!reached)
            break;
    }
}

static void each_allocation_may_fail_and_nothing_is_lost(void **state)
{
    (void)state;
    const struct pst_setting settings[] = {{"slices", "[60, 900]"}, {"every", "60"}};
    fail_at_every_allocation(query, settings, 2, PST_OK);
    fail_at_every_allocation(
        "penstock: 2\nnmae: a\nlibraries: [./good.so, ./wrong_abi.so, x]\nparameters: {a: 1}\noperators:\n"
        "  - {id: m, type: csv_source}\n  - {id: a, type: filter, inputs: [b, '${a}', \"${b}\"]}\n"
        "  - {id: b, type: filter, inputs: [a], key: 1, params: {where: ['x ${a}']}}\n",
        settings, 1, PST_EGRAPH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_stand_in_topological_order_with_the_source_first),
        cmocka_unit_test(partitions_buckets_order_and_epoch_are_as_the_graph_says),
        cmocka_unit_test(keys_are_fields_of_each_input_that_is_no_broadcast),
        cmocka_unit_test(used_fields_stand_in_the_order_of_their_first_use),
        cmocka_unit_test(a_field_is_wanted_where_someone_reads_it_even_through_stateless_operators),
        cmocka_unit_test(every_output_lists_its_consumers),
        cmocka_unit_test(stateless_operators_live_inside_the_one_before_them),
        cmocka_unit_test(settings_replace_declared_values),
        cmocka_unit_test(a_setting_may_be_a_list_in_brackets_or_of_one_item),
        cmocka_unit_test(a_dollar_twice_is_no_placeholder),
        cmocka_unit_test(quoted_texts_are_read_as_yaml_says),
        cmocka_unit_test(json_crlf_and_a_byte_order_mark_are_read_alike),
        cmocka_unit_test(a_graph_beyond_its_bounds_is_refused),
        cmocka_unit_test(beyond_a_hundred_errors_are_counted_only),
        cmocka_unit_test(a_graph_of_the_largest_size_is_made_in_no_time),
        cmocka_unit_test(a_caret_stands_below_its_character_in_long_and_in_foreign_lines),
        cmocka_unit_test(colours_are_there_when_asked_for),
        cmocka_unit_test(no_text_of_a_user_moves_the_cursor_of_a_terminal),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error_of_the_system),
        cmocka_unit_test(an_operator_of_a_shared_object_is_used_like_any_other),
        cmocka_unit_test(a_shared_object_that_does_not_fit_is_refused_with_a_sentence),
        cmocka_unit_test(each_allocation_may_fail_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
