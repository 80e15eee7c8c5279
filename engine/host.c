/* host.c - the engine's filling of struct pst_host: what the calls of operators/operator.h do in a run. */
#include "engine/spill.h"

#include <string.h>

static const void *host_planned(struct pst_ctx *ctx) { return ctx->node->user; }
static void *host_alloc(struct pst_ctx *ctx, size_t bytes) { return pst_arena_alloc(&ctx->user_arena, bytes); }
static void host_set_user(struct pst_ctx *ctx, void *user) { ctx->user = user; }
static void *host_user(struct pst_ctx *ctx) { return ctx->user; }

static const uint32_t *host_buckets(struct pst_ctx *ctx, uint32_t *ret_count)
{
    *ret_count = ctx->owned_count;
    return ctx->buckets;
}

static const uint32_t *host_due(struct pst_ctx *ctx, uint32_t *ret_count)
{
    *ret_count = ctx->due_count;
    return ctx->due;
}

static struct pst_out *host_out_reserve(struct pst_ctx *ctx, uint32_t output, uint32_t row_count)
{
    return ctx->node->op->role == PST_ROLE_SOURCE ? pst_source_reserve(ctx, row_count)
                                                  : pst_batch_reserve(ctx, output, row_count);
}

static int host_write(struct pst_ctx *ctx, const void *bytes, size_t byte_count)
{
    return ctx->sink != NULL ? pst_sink_write(ctx->run, ctx->sink, bytes, byte_count) : PST_EINVAL;
}

static void host_fail(struct pst_ctx *ctx, const char *sentence)
{
    pst_text_plain(ctx->sentence, sizeof ctx->sentence - 1, sentence);
}

static bool host_wanted(struct pst_ctx *ctx, uint32_t output, uint32_t output_field)
{
    return ctx->node->outputs[output].wanted[output_field];
}

static struct pst_state *state_of(struct pst_ctx *ctx)
{
    if (ctx->state != NULL || ctx->node->op->role != PST_ROLE_PLAIN)
        return ctx->state;
    ctx->state = pst_state_new(ctx->node->bucket_count, STATE_BYTES_MAX);
    if (ctx->state != NULL && pst_paging_attach(ctx) != PST_OK) { /* it has said why */
        pst_state_free(ctx->state);
        ctx->state = NULL;
        pst_paging_detach(ctx);
    }
    return ctx->state;
}

static struct pst_table *host_table_open(struct pst_ctx *ctx, const char *name, uint32_t key_bytes,
                                         uint32_t record_bytes)
{
    struct pst_state *state = state_of(ctx);
    return state != NULL ? pst_state_table_open(state, name, key_bytes, record_bytes) : NULL;
}

static struct pst_log *host_log_open(struct pst_ctx *ctx, const char *name)
{
    struct pst_state *state = state_of(ctx);
    return state != NULL ? pst_state_log_open(state, name) : NULL;
}

static void host_release(struct pst_ctx *ctx)
{
    if (ctx->spill != NULL)
        pst_state_release(ctx->state);
}

static struct pst_host host;

/* Filled at the first run, before there are workers. */
const struct pst_host *pst_engine_host(void)
{
    if (host.abi != 0)
        return &host;
    pst_plan_host_fill(&host);
    host.struct_bytes = sizeof host;
    host.planned = host_planned;
    host.alloc = host_alloc;
    host.set_user = host_set_user;
    host.user = host_user;
    host.buckets = host_buckets;
    host.due = host_due;
    host.timer_set = pst_ctx_timer_set;
    host.out_reserve = host_out_reserve;
    host.forward = pst_forward_rows;
    host.reject = pst_source_reject;
    host.block_lines = pst_source_lines;
    host.write = host_write;
    host.fail = host_fail;
    host.wanted = host_wanted;
    host.table_open = host_table_open;
    host.table_upsert = pst_state_table_upsert;
    host.table_find = pst_state_table_find;
    host.table_count = pst_state_table_count;
    host.table_record = pst_state_table_record;
    host.table_key = pst_state_table_key;
    host.table_remove = pst_state_table_remove;
    host.log_open = host_log_open;
    host.log_append = pst_state_log_append;
    host.log_read = pst_state_log_read;
    host.log_tail = pst_state_log_tail;
    host.log_head = pst_state_log_head;
    host.log_trim = pst_state_log_trim;
    host.log_wanted = pst_state_log_wanted;
    host.release = host_release;
    host.abi = PST_OPERATOR_ABI;
    return &host;
}
