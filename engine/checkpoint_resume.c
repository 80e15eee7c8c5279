/* checkpoint_resume.c - the way back: the newest checkpoint that opens wholly, and the run that goes on from it. */
#include "engine/carry.h"
#include "engine/build.h"
#include "engine/checkpoint.h"
#include "engine/enclave.h"
#include "engine/planted.h"
#include "engine/spill.h"
#include "engine/checkpoint_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- which ---- */

struct ids {
    uint64_t *ids;
    uint32_t count, capacity;
};

static int ids_add(void *argument, uint64_t id)
{
    struct ids *ids = argument;
    if (ids->count == ids->capacity) {
        uint32_t capacity = ids->capacity == 0 ? 16 : ids->capacity * 2;
        uint64_t *more = pst_realloc(ids->ids, capacity * sizeof *more);
        if (more == NULL)
            return PST_ENOMEM;
        ids->ids = more;
        ids->capacity = capacity;
    }
    ids->ids[ids->count++] = id;
    return PST_OK;
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

static void pass_over(struct checkpoint *checkpoint, uint64_t id, const char *why)
{
    char *text = checkpoint->report.passed_over;
    size_t used = strlen(text), room = sizeof checkpoint->report.passed_over - used;
    (void)snprintf(text + used, room, "%scheckpoint %" PRIu64 " is passed over: %s", used == 0 ? "" : "; ", id, why);
}

/* Opens wholly, or is passed over with a sentence; other errors are the machine's and end the search. */
static int try_one(struct run *run, uint64_t id, struct pst_manifest *manifest, bool *ret_good)
{
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    struct checkpoint *checkpoint = run->checkpoint;
    char why[160];
    *ret_good = false;
    struct checkpoint_reader reader = {
        run->world, checkpoint->directory, options->keys, options->key_count, why, sizeof why, 0};
    int rc = pst_checkpoint_read(&reader, id, manifest);
    checkpoint->changes = checkpoint->changes_previous + (reader.key_found != 0);
    if (rc == PST_OK) {
        rc = pst_checkpoint_pages(&reader, manifest, NULL, NULL);
        if (rc != PST_OK)
            pst_manifest_fini(manifest);
    }
    if (rc == PST_ENOMEM || rc == PST_EIO) { /* may open next time: nothing is passed over for that */
        if (rc != PST_ENOMEM)
            pst_run_fail(run, rc, "checkpoint %" PRIu64 " cannot be read now: %s", id, why);
        return rc;
    }
    *ret_good = rc == PST_OK;
    if (rc != PST_OK)
        pass_over(checkpoint, id, why);
    return PST_OK;
}

static int choose(struct run *run, const struct ids *ids)
{
    struct checkpoint *checkpoint = run->checkpoint;
    struct pst_manifest *manifest = pst_calloc(1, sizeof *manifest);
    bool good = false;
    int rc = manifest != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t i = 0; i < ids->count && rc == PST_OK && !good; i++)
        rc = try_one(run, ids->ids[i], manifest, &good);
    if (rc == PST_OK && good)
        checkpoint->found[checkpoint->found_count++] = (struct found){checkpoint->directory, *manifest, 0};
    pst_free(manifest);
    if (rc == PST_OK && good)
        return PST_OK;
    if (rc == PST_OK) {
        pst_run_fail(run, PST_EREFUSED, "no checkpoint in %s can be resumed with this key: %s", checkpoint->directory,
                     checkpoint->report.passed_over);
        rc = PST_EREFUSED;
    }
    return rc;
}

/* No checkpoint below the highest that was ever finished is taken for the newest. */
static int counter_ask(struct run *run)
{
    const struct pst_counter *counter = run->options.checkpoint.counter;
    struct checkpoint *checkpoint = run->checkpoint;
    uint64_t recorded = 0, newest = checkpoint->found_count != 0 ? checkpoint->found[0].manifest.id : 0;
    if (counter == NULL)
        return PST_OK;
    int rc = counter->read(counter->self, run->world, &recorded);
    if (rc != PST_OK) {
        pst_run_fail(run, rc == PST_EDATA ? PST_EREFUSED : rc, "the counter %s cannot be read: %s", counter->name,
                     rc == PST_EIO || rc == PST_EREFUSED ? pst_system_error() : "it holds no counter");
        return rc;
    }
    if (newest >= recorded)
        return PST_OK;
    pst_run_fail(run, PST_EREFUSED,
                 "%s records checkpoint %" PRIu64 ", but the newest in %s that opens is %" PRIu64
                 ": an older folder was put back, or newer checkpoints are damaged",
                 counter->name, recorded, checkpoint->directory, newest);
    return PST_EREFUSED;
}

