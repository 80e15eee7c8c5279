/* spill.c - see spill.h. */
#include "engine/spill.h"

#include "engine/disk.h"
#include "state/image.h"
#include "state/manifest.h"

#include <inttypes.h>
#include <string.h>

enum { SPILL_WRITES = 16 };
/* A frame's rows may meet a page of each bucket, but an operator with more buckets than that has few keys in each. */
enum { BUCKETS_AT_ONCE = 64, PAGES_BESIDES = 8 };

typedef enum piece_state { PIECE_FREE, PIECE_WAITS, PIECE_MOVES, PIECE_HERE, PIECE_DROPPED } piece_state;

struct piece { /* a sealed page between memory and file */
    piece_state state;
    uint32_t slot, byte_count;
    uint64_t order; /* writes: the latest of a slot is what counts */
    uint8_t *bytes; /* slot_bytes, once there was need of it */
};

struct spill {
    struct run *run; /* the worker's: a job may outlive it */
    struct pst_world *world;
    struct pst_disk *disk;
    uint32_t worker, pages_min;
    struct pst_file *file;
    struct pst_sealer *sealer, *opener;
    atomic_flag lock;
    struct piece writes[SPILL_WRITES], reads[PST_AHEAD_MAX];
    uint64_t order;
    bool working;        /* a job is on its way */
    bool abandoned;      /* whoever had it has let it go: that job frees it */
    uint64_t file_bytes; /* of the node's disk, for all slots that were ever written */
    int error;           /* of a write that a job did */
    char why[PST_DISK_WHY_BYTES];
    uint64_t waits, wait_ns; /* pages that had to be read while the worker stood still */
};

struct paging { /* of a run */
    struct pst_pool *pool;
    struct pst_secret *master;
    uint8_t graph[PST_GRAPH_DIGEST_BYTES];
};

static size_t slot_bytes(void) { return pst_seal_bound(PST_PAGE_BYTES); }

/* ---- pieces; all under the lock ---- */

static bool piece_ready(struct piece *piece)
{
    if (piece->bytes == NULL)
        piece->bytes = pst_malloc(slot_bytes());
    return piece->bytes != NULL;
}

/* The latest of a slot on its way out, or NULL. */
static struct piece *write_of(struct spill *spill, uint32_t slot)
{
    struct piece *latest = NULL;
    for (int i = 0; i < SPILL_WRITES; i++) {
        struct piece *piece = &spill->writes[i];
        if (piece->state != PIECE_FREE && piece->slot == slot && (latest == NULL || piece->order > latest->order))
            latest = piece;
    }
    return latest;
}

/* The oldest that may be written: not while an older one of its slot is being written. */
static struct piece *write_next(struct spill *spill)
{
    struct piece *next = NULL;
    for (int i = 0; i < SPILL_WRITES; i++) {
        struct piece *piece = &spill->writes[i];
        bool moves = false;
        for (int k = 0; k < SPILL_WRITES; k++)
            moves |= spill->writes[k].state == PIECE_MOVES && spill->writes[k].slot == piece->slot;
        if (piece->state == PIECE_WAITS && !moves && (next == NULL || piece->order < next->order))
            next = piece;
    }
    return next;
}

static struct piece *read_of(struct spill *spill, uint32_t slot)
{
    for (int i = 0; i < PST_AHEAD_MAX; i++) {
        struct piece *piece = &spill->reads[i];
        if (piece->state != PIECE_FREE && piece->state != PIECE_DROPPED && piece->slot == slot)
            return piece;
    }
    return NULL;
}

static struct piece *read_in(struct spill *spill, piece_state state)
{
    for (int i = 0; i < PST_AHEAD_MAX; i++)
        if (spill->reads[i].state == state)
            return &spill->reads[i];
    return NULL;
}

static void failed(struct spill *spill, int error)
{
    if (spill->error != PST_OK)
        return;
    spill->error = error == PST_EREFUSED ? PST_EIO : error; /* the system's refusal, and nobody's forgery */
    (void)snprintf(spill->why, sizeof spill->why, "%s", pst_system_error());
}

/* Room on the node's disk for one more slot; the file never becomes shorter. */
static int slot_take(struct spill *spill, uint32_t slot)
{
    struct pst_disk *disk = spill->disk;
    uint64_t end = ((uint64_t)slot + 1) * slot_bytes(), grows = end > spill->file_bytes ? end - spill->file_bytes : 0;
    int rc = pst_disk_take(disk, NULL, grows);
    spill->file_bytes += rc == PST_OK ? grows : 0;
    if (rc != PST_OK && spill->error == PST_OK) {
        spill->error = PST_EIO; /* as of a disk that is full */
        pst_disk_why(disk, spill->why);
    }
    return rc;
}

