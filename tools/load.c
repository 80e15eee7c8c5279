/* tools/load.c - loads the graph for `run` and `check`, and shows what is wrong with it. */
#include "tools/inside.h"

#include <string.h>

/* ---- --set NAME=VALUE ---- */

struct settings {
    struct pst_arena arena;
    struct pst_setting *items;
    uint32_t item_count;
};

static bool setting_repeated(const struct settings *settings, const char *name)
{
    for (uint32_t i = 0; i < settings->item_count; i++) {
        if (strcmp(settings->items[i].name, name) == 0)
            return true;
    }
    return false;
}

/* PST_EXIT_OK, or another exit with its sentence in `error`. */
static int setting_add(struct settings *settings, const char *word, struct pst_text *error)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL || equals == word) {
        pst_text_printf(error, "--set `%s`: NAME=VALUE is wanted, as in `--set partitions=4`", word);
        return PST_EXIT_USAGE;
    }
    char *name = pst_arena_strdup(&settings->arena, word);
    if (name == NULL) {
        pst_text_printf(error, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_EXIT_FAILED;
    }
    name[equals - word] = '\0';
    if (setting_repeated(settings, name)) {
        pst_text_printf(error, "--set gives `%s` a value twice", name);
        return PST_EXIT_USAGE;
    }
    settings->items[settings->item_count++] = (struct pst_setting){.name = name, .value = equals + 1};
    return PST_EXIT_OK;
}

static int settings_init(struct settings *settings, const struct pst_call *call, struct pst_text *error)
{
    *settings = (struct settings){0};
    pst_arena_init(&settings->arena);
    settings->items = pst_arena_alloc(&settings->arena, ((size_t)call->flag_count + 1) * sizeof(*settings->items));
    if (settings->items == NULL) {
        pst_text_printf(error, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_EXIT_FAILED;
    }
    int exit_code = PST_EXIT_OK;
    for (uint32_t i = 0; i < call->flag_count && exit_code == PST_EXIT_OK; i++) {
        if (strcmp(call->flags[i].flag->name, "set") == 0)
            exit_code = setting_add(settings, call->flags[i].value, error);
    }
    return exit_code;
}

/* ---- the graph ---- */

static void error_say(struct pst_loaded *loaded, const struct pst_call *call, int rc)
{
    const char *path = call->operands[0];
    const uint64_t count = (uint64_t)loaded->diagnostics.item_count + loaded->diagnostics.left_out_count;
    if (rc == PST_EGRAPH)
        pst_text_printf(&loaded->error, "%s: %llu error%s", path, (unsigned long long)count, count == 1 ? "" : "s");
    else if (rc == PST_ENOENT || rc == PST_EIO || rc == PST_EREFUSED)
        pst_text_printf(&loaded->error, "the graph `%s` cannot be read: %s", path, pst_system_error());
    else
        pst_text_printf(&loaded->error, "the graph `%s` cannot be loaded: %s", path, pst_error_sentence(rc));
}

/* Shown with --json and --quiet, too: standard error is for people, whatever standard output carries. */
static void diagnostics_show(const struct pst_call *call, const struct pst_diagnostics *diagnostics)
{
    struct pst_text text = {0};
    if (pst_diagnostics_print(diagnostics, call->colour_err, &text) == PST_OK && text.count > 0)
        fwrite(text.bytes, 1, text.count, stderr);
    pst_text_fini(&text);
}

int pst_loaded_init(struct pst_loaded *loaded, const struct pst_call *call)
{
    *loaded = (struct pst_loaded){0};
    pst_diagnostics_init(&loaded->diagnostics);
    struct settings settings;
    loaded->exit_code = settings_init(&settings, call, &loaded->error);
    if (loaded->exit_code == PST_EXIT_OK) {
        const int rc = pst_graph_load(call->operands[0], settings.items, settings.item_count, &pst_registry_all,
                                      &loaded->diagnostics, &loaded->graph);
        loaded->exit_code = pst_exit_of_error(rc);
        if (rc != PST_OK) {
            error_say(loaded, call, rc);
            diagnostics_show(call, &loaded->diagnostics);
        }
    }
    pst_arena_fini(&settings.arena);
    if (loaded->exit_code != PST_EXIT_OK)
        pst_complain_text(call, loaded->exit_code, loaded->error.bytes != NULL ? loaded->error.bytes : "out of memory");
    return loaded->exit_code;
}

void pst_loaded_fini(struct pst_loaded *loaded)
{
    pst_graph_free(loaded->graph);
    pst_diagnostics_fini(&loaded->diagnostics);
    pst_text_fini(&loaded->error);
}

void pst_json_diagnostics(struct pst_text *json, const struct pst_diagnostics *diagnostics)
{
    pst_text_printf(json, "\"diagnostics\":[");
    for (uint32_t i = 0; i < diagnostics->item_count; i++) {
        const struct pst_diagnostic *item = &diagnostics->items[i];
        pst_text_printf(json, "%s{\"file\":", i == 0 ? "" : ",");
        pst_text_json(json, item->file);
        pst_text_printf(json, ",\"line\":%u,\"column\":%u,\"text\":", item->line, item->column);
        pst_text_json(json, item->text);
        pst_text_printf(json, ",\"hint\":");
        pst_text_json(json, item->hint);
        pst_text_printf(json, "}");
    }
    pst_text_printf(json, "],\"diagnostics_left_out\":%u", diagnostics->left_out_count);
}
