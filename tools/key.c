/* tools/key.c - `penstock key`: makes, shows and renews the file of master keys that state is sealed with. */
#include "tools/evidence_files.h"
#include "tools/inside.h"
#include "tools/keyfile.h"

#include <string.h>

static int keys_show(const struct pst_call *call, const struct pst_keyring_keys *keys)
{
    struct pst_text text = {0};
    for (uint32_t i = 0; i < keys->count; i++)
        pst_text_printf(&text, "%s%s\n", keys->ids[i], i == 0 ? " newest" : "");
    return pst_text_show(call, &text);
}

static int keys_json(const struct pst_call *call, const char *path, const struct pst_keyring_keys *keys)
{
    struct pst_text text = {0};
    pst_text_printf(&text, "{\"schema_version\":%d,\"file\":", PST_JSON_SCHEMA_VERSION);
    pst_text_json(&text, path);
    pst_text_printf(&text, ",\"keys\":[");
    for (uint32_t i = 0; i < keys->count; i++)
        pst_text_printf(&text, "%s{\"id\":\"%s\",\"newest\":%s}", i == 0 ? "" : ",", keys->ids[i],
                        i == 0 ? "true" : "false");
    pst_text_printf(&text, "],\"error\":null}\n");
    return pst_text_show(call, &text);
}

typedef int (*change_fn)(const struct pst_call *call, struct pst_world *world, const char *path,
                         struct pst_keyring_keys *ret_keys);

/* A change needs a world, for its randomness. */
static int file_change(const struct pst_call *call, change_fn change, const char *path, struct pst_keyring_keys *keys)
{
    struct pst_world *world = pst_world_uv();
    if (world == NULL) {
        pst_complain(call, PST_EXIT_FAILED, "%s", pst_error_sentence(PST_ENOMEM));
        return PST_EXIT_FAILED;
    }
    int exit_code = change(call, world, path, keys);
    pst_world_uv_free(world);
    if (exit_code == PST_EXIT_OK)
        pst_note(call, "%s: the newest key is %s", path, keys->ids[0]);
    return exit_code;
}

static int action_unknown(const struct pst_call *call, const char *action)
{
    static const char *const actions[] = {"init", "show", "rotate", "serve"};
    const char *nearest = pst_nearest(action, actions, 4);
    if (nearest != NULL)
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with keys: did you mean `%s`?", action, nearest);
    else
        pst_complain(call, PST_EXIT_USAGE, "`%s` is nothing to do with keys: there are init, show, rotate and serve",
                     action);
    return PST_EXIT_USAGE;
}

static int key_run(const struct pst_call *call)
{
    const char *action = call->operands[0], *path = call->operands[1];
    struct pst_keyring_keys keys = {0};
    int exit_code;
    if (strcmp(action, "show") == 0 || strcmp(action, "serve") == 0)
        exit_code = pst_keyfile_read(call, path, &keys);
    else if (strcmp(action, "init") == 0)
        exit_code = file_change(call, pst_keyfile_make, path, &keys);
    else if (strcmp(action, "rotate") == 0)
        exit_code = file_change(call, pst_keyfile_rotate, path, &keys);
    else
        return action_unknown(call, action);
    if (exit_code == PST_EXIT_OK && !keys.locked)
        pst_note(call, "note: keys could not be locked in memory, they may reach swap: `ulimit -l` is too low");
    if (exit_code == PST_EXIT_OK && strcmp(action, "serve") == 0)
        exit_code = pst_key_serve(call, &keys);
    else if (exit_code == PST_EXIT_OK && call->json)
        exit_code = keys_json(call, path, &keys);
    else if (exit_code == PST_EXIT_OK && strcmp(action, "show") == 0)
        exit_code = keys_show(call, &keys);
    pst_keyring_keys_fini(&keys);
    return exit_code;
}

static const struct pst_flag key_flags[] = {
    {"listen", 0, "ADDRESS", false, "serve: unix:PATH, or HOST:PORT with --tls.", NULL},
    {"policy", 0, "FILE", false, "serve: what a worker's evidence has to be; `penstock help policy`.", "file"},
    {"allow-software", 0, NULL, false, "serve: evidence that no hardware stands behind will do, too.", NULL},
    PST_EVIDENCE_FLAGS("serve, of machines' evidence: "),
    {"count", 0, "N", false, "serve: end after N workers have got it.", NULL},
    PST_TLS_FLAG,
    {NULL, 0, NULL, false, NULL, NULL},
};

const struct pst_verb pst_verb_key = {
    .name = "key",
    .operands = "init|show|rotate|serve FILE",
    .operand_count_min = 2,
    .operand_count_max = 2,
    .summary = "Make, show or renew the file of keys that state is sealed with.",
    .text =
        "What penstock keeps of its state outside its memory is sealed with keys that come from the newest key of a "
        "key "
        "file. `init` makes a file with one random key, which only its owner may read; a file that is there is not "
        "touched. `show` names the keys, newest first, by ids that tell nothing about them. `rotate` puts a new key in "
        "front and keeps the others, 16 in all, so that what was sealed before can still be opened.\n\n"
        "Who has the file can open everything that was sealed with it, and without it nobody can: keep a copy in a "
        "safe "
        "place, apart from what it seals. A file that others may read or write, that belongs to somebody else, or that "
        "is not a regular file is refused.\n\n"
        "`serve` answers `penstock run --sealed`: a worker shows evidence with a nonce that is drawn for it, and where "
        "that is what "
        "the policy wants it gets what the newest key is for its graph, sealed for the worker alone. The key itself is "
        "never "
        "sent. The backend `process` has software evidence, which nobody's hardware stands behind: it is refused "
        "without "
        "--allow-software. Where the worker's node is a confidential machine, its hardware signs for that evidence, "
        "too "
        "(`process-snp`, `process-tdx`): certificates and collateral for that are named here, roots here or in the "
        "policy.\n\n"
        "A key file is text with a line `penstock-key 1` and 64 hexadecimal digits for each key.",
    .examples = "penstock key init penstock.key\n"
                "penstock key show penstock.key --json\n"
                "penstock key rotate penstock.key\n"
                "penstock key serve user.key --policy policy.yaml --allow-software --listen unix:keys.sock\n"
                "penstock key serve user.key --policy policy.yaml --certificates ask_ark.pem --listen unix:keys.sock",
    .flags = key_flags,
    .run = key_run,
};