/* ---- the file; the lock is given up for each call ---- */

static void write_do(struct spill *spill, struct piece *piece)
{
    struct pst_world *world = spill->world;
    int rc = slot_take(spill, piece->slot);
    piece->state = rc == PST_OK ? PIECE_MOVES : PIECE_HERE;
    if (rc != PST_OK)
        return;
    pst_lock_give(&spill->lock);
    rc = world->file_write_at(world->self, spill->file, (uint64_t)piece->slot * slot_bytes(), piece->bytes,
                              piece->byte_count);
    pst_lock_take(&spill->lock);
    piece->state = rc == PST_OK ? PIECE_FREE : PIECE_HERE; /* what could not be written can still be had */
    if (rc != PST_OK)
        failed(spill, rc);
}

static void read_do(struct spill *spill, struct piece *piece)
{
    struct pst_world *world = spill->world;
    piece->state = PIECE_MOVES;
    pst_lock_give(&spill->lock);
    int rc = world->file_read_at(world->self, spill->file, (uint64_t)piece->slot * slot_bytes(), piece->bytes,
                                 piece->byte_count);
    pst_lock_take(&spill->lock);
    piece->state = piece->state == PIECE_MOVES && rc == PST_OK ? PIECE_HERE : PIECE_FREE; /* who asks, reads again */
}

static void spill_free(struct spill *spill)
{
    if (spill->file != NULL)
        (void)spill->world->file_close(spill->world->self, spill->file); /* nobody wants what is in it */
    pst_disk_give(spill->disk, NULL, spill->file_bytes);
    for (int i = 0; i < SPILL_WRITES; i++)
        pst_free(spill->writes[i].bytes);
    for (int i = 0; i < PST_AHEAD_MAX; i++)
        pst_free(spill->reads[i].bytes);
    pst_sealer_free(spill->sealer);
    pst_sealer_free(spill->opener);
    pst_free(spill);
}

static void job(void *argument)
{
    struct spill *spill = argument;
    pst_lock_take(&spill->lock);
    while (!spill->abandoned) {
        struct piece *read = read_in(spill, PIECE_WAITS), *write = read == NULL ? write_next(spill) : NULL;
        if (read != NULL)
            read_do(spill, read);
        else if (write != NULL)
            write_do(spill, write);
        else
            break;
    }
    spill->working = false;
    bool abandoned = spill->abandoned;
    pst_lock_give(&spill->lock);
    if (abandoned)
        spill_free(spill);
}

/* Before the run has begun, and where there is no memory for a job, things wait: put() writes what it has no room for itself. */
static void job_start(struct spill *spill)
{
    struct run *run = spill->run;
    if (spill->working || run->begun_ns == 0)
        return;
    spill->working = true;
    pst_lock_give(&spill->lock);
    int rc = run->world->work(run->world->self, run->worker_base + spill->worker, job, spill);
    pst_lock_take(&spill->lock);
    if (rc != PST_OK)
        spill->working = false;
}

/* ---- what the pager calls ---- */

static int put(void *self, uint32_t slot, const void *sealed, uint32_t byte_count)
{
    struct spill *spill = self;
    pst_lock_take(&spill->lock);
    if (spill->error != PST_OK) { /* its pieces may all be stuck */
        pst_lock_give(&spill->lock);
        return spill->error;
    }
    struct piece *piece = write_of(spill, slot);
    if (piece == NULL || piece->state == PIECE_MOVES) {
        piece = NULL;
        for (int i = 0; i < SPILL_WRITES && piece == NULL; i++)
            piece = spill->writes[i].state == PIECE_FREE ? &spill->writes[i] : NULL;
    }
    if (piece == NULL) {
        piece = write_next(spill);
        PST_ASSERT(piece != NULL); /* a job moves one at most */
        write_do(spill, piece);
    }
    int rc = spill->error != PST_OK ? spill->error : piece_ready(piece) ? PST_OK : PST_ENOMEM;
    if (rc == PST_OK) {
        memcpy(piece->bytes, sealed, byte_count);
        uint8_t *bytes = piece->bytes;
        *piece = (struct piece){PIECE_WAITS, slot, byte_count, ++spill->order, bytes};
        job_start(spill);
    }
    pst_lock_give(&spill->lock);
    return rc;
}

