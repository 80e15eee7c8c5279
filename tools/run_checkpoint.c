/* tools/run_checkpoint.c - the flags of `penstock run` that concern checkpoints, and what is told of them at the end. */
#include "tools/inside.h"
#include "tools/keyfile.h"

#include <string.h>

enum { EVERY_SECONDS_STANDARD = 10, EVERY_SECONDS_MAX = 86400 };

/* A key that nobody will have again. */
static int key_draw(const struct pst_call *call, struct pst_keyring_keys *keys)
{
    struct pst_world *world = pst_world_uv();
    int rc = world != NULL ? pst_secret_new(&keys->secrets[0]) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = world->random(world->self, pst_secret_bytes(keys->secrets[0]), PST_SECRET_BYTES);
    pst_world_uv_free(world);
    if (rc != PST_OK) {
        pst_complain(call, PST_EXIT_FAILED, "no random key could be drawn: %s", pst_error_sentence(rc));
        return PST_EXIT_FAILED;
    }
    keys->count = 1;
    keys->locked = pst_secret_locked(keys->secrets[0]);
    pst_note(call,
             "penstock: note: these checkpoints are sealed with a key of this run alone and cannot be opened later; "
             "`penstock key init FILE` makes a key that lasts, --key FILE uses it");
    return PST_EXIT_OK;
}

static int keys_read(const struct pst_call *call, bool resume, struct pst_keyring_keys *keys)
{
    const char *file = pst_call_flag(call, "key");
    if (file == NULL && resume) {
        pst_complain(call, PST_EXIT_USAGE, "--resume needs the key that the checkpoints were sealed with: --key FILE");
        return PST_EXIT_USAGE;
    }
    int exit_code = file != NULL ? pst_keyfile_read(call, file, keys) : key_draw(call, keys);
    if (exit_code == PST_EXIT_OK && !keys->locked)
        pst_note(call, "penstock: note: the key could not be locked in memory (ulimit -l) and may reach swap");
    return exit_code;
}

static int drops_read(const struct pst_call *call, struct pst_run_checkpoint *checkpoint)
{
    checkpoint->drops = pst_calloc(call->flag_count + 1, sizeof *checkpoint->drops);
    if (checkpoint->drops == NULL) {
        pst_complain(call, PST_EXIT_FAILED, "out of memory");
        return PST_EXIT_FAILED;
    }
    for (uint32_t i = 0; i < call->flag_count; i++)
        if (strcmp(call->flags[i].flag->name, "drop-state") == 0)
            checkpoint->drops[checkpoint->options.drop_state_count++] = call->flags[i].value;
    checkpoint->options.drop_state = checkpoint->drops;
    return PST_EXIT_OK;
}

static int counter_read(const struct pst_call *call, struct pst_run_checkpoint *checkpoint)
{
    const char *file = pst_call_flag(call, "counter"), *command = pst_call_flag(call, "counter-command");
    if (file != NULL && command != NULL) {
        pst_complain(call, PST_EXIT_USAGE, "--counter and --counter-command exclude one another");
        return PST_EXIT_USAGE;
    }
    if (file != NULL)
        checkpoint->counter = pst_counter_file(file);
    else if (command != NULL)
        checkpoint->counter = pst_counter_command(command);
    checkpoint->options.counter = file != NULL || command != NULL ? &checkpoint->counter : NULL;
    return PST_EXIT_OK;
}