/* Before anything else is compared: of another graph nothing can be expected to fit. */
static int graph_named(struct run *run)
{
    const struct pst_manifest *from = &run->checkpoint->found[0].manifest;
    if (strcmp(from->graph_name, run->graph->name) != 0) {
        pst_run_fail(run, PST_EREFUSED, "the checkpoint is of the graph `%s`, not of `%s`", from->graph_name,
                     run->graph->name);
        return PST_EREFUSED;
    }
    return PST_OK;
}

static int part_find(struct run *run, const char *directory)
{
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    struct checkpoint *checkpoint = run->checkpoint;
    struct found *found = &checkpoint->found[checkpoint->found_count];
    char why[160] = "";
    struct checkpoint_reader reader = {run->world, directory, options->keys, options->key_count, why, sizeof why, 0};
    found->directory = directory;
    int rc = pst_checkpoint_read(&reader, run->site->checkpoint, &found->manifest);
    if (rc == PST_OK) {
        checkpoint->found_count++;
        rc = found->manifest.cut == checkpoint->found[0].manifest.cut ? graph_named(run) : PST_EDATA;
    }
    if (rc != PST_OK)
        pst_run_fail(run, rc, "checkpoint %016" PRIx64 " in %s: %s", run->site->checkpoint, directory,
                     why[0] != '\0' ? why : pst_error_sentence(rc));
    return rc;
}

/* The coordinator has said which one, and which nodes have a part of it: all of them are complete. */
static int parts_find(struct run *run)
{
    const struct site *site = run->site;
    struct checkpoint *checkpoint = run->checkpoint;
    int rc = PST_OK;
    checkpoint->id = site->incarnation << 32; /* C5 */
    checkpoint->complete = site->checkpoint;
    if (site->incarnation > UINT32_MAX)
        return PST_EINVAL;
    if (!pst_node_has_place(run, site->this_node))
        return PST_OK; /* it may be told late, when others have cleared what they went on from, by one who knows the last one alone */
    if (pst_checkpoint_incarnation(site->checkpoint) >= site->incarnation)
        return PST_EINVAL;
    for (uint32_t i = 0; site->checkpoint != 0 && i < site->folder_count && rc == PST_OK; i++)
        rc = part_find(run, site->folders[i]);
    return rc;
}

int pst_checkpoint_find(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    struct ids manifests = {0}, pages = {0};
    if (checkpoint == NULL)
        return PST_OK;
    checkpoint->found = pst_calloc(run->site != NULL ? run->site->folder_count + 1 : 1, sizeof *checkpoint->found);
    if (checkpoint->found == NULL)
        return PST_ENOMEM;
    if (run->site != NULL)
        return parts_find(run);
    int rc = pst_checkpoint_ids(run->world, checkpoint->directory, true, ids_add, &manifests);
    if (rc == PST_OK)
        rc = pst_checkpoint_ids(run->world, checkpoint->directory, false, ids_add, &pages);
    if (rc != PST_OK) {
        pst_run_fail(run, rc, "cannot read the checkpoint folder %s: %s", checkpoint->directory, pst_system_error());
    } else if (manifests.count != 0 && !run->options.checkpoint.resume) {
        rc = PST_EREFUSED;
        pst_run_fail(run, rc,
                     "%s holds checkpoints of an earlier run: go on from them with --resume, or name another folder",
                     checkpoint->directory);
    }
    checkpoint->report.found_none = run->options.checkpoint.resume && manifests.count == 0;
    for (uint32_t i = 0; i < manifests.count + pages.count; i++) { /* no name is used twice, broken ones neither */
        uint64_t id = i < manifests.count ? manifests.ids[i] : pages.ids[i - manifests.count];
        checkpoint->id = id > checkpoint->id ? id : checkpoint->id;
    }
    if (rc == PST_OK && manifests.count != 0) {
        qsort(manifests.ids, manifests.count, sizeof *manifests.ids, newest_first);
        rc = choose(run, &manifests);
        if (rc == PST_OK)
            rc = graph_named(run);
    }
    if (rc == PST_OK)
        rc = counter_ask(run);
    pst_free(manifests.ids);
    pst_free(pages.ids);
    return rc;
}