static int read_now(struct spill *spill, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct pst_world *world = spill->run->world;
    int rc = world->file_read_at(world->self, spill->file, (uint64_t)slot * slot_bytes(), sealed, byte_count);
    if (rc != PST_OK) {
        pst_lock_take(&spill->lock);
        failed(spill, rc);
        rc = spill->error;
        pst_lock_give(&spill->lock);
    }
    return rc;
}

static int get(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct spill *spill = self;
    struct pst_world *world = spill->run->world;
    pst_lock_take(&spill->lock);
    struct piece *piece = write_of(spill, slot), *read = read_of(spill, slot);
    if (piece == NULL && read != NULL && read->state == PIECE_HERE)
        piece = read;
    if (piece != NULL)
        memcpy(sealed, piece->bytes, byte_count);
    if (read != NULL)
        read->state = read->state == PIECE_MOVES ? PIECE_DROPPED : PIECE_FREE;
    pst_lock_give(&spill->lock);
    if (piece != NULL)
        return PST_OK;
    uint64_t begun = world->now_ns(world->self);
    int rc = read_now(spill, slot, sealed, byte_count);
    spill->waits++;
    spill->wait_ns += world->now_ns(world->self) - begun;
    return rc;
}

static int look(void *self, uint32_t slot, void *sealed, uint32_t byte_count)
{
    struct spill *spill = self;
    pst_lock_take(&spill->lock);
    const struct piece *piece = write_of(spill, slot);
    if (piece != NULL)
        memcpy(sealed, piece->bytes, byte_count);
    pst_lock_give(&spill->lock);
    return piece != NULL ? PST_OK : read_now(spill, slot, sealed, byte_count);
}

static void ahead(void *self, uint32_t slot, uint32_t byte_count)
{
    struct spill *spill = self;
    pst_lock_take(&spill->lock);
    struct piece *read = read_in(spill, PIECE_FREE);
    const struct piece *write = write_of(spill, slot);
    if (read != NULL && piece_ready(read)) { /* else, as while a job still holds what was dropped: get() reads it */
        if (write != NULL)
            memcpy(read->bytes, write->bytes, byte_count);
        uint8_t *bytes = read->bytes;
        *read = (struct piece){write != NULL ? PIECE_HERE : PIECE_WAITS, slot, byte_count, 0, bytes};
        if (write == NULL)
            job_start(spill);
    }
    pst_lock_give(&spill->lock);
}

static void forget(void *self, uint32_t slot)
{
    struct spill *spill = self;
    pst_lock_take(&spill->lock);
    struct piece *read = read_of(spill, slot);
    if (read != NULL)
        read->state = read->state == PIECE_MOVES ? PIECE_DROPPED : PIECE_FREE;
    pst_lock_give(&spill->lock);
}

/* ---- life ---- */

int pst_paging_init(struct run *run)
{
    if (run->options.state_budget == 0)
        return PST_OK;
    struct paging *paging = pst_calloc(1, sizeof *paging);
    run->paging = paging;
    if (paging == NULL)
        return PST_ENOMEM;
    paging->pool = pst_pool_new(run->options.state_budget);
    int rc = paging->pool != NULL ? pst_secret_new(&paging->master) : PST_ENOMEM;
    if (rc == PST_OK)
        rc = run->world->random(run->world->self, pst_secret_bytes(paging->master), PST_SECRET_BYTES);
    return rc == PST_OK ? pst_manifest_graph(run->graph->name, paging->graph) : rc;
}

void pst_paging_fini(struct run *run)
{
    if (run->paging == NULL)
        return;
    pst_pool_free(run->paging->pool);
    pst_secret_free(run->paging->master);
    pst_free(run->paging);
    run->paging = NULL;
}

static const char *folder_of(const struct run *run)
{
    if (run->options.spill_dir != NULL)
        return run->options.spill_dir;
    return run->options.output_dir != NULL ? run->options.output_dir : ".";
}

