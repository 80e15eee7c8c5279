/* model.c - what comes out without a cluster: plain loops over all rows. See cluster.h. */
#include "tests/migration/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t row_digest(const struct row *row)
{
    uint64_t who = (uint64_t)row->op << 56 | (uint64_t)row->bucket << 48 | row->number;
    return mix(mix(mix(who) ^ (uint64_t)row->time) ^ row->value ^ row->key);
}

int64_t epoch_begin(int64_t time) { return time == PST_MOVE_END ? time : time / SPAN * SPAN; }
int64_t epoch_end(int64_t time) { return time == PST_MOVE_END ? time : (time + SPAN - 1) / SPAN * SPAN; }

uint32_t bucket_count(const struct model *model, uint32_t op)
{
    return op == OP_SOURCE ? model->source_count : op == OP_SINK ? 1 : BUCKETS;
}

uint32_t bucket_apply(struct bucket *bucket, uint32_t op, uint32_t index, const struct pending *rows, int64_t end,
                      struct row ret_rows[3])
{
    if (rows->count == 0)
        return 0;
    bucket->chain = mix(mix(bucket->chain ^ rows->sum) ^ (uint64_t)end ^ (uint64_t)rows->count << 32);
    uint32_t count = 1 + (uint32_t)(bucket->chain % 3 == 0);
    for (uint32_t i = 0; i < count; i++)
        ret_rows[i] = (struct row){.time = end - 1,
                                   .value = mix(bucket->chain + i),
                                   .key = (uint32_t)(mix(bucket->chain - i - 1) % 1000),
                                   .number = ++bucket->counter,
                                   .op = (uint8_t)op,
                                   .bucket = (uint8_t)index};
    return count;
}

int row_compare(const void *one, const void *other)
{
    const struct row *a = one, *b = other;
    if (a->bucket != b->bucket)
        return a->bucket < b->bucket ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

int row_line(const struct row *row, char ret_line[64])
{
    return snprintf(ret_line, 64, "%lld %u.%u %016llx\n", (long long)row->time, row->bucket, row->number,
                    (unsigned long long)row->value);
}

/* Event times that mostly grow, some out of order, now and then a gap. */
static void rows_make(struct model *model, uint32_t source, uint64_t *random)
{
    int64_t clock = 0;
    uint32_t count = 100 + (uint32_t)(mix(++*random) % 120);
    for (uint32_t i = 0; i < count; i++) {
        clock += (int64_t)(mix(++*random) % 5);
        if (mix(++*random) % 150 == 0)
            clock += 150;
        if (clock / SPAN >= EPOCHS_MAX - 2) {
            count = i;
            break;
        }
        int64_t time = clock - (int64_t)(mix(++*random) % 25);
        uint64_t value = mix(++*random), key = mix(++*random);
        model->rows[source][i] = (struct row){.time = time > 0 ? time : 0,
                                              .value = value,
                                              .key = (uint32_t)(key % (value % 2 ? 1000 : 5)),
                                              .number = i + 1,
                                              .op = OP_SOURCE,
                                              .bucket = (uint8_t)source};
    }
    model->row_count[source] = count;
    model->least_after[source][count] = PST_MOVE_END;
    for (uint32_t i = count; i-- > 0;)
        model->least_after[source][i] = model->rows[source][i].time < model->least_after[source][i + 1]
                                            ? model->rows[source][i].time
                                            : model->least_after[source][i + 1];
    model->most_before[source][0] = -1;
    for (uint32_t i = 0; i < count; i++)
        model->most_before[source][i + 1] = model->rows[source][i].time > model->most_before[source][i]
                                                ? model->rows[source][i].time
                                                : model->most_before[source][i];
}

static void row_note(struct pending pending[BUCKETS][EPOCHS_MAX + 1], const struct row *row)
{
    struct pending *at = &pending[row->key % BUCKETS][row->time / SPAN];
    at->sum += row_digest(row);
    at->count++;
}

void model_init(struct model *model, uint64_t seed)
{
    static struct pending pending[OPS][BUCKETS][EPOCHS_MAX + 1];
    uint64_t random = mix(seed) & ~(uint64_t)0xffffff;
    memset(pending, 0, sizeof pending);
    memset(model, 0, sizeof *model);
    model->source_count = 1 + (uint32_t)(mix(++random) % SOURCES_MAX);
    for (uint32_t source = 0; source < model->source_count; source++) {
        rows_make(model, source, &random);
        for (uint32_t i = 0; i < model->row_count[source]; i++)
            row_note(pending[OP_A], &model->rows[source][i]);
    }
    size_t capacity = 1 << 17;
    model->sink = malloc(capacity);
    PST_ASSERT(model->sink != NULL);
    for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++) {
        struct row out[3] = {{0}}, lines[64];
        uint32_t line_count = 0;
        for (uint32_t op = OP_A; op <= OP_B; op++)
            for (uint32_t b = 0; b < BUCKETS; b++) {
                struct bucket bucket = model->buckets[op][b][epoch];
                uint32_t count = bucket_apply(&bucket, op, b, &pending[op][b][epoch], (epoch + 1) * SPAN, out);
                model->buckets[op][b][epoch + 1] = bucket;
                for (uint32_t i = 0; i < count; i++)
                    if (op == OP_A)
                        row_note(pending[OP_B], &out[i]);
                    else
                        lines[line_count++] = out[i];
            }
        qsort(lines, line_count, sizeof lines[0], row_compare);
        for (uint32_t i = 0; i < line_count; i++) {
            PST_ASSERT(model->sink_bytes + 64 < capacity);
            model->sink_bytes += (uint32_t)row_line(&lines[i], model->sink + model->sink_bytes);
        }
        model->sink_bytes_at[epoch + 1] = model->sink_bytes;
    }
}

void model_fini(struct model *model) { free(model->sink); }
