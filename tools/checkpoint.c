/* tools/checkpoint.c - `penstock checkpoint`: what lies in a folder of checkpoints, whether it opens, and what is in it. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include <string.h>

enum { CSV_BUFFER_BYTES = 1 << 16 };

struct look { /* one call */
    const struct pst_call *call;
    const char *directory;
    uint64_t id; /* 0: not given */
    struct pst_keyring_keys keys;
    struct pst_world *world;
    struct pst_checkpoint_folder *folder;
    uint32_t count;
};

static struct pst_checkpoint_view view_of(const struct look *look, uint32_t index)
{
    struct pst_checkpoint_view view;
    pst_checkpoint_folder_view(look->folder, index, &view);
    return view;
}

static void json_begin(const struct look *look, struct pst_text *json)
{
    pst_text_printf(json, "{\"schema_version\":%d,\"directory\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(json, look->directory);
}

static int json_end(const struct look *look, struct pst_text *json, int exit_code, const char *error)
{
    pst_text_printf(json, ",");
    pst_json_error(json, exit_code, error);
    pst_text_printf(json, "}\n");
    int shown = pst_text_show(look->call, json);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

/* ---- ls ---- */

static void ls_json_one(const struct look *look, uint32_t index, struct pst_text *json)
{
    struct pst_checkpoint_view view = view_of(look, index);
    pst_text_printf(json, "%s{\"id\":%llu,\"bytes\":%llu,\"opened\":%s,\"why\":", index == 0 ? "" : ",",
                    (unsigned long long)view.id, (unsigned long long)view.bytes, view.why == NULL ? "true" : "false");
    pst_text_json(json, view.why);
    if (view.why == NULL) {
        pst_text_printf(json, ",\"graph\":");
        pst_text_json(json, view.graph);
        pst_text_printf(json,
                        ",\"cut\":%lld,\"rows\":%llu,\"offset\":%llu,\"pages\":%u,\"bytes_live\":%llu,"
                        "\"bytes_new\":%llu,\"operators\":[",
                        (long long)view.cut, (unsigned long long)view.rows, (unsigned long long)view.offset,
                        view.page_count, (unsigned long long)view.bytes_live, (unsigned long long)view.bytes_new);
        for (uint32_t i = 0; i < view.operator_count; i++) {
            pst_text_printf(json, "%s", i == 0 ? "" : ",");
            pst_text_json(json, pst_checkpoint_folder_operator(look->folder, index, i));
        }
        pst_text_printf(json, "]");
    }
    pst_text_printf(json, "}");
}

static void ls_text_one(const struct look *look, uint32_t index, struct pst_text *text)
{
    struct pst_checkpoint_view view = view_of(look, index);
    pst_text_printf(text, "%6llu  ", (unsigned long long)view.id);
    if (look->keys.count == 0) {
        pst_text_printf(text, "%12llu\n", (unsigned long long)view.bytes);
        return;
    }
    if (view.why != NULL) {
        pst_text_printf(text, "cannot be opened: %s\n", view.why);
        return;
    }
    pst_text_printf(text, "%-12s  %12lld  %12llu  %8u  %12llu  %12llu  ", view.graph, (long long)view.cut,
                    (unsigned long long)view.rows, view.page_count, (unsigned long long)view.bytes_live,
                    (unsigned long long)view.bytes_new);
    for (uint32_t i = 0; i < view.operator_count; i++)
        pst_text_printf(text, "%s%s", i == 0 ? "" : ",", pst_checkpoint_folder_operator(look->folder, index, i));
    pst_text_printf(text, "\n");
}

static int ls_text(const struct look *look)
{
    struct pst_text text = {0};
    if (look->count == 0)
        pst_note(look->call, "%s holds no checkpoint", look->directory);
    else if (look->keys.count == 0)
        pst_text_printf(&text, "    id         bytes\n");
    else
        pst_text_printf(&text, "    id  %-12s  %12s  %12s  %8s  %12s  %12s  operators\n", "graph", "cut", "rows",
                        "pages", "live bytes", "new bytes");
    for (uint32_t i = 0; i < look->count; i++)
        ls_text_one(look, i, &text);
    return pst_text_show(look->call, &text);
}

static int ls(struct look *look)
{
    uint32_t opened = 0;
    for (uint32_t i = 0; i < look->count; i++)
        opened += view_of(look, i).why == NULL;
    bool none = look->keys.count != 0 && look->count != 0 && opened == 0;
    int exit_code = none ? PST_EXIT_REFUSED : PST_EXIT_OK, shown = PST_EXIT_OK;
    struct pst_text error = {0};
    if (none)
        pst_text_printf(&error, "no checkpoint in %s opens with this key", look->directory);
    if (look->call->json) {
        struct pst_text json = {0};
        json_begin(look, &json);
        pst_text_printf(&json, ",\"checkpoints\":[");
        for (uint32_t i = 0; i < look->count; i++)
            ls_json_one(look, i, &json);
        pst_text_printf(&json, "]");
        shown = json_end(look, &json, exit_code, error.bytes);
    } else {
        shown = ls_text(look);
    }
    if (look->keys.count == 0 && look->count != 0)
        pst_note(look->call, "penstock: note: what is in them is sealed: --key FILE shows more");
    if (none)
        pst_complain_text(look->call, exit_code, error.bytes);
    pst_text_fini(&error);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

/* ---- which ---- */

/* The one that --id names, or the newest; a complaint where there is none. */
static int index_find(const struct look *look, uint32_t *ret_index)
{
    if (look->id == 0 && look->count != 0) {
        *ret_index = look->count - 1;
        return PST_EXIT_OK;
    }
    for (uint32_t i = 0; i < look->count; i++) {
        if (view_of(look, i).id != look->id)
            continue;
        *ret_index = i;
        return PST_EXIT_OK;
    }
    if (look->id != 0)
        pst_complain(look->call, PST_EXIT_IO, "%s holds no checkpoint %llu", look->directory,
                     (unsigned long long)look->id);
    else
        pst_complain(look->call, PST_EXIT_IO, "%s holds no checkpoint", look->directory);
    return PST_EXIT_IO;
}

/* ---- verify ---- */

/* Whether it is whole goes to `json` or `text`, the first reason why one is not to `error`. */
static int verify_one(struct look *look, uint32_t index, bool first, struct pst_text *text, struct pst_text *error)
{
    struct pst_checkpoint_view view = view_of(look, index);
    const char *why = NULL;
    int rc = pst_checkpoint_folder_verify(look->folder, index, &why);
    if (rc == PST_ENOMEM)
        return rc;
    if (rc != PST_OK && error->count == 0)
        pst_text_printf(error, "checkpoint %llu is not whole: %s", (unsigned long long)view.id, why);
    if (look->call->json) {
        pst_text_printf(text, "%s{\"id\":%llu,\"whole\":%s,\"why\":", first ? "" : ",", (unsigned long long)view.id,
                        rc == PST_OK ? "true" : "false");
        pst_text_json(text, why);
        pst_text_printf(text, ",\"pages\":%u,\"sealed_by_enclaves\":%u}", view.page_count, view.sealed_count);
    } else if (rc == PST_OK && view.sealed_count != 0) {
        pst_text_printf(text,
                        "checkpoint %llu is whole: %u pages open, %u are as enclaves have sealed them, and open there "
                        "alone\n",
                        (unsigned long long)view.id, view.page_count - view.sealed_count, view.sealed_count);
    } else if (rc == PST_OK) {
        pst_text_printf(text, "checkpoint %llu is whole: all %u pages open\n", (unsigned long long)view.id,
                        view.page_count);
    } else {
        pst_text_printf(text, "checkpoint %llu is not whole: %s\n", (unsigned long long)view.id, why);
    }
    return PST_OK;
}

static int verify(struct look *look)
{
    uint32_t first = 0;
    struct pst_text text = {0}, error = {0};
    int exit_code = index_find(look, &first);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    uint32_t end = first + 1;
    if (look->id == 0)
        first = 0;
    if (look->call->json) {
        json_begin(look, &text);
        pst_text_printf(&text, ",\"rollback_noticed\":false,\"checkpoints\":[");
    }
    int rc = PST_OK;
    for (uint32_t i = first; i < end && rc == PST_OK; i++)
        rc = verify_one(look, i, i == first, &text, &error);
    if (rc != PST_OK)
        pst_text_printf(&error, "%s", pst_error_sentence(rc));
    exit_code = rc != PST_OK ? PST_EXIT_FAILED : error.count != 0 ? PST_EXIT_REFUSED : PST_EXIT_OK;
    int shown;
    if (look->call->json) {
        pst_text_printf(&text, "]");
        shown = json_end(look, &text, exit_code, error.bytes);
    } else {
        pst_text_printf(&text,
                        "A whole older folder put back in the place of a newer one cannot be noticed: no counter is "
                        "recorded.\n");
        shown = pst_text_show(look->call, &text);
    }
    if (exit_code != PST_EXIT_OK)
        pst_complain_text(look->call, exit_code, error.bytes != NULL ? error.bytes : pst_error_sentence(rc));
    pst_text_fini(&error);
    return exit_code != PST_EXIT_OK ? exit_code : shown;
}

/* ---- export ---- */

struct listing { /* of the structures; and whether the wanted one is among them */
    const struct look *look;
    struct pst_text text;
    const char *operator_id, *structure;
    bool operator_found, structure_found, log, any;
};

static int listing_add(void *argument, const struct pst_checkpoint_structure *structure)
{
    struct listing *listing = argument;
    const char *kind = structure->log ? "log" : "table";
    if (listing->look->call->json) {
        pst_text_printf(&listing->text, "%s{\"operator\":", listing->any ? "," : "");
        pst_text_json(&listing->text, structure->operator_id);
        pst_text_printf(&listing->text, ",\"structure\":");
        pst_text_json(&listing->text, structure->name);
        pst_text_printf(&listing->text,
                        ",\"kind\":\"%s\",\"key_bytes\":%u,\"record_bytes\":%u,\"pages\":%llu,\"entries\":%llu}", kind,
                        structure->key_bytes, structure->record_bytes, (unsigned long long)structure->page_count,
                        (unsigned long long)structure->entry_count);
    } else {
        pst_text_printf(&listing->text, "%-16s  %-16s  %-5s  %9u  %12u  %8llu  %12llu\n", structure->operator_id,
                        structure->name, kind, structure->key_bytes, structure->record_bytes,
                        (unsigned long long)structure->page_count, (unsigned long long)structure->entry_count);
    }
    listing->any = true;
    return listing->text.failed ? PST_ENOMEM : PST_OK;
}

static int refuse(const struct look *look, uint64_t id, int rc, const char *why)
{
    /* A file of the checkpoint that is missing is one that does not open, whatever the system calls it. */
    int exit_code = rc == PST_ENOMEM ? PST_EXIT_FAILED : PST_EXIT_REFUSED;
    pst_complain(look->call, exit_code, "checkpoint %llu cannot be opened: %s", (unsigned long long)id, why);
    return exit_code;
}

static int export_list(struct look *look, uint32_t index)
{
    struct listing listing = {.look = look};
    uint64_t id = view_of(look, index).id;
    const char *why = NULL;
    if (look->call->json) {
        json_begin(look, &listing.text);
        pst_text_printf(&listing.text, ",\"id\":%llu,\"structures\":[", (unsigned long long)id);
    } else {
        pst_text_printf(&listing.text, "%-16s  %-16s  %-5s  %9s  %12s  %8s  %12s\n", "operator", "structure", "kind",
                        "key bytes", "record bytes", "pages", "entries");
    }
    int rc = pst_checkpoint_folder_structures(look->folder, index, listing_add, &listing, &why);
    if (rc != PST_OK) {
        pst_text_fini(&listing.text);
        return refuse(look, id, rc, why);
    }
    if (!look->call->json)
        return pst_text_show(look->call, &listing.text);
    pst_text_printf(&listing.text, "]");
    return json_end(look, &listing.text, PST_EXIT_OK, NULL);
}

struct csv {
    struct pst_text text;
    bool begun, log;
};

static void csv_begin(struct csv *csv)
{
    if (!csv->begun)
        pst_text_printf(&csv->text, "%s\n", csv->log ? "bucket,position,bytes" : "bucket,number,key,record");
    csv->begun = true;
}

static void hex_add(struct pst_text *text, const uint8_t *bytes, uint32_t byte_count)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < byte_count; i++) {
        const char pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
        (void)pst_text_add(text, pair, sizeof pair);
    }
}

static int csv_flush(struct csv *csv)
{
    if (csv->text.failed)
        return PST_ENOMEM;
    if (csv->text.count != 0)
        pst_print(csv->text.bytes, csv->text.count);
    csv->text.count = 0;
    return pst_print_errno() != 0 ? PST_ESTOPPED : PST_OK; /* main() tells why */
}

static int csv_entry(void *argument, const struct pst_checkpoint_entry *entry)
{
    struct csv *csv = argument;
    csv_begin(csv);
    pst_text_printf(&csv->text, "%u,%llu,", entry->bucket, (unsigned long long)entry->number);
    if (entry->key != NULL) {
        hex_add(&csv->text, entry->key, entry->key_bytes);
        pst_text_printf(&csv->text, ",");
    }
    hex_add(&csv->text, entry->record, entry->record_bytes);
    pst_text_printf(&csv->text, "\n");
    return csv->text.count < CSV_BUFFER_BYTES ? PST_OK : csv_flush(csv);
}

static int export_csv(struct look *look, uint32_t index, const char *operator_id, const char *structure)
{
    struct csv csv = {0};
    uint64_t id = view_of(look, index).id;
    const char *why = NULL;
    int rc =
        pst_checkpoint_folder_entries(look->folder, index, operator_id, structure, csv_entry, &csv, &csv.log, &why);
    if (rc == PST_OK) {
        csv_begin(&csv); /* one without entries */
        rc = csv_flush(&csv);
    }
    pst_text_fini(&csv.text);
    if (rc == PST_ENOENT && why != NULL && !csv.begun) {
        pst_complain(
            look->call, PST_EXIT_USAGE,
            "checkpoint %llu has no table or log `%s` of `%s`: without --operator and --structure export lists "
            "what there is",
            (unsigned long long)id, structure, operator_id);
        return PST_EXIT_USAGE;
    }
    return rc == PST_OK || rc == PST_ESTOPPED ? PST_EXIT_OK : refuse(look, id, rc, why);
}

static int export(struct look *look)
{
    const char *operator_id = pst_call_flag(look->call, "operator"),
               *structure = pst_call_flag(look->call, "structure");
    uint32_t index = 0;
    int exit_code = index_find(look, &index);
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    struct pst_checkpoint_view view = view_of(look, index);
    if (view.why != NULL)
        return refuse(look, view.id, PST_EREFUSED, view.why);
    return operator_id == NULL ? export_list(look, index) : export_csv(look, index, operator_id, structure);
}

/* ---- the call ---- */

static const struct action {
    const char *name;
    bool sealed; /* it needs a key */
    int (*run)(struct look *look);
    const char *flags[4]; /* that it takes beside --key */
} actions[] = {
    {"ls", false, ls, {NULL}},
    {"verify", true, verify, {"id", NULL}},
    {"export", true, export, {"id", "operator", "structure", NULL}},
};
enum { ACTION_COUNT = sizeof actions / sizeof *actions };

static const struct action *action_find(const struct pst_call *call, const char *word)
{
    const char *names[ACTION_COUNT];
    for (uint32_t i = 0; i < ACTION_COUNT; i++) {
        names[i] = actions[i].name;
        if (strcmp(word, names[i]) == 0)
            return &actions[i];
    }
    const char *nearest = pst_nearest(word, names, ACTION_COUNT);
    if (nearest != NULL)
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with checkpoints: did you mean `%s`?", word, nearest);
    else
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with checkpoints: there are ls, verify and export",
                     word);
    return NULL;
}

