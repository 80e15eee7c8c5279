/* enclave_image.c - checkpoints of operators in enclaves: what their workers have sealed on its way to the disk, and back. */
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/enclave.h"

#include <assert.h>
#include <string.h>

static_assert((int)PST_MANIFEST_INDEX_STRUCTURE == PST_IMAGE_INDEX_STRUCTURE, "one on both sides");
static_assert((int)PST_MANIFEST_INDEX_KIND == PST_IMAGE_INDEX_KIND, "one on both sides");
static_assert((int)PST_IMAGE_PLACE_STRUCTURE < PST_STRUCTURES_MAX, "a manifest has it as a page");
static_assert((int)PST_INCARNATION_BYTES == PST_IMAGE_INCARNATION_BYTES, "the same bytes");
static_assert((int)PST_SECRET_BYTES == PST_IMAGE_KEY_BYTES, "the same bytes");
static_assert((int)PST_GRAPH_DIGEST_BYTES == PST_IMAGE_GRAPH_BYTES, "the same bytes");

#define IMAGE_LABEL "penstock enclave image 1"
enum { PIECES_FIRST = 256, BYTES_FIRST = 1 << 18 };

/* ---- keys ---- */

int pst_enclave_keys_init(struct pst_enclave_keys *keys, const struct run *run, const struct pst_graph_node *node)
{
    const struct pst_checkpoint_options *options = &run->options.checkpoint;
    *keys = (struct pst_enclave_keys){0};
    if (run->checkpoint == NULL)
        return PST_OK;
    keys->graph = run->checkpoint->graph;
    keys->least = pst_checkpoint_least(run, node);
    if (run->graph->carry != NULL) /* this process has no key that they are sealed with */
        return PST_OK;
    int rc = pst_secret_derive(options->keys[0], IMAGE_LABEL, keys->graph, node->id, &keys->seals);
    bool resumes = pst_checkpoint_resumes(run);
    for (uint32_t i = 0; i < options->key_count && i < PST_IMAGE_KEYS_MAX && resumes && rc == PST_OK; i++) {
        rc = pst_secret_derive(options->keys[i], IMAGE_LABEL, keys->graph, node->id, &keys->opens[i]);
        if (rc != PST_OK)
            break;
        keys->open_bytes[i] = pst_secret_bytes(keys->opens[i]);
        keys->open_count++;
    }
    return rc;
}

void pst_enclave_keys_fini(struct pst_enclave_keys *keys)
{
    pst_secret_free(keys->seals);
    for (uint32_t i = 0; i < keys->open_count; i++)
        pst_secret_free(keys->opens[i]);
    *keys = (struct pst_enclave_keys){0};
}

/* ---- out ---- */

void pst_sealed_drop(struct sealed_image *sealed)
{
    pst_free(sealed->pieces);
    pst_free(sealed->bytes);
    *sealed = (struct sealed_image){0};
}

static int room(struct sealed_image *sealed, uint32_t byte_count)
{
    if (sealed->count == sealed->capacity) {
        uint32_t capacity = sealed->capacity == 0 ? PIECES_FIRST : sealed->capacity * 2;
        struct sealed_piece *pieces =
            capacity <= UINT32_MAX / 2 ? pst_realloc(sealed->pieces, capacity * sizeof *pieces) : NULL;
        if (pieces == NULL)
            return PST_ENOMEM;
        sealed->pieces = pieces;
        sealed->capacity = capacity;
    }
    if (sealed->byte_capacity - sealed->byte_count < byte_count) {
        size_t capacity = sealed->byte_capacity == 0 ? BYTES_FIRST : sealed->byte_capacity * 2;
        uint8_t *bytes = pst_realloc(sealed->bytes, capacity);
        if (bytes == NULL)
            return PST_ENOMEM;
        sealed->bytes = bytes;
        sealed->byte_capacity = capacity;
    }
    return PST_OK;
}

/* What a manifest could not say is none: a worker may be anybody's operator. */
static bool is_piece(const struct pst_enclave_piece *piece)
{
    if (piece->structure == PST_IMAGE_INDEX_STRUCTURE)
        return piece->kind == PST_IMAGE_INDEX_KIND && piece->changed == 0 && piece->sealed_bytes != 0;
    return piece->structure < PST_STRUCTURES_MAX && (piece->kind == PST_PAGE_RECORDS || piece->kind == PST_PAGE_LOG) &&
           piece->changed != 0;
}