static int sealers_new(const struct pst_ctx *ctx, struct spill *spill)
{
    struct run *run = ctx->run;
    uint8_t incarnation[PST_INCARNATION_BYTES];
    const char *id = ctx->node->id;
    uint32_t bucket_count = ctx->node->bucket_count;
    int rc = run->world->random(run->world->self, incarnation, sizeof incarnation);
    if (rc == PST_OK)
        rc = pst_sealer_new(run->paging->master, run->paging->graph, PST_SEAL_SPILL, incarnation, 1, &id, &bucket_count,
                            &spill->sealer);
    if (rc == PST_OK)
        rc = pst_sealer_new_to_open(run->paging->master, run->paging->graph, PST_SEAL_SPILL, incarnation, 1, &id,
                                    &bucket_count, &spill->opener);
    return rc;
}

/* In a folder that is made where it is missing. */
static int file_make(struct pst_ctx *ctx, struct spill *spill)
{
    struct run *run = ctx->run;
    const struct pst_world *world = run->world;
    const char *folder = folder_of(run);
    uint64_t id[2];
    int rc = world->mkdir(world->self, folder);
    if (rc == PST_OK)
        rc = world->file_scratch(world->self, folder, &spill->file);
    if (rc == PST_OK)
        return PST_OK;
    const char *why = rc == PST_ENOMEM ? pst_error_sentence(rc) : pst_system_error();
    if (world->look(world->self, folder, id) == 1)
        why = "it is a file, and a folder is wanted";
    return pst_ctx_fail(ctx, rc, "cannot make a spill file in %s: %s", folder, why);
}

static uint32_t pages_least(uint32_t owned_count)
{
    return PAGES_BESIDES + (owned_count < BUCKETS_AT_ONCE ? owned_count : BUCKETS_AT_ONCE);
}

int pst_paging_attach(struct pst_ctx *ctx)
{
    struct run *run = ctx->run;
    if (run->paging == NULL)
        return PST_OK;
    struct spill *spill = pst_calloc(1, sizeof *spill);
    if (spill == NULL)
        return pst_ctx_failed(ctx, PST_ENOMEM, "its state");
    ctx->spill = spill;
    spill->run = run;
    spill->world = run->world;
    spill->disk = run->options.disk;
    spill->worker = ctx->worker;
    atomic_flag_clear(&spill->lock);
    int rc = file_make(ctx, spill);
    if (rc != PST_OK)
        return rc;
    rc = sealers_new(ctx, spill);
    if (rc == PST_EIO || rc == PST_EREFUSED) /* no random bytes */
        (void)snprintf(ctx->sentence, sizeof ctx->sentence, "%s", pst_system_error());
    spill->pages_min = pages_least(ctx->owned_count);
    struct pst_paging paging = {.pool = run->paging->pool,
                                .pages_min = spill->pages_min,
                                .sealer = spill->sealer,
                                .opener = spill->opener,
                                .outside = {spill, put, get, ahead, forget, look},
                                .evict = (pst_evict)run->options.evict,
                                .ahead = !run->options.no_prefetch};
    if (rc == PST_OK)
        rc = pst_state_page(ctx->state, &paging);
    return rc == PST_OK ? PST_OK : pst_ctx_failed(ctx, rc, "its state");
}

/* On a node a run ends, and a partition goes, while the world goes on: with a job that is on its way, which is not waited for. */
void pst_paging_detach(struct pst_ctx *ctx)
{
    struct spill *spill = ctx->spill;
    if (spill == NULL)
        return;
    ctx->spill = NULL;
    pst_lock_take(&spill->lock);
    bool working = spill->abandoned = spill->working;
    pst_lock_give(&spill->lock);
    if (!working)
        spill_free(spill);
}

int pst_paging_fits(struct run *run)
{
    uint64_t count = 0, least = 0;
    for (uint32_t i = 0; i < run->instance_count && run->paging != NULL; i++) {
        const struct spill *spill = run->instances[i]->spill;
        count += spill != NULL;
        least += spill != NULL ? spill->pages_min * (PST_PAGE_BYTES / 1024) : 0;
    }
    if (least <= run->options.state_budget / 1024)
        return PST_OK;
    pst_run_fail(run, PST_EGRAPH,
                 "a state budget of %" PRIu64 " KiB is too small for the %" PRIu64
                 " partitions that have state, which need %" PRIu64 " KiB to begin with: --state-budget %" PRIu64 "KiB",
                 run->options.state_budget / 1024, count, least, least);
    return PST_EGRAPH;
}

