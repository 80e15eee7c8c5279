/* fuzz_graph.c - graph files: whatever the bytes, an answer and no accident.
 *
 * The first byte chooses how the bytes behind it are used: '=' puts the first line in as --set a=LINE, so that both
 * ways in are reached. Graphs that name an absolute path are left out: opening a shared object is to run it, and there
 * are such on every machine; relative ones are looked for in a folder that is not there.
 */
#include "debs14/debs14.h"
#include "engine/engine.h"
#include "operators/builtin.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct pst_operator *const *const lists[] = {pst_builtin_operators, pst_debs14_operators};
static const struct pst_registry registry = {lists, 2};

static void look_at(const struct pst_graph *graph)
{
    struct pst_operator_view view;
    for (uint32_t i = 0; i < pst_graph_operator_count(graph); i++) {
        pst_graph_operator(graph, i, &view);
        if (view.id == NULL || view.partition_count == 0 || view.partition_count > view.bucket_count)
            abort();
    }
}

static void parse(const char *text, size_t bytes, const struct pst_setting *setting)
{
    struct pst_diagnostics d;
    struct pst_graph *graph = NULL;
    struct pst_text told = {0};
    pst_diagnostics_init(&d);
    int rc =
        pst_graph_parse("/no/such/folder/graph.yaml", text, bytes, setting, setting != NULL, &registry, &d, &graph);
    if ((rc == PST_OK) != (graph != NULL) || (rc == PST_EGRAPH) != (d.item_count != 0))
        abort();
    if (graph != NULL)
        look_at(graph);
    (void)pst_diagnostics_print(&d, true, &told);
    pst_text_fini(&told);
    pst_graph_free(graph);
    pst_diagnostics_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    if (size != 0 && memmem(text, size, "libraries", 9) != NULL && memchr(text, '/', size) != NULL)
        return 0;
    if (size == 0 || text[0] != '=') {
        parse(text, size, NULL);
        return 0;
    }
    const char *end = memchr(text, '\n', size);
    size_t value_bytes = end != NULL ? (size_t)(end - text) - 1 : size - 1;
    char *value = calloc(1, value_bytes + 1);
    if (value == NULL)
        return 0;
    memcpy(value, text + 1, value_bytes);
    struct pst_setting setting = {"a", value};
    size_t used = end != NULL ? value_bytes + 2 : size;
    parse(text + used, size - used, &setting);
    free(value);
    return 0;
}