bool pst_checkpoint_sink(const struct run *run, const char *file, uint64_t *ret_bytes, uint64_t *ret_rows)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    for (uint32_t f = 0; checkpoint != NULL && f < checkpoint->found_count; f++) {
        const struct pst_manifest *from = &checkpoint->found[f].manifest;
        for (uint32_t i = 0; i < from->sink_count; i++) {
            if (strcmp(from->sinks[i].file, file) != 0)
                continue;
            *ret_bytes = from->sinks[i].bytes;
            *ret_rows = from->sinks[i].rows;
            return true;
        }
    }
    return false;
}

/* ---- does it fit? ---- */

/* Or its copy: what is here of the two. */
static struct pst_ctx *owner_of(const struct run *run, uint32_t node, uint32_t bucket)
{
    uint32_t owner = run->partition_of_bucket[node][bucket], twin = pst_twin(run, node, owner);
    struct pst_ctx *ctx = run->partitions[node][owner];
    return ctx == NULL && twin != NO_TWIN ? run->partitions[node][twin] : ctx; /* never both */
}

/* Why the state of an operator cannot be taken over; NULL: it can. */
static const char *misfit(const struct run *run, const struct pst_manifest_node *old, const struct pst_graph_node *node)
{
    struct pst_structure_view views[PST_STRUCTURES_MAX];
    if (node == NULL)
        return "the graph has no such operator";
    if (strcmp(old->type, node->op->name) != 0)
        return "it was of another type";
    if (old->bucket_count != node->bucket_count)
        return "it had another number of buckets";
    if (strcmp(old->params, node->params) != 0)
        return "it had other parameters";
    if (old->inside != node->enclave)
        return old->inside ? "it ran in an enclave, and nobody else can open it"
                           : "it did not run in an enclave, and an enclave takes nothing that it has not sealed itself";
    if (old->inside)
        return NULL; /* its workers look at the rest */
    const struct pst_state *state = pst_checkpoint_state(run, (uint32_t)(node - run->graph->nodes));
    if (run->site != NULL && (state == NULL || old->structure_count == 0))
        return NULL; /* no partition of it was there, or is here */
    uint32_t count = state != NULL ? pst_state_structures(state, views) : 0;
    bool same = count == old->structure_count;
    for (uint32_t i = 0; same && i < count; i++)
        same = strcmp(views[i].name, old->structures[i].name) == 0 &&
               (uint32_t)views[i].kind == old->structures[i].kind &&
               views[i].key_bytes == old->structures[i].key_bytes &&
               views[i].record_bytes == old->structures[i].record_bytes;
    return same ? NULL : "its tables or logs are others";
}

static bool may_drop(const struct run *run, const char *id)
{
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    for (uint32_t i = 0; i < options->drop_state_count; i++)
        if (strcmp(options->drop_state[i], id) == 0)
            return true;
    return false;
}

struct load {
    struct run *run;
    const struct found *found;
    uint64_t state_bytes, page_count;
    int32_t *node_of; /* by node of the manifest: the graph's; -1: dropped */
    bool same_nodes;  /* all are there, in the order of the graph */
    /* of the worker whose place in a sealed stream is at hand, by partition: it gets buckets that this one has sealed. NULL: none is */
    bool *wants;
    uint32_t wants_node;
    const uint8_t *wants_incarnation;
};

static int nodes_match(struct load *load)
{
    struct run *run = load->run;
    const struct pst_manifest *from = &load->found->manifest;
    struct pst_text lost = {0};
    uint32_t expected = 0;
    load->same_nodes = true;
    for (uint32_t i = 0; i < from->node_count; i++) {
        const struct pst_graph_node *node = NULL;
        for (uint32_t n = 0; n < run->graph->node_count; n++)
            if (run->graph->nodes[n].op->role == PST_ROLE_PLAIN &&
                strcmp(run->graph->nodes[n].id, from->nodes[i].id) == 0)
                node = &run->graph->nodes[n];
        const char *why = misfit(run, &from->nodes[i], node);
        load->node_of[i] = why == NULL ? (int32_t)(node - run->graph->nodes) : -1;
        while (expected < run->graph->node_count && run->graph->nodes[expected].op->role != PST_ROLE_PLAIN)
            expected++;
        load->same_nodes &= why == NULL && (uint32_t)load->node_of[i] == expected;
        expected++;
        if (why != NULL && !may_drop(run, from->nodes[i].id))
            (void)pst_text_printf(&lost, "%s`%s` (%s)", lost.count == 0 ? "" : ", ", from->nodes[i].id, why);
    }
    for (; expected < run->graph->node_count; expected++)
        load->same_nodes &= run->graph->nodes[expected].op->role != PST_ROLE_PLAIN;
    int rc = lost.failed ? PST_ENOMEM : lost.count != 0 ? PST_EREFUSED : PST_OK;
    if (rc == PST_EREFUSED)
        pst_run_fail(run, rc, "the checkpoint does not fit the graph; the state of these operators would be lost: %s%s",
                     lost.bytes, run->site == NULL ? ". --drop-state ID for each of them goes on without it" : "");
    pst_text_fini(&lost);
    return rc;
}