int pst_run_checkpoint_init(struct pst_run_checkpoint *checkpoint, const struct pst_call *call)
{
    static const char *const dependent[] = {"resume",     "every-seconds", "every-rows",     "key",
                                            "drop-state", "counter",       "counter-command"};
    struct pst_checkpoint_options *options = &checkpoint->options;
    uint64_t seconds = 0;
    *checkpoint = (struct pst_run_checkpoint){0};
    options->directory = pst_call_flag(call, "checkpoint");
    for (uint32_t i = 0; options->directory == NULL && i < sizeof dependent / sizeof *dependent; i++) {
        if (pst_call_flag(call, dependent[i]) == NULL)
            continue;
        pst_complain(call, PST_EXIT_USAGE, "--%s is of no use without --checkpoint DIR", dependent[i]);
        return PST_EXIT_USAGE;
    }
    if (options->directory == NULL)
        return PST_EXIT_OK;
    if (!pst_call_number(call, "every-seconds", 1, EVERY_SECONDS_MAX, 0, &seconds) ||
        !pst_call_number(call, "every-rows", 1, UINT64_MAX, 0, &options->every_rows))
        return PST_EXIT_USAGE;
    if (seconds == 0 && options->every_rows == 0)
        seconds = EVERY_SECONDS_STANDARD;
    options->every_ns = seconds * 1000000000u;
    options->resume = pst_call_flag(call, "resume") != NULL;
    checkpoint->keys = pst_calloc(1, sizeof *checkpoint->keys);
    int exit_code = drops_read(call, checkpoint);
    if (exit_code == PST_EXIT_OK)
        exit_code = counter_read(call, checkpoint);
    if (exit_code == PST_EXIT_OK && checkpoint->keys == NULL) {
        exit_code = PST_EXIT_FAILED;
        pst_complain(call, exit_code, "out of memory");
    }
    if (exit_code == PST_EXIT_OK)
        exit_code = keys_read(call, options->resume, checkpoint->keys);
    if (exit_code == PST_EXIT_OK) {
        options->keys = checkpoint->keys->secrets;
        options->key_count = checkpoint->keys->count;
    }
    return exit_code;
}

void pst_run_checkpoint_fini(struct pst_run_checkpoint *checkpoint)
{
    if (checkpoint->keys != NULL)
        pst_keyring_keys_fini(checkpoint->keys);
    pst_free(checkpoint->keys);
    pst_free(checkpoint->drops);
    *checkpoint = (struct pst_run_checkpoint){0};
}

/* ---- at the end ---- */

void pst_checkpoint_print(struct pst_text *text, const struct pst_checkpoint_report *report)
{
    if (report->resumed_id != 0)
        pst_text_printf(text, "  resumed    from checkpoint %llu, at byte %llu of the input\n",
                        (unsigned long long)report->resumed_id, (unsigned long long)report->resumed_offset);
    if (report->found_none)
        pst_text_printf(text, "  resumed    from the beginning of the input: the folder held no checkpoint\n");
    if (report->passed_over[0] != '\0')
        pst_text_printf(text, "  resumed    %s\n", report->passed_over);
    if (report->written != 0) {
        pst_text_printf(text, "  checkpoints  %llu written, %llu pages, ", (unsigned long long)report->written,
                        (unsigned long long)report->pages_written);
        pst_bytes_print(text, report->bytes_written);
        pst_text_printf(text, ", in %.2f s beside the stream\n", (double)report->nanoseconds / 1e9);
    }
    if (report->counter_behind != 0)
        pst_text_printf(text, "  checkpoints  for %llu the counter was not raised: %s\n",
                        (unsigned long long)report->counter_behind, report->why_dropped);
    if (report->dropped != 0)
        pst_text_printf(text, "  checkpoints  %llu could not be written, the last one for: %s\n",
                        (unsigned long long)report->dropped, report->why_dropped);
}

void pst_checkpoint_json(struct pst_text *json, const struct pst_checkpoint_report *report)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"written", report->written},
        {"dropped", report->dropped},
        {"counter_behind", report->counter_behind},
        {"bytes_written", report->bytes_written},
        {"pages_written", report->pages_written},
        {"pages_live", report->pages_live},
        {"resumed_id", report->resumed_id},
        {"resumed_offset", report->resumed_offset},
        {"resumed_rows", report->resumed_rows},
        {"resumed_pages", report->resumed_pages},
        {"resumed_state_bytes", report->resumed_state_bytes},
    };
    pst_text_printf(json, "\"checkpoints\":{");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        pst_text_printf(json, "\"%s\":%llu,", counts[i].name, (unsigned long long)counts[i].value);
    pst_text_printf(json, "\"seconds\":%.6f,\"why_dropped\":", (double)report->nanoseconds / 1e9);
    pst_text_json(json, report->why_dropped[0] != '\0' ? report->why_dropped : NULL);
    pst_text_printf(json, ",\"passed_over\":");
    pst_text_json(json, report->passed_over[0] != '\0' ? report->passed_over : NULL);
    pst_text_printf(json, "}");
}
