/* tests/sim/show.h - what a run waits for, for whoever has to find out why nothing goes on. */
#ifndef PST_TEST_SHOW_H
#define PST_TEST_SHOW_H

#include "engine/lane.h"
#include "tests/sim/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Each partition, and what its channels have come to: @ from another node, s on standby, t one of two replicas, e ended. */
static inline void sim_run_show(const struct run *run)
{
    for (uint32_t k = 0; k < run->instance_count; k++) {
        const struct pst_ctx *ctx = run->instances[k];
        if (ctx->channel_count == 0 || ctx->ended)
            continue;
        print_error("  %s/%u now %lld out %lld, lane %d, held %llu:", ctx->node->id, ctx->partition,
                    (long long)ctx->now, (long long)ctx->watermark_out, ctx->lane != NULL ? (int)ctx->lane->state : 0,
                    (unsigned long long)ctx->held_bytes);
        for (uint32_t c = 0; c < ctx->channel_count; c++)
            print_error(" %u/%u%s:%lld%s%s%s", ctx->channels[c]->producer_index, ctx->channels[c]->from,
                        ctx->channels[c]->far != NULL ? "@" : "", (long long)ctx->channels[c]->watermark,
                        ctx->channels[c]->standby ? "s" : "", ctx->channels[c]->twin != NULL ? "t" : "",
                        ctx->channels[c]->ended ? "e" : "");
        print_error("%s", ctx->held_up ? ", held up" : "");
        for (uint32_t c = 0; c < ctx->channel_out_count; c++)
            if (pst_channel_pending(ctx->channels_out[c]))
                print_error("; %llu frames wait to go to %u/%u%s",
                            (unsigned long long)ctx->channels_out[c]->pending_count, ctx->channels_out[c]->edge->node,
                            ctx->channels_out[c]->to, ctx->channels_out[c]->branch ? " (branch)" : "");
        print_error("\n");
    }
}

#endif