static int graph_match(struct run *run, const struct pst_manifest *from)
{
    if (from->hash_key[0] != run->graph->hash_key.k0 || from->hash_key[1] != run->graph->hash_key.k1) {
        pst_run_fail(run, PST_EREFUSED, "the checkpoint's keys were hashed under another key");
        return PST_EREFUSED;
    }
    for (uint32_t i = 0; i < from->sink_count; i++) { /* the other way round: pst_sink_open() */
        bool there = false;
        for (uint32_t k = 0; run->site == NULL && k < run->sink_count; k++)
            there |= strcmp(run->sinks[k]->name, from->sinks[i].file) == 0;
        for (uint32_t n = 0; run->site != NULL && n < run->graph->node_count; n++) /* whoever has it */
            there |= run->graph->nodes[n].op->role == PST_ROLE_SINK &&
                     strcmp(run->graph->nodes[n].file, from->sinks[i].file) == 0;
        if (there)
            continue;
        bool letters = strcmp(from->sinks[i].file, PST_DEAD_LETTER_NAME) == 0;
        pst_run_fail(run, PST_EREFUSED, "the run that is resumed wrote %s, which this one does not: it would end there",
                     letters ? "dead letters" : from->sinks[i].file);
        return PST_EREFUSED;
    }
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        const struct pst_graph_node *node = &run->graph->nodes[n];
        if (node->op->role != PST_ROLE_PLAIN || from->cut % node->epoch == 0)
            continue;
        pst_run_fail(run, PST_EREFUSED,
                     "the checkpoint was cut at event time %" PRId64
                     ", which ends no epoch of `%s`: its epochs were others",
                     from->cut, node->id);
        return PST_EREFUSED;
    }
    return PST_OK;
}

uint64_t pst_checkpoint_least(const struct run *run, const struct pst_graph_node *node)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    for (uint32_t f = 0; checkpoint != NULL && f < checkpoint->found_count; f++) {
        const struct found *found = &checkpoint->found[f];
        for (uint32_t i = 0; i < found->manifest.node_count; i++) {
            const struct pst_manifest_node *old = &found->manifest.nodes[i];
            if (!old->inside || strcmp(old->id, node->id) != 0)
                continue;
            return may_drop(run, node->id) ? 0 : found->manifest.id;
        }
    }
    return 0;
}

/* ---- back ---- */

/* Says so first where it is the spill file and not the checkpoint that is at fault. */
static int spill_told(struct pst_ctx *ctx, int rc)
{
    if (rc != PST_OK && ctx->spill != NULL && pst_state_error(ctx->state, NULL) != PST_OK)
        rc = pst_paging_failed(ctx, pst_state_error(ctx->state, NULL));
    return rc;
}

static int log_back(struct pst_ctx *ctx, const struct pst_image_log *log)
{
    return spill_told(ctx, pst_state_restore_log(ctx->state, log));
}

static const uint8_t *incarnation_of(const struct load *load, const struct pst_manifest_page *page)
{
    return load->found->manifest.files[page->file].incarnation;
}