int pst_ctx_enclave_take_piece(void *taker, const struct pst_enclave_piece *piece)
{
    struct pst_ctx *ctx = taker;
    if (pst_moving_busy(ctx))
        return pst_moving_take_piece(ctx, piece);
    struct sealed_image *sealed = &ctx->run->checkpoint->parts[ctx->index].sealed;
    int rc = is_piece(piece) ? room(sealed, piece->sealed_bytes) : PST_EDATA;
    if (rc != PST_OK)
        return rc;
    sealed->pieces[sealed->count++] =
        (struct sealed_piece){piece->bucket,  piece->structure,    piece->kind,       piece->number,
                              piece->changed, piece->sealed_bytes, sealed->byte_count};
    if (piece->sealed_bytes != 0)
        memcpy(sealed->bytes + sealed->byte_count, piece->sealed, piece->sealed_bytes);
    sealed->byte_count += piece->sealed_bytes;
    return PST_OK;
}

int pst_ctx_enclave_image(struct pst_ctx *ctx, int64_t cut)
{
    const struct checkpoint *checkpoint = ctx->run->checkpoint;
    struct part *part = &ctx->run->checkpoint->parts[ctx->index];
    if (ctx->copy && !ctx->enclave_seals) /* images are of originals alone: two of one bucket could not be put back */
        return PST_OK;
    if (!ctx->enclave_seals) { /* all times that were asked for are answered */
        pst_sealed_drop(&part->sealed);
        int rc = pst_enclave_ask_image(ctx->enclave, checkpoint->id, cut, checkpoint->full ? 0 : part->since);
        if (rc != PST_OK)
            return pst_ctx_enclave_said(ctx, rc);
        ctx->enclave_seals = true;
    }
    int rc = pst_enclave_answered(ctx->enclave);
    ctx->enclave_seals = rc == PST_EAGAIN;
    return rc == PST_EAGAIN ? rc : pst_ctx_enclave_said(ctx, rc);
}

int pst_ctx_enclave_imaged(const struct pst_ctx *ctx, struct part *part)
{
    int rc = pst_enclave_image_error(ctx->enclave);
    if (rc != PST_OK)
        return rc;
    pst_enclave_image_incarnation(ctx->enclave, part->sealed.incarnation);
    part->image = (struct pst_image){.generation = pst_enclave_image_generation(ctx->enclave)};
    part->imaged = part->is_sealed = true;
    return PST_OK;
}

/* ---- back ---- */

int pst_ctx_enclave_piece_back(struct pst_ctx *ctx, const uint8_t incarnation[PST_INCARNATION_BYTES],
                               const struct pst_manifest_page *page, const void *sealed)
{
    const struct pst_enclave_piece piece = {page->bucket,  page->structure,    page->kind, page->number,
                                            page->changed, page->sealed_bytes, sealed};
    ctx->enclave_back = true;
    if (ctx->carried != NULL)
        return pst_carried_back(ctx, incarnation, &piece);
    return pst_ctx_enclave_said(ctx, pst_enclave_restore(ctx->enclave, incarnation, &piece));
}

int pst_enclaves_restored(struct run *run)
{
    const struct checkpoint *checkpoint = run->checkpoint;
    const struct pst_manifest *from = &checkpoint->found[0].manifest;
    int rc = PST_OK;
    for (uint32_t i = 0; i < run->instance_count && rc == PST_OK; i++) {
        struct pst_ctx *ctx = run->instances[i];
        if (ctx->enclave == NULL || (!ctx->enclave_back && pst_checkpoint_least(run, ctx->node) == 0))
            continue;
        if (ctx->carried != NULL) { /* when it has its key */
            pst_carried_back_whole(ctx, from->id, from->cut);
            continue;
        }
        rc = pst_ctx_enclave_said(ctx, pst_enclave_restored(ctx->enclave, from->id, from->cut));
        ctx->timer_min = pst_enclave_timer_min(ctx->enclave);
    }
    return rc;
}