static bool takes(const struct action *action, const char *flag)
{
    for (uint32_t i = 0; action->flags[i] != NULL; i++)
        if (strcmp(action->flags[i], flag) == 0)
            return true;
    return false;
}

static bool flags_fit(const struct pst_call *call, const struct action *action)
{
    static const char *const own[] = {"id", "operator", "structure"};
    for (uint32_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (pst_call_flag(call, own[i]) == NULL || takes(action, own[i]))
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s is of no use with `checkpoint %s`", own[i], action->name);
        return false;
    }
    bool by_operator = pst_call_flag(call, "operator") != NULL, by_structure = pst_call_flag(call, "structure") != NULL;
    if (by_operator != by_structure) {
        pst_complain(call, PST_EXIT_USAGE, "--operator and --structure are wanted together");
        return false;
    }
    if (by_operator && call->json) {
        pst_complain(call, PST_EXIT_USAGE, "a table or log is printed as CSV: --json does not go with it");
        return false;
    }
    if (action->sealed && pst_call_flag(call, "key") == NULL) {
        pst_complain(call, PST_EXIT_USAGE, "`checkpoint %s` needs the key that they were sealed with: --key FILE",
                     action->name);
        return false;
    }
    return true;
}

static int folder_open(struct look *look)
{
    const char *file = pst_call_flag(look->call, "key");
    int exit_code = file != NULL ? pst_keyfile_read(look->call, file, &look->keys) : PST_EXIT_OK;
    if (exit_code != PST_EXIT_OK)
        return exit_code;
    if (file != NULL && !look->keys.locked)
        pst_note(look->call, "penstock: note: the key could not be locked in memory (ulimit -l) and may reach swap");
    look->world = pst_world_uv();
    int rc = look->world != NULL ? pst_checkpoint_folder_open(look->world, look->directory, look->keys.secrets,
                                                              look->keys.count, &look->folder)
                                 : PST_ENOMEM;
    if (rc == PST_OK) {
        look->count = pst_checkpoint_folder_count(look->folder);
        return PST_EXIT_OK;
    }
    exit_code = pst_exit_of_error(rc);
    pst_complain(look->call, exit_code, "the checkpoint folder %s cannot be read: %s", look->directory,
                 rc == PST_ENOMEM ? pst_error_sentence(rc) : pst_system_error());
    return exit_code;
}