/* Each bucket has an index, which its worker has sealed. */
static int wants_fill(struct load *load, const struct pst_manifest_page *place)
{
    const struct pst_manifest *from = &load->found->manifest;
    const uint8_t *incarnation = incarnation_of(load, place);
    uint32_t node = (uint32_t)load->node_of[place->node];
    if (load->wants != NULL && load->wants_node == place->node && load->wants_incarnation == incarnation)
        return PST_OK;
    pst_free(load->wants);
    load->wants = pst_calloc(load->run->partition_count[node] + (size_t)1, sizeof *load->wants);
    if (load->wants == NULL)
        return PST_ENOMEM;
    load->wants_node = place->node;
    load->wants_incarnation = incarnation;
    for (uint32_t i = 0; i < from->page_count; i++) {
        const struct pst_manifest_page *page = &from->pages[i];
        if (page->node != place->node || page->structure != PST_MANIFEST_INDEX_STRUCTURE ||
            memcmp(incarnation_of(load, page), incarnation, PST_INCARNATION_BYTES) != 0)
            continue;
        const struct pst_ctx *ctx = owner_of(load->run, node, page->bucket);
        if (ctx != NULL)
            load->wants[ctx->partition] = true;
    }
    return PST_OK;
}

/* Of a sealed stream, where a worker was: it goes to all that get any of its buckets. */
static bool is_place(const struct load *load, const struct pst_manifest_page *page)
{
    return load->run->graph->carry != NULL && page->structure == PST_IMAGE_PLACE_STRUCTURE &&
           load->found->manifest.nodes[page->node].inside;
}

static int place_back(struct load *load, const struct pst_manifest_page *page, const void *sealed)
{
    uint32_t node = (uint32_t)load->node_of[page->node];
    int rc = wants_fill(load, page);
    for (uint32_t p = 0; p < load->run->partition_count[node] && rc == PST_OK; p++)
        if (load->wants[p])
            rc = pst_ctx_enclave_piece_back(load->run->partitions[node][p], incarnation_of(load, page), page, sealed);
    return rc;
}

/* Whether anybody here takes it. */
static int is_wanted(struct load *load, const struct pst_manifest_page *page, bool *ret_wanted)
{
    int32_t node = load->node_of[page->node];
    *ret_wanted = node >= 0 && owner_of(load->run, (uint32_t)node, page->bucket) != NULL;
    if (node < 0 || !is_place(load, page))
        return PST_OK;
    int rc = wants_fill(load, page);
    *ret_wanted = false;
    for (uint32_t p = 0; p < load->run->partition_count[node] && rc == PST_OK; p++)
        *ret_wanted |= load->wants[p];
    return rc;
}

static int page_back(void *argument, const struct pst_manifest_page *page, const void *bytes, uint32_t byte_count)
{
    struct load *load = argument;
    load->state_bytes += byte_count;
    load->page_count++;
    int32_t node = load->node_of[page->node];
    if (node < 0)
        return PST_OK;
    if (is_place(load, page))
        return place_back(load, page, bytes);
    struct pst_ctx *ctx = owner_of(load->run, (uint32_t)node, page->bucket);
    if (ctx->enclave != NULL)
        return pst_ctx_enclave_piece_back(ctx, incarnation_of(load, page), page, bytes);
    return spill_told(ctx, ctx->state != NULL ? pst_state_restore_page(ctx->state, bytes, byte_count) : PST_EDATA);
}

/* Of a part that another node has written, too: the pages of buckets that are here now. Others are not even read. */
static int own_pages_back(struct load *load, const struct checkpoint_reader *reader)
{
    struct pst_manifest from = load->found->manifest;
    struct pst_manifest_page *own = pst_malloc((from.page_count + 1) * sizeof *own);
    uint32_t own_count = 0;
    int rc = own != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t i = 0; i < from.page_count && rc == PST_OK; i++) {
        bool wanted;
        rc = is_wanted(load, &from.pages[i], &wanted);
        if (rc == PST_OK && wanted)
            own[own_count++] = from.pages[i];
    }
    from.pages = own;
    from.page_count = own_count;
    if (rc == PST_OK)
        rc = pst_checkpoint_pages(reader, &from, page_back, load);
    pst_free(own);
    return rc;
}

