/* lane_sums.c - see lane.h: what a bucket has taken and put out since its image, as one number that does not hang on the order of rows.
 *
 * The bytes of a state will not do to compare two copies of a bucket: they may hang on the order in which the rows of an epoch came
 * (numbers of records, bunches of entries), and on what an operator remembers beside its state (plug_above's regions of ranks). Rows in,
 * rows out, output numbers and timers do not. So the copies are the same if the images are, and all of this since. */
#include "engine/lane.h"

#include <string.h>

struct sums {
    uint64_t broadcast;                /* rows that are every bucket's */
    uint64_t *broadcast_before, *rows; /* by bucket: broadcast rows up to its image; its own rows since, in and out */
};

struct sums *pst_sums_new(struct pst_arena *arena, const struct pst_graph_node *node)
{
    struct sums *sums = pst_arena_alloc(arena, sizeof *sums);
    uint64_t *words = pst_arena_alloc(arena, (size_t)node->bucket_count * 2 * sizeof *words);
    if (sums == NULL || words == NULL)
        return NULL;
    *sums = (struct sums){.broadcast_before = words, .rows = words + node->bucket_count};
    return sums;
}

void pst_sums_begin(struct sums *sums, uint32_t bucket)
{
    sums->rows[bucket] = 0;
    sums->broadcast_before[bucket] = sums->broadcast;
}

void pst_sums_join(struct sums *sums, uint32_t bucket) { sums->broadcast_before[bucket] = sums->broadcast; }

void pst_sums_in(struct sums *sums, const struct edge *edge, const struct pst_rows *rows)
{
    for (uint32_t i = 0; i < rows->row_count; i++) {
        uint64_t sum = pst_mixed(edge->input + 1, (uint64_t)rows->time[i]);
        for (uint32_t c = 0; c < edge->column_count; c++)
            sum = pst_mixed_cell(sum, (const char *)rows->columns[c] + (size_t)i * edge->column_bytes[c],
                                 edge->column_bytes[c]);
        if (edge->broadcast)
            sums->broadcast += sum;
        else
            sums->rows[edge->keyed ? rows->bucket[i] : 0] += sum;
    }
}

void pst_sums_out(struct sums *sums, uint32_t output_index, const struct output *output, uint32_t row_count)
{
    const struct pst_schema *schema = &output->plan->schema;
    for (uint32_t i = 0; i < row_count; i++) {
        uint64_t sum = pst_mixed(~(uint64_t)output_index, (uint64_t)output->batch.time[i]);
        for (uint32_t f = 0; f < schema->field_count; f++) {
            uint32_t bytes = pst_type_bytes(schema->fields[f].type);
            if (output->plan->wanted[f])
                sum = pst_mixed_cell(sum, (const char *)output->batch.columns[f] + (size_t)i * bytes, bytes);
        }
        sums->rows[output->batch.out.bucket[i]] += sum;
    }
}

uint64_t pst_bucket_digest(const struct pst_ctx *ctx, uint32_t bucket)
{
    const struct sums *sums = ctx->sums;
    uint64_t digest = pst_mixed(sums->rows[bucket], sums->broadcast - sums->broadcast_before[bucket]);
    return pst_mixed(pst_mixed(digest, (uint64_t)ctx->timers[bucket]), ctx->numbers[bucket]);
}