static int checkpoint_run(const struct pst_call *call)
{
    struct look look = {.call = call, .directory = call->operands[1]};
    const struct action *action = action_find(call, call->operands[0]);
    if (action == NULL || !flags_fit(call, action) || !pst_call_number(call, "id", 1, UINT64_MAX, 0, &look.id))
        return PST_EXIT_USAGE;
    int exit_code = folder_open(&look);
    if (exit_code == PST_EXIT_OK)
        exit_code = action->run(&look);
    pst_checkpoint_folder_close(look.folder);
    pst_world_uv_free(look.world);
    pst_keyring_keys_fini(&look.keys);
    return exit_code;
}

static const struct pst_flag checkpoint_flags[] = {
    {"key", 0, "FILE", false, "Open with the keys of FILE.", "file"},
    {"id", 0, "N", false, "Only checkpoint N; without it `verify` takes all, `export` the newest.", NULL},
    {"operator", 0, "ID", false, "Export a table or log of operator ID.", NULL},
    {"structure", 0, "NAME", false, "Export the table or log of this name.", NULL},
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_checkpoint = {
    .name = "checkpoint",
    .operands = "ls|verify|export DIR",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .summary = "Look at the checkpoints in a folder.",
    .text =
        "`ls` shows a line for each checkpoint, the newest last: its id, the graph, the event time of the cut, rows of "
        "input before it, pages, sealed bytes of all its pages and of those written with it, and the operators. "
        "Without a key it shows what is not sealed: ids, and bytes of files.\n\n"
        "`verify` opens every page and says so; the exit code is 77 when one is not what was sealed there. That a "
        "whole "
        "older folder was put back in the place of a newer one cannot be noticed.\n\n"
        "`export` prints one table or log of an operator, whatever its partitions, as CSV with keys and contents in "
        "hexadecimal digits, by bucket and then in the order in it. Without --operator and --structure it lists what "
        "there is.\n\n"
        "None of them changes anything in the folder. While a run writes to it, a checkpoint may go between two looks.",
    .examples = "penstock checkpoint ls points --key meters.key\n"
                "penstock checkpoint verify points --key meters.key --json\n"
                "penstock checkpoint export points --key meters.key\n"
                "penstock checkpoint export points --key meters.key --operator plug_load --structure plugs",
    .flags = checkpoint_flags,
    .run = checkpoint_run,
};