static int states_back(struct load *load)
{
    struct run *run = load->run;
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    const struct pst_manifest *from = &load->found->manifest;
    char why[160] = "";
    struct checkpoint_reader reader = {
        run->world, load->found->directory, options->keys, options->key_count, why, sizeof why, 0};
    int rc = run->site == NULL ? pst_checkpoint_pages(&reader, from, page_back, load) : own_pages_back(load, &reader);
    for (uint32_t i = 0; i < from->log_count && rc == PST_OK; i++) {
        int32_t node = load->node_of[from->logs[i].node];
        struct pst_ctx *ctx = node >= 0 ? owner_of(run, (uint32_t)node, from->logs[i].log.bucket) : NULL;
        if (ctx != NULL)
            rc = log_back(ctx, &from->logs[i].log);
    }
    for (uint32_t i = 0; i < from->bucket_count && rc == PST_OK; i++) {
        const struct pst_manifest_bucket *bucket = &from->buckets[i];
        int32_t node = load->node_of[bucket->node];
        struct pst_ctx *ctx = node >= 0 ? owner_of(run, (uint32_t)node, bucket->bucket) : NULL;
        if (ctx == NULL)
            continue;
        pst_ctx_timer_set(ctx, bucket->bucket, bucket->timer);
        ctx->numbers[bucket->bucket] = bucket->number;
    }
    if (rc != PST_OK)
        pst_run_fail(run, rc == PST_EDATA ? PST_EREFUSED : rc, "checkpoint %" PRIu64 " cannot be put back: %s",
                     from->id, why[0] != '\0' ? why : pst_error_sentence(rc));
    return rc;
}

/* Generations go on above the highest of all parts. */
static void generations_back(struct load *load)
{
    struct run *run = load->run;
    const struct pst_manifest *from = &load->found->manifest;
    for (uint32_t m = 0; m < from->node_count; m++) {
        int32_t node = load->node_of[m];
        for (uint32_t p = 0; node >= 0 && p < run->partition_count[node]; p++) {
            struct pst_ctx *ctx = run->partitions[node][p];
            if (ctx == NULL)
                continue;
            struct part *part = &run->checkpoint->parts[ctx->index];
            part->since = from->nodes[m].generation > part->since ? from->nodes[m].generation : part->since;
            part->since = ctx->enclave == NULL ? part->since : 0; /* another worker seals under another incarnation */
            if (ctx->state != NULL)
                pst_state_restore_end(ctx->state, part->since + 1);
        }
    }
}

static void instances_back(struct run *run, int64_t cut)
{
    for (uint32_t i = 0; i < run->instance_count; i++) {
        struct pst_ctx *ctx = run->instances[i];
        if (ctx->node->op->role != PST_ROLE_PLAIN && ctx->sink == NULL)
            continue;
        ctx->now = ctx->cut_done = cut;
        ctx->now_known = true;
        if (ctx->sink != NULL)
            ctx->sink->used_bytes = 0; /* the header that open() wrote is in the file already */
    }
}

static int newer_aside(void *argument, uint64_t id)
{
    const struct run *run = argument;
    const struct checkpoint *checkpoint = run->checkpoint;
    return id > checkpoint->found[0].manifest.id ? pst_checkpoint_set_aside(run->world, checkpoint->directory, id)
                                                 : PST_OK;
}

/* What was passed over must not come back when its reason has gone: the outputs are about to be cut back below it. */
static int outputs_back(struct run *run)
{
    const struct pst_world *world = run->world;
    const char *directory = run->checkpoint->directory;
    int rc = PST_OK;
    if (run->checkpoint->report.passed_over[0] != '\0') {
        rc = pst_checkpoint_ids(world, directory, true, newer_aside, run);
        if (rc == PST_OK)
            rc = world->folder_sync(world->self, directory);
        if (rc != PST_OK)
            pst_run_fail(run, rc, "cannot set aside what is passed over in %s: %s", directory, pst_system_error());
    }
    for (uint32_t i = 0; i < run->sink_count && rc == PST_OK; i++)
        rc = pst_sink_continue(run, run->sinks[i]);
    return rc;
}

/* A part of a node that reads no input has no position; one that has is behind a row at least, where it is the only one. NULL: of
 * several, that of this node's input is not there. */
static const struct pst_manifest_source *position_of(const struct checkpoint *checkpoint)
{
    const struct site *site = checkpoint->run->site;
    uint32_t f = 0;
    if (site != NULL && site->position != NULL) {
        while (f < checkpoint->found_count && strcmp(checkpoint->found[f].directory, site->position) != 0)
            f++;
        return f < checkpoint->found_count ? &checkpoint->found[f].manifest.source : NULL;
    }
    while (f + 1 < checkpoint->found_count && checkpoint->found[f].manifest.source.rows == 0)
        f++;
    return &checkpoint->found[f].manifest.source;
}