bool pst_paging_has_room(const struct run *run, const struct pst_ctx *into, uint32_t bucket_count)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < run->instance_count && run->paging != NULL; i++) {
        const struct pst_ctx *ctx = run->instances[i];
        if (ctx->spill == NULL || ctx->borrows)
            continue;
        uint32_t least = ctx == into ? pages_least(ctx->owned_count + bucket_count) : 0;
        pages += ctx->spill->pages_min > least ? ctx->spill->pages_min : least;
    }
    return pages * (PST_PAGE_BYTES / 1024) <= run->options.state_budget / 1024 || run->paging == NULL;
}

/* ---- errors and figures ---- */

void pst_paging_refused(const struct pst_ctx *ctx, const struct pst_seal_place *place, char *ret_sentence, size_t bytes)
{
    struct pst_structure_view views[PST_STRUCTURES_MAX];
    uint32_t count = pst_state_structures(ctx->state, views);
    (void)snprintf(ret_sentence, bytes,
                   "the spill file was changed by somebody else: page %" PRIu64
                   " of `%s`, bucket %u, is not what was put there",
                   place->number, place->structure < count ? views[place->structure].name : "?", place->bucket);
}

int pst_paging_failed(struct pst_ctx *ctx, int error)
{
    struct pst_paging_counts counts;
    pst_state_paging_counts(ctx->state, &counts);
    if (error == PST_EREFUSED) {
        struct pst_seal_place place;
        (void)pst_state_error(ctx->state, &place);
        pst_paging_refused(ctx, &place, ctx->sentence, sizeof ctx->sentence);
    } else if (error == PST_EFULL) {
        uint64_t least = (pst_pool_least(ctx->run->paging->pool) + 1023) / 1024;
        (void)snprintf(ctx->sentence, sizeof ctx->sentence,
                       "one callback needs %" PRIu64 " KiB of pages at once, and the state budget has no more: "
                       "--state-budget %" PRIu64 "KiB",
                       counts.need_pages * (PST_PAGE_BYTES / 1024), least);
        error = PST_EGRAPH;
    } else if (error == PST_ERANGE) {
        (void)snprintf(
            ctx->sentence, sizeof ctx->sentence,
            "a key of the spill file has sealed as many pages as it may: a run that is resumed has new ones");
        error = PST_EIO;
    } else if (error == PST_EIO) {
        pst_lock_take(&ctx->spill->lock);
        (void)snprintf(ctx->sentence, sizeof ctx->sentence, "the spill file in %s: %s", folder_of(ctx->run),
                       ctx->spill->why);
        pst_lock_give(&ctx->spill->lock);
    }
    return pst_ctx_failed(ctx, error, "its state");
}

static void report_add(struct pst_paging_report *to, const struct pst_ctx *ctx)
{
    struct pst_paging_counts counts;
    pst_state_paging_counts(ctx->state, &counts);
    to->lookups += counts.lookups;
    to->page_ins += counts.page_ins;
    to->page_ins_ahead += counts.page_ins_ahead;
    to->page_outs += counts.page_outs;
    to->page_outs_clean += counts.page_outs_clean;
    to->page_images += counts.page_images;
    to->dead_inside += counts.dead_inside;
    to->dead_outside += counts.dead_outside;
    to->bytes_sealed += counts.bytes_sealed;
    to->bytes_opened += counts.bytes_opened;
    to->aheads += counts.aheads;
    to->bytes_in_max += counts.pages_in_max * PST_PAGE_BYTES;
    to->bytes_needed += counts.need_pages * PST_PAGE_BYTES;
    to->waits += ctx->spill->waits;
    to->wait_ns += ctx->spill->wait_ns;
}

int pst_paging_report(struct run *run, struct pst_run_report *report)
{
    if (run->paging == NULL || run->paging->pool == NULL)
        return PST_OK;
    report->paging = pst_calloc(run->graph->node_count + 1, sizeof *report->paging);
    if (report->paging == NULL)
        return PST_ENOMEM;
    report->state_budget_least = pst_pool_least(run->paging->pool);
    for (uint32_t n = 0; n < run->graph->node_count; n++) {
        struct pst_paging_report *to = &report->paging[report->paging_count];
        bool any = false;
        for (uint32_t i = 0; i < run->instance_count; i++) {
            const struct pst_ctx *ctx = run->instances[i];
            if (ctx->node != &run->graph->nodes[n] || ctx->spill == NULL || ctx->state == NULL)
                continue;
            report_add(to, ctx);
            any = true;
        }
        to->operator_id = any ? pst_strdup(run->graph->nodes[n].id) : NULL;
        if (any && to->operator_id == NULL)
            return PST_ENOMEM;
        report->paging_count += any;
    }
    return PST_OK;
}