static int input_back(struct run *run, const struct pst_manifest_source *at)
{
    struct input *input = &run->input;
    int rc = pst_input_skip(run, at->offset);
    if (rc != PST_OK)
        return rc;
    input->begun = at->offset != 0;
    input->newest = at->newest;
    /* It may be where a block begins, below the cut. Nobody has dead letters there. */
    if (pst_checkpoint_several(run) && !PST_PLANTED(ROWS_AGAIN))
        input->done_below = run->checkpoint->found[0].manifest.cut;
    if (run->graph->carry != NULL) {
        input->done_below = run->checkpoint->found[0].manifest.cut;
        pst_carry_resume(run, input->done_below, at->rows - 1);
    }
    input->lines = at->lines;
    atomic_store_explicit(&input->max, at->newest, memory_order_relaxed);
    atomic_store_explicit(&input->rows, at->rows, memory_order_relaxed);
    atomic_store_explicit(&input->rows_late, at->rows_late, memory_order_relaxed);
    atomic_store_explicit(&input->lines_malformed, at->lines_malformed, memory_order_relaxed);
    atomic_store_explicit(&input->bytes_sequenced, at->offset, memory_order_relaxed);
    for (uint32_t i = 0; i < at->bad_line_count && i < PST_BAD_LINES_KEPT; i++) {
        input->malformed_line[i] = at->bad_line[i];
        input->malformed_reason[i] = at->bad_reason[i];
    }
    return PST_OK;
}

static int part_load(struct load *load)
{
    struct run *run = load->run;
    load->node_of = pst_malloc((load->found->manifest.node_count + 1) * sizeof *load->node_of);
    int rc = load->node_of != NULL ? graph_match(run, &load->found->manifest) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = nodes_match(load);
    if (rc == PST_OK)
        rc = states_back(load);
    if (rc == PST_OK)
        generations_back(load);
    pst_free(load->node_of);
    pst_free(load->wants);
    load->node_of = NULL;
    load->wants = NULL;
    return rc;
}

/* What the next one is built on. On several nodes that one is whole: what is here now was elsewhere, in part. So it is where pages are
 * numbered otherwise. */
static int previous_set(struct checkpoint *checkpoint, bool same_nodes)
{
    if (checkpoint->run->site != NULL || !same_nodes)
        return PST_OK;
    checkpoint->previous = pst_calloc(1, sizeof *checkpoint->previous);
    if (checkpoint->previous == NULL)
        return PST_ENOMEM;
    *checkpoint->previous = checkpoint->found[0].manifest;
    checkpoint->found[0].manifest = (struct pst_manifest){0};
    pst_checkpoint_count(checkpoint);
    return PST_OK;
}

int pst_checkpoint_load(struct run *run)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (checkpoint == NULL)
        return PST_OK;
    checkpoint->parts = pst_calloc(run->instance_count + 1, sizeof *checkpoint->parts);
    if (checkpoint->parts == NULL)
        return PST_ENOMEM;
    checkpoint->part_count = run->instance_count;
    checkpoint->ns_at = run->world->now_ns(run->world->self);
    if (checkpoint->found_count == 0)
        return PST_OK;
    struct load load = {.run = run, .found = checkpoint->found};
    const struct pst_manifest_source *at = position_of(checkpoint);
    const struct pst_manifest *from = &checkpoint->found[0].manifest;
    int rc = at != NULL ? PST_OK : PST_EREFUSED;
    if (at == NULL)
        pst_run_fail(run, rc, "the checkpoint has no part in %s, where this node's input goes on", run->site->position);
    for (; load.found != checkpoint->found + checkpoint->found_count && rc == PST_OK; load.found++)
        rc = part_load(&load);
    if (rc == PST_OK)
        rc = pst_enclaves_restored(run);
    if (rc == PST_OK && pst_reads(run))
        rc = input_back(run, at);
    if (rc == PST_OK)
        rc = outputs_back(run);
    if (rc != PST_OK)
        return rc;
    instances_back(run, from->cut);
    checkpoint->cut = from->cut;
    checkpoint->ns_at = run->world->now_ns(run->world->self);
    checkpoint->rows_at = at->rows;
    checkpoint->report.resumed_id = from->id;
    checkpoint->report.resumed_offset = at->offset;
    checkpoint->report.resumed_rows = at->rows;
    checkpoint->report.resumed_pages = load.page_count;
    checkpoint->report.resumed_state_bytes = load.state_bytes;
    return previous_set(checkpoint, load.same_nodes);
}
